#include "kernels/cpu/gemm.h"
#include "kernels/cpu/gemm_layout.h"

#include <math.h>

enum {
    MAX_CUTS = 16,           /* of each side, beyond what the tile's rows ask for */
    PACKED_FLOATS = 1 << 21, /* of B at a time, unless one block of terms takes more; ... */
    PACKED_SMALL = 1 << 18,  /* ... or this many where C is smaller than its operands */
    BLOCK_UNIT = 8,          /* of a block's terms */
    PARTS = 16,              /* at most, ... */
    PARTS_LARGE = 8,         /* ... or this many where C has more than SMALL_TARGET elements */
    PART_TERMS = 512,        /* of a part at least */
    SMALL_TARGET = 1 << 16,  /* elements of C */
    PARTS_TARGET = 1 << 18,  /* elements of C at most */
};

/* Cost of packing an element of A, of loading one of C, and of a tile, in multiply-adds. */
static const double packing_cost = 24.0, target_cost = 24.0, tile_cost = 2e4;

static int64_t ceil_div(int64_t a, int64_t b)
{
    return (a + b - 1) / b;
}

static int64_t round_up(int64_t value, int64_t unit)
{
    return ceil_div(value, unit) * unit;
}

static int64_t terms_at_a_time(int64_t m, int64_t n, int64_t k)
{
    const int64_t width = round_up(n, VT_GEMM_COLUMNS);
    int64_t blocks = (k > m ? PACKED_SMALL : PACKED_FLOATS) / (width * VT_GEMM_TERMS);
    blocks = blocks > 0 ? blocks : 1;
    return blocks * VT_GEMM_TERMS < k ? blocks * VT_GEMM_TERMS : k;
}

size_t vt_gemm_scratch(int64_t m, int64_t n, int64_t k)
{
    const vt_gemm_cut cut = vt_gemm_cut_of(m, n, k);
    const int64_t floats =
        cut.parts > 1 ? cut.parts * m * (n + 1) : round_up(n, VT_GEMM_COLUMNS) * cut.terms;
    return (size_t)floats * sizeof(float);
}

size_t vt_gemm_worker_scratch(void)
{
    return (size_t)((VT_GEMM_TILE_ROWS + VT_GEMM_PART_COLUMNS) * VT_GEMM_TERMS) * sizeof(float);
}

/* Large tiles pack less of A; many keep many threads busy. What is smallest is the sum of the times
 * on 2, 4, 8 and 16 threads, in which the few count more because they take longer. */
vt_gemm_cut vt_gemm_cut_of(int64_t m, int64_t n, int64_t k)
{
    vt_gemm_cut cut = {.parts = 1, .block = VT_GEMM_TERMS};
    double least = INFINITY;
    if (m * n <= PARTS_TARGET && n <= VT_GEMM_PART_COLUMNS && k >= 2 * PART_TERMS) {
        const int64_t most = m * n > SMALL_TARGET ? PARTS_LARGE : PARTS;
        const int64_t parts = k / PART_TERMS < most ? k / PART_TERMS : most;
        const int64_t blocks = ceil_div(ceil_div(k, parts), VT_GEMM_TERMS);
        cut.block = round_up(ceil_div(k, parts * blocks), BLOCK_UNIT);
        cut.terms = cut.block * blocks;
        cut.parts = ceil_div(k, cut.terms);
        return cut;
    }
    const int64_t least_down = ceil_div(m, VT_GEMM_TILE_ROWS);
    for (int64_t down = least_down; down < least_down + MAX_CUTS; down++)
        for (int64_t across = 1; across <= MAX_CUTS; across++) {
            const int64_t height = round_up(ceil_div(m, down), VT_GEMM_ROWS);
            const int64_t width = round_up(ceil_div(n, across), VT_GEMM_COLUMNS);
            const int64_t tiles = ceil_div(m, height) * ceil_div(n, width);
            const double h = (double)height, w = (double)width, terms = (double)k;
            const double blocks = ceil(terms / VT_GEMM_TERMS);
            const double tile =
                h * w * terms + packing_cost * h * terms + target_cost * h * w * blocks + tile_cost;
            double time = 0;
            for (int64_t threads = 2; threads <= 16; threads *= 2)
                time += (double)ceil_div(tiles, threads) * tile;
            if (time < least) {
                least = time;
                cut.height = height;
                cut.width = width;
            }
        }
    cut.terms = terms_at_a_time(m, n, k);
    return cut;
}

static size_t larger(size_t a, size_t b)
{
    return a > b ? a : b;
}

size_t vt_linear_scratch(int64_t rows, int64_t out, int64_t in, bool backward)
{
    const size_t sums = (size_t)(vt_row_chunks(rows) * out) * sizeof(float);
    if (!backward)
        return vt_gemm_scratch(rows, out, in);
    return larger(larger(vt_gemm_scratch(rows, in, out), vt_gemm_scratch(out, in, rows)), sums);
}

size_t vt_linear_worker_scratch(void)
{
    return vt_gemm_worker_scratch();
}
