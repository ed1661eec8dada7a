/*
 * Layer norm: a warp takes a row, lane l of it columns l, l + 32, ... Up to 32 values a lane stay
 * in registers between the passes over a row; longer rows (VALUES = 0) are read again from the
 * cache.
 */
#include "kernels/cuda/common.cuh"

enum {
    WARPS = VT_THREADS / VT_WARP,
    MOST_VALUES = 32, /* of a lane, in registers */
    ADD_LANES = 32,   /* threads that add the partial sums of a column */
};

/* Value k of a lane in a row, which is column c. */
template <int VALUES, typename T>
VT_DEVICE float value_at(const float *held, const T *row, int64_t cols, int k, int64_t c)
{
    return VALUES > 0 ? held[k] : c < cols ? vt_get(&row[c]) : 0.0f;
}
template <int VALUES> VT_DEVICE int values_of(int64_t cols)
{
    return VALUES > 0 ? VALUES : (int)((cols + VT_WARP - 1) / VT_WARP);
}

/* The same steps forward and when y is made again: its bits are the same. */
VT_DEVICE float place_value(float xhat, float w, float b)
{
    return fmaf(xhat, w, b);
}

template <int VALUES, typename T>
VT_KERNEL normalise(T *y, float *mean, float *rstd, const T *x, const float *w, const float *b,
                    int64_t rows, int64_t cols, float eps)
{
    const int64_t row = ((int64_t)blockIdx.x * blockDim.x + threadIdx.x) / VT_WARP;
    const int lane = (int)threadIdx.x % VT_WARP, values = values_of<VALUES>(cols);
    float held[VALUES > 0 ? VALUES : 1], sum = 0, squares = 0;
    if (row >= rows)
        return;
    x += row * cols;
    y += row * cols;
    for (int k = 0; k < VALUES; k++) {
        const int64_t c = lane + (int64_t)k * VT_WARP;
        held[k] = c < cols ? vt_get(&x[c]) : 0.0f;
    }
    for (int k = 0; k < values; k++)
        sum += value_at<VALUES>(held, x, cols, k, lane + (int64_t)k * VT_WARP);
    const float m = vt_warp_sum(sum) / (float)cols;
    for (int k = 0; k < values; k++) {
        const int64_t c = lane + (int64_t)k * VT_WARP;
        const float diff = value_at<VALUES>(held, x, cols, k, c) - m;
        squares = c < cols ? fmaf(diff, diff, squares) : squares;
    }
    const float s = 1.0f / sqrtf(vt_warp_sum(squares) / (float)cols + eps);
    if (lane == 0) {
        mean[row] = m;
        rstd[row] = s;
    }
    for (int k = 0; k < values; k++) {
        const int64_t c = lane + (int64_t)k * VT_WARP;
        if (c < cols)
            vt_put(&y[c], place_value((value_at<VALUES>(held, x, cols, k, c) - m) * s, w[c], b[c]));
    }
}

template <typename T> struct backward {
    T *dx, *y;
    float *partial; /* [chunk][2][cols]: dw's sums, db's; NULL if nobody wants them */
    const T *dy, *x;
    const float *w, *b, *mean, *rstd;
    int64_t rows, cols, chunk_rows;
    bool write;
};

/* Sums of a column over the block's warps, each of which has its own in `mine`. */
template <int VALUES>
VT_DEVICE void add_warps(float *to, const float *mine, float *room, int64_t cols)
{
    const int lane = (int)threadIdx.x % VT_WARP, warp = (int)threadIdx.x / VT_WARP;
    vt_sync(); /* room is free */
    for (int k = 0; k < VALUES; k++) {
        const int64_t c = lane + (int64_t)k * VT_WARP;
        if (c < cols)
            room[warp * cols + c] = mine[k];
    }
    vt_sync();
    for (int64_t c = threadIdx.x; c < cols; c += blockDim.x) {
        float sum = room[c];
        for (int i = 1; i < WARPS; i++)
            sum += room[i * cols + c];
        to[c] = sum;
    }
}

