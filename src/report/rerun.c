#include "report/rerun.h"

#include "base/child.h"
#include "base/log.h"
#include "base/mem.h"
#include "results/json.h"
#include "results/provenance.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PROVENANCE_CAP = 64 << 20, PROGRAM_DIGITS = 12, ARGUMENTS = 24, WHY_SIZE = 400 };

/* Did this program, and no other, make the run? */
static bool is_own(const char *path, const char *program)
{
    vt_error ignored = {0};
    json_t *root = NULL;
    int fd = -1;
    if (vt_fs_open_dir(AT_FDCWD, path, &fd, &ignored) == VT_OK)
        vt_json_read(fd, "provenance.json", PROVENANCE_CAP, &root, &ignored);
    vt_fs_close(&fd);
    const json_t *attempts = json_object_get(root, "attempts");
    bool own = json_array_size(attempts) > 0;
    for (size_t i = 0; i < json_array_size(attempts); i++) {
        const json_t *build = json_object_get(json_array_get(attempts, i), "build");
        const char *sha256 = json_string_value(json_object_get(build, "binary_sha256"));
        own = own && sha256 && strcmp(sha256, program) == 0;
    }
    json_decref(root);
    return own;
}

struct search {
    const vt_baseline *baseline;
    const char *exp_name, *program; /* program NULL: any */
    uint64_t seed;
    bool any_data;
};

typedef enum found { ABSENT, COMPLETE, INCOMPLETE, FOREIGN } found;

/* Looks below one folder of runs. COMPLETE (or DIVERGED in it) fills the outcome. */
static vt_status look(const struct search *s, const char *root, vt_outcome *outcome, found *what,
                      vt_error *err)
{
    const vt_acceptance *base = vt_baseline_current(s->baseline);
    vt_run_list list = {0};
    vt_error ignored = {0};
    *what = ABSENT;
    vt_status status = vt_runs_list(&list, root, &ignored);
    if (status == VT_ERR_NOINPUT)
        status = VT_OK;
    else if (status != VT_OK)
        vt_fail(err, status, "%s", ignored.text);
    for (int i = 0; status == VT_OK && i < list.n && *what != COMPLETE; i++) {
        if (strcmp(list.run[i].exp, s->exp_name) != 0)
            continue;
        status = vt_outcome_read(outcome, &list.run[i], err);
        bool fits = status == VT_OK && strcmp(outcome->exp_id, base->exp_id) == 0 &&
                    outcome->seed == s->seed;
        if (fits && !s->any_data) {
            vt_baseline_run run = vt_baseline_run_of(outcome);
            fits = vt_acceptance_same_data(base, &run);
        }
        if (fits) {
            bool ended = outcome->state == VT_RUN_DONE || outcome->state == VT_RUN_DIVERGED;
            bool own = !s->program || is_own(list.run[i].path, s->program);
            *what = !own ? FOREIGN : ended ? COMPLETE : INCOMPLETE;
        }
        if (*what != COMPLETE)
            vt_outcome_release(outcome);
    }
    vt_runs_release(&list);
    return status;
}

/* What a training says goes to stderr: stdout is the check's own. If this process is ended, the
 * training is asked to stop: it saves and can be continued. */
static vt_status run_process(char **argv, int *code, vt_error *err)
{
    sigset_t mask;
    pid_t pid = 0;
    int how = 0;
    sigprocmask(SIG_SETMASK, NULL, &mask);
    vt_status status = vt_child_start(&pid, argv, STDERR_FILENO, &mask, err);
    if (status != VT_OK)
        return status;
    while (waitpid(pid, &how, 0) < 0 && errno == EINTR)
        ;
    *code = WIFEXITED(how) ? WEXITSTATUS(how) : 128 + WTERMSIG(how);
    return VT_OK;
}

