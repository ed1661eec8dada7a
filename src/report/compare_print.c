#include "report/compare_print.h"

#include "base/mem.h"
#include "report/compare_parts.h"
#include "report/escape.h"
#include "results/json.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

enum { CELL_SIZE = 240, LONG_KEYS = 6, LONG_ROWS = 8, SETTING_WIDTH = 28 };

static bool has_unit(const vt_metric *metric, const char *unit)
{
    return strcmp(metric->unit, unit) == 0;
}

static void print_scaled(double value, double step, const char *const *prefix, int n, char *text,
                         size_t size)
{
    int i = 0;
    while (i < n - 1 && fabs(value) >= step) {
        value /= step;
        i++;
    }
    snprintf(text, size, i ? "%.*f %s" : "%.*f%s", i && fabs(value) < 100 ? 1 : 0, value,
             prefix[i]);
}

void vt_metric_text(const vt_metric *metric, double value, char *text, size_t size)
{
    static const char *const counts[] = {"", "k", "M", "G", "T"};
    static const char *const bytes[] = {" B", "KiB", "MiB", "GiB", "TiB"};
    *text = '\0';
    if (isnan(value))
        return;
    if (has_unit(metric, "share"))
        snprintf(text, size, "%.2f", 100 * value);
    else if (has_unit(metric, "nat"))
        snprintf(text, size, "%.4f", value);
    else if (has_unit(metric, "1"))
        print_scaled(value, 1000, counts, 5, text, size);
    else if (has_unit(metric, "byte"))
        print_scaled(value, 1024, bytes, 5, text, size);
    else if (has_unit(metric, "s") && value >= 0 && value < 1e12)
        snprintf(text, size, "%" PRId64 ":%02d:%02d", (int64_t)value / 3600,
                 (int)((int64_t)value / 60 % 60), (int)((int64_t)value % 60));
    else
        snprintf(text, size, "%.4g", value);
}

/* Shares in points, losses in nat: with a sign. */
static void print_signed(const vt_metric *metric, double value, char *text, size_t size)
{
    if (has_unit(metric, "share"))
        snprintf(text, size, "%+.2f", 100 * value);
    else if (has_unit(metric, "nat"))
        snprintf(text, size, "%+.4f", value);
    else
        snprintf(text, size, "%+.4g", value);
}

static bool is_cost(const vt_metric *metric)
{
    return metric->better == 0 && !has_unit(metric, "epoch");
}

static void print_difference(const vt_metric *metric, const vt_compare_difference *d, char *text,
                             size_t size)
{
    char value[32], low[32], high[32];
    if (d->verdict == VT_VERDICT_REFERENCE) {
        snprintf(text, size, "—");
        return;
    }
    *text = '\0';
    if (d->verdict == VT_VERDICT_NONE)
        return;
    if (is_cost(metric)) {
        if (d->ratio >= 2)
            snprintf(text, size, "x %.3g", d->ratio);
        else if (!isnan(d->ratio))
            snprintf(text, size, "%+.0f %%", 100 * (d->ratio - 1));
        return;
    }
    print_signed(metric, d->d.value, value, sizeof value);
    print_signed(metric, d->d.low, low, sizeof low);
    print_signed(metric, d->d.high, high, sizeof high);
    if (d->verdict == VT_VERDICT_OPEN)
        snprintf(text, size, "%s (no interval)", value);
    else
        snprintf(text, size, "%s [%s, %s]%s", value, low, high,
                 d->verdict == VT_VERDICT_SAME ? " ~" : "");
}

/* A cell as people read it. */
static void print_cell(const vt_compare_column *column, const vt_compare_cell *cell, char *text)
{
    char mean[64], sd[64];
    if (cell->is_text) {
        bool cut = column->kind == VT_COMPARE_SETTING && strlen(cell->text) > SETTING_WIDTH;
        snprintf(text, CELL_SIZE, "%.*s%s", cut ? SETTING_WIDTH - 3 : CELL_SIZE, cell->text,
                 cut ? "..." : "");
    } else if (column->kind == VT_COMPARE_DIFFERENCE) {
        print_difference(column->metric, &cell->difference, text, CELL_SIZE);
    } else if (!column->metric || column->what != VT_COMPARE_WHAT_VALUE) {
        snprintf(text, CELL_SIZE, "%.4g", cell->value.mean);
        if (isnan(cell->value.mean))
            *text = '\0';
    } else {
        vt_metric_text(column->metric, cell->value.mean, mean, sizeof mean);
        vt_metric_text(column->metric, cell->value.sd, sd, sizeof sd);
        snprintf(text, CELL_SIZE, *sd && column->metric->better ? "%s ± %s" : "%s", mean, sd);
    }
}

