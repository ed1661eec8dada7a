#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"
#include "results/checkpoint.h"
#include "support/fault.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static const uint64_t odd_nan = 0x7ff8dead0000beef;

/* Saves a small checkpoint whose content is a function of (step, variant). `room` floats are the
 * weights' second tensor. */
static vt_status save_sized(int dir_fd, int64_t step, int variant, int64_t *best, bool is_best,
                            int room, vt_error *err)
{
    vt_status status;
    float bias[3] = {(float)step, 2, 3}, moments[4] = {(float)(step + variant), 1, 2, 3};
    float *weight = vt_calloc((size_t)room, sizeof *weight);
    for (int i = 0; i < room; i++)
        weight[i] = (float)(step * 1000 + i);
    const vt_safetensor weights[] = {
        {.name = "head.bias", .rank = 1, .shape = {3}, .data = bias},
        {.name = "head.weight", .rank = 1, .shape = {room}, .data = weight}};
    const vt_safetensor state[] = {{.name = "adam.m", .rank = 2, .shape = {2, 2}, .data = moments}};
    double nan_bits;
    memcpy(&nan_bits, &odd_nan, sizeof nan_bits);
    const vt_checkpoint_int ints[] = {{"epoch", step / 10}, {"lowest", INT64_MIN}};
    const vt_checkpoint_double doubles[] = {{"loss", 0.1 * (double)step}, {"nan", nan_bits}};
    const vt_checkpoint_string strings[] = {{"exp_id", "abc \"\xc3\xa9\"\n"}};
    const vt_checkpoint c = {.step = step,
                             .weights = weights,
                             .n_weights = 2,
                             .state = state,
                             .n_state = 1,
                             .ints = ints,
                             .n_ints = 2,
                             .doubles = doubles,
                             .n_doubles = 2,
                             .strings = strings,
                             .n_strings = 1,
                             .best = is_best,
                             .keep = 2};
    status = vt_checkpoint_save(dir_fd, &c, best, NULL, err);
    vt_free(weight);
    return status;
}

static vt_status save(int dir_fd, int64_t step, int64_t *best, bool is_best, vt_error *err)
{
    return save_sized(dir_fd, step, 0, best, is_best, 2, err);
}

/* Loads; returns the step (-1: none) after checking that the content is that step's. */
static int64_t load(int dir_fd, bool repair, vt_status expected)
{
    vt_checkpoint_file *file = NULL;
    vt_error err = {0};
    float bias[3], m[4];
    int64_t epoch;
    vt_status status = vt_checkpoint_load_newest(dir_fd, repair, &file, &err);
    if (status != expected)
        fail_msg("status %d, expected %d: %s", (int)status, (int)expected, err.text);
    if (!file)
        return -1;
    int64_t step = vt_checkpoint_step(file);
    const vt_safetensor want_bias = {.name = "head.bias", .rank = 1, .shape = {3}};
    const vt_safetensor want_m = {.name = "adam.m", .rank = 2, .shape = {2, 2}};
    assert_int_equal(vt_checkpoint_copy(vt_checkpoint_weights(file), &want_bias, bias, &err),
                     VT_OK);
    assert_int_equal(vt_checkpoint_copy(vt_checkpoint_state(file), &want_m, m, &err), VT_OK);
    assert_int_equal(vt_checkpoint_get_int(file, "epoch", &epoch, &err), VT_OK);
    assert_true(bias[0] == (float)step && m[0] == (float)step && epoch == step / 10);
    vt_checkpoint_close(file);
    return step;
}

static bool same_file(int dir_fd, const char *a, const char *b)
{
    struct stat x, y;
    return fstatat(dir_fd, a, &x, 0) == 0 && fstatat(dir_fd, b, &y, 0) == 0 && x.st_ino == y.st_ino;
}