static vt_status train(const vt_rerun *rerun, const vt_baseline *b, const char *root, uint64_t seed,
                       int *code, vt_error *err)
{
    char words[][24] = {"vitrine",    "train",     "--set",   "--seed", "--results",
                        "--data-dir", "--threads", "--quiet", "--"};
    char seed_text[24], threads[24];
    char **argv = vt_calloc((size_t)ARGUMENTS + 2 * (size_t)b->n_set, sizeof *argv);
    int n = 0;
    if (!argv)
        return vt_fail(err, VT_ERR_NOMEM, "no memory to start a run");
    snprintf(seed_text, sizeof seed_text, "%" PRIu64, seed);
    snprintf(threads, sizeof threads, "%" PRId64, rerun->threads);
    argv[n++] = words[0];
    argv[n++] = words[1];
    for (int i = 0; i < b->n_set; i++) {
        argv[n++] = words[2];
        argv[n++] = (char *)b->set[i];
    }
    argv[n++] = words[3];
    argv[n++] = seed_text;
    argv[n++] = words[4];
    argv[n++] = (char *)root;
    if (rerun->data_dir) {
        argv[n++] = words[5];
        argv[n++] = (char *)rerun->data_dir;
    }
    if (rerun->threads >= 0) {
        argv[n++] = words[6];
        argv[n++] = threads;
    }
    if (rerun->quiet)
        argv[n++] = words[7];
    argv[n++] = words[8];
    argv[n++] = (char *)b->experiment;
    vt_status status = run_process(argv, code, err);
    vt_free(argv);
    return status;
}

/* Makes the folder in which a training of this program may live beside another program's. */
static vt_status make_own_root(const char *results, const char *program, char root[PATH_MAX],
                               vt_error *err)
{
    char below[80];
    int results_fd = -1, fd = -1;
    snprintf(below, sizeof below, VT_BASELINE_FOLDER "/runs/%.*s", (int)PROGRAM_DIGITS, program);
    snprintf(root, PATH_MAX, "%s/%s", results, below);
    vt_status status = vt_fs_open_dir(AT_FDCWD, results, &results_fd, err);
    if (status == VT_OK)
        status = vt_fs_make_dirs(results_fd, below, &fd, err);
    vt_fs_close(&fd);
    vt_fs_close(&results_fd);
    return status;
}

vt_status vt_rerun_seed(const vt_rerun *rerun, const vt_baseline *baseline, const char *exp_name,
                        uint64_t seed, vt_outcome *outcome, bool *is_found, char why[WHY_SIZE],
                        vt_error *err)
{
    char program[VT_SHA256_HEX_SIZE], own_root[PATH_MAX];
    const char *root = rerun->results;
    found what = ABSENT;
    int code = 0;
    vt_provenance_program(program);
    struct search search = {.baseline = baseline,
                            .exp_name = exp_name,
                            .program = rerun->any_program ? NULL : program,
                            .seed = seed,
                            .any_data = rerun->look_only};
    *is_found = false;
    snprintf(own_root, sizeof own_root, "%s/" VT_BASELINE_FOLDER "/runs/%.*s", rerun->results,
             (int)PROGRAM_DIGITS, program);
    vt_status status = look(&search, root, outcome, &what, err);
    if (status == VT_OK && what == FOREIGN) {
        root = own_root;
        status = look(&search, root, outcome, &what, err);
        if (status == VT_OK && what == ABSENT && rerun->look_only) {
            snprintf(why, WHY_SIZE,
                     "seed %" PRIu64
                     ": another program made the run in %.150s/%.100s (--any-program takes "
                     "it)",
                     seed, rerun->results, exp_name);
            return VT_OK;
        }
    }
    if (status != VT_OK)
        return status;
    *is_found = what == COMPLETE;
    if (*is_found)
        return VT_OK;
    if (rerun->look_only) {
        snprintf(why, WHY_SIZE, "seed %" PRIu64 ": no %srun in %.200s/%.100s", seed,
                 what == INCOMPLETE ? "complete " : "", root, exp_name);
        return VT_OK;
    }
    if (root == own_root)
        status = make_own_root(rerun->results, program, own_root, err);
    if (!rerun->quiet)
        vt_log_write(VT_LOG_INFO, "%s: %s seed %" PRIu64, baseline->name,
                     what == INCOMPLETE ? "resuming" : "training", seed);
    if (status == VT_OK)
        status = train(rerun, baseline, root, seed, &code, err);
    if (status != VT_OK)
        return status;
    if (code == VT_ERR_STOPPED)
        return vt_fail(err, VT_ERR_STOPPED, "stopped while seed %" PRIu64 " of %s was trained",
                       seed, baseline->name);
    /* What is there now is what these data give, be they the baseline's or not. */
    search.any_data = true;
    search.program = NULL;
    if (code == VT_OK || code == VT_ERR_DIVERGED)
        status = look(&search, root, outcome, &what, err);
    *is_found = status == VT_OK && what == COMPLETE;
    if (status == VT_OK && !*is_found)
        snprintf(why, WHY_SIZE, "seed %" PRIu64 ": 'vitrine train' ended with exit status %d", seed,
                 code);
    return status;
}
