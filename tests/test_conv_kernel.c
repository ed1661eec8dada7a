/*
 * Convolutions against plain loops in double, on shapes that cross every edge of blocks, tiles,
 * panels and parts; the same bits at any number of threads, order of chunks and vector width.
 *
 * Bounds: a sum of n products may be off by U * (4 + sqrt(n)) times the sum of their absolute
 * values: errors of random sign. Products of two bfloat16, or of two TF32, are exact in fp32: in
 * those precisions the same bound holds, and one rounding of what is stored as such.
 */
#include "base/hash.h"
#include "graph/graph.h"
#include "ops/ops.h"
#include "support/kernel_run.h"

#include <stdlib.h>

static const struct conv_case {
    vt_conv_sizes s;
    bool depthwise;
    const char *why;
} cases[] = {
    {{2, 5, 150, 3, 20, 3, 1, 1, 1}, false, "a row is several blocks; three channels"},
    {{3, 33, 31, 24, 40, 3, 2, 1, 1}, false, "a block is some rows; stride 2; half a panel"},
    {{40, 4, 5, 16, 100, 3, 1, 1, 1}, false, "a block is several images; channels in two units"},
    {{2, 13, 9, 80, 33, 3, 1, 1, 1}, false, "a row of taps is several pieces"},
    {{3, 12, 13, 40, 48, 5, 1, 2, 1}, false, "a row of taps is one piece of more than a vector"},
    {{5, 16, 17, 48, 56, 1, 2, 0, 2}, false, "one tap, of which stride 2 skips three places"},
    {{7, 11, 10, 32, 24, 3, 3, 2, 4}, false, "groups; stride 3"},
    {{1, 7, 7, 192, 200, 3, 1, 1, 1}, false, "few places, many channels"},
    {{1, 20, 19, 7, 5, 7, 2, 5, 1}, false, "pads beyond half the kernel"},
    {{140, 1, 1, 6, 10, 1, 1, 0, 1}, false, "maps of one place"},
    {{3, 40, 50, 3, 8, 2, 5, 0, 1}, false, "places between the taps"},
    {{1, 5, 6, 67, 66, 3, 1, 1, 1}, false, "channels that no vector divides"},
    {{3, 3, 3, 132, 8976, 1, 2, 0, 132}, false, "many groups of one channel"},
    {{2, 2, 2, 528, 9240, 1, 1, 0, 132}, false, "many groups of four channels, wide outputs"},
    {{2, 2, 3, 528, 4752, 1, 1, 0, 132}, false, "many groups of four channels"},
    {{2, 2, 2, 8976, 528, 1, 1, 0, 132}, false, "many groups of few outputs"},
    {{1, 2, 3, 5280, 15840, 1, 1, 0, 132}, false, "many groups, the widest tiles"},
    {{2, 2, 2, 1056, 9504, 1, 1, 0, 132}, false, "many groups of eight channels, wide tiles"},
    {{9, 11, 12, 20, 28, 1, 1, 0, 1}, false, "one tap that meets every place"},
    {{4, 21, 30, 40, 40, 3, 1, 1, 40}, true, "more than two vectors of channels"},
    {{5, 19, 17, 19, 19, 3, 2, 1, 19}, true, "stride 2; channels that do not fill a vector"},
    {{3, 8, 6, 40, 40, 3, 2, 1, 40}, true, "stride 2; even rows and columns"},
    {{140, 1, 1, 24, 24, 3, 1, 1, 24}, true, "maps of one place"},
    {{140, 2, 1, 24, 24, 3, 2, 1, 24}, true, "maps of one column; stride 2"},
    {{30, 1, 2, 7, 7, 3, 2, 1, 7}, true, "maps of one row; stride 2"},
    {{3, 18, 23, 16, 16, 5, 1, 2, 16}, true, "five taps are three and two"},
    {{2, 25, 16, 32, 32, 7, 3, 3, 32}, true, "seven taps are three, three and one"},
    {{2, 9, 40, 5, 5, 3, 1, 4, 5}, true, "pads beyond half the kernel"},
    {{2, 17, 9, 16, 16, 2, 4, 0, 16}, true, "places between the taps"},
};
enum { N_CASES = sizeof cases / sizeof *cases, MANY = 132 };

