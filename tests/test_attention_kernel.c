/*
 * Attention in groups against plain loops in double, forward and backward, on maps with several
 * groups a window, padded places and dropout; and the same bits at any number of threads, order of
 * chunks and vector width.
 *
 * Bounds: U is the largest relative rounding error of one float operation. Beside every reference
 * value stands its size, the same sum with every term's absolute value and the scores' share of the
 * error of their exponential. A result may differ by a few U times that size.
 *
 * In bfloat16 the inputs are numbers of that type, padded places have the bias rounded to it, and
 * results of that type may be off by one rounding more. On tensor cores weights, and the gradients
 * of scores, are rounded as operands: each term of y, dq, dk and dv is off by up to 2^-8 of itself.
 * That error lies evenly on both sides, with a deviation of 2^-8 / sqrt(3), so a sum is off by less
 * than 6 deviations, 3.5 * 2^-8 times the root of its terms' squares, but for one of 10^9. Padded
 * places may all have the same weight and so the same error: they count as one term.
 */
#include "base/hash.h"
#include "base/mem.h"
#include "base/rng.h"
#include "kernels/device.h"
#include "support/test_device.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static const double U = 0x1p-24;
/* Units of U times size; 3.0 is the largest seen. A tensor core may cut off, where it adds 16
 * products, what is below 2 U of the sum so far; the widest head that it takes has 8 such steps. */
static double bound(void)
{
    return rounded_type() == VT_BF16 ? 4.0 + 8 * 2 : 4.0;
}

enum { GUARD = 16 };

/* ---- cases */

struct shape {
    const char *name;
    int64_t batch, heads, width, windows, places;
    int64_t groups;   /* in a window */
    int64_t pads;     /* padded places in a window */
    bool attend_pads; /* pads are keys */
    bool table, pad_bias;
    float drop;
};

static const struct shape shapes[] = {
    {"one token", 1, 1, 5, 1, 1, 1, 0, false, false, false, 0},
    {"plain attention, odd sizes", 3, 2, 5, 1, 13, 1, 0, false, false, false, 0},
    {"plain attention, 65 tokens", 2, 2, 64, 1, 65, 1, 0, false, false, false, 0},
    {"more queries than are held at once", 1, 1, 16, 1, 300, 1, 0, false, false, false, 0},
    {"windows with a table", 5, 3, 16, 4, 16, 1, 0, false, true, false, 0},
    {"windows with padded keys", 3, 2, 64, 3, 49, 1, 21, true, true, true, 0},
    {"mostly padding", 2, 3, 24, 2, 49, 1, 47, true, true, true, 0},
    {"padding without bias", 2, 1, 24, 2, 25, 2, 7, true, true, false, 0},
    {"padding that is not seen", 2, 2, 24, 2, 25, 3, 7, false, true, false, 0},
    {"shifted windows with padding", 19, 5, 5, 2, 20, 4, 6, true, true, true, 0},
    {"padding without a table", 2, 2, 16, 2, 31, 2, 15, true, false, true, 0},
    {"wide heads", 2, 2, 101, 1, 41, 1, 0, false, false, false, 0},
    {"wide heads, many keys, a table and padding", 1, 1, 68, 1, 270, 2, 9, true, true, true,
     0.125f},
    {"many images", 130, 4, 3, 1, 66, 1, 0, false, false, false, 0},
    {"many windows", 17, 8, 3, 8, 9, 4, 2, true, true, true, 0},
    {"dropout", 3, 2, 16, 1, 33, 1, 0, false, false, false, 0.25f},
    {"dropout with a table and padding", 2, 3, 24, 3, 49, 3, 17, true, true, true, 0.5f},
    {"16 tokens", 2, 2, 8, 2, 16, 1, 0, false, true, false, 0},
    {"17 tokens", 2, 2, 32, 2, 17, 1, 0, false, true, false, 0.25f},
    {"49 tokens and a table", 2, 2, 32, 2, 49, 1, 0, false, true, false, 0},
    {"64 keys, some padding", 1, 2, 64, 1, 64, 1, 15, true, true, true, 0},
    {"65 keys, some padding", 1, 2, 36, 1, 65, 1, 1, true, true, true, 0},
    {"145 tokens", 1, 1, 20, 1, 145, 1, 0, false, false, false, 0},
    {"197 tokens", 1, 1, 64, 1, 197, 1, 0, false, false, false, 0},
    {"256 tokens, a table and dropout", 1, 1, 32, 1, 256, 1, 0, false, true, false, 0.125f},
    {"wide heads in tiles, with a table and padding", 2, 1, 120, 1, 300, 1, 20, true, true, true,
     0},
    {"the widest heads", 2, 1, 128, 2, 35, 2, 3, true, false, true, 0},
    {"wider heads", 1, 2, 132, 1, 20, 1, 3, true, true, true, 0},
};
enum { N_SHAPES = sizeof shapes / sizeof *shapes };

