/*
 * Where a thread's element lies: elements are numbered over a whole array, and their places are
 * found by division. Channels last means that neighbours are channels of one place, so elements go
 * in packs of four where their count allows it.
 */
#ifndef VT_CUDA_PLACES_CUH
#define VT_CUDA_PLACES_CUH

#include "kernels/cuda/common.cuh"

/*
 * n / by for 0 <= n <= most. Below 2^31 it is a product and a shift: with 2^s >= by and factor =
 * ceil(2^(31+s) / by), which is below 2^32, n * factor is too large by less than n * by / by <=
 * 2^(31+s) / by. Beyond, factor is 0.
 */
struct vt_divisor {
    int64_t by;
    uint32_t factor;
    int shift;
};
static inline vt_divisor vt_divisor_of(int64_t by, int64_t most)
{
    vt_divisor d = {by < 1 ? 1 : by, 0, 31};
    if (most > INT32_MAX || d.by > INT32_MAX)
        return d;
    while (((int64_t)1 << (d.shift - 31)) < d.by)
        d.shift++;
    d.factor = (uint32_t)((((uint64_t)1 << d.shift) + (uint64_t)d.by - 1) / (uint64_t)d.by);
    return d;
}
VT_DEVICE int64_t vt_divide(int64_t n, vt_divisor d)
{
    return d.factor ? (int64_t)((uint64_t)(uint32_t)n * d.factor >> d.shift) : n / d.by;
}

/* V neighbours, moved at once: their address is a multiple of their size. */
template <typename T, int V> struct alignas(V * sizeof(T)) vt_pack {
    T at[V];
};
template <int V, typename T> VT_DEVICE vt_pack<T, V> vt_load(const T *from)
{
    return *reinterpret_cast<const vt_pack<T, V> *>(from);
}
template <int V, typename T> VT_DEVICE void vt_store(T *to, vt_pack<T, V> values)
{
    *reinterpret_cast<vt_pack<T, V> *>(to) = values;
}
template <int V> VT_DEVICE void vt_give_pack(float *to, bool write, vt_pack<float, V> values)
{
    if (!write) {
        const vt_pack<float, V> old = vt_load<V>(static_cast<const float *>(to));
        for (int v = 0; v < V; v++)
            values.at[v] = old.at[v] + values.at[v];
    }
    vt_store<V>(to, values);
}

/* The packs of a (batch, H, W, channels) map. */
struct vt_map {
    int64_t n;
    vt_divisor channels, columns, rows;
};
struct vt_place {
    int64_t image;
    int row, col, pack;
};
static inline vt_map vt_map_of(int64_t batch, int64_t H, int64_t W, int64_t packs)
{
    const int64_t n = batch * H * W * packs;
    return {n, vt_divisor_of(packs, n), vt_divisor_of(W, n), vt_divisor_of(H, n)};
}
VT_DEVICE vt_place vt_place_of(int64_t i, const vt_map &map)
{
    const int64_t at = vt_divide(i, map.channels), line = vt_divide(at, map.columns);
    const int64_t image = vt_divide(line, map.rows);
    return {image, (int)(line - image * map.rows.by), (int)(at - line * map.columns.by),
            (int)(i - at * map.channels.by)};
}

#endif
