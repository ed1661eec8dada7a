/*
 * Experiments beside each other: seeds folded into one row, differences against a reference with
 * their intervals, and what makes the comparison unfair.
 *
 *     vt_compare compare;
 *     status = vt_compare_make(&compare, &list, &request, &err);
 *     ... vt_compare_print (report/compare_print.h) ...
 *     vt_compare_release(&compare);
 *
 * Only finished runs count; the others are in `left_out`. A row holds the runs of one experiment
 * (name and experiment id), one of each seed: the newest. Where the images cannot depend on the
 * seed, runs on other data are rows of their own.
 *
 * Differences are taken
 *   by pairs    where the two rows share at least two seeds and these are all seeds of one of them:
 *               the mean of the differences of runs of one seed, Student's t with pairs - 1 degrees
 *               of freedom
 *   by Welch    where they do not, and both have at least two runs
 *   as numbers  without an interval where one of them has one run only
 */
#ifndef VT_REPORT_COMPARE_H
#define VT_REPORT_COMPARE_H

#include "report/outcome.h"
#include "results/stats.h"

#include <stdbool.h>

typedef struct vt_compare_request {
    const vt_metric *metric; /* NULL: test.top1 */
    double level;            /* of intervals, 0 < level < 1; 0: 0.95 */
    /* A row by its mark, label, experiment's name, or the beginning (4 digits) of an experiment's
     * or run's id. NULL: the first row. */
    const char *reference;
    /* What is folded: NULL an experiment's seeds, "run" nothing (each run is a row), "exp" all of
     * one name, or keys ("model.family,optim.lr"): all runs that agree in them. */
    const char *group_by;
    /* A column (report/compare_columns.h) to order rows by: better, smaller or earlier ones first,
     * with "-" before it the other way round. NULL: as listed. */
    const char *sort;
} vt_compare_request;

/* verdict, word */
#define VT_VERDICT_LIST(X)                                                                         \
    X(REFERENCE, "reference")                                                                      \
    X(BETTER, "better")                                                                            \
    X(WORSE, "worse")                                                                              \
    X(DIFFERENT, "different") /* separable, in a metric that has no better side */                 \
    X(SAME, "not separable")                                                                       \
    X(OPEN, "no interval") /* one run only */                                                      \
    X(NONE, "no value")

typedef enum vt_verdict {
#define X(name, word) VT_VERDICT_##name,
    VT_VERDICT_LIST(X)
#undef X
        VT_VERDICT_COUNT
} vt_verdict;
const char *vt_verdict_word(vt_verdict verdict);

/* Over the runs of a row that have the metric. NaN: mean of none, deviation (n - 1) of one. */
typedef struct vt_compare_value {
    double mean, sd;
    int n;
} vt_compare_value;

typedef struct vt_compare_difference {
    vt_difference d;
    double ratio; /* of the means, row / reference */
    int n_pairs;  /* 0: not by pairs */
    vt_verdict verdict;
} vt_compare_difference;

typedef struct vt_compare_row {
    char mark[8];           /* A, B, ..., Z, AA, ... */
    char *label;            /* the experiment and what differs from its other rows */
    const vt_outcome **run; /* by seed */
    int n, n_older;         /* n_older: finished runs of the same seeds that newer ones stand for */
    bool unique_seeds;
} vt_compare_row;

/* Something to know; `row` says which rows it is about. */
typedef struct vt_compare_note {
    bool unfair;
    char *text;
    bool *row;
} vt_compare_note;

typedef struct vt_compare {
    const vt_metric *metric;
    double level;
    vt_compare_row *row;
    int n_rows, reference;
    bool by_experiment; /* rows are experiments, which is what `group_by` NULL gives */
    char *group_by;     /* else as asked for */
    /* Keys that can change results, ascending, by whether all rows agree; the seed is in neither.
     */
    const char **differing, **identical;
    int n_differing, n_identical;
    vt_compare_note *note;
    int n_notes;
    const vt_outcome **left_out; /* not finished, or no run at all */
    int n_left_out;
    double *scratch[2]; /* room for the values of any row */
} vt_compare;

/* The list must outlive the comparison. VT_ERR_NOINPUT: no finished run; VT_ERR_USAGE: a reference,
 * group or sort that means nothing here; VT_ERR_NOMEM; and what reading journals gives, where the
 * sort asks for it. Release in every case. */
vt_status vt_compare_make(vt_compare *compare, const vt_outcome_list *list,
                          const vt_compare_request *request, vt_error *err);
void vt_compare_release(vt_compare *compare);

vt_compare_value vt_compare_value_of(const vt_compare *compare, int row, const vt_metric *metric);
vt_compare_difference vt_compare_difference_of(const vt_compare *compare, int row,
                                               const vt_metric *metric);
/* Standard error of a share by the test or validation images it was measured on, in shares: what
 * another set of as many images would change it by. NaN for metrics that are no such share. */
double vt_compare_sampling_error(const vt_compare *compare, int row, const vt_metric *metric);
/* The value of a key as written in config.yaml; NULL if the key is not there, VT_COMPARE_SEVERAL
 * (that very pointer) if the row's runs do not agree. */
const char *vt_compare_setting(const vt_compare *compare, int row, const char *key);
extern const char VT_COMPARE_SEVERAL[];

#endif
