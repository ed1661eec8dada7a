#include "kernels/cpu/activation.h"
#include "kernels/cpu/rows.h"

/*
 * Sums over rows, for all columns at once, each chunk's in double, the chunks added in index order.
 *
 * Forward: sum(x - o) and sum((x - o)^2), of which both the mean and the variance follow; o is the
 * first row. No row lies further from the mean than sqrt(rows) deviations, so that wherever the
 * rows lie the difference of the two loses to cancellation no more than log10(rows) digits of a
 * double's sixteen, and one pass is enough.
 *
 * Backward: sum(dy) and sum(dy (x - centre)), RUN rows in float before they go to double.
 */
enum { RUN = 8, COLUMN_CHUNK = 256 };

/* The passes wait for memory more than for arithmetic. Each asks early for what it reads: the sums
 * for the same columns RUN rows on, the others AHEAD elements on (past the end nothing is read). */
enum { AHEAD = 512 };

struct batchnorm {
    const vt_batchnorm_sizes *sizes;
    int64_t chunks, chunk_rows;
    bool stream, stream_y;       /* the output goes past the caches */
    double *sums;                /* [chunk][2][cols] */
    float *slope, *pull, *shift; /* of dx, a column each */
    float *line_out;
    const float *line; /* the forward pass, before an activation: centre (the mean, rounded), slope
                          and shift of each column */
    float *y, *running_mean, *running_var;
    double *mean_out, *rstd_out;
    const float *x, *w, *b, *dy;
    const double *mean, *rstd;
    float *dx, *dw, *db;
    bool write, stopped;
};

/* Parts of the scratch memory: vt_batchnorm_scratch. */
static void divide_scratch(struct batchnorm *a, const vt_batchnorm_sizes *sizes, void *scratch)
{
    int64_t cols = sizes->cols;
    a->sizes = sizes;
    a->chunk_rows = vt_ceil_div(sizes->rows, vt_row_chunks(sizes->rows));
    a->chunks = vt_ceil_div(sizes->rows, a->chunk_rows);
    a->sums = scratch;
    a->slope = (float *)(void *)(a->sums + 2 * cols * vt_row_chunks(sizes->rows));
    a->pull = a->slope + cols;
    a->shift = a->pull + cols;
}

/* Rows of whole lines. */
static bool streams(const struct batchnorm *a, const float *out)
{
    return a->sizes->cols % VT_LANES == 0 && vt_streams(out, a->sizes->rows * a->sizes->cols);
}

static double *sums_of(const struct batchnorm *a, int64_t first)
{
    double *sums = a->sums + first / a->chunk_rows * 2 * a->sizes->cols;
    for (int64_t c = 0; c < 2 * a->sizes->cols; c++)
        sums[c] = 0;
    return sums;
}

/* Rows [first, first + rows) of one chunk; four columns a register, in both vector widths. */
VT_INLINE void add_offsets(const struct batchnorm *a, double *sum, int64_t first, const int rows)
{
    const int64_t cols = a->sizes->cols;
    const float *x = a->x + first * cols;
    double *square = sum + cols;
    int64_t c = 0;
    for (; c + 4 <= cols; c += 4) {
        for (int r = 0; r < rows && c % VT_LANES == 0; r++)
            __builtin_prefetch(x + (r + RUN) * cols + c);
        __m256d origin = _mm256_cvtps_pd(_mm_loadu_ps(a->x + c));
        __m256d s = _mm256_loadu_pd(sum + c), q = _mm256_loadu_pd(square + c);
        for (int r = 0; r < rows; r++) {
            __m256d offset = _mm256_cvtps_pd(_mm_loadu_ps(x + r * cols + c));
            offset = _mm256_sub_pd(offset, origin);
            s = _mm256_add_pd(s, offset);
            q = _mm256_fmadd_pd(offset, offset, q);
        }
        _mm256_storeu_pd(sum + c, s);
        _mm256_storeu_pd(square + c, q);
    }
    for (; c < cols; c++)
        for (int r = 0; r < rows; r++) {
            double offset = (double)x[r * cols + c] - (double)a->x[c];
            sum[c] += offset;
            square[c] = fma(offset, offset, square[c]);
        }
}

