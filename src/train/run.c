#include "train/run.h"

#include "base/clock.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/phase.h"
#include "base/text.h"
#include "results/checkpoint.h"
#include "results/json.h"
#include "results/perf.h"
#include "results/provenance.h"
#include "results/runinfo.h"
#include "results/summary.h"
#include "train/fingerprint.h"
#include "train/tensorboard.h"
#include "train/weights.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

enum { SUMMARY_CAP = 1 << 20 };

vt_data_request vt_run_data_request(const vt_config *c)
{
    vt_data_request request = {
        .name = vt_config_word("data.name", c->data_name),
        .dir = c->data_dir,
        .seed = c->seed,
        .val = c->data_val,
        .limit_train = c->data_limit_train,
        .limit_test = c->data_limit_test,
        .train = c->data_train,
        .test = c->data_test,
        .coarse = c->data_labels == VT_LABELS_COARSE,
        .test_share = c->data_test_share,
        .max_bad = c->data_max_bad,
        .keep_bytes = c->data_keep_mib ? c->data_keep_mib << 20 : -1,
    };
    if (c->data_name == VT_DATA_FOLDER)
        request.classes = c->model_classes;
    memcpy(request.mean, c->data_normalise.mean, sizeof request.mean);
    memcpy(request.std, c->data_normalise.std, sizeof request.std);
    return request;
}

static vt_status open_data(vt_run *run, vt_error *err)
{
    vt_data_request request = vt_run_data_request(run->config);
    vt_status status = vt_data_open(&run->data, &request, vt_dev_pool(run->dev), err);
    if (status != VT_OK)
        return status;
    run->info = vt_data_info_of(run->data);
    snprintf(run->data_digest, sizeof run->data_digest, "%s", run->info->digest);
    return VT_OK;
}

static vt_status count_steps(vt_run *run, vt_error *err)
{
    const vt_config *c = run->config;
    int64_t n = run->info->n[VT_PART_TRAIN], batch = c->train_batch;
    run->batches = c->data_drop_last ? n / batch : (n + batch - 1) / batch;
    run->steps_per_epoch = (run->batches + c->train_accumulate - 1) / c->train_accumulate;
    if (run->batches == 0)
        return vt_fail(err, VT_ERR_CONFIG,
                       "%s: train.batch is %" PRId64 ", but the training part has %" PRId64
                       " images and data.drop_last leaves out the incomplete batch",
                       vt_config_path(c), batch, n);
    if (c->eval_compat == VT_COMPAT_ARTICLE && run->info->n[VT_PART_TEST] < c->eval_batch)
        return vt_fail(err, VT_ERR_CONFIG,
                       "%s: eval.compat: article leaves no batch: %" PRId64
                       " test images / batch of %" PRId64 " = 0",
                       vt_config_path(c), run->info->n[VT_PART_TEST], c->eval_batch);
    return VT_OK;
}

/* model.weights: its content is part of what the run is made from. */
static vt_status load_start(vt_run *run, vt_error *err)
{
    const char *path = run->config->model_weights;
    size_t bytes = (size_t)run->engine.params->n_floats * sizeof(float);
    vt_weights_report report;
    uint8_t digest[VT_SHA256_SIZE];
    vt_sha256 hash;
    if (!path)
        return VT_OK;
    float *floats = vt_calloc(bytes, 1);
    if (!floats)
        return vt_fail(err, VT_ERR_NOMEM, "no memory for %s", path);
    vt_dev_read(run->dev, floats, run->engine.memory.weights, bytes);
    vt_status status = vt_weights_start(run->engine.params, path, floats, &report, err);
    if (status == VT_OK) {
        vt_dev_write(run->dev, run->engine.memory.weights, floats, bytes);
        const vt_param *bad = vt_engine_bad_param(&run->engine);
        if (bad)
            status =
                vt_fail(err, VT_ERR_DATA, "%s: %s has values that are not finite", path, bad->name);
        vt_sha256_init(&hash);
        vt_sha256_add(&hash, run->data_digest, strlen(run->data_digest));
        vt_sha256_add(&hash, report.sha256, strlen(report.sha256));
        vt_sha256_finish(&hash, digest);
        vt_sha256_hex(digest, run->data_digest);
    }
    vt_free(floats);
    return status;
}

