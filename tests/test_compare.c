#include "base/mem.h"
#include "report/compare_print.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

enum { SETTINGS = 8 };

static const vt_setting plain[SETTINGS] = {
    {"data.limit_test", "0"}, {"data.name", "cifar10"}, {"data.val", "0"}, {"eval.compat", "none"},
    {"model.family", "vit"},  {"optim.lr", "0.001"},    {"seed", "0"},     {"train.threads", "1"},
};

/* A finished run in memory; its settings can be changed by hand. */
typedef struct made {
    vt_setting setting[SETTINGS];
} made;

static void make_run(vt_outcome *run, made *memory, const char *exp, const char *exp_id,
                     uint64_t seed, double top1)
{
    memcpy(memory->setting, plain, sizeof plain);
    *run = (vt_outcome){.state = VT_RUN_DONE,
                        .seed = seed,
                        .epochs = 10,
                        .images = {1000, 0, 10000},
                        .n_params = 6300000,
                        .macs = 38400000,
                        .images_per_s = 2000,
                        .peak_bytes = 2 << 20,
                        .threads = 1,
                        .train_top1 = (double)NAN,
                        .train_loss = (double)NAN,
                        .setting = memory->setting,
                        .n_settings = SETTINGS};
    snprintf(run->exp_name, sizeof run->exp_name, "%s", exp);
    snprintf(run->exp_id, sizeof run->exp_id, "%s", exp_id);
    snprintf(run->run_id, sizeof run->run_id, "%s%llu", exp_id, (unsigned long long)seed);
    snprintf(run->place.path, sizeof run->place.path, "results/%s/%s", exp, run->run_id);
    strcpy(run->data_digest, "dddddd");
    strcpy(run->numerics, "nnnn");
    strcpy(run->select, "last");
    strcpy(run->commit, "c0ffee");
    strcpy(run->machine, "a machine");
    run->last[VT_SPLIT_TEST] = (vt_summary_eval){true, 10, 0.3, top1, 0.99, 0.02};
    run->best[VT_SPLIT_TEST] = run->last[VT_SPLIT_TEST];
}

enum { RUNS = 16 };

/* Runs of the test at hand. */
typedef struct table {
    vt_outcome run[RUNS];
    made memory[RUNS];
    vt_outcome_list list;
    vt_compare compare;
} table;

static void add(table *t, const char *exp, const char *exp_id, uint64_t seed, double top1)
{
    assert_true(t->list.n < RUNS);
    t->list.run = t->run;
    make_run(&t->run[t->list.n], &t->memory[t->list.n], exp, exp_id, seed, top1);
    t->list.n++;
}

static void set(table *t, int i, const char *key, const char *value)
{
    for (int k = 0; k < SETTINGS; k++)
        if (strcmp(t->memory[i].setting[k].key, key) == 0) {
            t->memory[i].setting[k].value = value;
            return;
        }
    fail_msg("no key %s", key);
}

static vt_compare *compare(table *t, const vt_compare_request *request)
{
    const vt_compare_request usual = {0};
    vt_error err = {0};
    if (vt_compare_make(&t->compare, &t->list, request ? request : &usual, &err) != VT_OK)
        fail_msg("%s", err.text);
    return &t->compare;
}

static bool noted(const vt_compare *c, bool unfair, const char *words, int row)
{
    for (int i = 0; i < c->n_notes; i++)
        if (c->note[i].unfair == unfair && strstr(c->note[i].text, words) &&
            (row < 0 || c->note[i].row[row]))
            return true;
    return false;
}

static bool any_unfair(const vt_compare *c)
{
    for (int i = 0; i < c->n_notes; i++)
        if (c->note[i].unfair)
            return true;
    return false;
}

static vt_compare_difference difference(const vt_compare *c, int row)
{
    return vt_compare_difference_of(c, row, c->metric);
}

static void check_near(double a, double b)
{
    if (!(fabs(a - b) <= 1e-9 * fabs(b)))
        fail_msg("%.17g is not %.17g", a, b);
}

static vt_text print(const vt_compare *c, vt_table_format format, vt_compare_form form)
{
    vt_compare_columns columns = {0};
    vt_text out = {0};
    vt_error err = {0};
    assert_int_equal(vt_compare_columns_default(&columns, c, false, &err), VT_OK);
    if (vt_compare_print(c, &columns, format, form, &out, &err) != VT_OK)
        fail_msg("%s", err.text);
    vt_compare_columns_release(&columns);
    return out;
}

