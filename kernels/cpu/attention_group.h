/*
 * The parts of attention inside one group: rows gathered from the tokens, the bias of every pair,
 * dropout, softmax.
 *
 * All padded places of a group have the same key and value. So the products see one key more, whose
 * key and value are the qkv bias; its column of scores is spread over the padded places before the
 * softmax, and what they weigh together is its weight.
 */
#ifndef VT_KERNELS_CPU_ATTENTION_GROUP_H
#define VT_KERNELS_CPU_ATTENTION_GROUP_H

#include "kernels/cpu/attention_layout.h"
#include "kernels/cpu/cpu.h"
#include "kernels/cpu/draw.h"
#include "kernels/cpu/lanes.h"

#include <string.h>

/* A group at work. Columns of a row of scores: tokens [0, n), their pads' common key at n, pads
 * [first_pad, first_pad + pads); the rest has bias -infinity and so weight 0. */
typedef struct group_shape {
    const vt_attention_map *map;
    const vt_attention_group *group;
    const int32_t *token, *place, *pad_place; /* of this group */
    int64_t n, pads;
    int64_t keys;      /* n, one more with pads */
    int64_t columns;   /* keys whose scores are computed as a product of whole lanes */
    int64_t first_pad; /* keys, rounded up */
    int64_t row;       /* length of a row of scores */
} group_shape;

VT_INLINE group_shape shape_of(const vt_attention_map *map, int64_t index)
{
    const vt_attention_group *group = &map->groups[index];
    group_shape s = {.map = map,
                     .group = group,
                     .token = map->token + group->first,
                     .place = map->place + group->first,
                     .n = group->n_tokens,
                     .pads = group->n_pads};
    VT_ASSERT(s.n > 0);
    if (s.pads > 0)
        s.pad_place = map->pad_place + group->first_pad;
    s.keys = s.n + (s.pads > 0);
    s.first_pad = vt_attention_round(s.keys);
    /* one key past whole lanes (49 = 3 * 16 + 1, 65, 17) is not worth a whole lane of products */
    s.columns = s.keys > VT_LANES && s.keys % VT_LANES == 1 ? s.keys - 1 : s.first_pad;
    s.row = s.first_pad + vt_attention_round(s.pads);
    return s;
}

/* to (width) = from (d), then zeros. Whole lanes. */
VT_INLINE void copy_row(float *to, const float *from, int64_t d)
{
    int64_t i = 0;
    for (; i + VT_LANES <= d; i += VT_LANES)
        vstore(to + i, vload(from + i));
    if (i < d)
        vstore(to + i, vload_first(from + i, d - i));
}

/* to (n, width) = rows `token` of from, each d of `stride` floats */
VT_INLINE void gather_rows(float *to, int64_t width, const float *from, int64_t stride,
                           const int32_t *token, int64_t n, int64_t d)
{
    for (int64_t i = 0; i < n; i++)
        copy_row(to + i * width, from + token[i] * stride, d);
}

/* The keys or values of a group: its tokens' rows, the padded places' row (d floats or NULL for
 * zeros), and zeros up to whole lanes of rows. */
VT_INLINE void gather_keys(float *to, int64_t width, const group_shape *s, const float *from,
                           int64_t stride, const float *pad, int64_t d)
{
    gather_rows(to, width, from, stride, s->token, s->n, d);
    memset(to + s->n * width, 0, (size_t)((s->first_pad - s->n) * width) * sizeof *to);
    if (s->pads > 0 && pad != NULL)
        copy_row(to + s->n * width, pad, d);
}

/* to (d, 8 of `stride`) = eight rows of d floats, transposed */
VT_INLINE void transpose_eight(float *to, int64_t stride, const float *const row[8], int64_t d)
{
    int64_t j = 0;
    for (; j + 4 <= d; j += 4) {
        __m256 x[4], y[4];
#pragma GCC unroll 4
        for (int r = 0; r < 4; r++) /* rows r and r + 4 side by side */
            x[r] = _mm256_insertf128_ps(_mm256_castps128_ps256(_mm_loadu_ps(row[r] + j)),
                                        _mm_loadu_ps(row[r + 4] + j), 1);
#pragma GCC unroll 2
        for (int r = 0; r < 4; r += 2) {
            y[r] = _mm256_unpacklo_ps(x[r], x[r + 1]);
            y[r + 1] = _mm256_unpackhi_ps(x[r], x[r + 1]);
        }
#pragma GCC unroll 2
        for (int r = 0; r < 2; r++) {
            _mm256_storeu_ps(to + (j + 2 * r) * stride, _mm256_shuffle_ps(y[r], y[r + 2], 0x44));
            _mm256_storeu_ps(to + (j + 2 * r + 1) * stride,
                             _mm256_shuffle_ps(y[r], y[r + 2], 0xee));
        }
    }
    for (; j < d; j++)
        for (int r = 0; r < 8; r++)
            to[j * stride + r] = row[r][j];
}

