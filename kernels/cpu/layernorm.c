#include "kernels/cpu/rows.h"

/* Columns of a chunk when partial sums are added up. */
enum { ADD_COLS = 512 };

struct forward {
    float *y, *mean, *rstd;
    const float *x, *w, *b;
    int64_t cols;
    float eps;
};

static float row_mean(const float *x, int64_t cols)
{
    vt_lanes sum = vzero();
    for (int64_t i = 0; i < cols; i += VT_LANES)
        sum = vadd(sum, vload_upto(x + i, cols - i));
    return vsum(sum) / (float)cols;
}

static float row_variance(const float *x, float mean, int64_t cols)
{
    vt_lanes sum = vzero(), m = vset1(mean);
    for (int64_t i = 0; i < cols; i += VT_LANES) {
        vt_lanes diff = vsub(vload_upto(x + i, cols - i), m);
        if (cols - i < VT_LANES) /* lanes past the row hold -mean */
            diff = vselect(vfirst(cols - i), diff, vzero());
        sum = vfma(diff, diff, sum);
    }
    return vsum(sum) / (float)cols;
}

static void forward_rows(void *arg, int64_t first, int64_t last, int worker)
{
    const struct forward *a = arg;
    int64_t cols = a->cols;
    (void)worker;
    for (int64_t r = first; r < last; r++) {
        const float *x = a->x + r * cols;
        float *y = a->y + r * cols;
        float mean = row_mean(x, cols);
        float rstd = 1.0f / sqrtf(row_variance(x, mean, cols) + a->eps);
        vt_lanes m = vset1(mean), s = vset1(rstd);
        a->mean[r] = mean;
        a->rstd[r] = rstd;
        for (int64_t i = 0; i < cols; i += VT_LANES) {
            vt_lanes xhat = vmul(vsub(vload_upto(x + i, cols - i), m), s);
            vt_lanes w = vload_upto(a->w + i, cols - i), b = vload_upto(a->b + i, cols - i);
            vstore_upto(y + i, vfma(xhat, w, b), cols - i);
        }
    }
}

void VT_CPU(layernorm_fwd)(vt_dev *d, vt_buf y, float *mean, float *rstd, vt_buf x, const float *w,
                           const float *b, int64_t rows, int64_t cols, float eps)
{
    struct forward a = {vt_floats(y), mean, rstd, vt_floats(x), w, b, cols, eps};
    vt_grid_run(vt_dev_pool(d), rows, vt_chunk_items(rows, 8 * cols), forward_rows, &a);
}

struct backward {
    float *dx, *dw, *db, *y, *scratch; /* scratch[chunk]: dw's partial sums, then db's */
    const float *dy, *x, *w, *b, *mean, *rstd;
    int64_t cols, chunks, chunk_rows;
    bool write;
};

/* dx = rstd (g - mean(g) - xhat mean(g xhat)) with g = dy w, for one row. */
static void backward_row(const struct backward *a, int64_t r)
{
    int64_t cols = a->cols;
    const float *dy = a->dy + r * cols, *x = a->x + r * cols;
    float *dx = a->dx + r * cols;
    vt_lanes mean = vset1(a->mean[r]), rstd = vset1(a->rstd[r]), sum = vzero(), dot = vzero();
    for (int64_t i = 0; i < cols; i += VT_LANES) {
        vt_lanes g = vmul(vload_upto(dy + i, cols - i), vload_upto(a->w + i, cols - i));
        vt_lanes xhat = vmul(vsub(vload_upto(x + i, cols - i), mean), rstd);
        sum = vadd(sum, g);
        dot = vfma(g, xhat, dot);
    }
    vt_lanes mean_g = vset1(vsum(sum) / (float)cols), mean_dot = vset1(vsum(dot) / (float)cols);
    for (int64_t i = 0; i < cols; i += VT_LANES) {
        vt_lanes g = vmul(vload_upto(dy + i, cols - i), vload_upto(a->w + i, cols - i));
        vt_lanes xhat = vmul(vsub(vload_upto(x + i, cols - i), mean), rstd);
        vt_lanes inner = vfnma(xhat, mean_dot, vsub(g, mean_g));
        vgive_upto(dx + i, a->write, vmul(rstd, inner), cols - i);
    }
}

