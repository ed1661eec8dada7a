/* Residual sums with drop path, and dropout: masks are draws, the same on every backend. */
#include "kernels/cuda/places.cuh"

enum { ROUNDS = 4 }; /* packs a thread */

struct draws {
    vt_draw_stream stream;
    const vt_step *step;
    uint32_t threshold;
    float scale; /* of what is kept */
};

static draws find_draws(float rate, vt_draw_stream stream, const vt_step *step)
{
    return {stream, step, vt_drop_threshold(rate), 1.0f / (1.0f - rate)};
}

/*
 * The packs of this thread: VT_THREADS apart in its block's piece of an image, so that an image's
 * draw is made once for all of them.
 */
struct piece {
    int64_t image, first, last;
};
VT_DEVICE piece find_piece(int64_t pieces, int64_t n)
{
    const int64_t image = blockIdx.x / pieces, first = (blockIdx.x - image * pieces) * VT_THREADS;
    const int64_t from = image * n + first * ROUNDS + threadIdx.x, end = (image + 1) * n;
    const int64_t last = from + VT_THREADS * ROUNDS;
    return {image, from, last < end ? last : end};
}
static int64_t count_pieces(int64_t n)
{
    return vt_ceil_div(n, VT_THREADS * ROUNDS);
}

/* What the image's branch is multiplied by. */
VT_DEVICE float path_scale(draws d, int64_t image)
{
    return d.threshold == 0 || vt_draw_word(d.step, d.stream, image, 0) >= d.threshold ? d.scale
                                                                                       : 0.0f;
}

template <typename T, int V>
VT_KERNEL add_branch(T *y, const T *x, const T *f, int64_t pieces, int64_t n, draws draw)
{
    const piece mine = find_piece(pieces, n);
    const float scale = path_scale(draw, mine.image);
    for (int64_t i = mine.first; i < mine.last; i += VT_THREADS) {
        vt_pack<float, V> value = vt_load<V>(x + i * V);
        const vt_pack<float, V> branch = vt_load<V>(f + i * V);
        for (int v = 0; v < V; v++)
            value.at[v] = fmaf(scale, branch.at[v], value.at[v]);
        vt_store<V>(y + i * V, value);
    }
}

void VT_CUDA(residual_fwd)(vt_dev *d, vt_buf y, vt_buf x, vt_buf f, int64_t batch, int64_t n,
                           float rate, vt_draw_stream stream, const vt_step *step)
{
    if (batch * n == 0)
        return;
    VT_BY_PACK(y, T, V, VT_PACK, n,
               VT_LAUNCH(d, (add_branch<T, V>), dim3((unsigned)(batch * count_pieces(n / V))),
                         VT_THREADS, 0, vt_values<T>(y), vt_values<T>(x), vt_values<T>(f),
                         count_pieces(n / V), n / V, find_draws(rate, stream, step)));
}

template <typename T, int V>
VT_KERNEL part_branch(T *dx, bool write_x, T *df, bool write_f, const T *dy, int64_t pieces,
                      int64_t n, draws draw)
{
    const piece mine = find_piece(pieces, n);
    const float scale = path_scale(draw, mine.image);
    for (int64_t i = mine.first; i < mine.last; i += VT_THREADS) {
        const vt_pack<float, V> value = vt_load<V>(dy + i * V);
        vt_pack<float, V> branch;
        for (int v = 0; v < V; v++)
            branch.at[v] = scale * value.at[v];
        if (df)
            vt_give_pack<V>(df + i * V, write_f, branch);
        if (dx)
            vt_give_pack<V>(dx + i * V, write_x, value);
    }
}

void VT_CUDA(residual_bwd)(vt_dev *d, vt_buf dx, bool write_x, vt_buf df, bool write_f, vt_buf dy,
                           int64_t batch, int64_t n, float rate, vt_draw_stream stream,
                           const vt_step *step)
{
    if (batch * n == 0)
        return;
    VT_BY_PACK(dy, T, V, VT_PACK, n,
               VT_LAUNCH(d, (part_branch<T, V>), dim3((unsigned)(batch * count_pieces(n / V))),
                         VT_THREADS, 0, vt_values<T>(dx), write_x, vt_values<T>(df), write_f,
                         vt_values<T>(dy), count_pieces(n / V), n / V,
                         find_draws(rate, stream, step)));
}

/* A thread has the four elements of one counter: one pack, or as many as there are of single ones.
 */
template <typename T, int V>
VT_KERNEL drop(T *dx, bool write, const T *dy, int64_t batch, vt_divisor counters, int64_t n,
               draws draw)
{
    const int64_t i = vt_index();
    if (i >= batch * counters.by)
        return;
    const int64_t image = vt_divide(i, counters), counter = i - image * counters.by;
    uint32_t words[4] = {0, 0, 0, 0};
    if (draw.threshold > 0)
        vt_philox4(draw.step->key, (uint32_t)counter, (uint32_t)image, draw.step->draw, draw.stream,
                   words);
    for (int e = 0; e < 4 && counter * 4 + e < n; e += V) {
        const int64_t at = image * n + counter * 4 + e;
        vt_pack<float, V> value = vt_load<V>(dy + at);
        for (int v = 0; v < V; v++)
            value.at[v] = words[e + v] >= draw.threshold ? value.at[v] * draw.scale : 0.0f;
        vt_give_pack<V>(dx + at, write, value);
    }
}

void VT_CUDA(dropout_fwd)(vt_dev *d, vt_buf y, vt_buf x, int64_t batch, int64_t n, float rate,
                          vt_draw_stream stream, const vt_step *step)
{
    VT_CUDA(dropout_bwd)(d, y, true, x, batch, n, rate, stream, step);
}

void VT_CUDA(dropout_bwd)(vt_dev *d, vt_buf dx, bool write, vt_buf dy, int64_t batch, int64_t n,
                          float rate, vt_draw_stream stream, const vt_step *step)
{
    const int64_t counters = vt_ceil_div(n, 4), threads = batch * counters;
    if (threads == 0)
        return;
    VT_BY_PACK(dy, T, V, 4, n,
               VT_LAUNCH(d, (drop<T, V>), vt_blocks(threads), VT_THREADS, 0, vt_values<T>(dx),
                         write, vt_values<T>(dy), batch, vt_divisor_of(counters, threads), n,
                         find_draws(rate, stream, step)));
}
