/*
 * The vector type of the CPU kernels: its elementary functions against the C library's in double,
 * special values, the order of its sums and partial loads. The library's functions only judge here;
 * no kernel calls them. This program holds the AVX2 form; that AVX-512 gives equal bits is seen by
 * the tests of the kernels, which run both.
 */
#include "kernels/cpu/lanes.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

enum { POINTS = 1 << 18 };

struct function {
    const char *name;
    int number;
    double (*exact)(double);
    double low, high;
    double max_ulp;
};

static void apply(int number, const float *x, float *y)
{
    const vt_lanes v = vload(x);
    vstore(y, number == 0 ? vexp(v) : number == 1 ? vlog(v) : number == 2 ? verf(v) : vtanh(v));
}

static double spacing(double exact)
{
    const float x = fabsf((float)exact);
    return x < 0x1p-126f ? 0x1p-149 : (double)nextafterf(x, INFINITY) - (double)x;
}

static void functions_are_accurate(void **state)
{
    static const struct function functions[] = {
        {"exp", 0, exp, -87.3, 88.7, 1.0},   {"exp", 0, exp, -1, 1, 1.0},
        {"exp", 0, exp, -103.9, -87.3, 1.0}, {"log", 1, log, 1e-3, 4, 1.0},
        {"log", 1, log, 1, 1e8, 1.0},        {"log", 1, log, 1e-42, 1e-37, 1.0},
        {"erf", 2, erf, -5, 5, 1.5},         {"erf", 2, erf, -1e-3, 1e-3, 1.5},
        {"tanh", 3, tanh, -12, 12, 2.0},     {"tanh", 3, tanh, -0.7, 0.7, 2.0},
    };
    (void)state;
    for (size_t f = 0; f < sizeof functions / sizeof *functions; f++)
        for (int i = 0; i < POINTS; i += VT_LANES) {
            float x[VT_LANES], y[VT_LANES];
            for (int j = 0; j < VT_LANES; j++)
                x[j] = (float)(functions[f].low + (functions[f].high - functions[f].low) *
                                                      (double)(i + j) / (POINTS - 1));
            apply(functions[f].number, x, y);
            for (int j = 0; j < VT_LANES; j++) {
                const double exact = functions[f].exact((double)x[j]);
                const double error = fabs((double)y[j] - exact) / spacing(exact);
                if (!(error <= functions[f].max_ulp))
                    fail_msg("%s(%.9g) = %.9g, exactly %.9g: off by %.3f ulp", functions[f].name,
                             (double)x[j], (double)y[j], exact, error);
            }
        }
}

static void special_values_behave(void **state)
{
    const float x[VT_LANES] = {NAN,   INFINITY, -INFINITY, 0.0f,    -0.0f,  1e30f,  -1e30f, 1e-40f,
                               -1.0f, 1.0f,     88.8f,     -104.1f, -87.5f, 200.0f, 4.5f,   -12.0f};
    const float none = -77.0f; /* not asked */
    const float expected[4][VT_LANES] = {
        {NAN, INFINITY, 0, 1, 1, INFINITY, 0, 1, none, none, INFINITY, 0, none, INFINITY, none,
         none},
        {NAN, INFINITY, NAN, -INFINITY, -INFINITY, none, NAN, none, NAN, 0, none, NAN, NAN, none,
         none, NAN},
        {NAN, 1, -1, 0, 0, 1, -1, none, none, none, 1, -1, -1, 1, 1, -1},
        {NAN, 1, -1, 0, 0, 1, -1, 1e-40f, none, none, 1, -1, -1, 1, none, -1},
    };
    (void)state;
    for (int f = 0; f < 4; f++) {
        float y[VT_LANES];
        apply(f, x, y);
        for (int i = 0; i < VT_LANES; i++)
            if (isnan(expected[f][i]) ? !isnan(y[i])
                                      : expected[f][i] != none && y[i] != expected[f][i])
                fail_msg("function %d of %g is %g, expected %g", f, (double)x[i], (double)y[i],
                         (double)expected[f][i]);
    }
}

static void sums_follow_one_tree(void **state)
{
    float x[VT_LANES], tree[VT_LANES];
    (void)state;
    for (int i = 0; i < VT_LANES; i++)
        tree[i] = x[i] = sinf(7.3f * (float)i) * (i % 3 == 0 ? 1e4f : 1e-3f);
    for (int half = VT_LANES / 2; half > 0; half /= 2)
        for (int i = 0; i < half; i++)
            tree[i] += tree[i + half];
    assert_true(vsum(vload(x)) == tree[0]);
    for (int i = 0; i < VT_LANES; i++) {
        float rising[VT_LANES];
        for (int j = 0; j < VT_LANES; j++)
            rising[j] = j == i ? 3.0f : -5.0f + (float)j / VT_LANES;
        assert_true(vlargest(vload(rising)) == 3.0f);
    }
}

static void partial_rows_touch_only_themselves(void **state)
{
    (void)state;
    for (int64_t n = 0; n <= VT_LANES; n++) {
        float from[VT_LANES], to[VT_LANES], all[VT_LANES];
        for (int i = 0; i < VT_LANES; i++) {
            from[i] = (float)i + 1.0f;
            to[i] = -1.0f;
        }
        vstore(all, vload_first(from, n));
        vstore_first(to, vload(from), n);
        for (int i = 0; i < VT_LANES; i++) {
            assert_true(all[i] == (i < n ? from[i] : 0.0f));
            assert_true(to[i] == (i < n ? from[i] : -1.0f));
        }
        assert_int_equal(vmask_bits(vfirst(n)), (1u << n) - 1u);
    }
}

static void words_are_compared_without_sign(void **state)
{
    uint32_t words[VT_LANES];
    (void)state;
    for (uint32_t i = 0; i < VT_LANES; i++)
        words[i] = i * 0x11111111u;
    assert_int_equal(vmask_bits(vkeep(words, 0)), 0xffff);
    assert_int_equal(vmask_bits(vkeep(words, 0x77777777u)), 0xff80);
    assert_int_equal(vmask_bits(vkeep(words, 0x88888889u)), 0xfe00);
    assert_int_equal(vmask_bits(vkeep(words, 0xffffffffu)), 0x8000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        {"exp, log, erf and tanh are accurate", functions_are_accurate, NULL, NULL, NULL},
        {"NaN, infinities, zeros and extremes behave", special_values_behave, NULL, NULL, NULL},
        {"sums and maxima over the lanes follow one tree", sums_follow_one_tree, NULL, NULL, NULL},
        {"partial rows touch only themselves", partial_rows_touch_only_themselves, NULL, NULL,
         NULL},
        {"words are compared without sign", words_are_compared_without_sign, NULL, NULL, NULL},
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
