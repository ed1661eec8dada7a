/* Decoding, resizing and cutting pictures, held against Pillow and torchvision (tests/fixtures/
 * images, made by scripts/reference/images.py), and what damaged files do. */
#include "base/fs.h"
#include "base/hash.h"
#include "base/mem.h"
#include "base/rng.h"
#include "data/data.h"
#include "data/decode.h"
#include "data/resize.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <fcntl.h>

#include <cmocka.h>

#define FOLDER "tests/fixtures/images/"

typedef struct blob {
    char *bytes;
    size_t size;
} blob;

static blob read_blob(const char *name)
{
    char path[200];
    vt_error err = {0};
    blob b;
    snprintf(path, sizeof path, FOLDER "%s", name);
    if (vt_fs_read_file(AT_FDCWD, path, 1 << 20, &b.bytes, &b.size, &err) != VT_OK)
        fail_msg("%s", err.text);
    return b;
}

static FILE *open_table(const char *name)
{
    char path[200];
    snprintf(path, sizeof path, FOLDER "%s", name);
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    return file;
}

static void expect_pixels(const char *what, const uint8_t *pixels, vt_size size, long long height,
                          long long width, const char *sha256)
{
    uint8_t digest[VT_SHA256_SIZE];
    char hex[VT_SHA256_HEX_SIZE];
    if (size.height != height || size.width != width)
        fail_msg("%s: %lld x %lld, expected %lld x %lld", what, (long long)size.height,
                 (long long)size.width, height, width);
    vt_sha256_of(pixels, (size_t)(height * width * 3), digest);
    vt_sha256_hex(digest, hex);
    if (strcmp(hex, sha256) != 0)
        fail_msg("%s: other pixels than expected", what);
}

static void files_of_every_kind_have_pillows_pixels(void **state)
{
    (void)state;
    FILE *table = open_table("decoded.txt");
    char name[100], sha256[VT_SHA256_HEX_SIZE];
    long long height, width;
    vt_image image = {0};
    int n = 0;
    while (fscanf(table, "%99s %lld %lld %64s", name, &height, &width, sha256) == 4) {
        vt_error err = {0};
        blob file = read_blob(name);
        if (vt_image_decode(&image, file.bytes, file.size, name, &err) != VT_OK)
            fail_msg("%s", err.text);
        expect_pixels(name, image.pixels, (vt_size){image.height, image.width}, height, width,
                      sha256);
        vt_free(file.bytes);
        n++;
    }
    assert_true(n >= 40);
    vt_image_release(&image);
    fclose(table);
}

static const char *const some[] = {"rgb8.png",       "palette4.png", "grey_alpha16.png",
                                   "rgb8_exif6.png", "420.jpg",      "420_progressive.jpg",
                                   "cmyk.jpg",       "exif6.jpg",    "restarts.jpg"};
enum { N_SOME = sizeof some / sizeof *some };

/* A copy of exactly n bytes, so that sanitizers see a read beyond them. */
static vt_status decode_copy(const void *bytes, size_t n, vt_error *err)
{
    vt_image image = {0};
    void *copy = malloc(n ? n : 1);
    assert_non_null(copy);
    memcpy(copy, bytes, n);
    memset(err, 0, sizeof *err);
    vt_status status = vt_image_decode(&image, copy, n, "cut", err);
    assert_true(status == VT_OK || (status == VT_ERR_DATA && strncmp(err->text, "cut: ", 5) == 0));
    assert_true(status == VT_OK ? image.height > 0 : image.height == 0 && image.width == 0);
    vt_image_release(&image);
    free(copy);
    return status;
}

/* All but the end marker of a JPEG, which no pixel needs. */
static void a_file_cut_short_is_an_error(void **state)
{
    (void)state;
    for (int i = 0; i < N_SOME; i++) {
        blob file = read_blob(some[i]);
        vt_error err;
        size_t needed = file.size - (strstr(some[i], ".jpg") ? 2 : 0);
        for (size_t n = 0; n < needed; n++)
            if (decode_copy(file.bytes, n, &err) == VT_OK)
                fail_msg("%s: the first %zu of %zu bytes are accepted", some[i], n, file.size);
        assert_int_equal(decode_copy(file.bytes, file.size, &err), VT_OK);
        vt_free(file.bytes);
    }
}

