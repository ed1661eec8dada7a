/*
 * Convolutions by the tensor cores, in bfloat16 and TF32: products of matrices of which the map's,
 * (places, taps * channels), is never made. Each block fetches its tiles straight from the map,
 * into two buffers of shared memory: the next tile is on its way while one is multiplied. What does
 * not exist (places, outputs, taps outside the map) is 0 in a tile, so any number of them goes.
 */
#include "kernels/cuda/conv.cuh"
#include "kernels/cuda/conv_mma.cuh"

enum {
    THREADS = 128,        /* of a block: four warps */
    BLOCKS = 132,         /* wanted in a grid of large tiles, ... */
    PART_BLOCKS = 264,    /* ... and in one for the weight's gradient */
    OUTSIDE = -(1 << 30), /* a row or tap that meets no row of the map */
    PART_DEPTH = 32,      /* a part's places are a multiple of this: of a tile's, in either type */
    ROOM = 4,             /* words between rows of words, ... */
    COLUMN_ROOM = 8,      /* ... and of columns, so that a warp meets no bank twice */
};

/* Blocks that the registers of their sums leave room for, by the sums of a warp. */
static constexpr int resident_blocks(int sums, int most)
{
    return sums > 3072 ? 2 : sums > 2048 ? 3 : sums > 1024 ? 4 : most;
}
static constexpr int gradient_blocks(int sums)
{
    return sums > 2048 ? 2 : sums > 1024 ? 3 : 4;
}

/* ---- places and terms */

/* A pass, and what finds a place from its number. */
struct numbered_pass {
    vt_conv_pass p;
    vt_divisor columns, rows;
};

static numbered_pass number_places(const vt_conv_pass &p)
{
    const int64_t places = p.batch * p.h * p.w;
    return {p, vt_divisor_of(p.w, places), vt_divisor_of(p.h, places)};
}

/* The map's row and column that a place's first tap meets, and where the group's first channel lies
 * there. */
struct place {
    int64_t at;
    int y, x;
};

VT_DEVICE place find_place(const numbered_pass &m, int64_t n, int64_t end, int64_t group)
{
    const vt_conv_pass &p = m.p;
    if (n >= end)
        return {0, OUTSIDE, 0};
    const int64_t line = vt_divide(n, m.columns), image = vt_divide(line, m.rows);
    const int64_t y = (line - image * p.h) * p.step + p.top;
    const int64_t x = (n - line * p.w) * p.step + p.left;
    return {((image * p.H + y) * p.W + x) * (p.groups * p.C) + group * p.C, (int)y, (int)x};
}

/* A term of the sums: tap (r, q) of channel c. */
struct term {
    int c, q, r;
};

VT_DEVICE void move_term(term &s, int by, const vt_conv_pass &p)
{
    s.c += by;
    while (s.c >= (int)p.C) {
        s.c -= (int)p.C;
        if (++s.q == (int)p.kw) {
            s.q = 0;
            s.r++;
        }
    }
}

VT_DEVICE int64_t find_tap(const term &s, const vt_conv_pass &p)
{
    return ((int64_t)s.r * p.W + s.q) * (p.groups * p.C) + s.c;
}

VT_DEVICE bool is_inside(const place &at, int r, int q, const vt_conv_pass &p)
{
    return (unsigned)(at.y + r) < (unsigned)p.H && (unsigned)(at.x + q) < (unsigned)p.W;
}

/* N words from `from`, or zeros. */
template <int N> VT_DEVICE void take_words(uint32_t *to, const void *from, bool some)
{
    vt_pack<uint32_t, N> words = {};
    if (some)
        words = *static_cast<const vt_pack<uint32_t, N> *>(from);
    for (int i = 0; i < N; i++)
        to[i] = words.at[i];
}

/* ---- forward, and the gradient of the input */

/*
 * packed (groups, rows, line) words: the weights of a pass, an output a row, so that a row's words
 * follow the sum. Of each 16 rows those that the tensor cores give to one thread are neighbouring
 * outputs: row 8 j + 2 t + e is output 4 t + 2 j + e.
 */
VT_DEVICE int64_t output_of_row(int64_t row)
{
    return row / 16 * 16 + row % 8 / 2 * 4 + row % 16 / 8 * 2 + row % 2;
}

