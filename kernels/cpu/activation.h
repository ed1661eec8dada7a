/* The activations, sixteen values at a time. */
#ifndef VT_KERNELS_CPU_ACTIVATION_H
#define VT_KERNELS_CPU_ACTIVATION_H

#include "kernels/cpu/lanes.h"
#include "kernels/kernels.h"

static const float ROOT_HALF = 0.70710678118654752f;   /* sqrt(1/2) */
static const float ROOT_TWO_PI = 0.39894228040143268f; /* 1 / sqrt(2 pi) */
static const float TANH_SCALE = 0.79788456080286536f;  /* sqrt(2/pi) */
static const float TANH_CUBE = 0.044715f;
static const float LEAK = 0.1f;

VT_INLINE vt_lanes half_plus_half(vt_lanes a)
{
    return vfma(a, vset1(0.5f), vset1(0.5f));
}

/* The normal distribution function at x, and its approximation in the tanh form. */
VT_INLINE vt_lanes erf_cdf(vt_lanes x)
{
    return half_plus_half(verf(vmul(x, vset1(ROOT_HALF))));
}
VT_INLINE vt_lanes tanh_of_cubic(vt_lanes x, vt_lanes square)
{
    vt_lanes cubic = vmul(x, vfma(square, vset1(TANH_CUBE), vset1(1.0f)));
    return vtanh(vmul(cubic, vset1(TANH_SCALE)));
}

/*
 * SiLU and Mish from e = exp(-|x|), which cannot overflow; every term is positive, so that both
 * ends keep their relative accuracy. n / d is the sigmoid, or with E = exp(x) tanh(log(1 + E)) =
 * (E^2 + 2 E) / (E^2 + 2 E + 2), where x > 0 divided by E^2 above and below.
 */
struct fraction {
    vt_lanes e, n, d;
    vt_mask negative;
};
VT_INLINE struct fraction sigmoid(vt_lanes x)
{
    struct fraction f = {.e = vexp_falling(vminus_abs(x)), .negative = vless(x, vzero())};
    f.n = vselect(f.negative, f.e, vset1(1.0f));
    f.d = vadd(f.e, vset1(1.0f));
    return f;
}
VT_INLINE struct fraction tanh_of_softplus(vt_lanes x)
{
    struct fraction f = sigmoid(x);
    vt_lanes square = vmul(f.e, f.e), twice = vadd(f.e, f.e);
    f.n = vadd(twice, vselect(f.negative, square, vset1(1.0f)));
    f.d = vadd(f.n, vselect(f.negative, vset1(2.0f), vadd(square, square)));
    return f;
}

/* The activation at x; its slope. */
VT_INLINE vt_lanes vactivate(vt_lanes x, vt_activation_kind kind)
{
    struct fraction f;
    switch (kind) {
    case VT_ACT_NONE:
        return x;
    case VT_ACT_GELU:
        return vmul(x, erf_cdf(x));
    case VT_ACT_GELU_TANH:
        return vmul(x, half_plus_half(tanh_of_cubic(x, vmul(x, x))));
    case VT_ACT_SILU:
        f = sigmoid(x);
        return vmul(x, vdiv(f.n, f.d));
    case VT_ACT_RELU:
        return vmax(vzero(), x); /* the constant first: a NaN stays */
    case VT_ACT_LEAKY:
        return vselect(vless(vzero(), x), x, vmul(x, vset1(LEAK)));
    case VT_ACT_MISH:
        f = tanh_of_softplus(x);
        return vmul(x, vdiv(f.n, f.d));
    }
    return x;
}

