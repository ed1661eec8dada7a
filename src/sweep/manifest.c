#include "sweep/manifest.h"

#include "base/mem.h"
#include "results/json.h"
#include "results/rundir.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define FOLDER "sweeps"
#define FILE_NAME "manifest.json"

enum { SCHEMA = 1, MANIFEST_CAP = 1 << 25, NAMES_MAX = 1000 };

void vt_sweep_release(vt_sweep *sweep)
{
    vt_store_release(&sweep->store);
    *sweep = (vt_sweep){0};
}

void vt_sweep_label(const vt_sweep *sweep, int run, char *label, size_t size)
{
    const vt_sweep_run *r = &sweep->run[run];
    size_t used = 0;
    for (int k = 0; k < sweep->n_keys && used < size; k++)
        used += (size_t)snprintf(label + used, size - used, "%s=%s ", sweep->key[k], r->value[k]);
    if (used < size)
        snprintf(label + used, size - used, "seed %" PRId64, r->seed);
}

void vt_sweep_place(const vt_sweep *sweep, int run, const char *results, vt_run_place *place)
{
    *place = (vt_run_place){0};
    snprintf(place->exp, sizeof place->exp, "%s", sweep->exp_name);
    snprintf(place->id, sizeof place->id, "%s", sweep->run[run].run_id);
    snprintf(place->path, sizeof place->path, "%s/%s/%s", results, place->exp, place->id);
}

char **vt_sweep_command(vt_sweep *sweep, int run, const char *results, const char *data_dir,
                        int threads)
{
    enum { FIXED = 12 };
    vt_store *store = &sweep->store;
    const vt_sweep_run *r = &sweep->run[run];
    int n = 0, n_sets = sweep->n_sets + sweep->n_keys;
    char **argv = vt_store_take(store, (size_t)(FIXED + 2 * n_sets) * sizeof *argv);
    if (!argv)
        return NULL;
    argv[n++] = vt_store_printf(store, "vitrine");
    argv[n++] = vt_store_printf(store, "train");
    argv[n++] = vt_store_printf(store, "--results=%s", results);
    argv[n++] = vt_store_printf(store, "--seed=%" PRId64, r->seed);
    if (threads)
        argv[n++] = vt_store_printf(store, "--threads=%d", threads);
    if (data_dir)
        argv[n++] = vt_store_printf(store, "--data-dir=%s", data_dir);
    for (int i = 0; i < sweep->n_sets; i++)
        argv[n++] = vt_store_printf(store, "--set=%s", sweep->set[i]);
    for (int k = 0; k < sweep->n_keys; k++)
        argv[n++] = vt_store_printf(store, "--set=%s=%s", sweep->key[k], r->value[k]);
    argv[n++] = vt_store_printf(store, "--");
    argv[n++] = vt_store_printf(store, "%s", sweep->exp);
    return store->failed ? NULL : argv;
}

/* Writing. */

static json_t *pack_texts(const char *const *text, int n)
{
    json_t *list = json_array();
    for (int i = 0; list && i < n; i++) {
        if (json_array_append_new(list, json_string(text[i])) != 0) {
            json_decref(list);
            return NULL;
        }
    }
    return list;
}

static json_t *pack_run(const vt_sweep *sweep, int i)
{
    const vt_sweep_run *run = &sweep->run[i];
    json_t *settings = json_object();
    for (int k = 0; settings && k < sweep->n_keys; k++) {
        if (json_object_set_new(settings, sweep->key[k], json_string(run->value[k])) != 0) {
            json_decref(settings);
            return NULL;
        }
    }
    return json_pack("{s:i, s:i, s:o, s:I, s:s, s:s}", "row", i, "setting", run->setting,
                     "settings", settings, "seed", (json_int_t)run->seed, "exp_id", run->exp_id,
                     "run_id", run->run_id);
}

static json_t *pack_sweep(const vt_sweep *sweep)
{
    json_t *runs = json_array();
    for (int i = 0; runs && i < sweep->n_runs; i++) {
        if (json_array_append_new(runs, pack_run(sweep, i)) != 0) {
            json_decref(runs);
            runs = NULL;
        }
    }
    return json_pack("{s:i, s:s, s:s, s:s, s:o, s:o, s:o}", "schema", SCHEMA, "name", sweep->name,
                     "exp", sweep->exp, "exp_name", sweep->exp_name, "set",
                     pack_texts(sweep->set, sweep->n_sets), "keys",
                     pack_texts(sweep->key, sweep->n_keys), "runs", runs);
}

static vt_status read_manifest(vt_sweep *sweep, int dir_fd, vt_error *err);

