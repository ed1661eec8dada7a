/*
 * Batch norm. A block has `width` columns side by side, a power of two up to 32, and as many rows
 * at a time as its threads reach; it goes down a chunk of rows. Sums are in double throughout: of
 * x - x[0], which is exact there and lies near the mean, so that one pass gives mean and variance
 * without cancellation, wherever the rows lie.
 */
#include "kernels/cuda/activation.cuh"

enum {
    WARPS = VT_THREADS / VT_WARP,
    AT_ONCE = 4,         /* rows whose values a thread has under way */
    SUM_BLOCKS = 1024,   /* blocks wanted: some waves of a GPU */
    APPLY_BLOCKS = 4096, /* these keep no sums */
};

/* How rows and columns are shared out. */
struct division {
    int64_t rows, cols, chunk_rows;
    int width, chunks, groups;
};

static division divide(int64_t rows, int64_t cols, int64_t blocks)
{
    division v = {rows, cols, rows, 1, 1, 1};
    while (v.width < VT_WARP && v.width < cols)
        v.width *= 2;
    v.groups = (int)vt_ceil_div(cols, v.width);
    const int64_t most = vt_ceil_div(rows, AT_ONCE * (VT_THREADS / v.width));
    int64_t chunks = vt_ceil_div(blocks, v.groups);
    chunks = chunks > most ? most : chunks;
    v.chunk_rows = vt_ceil_div(rows, chunks < 1 ? 1 : chunks);
    v.chunks = (int)vt_ceil_div(rows, v.chunk_rows);
    return v;
}
static dim3 grid_of(const division &v)
{
    return dim3((unsigned)v.groups, (unsigned)v.chunks);
}

/* This thread's column, first row, the row behind its chunk, and the step from row to row. */
struct place {
    int64_t c, first, end, step;
};
VT_DEVICE place find_place(const division &v)
{
    const int64_t start = blockIdx.y * v.chunk_rows, end = start + v.chunk_rows;
    place p;
    p.c = (int64_t)blockIdx.x * v.width + threadIdx.x % v.width;
    p.first = start + threadIdx.x / v.width;
    p.end = p.c >= v.cols ? 0 : end < v.rows ? end : v.rows;
    p.step = VT_THREADS / v.width;
    return p;
}

/* The block's two sums of each column go to partial[2][cols][chunks]. */
VT_DEVICE void give_sums(double *partial, const division &v, int64_t c, double sum, double dot)
{
    const int lane = (int)threadIdx.x % VT_WARP, warp = (int)threadIdx.x / VT_WARP;
    double *room = vt_shared<double>(); /* [warp][2][width] */
    for (int mask = v.width; mask < VT_WARP; mask *= 2) {
        sum += vt_shfl_xor(sum, mask);
        dot += vt_shfl_xor(dot, mask);
    }
    if (lane < v.width) {
        room[(2 * warp) * v.width + lane] = sum;
        room[(2 * warp + 1) * v.width + lane] = dot;
    }
    vt_sync();
    if ((int)threadIdx.x >= v.width || c >= v.cols)
        return;
    for (int i = 1; i < WARPS; i++) {
        sum += room[(2 * i) * v.width + lane];
        dot += room[(2 * i + 1) * v.width + lane];
    }
    partial[c * v.chunks + blockIdx.y] = sum;
    partial[(v.cols + c) * v.chunks + blockIdx.y] = dot;
}

/* A column's sum over the chunks, for the whole warp. */
VT_DEVICE double add_chunks(const double *partial, int chunks)
{
    double sum = 0;
    for (int i = (int)threadIdx.x % VT_WARP; i < chunks; i += VT_WARP)
        sum += partial[i];
    return vt_warp_sum(sum);
}

