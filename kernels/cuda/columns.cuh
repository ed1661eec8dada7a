/* Sums along an axis that is not the last: lanes are columns, each warp has a part of the sum. */
#ifndef VT_CUDA_COLUMNS_CUH
#define VT_CUDA_COLUMNS_CUH

#include "kernels/cuda/common.cuh"

/* Threads of a block for a sum of n terms: warps are as many as terms, up to `most`. */
static inline unsigned vt_column_threads(int64_t n, int64_t most)
{
    return (unsigned)(VT_WARP * (n < 1 ? 1 : n < most ? n : most));
}

/* The terms [first, last) of n that this warp adds. */
struct vt_terms {
    int64_t first, last;
};
VT_DEVICE vt_terms vt_terms_of_warp(int64_t n)
{
    const int64_t warps = blockDim.x / VT_WARP, each = (n + warps - 1) / warps;
    const int64_t first = threadIdx.x / VT_WARP * each, last = first + each;
    return {first, last < n ? last : n};
}

/* The parts of all warps in the order of the terms: for the first warp; the others get their own
 * back. room: a value a thread. */
VT_DEVICE float vt_column_sum(float part, float *room)
{
    room[threadIdx.x] = part;
    vt_sync();
    for (unsigned i = threadIdx.x + VT_WARP; threadIdx.x < VT_WARP && i < blockDim.x; i += VT_WARP)
        part += room[i];
    return part;
}

#endif
