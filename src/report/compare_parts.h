/* What the files of a comparison share. */
#ifndef VT_REPORT_COMPARE_PARTS_H
#define VT_REPORT_COMPARE_PARTS_H

#include "base/text.h"
#include "report/compare.h"
#include "report/compare_columns.h"
#include "report/table.h"

/* True if a setting can change results. Keys that this version does not know are taken to. */
bool vt_compare_key_counts(const char *key);
/* True if a run's images depend on its seed: drawn by it, split by it, or held out by it. */
bool vt_compare_seeded_data(const vt_outcome *run);
/* Fills compare->differing and ->identical. False: no memory. */
bool vt_compare_find_keys(vt_compare *compare);
/* Fills compare->note. False: no memory. */
bool vt_compare_find_notes(vt_compare *compare);
/* Appends "A, C and 40 more", the rows for which `row` is true. */
void vt_compare_name_rows(const vt_compare *compare, const bool *row, vt_text *text);
/* One record a row, as report/compare_print.h says. */
void vt_compare_make_records(const vt_compare *compare, const vt_compare_columns *columns,
                             const vt_compare_cell *cells, vt_table *table);
/* The whole comparison with these records; NULL: no memory. */
json_t *vt_compare_json(const vt_compare *compare, const vt_table *records);

#endif