static void sum_offsets(void *arg, int64_t first, int64_t last, int worker)
{
    const struct batchnorm *a = arg;
    double *sum = sums_of(a, first);
    int64_t r = first;
    (void)worker;
    for (; r + RUN <= last; r += RUN)
        add_offsets(a, sum, r, RUN);
    for (; r < last; r++)
        add_offsets(a, sum, r, 1);
}

static double total(const struct batchnorm *a, int which, int64_t column)
{
    double sum = 0;
    for (int64_t chunk = 0; chunk < a->chunks; chunk++)
        sum += a->sums[(2 * chunk + which) * a->sizes->cols + column];
    return sum;
}

/* What the sums say of a column: its mean, and the variance as the result; the running ones move,
 * unless the run was stopped. */
static double batch_statistics(const struct batchnorm *a, int64_t c, double *mean)
{
    double rows = (double)a->sizes->rows, momentum = (double)a->sizes->momentum;
    double offset = total(a, 0, c) / rows, squares = total(a, 1, c) - offset * offset * rows;
    double old_mean = (double)a->running_mean[c], old_var = (double)a->running_var[c];
    if (squares < 0) /* equal values, and their rounding */
        squares = 0;
    double unbiased = squares / (rows > 1 ? rows - 1 : 1);
    *mean = (double)a->x[c] + offset;
    if (a->stopped)
        return squares / rows;
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
        double rstd = 1 / sqrt(var + (double)a->sizes->eps), slope = rstd * (double)a->w[c];
        a->mean_out[c] = mean;
        a->rstd_out[c] = rstd;
        const int64_t cols = a->sizes->cols;
        const float centre = (float)mean;
        a->line_out[c] = centre;
        a->line_out[cols + c] = (float)slope;
        a->line_out[2 * cols + c] = (float)((double)a->b[c] + slope * ((double)centre - mean));
    }
}

/* Up to sixteen columns of the forward pass, for what lies before its activation. */
struct line {
    vt_lanes centre, slope, shift;
};
VT_INLINE struct line line_at(const struct batchnorm *a, int64_t c, int64_t left)
{
    const int64_t cols = a->sizes->cols;
    return (struct line){vload_upto(a->line + c, left), vload_upto(a->line + cols + c, left),
                         vload_upto(a->line + 2 * cols + c, left)};
}

/* y = slope (x - centre) + shift, and its activation; up to sixteen columns of a row */
VT_INLINE void forward_lanes(const struct batchnorm *a, int64_t r, int64_t c, int64_t left,
                             const vt_activation_kind kind)
{
    const int64_t i = r * a->sizes->cols + c;
    __builtin_prefetch(a->x + i + AHEAD);
    const struct line line = line_at(a, c, left);
    vt_lanes x = vsub(vload_upto(a->x + i, left), line.centre);
    vput_upto(a->y + i, a->stream_y, vactivate(vfma(line.slope, x, line.shift), kind), left);
}

VT_INLINE void forward_as(const struct batchnorm *a, int64_t first, int64_t last,
                          const vt_activation_kind kind)
{
    const int64_t cols = a->sizes->cols;
    for (int64_t r = first; r < last; r++) {
        int64_t c = 0;
        for (; c + VT_LANES <= cols; c += VT_LANES)
            forward_lanes(a, r, c, VT_LANES, kind);
        if (c < cols)
            forward_lanes(a, r, c, cols - c, kind);
    }
}

static void forward_rows(void *arg, int64_t first, int64_t last, int worker)
{
    const struct batchnorm *a = arg;
    (void)worker;
    VT_BY_ACTIVATION(a->sizes->activation, forward_as, a, first, last);
    vstream_end();
}

