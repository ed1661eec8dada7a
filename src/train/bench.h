/*
 * How fast an experiment's network trains and evaluates on this machine, op by op, beside what the
 * machine can do: `vitrine bench`. The batch is random numbers already in place, so neither a data
 * set nor its decoding is measured; everything else of a training step is.
 *
 * A floor is the time that the arithmetic takes at the rate of a large matrix product, or that the
 * bytes take at the rate of a copy, whichever is longer. Both rates are taken before, during and
 * after the measured steps (the medians count), because shared machines drift.
 *
 * Counted are, for each call, the multiply-adds of its products (two operations each; going
 * backward once for each gradient wanted) as computed, without padding, and each tensor it reads or
 * writes once.
 */
#ifndef VT_TRAIN_BENCH_H
#define VT_TRAIN_BENCH_H

#include "base/text.h"
#include "config/config.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct vt_bench_options {
    int64_t steps, warm_up; /* of training, and as many of evaluation; both >= 1 */
    bool layers;            /* a row a call, not a row an op */
    bool trace;             /* keep the times of each call, for vt_bench_trace */
} vt_bench_options;

/* A part of the training step: an op's forward or backward calls, or what lies between them. */
typedef struct vt_bench_row {
    char name[96];
    const char *pass; /* "forward", "backward", "step" */
    int64_t calls;    /* a step */
    double s;         /* a step, the median over steps of their sum */
    double flop, bytes;
} vt_bench_row;

typedef struct vt_bench_rate {
    double low, median, high; /* quartiles over steps, images a second */
    double step_s;            /* median */
} vt_bench_rate;

typedef struct vt_bench_event {
    int row; /* of `call`, see vt_bench_trace */
    double start_s, s;
} vt_bench_event;

typedef struct vt_bench {
    vt_bench_options options;
    char experiment[128], kernels[16], blas[128];
    int threads;
    int64_t batch, n_params, planned_bytes, peak_bytes;
    double sgemm_flops, copy_bytes; /* a second */
    double flop, floor_s;           /* of a training step */
    double gflop_image;             /* floating-point operations of training one image, 1e9 */
    vt_bench_rate training, evaluation;
    double loss;       /* of the last step: to see that work was done */
    vt_bench_row *row; /* by time, the longest first */
    int n_rows;
    vt_bench_row *call; /* every call in order, as rows */
    int n_calls;
    vt_bench_event *event;
    int64_t n_events;
} vt_bench;

/* VT_ERR_NOMEM, VT_ERR_HELPER (no BLAS). Release in every case. */
vt_status vt_bench_run(vt_bench *bench, const vt_config *config, const vt_bench_options *options,
                       vt_error *err);
void vt_bench_release(vt_bench *bench);

/* The tables for people, and the same numbers as {"schema": 1, ...}. */
vt_status vt_bench_print(const vt_bench *bench, vt_text *text, vt_error *err);
json_t *vt_bench_json(const vt_bench *bench);
/* A timeline in the Trace Event format, which Perfetto and browsers' tracing pages open. */
json_t *vt_bench_trace(const vt_bench *bench);

#endif
