/* Attention forward on tensor cores. */
#include "kernels/cuda/attention_mma.cuh"

enum { N = MMA_SCORES / 8 };

/* What a warp knows of its rows over the columns so far; `sum` is this thread's part. */
template <int W> struct state {
    float out[W / 8][4], largest[2], sum[2];
};

/* Scores of `left` columns become exponentials below the largest so far. */
template <int W> VT_DEVICE void exponentiate(state<W> &s, float x[N][4], int left)
{
    for (int half = 0; half < 2; half++) {
        float top = x[0][2 * half];
        for (int j = 0; j < N; j++)
            top = fmaxf(top, fmaxf(x[j][2 * half], x[j][2 * half + 1]));
        top = fmaxf(s.largest[half], row_max(top));
        const float shrunk = expf(s.largest[half] - top);
        s.largest[half] = top;
        s.sum[half] *= shrunk;
        for (int i = 0; i < W / 8; i++) {
            s.out[i][2 * half] *= shrunk;
            s.out[i][2 * half + 1] *= shrunk;
        }
        for (int j = 0; j < N; j++)
            if (8 * j < left)
                for (int e = 2 * half; e < 2 * half + 2; e++) {
                    x[j][e] = expf(x[j][e] - top);
                    s.sum[half] += x[j][e];
                }
            else
                x[j][2 * half] = x[j][2 * half + 1] = 0;
    }
}

template <int W>
VT_DEVICE void attend_to_tile(state<W> &s, const attention &a, const unit &u, const room &r,
                              int64_t image, int row, int last)
{
    for (int column = r.keys.first; column < last; column += MMA_SCORES) {
        float x[N][4];
        multiply<N>(x, a, r.queries.one, r.queries, row, r.keys.one, r.keys, column, last);
        finish_products<N, false>(x, a, u, r, row, column, last);
        exponentiate<W>(s, x, last - column);
        if (a.sizes.drop > 0) {
            const uint32_t kept = draw_kept_weights<N, false>(a, u, image, row, column);
            for (int j = 0; j < N; j++)
                for (int e = 0; e < 4; e++)
                    x[j][e] *= factor_of(a, kept, j, e);
        }
        add_weighted<W, N>(s.out, x, a, r.keys.two, r.keys, column, last);
    }
}

template <int W>
VT_DEVICE void store_state(const state<W> &s, const attention &a, const unit &u, int64_t image,
                           int row)
{
    vt_bf16 *to[2];
    float factor[2];
    for (int half = 0; half < 2; half++) {
        const int query = row + own_row() + 8 * half;
        const float sum = row_sum(s.sum[half]);
        factor[half] = 1.0f / sum;
        to[half] = nullptr;
        if (query >= u.group.n_tokens)
            continue;
        const int64_t token = u.token[query];
        to[half] = y_of<vt_bf16>(a, u, image, token);
        if (own_column() == 0)
            a.lse[(image * a.sizes.heads + u.head) * a.map.tokens + token] =
                s.largest[half] + logf(sum);
    }
    store_rows<W>(a, to, true, s.out, factor);
}

/* The warp's rows from `row`, all columns, in one image. All threads of the block come here. */
template <int W>
VT_DEVICE void attend_rows(const attention &a, const unit &u, room &r, int64_t image, int pass)
{
    const int thread = (int)threadIdx.x, threads = (int)blockDim.x, n = u.group.n_tokens;
    const int keys = n + u.group.n_pads, columns = a.cut.columns;
    const int64_t tile = (u.row_tile * a.cut.passes + pass) * a.cut.warps + thread / VT_WARP;
    const int row = (int)tile * MMA_ROWS, left = n - row;
    const source<vt_bf16> q = part_of<vt_bf16>(a, u, image, Q);
    const source<vt_bf16> from[2] = {part_of<vt_bf16>(a, u, image, K_PART),
                                     part_of<vt_bf16>(a, u, image, V_PART)};
    vt_bf16 *const to[2] = {r.keys.one, r.keys.two};
    state<W> s;
    clear_results<W / 8>(s.out);
    s.largest[0] = s.largest[1] = -INFINITY;
    s.sum[0] = s.sum[1] = 0;

    r.queries.first = row;
    r.queries.rows = left < MMA_ROWS ? left : (int)MMA_ROWS;
    vt_warp_sync();
    load_matrices<W, 1>(a, u, &r.queries.one, &q, row, r.queries.rows, thread % VT_WARP, VT_WARP);
    vt_warp_sync();
    for (int first = 0; first < keys; first += columns) {
        r.keys.first = first;
        r.keys.rows = rows_of_keys(a, u, first);
        if (pass == 0 || keys > columns) {
            vt_sync(); /* the columns before are done with */
            load_matrices<W, 2>(a, u, to, from, first, r.keys.rows, thread, threads);
            vt_sync();
        }
        if (left > 0)
            attend_to_tile<W>(s, a, u, r, image, row,
                              keys - first < columns ? keys : first + columns);
    }
    if (left > 0)
        store_state<W>(s, a, u, image, row);
}

template <int W> VT_KERNEL VT_RESIDENT(MAX_WARPS *VT_WARP, W <= 64 ? 2 : 1) attend(attention a)
{
    const unit u = find_unit(a);
    room r = find_room(a, FORWARD);
    keep_bias(a, u, r);
    for (int64_t image = u.first_image; image < u.last_image; image++)
        for (int pass = 0; pass < a.cut.passes; pass++)
            attend_rows<W>(a, u, r, image, pass);
}

void vt_attend_on_tensor_cores(vt_dev *d, const attention &a)
{
    VT_ATTENTION_MMA_LAUNCH(d, attend, a);
}
