#include "base/clock.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"
#include "results/json.h"
#include "results/provenance.h"
#include "results/rundir.h"
#include "results/summary.h"
#include "support/fault.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static void run_is_made_and_found_again(void **state)
{
    vt_scratch s = vt_scratch_new();
    vt_rundir run;
    vt_error err = {0};
    char expected[600], results[512];
    (void)state;
    snprintf(results, sizeof results, "%s/results", s.path);
    assert_int_equal(vt_rundir_open(&run, results, "exp", "0123456789ab", false, &err), VT_OK);
    snprintf(expected, sizeof expected, "%s/exp/0123456789ab", results);
    assert_string_equal(run.path, expected);
    assert_false(run.resumed);
    assert_int_equal(vt_rundir_check(&run, &err), VT_OK);
    assert_int_equal(vt_scratch_count(run.fd, ""), 2); /* captures, lock */
    vt_scratch_write(run.fd, ".tmp-1-0-x", "left", 4);
    vt_scratch_write(run.captures_fd, ".tmp-1-0-y", "left", 4);
    vt_rundir_close(&run);
    vt_rundir_close(&run);
    assert_int_equal(vt_rundir_open(&run, results, "exp", "0123456789ab", false, &err), VT_OK);
    assert_true(run.resumed);
    assert_int_equal(vt_scratch_count(run.fd, ""), 2);
    assert_int_equal(vt_scratch_count(run.captures_fd, ""), 0);
    vt_rundir_close(&run);
    run = (vt_rundir){0};
    vt_rundir_close(&run);
    vt_scratch_free(&s);
}

static void bad_names_are_refused_and_make_nothing(void **state)
{
    static const char *const bad[] = {"",     ".",        "..",    "../x", "/tmp/x",    "a/b",
                                      "a b",  "-x",       ".x",    "a\n",  "baselines", "a\x1b[m",
                                      "a\\b", "\xc3\xa9", "a\x7f", "a;b",  "$(x)"};
    vt_scratch s = vt_scratch_new();
    vt_rundir run;
    char longer[300];
    (void)state;
    memset(longer, 'n', sizeof longer);
    for (size_t length = 64; length < 300; length += 65) {
        longer[length] = '\0';
        assert_int_equal(vt_rundir_open(&run, s.path, "exp", longer, false, NULL), VT_ERR_USAGE);
        if (length > 128)
            assert_int_equal(vt_rundir_open(&run, s.path, longer, "1", false, NULL), VT_ERR_USAGE);
        longer[length] = 'n';
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        vt_error err = {0};
        assert_int_equal(vt_rundir_open(&run, s.path, bad[i], "1", false, &err), VT_ERR_USAGE);
        assert_non_null(strstr(err.text, "experiment name '"));
        for (const char *c = err.text; *c; c++)
            assert_true((unsigned char)*c >= ' ' && *c != 0x7f);
        assert_int_equal(vt_rundir_open(&run, s.path, "exp", bad[i], false, NULL), VT_ERR_USAGE);
    }
    assert_int_equal(vt_scratch_count(s.fd, ""), 0);
    vt_scratch_free(&s);
}

static void missing_parent_is_found_at_once(void **state)
{
    vt_scratch s = vt_scratch_new();
    vt_rundir run;
    vt_error err = {0};
    char results[512];
    (void)state;
    snprintf(results, sizeof results, "%s/no/results", s.path);
    assert_int_equal(vt_rundir_open(&run, results, "exp", "1", false, &err), VT_ERR_CANTCREATE);
    assert_non_null(strstr(err.text, results));
    vt_scratch_write(s.fd, "file", "x", 1);
    snprintf(results, sizeof results, "%s/file", s.path);
    assert_int_equal(vt_rundir_open(&run, results, "exp", "1", false, NULL), VT_ERR_CANTCREATE);
    vt_scratch_free(&s);
}