/* dx = rstd (g - mean(g) - xhat mean(g xhat)) with g = dy w, a block's rows one after the other in
 * each of its warps. dx may lie where dy does: a lane writes what it alone has read. A long row's
 * sums lie in `partial` from the beginning, and the block is one warp. */
template <int VALUES, typename T> VT_KERNEL go_back(backward<T> a)
{
    enum { HELD = VALUES > 0 ? VALUES : 1 };
    const int lane = (int)threadIdx.x % VT_WARP, values = values_of<VALUES>(a.cols);
    const int64_t cols = a.cols, first = blockIdx.x * a.chunk_rows;
    const int64_t last = first + a.chunk_rows < a.rows ? first + a.chunk_rows : a.rows;
    float *sums = a.partial ? a.partial + blockIdx.x * 2 * cols : nullptr;
    float held_g[HELD], held_x[HELD], dw[HELD], db[HELD];
    for (int k = 0; k < VALUES; k++)
        dw[k] = db[k] = 0;
    for (int64_t c = lane; VALUES == 0 && sums && c < 2 * cols; c += VT_WARP)
        sums[c] = 0;
    vt_warp_sync();
    for (int64_t r = first + threadIdx.x / VT_WARP; r < last; r += blockDim.x / VT_WARP) {
        const T *x = a.x + r * cols, *dy = a.dy + r * cols;
        const float m = a.mean[r], s = a.rstd[r];
        float sum = 0, dot = 0;
        for (int k = 0; k < VALUES; k++) {
            const int64_t c = lane + (int64_t)k * VT_WARP;
            held_g[k] = c < cols ? vt_get(&dy[c]) : 0.0f;
            held_x[k] = c < cols ? vt_get(&x[c]) : 0.0f;
        }
        for (int k = 0; k < values; k++) {
            const int64_t c = lane + (int64_t)k * VT_WARP;
            const float xhat = (value_at<VALUES>(held_x, x, cols, k, c) - m) * s;
            const float g = value_at<VALUES>(held_g, dy, cols, k, c);
            const float scaled = c < cols ? g * a.w[c] : 0.0f;
            sum += scaled;
            dot = fmaf(scaled, xhat, dot);
            if (VALUES > 0) {
                held_x[k] = xhat;
                dw[k] = fmaf(g, xhat, dw[k]);
                db[k] += g;
            } else if (sums && c < cols) {
                sums[c] = fmaf(g, xhat, sums[c]);
                sums[cols + c] += g;
            }
        }
        const float mean_g = vt_warp_sum(sum) / (float)cols;
        const float mean_dot = vt_warp_sum(dot) / (float)cols;
        for (int k = 0; k < values; k++) {
            const int64_t c = lane + (int64_t)k * VT_WARP;
            if (c >= cols)
                continue;
            const float xhat = VALUES > 0 ? held_x[k] : (vt_get(&x[c]) - m) * s;
            const float g = value_at<VALUES>(held_g, dy, cols, k, c) * a.w[c];
            if (a.dx)
                vt_give(&a.dx[r * cols + c], a.write, s * fmaf(-xhat, mean_dot, g - mean_g));
            if (a.y)
                vt_put(&a.y[r * cols + c], place_value(xhat, a.w[c], a.b[c]));
        }
    }
    if (VALUES > 0 && sums) {
        add_warps<VALUES>(sums, dw, vt_shared<float>(), cols);
        add_warps<VALUES>(sums + cols, db, vt_shared<float>(), cols);
    }
}

/* dw (blockIdx.y = 0) and db: 32 columns a block, each with ADD_LANES threads. */
VT_KERNEL add_chunks(float *dw, float *db, const float *partial, int64_t chunks, int64_t cols)
{
    float *to = blockIdx.y == 0 ? dw : db, *room = vt_shared<float>(), sum = 0;
    const int lane = (int)threadIdx.x % VT_WARP, part = (int)threadIdx.x / VT_WARP;
    const int64_t c = (int64_t)blockIdx.x * VT_WARP + lane;
    if (!to)
        return;
    for (int64_t chunk = part; c < cols && chunk < chunks; chunk += ADD_LANES)
        sum += partial[(chunk * 2 + blockIdx.y) * cols + c];
    room[threadIdx.x] = sum;
    vt_sync();
    if (part > 0 || c >= cols)
        return;
    for (int i = 1; i < ADD_LANES; i++)
        sum += room[i * VT_WARP + lane];
    to[c] += sum;
}

