/* Parts, sampler, transforms and batches, on the generated data set. */
#include "base/hash.h"
#include "base/mem.h"
#include "base/rng.h"
#include "data/data.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { SIDE = 32, PIXELS = SIDE * SIDE * 3, SEED = 11 };

static const vt_transform crop4 = {.kind = VT_TRANSFORM_RANDOM_CROP, .pad = 4};
static const vt_transform flip_half = {.kind = VT_TRANSFORM_FLIP, .p = 0.5f};
static const vt_transform flip_always = {.kind = VT_TRANSFORM_FLIP, .p = 1};

static vt_data_request shapes_request(void)
{
    return (vt_data_request){
        .name = "shapes", .seed = SEED, .mean = {0.5f, 0.5f, 0.5f}, .std = {0.5f, 0.5f, 0.5f}};
}

static vt_pool *pool_of(int threads)
{
    vt_pool *pool;
    assert_int_equal(vt_pool_new(&pool, threads, NULL), VT_OK);
    return pool;
}

static vt_data *open_set(const vt_data_request *request)
{
    vt_data *data;
    vt_error err = {0};
    vt_pool *pool = pool_of(2);
    if (vt_data_open(&data, request, pool, &err) != VT_OK)
        fail_msg("%s", err.text);
    vt_pool_free(pool);
    return data;
}

/* The generated set as it is by default, for all tests that need nothing else. */
static vt_data *plain;

static int start(void **state)
{
    (void)state;
    vt_data_request r = shapes_request();
    plain = open_set(&r);
    return 0;
}

static int stop(void **state)
{
    (void)state;
    vt_data_free(plain);
    return 0;
}

static vt_status open_status(const vt_data_request *request, vt_error *err)
{
    vt_data *data;
    vt_pool *pool = pool_of(2);
    memset(err, 0, sizeof *err);
    vt_status status = vt_data_open(&data, request, pool, err);
    assert_true((status == VT_OK) == (data != NULL));
    vt_data_free(data);
    vt_pool_free(pool);
    return status;
}

static void generated_set_describes_itself(void **state)
{
    (void)state;
    const vt_data_info *info = vt_data_info_of(plain);
    assert_string_equal(info->name, "shapes");
    assert_string_equal(info->folder, "");
    assert_string_equal(info->class_names[0], "warm disc");
    assert_int_equal(info->classes, 10);
    assert_int_equal(info->height * info->width * info->channels, PIXELS);
    assert_int_equal(info->n[VT_PART_TRAIN], 10000);
    assert_int_equal(info->n[VT_PART_VAL], 0);
    assert_int_equal(info->n[VT_PART_TEST], 2000);
    assert_int_equal(info->n_files, 0);
    assert_true(info->official);
    assert_string_equal(info->warning, "");
    assert_int_equal(strlen(info->digest), 64);
}

static void validation_part_is_balanced_and_disjoint(void **state)
{
    (void)state;
    vt_data_request r = shapes_request();
    r.val = 1004;
    vt_data *data = open_set(&r);
    const vt_data_info *info = vt_data_info_of(data);
    assert_int_equal(info->n[VT_PART_TRAIN], 8996);
    assert_int_equal(info->n[VT_PART_VAL], 1004);
    assert_int_equal(info->n[VT_PART_TEST], 2000);
    int seen[10000] = {0}, per_class[10] = {0}, label;
    for (int part = VT_PART_TRAIN; part <= VT_PART_VAL; part++)
        for (int64_t i = 0; i < info->n[part]; i++) {
            uint32_t image = vt_data_image(data, (vt_part)part, i);
            assert_true(image < 10000);
            assert_int_equal(seen[image]++, 0);
            if (i > 0)
                assert_true(image > vt_data_image(data, (vt_part)part, i - 1));
        }
    for (int64_t i = 0; i < info->n[VT_PART_VAL]; i++) {
        vt_data_item(data, VT_PART_VAL, i, &label);
        per_class[label]++;
    }
    for (int c = 0; c < 10; c++)
        assert_int_equal(per_class[c], c < 4 ? 101 : 100);
    vt_data_free(data);
}

