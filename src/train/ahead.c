#include "train/ahead.h"

#include "base/mem.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { RESULTS = VT_TOTALS + 1 }; /* of judge_step */

struct vt_ahead {
    vt_engine *engine;
    const vt_data *data;
    vt_data_stock stock; /* where batches are gathered; else its pixels are NULL */
    uint8_t *pixels;     /* device, as what follows */
    float *levels;
    vt_pick *picks;
    vt_step *list;
    double *result;
    float *logits; /* of an evaluation's batch, where the plan has them in bfloat16; else NULL */
    vt_pick *host_picks; /* of the series */
    vt_step *host_list;
    double *results; /* (VT_AHEAD, RESULTS), a row for each of those begun, in turn */
    uint64_t fetch[VT_AHEAD];
    int64_t most_images, most_batches; /* of a series */
    vt_series series;
    int64_t issued, collected; /* of its batches */
};

static int64_t larger(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

static size_t pixels_bytes(const vt_data_stock *s)
{
    return (size_t)(s->n * s->height * s->width * s->channels);
}

static size_t levels_bytes(const vt_data_stock *s)
{
    return (size_t)s->channels * 256 * sizeof(float);
}

static void release_stock(vt_ahead *a)
{
    vt_dev *dev = a->engine->dev;
    vt_dev_release(dev, a->pixels, pixels_bytes(&a->stock));
    vt_dev_release(dev, a->levels, levels_bytes(&a->stock));
    vt_dev_release(dev, a->picks, (size_t)a->most_images * sizeof *a->picks);
    vt_free(a->host_picks);
    a->pixels = NULL;
    a->levels = NULL;
    a->picks = a->host_picks = NULL;
    a->stock = (vt_data_stock){0};
}

/* The pictures on the device; without room there the caller loads the batches. */
static void take_stock(vt_ahead *a)
{
    vt_dev *dev = a->engine->dev;
    if (!vt_data_stock_of(a->data, &a->stock)) {
        a->stock = (vt_data_stock){0};
        return;
    }
    a->pixels = vt_dev_alloc(dev, pixels_bytes(&a->stock));
    a->levels = vt_dev_alloc(dev, levels_bytes(&a->stock));
    a->picks = vt_dev_alloc(dev, (size_t)a->most_images * sizeof *a->picks);
    a->host_picks = vt_calloc((size_t)a->most_images, sizeof *a->host_picks);
    if (!a->pixels || !a->levels || !a->picks || !a->host_picks) {
        release_stock(a);
        return;
    }
    vt_dev_write(dev, a->pixels, a->stock.pixels, pixels_bytes(&a->stock));
    vt_dev_write(dev, a->levels, a->stock.levels, levels_bytes(&a->stock));
}

static size_t logits_bytes(const vt_ahead *a)
{
    const vt_config *c = a->engine->config;
    return (size_t)(c->eval_batch * c->model_classes) * sizeof *a->logits;
}

static void count_most(vt_ahead *a)
{
    const vt_data_info *info = vt_data_info_of(a->data);
    const vt_config *c = a->engine->config;
    for (int part = 0; part < VT_PART_COUNT; part++) {
        const int64_t n = info->n[part];
        const int64_t batch = part == VT_PART_TRAIN ? c->train_batch : c->eval_batch;
        a->most_images = larger(a->most_images, n);
        a->most_batches = larger(a->most_batches, (n + batch - 1) / batch);
    }
}

static bool is_set(const char *name, const char *value)
{
    const char *text = getenv(name);
    return text && strcmp(text, value) == 0;
}

vt_status vt_ahead_new(vt_ahead **result, vt_engine *engine, const vt_data *data, vt_error *err)
{
    vt_dev *dev = engine->dev;
    *result = NULL;
    if (!vt_dev_records(dev) || is_set("VITRINE_AHEAD", "off"))
        return VT_OK;
    vt_ahead *a = vt_calloc(1, sizeof *a);
    if (!a)
        return vt_fail(err, VT_ERR_NOMEM, "no memory for the steps of a series");
    a->engine = engine;
    a->data = data;
    count_most(a);
    const size_t n = (size_t)a->most_batches;
    a->host_list = vt_calloc(n, sizeof *a->host_list);
    a->list = vt_dev_alloc(dev, n * sizeof *a->list);
    a->result = vt_dev_alloc(dev, RESULTS * sizeof *a->result);
    a->results = vt_dev_host_alloc(dev, VT_AHEAD * RESULTS * sizeof *a->results);
    const bool rounds = vt_model_type(engine->config) == VT_BF16;
    if (rounds)
        a->logits = vt_dev_alloc(dev, logits_bytes(a));
    if (!a->host_list || !a->list || !a->result || !a->results || (rounds && !a->logits)) {
        vt_ahead_free(a);
        return vt_fail(err, VT_ERR_NOMEM, "no memory for the steps of a series");
    }
    if (!is_set("VITRINE_AHEAD", "fed"))
        take_stock(a);
    *result = a;
    return VT_OK;
}

void vt_ahead_free(vt_ahead *a)
{
    if (!a)
        return;
    vt_dev *dev = a->engine->dev;
    while (vt_ahead_waiting(a) > 0)
        vt_ahead_collect(a);
    release_stock(a);
    vt_dev_release(dev, a->list, (size_t)a->most_batches * sizeof *a->list);
    vt_dev_release(dev, a->result, RESULTS * sizeof *a->result);
    vt_dev_release(dev, a->logits, logits_bytes(a));
    vt_dev_host_release(dev, a->results);
    vt_free(a->host_list);
    vt_free(a);
}

bool vt_ahead_gathers(const vt_ahead *a)
{
    return a->stock.pixels != NULL;
}

static int64_t images_of(const vt_series *s, int64_t batch)
{
    const int64_t left = s->n - batch * s->batch;
    return left < s->batch ? left : s->batch;
}

static double rate_of(const vt_ahead *a, int64_t batch)
{
    const vt_series *s = &a->series;
    return vt_schedule_lr(a->engine->config, s->schedule, s->step + batch, s->steps_per_epoch);
}

static vt_step step_of(const vt_ahead *a, int64_t batch)
{
    const vt_series *s = &a->series;
    vt_step step = a->engine->step;
    if (s->training)
        step = vt_engine_step_of(a->engine, images_of(s, batch), rate_of(a, batch),
                                 s->step + batch + 1);
    if (s->training)
        step.draw = (uint32_t)(s->draw + batch);
    step.first = (uint32_t)(batch * s->batch);
    step.next = (uint32_t)(batch + 1);
    return step;
}

void vt_ahead_begin(vt_ahead *a, const vt_series *series)
{
    vt_dev *dev = a->engine->dev;
    const int64_t batches = (series->n + series->batch - 1) / series->batch;
    VT_ASSERT(vt_ahead_waiting(a) == 0);
    VT_ASSERT(series->n <= a->most_images && batches <= a->most_batches);
    a->series = *series;
    a->issued = a->collected = 0;
    for (int64_t i = 0; i < batches; i++)
        a->host_list[i] = step_of(a, i);
    vt_dev_write(dev, a->list, a->host_list, (size_t)batches * sizeof *a->list);
    vt_engine_send_step(a->engine, &a->engine->step); /* its `next` is 0 */
    if (!vt_ahead_gathers(a))
        return;
    vt_data_picks(a->data, vt_dev_pool(dev), series->part, series->training,
                  a->engine->config->seed, series->epoch, series->items, series->n, a->host_picks);
    vt_dev_write(dev, a->picks, a->host_picks, (size_t)series->n * sizeof *a->picks);
}

int64_t vt_ahead_waiting(const vt_ahead *a)
{
    return a->issued - a->collected;
}

static void gather(vt_ahead *a, vt_slot *slot)
{
    const vt_data_info *info = vt_data_info_of(a->data);
    const vt_node *images = slot->model.images;
    const vt_gather_sizes sizes = {.batch = slot->batch,
                                   .height = info->height,
                                   .width = info->width,
                                   .channels = info->channels,
                                   .stored_height = a->stock.height,
                                   .stored_width = a->stock.width};
    const vt_buf to = {vt_program_value(slot->program, images), images->type};
    vt_dev_kernels(a->engine->dev)
        ->gather(a->engine->dev, to, vt_program_value(slot->program, slot->model.labels), a->pixels,
                 a->levels, a->picks, &sizes, a->engine->memory.step);
}

/* The logits as floats, for the host. */
static void widen(vt_ahead *a, vt_slot *slot)
{
    const vt_node *logits = slot->model.logits;
    const vt_buf from = {vt_program_value(slot->program, logits), logits->type};
    vt_dev_kernels(a->engine->dev)
        ->convert(a->engine->dev, (vt_buf){a->logits, VT_F32}, from, logits->shape.size);
}

/* All that the device does for the batch, t counting optimiser steps from 1. */
static void do_batch(vt_ahead *a, vt_slot *slot, int64_t t)
{
    const vt_memory *memory = &a->engine->memory;
    vt_dev_kernels(a->engine->dev)
        ->next_step(a->engine->dev, memory->step, memory->totals, a->list);
    if (vt_ahead_gathers(a))
        gather(a, slot);
    vt_engine_issue(a->engine, slot, t, a->result);
    if (!slot->training && a->logits)
        widen(a, slot);
}

void vt_ahead_issue(vt_ahead *a, const vt_batch *batch, float *logits)
{
    const vt_series *s = &a->series;
    vt_engine *engine = a->engine;
    const int64_t number = a->issued++, t = s->step + number + 1;
    const int row = (int)(number % VT_AHEAD);
    vt_slot *slot = vt_engine_slot(engine, images_of(s, number), s->training);
    VT_ASSERT(vt_ahead_waiting(a) <= VT_AHEAD && (batch == NULL) == vt_ahead_gathers(a));
    if (batch) {
        VT_ASSERT(batch->n == slot->batch);
        vt_engine_write_batch(engine, slot, batch->images, batch->labels);
    }
    if (!slot->met) {
        do_batch(a, slot, t);
        slot->met = true;
    } else if (!slot->recording) {
        vt_dev_record(engine->dev);
        do_batch(a, slot, t);
        slot->recording = vt_dev_recorded(engine->dev);
        vt_dev_replay(engine->dev, slot->recording);
    } else {
        vt_dev_replay(engine->dev, slot->recording);
    }
    if (logits)
        vt_dev_fetch(engine->dev, logits,
                     a->logits ? a->logits : vt_program_value(slot->program, slot->model.logits),
                     (size_t)slot->model.logits->shape.size * sizeof *logits);
    a->fetch[row] = vt_dev_fetch(engine->dev, a->results + row * RESULTS,
                                 s->training ? a->result : engine->memory.totals,
                                 (s->training ? RESULTS : VT_TOTALS) * sizeof *a->result);
}

vt_outcome vt_ahead_collect(vt_ahead *a)
{
    const int64_t number = a->collected++;
    const double *v = a->results + number % VT_AHEAD * RESULTS;
    VT_ASSERT(number < a->issued);
    vt_dev_wait(a->engine->dev, a->fetch[number % VT_AHEAD]);
    vt_outcome outcome = {.images = images_of(&a->series, number)};
    for (int i = 0; i < VT_TOTALS; i++)
        outcome.totals.v[i] = v[i];
    if (a->series.training) {
        outcome.lr = rate_of(a, number);
        outcome.norm = sqrt(v[VT_TOTALS]);
    }
    return outcome;
}

vt_status vt_ahead_repeat(vt_ahead *a, vt_slot **slot, vt_error *err)
{
    const vt_series *s = &a->series;
    const int64_t number = a->collected - 1, n = images_of(s, number);
    vt_engine *engine = a->engine;
    *slot = vt_engine_slot(engine, n, s->training);
    float *images = vt_calloc((size_t)(*slot)->model.images->shape.size, sizeof *images);
    int32_t *labels = vt_calloc((size_t)n, sizeof *labels);
    vt_status status = VT_OK;
    if (!images || !labels)
        status = vt_fail(err, VT_ERR_NOMEM, "no memory for a batch");
    if (status == VT_OK)
        status = vt_batch_load(a->data, vt_dev_pool(engine->dev), s->part, s->training,
                               engine->config->seed, s->epoch, s->items + number * s->batch, n,
                               images, labels, err);
    if (status == VT_OK) {
        vt_engine_write_batch(engine, *slot, images, labels);
        vt_engine_send_step(engine, &a->host_list[number]);
    }
    vt_free(images);
    vt_free(labels);
    return status;
}
