/*
 * Attention put back in place, against dense token-by-token matrices that the test builds from the
 * definitions: pad, roll and cut a map into windows; unfold it into the places of its patches.
 */
#include "base/mem.h"
#include "base/rng.h"
#include "data/image.h"
#include "nn/windows.h"
#include "report/overlay.h"
#include "results/rollout.h"
#include "support/engine_run.h"

enum { MAX_T = 100, MAX_WINDOWS = 64, MAX_PLACES = 100, PAD = -1 };

/* A layer with random weights, and what it means: the token at each place, by the definition. */
struct made {
    vt_attention_layer layer;
    float *weights;
    int token[MAX_WINDOWS][MAX_PLACES];
    int64_t tokens;
};

static void fill(struct made *m, uint32_t number)
{
    vt_rng rng = vt_rng_at(7, VT_STREAM_INIT, number, 0, 0);
    const vt_attention_layer *l = &m->layer;
    int64_t p = l->places, n = l->windows * l->heads * p;
    m->weights = vt_calloc((size_t)(n * p), sizeof *m->weights);
    for (int64_t row = 0; row < n; row++) {
        const int *token = m->token[row / p / l->heads];
        float sum = 0, *to = m->weights + row * p;
        if (token[row % p] == PAD)
            continue; /* captured as zeros */
        for (int64_t k = 0; k < p; k++)
            sum += to[k] = vt_rng_uniform(&rng, (uint64_t)(row * p + k)) + 0.01f;
        for (int64_t k = 0; k < p; k++)
            to[k] /= sum;
    }
    m->layer.weights = m->weights;
    m->tokens = vt_attention_tokens(&l->layout);
}

/* Pads the grid to whole windows, rolls it by the shift and cuts it. */
static struct made make_windows(int64_t h, int64_t w, int64_t window, int64_t shift,
                                uint32_t number)
{
    struct made m = {.layer.layout = {h, w, window, window, shift, shift, 1, false}};
    int64_t down = (h + window - 1) / window, across = (w + window - 1) / window;
    m.layer.windows = down * across;
    m.layer.heads = 3;
    m.layer.places = window * window;
    for (int64_t y = 0; y < down * window; y++)
        for (int64_t x = 0; x < across * window; x++) {
            int64_t r = (y - shift + down * window) % (down * window);
            int64_t c = (x - shift + across * window) % (across * window);
            m.token[r / window * across + c / window][r % window * window + c % window] =
                y < h && x < w ? (int)(y * w + x) : PAD;
        }
    fill(&m, number);
    return m;
}

/* Sequences of the pixels at the same place of their patches, as the article's unfolding. */
static struct made make_patches(int64_t h, int64_t w, int64_t patch, uint32_t number)
{
    struct made m = {.layer.layout = {h, w, h / patch, w / patch, 0, 0, patch, false}};
    m.layer.windows = patch * patch;
    m.layer.heads = 2;
    m.layer.places = h / patch * (w / patch);
    for (int64_t y = 0; y < h; y++)
        for (int64_t x = 0; x < w; x++)
            m.token[y % patch * patch + x % patch][y / patch * (w / patch) + x / patch] =
                (int)(y * w + x);
    fill(&m, number);
    return m;
}

static struct made make_global(int64_t h, int64_t w, bool has_cls, uint32_t number)
{
    struct made m = {.layer.layout = {h, w, 0, 0, 0, 0, 1, has_cls}};
    m.layer.windows = 1;
    m.layer.heads = 2;
    m.layer.places = h * w + has_cls;
    for (int64_t i = 0; i < m.layer.places; i++)
        m.token[0][i] = (int)i;
    fill(&m, number);
    return m;
}

/* Head h's attention, token by token; padding[q]: what goes to padded keys. */
static void make_dense(const struct made *m, int64_t h, double a[MAX_T][MAX_T],
                       double padding[MAX_T])
{
    int64_t p = m->layer.places;
    memset(a, 0, MAX_T * sizeof *a);
    memset(padding, 0, MAX_T * sizeof *padding);
    for (int64_t w = 0; w < m->layer.windows; w++)
        for (int64_t i = 0; i < p * p; i++) {
            int q = m->token[w][i / p], k = m->token[w][i % p];
            double value = (double)m->weights[(w * m->layer.heads + h) * p * p + i];
            if (q != PAD && k != PAD)
                a[q][k] += value;
            else if (q != PAD)
                padding[q] += value;
        }
}

