/*
 * Batches that a device works through by itself, while the host is a few behind it.
 *
 * Where the device records (kernels/device.h), a whole training step is one recording: its scalars
 * from a list in device memory, its batch gathered from pictures that lie there, forward and
 * backward pass, norm, clipping and update. The host starts the recordings, one a step, and
 * collects what came of each when it gets to it. The batches of an evaluation are done the same
 * way.
 *
 * Nothing of this changes a bit of a run. A step whose loss or gradient is not finite stops the
 * device: it and the steps that were begun after it leave parameters and moments as they were (its
 * own forward pass has moved running statistics, of which nothing is saved any more).
 */
#ifndef VT_TRAIN_AHEAD_H
#define VT_TRAIN_AHEAD_H

#include "data/data.h"
#include "train/engine.h"
#include "train/schedule.h"

/* Batches that may be begun and not collected. */
enum { VT_AHEAD = 8 };

typedef struct vt_ahead vt_ahead;

/*
 * After the slots were planned. *ahead is NULL where the device does not record: batches are then
 * done one by one with the engine's own functions. The pictures are taken into device memory if the
 * set is of that kind (vt_data_stock_of) and there is room, else the caller loads the batches.
 *
 * Environment, for tests: VITRINE_AHEAD=off: as on a device that does not record;
 * VITRINE_AHEAD=fed: as without room for the pictures.
 */
vt_status vt_ahead_new(vt_ahead **ahead, vt_engine *engine, const vt_data *data, vt_error *err);
void vt_ahead_free(vt_ahead *ahead);
/* Whether batches are gathered on the device. */
bool vt_ahead_gathers(const vt_ahead *ahead);

/* What is to be done: `items`, cut into batches (the last may be smaller). A training series has an
 * optimiser step a batch. */
typedef struct vt_series {
    vt_part part;
    bool training;
    int64_t epoch;
    const uint32_t *items; /* (n); they stay until all is collected */
    int64_t n, batch;
    /* training: */
    int64_t step, draw; /* optimiser steps and passes before the first */
    int64_t steps_per_epoch;
    const vt_schedule_state *schedule;
} vt_series;

/* Nothing may be begun and not collected. */
void vt_ahead_begin(vt_ahead *ahead, const vt_series *series);
/* Begun and not collected. */
int64_t vt_ahead_waiting(const vt_ahead *ahead);
/* Begins the next batch, `batch` if it is not gathered (else NULL). logits (batch, classes): NULL,
 * or where they go: memory of vt_dev_host_alloc. */
void vt_ahead_issue(vt_ahead *ahead, const vt_batch *batch, float *logits);

typedef struct vt_outcome {
    int64_t images;
    vt_totals totals;
    double lr, norm; /* training: vt_engine_grad_norm */
} vt_outcome;
/* Waits for the oldest that was begun. */
vt_outcome vt_ahead_collect(vt_ahead *ahead);
/* Puts the training batch that was collected last into its slot again, and its scalars on the
 * device, after a step that stopped it. Errors as vt_batch_load. */
vt_status vt_ahead_repeat(vt_ahead *ahead, vt_slot **slot, vt_error *err);

#endif
