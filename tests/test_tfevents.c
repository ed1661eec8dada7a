#include "base/mem.h"
#include "base/proto.h"
#include "graph/graphdef.h"
#include "ops/ops.h"
#include "results/events.h"
#include "results/perf.h"
#include "results/tfevents.h"
#include "support/fault.h"
#include "support/make_run.h"
#include "support/test_device.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define GOLDEN "tests/fixtures/events/"

static const vt_made_run run_of_two = {
    .epochs = 2, .steps = 3, .classes = 4, .val = true, .done = true};
static const vt_text no_graph;

static void assert_golden(const vt_text *text, const char *name)
{
    size_t size;
    char *golden = vt_scratch_read(AT_FDCWD, name, &size);
    assert_false(text->failed);
    assert_int_equal(text->size, size);
    assert_memory_equal(text->data, golden, size);
    vt_free(golden);
}

static void checksum_is_that_of_the_standard(void **state)
{
    uint8_t zeros[32] = {0}, ones[32], up[32];
    (void)state;
    memset(ones, 0xff, sizeof ones);
    for (int i = 0; i < 32; i++)
        up[i] = (uint8_t)i;
    /* RFC 3720, appendix B.4 */
    assert_int_equal(vt_crc32c(zeros, 32), 0x8a9136aa);
    assert_int_equal(vt_crc32c(ones, 32), 0x62a8ab43);
    assert_int_equal(vt_crc32c(up, 32), 0x46dd794e);
    assert_int_equal(vt_crc32c("123456789", 9), 0xe3069283);
}

static void integers_are_written_seven_bits_a_byte(void **state)
{
    static const uint8_t expected[] = {0x08, 0x00, 0x08, 0x7f, 0x08, 0x80, 0x01, 0x80, 0x08, 0xff,
                                       0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01};
    vt_text text = {0};
    (void)state;
    vt_proto_integer(&text, 1, 0);
    vt_proto_integer(&text, 1, 127);
    vt_proto_integer(&text, 1, 128);
    vt_proto_integer(&text, 128, UINT64_MAX);
    assert_int_equal(text.size, sizeof expected);
    assert_memory_equal(text.data, expected, sizeof expected);
    vt_text_release(&text);
}

static void numbers_are_written_as_tensorboard_writes_them(void **state)
{
    vt_text file = {0};
    char tag[301] = "";
    (void)state;
    for (int i = 0; i < 60; i++)
        memcpy(tag + 5 * i, "long/", 5);
    vt_tfevents_version(&file, 0);
    vt_tfevents_scalars(&file, 0, 0, &(vt_tfevents_scalar){"zero", 0}, 1);
    vt_tfevents_scalars(&file, 1.5, 1,
                        (vt_tfevents_scalar[]){{"a", 1.0 / 3}, {"b", -1e30}, {"c", 1e-45}}, 3);
    vt_tfevents_scalars(&file, 1795262983.25, ((int64_t)1 << 40) + 5,
                        &(vt_tfevents_scalar){"Learning Rate", 3e-4}, 1);
    vt_tfevents_scalars(&file, -1, 127,
                        (vt_tfevents_scalar[]){{"\xc3\xa9\xe4\xb8\xad", INFINITY}, {"n", NAN}}, 2);
    vt_tfevents_scalars(&file, 2, 128, &(vt_tfevents_scalar){tag, 7}, 1);
    assert_golden(&file, GOLDEN "numbers.tfevents");
    vt_text_release(&file);
}

static vt_node *param(vt_graph *g, const char *name, int rank, const int64_t *dim)
{
    return vt_graph_param(g, name, vt_shape_of(rank, dim), VT_ROLE_WEIGHT, (vt_fill){0});
}

