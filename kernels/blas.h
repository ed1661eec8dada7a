/*
 * OpenBLAS, loaded while the program runs.
 *
 * A linked OpenBLAS picks its kernels by processor and starts its threads before main can say
 * otherwise, and both change the bits of a product. So it is pinned by environment first and opened
 * after: kernel family Haswell (runs on every AVX2 processor), one thread. The build must be the
 * one with POSIX threads, because only that locks its buffers against callers in several threads.
 */
#ifndef VT_BLAS_H
#define VT_BLAS_H

#include "base/status.h"
#include "kernels/kernels.h"

enum { VT_BLAS_ROW_MAJOR = 101, VT_BLAS_AS_IS = 111, VT_BLAS_TRANSPOSED = 112 };

typedef struct vt_blas {
    /* c (m, n) = alpha * op(a) (m, k) * op(b) (k, n) + beta * c; c is not read when beta is 0 */
    void (*sgemm)(int order, int op_a, int op_b, int m, int n, int k, float alpha, const float *a,
                  int lda, const float *b, int ldb, float beta, float *c, int ldc);
    void *library;
    char about[128]; /* the library's own words: version, threading, kernel family */
} vt_blas;

/* Opens the first of `names` (ended by NULL; NULL itself: the usual places) that is there and of
 * the right kind. None: VT_ERR_HELPER with what was found. Sets OPENBLAS_CORETYPE and
 * OPENBLAS_NUM_THREADS in the process, so call it before threads are started. */
vt_status vt_blas_open(vt_blas *blas, const char *const *names, vt_error *err);
void vt_blas_close(vt_blas *blas);

/* The library of a CPU device. */
const vt_blas *vt_dev_blas(const vt_dev *dev);

#endif
