/* Class token and positions; the mean of tokens and the first of them. */
#include "kernels/cuda/columns.cuh"
#include "kernels/cuda/places.cuh"

/*
 * An image's tokens are one flat run of packs: the class token's, if there is one, then the map's.
 */
struct run_of_tokens {
    int64_t batch, n_cls, n; /* packs of the class token, of an image of y */
};

template <typename T, int V>
VT_KERNEL put_tokens(T *y, const T *x, const float *cls, const float *pos, run_of_tokens run,
                     vt_divisor image)
{
    const int64_t i = vt_index();
    if (i >= run.batch * run.n)
        return;
    const int64_t b = vt_divide(i, image), e = i - b * run.n;
    vt_pack<float, V> value =
        e < run.n_cls ? vt_load<V>(cls + e * V) : vt_load<V>(x + (i - (b + 1) * run.n_cls) * V);
    if (pos) {
        const vt_pack<float, V> here = vt_load<V>(pos + e * V);
        for (int v = 0; v < V; v++)
            value.at[v] += here.at[v];
    }
    vt_store<V>(y + i * V, value);
}

static run_of_tokens find_run(int64_t batch, int64_t N, int64_t packs, bool has_cls)
{
    return {batch, has_cls ? packs : 0, (N + has_cls) * packs};
}

void VT_CUDA(tokens_fwd)(vt_dev *d, vt_buf y, vt_buf x, const float *cls, const float *pos,
                         int64_t batch, int64_t N, int64_t C)
{
    VT_BY_PACK(y, T, V, VT_PACK, C, const run_of_tokens run = find_run(batch, N, C / V, cls);
               const int64_t n = batch * run.n;
               VT_LAUNCH(d, (put_tokens<T, V>), vt_blocks(n), VT_THREADS, 0, vt_values<T>(y),
                         vt_values<T>(x), cls, pos, run, vt_divisor_of(run.n, n)));
}

enum { BATCH_PARTS = 16, TOKEN_PARTS = 8 };

/* A lane has one pack of every image, its warp a part of the batch: what x gets, and the sum. Packs
 * are of four: larger ones would leave fewer blocks than a GPU has multiprocessors. */
template <typename T, int V>
VT_KERNEL take_tokens(T *dx, bool write, float *dcls, float *dpos, const T *dy, run_of_tokens run)
{
    const int64_t e = (int64_t)blockIdx.x * VT_WARP + threadIdx.x % VT_WARP;
    const bool from_map = e >= run.n_cls, inside = e < run.n;
    const vt_terms images = vt_terms_of_warp(run.batch);
    vt_pack<float, V> sum = {};
    float *room = vt_shared<float>();
    for (int64_t b = images.first; inside && b < images.last; b++) {
        const vt_pack<float, V> value = vt_load<V>(dy + (b * run.n + e) * V);
        for (int v = 0; v < V; v++)
            sum.at[v] += value.at[v];
        if (dx && from_map)
            vt_give_pack<V>(dx + (b * (run.n - run.n_cls) + e - run.n_cls) * V, write, value);
    }
    if (!dcls && !dpos)
        return;
    for (int v = 0; v < V; v++)
        sum.at[v] = vt_column_sum(sum.at[v], room + v * blockDim.x);
    if (threadIdx.x >= VT_WARP || !inside)
        return;
    if (dcls && !from_map)
        vt_give_pack<V>(dcls + e * V, false, sum);
    if (dpos)
        vt_give_pack<V>(dpos + e * V, false, sum);
}

void VT_CUDA(tokens_bwd)(vt_dev *d, vt_buf dx, bool write, float *dcls, float *dpos, vt_buf dy,
                         bool has_cls, int64_t batch, int64_t N, int64_t C)
{
    const unsigned threads = vt_column_threads(batch, BATCH_PARTS);
    VT_BY_PACK(dy, T, V, 4, C, const run_of_tokens run = find_run(batch, N, C / V, has_cls);
               VT_LAUNCH(d, (take_tokens<T, V>), dim3((unsigned)vt_ceil_div(run.n, VT_WARP)),
                         threads, threads * V * sizeof(float), vt_values<T>(dx), write, dcls, dpos,
                         vt_values<T>(dy), run));
}

