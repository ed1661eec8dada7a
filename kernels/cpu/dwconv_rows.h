/*
 * Depthwise convolution of kernel 3, pad 1 and stride 1 or 2: one row of places and up to sixteen
 * channels, c to c + left, at a time. Each function goes along the row with the nine weights, or
 * the nine sums of their gradient, in registers, and loads each vector of the map once.
 *
 * Such a walk goes through memory in steps of C floats, which no processor foresees. So each call
 * asks on its way for its share of the following row, in the order in which that lies in memory:
 * maps that are larger than the cache take two thirds of the time.
 */
#ifndef VT_KERNELS_CPU_DWCONV_ROWS_H
#define VT_KERNELS_CPU_DWCONV_ROWS_H

#include "kernels/cpu/rows.h"

typedef struct dwconv_row {
    int64_t C, W, w; /* places of a row of x, of y */
    /* The rows of the map that the rows of taps meet. One outside the map is given as one inside,
     * and is multiplied by 0. */
    const float *from[3];
    bool inside[3];
    const float *weights; /* (3, 3, C) */
    float *to;
    bool write; /* the result, or add it */
    /* The rows that the following call reads for the first time, and writes; may lie past the map,
     * as nothing is read. */
    const float *next_from, *next_to;
} dwconv_row;

/* n cache lines, the i-th time the i-th n of them. */
VT_INLINE void ask_lines(const float *lines, int64_t i, const int n)
{
#pragma GCC unroll 4
    for (int line = 0; line < n; line++)
        __builtin_prefetch(lines + (i * n + line) * VT_LANES);
}

VT_INLINE void load_weights(vt_lanes k[3][3], const dwconv_row *a, int64_t c, int64_t left)
{
#pragma GCC unroll 9
    for (int i = 0; i < 9; i++)
        k[i / 3][i % 3] = a->inside[i / 3] ? vload_upto(a->weights + i * a->C + c, left) : vzero();
}

/* y with stride 1: the sums of places j - 1, j and j + 1 are under way when column j is read. */
VT_INLINE void slide_row(const dwconv_row *a, int64_t c, int64_t left)
{
    const int64_t C = a->C;
    const float *from[] = {a->from[0] + c, a->from[1] + c, a->from[2] + c};
    const float *next_from = a->next_from + c * a->W, *next_to = a->next_to + c * a->w;
    float *to = a->to + c;
    vt_lanes k[3][3], before = vzero(), here = vzero();
    load_weights(k, a, c, left);
    for (int64_t j = 0; j < a->w; j++) {
        vt_lanes after = vzero();
        ask_lines(next_from, j, 1);
        ask_lines(next_to, j, 1);
#pragma GCC unroll 3
        for (int r = 0; r < 3; r++) {
            const vt_lanes x = vload_upto(from[r] + j * C, left);
            before = vfma(k[r][2], x, before);
            here = vfma(k[r][1], x, here);
            after = vfma(k[r][0], x, after);
        }
        if (j > 0)
            vgive_upto(to + (j - 1) * C, a->write, before, left);
        before = here;
        here = after;
    }
    vgive_upto(to + (a->w - 1) * C, a->write, before, left);
}

/* y with stride 2: column 2 j + 1 belongs to places j and j + 1. */
VT_INLINE void stride_row(const dwconv_row *a, int64_t c, int64_t left)
{
    const int64_t C = a->C;
    const float *from[] = {a->from[0] + c, a->from[1] + c, a->from[2] + c};
    const float *next_from = a->next_from + 2 * c * a->W, *next_to = a->next_to + c * a->w;
    float *to = a->to + c;
    vt_lanes k[3][3], here = vzero();
    load_weights(k, a, c, left);
    for (int64_t j = 0; j < a->w; j++) {
        vt_lanes after = vzero();
        ask_lines(next_from, j, 4);
        ask_lines(next_to, j, 1);
#pragma GCC unroll 3
        for (int r = 0; r < 3; r++)
            here = vfma(k[r][1], vload_upto(from[r] + 2 * j * C, left), here);
        if (2 * j + 1 < a->W)
#pragma GCC unroll 3
            for (int r = 0; r < 3; r++) {
                const vt_lanes x = vload_upto(from[r] + (2 * j + 1) * C, left);
                here = vfma(k[r][2], x, here);
                after = vfma(k[r][0], x, after);
            }
        vgive_upto(to + j * C, a->write, here, left);
        here = after;
    }
}

