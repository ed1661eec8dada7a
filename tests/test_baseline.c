/* The judgement of runs against a baseline, on numbers that are made up. */
#include "base/rng.h"
#include "report/judge.h"
#include "results/stats.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

enum { RUNS = 12 };

static int place_of(const char *name)
{
    int i = 0;
    while (vt_metric_at(i) != vt_metric_find(name))
        i++;
    return i;
}

static vt_baseline_run make_run(uint64_t seed, double loss, double top1)
{
    vt_baseline_run run = {.seed = seed,
                           .exp_id = "e",
                           .data_digest = "d",
                           .run_id = "a",
                           .commit = "c",
                           .machine = "m",
                           .numerics = "1",
                           .metrics_sha256 = "2",
                           .weights_sha256 = "3",
                           .images_per_s = 100,
                           .wall_s = 1};
    for (int i = 0; i < VT_BASELINE_VALUES; i++)
        run.value[i] = (double)NAN;
    run.value[place_of("test.loss")] = loss;
    run.value[place_of("test.top1")] = top1;
    return run;
}

/* A baseline that watches the loss, and room for its runs. */
struct made {
    vt_baseline baseline;
    vt_acceptance acceptance[2];
    vt_baseline_run run[2][RUNS];
};

static void make(struct made *made, const double *loss, int n)
{
    *made = (struct made){.baseline = {.level = 0.01,
                                       .speed_factor = 1.1,
                                       .gate = {{vt_metric_find("test.loss"), 0}},
                                       .n_gates = 1,
                                       .accepted = made->acceptance,
                                       .n_accepted = 1}};
    made->acceptance[0] =
        (vt_acceptance){.exp_id = "e", .reason = "r", .run = made->run[0], .n_runs = n};
    for (int i = 0; i < n; i++)
        made->run[0][i] = make_run((uint64_t)i, loss[i], 0.5);
}

static vt_judgement judge_one(const struct made *made, double loss)
{
    vt_baseline_run run = make_run(100, loss, 0.5);
    run.run_id = "b"; /* a seed that the baseline does not have */
    return vt_judge(&made->baseline, &run, 1, false);
}

static const double five[] = {1.00, 1.02, 0.98, 1.01, 0.99};

static void the_bound_is_the_prediction_interval_s(void **state)
{
    (void)state;
    struct made made;
    make(&made, five, 5);
    vt_bounds bounds = vt_stats_prediction(five, 5, 0.98);
    assert_int_equal(judge_one(&made, bounds.high - 1e-9).verdict, VT_FINDING_PASS);
    assert_int_equal(judge_one(&made, bounds.high + 1e-9).verdict, VT_FINDING_FAIL);
    assert_int_equal(judge_one(&made, bounds.low + 1e-9).verdict, VT_FINDING_PASS);
    assert_int_equal(judge_one(&made, bounds.low - 1e-9).verdict, VT_FINDING_BETTER);
    made.baseline.gate[0].metric = vt_metric_find("test.top1"); /* larger is better, no spread */
    vt_baseline_run run = make_run(100, 1, 0.4);
    run.run_id = "b";
    assert_int_equal(vt_judge(&made.baseline, &run, 1, false).verdict, VT_FINDING_FAIL);
    run.value[place_of("test.top1")] = 0.6;
    assert_int_equal(vt_judge(&made.baseline, &run, 1, false).verdict, VT_FINDING_BETTER);
}

static void the_floor_silences_a_tiny_spread(void **state)
{
    (void)state;
    struct made made;
    make(&made, (const double[]){1, 1, 1}, 3);
    assert_int_equal(judge_one(&made, 1.005).verdict, VT_FINDING_FAIL);
    made.baseline.gate[0].floor = 0.01;
    assert_int_equal(judge_one(&made, 1.005).verdict, VT_FINDING_PASS);
    assert_int_equal(judge_one(&made, 1.011).verdict, VT_FINDING_FAIL);
}

static void one_metric_that_is_worse_fails_all(void **state)
{
    (void)state;
    struct made made;
    make(&made, five, 5);
    made.baseline.gate[made.baseline.n_gates++] = (vt_gate){vt_metric_find("test.top1"), 0.003};
    vt_baseline_run run = make_run(100, 0.5, 0.49);
    run.run_id = "b";
    vt_judgement j = vt_judge(&made.baseline, &run, 1, false);
    assert_int_equal(j.metric[0].verdict, VT_FINDING_BETTER);
    assert_int_equal(j.metric[1].verdict, VT_FINDING_FAIL);
    assert_int_equal(j.verdict, VT_FINDING_FAIL);
    assert_non_null(strstr(j.reason, "test.top1"));
}

