#include "kernels/backend.h"

#include <stddef.h>

#ifdef VT_WITH_CUDA
extern const vt_backend vt_cuda_backend;
#endif

const vt_backend *const vt_backends[] = {
    &vt_cpu_backend,
#ifdef VT_WITH_CUDA
    &vt_cuda_backend,
#endif
    NULL,
};
