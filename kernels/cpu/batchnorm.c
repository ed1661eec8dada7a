#include "kernels/cpu/activation.h"
#include "kernels/cpu/rows.h"

/*
 * Sums over rows, for all columns at once: sixteen columns a register, RUN rows in float, runs in
 * double, chunks in double in index order. Two such passes give the statistics: the first a centre
 * near the mean, the second sum(x - centre) and sum((x - centre)^2), of which both the mean and the
 * variance follow without cancellation, wherever the rows lie.
 */
enum { RUN = 16, COLUMN_CHUNK = 256 };

struct batchnorm {
    const vt_batchnorm_sizes *sizes;
    int64_t chunks, chunk_rows;
    double *sums;                /* [chunk][2][cols] */
    float *centre;               /* the mean, rounded */
    float *slope, *pull, *shift; /* of the last pass, a column each */
    float *line_out;
    const float *line; /* centre, slope, shift of the forward pass, before an activation */
    float *y, *running_mean, *running_var;
    double *mean_out, *rstd_out;
    const float *x, *w, *b, *dy;
    const double *mean, *rstd;
    float *dx, *dw, *db;
    bool write;
};

/* Parts of the scratch memory: vt_batchnorm_scratch. */
static void divide_scratch(struct batchnorm *a, const vt_batchnorm_sizes *sizes, void *scratch)
{
    int64_t cols = sizes->cols;
    a->sizes = sizes;
    a->chunk_rows = vt_ceil_div(sizes->rows, vt_row_chunks(sizes->rows));
    a->chunks = vt_ceil_div(sizes->rows, a->chunk_rows);
    a->sums = scratch;
    a->centre = (float *)(void *)(a->sums + 2 * cols * vt_row_chunks(sizes->rows));
    a->slope = a->centre + cols;
    a->pull = a->slope + cols;
    a->shift = a->pull + cols;
}

static void add_doubles(double *to, vt_lanes a, int64_t n)
{
    _Alignas(64) float value[VT_LANES];
    vstore(value, a);
    for (int64_t i = 0; i < n; i++)
        to[i] += (double)value[i];
}

/* Up to sixteen columns of the forward pass, for what lies before its activation. */
struct line {
    vt_lanes centre, slope, shift;
};
VT_INLINE struct line line_at(const float *line, int64_t cols, int64_t c)
{
    return (struct line){vload_upto(line + c, cols - c), vload_upto(line + cols + c, cols - c),
                         vload_upto(line + 2 * cols + c, cols - c)};
}
/* The gradient before the activation, from that behind it. */
VT_INLINE vt_lanes before_activation(const struct batchnorm *a, const struct line *line, vt_lanes x,
                                     vt_lanes dy)
{
    vt_lanes y = vfma(line->slope, vsub(x, line->centre), line->shift);
    return vmul(dy, vactivate_slope(y, a->sizes->activation));
}

/* sum(g) and, with `dots`, sum(g (x - centre)), with g = dy, or x - centre itself in the forward
 * pass. */
VT_INLINE void sum_rows(const struct batchnorm *a, int64_t first, int64_t last, const bool dots)
{
    int64_t cols = a->sizes->cols;
    double *sum = a->sums + first / a->chunk_rows * 2 * cols, *dot = sum + cols;
    for (int64_t c = 0; c < 2 * cols; c++)
        sum[c] = 0;
    for (int64_t r = first; r < last; r += RUN) {
        int64_t end = vt_min_i64(r + RUN, last);
        for (int64_t c = 0; c < cols; c += VT_LANES) {
            int64_t left = cols - c;
            vt_lanes centre = dots ? vload_upto(a->centre + c, left) : vzero();
            vt_lanes run = vzero(), run_dot = vzero();
            struct line line = {0};
            if (a->line)
                line = line_at(a->line, cols, c);
            for (int64_t i = r * cols + c; i < end * cols; i += cols) {
                vt_lanes value = vload_upto(a->x + i, left), x = vsub(value, centre);
                vt_lanes g = a->dy ? vload_upto(a->dy + i, left) : x;
                if (a->line)
                    g = before_activation(a, &line, value, g);
                run = vadd(run, g);
                if (dots)
                    run_dot = vfma(g, x, run_dot);
            }
            add_doubles(sum + c, run, vt_min_i64(left, VT_LANES));
            if (dots)
                add_doubles(dot + c, run_dot, vt_min_i64(left, VT_LANES));
        }
    }
}

