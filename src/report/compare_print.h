/*
 * A comparison in print.
 *
 * For people (text, md, tex, html): a table of a row for each experiment or, where more than six
 * keys differ, the long form, a column for each; then what the differences say, notes, and which
 * keys are the same. In TeX all but the table is comment.
 *
 * For programs (csv, tsv, jsonl): one record a row with every number behind the cells; a metric M
 * is M (the mean), M.sd and, for shares of images, M.sampling_error; a difference D is D (row -
 * reference), D.low, D.high (nothing where there is no interval), D.pairs, D.ratio, D.verdict.
 * Notes are not in them. JSON is the whole:
 *
 *   {"schema": 1, "metric", "better": 1|-1|0, "unit", "level", "reference": mark, "rows":
 * [records], "differing": [keys], "identical": {key: value}, "notes": [{"text", "unfair", "rows":
 * [marks]}], "left_out": [{"path", "state", "problem"}]}
 */
#ifndef VT_REPORT_COMPARE_PRINT_H
#define VT_REPORT_COMPARE_PRINT_H

#include "base/text.h"
#include "report/compare.h"
#include "report/compare_columns.h"
#include "report/table.h"

typedef enum vt_compare_form {
    VT_COMPARE_AUTO, /* long where more than six keys differ and there are up to eight rows */
    VT_COMPARE_WIDE,
    VT_COMPARE_LONG,
} vt_compare_form;

/* Appends all of it. Errors as of vt_compare_cells. */
vt_status vt_compare_print(const vt_compare *compare, const vt_compare_columns *columns,
                           vt_table_format format, vt_compare_form form, vt_text *out,
                           vt_error *err);
/* The line that says which rows are better, worse, not separable; not escaped. */
void vt_compare_say(const vt_compare *compare, vt_text *text);
/* A metric's value as people read it: "92.41", "6.3 M", "1.9 GiB", "1:31:04"; "" for NaN. */
void vt_metric_text(const vt_metric *metric, double value, char *text, size_t size);

#endif
