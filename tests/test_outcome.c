#include "base/mem.h"
#include "report/outcome.h"
#include "results/rundir.h"
#include "support/fault.h"
#include "support/make_run.h"

#include <fcntl.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static int make(const vt_scratch *s, const char *path, const vt_made_run *what)
{
    int fd = -1;
    assert_int_equal(vt_fs_make_dirs(s->fd, path, &fd, NULL), VT_OK);
    vt_make_run(fd, what);
    return fd;
}

static vt_outcome read_one(const vt_scratch *s, const char *path)
{
    vt_run_place place = {.exp = "made", .id = "0123456789ab"};
    vt_outcome outcome;
    vt_error err = {0};
    snprintf(place.path, sizeof place.path, "%s/%s", s->path, path);
    assert_int_equal(vt_outcome_read(&outcome, &place, &err), VT_OK);
    return outcome;
}

static double metric(const vt_outcome *outcome, const char *name)
{
    const vt_metric *found = vt_metric_find(name);
    assert_non_null(found);
    return vt_outcome_metric(outcome, found);
}

static void write_provenance(int fd, const char *state)
{
    char text[400];
    snprintf(text, sizeof text,
             "{\"attempts\": [{\"wall_s\": 1.5, \"state\": \"killed\"}, {\"wall_s\": 2, "
             "\"state\": \"%s\", \"git\": {\"commit\": \"abc\", \"dirty\": true}, \"host\": "
             "{\"cpu\": \"Some CPU\", \"threads\": 3}}]}",
             state);
    vt_scratch_write(fd, "provenance.json", text, strlen(text));
}

static void write_summary(int fd, const char *metrics, double top1)
{
    const vt_summary summary = {
        .exp_name = "made",
        .state = "done",
        .metrics_sha256 = metrics,
        .train_loss = NAN,
        .last = {[VT_SPLIT_TEST] = {true, 3, 1, top1, 0.99, 0.01}},
        .best = {[VT_SPLIT_TEST] = {true, 2, 1.5, 0.375, 0.99, 0.01}},
        .attempts = 2,
        .wall_s = 12.5,
        .images_per_s = 100,
        .peak_bytes = 4096,
        .threads = 3,
    };
    assert_int_equal(vt_summary_write(fd, &summary, NULL), VT_OK);
}

static void run_that_is_done_is_read_from_its_journal(void **state)
{
    vt_scratch s = vt_scratch_new();
    const vt_made_run what = {.epochs = 3, .steps = 5, .classes = 4, .val = true, .done = true};
    (void)state;
    vt_fs_close(&(int){make(&s, "made/0123456789ab", &what)});
    vt_outcome o = read_one(&s, "made/0123456789ab");
    assert_string_equal(vt_run_state_word(o.state), "done");
    assert_string_equal(o.exp_name, "made");
    assert_string_equal(o.commit, "abc-dirty");
    assert_true(o.seed == UINT64_MAX);
    assert_int_equal(o.epoch, 3);
    assert_int_equal(o.step, 15);
    assert_int_equal(o.steps_per_epoch, 5);
    assert_int_equal(o.images[VT_SPLIT_TEST], 32);
    assert_int_equal(o.attempts, 2);
    assert_int_equal(strlen(o.metrics_sha256), 64);
    assert_true(metric(&o, "test.loss") == 1.0);
    assert_true(metric(&o, "val.top1") == 0.5 - 0.25 / 3);
    assert_true(metric(&o, "best.test.top1") == 0.5 - 0.25 / 3);
    assert_true(metric(&o, "train.loss") == 1.0);
    assert_true(metric(&o, "best.epoch") == 3);
    assert_true(metric(&o, "params") == 1000);
    assert_true(isnan(metric(&o, "peak_bytes")));
    vt_outcome_release(&o);
    vt_scratch_free(&s);
}

static void summary_counts_only_if_it_is_that_of_the_complete_run(void **state)
{
    vt_scratch s = vt_scratch_new();
    const vt_made_run what = {.epochs = 3, .steps = 5, .classes = 4, .done = true};
    char zeros[VT_SHA256_HEX_SIZE];
    (void)state;
    int fd = make(&s, "made/0123456789ab", &what);
    vt_outcome o = read_one(&s, "made/0123456789ab");
    write_summary(fd, o.metrics_sha256, 0.125);
    vt_outcome_release(&o);
    o = read_one(&s, "made/0123456789ab");
    assert_true(metric(&o, "test.top1") == 0.125);
    assert_true(metric(&o, "best.test.top1") == 0.375);
    assert_true(metric(&o, "best.epoch") == 2);
    assert_true(metric(&o, "images_per_s") == 100);
    assert_true(metric(&o, "wall_s") == 12.5);
    assert_int_equal(o.images[VT_SPLIT_TRAIN], 64); /* from the journal all the same */
    assert_int_equal(o.step, 15);
    vt_outcome_release(&o);
    memset(zeros, '0', sizeof zeros - 1);
    zeros[sizeof zeros - 1] = '\0';
    write_summary(fd, zeros, 0.125);
    o = read_one(&s, "made/0123456789ab");
    assert_true(metric(&o, "test.top1") == 0.5 - 0.25 / 3);
    vt_outcome_release(&o);
    vt_fs_close(&fd);
    vt_scratch_free(&s);
}

