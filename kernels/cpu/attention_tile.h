/*
 * Products of small matrices that lie in the nearest caches: what attention inside one group needs.
 *
 * c (m, n) = or += a (m, k) b (k, n). Rows of b are whole lanes (their padding is read, never
 * stored), `b_stride` floats apart; element (i, p) of a is a[i * a_row + p * a_column], so that a
 * may be a transposed matrix. Rows of a and c may be picked by a list of tokens: then row i is row
 * token[i] of the whole, and what lies in memory is read and written where it is. Every element of
 * the product is one chain of fused steps in the order of k: how rows and columns are grouped into
 * registers does not show in the bits.
 */
#ifndef VT_KERNELS_CPU_ATTENTION_TILE_H
#define VT_KERNELS_CPU_ATTENTION_TILE_H

#include "kernels/cpu/lanes.h"

#include <stdbool.h>

enum {
    VT_TILE_ROWS = 6,   /* of a block in registers */
    VT_TILE_DEPTH = 16, /* steps of k between two requests for memory */
    VT_TILE_STREAMS = 8,
};

/* Rows that will be needed soon, asked for while the products compute: rows token[0, n) of each
 * stream, d floats of every `stride`. A few at a time: all at once they would wait for each other,
 * because a core fetches no more than a dozen lines together. */
typedef struct vt_tile_ahead {
    const float *stream[VT_TILE_STREAMS];
    int64_t stride[VT_TILE_STREAMS];
    const int32_t *token;
    int64_t n, d, quota;
    int streams, next_stream;
    int64_t next;
} vt_tile_ahead;

typedef struct vt_tile_operands {
    float *c;
    const float *a, *b;
    int64_t c_stride, a_row, a_column, b_stride;
    int64_t k;
    const int32_t *a_token, *c_token; /* or NULL */
    const float *factors;             /* (m): row i is multiplied by it at the end; or NULL */
    vt_tile_ahead *ahead;             /* or NULL */
    bool add;
} vt_tile_operands;

/* Asks for a row of d floats before it is needed. */
VT_INLINE void prefetch_row(const float *row, int64_t d)
{
    for (int64_t i = 0; i < d; i += VT_LANES)
        _mm_prefetch((const char *)(row + i), _MM_HINT_T1);
}

VT_INLINE void fetch_ahead(vt_tile_ahead *ahead)
{
    for (int64_t i = 0; i < ahead->quota && ahead->next < ahead->n; i++) {
        const int s = ahead->next_stream;
        prefetch_row(ahead->stream[s] + ahead->token[ahead->next] * ahead->stride[s], ahead->d);
        ahead->next_stream = s + 1 < ahead->streams ? s + 1 : 0;
        ahead->next += ahead->next_stream == 0;
    }
}

VT_INLINE int64_t tile_row(const int32_t *token, int64_t i)
{
    return token != NULL ? token[i] : i;
}

/* One block of c held in registers: `rows` rows of `vectors` lanes, both constant where called.
 * `last`: columns of its last lanes that exist. */
