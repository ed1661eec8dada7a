/*
 * Attention in groups. A unit of work is one head of a range of images; it takes the groups one
 * after the other and all its images inside a group, which then share the table of biases. What a
 * group needs lies in the worker's own memory, near in cache, and nothing of size (N, N) is kept:
 * the backward pass computes the weights again from the saved log of their sum.
 */
#include "kernels/cpu/attention_group.h"
#include "kernels/cpu/attention_tile.h"

typedef struct attention {
    vt_dev *dev;
    const vt_attention_map *map;
    const vt_attention_sizes *sizes;
    const vt_step *step;
    const float *qkv, *table, *pad_bias;
    float *y, *lse, *probs;      /* forward */
    const float *dy, *saved_lse; /* backward */
    float *dqkv, *partials;
    bool write;
    vt_attention_layout layout;
    int64_t width, ranges, range_images;
} attention;

/* One unit: a head of a range of images, with the memory of the worker that computes it. */
typedef struct unit {
    const attention *a;
    float *memory;
    int64_t head, first_image, last_image;
    const float *table; /* of this head, or NULL */
    float *dtable, *dpad_k, *dpad_v;
} unit;

static unit start_unit(const attention *a, int64_t index, int worker)
{
    const int64_t heads = a->sizes->heads, range = index / heads;
    unit u = {.a = a,
              .memory = vt_dev_worker_scratch(a->dev, worker),
              .head = index % heads,
              .first_image = range * a->range_images};
    u.last_image = vt_min_i64(u.first_image + a->range_images, a->sizes->batch);
    if (a->table != NULL) {
        float *table = u.memory + a->layout.table;
        for (int64_t i = 0; i < a->map->table_rows; i++)
            table[i] = a->table[i * heads + u.head];
        u.table = table;
    }
    return u;
}

static void check(const attention *a)
{
    VT_ASSERT(a->sizes->heads > 0 && a->sizes->channels % a->sizes->heads == 0);
    VT_ASSERT((a->table == NULL) == (a->map->table_rows == 0));
    VT_ASSERT(a->table == NULL || a->map->bias_row != NULL);
    VT_ASSERT(a->sizes->drop >= 0.0f && a->sizes->drop < 1.0f);
    VT_ASSERT(vt_dev_reserved(a->dev) >= vt_attention_worker_scratch(a->map, a->sizes));
}

static void run_units(attention *a, vt_chunk_fn *fn)
{
    if (a->sizes->batch == 0)
        return;
    check(a);
    a->layout = vt_attention_layout_of(a->map, a->sizes);
    a->width = a->sizes->channels / a->sizes->heads;
    a->ranges = vt_attention_ranges(a->sizes);
    a->range_images = vt_ceil_div(a->sizes->batch, a->ranges);
    vt_grid_run(vt_dev_pool(a->dev), a->ranges * a->sizes->heads, 1, fn, a);
}

enum { Q, K, V };

/* Where a head's q, k or v of token 0 of an image begins; dqkv has the same form. */
static int64_t qkv_at(const unit *u, int64_t image, int part)
{
    const int64_t channels = u->a->sizes->channels;
    return image * u->a->map->tokens * 3 * channels + part * channels + u->head * u->a->width;
}

/* The padded places' key or value, or NULL. */
static const float *pad_row(const unit *u, int part)
{
    if (u->a->pad_bias == NULL)
        return NULL;
    return u->a->pad_bias + part * u->a->sizes->channels + u->head * u->a->width;
}

static void gather_qkv(const unit *u, const group_shape *s, int64_t image)
{
    const attention *a = u->a;
    const vt_attention_layout *l = &a->layout;
    const int64_t stride = 3 * a->sizes->channels;
    gather_rows(u->memory + l->q, l->width, a->qkv + qkv_at(u, image, Q), stride, s->token, s->n,
                a->width);
    gather_keys(u->memory + l->k, l->width, s, a->qkv + qkv_at(u, image, K), stride, pad_row(u, K),
                a->width);
    gather_keys(u->memory + l->v, l->width, s, a->qkv + qkv_at(u, image, V), stride, pad_row(u, V),
                a->width);
    transpose(u->memory + l->k_turned, u->memory + l->k, s->first_pad, l->width);
}