/* sum(x - x[0]) and sum((x - x[0])^2) */
template <typename T> VT_KERNEL sum_values(double *partial, const T *x, division v)
{
    const place p = find_place(v);
    const double start = p.c < v.cols ? (double)vt_get(&x[p.c]) : 0;
    double sum = 0, squares = 0;
    for (int64_t r = p.first; r < p.end; r += AT_ONCE * p.step) {
        float value[AT_ONCE];
        for (int i = 0; i < AT_ONCE; i++)
            value[i] = r + i * p.step < p.end ? vt_get(&x[(r + i * p.step) * v.cols + p.c]) : 0.0f;
        for (int i = 0; i < AT_ONCE; i++) {
            const double off = r + i * p.step < p.end ? (double)value[i] - start : 0;
            sum += off;
            squares = fma(off, off, squares);
        }
    }
    give_sums(partial, v, p.c, sum, squares);
}

template <typename T> struct statistics {
    double *mean, *rstd;
    float *line, *running_mean, *running_var;
    const T *x;
    const float *w, *b;
    const double *partial; /* NULL: the running statistics are taken */
    int64_t rows, cols;
    int chunks;
    double eps, momentum;
    const vt_step *step;
};

/* A warp a column: its statistics, and the line that all its values lie on. */
template <typename T> VT_KERNEL find_statistics(statistics<T> a)
{
    const int64_t c = vt_index() / VT_WARP;
    if (c >= a.cols)
        return;
    const double rows = (double)a.rows, old_mean = (double)a.running_mean[c];
    const double old_var = (double)a.running_var[c];
    double mean = old_mean, var = old_var;
    if (a.partial) {
        const double off = add_chunks(a.partial + c * a.chunks, a.chunks) / rows;
        double squares = add_chunks(a.partial + (a.cols + c) * a.chunks, a.chunks);
        squares -= off * off * rows;
        if (squares < 0) /* equal values, and their rounding */
            squares = 0;
        mean = (double)vt_get(&a.x[c]) + off;
        var = squares / rows;
        if (threadIdx.x % VT_WARP == 0 && !a.step->stopped) {
            const double unbiased = squares / (rows > 1 ? rows - 1 : 1);
            a.running_mean[c] = (float)((1 - a.momentum) * old_mean + a.momentum * mean);
            a.running_var[c] = (float)((1 - a.momentum) * old_var + a.momentum * unbiased);
        }
    }
    if (threadIdx.x % VT_WARP != 0)
        return;
    const double rstd = 1 / sqrt(var + a.eps), slope = rstd * (double)a.w[c];
    const float centre = (float)mean;
    a.mean[c] = mean;
    a.rstd[c] = rstd;
    a.line[c] = centre;
    a.line[a.cols + c] = (float)slope;
    a.line[2 * a.cols + c] = (float)((double)a.b[c] + slope * ((double)centre - mean));
}

/* A column of the forward pass: y = slope (x - centre) + shift before its activation. */
struct column {
    float centre, slope, shift;
};
VT_DEVICE column column_at(const float *line, int64_t cols, int64_t c)
{
    return {line[c], line[cols + c], line[2 * cols + c]};
}
VT_DEVICE float value_on(const column &line, float x)
{
    return fmaf(line.slope, x - line.centre, line.shift);
}

template <typename T>
VT_KERNEL apply(T *y, const T *x, const float *line, vt_activation_kind kind, division v)
{
    const place p = find_place(v);
    if (p.c >= v.cols)
        return;
    const column on = column_at(line, v.cols, p.c);
    for (int64_t r = p.first; r < p.end; r += AT_ONCE * p.step) {
        float value[AT_ONCE];
        for (int i = 0; i < AT_ONCE; i++)
            value[i] = r + i * p.step < p.end ? vt_get(&x[(r + i * p.step) * v.cols + p.c]) : 0.0f;
        for (int i = 0; i < AT_ONCE; i++)
            if (r + i * p.step < p.end)
                vt_put(&y[(r + i * p.step) * v.cols + p.c],
                       vt_activate(value_on(on, value[i]), kind));
    }
}

template <typename T> struct backward {
    T *dx, *y; /* y: the value, made again; each NULL if not wanted */
    float *dw, *db;
    double *partial;
    float *coefficient; /* [3][cols]: slope, pull, shift */
    const T *dy, *x;
    const float *w, *line;
    const double *mean, *rstd;
    vt_activation_kind kind;
    bool write, training;
};

