#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"
#include "results/journal.h"
#include "support/fault.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

enum { RECORDS = 5, HEAD = 8 };

typedef vt_status put_record(vt_journal *, uint32_t, int64_t, const void *, size_t, vt_error *);

/* Record i of the test's journal: sizes 0, 3, 6, ... and bytes that depend on i. */
static vt_status put_by(put_record *way, vt_journal *journal, int i, vt_error *err)
{
    char payload[64];
    for (int b = 0; b < 3 * i; b++)
        payload[b] = (char)(17 * i + b);
    return way(journal, (uint32_t)(1 + i % VT_RECORD_DONE), 10 * i, payload, (size_t)(3 * i), err);
}

static vt_status put(vt_journal *journal, int i, vt_error *err)
{
    return put_by(vt_journal_put, journal, i, err);
}

static int64_t boundary(int records)
{
    int64_t at = HEAD;
    for (int i = 0; i < records; i++)
        at += 16 + 3 * i + 36;
    return at;
}

static void write_journal(int dir_fd, int first, int last, vt_journal_mark *marks)
{
    vt_journal *journal = NULL;
    vt_error err = {0};
    assert_int_equal(vt_journal_open(&journal, dir_fd, first ? &marks[first] : NULL, &err), VT_OK);
    for (int i = first; i < last; i++) {
        marks[i] = vt_journal_tell(journal);
        assert_int_equal(put(journal, i, &err), VT_OK);
    }
    marks[last] = vt_journal_tell(journal);
    assert_int_equal(vt_journal_sync(journal, &err), VT_OK);
    vt_journal_close(journal);
}

/* Checks that records are the first ones of the test's journal, byte by byte. */
static vt_status check_record(void *arg, const vt_record *record, vt_error *err)
{
    int *n = arg, i = (*n)++;
    (void)err;
    const unsigned char *payload = record->payload;
    assert_int_equal(record->type, 1 + i % VT_RECORD_DONE);
    assert_int_equal(record->step, 10 * i);
    assert_int_equal(record->size, 3 * i);
    assert_int_equal((uintptr_t)payload % 8, 0);
    for (int b = 0; b < 3 * i; b++)
        assert_int_equal(payload[b], (unsigned char)(17 * i + b));
    return VT_OK;
}

static void records_come_back_in_order(void **state)
{
    vt_scratch s = vt_scratch_new();
    vt_journal_mark marks[RECORDS + 1];
    uint8_t hash[VT_SHA256_SIZE];
    int n = 0;
    (void)state;
    write_journal(s.fd, 0, RECORDS, marks);
    assert_int_equal(vt_journal_read(s.fd, check_record, &n, hash, NULL), VT_OK);
    assert_int_equal(n, RECORDS);
    assert_memory_equal(hash, marks[RECORDS].hash, sizeof hash);
    for (int i = 0; i <= RECORDS; i++)
        assert_int_equal(marks[i].offset, boundary(i));
    vt_scratch_free(&s);
}

static void layout_is_as_documented(void **state)
{
    static const uint8_t expected[] = {'V', 'T', 'J', 'R', 'N', 'L', '1', '\n', 2, 0, 0, 0,   2,
                                       0,   0,   0,   7,   0,   0,   0,   0,    0, 0, 0, 'h', 'i'};
    vt_scratch s = vt_scratch_new();
    vt_journal *journal = NULL;
    uint8_t hash[VT_SHA256_SIZE], chained[VT_SHA256_SIZE + 18] = {0};
    size_t size;
    (void)state;
    assert_int_equal(vt_journal_open(&journal, s.fd, NULL, NULL), VT_OK);
    assert_int_equal(vt_journal_put(journal, VT_RECORD_TRAIN, 7, "hi", 2, NULL), VT_OK);
    vt_journal_close(journal);
    uint8_t *bytes = (uint8_t *)vt_scratch_read(s.fd, "journal", &size);
    assert_int_equal(size, sizeof expected + 36);
    assert_memory_equal(bytes, expected, sizeof expected);
    uint32_t crc = vt_crc32(0, bytes + 8, 18);
    for (int i = 0; i < 4; i++)
        assert_int_equal(bytes[sizeof expected + (size_t)i], (uint8_t)(crc >> 8 * i));
    memcpy(chained + VT_SHA256_SIZE, bytes + 8, 18);
    vt_sha256_of(chained, sizeof chained, hash);
    assert_memory_equal(bytes + sizeof expected + 4, hash, sizeof hash);
    vt_free(bytes);
    vt_scratch_free(&s);
}

