/* From the words of the command line to the list of runs. */
#include "base/mem.h"
#include "sweep/manifest.h"
#include "train/train.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { NAME_DIGITS = 8, REPORTS_MAX = 5 };

static char *copy_text(vt_store *store, const char *text)
{
    return vt_store_text(store, text, strlen(text));
}

/* The grid's choice for a setting as key=value texts behind those of the request. */
static const char *const *list_sets(vt_sweep *sweep, const vt_sweep_request *r, int setting)
{
    const char **sets =
        vt_store_take(&sweep->store, (size_t)(r->n_sets + r->grid->n_keys + 1) * sizeof *sets);
    for (int i = 0; sets && i < r->n_sets; i++)
        sets[i] = r->sets[i];
    for (int k = 0; sets && k < r->grid->n_keys; k++) {
        const vt_grid_key *key = &r->grid->key[k];
        sets[r->n_sets + k] = vt_store_printf(&sweep->store, "%s=%s", key->key,
                                              key->value[vt_grid_choice(r->grid, setting, k)]);
    }
    return sets;
}

static vt_status load_setting(vt_sweep *sweep, const vt_sweep_request *r, int setting,
                              vt_config **config, vt_diagnostics *diags)
{
    char path[4096];
    const vt_config_overrides own = {
        .has_threads = true, .threads = r->threads, .data_dir = r->data_dir};
    const char *const *sets = list_sets(sweep, r, setting);
    *config = NULL;
    if (sweep->store.failed)
        return VT_ERR_NOMEM;
    vt_status status = vt_config_find(r->exp, path, sizeof path, diags);
    if (status == VT_OK)
        status = vt_config_load(config, path, sets, r->n_sets + r->grid->n_keys, &own, diags);
    return status;
}

static vt_status add_runs(vt_sweep *sweep, const vt_sweep_request *r, int setting,
                          const vt_config *config, vt_error *err)
{
    char exp_id[VT_SHA256_HEX_SIZE];
    const char **value = vt_store_take(&sweep->store, (size_t)(sweep->n_keys + 1) * sizeof *value);
    if (!value || vt_config_experiment_id(config, exp_id) != VT_OK)
        return vt_fail(err, VT_ERR_NOMEM, "no memory for the sweep");
    if (!sweep->exp_name)
        sweep->exp_name = copy_text(&sweep->store, vt_config_name(config));
    for (int k = 0; k < sweep->n_keys; k++)
        value[k] =
            copy_text(&sweep->store, r->grid->key[k].value[vt_grid_choice(r->grid, setting, k)]);
    if (r->grid->n_seeds == 0 && config->seed > INT64_MAX)
        return vt_fail(err, VT_ERR_USAGE, "seeds of a sweep are at most 9223372036854775807");
    int n_seeds = r->grid->n_seeds ? r->grid->n_seeds : 1;
    for (int s = 0; s < n_seeds; s++) {
        vt_sweep_run *run = &sweep->run[sweep->n_runs++];
        *run = (vt_sweep_run){.setting = setting,
                              .value = value,
                              .seed = r->grid->n_seeds ? r->grid->seed[s] : (int64_t)config->seed};
        memcpy(run->exp_id, exp_id, sizeof exp_id);
    }
    return sweep->store.failed ? vt_fail(err, VT_ERR_NOMEM, "no memory for the sweep") : VT_OK;
}

/* Also tells settings apart that differ in keys which do not change a run, such as the threads. */
static vt_status refuse_twins(const vt_sweep *sweep, vt_error *err)
{
    for (int b = 0; b < sweep->n_runs; b++) {
        for (int a = 0; a < b; a++) {
            const vt_sweep_run *x = &sweep->run[a], *y = &sweep->run[b];
            char first[300], second[300];
            if (x->seed != y->seed || strcmp(x->exp_id, y->exp_id) != 0)
                continue;
            vt_sweep_label(sweep, a, first, sizeof first);
            vt_sweep_label(sweep, b, second, sizeof second);
            return vt_fail(err, VT_ERR_USAGE,
                           "'%s' and '%s' are the same run: their configurations differ in nothing "
                           "that changes the result",
                           first, second);
        }
    }
    return VT_OK;
}

static void name_sweep(vt_sweep *sweep)
{
    char hex[VT_SHA256_HEX_SIZE], line[VT_SHA256_HEX_SIZE + 32];
    uint8_t digest[VT_SHA256_SIZE];
    vt_sha256 hash;
    vt_sha256_init(&hash);
    for (int i = 0; i < sweep->n_runs; i++) {
        int size = snprintf(line, sizeof line, "%s %" PRId64 "\n", sweep->run[i].exp_id,
                            sweep->run[i].seed);
        vt_sha256_add(&hash, line, (size_t)size);
    }
    vt_sha256_finish(&hash, digest);
    vt_sha256_hex(digest, hex);
    snprintf(sweep->name, sizeof sweep->name, "%.100s-%.*s", sweep->exp_name, NAME_DIGITS, hex);
}