/* Where the numbers are of SciPy: ttest_rel and ttest_ind(equal_var=False) with their
 * confidence_interval(0.95). */
static void shared_seeds_are_compared_by_pairs(void **state)
{
    static const double a[] = {0.90, 0.91, 0.92}, b[] = {0.93, 0.92, 0.95};
    table t = {0};
    (void)state;
    for (int i = 0; i < 3; i++)
        add(&t, "a", "aaaa", (uint64_t)(2 - i), a[2 - i]);
    for (int i = 0; i < 3; i++)
        add(&t, "b", "bbbb", (uint64_t)i, b[i]);
    const vt_compare *c = compare(&t, NULL);
    assert_int_equal(c->n_rows, 2);
    assert_int_equal(c->row[0].n, 3);
    assert_true(c->row[0].run[0]->seed == 0 && c->row[0].run[2]->seed == 2);
    vt_compare_value value = vt_compare_value_of(c, 0, c->metric);
    check_near(value.mean, 0.91);
    check_near(value.sd, 0.01);
    vt_compare_difference d = difference(c, 1);
    assert_int_equal(d.n_pairs, 3);
    check_near(d.d.value, 0.07 / 3);
    check_near(d.d.low, -0.005351018198);
    check_near(d.d.high, 0.052017684865);
    assert_int_equal(d.verdict, VT_VERDICT_SAME);
    assert_int_equal(difference(c, 0).verdict, VT_VERDICT_REFERENCE);
    assert_false(any_unfair(c));
    vt_compare_release(&t.compare);
}

static void unshared_seeds_are_compared_by_welch_and_noted(void **state)
{
    static const double a[] = {0.90, 0.91, 0.92}, b[] = {0.93, 0.92, 0.95};
    table t = {0};
    (void)state;
    for (int i = 0; i < 3; i++) {
        add(&t, "a", "aaaa", (uint64_t)i, a[i]);
        add(&t, "b", "bbbb", (uint64_t)(i + 2), b[i]);
    }
    const vt_compare *c = compare(&t, NULL);
    vt_compare_difference d = difference(c, 1);
    assert_int_equal(d.n_pairs, 0);
    assert_false(d.d.paired);
    check_near(d.d.value, 0.07 / 3);
    check_near(d.d.low, -0.007875506186);
    check_near(d.d.high, 0.054542172852);
    assert_true(noted(c, true, "other seeds", 1));
    vt_compare_release(&t.compare);
}

static void pairs_need_all_seeds_of_one_row(void **state)
{
    table t = {0};
    (void)state;
    for (int i = 0; i < 5; i++)
        add(&t, "a", "aaaa", (uint64_t)i, 0.9 + 0.001 * i);
    for (int i = 1; i < 3; i++)
        add(&t, "b", "bbbb", (uint64_t)i, 0.95 + 0.001 * i);
    const vt_compare *c = compare(&t, NULL);
    assert_int_equal(difference(c, 1).n_pairs, 2);
    assert_true(noted(c, true, "other seeds", 1));
    vt_compare_release(&t.compare);
}

static void one_run_gets_no_interval(void **state)
{
    table t = {0};
    (void)state;
    add(&t, "a", "aaaa", 0, 0.90);
    add(&t, "a", "aaaa", 1, 0.91);
    add(&t, "b", "bbbb", 0, 0.95);
    const vt_compare *c = compare(&t, NULL);
    vt_compare_difference d = difference(c, 1);
    check_near(d.d.value, 0.045);
    assert_true(isnan(d.d.low) && isnan(d.d.high));
    assert_int_equal(d.verdict, VT_VERDICT_OPEN);
    assert_true(isnan(vt_compare_value_of(c, 1, c->metric).sd));
    assert_true(noted(c, false, "n = 1", 1));
    assert_false(noted(c, false, "n = 1", 0));
    vt_text out = print(c, VT_TABLE_TEXT, VT_COMPARE_AUTO);
    assert_non_null(strstr(out.data, "90.50 ± 0.71"));
    assert_non_null(strstr(out.data, "+4.50 (no interval)"));
    assert_null(strstr(out.data, "95.00 ±"));
    vt_text_release(&out);
    vt_compare_release(&t.compare);
}