static void read_only_folder_is_found_at_once(void **state)
{
    vt_scratch s = vt_scratch_new();
    vt_rundir run;
    int how;
    (void)state;
    assert_int_equal(vt_rundir_open(&run, s.path, "exp", "1", false, NULL), VT_OK);
    assert_int_equal(fchmod(s.fd, 0755), 0);
    assert_int_equal(fchmod(run.fd, 0555), 0);
    assert_int_equal(fchmod(run.exp_fd, 0555), 0);
    vt_rundir_close(&run);
    pid_t pid = fork();
    if (pid == 0) { /* as someone who is not root, for whom permissions hold */
        if (geteuid() == 0 && setuid(65534) != 0)
            _exit(77);
        vt_error err = {0};
        int wrong = vt_rundir_open(&run, s.path, "exp", "1", false, &err) != VT_ERR_CANTCREATE;
        wrong |= vt_rundir_open(&run, s.path, "exp", "2", false, NULL) != VT_ERR_CANTCREATE;
        wrong |= strstr(err.text, s.path) == NULL;
        _exit(wrong);
    }
    assert_int_equal(waitpid(pid, &how, 0), pid);
    int fd = open(s.path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    fchmodat(fd, "exp", 0755, 0);
    fchmodat(fd, "exp/1", 0755, 0);
    close(fd);
    vt_scratch_free(&s);
    assert_true(WIFEXITED(how));
    if (WEXITSTATUS(how) == 77) {
        print_message("left out: cannot become another user here\n");
        skip();
    }
    assert_int_equal(WEXITSTATUS(how), 0);
}

static void second_one_is_told_who_has_the_run(void **state)
{
    vt_scratch s = vt_scratch_new();
    vt_rundir run, other;
    vt_error err = {0};
    vt_holder holder;
    char pid[320], host[256];
    size_t size, after;
    (void)state;
    gethostname(host, sizeof host);
    snprintf(pid, sizeof pid, "in use by process %d on host %s since 2", (int)getpid(), host);
    assert_int_equal(vt_rundir_open(&run, s.path, "exp", "1", false, &err), VT_OK);
    char *text = vt_scratch_read(run.fd, "lock", &size);
    assert_true(vt_rundir_is_held(run.fd, &holder));
    assert_int_equal(holder.pid, getpid());
    assert_string_equal(holder.host, host);
    assert_true(holder.start_ticks > 0 && strlen(holder.boot_id) == 36);
    assert_int_equal(vt_rundir_open(&other, s.path, "exp", "1", false, &err), VT_ERR_BUSY);
    if (!strstr(err.text, pid))
        fail_msg("'%s' is not in '%s'", pid, err.text);
    assert_int_equal(vt_rundir_open(&other, s.path, "exp", "1", true, NULL), VT_ERR_BUSY);
    vt_rundir_close(&other);
    char *same = vt_scratch_read(run.fd, "lock", &after);
    assert_string_equal(text, same); /* the loser has not touched it */
    assert_int_equal(vt_rundir_open(&other, s.path, "exp", "2", false, &err), VT_OK);
    vt_rundir_close(&other);
    int fd = dup(run.fd);
    vt_rundir_close(&run);
    assert_false(vt_rundir_is_held(fd, NULL));
    assert_int_equal(vt_rundir_open(&run, s.path, "exp", "1", false, NULL), VT_OK);
    vt_rundir_close(&run);
    close(fd);
    vt_free(text);
    vt_free(same);
    vt_scratch_free(&s);
}

static void of_many_started_together_exactly_one_wins(void **state)
{
    enum { STARTERS = 20, ROUNDS = 50 };
    vt_scratch s = vt_scratch_new();
    (void)state;
    for (int round = 0; round < ROUNDS; round++) {
        int start[2], told[2], winners = 0, losers = 0;
        char answer;
        assert_int_equal(pipe2(start, O_CLOEXEC), 0);
        assert_int_equal(pipe2(told, O_CLOEXEC), 0);
        for (int i = 0; i < STARTERS; i++) {
            pid_t pid = fork();
            if (pid == 0) {
                vt_rundir run;
                vt_error err = {0};
                prctl(PR_SET_PDEATHSIG, SIGKILL);
                close(start[1]);
                if (read(start[0], &answer, 1) != 0) /* all go when the parent closes its end */
                    _exit(1);
                /* every second round the run has to be moved aside first */
                vt_status status = vt_rundir_open(&run, s.path, "exp", "1", round % 2, &err);
                answer = status == VT_OK                                            ? 'w'
                         : status == VT_ERR_BUSY && strstr(err.text, "by process ") ? 'l'
                                                                                    : '?';
                if (answer == '?')
                    vt_log_write(VT_LOG_ERROR, "status %d: %s", (int)status, err.text);
                if (write(told[1], &answer, 1) != 1)
                    _exit(1);
                if (answer == 'w')
                    pause(); /* holds the lock until killed */
                _exit(0);
            }
            assert_true(pid > 0);
        }
        close(start[0]);
        close(start[1]);
        close(told[1]);
        for (int i = 0; i < STARTERS && read(told[0], &answer, 1) == 1; i++) {
            winners += answer == 'w';
            losers += answer == 'l';
        }
        close(told[0]);
        vt_holder holder = {0};
        int fd = openat(s.fd, "exp/1", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        assert_true(vt_rundir_is_held(fd, &holder) && holder.pid > 1);
        close(fd);
        kill((pid_t)holder.pid, SIGKILL);
        for (int i = 0; i < STARTERS; i++)
            wait(NULL);
        assert_int_equal(winners, 1);
        assert_int_equal(losers, STARTERS - 1);
    }
    vt_scratch_free(&s);
}

static void lock_of_a_killed_process_is_taken_over(void **state)
{
    vt_scratch s = vt_scratch_new();
    vt_rundir run;
    int ready[2];
    char byte;
    (void)state;
    assert_int_equal(pipe2(ready, O_CLOEXEC), 0);
    pid_t pid = fork();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (vt_rundir_open(&run, s.path, "exp", "1", false, NULL) != VT_OK ||
            write(ready[1], "x", 1) != 1)
            _exit(1);
        pause();
    }
    assert_int_equal(read(ready[0], &byte, 1), 1);
    assert_int_equal(vt_rundir_open(&run, s.path, "exp", "1", false, NULL), VT_ERR_BUSY);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    assert_int_equal(vt_rundir_open(&run, s.path, "exp", "1", false, NULL), VT_OK);
    vt_holder holder;
    assert_true(vt_rundir_is_held(run.fd, &holder));
    assert_int_equal(holder.pid, getpid());
    vt_rundir_close(&run);
    close(ready[0]);
    close(ready[1]);
    vt_scratch_free(&s);
}

static void force_keeps_the_old_run_under_another_name(void **state)
{
    vt_scratch s = vt_scratch_new();
    vt_rundir run;
    size_t size;
    (void)state;
    for (int i = 0; i < 3; i++) {
        char mark = (char)('0' + i);
        assert_int_equal(vt_rundir_open(&run, s.path, "exp", "1", true, NULL), VT_OK);
        assert_false(run.resumed);
        assert_false(vt_fs_exists(run.fd, "mark"));
        assert_int_equal(vt_rundir_check(&run, NULL), VT_OK);
        vt_scratch_write(run.fd, "mark", &mark, 1);
        vt_rundir_close(&run);
    }
    for (int i = 0; i < 3; i++) {
        static const char *const names[] = {"exp/1.old-1", "exp/1.old-2", "exp/1"};
        int fd = openat(s.fd, names[i], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        char *bytes = vt_scratch_read(fd, "mark", &size);
        assert_int_equal(bytes[0], '0' + i);
        vt_free(bytes);
        close(fd);
    }
    vt_scratch_free(&s);
}

static void planted_things_are_refused_without_blocking(void **state)
{
    static const struct {
        const char *folder, *name;
    } places[] = {{".", "exp"}, {"exp", "1"}, {"exp/1", "lock"}, {"exp/1", "captures"}};
    (void)state;
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        for (const char *kind = "lfdsc"; *kind; kind++) {
            vt_scratch s = vt_scratch_new();
            vt_rundir run;
            int fd = -1, elsewhere = -1;
            if (i && *kind == 'd' && i != 2) {
                vt_scratch_free(&s);
                continue; /* a folder is what belongs there */
            }
            assert_int_equal(vt_fs_make_dirs(s.fd, "elsewhere", &elsewhere, NULL), VT_OK);
            if (i)
                assert_int_equal(vt_fs_make_dirs(s.fd, places[i].folder, &fd, NULL), VT_OK);
            else
                fd = dup(s.fd);
            char target[300];
            snprintf(target, sizeof target, "%s/elsewhere", s.path);
            if (!vt_plant(fd, places[i].name, *kind, target))
                print_message("left out: kind '%c' cannot be made here\n", *kind);
            else if (*kind != 'd' || i == 2)
                assert_int_equal(vt_rundir_open(&run, s.path, "exp", "1", false, NULL),
                                 VT_ERR_CANTCREATE);
            assert_int_equal(vt_scratch_count(elsewhere, ""), 0);
            vt_fs_close(&fd);
            vt_fs_close(&elsewhere);
            vt_scratch_free(&s);
        }
    }
}

static void folder_gone_or_replaced_is_noticed(void **state)
{
    (void)state;
    for (int i = 0; i < 4; i++) {
        vt_scratch s = vt_scratch_new();
        vt_rundir run;
        vt_error err = {0};
        assert_int_equal(vt_rundir_open(&run, s.path, "exp", "1", false, NULL), VT_OK);
        if (i == 0)
            assert_int_equal(renameat(s.fd, "exp/1", s.fd, "exp/2"), 0);
        if (i == 1)
            assert_int_equal(renameat(s.fd, "exp", s.fd, "moved"), 0);
        if (i == 2)
            assert_int_equal(unlinkat(run.fd, "lock", 0), 0);
        if (i == 3) {
            unlinkat(run.fd, "lock", 0);
            unlinkat(run.fd, "captures", AT_REMOVEDIR);
            assert_int_equal(unlinkat(s.fd, "exp/1", AT_REMOVEDIR), 0);
            assert_int_equal(vt_fs_publish(run.fd, "file", "x", 1, NULL), VT_ERR_IO);
            assert_int_equal(mkdirat(s.fd, "exp/1", 0777), 0);
        }
        assert_int_equal(vt_rundir_check(&run, &err), VT_ERR_IO);
        assert_non_null(strstr(err.text, s.path));
        vt_rundir_close(&run);
        vt_scratch_free(&s);
    }
}

static void every_failing_call_is_said_and_can_be_tried_again(void **state)
{
    static const int errors[] = {EIO, ENOSPC, EROFS};
    (void)state;
    for (size_t e = 0; e < sizeof errors / sizeof *errors; e++) {
        bool reached = true;
        int failures = 0;
        for (int64_t at = 1; reached; at++) {
            vt_scratch s = vt_scratch_new();
            vt_rundir run;
            vt_error err = {0};
            vt_fault fault = {.op = -1, .at = at, .error = errors[e]};
            vt_fault_start(&fault);
            vt_status status = vt_rundir_open(&run, s.path, "exp", "1", false, &err);
            vt_fault_stop();
            reached = fault.count >= at;
            failures += status != VT_OK;
            assert_true(status == VT_OK || status == VT_ERR_IO || status == VT_ERR_CANTCREATE);
            if (status != VT_OK && !strstr(err.text, s.path))
                fail_msg("the message names no path: %s", err.text);
            vt_rundir_close(&run);
            assert_int_equal(vt_rundir_open(&run, s.path, "exp", "1", false, NULL), VT_OK);
            assert_int_equal(vt_scratch_count(run.fd, ""), 2);
            vt_rundir_close(&run);
            vt_scratch_free(&s);
        }
        assert_true(failures > 10);
    }
}

static json_t *read_json(int dir_fd, const char *name)
{
    json_t *root = NULL;
    vt_error err = {0};
    if (vt_json_read(dir_fd, name, 1 << 20, &root, &err) != VT_OK)
        fail_msg("%s", err.text);
    return root;
}

static void provenance_keeps_one_entry_an_attempt(void **state)
{
    static const double mean[] = {0.5, 0.25};
    static char *argv[] = {"vitrine", "train", "x.yaml"};
    const vt_provenance_file file = {.path = "data.bin", .size_bytes = 3};
    const vt_provenance_library library = {"yaml", "0.2.5", NULL};
    const vt_provenance p = {.argc = 3,
                             .argv = argv,
                             .exp_name = "exp",
                             .seed = 7,
                             .mean = mean,
                             .std = mean,
                             .n_channels = 2,
                             .files = &file,
                             .n_files = 1,
                             .libraries = &library,
                             .n_libraries = 1,
                             .threads = 2,
                             .code_dir = "/"};
    vt_provenance_totals totals;
    vt_scratch s = vt_scratch_new();
    size_t size;
    (void)state;
    setenv("OMP_NUM_THREADS", "3", 1);
    setenv("SECRET_TOKEN", "hush", 1);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(vt_provenance_begin(s.fd, &p, NULL), VT_OK);
        const vt_provenance_outcome outcome = {.state = i ? "done" : "stopped",
                                               .code = i ? VT_OK : VT_ERR_STOPPED,
                                               .step = 10 + i,
                                               .wall_s = 2.5};
        assert_int_equal(vt_provenance_end(s.fd, &outcome, &totals, NULL), VT_OK);
    }
    assert_int_equal(totals.attempts, 2);
    assert_true(totals.wall_s == 5);
    char *text = vt_scratch_read(s.fd, "provenance.json", &size);
    assert_null(strstr(text, "hush"));
    vt_free(text);
    json_t *root = read_json(s.fd, "provenance.json");
    json_t *attempts = json_object_get(root, "attempts");
    assert_int_equal(json_array_size(attempts), 2);
    json_t *first = json_array_get(attempts, 0);
    const char *state_text = NULL, *threads = NULL, *commit = NULL, *loaded = NULL, *binary = NULL;
    int code = 0, seed = 0, affinity = 0;
    assert_int_equal(json_unpack(first,
                                 "{s:s, s:i, s:i, s:{s:s}, s:{s:s}, s:{s:i}, s:{s:s, s:{s:{s:s}}}}",
                                 "state", &state_text, "exit_code", &code, "seed", &seed,
                                 "environment", "OMP_NUM_THREADS", &threads, "git", "commit",
                                 &commit, "host", "affinity", &affinity, "build", "binary_sha256",
                                 &binary, "libraries", "yaml", "loaded", &loaded),
                     0);
    assert_string_equal(state_text, "stopped");
    assert_int_equal(code, 75);
    assert_int_equal(seed, 7);
    assert_string_equal(threads, "3");
    assert_string_equal(commit, "unknown"); /* the root folder is no repository */
    assert_string_equal(loaded, "unknown");
    assert_int_equal(strlen(binary), 64);
    assert_true(affinity >= 1);
    json_decref(root);
    vt_scratch_write(s.fd, "provenance.json", "{\"attempts\": [", 14);
    assert_int_equal(vt_provenance_begin(s.fd, &p, NULL), VT_OK);
    root = read_json(s.fd, "provenance.json");
    assert_int_equal(json_array_size(json_object_get(root, "attempts")), 1);
    json_decref(root);
    vt_scratch_free(&s);
}

