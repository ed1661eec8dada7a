/* Products of the emulated GPU: OpenBLAS, one thread, one call, on floats. */
#include "tests/cuda/matmul.h"

#include "base/mem.h"
#include "kernels/bf16.h"
#include "kernels/blas.h"

static void multiply(const vt_matmul *p, const float *a, const float *b, float *c)
{
    static vt_blas blas; /* stays open: the emulated GPU lives as long as its test */
    if (blas.sgemm == NULL) {
        vt_error err = {0};
        VT_ASSERT(vt_blas_open(&blas, NULL, &err) == VT_OK);
    }
    if (p->k > 0 && p->m > 0 && p->n > 0)
        blas.sgemm(VT_BLAS_ROW_MAJOR, p->a_transposed ? VT_BLAS_TRANSPOSED : VT_BLAS_AS_IS,
                   p->b_transposed ? VT_BLAS_TRANSPOSED : VT_BLAS_AS_IS, (int)p->m, (int)p->n,
                   (int)p->k, 1.0f, a, (int)(p->a_transposed ? p->m : p->k), b,
                   (int)(p->b_transposed ? p->k : p->n), 0.0f, c, (int)p->n);
}

/* What a product reads of a number: all of it, or what TF32 takes. */
static float number(const void *from, vt_dtype type, int64_t i)
{
    if (type == VT_BF16)
        return vt_bf16_to_float(((const uint16_t *)from)[i]);
    float x = ((const float *)from)[i];
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    if (type == VT_TF32)
        bits = (bits + 0x1000u) & ~0x1fffu;
    memcpy(&x, &bits, sizeof x);
    return x;
}

static void give(const vt_matmul *p, int64_t at, int64_t column, float sum)
{
    if (p->bias != NULL)
        sum += number(p->bias, p->type == VT_BF16 ? VT_BF16 : VT_F32, column);
    if (p->add)
        sum += number(p->c, p->c_type == VT_BF16 ? VT_BF16 : VT_F32, at);
    if (p->c_type == VT_BF16)
        ((uint16_t *)p->c)[at] = vt_bf16_of_float(sum);
    else
        ((float *)p->c)[at] = sum;
}

void vt_emulated_matmul(const vt_matmul *p)
{
    const int64_t batch = p->batch > 1 ? p->batch : 1, m = p->m, n = p->n, k = p->k;
    float *a = vt_calloc((size_t)(m * k + k * n + m * n), sizeof *a);
    VT_ASSERT(a != NULL);
    float *b = a + m * k, *c = b + k * n;
    for (int64_t i = 0; i < batch; i++) {
        for (int64_t e = 0; e < m * k; e++)
            a[e] = number(p->a, p->type, i * m * k + e);
        for (int64_t e = 0; e < k * n; e++)
            b[e] = number(p->b, p->type, i * k * n + e);
        multiply(p, a, b, c);
        for (int64_t e = 0; e < m * n; e++)
            give(p, i * m * n + e, e % n, c[e]);
    }
    vt_free(a);
}
