/*
 * Linear layers against plain loops in double; the same bits at any number of threads, order of
 * chunks and vector width; and what is said when the matrix library is not the right one.
 *
 * Bounds: U is the largest relative rounding error of one float operation. A sum of k products may
 * be off by U * (2 + sqrt(k)) times the sum of their absolute values: errors of random sign.
 */
#include "base/hash.h"
#include "base/mem.h"
#include "base/rng.h"
#include "kernels/blas.h"
#include "kernels/device.h"
#include "support/test_device.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const double U = 0x1p-24;

enum { GUARD = 16 };

static const struct shape {
    int64_t rows, out, in;
} shapes[] = {{1, 1, 1},      {1, 10, 33},     {3, 7, 5},       {33, 29, 17},   {130, 48, 64},
              {520, 200, 48}, {4096, 24, 12},  {1024, 192, 96}, {7, 300, 1000}, {64, 10, 768},
              {300, 257, 31}, {700, 144, 300}, {5003, 41, 50},  {40, 530, 600}, {40, 64, 4700}};
enum { N_SHAPES = sizeof shapes / sizeof *shapes };

static float *new_values(int64_t n, uint32_t sample)
{
    float *x = vt_calloc((size_t)n, sizeof *x);
    vt_rng rng = vt_rng_at(3, VT_STREAM_TEST, 4, 0, sample);
    assert_non_null(x);
    for (int64_t i = 0; i < n; i++)
        x[i] = 2.0f * vt_rng_uniform(&rng, (uint64_t)i) - 1.0f;
    return x;
}

static float *new_output(int64_t n, float start)
{
    float *x = vt_calloc((size_t)(n + GUARD), sizeof *x);
    assert_non_null(x);
    for (int64_t i = 0; i < n + GUARD; i++)
        x[i] = i < n ? start : NAN;
    return x;
}

static int64_t scratch_floats(const vt_dev *dev, struct shape s)
{
    const vt_kernels *k = vt_dev_kernels(dev);
    const size_t forward = k->linear_scratch(s.rows, s.out, s.in, false);
    const size_t backward = k->linear_scratch(s.rows, s.out, s.in, true);
    return (int64_t)((forward > backward ? forward : backward) / sizeof(float));
}

static float *new_scratch(vt_dev *dev, struct shape s)
{
    vt_error err = {0};
    assert_int_equal(vt_dev_reserve(dev, vt_linear_worker_scratch(), &err), VT_OK);
    return new_output(scratch_floats(dev, s), NAN);
}

struct problem {
    struct shape s;
    float *x, *w, *b, *dy;
};

static void problem_init(struct problem *p, struct shape s)
{
    *p = (struct problem){s, new_values(s.rows * s.in, 1), new_values(s.out * s.in, 2),
                          new_values(s.out, 3), new_values(s.rows * s.out, 4)};
}

static void problem_release(struct problem *p)
{
    vt_free(p->x);
    vt_free(p->w);
    vt_free(p->b);
    vt_free(p->dy);
}

/* y, y without bias, dx written, dx added to 2, dw and db added to 2 */
struct results {
    float *y, *y_plain, *dx, *dx_added, *dw, *db;
};

static struct results compute(const struct problem *p, vt_dev *dev, const vt_kernels *k)
{
    const struct shape s = p->s;
    struct results r = {new_output(s.rows * s.out, NAN), new_output(s.rows * s.out, NAN),
                        new_output(s.rows * s.in, NAN),  new_output(s.rows * s.in, 2),
                        new_output(s.out * s.in, 2),     new_output(s.out, 2)};
    const vt_buf x = {p->x, VT_F32}, w = {p->w, VT_F32}, dy = {p->dy, VT_F32};
    float *scratch = new_scratch(dev, s);

