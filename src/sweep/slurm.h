/*
 * A sweep as an array job of the Slurm scheduler: one script, of which task N trains row N of the
 * manifest. Two minutes before the time limit Slurm sends SIGTERM to the step; the run saves and
 * exits with 75, and the script asks for the task to be queued again, where it goes on.
 */
#ifndef VT_SWEEP_SLURM_H
#define VT_SWEEP_SLURM_H

#include "sweep/manifest.h"

typedef struct vt_slurm {
    const char *program; /* path of this program */
    const char *folder;  /* where EXP and `results` are relative to */
    const char *results; /* as given */
    const char *logs;    /* absolute path of the sweep's folder */
    const char *data_dir;
    int at_once; /* tasks at a time; 0: as many as the cluster gives */
    int threads; /* of each run, 0: 1 */
} vt_slurm;

/* Appends the script. VT_ERR_USAGE: `logs` holds quotes, backslashes or control characters, which
 * cannot be said in Slurm's directives. VT_ERR_NOMEM. */
vt_status vt_slurm_script(const vt_sweep *sweep, const vt_slurm *slurm, vt_text *script,
                          vt_error *err);

#endif
