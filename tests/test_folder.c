/* Folders of pictures: which files, in which part, in which order, and what accidents do. */
#include "base/mem.h"
#include "data/data.h"
#include "support/fault.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define FOLDER "tests/fixtures/folder"

enum { SIDE = 16, PIXELS = SIDE * SIDE * 3 };

static const vt_transform square = {.kind = VT_TRANSFORM_RESIZE, .height = SIDE, .width = SIDE};
static const vt_transform larger = {.kind = VT_TRANSFORM_RESIZE, .height = 24};
static const vt_transform middle = {
    .kind = VT_TRANSFORM_CENTER_CROP, .height = SIDE, .width = SIDE};
static const vt_transform box = {.kind = VT_TRANSFORM_RANDOM_RESIZED_CROP,
                                 .height = SIDE,
                                 .width = SIDE,
                                 .scale = {0.3, 1},
                                 .ratio = {0.75, 1.25}};
static const vt_transform flip = {.kind = VT_TRANSFORM_FLIP, .p = 0.5f};

static vt_data_request request_of(const char *dir)
{
    return (vt_data_request){.name = "folder",
                             .dir = dir,
                             .seed = 4,
                             .std = {1, 1, 1},
                             .train = {.item = {square}, .n = 1},
                             .test = {.item = {square}, .n = 1},
                             .test_share = 0.2};
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

static void expect_refusal(const vt_data_request *request, vt_status status, const char *says)
{
    vt_data *data;
    vt_error err = {0};
    vt_pool *pool = pool_of(2);
    assert_int_equal(vt_data_open(&data, request, pool, &err), status);
    assert_null(data);
    if (!strstr(err.text, says))
        fail_msg("'%s' is not in: %s", says, err.text);
    vt_pool_free(pool);
}

/* A copy of a picture of the committed folder at PATH, with its folders. */
static void put(const vt_scratch *s, const char *path, const char *picture)
{
    char from[200], folders[200];
    vt_error err = {0};
    char *bytes;
    size_t size;
    snprintf(from, sizeof from, FOLDER "/%s", picture);
    snprintf(folders, sizeof folders, "%s", path);
    for (char *slash = strchr(folders, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = 0;
        mkdirat(s->fd, folders, 0755);
        *slash = '/';
    }
    assert_int_equal(vt_fs_read_file(AT_FDCWD, from, 1 << 20, &bytes, &size, &err), VT_OK);
    vt_scratch_write(s->fd, path, bytes, size);
    vt_free(bytes);
}

/* Four pictures a class: a/1 a/2 a/3 a/4, b/1 ..., under `prefix`; the last first on request. */
static void put_classes(const vt_scratch *s, const char *prefix, bool backwards)
{
    for (int i = 0; i < 8; i++) {
        int n = backwards ? 7 - i : i;
        char path[100], picture[100];
        snprintf(path, sizeof path, "%s%c/%d.png", prefix, n < 4 ? 'a' : 'b', n % 4 + 1);
        snprintf(picture, sizeof picture, "plain/%02d.%s", n, n % 2 ? "jpg" : "png");
        put(s, path, picture);
    }
}

static void expect_names(const vt_data *data, vt_part part, const char *expected)
{
    char names[2000] = "";
    size_t used = 0;
    for (int64_t i = 0; i < vt_data_info_of(data)->n[part]; i++)
        used += (size_t)snprintf(names + used, sizeof names - used, "%s%s", used ? " " : "",
                                 vt_data_item_name(data, part, i));
    assert_string_equal(names, expected);
}

static void a_split_folder_is_taken_as_it_is(void **state)
{
    (void)state;
    static const char *const tests[] = {"test/", "val/"};
    for (int i = 0; i < 2; i++) {
        vt_scratch s = vt_scratch_new();
        char path[100];
        put_classes(&s, "train/", false);
        for (int n = 2; n > 0; n--) {
            snprintf(path, sizeof path, "%sb/%d.JPEG", tests[i], n);
            put(&s, path, "plain/01.jpg");
        }
        vt_data_request r = request_of(s.path);
        vt_data *data = open_set(&r);
        const vt_data_info *info = vt_data_info_of(data);
        assert_string_equal(info->name, "folder");
        assert_string_equal(info->folder, s.path);
        assert_string_equal(info->class_names[0], "a");
        assert_string_equal(info->class_names[1], "b");
        assert_int_equal(info->classes, 2);
        assert_int_equal(info->height, SIDE);
        assert_int_equal(info->n[VT_PART_TRAIN], 8);
        assert_int_equal(info->n[VT_PART_TEST], 2);
        assert_string_equal(info->warning, "");
        expect_names(data, VT_PART_TRAIN,
                     "train/a/1.png train/b/1.png train/a/2.png train/b/2.png train/a/3.png "
                     "train/b/3.png train/a/4.png train/b/4.png");
        expect_names(data, VT_PART_TEST,
                     i == 0 ? "test/b/1.JPEG test/b/2.JPEG" : "val/b/1.JPEG val/b/2.JPEG");
        assert_int_equal(vt_data_image(data, VT_PART_TEST, 0), 8);
        uint8_t pixels[PIXELS];
        int label;
        assert_int_equal(vt_data_picture(data, VT_PART_TRAIN, 3, pixels, &label, NULL), VT_OK);
        assert_int_equal(label, 1);
        assert_null(vt_data_item(data, VT_PART_TRAIN, 0, &label));
        assert_int_equal(label, 0);
        vt_data_free(data);
        vt_scratch_free(&s);
    }
}

static void test_goes_before_val_and_a_warning_says_so(void **state)
{
    (void)state;
    vt_scratch s = vt_scratch_new();
    put_classes(&s, "train/", false);
    put(&s, "val/a/1.png", "plain/00.png");
    put(&s, "test/a/2.png", "plain/00.png");
    put(&s, "train/a/notes.txt", "plain/00.png");
    put(&s, "train/b/deep/er.png", "plain/00.png");
    put(&s, "train/b/.hidden.png", "plain/00.png");
    put(&s, "LICENSE.txt", "plain/00.png");
    vt_data_request r = request_of(s.path);
    vt_data *data = open_set(&r);
    expect_names(data, VT_PART_TEST, "test/a/2.png");
    assert_int_equal(vt_data_info_of(data)->n[VT_PART_TRAIN], 8);
    assert_non_null(strstr(vt_data_info_of(data)->warning, "val/ is not used: test/ is the test"));
    assert_non_null(strstr(vt_data_info_of(data)->warning,
                           "2 files are neither .jpg, .jpeg nor .png and not used, first "
                           "train/a/notes.txt"));
    vt_data_free(data);
    vt_scratch_free(&s);
}

static void the_file_systems_order_does_not_show(void **state)
{
    (void)state;
    char digest[2][VT_SHA256_HEX_SIZE];
    for (int i = 0; i < 2; i++) {
        vt_scratch s = vt_scratch_new();
        put_classes(&s, "", i == 1);
        vt_data_request r = request_of(s.path);
        vt_data *data = open_set(&r);
        strcpy(digest[i], vt_data_info_of(data)->digest);
        vt_data_free(data);
        vt_scratch_free(&s);
    }
    assert_string_equal(digest[0], digest[1]);
}

/* The committed folder: 12 good files a class, a broken one besides. */
static void a_share_of_each_class_becomes_the_test_part(void **state)
{
    (void)state;
    static const struct {
        double share;
        int plain, striped; /* of 12 and 13 */
    } rows[] = {{0.2, 2, 3}, {0.5, 6, 7}, {0.001, 1, 1}, {0.999, 11, 12}};
    char digest[VT_SHA256_HEX_SIZE] = "";
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        vt_data_request r = request_of(FOLDER);
        r.test_share = rows[i].share;
        r.max_bad = 1;
        vt_data *data = open_set(&r);
        const vt_data_info *info = vt_data_info_of(data);
        int seen[2] = {0}, label, broken = strstr(info->warning, "broken.jpg") != NULL;
        assert_int_equal(broken, 1);
        for (int64_t item = 0; item < info->n[VT_PART_TEST]; item++) {
            vt_data_item(data, VT_PART_TEST, item, &label);
            seen[label]++;
        }
        assert_int_equal(seen[0], rows[i].plain);
        assert_in_range(seen[1], rows[i].striped - 1, rows[i].striped);
        assert_int_equal(info->n[VT_PART_TRAIN] + info->n[VT_PART_TEST], 24);
        assert_string_not_equal(digest, info->digest);
        strcpy(digest, info->digest);
        vt_data_free(data);
    }
    vt_data_request r = request_of(FOLDER);
    r.max_bad = 1;
    vt_data *data = open_set(&r);
    r.seed++;
    vt_data *other = open_set(&r);
    assert_string_not_equal(vt_data_info_of(data)->digest, vt_data_info_of(other)->digest);
    vt_data_free(other);
    vt_data_free(data);
}

static void a_validation_part_and_limits_are_taken_as_elsewhere(void **state)
{
    (void)state;
    vt_scratch s = vt_scratch_new();
    put_classes(&s, "train/", false);
    put(&s, "test/a/1.png", "plain/00.png");
    put(&s, "test/b/1.png", "plain/00.png");
    vt_data_request r = request_of(s.path);
    r.val = 4;
    r.limit_train = 3;
    r.limit_test = 1;
    vt_data *data = open_set(&r);
    int labels[2] = {0}, label;
    for (int64_t i = 0; i < 4; i++) {
        vt_data_item(data, VT_PART_VAL, i, &label);
        labels[label]++;
    }
    assert_int_equal(labels[0], 2);
    assert_int_equal(vt_data_info_of(data)->n[VT_PART_TRAIN], 3);
    assert_int_equal(vt_data_info_of(data)->n[VT_PART_TEST], 1);
    vt_data_free(data);
    r.val = 8;
    expect_refusal(&r, VT_ERR_CONFIG, "data.val: 8 of the 8 training images of folder");
    r.val = 4;
    r.limit_train = 4;
    vt_data_free(open_set(&r));
    r.limit_train = 5;
    expect_refusal(&r, VT_ERR_CONFIG, "data.limit_train is 5, and ");
    expect_refusal(&r, VT_ERR_CONFIG, " has 4 training images after data.val");
    r.limit_train = 0;
    r.limit_test = 3;
    expect_refusal(&r, VT_ERR_CONFIG, " has 2 test images; 0 takes all");
    vt_scratch_free(&s);
}

static void what_does_not_fit_is_refused_by_name(void **state)
{
    (void)state;
    vt_scratch s = vt_scratch_new();
    vt_data_request r = request_of(s.path);
    expect_refusal(&r, VT_ERR_NOINPUT, "0 class folders; expected train/CLASS/NAME.jpg");
    put_classes(&s, "train/", false);
    r.classes = 3;
    expect_refusal(&r, VT_ERR_CONFIG, "model.classes is 3, and ");
    expect_refusal(&r, VT_ERR_CONFIG, "/train/ has 2 class folders: a, b");
    r.classes = 2;
    put(&s, "test/c/1.png", "plain/00.png");
    expect_refusal(&r, VT_ERR_DATA, "test/c: there is no class of this name in");
    vt_scratch_free(&s);

    s = vt_scratch_new();
    put_classes(&s, "", false);
    put(&s, "empty/readme.txt", "plain/00.png");
    r = request_of(s.path);
    expect_refusal(&r, VT_ERR_DATA, "/empty/: no picture (.jpg, .jpeg or .png)");
    r.train.item[0].width = 0;
    unlinkat(s.fd, "empty/readme.txt", 0);
    unlinkat(s.fd, "empty", AT_REMOVEDIR);
    expect_refusal(&r, VT_ERR_CONFIG, "do not bring the images of folder to one size");
    r = request_of("tests/fixtures/nowhere");
    expect_refusal(&r, VT_ERR_NOINPUT, "nowhere");
    vt_scratch_free(&s);
}

static void names_that_cannot_be_shown_are_refused(void **state)
{
    (void)state;
    static const char *const names[] = {"a\n",      "b\x1b[31m",       "\xff",
                                        "\xc0\xaf", "\xed\xa0\x80",    "x\x7f",
                                        "\xc2\x85", "\xf4\x90\x80\x80"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        for (int file = 0; file < 2; file++) {
            vt_scratch s = vt_scratch_new();
            char path[100];
            put_classes(&s, "", false);
            snprintf(path, sizeof path, file ? "a/%s.png" : "%s/1.png", names[i]);
            put(&s, path, "plain/00.png");
            vt_data_request r = request_of(s.path);
            expect_refusal(&r, VT_ERR_DATA, "not UTF-8 or holds control characters");
            vt_scratch_free(&s);
        }
    vt_scratch s = vt_scratch_new();
    put_classes(&s, "", false);
    put(&s, "caf\xc3\xa9 \xf0\x9f\x8c\xbb/\xe7\x8c\xab.png", "plain/00.png");
    put(&s, "caf\xc3\xa9 \xf0\x9f\x8c\xbb/\xe7\x8b\x97.png", "plain/00.png");
    vt_data_request r = request_of(s.path);
    vt_data *data = open_set(&r);
    assert_string_equal(vt_data_info_of(data)->class_names[2], "caf\xc3\xa9 \xf0\x9f\x8c\xbb");
    vt_data_free(data);
    char path[300];
    snprintf(path, sizeof path, "%0120d/1.png", 7);
    put(&s, path, "plain/00.png");
    expect_refusal(&r, VT_ERR_DATA, "the name of a class has 120 bytes; allowed: at most 103");
    vt_scratch_free(&s);
}

static void unreadable_files_are_counted_and_move_no_other(void **state)
{
    (void)state;
    vt_scratch s = vt_scratch_new();
    put_classes(&s, "", false);
    vt_data_request r = request_of(s.path);
    vt_data *whole = open_set(&r);
    put(&s, "a/2.png", "striped/broken.jpg"); /* the same names */
    vt_scratch_write(s.fd, "b/3.png", "", 0);
    expect_refusal(&r, VT_ERR_DATA, ": 2 files cannot be read, and data.max_bad is 0: ");
    expect_refusal(&r, VT_ERR_DATA, "a/2.png: damaged JPEG: ");
    expect_refusal(&r, VT_ERR_DATA, "b/3.png: neither a JPEG nor a PNG (0 bytes)");
    r.max_bad = 1;
    expect_refusal(&r, VT_ERR_DATA, "data.max_bad is 1");
    r.max_bad = 2;
    vt_data *data = open_set(&r);
    const char *warning = vt_data_info_of(data)->warning;
    assert_non_null(strstr(warning, "2 files cannot be read and are left out (data.max_bad: 2)"));
    assert_non_null(strstr(warning, "b/3.png"));
    for (int part = 0; part < VT_PART_COUNT; part++) {
        int64_t left = 0;
        for (int64_t i = 0; i < vt_data_info_of(whole)->n[part]; i++) {
            const char *name = vt_data_item_name(whole, (vt_part)part, i);
            if (strcmp(name, "a/2.png") == 0 || strcmp(name, "b/3.png") == 0)
                continue;
            assert_string_equal(vt_data_item_name(data, (vt_part)part, left), name);
            assert_int_equal(vt_data_image(data, (vt_part)part, left),
                             vt_data_image(whole, (vt_part)part, i));
            left++;
        }
        assert_int_equal(vt_data_info_of(data)->n[part], left);
    }
    vt_data_free(data);
    vt_data_free(whole);
    vt_scratch_free(&s);
}

static void what_is_not_a_file_is_unreadable_without_waiting(void **state)
{
    (void)state;
    static const char kinds[] = {'f', 'd', 's', 'l'};
    for (size_t i = 0; i < sizeof kinds; i++) {
        vt_scratch s = vt_scratch_new();
        put_classes(&s, "", false);
        assert_true(vt_plant(s.fd, "a/5.png", kinds[i], "nothing-here"));
        vt_data_request r = request_of(s.path);
        expect_refusal(&r, VT_ERR_DATA, "1 files cannot be read, and data.max_bad is 0: a/5.png: ");
        vt_scratch_free(&s);
    }
    vt_scratch s = vt_scratch_new();
    put_classes(&s, "", false);
    assert_true(vt_plant(s.fd, "a/5.png", 'l', "1.png"));
    vt_data_request r = request_of(s.path);
    vt_data *data = open_set(&r);
    assert_int_equal(vt_data_info_of(data)->n[VT_PART_TRAIN] + vt_data_info_of(data)->n[2], 9);
    vt_data_free(data);
    vt_scratch_free(&s);
}

static void digest_follows_names_and_bytes(void **state)
{
    (void)state;
    char digest[3][VT_SHA256_HEX_SIZE];
    for (int i = 0; i < 3; i++) {
        vt_scratch s = vt_scratch_new();
        put_classes(&s, "", false);
        if (i == 1)
            put(&s, "a/1.png", "plain/07.jpg");
        if (i == 2)
            assert_int_equal(renameat(s.fd, "a/1.png", s.fd, "a/1.jpg"), 0);
        vt_data_request r = request_of(s.path);
        vt_data *data = open_set(&r);
        strcpy(digest[i], vt_data_info_of(data)->digest);
        vt_data_free(data);
        vt_scratch_free(&s);
    }
    assert_string_not_equal(digest[0], digest[1]);
    assert_string_not_equal(digest[0], digest[2]);
    assert_string_not_equal(digest[1], digest[2]);
}

static void set_lists(vt_data_request *r, int which)
{
    const vt_transform_list lists[][2] = {
        {{.item = {square}, .n = 1}, {.item = {larger, middle}, .n = 2}},
        {{.item = {box, flip}, .n = 2}, {.item = {larger, middle}, .n = 2}},
        {{.item = {larger, box}, .n = 2}, {.item = {square}, .n = 1}},
        {{.item = {flip, larger, middle}, .n = 3}, {.item = {middle}, .n = 1}},
    };
    r->train = lists[which][0];
    r->test = lists[which][1];
}
enum { N_LISTS = 4 };

/* Whether a picture is kept, decoded again or taken by another thread, and what came before. */
static void batches_do_not_depend_on_threads_memory_or_order(void **state)
{
    (void)state;
    enum { N = 19 };
    static float first[2][N][PIXELS], images[N][PIXELS];
    int32_t first_labels[N], labels[N];
    uint32_t items[N];
    for (uint32_t i = 0; i < N; i++)
        items[i] = i * 7 % N;
    for (int which = 0; which < N_LISTS; which++) {
        vt_data_request r = request_of(FOLDER);
        r.max_bad = 1;
        set_lists(&r, which);
        for (int run = 0; run < 5; run++) {
            vt_pool *pool = pool_of(run % 3 + 1);
            vt_pool_shuffle(pool, (uint64_t)run);
            r.keep_bytes = run == 1 ? 1 : run == 2 ? 5000 : 0;
            vt_data *data = open_set(&r);
            for (int augment = 1; augment >= 0; augment--) {
                float(*out)[PIXELS] = run == 0 ? first[augment] : images;
                for (int i = 0; i < N; i += run == 4 ? 1 : N) {
                    int at = run == 4 ? N - 1 - i : 0;
                    vt_error err = {0};
                    if (vt_batch_load(data, pool, VT_PART_TRAIN, augment, 8, 2, items + at,
                                      run == 4 ? 1 : N, out[at],
                                      (run == 0 ? first_labels : labels) + at, &err) != VT_OK)
                        fail_msg("%s", err.text);
                }
                if (run > 0) {
                    assert_memory_equal(images, first[augment], sizeof images);
                    assert_memory_equal(labels, first_labels, sizeof labels);
                }
            }
            vt_pool_free(pool);
            vt_data_free(data);
        }
        assert_memory_not_equal(first[0], first[1], sizeof *first);
    }
}

static void a_feed_hands_out_what_batches_hold(void **state)
{
    (void)state;
    enum { N = 19, BATCH = 5 };
    static const int threads[] = {1, 3, 50, 0};
    static float all[N][PIXELS];
    int32_t labels[N];
    uint32_t items[N];
    vt_pool *pool = pool_of(2);
    for (uint32_t i = 0; i < N; i++)
        items[i] = i * 7 % N;
    for (int which = 0; which < 8; which++) {
        vt_data_request r = request_of(FOLDER);
        vt_error err = {0};
        vt_feed *feed;
        r.max_bad = 1;
        r.keep_bytes = which < 4 ? -1 : 0;
        set_lists(&r, 1);
        vt_data *data = open_set(&r);
        assert_int_equal(vt_feed_new(&feed, data, pool, threads[which % 4], BATCH, &err), VT_OK);
        for (int64_t epoch = 0; epoch < 4; epoch++) {
            bool augment = epoch % 2 == 0, broken_off = epoch == 1;
            assert_int_equal(vt_batch_load(data, pool, VT_PART_TRAIN, augment, 8, epoch, items, N,
                                           *all, labels, &err),
                             VT_OK);
            vt_feed_begin(feed, VT_PART_TRAIN, augment, 8, epoch, items, N);
            for (int64_t at = 0; at < (broken_off ? 2 * BATCH : N); at += BATCH) {
                vt_batch batch;
                assert_int_equal(vt_feed_next(feed, &batch, &err), VT_OK);
                assert_int_equal(batch.n, at + BATCH < N ? BATCH : N - at);
                assert_memory_equal(batch.images, all[at], (size_t)batch.n * sizeof *all);
                assert_memory_equal(batch.labels, labels + at, (size_t)batch.n * sizeof *labels);
            }
        }
        vt_feed_begin(feed, VT_PART_TEST, false, 8, 0, items, 1); /* freed while it loads */
        vt_feed_free(feed);
        vt_data_free(data);
    }
    vt_pool_free(pool);
}

static void a_feed_fails_at_the_batch_that_cannot_be_read(void **state)
{
    (void)state;
    const uint32_t items[] = {0, 1, 2, 3, 4, 5, 6, 7};
    vt_scratch s = vt_scratch_new();
    vt_pool *pool = pool_of(2);
    vt_feed *feed;
    vt_batch batch;
    put_classes(&s, "train/", false);
    put(&s, "test/a/1.png", "plain/00.png");
    vt_data_request r = request_of(s.path);
    r.keep_bytes = -1;
    vt_data *data = open_set(&r);
    assert_string_equal(vt_data_item_name(data, VT_PART_TRAIN, 5), "train/b/3.png");
    assert_int_equal(unlinkat(s.fd, "train/b/3.png", 0), 0);
    assert_int_equal(vt_feed_new(&feed, data, pool, 2, 2, NULL), VT_OK);
    vt_feed_begin(feed, VT_PART_TRAIN, true, 1, 1, items, 8);
    for (int i = 0; i < 4; i++) {
        vt_error err = {0};
        assert_int_equal(vt_feed_next(feed, &batch, &err), i == 2 ? VT_ERR_NOINPUT : VT_OK);
        assert_int_equal(strstr(err.text, "/train/b/3.png: cannot be opened") != NULL, i == 2);
    }
    vt_feed_free(feed);
    vt_data_free(data);
    vt_pool_free(pool);
    vt_scratch_free(&s);
}

static void an_item_is_what_the_test_transforms_make_of_its_file(void **state)
{
    (void)state;
    vt_pool *pool = pool_of(2);
    for (int which = 0; which < N_LISTS; which++) {
        vt_data_request r = request_of(FOLDER);
        r.max_bad = 1;
        r.mean[0] = 0.25f;
        set_lists(&r, which);
        vt_data *data = open_set(&r);
        for (uint32_t i = 0; i < 4; i++) {
            char path[200], *bytes;
            size_t size;
            vt_image image = {0};
            uint8_t pixels[PIXELS];
            float prepared[PIXELS], loaded[PIXELS];
            vt_error err = {0};
            snprintf(path, sizeof path, FOLDER "/%s", vt_data_item_name(data, VT_PART_TEST, i));
            assert_int_equal(vt_fs_read_file(AT_FDCWD, path, 1 << 20, &bytes, &size, &err), VT_OK);
            assert_int_equal(vt_image_decode(&image, bytes, size, path, &err), VT_OK);
            assert_int_equal(vt_data_prepare(&r, SIDE, &image, prepared, &err), VT_OK);
            assert_int_equal(
                vt_batch_load(data, pool, VT_PART_TEST, false, 1, 1, &i, 1, loaded, NULL, &err),
                VT_OK);
            assert_memory_equal(prepared, loaded, sizeof loaded);
            assert_int_equal(vt_data_picture(data, VT_PART_TEST, i, pixels, NULL, &err), VT_OK);
            for (int j = 0; j < PIXELS; j++)
                assert_true(loaded[j] == (float)pixels[j] / 255.0f - (j % 3 ? 0 : 0.25f));
            vt_image_release(&image);
            vt_free(bytes);
        }
        vt_data_free(data);
    }
    vt_pool_free(pool);
}

static void kept_pictures_need_their_files_no_more(void **state)
{
    (void)state;
    static float images[8][PIXELS], again[8][PIXELS];
    const uint32_t items[] = {0, 1, 2, 3, 4, 5, 6, 7};
    for (int keep = 0; keep < 2; keep++) {
        vt_scratch s = vt_scratch_new();
        vt_pool *pool = pool_of(2);
        vt_error err = {0};
        put_classes(&s, "train/", false);
        put(&s, "test/a/1.png", "plain/00.png");
        vt_data_request r = request_of(s.path);
        set_lists(&r, 1);
        r.keep_bytes = !keep;
        vt_data *data = open_set(&r);
        assert_int_equal(
            vt_batch_load(data, pool, VT_PART_TRAIN, true, 1, 1, items, 8, *images, NULL, &err),
            VT_OK);
        assert_int_equal(unlinkat(s.fd, "train/b/1.png", 0), 0);
        put(&s, "train/b/2.png", "plain/08.png");
        vt_status status =
            vt_batch_load(data, pool, VT_PART_TRAIN, true, 1, 1, items, 8, *again, NULL, &err);
        if (keep) {
            assert_int_equal(status, VT_OK);
            assert_memory_equal(images, again, sizeof images);
        } else {
            assert_int_equal(status, VT_ERR_NOINPUT);
            assert_non_null(strstr(err.text, s.path));
            assert_non_null(strstr(err.text, "/train/b/1.png: cannot be opened"));
            vt_error other = {0};
            uint32_t changed = 3;
            assert_int_equal(vt_batch_load(data, pool, VT_PART_TRAIN, true, 1, 1, &changed, 1,
                                           *again, NULL, &other),
                             VT_ERR_DATA);
            assert_non_null(strstr(other.text, "train/b/2.png: has changed since"));
        }
        vt_data_free(data);
        vt_pool_free(pool);
        vt_scratch_free(&s);
    }
}

static void later_batches_take_no_memory(void **state)
{
    (void)state;
    static float images[16][PIXELS];
    uint32_t items[16];
    vt_pool *pool = pool_of(1);
    vt_data_request r = request_of(FOLDER);
    r.max_bad = 1;
    for (uint32_t i = 0; i < 16; i++)
        items[i] = i;
    for (int which = 0; which < N_LISTS; which++) {
        set_lists(&r, which);
        vt_data *data = open_set(&r);
        uint64_t before = 0;
        for (int64_t epoch = 0; epoch < 20; epoch++) {
            before = epoch == 10 ? vt_mem_count() : before;
            assert_int_equal(vt_batch_load(data, pool, VT_PART_TRAIN, true, 1, epoch, items, 16,
                                           *images, NULL, NULL),
                             VT_OK);
        }
        assert_int_equal(vt_mem_count(), before);
        vt_data_free(data);
    }
    vt_pool_free(pool);
}

static void running_out_of_memory_is_reported(void **state)
{
    (void)state;
    static float images[4][PIXELS];
    const uint32_t items[] = {0, 1, 2, 3};
    vt_pool *pool = pool_of(1);
    vt_data_request r = request_of(FOLDER);
    int failures = 0;
    r.max_bad = 1;
    r.keep_bytes = 1;
    set_lists(&r, 2);
    for (uint64_t at = 1; at < 1000; at++) {
        vt_data *data;
        vt_error err = {0};
        vt_mem_fail_at(at, 0);
        vt_status status = vt_data_open(&data, &r, pool, &err);
        if (status == VT_OK)
            status =
                vt_batch_load(data, pool, VT_PART_TRAIN, true, 1, 1, items, 4, *images, NULL, &err);
        vt_mem_fail_at(0, 0);
        vt_data_free(data);
        if (status == VT_OK)
            break;
        if (status != VT_ERR_NOMEM)
            fail_msg("%d, %s", (int)status, err.text);
        failures++;
    }
    assert_in_range(failures, 50, 998);
    vt_pool_free(pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_split_folder_is_taken_as_it_is),
        cmocka_unit_test(test_goes_before_val_and_a_warning_says_so),
        cmocka_unit_test(the_file_systems_order_does_not_show),
        cmocka_unit_test(a_share_of_each_class_becomes_the_test_part),
        cmocka_unit_test(a_validation_part_and_limits_are_taken_as_elsewhere),
        cmocka_unit_test(what_does_not_fit_is_refused_by_name),
        cmocka_unit_test(names_that_cannot_be_shown_are_refused),
        cmocka_unit_test(unreadable_files_are_counted_and_move_no_other),
        cmocka_unit_test(what_is_not_a_file_is_unreadable_without_waiting),
        cmocka_unit_test(digest_follows_names_and_bytes),
        cmocka_unit_test(batches_do_not_depend_on_threads_memory_or_order),
        cmocka_unit_test(a_feed_hands_out_what_batches_hold),
        cmocka_unit_test(a_feed_fails_at_the_batch_that_cannot_be_read),
        cmocka_unit_test(an_item_is_what_the_test_transforms_make_of_its_file),
        cmocka_unit_test(kept_pictures_need_their_files_no_more),
        cmocka_unit_test(later_batches_take_no_memory),
        cmocka_unit_test(running_out_of_memory_is_reported),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