    k->linear_fwd(dev, (vt_buf){r.y, VT_F32}, x, w, p->b, s.rows, s.out, s.in, scratch);
    k->linear_fwd(dev, (vt_buf){r.y_plain, VT_F32}, x, w, NULL, s.rows, s.out, s.in, scratch);
    k->linear_bwd_x(dev, (vt_buf){r.dx, VT_F32}, true, dy, w, s.rows, s.out, s.in, scratch);
    k->linear_bwd_x(dev, (vt_buf){r.dx_added, VT_F32}, false, dy, w, s.rows, s.out, s.in, scratch);
    k->linear_bwd_w(dev, r.dw, r.db, dy, x, s.rows, s.out, s.in, scratch);
    for (int i = 0; i < GUARD; i++)
        assert_true(isnan(scratch[scratch_floats(dev, s) + i]));
    vt_free(scratch);
    return r;
}

static void free_results(struct results *r)
{
    float *all[] = {r->y, r->y_plain, r->dx, r->dx_added, r->dw, r->db};
    for (int i = 0; i < 6; i++)
        vt_free(all[i]);
}

/* Element (i, j) of x is start[j] (or `all`) plus the sum over k of a[i, k] b[k, j], each with its
 * strides. */
struct product {
    const float *a, *b, *start;
    int64_t m, n, k, a_row, a_column, b_row, b_column;
    double all;
};

static void assert_product(const char *what, const float *x, struct product p)
{
    for (int64_t i = 0; i < p.m; i++)
        for (int64_t j = 0; j < p.n; j++) {
            double value = p.start != NULL ? (double)p.start[j] : p.all, size = fabs(value);
            for (int64_t k = 0; k < p.k; k++) {
                const double term = (double)p.a[i * p.a_row + k * p.a_column] *
                                    (double)p.b[k * p.b_row + j * p.b_column];
                value += term;
                size += fabs(term);
            }
            const double error = fabs((double)x[i * p.n + j] - value);
            if (!(error <= U * (2 + sqrt((double)p.k)) * size))
                fail_msg("%s (%lld x %lld, %lld terms)[%lld, %lld]: %.9g, expected %.9g", what,
                         (long long)p.m, (long long)p.n, (long long)p.k, (long long)i, (long long)j,
                         (double)x[i * p.n + j], value);
        }
    for (int64_t i = 0; i < GUARD; i++)
        if (!isnan(x[p.m * p.n + i]))
            fail_msg("%s was written past its end", what);
}

static void products_agree(void **state)
{
    (void)state;
    const float one = 1;
    vt_dev *dev = new_device(2);
    for (int i = 0; i < N_SHAPES; i++) {
        const struct shape s = shapes[i];
        struct problem p;
        problem_init(&p, s);
        struct results r = compute(&p, dev, vt_dev_kernels(dev));
        struct product y = {p.x, p.w, p.b, s.rows, s.out, s.in, s.in, 1, 1, s.in, 0};
        assert_product("y", r.y, y);
        y.start = NULL;
        assert_product("y without bias", r.y_plain, y);
        struct product dx = {p.dy, p.w, NULL, s.rows, s.in, s.out, s.out, 1, s.in, 1, 0};
        assert_product("dx", r.dx, dx);
        dx.all = 2;
        assert_product("dx, added", r.dx_added, dx);
        assert_product(
            "dw", r.dw,
            (struct product){p.dy, p.x, NULL, s.out, s.in, s.rows, 1, s.out, s.in, 1, 2});
        assert_product("db", r.db,
                       (struct product){&one, p.dy, NULL, 1, s.out, s.rows, 0, 0, s.out, 1, 2});
        free_results(&r);
        problem_release(&p);
    }
    vt_dev_free(dev);
}