void VT_CPU(batchnorm_fwd)(vt_dev *d, vt_buf y, double *mean, double *rstd, float *line,
                           float *running_mean, float *running_var, vt_buf x, const float *w,
                           const float *b, const vt_batchnorm_sizes *sizes, const vt_step *step,
                           void *scratch)
{
    int64_t rows = sizes->rows, cols = sizes->cols;
    struct batchnorm a = {.y = vt_floats(y),
                          .stopped = sizes->training && step->stopped,
                          .running_mean = running_mean,
                          .running_var = running_var,
                          .mean_out = mean,
                          .rstd_out = rstd,
                          .line_out = line,
                          .line = line,
                          .x = vt_floats(x),
                          .w = w,
                          .b = b};
    divide_scratch(&a, sizes, scratch);
    if (sizes->training)
        vt_grid_run(vt_dev_pool(d), rows, a.chunk_rows, sum_offsets, &a);
    vt_grid_run(vt_dev_pool(d), cols, COLUMN_CHUNK, finish_statistics, &a);
    a.stream_y = streams(&a, a.y);
    vt_grid_run(vt_dev_pool(d), rows, vt_chunk_items(rows, cols), forward_rows, &a);
}

/* The gradient before the activation, from that behind it; x is x - centre. */
VT_INLINE vt_lanes before_activation(const struct line *line, vt_lanes x, vt_lanes dy,
                                     const vt_activation_kind kind)
{
    if (kind == VT_ACT_NONE)
        return dy;
    return vmul(dy, vactivate_slope(vfma(line->slope, x, line->shift), kind));
}

static void add_doubles(double *to, vt_lanes a, int64_t n)
{
    _Alignas(64) float value[VT_LANES];
    if (n >= VT_LANES) {
        const __m128 quarter[4] = {
            _mm256_castps256_ps128(vlow(a)), _mm256_extractf128_ps(vlow(a), 1),
            _mm256_castps256_ps128(vhigh(a)), _mm256_extractf128_ps(vhigh(a), 1)};
        for (int q = 0; q < 4; q++)
            _mm256_storeu_pd(to + 4 * q, _mm256_add_pd(_mm256_loadu_pd(to + 4 * q),
                                                       _mm256_cvtps_pd(quarter[q])));
        return;
    }
    vstore(value, a);
    for (int64_t i = 0; i < n; i++)
        to[i] += (double)value[i];
}

/* sum(g) and sum(g (x - centre)), g the gradient before the activation; up to RUN rows of up to
 * sixteen columns */
VT_INLINE void add_run(const struct batchnorm *a, double *sum, int64_t first, int64_t last,
                       int64_t c, int64_t left, const vt_activation_kind kind)
{
    const int64_t cols = a->sizes->cols;
    const struct line line = line_at(a, c, left);
    vt_lanes run = vzero(), dot = vzero();
    for (int64_t i = first * cols + c; i < last * cols; i += cols) {
        __builtin_prefetch(a->x + i + RUN * cols);
        __builtin_prefetch(a->dy + i + RUN * cols);
        vt_lanes x = vsub(vload_upto(a->x + i, left), line.centre);
        vt_lanes g = before_activation(&line, x, vload_upto(a->dy + i, left), kind);
        run = vadd(run, g);
        dot = vfma(g, x, dot);
    }
    add_doubles(sum + c, run, left);
    add_doubles(sum + cols + c, dot, left);
}

VT_INLINE void sums_as(const struct batchnorm *a, int64_t first, int64_t last,
                       const vt_activation_kind kind)
{
    const int64_t cols = a->sizes->cols;
    double *sum = sums_of(a, first);
    for (int64_t r = first; r < last; r += RUN) {
        const int64_t end = vt_min_i64(r + RUN, last);
        int64_t c = 0;
        for (; c + VT_LANES <= cols; c += VT_LANES)
            add_run(a, sum, r, end, c, VT_LANES, kind);
        if (c < cols)
            add_run(a, sum, r, end, c, cols - c, kind);
    }
}

