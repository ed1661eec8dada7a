/* The sampler, the batch and the feed: which items, how they are packed, and what comes next. */
#include "base/mem.h"
#include "base/rng.h"
#include "data/folder.h"
#include "data/set.h"

#include <string.h>

enum { IMAGES_PER_CHUNK = 4, IMAGES_PER_PICKING = 256 };

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

/* Items [0, n) on their way into a batch. */
struct loading {
    const vt_data *data;
    const vt_transform_list *transforms;
    vt_part part;
    vt_draw draw;
    const uint32_t *items;
    int64_t n;
    float *images;
    int32_t *labels;
    bool moves_only; /* needs no memory */

    pthread_mutex_t lock;
    int64_t failed; /* first item that failed, or n */
    vt_error err;
};

static vt_status load_image(const struct loading *l, vt_easel *easel, int64_t i, vt_error *err)
{
    const vt_data_info *info = &l->data->info;
    uint32_t image = vt_data_image(l->data, l->part, l->items[i]);
    vt_picture picture;
    vt_view view;
    vt_status status =
        transform(l->data, easel, image, l->transforms, l->draw, &picture, &view, err);
    if (status != VT_OK)
        return status;
    VT_ASSERT(view.y.size == info->height && view.x.size == info->width);
    vt_picture_normalise(&picture, &view, &l->data->levels,
                         l->images + i * info->height * info->width * info->channels);
    if (l->labels)
        l->labels[i] = l->data->labels[image];
    return VT_OK;
}

static void note_failure(struct loading *l, int64_t i, const vt_error *err)
{
    pthread_mutex_lock(&l->lock);
    if (i < l->failed) {
        l->failed = i;
        l->err = *err;
    }
    pthread_mutex_unlock(&l->lock);
}

static void load_images(void *arg, int64_t first, int64_t last, int worker)
{
    struct loading *l = arg;
    vt_easel *easel = l->moves_only ? NULL : vt_easel_take(l->data);
    (void)worker;
    for (int64_t i = first; i < last; i++) {
        vt_error err = {0};
        if (!easel && !l->moves_only)
            vt_fail(&err, VT_ERR_NOMEM, "no memory to transform pictures");
        if (err.status != VT_OK || load_image(l, easel, i, &err) != VT_OK)
            note_failure(l, i, &err);
    }
    vt_easel_give_back(l->data, easel);
}

static bool only_moves(const vt_transform_list *list)
{
    for (int i = 0; i < list->n; i++)
        if (list->item[i].kind == VT_TRANSFORM_RESIZE ||
            list->item[i].kind == VT_TRANSFORM_RANDOM_RESIZED_CROP)
            return false;
    return true;
}

static void set_part(struct loading *l, const vt_data *data, vt_part part, bool augment,
                     uint64_t seed, int64_t epoch)
{
    *l = (struct loading){.data = data,
                          .transforms = augment ? &data->train : &data->test,
                          .part = part,
                          .draw = {.seed = seed, .epoch = epoch},
                          .lock = PTHREAD_MUTEX_INITIALIZER};
    l->moves_only = data->images && only_moves(l->transforms);
}

static void set_items(struct loading *l, const uint32_t *items, int64_t n, float *images,
                      int32_t *labels)
{
    l->items = items;
    l->failed = l->n = n;
    l->images = images;
    l->labels = labels;
}

static void run_now(struct loading *l, vt_pool *pool)
{
    vt_grid_run(pool, l->n, l->moves_only ? IMAGES_PER_CHUNK : 1, load_images, l);
}

static vt_status outcome_of(const struct loading *l, vt_error *err)
{
    return l->failed == l->n ? VT_OK : vt_fail(err, l->err.status, "%s", l->err.text);
}

vt_status vt_batch_load(const vt_data *data, vt_pool *pool, vt_part part, bool augment,
                        uint64_t seed, int64_t epoch, const uint32_t *items, int64_t n,
                        float *images, int32_t *labels, vt_error *err)
{
    struct loading l;
    set_part(&l, data, part, augment, seed, epoch);
    set_items(&l, items, n, images, labels);
    run_now(&l, pool);
    return outcome_of(&l, err);
}

bool vt_data_stock_of(const vt_data *data, vt_data_stock *stock)
{
    if (!data->images || !only_moves(&data->train) || !only_moves(&data->test))
        return false;
    *stock = (vt_data_stock){.pixels = data->images,
                             .n = data->n_images,
                             .height = data->stored.height,
                             .width = data->stored.width,
                             .channels = data->info.channels,
                             .levels = data->levels.of[0]};
    return true;
}

struct picking {
    struct loading loading;
    vt_pick *picks;
};

static vt_pick_axis pick_axis(const vt_axis *axis)
{
    return (vt_pick_axis){(int32_t)axis->step, (int32_t)axis->offset, (int32_t)axis->first,
                          (int32_t)axis->last};
}