struct problem {
    const struct shape *shape;
    vt_attention_map map;
    vt_attention_sizes sizes;
    vt_attention_group *groups;
    int32_t *token, *place, *pad_place, *bias_row;
    float *qkv, *table, *pad_bias, *dy;
    float *pads; /* pad_bias as the kernels take it */
    int64_t n_qkv, n_y, n_lse, n_table, n_probs;
    vt_step step;
};

static void *new_block(int64_t n, size_t size)
{
    void *block = vt_calloc((size_t)(n > 0 ? n : 1), size);
    assert_non_null(block);
    return block;
}

static float *new_random(int64_t n, uint32_t sample, double scale)
{
    float *x = new_block(n, sizeof *x);
    vt_rng rng = vt_rng_at(11, VT_STREAM_TEST, 1, 0, sample);
    for (int64_t i = 0; i < n; i++)
        x[i] = (float)(scale * (2.0 * (double)vt_rng_uniform(&rng, (uint64_t)i) - 1.0));
    return x;
}

static void round_all(float *x, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        x[i] = rounded_number(x[i]);
}

/* Places go to groups and padding at random, and so do token numbers to places. */
static void make_map(struct problem *p)
{
    const struct shape *s = p->shape;
    const int64_t real = s->places - s->pads, tokens = s->windows * real;
    const vt_rng rng = vt_rng_at(5, VT_STREAM_TEST, 2, 0, 0);
    uint32_t *order = new_block(tokens, sizeof *order), *places = new_block(s->places, 4);
    int64_t n_groups = 0, n_tokens = 0, n_pads = 0;

    p->groups = new_block(s->windows * s->groups, sizeof *p->groups);
    p->token = new_block(tokens, sizeof *p->token);
    p->place = new_block(tokens, sizeof *p->place);
    p->pad_place = new_block(s->windows * s->groups * s->pads, sizeof *p->pad_place);
    p->bias_row = new_block(s->places * s->places, sizeof *p->bias_row);
    vt_rng_shuffle(&rng, order, (uint32_t)tokens);
    for (int64_t w = 0; w < s->windows; w++) {
        const vt_rng window_rng = vt_rng_at(5, VT_STREAM_TEST, 3, 0, (uint32_t)w);
        int64_t at = 0;
        vt_rng_shuffle(&window_rng, places, (uint32_t)s->places);
        for (int64_t g = 0; g < s->groups; g++) {
            /* group g has a share of the places that grows with g */
            const int64_t share = real * (g + 1) * (g + 2) / (s->groups * (s->groups + 1));
            const int64_t end = share > at ? share : at + 1;
            vt_attention_group *group = &p->groups[n_groups++];
            group->window = (int32_t)w;
            group->first = (int32_t)n_tokens;
            group->first_pad = (int32_t)n_pads;
            for (; at < end; at++) {
                p->token[n_tokens] = (int32_t)order[n_tokens];
                p->place[n_tokens++] = (int32_t)places[at];
            }
            for (int64_t i = real; s->attend_pads && i < s->places; i++)
                p->pad_place[n_pads++] = (int32_t)places[i];
            group->n_tokens = (int32_t)n_tokens - group->first;
            group->n_pads = (int32_t)n_pads - group->first_pad;
            if (group->n_tokens > p->map.max_tokens)
                p->map.max_tokens = group->n_tokens;
            if (group->n_pads > p->map.max_pads)
                p->map.max_pads = group->n_pads;
        }
    }
    assert_int_equal(n_tokens, tokens);
    p->map.table_rows = s->table ? 2 * s->places - 1 : 0;
    for (int64_t i = 0; i < s->places; i++)
        for (int64_t j = 0; j < s->places; j++)
            p->bias_row[i * s->places + j] = (int32_t)(i - j + s->places - 1);
    p->map.tokens = tokens;
    p->map.windows = s->windows;
    p->map.places = s->places;
    p->map.n_groups = n_groups;
    p->map.groups = p->groups;
    p->map.token = p->token;
    p->map.place = p->place;
    p->map.pad_place = p->pad_place;
    p->map.bias_row = s->table ? p->bias_row : NULL;
    vt_free(order);
    vt_free(places);
}