static void what_is_saved_comes_back_bit_for_bit(void **state)
{
    vt_scratch s = vt_scratch_new();
    vt_checkpoint_file *file = NULL;
    int64_t best = -1, number;
    double value;
    uint64_t bits;
    const char *text;
    (void)state;
    assert_int_equal(load(s.fd, true, VT_OK), -1);
    assert_int_equal(save(s.fd, 0, &best, false, NULL), VT_OK);
    assert_int_equal(load(s.fd, true, VT_OK), 0);
    assert_int_equal(save(s.fd, 123, &best, true, NULL), VT_OK);
    assert_int_equal(best, 123);
    assert_int_equal(load(s.fd, true, VT_OK), 123);
    assert_int_equal(vt_checkpoint_load_newest(s.fd, false, &file, NULL), VT_OK);
    assert_int_equal(vt_checkpoint_best_step(file), 123);
    assert_null(vt_checkpoint_mark(file));
    assert_int_equal(vt_checkpoint_get_int(file, "lowest", &number, NULL), VT_OK);
    assert_true(number == INT64_MIN);
    assert_int_equal(vt_checkpoint_get_double(file, "loss", &value, NULL), VT_OK);
    assert_true(value == 0.1 * 123);
    assert_int_equal(vt_checkpoint_get_double(file, "nan", &value, NULL), VT_OK);
    memcpy(&bits, &value, sizeof bits);
    assert_true(bits == odd_nan);
    assert_int_equal(vt_checkpoint_get_string(file, "exp_id", &text, NULL), VT_OK);
    assert_string_equal(text, "abc \"\xc3\xa9\"\n");
    assert_int_equal(vt_checkpoint_get_int(file, "loss", &number, NULL), VT_ERR_DATA);
    assert_int_equal(vt_checkpoint_get_double(file, "other", &value, NULL), VT_ERR_DATA);
    assert_int_equal(vt_checkpoint_get_string(file, "other", &text, NULL), VT_ERR_DATA);
    float room[8];
    const vt_safetensor wrong[] = {
        {.name = "head.bias", .rank = 1, .shape = {4}},
        {.name = "head.bias", .rank = 2, .shape = {3, 1}},
        {.name = "head.bias", .type = VT_SAFETENSORS_I32, .rank = 1, .shape = {3}},
        {.name = "head.bios", .rank = 1, .shape = {3}}};
    for (int i = 0; i < 4; i++)
        assert_int_equal(vt_checkpoint_copy(vt_checkpoint_weights(file), &wrong[i], room, NULL),
                         VT_ERR_DATA);
    vt_checkpoint_close(file);
    vt_scratch_free(&s);
}

static void weights_hash_depends_on_the_weights_alone(void **state)
{
    vt_scratch a = vt_scratch_new(), b = vt_scratch_new();
    vt_checkpoint_file *file_a = NULL, *file_b = NULL;
    uint8_t sha256[VT_SHA256_SIZE];
    int64_t best = -1;
    (void)state;
    assert_int_equal(save_sized(a.fd, 7, 0, &best, false, 2, NULL), VT_OK);
    assert_int_equal(save_sized(b.fd, 7, 1, &best, true, 2, NULL), VT_OK);
    assert_int_equal(vt_checkpoint_load_newest(a.fd, false, &file_a, NULL), VT_OK);
    assert_int_equal(vt_checkpoint_load_newest(b.fd, false, &file_b, NULL), VT_OK);
    assert_memory_equal(vt_checkpoint_weights_sha256(file_a), vt_checkpoint_weights_sha256(file_b),
                        VT_SHA256_SIZE);
    assert_int_equal(vt_fs_hash_file(a.fd, "last.safetensors", sha256, NULL), VT_OK);
    assert_memory_equal(vt_checkpoint_weights_sha256(file_a), sha256, sizeof sha256);
    vt_checkpoint_close(file_a);
    vt_checkpoint_close(file_b);
    vt_scratch_free(&a);
    vt_scratch_free(&b);
}

