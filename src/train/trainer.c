/* The loop: batches into steps, steps into epochs, and what is recorded, evaluated and saved at
 * the end of each. */
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/phase.h"
#include "results/perf.h"
#include "results/safetensors.h"
#include "train/run.h"
#include "train/weights.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* Buffers and clocks of the loop. */
struct loop {
    uint32_t *order;
    vt_feed *feed;
    double epoch_s, data_s, eval_s; /* of the present epoch, in this process */
    int64_t epoch_images;           /* seen in this process */
    double loss, top1, lr, norm;    /* of the last step */
    double *step_s;                 /* times of the epoch's steps */
    int64_t n_steps;
    vt_error feed_err; /* why there is no further batch */
    vt_ahead *ahead;   /* run->ahead, where the steps are done by the device alone; or NULL */
    int64_t issued;    /* batches of the epoch that it has begun */
};

static bool stop_wanted(const vt_run *run)
{
    return run->options->stop && *run->options->stop;
}

static int64_t images_of_batch(const vt_run *run, int64_t batch)
{
    int64_t first = batch * run->config->train_batch;
    int64_t left = run->info->n[VT_PART_TRAIN] - first;
    return left < run->config->train_batch ? left : run->config->train_batch;
}

enum { WHERE_SIZE = 200 };

static vt_status diverged(vt_run *run, const char *where, double loss, vt_error *err)
{
    return vt_fail(err, VT_ERR_DIVERGED,
                   "step %" PRId64 " (epoch %" PRId64 ", batch %" PRId64
                   "): the %s is not finite; first in the %s; the weights before this step are in "
                   "%s/last.safetensors or can be trained again up to here; try a lower optim.lr, "
                   "a warm-up or optim.clip_norm",
                   run->state.step + 1, run->state.epoch + 1, run->state.batch,
                   isfinite(loss) ? "gradient" : "loss", where, run->dir.path);
}

/* The same of a step that the device has gone past. */
static vt_status diverged_behind(vt_run *run, vt_ahead *ahead, double loss, vt_error *err)
{
    char where[WHERE_SIZE];
    vt_slot *slot = NULL;
    vt_error reason = {0};
    if (vt_ahead_repeat(ahead, &slot, &reason) == VT_OK)
        vt_engine_diagnose(&run->engine, slot, where, sizeof where);
    else
        snprintf(where, sizeof where, "unknown, as the batch is not to be had again (%.120s)",
                 reason.text);
    return diverged(run, where, loss, err);
}

/* The averaged gradients under the parameters' names, to be held against another program's. */
static vt_status save_gradients(vt_run *run, vt_error *err)
{
    const vt_params *params = run->engine.params;
    const float *grads = vt_dev_host_view(run->dev, run->engine.memory.grads,
                                          (size_t)params->n_trained * sizeof *grads);
    vt_weights list;
    vt_status status = vt_weights_list(&list, params, VT_WEIGHTS_TRAINED, grads, NULL, err);
    const vt_safetensors_content content = {list.tensor, list.n, NULL, 0};
    if (status == VT_OK)
        status = vt_safetensors_write(run->dir.fd, "gradients-1.safetensors", &content, NULL, err);
    vt_weights_release(&list);
    return status;
}

/* A step's sums go where means are made of them. */
static void count(vt_run *run, struct loop *l, const vt_totals *sum, int64_t images)
{
    vt_run_state *s = &run->state;
    l->loss = sum->v[VT_TOTAL_LOSS] / (double)images;
    l->top1 = sum->v[VT_TOTAL_TOP1] / (double)images;
    l->epoch_images += images;
    s->samples_seen += images;
    s->epoch_images += images;
    s->epoch_loss += sum->v[VT_TOTAL_LOSS];
    s->epoch_top1 += sum->v[VT_TOTAL_TOP1];
    s->interval_images += images;
    s->interval_loss += sum->v[VT_TOTAL_LOSS];
    s->interval_top1 += sum->v[VT_TOTAL_TOP1];
}

