/*
 * Convolution without the matrix of patches. A block of places first copies the part of the map
 * that it reads, zeros around the map included; with channels last, the kernel-width * C numbers
 * that one row of taps meets then lie side by side, so every sum runs over long contiguous pieces.
 */
#include "kernels/cpu/conv_layout.h"
#include "kernels/cpu/rows.h"

#include <string.h>

/* Sums held in registers: TILE places (output channels, in the weight's gradient) by WIDE vectors
 * of channels. Every sum is one chain in one order, so how sums are grouped does not show in the
 * bits. */
#ifdef __AVX512F__
enum { TILE = 8, WIDE = 2 };
#else
enum { TILE = 6, WIDE = 1 };
#endif

/* A block of places, and the size of the source that it copies. */
typedef struct block {
    int64_t image, row, column, images, rows, columns;
    int64_t lines; /* of an image */
    int64_t line;  /* floats */
} block;

static block find_block(const vt_conv_pass *p, const vt_conv_cut *cut, int64_t i)
{
    const int64_t across = vt_conv_count(p->w, cut->columns);
    const int64_t down = vt_conv_count(p->h, cut->rows);
    block b = {.image = i / across / down * cut->images,
               .row = i / across % down * cut->rows,
               .column = i % across * cut->columns};
    b.images = vt_min_i64(cut->images, p->batch - b.image);
    b.rows = vt_min_i64(cut->rows, p->h - b.row);
    b.columns = vt_min_i64(cut->columns, p->w - b.column);
    b.lines = vt_conv_reach(b.rows, p->step, p->kh);
    b.line = vt_conv_reach(b.columns, p->step, p->kw) * p->C;
    return b;
}

static int64_t clamp(int64_t n, int64_t low, int64_t high)
{
    return n < low ? low : n > high ? high : n;
}

static void copy_source(const vt_conv_pass *p, const block *b, int64_t group, const float *from,
                        float *to)
{
    const int64_t pixel = p->groups * p->C, columns = b->line / p->C;
    const int64_t left = p->left + b->column * p->step, top = p->top + b->row * p->step;
    const int64_t first = clamp(-left, 0, columns), end = clamp(p->W - left, first, columns);

    for (int64_t i = 0; i < b->images * b->lines; i++, to += b->line) {
        const int64_t image = b->image + i / b->lines, row = top + i % b->lines;
        if (row < 0 || row >= p->H || end == first) {
            memset(to, 0, (size_t)b->line * sizeof *to);
            continue;
        }
        const float *x = from + ((image * p->H + row) * p->W + left + first) * pixel + group * p->C;
        memset(to, 0, (size_t)(first * p->C) * sizeof *to);
        if (p->groups == 1)
            memcpy(to + first * p->C, x, (size_t)((end - first) * p->C) * sizeof *to);
        else
            for (int64_t col = first; col < end; col++, x += pixel)
                memcpy(to + col * p->C, x, (size_t)p->C * sizeof *to);
        memset(to + end * p->C, 0, (size_t)((columns - end) * p->C) * sizeof *to);
    }
}

/* ---- forward, and the gradient of the input */

typedef struct pass {
    vt_conv_pass p;
    vt_conv_cut cut;
    vt_dev *dev;
    float *to, *packed; /* packed (groups, panels, kh, kw, C, VT_CONV_PANEL) */
    const float *from, *w, *bias;
    bool write;
    int64_t panels;        /* of a group */
    int64_t take, divides; /* panels of a unit of work; units of a block and group */
    int64_t source;        /* floats of a block's source */
} pass;

/* An item is one row of taps of one panel. */
static void pack_weights(void *arg, int64_t first, int64_t last, int worker)
{
    const pass *a = arg;
    const vt_conv_pass *p = &a->p;
    (void)worker;
    for (int64_t item = first; item < last; item++) {
        const int64_t r = item % p->kh, panel = item / p->kh % a->panels;
        const int64_t group = item / p->kh / a->panels, o = panel * VT_CONV_PANEL;
        const int64_t n = vt_min_i64(VT_CONV_PANEL, p->O - o);
        const float *w = a->w + p->at + group * p->by_group + o * p->by_output;
        float *to = a->packed + item * p->kw * p->C * VT_CONV_PANEL;
        for (int64_t q = 0; q < p->kw; q++)
            for (int64_t c = 0; c < p->C; c++, to += VT_CONV_PANEL) {
                const int64_t from = r * p->by_row + q * p->by_column + c * p->by_input;
                for (int64_t i = 0; i < VT_CONV_PANEL; i++)
                    to[i] = i < n ? w[from + i * p->by_output] : 0.0f;
            }
    }
}

