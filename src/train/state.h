/* What a run must remember between steps beside weights and moments; everything else is a function
 * of the step. Saved whole in each checkpoint. */
#ifndef VT_TRAIN_STATE_H
#define VT_TRAIN_STATE_H

#include "results/checkpoint.h"

#define VT_STATE_INTS(X)                                                                           \
    X(step)            /* optimiser steps done */                                                  \
    X(epoch)           /* epochs done */                                                           \
    X(batch)           /* batches done in the present epoch */                                     \
    X(draw)            /* training batches done in the run: numbers the generator's draws */       \
    X(samples_seen)    /* training images seen in the run */                                       \
    X(epoch_images)    /* in the present epoch */                                                  \
    X(interval_images) /* since the last journal record */                                         \
    X(bad_epochs)      /* plateau */                                                               \
    X(best_epoch)      /* by train.select; -1: none yet */
#define VT_STATE_DOUBLES(X)                                                                        \
    X(epoch_loss)    /* sums over the epoch's images */                                            \
    X(epoch_top1)    /* */                                                                         \
    X(interval_loss) /* sums since the last journal record */                                      \
    X(interval_top1) /* */                                                                         \
    X(plateau_lr)    /* */                                                                         \
    X(plateau_best)  /* */                                                                         \
    X(best_top1)     /* accuracy at best_epoch */

typedef struct vt_run_state {
#define X(name) int64_t name;
    VT_STATE_INTS(X)
#undef X
#define X(name) double name;
    VT_STATE_DOUBLES(X)
#undef X
} vt_run_state;

enum {
#define X(name) +1
    VT_N_STATE_INTS = 0 VT_STATE_INTS(X),
    VT_N_STATE_DOUBLES = 0 VT_STATE_DOUBLES(X),
#undef X
};

void vt_state_list(const vt_run_state *state, vt_checkpoint_int ints[VT_N_STATE_INTS],
                   vt_checkpoint_double doubles[VT_N_STATE_DOUBLES]);
vt_status vt_state_load(vt_run_state *state, const vt_checkpoint_file *file, vt_error *err);

#endif