static void torn_tails_of_every_length_are_cut(void **state)
{
    vt_scratch s = vt_scratch_new();
    vt_journal_mark marks[RECORDS + 1], again[RECORDS + 1];
    size_t size, mended;
    (void)state;
    write_journal(s.fd, 0, RECORDS, marks);
    char *whole = vt_scratch_read(s.fd, "journal", &size);
    for (size_t length = 0; length < size; length++) {
        int good = 0, n = 0;
        while (good < RECORDS && boundary(good + 1) <= (int64_t)length)
            good++;
        vt_scratch_write(s.fd, "journal", whole, length);
        assert_int_equal(vt_journal_read(s.fd, check_record, &n, NULL, NULL), VT_OK);
        assert_int_equal(n, good);
        vt_journal *journal = NULL;
        assert_int_equal(vt_journal_open(&journal, s.fd, NULL, NULL), VT_OK);
        vt_journal_close(journal);
        vt_free(vt_scratch_read(s.fd, "journal", &mended));
        assert_int_equal(mended, boundary(good));
        memcpy(again, marks, sizeof marks);
        write_journal(s.fd, good, RECORDS, again);
        char *bytes = vt_scratch_read(s.fd, "journal", &mended);
        assert_int_equal(mended, size);
        assert_memory_equal(bytes, whole, size);
        vt_free(bytes);
    }
    vt_free(whole);
    vt_scratch_free(&s);
}

static void every_flipped_bit_is_found(void **state)
{
    vt_scratch s = vt_scratch_new();
    vt_journal_mark marks[RECORDS + 1];
    size_t size;
    (void)state;
    write_journal(s.fd, 0, RECORDS, marks);
    char *bytes = vt_scratch_read(s.fd, "journal", &size);
    for (size_t bit = 0; bit < 8 * size; bit++) {
        vt_journal *journal = NULL;
        int n = 0;
        bytes[bit / 8] ^= (char)(1 << bit % 8);
        vt_scratch_write(s.fd, "journal", bytes, size);
        vt_status status = vt_journal_read(s.fd, check_record, &n, NULL, NULL);
        if ((int64_t)(bit / 8) < boundary(RECORDS - 1)) {
            assert_int_equal(status, VT_ERR_DATA);
        } else {
            assert_int_equal(status, VT_OK);
            assert_int_equal(n, RECORDS - 1);
        }
        assert_int_equal(vt_journal_open(&journal, s.fd, &marks[RECORDS], NULL), VT_ERR_DATA);
        assert_null(journal);
        bytes[bit / 8] ^= (char)(1 << bit % 8);
    }
    vt_free(bytes);
    vt_scratch_free(&s);
}

static void damage_is_named_with_its_offset(void **state)
{
    vt_scratch s = vt_scratch_new();
    vt_journal_mark marks[RECORDS + 1];
    vt_error err = {0};
    char expected[64];
    size_t size;
    int n = 0;
    (void)state;
    write_journal(s.fd, 0, RECORDS, marks);
    char *bytes = vt_scratch_read(s.fd, "journal", &size);
    bytes[boundary(2) + 17] ^= 1;
    vt_scratch_write(s.fd, "journal", bytes, size);
    assert_int_equal(vt_journal_read(s.fd, check_record, &n, NULL, &err), VT_ERR_DATA);
    snprintf(expected, sizeof expected, "/journal: offset %d: ", (int)boundary(2));
    assert_non_null(strstr(err.text, expected));
    assert_int_equal(n, 2);
    vt_free(bytes);
    vt_scratch_free(&s);
}

