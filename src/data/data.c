#include "data/data.h"

#include "base/mem.h"
#include "base/rng.h"
#include "data/cifar.h"
#include "data/folder.h"
#include "data/set.h"
#include "data/shapes.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

const char *vt_part_name(vt_part part)
{
    static const char *const names[VT_PART_COUNT] = {"train", "val", "test"};
    return names[part];
}

vt_status vt_data_make_room(vt_data *data, vt_size stored, int64_t classes, int64_t n_train,
                            int64_t n_test, vt_error *err)
{
    vt_data_info *info = &data->info;
    if (data->val < 0 || data->val >= n_train)
        return vt_fail(err, VT_ERR_CONFIG,
                       "data.val: %" PRId64 " of the %" PRId64 " training images of %s cannot be "
                       "held out; expected 0 to %" PRId64,
                       data->val, n_train, info->name, n_train - 1);
    info->channels = VT_DATA_MAX_CHANNELS;
    info->classes = classes;
    data->stored = stored;
    data->n_train = n_train;
    data->n_images = n_train + n_test;
    data->images_size = (size_t)(data->n_images * stored.height * stored.width * info->channels);
    if (data->images_size)
        data->images = vt_block_alloc(data->images_size);
    data->labels = vt_calloc((size_t)data->n_images, sizeof *data->labels);
    if ((data->images_size && !data->images) || !data->labels)
        return vt_fail(err, VT_ERR_NOMEM, "no memory for the %" PRId64 " images of %s (%zu bytes)",
                       data->n_images, info->name, data->images_size);
    return VT_OK;
}

/* All labels, which the split needs; the images once it is known which are in use. */
static vt_status make_shapes(vt_data *data, uint64_t seed, vt_error *err)
{
    data->info.name = "shapes";
    data->info.folder = "";
    data->info.class_names = vt_shapes_names;
    data->info.files = data->files;
    data->info.official = true;
    vt_status status = vt_data_make_room(data, (vt_size){VT_SHAPES_SIDE, VT_SHAPES_SIDE},
                                         VT_SHAPES_CLASSES, VT_SHAPES_TRAIN, VT_SHAPES_TEST, err);
    for (int64_t i = 0; i < data->n_images && status == VT_OK; i++) {
        bool test = i >= data->n_train;
        data->labels[i] =
            (uint16_t)vt_shapes_label(seed, test, (uint32_t)(test ? i - data->n_train : i));
    }
    return status;
}

struct drawing {
    const vt_data *data;
    const bool *used; /* (n_images) */
    uint64_t seed;
};

static void draw_images(void *arg, int64_t first, int64_t last, int worker)
{
    const struct drawing *a = arg;
    const vt_data *data = a->data;
    (void)worker;
    for (int64_t i = first; i < last; i++) {
        bool test = i >= data->n_train;
        if (a->used[i])
            vt_shapes_draw(a->seed, test, (uint32_t)(test ? i - data->n_train : i),
                           data->images +
                               i * VT_SHAPES_SIDE * VT_SHAPES_SIDE * VT_DATA_MAX_CHANNELS);
    }
}

/* How many images of each class are held out: rounds over the classes, skipping empty ones. left
 * and quota (classes), zero at first. */
static void share_out(const vt_data *data, int64_t *left, int64_t *quota)
{
    for (int64_t i = 0; i < data->n_train; i++)
        left[data->labels[i]]++;
    for (int64_t taken = 0; taken < data->val;)
        for (int64_t c = 0; c < data->info.classes && taken < data->val; c++)
            if (left[c] > 0) {
                left[c]--;
                quota[c]++;
                taken++;
            }
}

static int64_t limited(int64_t n, int64_t limit)
{
    return limit > 0 && limit < n ? limit : n;
}

/* Of a folder alone: how many images the others have is known before they are opened. */
static vt_status check_limit(const vt_data *data, const char *key, int64_t limit, vt_part part,
                             vt_error *err)
{
    if (!data->photos || limit <= data->info.n[part])
        return VT_OK;
    return vt_fail(err, VT_ERR_CONFIG,
                   "data.%s is %" PRId64 ", and %s has %" PRId64 " %s images%s; 0 takes all", key,
                   limit, data->folder, data->info.n[part],
                   part == VT_PART_TEST ? "test" : "training",
                   part == VT_PART_TRAIN && data->val ? " after data.val" : "");
}

