#include "kernels/cpu/gemm.h"

#include "kernels/cpu/cpu.h"
#include "kernels/cpu/gemm_layout.h"
#include "kernels/cpu/lanes.h"

#include <string.h>

/* Rows and lanes of C that are summed in registers at a time. */
#ifdef __AVX512F__
enum { TILE_ROWS = 12, TILE_LANES = 2 };
#else
enum { TILE_ROWS = 6, TILE_LANES = 1 };
#endif

/* Rows of A that many floats apart share their places in the first cache. */
enum { CLASH = 1024 };

/* Terms between two calls for memory that will be wanted. What is called for may lie past an end:
 * a prefetch reads nothing there. */
enum { BREATH = 8 };

typedef struct product {
    const vt_gemm *g;
    vt_dev *dev;
    vt_gemm_cut cut;
    float *scratch;      /* panels of B: [panel][term][VT_GEMM_COLUMNS]; or sums: [part][m][n] */
    int64_t first, last; /* the terms that are packed */
    int64_t columns;     /* tiles side by side */
} product;

/* ---- packing */

/* Four rows of four floats, `step` apart, become four columns, `to_step` apart. */
VT_INLINE void transpose4(float *to, int64_t to_step, const float *from, int64_t step)
{
    __m128 r0 = _mm_loadu_ps(from), r1 = _mm_loadu_ps(from + step);
    __m128 r2 = _mm_loadu_ps(from + 2 * step), r3 = _mm_loadu_ps(from + 3 * step);
    _MM_TRANSPOSE4_PS(r0, r1, r2, r3);
    _mm_storeu_ps(to, r0);
    _mm_storeu_ps(to + to_step, r1);
    _mm_storeu_ps(to + 2 * to_step, r2);
    _mm_storeu_ps(to + 3 * to_step, r3);
}

/* to[term][i] = from[i * step + term] for `count` of `width` places i, zeros for the others. */
VT_INLINE void pack_across(float *to, int64_t width, const float *from, int64_t step, int64_t count,
                           int64_t terms)
{
    int64_t i = 0;
    for (; i + 4 <= count; i += 4) {
        const float *row = from + i * step;
        int64_t t = 0;
        for (; t + 4 <= terms; t += 4)
            transpose4(to + t * width + i, width, row + t, step);
        for (; t < terms; t++)
            for (int64_t j = 0; j < 4; j++)
                to[t * width + i + j] = row[j * step + t];
    }
    for (; i < width; i++)
        for (int64_t t = 0; t < terms; t++)
            to[t * width + i] = i < count ? from[i * step + t] : 0;
}

/* Panels of `width` columns of a matrix whose rows, `step` apart, are the terms: a few rows at a
 * time, so that memory is read in order and whole lines are written, for panels begin at the same
 * places of the cache and drive each other's lines out. */
VT_INLINE void pack_along(float *to, const int64_t width, const float *from, int64_t step,
                          int64_t count, int64_t terms)
{
    enum { ROWS = 8 };
    const int64_t whole = count / width, rest = count - whole * width;
    for (int64_t t = 0; t < terms; t += ROWS) {
        const int64_t rows = vt_min_i64(ROWS, terms - t);
        const float *row = from + t * step;
        float *place = to + t * width;
        for (int64_t panel = 0; panel < whole; panel++) {
            for (int64_t r = 0; r < rows; r++) {
                __builtin_prefetch(row + (r + 2 * ROWS) * step);
                memcpy(place + r * width, row + r * step, (size_t)width * sizeof *to);
            }
            place += width * terms;
            row += width;
        }
        for (int64_t r = 0; r < rows && rest; r++)
            for (int64_t i = 0; i < width; i++)
                place[r * width + i] = i < rest ? row[r * step + i] : 0;
    }
}

/* Columns [column, column + columns) and terms [term, term + terms) of op(B). */
static void pack_b(float *to, const vt_gemm *g, int64_t column, int64_t columns, int64_t term,
                   int64_t terms)
{
    if (!g->b_transposed) {
        pack_along(to, VT_GEMM_COLUMNS, g->b + term * g->n + column, g->n, columns, terms);
        return;
    }
    for (int64_t i = 0; i < columns; i += VT_GEMM_COLUMNS)
        pack_across(to + i * terms, VT_GEMM_COLUMNS, g->b + (column + i) * g->k + term, g->k,
                    vt_min_i64(VT_GEMM_COLUMNS, columns - i), terms);
}

