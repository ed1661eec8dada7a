/*
 * A sweep: one experiment under every combination of some settings, each with the same seeds. Its
 * manifest, results/sweeps/NAME/manifest.json, lists the runs before the first one starts; what
 * became of them is only ever read from their folders. NAME is the experiment's name and 8
 * hexadecimal digits of SHA-256 over (experiment id, seed) of all runs in order, so the same
 * command finds the same manifest and another grid, or an edited experiment file, makes another.
 *
 * {"schema": 1, "name", "exp": as given, "exp_name", "set": [settings of all runs],
 *  "keys": [of the grid], "runs": [{"row": 0, "setting": 0, "settings": {key: text}, "seed": 0,
 *  "exp_id", "run_id"}, ...]}
 */
#ifndef VT_SWEEP_MANIFEST_H
#define VT_SWEEP_MANIFEST_H

#include "base/fs.h"
#include "config/config.h"
#include "config/store.h"
#include "results/runs.h"
#include "sweep/grid.h"

typedef struct vt_sweep_run {
    int setting;        /* number of its combination, from 0 */
    const char **value; /* (n_keys) */
    int64_t seed;
    char exp_id[VT_SHA256_HEX_SIZE], run_id[VT_RUN_ID_SIZE];
} vt_sweep_run;

typedef struct vt_sweep {
    char name[VT_NAME_MAX + 1];
    const char *exp, *exp_name; /* EXP as given; the folder of its runs */
    const char **set, **key;
    int n_sets, n_keys;
    vt_sweep_run *run; /* settings in order, the seeds of one next to each other */
    int n_runs, n_settings;
    vt_store store;
} vt_sweep;

typedef struct vt_sweep_request {
    const char *exp;
    const char *const *sets; /* key=value for all runs, below the grid's */
    int n_sets;
    const vt_grid *grid;
    const char *data_dir; /* NULL: the experiment's */
    int64_t threads;      /* for opening the data; 0: all cores */
    bool color;           /* of the report */
} vt_sweep_request;

/* Loads and checks the configuration of every setting, names the sweep and lists its runs without
 * their run ids. `report` receives the configurations' errors as lines for stderr; then the status
 * is VT_ERR_CONFIG or VT_ERR_NOINPUT without a text in err. VT_ERR_USAGE: two runs are the same
 * run, or there are too many. Release in every case. */
vt_status vt_sweep_plan(vt_sweep *sweep, const vt_sweep_request *request, vt_text *report,
                        vt_error *err);
/* Fills in the run ids. Opens each data set once for each seed and plans the memory of each
 * setting, so that what can fail before training fails here; the message names the run. */
vt_status vt_sweep_identify(vt_sweep *sweep, const vt_sweep_request *request, vt_error *err);
/* Publishes the manifest and opens its folder. If there is one of the same name with other run
 * ids, the data have changed: VT_ERR_DATA. */
vt_status vt_sweep_publish(const vt_sweep *sweep, const char *results, int *dir_fd, vt_error *err);

/* Reads the manifest that `word` means: a sweep's name, or an experiment's (the sweep planned
 * last). VT_ERR_NOINPUT, with a near name; VT_ERR_DATA names what is wrong with the file. Release
 * in every case. */
vt_status vt_sweep_read(vt_sweep *sweep, const char *results, const char *word, vt_error *err);
void vt_sweep_release(vt_sweep *sweep);

/* "optim.lr=1e-3 seed 2", cut to the size. */
void vt_sweep_label(const vt_sweep *sweep, int run, char *label, size_t size);
void vt_sweep_place(const vt_sweep *sweep, int run, const char *results, vt_run_place *place);
/* The arguments of `vitrine` that train the run, ended by NULL, in the sweep's store. threads 0,
 * data_dir NULL: not said. NULL: no memory. */
char **vt_sweep_command(vt_sweep *sweep, int run, const char *results, const char *data_dir,
                        int threads);

#endif
