/*
 * A pool of threads that computes chunks of a fixed work grid.
 *
 * The grid (how many chunks, where they begin) is a function of shapes alone; threads only decide
 * who computes a chunk and when, so results do not depend on their number. A chunk function must
 * write only what belongs to its chunk.
 */
#ifndef VT_BASE_POOL_H
#define VT_BASE_POOL_H

#include "base/status.h"

#include <stdint.h>

typedef struct vt_pool vt_pool;

/* Work on items [first, last). `worker` is in [0, threads) and no two calls that run at the same
 * time share it: use it to pick scratch memory, never to decide what is computed. */
typedef void vt_chunk_fn(void *arg, int64_t first, int64_t last, int worker);

enum { VT_MAX_THREADS = 256 };

/* `threads` >= 1, the caller's own thread included; 0 takes all cores given to the process.
 * Every worker starts with round-to-nearest and denormals kept (MXCSR 0x1f80). */
vt_status vt_pool_new(vt_pool **pool, int threads, vt_error *err);
void vt_pool_free(vt_pool *pool);
int vt_pool_threads(const vt_pool *pool);

/* Tests: take the chunks in an order derived from `seed`; 0 is ascending order. */
void vt_pool_shuffle(vt_pool *pool, uint64_t seed);

/* Runs fn over [0, items) in chunks of `chunk` items (the last may be smaller); returns when all
 * are done. Not reentrant: a chunk function must not call it. */
void vt_grid_run(vt_pool *pool, int64_t items, int64_t chunk, vt_chunk_fn *fn, void *arg);

/* The same in two halves: the pool's own threads begin, the caller goes on with other work and
 * comes back to help with what is left. One grid at a time; `arg` lives until the second half is
 * done. A pool of one thread computes nothing before it. */
void vt_grid_start(vt_pool *pool, int64_t items, int64_t chunk, vt_chunk_fn *fn, void *arg);
void vt_grid_finish(vt_pool *pool);

#endif
