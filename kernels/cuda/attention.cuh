/*
 * Attention in groups. A block has one head of one group, and of its rows as many as its warps
 * take; the rows of the other side, its columns, lie in shared memory. A warp has R rows and each
 * lane K columns of every tile of 32 K, so that scores are in registers, and a row's softmax is a
 * matter of one warp. What scores are multiplied with is reached by handing 32 columns at a time
 * through shared memory.
 *
 * Backward goes twice over the scores: rows are queries for dq, the mean that a row's softmax
 * subtracts and the gradients of the biases; rows are keys for dk and dv. So each sum belongs to
 * one warp, and nothing is added by two.
 *
 * The columns of a group fit in one tile up to 256; more are taken tile after tile. Head widths
 * beyond 32 L are cut into chunks: scores are sums over all chunks, and each chunk of the result is
 * a block's of its own. Padded places are columns (or rows) whose memory is one common row.
 */
#ifndef VT_CUDA_ATTENTION_CUH
#define VT_CUDA_ATTENTION_CUH

#include "kernels/cuda/common.cuh"

enum {
    MAX_WARPS = 8,
    MAX_COLUMNS = 8,       /* K */
    WANTED_BLOCKS = 2048,  /* where a block takes several images one after the other */
    ENOUGH_BLOCKS = 512,   /* so many, and a block takes all rows of its group */
    MAX_PARTIALS = 8 << 20 /* floats */
};

enum { Q, K_PART, V_PART };

/* How the work is cut: a function of the shapes. */
struct plan {
    int columns;       /* K */
    int chunks, width; /* chunks of the head width; the widest, rounded up to whole quads */
    int stride;        /* of a row in shared memory: an odd number of quads, so banks differ */
    int column_rows;   /* rows of the columns' side in shared memory */
    int tiles;         /* of columns */
    int warps, passes; /* a block's rows: warps * R at a time */
    bool keeps_bias;   /* the bias of every pair of places, and its gradient, in shared memory, */
    int kept_rows;     /* so many rows of them */
    int64_t row_tiles;
    int64_t ranges, range_images;
    size_t shared;
    int64_t blocks;
};

struct attention {
    const void *qkv, *dy; /* of the activations' type, T of the kernels */
    void *y, *dqkv;
    const float *table, *pad_bias, *saved_lse;
    float *lse, *probs;
    float *means, *dbias, *dpad; /* scratch of the backward pass; the last two or NULL */
    vt_attention_map map;
    vt_attention_sizes sizes;
    const vt_step *step;
    int64_t width;
    uint32_t threshold;
    float kept;
    bool write;
    plan cut;
};

/* ---- what a block works on */

struct unit {
    int64_t head, first_image, last_image, range, group_index, row_tile;
    int chunk;
    vt_attention_group group;
    const int32_t *token, *place, *pad_place;
};

VT_DEVICE unit find_unit(const attention &a)
{
    unit u;
    int64_t index = blockIdx.x;
    u.chunk = (int)(index % a.cut.chunks);
    index /= a.cut.chunks;
    u.row_tile = index % a.cut.row_tiles;
    index /= a.cut.row_tiles;
    u.head = index % a.sizes.heads;
    index /= a.sizes.heads;
    u.group_index = index % a.map.n_groups;
    u.range = index / a.map.n_groups;
    u.first_image = u.range * a.cut.range_images;
    u.last_image = u.first_image + a.cut.range_images;
    if (u.last_image > a.sizes.batch)
        u.last_image = a.sizes.batch;
    u.group = a.map.groups[u.group_index];
    u.token = a.map.token + u.group.first;
    u.place = a.map.place + u.group.first;
    u.pad_place = u.group.n_pads > 0 ? a.map.pad_place + u.group.first_pad : nullptr;
    return u;
}

VT_DEVICE int32_t place_of(const unit &u, int key)
{
    const int n = u.group.n_tokens;
    return key < n ? u.place[key] : u.pad_place[key - n];
}

