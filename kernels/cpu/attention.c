/*
 * Attention in groups. A unit of work is a few heads of a range of groups and images; it takes the
 * groups one after the other and all its images inside a group, which then share the biases. What a
 * product reads more than once is copied to the worker's own memory, near in cache; the rest is
 * read and written where it lies; the backward pass has read all of a head's q, k and v before it
 * writes the first of their gradients, which may take their place. Nothing of size (N, N) is kept:
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
    float *y, *lse, *probs;      /* forward; y also where the backward pass makes it again */
    const float *dy, *saved_lse; /* backward */
    float *dqkv, *partials;
    bool write;
    vt_attention_layout layout;
    vt_attention_grid grid;
    int64_t width;
} attention;

/* One unit of work, with the memory of the worker that computes it. */
typedef struct unit {
    const attention *a;
    float *memory;
    int64_t index;
    int64_t first_head, last_head, first_group, last_group, first_image, last_image;
} unit;

/* A group at work in one head of one image. */
typedef struct item {
    const unit *u;
    const attention *a;
    const group_shape *s;
    int64_t image, head;
    float *dtable, *dpad_k, *dpad_v; /* the unit's sums; dtable may be NULL */
    vt_tile_ahead *ahead;
} item;

static unit start_unit(const attention *a, int64_t index, int worker)
{
    const vt_attention_grid *g = &a->grid;
    const int64_t block = index % g->head_blocks, rest = index / g->head_blocks;
    unit u = {.a = a,
              .memory = vt_dev_worker_scratch(a->dev, worker),
              .index = index,
              .first_head = block * g->block_heads,
              .first_group = rest % g->group_ranges * g->range_groups,
              .first_image = rest / g->group_ranges * g->range_images};
    u.last_head = vt_min_i64(u.first_head + g->block_heads, a->sizes->heads);
    u.last_group = vt_min_i64(u.first_group + g->range_groups, a->map->n_groups);
    u.last_image = vt_min_i64(u.first_image + g->range_images, a->sizes->batch);
    memset(u.memory + a->layout.zeros, 0, (size_t)a->layout.width * sizeof *u.memory);
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
    a->grid = vt_attention_grid_of(a->map, a->sizes);
    a->width = a->sizes->channels / a->sizes->heads;
    vt_grid_run(vt_dev_pool(a->dev), vt_attention_units(&a->grid), 1, fn, a);
}

enum { Q, K, V };

/* Where a head's q, k or v of token 0 of an image begins; dqkv has the same form. */
static int64_t qkv_at(const attention *a, int64_t image, int64_t head, int part)
{
    const int64_t channels = a->sizes->channels;
    return image * a->map->tokens * 3 * channels + part * channels + head * a->width;
}

/* The same for y and dy. */
static int64_t y_at(const attention *a, int64_t image, int64_t head)
{
    return image * a->map->tokens * a->sizes->channels + head * a->width;
}

/* The padded places' key or value, or NULL. */
static const float *pad_row(const item *t, int part)
{
    if (t->a->pad_bias == NULL)
        return NULL;
    return t->a->pad_bias + part * t->a->sizes->channels + t->head * t->a->width;
}

/* The biases of the heads of a unit in a group. */
static void fill_biases(const unit *u, const group_shape *s)
{
    const attention *a = u->a;
    float *table = u->memory + a->layout.table, *bias = u->memory + a->layout.bias;
    if (a->table == NULL) {
        fill_bias(bias, s, NULL);
        return;
    }
    for (int64_t head = u->first_head; head < u->last_head; head++) {
        for (int64_t i = 0; i < a->map->table_rows; i++)
            table[i] = a->table[i * a->sizes->heads + head];
        fill_bias(bias + (head - u->first_head) * a->layout.head_bias, s, table);
    }
}

static const float *bias_of(const item *t, int64_t query)
{
    const vt_attention_layout *l = &t->a->layout;
    const float *bias = t->u->memory + l->bias + (t->head - t->u->first_head) * l->head_bias;
    return t->a->table != NULL ? bias + query * t->s->row : bias;
}

static const float *factors_of(const item *t, int64_t query)
{
    const attention *a = t->a;
    float *factors = t->u->memory + a->layout.factors;
    if (a->sizes->drop == 0.0f)
        return NULL;
    draw_factors(factors, (void *)(t->u->memory + a->layout.words), t->s, a->sizes, a->step,
                 t->image, t->head, query);
    return factors;
}

/* Queries of a group are taken in blocks of equal size, `most` at most. */
static int64_t block_of(int64_t queries, int64_t most)
{
    return vt_ceil_div(queries, vt_ceil_div(queries, most));
}