static void links_follow_and_old_checkpoints_go(void **state)
{
    vt_scratch s = vt_scratch_new();
    int64_t best = -1;
    (void)state;
    vt_scratch_write(s.fd, "w-5.safetensors.txt", "mine", 4);
    for (int64_t step = 10; step <= 60; step += 10)
        assert_int_equal(save(s.fd, step, &best, step == 20 || step == 30, NULL), VT_OK);
    assert_true(same_file(s.fd, "last.safetensors", "w-60.safetensors"));
    assert_true(same_file(s.fd, "best.safetensors", "w-30.safetensors"));
    assert_true(vt_fs_exists(s.fd, "state-60.bin") && vt_fs_exists(s.fd, "state-50.bin"));
    assert_true(vt_fs_exists(s.fd, "w-50.safetensors"));
    assert_true(vt_fs_exists(s.fd, "w-5.safetensors.txt"));
    assert_int_equal(vt_scratch_count(s.fd, "state-"), 2);
    assert_int_equal(vt_scratch_count(s.fd, ""), 8);
    assert_int_equal(save(s.fd, 70, &best, true, NULL), VT_OK);
    assert_true(same_file(s.fd, "best.safetensors", "w-70.safetensors"));
    /* state-60 still names 30 as the best: it must be there if 70 turns out to be damaged */
    assert_true(vt_fs_exists(s.fd, "w-30.safetensors"));
    assert_int_equal(unlinkat(s.fd, "state-70.bin", 0), 0);
    assert_int_equal(load(s.fd, true, VT_OK), 60);
    assert_true(same_file(s.fd, "best.safetensors", "w-30.safetensors"));
    assert_true(same_file(s.fd, "last.safetensors", "w-60.safetensors"));
    assert_false(vt_fs_exists(s.fd, "w-70.safetensors"));
    best = 30;
    assert_int_equal(save(s.fd, 70, &best, false, NULL), VT_OK);
    assert_int_equal(save(s.fd, 80, &best, true, NULL), VT_OK);
    assert_int_equal(save(s.fd, 90, &best, false, NULL), VT_OK);
    assert_false(vt_fs_exists(s.fd, "w-30.safetensors"));
    vt_scratch_free(&s);
}

static void damaged_newer_checkpoints_go_at_the_next_save(void **state)
{
    vt_scratch s = vt_scratch_new();
    int64_t best = -1;
    (void)state;
    assert_int_equal(save(s.fd, 10, &best, false, NULL), VT_OK);
    assert_int_equal(save(s.fd, 17, &best, false, NULL), VT_OK);
    vt_scratch_write(s.fd, "state-17.bin", "damaged", 7);
    assert_int_equal(load(s.fd, true, VT_OK), 10);
    assert_true(vt_fs_exists(s.fd, "state-17.bin"));
    assert_int_equal(save(s.fd, 15, &best, false, NULL), VT_OK);
    assert_false(vt_fs_exists(s.fd, "state-17.bin"));
    assert_false(vt_fs_exists(s.fd, "w-17.safetensors"));
    assert_int_equal(load(s.fd, true, VT_OK), 15);
    vt_scratch_free(&s);
}

static void files_cut_at_any_length_fall_back(void **state)
{
    static const char *const names[] = {"state-20.bin", "w-20.safetensors"};
    vt_scratch s = vt_scratch_new();
    int64_t best = -1;
    (void)state;
    assert_int_equal(save(s.fd, 10, &best, false, NULL), VT_OK);
    assert_int_equal(save(s.fd, 20, &best, false, NULL), VT_OK);
    for (int i = 0; i < 2; i++) {
        size_t size;
        char *bytes = vt_scratch_read(s.fd, names[i], &size);
        for (size_t length = 0; length < size; length++) {
            vt_scratch_write(s.fd, names[i], bytes, length);
            assert_int_equal(load(s.fd, false, VT_OK), 10);
        }
        char *longer = vt_calloc(size + 1, 1);
        memcpy(longer, bytes, size);
        vt_scratch_write(s.fd, names[i], longer, size + 1);
        assert_int_equal(load(s.fd, false, VT_OK), 10);
        vt_scratch_write(s.fd, names[i], bytes, size);
        assert_int_equal(load(s.fd, false, VT_OK), 20);
        vt_free(longer);
        vt_free(bytes);
    }
    vt_scratch_free(&s);
}

static void every_flipped_bit_falls_back(void **state)
{
    static const char *const names[] = {"state-20.bin", "w-20.safetensors"};
    vt_scratch s = vt_scratch_new();
    int64_t best = -1;
    (void)state;
    assert_int_equal(save(s.fd, 10, &best, false, NULL), VT_OK);
    assert_int_equal(save(s.fd, 20, &best, false, NULL), VT_OK);
    for (int i = 0; i < 2; i++) {
        size_t size;
        char *bytes = vt_scratch_read(s.fd, names[i], &size);
        for (size_t bit = 0; bit < 8 * size; bit++) {
            bytes[bit / 8] ^= (char)(1 << bit % 8);
            vt_scratch_write(s.fd, names[i], bytes, size);
            assert_int_equal(load(s.fd, false, VT_OK), 10);
            bytes[bit / 8] ^= (char)(1 << bit % 8);
        }
        vt_scratch_write(s.fd, names[i], bytes, size);
        vt_free(bytes);
    }
    assert_int_equal(load(s.fd, false, VT_OK), 20);
    vt_scratch_free(&s);
}