/* Some of a sum's products: `rows` times `terms` numbers side by side, the source's rows `line`
 * apart, against panels that are `apart` from each other. */
typedef struct products {
    const float *w;
    int64_t rows, terms, line, apart;
    bool add;
} products;

/* sum (TILE, vectors): places begin at x + at[i] */
VT_INLINE void sum_tile(const products *a, float *sum, const float *x, const int64_t *at,
                        const int vectors)
{
    vt_lanes s[TILE][2];
    const float *w = a->w;
    int64_t place[TILE];
#pragma GCC unroll 8
    for (int i = 0; i < TILE; i++) {
        place[i] = at[i];
        s[i][0] = s[i][1] = vzero();
    }
    for (int64_t r = 0; r < a->rows; r++, x += a->line)
        for (int64_t j = 0; j < a->terms; j++, w += VT_CONV_PANEL) {
            const vt_lanes w0 = vload(w), w1 = vectors > 1 ? vload(w + a->apart) : vzero();
#pragma GCC unroll 8
            for (int i = 0; i < TILE; i++) {
                const vt_lanes value = vset1(x[place[i] + j]);
                s[i][0] = vfma(value, w0, s[i][0]);
                if (vectors > 1)
                    s[i][1] = vfma(value, w1, s[i][1]);
            }
        }
#pragma GCC unroll 8
    for (int i = 0; i < TILE; i++)
#pragma GCC unroll 2
        for (int v = 0; v < vectors; v++) {
            float *to = sum + (i * vectors + v) * VT_LANES;
            vstore(to, a->add ? vadd(vload(to), s[i][v]) : s[i][v]);
        }
}

/* sum (n, vectors * VT_LANES), n rounded up to whole tiles: all products, at most VT_CONV_TERMS in
 * a register before they are added to the rest. All places meet a piece of the weights before the
 * next is read, so the piece stays in the nearest cache. */
__attribute__((noinline)) static void sum_places(const vt_conv_pass *p, float *sum, const float *x,
                                                 int64_t line, const int64_t *at, int64_t n,
                                                 const float *w, int64_t vectors)
{
    const int64_t run = p->kw * p->C;
    if (p->kh * run == 0) {
        memset(sum, 0, (size_t)(n * vectors * VT_LANES) * sizeof *sum);
        return;
    }
    const int64_t terms = vt_conv_piece(run, VT_CONV_TERMS);
    const int64_t rows = run < VT_CONV_TERMS ? vt_conv_piece(p->kh, VT_CONV_TERMS / run) : 1;
    for (int64_t r = 0; r < p->kh; r += rows)
        for (int64_t j = 0; j < run; j += terms) {
            const products a = {.w = w + (r * run + j) * VT_CONV_PANEL,
                                .rows = vt_min_i64(rows, p->kh - r),
                                .terms = vt_min_i64(terms, run - j),
                                .line = line,
                                .apart = p->kh * run * VT_CONV_PANEL,
                                .add = r + j > 0};
            for (int64_t i = 0; i < n; i += TILE) {
                float *to = sum + i * vectors * VT_LANES;
                if (vectors > 1)
                    sum_tile(&a, to, x + r * line + j, at + i, 2);
                else
                    sum_tile(&a, to, x + r * line + j, at + i, 1);
            }
        }
}

/* Where places begin in the source that was copied, and where their results go; returns how many
 * there are. The last is repeated to fill its tile. */
static int64_t list_places(const vt_conv_pass *p, const block *b, int64_t *at, int64_t *to)
{
    int64_t n = 0;
    for (int64_t image = 0; image < b->images; image++)
        for (int64_t i = 0; i < b->rows; i++) {
            const int64_t row = p->row + (b->row + i) * p->apart;
            const int64_t line = ((b->image + image) * p->to_H + row) * p->to_W;
            for (int64_t j = 0; j < b->columns; j++, n++) {
                at[n] = (image * b->lines + i * p->step) * b->line + j * p->step * p->C;
                to[n] = (line + p->column + (b->column + j) * p->apart) * p->groups * p->O;
            }
        }
    for (int64_t i = n; i < n + TILE; i++)
        at[i] = at[n - 1];
    return n;
}

