/* What a baseline's file holds after an acceptance. */
#include "base/mem.h"
#include "report/baseline.h"
#include "results/json.h"

#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

enum { PROVENANCE_CAP = 64 << 20 };

/* Is a --set to be given again? Those of a place, the machine or the seed are the check's own; the
 * others matter, even outside the experiment's id: what is logged is in the metrics' digest. */
static bool is_kept(const char *assignment)
{
    static const char *const own[] = {"seed", "train.threads", "data.dir"};
    size_t size = strcspn(assignment, "=");
    bool kept = true;
    for (int i = 0; i < 3; i++)
        kept = kept && (strlen(own[i]) != size || strncmp(own[i], assignment, size) != 0);
    return kept;
}

/* Does EXP, as it was written on a command line, have this name? */
static bool is_named(const char *exp, const char *name)
{
    static const char folder[] = "experiments/";
    char word[PATH_MAX];
    if (strncmp(exp, folder, strlen(folder)) == 0)
        exp += strlen(folder);
    size_t size = strlen(exp);
    for (int i = 0; i < 2; i++) {
        const char *end = i ? ".yml" : ".yaml";
        if (size > strlen(end) && strcmp(exp + size - strlen(end), end) == 0)
            size -= strlen(end);
    }
    if (size >= sizeof word)
        return false;
    snprintf(word, sizeof word, "%.*s", (int)size, exp);
    const char *base = strrchr(word, '/');
    if (base && strcmp(base + 1, name) == 0)
        return true;
    for (char *c = word; *c; c++)
        *c = *c == '/' ? '-' : *c;
    return strcmp(word, name) == 0;
}

struct origin {
    json_t *provenance;
    const char *exp, *set[256];
    int n_set;
};

/* EXP and --set of the command line that began the run. */
static vt_status read_origin(struct origin *origin, const vt_outcome *run, vt_error *err)
{
    int fd = -1;
    vt_status status = vt_fs_open_dir(AT_FDCWD, run->place.path, &fd, err);
    if (status == VT_OK)
        status = vt_json_read(fd, "provenance.json", PROVENANCE_CAP, &origin->provenance, err);
    vt_fs_close(&fd);
    if (status != VT_OK)
        return status;
    const json_t *attempt = json_array_get(json_object_get(origin->provenance, "attempts"), 0);
    const json_t *argv = json_object_get(attempt, "argv");
    for (size_t i = 1; i < json_array_size(argv); i++) {
        const char *word = json_string_value(json_array_get(argv, i)), *set = NULL;
        if (word && strcmp(word, "--set") == 0)
            set = json_string_value(json_array_get(argv, ++i));
        else if (word && strncmp(word, "--set=", 6) == 0)
            set = word + 6;
        else if (word && word[0] != '-' && is_named(word, run->exp_name))
            origin->exp = word;
        if (set && is_kept(set) && origin->n_set < 256)
            origin->set[origin->n_set++] = set;
    }
    if (!origin->exp)
        return vt_fail(
            err, VT_ERR_DATA,
            "%s/provenance.json does not tell which experiment was trained: train it with "
            "'vitrine train EXP' first",
            run->place.path);
    return VT_OK;
}

/* The configuration that regress will find; its errors become one message. */
static vt_status load_config(const struct origin *origin, vt_config **config, vt_error *err)
{
    char path[PATH_MAX];
    vt_diagnostics diags = {0};
    vt_status status = vt_config_find(origin->exp, path, sizeof path, &diags);
    if (status == VT_OK)
        status = vt_config_load(config, path, origin->set, origin->n_set, NULL, &diags);
    if (status != VT_OK)
        vt_fail(err, status, "the experiment of these runs cannot be loaded any more:\n%s",
                diags.text.data ? diags.text.data : "");
    vt_diagnostics_release(&diags);
    return status;
}

/* {key: value} of the active identity keys. */
static json_t *pack_config(const vt_config *config)
{
    json_t *object = json_object();
    bool good = object != NULL;
    for (int i = 0; i < vt_config_field_count(); i++) {
        vt_config_field field = vt_config_field_at(i);
        vt_text value = {0};
        if (!field.identity || !vt_config_field_active(config, i))
            continue;
        vt_config_value(config, i, &value);
        good = good && json_object_set_new(object, field.path, vt_json_text(value.data, "")) == 0;
        vt_text_release(&value);
    }
    if (!good)
        json_decref(object);
    return good ? object : NULL;
}

