/*
 * Where a thread's element lies: elements are numbered over a whole array, and their places are
 * found by division. Channels last means that neighbours are channels of one place, so elements go
 * in packs where their count allows it.
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

enum { VT_PACK_BYTES = 16, VT_PACK = 8 }; /* what one access moves; the most values of a pack */

/* V neighbours, moved at once: their address is a multiple of their size, or of what one access
 * moves. */
template <typename T, int V>
struct alignas(V * sizeof(T) < VT_PACK_BYTES ? V * sizeof(T) : (size_t)VT_PACK_BYTES) vt_pack {
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

/* bfloat16 are floats in registers: rounded here, once, two at a time. */
template <int V> VT_DEVICE vt_pack<float, V> vt_load(const vt_bf16 *from)
{
    const vt_pack<vt_bf16, V> halves = *reinterpret_cast<const vt_pack<vt_bf16, V> *>(from);
    vt_pack<float, V> values;
    VT_UNROLL
    for (int v = 0; v < V; v++)
        values.at[v] = vt_get(&halves.at[v]);
    return values;
}
template <int V> VT_DEVICE void vt_store(vt_bf16 *to, vt_pack<float, V> values)
{
    vt_pack<vt_bf16, V> halves;
    VT_UNROLL
    for (int v = 0; v + 1 < V; v += 2) {
        const uint32_t pair = vt_bf16_pair(values.at[v], values.at[v + 1]);
        memcpy(&halves.at[v], &pair, sizeof pair);
    }
    if (V % 2 == 1)
        vt_put(&halves.at[V - 1], values.at[V - 1]);
    *reinterpret_cast<vt_pack<vt_bf16, V> *>(to) = halves;
}

template <int V, typename T>
VT_DEVICE void vt_give_pack(T *to, bool write, vt_pack<float, V> values)
{
    if (!write) {
        const vt_pack<float, V> old = vt_load<V>(static_cast<const T *>(to));
        VT_UNROLL
        for (int v = 0; v < V; v++)
            values.at[v] = old.at[v] + values.at[v];
    }
    vt_store<V>(to, values);
}

/* Values of a whole pack: as many as one access moves, at most `most`. */
template <typename T> constexpr int vt_pack_of(int most)
{
    return most * sizeof(T) < VT_PACK_BYTES ? most : (int)(VT_PACK_BYTES / sizeof(T));
}

/*
 * The statement with T as the type of the buffer's values and V as how many go together: a whole
 * pack where `count` allows it, else 1. A multiprocessor's threads must have some 20 KB under way
 * to keep memory busy, which is why bfloat16 go by eight and not by four.
 */
#define VT_BY_PACK(buf, T, V, most, count, ...)                                                    \
    VT_BY_TYPE(                                                                                    \
        buf, T,                                                                                    \
        if ((count) % vt_pack_of<T>(most) == 0) {                                                  \
            constexpr int V = vt_pack_of<T>(most);                                                 \
            __VA_ARGS__;                                                                           \
        } else {                                                                                   \
            constexpr int V = 1;                                                                   \
            __VA_ARGS__;                                                                           \
        })

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
