/*
 * Window maps against the construction that they replace: pad the map, roll it, cut it into
 * windows, label the regions; and what attention over them can and cannot see, by moving one token
 * and looking which outputs change.
 */
#include "nn/windows.h"
#include "support/net.h"

#include "base/rng.h"
#include "support/test_device.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { MAX_SIDE = 16, MAX_WINDOW = 8, MAX_PADDED = MAX_SIDE + MAX_WINDOW };
enum { PADDING = -1 };

static const enum vt_window_mode MODES[] = {VT_WINDOW_STRICT, VT_WINDOW_UNMASKED,
                                            VT_WINDOW_TORCHVISION};
enum { N_MODES = sizeof MODES / sizeof MODES[0] };

/* ---- the rolled map */

/* What is asked for. */
struct wish {
    int64_t height, width, window;
    bool shifted;
    enum vt_window_mode mode;
};

/* One side of the map: as the article's code has it for both sides at once. */
struct side {
    int64_t length, window, shift, padded;
    int region[MAX_PADDED]; /* of each place, after the roll */
};

/* The map after padding and rolling, place by place. */
struct rolled {
    struct side rows, columns;
    int token[MAX_PADDED][MAX_PADDED]; /* or PADDING */
};

static struct side make_side(int64_t length, const struct wish *wish)
{
    struct side s = {.length = length, .window = wish->window};
    if (wish->mode == VT_WINDOW_STRICT && s.window > length)
        s.window = length;
    while (s.padded < length)
        s.padded += s.window;
    bool one_window = s.padded == s.window;
    if (wish->shifted && !(one_window && wish->mode != VT_WINDOW_UNMASKED))
        s.shift = wish->window / 2;
    for (int64_t i = s.padded - s.window; i < s.padded && s.shift; i++)
        s.region[i] = 1;
    for (int64_t i = s.padded - s.shift; i < s.padded; i++)
        s.region[i] = 2;
    return s;
}

static void roll(struct rolled *m, const struct wish *wish)
{
    m->rows = make_side(wish->height, wish);
    m->columns = make_side(wish->width, wish);
    for (int64_t y = 0; y < m->rows.padded; y++)
        for (int64_t x = 0; x < m->columns.padded; x++) {
            int64_t r = (y - m->rows.shift + m->rows.padded) % m->rows.padded;
            int64_t c = (x - m->columns.shift + m->columns.padded) % m->columns.padded;
            m->token[r][c] =
                y < wish->height && x < wish->width ? (int)(y * wish->width + x) : PADDING;
        }
}

static int64_t window_at(const struct rolled *m, int64_t r, int64_t c)
{
    return r / m->rows.window * (m->columns.padded / m->columns.window) + c / m->columns.window;
}

static int64_t place_at(const struct rolled *m, int64_t r, int64_t c)
{
    return r % m->rows.window * m->columns.window + c % m->columns.window;
}

static int label_at(const struct rolled *m, int64_t r, int64_t c)
{
    return 3 * m->rows.region[r] + m->columns.region[c];
}

/* ---- equality */

static void fail_at(const struct wish *wish, const char *what)
{
    fail_msg("map %lld x %lld, window %lld%s, mode %d: %s", (long long)wish->height,
             (long long)wish->width, (long long)wish->window, wish->shifted ? ", shifted" : "",
             (int)wish->mode, what);
}

#define CHECK(condition, what)                                                                     \
    do {                                                                                           \
        if (!(condition))                                                                          \
            fail_at(wish, what);                                                                   \
    } while (0)

/* Which group each window and region of the rolled map should be, from the first token in it. */
struct found {
    int group_of_token[MAX_SIDE * MAX_SIDE], place_of_token[MAX_SIDE * MAX_SIDE];
};

static void check_every_token_once(const struct wish *wish, const vt_attention_map *map,
                                   struct found *found)
{
    int64_t n = wish->height * wish->width, members = 0;
    CHECK(map->tokens == n, "number of tokens");
    for (int64_t t = 0; t < n; t++)
        found->group_of_token[t] = -1;
    for (int g = 0; g < map->n_groups; g++)
        for (int32_t i = 0; i < map->groups[g].n_tokens; i++, members++) {
            int32_t t = map->token[map->groups[g].first + i];
            CHECK(t >= 0 && t < n, "no such token");
            CHECK(found->group_of_token[t] < 0, "a token in two groups");
            found->group_of_token[t] = g;
            found->place_of_token[t] = map->place[map->groups[g].first + i];
        }
    CHECK(members == n, "a token without a group");
}

