/* Attention backward on tensor cores. */
#include "kernels/cuda/attention_mma.cuh"

/* Where the weights' gradient of a pair of places goes: the block's part of dbias. */
VT_DEVICE float *dbias_of(const attention &a, const unit &u)
{
    const int64_t places = a.map.places;
    if (!a.dbias)
        return nullptr;
    return a.dbias +
           ((u.range * a.map.windows + u.group.window) * a.sizes.heads + u.head) * places * places;
}

/* Adds the scores' gradients to the sums over the block's images. Each pair has its thread. */
template <int N>
VT_DEVICE void add_to_bias(const float x[N][4], const attention &a, const unit &u, const room &r,
                           bool first_image, int row, int column)
{
    const int n = u.group.n_tokens, keys = n + u.group.n_pads;
    float *dbias = dbias_of(a, u), *kept = r.sums + kept_at<false>(row, column);
    if (!dbias)
        return;
    for (int j = 0; j < N; j++)
        for (int e = 0; e < 4; e++) {
            const int query = row_number(row, e), key = column_number(column, j, e);
            if (a.cut.keeps_bias)
                vt_give(kept + kept_beside<false>(j, e), first_image, x[j][e]);
            else if (query < n && key < keys)
                vt_give(dbias + u.place[query] * a.map.places + place_of(u, key), first_image,
                        x[j][e]);
        }
}

VT_DEVICE void store_kept_bias(const attention &a, const unit &u, const room &r)
{
    const int keys = u.group.n_tokens + u.group.n_pads, n = u.group.n_tokens * MMA_SCORES;
    float *dbias = dbias_of(a, u);
    if (!a.cut.keeps_bias || !dbias)
        return;
    for (int i = (int)threadIdx.x; i < n; i += (int)blockDim.x) {
        const int query = i / MMA_SCORES, key = i % MMA_SCORES;
        if (key < keys)
            dbias[u.place[query] * a.map.places + place_of(u, key)] =
                r.sums[query * MMA_BIAS_STRIDE + key];
    }
}

/* ---- rows are queries: dq, the means that the softmax subtracts, the gradient of the bias */

template <int W> struct to_queries {
    /* columns at a time; where all fit into one go, one goes over them is enough */
    enum { N = W <= 64 ? 8 : 4, COLUMNS = 8 * N };
    float dq[W / 8][4], mean[2], lse[2];
    int row;
    bool one_block;
};

/* The weights, and their gradients with dropout. */
template <int W>
VT_DEVICE void find_gradients(float x[][4], float dx[][4], const to_queries<W> &t,
                              const attention &a, const unit &u, const room &r, int64_t image,
                              int column, int last)
{
    enum { N = to_queries<W>::N };
    multiply<N>(x, a, r.queries.one, r.queries, t.row, r.keys.one, r.keys, column, last);
    multiply<N>(dx, a, r.queries.two, r.queries, t.row, r.keys.two, r.keys, column, last);
    finish_products<N, false>(x, a, u, r, t.row, column, last);
    for (int j = 0; j < N; j++)
        for (int e = 0; e < 4; e++)
            x[j][e] = column + 8 * j < last ? expf(x[j][e] - t.lse[e / 2]) : 0.0f;
    if (a.sizes.drop > 0) {
        const uint32_t kept = draw_kept_weights<N, false>(a, u, image, t.row, column);
        for (int j = 0; j < N; j++)
            for (int e = 0; e < 4; e++)
                dx[j][e] *= factor_of(a, kept, j, e);
    }
}

/* Columns [r.keys.first, last): first for the means, then, `finally`, for all the rest. */
template <int W>
VT_DEVICE void go_over_keys(to_queries<W> &t, const attention &a, const unit &u, const room &r,
                            int64_t image, int last, bool finally)
{
    enum { N = to_queries<W>::N, COLUMNS = to_queries<W>::COLUMNS };
    for (int column = r.keys.first; column < last; column += COLUMNS) {
        float x[N][4], dx[N][4];
        find_gradients<W>(x, dx, t, a, u, r, image, column, last);
        if (!finally || t.one_block)
            for (int j = 0; j < N; j++)
                for (int e = 0; e < 4; e++)
                    t.mean[e / 2] = fmaf(x[j][e], dx[j][e], t.mean[e / 2]);
        if (!finally)
            continue;
        if (t.one_block)
            for (int half = 0; half < 2; half++)
                t.mean[half] = row_sum(t.mean[half]);
        for (int j = 0; j < N; j++)
            for (int e = 0; e < 4; e++)
                x[j][e] *= dx[j][e] - t.mean[e / 2];
        add_to_bias<N>(x, a, u, r, image == u.first_image, t.row, column);
        add_weighted<W, N>(t.dq, x, a, r.keys.one, r.keys, column, last);
    }
}

