#include "report/compare.h"

#include "base/mem.h"
#include "report/compare_columns.h"
#include "report/compare_parts.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char VT_COMPARE_SEVERAL[] = "(several)";

static const char *const verdict_words[VT_VERDICT_COUNT] = {
#define X(name, word) word,
    VT_VERDICT_LIST(X)
#undef X
};

const char *vt_verdict_word(vt_verdict verdict)
{
    return verdict_words[verdict];
}

static vt_status fail_nomem(vt_error *err)
{
    return vt_fail(err, VT_ERR_NOMEM, "no memory for the comparison");
}

/* Values. */

static const char *setting_or(const vt_outcome *run, const char *key, const char *otherwise)
{
    const char *value = vt_outcome_setting(run, key);
    return value ? value : otherwise;
}

const char *vt_compare_setting(const vt_compare *compare, int row, const char *key)
{
    const vt_compare_row *r = &compare->row[row];
    const char *value = vt_outcome_setting(r->run[0], key);
    for (int i = 1; i < r->n; i++) {
        const char *other = vt_outcome_setting(r->run[i], key);
        if (other != value && (!other || !value || strcmp(other, value) != 0))
            return VT_COMPARE_SEVERAL;
    }
    return value;
}

bool vt_compare_seeded_data(const vt_outcome *run)
{
    const char *name = setting_or(run, "data.name", "shapes");
    return strcmp(name, "shapes") == 0 || strcmp(name, "folder") == 0 ||
           strcmp(setting_or(run, "data.val", "0"), "0") != 0;
}

/* Fills x (room for row->n) with the values of the runs that have one. */
static int collect(const vt_compare_row *row, const vt_metric *metric, double *x)
{
    int n = 0;
    for (int i = 0; i < row->n; i++) {
        double value = vt_outcome_metric(row->run[i], metric);
        if (!isnan(value))
            x[n++] = value;
    }
    return n;
}

vt_compare_value vt_compare_value_of(const vt_compare *compare, int row, const vt_metric *metric)
{
    vt_compare_value value = {(double)NAN, (double)NAN, 0};
    const vt_compare_row *r = &compare->row[row];
    double *x = compare->scratch[0];
    if ((value.n = collect(r, metric, x)) > 0) {
        value.mean = vt_stats_mean(x, value.n);
        value.sd = vt_stats_sd(x, value.n);
    }
    return value;
}

/* Values of the seeds that both rows have; a and b have room for the smaller row. Runs are in the
 * order of their seeds, each of which is there once. Room as in collect. */
static int collect_pairs(const vt_compare_row *row, const vt_compare_row *other,
                         const vt_metric *metric, double *a, double *b)
{
    int n = 0;
    for (int i = 0, k = 0; i < row->n && k < other->n;) {
        if (row->run[i]->seed != other->run[k]->seed) {
            if (row->run[i]->seed < other->run[k]->seed)
                i++;
            else
                k++;
            continue;
        }
        a[n] = vt_outcome_metric(row->run[i++], metric);
        b[n] = vt_outcome_metric(other->run[k++], metric);
        n += !isnan(a[n]) && !isnan(b[n]);
    }
    return n;
}

static vt_verdict judge(const vt_difference *d, int better)
{
    if (isnan(d->value))
        return VT_VERDICT_NONE;
    if (isnan(d->low))
        return VT_VERDICT_OPEN;
    if (!vt_difference_separable(d))
        return VT_VERDICT_SAME;
    if (better == 0)
        return VT_VERDICT_DIFFERENT;
    return (d->value > 0) == (better > 0) ? VT_VERDICT_BETTER : VT_VERDICT_WORSE;
}

vt_compare_difference vt_compare_difference_of(const vt_compare *compare, int row,
                                               const vt_metric *metric)
{
    const vt_compare_row *r = &compare->row[row], *ref = &compare->row[compare->reference];
    const double nan = (double)NAN;
    vt_compare_difference result = {{nan, nan, nan, nan, nan, false}, nan, 0, VT_VERDICT_NONE};
    if (row == compare->reference) {
        result.d.value = 0;
        result.ratio = 1;
        result.verdict = VT_VERDICT_REFERENCE;
        return result;
    }
    double *a = compare->scratch[0], *b = compare->scratch[1];
    int n_a = collect(r, metric, a), n_b = collect(ref, metric, b);
    if (n_a > 0 && n_b > 0)
        result.ratio = vt_stats_mean(a, n_a) / vt_stats_mean(b, n_b);
    result.d = vt_stats_welch(a, n_a, b, n_b, compare->level);
    int pairs = r->unique_seeds && ref->unique_seeds ? collect_pairs(r, ref, metric, a, b) : 0;
    if (pairs >= 2 && pairs == (n_a < n_b ? n_a : n_b)) {
        result.n_pairs = pairs;
        result.d = vt_stats_paired(a, b, pairs, compare->level);
    }
    result.verdict = judge(&result.d, metric->better);
    return result;
}

