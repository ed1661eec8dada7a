#include "base/clock.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/phase.h"
#include "base/rng.h"
#include "results/checkpoint.h"
#include "results/journal.h"
#include "results/rundir.h"
#include "support/fault.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

enum { WEIGHTS = 300, EPOCH_STEPS = 5, TRAIN_EVERY = 2 };

/* What a life reports while it lasts, in memory that outlives it. */
struct shared {
    _Atomic int64_t acknowledged; /* epochs whose record is on the disk */
    _Atomic int64_t saved;        /* step of the last save that returned */
    _Atomic int64_t step;
    double pause_s; /* added to each step and file call, so that kills can hit them */
};

static void wait_s(double time_s)
{
    for (double start = vt_clock_s(); vt_clock_s() - start < time_s;)
        sched_yield();
}

static int slow_down(void *arg, vt_fs_op op, size_t *size)
{
    const struct shared *shared = arg;
    (void)op;
    (void)size;
    wait_s(shared->pause_s);
    return 0;
}

/* A toy training whose every value depends on all steps before. */
struct toy {
    uint64_t mix;
    double sum; /* since the last training record */
    float weights[WEIGHTS];
    int64_t best_step;
};

static void advance(struct toy *toy, int64_t step)
{
    toy->mix = toy->mix * 6364136223846793005u + (uint64_t)step;
    toy->sum += (double)(toy->mix >> 20);
    for (int i = 0; i < WEIGHTS; i++)
        toy->weights[i] += (float)(toy->mix >> (40 + i % 8));
}

static vt_status save(const struct toy *toy, int dir_fd, int64_t step, bool record,
                      vt_journal *journal, int64_t *best_step, vt_error *err)
{
    const vt_safetensor weights = {
        .name = "weight", .rank = 1, .shape = {WEIGHTS}, .data = toy->weights};
    const vt_checkpoint_int ints[] = {{"mix", (int64_t)toy->mix}};
    const vt_checkpoint_double doubles[] = {{"sum", toy->sum}};
    const vt_checkpoint c = {.step = step,
                             .weights = &weights,
                             .n_weights = 1,
                             .ints = ints,
                             .n_ints = 1,
                             .doubles = doubles,
                             .n_doubles = 1,
                             .journal = journal,
                             .record = record,
                             .epoch = step / EPOCH_STEPS,
                             .best = record && step / EPOCH_STEPS % 3 == 1,
                             .keep = 2};
    return vt_checkpoint_save(dir_fd, &c, best_step, NULL, err);
}

/* Starts or resumes as the trainer does. */
static vt_status resume(struct toy *toy, int dir_fd, int64_t *step, vt_journal **journal,
                        vt_error *err)
{
    static const vt_safetensor want = {.name = "weight", .rank = 1, .shape = {WEIGHTS}};
    vt_checkpoint_file *file = NULL;
    int64_t mix = 0;
    *toy = (struct toy){.best_step = -1};
    *step = 0;
    vt_status status = vt_checkpoint_load_newest(dir_fd, true, &file, err);
    if (status == VT_OK && file) {
        *step = vt_checkpoint_step(file);
        toy->best_step = vt_checkpoint_best_step(file);
        status = vt_checkpoint_copy(vt_checkpoint_weights(file), &want, toy->weights, err);
        if (status == VT_OK)
            status = vt_checkpoint_get_int(file, "mix", &mix, err);
        if (status == VT_OK)
            status = vt_checkpoint_get_double(file, "sum", &toy->sum, err);
        toy->mix = (uint64_t)mix;
    }
    if (status == VT_OK)
        status = vt_journal_open(journal, dir_fd, file ? vt_checkpoint_mark(file) : NULL, err);
    vt_checkpoint_close(file);
    return status;
}

/* One step, with its records, and its saves: one at each epoch's end that every run makes, and some
 * that only a signal would cause. */
static vt_status do_step(struct toy *toy, int dir_fd, int64_t step, vt_journal *journal,
                         struct shared *shared, vt_error *err)
{
    vt_status status = VT_OK;
    advance(toy, step);
    wait_s(shared->pause_s);
    if (step % TRAIN_EVERY == 0) {
        vt_record_train record = {.step = step, .loss = toy->sum};
        toy->sum = 0;
        status = vt_journal_put(journal, VT_RECORD_TRAIN, step, &record, sizeof record, err);
    }
    if (status == VT_OK && step % EPOCH_STEPS == 0) {
        vt_record_epoch record = {
            .step = step, .epoch = step / EPOCH_STEPS, .train_loss = (double)toy->mix};
        status = vt_journal_put(journal, VT_RECORD_EPOCH, step, &record, sizeof record, err);
        if (status == VT_OK)
            status = vt_journal_sync(journal, err);
        if (status == VT_OK && record.epoch > shared->acknowledged)
            shared->acknowledged = record.epoch;
    }
    bool regular = step % EPOCH_STEPS == 0, signalled = step % 7 == 3;
    if (status == VT_OK && (regular || signalled)) {
        status = save(toy, dir_fd, step, regular, journal, &toy->best_step, err);
        if (status == VT_OK && step > shared->saved)
            shared->saved = step;
    }
    shared->step = step;
    return status;
}