static void split_follows_the_seed_and_the_digest_follows_the_split(void **state)
{
    (void)state;
    enum { N = 4 };
    vt_data_request requests[N];
    char digest[N + 1][VT_SHA256_HEX_SIZE];
    for (int i = 0; i < N; i++)
        requests[i] = shapes_request();
    requests[0].val = 100;
    requests[1].limit_train = 9999;
    requests[2].limit_test = 1999;
    requests[3].seed = SEED + 1;
    strcpy(digest[N], vt_data_info_of(plain)->digest);
    for (int i = 0; i < N; i++) {
        vt_data *data = open_set(&requests[i]);
        strcpy(digest[i], vt_data_info_of(data)->digest);
        vt_data_free(data);
    }
    for (int i = 0; i <= N; i++)
        for (int j = 0; j < i; j++)
            assert_string_not_equal(digest[i], digest[j]);
}

static void digest_ignores_transforms_normalisation_and_needless_limits(void **state)
{
    (void)state;
    vt_data_request r = shapes_request();
    r.mean[1] = 0.25f;
    r.std[2] = 2;
    r.train = (vt_transform_list){.item = {crop4}, .n = 1};
    r.limit_train = 1000000;
    r.limit_test = 2000;
    vt_data *other = open_set(&r);
    assert_string_equal(vt_data_info_of(plain)->digest, vt_data_info_of(other)->digest);
    vt_data_free(other);
}

static void images_that_nobody_uses_are_not_drawn(void **state)
{
    (void)state;
    vt_data_request r = shapes_request();
    int label, same = 0;
    r.limit_train = 30;
    r.limit_test = 20;
    r.val = 10;
    vt_data *data = open_set(&r);
    for (int part = 0; part < VT_PART_COUNT; part++)
        for (int64_t i = 0; i < vt_data_info_of(data)->n[part]; i++) {
            uint32_t image = vt_data_image(data, (vt_part)part, i);
            vt_part whole = part == VT_PART_TEST ? VT_PART_TEST : VT_PART_TRAIN;
            int64_t place = part == VT_PART_TEST ? image - 10000 : image;
            const uint8_t *expected = vt_data_item(plain, whole, place, &label);
            assert_memory_equal(vt_data_item(data, (vt_part)part, i, &same), expected, PIXELS);
            assert_int_equal(same, label);
        }
    /* The first training image lies at the start of the block that holds all. */
    const uint8_t *images = vt_data_item(data, VT_PART_TRAIN, 0, NULL) -
                            (size_t)vt_data_image(data, VT_PART_TRAIN, 0) * PIXELS;
    for (size_t b = 0; b < PIXELS; b++)
        assert_int_equal(images[9999 * PIXELS + b] | images[10020 * PIXELS + b], 0);
    vt_data_free(data);
}

static void limits_keep_the_first_images_of_what_remains(void **state)
{
    (void)state;
    vt_data_request r = shapes_request();
    r.val = 5000;
    r.limit_train = 17;
    r.limit_test = 3;
    vt_data *data = open_set(&r);
    assert_int_equal(vt_data_info_of(data)->n[VT_PART_TRAIN], 17);
    assert_int_equal(vt_data_info_of(data)->n[VT_PART_VAL], 5000);
    assert_int_equal(vt_data_info_of(data)->n[VT_PART_TEST], 3);
    int64_t held_out = 0, kept = 0;
    for (uint32_t image = 0; kept < 17; image++)
        if (vt_data_image(data, VT_PART_VAL, held_out) == image)
            held_out++;
        else
            assert_int_equal(vt_data_image(data, VT_PART_TRAIN, kept++), image);
    assert_true(held_out > 0);
    for (int64_t i = 0; i < 3; i++)
        assert_int_equal(vt_data_image(data, VT_PART_TEST, i), 10000 + i);
    vt_data_free(data);
}

static void impossible_requests_are_refused(void **state)
{
    (void)state;
    vt_error err;
    vt_data_request r = shapes_request();
    r.val = 10000;
    assert_int_equal(open_status(&r, &err), VT_ERR_CONFIG);
    assert_non_null(strstr(err.text, "data.val: 10000 of the 10000 training images"));
    r.val = -1;
    assert_int_equal(open_status(&r, &err), VT_ERR_CONFIG);
    r.val = 9999;
    assert_int_equal(open_status(&r, &err), VT_OK);
    r.name = "mnist";
    assert_int_equal(open_status(&r, &err), VT_ERR_CONFIG);
    assert_non_null(strstr(err.text, "'mnist'"));
}