static void without_a_good_one_it_says_so(void **state)
{
    vt_scratch s = vt_scratch_new();
    vt_checkpoint_file *file = NULL;
    vt_error err = {0};
    int64_t best = -1;
    (void)state;
    assert_int_equal(save(s.fd, 10, &best, false, NULL), VT_OK);
    assert_int_equal(unlinkat(s.fd, "w-10.safetensors", 0), 0);
    assert_int_equal(vt_checkpoint_load_newest(s.fd, true, &file, &err), VT_ERR_DATA);
    assert_null(file);
    assert_non_null(strstr(err.text, "none of its 1 checkpoints is good"));
    vt_scratch_free(&s);
}

static void planted_things_fall_back(void **state)
{
    static const char *const names[] = {"state-20.bin", "w-20.safetensors", "last.safetensors",
                                        "best.safetensors"};
    (void)state;
    for (int i = 0; i < 4; i++) {
        for (const char *kind = "lfdsc"; *kind; kind++) {
            vt_scratch s = vt_scratch_new();
            int64_t best = -1;
            assert_int_equal(save(s.fd, 10, &best, true, NULL), VT_OK);
            assert_int_equal(save(s.fd, 20, &best, true, NULL), VT_OK);
            assert_int_equal(unlinkat(s.fd, names[i], 0), 0);
            if (vt_plant(s.fd, names[i], *kind, "w-10.safetensors")) {
                assert_int_equal(load(s.fd, false, VT_OK), i < 2 ? 10 : 20);
                assert_int_equal(save(s.fd, 20, &best, true, NULL), VT_ERR_IO);
                assert_int_equal(vt_scratch_count(s.fd, ".tmp"), 0);
            } else {
                print_message("left out: kind '%c' cannot be made here\n", *kind);
            }
            vt_scratch_free(&s);
        }
    }
}

static void short_and_interrupted_transfers_are_invisible(void **state)
{
    static const char *const names[] = {"state-10.bin", "w-10.safetensors"};
    vt_scratch a = vt_scratch_new(), b = vt_scratch_new();
    int64_t best = -1;
    (void)state;
    assert_int_equal(save(a.fd, 10, &best, false, NULL), VT_OK);
    for (size_t transfer = 1; transfer <= 7; transfer++) {
        vt_fault fault = {.op = -1, .transfer = transfer, .interrupt = true};
        vt_fault_start(&fault);
        assert_int_equal(save(b.fd, 10, &best, false, NULL), VT_OK);
        assert_int_equal(load(b.fd, true, VT_OK), 10);
        vt_fault_stop();
        for (int i = 0; i < 2; i++) {
            size_t size_a, size_b;
            char *bytes_a = vt_scratch_read(a.fd, names[i], &size_a);
            char *bytes_b = vt_scratch_read(b.fd, names[i], &size_b);
            assert_int_equal(size_a, size_b);
            assert_memory_equal(bytes_a, bytes_b, size_a);
            vt_free(bytes_a);
            vt_free(bytes_b);
        }
    }
    vt_scratch_free(&a);
    vt_scratch_free(&b);
}

/* After a save of step 20 over a good step 10 that may have failed: is everything well? */
static void check_after_failure(int dir_fd, vt_status status, const char *text)
{
    int64_t best = 10;
    int64_t step = load(dir_fd, true, VT_OK);
    assert_int_equal(vt_fs_clean_temps(dir_fd, NULL), VT_OK);
    assert_true(step == 20 || (status != VT_OK && step == 10));
    if (status != VT_OK && !strstr(text, "/"))
        fail_msg("the message names no path: %s", text);
    assert_int_equal(save(dir_fd, 20, &best, false, NULL), VT_OK);
    assert_int_equal(load(dir_fd, true, VT_OK), 20);
    assert_true(same_file(dir_fd, "last.safetensors", "w-20.safetensors"));
    assert_true(same_file(dir_fd, "best.safetensors", "w-10.safetensors"));
    assert_int_equal(vt_scratch_count(dir_fd, ""), 6);
}

