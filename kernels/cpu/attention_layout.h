/*
 * Memory of attention on the CPU: what a worker holds while it computes one group, and the partial
 * sums of small parameter gradients. Functions of the sizes alone, the same in both compilations.
 */
#ifndef VT_KERNELS_CPU_ATTENTION_LAYOUT_H
#define VT_KERNELS_CPU_ATTENTION_LAYOUT_H

#include "kernels/kernels.h"

enum {
    VT_ATTENTION_ALIGN = 16,    /* floats: rows are whole lanes, blocks whole cache lines */
    VT_ATTENTION_QUERIES = 128, /* most queries whose scores the backward pass holds at once */
    VT_ATTENTION_BLOCK = 18,    /* most queries taken through a chain of products together */
    VT_ATTENTION_HEADS = 4,     /* most heads of a unit of work */
    VT_ATTENTION_UNITS = 48,    /* units of work wanted, see below */
    VT_ATTENTION_DRAWS = 80,    /* words drawn beside those of a row's places, at most */
};

/* A worker's blocks as offsets in floats. A row of scores holds the group's tokens, one more key
 * that stands for all padded places together, and then the padded places one by one; both parts are
 * rounded up to whole lanes. */
typedef struct vt_attention_layout {
    int64_t width;                           /* head width, rounded up */
    int64_t keys;                            /* most keys of a group, rounded up */
    int64_t row;                             /* longest row of scores */
    int64_t queries;                         /* most queries whose scores are held at once */
    int64_t q, k, v, k_turned, v_turned, dy; /* (tokens or keys, width) or its transpose */
    int64_t weights, dweights;               /* (queries, row) */
    int64_t again;                           /* (queries of a block, row) */
    int64_t bias, dbias; /* (heads of a unit, tokens, row); one row for all without a table */
    int64_t head_bias;   /* floats of one head's */
    int64_t largest, sum, inverse; /* (tokens): of a row's scores; 1 / sum */
    int64_t factors, words, table; /* dropout of a row; a head's bias table */
    int64_t zeros;                 /* (width) */
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

/* How the work is cut into units. A unit is a block of heads over a range of groups and a range of
 * images, each cut into equal parts but for the last. The heads of a unit lie side by side in
 * memory, and the images that follow each other within a group share its biases. */
typedef struct vt_attention_grid {
    int64_t head_blocks, group_ranges, image_ranges;
    int64_t block_heads, range_groups, range_images;
} vt_attention_grid;

static inline int64_t vt_attention_parts(int64_t n, int64_t size)
{
    return (n + size - 1) / size;
}

static inline vt_attention_grid vt_attention_grid_of(const vt_attention_map *map,
                                                     const vt_attention_sizes *sizes)
{
    vt_attention_grid g = {0};
    if (sizes->batch == 0)
        return g;
    g.block_heads =
        vt_attention_parts(sizes->heads, vt_attention_parts(sizes->heads, VT_ATTENTION_HEADS));
    g.head_blocks = vt_attention_parts(sizes->heads, g.block_heads);
    int64_t wanted = vt_attention_parts(VT_ATTENTION_UNITS, g.head_blocks);
    g.range_groups = vt_attention_parts(map->n_groups, wanted);
    g.group_ranges = vt_attention_parts(map->n_groups, g.range_groups);
    wanted = vt_attention_parts(wanted, g.group_ranges);
    g.range_images = vt_attention_parts(sizes->batch, wanted);
    g.image_ranges = vt_attention_parts(sizes->batch, g.range_images);
    return g;
}

static inline int64_t vt_attention_units(const vt_attention_grid *g)
{
    return g->head_blocks * g->group_ranges * g->image_ranges;
}

static inline vt_attention_layout vt_attention_layout_of(const vt_attention_map *map,
                                                         const vt_attention_sizes *sizes)
{
    vt_attention_layout l = {0};
    const int64_t tokens = map->max_tokens;
    l.width = vt_attention_round(sizes->channels / sizes->heads);
    l.keys = vt_attention_round(tokens + (map->max_pads > 0));
    l.row = l.keys + vt_attention_round(map->max_pads);
    l.queries = tokens < VT_ATTENTION_QUERIES ? tokens : VT_ATTENTION_QUERIES;
    l.head_bias = map->table_rows > 0 ? tokens * l.row : 0;

    const int64_t heads = map->table_rows > 0 ? vt_attention_grid_of(map, sizes).block_heads : 0;
    const int64_t bias = heads > 0 ? heads * l.head_bias : l.row;
    l.q = vt_attention_place(&l, tokens * l.width);
    l.k = vt_attention_place(&l, l.keys * l.width);
    l.v = vt_attention_place(&l, l.keys * l.width);
    l.k_turned = vt_attention_place(&l, l.keys * l.width);
    l.v_turned = vt_attention_place(&l, l.keys * l.width);
    l.dy = vt_attention_place(&l, tokens * l.width);
    l.weights = vt_attention_place(&l, l.queries * l.row);
    l.dweights = vt_attention_place(&l, l.queries * l.row);
    l.again = vt_attention_place(&l, VT_ATTENTION_BLOCK * l.row);
    l.bias = vt_attention_place(&l, bias);
    l.dbias = vt_attention_place(&l, heads * l.head_bias);
    l.largest = vt_attention_place(&l, tokens);
    l.sum = vt_attention_place(&l, tokens);
    l.inverse = vt_attention_place(&l, tokens);
    l.factors = vt_attention_place(&l, l.row);
    l.words = vt_attention_place(&l, map->places + VT_ATTENTION_DRAWS);
    l.table = vt_attention_place(&l, map->table_rows);
    l.zeros = vt_attention_place(&l, l.width);
    return l;
}

/* Floats of a head's partial sums in a unit: the gradient of its table, then of the padded places'
 * key and value. */
static inline int64_t vt_attention_partial(const vt_attention_map *map,
                                           const vt_attention_sizes *sizes)
{
    return vt_attention_round(map->table_rows) +
           2 * vt_attention_round(sizes->channels / sizes->heads);
}

#endif
