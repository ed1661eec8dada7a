/*
 * What the CUDA kernels share. A kernel is a VT_KERNEL function whose grid, block and order of sums
 * are functions of shapes alone: never of the number of multiprocessors, and nothing is added by
 * atomics. Its entry in the table is an extern "C" function VT_CUDA(name) of kernels.h's signature.
 *
 * Blocks are one-dimensional and count whole warps. CUDA's names (threadIdx, blockIdx, blockDim,
 * gridDim, dim3, float4) mean what they mean there; barriers, shuffles and shared memory are
 * port.h's.
 */
#ifndef VT_CUDA_COMMON_CUH
#define VT_CUDA_COMMON_CUH

#include "kernels/kernels.h"
#include "port.h"

#define VT_CUDA(name) vt_cuda_##name

extern "C" {
#define X(kernel) vt_##kernel##_fn VT_CUDA(kernel);
VT_KERNEL_LIST(X)
VT_SCRATCH_LIST(X)
#undef X
}

enum { VT_WARP = 32, VT_THREADS = 256 };

static inline float *vt_floats(vt_buf buf)
{
    return static_cast<float *>(buf.data);
}

static inline int64_t vt_ceil_div(int64_t a, int64_t b)
{
    return (a + b - 1) / b;
}

/* Blocks of VT_THREADS threads for n elements, one a thread; at least one, at most what a grid's
 * first side holds. */
static inline dim3 vt_blocks(int64_t n)
{
    const int64_t blocks = vt_ceil_div(n, VT_THREADS);
    return dim3((unsigned)(blocks < 1 ? 1 : blocks));
}

/* This thread's number in a grid of vt_blocks. */
VT_DEVICE int64_t vt_index()
{
    return (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
}

VT_DEVICE void vt_give(float *to, bool write, float value)
{
    *to = write ? value : *to + value;
}

/* The same for all 32 threads of a warp: a tree whose shape is fixed. */
template <typename T> VT_DEVICE T vt_warp_sum(T value)
{
    for (int mask = 16; mask > 0; mask >>= 1)
        value += vt_shfl_xor(value, mask);
    return value;
}
VT_DEVICE float vt_warp_max(float value)
{
    for (int mask = 16; mask > 0; mask >>= 1)
        value = fmaxf(value, vt_shfl_xor(value, mask));
    return value;
}

/* The same for all threads of a block. room: 32 values of shared memory, free again after the next
 * barrier. */
template <typename T> VT_DEVICE T vt_block_sum(T value, T *room)
{
    const int warp = (int)threadIdx.x / VT_WARP, warps = (int)blockDim.x / VT_WARP;
    value = vt_warp_sum(value);
    if (threadIdx.x % VT_WARP == 0)
        room[warp] = value;
    vt_sync();
    T sum = room[0];
    for (int i = 1; i < warps; i++)
        sum += room[i];
    return sum;
}

/* Philox4x32-10, as base/rng.h has it. */
VT_DEVICE void vt_philox4(const uint32_t key[2], uint32_t c0, uint32_t c1, uint32_t c2, uint32_t c3,
                          uint32_t out[4])
{
    uint32_t k0 = key[0], k1 = key[1];
    for (int round = 0; round < 10; round++) {
        const uint64_t p0 = (uint64_t)0xD2511F53u * c0, p1 = (uint64_t)0xCD9E8D57u * c2;
        c0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0;
        c2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
        c1 = (uint32_t)p1;
        c3 = (uint32_t)p0;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    out[0] = c0;
    out[1] = c1;
    out[2] = c2;
    out[3] = c3;
}

/* The word of element `element` of image `image`, as kernels.h defines the draws. */
VT_DEVICE uint32_t vt_draw_word(const vt_step *step, vt_draw_stream stream, int64_t image,
                                int64_t element)
{
    uint32_t words[4];
    vt_philox4(step->key, (uint32_t)(element / 4), (uint32_t)image, step->draw, stream, words);
    return words[element % 4];
}

/* An element is kept when its word is >= this; 0 <= rate < 1. */
static inline uint32_t vt_drop_threshold(float rate)
{
    return (uint32_t)((double)rate * 4294967296.0);
}

#endif
