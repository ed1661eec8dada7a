/*
 * Kills whole trainings again and again, in chosen phases, and wants the result of an unbroken one.
 *
 * VITRINE_KILLS=N asks for N kills instead of 100. Under a sanitizer a life takes many times as
 * long, so there are fewer, and none is owed to a phase.
 */
#include "base/phase.h"
#include "results/history.h"
#include "results/json.h"
#include "support/fault.h"

#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#if defined __SANITIZE_ADDRESS__ || defined __SANITIZE_THREAD__
enum { KILLS = 12, OWED = 0 };
#else
enum { KILLS = 100, OWED = 5 };
#endif

/* A head for 200 classes makes large confusion matrices, so that a kill can hit a journal append
 * even where the disk is memory. */
enum { EPOCHS = 12 };
static const char experiment[] =
    "model: { family: vit, patch: 16, dim: 16, depth: 1, heads: 2, mlp_ratio: 1, drop: 0.1,\n"
    "         classes: 200 }\n"
    "data: { name: shapes, limit_train: 72, limit_test: 40, val: 20 }\n"
    "train: { epochs: 12, batch: 16, select: val }\n"
    "schedule: { name: plateau, patience: 0 }\n"
    "log: { every: 2 }\n"
    "attention: { images: 3, epochs: all }\n"
    "checkpoint: { every: 2 steps }\n";

/* Changes of phase, about four epochs of them, after which a life has been long enough. */
enum { CHANGES_MAX = 80 };

/* A moment to kill at: the `times`th entry into a phase, or a little later. */
struct moment {
    vt_phase phase;
    int times;
    long later_us;
};

struct test {
    vt_scratch scratch;
    const char *vitrine;
    char yaml[320], phase_file[320], output[320];
    volatile unsigned char *phase;
    uint64_t random;
    int turn, kills, hits[VT_PHASE_COUNT], dumps;
    bool can_dump;
    /* of the unbroken run */
    char *journal;
    size_t journal_size;
    vt_scratch reference;
};

static uint64_t draw(struct test *t, uint64_t n)
{
    t->random = t->random * 6364136223846793005u + 1442695040888963407u;
    return (t->random >> 33) % n;
}

static void rest_us(long time_us)
{
    nanosleep(&(struct timespec){.tv_nsec = 1000 * time_us}, NULL);
}

/* A life of the program, as a process group of its own. */
static pid_t start(struct test *t, const char *results)
{
    *t->phase = VT_PHASE_OTHER;
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid > 0)
        return pid;
    setpgid(0, 0);
    int out = open(t->output, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    dup2(out, STDOUT_FILENO);
    dup2(out, STDERR_FILENO);
    setenv("VITRINE_PHASE_FILE", t->phase_file, 1);
    execl(t->vitrine, t->vitrine, "train", t->yaml, "--results", results, "--threads", "2", NULL);
    _exit(127);
}

static void show_output(const struct test *t)
{
    char line[512];
    FILE *file = fopen(t->output, "r");
    while (file && fgets(line, sizeof line, file))
        print_message("# | %s", line);
    if (file)
        fclose(file);
}

/* Every process of the group, adopted children of children too, is gone when this returns. */
static void reap_all(pid_t group)
{
    kill(-group, SIGKILL);
    while (waitpid(-1, NULL, 0) > 0)
        ;
}

/* Phases are taken in turn. Later entries into one lie behind the last checkpoint, so the run moves
 * on. */
static struct moment choose(struct test *t, int epochs)
{
    static const struct {
        vt_phase phase;
        uint64_t most_times;
    } turns[] = {
        {VT_PHASE_STEP, 10},      {VT_PHASE_CHECKPOINT, 8}, {VT_PHASE_JOURNAL, 10},
        {VT_PHASE_RECOVERY, 1},   {VT_PHASE_EVAL, 4},       {VT_PHASE_PUBLISH, 7},
        {VT_PHASE_CHECKPOINT, 8}, {VT_PHASE_JOURNAL, 10},   {VT_PHASE_RECOVERY, 1},
    };
    size_t turn = (size_t)t->turn++ % (sizeof turns / sizeof *turns);
    struct moment m = {turns[turn].phase, 1 + (int)draw(t, turns[turn].most_times),
                       (long)draw(t, 200)};
    if (draw(t, 2))
        m.later_us = 0;
    else if (m.phase == VT_PHASE_RECOVERY) /* reads the whole journal */
        m.later_us *= 20;
    if (epochs == EPOCHS) { /* nothing else is left to hit */
        m.phase = VT_PHASE_PUBLISH;
        m.times = 1 + (int)draw(t, 3);
    }
    return m;
}

/* Lives up to the moment and kills. True if the program ended before; it must then have ended well.
 */
