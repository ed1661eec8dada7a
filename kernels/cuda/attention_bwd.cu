/* Attention backward. */
#include "kernels/cuda/attention_mma.cuh"

/* Rows are queries: dq, the means, and the gradients of the biases, summed over the block's images
 * and kept by pairs of places in dbias[range][window][head]. */
template <typename T, int L, int K, int R> VT_KERNEL go_back_to_queries(attention a)
{
    const unit u = find_unit(a);
    const memory m = find_memory<R>(a, true);
    const int lane = (int)threadIdx.x % VT_WARP, n = u.group.n_tokens, keys = n + u.group.n_pads;
    const int64_t places = a.map.places;
    const bool one_tile = a.cut.tiles == 1;
    float *dbias =
        a.dbias ? a.dbias + ((u.range * a.map.windows + u.group.window) * a.sizes.heads + u.head) *
                                places * places
                : nullptr;
    if (u.chunk > 0)
        dbias = nullptr;

    for (int pass = 0; pass < a.cut.passes; pass++) {
        const rows mine = find_rows<R>(a, u, pass, n);
        float bias_sums[R][K]; /* of the only tile */
        clear<R, K>(bias_sums);
        for (int64_t image = u.first_image; image < u.last_image; image++) {
            const source<T> from[4] = {part_of<T>(a, u, image, Q), dy_of<T>(a, u, image),
                                       part_of<T>(a, u, image, K_PART),
                                       part_of<T>(a, u, image, V_PART)};
            const int64_t at = (image * a.sizes.heads + u.head) * a.map.tokens;
            const bool resident =
                pass > 0 && one_tile && a.cut.chunks == 1 && a.cut.range_images == 1;
            float mean[R], dq[R][L];
            clear<R, L>(dq);
            for (int r = 0; r < R; r++)
                mean[r] = 0;
            for (int last = one_tile; last < 2; last++) {
                for (int i = 0; i * VT_WARP * K < keys; i++) {
                    const tile<K> t = find_tile<K>(i, keys, n, u.group.n_pads > 0);
                    float scores[R][K], dweights[R][K];
                    compute_scores<T, L, K, R, true>(scores, dweights, a, u, m, from, mine, t,
                                                     resident, true);
                    if (mine.n <= 0)
                        continue;
                    finish_scores<K, R>(scores, a, u, mine, t);
                    uint32_t kept = 0;
                    if (a.sizes.drop > 0)
                        kept = draw_kept<K, R>(a, u, image, mine, t, false);
                    for (int r = 0; r < R; r++) {
                        const int row = mine.first + (r < mine.n ? r : 0);
                        const float lse = a.saved_lse[at + u.token[row]];
                        for (int j = 0; j < K; j++) {
                            const int key = t.first + lane + VT_WARP * j;
                            scores[r][j] = expf(scores[r][j] - lse);
                            if (key >= keys)
                                dweights[r][j] = 0;
                            else if (a.sizes.drop > 0)
                                dweights[r][j] *= kept >> (r * K + j) & 1 ? a.kept : 0.0f;
                            if (one_tile || !last)
                                mean[r] = fmaf(scores[r][j], dweights[r][j], mean[r]);
                        }
                    }
                    if (!last)
                        continue;
                    for (int r = 0; r < R; r++) {
                        if (one_tile)
                            mean[r] = vt_warp_sum(mean[r]);
                        for (int j = 0; j < K; j++) {
                            scores[r][j] *= dweights[r][j] - mean[r];
                            bias_sums[r][j] += scores[r][j];
                        }
                    }
                    if (!one_tile && dbias)
                        for (int j = 0; j < K; j++) {
                            const int key = t.first + lane + VT_WARP * j;
                            for (int r = 0; r < R; r++)
                                if (key < keys && r < mine.n)
                                    vt_give(dbias + u.place[mine.first + r] * places +
                                                place_of(u, key),
                                            image == u.first_image, scores[r][j]);
                        }
                    add_product<L, K, R>(dq, scores, a, m, m.columns1, t);
                }
                if (!last)
                    for (int r = 0; r < R; r++)
                        mean[r] = vt_warp_sum(mean[r]);
            }
            for (int r = 0; r < R; r++)
                if (r < mine.n) {
                    const int64_t token = u.token[mine.first + r];
                    if (lane == 0 && u.chunk == 0)
                        a.means[at + token] = mean[r];
                    if (a.dqkv)
                        store_row<L>(a, u, dqkv_of<T>(a, u, image, token), a.write, dq[r],
                                     a.sizes.scale);
                }
        }
        if (one_tile && dbias)
            for (int j = 0; j < K; j++) {
                const int key = lane + VT_WARP * j;
                for (int r = 0; r < R; r++)
                    if (key < keys && r < mine.n)
                        dbias[u.place[mine.first + r] * places + place_of(u, key)] =
                            bias_sums[r][j];
            }
    }
}