double vt_compare_sampling_error(const vt_compare *compare, int row, const vt_metric *metric)
{
    const char *name = metric->name + (strncmp(metric->name, "best.", 5) == 0 ? 5 : 0);
    vt_split split = *name == 'v' ? VT_SPLIT_VAL : VT_SPLIT_TEST;
    int64_t images = compare->row[row].run[0]->images[split];
    bool is_share = strstr(name, ".top") && strncmp(name, "train.", 6) != 0;
    double mean = is_share ? vt_compare_value_of(compare, row, metric).mean : (double)NAN;
    return isnan(mean) || images <= 0 ? (double)NAN : vt_stats_share_error(mean, images);
}

/* Rows. */

/* A finished run on its way into a row. */
typedef struct item {
    char *key;
    const vt_outcome *run;
    int order;
} item;

static char *make_key(const vt_outcome *run, const char *group_by)
{
    vt_text key = {0};
    if (!group_by) {
        vt_text_printf(&key, "%s\n%s", run->exp_name, run->exp_id);
        if (!vt_compare_seeded_data(run))
            vt_text_printf(&key, "\n%s", run->data_digest);
    } else if (strcmp(group_by, "run") == 0) {
        vt_text_printf(&key, "%s", run->place.path);
    } else if (strcmp(group_by, "exp") == 0) {
        vt_text_printf(&key, "%s", run->exp_name);
    } else {
        char name[VT_COMPARE_COLUMN_SIZE];
        for (const char *at = group_by; *at; at += strcspn(at, ","), at += *at == ',') {
            snprintf(name, sizeof name, "%.*s", (int)strcspn(at, ","), at);
            const char *value = vt_outcome_setting(run, name);
            vt_text_printf(&key, "%s%s=%s", key.size ? " " : "", name, value ? value : "");
        }
    }
    if (key.failed)
        vt_text_release(&key);
    return key.data;
}

static int by_key(const void *a, const void *b)
{
    const item *x = a, *y = b;
    int order = strcmp(x->key, y->key);
    return order ? order : x->order < y->order ? -1 : 1;
}

/* A row's first item says where the row stands. */
static int by_first(const void *a, const void *b)
{
    const item *const *x = a, *const *y = b;
    return (*x)->order < (*y)->order ? -1 : 1;
}

/* By seed, the newest first among equal ones. */
static int by_seed(const void *a, const void *b)
{
    const vt_outcome *x = *(const vt_outcome *const *)a, *y = *(const vt_outcome *const *)b;
    if (x->seed != y->seed)
        return x->seed < y->seed ? -1 : 1;
    if (x->place.changed.tv_sec != y->place.changed.tv_sec)
        return x->place.changed.tv_sec > y->place.changed.tv_sec ? -1 : 1;
    if (x->place.changed.tv_nsec != y->place.changed.tv_nsec)
        return x->place.changed.tv_nsec > y->place.changed.tv_nsec ? -1 : 1;
    return strcmp(x->place.path, y->place.path);
}

static bool fill_row(vt_compare *compare, vt_compare_row *row, const item *items, int n)
{
    row->run = vt_calloc((size_t)n, sizeof(const vt_outcome *));
    if (!row->run)
        return false;
    for (int i = 0; i < n; i++)
        row->run[i] = items[i].run;
    qsort(row->run, (size_t)n, sizeof *row->run, by_seed);
    row->unique_seeds = true;
    for (int i = 0; i < n; i++) {
        const vt_outcome *last = row->n ? row->run[row->n - 1] : NULL;
        bool same_seed = last && last->seed == row->run[i]->seed;
        bool same_run = same_seed && strcmp(last->place.path, row->run[i]->place.path) == 0;
        if (same_seed && compare->by_experiment && !same_run)
            row->n_older++;
        if (same_run || (same_seed && compare->by_experiment))
            continue;
        row->unique_seeds = row->unique_seeds && !same_seed;
        row->run[row->n++] = row->run[i];
    }
    if (!compare->by_experiment && strcmp(compare->group_by, "run") != 0)
        row->label = vt_strdup(items[0].key);
    return true;
}

