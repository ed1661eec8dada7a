#include "base/mem.h"
#include "results/history.h"
#include "support/fault.h"
#include "support/make_run.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void description_reads_back_what_was_written(void **state)
{
    static const char *const names[] = {"a", "\xc3\xa9 \"b\""};
    const uint64_t seeds[] = {0, 5, INT64_MAX, (uint64_t)INT64_MAX + 1, UINT64_MAX};
    (void)state;
    for (size_t i = 0; i < sizeof seeds / sizeof *seeds; i++) {
        vt_runinfo info = {.exp_name = "quick-vit",
                           .exp_id = "e",
                           .run_id = "r",
                           .data_digest = "d",
                           .numerics = "n",
                           .select = "val",
                           .seed = seeds[i],
                           .class_names = names,
                           .n_classes = 2,
                           .epochs = 3,
                           .steps_per_epoch = 4,
                           .images = {5, 6, 7},
                           .n_params = 8,
                           .macs = 9};
        vt_runinfo back;
        vt_text json = {0};
        vt_error err = {0};
        assert_int_equal(vt_runinfo_write(&info, &json, &err), VT_OK);
        assert_int_equal(vt_runinfo_parse(&back, "x", json.data, json.size, &err), VT_OK);
        assert_string_equal(back.exp_name, "quick-vit");
        assert_string_equal(back.select, "val");
        assert_true(back.seed == seeds[i]);
        assert_int_equal(back.n_classes, 2);
        assert_string_equal(back.class_names[1], names[1]);
        assert_int_equal(back.epochs, 3);
        assert_int_equal(back.steps_per_epoch, 4);
        assert_int_equal(back.images[VT_SPLIT_VAL], 6);
        assert_int_equal(back.n_params, 8);
        assert_int_equal(back.macs, 9);
        vt_runinfo_release(&back);
        vt_text_release(&json);
    }
}

#define GOOD                                                                                       \
    "\"class_names\":[\"a\"],\"data_digest\":\"d\",\"epochs\":1,\"exp_id\":\"e\",\"exp_name\":"    \
    "\"n\",\"images\":{\"test\":1,\"train\":1,\"val\":0},\"macs\":1,\"numerics\":\"x\","           \
    "\"params\":1,\"run_id\":\"r\",\"select\":\"last\",\"steps_per_epoch\":1"