/* Rows are keys, columns queries: dk and dv. The padded places' are summed over the block's images
 * by each warp: dpad[range][group][row tile][warp][head], key then value. */
template <typename T, int L, int K, int R> VT_KERNEL go_back_to_keys(attention a)
{
    const unit u = find_unit(a);
    const memory m = find_memory<R>(a, true);
    const int lane = (int)threadIdx.x % VT_WARP, n = u.group.n_tokens, keys = n + u.group.n_pads;
    const int warp = (int)threadIdx.x / VT_WARP;
    const int64_t channels = a.sizes.channels;
    float dpad_k[L], dpad_v[L];
    for (int l = 0; l < L; l++)
        dpad_k[l] = dpad_v[l] = 0;

    for (int64_t image = u.first_image; image < u.last_image; image++) {
        const source<T> from[4] = {part_of<T>(a, u, image, K_PART), part_of<T>(a, u, image, V_PART),
                                   part_of<T>(a, u, image, Q), dy_of<T>(a, u, image)};
        const int64_t at = (image * a.sizes.heads + u.head) * a.map.tokens;
        for (int pass = 0; pass < a.cut.passes; pass++) {
            const rows mine = find_rows<R>(a, u, pass, keys);
            float dk[R][L], dv[R][L];
            clear<R, L>(dk);
            clear<R, L>(dv);
            for (int i = 0; i * VT_WARP * K < n; i++) {
                const tile<K> t = find_tile<K>(i, n, n, false);
                float scores[R][K], dweights[R][K];
                compute_scores<T, L, K, R, true>(scores, dweights, a, u, m, from, mine, t,
                                                 pass > 0 && a.cut.tiles == 1 && a.cut.chunks == 1,
                                                 true);
                if (mine.n <= 0)
                    continue;
                uint32_t kept = 0;
                if (a.sizes.drop > 0)
                    kept = draw_kept<K, R>(a, u, image, mine, t, true);
                int32_t place[R];
                for (int r = 0; r < R; r++)
                    place[r] = place_of(u, mine.first + (r < mine.n ? r : 0));
                for (int j = 0; j < K; j++) {
                    const int query = t.first + lane + VT_WARP * j, row = query < n ? query : 0;
                    const float lse = a.saved_lse[at + u.token[row]];
                    const float mean = a.means[at + u.token[row]];
                    for (int r = 0; r < R; r++) {
                        const float bias = bias_of(a, u, u.place[row], place[r]);
                        const float weight =
                            query < n ? expf(fmaf(scores[r][j], a.sizes.scale, bias) - lse) : 0.0f;
                        float factor = 1;
                        if (a.sizes.drop > 0)
                            factor = kept >> (r * K + j) & 1 ? a.kept : 0.0f;
                        scores[r][j] = weight * factor;
                        dweights[r][j] =
                            query < n ? weight * fmaf(dweights[r][j], factor, -mean) : 0.0f;
                    }
                }
                add_product<L, K, R>(dv, scores, a, m, m.columns2, t);
                add_product<L, K, R>(dk, dweights, a, m, m.columns1, t);
            }
            for (int r = 0; r < R; r++) {
                const int key = mine.first + r;
                if (r >= mine.n)
                    continue;
                if (key >= n) {
                    for (int l = 0; l < L; l++) {
                        dpad_k[l] = fmaf(dk[r][l], a.sizes.scale, dpad_k[l]);
                        dpad_v[l] += dv[r][l];
                    }
                } else if (a.dqkv) {
                    T *to = dqkv_of<T>(a, u, image, u.token[key]);
                    store_row<L>(a, u, to + K_PART * channels, a.write, dk[r], a.sizes.scale);
                    store_row<L>(a, u, to + V_PART * channels, a.write, dv[r], 1.0f);
                }
            }
        }
    }
    if (a.dpad) {
        const int64_t part =
            ((u.range * a.map.n_groups + u.group_index) * a.cut.row_tiles + u.row_tile) *
                a.cut.warps +
            warp;
        float *to = a.dpad + (part * a.sizes.heads + u.head) * 2 * a.width;
        store_row<L>(a, u, to, true, dpad_k, 1.0f);
        store_row<L>(a, u, to + a.width, true, dpad_v, 1.0f);
    }
}