/* A block has 32 columns of one image. */
template <typename T> VT_KERNEL average(T *y, const T *x, int64_t groups, int64_t N, int64_t C)
{
    const int64_t b = blockIdx.x / groups;
    const int64_t c = (blockIdx.x - b * groups) * VT_WARP + threadIdx.x % VT_WARP;
    const vt_terms tokens = vt_terms_of_warp(N);
    float sum = 0;
    for (int64_t i = tokens.first; c < C && i < tokens.last; i++)
        sum += vt_get(&x[(b * N + i) * C + c]);
    sum = vt_column_sum(sum, vt_shared<float>());
    if (threadIdx.x < VT_WARP && c < C)
        vt_put(&y[b * C + c], sum / (float)N);
}

void VT_CUDA(mean_tokens_fwd)(vt_dev *d, vt_buf y, vt_buf x, int64_t batch, int64_t N, int64_t C)
{
    const unsigned threads = vt_column_threads(N, TOKEN_PARTS);
    const int64_t groups = vt_ceil_div(C, VT_WARP);
    if (batch == 0)
        return;
    VT_BY_TYPE(y, T,
               VT_LAUNCH(d, average<T>, dim3((unsigned)(batch * groups)), threads,
                         threads * sizeof(float), vt_values<T>(y), vt_values<T>(x), groups, N, C));
}

/* map: (batch, 1, N, packs) */
template <typename T, int V> VT_KERNEL spread(T *dx, bool write, const T *dy, vt_map map)
{
    const int64_t i = vt_index();
    if (i >= map.n)
        return;
    const vt_place to = vt_place_of(i, map);
    vt_pack<float, V> value = vt_load<V>(dy + (to.image * map.channels.by + to.pack) * V);
    for (int v = 0; v < V; v++)
        value.at[v] = value.at[v] / (float)map.columns.by;
    vt_give_pack<V>(dx + i * V, write, value);
}

void VT_CUDA(mean_tokens_bwd)(vt_dev *d, vt_buf dx, bool write, vt_buf dy, int64_t batch, int64_t N,
                              int64_t C)
{
    VT_BY_PACK(dy, T, V, VT_PACK, C, const vt_map map = vt_map_of(batch, 1, N, C / V);
               VT_LAUNCH(d, (spread<T, V>), vt_blocks(map.n), VT_THREADS, 0, vt_values<T>(dx),
                         write, vt_values<T>(dy), map));
}

template <typename T>
VT_KERNEL take_first(T *y, const T *x, vt_divisor channels, int64_t n, int64_t N)
{
    const int64_t i = vt_index();
    if (i < n)
        y[i] = x[i + vt_divide(i, channels) * (N - 1) * channels.by];
}

void VT_CUDA(first_token_fwd)(vt_dev *d, vt_buf y, vt_buf x, int64_t batch, int64_t N, int64_t C)
{
    VT_BY_TYPE(y, T,
               VT_LAUNCH(d, take_first<T>, vt_blocks(batch * C), VT_THREADS, 0, vt_values<T>(y),
                         vt_values<T>(x), vt_divisor_of(C, batch * C), batch * C, N));
}

/* map: (batch, 1, tokens, packs), tokens being all N, or only the one that gets anything */
template <typename T, int V>
VT_KERNEL put_first(T *dx, bool write, const T *dy, vt_map map, int64_t N)
{
    const int64_t i = vt_index();
    if (i >= map.n)
        return;
    const vt_place to = vt_place_of(i, map);
    vt_pack<float, V> value = {};
    if (to.col == 0)
        value = vt_load<V>(dy + (to.image * map.channels.by + to.pack) * V);
    vt_give_pack<V>(dx + ((to.image * N + to.col) * map.channels.by + to.pack) * V, write, value);
}

void VT_CUDA(first_token_bwd)(vt_dev *d, vt_buf dx, bool write, vt_buf dy, int64_t batch, int64_t N,
                              int64_t C)
{
    VT_BY_PACK(dy, T, V, VT_PACK, C, const vt_map map = vt_map_of(batch, 1, write ? N : 1, C / V);
               VT_LAUNCH(d, (put_first<T, V>), vt_blocks(map.n), VT_THREADS, 0, vt_values<T>(dx),
                         write, vt_values<T>(dy), map, N));
}