template <typename T>
VT_KERNEL pack_rows(uint32_t *packed, const T *w, vt_conv_pass p, int64_t rows, int64_t line)
{
    const int64_t i = vt_index(), row = i / line % rows, group = i / line / rows;
    const int64_t o = output_of_row(row);
    uint32_t numbers[2] = {0, 0};
    if (group >= p.groups)
        return;
    for (int e = 0; e < vt_words<T>::EACH; e++) {
        const int64_t n = i % line * vt_words<T>::EACH + e, c = n % p.C, tap = n / p.C;
        const int64_t r = tap / p.kw, q = tap % p.kw;
        if (o < p.O && r < p.kh)
            numbers[e] = vt_words<T>::bits(w + p.at + group * p.by_group + o * p.by_output +
                                           c * p.by_input + r * p.by_row + q * p.by_column);
    }
    packed[i] = vt_words<T>::join(numbers);
}

/* A block computes BM places by BN outputs of a group, a warp WM by WN of them. WIDE: four words of
 * channels come from the map at once; else one after the other. */
template <typename T, int BM, int BN, bool WIDE> struct place_tiles {
    static constexpr int EACH = vt_words<T>::EACH;
    static constexpr int LINE = VT_TILE_WORDS + ROOM;
    static constexpr int TERMS = WIDE ? 1 : EACH;  /* to be looked up for ... */
    static constexpr int WORDS = WIDE ? 4 : 1;     /* ... what a thread fetches at once, ... */
    static constexpr int PIECES = WIDE ? 4 : EACH; /* which comes in this many registers */
    static constexpr int FETCHED = THREADS / (VT_TILE_WORDS / WORDS); /* places at a time */
    static constexpr int FETCHES = BM / FETCHED;
    static constexpr int LOADED = THREADS / (VT_TILE_WORDS / 4); /* rows of weights at a time */
    static constexpr int LOADS = BN / LOADED;
    struct shared {
        uint32_t a[2][BM][LINE], b[2][BN][LINE];
        place from[BM];
        int64_t to[BM]; /* -1: no such place */
    };
};

template <typename T, int BM, int BN, bool WIDE>
VT_DEVICE void note_places(typename place_tiles<T, BM, BN, WIDE>::shared *room,
                           const numbered_pass &m, int64_t first, int64_t group)
{
    const vt_conv_pass &p = m.p;
    const int64_t places = p.batch * p.h * p.w;
    for (int i = (int)threadIdx.x; i < BM; i += THREADS) {
        const int64_t at = first + i, above = vt_divide(at, m.columns);
        const int64_t image = vt_divide(above, m.rows);
        const int64_t y = image * p.to_H + p.row + (above - image * p.h) * p.apart;
        const int64_t x = p.column + (at - above * p.w) * p.apart;
        room->from[i] = find_place(m, at, places, group);
        room->to[i] = at < places ? (y * p.to_W + x) * p.groups * p.O + group * p.O : -1;
    }
}

/* A thread's part of a tile, on its way from memory; the first row and word of what it fetches of
 * the map and of the weights. */
template <typename T, int BM, int BN, bool WIDE> struct place_load {
    typedef place_tiles<T, BM, BN, WIDE> tiles;
    uint32_t a[tiles::FETCHES][tiles::PIECES], b[tiles::LOADS][4];
    term terms[tiles::TERMS];
    int row, word, b_row, b_word;

    /* Eight threads store to eight rows at once: in words of rows that is all banks. */
    VT_DEVICE place_load at_start(const vt_conv_pass &p)
    {
        const int t = (int)threadIdx.x;
        place_load load;
        load.b_row = t / VT_WARP * 8 + t % 8;
        load.b_word = t % VT_WARP / 8 * 4;
        load.row = WIDE ? load.b_row : t / VT_TILE_WORDS;
        load.word = WIDE ? load.b_word : t % VT_TILE_WORDS;
        for (int e = 0; e < tiles::TERMS; e++) {
            load.terms[e] = {0, 0, 0};
            move_term(load.terms[e], load.word * tiles::EACH + e, p);
        }
        return load;
    }
};