static void graph_is_written_as_tensorboard_reads_it(void **state)
{
    vt_params *params = vt_params_new();
    vt_graph *g = vt_graph_new(params, test_table(), 2, false);
    vt_text def = {0}, file = {0};
    (void)state;
    vt_node *x = vt_graph_input(g, "images", VT_F32, vt_shape_of(3, (int64_t[]){2, 5, 4}));
    vt_node *w = param(g, "fc.weight", 2, (int64_t[]){300, 4});
    vt_node *y = vt_linear(g, "fc", x, w, NULL);
    vt_node *scale = param(g, "norm.weight", 1, (int64_t[]){300});
    vt_node *shift = param(g, "norm.bias", 1, (int64_t[]){300});
    y = vt_layernorm(g, "norm", y, scale, shift, 1e-6);
    y = vt_layernorm(g, "norm", y, scale, shift, 1e-6);
    assert_non_null(y);
    vt_graphdef_write(g, &def);
    vt_tfevents_version(&file, 3);
    vt_tfevents_graph(&file, 3, &def);
    assert_golden(&file, GOLDEN "graph.tfevents");
    vt_text_release(&def);
    vt_text_release(&file);
    vt_graph_free(g);
    vt_params_free(params);
}

/* A run's folder without times. */
static vt_scratch make_run(void)
{
    vt_scratch scratch = vt_scratch_new();
    vt_make_run(scratch.fd, &run_of_two);
    vt_fs_remove(scratch.fd, "perf.jsonl", NULL);
    return scratch;
}

static void run_without_times_takes_a_second_an_epoch(void **state)
{
    vt_scratch scratch = make_run();
    vt_text file = {0};
    (void)state;
    assert_int_equal(vt_events_make(scratch.fd, &no_graph, &file, NULL), VT_OK);
    assert_golden(&file, GOLDEN "run.tfevents");
    vt_text_release(&file);
    vt_scratch_free(&scratch);
}

static double time_of(const uint8_t *record)
{
    double time;
    assert_int_equal(record[12], 0x09);
    memcpy(&time, record + 13, sizeof time);
    return time;
}

static void times_are_those_of_the_folder(void **state)
{
    static const char provenance[] = "{\"attempts\": [{\"start_utc\": \"2026-01-31T12:00:00Z\"}]}";
    static const double expected[] = {0,  0,  10, 20, 30, 30, 30, 30, /* 30 s, 3 records in it */
                                      32, 34, 36, 36, 36, 36};
    vt_scratch scratch = make_run();
    vt_text file = {0}, graph = {.size = 0};
    int n = 0;
    (void)state;
    vt_perf_append(scratch.fd, &(vt_perf){.epoch = 1, .train_s = 30});
    vt_perf_append(scratch.fd, &(vt_perf){.epoch = 2, .train_s = 6});
    vt_scratch_write(scratch.fd, "provenance.json", provenance, strlen(provenance));
    vt_text_printf(&graph, "a graph");
    assert_int_equal(vt_events_make(scratch.fd, &graph, &file, NULL), VT_OK);
    for (size_t at = 0; at < file.size; n++) {
        const uint8_t *record = (const uint8_t *)file.data + at;
        assert_in_range(n, 0, sizeof expected / sizeof *expected - 1);
        assert_true(fabs(time_of(record) - 1769860800 - expected[n]) < 1e-6);
        at += vt_tfevents_record(record, file.size - at);
    }
    assert_int_equal(n, sizeof expected / sizeof *expected);
    vt_text_release(&graph);
    vt_text_release(&file);
    vt_scratch_free(&scratch);
}

static void damaged_or_strange_records_are_not_records(void **state)
{
    vt_text file = {0};
    (void)state;
    vt_tfevents_scalars(&file, 5, 1, &(vt_tfevents_scalar){"a", 1}, 1);
    uint8_t *bytes = (uint8_t *)file.data;
    assert_int_equal(vt_tfevents_record(bytes, file.size), file.size);
    for (size_t size = 0; size < file.size; size++)
        assert_int_equal(vt_tfevents_record(bytes, size), 0);
    for (size_t i = 0; i < file.size; i++) {
        bytes[i] ^= 0x10;
        assert_int_equal(vt_tfevents_record(bytes, file.size), 0);
        bytes[i] ^= 0x10;
    }
    vt_text_release(&file);
}

