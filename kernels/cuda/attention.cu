/* Attention forward, and its weights for captures. */
#include "kernels/cuda/attention_mma.cuh"

/* Scores become exponentials below the largest so far. Returns what earlier ones are multiplied
 * with. */
template <int K> VT_DEVICE float exponentiate(float scores[K], float *largest, float *sum)
{
    float top = scores[0], total = 0;
    for (int j = 1; j < K; j++)
        top = fmaxf(top, scores[j]);
    top = fmaxf(*largest, vt_warp_max(top));
    for (int j = 0; j < K; j++) {
        scores[j] = expf(scores[j] - top);
        total += scores[j];
    }
    const float shrunk = expf(*largest - top);
    *largest = top;
    *sum = fmaf(*sum, shrunk, vt_warp_sum(total));
    return shrunk;
}

template <typename T, int L, int K, int R> VT_KERNEL attend(attention a)
{
    const unit u = find_unit(a);
    const memory m = find_memory<R>(a, false);
    const int lane = (int)threadIdx.x % VT_WARP, n = u.group.n_tokens, keys = n + u.group.n_pads;
    const int64_t image = u.first_image;
    const source<T> from[4] = {part_of<T>(a, u, image, Q),
                               {},
                               part_of<T>(a, u, image, K_PART),
                               part_of<T>(a, u, image, V_PART)};

    for (int pass = 0; pass < a.cut.passes; pass++) {
        const rows mine = find_rows<R>(a, u, pass, n);
        float largest[R], sum[R], out[R][L];
        clear<R, L>(out);
        for (int r = 0; r < R; r++) {
            largest[r] = -INFINITY;
            sum[r] = 0;
        }
        for (int i = 0; i * VT_WARP * K < keys; i++) {
            const tile<K> t = find_tile<K>(i, keys, n, u.group.n_pads > 0);
            float scores[R][K];
            compute_scores<T, L, K, R, false>(scores, scores, a, u, m, from, mine, t,
                                              pass > 0 && a.cut.tiles == 1 && a.cut.chunks == 1,
                                              true);
            if (mine.n <= 0)
                continue;
            finish_scores<K, R>(scores, a, u, mine, t);
            for (int r = 0; r < R; r++) {
                const float shrunk = exponentiate<K>(scores[r], &largest[r], &sum[r]);
                for (int l = 0; l < L; l++)
                    out[r][l] *= shrunk;
            }
            if (a.sizes.drop > 0) {
                const uint32_t kept = draw_kept<K, R>(a, u, image, mine, t, false);
                for (int r = 0; r < R; r++)
                    for (int j = 0; j < K; j++)
                        scores[r][j] *= kept >> (r * K + j) & 1 ? a.kept : 0.0f;
            }
            add_product<L, K, R>(out, scores, a, m, m.columns2, t);
        }
        for (int r = 0; r < R; r++)
            if (r < mine.n) {
                const int64_t token = u.token[mine.first + r];
                store_row<L>(a, u, y_of<T>(a, u, image, token), true, out[r], 1.0f / sum[r]);
                if (lane == 0 && u.chunk == 0)
                    a.lse[(image * a.sizes.heads + u.head) * a.map.tokens + token] =
                        largest[r] + logf(sum[r]);
            }
    }
}

/* The weights: the largest and the sum as `attend` finds them, then the same exponentials. */
template <typename T, int L, int K, int R> VT_KERNEL find_weights(attention a)
{
    const unit u = find_unit(a);
    const memory m = find_memory<R>(a, false);
    const int lane = (int)threadIdx.x % VT_WARP, n = u.group.n_tokens, keys = n + u.group.n_pads;
    const int64_t image = u.first_image, places = a.map.places;
    const source<T> from[4] = {part_of<T>(a, u, image, Q), {}, part_of<T>(a, u, image, K_PART), {}};
    float *probs = a.probs + ((image * a.map.windows + u.group.window) * a.sizes.heads + u.head) *
                                 places * places;

    for (int pass = 0; pass < a.cut.passes; pass++) {
        const rows mine = find_rows<R>(a, u, pass, n);
        float largest[R], sum[R];
        for (int r = 0; r < R; r++) {
            largest[r] = -INFINITY;
            sum[r] = 0;
        }
        for (int storing = 0; storing < 2; storing++)
            for (int i = 0; i * VT_WARP * K < keys; i++) {
                const tile<K> t = find_tile<K>(i, keys, n, u.group.n_pads > 0);
                float scores[R][K];
                compute_scores<T, L, K, R, false>(scores, scores, a, u, m, from, mine, t, false,
                                                  false);
                if (mine.n <= 0)
                    continue;
                finish_scores<K, R>(scores, a, u, mine, t);
                if (!storing) {
                    for (int r = 0; r < R; r++)
                        exponentiate<K>(scores[r], &largest[r], &sum[r]);
                    continue;
                }
                for (int j = 0; j < K; j++) {
                    const int key = t.first + lane + VT_WARP * j;
                    for (int r = 0; r < R; r++)
                        if (key < keys && r < mine.n)
                            probs[u.place[mine.first + r] * places + place_of(u, key)] =
                                expf(scores[r][j] - largest[r]) * (1.0f / sum[r]);
                }
            }
    }
}

void VT_CUDA(attention_fwd)(vt_dev *d, vt_buf y, float *lse, vt_buf qkv, const float *table,
                            const float *pad_bias, const vt_attention_map *map,
                            const vt_attention_sizes *sizes, const vt_step *step)
{
    attention a = describe(qkv, table, pad_bias, map, sizes, step);
    a.y = y.data;
    a.lse = lse;
    const bool mma = on_tensor_cores(qkv, sizes);
    a.cut = mma ? cut_for_tensor_cores(map, sizes, FORWARD) : cut_work(map, sizes, FORWARD);
    if (a.cut.blocks <= 0)
        return;
    if (mma)
        vt_attend_on_tensor_cores(d, a);
    else
        VT_BY_TYPE(qkv, T, VT_ATTENTION_LAUNCH(d, attend, T, a));
}

void VT_CUDA(attention_probs)(vt_dev *d, float *probs, vt_buf qkv, const float *lse,
                              const float *table, const float *pad_bias,
                              const vt_attention_map *map, const vt_attention_sizes *sizes)
{
    attention a = describe(qkv, table, pad_bias, map, sizes, nullptr);
    const int64_t n = sizes->batch * map->windows * sizes->heads * map->places * map->places;
    (void)lse; /* found again as `attend` finds it, in fp32 with the same bits */
    a.probs = probs;
    vt_gpu_clear(vt_dev_gpu(d), probs, (size_t)n * sizeof *probs);
    a.cut = cut_work(map, sizes, FORWARD);
    if (a.cut.blocks > 0)
        VT_BY_TYPE(qkv, T, VT_ATTENTION_LAUNCH(d, find_weights, T, a));
}
