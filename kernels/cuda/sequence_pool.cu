/* Sequence pooling: a mean of tokens weighted by the softmax of their scores. */
#include "kernels/cuda/columns.cuh"
#include "kernels/cuda/places.cuh"

enum { TOKEN_PARTS = 8, MOST_KEPT = 8192 };

/* p = softmax(scores), a warp an image; a NaN among the scores makes all of them NaN. */
template <typename T> VT_KERNEL weigh(float *p, const T *scores, int64_t batch, int64_t N)
{
    const int64_t b = vt_index() / VT_WARP;
    const int lane = (int)(threadIdx.x % VT_WARP);
    float largest = -INFINITY, sum = 0;
    if (b >= batch)
        return;
    scores += b * N;
    p += b * N;
    for (int64_t i = lane; i < N; i += VT_WARP)
        largest = fmaxf(largest, vt_get(&scores[i]));
    largest = vt_warp_max(largest);
    for (int64_t i = lane; i < N; i += VT_WARP)
        sum += expf(vt_get(&scores[i]) - largest);
    sum = vt_warp_sum(sum);
    for (int64_t i = lane; i < N; i += VT_WARP)
        p[i] = expf(vt_get(&scores[i]) - largest) / sum;
}

/* A block has 32 columns of one image. */
template <typename T>
VT_KERNEL pool(T *y, const float *p, const T *x, int64_t groups, int64_t N, int64_t C)
{
    const int64_t b = blockIdx.x / groups;
    const int64_t c = (blockIdx.x - b * groups) * VT_WARP + threadIdx.x % VT_WARP;
    const vt_terms tokens = vt_terms_of_warp(N);
    float sum = 0;
    for (int64_t i = tokens.first; c < C && i < tokens.last; i++)
        sum = fmaf(p[b * N + i], vt_get(&x[(b * N + i) * C + c]), sum);
    sum = vt_column_sum(sum, vt_shared<float>());
    if (threadIdx.x < VT_WARP && c < C)
        vt_put(&y[b * C + c], sum);
}

void VT_CUDA(sequence_pool_fwd)(vt_dev *d, vt_buf y, float *p, vt_buf x, vt_buf scores,
                                int64_t batch, int64_t N, int64_t C)
{
    const unsigned threads = vt_column_threads(N, TOKEN_PARTS);
    const int64_t groups = vt_ceil_div(C, VT_WARP);
    if (batch == 0)
        return;
    VT_BY_TYPE(x, T,
               VT_LAUNCH(d, weigh<T>, vt_blocks(batch * VT_WARP), VT_THREADS, 0, p,
                         vt_values<T>(scores), batch, N);
               VT_LAUNCH(d, pool<T>, dim3((unsigned)(batch * groups)), threads,
                         threads * sizeof(float), vt_values<T>(y), p, vt_values<T>(x), groups, N,
                         C));
}

/* The same for all threads of the warp. */
template <typename T> VT_DEVICE float product(const T *a, const T *b, int64_t n)
{
    float sum = 0;
    for (int64_t i = threadIdx.x % VT_WARP; i < n; i += VT_WARP)
        sum = fmaf(vt_get(&a[i]), vt_get(&b[i]), sum);
    return vt_warp_sum(sum);
}

/*
 * dscores[i] = p[i] (dy . x[i] - sum_j p[j] dy . x[j]), a block an image, a warp every so many
 * tokens. The products are kept in shared memory behind the sums' room, if so many tokens fit: else
 * they are formed twice.
 */
template <typename T>
VT_KERNEL grade(T *dscores, bool write, const T *dy, const T *x, const float *p, int64_t N,
                int64_t C)
{
    const int64_t b = blockIdx.x, warp = threadIdx.x / VT_WARP, warps = blockDim.x / VT_WARP;
    float *room = vt_shared<float>(), *products = room + VT_WARP, mean = 0;
    const bool kept = N <= MOST_KEPT, first = threadIdx.x % VT_WARP == 0;
    dy += b * C;
    x += b * N * C;
    p += b * N;
    dscores += b * N;
    for (int64_t i = warp; i < N; i += warps) {
        const float dot = product(dy, x + i * C, C);
        mean = fmaf(p[i], dot, mean);
        if (kept && first)
            products[i] = dot;
    }
    mean = vt_block_sum(first ? mean : 0.0f, room);
    for (int64_t i = warp; i < N; i += warps) {
        const float dot = kept ? products[i] : product(dy, x + i * C, C);
        if (first)
            vt_give(&dscores[i], write, p[i] * (dot - mean));
    }
}

/* map: (batch, 1, N, packs) */
template <typename T, int V>
VT_KERNEL spread(T *dx, bool write, const T *dy, const float *p, vt_map map)
{
    const int64_t i = vt_index();
    if (i >= map.n)
        return;
    const vt_place to = vt_place_of(i, map);
    const float weight = p[to.image * map.columns.by + to.col];
    vt_pack<float, V> value = vt_load<V>(dy + (to.image * map.channels.by + to.pack) * V);
    for (int v = 0; v < V; v++)
        value.at[v] *= weight;
    vt_give_pack<V>(dx + i * V, write, value);
}

void VT_CUDA(sequence_pool_bwd)(vt_dev *d, vt_buf dx, bool write_x, vt_buf dscores,
                                bool write_scores, vt_buf dy, vt_buf x, const float *p,
                                int64_t batch, int64_t N, int64_t C)
{
    const size_t room = sizeof(float) * (size_t)(VT_WARP + (N <= MOST_KEPT ? N : 0));
    if (dscores.data && batch > 0)
        VT_BY_TYPE(dy, T,
                   VT_LAUNCH(d, grade<T>, dim3((unsigned)batch), VT_THREADS, room,
                             vt_values<T>(dscores), write_scores, vt_values<T>(dy), vt_values<T>(x),
                             p, N, C));
    if (dx.data)
        VT_BY_PACK(dy, T, V, VT_PACK, C, const vt_map map = vt_map_of(batch, 1, N, C / V);
                   VT_LAUNCH(d, (spread<T, V>), vt_blocks(map.n), VT_THREADS, 0, vt_values<T>(dx),
                             write_x, vt_values<T>(dy), p, map));
}
