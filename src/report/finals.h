/*
 * How runs ended, as a table for a paper or a page: a row a run with its name, seed and state, then
 * its metrics, of which those that no run has are left out, and the ones at the best epoch too
 * where every run selects the last.
 */
#ifndef VT_REPORT_FINALS_H
#define VT_REPORT_FINALS_H

#include "report/outcome.h"
#include "report/table.h"

/* Fills an empty table. Runs that cannot be read get no row. */
void vt_finals_table(vt_table *table, const vt_outcome_list *list);

#endif
