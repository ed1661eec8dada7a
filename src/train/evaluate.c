#include "train/evaluate.h"

#include "base/mem.h"
#include "base/rng.h"
#include "results/stats.h"

#include <math.h>
#include <string.h>

void vt_evaluator_slots(vt_engine *engine, const vt_config *config, const vt_data_info *info)
{
    for (int part = VT_PART_VAL; part <= VT_PART_TEST; part++) {
        int64_t n = info->n[part], batch = config->eval_batch;
        if (n >= batch)
            vt_engine_add_slot(engine, batch, false);
        if (config->eval_compat != VT_COMPAT_ARTICLE)
            vt_engine_add_slot(engine, n % batch, false);
    }
}

vt_status vt_evaluator_init(vt_evaluator *e, vt_engine *engine, const vt_data *data, vt_error *err)
{
    const vt_data_info *info = vt_data_info_of(data);
    int64_t classes = engine->config->model_classes;
    int64_t n =
        info->n[VT_PART_VAL] > info->n[VT_PART_TEST] ? info->n[VT_PART_VAL] : info->n[VT_PART_TEST];
    *e = (vt_evaluator){.engine = engine,
                        .data = data,
                        .batch = engine->config->eval_batch,
                        .classes = classes,
                        .capacity = n};
    vt_status status = vt_feed_new(&e->feed, data, vt_dev_pool(engine->dev),
                                   (int)engine->config->data_threads, e->batch, err);
    if (status != VT_OK)
        return status;
    e->order = vt_calloc((size_t)n, sizeof *e->order);
    e->logits = vt_dev_host_alloc(engine->dev, (size_t)(n * classes) * sizeof *e->logits);
    e->label = vt_calloc((size_t)n, sizeof *e->label);
    e->pred = vt_calloc((size_t)n, sizeof *e->pred);
    e->record_bytes = vt_record_eval_size(classes);
    e->record = vt_calloc(e->record_bytes, 1);
    if (e->order && e->logits && e->label && e->pred && e->record)
        return VT_OK;
    vt_evaluator_release(e);
    return vt_fail(err, VT_ERR_NOMEM, "no memory to evaluate %lld images", (long long)n);
}

void vt_evaluator_release(vt_evaluator *e)
{
    vt_feed_free(e->feed);
    vt_free(e->order);
    if (e->engine)
        vt_dev_host_release(e->engine->dev, e->logits);
    vt_free(e->label);
    vt_free(e->pred);
    vt_free(e->record);
    *e = (vt_evaluator){0};
}

int64_t vt_softmax(const float *logits, int64_t classes, double *probability_of_it)
{
    int64_t best = 0;
    double sum = 0;
    for (int64_t i = 1; i < classes; i++)
        if (logits[i] > logits[best])
            best = i;
    for (int64_t i = 0; i < classes; i++)
        sum += vt_exp((double)logits[i] - (double)logits[best]);
    *probability_of_it = 1 / sum;
    return best;
}

/* Fills pred, the confusion counts if they are kept, and the calibration error, which is that of
 * vt_stats_calibration. */
static void judge(vt_evaluator *e, int64_t n)
{
    double confidence[VT_CALIBRATION_BINS] = {0}, gap = 0;
    int64_t hits[VT_CALIBRATION_BINS] = {0};
    size_t confusion_bytes = e->record_bytes - sizeof *e->record;
    int64_t *confusion = (int64_t *)(e->record + 1);
    memset(confusion, 0, confusion_bytes);
    for (int64_t i = 0; i < n; i++) {
        double p;
        e->pred[i] = vt_softmax(e->logits + i * e->classes, e->classes, &p);
        int bin = vt_calibration_bin_of(p, VT_CALIBRATION_BINS);
        confidence[bin] += p;
        hits[bin] += e->pred[i] == e->label[i];
        if (confusion_bytes)
            confusion[e->label[i] * e->classes + e->pred[i]]++;
    }
    for (int b = 0; b < VT_CALIBRATION_BINS; b++)
        gap += fabs(confidence[b] - (double)hits[b]);
    e->record->ece = n ? gap / (double)n : 0;
}

