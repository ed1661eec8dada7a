/*
 * Finding runs: what a user means by RUN.
 *
 *   a path       the run's folder: one with a journal in it
 *   last         the newest run of all
 *   EXP          the newest run of an experiment ("quick/vit" and "quick-vit" are the same)
 *   hex digits   the beginning of a run id, at least 4 digits, that no other run shares
 *
 * (report/outcome.h knows more: EXP@seed=3, EXP@best:test.top1.)
 *
 * Newest is the run whose journal was written last. Folders set aside (RUNID.old-1) are found by
 * their path only.
 */
#ifndef VT_RESULTS_RUNS_H
#define VT_RESULTS_RUNS_H

#include "base/fs.h"
#include "base/status.h"

#include <time.h>

typedef struct vt_run_place {
    char exp[VT_NAME_MAX + 1], id[VT_NAME_MAX + 1]; /* folders; "" if found by a path */
    char path[PATH_MAX];
    struct timespec changed;
} vt_run_place;

typedef struct vt_run_list {
    vt_run_place *run;
    int n;
} vt_run_list;

/* All runs below the folder `results`, by name of experiment, each one's newest run first: folders
 * with a journal, config.yaml or provenance.json of whatever kind, so that damaged ones are seen. A
 * folder name that no run can have is warned about. A `results` that is not there is
 * VT_ERR_NOINPUT. Release with vt_runs_release, also after a failure. */
vt_status vt_runs_list(vt_run_list *list, const char *results, vt_error *err);
void vt_runs_release(vt_run_list *list);
/* Keeps each experiment's newest run only. */
void vt_runs_keep_newest(vt_run_list *list);
/* Keeps the runs of one experiment only ("quick/vit" or "quick-vit"); none if it has none. */
void vt_runs_keep_experiment(vt_run_list *list, const char *exp);

/* Finds RUN. VT_ERR_NOINPUT, with a near name, if there is none; VT_ERR_USAGE if several fit. */
vt_status vt_runs_find(vt_run_place *run, const char *results, const char *word, vt_error *err);

#endif
