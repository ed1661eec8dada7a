#include "data/augment.h"

#include "base/rng.h"
#include "base/status.h"

#include <math.h>

enum { CROP_TRIES = 10 };

static bool resizes(const vt_transform *t)
{
    return t->kind == VT_TRANSFORM_RESIZE || t->kind == VT_TRANSFORM_RANDOM_RESIZED_CROP;
}

static vt_size size_after(const vt_transform *t, vt_size from)
{
    bool known = from.height > 0 && from.width > 0;
    if (t->kind == VT_TRANSFORM_RANDOM_CROP || t->kind == VT_TRANSFORM_FLIP)
        return from;
    if (t->kind != VT_TRANSFORM_RESIZE || t->width > 0)
        return (vt_size){t->height, t->width};
    if (!known)
        return (vt_size){0, 0};
    if (from.width <= from.height)
        return (vt_size){t->height * from.height / from.width, t->height};
    return (vt_size){t->height, t->height * from.width / from.height};
}

vt_size vt_transforms_size(const vt_transform_list *list, int n, vt_size from)
{
    for (int i = 0; i < n; i++)
        from = size_after(&list->item[i], from);
    return from;
}

int vt_transforms_fixed(const vt_transform_list *list)
{
    int n = 0;
    while (n < list->n && (list->item[n].kind == VT_TRANSFORM_RESIZE ||
                           list->item[n].kind == VT_TRANSFORM_CENTER_CROP))
        n++;
    return n;
}

static vt_axis whole(int64_t size)
{
    return (vt_axis){.step = 1, .offset = 0, .first = 0, .last = size, .size = size};
}

/* Place i of `size` now shows what was at i + by. */
static void shift(vt_axis *axis, int64_t size, int64_t by)
{
    axis->size = size;
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

static void mirror(vt_axis *axis)
{
    int64_t first = axis->size - axis->last;
    axis->offset += axis->step * (axis->size - 1);
    axis->step = -axis->step;
    axis->last = axis->size - axis->first;
    axis->first = first;
}

/* torchvision pads a smaller picture (less in front), and cuts a larger one at half the difference,
 * rounded to the even neighbour. */
static void cut_middle(vt_axis *axis, int64_t size)
{
    int64_t more = axis->size - size, half = more / 2;
    if (more < 0)
        half = -(-more / 2);
    else if (more % 2)
        half += half % 2;
    shift(axis, size, half);
}

vt_view vt_view_of(const vt_transform_list *list, int first, int n, vt_size from, vt_draw draw)
{
    vt_view view = {.y = whole(from.height), .x = whole(from.width), .next = first};
    for (; view.next < n && !resizes(&list->item[view.next]); view.next++) {
        const vt_transform *t = &list->item[view.next];
        bool crop = t->kind == VT_TRANSFORM_RANDOM_CROP;
        if (t->kind == VT_TRANSFORM_CENTER_CROP) {
            cut_middle(&view.y, t->height);
            cut_middle(&view.x, t->width);
            continue;
        }
        VT_ASSERT(crop || t->kind == VT_TRANSFORM_FLIP);
        vt_rng rng = vt_rng_at(draw.seed, crop ? VT_STREAM_CROP : VT_STREAM_FLIP,
                               (uint32_t)view.next, (uint32_t)draw.epoch, draw.image);
        if (crop) {
            uint64_t places = 2 * (uint64_t)t->pad + 1;
            shift(&view.y, view.y.size, (int64_t)vt_rng_below(&rng, 0, places) - t->pad);
            shift(&view.x, view.x.size, (int64_t)vt_rng_below(&rng, 1, places) - t->pad);
        } else if (vt_rng_uniform(&rng, 0) < t->p) {
            mirror(&view.x);
        }
    }
    return view;
}

bool vt_crop_try(const vt_transform *t, vt_size from, double u, double v, vt_box *box)
{
    double area =
        (double)(from.height * from.width) * (t->scale[0] + (t->scale[1] - t->scale[0]) * u);
    double low = vt_log(t->ratio[0]), high = vt_log(t->ratio[1]);
    double ratio = vt_exp(low + (high - low) * v);
    double width = rint(sqrt(area * ratio)), height = rint(sqrt(area / ratio));
    if (!(width >= 1 && width <= (double)from.width && height >= 1 &&
          height <= (double)from.height))
        return false;
    box->height = (int64_t)height;
    box->width = (int64_t)width;
    return true;
}

vt_box vt_crop_middle(const vt_transform *t, vt_size from)
{
    double ratio = (double)from.width / (double)from.height;
    vt_box box = {.height = from.height, .width = from.width};
    if (ratio < t->ratio[0])
        box.height = (int64_t)rint((double)from.width / t->ratio[0]);
    else if (ratio > t->ratio[1])
        box.width = (int64_t)rint((double)from.height * t->ratio[1]);
    /* a side of a very thin picture may round to nothing */
    box.height += box.height == 0;
    box.width += box.width == 0;
    box.top = (from.height - box.height) / 2;
    box.left = (from.width - box.width) / 2;
    return box;
}

vt_box vt_crop_box(const vt_transform *t, int place, vt_size from, vt_draw draw)
{
    vt_rng rng =
        vt_rng_at(draw.seed, VT_STREAM_CROP, (uint32_t)place, (uint32_t)draw.epoch, draw.image);
    for (uint64_t i = 0; i < CROP_TRIES; i++) {
        vt_box box = {0};
        if (!vt_crop_try(t, from, (double)vt_rng_uniform(&rng, 8 * i),
                         (double)vt_rng_uniform(&rng, 8 * i + 1), &box))
            continue;
        uint64_t rows = (uint64_t)(from.height - box.height) + 1;
        uint64_t columns = (uint64_t)(from.width - box.width) + 1;
        box.top = (int64_t)vt_rng_below(&rng, 4 * i + 1, rows);
        box.left = (int64_t)vt_rng_below(&rng, 4 * i + 2, columns);
        return box;
    }
    return vt_crop_middle(t, from);
}
