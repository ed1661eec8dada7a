/* Pooling over windows of a map. */
#include "kernels/cuda/places.cuh"

struct windows {
    int H, W, Ho, Wo, kernel, stride, pad;
    vt_divisor to_window; /* by the stride */
};
struct range {
    int first, last;
};

static windows find_windows(const vt_pooling_sizes *s)
{
    const int64_t Ho = (s->H + 2 * s->pad - s->kernel) / s->stride + 1;
    const int64_t Wo = (s->W + 2 * s->pad - s->kernel) / s->stride + 1;
    return {(int)s->H,      (int)s->W,
            (int)Ho,        (int)Wo,
            (int)s->kernel, (int)s->stride,
            (int)s->pad,    vt_divisor_of(s->stride, (s->H > s->W ? s->H : s->W) + s->pad)};
}

/* Places of a map of length `n` in window `i`. */
VT_DEVICE range places_of(int i, int n, const windows &s)
{
    const int start = i * s.stride - s.pad, end = start + s.kernel;
    return {start > 0 ? start : 0, end < n ? end : n};
}

/* Windows, of `n`, that have the place. */
VT_DEVICE range windows_with(int place, int n, const windows &s)
{
    const int before = place + s.pad - s.kernel; /* the last place before the window */
    const int last = (int)vt_divide(place + s.pad, s.to_window) + 1;
    return {before < 0 ? 0 : (int)vt_divide(before, s.to_window) + 1, last < n ? last : n};
}

/* The first largest of each column, and its place. Once a value is NaN, so is the result. */
template <typename T, int V>
VT_KERNEL pool_largest(T *y, int32_t *index, const T *x, vt_map map, windows s)
{
    const int64_t i = vt_index(), step = map.channels.by * V;
    if (i >= map.n)
        return;
    const vt_place to = vt_place_of(i, map);
    const range rows = places_of(to.row, s.H, s), cols = places_of(to.col, s.W, s);
    const T *from = x + to.image * s.H * s.W * step + to.pack * V;
    const int start = rows.first * s.W + cols.first;
    vt_pack<float, V> most = vt_load<V>(from + start * step);
    vt_pack<int32_t, V> place;
    for (int v = 0; v < V; v++)
        place.at[v] = start;
    for (int row = rows.first; row < rows.last; row++)
        for (int col = cols.first; col < cols.last; col++) {
            const int here = row * s.W + col;
            const vt_pack<float, V> value = vt_load<V>(from + here * step);
            for (int v = 0; v < V; v++)
                if (most.at[v] < value.at[v] || value.at[v] != value.at[v]) {
                    most.at[v] = value.at[v];
                    place.at[v] = here;
                }
        }
    vt_store<V>(y + i * V, most);
    vt_store<V>(index + i * V, place);
}

template <typename T, int V> VT_KERNEL pool_mean(T *y, const T *x, vt_map map, windows s)
{
    const int64_t i = vt_index(), step = map.channels.by * V;
    if (i >= map.n)
        return;
    const vt_place to = vt_place_of(i, map);
    const range rows = places_of(to.row, s.H, s), cols = places_of(to.col, s.W, s);
    const T *from = x + to.image * s.H * s.W * step + to.pack * V;
    vt_pack<float, V> sum = {};
    for (int row = rows.first; row < rows.last; row++)
        for (int col = cols.first; col < cols.last; col++) {
            const vt_pack<float, V> value = vt_load<V>(from + (row * s.W + col) * step);
            for (int v = 0; v < V; v++)
                sum.at[v] += value.at[v];
        }
    for (int v = 0; v < V; v++)
        sum.at[v] = sum.at[v] / (float)(s.kernel * s.kernel);
    vt_store<V>(y + i * V, sum);
}

void VT_CUDA(pooling_fwd)(vt_dev *d, vt_buf y, int32_t *index, vt_buf x,
                          const vt_pooling_sizes *sizes)
{
    const windows s = find_windows(sizes);
    if (sizes->kind == VT_POOLING_MAX)
        VT_BY_PACK(y, T, V, VT_PACK, sizes->C,
                   const vt_map map = vt_map_of(sizes->batch, s.Ho, s.Wo, sizes->C / V);
                   VT_LAUNCH(d, (pool_largest<T, V>), vt_blocks(map.n), VT_THREADS, 0,
                             vt_values<T>(y), index, vt_values<T>(x), map, s));
    else
        VT_BY_PACK(y, T, V, VT_PACK, sizes->C,
                   const vt_map map = vt_map_of(sizes->batch, s.Ho, s.Wo, sizes->C / V);
                   VT_LAUNCH(d, (pool_mean<T, V>), vt_blocks(map.n), VT_THREADS, 0, vt_values<T>(y),
                             vt_values<T>(x), map, s));
}

/* What the windows hand to a place: sums in the windows' order. index: NULL for means. */
template <typename T, int V>
VT_KERNEL gather(T *dx, bool write, const T *dy, const int32_t *index, vt_map map, windows s)
{
    const int64_t i = vt_index(), step = map.channels.by * V;
    if (i >= map.n)
        return;
    const vt_place to = vt_place_of(i, map);
    const range rows = windows_with(to.row, s.Ho, s), cols = windows_with(to.col, s.Wo, s);
    const int place = to.row * s.W + to.col;
    const int64_t from = to.image * s.Ho * s.Wo * step + to.pack * V;
    vt_pack<float, V> sum = {};
    for (int row = rows.first; row < rows.last; row++)
        for (int col = cols.first; col < cols.last; col++) {
            const int64_t at = from + ((int64_t)row * s.Wo + col) * step;
            vt_pack<float, V> value = vt_load<V>(dy + at);
            if (index) {
                const vt_pack<int32_t, V> largest = vt_load<V>(index + at);
                for (int v = 0; v < V; v++)
                    value.at[v] = largest.at[v] == place ? value.at[v] : 0.0f;
            }
            for (int v = 0; v < V; v++)
                sum.at[v] += value.at[v];
        }
    for (int v = 0; v < V && !index; v++)
        sum.at[v] = sum.at[v] / (float)(s.kernel * s.kernel);
    vt_give_pack<V>(dx + i * V, write, sum);
}

void VT_CUDA(pooling_bwd)(vt_dev *d, vt_buf dx, bool write, vt_buf dy, const int32_t *index,
                          const vt_pooling_sizes *sizes)
{
    VT_BY_PACK(dy, T, V, VT_PACK, sizes->C,
               const vt_map map = vt_map_of(sizes->batch, sizes->H, sizes->W, sizes->C / V);
               VT_LAUNCH(d, (gather<T, V>), vt_blocks(map.n), VT_THREADS, 0, vt_values<T>(dx),
                         write, vt_values<T>(dy), sizes->kind == VT_POOLING_MAX ? index : nullptr,
                         map, find_windows(sizes)));
}
