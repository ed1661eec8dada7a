#include "report/baseline.h"

#include "base/mem.h"
#include "base/text.h"
#include "report/settings.h"
#include "results/json.h"

#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FILE_CAP = 16 << 20, SCHEMA = 1 };

static const char extension[] = ".json";

/* Place in the list of metrics. */
static int index_of(const vt_metric *metric)
{
    int i = 0;
    while (vt_metric_at(i) != metric)
        i++;
    VT_ASSERT(i < VT_BASELINE_VALUES);
    return i;
}

double vt_baseline_value(const vt_baseline_run *run, const vt_metric *metric)
{
    return run->value[index_of(metric)];
}

vt_baseline_run vt_baseline_run_of(const vt_outcome *o)
{
    vt_baseline_run run = {.seed = o->seed,
                           .exp_id = o->exp_id,
                           .data_digest = o->data_digest,
                           .run_id = o->run_id,
                           .commit = o->commit,
                           .machine = o->machine,
                           .numerics = o->numerics,
                           .metrics_sha256 = o->metrics_sha256,
                           .weights_sha256 = o->weights_sha256,
                           .images_per_s = o->images_per_s,
                           .wall_s = o->wall_s};
    for (int i = 0; vt_metric_at(i); i++)
        run.value[i] = vt_outcome_metric(o, vt_metric_at(i));
    return run;
}

double vt_baseline_floor(const vt_metric *metric)
{
    return strcmp(metric->unit, "nat") == 0 ? 0.01 : 0.003;
}

const vt_acceptance *vt_baseline_current(const vt_baseline *b)
{
    return &b->accepted[b->n_accepted - 1];
}

bool vt_acceptance_same_data(const vt_acceptance *a, const vt_baseline_run *run)
{
    bool one = true;
    for (int i = 0; i < a->n_runs; i++) {
        if (a->run[i].seed == run->seed)
            return strcmp(a->run[i].data_digest, run->data_digest) == 0;
        one = one && strcmp(a->run[i].data_digest, a->run[0].data_digest) == 0;
    }
    /* Of one run it is not known whether its data depend on the seed. */
    return !one || a->n_runs == 1 || strcmp(a->run[0].data_digest, run->data_digest) == 0;
}

static bool goes_with(const vt_acceptance *first, const vt_acceptance *current)
{
    bool same = strcmp(first->exp_id, current->exp_id) == 0;
    for (int i = 0; same && i < current->n_runs; i++)
        same = vt_acceptance_same_data(first, &current->run[i]);
    return same;
}

const vt_acceptance *vt_baseline_oldest(const vt_baseline *b)
{
    const vt_acceptance *current = vt_baseline_current(b), *first = b->accepted;
    while (first != current && !goes_with(first, current))
        first++;
    return first;
}

/* Reading: each function names what is wrong in the reader's err; nothing is done after that. */
struct reader {
    vt_baseline *baseline;
    const char *path;
    vt_error *err;
    vt_status status;
};

static void complain(struct reader *r, const char *key, const char *expected)
{
    if (r->status == VT_OK)
        r->status = vt_fail(r->err, VT_ERR_DATA, "%s: '%s' is not %s", r->path, key, expected);
}

static const char *get_text(struct reader *r, const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    if (!text)
        complain(r, key, "a text");
    return text ? text : "";
}

/* A digest or an id; nothing else may reach a terminal or a path unseen. */
static const char *get_hex(struct reader *r, const json_t *object, const char *key)
{
    const char *text = get_text(r, object, key);
    size_t n = strspn(text, "0123456789abcdef");
    if (n == 0 || text[n] || n >= VT_SHA256_HEX_SIZE)
        complain(r, key, "a hexadecimal number");
    return text;
}

/* "nan" and the like, as vt_json_real writes them, and null are NaN. */
static double get_real(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    return json_is_number(value) ? json_number_value(value) : (double)NAN;
}

static void *take(struct reader *r, size_t n, size_t size)
{
    void *block = vt_store_take(&r->baseline->store, (n ? n : 1) * size);
    if (!block && r->status == VT_OK)
        r->status = vt_fail(r->err, VT_ERR_NOMEM, "%s: no memory to read it", r->path);
    return block;
}