static vt_status compare_runs(const vt_sweep *sweep, int dir_fd, vt_error *err)
{
    vt_sweep old = {0};
    vt_error ignored = {0};
    char path[PATH_MAX], label[300];
    if (!vt_fs_exists(dir_fd, FILE_NAME))
        return VT_OK;
    vt_status status = read_manifest(&old, dir_fd, &ignored);
    bool same = status == VT_OK && old.n_runs == sweep->n_runs;
    int i = 0;
    while (same && i < sweep->n_runs && strcmp(old.run[i].run_id, sweep->run[i].run_id) == 0)
        i++;
    vt_fs_path(dir_fd, FILE_NAME, path);
    if (status != VT_OK || !same) {
        status = vt_fail(err, VT_ERR_DATA,
                         "%s; remove it to plan the sweep anew: its runs stay as they are",
                         status != VT_OK ? ignored.text : path);
    } else if (i < sweep->n_runs) {
        vt_sweep_label(sweep, i, label, sizeof label);
        status = vt_fail(err, VT_ERR_DATA,
                         "%s: row %d (%s) was the run %s and would now be %s: the data or "
                         "model.weights have changed since; remove the file to plan the sweep anew",
                         path, i, label, old.run[i].run_id, sweep->run[i].run_id);
    }
    vt_sweep_release(&old);
    return status;
}

vt_status vt_sweep_publish(const vt_sweep *sweep, const char *results, int *dir_fd, vt_error *err)
{
    char path[VT_NAME_MAX + 16];
    int results_fd = -1;
    *dir_fd = -1;
    snprintf(path, sizeof path, FOLDER "/%s", sweep->name);
    vt_status status = vt_results_open(results, &results_fd, err);
    if (status == VT_OK)
        status = vt_fs_make_dirs(results_fd, path, dir_fd, err);
    if (status == VT_OK)
        status = compare_runs(sweep, *dir_fd, err);
    if (status == VT_OK)
        status = vt_json_publish(*dir_fd, FILE_NAME, pack_sweep(sweep), err);
    vt_fs_close(&results_fd);
    if (status != VT_OK)
        vt_fs_close(dir_fd);
    return status;
}

/* Reading. The file may be anyone's: texts become arguments and are shown on terminals. */

static bool is_plain(const char *text)
{
    for (; text && *text; text++)
        if ((unsigned char)*text < ' ' || *text == 0x7f)
            return false;
    return text != NULL;
}

static const char *take_text(vt_sweep *sweep, const json_t *value)
{
    const char *text = json_string_value(value);
    return is_plain(text) ? vt_store_text(&sweep->store, text, strlen(text)) : NULL;
}

static bool take_texts(vt_sweep *sweep, const json_t *list, const char ***text, int *n)
{
    if (!json_is_array(list) || json_array_size(list) > VT_SWEEP_RUNS_MAX)
        return false;
    size_t size = json_array_size(list);
    *text = vt_store_take(&sweep->store, (size + 1) * sizeof **text);
    for (size_t i = 0; *text && i < size; i++)
        if (!((*text)[i] = take_text(sweep, json_array_get(list, i))))
            return false;
    *n = (int)size;
    return *text != NULL;
}

static bool copy_hex(char *to, size_t digits, const json_t *value)
{
    const char *text = json_string_value(value);
    if (!text || strlen(text) != digits || strspn(text, "0123456789abcdef") != digits)
        return false;
    memcpy(to, text, digits + 1);
    return true;
}

static bool take_run(vt_sweep *sweep, const json_t *row, vt_sweep_run *run)
{
    const json_t *setting = json_object_get(row, "setting"), *seed = json_object_get(row, "seed");
    const json_t *settings = json_object_get(row, "settings");
    int before = run == sweep->run ? -1 : run[-1].setting;
    run->value = vt_store_take(&sweep->store, (size_t)(sweep->n_keys + 1) * sizeof *run->value);
    if (!run->value || !json_is_integer(setting) || !json_is_integer(seed))
        return false;
    /* Each setting's runs stand together, in order. */
    json_int_t number = json_integer_value(setting);
    if (number < before || number > before + 1 || number < 0)
        return false;
    run->setting = (int)number;
    run->seed = json_integer_value(seed);
    for (int k = 0; k < sweep->n_keys; k++)
        if (!(run->value[k] = take_text(sweep, json_object_get(settings, sweep->key[k]))))
            return false;
    return run->seed >= 0 && copy_hex(run->exp_id, 64, json_object_get(row, "exp_id")) &&
           copy_hex(run->run_id, VT_RUN_ID_SIZE - 1, json_object_get(row, "run_id"));
}

/* What is wrong, or NULL. */
static const char *take_sweep(vt_sweep *sweep, const json_t *root)
{
    const json_t *runs = json_object_get(root, "runs");
    if (json_integer_value(json_object_get(root, "schema")) != SCHEMA)
        return "its schema is not 1";
    const char *name = json_string_value(json_object_get(root, "name"));
    if (!name || !vt_fs_name_ok(name))
        return "its name is none";
    snprintf(sweep->name, sizeof sweep->name, "%s", name);
    sweep->exp = take_text(sweep, json_object_get(root, "exp"));
    sweep->exp_name = take_text(sweep, json_object_get(root, "exp_name"));
    if (!sweep->exp || !sweep->exp_name || !vt_fs_name_ok(sweep->exp_name))
        return "the experiment is not named";
    if (!take_texts(sweep, json_object_get(root, "set"), &sweep->set, &sweep->n_sets) ||
        !take_texts(sweep, json_object_get(root, "keys"), &sweep->key, &sweep->n_keys))
        return "'set' or 'keys' is no list of texts";
    size_t n = json_array_size(runs);
    if (n == 0 || n > VT_SWEEP_RUNS_MAX)
        return "'runs' is no list of a sweep's runs";
    sweep->run = vt_store_take(&sweep->store, n * sizeof *sweep->run);
    for (; sweep->run && sweep->n_runs < (int)n; sweep->n_runs++)
        if (!take_run(sweep, json_array_get(runs, (size_t)sweep->n_runs),
                      &sweep->run[sweep->n_runs]))
            return "a row of 'runs' is damaged";
    if (sweep->run)
        sweep->n_settings = sweep->run[n - 1].setting + 1;
    return NULL;
}

