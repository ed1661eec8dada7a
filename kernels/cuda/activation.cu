/* The activations, element by element. */
#include "kernels/cuda/activation.cuh"
#include "kernels/cuda/places.cuh"

template <typename T, int V>
VT_KERNEL activate(T *y, const T *x, int64_t packs, vt_activation_kind kind)
{
    const int64_t i = vt_index();
    if (i >= packs)
        return;
    vt_pack<float, V> value = vt_load<V>(x + i * V);
    VT_UNROLL
    for (int v = 0; v < V; v++)
        value.at[v] = vt_activate(value.at[v], kind);
    vt_store<V>(y + i * V, value);
}

template <typename T, int V>
VT_KERNEL slope(T *dx, bool write, T *y, const T *dy, const T *x, int64_t packs,
                vt_activation_kind kind)
{
    const int64_t i = vt_index();
    if (i >= packs)
        return;
    const vt_pack<float, V> at = vt_load<V>(x + i * V);
    vt_pack<float, V> value = vt_load<V>(dy + i * V);
    VT_UNROLL
    for (int v = 0; v < V; v++)
        value.at[v] = value.at[v] * vt_activate_slope(at.at[v], kind);
    vt_give_pack<V>(dx + i * V, write, value);
    if (!y)
        return;
    VT_UNROLL
    for (int v = 0; v < V; v++)
        value.at[v] = vt_activate(at.at[v], kind);
    vt_store<V>(y + i * V, value);
}

void VT_CUDA(activation_fwd)(vt_dev *d, vt_buf y, vt_buf x, int64_t n, vt_activation_kind kind)
{
    VT_BY_PACK(x, T, V, VT_PACK, n,
               VT_LAUNCH(d, (activate<T, V>), vt_blocks(n / V), VT_THREADS, 0, vt_values<T>(y),
                         vt_values<T>(x), n / V, kind));
}

void VT_CUDA(activation_bwd)(vt_dev *d, vt_buf dx, bool write, vt_buf y, vt_buf dy, vt_buf x,
                             int64_t n, vt_activation_kind kind)
{
    VT_BY_PACK(x, T, V, VT_PACK, n,
               VT_LAUNCH(d, (slope<T, V>), vt_blocks(n / V), VT_THREADS, 0, vt_values<T>(dx), write,
                         vt_values<T>(y), vt_values<T>(dy), vt_values<T>(x), n / V, kind));
}