/* The next batch, done here and now. */
static bool do_batch(vt_evaluator *e, int64_t done, vt_outcome *outcome)
{
    vt_batch batch;
    if (vt_feed_next(e->feed, &batch, &e->err) != VT_OK)
        return false;
    vt_slot *slot = vt_engine_slot(e->engine, batch.n, false);
    vt_engine_write_batch(e->engine, slot, batch.images, batch.labels);
    *outcome = (vt_outcome){batch.n, vt_engine_eval_batch(e->engine, slot, NULL, NULL), 0, 0};
    vt_engine_read_logits(e->engine, slot, e->logits + done * e->classes);
    for (int64_t i = 0; i < batch.n; i++)
        e->label[done + i] = batch.labels[i];
    return true;
}

/* The batch from image `first` on is begun. */
static bool issue(vt_evaluator *e, vt_part part, int64_t first, int64_t count)
{
    float *logits = e->logits + first * e->classes;
    const bool gathers = vt_ahead_gathers(e->ahead);
    vt_batch batch;
    if (!gathers && vt_feed_next(e->feed, &batch, &e->err) != VT_OK)
        return false;
    vt_ahead_issue(e->ahead, gathers ? NULL : &batch, logits);
    for (int64_t i = 0; i < count; i++) {
        int label = 0;
        if (gathers)
            vt_data_item(e->data, part, e->order[first + i], &label);
        e->label[first + i] = gathers ? label : batch.labels[i];
    }
    return true;
}

/* What came of the batch after `done` images; *begun, of n, are on their way. */
static bool next_outcome(vt_evaluator *e, vt_part part, int64_t *begun, int64_t done, int64_t n,
                         vt_outcome *outcome)
{
    if (!e->ahead)
        return do_batch(e, done, outcome);
    while (*begun < n && vt_ahead_waiting(e->ahead) < VT_AHEAD) {
        int64_t count = n - *begun < e->batch ? n - *begun : e->batch;
        if (!issue(e, part, *begun, count))
            return false;
        *begun += count;
    }
    *outcome = vt_ahead_collect(e->ahead);
    return true;
}

/* False, once nothing writes to the logits any more. */
static bool give_up(vt_evaluator *e)
{
    while (e->ahead && vt_ahead_waiting(e->ahead) > 0)
        vt_ahead_collect(e->ahead);
    return false;
}

bool vt_evaluator_run(vt_evaluator *e, vt_part part, int64_t epoch, int64_t step,
                      vt_evaluator_tick *tick, void *arg)
{
    const vt_config *config = e->engine->config;
    bool article = config->eval_compat == VT_COMPAT_ARTICLE;
    int64_t n = vt_data_info_of(e->data)->n[part], done = 0, begun = 0;
    vt_totals sum = {{0}};
    e->err = (vt_error){0};
    if (article)
        n -= n % e->batch;
    vt_sampler_order(e->data, part, article, config->seed, epoch, e->order);
    if (!e->ahead || !vt_ahead_gathers(e->ahead))
        vt_feed_begin(e->feed, part, false, config->seed, epoch, e->order, n);
    if (e->ahead)
        vt_ahead_begin(
            e->ahead,
            &(vt_series){
                .part = part, .epoch = epoch, .items = e->order, .n = n, .batch = e->batch});
    while (done < n) {
        vt_outcome outcome;
        if (!next_outcome(e, part, &begun, done, n, &outcome))
            return give_up(e);
        for (int i = 0; i < VT_TOTALS; i++)
            sum.v[i] += outcome.totals.v[i];
        done += outcome.images;
        if (tick && tick(arg, done, n))
            return give_up(e);
    }
    double images = n ? (double)n : 1;
    *e->record = (vt_record_eval){.epoch = epoch,
                                  .step = step,
                                  .images = n,
                                  .split = part == VT_PART_VAL ? VT_SPLIT_VAL : VT_SPLIT_TEST,
                                  .classes = e->classes,
                                  .loss = sum.v[VT_TOTAL_LOSS] / images,
                                  .top1 = sum.v[VT_TOTAL_TOP1] / images,
                                  .top5 = sum.v[VT_TOTAL_TOP5] / images};
    judge(e, n);
    return true;
}
