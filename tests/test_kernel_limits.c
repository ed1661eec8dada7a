/* What kernels do with numbers at the edge, with gradients that are not finite, and with memory. */
#include "support/kernel_run.h"

#include <float.h>

/* Near the ends of what a float and a bfloat16 hold. */
#define BIG 0x1.cp127f
#define SMALL 0x1p-133f

/* Less what rounding the result to the tested type explains, if the error before is below `bound`.
 */
static double error_of(double got, double want, double bound)
{
    return fabs(got - want) - rounded_slack(fabs(want) + bound);
}

/* Every 1/2048 from -32 to 32; beyond, the values are x, 0 or a tenth of x to the last bit. */
static void activations_are_accurate_over_a_fine_grid(void **state)
{
    static const char *const names[] = {"GELU", "GELU, tanh form", "SiLU",
                                        "ReLU", "leaky ReLU",      "Mish"};
    enum { N = 64 * 2048 + 1 };
    struct run r = {.dev = new_device(2)};
    r.k = narrow(r.dev);
    float *x = new_array(&r, N, false), *one = new_array(&r, N, false);
    float *y = output(&r, N), *dx = output(&r, N);
    (void)state;
    for (int i = 0; i < N; i++) {
        x[i] = rounded_number((float)i / 2048 - 32);
        one[i] = 1;
    }
    for (int k = 0; k < ACTIVATIONS; k++) {
        vt_activation_kind kind = (vt_activation_kind)k;
        double worst = 0, worst_slope = 0;
        r.k->activation_fwd(r.dev, buf(y), buf(x), N, kind);
        r.k->activation_bwd(r.dev, buf(dx), true, (vt_buf){0}, buf(one), buf(x), N, kind);
        for (int i = 0; i < N; i++) {
            double want = activation_of(x[i], kind), slope = activation_slope(x[i], kind);
            double size = fmax(1, fabs(x[i]));
            worst = fmax(worst, error_of(y[i], want, 3 * U * size) / size);
            worst_slope = fmax(worst_slope, error_of(dx[i], slope, 10 * U));
        }
        print_message("%s: error %.2g max(1, |x|), of the slope %.2g\n", names[k], worst,
                      worst_slope);
        assert_true(worst < 3 * U);
        assert_true(worst_slope < 10 * U);
    }
    release_arrays(&r);
    vt_dev_free(r.dev);
}

/* SiLU and Mish fall as x exp(x), which must not end where exp(-x) overflows: relative errors. */
static void activations_keep_their_tails(void **state)
{
    enum { N = 86 * 64 };
    struct run r = {.dev = new_device(2)};
    r.k = narrow(r.dev);
    float *x = new_array(&r, N, false), *one = new_array(&r, N, false);
    float *y = output(&r, N), *dx = output(&r, N);
    (void)state;
    for (int i = 0; i < N; i++) {
        x[i] = rounded_number(-2 - (float)i / 64); /* to -88; the slope's last zero is at -1.3 */
        one[i] = 1;
    }
    for (int k = 0; k < 2; k++) {
        vt_activation_kind kind = k ? VT_ACT_MISH : VT_ACT_SILU;
        r.k->activation_fwd(r.dev, buf(y), buf(x), N, kind);
        r.k->activation_bwd(r.dev, buf(dx), true, (vt_buf){0}, buf(one), buf(x), N, kind);
        for (int i = 0; i < N; i++) {
            double want = activation_of(x[i], kind), slope = activation_slope(x[i], kind);
            check_rounded("y", i, y[i], want, 8 * U * fabs(want));
            check_rounded("dx", i, dx[i], slope, 16 * U * fabs(slope));
        }
    }
    release_arrays(&r);
    vt_dev_free(r.dev);
}