/* Asks for token's q, k and v in the next image of the unit. */
static void prefetch_next_qkv(const unit *u, int64_t image, int64_t token)
{
    const int64_t channels = u->a->sizes->channels;
    if (image + 1 < u->last_image)
        for (int part = Q; part <= V; part++)
            prefetch_row(u->a->qkv + qkv_at(u, image + 1, part) + token * 3 * channels,
                         u->a->width);
}

/* left (n, width) times the transposed keys or values: out (n, row), columns up to the pads */
static void multiply_with_keys(const unit *u, const group_shape *s, float *out, const float *left,
                               const float *turned, int64_t n)
{
    const int64_t width = u->a->layout.width;
    vt_tile_product(&(vt_tile_operands){.c = out,
                                        .c_stride = s->row,
                                        .a = left,
                                        .a_row = width,
                                        .a_column = 1,
                                        .b = turned,
                                        .b_stride = s->first_pad,
                                        .k = u->a->width},
                    n, s->first_pad);
}

/* out (n, width) = scores (n, keys) right (keys, width) */
static void multiply_with_scores(const unit *u, const group_shape *s, float *out,
                                 const float *scores, const float *right, int64_t n)
{
    const int64_t width = u->a->layout.width;
    vt_tile_product(&(vt_tile_operands){.c = out,
                                        .c_stride = width,
                                        .a = scores,
                                        .a_row = s->row,
                                        .a_column = 1,
                                        .b = right,
                                        .b_stride = width,
                                        .k = s->keys},
                    n, width);
}

/* out (keys, width) = or += the transposed scores (n, keys) times right (n, width) */
static void multiply_with_turned_scores(const unit *u, const group_shape *s, float *out,
                                        const float *scores, const float *right, int64_t n,
                                        bool add)
{
    const int64_t width = u->a->layout.width;
    vt_tile_product(&(vt_tile_operands){.c = out,
                                        .c_stride = width,
                                        .a = scores,
                                        .a_row = 1,
                                        .a_column = s->row,
                                        .b = right,
                                        .b_stride = width,
                                        .k = n,
                                        .add = add},
                    s->keys, width);
}

/* Queries of a group are taken in blocks of equal size. */
static int64_t block_of(const unit *u, const group_shape *s)
{
    return vt_ceil_div(s->n, vt_ceil_div(s->n, u->a->layout.queries));
}

static const float *bias_of(const unit *u, const group_shape *s, int64_t query)
{
    return u->memory + u->a->layout.bias + (u->table != NULL ? query * s->row : 0);
}

static const float *factors_of(const unit *u, const group_shape *s, int64_t image, int64_t query)
{
    const attention *a = u->a;
    float *factors = u->memory + a->layout.factors;
    if (a->sizes->drop == 0.0f)
        return NULL;
    draw_factors(factors, (void *)(u->memory + a->layout.words), s, a->sizes, a->step, image,
                 u->head, query);
    return factors;
}

/* Weights of queries [from, from + n), before dropout. */
static void compute_weights(const unit *u, const group_shape *s, int64_t from, int64_t n)
{
    const vt_attention_layout *l = &u->a->layout;
    float *weights = u->memory + l->weights;
    multiply_with_keys(u, s, weights, u->memory + l->q + from * l->width, u->memory + l->k_turned,
                       n);
    for (int64_t i = 0; i < n; i++)
        softmax_row(weights + i * s->row, s, bias_of(u, s, from + i), u->a->sizes->scale,
                    u->memory + l->largest + from + i, u->memory + l->sum + from + i);
}