static void turn(const item *t, float *to, int part)
{
    const attention *a = t->a;
    turn_keys(to, t->s, a->qkv + qkv_at(a, t->image, t->head, part), 3 * a->sizes->channels,
              pad_row(t, part), t->u->memory + a->layout.zeros, a->width);
}

static void gather(const item *t, float *to, int part)
{
    const attention *a = t->a;
    const float *from = a->qkv + qkv_at(a, t->image, t->head, part);
    if (part == Q)
        gather_rows(to, a->layout.width, from, 3 * a->sizes->channels, t->s->token, t->s->n,
                    a->width);
    else
        gather_keys(to, a->layout.width, t->s, from, 3 * a->sizes->channels, pad_row(t, part),
                    a->width);
}

/* The item after this one in its group: the next head of the image, then the next image's first. */
static bool next_item(const item *t, item *next)
{
    *next = *t;
    if (++next->head == t->u->last_head) {
        next->head = t->u->first_head;
        next->image++;
    }
    return next->image < t->u->last_image;
}

static void add_stream(vt_tile_ahead *ahead, const float *rows, int64_t stride)
{
    ahead->stream[ahead->streams] = rows;
    ahead->stride[ahead->streams++] = stride;
}

/* Sets out what to ask for while an item is computed: the rows it will write, and what the next
 * item reads. `requests`: how often the products ask. */
static void start_ahead(const item *t, int64_t requests)
{
    const attention *a = t->a;
    const int64_t channels = a->sizes->channels;
    vt_tile_ahead *ahead = t->ahead;
    item next;
    *ahead = (vt_tile_ahead){.token = t->s->token, .n = t->s->n, .d = a->width};
    if (a->y != NULL)
        add_stream(ahead, a->y + y_at(a, t->image, t->head), channels);
    for (int part = Q; part <= V && a->dqkv != NULL && a->dqkv != a->qkv; part++)
        add_stream(ahead, a->dqkv + qkv_at(a, t->image, t->head, part), 3 * channels);
    if (next_item(t, &next)) {
        for (int part = Q; part <= V; part++)
            add_stream(ahead, a->qkv + qkv_at(a, next.image, next.head, part), 3 * channels);
        if (a->dy != NULL)
            add_stream(ahead, a->dy + y_at(a, next.image, next.head), channels);
    }
    ahead->n = ahead->streams > 0 ? ahead->n : 0;
    ahead->quota = vt_ceil_div(ahead->n * ahead->streams, requests);
}

/* left (n, width) times the keys or values that are there transposed: out (n, row), columns up to
 * the pads. `last` is the row of the first key that is not among the transposed. Rows of left are
 * a_stride floats apart, or tokens' rows. */
static void multiply_with_keys(const item *t, float *out, const float *left, int64_t a_stride,
                               const int32_t *a_token, const float *turned, const float *last,
                               int64_t n)
{
    const attention *a = t->a;
    vt_tile_product(&(vt_tile_operands){.c = out,
                                        .c_stride = t->s->row,
                                        .a = left,
                                        .a_token = a_token,
                                        .a_row = a_stride,
                                        .a_column = 1,
                                        .b = turned,
                                        .b_stride = t->s->columns,
                                        .k = a->width,
                                        .ahead = t->ahead},
                    n, t->s->columns);
    if (t->s->columns < t->s->keys)
        multiply_with_last(out, t->s, left, a_stride, a_token, last, a->width, n);
}

/* rows `token` of out = or += scores (n, keys) right (keys, width), row i times factors[i] */
static void multiply_with_scores(const item *t, float *out, int64_t out_stride,
                                 const int32_t *token, const float *scores, const float *right,
                                 const float *factors, int64_t n, bool add)
{
    vt_tile_product(&(vt_tile_operands){.c = out,
                                        .c_token = token,
                                        .c_stride = out_stride,
                                        .a = scores,
                                        .a_row = t->s->row,
                                        .a_column = 1,
                                        .b = right,
                                        .b_stride = t->a->layout.width,
                                        .k = t->s->keys,
                                        .factors = factors,
                                        .ahead = t->ahead,
                                        .add = add},
                    n, t->a->width);
}

/* The gradient of keys or values: rows of the tokens of out = or += the transposed scores (n, keys)
 * times right (n, width); pad_sum (width) += the common row of the padded places. */