static void print_heading(const vt_compare *compare, const vt_compare_column *column, char *text)
{
    static const struct {
        const char *name, *heading;
    } short_names[] = {{"images_per_s", "img/s"},
                       {"peak_bytes", "peak memory"},
                       {"macs", "MACs"},
                       {"wall_s", "time"},
                       {"best.epoch", "best epoch"}};
    const char *name = column->name;
    bool share = column->metric && has_unit(column->metric, "share") &&
                 column->what == VT_COMPARE_WHAT_VALUE;
    bool difference = column->kind == VT_COMPARE_DIFFERENCE;
    if (column->renamed) {
        snprintf(text, CELL_SIZE, "%s", name);
        return;
    }
    if (difference)
        name = column->metric->name;
    for (size_t i = 0; i < sizeof short_names / sizeof *short_names; i++)
        if (strcmp(name, short_names[i].name) == 0)
            name = short_names[i].heading;
    if (difference && column->metric == compare->metric)
        snprintf(text, CELL_SIZE, "Δ vs %s", compare->row[compare->reference].mark);
    else
        snprintf(text, CELL_SIZE, "%s%s%s", difference ? "Δ " : "", name,
                 share && !difference ? " %" : "");
}

/* "!1 !3": the notes that make a row's comparison unfair, by their number among these. */
static void print_warnings(const vt_compare *compare, int row, char *text)
{
    size_t used = 0;
    int number = 0;
    *text = '\0';
    for (int i = 0; i < compare->n_notes; i++) {
        number += compare->note[i].unfair;
        if (compare->note[i].unfair && compare->note[i].row[row] && used < CELL_SIZE - 20)
            used +=
                (size_t)snprintf(text + used, CELL_SIZE - used, "%s!%d", used ? " " : "", number);
    }
}

static bool any_unfair(const vt_compare *compare)
{
    for (int i = 0; i < compare->n_notes; i++)
        if (compare->note[i].unfair)
            return true;
    return false;
}

/* With keys as columns the name is enough, else what differs is part of it. */
static const char *name_of(const vt_compare *compare, const vt_compare_columns *columns, int row)
{
    bool keys = false;
    for (int i = 0; i < columns->n; i++)
        keys = keys || columns->column[i].kind == VT_COMPARE_SETTING;
    return keys && compare->by_experiment ? compare->row[row].run[0]->exp_name
                                          : compare->row[row].label;
}

/* Keys first, as they say what a row is. */
static void order_columns(const vt_compare_columns *columns, int *order)
{
    int n = 0;
    for (int pass = 0; pass < 2; pass++)
        for (int i = 0; i < columns->n; i++)
            if ((columns->column[i].kind == VT_COMPARE_SETTING) == (pass == 0))
                order[n++] = i;
}

static void make_wide(vt_table *table, const vt_compare *compare, const vt_compare_columns *columns,
                      const vt_compare_cell *cells, const int *order)
{
    char text[CELL_SIZE];
    bool unfair = any_unfair(compare);
    vt_table_column(table, "exp", VT_LEFT);
    for (int i = 0; i < columns->n; i++) {
        const vt_compare_column *column = &columns->column[order[i]];
        bool words = column->kind == VT_COMPARE_SETTING || column->kind == VT_COMPARE_ATTRIBUTE;
        bool left = (words && strcmp(column->word, "n") != 0) ||
                    (column->kind == VT_COMPARE_DIFFERENCE && !is_cost(column->metric));
        print_heading(compare, column, text);
        vt_table_column(table, text, left ? VT_LEFT : VT_RIGHT);
    }
    if (unfair)
        vt_table_column(table, "notes", VT_LEFT);
    for (int row = 0; row < compare->n_rows; row++) {
        vt_table_row(table);
        snprintf(text, sizeof text, "%s %s", compare->row[row].mark,
                 name_of(compare, columns, row));
        vt_table_text(table, text);
        for (int i = 0; i < columns->n; i++) {
            print_cell(&columns->column[order[i]], &cells[row * columns->n + order[i]], text);
            vt_table_text(table, text);
        }
        print_warnings(compare, row, text);
        if (unfair)
            vt_table_text(table, text);
    }
}

