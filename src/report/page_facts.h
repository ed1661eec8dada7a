/* What both forms of the report say about rows and runs. Texts are not escaped. */
#ifndef VT_REPORT_PAGE_FACTS_H
#define VT_REPORT_PAGE_FACTS_H

#include "report/page.h"
#include "report/table.h"

/* "62.76 ± 0.31 (3 runs), +1.20 [+0.94, +1.46], better": a row's metric. */
void vt_page_standing(const vt_compare *compare, int row, vt_text *text);
/* "baseline quickstart: PASS ...", or why there is no answer. */
void vt_page_baseline(const vt_compare *compare, int row, const char *results, vt_text *text);

/* The command that makes a run again, quoted for a shell. */
void vt_page_command(const vt_outcome *run, vt_text *text);
/* "# A vit, seed 0: weights 3ed77aec95464b1c, numerics bcb234fd6042": what the command must give in
 * run i of a row. */
void vt_page_expected(const vt_compare *compare, int row, int i, vt_text *text);

/* A row for each run: digests, code, build. */
void vt_page_origins(const vt_compare *compare, vt_table *table);
/* A row for each row: images/s, time of a step, memory, time, threads, machine. */
void vt_page_costs(const vt_compare *compare, vt_table *table);
/* A row for each key that differs, a column for each row. */
void vt_page_settings(const vt_compare *compare, vt_table *table);
/* The comparison with the columns of the page. */
vt_status vt_page_comparison(const vt_compare *compare, vt_table_format format, vt_text *text,
                             vt_error *err);

#endif
