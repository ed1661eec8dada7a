#ifndef VT_TESTS_CUDA_MATMUL_H
#define VT_TESTS_CUDA_MATMUL_H

#include "kernels/cuda/gpu.h"

#ifdef __cplusplus
extern "C" {
#endif

void vt_emulated_matmul(const vt_matmul *product);

#ifdef __cplusplus
}
#endif

#endif