template <int W>
VT_DEVICE void store_queries(const to_queries<W> &t, const attention &a, const unit &u,
                             const room &r, int64_t image, bool resident)
{
    const int64_t at = (image * a.sizes.heads + u.head) * a.map.tokens;
    const float factor[2] = {a.sizes.scale, a.sizes.scale};
    vt_bf16 *to[2] = {nullptr, nullptr};
    for (int half = 0; half < 2; half++) {
        const int query = t.row + own_row() + 8 * half;
        if (query >= u.group.n_tokens)
            continue;
        const int64_t token = u.token[query];
        if (own_column() == 0)
            *(resident ? r.mean + query : a.means + at + token) = t.mean[half];
        if (a.dqkv)
            to[half] = dqkv_of<vt_bf16>(a, u, image, token);
    }
    store_rows<W>(a, to, a.write, t.dq, factor);
}

VT_DEVICE int first_row(const attention &a, const unit &u, int pass)
{
    const int warp = (int)threadIdx.x / VT_WARP;
    return (int)((u.row_tile * a.cut.passes + pass) * a.cut.warps + warp) * MMA_ROWS;
}

/* The warp's rows from `row`: their own matrices, unless both sides are in shared memory. */
template <int W>
VT_DEVICE void load_own_rows(const attention &a, const unit &u, matrices &m,
                             const source<vt_bf16> from[2], int row, int rows)
{
    vt_bf16 *const to[2] = {m.one, m.two};
    const int left = rows - row;
    m.first = row;
    m.rows = left < MMA_ROWS ? left : (int)MMA_ROWS;
    vt_warp_sync();
    load_matrices<W, 2>(a, u, to, from, row, m.rows, (int)threadIdx.x % VT_WARP, VT_WARP);
    vt_warp_sync();
}

/* Columns in tiles: all threads of the block come here. */
template <int W>
VT_DEVICE void load_tile(const attention &a, const unit &u, matrices &m,
                         const source<vt_bf16> from[2], int first, int rows)
{
    vt_bf16 *const to[2] = {m.one, m.two};
    m.first = first;
    m.rows = rows;
    vt_sync(); /* the tile before is done with */
    load_matrices<W, 2>(a, u, to, from, first, rows, (int)threadIdx.x, (int)blockDim.x);
    vt_sync();
}

template <int W>
VT_DEVICE void go_back_to_queries(const attention &a, const unit &u, room &r, int64_t image,
                                  int pass, bool resident)
{
    const int n = u.group.n_tokens, keys = n + u.group.n_pads, columns = a.cut.columns;
    const int64_t at = (image * a.sizes.heads + u.head) * a.map.tokens;
    const source<vt_bf16> rows[2] = {part_of<vt_bf16>(a, u, image, Q), dy_of<vt_bf16>(a, u, image)},
                          from[2] = {part_of<vt_bf16>(a, u, image, K_PART),
                                     part_of<vt_bf16>(a, u, image, V_PART)};
    to_queries<W> t;
    vt_warp_sync(); /* from here on all of it, whatever its lanes stored before */
    t.row = first_row(a, u, pass);
    t.one_block = keys <= to_queries<W>::COLUMNS;
    t.mean[0] = t.mean[1] = 0;
    clear_results<W / 8>(t.dq);
    for (int half = 0; half < 2; half++) {
        const int query = t.row + own_row() + 8 * half;
        t.lse[half] = a.saved_lse[at + u.token[query < n ? query : n - 1]];
    }
    if (!resident)
        load_own_rows<W>(a, u, r.queries, rows, t.row, n);
    for (int last = t.one_block; last < 2; last++) {
        for (int first = 0; first < keys; first += columns) {
            if (!resident)
                load_tile<W>(a, u, r.keys, from, first, rows_of_keys(a, u, first));
            if (t.row < n)
                go_over_keys<W>(t, a, u, r, image, keys - first < columns ? keys : first + columns,
                                last);
        }
        for (int half = 0; half < 2 && !last; half++)
            t.mean[half] = row_sum(t.mean[half]);
    }
    if (t.row < n)
        store_queries<W>(t, a, u, r, image, resident);
}

/* ---- rows are keys: dk and dv */

template <int W> struct to_keys {
    enum { N = W <= 64 ? 4 : 2, COLUMNS = 8 * N };
    float dk[W / 8][4], dv[W / 8][4];
    int row;
};

