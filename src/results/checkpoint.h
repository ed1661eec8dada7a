/*
 * Checkpoints: what a run needs to go on exactly where it was.
 *
 * Two files a save, in this order:
 *   w-STEP.safetensors   the weights, timm names, no metadata: its SHA-256 depends on them alone
 *   state-STEP.bin       the commit: everything else, and the SHA-256 of the weights file
 * The state file is "VTSTATE1", then u64 size of the container, i64 step, i64 step of the best
 * checkpoint (-1: none), little-endian, a safetensors container (state tensors; scalars and strings
 * as metadata, doubles by their bits), and the SHA-256 of all that. Every changed bit of either
 * file is found on load.
 *
 * Afterwards last.safetensors and best.safetensors are set as hard links, and old checkpoints are
 * removed. A kill anywhere leaves the newest complete checkpoint good; loading puts the links right
 * and removes what an unfinished save left.
 */
#ifndef VT_RESULTS_CHECKPOINT_H
#define VT_RESULTS_CHECKPOINT_H

#include "base/hash.h"
#include "base/status.h"
#include "results/journal.h"
#include "results/safetensors.h"

#include <stdbool.h>
#include <stdint.h>

typedef struct vt_checkpoint_int {
    const char *name;
    int64_t value;
} vt_checkpoint_int;

typedef struct vt_checkpoint_double {
    const char *name;
    double value; /* any bits, NaN too, come back unchanged */
} vt_checkpoint_double;

typedef struct vt_checkpoint_string {
    const char *name, *value; /* UTF-8 without NUL */
} vt_checkpoint_string;

/* What to save. Names must be unique within their list. */
typedef struct vt_checkpoint {
    int64_t step;                 /* >= 0; names the files */
    const vt_safetensor *weights; /* the model, timm names */
    int n_weights;
    const vt_safetensor *state; /* optimiser moments and the like, any names */
    int n_state;
    const vt_checkpoint_int *ints;
    int n_ints;
    const vt_checkpoint_double *doubles;
    int n_doubles;
    const vt_checkpoint_string *strings;
    int n_strings;
    /* Records of `journal` (may be NULL in tests) put so far become durable before the state
     * does, and the state keeps the place behind them. With `record`, a VT_RECORD_CHECKPOINT of
     * this step and `epoch` is put first. Leave `record` off for a save whose moment an
     * unbroken run would not have chosen (on a signal), or the journal's bytes would differ. */
    vt_journal *journal;
    bool record;
    int64_t epoch;
    bool best; /* this is the best so far: best.safetensors shall name it */
    int keep;  /* newest checkpoints to keep, at least 2; the best one's weights are kept too */
} vt_checkpoint;

/* Saves. `best_step` (-1: none) is the caller's memory of the best checkpoint: it starts as what
 * vt_checkpoint_best_step said after a load (-1 in a new run) and is set to c->step if c->best.
 * `weights_sha256` may be NULL. On failure the checkpoints before are untouched. */
vt_status vt_checkpoint_save(int dir_fd, const vt_checkpoint *c, int64_t *best_step,
                             uint8_t weights_sha256[VT_SHA256_SIZE], vt_error *err);

/* A loaded checkpoint. */
typedef struct vt_checkpoint_file vt_checkpoint_file;

/* Loads the newest good checkpoint. Each damaged one is named in a warning with the reason, and the
 * one before is tried. No checkpoint at all: VT_OK and *file == NULL. Checkpoints, but no good
 * one: VT_ERR_DATA.
 *
 * With `repair` (only for the holder of the run's lock) links are put right, and the leftovers of
 * unfinished saves and checkpoints beyond the saved `keep` removed. Without it nothing is
 * written. */
vt_status vt_checkpoint_load_newest(int dir_fd, bool repair, vt_checkpoint_file **file,
                                    vt_error *err);
void vt_checkpoint_close(vt_checkpoint_file *file);

int64_t vt_checkpoint_step(const vt_checkpoint_file *file);
int64_t vt_checkpoint_best_step(const vt_checkpoint_file *file);
/* Place in the journal; pass it to vt_journal_open. NULL if saved without a journal. */
const vt_journal_mark *vt_checkpoint_mark(const vt_checkpoint_file *file);
const uint8_t *vt_checkpoint_weights_sha256(const vt_checkpoint_file *file);

/* The weights and the state tensors, for walking over them. */
const vt_safetensors *vt_checkpoint_weights(const vt_checkpoint_file *file);
const vt_safetensors *vt_checkpoint_state(const vt_checkpoint_file *file);
/* Copies a tensor into `to`, which has the type, rank, shape and room that `want` describes
 * (want->data is not used). VT_ERR_DATA if it is missing or of another type or shape. */
vt_status vt_checkpoint_copy(const vt_safetensors *from, const vt_safetensor *want, void *to,
                             vt_error *err);
/* Scalars and strings; VT_ERR_DATA if missing. A string lives as long as `file`. */
vt_status vt_checkpoint_get_int(const vt_checkpoint_file *file, const char *name, int64_t *value,
                                vt_error *err);
vt_status vt_checkpoint_get_double(const vt_checkpoint_file *file, const char *name, double *value,
                                   vt_error *err);
vt_status vt_checkpoint_get_string(const vt_checkpoint_file *file, const char *name,
                                   const char **value, vt_error *err);

#endif