static void compute_units(void *arg, int64_t first, int64_t last, int worker)
{
    const pass *a = arg;
    const vt_conv_pass *p = &a->p;
    float *source = vt_dev_worker_scratch(a->dev, worker), *sum = source + a->source;
    int64_t at[VT_CONV_PLACES + TILE], to[VT_CONV_PLACES];

    for (int64_t unit = first; unit < last; unit++) {
        const int64_t group = unit / a->divides % p->groups;
        const block b = find_block(p, &a->cut, unit / a->divides / p->groups);
        const int64_t n = list_places(p, &b, at, to);
        const int64_t begin = unit % a->divides * a->take;
        const int64_t end = vt_min_i64(begin + a->take, a->panels);

        copy_source(p, &b, group, a->from, source);
        for (int64_t panel = begin; panel < end; panel += WIDE) {
            const int64_t vectors = vt_min_i64(WIDE, end - panel);
            const int64_t packed = (group * a->panels + panel) * p->kh * p->kw * p->C;
            sum_places(p, sum, source, b.line, at, vt_ceil_div(n, TILE) * TILE,
                       a->packed + packed * VT_CONV_PANEL, vectors);
            for (int64_t i = 0; i < n; i++)
                for (int64_t v = 0; v < vectors; v++) {
                    const int64_t o = (panel + v) * VT_CONV_PANEL, channel = group * p->O + o;
                    vt_lanes value = vload(sum + (i * vectors + v) * VT_LANES);
                    if (a->bias != NULL)
                        value = vadd(value, vload_upto(a->bias + channel, p->O - o));
                    vgive_upto(a->to + to[i] + channel, a->write, value, p->O - o);
                }
        }
    }
}

static void run_pass(pass a)
{
    const vt_conv_pass *p = &a.p;
    a.cut = vt_conv_cut_of(p);
    a.source = vt_conv_source(p);
    a.panels = vt_conv_panels(p->O);
    const int64_t units = a.cut.n * p->groups;
    a.take = vt_conv_piece(a.panels, vt_ceil_div(a.panels, vt_ceil_div(VT_CONV_UNITS, units)));
    a.take += a.take % 2; /* panels go in pairs */
    a.divides = vt_ceil_div(a.panels, a.take);
    vt_grid_run(vt_dev_pool(a.dev), p->groups * a.panels * p->kh, 1, pack_weights, &a);
    vt_grid_run(vt_dev_pool(a.dev), units * a.divides, 1, compute_units, &a);
}

void VT_CPU(conv_fwd)(vt_dev *d, vt_buf y, vt_buf x, vt_buf w, vt_buf b, const vt_conv_sizes *sizes,
                      void *scratch)
{
    run_pass((pass){.p = vt_conv_forward(sizes),
                    .dev = d,
                    .to = vt_floats(y),
                    .packed = scratch,
                    .from = vt_floats(x),
                    .w = vt_floats(w),
                    .bias = b.data,
                    .write = true});
}

void VT_CPU(conv_bwd_x)(vt_dev *d, vt_buf dx, bool write, vt_buf dy, vt_buf w,
                        const vt_conv_sizes *sizes, void *scratch)
{
    for (int64_t row = 0; row < sizes->stride && row < sizes->H; row++)
        for (int64_t column = 0; column < sizes->stride && column < sizes->W; column++)
            run_pass((pass){.p = vt_conv_backward(sizes, row, column),
                            .dev = d,
                            .to = vt_floats(dx),
                            .packed = scratch,
                            .from = vt_floats(dy),
                            .w = vt_floats(w),
                            .write = write});
}

/* ---- the gradient of the weight */

typedef struct weight_gradient {
    vt_conv_pass p; /* forward */
    vt_conv_cut cut;
    vt_dev *dev;
    const float *x, *dy;
    float *dw, *partial;   /* partial (parts, groups * O, kh, kw, C) */
    int64_t terms;         /* kh * kw * C */
    int64_t parts, blocks; /* blocks of a part */
    int64_t take, divides; /* output channels of a unit; units of a part and group */
    int64_t source;
} weight_gradient;

