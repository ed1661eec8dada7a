/*
 * What could be deleted below a folder of runs, by rule. A plan is made first, deletes nothing, and
 * says what each place would free; carrying it out checks every place again.
 *
 *   VT_GC_OLD          runs that --force set aside: RUNID.old-N
 *   VT_GC_CHECKPOINTS  of complete runs: w-STEP.safetensors and state-STEP.bin but the newest of
 *                      each; last.safetensors and best.safetensors stay, and so do their twins
 *   VT_GC_STATES       whole runs that are in one of the states asked for
 *
 * Never touched: a run that a baseline names (`runs[].run_id` of the JSON files in the folder
 * baselines, also where the run was set aside), one that a process holds, and a folder with
 * anything in it that no run has: another name, a link, a device. Such places are listed as kept,
 * with the reason. If a baseline cannot be read nothing is deleted, since nobody knows what it
 * names.
 */
#ifndef VT_REPORT_GC_H
#define VT_REPORT_GC_H

#include "report/outcome.h"
#include "results/json.h"

typedef enum vt_gc_rule { VT_GC_OLD = 1, VT_GC_CHECKPOINTS = 2, VT_GC_STATES = 4 } vt_gc_rule;

typedef struct vt_gc_request {
    const char *results;
    unsigned rules;                  /* of vt_gc_rule */
    bool states[VT_RUN_STATE_COUNT]; /* for VT_GC_STATES; RUNNING and QUEUED are ignored */
} vt_gc_request;

typedef struct vt_gc_item {
    char path[PATH_MAX]; /* EXP/RUNID or EXP/RUNID/FILE, below `results` */
    bool folder;
    int64_t bytes;  /* that deleting it frees */
    char why[200];  /* what it is */
    char kept[200]; /* why it stays although a rule names it; "" if it would go */
} vt_gc_item;

typedef struct vt_gc_plan {
    vt_gc_item *item;
    int n;
    int64_t bytes; /* of the items that would go */
} vt_gc_plan;

/* VT_ERR_NOINPUT: no such folder. VT_ERR_DATA: a baseline cannot be read. Release in every case. */
vt_status vt_gc_make(vt_gc_plan *plan, const vt_gc_request *request, vt_error *err);
/* Deletes what would go. An item that has changed meanwhile, or cannot be deleted, gets a reason in
 * `kept` and the others go on; the first failure is returned at the end (VT_ERR_IO). */
vt_status vt_gc_delete(vt_gc_plan *plan, const char *results, vt_error *err);
void vt_gc_release(vt_gc_plan *plan);

#endif