static void check_maps(struct made m)
{
    static double a[MAX_T][MAX_T], padding[MAX_T], map[MAX_T];
    const vt_attention_layout *l = &m.layer.layout;
    int64_t cells = l->grid_h * l->grid_w, queries = l->has_cls ? 1 : cells;
    assert_true(vt_attention_layer_fits(&m.layer) && m.tokens <= MAX_T);
    for (int64_t w = 0; w < m.layer.windows; w++)
        for (int64_t i = 0; i < m.layer.places; i++)
            assert_int_equal(vt_attention_token(l, w, i), m.token[w][i]);
    for (int64_t h = 0; h < m.layer.heads; h++) {
        double shares = 0;
        vt_attention_rest rest = vt_attention_put_back(&m.layer, 0, h, map);
        make_dense(&m, h, a, padding);
        for (int64_t k = 0; k < cells; k++) {
            double mean = 0;
            for (int64_t q = 0; q < queries; q++)
                mean += a[q][k + l->has_cls] / (double)queries;
            assert_true(fabs(map[k] - mean) < 1e-12);
            shares += map[k];
        }
        double pads = 0;
        for (int64_t q = 0; q < queries; q++)
            pads += padding[q] / (double)queries;
        assert_true(fabs(rest.padding - pads) < 1e-12);
        assert_true(fabs(rest.class_token - (l->has_cls ? a[0][0] : 0)) < 1e-12);
        assert_true(fabs(shares + rest.padding + rest.class_token - 1) < 1e-5);
    }
    vt_free(m.weights);
}

static void maps_of_windows(void **state)
{
    static const int64_t cases[][4] = {{8, 8, 4, 0}, {8, 8, 4, 2}, {8, 8, 3, 1},  {7, 5, 3, 1},
                                       {4, 4, 7, 0}, {4, 4, 7, 3}, {6, 10, 4, 2}, {9, 9, 2, 1}};
    (void)state;
    for (uint32_t i = 0; i < sizeof cases / sizeof *cases; i++)
        check_maps(make_windows(cases[i][0], cases[i][1], cases[i][2], cases[i][3], i));
}

static void maps_of_patches(void **state)
{
    (void)state;
    check_maps(make_patches(8, 8, 2, 1));
    check_maps(make_patches(6, 9, 3, 2));
    check_maps(make_patches(2, 2, 2, 3));
}

static void maps_of_whole_grids(void **state)
{
    (void)state;
    check_maps(make_global(4, 4, true, 1));
    check_maps(make_global(8, 7, false, 2));
}

/* The network's own tables say the same as the layout that is written beside the weights. */
static void check_table(const vt_attention_map *map, const vt_attention_layout *layout)
{
    assert_non_null(map);
    for (int64_t g = 0; g < map->n_groups; g++) {
        const vt_attention_group *group = &map->groups[g];
        for (int32_t i = group->first; i < group->first + group->n_tokens; i++)
            assert_int_equal(vt_attention_token(layout, group->window, map->place[i]),
                             map->token[i]);
        for (int32_t i = group->first_pad; i < group->first_pad + group->n_pads; i++)
            assert_int_equal(vt_attention_token(layout, group->window, map->pad_place[i]), PAD);
    }
}

static void tables_of_the_network(void **state)
{
    (void)state;
    for (int64_t side = 1; side <= 9; side++)
        for (int mode = VT_WINDOW_STRICT; mode <= VT_WINDOW_TORCHVISION; mode++)
            for (int64_t window = 2; window <= 7; window++)
                for (int shifted = 0; shifted < 2; shifted++) {
                    vt_params *params = vt_params_new();
                    vt_graph *graph = vt_graph_new(params, test_table(), 1, false);
                    vt_window_geometry g = vt_window_geometry_of(side, side + 2, window, shifted,
                                                                 (enum vt_window_mode)mode);
                    vt_attention_layout layout = {side,      side + 2,  g.window_h, g.window_w,
                                                  g.shift_h, g.shift_w, 1,          false};
                    check_table(vt_window_map(graph, &g), &layout);
                    layout =
                        (vt_attention_layout){2 * side, 4 * side, side, 2 * side, 0, 0, 2, false};
                    check_table(vt_patch_map(graph, 2 * side, 4 * side, 2), &layout);
                    vt_graph_free(graph);
                    vt_params_free(params);
                }
}

/* ---- rollout */