static void activations_behave_at_zero_and_infinity(void **state)
{
    /* Numbers that a bfloat16 holds too, the last one its smallest. Not constant: a GPU that does
     * not reach the host's memory by itself is let into what can be written. */
    static float x[] = {0.0f, -0.0f, INFINITY, 200.0f, -200.0f, -BIG, BIG, SMALL};
    enum { N = sizeof x / sizeof x[0] };
    /* y and the slope; NAN: not asked */
    static const float value[ACTIVATIONS][N] = {
        {0, 0, INFINITY, 200, 0, 0, BIG, NAN},
        {0, 0, INFINITY, 200, 0, 0, BIG, NAN},
        {0, 0, INFINITY, 200, 0, 0, BIG, NAN},
        {0, 0, INFINITY, 200, 0, 0, BIG, SMALL},
        {0, 0, INFINITY, 200, -20, 0.1f * -BIG, BIG, SMALL},
        {0, 0, INFINITY, 200, 0, 0, BIG, NAN},
    };
    static const float slope[ACTIVATIONS][N] = {
        {0.5f, 0.5f, NAN, 1, 0, NAN, NAN, 0.5f}, {0.5f, 0.5f, NAN, 1, 0, NAN, NAN, 0.5f},
        {0.5f, 0.5f, NAN, 1, 0, 0, 1, 0.5f},     {0, 0, 1, 1, 0, 0, 1, 1},
        {0.1f, 0.1f, 1, 1, 0.1f, 0.1f, 1, 1},    {0.6f, 0.6f, NAN, 1, 0, 0, 1, 0.6f},
    };
    struct run r = {.dev = new_device(1)};
    r.k = narrow(r.dev);
    float one[N], y[N] = {0}, dx[N] = {0};
    (void)state;
    for (int i = 0; i < N; i++)
        one[i] = 1;
    for (int k = 0; k < ACTIVATIONS; k++) {
        r.k->activation_fwd(r.dev, buf(y), buf(x), N, (vt_activation_kind)k);
        r.k->activation_bwd(r.dev, buf(dx), true, (vt_buf){0}, buf(one), buf(x), N,
                            (vt_activation_kind)k);
        for (int i = 0; i < N; i++) {
            if (!isnan(value[k][i]) && y[i] != rounded_number(value[k][i]))
                fail_msg("activation %d of %g is %g", k, (double)x[i], (double)y[i]);
            if (!isnan(slope[k][i]) && fabsf(dx[i] - rounded_number(slope[k][i])) > (float)U)
                fail_msg("activation %d has slope %g at %g", k, (double)dx[i], (double)x[i]);
        }
    }
    vt_dev_free(r.dev);
}

static void nan_is_never_hidden(void **state)
{
    struct run r = {.dev = new_device(1)};
    r.k = narrow(r.dev);
    float *x = input(&r, 48), *y = output(&r, 48), *one = input(&r, 48);
    float loss[3], lse[3];
    int32_t rank[3];
    const int32_t labels[3] = {0, 3, 15};
    double totals[4] = {0};
    (void)state;
    x[3] = x[20] = x[47] = NAN;
    for (int kind = 0; kind < ACTIVATIONS; kind++) {
        vt_activation_kind f = (vt_activation_kind)kind;
        for (int backward = 0; backward < 2; backward++) {
            if (backward)
                r.k->activation_bwd(r.dev, buf(y), true, (vt_buf){0}, buf(one), buf(x), 48, f);
            else
                r.k->activation_fwd(r.dev, buf(y), buf(x), 48, f);
            for (int i = 0; i < 48; i++)
                assert_int_equal(isnan(y[i]) != 0, i == 3 || i == 20 || i == 47);
        }
    }
    r.k->cross_entropy_fwd(r.dev, loss, lse, rank, totals, buf(x), labels, 3, 16, 0);
    for (int i = 0; i < 3; i++)
        assert_true(isnan(loss[i]) && isnan(lse[i]));
    assert_true(rank[0] > 0); /* a NaN stands before a number */
    assert_int_equal(rank[2], 15);
    r.k->residual_fwd(r.dev, buf(y), buf(one), buf(x), 1, 48, 0, STREAM, &STEP);
    assert_true(isnan(y[3]) && !isnan(y[4]));
    release_arrays(&r);
    vt_dev_free(r.dev);
}