/* Inputs; y, y without bias, dx written, dx added to, dw and db added to with what they held. */
struct results {
    int64_t n_x, n_w, n_y;
    float *x, *w, *b, *dy;
    float *y, *y_plain, *dx, *dx_added, *dx_before, *dw, *dw_before, *db, *db_before;
};

static float *new_scratch(struct run *r, size_t size_bytes)
{
    return new_array(r, (int64_t)(size_bytes / sizeof(float)), false);
}

/* A worker's memory as NaN, and more of it than is asked for, to see what is written past it. */
enum { SPARE = 1 << 16 };

static void poison_workers(struct run *r, size_t size_bytes)
{
    vt_error err = {0};
    if (on_gpu())
        return;
    assert_int_equal(vt_dev_reserve(r->dev, size_bytes + SPARE, &err), VT_OK);
    for (int i = 0; i < vt_dev_info(r->dev)->threads; i++)
        memset(vt_dev_worker_scratch(r->dev, i), 0xff, vt_dev_reserved(r->dev));
}

static void check_workers(struct run *r, size_t size_bytes)
{
    for (int i = 0; !on_gpu() && i < vt_dev_info(r->dev)->threads; i++) {
        const unsigned char *block = vt_dev_worker_scratch(r->dev, i);
        for (size_t at = size_bytes; at < size_bytes + SPARE; at++)
            assert_int_equal(block[at], 0xff);
    }
}

static struct results compute(struct run *r, const struct conv_case *c)
{
    const vt_conv_sizes *s = &c->s;
    const vt_kernels *k = r->k;
    const int64_t h = vt_conv_out(s->H, s->kernel, s->stride, s->pad);
    const int64_t w = vt_conv_out(s->W, s->kernel, s->stride, s->pad);
    struct results a = {.n_x = s->batch * s->H * s->W * s->C,
                        .n_w = s->O * (s->C / s->groups) * s->kernel * s->kernel,
                        .n_y = s->batch * h * w * s->O};
    a.x = input(r, a.n_x);
    a.w = input(r, a.n_w);
    a.b = input(r, s->O);
    a.dy = input(r, a.n_y);
    a.y = output(r, a.n_y);
    a.y_plain = output(r, a.n_y);
    a.dx = output(r, a.n_x);
    a.dx_added = sum_output(r, a.n_x, &a.dx_before);
    a.dw = sum_output(r, a.n_w, &a.dw_before);
    a.db = sum_output(r, s->O, &a.db_before);
    if (c->depthwise) {
        float *forward = new_scratch(r, r->k->dwconv_scratch(s, false));
        float *backward = new_scratch(r, r->k->dwconv_scratch(s, true));
        k->dwconv_fwd(r->dev, buf(a.y_plain), buf(a.x), buf(a.w), s, forward);
        k->dwconv_bwd(r->dev, buf(a.dx), true, a.dw, buf(a.dy), buf(a.x), buf(a.w), s, backward);
        k->dwconv_bwd(r->dev, buf(a.dx_added), false, NULL, buf(a.dy), buf(a.x), buf(a.w), s,
                      backward);
    } else {
        float *forward = new_scratch(r, r->k->conv_scratch(s, false));
        float *backward = new_scratch(r, r->k->conv_scratch(s, true));
        const size_t worker = vt_conv_worker_scratch(s);
        poison_workers(r, worker);
        k->conv_fwd(r->dev, buf(a.y), buf(a.x), buf(a.w), buf(a.b), s, forward);
        k->conv_fwd(r->dev, buf(a.y_plain), buf(a.x), buf(a.w), (vt_buf){0}, s, forward);
        k->conv_bwd_x(r->dev, buf(a.dx), true, buf(a.dy), buf(a.w), s, backward);
        k->conv_bwd_x(r->dev, buf(a.dx_added), false, buf(a.dy), buf(a.w), s, backward);
        k->conv_bwd_w(r->dev, a.dw, a.db, buf(a.dy), buf(a.x), s, backward);
        check_workers(r, worker);
    }
    return a;
}