vt_status vt_run_prepare(vt_run *run, const vt_config *config, const vt_train_options *options,
                         vt_error *err)
{
    *run = (vt_run){.config = config,
                    .options = options,
                    .best_step = -1,
                    .events = {.fd = -1},
                    .schedule = vt_schedule_start(config),
                    .started_s = vt_clock_s()};
    run->state.best_epoch = -1;
    vt_status status = vt_engine_device(&run->dev, config, err);
    if (status == VT_OK)
        status = vt_engine_precision(run->dev, config, err);
    if (status == VT_OK)
        status = open_data(run, err);
    if (status == VT_OK)
        status = count_steps(run, err);
    if (status != VT_OK)
        return status;
    vt_engine_add_slot(&run->engine, config->train_batch, true);
    if (!config->data_drop_last)
        vt_engine_add_slot(&run->engine, run->info->n[VT_PART_TRAIN] % config->train_batch, true);
    vt_evaluator_slots(&run->engine, config, run->info);
    vt_capturer_slots(&run->engine, config, run->info);
    status = vt_engine_init(&run->engine, config, run->dev, err);
    if (status == VT_OK)
        status = load_start(run, err);
    if (status == VT_OK)
        status = vt_evaluator_init(&run->evaluator, &run->engine, run->data, err);
    if (status == VT_OK)
        status = vt_capturer_new(&run->capturer, &run->engine, run->data, err);
    if (status == VT_OK)
        status = vt_fingerprint(run->dev, vt_model_type(config), run->numerics, err);
    if (status == VT_OK && vt_config_experiment_id(config, run->exp_id) != VT_OK)
        status = vt_fail(err, VT_ERR_NOMEM, "no memory for the experiment's id");
    if (status == VT_OK && vt_config_run_id(config, run->data_digest, run->run_id) != VT_OK)
        status = vt_fail(err, VT_ERR_NOMEM, "no memory for the run's id");
    return status;
}

/* Wall time, host and attempts go here, never into the journal. */
static vt_status begin_attempt(vt_run *run, vt_error *err)
{
    const vt_device_info *device = vt_dev_info(run->dev);
    const vt_provenance_library blas = {"OpenBLAS", "loaded at run time", device->blas};
    double mean[3], std[3];
    char split[VT_SHA256_HEX_SIZE];
    vt_data_split_digest(run->data, split);
    vt_provenance_file *files = vt_calloc((size_t)run->info->n_files, sizeof *files);
    if (!files)
        return vt_fail(err, VT_ERR_NOMEM, "no memory for the provenance");
    for (int i = 0; i < 3; i++) {
        mean[i] = (double)run->config->data_normalise.mean[i];
        std[i] = (double)run->config->data_normalise.std[i];
    }
    for (int i = 0; i < run->info->n_files; i++) {
        files[i].path = run->info->files[i].name;
        files[i].size_bytes = run->info->files[i].size_bytes;
        for (int b = 0; b < VT_SHA256_SIZE; b++) {
            unsigned byte = 0;
            sscanf(run->info->files[i].sha256 + 2 * b, "%2x", &byte);
            files[i].sha256[b] = (uint8_t)byte;
        }
    }
    const vt_provenance p = {
        .argc = run->options->argc,
        .argv = run->options->argv,
        .code_dir = ".",
        .exp_name = vt_config_name(run->config),
        .exp_id = run->exp_id,
        .run_id = run->run_id,
        .seed = (int64_t)run->config->seed,
        .step = run->state.step,
        .last_sign_s = run->last_sign_s,
        .threads = device->threads,
        .decode_threads = vt_feed_threads(run->evaluator.feed),
        .kernel_path = device->kernels,
        .numerics_id = run->numerics,
        .data_digest = run->data_digest,
        .split_digest = split,
        .mean = mean,
        .std = std,
        .n_channels = run->info->channels < 3 ? (int)run->info->channels : 3,
        .files = files,
        .n_files = run->info->n_files,
        .libraries = &blas,
        .n_libraries = 1,
    };
    vt_status status = vt_provenance_begin(run->dir.fd, &p, err);
    vt_free(files);
    return status;
}