/* A of the header, row by row: each must be the dense matrix's, and sum to 1. */
static void check_operator(struct made m)
{
    static double a[MAX_T][MAX_T], padding[MAX_T], mean[MAX_T][MAX_T], from[MAX_T], to[MAX_T];
    memset(mean, 0, sizeof mean);
    for (int64_t h = 0; h < m.layer.heads; h++) {
        make_dense(&m, h, a, padding);
        for (int64_t q = 0; q < m.tokens; q++) {
            double sum = 0;
            for (int64_t k = 0; k < m.tokens; k++)
                sum += a[q][k];
            for (int64_t k = 0; k < m.tokens; k++)
                mean[q][k] += 0.5 * a[q][k] / sum / (double)m.layer.heads;
        }
    }
    for (int64_t q = 0; q < m.tokens; q++) {
        double sum = 0;
        memset(from, 0, sizeof from);
        from[q] = 1;
        vt_rollout_layer(&m.layer, 0, from, to);
        for (int64_t k = 0; k < m.tokens; k++) {
            assert_true(fabs(to[k] - mean[q][k] - (q == k ? 0.5 : 0)) < 1e-12);
            sum += to[k];
        }
        assert_true(fabs(sum - 1) < 1e-12);
    }
    vt_free(m.weights);
}

static void operators_are_the_dense_ones(void **state)
{
    (void)state;
    check_operator(make_windows(8, 8, 4, 2, 1));
    check_operator(make_windows(7, 5, 3, 1, 2));
    check_operator(make_windows(4, 4, 7, 3, 3));
    check_operator(make_patches(6, 6, 3, 4));
    check_operator(make_global(4, 5, true, 5));
}

static void spreading_keeps_the_sum(void **state)
{
    double from[MAX_T], to[MAX_T];
    (void)state;
    for (int64_t coarse = 1; coarse <= 9; coarse++)
        for (int64_t fine = 1; fine <= 9; fine++)
            for (int64_t cell = 0; cell < coarse * coarse; cell++) {
                double sum = 0;
                memset(from, 0, sizeof from);
                from[cell] = 1;
                vt_rollout_spread(coarse, coarse, from, fine, fine, to);
                for (int64_t i = 0; i < fine * fine; i++) {
                    assert_true(to[i] >= 0);
                    sum += to[i];
                }
                assert_true(fabs(sum - 1) < 1e-12);
            }
    /* Merging a side of 5: two and two and the one that is left. */
    memset(from, 0, sizeof from);
    from[2] = 1;
    vt_rollout_spread(3, 3, from, 5, 5, to);
    assert_true(to[4] == 0.5 && to[9] == 0.5 && to[3] == 0);
}

/* Shifted windows, merging, MobileViT's groups: r = s A3 D A2 A1 in plain matrix products. */
static void rollout_of_a_hybrid(void **state)
{
    struct made made[] = {make_windows(8, 8, 3, 1, 1), make_windows(8, 8, 4, 2, 2),
                          make_patches(4, 4, 2, 3)};
    vt_attention_layer layers[] = {made[0].layer, made[1].layer, made[2].layer};
    double row[MAX_T] = {0}, next[MAX_T], map[MAX_T], scratch[2 * MAX_T], sum = 0;
    float pool[16];
    (void)state;
    assert_true(vt_rollout_exists(layers, 3));
    assert_true(vt_rollout_scratch(layers, 3, 4) == 128);
    for (int i = 0; i < 16; i++) {
        pool[i] = (float)(i + 1);
        row[i] = (double)pool[i] / 136;
    }
    vt_rollout_run(layers, 3, 0, pool, 4, scratch, map);
    vt_rollout_layer(&layers[2], 0, row, next);
    for (int i = 0; i < 64; i++)
        row[i] = next[i / 8 / 2 * 4 + i % 8 / 2] / 4;
    vt_rollout_layer(&layers[1], 0, row, next);
    vt_rollout_layer(&layers[0], 0, next, row);
    for (int i = 0; i < 64; i++) {
        assert_true(fabs(map[i] - row[i]) < 1e-14);
        sum += map[i];
    }
    assert_true(fabs(sum - 1) < 1e-12);
    for (int i = 0; i < 3; i++)
        vt_free(made[i].weights);
}

static void rows_without_weight_stay(void **state)
{
    struct made m = make_windows(4, 4, 4, 0, 1);
    double from[16] = {0}, to[16];
    (void)state;
    for (int64_t h = 0; h < m.layer.heads; h++)
        memset(m.weights + (h * 16 + 5) * 16, 0, 16 * sizeof(float));
    from[5] = 1;
    vt_rollout_layer(&m.layer, 0, from, to);
    for (int i = 0; i < 16; i++)
        assert_true(fabs(to[i] - (i == 5)) < 1e-15);
    vt_free(m.weights);
}

static void rollouts_that_do_not_exist(void **state)
{
    struct made a = make_global(4, 4, true, 1), b = make_global(4, 4, false, 2),
                c = make_global(2, 2, true, 3);
    (void)state;
    assert_false(vt_rollout_exists((vt_attention_layer[]){a.layer, b.layer}, 2));
    assert_false(vt_rollout_exists((vt_attention_layer[]){a.layer, c.layer}, 2));
    assert_true(vt_rollout_exists((vt_attention_layer[]){a.layer, a.layer}, 2));
    vt_free(a.weights);
    vt_free(b.weights);
    vt_free(c.weights);
}

