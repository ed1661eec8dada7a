/*
 * What a kernel is written with, for CUDA's own compiler. tests/cuda/port.h is the other one, for
 * an emulated GPU; kernels see no difference, and none may ask which it is.
 */
#ifndef VT_CUDA_PORT_H
#define VT_CUDA_PORT_H

#include "kernels/cuda/gpu.h"

#include <cuda_runtime.h>

#define VT_KERNEL static __global__ void
#define VT_DEVICE static __device__ __forceinline__
#define VT_CONSTANT static __device__ const
/* Before a loop whose arrays lie in registers. */
#define VT_UNROLL _Pragma("unroll")
/* After VT_KERNEL: as many registers as let that many blocks run on a multiprocessor at once. */
#define VT_RESIDENT(threads, blocks) __launch_bounds__(threads, blocks)
/* Before a loop that is not to be unrolled: for the registers' sake. */
#define VT_KEEP_LOOP _Pragma("unroll 1")

VT_DEVICE void vt_sync()
{
    __syncthreads();
}
VT_DEVICE void vt_warp_sync()
{
    __syncwarp();
}

/* The block's memory: as many bytes as the launch asked for. */
template <typename T> VT_DEVICE T *vt_shared()
{
    extern __shared__ __align__(128) unsigned char memory[];
    return reinterpret_cast<T *>(memory);
}

/* All 32 threads of the warp must come here. */
template <typename T> VT_DEVICE T vt_shfl(T value, int lane)
{
    return __shfl_sync(0xffffffffu, value, lane);
}
template <typename T> VT_DEVICE T vt_shfl_xor(T value, int mask)
{
    return __shfl_xor_sync(0xffffffffu, value, mask);
}

/* Ends the program with the call's name unless it went well. */
void vt_cuda_check(cudaError_t result, const char *call);
cudaStream_t vt_cuda_stream(vt_gpu *gpu);

/* Grid of blocks of `threads` threads each, with `shared` bytes of memory a block. */
template <typename... P, typename... A>
static inline void vt_launch(vt_dev *d, const char *name, void (*kernel)(P...), dim3 blocks,
                             unsigned threads, size_t shared, A... args)
{
    enum { WITHOUT_ASKING = 48 << 10 };
    if (shared > WITHOUT_ASKING)
        vt_cuda_check(
            cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)shared),
            name);
    kernel<<<blocks, threads, shared, vt_cuda_stream(vt_dev_gpu(d))>>>(static_cast<P>(args)...);
    vt_cuda_check(cudaGetLastError(), name);
}
#define VT_LAUNCH(d, kernel, ...) vt_launch(d, #kernel, kernel, __VA_ARGS__)

#endif
