/*
 * What the CPU kernels share: their names, the work grid and the generator.
 *
 * Every file of this folder is compiled twice, for AVX2 and for AVX-512 (VT_ISA says which), and
 * the two give equal bits: arithmetic is written with vt_lanes (lanes.h), which has the same
 * sixteen lanes and the same order of every sum in both. VT_CPU(merge_fwd) is the name of a kernel
 * in the compilation at hand, vt_avx2_merge_fwd or vt_avx512_merge_fwd; the prototypes below come
 * from the list in kernels.h.
 */
#ifndef VT_KERNELS_CPU_H
#define VT_KERNELS_CPU_H

#include "base/pool.h"
#include "base/rng.h"
#include "base/status.h"
#include "kernels/device.h"
#include "kernels/kernels.h"

#include <math.h>

#define VT_CPU_JOIN(isa, name) vt_##isa##_##name
#define VT_CPU_NAME(isa, name) VT_CPU_JOIN(isa, name)
#define VT_CPU(name) VT_CPU_NAME(VT_ISA, name)

#define X(kernel) vt_##kernel##_fn VT_CPU(kernel);
VT_KERNEL_LIST(X)
#undef X

/* The table of this compilation: vt_avx2_table or vt_avx512_table. */
extern const vt_kernels VT_CPU(table);

static inline int64_t vt_min_i64(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* a / b, rounded up; b > 0 */
static inline int64_t vt_ceil_div(int64_t a, int64_t b)
{
    return (a + b - 1) / b;
}

/* Items of a chunk for work that costs about `cost` per item (bytes, or flops / 8): the grid is a
 * function of shapes alone, coarse enough that taking a chunk costs nothing beside computing it. */
static inline int64_t vt_chunk_items(int64_t items, int64_t cost)
{
    int64_t by_cost = 65536 / (cost > 0 ? cost : 1), by_count = vt_ceil_div(items, 16);
    int64_t chunk = by_cost > by_count ? by_count : by_cost;
    return chunk > 0 ? chunk : 1;
}

static inline float *vt_floats(vt_buf buf)
{
    VT_ASSERT(buf.type == VT_F32);
    return buf.data;
}

/* An element is kept when its word is >= this; 0 <= rate < 1. */
static inline uint32_t vt_drop_threshold(float rate)
{
    return (uint32_t)floor((double)rate * 4294967296.0);
}

/* Words of elements [first, first + n) of image `image`, as kernels.h defines the draws. */
static inline void vt_draw_words(uint32_t *words, const vt_step *step, vt_draw_stream stream,
                                 int64_t image, int64_t first, int64_t n)
{
    uint32_t block[4];
    int64_t i = 0;
    while (i < n) {
        int64_t e = first + i;
        uint32_t counter[4] = {(uint32_t)(e / 4), (uint32_t)image, step->draw, stream};
        vt_philox(step->key, counter, block);
        for (int64_t word = e % 4; word < 4 && i < n; word++)
            words[i++] = block[word];
    }
}

#endif