/* The next tile: the map's part, and weights from `packed` on. */
template <typename T, int BM, int BN, bool WIDE>
VT_DEVICE void fetch_tile(place_load<T, BM, BN, WIDE> &load, const place *from, const T *map,
                          const uint32_t *packed, int line, const vt_conv_pass &p)
{
    typedef place_tiles<T, BM, BN, WIDE> tiles;
    VT_UNROLL
    for (int e = 0; e < tiles::TERMS; e++) {
        const term s = load.terms[e];
        const int64_t tap = find_tap(s, p);
        VT_UNROLL
        for (int i = 0; i < tiles::FETCHES; i++) {
            const place at = from[load.row + i * tiles::FETCHED];
            const bool some = s.r < (int)p.kh && is_inside(at, s.r, s.q, p);
            if constexpr (WIDE)
                take_words<4>(load.a[i], map + at.at + tap, some);
            else
                load.a[i][e] = some ? vt_words<T>::bits(map + at.at + tap) : 0;
        }
        move_term(load.terms[e], VT_TILE_WORDS * tiles::EACH, p);
    }
    VT_UNROLL
    for (int i = 0; i < tiles::LOADS; i++)
        take_words<4>(load.b[i], packed + (load.b_row + i * tiles::LOADED) * line + load.b_word,
                      true);
}

template <typename T, int BM, int BN, bool WIDE>
VT_DEVICE void put_tile(typename place_tiles<T, BM, BN, WIDE>::shared *room, int buffer,
                        const place_load<T, BM, BN, WIDE> &load)
{
    typedef place_tiles<T, BM, BN, WIDE> tiles;
    VT_UNROLL
    for (int i = 0; i < tiles::FETCHES; i++) {
        uint32_t *to = &room->a[buffer][load.row + i * tiles::FETCHED][load.word];
        if constexpr (WIDE) {
            vt_pack<uint32_t, 4> words;
            for (int j = 0; j < 4; j++)
                words.at[j] = vt_words<T>::ready(load.a[i][j]);
            vt_store<4>(to, words);
        } else {
            *to = vt_words<T>::join(load.a[i]);
        }
    }
    VT_UNROLL
    for (int i = 0; i < tiles::LOADS; i++) {
        vt_pack<uint32_t, 4> words;
        for (int j = 0; j < 4; j++)
            words.at[j] = load.b[i][j];
        vt_store<4>(&room->b[buffer][load.b_row + i * tiles::LOADED][load.b_word], words);
    }
}

/* Four outputs of a place, of which `n` exist, in one piece if they all do in every place. */
template <typename T>
VT_DEVICE void give_outputs(T *to, bool write, const T *bias, const float (&sum)[4], int64_t n,
                            bool whole)
{
    float value[4], before[4];
    for (int l = 0; l < 4; l++)
        value[l] = sum[l] + (bias && l < n ? vt_get(bias + l) : 0.0f);
    if (whole) {
        if (!write)
            vt_take<4>(before, to);
        for (int l = 0; l < 4; l++)
            value[l] = write ? value[l] : value[l] + before[l];
        vt_put<4>(to, value);
    } else {
        for (int l = 0; l < 4; l++)
            if (l < n)
                vt_give(to + l, write, value[l]);
    }
}