static void state_comes_from_lock_journal_and_last_attempt(void **state)
{
    static const struct {
        const char *word;
        vt_run_state state;
    } cases[] = {{"interrupted", VT_RUN_INTERRUPTED},
                 {"failed", VT_RUN_FAILED},
                 {"diverged", VT_RUN_DIVERGED},
                 {"running", VT_RUN_DEAD},
                 {"killed", VT_RUN_DEAD},
                 {"?", VT_RUN_DEAD}};
    vt_scratch s = vt_scratch_new();
    const vt_made_run what = {.epochs = 2, .steps = 3, .classes = 2};
    vt_rundir dir = {0};
    vt_error err = {0};
    (void)state;
    int fd = make(&s, "made/0123456789ab", &what);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        write_provenance(fd, cases[i].word);
        vt_outcome o = read_one(&s, "made/0123456789ab");
        assert_string_equal(vt_run_state_word(o.state), vt_run_state_word(cases[i].state));
        assert_int_equal(o.step, 6);
        assert_int_equal(o.threads, 3);
        assert_string_equal(o.machine, "Some CPU, 3 threads");
        assert_true(metric(&o, "wall_s") == 3.5);
        assert_string_equal(o.metrics_sha256, "");
        vt_outcome_release(&o);
    }
    assert_int_equal(vt_rundir_open(&dir, s.path, "made", "0123456789ab", false, &err), VT_OK);
    vt_outcome o = read_one(&s, "made/0123456789ab");
    assert_string_equal(vt_run_state_word(o.state), "running");
    vt_outcome_release(&o);
    vt_rundir_close(&dir);
    o = read_one(&s, "made/0123456789ab");
    assert_string_equal(vt_run_state_word(o.state), "dead");
    vt_outcome_release(&o);
    vt_fs_close(&fd);
    vt_scratch_free(&s);
}

static void run_killed_before_its_first_record_is_dead_not_broken(void **state)
{
    vt_scratch s = vt_scratch_new();
    int fd = -1;
    vt_journal *journal;
    (void)state;
    assert_int_equal(vt_fs_make_dirs(s.fd, "made/0123456789ab", &fd, NULL), VT_OK);
    assert_int_equal(vt_journal_open(&journal, fd, NULL, NULL), VT_OK);
    vt_journal_close(journal);
    vt_outcome o = read_one(&s, "made/0123456789ab");
    assert_string_equal(vt_run_state_word(o.state), "dead");
    assert_string_equal(o.run_id, "0123456789ab");
    vt_outcome_release(&o);
    vt_fs_close(&fd);
    vt_scratch_free(&s);
}

static void settings_are_the_flat_list_of_the_file(void **state)
{
    static const char yaml[] = "zeta: 1\nmodel:\n  family: vit\n  stages: [{block: a, n: 2}, b]\n"
                               "data: {train: [flip: 0.5], dir: \"a\\x1bb\", name: \"5\"}\n"
                               "unknown: {deep: {er: [1, [2]]}}\nempty: {}\n";
    vt_scratch s = vt_scratch_new();
    const vt_made_run what = {.epochs = 1, .steps = 1, .classes = 2};
    (void)state;
    int fd = make(&s, "made/0123456789ab", &what);
    vt_scratch_write(fd, "config.yaml", yaml, sizeof yaml - 1);
    vt_outcome o = read_one(&s, "made/0123456789ab");
    assert_int_equal(o.n_settings, 7 + 1);
    assert_string_equal(vt_outcome_setting(&o, "train.precision"), "fp32"); /* came later */
    for (int i = 1; i < o.n_settings; i++)
        assert_true(strcmp(o.setting[i - 1].key, o.setting[i].key) < 0);
    assert_string_equal(vt_outcome_setting(&o, "zeta"), "1");
    assert_string_equal(vt_outcome_setting(&o, "model.stages"), "[{block: a, n: 2}, b]");
    assert_string_equal(vt_outcome_setting(&o, "data.train"), "[flip: 0.5]");
    assert_string_equal(vt_outcome_setting(&o, "data.dir"), "a?b");
    assert_string_equal(vt_outcome_setting(&o, "data.name"), "\"5\"");
    assert_string_equal(vt_outcome_setting(&o, "unknown.deep"), "{er: [1, [2]]}");
    assert_null(vt_outcome_setting(&o, "model"));
    vt_outcome_release(&o);
    vt_scratch_write(fd, "config.yaml", "a: [", 4);
    o = read_one(&s, "made/0123456789ab");
    assert_int_equal(o.n_settings, 0);
    assert_string_equal(vt_run_state_word(o.state), "dead");
    vt_outcome_release(&o);
    vt_fs_close(&fd);
    vt_scratch_free(&s);
}