static void rows_without_spread_are_separable_when_they_differ(void **state)
{
    table t = {0};
    (void)state;
    for (uint64_t i = 0; i < 2; i++) {
        add(&t, "a", "aaaa", i, 0.5);
        add(&t, "b", "bbbb", i, 0.75);
        add(&t, "c", "cccc", i, 0.5);
    }
    const vt_compare *c = compare(&t, NULL);
    assert_int_equal(difference(c, 1).verdict, VT_VERDICT_BETTER);
    assert_int_equal(difference(c, 2).verdict, VT_VERDICT_SAME);
    assert_true(vt_compare_value_of(c, 0, c->metric).sd == 0);
    vt_compare_release(&t.compare);
}

static void losses_are_better_when_they_are_smaller(void **state)
{
    table t = {0};
    (void)state;
    for (uint64_t i = 0; i < 3; i++) {
        add(&t, "a", "aaaa", i, 0.5);
        add(&t, "b", "bbbb", i, 0.5);
        t.run[2 * i].last[VT_SPLIT_TEST].loss = 1 + 0.001 * (double)i;
        t.run[2 * i + 1].last[VT_SPLIT_TEST].loss = 0.5;
    }
    const vt_compare_request request = {.metric = vt_metric_find("test.loss")};
    const vt_compare *c = compare(&t, &request);
    assert_int_equal(difference(c, 1).verdict, VT_VERDICT_BETTER);
    assert_true(isnan(vt_compare_sampling_error(c, 0, c->metric)));
    vt_compare_release(&t.compare);
}

static void configurations_of_one_name_are_rows_named_by_what_differs(void **state)
{
    table t = {0};
    (void)state;
    add(&t, "a", "aaa1", 0, 0.90);
    add(&t, "a", "aaa2", 0, 0.91);
    add(&t, "b", "bbbb", 0, 0.92);
    set(&t, 1, "optim.lr", "0.002");
    set(&t, 2, "model.family", "swin");
    set(&t, 2, "train.threads", "2");
    const vt_compare *c = compare(&t, NULL);
    assert_int_equal(c->n_rows, 3);
    assert_string_equal(c->row[0].label, "a lr=0.001");
    assert_string_equal(c->row[1].label, "a lr=0.002");
    assert_string_equal(c->row[2].label, "b");
    assert_int_equal(c->n_differing, 2); /* threads change no result */
    assert_string_equal(c->differing[0], "model.family");
    assert_string_equal(c->differing[1], "optim.lr");
    assert_int_equal(c->n_identical, 4); /* without the seed */
    vt_compare_release(&t.compare);
}

static void unfair_comparisons_are_noted(void **state)
{
    static const struct {
        const char *key, *value, *words;
    } rows[] = {
        {"data.limit_test", "100", "data.limit_test: 0 (A), 100 (B)"},
        {"data.name", "cifar100", "data.name"},
        {"eval.compat", "article", "eval.compat: none (A), article (B)"},
        {NULL, "epochs", "epochs: 10 (A), 20 (B)"},
        {NULL, "numerics", "numerics"},
        {NULL, "digest", "by the digest of the data: B"},
        {NULL, "select", NULL},
        {NULL, "nothing", NULL},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        table t = {0};
        add(&t, "a", "aaaa", 0, 0.90);
        add(&t, "b", "bbbb", 0, 0.91);
        if (rows[i].key)
            set(&t, 1, rows[i].key, rows[i].value);
        else if (strcmp(rows[i].value, "epochs") == 0)
            t.run[1].epochs = 20;
        else if (strcmp(rows[i].value, "numerics") == 0)
            strcpy(t.run[1].numerics, "other");
        else if (strcmp(rows[i].value, "digest") == 0)
            strcpy(t.run[1].data_digest, "eeeeee");
        const vt_compare *c = compare(&t, NULL);
        if (rows[i].words)
            assert_true(noted(c, true, rows[i].words, 1));
        assert_int_equal(any_unfair(c), rows[i].words != NULL);
        vt_text out = print(c, VT_TABLE_TEXT, VT_COMPARE_AUTO);
        assert_int_equal(strstr(out.data, "!1") != NULL, rows[i].words != NULL);
        vt_text_release(&out);
        vt_compare_release(&t.compare);
    }
}

static void a_best_epoch_chosen_on_test_is_noted(void **state)
{
    table t = {0};
    (void)state;
    add(&t, "a", "aaaa", 0, 0.90);
    add(&t, "b", "bbbb", 0, 0.91);
    t.memory[1].setting[7] = (vt_setting){"train.select", "test"};
    const vt_compare *c = compare(&t, NULL);
    assert_true(noted(c, true, "chosen on the test images", 1));
    assert_false(noted(c, true, "chosen on the test images", 0));
    vt_compare_release(&t.compare);
}