static json_t *get_list(struct reader *r, const json_t *object, const char *key, size_t least,
                        size_t most)
{
    json_t *list = json_object_get(object, key);
    size_t n = json_array_size(list);
    if (!json_is_array(list) || n < least || n > most)
        complain(r, key, "a list of a fitting length");
    return list;
}

static void read_run(struct reader *r, const json_t *row, const vt_acceptance *a,
                     vt_baseline_run *run)
{
    const json_t *digests = json_object_get(row, "digests");
    const json_t *metrics = json_object_get(row, "metrics");
    const json_t *seed = json_object_get(row, "seed");
    if (!json_is_integer(seed) || json_integer_value(seed) < 0)
        complain(r, "seed", "a seed");
    *run = (vt_baseline_run){.seed = (uint64_t)json_integer_value(seed),
                             .exp_id = a->exp_id,
                             .data_digest = get_hex(r, digests, "data"),
                             .run_id = get_hex(r, row, "run_id"),
                             .commit = get_text(r, row, "commit"),
                             .machine = get_text(r, row, "machine"),
                             .numerics = get_hex(r, digests, "numerics"),
                             .metrics_sha256 = get_hex(r, digests, "metrics"),
                             .weights_sha256 = get_hex(r, digests, "weights"),
                             .images_per_s = get_real(row, "images_per_s"),
                             .wall_s = get_real(row, "wall_s")};
    for (int i = 0; vt_metric_at(i); i++)
        run->value[i] = get_real(metrics, vt_metric_at(i)->name);
}

static void read_acceptance(struct reader *r, const json_t *row, vt_acceptance *a)
{
    json_t *runs = get_list(r, row, "runs", 1, VT_BASELINE_RUNS_MAX);
    *a = (vt_acceptance){.exp_id = get_hex(r, row, "exp_id"),
                         .reason = get_text(r, row, "reason"),
                         .run = take(r, json_array_size(runs), sizeof *a->run)};
    for (size_t i = 0; r->status == VT_OK && i < json_array_size(runs); i++) {
        read_run(r, json_array_get(runs, i), a, &a->run[i]);
        if (i && a->run[i].seed <= a->run[i - 1].seed)
            complain(r, "runs", "ascending by seed");
        a->n_runs++;
    }
}

static int by_metric(const void *a, const void *b)
{
    const vt_gate *x = a, *y = b;
    return index_of(x->metric) - index_of(y->metric);
}

static void read_thresholds(struct reader *r, const json_t *thresholds)
{
    vt_baseline *b = r->baseline;
    json_t *floors = json_object_get(thresholds, "floors"), *floor;
    const char *name;
    b->level = get_real(thresholds, "level");
    b->speed_factor = get_real(thresholds, "speed_factor");
    if (!(b->level > 0 && b->level < 0.5))
        complain(r, "level", "a number between 0 and 0.5");
    if (!(b->speed_factor >= 1))
        complain(r, "speed_factor", "a number of 1 or more");
    json_object_foreach(floors, name, floor)
    {
        const vt_metric *metric = vt_metric_find(name);
        if (!metric || !metric->better || !(json_number_value(floor) >= 0) ||
            b->n_gates == VT_BASELINE_GATES_MAX)
            complain(r, "floors", "a map of at most 8 metrics with a direction");
        else
            b->gate[b->n_gates++] = (vt_gate){metric, json_number_value(floor)};
    }
    if (b->n_gates == 0)
        complain(r, "floors", "a map of one metric at least");
    else
        qsort(b->gate, (size_t)b->n_gates, sizeof *b->gate, by_metric);
}

static void read_settings(struct reader *r, json_t *config)
{
    vt_baseline *b = r->baseline;
    const char *key;
    json_t *value;
    b->setting =
        take(r, json_object_size(config) + (size_t)vt_settings_later(), sizeof *b->setting);
    if (!json_is_object(config))
        complain(r, "config", "a map");
    json_object_foreach(config, key, value)
    {
        if (r->status != VT_OK)
            return;
        if (!json_is_string(value))
            complain(r, key, "a text");
        b->setting[b->n_settings++] = (vt_setting){key, json_string_value(value)};
    }
    vt_settings_complete(b->setting, &b->n_settings);
}

