/*
 * Memory of attention on the CPU: what a worker holds while it computes one group, and the partial
 * sums of small parameter gradients. Functions of the sizes alone, the same in both compilations.
 */
#ifndef VT_KERNELS_CPU_ATTENTION_LAYOUT_H
#define VT_KERNELS_CPU_ATTENTION_LAYOUT_H

#include "kernels/kernels.h"

enum {
    VT_ATTENTION_ALIGN = 16,    /* floats: rows are whole lanes, blocks whole cache lines */
    VT_ATTENTION_QUERIES = 128, /* most queries whose scores are held at once */
    VT_ATTENTION_UNITS = 48,    /* units of work wanted, see below */
    VT_ATTENTION_MIN_RANGES = 4,
    VT_ATTENTION_DRAWS = 80, /* words drawn beside those of a row's places, at most */
};

/* A worker's blocks as offsets in floats. A row of scores holds the group's tokens, one more key
 * that stands for all padded places together, and then the padded places one by one; both parts are
 * rounded up to whole lanes. */
typedef struct vt_attention_layout {
    int64_t width;   /* head width, rounded up */
    int64_t keys;    /* most keys of a group, rounded up */
    int64_t row;     /* longest row of scores */
    int64_t queries; /* most queries whose scores are held at once */
    int64_t q, k, v, k_turned, v_turned, dy, dk, dv; /* (tokens or keys, width) or its transpose */
    int64_t weights, dweights;                       /* (queries, row) */
    int64_t out;                                     /* (queries, width): y or dq */
    int64_t bias, dbias;                             /* (tokens, row); one row without a table */
    int64_t largest, sum;                            /* (tokens): of a row's scores */
    int64_t factors, words, table;                   /* dropout of a row; a head's bias table */
    int64_t size;
} vt_attention_layout;

static inline int64_t vt_attention_round(int64_t n)
{
    return (n + VT_ATTENTION_ALIGN - 1) / VT_ATTENTION_ALIGN * VT_ATTENTION_ALIGN;
}

static inline int64_t vt_attention_place(vt_attention_layout *layout, int64_t floats)
{
    int64_t at = layout->size;
    layout->size += vt_attention_round(floats);
    return at;
}

static inline vt_attention_layout vt_attention_layout_of(const vt_attention_map *map,
                                                         const vt_attention_sizes *sizes)
{
    vt_attention_layout l = {0};
    const int64_t tokens = map->max_tokens, bias_rows = map->table_rows > 0 ? tokens : 1;
    l.width = vt_attention_round(sizes->channels / sizes->heads);
    l.keys = vt_attention_round(tokens + (map->max_pads > 0));
    l.row = l.keys + vt_attention_round(map->max_pads);
    l.queries = tokens < VT_ATTENTION_QUERIES ? tokens : VT_ATTENTION_QUERIES;

    l.q = vt_attention_place(&l, tokens * l.width);
    l.k = vt_attention_place(&l, l.keys * l.width);
    l.v = vt_attention_place(&l, l.keys * l.width);
    l.k_turned = vt_attention_place(&l, l.keys * l.width);
    l.v_turned = vt_attention_place(&l, l.keys * l.width);
    l.dy = vt_attention_place(&l, tokens * l.width);
    l.dk = vt_attention_place(&l, l.keys * l.width);
    l.dv = vt_attention_place(&l, l.keys * l.width);
    l.weights = vt_attention_place(&l, l.queries * l.row);
    l.dweights = vt_attention_place(&l, l.queries * l.row);
    l.out = vt_attention_place(&l, l.queries * l.width);
    l.bias = vt_attention_place(&l, bias_rows * l.row);
    l.dbias = vt_attention_place(&l, bias_rows * l.row);
    l.largest = vt_attention_place(&l, tokens);
    l.sum = vt_attention_place(&l, tokens);
    l.factors = vt_attention_place(&l, l.row);
    l.words = vt_attention_place(&l, map->places + VT_ATTENTION_DRAWS);
    l.table = vt_attention_place(&l, map->table_rows);
    return l;
}

/* A unit of work is one head of a range of images, and range r has images [r * h, (r + 1) * h) with
 * h = ceil(batch / ranges). Few ranges share the tables among many images; many give every core
 * something to do. */
static inline int64_t vt_attention_ranges(const vt_attention_sizes *sizes)
{
    int64_t ranges = (VT_ATTENTION_UNITS + sizes->heads - 1) / sizes->heads;
    if (ranges < VT_ATTENTION_MIN_RANGES)
        ranges = VT_ATTENTION_MIN_RANGES;
    return ranges < sizes->batch ? ranges : sizes->batch;
}

/* Floats of a unit's partial sums: its head's gradient of the table, then of the padded places' key
 * and value. */
static inline int64_t vt_attention_partial(const vt_attention_map *map,
                                           const vt_attention_sizes *sizes)
{
    return vt_attention_round(map->table_rows) +
           2 * vt_attention_round(sizes->channels / sizes->heads);
}

#endif
