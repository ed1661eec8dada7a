/*
 * exp, log, erf and tanh of sixteen floats; included by lanes.h.
 *
 * Coefficients are minimax fits made for these intervals. NaN gives NaN everywhere.
 */
#ifndef VT_KERNELS_CPU_LANES_MATH_H
#define VT_KERNELS_CPU_LANES_MATH_H

#include "kernels/cpu/lanes.h"

/* e^x = y 2^n, x in [-104, 89]: x = n ln 2 + r, |r| <= ln 2 / 2; y = e^r = 1 + r + r^2 P(r). */
struct power {
    vt_lanes y, n;
};
VT_INLINE struct power vexp_parts(vt_lanes x)
{
    static const float p[] = {5.000000095e-01f, 1.666651884e-01f, 4.166620580e-02f,
                              8.368889364e-03f, 1.395049108e-03f};
    /* the nearest whole number: larger by this, a float has no bits for less than 1 */
    const vt_lanes large = vset1(0x1.8p23f);
    vt_lanes n = vsub(vfma(x, vset1(1.44269504f), large), large);
    /* ln 2 in two parts; the first has so few bits that its product with n is exact */
    vt_lanes r = vfnma(n, vset1(0.693359375f), x);
    r = vfnma(n, vset1(-2.12194440e-4f), r);
    vt_lanes y = vfma(vfma(vpoly(r, p, 5), r, vset1(1.0f)), r, vset1(1.0f));
    return (struct power){y, n};
}

/* e^x, below 1 ulp; 0 below -104, infinity above 88.8. */
VT_INLINE vt_lanes vexp(vt_lanes x)
{
    vt_mask stays = vnot_less(x, vset1(-104.0f));
    struct power e = vexp_parts(vmin(vset1(89.0f), x)); /* the constant first: a NaN stays */
    return vscale(stays, e.y, e.n);
}
/* The same for x <= 88 or NaN: what is known not to overflow, such as an exponent that falls. */
VT_INLINE vt_lanes vexp_falling(vt_lanes x)
{
    struct power e = vexp_parts(x);
    return vscale(vnot_less(x, vset1(-104.0f)), e.y, e.n);
}

/* Natural logarithm, below 1 ulp; -infinity at 0, NaN below.
 * x = 2^e (1 + f), sqrt(1/2) <= 1 + f < sqrt(2); log(1 + f) = f - f^2 / 2 + f^3 P(f). */
VT_INLINE vt_lanes vlog(vt_lanes x)
{
    static const float p[] = {3.333331045e-01f,  -2.499998658e-01f, 2.000222632e-01f,
                              -1.666925180e-01f, 1.421866384e-01f,  -1.238433529e-01f,
                              1.187292601e-01f,  -1.178986430e-01f, 6.915539480e-02f};
    const vt_lanes infinity = vset1(__builtin_inff());
    vt_mask tiny = vless(x, vset1(1.17549435e-38f));
    vt_lanes scaled = vselect(tiny, vmul(x, vset1(8388608.0f)), x);
    /* distance in bit patterns from sqrt(1/2), so that the exponent steps there */
    vt_ints above = vint_sub(vbits_of(scaled), vint_set1(0x3f3504f3));
    vt_ints e = vint_shift_right(above, 23);
    vt_lanes m = vfrom_bits(vint_sub(vbits_of(scaled), vint_shift_left(e, 23)));
    vt_lanes f = vsub(m, vset1(1.0f));
    vt_lanes whole = vsub(vfloat_ints(e), vselect(tiny, vset1(23.0f), vzero()));

    vt_lanes square = vmul(f, f);
    vt_lanes tail = vmul(vmul(vpoly(f, p, 9), f), square);
    tail = vfma(whole, vset1(-2.12194440e-4f), tail);
    tail = vfnma(square, vset1(0.5f), tail);
    vt_lanes y = vfma(whole, vset1(0.693359375f), vadd(f, tail));

    y = vselect(vless(x, infinity), y, x); /* infinity and NaN are their own logarithm */
    y = vselect(vequal(x, vzero()), vsub(vzero(), infinity), y);
    return vselect(vless(x, vzero()), vset1(__builtin_nanf("")), y);
}

/* Error function, below 1.5 ulp.
 * |x| < 1: x + x P(x^2). Beyond: 1 - exp(-x Q(x)). */
VT_INLINE vt_lanes verf(vt_lanes x)
{
    static const float p[] = {1.283791659e-01f,  -3.761262714e-01f, 1.128360018e-01f,
                              -2.685444463e-02f, 5.189535418e-03f,  -8.020841977e-04f,
                              7.889121867e-05f};
    static const float q[] = {1.128697156e+00f,  6.349583069e-01f, 1.065490875e-01f,
                              -2.402549506e-02f, 3.764653584e-03f, -3.523305298e-04f,
                              1.413367445e-05f};
    vt_lanes square = vmul(x, x);
    vt_lanes inner = vfma(vpoly(square, p, 7), x, x);
    vt_lanes t = vmin(vset1(4.0f), vabs(x)); /* erf(4) rounds to 1 */
    vt_lanes rest = vexp_falling(vmul(vsub(vzero(), t), vpoly(t, q, 7)));
    vt_lanes outer = vcopysign(vsub(vset1(1.0f), rest), x);
    return vselect(vless(vabs(x), vset1(1.0f)), inner, outer);
}

/* Hyperbolic tangent, below 2 ulp.
 * |x| < 0.625: x + x^3 P(x^2). Beyond: 1 - 2 / (exp(2 |x|) + 1). */
VT_INLINE vt_lanes vtanh(vt_lanes x)
{
    static const float p[] = {-3.333328393e-01f, 1.333149129e-01f, -5.374349820e-02f,
                              2.065058757e-02f, -5.717045282e-03f};
    vt_lanes square = vmul(x, x);
    vt_lanes inner = vfma(vmul(vpoly(square, p, 5), square), x, x);
    vt_lanes t = vmin(vset1(10.0f), vabs(x)); /* tanh(10) rounds to 1 */
    vt_lanes grown = vadd(vexp(vadd(t, t)), vset1(1.0f));
    vt_lanes outer = vcopysign(vsub(vset1(1.0f), vdiv(vset1(2.0f), grown)), x);
    return vselect(vless(vabs(x), vset1(0.625f)), inner, outer);
}

#endif
