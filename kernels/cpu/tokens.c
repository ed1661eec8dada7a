#include "kernels/cpu/rows.h"

#include <string.h>

/*
 * An image's tokens are one flat run of values: the class token's C, if there is one, then the
 * map's N * C. The kernels below cut that run, not the tokens, so that pieces are long for any C.
 * Sums over the batch are of one piece, which stays in the nearest cache.
 */
enum { PIECE = 1024 };

struct tokens {
    float *y, *dx, *dcls, *dpos;
    const float *x, *cls, *pos, *dy;
    int64_t batch, n_cls, n; /* values: of the class token (0 or C), of an image of y */
    bool write;
};

/* y[first, last) = x[first, last) + pos[first, last), pos or NULL */
static void add_run(float *y, const float *x, const float *pos, int64_t n)
{
    for (int64_t i = 0; i < n; i += VT_LANES) {
        vt_lanes value = vload_upto(x + i, n - i);
        if (pos)
            value = vadd(value, vload_upto(pos + i, n - i));
        vstore_upto(y + i, value, n - i);
    }
}

static void tokens_forward(void *arg, int64_t first, int64_t last, int worker)
{
    const struct tokens *a = arg;
    int64_t n_cls = a->n_cls, n_map = a->n - n_cls;
    (void)worker;
    for (int64_t b = first; b < last; b++) {
        float *y = a->y + b * a->n;
        add_run(y, a->cls, a->pos, n_cls);
        add_run(y + n_cls, a->x + b * n_map, a->pos ? a->pos + n_cls : NULL, n_map);
    }
}

void VT_CPU(tokens_fwd)(vt_dev *d, vt_buf y, vt_buf x, const float *cls, const float *pos,
                        int64_t batch, int64_t N, int64_t C)
{
    int64_t n_cls = cls ? C : 0;
    struct tokens a = {.y = vt_floats(y), .x = vt_floats(x), .cls = cls, .pos = pos};
    a.n_cls = n_cls;
    a.n = n_cls + N * C;
    vt_grid_run(vt_dev_pool(d), batch, vt_chunk_items(batch, 8 * a.n), tokens_forward, &a);
}

/* Values [first, last) of every image in turn: the sum over the batch, and what x gets. */
static void tokens_backward(void *arg, int64_t first, int64_t last, int worker)
{
    const struct tokens *a = arg;
    _Alignas(64) float sum[PIECE];
    int64_t n = last - first, n_map = a->n - a->n_cls;
    int64_t skip = a->n_cls > first ? vt_min_i64(a->n_cls - first, n) : 0; /* of the class token */
    bool sums = a->dpos || (a->dcls && skip > 0);
    (void)worker;
    memset(sum, 0, sizeof sum);
    for (int64_t b = 0; b < a->batch; b++) {
        const float *dy = a->dy + b * a->n + first;
        float *dx = a->dx ? a->dx + b * n_map + first - a->n_cls : NULL;
        for (int64_t i = 0; sums && i < n; i += VT_LANES)
            vstore(sum + i, vadd(vload(sum + i), vload_upto(dy + i, n - i)));
        for (int64_t i = skip; dx && i < n; i += VT_LANES)
            vgive_upto(dx + i, a->write, vload_upto(dy + i, n - i), n - i);
    }
    for (int64_t i = 0; a->dcls && i < skip; i++)
        a->dcls[first + i] += sum[i];
    for (int64_t i = 0; a->dpos && i < n; i++)
        a->dpos[first + i] += sum[i];
}

void VT_CPU(tokens_bwd)(vt_dev *d, vt_buf dx, bool write, float *dcls, float *dpos, vt_buf dy,
                        bool has_cls, int64_t batch, int64_t N, int64_t C)
{
    struct tokens a = {.dx = vt_floats(dx),
                       .dcls = dcls,
                       .dpos = dpos,
                       .dy = vt_floats(dy),
                       .batch = batch,
                       .n_cls = has_cls ? C : 0,
                       .n = (has_cls ? C : 0) + N * C,
                       .write = write};
    vt_grid_run(vt_dev_pool(d), a.n, PIECE, tokens_backward, &a);
}