/* One optimiser step: up to train.accumulate batches, then the update. */
static vt_status step(vt_run *run, struct loop *l, vt_error *err)
{
    vt_run_state *s = &run->state;
    vt_engine *engine = &run->engine;
    const vt_config *c = run->config;
    int64_t first = s->batch, last = first + c->train_accumulate, images = 0;
    vt_totals sum = {{0}};
    vt_slot *slot = NULL;
    vt_batch batch;
    last = last < run->batches ? last : run->batches;
    for (int64_t b = first; b < last; b++)
        images += images_of_batch(run, b);
    l->lr = vt_schedule_lr(c, &run->schedule, s->step, run->steps_per_epoch);
    vt_engine_begin(engine, images, l->lr);
    for (; s->batch < last; s->batch++) {
        int64_t count = images_of_batch(run, s->batch);
        double start = vt_clock_s();
        slot = vt_engine_slot(engine, count, true);
        if (vt_feed_next(l->feed, &batch, err) != VT_OK)
            return err->status;
        VT_ASSERT(batch.n == count);
        vt_engine_write_batch(engine, slot, batch.images, batch.labels);
        l->data_s += vt_clock_s() - start;
        vt_totals totals = vt_engine_train_batch(engine, slot, (uint32_t)s->draw++);
        for (int i = 0; i < VT_TOTALS; i++)
            sum.v[i] += totals.v[i];
    }
    l->norm = vt_engine_grad_norm(engine);
    if (!isfinite(sum.v[VT_TOTAL_LOSS]) || !isfinite(l->norm)) {
        char where[WHERE_SIZE];
        vt_engine_diagnose(&run->engine, slot, where, sizeof where);
        return diverged(run, where, sum.v[VT_TOTAL_LOSS], err);
    }
    if (run->options->gradients && s->step == 0 && save_gradients(run, err) != VT_OK)
        return err->status;
    vt_engine_update(engine, ++s->step);
    count(run, l, &sum, images);
    return VT_OK;
}

static bool due(const vt_run *run, int64_t steps)
{
    const vt_cadence *every = &run->config->checkpoint_every;
    return every->unit == VT_CADENCE_STEPS && steps % every->n == 0;
}

/* Whether the device may begin another step: not before a checkpoint is written of the weights that
 * it has, and with a stop wanted only to get to one step. */
static bool may_issue(const vt_run *run, const struct loop *l)
{
    const int64_t waiting = vt_ahead_waiting(l->ahead);
    return l->issued < run->batches && waiting < VT_AHEAD && l->feed_err.status == VT_OK &&
           (waiting == 0 || (!due(run, run->state.step + waiting) && !stop_wanted(run)));
}

/* One optimiser step of those that the device does by itself; begins those after it. */
static vt_status step_ahead(vt_run *run, struct loop *l, vt_error *err)
{
    vt_run_state *s = &run->state;
    vt_batch batch;
    while (may_issue(run, l)) {
        const bool gathers = vt_ahead_gathers(l->ahead);
        double start = vt_clock_s();
        if (!gathers && vt_feed_next(l->feed, &batch, &l->feed_err) != VT_OK)
            break;
        l->data_s += vt_clock_s() - start;
        vt_ahead_issue(l->ahead, gathers ? NULL : &batch, NULL);
        l->issued++;
    }
    if (vt_ahead_waiting(l->ahead) == 0)
        return vt_fail(err, l->feed_err.status, "%s", l->feed_err.text);
    const vt_outcome outcome = vt_ahead_collect(l->ahead);
    const double loss = outcome.totals.v[VT_TOTAL_LOSS];
    l->lr = outcome.lr;
    l->norm = outcome.norm;
    s->batch++;
    s->draw++;
    if (!isfinite(loss) || !isfinite(l->norm))
        return diverged_behind(run, l->ahead, loss, err);
    s->step++;
    count(run, l, &outcome.totals, outcome.images);
    return VT_OK;
}

