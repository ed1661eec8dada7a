/*
 * Confusion matrices: counts of images by true and predicted class, as text, as CSV and as a
 * figure. Names are class names; control characters in them are shown as '?'.
 */
#ifndef VT_RESULTS_CONFUSION_H
#define VT_RESULTS_CONFUSION_H

#include "results/draw.h"

#include <stdint.h>

typedef struct vt_confusion {
    int64_t classes;
    const char *const *names;
    const int64_t *count; /* (classes, classes): [true][predicted] */
} vt_confusion;

/* Images of a true class. */
int64_t vt_confusion_total(const vt_confusion *c, int64_t label);

/* A table for people: a row a true class, a column a predicted one, numbered in the head. */
void vt_confusion_print(const vt_confusion *c, vt_text *text);
/* CSV (RFC 4180, lines end in a newline): a head with the predicted classes' names, then a row for
 * each true class, its name first. */
void vt_confusion_csv(const vt_confusion *c, vt_text *text);

/*
 * Draws NAME (.svg, ...) in the folder, with NAME.tsv (true, predicted, their names, count, share
 * of the true class) and NAME.gp beside it, as wide as the drawer says (else 6.9 inches). Darkness
 * is the share; counts and names are written where they fit. At most VT_CONFUSION_DRAWN_MAX
 * classes.
 */
enum { VT_CONFUSION_DRAWN_MAX = 200 };
vt_status vt_confusion_draw(vt_drawer *drawer, int dir_fd, const char *folder, const char *name,
                            const char *title, const vt_confusion *c, vt_error *err);

#endif
