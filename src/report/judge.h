/*
 * New runs held against a baseline.
 *
 * A run of the same id, numerics and data as one of the baseline's must have its digests: one bit
 * that differs is FAIL. The other runs are judged by each gated metric together: the mean of the
 * new runs must lie in
 *
 *     mean of the baseline -+ max(floor, t(1 - a, n - 1) s sqrt(1/m + 1/n))
 *
 * on its bad side: the one-sided prediction bound for the mean of m runs from the n of the
 * baseline, a = level / number of gated metrics. The same bound on the good side makes BETTER.
 * Without two runs in the baseline there is no s, and such runs are NOT COMPARABLE. A Welch test,
 * which takes the spread of the new runs too, is not used: with two new runs its false alarms are
 * two to three times its level, and it misses four of ten shifts of six deviations
 * (docs/baselines.md).
 */
#ifndef VT_REPORT_JUDGE_H
#define VT_REPORT_JUDGE_H

#include "report/baseline.h"

/* state, word, meaning */
#define VT_FINDING_LIST(X)                                                                         \
    X(PASS, "PASS", "as the baseline")                                                             \
    X(BETTER, "BETTER", "better than the baseline: consider accepting it")                         \
    X(FAIL, "FAIL", "worse, other bits, another configuration, or diverged")                       \
    X(NEW, "NEW", "there is no baseline of that name yet")                                         \
    X(NOT_COMPARABLE, "NOT COMPARABLE", "other data, or other numerics and no spread to judge by") \
    X(MISSING, "MISSING RUN", "a run that is needed is not there")

typedef enum vt_finding {
#define X(name, word, help) VT_FINDING_##name,
    VT_FINDING_LIST(X)
#undef X
        VT_FINDING_COUNT
} vt_finding;
const char *vt_finding_word(vt_finding verdict);

/* One metric of both sides. Unknown numbers are NaN. */
typedef struct vt_judged_metric {
    const vt_metric *metric;
    double mean, sd; /* of the baseline's n_base runs */
    double value, value_sd;
    int n_base, n;
    double low, high;   /* where `value` is expected */
    vt_finding verdict; /* PASS, FAIL, BETTER, NOT_COMPARABLE */
} vt_judged_metric;

typedef struct vt_judgement {
    vt_finding verdict;
    char reason[400];   /* one line */
    int n_runs, n_same; /* runs; ... with the baseline's bits */
    bool statistical;   /* the metrics decided, not (only) the digests */
    vt_judged_metric metric[VT_BASELINE_GATES_MAX];
    int n_metrics;
    /* Against the oldest acceptance; n_drift 0 if that is the one in force or has one run. */
    vt_judged_metric drift[VT_BASELINE_GATES_MAX];
    int n_drift;
    bool drifted;  /* some metric is worse than at first */
    double slower; /* baseline's speed / speed now, same machine; NaN: not comparable */
    bool slow;     /* above the baseline's factor */
} vt_judgement;

/* Judges n >= 1 complete runs of the baseline's configuration. `statistical`: do not look at the
 * digests. */
vt_judgement vt_judge(const vt_baseline *baseline, const vt_baseline_run *run, int n,
                      bool statistical);

/* "PASS  test.top1 94.12 in [93.67, 94.59]  (5 seeds, test.top1 94.13 +- 0.15)", without a line's
 * end. */
void vt_judgement_line(const vt_judgement *judgement, vt_text *text);
/* The rows below a verdict: metrics with their bounds, drift, speed. */
void vt_judgement_lines(const vt_judgement *judgement, vt_text *text);
/* {"state", "reason", "runs", "same_bits", "metrics": [...], "drift": [...], "speed": ...}. NULL:
 * no memory. */
json_t *vt_judgement_json(const vt_judgement *judgement);

#endif