static vt_status record_interval(vt_run *run, const struct loop *l, vt_error *err)
{
    vt_run_state *s = &run->state;
    if (s->step % run->config->log_every != 0)
        return VT_OK;
    double images = (double)s->interval_images;
    const vt_record_train record = {.step = s->step,
                                    .epoch = s->epoch + 1,
                                    .samples_seen = s->samples_seen,
                                    .images = s->interval_images,
                                    .loss = s->interval_loss / images,
                                    .top1 = s->interval_top1 / images,
                                    .lr = l->lr,
                                    .grad_norm = l->norm};
    s->interval_images = 0;
    s->interval_loss = s->interval_top1 = 0;
    return vt_run_put(run, VT_RECORD_TRAIN, &record, sizeof record, err);
}

static void show_progress(vt_run *run, const struct loop *l, double now)
{
    const vt_run_state *s = &run->state;
    double seconds = now - l->epoch_s, images = (double)s->epoch_images;
    vt_progress_train(&run->progress,
                      &(vt_progress_now){.epoch = s->epoch + 1,
                                         .batch = s->batch,
                                         .images = s->epoch_images,
                                         .loss = l->loss,
                                         .mean_loss = s->epoch_loss / images,
                                         .top1 = s->epoch_top1 / images,
                                         .lr = l->lr,
                                         .grad_norm = l->norm,
                                         .images_per_s = (double)l->epoch_images / seconds,
                                         .data_share = l->data_s / seconds});
}

/* The rest of the epoch's batches. */
static void begin_batches(const vt_run *run, struct loop *l)
{
    const vt_config *c = run->config;
    const vt_run_state *s = &run->state;
    int64_t first = s->batch * c->train_batch, n = run->info->n[VT_PART_TRAIN];
    int64_t last = run->batches * c->train_batch;
    n = (last < n ? last : n) - first;
    l->issued = s->batch;
    if (s->batch == run->batches) /* a run that was stopped in the evaluation after them */
        return;
    if (!l->ahead || !vt_ahead_gathers(l->ahead))
        vt_feed_begin(l->feed, VT_PART_TRAIN, true, c->seed, s->epoch, l->order + first, n);
    if (l->ahead)
        vt_ahead_begin(l->ahead, &(vt_series){.part = VT_PART_TRAIN,
                                              .training = true,
                                              .epoch = s->epoch,
                                              .items = l->order + first,
                                              .n = n,
                                              .batch = c->train_batch,
                                              .step = s->step,
                                              .draw = s->draw,
                                              .steps_per_epoch = run->steps_per_epoch,
                                              .schedule = &run->schedule});
}

/* Steps to the end of the epoch. */
static vt_status train_epoch(vt_run *run, struct loop *l, vt_error *err)
{
    vt_run_state *s = &run->state;
    vt_status status = VT_OK;
    l->epoch_s = vt_clock_s();
    l->data_s = l->eval_s = 0;
    l->epoch_images = l->n_steps = 0;
    vt_sampler_order(run->data, VT_PART_TRAIN, run->config->data_shuffle, run->config->seed,
                     s->epoch, l->order);
    begin_batches(run, l);
    while (s->batch < run->batches && status == VT_OK) {
        vt_phase before = vt_phase_enter(VT_PHASE_STEP);
        double start = vt_clock_s();
        status = l->ahead ? step_ahead(run, l, err) : step(run, l, err);
        l->step_s[l->n_steps++] = vt_clock_s() - start;
        vt_phase_enter(before);
        if (status == VT_OK)
            status = record_interval(run, l, err);
        if (status != VT_OK)
            break;
        show_progress(run, l, vt_clock_s());
        if (s->batch == run->batches || (l->ahead && vt_ahead_waiting(l->ahead) > 0))
            continue; /* the device's weights are not those of this step, or the epoch ends here */
        bool regular = due(run, s->step), stop = stop_wanted(run);
        if (regular || stop)
            status = vt_run_save(run, regular,
                                 regular && run->config->train_select == VT_SELECT_LAST, err);
        if (status == VT_OK && stop)
            status = vt_fail(err, VT_ERR_STOPPED, "stopped at step %" PRId64, s->step);
    }
    return status == VT_OK ? vt_run_check_weights(run, err) : status;
}

static bool tick_eval(void *arg, int64_t done, int64_t total)
{
    vt_run *run = arg;
    vt_progress_eval(&run->progress, "Test", run->state.epoch, done, total);
    return stop_wanted(run);
}

