/*
 * perf.jsonl: speed and memory of each epoch, one JSON object a line, appended by the process that
 * finished the epoch. No result depends on it and no digest covers it. An epoch that was resumed in
 * its middle tells of the steps of the last process. A line is written before its epoch's
 * checkpoint and publication, so these are in the next line. What an older version did not note is
 * 0.
 */
#ifndef VT_RESULTS_PERF_H
#define VT_RESULTS_PERF_H

#include "base/status.h"

#include <stdint.h>

/* name in the file and in run.h5, units, long name */
#define VT_PERF_LIST(X)                                                                            \
    X(train_images, "image", "training images that the epoch's speed is taken from")               \
    X(train_s, "s", "time of their training")                                                      \
    X(train_images_per_s, "image/s", "images a second in training")                                \
    X(eval_images_per_s, "image/s", "images a second in evaluation")                               \
    X(data_wait_share, "1", "share of the time spent waiting for data")                            \
    X(step_s_min, "s", "time of the shortest training step")                                       \
    X(step_s_p50, "s", "time of a training step, median")                                          \
    X(step_s_p90, "s", "time that 90 % of the training steps kept within")                         \
    X(step_s_p99, "s", "time that 99 % of the training steps kept within")                         \
    X(step_s_max, "s", "time of the longest training step")                                        \
    X(record_s, "s", "time in the journal and its live copies since the line before")              \
    X(save_s, "s", "time in checkpoints since the line before")                                    \
    X(publish_s, "s", "time in starting publications since the line before")                       \
    X(peak_rss_bytes, "byte", "largest resident memory so far")

typedef struct vt_perf {
    int64_t epoch; /* from 1 */
#define X(name, units, long_name) double name;
    VT_PERF_LIST(X)
#undef X
} vt_perf;

/* Fills step_s_*: quantiles by nearest rank of n > 0 times, which are sorted in place. */
void vt_perf_steps(vt_perf *perf, double *step_s, int64_t n);
/* Appends a line. It is information: what cannot be written is lost without a word. */
void vt_perf_append(int dir_fd, const vt_perf *perf);
/* Reads the file: one row an epoch, ascending; of an epoch that was computed again the later line
 * counts, and lines that are not whole are passed over. Returns the number of rows, 0 without a
 * file; give *rows back with vt_free. */
int64_t vt_perf_read(int dir_fd, vt_perf **rows);

#endif
