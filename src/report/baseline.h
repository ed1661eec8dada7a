/*
 * Baselines: what an experiment is known to reach, in files that are kept in git.
 *
 * results/baselines/NAME.json, sorted keys:
 *
 *   schema        1
 *   name          the file's name
 *   experiment    EXP as `train` takes it
 *   set           ["key=value"] that were given on top, in order; not seed, threads, data.dir
 *   config        {key: value} of the accepted configuration, active identity keys
 *   thresholds    {"level", "speed_factor", "floors": {metric: floor}}: which metrics can fail, the
 *                 chance of a false alarm of all together, and how much worse is never an alarm
 *   accepted      acceptances, oldest first; the last one is in force. Each {"exp_id",
 *                 "reason", "runs": [{"seed", "run_id", "commit", "machine", "images_per_s",
 * "wall_s", "digests": {"data", "metrics", "weights", "numerics"}, "metrics": {name: value}}]},
 * seeds ascending
 */
#ifndef VT_REPORT_BASELINE_H
#define VT_REPORT_BASELINE_H

#include "config/config.h"
#include "config/store.h"
#include "report/outcome.h"

#include <jansson.h>

#define VT_BASELINE_FOLDER "baselines" /* below the folder of the runs */
#define VT_BASELINE_LEVEL 0.01
#define VT_BASELINE_SPEED_FACTOR 1.10

enum { VT_BASELINE_RUNS_MAX = 1000, VT_BASELINE_GATES_MAX = 8, VT_BASELINE_VALUES = 32 };

/* One run, of a baseline or to be held against one. Texts are never NULL. */
typedef struct vt_baseline_run {
    uint64_t seed;
    const char *exp_id, *data_digest, *run_id, *commit, *machine;
    const char *numerics, *metrics_sha256, *weights_sha256;
    double images_per_s, wall_s;
    double value[VT_BASELINE_VALUES]; /* by place in the list of metrics; NaN: none */
} vt_baseline_run;

/* The texts are the outcome's. */
vt_baseline_run vt_baseline_run_of(const vt_outcome *outcome);
double vt_baseline_value(const vt_baseline_run *run, const vt_metric *metric);

typedef struct vt_acceptance {
    const char *exp_id, *reason;
    vt_baseline_run *run; /* at least one, seeds ascending */
    int n_runs;
} vt_acceptance;

/* A metric that can fail. */
typedef struct vt_gate {
    const vt_metric *metric; /* with a direction */
    double floor;            /* worse by no more than this is never an alarm */
} vt_gate;

typedef struct vt_baseline {
    char name[VT_NAME_MAX + 1];
    const char *experiment;
    const char **set;
    int n_set;
    vt_setting *setting; /* ascending by key */
    int n_settings;
    double level, speed_factor;
    vt_gate gate[VT_BASELINE_GATES_MAX];
    int n_gates;
    vt_acceptance *accepted; /* oldest first, at least one */
    int n_accepted;
    json_t *root; /* the file; all texts are its own */
    vt_store store;
} vt_baseline;

/* Reads results/baselines/NAME.json. VT_ERR_NOINPUT (with a near name) if there is none,
 * VT_ERR_USAGE for a name that cannot be one, VT_ERR_DATA (file and key) for one that is damaged or
 * of another schema. Release in every case. */
vt_status vt_baseline_read(vt_baseline *baseline, const char *results, const char *name,
                           vt_error *err);
void vt_baseline_release(vt_baseline *baseline);
/* Are the data of a run those of an acceptance? The run of the same seed says so; a seed that it
 * does not have, only if all its runs have the same data (built-in data and splits may depend on
 * the seed). */
bool vt_acceptance_same_data(const vt_acceptance *acceptance, const vt_baseline_run *run);
/* The acceptance in force; and the oldest of the same experiment id and data (it may be the same
 * one). */
const vt_acceptance *vt_baseline_current(const vt_baseline *baseline);
const vt_acceptance *vt_baseline_oldest(const vt_baseline *baseline);

/* The names in results/baselines, ascending; none if there is no such folder. */
typedef struct vt_baseline_names {
    char (*name)[VT_NAME_MAX + 1];
    int n;
} vt_baseline_names;
vt_status vt_baseline_names_read(vt_baseline_names *names, const char *results, vt_error *err);
void vt_baseline_names_release(vt_baseline_names *names);

/* Keys of a configuration that differ from the baseline's, as lines "key: old -> new" (a key that
 * one side does not have: "(not used)"); returns how many. */
int vt_baseline_differences(const vt_baseline *baseline, const vt_config *config, vt_text *lines);

/* What a new acceptance is made of. */
typedef struct vt_baseline_request {
    const char *name, *reason;
    const vt_outcome *run; /* complete, of one experiment id, seeds distinct */
    int n_runs;
    double level;                        /* 0: as before, or VT_BASELINE_LEVEL */
    vt_gate gate[VT_BASELINE_GATES_MAX]; /* none: as before, or test.top1 and test.loss */
    int n_gates;
} vt_baseline_request;

/* Checks the runs and builds the file's new content; `old` (NULL: none) keeps its history. The
 * experiment file must still give the runs' experiment id with the --set of their command lines, or
 * else VT_NO with the keys: such a baseline could not be checked. VT_ERR_USAGE for runs that do
 * not go together, VT_ERR_DATA for incomplete ones. */
vt_status vt_baseline_make(json_t **root, const vt_baseline *old,
                           const vt_baseline_request *request, vt_error *err);
/* Publishes the content as results/baselines/NAME.json and drops it. */
vt_status vt_baseline_write(const char *results, const char *name, json_t *root, vt_error *err);

/* How much worse is never an alarm, unless said otherwise. */
double vt_baseline_floor(const vt_metric *metric);

#endif