static void killed_attempts_end_at_their_last_sign(void **state)
{
    vt_scratch s = vt_scratch_new();
    vt_provenance p = {.code_dir = "/"};
    vt_provenance_totals totals;
    int64_t now = vt_clock_unix_s(), signs[] = {now + 100, now + 200, now - 1000};
    const char *state_text, *start, *end;
    double wall_s;
    (void)state;
    /* The first is killed, so is the second, after its last record. */
    assert_int_equal(vt_provenance_begin(s.fd, &p, NULL), VT_OK);
    p.last_sign_s = signs[0];
    assert_int_equal(vt_provenance_begin(s.fd, &p, NULL), VT_OK);
    vt_provenance_outcome outcome = {.state = "done", .wall_s = -1, .last_sign_s = signs[1]};
    for (int again = 0; again < 2; again++) { /* what is there already stays */
        assert_int_equal(vt_provenance_end(s.fd, &outcome, &totals, NULL), VT_OK);
        outcome.last_sign_s += 50;
    }
    json_t *root = read_json(s.fd, "provenance.json");
    double sum = 0;
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(json_unpack(json_array_get(json_object_get(root, "attempts"), i),
                                     "{s:s, s:s, s:s, s:F}", "state", &state_text, "start_utc",
                                     &start, "end_utc", &end, "wall_s", &wall_s),
                         0);
        assert_string_equal(state_text, i ? "done" : "killed");
        assert_int_equal(vt_clock_parse_utc(end), signs[i]);
        assert_true(wall_s == (double)(signs[i] - vt_clock_parse_utc(start)));
        sum += wall_s;
    }
    assert_int_equal(totals.attempts, 2);
    assert_true(totals.wall_s == sum && sum > 250);
    json_decref(root);
    /* A clock that went backwards makes no negative time. */
    assert_int_equal(vt_provenance_begin(s.fd, &p, NULL), VT_OK);
    p.last_sign_s = signs[2];
    assert_int_equal(vt_provenance_begin(s.fd, &p, NULL), VT_OK);
    outcome.wall_s = 1;
    assert_int_equal(vt_provenance_end(s.fd, &outcome, &totals, NULL), VT_OK);
    assert_int_equal(totals.attempts, 4);
    assert_true(totals.wall_s == sum + 1);
    vt_scratch_free(&s);
}

