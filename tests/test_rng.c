#include "base/rng.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static void philox_gives_the_published_answers(void **state)
{
    FILE *file = fopen("tests/fixtures/philox.txt", "r");
    char line[200];
    int checked = 0;
    (void)state;
    assert_non_null(file);
    while (fgets(line, sizeof line, file)) {
        uint32_t c[4], k[2], want[4], got[4];
        if (line[0] == '#')
            continue;
        assert_int_equal(sscanf(line, "%x %x %x %x %x %x %x %x %x %x", &c[0], &c[1], &c[2], &c[3],
                                &k[0], &k[1], &want[0], &want[1], &want[2], &want[3]),
                         10);
        vt_philox(k, c, got);
        assert_memory_equal(got, want, sizeof want);
        checked++;
    }
    fclose(file);
    assert_int_equal(checked, 3);
}

static void an_element_is_a_word_of_its_block(void **state)
{
    vt_rng rng = vt_rng_at(0x0123456789abcdefu, VT_STREAM_TEST, 5, 6, 7);
    (void)state;
    for (uint32_t e = 0; e < 23; e++) {
        uint32_t counter[4] = {e / 4, 7, 6, VT_STREAM_TEST | 5u << 8}, words[4];
        vt_philox((const uint32_t[2]){0x89abcdefu, 0x01234567u}, counter, words);
        assert_int_equal(vt_rng_u32(&rng, e), words[e % 4]);
    }
}

/* Distance in units of the last place of `want`. */
static double ulps(double got, long double want)
{
    int exponent;
    frexpl(want, &exponent);
    return (double)(fabsl(got - want) / ldexpl(1.0L, exponent - 53));
}

/* The C library's long double functions stand for the exact values. */
static void log_is_within_two_ulps(void **state)
{
    vt_rng rng = vt_rng_at(1, VT_STREAM_TEST, 0, 0, 0);
    double worst = 0;
    (void)state;
    for (uint32_t i = 0; i < 400000; i++) {
        double u = ((double)vt_rng_u32(&rng, i) + 0.5) * 0x1p-32, x = u;
        if (i % 4 == 1)
            x = 0.5 + u; /* around 1, where the result is small */
        else if (i % 4 == 2)
            x = ldexp(0.5 + u, (int)(i % 2000) - 1000);
        else if (i % 4 == 3)
            x = 1 + ldexp(u - 0.5, -(int)(i % 45));
        if (x != 1)
            worst = fmax(worst, ulps(vt_log(x), logl((long double)x)));
    }
    print_message("log: %.3f ulp\n", worst);
    assert_true(worst < 2);
    assert_true(vt_log(1) == 0);
    assert_true(ulps(vt_log(0x1p-1074), -744.4400719213812621) < 2);
}

static void exp_is_within_two_ulps(void **state)
{
    vt_rng rng = vt_rng_at(2, VT_STREAM_TEST, 0, 0, 0);
    double worst = 0;
    (void)state;
    for (uint32_t i = 0; i < 400000; i++) {
        double u = ((double)vt_rng_u32(&rng, i) + 0.5) * 0x1p-32;
        double x = i % 2 ? 1416 * u - 707 : 4 * u - 2;
        worst = fmax(worst, ulps(vt_exp(x), expl((long double)x)));
    }
    print_message("exp: %.3f ulp\n", worst);
    assert_true(worst < 2);
    assert_true(vt_exp(0) == 1);
    assert_true(vt_exp(-746) == 0);
    assert_true(isinf(vt_exp(710)));
    assert_true(vt_exp(-740) > 0 && vt_exp(-740) < 0x1p-1060);
}