/* d/dx x cdf(x) = cdf(x) + x density(x) */
VT_INLINE vt_lanes erf_slope(vt_lanes x)
{
    vt_lanes density = vmul(vexp_falling(vmul(vmul(x, x), vset1(-0.5f))), vset1(ROOT_TWO_PI));
    return vfma(x, density, erf_cdf(x));
}
/* (1 + t) / 2 + x / 2 (1 - t^2) sqrt(2/pi) (1 + 3 * 0.044715 x^2) */
VT_INLINE vt_lanes tanh_slope(vt_lanes x)
{
    vt_lanes square = vmul(x, x), t = tanh_of_cubic(x, square);
    vt_lanes inner = vfma(square, vset1(3.0f * TANH_CUBE), vset1(1.0f));
    vt_lanes outer = vmul(vfnma(t, t, vset1(1.0f)), vmul(x, vset1(0.5f * TANH_SCALE)));
    return vfma(outer, inner, half_plus_half(t));
}

/* s + x s (1 - s) with s = n / d; s (1 - s) = e / d^2 on both sides of 0 */
VT_INLINE vt_lanes silu_slope(vt_lanes x)
{
    struct fraction f = sigmoid(x);
    return vdiv(vfma(x, f.e, vmul(f.n, f.d)), vmul(f.d, f.d));
}
/* t + x (1 - t^2) s with t = n / d; (1 - t^2) s = 4 (1 + e) / d^2, times e^2 where x >= 0, else e
 */
VT_INLINE vt_lanes mish_slope(vt_lanes x)
{
    struct fraction f = tanh_of_softplus(x);
    vt_lanes grown = vmul(vadd(f.e, vset1(1.0f)), vselect(f.negative, f.e, vmul(f.e, f.e)));
    vt_lanes rise = vdiv(vmul(grown, vset1(4.0f)), vmul(f.d, f.d));
    return vfma(x, rise, vdiv(f.n, f.d));
}
/* 1 above 0, else `low`; the slope at NaN is NaN */
VT_INLINE vt_lanes bent_slope(vt_lanes x, float low)
{
    vt_lanes slope = vselect(vless(vzero(), x), vset1(1.0f), vset1(low));
    return vselect(vequal(x, x), slope, x);
}

VT_INLINE vt_lanes vactivate_slope(vt_lanes x, vt_activation_kind kind)
{
    switch (kind) {
    case VT_ACT_NONE:
        return vset1(1.0f);
    case VT_ACT_GELU:
        return erf_slope(x);
    case VT_ACT_GELU_TANH:
        return tanh_slope(x);
    case VT_ACT_SILU:
        return silu_slope(x);
    case VT_ACT_RELU:
        return bent_slope(x, 0.0f);
    case VT_ACT_LEAKY:
        return bent_slope(x, LEAK);
    case VT_ACT_MISH:
        return mish_slope(x);
    }
    return x;
}

/* function(..., kind), compiled for each kind, so that no loop asks for it again */
#define VT_BY_ACTIVATION(kind, function, ...)                                                      \
    switch (kind) {                                                                                \
    case VT_ACT_NONE:                                                                              \
        function(__VA_ARGS__, VT_ACT_NONE);                                                        \
        break;                                                                                     \
    case VT_ACT_GELU:                                                                              \
        function(__VA_ARGS__, VT_ACT_GELU);                                                        \
        break;                                                                                     \
    case VT_ACT_GELU_TANH:                                                                         \
        function(__VA_ARGS__, VT_ACT_GELU_TANH);                                                   \
        break;                                                                                     \
    case VT_ACT_SILU:                                                                              \
        function(__VA_ARGS__, VT_ACT_SILU);                                                        \
        break;                                                                                     \
    case VT_ACT_RELU:                                                                              \
        function(__VA_ARGS__, VT_ACT_RELU);                                                        \
        break;                                                                                     \
    case VT_ACT_LEAKY:                                                                             \
        function(__VA_ARGS__, VT_ACT_LEAKY);                                                       \
        break;                                                                                     \
    case VT_ACT_MISH:                                                                              \
        function(__VA_ARGS__, VT_ACT_MISH);                                                        \
        break;                                                                                     \
    }

#endif