static void damaged_files_decode_or_are_refused(void **state)
{
    (void)state;
    vt_rng rng = vt_rng_at(3, VT_STREAM_TEST, 0, 0, 0);
    uint64_t draw = 0;
    int refused = 0;
    for (int i = 0; i < N_SOME; i++) {
        blob file = read_blob(some[i]);
        for (int trial = 0; trial < 150; trial++) {
            char *copy = malloc(file.size);
            vt_error err;
            memcpy(copy, file.bytes, file.size);
            for (int j = 0; j <= trial % 4; j++, draw++)
                copy[vt_rng_below(&rng, draw, file.size)] = (char)vt_rng_u32(&rng, 9000000 + draw);
            refused += decode_copy(copy, file.size, &err) != VT_OK;
            free(copy);
        }
        vt_free(file.bytes);
    }
    assert_true(refused > 100);
}

static void put_big(char *at, uint32_t value, int bytes)
{
    for (int i = 0; i < bytes; i++)
        at[i] = (char)(value >> 8 * (bytes - 1 - i));
}

static void sizes_beyond_the_limits_are_refused_before_any_memory_is_taken(void **state)
{
    (void)state;
    static const struct {
        uint32_t height, width;
    } sizes[] = {{16385, 1}, {1, 16385}, {16384, 16384}, {65500, 65500}};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        vt_error err;
        blob png = read_blob("rgb8.png"), jpeg = read_blob("420.jpg");
        put_big(png.bytes + 16, sizes[i].width, 4);
        put_big(png.bytes + 20, sizes[i].height, 4);
        put_big(png.bytes + 29, vt_crc32(0, png.bytes + 12, 17), 4);
        char *frame = memmem(jpeg.bytes, jpeg.size, "\xff\xc0\0\x11\x08", 5);
        assert_non_null(frame);
        put_big(frame + 5, sizes[i].height, 2);
        put_big(frame + 7, sizes[i].width, 2);
        uint64_t before = vt_mem_count();
        assert_int_equal(decode_copy(png.bytes, png.size, &err), VT_ERR_DATA);
        assert_int_equal(decode_copy(jpeg.bytes, jpeg.size, &err), VT_ERR_DATA);
        assert_non_null(strstr(err.text, "allowed: sides from 1 to 16384"));
        assert_int_equal(vt_mem_count(), before);
        vt_free(png.bytes);
        vt_free(jpeg.bytes);
    }
}

/* A progressive JPEG of a thousand scans of the same coefficients. */
static void a_jpeg_of_very_many_scans_is_refused(void **state)
{
    (void)state;
    blob file = read_blob("420_progressive.jpg");
    char *scan = memmem(file.bytes, file.size, "\xff\xda", 2);
    assert_non_null(scan);
    char *end = memmem(scan + 2, file.size - (size_t)(scan + 2 - file.bytes), "\xff\xc4", 2);
    assert_non_null(end);
    size_t head = (size_t)(scan - file.bytes), length = (size_t)(end - scan), size = head;
    char *many = malloc(head + 1000 * length + 2);
    memcpy(many, file.bytes, head);
    for (int i = 0; i < 1000; i++, size += length)
        memcpy(many + size, scan, length);
    memcpy(many + size, "\xff\xd9", 2);
    vt_error err;
    assert_int_equal(decode_copy(many, size + 2, &err), VT_ERR_DATA);
    free(many);
    vt_free(file.bytes);
}

static void other_files_are_refused_by_name(void **state)
{
    (void)state;
    vt_error err;
    static const char *const others[] = {"", "a", "GIF89a....", "RIFF....WEBP", "\xff\xd8\x01\x02"};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        assert_int_equal(decode_copy(others[i], strlen(others[i]), &err), VT_ERR_DATA);
        assert_non_null(strstr(err.text, "cut: neither a JPEG nor a PNG"));
    }
}