static void problem_init(struct problem *p, const struct shape *s)
{
    memset(p, 0, sizeof *p);
    p->shape = s;
    make_map(p);
    const int64_t channels = s->heads * s->width;
    p->sizes = (vt_attention_sizes){.batch = s->batch,
                                    .channels = channels,
                                    .heads = s->heads,
                                    .scale = (float)(1.0 / sqrt((double)s->width)),
                                    .drop = s->drop,
                                    .stream = 77};
    p->step = (vt_step){.key = {123, 456}, .draw = 9};
    p->n_y = s->batch * p->map.tokens * channels;
    p->n_qkv = 3 * p->n_y;
    p->n_lse = s->batch * s->heads * p->map.tokens;
    p->n_table = p->map.table_rows * s->heads;
    p->n_probs = s->batch * s->windows * s->heads * s->places * s->places;
    p->qkv = new_random(p->n_qkv, 1, 2.0);
    p->pads = s->pad_bias ? new_random(3 * channels, 3, 1.0) : NULL;
    p->table = s->table ? new_random(p->n_table, 2, 1.0) : NULL;
    p->pad_bias = s->pad_bias ? new_random(3 * channels, 3, 1.0) : NULL;
    p->dy = new_random(p->n_y, 4, 1.0);
    round_all(p->qkv, p->n_qkv);
    round_all(p->dy, p->n_y);
    if (p->pads != NULL)
        round_all(p->pads, 3 * channels);
}

static void problem_release(struct problem *p)
{
    void *blocks[] = {p->groups, p->token, p->place,    p->pad_place, p->bias_row,
                      p->qkv,    p->table, p->pad_bias, p->dy,        p->pads};
    for (size_t i = 0; i < sizeof blocks / sizeof *blocks; i++)
        vt_free(blocks[i]);
}

/* ---- reference in double: each value beside its size */

struct sized {
    double *value, *size;
    double *terms, *squares; /* sums over terms with a rounded operand: absolute, squared */
};

static struct sized new_sized(int64_t n)
{
    return (struct sized){new_block(n, sizeof(double)), new_block(n, sizeof(double)),
                          new_block(n, sizeof(double)), new_block(n, sizeof(double))};
}

static void add(struct sized a, int64_t i, double value, double size)
{
    a.value[i] += value;
    a.size[i] += size;
}

static void add_term(struct sized a, int64_t i, double term)
{
    a.terms[i] += fabs(term);
    a.squares[i] += term * term;
}

/* What the rounding of operands may do to a sum. */
static double operand_slack(struct sized a, int64_t i)
{
    const double likely = 3.5 * sqrt(a.squares[i]);
    return rounded_type() == VT_BF16 ? 0x1.01p-8 * (likely < a.terms[i] ? likely : a.terms[i]) : 0;
}

struct reference {
    struct sized y, lse, probs, dqkv, dtable, dpad;
};

static struct reference new_reference(const struct problem *p)
{
    return (struct reference){new_sized(p->n_y),     new_sized(p->n_lse),
                              new_sized(p->n_probs), new_sized(p->n_qkv),
                              new_sized(p->n_table), new_sized(3 * p->sizes.channels)};
}

static void free_reference(struct reference *r)
{
    struct sized *all[] = {&r->y, &r->lse, &r->probs, &r->dqkv, &r->dtable, &r->dpad};
    for (int i = 0; i < 6; i++) {
        vt_free(all[i]->value);
        vt_free(all[i]->size);
        vt_free(all[i]->terms);
        vt_free(all[i]->squares);
    }
}

/* A key or value of a group: column j is a token's for j < n_tokens, then the pads'. */
struct row {
    const float *value; /* NULL: zeros */
    struct sized grad;
    int64_t grad_at;
};

static struct row part_of(const struct problem *p, const struct reference *r, int64_t image,
                          int64_t head, const vt_attention_group *g, int64_t j, int part)
{
    const int64_t at = part * p->sizes.channels + head * p->shape->width;
    if (j < g->n_tokens) {
        const int64_t row = image * p->map.tokens + p->token[g->first + j];
        return (struct row){p->qkv + row * 3 * p->sizes.channels + at, r->dqkv,
                            row * 3 * p->sizes.channels + at};
    }
    return (struct row){p->pads != NULL ? p->pads + at : NULL, r->dpad, at};
}

static double value_at(struct row row, int64_t i)
{
    return row.value != NULL ? (double)row.value[i] : 0.0;
}

