#include "kernels/cuda/common.cuh"

extern "C" const vt_kernels vt_cuda_table = {"cuda",
#define X(kernel) VT_CUDA(kernel),
                                             VT_KERNEL_LIST(X) VT_SCRATCH_LIST(X)
#undef X
                                                 true,
                                             false};