static void other_data_is_another_row_unless_the_seed_draws_it(void **state)
{
    (void)state;
    for (int seeded = 0; seeded < 2; seeded++) {
        table t = {0};
        add(&t, "a", "aaaa", 0, 0.90);
        add(&t, "a", "aaaa", 1, 0.91);
        strcpy(t.run[1].data_digest, "eeeeee");
        for (int i = 0; i < 2 && seeded; i++)
            set(&t, i, "data.name", "shapes");
        const vt_compare *c = compare(&t, NULL);
        assert_int_equal(c->n_rows, seeded ? 1 : 2);
        assert_string_equal(c->row[0].label, seeded ? "a" : "a data dddddd");
        vt_compare_release(&t.compare);
    }
}

static void the_newest_run_of_a_seed_counts(void **state)
{
    table t = {0};
    (void)state;
    for (int i = 0; i < 3; i++) {
        add(&t, "a", "aaaa", 0, 0.1 * i);
        snprintf(t.run[i].place.path, sizeof t.run[i].place.path, "%d", i);
        t.run[i].place.changed.tv_sec = i == 1 ? 100 : 50;
    }
    add(&t, "a", "aaaa", 0, 0.1); /* the same folder, named twice */
    strcpy(t.run[3].place.path, "1");
    t.run[3].place.changed.tv_sec = 100;
    const vt_compare *c = compare(&t, NULL);
    assert_int_equal(c->row[0].n, 1);
    check_near(vt_compare_value_of(c, 0, c->metric).mean, 0.1);
    assert_int_equal(c->row[0].n_older, 2);
    assert_true(noted(c, false, "2 older runs", 0));
    vt_compare_release(&t.compare);
}

static void unfinished_and_broken_runs_are_left_out_and_named(void **state)
{
    table t = {0};
    vt_error err = {0};
    const vt_compare_request request = {0};
    (void)state;
    add(&t, "a", "aaaa", 0, 0.90);
    add(&t, "a", "aaaa", 1, 0.10);
    add(&t, "b", "bbbb", 0, 0.10);
    t.run[1].state = VT_RUN_RUNNING;
    t.run[2].state = VT_RUN_BROKEN;
    t.run[2].n_settings = 0;
    strcpy(t.run[2].problem, "no journal");
    const vt_compare *c = compare(&t, NULL);
    assert_int_equal(c->n_rows, 1);
    assert_int_equal(c->row[0].n, 1);
    assert_int_equal(c->n_left_out, 2);
    vt_text out = print(c, VT_TABLE_JSON, VT_COMPARE_AUTO);
    json_t *root = json_loadb(out.data, out.size, JSON_REJECT_DUPLICATES, NULL);
    json_t *left_out = json_object_get(root, "left_out");
    assert_int_equal(json_array_size(left_out), 2);
    assert_string_equal(json_string_value(json_object_get(json_array_get(left_out, 1), "problem")),
                        "no journal");
    json_decref(root);
    vt_text_release(&out);
    vt_compare_release(&t.compare);
    t.run[0].state = VT_RUN_DEAD;
    assert_int_equal(vt_compare_make(&t.compare, &t.list, &request, &err), VT_ERR_NOINPUT);
    vt_compare_release(&t.compare);
}

static void sampling_noise_is_that_of_the_test_images(void **state)
{
    table t = {0};
    (void)state;
    add(&t, "a", "aaaa", 0, 0.9);
    add(&t, "b", "bbbb", 0, 0.902);
    const vt_compare *c = compare(&t, NULL);
    check_near(vt_compare_sampling_error(c, 0, c->metric), 0.003);
    assert_true(noted(c, false, "0.30 points", 1));
    assert_false(noted(c, false, "0.30 points", 0));
    vt_compare_release(&t.compare);
}

