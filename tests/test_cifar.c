/* Reading CIFAR files. The files here have the official sizes but are nearly all holes: only the
 * records that a test looks at are written. */
#include "base/fs.h"
#include "base/mem.h"
#include "data/data.h"
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

enum { PIXELS = 3072, RECORD10 = 3073, RECORD100 = 3074 };

static const char *const tables10[] = {"data_batch_1.bin", "data_batch_2.bin", "data_batch_3.bin",
                                       "data_batch_4.bin", "data_batch_5.bin", "test_batch.bin"};
static const char names10[] =
    "airplane\nautomobile\nbird\ncat\ndeer\ndog\nfrog\nhorse\nship\ntruck\n\n";

struct fixture {
    vt_scratch scratch;
    vt_pool *pool;
};

static void set_size(int dir_fd, const char *name, int64_t size)
{
    int fd = openat(dir_fd, name, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, size), 0);
    assert_int_equal(close(fd), 0);
}

static void put(int dir_fd, const char *name, int64_t offset, const void *bytes, size_t size)
{
    int fd = openat(dir_fd, name, O_WRONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, bytes, size, offset), size);
    assert_int_equal(close(fd), 0);
}

static void put_byte(int dir_fd, const char *name, int64_t offset, uint8_t byte)
{
    put(dir_fd, name, offset, &byte, 1);
}

static void write_cifar10(int dir_fd)
{
    for (int i = 0; i < 6; i++)
        set_size(dir_fd, tables10[i], 10000 * RECORD10);
    vt_scratch_write(dir_fd, "batches.meta.txt", names10, sizeof names10 - 1);
}

static void write_cifar100(int dir_fd)
{
    char text[100 * 16] = "";
    size_t at = 0;
    set_size(dir_fd, "train.bin", (int64_t)50000 * RECORD100);
    set_size(dir_fd, "test.bin", (int64_t)10000 * RECORD100);
    for (int i = 0; i < 100; i++) {
        at += (size_t)snprintf(text + at, sizeof text - at, "fine_%d\n", i);
        if (i == 19)
            vt_scratch_write(dir_fd, "coarse_label_names.txt", text, at);
    }
    vt_scratch_write(dir_fd, "fine_label_names.txt", text, at);
}

static int start_with(void **state, int threads)
{
    struct fixture *f = calloc(1, sizeof *f);
    f->scratch = vt_scratch_new();
    *state = f;
    return vt_pool_new(&f->pool, threads, NULL) == VT_OK ? 0 : -1;
}

static int start(void **state)
{
    return start_with(state, 2);
}

static int stop(void **state)
{
    struct fixture *f = *state;
    vt_scratch_free(&f->scratch);
    vt_pool_free(f->pool);
    free(f);
    return 0;
}

static int start_cifar10(void **state)
{
    int status = start(state);
    write_cifar10(((struct fixture *)*state)->scratch.fd);
    return status;
}

/* One thread, for planned accidents, which count calls without a lock. */
static int start_cifar10_alone(void **state)
{
    int status = start_with(state, 1);
    write_cifar10(((struct fixture *)*state)->scratch.fd);
    return status;
}

static int start_cifar100(void **state)
{
    int status = start(state);
    write_cifar100(((struct fixture *)*state)->scratch.fd);
    return status;
}

static vt_status open_set(const struct fixture *f, const char *name, vt_data **data, vt_error *err)
{
    vt_data_request r = {.name = name, .dir = f->scratch.path, .std = {1, 1, 1}};
    memset(err, 0, sizeof *err);
    return vt_data_open(data, &r, f->pool, err);
}

static void expect(const struct fixture *f, const char *name, vt_status status,
                   const char *const *words)
{
    vt_data *data;
    vt_error err;
    vt_status got = open_set(f, name, &data, &err);
    assert_null(data);
    if (got != status)
        fail_msg("status %d, expected %d: %s", got, status, err.text);
    for (; *words; words++)
        if (!strstr(err.text, *words))
            fail_msg("'%s' is not in: %s", *words, err.text);
}

#define EXPECT(f, name, status, ...)                                                               \
    expect(f, name, status, (const char *const[]){__VA_ARGS__, NULL})

