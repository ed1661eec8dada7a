/* Depthwise convolution: each channel for itself, sixteen side by side, straight from the map. */
#include "kernels/cpu/conv_layout.h"
#include "kernels/cpu/rows.h"

#include <string.h>

/* Places of a row whose sums are held in registers; taps of a row whose gradients are. */
enum { PLACES = 4, TAPS = 3 };

/* Rows (columns) i of places, first <= i < end, all of whose taps lie in the map: place i reads
 * `size` taps from start + i * step. */
typedef struct range {
    int64_t first, end;
} range;

static int64_t clamp(int64_t n, int64_t low, int64_t high)
{
    return n < low ? low : n > high ? high : n;
}

static range inner_places(int64_t places, int64_t start, int64_t step, int64_t size, int64_t map)
{
    const int64_t room = map - size - start; /* of the first tap of the last place inside */
    const int64_t first = start < 0 ? clamp(vt_ceil_div(-start, step), 0, places) : 0;
    return (range){first, room < 0 ? first : clamp(room / step + 1, first, places)};
}

/* Taps of the place that starts at `from` that lie in the map. */
static range taps_inside(int64_t from, int64_t size, int64_t map)
{
    const int64_t first = clamp(-from, 0, size);
    return (range){first, clamp(map - from, first, size)};
}

/* ---- forward, and the gradient of the input */

typedef struct pass {
    vt_conv_pass p;     /* groups = channels */
    float *to, *packed; /* packed (kh, kw, C) */
    const float *from;
    bool write;
    range inner; /* columns */
} pass;

/* What lies at hand for one row of places and up to sixteen channels. */
typedef struct row {
    const float *from, *w; /* from: start of the source row that the first tap row meets */
    float *to;             /* first place */
    range taps;            /* rows of taps inside the map */
} row;

/* Places [j, j + places), taps `columns` of each row of taps. */
VT_INLINE void compute_places(const pass *a, const row *r, int64_t j, range columns, int64_t left,
                              const int places)
{
    const vt_conv_pass *p = &a->p;
    const int64_t C = p->groups, start = p->left + j * p->step;
    vt_lanes sum[PLACES];
#pragma GCC unroll 4
    for (int i = 0; i < places; i++)
        sum[i] = vzero();
    for (int64_t t = r->taps.first; t < r->taps.end; t++)
        for (int64_t q = columns.first; q < columns.end; q++) {
            const float *x = r->from + ((t - r->taps.first) * p->W + start + q) * C;
            const vt_lanes w = vload_upto(r->w + (t * p->kw + q) * C, left);
#pragma GCC unroll 4
            for (int i = 0; i < places; i++)
                sum[i] = vfma(w, vload_upto(x + i * p->step * C, left), sum[i]);
        }
#pragma GCC unroll 4
    for (int i = 0; i < places; i++)
        vgive_upto(r->to + (j + i) * p->apart * C, a->write, sum[i], left);
}

VT_INLINE void compute_row(const pass *a, const row *r, int64_t left)
{
    const vt_conv_pass *p = &a->p;
    const range all = {0, p->kw};
    int64_t j = 0;
    while (j < p->w)
        if (j >= a->inner.first && j + PLACES <= a->inner.end) {
            compute_places(a, r, j, all, left, PLACES);
            j += PLACES;
        } else {
            compute_places(a, r, j, taps_inside(p->left + j * p->step, p->kw, p->W), left, 1);
            j++;
        }
}

static void compute_rows(void *arg, int64_t first, int64_t last, int worker)
{
    const pass *a = arg;
    const vt_conv_pass *p = &a->p;
    const int64_t C = p->groups;
    (void)worker;
    for (int64_t item = first; item < last; item++) {
        const int64_t image = item / p->h, i = item % p->h, top = p->top + i * p->step;
        const int64_t to_row = image * p->to_H + p->row + i * p->apart;
        row r = {.taps = taps_inside(top, p->kh, p->H)};
        const int64_t from_row = r.taps.first < r.taps.end ? image * p->H + top + r.taps.first : 0;
        for (int64_t c = 0; c < C; c += VT_LANES) {
            r.from = a->from + from_row * p->W * C + c;
            r.w = a->packed + c;
            r.to = a->to + (to_row * p->to_W + p->column) * C + c;
            if (C - c >= VT_LANES)
                compute_row(a, &r, VT_LANES);
            else
                compute_row(a, &r, C - c);
        }
    }
}