template <int W>
VT_DEVICE void go_over_queries(to_keys<W> &t, const attention &a, const unit &u, const room &r,
                               int64_t image, int last)
{
    enum { N = to_keys<W>::N, COLUMNS = to_keys<W>::COLUMNS };
    const matrices &q = r.queries;
    for (int column = q.first; column < last; column += COLUMNS) {
        float x[N][4], dx[N][4];
        uint32_t kept = ~0u;
        multiply<N>(x, a, r.keys.one, r.keys, t.row, q.one, q, column, last);
        multiply<N>(dx, a, r.keys.two, r.keys, t.row, q.two, q, column, last);
        finish_products<N, true>(x, a, u, r, t.row, column, last);
        if (a.sizes.drop > 0)
            kept = draw_kept_weights<N, true>(a, u, image, t.row, column);
        for (int j = 0; j < N; j++)
            for (int e = 0; e < 4; e++) {
                const int query = row_of(q, column_number(column, j, e));
                const float weight = expf(x[j][e] - r.lse[query]);
                const float factor = factor_of(a, kept, j, e);
                x[j][e] = weight * factor;
                dx[j][e] = weight * fmaf(dx[j][e], factor, -r.mean[query]);
            }
        add_weighted<W, N>(t.dv, x, a, q.two, q, column, last);
        add_weighted<W, N>(t.dk, dx, a, q.one, q, column, last);
    }
}

/* Sums over the rows that are padded places, added to what the warp has of earlier ones. */
template <int W>
VT_DEVICE void add_pads(float *to, const unit &u, int row, const float x[W / 8][4], int width)
{
    const int n = u.group.n_tokens, keys = n + u.group.n_pads;
    for (int i = 0; i < W / 8; i++)
        for (int e = 0; e < 2; e++) {
            const int upper = row_number(row, e), lower = row_number(row, e + 2);
            float sum = (upper >= n && upper < keys ? x[i][e] : 0.0f) +
                        (lower >= n && lower < keys ? x[i][e + 2] : 0.0f);
            sum += vt_shfl_xor(sum, 4);
            sum += vt_shfl_xor(sum, 8);
            sum += vt_shfl_xor(sum, 16);
            if (own_row() == 0 && 8 * i < width)
                to[8 * i + own_column() + e] += sum;
        }
}

template <int W>
VT_DEVICE void store_keys(const to_keys<W> &t, const attention &a, const unit &u, const room &r,
                          int64_t image)
{
    const int64_t channels = a.sizes.channels;
    const float scales[2] = {a.sizes.scale, a.sizes.scale}, ones[2] = {1, 1};
    vt_bf16 *k[2] = {nullptr, nullptr}, *v[2] = {nullptr, nullptr};
    for (int half = 0; half < 2; half++) {
        const int key = t.row + own_row() + 8 * half;
        if (key >= u.group.n_tokens || !a.dqkv)
            continue;
        vt_bf16 *token = dqkv_of<vt_bf16>(a, u, image, u.token[key]);
        k[half] = token + K_PART * channels;
        v[half] = token + V_PART * channels;
    }
    store_rows<W>(a, k, a.write, t.dk, scales);
    store_rows<W>(a, v, a.write, t.dv, ones);
    if (a.dpad && t.row + MMA_ROWS > u.group.n_tokens) {
        add_pads<W>(r.pads, u, t.row, t.dk, a.cut.width);
        add_pads<W>(r.pads + a.cut.width, u, t.row, t.dv, a.cut.width);
    }
}

template <int W>
VT_DEVICE void go_back_to_keys(const attention &a, const unit &u, room &r, int64_t image, int pass,
                               bool resident)
{
    const int n = u.group.n_tokens, keys = n + u.group.n_pads, columns = a.cut.columns;
    const int64_t at = (image * a.sizes.heads + u.head) * a.map.tokens;
    const source<vt_bf16> rows[2] = {part_of<vt_bf16>(a, u, image, K_PART),
                                     part_of<vt_bf16>(a, u, image, V_PART)},
                          from[2] = {part_of<vt_bf16>(a, u, image, Q), dy_of<vt_bf16>(a, u, image)};
    to_keys<W> t;
    vt_warp_sync();
    t.row = first_row(a, u, pass);
    clear_results<W / 8>(t.dk);
    clear_results<W / 8>(t.dv);
    if (!resident)
        load_own_rows<W>(a, u, r.keys, rows, t.row, keys);
    for (int first = 0; first < n; first += columns) {
        const int end = n - first < columns ? n : first + columns;
        if (!resident) {
            load_tile<W>(a, u, r.queries, from, first, end - first);
            for (int i = (int)threadIdx.x; i < end - first; i += (int)blockDim.x) {
                r.lse[i] = a.saved_lse[at + u.token[first + i]];
                r.mean[i] = a.means[at + u.token[first + i]];
            }
            vt_sync();
        }
        if (t.row < keys)
            go_over_queries<W>(t, a, u, r, image, end);
    }
    if (t.row < keys)
        store_keys<W>(t, a, u, r, image);
}