static void every_failing_call_leaves_a_good_checkpoint(void **state)
{
    static const int errors[] = {EIO, ENOSPC};
    (void)state;
    for (int mode = 0; mode < 4; mode++) {
        bool reached = true;
        int failures = 0;
        for (int64_t at = 1; reached; at++) {
            vt_scratch s = vt_scratch_new();
            vt_error err = {0};
            int64_t best = -1;
            vt_fault fault = {.op = -1, .at = at, .onwards = mode % 2, .error = errors[mode / 2]};
            assert_int_equal(save(s.fd, 10, &best, true, NULL), VT_OK);
            vt_fault_start(&fault);
            vt_status status = save(s.fd, 20, &best, false, &err);
            vt_fault_stop();
            reached = fault.count >= at;
            failures += status != VT_OK;
            assert_true(status == VT_OK || (reached && status == VT_ERR_IO));
            check_after_failure(s.fd, status, err.text);
            vt_scratch_free(&s);
        }
        assert_true(failures > 20);
    }
}

static void failed_sync_or_close_is_never_renamed(void **state)
{
    static const vt_fs_op ops[] = {VT_FS_FSYNC, VT_FS_CLOSE};
    (void)state;
    for (int i = 0; i < 2; i++) {
        vt_scratch s = vt_scratch_new();
        vt_fault fault = {.op = (int)ops[i], .at = 1, .error = EIO};
        vt_fault_start(&fault);
        assert_int_equal(vt_fs_publish(s.fd, "file", "x", 1, NULL), VT_ERR_IO);
        vt_fault_stop();
        assert_int_equal(fault.count, 1);
        assert_int_equal(vt_scratch_count(s.fd, ""), 0);
        vt_scratch_free(&s);
    }
}

static void file_size_limit_is_a_full_disk(void **state)
{
    struct rlimit old;
    bool failed = false, passed = false;
    (void)state;
    signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &old);
    for (rlim_t limit = 0; limit <= 1400; limit += 50) {
        vt_scratch s = vt_scratch_new();
        vt_error err = {0};
        int64_t best = -1;
        assert_int_equal(save(s.fd, 10, &best, true, NULL), VT_OK);
        struct rlimit small = {limit, old.rlim_max};
        setrlimit(RLIMIT_FSIZE, &small);
        vt_status status = save(s.fd, 20, &best, false, &err);
        setrlimit(RLIMIT_FSIZE, &old);
        if (status != VT_OK) {
            failed = true;
            assert_int_equal(status, VT_ERR_IO);
            assert_non_null(strstr(err.text, "bytes needed"));
            assert_non_null(strstr(err.text, "bytes free"));
        } else {
            passed = true;
        }
        check_after_failure(s.fd, status, err.text);
        vt_scratch_free(&s);
    }
    signal(SIGXFSZ, SIG_DFL);
    assert_true(failed && passed);
}

enum { LEFT_OUT = 77, PAGE = 4096, ROOM = 4 * PAGE };

static bool write_text(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    bool ok = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);
    if (fd >= 0)
        close(fd);
    return ok;
}

/* Gives this process its own view of mounts; an ordinary user becomes root in it. */
static bool may_mount(void)
{
    char uid_map[64], gid_map[64];
    bool root = geteuid() == 0;
    snprintf(uid_map, sizeof uid_map, "0 %lu 1", (unsigned long)geteuid());
    snprintf(gid_map, sizeof gid_map, "0 %lu 1", (unsigned long)getegid());
    if (unshare(root ? CLONE_NEWNS : CLONE_NEWUSER | CLONE_NEWNS) != 0)
        return false;
    if (!root &&
        !(write_text("/proc/self/setgroups", "deny") && write_text("/proc/self/uid_map", uid_map) &&
          write_text("/proc/self/gid_map", gid_map)))
        return false;
    return mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0;
}

