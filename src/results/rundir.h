/*
 * The folder of a run, results/EXP/RUNID, and the lock that makes one process its only writer.
 *
 * The lock is an advisory lock (open file description) on the file `lock`, which the kernel drops
 * when the holder dies, however it dies; so there are no stale locks. The file's text only
 * tells people who holds it: host, process number, start time, boot id.
 */
#ifndef VT_RESULTS_RUNDIR_H
#define VT_RESULTS_RUNDIR_H

#include "base/status.h"

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct vt_rundir {
    int fd;          /* the run's folder: every file of the run is opened relative to it */
    int captures_fd; /* its folder captures/ */
    bool resumed;    /* the folder was there before (it may still be empty) */
    char path[PATH_MAX];
    int exp_fd, lock_fd;
    char run_id[64];
} vt_rundir;

/* Checks the names, opens or creates the folders, takes the lock, tries out writing, and removes
 * temporary files of a killed process. `results` is the user's path: its last part is created if
 * missing, its parent must exist. With `force`, an existing run is first renamed to RUNID.old-1
 * (or -2, ...).
 *
 *   VT_ERR_USAGE        a name breaks the rules: 1-63 (run) or 1-128 (experiment) characters
 *                       A-Z a-z 0-9 . _ -, a letter, digit or _ first; "baselines" and
 *                       "sweeps" are taken
 *   VT_ERR_BUSY         another process has the run; the message names it
 *   VT_ERR_CANTCREATE   missing parent, no permission, read-only, a link or file in the way
 *   VT_ERR_IO           full disk and other errors
 */
vt_status vt_rundir_open(vt_rundir *run, const char *results, const char *exp, const char *run_id,
                         bool force, vt_error *err);
/* Opens the user's results folder, or makes it below a parent that exists. VT_ERR_CANTCREATE. */
vt_status vt_results_open(const char *results, int *fd, vt_error *err);
/* Is the folder still the one at its path? VT_ERR_IO if it was deleted, renamed or replaced: to be
 * asked before each save, so that files never appear elsewhere. */
vt_status vt_rundir_check(const vt_rundir *run, vt_error *err);
/* Gives the lock back. Harmless on a {0} or an already closed one. */
void vt_rundir_close(vt_rundir *run);

/* Who trains a run. */
typedef struct vt_holder {
    char host[256], boot_id[64], start_utc[32];
    int64_t pid, start_ticks; /* start_ticks: field 22 of /proc/PID/stat */
} vt_holder;

/* True if some process holds the lock of the run folder `run_fd`; `holder` (may be NULL) is then
 * filled in as far as known. Takes no lock and writes nothing. */
bool vt_rundir_is_held(int run_fd, vt_holder *holder);

#endif