static void gradients_may_be_absent(void **state)
{
    (void)state;
    struct problem p;
    vt_dev *dev = new_device(2);
    problem_init(&p, shapes[4]);
    const struct shape s = p.s;
    struct results all = compute(&p, dev, vt_dev_kernels(dev));
    float *dw = new_output(s.out * s.in, 2), *db = new_output(s.out, 2);
    float *scratch = new_scratch(dev, s);
    const vt_buf x = {p.x, VT_F32}, dy = {p.dy, VT_F32};
    vt_dev_kernels(dev)->linear_bwd_w(dev, dw, NULL, dy, x, s.rows, s.out, s.in, scratch);
    vt_dev_kernels(dev)->linear_bwd_w(dev, NULL, db, dy, x, s.rows, s.out, s.in, scratch);
    assert_memory_equal(dw, all.dw, (size_t)(s.out * s.in) * sizeof(float));
    assert_memory_equal(db, all.db, (size_t)s.out * sizeof(float));
    vt_free(dw);
    vt_free(db);
    vt_free(scratch);
    free_results(&all);
    problem_release(&p);
    vt_dev_free(dev);
}

static const vt_kernels *table_of(const vt_dev *dev, bool wide)
{
    return on_gpu() ? vt_dev_kernels(dev) : wide ? &vt_avx512_table : &vt_avx2_table;
}

static void hash_results(const struct problem *p, vt_dev *dev, const vt_kernels *k, char *hex)
{
    const struct shape s = p->s;
    struct results r = compute(p, dev, k);
    uint8_t digest[VT_SHA256_SIZE];
    vt_sha256 hash;
    vt_sha256_init(&hash);
    vt_sha256_add(&hash, r.y, (size_t)(s.rows * s.out) * 4);
    vt_sha256_add(&hash, r.y_plain, (size_t)(s.rows * s.out) * 4);
    vt_sha256_add(&hash, r.dx, (size_t)(s.rows * s.in) * 4);
    vt_sha256_add(&hash, r.dx_added, (size_t)(s.rows * s.in) * 4);
    vt_sha256_add(&hash, r.dw, (size_t)(s.out * s.in) * 4);
    vt_sha256_add(&hash, r.db, (size_t)s.out * 4);
    vt_sha256_finish(&hash, digest);
    vt_sha256_hex(digest, hex);
    free_results(&r);
}

static void bits_do_not_depend_on_the_machine(void **state)
{
    (void)state;
    static const int threads[] = {1, 2, 3, 5};
    const bool wide = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
    if (!wide)
        print_message("AVX-512 against AVX2 not compared: this processor has no AVX-512\n");
    char first[N_SHAPES][VT_SHA256_HEX_SIZE], hex[VT_SHA256_HEX_SIZE];
    for (int t = 0; t < 4; t++) {
        vt_dev *dev = new_device(threads[t]);
        for (int i = 0; i < N_SHAPES; i++) {
            struct problem p;
            problem_init(&p, shapes[i]);
            for (uint64_t seed = 0; seed < 2; seed++) {
                const bool start = t == 0 && seed == 0;
                vt_pool_shuffle(vt_dev_pool(dev), seed * 7919);
                hash_results(&p, dev, table_of(dev, wide && seed), start ? first[i] : hex);
                if (!start && strcmp(hex, first[i]) != 0)
                    fail_msg("%lld x %lld x %lld: other bits at %d threads, chunk order %d",
                             (long long)p.s.rows, (long long)p.s.out, (long long)p.s.in, threads[t],
                             (int)seed);
            }
            problem_release(&p);
        }
        vt_dev_free(dev);
    }
}

static void wrong_library_is_refused(void **state)
{
    (void)state;
    const char *const names[] = {"libno-such-library.so.0", "libm.so.6", NULL};
    vt_error err = {0};
    vt_blas blas;
    assert_int_equal(vt_blas_open(&blas, names, &err), VT_ERR_HELPER);
    assert_non_null(strstr(err.text, "libno-such-library.so.0"));
    assert_non_null(strstr(err.text, "cblas_sgemm"));
    assert_non_null(strstr(err.text, "scripts/setup"));
    vt_blas_close(&blas);
}

