/*
 * A run of kernels in a test: a device, a table of kernels, and arrays that notice what is written
 * or read past their end. Outputs start as NaN, and NaN follows the last value of every array; the
 * address sanitizer lets nobody touch it.
 */
#ifndef VT_TESTS_SUPPORT_KERNEL_RUN_H
#define VT_TESTS_SUPPORT_KERNEL_RUN_H

#include "base/mem.h"
#include "base/rng.h"
#include "kernels/device.h"
#include "support/test_device.h"

#include <math.h>
#include <sanitizer/asan_interface.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

/* The largest relative rounding error of one float operation. A bound is a small number of
 * operations, times U, times the size of the numbers that enter them. */
static const double U = 0x1p-24;

enum { STREAM = VT_STREAM_DROPOUT | 9 << 8 };

enum { GUARD = 32, MAX_ARRAYS = 4000, ALIGNED = 2 << 20 };

struct run {
    vt_dev *dev;
    const vt_kernels *k;
    bool check; /* compare with the loops in double */
    uint32_t drawn;
    int n_arrays;
    struct {
        float *data;
        int64_t n;
        bool output;
    } arrays[MAX_ARRAYS];
};

/* NaN, in other bits for what is written than for what is read: a NaN read past an end and written
 * past another shows too. */
static inline float nothing(bool output)
{
    const uint32_t bits = output ? 0x7fc0a5a5u : 0x7fc05a5au;
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* A large one lies as the arena's do, where kernels may write past the caches. */
static inline float *new_array(struct run *r, int64_t n, bool output)
{
    const size_t line = 64, bytes = ((size_t)n + GUARD) * sizeof(float);
    float *data =
        n >= ALIGNED ? aligned_alloc(line, (bytes + line - 1) / line * line) : vt_calloc(1, bytes);
    assert_non_null(data);
    assert_in_range(r->n_arrays, 0, MAX_ARRAYS - 1);
    for (int64_t i = 0; i < n + GUARD; i++)
        data[i] = nothing(output);
    ASAN_POISON_MEMORY_REGION(data + n, GUARD * sizeof *data);
    r->arrays[r->n_arrays].data = data;
    r->arrays[r->n_arrays].n = n;
    r->arrays[r->n_arrays++].output = output;
    return data;
}

static inline float *output(struct run *r, int64_t n)
{
    return new_array(r, n, true);
}

/* Normal numbers of standard deviation `size` around `centre`. */
static inline void fill_normal(struct run *r, float *data, int64_t n, float size, float centre)
{
    vt_rng rng = vt_rng_at(1, VT_STREAM_TEST, 0, 0, r->drawn++);
    for (int64_t i = 0; i < n; i++)
        data[i] = rounded_number(centre + size * (float)vt_rng_normal(&rng, (uint64_t)i));
}

static inline float *input(struct run *r, int64_t n)
{
    float *data = new_array(r, n, false);
    fill_normal(r, data, n, 1, 0);
    return data;
}

/* An output that is added to, and a copy of what it held. */
static inline float *sum_output(struct run *r, int64_t n, float **before)
{
    float *data = output(r, n);
    fill_normal(r, data, n, 1, 0);
    *before = new_array(r, n, false);
    memcpy(*before, data, (size_t)n * sizeof *data);
    return data;
}

static inline int32_t *labels_below(struct run *r, int64_t n, int64_t classes)
{
    int32_t *labels = (int32_t *)(void *)new_array(r, n, false);
    vt_rng rng = vt_rng_at(2, VT_STREAM_TEST, 0, 0, r->drawn++);
    for (int64_t i = 0; i < n; i++)
        labels[i] = (int32_t)vt_rng_below(&rng, (uint64_t)i, (uint64_t)classes);
    return labels;
}

static inline vt_buf buf(const float *data)
{
    return (vt_buf){(void *)(uintptr_t)data, VT_F32};
}

/* The bound is that of the computation in floats; a result that is rounded to another type (one of
 * a vt_buf) may be off by that rounding too. */
static inline void check_rounded(const char *what, int64_t i, double got, double want, double bound)
{
    bound += rounded_slack(fabs(want) + bound);
    if (!(fabs(got - want) <= bound))
        fail_msg("%s[%lld]: %.9g, expected %.9g within %.3g, off by %.3g", what, (long long)i, got,
                 want, bound, fabs(got - want));
}

static inline void check_value(const char *what, int64_t i, double got, double want, double bound)
{
    if (!(fabs(got - want) <= bound))
        fail_msg("%s[%lld]: %.9g, expected %.9g within %.3g, off by %.3g", what, (long long)i, got,
                 want, bound, fabs(got - want));
}

static inline void check_guards(const struct run *r)
{
    for (int a = 0; a < r->n_arrays; a++) {
        const float *end = r->arrays[a].data + r->arrays[a].n, want = nothing(r->arrays[a].output);
        ASAN_UNPOISON_MEMORY_REGION(end, GUARD * sizeof *end);
        for (int64_t i = 0; i < GUARD; i++)
            if (memcmp(&end[i], &want, sizeof want) != 0)
                fail_msg("array %d of %lld values was written past its end", a,
                         (long long)r->arrays[a].n);
    }
}

static inline void release_arrays(struct run *r)
{
    check_guards(r);
    for (int a = 0; a < r->n_arrays; a++)
        vt_free(r->arrays[a].data);
    r->n_arrays = 0;
}

/* The same device's kernels in F32, whatever is tested: what they compute, rounded, is what those
 * of another type must give. */
static inline const vt_kernels *unrounded(const struct run *r)
{
    return rounded_type() == VT_BF16 ? vt_dev_kernels(r->dev) : r->k;
}

/* The kernels in the narrowest form there is. */
static inline const vt_kernels *narrow(const vt_dev *dev)
{
    (void)dev;
    return test_table();
}

/* Not const: a GPU that the tests let into their data is let into what can be written. */
static vt_step STEP __attribute__((unused)) = {.key = {0x12345678u, 0x9abcdef0u},
                                               .draw = 77,
                                               .lr = 0.01f,
                                               .correction1 = 1,
                                               .correction2 = 1,
                                               .grad_scale = 1.0f / 7,
                                               .clip = 0.75f};

/* Activations and their slopes in double, with the C library's functions. */
static inline double activation_of(double x, vt_activation_kind kind)
{
    double u = sqrt(2 / M_PI) * (x + 0.044715 * x * x * x);
    switch (kind) {
    case VT_ACT_NONE:
        return x;
    case VT_ACT_GELU:
        return x / 2 * erfc(-x * M_SQRT1_2);
    case VT_ACT_GELU_TANH:
        return x / (1 + exp(-2 * u)); /* x / 2 (1 + tanh u) */
    case VT_ACT_SILU:
        return x / (1 + exp(-x));
    case VT_ACT_RELU:
        return x > 0 ? x : 0;
    case VT_ACT_LEAKY:
        return x > 0 ? x : 0.1 * x;
    case VT_ACT_MISH:
        return x * tanh(log1p(exp(x)));
    }
    return NAN;
}

static inline double activation_slope(double x, vt_activation_kind kind)
{
    double k = sqrt(2 / M_PI), u = k * (x + 0.044715 * x * x * x), s = 1 / (1 + exp(-2 * u));
    double e = 1 / (1 + exp(-x)), t = tanh(log1p(exp(x)));
    switch (kind) {
    case VT_ACT_NONE:
        return 1;
    case VT_ACT_GELU:
        return erfc(-x * M_SQRT1_2) / 2 + x * exp(-x * x / 2) / sqrt(2 * M_PI);
    case VT_ACT_GELU_TANH:
        return s + 2 * x * s * (1 - s) * k * (1 + 3 * 0.044715 * x * x);
    case VT_ACT_SILU:
        return e + x * e / (1 + exp(x));
    case VT_ACT_RELU:
        return x > 0 ? 1 : 0;
    case VT_ACT_LEAKY:
        return x > 0 ? 1 : 0.1;
    case VT_ACT_MISH:
        return t + x * (1 - t * t) * e;
    }
    return NAN;
}

enum { ACTIVATIONS = VT_ACT_MISH + 1 };

#endif
