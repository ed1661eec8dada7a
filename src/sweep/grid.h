/*
 * The words of a sweep: which keys take which values, and which seeds.
 *
 *     optim.lr=1e-3,3e-4           two values
 *     model.depths=[2,6,2],[2,2]   two lists: commas in brackets, braces or quotes do not separate
 *     0..4,7                       six seeds
 */
#ifndef VT_SWEEP_GRID_H
#define VT_SWEEP_GRID_H

#include "base/status.h"
#include "config/store.h"

#include <stdint.h>

enum { VT_GRID_KEYS_MAX = 16, VT_SEEDS_MAX = 1000, VT_SWEEP_RUNS_MAX = 10000 };

/* A key and the texts of its values, as --set takes them. */
typedef struct vt_grid_key {
    const char *key;
    const char **value;
    int n;
} vt_grid_key;

typedef struct vt_grid {
    vt_grid_key key[VT_GRID_KEYS_MAX];
    int n_keys;
    int64_t seed[VT_SEEDS_MAX]; /* in the order given */
    int n_seeds;                /* 0: the experiment's own */
} vt_grid;

/* Adds one `key=value,value...`; texts live in the store. VT_ERR_USAGE says what is wrong with it:
 * no key, an empty value, a bracket or quote that is not closed, a key given before. VT_ERR_NOMEM.
 */
vt_status vt_grid_add(vt_grid *grid, const char *word, vt_store *store, vt_error *err);
/* Adds seeds: numbers and ranges `first..last` (both included), with commas between. VT_ERR_USAGE
 * for other texts, a seed that comes twice, seeds above 2^63-1, more than VT_SEEDS_MAX. */
vt_status vt_grid_add_seeds(vt_grid *grid, const char *word, vt_error *err);

/* Number of settings: the product of the numbers of values; 1 without keys, VT_SWEEP_RUNS_MAX + 1
 * if there are more than that. */
int vt_grid_settings(const vt_grid *grid);
/* Which value key `key` has in setting `i`; the last key changes fastest. */
int vt_grid_choice(const vt_grid *grid, int i, int key);

#endif
