/* Products of the emulated GPU: OpenBLAS, one thread, one call. */
#include "tests/cuda/matmul.h"

#include "kernels/blas.h"

static void multiply(const vt_matmul *p)
{
    static vt_blas blas; /* stays open: the emulated GPU lives as long as its test */
    if (blas.sgemm == NULL) {
        vt_error err = {0};
        VT_ASSERT(vt_blas_open(&blas, NULL, &err) == VT_OK);
    }
    if (p->k > 0 && p->m > 0 && p->n > 0)
        blas.sgemm(VT_BLAS_ROW_MAJOR, p->a_transposed ? VT_BLAS_TRANSPOSED : VT_BLAS_AS_IS,
                   p->b_transposed ? VT_BLAS_TRANSPOSED : VT_BLAS_AS_IS, (int)p->m, (int)p->n,
                   (int)p->k, 1.0f, p->a, (int)(p->a_transposed ? p->m : p->k), p->b,
                   (int)(p->b_transposed ? p->k : p->n), p->add ? 1.0f : 0.0f, p->c, (int)p->n);
    for (int64_t i = 0; i < p->m && (p->bias != NULL || (p->k == 0 && !p->add)); i++)
        for (int64_t j = 0; j < p->n; j++)
            p->c[i * p->n + j] =
                (p->k > 0 || p->add ? p->c[i * p->n + j] : 0) + (p->bias != NULL ? p->bias[j] : 0);
}

void vt_emulated_matmul(const vt_matmul *p)
{
    vt_matmul one = *p;
    for (int64_t i = 0; i < (p->batch > 1 ? p->batch : 1); i++) {
        one.a = p->a + i * p->m * p->k;
        one.b = p->b + i * p->k * p->n;
        one.c = p->c + i * p->m * p->n;
        multiply(&one);
    }
}