static void rows_are_sorted_best_first_and_the_first_is_the_reference(void **state)
{
    static const struct {
        const char *sort, *reference, *order, *about;
    } rows[] = {
        {NULL, NULL, "bac", "b"},           {"test.top1", NULL, "cba", "c"},
        {"-test.top1", NULL, "abc", "a"},   {"=optim.lr", NULL, "acb", "a"},
        {".exp", "c", "abc", "c"},          {NULL, "B", "bac", "a"},
        {"-=optim.lr", "cccc", "bca", "c"}, {"images_per_s", NULL, "bac", "b"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        table t = {0};
        add(&t, "b", "bbbb", 0, 0.91);
        add(&t, "a", "aaaa", 0, 0.90);
        add(&t, "c", "cccc", 0, 0.92);
        set(&t, 0, "optim.lr", "0.1");
        set(&t, 1, "optim.lr", "1e-5");
        set(&t, 2, "optim.lr", "0.02");
        const vt_compare_request request = {.sort = rows[i].sort, .reference = rows[i].reference};
        const vt_compare *c = compare(&t, &request);
        for (int k = 0; k < 3; k++)
            assert_int_equal(c->row[k].run[0]->exp_name[0], rows[i].order[k]);
        assert_string_equal(c->row[c->reference].run[0]->exp_name, rows[i].about);
        assert_string_equal(c->row[2].mark, "C");
        vt_compare_release(&t.compare);
    }
}

static void runs_are_folded_as_asked(void **state)
{
    static const struct {
        const char *group_by;
        int n_rows;
        const char *label;
    } rows[] = {{NULL, 3, "a lr=0.001"},
                {"run", 5, "a lr=0.001 seed 0"},
                {"exp", 2, "a"},
                {"model.family", 1, "model.family=vit"},
                {"model.family,optim.lr", 2, "model.family=vit optim.lr=0.001"}};
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        table t = {0};
        add(&t, "a", "aaa1", 0, 0.90);
        add(&t, "a", "aaa1", 1, 0.91);
        add(&t, "a", "aaa2", 0, 0.92);
        set(&t, 2, "optim.lr", "0.002");
        add(&t, "b", "bbbb", 0, 0.93);
        add(&t, "b", "bbbb", 1, 0.94);
        const vt_compare_request request = {.group_by = rows[i].group_by};
        const vt_compare *c = compare(&t, &request);
        assert_int_equal(c->n_rows, rows[i].n_rows);
        assert_string_equal(c->row[0].label, rows[i].label);
        assert_int_equal(noted(c, true, "several configurations", 0), i >= 2);
        vt_compare_release(&t.compare);
    }
}

static void wrong_requests_are_refused_with_the_reason(void **state)
{
    static const struct {
        vt_compare_request request;
        const char *words;
    } rows[] = {
        {{.reference = "zzz"}, "no row is the reference 'zzz'; there are: A a, B b"},
        {{.sort = "test.topp"}, "column 'test.topp'"},
        {{.sort = "test.top1,test.loss"}, "one column"},
        {{.sort = ""}, "without a name"},
        {{.group_by = "model.familly"}, "no run has the key 'model.familly'"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        table t = {0};
        vt_error err = {0};
        add(&t, "a", "aaaa", 0, 0.90);
        add(&t, "b", "bbbb", 0, 0.91);
        assert_int_equal(vt_compare_make(&t.compare, &t.list, &rows[i].request, &err),
                         VT_ERR_USAGE);
        assert_non_null(strstr(err.text, rows[i].words));
        vt_compare_release(&t.compare);
    }
}

static void columns_are_parsed_as_written(void **state)
{
    static const char *const wrong[] = {"",           "test.top1,",      "nothing",
                                        "max params", ".nobody",         "max test.top1 x",
                                        "=",          "test.top1 epoch", "mean test.loss epoch"};
    vt_compare_columns columns;
    vt_error err = {0};
    const vt_metric *metric = vt_metric_find("test.loss");
    (void)state;
    assert_int_equal(vt_compare_columns_parse(
                         &columns,
                         "n, test.top1 as accuracy,max test.top1 epoch, diff,diff test.top1 as d, "
                         "=optim.lr , .commit, last train.loss",
                         metric, &err),
                     VT_OK);
    static const char *const names[] = {
        "n",        "accuracy", "max test.top1 epoch", "test.loss.diff", "d",
        "optim.lr", "commit",   "last train.loss"};
    assert_int_equal(columns.n, 8);
    for (int i = 0; i < 8; i++)
        assert_string_equal(columns.column[i].name, names[i]);
    assert_int_equal(columns.column[2].kind, VT_COMPARE_COURSE);
    assert_int_equal(columns.column[2].what, VT_COMPARE_WHAT_EPOCH);
    assert_ptr_equal(columns.column[3].metric, metric);
    vt_compare_columns_release(&columns);
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        vt_error reason = {0};
        assert_int_equal(vt_compare_columns_parse(&columns, wrong[i], metric, &reason),
                         VT_ERR_USAGE);
        assert_true(reason.text[0] != '\0');
    }
}

