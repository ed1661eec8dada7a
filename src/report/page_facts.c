#include "report/page_facts.h"

#include "base/fs.h"
#include "report/compare_print.h"
#include "report/judge.h"
#include "report/show.h"
#include "results/json.h"

#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

enum { PROVENANCE_CAP = 16 << 20, DIGITS = 12, WEIGHT_DIGITS = 16, CELL = 64 };

void vt_page_standing(const vt_compare *c, int row, vt_text *text)
{
    const vt_compare_value v = vt_compare_value_of(c, row, c->metric);
    const vt_compare_difference d = vt_compare_difference_of(c, row, c->metric);
    const double scale = strcmp(c->metric->unit, "share") == 0 ? 100 : 1;
    const char *percent = scale > 1 ? " %" : "";
    char mean[CELL];
    vt_metric_text(c->metric, v.mean, mean, sizeof mean);
    vt_text_printf(text, "%s %s", c->metric->name, *mean ? mean : "unknown");
    if (!isnan(v.sd))
        vt_text_printf(text, " ± %.2f", scale * v.sd);
    vt_text_printf(text, "%s (%d run%s)", percent, v.n, v.n == 1 ? "" : "s");
    if (row != c->reference && !isnan(d.d.value)) {
        vt_text_printf(text, ", %+.2f", scale * d.d.value);
        if (!isnan(d.d.low))
            vt_text_printf(text, " [%+.2f, %+.2f]", scale * d.d.low, scale * d.d.high);
        vt_text_printf(text, " against %s", c->row[c->reference].mark);
    }
    vt_text_printf(text, ": %s", vt_verdict_word(d.verdict));
}

void vt_page_baseline(const vt_compare *c, int row, const char *results, vt_text *text)
{
    const vt_compare_row *r = &c->row[row];
    vt_baseline baseline = {0};
    vt_baseline_run run[VT_BASELINE_RUNS_MAX];
    vt_error err = {0};
    int n = r->n < VT_BASELINE_RUNS_MAX ? r->n : VT_BASELINE_RUNS_MAX;
    vt_status status = vt_baseline_read(&baseline, results, r->run[0]->exp_name, &err);
    if (status == VT_ERR_NOINPUT)
        vt_text_printf(text, "no baseline");
    else if (status != VT_OK)
        vt_text_printf(text, "baseline not read: %s", err.text);
    else if (strcmp(vt_baseline_current(&baseline)->exp_id, r->run[0]->exp_id) != 0)
        vt_text_printf(text, "baseline of another configuration");
    else {
        for (int i = 0; i < n; i++)
            run[i] = vt_baseline_run_of(r->run[i]);
        const vt_judgement judgement = vt_judge(&baseline, run, n, false);
        vt_text_printf(text, "baseline ");
        vt_judgement_line(&judgement, text);
    }
    vt_baseline_release(&baseline);
}

/* The first attempt; NULL if it cannot be read. */
static json_t *read_attempt(const vt_outcome *run)
{
    json_t *root = NULL, *attempt = NULL;
    int fd = -1;
    if (vt_fs_open_dir(AT_FDCWD, run->place.path, &fd, NULL) == VT_OK &&
        vt_json_read(fd, "provenance.json", PROVENANCE_CAP, &root, NULL) == VT_OK)
        attempt = json_incref(json_array_get(json_object_get(root, "attempts"), 0));
    json_decref(root);
    vt_fs_close(&fd);
    return attempt;
}

/* A word of a shell's command line. */
static void quote(const char *word, vt_text *text)
{
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                                "-_./=,:+@%";
    if (*word && word[strspn(word, plain)] == '\0') {
        vt_text_printf(text, "%s", word);
        return;
    }
    vt_text_printf(text, "'");
    for (const char *c = word; *c; c++)
        if (*c == '\'')
            vt_text_printf(text, "'\\''");
        else
            vt_text_append(text, c, 1);
    vt_text_printf(text, "'");
}

void vt_page_command(const vt_outcome *run, vt_text *text)
{
    json_t *attempt = read_attempt(run);
    const json_t *argv = json_object_get(attempt, "argv"), *word;
    size_t i;
    vt_text_printf(text, "./vitrine");
    if (json_array_size(argv) == 0)
        vt_text_printf(text, " train %s --seed %llu", run->exp_name, (unsigned long long)run->seed);
    json_array_foreach(argv, i, word)
    {
        vt_text_printf(text, " ");
        quote(json_is_string(word) ? json_string_value(word) : "", text);
    }
    json_decref(attempt);
}

void vt_page_expected(const vt_compare *c, int row, int i, vt_text *text)
{
    const vt_outcome *run = c->row[row].run[i];
    vt_text_printf(text, "# %s %s, seed %" PRIu64 ": weights %.*s", c->row[row].mark,
                   c->row[row].label, run->seed, WEIGHT_DIGITS, run->weights_sha256);
    if (*run->numerics)
        vt_text_printf(text, ", numerics %.*s", DIGITS, run->numerics);
}

static void add_digits(vt_table *table, int n, const char *digest)
{
    char digits[VT_SHA256_HEX_SIZE];
    snprintf(digits, sizeof digits, "%.*s", n, digest);
    vt_table_text(table, digits);
}