/* What is put in the place of a file of a complete run. */
static void spoil(int fd, const char *name, char kind)
{
    size_t size;
    char *bytes;
    unlinkat(fd, "spare", 0);
    switch (kind) {
    case 't': /* truncated in its first record */
        bytes = vt_scratch_read(fd, name, &size);
        vt_scratch_write(fd, name, bytes, 40);
        vt_free(bytes);
        return;
    case 'b': /* a bit in the middle */
        bytes = vt_scratch_read(fd, name, &size);
        bytes[size / 2] = (char)(bytes[size / 2] ^ 4);
        vt_scratch_write(fd, name, bytes, size);
        vt_free(bytes);
        return;
    case 'h': /* huge, and nothing in it */
        assert_int_equal(renameat(fd, name, fd, "spare"), 0);
        vt_scratch_write(fd, name, "VTJRNL1\n", 8);
        int file = openat(fd, name, O_WRONLY | O_CLOEXEC);
        assert_int_equal(ftruncate(file, (off_t)1 << 40), 0);
        close(file);
        return;
    case 'g': /* garbage */
        vt_scratch_write(fd, name, "\x1b[31m{\"attempts\": [[[[", 23);
        return;
    case '0':
        assert_int_equal(unlinkat(fd, name, 0), 0);
        return;
    default:
        assert_int_equal(renameat(fd, name, fd, "spare"), 0);
        assert_true(vt_plant(fd, name, kind, "spare"));
    }
}

static void hostile_folders_are_broken_and_never_stall_the_others(void **state)
{
    static const struct {
        const char *file;
        char kind;
        bool broken;
        const char *text; /* in the problem */
    } cases[] = {
        {"journal", 't', false, ""},
        {"journal", 'h', true, "journal"},
        {"journal", 'g', true, "journal"},
        {"journal", '0', true, "no journal"},
        {"journal", 'l', true, "link"},
        {"journal", 'f', true, "FIFO"},
        {"journal", 'd', true, ""},
        {"journal", 's', true, "socket"},
        {"summary.json", 'g', false, ""},
        {"summary.json", 'f', false, ""},
        {"summary.json", 'l', false, ""},
        {"summary.json", 'h', false, ""},
        {"provenance.json", 'g', false, ""},
        {"provenance.json", 'f', false, ""},
        {"provenance.json", 'h', false, ""},
        {"config.yaml", 'g', false, ""},
        {"config.yaml", 'f', false, ""},
        {"config.yaml", 'l', false, ""},
        {"config.yaml", 'h', false, ""},
        {"perf.jsonl", 'h', false, ""},
        {"perf.jsonl", 'f', false, ""},
        {"lock", 'f', false, ""},
        {"lock", 'l', false, ""},
    };
    vt_scratch s = vt_scratch_new();
    const vt_made_run what = {.epochs = 2, .steps = 2, .classes = 3, .done = true};
    vt_outcome_list list;
    vt_error err = {0};
    enum { N = sizeof cases / sizeof *cases };
    (void)state;
    for (int i = 0; i < N; i++) {
        char path[64];
        snprintf(path, sizeof path, "made/%012d", i);
        int fd = make(&s, path, &what);
        write_summary(fd, "not this run's", 0.5);
        vt_scratch_write(fd, "lock", "", 0);
        spoil(fd, cases[i].file, cases[i].kind);
        vt_fs_close(&fd);
    }
    vt_fs_close(&(int){make(&s, "other/feed", &what)});
    vt_fs_close(&(int){make(&s, "made/set-aside.old-1", &what)});
    assert_int_equal(symlinkat("0000", s.fd, "loop"), 0);
    assert_int_equal(mkdirat(s.fd, "made/bad\033[31mname", 0777), 0);
    assert_int_equal(vt_outcomes_read(&list, s.path, NULL, 0, false, &err), VT_OK);
    assert_int_equal(list.n, N + 1);
    for (int i = 0; i < list.n; i++) {
        const vt_outcome *o = &list.run[i];
        bool broken = o->state == VT_RUN_BROKEN;
        int of = strcmp(o->exp_name, "other") == 0 ? -1 : atoi(o->place.id);
        if (strcmp(o->place.exp, "made") != 0)
            of = -1;
        if (broken != (of >= 0 && cases[of].broken))
            fail_msg("case %d: %s '%s'", of, vt_run_state_word(o->state), o->problem);
        if (broken && !strstr(o->problem, cases[of].text))
            fail_msg("case %d: '%s'", of, o->problem);
        for (const char *c = o->problem; *c; c++)
            assert_true(*c >= ' ');
        if (!broken) /* a torn first record is what a kill leaves */
            assert_string_equal(vt_run_state_word(o->state), of == 0 ? "dead" : "done");
    }
    vt_outcomes_release(&list);
    vt_scratch_free(&s);
}