/* lse = largest + log(sum) */
static void store_lse(const unit *u, const group_shape *s, int64_t image)
{
    const attention *a = u->a;
    const float *largest = u->memory + a->layout.largest, *sum = u->memory + a->layout.sum;
    float *lse = a->lse + (image * a->sizes->heads + u->head) * a->map->tokens;
    for (int64_t i = 0; i < s->n; i += VT_LANES) {
        const int64_t n = vt_min_i64(VT_LANES, s->n - i);
        float values[VT_LANES];
        vstore(values, vadd(vload_first(largest + i, n), vlog(vload_first(sum + i, n))));
        for (int64_t j = 0; j < n; j++)
            lse[s->token[i + j]] = values[j];
    }
}

static void forward_group(const unit *u, const group_shape *s, int64_t image)
{
    const attention *a = u->a;
    const vt_attention_layout *l = &a->layout;
    const int64_t channels = a->sizes->channels, block = block_of(u, s);
    float *weights = u->memory + l->weights, *out = u->memory + l->out;
    float *y = a->y + image * a->map->tokens * channels + u->head * a->width;

    gather_qkv(u, s, image);
    for (int64_t from = 0; from < s->n; from += block) {
        const int64_t n = vt_min_i64(block, s->n - from);
        compute_weights(u, s, from, n);
        for (int64_t i = 0; i < n; i++) {
            const int64_t token = s->token[from + i];
            prefetch_row(y + token * channels, a->width);
            prefetch_next_qkv(u, image, token);
            gather_weights(weights + i * s->row, s, factors_of(u, s, image, from + i));
        }
        multiply_with_scores(u, s, out, weights, u->memory + l->v, n);
        scatter_rows(y, channels, s->token + from, n, a->width, out, l->width, 1.0f, false);
    }
    store_lse(u, s, image);
}

static void forward_units(void *arg, int64_t first, int64_t last, int worker)
{
    for (int64_t i = first; i < last; i++) {
        const unit u = start_unit(arg, i, worker);
        for (int64_t g = 0; g < u.a->map->n_groups; g++) {
            const group_shape s = shape_of(u.a->map, g);
            fill_bias(u.memory + u.a->layout.bias, &s, u.table);
            for (int64_t image = u.first_image; image < u.last_image; image++)
                forward_group(&u, &s, image);
        }
    }
}

void VT_CPU(attention_fwd)(vt_dev *d, vt_buf y, float *lse, vt_buf qkv, const float *table,
                           const float *pad_bias, const vt_attention_map *map,
                           const vt_attention_sizes *sizes, const vt_step *step)
{
    attention a = {.dev = d,
                   .map = map,
                   .sizes = sizes,
                   .step = step,
                   .qkv = vt_floats(qkv),
                   .table = table,
                   .pad_bias = pad_bias,
                   .y = vt_floats(y),
                   .lse = lse};
    run_units(&a, forward_units);
}

/* What the gradients of a token will be stored to, and what the next image's token needs. */
static void prefetch_backward(const unit *u, int64_t image, int64_t token)
{
    const attention *a = u->a;
    const int64_t channels = a->sizes->channels;
    for (int part = Q; part <= V && a->dqkv != NULL; part++)
        prefetch_row(a->dqkv + qkv_at(u, image, part) + token * 3 * channels, a->width);
    prefetch_next_qkv(u, image, token);
    if (image + 1 < u->last_image)
        prefetch_row(a->dy + ((image + 1) * a->map->tokens + token) * channels + u->head * a->width,
                     a->width);
}

