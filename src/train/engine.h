/*
 * The engine: a model with its parameters, memory and programs on a device, and the optimiser.
 *
 * It is built for a fixed list of batch sizes, each for training or evaluation (a "slot"); all
 * slots share parameters and one arena. After vt_engine_init nothing is allocated.
 */
#ifndef VT_TRAIN_ENGINE_H
#define VT_TRAIN_ENGINE_H

#include "config/config.h"
#include "graph/exec.h"
#include "nn/model.h"

enum { VT_MAX_SLOTS = 12 };

typedef struct vt_slot {
    int64_t batch;
    bool training;
    vt_model model;
    vt_plan *plan;
    vt_program *program;
    bool met; /* train/ahead.h: its whole step was done once, and then recorded */
    void *recording;
} vt_slot;

typedef struct vt_engine {
    const vt_config *config;
    vt_dev *dev; /* not owned */
    vt_params *params;
    vt_slot slot[VT_MAX_SLOTS];
    int n_slots;
    vt_memory memory;
    float *moment1, *moment2; /* device, n_trained each; NULL where the optimiser has none */
    double *norm_sum, *norm_scratch;
    vt_step step;           /* host copy of memory.step */
    vt_program_hook *watch; /* called after each call of a training pass; NULL: nobody watches */
    void *watch_arg;
    int passes; /* of the step that was begun */
} vt_engine;

/* The device that the experiment asks for: train.device, train.threads. */
vt_status vt_engine_device(vt_dev **dev, const vt_config *config, vt_error *err);

/* VT_ERR_CONFIG unless the device computes in train.precision. */
vt_status vt_engine_precision(const vt_dev *dev, const vt_config *config, vt_error *err);

/* Start with {0}; add slots (repeated ones are ignored), then init. vt_engine_plan stops before
 * memory is taken: for summaries. */
void vt_engine_add_slot(vt_engine *engine, int64_t batch, bool training);
vt_status vt_engine_plan(vt_engine *engine, const vt_config *config, vt_error *err);
/* The weights are filled with the seed's initial values. */
vt_status vt_engine_init(vt_engine *engine, const vt_config *config, vt_dev *dev, vt_error *err);
void vt_engine_release(vt_engine *engine);

vt_slot *vt_engine_slot(vt_engine *engine, int64_t batch, bool training);
/* Bytes of the plan: parameters, gradients, moments, arena, thread scratch. */
int64_t vt_engine_bytes(const vt_engine *engine, int threads);
/* Multiply-accumulates of one image's forward pass; padded: of the form that computes
 * padded and unread tokens too. */
double vt_engine_macs(const vt_engine *engine, bool padded);

/* Sums of a batch, as doubles: VT_TOTAL_LOSS and so on. */
typedef struct vt_totals {
    double v[VT_TOTALS];
} vt_totals;

/*
 * One optimiser step is begin, then for each of its batches: fill the slot's images and labels,
 * vt_engine_train_batch; then vt_engine_update. Between the first and the last nothing else is
 * computed: where a step has one batch (train.accumulate = 1), its gradients may lie in the arena.
 * `images` is the number of images in the whole step; `draw` numbers the forward pass for the
 * generator and must differ between all batches of a run.
 */
void vt_engine_begin(vt_engine *engine, int64_t images, double lr);
vt_totals vt_engine_train_batch(vt_engine *engine, vt_slot *slot, uint32_t draw);
/* Norm of the averaged gradient, before clipping. Not finite if a gradient is not. */
double vt_engine_grad_norm(vt_engine *engine);
/* Clips and updates; t counts optimiser steps from 1. */
void vt_engine_update(vt_engine *engine, int64_t t);
/* Evaluation of the slot's batch. */
vt_totals vt_engine_eval_batch(vt_engine *engine, vt_slot *slot, vt_program_hook *hook, void *arg);

/* The same in parts, for a device that works ahead of the host (train/ahead.h). The scalars of
 * optimiser step t: all but the draw. */
vt_step vt_engine_step_of(const vt_engine *engine, int64_t images, double lr, int64_t t);
void vt_engine_send_step(vt_engine *engine, const vt_step *step);
/* What the device has to do for the slot's batch, with the step's scalars and totals[4] = 0 in its
 * memory: the forward pass, and where the slot trains all the rest of the step; t as above. result
 * (device) is judge_step's. Nothing of it waits, so it may be recorded, but for a step with t = 1.
 */
void vt_engine_issue(vt_engine *engine, vt_slot *slot, int64_t t, double *result);

/* Host access to a slot's inputs and logits. */
void vt_engine_write_batch(vt_engine *engine, vt_slot *slot, const float *images,
                           const int32_t *labels);
void vt_engine_read_logits(vt_engine *engine, vt_slot *slot, float *logits);

/* The first parameter with a value that is not finite; NULL if there is none. */
const vt_param *vt_engine_bad_param(vt_engine *engine);

/* After a loss or gradient that is not finite: computes the batch in the slot again and names the
 * first layer with such a value. */
void vt_engine_diagnose(vt_engine *engine, vt_slot *slot, char *text, size_t size);

#endif