/* The places of one group: its tokens, and its padding if that attends. */
static void check_group(const struct wish *wish, const vt_attention_map *map,
                        const struct rolled *m, const struct found *found, int g)
{
    const vt_attention_group *group = &map->groups[g];
    bool listed[MAX_WINDOW * MAX_WINDOW] = {false};
    int64_t tokens = 0, pads = 0;
    int label = -1;
    CHECK(group->n_tokens > 0, "an empty group");
    for (int32_t i = 0; i < group->n_pads; i++) {
        int32_t place = map->pad_place[group->first_pad + i];
        CHECK(place >= 0 && place < map->places && !listed[place], "a padded place twice");
        listed[place] = true;
    }
    for (int64_t r = 0; r < m->rows.padded; r++)
        for (int64_t c = 0; c < m->columns.padded; c++) {
            int token = m->token[r][c];
            if (token == PADDING || found->group_of_token[token] != g)
                continue;
            CHECK(label < 0 || label == label_at(m, r, c), "a group in two regions");
            label = label_at(m, r, c);
            CHECK(group->window == window_at(m, r, c), "a token in another window");
            CHECK(found->place_of_token[token] == place_at(m, r, c), "a token at another place");
        }
    for (int64_t r = 0; r < m->rows.padded; r++)
        for (int64_t c = 0; c < m->columns.padded; c++) {
            if (group->window != window_at(m, r, c) || label != label_at(m, r, c))
                continue;
            if (m->token[r][c] == PADDING) {
                bool attends = wish->mode != VT_WINDOW_STRICT;
                CHECK(listed[place_at(m, r, c)] == attends, "padding that should (not) attend");
                pads += attends;
            } else {
                CHECK(found->group_of_token[m->token[r][c]] == g, "a region in two groups");
                tokens++;
            }
        }
    CHECK(tokens == group->n_tokens, "tokens of a group");
    CHECK(pads == group->n_pads, "padding of a group");
    CHECK(tokens <= map->max_tokens && pads <= map->max_pads, "largest group");
}

static void check_bias_rows(const struct wish *wish, const vt_attention_map *map,
                            const struct rolled *m)
{
    int64_t wh = m->rows.window, ww = m->columns.window;
    CHECK(map->places == wh * ww, "places");
    CHECK(map->table_rows == (2 * wh - 1) * (2 * ww - 1), "rows of the bias table");
    for (int64_t q = 0; q < map->places; q++)
        for (int64_t k = 0; k < map->places; k++) {
            int64_t rows = q / ww - k / ww, columns = q % ww - k % ww;
            CHECK(map->bias_row[q * map->places + k] ==
                      (rows + wh - 1) * (2 * ww - 1) + columns + ww - 1,
                  "row of the bias table");
        }
}

static void check_map(const struct wish *wish)
{
    vt_params *params = vt_params_new();
    vt_graph *graph = vt_graph_new(params, test_table(), 1, false);
    vt_window_geometry geometry =
        vt_window_geometry_of(wish->height, wish->width, wish->window, wish->shifted, wish->mode);
    const vt_attention_map *map = vt_window_map(graph, &geometry);
    struct rolled m;
    struct found found;
    assert_non_null(map);
    roll(&m, wish);
    CHECK(geometry.window_h == m.rows.window && geometry.window_w == m.columns.window, "window");
    CHECK(geometry.shift_h == m.rows.shift && geometry.shift_w == m.columns.shift, "shift");
    CHECK(map->windows == m.rows.padded / m.rows.window * (m.columns.padded / m.columns.window),
          "windows");
    check_every_token_once(wish, map, &found);
    for (int g = 0; g < map->n_groups; g++)
        check_group(wish, map, &m, &found, g);
    check_bias_rows(wish, map, &m);
    CHECK(fabs(vt_window_padding(&geometry) * (double)(wish->height * wish->width) -
               (double)(m.rows.padded * m.columns.padded)) < 1e-9,
          "share of padding");
    vt_graph_free(graph);
    vt_params_free(params);
}