static void recomputed_records_are_compared_not_rewritten(void **state)
{
    vt_scratch s = vt_scratch_new();
    vt_journal_mark marks[RECORDS + 1];
    vt_journal *journal = NULL;
    size_t size, after;
    (void)state;
    write_journal(s.fd, 0, RECORDS, marks);
    char *whole = vt_scratch_read(s.fd, "journal", &size);
    for (int from = 0; from <= RECORDS; from++) {
        vt_fault fault = {.op = VT_FS_WRITE, .at = 1, .onwards = true, .error = EIO};
        assert_int_equal(vt_journal_open(&journal, s.fd, &marks[from], NULL), VT_OK);
        vt_fault_start(&fault);
        for (int i = from; i < RECORDS; i++)
            assert_int_equal(put(journal, i, NULL), VT_OK);
        vt_fault_stop();
        assert_int_equal(vt_journal_tell(journal).offset, boundary(RECORDS));
        assert_memory_equal(vt_journal_tell(journal).hash, marks[RECORDS].hash, VT_SHA256_SIZE);
        vt_journal_close(journal);
        char *bytes = vt_scratch_read(s.fd, "journal", &after);
        assert_int_equal(after, size);
        assert_memory_equal(bytes, whole, size);
        vt_free(bytes);
    }
    vt_free(whole);
    vt_scratch_free(&s);
}

static void journal_can_go_back(void **state)
{
    vt_scratch s = vt_scratch_new();
    vt_journal_mark marks[RECORDS + 1];
    vt_journal *journal = NULL;
    size_t size;
    (void)state;
    write_journal(s.fd, 0, 3, marks);
    assert_int_equal(vt_journal_open(&journal, s.fd, &marks[3], NULL), VT_OK);
    vt_journal_rewind(journal, &marks[1]);
    assert_int_equal(vt_journal_tell(journal).offset, boundary(1));
    for (int i = 1; i < RECORDS; i++) /* the first two are compared, the others written */
        assert_int_equal(put(journal, i, NULL), VT_OK);
    vt_journal_rewind(journal, &marks[1]);
    assert_int_equal(put(journal, 2, NULL), VT_ERR_INTERNAL);
    vt_journal_close(journal);
    vt_free(vt_scratch_read(s.fd, "journal", &size));
    assert_int_equal(size, boundary(RECORDS));
    int n = 0;
    assert_int_equal(vt_journal_read(s.fd, check_record, &n, NULL, NULL), VT_OK);
    assert_int_equal(n, RECORDS);
    vt_scratch_free(&s);
}

static int64_t journal_size(int dir_fd)
{
    size_t size;
    vt_free(vt_scratch_read(dir_fd, "journal", &size));
    return (int64_t)size;
}

/* Queued records reach the file with the next flush, sync, put or close, as the same bytes; those
 * that are in the file already are compared then. */
static void queued_records_are_as_put_ones(void **state)
{
    enum { FLUSH, SYNC, PUT, CLOSE, N_WAYS };
    vt_scratch s = vt_scratch_new();
    vt_journal_mark marks[RECORDS + 1];
    (void)state;
    write_journal(s.fd, 0, RECORDS, marks);
    size_t size;
    char *whole = vt_scratch_read(s.fd, "journal", &size);
    for (int way = 0; way < N_WAYS; way++)
        for (int present = 0; present <= RECORDS; present++)
            for (int from = 0; from <= present; from++) {
                vt_journal *journal = NULL;
                vt_scratch_write(s.fd, "journal", whole, (size_t)boundary(present));
                assert_int_equal(vt_journal_open(&journal, s.fd, &marks[from], NULL), VT_OK);
                int last = way == PUT && from < RECORDS ? RECORDS - 1 : RECORDS;
                for (int i = from; i < last; i++)
                    assert_int_equal(put_by(vt_journal_queue, journal, i, NULL), VT_OK);
                assert_int_equal(journal_size(s.fd), boundary(present));
                if (way == PUT && last < RECORDS)
                    assert_int_equal(put(journal, last, NULL), VT_OK);
                else if (way != CLOSE)
                    assert_int_equal(
                        (way == SYNC ? vt_journal_sync : vt_journal_flush)(journal, NULL), VT_OK);
                if (way != CLOSE) {
                    assert_int_equal(vt_journal_tell(journal).offset, boundary(RECORDS));
                    assert_int_equal(journal_size(s.fd), boundary(RECORDS));
                }
                vt_journal_close(journal);
                char *bytes = vt_scratch_read(s.fd, "journal", &size);
                assert_int_equal(size, boundary(RECORDS));
                assert_memory_equal(bytes, whole, size);
                vt_free(bytes);
            }
    vt_free(whole);
    vt_scratch_free(&s);
}

