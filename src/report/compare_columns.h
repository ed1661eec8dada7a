/*
 * Columns of a comparison, as users write them, separated by commas:
 *
 *   test.top1             a metric (report/outcome.h) over the row's runs: mean and deviation
 *   max test.top1         the largest (min, first, last, mean) of all that the journal has of it:
 *                         evaluations of test and val, epochs of train
 *   max test.top1 epoch   the epoch in which it was so (or step)
 *   diff, diff test.loss  difference of the metric that is compared, or another, to the reference
 *   =optim.lr             a key of the configuration
 *   .commit               an attribute: exp label exp_id run_id seeds n commit machine threads
 *                         numerics data epochs; the dot may be left out before n
 *   ... as NAME           another name; else it is as written, that of a difference "METRIC.diff"
 */
#ifndef VT_REPORT_COMPARE_COLUMNS_H
#define VT_REPORT_COMPARE_COLUMNS_H

#include "report/compare.h"

enum { VT_COMPARE_COLUMN_SIZE = 120 };

typedef enum vt_compare_kind {
    VT_COMPARE_SETTING,
    VT_COMPARE_ATTRIBUTE,
    VT_COMPARE_METRIC,
    VT_COMPARE_COURSE, /* a metric over the journal */
    VT_COMPARE_DIFFERENCE,
} vt_compare_kind;

typedef enum vt_compare_pick {
    VT_COMPARE_PICK_FIRST,
    VT_COMPARE_PICK_LAST,
    VT_COMPARE_PICK_MIN,
    VT_COMPARE_PICK_MAX,
    VT_COMPARE_PICK_MEAN,
} vt_compare_pick;

typedef enum vt_compare_what {
    VT_COMPARE_WHAT_VALUE,
    VT_COMPARE_WHAT_EPOCH,
    VT_COMPARE_WHAT_STEP
} vt_compare_what;

typedef struct vt_compare_column {
    vt_compare_kind kind;
    char name[VT_COMPARE_COLUMN_SIZE];
    char word[VT_COMPARE_COLUMN_SIZE]; /* key or attribute */
    const vt_metric *metric;
    vt_compare_pick pick;
    vt_compare_what what;
    bool renamed; /* by "as" */
} vt_compare_column;

typedef struct vt_compare_columns {
    vt_compare_column *column;
    int n;
} vt_compare_columns;

/* Parses the list; `compare` gives the metric of a bare "diff". VT_ERR_USAGE says what is wrong. */
vt_status vt_compare_columns_parse(vt_compare_columns *columns, const char *text,
                                   const vt_metric *metric, vt_error *err);
/* What is shown unless asked otherwise: keys that differ (with `all`: all keys that count), number
 * of runs, the metric, its difference, loss, best epoch where one was chosen, and costs. */
vt_status vt_compare_columns_default(vt_compare_columns *columns, const vt_compare *compare,
                                     bool all, vt_error *err);
void vt_compare_columns_release(vt_compare_columns *columns);

/* One cell before it is printed: a text, or a number with its deviation. */
typedef struct vt_compare_cell {
    bool is_text;
    char text[200]; /* of SETTING and ATTRIBUTE; "" if there is none */
    vt_compare_value value;
    vt_compare_difference difference; /* of DIFFERENCE */
} vt_compare_cell;

/* cell[row * columns->n + column] for all rows; vt_free it. Journals are read where a column asks
 * for a course: what that fails with is returned. */
vt_status vt_compare_cells(const vt_compare *compare, const vt_compare_columns *columns,
                           vt_compare_cell **cell, vt_error *err);

#endif
