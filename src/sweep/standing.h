/*
 * How a sweep stands: what became of its runs, read from their folders alone.
 */
#ifndef VT_SWEEP_STANDING_H
#define VT_SWEEP_STANDING_H

#include "report/outcome.h"
#include "report/table.h"
#include "sweep/manifest.h"

/* One run; QUEUED if it has no journal yet. Release the outcome in every case. VT_ERR_NOMEM. */
vt_status vt_standing_read(const vt_sweep *sweep, int run, const char *results, vt_outcome *outcome,
                           vt_error *err);

typedef struct vt_standing {
    vt_outcome *run; /* (n_runs) */
    int n_runs, n_done;
} vt_standing;

/* All runs. Release in every case. */
vt_status vt_standing_read_all(vt_standing *standing, const vt_sweep *sweep, const char *results,
                               vt_error *err);
void vt_standing_release(vt_standing *standing);

/* A row a run: its number, the grid's keys, seed, run id, state, epoch, test accuracy and loss. */
void vt_standing_runs(const vt_standing *standing, const vt_sweep *sweep, vt_table *table);
/* A row a setting: the grid's keys, runs done, mean and sample standard deviation over the seeds
 * of those. Without a second run there is no deviation. */
void vt_standing_settings(const vt_standing *standing, const vt_sweep *sweep, vt_table *table);
/* {"schema": 1, "name", "exp_name", "n_runs", "n_done", "runs": [...], "settings": [...]}. NULL: no
 * memory. */
json_t *vt_standing_json(const vt_standing *standing, const vt_sweep *sweep);

#endif