/* What a tile of sums runs over: lines of places. */
typedef struct lines {
    const float *x, *dy; /* of the first place */
    const int64_t *at;   /* of each line, from x */
    int64_t n, places, x_apart, dy_apart;
} lines;

/* partial[i, j] += sum over places of dy[i] * x[j], i < TILE, j < vectors * VT_LANES, of which
 * `outputs` and `left` are there. */
VT_INLINE void add_tile(const lines *a, float *partial, int64_t terms, int64_t outputs,
                        int64_t left, const int vectors)
{
    vt_lanes s[TILE][2];
    const float *dy = a->dy;
#pragma GCC unroll 8
    for (int i = 0; i < TILE; i++)
        s[i][0] = s[i][1] = vzero();
    for (int64_t l = 0; l < a->n; l++) {
        const float *x = a->x + a->at[l];
        for (int64_t place = 0; place < a->places; place++, x += a->x_apart, dy += a->dy_apart) {
            const vt_lanes x0 = vload(x), x1 = vectors > 1 ? vload(x + VT_LANES) : vzero();
#pragma GCC unroll 8
            for (int i = 0; i < TILE; i++) {
                const vt_lanes value = vset1(dy[i]);
                s[i][0] = vfma(value, x0, s[i][0]);
                if (vectors > 1)
                    s[i][1] = vfma(value, x1, s[i][1]);
            }
        }
    }
#pragma GCC unroll 8
    for (int i = 0; i < TILE; i++)
#pragma GCC unroll 2
        for (int v = 0; v < vectors; v++)
            if (i < outputs)
                vgive_upto(partial + i * terms + v * VT_LANES, false, s[i][v], left - v * VT_LANES);
}

/* dy of a block's places, n channels from `channel` on, to (places, width): zeros fill it up. */
static void copy_gradients(const vt_conv_pass *p, const block *b, const float *dy, int64_t channel,
                           int64_t n, float *to, int64_t width)
{
    for (int64_t i = 0; i < b->images * b->rows; i++) {
        const int64_t image = b->image + i / b->rows, row = b->row + i % b->rows;
        const float *from =
            dy + channel + ((image * p->h + row) * p->w + b->column) * p->groups * p->O;
        for (int64_t j = 0; j < b->columns; j++, from += p->groups * p->O, to += width) {
            memcpy(to, from, (size_t)n * sizeof *to);
            memset(to + n, 0, (size_t)(width - n) * sizeof *to);
        }
    }
}

/* What a block's places meet, n lines of them, to (places, width): all rows of taps side by side.
 * Whole vectors are copied; what is too much is written over next, or not read. */
static void gather(const vt_conv_pass *p, const block *b, const float *source, const int64_t *at,
                   int64_t n, float *to, int64_t width)
{
    const int64_t run = p->kw * p->C;
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < b->columns; j++, to += width)
            for (int64_t r = 0; r < p->kh; r++) {
                const float *from = source + at[i] + r * b->line + j * p->step * p->C;
                for (int64_t lane = 0; lane < run; lane += VT_LANES)
                    vstore(to + r * run + lane, vload(from + lane));
            }
}

static void add_block(const weight_gradient *a, const block *b, float *source, int64_t group,
                      int64_t o, int64_t n, float *partial)
{
    const vt_conv_pass *p = &a->p;
    const int64_t width = vt_ceil_div(n, TILE) * TILE, gathered = vt_conv_gathered(p);
    int64_t at[VT_CONV_PLACES], run = p->kw * p->C, rows = p->kh;
    float *dy = source + a->source;
    lines all = {.x = source,
                 .at = at,
                 .n = b->images * b->rows,
                 .places = b->columns,
                 .x_apart = p->step * p->C,
                 .dy_apart = width};

    copy_source(p, b, group, a->x, source);
    copy_gradients(p, b, a->dy, group * p->O + o, n, dy, width);
    for (int64_t i = 0; i < all.n; i++)
        at[i] = (i / b->rows * b->lines + i % b->rows * p->step) * b->line;
    if (gathered) {
        float *places = dy + VT_CONV_PLACES * VT_CONV_CHANNELS;
        gather(p, b, source, at, all.n, places, gathered);
        all.x = places;
        all.places *= all.n;
        all.x_apart = gathered;
        all.n = 1;
        run *= rows;
        rows = 1;
        at[0] = 0;
    }
    const float *x = all.x;
    for (int64_t r = 0; r < rows; r++)
        for (int64_t j = 0; j < run; j += WIDE * VT_LANES)
            for (int64_t i = 0; i < n; i += TILE) {
                float *to = partial + i * a->terms + r * run + j;
                all.x = x + r * b->line + j;
                all.dy = dy + i;
                if (WIDE > 1 && run - j > VT_LANES)
                    add_tile(&all, to, a->terms, n - i, run - j, 2);
                else
                    add_tile(&all, to, a->terms, n - i, run - j, 1);
            }
}