/* The gradient before the activation, if there is one. */
template <typename T>
VT_DEVICE float before_activation(const backward<T> &a, const column &on, float x, float dy)
{
    return a.kind == VT_ACT_NONE ? dy : dy * vt_activate_slope(value_on(on, x), a.kind);
}

/* sum(g) and sum(g (x - mean)) */
template <typename T> VT_KERNEL sum_gradients(backward<T> a, division v)
{
    const place p = find_place(v);
    const bool exists = p.c < v.cols;
    const double mean = exists ? a.mean[p.c] : 0;
    const column on = exists ? column_at(a.line, v.cols, p.c) : column{0, 0, 0};
    double sum = 0, dot = 0;
    for (int64_t r = p.first; r < p.end; r += AT_ONCE * p.step) {
        float x[AT_ONCE], g[AT_ONCE];
        for (int i = 0; i < AT_ONCE; i++) {
            const int64_t at = (r + i * p.step) * v.cols + p.c;
            x[i] = r + i * p.step < p.end ? vt_get(&a.x[at]) : 0.0f;
            g[i] = r + i * p.step < p.end ? vt_get(&a.dy[at]) : 0.0f;
        }
        for (int i = 0; i < AT_ONCE; i++) {
            if (r + i * p.step >= p.end)
                continue;
            const double value = (double)before_activation(a, on, x[i], g[i]);
            sum += value;
            dot = fma(value, (double)x[i] - mean, dot);
        }
    }
    give_sums(a.partial, v, p.c, sum, dot);
}

/* dx = w rstd (g - mean(g) - xhat mean(g xhat)), the means 0 where the statistics are constants,
 * sorted by g, x - centre and 1. A warp a column. */
template <typename T> VT_KERNEL find_gradients(backward<T> a, division v)
{
    const int64_t c = vt_index() / VT_WARP;
    if (c >= v.cols)
        return;
    const double sum = add_chunks(a.partial + c * v.chunks, v.chunks);
    const double raw = add_chunks(a.partial + (v.cols + c) * v.chunks, v.chunks);
    if (threadIdx.x % VT_WARP != 0)
        return;
    const double rstd = a.rstd[c], dot = rstd * raw, share = 1 / (double)v.rows;
    const double slope = rstd * (double)a.w[c], off = (double)(float)a.mean[c] - a.mean[c];
    const double pull = a.training ? -slope * rstd * dot * share : 0;
    const double mean_g = a.training ? sum * share : 0;
    a.coefficient[c] = (float)slope;
    a.coefficient[v.cols + c] = (float)pull;
    a.coefficient[2 * v.cols + c] = (float)(pull * off - slope * mean_g);
    if (a.dw)
        a.dw[c] = (float)((double)a.dw[c] + dot);
    if (a.db)
        a.db[c] = (float)((double)a.db[c] + sum);
}

/* dx = slope g + pull (x - centre) + shift, and y again */
template <typename T> VT_KERNEL apply_gradients(backward<T> a, division v)
{
    const place p = find_place(v);
    if (p.c >= v.cols)
        return;
    const float slope = a.coefficient[p.c];
    const float pull = a.coefficient[v.cols + p.c], shift = a.coefficient[2 * v.cols + p.c];
    const column on = column_at(a.line, v.cols, p.c);
    for (int64_t r = p.first; r < p.end; r += AT_ONCE * p.step) {
        float x[AT_ONCE], g[AT_ONCE];
        for (int i = 0; i < AT_ONCE; i++) {
            const int64_t at = (r + i * p.step) * v.cols + p.c;
            x[i] = r + i * p.step < p.end ? vt_get(&a.x[at]) : 0.0f;
            g[i] = r + i * p.step < p.end ? vt_get(&a.dy[at]) : 0.0f;
        }
        for (int i = 0; i < AT_ONCE; i++) {
            if (r + i * p.step >= p.end)
                continue;
            const int64_t at = (r + i * p.step) * v.cols + p.c;
            const float value = before_activation(a, on, x[i], g[i]);
            if (a.dx)
                vt_give(&a.dx[at], a.write,
                        fmaf(slope, value, fmaf(pull, x[i] - on.centre, shift)));
            if (a.y)
                vt_put(&a.y[at], vt_activate(value_on(on, x[i]), a.kind));
        }
    }
}