static void the_table_reads_as_documented(void **state)
{
    static const double a[] = {0.90, 0.91, 0.92}, b[] = {0.95, 0.96, 0.97};
    table t = {0};
    (void)state;
    for (int i = 0; i < 3; i++) {
        add(&t, "a", "aaaa", (uint64_t)i, a[i]);
        add(&t, "b", "bbbb", (uint64_t)i, b[i] + 0.001 * (i == 1));
        set(&t, 2 * i + 1, "model.family", "swin");
        t.run[2 * i + 1].images_per_s = 1700;
    }
    const vt_compare *c = compare(&t, NULL);
    vt_text out = print(c, VT_TABLE_TEXT, VT_COMPARE_AUTO);
    assert_string_equal(
        out.data,
        "exp  model.family  n   test.top1 %  Δ vs A                      test.loss  params    "
        "MACs  img/s  Δ img/s  peak memory\n"
        "A a  vit           3  91.00 ± 1.00  —                     0.3000 ± 0.0000   6.3 M  "
        "38.4 M   2000        —      2.0 MiB\n"
        "B b  swin          3  96.03 ± 1.00  +5.03 [+4.89, +5.18]  0.3000 ± 0.0000   6.3 M  "
        "38.4 M   1700    -15 %      2.0 MiB\n"
        "\n"
        "test.top1 against A a at 95 %, better: B\n"
        "test sampling: another set of as many images would move test.top1 by 0.20 to 0.29 points "
        "(standard error)\n"
        "identical: data.*, eval.*, optim.* (5 keys)\n"
        "± sample standard deviation over n runs; [...] interval of 95 %\n");
    vt_text_release(&out);
    out = print(c, VT_TABLE_CSV, VT_COMPARE_LONG);
    assert_int_equal(strncmp(out.data,
                             "mark,exp,label,exp_id,seeds,n,test.top1,test.top1.sd,"
                             "test.top1.sampling_error,test.top1.diff,test.top1.diff.low,"
                             "test.top1.diff.high,test.top1.diff.pairs,test.top1.diff.ratio,"
                             "test.top1.diff.verdict,test.loss,",
                             150),
                     0);
    vt_text_release(&out);
    out = print(c, VT_TABLE_TEXT, VT_COMPARE_LONG);
    assert_int_equal(strncmp(out.data, "exp           A a              B b\n", 34), 0);
    assert_non_null(strstr(out.data, "\nΔ img/s       —                -15 %\n"));
    vt_text_release(&out);
    vt_compare_release(&t.compare);
}

static void hostile_names_do_no_harm_in_any_format(void **state)
{
    static const char hostile[] = "<b>\x1b[31m|,\"\n\\end{tabular}";
    (void)state;
    for (int format = 0; format < VT_TABLE_FORMAT_COUNT; format++) {
        table t = {0};
        add(&t, hostile, "aaaa", 0, 0.90);
        add(&t, "b", "bbbb", 0, 0.91);
        set(&t, 0, "model.family", hostile);
        strcpy(t.run[0].numerics, hostile);
        const vt_compare *c = compare(&t, NULL);
        vt_text out = print(c, (vt_table_format)format, VT_COMPARE_AUTO);
        assert_null(strchr(out.data, '\x1b'));
        if (format == VT_TABLE_HTML)
            assert_null(strstr(out.data, "<b>"));
        if (format == VT_TABLE_TEX) {
            const char *line = strstr(out.data, "\\end{tabular}\n");
            assert_non_null(line);
            while ((line = strchr(line, '\n') + 1) && *line)
                assert_int_equal(*line, '%');
        }
        if (format == VT_TABLE_JSON) {
            json_t *root = json_loadb(out.data, out.size, JSON_REJECT_DUPLICATES, NULL);
            assert_non_null(root);
            assert_string_equal(json_string_value(json_object_get(
                                    json_array_get(json_object_get(root, "rows"), 0), "exp")),
                                hostile);
            json_decref(root);
        }
        vt_text_release(&out);
        vt_compare_release(&t.compare);
    }
}

