/*
 * Products of matrices: C (m, n) = or += op(A) (m, k) op(B) (k, n) [+ bias].
 *
 * The terms of an element are added in the order of k with fused steps, in blocks of
 * VT_GEMM_TERMS: a block's sum starts at 0 and is then added to what C holds. Where C is small and
 * the terms are many, parts of the terms are summed by themselves and added in order. So the bits
 * are a function of the sizes alone: not of the vectors' width, not of the tiles, nor of threads.
 *
 * B is packed once, by all threads, into panels of VT_GEMM_COLUMNS columns, as many terms at a time
 * as the scratch holds; then C's tiles are computed, from rows of A where they are, or, where terms
 * do not lie side by side, packed into panels of VT_GEMM_ROWS rows, a block of terms at a time.
 */
#ifndef VT_KERNELS_CPU_GEMM_H
#define VT_KERNELS_CPU_GEMM_H

#include "kernels/device.h"

#include <stdbool.h>
#include <stdint.h>

enum {
    VT_GEMM_ROWS = 12,         /* of a panel of A: two times six, four times three */
    VT_GEMM_COLUMNS = 32,      /* of a panel of B: two times the lanes */
    VT_GEMM_TERMS = 256,       /* of a block: a panel of B stays in the first cache */
    VT_GEMM_TILE_ROWS = 192,   /* of a tile at most: its block of A stays in the second cache */
    VT_GEMM_PART_COLUMNS = 512 /* of C at most, where a product is cut along its terms */
};

typedef struct vt_gemm {
    const float *a, *b;
    const float *bias; /* (n), added to the first block's sums, or NULL; only with `write` */
    float *c;          /* or NULL: only the sums are wanted */
    float *sums; /* (m), those of op(A)'s rows are added to them, or NULL; only with a_transposed */
    int64_t m, n, k;
    bool a_transposed; /* a is (k, m) */
    bool b_transposed; /* b is (n, k) */
    bool write;        /* C is written; else added to */
} vt_gemm;

/* Bytes of `scratch` for a product of these sizes, and of a worker's scratch for any product. */
size_t vt_gemm_scratch(int64_t m, int64_t n, int64_t k);
size_t vt_gemm_worker_scratch(void);

void vt_avx2_gemm(vt_dev *d, const vt_gemm *gemm, float *scratch);
void vt_avx512_gemm(vt_dev *d, const vt_gemm *gemm, float *scratch);

#endif