VT_DEVICE void clear_pads(const attention &a, const room &r)
{
    for (int i = (int)threadIdx.x % VT_WARP; i < 2 * a.cut.width; i += VT_WARP)
        r.pads[i] = 0;
    vt_warp_sync();
}

/* dpad[range][group][row tile][warp][head]: key, then value. */
VT_DEVICE void store_pads(const attention &a, const unit &u, const room &r)
{
    const int warp = (int)threadIdx.x / VT_WARP;
    const int64_t part =
        ((u.range * a.map.n_groups + u.group_index) * a.cut.row_tiles + u.row_tile) * a.cut.warps +
        warp;
    if (!a.dpad)
        return;
    float *to = a.dpad + (part * a.sizes.heads + u.head) * 2 * a.width;
    vt_warp_sync();
    for (int64_t i = (int)threadIdx.x % VT_WARP; i < a.width; i += VT_WARP) {
        to[i] = a.sizes.scale * r.pads[i];
        to[a.width + i] = r.pads[a.cut.width + i];
    }
}

/* ---- kernels */

/* All of a group at once: what goes to the queries, then what goes to the keys. */
template <int W> VT_KERNEL VT_RESIDENT(MAX_WARPS *VT_WARP, W <= 32 ? 2 : 1) go_back(attention a)
{
    const unit u = find_unit(a);
    room r = find_room(a, BOTH_WAYS);
    const int n = u.group.n_tokens;
    vt_bf16 *const to[4] = {r.queries.one, r.queries.two, r.keys.one, r.keys.two};
    r.queries.rows = n;
    r.keys.rows = rows_of_keys(a, u, 0);
    clear_pads(a, r);
    keep_bias(a, u, r);
    for (int64_t image = u.first_image; image < u.last_image; image++) {
        const int64_t at = (image * a.sizes.heads + u.head) * a.map.tokens;
        const source<vt_bf16> from[4] = {
            part_of<vt_bf16>(a, u, image, Q), dy_of<vt_bf16>(a, u, image),
            part_of<vt_bf16>(a, u, image, K_PART), part_of<vt_bf16>(a, u, image, V_PART)};
        vt_sync(); /* the image before is done with */
        load_matrices<W, 4>(a, u, to, from, 0, r.keys.rows, (int)threadIdx.x, (int)blockDim.x);
        for (int i = (int)threadIdx.x; i < n; i += (int)blockDim.x)
            r.lse[i] = a.saved_lse[at + u.token[i]];
        vt_sync();
        for (int pass = 0; pass < a.cut.passes; pass++)
            go_back_to_queries<W>(a, u, r, image, pass, true);
        vt_sync(); /* all means are there */
        for (int pass = 0; pass < a.cut.passes && (a.dqkv || a.dpad); pass++)
            go_back_to_keys<W>(a, u, r, image, pass, true);
    }
    vt_sync();
    store_kept_bias(a, u, r);
    store_pads(a, u, r);
}

template <int W>
VT_KERNEL VT_RESIDENT(MAX_WARPS *VT_WARP, W <= 32 ? 2 : 1) go_back_to_queries_by_tiles(attention a)
{
    const unit u = find_unit(a);
    room r = find_room(a, TO_QUERIES);
    for (int64_t image = u.first_image; image < u.last_image; image++)
        for (int pass = 0; pass < a.cut.passes; pass++)
            go_back_to_queries<W>(a, u, r, image, pass, false);
}

template <int W>
VT_KERNEL VT_RESIDENT(MAX_WARPS *VT_WARP, W <= 32 ? 2 : 1) go_back_to_keys_by_tiles(attention a)
{
    const unit u = find_unit(a);
    room r = find_room(a, TO_KEYS);
    clear_pads(a, r);
    for (int64_t image = u.first_image; image < u.last_image; image++)
        for (int pass = 0; pass < a.cut.passes; pass++)
            go_back_to_keys<W>(a, u, r, image, pass, false);
    store_pads(a, u, r);
}

void vt_attention_back_on_tensor_cores(vt_dev *d, const attention &a, int what)
{
    if (what == BOTH_WAYS)
        VT_ATTENTION_MMA_LAUNCH(d, go_back, a);
    else if (what == TO_QUERIES)
        VT_ATTENTION_MMA_LAUNCH(d, go_back_to_queries_by_tiles, a);
    else
        VT_ATTENTION_MMA_LAUNCH(d, go_back_to_keys_by_tiles, a);
}