/* Row i of the keys or values of a group: its tokens', the padded places' (d floats or NULL for
 * zeros), then zeros (`zeros` has d of them). */
VT_INLINE const float *key_row(const group_shape *s, const float *from, int64_t stride,
                               const float *pad, const float *zeros, int64_t i)
{
    if (i < s->n)
        return from + s->token[i] * stride;
    return i == s->n && s->pads > 0 && pad != NULL ? pad : zeros;
}

/* to (d, columns) = the keys or values of a group transposed */
VT_INLINE void turn_keys(float *to, const group_shape *s, const float *from, int64_t stride,
                         const float *pad, const float *zeros, int64_t d)
{
    for (int64_t i = 0; i < s->columns; i += 8) {
        const float *row[8];
        for (int64_t r = 0; r < 8; r++)
            row[r] = key_row(s, from, stride, pad, zeros, i + r);
        transpose_eight(to + i, s->columns, row, d);
    }
}

/* The lanes [columns, first_pad) of n rows of scores: left (n, d) times the one key that is left */
VT_INLINE void multiply_with_last(float *to, const group_shape *s, const float *left,
                                  int64_t stride, const int32_t *token, const float *key, int64_t d,
                                  int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        const float *row = left + (token != NULL ? token[i] : i) * stride;
        vt_lanes sum = vzero();
        int64_t j = 0;
        for (; j + VT_LANES <= d; j += VT_LANES)
            sum = vfma(vload(row + j), vload(key + j), sum);
        if (j < d)
            sum = vfma(vload_first(row + j, d - j), vload_first(key + j, d - j), sum);
        vstore(to + i * s->row + s->columns, vzero());
        to[i * s->row + s->columns] = vsum(sum);
    }
}

/* bias (n, row): the table's entry for each pair, -infinity where there is no key. `table` has one
 * head's entries; NULL: zeros, and one row stands for all. */
VT_INLINE void fill_bias(float *bias, const group_shape *s, const float *table)
{
    const int64_t rows = table != NULL ? s->n : 1;
    for (int64_t i = 0; i < rows; i++) {
        float *row = bias + i * s->row;
        const int32_t *index =
            table != NULL ? s->map->bias_row + s->place[i] * s->map->places : NULL;
        for (int64_t j = 0; j < s->n; j++)
            row[j] = table != NULL ? table[index[s->place[j]]] : 0.0f;
        for (int64_t j = s->n; j < s->first_pad; j++)
            row[j] = -INFINITY;
        for (int64_t j = 0; j < s->pads; j++)
            row[s->first_pad + j] = table != NULL ? table[index[s->pad_place[j]]] : 0.0f;
        for (int64_t j = s->first_pad + s->pads; j < s->row; j++)
            row[j] = -INFINITY;
    }
}

/* dtable += dbias (n, row), pair after pair */
VT_INLINE void add_to_table(float *dtable, const group_shape *s, const float *dbias)
{
    for (int64_t i = 0; i < s->n; i++) {
        const float *row = dbias + i * s->row;
        const int32_t *index = s->map->bias_row + s->place[i] * s->map->places;
        for (int64_t j = 0; j < s->n; j++)
            dtable[index[s->place[j]]] += row[j];
        for (int64_t j = 0; j < s->pads; j++)
            dtable[index[s->pad_place[j]]] += row[s->first_pad + j];
    }
}

/* factors (row): 1 / (1 - rate) for the keys that query number `query` of the group keeps, else 0.
 * Drawn for every place of the window, so that an element's number does not depend on the group. */
VT_INLINE void draw_factors(float *factors, uint32_t *words, const group_shape *s,
                            const vt_attention_sizes *sizes, const vt_step *step, int64_t image,
                            int64_t head, int64_t query)
{
    const int64_t places = s->map->places;
    const int64_t first =
        ((s->group->window * sizes->heads + head) * places + s->place[query]) * places;
    const uint32_t threshold = vt_drop_threshold(sizes->drop);
    const float kept = 1.0f / (1.0f - sizes->drop);
    const uint32_t *drawn = words + first % 4;

    for (int64_t i = 0; i < first % 4 + places; i += VT_DRAW_RUN)
        vt_draw_run(words + i, step, sizes->stream, image, first - first % 4 + i);
    for (int64_t j = 0; j < s->n; j++)
        factors[j] = drawn[s->place[j]] >= threshold ? kept : 0.0f;
    for (int64_t j = s->n; j < s->first_pad; j++)
        factors[j] = 0.0f;
    for (int64_t j = 0; j < s->pads; j++)
        factors[s->first_pad + j] = drawn[s->pad_place[j]] >= threshold ? kept : 0.0f;
    for (int64_t j = s->first_pad + s->pads; j < s->row; j++)
        factors[j] = 0.0f;
}

