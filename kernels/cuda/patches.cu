/* Patches, and patch merging's gather. */
#include "kernels/cuda/places.cuh"

/* map: patches of C lines of p lines of p values. */
template <typename T>
VT_KERNEL cut_patches(T *y, const T *x, vt_map map, vt_divisor side, int64_t H, int64_t W,
                      int64_t C)
{
    const int64_t i = vt_index(), p = side.by;
    if (i >= map.n)
        return;
    const vt_place patch = vt_place_of(i, map);
    const int64_t line = vt_divide(patch.pack, side), c = vt_divide(line, side);
    const int64_t row = patch.row * p + line - c * p, col = patch.col * p + patch.pack - line * p;
    y[i] = row < H && col < W ? x[((patch.image * H + row) * W + col) * C + c] : T{};
}

void VT_CUDA(patchify_fwd)(vt_dev *d, vt_buf y, vt_buf x, int64_t batch, int64_t H, int64_t W,
                           int64_t C, int64_t p)
{
    const vt_map map = vt_map_of(batch, vt_ceil_div(H, p), vt_ceil_div(W, p), C * p * p);
    VT_BY_TYPE(y, T,
               VT_LAUNCH(d, cut_patches<T>, vt_blocks(map.n), VT_THREADS, 0, vt_values<T>(y),
                         vt_values<T>(x), map, vt_divisor_of(p, C * p * p), H, W, C));
}

/* map: the small one, its places of four times `channels`. Neighbours go down the column first. */
template <typename T, int V>
VT_KERNEL merge(T *y, const T *x, vt_map map, vt_divisor channels, int64_t H, int64_t W)
{
    const int64_t i = vt_index();
    if (i >= map.n)
        return;
    const vt_place to = vt_place_of(i, map);
    const int64_t k = vt_divide(to.pack, channels), c = to.pack - k * channels.by;
    const int64_t row = to.row * (int64_t)2 + k % 2, col = to.col * (int64_t)2 + k / 2;
    vt_pack<float, V> value = {};
    if (row < H && col < W)
        value = vt_load<V>(x + (((to.image * H + row) * W + col) * channels.by + c) * V);
    vt_store<V>(y + i * V, value);
}

void VT_CUDA(merge_fwd)(vt_dev *d, vt_buf y, vt_buf x, int64_t batch, int64_t H, int64_t W,
                        int64_t C)
{
    VT_BY_PACK(y, T, V, VT_PACK, C,
               const vt_map map = vt_map_of(batch, vt_ceil_div(H, 2), vt_ceil_div(W, 2), 4 * C / V);
               VT_LAUNCH(d, (merge<T, V>), vt_blocks(map.n), VT_THREADS, 0, vt_values<T>(y),
                         vt_values<T>(x), map, vt_divisor_of(C / V, 4 * C), H, W));
}

/* map: the large one. Each of its places is the neighbour of exactly one place. */
template <typename T, int V>
VT_KERNEL unmerge(T *dx, bool write, const T *dy, vt_map map, int64_t h, int64_t w)
{
    const int64_t i = vt_index();
    if (i >= map.n)
        return;
    const vt_place to = vt_place_of(i, map);
    const int64_t place = (to.image * h + to.row / 2) * w + to.col / 2;
    const int64_t k = to.row % 2 + to.col % 2 * 2;
    vt_give_pack<V>(dx + i * V, write,
                    vt_load<V>(dy + ((place * 4 + k) * map.channels.by + to.pack) * V));
}

void VT_CUDA(merge_bwd)(vt_dev *d, vt_buf dx, bool write, vt_buf dy, int64_t batch, int64_t H,
                        int64_t W, int64_t C)
{
    VT_BY_PACK(dy, T, V, VT_PACK, C, const vt_map map = vt_map_of(batch, H, W, C / V);
               VT_LAUNCH(d, (unmerge<T, V>), vt_blocks(map.n), VT_THREADS, 0, vt_values<T>(dx),
                         write, vt_values<T>(dy), map, vt_ceil_div(H, 2), vt_ceil_div(W, 2)));
}