static void device_says_what_it_is(void **state)
{
    (void)state;
    if (on_gpu()) {
        print_message("not asked: what the CPU says of itself\n");
        skip();
    }
    vt_dev *dev = new_device(3);
    const vt_device_info *info = vt_dev_info(dev);
    assert_string_equal(info->backend, "cpu");
    assert_string_equal(info->kernels, vt_dev_kernels(dev)->name);
    assert_int_equal(info->threads, 3);
    assert_non_null(strstr(info->blas, "OpenBLAS"));
    assert_non_null(strstr(info->blas, "Haswell"));
    assert_non_null(strstr(info->blas, "pthread"));
    vt_dev_free(dev);
}

static void kernel_width_can_be_forced(void **state)
{
    (void)state;
    vt_error err = {0};
    vt_dev *dev = NULL;
    assert_int_equal(setenv("VITRINE_KERNELS", "avx2", 1), 0);
    assert_int_equal(vt_dev_new(&dev, "cpu", 1, &err), VT_OK);
    assert_ptr_equal(vt_dev_kernels(dev), &vt_avx2_table);
    vt_dev_free(dev);
    assert_int_equal(setenv("VITRINE_KERNELS", "sse", 1), 0);
    assert_int_equal(vt_dev_new(&dev, "cpu", 1, &err), VT_ERR_USAGE);
    assert_non_null(strstr(err.text, "VITRINE_KERNELS=sse"));
    assert_null(dev);
    unsetenv("VITRINE_KERNELS");
}

static void scratch_grows_and_is_each_workers_own(void **state)
{
    (void)state;
    if (on_gpu()) {
        print_message("not looked at: a GPU has no workers\n");
        skip();
    }
    vt_dev *dev = new_device(3);
    assert_int_equal(vt_dev_reserve(dev, 100, NULL), VT_OK);
    assert_int_equal(vt_dev_reserve(dev, 5000, NULL), VT_OK);
    assert_int_equal(vt_dev_reserve(dev, 10, NULL), VT_OK);
    assert_true(vt_dev_reserved(dev) >= 5000);
    for (int i = 0; i < 3; i++) {
        unsigned char *block = vt_dev_worker_scratch(dev, i);
        assert_int_equal((uintptr_t)block % 64, 0);
        memset(block, i + 1, vt_dev_reserved(dev));
    }
    for (int i = 0; i < 3; i++) {
        const unsigned char *block = vt_dev_worker_scratch(dev, i);
        for (size_t at = 0; at < vt_dev_reserved(dev); at++)
            assert_int_equal(block[at], i + 1);
    }
    vt_error err = {0};
    assert_int_equal(vt_dev_reserve(dev, SIZE_MAX - 5, &err), VT_ERR_NOMEM);
    vt_dev_free(dev);
}

static void device_survives_failed_allocations(void **state)
{
    (void)state;
    int failures = 0;
    for (uint64_t at = 1; at < 100; at++) {
        vt_error err = {0};
        vt_dev *dev = NULL;
        vt_mem_fail_at(at, 0);
        vt_status status = vt_dev_new(&dev, "cpu", 2, &err);
        vt_mem_fail_at(0, 0);
        vt_dev_free(dev);
        if (status == VT_OK)
            break;
        assert_null(dev);
        assert_int_equal(status, VT_ERR_NOMEM);
        failures++;
    }
    assert_in_range(failures, 2, 50);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        {"products agree with loops in double", products_agree, NULL, NULL, NULL},
        {"either parameter gradient may be absent", gradients_may_be_absent, NULL, NULL, NULL},
        {"bits do not depend on threads, chunk order or vector width",
         bits_do_not_depend_on_the_machine, NULL, NULL, NULL},
        {"a library of the wrong kind is refused and named", wrong_library_is_refused, NULL, NULL,
         NULL},
        {"the device says what it is", device_says_what_it_is, NULL, NULL, NULL},
        {"the kernel width can be forced", kernel_width_can_be_forced, NULL, NULL, NULL},
        {"scratch grows and is each worker's own", scratch_grows_and_is_each_workers_own, NULL,
         NULL, NULL},
        {"a device that gets no memory says so and leaves nothing behind",
         device_survives_failed_allocations, NULL, NULL, NULL},
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
