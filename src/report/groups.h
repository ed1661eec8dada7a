/*
 * Groups: runs read for figures, the seeds of each experiment together.
 *
 * Two runs are of one group if they have the experiment's name and its exp_id (the configuration
 * without the seed) in common. A group is called by the experiment's name, with the first digits of
 * its exp_id where another group has the same name. The order is that of the runs given.
 */
#ifndef VT_REPORT_GROUPS_H
#define VT_REPORT_GROUPS_H

#include "report/series.h"
#include "results/runs.h"

typedef struct vt_group {
    char name[2 * VT_NAME_MAX]; /* printable */
    uint64_t seed;              /* of its first run */
    vt_run_place *run;
    int n_runs;
    vt_series series[VT_QUANTITY_COUNT]; /* of all runs, folded and thinned */
} vt_group;

typedef struct vt_groups {
    vt_group *group;
    int n;
} vt_groups;

/* Reads the runs; with `each`, every run is a group of its own, called by its seed as well. A run
 * given twice counts once. Runs that cannot be read or have no finished epoch are left out, with a
 * warning in the log; if none is left, or the only one cannot be read, that is the failure
 * (VT_ERR_NOINPUT, VT_ERR_DATA, ...). Nothing is written, and no lock taken. Release in every case.
 */
vt_status vt_groups_read(vt_groups *groups, const vt_run_place *runs, int n, bool each,
                         vt_error *err);
void vt_groups_release(vt_groups *groups);

#endif