/* A failure is told by the flush and by every call after it, and nothing after it is written. */
static void queued_record_that_differs_fails_the_flush(void **state)
{
    vt_scratch s = vt_scratch_new();
    vt_journal_mark marks[RECORDS + 1];
    vt_journal *journal = NULL;
    (void)state;
    write_journal(s.fd, 0, 3, marks);
    assert_int_equal(vt_journal_open(&journal, s.fd, &marks[1], NULL), VT_OK);
    assert_int_equal(put_by(vt_journal_queue, journal, 1, NULL), VT_OK);
    assert_int_equal(put_by(vt_journal_queue, journal, 3, NULL), VT_OK);
    assert_int_equal(put_by(vt_journal_queue, journal, 4, NULL), VT_OK);
    assert_int_equal(vt_journal_flush(journal, NULL), VT_ERR_INTERNAL);
    assert_int_equal(vt_journal_tell(journal).offset, boundary(2));
    assert_int_equal(vt_journal_flush(journal, NULL), VT_ERR_INTERNAL);
    assert_int_equal(put_by(vt_journal_queue, journal, 2, NULL), VT_ERR_INTERNAL);
    vt_journal_close(journal);
    assert_int_equal(journal_size(s.fd), boundary(3));
    vt_scratch_free(&s);
}

static void different_recomputed_record_is_an_internal_error(void **state)
{
    vt_scratch s = vt_scratch_new();
    vt_journal_mark marks[RECORDS + 1];
    char good[6], bad[6];
    (void)state;
    write_journal(s.fd, 0, RECORDS, marks);
    for (int b = 0; b < 6; b++)
        good[b] = bad[b] = (char)(34 + b);
    bad[5] ^= 0x40;
    const struct {
        uint32_t type;
        int64_t step;
        const char *payload;
        size_t size;
    } cases[] = {{3, 20, bad, 6}, {3, 21, good, 6}, {4, 20, good, 6}, {3, 20, good, 5}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        vt_journal *journal = NULL;
        vt_error err = {0};
        size_t size;
        assert_int_equal(vt_journal_open(&journal, s.fd, &marks[2], &err), VT_OK);
        assert_int_equal(vt_journal_put(journal, cases[i].type, cases[i].step, cases[i].payload,
                                        cases[i].size, &err),
                         VT_ERR_INTERNAL);
        assert_non_null(strstr(err.text, "differs from the stored one"));
        assert_int_equal(vt_journal_put(journal, 3, 20, good, 6, NULL), VT_ERR_INTERNAL);
        vt_journal_close(journal);
        vt_free(vt_scratch_read(s.fd, "journal", &size));
        assert_int_equal(size, boundary(RECORDS));
    }
    vt_scratch_free(&s);
}

static void wrong_marks_are_refused(void **state)
{
    vt_scratch s = vt_scratch_new();
    vt_journal_mark marks[RECORDS + 1];
    (void)state;
    write_journal(s.fd, 0, RECORDS, marks);
    for (int64_t offset = -1; offset <= boundary(RECORDS) + 1; offset++) {
        bool is_boundary = false;
        vt_journal *journal = NULL;
        vt_journal_mark mark = {.offset = offset};
        for (int i = 0; i <= RECORDS; i++) {
            if (offset == marks[i].offset) {
                is_boundary = true;
                mark = marks[i];
            }
        }
        vt_status expected = is_boundary ? VT_OK : VT_ERR_DATA;
        assert_int_equal(vt_journal_open(&journal, s.fd, &mark, NULL), expected);
        vt_journal_close(journal);
        mark.hash[31] ^= 1;
        assert_int_equal(vt_journal_open(&journal, s.fd, &mark, NULL), VT_ERR_DATA);
    }
    assert_int_equal(unlinkat(s.fd, "journal", 0), 0);
    vt_journal *journal = NULL;
    assert_int_equal(vt_journal_open(&journal, s.fd, &marks[1], NULL), VT_ERR_DATA);
    vt_scratch_free(&s);
}