static void running_out_of_memory_is_reported(void **state)
{
    (void)state;
    vt_error err;
    vt_data *data;
    vt_pool *pool = pool_of(2);
    vt_data_request r = shapes_request();
    for (uint64_t at = 1; at <= 5; at++) {
        memset(&err, 0, sizeof err);
        vt_mem_fail_at(at, 0);
        assert_int_equal(vt_data_open(&data, &r, pool, &err), VT_ERR_NOMEM);
        vt_mem_fail_at(0, 0);
        assert_null(data);
        assert_non_null(strstr(err.text, "no memory"));
    }
    vt_pool_free(pool);
}

static void sampler_gives_a_new_permutation_each_epoch(void **state)
{
    (void)state;
    vt_data_request r = shapes_request();
    r.val = 1000;
    vt_data *data = open_set(&r);
    static uint32_t order[4][9000], val[1000];
    vt_sampler_order(data, VT_PART_TRAIN, true, 5, 0, order[0]);
    vt_sampler_order(data, VT_PART_TRAIN, true, 5, 1, order[1]);
    vt_sampler_order(data, VT_PART_TRAIN, true, 6, 0, order[2]);
    vt_sampler_order(data, VT_PART_TRAIN, true, 5, 0, order[3]);
    for (int k = 0; k < 3; k++) {
        bool seen[9000] = {0};
        int at_home = 0;
        for (uint32_t i = 0; i < 9000; i++) {
            assert_true(order[k][i] < 9000);
            assert_false(seen[order[k][i]]);
            seen[order[k][i]] = true;
            at_home += order[k][i] == i;
        }
        assert_true(at_home < 10);
    }
    assert_memory_equal(order[0], order[3], sizeof order[0]);
    assert_memory_not_equal(order[0], order[1], sizeof order[0]);
    assert_memory_not_equal(order[0], order[2], sizeof order[0]);

    vt_sampler_order(data, VT_PART_TRAIN, false, 5, 3, order[0]);
    for (uint32_t i = 0; i < 9000; i++)
        assert_int_equal(order[0][i], i);
    vt_sampler_order(data, VT_PART_VAL, true, 5, 0, val);
    bool seen[1000] = {0};
    for (int i = 0; i < 1000; i++) {
        assert_true(val[i] < 1000 && !seen[val[i]]);
        seen[val[i]] = true;
    }
    vt_data_free(data);
}

/* What torchvision's ToTensor and Normalize made of bytes (torch 2.15): some values, and the
 * SHA-256 of all of them, channel after channel, byte 0 to 255, as little-endian floats. */
static const struct normalisation {
    float mean[3], std[3];
    const char *sha256;
    struct {
        int byte;
        float value[3];
    } sample[4];
} normalisations[] = {
    {{0.5f, 0.5f, 0.5f},
     {0.5f, 0.5f, 0.5f},
     "59e92db758d185f3e78b2d7a346580fc50ce7b0317d28f68f40ad10293501ab3",
     {{0, {-0x1p+0f, -0x1p+0f, -0x1p+0f}},
      {1, {-0x1.fbfbfcp-1f, -0x1.fbfbfcp-1f, -0x1.fbfbfcp-1f}},
      {127, {-0x1.0101p-8f, -0x1.0101p-8f, -0x1.0101p-8f}},
      {200, {0x1.232324p-1f, 0x1.232324p-1f, 0x1.232324p-1f}}}},
    {{0.4914f, 0.4822f, 0.4465f},
     {0.2470f, 0.2435f, 0.2616f},
     "9e58fd8280aea6af5045cfdd44d0f3d8fe5f24a3eff94131f585cde21b6c2508",
     {{0, {-0x1.fd4e26p+0f, -0x1.faf42p+0f, -0x1.b4f122p+0f}},
      {7, {-0x1.e0daa4p+0f, -0x1.de17ecp+0f, -0x1.9a141ep+0f}},
      {128, {0x1.5e428p-5f, 0x1.4c675cp-4f, 0x1.b2304ap-3f}},
      {255, {0x1.0790e6p+1f, 0x1.1030c8p+1f, 0x1.0ed362p+1f}}}},
};

