/* A comparison for programs. */
#include "report/compare_parts.h"
#include "results/json.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

static void add_columns(vt_table *table, const char *name, const char *const *parts, int n)
{
    char whole[VT_COMPARE_COLUMN_SIZE + 20];
    for (int i = 0; i < n; i++) {
        snprintf(whole, sizeof whole, "%s%s", name, parts[i]);
        vt_table_column(table, whole, VT_LEFT);
    }
}

static bool has_sampling_error(const vt_compare_column *column)
{
    return column->kind == VT_COMPARE_METRIC && strcmp(column->metric->unit, "share") == 0;
}

static void make_heading(const vt_compare_columns *columns, vt_table *table)
{
    static const char *const about[] = {"mark", "exp", "label", "exp_id", "seeds"};
    static const char *const one[] = {""}, *const value[] = {"", ".sd", ".sampling_error"};
    static const char *const difference[] = {"", ".low", ".high", ".pairs", ".ratio", ".verdict"};
    add_columns(table, "", about, 5);
    for (int i = 0; i < columns->n; i++) {
        const vt_compare_column *column = &columns->column[i];
        if (column->kind == VT_COMPARE_DIFFERENCE)
            add_columns(table, column->name, difference, 6);
        else if (column->kind == VT_COMPARE_METRIC || column->kind == VT_COMPARE_COURSE)
            add_columns(table, column->name, value, has_sampling_error(column) ? 3 : 2);
        else
            add_columns(table, column->name, one, 1);
    }
}

static void add_cells(const vt_compare *compare, int row, const vt_compare_column *column,
                      const vt_compare_cell *cell, vt_table *table)
{
    if (cell->is_text) {
        vt_table_text(table, *cell->text ? cell->text : NULL);
        return;
    }
    if (column->kind == VT_COMPARE_ATTRIBUTE) {
        vt_table_integer(table, (int64_t)cell->value.mean, NULL);
        return;
    }
    vt_table_real(table, cell->value.mean, NULL);
    if (column->kind == VT_COMPARE_DIFFERENCE) {
        vt_table_real(table, cell->difference.d.low, NULL);
        vt_table_real(table, cell->difference.d.high, NULL);
        vt_table_integer(table, cell->difference.n_pairs, NULL);
        vt_table_real(table, cell->difference.ratio, NULL);
        vt_table_text(table, vt_verdict_word(cell->difference.verdict));
        return;
    }
    vt_table_real(table, cell->value.sd, NULL);
    if (has_sampling_error(column))
        vt_table_real(table, vt_compare_sampling_error(compare, row, column->metric), NULL);
}

void vt_compare_make_records(const vt_compare *compare, const vt_compare_columns *columns,
                             const vt_compare_cell *cells, vt_table *table)
{
    make_heading(columns, table);
    for (int row = 0; row < compare->n_rows; row++) {
        const vt_compare_row *r = &compare->row[row];
        vt_text seeds = {0};
        for (int i = 0; i < r->n; i++)
            vt_text_printf(&seeds, "%s%" PRIu64, i ? " " : "", r->run[i]->seed);
        vt_table_row(table);
        vt_table_text(table, r->mark);
        vt_table_text(table, r->run[0]->exp_name);
        vt_table_text(table, r->label);
        vt_table_text(table, r->run[0]->exp_id);
        vt_table_text(table, seeds.data);
        table->failed = table->failed || seeds.failed;
        vt_text_release(&seeds);
        for (int i = 0; i < columns->n; i++)
            add_cells(compare, row, &columns->column[i], &cells[row * columns->n + i], table);
    }
}

static json_t *make_notes(const vt_compare *compare)
{
    json_t *notes = json_array();
    for (int i = 0; i < compare->n_notes; i++) {
        json_t *rows = json_array();
        for (int row = 0; row < compare->n_rows; row++)
            if (compare->note[i].row[row])
                json_array_append_new(rows, json_string(compare->row[row].mark));
        json_t *note =
            json_pack("{s:o, s:b, s:o}", "text", vt_json_text(compare->note[i].text, "(not UTF-8)"),
                      "unfair", compare->note[i].unfair, "rows", rows);
        if (json_array_append_new(notes, note) != 0) {
            json_decref(notes);
            return NULL;
        }
    }
    return notes;
}

static json_t *make_left_out(const vt_compare *compare)
{
    json_t *runs = json_array();
    for (int i = 0; i < compare->n_left_out; i++) {
        const vt_outcome *run = compare->left_out[i];
        json_t *object =
            json_pack("{s:o, s:s, s:o}", "path", vt_json_text(run->place.path, "(not UTF-8)"),
                      "state", vt_run_state_word(run->state), "problem",
                      vt_json_text(*run->problem ? run->problem : NULL, NULL));
        if (json_array_append_new(runs, object) != 0) {
            json_decref(runs);
            return NULL;
        }
    }
    return runs;
}

json_t *vt_compare_json(const vt_compare *compare, const vt_table *records)
{
    json_t *differing = json_array(), *identical = json_object();
    for (int i = 0; i < compare->n_differing; i++)
        json_array_append_new(differing, vt_json_text(compare->differing[i], "(not UTF-8)"));
    for (int i = 0; i < compare->n_identical; i++)
        json_object_set_new(
            identical, compare->identical[i],
            vt_json_text(vt_compare_setting(compare, 0, compare->identical[i]), "(not UTF-8)"));
    return json_pack("{s:i, s:s, s:i, s:s, s:f, s:s, s:o, s:o, s:o, s:o, s:o}", "schema", 1,
                     "metric", compare->metric->name, "better", compare->metric->better, "unit",
                     compare->metric->unit, "level", compare->level, "reference",
                     compare->row[compare->reference].mark, "rows", vt_table_json(records),
                     "differing", differing, "identical", identical, "notes", make_notes(compare),
                     "left_out", make_left_out(compare));
}