static void sum_only(void *arg, int64_t first, int64_t last, int worker)
{
    (void)worker;
    sum_rows(arg, first, last, false);
}

static void sum_with_dots(void *arg, int64_t first, int64_t last, int worker)
{
    (void)worker;
    sum_rows(arg, first, last, true);
}

static double total(const struct batchnorm *a, int which, int64_t column)
{
    double sum = 0;
    for (int64_t chunk = 0; chunk < a->chunks; chunk++)
        sum += a->sums[(2 * chunk + which) * a->sizes->cols + column];
    return sum;
}

static void choose_centre(void *arg, int64_t first, int64_t last, int worker)
{
    const struct batchnorm *a = arg;
    (void)worker;
    for (int64_t c = first; c < last; c++)
        a->centre[c] = (float)(a->mean ? a->mean[c] : total(a, 0, c) / (double)a->sizes->rows);
}

/* What the sums say of a column: its mean, and the variance as the result; the running ones move.
 */
static double batch_statistics(const struct batchnorm *a, int64_t c, double *mean)
{
    double rows = (double)a->sizes->rows, momentum = (double)a->sizes->momentum;
    double offset = total(a, 0, c) / rows, squares = total(a, 1, c) - offset * offset * rows;
    double old_mean = (double)a->running_mean[c], old_var = (double)a->running_var[c];
    if (squares < 0) /* equal values, and their rounding */
        squares = 0;
    double unbiased = squares / (rows > 1 ? rows - 1 : 1);
    *mean = (double)a->centre[c] + offset;
    a->running_mean[c] = (float)((1 - momentum) * old_mean + momentum * *mean);
    a->running_var[c] = (float)((1 - momentum) * old_var + momentum * unbiased);
    return squares / rows;
}

static void finish_statistics(void *arg, int64_t first, int64_t last, int worker)
{
    const struct batchnorm *a = arg;
    (void)worker;
    for (int64_t c = first; c < last; c++) {
        double mean = (double)a->running_mean[c], var = (double)a->running_var[c];
        if (a->sizes->training)
            var = batch_statistics(a, c, &mean);
        else
            a->centre[c] = a->running_mean[c];
        double rstd = 1 / sqrt(var + (double)a->sizes->eps), slope = rstd * (double)a->w[c];
        a->mean_out[c] = mean;
        a->rstd_out[c] = rstd;
        a->slope[c] = (float)slope;
        a->shift[c] = (float)((double)a->b[c] + slope * ((double)a->centre[c] - mean));
        if (a->line_out) {
            const int64_t cols = a->sizes->cols;
            a->line_out[c] = a->centre[c];
            a->line_out[cols + c] = a->slope[c];
            a->line_out[2 * cols + c] = a->shift[c];
        }
    }
}

/* y = slope (x - centre) + shift, and its activation */
static void forward_rows(void *arg, int64_t first, int64_t last, int worker)
{
    const struct batchnorm *a = arg;
    int64_t cols = a->sizes->cols;
    (void)worker;
    for (int64_t r = first; r < last; r++)
        for (int64_t c = 0; c < cols; c += VT_LANES) {
            int64_t left = cols - c, i = r * cols + c;
            vt_lanes x = vsub(vload_upto(a->x + i, left), vload_upto(a->centre + c, left));
            vt_lanes slope = vload_upto(a->slope + c, left), shift = vload_upto(a->shift + c, left);
            vt_lanes y = vfma(slope, x, shift);
            vstore_upto(a->y + i, vactivate(y, a->sizes->activation), left);
        }
}