static bool live(struct test *t, const char *results, struct moment m)
{
    pid_t pid = start(t, results);
    vt_phase before = VT_PHASE_OTHER;
    int status, changes = 0;
    for (;;) {
        vt_phase now = (vt_phase)*t->phase;
        bool entered = now != before;
        changes += entered;
        before = now;
        if (entered && now == m.phase && --m.times == 0)
            break;
        /* The moment was missed, on a busy machine: another will do. */
        bool started = m.phase == VT_PHASE_RECOVERY && now == VT_PHASE_STEP;
        if (m.phase != VT_PHASE_COUNT && (started || changes > CHANGES_MAX))
            break;
        if (waitpid(pid, &status, WNOHANG) == pid) {
            reap_all(pid);
            if (!WIFEXITED(status) || WEXITSTATUS(status) != VT_OK)
                show_output(t);
            assert_true(WIFEXITED(status));
            assert_int_equal(WEXITSTATUS(status), VT_OK);
            return true;
        }
        if (now == VT_PHASE_OTHER && m.phase != VT_PHASE_RECOVERY)
            rest_us(20); /* the start is long, and there is nothing to hit in it */
        else
            sched_yield();
    }
    if (m.later_us)
        rest_us(m.later_us);
    kill(-pid, SIGKILL);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    reap_all(pid);
    if (WIFEXITED(status)) {
        assert_int_equal(WEXITSTATUS(status), VT_OK);
        return true;
    }
    assert_int_equal(WTERMSIG(status), SIGKILL);
    t->kills++;
    t->hits[*t->phase]++;
    return false;
}

