/* Linear layers: products of whole matrices. */
#include "kernels/blas.h"
#include "kernels/cpu/cpu.h"
#include "kernels/cpu/gemm.h"
#include "kernels/cpu/lanes.h"

#include <limits.h>
#include <string.h>

enum {
    PANELS = 16,
    PANEL_ALIGN = 16,
    COLUMNS_PER_SUM = 256,
};

/* A product that OpenBLAS computes, panel by panel of the longer side of C. */
typedef struct thin {
    const vt_gemm *g;
    const vt_blas *blas;
    int64_t height, width;
} thin;

static void compute_panels(void *arg, int64_t first, int64_t last, int worker)
{
    const thin *p = arg;
    const vt_gemm *g = p->g;
    (void)worker;
    for (int64_t i = first; i < last; i++) {
        const int64_t row = p->height < g->m ? i * p->height : 0, column = row ? 0 : i * p->width;
        const int64_t m = vt_min_i64(p->height, g->m - row);
        const int64_t n = vt_min_i64(p->width, g->n - column);
        float *c = g->c + row * g->n + column;

        /* The library clears what it does not add to, so starting from the bias costs nothing. */
        if (g->bias != NULL)
            for (int64_t r = 0; r < m; r++)
                memcpy(c + r * g->n, g->bias + column, (size_t)n * sizeof *c);
        p->blas->sgemm(
            VT_BLAS_ROW_MAJOR, g->a_transposed ? VT_BLAS_TRANSPOSED : VT_BLAS_AS_IS,
            g->b_transposed ? VT_BLAS_TRANSPOSED : VT_BLAS_AS_IS, (int)m, (int)n, (int)g->k, 1.0f,
            g->a + (g->a_transposed ? row : row * g->k), (int)(g->a_transposed ? g->m : g->k),
            g->b + (g->b_transposed ? column * g->k : column), (int)(g->b_transposed ? g->k : g->n),
            g->write && g->bias == NULL ? 0.0f : 1.0f, c, (int)g->n);
    }
}

static int64_t cut(int64_t size)
{
    return vt_ceil_div(vt_ceil_div(size, PANELS), PANEL_ALIGN) * PANEL_ALIGN;
}

/* Our own kernels compute whole vectors of columns and panels of rows: thinner products, such as
 * those of a classifier's head, are OpenBLAS's. */
static bool fits_lanes(const vt_gemm *g)
{
    return g->m >= VT_GEMM_ROWS && g->n >= VT_LANES && g->k > 0;
}

static void run_product(vt_dev *d, const vt_gemm *g, void *scratch)
{
    thin p = {.g = g, .blas = vt_dev_blas(d), .height = g->m, .width = g->n};
    VT_ASSERT(g->m <= INT_MAX && g->n <= INT_MAX && g->k <= INT_MAX);
    if (g->m == 0 || g->n == 0)
        return;
    if (fits_lanes(g)) {
        VT_CPU(gemm)(d, g, scratch);
        return;
    }
    if (g->m > g->n)
        p.height = cut(g->m);
    else
        p.width = cut(g->n);
    vt_grid_run(vt_dev_pool(d), vt_ceil_div(g->m, p.height) * vt_ceil_div(g->n, p.width), 1,
                compute_panels, &p);
}

typedef struct column_sums {
    const float *x; /* (rows, cols) */
    float *partial; /* (chunks, cols) */
    int64_t rows, cols, height, blocks;
} column_sums;

static void sum_columns(void *arg, int64_t first, int64_t last, int worker)
{
    const column_sums *s = arg;
    (void)worker;
    for (int64_t i = first; i < last; i++) {
        int64_t chunk = i / s->blocks, from = i % s->blocks * COLUMNS_PER_SUM;
        int64_t to = vt_min_i64(from + COLUMNS_PER_SUM, s->cols);
        int64_t end = vt_min_i64((chunk + 1) * s->height, s->rows);
        float *sum = s->partial + chunk * s->cols;

        memset(sum + from, 0, (size_t)(to - from) * sizeof *sum);
        for (int64_t row = chunk * s->height; row < end; row++) {
            const float *x = s->x + row * s->cols;
            int64_t j = from;
            for (; j + VT_LANES <= to; j += VT_LANES)
                vstore(sum + j, vadd(vload(sum + j), vload(x + j)));
            for (; j < to; j++)
                sum[j] += x[j];
        }
    }
}

void VT_CPU(linear_fwd)(vt_dev *d, vt_buf y, vt_buf x, vt_buf w, vt_buf b, int64_t rows,
                        int64_t out, int64_t in, void *scratch)
{
    const vt_gemm g = {.c = vt_floats(y),
                       .a = vt_floats(x),
                       .b = vt_floats(w),
                       .b_transposed = true,
                       .bias = b.data,
                       .write = true,
                       .m = rows,
                       .n = out,
                       .k = in};
    run_product(d, &g, scratch);
}

void VT_CPU(linear_bwd_x)(vt_dev *d, vt_buf dx, bool write, vt_buf dy, vt_buf w, int64_t rows,
                          int64_t out, int64_t in, void *scratch)
{
    const vt_gemm g = {.c = vt_floats(dx),
                       .a = vt_floats(dy),
                       .b = vt_floats(w),
                       .write = write,
                       .m = rows,
                       .n = in,
                       .k = out};
    run_product(d, &g, scratch);
}

void VT_CPU(linear_bwd_w)(vt_dev *d, float *dw, float *db, vt_buf dy, vt_buf x, int64_t rows,
                          int64_t out, int64_t in, void *scratch)
{
    vt_gemm g = {.c = dw,
                 .a = vt_floats(dy),
                 .a_transposed = true,
                 .b = vt_floats(x),
                 .m = out,
                 .n = in,
                 .k = rows};
    if (fits_lanes(&g)) {
        /* dy is read once: its sums are taken where it is packed. */
        g.sums = db;
        VT_CPU(gemm)(d, &g, scratch);
        return;
    }
    if (dw != NULL)
        run_product(d, &g, scratch);
    if (db != NULL && rows > 0) {
        float *partial = scratch;
        int64_t chunks = vt_row_chunks(rows);
        column_sums s = {.x = vt_floats(dy),
                         .partial = partial,
                         .rows = rows,
                         .cols = out,
                         .height = vt_ceil_div(rows, chunks),
                         .blocks = vt_ceil_div(out, COLUMNS_PER_SUM)};
        vt_grid_run(vt_dev_pool(d), chunks * s.blocks, 1, sum_columns, &s);
        for (int64_t chunk = 1; chunk < chunks; chunk++)
            for (int64_t j = 0; j < out; j++)
                partial[j] += partial[chunk * out + j];
        for (int64_t j = 0; j < out; j++)
            db[j] += partial[j];
    }
}