static vt_status evaluate(vt_run *run, vt_part part, vt_error *err)
{
    vt_evaluator *e = &run->evaluator;
    vt_phase before = vt_phase_enter(VT_PHASE_EVAL);
    bool whole = vt_evaluator_run(e, part, run->state.epoch, run->state.step, tick_eval, run);
    vt_phase_enter(before);
    if (e->err.status != VT_OK)
        return vt_fail(err, e->err.status, "%s", e->err.text);
    if (!whole)
        return vt_fail(err, VT_ERR_STOPPED,
                       "stopped at step %" PRId64 ", in the evaluation of epoch %" PRId64,
                       run->state.step, run->state.epoch);
    if (!isfinite(e->record->loss))
        return vt_fail(
            err, VT_ERR_DIVERGED,
            "step %" PRId64 " (epoch %" PRId64
            "): the loss of the evaluation is not finite, although all weights are; try a "
            "lower optim.lr, a warm-up or optim.clip_norm",
            run->state.step, run->state.epoch);
    return vt_run_put(run, VT_RECORD_EVAL, e->record, e->record_bytes, err);
}

/* Evaluates val and test, in this order, so that the evaluator holds the test part's logits. */
static vt_status evaluate_all(vt_run *run, bool *best, vt_error *err)
{
    vt_run_state *s = &run->state;
    vt_status status = VT_OK;
    *best = false;
    for (int part = VT_PART_VAL; part <= VT_PART_TEST && status == VT_OK; part++) {
        if (run->info->n[part] == 0)
            continue;
        status = evaluate(run, (vt_part)part, err);
        bool selects =
            run->config->train_select == (part == VT_PART_VAL ? VT_SELECT_VAL : VT_SELECT_TEST);
        if (status == VT_OK && selects &&
            (s->best_epoch < 0 || run->evaluator.record->top1 > s->best_top1)) {
            s->best_epoch = s->epoch;
            s->best_top1 = run->evaluator.record->top1;
            *best = true;
        }
    }
    return status;
}

/* The article's line: the rate is the one used in the epoch. */
static void print_epoch(vt_run *run, const vt_record_epoch *epoch, bool evaluated)
{
    vt_progress_clear(&run->progress);
    printf("Epoch [%3" PRId64 "/%3" PRId64 "]  Train Loss:%.6f  Train Acc:%.2f%% ", epoch->epoch,
           run->config->train_epochs, epoch->train_loss, 100 * epoch->train_top1);
    if (evaluated)
        printf("Test Loss:%.6f  Test Acc:%.2f%%  ", run->evaluator.record->loss,
               100 * run->evaluator.record->top1);
    printf("Learning Rate:%.6f\n", epoch->lr);
    fflush(stdout);
}

static void note_perf(vt_run *run, const struct loop *l, double train_s, int64_t eval_images)
{
    vt_perf perf = {.epoch = run->state.epoch,
                    .train_images = (double)l->epoch_images,
                    .train_s = train_s,
                    .train_images_per_s = (double)l->epoch_images / train_s,
                    .eval_images_per_s = l->eval_s > 0 ? (double)eval_images / l->eval_s : 0,
                    .data_wait_share = l->data_s / train_s,
                    .record_s = run->record_s,
                    .save_s = run->save_s,
                    .publish_s = run->publish_s,
                    .peak_rss_bytes = (double)vt_mem_peak_bytes()};
    if (l->n_steps == 0)
        return;
    vt_perf_steps(&perf, l->step_s, l->n_steps);
    vt_perf_append(run->dir.fd, &perf);
    run->record_s = run->save_s = run->publish_s = 0;
}

/* Captures, and with the last epoch the logits of the whole test part. */
static vt_status capture(vt_run *run, bool last, vt_error *err)
{
    const vt_run_state *s = &run->state;
    vt_status status = VT_OK;
    if (run->capturer && vt_capture_wanted(run->config, s->epoch))
        status = vt_capturer_run(run->capturer, run->dir.captures_fd, run->journal, s->epoch,
                                 s->step, err);
    if (status == VT_OK && last)
        status = vt_capture_logits(&run->evaluator, run->dir.captures_fd, run->journal, s->epoch,
                                   s->step, err);
    return status;
}