/* A whole life of the program, up to step `last`. */
static vt_status live(const char *results, int64_t last, struct shared *shared, vt_error *err)
{
    struct toy toy;
    vt_rundir run;
    vt_journal *journal = NULL;
    int64_t step = 0;
    vt_status status = vt_rundir_open(&run, results, "toy", "1", false, err);
    if (status == VT_OK)
        status = resume(&toy, run.fd, &step, &journal, err);
    while (status == VT_OK && step < last) {
        vt_phase phase = vt_phase_enter(VT_PHASE_STEP);
        status = do_step(&toy, run.fd, ++step, journal, shared, err);
        vt_phase_enter(phase);
    }
    vt_journal_close(journal);
    vt_rundir_close(&run);
    return status;
}

static void live_to_the_end(const char *results, int64_t last, struct shared *shared)
{
    vt_error err = {0};
    if (live(results, last, shared, &err) != VT_OK)
        fail_msg("%s", err.text);
}

static vt_status note_epoch(void *arg, const vt_record *record, vt_error *err)
{
    (void)err;
    if (record->type == VT_RECORD_EPOCH)
        *(int64_t *)arg = ((const vt_record_epoch *)record->payload)->epoch;
    return VT_OK;
}

/* After a death: nothing that was acknowledged is missing. */
static void check_promises(int dir_fd, const struct shared *shared)
{
    vt_checkpoint_file *file = NULL;
    vt_error err = {0};
    if (dir_fd < 0) {
        assert_true(shared->acknowledged == 0);
        return;
    }
    int64_t last_epoch = 0;
    vt_status status = vt_journal_read(dir_fd, note_epoch, &last_epoch, NULL, &err);
    assert_true(status == VT_OK || (status == VT_ERR_NOINPUT && shared->acknowledged == 0));
    assert_true(last_epoch >= shared->acknowledged);
    if (vt_checkpoint_load_newest(dir_fd, false, &file, &err) != VT_OK)
        fail_msg("%s", err.text);
    assert_true((file ? vt_checkpoint_step(file) : 0) >= shared->saved);
    vt_checkpoint_close(file);
}

