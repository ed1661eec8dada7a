/* Sums of a matrix's columns, for the gradients of biases. */
#ifndef VT_CUDA_COLUMN_SUMS_CUH
#define VT_CUDA_COLUMN_SUMS_CUH

#include "kernels/cuda/common.cuh"

/* A block sums VT_WARP columns of one chunk of rows: LINES threads a column, each every LINES-th
 * row. */
enum { VT_COLUMN_LINES = 16, VT_COLUMN_THREADS = VT_COLUMN_LINES * VT_WARP };

VT_KERNEL sum_columns(float *partial, const float *x, int64_t rows, int64_t cols, int64_t height,
                      int64_t across)
{
    float *room = vt_shared<float>();
    const int lane = (int)threadIdx.x % VT_WARP, line = (int)threadIdx.x / VT_WARP;
    const int64_t chunk = blockIdx.x / across, column = blockIdx.x % across * VT_WARP + lane;
    const int64_t end = (chunk + 1) * height < rows ? (chunk + 1) * height : rows;
    float sum[4] = {0, 0, 0, 0};
    if (column < cols) {
        int64_t row = chunk * height + line;
        for (; row + 3 * VT_COLUMN_LINES < end; row += 4 * VT_COLUMN_LINES)
            for (int i = 0; i < 4; i++)
                sum[i] += x[(row + i * VT_COLUMN_LINES) * cols + column];
        for (; row < end; row += VT_COLUMN_LINES)
            sum[0] += x[row * cols + column];
    }
    room[threadIdx.x] = (sum[0] + sum[1]) + (sum[2] + sum[3]);
    vt_sync();
    if (line > 0 || column >= cols)
        return;
    float all = room[lane];
    for (int i = 1; i < VT_COLUMN_LINES; i++)
        all += room[i * VT_WARP + lane];
    partial[chunk * cols + column] = all;
}

VT_KERNEL add_column_sums(float *to, const float *partial, int64_t cols, int64_t chunks)
{
    const int64_t column = vt_index();
    if (column >= cols)
        return;
    float sum = 0;
    for (int64_t chunk = 0; chunk < chunks; chunk++)
        sum += partial[chunk * cols + column];
    to[column] += sum;
}

/* to (cols) += the sum of the rows of x (rows, cols). partial: chunks * cols floats; no more
 * chunks are made than leave each a row. */
static inline void vt_add_columns(vt_dev *d, float *to, const float *x, int64_t rows, int64_t cols,
                                  int64_t chunks, float *partial)
{
    if (rows == 0 || cols == 0)
        return;
    const int64_t height = vt_ceil_div(rows, chunks), across = vt_ceil_div(cols, VT_WARP);
    const int64_t n = vt_ceil_div(rows, height);
    VT_LAUNCH(d, sum_columns, dim3((unsigned)(n * across)), VT_COLUMN_THREADS,
              VT_COLUMN_THREADS * sizeof(float), partial, x, rows, cols, height, across);
    VT_LAUNCH(d, add_column_sums, vt_blocks(cols), VT_THREADS, 0, to, partial, cols, n);
}

#endif