static json_t *pack_metrics(const vt_outcome *run)
{
    json_t *object = json_object();
    bool good = object != NULL;
    for (int i = 0; vt_metric_at(i); i++) {
        const vt_metric *metric = vt_metric_at(i);
        double value = vt_outcome_metric(run, metric);
        if (metric->better && !isnan(value))
            good = good && json_object_set_new(object, metric->name, vt_json_real(value)) == 0;
    }
    if (!good)
        json_decref(object);
    return good ? object : NULL;
}

static json_t *pack_run(const vt_outcome *run)
{
    return json_pack("{s:I, s:s, s:o, s:o, s:o, s:o, s:{s:s, s:s, s:s, s:s}, s:o}", "seed",
                     (json_int_t)run->seed, "run_id", run->run_id, "commit",
                     vt_json_text(run->commit, "unknown"), "machine",
                     vt_json_text(run->machine, "unknown"), "images_per_s",
                     vt_json_real(run->images_per_s), "wall_s", vt_json_real(run->wall_s),
                     "digests", "data", run->data_digest, "metrics", run->metrics_sha256, "weights",
                     run->weights_sha256, "numerics", run->numerics, "metrics", pack_metrics(run));
}

static json_t *pack_acceptance(const vt_baseline_request *request)
{
    json_t *runs = json_array();
    uint64_t after = 0;
    for (int i = 0; runs && i < request->n_runs; i++) {
        const vt_outcome *next = NULL; /* seeds ascending */
        for (int k = 0; k < request->n_runs; k++) {
            const vt_outcome *run = &request->run[k];
            if ((i == 0 || run->seed > after) && (!next || run->seed < next->seed))
                next = run;
        }
        if (!next) /* no: the seeds are distinct */
            break;
        after = next->seed;
        if (json_array_append_new(runs, pack_run(next)) != 0) {
            json_decref(runs);
            runs = NULL;
        }
    }
    return json_pack("{s:s, s:o, s:o}", "exp_id", request->run[0].exp_id, "reason",
                     vt_json_text(request->reason, ""), "runs", runs);
}

static json_t *pack_thresholds(const vt_baseline *old, const vt_baseline_request *request)
{
    const vt_gate *gate = request->gate;
    vt_gate usual[2];
    int n = request->n_gates;
    double level = request->level > 0 ? request->level : old ? old->level : VT_BASELINE_LEVEL;
    if (n == 0 && old) {
        gate = old->gate;
        n = old->n_gates;
    } else if (n == 0) {
        usual[0].metric = vt_metric_find("test.top1");
        usual[1].metric = vt_metric_find("test.loss");
        for (; n < 2; n++)
            usual[n].floor = vt_baseline_floor(usual[n].metric);
        gate = usual;
    }
    json_t *floors = json_object();
    for (int i = 0; floors && i < n; i++)
        json_object_set_new(floors, gate[i].metric->name, json_real(gate[i].floor));
    return json_pack("{s:f, s:f, s:o}", "level", level, "speed_factor",
                     old ? old->speed_factor : VT_BASELINE_SPEED_FACTOR, "floors", floors);
}

static vt_status check_runs(const vt_baseline_request *request, vt_error *err)
{
    const vt_outcome *first = &request->run[0];
    if (request->n_runs < 1 || request->n_runs > VT_BASELINE_RUNS_MAX)
        return vt_fail(err, VT_ERR_USAGE, "a baseline takes 1 to %d runs, not %d",
                       VT_BASELINE_RUNS_MAX, request->n_runs);
    for (int i = 0; i < request->n_runs; i++) {
        const vt_outcome *run = &request->run[i];
        if (run->state != VT_RUN_DONE || !*run->metrics_sha256 || !*run->weights_sha256)
            return vt_fail(err, VT_ERR_DATA, "%s is not complete: %s", run->place.path,
                           run->state == VT_RUN_BROKEN ? run->problem
                                                       : vt_run_state_word(run->state));
        if (strcmp(run->exp_id, first->exp_id) != 0)
            return vt_fail(err, VT_ERR_USAGE,
                           "%s and %s differ in their configuration: the runs of a baseline differ "
                           "in the seed alone",
                           first->place.path, run->place.path);
        if (run->seed > INT64_MAX)
            return vt_fail(err, VT_ERR_USAGE, "%s: a baseline's seeds are below 2^63",
                           run->place.path);
        for (int k = 0; k < i; k++)
            if (request->run[k].seed == run->seed)
                return vt_fail(err, VT_ERR_USAGE, "%s and %s have the same seed",
                               request->run[k].place.path, run->place.path);
    }
    return VT_OK;
}