/* In a child with its own small file system: a save at every amount of free space. */
static int fill_small_disks(const char *path)
{
    bool failed = false, passed = false;
    if (!may_mount())
        return LEFT_OUT;
    for (int pages = 0; pages <= 2 * ROOM * 4 / PAGE; pages++) {
        vt_error err = {0};
        int64_t best = -1;
        if (mount("none", path, "tmpfs", 0, "size=512k") != 0)
            return LEFT_OUT;
        int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        assert_int_equal(save_sized(fd, 10, 0, &best, true, ROOM, &err), VT_OK);
        int filler = openat(fd, "filler", O_WRONLY | O_CREAT | O_CLOEXEC, 0666);
        static const char page[PAGE];
        while (write(filler, page, sizeof page) > 0)
            ;
        struct stat s;
        fstat(filler, &s);
        assert_int_equal(ftruncate(filler, s.st_size - pages * PAGE), 0);
        vt_status status = save_sized(fd, 20, 0, &best, false, ROOM, &err);
        assert_int_equal(vt_scratch_count(fd, ".tmp"), 0);
        if (status != VT_OK) {
            failed = true;
            assert_int_equal(status, VT_ERR_IO);
            assert_non_null(strstr(err.text, path));
            assert_non_null(strstr(err.text, "bytes needed"));
            assert_non_null(strstr(err.text, "bytes free"));
            assert_int_equal(vt_scratch_count(fd, "w-20"), 0);
            assert_int_equal(load(fd, true, VT_OK), 10);
        } else {
            passed = true;
        }
        close(filler);
        assert_int_equal(unlinkat(fd, "filler", 0), 0);
        best = 10;
        assert_int_equal(save_sized(fd, 20, 0, &best, false, ROOM, &err), VT_OK);
        assert_int_equal(load(fd, true, VT_OK), 20);
        close(fd);
        umount(path);
    }
    return failed && passed ? 0 : 1;
}

static void full_disk_keeps_the_old_one_and_goes_on_later(void **state)
{
    vt_scratch s = vt_scratch_new();
    int how;
    (void)state;
    pid_t pid = fork();
    if (pid == 0) {
        vt_log_set_level(VT_LOG_ERROR);
        _exit(fill_small_disks(s.path));
    }
    assert_int_equal(waitpid(pid, &how, 0), pid);
    assert_true(WIFEXITED(how));
    vt_scratch_free(&s);
    if (WEXITSTATUS(how) == LEFT_OUT) {
        print_message("left out: a small file system cannot be mounted here\n");
        skip();
    }
    assert_int_equal(WEXITSTATUS(how), 0);
}

static void lack_of_memory_leaves_the_old_one(void **state)
{
    vt_status status = VT_ERR_NOMEM;
    int failures = 0;
    (void)state;
    for (uint64_t at = 2; status == VT_ERR_NOMEM; at++) { /* 1 is the test's own */
        vt_scratch s = vt_scratch_new();
        int64_t best = -1;
        vt_error err = {0};
        assert_int_equal(save(s.fd, 10, &best, true, NULL), VT_OK);
        vt_mem_fail_at(at, 0);
        status = save(s.fd, 20, &best, false, &err);
        vt_mem_fail_at(0, 0);
        failures += status == VT_ERR_NOMEM;
        assert_true(status == VT_OK || status == VT_ERR_NOMEM);
        assert_int_equal(vt_scratch_count(s.fd, ".tmp"), 0);
        int64_t step = load(s.fd, true, VT_OK);
        assert_true(step == 20 || (status != VT_OK && step == 10));
        vt_scratch_free(&s);
    }
    assert_true(failures > 5);
    status = VT_ERR_NOMEM;
    for (uint64_t at = 1; status == VT_ERR_NOMEM; at++) {
        vt_scratch s = vt_scratch_new();
        vt_checkpoint_file *file = NULL;
        int64_t best = -1;
        assert_int_equal(save(s.fd, 10, &best, true, NULL), VT_OK);
        vt_mem_fail_at(at, 0);
        status = vt_checkpoint_load_newest(s.fd, true, &file, NULL);
        vt_mem_fail_at(0, 0);
        assert_true(status == VT_OK ? file != NULL : status == VT_ERR_NOMEM && !file);
        vt_checkpoint_close(file);
        vt_scratch_free(&s);
    }
}

