/*
 * Attention in bfloat16 on tensor cores. As in attention.cuh a block has one head of one group, a
 * warp a few rows, and the other side's rows, its columns, lie in shared memory; but a warp has 16
 * rows, their products with up to 64 columns at a time are in registers in the layout of the tensor
 * cores' results, and that is the layout in which they become the left operand of the next product.
 * Scores, weights and all sums are fp32; weights and the scores' gradients are rounded to bfloat16
 * as operands only.
 *
 * Backward a block has both sides of a group in shared memory where they fit, and goes over the
 * scores with rows that are queries, then with rows that are keys; else two kernels do, taking
 * columns tile by tile. Either way each sum belongs to one warp.
 *
 * Rows in shared memory are an odd number of 16 bytes apart, so that eight of them lie in different
 * banks. A number behind the last row means the last row again: padded places have a common one,
 * and what does not exist gets a weight of 0.
 */
#ifndef VT_CUDA_ATTENTION_MMA_CUH
#define VT_CUDA_ATTENTION_MMA_CUH

#include "kernels/cuda/attention.cuh"

enum {
    MMA_ROWS = 16,
    MMA_WIDEST = 128, /* head width */
    MMA_SCORES = 64,  /* columns whose scores a warp holds at once; of windows with a table, all */
    MMA_BIAS_STRIDE = MMA_SCORES + 8,
    MMA_TILE = 256,         /* columns in shared memory, forward */
    MMA_TILE_WIDE = 128,    /* of heads wider than 64; and backward, where not all fit */
    MMA_FEW_BLOCKS = 1024,  /* where a block takes several images, for what it keeps */
    MMA_SHARED = 160 << 10, /* bytes of shared memory; at most VT_MOST_SHARED */
    BOTH_WAYS = TO_KEYS + 1 /* a pass: to queries, then to keys */
};

/* ---- how the work is cut */

/* Heads wider than this have too many sums for a warp's registers; they, and all other types, are
 * the business of attention.cuh. */
static inline bool on_tensor_cores(vt_buf qkv, const vt_attention_sizes *sizes)
{
    return qkv.type == VT_BF16 && sizes->channels / sizes->heads <= MMA_WIDEST;
}

/* What find_room hands out. */
static inline size_t mma_shared_bytes(const plan *p, int what)
{
    const int warp_rows = p->warps * MMA_ROWS;
    const int matrix_rows = what == FORWARD     ? 2 * p->column_rows + warp_rows
                            : what == BOTH_WAYS ? 4 * p->column_rows
                                                : 2 * p->column_rows + 2 * warp_rows;
    size_t floats = 0;
    if (what != FORWARD)
        floats += 2 * (size_t)p->column_rows + 2 * (size_t)p->warps * (size_t)p->width;
    if (p->keeps_bias)
        floats += (size_t)(what == FORWARD ? 1 : 2) * (size_t)p->kept_rows * MMA_BIAS_STRIDE;
    return (size_t)matrix_rows * (size_t)p->stride * sizeof(vt_bf16) + floats * sizeof(float);
}

static inline void cut_images(plan *p, const vt_attention_map *map, const vt_attention_sizes *sizes,
                              bool several, int64_t wanted)
{
    p->ranges = sizes->batch;
    if (several) {
        const int64_t blocks = sizes->heads * map->n_groups;
        const int64_t partial = sizes->heads * map->windows * map->places * map->places;
        int64_t most = vt_ceil_div(wanted, blocks);
        if (map->table_rows > 0 && most > vt_ceil_div(MAX_PARTIALS, partial))
            most = vt_ceil_div(MAX_PARTIALS, partial);
        if (p->ranges > most)
            p->ranges = most;
    }
    if (p->ranges > 0) {
        p->range_images = vt_ceil_div(sizes->batch, p->ranges);
        p->ranges = vt_ceil_div(sizes->batch, p->range_images);
    }
}