static int open_run(const vt_scratch *s)
{
    return openat(s->fd, "toy/1", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

static void assert_same_file(int a, int b, const char *name)
{
    size_t size_a, size_b;
    char *bytes_a = vt_scratch_read(a, name, &size_a), *bytes_b = vt_scratch_read(b, name, &size_b);
    assert_int_equal(size_a, size_b);
    assert_memory_equal(bytes_a, bytes_b, size_a);
    vt_free(bytes_a);
    vt_free(bytes_b);
}

/* A run that was killed must end with the same files as one that was not. */
static void assert_like_unbroken(const vt_scratch *killed, int64_t last)
{
    static const char *const names[] = {"journal", "last.safetensors", "best.safetensors"};
    vt_scratch unbroken = vt_scratch_new();
    struct shared shared = {0};
    char name[64];
    live_to_the_end(unbroken.path, last, &shared);
    int a = open_run(killed), b = open_run(&unbroken);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        assert_same_file(a, b, names[i]);
    snprintf(name, sizeof name, "state-%lld.bin", (long long)shared.saved);
    assert_same_file(a, b, name);
    assert_int_equal(vt_scratch_count(a, ""), vt_scratch_count(b, ""));
    assert_int_equal(vt_scratch_count(a, ".tmp"), 0);
    close(a);
    close(b);
    vt_scratch_free(&unbroken);
}

static struct shared *map_shared(void)
{
    struct shared *shared =
        mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(shared != MAP_FAILED);
    return shared;
}

/* Runs a life that dies at its at-th file call. True if it lived that long. */
static bool die_at(const char *results, int64_t last, int64_t at, struct shared *shared)
{
    int how;
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        vt_fault fault = {.op = -1, .at = at};
        vt_error err = {0};
        vt_fault_start(&fault);
        _exit(live(results, last, shared, &err) == VT_OK ? 0 : 1);
    }
    assert_int_equal(waitpid(pid, &how, 0), pid);
    assert_true((WIFSIGNALED(how) && WTERMSIG(how) == SIGKILL) ||
                (WIFEXITED(how) && WEXITSTATUS(how) == 0));
    return WIFSIGNALED(how);
}

static void killed_at_every_call_it_goes_on(void **state)
{
    struct shared *shared = map_shared();
    bool died = true;
    int64_t at = 0;
    (void)state;
    while (died) {
        vt_scratch s = vt_scratch_new();
        *shared = (struct shared){0};
        died = die_at(s.path, 11, ++at, shared);
        int fd = open_run(&s);
        check_promises(fd, shared);
        vt_fs_close(&fd);
        live_to_the_end(s.path, 11, shared);
        if (at % 8 == 0 || !died)
            assert_like_unbroken(&s, 11);
        vt_scratch_free(&s);
    }
    assert_true(at > 100);
    munmap(shared, sizeof *shared);
}

static void killed_again_at_every_call_of_the_recovery_it_goes_on(void **state)
{
    struct shared *shared = map_shared();
    (void)state;
    /* First deaths within the second save of a run, each followed by a death in the recovery. */
    for (int64_t first = 60; first < 110; first += 5) {
        bool died = true;
        for (int64_t second = 1; died && second < 60; second += 3) {
            vt_scratch s = vt_scratch_new();
            *shared = (struct shared){0};
            assert_true(die_at(s.path, 11, first, shared));
            died = die_at(s.path, 11, second, shared);
            int fd = open_run(&s);
            check_promises(fd, shared);
            vt_fs_close(&fd);
            live_to_the_end(s.path, 11, shared);
            if ((first + second) % 8 == 0)
                assert_like_unbroken(&s, 11);
            vt_scratch_free(&s);
        }
    }
    munmap(shared, sizeof *shared);
}

/* Waits until the phase file shows `wanted`, or a while has passed. */
static void aim(const volatile unsigned char *phase, vt_phase wanted)
{
    for (double start = vt_clock_s(); *phase != wanted && vt_clock_s() - start < 0.01;)
        sched_yield();
}

static bool all_hit(const int hits[VT_PHASE_COUNT])
{
    return hits[VT_PHASE_STEP] >= 5 && hits[VT_PHASE_CHECKPOINT] >= 5 &&
           hits[VT_PHASE_JOURNAL] >= 5 && hits[VT_PHASE_RECOVERY] >= 5;
}

/* One life that is killed: at a random moment if `wanted` is OTHER, else in that phase. */
static void live_and_be_killed(const vt_scratch *s, struct shared *shared, const char *phase_path,
                               volatile unsigned char *phase, vt_phase wanted, double delay_s)
{
    int how;
    *phase = VT_PHASE_OTHER;
    int64_t before = shared->step;
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        vt_error err = {0};
        setenv("VITRINE_PHASE_FILE", phase_path, 1);
        vt_phase_init();
        vt_fs_set_hook(slow_down, shared);
        vt_status status = live(s->path, INT64_MAX, shared, &err);
        vt_log_write(VT_LOG_ERROR, "%s", err.text);
        _exit(status);
    }
    if (wanted != VT_PHASE_OTHER && wanted != VT_PHASE_RECOVERY) {
        /* Let it make some way first. */
        for (double start = vt_clock_s(); shared->step == before && vt_clock_s() - start < 0.5;)
            sched_yield();
    }
    if (wanted != VT_PHASE_OTHER)
        aim(phase, wanted);
    wait_s(wanted == VT_PHASE_OTHER ? delay_s : delay_s / 200);
    kill(pid, SIGKILL);
    assert_int_equal(waitpid(pid, &how, 0), pid);
    assert_true(WIFSIGNALED(how) && WTERMSIG(how) == SIGKILL);
}

