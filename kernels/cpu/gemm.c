#include "kernels/cpu/gemm.h"

#include "kernels/cpu/cpu.h"
#include "kernels/cpu/gemm_layout.h"
#include "kernels/cpu/lanes.h"

#include <string.h>

/* Rows and lanes of C that are summed in registers at a time; and rows where few are left. */
#ifdef __AVX512F__
enum { TILE_ROWS = 12, LOW_ROWS = 8, TILE_LANES = 2 };
#else
enum { TILE_ROWS = 6, LOW_ROWS = 4, TILE_LANES = 1 };
#endif

/* Rows of A that many floats apart share their places in the first cache. */
enum { CLASH = 1024 };

/* Floats of a term of both operands, at most, that are read where they are: a block of terms should
 * stay in the nearest caches. */
enum { NARROW = 160 };

/* Terms between two calls for memory that will be wanted. What is called for may lie past an end:
 * a prefetch reads nothing there. */
enum { BREATH = 8 };

typedef struct product {
    const vt_gemm *g;
    vt_dev *dev;
    vt_gemm_cut cut;
    /* Panels of B: [panel][term][VT_GEMM_COLUMNS]; or the parts' sums: [part][m], [part][m][n]. */
    float *scratch;
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

/* Floats [0, width) of a row of a panel, of which `count` are there, zeros for the others. */
VT_INLINE vt_lanes copy_lanes(float *to, const float *from, int64_t count, const int64_t width)
{
    const vt_lanes row = count < width ? vload_first(from, count) : vload_first(from, width);
    vstore_first(to, row, width);
    return row;
}

VT_INLINE void copy_row(float *to, const float *from, int64_t count, const int64_t width)
{
    for (int64_t i = 0; i < width; i += VT_LANES) {
        const int64_t left = vt_min_i64(VT_LANES, count - i);
        copy_lanes(to + i, from + i, left > 0 ? left : 0, VT_LANES);
    }
}

/* Panels of VT_GEMM_COLUMNS columns of a matrix whose rows, `step` apart, are the terms: a few rows
 * at a time, so that memory is read in order and whole lines are written, for panels begin at the
 * same places of the cache and drive each other's lines out. */
enum { ROWS_AT_A_TIME = 8 };

static void pack_columns(float *to, const float *from, int64_t step, int64_t count, int64_t terms)
{
    for (int64_t t = 0; t < terms; t += ROWS_AT_A_TIME) {
        const int64_t rows = vt_min_i64(ROWS_AT_A_TIME, terms - t);
        float *place = to + t * VT_GEMM_COLUMNS;
        for (int64_t i = 0; i < count; i += VT_GEMM_COLUMNS, place += VT_GEMM_COLUMNS * terms) {
            const float *row = from + t * step + i;
            for (int64_t r = 0; r < rows; r++, row += step) {
                __builtin_prefetch(row + 2 * ROWS_AT_A_TIME * step);
                copy_row(place + r * VT_GEMM_COLUMNS, row, count - i, VT_GEMM_COLUMNS);
            }
        }
    }
}

/* Panels of VT_GEMM_ROWS columns likewise; sums (count) = the columns' sums, if wanted. */
VT_INLINE void pack_rows(float *to, float *sums, const float *from, int64_t step, int64_t count,
                         int64_t terms)
{
    for (int64_t t = 0; t < terms; t += ROWS_AT_A_TIME) {
        const int64_t rows = vt_min_i64(ROWS_AT_A_TIME, terms - t);
        float *place = to + t * VT_GEMM_ROWS;
        for (int64_t i = 0; i < count; i += VT_GEMM_ROWS, place += VT_GEMM_ROWS * terms) {
            const float *row = from + t * step + i;
            const int64_t width = vt_min_i64(VT_GEMM_ROWS, count - i);
            vt_lanes sum = sums && t > 0 ? vload_first(sums + i, width) : vzero();
            for (int64_t r = 0; r < rows; r++, row += step) {
                __builtin_prefetch(row + 2 * ROWS_AT_A_TIME * step);
                sum = vadd(sum, copy_lanes(place + r * VT_GEMM_ROWS, row, width, VT_GEMM_ROWS));
            }
            if (sums)
                vstore_first(sums + i, sum, width);
        }
    }
}

/* Columns [column, column + columns) and terms [term, term + terms) of op(B). */
static void pack_b(float *to, const vt_gemm *g, int64_t column, int64_t columns, int64_t term,
                   int64_t terms)
{
    if (!g->b_transposed) {
        pack_columns(to, g->b + term * g->n + column, g->n, columns, terms);
        return;
    }
    for (int64_t i = 0; i < columns; i += VT_GEMM_COLUMNS)
        pack_across(to + i * terms, VT_GEMM_COLUMNS, g->b + (column + i) * g->k + term, g->k,
                    vt_min_i64(VT_GEMM_COLUMNS, columns - i), terms);
}

/* Rows [row, row + rows) and terms [term, term + terms) of op(A), and those rows' sums. */
static void pack_a(float *to, float *sums, const vt_gemm *g, int64_t row, int64_t rows,
                   int64_t term, int64_t terms)
{
    if (g->a_transposed) {
        pack_rows(to, sums, g->a + term * g->m + row, g->m, rows, terms);
        return;
    }
    for (int64_t i = 0; i < rows; i += VT_GEMM_ROWS)
        pack_across(to + i * terms, VT_GEMM_ROWS, g->a + (row + i) * g->k + term, g->k,
                    vt_min_i64(VT_GEMM_ROWS, rows - i), terms);
}

static void add_sums(float *to, bool write, const float *sums, int64_t count)
{
    for (int64_t i = 0; i < count; i++)
        to[i] = write ? sums[i] : to[i] + sums[i];
}

/* sums (count) = or += the sums of the columns of a matrix whose rows lie side by side. Lanes go
 * two at a time, for each sum waits for itself. */
static void sum_columns(float *sums, bool write, const float *from, int64_t count, int64_t terms)
{
    for (int64_t i = 0; i < count; i += 2 * VT_LANES) {
        const int64_t left = vt_min_i64(VT_LANES, count - i);
        const int64_t right = vt_min_i64(VT_LANES, count - i - left);
        const float *row = from + i;
        float lanes[2 * VT_LANES];
        vt_lanes sum0 = vzero(), sum1 = vzero();
        for (int64_t t = 0; t < terms; t++, row += count) {
            sum0 = vadd(sum0, vload_first(row, left));
            sum1 = vadd(sum1, vload_first(row + left, right));
        }
        vstore(lanes, sum0);
        vstore(lanes + VT_LANES, sum1);
        add_sums(sums + i, write, lanes, left + right);
    }
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

/* Rows of A and columns of B: a[row * apart + term * a_step], b[term * b_step + column]. What
 * `ahead` points at will be wanted next. */
typedef struct operands {
    const float *a, *b, *ahead;
    int64_t apart, a_step, b_step, terms;
} operands;

/* One term of every element: a[i / 3] + i % 3 * apart is row i's, or a[0] + i if rows lie side by
 * side. */
VT_INLINE void add_term(vt_lanes sum[TILE_ROWS][TILE_LANES], const float *const a[TILE_ROWS / 3],
                        int64_t apart, const float *b, const int height, const int lanes,
                        const bool aside)
{
    vt_lanes right[TILE_LANES];
#pragma GCC unroll 4
    for (int j = 0; j < lanes; j++)
        right[j] = vload(b + j * VT_LANES);
#pragma GCC unroll 16
    for (int i = 0; i < height; i++) {
        const vt_lanes left = vset1(aside ? a[0][i] : a[i / 3][i % 3 * apart]);
#pragma GCC unroll 4
        for (int j = 0; j < lanes; j++)
            sum[i][j] = vfma(left, right[j], sum[i][j]);
    }
}

/* Sums over all terms of `height` rows of A, from `row` on, and `lanes` of B, from `column` on.
 * Every few terms lines of C and of `ahead` are called for. */
VT_INLINE void multiply(const target *t, const operands *o, int64_t row, int64_t column,
                        const int height, const int lanes, const bool aside)
{
    vt_lanes sum[TILE_ROWS][TILE_LANES];
    const float *a[TILE_ROWS / 3], *b = o->b + column, *ahead = o->ahead;
    const float *c = t->c + row * t->stride + column;
    const int64_t apart = o->apart, terms = o->terms;
    int64_t term = 0;
#pragma GCC unroll 16
    for (int i = 0; i < height; i++)
#pragma GCC unroll 4
        for (int j = 0; j < lanes; j++)
            sum[i][j] = vzero();
#pragma GCC unroll 4
    for (int i = 0; i < TILE_ROWS / 3; i++)
        a[i] = aside ? o->a + row : o->a + (row + 3 * i) * apart;
    for (; term + BREATH <= terms; term += BREATH) {
        if (term < height * BREATH) {
#pragma GCC unroll 4
            for (int j = 0; j < lanes; j++)
                __builtin_prefetch(c + j * VT_LANES, 1);
            c += t->stride;
        }
        __builtin_prefetch(ahead, 0, 2);
        ahead += VT_LANES;
#pragma GCC unroll 8
        for (int i = 0; i < BREATH; i++) {
            add_term(sum, a, apart, b + i * o->b_step, height, lanes, aside);
#pragma GCC unroll 4
            for (int r = 0; r < TILE_ROWS / 3; r++)
                a[r] += o->a_step;
        }
        b += BREATH * o->b_step;
    }
    for (; term < terms; term++) {
        add_term(sum, a, apart, b, height, lanes, aside);
#pragma GCC unroll 4
        for (int r = 0; r < TILE_ROWS / 3; r++)
            a[r] += o->a_step;
        b += o->b_step;
    }
#pragma GCC unroll 16
    for (int i = 0; i < height; i++)
        if (row + i < t->rows)
#pragma GCC unroll 4
            for (int j = 0; j < lanes; j++)
                store(t, row + i, column + j * VT_LANES, sum[i][j]);
}

VT_INLINE void multiply_tile(const target *t, const operands *o, int64_t row, int64_t column,
                             const int height, const bool aside)
{
    if (TILE_LANES > 1 && t->columns - column <= VT_LANES)
        multiply(t, o, row, column, height, 1, aside);
    else
        multiply(t, o, row, column, height, TILE_LANES, aside);
}

/* One panel of rows and one of columns. */
VT_INLINE void multiply_panels(const target *t, const operands *o, const bool aside)
{
    for (int64_t row = 0; row < vt_min_i64(VT_GEMM_ROWS, t->rows); row += TILE_ROWS)
        for (int64_t column = 0; column < t->columns; column += TILE_LANES * VT_LANES) {
            if (aside && t->rows - row <= LOW_ROWS)
                multiply_tile(t, o, row, column, LOW_ROWS, aside);
            else
                multiply_tile(t, o, row, column, TILE_ROWS, aside);
        }
}

__attribute__((noinline)) static void
multiply_packed(const target *t, const float *a, const float *b, const float *ahead, int64_t terms)
{
    multiply_panels(t,
                    &(operands){.a = a,
                                .b = b,
                                .ahead = ahead,
                                .a_step = VT_GEMM_ROWS,
                                .b_step = VT_GEMM_COLUMNS,
                                .terms = terms},
                    true);
}

__attribute__((noinline)) static void multiply_rows(const target *t, rows_of_a a, const float *b,
                                                    const float *ahead, int64_t terms)
{
    multiply_panels(t,
                    &(operands){.a = a.at,
                                .b = b,
                                .ahead = ahead,
                                .apart = a.apart,
                                .a_step = 1,
                                .b_step = VT_GEMM_COLUMNS,
                                .terms = terms},
                    false);
}

/* All of C, from terms that are rows of A and of B: lines of few tiles need no packing. Past a
 * row's end the next one's begin is read, so there must be one. */
__attribute__((noinline)) static void multiply_in_place(const target *t, const vt_gemm *g,
                                                        int64_t term, int64_t terms)
{
    const operands o = {.a = g->a + term * g->m,
                        .b = g->b + term * g->n,
                        .ahead = g->a + (term + terms) * g->m,
                        .a_step = g->m,
                        .b_step = g->n,
                        .terms = terms};
    for (int64_t column = 0; column < t->columns; column += TILE_LANES * VT_LANES)
        for (int64_t row = 0, height; row < t->rows; row += height) {
            const int64_t left = t->rows - row;
            height = left % TILE_ROWS == 0 || left > 2 * LOW_ROWS ? TILE_ROWS : LOW_ROWS;
            if (height == TILE_ROWS)
                multiply_tile(t, &o, row, column, TILE_ROWS, true);
            else
                multiply_tile(t, &o, row, column, LOW_ROWS, true);
        }
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
                multiply_packed(&t, a.at + i * terms, panel, ahead, terms);
            else
                multiply_rows(&t, (rows_of_a){a.at + i * a.apart, a.apart}, panel, ahead, terms);
            ahead += terms / BREATH * VT_LANES;
        }
    }
}

