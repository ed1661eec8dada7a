/*
 * A trained model: the weights of a run, in use. Takes no lock and writes nothing, so the run may
 * be training meanwhile.
 *
 *     find (the run, what it is, its experiment), then device, slots added to t->engine, load;
 *     or, for the weights alone, find, t->engine planned, read
 */
#ifndef VT_TRAIN_TRAINED_H
#define VT_TRAIN_TRAINED_H

#include "data/data.h"
#include "results/history.h"
#include "results/json.h"
#include "results/runs.h"
#include "train/engine.h"

typedef struct vt_trained_request {
    vt_run_place place;
    bool last;               /* the newest weights; else the best by train.select */
    const char *const *sets; /* key=value on top of the run's config.yaml */
    int n_sets;
    vt_config_overrides own;
} vt_trained_request;

typedef struct vt_trained {
    vt_run_place place;
    int fd; /* the run's folder */
    vt_history history;
    vt_config *config;
    vt_dev *dev;
    vt_engine engine;
    const char *file; /* best.safetensors or last.safetensors */
    char sha256[VT_SHA256_HEX_SIZE];
    int64_t step, epoch; /* when the weights were saved; -1: the journal does not say */
    int64_t batches;     /* training batches behind the batch norms' averages; 0 without any */
} vt_trained;

/* Release in every case. VT_ERR_NOINPUT: no run there, or no weights yet. VT_ERR_DATA,
 * VT_ERR_CONFIG: the run's own files are damaged. */
vt_status vt_trained_find(vt_trained *t, const vt_trained_request *request, vt_error *err);
/* Opens the device; the data's threads are its. */
vt_status vt_trained_device(vt_trained *t, vt_error *err);
/* Fills a host block of engine.params->n_floats: the run's weights, and fixed tables. The engine
 * must be planned. */
vt_status vt_trained_read(vt_trained *t, float *floats, vt_error *err);
/* Builds the engine for the slots that were added to it, and gives it the weights. */
vt_status vt_trained_load(vt_trained *t, vt_error *err);
void vt_trained_release(vt_trained *t);

/* Which weights these are: {"run_id", "experiment", "file", "sha256", "epoch", "step"}. */
json_t *vt_trained_json(const vt_trained *t);
/* The class names, one for each output of the head. */
const char *const *vt_trained_classes(const vt_trained *t);

#endif
