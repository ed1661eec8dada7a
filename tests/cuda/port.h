/*
 * What CUDA's compiler gives a kernel, in plain C++: the emulated GPU (lanes.h runs its threads).
 * kernels/cuda/nvcc/port.h is the other one; kernels see no difference.
 */
#ifndef VT_CUDA_PORT_H
#define VT_CUDA_PORT_H

#include "kernels/bf16.h"
#include "kernels/cuda/gpu.h"
#include "lanes.h"

#include <math.h>
#include <string.h>

#define VT_KERNEL static void
#define VT_DEVICE static inline
#define VT_CONSTANT static const
#define VT_UNROLL
#define VT_RESIDENT(threads, blocks)
#define VT_KEEP_LOOP

#define threadIdx (vt_lane_now->thread)
#define blockIdx (vt_grid_now.block)
#define blockDim (vt_grid_now.threads)
#define gridDim (vt_grid_now.blocks)

VT_DEVICE void vt_sync()
{
    vt_lane_wait_for_block();
}
VT_DEVICE void vt_warp_sync()
{
    vt_lane_wait_for_warp();
}

/* The block's memory: what the launch asked for, NaN at first. */
template <typename T> VT_DEVICE T *vt_shared()
{
    return static_cast<T *>(vt_grid_now.shared);
}

/* All 32 threads of the warp must come here. */
template <typename T> VT_DEVICE T vt_shfl(T value, int lane)
{
    T result;
    memcpy(vt_lane_slot(vt_lane_now->warp_lane), &value, sizeof value);
    vt_warp_sync();
    memcpy(&result, vt_lane_slot(lane & 31), sizeof value);
    vt_warp_sync();
    return result;
}
template <typename T> VT_DEVICE T vt_shfl_xor(T value, int mask)
{
    return vt_shfl(value, vt_lane_now->warp_lane ^ mask);
}

VT_DEVICE uint32_t vt_bf16_pair(float first, float second)
{
    return vt_bf16_of_float(first) | (uint32_t)vt_bf16_of_float(second) << 16;
}
/* Ties away from zero. */
VT_DEVICE uint32_t vt_tf32(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return (bits + 0x1000u) & ~0x1fffu;
}
VT_DEVICE void vt_mma_bf16(float c[4], const uint32_t a[4], const uint32_t b[2])
{
    vt_lanes_multiply(c, a, b, vt_value_bf16, 16);
}
VT_DEVICE void vt_mma_tf32(float c[4], const uint32_t a[4], const uint32_t b[2])
{
    vt_lanes_multiply(c, a, b, vt_value_tf32, 8);
}
VT_DEVICE void vt_load_matrices(uint32_t to[4], const void *row)
{
    vt_lanes_load_matrices(to, row, false);
}
VT_DEVICE void vt_load_matrices_turned(uint32_t to[4], const void *row)
{
    vt_lanes_load_matrices(to, row, true);
}

VT_DEVICE float rsqrtf(float x)
{
    return 1.0f / sqrtf(x);
}

/* Grid of blocks of `threads` threads each, with `shared` bytes of memory a block. */
template <typename... P, typename... A>
static inline void vt_launch(vt_dev *d, const char *name, void (*kernel)(P...), dim3 blocks,
                             unsigned threads, size_t shared, A... args)
{
    auto body = [=] { kernel(static_cast<P>(args)...); };
    typedef decltype(body) body_type;
    vt_lanes_launch(
        vt_dev_gpu(d), name, blocks, threads, shared,
        [](const void *b) { (*static_cast<const body_type *>(b))(); }, &body, sizeof body);
}
#define VT_LAUNCH(d, kernel, ...) vt_launch(d, #kernel, kernel, __VA_ARGS__)

#endif