static double factor_of(const struct problem *p, int64_t image, int64_t head,
                        const vt_attention_group *g, int64_t from, int64_t to)
{
    const uint64_t places = (uint64_t)p->map.places;
    const uint64_t e = (((uint64_t)g->window * (uint64_t)p->sizes.heads + (uint64_t)head) * places +
                        (uint64_t)from) *
                           places +
                       (uint64_t)to;
    const uint32_t counter[4] = {(uint32_t)(e / 4), (uint32_t)image, p->step.draw, p->sizes.stream};
    uint32_t words[4];
    if (p->sizes.drop == 0.0f)
        return 1.0;
    vt_philox(p->step.key, counter, words);
    return (double)words[e % 4] >= floor((double)p->sizes.drop * 4294967296.0)
               ? 1.0 / (1.0 - (double)p->sizes.drop)
               : 0.0;
}

/* The terms of one query's sums that are made with rounded weights and gradients of scores; those
 * of padded places together are one. */
struct operands {
    int64_t n_tokens, keys, width;
    const double *weighted, *dscore; /* (keys) */
};

static void add_operands(const struct problem *p, struct reference *r, int64_t image, int64_t head,
                         const vt_attention_group *g, struct row q, int64_t y_at,
                         const struct operands *o)
{
    for (int64_t c = 0; c < o->width; c++) {
        const double dy = (double)p->dy[y_at + c];
        double pads[4] = {0, 0, 0, 0};
        for (int64_t j = 0; j < o->keys; j++) {
            const struct row k = part_of(p, r, image, head, g, j, 1),
                             v = part_of(p, r, image, head, g, j, 2);
            const double terms[4] = {o->weighted[j] * value_at(v, c), o->dscore[j] * value_at(k, c),
                                     o->dscore[j] * value_at(q, c), o->weighted[j] * dy};
            for (int i = 0; i < 4 && j >= o->n_tokens; i++)
                pads[i] += fabs(terms[i]);
            if (j >= o->n_tokens)
                continue;
            add_term(r->y, y_at + c, terms[0]);
            add_term(q.grad, q.grad_at + c, terms[1]);
            add_term(k.grad, k.grad_at + c, terms[2]);
            add_term(v.grad, v.grad_at + c, terms[3]);
        }
        add_term(r->y, y_at + c, pads[0]);
        add_term(q.grad, q.grad_at + c, pads[1]);
        if (o->keys == o->n_tokens)
            continue;
        const struct row k = part_of(p, r, image, head, g, o->n_tokens, 1),
                         v = part_of(p, r, image, head, g, o->n_tokens, 2);
        add_term(k.grad, k.grad_at + c, pads[2]);
        add_term(v.grad, v.grad_at + c, pads[3]);
    }
}