static void loss_survives_extreme_logits(void **state)
{
    struct run r = {.dev = new_device(1)};
    r.k = narrow(r.dev);
    float x[] = {8192, -8192, 0, -BIG, -BIG, -BIG, -INFINITY, 5, 5};
    float loss[3], lse[3], dx[9] = {0};
    int32_t rank[3];
    const int32_t labels[3] = {1, 2, 1};
    double totals[4] = {0};
    (void)state;
    r.k->cross_entropy_fwd(r.dev, loss, lse, rank, totals, buf(x), labels, 3, 3, 0);
    r.k->cross_entropy_bwd(r.dev, buf(dx), buf(x), lse, labels, 3, 3, 0, &STEP);
    assert_true(loss[0] == 2 * 8192 && rank[0] == 2);
    assert_true(fabs(loss[1] - log(3)) < 2 * U && rank[1] == 2);
    assert_true(fabs(loss[2] - log(2)) < 2 * U && rank[2] == 0);
    for (int i = 0; i < 9; i++)
        assert_true(isfinite(dx[i]));
    assert_true(totals[1] == 1 && totals[2] == 3 && totals[3] == 3);
    vt_dev_free(r.dev);
}

static void sum_of_squares_is_finite_if_all_gradients_are(void **state)
{
    enum { N = 40000 };
    static const float bad[] = {NAN, -NAN, INFINITY, -INFINITY};
    static const int at[] = {0, 15, 16, 16384, N - 1};
    struct run r = {.dev = new_device(2)};
    r.k = narrow(r.dev);
    float *g = new_array(&r, N, false);
    double sum, scratch[3];
    (void)state;
    for (int i = 0; i < N; i++)
        g[i] = i % 2 ? 3.4e38f : -1e-45f;
    r.k->sum_squares(r.dev, &sum, g, N, scratch);
    assert_true(isfinite(sum) && sum > 1e80);
    for (int i = 0; i < 20; i++) {
        float good = g[at[i / 4]];
        g[at[i / 4]] = bad[i % 4];
        r.k->sum_squares(r.dev, &sum, g, N, scratch);
        assert_true(!isfinite(sum));
        g[at[i / 4]] = good;
    }
    release_arrays(&r);
    vt_dev_free(r.dev);
}

static void clip_factor_limits_the_norm(void **state)
{
    vt_dev *dev = new_device(1);
    vt_step step = STEP;
    double sum = 16;
    (void)state;
    narrow(dev)->clip_factor(dev, &step, &sum, 1);
    assert_true(step.clip == (float)(1 / (4 + 1e-6)));
    narrow(dev)->clip_factor(dev, &step, &sum, 5);
    assert_true(step.clip == 1);
    sum = 0;
    narrow(dev)->clip_factor(dev, &step, &sum, 1);
    assert_true(step.clip == 1);
    sum = NAN;
    narrow(dev)->clip_factor(dev, &step, &sum, 1);
    assert_true(isnan(step.clip));
    vt_dev_free(dev);
}

static void the_first_value_that_is_not_finite_is_found(void **state)
{
    enum { N = 100000 };
    static const int at[] = {N - 1, 70000, 16384, 16383, 17, 0};
    struct run r = {.dev = new_device(3)};
    r.k = narrow(r.dev);
    float *x = input(&r, N);
    double d[] = {1, 2, 3e300, -INFINITY, NAN};
    int32_t i32[] = {-1, INT32_MIN};
    (void)state;
    x[5] = rounded_type() == VT_BF16 ? 0x1.fep127f : FLT_MAX; /* the largest and the smallest */
    x[6] = rounded_type() == VT_BF16 ? 0x1p-133f : 0x1p-149f;
    assert_int_equal(r.k->find_nonfinite(r.dev, buf(x), N), -1);
    assert_int_equal(r.k->find_nonfinite(r.dev, buf(x), 0), -1);
    for (int i = 0; i < 6; i++) { /* each stands before those already there */
        x[at[i]] = i % 2 ? NAN : -INFINITY;
        for (uint64_t shuffle = 0; shuffle < 3; shuffle++) {
            vt_pool_shuffle(vt_dev_pool(r.dev), shuffle * 12345);
            assert_int_equal(r.k->find_nonfinite(r.dev, buf(x), N), at[i]);
        }
    }
    assert_int_equal(r.k->find_nonfinite(r.dev, (vt_buf){d, VT_F64}, 5), 3);
    assert_int_equal(r.k->find_nonfinite(r.dev, (vt_buf){d, VT_F64}, 3), -1);
    assert_int_equal(r.k->find_nonfinite(r.dev, (vt_buf){i32, VT_I32}, 2), -1);
    release_arrays(&r);
    vt_dev_free(r.dev);
}