static void bits_decide_before_metrics(void **state)
{
    (void)state;
    struct made made;
    make(&made, five, 5);
    vt_baseline_run run = made.run[0][1];
    vt_judgement j = vt_judge(&made.baseline, &run, 1, false);
    assert_int_equal(j.verdict, VT_FINDING_PASS);
    assert_true(j.n_same == 1 && !j.statistical);
    run.weights_sha256 = "4";
    assert_int_equal(vt_judge(&made.baseline, &run, 1, false).verdict, VT_FINDING_FAIL);
    assert_int_equal(vt_judge(&made.baseline, &run, 1, true).verdict, VT_FINDING_PASS);
    run.numerics = "5";
    j = vt_judge(&made.baseline, &run, 1, false);
    assert_true(j.verdict == VT_FINDING_PASS && j.statistical && j.n_same == 0);
    run.data_digest = "6";
    assert_int_equal(vt_judge(&made.baseline, &run, 1, false).verdict, VT_FINDING_NOT_COMPARABLE);
}

static void one_run_or_a_missing_metric_is_no_ground(void **state)
{
    (void)state;
    struct made made;
    make(&made, five, 1);
    assert_int_equal(judge_one(&made, 1).verdict, VT_FINDING_NOT_COMPARABLE);
    make(&made, five, 5);
    assert_int_equal(judge_one(&made, (double)NAN).verdict, VT_FINDING_NOT_COMPARABLE);
}

static void drift_and_speed_are_told_apart(void **state)
{
    (void)state;
    struct made made;
    make(&made, five, 5);
    made.acceptance[1] = made.acceptance[0];
    made.acceptance[1].run = made.run[1];
    for (int i = 0; i < 5; i++)
        made.run[1][i] = make_run((uint64_t)i, five[i] + 0.2, 0.5);
    made.baseline.n_accepted = 2;
    vt_judgement j = judge_one(&made, 1.2);
    assert_true(j.verdict == VT_FINDING_PASS && j.n_drift == 1 && j.drifted && !j.slow);
    assert_true(judge_one(&made, 1.05).verdict == VT_FINDING_BETTER);
    vt_baseline_run run = make_run(100, 1.2, 0.5);
    run.run_id = "b";
    run.images_per_s = 80;
    j = vt_judge(&made.baseline, &run, 1, false);
    assert_true(j.slow && j.slower == 1.25 && j.verdict == VT_FINDING_PASS);
    run.machine = "another";
    assert_true(isnan(vt_judge(&made.baseline, &run, 1, false).slower));
}

/* Share of FAIL among trials with n runs in the baseline and m new ones, shifted. */
static double alarms(int n, int m, double shift)
{
    enum { TRIALS = 10000 };
    vt_rng rng = vt_rng_at(7, VT_STREAM_SHUFFLE, (uint32_t)n, (uint32_t)m, 0);
    uint64_t drawn = 0;
    int failed = 0;
    for (int t = 0; t < TRIALS; t++) {
        struct made made;
        double loss[RUNS];
        vt_baseline_run run[RUNS];
        for (int i = 0; i < n; i++)
            loss[i] = 1 + 0.01 * vt_rng_normal(&rng, drawn++);
        make(&made, loss, n);
        for (int i = 0; i < m; i++) {
            run[i] =
                make_run(100 + (uint64_t)i, 1 + 0.01 * (shift + vt_rng_normal(&rng, drawn++)), 0.5);
            run[i].run_id = "b";
        }
        failed += vt_judge(&made.baseline, run, m, false).verdict == VT_FINDING_FAIL;
    }
    return (double)failed / TRIALS;
}

static void alarms_come_at_the_stated_rate_and_defects_are_found(void **state)
{
    (void)state;
    static const struct {
        int n, m;
        double found;
    } cases[] = {{5, 1, 0.86}, {8, 1, 0.97}, {8, 2, 0.99}, {10, 3, 0.99}, {3, 1, 0.4}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        double honest = alarms(cases[i].n, cases[i].m, 0);
        double planted = alarms(cases[i].n, cases[i].m, 6);
        if (!(honest > 0.007 && honest < 0.013))
            fail_msg("case %zu: false alarms %.4f, expected 0.01", i, honest);
        if (!(planted > cases[i].found))
            fail_msg("case %zu: found %.4f, expected %.2f", i, planted, cases[i].found);
    }
}

#define CASE(sentence, function)                                                                   \
    {                                                                                              \
        sentence, function, NULL, NULL, NULL                                                       \
    }

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE("the bound is the prediction interval's", the_bound_is_the_prediction_interval_s),
        CASE("the floor silences a tiny spread", the_floor_silences_a_tiny_spread),
        CASE("one metric that is worse fails all", one_metric_that_is_worse_fails_all),
        CASE("bits decide before metrics", bits_decide_before_metrics),
        CASE("one run or a missing metric is no ground", one_run_or_a_missing_metric_is_no_ground),
        CASE("drift and speed are told apart", drift_and_speed_are_told_apart),
        CASE("alarms come at the stated rate, and defects are found",
             alarms_come_at_the_stated_rate_and_defects_are_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