static void complete_cifar10_is_read_whole(void **state)
{
    const struct fixture *f = *state;
    vt_data *data, *again;
    vt_error err;
    uint8_t record[RECORD10];
    int label;

    record[0] = 7;
    for (int i = 0; i < PIXELS; i++)
        record[1 + i] = (uint8_t)(i * 31 + i / 1024);
    put(f->scratch.fd, "data_batch_3.bin", 9999 * RECORD10, record, sizeof record);
    put_byte(f->scratch.fd, "test_batch.bin", 5 * RECORD10, 9);

    assert_int_equal(open_set(f, "cifar10", &data, &err), VT_OK);
    const vt_data_info *info = vt_data_info_of(data);
    assert_string_equal(info->name, "cifar10");
    assert_string_equal(info->folder, f->scratch.path);
    assert_int_equal(info->height * info->width * info->channels, PIXELS);
    assert_int_equal(info->classes, 10);
    assert_string_equal(info->class_names[0], "airplane");
    assert_string_equal(info->class_names[9], "truck");
    assert_int_equal(info->n[VT_PART_TRAIN], 50000);
    assert_int_equal(info->n[VT_PART_VAL], 0);
    assert_int_equal(info->n[VT_PART_TEST], 10000);

    const uint8_t *image = vt_data_item(data, VT_PART_TRAIN, 29999, &label);
    assert_int_equal(label, 7);
    for (int c = 0; c < 3; c++)
        for (int i = 0; i < 1024; i++)
            assert_int_equal(image[i * 3 + c], record[1 + c * 1024 + i]);
    vt_data_item(data, VT_PART_TRAIN, 29998, &label);
    assert_int_equal(label, 0);
    vt_data_item(data, VT_PART_TEST, 5, &label);
    assert_int_equal(label, 9);
    assert_int_equal(vt_data_image(data, VT_PART_TEST, 5), 50005);

    assert_int_equal(info->n_files, 7);
    for (int i = 0; i < 7; i++) {
        uint8_t sha[VT_SHA256_SIZE];
        char hex[VT_SHA256_HEX_SIZE];
        assert_int_equal(vt_fs_hash_file(f->scratch.fd, info->files[i].name, sha, &err), VT_OK);
        vt_sha256_hex(sha, hex);
        assert_string_equal(info->files[i].sha256, hex);
        assert_int_equal(info->files[i].size_bytes, i < 6 ? 10000 * RECORD10 : 61);
    }
    assert_false(info->official);
    assert_non_null(strstr(info->warning, "not the official files of CIFAR-10"));
    assert_non_null(strstr(info->warning, "6 of 6"));
    assert_non_null(strstr(info->warning, "data_batch_1.bin"));

    put_byte(f->scratch.fd, "data_batch_5.bin", 100, 1);
    assert_int_equal(open_set(f, "cifar10", &again, &err), VT_OK);
    assert_string_not_equal(vt_data_info_of(again)->digest, info->digest);
    vt_data_free(again);
    vt_data_free(data);
}

static void complete_cifar100_is_read_whole(void **state)
{
    const struct fixture *f = *state;
    vt_data *data;
    vt_error err;
    uint8_t labels[2] = {19, 99};
    int label;
    put(f->scratch.fd, "train.bin", (int64_t)49999 * RECORD100, labels, 2);
    put_byte(f->scratch.fd, "train.bin", (int64_t)49999 * RECORD100 + 2 + 1024, 200);
    assert_int_equal(open_set(f, "cifar100", &data, &err), VT_OK);
    const vt_data_info *info = vt_data_info_of(data);
    assert_int_equal(info->classes, 100);
    assert_int_equal(info->n_files, 4);
    assert_string_equal(info->class_names[99], "fine_99");
    const uint8_t *image = vt_data_item(data, VT_PART_TRAIN, 49999, &label);
    assert_int_equal(label, 99);
    assert_int_equal(image[0], 0);
    assert_int_equal(image[1], 200);
    assert_non_null(strstr(info->warning, "not the official files of CIFAR-100"));
    vt_data_free(data);
}

static void coarse_labels_of_cifar100_are_the_class_when_asked_for(void **state)
{
    const struct fixture *f = *state;
    vt_data_request r = {.name = "cifar100", .dir = f->scratch.path, .std = {1, 1, 1}};
    vt_data *fine, *coarse;
    vt_error err = {0};
    uint8_t labels[2] = {19, 99};
    char names[400] = "";
    int label;
    for (int i = 0; i < 20; i++)
        sprintf(names + strlen(names), "coarse_%d\n", i);
    vt_scratch_write(f->scratch.fd, "coarse_label_names.txt", names, strlen(names));
    put(f->scratch.fd, "test.bin", 7 * RECORD100, labels, 2);
    assert_int_equal(vt_data_open(&fine, &r, f->pool, &err), VT_OK);
    r.coarse = true;
    assert_int_equal(vt_data_open(&coarse, &r, f->pool, &err), VT_OK);
    const vt_data_info *info = vt_data_info_of(coarse);
    assert_int_equal(info->classes, 20);
    assert_string_equal(info->class_names[19], "coarse_19");
    assert_int_equal(info->n_files, 4);
    vt_data_item(coarse, VT_PART_TEST, 7, &label);
    assert_int_equal(label, 19);
    assert_string_not_equal(info->digest, vt_data_info_of(fine)->digest);
    vt_data_free(fine);
    vt_data_free(coarse);
}