static inline plan cut_for_tensor_cores(const vt_attention_map *map,
                                        const vt_attention_sizes *sizes, int what)
{
    const int64_t width = sizes->channels / sizes->heads, keys = most_keys(map);
    const int64_t rows = what == FORWARD || what == TO_QUERIES ? map->max_tokens : keys;
    const int64_t columns = what == TO_KEYS ? map->max_tokens : keys;
    const int64_t kept_columns = map->max_tokens + (what != TO_KEYS && map->max_pads > 0);
    const int64_t row_tiles = vt_ceil_div(rows, MMA_ROWS);
    plan p = {};

    p.chunks = 1;
    p.width = (int)(vt_ceil_div(width, 16) * 16);
    p.stride = p.width + 8;
    p.columns = what == FORWARD && width <= 64 ? (int)MMA_TILE : (int)MMA_TILE_WIDE;
    if (what == BOTH_WAYS)
        p.columns = (int)vt_ceil_div(keys, MMA_SCORES) * MMA_SCORES;
    p.column_rows = (int)(kept_columns < p.columns ? kept_columns : p.columns);
    p.tiles = (int)vt_ceil_div(columns, p.columns);
    p.passes = (int)vt_ceil_div(row_tiles, MAX_WARPS);
    p.warps = (int)vt_ceil_div(row_tiles, p.passes);
    p.row_tiles = 1;
    if (what != BOTH_WAYS && sizes->batch * sizes->heads * map->n_groups < ENOUGH_BLOCKS) {
        p.row_tiles = p.passes;
        p.passes = 1;
    }
    p.kept_rows = (int)vt_ceil_div(map->max_tokens, 32) * 32; /* whole blocks of queries */
    p.keeps_bias =
        (what == FORWARD || what == BOTH_WAYS) && map->table_rows > 0 && keys <= MMA_SCORES;
    cut_images(&p, map, sizes,
               what == FORWARD ? p.keeps_bias : map->table_rows > 0 || map->max_pads > 0,
               MMA_FEW_BLOCKS);
    p.shared = mma_shared_bytes(&p, what);
    p.blocks = p.ranges * map->n_groups * sizes->heads * p.row_tiles;
    return p;
}

/* Starts kernel<W> for heads of a's width, W the next larger one. */
#define VT_ATTENTION_MMA_LAUNCH(d, kernel, a)                                                      \
    vt_launch(d, #kernel,                                                                          \
              (a).width <= 16   ? kernel<16>                                                       \
              : (a).width <= 32 ? kernel<32>                                                       \
              : (a).width <= 64 ? kernel<64>                                                       \
                                : kernel<128>,                                                     \
              dim3((unsigned)(a).cut.blocks), (unsigned)(a).cut.warps * VT_WARP, (a).cut.shared,   \
              a)

void vt_attend_on_tensor_cores(vt_dev *d, const attention &a);
/* One of the backward pass's ways: TO_QUERIES, TO_KEYS or BOTH_WAYS. */
void vt_attention_back_on_tensor_cores(vt_dev *d, const attention &a, int what);

/* ---- a block's shared memory */

/* Rows of two matrices, numbers [first, first + rows); behind the last one come its copies. */
struct matrices {
    vt_bf16 *one, *two;
    int first, rows;
};

VT_DEVICE int row_of(const matrices &m, int number)
{
    number -= m.first;
    return number < m.rows ? number : m.rows - 1;
}

struct room {
    matrices queries, keys; /* q and dy; k and v */
    float *lse, *mean;      /* of the queries */
    float *pads;            /* (2, width), this warp's sums of the padded places' gradients */
    float *bias, *sums;     /* (kept_rows, MMA_BIAS_STRIDE), if kept: bias, its gradient */
};

VT_DEVICE room find_room(const attention &a, int what)
{
    const int warp = (int)threadIdx.x / VT_WARP, held = a.cut.column_rows * a.cut.stride;
    const int own = MMA_ROWS * a.cut.stride;
    vt_bf16 *at = vt_shared<vt_bf16>();
    const matrices columns = {at, at + held, 0, 0};
    at += 2 * held;
    matrices rows = {at, at + held, 0, 0};
    if (what == BOTH_WAYS) {
        at += 2 * held;
    } else {
        const int each = what == FORWARD ? 1 : 2;
        rows.one = at + warp * each * own;
        rows.two = rows.one + own;
        at += a.cut.warps * each * own;
    }
    room r = {};
    r.queries = what == TO_KEYS ? columns : rows;
    r.keys = what == TO_KEYS ? rows : columns;
    float *floats = reinterpret_cast<float *>(at);
    if (what != FORWARD) {
        r.lse = floats;
        r.mean = r.lse + a.cut.column_rows;
        r.pads = r.mean + a.cut.column_rows + 2 * warp * a.cut.width;
        floats += 2 * a.cut.column_rows + 2 * a.cut.warps * a.cut.width;
    }
    r.bias = floats;
    r.sums = r.bias + a.cut.kept_rows * MMA_BIAS_STRIDE;
    return r;
}