/* What a tensor should be: sums of products, of their absolute values, and their number. */
struct sums {
    double *value, *size;
    int64_t *terms, n;
};

static struct sums new_sums(int64_t n)
{
    struct sums s = {calloc((size_t)n, sizeof(double)), calloc((size_t)n, sizeof(double)),
                     calloc((size_t)n, sizeof(int64_t)), n};
    assert_true(s.value && s.size && s.terms);
    return s;
}

static void add_term(struct sums *s, int64_t i, double term)
{
    s->value[i] += term;
    s->size[i] += fabs(term);
    s->terms[i]++;
}

/* got = the sums, and what it held before or a bias (one for each of `period` elements), or
 * neither: NULL. `check` knows whether it is rounded. */
typedef void check_fn(const char *what, int64_t i, double got, double want, double bound);

static void check_sums(const struct conv_case *c, const char *what, check_fn *check,
                       const struct sums *s, const float *got, const float *start, int64_t period)
{
    char label[160];
    snprintf(label, sizeof label, "%s (%s)", what, c->why);
    for (int64_t i = 0; i < s->n; i++) {
        const double more = start ? (double)start[i % period] : 0;
        check(label, i, (double)got[i], s->value[i] + more,
              U * (4 + sqrt((double)s->terms[i])) * (s->size[i] + fabs(more)));
    }
}

static void free_sums(struct sums *s)
{
    free(s->value);
    free(s->size);
    free(s->terms);
}

static void check_case(const struct conv_case *c, const struct results *a)
{
    const vt_conv_sizes *s = &c->s;
    const int64_t k = s->kernel, in = s->C / s->groups, out = s->O / s->groups;
    const int64_t h = (s->H + 2 * s->pad - k) / s->stride + 1;
    const int64_t w = (s->W + 2 * s->pad - k) / s->stride + 1;
    struct sums y = new_sums(a->n_y), dx = new_sums(a->n_x), dw = new_sums(a->n_w),
                db = new_sums(s->O);
    for (int64_t i = 0; i < a->n_y; i++) { /* (image, row, column, output) */
        const int64_t o = i % s->O, column = i / s->O % w, row = i / s->O / w % h;
        const int64_t image = i / s->O / w / h;
        add_term(&db, o, (double)a->dy[i]);
        for (int64_t tap = 0; tap < in * k * k; tap++) { /* (channel, row, column) */
            const int64_t x_row = row * s->stride - s->pad + tap / k % k;
            const int64_t x_column = column * s->stride - s->pad + tap % k;
            if (x_row < 0 || x_row >= s->H || x_column < 0 || x_column >= s->W)
                continue;
            const int64_t channel = o / out * in + tap / k / k;
            const int64_t at = ((image * s->H + x_row) * s->W + x_column) * s->C + channel;
            const int64_t weight = o * in * k * k + tap;
            add_term(&y, i, (double)a->x[at] * (double)a->w[weight]);
            add_term(&dx, at, (double)a->dy[i] * (double)a->w[weight]);
            add_term(&dw, weight, (double)a->dy[i] * (double)a->x[at]);
        }
    }
    check_sums(c, "y without bias", check_rounded, &y, a->y_plain, NULL, 1);
    check_sums(c, "dx", check_rounded, &dx, a->dx, NULL, 1);
    check_sums(c, "dx, added", check_rounded, &dx, a->dx_added, a->dx_before, a->n_x);
    check_sums(c, "dw", check_value, &dw, a->dw, a->dw_before, a->n_w);
    if (!c->depthwise) {
        check_sums(c, "y", check_rounded, &y, a->y, a->b, s->O);
        check_sums(c, "db", check_value, &db, a->db, a->db_before, s->O);
    }
    free_sums(&y);
    free_sums(&dx);
    free_sums(&dw);
    free_sums(&db);
}