/* Backward of queries [from, from + n): dq stored, dk and dv added to. */
static void backward_queries(const unit *u, const group_shape *s, int64_t image, int64_t from,
                             int64_t n)
{
    const attention *a = u->a;
    const vt_attention_layout *l = &a->layout;
    float *weights = u->memory + l->weights, *dweights = u->memory + l->dweights;
    const float *q = u->memory + l->q + from * l->width, *dy = u->memory + l->dy + from * l->width;
    float *dq = u->memory + l->out;
    const float *lse = a->saved_lse + (image * a->sizes->heads + u->head) * a->map->tokens;

    multiply_with_keys(u, s, weights, q, u->memory + l->k_turned, n);
    multiply_with_keys(u, s, dweights, dy, u->memory + l->v_turned, n);
    for (int64_t i = 0; i < n; i++) {
        float *dbias = u->dtable != NULL ? u->memory + l->dbias + (from + i) * s->row : NULL;
        prefetch_backward(u, image, s->token[from + i]);
        softmax_row_backward(weights + i * s->row, dweights + i * s->row, s,
                             bias_of(u, s, from + i), factors_of(u, s, image, from + i),
                             a->sizes->scale, lse[s->token[from + i]], dbias);
    }
    multiply_with_turned_scores(u, s, u->memory + l->dv, weights, dy, n, from > 0);
    multiply_with_turned_scores(u, s, u->memory + l->dk, dweights, q, n, from > 0);
    if (a->dqkv == NULL)
        return;
    multiply_with_scores(u, s, dq, dweights, u->memory + l->k, n);
    scatter_rows(a->dqkv + qkv_at(u, image, Q), 3 * a->sizes->channels, s->token + from, n,
                 a->width, dq, l->width, a->sizes->scale, !a->write);
}

static void backward_group(const unit *u, const group_shape *s, int64_t image)
{
    const attention *a = u->a;
    const vt_attention_layout *l = &a->layout;
    const int64_t channels = a->sizes->channels, block = block_of(u, s);
    const float *dk = u->memory + l->dk, *dv = u->memory + l->dv;

    gather_qkv(u, s, image);
    transpose(u->memory + l->v_turned, u->memory + l->v, s->first_pad, l->width);
    gather_rows(u->memory + l->dy, l->width,
                a->dy + image * a->map->tokens * channels + u->head * a->width, channels, s->token,
                s->n, a->width);
    for (int64_t from = 0; from < s->n; from += block)
        backward_queries(u, s, image, from, vt_min_i64(block, s->n - from));

    if (a->dqkv != NULL) {
        scatter_rows(a->dqkv + qkv_at(u, image, K), 3 * channels, s->token, s->n, a->width, dk,
                     l->width, a->sizes->scale, !a->write);
        scatter_rows(a->dqkv + qkv_at(u, image, V), 3 * channels, s->token, s->n, a->width, dv,
                     l->width, 1.0f, !a->write);
    }
    if (s->pads > 0)
        for (int64_t j = 0; j < l->width; j += VT_LANES) {
            const int64_t at = s->n * l->width + j;
            vstore(u->dpad_k + j,
                   vfma(vload(dk + at), vset1(a->sizes->scale), vload(u->dpad_k + j)));
            vstore(u->dpad_v + j, vadd(vload(u->dpad_v + j), vload(dv + at)));
        }
}

static void backward_units(void *arg, int64_t first, int64_t last, int worker)
{
    const attention *a = arg;
    const int64_t partial = vt_attention_partial(a->map, a->sizes);
    for (int64_t i = first; i < last; i++) {
        unit u = start_unit(a, i, worker);
        float *sums = a->partials + i * partial, *dbias = u.memory + a->layout.dbias;

        memset(sums, 0, (size_t)partial * sizeof *sums);
        u.dtable = a->table != NULL ? sums : NULL;
        u.dpad_k = sums + vt_attention_round(a->map->table_rows);
        u.dpad_v = u.dpad_k + a->layout.width;
        for (int64_t g = 0; g < a->map->n_groups; g++) {
            const group_shape s = shape_of(a->map, g);
            fill_bias(u.memory + a->layout.bias, &s, u.table);
            if (u.dtable != NULL)
                memset(dbias, 0, (size_t)(s.n * s.row) * sizeof *dbias);
            for (int64_t image = u.first_image; image < u.last_image; image++)
                backward_group(&u, &s, image);
            if (u.dtable != NULL)
                add_to_table(u.dtable, &s, dbias);
        }
    }
}

/* The units' partial sums of one head, in the order of the ranges, then added to the gradient:
 * to[i * step] += sum of from[i] over ranges */
