/*
 * Series: what a run measured against its epochs, and the seeds of an experiment folded into one.
 *
 * A point is there or not (a split is not evaluated after every epoch); one that is there and is
 * not finite stays in the series as NaN, and a figure shows a gap.
 */
#ifndef VT_REPORT_SERIES_H
#define VT_REPORT_SERIES_H

#include "base/status.h"
#include "report/scale.h"
#include "results/history.h"
#include "results/perf.h"

#include <stdint.h>

/* name in tables, what it is */
#define VT_QUANTITY_LIST(X)                                                                        \
    X(TRAIN_LOSS, "train_loss")                                                                    \
    X(TRAIN_TOP1, "train_top1_percent")                                                            \
    X(VAL_LOSS, "val_loss")                                                                        \
    X(VAL_TOP1, "val_top1_percent")                                                                \
    X(TEST_LOSS, "test_loss")                                                                      \
    X(TEST_TOP1, "test_top1_percent")                                                              \
    X(RATE, "learning_rate")       /* at training records and at the end of epochs */              \
    X(GRADIENT, "gradient_norm")   /* at training records */                                       \
    X(SPEED, "train_images_per_s") /* this and the rest from perf.jsonl */                         \
    X(STEP_MEDIAN, "step_ms_p50")                                                                  \
    X(STEP_P90, "step_ms_p90")                                                                     \
    X(STEP_P99, "step_ms_p99")

typedef enum vt_quantity {
#define X(name, heading) VT_QUANTITY_##name,
    VT_QUANTITY_LIST(X)
#undef X
        VT_QUANTITY_COUNT
} vt_quantity;
const char *vt_quantity_name(vt_quantity quantity);

/* x: epochs, 0 before the first step; inside an epoch its part that is done. Of several runs: their
 * mean, and mean minus and plus the sample standard deviation (both the mean where n is 1). */
typedef struct vt_point {
    double x, mean, low, high;
    int n;
} vt_point;

typedef struct vt_series {
    vt_point *point; /* ascending x, each once */
    int64_t n;
} vt_series;

/* Takes a quantity out of a run's records. VT_ERR_NOMEM only; release in every case. */
vt_status vt_series_take(vt_series *series, vt_quantity quantity, const vt_history *history,
                         const vt_perf *perf, int64_t n_perf, vt_error *err);
/* The n series of runs as one: at every x that any of them has, the mean of those that have it; NaN
 * if one of these is not finite. A folded band keeps its `n`. VT_ERR_NOMEM only. */
vt_status vt_series_fold(vt_series *folded, const vt_series *series, int n, vt_error *err);
void vt_series_release(vt_series *series);

/* Leaves every k-th point, and the last, so that at most about `most` stay. Nothing is averaged. */
void vt_series_thin(vt_series *series, int64_t most);
/* Adds all values and bands to the range; of bands and values only what is positive if `log`. */
void vt_series_range(const vt_series *series, bool log, vt_range *range);
/* The last finite value, or NaN. */
double vt_series_last(const vt_series *series);

#endif