/* A flipped bit in a run's middle: seen where the journal has to be read. */
static void damaged_journal_without_a_summary_is_broken(void **state)
{
    vt_scratch s = vt_scratch_new();
    const vt_made_run what = {.epochs = 4, .steps = 2, .classes = 3, .done = true};
    (void)state;
    int fd = make(&s, "made/0123456789ab", &what);
    spoil(fd, "journal", 'b');
    vt_outcome o = read_one(&s, "made/0123456789ab");
    assert_string_equal(vt_run_state_word(o.state), "broken");
    assert_non_null(strstr(o.problem, "journal"));
    vt_outcome_release(&o);
    vt_fs_close(&fd);
    vt_scratch_free(&s);
}

/* made/: seeds 0, 1, 2 of variant "aa" and 0, 1 of the newer variant "bb". */
static void make_seeds(const vt_scratch *s)
{
    static const struct {
        const char *path, *exp_id;
        uint64_t seed;
        int epochs, age;
    } runs[] = {{"quick-vit/aaa0", "aa", 0, 2, 50}, {"quick-vit/aaa2", "aa", 2, 4, 40},
                {"quick-vit/aaa1", "aa", 1, 3, 30}, {"quick-vit/bbb0", "bb", 0, 1, 20},
                {"quick-vit/bbb1", "bb", 1, 1, 10}, {"quick-vit/ccc0", "aa", 0, 5, 60}};
    for (size_t i = 0; i < sizeof runs / sizeof *runs; i++) {
        const vt_made_run what = {.epochs = runs[i].epochs,
                                  .steps = 1,
                                  .classes = 2,
                                  .done = true,
                                  .seeded = true,
                                  .seed = runs[i].seed,
                                  .exp_id = runs[i].exp_id};
        const struct timespec times[2] = {{.tv_sec = 1000000 - runs[i].age},
                                          {.tv_sec = 1000000 - runs[i].age}};
        int fd = make(s, runs[i].path, &what);
        assert_int_equal(utimensat(fd, "journal", times, 0), 0);
        vt_fs_close(&fd);
    }
}

static void run_is_found_by_seed_and_by_its_best_metric(void **state)
{
    static const struct {
        const char *word, *id, *text;
        vt_status status;
    } cases[] = {
        {"quick/vit@seed=0", "bbb0", "", VT_OK},
        {"quick-vit@seed=2", "aaa2", "", VT_OK},
        {"quick/vit@best:test.top1", "ccc0", "", VT_OK},
        {"quick/vit@best:test.loss", "ccc0", "", VT_OK},
        {"quick/vit", "bbb1", "", VT_OK},
        {"aaa1", "aaa1", "", VT_OK},
        {"quick/vit@seed=7", "", "no run with that seed", VT_ERR_NOINPUT},
        {"quick/vit@best:val.top1", "", "no complete run", VT_ERR_NOINPUT},
        {"quick/vit@best:test.top", "", "no metric 'test.top'", VT_ERR_USAGE},
        {"quick/vit@seed=-1", "", "EXP@seed=N", VT_ERR_USAGE},
        {"quick/vit@seed=1x", "", "EXP@seed=N", VT_ERR_USAGE},
        {"quick/vit@", "", "EXP@seed=N", VT_ERR_USAGE},
        {"quick/vot@seed=1", "", "did you mean 'quick-vit'", VT_ERR_NOINPUT},
    };
    vt_scratch s = vt_scratch_new();
    (void)state;
    make_seeds(&s);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        vt_run_place place;
        vt_error err = {0};
        assert_int_equal(vt_outcomes_find(&place, s.path, cases[i].word, &err), cases[i].status);
        assert_string_equal(place.id, cases[i].id);
        if (!strstr(err.text, cases[i].text))
            fail_msg("%s: %s", cases[i].word, err.text);
    }
    vt_scratch_free(&s);
}

