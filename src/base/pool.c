#include "base/pool.h"

#include "base/mem.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <xmmintrin.h>

enum { SPINS = 4000, DEFAULT_MXCSR = 0x1f80 };

struct vt_pool {
    int threads;
    int started; /* worker threads running */
    uint64_t shuffle_seed;
    pthread_t *ids;
    pthread_mutex_t lock;
    pthread_cond_t work_ready, work_done;
    atomic_uint_fast64_t round; /* one more for each grid; odd bit unused */
    atomic_int quit;
    atomic_int busy; /* workers that have not finished this round */
    atomic_int_fast64_t next;
    int sleeping; /* workers waiting on work_ready, under lock */
    /* the grid being run; written before `round` is raised, constant until busy falls to 0 */
    vt_chunk_fn *fn;
    void *arg;
    int64_t items, chunk, n_chunks, stride, offset;
};

struct worker {
    vt_pool *pool;
    int index;
};

static void run_chunks(vt_pool *pool, int worker)
{
    for (;;) {
        int64_t i = atomic_fetch_add(&pool->next, 1);
        if (i >= pool->n_chunks)
            return;
        if (pool->stride != 1 || pool->offset != 0)
            i = (i * pool->stride + pool->offset) % pool->n_chunks;
        int64_t first = i * pool->chunk, last = first + pool->chunk;
        pool->fn(pool->arg, first, last < pool->items ? last : pool->items, worker);
    }
}

static void wait_for_round(vt_pool *pool, uint64_t seen)
{
    for (int spin = 0; spin < SPINS; spin++) {
        if (atomic_load(&pool->round) != seen || atomic_load(&pool->quit))
            return;
        _mm_pause();
    }
    pthread_mutex_lock(&pool->lock);
    while (atomic_load(&pool->round) == seen && !atomic_load(&pool->quit)) {
        pool->sleeping++;
        pthread_cond_wait(&pool->work_ready, &pool->lock);
        pool->sleeping--;
    }
    pthread_mutex_unlock(&pool->lock);
}

static void *work(void *arg)
{
    struct worker *me = arg;
    vt_pool *pool = me->pool;
    int index = me->index;
    uint64_t seen = 0;
    vt_free(me);
    _mm_setcsr(DEFAULT_MXCSR);
    for (;;) {
        wait_for_round(pool, seen);
        if (atomic_load(&pool->quit))
            return NULL;
        seen = atomic_load(&pool->round);
        run_chunks(pool, index);
        if (atomic_fetch_sub(&pool->busy, 1) == 1) {
            pthread_mutex_lock(&pool->lock);
            pthread_cond_signal(&pool->work_done);
            pthread_mutex_unlock(&pool->lock);
        }
    }
}

static int cores_given(void)
{
    cpu_set_t set;
    return sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
}

vt_status vt_pool_new(vt_pool **result, int threads, vt_error *err)
{
    vt_pool *pool = vt_calloc(1, sizeof *pool);
    *result = NULL;
    if (!pool)
        return vt_fail(err, VT_ERR_NOMEM, "no memory for the thread pool");
    _mm_setcsr(DEFAULT_MXCSR);
    pool->threads = threads > 0 ? threads : cores_given();
    if (pool->threads > VT_MAX_THREADS)
        pool->threads = VT_MAX_THREADS;
    pthread_mutex_init(&pool->lock, NULL);
    pthread_cond_init(&pool->work_ready, NULL);
    pthread_cond_init(&pool->work_done, NULL);
    pool->ids = vt_calloc((size_t)pool->threads, sizeof *pool->ids);
    for (int i = 1; pool->ids && i < pool->threads; i++) {
        struct worker *worker = vt_calloc(1, sizeof *worker);
        if (worker)
            *worker = (struct worker){pool, i};
        if (!worker || pthread_create(&pool->ids[i], NULL, work, worker) != 0) {
            vt_free(worker);
            break;
        }
        pool->started = i;
    }
    if (!pool->ids || pool->started != pool->threads - 1) {
        int wanted = pool->threads;
        vt_pool_free(pool);
        return vt_fail(err, VT_ERR_NOMEM, "cannot start %d threads", wanted);
    }
    *result = pool;
    return VT_OK;
}

void vt_pool_free(vt_pool *pool)
{
    if (!pool)
        return;
    pthread_mutex_lock(&pool->lock);
    atomic_store(&pool->quit, 1);
    pthread_cond_broadcast(&pool->work_ready);
    pthread_mutex_unlock(&pool->lock);
    for (int i = 1; i <= pool->started; i++)
        pthread_join(pool->ids[i], NULL);
    pthread_cond_destroy(&pool->work_ready);
    pthread_cond_destroy(&pool->work_done);
    pthread_mutex_destroy(&pool->lock);
    vt_free(pool->ids);
    vt_free(pool);
}

int vt_pool_threads(const vt_pool *pool)
{
    return pool->threads;
}

void vt_pool_shuffle(vt_pool *pool, uint64_t seed)
{
    pool->shuffle_seed = seed;
}

static int64_t common_divisor(int64_t a, int64_t b)
{
    while (b) {
        int64_t rest = a % b;
        a = b;
        b = rest;
    }
    return a;
}

static void lay_out(vt_pool *pool, int64_t items, int64_t chunk, vt_chunk_fn *fn, void *arg)
{
    pool->fn = fn;
    pool->arg = arg;
    pool->items = items;
    pool->chunk = chunk;
    pool->n_chunks = (items + chunk - 1) / chunk;
    pool->stride = 1;
    pool->offset = 0;
    if (pool->shuffle_seed) {
        pool->stride = (int64_t)(pool->shuffle_seed % (uint64_t)pool->n_chunks) + 1;
        while (common_divisor(pool->stride, pool->n_chunks) != 1)
            pool->stride++;
        pool->offset = (int64_t)(pool->shuffle_seed / 7 % (uint64_t)pool->n_chunks);
    }
    atomic_store(&pool->next, 0);
}

static void wake_workers(vt_pool *pool)
{
    atomic_store(&pool->busy, pool->threads - 1);
    pthread_mutex_lock(&pool->lock);
    atomic_fetch_add(&pool->round, 1);
    if (pool->sleeping)
        pthread_cond_broadcast(&pool->work_ready);
    pthread_mutex_unlock(&pool->lock);
}

void vt_grid_start(vt_pool *pool, int64_t items, int64_t chunk, vt_chunk_fn *fn, void *arg)
{
    VT_ASSERT(items > 0 && chunk > 0);
    lay_out(pool, items, chunk, fn, arg);
    if (pool->threads > 1)
        wake_workers(pool);
}

void vt_grid_finish(vt_pool *pool)
{
    run_chunks(pool, 0);
    for (int spin = 0; spin < SPINS; spin++) {
        if (atomic_load(&pool->busy) == 0)
            return;
        _mm_pause();
    }
    pthread_mutex_lock(&pool->lock);
    while (atomic_load(&pool->busy) != 0)
        pthread_cond_wait(&pool->work_done, &pool->lock);
    pthread_mutex_unlock(&pool->lock);
}

void vt_grid_run(vt_pool *pool, int64_t items, int64_t chunk, vt_chunk_fn *fn, void *arg)
{
    VT_ASSERT(chunk > 0);
    if (items <= 0)
        return;
    lay_out(pool, items, chunk, fn, arg);
    if (pool->threads > 1 && pool->n_chunks > 1)
        wake_workers(pool);
    vt_grid_finish(pool);
}
