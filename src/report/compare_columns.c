#include "report/compare_columns.h"

#include "base/fs.h"
#include "base/mem.h"
#include "report/compare_parts.h"
#include "results/history.h"

#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

static const char *const pick_words[] = {"first", "last", "min", "max", "mean"};

/* name, offset of a text in vt_outcome or -1 for one that is made up */
static const struct {
    const char *name;
    int offset;
} attributes[] = {
    {"exp", offsetof(vt_outcome, exp_name)},
    {"exp_id", offsetof(vt_outcome, exp_id)},
    {"run_id", offsetof(vt_outcome, run_id)},
    {"commit", offsetof(vt_outcome, commit)},
    {"machine", offsetof(vt_outcome, machine)},
    {"numerics", offsetof(vt_outcome, numerics)},
    {"data", offsetof(vt_outcome, data_digest)},
    {"label", -1},
    {"seeds", -1},
    {"n", -1},
    {"threads", -1},
    {"epochs", -1},
};

enum { N_ATTRIBUTES = sizeof attributes / sizeof *attributes };

static int find_attribute(const char *name)
{
    for (int i = 0; i < N_ATTRIBUTES; i++)
        if (strcmp(attributes[i].name, name) == 0)
            return i;
    return -1;
}

static vt_status add_column(vt_compare_columns *columns, const vt_compare_column *column,
                            vt_error *err)
{
    vt_compare_column *grown =
        vt_realloc(columns->column, (size_t)columns->n + 1, sizeof *columns->column);
    if (!grown)
        return vt_fail(err, VT_ERR_NOMEM, "no memory for columns");
    columns->column = grown;
    columns->column[columns->n++] = *column;
    return VT_OK;
}

void vt_compare_columns_release(vt_compare_columns *columns)
{
    vt_free(columns->column);
    *columns = (vt_compare_columns){0};
}

static vt_status fail_metric(const char *name, vt_error *err)
{
    vt_text names = {0};
    const vt_metric *metric;
    for (int i = 0; (metric = vt_metric_at(i)); i++)
        vt_text_printf(&names, "%s%s", i ? ", " : "", metric->name);
    vt_status status =
        vt_fail(err, VT_ERR_USAGE, "column '%s' is no metric, =KEY or .ATTRIBUTE; metrics: %s",
                name, names.data ? names.data : "");
    vt_text_release(&names);
    return status;
}

/* Cuts " as NAME" off the text and makes it the heading. */
static void take_heading(vt_compare_column *column, char *text)
{
    char *as = strstr(text, " as ");
    snprintf(column->name, sizeof column->name, "%s", text);
    if (!as)
        return;
    *as = '\0';
    const char *name = as + 4;
    name += strspn(name, " ");
    snprintf(column->name, sizeof column->name, "%s", *name ? name : text);
    column->renamed = *name != '\0';
}

/* [PICK] METRIC [epoch|step], or diff [METRIC] */
static vt_status parse_metric(vt_compare_column *column, char *text, const vt_metric *compared,
                              vt_error *err)
{
    char *rest = NULL, *word = strtok_r(text, " ", &rest);
    char whole[VT_COMPARE_COLUMN_SIZE];
    snprintf(whole, sizeof whole, "%s", column->name);
    column->kind = VT_COMPARE_METRIC;
    for (int i = 0; i < (int)(sizeof pick_words / sizeof *pick_words); i++) {
        if (word && strcmp(word, pick_words[i]) == 0) {
            column->kind = VT_COMPARE_COURSE;
            column->pick = (vt_compare_pick)i;
            word = strtok_r(NULL, " ", &rest);
            break;
        }
    }
    if (word && column->kind == VT_COMPARE_METRIC && strcmp(word, "diff") == 0) {
        column->kind = VT_COMPARE_DIFFERENCE;
        word = strtok_r(NULL, " ", &rest);
        if (!word)
            column->metric = compared;
    }
    if (word)
        column->metric = vt_metric_find(word);
    if (!column->metric)
        return fail_metric(whole, err);
    if (column->kind == VT_COMPARE_DIFFERENCE && !column->renamed)
        snprintf(column->name, sizeof column->name, "%s.diff", column->metric->name);
    word = word ? strtok_r(NULL, " ", &rest) : NULL;
    if (word && column->kind == VT_COMPARE_COURSE && column->pick != VT_COMPARE_PICK_MEAN &&
        (strcmp(word, "epoch") == 0 || strcmp(word, "step") == 0)) {
        column->what = *word == 'e' ? VT_COMPARE_WHAT_EPOCH : VT_COMPARE_WHAT_STEP;
        word = strtok_r(NULL, " ", &rest);
    }
    if (word)
        return vt_fail(err, VT_ERR_USAGE, "column '%s': '%s' means nothing there", whole, word);
    if (column->kind == VT_COMPARE_COURSE && strncmp(column->metric->name, "test.", 5) != 0 &&
        strncmp(column->metric->name, "val.", 4) != 0 &&
        strncmp(column->metric->name, "train.", 6) != 0)
        return vt_fail(err, VT_ERR_USAGE, "column '%s': the journal has test.*, val.* and train.*",
                       whole);
    return VT_OK;
}

