/*
 * A GPU as the CUDA backend uses it: memory, one stream of work, recordings of it, and the vendor's
 * matrix products. Implemented twice: nvcc/gpu.cu on CUDA's runtime and cuBLASLt, and
 * tests/cuda/gpu.cc, which lets the same kernels run where there is no GPU.
 *
 * Everything takes effect in the order of the calls. A failure of the GPU itself (an address out of
 * bounds, a lost device) ends the program with exit code 70 and the call that met it.
 */
#ifndef VT_CUDA_GPU_H
#define VT_CUDA_GPU_H

#include "kernels/kernels.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct vt_gpu vt_gpu;

/* Shared memory of a block, at most: what data centre GPUs have from sm_80 on. Others (sm_86,
 * sm_89, sm_120) have 99 KiB and are refused. */
enum { VT_MOST_SHARED = 163 << 10 };

/* NULL if no GPU can be used: `text` has the reason, else the device's name. kernels: "cuda sm_90".
 */
vt_gpu *vt_gpu_open(char *kernels, size_t kernels_size, char *text, size_t text_size);
void vt_gpu_close(vt_gpu *gpu);
/* The GPU of a device whose backend is CUDA. */
vt_gpu *vt_dev_gpu(vt_dev *d);

/* Zeroed, aligned to 256 bytes; NULL if there is no room. */
void *vt_gpu_alloc(vt_gpu *gpu, size_t size_bytes);
void vt_gpu_release(vt_gpu *gpu, void *block);
void vt_gpu_write(vt_gpu *gpu, void *to, const void *from_host, size_t size_bytes);
/* Waits for all that went before. */
void vt_gpu_read(vt_gpu *gpu, void *to_host, const void *from, size_t size_bytes);
/* A read into memory of the host that the GPU reaches by itself; NULL if there is none. It is done
 * when vt_gpu_wait for its number, or for a later one, returns. */
void *vt_gpu_host_alloc(vt_gpu *gpu, size_t size_bytes);
void vt_gpu_host_release(vt_gpu *gpu, void *block);
uint64_t vt_gpu_fetch(vt_gpu *gpu, void *to_host, const void *from, size_t size_bytes);
void vt_gpu_wait(vt_gpu *gpu, uint64_t fetch);
void vt_gpu_clear(vt_gpu *gpu, void *block, size_t size_bytes);
/* 256 bytes of the GPU's memory, for an answer that the host reads at once. */
void *vt_gpu_answer(vt_gpu *gpu);

/* Work between the first two is noted, not done; `replay` does it. No reads in between; what a
 * write copies is fixed when it is noted, so there are none of those either. */
void vt_gpu_record(vt_gpu *gpu);
void *vt_gpu_recorded(vt_gpu *gpu);
void vt_gpu_replay(vt_gpu *gpu, void *recording);
void vt_gpu_forget(vt_gpu *gpu, void *recording);

/* c (m, n) = op(a) (m, k) op(b) (k, n) (+ c if `add`) (+ bias (n) if not NULL), row-major without
 * gaps, sums in fp32. a, b and the bias are of `type`, c too, or F32. op transposes a stored (k,
 * m), b stored (n, k). The sum over k is one chain of partial sums that the shape alone fixes:
 * never split among parts added by atomics. batch > 1: as many products, each operand's matrices
 * one behind the other, the bias the same for all. m, n and k are not 0. */
typedef struct vt_matmul {
    void *c;
    const void *a, *b, *bias;
    vt_dtype type, c_type;  /* F32, TF32 or BF16 */
    int64_t m, n, k, batch; /* batch 0 is 1 */
    bool a_transposed, b_transposed, add;
} vt_matmul;
void vt_gpu_matmul(vt_gpu *gpu, const vt_matmul *product);

#ifdef __cplusplus
}
#endif

#endif