static void check_maps_of_mode(enum vt_window_mode mode)
{
    for (int64_t height = 1; height <= MAX_SIDE; height++)
        for (int64_t width = 1; width <= MAX_SIDE; width++)
            for (int64_t window = 1; window <= MAX_WINDOW; window++)
                for (int shifted = 0; shifted <= 1; shifted++)
                    check_map(&(struct wish){height, width, window, shifted != 0, mode});
}

static void strict_maps_are_the_rolled_ones(void **state)
{
    (void)state;
    check_maps_of_mode(VT_WINDOW_STRICT);
}

static void unmasked_maps_are_the_rolled_ones(void **state)
{
    (void)state;
    check_maps_of_mode(VT_WINDOW_UNMASKED);
}

static void torchvision_maps_are_the_rolled_ones(void **state)
{
    (void)state;
    check_maps_of_mode(VT_WINDOW_TORCHVISION);
}

static void a_global_map_is_one_group(void **state)
{
    vt_params *params = vt_params_new();
    vt_graph *graph = vt_graph_new(params, test_table(), 1, false);
    const vt_attention_map *map = vt_global_map(graph, 17);
    (void)state;
    assert_non_null(map);
    assert_int_equal(map->n_groups, 1);
    assert_int_equal(map->groups[0].n_tokens, 17);
    assert_int_equal(map->groups[0].n_pads, 0);
    assert_int_equal(map->max_tokens, 17);
    assert_int_equal(map->places, 17);
    assert_null(map->bias_row);
    for (int i = 0; i < 17; i++)
        assert_true(map->token[i] == i && map->place[i] == i);
    vt_graph_free(graph);
    vt_params_free(params);
}

/* ---- what leaks: two images, two heads of three channels */

enum { BATCH = 2, HEADS = 2, DIM = 6 };

static const struct wish LEAKS[] = {
    {7, 7, 4, true, 0},  {7, 7, 4, false, 0}, {4, 16, 7, true, 0},
    {5, 10, 4, true, 0}, {9, 3, 4, true, 0},  {8, 8, 4, true, 0},
};
enum { N_LEAKS = sizeof LEAKS / sizeof LEAKS[0] };

struct leak {
    struct wish wish;
    const vt_attention_map *map;
    vt_net *net;
    int64_t tokens, n_qkv, n_y;
    float *qkv, *dy, *y; /* y: of the unmoved input */
    float *pad;
};

static float *draw(int64_t n, uint32_t stream)
{
    float *data = calloc((size_t)n, sizeof *data);
    vt_rng rng = vt_rng_at(3, VT_STREAM_TEST, stream, 0, 0);
    assert_non_null(data);
    for (int64_t i = 0; i < n; i++)
        data[i] = (float)vt_rng_normal(&rng, (uint64_t)i);
    return data;
}