VT_DEVICE float bias_of(const attention &a, const unit &u, int64_t query, int64_t key)
{
    if (!a.table)
        return 0;
    return a.table[a.map.bias_row[query * a.map.places + key] * a.sizes.heads + u.head];
}

/* Rows of a group in memory: its tokens', and behind them the padded places' common row. */
template <typename T> struct source {
    const T *rows; /* of token 0 */
    int64_t stride;
    const float *pad; /* or NULL: zeros */
};

template <typename T>
VT_DEVICE source<T> part_of(const attention &a, const unit &u, int64_t image, int part)
{
    const int64_t at = part * a.sizes.channels + u.head * a.width, stride = 3 * a.sizes.channels;
    return {static_cast<const T *>(a.qkv) + image * a.map.tokens * stride + at, stride,
            a.pad_bias ? a.pad_bias + at : nullptr};
}

template <typename T> VT_DEVICE source<T> dy_of(const attention &a, const unit &u, int64_t image)
{
    const int64_t stride = a.sizes.channels;
    return {static_cast<const T *>(a.dy) + image * a.map.tokens * stride + u.head * a.width, stride,
            nullptr};
}

/* A row of the result; of the gradients of a token's three parts. */
template <typename T>
VT_DEVICE T *y_of(const attention &a, const unit &u, int64_t image, int64_t token)
{
    return static_cast<T *>(a.y) + (image * a.map.tokens + token) * a.sizes.channels +
           u.head * a.width;
}
template <typename T>
VT_DEVICE T *dqkv_of(const attention &a, const unit &u, int64_t image, int64_t token)
{
    return static_cast<T *>(a.dqkv) + (image * a.map.tokens + token) * 3 * a.sizes.channels +
           u.head * a.width;
}

/* Four values whose first has a number that four divides. */
VT_DEVICE float4 get_quad(const float *from)
{
    return *reinterpret_cast<const float4 *>(from);
}
VT_DEVICE float4 get_quad(const vt_bf16 *from)
{
    struct alignas(8) four {
        vt_bf16 value[4];
    };
    const four quad = *reinterpret_cast<const four *>(from);
    return make_float4(vt_get(quad.value), vt_get(quad.value + 1), vt_get(quad.value + 2),
                       vt_get(quad.value + 3));
}

/* A padded place's value is what a linear layer would have given: rounded as its results are. */
VT_DEVICE float get_pad(const float *value, const float *)
{
    return *value;
}
VT_DEVICE float get_pad(const float *value, const vt_bf16 *)
{
    vt_bf16 rounded;
    vt_put(&rounded, *value);
    return vt_get(&rounded);
}

/* to (n, stride) = a chunk of rows [first, first + n), by `threads` threads of which this is
 * `thread`; the columns up to a whole quad are 0. */
template <typename T, int L>
VT_DEVICE void load_rows(const attention &a, const unit &u, float *to, const source<T> &from,
                         int first, int n, int chunk, int thread, int threads)
{
    enum { QUADS = 8 * L };
    const int column = thread % QUADS * 4, rest = (int)(a.width - chunk * 32 * L) - column;
    const int64_t at = chunk * 32 * L + column;
    if (rest <= 0)
        return;
    for (int row = thread / QUADS; row < n; row += threads / QUADS) {
        float4 quad = make_float4(0, 0, 0, 0);
        if (first + row < u.group.n_tokens) {
            const T *values = from.rows + u.token[first + row] * from.stride + at;
            if (a.width % 4 == 0) {
                quad = get_quad(values);
            } else {
                quad.x = vt_get(values);
                quad.y = rest > 1 ? vt_get(values + 1) : 0.0f;
                quad.z = rest > 2 ? vt_get(values + 2) : 0.0f;
                quad.w = rest > 3 ? vt_get(values + 3) : 0.0f;
            }
        } else if (from.pad) {
            const float *values = from.pad + at;
            quad.x = get_pad(values, from.rows);
            quad.y = rest > 1 ? get_pad(values + 1, from.rows) : 0.0f;
            quad.z = rest > 2 ? get_pad(values + 2, from.rows) : 0.0f;
            quad.w = rest > 3 ? get_pad(values + 3, from.rows) : 0.0f;
        }
        *reinterpret_cast<float4 *>(to + row * a.cut.stride + column) = quad;
    }
}