static vt_status write_config(vt_run *run, bool origin, const char *name, vt_error *err)
{
    char *text = vt_config_print(run->config, origin);
    if (!text)
        return vt_fail(err, VT_ERR_NOMEM, "no memory for %s", name);
    vt_status status = vt_fs_publish(run->dir.fd, name, text, strlen(text), err);
    vt_free(text);
    return status;
}

static vt_status put_runinfo(vt_run *run, vt_error *err)
{
    vt_text json = {0};
    int64_t classes = run->config->model_classes; /* the head may have more than the data */
    const char **names = vt_calloc((size_t)classes, sizeof *names);
    if (!names)
        return vt_fail(err, VT_ERR_NOMEM, "no memory for the names of the classes");
    for (int64_t i = 0; i < classes; i++)
        names[i] = i < run->info->classes ? run->info->class_names[i] : "unused";
    const vt_runinfo info = {
        .exp_name = vt_config_name(run->config),
        .exp_id = run->exp_id,
        .run_id = run->run_id,
        .data_digest = run->data_digest,
        .numerics = run->numerics,
        .select = vt_config_word("train.select", run->config->train_select),
        .seed = run->config->seed,
        .class_names = names,
        .n_classes = classes,
        .epochs = run->config->train_epochs,
        .steps_per_epoch = run->steps_per_epoch,
        .images = {run->info->n[VT_PART_TRAIN], run->info->n[VT_PART_VAL],
                   run->info->n[VT_PART_TEST]},
        .n_params = vt_params_count(run->engine.params),
        .macs = (int64_t)vt_engine_macs(&run->engine, false),
    };
    vt_status status = vt_runinfo_write(&info, &json, err);
    if (status == VT_OK)
        status = vt_journal_put(run->journal, VT_RECORD_RUN, 0, json.data, json.size, err);
    vt_free(names);
    vt_text_release(&json);
    return status;
}

static int list_moments(const vt_run *run, vt_safetensor tensors[2])
{
    const float *moments[2] = {run->engine.moment1, run->engine.moment2};
    static const char *const names[2] = {"moment1", "moment2"};
    const size_t bytes = (size_t)run->engine.params->n_trained * sizeof(float);
    int n = 0;
    for (int i = 0; i < 2; i++)
        if (moments[i])
            tensors[n++] = (vt_safetensor){.name = names[i],
                                           .type = VT_SAFETENSORS_F32,
                                           .rank = 1,
                                           .shape = {run->engine.params->n_trained},
                                           .data = vt_dev_host_view(run->dev, moments[i], bytes)};
    return n;
}

vt_status vt_run_check_weights(vt_run *run, vt_error *err)
{
    const vt_param *param = vt_engine_bad_param(&run->engine);
    if (!param)
        return VT_OK;
    return vt_fail(err, VT_ERR_DIVERGED,
                   "step %" PRId64 " (epoch %" PRId64 "): the update left values in the parameter "
                   "%s that are not finite; the last good weights are in %s/last.safetensors; try "
                   "a lower optim.lr, a warm-up or optim.clip_norm",
                   run->state.step, run->state.epoch + 1, param->name, run->dir.path);
}

vt_status vt_run_put(vt_run *run, uint32_t type, const void *payload, size_t size, vt_error *err)
{
    static const double often_s = 0.2; /* a reader sees the records of fast steps by the dozen */
    double start = vt_clock_s();
    vt_status status = vt_journal_queue(run->journal, type, run->state.step, payload, size, err);
    if (status == VT_OK && (type != VT_RECORD_TRAIN || start - run->flushed_s >= often_s)) {
        status = vt_journal_flush(run->journal, err);
        run->flushed_s = start;
    }
    if (status == VT_OK)
        vt_events_put(&run->events, type, run->state.step, payload, size);
    run->record_s += vt_clock_s() - start;
    return status;
}

vt_status vt_run_flush(vt_run *run, vt_error *err)
{
    double start = vt_clock_s();
    vt_status status = vt_journal_flush(run->journal, err);
    run->record_s += vt_clock_s() - start;
    return status;
}

vt_status vt_run_sync(vt_run *run, vt_error *err)
{
    double start = vt_clock_s();
    vt_status status = vt_journal_sync(run->journal, err);
    run->record_s += vt_clock_s() - start;
    return status;
}