struct pool_tokens {
    float *y, *dx;
    const float *x, *dy;
    int64_t N, C;
    bool write;
};

static void mean_forward(void *arg, int64_t first, int64_t last, int worker)
{
    const struct pool_tokens *a = arg;
    vt_lanes count = vset1((float)a->N);
    (void)worker;
    for (int64_t b = first; b < last; b++) {
        const float *x = a->x + b * a->N * a->C;
        float *y = a->y + b * a->C;
        memset(y, 0, (size_t)a->C * sizeof *y);
        for (int64_t i = 0; i < a->N; i++)
            for (int64_t c = 0; c < a->C; c += VT_LANES)
                vgive_upto(y + c, false, vload_upto(x + i * a->C + c, a->C - c), a->C - c);
        for (int64_t c = 0; c < a->C; c += VT_LANES)
            vstore_upto(y + c, vdiv(vload_upto(y + c, a->C - c), count), a->C - c);
    }
}

void VT_CPU(mean_tokens_fwd)(vt_dev *d, vt_buf y, vt_buf x, int64_t batch, int64_t N, int64_t C)
{
    struct pool_tokens a = {.y = vt_floats(y), .x = vt_floats(x), .N = N, .C = C};
    vt_grid_run(vt_dev_pool(d), batch, vt_chunk_items(batch, 4 * N * C), mean_forward, &a);
}

static void mean_backward(void *arg, int64_t first, int64_t last, int worker)
{
    const struct pool_tokens *a = arg;
    vt_lanes count = vset1((float)a->N);
    (void)worker;
    for (int64_t b = first; b < last; b++) {
        const float *dy = a->dy + b * a->C;
        for (int64_t i = 0; i < a->N; i++) {
            float *dx = a->dx + (b * a->N + i) * a->C;
            for (int64_t c = 0; c < a->C; c += VT_LANES)
                vgive_upto(dx + c, a->write, vdiv(vload_upto(dy + c, a->C - c), count), a->C - c);
        }
    }
}

void VT_CPU(mean_tokens_bwd)(vt_dev *d, vt_buf dx, bool write, vt_buf dy, int64_t batch, int64_t N,
                             int64_t C)
{
    struct pool_tokens a = {.dx = vt_floats(dx), .dy = vt_floats(dy), .N = N, .C = C};
    a.write = write;
    vt_grid_run(vt_dev_pool(d), batch, vt_chunk_items(batch, 8 * N * C), mean_backward, &a);
}

static void first_forward(void *arg, int64_t first, int64_t last, int worker)
{
    const struct pool_tokens *a = arg;
    (void)worker;
    for (int64_t b = first; b < last; b++)
        memcpy(a->y + b * a->C, a->x + b * a->N * a->C, (size_t)a->C * sizeof *a->y);
}

void VT_CPU(first_token_fwd)(vt_dev *d, vt_buf y, vt_buf x, int64_t batch, int64_t N, int64_t C)
{
    struct pool_tokens a = {.y = vt_floats(y), .x = vt_floats(x), .N = N, .C = C};
    vt_grid_run(vt_dev_pool(d), batch, vt_chunk_items(batch, 8 * C), first_forward, &a);
}

static void first_backward(void *arg, int64_t first, int64_t last, int worker)
{
    const struct pool_tokens *a = arg;
    (void)worker;
    for (int64_t b = first; b < last; b++) {
        const float *dy = a->dy + b * a->C;
        float *dx = a->dx + b * a->N * a->C;
        for (int64_t c = 0; c < a->C; c += VT_LANES)
            vgive_upto(dx + c, a->write, vload_upto(dy + c, a->C - c), a->C - c);
        if (a->write)
            memset(dx + a->C, 0, (size_t)((a->N - 1) * a->C) * sizeof *dx);
    }
}

void VT_CPU(first_token_bwd)(vt_dev *d, vt_buf dx, bool write, vt_buf dy, int64_t batch, int64_t N,
                             int64_t C)
{
    struct pool_tokens a = {.dx = vt_floats(dx), .dy = vt_floats(dy), .N = N, .C = C};
    a.write = write;
    vt_grid_run(vt_dev_pool(d), batch, vt_chunk_items(batch, 4 * N * C), first_backward, &a);
}