static void refer_query(const struct problem *p, struct reference *r, int64_t image, int64_t head,
                        const vt_attention_group *g, int64_t i)
{
    const int64_t keys = g->n_tokens + g->n_pads, width = p->shape->width;
    const int64_t heads = p->sizes.heads, places = p->map.places;
    const int64_t from = p->place[g->first + i], token = p->token[g->first + i];
    const int64_t y_at = (image * p->map.tokens + token) * p->sizes.channels + head * width;
    const int64_t lse_at = (image * heads + head) * p->map.tokens + token;
    const struct row q = part_of(p, r, image, head, g, i, 0);
    const double scale = (double)p->sizes.scale;
    double *weight = new_block(keys, sizeof *weight), *dweight = new_block(keys, sizeof *dweight);
    double *dsize = new_block(keys, sizeof *dsize), *factor = new_block(keys, sizeof *factor);
    double *weighted = new_block(keys, sizeof *weighted);
    double largest = -INFINITY, sum = 0, score_size = 0, mean = 0, mean_size = 0;

    for (int64_t j = 0; j < keys; j++) {
        const struct row k = part_of(p, r, image, head, g, j, 1);
        const int64_t to =
            j < g->n_tokens ? p->place[g->first + j] : p->pad_place[g->first_pad + j - g->n_tokens];
        const double bias =
            p->table != NULL ? (double)p->table[p->bias_row[from * places + to] * heads + head] : 0;
        double score = bias, size = fabs(bias);
        for (int64_t c = 0; c < width; c++) {
            score += scale * value_at(q, c) * value_at(k, c);
            size += scale * fabs(value_at(q, c) * value_at(k, c));
        }
        weight[j] = score;
        factor[j] = factor_of(p, image, head, g, from, to);
        largest = score > largest ? score : largest;
        score_size = size > score_size ? size : score_size;
    }
    for (int64_t j = 0; j < keys; j++)
        sum += exp(weight[j] - largest);
    add(r->lse, lse_at, largest + log(sum), 1 + log(sum) + score_size);
    for (int64_t j = 0; j < keys; j++) {
        const struct row v = part_of(p, r, image, head, g, j, 2);
        const int64_t to =
            j < g->n_tokens ? p->place[g->first + j] : p->pad_place[g->first_pad + j - g->n_tokens];
        weight[j] = exp(weight[j] - largest) / sum;
        weighted[j] = weight[j] * factor[j];
        add(r->probs,
            (((image * p->map.windows + g->window) * heads + head) * places + from) * places + to,
            weight[j], weight[j] * (1 + score_size));
        for (int64_t c = 0; c < width; c++) {
            const double dy = (double)p->dy[y_at + c];
            add(r->y, y_at + c, weighted[j] * value_at(v, c),
                weighted[j] * (1 + score_size) * fabs(value_at(v, c)));
            add(v.grad, v.grad_at + c, weighted[j] * dy, weighted[j] * (1 + score_size) * fabs(dy));
            dweight[j] += factor[j] * dy * value_at(v, c);
            dsize[j] += factor[j] * fabs(dy * value_at(v, c));
        }
        mean += weight[j] * dweight[j];
        mean_size += weight[j] * dsize[j];
    }
    for (int64_t j = 0; j < keys; j++) {
        const struct row k = part_of(p, r, image, head, g, j, 1);
        const int64_t to =
            j < g->n_tokens ? p->place[g->first + j] : p->pad_place[g->first_pad + j - g->n_tokens];
        const double dscore = weight[j] * (dweight[j] - mean);
        const double size = weight[j] * (1 + score_size) * (dsize[j] + mean_size);
        if (p->table != NULL)
            add(r->dtable, p->bias_row[from * places + to] * heads + head, dscore, size);
        for (int64_t c = 0; c < width; c++) {
            add(q.grad, q.grad_at + c, scale * dscore * value_at(k, c),
                scale * size * fabs(value_at(k, c)));
            add(k.grad, k.grad_at + c, scale * dscore * value_at(q, c),
                scale * size * fabs(value_at(q, c)));
        }
        dweight[j] = scale * dscore;
    }
    if (rounded_type() == VT_BF16) {
        const struct operands o = {g->n_tokens, keys, width, weighted, dweight};
        add_operands(p, r, image, head, g, q, y_at, &o);
    }
    vt_free(weighted);
    vt_free(weight);
    vt_free(dweight);
    vt_free(dsize);
    vt_free(factor);
}

static struct reference refer(const struct problem *p)
{
    struct reference r = new_reference(p);
    for (int64_t image = 0; image < p->sizes.batch; image++)
        for (int64_t head = 0; head < p->sizes.heads; head++)
            for (int64_t g = 0; g < p->map.n_groups; g++)
                for (int64_t i = 0; i < p->groups[g].n_tokens; i++)
                    refer_query(p, &r, image, head, &p->groups[g], i);
    return r;
}

/* ---- the kernels */

struct results {
    float *y, *lse, *probs, *dqkv, *dtable, *dpad;
};

static float *new_output(int64_t n, float start)
{
    float *x = new_block(n + GUARD, sizeof *x);
    for (int64_t i = 0; i < n + GUARD; i++)
        x[i] = i < n ? start : NAN;
    return x;
}

/* The gradient in the place of q, k and v has the same bits. */
static void compute_in_place(const struct problem *p, vt_dev *dev, const vt_kernels *k,
                             const struct results *r, void *scratch)
{
    float *qkv = new_output(p->n_qkv, 0), *dtable = new_output(p->n_table, 0);
    float *dpad = new_output(3 * p->sizes.channels, 0);
    const vt_buf both = {qkv, VT_F32};
    memcpy(qkv, p->qkv, (size_t)p->n_qkv * sizeof *qkv);
    k->attention_bwd(dev, both, true, p->table != NULL ? dtable : NULL,
                     p->pad_bias != NULL ? dpad : NULL, (vt_buf){NULL, VT_F32},
                     (vt_buf){p->dy, VT_F32}, both, r->lse, p->table, p->pad_bias, &p->map,
                     &p->sizes, &p->step, scratch);
    assert_memory_equal(qkv, r->dqkv, (size_t)p->n_qkv * sizeof *qkv);
    vt_free(dpad);
    vt_free(dtable);
    vt_free(qkv);
}