/* What a file may say but no network has. */
static void layouts_that_do_not_fit(void **state)
{
    const vt_attention_layer good = {{8, 8, 4, 4, 2, 2, 1, false}, 4, 2, 16, NULL};
    vt_attention_layer bad[10];
    (void)state;
    assert_true(vt_attention_layer_fits(&good));
    for (int i = 0; i < 10; i++)
        bad[i] = good;
    bad[0].windows = 3;
    bad[1].places = 15;
    bad[2].layout.grid_h = 0;
    bad[3].layout.grid_w = INT64_MAX;
    bad[4].layout.window_h = 1 << 20;
    bad[5].layout.shift_w = 4;
    bad[6].layout.has_cls = true;
    bad[7].layout.dilation = INT64_MAX;
    bad[8].heads = 0;
    bad[9].layout.window_w = 0;
    for (int i = 0; i < 10; i++)
        assert_false(vt_attention_layer_fits(&bad[i]));
}

/* ---- pictures */

static void edges_follow_the_grids(void **state)
{
    double first[9], merged[5], patches[9];
    (void)state;
    vt_overlay_edges(7, 28, NULL, first);
    vt_overlay_edges(4, 7, first, merged);
    for (int i = 0; i < 5; i++)
        assert_true(merged[i] == (i < 4 ? 8 * i : 28));
    vt_overlay_edges(8, 30, NULL, patches); /* patches of 4 reach over the edge */
    assert_true(patches[7] == 28 && patches[8] == 30);
}

static void a_map_is_drawn_where_it_is(void **state)
{
    enum { SIDE = 8 };
    uint8_t grey[SIDE * SIDE * 3];
    const double value[] = {0, 0, 4, 0}, edge[] = {0, 4, 8};
    const vt_overlay_picture picture = {grey, SIDE, SIDE};
    const vt_overlay_map map = {value, 2, 2, edge, edge};
    vt_canvas canvas;
    vt_error err = {0};
    (void)state;
    memset(grey, 128, sizeof grey);
    expect_ok(vt_canvas_init(&canvas, 2 * SIDE, 2 * SIDE, &err), &err);
    vt_overlay_map_draw(&canvas, (vt_frame){0, 0, 2 * SIDE}, &picture, &map, 4, false);
    for (int y = 0; y < 2 * SIDE; y++)
        for (int x = 0; x < 2 * SIDE; x++) {
            const uint8_t *p = canvas.pixels + (y * 2 * SIDE + x) * 3;
            bool bright = y >= SIDE && x < SIDE; /* yellow has green, the lowest colour has none */
            assert_true((p[1] > 150) == bright);
        }
    vt_free(canvas.pixels);
}

static void pictures_come_back_from_png(void **state)
{
    enum { H = 5, W = 7 };
    uint8_t pixels[H * W * 3];
    vt_text file = {0};
    vt_image image = {0};
    vt_error err = {0};
    (void)state;
    for (int i = 0; i < H * W * 3; i++)
        pixels[i] = (uint8_t)(37 * i);
    expect_ok(vt_image_png(&file, pixels, H, W, &err), &err);
    expect_ok(vt_image_decode(&image, file.data, file.size, "test", &err), &err);
    assert_true(image.height == H && image.width == W);
    assert_memory_equal(image.pixels, pixels, sizeof pixels);
    vt_image_release(&image);
    vt_text_release(&file);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE("shifted windows with padding are put back as rolling and cutting has it",
             maps_of_windows),
        CASE("places in patches are put back as unfolding has it", maps_of_patches),
        CASE("the class token's row, or the mean of all rows", maps_of_whole_grids),
        CASE("layouts say the same as the network's tables", tables_of_the_network),
        CASE("a rollout's operators are the dense ones, and their rows sum to 1",
             operators_are_the_dense_ones),
        CASE("spreading over a finer or coarser grid keeps the sum", spreading_keeps_the_sum),
        CASE("the rollout of a hybrid is the product of its operators", rollout_of_a_hybrid),
        CASE("a row without weight is the token itself", rows_without_weight_stay),
        CASE("grids and class tokens that do not follow each other have no rollout",
             rollouts_that_do_not_exist),
        CASE("a layout that no network has is refused", layouts_that_do_not_fit),
        CASE("the cells' edges follow the grids", edges_follow_the_grids),
        CASE("a map is drawn where it is", a_map_is_drawn_where_it_is),
        CASE("a picture written as PNG reads back", pictures_come_back_from_png),
    };
    return cmocka_run_group_tests_name("attention maps", tests, NULL, NULL);
}