static void folders_are_searched_in_the_documented_order(void **state)
{
    const struct fixture *f = *state;
    static const char *const places[] = {"cifar10/cifar-10-batches-bin", "cifar-10-batches-bin",
                                         "cifar10", ""};
    for (size_t i = 0; i < 4; i++) {
        char name[64], expected[400];
        int fd = -1;
        if (*places[i])
            assert_int_equal(vt_fs_make_dirs(f->scratch.fd, places[i], &fd, NULL), VT_OK);
        else
            fd = dup(f->scratch.fd);
        vt_scratch_write(fd, "batches.meta.txt", names10, sizeof names10 - 1);
        snprintf(name, sizeof name, "data_batch_1.bin");
        set_size(fd, name, 1);
        snprintf(expected, sizeof expected, "%s%s%s/data_batch_1.bin", f->scratch.path,
                 *places[i] ? "/" : "", places[i]);
        EXPECT(f, "cifar10", VT_ERR_DATA, expected);
        vt_fs_close(&fd);
    }
}

static void missing_files_say_how_to_get_them(void **state)
{
    struct fixture *f = *state;
    EXPECT(f, "cifar10", VT_ERR_NOINPUT, "CIFAR-10: no data_batch_1.bin in", f->scratch.path,
           "cifar-10-batches-bin", "scripts/fetch-data cifar10 --dir ");
    EXPECT(f, "cifar100", VT_ERR_NOINPUT, "no train.bin in", "scripts/fetch-data cifar100");

    write_cifar10(f->scratch.fd);
    for (int i = 0; i < 6; i++) {
        assert_int_equal(unlinkat(f->scratch.fd, tables10[i], 0), 0);
        EXPECT(f, "cifar10", VT_ERR_NOINPUT, tables10[i], "missing", "scripts/fetch-data cifar10");
        set_size(f->scratch.fd, tables10[i], 10000 * RECORD10);
    }
    assert_int_equal(unlinkat(f->scratch.fd, "batches.meta.txt", 0), 0);
    EXPECT(f, "cifar10", VT_ERR_NOINPUT, "batches.meta.txt: missing");

    strcat(f->scratch.path, "/nowhere");
    EXPECT(f, "cifar10", VT_ERR_NOINPUT, "/nowhere");
    *strrchr(f->scratch.path, '/') = 0;
}

