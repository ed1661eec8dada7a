/* Depthwise convolution: each channel for itself, sixteen side by side, straight from the map. */
#include "kernels/cpu/conv_layout.h"
#include "kernels/cpu/dwconv_rows.h"

#include <string.h>

/* Places of a row whose sums are held in registers; taps of a row whose gradients are. */
enum { PLACES = 4, TAPS = 3 };

/* Most rows of an image, and floats of the map, whose gradient is computed before that of the
 * weight: dy then comes from the cache. */
enum { BAND = 8, BAND_FLOATS = 32768 };

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
    vt_conv_pass p; /* groups = channels */
    float *to;
    const float *from, *packed; /* packed (kh, kw, C) */
    bool write, three; /* three: kernel 3 and pad 1, the stride of the forward pass 1 or 2 */
    range inner;       /* columns */
} pass;

/* What lies at hand for one row of places and up to sixteen channels. */
typedef struct line {
    const float *from, *w; /* from: start of the source row that the first tap row meets */
    float *to;             /* first place */
    range taps;            /* rows of taps inside the map */
} line;

/* Places [j, j + places), taps `columns` of each row of taps. */
VT_INLINE void compute_places(const pass *a, const line *r, int64_t j, range columns, int64_t left,
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

VT_INLINE void compute_channels(const pass *a, const line *r, int64_t left)
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

/* Kernel 3, pad 1 and a stride of 1 or 2 have rows of their own. */
static bool is_three(const vt_conv_sizes *s)
{
    return s->kernel == 3 && s->pad == 1 && s->stride <= 2;
}

/* Their row of places whose taps begin at row `top` of an image, with nothing to write yet. */
static dwconv_row row_of_three(const vt_conv_pass *p, const float *map, int64_t image, int64_t top)
{
    const float *from = map + image * p->H * p->W * p->groups;
    dwconv_row row = {.C = p->groups, .W = p->W, .w = p->w};
    for (int64_t r = 0; r < 3; r++) {
        const int64_t at = clamp(top + r, 0, p->H - 1);
        row.inside[r] = at == top + r;
        row.from[r] = from + at * p->W * p->groups;
    }
    row.next_from = from + (top + p->step + 2) * p->W * p->groups;
    return row;
}

static void compute_row_of_three(const pass *a, int64_t image, int64_t i)
{
    const vt_conv_pass *p = &a->p;
    const int64_t C = p->groups;
    dwconv_row row = row_of_three(p, a->from, image, p->top + i * p->step);
    row.weights = a->packed;
    row.to = a->to + (image * p->h + i) * p->w * C;
    row.next_to = row.to + p->w * C;
    row.write = a->write;
    for (int64_t c = 0; c < C; c += VT_LANES)
        if (p->step == 1 && C - c >= VT_LANES)
            slide_row(&row, c, VT_LANES);
        else if (p->step == 1)
            slide_row(&row, c, C - c);
        else if (C - c >= VT_LANES)
            stride_row(&row, c, VT_LANES);
        else
            stride_row(&row, c, C - c);
}

/* Row i of an image's places. */
static void compute_row(const pass *a, int64_t image, int64_t i)
{
    const vt_conv_pass *p = &a->p;
    const int64_t C = p->groups, top = p->top + i * p->step;
    const int64_t to_row = image * p->to_H + p->row + i * p->apart;
    line r = {.taps = taps_inside(top, p->kh, p->H)};
    const int64_t from_row = r.taps.first < r.taps.end ? image * p->H + top + r.taps.first : 0;
    for (int64_t c = 0; c < C; c += VT_LANES) {
        r.from = a->from + from_row * p->W * C + c;
        r.w = a->packed + c;
        r.to = a->to + (to_row * p->to_W + p->column) * C + c;
        if (C - c >= VT_LANES)
            compute_channels(a, &r, VT_LANES);
        else
            compute_channels(a, &r, C - c);
    }
}

/* Packs the weights of a pass, and returns where they end. */
static float *pack(float *to, const vt_conv_pass *p, const float *w)
{
    for (int64_t r = 0; r < p->kh; r++)
        for (int64_t q = 0; q < p->kw; q++)
            for (int64_t c = 0; c < p->groups; c++)
                *to++ = w[p->at + r * p->by_row + q * p->by_column + c * p->by_group];
    return to;
}

static void forward_rows(void *arg, int64_t first, int64_t last, int worker)
{
    const pass *a = arg;
    (void)worker;
    for (int64_t item = first; item < last; item++)
        if (a->three)
            compute_row_of_three(a, item / a->p.h, item % a->p.h);
        else
            compute_row(a, item / a->p.h, item % a->p.h);
}

void VT_CPU(dwconv_fwd)(vt_dev *d, vt_buf y, vt_buf x, vt_buf w, const vt_conv_sizes *sizes,
                        void *scratch)
{
    const vt_conv_pass p = vt_conv_forward(sizes);
    pass a = {.p = p,
              .to = vt_floats(y),
              .packed = scratch,
              .from = vt_floats(x),
              .write = true,
              .three = is_three(sizes),
              .inner = inner_places(p.w, p.left, p.step, p.kw, p.W)};
    const int64_t items = p.batch * p.h;
    pack(scratch, &p, vt_floats(w));
    vt_grid_run(vt_dev_pool(d), items, vt_ceil_div(items, 64), forward_rows, &a);
}

/* ---- backward */

typedef struct gradients {
    const vt_conv_sizes *sizes;
    vt_conv_pass p; /* forward */
    bool write, three;
    range inner;
    const float *x, *dy, *packed; /* packed: weights of the passes of the gradient of x, in turn */
    float *dx, *partial;          /* NULL: not wanted; partial (chunks, kernel, kernel, C) */
    int64_t bands, rows, height;  /* of an image; of the batch; of a chunk */
} gradients;

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
VT_INLINE void add_row(const gradients *a, float *sum, const float *dy, const float *x,
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

/* The gradient of the weight from row i of an image's places. */
static void sum_row_of_three(const gradients *a, float *partial, int64_t image, int64_t i)
{
    const vt_conv_pass *p = &a->p;
    const int64_t C = p->groups;
    const float *dy = a->dy + (image * p->h + i) * p->w * C;
    dwconv_row row = row_of_three(p, a->x, image, p->top + i * p->step);
    row.to = partial;
    for (int64_t c = 0; c < C; c += VT_LANES)
        if (p->step == 1 && C - c >= VT_LANES)
            sum_row(&row, dy, 1, c, VT_LANES);
        else if (p->step == 1)
            sum_row(&row, dy, 1, c, C - c);
        else if (C - c >= VT_LANES)
            sum_row(&row, dy, 2, c, VT_LANES);
        else
            sum_row(&row, dy, 2, c, C - c);
}

static void sum_any_row(const gradients *a, float *partial, int64_t image, int64_t i)
{
    const vt_conv_pass *p = &a->p;
    const int64_t C = p->groups, top = p->top + i * p->step;
    const range taps = taps_inside(top, p->kh, p->H);
    for (int64_t c = 0; c < C; c += VT_LANES)
        for (int64_t t = taps.first; t < taps.end; t++) {
            const float *dy = a->dy + (image * p->h + i) * p->w * C + c;
            const float *x = a->x + (image * p->H + top + t) * p->W * C + c;
            float *sum = partial + t * p->kw * C + c;
            if (C - c >= VT_LANES)
                add_row(a, sum, dy, x, VT_LANES);
            else
                add_row(a, sum, dy, x, C - c);
        }
}

/* Rows 2 i and 2 i + 1 of the gradient of x with stride 2. */
static void spread_row_of_three(const gradients *a, int64_t image, int64_t i)
{
    const vt_conv_pass *p = &a->p;
    const int64_t C = p->groups, length = p->w * C;
    const float *dy = a->dy + (image * p->h + i) * length;
    const bool both = 2 * i + 1 < p->H, below = i + 1 < p->h;
    dwconv_row row = {.C = C,
                      .W = p->W,
                      .w = p->w,
                      .from = {below ? dy + length : dy, dy, dy},
                      .inside = {below, true, true},
                      .weights = a->packed,
                      .to = a->dx + (image * p->H + 2 * i) * p->W * C,
                      .write = a->write,
                      .next_from = dy + 2 * length};
    row.next_to = row.to + 2 * p->W * C;
    for (int64_t c = 0; c < C; c += VT_LANES)
        if (C - c >= VT_LANES)
            spread_row(&row, both, c, VT_LANES);
        else
            spread_row(&row, both, c, C - c);
}

/* The gradient of x in bands [first, last) of an image. */
static void compute_dx(const gradients *a, int64_t image, int64_t first, int64_t last)
{
    const vt_conv_sizes *s = a->sizes;
    const float *packed = a->packed;
    if (a->three && s->stride == 2) {
        for (int64_t i = first; i < last; i++)
            spread_row_of_three(a, image, i);
        return;
    }
    for (int64_t row = 0; row < s->stride && row < s->H; row++)
        for (int64_t column = 0; column < s->stride && column < s->W; column++) {
            const vt_conv_pass p = vt_conv_backward(s, row, column);
            const pass gradient = {.p = p,
                                   .to = a->dx,
                                   .packed = packed,
                                   .from = a->dy,
                                   .write = a->write,
                                   .inner = inner_places(p.w, p.left, p.step, p.kw, p.W)};
            for (int64_t i = first; i < vt_min_i64(last, p.h); i++)
                if (a->three)
                    compute_row_of_three(&gradient, image, i);
                else
                    compute_row(&gradient, image, i);
            packed += p.kh * p.kw * p.groups;
        }
}

/* What they add to the gradient of the weight. */
static void compute_dw(const gradients *a, float *partial, int64_t image, int64_t first,
                       int64_t last)
{
    for (int64_t i = first; i < vt_min_i64(last, a->p.h); i++)
        if (a->three)
            sum_row_of_three(a, partial, image, i);
        else
            sum_any_row(a, partial, image, i);
}

static void compute_chunks(void *arg, int64_t first, int64_t last, int worker)
{
    const gradients *a = arg;
    const vt_conv_pass *p = &a->p;
    const int64_t size = p->kh * p->kw * p->groups;
    const int64_t band = clamp(BAND_FLOATS / (p->W * p->groups), 1, BAND);
    (void)worker;
    for (int64_t chunk = first; chunk < last; chunk++) {
        const int64_t end = vt_min_i64((chunk + 1) * a->height, a->rows);
        float *partial = a->partial ? a->partial + chunk * size : NULL;
        if (partial)
            memset(partial, 0, (size_t)size * sizeof *partial);
        for (int64_t i = chunk * a->height, n; i < end; i += n) {
            const int64_t image = i / a->bands, row = i % a->bands;
            n = vt_min_i64(vt_min_i64(band, end - i), a->bands - row);
            if (a->dx)
                compute_dx(a, image, row, row + n);
            if (partial)
                compute_dw(a, partial, image, row, row + n);
        }
    }
}

static void pack_backward(float *to, const vt_conv_sizes *s, const float *w)
{
    const vt_conv_pass forward = vt_conv_forward(s);
    if (is_three(s) && s->stride == 2) {
        pack(to, &forward, w);
        return;
    }
    for (int64_t row = 0; row < s->stride && row < s->H; row++)
        for (int64_t column = 0; column < s->stride && column < s->W; column++) {
            const vt_conv_pass p = vt_conv_backward(s, row, column);
            to = pack(to, &p, w);
        }
}

void VT_CPU(dwconv_bwd)(vt_dev *d, vt_buf dx, bool write, float *dw, vt_buf dy, vt_buf x, vt_buf w,
                        const vt_conv_sizes *sizes, void *scratch)
{
    const vt_conv_pass p = vt_conv_forward(sizes);
    const int64_t C = p.groups, taps = p.kh * p.kw;
    const int64_t bands = vt_dwconv_bands(sizes), rows = p.batch * bands;
    const int64_t chunks = vt_row_chunks(rows);
    float *packed = scratch;
    gradients a = {.sizes = sizes,
                   .p = p,
                   .write = write,
                   .three = is_three(sizes),
                   .inner = inner_places(p.w, p.left, p.step, p.kw, p.W),
                   .x = vt_floats(x),
                   .dy = vt_floats(dy),
                   .packed = packed,
                   .dx = dx.data ? vt_floats(dx) : NULL,
                   .partial = dw ? packed + taps * C : NULL,
                   .bands = bands,
                   .rows = rows,
                   .height = vt_ceil_div(rows, chunks)};
    if (a.dx)
        pack_backward(packed, sizes, vt_floats(w));
    vt_grid_run(vt_dev_pool(d), chunks, 1, compute_chunks, &a);
    if (!dw)
        return;
    for (int64_t chunk = 1; chunk < chunks; chunk++)
        for (int64_t i = 0; i < taps * C; i++)
            a.partial[i] += a.partial[chunk * taps * C + i];
    for (int64_t c = 0; c < C; c++)
        for (int64_t tap = 0; tap < taps; tap++)
            dw[c * taps + tap] += a.partial[tap * C + c];
}