/* Rows [row, row + rows) and terms [term, term + terms) of op(A). */
static void pack_a(float *to, const vt_gemm *g, int64_t row, int64_t rows, int64_t term,
                   int64_t terms)
{
    if (g->a_transposed) {
        pack_along(to, VT_GEMM_ROWS, g->a + term * g->m + row, g->m, rows, terms);
        return;
    }
    for (int64_t i = 0; i < rows; i += VT_GEMM_ROWS)
        pack_across(to + i * terms, VT_GEMM_ROWS, g->a + (row + i) * g->k + term, g->k,
                    vt_min_i64(VT_GEMM_ROWS, rows - i), terms);
}

/* ---- tiles */

/* What becomes of a block's sums. */
typedef struct target {
    float *c;
    int64_t stride, rows, columns; /* those of the tile that exist */
    const float *bias;             /* of the tile's first column, or NULL */
    bool write;
} target;

/* Rows of A: packed in panels, or where they are. */
typedef struct rows_of_a {
    const float *at;
    int64_t apart; /* floats from one row to the next; 0: packed */
} rows_of_a;

VT_INLINE void store(const target *t, int64_t row, int64_t column, vt_lanes sum)
{
    float *c = t->c + row * t->stride + column;
    const int64_t count = t->columns - column;
    if (count >= VT_LANES) {
        if (!t->write)
            sum = vadd(vload(c), sum);
        else if (t->bias)
            sum = vadd(vload(t->bias + column), sum);
        vstore(c, sum);
    } else if (count > 0) {
        if (!t->write)
            sum = vadd(vload_first(c, count), sum);
        else if (t->bias)
            sum = vadd(vload_first(t->bias + column, count), sum);
        vstore_first(c, sum, count);
    }
}

/* One term of every element: a[i / 3] + i % 3 * apart is row i's, or a[0] + i if packed. */
VT_INLINE void add_term(vt_lanes sum[TILE_ROWS][TILE_LANES], const float *const a[TILE_ROWS / 3],
                        int64_t apart, const float *b, const int lanes, const bool packed)
{
    vt_lanes right[TILE_LANES];
#pragma GCC unroll 4
    for (int j = 0; j < lanes; j++)
        right[j] = vload(b + j * VT_LANES);
#pragma GCC unroll 16
    for (int i = 0; i < TILE_ROWS; i++) {
        const vt_lanes left = vset1(packed ? a[0][i] : a[i / 3][i % 3 * apart]);
#pragma GCC unroll 4
        for (int j = 0; j < lanes; j++)
            sum[i][j] = vfma(left, right[j], sum[i][j]);
    }
}

/* Sums over `terms` of rows of A, from `row` on, and a panel of B, from `column` on. Every few
 * terms lines of C and of `ahead` are called for. */
VT_INLINE void multiply(const target *t, rows_of_a rows, const float *b, int64_t terms, int64_t row,
                        int64_t column, const float *ahead, const int lanes, const bool packed)
{
    vt_lanes sum[TILE_ROWS][TILE_LANES];
    const float *a[TILE_ROWS / 3], *c = t->c + row * t->stride + column;
    const int64_t apart = rows.apart;
    int64_t term = 0;
#pragma GCC unroll 16
    for (int i = 0; i < TILE_ROWS; i++)
#pragma GCC unroll 4
        for (int j = 0; j < lanes; j++)
            sum[i][j] = vzero();
#pragma GCC unroll 4
    for (int i = 0; i < TILE_ROWS / 3; i++)
        a[i] = packed ? rows.at + row : rows.at + (row + 3 * i) * apart;
    b += column;
    for (; term + BREATH <= terms; term += BREATH) {
        if (term < TILE_ROWS * BREATH) {
#pragma GCC unroll 4
            for (int j = 0; j < lanes; j++)
                __builtin_prefetch(c + j * VT_LANES, 1);
            c += t->stride;
        }
        __builtin_prefetch(ahead, 0, 2);
        ahead += VT_LANES;
#pragma GCC unroll 8
        for (int i = 0; i < BREATH; i++) {
            add_term(sum, a, apart, b + i * VT_GEMM_COLUMNS, lanes, packed);
#pragma GCC unroll 4
            for (int r = 0; r < TILE_ROWS / 3; r++)
                a[r] += packed ? VT_GEMM_ROWS : 1;
        }
        b += BREATH * VT_GEMM_COLUMNS;
    }
    for (; term < terms; term++) {
        add_term(sum, a, apart, b, lanes, packed);
#pragma GCC unroll 4
        for (int r = 0; r < TILE_ROWS / 3; r++)
            a[r] += packed ? VT_GEMM_ROWS : 1;
        b += VT_GEMM_COLUMNS;
    }
#pragma GCC unroll 16
    for (int i = 0; i < TILE_ROWS; i++)
        if (row + i < t->rows)
#pragma GCC unroll 4
            for (int j = 0; j < lanes; j++)
                store(t, row + i, column + j * VT_LANES, sum[i][j]);
}