/* The commit; where files were changed, that they were and how long the kept patch is. */
static void add_code(vt_table *table, const vt_outcome *run)
{
    const char *dirty = strchr(run->commit, '-');
    int length = (int)(dirty ? dirty - run->commit : (ptrdiff_t)strlen(run->commit));
    struct stat patch;
    vt_text text = {0};
    int fd = -1;
    vt_text_printf(&text, "%.*s%s", length < DIGITS ? length : DIGITS, run->commit,
                   dirty ? dirty : "");
    if (dirty && vt_fs_open_dir(AT_FDCWD, run->place.path, &fd, NULL) == VT_OK &&
        fstatat(fd, "code.patch", &patch, AT_SYMLINK_NOFOLLOW) == 0)
        vt_text_printf(&text, ", patch of %lld bytes", (long long)patch.st_size);
    vt_table_text(table, text.data);
    vt_text_release(&text);
    vt_fs_close(&fd);
}

static const char *text_of(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text ? text : "";
}

void vt_page_origins(const vt_compare *c, vt_table *table)
{
    static const char *const names[] = {"run",      "seed", "weights",  "metrics", "data",
                                        "numerics", "code", "compiler", "kernels"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        vt_table_column(table, names[i], i == 1 ? VT_RIGHT : VT_LEFT);
    for (int row = 0; row < c->n_rows; row++)
        for (int i = 0; i < c->row[row].n; i++) {
            const vt_outcome *run = c->row[row].run[i];
            json_t *attempt = read_attempt(run);
            const json_t *build = json_object_get(attempt, "build");
            char name[VT_NAME_MAX + 16];
            snprintf(name, sizeof name, "%s %s", c->row[row].mark, run->run_id);
            vt_table_row(table);
            vt_table_text(table, name);
            vt_table_integer(table, (int64_t)run->seed, NULL);
            add_digits(table, WEIGHT_DIGITS, run->weights_sha256);
            add_digits(table, WEIGHT_DIGITS, run->metrics_sha256);
            add_digits(table, DIGITS, run->data_digest);
            add_digits(table, DIGITS, run->numerics);
            add_code(table, run);
            vt_table_text(table, text_of(build, "compiler"));
            vt_table_text(table, text_of(build, "kernel_path"));
            json_decref(attempt);
        }
}

static void add_metric(const vt_compare *c, int row, const char *name, vt_table *table)
{
    const vt_metric *metric = vt_metric_find(name);
    const vt_compare_value value = vt_compare_value_of(c, row, metric);
    char text[CELL];
    vt_metric_text(metric, value.mean, text, sizeof text);
    vt_table_real(table, value.mean, text);
}

void vt_page_costs(const vt_compare *c, vt_table *table)
{
    static const char *const metrics[] = {"params", "macs", "images_per_s", "wall_s", "peak_bytes"};
    static const char *const names[] = {"parameters", "MACs", "images/s", "time of a run",
                                        "memory"};
    enum { N = sizeof metrics / sizeof *metrics };
    vt_table_column(table, "experiment", VT_LEFT);
    for (int i = 0; i < N; i++)
        vt_table_column(table, names[i], VT_RIGHT);
    vt_table_column(table, "threads", VT_RIGHT);
    vt_table_column(table, "machine", VT_LEFT);
    for (int row = 0; row < c->n_rows; row++) {
        vt_text name = {0};
        vt_text_printf(&name, "%s %s", c->row[row].mark, c->row[row].label);
        vt_table_row(table);
        vt_table_text(table, name.data);
        for (int i = 0; i < N; i++)
            add_metric(c, row, metrics[i], table);
        vt_table_integer(table, c->row[row].run[0]->threads, NULL);
        vt_table_text(table, c->row[row].run[0]->machine);
        vt_text_release(&name);
    }
}

void vt_page_settings(const vt_compare *c, vt_table *table)
{
    vt_table_column(table, "key", VT_LEFT);
    for (int row = 0; row < c->n_rows; row++) {
        vt_text name = {0};
        vt_text_printf(&name, "%s %s", c->row[row].mark, c->row[row].label);
        vt_table_column(table, name.data ? name.data : "", VT_LEFT);
        vt_text_release(&name);
    }
    for (int i = 0; i < c->n_differing; i++) {
        vt_table_row(table);
        vt_table_text(table, c->differing[i]);
        for (int row = 0; row < c->n_rows; row++) {
            const char *value = vt_compare_setting(c, row, c->differing[i]);
            vt_table_text(table, value == VT_COMPARE_SEVERAL ? "several" : value ? value : "—");
        }
    }
}

vt_status vt_page_comparison(const vt_compare *c, vt_table_format format, vt_text *text,
                             vt_error *err)
{
    char list[256];
    vt_compare_columns columns = {0};
    bool loss = strcmp(c->metric->name, "test.loss") != 0;
    snprintf(list, sizeof list, "n, %s, diff%s, params, macs, images_per_s, peak_bytes",
             c->metric->name, loss ? ", test.loss" : "");
    vt_status status = vt_compare_columns_parse(&columns, list, c->metric, err);
    if (status == VT_OK)
        status = vt_compare_print(c, &columns, format, VT_COMPARE_WIDE, text, err);
    vt_compare_columns_release(&columns);
    return status;
}