/* What a broken-off evaluation goes back to. */
struct moment {
    vt_run_state state;
    vt_schedule_state schedule;
    vt_journal_mark mark;
};

/* Saves the moment before a broken-off evaluation, which the next start begins anew. Keeps the
 * reason of the stop in `err` unless the save fails. */
static vt_status save_moment(vt_run *run, const struct moment *m, vt_error *err)
{
    vt_error reason = {0};
    run->state = m->state;
    run->schedule = m->schedule;
    vt_journal_rewind(run->journal, &m->mark);
    vt_status status = vt_run_save(run, false, false, &reason);
    return status == VT_OK ? VT_ERR_STOPPED : vt_fail(err, status, "%s", reason.text);
}

static vt_status finish_epoch(vt_run *run, struct loop *l, vt_error *err)
{
    vt_run_state *s = &run->state;
    const struct moment before = {*s, run->schedule, vt_journal_tell(run->journal)};
    const vt_config *c = run->config;
    const vt_cadence *every = &c->checkpoint_every;
    double train_s = vt_clock_s() - l->epoch_s, images = (double)s->epoch_images;
    vt_record_epoch record = {
        .epoch = s->epoch + 1,
        .step = s->step,
        .train_images = s->epoch_images,
        .train_loss = s->epoch_loss / images,
        .train_top1 = s->epoch_top1 / images,
        .lr = vt_schedule_lr(c, &run->schedule, s->step - 1, run->steps_per_epoch)};
    vt_schedule_epoch_end(c, &run->schedule, record.train_loss);
    s->epoch++;
    s->batch = 0;
    s->epoch_images = 0;
    s->epoch_loss = s->epoch_top1 = 0;
    bool last = s->epoch == c->train_epochs, best = false;
    bool evaluated = last || s->epoch % c->eval_every == 0;
    vt_status status = VT_OK;
    if (evaluated) {
        double start = vt_clock_s();
        status = evaluate_all(run, &best, err);
        l->eval_s = vt_clock_s() - start;
        if (status == VT_ERR_STOPPED)
            return save_moment(run, &before, err);
    }
    if (c->train_select == VT_SELECT_LAST) {
        s->best_epoch = s->epoch;
        best = true;
    }
    record.best_epoch = s->best_epoch;
    if (status == VT_OK)
        status = vt_run_put(run, VT_RECORD_EPOCH, &record, sizeof record, err);
    if (status == VT_OK)
        status = capture(run, last, err);
    if (status == VT_OK)
        status = vt_run_sync(run, err);
    if (status != VT_OK)
        return status;
    print_epoch(run, &record, evaluated);
    note_perf(run, l, train_s, run->info->n[VT_PART_VAL] + run->info->n[VT_PART_TEST]);
    bool regular = every->unit == VT_CADENCE_EPOCHS ? s->epoch % every->n == 0 : due(run, s->step);
    bool chosen = best && c->train_select != VT_SELECT_LAST;
    if (last || regular || chosen)
        status = vt_run_save(run, true, best, err);
    else if (stop_wanted(run))
        status = vt_run_save(run, false, best, err);
    if (status == VT_OK && !last)
        vt_run_publish(run, false);
    if (status == VT_OK && !last && stop_wanted(run))
        status = vt_fail(err, VT_ERR_STOPPED, "stopped after epoch %" PRId64, s->epoch);
    return status;
}

static vt_status take_buffers(const vt_run *run, struct loop *l, vt_error *err)
{
    /* Gradients are looked at, and those of several batches added, between parts of a step. */
    if (run->config->train_accumulate == 1 && !run->options->gradients)
        l->ahead = run->ahead;
    l->order = vt_calloc((size_t)run->info->n[VT_PART_TRAIN], sizeof *l->order);
    l->step_s = vt_calloc((size_t)run->steps_per_epoch, sizeof *l->step_s);
    if (!l->order || !l->step_s)
        return vt_fail(err, VT_ERR_NOMEM, "no memory for the order of %" PRId64 " images",
                       run->info->n[VT_PART_TRAIN]);
    return vt_feed_new(&l->feed, run->data, vt_dev_pool(run->dev), (int)run->config->data_threads,
                       run->config->train_batch, err);
}