VT_INLINE void compute_block(const vt_tile_operands *o, int64_t row, int64_t column, int64_t last,
                             const int rows, const int vectors)
{
    vt_lanes sum[VT_TILE_ROWS][4];
    const float *a[VT_TILE_ROWS], *b = o->b + column;
    float *c[VT_TILE_ROWS];
#pragma GCC unroll 6
    for (int i = 0; i < rows; i++)
        a[i] = o->a + tile_row(o->a_token, row + i) * o->a_row;
#pragma GCC unroll 6
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 4
        for (int v = 0; v < vectors; v++)
            sum[i][v] = vzero();
    for (int64_t from = 0, at = 0; from < o->k; from += VT_TILE_DEPTH) {
        const int64_t left = o->k - from, steps = left < VT_TILE_DEPTH ? left : VT_TILE_DEPTH;
        for (int64_t p = 0; p < steps; p++, at += o->a_column, b += o->b_stride) {
            vt_lanes right[4];
#pragma GCC unroll 4
            for (int v = 0; v < vectors; v++)
                right[v] = vload(b + v * VT_LANES);
#pragma GCC unroll 6
            for (int i = 0; i < rows; i++) {
                vt_lanes value = vset1(a[i][at]);
#pragma GCC unroll 4
                for (int v = 0; v < vectors; v++)
                    sum[i][v] = vfma(value, right[v], sum[i][v]);
            }
        }
        if (o->ahead != NULL)
            fetch_ahead(o->ahead);
    }
    if (o->factors != NULL)
#pragma GCC unroll 6
        for (int i = 0; i < rows; i++)
#pragma GCC unroll 4
            for (int v = 0; v < vectors; v++)
                sum[i][v] = vmul(sum[i][v], vset1(o->factors[row + i]));
#pragma GCC unroll 6
    for (int i = 0; i < rows; i++)
        c[i] = o->c + tile_row(o->c_token, row + i) * o->c_stride + column;
    if (o->add)
#pragma GCC unroll 6
        for (int i = 0; i < rows; i++)
#pragma GCC unroll 4
            for (int v = 0; v < vectors; v++)
                sum[i][v] = vadd(sum[i][v], v + 1 < vectors || last == VT_LANES
                                                ? vload(c[i] + v * VT_LANES)
                                                : vload_first(c[i] + v * VT_LANES, last));
#pragma GCC unroll 6
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 4
        for (int v = 0; v < vectors; v++)
            if (v + 1 < vectors || last == VT_LANES)
                vstore(c[i] + v * VT_LANES, sum[i][v]);
            else
                vstore_first(c[i] + v * VT_LANES, sum[i][v], last);
}

/* All rows of `vectors` lanes of columns. */
VT_INLINE void compute_columns(const vt_tile_operands *o, int64_t m, int64_t column, int64_t last,
                               const int vectors)
{
    int64_t i = 0;
    for (; i + VT_TILE_ROWS <= m; i += VT_TILE_ROWS)
        compute_block(o, i, column, last, VT_TILE_ROWS, vectors);
    switch (m - i) {
    case 1:
        compute_block(o, i, column, last, 1, vectors);
        break;
    case 2:
        compute_block(o, i, column, last, 2, vectors);
        break;
    case 3:
        compute_block(o, i, column, last, 3, vectors);
        break;
    case 4:
        compute_block(o, i, column, last, 4, vectors);
        break;
    case 5:
        compute_block(o, i, column, last, 5, vectors);
        break;
    default:
        break;
    }
}

/* Vectors of columns that are computed together, of those left. */
VT_INLINE int64_t tile_take(int64_t vectors)
{
#ifdef __AVX512F__
    /* 32 registers hold 6 x 4 sums; 5 vectors go as 3 and 2, because one alone is slow */
    return vectors == 5 ? 3 : vectors < 4 ? vectors : 4;
#else
    return vectors < 1 ? vectors : 1; /* 16 registers hold 6 x 2 halves */
#endif
}

/* How often a product asks for memory. */
VT_INLINE int64_t tile_requests(int64_t m, int64_t n, int64_t k)
{
    int64_t columns = 0;
    for (int64_t left = (n + VT_LANES - 1) / VT_LANES; left > 0; left -= tile_take(left))
        columns++;
    return (m + VT_TILE_ROWS - 1) / VT_TILE_ROWS * columns *
           ((k + VT_TILE_DEPTH - 1) / VT_TILE_DEPTH);
}

/* The product; m, n >= 0. Not inlined: one copy serves all callers. */
__attribute__((noinline, unused)) static void vt_tile_product(const vt_tile_operands *o, int64_t m,
                                                              int64_t n)
{
    int64_t column = 0, vectors = (n + VT_LANES - 1) / VT_LANES;
    while (vectors > 0) {
        int64_t take = tile_take(vectors);
        int64_t left = n - column - (take - 1) * VT_LANES, last = left < VT_LANES ? left : VT_LANES;
        switch (take) {
#ifdef __AVX512F__
        case 4:
            compute_columns(o, m, column, last, 4);
            break;
        case 3:
            compute_columns(o, m, column, last, 3);
            break;
        case 2:
            compute_columns(o, m, column, last, 2);
            break;
#endif
        default:
            compute_columns(o, m, column, last, 1);
            break;
        }
        column += take * VT_LANES;
        vectors -= take;
    }
}

#endif