/* sums[i] = sum over p of parts[p][i] for i < n; a warp has four chains of eight neighbours, so
 * that few sums still keep many threads busy. */
VT_KERNEL sum_parts(float *sums, const float *parts, int64_t n_parts, int64_t n)
{
    const int lane = (int)threadIdx.x % VT_WARP;
    const int64_t i = vt_index() / VT_WARP * 8 + lane % 8;
    float sum = 0;
    if (i < n)
        for (int64_t p = lane / 8; p < n_parts; p += 4)
            sum += parts[p * n + i];
    sum += vt_shfl_xor(sum, 8);
    sum += vt_shfl_xor(sum, 16);
    if (i < n && lane < 8)
        sums[i] = sum;
}

/* dtable[row][head] += the sums of the pairs of places that have this row. A warp an entry. */
VT_KERNEL add_to_table(float *dtable, const float *sums, const int32_t *bias_row, int64_t pairs,
                       int64_t table_rows, int64_t heads)
{
    const int lane = (int)threadIdx.x % VT_WARP;
    const int64_t entry = vt_index() / VT_WARP, head = entry / table_rows, row = entry % table_rows;
    if (head >= heads)
        return;
    float sum = 0;
    for (int64_t i = lane; i < pairs; i += VT_WARP)
        if (bias_row[i] == row)
            sum += sums[head * pairs + i];
    sum = vt_warp_sum(sum);
    if (lane == 0)
        dtable[row * heads + head] += sum;
}

/* sums (heads, 2, width): key and value */
VT_KERNEL add_to_pad_bias(float *dpad_bias, const float *sums, int64_t channels, int64_t width)
{
    const int64_t i = vt_index();
    if (i >= 2 * channels)
        return;
    const int64_t head = i / (2 * width), value = i / width % 2;
    dpad_bias[(1 + value) * channels + head * width + i % width] += sums[i];
}

/* How the pass is cut: in two ways over the scores, or in one on tensor cores. */
struct cuts {
    bool mma, at_once;
    plan queries, keys; /* the same if at once */
};

static cuts cut_pass(bool mma, const vt_attention_map *map, const vt_attention_sizes *sizes)
{
    cuts c = {};
    c.mma = mma;
    if (!mma) {
        c.queries = cut_work(map, sizes, TO_QUERIES);
        c.keys = cut_work(map, sizes, TO_KEYS);
        return c;
    }
    c.queries = c.keys = cut_for_tensor_cores(map, sizes, BOTH_WAYS);
    c.at_once = c.queries.shared <= MMA_SHARED;
    if (!c.at_once) {
        c.queries = cut_for_tensor_cores(map, sizes, TO_QUERIES);
        c.keys = cut_for_tensor_cores(map, sizes, TO_KEYS);
    }
    return c;
}

/* Scratch memory in floats: means, and where there are tables or padded places their partial sums,
 * followed by those sums. */
struct scratch {
    int64_t means, dbias, bias_sums, dpad, pad_sums, size;
    int64_t bias_parts, pad_parts;
};

static scratch lay_out(const cuts &c, const vt_attention_map *map, const vt_attention_sizes *sizes)
{
    const int64_t square = sizes->heads * map->places * map->places;
    scratch s = {};
    s.size = sizes->batch * sizes->heads * map->tokens;
    if (map->table_rows > 0) {
        s.bias_parts = c.queries.ranges * map->windows;
        s.dbias = s.size;
        s.bias_sums = s.dbias + s.bias_parts * square;
        s.size = s.bias_sums + square;
    }
    if (map->max_pads > 0) {
        s.pad_parts = c.keys.ranges * map->n_groups * c.keys.row_tiles * c.keys.warps;
        s.dpad = s.size;
        s.pad_sums = s.dpad + s.pad_parts * 2 * sizes->channels;
        s.size = s.pad_sums + 2 * sizes->channels;
    }
    return s;
}

