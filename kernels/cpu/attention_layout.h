/*
 * Memory of attention on the CPU: what a worker holds while it computes one group, and the partial
 * sums of small parameter gradients. Functions of the sizes alone, the same in both compilations.
 */
#ifndef VT_KERNELS_CPU_ATTENTION_LAYOUT_H
#define VT_KERNELS_CPU_ATTENTION_LAYOUT_H

#include "kernels/kernels.h"

enum {
    VT_ATTENTION_ALIGN = 16,     /* floats: rows are whole lanes, blocks whole cache lines */
    VT_ATTENTION_QUERIES = 128,  /* most queries whose scores are held at once */
    VT_ATTENTION_UNITS = 48,     /* units of work wanted: (image range, head) */
    VT_ATTENTION_MIN_RANGES = 4, /* image ranges, if there are that many images */
};

static inline int64_t vt_attention_round(int64_t n)
{
    return (n + VT_ATTENTION_ALIGN - 1) / VT_ATTENTION_ALIGN * VT_ATTENTION_ALIGN;
}

/* Offsets in floats of a worker's blocks. The rows of a block of scores hold the group's tokens,
 * one more key that stands for all padded places together, and then the padded places one by one;
 * both parts are rounded up to whole lanes. */
typedef struct vt_attention_layout {
    int64_t width;     /* head width, rounded up */
    int64_t keys, row; /* most keys of a group, longest row of scores, both rounded up */
    int64_t queries;   /* most queries held at once */
    int64_t q, k, v, k_turned, v_turned, out, weights, grads, dq, dk, dv, bias, dbias;
    int64_t largest, sum, factors, words, table;
    int64_t size;
} vt_attention_layout;

static inline vt_attention_layout vt_attention_layout_of(const vt_attention_map *map,
                                                         const vt_attention_sizes *sizes)
{
    vt_attention_layout l = {0};
    int64_t tokens = map->max_tokens, queries, *place[18];
    l.width = vt_attention_round(sizes->channels / sizes->heads);
    l.keys = vt_attention_round(tokens + (map->max_pads > 0));
    l.row = l.keys + vt_attention_round(map->max_pads);
    l.queries = queries = tokens < VT_ATTENTION_QUERIES ? tokens : VT_ATTENTION_QUERIES;

    int n = 0;
    const int64_t bias_rows = map->table_rows > 0 ? tokens : 1;
    const int64_t blocks[][2] = {
        {tokens, l.width},         {l.keys, l.width},         {l.keys, l.width},
        {l.width, l.keys},         {l.width, l.keys},         {tokens, l.width},
        {queries, l.row},          {queries, l.row},          {queries, l.width},
        {l.keys, l.width},         {l.keys, l.width},         {bias_rows, l.row},
        {bias_rows, l.row},        {1, l.keys},               {1, l.keys},
        {1, l.row},                {1, map->places + 32},     {1, map->table_rows},
    };
    place[n++] = &l.q;
    (void)place;
    (void)blocks;
    return l;
}

#endif