static void run_pass(vt_dev *d, pass a, const float *w)
{
    const vt_conv_pass *p = &a.p;
    float *to = a.packed;
    for (int64_t r = 0; r < p->kh; r++)
        for (int64_t q = 0; q < p->kw; q++)
            for (int64_t c = 0; c < p->groups; c++)
                *to++ = w[p->at + r * p->by_row + q * p->by_column + c * p->by_group];
    a.inner = inner_places(p->w, p->left, p->step, p->kw, p->W);
    const int64_t items = p->batch * p->h;
    vt_grid_run(vt_dev_pool(d), items,
                vt_chunk_items(items, p->w * p->groups * (p->kh * p->kw + 4)), compute_rows, &a);
}

void VT_CPU(dwconv_fwd)(vt_dev *d, vt_buf y, vt_buf x, vt_buf w, const vt_conv_sizes *sizes,
                        void *scratch)
{
    run_pass(d,
             (pass){.p = vt_conv_forward(sizes),
                    .to = vt_floats(y),
                    .packed = scratch,
                    .from = vt_floats(x),
                    .write = true},
             vt_floats(w));
}

void VT_CPU(dwconv_bwd_x)(vt_dev *d, vt_buf dx, bool write, vt_buf dy, vt_buf w,
                          const vt_conv_sizes *sizes, void *scratch)
{
    for (int64_t i = 0; i < sizes->stride && i < sizes->H; i++)
        for (int64_t j = 0; j < sizes->stride && j < sizes->W; j++)
            run_pass(d,
                     (pass){.p = vt_conv_backward(sizes, i, j),
                            .to = vt_floats(dx),
                            .packed = scratch,
                            .from = vt_floats(dy),
                            .write = write},
                     vt_floats(w));
}

/* ---- the gradient of the weight */

typedef struct weight_gradient {
    vt_conv_pass p;
    const float *x, *dy;
    float *partial;       /* (chunks, kernel, kernel, C) */
    int64_t rows, height; /* of places; of a chunk */
    range inner;
} weight_gradient;

/* sum[i, :] += sum over n places of dy * x, for `taps` taps side by side from x on; dy and x are of
 * the first place. Even and odd places have sums of their own. */
VT_INLINE void add_places(const vt_conv_pass *p, float *sum, const float *dy, const float *x,
                          int64_t n, int64_t left, const int taps)
{
    const int64_t C = p->groups, step = p->step * C;
    vt_lanes s[2][TAPS];
#pragma GCC unroll 3
    for (int i = 0; i < taps; i++)
        s[0][i] = s[1][i] = vzero();
    for (; n >= 2; n -= 2, dy += 2 * C, x += 2 * step) {
        const vt_lanes even = vload_upto(dy, left), odd = vload_upto(dy + C, left);
#pragma GCC unroll 3
        for (int i = 0; i < taps; i++) {
            s[0][i] = vfma(even, vload_upto(x + i * C, left), s[0][i]);
            s[1][i] = vfma(odd, vload_upto(x + step + i * C, left), s[1][i]);
        }
    }
    if (n > 0)
#pragma GCC unroll 3
        for (int i = 0; i < taps; i++)
            s[0][i] = vfma(vload_upto(dy, left), vload_upto(x + i * C, left), s[0][i]);
#pragma GCC unroll 3
    for (int i = 0; i < taps; i++)
        vgive_upto(sum + i * C, false, vadd(s[0][i], s[1][i]), left);
}