/* Enough for any type. */
size_t VT_CUDA(attention_scratch)(const vt_attention_map *map, const vt_attention_sizes *sizes)
{
    const int64_t plain = lay_out(cut_pass(false, map, sizes), map, sizes).size;
    const int64_t mma = lay_out(cut_pass(true, map, sizes), map, sizes).size;
    return (size_t)(plain > mma ? plain : mma) * sizeof(float);
}

static void add_parts(vt_dev *d, float *sums, const float *parts, int64_t n_parts, int64_t n)
{
    VT_LAUNCH(d, sum_parts, vt_blocks(vt_ceil_div(n, 8) * VT_WARP), VT_THREADS, 0, sums, parts,
              n_parts, n);
}

static void go_to_queries(vt_dev *d, const cuts &c, vt_dtype type, attention a)
{
    const vt_buf like = {nullptr, type};
    a.cut = c.queries;
    if (a.cut.blocks <= 0)
        return;
    if (c.mma)
        vt_attention_back_on_tensor_cores(d, a, c.at_once ? (int)BOTH_WAYS : (int)TO_QUERIES);
    else
        VT_BY_TYPE(like, T, VT_ATTENTION_LAUNCH(d, go_back_to_queries, T, a));
}

static void go_to_keys(vt_dev *d, const cuts &c, vt_dtype type, attention a)
{
    const vt_buf like = {nullptr, type};
    a.cut = c.keys;
    if (c.at_once || a.cut.blocks <= 0 || (!a.dqkv && !a.dpad))
        return;
    if (c.mma)
        vt_attention_back_on_tensor_cores(d, a, TO_KEYS);
    else
        VT_BY_TYPE(like, T, VT_ATTENTION_LAUNCH(d, go_back_to_keys, T, a));
}

void VT_CUDA(attention_bwd)(vt_dev *d, vt_buf dqkv, bool write, float *dtable, float *dpad_bias,
                            vt_buf y, vt_buf dy, vt_buf qkv, const float *lse, const float *table,
                            const float *pad_bias, const vt_attention_map *map,
                            const vt_attention_sizes *sizes, const vt_step *step, void *room)
{
    const cuts c = cut_pass(on_tensor_cores(qkv, sizes), map, sizes);
    const scratch s = lay_out(c, map, sizes);
    const bool to_table = dtable && map->table_rows > 0, to_pads = dpad_bias && map->max_pads > 0;
    const int64_t pairs = map->places * map->places, heads = sizes->heads;
    float *floats = static_cast<float *>(room);
    attention a = describe(qkv, table, pad_bias, map, sizes, step);
    (void)y; /* not attention_remakes */
    if (sizes->batch == 0)
        return;
    a.dy = dy.data;
    a.saved_lse = lse;
    a.dqkv = dqkv.data;
    a.write = write;
    a.means = floats + s.means;
    if (to_pads)
        a.dpad = floats + s.dpad;
    if (to_table) {
        /* A window may have several groups, and no pair of places of two of them is written. */
        a.dbias = floats + s.dbias;
        vt_gpu_clear(vt_dev_gpu(d), a.dbias,
                     (size_t)(s.bias_parts * heads * pairs) * sizeof *a.dbias);
    }
    go_to_queries(d, c, qkv.type, a);
    if (to_table) {
        add_parts(d, floats + s.bias_sums, a.dbias, s.bias_parts, heads * pairs);
        VT_LAUNCH(d, add_to_table, vt_blocks(map->table_rows * heads * VT_WARP), VT_THREADS, 0,
                  dtable, floats + s.bias_sums, map->bias_row, pairs, map->table_rows, heads);
    }
    go_to_keys(d, c, qkv.type, a);
    if (to_pads) {
        add_parts(d, floats + s.pad_sums, a.dpad, s.pad_parts, 2 * sizes->channels);
        VT_LAUNCH(d, add_to_pad_bias, vt_blocks(2 * sizes->channels), VT_THREADS, 0, dpad_bias,
                  floats + s.pad_sums, sizes->channels, a.width);
    }
}