/* The live file holds the golden events, with the same times or (`timeless`) any. */
static void assert_events(int fd, bool timeless)
{
    size_t size, golden_size;
    uint8_t *bytes = (uint8_t *)vt_scratch_read(fd, VT_EVENTS_FILE, &size);
    uint8_t *golden = (uint8_t *)vt_scratch_read(AT_FDCWD, GOLDEN "run.tfevents", &golden_size);
    size_t i = 0, j = 0;
    while (timeless && i < size && j < golden_size) {
        size_t x = vt_tfevents_record(bytes + i, size - i);
        size_t y = vt_tfevents_record(golden + j, golden_size - j);
        assert_true(x && y && vt_tfevents_same(bytes + i, x, golden + j, y));
        i += x;
        j += y;
    }
    if (timeless) {
        assert_int_equal(i, size);
        assert_int_equal(j, golden_size);
    } else {
        assert_int_equal(size, golden_size);
        assert_memory_equal(bytes, golden, size);
    }
    vt_free(bytes);
    vt_free(golden);
}

static vt_status put_again(void *arg, const vt_record *record, vt_error *err)
{
    (void)err;
    vt_events_put(arg, record->type, record->step, record->payload, record->size);
    return VT_OK;
}

static void file_cut_anywhere_is_completed_when_it_is_opened(void **state)
{
    vt_scratch scratch = make_run();
    size_t size;
    char *golden = vt_scratch_read(AT_FDCWD, GOLDEN "run.tfevents", &size);
    (void)state;
    for (size_t cut = 0; cut <= size; cut += cut < 100 || cut > size - 100 ? 1 : 7) {
        vt_events events;
        vt_scratch_write(scratch.fd, VT_EVENTS_FILE, golden, cut);
        vt_events_open(&events, scratch.fd, &no_graph);
        vt_events_close(&events);
        assert_events(scratch.fd, false);
    }
    vt_free(golden);
    vt_scratch_free(&scratch);
}

/* The journal is cut to what it was when the process was killed, the events to what they were;
 * the next process computes everything behind some checkpoint again. */
static void killed_run_repeats_and_loses_no_event(void **state)
{
    vt_scratch whole = make_run(), killed = make_run();
    size_t journal_size, events_size;
    char *journal = vt_scratch_read(whole.fd, "journal", &journal_size);
    char *golden = vt_scratch_read(AT_FDCWD, GOLDEN "run.tfevents", &events_size);
    (void)state;
    for (size_t cut = 400; cut <= journal_size; cut += 61) {
        size_t written = events_size * cut / journal_size;
        for (int behind = 0; behind < 2; behind++) {
            vt_events events;
            vt_scratch_write(killed.fd, "journal", journal, cut);
            vt_scratch_write(killed.fd, VT_EVENTS_FILE, golden, behind ? written / 2 : written);
            vt_events_open(&events, killed.fd, &no_graph);
            assert_int_equal(vt_journal_read(whole.fd, put_again, &events, NULL, NULL), VT_OK);
            vt_events_close(&events);
            assert_events(killed.fd, true);
        }
    }
    vt_free(journal);
    vt_free(golden);
    vt_scratch_free(&whole);
    vt_scratch_free(&killed);
}

/* Opens the live file over these bytes: it becomes the journal's. */
static void assert_mended(int fd, const void *bytes, size_t size)
{
    vt_events events;
    vt_scratch_write(fd, VT_EVENTS_FILE, bytes, size);
    vt_events_open(&events, fd, &no_graph);
    vt_events_close(&events);
    assert_events(fd, false);
}

