/*
 * Confusion matrices out of journals: what the runs of a group answered after an epoch.
 */
#ifndef VT_REPORT_MATRIX_H
#define VT_REPORT_MATRIX_H

#include "report/figure.h"
#include "report/groups.h"
#include "results/confusion.h"

typedef struct vt_matrix {
    vt_confusion confusion; /* counts added up over the runs */
    int n_runs;
    double
        *share;  /* (n_runs, classes): of each class, the share that a run got right; NaN of none */
    double top1; /* mean of the runs */
    int64_t epoch; /* the first run's */
    char **name;   /* printable */
    int64_t *count;
} vt_matrix;

/* Reads the matrices of a group's runs: of their last evaluation of the split, or with `epoch` >= 0
 * of that after this epoch. VT_ERR_NOINPUT: a run has none (there are none above
 * VT_CONFUSION_CLASSES_MAX classes); VT_ERR_DATA: the runs differ in their classes. Release in
 * every case. */
vt_status vt_matrix_read(vt_matrix *matrix, const vt_group *group, vt_split split, int64_t epoch,
                         vt_error *err);
void vt_matrix_release(vt_matrix *matrix);

/* Draws a group's matrix (results/confusion.h); its title tells experiment, split, epoch, seeds. */
vt_status vt_matrix_draw(const vt_place *place, const vt_group *group, vt_split split,
                         int64_t epoch, vt_error *err);

#endif