/* Eight neighbours in a row. */
struct alignas(16) eight {
    uint32_t pair[4];
};
struct alignas(8) four {
    uint32_t pair[2];
};

/* The first `n` from memory, zeros behind them. */
VT_DEVICE eight get_eight(const vt_bf16 *from, int n, int64_t width)
{
    eight values = {};
    if (width % 8 == 0)
        return *reinterpret_cast<const eight *>(from);
    if (width % 4 == 0) {
        const four low = *reinterpret_cast<const four *>(from);
        values.pair[0] = low.pair[0];
        values.pair[1] = low.pair[1];
        if (n <= 4)
            return values;
        const four high = *reinterpret_cast<const four *>(from + 4);
        values.pair[2] = high.pair[0];
        values.pair[3] = high.pair[1];
        return values;
    }
    VT_UNROLL
    for (int e = 0; e < 8; e++)
        if (e < n)
            values.pair[e / 2] |= (uint32_t)from[e].bits << e % 2 * 16;
    return values;
}
VT_DEVICE eight get_eight_pads(const float *from, int n)
{
    eight values = {};
    VT_UNROLL
    for (int e = 0; e < 8; e += 2)
        values.pair[e / 2] = vt_bf16_pair(e < n ? from[e] : 0.0f, e + 1 < n ? from[e + 1] : 0.0f);
    return values;
}

/* to[i] (n, stride) = rows [first, first + n) of from[i], with zeros behind a head's width, by
 * `threads` threads of which this is `thread`. */
template <int W, int M>
VT_DEVICE void load_matrices(const attention &a, const unit &u, vt_bf16 *const to[M],
                             const source<vt_bf16> from[M], int first, int n, int thread,
                             int threads)
{
    enum { EIGHTS = W / 8 };
    const int column = thread % EIGHTS * 8, rest = (int)a.width - column;
    if (column >= a.cut.width)
        return;
    for (int row = thread / EIGHTS; row < n; row += threads / EIGHTS) {
        const bool real = first + row < u.group.n_tokens;
        const int64_t token = real ? u.token[first + row] : 0;
        eight values[M] = {};
        VT_UNROLL
        for (int i = 0; i < M; i++)
            if (real && rest > 0)
                values[i] =
                    get_eight(from[i].rows + token * from[i].stride + column, rest, a.width);
            else if (from[i].pad && rest > 0)
                values[i] = get_eight_pads(from[i].pad + column, rest);
        VT_UNROLL
        for (int i = 0; i < M; i++)
            *reinterpret_cast<eight *>(to[i] + row * a.cut.stride + column) = values[i];
    }
}

/* Keys [first, first + a.cut.columns) in shared memory: as many rows as differ. */
VT_DEVICE int rows_of_keys(const attention &a, const unit &u, int first)
{
    const int rows = u.group.n_tokens - first + (u.group.n_pads > 0);
    return rows < 1 ? 1 : rows < a.cut.columns ? rows : a.cut.columns;
}

/* The bias of each pair of places, if it is kept. */
VT_DEVICE void keep_bias(const attention &a, const unit &u, const room &r)
{
    const int keys = u.group.n_tokens + u.group.n_pads, n = u.group.n_tokens * MMA_SCORES;
    if (!a.cut.keeps_bias)
        return;
    for (int i = (int)threadIdx.x; i < n; i += (int)blockDim.x) {
        const int query = i / MMA_SCORES, key = i % MMA_SCORES;
        if (key < keys)
            r.bias[query * MMA_BIAS_STRIDE + key] = bias_of(a, u, u.place[query], place_of(u, key));
    }
}