/* With `write`, what is written begins as NaN; else everything that is added to begins as 3. */
static struct results compute(const struct problem *p, vt_dev *dev, const vt_kernels *k, bool write)
{
    struct results r = {new_output(p->n_y, NAN),     new_output(p->n_lse, NAN),
                        new_output(p->n_probs, NAN), new_output(p->n_qkv, write ? NAN : 3),
                        new_output(p->n_table, 3),   new_output(3 * p->sizes.channels, 3)};
    const size_t scratch_size = k->attention_scratch(&p->map, &p->sizes);
    void *scratch = new_block((int64_t)scratch_size, 1);
    const vt_buf qkv = {p->qkv, VT_F32}, y = {r.y, VT_F32}, dy = {p->dy, VT_F32};
    const vt_buf dqkv = {r.dqkv, VT_F32};
    float *again = k->attention_remakes ? new_output(p->n_y, NAN) : NULL;

    memset(scratch, 0xff, scratch_size);
    if (!on_gpu()) {
        assert_int_equal(vt_dev_reserve(dev, vt_attention_worker_scratch(&p->map, &p->sizes), NULL),
                         VT_OK);
        for (int i = 0; i < vt_dev_info(dev)->threads; i++)
            memset(vt_dev_worker_scratch(dev, i), 0xff, vt_dev_reserved(dev));
    }
    k->attention_fwd(dev, y, r.lse, qkv, p->table, p->pad_bias, &p->map, &p->sizes, &p->step);
    k->attention_probs(dev, r.probs, qkv, r.lse, p->table, p->pad_bias, &p->map, &p->sizes);
    k->attention_bwd(dev, dqkv, write, p->table != NULL ? r.dtable : NULL,
                     p->pad_bias != NULL ? r.dpad : NULL, (vt_buf){again, VT_F32}, dy, qkv, r.lse,
                     p->table, p->pad_bias, &p->map, &p->sizes, &p->step, scratch);
    if (again)
        assert_memory_equal(again, r.y, (size_t)p->n_y * sizeof *again);
    if (again && write)
        compute_in_place(p, dev, k, &r, scratch);
    vt_free(again);
    vt_free(scratch);
    return r;
}

static void free_results(struct results *r)
{
    float *all[] = {r->y, r->lse, r->probs, r->dqkv, r->dtable, r->dpad};
    for (int i = 0; i < 6; i++)
        vt_free(all[i]);
}

static void hash_results(const struct problem *p, const struct results *r, char *hex)
{
    uint8_t digest[VT_SHA256_SIZE];
    vt_sha256 hash;
    vt_sha256_init(&hash);
    vt_sha256_add(&hash, r->y, (size_t)p->n_y * 4);
    vt_sha256_add(&hash, r->lse, (size_t)p->n_lse * 4);
    vt_sha256_add(&hash, r->probs, (size_t)p->n_probs * 4);
    vt_sha256_add(&hash, r->dqkv, (size_t)p->n_qkv * 4);
    vt_sha256_add(&hash, r->dtable, (size_t)p->n_table * 4);
    vt_sha256_add(&hash, r->dpad, (size_t)p->sizes.channels * 12);
    vt_sha256_finish(&hash, digest);
    vt_sha256_hex(digest, hex);
}

/* `start` is what the output held before; `rounded`: it has the activations' type. */
static void assert_near(const struct problem *p, const char *what, const float *x,
                        struct sized expected, int64_t n, double start, bool rounded)
{
    for (int64_t i = 0; i < n; i++) {
        const double value = start + expected.value[i], error = fabs((double)x[i] - value);
        const double size = expected.size[i] + fabs(start);
        const double slack = bound() * U * size + operand_slack(expected, i);
        if (!(error <= slack + (rounded ? rounded_slack(fabs(value) + slack) : 0)))
            fail_msg("%s, %s[%lld]: %.9g, expected %.9g within %.3g; off by %.3g, %.3g units of "
                     "its size %.3g",
                     p->shape->name, what, (long long)i, (double)x[i], value, slack, error,
                     error / (U * size), size);
    }
    for (int64_t i = n; i < n + GUARD; i++)
        if (!isnan(x[i]))
            fail_msg("%s: %s was written past its end", p->shape->name, what);
}