static void marks_go_on_behind_z(void **state)
{
    enum { N = 800 };
    vt_outcome *run = calloc(N, sizeof *run);
    made *memory = calloc(N, sizeof *memory);
    vt_outcome_list list = {run, N};
    const vt_compare_request request = {.group_by = "run"};
    vt_compare c;
    vt_error err = {0};
    struct timespec begin, end;
    (void)state;
    for (int i = 0; i < N; i++)
        make_run(&run[i], &memory[i], "a", "aaaa", (uint64_t)i, 0.5 + i * 1e-4);
    clock_gettime(CLOCK_MONOTONIC, &begin);
    assert_int_equal(vt_compare_make(&c, &list, &request, &err), VT_OK);
    vt_text out = print(&c, VT_TABLE_TEXT, VT_COMPARE_AUTO);
    clock_gettime(CLOCK_MONOTONIC, &end);
    print_message("# %d rows compared and printed in %.3f s\n", N,
                  (double)(end.tv_sec - begin.tv_sec) +
                      1e-9 * (double)(end.tv_nsec - begin.tv_nsec));
    assert_string_equal(c.row[25].mark, "Z");
    assert_string_equal(c.row[26].mark, "AA");
    assert_string_equal(c.row[701].mark, "ZZ");
    assert_string_equal(c.row[702].mark, "AAA");
    vt_text_release(&out);
    vt_compare_release(&c);
    free(memory);
    free(run);
}

static void lack_of_memory_is_reported_wherever_it_strikes(void **state)
{
    uint64_t total = 1;
    (void)state;
    for (uint64_t at = 0; at <= total; at++) { /* 0: none fails, all are counted */
        table t = {0};
        vt_error err = {0};
        vt_text out = {0};
        vt_compare_columns columns = {0};
        const vt_compare_request request = {.sort = "test.top1", .reference = "a"};
        for (int i = 0; i < 4; i++)
            add(&t, i < 2 ? "a" : "b", i < 2 ? "aaaa" : "bbbb", (uint64_t)(i % 2), 0.9 + 0.01 * i);
        set(&t, 1, "eval.compat", "article");
        uint64_t before = vt_mem_count();
        vt_mem_fail_at(at, 0);
        vt_status status = vt_compare_make(&t.compare, &t.list, &request, &err);
        if (status == VT_OK)
            status = vt_compare_columns_default(&columns, &t.compare, false, &err);
        if (status == VT_OK)
            status =
                vt_compare_print(&t.compare, &columns, VT_TABLE_TEXT, VT_COMPARE_AUTO, &out, &err);
        vt_mem_fail_at(0, 0);
        if (at == 0)
            total = vt_mem_count() - before;
        assert_int_equal(status, at == 0 ? VT_OK : VT_ERR_NOMEM);
        vt_text_release(&out);
        vt_compare_columns_release(&columns);
        vt_compare_release(&t.compare);
    }
    assert_true(total > 100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shared_seeds_are_compared_by_pairs),
        cmocka_unit_test(unshared_seeds_are_compared_by_welch_and_noted),
        cmocka_unit_test(pairs_need_all_seeds_of_one_row),
        cmocka_unit_test(one_run_gets_no_interval),
        cmocka_unit_test(rows_without_spread_are_separable_when_they_differ),
        cmocka_unit_test(losses_are_better_when_they_are_smaller),
        cmocka_unit_test(configurations_of_one_name_are_rows_named_by_what_differs),
        cmocka_unit_test(unfair_comparisons_are_noted),
        cmocka_unit_test(a_best_epoch_chosen_on_test_is_noted),
        cmocka_unit_test(other_data_is_another_row_unless_the_seed_draws_it),
        cmocka_unit_test(the_newest_run_of_a_seed_counts),
        cmocka_unit_test(unfinished_and_broken_runs_are_left_out_and_named),
        cmocka_unit_test(sampling_noise_is_that_of_the_test_images),
        cmocka_unit_test(rows_are_sorted_best_first_and_the_first_is_the_reference),
        cmocka_unit_test(runs_are_folded_as_asked),
        cmocka_unit_test(wrong_requests_are_refused_with_the_reason),
        cmocka_unit_test(columns_are_parsed_as_written),
        cmocka_unit_test(the_table_reads_as_documented),
        cmocka_unit_test(hostile_names_do_no_harm_in_any_format),
        cmocka_unit_test(marks_go_on_behind_z),
        cmocka_unit_test(lack_of_memory_is_reported_wherever_it_strikes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
