#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/phase.h"
#include "support/fault.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static void names_follow_a_strict_alphabet(void **state)
{
    char longest[VT_NAME_MAX + 2];
    (void)state;
    static const char *const good[] = {"a", "_", "7", "w-10.safetensors", "A.b_c-D"};
    static const char *const bad[] = {"",     ".",   "..",   "a/b",   "/",        "-a",
                                      ".tmp", "a b", "a\nb", "a\x01", "\xc3\xa9", "a\\b",
                                      "a:b",  "~",   "a*",   "$x",    "a\x7f",    "@"};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        assert_true(vt_fs_name_ok(good[i]));
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_false(vt_fs_name_ok(bad[i]));
    memset(longest, 'n', sizeof longest);
    longest[VT_NAME_MAX + 1] = '\0';
    assert_false(vt_fs_name_ok(longest));
    longest[VT_NAME_MAX] = '\0';
    assert_true(vt_fs_name_ok(longest));
}

struct trace {
    vt_fs_op ops[32];
    int n;
};

static int note(void *arg, vt_fs_op op, size_t *size)
{
    struct trace *trace = arg;
    (void)size;
    VT_ASSERT(trace->n < 32);
    trace->ops[trace->n++] = op;
    return 0;
}

static void file_is_synced_before_and_folder_after_the_rename(void **state)
{
    static const vt_fs_op expected[] = {VT_FS_OPEN,  VT_FS_RESERVE, VT_FS_WRITE, VT_FS_FSYNC,
                                        VT_FS_CLOSE, VT_FS_RENAME,  VT_FS_OPEN,  VT_FS_FSYNC};
    vt_scratch s = vt_scratch_new();
    struct trace trace = {.n = 0};
    (void)state;
    vt_fs_set_hook(note, &trace);
    assert_int_equal(vt_fs_publish(s.fd, "file", "text", 4, NULL), VT_OK);
    vt_fs_set_hook(NULL, NULL);
    assert_int_equal(trace.n, sizeof expected / sizeof *expected);
    assert_memory_equal(trace.ops, expected, sizeof expected);
    vt_scratch_free(&s);
}

static void publishing_replaces_the_whole_file(void **state)
{
    vt_scratch s = vt_scratch_new();
    size_t size;
    (void)state;
    assert_int_equal(vt_fs_publish(s.fd, "file", "a longer text", 13, NULL), VT_OK);
    assert_int_equal(vt_fs_publish(s.fd, "file", "short", 5, NULL), VT_OK);
    char *bytes = vt_scratch_read(s.fd, "file", &size);
    assert_int_equal(size, 5);
    assert_string_equal(bytes, "short");
    assert_int_equal(vt_fs_publish(s.fd, "file", "", 0, NULL), VT_OK);
    vt_free(bytes);
    vt_free(vt_scratch_read(s.fd, "file", &size));
    assert_int_equal(size, 0);
    assert_int_equal(vt_scratch_count(s.fd, ""), 1);
    vt_scratch_free(&s);
}

static void every_failing_call_keeps_the_old_file(void **state)
{
    static const int errors[] = {EIO, ENOSPC, EDQUOT, EROFS, ESTALE};
    (void)state;
    for (size_t e = 0; e < sizeof errors / sizeof *errors; e++) {
        for (int at = 1; at <= 8; at++) {
            vt_scratch s = vt_scratch_new();
            vt_error err = {0};
            size_t size;
            vt_fault fault = {.op = -1, .at = at, .error = errors[e]};
            assert_int_equal(vt_fs_publish(s.fd, "file", "old", 3, NULL), VT_OK);
            vt_fault_start(&fault);
            assert_int_equal(vt_fs_publish(s.fd, "file", "new!", 4, &err), VT_ERR_IO);
            vt_fault_stop();
            assert_non_null(strstr(err.text, s.path));
            assert_int_equal(vt_scratch_count(s.fd, ""), 1);
            char *bytes = vt_scratch_read(s.fd, "file", &size);
            assert_string_equal(bytes, at <= 6 ? "old" : "new!");
            vt_free(bytes);
            vt_scratch_free(&s);
        }
    }
}

