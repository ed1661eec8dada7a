#include "sweep/jobs.h"

#include "base/child.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "sweep/live.h"
#include "sweep/standing.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

struct pool {
    vt_sweep *sweep;
    const vt_jobs *jobs;
    int *code;
    vt_live live;
    vt_live_run *slot; /* (at_once); run -1: free */
    pid_t *pid;        /* (at_once) */
    int next, n_running;
    bool stop, asked; /* nothing more is started; ... because a signal said so */
    sigset_t waited, before;
};

int vt_jobs_cores(void)
{
    cpu_set_t set;
    return sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
}

static int threads_of(const vt_jobs *jobs, int slot)
{
    int cores = vt_jobs_cores();
    int share = cores / jobs->at_once + (slot < cores % jobs->at_once);
    return jobs->threads ? jobs->threads : share ? share : 1;
}

static vt_status start_process(struct pool *pool, int run, int slot, vt_error *err)
{
    const vt_jobs *jobs = pool->jobs;
    char name[64], path[PATH_MAX];
    int threads = threads_of(jobs, slot);
    char **argv = vt_sweep_command(pool->sweep, run, jobs->results, jobs->data_dir, threads);
    if (!argv)
        return vt_fail(err, VT_ERR_NOMEM, "no memory to start a run");
    snprintf(name, sizeof name, "run-%d.log", run);
    vt_fs_path(jobs->dir_fd, name, path);
    int log_fd = openat(jobs->dir_fd, name,
                        O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0666);
    if (log_fd < 0)
        return vt_fail(err, VT_ERR_CANTCREATE, "%s: %s", path, strerror(errno));
    vt_status status = vt_child_start(&pool->pid[slot], argv, log_fd, &pool->before, err);
    vt_fs_close(&log_fd);
    if (status != VT_OK)
        return status;
    pool->slot[slot] = (vt_live_run){.run = run, .started_s = vt_clock_s()};
    pool->n_running++;
    vt_live_say(&pool->live, run, "started with %d thread%s; its output: %s", threads,
                threads == 1 ? "" : "s", path);
    return VT_OK;
}

/* What there is to say of a run that ended, or was not started. */
static void tell_end(struct pool *pool, int run, double seconds)
{
    int code = pool->code[run];
    char word[100];
    snprintf(word, sizeof word, "%s", code == VT_ERR_BUSY ? "held by another process" : "");
    if (code == VT_OK || code == VT_ERR_STOPPED)
        snprintf(word, sizeof word, "%s", code == VT_OK ? "done" : "stopped, to be continued");
    else if (!*word)
        snprintf(word, sizeof word, "FAILED with exit code %d: see run-%d.log", code, run);
    vt_outcome outcome;
    char result[100] = "", after[40] = "";
    if (vt_standing_read(pool->sweep, run, pool->jobs->results, &outcome, NULL) == VT_OK &&
        code == VT_OK && outcome.last[VT_SPLIT_TEST].known)
        snprintf(result, sizeof result, "  test top1 %.2f %%",
                 100 * outcome.last[VT_SPLIT_TEST].top1);
    vt_outcome_release(&outcome);
    if (seconds >= 0)
        snprintf(after, sizeof after, "  after %.0f s", seconds);
    vt_live_say(&pool->live, run, "%s%s%s", word, result, after);
}

/* Settles a run that needs no process. */
static bool settle(struct pool *pool, int run)
{
    vt_outcome outcome;
    bool known = vt_standing_read(pool->sweep, run, pool->jobs->results, &outcome, NULL) == VT_OK;
    vt_run_state state = outcome.state;
    vt_outcome_release(&outcome);
    if (!known || (state != VT_RUN_DONE && state != VT_RUN_RUNNING))
        return false;
    pool->code[run] = state == VT_RUN_DONE ? VT_OK : VT_ERR_BUSY;
    tell_end(pool, run, -1);
    return true;
}

static vt_status start_some(struct pool *pool, vt_error *err)
{
    vt_status status = VT_OK;
    for (int slot = 0; slot < pool->jobs->at_once; slot++) {
        while (status == VT_OK && !pool->stop && pool->slot[slot].run < 0 &&
               pool->next < pool->sweep->n_runs) {
            int run = pool->next++;
            if (!settle(pool, run))
                status = start_process(pool, run, slot, err);
        }
    }
    return status;
}