static void agrees_with_plain_loops(void **state)
{
    (void)state;
    struct run *r = calloc(1, sizeof *r);
    assert_non_null(r);
    r->dev = new_device(2);
    r->k = device_kernels(r->dev);
    for (int i = 0; i < N_CASES; i++) {
        struct results a = compute(r, &cases[i]);
        check_case(&cases[i], &a);
        release_arrays(r);
    }
    vt_dev_free(r->dev);
    free(r);
}

static void hash_case(struct run *r, const struct conv_case *c, char hex[VT_SHA256_HEX_SIZE])
{
    uint8_t digest[VT_SHA256_SIZE];
    vt_sha256 hash;
    r->drawn = 0;
    compute(r, c);
    vt_sha256_init(&hash);
    for (int i = 0; i < r->n_arrays; i++)
        if (r->arrays[i].output)
            vt_sha256_add(&hash, r->arrays[i].data, (size_t)r->arrays[i].n * sizeof(float));
    vt_sha256_finish(&hash, digest);
    vt_sha256_hex(digest, hex);
    release_arrays(r);
}

static void bits_do_not_depend_on_the_machine(void **state)
{
    (void)state;
    static const int threads[] = {1, 2, 3, 5};
    const bool wide = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
    struct run *r = calloc(1, sizeof *r);
    char want[N_CASES][VT_SHA256_HEX_SIZE], got[VT_SHA256_HEX_SIZE];
    assert_non_null(r);
    if (!wide)
        print_message("AVX-512 against AVX2 not compared: this processor has no AVX-512\n");
    for (size_t t = 0; t < sizeof threads / sizeof *threads; t++) {
        if (on_gpu() && t % 2 > 0) /* a GPU's orders: forward and one shuffled */
            continue;
        r->dev = new_device(threads[t]);
        for (int i = 0; i < N_CASES; i++)
            for (uint64_t seed = 0; seed < (on_gpu() ? 1 : 2); seed++) {
                if (on_gpu() && cases[i].s.groups == MANY) /* slow, and nothing new */
                    continue;
                vt_pool_shuffle(vt_dev_pool(r->dev), seed * 7919);
                r->k = wide && seed && !on_gpu() ? &vt_avx512_table : narrow(r->dev);
                hash_case(r, &cases[i], t + seed == 0 ? want[i] : got);
                if (t + seed > 0 && strcmp(got, want[i]) != 0)
                    fail_msg("%s: other bits at %d threads, chunk order %d, %s", cases[i].why,
                             threads[t], (int)seed, r->k->name);
            }
        vt_dev_free(r->dev);
    }
    free(r);
}

static void gradients_may_be_absent(void **state)
{
    (void)state;
    struct run *r = calloc(1, sizeof *r);
    const struct conv_case *c = &cases[2];
    assert_non_null(r);
    r->dev = new_device(2);
    r->k = device_kernels(r->dev);
    struct results a = compute(r, c);
    float *scratch = new_scratch(r, r->k->conv_scratch(&c->s, true));
    r->k->conv_bwd_w(r->dev, a.dw_before, NULL, buf(a.dy), buf(a.x), &c->s, scratch);
    r->k->conv_bwd_w(r->dev, NULL, a.db_before, buf(a.dy), buf(a.x), &c->s, scratch);
    assert_memory_equal(a.dw_before, a.dw, (size_t)a.n_w * sizeof *a.dw);
    assert_memory_equal(a.db_before, a.db, (size_t)c->s.O * sizeof *a.db);
    release_arrays(r);
    vt_dev_free(r->dev);
    free(r);
}

static void memory_stays_within_reason(void **state)
{
    (void)state;
    const int64_t limit = 64 << 20;
    for (int64_t channels = 16; channels <= 1024; channels *= 2)
        for (int64_t size = 4; size <= 128; size *= 2) {
            const vt_conv_sizes s = {128, size, size, channels, channels, 3, 1, 1, 1};
            const int64_t weight = channels * channels * 9 * (int64_t)sizeof(float);
            assert_int_equal(vt_conv_scratch(&s, false), weight);
            assert_in_range(vt_conv_scratch(&s, true), weight, limit > weight ? limit : weight);
            assert_in_range(vt_conv_worker_scratch(&s), 1, 4 << 20);
        }
}