/* One panel of rows and one of columns. */
VT_INLINE void multiply_panels(const target *t, rows_of_a a, const float *b, const float *ahead,
                               int64_t terms, const bool packed)
{
    for (int64_t row = 0; row < vt_min_i64(VT_GEMM_ROWS, t->rows); row += TILE_ROWS)
        for (int64_t column = 0; column < t->columns; column += TILE_LANES * VT_LANES) {
            if (TILE_LANES > 1 && t->columns - column <= VT_LANES)
                multiply(t, a, b, terms, row, column, ahead, 1, packed);
            else
                multiply(t, a, b, terms, row, column, ahead, TILE_LANES, packed);
        }
}

__attribute__((noinline)) static void multiply_packed(const target *t, rows_of_a a, const float *b,
                                                      const float *ahead, int64_t terms)
{
    multiply_panels(t, a, b, ahead, terms, true);
}

__attribute__((noinline)) static void multiply_rows(const target *t, rows_of_a a, const float *b,
                                                    const float *ahead, int64_t terms)
{
    multiply_panels(t, a, b, ahead, terms, false);
}

/* Rows of A and panels of B, `apart` floats from one to the next, into the rows and columns of C at
 * c. */
static void multiply_blocks(const target *whole, rows_of_a a, const float *b, int64_t apart,
                            int64_t terms)
{
    for (int64_t j = 0; j < whole->columns; j += VT_GEMM_COLUMNS) {
        const float *panel = b + j / VT_GEMM_COLUMNS * apart, *ahead = panel + apart;
        for (int64_t i = 0; i < whole->rows; i += VT_GEMM_ROWS) {
            target t = *whole;
            t.c += i * t.stride + j;
            t.rows -= i;
            t.columns = vt_min_i64(VT_GEMM_COLUMNS, t.columns - j);
            t.bias = t.bias ? t.bias + j : NULL;
            if (a.apart == 0)
                multiply_packed(&t, (rows_of_a){a.at + i * terms, 0}, panel, ahead, terms);
            else
                multiply_rows(&t, (rows_of_a){a.at + i * a.apart, a.apart}, panel, ahead, terms);
            ahead += terms / BREATH * VT_LANES;
        }
    }
}

/* Rows [row, row + rows) and terms [term, term + terms) of op(A): whole panels of rows whose terms
 * lie side by side are taken where they are, unless they would all fall into the same few places of
 * the cache. */
static rows_of_a take_rows(float *to, const vt_gemm *g, int64_t row, int64_t rows, int64_t term,
                           int64_t terms)
{
    if (!g->a_transposed && rows % VT_GEMM_ROWS == 0 && g->k % CLASH != 0)
        return (rows_of_a){g->a + row * g->k + term, g->k};
    pack_a(to, g, row, rows, term, terms);
    return (rows_of_a){to, 0};
}

/* ---- cut into tiles of C */

static void pack_panels(void *arg, int64_t first, int64_t last, int worker)
{
    const product *p = arg;
    const int64_t column = first * VT_GEMM_COLUMNS, terms = p->last - p->first;
    (void)worker;
    pack_b(p->scratch + column * terms, p->g, column,
           vt_min_i64(last * VT_GEMM_COLUMNS, p->g->n) - column, p->first, terms);
}