static void stop_all(struct pool *pool)
{
    pool->stop = true;
    for (int slot = 0; slot < pool->jobs->at_once; slot++)
        if (pool->slot[slot].run >= 0)
            kill(pool->pid[slot], SIGTERM);
}

static bool is_failure(int code)
{
    return code != VT_OK && code != VT_ERR_STOPPED && code != VT_ERR_BUSY;
}

static void collect(struct pool *pool)
{
    for (int slot = 0; slot < pool->jobs->at_once; slot++) {
        int run = pool->slot[slot].run;
        int code = run < 0 ? -1 : vt_child_ended(pool->pid[slot]);
        if (code < 0)
            continue;
        pool->code[run] = code;
        double seconds = vt_clock_s() - pool->slot[slot].started_s;
        pool->slot[slot].run = -1;
        pool->n_running--;
        tell_end(pool, run, seconds);
        if (pool->jobs->fail_fast && is_failure(pool->code[run]) && !pool->stop)
            stop_all(pool);
    }
}

static void await_something(struct pool *pool)
{
    const struct timespec second = {.tv_sec = 1};
    int signal_number = sigtimedwait(&pool->waited, NULL, &second);
    if (signal_number < 0 || signal_number == SIGCHLD || pool->asked)
        return;
    pool->asked = true;
    if (!pool->stop)
        stop_all(pool);
    vt_live_clear(&pool->live);
    vt_log_write(VT_LOG_INFO, "stopping: %d run%s to save first", pool->n_running,
                 pool->n_running == 1 ? " has" : "s have");
}

static vt_status judge(const struct pool *pool, vt_error *err)
{
    int done = 0, n = pool->sweep->n_runs, first = -1;
    for (int i = 0; i < n; i++) {
        done += pool->code[i] == VT_OK;
        if (first < 0 && pool->code[i] > 0 && pool->code[i] != VT_ERR_STOPPED)
            first = i;
    }
    if (done == n)
        return VT_OK;
    if (pool->asked || first < 0)
        return vt_fail(err, VT_ERR_STOPPED, "stopped: %d of %d runs are done", done, n);
    char label[300];
    vt_sweep_label(pool->sweep, first, label, sizeof label);
    return vt_fail(err, (vt_status)pool->code[first],
                   "%d of %d runs are done; the first that is not: row %d (%s), exit code %d", done,
                   n, first, label, pool->code[first]);
}

vt_status vt_jobs_run(vt_sweep *sweep, const vt_jobs *jobs, int *code, vt_error *err)
{
    struct pool pool = {.sweep = sweep, .jobs = jobs, .code = code};
    size_t n = (size_t)jobs->at_once;
    vt_status status = VT_OK;
    pool.slot = vt_calloc(n, sizeof *pool.slot);
    pool.pid = vt_calloc(n, sizeof *pool.pid);
    if (!pool.slot || !pool.pid)
        status = vt_fail(err, VT_ERR_NOMEM, "no memory for the runs' processes");
    for (size_t i = 0; status == VT_OK && i < n; i++)
        pool.slot[i].run = -1;
    for (int i = 0; i < sweep->n_runs; i++)
        code[i] = -1;
    vt_live_init(&pool.live, sweep, jobs->results, jobs->quiet, jobs->live);
    vt_child_take_signals(&pool.waited, &pool.before);
    while (status == VT_OK || pool.n_running > 0) {
        vt_status started = pool.stop ? VT_OK : start_some(&pool, err);
        if (started != VT_OK) {
            status = started;
            stop_all(&pool);
        }
        if (pool.n_running == 0)
            break;
        vt_live_draw(&pool.live, pool.slot, jobs->at_once, code);
        await_something(&pool);
        collect(&pool);
    }
    vt_live_clear(&pool.live);
    vt_free(pool.slot);
    vt_free(pool.pid);
    return status == VT_OK ? judge(&pool, err) : status;
}