/* ---- products. Of 8 columns' results x[j] a thread has four: element e lies in row own_row() +
 * 8 (e / 2), column 8 j + own_column() + e % 2. */

VT_DEVICE int own_row()
{
    return (int)threadIdx.x % VT_WARP / 4;
}
VT_DEVICE int own_column()
{
    return (int)threadIdx.x % 4 * 2;
}

template <int N> VT_DEVICE void clear_results(float x[N][4])
{
    for (int j = 0; j < N; j++)
        for (int e = 0; e < 4; e++)
            x[j][e] = 0;
}

/* x = rows [row, row + 16) of `left` times columns [column, column + 8 N) of `right`, of which
 * `last` is the first that does not exist. */
template <int N>
VT_DEVICE void multiply(float x[N][4], const attention &a, const vt_bf16 *left,
                        const matrices &rows, int row, const vt_bf16 *right,
                        const matrices &columns, int column, int last)
{
    const int lane = (int)threadIdx.x % VT_WARP, stride = a.cut.stride;
    const vt_bf16 *from = left + row_of(rows, row + lane % 16) * stride + lane / 16 * 8;
    const vt_bf16 *to[N / 2];
    VT_UNROLL
    for (int j = 0; j < N / 2; j++)
        to[j] = right + row_of(columns, column + 16 * j + lane % 8 + lane / 16 * 8) * stride +
                lane / 8 % 2 * 8;
    clear_results<N>(x);
    VT_KEEP_LOOP
    for (int c = 0; c < a.cut.width; c += 16) {
        uint32_t operand[4];
        vt_load_matrices(operand, from + c);
        VT_UNROLL
        for (int j = 0; j < N / 2; j++)
            if (column + 16 * j < last) {
                uint32_t other[4];
                vt_load_matrices(other, to[j] + c);
                vt_mma_bf16(x[2 * j], operand, other);
                vt_mma_bf16(x[2 * j + 1], operand, other + 2);
            }
    }
}

/* out (16, W) += x (16, 8 N), rounded, times rows [column, column + 8 N) of `right`. */
template <int W, int N>
VT_DEVICE void add_weighted(float out[W / 8][4], const float x[N][4], const attention &a,
                            const vt_bf16 *right, const matrices &columns, int column, int last)
{
    const int lane = (int)threadIdx.x % VT_WARP;
    VT_UNROLL
    for (int j = 0; j < N; j += 2)
        if (column + 8 * j < last) {
            const uint32_t operand[4] = {
                vt_bf16_pair(x[j][0], x[j][1]), vt_bf16_pair(x[j][2], x[j][3]),
                vt_bf16_pair(x[j + 1][0], x[j + 1][1]), vt_bf16_pair(x[j + 1][2], x[j + 1][3])};
            const vt_bf16 *from =
                right + row_of(columns, column + 8 * j + lane % 16) * a.cut.stride + lane / 16 * 8;
            VT_UNROLL
            for (int i = 0; i < W / 8; i += 2)
                if (8 * i < a.cut.width) {
                    uint32_t other[4];
                    vt_load_matrices_turned(other, from + 8 * i);
                    vt_mma_bf16(out[i], operand, other);
                    vt_mma_bf16(out[i + 1], operand, other + 2);
                }
        }
}

/* Over the four threads that share a row. */
VT_DEVICE float row_sum(float x)
{
    x += vt_shfl_xor(x, 1);
    return x + vt_shfl_xor(x, 2);
}
VT_DEVICE float row_max(float x)
{
    x = fmaxf(x, vt_shfl_xor(x, 1));
    return fmaxf(x, vt_shfl_xor(x, 2));
}

/* ---- scores. Rows are queries and columns keys, or the other way round if TURNED. */

VT_DEVICE int row_number(int row, int e)
{
    return row + own_row() + e / 2 * 8;
}
VT_DEVICE int column_number(int column, int j, int e)
{
    return column + 8 * j + own_column() + e % 2;
}

