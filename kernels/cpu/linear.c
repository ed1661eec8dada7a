/* Linear layers: products of whole matrices, cut into panels that OpenBLAS computes one by one. */
#include "kernels/blas.h"
#include "kernels/cpu/cpu.h"
#include "kernels/cpu/lanes.h"

#include <limits.h>
#include <string.h>

/* c (m, n) = or += op(a) op(b) + bias, k terms an element, cut into panels of c. */
typedef struct product {
    const vt_blas *blas;
    const float *a, *b, *bias; /* bias (n) or NULL */
    float *c;
    int64_t m, n, k;
    bool a_transposed, b_transposed, write;
    int64_t height, width, columns; /* of a panel; panels side by side */
} product;

enum {
    MAX_CUTS = 16, /* of each side */
    PANEL_ALIGN = 16,
    COLUMNS_PER_SUM = 256,
};

/* What OpenBLAS does beside the products, measured in products: for each number that it copies into
 * its own order, which every panel does anew for its rows and columns; and for each call. */
static const double packing_cost = 28.0, call_cost = 1e5;

static int64_t round_up(int64_t value, int64_t unit)
{
    return vt_ceil_div(value, unit) * unit;
}

/* Panels of c as a function of the shape alone. Large panels pack less; many panels keep many
 * threads busy. What is smallest is the sum of the times on 2, 4, 8 and 16 threads, in which the
 * few count more because they take longer. */
static void choose_panels(product *p)
{
    double least = INFINITY;
    for (int64_t down = 1; down <= MAX_CUTS; down++)
        for (int64_t across = 1; across <= MAX_CUTS; across++) {
            const int64_t height = round_up(vt_ceil_div(p->m, down), PANEL_ALIGN);
            const int64_t width = round_up(vt_ceil_div(p->n, across), PANEL_ALIGN);
            const int64_t panels = vt_ceil_div(p->m, height) * vt_ceil_div(p->n, width);
            const double h = (double)height, w = (double)width;
            const double panel = (h * w + packing_cost * (h + w)) * (double)p->k + call_cost;
            double time = 0.0;
            for (int64_t threads = 2; threads <= 16; threads *= 2)
                time += (double)vt_ceil_div(panels, threads) * panel;
            if (time < least) {
                least = time;
                p->height = height;
                p->width = width;
            }
        }
    p->columns = vt_ceil_div(p->n, p->width);
}

static void compute_panels(void *arg, int64_t first, int64_t last, int worker)
{
    const product *p = arg;
    (void)worker;
    for (int64_t i = first; i < last; i++) {
        int64_t row = i / p->columns * p->height, column = i % p->columns * p->width;
        int64_t m = vt_min_i64(p->height, p->m - row), n = vt_min_i64(p->width, p->n - column);
        int64_t a_stride = p->a_transposed ? p->m : p->k;
        int64_t b_stride = p->b_transposed ? p->k : p->n;
        float *c = p->c + row * p->n + column;

        /* The library clears what it does not add to, so starting from the bias costs nothing. */
        if (p->bias != NULL)
            for (int64_t r = 0; r < m; r++)
                memcpy(c + r * p->n, p->bias + column, (size_t)n * sizeof *c);
        p->blas->sgemm(VT_BLAS_ROW_MAJOR, p->a_transposed ? VT_BLAS_TRANSPOSED : VT_BLAS_AS_IS,
                       p->b_transposed ? VT_BLAS_TRANSPOSED : VT_BLAS_AS_IS, (int)m, (int)n,
                       (int)p->k, 1.0f, p->a + (p->a_transposed ? row : row * p->k), (int)a_stride,
                       p->b + (p->b_transposed ? column * p->k : column), (int)b_stride,
                       p->write && p->bias == NULL ? 0.0f : 1.0f, c, (int)p->n);
    }
}

static void run_product(vt_dev *d, product p)
{
    VT_ASSERT(p.m <= INT_MAX && p.n <= INT_MAX && p.k <= INT_MAX);
    if (p.m == 0 || p.n == 0)
        return;
    p.blas = vt_dev_blas(d);
    choose_panels(&p);
    vt_grid_run(vt_dev_pool(d), vt_ceil_div(p.m, p.height) * p.columns, 1, compute_panels, &p);
}

void VT_CPU(linear_fwd)(vt_dev *d, vt_buf y, vt_buf x, vt_buf w, const float *b, int64_t rows,
                        int64_t out, int64_t in)
{
    run_product(d, (product){.c = vt_floats(y),
                             .a = vt_floats(x),
                             .b = vt_floats(w),
                             .b_transposed = true,
                             .bias = b,
                             .write = true,
                             .m = rows,
                             .n = out,
                             .k = in});
}

void VT_CPU(linear_bwd_x)(vt_dev *d, vt_buf dx, bool write, vt_buf dy, vt_buf w, int64_t rows,
                          int64_t out, int64_t in)
{
    run_product(d, (product){.c = vt_floats(dx),
                             .a = vt_floats(dy),
                             .b = vt_floats(w),
                             .write = write,
                             .m = rows,
                             .n = in,
                             .k = out});
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

void VT_CPU(linear_bwd_w)(vt_dev *d, float *dw, float *db, vt_buf dy, vt_buf x, int64_t rows,
                          int64_t out, int64_t in, float *scratch)
{
    if (dw != NULL)
        run_product(d, (product){.c = dw,
                                 .a = vt_floats(dy),
                                 .a_transposed = true,
                                 .b = vt_floats(x),
                                 .m = out,
                                 .n = in,
                                 .k = rows});
    if (db != NULL && rows > 0) {
        int64_t chunks = vt_row_chunks(rows);
        column_sums s = {.x = vt_floats(dy),
                         .partial = scratch,
                         .rows = rows,
                         .cols = out,
                         .height = vt_ceil_div(rows, chunks),
                         .blocks = vt_ceil_div(out, COLUMNS_PER_SUM)};
        vt_grid_run(vt_dev_pool(d), chunks * s.blocks, 1, sum_columns, &s);
        for (int64_t chunk = 1; chunk < chunks; chunk++)
            for (int64_t j = 0; j < out; j++)
                scratch[j] += scratch[chunk * out + j];
        for (int64_t j = 0; j < out; j++)
            db[j] += scratch[j];
    }
}