/* Sorts the items into rows, which stand in the order of their first runs. */
static bool make_rows(vt_compare *compare, item *items, int n)
{
    qsort(items, (size_t)n, sizeof *items, by_key);
    const item **first = vt_calloc((size_t)n, sizeof *first);
    bool good = first != NULL;
    int rows = 0;
    for (int i = 0; good && i < n; i++)
        if (i == 0 || strcmp(items[i].key, items[i - 1].key) != 0)
            first[rows++] = &items[i];
    if (good)
        qsort(first, (size_t)rows, sizeof *first, by_first);
    compare->row = good ? vt_calloc((size_t)rows, sizeof *compare->row) : NULL;
    good = compare->row != NULL;
    for (int i = 0; good && i < rows; i++) {
        const item *end = first[i];
        while (end < items + n && strcmp(end->key, first[i]->key) == 0)
            end++;
        compare->n_rows = i + 1;
        good = fill_row(compare, &compare->row[i], first[i], (int)(end - first[i]));
    }
    vt_free(first);
    return good;
}

/* Keys that no run has are a slip of the pen. */
static vt_status check_groups(const vt_outcome_list *list, const char *group_by, vt_error *err)
{
    char name[VT_COMPARE_COLUMN_SIZE];
    if (!group_by || strcmp(group_by, "run") == 0 || strcmp(group_by, "exp") == 0)
        return VT_OK;
    for (const char *at = group_by; *at; at += strcspn(at, ","), at += *at == ',') {
        bool known = false;
        snprintf(name, sizeof name, "%.*s", (int)strcspn(at, ","), at);
        for (int i = 0; i < list->n && !known; i++)
            known = vt_outcome_setting(&list->run[i], name) != NULL;
        if (!known)
            return vt_fail(err, VT_ERR_USAGE,
                           "--group-by: no run has the key '%s' (run, exp and keys are known)",
                           name);
    }
    return VT_OK;
}

static vt_status collect_rows(vt_compare *compare, const vt_outcome_list *list, vt_error *err)
{
    item *items = vt_calloc((size_t)list->n + 1, sizeof *items);
    compare->left_out = vt_calloc((size_t)list->n + 1, sizeof(const vt_outcome *));
    for (int i = 0; i < 2; i++)
        compare->scratch[i] = vt_calloc((size_t)list->n + 1, sizeof(double));
    bool good = items && compare->left_out && compare->scratch[0] && compare->scratch[1];
    int n = 0;
    for (int i = 0; good && i < list->n; i++) {
        const vt_outcome *run = &list->run[i];
        if (run->state != VT_RUN_DONE) {
            compare->left_out[compare->n_left_out++] = run;
            continue;
        }
        items[n] = (item){make_key(run, compare->group_by), run, i};
        good = items[n++].key != NULL;
    }
    vt_status status = VT_OK;
    if (!good || (n > 0 && !make_rows(compare, items, n)))
        status = fail_nomem(err);
    else if (n == 0)
        status = vt_fail(err, VT_ERR_NOINPUT,
                         list->n ? "none of the %d runs is finished: there is nothing to compare"
                                 : "there are no runs to compare",
                         list->n);
    for (int i = 0; items && i < n; i++)
        vt_free(items[i].key);
    vt_free(items);
    return status;
}

/* Labels. */

static bool in_group(const vt_compare *compare, int row, const vt_compare_row *first)
{
    return strcmp(compare->row[row].run[0]->exp_name, first->run[0]->exp_name) == 0;
}

/* The keys in which the configurations of one experiment's name differ, at most `max` + 1. */
static int find_varying(const vt_compare *compare, int first, const char **key, int max)
{
    int n = 0;
    for (int k = 0; k < compare->n_differing && n <= max; k++) {
        const char *value = vt_compare_setting(compare, first, compare->differing[k]);
        bool varies = false;
        for (int i = first + 1; i < compare->n_rows && !varies; i++) {
            if (!in_group(compare, i, &compare->row[first]))
                continue;
            const char *other = vt_compare_setting(compare, i, compare->differing[k]);
            varies = other != value && (!other || !value || strcmp(other, value) != 0);
        }
        if (varies)
            key[n++] = compare->differing[k];
    }
    return n;
}