void VT_CPU(batchnorm_fwd)(vt_dev *d, vt_buf y, double *mean, double *rstd, float *line,
                           float *running_mean, float *running_var, vt_buf x, const float *w,
                           const float *b, const vt_batchnorm_sizes *sizes, void *scratch)
{
    int64_t rows = sizes->rows, cols = sizes->cols;
    struct batchnorm a = {.y = vt_floats(y),
                          .running_mean = running_mean,
                          .running_var = running_var,
                          .mean_out = mean,
                          .rstd_out = rstd,
                          .line_out = line,
                          .x = vt_floats(x),
                          .w = w,
                          .b = b};
    divide_scratch(&a, sizes, scratch);
    if (sizes->training) {
        vt_grid_run(vt_dev_pool(d), rows, a.chunk_rows, sum_only, &a);
        vt_grid_run(vt_dev_pool(d), cols, COLUMN_CHUNK, choose_centre, &a);
        vt_grid_run(vt_dev_pool(d), rows, a.chunk_rows, sum_with_dots, &a);
    }
    vt_grid_run(vt_dev_pool(d), cols, COLUMN_CHUNK, finish_statistics, &a);
    vt_grid_run(vt_dev_pool(d), rows, vt_chunk_items(rows, 8 * cols), forward_rows, &a);
}

/* dx = w rstd (dy - mean(dy) - xhat mean(dy xhat)), the means 0 where the statistics are constants,
 * sorted by dy, x - centre and 1. */
static void finish_gradients(void *arg, int64_t first, int64_t last, int worker)
{
    const struct batchnorm *a = arg;
    (void)worker;
    for (int64_t c = first; c < last; c++) {
        double rstd = a->rstd[c], off = (double)a->centre[c] - a->mean[c];
        double sum = total(a, 0, c), dot = rstd * (total(a, 1, c) + off * sum);
        double slope = rstd * (double)a->w[c], share = 1 / (double)a->sizes->rows;
        double pull = a->sizes->training ? -slope * rstd * dot * share : 0;
        double mean_dy = a->sizes->training ? sum * share : 0;
        a->slope[c] = (float)slope;
        a->pull[c] = (float)pull;
        a->shift[c] = (float)(pull * off - slope * mean_dy);
        if (a->dw)
            a->dw[c] = (float)((double)a->dw[c] + dot);
        if (a->db)
            a->db[c] = (float)((double)a->db[c] + sum);
    }
}

/* dx = slope dy + pull (x - centre) + shift */
static void backward_rows(void *arg, int64_t first, int64_t last, int worker)
{
    const struct batchnorm *a = arg;
    int64_t cols = a->sizes->cols;
    (void)worker;
    for (int64_t r = first; r < last; r++)
        for (int64_t c = 0; c < cols; c += VT_LANES) {
            int64_t left = cols - c, i = r * cols + c;
            vt_lanes value = vload_upto(a->x + i, left), g = vload_upto(a->dy + i, left);
            vt_lanes x = vsub(value, vload_upto(a->centre + c, left));
            vt_lanes dx = vfma(vload_upto(a->pull + c, left), x, vload_upto(a->shift + c, left));
            if (a->line) {
                const struct line line = line_at(a->line, cols, c);
                g = before_activation(a, &line, value, g);
            }
            dx = vfma(vload_upto(a->slope + c, left), g, dx);
            vgive_upto(a->dx + i, a->write, dx, left);
        }
}

void VT_CPU(batchnorm_bwd)(vt_dev *d, vt_buf dx, bool write, float *dw, float *db, vt_buf dy,
                           vt_buf x, const float *w, const double *mean, const double *rstd,
                           const float *line, const vt_batchnorm_sizes *sizes, void *scratch)
{
    int64_t rows = sizes->rows, cols = sizes->cols;
    struct batchnorm a = {.x = vt_floats(x),
                          .w = w,
                          .dy = vt_floats(dy),
                          .mean = mean,
                          .rstd = rstd,
                          .line = line,
                          .dx = vt_floats(dx),
                          .dw = dw,
                          .db = db,
                          .write = write};
    divide_scratch(&a, sizes, scratch);
    vt_grid_run(vt_dev_pool(d), cols, COLUMN_CHUNK, choose_centre, &a);
    vt_grid_run(vt_dev_pool(d), rows, a.chunk_rows, sum_with_dots, &a);
    vt_grid_run(vt_dev_pool(d), cols, COLUMN_CHUNK, finish_gradients, &a);
    if (a.dx)
        vt_grid_run(vt_dev_pool(d), rows, vt_chunk_items(rows, 8 * cols), backward_rows, &a);
}
