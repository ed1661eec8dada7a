#include "data/picture.h"

#include "base/mem.h"

#include <inttypes.h>
#include <string.h>

enum { CHANNELS = VT_DATA_MAX_CHANNELS };

void vt_easel_release(vt_easel *easel)
{
    vt_image_release(&easel->image);
    vt_free(easel->file);
    vt_free(easel->step[0]);
    vt_free(easel->step[1]);
    vt_resizer_release(&easel->resizer);
    *easel = (vt_easel){0};
}

vt_levels vt_levels_of(const float mean[3], const float std[3])
{
    vt_levels levels;
    for (int c = 0; c < CHANNELS; c++)
        for (int byte = 0; byte < 256; byte++) {
            float x = (float)byte / 255.0f;
            levels.of[c][byte] = (x - mean[c]) / std[c];
        }
    return levels;
}

/* The pixel that output place (y, x) shows; NULL is black. */
static const uint8_t *row_of(const vt_picture *p, const vt_view *view, int64_t y)
{
    bool inside = y >= view->y.first && y < view->y.last;
    return inside ? p->pixels + (view->y.step * y + view->y.offset) * p->size.width * CHANNELS
                  : NULL;
}

static const uint8_t *pixel_of(const uint8_t *row, const vt_view *view, int64_t x)
{
    bool shown = row && x >= view->x.first && x < view->x.last;
    return shown ? row + (view->x.step * x + view->x.offset) * CHANNELS : NULL;
}

void vt_picture_copy(const vt_picture *picture, const vt_view *view, uint8_t *out)
{
    for (int64_t y = 0; y < view->y.size; y++) {
        const uint8_t *row = row_of(picture, view, y);
        for (int64_t x = 0; x < view->x.size; x++) {
            const uint8_t *pixel = pixel_of(row, view, x);
            for (int c = 0; c < CHANNELS; c++)
                *out++ = pixel ? pixel[c] : 0;
        }
    }
}

void vt_picture_normalise(const vt_picture *picture, const vt_view *view, const vt_levels *levels,
                          float *out)
{
    for (int64_t y = 0; y < view->y.size; y++) {
        const uint8_t *row = row_of(picture, view, y);
        for (int64_t x = 0; x < view->x.size; x++) {
            const uint8_t *pixel = pixel_of(row, view, x);
            for (int c = 0; c < CHANNELS; c++)
                *out++ = levels->of[c][pixel ? pixel[c] : 0];
        }
    }
}

/* The step that the picture is not in, with room for one of this size. */
static uint8_t *next_step(vt_easel *easel, const vt_picture *picture, vt_size size, vt_error *err)
{
    int i = picture->pixels == easel->step[0];
    size_t bytes = (size_t)(size.height * size.width * CHANNELS);
    if (vt_room_for(&easel->step[i], &easel->step_capacity[i], bytes, 1))
        return easel->step[i];
    vt_fail(err, VT_ERR_NOMEM, "no memory for a picture of %" PRId64 " x %" PRId64 " pixels",
            size.width, size.height);
    return NULL;
}

static vt_status resize(vt_easel *easel, const vt_transform *t, int place, vt_draw draw,
                        vt_picture *picture, vt_error *err)
{
    vt_transform_list alone = {.item = {*t}, .n = 1};
    vt_size from = picture->size, to = vt_transforms_size(&alone, 1, from);
    vt_box box = {0, 0, from.height, from.width};
    if (t->kind == VT_TRANSFORM_RANDOM_RESIZED_CROP)
        box = vt_crop_box(t, place, from, draw);
    if (to.height > VT_IMAGE_SIDE_MAX || to.width > VT_IMAGE_SIDE_MAX ||
        to.height * to.width * CHANNELS > VT_IMAGE_BYTES_MAX)
        return vt_fail(err, VT_ERR_DATA,
                       "a picture of %" PRId64 " x %" PRId64 " pixels would become one of %" PRId64
                       " x %" PRId64 "; allowed: sides to %d and %d bytes",
                       from.width, from.height, to.width, to.height, VT_IMAGE_SIDE_MAX,
                       VT_IMAGE_BYTES_MAX);
    uint8_t *out = next_step(easel, picture, to, err);
    if (!out)
        return VT_ERR_NOMEM;
    if (!vt_resizer_run(&easel->resizer, picture->pixels, from.width, box, to, out))
        return vt_fail(err, VT_ERR_NOMEM, "no memory to resize a picture");
    *picture = (vt_picture){out, to};
    return VT_OK;
}

static bool moves(const vt_axis *axis, int64_t from)
{
    return axis->step < 0 || axis->first > 0 || axis->last < from || axis->size != from ||
           axis->offset != 0;
}

vt_status vt_picture_transform(vt_easel *easel, const vt_transform_list *list, int first, int n,
                               vt_draw draw, vt_picture *picture, vt_view *view, vt_error *err)
{
    vt_status status = VT_OK;
    for (;;) {
        *view = vt_view_of(list, first, n, picture->size, draw);
        if (view->next == n)
            return VT_OK;
        if (moves(&view->y, picture->size.height) || moves(&view->x, picture->size.width)) {
            vt_size size = {view->y.size, view->x.size};
            uint8_t *out = next_step(easel, picture, size, err);
            if (!out)
                return VT_ERR_NOMEM;
            vt_picture_copy(picture, view, out);
            *picture = (vt_picture){out, size};
        }
        status = resize(easel, &list->item[view->next], view->next, draw, picture, err);
        if (status != VT_OK)
            return status;
        first = view->next + 1;
    }
}