static void open_leak(struct leak *l, vt_dev *dev, const struct wish *wish,
                      enum vt_window_mode mode)
{
    *l = (struct leak){.wish = *wish, .tokens = wish->height * wish->width};
    l->wish.mode = mode;
    l->n_qkv = BATCH * l->tokens * 3 * DIM;
    l->n_y = BATCH * l->tokens * DIM;
    l->net = vt_net_new(dev, BATCH);
    vt_window_geometry geometry =
        vt_window_geometry_of(wish->height, wish->width, wish->window, wish->shifted, mode);
    l->map = vt_window_map(l->net->graph, &geometry);
    assert_non_null(l->map);
    vt_node *qkv =
        vt_net_value(l->net, "qkv", vt_shape_of(3, (int64_t[]){BATCH, l->tokens, 3 * DIM}));
    vt_node *pad = vt_net_param(l->net, "pad", vt_shape_of(1, (int64_t[]){3 * DIM}));
    vt_node *table =
        vt_net_param(l->net, "table", vt_shape_of(2, (int64_t[]){l->map->table_rows, HEADS}));
    vt_node *op = vt_attention(l->net->graph, "op", qkv, table, pad, l->map, HEADS, 0);
    assert_non_null(op);
    l->qkv = draw(l->n_qkv, 0);
    l->dy = draw(l->n_y, 1);
    l->pad = draw(3 * DIM, 2);
    l->y = calloc((size_t)l->n_y, sizeof *l->y);
    assert_non_null(l->y);
    vt_net_watch(l->net, "y", op, VT_NET_VALUE, 0);
    vt_net_give(l->net, op, l->dy, 1);
    vt_net_finish(l->net, op);
    float *bias = draw(l->map->table_rows * HEADS, 3);
    vt_net_set(l->net, "table", bias, l->map->table_rows * HEADS);
    vt_net_set(l->net, "qkv", l->qkv, l->n_qkv);
    vt_net_set(l->net, "pad", l->pad, 3 * DIM);
    free(bias);
    vt_net_run(l->net);
    memcpy(l->y, vt_net_find(l->net, "y")->data, (size_t)l->n_y * sizeof *l->y);
}

static void close_leak(struct leak *l)
{
    vt_net_free(l->net);
    free(l->y);
    free(l->pad);
    free(l->dy);
    free(l->qkv);
}

/* Whether two tokens of a map see each other, from the rolled map. */
static bool together(const struct rolled *m, int64_t a, int64_t b)
{
    int64_t window[2] = {-1, -1};
    int label[2] = {-1, -1};
    for (int64_t r = 0; r < m->rows.padded; r++)
        for (int64_t c = 0; c < m->columns.padded; c++)
            for (int i = 0; i < 2; i++)
                if (m->token[r][c] == (i ? b : a)) {
                    window[i] = window_at(m, r, c);
                    label[i] = label_at(m, r, c);
                }
    return window[0] == window[1] && label[0] == label[1];
}

static bool same_row(const float *a, const float *b, int64_t row, int64_t width)
{
    return memcmp(a + row * width, b + row * width, (size_t)width * sizeof *a) == 0;
}

static void check_moved_token(struct leak *l, const struct rolled *m, int64_t moved)
{
    const struct wish *wish = &l->wish;
    float *qkv = l->qkv + moved * 3 * DIM, before[3 * DIM];
    memcpy(before, qkv, sizeof before);
    for (int c = 0; c < 3 * DIM; c++)
        qkv[c] += 0.5f;
    vt_net_set(l->net, "qkv", l->qkv, l->n_qkv);
    vt_net_forward(l->net);
    memcpy(qkv, before, sizeof before);
    const float *y = vt_net_find(l->net, "y")->data;
    for (int64_t t = 0; t < BATCH * l->tokens; t++) {
        bool other_image = t / l->tokens != moved / l->tokens;
        int64_t a = moved % l->tokens, b = t % l->tokens;
        bool changed = !same_row(y, l->y, t, DIM), sees = !other_image && together(m, a, b);
        CHECK(!changed || sees, "an output depends on a token that it must not see");
        CHECK(changed || !sees, "an output does not depend on a token of its window");
        CHECK(!changed || (llabs(a / wish->width - b / wish->width) < wish->window &&
                           llabs(a % wish->width - b % wish->width) < wish->window),
              "an output depends on a token more than a window away");
    }
}

static void outputs_depend_on_their_window_alone(void **state)
{
    vt_dev *dev = new_device(2);
    (void)state;
    for (int i = 0; i < N_LEAKS; i++)
        for (int mode = 0; mode < N_MODES; mode++) {
            struct leak l;
            struct rolled m;
            open_leak(&l, dev, &LEAKS[i], MODES[mode]);
            roll(&m, &l.wish);
            for (int64_t t = 0; t < BATCH * l.tokens; t++)
                check_moved_token(&l, &m, t);
            close_leak(&l);
        }
    vt_dev_free(dev);
}