/* ---- a block's shared memory */

struct memory {
    float *columns1, *columns2; /* (column_rows, stride) */
    float *rows1, *rows2;       /* this warp's (R, stride); rows2 in the backward pass */
    float *stage;               /* this warp's (R, 32) */
};

template <int R> VT_DEVICE memory find_memory(const attention &a, bool backward)
{
    const int warp = (int)threadIdx.x / VT_WARP, rows = R * a.cut.stride;
    memory m;
    m.columns1 = vt_shared<float>();
    m.columns2 = m.columns1 + a.cut.column_rows * a.cut.stride;
    float *rest = m.columns2 + a.cut.column_rows * a.cut.stride;
    m.rows1 = rest + warp * rows;
    rest += a.cut.warps * rows;
    m.rows2 = rest + warp * rows;
    if (backward)
        rest += a.cut.warps * rows;
    m.stage = rest + warp * R * VT_WARP;
    return m;
}

static inline size_t shared_floats(const plan *p, int R, bool backward)
{
    return (size_t)(2 * p->column_rows * p->stride + p->warps * R * VT_WARP +
                    (backward ? 2 : 1) * p->warps * R * p->stride);
}

/* A tile of columns: numbers [first, first + 32 K) of the `n` there are, in `rows` rows of shared
 * memory; lane's column j is number first + lane + 32 j. */
template <int K> struct tile {
    int first, n, rows;
};

template <int K> VT_DEVICE tile<K> find_tile(int index, int n, int n_tokens, bool pads)
{
    tile<K> t = {index * VT_WARP * K, n, 0};
    const int rows = n_tokens - t.first + (pads ? 1 : 0);
    t.rows = rows < 1 ? 1 : rows > VT_WARP * K ? VT_WARP * K : rows;
    return t;
}

/* Where column `number` of the tile lies; one that is not there shares the last row. */
template <int K> VT_DEVICE int row_in(const tile<K> &t, int number)
{
    return number < t.rows ? number : t.rows - 1;
}

/* scores += rows (R, width) times the tile's columns. */
template <int K, int R>
VT_DEVICE void add_dots(float scores[R][K], const attention &a, const float *rows,
                        const float *columns, const tile<K> &t, int width)
{
    const int lane = (int)threadIdx.x % VT_WARP, stride = a.cut.stride;
    const float *column[K];
    for (int j = 0; j < K; j++)
        column[j] = columns + row_in(t, lane + VT_WARP * j) * stride;
    VT_KEEP_LOOP
    for (int c = 0; c < width; c += 4) {
        float4 right[K];
        for (int j = 0; j < K; j++)
            right[j] = *reinterpret_cast<const float4 *>(column[j] + c);
        for (int r = 0; r < R; r++) {
            const float4 left = *reinterpret_cast<const float4 *>(rows + r * stride + c);
            for (int j = 0; j < K; j++) {
                float sum = scores[r][j];
                sum = fmaf(left.x, right[j].x, sum);
                sum = fmaf(left.y, right[j].y, sum);
                sum = fmaf(left.z, right[j].z, sum);
                scores[r][j] = fmaf(left.w, right[j].w, sum);
            }
        }
    }
}