static void multiply_with_turned_scores(const item *t, float *out, float *pad_sum,
                                        const float *scores, const float *right, int64_t n,
                                        bool add)
{
    vt_tile_operands o = {.c = out,
                          .c_token = t->s->token,
                          .c_stride = 3 * t->a->sizes->channels,
                          .a = scores,
                          .a_row = 1,
                          .a_column = t->s->row,
                          .b = right,
                          .b_stride = t->a->layout.width,
                          .k = n,
                          .ahead = t->ahead,
                          .add = add};
    if (out != NULL)
        vt_tile_product(&o, t->s->n, t->a->width);
    if (t->s->pads == 0)
        return;
    o.c = pad_sum;
    o.c_token = NULL;
    o.a = scores + t->s->n;
    o.add = true;
    vt_tile_product(&o, 1, t->a->width);
}

/* Weights of queries [from, from + n) times their sums, before dropout. */
static void compute_weights(const item *t, int64_t from, int64_t n)
{
    const attention *a = t->a;
    const vt_attention_layout *l = &a->layout;
    const int64_t stride = 3 * a->sizes->channels;
    float *memory = t->u->memory, *weights = memory + l->weights;
    const float *last = key_row(t->s, a->qkv + qkv_at(a, t->image, t->head, K), stride,
                                pad_row(t, K), memory + l->zeros, t->s->columns);
    multiply_with_keys(t, weights, a->qkv + qkv_at(a, t->image, t->head, Q), stride,
                       t->s->token + from, memory + l->k_turned, last, n);
    for (int64_t i = 0; i < n; i++)
        softmax_row(weights + i * t->s->row, t->s, bias_of(t, from + i), a->sizes->scale,
                    memory + l->largest + from + i, memory + l->sum + from + i,
                    memory + l->inverse + from + i);
}

/* lse = largest + log(sum) */
static void store_lse(const item *t)
{
    const attention *a = t->a;
    const float *largest = t->u->memory + a->layout.largest, *sum = t->u->memory + a->layout.sum;
    float *lse = a->lse + (t->image * a->sizes->heads + t->head) * a->map->tokens;
    for (int64_t i = 0; i < t->s->n; i += VT_LANES) {
        const int64_t n = vt_min_i64(VT_LANES, t->s->n - i);
        float values[VT_LANES];
        vstore(values, vadd(vload_first(largest + i, n), vlog(vload_first(sum + i, n))));
        for (int64_t j = 0; j < n; j++)
            lse[t->s->token[i + j]] = values[j];
    }
}

static void forward_item(const item *t)
{
    const attention *a = t->a;
    const vt_attention_layout *l = &a->layout;
    const group_shape *s = t->s;
    const int64_t block = block_of(s->n, VT_ATTENTION_BLOCK);
    float *memory = t->u->memory, *weights = memory + l->weights;

    start_ahead(t,
                tile_requests(s->n, s->columns, a->width) + tile_requests(s->n, a->width, s->keys));
    turn(t, memory + l->k_turned, K);
    gather(t, memory + l->v, V);
    for (int64_t from = 0; from < s->n; from += block) {
        const int64_t n = vt_min_i64(block, s->n - from);
        compute_weights(t, from, n);
        for (int64_t i = 0; i < n; i++)
            gather_weights(weights + i * s->row, s, factors_of(t, from + i));
        multiply_with_scores(t, a->y + y_at(a, t->image, t->head), a->sizes->channels,
                             s->token + from, weights, memory + l->v, memory + l->inverse + from, n,
                             false);
    }
    store_lse(t);
}