static bool shell(const char *format, const char *path)
{
    char command[600];
    snprintf(command, sizeof command, format, path);
    return system(command) == 0;
}

static void provenance_records_commit_and_patch(void **state)
{
    vt_scratch s = vt_scratch_new(), run = vt_scratch_new();
    const vt_provenance p = {.code_dir = s.path};
    size_t size;
    (void)state;
    if (!shell("cd %s && export GIT_CONFIG_GLOBAL=/dev/null && git init -q . && echo one >file && "
               "git add file && git -c user.name=x -c user.email=x@x commit -q -m m && "
               "echo two >file && echo >'odd name'",
               s.path)) {
        print_message("left out: no git here\n");
        vt_scratch_free(&s);
        vt_scratch_free(&run);
        skip();
    }
    assert_int_equal(vt_provenance_begin(run.fd, &p, NULL), VT_OK);
    json_t *root = read_json(run.fd, "provenance.json");
    const char *commit = NULL, *untracked = NULL;
    int dirty = 0;
    assert_int_equal(json_unpack(json_array_get(json_object_get(root, "attempts"), 0),
                                 "{s:{s:s, s:b, s:[s]}}", "git", "commit", &commit, "dirty", &dirty,
                                 "untracked", &untracked),
                     0);
    assert_int_equal(strlen(commit), 40);
    assert_true(dirty);
    assert_string_equal(untracked, "odd name");
    char *patch = vt_scratch_read(run.fd, "code.patch", &size);
    assert_non_null(strstr(patch, "-one\n+two\n"));
    vt_free(patch);
    json_decref(root);
    assert_true(shell("cd %s && head -c 3000000 /dev/zero | tr '\\0' x | fold >file", s.path));
    assert_int_equal(vt_provenance_begin(run.fd, &p, NULL), VT_OK);
    vt_free(vt_scratch_read(run.fd, "code.patch", &size));
    assert_int_equal(size, 1 << 20);
    setenv("PATH", "/nonexistent", 1);
    assert_int_equal(vt_provenance_begin(run.fd, &p, NULL), VT_OK);
    root = read_json(run.fd, "provenance.json");
    assert_int_equal(json_unpack(json_array_get(json_object_get(root, "attempts"), 2), "{s:{s:s}}",
                                 "git", "commit", &commit),
                     0);
    assert_string_equal(commit, "unknown");
    json_decref(root);
    vt_scratch_free(&s);
    vt_scratch_free(&run);
}