/* The gradient of x with stride 2: from rows i and i + 1 of dy, from[1] and from[0], rows 2 i and
 * (if `both`) 2 i + 1 of dx. */
VT_INLINE void spread_row(const dwconv_row *a, bool both, int64_t c, int64_t left)
{
    const int64_t C = a->C;
    const float *dy = a->from[1] + c, *dy_below = a->from[0] + c;
    const float *next_from = a->next_from + c * a->w, *next_to = a->next_to + 2 * c * a->W;
    float *dx = a->to + c, *dx_below = dx + a->W * C;
    vt_lanes k[3][3], here = vload_upto(dy, left), below = vload_upto(dy_below, left);
    load_weights(k, a, c, left);
    for (int64_t j = 0; j < a->w; j++) {
        const bool odd = 2 * j + 1 < a->W, more = j + 1 < a->w;
        const vt_lanes after = more ? vload_upto(dy + (j + 1) * C, left) : vzero();
        const vt_lanes below_after = more ? vload_upto(dy_below + (j + 1) * C, left) : vzero();
        ask_lines(next_from, j, 1);
        ask_lines(next_to, j, 4);
        vgive_upto(dx + 2 * j * C, a->write, vmul(k[1][1], here), left);
        if (odd) {
            const vt_lanes sum = vfma(k[1][0], after, vmul(k[1][2], here));
            vgive_upto(dx + (2 * j + 1) * C, a->write, sum, left);
        }
        if (both) {
            const vt_lanes sum = vfma(k[0][1], below, vmul(k[2][1], here));
            vgive_upto(dx_below + 2 * j * C, a->write, sum, left);
        }
        if (both && odd) {
            vt_lanes sum = vfma(k[2][0], after, vmul(k[2][2], here));
            sum = vfma(k[0][0], below_after, vfma(k[0][2], below, sum));
            vgive_upto(dx_below + (2 * j + 1) * C, a->write, sum, left);
        }
        here = after;
        below = below_after;
    }
}

/* The gradient of the weight, in `to` (3, 3, C): += the sum over a row's places j of
 * dy[j] from[j * stride - 1 + column]. */
VT_INLINE void sum_row(const dwconv_row *a, const float *dy, const int stride, int64_t c,
                       int64_t left)
{
    const int64_t C = a->C;
    const float *from[] = {a->from[0] + c, a->from[1] + c, a->from[2] + c};
    const float *next_from = a->next_from + stride * c * a->W;
    vt_lanes s[3][3], before = vzero(), here = vload_upto(dy + c, left);
#pragma GCC unroll 9
    for (int i = 0; i < 9; i++)
        s[i / 3][i % 3] = vload_upto(a->to + i * C + c, left);
    for (int64_t j = 0; j < a->w; j++) {
        const vt_lanes after = j + 1 < a->w ? vload_upto(dy + (j + 1) * C + c, left) : vzero();
        ask_lines(next_from, j, stride * stride);
#pragma GCC unroll 3
        for (int r = 0; r < 3; r++) {
            const vt_lanes x = vload_upto(from[r] + j * stride * C, left);
            s[r][1] = vfma(here, x, s[r][1]);
            if (stride == 1) {
                s[r][0] = vfma(after, x, s[r][0]);
                s[r][2] = vfma(before, x, s[r][2]);
            }
        }
        if (stride == 2 && 2 * j + 1 < a->W)
#pragma GCC unroll 3
            for (int r = 0; r < 3; r++) {
                const vt_lanes x = vload_upto(from[r] + (2 * j + 1) * C, left);
                s[r][0] = vfma(after, x, s[r][0]);
                s[r][2] = vfma(here, x, s[r][2]);
            }
        before = here;
        here = after;
    }
#pragma GCC unroll 9
    for (int i = 0; i < 9; i++)
        if (a->inside[i / 3])
            vstore_upto(a->to + i * C + c, s[i / 3][i % 3], left);
}

#endif