static vt_status parse_column(vt_compare_column *column, char *text, const vt_metric *compared,
                              vt_error *err)
{
    *column = (vt_compare_column){0};
    take_heading(column, text);
    size_t size = strlen(text);
    while (size && text[size - 1] == ' ')
        text[--size] = '\0';
    if (*text == '=' && text[1]) {
        column->kind = VT_COMPARE_SETTING;
        snprintf(column->word, sizeof column->word, "%s", text + 1);
        if (!column->renamed)
            snprintf(column->name, sizeof column->name, "%s", text + 1);
        return VT_OK;
    }
    const char *name = text + (*text == '.');
    if ((*text == '.' || strcmp(name, "n") == 0) && find_attribute(name) >= 0) {
        column->kind = VT_COMPARE_ATTRIBUTE;
        snprintf(column->word, sizeof column->word, "%s", name);
        if (!column->renamed)
            snprintf(column->name, sizeof column->name, "%s", name);
        return VT_OK;
    }
    if (*text == '.')
        return vt_fail(err, VT_ERR_USAGE,
                       "column '%s': attributes are .exp, .label, .exp_id, .run_id, .seeds, .n, "
                       ".commit, .machine, .threads, .numerics, .data, .epochs",
                       text);
    return parse_metric(column, text, compared, err);
}

vt_status vt_compare_columns_parse(vt_compare_columns *columns, const char *text,
                                   const vt_metric *metric, vt_error *err)
{
    *columns = (vt_compare_columns){0};
    vt_status status = VT_OK;
    for (const char *at = text; status == VT_OK; at++) {
        char one[VT_COMPARE_COLUMN_SIZE];
        vt_compare_column column;
        at += strspn(at, " ");
        size_t size = strcspn(at, ",");
        if (size == 0 || size >= sizeof one) {
            status =
                vt_fail(err, VT_ERR_USAGE,
                        size ? "column '%.60s' is too long" : "'%.60s': a column without a name",
                        size ? at : text);
            break;
        }
        snprintf(one, sizeof one, "%.*s", (int)size, at);
        status = parse_column(&column, one, metric, err);
        if (status == VT_OK)
            status = add_column(columns, &column, err);
        at += size;
        if (!*at)
            break;
    }
    if (status != VT_OK)
        vt_compare_columns_release(columns);
    return status;
}

/* True if some row's best epoch was chosen, not simply the last. */
static bool any_selected(const vt_compare *compare)
{
    for (int i = 0; i < compare->n_rows; i++)
        if (strcmp(compare->row[i].run[0]->select, "last") != 0)
            return true;
    return false;
}

vt_status vt_compare_columns_default(vt_compare_columns *columns, const vt_compare *compare,
                                     bool all, vt_error *err)
{
    const char *metric = compare->metric->name;
    const char *loss = strncmp(metric, "train.", 6) == 0 ? "train.loss"
                       : strstr(metric, "val.")          ? "val.loss"
                                                         : "test.loss";
    vt_text text = {0};
    vt_text_printf(&text, "n, %s, diff", metric);
    if (strcmp(metric, loss) != 0)
        vt_text_printf(&text, ", %s", loss);
    if (any_selected(compare))
        vt_text_printf(&text, ", best.epoch");
    vt_text_printf(&text, ", params, macs, images_per_s, diff images_per_s, peak_bytes");
    *columns = (vt_compare_columns){0};
    vt_status status = text.failed
                           ? vt_fail(err, VT_ERR_NOMEM, "no memory for columns")
                           : vt_compare_columns_parse(columns, text.data, compare->metric, err);
    vt_text_release(&text);
    for (int set = 0; set < (all ? 2 : 1); set++) {
        const char *const *key = set ? compare->identical : compare->differing;
        int n = set ? compare->n_identical : compare->n_differing;
        for (int i = 0; i < n && status == VT_OK; i++) {
            vt_compare_column column = {.kind = VT_COMPARE_SETTING};
            snprintf(column.name, sizeof column.name, "%s", key[i]);
            snprintf(column.word, sizeof column.word, "%s", key[i]);
            status = add_column(columns, &column, err);
        }
    }
    return status;
}