/* out (R rows, this lane's L columns) += scores (R, columns of the tile) times columns' rows. */
template <int L, int K, int R>
VT_DEVICE void add_product(float out[R][L], const float scores[R][K], const attention &a,
                           const memory &m, const float *columns, const tile<K> &t)
{
    const int lane = (int)threadIdx.x % VT_WARP, stride = a.cut.stride;
    const float *from = columns + (lane * L + L <= stride ? lane * L : 0);
    for (int j = 0; j < K; j++) {
        const int left = t.n - t.first - VT_WARP * j, n = left < VT_WARP ? left : VT_WARP;
        if (n <= 0)
            break;
        vt_warp_sync();
        for (int r = 0; r < R; r++)
            m.stage[r * VT_WARP + lane] = scores[r][j];
        vt_warp_sync();
        VT_KEEP_LOOP
        for (int i = 0; i < n; i += 4) {
            float value[4][L];
            for (int e = 0; e < 4; e++) {
                const float *at = from + row_in(t, VT_WARP * j + i + e) * stride;
                if (L == 2) {
                    const float2 two = *reinterpret_cast<const float2 *>(at);
                    value[e][0] = two.x;
                    value[e][L - 1] = two.y;
                } else {
                    value[e][0] = *at;
                }
            }
            for (int r = 0; r < R; r++) {
                const float4 p = *reinterpret_cast<const float4 *>(m.stage + r * VT_WARP + i);
                for (int l = 0; l < L; l++) {
                    float sum = out[r][l];
                    sum = fmaf(p.x, value[0][l], sum);
                    sum = fmaf(p.y, value[1][l], sum);
                    sum = fmaf(p.z, value[2][l], sum);
                    out[r][l] = fmaf(p.w, value[3][l], sum);
                }
            }
        }
    }
}

template <int N, int M> VT_DEVICE void clear(float x[N][M])
{
    for (int i = 0; i < N; i++)
        for (int j = 0; j < M; j++)
            x[i][j] = 0;
}

/* A row's chunk of a result: to[column] = or += factor * out. */
template <int L, typename T>
VT_DEVICE void store_row(const attention &a, const unit &u, T *to, bool write, const float out[L],
                         float factor)
{
    const int lane = (int)threadIdx.x % VT_WARP;
    for (int l = 0; l < L; l++) {
        const int64_t column = u.chunk * 32 * L + lane * L + l;
        if (column < a.width)
            vt_give(to + column, write, factor * out[l]);
    }
}

/* The rows that a warp takes in one pass. */
struct rows {
    int first, n; /* n <= 0: none */
};
template <int R> VT_DEVICE rows find_rows(const attention &a, const unit &u, int pass, int n)
{
    const int warp = (int)threadIdx.x / VT_WARP;
    const int64_t first = ((u.row_tile * a.cut.passes + pass) * a.cut.warps + warp) * R;
    if (first >= n)
        return {0, 0};
    return {(int)first, n - first < R ? (int)(n - first) : (int)R};
}

/* Bit r * K + j: whether dropout keeps the weight of row r and this lane's column j. Rows are
 * queries, or keys if `turned`. A loop that stays one: the generator is long. */
template <int K, int R>
VT_DEVICE uint32_t draw_kept(const attention &a, const unit &u, int64_t image, const rows &mine,
                             const tile<K> &t, bool turned)
{
    const int lane = (int)threadIdx.x % VT_WARP;
    const int64_t places = a.map.places;
    const int64_t square = (u.group.window * a.sizes.heads + u.head) * places * places;
    uint32_t kept = 0;
    VT_KEEP_LOOP
    for (int i = 0; i < mine.n * K; i++) {
        const int row = mine.first + i / K, column = t.first + lane + VT_WARP * (i % K);
        if (column >= t.n)
            continue;
        const int64_t query = u.place[turned ? column : row];
        const int64_t key = place_of(u, turned ? row : column);
        const uint32_t word =
            vt_draw_word(a.step, a.sizes.stream, image, square + query * places + key);
        kept |= (uint32_t)(word >= a.threshold) << i;
    }
    return kept;
}

/*
 * scores = rows1 times columns1 and, where asked for, scores2 = rows2 times columns2, with all that
 * this needs brought into shared memory, unless the image's only tile is there (`resident`).
 * Afterwards the unit's chunk of the columns is there. All threads of the block come here.
 */
