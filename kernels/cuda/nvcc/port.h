/*
 * What a kernel is written with, for CUDA's own compiler. tests/cuda/port.h is the other one, for
 * an emulated GPU; kernels see no difference, and none may ask which it is.
 */
#ifndef VT_CUDA_PORT_H
#define VT_CUDA_PORT_H

#include "kernels/cuda/gpu.h"

#include <cuda_bf16.h>
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

/* The upper halves of two floats, rounded to nearest even, the first in the lower bits. */
VT_DEVICE uint32_t vt_bf16_pair(float first, float second)
{
    const __nv_bfloat162 pair = __floats2bfloat162_rn(first, second);
    return *reinterpret_cast<const uint32_t *>(&pair);
}
/* The bits of x with ten after the leading one, as the products below want them. */
VT_DEVICE uint32_t vt_tf32(float x)
{
    uint32_t bits;
    asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(bits) : "f"(x));
    return bits;
}

/*
 * c (16, 8) += a (16, K) b (K, 8) by the tensor cores, all 32 threads of the warp together, sums in
 * fp32. With g = lane / 4 and t = lane % 4 a thread holds
 *   c: rows g, g, g + 8, g + 8, columns 2t, 2t + 1, 2t, 2t + 1
 *   bf16, K = 16, pairs of neighbours along K: a: rows g, g + 8, g, g + 8 from column 2t, 2t,
 *     2t + 8, 2t + 8; b: column g from row 2t, 2t + 8
 *   tf32, K = 8: a: rows g, g + 8, g, g + 8, columns t, t, t + 4, t + 4; b: column g, rows t, t + 4
 */
VT_DEVICE void vt_mma_bf16(float c[4], const uint32_t a[4], const uint32_t b[2])
{
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, "
                 "{%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
VT_DEVICE void vt_mma_tf32(float c[4], const uint32_t a[4], const uint32_t b[2])
{
    asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, "
                 "{%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

/*
 * Four 8 x 8 matrices of bfloat16 out of shared memory, all 32 threads of the warp together. Lane l
 * names row l % 8 of matrix l / 8: 16 bytes, aligned to 16. Of matrix i it gets row g, columns 2t
 * and 2t + 1, or turned, column g of rows 2t and 2t + 1.
 */
VT_DEVICE void vt_load_matrices(uint32_t to[4], const void *row)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
                 : "r"((uint32_t)__cvta_generic_to_shared(row))
                 : "memory");
}
VT_DEVICE void vt_load_matrices_turned(uint32_t to[4], const void *row)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
                 : "r"((uint32_t)__cvta_generic_to_shared(row))
                 : "memory");
}

/* Ends the program with the call's name unless it went well. */
void vt_cuda_check(cudaError_t result, const char *call);
cudaStream_t vt_cuda_stream(vt_gpu *gpu);
/* Lets kernels into the host's memory: for tests, before they take any of it. */
void vt_gpu_reach_host(void);

/* Grid of blocks of `threads` threads each, with `shared` bytes of memory a block. */
template <typename... P, typename... A>
static inline void vt_launch(vt_dev *d, const char *name, void (*kernel)(P...), dim3 blocks,
                             unsigned threads, size_t shared, A... args)
{
    enum { WITHOUT_ASKING = 48 << 10 };
    if (shared > WITHOUT_ASKING) /* the most, so that no launch takes from what a recording needs */
        vt_cuda_check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                           VT_MOST_SHARED),
                      name);
    kernel<<<blocks, threads, shared, vt_cuda_stream(vt_dev_gpu(d))>>>(static_cast<P>(args)...);
    vt_cuda_check(cudaGetLastError(), name);
}
#define VT_LAUNCH(d, kernel, ...) vt_launch(d, #kernel, kernel, __VA_ARGS__)

#endif
