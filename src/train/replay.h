/*
 * Trains a run once more, in a temporary folder, and compares what comes out: every record of the
 * journal (which holds the losses, accuracies and confusion matrices, and the digests of the
 * weights and captures), and at the end the weights file itself.
 */
#ifndef VT_TRAIN_REPLAY_H
#define VT_TRAIN_REPLAY_H

#include "results/runs.h"

#include <stdbool.h>
#include <stdint.h>

typedef struct vt_replay_request {
    vt_run_place place;
    const char *data_dir; /* NULL: as in the run's config.yaml */
    int64_t threads;      /* 0: all cores */
    int64_t epochs;       /* compare the first ones; 0: the whole run, which must be complete */
} vt_replay_request;

typedef struct vt_replay {
    bool same, complete;     /* complete: up to the last weights */
    int64_t records, epochs; /* compared */
    char difference[1000];   /* the first one, for people; "" if same */
    int64_t difference_step; /* of the first record that differs; -1: none */
    char metrics_sha256[65]; /* of the journal; "" unless complete */
    char weights_sha256[65]; /* of last.safetensors */
    char folder[4096];       /* of the second run, kept where it differs; else "" */
} vt_replay;

/*
 * VT_OK says that the comparison was made, not how it ended. VT_ERR_NOINPUT: the run is not
 * complete, or has fewer epochs; VT_ERR_NUMERICS: this build on this machine has another numerics
 * id, so equal bits are not promised; VT_ERR_STOPPED: a signal; other codes: the second training
 * failed, and the message says where its output is. Leaves the signals of base/child.h blocked.
 */
vt_status vt_replay_run(vt_replay *replay, const vt_replay_request *request, vt_error *err);

#endif