static void append_varying(const vt_compare *compare, int row, const char *const *key, int n,
                           vt_text *label)
{
    const vt_outcome *run = compare->row[row].run[0];
    if (n > 3)
        vt_text_printf(label, " #%.6s", run->exp_id);
    else if (n == 0)
        vt_text_printf(label, " data %.6s", run->data_digest);
    for (int k = 0; k < n && n <= 3; k++) {
        const char *value = vt_compare_setting(compare, row, key[k]);
        const char *dot = strrchr(key[k], '.');
        vt_text_printf(label, " %s=%.24s%s", dot ? dot + 1 : key[k], value ? value : "none",
                       value && strlen(value) > 24 ? "..." : "");
    }
}

static bool make_labels(vt_compare *compare)
{
    enum { MOST = 3 };
    const char *key[MOST + 1] = {NULL};
    for (int first = 0; first < compare->n_rows; first++) {
        if (compare->row[first].label)
            continue;
        bool each_run = !compare->by_experiment, alone = true;
        for (int i = first + 1; i < compare->n_rows && alone; i++)
            alone = !in_group(compare, i, &compare->row[first]);
        int n = alone ? 0 : find_varying(compare, first, key, MOST);
        for (int i = first; i < compare->n_rows; i++) {
            vt_text label = {0};
            const vt_outcome *run = compare->row[i].run[0];
            if (!in_group(compare, i, &compare->row[first]))
                continue;
            vt_text_printf(&label, "%s", run->exp_name);
            if (!alone && !(each_run && n == 0))
                append_varying(compare, i, key, n, &label);
            if (each_run)
                vt_text_printf(&label, " seed %llu", (unsigned long long)run->seed);
            if (label.failed)
                vt_text_release(&label);
            compare->row[i].label = label.data;
            if (!label.data)
                return false;
        }
    }
    return true;
}

static void make_marks(vt_compare *compare)
{
    for (int i = 0; i < compare->n_rows; i++) {
        char *mark = compare->row[i].mark, reversed[sizeof compare->row[i].mark];
        int n = 0;
        for (int rest = i + 1; rest > 0; rest = (rest - 1) / 26)
            reversed[n++] = (char)('A' + (rest - 1) % 26);
        for (int k = 0; k < n; k++)
            mark[k] = reversed[n - 1 - k];
        mark[n] = '\0';
    }
}

/* Order and reference. */

typedef struct place {
    const vt_compare_cell *cell;
    int row, better, sign;
} place;

static int compare_numbers(double a, double b)
{
    return a < b ? -1 : a > b;
}

/* Rows without a value come last, whichever way round; equal ones keep their order. */
static int by_cell(const void *a, const void *b)
{
    const place *x = a, *y = b;
    int order = 0;
    if (x->cell->is_text) {
        char *end_x, *end_y;
        double u = strtod(x->cell->text, &end_x), v = strtod(y->cell->text, &end_y);
        bool numbers = *x->cell->text && *y->cell->text && !*end_x && !*end_y;
        if (!*x->cell->text != !*y->cell->text)
            return *x->cell->text ? -1 : 1;
        order = numbers ? compare_numbers(u, v) : strcmp(x->cell->text, y->cell->text);
    } else {
        double u = x->cell->value.mean, v = y->cell->value.mean;
        if (isnan(u) != isnan(v))
            return isnan(u) ? 1 : -1;
        order = x->better > 0 ? compare_numbers(v, u) : compare_numbers(u, v);
    }
    order *= x->sign;
    return order ? order : x->row < y->row ? -1 : 1;
}