/* Without epochs: evaluates the first weights once. */
static vt_status evaluate_start(vt_run *run, vt_error *err)
{
    bool best;
    vt_status status = evaluate_all(run, &best, err);
    if (status == VT_OK)
        status = capture(run, true, err);
    return status == VT_OK ? vt_run_save(run, true, true, err) : status;
}

static vt_status train(vt_run *run, struct loop *l, vt_error *err)
{
    vt_run_state *s = &run->state;
    vt_status status = take_buffers(run, l, err);
    vt_progress_init(&run->progress, run->options->quiet, run->config->train_epochs, run->batches,
                     s->epoch * run->batches + s->batch);
    /* The save after this evaluation is the first that names a best checkpoint. */
    if (status == VT_OK && run->config->train_epochs == 0 && run->best_step < 0)
        status = evaluate_start(run, err);
    if (status == VT_OK && s->step == 0 && run->capturer && run->config->train_epochs > 0 &&
        vt_capture_wanted(run->config, 0))
        status = capture(run, false, err);
    while (status == VT_OK && s->epoch < run->config->train_epochs) {
        vt_error ignored = {0};
        status = train_epoch(run, l, err);
        vt_status flushed = vt_run_flush(run, status == VT_OK ? err : &ignored);
        status = status == VT_OK ? flushed : status;
        if (status == VT_OK)
            status = finish_epoch(run, l, err);
    }
    vt_progress_clear(&run->progress);
    if (status != VT_OK)
        return status;
    vt_record_checkpoint done = {.step = s->step, .epoch = s->epoch};
    for (int i = 0; i < VT_SHA256_SIZE; i++)
        done.weights_sha256[i] = run->weights_sha256[i];
    status = vt_journal_put(run->journal, VT_RECORD_DONE, s->step, &done, sizeof done, err);
    return status == VT_OK ? vt_run_sync(run, err) : status;
}

static vt_status train_and_conclude(vt_run *run, vt_error *err)
{
    struct loop loop = {0};
    vt_error second = {0};
    vt_status status = run->done ? VT_OK : train(run, &loop, err);
    vt_feed_free(loop.feed);
    vt_free(loop.order);
    vt_free(loop.step_s);
    vt_phase before = vt_phase_enter(VT_PHASE_PUBLISH);
    vt_status concluded = vt_run_conclude(run, status, &second);
    vt_publisher_wait(&run->publisher); /* it may have begun before the last records */
    if (concluded == VT_OK) {
        vt_run_publish(run, run->concluded);
        vt_publisher_wait(&run->publisher);
    }
    vt_phase_enter(before);
    if (status == VT_OK && concluded != VT_OK)
        return vt_fail(err, concluded, "%s", second.text);
    return status;
}

vt_status vt_train(const vt_config *config, const vt_train_options *options, vt_error *err)
{
    vt_run run = {0};
    vt_status status = vt_run_prepare(&run, config, options, err);
    if (run.info && run.info->warning[0])
        vt_log_write(VT_LOG_WARNING, "%s", run.info->warning);
    if (status == VT_OK && options->dry_run) {
        vt_run_announce(&run);
        goto out;
    }
    if (status == VT_OK)
        status = vt_run_open(&run, err);
    if (status == VT_OK) {
        vt_run_announce(&run);
        status = train_and_conclude(&run, err);
    }
out:
    vt_run_close(&run);
    return status;
}

vt_status vt_train_identify(const vt_config *config, vt_train_identity *identity, vt_error *err)
{
    const vt_train_options options = {.dry_run = true};
    vt_run run = {0};
    vt_status status = vt_run_prepare(&run, config, &options, err);
    if (status == VT_OK) {
        memcpy(identity->run_id, run.run_id, sizeof run.run_id);
        memcpy(identity->data_digest, run.data_digest, sizeof run.data_digest);
    }
    vt_run_close(&run);
    return status;
}
