/*
 * A run's journal in memory, sorted into columns: what run.h5 and the figures are made from.
 * Epochs count from 1; 0 is the state before the first step. Confusion matrices are not kept.
 */
#ifndef VT_RESULTS_HISTORY_H
#define VT_RESULTS_HISTORY_H

#include "base/fs.h"
#include "results/journal.h"
#include "results/runinfo.h"

#include <stdbool.h>

typedef enum vt_capture_kind { VT_CAPTURE_ATTENTION, VT_CAPTURE_LOGITS } vt_capture_kind;

/* A file below captures/ that the journal vouches for. */
typedef struct vt_capture {
    vt_capture_kind kind;
    int64_t epoch;
    char file[VT_NAME_MAX + 1]; /* without "captures/" */
    char sha256[VT_SHA256_HEX_SIZE];
} vt_capture;

typedef struct vt_history {
    vt_runinfo info;
    vt_record_train *train;
    vt_record_eval *eval[VT_SPLIT_COUNT];
    vt_record_epoch *epoch;
    vt_record_checkpoint *checkpoint;
    vt_capture *capture;
    int64_t n_train, n_eval[VT_SPLIT_COUNT], n_epochs, n_checkpoints, n_captures;
    bool done;                 /* the run is complete */
    vt_record_checkpoint last; /* of the last weights; if done */
    uint8_t hash[VT_SHA256_SIZE];
} vt_history;

/* Reads the journal of the run folder `dir_fd`, which another process may be writing. A torn tail
 * is left out. VT_ERR_NOINPUT: no journal; VT_ERR_DATA: damaged, empty, or a record of the wrong
 * size. Release in every case. */
vt_status vt_history_read(vt_history *history, int dir_fd, vt_error *err);
void vt_history_release(vt_history *history);

/* The confusion matrix of an evaluation record: classes * classes counts, [true][pred]; NULL if it
 * was recorded without. */
const int64_t *vt_history_confusion(const vt_record *eval);

#endif