static vt_status sort_rows(vt_compare *compare, const char *spec, vt_error *err)
{
    vt_compare_columns columns = {0};
    vt_compare_cell *cells = NULL;
    place *places = NULL;
    vt_compare_row *rows = NULL;
    int sign = *spec == '-' ? -1 : 1;
    vt_status status = vt_compare_columns_parse(&columns, spec + (sign < 0), compare->metric, err);
    if (status == VT_OK && columns.n != 1)
        status = vt_fail(err, VT_ERR_USAGE, "rows are sorted by one column, not '%s'", spec);
    if (status == VT_OK)
        status = vt_compare_cells(compare, &columns, &cells, err);
    if (status != VT_OK)
        goto out;
    places = vt_calloc((size_t)compare->n_rows, sizeof *places);
    rows = vt_calloc((size_t)compare->n_rows, sizeof *rows);
    if (!places || !rows) {
        status = fail_nomem(err);
        goto out;
    }
    const vt_compare_column *column = &columns.column[0];
    int better =
        column->metric && column->what == VT_COMPARE_WHAT_VALUE ? column->metric->better : 0;
    for (int i = 0; i < compare->n_rows; i++) {
        places[i] = (place){&cells[i], i, better, sign};
        rows[i] = compare->row[i];
    }
    qsort(places, (size_t)compare->n_rows, sizeof *places, by_cell);
    for (int i = 0; i < compare->n_rows; i++)
        compare->row[i] = rows[places[i].row];
out:
    vt_free(rows);
    vt_free(places);
    vt_free(cells);
    vt_compare_columns_release(&columns);
    return status;
}

/* How well a word names a row: 0 not at all. */
static int fit(const vt_compare_row *row, const char *word)
{
    size_t size = strlen(word);
    char name[VT_NAME_MAX + 1];
    snprintf(name, sizeof name, "%s", word);
    for (char *c = name; *c; c++)
        if (*c == '/')
            *c = '-';
    if (strcmp(row->mark, word) == 0)
        return 4;
    if (strcmp(row->label, word) == 0)
        return 3;
    if (strcmp(row->run[0]->exp_name, name) == 0)
        return 2;
    if (size < 4)
        return 0;
    if (strncmp(row->run[0]->exp_id, word, size) == 0)
        return 1;
    for (int i = 0; i < row->n; i++)
        if (strncmp(row->run[i]->run_id, word, size) == 0)
            return 1;
    return 0;
}

static vt_status find_reference(vt_compare *compare, const char *word, vt_error *err)
{
    int best = 0, count = 0;
    for (int i = 0; word && i < compare->n_rows; i++) {
        int how = fit(&compare->row[i], word);
        if (how > best) {
            best = how;
            count = 0;
            compare->reference = i;
        }
        count += how > 0 && how == best;
    }
    if (!word || count == 1)
        return VT_OK;
    vt_text rows = {0};
    for (int i = 0; i < compare->n_rows && i < 12; i++)
        vt_text_printf(&rows, "%s%s %s", i ? ", " : "", compare->row[i].mark,
                       compare->row[i].label);
    vt_status status = vt_fail(err, VT_ERR_USAGE, "%s row is the reference '%s'; there are: %s%s",
                               count ? "more than one" : "no", word, rows.data ? rows.data : "",
                               compare->n_rows > 12 ? ", ..." : "");
    vt_text_release(&rows);
    return status;
}

vt_status vt_compare_make(vt_compare *compare, const vt_outcome_list *list,
                          const vt_compare_request *request, vt_error *err)
{
    *compare = (vt_compare){.metric = request->metric,
                            .level = request->level > 0 ? request->level : 0.95,
                            .by_experiment = !request->group_by};
    if (!compare->metric)
        compare->metric = vt_metric_find("test.top1");
    if (request->group_by && !(compare->group_by = vt_strdup(request->group_by)))
        return fail_nomem(err);
    vt_status status = check_groups(list, compare->group_by, err);
    if (status == VT_OK)
        status = collect_rows(compare, list, err);
    if (status == VT_OK && (!vt_compare_find_keys(compare) || !make_labels(compare)))
        status = fail_nomem(err);
    make_marks(compare);
    if (status == VT_OK && request->sort)
        status = sort_rows(compare, request->sort, err);
    make_marks(compare);
    if (status == VT_OK)
        status = find_reference(compare, request->reference, err);
    if (status == VT_OK && !vt_compare_find_notes(compare))
        status = fail_nomem(err);
    return status;
}

void vt_compare_release(vt_compare *compare)
{
    for (int i = 0; i < compare->n_rows; i++) {
        vt_free(compare->row[i].run);
        vt_free(compare->row[i].label);
    }
    for (int i = 0; i < compare->n_notes; i++) {
        vt_free(compare->note[i].text);
        vt_free(compare->note[i].row);
    }
    vt_free(compare->group_by);
    vt_free(compare->row);
    vt_free(compare->note);
    vt_free(compare->differing);
    vt_free(compare->identical);
    vt_free(compare->left_out);
    vt_free(compare->scratch[0]);
    vt_free(compare->scratch[1]);
    *compare = (vt_compare){0};
}