static void compute_tiles(void *arg, int64_t first, int64_t last, int worker)
{
    const product *p = arg;
    const vt_gemm *g = p->g;
    const int64_t packed = p->last - p->first;
    float *packed_a = vt_dev_worker_scratch(p->dev, worker);
    for (int64_t tile = first; tile < last; tile++) {
        const int64_t row = tile / p->columns * p->cut.height;
        const int64_t column = tile % p->columns * p->cut.width;
        target t = {.c = g->c + row * g->n + column,
                    .stride = g->n,
                    .rows = vt_min_i64(p->cut.height, g->m - row),
                    .columns = vt_min_i64(p->cut.width, g->n - column),
                    .bias = g->bias ? g->bias + column : NULL};
        for (int64_t term = 0; term < packed; term += VT_GEMM_TERMS) {
            const int64_t terms = vt_min_i64(VT_GEMM_TERMS, packed - term);
            t.write = g->write && p->first + term == 0;
            const rows_of_a rows = take_rows(packed_a, g, row, t.rows, p->first + term, terms);
            multiply_blocks(&t, rows, p->scratch + column * packed + term * VT_GEMM_COLUMNS,
                            VT_GEMM_COLUMNS * packed, terms);
        }
    }
}

static void run_tiles(product *p)
{
    const vt_gemm *g = p->g;
    vt_pool *pool = vt_dev_pool(p->dev);
    const int64_t panels = vt_ceil_div(g->n, VT_GEMM_COLUMNS);
    p->columns = vt_ceil_div(g->n, p->cut.width);
    do {
        p->last = vt_min_i64(p->first + p->cut.terms, g->k);
        vt_grid_run(pool, panels,
                    vt_chunk_items(panels, VT_GEMM_COLUMNS * (p->last - p->first) * 4), pack_panels,
                    p);
        vt_grid_run(pool, vt_ceil_div(g->m, p->cut.height) * p->columns, 1, compute_tiles, p);
        p->first = p->last;
    } while (p->first < g->k);
}

/* ---- cut along the terms */

static void compute_parts(void *arg, int64_t first, int64_t last, int worker)
{
    const product *p = arg;
    const vt_gemm *g = p->g;
    float *b = vt_dev_worker_scratch(p->dev, worker);
    float *a = b + VT_GEMM_PART_COLUMNS * VT_GEMM_TERMS;
    for (int64_t part = first; part < last; part++) {
        const int64_t begin = part * p->cut.terms, end = vt_min_i64(begin + p->cut.terms, g->k);
        for (int64_t term = begin; term < end; term += VT_GEMM_TERMS) {
            const int64_t terms = vt_min_i64(VT_GEMM_TERMS, end - term);
            pack_b(b, g, 0, g->n, term, terms);
            for (int64_t row = 0; row < g->m; row += VT_GEMM_TILE_ROWS) {
                const target t = {.c = p->scratch + (part * g->m + row) * g->n,
                                  .stride = g->n,
                                  .rows = vt_min_i64(VT_GEMM_TILE_ROWS, g->m - row),
                                  .columns = g->n,
                                  .bias = part == 0 ? g->bias : NULL,
                                  .write = term == begin};
                multiply_blocks(&t, take_rows(a, g, row, t.rows, term, terms), b,
                                VT_GEMM_COLUMNS * terms, terms);
            }
        }
    }
}

static void add_parts(void *arg, int64_t first, int64_t last, int worker)
{
    const product *p = arg;
    const vt_gemm *g = p->g;
    const int64_t size = g->m * g->n;
    (void)worker;
    for (int64_t i = first; i < last; i += VT_LANES) {
        const int64_t count = vt_min_i64(VT_LANES, last - i);
        vt_lanes sum = vload_first(p->scratch + i, count);
        for (int64_t part = 1; part < p->cut.parts; part++)
            sum = vadd(sum, vload_first(p->scratch + part * size + i, count));
        if (!g->write)
            sum = vadd(vload_first(g->c + i, count), sum);
        vstore_first(g->c + i, sum, count);
    }
}

static void run_parts(product *p)
{
    const vt_gemm *g = p->g;
    vt_pool *pool = vt_dev_pool(p->dev);
    const int64_t size = g->m * g->n;
    vt_grid_run(pool, p->cut.parts, 1, compute_parts, p);
    /* Whole lanes to a chunk. */
    vt_grid_run(pool, size,
                vt_ceil_div(vt_chunk_items(size, 4 * p->cut.parts), VT_LANES) * VT_LANES, add_parts,
                p);
}

void VT_CPU(gemm)(vt_dev *d, const vt_gemm *g, float *scratch)
{
    product p = {.g = g, .dev = d, .scratch = scratch};
    if (g->m == 0 || g->n == 0)
        return;
    p.cut = vt_gemm_cut_of(g->m, g->n, g->k);
    if (p.cut.parts > 1)
        run_parts(&p);
    else
        run_tiles(&p);
}
