/* Linear layers: products of whole matrices by the vendor's library. */
#include "kernels/cuda/column_sums.cuh"

/* The gradient of a weight is a small matrix of long sums. Where its tiles would leave most of the
 * GPU idle the rows are cut into parts, whose products stand side by side and are added in order.
 */
enum {
    TILE = 128,             /* side of a tile that one block is thought to compute */
    TILES = 264,            /* of all parts together, wanted */
    MOST_PARTS = 64,        /* ... */
    PART_ROWS = 256,        /* of a part, at least */
    PARTS_FLOATS = 1 << 24, /* at most, of all parts together */
};

static int64_t smaller(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static int64_t count_parts(int64_t rows, int64_t out, int64_t in)
{
    const int64_t tiles = vt_ceil_div(out, TILE) * vt_ceil_div(in, TILE);
    if (out == 0 || in == 0)
        return 1;
    int64_t parts = smaller(TILES / tiles, MOST_PARTS);
    parts = smaller(parts, rows / PART_ROWS);
    parts = smaller(parts, PARTS_FLOATS / (out * in));
    return parts > 1 ? parts : 1;
}

size_t VT_CUDA(linear_scratch)(int64_t rows, int64_t out, int64_t in, bool backward)
{
    if (!backward)
        return 0;
    const int64_t parts = count_parts(rows, out, in);
    const int64_t partial = parts > 1 ? parts * out * in : 0, sums = vt_row_chunks(rows) * out;
    return (size_t)(partial > sums ? partial : sums) * sizeof(float);
}

/* What is left of a product whose sums have no terms. */
VT_KERNEL fill_rows(float *c, const float *bias, int64_t elements, int64_t n)
{
    const int64_t i = vt_index();
    if (i < elements)
        c[i] = bias ? bias[i % n] : 0.0f;
}

static void multiply(vt_dev *d, const vt_matmul *product)
{
    const int64_t elements = product->m * product->n;
    if (elements == 0)
        return;
    if (product->k > 0)
        vt_gpu_matmul(vt_dev_gpu(d), product);
    else if (!product->add)
        VT_LAUNCH(d, fill_rows, vt_blocks(elements), VT_THREADS, 0, product->c, product->bias,
                  elements, product->n);
}

void VT_CUDA(linear_fwd)(vt_dev *d, vt_buf y, vt_buf x, vt_buf w, const float *b, int64_t rows,
                         int64_t out, int64_t in, void *)
{
    vt_matmul p = {};
    p.c = vt_floats(y);
    p.a = vt_floats(x);
    p.b = vt_floats(w);
    p.b_transposed = true;
    p.bias = b;
    p.m = rows;
    p.n = out;
    p.k = in;
    multiply(d, &p);
}

void VT_CUDA(linear_bwd_x)(vt_dev *d, vt_buf dx, bool write, vt_buf dy, vt_buf w, int64_t rows,
                           int64_t out, int64_t in, void *)
{
    vt_matmul p = {};
    p.c = vt_floats(dx);
    p.a = vt_floats(dy);
    p.b = vt_floats(w);
    p.add = !write;
    p.m = rows;
    p.n = in;
    p.k = out;
    multiply(d, &p);
}

VT_KERNEL add_parts(float *dw, const float *partial, int64_t elements, int64_t parts)
{
    const int64_t i = vt_index();
    if (i >= elements)
        return;
    float sum = partial[i];
    for (int64_t part = 1; part < parts; part++)
        sum += partial[part * elements + i];
    dw[i] += sum;
}

static void add_weight_gradient(vt_dev *d, float *dw, const float *dy, const float *x, int64_t rows,
                                int64_t out, int64_t in, float *partial)
{
    const int64_t parts = count_parts(rows, out, in), height = rows / parts / 16 * 16; /* aligned */
    vt_matmul p = {};
    p.a_transposed = true;
    p.m = out;
    p.n = in;
    int64_t done = 0;
    if (parts > 1) {
        p.c = partial;
        p.a = dy;
        p.b = x;
        p.k = height;
        p.batch = parts;
        multiply(d, &p);
        VT_LAUNCH(d, add_parts, vt_blocks(out * in), VT_THREADS, 0, dw, partial, out * in, parts);
        done = parts * height;
    }
    p.c = dw;
    p.a = dy + done * out;
    p.b = x + done * in;
    p.k = rows - done;
    p.batch = 1;
    p.add = true;
    multiply(d, &p);
}

void VT_CUDA(linear_bwd_w)(vt_dev *d, float *dw, float *db, vt_buf dy, vt_buf x, int64_t rows,
                           int64_t out, int64_t in, void *scratch)
{
    float *partial = static_cast<float *>(scratch);
    if (dw)
        add_weight_gradient(d, dw, vt_floats(dy), vt_floats(x), rows, out, in, partial);
    if (db)
        vt_add_columns(d, db, vt_floats(dy), rows, out, vt_row_chunks(rows), partial);
}
