/* Statistics of a few runs, against SciPy (tests/fixtures/stats.json) to 1e-9. */
#include "base/mem.h"
#include "results/json.h"
#include "results/stats.h"

#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

enum { VALUES = 256, BINS = 15 };

static const double bound = 1e-9;

static json_t *read_cases(const char *name)
{
    json_t *root = NULL;
    vt_error err = {0};
    if (vt_json_read(AT_FDCWD, "tests/fixtures/stats.json", 1 << 20, &root, &err) != VT_OK)
        fail_msg("%s (tests run from the repository's root)", err.text);
    json_t *cases = json_incref(json_object_get(root, name));
    json_decref(root);
    assert_true(json_array_size(cases) > 0);
    return cases;
}

static double number(const json_t *row, const char *key)
{
    const json_t *value = json_object_get(row, key);
    if (!json_is_number(value))
        fail_msg("the fixture has no number '%s'", key);
    return json_number_value(value);
}

static int numbers(const json_t *row, const char *key, double *x)
{
    const json_t *values = json_object_get(row, key);
    size_t n = json_array_size(values);
    assert_true(n > 0 && n <= VALUES);
    for (size_t i = 0; i < n; i++)
        x[i] = json_number_value(json_array_get(values, i));
    return (int)n;
}

/* Relative, and absolute for what is that small only because digits were lost in the data. */
static void expect(const char *what, size_t i, double got, double want, double floor)
{
    if (!(fabs(got - want) <= bound * fmax(fabs(want), floor)))
        fail_msg("%s %zu: %.17g, expected %.17g", what, i, got, want);
}

static void quantiles_are_scipy_s(void **state)
{
    (void)state;
    json_t *cases = read_cases("quantile"), *row;
    size_t i;
    json_array_foreach(cases, i, row)
    {
        double p = json_number_value(json_array_get(row, 0));
        double df = json_number_value(json_array_get(row, 1));
        double want = json_number_value(json_array_get(row, 2));
        expect("quantile", i, vt_student_quantile(p, df), want, 0.01);
        assert_true(vt_student_quantile(0.5, df) == 0);
    }
    json_decref(cases);
}

static void the_distribution_is_scipy_s(void **state)
{
    (void)state;
    json_t *cases = read_cases("cdf"), *row;
    size_t i;
    json_array_foreach(cases, i, row)
    {
        double t = json_number_value(json_array_get(row, 0));
        double df = json_number_value(json_array_get(row, 1));
        expect("cdf", i, vt_student_cdf(t, df), json_number_value(json_array_get(row, 2)), 0);
    }
    json_decref(cases);
    assert_true(vt_student_cdf(-INFINITY, 3) == 0 && vt_student_cdf(INFINITY, 3) == 1);
    assert_true(isnan(vt_student_cdf(NAN, 3)) && isnan(vt_student_cdf(1, 0)));
    assert_true(isnan(vt_student_quantile(0, 3)) && isnan(vt_student_quantile(1, 3)));
    assert_true(isnan(vt_student_quantile(0.5, -1)));
}

static void compare_difference(const json_t *row, size_t i, const vt_difference *d)
{
    double low = number(row, "low"), high = number(row, "high");
    expect("difference", i, d->value, number(row, "value"), 1e-4);
    expect("low", i, d->low, low, 1e-4);
    expect("high", i, d->high, high, 1e-4);
    expect("df", i, d->df, number(row, "df"), 0);
    expect("p", i, d->p_greater, number(row, "p"), 0);
    assert_int_equal(vt_difference_separable(d), low > 0 || high < 0);
}

static void welch_is_scipy_s(void **state)
{
    (void)state;
    json_t *cases = read_cases("welch"), *row;
    double a[VALUES], b[VALUES];
    size_t i;
    json_array_foreach(cases, i, row)
    {
        int n_a = numbers(row, "a", a), n_b = numbers(row, "b", b);
        vt_difference d = vt_stats_welch(a, n_a, b, n_b, number(row, "level"));
        assert_false(d.paired);
        compare_difference(row, i, &d);
    }
    json_decref(cases);
}

static void the_paired_test_is_scipy_s(void **state)
{
    (void)state;
    json_t *cases = read_cases("paired"), *row;
    double a[VALUES], b[VALUES];
    size_t i;
    json_array_foreach(cases, i, row)
    {
        int n = numbers(row, "a", a);
        assert_int_equal(n, numbers(row, "b", b));
        vt_difference d = vt_stats_paired(a, b, n, number(row, "level"));
        assert_true(d.paired);
        compare_difference(row, i, &d);
    }
    json_decref(cases);
}

static void prediction_intervals_are_scipy_s(void **state)
{
    (void)state;
    json_t *cases = read_cases("prediction"), *row;
    double x[VALUES];
    size_t i;
    json_array_foreach(cases, i, row)
    {
        int n = numbers(row, "x", x);
        vt_bounds bounds = vt_stats_prediction(x, n, number(row, "level"));
        expect("mean", i, vt_stats_mean(x, n), number(row, "mean"), 0);
        expect("sd", i, vt_stats_sd(x, n), number(row, "sd"), 0);
        expect("low", i, bounds.low, number(row, "low"), 0);
        expect("high", i, bounds.high, number(row, "high"), 0);
    }
    json_decref(cases);
}

