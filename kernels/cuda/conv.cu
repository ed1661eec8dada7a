/*
 * Convolution as a product of matrices whose left one, (places, taps * channels), is never made:
 * each block fetches its tiles straight from the map. Tiles go through two buffers of shared
 * memory, so that the next is on its way while one is multiplied.
 * This is how fp32 goes; the tensor cores have conv_mma.cu.
 */
#include "kernels/cuda/column_sums.cuh"
#include "kernels/cuda/conv.cuh"

enum {
    DEPTH = 16,       /* terms of the sums that a tile holds */
    BLOCKS = 132,     /* wanted in a grid */
    BIAS_PARTS = 256, /* of the bias's gradient, ... */
    BIAS_ROWS = 64,   /* ... each of at least this many places */
};

static int64_t smaller(int64_t a, int64_t b)
{
    return a < b ? a : b;
}
static int64_t larger(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

/* A place of the map: where its image (the group's first channel) begins in `from`, and the map's
 * row and column that its first tap meets, which lie outside if there is no such place. */
struct place {
    int64_t image;
    int y, x;
};

VT_DEVICE place find_place(const vt_conv_pass &p, int64_t n, int64_t end, int64_t group)
{
    if (n >= end)
        return {0, -(1 << 30), 0};
    const int64_t column = n % p.w, line = n / p.w, row = line % p.h, image = line / p.h;
    return {image * p.H * p.W * p.groups * p.C + group * p.C, (int)(row * p.step + p.top),
            (int)(column * p.step + p.left)};
}

/* COUNT channels from c on of what tap (r, q) of a place meets. */
template <int COUNT>
VT_DEVICE void fetch(float *to, const float *from, const vt_conv_pass &p, const place &at, int r,
                     int q, int c)
{
    const int y = at.y + r, x = at.x + q;
    if ((unsigned)y < (unsigned)p.H && (unsigned)x < (unsigned)p.W)
        vt_take<COUNT>(to, from + at.image + ((int64_t)y * p.W + x) * (p.groups * p.C) + c);
    else
        for (int i = 0; i < COUNT; i++)
            to[i] = 0;
}

/* sum (TM, TN) += products of columns of a (DEPTH, a_line) and b (DEPTH, b_line). A thread has
 * pieces of four rows, a_apart from each other, and of four columns, b_apart. */
template <int TM, int TN>
VT_DEVICE void multiply_tiles(float (&sum)[TM][TN], const float *a, int a_line, int a_apart,
                              const float *b, int b_line, int b_apart)
{
    for (int k = 0; k < DEPTH; k++) {
        float x[TM], y[TN];
        for (int i = 0; i < TM; i += 4)
            vt_take<4>(x + i, a + k * a_line + i / 4 * a_apart);
        for (int j = 0; j < TN; j += 4)
            vt_take<4>(y + j, b + k * b_line + j / 4 * b_apart);
        for (int i = 0; i < TM; i++)
            for (int j = 0; j < TN; j++)
                sum[i][j] = fmaf(x[i], y[j], sum[i][j]);
    }
}

/* ---- forward, and the gradient of the input */

/* packed (groups, kh, kw, C, line): the weights of a pass, an output a column; line is O rounded up
 * to a multiple of 4, the rest 0. */
VT_KERNEL pack_weights(float *packed, const float *w, vt_conv_pass p, int64_t line)
{
    int64_t rest = vt_index();
    const int64_t i = rest, o = rest % line;
    const int64_t c = (rest /= line) % p.C, q = (rest /= p.C) % p.kw, r = (rest /= p.kw) % p.kh;
    const int64_t group = rest / p.kh;
    if (group < p.groups)
        packed[i] = o < p.O ? w[p.at + group * p.by_group + o * p.by_output + c * p.by_input +
                                r * p.by_row + q * p.by_column]
                            : 0.0f;
}

/* A block computes BM places by BN outputs of a group, a thread TM by TN of them. COUNT: channels
 * of the source that are fetched at once. */
template <int BM, int BN, int TM, int TN, int COUNT> struct place_tiles {
    static constexpr int THREADS = BM / TM * (BN / TN);
    static constexpr int FETCHES = BM * DEPTH / COUNT / THREADS;
    static constexpr int FETCHED = BM / FETCHES; /* places at a time */
    static constexpr int LOADS = DEPTH * BN / 4 / THREADS;
    static constexpr int LOADED = DEPTH / LOADS;
    static constexpr int LINE = BM + 4;
    struct shared {
        float a[2][DEPTH][LINE], b[2][DEPTH][BN];
        place from[BM];
        int64_t to[BM]; /* -1: no such place */
    };
};

template <int BM, int BN, int TM, int TN, int COUNT>
VT_KERNEL VT_RESIDENT(BM / TM * (BN / TN), BM *BN > 1 << 13 ? 2 : 3)
    multiply_places(float *to, bool write, const float *from, const float *packed,
                    const float *bias, vt_conv_pass p, int64_t line, int64_t across)
{
    typedef place_tiles<BM, BN, TM, TN, COUNT> tiles;
    typename tiles::shared *room = vt_shared<typename tiles::shared>();
    const int t = (int)threadIdx.x;
    const int64_t group = blockIdx.x / across % p.groups, o = blockIdx.x % across * BN;
    const int64_t first = blockIdx.x / across / p.groups * BM, places = p.batch * p.h * p.w;
    const int terms = (int)(p.kh * p.kw * p.C), C = (int)p.C, kw = (int)p.kw;

    for (int i = t; i < BM; i += tiles::THREADS) {
        const int64_t n = first + i, above = n / p.w;
        room->from[i] = find_place(p, n, places, group);
        const int64_t y = above / p.h * p.to_H + p.row + above % p.h * p.apart;
        const int64_t x = p.column + n % p.w * p.apart;
        room->to[i] = n < places ? (y * p.to_W + x) * p.groups * p.O + group * p.O : -1;
    }
    vt_sync();

    /* The terms that this thread fetches are of tap (r, q) from channel c on. */
    const int term = t % (DEPTH / COUNT) * COUNT, fetched = t / (DEPTH / COUNT);
    int c = term, q = 0, r = 0;
    const int column = t % (BN / 4) * 4, loaded = t / (BN / 4);
    const float *w = packed + (group * terms + loaded) * line + o + column;
    const bool some = o + column < line;
    const int ty = t / (BN / TN) * 4, tx = t % (BN / TN) * 4;
    float sum[TM][TN] = {};

    const int n = (terms + DEPTH - 1) / DEPTH;
    for (int tile = 0; tile <= n; tile++) {
        float a[tiles::FETCHES][COUNT], b[tiles::LOADS][4];
        if (tile < n) {
            while (c >= C) {
                c -= C;
                if (++q == kw) {
                    q = 0;
                    r++;
                }
            }
            const bool inside = tile * DEPTH + term < terms;
            for (int i = 0; i < tiles::FETCHES; i++) {
                place at = room->from[fetched + i * tiles::FETCHED];
                if (!inside)
                    at.y = -(1 << 30);
                fetch<COUNT>(a[i], from, p, at, r, q, c);
            }
            for (int i = 0; i < tiles::LOADS; i++) {
                const int k = tile * DEPTH + i * tiles::LOADED;
                if (some && k + loaded < terms)
                    vt_take<4>(b[i], w + k * line);
                else
                    for (int j = 0; j < 4; j++)
                        b[i][j] = 0;
            }
            c += DEPTH;
        }
        if (tile > 0)
            multiply_tiles<TM, TN>(sum, &room->a[(tile - 1) & 1][0][ty], tiles::LINE, BM / TM * 4,
                                   &room->b[(tile - 1) & 1][0][tx], BN, BN / TN * 4);
        if (tile < n) {
            for (int i = 0; i < tiles::FETCHES; i++)
                for (int j = 0; j < COUNT; j++)
                    room->a[tile & 1][term + j][fetched + i * tiles::FETCHED] = a[i][j];
            for (int i = 0; i < tiles::LOADS; i++)
                vt_put<4>(&room->b[tile & 1][loaded + i * tiles::LOADED][column], b[i]);
            vt_sync();
        }
    }

    const bool whole = p.O % 4 == 0;
    VT_UNROLL
    for (int i = 0; i < TM; i++) {
        const int64_t at = room->to[i / 4 * (BM / TM * 4) + ty + i % 4];
        if (at < 0)
            continue;
        VT_UNROLL
        for (int j = 0; j < TN; j += 4) {
            const int64_t output = o + j / 4 * (BN / TN * 4) + tx;
            float *y = to + at + output;
            float value[4];
            if (output >= p.O)
                continue;
            for (int l = 0; l < 4; l++)
                value[l] = sum[i][j + l] +
                           (bias && output + l < p.O ? bias[group * p.O + output + l] : 0.0f);
            if (whole) {
                float before[4] = {0, 0, 0, 0};
                if (!write)
                    vt_take<4>(before, y);
                for (int l = 0; l < 4; l++)
                    value[l] += before[l];
                vt_put<4>(y, value);
            } else {
                for (int l = 0; l < 4; l++)
                    if (output + l < p.O)
                        vt_give(&y[l], write, value[l]);
            }
        }
    }
}

struct places_pass {
    float *to;
    bool write;
    const float *from, *bias;
    float *packed;
    vt_conv_pass p;
    int64_t line;
};

template <int BM, int BN, int TM, int TN> static void run_tiles(vt_dev *d, const places_pass &a)
{
    const vt_conv_pass &p = a.p;
    const int64_t across = vt_ceil_div(p.O, BN);
    const int64_t blocks = across * p.groups * vt_ceil_div(p.batch * p.h * p.w, BM);
    auto *const multiply =
        p.C % 4 == 0 ? &multiply_places<BM, BN, TM, TN, 4> : &multiply_places<BM, BN, TM, TN, 1>;
    typedef place_tiles<BM, BN, TM, TN, 4> tiles;
    VT_LAUNCH(d, multiply, dim3((unsigned)blocks), tiles::THREADS, sizeof(typename tiles::shared),
              a.to, a.write, a.from, a.packed, a.bias, p, a.line, across);
}

/* Large tiles fetch less for each product; small ones are for narrow maps and for few places. */
static void run_pass(vt_dev *d, places_pass a, const float *w)
{
    const vt_conv_pass &p = a.p;
    const int64_t places = p.batch * p.h * p.w;
    if (places * p.O * p.groups == 0)
        return;
    a.line = vt_ceil_div(p.O, 4) * 4;
    const int64_t packed = p.groups * p.kh * p.kw * p.C * a.line;
    if (packed > 0)
        VT_LAUNCH(d, pack_weights, vt_blocks(packed), VT_THREADS, 0, a.packed, w, p, a.line);
    const int64_t high = vt_ceil_div(places, 128) * p.groups;
    if (p.O <= 32)
        run_tiles<128, 32, 8, 4>(d, a);
    else if (p.O > 64 && high * vt_ceil_div(p.O, 128) >= BLOCKS)
        run_tiles<128, 128, 8, 8>(d, a);
    else if (high * vt_ceil_div(p.O, 64) >= BLOCKS)
        run_tiles<128, 64, 8, 8>(d, a);
    else
        run_tiles<64, 64, 8, 4>(d, a);
}

/* One tap that meets every place is a linear layer. */
static bool is_linear(const vt_conv_sizes *s)
{
    return s->kernel == 1 && s->stride == 1 && s->pad == 0 && s->groups == 1;
}

void VT_CUDA(conv_fwd)(vt_dev *d, vt_buf y, vt_buf x, vt_buf w, vt_buf b,
                       const vt_conv_sizes *sizes, void *scratch)
{
    if (is_linear(sizes)) {
        VT_CUDA(linear_fwd)
        (d, y, x, w, b, sizes->batch * sizes->H * sizes->W, sizes->O, sizes->C, scratch);
        return;
    }
    if (y.type != VT_F32) {
        vt_conv_mma_pass(d, y, true, x, w, b, vt_conv_forward(sizes), scratch);
        return;
    }
    places_pass a = {};
    a.to = vt_floats(y);
    a.write = true;
    a.from = vt_floats(x);
    a.bias = vt_floats(b);
    a.packed = static_cast<float *>(scratch);
    a.p = vt_conv_forward(sizes);
    run_pass(d, a, vt_floats(w));
}

void VT_CUDA(conv_bwd_x)(vt_dev *d, vt_buf dx, bool write, vt_buf dy, vt_buf w,
                         const vt_conv_sizes *sizes, void *scratch)
{
    if (is_linear(sizes)) {
        VT_CUDA(linear_bwd_x)
        (d, dx, write, dy, w, sizes->batch * sizes->H * sizes->W, sizes->O, sizes->C, scratch);
        return;
    }
    places_pass a = {};
    a.to = vt_floats(dx);
    a.write = write;
    a.from = vt_floats(dy);
    a.packed = static_cast<float *>(scratch);
    for (int64_t i = 0; i < sizes->stride && i < sizes->H; i++)
        for (int64_t j = 0; j < sizes->stride && j < sizes->W; j++) {
            a.p = vt_conv_backward(sizes, i, j);
            if (dx.type == VT_F32)
                run_pass(d, a, vt_floats(w));
            else
                vt_conv_mma_pass(d, dx, write, dy, w, {}, a.p, scratch);
        }
}

/* ---- the gradient of the weight */

/* A block computes BM outputs by BN terms (tap, channel) of a group from one part of the places. */
template <int BM, int BN, int TM, int TN, int COUNT> struct weight_tiles {
    static constexpr int THREADS = BM / TM * (BN / TN);
    static constexpr int LOADS = BM * DEPTH / COUNT / THREADS;
    static constexpr int LOADED = DEPTH / LOADS; /* places at a time */
    static constexpr int FETCHES = BN * DEPTH / COUNT / THREADS;
    static constexpr int FETCHED = DEPTH / FETCHES;
    struct shared {
        float a[2][DEPTH][BM], b[2][DEPTH][BN];
        place from[2][DEPTH];
    };
};

template <int BM, int BN, int TM, int TN, int COUNT>
VT_KERNEL multiply_gradients(float *partial, const float *dy, const float *x, vt_conv_pass p,
                             int64_t down, int64_t across, int64_t height)
{
    typedef weight_tiles<BM, BN, TM, TN, COUNT> tiles;
    typename tiles::shared *room = vt_shared<typename tiles::shared>();
    const int t = (int)threadIdx.x;
    int64_t rest = blockIdx.x;
    const int64_t first_term = rest % across * BN, o = (rest /= across) % down * BM;
    const int64_t group = (rest /= down) % p.groups, part = rest / p.groups;
    const int64_t places = p.batch * p.h * p.w, first = part * height, terms = p.kh * p.kw * p.C;
    const int64_t end = first + height < places ? first + height : places;

    const int output = t % (BM / COUNT) * COUNT, loaded = t / (BM / COUNT);
    const bool some = o + output < p.O;
    const float *from_dy = dy + group * p.O + o + output;
    const int term = t % (BN / COUNT) * COUNT, fetched = t / (BN / COUNT);
    const bool inside = first_term + term < terms;
    const int c = (int)((first_term + term) % p.C), tap = (int)((first_term + term) / p.C);
    const int q = tap % (int)p.kw, r = tap / (int)p.kw;
    const int ty = t / (BN / TN) * 4, tx = t % (BN / TN) * 4;
    float sum[TM][TN] = {};

    if (t < 2 * DEPTH)
        room->from[t / DEPTH][t % DEPTH] = find_place(p, first + t, end, group);
    vt_sync();
    const int n = (int)((end - first + DEPTH - 1) / DEPTH);
    for (int tile = 0; tile <= n; tile++) {
        float a[tiles::LOADS][COUNT], b[tiles::FETCHES][COUNT];
        const int64_t begin = first + (int64_t)tile * DEPTH;
        if (tile < n) {
            for (int i = 0; i < tiles::LOADS; i++) {
                const int64_t at = begin + loaded + i * tiles::LOADED;
                if (some && at < end)
                    vt_take<COUNT>(a[i], from_dy + at * p.groups * p.O);
                else
                    for (int j = 0; j < COUNT; j++)
                        a[i][j] = 0;
            }
            for (int i = 0; i < tiles::FETCHES; i++) {
                place at = room->from[tile & 1][fetched + i * tiles::FETCHED];
                if (!inside)
                    at.y = -(1 << 30);
                fetch<COUNT>(b[i], x, p, at, r, q, c);
            }
        }
        if (tile > 0)
            multiply_tiles<TM, TN>(sum, &room->a[(tile - 1) & 1][0][ty], BM, BM / TM * 4,
                                   &room->b[(tile - 1) & 1][0][tx], BN, BN / TN * 4);
        if (tile < n) {
            for (int i = 0; i < tiles::LOADS; i++)
                vt_put<COUNT>(&room->a[tile & 1][loaded + i * tiles::LOADED][output], a[i]);
            for (int i = 0; i < tiles::FETCHES; i++)
                vt_put<COUNT>(&room->b[tile & 1][fetched + i * tiles::FETCHED][term], b[i]);
            /* Those of the tile before this one, which nobody needs any more. */
            if (tile > 0 && t < DEPTH)
                room->from[(tile + 1) & 1][t] = find_place(p, begin + DEPTH + t, end, group);
            vt_sync();
        }
    }

    float *to = partial + ((part * p.groups + group) * p.O + o) * terms + first_term;
    VT_UNROLL
    for (int i = 0; i < TM; i++) {
        const int row = i / 4 * (BM / TM * 4) + ty + i % 4;
        VT_UNROLL
        for (int j = 0; j < TN; j++) {
            const int column = j / 4 * (BN / TN * 4) + tx + j % 4;
            if (o + row < p.O && first_term + column < terms)
                to[row * terms + column] = sum[i][j];
        }
    }
}

/* The side of the tiles. */
static int64_t weight_side(const vt_conv_pass &p)
{
    return p.O > 64 && p.by_output > 64 ? 128 : 64;
}

static vt_weight_cut cut_weight(const vt_conv_pass &p)
{
    return vt_cut_weight(p, weight_side(p), weight_side(p), BLOCKS, DEPTH);
}

static int64_t bias_parts(int64_t places)
{
    return larger(smaller(places / BIAS_ROWS, BIAS_PARTS), 1);
}

size_t VT_CUDA(conv_scratch)(const vt_conv_sizes *sizes, bool backward)
{
    const int64_t taps = sizes->kernel * sizes->kernel;
    const vt_conv_pass p = vt_conv_forward(sizes);
    const int64_t places = p.batch * p.h * p.w;
    if (is_linear(sizes))
        return VT_CUDA(linear_scratch)(places, sizes->O, sizes->C, backward);
    const size_t mma = vt_conv_mma_scratch(sizes, backward);
    if (!backward) {
        const size_t size =
            (size_t)(p.groups * taps * p.C * vt_ceil_div(p.O, 4) * 4) * sizeof(float);
        return size > mma ? size : mma;
    }
    const int64_t packed = p.groups * taps * p.O * vt_ceil_div(p.C, 4) * 4;
    const int64_t partial = cut_weight(p).parts * p.groups * p.by_group;
    const int64_t sums = bias_parts(places) * sizes->O;
    const size_t size = (size_t)larger(larger(partial, sums), packed) * sizeof(float);
    return size > mma ? size : mma;
}

template <int BM, int BN, int TM, int TN>
static void run_gradients(vt_dev *d, const vt_weight_cut &cut, float *partial, const float *dy,
                          const float *x, const vt_conv_pass &p)
{
    const int64_t blocks = cut.across * cut.down * p.groups * cut.parts;
    auto *const multiply = p.C % 4 == 0 && p.O % 4 == 0 ? &multiply_gradients<BM, BN, TM, TN, 4>
                                                        : &multiply_gradients<BM, BN, TM, TN, 1>;
    typedef weight_tiles<BM, BN, TM, TN, 4> tiles;
    VT_LAUNCH(d, multiply, dim3((unsigned)blocks), tiles::THREADS, sizeof(typename tiles::shared),
              partial, dy, x, p, cut.down, cut.across, cut.height);
}

void VT_CUDA(conv_bwd_w)(vt_dev *d, float *dw, float *db, vt_buf dy, vt_buf x,
                         const vt_conv_sizes *sizes, void *scratch)
{
    const vt_conv_pass p = vt_conv_forward(sizes);
    const int64_t places = p.batch * p.h * p.w, weights = p.groups * p.by_group;
    float *partial = static_cast<float *>(scratch);
    if (is_linear(sizes)) {
        VT_CUDA(linear_bwd_w)(d, dw, db, dy, x, places, sizes->O, sizes->C, scratch);
        return;
    }
    if (dw && x.type != VT_F32) {
        vt_conv_mma_weight(d, dw, dy, x, p, scratch);
    } else if (dw && places * weights > 0) {
        const vt_weight_cut cut = cut_weight(p);
        if (weight_side(p) == 128)
            run_gradients<128, 128, 8, 8>(d, cut, partial, vt_floats(dy), vt_floats(x), p);
        else
            run_gradients<64, 64, 8, 4>(d, cut, partial, vt_floats(dy), vt_floats(x), p);
        VT_LAUNCH(d, add_weight_parts, vt_blocks(weights), VT_THREADS, 0, dw, partial, sizes->O,
                  p.C, p.kh * p.kw, cut.parts);
    }
    if (db)
        vt_add_columns(d, db, dy, places, sizes->O, bias_parts(places), partial);
}