/* ---- the ops */

static vt_node *map_of(vt_graph *g, int64_t batch, int64_t places, int64_t channels)
{
    return vt_graph_input(g, "x", VT_F32, vt_shape_of(3, (int64_t[]){batch, places, channels}));
}

static vt_node *weight_of(vt_graph *g, int64_t out, int64_t in, int64_t kernel)
{
    return vt_graph_param(g, "w", vt_shape_of(4, (int64_t[]){out, in, kernel, kernel}),
                          VT_ROLE_WEIGHT, (vt_fill){0});
}

static void ops_count_their_multiplications(void **state)
{
    (void)state;
    vt_params *params = vt_params_new();
    vt_graph *g = vt_graph_new(params, test_table(), 2, false);
    vt_node *y =
        vt_conv(g, "dense", map_of(g, 2, 63, 24), 7, 9, weight_of(g, 32, 12, 3), NULL, 2, 1, 2);
    assert_non_null(y);
    assert_int_equal(y->shape.dim[1], 4 * 5);
    assert_int_equal(y->shape.dim[2], 32);
    assert_true(y->macs == 2.0 * 4 * 5 * 32 * 12 * 9);
    vt_graph_free(g);
    vt_params_free(params);

    params = vt_params_new();
    g = vt_graph_new(params, test_table(), 2, false);
    y = vt_dwconv(g, "depthwise", map_of(g, 2, 63, 24), 7, 9, weight_of(g, 24, 1, 5), 1, 2);
    assert_non_null(y);
    assert_int_equal(y->shape.dim[1], 63);
    assert_true(y->macs == 2.0 * 63 * 24 * 25);
    vt_graph_free(g);
    vt_params_free(params);
}

static void ops_refuse_what_does_not_fit(void **state)
{
    (void)state;
    static const struct {
        int64_t places, height, out, in, kernel, pad,
            groups; /* of 12 channels; 0 groups: depthwise */
        const char *says;
    } wrong[] = {
        {64, 7, 16, 12, 3, 1, 1, "7 x 8 does not give"},
        {64, 8, 16, 10, 3, 1, 1, "10 inputs"},
        {64, 8, 16, 6, 3, 1, 3, "6 inputs in each of 3 groups meets 12 channels"},
        {64, 8, 15, 6, 3, 1, 2, "6 inputs in each of 2 groups"},
        {64, 8, 16, 12, 11, 1, 1, "a kernel of 11 does not fit a map of 8 x 8 padded by 1"},
        {64, 8, 24, 1, 3, 1, 0, "one output for each channel"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        vt_error err = {0};
        vt_params *params = vt_params_new();
        vt_graph *g = vt_graph_new(params, test_table(), 1, false);
        vt_node *x = map_of(g, 1, wrong[i].places, 12);
        vt_node *w = weight_of(g, wrong[i].out, wrong[i].in, wrong[i].kernel);
        assert_null(wrong[i].groups
                        ? vt_conv(g, "bad", x, wrong[i].height, 8, w, NULL, 1, wrong[i].pad,
                                  wrong[i].groups)
                        : vt_dwconv(g, "bad", x, wrong[i].height, 8, w, 1, wrong[i].pad));
        assert_int_not_equal(vt_graph_finish(g, &err), VT_OK);
        if (!strstr(err.text, wrong[i].says))
            fail_msg("'%s' lacks '%s'", err.text, wrong[i].says);
        vt_graph_free(g);
        vt_params_free(params);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        {"convolutions agree with plain loops in double", agrees_with_plain_loops, NULL, NULL,
         NULL},
        {"bits do not depend on threads, chunk order or vector width",
         bits_do_not_depend_on_the_machine, NULL, NULL, NULL},
        {"either parameter gradient may be absent", gradients_may_be_absent, NULL, NULL, NULL},
        {"memory stays within reason", memory_stays_within_reason, NULL, NULL, NULL},
        {"the ops count their multiplications", ops_count_their_multiplications, NULL, NULL, NULL},
        {"the ops refuse what does not fit", ops_refuse_what_does_not_fit, NULL, NULL, NULL},
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
