/*
 * The parts of attention inside one group: rows gathered from and scattered to the tokens, the
 * bias of every pair, dropout, softmax.
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

/* Asks for a row of d floats before it is needed: the rows of a group lie apart, so that the
 * processor does not see by itself where the next one is. */
VT_INLINE void prefetch_row(const float *row, int64_t d)
{
    for (int64_t i = 0; i < d; i += VT_LANES)
        _mm_prefetch((const char *)(row + i), _MM_HINT_T1);
}

/* to (n, width) = rows `token` of from, each d of `stride` floats */
VT_INLINE void gather_rows(float *to, int64_t width, const float *from, int64_t stride,
                           const int32_t *token, int64_t n, int64_t d)
{
    for (int64_t i = 0; i < n; i++)
        copy_row(to + i * width, from + token[i] * stride, d);
}

/* rows `token` of to = or += scale * from (n, width) */
VT_INLINE void scatter_rows(float *to, int64_t stride, const int32_t *token, int64_t n, int64_t d,
                            const float *from, int64_t width, float scale, bool add)
{
    const vt_lanes factor = vset1(scale);
    for (int64_t i = 0; i < n; i++) {
        float *row = to + token[i] * stride;
        const float *values = from + i * width;
        int64_t j = 0;
        for (; j + VT_LANES <= d; j += VT_LANES) {
            vt_lanes value = vmul(vload(values + j), factor);
            vstore(row + j, add ? vadd(vload(row + j), value) : value);
        }
        if (j < d) {
            vt_lanes value = vmul(vload(values + j), factor);
            vstore_first(row + j, add ? vadd(vload_first(row + j, d - j), value) : value, d - j);
        }
    }
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

/* to (cols, rows) = from (rows, cols) transposed; both counts are multiples of 8. */
VT_INLINE void transpose(float *to, const float *from, int64_t rows, int64_t cols)
{
    for (int64_t i = 0; i < rows; i += 8)
        for (int64_t j = 0; j < cols; j += 8) {
            __m256 x[8], y[8];
#pragma GCC unroll 8
            for (int r = 0; r < 8; r++)
                x[r] = _mm256_loadu_ps(from + (i + r) * cols + j);
#pragma GCC unroll 4
            for (int r = 0; r < 8; r += 2) {
                y[r] = _mm256_unpacklo_ps(x[r], x[r + 1]);
                y[r + 1] = _mm256_unpackhi_ps(x[r], x[r + 1]);
            }
#pragma GCC unroll 2
            for (int r = 0; r < 8; r += 4) {
                x[r] = _mm256_shuffle_ps(y[r], y[r + 2], 0x44);
                x[r + 1] = _mm256_shuffle_ps(y[r], y[r + 2], 0xee);
                x[r + 2] = _mm256_shuffle_ps(y[r + 1], y[r + 3], 0x44);
                x[r + 3] = _mm256_shuffle_ps(y[r + 1], y[r + 3], 0xee);
            }
#pragma GCC unroll 4
            for (int r = 0; r < 4; r++) {
                _mm256_storeu_ps(to + (j + r) * rows + i,
                                 _mm256_permute2f128_ps(x[r], x[r + 4], 0x20));
                _mm256_storeu_ps(to + (j + r + 4) * rows + i,
                                 _mm256_permute2f128_ps(x[r], x[r + 4], 0x31));
            }
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

/* Scores become weights. */
VT_INLINE void softmax_row(float *row, const group_shape *s, const float *bias, float scale,
                           float *largest, float *sum)
{
    const float top = make_scores(row, s, bias, scale);
    vt_lanes total = vzero();
    for (int64_t j = 0; j < s->row; j += VT_LANES) {
        vt_lanes weight = vexp(vsub(vload(row + j), vset1(top)));
        vstore(row + j, weight);
        total = vadd(total, weight);
    }
    *largest = top;
    *sum = vsum(total);
    const vt_lanes inverse = vset1(1.0f / *sum);
    for (int64_t j = 0; j < s->row; j += VT_LANES)
        vstore(row + j, vmul(vload(row + j), inverse));
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
 * the sum. Out: row holds what multiplies the values, drow the gradient of the scores; both have
 * the pads' sum in their common column. dbias += the gradient of the scores, or NULL. */
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
        vt_lanes weight = vexp(vsub(vfma(dots, factor, vload(bias + j)), log_sum));
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
        vstore(row + j, weight);
        vstore(drow + j, dscore);
        if (dbias != NULL)
            vstore(dbias + j, vadd(vload(dbias + j), dscore));
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