/* Cells. */

/* The i-th value of a course, or false behind the last. */
static bool course_at(const vt_history *h, const char *name, int64_t i, double *value,
                      int64_t *epoch, int64_t *step)
{
    const char *what = strchr(name, '.') + 1;
    if (name[0] == 't' && name[1] == 'r') {
        if (i >= h->n_epochs)
            return false;
        *value = strcmp(what, "top1") == 0 ? h->epoch[i].train_top1 : h->epoch[i].train_loss;
        *epoch = h->epoch[i].epoch;
        *step = h->epoch[i].step;
        return true;
    }
    vt_split split = *name == 'v' ? VT_SPLIT_VAL : VT_SPLIT_TEST;
    if (i >= h->n_eval[split])
        return false;
    const vt_record_eval *e = &h->eval[split][i];
    *value = strcmp(what, "top1") == 0   ? e->top1
             : strcmp(what, "top5") == 0 ? e->top5
             : strcmp(what, "ece") == 0  ? e->ece
                                         : e->loss;
    *epoch = e->epoch;
    *step = e->step;
    return true;
}

/* NaN if the journal has none. Of equal ones the earliest. */
static double pick_value(const vt_history *h, const vt_compare_column *column)
{
    double picked = (double)NAN, sum = 0, value = 0;
    int64_t epoch = 0, step = 0, at_epoch = 0, at_step = 0, n = 0;
    for (int64_t i = 0; course_at(h, column->metric->name, i, &value, &epoch, &step); i++) {
        if (isnan(value))
            continue;
        bool take = n == 0 || column->pick == VT_COMPARE_PICK_LAST ||
                    (column->pick == VT_COMPARE_PICK_MIN && value < picked) ||
                    (column->pick == VT_COMPARE_PICK_MAX && value > picked);
        sum += value;
        n++;
        if (take) {
            picked = value;
            at_epoch = epoch;
            at_step = step;
        }
    }
    if (n == 0)
        return (double)NAN;
    if (column->pick == VT_COMPARE_PICK_MEAN)
        return sum / (double)n;
    return column->what == VT_COMPARE_WHAT_EPOCH  ? (double)at_epoch
           : column->what == VT_COMPARE_WHAT_STEP ? (double)at_step
                                                  : picked;
}

static vt_status read_course(const vt_outcome *run, vt_history *history, vt_error *err)
{
    int fd = -1;
    vt_status status = vt_fs_open_dir(AT_FDCWD, run->place.path, &fd, err);
    if (status == VT_OK)
        status = vt_history_read(history, fd, err);
    vt_fs_close(&fd);
    return status;
}

/* The courses of a row: each run's journal is read once. */
static vt_status fill_courses(const vt_compare_row *row, const vt_compare_columns *columns,
                              vt_compare_cell *cell, vt_error *err)
{
    vt_status status = VT_OK;
    size_t n_columns = (size_t)columns->n, n_runs = (size_t)row->n;
    double *x = vt_calloc(n_columns * n_runs + 1, sizeof *x);
    if (!x)
        return vt_fail(err, VT_ERR_NOMEM, "no memory for columns");
    for (size_t k = 0; k < n_runs && status == VT_OK; k++) {
        vt_history history = {0};
        status = read_course(row->run[k], &history, err);
        for (size_t i = 0; i < n_columns && status == VT_OK; i++)
            if (columns->column[i].kind == VT_COMPARE_COURSE)
                x[i * n_runs + k] = pick_value(&history, &columns->column[i]);
        vt_history_release(&history);
    }
    for (size_t i = 0; i < n_columns && status == VT_OK; i++) {
        double *values = x + i * n_runs;
        int n = 0;
        if (columns->column[i].kind != VT_COMPARE_COURSE)
            continue;
        for (size_t k = 0; k < n_runs; k++)
            if (!isnan(values[k]))
                values[n++] = values[k];
        cell[i].value = (vt_compare_value){(double)NAN, (double)NAN, n};
        if (n > 0)
            cell[i].value.mean = vt_stats_mean(values, n);
        cell[i].value.sd = vt_stats_sd(values, n);
    }
    vt_free(x);
    return status;
}