static void killed_200_times_it_ends_as_if_it_had_not_been(void **state)
{
    static const vt_phase aims[] = {VT_PHASE_OTHER, VT_PHASE_JOURNAL, VT_PHASE_OTHER,
                                    VT_PHASE_STEP,  VT_PHASE_OTHER,   VT_PHASE_CHECKPOINT,
                                    VT_PHASE_OTHER, VT_PHASE_RECOVERY};
    vt_scratch s = vt_scratch_new();
    struct shared *shared = map_shared();
    vt_rng rng = vt_rng_at(1, VT_STREAM_TEST, 0, 0, 0);
    char path[PATH_MAX];
    int hits[VT_PHASE_COUNT] = {0}, kills = 0;
    (void)state;
    shared->pause_s = 3e-5;
    vt_fs_path(s.fd, "phase", path);
    vt_scratch_write(s.fd, "phase", "", 1);
    int phase_fd = openat(s.fd, "phase", O_RDWR | O_CLOEXEC);
    volatile unsigned char *phase = mmap(NULL, 1, PROT_READ | PROT_WRITE, MAP_SHARED, phase_fd, 0);
    assert_true(phase != MAP_FAILED);
    while (kills < 200 || (!all_hit(hits) && kills < 2000)) {
        double delay = 8e-3 * (double)vt_rng_uniform(&rng, (uint64_t)kills);
        live_and_be_killed(&s, shared, path, phase, aims[kills % 8], delay);
        hits[*phase]++;
        kills++;
        int fd = open_run(&s);
        check_promises(fd, shared);
        vt_fs_close(&fd);
    }
    int64_t last = shared->step + 2 * EPOCH_STEPS;
    shared->pause_s = 0;
    live_to_the_end(s.path, last, shared);
    print_message("killed at step %d, checkpoint %d, journal %d, recovery %d, other %d; %d steps\n",
                  hits[VT_PHASE_STEP], hits[VT_PHASE_CHECKPOINT], hits[VT_PHASE_JOURNAL],
                  hits[VT_PHASE_RECOVERY], hits[VT_PHASE_OTHER], (int)last);
    assert_true(all_hit(hits));
    assert_like_unbroken(&s, last);
    munmap((void *)phase, 1);
    close(phase_fd);
    munmap(shared, sizeof *shared);
    vt_scratch_free(&s);
}

static void different_computation_after_a_resume_is_an_internal_error(void **state)
{
    vt_scratch s = vt_scratch_new();
    struct shared shared = {0};
    struct toy toy;
    vt_rundir run;
    vt_journal *journal = NULL;
    vt_error err = {0};
    int64_t step;
    (void)state;
    live_to_the_end(s.path, 9, &shared); /* a save at 5, records up to 8 */
    assert_int_equal(vt_rundir_open(&run, s.path, "toy", "1", false, &err), VT_OK);
    assert_int_equal(resume(&toy, run.fd, &step, &journal, &err), VT_OK);
    assert_int_equal(step, 5);
    toy.mix ^= 1;
    assert_int_equal(do_step(&toy, run.fd, 6, journal, &shared, &err), VT_ERR_INTERNAL);
    assert_non_null(strstr(err.text, "step 6"));
    vt_journal_close(journal);
    vt_rundir_close(&run);
    live_to_the_end(s.path, 20, &shared);
    assert_like_unbroken(&s, 20);
    vt_scratch_free(&s);
}

static void failed_calls_at_any_place_lose_nothing(void **state)
{
    (void)state;
    for (int onwards = 0; onwards < 2; onwards++) {
        bool reached = true;
        for (int64_t at = 1; reached; at += 2) {
            vt_scratch s = vt_scratch_new();
            struct shared shared = {0};
            vt_error err = {0};
            vt_fault fault = {
                .op = -1, .at = at, .onwards = onwards, .error = at % 4 == 1 ? EIO : ENOSPC};
            vt_fault_start(&fault);
            vt_status status = live(s.path, 11, &shared, &err);
            vt_fault_stop();
            reached = fault.count >= at;
            assert_true(status == VT_OK || status == VT_ERR_IO || status == VT_ERR_CANTCREATE);
            int fd = open_run(&s);
            check_promises(fd, &shared);
            vt_fs_close(&fd);
            live_to_the_end(s.path, 11, &shared);
            if (at % 16 == 1)
                assert_like_unbroken(&s, 11);
            vt_scratch_free(&s);
        }
    }
}

int main(void)
{
    vt_log_set_level(VT_LOG_ERROR);
    const struct CMUnitTest tests[] = {
        {"killed at every file call it goes on", killed_at_every_call_it_goes_on, NULL, NULL, NULL},
        {"killed again at every file call of the recovery it goes on",
         killed_again_at_every_call_of_the_recovery_it_goes_on, NULL, NULL, NULL},
        {"killed 200 times it ends as if it had not been",
         killed_200_times_it_ends_as_if_it_had_not_been, NULL, NULL, NULL},
        {"a different computation after a resume is an internal error",
         different_computation_after_a_resume_is_an_internal_error, NULL, NULL, NULL},
        {"failed calls at any place lose nothing", failed_calls_at_any_place_lose_nothing, NULL,
         NULL, NULL},
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