static void calibration_is_numpy_s(void **state)
{
    (void)state;
    json_t *cases = read_cases("calibration"), *row;
    double confidence[VALUES], answers[VALUES], n_of[VALUES], hits[VALUES], mean[VALUES];
    size_t i;
    json_array_foreach(cases, i, row)
    {
        vt_calibration_bin bin[BINS];
        bool right[VALUES];
        int n = numbers(row, "confidence", confidence);
        assert_int_equal(n, numbers(row, "right", answers));
        assert_int_equal(BINS, numbers(row, "n", n_of));
        assert_int_equal(BINS, numbers(row, "hits", hits));
        assert_int_equal(BINS, numbers(row, "mean", mean));
        for (int k = 0; k < n; k++)
            right[k] = answers[k] != 0;
        expect("ece", i, vt_stats_calibration(confidence, right, n, bin, BINS), number(row, "ece"),
               0);
        for (int b = 0; b < BINS; b++) {
            assert_int_equal(bin[b].n, (int64_t)n_of[b]);
            assert_int_equal(bin[b].right, (int64_t)hits[b]);
            if (bin[b].n)
                expect("mean confidence", i, bin[b].confidence, mean[b], 0);
            else
                assert_true(isnan(bin[b].confidence));
        }
    }
    json_decref(cases);
}

static void every_edge_belongs_to_the_bin_below(void **state)
{
    (void)state;
    for (int bins = 1; bins <= 40; bins++) {
        assert_int_equal(vt_calibration_bin_of(0, bins), 0);
        assert_int_equal(vt_calibration_bin_of(NAN, bins), bins - 1);
        for (int b = 1; b <= bins; b++) {
            double edge = (double)b / bins;
            assert_int_equal(vt_calibration_bin_of(edge, bins), b - 1);
            assert_int_equal(vt_calibration_bin_of(nextafter(edge, 0), bins), b - 1);
            assert_int_equal(vt_calibration_bin_of(nextafter(edge, 2), bins),
                             b < bins ? b : bins - 1);
        }
    }
}

static void too_few_values_give_no_interval(void **state)
{
    (void)state;
    const double x[] = {1, 2, 4};
    vt_difference d = vt_stats_welch(x, 1, x, 3, 0.95);
    assert_true(d.value == 1 - 7.0 / 3 && isnan(d.low) && isnan(d.high) && isnan(d.df));
    assert_true(isnan(d.p_greater) && !vt_difference_separable(&d));
    d = vt_stats_paired(x, x + 1, 1, 0.95);
    assert_true(d.value == -1 && isnan(d.low) && !vt_difference_separable(&d));
    assert_true(isnan(vt_stats_mean(x, 0)) && isnan(vt_stats_sd(x, 1)));
    assert_true(isnan(vt_stats_prediction(x, 1, 0.95).low));
    assert_true(isnan(vt_stats_share_error(0.5, 0)));
    assert_true(vt_stats_calibration(NULL, NULL, 0, (vt_calibration_bin[2]){{0}}, 2) == 0);
}

static void groups_without_spread_differ_or_are_the_same(void **state)
{
    (void)state;
    const double a[] = {0.75, 0.75, 0.75}, b[] = {0.5, 0.5};
    vt_difference d = vt_stats_welch(a, 3, b, 2, 0.95);
    assert_true(d.low == 0.25 && d.high == 0.25 && d.p_greater == 0);
    assert_true(vt_difference_separable(&d));
    d = vt_stats_welch(b, 2, a, 3, 0.95);
    assert_true(d.value == -0.25 && d.p_greater == 1 && vt_difference_separable(&d));
    d = vt_stats_paired(a, a, 3, 0.95);
    assert_true(d.low == 0 && d.p_greater == 0.5 && !vt_difference_separable(&d));
}

static void a_share_has_its_binomial_error(void **state)
{
    (void)state;
    assert_true(fabs(vt_stats_share_error(0.9, 10000) - 0.003) < 1e-15);
    assert_true(vt_stats_share_error(1, 10) == 0);
}

#define CASE(sentence, function)                                                                   \
    {                                                                                              \
        sentence, function, NULL, NULL, NULL                                                       \
    }

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE("quantiles are SciPy's", quantiles_are_scipy_s),
        CASE("the distribution is SciPy's", the_distribution_is_scipy_s),
        CASE("Welch is SciPy's", welch_is_scipy_s),
        CASE("the paired test is SciPy's", the_paired_test_is_scipy_s),
        CASE("prediction intervals are SciPy's", prediction_intervals_are_scipy_s),
        CASE("calibration is numpy's", calibration_is_numpy_s),
        CASE("every edge belongs to the bin below", every_edge_belongs_to_the_bin_below),
        CASE("too few values give no interval", too_few_values_give_no_interval),
        CASE("groups without spread differ or are the same",
             groups_without_spread_differ_or_are_the_same),
        CASE("a share has its binomial error", a_share_has_its_binomial_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