template <typename T, int BM, int BN, int WM, int WN, bool WIDE>
VT_KERNEL VT_RESIDENT(THREADS, resident_blocks(WM *WN, WIDE ? 5 : 4))
    multiply_places(T *to, bool write, const T *from, const uint32_t *packed, const T *bias,
                    numbered_pass m, int line, int across)
{
    typedef place_tiles<T, BM, BN, WIDE> tiles;
    typename tiles::shared *room = vt_shared<typename tiles::shared>();
    const vt_conv_pass &p = m.p;
    const int t = (int)threadIdx.x, warp = t / VT_WARP;
    const unsigned down = blockIdx.x / (unsigned)across, groups = (unsigned)p.groups;
    const int group = (int)(down % groups), o = (int)(blockIdx.x % (unsigned)across) * BN;
    const int n = line / VT_TILE_WORDS, row = warp % (BM / WM) * WM;
    const int column = warp / (BM / WM) * WN;

    note_places<T, BM, BN, WIDE>(room, m, (int64_t)(down / groups) * BM, group);
    vt_sync();

    float sum[WM / 16][WN / 8][4] = {};
    packed += ((int64_t)group * across * BN + o) * line;
    if (n > 0) {
        auto load = place_load<T, BM, BN, WIDE>::at_start(p);
        fetch_tile(load, room->from, from, packed, line, p);
        put_tile<T, BM, BN, WIDE>(room, 0, load);
        vt_sync();
        VT_KEEP_LOOP
        for (int tile = 0; tile < n; tile++) {
            const bool more = tile + 1 < n;
            packed += VT_TILE_WORDS;
            if (more)
                fetch_tile(load, room->from, from, packed, line, p);
            vt_multiply_tiles<T, tiles::LINE, 1, tiles::LINE, 1>(sum, room->a[tile & 1][row],
                                                                 room->b[tile & 1][column]);
            if (more)
                put_tile<T, BM, BN, WIDE>(room, (tile + 1) & 1, load);
            vt_sync();
        }
    }

    const int lane = t % VT_WARP;
    VT_UNROLL
    for (int i = 0; i < WM / 8; i++) {
        const int64_t at = room->to[row + 8 * i + lane / 4];
        VT_UNROLL
        for (int j = 0; j < WN / 8; j += 2) {
            const float *left = &sum[i / 2][j][i % 2 * 2], *right = &sum[i / 2][j + 1][i % 2 * 2];
            const int64_t output = o + column + 8 * j + lane % 4 * 4;
            if (at >= 0 && output < p.O)
                give_outputs(to + at + output, write, bias ? bias + group * p.O + output : nullptr,
                             {left[0], left[1], right[0], right[1]}, p.O - output, p.O % 4 == 0);
        }
    }
}

/* Of the tiles' widths, the one that takes least: so many columns, and each tile the rows again. */
static const int64_t widths[] = {128, 96, 64, 32};

static int64_t tile_width(int64_t columns)
{
    int64_t best = 0, least = 0;
    for (int64_t width : widths) {
        const int64_t cost = vt_ceil_div(columns, width) * (width + 32);
        if (!best || cost < least) {
            best = width;
            least = cost;
        }
    }
    return best;
}

struct places_pass {
    vt_buf to, from, bias;
    bool write;
    uint32_t *packed;
    const void *w;
    vt_conv_pass p;
};

template <typename T, int BM, int BN, int WM, int WN, bool WIDE>
static void run_tiles(vt_dev *d, const places_pass &a)
{
    static_assert(BM / WM * (BN / WN) * VT_WARP == THREADS, "four warps cover a block's tile");
    const vt_conv_pass &p = a.p;
    const int64_t across = vt_ceil_div(p.O, BN), rows = across * BN;
    const int64_t blocks = across * p.groups * vt_ceil_div(p.batch * p.h * p.w, BM);
    const int64_t terms = p.kh * p.kw * p.C;
    const int64_t line = vt_ceil_div(terms, VT_TILE_WORDS * vt_words<T>::EACH) * VT_TILE_WORDS;
    auto *const multiply = &multiply_places<T, BM, BN, WM, WN, WIDE>;
    typedef place_tiles<T, BM, BN, WIDE> tiles;
    if (line > 0)
        VT_LAUNCH(d, pack_rows<T>, vt_blocks(p.groups * rows * line), VT_THREADS, 0, a.packed,
                  static_cast<const T *>(a.w), p, rows, line);
    VT_LAUNCH(d, multiply, dim3((unsigned)blocks), THREADS, sizeof(typename tiles::shared),
              vt_values<T>(a.to), a.write, vt_values<T>(a.from), a.packed, vt_values<T>(a.bias),
              number_places(p), line, across);
}

/* Large tiles fetch less for each product; small ones are for narrow maps and for few places. */
template <typename T> static void run_pass(vt_dev *d, const places_pass &a)
{
    const vt_conv_pass &p = a.p;
    const int64_t places = p.batch * p.h * p.w, width = tile_width(p.O);
    const int64_t blocks = vt_ceil_div(places, 128) * vt_ceil_div(p.O, width) * p.groups;
    if (places * p.O * p.groups == 0)
        return;
    if (p.C % (16 / (int64_t)sizeof(T)) != 0) {
        if (p.O <= 32)
            run_tiles<T, 128, 32, 32, 32, false>(d, a);
        else
            run_tiles<T, 64, 64, 32, 32, false>(d, a);
    } else if (width == 32) {
        run_tiles<T, 128, 32, 32, 32, true>(d, a);
    } else if (blocks < BLOCKS) {
        run_tiles<T, 64, 64, 32, 32, true>(d, a);
    } else if (width == 64) {
        run_tiles<T, 128, 64, 64, 32, true>(d, a);
    } else if (width == 96) {
        run_tiles<T, 128, 96, 64, 48, true>(d, a);
    } else {
        run_tiles<T, 128, 128, 64, 64, true>(d, a);
    }
}