/* Built-in data, and splits that are drawn, are a function of the seed; other data are the same. */
static vt_status check_data(const vt_config *config, const vt_baseline_request *request,
                            vt_error *err)
{
    const vt_outcome *first = &request->run[0];
    if (config->data_name == VT_DATA_SHAPES || config->data_name == VT_DATA_FOLDER ||
        config->data_val > 0)
        return VT_OK;
    for (int i = 1; i < request->n_runs; i++)
        if (strcmp(request->run[i].data_digest, first->data_digest) != 0)
            return vt_fail(err, VT_ERR_USAGE, "%s and %s were trained on different data",
                           first->place.path, request->run[i].place.path);
    return VT_OK;
}

/* Every gated metric must be in every run, or the check could never pass. */
static vt_status check_metrics(const json_t *thresholds, const vt_baseline_request *request,
                               vt_error *err)
{
    json_t *floors = json_object_get(thresholds, "floors"), *floor;
    const char *name;
    json_object_foreach(floors, name, floor)
    {
        for (int i = 0; i < request->n_runs; i++)
            if (isnan(vt_outcome_metric(&request->run[i], vt_metric_find(name))))
                return vt_fail(err, VT_ERR_USAGE, "%s has no %s: choose others with --metrics",
                               request->run[i].place.path, name);
    }
    return VT_OK;
}

static vt_status check_identity(const vt_config *config, const vt_outcome *run, vt_error *err)
{
    char id[VT_SHA256_HEX_SIZE];
    vt_status status = vt_config_experiment_id(config, id);
    if (status != VT_OK)
        return vt_fail(err, status, "no memory for the experiment's id");
    if (strcmp(id, run->exp_id) == 0)
        return VT_OK;
    return vt_fail(err, VT_NO,
                   "the experiment %s has changed since %s was trained ('vitrine diff' shows how): "
                   "train it again, then accept that run",
                   run->exp_name, run->place.path);
}

vt_status vt_baseline_make(json_t **root, const vt_baseline *old,
                           const vt_baseline_request *request, vt_error *err)
{
    struct origin origin = {0};
    vt_config *config = NULL;
    json_t *accepted = NULL, *set = NULL, *thresholds = NULL, *settings = NULL;
    *root = NULL;
    vt_status status = check_runs(request, err);
    if (status == VT_OK)
        status = read_origin(&origin, &request->run[0], err);
    if (status == VT_OK)
        status = load_config(&origin, &config, err);
    if (status == VT_OK)
        status = check_identity(config, &request->run[0], err);
    if (status == VT_OK)
        status = check_data(config, request, err);
    if (status == VT_OK)
        status = check_metrics(thresholds = pack_thresholds(old, request), request, err);
    if (status != VT_OK)
        goto out;
    accepted = old ? json_deep_copy(json_object_get(old->root, "accepted")) : json_array();
    set = json_array();
    settings = pack_config(config);
    bool good = accepted && set && settings && thresholds;
    good = good && json_array_append_new(accepted, pack_acceptance(request)) == 0;
    for (int i = 0; good && i < origin.n_set; i++)
        good = json_array_append_new(set, vt_json_text(origin.set[i], "")) == 0;
    if (good)
        *root = json_pack("{s:i, s:s, s:o, s:O, s:O, s:O, s:O}", "schema", 1, "name", request->name,
                          "experiment", vt_json_text(origin.exp, ""), "set", set, "config",
                          settings, "thresholds", thresholds, "accepted", accepted);
    if (!*root)
        status = vt_fail(err, VT_ERR_NOMEM, "no memory for the baseline %s", request->name);
out:
    json_decref(accepted);
    json_decref(set);
    json_decref(settings);
    json_decref(thresholds);
    json_decref(origin.provenance);
    vt_config_free(config);
    return status;
}