static void experiment_is_its_variants_with_their_seeds(void **state)
{
    static const char *const expected[] = {"bbb0", "bbb1", "aaa0", "aaa1", "aaa2"};
    vt_scratch s = vt_scratch_new();
    vt_outcome_list list;
    vt_error err = {0};
    const char *const words[] = {"quick/vit", "ccc0"};
    (void)state;
    make_seeds(&s);
    assert_int_equal(vt_outcomes_read(&list, s.path, words, 2, true, &err), VT_OK);
    assert_int_equal(list.n, 6);
    for (int i = 0; i < 5; i++)
        assert_string_equal(list.run[i].place.id, expected[i]);
    assert_string_equal(list.run[5].place.id, "ccc0");
    vt_outcomes_release(&list);
    assert_int_equal(vt_outcomes_read(&list, s.path, words, 2, false, &err), VT_OK);
    assert_int_equal(list.n, 2);
    assert_string_equal(list.run[0].place.id, "bbb1");
    vt_outcomes_release(&list);
    assert_int_equal(vt_outcomes_read(&list, "nowhere", words, 1, true, &err), VT_ERR_NOINPUT);
    vt_outcomes_release(&list);
    vt_scratch_free(&s);
}

static void every_failed_allocation_is_reported_without_a_leak(void **state)
{
    vt_scratch s = vt_scratch_new();
    const char *const words[] = {"quick/vit", "quick/vit@best:test.top1"};
    vt_status status = VT_ERR_NOMEM;
    (void)state;
    make_seeds(&s);
    for (uint64_t at = 1; status != VT_OK; at++) {
        vt_outcome_list list;
        vt_error err = {0};
        vt_mem_fail_at(at, 1);
        status = vt_outcomes_read(&list, s.path, words, 2, true, &err);
        vt_mem_fail_at(0, 0);
        vt_outcomes_release(&list);
        if (status != VT_OK && status != VT_ERR_NOMEM)
            fail_msg("allocation %d: %s", (int)at, err.text);
        assert_true(at < 5000);
    }
    vt_scratch_free(&s);
}

static void every_metric_has_a_value_or_none(void **state)
{
    const vt_outcome nothing = {
        .train_loss = NAN, .train_top1 = NAN, .images_per_s = NAN, .wall_s = NAN};
    (void)state;
    assert_null(vt_metric_find("test"));
    assert_null(vt_metric_find(NULL));
    assert_null(vt_metric_at(-1));
    for (int i = 0; vt_metric_at(i); i++) {
        assert_ptr_equal(vt_metric_find(vt_metric_at(i)->name), vt_metric_at(i));
        assert_true(isnan(vt_outcome_metric(&nothing, vt_metric_at(i))));
    }
}

#define CASE(sentence, function)                                                                   \
    {                                                                                              \
        sentence, function, NULL, NULL, NULL                                                       \
    }

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE("a run that is done is read from its journal",
             run_that_is_done_is_read_from_its_journal),
        CASE("summary.json counts only if it is that of the complete run",
             summary_counts_only_if_it_is_that_of_the_complete_run),
        CASE("the state comes from lock, journal and last attempt",
             state_comes_from_lock_journal_and_last_attempt),
        CASE("a run killed before its first record is dead, not broken",
             run_killed_before_its_first_record_is_dead_not_broken),
        CASE("settings are the flat list of config.yaml, and keys that came later",
             settings_are_the_flat_list_of_the_file),
        CASE("hostile folders are broken and never stall the others",
             hostile_folders_are_broken_and_never_stall_the_others),
        CASE("a damaged journal without a summary is broken",
             damaged_journal_without_a_summary_is_broken),
        CASE("a run is found by its seed and by its best metric",
             run_is_found_by_seed_and_by_its_best_metric),
        CASE("an experiment is its variants with their seeds",
             experiment_is_its_variants_with_their_seeds),
        CASE("every failed allocation is reported, without a leak",
             every_failed_allocation_is_reported_without_a_leak),
        CASE("every metric has a value or none", every_metric_has_a_value_or_none),
    };
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests_name("outcomes of runs", tests, NULL, NULL);
}