static void forward_units(void *arg, int64_t first, int64_t last, int worker)
{
    for (int64_t i = first; i < last; i++) {
        const unit u = start_unit(arg, i, worker);
        vt_tile_ahead ahead;
        for (int64_t g = u.first_group; g < u.last_group; g++) {
            const group_shape s = shape_of(u.a->map, g);
            fill_biases(&u, &s);
            for (int64_t image = u.first_image; image < u.last_image; image++)
                for (int64_t head = u.first_head; head < u.last_head; head++)
                    forward_item(&(item){
                        .u = &u, .a = u.a, .s = &s, .image = image, .head = head, .ahead = &ahead});
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

/* The weights of a query as the forward pass had them, from the same products: the bits of y depend
 * on how the sum is divided out, and the saved log of the sum does it in another way. */
static void weigh_again(const item *t, float *row, const float *dots, int64_t query,
                        const float *bias, const float *factors)
{
    const vt_attention_layout *l = &t->a->layout;
    float *memory = t->u->memory;
    memcpy(row, dots, (size_t)t->s->first_pad * sizeof *row);
    softmax_row(row, t->s, bias, t->a->sizes->scale, memory + l->largest + query,
                memory + l->sum + query, memory + l->inverse + query);
    gather_weights(row, t->s, factors);
}

/* Scores, weights and their gradients of queries [from, from + n), which are rows [row, row + n) of
 * the weights held, and from them dq. */
static void backward_block(const item *t, int64_t from, int64_t n, int64_t row)
{
    const attention *a = t->a;
    const vt_attention_layout *l = &a->layout;
    const group_shape *s = t->s;
    float *memory = t->u->memory, *weights = memory + l->weights + row * s->row,
          *dweights = memory + l->dweights + row * s->row;
    const float *lse = a->saved_lse + (t->image * a->sizes->heads + t->head) * a->map->tokens;

    multiply_with_keys(t, weights, memory + l->q + from * l->width, l->width, NULL,
                       memory + l->k_turned, memory + l->k + s->columns * l->width, n);
    multiply_with_keys(t, dweights, memory + l->dy + from * l->width, l->width, NULL,
                       memory + l->v_turned, memory + l->v + s->columns * l->width, n);
    for (int64_t i = 0; i < n; i++) {
        const float *bias = bias_of(t, from + i), *factors = factors_of(t, from + i);
        float *dbias = NULL;
        if (t->dtable != NULL)
            dbias = memory + l->dbias + (t->head - t->u->first_head) * l->head_bias +
                    (from + i) * s->row;
        if (a->y != NULL)
            weigh_again(t, memory + l->again + i * s->row, weights + i * s->row, from + i, bias,
                        factors);
        softmax_row_backward(weights + i * s->row, dweights + i * s->row, s, bias, factors,
                             a->sizes->scale, lse[s->token[from + i]], dbias);
    }
    if (a->y != NULL)
        multiply_with_scores(t, a->y + y_at(a, t->image, t->head), a->sizes->channels,
                             s->token + from, memory + l->again, memory + l->v,
                             memory + l->inverse + from, n, false);
    if (a->dqkv != NULL)
        multiply_with_scores(t, a->dqkv + qkv_at(a, t->image, t->head, Q), 3 * a->sizes->channels,
                             s->token + from, dweights, memory + l->k, NULL, n, !a->write);
}

static void backward_item(const item *t)
{
    const attention *a = t->a;
    const vt_attention_layout *l = &a->layout;
    const group_shape *s = t->s;
    float *memory = t->u->memory, *dk = NULL, *dv = NULL;
    const int64_t held = block_of(s->n, VT_ATTENTION_QUERIES);
    if (a->dqkv != NULL) {
        dk = a->dqkv + qkv_at(a, t->image, t->head, K);
        dv = a->dqkv + qkv_at(a, t->image, t->head, V);
    }

    start_ahead(t, 2 * tile_requests(s->n, s->columns, a->width) +
                       (a->y != NULL ? 4 : 3) * tile_requests(s->n, a->width, s->n));
    turn(t, memory + l->k_turned, K);
    turn(t, memory + l->v_turned, V);
    gather(t, memory + l->q, Q);
    gather(t, memory + l->k, K);
    gather(t, memory + l->v, V);
    gather_rows(memory + l->dy, l->width, a->dy + y_at(a, t->image, t->head), a->sizes->channels,
                s->token, s->n, a->width);
    for (int64_t from = 0; from < s->n; from += held) {
        const int64_t n = vt_min_i64(held, s->n - from), block = block_of(n, VT_ATTENTION_BLOCK);
        const bool add = from > 0 || !a->write;
        for (int64_t row = 0; row < n; row += block)
            backward_block(t, from + row, vt_min_i64(block, n - row), row);
        multiply_with_turned_scores(t, dv, t->dpad_v, memory + l->weights,
                                    memory + l->dy + from * l->width, n, add);
        multiply_with_turned_scores(t, dk, t->dpad_k, memory + l->dweights,
                                    memory + l->q + from * l->width, n, add);
    }
}

/* The sums of a head in a unit: its table's gradient, then of the pads' key and value. */
static float *partial_of(const attention *a, int64_t index, int64_t head)
{
    const int64_t heads = a->grid.block_heads;
    return a->partials + (index * heads + head % heads) * vt_attention_partial(a->map, a->sizes);
}

static void backward_group(const unit *u, const group_shape *s)
{
    const attention *a = u->a;
    const vt_attention_layout *l = &a->layout;
    const int64_t heads = u->last_head - u->first_head;
    float *dbias = u->memory + l->dbias;
    vt_tile_ahead ahead;

    fill_biases(u, s);
    if (a->table != NULL)
        memset(dbias, 0, (size_t)(heads * l->head_bias) * sizeof *dbias);
    for (int64_t image = u->first_image; image < u->last_image; image++)
        for (int64_t head = u->first_head; head < u->last_head; head++) {
            float *sums = partial_of(a, u->index, head);
            float *dpad = sums + vt_attention_round(a->map->table_rows);
            backward_item(&(item){.u = u,
                                  .a = a,
                                  .s = s,
                                  .image = image,
                                  .head = head,
                                  .dtable = a->table != NULL ? sums : NULL,
                                  .dpad_k = dpad,
                                  .dpad_v = dpad + l->width,
                                  .ahead = &ahead});
        }
    for (int64_t head = u->first_head; head < u->last_head && a->table != NULL; head++)
        add_to_table(partial_of(a, u->index, head), s,
                     dbias + (head - u->first_head) * l->head_bias);
}

static void backward_units(void *arg, int64_t first, int64_t last, int worker)
{
    const attention *a = arg;
    const int64_t partial = vt_attention_partial(a->map, a->sizes);
    for (int64_t i = first; i < last; i++) {
        const unit u = start_unit(a, i, worker);
        memset(partial_of(a, i, u.first_head), 0,
               (size_t)(partial * a->grid.block_heads) * sizeof(float));
        for (int64_t g = u.first_group; g < u.last_group; g++) {
            const group_shape s = shape_of(a->map, g);
            backward_group(&u, &s);
        }
    }
}

/* The units' partial sums of one head, in the order of the units, then added to the gradient:
 * to[i * step] += sum of from[i] over units. `from` counts whole lanes. */
static void add_partials(const attention *a, float *to, int64_t step, int64_t head, int64_t from,
                         int64_t n)
{
    const int64_t block = head / a->grid.block_heads, units = vt_attention_units(&a->grid);
    for (int64_t i = 0; i < n; i += VT_LANES) {
        vt_lanes total = vzero();
        float sum[VT_LANES];
        for (int64_t index = block; index < units; index += a->grid.head_blocks)
            total = vadd(total, vload(partial_of(a, index, head) + from + i));
        vstore(sum, total);
        for (int64_t j = 0; j < VT_LANES && i + j < n; j++)
            to[(i + j) * step] += sum[j];
    }
}

void VT_CPU(attention_bwd)(vt_dev *d, vt_buf dqkv, bool write, float *dtable, float *dpad_bias,
                           vt_buf y, vt_buf dy, vt_buf qkv, const float *lse, const float *table,
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
                   .y = vt_floats(y),
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
static void store_probs(const item *t, float *probs, int64_t from, int64_t n)
{
    const group_shape *s = t->s;
    const float *weights = t->u->memory + t->a->layout.weights;
    const float *inverse = t->u->memory + t->a->layout.inverse + from;
    for (int64_t i = 0; i < n; i++) {
        const float *row = weights + i * s->row;
        float *to = probs + s->place[from + i] * s->map->places;
        for (int64_t j = 0; j < s->n; j++)
            to[s->place[j]] = row[j] * inverse[i];
        for (int64_t j = 0; j < s->pads; j++)
            to[s->pad_place[j]] = row[s->first_pad + j] * inverse[i];
    }
}

static void probs_item(const item *t)
{
    const attention *a = t->a;
    const int64_t square = a->map->places * a->map->places;
    const int64_t window = t->image * a->map->windows + t->s->group->window;
    const int64_t block = block_of(t->s->n, VT_ATTENTION_BLOCK);
    turn(t, t->u->memory + a->layout.k_turned, K);
    for (int64_t from = 0; from < t->s->n; from += block) {
        const int64_t n = vt_min_i64(block, t->s->n - from);
        compute_weights(t, from, n);
        store_probs(t, a->probs + (window * a->sizes->heads + t->head) * square, from, n);
    }
}

static void probs_units(void *arg, int64_t first, int64_t last, int worker)
{
    const attention *a = arg;
    for (int64_t i = first; i < last; i++) {
        const unit u = start_unit(a, i, worker);
        for (int64_t g = u.first_group; g < u.last_group; g++) {
            const group_shape s = shape_of(a->map, g);
            fill_biases(&u, &s);
            for (int64_t image = u.first_image; image < u.last_image; image++)
                for (int64_t head = u.first_head; head < u.last_head; head++)
                    probs_item(&(item){.u = &u, .a = a, .s = &s, .image = image, .head = head});
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
    const int64_t floats = sizes->batch * map->windows * sizes->heads * map->places * map->places;
    (void)lse;
    memset(probs, 0, (size_t)floats * sizeof *probs);
    run_units(&a, probs_units);
}
