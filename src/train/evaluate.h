/*
 * Evaluation of a part of the data: every image once, in order, weighted equally, whatever the
 * batch size. With eval.compat: article the images are shuffled and the last incomplete batch is
 * left out, as the article did.
 */
#ifndef VT_TRAIN_EVALUATE_H
#define VT_TRAIN_EVALUATE_H

#include "data/data.h"
#include "results/journal.h"
#include "train/ahead.h"

enum { VT_CALIBRATION_BINS = 15 };

/* Buffers for one evaluation of the largest part, taken once. */
typedef struct vt_evaluator {
    vt_engine *engine;
    const vt_data *data;
    int64_t batch, classes, capacity;
    uint32_t *order;
    vt_feed *feed;
    vt_ahead *ahead; /* not owned; NULL, as after vt_evaluator_init: batches are done one by one */
    /* of the last evaluation, in its order: */
    float *logits; /* (n, classes), taken for fetches */
    int64_t *label, *pred;
    vt_record_eval *record; /* with its confusion matrix, if there are not too many classes */
    size_t record_bytes;
    vt_error err; /* why it ended early: a picture that can no longer be read, or no memory */
} vt_evaluator;

/* Adds the slots that evaluation needs; before vt_engine_init. */
void vt_evaluator_slots(vt_engine *engine, const vt_config *config, const vt_data_info *info);
vt_status vt_evaluator_init(vt_evaluator *e, vt_engine *engine, const vt_data *data, vt_error *err);
void vt_evaluator_release(vt_evaluator *e);

/* Called after each batch; a true answer stops the evaluation. */
typedef bool vt_evaluator_tick(void *arg, int64_t done, int64_t total);
/* Evaluates; fills record, logits, label and pred. False if `tick` (may be NULL) stopped it,
 * or a batch could not be loaded: e->err says why. */
bool vt_evaluator_run(vt_evaluator *e, vt_part part, int64_t epoch, int64_t step,
                      vt_evaluator_tick *tick, void *arg);

/* Probabilities of one row of logits in double; returns the most likely class. */
int64_t vt_softmax(const float *logits, int64_t classes, double *probability_of_it);

#endif