static void sum_gradients(void *arg, int64_t first, int64_t last, int worker)
{
    const struct batchnorm *a = arg;
    (void)worker;
    VT_BY_ACTIVATION(a->sizes->activation, sums_as, a, first, last);
}

/* dx = w rstd (dy - mean(dy) - xhat mean(dy xhat)), the means 0 where the statistics are constants,
 * sorted by dy, x - centre and 1. */
static void finish_gradients(void *arg, int64_t first, int64_t last, int worker)
{
    const struct batchnorm *a = arg;
    (void)worker;
    for (int64_t c = first; c < last; c++) {
        double rstd = a->rstd[c], off = (double)a->line[c] - a->mean[c];
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

/* dx = slope g + pull (x - centre) + shift, and y again; up to sixteen columns of a row */
VT_INLINE void backward_lanes(const struct batchnorm *a, int64_t r, int64_t c, int64_t left,
                              const vt_activation_kind kind)
{
    const int64_t i = r * a->sizes->cols + c;
    const struct line line = line_at(a, c, left);
    __builtin_prefetch(a->x + i + AHEAD);
    __builtin_prefetch(a->dy + i + AHEAD);
    vt_lanes x = vsub(vload_upto(a->x + i, left), line.centre);
    if (a->y)
        vput_upto(a->y + i, a->stream_y, vactivate(vfma(line.slope, x, line.shift), kind), left);
    if (!a->dx)
        return;
    vt_lanes g = before_activation(&line, x, vload_upto(a->dy + i, left), kind);
    vt_lanes dx = vfma(vload_upto(a->pull + c, left), x, vload_upto(a->shift + c, left));
    dx = vfma(vload_upto(a->slope + c, left), g, dx);
    if (a->stream)
        vput_upto(a->dx + i, true, dx, left);
    else
        vgive_upto(a->dx + i, a->write, dx, left);
}

VT_INLINE void backward_as(const struct batchnorm *a, int64_t first, int64_t last,
                           const vt_activation_kind kind)
{
    const int64_t cols = a->sizes->cols;
    for (int64_t r = first; r < last; r++) {
        int64_t c = 0;
        for (; c + VT_LANES <= cols; c += VT_LANES)
            backward_lanes(a, r, c, VT_LANES, kind);
        if (c < cols)
            backward_lanes(a, r, c, cols - c, kind);
    }
}

static void backward_rows(void *arg, int64_t first, int64_t last, int worker)
{
    const struct batchnorm *a = arg;
    (void)worker;
    VT_BY_ACTIVATION(a->sizes->activation, backward_as, a, first, last);
    vstream_end();
}

void VT_CPU(batchnorm_bwd)(vt_dev *d, vt_buf dx, bool write, float *dw, float *db, vt_buf y,
                           vt_buf dy, vt_buf x, const float *w, const double *mean,
                           const double *rstd, const float *line, const vt_batchnorm_sizes *sizes,
                           void *scratch)
{
    int64_t rows = sizes->rows, cols = sizes->cols;
    struct batchnorm a = {.y = vt_floats(y),
                          .x = vt_floats(x),
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
    vt_grid_run(vt_dev_pool(d), rows, a.chunk_rows, sum_gradients, &a);
    vt_grid_run(vt_dev_pool(d), cols, COLUMN_CHUNK, finish_gradients, &a);
    a.stream = write && a.dx != a.dy && streams(&a, a.dx);
    a.stream_y = a.y != a.x && streams(&a, a.y);
    if (a.dx || a.y)
        vt_grid_run(vt_dev_pool(d), rows, vt_chunk_items(rows, cols), backward_rows, &a);
}