void vt_conv_mma_pass(vt_dev *d, vt_buf to, bool write, vt_buf from, vt_buf w, vt_buf bias,
                      const vt_conv_pass &p, void *scratch)
{
    const places_pass a = {to, from, bias, write, static_cast<uint32_t *>(scratch), w.data, p};
    VT_BY_TYPE(to, T, run_pass<T>(d, a));
}

/* ---- the gradient of the weight */

/*
 * A block computes BM outputs by BN terms (tap, channel) of a group from one part of the places:
 * the sum goes over places, of which a word has EACH. Columns lie side by side, as in memory; a
 * thread has every 32nd of them, WIDE: four neighbours.
 */
template <typename T, int BM, int BN, bool WIDE> struct weight_tiles {
    static constexpr int EACH = vt_words<T>::EACH;
    static constexpr int COUNT = WIDE ? 4 : 1;
    static constexpr int PIECES = WIDE ? 4 : EACH;        /* registers of what is fetched at once */
    static constexpr int LOADED = THREADS / (32 / COUNT); /* words of a column at a time */
    static constexpr int LOADS = VT_TILE_WORDS / LOADED;
    struct shared {
        uint32_t a[2][VT_TILE_WORDS][BM + COLUMN_ROOM], b[2][VT_TILE_WORDS][BN + COLUMN_ROOM];
    };
};

/* A column of the map's matrix; r is OUTSIDE if there is none. */
struct map_column {
    int64_t tap;
    int r, q;
};

template <typename T, int BM, int BN, bool WIDE> struct weight_load {
    typedef weight_tiles<T, BM, BN, WIDE> tiles;
    uint32_t a[tiles::LOADS][BM / 32][tiles::PIECES], b[tiles::LOADS][BN / 32][tiles::PIECES];
    map_column columns[BN / 32];
    int column, word;

    VT_DEVICE weight_load at_start(int64_t first_term, const vt_conv_pass &p)
    {
        const int t = (int)threadIdx.x, lanes = 32 / tiles::COUNT;
        weight_load load;
        load.column = t % lanes * tiles::COUNT;
        load.word = t / lanes;
        for (int j = 0; j < BN / 32; j++) {
            const int64_t n = first_term + load.column + 32 * j, above = n / p.C;
            const term s = {(int)(n % p.C), (int)(above % p.kw), (int)(above / p.kw)};
            load.columns[j] = {find_tap(s, p), s.r < (int)p.kh ? s.r : OUTSIDE, s.q};
        }
        return load;
    }
};

/* What COUNT columns have at one of a word's places. */
template <typename T, bool WIDE>
VT_DEVICE void take_columns(uint32_t *to, int each, const T *from, bool some)
{
    enum { WORDS = 4 / vt_words<T>::EACH };
    if constexpr (WIDE)
        take_words<WORDS>(to + each * WORDS, from, some);
    else
        to[each] = some ? vt_words<T>::bits(from) : 0;
}

/* The places from `begin` on: of dy, from this block's first output on, and of the map. */
template <typename T, int BM, int BN, bool WIDE>
VT_DEVICE void fetch_tile(weight_load<T, BM, BN, WIDE> &load, const T *dy, const T *x,
                          const numbered_pass &m, int64_t begin, int64_t end, int64_t group,
                          int64_t outputs)
{
    typedef weight_tiles<T, BM, BN, WIDE> tiles;
    VT_UNROLL
    for (int i = 0; i < tiles::LOADS; i++)
        VT_UNROLL
    for (int e = 0; e < tiles::EACH; e++) {
        const int64_t n = begin + (load.word + i * tiles::LOADED) * tiles::EACH + e;
        const place at = find_place(m, n, end, group);
        VT_UNROLL
        for (int j = 0; j < BM / 32; j++)
            take_columns<T, WIDE>(load.a[i][j], e,
                                  dy + n * m.p.groups * m.p.O + load.column + 32 * j,
                                  n < end && load.column + 32 * j < outputs);
        VT_UNROLL
        for (int j = 0; j < BN / 32; j++)
            take_columns<T, WIDE>(load.b[i][j], e, x + at.at + load.columns[j].tap,
                                  is_inside(at, load.columns[j].r, load.columns[j].q, m.p));
    }
}

