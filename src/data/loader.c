/* The sampler and the batch: which items, and how they are packed. */
#include "base/rng.h"
#include "data/set.h"

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

struct batch {
    const vt_data *data;
    const vt_transform_list *transforms;
    vt_part part;
    uint64_t seed;
    int64_t epoch;
    const uint32_t *items;
    float *images;
    int32_t *labels;
};

static void load_image(const struct batch *b, int64_t item, const uint8_t *image, float *out)
{
    const vt_data_info *info = &b->data->info;
    int64_t channels = info->channels;
    vt_view view = vt_view_of(b->transforms, info->height, info->width, b->seed, b->epoch,
                              vt_data_image(b->data, b->part, item));
    for (int64_t y = 0; y < info->height; y++) {
        bool inside = y >= view.y.first && y < view.y.last;
        const uint8_t *row =
            inside ? image + (view.y.step * y + view.y.offset) * info->width * channels : NULL;
        for (int64_t x = 0; x < info->width; x++) {
            bool shown = inside && x >= view.x.first && x < view.x.last;
            const uint8_t *pixel =
                shown ? row + (view.x.step * x + view.x.offset) * channels : NULL;
            for (int64_t c = 0; c < channels; c++)
                *out++ = b->data->level[c][pixel ? pixel[c] : 0];
        }
    }
}

static void load_images(void *arg, int64_t first, int64_t last, int worker)
{
    const struct batch *b = arg;
    const vt_data_info *info = &b->data->info;
    int64_t image_size = info->height * info->width * info->channels;
    (void)worker;
    for (int64_t i = first; i < last; i++) {
        int label;
        const uint8_t *image = vt_data_item(b->data, b->part, b->items[i], &label);
        load_image(b, b->items[i], image, b->images + i * image_size);
        if (b->labels)
            b->labels[i] = label;
    }
}

void vt_batch_load(const vt_data *data, vt_pool *pool, vt_part part, bool augment, uint64_t seed,
                   int64_t epoch, const uint32_t *items, int64_t n, float *images, int32_t *labels)
{
    struct batch b = {.data = data,
                      .transforms = augment ? &data->train : &data->test,
                      .part = part,
                      .seed = seed,
                      .epoch = epoch,
                      .items = items,
                      .images = images,
                      .labels = labels};
    vt_grid_run(pool, n, IMAGES_PER_CHUNK, load_images, &b);
}