static void failed_write_leaves_a_good_journal(void **state)
{
    vt_journal_mark marks[RECORDS + 1];
    (void)state;
    for (int error = 0; error < 3; error++) {
        static const int errors[] = {ENOSPC, EIO, EDQUOT};
        for (int at = 1; at <= 3; at++) {
            vt_scratch s = vt_scratch_new();
            vt_fault fault = {.op = VT_FS_WRITE,
                              .at = at,
                              .onwards = true,
                              .error = errors[error],
                              .transfer = 20};
            vt_journal *journal = NULL;
            vt_error err = {0};
            int n = 0;
            write_journal(s.fd, 0, 3, marks);
            assert_int_equal(vt_journal_open(&journal, s.fd, &marks[3], NULL), VT_OK);
            vt_fault_start(&fault);
            assert_int_equal(put(journal, 3, &err), VT_ERR_IO);
            vt_fault_stop();
            assert_non_null(strstr(err.text, "/journal"));
            assert_int_equal(strstr(err.text, "bytes free") != NULL, errors[error] != EIO);
            assert_int_equal(put(journal, 3, NULL), VT_ERR_IO);
            assert_int_equal(vt_journal_sync(journal, NULL), VT_ERR_IO);
            vt_journal_close(journal);
            assert_int_equal(vt_journal_read(s.fd, check_record, &n, NULL, NULL), VT_OK);
            assert_int_equal(n, 3);
            write_journal(s.fd, 3, RECORDS, marks);
            vt_scratch_free(&s);
        }
    }
}

static void failed_sync_is_never_tried_again(void **state)
{
    vt_scratch s = vt_scratch_new();
    vt_fault fault = {.op = VT_FS_FSYNC, .at = 1, .error = EIO};
    vt_journal *journal = NULL;
    (void)state;
    assert_int_equal(vt_journal_open(&journal, s.fd, NULL, NULL), VT_OK);
    assert_int_equal(put(journal, 0, NULL), VT_OK);
    vt_fault_start(&fault);
    assert_int_equal(vt_journal_sync(journal, NULL), VT_ERR_IO);
    assert_int_equal(vt_journal_sync(journal, NULL), VT_ERR_IO);
    assert_int_equal(put(journal, 1, NULL), VT_ERR_IO);
    vt_fault_stop();
    assert_int_equal(fault.count, 1);
    vt_journal_close(journal);
    vt_scratch_free(&s);
}

static void file_size_limit_is_a_full_disk(void **state)
{
    vt_scratch s = vt_scratch_new();
    vt_journal *journal = NULL;
    vt_error err = {0};
    struct rlimit old, small;
    vt_journal_mark marks[RECORDS + 1];
    int n = 0;
    (void)state;
    signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &old);
    assert_int_equal(vt_journal_open(&journal, s.fd, NULL, NULL), VT_OK);
    assert_int_equal(put(journal, 0, NULL), VT_OK);
    small = (struct rlimit){(rlim_t)boundary(1) + 10, old.rlim_max};
    setrlimit(RLIMIT_FSIZE, &small);
    assert_int_equal(put(journal, 1, &err), VT_ERR_IO);
    setrlimit(RLIMIT_FSIZE, &old);
    signal(SIGXFSZ, SIG_DFL);
    assert_non_null(strstr(err.text, "bytes needed"));
    marks[1] = vt_journal_tell(journal);
    vt_journal_close(journal);
    write_journal(s.fd, 1, RECORDS, marks);
    assert_int_equal(vt_journal_read(s.fd, check_record, &n, NULL, NULL), VT_OK);
    assert_int_equal(n, RECORDS);
    vt_scratch_free(&s);
}

static void short_and_interrupted_transfers_are_invisible(void **state)
{
    vt_scratch a = vt_scratch_new(), b = vt_scratch_new();
    vt_journal_mark marks[RECORDS + 1];
    size_t size_a, size_b;
    int n = 0;
    (void)state;
    write_journal(a.fd, 0, RECORDS, marks);
    char *bytes_a = vt_scratch_read(a.fd, "journal", &size_a);
    for (size_t transfer = 1; transfer <= 7; transfer++) {
        vt_fault fault = {.op = -1, .transfer = transfer, .interrupt = true};
        unlinkat(b.fd, "journal", 0);
        vt_fault_start(&fault);
        write_journal(b.fd, 0, 3, marks);
        write_journal(b.fd, 3, RECORDS, marks);
        n = 0;
        assert_int_equal(vt_journal_read(b.fd, check_record, &n, NULL, NULL), VT_OK);
        vt_fault_stop();
        assert_int_equal(n, RECORDS);
        char *bytes_b = vt_scratch_read(b.fd, "journal", &size_b);
        assert_int_equal(size_a, size_b);
        assert_memory_equal(bytes_a, bytes_b, size_a);
        vt_free(bytes_b);
    }
    vt_free(bytes_a);
    vt_scratch_free(&a);
    vt_scratch_free(&b);
}

