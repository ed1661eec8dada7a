/*
 * Products of small matrices that lie in the nearest caches: what attention inside one group needs.
 *
 * c (m, n) = or += a (m, k) b (k, n). n counts whole lanes (a multiple of 16); rows of b and c are
 * `stride` floats apart; element (i, p) of a is a[i * a_row + p * a_column], so that a may be a
 * transposed matrix. Every element of c is one chain of fused steps in the order of k: how rows and
 * columns are grouped into registers does not show in the bits.
 */
#ifndef VT_KERNELS_CPU_ATTENTION_TILE_H
#define VT_KERNELS_CPU_ATTENTION_TILE_H

#include "kernels/cpu/lanes.h"

#include <stdbool.h>

typedef struct vt_tile_operands {
    float *c;
    const float *a, *b;
    int64_t c_stride, a_row, a_column, b_stride;
    int64_t k;
    bool add;
} vt_tile_operands;

/* One block of c held in registers: `rows` rows of `vectors` lanes, both constant where called. */
VT_INLINE void compute_block(const vt_tile_operands *o, float *c, const float *a, const float *b,
                             const int rows, const int vectors)
{
    vt_lanes sum[6][4];
#pragma GCC unroll 6
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 4
        for (int v = 0; v < vectors; v++)
            sum[i][v] = o->add ? vload(c + i * o->c_stride + v * VT_LANES) : vzero();
    for (int64_t p = 0; p < o->k; p++) {
        vt_lanes right[4];
#pragma GCC unroll 4
        for (int v = 0; v < vectors; v++)
            right[v] = vload(b + p * o->b_stride + v * VT_LANES);
#pragma GCC unroll 6
        for (int i = 0; i < rows; i++) {
            vt_lanes left = vset1(a[i * o->a_row + p * o->a_column]);
#pragma GCC unroll 4
            for (int v = 0; v < vectors; v++)
                sum[i][v] = vfma(left, right[v], sum[i][v]);
        }
    }
#pragma GCC unroll 6
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 4
        for (int v = 0; v < vectors; v++)
            vstore(c + i * o->c_stride + v * VT_LANES, sum[i][v]);
}

/* All rows of `vectors` lanes of columns. */
VT_INLINE void compute_columns(const vt_tile_operands *o, int64_t m, int64_t column,
                               const int vectors)
{
    const float *a = o->a, *b = o->b + column;
    float *c = o->c + column;
    int64_t i = 0;
    for (; i + 6 <= m; i += 6)
        compute_block(o, c + i * o->c_stride, a + i * o->a_row, b, 6, vectors);
    c += i * o->c_stride;
    a += i * o->a_row;
    switch (m - i) {
    case 1:
        compute_block(o, c, a, b, 1, vectors);
        break;
    case 2:
        compute_block(o, c, a, b, 2, vectors);
        break;
    case 3:
        compute_block(o, c, a, b, 3, vectors);
        break;
    case 4:
        compute_block(o, c, a, b, 4, vectors);
        break;
    case 5:
        compute_block(o, c, a, b, 5, vectors);
        break;
    default:
        break;
    }
}

/* The product; m, n >= 0. Not inlined: one copy serves all callers. */
__attribute__((noinline, unused)) static void vt_tile_product(const vt_tile_operands *o, int64_t m,
                                                              int64_t n)
{
    int64_t column = 0, vectors = n / VT_LANES;
    while (vectors > 0) {
#ifdef __AVX512F__
        /* 32 registers hold 6 x 4 sums; 5 vectors go as 3 and 2, because one alone is slow */
        int64_t take = vectors >= 4 && vectors != 5 ? 4 : vectors == 5 ? 3 : vectors;
        switch (take) {
        case 4:
            compute_columns(o, m, column, 4);
            break;
        case 3:
            compute_columns(o, m, column, 3);
            break;
        case 2:
            compute_columns(o, m, column, 2);
            break;
        default:
            compute_columns(o, m, column, 1);
            break;
        }
#else
        int64_t take = 1; /* 16 registers hold 6 x 2 halves */
        compute_columns(o, m, column, 1);
#endif
        column += take * VT_LANES;
        vectors -= take;
    }
}

#endif