static void normalisation_equals_torchvision_to_the_bit(void **state)
{
    (void)state;
    vt_pool *pool = pool_of(1);
    float *images = malloc(100 * PIXELS * sizeof *images);
    uint32_t items[100];
    for (uint32_t i = 0; i < 100; i++)
        items[i] = i;
    for (size_t k = 0; k < sizeof normalisations / sizeof *normalisations; k++) {
        const struct normalisation *n = &normalisations[k];
        vt_data_request r = shapes_request();
        memcpy(r.mean, n->mean, sizeof r.mean);
        memcpy(r.std, n->std, sizeof r.std);
        vt_data *data = open_set(&r);
        vt_batch_load(data, pool, VT_PART_TRAIN, false, 0, 0, items, 100, images, NULL, NULL);
        float level[3][256];
        bool seen[3][256] = {{0}};
        for (uint32_t i = 0; i < 100; i++) {
            const uint8_t *bytes = vt_data_item(data, VT_PART_TRAIN, i, NULL);
            for (int j = 0; j < PIXELS; j++) {
                float value = images[i * PIXELS + (uint32_t)j];
                if (seen[j % 3][bytes[j]])
                    assert_memory_equal(&level[j % 3][bytes[j]], &value, sizeof value);
                level[j % 3][bytes[j]] = value;
                seen[j % 3][bytes[j]] = true;
            }
        }
        for (int c = 0; c < 3; c++)
            for (int byte = 0; byte < 256; byte++)
                assert_true(seen[c][byte]);
        for (size_t s = 0; s < 4; s++)
            for (int c = 0; c < 3; c++)
                assert_memory_equal(&level[c][n->sample[s].byte], &n->sample[s].value[c], 4);
        uint8_t digest[VT_SHA256_SIZE];
        char hex[VT_SHA256_HEX_SIZE];
        vt_sha256_of(level, sizeof level, digest);
        vt_sha256_hex(digest, hex);
        assert_string_equal(hex, n->sha256);
        vt_data_free(data);
    }
    free(images);
    vt_pool_free(pool);
}

/* The transforms as one would do them by hand: on a padded copy, one after the other. */
static void transform_by_hand(const vt_transform_list *list, uint64_t seed, int64_t epoch,
                              uint32_t image, uint8_t *bytes)
{
    enum { MAX_PAD = 8, PADDED = SIDE + 2 * MAX_PAD };
    static uint8_t padded[PADDED][PADDED][3];
    for (int t = 0; t < list->n; t++) {
        vt_stream stream =
            list->item[t].kind == VT_TRANSFORM_FLIP ? VT_STREAM_FLIP : VT_STREAM_CROP;
        vt_rng rng = vt_rng_at(seed, stream, (uint32_t)t, (uint32_t)epoch, image);
        int pad = 0, top = 0, left = 0;
        bool flip = false;
        if (stream == VT_STREAM_CROP) {
            pad = (int)list->item[t].pad;
            top = (int)vt_rng_below(&rng, 0, 2 * (uint64_t)pad + 1);
            left = (int)vt_rng_below(&rng, 1, 2 * (uint64_t)pad + 1);
        } else {
            flip = vt_rng_uniform(&rng, 0) < list->item[t].p;
        }
        memset(padded, 0, sizeof padded);
        for (int y = 0; y < SIDE; y++)
            memcpy(padded[y + pad][pad], bytes + y * SIDE * 3, SIDE * 3);
        for (int y = 0; y < SIDE; y++)
            for (int x = 0; x < SIDE; x++)
                memcpy(bytes + (y * SIDE + x) * 3,
                       padded[top + y][left + (flip ? SIDE - 1 - x : x)], 3);
    }
}