static void planted_things_are_refused_without_blocking(void **state)
{
    static const char kinds[] = "lfdsc";
    vt_scratch s = vt_scratch_new();
    vt_journal *journal = NULL;
    int n = 0;
    (void)state;
    vt_scratch_write(s.fd, "victim", "x", 1);
    for (const char *kind = kinds; *kind; kind++) {
        if (!vt_plant(s.fd, "journal", *kind, "victim")) {
            print_message("left out: kind '%c' cannot be made here\n", *kind);
            continue;
        }
        assert_int_equal(vt_journal_open(&journal, s.fd, NULL, NULL), VT_ERR_CANTCREATE);
        assert_null(journal);
        assert_int_equal(vt_journal_read(s.fd, check_record, &n, NULL, NULL), VT_ERR_DATA);
        assert_int_equal(unlinkat(s.fd, "journal", *kind == 'd' ? AT_REMOVEDIR : 0), 0);
    }
    assert_int_equal(linkat(s.fd, "victim", s.fd, "journal", 0), 0);
    assert_int_equal(vt_journal_open(&journal, s.fd, NULL, NULL), VT_ERR_CANTCREATE);
    size_t size;
    char *bytes = vt_scratch_read(s.fd, "victim", &size);
    assert_string_equal(bytes, "x");
    vt_free(bytes);
    vt_scratch_free(&s);
}

static void foreign_files_are_refused(void **state)
{
    static const char *const texts[] = {"V1", "VTJRNL2\n", "hello, this is text", "\n"};
    vt_scratch s = vt_scratch_new();
    vt_journal *journal = NULL;
    int n = 0;
    (void)state;
    assert_int_equal(vt_journal_read(s.fd, check_record, &n, NULL, NULL), VT_ERR_NOINPUT);
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        size_t size;
        vt_scratch_write(s.fd, "journal", texts[i], strlen(texts[i]));
        assert_int_equal(vt_journal_open(&journal, s.fd, NULL, NULL), VT_ERR_DATA);
        assert_int_equal(vt_journal_read(s.fd, check_record, &n, NULL, NULL), VT_ERR_DATA);
        vt_free(vt_scratch_read(s.fd, "journal", &size));
        assert_int_equal(size, strlen(texts[i]));
    }
    vt_scratch_free(&s);
}

static vt_status stop_at_second(void *arg, const vt_record *record, vt_error *err)
{
    (void)record;
    return ++*(int *)arg == 2 ? vt_fail(err, VT_NO, "enough") : VT_OK;
}

static void visitor_can_end_the_reading(void **state)
{
    vt_scratch s = vt_scratch_new();
    vt_journal_mark marks[RECORDS + 1];
    int n = 0;
    (void)state;
    write_journal(s.fd, 0, RECORDS, marks);
    assert_int_equal(vt_journal_read(s.fd, stop_at_second, &n, NULL, NULL), VT_NO);
    assert_int_equal(n, 2);
    vt_scratch_free(&s);
}

static void journal_in_use_can_be_read(void **state)
{
    vt_scratch s = vt_scratch_new();
    vt_journal *journal = NULL;
    (void)state;
    assert_int_equal(vt_journal_open(&journal, s.fd, NULL, NULL), VT_OK);
    for (int i = 0; i < RECORDS; i++) {
        int n = 0;
        assert_int_equal(put(journal, i, NULL), VT_OK);
        assert_int_equal(vt_journal_read(s.fd, check_record, &n, NULL, NULL), VT_OK);
        assert_int_equal(n, i + 1);
    }
    vt_journal_close(journal);
    vt_scratch_free(&s);
}

