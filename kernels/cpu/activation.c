#include "kernels/cpu/rows.h"

struct activation {
    float *out; /* y, or dx */
    const float *dy, *x;
    vt_activation_kind kind;
    bool write;
};

static const float ROOT_HALF = 0.70710678118654752f;   /* sqrt(1/2) */
static const float ROOT_TWO_PI = 0.39894228040143268f; /* 1 / sqrt(2 pi) */
static const float TANH_SCALE = 0.79788456080286536f;  /* sqrt(2/pi) */
static const float TANH_CUBE = 0.044715f;

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

static void forward_part(void *arg, int64_t first, int64_t last, int worker)
{
    const struct activation *a = arg;
    (void)worker;
    for (int64_t i = first; i < last; i += VT_LANES) {
        vt_lanes x = vload_upto(a->x + i, last - i), cdf;
        if (a->kind == VT_ACT_GELU)
            cdf = erf_cdf(x);
        else
            cdf = half_plus_half(tanh_of_cubic(x, vmul(x, x)));
        vstore_upto(a->out + i, vmul(x, cdf), last - i);
    }
}

void VT_CPU(activation_fwd)(vt_dev *d, vt_buf y, vt_buf x, int64_t n, vt_activation_kind kind)
{
    struct activation a = {.out = vt_floats(y), .x = vt_floats(x), .kind = kind};
    vt_grid_run(vt_dev_pool(d), n, VT_FLAT_CHUNK, forward_part, &a);
}

/* d/dx x cdf(x) = cdf(x) + x density(x) */
VT_INLINE vt_lanes erf_slope(vt_lanes x)
{
    vt_lanes density = vmul(vexp(vmul(vmul(x, x), vset1(-0.5f))), vset1(ROOT_TWO_PI));
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

static void backward_part(void *arg, int64_t first, int64_t last, int worker)
{
    const struct activation *a = arg;
    (void)worker;
    for (int64_t i = first; i < last; i += VT_LANES) {
        int64_t left = last - i;
        vt_lanes x = vload_upto(a->x + i, left), dy = vload_upto(a->dy + i, left);
        vt_lanes slope = a->kind == VT_ACT_GELU ? erf_slope(x) : tanh_slope(x);
        vgive_upto(a->out + i, a->write, vmul(dy, slope), left);
    }
}

void VT_CPU(activation_bwd)(vt_dev *d, vt_buf dx, bool write, vt_buf dy, vt_buf x, int64_t n,
                            vt_activation_kind kind)
{
    struct activation a = {vt_floats(dx), vt_floats(dy), vt_floats(x), kind, write};
    vt_grid_run(vt_dev_pool(d), n, VT_FLAT_CHUNK, backward_part, &a);
}
