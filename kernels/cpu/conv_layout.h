/*
 * How convolutions are cut on the CPU, and the memory that takes. Functions of the sizes alone, the
 * same in both compilations.
 *
 * The forward pass and the gradient of the input are the same computation, a vt_conv_pass. With
 * stride s the gradient is s * s of them, one for each place of the input within a stride: only
 * the taps kernel_row = (row + pad) mod s, ... + s, ... meet that place, and no zero is multiplied.
 */
#ifndef VT_KERNELS_CPU_CONV_LAYOUT_H
#define VT_KERNELS_CPU_CONV_LAYOUT_H

#include "kernels/kernels.h"

enum {
    VT_CONV_PANEL = 16,        /* channels of a panel of packed weights: whole lanes */
    VT_CONV_PLACES = 128,      /* most places (pixels of all images) of a block */
    VT_CONV_TERMS = 192,       /* most products of a sum that is held in registers */
    VT_CONV_CHANNELS = 96,     /* most output channels of a unit of the weight's gradient */
    VT_CONV_TILE = 8,          /* most places of a tile */
    VT_CONV_GATHERED = 160,    /* most numbers of a place that are gathered, see below */
    VT_CONV_UNITS = 32,        /* units of work wanted where places are few */
    VT_CONV_MAX_PARTS = 16,    /* partial sums of the weight's gradient ... */
    VT_CONV_PARTIAL = 1 << 24, /* ... and the floats that they may take together */
};

/*
 * For all images, all places (i, j) with i < h and j < w, and each group of channels:
 *
 *     to[row + i * apart, column + j * apart, o] = or +=
 *         sum over r < kh, q < kw, c < C of from[top + i * step + r, left + j * step + q, c] *
 *         w[at + group * by_group + o * by_output + c * by_input + r * by_row + q * by_column]
 *
 * where `from` (H, W) is 0 outside, and o < O. C and O count the channels of a group.
 */
typedef struct vt_conv_pass {
    int64_t batch, groups;
    int64_t H, W, C;
    int64_t h, w, O;
    int64_t kh, kw, step, top, left;
    int64_t to_H, to_W, row, column, apart;
    int64_t at, by_group, by_output, by_input, by_row, by_column;
} vt_conv_pass;

static inline vt_conv_pass vt_conv_forward(const vt_conv_sizes *s)
{
    const int64_t k = s->kernel, in = s->C / s->groups, out = s->O / s->groups;
    const int64_t h = vt_conv_out(s->H, k, s->stride, s->pad);
    const int64_t w = vt_conv_out(s->W, k, s->stride, s->pad);
    return (vt_conv_pass){
        .batch = s->batch,
        .groups = s->groups,
        .H = s->H,
        .W = s->W,
        .C = in,
        .h = h,
        .w = w,
        .O = out,
        .kh = k,
        .kw = k,
        .step = s->stride,
        .top = -s->pad,
        .left = -s->pad,
        .to_H = h,
        .to_W = w,
        .apart = 1,
        .by_group = out * in * k * k,
        .by_output = in * k * k,
        .by_input = k * k,
        .by_row = k,
        .by_column = 1,
    };
}

/* The gradient of the input's places (row, column), (row + stride, column), ...; row and column are
 * less than the stride. */
static inline vt_conv_pass vt_conv_backward(const vt_conv_sizes *s, int64_t row, int64_t column)
{
    const int64_t k = s->kernel, in = s->C / s->groups, out = s->O / s->groups, step = s->stride;
    const int64_t r = (row + s->pad) % step, q = (column + s->pad) % step; /* first taps */
    const int64_t kh = r < k ? (k - r + step - 1) / step : 0;
    const int64_t kw = q < k ? (k - q + step - 1) / step : 0;
    return (vt_conv_pass){
        .batch = s->batch,
        .groups = s->groups,
        .H = vt_conv_out(s->H, k, step, s->pad),
        .W = vt_conv_out(s->W, k, step, s->pad),
        .C = out,
        .h = (s->H - row + step - 1) / step,
        .w = (s->W - column + step - 1) / step,
        .O = in,
        .kh = kh,
        .kw = kw,
        .step = 1,
        .top = (row + s->pad) / step - (kh - 1),
        .left = (column + s->pad) / step - (kw - 1),
        .to_H = s->H,
        .to_W = s->W,
        .row = row,
        .column = column,
        .apart = step,
        .at = (r + step * (kh - 1)) * k + q + step * (kw - 1),
        .by_group = out * in * k * k,
        .by_output = k * k,
        .by_input = in * k * k,
        .by_row = -step * k,
        .by_column = -step,
    };
}