static void full_disk_names_path_needed_and_free_bytes(void **state)
{
    vt_scratch s = vt_scratch_new();
    vt_error err = {0};
    char needed[64];
    char *bytes = vt_calloc(123456, 1);
    vt_fault fault = {.op = VT_FS_RESERVE, .at = 1, .error = ENOSPC};
    (void)state;
    vt_fault_start(&fault);
    assert_int_equal(vt_fs_publish(s.fd, "file", bytes, 123456, &err), VT_ERR_IO);
    vt_fault_stop();
    snprintf(needed, sizeof needed, "/file: %s: 123456 bytes needed, ", strerror(ENOSPC));
    assert_non_null(strstr(err.text, s.path));
    assert_non_null(strstr(err.text, needed));
    assert_non_null(strstr(err.text, " bytes free"));
    vt_free(bytes);
    vt_scratch_free(&s);
}

static void pieces_give_the_hash_and_the_seal(void **state)
{
    vt_scratch s = vt_scratch_new();
    vt_fs_writer writer = {0};
    uint8_t sha256[VT_SHA256_SIZE], expected[VT_SHA256_SIZE];
    size_t size;
    (void)state;
    vt_sha256_of("hello world", 11, expected);
    for (int sealed = 0; sealed < 2; sealed++) {
        assert_int_equal(vt_fs_begin(&writer, s.fd, "file", -1, NULL), VT_OK);
        assert_int_equal(vt_fs_write(&writer, "hello ", 6, NULL), VT_OK);
        assert_int_equal(vt_fs_write(&writer, "world", 5, NULL), VT_OK);
        if (sealed)
            assert_int_equal(vt_fs_seal(&writer, NULL), VT_OK);
        assert_int_equal(vt_fs_commit(&writer, sha256, NULL), VT_OK);
        assert_memory_equal(sha256, expected, sizeof sha256);
        char *bytes = vt_scratch_read(s.fd, "file", &size);
        assert_int_equal(size, sealed ? 11 + VT_SHA256_SIZE : 11);
        assert_memory_equal(bytes, "hello world", 11);
        if (sealed)
            assert_memory_equal(bytes + 11, expected, VT_SHA256_SIZE);
        vt_free(bytes);
        vt_fs_abort(&writer);
    }
    assert_int_equal(vt_fs_begin(&writer, s.fd, "other", 100, NULL), VT_OK);
    vt_fs_abort(&writer);
    assert_int_equal(vt_scratch_count(s.fd, ""), 1);
    assert_int_equal(vt_fs_hash_file(s.fd, "file", sha256, NULL), VT_OK);
    vt_scratch_free(&s);
}

static void planted_things_are_not_replaced(void **state)
{
    vt_scratch s = vt_scratch_new();
    vt_error err = {0};
    size_t size;
    (void)state;
    vt_scratch_write(s.fd, "victim", "x", 1);
    for (const char *kind = "lfdsc"; *kind; kind++) {
        if (!vt_plant(s.fd, "file", *kind, "victim")) {
            print_message("left out: kind '%c' cannot be made here\n", *kind);
            continue;
        }
        char *bytes = NULL;
        assert_int_equal(vt_fs_publish(s.fd, "file", "new", 3, &err), VT_ERR_IO);
        assert_int_equal(vt_fs_link(s.fd, "victim", "file", NULL), VT_ERR_IO);
        assert_int_equal(vt_fs_read_file(s.fd, "file", 100, &bytes, &size, NULL), VT_ERR_DATA);
        assert_null(bytes);
        assert_int_equal(unlinkat(s.fd, "file", *kind == 'd' ? AT_REMOVEDIR : 0), 0);
    }
    assert_non_null(strstr(err.text, "expected a regular file, found"));
    assert_int_equal(vt_scratch_count(s.fd, ""), 1);
    char *bytes = vt_scratch_read(s.fd, "victim", &size);
    assert_string_equal(bytes, "x");
    vt_free(bytes);
    vt_scratch_free(&s);
}

static void planted_temporary_name_is_not_followed(void **state)
{
    vt_scratch s = vt_scratch_new();
    char temp[64];
    size_t size;
    (void)state;
    vt_scratch_write(s.fd, "victim", "x", 1);
    snprintf(temp, sizeof temp, ".tmp-%d-0-file", (int)getpid());
    assert_true(vt_plant(s.fd, temp, 'l', "victim"));
    assert_int_equal(vt_fs_publish(s.fd, "file", "new", 3, NULL), VT_OK);
    char *bytes = vt_scratch_read(s.fd, "victim", &size);
    assert_string_equal(bytes, "x");
    vt_free(bytes);
    assert_int_equal(vt_fs_clean_temps(s.fd, NULL), VT_OK);
    assert_int_equal(vt_scratch_count(s.fd, ""), 2);
    vt_scratch_free(&s);
}