static void crops_and_flips_equal_the_ones_done_by_hand(void **state)
{
    (void)state;
    static const vt_transform crop8 = {.kind = VT_TRANSFORM_RANDOM_CROP, .pad = 8};
    static const vt_transform crop0 = {.kind = VT_TRANSFORM_RANDOM_CROP, .pad = 0};
    const vt_transform_list lists[] = {
        {.n = 0},
        {.item = {crop4}, .n = 1},
        {.item = {flip_half}, .n = 1},
        {.item = {flip_always}, .n = 1},
        {.item = {crop0}, .n = 1},
        {.item = {crop4, flip_half}, .n = 2},
        {.item = {flip_half, crop4}, .n = 2},
        {.item = {crop8, crop8, flip_half, crop4, flip_always}, .n = 5},
    };
    enum { N = 64 };
    vt_pool *pool = pool_of(2);
    float *images = malloc(N * PIXELS * sizeof *images), expected[PIXELS];
    int32_t labels[N];
    vt_data *data = NULL;
    for (size_t k = 0; k < sizeof lists / sizeof *lists; k++) {
        bool augment = k % 2 == 0; /* two lists to a data set */
        if (augment) {
            vt_data_request r = shapes_request();
            r.val = 2000;
            r.train = lists[k];
            r.test = lists[k + 1];
            vt_data_free(data);
            data = open_set(&r);
        }
        uint32_t items[N];
        for (uint32_t i = 0; i < N; i++)
            items[i] = 1999 - i * 7;
        vt_batch_load(data, pool, VT_PART_VAL, augment, 77, 3, items, N, images, labels, NULL);
        for (int i = 0; i < N; i++) {
            int label;
            uint8_t bytes[PIXELS];
            memcpy(bytes, vt_data_item(data, VT_PART_VAL, items[i], &label), PIXELS);
            assert_int_equal(labels[i], label);
            transform_by_hand(&lists[k], 77, 3, vt_data_image(data, VT_PART_VAL, items[i]), bytes);
            for (int j = 0; j < PIXELS; j++)
                expected[j] = ((float)bytes[j] / 255.0f - 0.5f) / 0.5f;
            assert_memory_equal(images + i * PIXELS, expected, sizeof expected);
        }
    }
    vt_data_free(data);
    free(images);
    vt_pool_free(pool);
}

static void every_shift_and_both_sides_occur_equally_often(void **state)
{
    (void)state;
    const vt_transform_list list = {.item = {crop4, flip_half}, .n = 2};
    int shifts[9][9] = {{0}}, flips = 0;
    for (uint32_t image = 0; image < 8100; image++) {
        vt_view view = vt_view_of(&list, 0, list.n, (vt_size){SIDE, SIDE}, (vt_draw){1, 0, image});
        bool flip = view.x.step < 0;
        int64_t left = flip ? view.x.offset - (SIDE - 1) : view.x.offset;
        shifts[view.y.offset + 4][left + 4]++;
        flips += flip;
    }
    for (int y = 0; y < 9; y++)
        for (int x = 0; x < 9; x++)
            assert_in_range(shifts[y][x], 55, 150); /* 100 expected, standard deviation 10 */
    assert_in_range(flips, 3850, 4250);
}

static void draws_are_keyed_by_seed_epoch_and_image(void **state)
{
    (void)state;
    const vt_transform_list list = {.item = {{.kind = VT_TRANSFORM_RANDOM_CROP, .pad = 1000}},
                                    .n = 1};
    vt_view base = vt_view_of(&list, 0, list.n, (vt_size){SIDE, SIDE}, (vt_draw){1, 2, 3});
    vt_view other[] = {vt_view_of(&list, 0, list.n, (vt_size){SIDE, SIDE}, (vt_draw){2, 2, 3}),
                       vt_view_of(&list, 0, list.n, (vt_size){SIDE, SIDE}, (vt_draw){1, 3, 3}),
                       vt_view_of(&list, 0, list.n, (vt_size){SIDE, SIDE}, (vt_draw){1, 2, 4})};
    vt_view same = vt_view_of(&list, 0, list.n, (vt_size){SIDE, SIDE}, (vt_draw){1, 2, 3});
    assert_memory_equal(&base, &same, 2 * sizeof(vt_axis));
    for (int i = 0; i < 3; i++)
        assert_memory_not_equal(&base, &other[i], 2 * sizeof(vt_axis));
    assert_true(base.x.first >= 0 && base.x.first <= base.x.last && base.x.last <= SIDE);
}