static void compare_all(bool write)
{
    vt_dev *dev = new_device(2);
    for (int i = 0; i < N_SHAPES; i++) {
        struct problem p;
        problem_init(&p, &shapes[i]);
        struct reference expected = refer(&p);
        struct results r = compute(&p, dev, device_kernels(dev), write);
        assert_near(&p, "y", r.y, expected.y, p.n_y, 0, true);
        assert_near(&p, "lse", r.lse, expected.lse, p.n_lse, 0, false);
        assert_near(&p, "probs", r.probs, expected.probs, p.n_probs, 0, false);
        assert_near(&p, "dqkv", r.dqkv, expected.dqkv, p.n_qkv, write ? 0 : 3, true);
        assert_near(&p, "dtable", r.dtable, expected.dtable, p.n_table, 3, false);
        if (p.pad_bias != NULL)
            assert_near(&p, "dpad_bias", r.dpad, expected.dpad, 3 * p.sizes.channels, 3, false);
        free_results(&r);
        free_reference(&expected);
        problem_release(&p);
    }
    vt_dev_free(dev);
}

static void written_results_agree(void **state)
{
    (void)state;
    compare_all(true);
}

static void added_results_agree(void **state)
{
    (void)state;
    compare_all(false);
}

/* Sum of y * dy, of which the reference's gradients are the derivatives. */
static double loss_of(const struct problem *p)
{
    struct reference r = refer(p);
    double loss = 0;
    for (int64_t i = 0; i < p->n_y; i++)
        loss += r.y.value[i] * (double)p->dy[i];
    free_reference(&r);
    return loss;
}

static void assert_slopes(const struct problem *p, float *x, struct sized gradient, int64_t n)
{
    const double loss_at_rest = loss_of(p);
    for (int64_t i = 0; i < n; i += 1 + n / 13) {
        const float kept = x[i];
        x[i] = kept + 0x1p-9f;
        const double step_up = (double)x[i] - (double)kept, up = loss_of(p);
        x[i] = kept - 0x1p-9f;
        const double step_down = (double)x[i] - (double)kept, down = loss_of(p);
        x[i] = kept;
        /* the parabola through the three points, so that the two steps may differ by rounding */
        const double right = (up - loss_at_rest) / step_up,
                     left = (down - loss_at_rest) / step_down;
        const double slope = (right * -step_down + left * step_up) / (step_up - step_down);
        if (!(fabs(slope - gradient.value[i]) <= 1e-4))
            fail_msg("%s: element %lld has slope %.9g, gradient %.9g", p->shape->name, (long long)i,
                     slope, gradient.value[i]);
    }
}

static void reference_has_the_right_slopes(void **state)
{
    (void)state;
    for (int i = 0; i < N_SHAPES; i++) {
        struct problem p;
        if (shapes[i].places > 31 || shapes[i].batch > 5)
            continue;
        problem_init(&p, &shapes[i]);
        struct reference r = refer(&p);
        assert_slopes(&p, p.qkv, r.dqkv, p.n_qkv);
        if (p.table != NULL)
            assert_slopes(&p, p.table, r.dtable, p.n_table);
        if (p.pad_bias != NULL)
            assert_slopes(&p, p.pads, r.dpad, 3 * p.sizes.channels);
        free_reference(&r);
        problem_release(&p);
    }
}

static void assert_same_bits(const struct problem *p, vt_dev *dev, const vt_kernels *k,
                             const char *expected, const char *what)
{
    char hex[VT_SHA256_HEX_SIZE];
    struct results r = compute(p, dev, k, false);
    hash_results(p, &r, hex);
    if (strcmp(hex, expected) != 0)
        fail_msg("%s: other bits with %s", p->shape->name, what);
    free_results(&r);
}

static void bits_do_not_depend_on_the_machine(void **state)
{
    (void)state;
    static const int threads[] = {1, 2, 3, 5};
    const bool wide = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
    char hex[N_SHAPES][VT_SHA256_HEX_SIZE], what[80];
    if (!wide && !on_gpu())
        print_message("AVX-512 against AVX2 not compared: this processor has no AVX-512\n");

    for (int t = 0; t < 4; t++) {
        vt_dev *dev = new_device(threads[t]);
        const vt_kernels *narrow = on_gpu() ? device_kernels(dev) : &vt_avx2_table;
        for (int i = 0; i < N_SHAPES; i++) {
            struct problem p;
            problem_init(&p, &shapes[i]);
            if (t == 0) {
                struct results first = compute(&p, dev, narrow, false);
                hash_results(&p, &first, hex[i]);
                free_results(&first);
            }
            for (uint64_t seed = 0; seed < 2 && !on_gpu(); seed++) {
                vt_pool_shuffle(vt_dev_pool(dev), seed * 7919);
                snprintf(what, sizeof what, "%d threads, chunk order %d", threads[t], (int)seed);
                assert_same_bits(&p, dev, narrow, hex[i], what);
            }
            /* an emulated GPU takes its time: the largest in two orders */
            if (on_gpu() && t > 0 && (t == 3 || shapes[i].batch <= 16)) {
                snprintf(what, sizeof what, "order %d of the GPU's threads", threads[t]);
                assert_same_bits(&p, dev, narrow, hex[i], what);
            }
            if (wide && !on_gpu() && t == 1)
                assert_same_bits(&p, dev, &vt_avx512_table, hex[i], "AVX-512");
            problem_release(&p);
        }
        vt_dev_free(dev);
    }
}