template <typename T, bool WIDE, int COLUMNS, int LOADS, int PIECES, int LINE>
VT_DEVICE void put_columns(uint32_t (&to)[VT_TILE_WORDS][LINE], int word, int column,
                           const uint32_t (&from)[LOADS][COLUMNS][PIECES])
{
    VT_UNROLL
    for (int i = 0; i < LOADS; i++)
        VT_UNROLL
    for (int j = 0; j < COLUMNS; j++) {
        uint32_t *at = &to[word + i * (VT_TILE_WORDS / LOADS)][column + 32 * j];
        if constexpr (WIDE) {
            vt_pack<uint32_t, 4> words;
            vt_words<T>::turn(words.at, from[i][j]);
            vt_store<4>(at, words);
        } else {
            *at = vt_words<T>::join(from[i][j]);
        }
    }
}

template <typename T, int BM, int BN, bool WIDE>
VT_DEVICE void put_tile(typename weight_tiles<T, BM, BN, WIDE>::shared *room, int buffer,
                        const weight_load<T, BM, BN, WIDE> &load)
{
    put_columns<T, WIDE>(room->a[buffer], load.word, load.column, load.a);
    put_columns<T, WIDE>(room->b[buffer], load.word, load.column, load.b);
}

template <typename T, int BM, int BN, int WM, int WN, bool WIDE>
VT_KERNEL VT_RESIDENT(THREADS, gradient_blocks(WM *WN))
    multiply_gradients(float *partial, const T *dy, const T *x, numbered_pass m, int64_t down,
                       int64_t across, int64_t height)
{
    typedef weight_tiles<T, BM, BN, WIDE> tiles;
    typename tiles::shared *room = vt_shared<typename tiles::shared>();
    const vt_conv_pass &p = m.p;
    int64_t rest = blockIdx.x;
    const int64_t first_term = rest % across * BN, o = (rest /= across) % down * BM;
    const int64_t group = (rest /= down) % p.groups, part = rest / p.groups;
    const int64_t places = p.batch * p.h * p.w, first = part * height, terms = p.by_output;
    const int64_t end = first + height < places ? first + height : places;
    const int warp = (int)threadIdx.x / VT_WARP, row = warp % (BM / WM) * WM;
    const int column = warp / (BM / WM) * WN, depth = VT_TILE_WORDS * tiles::EACH;
    const int n = (int)((end - first + depth - 1) / depth);

    dy += group * p.O + o;
    float sum[WM / 16][WN / 8][4] = {};
    auto load = weight_load<T, BM, BN, WIDE>::at_start(first_term, p);
    fetch_tile(load, dy, x, m, first, end, group, p.O - o);
    put_tile<T, BM, BN, WIDE>(room, 0, load);
    vt_sync();
    VT_KEEP_LOOP
    for (int tile = 0; tile < n; tile++) {
        const bool more = tile + 1 < n;
        if (more)
            fetch_tile(load, dy, x, m, first + (tile + 1) * depth, end, group, p.O - o);
        vt_multiply_tiles<T, 1, BM + COLUMN_ROOM, 1, BN + COLUMN_ROOM>(
            sum, &room->a[tile & 1][0][row], &room->b[tile & 1][0][column]);
        if (more)
            put_tile<T, BM, BN, WIDE>(room, (tile + 1) & 1, load);
        vt_sync();
    }

    const int lane = (int)threadIdx.x % VT_WARP;
    float *to = partial + ((part * p.groups + group) * p.O + o) * terms;
    VT_UNROLL
    for (int i = 0; i < WM / 8; i++) {
        const int output = row + 8 * i + lane / 4;
        VT_UNROLL
        for (int j = 0; j < WN / 8; j++) {
            const int64_t at = first_term + column + 8 * j + lane % 4 * 2;
            const float *two = &sum[i / 2][j][i % 2 * 2];
            if (o + output >= p.O || at >= terms)
                continue;
            if constexpr (WIDE) {
                vt_store<2>(to + output * terms + at, vt_pack<float, 2>{{two[0], two[1]}});
            } else {
                to[output * terms + at] = two[0];
                if (at + 1 < terms)
                    to[output * terms + at + 1] = two[1];
            }
        }
    }
}