static void fill_attribute(const vt_compare_row *row, const char *word, vt_compare_cell *cell)
{
    int offset = attributes[find_attribute(word)].offset;
    const vt_outcome *first = row->run[0];
    size_t used = 0;
    cell->is_text = true;
    if (strcmp(word, "n") == 0) {
        cell->is_text = false;
        cell->value = (vt_compare_value){row->n, (double)NAN, 1};
    } else if (strcmp(word, "label") == 0) {
        snprintf(cell->text, sizeof cell->text, "%s", row->label);
    } else if (strcmp(word, "seeds") == 0) {
        for (int i = 0; i < row->n && used < sizeof cell->text - 24; i++)
            used += (size_t)snprintf(cell->text + used, sizeof cell->text - used, "%s%" PRIu64,
                                     i ? " " : "", row->run[i]->seed);
        if (used >= sizeof cell->text - 24)
            snprintf(cell->text + used, sizeof cell->text - used, " ...");
    } else if (offset < 0) {
        bool threads = strcmp(word, "threads") == 0;
        bool same = true;
        for (int i = 1; i < row->n; i++)
            same = same && (threads ? row->run[i]->threads == first->threads
                                    : row->run[i]->epochs == first->epochs);
        snprintf(cell->text, sizeof cell->text, "%" PRId64,
                 threads ? (int64_t)first->threads : first->epochs);
        if (!same)
            snprintf(cell->text, sizeof cell->text, "%s", VT_COMPARE_SEVERAL);
    } else {
        const char *text = (const char *)first + offset;
        for (int i = 1; i < row->n; i++)
            if (strcmp((const char *)row->run[i] + offset, text) != 0)
                text = VT_COMPARE_SEVERAL;
        snprintf(cell->text, sizeof cell->text, "%s", text);
    }
}

static void fill_cell(const vt_compare *compare, int row, const vt_compare_column *column,
                      vt_compare_cell *cell)
{
    const char *value;
    switch (column->kind) {
    case VT_COMPARE_SETTING:
        value = vt_compare_setting(compare, row, column->word);
        cell->is_text = true;
        snprintf(cell->text, sizeof cell->text, "%s", value ? value : "");
        break;
    case VT_COMPARE_ATTRIBUTE:
        fill_attribute(&compare->row[row], column->word, cell);
        break;
    case VT_COMPARE_METRIC:
        cell->value = vt_compare_value_of(compare, row, column->metric);
        break;
    case VT_COMPARE_DIFFERENCE:
        cell->difference = vt_compare_difference_of(compare, row, column->metric);
        cell->value = (vt_compare_value){cell->difference.d.value, (double)NAN, 1};
        break;
    case VT_COMPARE_COURSE:
        break;
    }
}

vt_status vt_compare_cells(const vt_compare *compare, const vt_compare_columns *columns,
                           vt_compare_cell **cell, vt_error *err)
{
    bool courses = false;
    vt_status status = VT_OK;
    *cell = vt_calloc((size_t)compare->n_rows * (size_t)columns->n + 1, sizeof **cell);
    if (!*cell)
        return vt_fail(err, VT_ERR_NOMEM, "no memory for the cells of a comparison");
    for (int i = 0; i < columns->n; i++)
        courses = courses || columns->column[i].kind == VT_COMPARE_COURSE;
    for (int row = 0; row < compare->n_rows && status == VT_OK; row++) {
        vt_compare_cell *cells = *cell + (size_t)row * (size_t)columns->n;
        for (int i = 0; i < columns->n; i++)
            fill_cell(compare, row, &columns->column[i], &cells[i]);
        if (courses)
            status = fill_courses(&compare->row[row], columns, cells, err);
    }
    return status;
}
