/* The sampler and the batch: which items, and how they are packed. */
#include "base/mem.h"
#include "base/rng.h"
#include "data/folder.h"
#include "data/set.h"

#include <string.h>

enum { IMAGES_PER_CHUNK = 4 };

void vt_sampler_order(const vt_data *data, vt_part part, bool shuffle, uint64_t seed, int64_t epoch,
                      uint32_t *order)
{
    uint32_t n = (uint32_t)data->info.n[part];
    if (shuffle) {
        vt_rng rng = vt_rng_at(seed, VT_STREAM_SHUFFLE, part, (uint32_t)epoch, 0);
        vt_rng_shuffle(&rng, order, n);
    } else {
        for (uint32_t i = 0; i < n; i++)
            order[i] = i;
    }
}

vt_easel *vt_easel_take(const vt_data *data)
{
    vt_easels *shelf = data->easels;
    pthread_mutex_lock(&shelf->lock);
    vt_easel *easel = shelf->first;
    if (easel)
        shelf->first = easel->next;
    pthread_mutex_unlock(&shelf->lock);
    return easel ? easel : vt_calloc(1, sizeof *easel);
}

void vt_easel_give_back(const vt_data *data, vt_easel *easel)
{
    vt_easels *shelf = data->easels;
    if (!easel)
        return;
    pthread_mutex_lock(&shelf->lock);
    easel->next = shelf->first;
    shelf->first = easel;
    pthread_mutex_unlock(&shelf->lock);
}

/* One image transformed: where its pixels are, and the moves that remain to be shown. */
static vt_status transform(const vt_data *data, vt_easel *easel, uint32_t image,
                           const vt_transform_list *list, vt_draw draw, vt_picture *picture,
                           vt_view *view, vt_error *err)
{
    int first = 0;
    draw.image = image;
    if (data->images) {
        *picture = (vt_picture){data->images + (int64_t)image * data->stored.height *
                                                   data->stored.width * data->info.channels,
                                data->stored};
    } else if (data->photos[image].kept_for == list) {
        *picture = data->photos[image].kept;
        first = vt_transforms_fixed(list);
    } else {
        vt_status status = vt_folder_decode(data, image, easel, err);
        if (status != VT_OK)
            return status;
        *picture = (vt_picture){easel->image.pixels, {easel->image.height, easel->image.width}};
    }
    return vt_picture_transform(easel, list, first, list->n, draw, picture, view, err);
}

struct batch {
    const vt_data *data;
    const vt_transform_list *transforms;
    vt_part part;
    vt_draw draw;
    const uint32_t *items;
    float *images;
    int32_t *labels;
    bool moves_only; /* needs no memory */

    pthread_mutex_t lock;
    int64_t failed; /* first item of the batch that failed, or n */
    vt_error err;
};

static vt_status load_image(const struct batch *b, vt_easel *easel, int64_t i, vt_error *err)
{
    const vt_data_info *info = &b->data->info;
    uint32_t image = vt_data_image(b->data, b->part, b->items[i]);
    vt_picture picture;
    vt_view view;
    vt_status status =
        transform(b->data, easel, image, b->transforms, b->draw, &picture, &view, err);
    if (status != VT_OK)
        return status;
    VT_ASSERT(view.y.size == info->height && view.x.size == info->width);
    vt_picture_normalise(&picture, &view, &b->data->levels,
                         b->images + i * info->height * info->width * info->channels);
    if (b->labels)
        b->labels[i] = b->data->labels[image];
    return VT_OK;
}

static void note_failure(struct batch *b, int64_t i, const vt_error *err)
{
    pthread_mutex_lock(&b->lock);
    if (i < b->failed) {
        b->failed = i;
        b->err = *err;
    }
    pthread_mutex_unlock(&b->lock);
}