/* With one-hot values, y is the weights. */
static void captured_weights_are_those_used(void **state)
{
    (void)state;
    const struct shape s = {"one-hot values", 2, 1, 24, 1, 21, 1, 0, false, true, false, 0};
    struct problem p;
    vt_dev *dev = new_device(1);
    problem_init(&p, &s);
    for (int64_t image = 0; image < s.batch; image++)
        for (int64_t i = 0; i < s.places; i++)
            for (int64_t c = 0; c < s.width; c++)
                p.qkv[(image * s.places + p.token[i]) * 72 + 48 + c] = c == p.place[i] ? 1 : 0;
    struct results r = compute(&p, dev, device_kernels(dev), true);
    for (int64_t image = 0; image < s.batch; image++)
        for (int64_t i = 0; i < s.places; i++)
            for (int64_t j = 0; j < s.places; j++) {
                const double y = (double)r.y[(image * s.places + p.token[i]) * 24 + j];
                const double weight =
                    (double)r.probs[(image * s.places + p.place[i]) * s.places + j];
                /* rounded as an operand and as a result */
                if (rounded_type() == VT_BF16)
                    assert_true(fabs(y - weight) <= 0x1.01p-8 * weight + rounded_slack(weight));
                else
                    assert_true(y == weight);
            }
    free_results(&r);
    problem_release(&p);
    vt_dev_free(dev);
}

static void large_scores_stay_finite(void **state)
{
    (void)state;
    struct problem p;
    vt_dev *dev = new_device(1);
    problem_init(&p, &shapes[5]);
    for (int64_t i = 0; i < p.n_qkv; i++)
        p.qkv[i] = rounded_number(1000.0f * p.qkv[i]);
    struct results r = compute(&p, dev, device_kernels(dev), true);
    for (int64_t i = 0; i < p.n_y; i++)
        assert_true(isfinite(r.y[i]) &&
                    fabs((double)r.y[i]) <= 2000.001 + 2 * rounded_slack(2000.0));
    for (int64_t i = 0; i < p.n_qkv; i++)
        assert_true(isfinite(r.dqkv[i]));
    free_results(&r);
    problem_release(&p);
    vt_dev_free(dev);
}

static void nan_stays_in_its_group_and_head(void **state)
{
    (void)state;
    struct problem p;
    vt_dev *dev = new_device(1);
    problem_init(&p, &shapes[9]);
    const struct shape *s = p.shape;
    const int64_t image = 3, head = 2, channels = p.sizes.channels;
    const vt_attention_group *g = &p.groups[3];
    const int64_t token = p.token[g->first];
    p.qkv[(image * p.map.tokens + token) * 3 * channels + channels + head * s->width] = NAN; /* k */
    struct results r = compute(&p, dev, device_kernels(dev), true);
    for (int64_t i = 0; i < p.n_y; i++) {
        const int64_t row = i / channels, of_head = i % channels / s->width;
        bool member = false;
        for (int64_t j = 0; j < g->n_tokens; j++)
            member |= row == image * p.map.tokens + p.token[g->first + j];
        assert_int_equal(isnan(r.y[i]) != 0, member && of_head == head);
    }
    free_results(&r);
    problem_release(&p);
    vt_dev_free(dev);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        {"the reference's gradients are the slopes of its loss", reference_has_the_right_slopes,
         NULL, NULL, NULL},
        {"written results agree with loops in double", written_results_agree, NULL, NULL, NULL},
        {"added results agree with loops in double", added_results_agree, NULL, NULL, NULL},
        {"bits do not depend on threads, chunk order or vector width",
         bits_do_not_depend_on_the_machine, NULL, NULL, NULL},
        {"captured weights are those that the forward pass used", captured_weights_are_those_used,
         NULL, NULL, NULL},
        {"large scores stay finite", large_scores_stay_finite, NULL, NULL, NULL},
        {"a NaN reaches its own group and head and nothing else", nan_stays_in_its_group_and_head,
         NULL, NULL, NULL},
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
