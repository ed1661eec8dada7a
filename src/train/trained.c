#include "train/trained.h"

#include "base/log.h"
#include "base/mem.h"
#include "train/weights.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>

static vt_status load_config(vt_trained *t, const vt_trained_request *request, vt_error *err)
{
    char path[PATH_MAX + 16];
    vt_diagnostics diags = {0};
    snprintf(path, sizeof path, "%s/config.yaml", t->place.path);
    vt_status status =
        vt_config_load(&t->config, path, request->sets, request->n_sets, &request->own, &diags);
    if (status != VT_OK)
        vt_fail(err, status, "%s", diags.text.data ? diags.text.data : "no memory for the run");
    vt_diagnostics_release(&diags);
    return status;
}

/* The head's classes are the run's, whatever data it is shown. */
static vt_status check_classes(const vt_trained *t, vt_error *err)
{
    if (t->history.info.n_classes == t->config->model_classes)
        return VT_OK;
    return vt_fail(err, VT_ERR_DATA,
                   "%s: config.yaml says %lld classes, the journal names %lld: they are not of one "
                   "run",
                   t->place.path, (long long)t->config->model_classes,
                   (long long)t->history.info.n_classes);
}

vt_status vt_trained_find(vt_trained *t, const vt_trained_request *request, vt_error *err)
{
    *t = (vt_trained){.place = request->place,
                      .fd = -1,
                      .step = -1,
                      .epoch = -1,
                      .file = request->last ? "last.safetensors" : "best.safetensors"};
    vt_status status = vt_fs_open_dir(AT_FDCWD, t->place.path, &t->fd, err);
    if (status == VT_OK)
        status = vt_history_read(&t->history, t->fd, err);
    if (status == VT_OK)
        status = load_config(t, request, err);
    return status == VT_OK ? check_classes(t, err) : status;
}

/* When these weights were saved, as far as the journal says. */
static void find_moment(vt_trained *t, const uint8_t sha256[VT_SHA256_SIZE])
{
    const vt_history *h = &t->history;
    for (int64_t i = 0; i <= h->n_checkpoints; i++) {
        const vt_record_checkpoint *c = i < h->n_checkpoints ? &h->checkpoint[i] : &h->last;
        if ((i < h->n_checkpoints || h->done) &&
            memcmp(c->weights_sha256, sha256, VT_SHA256_SIZE) == 0) {
            t->step = c->step;
            t->epoch = c->epoch;
        }
    }
}

static int64_t find_batches(const vt_safetensors *file)
{
    static const char counter[] = ".num_batches_tracked";
    for (int i = 0; i < vt_safetensors_count(file); i++) {
        const vt_safetensor *tensor = vt_safetensors_at(file, i);
        size_t size = strlen(tensor->name);
        int64_t value;
        if (size < sizeof counter || strcmp(tensor->name + size - (sizeof counter - 1), counter) ||
            tensor->type != VT_SAFETENSORS_I64 || tensor->size_bytes != sizeof value)
            continue;
        memcpy(&value, tensor->data, sizeof value);
        return value;
    }
    return 0;
}

vt_status vt_trained_read(vt_trained *t, float *floats, vt_error *err)
{
    uint8_t sha256[VT_SHA256_SIZE];
    char path[PATH_MAX + 32];
    vt_safetensors *file = NULL;
    if (!vt_fs_exists(t->fd, t->file))
        return vt_fail(err, VT_ERR_NOINPUT, "%s: no %s yet: the run has not saved such weights",
                       t->place.path, t->file);
    snprintf(path, sizeof path, "%s/%s", t->place.path, t->file);
    vt_status status = vt_safetensors_open(&file, t->fd, t->file, sha256, err);
    if (status != VT_OK)
        return status;
    vt_params_fill(t->engine.params, t->config->seed, floats);
    status = vt_weights_restore(t->engine.params, file, path, floats, err);
    t->batches = find_batches(file);
    find_moment(t, sha256);
    vt_sha256_hex(sha256, t->sha256);
    vt_safetensors_close(file);
    return status;
}

vt_status vt_trained_device(vt_trained *t, vt_error *err)
{
    vt_error refused = {0};
    vt_status status = vt_engine_device(&t->dev, t->config, err);
    if (status == VT_OK && vt_engine_precision(t->dev, t->config, &refused) != VT_OK) {
        vt_log_write(VT_LOG_INFO, "trained in %s; computed in fp32 here",
                     vt_config_word("train.precision", t->config->train_precision));
        t->config->train_precision = VT_PRECISION_FP32;
    }
    return status;
}

vt_status vt_trained_load(vt_trained *t, vt_error *err)
{
    vt_status status = vt_engine_init(&t->engine, t->config, t->dev, err);
    if (status != VT_OK)
        return status;
    size_t bytes = (size_t)t->engine.params->n_floats * sizeof(float);
    float *floats = vt_calloc(bytes, 1);
    if (!floats)
        return vt_fail(err, VT_ERR_NOMEM, "no memory for the weights of %s", t->place.path);
    status = vt_trained_read(t, floats, err);
    if (status == VT_OK)
        vt_dev_write(t->dev, t->engine.memory.weights, floats, bytes);
    vt_free(floats);
    return status;
}

void vt_trained_release(vt_trained *t)
{
    vt_engine_release(&t->engine);
    vt_dev_free(t->dev);
    vt_config_free(t->config);
    vt_history_release(&t->history);
    vt_fs_close(&t->fd);
}

json_t *vt_trained_json(const vt_trained *t)
{
    const vt_runinfo *info = &t->history.info;
    return json_pack("{s:s, s:s, s:s, s:s, s:o, s:o}", "run_id", info->run_id, "experiment",
                     info->exp_name, "file", t->file, "sha256", t->sha256, "epoch",
                     t->epoch < 0 ? json_null() : json_integer(t->epoch), "step",
                     t->step < 0 ? json_null() : json_integer(t->step));
}

const char *const *vt_trained_classes(const vt_trained *t)
{
    return t->history.info.class_names;
}
