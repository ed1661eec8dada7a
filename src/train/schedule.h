/*
 * The learning rate as a function of the step; only `plateau` keeps a state.
 *
 *   warm-up    lr(t) = from + (base - from) t / W, for steps t < W = warmup_epochs * steps an epoch
 *   constant   base
 *   cosine     min + (base - min) (1 + cos(pi (t - W) / (T - W))) / 2, T all steps
 *   multistep  base gamma^k, k milestones at or before the epoch (counted from 0)
 *   plateau    times factor once the epoch's mean training loss has not fallen below
 *              best (1 - threshold) for more than `patience` epochs (PyTorch's rule, mode min)
 */
#ifndef VT_TRAIN_SCHEDULE_H
#define VT_TRAIN_SCHEDULE_H

#include "config/config.h"

typedef struct vt_schedule_state {
    double lr;   /* plateau: the present rate */
    double best; /* plateau: lowest loss so far; infinity at first */
    int64_t bad_epochs;
} vt_schedule_state;

vt_schedule_state vt_schedule_start(const vt_config *config);
/* The rate of optimiser step `step`, counted from 0. */
double vt_schedule_lr(const vt_config *config, const vt_schedule_state *state, int64_t step,
                      int64_t steps_per_epoch);
/* To be told at the end of each epoch. */
void vt_schedule_epoch_end(const vt_config *config, vt_schedule_state *state, double train_loss);

#endif