static void exif_data_that_make_no_sense_leave_a_picture_upright(void **state)
{
    (void)state;
    static const char little[] = "II*\0\x08\0\0\0\x02\0"
                                 "\x0f\x01\x02\0\x04\0\0\0abc\0"
                                 "\x12\x01\x03\0\x01\0\0\0\x08\0\0\0";
    uint8_t exif[sizeof little - 1];
    memcpy(exif, little, sizeof exif);
    assert_int_equal(vt_exif_orientation(exif, sizeof exif), 8);
    for (size_t n = 0; n < sizeof exif - 4; n++) {
        uint8_t *cut = malloc(n ? n : 1);
        memcpy(cut, exif, n);
        assert_int_equal(vt_exif_orientation(cut, n), 1);
        free(cut);
    }
    static const struct {
        size_t at;
        uint8_t value;
    } changes[] = {{0, 'M'}, {2, 43}, {5, 1},  {7, 0xff}, {24, 4},
                   {26, 2},  {30, 0}, {30, 9}, {31, 1}};
    for (size_t i = 0; i < sizeof changes / sizeof *changes; i++) {
        memcpy(exif, little, sizeof exif);
        exif[changes[i].at] = changes[i].value;
        assert_int_equal(vt_exif_orientation(exif, sizeof exif), 1);
    }
}

/* The picture that a row of resized.txt starts from. */
static void load_source(vt_image *image, long long height, long long width)
{
    for (int i = 0; i < 4; i++) {
        char name[40];
        vt_error err = {0};
        snprintf(name, sizeof name, "source%d.png", i);
        blob file = read_blob(name);
        if (vt_image_decode(image, file.bytes, file.size, name, &err) != VT_OK)
            fail_msg("%s", err.text);
        vt_free(file.bytes);
        if (image->height == height && image->width == width)
            return;
    }
    fail_msg("no picture of %lld x %lld", height, width);
}

static const vt_data_request bytes_request = {.std = {1, 1, 1}};

/* The bytes that a transform makes, through the loader's own path. The picture must become a
 * square there, so the transform's result is padded with black to `side`. */
static void apply(const vt_transform *t, const vt_image *image, vt_size size, uint8_t *out)
{
    int64_t side = size.height > size.width ? size.height : size.width;
    vt_data_request request = bytes_request;
    request.test.item[0] = *t;
    request.test.item[1] =
        (vt_transform){.kind = VT_TRANSFORM_CENTER_CROP, .height = side, .width = side};
    request.test.n = 2;
    float *values = malloc((size_t)(side * side * 3) * sizeof *values);
    vt_error err = {0};
    if (vt_data_prepare(&request, side, image, values, &err) != VT_OK)
        fail_msg("%s", err.text);
    int64_t top = (side - size.height) / 2, left = (side - size.width) / 2;
    for (int64_t y = 0; y < size.height; y++)
        for (int64_t i = 0; i < size.width * 3; i++)
            *out++ = (uint8_t)(values[((y + top) * side + left) * 3 + i] * 255.0f + 0.5f);
    free(values);
}

static void resizes_and_crops_have_torchvisions_bytes(void **state)
{
    (void)state;
    FILE *table = open_table("resized.txt");
    char kind[20], sha256[VT_SHA256_HEX_SIZE], what[200];
    long long from[2], to[2], box[4], size[2];
    vt_image image = {0};
    vt_resizer resizer = {0};
    int n = 0;
    while (fscanf(table, "%19s %lld %lld %lld %lld %lld %lld %lld %lld %lld %lld %64s", kind,
                  &from[0], &from[1], &to[0], &to[1], &box[0], &box[1], &box[2], &box[3], &size[0],
                  &size[1], sha256) == 12) {
        snprintf(what, sizeof what, "%s of %lld x %lld to %lld, %lld", kind, from[0], from[1],
                 to[0], to[1]);
        load_source(&image, from[0], from[1]);
        uint8_t *out = malloc((size_t)(size[0] * size[1] * 3));
        vt_transform t = {.kind = VT_TRANSFORM_RESIZE, .height = to[0], .width = to[1]};
        if (strcmp(kind, "middle") == 0)
            t.kind = VT_TRANSFORM_CENTER_CROP;
        vt_transform_list list = {.item = {t}, .n = 1};
        vt_size made = vt_transforms_size(&list, 1, (vt_size){from[0], from[1]});
        if (strcmp(kind, "box") == 0)
            assert_true(vt_resizer_run(&resizer, image.pixels, image.width,
                                       (vt_box){box[0], box[1], box[2], box[3]}, made, out));
        else
            apply(&t, &image, made, out);
        expect_pixels(what, out, made, size[0], size[1], sha256);
        free(out);
        n++;
    }
    assert_true(n >= 50);
    vt_resizer_release(&resizer);
    vt_image_release(&image);
    fclose(table);
}