static void batches_do_not_depend_on_threads_order_or_batch_size(void **state)
{
    (void)state;
    enum { N = 103 };
    vt_data_request r = shapes_request();
    r.train = (vt_transform_list){.item = {crop4, flip_half}, .n = 2};
    vt_data *data = open_set(&r);
    uint32_t *order = malloc(10000 * sizeof *order);
    vt_sampler_order(data, VT_PART_TRAIN, true, 9, 4, order);
    size_t size = N * PIXELS * sizeof(float);
    float *first = malloc(size), *images = malloc(size);
    int32_t first_labels[N], labels[N];
    const int threads[] = {1, 2, 3, 5};
    for (int k = 0; k < 8; k++) {
        vt_pool *pool = pool_of(threads[k % 4]);
        vt_pool_shuffle(pool, k < 4 ? 0 : 1000 + (uint64_t)k);
        memset(images, 0xff, size);
        memset(labels, 0xff, sizeof labels);
        uint64_t allocations = vt_mem_count();
        vt_batch_load(data, pool, VT_PART_TRAIN, true, 9, 4, order, N, k == 0 ? first : images,
                      k == 0 ? first_labels : labels, NULL);
        assert_int_equal(vt_mem_count(), allocations);
        vt_pool_free(pool);
        if (k > 0) {
            assert_memory_equal(images, first, size);
            assert_memory_equal(labels, first_labels, sizeof labels);
        }
    }
    vt_pool *pool = pool_of(2);
    memset(images, 0xff, size);
    for (int i = N - 1; i >= 0; i--)
        vt_batch_load(data, pool, VT_PART_TRAIN, true, 9, 4, order + i, 1, images + i * PIXELS,
                      labels + i, NULL);
    assert_memory_equal(images, first, size);
    assert_memory_equal(labels, first_labels, sizeof labels);
    vt_batch_load(data, pool, VT_PART_TRAIN, true, 9, 5, order, N, images, NULL, NULL);
    assert_memory_not_equal(images, first, size);
    vt_pool_free(pool);
    free(images);
    free(first);
    free(order);
    vt_data_free(data);
}

static void test_transforms_apply_without_augmentation(void **state)
{
    (void)state;
    vt_data_request r = shapes_request();
    r.test = (vt_transform_list){.item = {flip_always}, .n = 1};
    vt_data *data = open_set(&r);
    vt_pool *pool = pool_of(1);
    float upright[PIXELS], mirrored[PIXELS];
    uint32_t item = 42;
    vt_batch_load(data, pool, VT_PART_TEST, true, 0, 0, &item, 1, upright, NULL, NULL);
    vt_batch_load(data, pool, VT_PART_TEST, false, 0, 0, &item, 1, mirrored, NULL, NULL);
    for (int y = 0; y < SIDE; y++)
        for (int x = 0; x < SIDE; x++)
            assert_memory_equal(upright + (y * SIDE + x) * 3,
                                mirrored + (y * SIDE + SIDE - 1 - x) * 3, 3 * sizeof(float));
    vt_pool_free(pool);
    vt_data_free(data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(generated_set_describes_itself),
        cmocka_unit_test(validation_part_is_balanced_and_disjoint),
        cmocka_unit_test(split_follows_the_seed_and_the_digest_follows_the_split),
        cmocka_unit_test(images_that_nobody_uses_are_not_drawn),
        cmocka_unit_test(digest_ignores_transforms_normalisation_and_needless_limits),
        cmocka_unit_test(limits_keep_the_first_images_of_what_remains),
        cmocka_unit_test(impossible_requests_are_refused),
        cmocka_unit_test(running_out_of_memory_is_reported),
        cmocka_unit_test(sampler_gives_a_new_permutation_each_epoch),
        cmocka_unit_test(normalisation_equals_torchvision_to_the_bit),
        cmocka_unit_test(crops_and_flips_equal_the_ones_done_by_hand),
        cmocka_unit_test(every_shift_and_both_sides_occur_equally_often),
        cmocka_unit_test(draws_are_keyed_by_seed_epoch_and_image),
        cmocka_unit_test(batches_do_not_depend_on_threads_order_or_batch_size),
        cmocka_unit_test(test_transforms_apply_without_augmentation),
    };
    return cmocka_run_group_tests(tests, start, stop);
}
