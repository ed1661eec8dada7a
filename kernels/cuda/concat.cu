/* Concatenation along the channels. */
#include "kernels/cuda/places.cuh"

/* The packs of y, of which the first n_a of a row are a's. */
struct halves {
    int64_t n, n_a, n_b;
    vt_divisor row;
};

static halves find_halves(int64_t rows, int64_t n_a, int64_t n_b)
{
    const int64_t n = rows * (n_a + n_b);
    return {n, n_a, n_b, vt_divisor_of(n_a + n_b, n)};
}

/* A power of two divides this if it divides both. */
static int64_t common_count(int64_t Ca, int64_t Cb)
{
    return Ca | Cb;
}

template <typename T, int V> VT_KERNEL join(T *y, const T *a, const T *b, halves s)
{
    const int64_t i = vt_index();
    if (i >= s.n)
        return;
    const int64_t row = vt_divide(i, s.row), c = i - row * s.row.by;
    const T *from = c < s.n_a ? a + (row * s.n_a + c) * V : b + (row * s.n_b + c - s.n_a) * V;
    vt_store<V>(y + i * V, vt_load<V>(from));
}

void VT_CUDA(concat_fwd)(vt_dev *d, vt_buf y, vt_buf a, vt_buf b, int64_t rows, int64_t Ca,
                         int64_t Cb)
{
    VT_BY_PACK(y, T, V, VT_PACK, common_count(Ca, Cb),
               const halves s = find_halves(rows, Ca / V, Cb / V);
               VT_LAUNCH(d, (join<T, V>), vt_blocks(s.n), VT_THREADS, 0, vt_values<T>(y),
                         vt_values<T>(a), vt_values<T>(b), s));
}

template <typename T, int V>
VT_KERNEL part(T *da, bool write_a, T *db, bool write_b, const T *dy, halves s)
{
    const int64_t i = vt_index();
    if (i >= s.n)
        return;
    const int64_t row = vt_divide(i, s.row), c = i - row * s.row.by;
    if (c < s.n_a) {
        if (da)
            vt_give_pack<V>(da + (row * s.n_a + c) * V, write_a, vt_load<V>(dy + i * V));
    } else if (db) {
        vt_give_pack<V>(db + (row * s.n_b + c - s.n_a) * V, write_b, vt_load<V>(dy + i * V));
    }
}

void VT_CUDA(concat_bwd)(vt_dev *d, vt_buf da, bool write_a, vt_buf db, bool write_b, vt_buf dy,
                         int64_t rows, int64_t Ca, int64_t Cb)
{
    VT_BY_PACK(dy, T, V, VT_PACK, common_count(Ca, Cb),
               const halves s = find_halves(rows, Ca / V, Cb / V);
               VT_LAUNCH(d, (part<T, V>), vt_blocks(s.n), VT_THREADS, 0, vt_values<T>(da), write_a,
                         vt_values<T>(db), write_b, vt_values<T>(dy), s));
}