/* The other way round: a gradient at one output alone reaches its window alone. */
static void gradients_reach_their_window_alone(void **state)
{
    vt_dev *dev = new_device(2);
    (void)state;
    for (int i = 0; i < N_LEAKS; i++)
        for (int mode = 0; mode < N_MODES; mode++) {
            struct leak l;
            struct rolled m;
            const float zeros[3 * DIM] = {0};
            open_leak(&l, dev, &LEAKS[i], MODES[mode]);
            const struct wish *wish = &l.wish;
            roll(&m, wish);
            vt_net_set(l.net, "qkv", l.qkv, l.n_qkv);
            for (int64_t at = 0; at < l.tokens; at++) {
                memset(l.dy, 0, (size_t)l.n_y * sizeof *l.dy);
                for (int c = 0; c < DIM; c++)
                    l.dy[at * DIM + c] = 1 + (float)c;
                vt_net_run(l.net);
                const float *dqkv = vt_net_find(l.net, "dqkv")->data;
                for (int64_t t = 0; t < BATCH * l.tokens; t++) {
                    bool sees = t < l.tokens && together(&m, at, t), reached = false;
                    for (int c = 0; c < 3 * DIM; c++)
                        reached |= dqkv[t * 3 * DIM + c] != zeros[c];
                    CHECK(reached == sees, "a gradient reaches another window");
                }
            }
            close_leak(&l);
        }
    vt_dev_free(dev);
}

/* Which outputs change when the padding's key and value do. */
static void only_what_attends_to_padding_depends_on_it(void **state)
{
    vt_dev *dev = NULL;
    int64_t touched[N_MODES] = {0};
    (void)state;
    assert_int_equal(vt_dev_new(&dev, "cpu", 2, NULL), VT_OK);
    for (int i = 0; i < N_LEAKS; i++)
        for (int mode = 0; mode < N_MODES; mode++) {
            struct leak l;
            struct rolled m;
            open_leak(&l, dev, &LEAKS[i], MODES[mode]);
            const struct wish *wish = &l.wish;
            roll(&m, wish);
            for (int c = 0; c < 3 * DIM; c++)
                l.pad[c] = MODES[mode] == VT_WINDOW_STRICT ? NAN : l.pad[c] + 0.5f;
            vt_net_set(l.net, "pad", l.pad, 3 * DIM);
            vt_net_run(l.net);
            const float *y = vt_net_find(l.net, "y")->data;
            const float *dpad = vt_net_find(l.net, "dpad")->data;
            for (int64_t t = 0; t < BATCH * l.tokens; t++) {
                bool changed = !same_row(y, l.y, t, DIM), sees = false;
                for (int64_t g = 0; g < l.map->n_groups; g++)
                    for (int32_t k = 0; k < l.map->groups[g].n_tokens; k++)
                        if (l.map->token[l.map->groups[g].first + k] == t % l.tokens)
                            sees = l.map->groups[g].n_pads > 0;
                CHECK(changed == sees, "padding");
                touched[mode] += changed;
            }
            for (int c = 0; c < 3 * DIM && l.map->max_pads == 0; c++)
                CHECK(dpad[c] == 0, "padding that nobody sees has a gradient");
            for (int c = 0; c < DIM; c++)
                CHECK(dpad[c] == 0, "padding asks nothing, but its query has a gradient");
            close_leak(&l);
        }
    for (int mode = 0; mode < N_MODES; mode++)
        assert_true((touched[mode] == 0) == (MODES[mode] == VT_WINDOW_STRICT));
    vt_dev_free(dev);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        {"strict maps are the rolled and cut ones", strict_maps_are_the_rolled_ones, NULL, NULL,
         NULL},
        {"unmasked maps are the rolled and cut ones", unmasked_maps_are_the_rolled_ones, NULL, NULL,
         NULL},
        {"torchvision's maps are the rolled and cut ones", torchvision_maps_are_the_rolled_ones,
         NULL, NULL, NULL},
        {"a global map is one group", a_global_map_is_one_group, NULL, NULL, NULL},
        {"an output depends on its window alone", outputs_depend_on_their_window_alone, NULL, NULL,
         NULL},
        {"a gradient reaches its window alone", gradients_reach_their_window_alone, NULL, NULL,
         NULL},
        {"only what attends to padding depends on it", only_what_attends_to_padding_depends_on_it,
         NULL, NULL, NULL},
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