static void fill_zero_clears_exactly_its_bytes(void **state)
{
    static unsigned char block[600001];
    vt_dev *dev = new_device(2);
    (void)state;
    memset(block, 0xff, sizeof block);
    narrow(dev)->fill_zero(dev, block + 1, sizeof block - 2);
    assert_int_equal(block[0], 0xff);
    assert_int_equal(block[sizeof block - 1], 0xff);
    for (size_t i = 1; i + 1 < sizeof block; i++)
        assert_int_equal(block[i], 0);
    narrow(dev)->fill_zero(dev, block, 0);
    assert_int_equal(block[0], 0xff);
    vt_dev_free(dev);
}

/* An array's memory in the tested type, without the conversions of support/rounded.h, which
 * allocate: its numbers mean nothing in bfloat16. */
static vt_buf typed(float *data)
{
    return (vt_buf){data, rounded_type() == VT_BF16 ? VT_BF16 : VT_F32};
}

static void kernels_allocate_nothing(void **state)
{
    enum { ROWS = 40, N = ROWS * 48 };
    struct run r = {.dev = new_device(2)};
    r.k = rounded_type() == VT_BF16 ? vt_dev_kernels(r.dev) : narrow(r.dev);
    float *x = input(&r, N), *y = output(&r, N), *m = output(&r, N), *small = input(&r, 4 * N);
    double sum, partial[4], totals[4] = {0};
    int32_t *labels = labels_below(&r, ROWS, 48), rank[ROWS];
    (void)state;
    uint64_t before = vt_mem_count();
    r.k->layernorm_fwd(r.dev, typed(y), m, m + ROWS, typed(x), small, small, ROWS, 48, 1e-6f);
    r.k->layernorm_bwd(r.dev, typed(y), true, m + 100, m + 200, (vt_buf){0}, typed(x), typed(x),
                       small, small, m, m + ROWS, ROWS, 48, small + N);
    r.k->activation_bwd(r.dev, typed(y), true, (vt_buf){0}, typed(x), typed(x), N, VT_ACT_GELU);
    r.k->tokens_bwd(r.dev, typed(y), true, small, small + 48, typed(x), false, 2, 20, 48);
    r.k->dropout_fwd(r.dev, typed(y), typed(x), 2, N / 2, 0.1f, STREAM, &STEP);
    r.k->residual_fwd(r.dev, typed(y), typed(x), typed(x), 2, N / 2, 0.1f, STREAM, &STEP);
    r.k->cross_entropy_fwd(r.dev, m, m + ROWS, rank, totals, typed(x), labels, ROWS, 48, 0);
    r.k->adam(r.dev, y, m, small, x, N, 0.9, 0.999, 1e-8f, 0, true, &STEP);
    r.k->sum_squares(r.dev, &sum, x, N, partial);
    assert_true(vt_mem_count() == before);
    release_arrays(&r);
    vt_dev_free(r.dev);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        {"activations are accurate over a fine grid", activations_are_accurate_over_a_fine_grid,
         NULL, NULL, NULL},
        {"SiLU and Mish keep their tails", activations_keep_their_tails, NULL, NULL, NULL},
        {"activations behave at zero and at the largest numbers",
         activations_behave_at_zero_and_infinity, NULL, NULL, NULL},
        {"NaN is never hidden", nan_is_never_hidden, NULL, NULL, NULL},
        {"the loss survives extreme logits", loss_survives_extreme_logits, NULL, NULL, NULL},
        {"the sum of squares is finite exactly if all gradients are",
         sum_of_squares_is_finite_if_all_gradients_are, NULL, NULL, NULL},
        {"the clip factor limits the norm", clip_factor_limits_the_norm, NULL, NULL, NULL},
        {"the first value that is not finite is found", the_first_value_that_is_not_finite_is_found,
         NULL, NULL, NULL},
        {"fill_zero clears exactly its bytes", fill_zero_clears_exactly_its_bytes, NULL, NULL,
         NULL},
        {"kernels allocate nothing", kernels_allocate_nothing, NULL, NULL, NULL},
    };
    return cmocka_run_group_tests_name("kernel limits", tests, NULL, NULL);
}