static void link_is_a_second_name_set_at_once(void **state)
{
    vt_scratch s = vt_scratch_new();
    struct stat a, b;
    (void)state;
    vt_scratch_write(s.fd, "one", "1", 1);
    vt_scratch_write(s.fd, "two", "2", 1);
    for (int i = 0; i < 4; i++) {
        const char *target = i / 2 ? "two" : "one"; /* each twice: again changes nothing */
        assert_int_equal(vt_fs_link(s.fd, target, "last", NULL), VT_OK);
        fstatat(s.fd, target, &a, 0);
        fstatat(s.fd, "last", &b, 0);
        assert_true(a.st_ino == b.st_ino);
        assert_int_equal(vt_scratch_count(s.fd, ""), 3);
    }
    assert_int_equal(vt_fs_link(s.fd, "three", "last", NULL), VT_ERR_IO);
    assert_int_equal(vt_fs_remove(s.fd, "last", NULL), VT_OK);
    assert_int_equal(vt_fs_remove(s.fd, "last", NULL), VT_OK);
    vt_scratch_free(&s);
}

static void reading_has_a_cap_and_tries_an_error_once_more(void **state)
{
    vt_scratch s = vt_scratch_new();
    vt_fault once = {.op = VT_FS_READ, .at = 1, .error = EIO};
    vt_fault always = {.op = VT_FS_READ, .at = 1, .onwards = true, .error = EIO};
    char *bytes = NULL;
    size_t size;
    (void)state;
    vt_scratch_write(s.fd, "file", "12345", 5);
    assert_int_equal(vt_fs_read_file(s.fd, "file", 4, &bytes, &size, NULL), VT_ERR_DATA);
    assert_int_equal(vt_fs_read_file(s.fd, "none", 4, &bytes, &size, NULL), VT_ERR_NOINPUT);
    vt_fault_start(&once);
    assert_int_equal(vt_fs_read_file(s.fd, "file", 5, &bytes, &size, NULL), VT_OK);
    assert_string_equal(bytes, "12345");
    vt_free(bytes);
    vt_fault_start(&always);
    assert_int_equal(vt_fs_read_file(s.fd, "file", 5, &bytes, &size, NULL), VT_ERR_IO);
    assert_int_equal(always.count, 2);
    vt_fault_stop();
    vt_scratch_free(&s);
}

static void folders_are_made_below_and_links_refused(void **state)
{
    static const char *const bad[] = {"",   "..",   "../x", "/tmp",   "a//b",  "a/../b",
                                      "a/", ".git", "link", "link/x", "file/x"};
    vt_scratch s = vt_scratch_new();
    int fd = -1, again = -1;
    char path[PATH_MAX], expected[512];
    (void)state;
    assert_int_equal(vt_fs_make_dirs(s.fd, "a/b/c", &fd, NULL), VT_OK);
    assert_int_equal(vt_fs_make_dirs(s.fd, "a/b/c", &again, NULL), VT_OK);
    vt_fs_path(fd, "name", path);
    snprintf(expected, sizeof expected, "%s/a/b/c/name", s.path);
    assert_string_equal(path, expected);
    vt_fs_close(&fd);
    vt_fs_close(&again);
    vt_scratch_write(s.fd, "file", "x", 1);
    assert_true(vt_plant(s.fd, "link", 'l', "a"));
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(vt_fs_make_dirs(s.fd, bad[i], &fd, NULL), VT_ERR_CANTCREATE);
        assert_int_equal(fd, -1);
    }
    assert_int_equal(vt_scratch_count(s.fd, ""), 3);
    vt_scratch_free(&s);
}

