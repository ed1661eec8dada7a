/*
 * Drawing a figure: a script put together from what is particular to it and the templates of
 * plots/, published beside the data it names, and run by gnuplot in that folder.
 *
 * The templates are looked for in ./plots, then in the source tree of this program, then in
 * ../share/vitrine/plots beside its folder. Equal scripts and data give equal bytes.
 */
#ifndef VT_RESULTS_DRAW_H
#define VT_RESULTS_DRAW_H

#include "base/status.h"
#include "base/text.h"

#include <stdbool.h>
#include <stdio.h>

#define VT_FORMATS(X) X(svg) X(png) X(pdf)

typedef struct vt_formats {
#define X(format) bool format;
    VT_FORMATS(X)
#undef X
} vt_formats;

/* "svg,png" as flags; NULL is all of them. VT_ERR_USAGE for another word. */
vt_status vt_formats_parse(vt_formats *formats, const char *text, vt_error *err);
/* "svg png", as scripts take them. */
enum { VT_FORMATS_TEXT = 16 };
const char *vt_formats_text(const vt_formats *formats, char text[VT_FORMATS_TEXT]);

/* Appends plots/style.gp and plots/NAME. VT_ERR_NOINPUT if they are not found. */
vt_status vt_draw_templates(vt_text *text, const char *name, vt_error *err);

/* Several figures of one command. Start with the first three members and {0}. */
typedef struct vt_drawer {
    vt_formats formats;
    const char *maker;   /* the command, for the scripts' first line */
    double width;        /* of figures in inches that can choose theirs; 0: as wide as they need */
    FILE *list;          /* takes the figures' paths, one a line; NULL: nobody */
    vt_error no_gnuplot; /* set once gnuplot did not run: data and scripts are still written */
} vt_drawer;

/* Publishes a text as the file `name`. VT_ERR_NOMEM if it is incomplete. */
vt_status vt_draw_publish(int dir_fd, const char *name, const vt_text *text, vt_error *err);

/* Publishes the script NAME.gp (`numbers`, which set name and formats among others, then
 * `templates`) in the folder, whose path for messages is `folder`, and draws. */
vt_status vt_draw_figure(vt_drawer *drawer, int dir_fd, const char *folder, const char *name,
                         const vt_text *numbers, const vt_text *templates, vt_error *err);

/* VT_ERR_HELPER if gnuplot did not run for any of the figures. */
vt_status vt_draw_finish(const vt_drawer *drawer, vt_error *err);

#endif