static void load_images(void *arg, int64_t first, int64_t last, int worker)
{
    struct batch *b = arg;
    vt_easel *easel = b->moves_only ? NULL : vt_easel_take(b->data);
    (void)worker;
    for (int64_t i = first; i < last; i++) {
        vt_error err = {0};
        if (!easel && !b->moves_only)
            vt_fail(&err, VT_ERR_NOMEM, "no memory to transform pictures");
        if (err.status != VT_OK || load_image(b, easel, i, &err) != VT_OK)
            note_failure(b, i, &err);
    }
    vt_easel_give_back(b->data, easel);
}

static bool only_moves(const vt_transform_list *list)
{
    for (int i = 0; i < list->n; i++)
        if (list->item[i].kind == VT_TRANSFORM_RESIZE ||
            list->item[i].kind == VT_TRANSFORM_RANDOM_RESIZED_CROP)
            return false;
    return true;
}

vt_status vt_batch_load(const vt_data *data, vt_pool *pool, vt_part part, bool augment,
                        uint64_t seed, int64_t epoch, const uint32_t *items, int64_t n,
                        float *images, int32_t *labels, vt_error *err)
{
    struct batch b = {.data = data,
                      .transforms = augment ? &data->train : &data->test,
                      .part = part,
                      .draw = {.seed = seed, .epoch = epoch},
                      .items = items,
                      .images = images,
                      .labels = labels,
                      .lock = PTHREAD_MUTEX_INITIALIZER,
                      .failed = n};
    b.moves_only = data->images && only_moves(b.transforms);
    vt_grid_run(pool, n, b.moves_only ? IMAGES_PER_CHUNK : 1, load_images, &b);
    return b.failed == n ? VT_OK : vt_fail(err, b.err.status, "%s", b.err.text);
}

vt_status vt_data_picture(const vt_data *data, vt_part part, int64_t item, uint8_t *pixels,
                          int *label, vt_error *err)
{
    uint32_t image = vt_data_image(data, part, item);
    vt_easel *easel = vt_easel_take(data);
    vt_picture picture;
    vt_view view;
    if (!easel)
        return vt_fail(err, VT_ERR_NOMEM, "no memory to transform pictures");
    vt_status status =
        transform(data, easel, image, &data->test, (vt_draw){0}, &picture, &view, err);
    if (status == VT_OK)
        vt_picture_copy(&picture, &view, pixels);
    vt_easel_give_back(data, easel);
    if (label)
        *label = data->labels[image];
    return status;
}

vt_status vt_data_prepare(const vt_data_request *request, int64_t side, const vt_image *image,
                          float *out, vt_error *err)
{
    const vt_transform_list square = {
        .item = {{.kind = VT_TRANSFORM_RESIZE, .height = side, .width = side}}, .n = 1};
    vt_levels levels = vt_levels_of(request->mean, request->std);
    vt_picture picture = {image->pixels, {image->height, image->width}};
    vt_draw draw = {.seed = request->seed};
    vt_easel easel = {0}, last = {0};
    vt_view view;
    uint8_t *pixels = NULL;
    vt_status status = vt_picture_transform(&easel, &request->test, 0, request->test.n, draw,
                                            &picture, &view, err);
    if (status != VT_OK)
        goto out;
    if (view.y.size != side || view.x.size != side) {
        pixels = vt_calloc((size_t)(view.y.size * view.x.size), VT_DATA_MAX_CHANNELS);
        if (!pixels) {
            status = vt_fail(err, VT_ERR_NOMEM, "no memory to resize a picture");
            goto out;
        }
        vt_picture_copy(&picture, &view, pixels);
        picture = (vt_picture){pixels, {view.y.size, view.x.size}};
        status = vt_picture_transform(&last, &square, 0, 1, draw, &picture, &view, err);
    }
    if (status == VT_OK)
        vt_picture_normalise(&picture, &view, &levels, out);
out:
    vt_free(pixels);
    vt_easel_release(&last);
    vt_easel_release(&easel);
    return status;
}
