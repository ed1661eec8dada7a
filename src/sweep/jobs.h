/*
 * The runs of a sweep as processes of this program, some at a time.
 *
 * A run that is done is not started, one that another process holds is passed over; the others
 * train in processes and process groups of their own, with the cores divided among them, their
 * output appended to run-ROW.log in the sweep's folder. SIGINT, SIGTERM and SIGUSR1 to this process
 * start nothing more and are passed on, once, as SIGTERM: each run saves and can be continued. The
 * same happens to the runs if this process is killed.
 */
#ifndef VT_SWEEP_JOBS_H
#define VT_SWEEP_JOBS_H

#include "sweep/manifest.h"

typedef struct vt_jobs {
    const char *results, *data_dir; /* data_dir NULL: the experiment's */
    int dir_fd;                     /* the sweep's folder, for the logs */
    int at_once;                    /* runs at a time, at least 1 */
    int threads;                    /* of each; 0: the cores divided among them */
    bool fail_fast;                 /* a failure stops the others */
    bool quiet, live;               /* live: redraw what is going on (stderr is a terminal) */
} vt_jobs;

/* code (n_runs): the exit code of each run, VT_ERR_BUSY of one that another process holds,
 * VT_ERR_INTERNAL of one that was killed, -1 of one that was not started. The status is VT_OK if
 * all are 0; VT_ERR_STOPPED if it was asked to stop; else the first other code. Leaves those
 * signals blocked: the program is to end. */
vt_status vt_jobs_run(vt_sweep *sweep, const vt_jobs *jobs, int *code, vt_error *err);

/* Cores this process may use. */
int vt_jobs_cores(void);

#endif