static void sum_weight_units(void *arg, int64_t first, int64_t last, int worker)
{
    const weight_gradient *a = arg;
    const vt_conv_pass *p = &a->p;
    float *source = vt_dev_worker_scratch(a->dev, worker);
    for (int64_t unit = first; unit < last; unit++) {
        const int64_t o = unit % a->divides * a->take, group = unit / a->divides % p->groups;
        const int64_t part = unit / a->divides / p->groups, n = vt_min_i64(a->take, p->O - o);
        const int64_t end = vt_min_i64((part + 1) * a->blocks, a->cut.n);
        float *partial = a->partial + ((part * p->groups + group) * p->O + o) * a->terms;
        memset(partial, 0, (size_t)(n * a->terms) * sizeof *partial);
        for (int64_t i = part * a->blocks; i < end; i++) {
            const block b = find_block(p, &a->cut, i);
            add_block(a, &b, source, group, o, n, partial);
        }
    }
}

/* The parts in order, and from (kh, kw, C) to (C, kh, kw). */
static void add_parts(void *arg, int64_t first, int64_t last, int worker)
{
    const weight_gradient *a = arg;
    const int64_t taps = a->p.kh * a->p.kw, outputs = a->p.groups * a->p.O;
    (void)worker;
    for (int64_t o = first; o < last; o++) {
        float *sum = a->partial + o * a->terms, *dw = a->dw + o * a->terms;
        for (int64_t part = 1; part < a->parts; part++) {
            const float *other = sum + part * outputs * a->terms;
            for (int64_t i = 0; i < a->terms; i += VT_LANES)
                vgive_upto(sum + i, false, vload_upto(other + i, a->terms - i), a->terms - i);
        }
        for (int64_t c = 0; c < a->p.C; c++)
            for (int64_t tap = 0; tap < taps; tap++)
                *dw++ += sum[tap * a->p.C + c];
    }
}

void VT_CPU(conv_bwd_w)(vt_dev *d, float *dw, float *db, vt_buf dy, vt_buf x,
                        const vt_conv_sizes *sizes, void *scratch)
{
    const vt_conv_pass p = vt_conv_forward(sizes);
    if (dw != NULL) {
        weight_gradient a = {.p = p,
                             .cut = vt_conv_cut_of(&p),
                             .dev = d,
                             .x = vt_floats(x),
                             .dy = vt_floats(dy),
                             .dw = dw,
                             .partial = scratch,
                             .terms = p.by_output,
                             .take = vt_conv_piece(p.O, VT_CONV_CHANNELS),
                             .source = vt_conv_source(&p)};
        a.blocks = vt_conv_piece(a.cut.n, vt_ceil_div(a.cut.n, vt_conv_parts(&p)));
        a.parts = vt_ceil_div(a.cut.n, a.blocks);
        a.divides = vt_ceil_div(p.O, a.take);
        vt_grid_run(vt_dev_pool(d), a.parts * p.groups * a.divides, 1, sum_weight_units, &a);
        vt_grid_run(vt_dev_pool(d), sizes->O, vt_chunk_items(sizes->O, 4 * a.parts * a.terms),
                    add_parts, &a);
    }
    if (db != NULL)
        VT_CPU(linear_bwd_w)(d, NULL, db, dy, x, p.batch * p.h * p.w, sizes->O, 1, scratch);
}