struct trace {
    char text[256];
};

/* Writes S for a sync, R for a rename. */
static int note(void *arg, vt_fs_op op, size_t *size)
{
    struct trace *trace = arg;
    size_t n = strlen(trace->text);
    (void)size;
    if (n + 1 < sizeof trace->text && (op == VT_FS_FSYNC || op == VT_FS_RENAME))
        trace->text[n] = op == VT_FS_FSYNC ? 'S' : 'R';
    return 0;
}

static void journal_is_durable_before_the_state_that_names_it(void **state)
{
    vt_scratch s = vt_scratch_new();
    struct trace trace = {{0}};
    vt_journal *journal = NULL;
    vt_checkpoint_file *file = NULL;
    int64_t best = -1;
    (void)state;
    assert_int_equal(vt_journal_open(&journal, s.fd, NULL, NULL), VT_OK);
    const vt_checkpoint c = {.step = 3, .journal = journal, .record = true, .epoch = 1, .keep = 2};
    vt_fs_set_hook(note, &trace);
    assert_int_equal(vt_checkpoint_save(s.fd, &c, &best, NULL, NULL), VT_OK);
    vt_fs_set_hook(NULL, NULL);
    /* weights: sync, rename, folder; journal: sync; state: sync, rename, folder; link: rename */
    assert_string_equal(trace.text, "SRS"
                                    "S"
                                    "SRS"
                                    "RS");
    assert_int_equal(vt_checkpoint_load_newest(s.fd, true, &file, NULL), VT_OK);
    const vt_journal_mark *mark = vt_checkpoint_mark(file);
    assert_int_equal(mark->offset, vt_journal_tell(journal).offset);
    assert_memory_equal(mark->hash, vt_journal_tell(journal).hash, VT_SHA256_SIZE);
    vt_journal_close(journal);
    assert_int_equal(vt_journal_open(&journal, s.fd, mark, NULL), VT_OK);
    vt_journal_close(journal);
    vt_checkpoint_close(file);
    vt_scratch_free(&s);
}

int main(void)
{
    vt_log_set_level(VT_LOG_ERROR); /* thousands of warnings about what the tests damage */
    const struct CMUnitTest tests[] = {
        {"what is saved comes back bit for bit", what_is_saved_comes_back_bit_for_bit, NULL, NULL,
         NULL},
        {"the weights' hash depends on the weights alone",
         weights_hash_depends_on_the_weights_alone, NULL, NULL, NULL},
        {"links follow, old checkpoints go, the best one stays",
         links_follow_and_old_checkpoints_go, NULL, NULL, NULL},
        {"damaged newer checkpoints go at the next save",
         damaged_newer_checkpoints_go_at_the_next_save, NULL, NULL, NULL},
        {"files cut at any length are refused and the one before is used",
         files_cut_at_any_length_fall_back, NULL, NULL, NULL},
        {"every flipped bit is found and the one before is used", every_flipped_bit_falls_back,
         NULL, NULL, NULL},
        {"the journal is durable before the state that names its place",
         journal_is_durable_before_the_state_that_names_it, NULL, NULL, NULL},
        {"without a good checkpoint it says so", without_a_good_one_it_says_so, NULL, NULL, NULL},
        {"links, FIFOs, folders, sockets, devices are neither followed nor opened",
         planted_things_fall_back, NULL, NULL, NULL},
        {"short and interrupted transfers are invisible",
         short_and_interrupted_transfers_are_invisible, NULL, NULL, NULL},
        {"every failing call leaves a good checkpoint and no stray file",
         every_failing_call_leaves_a_good_checkpoint, NULL, NULL, NULL},
        {"a file whose sync or close failed is never renamed",
         failed_sync_or_close_is_never_renamed, NULL, NULL, NULL},
        {"a file size limit is treated as a full disk", file_size_limit_is_a_full_disk, NULL, NULL,
         NULL},
        {"a full disk keeps the old checkpoint, and saving goes on when there is space",
         full_disk_keeps_the_old_one_and_goes_on_later, NULL, NULL, NULL},
        {"lack of memory is said and leaves the old checkpoint", lack_of_memory_leaves_the_old_one,
         NULL, NULL, NULL},
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
