/* The activations at one value, and their slopes; formulas in kernels.h. */
#ifndef VT_CUDA_ACTIVATION_CUH
#define VT_CUDA_ACTIVATION_CUH

#include "kernels/cuda/common.cuh"

/* The normal distribution function. */
VT_DEVICE float vt_normal_cdf(float x)
{
    return 0.5f * erfcf(-x * 0.70710678118654752f);
}

VT_DEVICE float vt_tanh_of_cubic(float x)
{
    return tanhf(0.79788456080286536f * x * fmaf(x * x, 0.044715f, 1.0f));
}

/*
 * SiLU and Mish from e = exp(-|x|), which cannot overflow; n / d is the sigmoid, or tanh(log(1 +
 * exp x)) as a fraction of positive terms.
 */
struct vt_fraction {
    float e, n, d;
};
VT_DEVICE vt_fraction vt_sigmoid(float x)
{
    const float e = expf(-fabsf(x));
    return {e, x < 0 ? e : 1.0f, e + 1.0f};
}
VT_DEVICE vt_fraction vt_tanh_of_softplus(float x)
{
    const float e = expf(-fabsf(x)), square = e * e, n = e + e + (x < 0 ? square : 1.0f);
    return {e, n, n + (x < 0 ? 2.0f : square + square)};
}

VT_DEVICE float vt_activate(float x, vt_activation_kind kind)
{
    vt_fraction f;
    switch (kind) {
    case VT_ACT_NONE:
        return x;
    case VT_ACT_GELU:
        return x * vt_normal_cdf(x);
    case VT_ACT_GELU_TANH:
        return x * fmaf(vt_tanh_of_cubic(x), 0.5f, 0.5f);
    case VT_ACT_SILU:
        f = vt_sigmoid(x);
        return x * (f.n / f.d);
    case VT_ACT_RELU:
        return x < 0 ? 0.0f : x; /* a NaN stays */
    case VT_ACT_LEAKY:
        return x > 0 ? x : 0.1f * x;
    case VT_ACT_MISH:
        f = vt_tanh_of_softplus(x);
        return x * (f.n / f.d);
    }
    return x;
}

VT_DEVICE float vt_activate_slope(float x, vt_activation_kind kind)
{
    vt_fraction f;
    switch (kind) {
    case VT_ACT_NONE:
        return 1;
    case VT_ACT_GELU: /* cdf + x density */
        return fmaf(x, 0.39894228040143268f * expf(-0.5f * x * x), vt_normal_cdf(x));
    case VT_ACT_GELU_TANH: {
        const float t = vt_tanh_of_cubic(x), inner = fmaf(x * x, 3 * 0.044715f, 1.0f);
        return fmaf(fmaf(-t, t, 1.0f) * x * (0.5f * 0.79788456080286536f), inner,
                    fmaf(t, 0.5f, 0.5f));
    }
    case VT_ACT_SILU: { /* s + x s (1 - s) */
        f = vt_sigmoid(x);
        const float s = f.n / f.d, rest = (x < 0 ? 1.0f : f.e) / f.d;
        return fmaf(x * s, rest, s);
    }
    case VT_ACT_RELU:
        return x > 0 ? 1.0f : x == x ? 0.0f : x;
    case VT_ACT_LEAKY:
        return x > 0 ? 1.0f : x == x ? 0.1f : x;
    case VT_ACT_MISH: { /* t + x (1 - t^2) s with (1 - t^2) s = 4 (1 + e) / d^2 times e or e^2 */
        f = vt_tanh_of_softplus(x);
        const float grown = (f.e + 1.0f) * (x < 0 ? f.e : f.e * f.e);
        return fmaf(x, 4.0f * grown / (f.d * f.d), f.n / f.d);
    }
    }
    return x;
}

#endif