/* Rows [row, row + rows) and terms [term, term + terms) of op(A): whole panels of rows whose terms
 * lie side by side are taken where they are, unless they would all fall into the same few places of
 * the cache. */
static rows_of_a take_rows(float *to, float *sums, const vt_gemm *g, int64_t row, int64_t rows,
                           int64_t term, int64_t terms)
{
    if (!g->a_transposed && rows % VT_GEMM_ROWS == 0 && g->k % CLASH != 0)
        return (rows_of_a){g->a + row * g->k + term, g->k};
    pack_a(to, sums, g, row, rows, term, terms);
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
    float *packed_a = vt_dev_worker_scratch(p->dev, worker), sums[VT_GEMM_TILE_ROWS];
    for (int64_t tile = first; tile < last; tile++) {
        const int64_t row = tile / p->columns * p->cut.height;
        const int64_t column = tile % p->columns * p->cut.width;
        target t = {.c = g->c + row * g->n + column,
                    .stride = g->n,
                    .rows = vt_min_i64(p->cut.height, g->m - row),
                    .columns = vt_min_i64(p->cut.width, g->n - column),
                    .bias = g->bias ? g->bias + column : NULL};
        const bool summed = g->sums && column == 0;
        for (int64_t term = 0; term < packed; term += p->cut.block) {
            const int64_t terms = vt_min_i64(p->cut.block, packed - term);
            t.write = g->write && p->first + term == 0;
            const rows_of_a rows =
                take_rows(packed_a, summed ? sums : NULL, g, row, t.rows, p->first + term, terms);
            if (summed)
                add_sums(g->sums + row, false, sums, t.rows);
            if (g->c)
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
    p->columns = g->c ? vt_ceil_div(g->n, p->cut.width) : 1;
    do {
        p->last = vt_min_i64(p->first + p->cut.terms, g->k);
        if (g->c)
            vt_grid_run(pool, panels,
                        vt_chunk_items(panels, VT_GEMM_COLUMNS * (p->last - p->first) * 4),
                        pack_panels, p);
        vt_grid_run(pool, vt_ceil_div(g->m, p->cut.height) * p->columns, 1, compute_tiles, p);
        p->first = p->last;
    } while (p->first < g->k);
}

/* ---- cut along the terms */

static float *part_of(const product *p, int64_t part)
{
    return p->scratch + p->cut.parts * p->g->m + part * p->g->m * p->g->n;
}

/* A block of terms to C, packed; and the sums of A's rows. */
static void add_packed(const vt_gemm *g, target t, float *sums, int64_t term, int64_t terms,
                       float *scratch)
{
    float *b = scratch, *a = b + VT_GEMM_PART_COLUMNS * VT_GEMM_TERMS, block[VT_GEMM_TILE_ROWS];
    if (g->c)
        pack_b(b, g, 0, g->n, term, terms);
    for (int64_t row = 0; row < g->m; row += VT_GEMM_TILE_ROWS) {
        t.rows = vt_min_i64(VT_GEMM_TILE_ROWS, g->m - row);
        const rows_of_a rows = take_rows(a, g->sums ? block : NULL, g, row, t.rows, term, terms);
        if (g->sums)
            add_sums(sums + row, t.write, block, t.rows);
        if (g->c)
            multiply_blocks(&t, rows, b, VT_GEMM_COLUMNS * terms, terms);
        t.c += t.rows * t.stride;
    }
}

static void add_in_place(const vt_gemm *g, const target *t, float *sums, int64_t term,
                         int64_t terms)
{
    if (g->sums)
        sum_columns(sums, t->write, g->a + term * g->m, g->m, terms);
    if (g->c)
        multiply_in_place(t, g, term, terms);
}

static void compute_parts(void *arg, int64_t first, int64_t last, int worker)
{
    const product *p = arg;
    const vt_gemm *g = p->g;
    const bool narrow = g->a_transposed && !g->b_transposed && g->m + g->n <= NARROW;
    for (int64_t part = first; part < last; part++) {
        const int64_t begin = part * p->cut.terms, end = vt_min_i64(begin + p->cut.terms, g->k);
        float *sums = p->scratch + part * g->m;
        for (int64_t term = begin; term < end; term += p->cut.block) {
            const int64_t terms = vt_min_i64(p->cut.block, end - term);
            const target t = {.c = part_of(p, part),
                              .stride = g->n,
                              .rows = g->m,
                              .columns = g->n,
                              .bias = part == 0 ? g->bias : NULL,
                              .write = term == begin};
            if (narrow && term + terms < g->k)
                add_in_place(g, &t, sums, term, terms);
            else
                add_packed(g, t, sums, term, terms, vt_dev_worker_scratch(p->dev, worker));
        }
    }
}

static void add_parts(void *arg, int64_t first, int64_t last, int worker)
{
    const product *p = arg;
    const vt_gemm *g = p->g;
    (void)worker;
    for (int64_t i = first; i < last; i += VT_LANES) {
        const int64_t count = vt_min_i64(VT_LANES, last - i);
        vt_lanes sum = vload_first(part_of(p, 0) + i, count);
        for (int64_t part = 1; part < p->cut.parts; part++)
            sum = vadd(sum, vload_first(part_of(p, part) + i, count));
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
    if (g->c)
        vt_grid_run(pool, size,
                    vt_ceil_div(vt_chunk_items(size, 4 * p->cut.parts), VT_LANES) * VT_LANES,
                    add_parts, p);
    if (g->sums) {
        float *sums = p->scratch;
        for (int64_t part = 1; part < p->cut.parts; part++)
            for (int64_t i = 0; i < g->m; i++)
                sums[i] += sums[part * g->m + i];
        for (int64_t i = 0; i < g->m; i++)
            g->sums[i] += sums[i];
    }
}

void VT_CPU(gemm)(vt_dev *d, const vt_gemm *g, float *scratch)
{
    product p = {.g = g, .dev = d, .scratch = scratch};
    VT_ASSERT(g->sums == NULL || g->a_transposed);
    if (g->m == 0 || g->n == 0)
        return;
    p.cut = vt_gemm_cut_of(g->m, g->n, g->k);
    if (p.cut.parts > 1)
        run_parts(&p);
    else
        run_tiles(&p);
}