/* The pair of row and column; where one does not exist, of the last that does. */
struct pair {
    int query, key;
};
template <bool TURNED> VT_DEVICE pair find_pair(const unit &u, int row, int column)
{
    const int queries = u.group.n_tokens, keys = queries + u.group.n_pads;
    const int query = TURNED ? column : row, key = TURNED ? row : column;
    return {query < queries ? query : queries - 1, key < keys ? key : keys - 1};
}

/* Where in room's bias and sums a thread's first element lies, and the others beside it. They have
 * room for queries and keys that a group lacks. */
template <bool TURNED> VT_DEVICE int kept_at(int row, int column)
{
    row += own_row();
    column += own_column();
    return TURNED ? column * MMA_BIAS_STRIDE + row : row * MMA_BIAS_STRIDE + column;
}
template <bool TURNED> VT_DEVICE int kept_beside(int j, int e)
{
    const int down = e / 2 * 8, right = 8 * j + e % 2;
    return TURNED ? right * MMA_BIAS_STRIDE + down : down * MMA_BIAS_STRIDE + right;
}

/* Products become scores, -infinity in columns that do not exist. */
template <int N, bool TURNED>
VT_DEVICE void finish_products(float x[N][4], const attention &a, const unit &u, const room &r,
                               int row, int column, int last)
{
    const float *kept = r.bias + kept_at<TURNED>(row, column);
    for (int j = 0; j < N; j++)
        for (int e = 0; e < 4; e++) {
            if (column + 8 * j >= last) { /* for the whole warp */
                x[j][e] = -INFINITY;
                continue;
            }
            float bias = 0;
            if (a.cut.keeps_bias) {
                bias = kept[kept_beside<TURNED>(j, e)];
            } else if (a.table) {
                const pair at =
                    find_pair<TURNED>(u, row_number(row, e), column_number(column, j, e));
                bias = bias_of(a, u, u.place[at.query], place_of(u, at.key));
            }
            x[j][e] =
                column_number(column, j, e) < last ? fmaf(x[j][e], a.sizes.scale, bias) : -INFINITY;
        }
}

/* Bit 4 j + e: whether dropout keeps the weight. A loop that stays one: the generator is long. */
template <int N, bool TURNED>
VT_DEVICE uint32_t draw_kept_weights(const attention &a, const unit &u, int64_t image, int row,
                                     int column)
{
    const int64_t places = a.map.places;
    const int64_t square = (u.group.window * a.sizes.heads + u.head) * places * places;
    uint32_t kept = 0;
    VT_KEEP_LOOP
    for (int i = 0; i < 4 * N; i++) {
        const pair at =
            find_pair<TURNED>(u, row_number(row, i % 4), column_number(column, i / 4, i % 4));
        const int64_t element = square + u.place[at.query] * places + place_of(u, at.key);
        const uint32_t word = vt_draw_word(a.step, a.sizes.stream, image, element);
        kept |= (uint32_t)(word >= a.threshold) << i;
    }
    return kept;
}

/* What dropout multiplies the weight with. */
VT_DEVICE float factor_of(const attention &a, uint32_t kept, int j, int e)
{
    return kept >> (4 * j + e) & 1 ? a.kept : 0.0f;
}

/* ---- results */

/* to[column] = or += factor * x, in the rows whose `to` is not NULL: to[0] is row own_row()'s,
 * to[1] that 8 rows on. */
template <int W>
VT_DEVICE void store_rows(const attention &a, vt_bf16 *const to[2], bool write,
                          const float x[W / 8][4], const float factor[2])
{
    for (int i = 0; i < W / 8; i++)
        for (int half = 0; half < 2; half++) {
            const int column = 8 * i + own_column();
            float first = factor[half] * x[i][2 * half], second = factor[half] * x[i][2 * half + 1];
            if (!to[half] || column >= a.width)
                continue;
            vt_bf16 *at = to[half] + column;
            if (a.width % 2 != 0) { /* pairs may begin in the middle of a word */
                vt_give(at, write, first);
                if (column + 1 < a.width)
                    vt_give(at + 1, write, second);
                continue;
            }
            if (!write) {
                first += vt_get(at);
                second += vt_get(at + 1);
            }
            *reinterpret_cast<uint32_t *>(at) = vt_bf16_pair(first, second);
        }
}

#endif