template <typename T, int L, int K, int R, bool BOTH>
VT_DEVICE void compute_scores(float scores[R][K], float scores2[R][K], const attention &a,
                              const unit &u, const memory &m, const source<T> from[4],
                              const rows &mine, const tile<K> &t, bool resident, bool second_wanted)
{
    const int thread = (int)threadIdx.x, threads = (int)blockDim.x, chunks = a.cut.chunks;
    clear<R, K>(scores);
    if (BOTH)
        clear<R, K>(scores2);
    for (int i = 0; i < chunks + (chunks > 1); i++) {
        const int chunk = i < chunks ? i : u.chunk;
        const bool again = i == chunks;
        const int64_t left = a.width - chunk * 32 * L;
        const int width = (int)(left < 32 * L ? left : 32 * L);
        if (!resident) {
            vt_sync();
            load_rows<T, L>(a, u, m.columns1, from[2], t.first, t.rows, chunk, thread, threads);
            if (second_wanted)
                load_rows<T, L>(a, u, m.columns2, from[3], t.first, t.rows, chunk, thread, threads);
        }
        if (!again && mine.n > 0) {
            vt_warp_sync();
            load_rows<T, L>(a, u, m.rows1, from[0], mine.first, mine.n, chunk, thread % VT_WARP,
                            VT_WARP);
            if (BOTH)
                load_rows<T, L>(a, u, m.rows2, from[1], mine.first, mine.n, chunk, thread % VT_WARP,
                                VT_WARP);
            vt_warp_sync();
        }
        if (!resident)
            vt_sync();
        if (again || mine.n <= 0)
            continue;
        add_dots<K, R>(scores, a, m.rows1, m.columns1, t, width);
        if (BOTH)
            add_dots<K, R>(scores2, a, m.rows2, m.columns2, t, width);
    }
}

/* Products with keys become scores, -infinity where there is no key; a row's largest and its sum
 * of exponentials go on from what they were over the tiles before. */
template <int K, int R>
VT_DEVICE void finish_scores(float scores[R][K], const attention &a, const unit &u,
                             const rows &mine, const tile<K> &t)
{
    const int lane = (int)threadIdx.x % VT_WARP;
    int32_t query[R];
    for (int r = 0; r < R; r++)
        query[r] = u.place[mine.first + (r < mine.n ? r : 0)];
    for (int j = 0; j < K; j++) {
        const int key = t.first + lane + VT_WARP * j;
        const int32_t place = key < t.n ? place_of(u, key) : 0;
        for (int r = 0; r < R; r++)
            scores[r][j] = key < t.n
                               ? fmaf(scores[r][j], a.sizes.scale, bias_of(a, u, query[r], place))
                               : -INFINITY;
    }
}

/* ---- how the work is cut */

enum pass { FORWARD, TO_QUERIES, TO_KEYS };

static inline int rows_of_a_warp(int columns)
{
    return columns <= 4 ? 8 : 4;
}

static inline int64_t most_keys(const vt_attention_map *map)
{
    const int64_t keys = map->max_tokens + map->max_pads;
    return keys < map->places ? keys : map->places; /* all in one window */
}