static void add_partials(const attention *a, float *to, int64_t step, int64_t head, int64_t from,
                         int64_t n)
{
    const int64_t partial = vt_attention_partial(a->map, a->sizes);
    for (int64_t i = 0; i < n; i++) {
        float sum = 0.0f;
        for (int64_t range = 0; range < a->ranges; range++)
            sum += a->partials[(range * a->sizes->heads + head) * partial + from + i];
        to[i * step] += sum;
    }
}

void VT_CPU(attention_bwd)(vt_dev *d, vt_buf dqkv, bool write, float *dtable, float *dpad_bias,
                           vt_buf dy, vt_buf qkv, const float *lse, const float *table,
                           const float *pad_bias, const vt_attention_map *map,
                           const vt_attention_sizes *sizes, const vt_step *step, void *scratch)
{
    attention a = {.dev = d,
                   .map = map,
                   .sizes = sizes,
                   .step = step,
                   .qkv = vt_floats(qkv),
                   .table = table,
                   .pad_bias = pad_bias,
                   .saved_lse = lse,
                   .dy = vt_floats(dy),
                   .dqkv = vt_floats(dqkv),
                   .partials = scratch,
                   .write = write};
    const int64_t heads = sizes->heads, channels = sizes->channels;
    const int64_t table_end = vt_attention_round(map->table_rows);

    run_units(&a, backward_units);
    for (int64_t head = 0; head < heads && sizes->batch > 0; head++) {
        if (dtable != NULL)
            add_partials(&a, dtable + head, heads, head, 0, map->table_rows);
        if (dpad_bias != NULL) {
            float *to = dpad_bias + head * a.width;
            add_partials(&a, to + K * channels, 1, head, table_end, a.width);
            add_partials(&a, to + V * channels, 1, head, table_end + a.layout.width, a.width);
        }
    }
}

/* Weights of queries [from, from + n) to their places in probs (P, P). */
static void store_probs(const unit *u, const group_shape *s, float *probs, int64_t from, int64_t n)
{
    const float *weights = u->memory + u->a->layout.weights;
    for (int64_t i = 0; i < n; i++) {
        const float *row = weights + i * s->row;
        float *to = probs + s->place[from + i] * s->map->places;
        for (int64_t j = 0; j < s->n; j++)
            to[s->place[j]] = row[j];
        for (int64_t j = 0; j < s->pads; j++)
            to[s->pad_place[j]] = row[s->first_pad + j];
    }
}

static void probs_units(void *arg, int64_t first, int64_t last, int worker)
{
    const attention *a = arg;
    const int64_t windows = a->map->windows, heads = a->sizes->heads;
    const int64_t square = a->map->places * a->map->places;
    for (int64_t i = first; i < last; i++) {
        const unit u = start_unit(a, i, worker);
        for (int64_t window = u.first_image * windows; window < u.last_image * windows; window++)
            memset(a->probs + (window * heads + u.head) * square, 0,
                   (size_t)square * sizeof *a->probs);
        for (int64_t g = 0; g < a->map->n_groups; g++) {
            const group_shape s = shape_of(a->map, g);
            const int64_t block = block_of(&u, &s);
            fill_bias(u.memory + a->layout.bias, &s, u.table);
            for (int64_t image = u.first_image; image < u.last_image; image++) {
                const int64_t window = image * windows + s.group->window;
                gather_qkv(&u, &s, image);
                for (int64_t from = 0; from < s.n; from += block) {
                    const int64_t n = vt_min_i64(block, s.n - from);
                    compute_weights(&u, &s, from, n);
                    store_probs(&u, &s, a->probs + (window * heads + u.head) * square, from, n);
                }
            }
        }
    }
}

/* Computed as the forward pass does, not from the saved lse: the same bits as it used. */
void VT_CPU(attention_probs)(vt_dev *d, float *probs, vt_buf qkv, const float *lse,
                             const float *table, const float *pad_bias, const vt_attention_map *map,
                             const vt_attention_sizes *sizes)
{
    attention a = {.dev = d,
                   .map = map,
                   .sizes = sizes,
                   .qkv = vt_floats(qkv),
                   .table = table,
                   .pad_bias = pad_bias,
                   .probs = probs};
    (void)lse;
    run_units(&a, probs_units);
}