/* Place j at the border: those of its taps that lie in the map. */
VT_INLINE void add_border(const vt_conv_pass *p, float *sum, const float *dy, const float *x,
                          int64_t j, int64_t left)
{
    const int64_t C = p->groups, start = p->left + j * p->step;
    const range taps = taps_inside(start, p->kw, p->W);
    for (int64_t q = taps.first; q < taps.end; q++) {
        const vt_lanes value = vload_upto(x + (start + q) * C, left);
        float *to = sum + q * C;
        vstore_upto(to, vfma(vload_upto(dy + j * C, left), value, vload_upto(to, left)), left);
    }
}

/* One row of taps (kernel, C) of one row of places. */
VT_INLINE void add_row(const weight_gradient *a, float *sum, const float *dy, const float *x,
                       int64_t left)
{
    const vt_conv_pass *p = &a->p;
    const int64_t C = p->groups, first = a->inner.first, n = a->inner.end - first;
    for (int64_t j = 0; j < first; j++)
        add_border(p, sum, dy, x, j, left);
    for (int64_t j = a->inner.end; j < p->w; j++)
        add_border(p, sum, dy, x, j, left);
    for (int64_t q = 0; n > 0 && q < p->kw; q += TAPS) {
        const float *from = x + (p->left + first * p->step + q) * C;
        switch (vt_min_i64(TAPS, p->kw - q)) {
        case 1:
            add_places(p, sum + q * C, dy + first * C, from, n, left, 1);
            break;
        case 2:
            add_places(p, sum + q * C, dy + first * C, from, n, left, 2);
            break;
        default:
            add_places(p, sum + q * C, dy + first * C, from, n, left, 3);
            break;
        }
    }
}

static void sum_chunks(void *arg, int64_t first, int64_t last, int worker)
{
    const weight_gradient *a = arg;
    const vt_conv_pass *p = &a->p;
    const int64_t C = p->groups, size = p->kh * p->kw * C;
    (void)worker;
    for (int64_t chunk = first; chunk < last; chunk++) {
        const int64_t end = vt_min_i64((chunk + 1) * a->height, a->rows);
        float *partial = a->partial + chunk * size;
        memset(partial, 0, (size_t)size * sizeof *partial);
        for (int64_t i = chunk * a->height; i < end; i++) {
            const int64_t image = i / p->h, top = p->top + i % p->h * p->step;
            const range taps = taps_inside(top, p->kh, p->H);
            for (int64_t c = 0; c < C; c += VT_LANES)
                for (int64_t t = taps.first; t < taps.end; t++) {
                    const float *dy = a->dy + i * p->w * C + c;
                    const float *x = a->x + (image * p->H + top + t) * p->W * C + c;
                    float *sum = partial + t * p->kw * C + c;
                    if (C - c >= VT_LANES)
                        add_row(a, sum, dy, x, VT_LANES);
                    else
                        add_row(a, sum, dy, x, C - c);
                }
        }
    }
}

void VT_CPU(dwconv_bwd_w)(vt_dev *d, float *dw, vt_buf dy, vt_buf x, const vt_conv_sizes *sizes,
                          void *scratch)
{
    const vt_conv_pass p = vt_conv_forward(sizes);
    const int64_t rows = p.batch * p.h, chunks = vt_row_chunks(rows);
    const int64_t C = p.groups, taps = p.kh * p.kw;
    weight_gradient a = {.p = p,
                         .x = vt_floats(x),
                         .dy = vt_floats(dy),
                         .partial = scratch,
                         .rows = rows,
                         .height = vt_ceil_div(rows, chunks),
                         .inner = inner_places(p.w, p.left, p.step, p.kw, p.W)};
    vt_grid_run(vt_dev_pool(d), chunks, 1, sum_chunks, &a);
    for (int64_t chunk = 1; chunk < chunks; chunk++)
        for (int64_t i = 0; i < taps * C; i++)
            a.partial[i] += a.partial[chunk * taps * C + i];
    for (int64_t c = 0; c < C; c++)
        for (int64_t tap = 0; tap < taps; tap++)
            dw[c * taps + tap] += a.partial[tap * C + c];
}