/* The one run below results/kill; -1 if there is none yet. */
static int open_run(const char *results)
{
    char path[512];
    int run = -1;
    snprintf(path, sizeof path, "%s/kill", results);
    DIR *dir = opendir(path);
    struct dirent *entry;
    while (dir && (entry = readdir(dir)))
        if (entry->d_name[0] != '.') {
            assert_int_equal(run, -1);
            run = openat(dirfd(dir), entry->d_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        }
    if (dir)
        closedir(dir);
    return run;
}

static vt_status count_epochs(void *arg, const vt_record *record, vt_error *err)
{
    (void)err;
    *(int *)arg += record->type == VT_RECORD_EPOCH;
    return VT_OK;
}

static int printed_epochs(const struct test *t)
{
    char line[512];
    int last = 0, epoch;
    FILE *file = fopen(t->output, "r");
    while (file && fgets(line, sizeof line, file))
        if (sscanf(line, "Epoch [%d/", &epoch) == 1)
            last = epoch;
    if (file)
        fclose(file);
    return last;
}

/* run.h5 must be there whole or not at all. */
static void check_view(struct test *t, int run)
{
    char path[PATH_MAX], command[PATH_MAX + 400];
    if (!t->can_dump || !vt_fs_exists(run, "run.h5"))
        return;
    vt_fs_path(run, "run.h5", path);
    snprintf(command, sizeof command, "h5dump -H '%s' >'%s.h5dump' 2>&1", path, t->output);
    assert_int_equal(system(command), 0);
    t->dumps++;
}

/* After a death: the journal is the beginning of the unbroken run's but for a torn tail, and holds
 * every epoch that was told, now or at any time before. Returns how many it holds. */
static int check_death(struct test *t, const char *results, int acknowledged)
{
    int run = open_run(results), epochs = 0;
    size_t size = 0;
    if (run < 0 || !vt_fs_exists(run, "journal")) {
        assert_int_equal(acknowledged, 0);
        return 0;
    }
    vt_error err = {0};
    char *bytes = vt_scratch_read(run, "journal", &size);
    /* What a kill cut short inside a record still agrees up to there. */
    assert_true(size <= t->journal_size);
    assert_memory_equal(bytes, t->journal, size);
    free(bytes);
    assert_int_equal(vt_journal_read(run, count_epochs, &epochs, NULL, &err), VT_OK);
    assert_true(epochs >= acknowledged);
    assert_true(epochs >= printed_epochs(t));
    check_view(t, run);
    close(run);
    return epochs;
}

/* Names and bytes of the results in two folders. What tells of time, host or commit is skipped, its
 * name is not. */
static void compare_folders(int a, int b)
{
    int fd = openat(a, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fdopendir(fd);
    struct dirent *entry;
    int n = 0;
    assert_non_null(dir);
    while ((entry = readdir(dir))) {
        const char *name = entry->d_name;
        uint8_t sha256[2][VT_SHA256_SIZE];
        vt_error err = {0};
        if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0 || strcmp(name, "code.patch") == 0)
            continue;
        n++;
        if (!vt_fs_exists(b, name))
            print_message("# only one of the runs has %s\n", name);
        assert_true(vt_fs_exists(b, name));
        if (strcmp(name, "captures") == 0 || strcmp(name, "lock") == 0 ||
            strcmp(name, "perf.jsonl") == 0 || strcmp(name, "provenance.json") == 0 ||
            strcmp(name, "summary.json") == 0 || strcmp(name, "run.h5") == 0 ||
            strcmp(name, "log.txt") == 0)
            continue;
        assert_int_equal(vt_fs_hash_file(a, name, sha256[0], &err), VT_OK);
        assert_int_equal(vt_fs_hash_file(b, name, sha256[1], &err), VT_OK);
        if (memcmp(sha256[0], sha256[1], VT_SHA256_SIZE) != 0)
            print_message("# %s differs\n", name);
        assert_memory_equal(sha256[0], sha256[1], VT_SHA256_SIZE);
    }
    assert_true(n > 0);
    closedir(dir);
}

static void compare_both_ways(int a, int b)
{
    compare_folders(a, b);
    compare_folders(b, a);
}

/* After a good end: nothing differs from the unbroken run, nothing is left over. */
static void check_end(struct test *t, const char *results)
{
    int run = open_run(results), reference = open_run(t->reference.path);
    int captures = openat(run, "captures", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int expected = openat(reference, "captures", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    json_t *summary = NULL;
    vt_error err = {0};
    assert_true(captures >= 0 && expected >= 0);
    compare_both_ways(reference, run);
    compare_both_ways(expected, captures);
    assert_int_equal(vt_json_read(run, "summary.json", 1 << 20, &summary, &err), VT_OK);
    assert_string_equal(json_string_value(json_object_get(summary, "state")), "done");
    json_decref(summary);
    check_view(t, run);
    close(captures);
    close(expected);
    close(run);
    close(reference);
}

static bool owed(const struct test *t)
{
    static const vt_phase all[] = {VT_PHASE_STEP, VT_PHASE_CHECKPOINT, VT_PHASE_JOURNAL,
                                   VT_PHASE_PUBLISH, VT_PHASE_RECOVERY};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (t->hits[all[i]] < OWED)
            return true;
    return false;
}

static void report(const struct test *t, int runs)
{
    static const char *const names[] = {
#define X(name) #name,
        VT_PHASE_LIST(X)
#undef X
    };
    print_message("# %d kills over %d runs; run.h5 opened %d times%s; kills in", t->kills, runs,
                  t->dumps, t->can_dump ? "" : " (there is no h5dump)");
    for (int i = 0; i < VT_PHASE_COUNT; i++)
        print_message(" %s %d", names[i], t->hits[i]);
    print_message("\n");
}

static void killed_runs_end_like_the_unbroken_one(void **state)
{
    struct test *t = *state;
    const char *asked = getenv("VITRINE_KILLS");
    int kills = asked ? atoi(asked) : KILLS, runs = 0;
    const struct moment never = {VT_PHASE_COUNT, 1, 0};
    char results[320];

    assert_true(live(t, t->reference.path, never));
    int reference = open_run(t->reference.path);
    assert_true(reference >= 0);
    t->journal = vt_scratch_read(reference, "journal", &t->journal_size);
    close(reference);

    /* A phase that cannot be hit ends the test after three times the kills that were asked for. */
    while ((t->kills < kills || owed(t)) && t->kills < 3 * kills) {
        int epochs = 0;
        snprintf(results, sizeof results, "%s/run-%d", t->scratch.path, runs++);
        for (bool done = false; !done;) {
            bool more = t->kills < kills || owed(t);
            done = live(t, results, more ? choose(t, epochs) : never);
            epochs = check_death(t, results, epochs);
        }
        check_end(t, results);
    }
    report(t, runs);
    assert_true(t->kills >= kills);
    assert_false(owed(t));
}

static int set_up(void **state)
{
    static struct test t; /* cmocka passes it on */
    t.scratch = vt_scratch_new();
    t.reference = vt_scratch_new();
    t.vitrine = getenv("VITRINE") ? getenv("VITRINE") : "./vitrine";
    t.random = 20240607;
    t.can_dump = system("h5dump --version >/dev/null 2>&1") == 0;
    snprintf(t.yaml, sizeof t.yaml, "%s/kill.yaml", t.scratch.path);
    snprintf(t.phase_file, sizeof t.phase_file, "%s/phase", t.scratch.path);
    snprintf(t.output, sizeof t.output, "%s/output", t.scratch.path);
    vt_scratch_write(t.scratch.fd, "kill.yaml", experiment, sizeof experiment - 1);
    vt_scratch_write(t.scratch.fd, "phase", "", 1);
    int fd = open(t.phase_file, O_RDWR | O_CLOEXEC);
    t.phase = mmap(NULL, 1, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    prctl(PR_SET_CHILD_SUBREAPER, 1); /* what the killed leave behind is ours to wait for */
    prctl(PR_SET_TIMERSLACK, 1000);
    *state = &t;
    return t.phase == MAP_FAILED;
}

static int tear_down(void **state)
{
    struct test *t = *state;
    free(t->journal);
    vt_scratch_free(&t->scratch);
    vt_scratch_free(&t->reference);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        {"killed in every phase, whole runs end as if they had not been",
         killed_runs_end_like_the_unbroken_one, set_up, tear_down, NULL},
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