static void summary_reads_back_unchanged(void **state)
{
    vt_summary summary = {.exp_name = "exp",
                          .seed = -1,
                          .state = "done",
                          .train_loss = 0.1,
                          .train_top1 = NAN,
                          .wall_s = INFINITY,
                          .n_params = 6100000000};
    vt_scratch s = vt_scratch_new();
    size_t size;
    (void)state;
    summary.last[VT_SPLIT_TEST] = (vt_summary_eval){true, 3, 1.0 / 3, 0.5, 1, 0};
    assert_int_equal(vt_summary_write(s.fd, &summary, NULL), VT_OK);
    char *text = vt_scratch_read(s.fd, "summary.json", &size);
    assert_int_equal(text[size - 1], '\n');
    assert_non_null(strstr(text, "\"wall_s\": \"inf\""));
    assert_true(strstr(text, "\"digests\"") < strstr(text, "\"epoch\""));
    json_t *root = read_json(s.fd, "summary.json");
    json_t *metrics = json_object_get(root, "metrics"), *last = json_object_get(metrics, "last");
    assert_true(json_real_value(json_object_get(json_object_get(last, "test"), "loss")) == 1.0 / 3);
    assert_true(json_is_null(json_object_get(last, "val")));
    assert_true(json_is_null(json_object_get(root, "run_id")));
    assert_true(json_integer_value(json_object_get(root, "n_params")) == 6100000000);
    assert_string_equal(
        json_string_value(json_object_get(json_object_get(metrics, "train"), "top1")), "nan");
    json_decref(root);
    vt_free(text);
    vt_scratch_free(&s);
}

