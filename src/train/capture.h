/*
 * Attention weights of chosen test images, every layer and head, as captures/attention-EPOCH
 * .safetensors. They are computed aside, from the queries, keys and biases that the forward pass of
 * an evaluation has just used, so that training does not know whether it is watched.
 */
#ifndef VT_TRAIN_CAPTURE_H
#define VT_TRAIN_CAPTURE_H

#include "data/data.h"
#include "results/journal.h"
#include "train/engine.h"
#include "train/evaluate.h"

typedef struct vt_capturer vt_capturer;

/* Adds the slots that captures need; before vt_engine_init. */
void vt_capturer_slots(vt_engine *engine, const vt_config *config, const vt_data_info *info);
/* Takes all memory. *capturer is NULL if the experiment captures nothing. */
vt_status vt_capturer_new(vt_capturer **capturer, vt_engine *engine, const vt_data *data,
                          vt_error *err);
void vt_capturer_free(vt_capturer *capturer);
/* Does the experiment want a capture after this epoch (0: before the first)? */
bool vt_capture_wanted(const vt_config *config, int64_t epoch);
/* Writes the file into the folder and its record into the journal. */
vt_status vt_capturer_run(vt_capturer *capturer, int captures_fd, vt_journal *journal,
                          int64_t epoch, int64_t step, vt_error *err);

/* The evaluator's logits, labels and predictions of the last evaluation, as
 * captures/final-test.safetensors. */
vt_status vt_capture_logits(const vt_evaluator *e, int captures_fd, vt_journal *journal,
                            int64_t epoch, int64_t step, vt_error *err);

#endif