static void make_long(vt_table *table, const vt_compare *compare, const vt_compare_columns *columns,
                      const vt_compare_cell *cells)
{
    char text[CELL_SIZE];
    vt_table_column(table, "exp", VT_LEFT);
    for (int row = 0; row < compare->n_rows; row++) {
        snprintf(text, sizeof text, "%s %s", compare->row[row].mark, compare->row[row].label);
        vt_table_column(table, text, VT_LEFT);
    }
    for (int i = 0; i < columns->n; i++) {
        vt_table_row(table);
        print_heading(compare, &columns->column[i], text);
        vt_table_text(table, text);
        for (int row = 0; row < compare->n_rows; row++) {
            print_cell(&columns->column[i], &cells[row * columns->n + i], text);
            vt_table_text(table, text);
        }
    }
    if (!any_unfair(compare))
        return;
    vt_table_row(table);
    vt_table_text(table, "notes");
    for (int row = 0; row < compare->n_rows; row++) {
        print_warnings(compare, row, text);
        vt_table_text(table, text);
    }
}

/* Around the table. */

void vt_compare_say(const vt_compare *compare, vt_text *text)
{
    static const vt_verdict verdicts[] = {VT_VERDICT_BETTER, VT_VERDICT_WORSE, VT_VERDICT_DIFFERENT,
                                          VT_VERDICT_SAME,   VT_VERDICT_OPEN,  VT_VERDICT_NONE};
    const vt_compare_row *reference = &compare->row[compare->reference];
    vt_verdict *of = vt_calloc((size_t)compare->n_rows, sizeof *of);
    bool *row = vt_calloc((size_t)compare->n_rows, sizeof *row);
    int said = 0;
    if (!of || !row)
        text->failed = true;
    for (int i = 0; of && row && i < compare->n_rows; i++)
        of[i] = vt_compare_difference_of(compare, i, compare->metric).verdict;
    vt_text_printf(text, "%s against %s %s at %.4g %%, ", compare->metric->name, reference->mark,
                   reference->label, 100 * compare->level);
    for (size_t k = 0; of && row && k < sizeof verdicts / sizeof *verdicts; k++) {
        int n = 0;
        for (int i = 0; i < compare->n_rows; i++)
            n += row[i] = of[i] == verdicts[k];
        if (!n)
            continue;
        vt_text_printf(text, "%s%s: ", said++ ? "; " : "", vt_verdict_word(verdicts[k]));
        vt_compare_name_rows(compare, row, text);
    }
    if (!said)
        vt_text_printf(text, "no other row");
    vt_free(row);
    vt_free(of);
}

/* "identical: data.*, optim.*, 9 of 14 keys of model (31 keys)" */
static void say_identical(const vt_compare *compare, vt_text *text)
{
    int n = 0;
    vt_text_printf(text, "identical: ");
    for (int i = 0; i < compare->n_identical;) {
        const char *key = compare->identical[i];
        int size = (int)strcspn(key, "."), same = 0, other = 0;
        for (;
             i < compare->n_identical && strncmp(compare->identical[i], key, (size_t)size + 1) == 0;
             i++)
            same++;
        for (int k = 0; k < compare->n_differing; k++)
            other += strncmp(compare->differing[k], key, (size_t)size + 1) == 0;
        vt_text_printf(text, "%s", n++ ? ", " : "");
        if (other)
            vt_text_printf(text, "%d of %d keys of %.*s", same, same + other, size, key);
        else
            vt_text_printf(text, "%.*s.*", size, key);
    }
    vt_text_printf(text, "%s(%d keys)", n ? " " : "", compare->n_identical);
}

typedef enum place { BEGIN, LINE, END } place;