static vt_status split(vt_data *data, const vt_data_request *r, vt_error *err)
{
    vt_status status = VT_OK;
    int64_t n_test = data->n_images - data->n_train, *n = data->info.n;
    int64_t *quota = vt_calloc((size_t)data->info.classes, 2 * sizeof *quota);
    uint32_t *order = vt_calloc((size_t)data->n_train, sizeof *order);
    bool *held_out = vt_calloc((size_t)data->n_train, sizeof *held_out);
    for (int part = 0; part < VT_PART_COUNT; part++) {
        int64_t room = part == VT_PART_TEST ? n_test : data->n_train;
        data->numbers[part] = vt_calloc((size_t)room, sizeof *data->numbers[part]);
        if (!data->numbers[part])
            status = VT_ERR_NOMEM;
    }
    if (status != VT_OK || !quota || !order || !held_out) {
        status = vt_fail(err, VT_ERR_NOMEM, "no memory to split %s", data->info.name);
        goto out;
    }

    share_out(data, quota + data->info.classes, quota);
    vt_rng rng = vt_rng_at(r->seed, VT_STREAM_SPLIT, 0, 0, 0);
    vt_rng_shuffle(&rng, order, (uint32_t)data->n_train);
    for (int64_t i = 0; i < data->n_train; i++)
        held_out[order[i]] = quota[data->labels[order[i]]]-- > 0;
    for (int64_t i = 0; i < data->n_train; i++) {
        vt_part part = held_out[i] ? VT_PART_VAL : VT_PART_TRAIN;
        data->numbers[part][n[part]++] = (uint32_t)i;
    }
    for (int64_t i = 0; i < n_test; i++)
        data->numbers[VT_PART_TEST][i] = (uint32_t)(data->n_train + i);
    n[VT_PART_TEST] = n_test;
    status = check_limit(data, "limit_train", r->limit_train, VT_PART_TRAIN, err);
    if (status == VT_OK)
        status = check_limit(data, "limit_test", r->limit_test, VT_PART_TEST, err);
    n[VT_PART_TRAIN] = limited(n[VT_PART_TRAIN], r->limit_train);
    n[VT_PART_TEST] = limited(n_test, r->limit_test);
out:
    vt_free(quota);
    vt_free(order);
    vt_free(held_out);
    return status;
}

/* Of every image whether a part has it; NULL without memory. */
static bool *find_used(const vt_data *data)
{
    bool *used = vt_calloc((size_t)data->n_images, sizeof *used);
    for (int part = 0; part < VT_PART_COUNT && used; part++)
        for (int64_t i = 0; i < data->info.n[part]; i++)
            used[data->numbers[part][i]] = true;
    return used;
}

static void add_text(vt_sha256 *hash, const char *text)
{
    vt_sha256_add(hash, text, strlen(text));
}

/* Every file that is in a part. */
static void add_photos(const vt_data *data, vt_sha256 *hash)
{
    char hex[VT_SHA256_HEX_SIZE], line[160];
    for (int part = 0; part < VT_PART_COUNT; part++)
        for (int64_t i = 0; i < data->info.n[part]; i++) {
            const vt_photo *photo = &data->photos[data->numbers[part][i]];
            vt_sha256_hex(photo->sha256, hex);
            add_text(hash, photo->name);
            snprintf(line, sizeof line, " %" PRId64 " %s\n", photo->size_bytes, hex);
            add_text(hash, line);
        }
}

/* Labels and bytes of the generated images that are in a part. */
static void add_drawings(const vt_data *data, const bool *used, vt_sha256 *hash)
{
    size_t pixels = data->images_size / (size_t)data->n_images;
    for (int64_t i = 0; i < data->n_images; i++)
        if (used[i]) {
            const uint8_t label = (uint8_t)data->labels[i];
            vt_sha256_add(hash, &label, 1);
        }
    for (int64_t i = 0; i < data->n_images; i++)
        if (used[i])
            vt_sha256_add(hash, data->images + (size_t)i * pixels, pixels);
}

/* `used` for a generated set, which has no files; else NULL. */
static void digest(vt_data *data, const bool *used)
{
    vt_sha256 hash = {0};
    uint8_t bytes[VT_SHA256_SIZE];
    char line[160];
    vt_sha256_init(&hash);
    add_text(&hash, data->info.name);
    if (data->coarse)
        add_text(&hash, " coarse");
    add_text(&hash, "\n");
    for (int i = 0; i < data->info.n_files; i++) {
        const vt_data_file *file = &data->files[i];
        snprintf(line, sizeof line, "%s %" PRId64 " ", file->name, file->size_bytes);
        add_text(&hash, line);
        add_text(&hash, file->sha256);
        add_text(&hash, "\n");
    }
    if (data->photos)
        add_photos(data, &hash);
    if (used)
        add_drawings(data, used, &hash);
    for (int part = 0; part < VT_PART_COUNT; part++) {
        snprintf(line, sizeof line, "%s %" PRId64 "\n", vt_part_name((vt_part)part),
                 data->info.n[part]);
        add_text(&hash, line);
        for (int64_t i = 0; i < data->info.n[part]; i++) {
            uint32_t number = data->numbers[part][i];
            uint8_t word[4] = {(uint8_t)number, (uint8_t)(number >> 8), (uint8_t)(number >> 16),
                               (uint8_t)(number >> 24)};
            vt_sha256_add(&hash, word, sizeof word);
        }
    }
    vt_sha256_finish(&hash, bytes);
    vt_sha256_hex(bytes, data->info.digest);
}

/* The size that both lists bring all images to. */
static vt_status settle_size(vt_data *data, vt_error *err)
{
    vt_size train = vt_transforms_size(&data->train, data->train.n, data->stored);
    vt_size test = vt_transforms_size(&data->test, data->test.n, data->stored);
    data->info.height = train.height;
    data->info.width = train.width;
    if (train.height && train.height == test.height && train.width == test.width)
        return VT_OK;
    return vt_fail(err, VT_ERR_CONFIG,
                   "the transforms do not bring the images of %s to one size: training %" PRId64
                   " x %" PRId64 ", test %" PRId64 " x %" PRId64 " (0: as the picture)",
                   data->info.name, train.height, train.width, test.height, test.width);
}

