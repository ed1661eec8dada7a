/*
 * What a device does between two passes without the host: batches gathered from pictures in its
 * memory, bit for bit those of the host; steps taken from a list; steps that are stopped; reads
 * that nobody waits for.
 */
#include "base/mem.h"
#include "base/rng.h"
#include "data/data.h"
#include "kernels/bf16.h"
#include "support/test_device.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

/* Memory of the exact size, whose end the address sanitizer watches. */
static void *take(size_t size_bytes)
{
    void *block = vt_calloc(size_bytes, 1);
    assert_non_null(block);
    return block;
}

/* ---- gather */

#define CROP(n)                                                                                    \
    {                                                                                              \
        .kind = VT_TRANSFORM_RANDOM_CROP, .pad = n                                                 \
    }
#define MIDDLE(n)                                                                                  \
    {                                                                                              \
        .kind = VT_TRANSFORM_CENTER_CROP, .height = n, .width = n + 4                              \
    }
#define FLIP                                                                                       \
    {                                                                                              \
        .kind = VT_TRANSFORM_FLIP, .p = 0.5f                                                       \
    }

static const vt_transform_list lists[] = {
    {.n = 0},
    {{CROP(4), FLIP}, 2},
    {{FLIP, CROP(40), FLIP, CROP(3)}, 4},
    {{MIDDLE(21), FLIP}, 2},
    {{CROP(5), MIDDLE(37), FLIP}, 3},
};
enum { LISTS = sizeof lists / sizeof *lists, BATCH = 7, BEFORE = 5, ITEMS = BATCH + BEFORE };

static vt_data *open_shapes(const vt_transform_list *list, vt_pool *pool)
{
    const vt_data_request request = {.name = "shapes",
                                     .limit_train = 40,
                                     .limit_test = 20,
                                     .mean = {0.1f, 0.2f, 0.3f},
                                     .std = {0.3f, 0.2f, 0.1f},
                                     .train = *list,
                                     .test = *list};
    vt_data *data;
    assert_int_equal(vt_data_open(&data, &request, pool, NULL), VT_OK);
    return data;
}

/* The same batch by a kernel table, in a type, against that of the host. */
static void hold_against_host(vt_dev *dev, const vt_kernels *k, const vt_data *data, vt_dtype type,
                              vt_part part, int64_t epoch)
{
    static const uint32_t items[ITEMS] = {3, 1, 4, 15, 9, 2, 6, 5, 3, 0, 19, 7};
    const vt_data_info *info = vt_data_info_of(data);
    const int64_t n = BATCH * info->height * info->width * info->channels;
    const bool augment = part == VT_PART_TRAIN;
    vt_data_stock stock;
    int32_t want_labels[BATCH];
    float *want = take((size_t)n * sizeof *want), *levels = take(3 * 256 * sizeof *levels);
    vt_buf got = {take((size_t)n * vt_dtype_size(type)), type};
    int32_t *labels = take(BATCH * sizeof *labels);
    vt_pick *picks = take(ITEMS * sizeof *picks);
    vt_step *step = take(sizeof *step);
    step->first = BEFORE;
    assert_int_equal(vt_batch_load(data, vt_dev_pool(dev), part, augment, 11, epoch, items + BEFORE,
                                   BATCH, want, want_labels, NULL),
                     VT_OK);
    assert_true(vt_data_stock_of(data, &stock));
    uint8_t *pixels = take((size_t)(stock.n * stock.height * stock.width * stock.channels));
    memcpy(pixels, stock.pixels, (size_t)(stock.n * stock.height * stock.width * stock.channels));
    memcpy(levels, stock.levels, 3 * 256 * sizeof *levels);
    vt_data_picks(data, vt_dev_pool(dev), part, augment, 11, epoch, items, ITEMS, picks);
    const vt_gather_sizes sizes = {BATCH,          info->height, info->width,
                                   info->channels, stock.height, stock.width};
    k->gather(dev, got, labels, pixels, levels, picks, &sizes, step);
    assert_memory_equal(labels, want_labels, sizeof want_labels);
    for (int64_t i = 0; i < n; i++)
        if (type == VT_BF16)
            assert_int_equal(((uint16_t *)got.data)[i], vt_bf16_of_float(want[i]));
        else
            assert_memory_equal((float *)got.data + i, want + i, sizeof *want);
    vt_free(want);
    vt_free(levels);
    vt_free(got.data);
    vt_free(labels);
    vt_free(picks);
    vt_free(pixels);
    vt_free(step);
}