static void random_boxes_follow_torchvisions_rule(void **state)
{
    (void)state;
    FILE *table = open_table("boxes.txt");
    long long from[2], expected[4];
    double scale[2], ratio[2], u, v;
    int n = 0, middles = 0;
    while (fscanf(table, "%lld %lld %lf %lf %lf %lf %la %la %lld %lld %lld %lld", &from[0],
                  &from[1], &scale[0], &scale[1], &ratio[0], &ratio[1], &u, &v, &expected[0],
                  &expected[1], &expected[2], &expected[3]) == 12) {
        vt_transform t = {.kind = VT_TRANSFORM_RANDOM_RESIZED_CROP,
                          .scale = {scale[0], scale[1]},
                          .ratio = {ratio[0], ratio[1]}};
        vt_size size = {from[0], from[1]};
        vt_box box = {0};
        if (!vt_crop_try(&t, size, u, v, &box)) {
            box = vt_crop_middle(&t, size);
            middles++;
        }
        assert_int_equal(box.top, expected[0]);
        assert_int_equal(box.left, expected[1]);
        assert_int_equal(box.height, expected[2]);
        assert_int_equal(box.width, expected[3]);
        n++;
    }
    assert_true(n >= 80 && middles >= 20 && middles < n);
    fclose(table);
}

static void random_boxes_lie_inside_and_cover_the_range(void **state)
{
    (void)state;
    const vt_transform t = {.kind = VT_TRANSFORM_RANDOM_RESIZED_CROP,
                            .height = 8,
                            .width = 8,
                            .scale = {0.1, 0.6},
                            .ratio = {0.75, 4.0 / 3}};
    const vt_size size = {120, 160};
    int corner[2][2] = {{0}};
    double least = 1, most = 0, sum = 0;
    enum { N = 4000 };
    for (uint32_t image = 0; image < N; image++) {
        vt_box box = vt_crop_box(&t, 1, size, (vt_draw){5, 2, image});
        vt_box again = vt_crop_box(&t, 1, size, (vt_draw){5, 2, image});
        assert_memory_equal(&box, &again, sizeof box);
        assert_true(box.top >= 0 && box.left >= 0 && box.height > 0 && box.width > 0);
        assert_true(box.top + box.height <= 120 && box.left + box.width <= 160);
        double area = (double)(box.height * box.width) / (120 * 160);
        least = area < least ? area : least;
        most = area > most ? area : most;
        sum += area;
        corner[2 * box.top > 120 - box.height][2 * box.left > 160 - box.width]++;
    }
    assert_true(least > 0.09 && least < 0.11 && most > 0.59 && most < 0.61);
    assert_true(sum / N > 0.34 && sum / N < 0.36);
    for (int i = 0; i < 4; i++)
        assert_in_range(corner[i / 2][i % 2], N / 4 - 150, N / 4 + 150);
    /* another place, seed, epoch: another box */
    vt_box box = vt_crop_box(&t, 1, size, (vt_draw){5, 2, 9});
    const vt_box others[] = {
        vt_crop_box(&t, 0, size, (vt_draw){5, 2, 9}), vt_crop_box(&t, 1, size, (vt_draw){6, 2, 9}),
        vt_crop_box(&t, 1, size, (vt_draw){5, 3, 9}), vt_crop_box(&t, 1, size, (vt_draw){5, 2, 8})};
    for (int i = 0; i < 4; i++)
        assert_memory_not_equal(&box, &others[i], sizeof box);
}