void vt_run_publish(vt_run *run, bool if_behind)
{
    double start = vt_clock_s();
    vt_publisher_start(&run->publisher, run->dir.path, if_behind);
    run->publish_s += vt_clock_s() - start;
}

static vt_status save(vt_run *run, bool scheduled, bool best, vt_error *err)
{
    vt_params *params = run->engine.params;
    vt_safetensor moments[2];
    vt_weights weights;
    vt_checkpoint_int ints[VT_N_STATE_INTS];
    vt_checkpoint_double doubles[VT_N_STATE_DOUBLES];
    const vt_checkpoint_string strings[] = {
        {"exp_id", run->exp_id}, {"run_id", run->run_id}, {"numerics", run->numerics}};
    vt_status status = vt_run_check_weights(run, err);
    if (status == VT_OK)
        status = vt_weights_list(&weights, params, VT_WEIGHTS_SAVED,
                                 vt_dev_host_view(run->dev, run->engine.memory.weights,
                                                  (size_t)params->n_floats * sizeof(float)),
                                 &run->state.draw, err);
    if (status != VT_OK)
        return status;
    run->state.plateau_lr = run->schedule.lr;
    run->state.plateau_best = run->schedule.best;
    run->state.bad_epochs = run->schedule.bad_epochs;
    vt_state_list(&run->state, ints, doubles);
    const vt_checkpoint checkpoint = {
        .step = run->state.step,
        .weights = weights.tensor,
        .n_weights = weights.n,
        .state = moments,
        .n_state = list_moments(run, moments),
        .ints = ints,
        .n_ints = VT_N_STATE_INTS,
        .doubles = doubles,
        .n_doubles = VT_N_STATE_DOUBLES,
        .strings = strings,
        .n_strings = 3,
        .journal = run->journal,
        .record = scheduled,
        .epoch = run->state.epoch,
        .best = best,
        .keep = (int)run->config->checkpoint_keep,
    };
    status = vt_rundir_check(&run->dir, err);
    if (status == VT_OK)
        status =
            vt_checkpoint_save(run->dir.fd, &checkpoint, &run->best_step, run->weights_sha256, err);
    vt_weights_release(&weights);
    return status;
}

vt_status vt_run_save(vt_run *run, bool scheduled, bool best, vt_error *err)
{
    double start = vt_clock_s();
    vt_status status = save(run, scheduled, best, err);
    run->save_s += vt_clock_s() - start;
    return status;
}

static vt_status check_identity(const vt_run *run, const vt_checkpoint_file *file, vt_error *err)
{
    const char *run_id = NULL, *numerics = NULL;
    vt_status status = vt_checkpoint_get_string(file, "run_id", &run_id, err);
    if (status == VT_OK)
        status = vt_checkpoint_get_string(file, "numerics", &numerics, err);
    if (status != VT_OK)
        return status;
    if (strcmp(run_id, run->run_id) != 0)
        return vt_fail(err, VT_ERR_DATA, "%s holds checkpoints of another run, %s", run->dir.path,
                       run_id);
    if (strcmp(numerics, run->numerics) != 0)
        return vt_fail(err, VT_ERR_NUMERICS,
                       "%s was trained with numerics %.12s, this build on this machine has %.12s: "
                       "it would not go on with the same bits; use the build and libraries named "
                       "in its provenance.json, or begin anew with --force",
                       run->dir.path, numerics, run->numerics);
    return VT_OK;
}

static vt_status restore(vt_run *run, const vt_checkpoint_file *file, vt_error *err)
{
    vt_params *params = run->engine.params;
    vt_safetensor moments[2];
    float *moment[2] = {run->engine.moment1, run->engine.moment2};
    size_t bytes = (size_t)params->n_floats * sizeof(float);
    float *floats = vt_calloc(bytes, 1);
    int n = list_moments(run, moments);
    if (!floats)
        return vt_fail(err, VT_ERR_NOMEM, "no memory to load a checkpoint");
    vt_status status = check_identity(run, file, err);
    vt_dev_read(run->dev, floats, run->engine.memory.weights, bytes); /* fixed tables stay */
    if (status == VT_OK)
        status =
            vt_weights_restore(params, vt_checkpoint_weights(file), "the checkpoint", floats, err);
    if (status == VT_OK)
        vt_dev_write(run->dev, run->engine.memory.weights, floats, bytes);
    for (int i = 0; i < n && status == VT_OK; i++) {
        status = vt_checkpoint_copy(vt_checkpoint_state(file), &moments[i], floats, err);
        if (status == VT_OK)
            vt_dev_write(run->dev, moment[i], floats, (size_t)params->n_trained * sizeof(float));
    }
    if (status == VT_OK)
        status = vt_state_load(&run->state, file, err);
    vt_free(floats);
    if (status != VT_OK)
        return status;
    run->schedule = (vt_schedule_state){.lr = run->state.plateau_lr,
                                        .best = run->state.plateau_best,
                                        .bad_epochs = run->state.bad_epochs};
    run->best_step = vt_checkpoint_best_step(file);
    memcpy(run->weights_sha256, vt_checkpoint_weights_sha256(file), VT_SHA256_SIZE);
    return VT_OK;
}

