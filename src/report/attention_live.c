/* Attention weights of picture files, by the run's model. */
#include "base/mem.h"
#include "report/attention.h"
#include "train/attention_tap.h"
#include "train/evaluate.h"
#include "train/run.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { CHANNELS = 3 };

struct live {
    vt_attention_tap tap;
    vt_image image;
    float *input, *logits;
    uint8_t *pixels;
};

static void release(void *source)
{
    struct live *live = source;
    vt_attention_tap_release(&live->tap);
    vt_image_release(&live->image);
    vt_free(live->input);
    vt_free(live->logits);
    vt_free(live->pixels);
    vt_free(live);
}

/* The input as bytes again. */
static void show(const vt_data_request *request, const float *input, uint8_t *pixels, int64_t n)
{
    for (int64_t i = 0; i < n * CHANNELS; i++) {
        double mean = (double)request->mean[i % CHANNELS], std = (double)request->std[i % CHANNELS];
        double byte = floor(255 * ((double)input[i] * std + mean) + 0.5);
        pixels[i] = (uint8_t)(byte < 0 ? 0 : byte > 255 ? 255 : byte);
    }
}

static vt_status look(vt_attention_set *a, struct live *live, vt_trained *t, int64_t i,
                      vt_error *err)
{
    const vt_data_request request = vt_run_data_request(t->config);
    const int32_t label = 0; /* the loss is not looked at */
    int64_t side = t->config->model_image, classes = t->config->model_classes;
    vt_attention_image *image = &a->image[i];
    vt_slot *slot = vt_engine_slot(&t->engine, 1, false);
    vt_status status = vt_image_read(&live->image, image->file, err);
    if (status == VT_OK)
        status = vt_data_prepare(&request, side, &live->image, live->input, err);
    if (status != VT_OK)
        return status;
    show(&request, live->input, live->pixels + i * side * side * CHANNELS, side * side);
    image->pixels = live->pixels + i * side * side * CHANNELS;
    vt_engine_write_batch(&t->engine, slot, live->input, &label);
    vt_attention_tap_begin(&live->tap, i);
    vt_engine_eval_batch(&t->engine, slot, vt_attention_tap_hook, &live->tap);
    vt_engine_read_logits(&t->engine, slot, live->logits);
    image->pred = vt_softmax(live->logits, classes, &image->probability);
    return VT_OK;
}

vt_status vt_attention_compute(vt_attention_set *a, vt_trained *t, const char *const *files,
                               int64_t n, vt_error *err)
{
    int64_t side = t->config->model_image;
    struct live *live = vt_calloc(1, sizeof *live);
    *a = (vt_attention_set){.class_names = vt_trained_classes(t),
                            .n_classes = t->config->model_classes,
                            .n = n,
                            .height = side,
                            .width = side};
    if (!live)
        return vt_fail(err, VT_ERR_NOMEM, "no memory for the pictures");
    a->source = live;
    a->release = release;
    if (t->config->model_channels != CHANNELS)
        return vt_fail(err, VT_ERR_DATA, "%s: its images have %lld channels, not 3", t->place.path,
                       (long long)t->config->model_channels);
    vt_engine_add_slot(&t->engine, 1, false);
    vt_status status = vt_trained_load(t, err);
    if (status == VT_OK)
        status = vt_attention_tap_init(&live->tap, t->dev,
                                       vt_engine_slot(&t->engine, 1, false)->model.graph, n, err);
    if (status != VT_OK)
        return status;
    a->epoch = t->epoch;
    a->n_layers = live->tap.n_layers;
    a->pool = live->tap.pool;
    a->pool_side = vt_attention_pool_side(live->tap.pool_tokens);
    a->image = vt_calloc((size_t)n, sizeof *a->image);
    a->layer = vt_calloc((size_t)a->n_layers + 1, sizeof *a->layer);
    live->input = vt_calloc((size_t)(side * side * CHANNELS), sizeof *live->input);
    live->logits = vt_calloc((size_t)a->n_classes, sizeof *live->logits);
    live->pixels = vt_calloc((size_t)(n * side * side * CHANNELS), 1);
    if (!a->image || !a->layer || !live->input || !live->logits || !live->pixels)
        return vt_fail(err, VT_ERR_NOMEM, "no memory for %lld pictures", (long long)n);
    if (a->n_layers == 0)
        return vt_fail(err, VT_ERR_DATA, "%s: its model has no attention", t->place.path);
    memcpy(a->layer, live->tap.layer, (size_t)a->n_layers * sizeof *a->layer);
    a->has_rollout = vt_rollout_exists(a->layer, a->n_layers);
    for (int64_t i = 0; i < n && status == VT_OK; i++) {
        a->image[i] = (vt_attention_image){.file = files[i], .number = i, .label = -1};
        status = look(a, live, t, i, err);
    }
    return status;
}