static void a_picture_is_prepared_as_the_test_part_is(void **state)
{
    (void)state;
    enum { SIDE = 16 };
    vt_image image = {0};
    vt_resizer resizer = {0};
    vt_error err = {0};
    uint8_t expected[SIDE * SIDE * 3];
    float out[SIDE * SIDE * 3];
    load_source(&image, 37, 53);
    vt_data_request request = bytes_request;
    assert_int_equal(vt_data_prepare(&request, SIDE, &image, out, &err), VT_OK);
    assert_true(vt_resizer_run(&resizer, image.pixels, image.width, (vt_box){0, 0, 37, 53},
                               (vt_size){SIDE, SIDE}, expected));
    for (int i = 0; i < SIDE * SIDE * 3; i++)
        assert_true(out[i] == (float)expected[i] / 255.0f);
    /* a list that ends in another size: the sides are brought to the network's */
    request.test =
        (vt_transform_list){.item = {{.kind = VT_TRANSFORM_CENTER_CROP, .height = 20, .width = 30},
                                     {.kind = VT_TRANSFORM_FLIP, .p = 1}},
                            .n = 2};
    request.mean[1] = 0.5f;
    request.std[1] = 0.25f;
    assert_int_equal(vt_data_prepare(&request, SIDE, &image, out, &err), VT_OK);
    uint8_t cut[20 * 30 * 3];
    for (int y = 0; y < 20; y++) /* (37 - 20) / 2 = 8.5 is 8, (53 - 30) / 2 = 11.5 is 12 */
        for (int x = 0; x < 30; x++)
            memcpy(cut + (y * 30 + x) * 3, image.pixels + ((y + 8) * 53 + 12 + 29 - x) * 3, 3);
    assert_true(
        vt_resizer_run(&resizer, cut, 30, (vt_box){0, 0, 20, 30}, (vt_size){SIDE, SIDE}, expected));
    for (int i = 0; i < SIDE * SIDE * 3; i++) {
        float x = (float)expected[i] / 255.0f;
        assert_true(out[i] == (i % 3 == 1 ? (x - 0.5f) / 0.25f : x));
    }
    vt_resizer_release(&resizer);
    vt_image_release(&image);
}

static void a_sliver_that_would_become_a_giant_is_refused(void **state)
{
    (void)state;
    static uint8_t pixels[9000 * 3];
    const vt_image image = {.height = 1, .width = 9000, .pixels = pixels};
    vt_data_request request = bytes_request;
    vt_error err = {0};
    float out[8 * 8 * 3];
    request.test =
        (vt_transform_list){.item = {{.kind = VT_TRANSFORM_RESIZE, .height = 8}}, .n = 1};
    assert_int_equal(vt_data_prepare(&request, 8, &image, out, &err), VT_ERR_DATA);
    assert_non_null(strstr(err.text, "9000 x 1 pixels would become one of 72000 x 8"));
}

static void no_memory_at_any_point_is_an_error_and_nothing_worse(void **state)
{
    (void)state;
    vt_data_request request = bytes_request;
    request.test =
        (vt_transform_list){.item = {{.kind = VT_TRANSFORM_RESIZE, .height = 10},
                                     {.kind = VT_TRANSFORM_CENTER_CROP, .height = 9, .width = 9},
                                     {.kind = VT_TRANSFORM_RESIZE, .height = 12, .width = 7}},
                            .n = 3};
    int failures = 0;
    for (uint64_t at = 1; at < 100; at++) {
        vt_image image = {0};
        vt_error err = {0};
        float out[16 * 16 * 3];
        blob file = read_blob("exif6.jpg");
        vt_mem_fail_at(at, 0);
        vt_status status = vt_image_decode(&image, file.bytes, file.size, "a", &err);
        if (status == VT_OK)
            status = vt_data_prepare(&request, 16, &image, out, &err);
        vt_mem_fail_at(0, 0);
        vt_image_release(&image);
        vt_free(file.bytes);
        if (status == VT_OK)
            break;
        assert_int_equal(status, VT_ERR_NOMEM);
        failures++;
    }
    assert_true(failures > 5 && failures < 99);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(files_of_every_kind_have_pillows_pixels),
        cmocka_unit_test(a_file_cut_short_is_an_error),
        cmocka_unit_test(damaged_files_decode_or_are_refused),
        cmocka_unit_test(sizes_beyond_the_limits_are_refused_before_any_memory_is_taken),
        cmocka_unit_test(a_jpeg_of_very_many_scans_is_refused),
        cmocka_unit_test(other_files_are_refused_by_name),
        cmocka_unit_test(exif_data_that_make_no_sense_leave_a_picture_upright),
        cmocka_unit_test(resizes_and_crops_have_torchvisions_bytes),
        cmocka_unit_test(random_boxes_follow_torchvisions_rule),
        cmocka_unit_test(random_boxes_lie_inside_and_cover_the_range),
        cmocka_unit_test(a_picture_is_prepared_as_the_test_part_is),
        cmocka_unit_test(a_sliver_that_would_become_a_giant_is_refused),
        cmocka_unit_test(no_memory_at_any_point_is_an_error_and_nothing_worse),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