static vt_status find_images(vt_data *data, const vt_data_request *r, vt_pool *pool, vt_error *err)
{
    if (strcmp(r->name, "cifar10") == 0 || strcmp(r->name, "cifar100") == 0)
        return vt_cifar_read(data, r->name, r->dir, pool, err);
    if (strcmp(r->name, "folder") == 0)
        return vt_folder_find(data, r, err);
    if (strcmp(r->name, "shapes") == 0)
        return make_shapes(data, r->seed, err);
    return vt_fail(err, VT_ERR_CONFIG,
                   "unknown data set '%s'; expected cifar10, cifar100, folder or shapes", r->name);
}

vt_status vt_data_open(vt_data **out, const vt_data_request *r, vt_pool *pool, vt_error *err)
{
    vt_status status;
    bool *used = NULL, shapes = strcmp(r->name, "shapes") == 0;
    *out = NULL;
    vt_data *data = vt_calloc(1, sizeof *data);
    vt_easels *easels = vt_calloc(1, sizeof *easels);
    if (!data || !easels) {
        vt_free(data);
        vt_free(easels);
        return vt_fail(err, VT_ERR_NOMEM, "no memory for the data set");
    }
    pthread_mutex_init(&easels->lock, NULL);
    data->easels = easels;
    data->folder_fd = -1;
    data->val = r->val;
    data->coarse = r->coarse;
    data->train = r->train;
    data->test = r->test;
    data->levels = vt_levels_of(r->mean, r->std);
    status = find_images(data, r, pool, err);
    if (status == VT_OK)
        status = settle_size(data, err);
    if (status == VT_OK)
        status = split(data, r, err);
    if (status == VT_OK && data->photos)
        status = vt_folder_read(data, r, pool, err);
    if (status == VT_OK && shapes) {
        used = find_used(data);
        status = used ? VT_OK : vt_fail(err, VT_ERR_NOMEM, "no memory to draw %s", r->name);
    }
    if (used)
        vt_grid_run(pool, data->n_images, 20, draw_images, &(struct drawing){data, used, r->seed});
    if (status == VT_OK) {
        digest(data, used);
        *out = data;
    } else {
        vt_data_free(data);
    }
    vt_free(used);
    return status;
}

static void free_easels(vt_easels *easels)
{
    for (vt_easel *next, *easel = easels->first; easel; easel = next) {
        next = easel->next;
        vt_easel_release(easel);
        vt_free(easel);
    }
    pthread_mutex_destroy(&easels->lock);
    vt_free(easels);
}

static void free_photos(vt_data *data)
{
    for (int64_t i = 0; data->photos && i < data->n_images; i++) {
        vt_free(data->photos[i].name);
        vt_free((void *)data->photos[i].kept.pixels);
        vt_free(data->photos[i].wrong);
    }
    vt_free(data->photos);
}

void vt_data_free(vt_data *data)
{
    if (!data)
        return;
    for (int part = 0; part < VT_PART_COUNT; part++)
        vt_free(data->numbers[part]);
    free_photos(data);
    free_easels(data->easels);
    vt_free(data->labels);
    vt_block_free(data->images, data->images_size);
    vt_free(data->names);
    vt_free(data->name_text);
    vt_free(data->folder);
    if (data->folder_fd >= 0)
        close(data->folder_fd);
    vt_free(data);
}

const vt_data_info *vt_data_info_of(const vt_data *data)
{
    return &data->info;
}

uint32_t vt_data_image(const vt_data *data, vt_part part, int64_t item)
{
    VT_ASSERT(item >= 0 && item < data->info.n[part]);
    return data->numbers[part][item];
}

void vt_data_split_digest(const vt_data *data, char hex[VT_SHA256_HEX_SIZE])
{
    uint8_t digest[VT_SHA256_SIZE];
    vt_sha256 hash;
    vt_sha256_init(&hash);
    for (int part = 0; part < VT_PART_COUNT; part++) {
        vt_sha256_add(&hash, &data->info.n[part], sizeof data->info.n[part]);
        for (int64_t i = 0; i < data->info.n[part]; i++) {
            uint32_t image = vt_data_image(data, (vt_part)part, i);
            vt_sha256_add(&hash, &image, sizeof image);
        }
    }
    vt_sha256_finish(&hash, digest);
    vt_sha256_hex(digest, hex);
}

const char *vt_data_item_name(const vt_data *data, vt_part part, int64_t item)
{
    return data->photos ? data->photos[vt_data_image(data, part, item)].name : "";
}

const uint8_t *vt_data_item(const vt_data *data, vt_part part, int64_t item, int *label)
{
    int64_t image = vt_data_image(data, part, item);
    if (label)
        *label = data->labels[image];
    if (!data->images)
        return NULL;
    return data->images + image * data->stored.height * data->stored.width * data->info.channels;
}