static vt_status find_done(void *arg, const vt_record *record, vt_error *err)
{
    (void)err;
    if (record->type == VT_RECORD_DONE)
        *(bool *)arg = true;
    return VT_OK;
}

static const char *state_word(vt_status result)
{
    switch (result) {
    case VT_OK:
        return "done";
    case VT_ERR_STOPPED:
        return "interrupted";
    case VT_ERR_DIVERGED:
        return "diverged";
    default:
        return "failed";
    }
}

/* A run killed between its last record and its summary is done, but nothing says so yet. */
static bool was_concluded(const vt_run *run)
{
    json_t *root = NULL;
    vt_error ignored = {0};
    if (!run->done ||
        vt_json_read(run->dir.fd, "summary.json", SUMMARY_CAP, &root, &ignored) != VT_OK)
        return false;
    const char *state = json_string_value(json_object_get(root, "state"));
    bool concluded = state && strcmp(state, state_word(VT_OK)) == 0;
    json_decref(root);
    return concluded;
}

static vt_status open_folder(vt_run *run, vt_checkpoint_file **file, vt_error *err)
{
    vt_status status = vt_rundir_open(&run->dir, run->options->results, vt_config_name(run->config),
                                      run->run_id, run->options->force, err);
    run->last_sign_s = vt_fs_written_s(run->dir.fd, "journal");
    if (status == VT_OK)
        status = vt_checkpoint_load_newest(run->dir.fd, true, file, err);
    if (status == VT_OK && *file)
        status = restore(run, *file, err);
    if (status == VT_OK)
        status = vt_journal_open(&run->journal, run->dir.fd,
                                 *file ? vt_checkpoint_mark(*file) : NULL, err);
    return status;
}

static vt_status open_events(vt_run *run, vt_error *err)
{
    vt_text graph = {0};
    vt_status status = VT_OK;
    if (!run->config->log_tensorboard)
        return VT_OK;
    status = vt_tensorboard_graph(run->config, &graph, err);
    if (status == VT_OK)
        vt_events_open(&run->events, run->dir.fd, &graph);
    vt_text_release(&graph);
    return status;
}

vt_status vt_run_open(vt_run *run, vt_error *err)
{
    vt_phase before = vt_phase_enter(VT_PHASE_RECOVERY);
    vt_checkpoint_file *file = NULL;
    vt_status status = open_folder(run, &file, err);
    bool resumed = file != NULL;
    vt_checkpoint_close(file);
    vt_phase_enter(before);
    if (status == VT_OK)
        status = vt_journal_read(run->dir.fd, find_done, &run->done, NULL, err);
    run->concluded = was_concluded(run);
    /* An interrupted first start may have left a record or two: they are compared like others. */
    if (status == VT_OK && !run->done)
        status = begin_attempt(run, err);
    if (status == VT_OK && !run->done)
        status = write_config(run, false, "config.yaml", err);
    if (status == VT_OK && !run->done)
        status = write_config(run, true, "config.origin.txt", err);
    if (status == VT_OK && !resumed)
        status = put_runinfo(run, err);
    if (status == VT_OK && !resumed)
        status = vt_run_save(run, true, false, err);
    return status == VT_OK ? open_events(run, err) : status;
}