static void large_records_and_no_steady_allocation(void **state)
{
    enum { SIZE = 300000 };
    vt_scratch s = vt_scratch_new();
    vt_journal *journal = NULL;
    char *payload = vt_calloc(SIZE, 1);
    (void)state;
    assert_int_equal(vt_journal_open(&journal, s.fd, NULL, NULL), VT_OK);
    assert_int_equal(vt_journal_put(journal, VT_RECORD_EVAL, 1, payload, SIZE, NULL), VT_OK);
    uint64_t before = vt_mem_count();
    for (int i = 0; i < 10; i++) {
        assert_int_equal(vt_journal_put(journal, VT_RECORD_EVAL, 1, payload, SIZE, NULL), VT_OK);
        assert_int_equal(vt_journal_sync(journal, NULL), VT_OK);
    }
    assert_int_equal(vt_mem_count(), before);
    vt_free(payload);
    vt_journal_close(journal);
    vt_scratch_free(&s);
}

static void lack_of_memory_is_said_and_leaves_no_file_open(void **state)
{
    vt_scratch s = vt_scratch_new();
    vt_journal_mark marks[RECORDS + 1];
    vt_journal *journal = NULL;
    vt_status status = VT_ERR_NOMEM;
    (void)state;
    write_journal(s.fd, 0, RECORDS, marks);
    int failures = 0;
    for (uint64_t at = 1; status == VT_ERR_NOMEM; at++) {
        vt_mem_fail_at(at, 0);
        status = vt_journal_open(&journal, s.fd, &marks[RECORDS], NULL);
        assert_true(status == VT_OK || (status == VT_ERR_NOMEM && !journal));
        if (status == VT_OK)
            status = put(journal, RECORDS, NULL);
        vt_mem_fail_at(0, 0);
        failures += status == VT_ERR_NOMEM;
        assert_int_equal(journal_size(s.fd), boundary(RECORDS + (status == VT_OK)));
        vt_journal_close(journal);
    }
    assert_true(failures >= 3);
    vt_scratch_free(&s);
}

int main(void)
{
    vt_log_set_level(VT_LOG_ERROR);
    const struct CMUnitTest tests[] = {
        {"records come back in order", records_come_back_in_order, NULL, NULL, NULL},
        {"the layout is as documented", layout_is_as_documented, NULL, NULL, NULL},
        {"torn tails of every length are cut", torn_tails_of_every_length_are_cut, NULL, NULL,
         NULL},
        {"every flipped bit is found", every_flipped_bit_is_found, NULL, NULL, NULL},
        {"damage is named with its offset", damage_is_named_with_its_offset, NULL, NULL, NULL},
        {"records computed again are compared, not rewritten",
         recomputed_records_are_compared_not_rewritten, NULL, NULL, NULL},
        {"a journal can go back to an earlier place", journal_can_go_back, NULL, NULL, NULL},
        {"queued records are as put ones", queued_records_are_as_put_ones, NULL, NULL, NULL},
        {"a queued record that differs fails the flush", queued_record_that_differs_fails_the_flush,
         NULL, NULL, NULL},
        {"a record that comes out different is an internal error",
         different_recomputed_record_is_an_internal_error, NULL, NULL, NULL},
        {"marks that do not lie in the file are refused", wrong_marks_are_refused, NULL, NULL,
         NULL},
        {"a failed write leaves a good journal", failed_write_leaves_a_good_journal, NULL, NULL,
         NULL},
        {"a failed sync is never tried again", failed_sync_is_never_tried_again, NULL, NULL, NULL},
        {"a file size limit is treated as a full disk", file_size_limit_is_a_full_disk, NULL, NULL,
         NULL},
        {"short and interrupted transfers are invisible",
         short_and_interrupted_transfers_are_invisible, NULL, NULL, NULL},
        {"links, FIFOs, folders, sockets, devices in its place are refused",
         planted_things_are_refused_without_blocking, NULL, NULL, NULL},
        {"files that are no journal are refused and kept", foreign_files_are_refused, NULL, NULL,
         NULL},
        {"a visitor can end the reading", visitor_can_end_the_reading, NULL, NULL, NULL},
        {"a journal that is being written can be read", journal_in_use_can_be_read, NULL, NULL,
         NULL},
        {"appending allocates nothing once the largest record was seen",
         large_records_and_no_steady_allocation, NULL, NULL, NULL},
        {"lack of memory is said", lack_of_memory_is_said_and_leaves_no_file_open, NULL, NULL,
         NULL},
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