static void read_root(struct reader *r)
{
    vt_baseline *b = r->baseline;
    if (json_integer_value(json_object_get(b->root, "schema")) != SCHEMA)
        complain(r, "schema", "1, the one this program knows");
    b->experiment = get_text(r, b->root, "experiment");
    json_t *set = get_list(r, b->root, "set", 0, 256);
    json_t *accepted = get_list(r, b->root, "accepted", 1, 10000);
    b->set = take(r, json_array_size(set), sizeof *b->set);
    b->accepted = take(r, json_array_size(accepted), sizeof *b->accepted);
    for (size_t i = 0; r->status == VT_OK && i < json_array_size(set); i++) {
        b->set[b->n_set] = json_string_value(json_array_get(set, i));
        if (!b->set[b->n_set++])
            complain(r, "set", "a list of texts");
    }
    if (r->status == VT_OK)
        read_settings(r, json_object_get(b->root, "config"));
    if (r->status == VT_OK)
        read_thresholds(r, json_object_get(b->root, "thresholds"));
    for (size_t i = 0; r->status == VT_OK && i < json_array_size(accepted); i++)
        read_acceptance(r, json_array_get(accepted, i), &b->accepted[b->n_accepted++]);
}

static vt_status check_name(const char *name, vt_error *err)
{
    if (vt_fs_name_ok(name) && strlen(name) + strlen(extension) <= VT_NAME_MAX)
        return VT_OK;
    return vt_fail(
        err, VT_ERR_USAGE,
        "a baseline's name has letters, digits, '.', '_' and '-', and begins with none of "
        "the last two");
}

static vt_status open_folder(const char *results, int *fd, vt_error *err)
{
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/" VT_BASELINE_FOLDER, results);
    return vt_fs_open_dir(AT_FDCWD, path, fd, err);
}

static vt_status fail_missing(const char *results, const char *name, vt_error *err)
{
    vt_baseline_names names = {0};
    const char *near = NULL, **list = NULL;
    if (vt_baseline_names_read(&names, results, NULL) == VT_OK)
        list = vt_calloc((size_t)names.n + 1, sizeof *list);
    for (int i = 0; list && i < names.n; i++)
        list[i] = names.name[i];
    if (list)
        near = vt_suggest(name, list, names.n);
    vt_status status =
        vt_fail(err, VT_ERR_NOINPUT, "no baseline '%s' in %s/" VT_BASELINE_FOLDER "%s%s%s", name,
                results, near ? "; did you mean '" : "", near ? near : "", near ? "'?" : "");
    vt_free(list);
    vt_baseline_names_release(&names);
    return status;
}

vt_status vt_baseline_read(vt_baseline *baseline, const char *results, const char *name,
                           vt_error *err)
{
    char file[VT_NAME_MAX + 1], path[PATH_MAX];
    vt_error reason = {0};
    struct reader r = {.baseline = baseline, .path = path, .err = err};
    int fd = -1;
    *baseline = (vt_baseline){0};
    vt_status status = check_name(name, err);
    if (status != VT_OK)
        return status;
    snprintf(baseline->name, sizeof baseline->name, "%s", name);
    snprintf(file, sizeof file, "%.*s%s", (int)(sizeof file - sizeof extension), name, extension);
    snprintf(path, sizeof path, "%s/" VT_BASELINE_FOLDER "/%s", results, file);
    status = open_folder(results, &fd, &reason);
    if (status == VT_OK)
        status = vt_json_read(fd, file, FILE_CAP, &baseline->root, &reason);
    vt_fs_close(&fd);
    if (status == VT_ERR_NOINPUT)
        return fail_missing(results, name, err);
    if (status != VT_OK)
        return vt_fail(err, status, "%s", reason.text);
    read_root(&r);
    return r.status;
}

void vt_baseline_release(vt_baseline *baseline)
{
    json_decref(baseline->root);
    vt_store_release(&baseline->store);
    *baseline = (vt_baseline){0};
}