/* One of the lines below the table, escaped; BEGIN and END stand around them all. */
static void put_line(vt_table_format format, place where, const char *line, vt_text *out)
{
    bool html = format == VT_TABLE_HTML;
    if (where != LINE) {
        vt_text_printf(out, "%s",
                       html ? (where == BEGIN ? "<ul class=\"notes\">\n" : "</ul>\n")
                       : where == BEGIN && format != VT_TABLE_TEX ? "\n"
                                                                  : "");
        return;
    }
    vt_text_printf(out, "%s",
                   html                          ? "<li>"
                   : format == VT_TABLE_TEX      ? "% "
                   : format == VT_TABLE_MARKDOWN ? "- "
                                                 : "");
    vt_escape(out,
              html                          ? VT_ESCAPE_HTML
              : format == VT_TABLE_MARKDOWN ? VT_ESCAPE_MARKDOWN
                                            : VT_ESCAPE_SHOWN,
              line);
    vt_text_printf(out, html ? "</li>\n" : "\n");
}

static void put_text(vt_table_format format, vt_text *line, vt_text *out)
{
    out->failed = out->failed || line->failed;
    if (line->data)
        put_line(format, LINE, line->data, out);
    line->size = 0;
}

static bool any_same(const vt_compare *compare)
{
    for (int i = 0; i < compare->n_rows; i++)
        if (vt_compare_difference_of(compare, i, compare->metric).verdict == VT_VERDICT_SAME)
            return true;
    return false;
}

static void print_lines(const vt_compare *compare, vt_table_format format, vt_text *out)
{
    vt_text line = {0};
    int number = 0;
    put_line(format, BEGIN, NULL, out);
    vt_compare_say(compare, &line);
    put_text(format, &line, out);
    for (int unfair = 1; unfair >= 0; unfair--) {
        for (int i = 0; i < compare->n_notes; i++) {
            if (compare->note[i].unfair != (unfair == 1))
                continue;
            if (unfair)
                vt_text_printf(&line, "!%d ", ++number);
            vt_text_printf(&line, "%s", compare->note[i].text);
            put_text(format, &line, out);
        }
    }
    if (compare->n_rows > 1 && compare->n_identical) {
        say_identical(compare, &line);
        put_text(format, &line, out);
    }
    vt_text_printf(&line, "± sample standard deviation over n runs; [...] interval of %.4g %%%s",
                   100 * compare->level, any_same(compare) ? "; ~ not separable" : "");
    put_text(format, &line, out);
    put_line(format, END, NULL, out);
    vt_text_release(&line);
}

static vt_status print_for_people(const vt_compare *compare, const vt_compare_columns *columns,
                                  const vt_compare_cell *cells, vt_table_format format,
                                  vt_compare_form form, vt_text *out, vt_error *err)
{
    vt_table table;
    int keys = 0;
    int *order = vt_calloc((size_t)columns->n + 1, sizeof *order);
    if (!order)
        return vt_fail(err, VT_ERR_NOMEM, "no memory for the table");
    for (int i = 0; i < columns->n; i++)
        keys += columns->column[i].kind == VT_COMPARE_SETTING;
    if (form == VT_COMPARE_AUTO)
        form = keys > LONG_KEYS && compare->n_rows <= LONG_ROWS ? VT_COMPARE_LONG : VT_COMPARE_WIDE;
    vt_table_init(&table);
    order_columns(columns, order);
    if (form == VT_COMPARE_LONG)
        make_long(&table, compare, columns, cells);
    else
        make_wide(&table, compare, columns, cells, order);
    vt_status status = vt_table_print(&table, format, out, err);
    if (status == VT_OK)
        print_lines(compare, format, out);
    vt_table_release(&table);
    vt_free(order);
    return status;
}

vt_status vt_compare_print(const vt_compare *compare, const vt_compare_columns *columns,
                           vt_table_format format, vt_compare_form form, vt_text *out,
                           vt_error *err)
{
    vt_compare_cell *cells = NULL;
    vt_table table;
    vt_table_init(&table);
    vt_status status = vt_compare_cells(compare, columns, &cells, err);
    if (status == VT_OK && (format == VT_TABLE_TEXT || format == VT_TABLE_MARKDOWN ||
                            format == VT_TABLE_TEX || format == VT_TABLE_HTML)) {
        status = print_for_people(compare, columns, cells, format, form, out, err);
    } else if (status == VT_OK) {
        vt_compare_make_records(compare, columns, cells, &table);
        if (format == VT_TABLE_JSON)
            status = vt_json_print(out, vt_compare_json(compare, &table), err);
        else
            status = vt_table_print(&table, format, out, err);
    }
    if (status == VT_OK && out->failed)
        status = vt_fail(err, VT_ERR_NOMEM, "no memory for the table");
    vt_table_release(&table);
    vt_free(cells);
    return status;
}
