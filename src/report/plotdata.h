/* What the figures show: a run's curves as a table, and where axes and labels go. */
#ifndef VT_REPORT_PLOTDATA_H
#define VT_REPORT_PLOTDATA_H

#include "base/status.h"
#include "base/text.h"
#include "results/history.h"

#include <stdbool.h>
#include <stdint.h>

/* Column of the table (the epoch is column 1 of the file, these follow), its heading. */
#define VT_PLOT_COLUMNS(X)                                                                         \
    X(TRAIN_LOSS, "train_loss")                                                                    \
    X(TRAIN_TOP1, "train_top1_percent")                                                            \
    X(VAL_LOSS, "val_loss")                                                                        \
    X(VAL_TOP1, "val_top1_percent")                                                                \
    X(TEST_LOSS, "test_loss")                                                                      \
    X(TEST_TOP1, "test_top1_percent")                                                              \
    X(LR, "learning_rate")

typedef enum vt_plot_column {
#define X(name, heading) VT_PLOT_##name,
    VT_PLOT_COLUMNS(X)
#undef X
        VT_PLOT_COLUMN_COUNT
} vt_plot_column;

/* One epoch; NaN where there is no value, or one that is not finite. */
typedef struct vt_plotrow {
    int64_t epoch;
    double value[VT_PLOT_COLUMN_COUNT];
} vt_plotrow;

typedef struct vt_plotdata {
    vt_plotrow *row; /* ascending epochs, each once */
    int64_t n;
    char name[VT_NAME_MAX + 1]; /* the experiment's, printable */
    uint64_t seed;
} vt_plotdata;

/* VT_ERR_NOMEM only. Release in every case. */
vt_status vt_plotdata_make(vt_plotdata *data, const vt_history *history, vt_error *err);
void vt_plotdata_release(vt_plotdata *data);

/* Appends the table, tab-separated with a line of headings; "NaN" stands for no value. */
void vt_plotdata_print(const vt_plotdata *data, vt_text *text);

/* Smallest and largest value of a column, added to a range that starts with min > max; false if the
 * column has no value. */
typedef struct vt_range {
    double min, max;
} vt_range;
bool vt_plotdata_range(const vt_plotdata *data, vt_plot_column column, vt_range *range);
/* The column's value in its last epoch that has one; NaN if there is none. */
double vt_plotdata_last(const vt_plotdata *data, vt_plot_column column);

/* How many epochs have a value in the column. */
int64_t vt_plotdata_count(const vt_plotdata *data, vt_plot_column column);

typedef struct vt_axis {
    double min, max, step;
} vt_axis;

/* An axis around the range with steps of 1, 2, 2.5 or 5 times a power of ten, about `ticks` of
 * them; it begins at 0 if the range begins near it. Never empty, whatever the range. */
vt_axis vt_axis_of_values(vt_range range, int ticks);
/* An axis of whole epochs. */
vt_axis vt_axis_of_epochs(int64_t first, int64_t last, int ticks);

/* Moves the n places (in any order) apart until neighbours are `gap` from each other, as little as
 * possible, within [min, max] if they fit. Their order by size is kept; equal ones stay in the
 * order given, the first lowest. */
void vt_places_spread(double *place, int n, double gap, double min, double max);

#endif
