/*
 * A training run, from an experiment's configuration to a finished folder.
 *
 * The same call starts a run, resumes one that was interrupted at any moment, or finds it done. A
 * run is results/EXP/RUNID; its weights, journal and captures depend on the experiment, seed and
 * data alone.
 */
#ifndef VT_TRAIN_TRAIN_H
#define VT_TRAIN_TRAIN_H

#include "config/config.h"

#include <signal.h>

typedef struct vt_train_options {
    const char *results; /* folder of the runs */
    bool force;          /* move an existing run aside and begin anew */
    bool dry_run;        /* say what would be done, and stop before any file is written */
    bool quiet;
    bool gradients; /* write those of the first step to gradients-1.safetensors */
    int argc;       /* the command line, for provenance */
    char **argv;
    volatile sig_atomic_t *stop; /* not 0: finish the step, save and return VT_ERR_STOPPED */
} vt_train_options;

/* VT_OK: done, or done before. Other codes as in base/status.h. Epoch lines and the result go to
 * stdout. */
vt_status vt_train(const vt_config *config, const vt_train_options *options, vt_error *err);

/* What a run is called, and the digest of what it is made from: its data, and model.weights. */
typedef struct vt_train_identity {
    char run_id[VT_RUN_ID_SIZE], data_digest[VT_SHA256_HEX_SIZE];
} vt_train_identity;

/* Checks all that a dry run checks, without a word. */
vt_status vt_train_identify(const vt_config *config, vt_train_identity *identity, vt_error *err);

#endif