static void other_files_in_its_place_are_replaced_or_left_alone(void **state)
{
    vt_scratch scratch = make_run();
    vt_events events;
    vt_text other = {0}, more = {0};
    size_t size;
    char *golden = vt_scratch_read(AT_FDCWD, GOLDEN "run.tfevents", &size);
    (void)state;
    assert_mended(scratch.fd, "no events", 9);

    /* The same tags and steps with other values, so of the same length. */
    vt_tfevents_version(&other, 0);
    vt_tfevents_scalars(&other, 1.0 / 3, 1,
                        (vt_tfevents_scalar[]){{"Steps/Loss", 1},
                                               {"Steps/Acc", 2},
                                               {"Steps/Learning Rate", 3},
                                               {"Steps/Gradient Norm", 4}},
                        4);
    vt_text_append(&other, golden + other.size, size - other.size);
    assert_mended(scratch.fd, other.data, other.size);

    /* Events that the journal does not have. */
    vt_text_append(&more, golden, size);
    vt_tfevents_scalars(&more, 5, 9, &(vt_tfevents_scalar){"Loss/test", 1}, 1);
    assert_mended(scratch.fd, more.data, more.size);
    vt_text_release(&other);
    vt_text_release(&more);
    vt_free(golden);

    vt_fs_remove(scratch.fd, VT_EVENTS_FILE, NULL);
    vt_scratch_write(scratch.fd, "target", "kept", 4);
    assert_true(vt_plant(scratch.fd, VT_EVENTS_FILE, 'l', "target"));
    vt_events_open(&events, scratch.fd, &no_graph);
    assert_int_equal(events.fd, -1);
    vt_events_put(&events, VT_RECORD_EPOCH, 1, &(vt_record_epoch){0}, sizeof(vt_record_epoch));
    vt_events_close(&events);
    char *kept = vt_scratch_read(scratch.fd, "target", &size);
    assert_string_equal(kept, "kept");
    vt_free(kept);
    vt_scratch_free(&scratch);
}

static void full_disk_ends_the_events_and_nothing_else(void **state)
{
    vt_scratch whole = make_run(), live = make_run();
    size_t size;
    char *journal = vt_scratch_read(whole.fd, "journal", &size);
    (void)state;
    for (int at = 1; at <= 12; at++) {
        vt_events events;
        vt_fault fault = {
            .op = VT_FS_WRITE, .at = at, .onwards = true, .error = ENOSPC, .transfer = 40};
        vt_scratch_write(live.fd, "journal", journal, 500);
        vt_fs_remove(live.fd, VT_EVENTS_FILE, NULL);
        vt_fault_start(&fault);
        vt_events_open(&events, live.fd, &no_graph);
        assert_int_equal(vt_journal_read(whole.fd, put_again, &events, NULL, NULL), VT_OK);
        assert_int_equal(events.fd, -1);
        vt_fault_stop();
        vt_events_close(&events);
        vt_scratch_write(live.fd, "journal", journal, size);
        vt_events_open(&events, live.fd, &no_graph);
        vt_events_close(&events);
        assert_events(live.fd, true);
    }
    vt_free(journal);
    vt_scratch_free(&whole);
    vt_scratch_free(&live);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(checksum_is_that_of_the_standard),
        cmocka_unit_test(integers_are_written_seven_bits_a_byte),
        cmocka_unit_test(numbers_are_written_as_tensorboard_writes_them),
        cmocka_unit_test(graph_is_written_as_tensorboard_reads_it),
        cmocka_unit_test(run_without_times_takes_a_second_an_epoch),
        cmocka_unit_test(times_are_those_of_the_folder),
        cmocka_unit_test(damaged_or_strange_records_are_not_records),
        cmocka_unit_test(file_cut_anywhere_is_completed_when_it_is_opened),
        cmocka_unit_test(killed_run_repeats_and_loses_no_event),
        cmocka_unit_test(other_files_in_its_place_are_replaced_or_left_alone),
        cmocka_unit_test(full_disk_ends_the_events_and_nothing_else),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