/* n >= 1 things in equal pieces of at most `most` >= 1, the last perhaps smaller: a piece's size,
 * and how many there are. */
static inline int64_t vt_conv_count(int64_t n, int64_t piece)
{
    return (n + piece - 1) / piece;
}
static inline int64_t vt_conv_piece(int64_t n, int64_t most)
{
    return vt_conv_count(n, vt_conv_count(n, most));
}

static inline int64_t vt_conv_panels(int64_t channels)
{
    return vt_conv_count(channels, VT_CONV_PANEL);
}

/* Blocks of places: part of a row, some rows, or some whole images. */
typedef struct vt_conv_cut {
    int64_t images, rows, columns; /* of a block */
    int64_t n;
} vt_conv_cut;

static inline vt_conv_cut vt_conv_cut_of(const vt_conv_pass *p)
{
    vt_conv_cut cut = {1, 1, vt_conv_piece(p->w, VT_CONV_PLACES), 0};
    if (cut.columns == p->w)
        cut.rows = vt_conv_piece(p->h, VT_CONV_PLACES / p->w);
    if (cut.rows * cut.columns == p->h * p->w)
        cut.images = vt_conv_piece(p->batch, VT_CONV_PLACES / (p->h * p->w));
    cut.n = vt_conv_count(p->batch, cut.images) * vt_conv_count(p->h, cut.rows) *
            vt_conv_count(p->w, cut.columns);
    return cut;
}

/* Source rows (columns) that n places in a row of them read. */
static inline int64_t vt_conv_reach(int64_t n, int64_t step, int64_t kernel)
{
    return (n - 1) * step + kernel;
}

/* Floats of a block's source, with room to read two vectors past its end. */
static inline int64_t vt_conv_source(const vt_conv_pass *p)
{
    const vt_conv_cut cut = vt_conv_cut_of(p);
    const int64_t n = cut.images * vt_conv_reach(cut.rows, p->step, p->kh) *
                      vt_conv_reach(cut.columns, p->step, p->kw) * p->C;
    return (n + VT_CONV_PANEL - 1) / VT_CONV_PANEL * VT_CONV_PANEL + 2 * VT_CONV_PANEL;
}

/* The weight's gradient multiplies vectors of the kernel-width * C numbers that a row of taps
 * meets. Where they are few, as on pixels of three colours, those of all rows are gathered side by
 * side: floats of a place then, whole vectors; 0 where that fills vectors no better. */
static inline int64_t vt_conv_gathered(const vt_conv_pass *forward)
{
    const int64_t run = forward->kw * forward->C, all = forward->kh * run;
    const int64_t vectors = vt_conv_panels(all);
    const bool better = run < 2 * VT_CONV_PANEL && vectors < forward->kh * vt_conv_panels(run);
    return better && all <= VT_CONV_GATHERED ? vectors * VT_CONV_PANEL : 0;
}

/* Packed weights of a pass in floats. */
static inline int64_t vt_conv_packed(const vt_conv_pass *p)
{
    return p->groups * vt_conv_panels(p->O) * p->kh * p->kw * p->C * VT_CONV_PANEL;
}

/* Partial sums of the weight's gradient: as many as keep threads busy, in bounded memory. */
static inline int64_t vt_conv_parts(const vt_conv_pass *forward)
{
    const int64_t blocks = vt_conv_cut_of(forward).n;
    const int64_t units = forward->groups * vt_conv_count(forward->O, VT_CONV_CHANNELS);
    const int64_t fit = VT_CONV_PARTIAL / (forward->groups * forward->by_group);
    int64_t parts = vt_conv_count(VT_CONV_UNITS, units);
    parts = parts < VT_CONV_MAX_PARTS ? parts : VT_CONV_MAX_PARTS;
    parts = parts < blocks ? parts : blocks;
    parts = parts < fit ? parts : fit;
    return parts > 1 ? parts : 1;
}

/* The backward pass of a depthwise convolution goes through an image by bands: band i has row i of
 * dy and rows [i * stride, (i + 1) * stride) of dx, as far as there are any. */
static inline int64_t vt_dwconv_bands(const vt_conv_sizes *s)
{
    const int64_t h = vt_conv_out(s->H, s->kernel, s->stride, s->pad);
    const int64_t n = vt_conv_count(s->H, s->stride);
    return h > n ? h : n;
}

#endif