int main(void)
{
    vt_log_set_level(VT_LOG_ERROR);
    const struct CMUnitTest tests[] = {
        {"a run is made and found again", run_is_made_and_found_again, NULL, NULL, NULL},
        {"bad names are refused and make nothing", bad_names_are_refused_and_make_nothing, NULL,
         NULL, NULL},
        {"a missing parent is found at once", missing_parent_is_found_at_once, NULL, NULL, NULL},
        {"a read-only folder is found at once", read_only_folder_is_found_at_once, NULL, NULL,
         NULL},
        {"the second one is told who has the run", second_one_is_told_who_has_the_run, NULL, NULL,
         NULL},
        {"of 20 started together exactly one wins, 50 times",
         of_many_started_together_exactly_one_wins, NULL, NULL, NULL},
        {"the lock of a killed process is taken over", lock_of_a_killed_process_is_taken_over, NULL,
         NULL, NULL},
        {"force keeps the old run under another name", force_keeps_the_old_run_under_another_name,
         NULL, NULL, NULL},
        {"links, FIFOs, folders, sockets, devices in the way are refused",
         planted_things_are_refused_without_blocking, NULL, NULL, NULL},
        {"a folder that is gone or replaced is noticed", folder_gone_or_replaced_is_noticed, NULL,
         NULL, NULL},
        {"every failing call is said, and the run opens afterwards",
         every_failing_call_is_said_and_can_be_tried_again, NULL, NULL, NULL},
        {"provenance keeps one entry an attempt and no secrets",
         provenance_keeps_one_entry_an_attempt, NULL, NULL, NULL},
        {"attempts that were killed end at their last sign", killed_attempts_end_at_their_last_sign,
         NULL, NULL, NULL},
        {"provenance records commit and patch", provenance_records_commit_and_patch, NULL, NULL,
         NULL},
        {"the summary reads back unchanged", summary_reads_back_unchanged, NULL, NULL, NULL},
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