static void cos_2pi_is_within_two_ulps(void **state)
{
    const long double two_pi = 6.283185307179586476925286766559L;
    vt_rng rng = vt_rng_at(3, VT_STREAM_TEST, 0, 0, 0);
    double worst = 0;
    (void)state;
    for (uint32_t i = 0; i < 400000; i++) {
        double x = (double)vt_rng_u32(&rng, i) * 0x1p-32;
        if (i % 2)
            x = 1000 * (x - 0.5);
        if (i % 8 == 6)
            x = 0.25 + ldexp(x, -(int)(i % 40)); /* around a zero of the cosine */
        /* distance from the nearest quarter turn: exact, and so is what is left to the library */
        long double quarter = nearbyintl(4 * (long double)x), rest = (long double)x - quarter / 4;
        long double c = cosl(two_pi * rest), s = sinl(two_pi * rest), want = c;
        switch ((int)fmodl(fmodl(quarter, 4) + 4, 4)) {
        case 1:
            want = -s;
            break;
        case 2:
            want = -c;
            break;
        case 3:
            want = s;
            break;
        }
        if (want != 0)
            worst = fmax(worst, ulps(vt_cos_2pi(x), want));
    }
    print_message("cos_2pi: %.3f ulp\n", worst);
    assert_true(worst < 2);
    assert_true(vt_cos_2pi(0) == 1);
    assert_true(vt_cos_2pi(0.25) == 0);
    assert_true(vt_cos_2pi(-7.5) == -1);
}

static void normal_draws_have_mean_0_and_variance_1(void **state)
{
    enum { N = 40000 };
    vt_rng rng = vt_rng_at(4, VT_STREAM_TEST, 0, 0, 0);
    double sum = 0, squares = 0, fourth = 0;
    (void)state;
    for (uint32_t i = 0; i < N; i++) {
        double x = vt_rng_normal(&rng, i);
        sum += x;
        squares += x * x;
        fourth += x * x * x * x;
    }
    /* five standard deviations of each mean: sqrt(1, 2, 96 / N) */
    assert_true(fabs(sum / N) < 5 * sqrt(1.0 / N));
    assert_true(fabs(squares / N - 1) < 5 * sqrt(2.0 / N));
    assert_true(fabs(fourth / N - 3) < 5 * sqrt(96.0 / N));
}

static void uniform_draws_lie_in_their_range(void **state)
{
    vt_rng rng = vt_rng_at(5, VT_STREAM_TEST, 0, 0, 0);
    int counts[7] = {0};
    (void)state;
    for (uint32_t i = 0; i < 7000; i++) {
        float u = vt_rng_uniform(&rng, i);
        assert_true(u >= 0 && u < 1);
        uint64_t k = vt_rng_below(&rng, i, 7);
        assert_true(k < 7);
        counts[k]++;
    }
    for (int k = 0; k < 7; k++) /* five standard deviations of a count */
        assert_in_range(counts[k], 1000 - 147, 1000 + 147);
    assert_int_equal(vt_rng_below(&rng, 0, 1), 0);
}

static void shuffle_is_a_permutation_that_seed_and_step_decide(void **state)
{
    enum { N = 1000 };
    static uint32_t perm[N], again[N], other[N];
    uint8_t seen[N] = {0};
    vt_rng rng = vt_rng_at(6, VT_STREAM_SHUFFLE, 0, 1, 0);
    vt_rng next = vt_rng_at(6, VT_STREAM_SHUFFLE, 0, 2, 0);
    (void)state;
    vt_rng_shuffle(&rng, perm, N);
    vt_rng_shuffle(&rng, again, N);
    vt_rng_shuffle(&next, other, N);
    int unmoved = 0;
    for (uint32_t i = 0; i < N; i++) {
        assert_true(perm[i] < N && !seen[perm[i]]);
        seen[perm[i]] = 1;
        unmoved += perm[i] == i;
    }
    assert_true(unmoved < 10); /* one is expected */
    assert_memory_equal(perm, again, sizeof perm);
    assert_memory_not_equal(perm, other, sizeof perm);
    uint32_t one[1] = {9};
    vt_rng_shuffle(&rng, one, 1);
    assert_int_equal(one[0], 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define CASE(name, function) {name, function, NULL, NULL, NULL}
        CASE("Philox gives the published answers", philox_gives_the_published_answers),
        CASE("an element is a word of its block", an_element_is_a_word_of_its_block),
        CASE("log is within two ulps", log_is_within_two_ulps),
        CASE("exp is within two ulps", exp_is_within_two_ulps),
        CASE("cos(2 pi x) is within two ulps", cos_2pi_is_within_two_ulps),
        CASE("normal draws have mean 0 and variance 1", normal_draws_have_mean_0_and_variance_1),
        CASE("uniform draws lie in their range", uniform_draws_lie_in_their_range),
        CASE("shuffle is a permutation that seed and step decide",
             shuffle_is_a_permutation_that_seed_and_step_decide),
    };
    return cmocka_run_group_tests_name("rng", tests, NULL, NULL);
}