#define FOR_VALUES(X) X(1) X(2) X(3) X(4) X(6) X(8) X(12) X(16) X(24) X(32)

template <typename T>
using forward_kernel = void(T *, float *, float *, const T *, const float *, const float *, int64_t,
                            int64_t, float);
template <typename T> static forward_kernel<T> *choose_forward(int64_t cols)
{
#define X(n)                                                                                       \
    if (cols <= n * VT_WARP)                                                                       \
        return normalise<n, T>;
    FOR_VALUES(X)
#undef X
    return normalise<0, T>;
}

template <typename T> static void (*choose_backward(int64_t cols))(backward<T>)
{
#define X(n)                                                                                       \
    if (cols <= n * VT_WARP)                                                                       \
        return go_back<n, T>;
    FOR_VALUES(X)
#undef X
    return go_back<0, T>;
}

static bool is_long(int64_t cols)
{
    return cols > MOST_VALUES * VT_WARP;
}

/* Blocks of the backward pass, each with its own sums: some waves on any GPU, if there are as many
 * rows, and two or more rows a warp. */
static int64_t rows_of_chunk(int64_t rows, int64_t cols)
{
    const int64_t most = is_long(cols) ? 1024 : 512;
    const int64_t chunks = vt_ceil_div(rows, 2 * (is_long(cols) ? 1 : WARPS));
    return vt_ceil_div(rows, chunks < 1 ? 1 : chunks > most ? most : chunks);
}

size_t VT_CUDA(layernorm_scratch)(int64_t rows, int64_t cols)
{
    return (size_t)(vt_ceil_div(rows, rows_of_chunk(rows, cols)) * 2 * cols) * sizeof(float);
}

void VT_CUDA(layernorm_fwd)(vt_dev *d, vt_buf y, float *mean, float *rstd, vt_buf x, const float *w,
                            const float *b, int64_t rows, int64_t cols, float eps)
{
    VT_BY_TYPE(x, T,
               VT_LAUNCH(d, choose_forward<T>(cols), vt_blocks(rows * VT_WARP), VT_THREADS, 0,
                         vt_values<T>(y), mean, rstd, vt_values<T>(x), w, b, rows, cols, eps));
}

void VT_CUDA(layernorm_bwd)(vt_dev *d, vt_buf dx, bool write, float *dw, float *db, vt_buf y,
                            vt_buf dy, vt_buf x, const float *w, const float *b, const float *mean,
                            const float *rstd, int64_t rows, int64_t cols, float *scratch)
{
    const int64_t chunk_rows = rows_of_chunk(rows, cols), chunks = vt_ceil_div(rows, chunk_rows);
    const size_t room = is_long(cols) ? 0 : (size_t)(WARPS * cols) * sizeof(float);
    VT_BY_TYPE(x, T,
               const backward<T> a = {vt_values<T>(dx), vt_values<T>(y),
                                      dw || db ? scratch : nullptr, vt_values<T>(dy),
                                      vt_values<T>(x), w, b, mean, rstd, rows, cols, chunk_rows,
                                      write};
               VT_LAUNCH(d, choose_backward<T>(cols), dim3((unsigned)chunks),
                         (unsigned)(is_long(cols) ? VT_WARP : VT_THREADS), room, a));
    if (dw || db)
        VT_LAUNCH(d, add_chunks, dim3((unsigned)vt_ceil_div(cols, VT_WARP), 2), VT_WARP * ADD_LANES,
                  VT_WARP * ADD_LANES * sizeof(float), dw, db, scratch, chunks, cols);
}
