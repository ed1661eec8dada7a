/*
 * The runs that a baseline is checked with: found, resumed, or trained anew.
 *
 * A complete run counts only if this very program made it, all attempts of it: an old run proves
 * nothing of the code of today. If another program's run is in its place, a new one is trained
 * below results/baselines/runs/PROGRAM (the first digits of the program's SHA-256), so that nothing
 * of the user's is moved.
 */
#ifndef VT_REPORT_RERUN_H
#define VT_REPORT_RERUN_H

#include "report/baseline.h"

typedef struct vt_rerun {
    const char *results, *data_dir; /* data_dir NULL: the experiment's */
    int64_t threads;                /* < 0: the experiment's */
    bool look_only;                 /* start nothing */
    bool any_program;               /* take runs whatever program made them */
    bool quiet;
} vt_rerun;

/* Reads the run of a seed into `outcome` (release it if *found). If there is none in the end, `why`
 * says why on one line and the status is VT_OK; a run that diverged is found, with that state.
 * VT_ERR_STOPPED: a training was asked to stop, and the check with it. */
vt_status vt_rerun_seed(const vt_rerun *rerun, const vt_baseline *baseline, const char *exp_name,
                        uint64_t seed, vt_outcome *outcome, bool *found, char why[400],
                        vt_error *err);

#endif