/* A row of q.k becomes a row of scores: scale * q.k + bias, the common key's column spread over the
 * padded places. Returns the largest, or NaN where the sum will be NaN anyway. */
VT_INLINE float make_scores(float *row, const group_shape *s, const float *bias, float scale)
{
    const vt_lanes factor = vset1(scale), pad = vset1(row[s->n < s->keys ? s->n : 0]);
    vt_lanes largest = vset1(-INFINITY);
    for (int64_t j = 0; j < s->row; j += VT_LANES) {
        vt_lanes dots = j < s->first_pad ? vload(row + j) : pad;
        vt_lanes scores = vfma(dots, factor, vload(bias + j));
        vstore(row + j, scores);
        largest = vmax(largest, scores);
    }
    return vlargest(largest);
}

/* Scores become weights, not yet divided by their sum. */
VT_INLINE void softmax_row(float *row, const group_shape *s, const float *bias, float scale,
                           float *largest, float *sum, float *inverse)
{
    const float top = make_scores(row, s, bias, scale);
    vt_lanes total = vzero();
    for (int64_t j = 0; j < s->row; j += VT_LANES) {
        vt_lanes weight = vexp_falling(vsub(vload(row + j), vset1(top)));
        vstore(row + j, weight);
        total = vadd(total, weight);
    }
    *largest = top;
    *sum = vsum(total);
    *inverse = 1.0f / *sum;
}

/* Weights become what multiplies the values: dropout applied (factors or NULL), the padded places
 * together in their common column. */
VT_INLINE void gather_weights(float *row, const group_shape *s, const float *factors)
{
    if (factors != NULL)
        for (int64_t j = 0; j < s->row; j += VT_LANES)
            vstore(row + j, vmul(vload(row + j), vload(factors + j)));
    if (s->pads > 0) {
        vt_lanes total = vzero();
        for (int64_t j = s->first_pad; j < s->row; j += VT_LANES)
            total = vadd(total, vload(row + j));
        row[s->n] = vsum(total);
    }
}

/* Backward through a row. In: row holds q.k, drow dy.v (one column for all pads), lse the log of
 * the sum. Out: row holds what multiplies the values, drow the gradient of q.k; both have the pads'
 * sum in their common column. dbias += the gradient of the scores, or NULL. */
VT_INLINE void softmax_row_backward(float *row, float *drow, const group_shape *s,
                                    const float *bias, const float *factors, float scale, float lse,
                                    float *dbias)
{
    const vt_lanes factor = vset1(scale), pad = vset1(row[s->n < s->keys ? s->n : 0]);
    const vt_lanes dpad = vset1(drow[s->n < s->keys ? s->n : 0]), log_sum = vset1(lse);
    vt_lanes mean = vzero(), pad_sum = vzero(), dpad_sum = vzero();

    for (int64_t j = 0; j < s->row; j += VT_LANES) {
        vt_lanes dots = j < s->first_pad ? vload(row + j) : pad;
        vt_lanes dweight = j < s->first_pad ? vload(drow + j) : dpad;
        vt_lanes weight = vexp_falling(vsub(vfma(dots, factor, vload(bias + j)), log_sum));
        if (factors != NULL)
            dweight = vmul(dweight, vload(factors + j));
        vstore(row + j, weight);
        vstore(drow + j, dweight);
        mean = vfma(weight, dweight, mean);
    }
    const vt_lanes shift = vset1(vsum(mean));
    for (int64_t j = 0; j < s->row; j += VT_LANES) {
        vt_lanes weight = vload(row + j);
        vt_lanes dscore = vmul(weight, vsub(vload(drow + j), shift));
        if (factors != NULL)
            weight = vmul(weight, vload(factors + j));
        if (dbias != NULL)
            vstore(dbias + j, vadd(vload(dbias + j), dscore));
        dscore = vmul(dscore, factor);
        vstore(row + j, weight);
        vstore(drow + j, dscore);
        if (j >= s->first_pad) {
            pad_sum = vadd(pad_sum, weight);
            dpad_sum = vadd(dpad_sum, dscore);
        }
    }
    if (s->pads > 0) {
        row[s->n] = vsum(pad_sum);
        drow[s->n] = vsum(dpad_sum);
    }
}

#endif