static void probe_tells_refusal_from_failure(void **state)
{
    static const struct {
        int error;
        vt_status status;
    } cases[] = {{EROFS, VT_ERR_CANTCREATE},
                 {EACCES, VT_ERR_CANTCREATE},
                 {ENOSPC, VT_ERR_IO},
                 {EIO, VT_ERR_IO}};
    vt_scratch s = vt_scratch_new();
    (void)state;
    assert_int_equal(vt_fs_probe(s.fd, NULL), VT_OK);
    assert_int_equal(vt_scratch_count(s.fd, ""), 0);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        for (int at = 1; at <= 6; at++) {
            vt_fault fault = {.op = -1, .at = at, .error = cases[i].error};
            vt_error err = {0};
            vt_fault_start(&fault);
            assert_int_equal(vt_fs_probe(s.fd, &err), cases[i].status);
            vt_fault_stop();
            assert_non_null(strstr(err.text, s.path));
            assert_int_equal(vt_scratch_count(s.fd, ""), at == 6);
            assert_int_equal(vt_fs_clean_temps(s.fd, NULL), VT_OK);
        }
    }
    int gone = -1;
    assert_int_equal(vt_fs_make_dirs(s.fd, "gone", &gone, NULL), VT_OK);
    assert_int_equal(unlinkat(s.fd, "gone", AT_REMOVEDIR), 0);
    assert_int_equal(vt_fs_probe(gone, NULL), VT_ERR_CANTCREATE);
    vt_fs_close(&gone);
    vt_scratch_free(&s);
}

static void phase_can_be_read_after_the_death(void **state)
{
    vt_scratch s = vt_scratch_new();
    char path[PATH_MAX];
    size_t size;
    int how;
    (void)state;
    assert_int_equal(vt_phase_enter(VT_PHASE_STEP), VT_PHASE_OTHER); /* not mapped: nothing */
    assert_int_equal(vt_phase_enter(VT_PHASE_OTHER), VT_PHASE_OTHER);
    vt_fs_path(s.fd, "phase", path);
    pid_t pid = fork();
    if (pid == 0) {
        setenv("VITRINE_PHASE_FILE", path, 1);
        vt_phase_init();
        vt_phase before = vt_phase_enter(VT_PHASE_STEP);
        vt_phase step = vt_phase_enter(VT_PHASE_CHECKPOINT);
        _exit(before == VT_PHASE_OTHER && step == VT_PHASE_STEP ? 0 : 1);
    }
    assert_int_equal(waitpid(pid, &how, 0), pid);
    assert_int_equal(how, 0);
    char *bytes = vt_scratch_read(s.fd, "phase", &size);
    assert_int_equal(size, 1);
    assert_int_equal(bytes[0], VT_PHASE_CHECKPOINT);
    vt_free(bytes);
    vt_scratch_free(&s);
}

int main(void)
{
    vt_log_set_level(VT_LOG_ERROR);
    const struct CMUnitTest tests[] = {
        {"names follow a strict alphabet", names_follow_a_strict_alphabet, NULL, NULL, NULL},
        {"a file is synced before the rename and its folder after it",
         file_is_synced_before_and_folder_after_the_rename, NULL, NULL, NULL},
        {"publishing replaces the whole file", publishing_replaces_the_whole_file, NULL, NULL,
         NULL},
        {"every failing call keeps the old file", every_failing_call_keeps_the_old_file, NULL, NULL,
         NULL},
        {"a full disk names path, needed and free bytes",
         full_disk_names_path_needed_and_free_bytes, NULL, NULL, NULL},
        {"a file in pieces has its hash and seal", pieces_give_the_hash_and_the_seal, NULL, NULL,
         NULL},
        {"links, FIFOs, folders, sockets, devices are not replaced",
         planted_things_are_not_replaced, NULL, NULL, NULL},
        {"a planted temporary name is not followed", planted_temporary_name_is_not_followed, NULL,
         NULL, NULL},
        {"a link is a second name, set at once", link_is_a_second_name_set_at_once, NULL, NULL,
         NULL},
        {"reading has a cap, and an error is tried once more",
         reading_has_a_cap_and_tries_an_error_once_more, NULL, NULL, NULL},
        {"folders are made below the given one, through no link",
         folders_are_made_below_and_links_refused, NULL, NULL, NULL},
        {"the probe tells refusal from failure", probe_tells_refusal_from_failure, NULL, NULL,
         NULL},
        {"the phase can be read after the death", phase_can_be_read_after_the_death, NULL, NULL,
         NULL},
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
