/*
 * summary.json: a run on one page, for listing, comparing and baselines. Sorted keys, two-space
 * indent, doubles with 17 digits (they read back unchanged); NaN and infinities as the strings
 * "nan", "inf", "-inf"; what is not known is null. A view: it can be made again from the journal.
 */
#ifndef VT_RESULTS_SUMMARY_H
#define VT_RESULTS_SUMMARY_H

#include "base/status.h"
#include "results/journal.h"

#include <stdbool.h>
#include <stdint.h>

/* One evaluation; `known` is false where there was none. */
typedef struct vt_summary_eval {
    bool known;
    int64_t epoch;
    double loss, top1, top5, ece;
} vt_summary_eval;

typedef struct vt_summary {
    const char *exp_name, *exp_id, *run_id;
    int64_t seed;
    const char *state; /* running, interrupted, diverged, failed, done */
    int64_t epoch, epochs, step, attempts;
    double train_loss, train_top1;        /* running means of the last epoch */
    vt_summary_eval last[VT_SPLIT_COUNT]; /* newest evaluation of each split */
    vt_summary_eval best[VT_SPLIT_COUNT]; /* of each split at the best epoch */
    const char *select;                   /* the split that chose the best epoch */
    int64_t n_params, macs_per_image;
    const char *metrics_sha256, *weights_sha256, *best_sha256; /* hexadecimal, or NULL */
    const char *data_digest, *numerics_id;
    double wall_s;       /* of all attempts */
    double images_per_s; /* in training; 0: not known */
    int64_t peak_bytes;  /* resident */
    int threads;
} vt_summary;

/* Publishes summary.json in the run's folder. Texts may be NULL. */
vt_status vt_summary_write(int dir_fd, const vt_summary *summary, vt_error *err);

#endif