static void wrong_sizes_are_refused_at_every_border(void **state)
{
    const struct fixture *f = *state;
    const int64_t whole = 10000 * RECORD10;
    static const struct {
        int64_t size;
        const char *says;
    } cases[] = {
        {0, "ends in record 0 (counted from 0), 30730000 bytes short"},
        {1, "ends in record 0"},
        {RECORD10 - 1, "ends in record 0"},
        {RECORD10, "ends in record 1 "},
        {RECORD10 + 1, "ends in record 1 "},
        {10000 * RECORD10 - RECORD10 - 1, "ends in record 9998"},
        {10000 * RECORD10 - RECORD10, "ends in record 9999 (counted from 0), 3073 bytes short"},
        {10000 * RECORD10 - RECORD10 + 1, "ends in record 9999"},
        {10000 * RECORD10 - 1, "ends in record 9999 (counted from 0), 1 bytes short"},
        {10000 * RECORD10 + 1, "1 bytes follow the last record"},
        {10000 * RECORD10 + RECORD10, "3073 bytes follow"},
        {10000 * RECORD100, "the size of CIFAR-100's test.bin"},
        {(int64_t)50000 * RECORD100, "the size of CIFAR-100's train.bin"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *name = tables10[i % 6];
        set_size(f->scratch.fd, name, cases[i].size);
        EXPECT(f, "cifar10", VT_ERR_DATA, name, "expected 30730000 (10000 records of 3073 bytes)",
               cases[i].says);
        set_size(f->scratch.fd, name, whole);
    }
}

static void swapped_and_cut_cifar100_files_are_refused(void **state)
{
    const struct fixture *f = *state;
    int fd = f->scratch.fd;
    set_size(fd, "test.bin", 10000 * RECORD10);
    EXPECT(f, "cifar100", VT_ERR_DATA, "test.bin", "the size of CIFAR-10's data_batch_1.bin");
    set_size(fd, "test.bin", (int64_t)50000 * RECORD100);
    EXPECT(f, "cifar100", VT_ERR_DATA, "test.bin: 153700000 bytes; expected 30740000");
    set_size(fd, "test.bin", 10000 * RECORD100);
    set_size(fd, "train.bin", (int64_t)49999 * RECORD100);
    EXPECT(f, "cifar100", VT_ERR_DATA, "train.bin", "ends in record 49999");
}

static void labels_out_of_range_name_file_and_record(void **state)
{
    const struct fixture *f = *state;
    put_byte(f->scratch.fd, "data_batch_2.bin", 0, 10);
    EXPECT(f, "cifar10", VT_ERR_DATA,
           "data_batch_2.bin: record 0 (at byte 0): label 10; expected 0 to 9");
    put_byte(f->scratch.fd, "data_batch_2.bin", 0, 9);
    put_byte(f->scratch.fd, "test_batch.bin", 9999 * RECORD10, 255);
    EXPECT(f, "cifar10", VT_ERR_DATA,
           "test_batch.bin: record 9999 (at byte 30726927): label 255; expected 0 to 9");
}

static void both_labels_of_cifar100_are_checked(void **state)
{
    const struct fixture *f = *state;
    put_byte(f->scratch.fd, "test.bin", 12 * RECORD100, 20);
    EXPECT(f, "cifar100", VT_ERR_DATA, "test.bin: record 12", "coarse label 20; expected 0 to 19");
    put_byte(f->scratch.fd, "test.bin", 12 * RECORD100, 0);
    put_byte(f->scratch.fd, "train.bin", 3 * RECORD100 + 1, 100);
    EXPECT(f, "cifar100", VT_ERR_DATA, "train.bin: record 3", "fine label 100; expected 0 to 99");
}

static void class_names_must_be_a_clean_list(void **state)
{
    const struct fixture *f = *state;
    static const struct {
        const char *text, *says;
    } cases[] = {
        {"", "0 class names; expected 10"},
        {"a\nb\nc\nd\ne\nf\ng\nh\ni\n", "9 class names; expected 10"},
        {"a\nb\nc\nd\ne\nf\ng\nh\ni\nj\nk\n", "batches.meta.txt:11: expected 10 class names"},
        {"a\n\nb\nc\nd\ne\nf\ng\nh\ni\nj\n", "batches.meta.txt:3: expected 10 class names"},
        {"a\nb b\nc\nd\ne\nf\ng\nh\ni\nj\n", "batches.meta.txt:2: "},
        {"a\nb\x01\nc\nd\ne\nf\ng\nh\ni\nj\n", "batches.meta.txt:2: "},
        {"a\nb\n0123456789012345678901234567890123\nd\ne\nf\ng\nh\ni\nj\n",
         "batches.meta.txt:3: expected 10 class names, one a line, each of 1 to 31"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        vt_scratch_write(f->scratch.fd, "batches.meta.txt", cases[i].text, strlen(cases[i].text));
        EXPECT(f, "cifar10", VT_ERR_DATA, cases[i].says);
    }
    set_size(f->scratch.fd, "batches.meta.txt", 1 << 20);
    EXPECT(f, "cifar10", VT_ERR_DATA, "batches.meta.txt: 1048576 bytes; expected a short list");
}

static void what_is_not_a_file_is_refused_without_waiting(void **state)
{
    const struct fixture *f = *state;
    int fd = f->scratch.fd;
    assert_int_equal(unlinkat(fd, "data_batch_4.bin", 0), 0);
    assert_true(vt_plant(fd, "data_batch_4.bin", 'd', NULL));
    EXPECT(f, "cifar10", VT_ERR_DATA, "data_batch_4.bin: is a folder; a file is expected");
    assert_int_equal(unlinkat(fd, "data_batch_4.bin", AT_REMOVEDIR), 0);
    assert_true(vt_plant(fd, "data_batch_4.bin", 'f', NULL));
    EXPECT(f, "cifar10", VT_ERR_DATA, "data_batch_4.bin: is a device or pipe");
    assert_int_equal(unlinkat(fd, "data_batch_4.bin", 0), 0);
    assert_true(vt_plant(fd, "data_batch_4.bin", 'l', "gone.bin"));
    EXPECT(f, "cifar10", VT_ERR_NOINPUT, "data_batch_4.bin: missing");
}

static void linked_files_are_read(void **state)
{
    const struct fixture *f = *state;
    vt_data *data;
    vt_error err;
    assert_int_equal(unlinkat(f->scratch.fd, "data_batch_4.bin", 0), 0);
    assert_true(vt_plant(f->scratch.fd, "data_batch_4.bin", 'l', "data_batch_5.bin"));
    assert_int_equal(open_set(f, "cifar10", &data, &err), VT_OK);
    vt_data_free(data);
}

/* Root reads everything, so a child without rights tries; its exit code is the status. */
static void unreadable_file_is_an_input_error(void **state)
{
    const struct fixture *f = *state;
    int status;
    assert_int_equal(fchmodat(f->scratch.fd, "test_batch.bin", 0, 0), 0);
    assert_int_equal(fchmod(f->scratch.fd, 0755), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        vt_data *data = NULL;
        vt_pool *pool = NULL;
        vt_error err = {0};
        vt_data_request r = {.name = "cifar10", .dir = f->scratch.path, .std = {1, 1, 1}};
        if (geteuid() == 0 && (setgid(65534) != 0 || setuid(65534) != 0))
            _exit(99);
        if (vt_pool_new(&pool, 1, &err) != VT_OK)
            _exit(98);
        status = (int)vt_data_open(&data, &r, pool, &err);
        _exit(strstr(err.text, "test_batch.bin: cannot be opened: Permission denied") ? status
                                                                                      : 97);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), VT_ERR_NOINPUT);
}

static void disk_errors_while_reading_are_reported(void **state)
{
    const struct fixture *f = *state;
    vt_fault fault = {.op = VT_FS_READ, .at = 10, .onwards = true, .error = EIO};
    vt_fault_start(&fault);
    EXPECT(f, "cifar10", VT_ERR_IO, ".bin: cannot read at offset", strerror(EIO));
    vt_fault_stop();
}

static void short_and_interrupted_reads_do_not_show(void **state)
{
    const struct fixture *f = *state;
    vt_data *data, *again;
    vt_error err;
    put_byte(f->scratch.fd, "data_batch_1.bin", 77777, 5);
    assert_int_equal(open_set(f, "cifar10", &data, &err), VT_OK);
    vt_fault fault = {.op = -1, .transfer = 100001, .interrupt = true};
    vt_fault_start(&fault);
    assert_int_equal(open_set(f, "cifar10", &again, &err), VT_OK);
    vt_fault_stop();
    assert_true(fault.calls > 600);
    assert_string_equal(vt_data_info_of(again)->digest, vt_data_info_of(data)->digest);
    vt_data_free(again);
    vt_data_free(data);
}

static void running_out_of_memory_is_reported(void **state)
{
    const struct fixture *f = *state;
    for (uint64_t at = 1; at <= 16; at++) {
        vt_mem_fail_at(at, 1);
        EXPECT(f, "cifar10", VT_ERR_NOMEM, "no memory");
        vt_mem_fail_at(0, 0);
    }
}

int main(void)
{
#define WITH(set, name) cmocka_unit_test_setup_teardown(name, start##set, stop)
    const struct CMUnitTest tests[] = {
        WITH(_cifar10, complete_cifar10_is_read_whole),
        WITH(_cifar100, complete_cifar100_is_read_whole),
        WITH(_cifar100, coarse_labels_of_cifar100_are_the_class_when_asked_for),
        WITH(, folders_are_searched_in_the_documented_order),
        WITH(, missing_files_say_how_to_get_them),
        WITH(_cifar10, wrong_sizes_are_refused_at_every_border),
        WITH(_cifar100, swapped_and_cut_cifar100_files_are_refused),
        WITH(_cifar10, labels_out_of_range_name_file_and_record),
        WITH(_cifar100, both_labels_of_cifar100_are_checked),
        WITH(_cifar10, class_names_must_be_a_clean_list),
        WITH(_cifar10, what_is_not_a_file_is_refused_without_waiting),
        WITH(_cifar10, linked_files_are_read),
        WITH(_cifar10_alone, unreadable_file_is_an_input_error),
        WITH(_cifar10_alone, disk_errors_while_reading_are_reported),
        WITH(_cifar10_alone, short_and_interrupted_reads_do_not_show),
        WITH(_cifar10_alone, running_out_of_memory_is_reported),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