static void gathered_batches_are_the_hosts(void **state)
{
    static const vt_dtype types[] = {VT_F32, VT_TF32, VT_BF16};
    (void)state;
    for (int i = 0; i < LISTS; i++)
        for (int threads = 1; threads <= 3; threads++) {
            vt_dev *dev = new_device(threads);
            vt_data *data = open_shapes(&lists[i], vt_dev_pool(dev));
            for (int t = 0; t < 3; t++)
                for (int epoch = 0; epoch < 2; epoch++) {
                    const vt_part part = epoch ? VT_PART_TEST : VT_PART_TRAIN;
                    hold_against_host(dev, vt_dev_kernels(dev), data, types[t], part, epoch);
                    hold_against_host(dev, &vt_avx2_table, data, types[t], part, epoch);
                }
            vt_data_free(data);
            vt_dev_free(dev);
        }
}

static void resized_pictures_are_not_gathered(void **state)
{
    static const vt_transform_list resized = {
        {{.kind = VT_TRANSFORM_RESIZE, .height = 16, .width = 16}}, 1};
    vt_data_stock stock;
    (void)state;
    vt_dev *dev = new_device(1);
    vt_data *data = open_shapes(&resized, vt_dev_pool(dev));
    assert_false(vt_data_stock_of(data, &stock));
    vt_data_free(data);
    vt_dev_free(dev);
}

/* ---- steps */

static void steps_are_taken_from_the_list_in_turn(void **state)
{
    const vt_step listed[3] = {{.draw = 7, .lr = 0.5f, .first = 0, .next = 1},
                               {.draw = 8, .lr = 0.25f, .first = 4, .next = 2, .clip = 1},
                               {.draw = 9, .lr = 0.125f, .first = 8, .next = 3}};
    (void)state;
    vt_dev *dev = new_device(1);
    vt_step *list = take(sizeof listed), *step = take(sizeof *step);
    double *totals = take(4 * sizeof *totals);
    memcpy(list, listed, sizeof listed);
    for (int i = 0; i < 3; i++) {
        vt_step want = listed[i];
        for (int t = 0; t < 4; t++)
            totals[t] = 1 + t;
        step->stopped = want.stopped = i > 0;
        vt_dev_kernels(dev)->next_step(dev, step, totals, list);
        assert_memory_equal(step, &want, sizeof want);
        for (int t = 0; t < 4; t++)
            assert_true(totals[t] == 0);
    }
    vt_free(list);
    vt_free(step);
    vt_free(totals);
    vt_dev_free(dev);
}

static void a_step_that_is_not_finite_stops_all_that_follow(void **state)
{
    /* loss, squares, stopped afterwards */
    static const double cases[][3] = {{1, 2, 0},   {1e308, 0, 0}, {0, 1e308, 0},
                                      {NAN, 1, 1}, {3, 4, 1},     {1, INFINITY, 1}};
    (void)state;
    vt_dev *dev = new_device(1);
    vt_step *step = take(sizeof *step);
    double *totals = take(4 * sizeof *totals), *sum = take(sizeof *sum);
    double *result = take(5 * sizeof *result);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        for (int t = 0; t < 4; t++)
            totals[t] = t ? t : cases[i][0];
        *sum = cases[i][1];
        vt_dev_kernels(dev)->judge_step(dev, step, result, totals, sum);
        assert_int_equal(step->stopped, (uint32_t)cases[i][2]);
        assert_memory_equal(result, totals, 4 * sizeof *totals);
        assert_memory_equal(result + 4, sum, sizeof *sum);
    }
    static const double lone[][2] = {{INFINITY, 1}, {-INFINITY, 1}, {1, NAN}, {1, INFINITY}};
    for (int i = 0; i < 4; i++) {
        step->stopped = 0;
        totals[0] = lone[i][0];
        *sum = lone[i][1];
        vt_dev_kernels(dev)->judge_step(dev, step, result, totals, sum);
        assert_int_equal(step->stopped, 1);
    }
    vt_free(step);
    vt_free(totals);
    vt_free(sum);
    vt_free(result);
    vt_dev_free(dev);
}

