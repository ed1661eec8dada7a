#include "data/augment.h"

#include "base/rng.h"
#include "base/status.h"

#include <stdbool.h>

static vt_axis whole(int64_t size)
{
    return (vt_axis){.step = 1, .offset = 0, .first = 0, .last = size};
}

/* Place i now shows what was at i + by. */
static void shift(vt_axis *axis, int64_t size, int64_t by)
{
    axis->offset += axis->step * by;
    axis->first -= by;
    axis->last -= by;
    if (axis->first < 0)
        axis->first = 0;
    if (axis->last > size)
        axis->last = size;
    if (axis->last < axis->first)
        axis->last = axis->first;
}

static void mirror(vt_axis *axis, int64_t size)
{
    int64_t first = size - axis->last;
    axis->offset += axis->step * (size - 1);
    axis->step = -axis->step;
    axis->last = size - axis->first;
    axis->first = first;
}

vt_view vt_view_of(const vt_transform_list *list, int64_t height, int64_t width, uint64_t seed,
                   int64_t epoch, uint32_t image)
{
    vt_view view = {.y = whole(height), .x = whole(width)};
    for (int i = 0; i < list->n; i++) {
        const vt_transform *t = &list->item[i];
        bool crop = t->kind == VT_TRANSFORM_RANDOM_CROP;
        VT_ASSERT(crop || t->kind == VT_TRANSFORM_FLIP);
        vt_rng rng = vt_rng_at(seed, crop ? VT_STREAM_CROP : VT_STREAM_FLIP, (uint32_t)i,
                               (uint32_t)epoch, image);
        if (crop) {
            uint64_t places = 2 * (uint64_t)t->pad + 1;
            shift(&view.y, height, (int64_t)vt_rng_below(&rng, 0, places) - t->pad);
            shift(&view.x, width, (int64_t)vt_rng_below(&rng, 1, places) - t->pad);
        } else if (vt_rng_uniform(&rng, 0) < t->p) {
            mirror(&view.x, width);
        }
    }
    return view;
}