static void description_that_is_wrong_is_refused_with_its_key(void **state)
{
    static const struct {
        const char *json, *text;
    } cases[] = {
        {"{" GOOD ",\"schema\":1,\"seed\":-1}", "'seed'"},
        {"{" GOOD ",\"schema\":1,\"seed\":\"1x\"}", "'seed'"},
        {"{" GOOD ",\"schema\":1,\"seed\":\"99999999999999999999\"}", "'seed'"},
        {"{" GOOD ",\"schema\":1}", "'seed'"},
        {"{" GOOD ",\"schema\":2,\"seed\":1}", "form 2"},
        {"{" GOOD ",\"seed\":1}", "'schema'"},
        {"{\"schema\":1,\"seed\":1}", "'exp_name'"},
        {"{" GOOD ",\"schema\":1,\"seed\":1,\"epochs\":2}", "duplicate"},
        {"[1]", "not a JSON object"},
        {"{", "not a JSON object"},
        {"", "not a JSON object"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        vt_runinfo info;
        vt_error err = {0};
        assert_int_equal(
            vt_runinfo_parse(&info, "file", cases[i].json, strlen(cases[i].json), &err),
            VT_ERR_DATA);
        if (!strstr(err.text, cases[i].text))
            fail_msg("'%s' is missing in: %s", cases[i].text, err.text);
        vt_runinfo_release(&info);
    }
}

static void history_holds_every_record_in_its_column(void **state)
{
    vt_scratch s = vt_scratch_new();
    vt_history h;
    vt_error err = {0};
    const vt_made_run what = {.epochs = 3,
                              .steps = 5,
                              .classes = 4,
                              .snapshots = 2,
                              .images = 2,
                              .val = true,
                              .logits = true,
                              .done = true};
    (void)state;
    vt_make_run(s.fd, &what);
    assert_int_equal(vt_history_read(&h, s.fd, &err), VT_OK);
    assert_true(h.info.seed == UINT64_MAX);
    assert_int_equal(h.n_train, 15);
    assert_int_equal(h.train[14].step, 15);
    assert_true(h.train[14].loss == 1.0);
    assert_int_equal(h.n_epochs, 3);
    assert_int_equal(h.epoch[1].epoch, 2);
    assert_int_equal(h.n_eval[VT_SPLIT_TRAIN], 0);
    assert_int_equal(h.n_eval[VT_SPLIT_VAL], 3);
    assert_int_equal(h.n_eval[VT_SPLIT_TEST], 3);
    assert_true(h.eval[VT_SPLIT_TEST][2].loss == 1.0);
    assert_int_equal(h.n_checkpoints, 3);
    assert_int_equal(h.n_captures, 3);
    assert_string_equal(h.capture[0].file, "attention-1.safetensors");
    assert_int_equal(h.capture[2].kind, VT_CAPTURE_LOGITS);
    assert_true(h.done);
    assert_int_equal(h.last.step, 15);
    vt_history_release(&h);
    vt_scratch_free(&s);
}

static void torn_tail_is_left_out(void **state)
{
    vt_scratch s = vt_scratch_new();
    const vt_made_run what = {.epochs = 2, .steps = 1, .classes = 2};
    size_t size;
    (void)state;
    vt_make_run(s.fd, &what);
    char *bytes = vt_scratch_read(s.fd, "journal", &size);
    vt_scratch_write(s.fd, "journal", bytes, size - 7);
    vt_history h;
    vt_error err = {0};
    assert_int_equal(vt_history_read(&h, s.fd, &err), VT_OK);
    assert_int_equal(h.n_epochs, 2);
    assert_int_equal(h.n_checkpoints, 1);
    vt_history_release(&h);
    vt_free(bytes);
    vt_scratch_free(&s);
}

/* Journals of good records that do not belong together. */
static void records_that_make_no_sense_are_refused(void **state)
{
    static const char run[] = "{" GOOD ",\"schema\":1,\"seed\":1}";
    static const char capture[] = "{\"epoch\":1,\"file\":\"../x\",\"kind\":\"logits\","
                                  "\"sha256\":\"0000000000000000000000000000000000000000000000000"
                                  "000000000000000\"}";
    const vt_record_eval three = {.classes = 3}, split = {.classes = 1, .split = 3};
    const vt_record_eval whole = {.classes = 1};
    const vt_record_train train = {0};
    const struct {
        bool described;
        uint32_t type;
        const void *payload;
        size_t size;
        const char *text;
    } cases[] = {
        {false, VT_RECORD_TRAIN, &train, sizeof train, "out of place"},
        {true, VT_RECORD_RUN, run, sizeof run - 1, "out of place"},
        {true, VT_RECORD_TRAIN, &train, sizeof train - 8, "wrong size"},
        {true, VT_RECORD_EPOCH, &train, 1, "wrong size"},
        {true, VT_RECORD_CHECKPOINT, &train, 1, "wrong size"},
        {true, VT_RECORD_DONE, &train, 0, "wrong size"},
        {true, VT_RECORD_EVAL, &train, 8, "too short"},
        {true, VT_RECORD_EVAL, &three, sizeof three, "number of classes"},
        {true, VT_RECORD_EVAL, &split, sizeof split, "no split"},
        {true, VT_RECORD_EVAL, &whole, sizeof whole, "wrong size"},
        {true, VT_RECORD_CAPTURE, capture, sizeof capture - 1, "captured file"},
        {true, VT_RECORD_CAPTURE, "{}", 2, "captured file"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        vt_scratch s = vt_scratch_new();
        vt_journal *journal;
        vt_history h;
        vt_error err = {0};
        assert_int_equal(vt_journal_open(&journal, s.fd, NULL, &err), VT_OK);
        if (cases[i].described)
            vt_journal_put(journal, VT_RECORD_RUN, 0, run, sizeof run - 1, &err);
        vt_journal_put(journal, cases[i].type, 1, cases[i].payload, cases[i].size, &err);
        vt_journal_close(journal);
        assert_int_equal(vt_history_read(&h, s.fd, &err), VT_ERR_DATA);
        if (!strstr(err.text, cases[i].text))
            fail_msg("'%s' is missing in: %s", cases[i].text, err.text);
        vt_history_release(&h);
        vt_scratch_free(&s);
    }
}

static void empty_journal_is_refused_and_a_missing_one_too(void **state)
{
    vt_scratch s = vt_scratch_new();
    vt_history h;
    vt_journal *journal;
    vt_error err = {0};
    (void)state;
    assert_int_equal(vt_history_read(&h, s.fd, NULL), VT_ERR_NOINPUT);
    assert_int_equal(vt_journal_open(&journal, s.fd, NULL, NULL), VT_OK);
    vt_journal_close(journal);
    assert_int_equal(vt_history_read(&h, s.fd, &err), VT_ERR_DATA);
    assert_non_null(strstr(err.text, "no record"));
    vt_scratch_free(&s);
}

static void every_failed_allocation_is_reported(void **state)
{
    vt_scratch s = vt_scratch_new();
    const vt_made_run what = {.epochs = 2, .steps = 2, .classes = 2, .logits = true};
    vt_history h;
    int failures = 0;
    vt_status status = VT_ERR_NOMEM;
    (void)state;
    vt_make_run(s.fd, &what);
    for (uint64_t at = 1; status != VT_OK; at++) {
        vt_mem_fail_at(at, 0);
        status = vt_history_read(&h, s.fd, NULL);
        vt_mem_fail_at(0, 0);
        vt_history_release(&h);
        assert_true(status == VT_OK || status == VT_ERR_NOMEM);
        failures += status != VT_OK;
    }
    assert_true(failures > 10);
    vt_scratch_free(&s);
}

int main(void)
{
#define CASE(text, function)                                                                       \
    {                                                                                              \
        text, function, NULL, NULL, NULL                                                           \
    }
    const struct CMUnitTest tests[] = {
        CASE("a run's description reads back what was written",
             description_reads_back_what_was_written),
        CASE("a description that is wrong is refused with its key",
             description_that_is_wrong_is_refused_with_its_key),
        CASE("a run's history holds every record in its column",
             history_holds_every_record_in_its_column),
        CASE("a torn tail is left out", torn_tail_is_left_out),
        CASE("records that make no sense are refused", records_that_make_no_sense_are_refused),
        CASE("an empty journal is refused, and a missing one too",
             empty_journal_is_refused_and_a_missing_one_too),
        CASE("every failed allocation is reported", every_failed_allocation_is_reported),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