static vt_status start_plan(vt_sweep *sweep, const vt_sweep_request *r, vt_error *err)
{
    int n_seeds = r->grid->n_seeds ? r->grid->n_seeds : 1;
    *sweep = (vt_sweep){
        .n_settings = vt_grid_settings(r->grid), .n_sets = r->n_sets, .n_keys = r->grid->n_keys};
    if (sweep->n_settings > VT_SWEEP_RUNS_MAX / n_seeds)
        return vt_fail(err, VT_ERR_USAGE, "a sweep has at most %d runs", VT_SWEEP_RUNS_MAX);
    vt_store *store = &sweep->store;
    sweep->exp = copy_text(store, r->exp);
    sweep->set = vt_store_take(store, (size_t)(r->n_sets + 1) * sizeof *sweep->set);
    sweep->key = vt_store_take(store, (size_t)(sweep->n_keys + 1) * sizeof *sweep->key);
    sweep->run = vt_store_take(store, (size_t)(sweep->n_settings * n_seeds) * sizeof *sweep->run);
    if (store->failed)
        return vt_fail(err, VT_ERR_NOMEM, "no memory for the sweep");
    for (int i = 0; i < r->n_sets; i++)
        sweep->set[i] = copy_text(store, r->sets[i]);
    for (int k = 0; k < sweep->n_keys; k++)
        sweep->key[k] = copy_text(store, r->grid->key[k].key);
    return VT_OK;
}

vt_status vt_sweep_plan(vt_sweep *sweep, const vt_sweep_request *r, vt_text *report, vt_error *err)
{
    vt_status status = start_plan(sweep, r, err), bad = VT_OK;
    for (int i = 0, n_bad = 0; status == VT_OK && i < sweep->n_settings && n_bad < REPORTS_MAX;
         i++) {
        vt_config *config;
        vt_diagnostics diags = {.color = r->color};
        vt_status loaded = load_setting(sweep, r, i, &config, &diags);
        if (loaded == VT_OK)
            status = add_runs(sweep, r, i, config, err);
        else if (loaded == VT_ERR_NOMEM)
            status = vt_fail(err, VT_ERR_NOMEM, "no memory for the sweep");
        else if (bad == VT_OK)
            bad = loaded;
        if (loaded != VT_OK && diags.text.data) {
            vt_text_append(report, diags.text.data, diags.text.size);
            /* Without the file itself every setting would say the same. */
            n_bad = loaded == VT_ERR_CONFIG ? n_bad + 1 : REPORTS_MAX;
        }
        vt_diagnostics_release(&diags);
        vt_config_free(config);
    }
    if (status == VT_OK)
        status = bad;
    if (status == VT_OK)
        status = refuse_twins(sweep, err);
    if (status == VT_OK)
        name_sweep(sweep);
    return status;
}

/* The digest of what a run is made from depends on what chooses the data, and on the seed. */
struct source {
    uint8_t settings[VT_SHA256_SIZE];
    int64_t seed;
    char digest[VT_SHA256_HEX_SIZE];
};

static vt_status hash_sources(const vt_config *config, uint8_t sha256[VT_SHA256_SIZE],
                              vt_error *err)
{
    vt_text text = {0};
    for (int i = 0; i < vt_config_field_count(); i++) {
        const char *path = vt_config_field_at(i).path;
        if (strncmp(path, "data.", 5) != 0 && strcmp(path, "model.weights") != 0)
            continue;
        vt_text_printf(&text, "%s=", path);
        vt_config_value(config, i, &text);
        vt_text_printf(&text, "\n");
    }
    if (!text.failed)
        vt_sha256_of(text.data, text.size, sha256);
    vt_status status = text.failed ? vt_fail(err, VT_ERR_NOMEM, "no memory for the sweep") : VT_OK;
    vt_text_release(&text);
    return status;
}

static struct source *find_source(struct source *known, int n, const struct source *wanted)
{
    for (int i = 0; i < n; i++)
        if (known[i].seed == wanted->seed &&
            memcmp(known[i].settings, wanted->settings, sizeof wanted->settings) == 0)
            return &known[i];
    return NULL;
}

/* A setting's first run is prepared whole; the others as far as their data are not known yet. */
static vt_status identify_run(vt_sweep *sweep, int i, vt_config *config, struct source *known,
                              int *n, vt_error *err)
{
    vt_sweep_run *run = &sweep->run[i];
    bool first = i == 0 || sweep->run[i - 1].setting != run->setting;
    struct source wanted = {.seed = run->seed};
    config->seed = (uint64_t)run->seed;
    vt_status status = hash_sources(config, wanted.settings, err);
    if (status != VT_OK)
        return status;
    const struct source *found = find_source(known, *n, &wanted);
    if (found && !first)
        return vt_config_run_id(config, found->digest, run->run_id);
    vt_train_identity identity;
    vt_error why = {0};
    status = vt_train_identify(config, &identity, &why);
    if (status != VT_OK) {
        char label[300];
        vt_sweep_label(sweep, i, label, sizeof label);
        return vt_fail(err, status, "%s: %s", label, why.text);
    }
    memcpy(run->run_id, identity.run_id, sizeof run->run_id);
    if (!found) {
        memcpy(wanted.digest, identity.data_digest, sizeof wanted.digest);
        known[(*n)++] = wanted;
    }
    return VT_OK;
}

vt_status vt_sweep_identify(vt_sweep *sweep, const vt_sweep_request *r, vt_error *err)
{
    struct source *known = vt_calloc((size_t)sweep->n_runs, sizeof *known);
    int n = 0;
    vt_status status = known ? VT_OK : vt_fail(err, VT_ERR_NOMEM, "no memory for the sweep");
    for (int i = 0; status == VT_OK && i < sweep->n_runs;) {
        vt_config *config;
        vt_diagnostics diags = {0};
        int setting = sweep->run[i].setting;
        status = load_setting(sweep, r, setting, &config, &diags);
        if (status != VT_OK)
            vt_fail(err, status, "%s", diags.text.data ? diags.text.data : "no memory");
        for (; status == VT_OK && i < sweep->n_runs && sweep->run[i].setting == setting; i++)
            status = identify_run(sweep, i, config, known, &n, err);
        vt_diagnostics_release(&diags);
        vt_config_free(config);
    }
    vt_free(known);
    return status;
}