enum { ROWS = 12, COLS = 37, VALUES = ROWS * COLS };

/* A step of each kind; w, m, v, running mean and variance, COLS values each. */
static void step_everything(vt_dev *dev, float *state, vt_step *step)
{
    const vt_kernels *k = vt_dev_kernels(dev);
    float *x = take(VALUES * sizeof *x), *y = take(VALUES * sizeof *y);
    float *w = take(COLS * sizeof *w);
    float *line = take(VT_BATCHNORM_LINE * COLS * sizeof *line);
    double *mean = take(COLS * sizeof *mean), *rstd = take(COLS * sizeof *rstd);
    void *scratch = take(k->batchnorm_scratch(ROWS, COLS));
    const vt_batchnorm_sizes sizes = {ROWS, COLS, 1e-5f, 0.1f, true, VT_ACT_NONE};
    for (int i = 0; i < VALUES; i++)
        x[i] = (float)(i % 11);
    k->batchnorm_fwd(dev, (vt_buf){y, VT_F32}, mean, rstd, line, state + 3 * COLS, state + 4 * COLS,
                     (vt_buf){x, VT_F32}, w, w, &sizes, step, scratch);
    k->adam(dev, state, state + COLS, state + 2 * COLS, x, COLS, 0.9, 0.999, 1e-8f, 0.1f, true,
            step);
    k->sgd(dev, state, state + COLS, x, COLS, 0.9f, 0.1f, false, false, step);
    vt_free(x);
    vt_free(y);
    vt_free(line);
    vt_free(w);
    vt_free(mean);
    vt_free(rstd);
    vt_free(scratch);
}

static void a_stopped_step_changes_nothing(void **state)
{
    (void)state;
    vt_dev *dev = new_device(1);
    float *now = take(5 * COLS * sizeof *now), *before = take(5 * COLS * sizeof *before);
    vt_step *step = take(sizeof *step);
    *step = (vt_step){.lr = 0.1f, .correction1 = 1, .correction2 = 1, .clip = 1, .stopped = 1};
    for (int i = 0; i < 5 * COLS; i++)
        now[i] = before[i] = (float)(1 + i);
    step_everything(dev, now, step);
    assert_memory_equal(now, before, 5 * COLS * sizeof *now);
    step->stopped = 0;
    step_everything(dev, now, step);
    for (int i = 0; i < 5 * COLS; i++)
        assert_true(now[i] != before[i]);
    vt_free(now);
    vt_free(before);
    vt_free(step);
    vt_dev_free(dev);
}

/* ---- fetches */

static void a_fetch_has_what_was_there_when_it_was_called(void **state)
{
    enum { N = 100 };
    (void)state;
    vt_dev *dev = new_device(1);
    double *host = vt_dev_host_alloc(dev, N * sizeof *host);
    double *on_device = vt_dev_alloc(dev, sizeof *on_device);
    uint64_t last = 0;
    assert_non_null(host);
    assert_non_null(on_device);
    assert_true(host[N - 1] == 0);
    for (int i = 0; i < N; i++) {
        const double value = i;
        vt_dev_write(dev, on_device, &value, sizeof value);
        last = vt_dev_fetch(dev, host + i, on_device, sizeof value);
    }
    vt_dev_wait(dev, last);
    for (int i = 0; i < N; i++)
        assert_true(host[i] == i);
    vt_dev_host_release(dev, host);
    vt_dev_host_release(dev, NULL);
    vt_dev_release(dev, on_device, sizeof *on_device);
    vt_dev_free(dev);
}

#define CASE(sentence, function)                                                                   \
    {                                                                                              \
        sentence, function, NULL, NULL, NULL                                                       \
    }

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE("gathered batches are the host's, bit for bit", gathered_batches_are_the_hosts),
        CASE("pictures that are resized are not gathered", resized_pictures_are_not_gathered),
        CASE("steps are taken from the list in turn", steps_are_taken_from_the_list_in_turn),
        CASE("a step that is not finite stops all that follow",
             a_step_that_is_not_finite_stops_all_that_follow),
        CASE("a stopped step changes nothing", a_stopped_step_changes_nothing),
        CASE("a fetch has what was there when it was called",
             a_fetch_has_what_was_there_when_it_was_called),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