static vt_summary_eval last_eval(const vt_history *h, int split, int64_t epoch)
{
    for (int64_t i = h->n_eval[split] - 1; i >= 0; i--) {
        const vt_record_eval *e = &h->eval[split][i];
        if (epoch < 0 || e->epoch == epoch)
            return (vt_summary_eval){true, e->epoch, e->loss, e->top1, e->top5, e->ece};
    }
    return (vt_summary_eval){.known = false};
}

/* Training images a second, of all attempts; 0 if none finished an epoch. */
static double training_speed(const vt_run *run)
{
    vt_perf *rows;
    double images = 0, seconds = 0;
    int64_t n = vt_perf_read(run->dir.fd, &rows);
    for (int64_t i = 0; i < n; i++) {
        images += rows[i].train_images;
        seconds += rows[i].train_s;
    }
    vt_free(rows);
    return seconds > 0 ? images / seconds : 0;
}

static vt_status end_attempt(vt_run *run, vt_status result, vt_provenance_totals *totals,
                             vt_error *err)
{
    const vt_provenance_outcome outcome = {.state = state_word(result),
                                           .code = result,
                                           .step = run->state.step,
                                           .wall_s = run->done ? -1 : vt_clock_s() - run->started_s,
                                           .last_sign_s = run->last_sign_s};
    return run->concluded ? VT_OK : vt_provenance_end(run->dir.fd, &outcome, totals, err);
}

vt_status vt_run_conclude(vt_run *run, vt_status result, vt_error *err)
{
    char metrics[VT_SHA256_HEX_SIZE], weights[VT_SHA256_HEX_SIZE], best[VT_SHA256_HEX_SIZE];
    uint8_t digest[VT_SHA256_SIZE];
    vt_history history;
    vt_error ignored = {0};
    vt_provenance_totals totals = {0};
    vt_status ended = end_attempt(run, result, &totals, err);
    vt_status status = vt_history_read(&history, run->dir.fd, ended == VT_OK ? err : &ignored);
    if (status == VT_OK) {
        int64_t best_epoch = run->state.best_epoch;
        bool has_best = vt_fs_hash_file(run->dir.fd, "best.safetensors", digest, &ignored) == VT_OK;
        if (has_best)
            vt_sha256_hex(digest, best);
        vt_sha256_hex(history.hash, metrics);
        vt_sha256_hex(run->weights_sha256, weights);
        vt_summary summary = {
            .exp_name = vt_config_name(run->config),
            .exp_id = run->exp_id,
            .run_id = run->run_id,
            .seed = (int64_t)run->config->seed,
            .state = state_word(result),
            .epoch = run->state.epoch,
            .epochs = run->config->train_epochs,
            .step = run->state.step,
            .train_loss = history.n_epochs ? history.epoch[history.n_epochs - 1].train_loss : NAN,
            .train_top1 = history.n_epochs ? history.epoch[history.n_epochs - 1].train_top1 : NAN,
            .select = vt_config_word("train.select", run->config->train_select),
            .n_params = vt_params_count(run->engine.params),
            .macs_per_image = (int64_t)vt_engine_macs(&run->engine, false),
            .metrics_sha256 = metrics,
            .weights_sha256 = weights,
            .best_sha256 = has_best ? best : NULL,
            .data_digest = run->data_digest,
            .numerics_id = run->numerics,
            .attempts = totals.attempts,
            .wall_s = totals.wall_s,
            .images_per_s = training_speed(run),
            .peak_bytes = vt_mem_peak_bytes(),
            .threads = vt_dev_info(run->dev)->threads,
        };
        for (int split = 0; split < VT_SPLIT_COUNT; split++) {
            summary.last[split] = last_eval(&history, split, -1);
            summary.best[split] = last_eval(&history, split, best_epoch);
        }
        if (!run->concluded)
            status = vt_summary_write(run->dir.fd, &summary, ended == VT_OK ? err : &ignored);
        if (status == VT_OK && result == VT_OK)
            vt_run_report(run, &history);
    }
    vt_history_release(&history);
    return ended != VT_OK ? ended : status;
}

void vt_run_close(vt_run *run)
{
    vt_events_close(&run->events);
    vt_journal_close(run->journal);
    vt_rundir_close(&run->dir);
    vt_capturer_free(run->capturer);
    vt_evaluator_release(&run->evaluator);
    vt_engine_release(&run->engine);
    vt_data_free(run->data);
    vt_dev_free(run->dev);
}
