/* How a product is cut: a function of its sizes alone, the same in both compilations. */
#ifndef VT_KERNELS_CPU_GEMM_LAYOUT_H
#define VT_KERNELS_CPU_GEMM_LAYOUT_H

#include <stdint.h>

/*
 * A product with many terms for a small C is cut along the terms: each part packs its terms of both
 * operands and sums all of C, and the parts' sums are added in order. Any other is cut into tiles
 * of C.
 */
typedef struct vt_gemm_cut {
    int64_t parts;         /* 1: tiles */
    int64_t terms;         /* of a part; or packed at a time: whole blocks, or all */
    int64_t block;         /* terms whose sum is added to C at a time: at most VT_GEMM_TERMS */
    int64_t height, width; /* of a tile of C: whole panels */
} vt_gemm_cut;

vt_gemm_cut vt_gemm_cut_of(int64_t m, int64_t n, int64_t k);

#endif
