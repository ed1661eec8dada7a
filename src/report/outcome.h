/*
 * What became of a run, read from its folder without writing to it: for lists, comparisons,
 * baselines, sweeps and the report. Works on folders of other people's runs, of other versions and
 * of damaged ones; reading takes no lock, follows no link out of the folder and never waits.
 *
 * The journal is the truth; summary.json, which is quicker to read, is taken instead where it is
 * that of a run that is complete. Each size is checked before anything is allocated for it.
 */
#ifndef VT_REPORT_OUTCOME_H
#define VT_REPORT_OUTCOME_H

#include "base/hash.h"
#include "results/runs.h"
#include "results/summary.h"

#include <stdbool.h>
#include <stdint.h>

/* state, what it means */
#define VT_RUN_STATE_LIST(X)                                                                       \
    X(QUEUED, "queued", "named by a sweep's manifest, not started")                                \
    X(RUNNING, "running", "a process holds its lock")                                              \
    X(INTERRUPTED, "interrupted", "stopped after a clean checkpoint; the same command continues")  \
    X(DEAD, "dead", "ended without a word (killed); the same command continues")                   \
    X(DIVERGED, "diverged", "a loss, gradient or weight was not finite")                           \
    X(FAILED, "failed", "ended with an error")                                                     \
    X(DONE, "done", "complete")                                                                    \
    X(BROKEN, "broken", "the folder cannot be read as a run; `problem` says why")

typedef enum vt_run_state {
#define X(name, word, help) VT_RUN_##name,
    VT_RUN_STATE_LIST(X)
#undef X
        VT_RUN_STATE_COUNT
} vt_run_state;
const char *vt_run_state_word(vt_run_state state);

/* One key of a run's resolved config.yaml: dotted path and value as written there. */
typedef struct vt_setting {
    const char *key, *value;
} vt_setting;

typedef struct vt_outcome {
    vt_run_place place;
    vt_run_state state;
    char problem[200]; /* of a broken one: printable, on one line */
    /* Names and digests in hexadecimal; "" where not known. */
    char exp_name[VT_NAME_MAX + 1], exp_id[VT_SHA256_HEX_SIZE], run_id[VT_NAME_MAX + 1];
    char data_digest[VT_SHA256_HEX_SIZE], numerics[VT_SHA256_HEX_SIZE];
    char metrics_sha256[VT_SHA256_HEX_SIZE], weights_sha256[VT_SHA256_HEX_SIZE]; /* if done */
    char select[8];    /* what chose the best epoch: last, val, test */
    char commit[80];   /* of the last attempt's code, with "-dirty"; from provenance.json */
    char machine[200]; /* CPU model and threads of the last attempt */
    uint64_t seed;
    int64_t epoch, epochs, step, steps_per_epoch, attempts;
    int64_t images[VT_SPLIT_COUNT], classes;
    int64_t n_params, macs;               /* macs: of one image */
    double train_loss, train_top1;        /* of the last epoch; NaN if none */
    vt_summary_eval last[VT_SPLIT_COUNT]; /* newest evaluation of each split */
    vt_summary_eval best[VT_SPLIT_COUNT]; /* each split at the best epoch */
    double images_per_s, wall_s;          /* NaN if not known */
    int64_t peak_bytes;                   /* resident; 0: not known */
    int threads;
    vt_setting *setting; /* ascending by key; none if config.yaml cannot be read */
    int n_settings;
    void *memory;
} vt_outcome;

/* Reads one run. A folder that cannot be read as a run is no failure: its state is BROKEN and
 * `problem` says why. VT_ERR_NOMEM only. Release in every case. */
vt_status vt_outcome_read(vt_outcome *outcome, const vt_run_place *place, vt_error *err);
void vt_outcome_release(vt_outcome *outcome);
/* The value of a key, or NULL. */
const char *vt_outcome_setting(const vt_outcome *outcome, const char *key);

typedef struct vt_outcome_list {
    vt_outcome *run;
    int n;
} vt_outcome_list;

/* Finds RUN by what vt_runs_find knows, and besides
 *
 *   EXP@seed=3           the newest run of the experiment with this seed
 *   EXP@best:test.top1   its complete run with the best value of a metric below (of equal ones the
 *                        newest; of costs the smallest)
 *
 * Errors as of vt_runs_find; VT_ERR_USAGE for an unknown metric or a selector of another form. */
vt_status vt_outcomes_find(vt_run_place *place, const char *results, const char *word,
                           vt_error *err);

/* All runs below `results` in the order of vt_runs_list; or those that the words mean. Each is one
 * run, but with `seeds` a word that names an experiment is the newest run of every seed of each of
 * its variants (exp_id): variants newest first, their seeds ascending, broken folders left out. */
vt_status vt_outcomes_read(vt_outcome_list *list, const char *results, const char *const *words,
                           int n_words, bool seeds, vt_error *err);
void vt_outcomes_release(vt_outcome_list *list);

/* Metrics by name. `better` is +1 where larger is better, -1 where smaller is, 0 for costs that
 * are compared as ratios. */
#define VT_METRIC_LIST(X)                                                                          \
    X("test.top1", +1, "share", "test accuracy after the last epoch")                              \
    X("test.top5", +1, "share", "right class among the first five, test, last epoch")              \
    X("test.loss", -1, "nat", "test loss after the last epoch")                                    \
    X("test.ece", -1, "share", "expected calibration error, test, last epoch")                     \
    X("val.top1", +1, "share", "validation accuracy after the last epoch")                         \
    X("val.loss", -1, "nat", "validation loss after the last epoch")                               \
    X("train.top1", +1, "share", "running mean of the last epoch's training accuracy")             \
    X("train.loss", -1, "nat", "running mean of the last epoch's training loss")                   \
    X("best.test.top1", +1, "share", "test accuracy at the epoch that train.select chose")         \
    X("best.val.top1", +1, "share", "validation accuracy at that epoch")                           \
    X("best.epoch", 0, "epoch", "that epoch")                                                      \
    X("params", 0, "1", "parameters")                                                              \
    X("macs", 0, "1", "multiply-adds for one image, as computed")                                  \
    X("images_per_s", 0, "image/s", "training speed")                                              \
    X("peak_bytes", 0, "byte", "largest resident memory")                                          \
    X("wall_s", 0, "s", "time over all attempts")

typedef struct vt_metric {
    const char *name;
    int better;
    const char *unit, *help;
} vt_metric;
/* NULL if there is none of that name (NULL `name`: no such place). */
const vt_metric *vt_metric_find(const char *name);
const vt_metric *vt_metric_at(int i); /* NULL behind the last */
/* NaN where the run has no such value. */
double vt_outcome_metric(const vt_outcome *outcome, const vt_metric *metric);

#endif