struct name_walk {
    vt_baseline_names *names;
    bool failed;
};

static void add_name(void *arg, const char *file)
{
    struct name_walk *walk = arg;
    vt_baseline_names *names = walk->names;
    size_t size = strlen(file), tail = strlen(extension);
    if (!vt_fs_name_ok(file) || size <= tail || strcmp(file + size - tail, extension) != 0)
        return;
    if ((names->n & (names->n - 1)) == 0) {
        void *grown =
            vt_realloc(names->name, names->n ? 2 * (size_t)names->n : 1, sizeof *names->name);
        walk->failed |= !grown;
        if (!grown)
            return;
        names->name = grown;
    }
    snprintf(names->name[names->n++], VT_NAME_MAX + 1, "%.*s", (int)(size - tail), file);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(a, b);
}

vt_status vt_baseline_names_read(vt_baseline_names *names, const char *results, vt_error *err)
{
    struct name_walk walk = {.names = names};
    vt_error reason = {0};
    int fd = -1;
    *names = (vt_baseline_names){0};
    vt_status status = open_folder(results, &fd, &reason);
    if (status == VT_ERR_NOINPUT)
        return VT_OK;
    if (status == VT_OK)
        status = vt_fs_list(fd, add_name, &walk, &reason);
    vt_fs_close(&fd);
    if (status == VT_OK && walk.failed)
        status = vt_fail(&reason, VT_ERR_NOMEM, "no memory to list the baselines");
    if (status != VT_OK)
        return vt_fail(err, status, "%s", reason.text);
    if (names->n)
        qsort(names->name, (size_t)names->n, sizeof *names->name, by_name);
    return VT_OK;
}

void vt_baseline_names_release(vt_baseline_names *names)
{
    vt_free(names->name);
    *names = (vt_baseline_names){0};
}

static const char *accepted_value(const vt_baseline *b, const char *key)
{
    for (int i = 0; i < b->n_settings; i++)
        if (strcmp(b->setting[i].key, key) == 0)
            return b->setting[i].value;
    return NULL;
}

int vt_baseline_differences(const vt_baseline *b, const vt_config *config, vt_text *lines)
{
    static const char unused[] = "(not used)";
    int n = 0;
    for (int i = 0; i < vt_config_field_count(); i++) {
        vt_config_field field = vt_config_field_at(i);
        const char *old = accepted_value(b, field.path);
        vt_text value = {0};
        if (field.identity && vt_config_field_active(config, i))
            vt_config_value(config, i, &value);
        if ((old || value.data) && (!old || !value.data || strcmp(old, value.data) != 0)) {
            vt_text_printf(lines, "%s: %s -> %s\n", field.path, old ? old : unused,
                           value.data ? value.data : unused);
            n++;
        }
        vt_text_release(&value);
    }
    for (int i = 0; i < b->n_settings; i++) { /* keys of another version */
        int k = 0;
        while (k < vt_config_field_count() &&
               strcmp(vt_config_field_at(k).path, b->setting[i].key) != 0)
            k++;
        if (k < vt_config_field_count())
            continue;
        vt_text_printf(lines, "%s: %s -> (no such key)\n", b->setting[i].key, b->setting[i].value);
        n++;
    }
    return n;
}

vt_status vt_baseline_write(const char *results, const char *name, json_t *root, vt_error *err)
{
    char file[VT_NAME_MAX + 1];
    int results_fd = -1, fd = -1;
    vt_status status = check_name(name, err);
    if (status == VT_OK)
        status = vt_fs_open_dir(AT_FDCWD, results, &results_fd, err);
    if (status == VT_OK)
        status = vt_fs_make_dirs(results_fd, VT_BASELINE_FOLDER, &fd, err);
    snprintf(file, sizeof file, "%.*s%s", (int)(sizeof file - sizeof extension), name, extension);
    if (status == VT_OK)
        status = vt_json_publish(fd, file, root, err);
    else
        json_decref(root);
    vt_fs_close(&fd);
    vt_fs_close(&results_fd);
    return status;
}
