/* Maps made larger or smaller. */
#include "kernels/cuda/places.cuh"

/* One side of the map: n places become m. */
struct side {
    int64_t n, m;
    bool nearest;
    vt_divisor to_old, to_new; /* by m and n, twice that if not nearest */
};

static side find_side(int64_t n, int64_t m, vt_resize_kind kind)
{
    const bool nearest = kind == VT_RESIZE_NEAREST;
    const int64_t times = nearest ? 1 : 2;
    return {n, m, nearest, vt_divisor_of(times * m, (2 * m + 1) * n),
            vt_divisor_of(times * n, (2 * n + 1) * m + n)};
}

/* A value of the new map along one side: (1 - share) x[low] + share x[low + 1]. */
struct tap {
    int low;
    float share;
};

/* Where value i of m lies among n: at i n / m, or ((2 i + 1) n - m) / 2m. The floor of the fraction
 * is exact and its rest rounded once. */
VT_DEVICE tap tap_of(int64_t i, const side &s)
{
    if (s.nearest)
        return {(int)vt_divide(i * s.n, s.to_old), 0};
    const int64_t above = (2 * i + 1) * s.n - s.m;
    if (above <= 0)
        return {0, 0};
    const int64_t low = vt_divide(above, s.to_old);
    if (low >= s.n - 1)
        return {(int)(s.n - 1), 0};
    return {(int)low, (float)(above - low * s.to_old.by) / (float)s.to_old.by};
}

template <int V>
VT_DEVICE vt_pack<float, V> mix(vt_pack<float, V> a, vt_pack<float, V> b, float share)
{
    for (int v = 0; v < V; v++)
        a.at[v] = fmaf(b.at[v], share, a.at[v] * (1 - share));
    return a;
}

/* A value between p and its right neighbour. What has no share is not read, so that a value which
 * is a copy is one, whatever its neighbour holds. */
template <int V, typename T>
VT_DEVICE vt_pack<float, V> mix_across(const T *p, int64_t step, float share)
{
    const vt_pack<float, V> value = vt_load<V>(p);
    return share > 0 ? mix(value, vt_load<V>(p + step), share) : value;
}

template <typename T, int V> VT_KERNEL resample(T *y, const T *x, vt_map map, side high, side wide)
{
    const int64_t i = vt_index(), step = map.channels.by * V;
    if (i >= map.n)
        return;
    const vt_place to = vt_place_of(i, map);
    const tap row = tap_of(to.row, high), col = tap_of(to.col, wide);
    const T *from = x + ((to.image * high.n + row.low) * wide.n + col.low) * step + to.pack * V;
    vt_pack<float, V> value = mix_across<V>(from, step, col.share);
    if (row.share > 0)
        value = mix(value, mix_across<V>(from + wide.n * step, step, col.share), row.share);
    vt_store<V>(y + i * V, value);
}

void VT_CUDA(resize_fwd)(vt_dev *d, vt_buf y, vt_buf x, const vt_resize_sizes *sizes)
{
    VT_BY_PACK(y, T, V, VT_PACK, sizes->C,
               const vt_map map = vt_map_of(sizes->batch, sizes->Ho, sizes->Wo, sizes->C / V);
               VT_LAUNCH(d, (resample<T, V>), vt_blocks(map.n), VT_THREADS, 0, vt_values<T>(y),
                         vt_values<T>(x), map, find_side(sizes->H, sizes->Ho, sizes->kind),
                         find_side(sizes->W, sizes->Wo, sizes->kind)));
}

struct users {
    int64_t first, last;
};

/* n / by, rounded up. */
VT_DEVICE int64_t divide_up(int64_t n, vt_divisor by)
{
    return vt_divide(n + by.by - 1, by);
}

/* The values, of m, in which place `p` of n has a share: those that lie in (p - 1, p + 1), and all
 * beyond the ends. */
VT_DEVICE users users_of(int64_t p, const side &s)
{
    if (s.nearest)
        return {divide_up(p * s.m, s.to_new), divide_up((p + 1) * s.m, s.to_new)};
    const int64_t low = (2 * p - 1) * s.m - s.n;
    users found = {low < 0 ? 0 : vt_divide(low, s.to_new) + 1, s.m};
    if (p < s.n - 1)
        found.last = divide_up((2 * p + 3) * s.m - s.n, s.to_new);
    return {found.first, found.last < s.m ? found.last : s.m};
}

VT_DEVICE float share_of(int place, tap t)
{
    return place == t.low ? 1 - t.share : t.share;
}

/* What the new map hands to a place: a sum in that map's order. */
template <typename T, int V>
VT_KERNEL gather(T *dx, bool write, const T *dy, vt_map map, side high, side wide)
{
    const int64_t i = vt_index(), step = map.channels.by * V;
    if (i >= map.n)
        return;
    const vt_place to = vt_place_of(i, map);
    const users rows = users_of(to.row, high), cols = users_of(to.col, wide);
    vt_pack<float, V> sum = {};
    for (int64_t row = rows.first; row < rows.last; row++) {
        const float down = share_of(to.row, tap_of(row, high));
        const T *from = dy + (to.image * high.m + row) * wide.m * step + to.pack * V;
        for (int64_t col = cols.first; col < cols.last; col++) {
            const float share = down * share_of(to.col, tap_of(col, wide));
            const vt_pack<float, V> value = vt_load<V>(from + col * step);
            for (int v = 0; v < V; v++)
                sum.at[v] = fmaf(value.at[v], share, sum.at[v]);
        }
    }
    vt_give_pack<V>(dx + i * V, write, sum);
}

void VT_CUDA(resize_bwd)(vt_dev *d, vt_buf dx, bool write, vt_buf dy, const vt_resize_sizes *sizes)
{
    VT_BY_PACK(dy, T, V, VT_PACK, sizes->C,
               const vt_map map = vt_map_of(sizes->batch, sizes->H, sizes->W, sizes->C / V);
               VT_LAUNCH(d, (gather<T, V>), vt_blocks(map.n), VT_THREADS, 0, vt_values<T>(dx),
                         write, vt_values<T>(dy), map, find_side(sizes->H, sizes->Ho, sizes->kind),
                         find_side(sizes->W, sizes->Wo, sizes->kind)));
}