static inline plan cut_work(const vt_attention_map *map, const vt_attention_sizes *sizes, pass what)
{
    const int64_t width = sizes->channels / sizes->heads, widest = width <= 32 ? 32 : 64;
    const int64_t rows = what == TO_KEYS ? most_keys(map) : map->max_tokens;
    const int64_t columns = what == TO_KEYS ? map->max_tokens : most_keys(map);
    const int64_t kept_columns = map->max_tokens + (what != TO_KEYS && map->max_pads > 0);
    const bool with_sums = what != FORWARD && (map->table_rows > 0 || map->max_pads > 0);
    plan p = {};

    p.chunks = (int)vt_ceil_div(width, widest);
    p.width = (int)(width < widest ? vt_ceil_div(width, 4) * 4 : widest);
    p.stride = (p.width / 4 | 1) * 4;
    const int64_t at_least = vt_ceil_div(columns, VT_WARP * MAX_COLUMNS);
    p.columns = (int)vt_ceil_div(columns, VT_WARP * at_least);
    if (p.columns > 2) /* few kinds of kernels: 1, 2, 4 and 8 columns a lane */
        p.columns = p.columns > 4 ? 8 : 4;
    p.tiles = (int)vt_ceil_div(columns, VT_WARP * p.columns);
    p.column_rows = (int)(kept_columns < VT_WARP * p.columns ? kept_columns : VT_WARP * p.columns);

    const int R = rows_of_a_warp(p.columns);
    const int64_t tiles = vt_ceil_div(rows, MAX_WARPS * R);
    p.warps = (int)vt_ceil_div(vt_ceil_div(rows, tiles), R);
    p.passes = 1;
    p.row_tiles = vt_ceil_div(rows, p.warps * R);
    if (!(what == TO_QUERIES && map->table_rows > 0) &&
        sizes->batch * sizes->heads * map->n_groups >= ENOUGH_BLOCKS) {
        p.passes = (int)p.row_tiles;
        p.row_tiles = 1;
    }

    p.ranges = sizes->batch;
    if (with_sums) {
        const int64_t blocks = sizes->heads * map->n_groups;
        const int64_t partial = sizes->heads * map->windows * map->places * map->places;
        int64_t most = vt_ceil_div(WANTED_BLOCKS, blocks);
        if (map->table_rows > 0 && most > vt_ceil_div(MAX_PARTIALS, partial))
            most = vt_ceil_div(MAX_PARTIALS, partial);
        if (p.ranges > most)
            p.ranges = most;
    }
    if (p.ranges > 0) {
        p.range_images = vt_ceil_div(sizes->batch, p.ranges);
        p.ranges = vt_ceil_div(sizes->batch, p.range_images);
    }
    p.shared = shared_floats(&p, R, what != FORWARD) * sizeof(float);
    p.blocks = p.ranges * map->n_groups * sizes->heads * p.row_tiles * p.chunks;
    return p;
}

/* Starts kernel<T, L, K, R> as the type, the head's width and a's columns want it. */
#define VT_ATTENTION_LAUNCH(d, kernel, T, a)                                                       \
    do {                                                                                           \
        if ((a).width <= 32)                                                                       \
            VT_ATTENTION_COLUMNS(d, kernel, T, a, 1);                                              \
        else                                                                                       \
            VT_ATTENTION_COLUMNS(d, kernel, T, a, 2);                                              \
    } while (0)
#define VT_ATTENTION_COLUMNS(d, kernel, T, a, L)                                                   \
    vt_launch(d, #kernel,                                                                          \
              (a).cut.columns == 1   ? kernel<T, L, 1, 8>                                          \
              : (a).cut.columns == 2 ? kernel<T, L, 2, 8>                                          \
              : (a).cut.columns == 4 ? kernel<T, L, 4, 8>                                          \
                                     : kernel<T, L, 8, 4>,                                         \
              dim3((unsigned)(a).cut.blocks), (unsigned)(a).cut.warps * VT_WARP, (a).cut.shared,   \
              a)

static inline attention describe(vt_buf qkv, const float *table, const float *pad_bias,
                                 const vt_attention_map *map, const vt_attention_sizes *sizes,
                                 const vt_step *step)
{
    attention a = {};
    a.qkv = qkv.data;
    a.table = table;
    a.pad_bias = pad_bias;
    a.map = *map;
    a.sizes = *sizes;
    a.step = step;
    a.width = sizes->channels / sizes->heads;
    a.threshold = vt_drop_threshold(sizes->drop);
    a.kept = 1.0f / (1.0f - sizes->drop);
    return a;
}

#endif