static vt_status read_manifest(vt_sweep *sweep, int dir_fd, vt_error *err)
{
    json_t *root;
    char path[PATH_MAX];
    *sweep = (vt_sweep){0};
    vt_status status = vt_json_read(dir_fd, FILE_NAME, MANIFEST_CAP, &root, err);
    if (status != VT_OK)
        return status;
    vt_fs_path(dir_fd, FILE_NAME, path);
    const char *wrong = take_sweep(sweep, root);
    json_decref(root);
    if (sweep->store.failed)
        return vt_fail(err, VT_ERR_NOMEM, "no memory for %s", path);
    if (wrong && sweep->n_runs > 0)
        return vt_fail(err, VT_ERR_DATA, "%s: %s (%d)", path, wrong, sweep->n_runs);
    return wrong ? vt_fail(err, VT_ERR_DATA, "%s: %s", path, wrong) : VT_OK;
}

struct finding {
    const char *word;
    int dir_fd;
    char found[VT_NAME_MAX + 1];
    struct timespec changed;
    char name[NAMES_MAX][VT_NAME_MAX + 1];
    int n;
};

/* NAME itself, or EXP of a name EXP-DIGITS. */
static void visit_sweep(void *arg, const char *name)
{
    struct finding *f = arg;
    struct stat info;
    char path[VT_NAME_MAX + 32], exp[VT_NAME_MAX + 1];
    if (!vt_fs_name_ok(name) || f->n == NAMES_MAX)
        return;
    snprintf(f->name[f->n++], sizeof f->name[0], "%s", name);
    snprintf(path, sizeof path, "%s/" FILE_NAME, name);
    snprintf(exp, sizeof exp, "%s", f->word);
    for (char *c = exp; *c; c++)
        *c = *c == '/' ? '-' : *c;
    const char *dash = strrchr(name, '-');
    bool is_exp =
        dash && strlen(exp) == (size_t)(dash - name) && strncmp(name, exp, strlen(exp)) == 0;
    if (fstatat(f->dir_fd, path, &info, AT_SYMLINK_NOFOLLOW) != 0)
        return;
    bool newer =
        !*f->found || info.st_mtim.tv_sec > f->changed.tv_sec ||
        (info.st_mtim.tv_sec == f->changed.tv_sec && info.st_mtim.tv_nsec > f->changed.tv_nsec);
    if (strcmp(name, f->word) != 0 && (!is_exp || !newer || strcmp(f->found, f->word) == 0))
        return;
    snprintf(f->found, sizeof f->found, "%s", name);
    f->changed = info.st_mtim;
}

static vt_status fail_unknown(const struct finding *f, const char *results, const char *word,
                              vt_error *err)
{
    const char *names[NAMES_MAX];
    for (int i = 0; i < f->n; i++)
        names[i] = f->name[i];
    const char *near = vt_suggest(word, names, f->n);
    return vt_fail(err, VT_ERR_NOINPUT,
                   "no sweep '%.200s' in %s/" FOLDER "%s%s%s; a sweep is named as when it was "
                   "planned, or by its experiment",
                   word, results, near ? "; did you mean '" : "", near ? near : "",
                   near ? "'?" : "");
}

vt_status vt_sweep_read(vt_sweep *sweep, const char *results, const char *word, vt_error *err)
{
    char path[PATH_MAX];
    int dir_fd = -1;
    *sweep = (vt_sweep){0};
    struct finding *f = vt_calloc(1, sizeof *f);
    if (!f)
        return vt_fail(err, VT_ERR_NOMEM, "no memory to find a sweep");
    *f = (struct finding){.word = word, .dir_fd = -1};
    snprintf(path, sizeof path, "%s/" FOLDER, results);
    vt_status status = vt_fs_open_dir(AT_FDCWD, path, &f->dir_fd, err);
    if (status == VT_OK)
        status = vt_fs_list(f->dir_fd, visit_sweep, f, err);
    if (status == VT_OK && !*f->found)
        status = fail_unknown(f, results, word, err);
    if (status == VT_OK)
        status = vt_fs_open_dir(f->dir_fd, f->found, &dir_fd, err);
    if (status == VT_OK)
        status = read_manifest(sweep, dir_fd, err);
    vt_fs_close(&dir_fd);
    vt_fs_close(&f->dir_fd);
    vt_free(f);
    return status;
}