static void pick_images(void *arg, int64_t first, int64_t last, int worker)
{
    const struct picking *p = arg;
    const struct loading *l = &p->loading;
    (void)worker;
    for (int64_t i = first; i < last; i++) {
        const uint32_t image = vt_data_image(l->data, l->part, l->items[i]);
        vt_error err = {0};
        vt_picture picture;
        vt_view view;
        vt_status status =
            transform(l->data, NULL, image, l->transforms, l->draw, &picture, &view, &err);
        VT_ASSERT(status == VT_OK); /* moves cannot fail */
        p->picks[i] =
            (vt_pick){image, l->data->labels[image], pick_axis(&view.y), pick_axis(&view.x)};
    }
}

void vt_data_picks(const vt_data *data, vt_pool *pool, vt_part part, bool augment, uint64_t seed,
                   int64_t epoch, const uint32_t *items, int64_t n, vt_pick *picks)
{
    struct picking p = {.picks = picks};
    set_part(&p.loading, data, part, augment, seed, epoch);
    VT_ASSERT(p.loading.moves_only);
    set_items(&p.loading, items, n, NULL, NULL);
    vt_grid_run(pool, n, IMAGES_PER_PICKING, pick_images, &p);
}

struct vt_feed {
    const vt_data *data;
    vt_pool *pool;
    vt_pool *ahead; /* NULL: batches are loaded when they are asked for */
    int64_t batch;
    float *images[2]; /* with `ahead` two: one in the caller's hands, one being filled */
    int32_t *labels[2];
    int filling;
    bool running;
    struct loading loading;
    const uint32_t *items; /* not yet handed out */
    int64_t left;
};

/* Whether batches of any part have files to decode. */
static bool decodes(const vt_data *data)
{
    for (int part = 0; part < VT_PART_COUNT && data->photos; part++)
        for (int64_t i = 0; i < data->info.n[part]; i++)
            if (!data->photos[data->numbers[part][i]].kept_for)
                return true;
    return false;
}

vt_status vt_feed_new(vt_feed **result, const vt_data *data, vt_pool *pool, int threads,
                      int64_t batch, vt_error *err)
{
    const vt_data_info *info = &data->info;
    size_t pixels = (size_t)(info->height * info->width * info->channels);
    vt_feed *feed = vt_calloc(1, sizeof *feed);
    vt_status status = feed ? VT_OK : VT_ERR_NOMEM;
    *result = NULL;
    if (feed)
        *feed = (vt_feed){.data = data, .pool = pool, .batch = batch};
    if (threads == 0)
        threads = vt_pool_threads(pool);
    if (feed && decodes(data)) /* and the caller, when it waits */
        status = vt_pool_new(&feed->ahead, threads + 1, err);
    for (int i = 0; status == VT_OK && i < (feed->ahead ? 2 : 1); i++) {
        feed->images[i] = vt_calloc((size_t)batch * pixels, sizeof *feed->images[i]);
        feed->labels[i] = vt_calloc((size_t)batch, sizeof *feed->labels[i]);
        if (!feed->images[i] || !feed->labels[i])
            status = VT_ERR_NOMEM;
    }
    if (status == VT_OK) {
        *result = feed;
        return VT_OK;
    }
    vt_feed_free(feed);
    return vt_fail(err, status, "no memory for a batch of %lld images", (long long)batch);
}

/* Waits until nothing is being loaded. */
static void settle(vt_feed *feed)
{
    if (feed->running)
        vt_grid_finish(feed->ahead);
    feed->running = false;
}

void vt_feed_free(vt_feed *feed)
{
    if (!feed)
        return;
    settle(feed);
    vt_pool_free(feed->ahead);
    for (int i = 0; i < 2; i++) {
        vt_free(feed->images[i]);
        vt_free(feed->labels[i]);
    }
    vt_free(feed);
}

int vt_feed_threads(const vt_feed *feed)
{
    return feed->ahead ? vt_pool_threads(feed->ahead) - 1 : 0;
}

/* The next batch's items and buffers; with nothing left, of no items. */
static void aim(vt_feed *feed)
{
    int64_t n = feed->left < feed->batch ? feed->left : feed->batch;
    if (feed->ahead)
        feed->filling = !feed->filling;
    set_items(&feed->loading, feed->items, n, feed->images[feed->filling],
              feed->labels[feed->filling]);
    feed->items += n;
    feed->left -= n;
}

static void run_ahead(vt_feed *feed)
{
    if (!feed->ahead)
        return;
    aim(feed);
    feed->running = feed->loading.n > 0;
    if (feed->running)
        vt_grid_start(feed->ahead, feed->loading.n, 1, load_images, &feed->loading);
}

void vt_feed_begin(vt_feed *feed, vt_part part, bool augment, uint64_t seed, int64_t epoch,
                   const uint32_t *items, int64_t n)
{
    settle(feed);
    set_part(&feed->loading, feed->data, part, augment, seed, epoch);
    feed->items = items;
    feed->left = n;
    run_ahead(feed);
}

vt_status vt_feed_next(vt_feed *feed, vt_batch *batch, vt_error *err)
{
    struct loading *l = &feed->loading;
    if (feed->ahead)
        settle(feed);
    else
        aim(feed);
    VT_ASSERT(l->n > 0);
    if (!feed->ahead)
        run_now(l, feed->pool);
    vt_status status = outcome_of(l, err);
    *batch = (vt_batch){l->images, l->labels, l->n};
    run_ahead(feed);
    return status;
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