static bool is_wide(const vt_conv_pass &p)
{
    return p.C % 4 == 0 && p.O % 4 == 0;
}

static vt_weight_cut cut_weight(const vt_conv_pass &p)
{
    return is_wide(p) ? vt_cut_weight(p, tile_width(p.O), 128, PART_BLOCKS, PART_DEPTH)
                      : vt_cut_weight(p, 64, 32, PART_BLOCKS, PART_DEPTH);
}

struct weight_pass {
    float *partial;
    vt_buf dy, x;
    vt_conv_pass p;
    vt_weight_cut cut;
};

template <typename T, int BM, int BN, int WM, int WN, bool WIDE>
static void run_gradients(vt_dev *d, const weight_pass &a)
{
    static_assert(BM / WM * (BN / WN) * VT_WARP == THREADS, "four warps cover a block's tile");
    const int64_t blocks = a.cut.across * a.cut.down * a.p.groups * a.cut.parts;
    auto *const multiply = &multiply_gradients<T, BM, BN, WM, WN, WIDE>;
    typedef weight_tiles<T, BM, BN, WIDE> tiles;
    VT_LAUNCH(d, multiply, dim3((unsigned)blocks), THREADS, sizeof(typename tiles::shared),
              a.partial, vt_values<T>(a.dy), vt_values<T>(a.x), number_places(a.p), a.cut.down,
              a.cut.across, a.cut.height);
}

template <typename T> static void run_weight(vt_dev *d, const weight_pass &a)
{
    if (!is_wide(a.p))
        run_gradients<T, 64, 32, 32, 16, false>(d, a);
    else if (tile_width(a.p.O) == 32)
        run_gradients<T, 32, 128, 32, 32, true>(d, a);
    else if (tile_width(a.p.O) == 64)
        run_gradients<T, 64, 128, 32, 64, true>(d, a);
    else if (tile_width(a.p.O) == 96)
        run_gradients<T, 96, 128, 48, 64, true>(d, a);
    else
        run_gradients<T, 128, 128, 64, 64, true>(d, a);
}

void vt_conv_mma_weight(vt_dev *d, float *dw, vt_buf dy, vt_buf x, const vt_conv_pass &p,
                        void *scratch)
{
    const int64_t weights = p.groups * p.by_group;
    const weight_pass a = {static_cast<float *>(scratch), dy, x, p, cut_weight(p)};
    if (p.batch * p.h * p.w * weights == 0)
        return;
    VT_BY_TYPE(x, T, run_weight<T>(d, a));
    VT_LAUNCH(d, add_weight_parts, vt_blocks(weights), VT_THREADS, 0, dw, a.partial, p.groups * p.O,
              p.C, p.kh * p.kw, a.cut.parts);
}

/* ---- memory */

/* The packed weights of a pass with that many outputs and channels in a group, at most. */
static int64_t packed_words(const vt_conv_sizes *s, int64_t O, int64_t C)
{
    const int64_t terms = s->kernel * s->kernel * C; /* of which a word has one or two */
    int64_t rows = 0;
    for (int64_t width : widths)
        if (rows < vt_ceil_div(O, width) * width)
            rows = vt_ceil_div(O, width) * width;
    return s->groups * rows * vt_ceil_div(terms, VT_TILE_WORDS) * VT_TILE_WORDS;
}

size_t vt_conv_mma_scratch(const vt_conv_sizes *sizes, bool backward)
{
    const vt_conv_pass p = vt_conv_forward(sizes);
    if (!backward)
        return (size_t)packed_words(sizes, p.O, p.C) * sizeof(uint32_t);
    const int64_t packed = packed_words(sizes, p.C, p.O);
    const int64_t partial = cut_weight(p).parts * p.groups * p.by_group;
    return (size_t)(packed > partial ? packed : partial) * sizeof(float);
}