/* Two sums a column in double from each chunk, and three coefficients a column. */
size_t VT_CUDA(batchnorm_scratch)(int64_t rows, int64_t cols)
{
    const size_t sums = 2 * (size_t)divide(rows, cols, SUM_BLOCKS).chunks;
    return (size_t)cols * (sums * sizeof(double) + 3 * sizeof(float));
}

static float *coefficients_in(void *scratch, const division &v)
{
    return reinterpret_cast<float *>(static_cast<double *>(scratch) + 2 * v.cols * v.chunks);
}

enum { ROOM_BYTES = WARPS * 2 * VT_WARP * sizeof(double) };

template <typename T>
static void go_forward(vt_dev *d, T *y, const statistics<T> &a, const vt_batchnorm_sizes *sizes,
                       const division &sums, double *partial)
{
    const division rows = divide(sizes->rows, sizes->cols, APPLY_BLOCKS);
    if (partial)
        VT_LAUNCH(d, sum_values<T>, grid_of(sums), VT_THREADS, ROOM_BYTES, partial, a.x, sums);
    VT_LAUNCH(d, find_statistics<T>, vt_blocks(sizes->cols * VT_WARP), VT_THREADS, 0, a);
    VT_LAUNCH(d, apply<T>, grid_of(rows), VT_THREADS, 0, y, a.x, a.line, sizes->activation, rows);
}

void VT_CUDA(batchnorm_fwd)(vt_dev *d, vt_buf y, double *mean, double *rstd, float *line,
                            float *running_mean, float *running_var, vt_buf x, const float *w,
                            const float *b, const vt_batchnorm_sizes *sizes, const vt_step *step,
                            void *scratch)
{
    const division sums = divide(sizes->rows, sizes->cols, SUM_BLOCKS);
    double *partial = sizes->training ? static_cast<double *>(scratch) : nullptr;
    VT_BY_TYPE(y, T,
               const statistics<T> a = {mean, rstd, line, running_mean, running_var,
                                        vt_values<T>(x), w, b, partial, sizes->rows, sizes->cols,
                                        sums.chunks, (double)sizes->eps, (double)sizes->momentum,
                                        step};
               go_forward(d, vt_values<T>(y), a, sizes, sums, partial));
}

template <typename T>
static void go_backward(vt_dev *d, const backward<T> &a, const vt_batchnorm_sizes *sizes)
{
    const division sums = divide(sizes->rows, sizes->cols, SUM_BLOCKS);
    const division rows = divide(sizes->rows, sizes->cols, APPLY_BLOCKS);
    VT_LAUNCH(d, sum_gradients<T>, grid_of(sums), VT_THREADS, ROOM_BYTES, a, sums);
    VT_LAUNCH(d, find_gradients<T>, vt_blocks(sizes->cols * VT_WARP), VT_THREADS, 0, a, sums);
    if (a.dx || a.y)
        VT_LAUNCH(d, apply_gradients<T>, grid_of(rows), VT_THREADS, 0, a, rows);
}

void VT_CUDA(batchnorm_bwd)(vt_dev *d, vt_buf dx, bool write, float *dw, float *db, vt_buf y,
                            vt_buf dy, vt_buf x, const float *w, const double *mean,
                            const double *rstd, const float *line, const vt_batchnorm_sizes *sizes,
                            void *scratch)
{
    const division sums = divide(sizes->rows, sizes->cols, SUM_BLOCKS);
    VT_BY_TYPE(dy, T,
               const backward<T> a = {vt_values<T>(dx), vt_values<T>(y), dw, db,
                                      static_cast<double *>(scratch),
                                      coefficients_in(scratch, sums), vt_values<T>(dy),
                                      vt_values<T>(x), w, line, mean, rstd, sizes->activation,
                                      write, sizes->training};
               go_backward(d, a, sizes));
}