/* dw += dy xhat, db += dy, for one row. */
static void add_row(const struct backward *a, float *dw, float *db, int64_t r)
{
    int64_t cols = a->cols;
    const float *dy = a->dy + r * cols, *x = a->x + r * cols;
    vt_lanes mean = vset1(a->mean[r]), rstd = vset1(a->rstd[r]);
    for (int64_t i = 0; i < cols; i += VT_LANES) {
        int64_t left = cols - i;
        vt_lanes g = vload_upto(dy + i, left);
        vt_lanes xhat = vmul(vsub(vload_upto(x + i, left), mean), rstd);
        vstore_upto(dw + i, vfma(g, xhat, vload_upto(dw + i, left)), left);
        vstore_upto(db + i, vadd(g, vload_upto(db + i, left)), left);
    }
}

/* y again, for one row. */
static void remake_row(const struct backward *a, int64_t r)
{
    int64_t cols = a->cols;
    const float *x = a->x + r * cols;
    vt_lanes mean = vset1(a->mean[r]), rstd = vset1(a->rstd[r]);
    for (int64_t i = 0; i < cols; i += VT_LANES) {
        vt_lanes xhat = vmul(vsub(vload_upto(x + i, cols - i), mean), rstd);
        vt_lanes w = vload_upto(a->w + i, cols - i), b = vload_upto(a->b + i, cols - i);
        vstore_upto(a->y + r * cols + i, vfma(xhat, w, b), cols - i);
    }
}

static void backward_chunk(void *arg, int64_t first, int64_t last, int worker)
{
    const struct backward *a = arg;
    float *dw = a->scratch + first / a->chunk_rows * 2 * a->cols, *db = dw + a->cols;
    bool sums = a->dw || a->db;
    (void)worker;
    for (int64_t c = 0; sums && c < 2 * a->cols; c++)
        dw[c] = 0;
    for (int64_t r = first; r < last; r++) {
        if (sums) /* before dx, which may lie where dy does */
            add_row(a, dw, db, r);
        if (a->dx)
            backward_row(a, r);
        if (a->y)
            remake_row(a, r);
    }
}

static void add_columns(float *to, const float *partial, int64_t n, int64_t chunks, int64_t stride)
{
    for (int64_t i = 0; to && i < n; i += VT_LANES) {
        vt_lanes sum = vload_upto(partial + i, n - i);
        for (int64_t chunk = 1; chunk < chunks; chunk++)
            sum = vadd(sum, vload_upto(partial + chunk * stride + i, n - i));
        vgive_upto(to + i, false, sum, n - i);
    }
}

static void add_partial_sums(void *arg, int64_t first, int64_t last, int worker)
{
    const struct backward *a = arg;
    int64_t n = last - first, stride = 2 * a->cols;
    (void)worker;
    add_columns(a->dw ? a->dw + first : NULL, a->scratch + first, n, a->chunks, stride);
    add_columns(a->db ? a->db + first : NULL, a->scratch + a->cols + first, n, a->chunks, stride);
}

void VT_CPU(layernorm_bwd)(vt_dev *d, vt_buf dx, bool write, float *dw, float *db, vt_buf y,
                           vt_buf dy, vt_buf x, const float *w, const float *b, const float *mean,
                           const float *rstd, int64_t rows, int64_t cols, float *scratch)
{
    int64_t chunk_rows = vt_ceil_div(rows, vt_row_chunks(rows));
    struct backward a = {.dx = vt_floats(dx),
                         .dw = dw,
                         .db = db,
                         .y = vt_floats(y),
                         .scratch = scratch,
                         .dy = vt_floats(dy),
                         .x = vt_floats(x),
                         .w = w,
                         .b = b,
                         .mean = mean,
                         .rstd = rstd,
                         .cols = cols,
                         .chunks = vt_ceil_div(rows, chunk_rows),
                         .chunk_rows = chunk_rows,
                         .write = write};
    vt_grid_run(vt_dev_pool(d), rows, chunk_rows, backward_chunk, &a);
    if (dw || db)
        vt_grid_run(vt_dev_pool(d), cols, ADD_COLS, add_partial_sums, &a);
}
