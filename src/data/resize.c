#include "data/resize.h"

#include "base/mem.h"

#include <math.h>
#include <string.h>

enum { CHANNELS = 3, WEIGHT_BITS = 22 };

bool vt_room_for(void *block, size_t *capacity, size_t size, size_t element_bytes)
{
    void *fresh;
    size_t room = 64;
    if (size <= *capacity)
        return true;
    while (room < size)
        room *= 2;
    memcpy(&fresh, block, sizeof fresh);
    vt_free(fresh);
    fresh = vt_calloc(room, element_bytes);
    memcpy(block, &fresh, sizeof fresh);
    *capacity = fresh ? room : 0;
    return fresh != NULL;
}

/* The weights of one axis, normalised in double, then rounded. *most: places in a row of weights.
 */
static bool weigh(vt_resizer *r, int64_t from, int64_t to, int64_t *most)
{
    double scale = (double)from / (double)to, widen = scale < 1 ? 1 : scale;
    int64_t room = (int64_t)ceil(widen) * 2 + 1;
    double inverse = 1.0 / widen;
    if (!vt_room_for(&r->spans, &r->spans_capacity, (size_t)(2 * to), sizeof *r->spans) ||
        !vt_room_for(&r->weights, &r->weights_capacity, (size_t)(to * room), sizeof *r->weights))
        return false;
    for (int64_t i = 0; i < to; i++) {
        double centre = ((double)i + 0.5) * scale, sum = 0;
        int64_t first = (int64_t)(centre - widen + 0.5), last = (int64_t)(centre + widen + 0.5);
        int32_t *weights = r->weights + i * room;
        first = first < 0 ? 0 : first;
        last = last > from ? from : last;
        for (int pass = 0; pass < 2; pass++)
            for (int64_t j = first; j < last; j++) {
                double distance = fabs(((double)j - centre + 0.5) * inverse);
                double weight = distance < 1 ? 1 - distance : 0;
                if (pass == 0)
                    sum += weight;
                else
                    weights[j - first] = (int32_t)(0.5 + weight / sum * (1 << WEIGHT_BITS));
            }
        r->spans[2 * i] = first;
        r->spans[2 * i + 1] = last - first;
    }
    *most = room;
    return true;
}

static uint8_t level_of(int32_t sum)
{
    int32_t level = sum >> WEIGHT_BITS;
    return (uint8_t)(level < 0 ? 0 : level > 255 ? 255 : level);
}

static void resize_row(const vt_resizer *r, int64_t room, const uint8_t *row, int64_t to,
                       uint8_t *out)
{
    for (int64_t x = 0; x < to; x++) {
        const uint8_t *pixel = row + r->spans[2 * x] * CHANNELS;
        const int32_t *weights = r->weights + x * room;
        int32_t sum[CHANNELS] = {1 << (WEIGHT_BITS - 1), 1 << (WEIGHT_BITS - 1),
                                 1 << (WEIGHT_BITS - 1)};
        for (int64_t j = 0; j < r->spans[2 * x + 1]; j++, pixel += CHANNELS)
            for (int c = 0; c < CHANNELS; c++)
                sum[c] += pixel[c] * weights[j];
        for (int c = 0; c < CHANNELS; c++)
            *out++ = level_of(sum[c]);
    }
}

/* One row of the output from `n` rows above each other, `stride` bytes apart. */
static void mix_rows(const uint8_t *rows, int64_t stride, const int32_t *weights, int64_t n,
                     int64_t bytes, uint8_t *out)
{
    for (int64_t x = 0; x < bytes; x++) {
        int32_t sum = 1 << (WEIGHT_BITS - 1);
        for (int64_t j = 0; j < n; j++)
            sum += rows[j * stride + x] * weights[j];
        out[x] = level_of(sum);
    }
}

bool vt_resizer_run(vt_resizer *r, const uint8_t *pixels, int64_t stride, vt_box box, vt_size to,
                    uint8_t *out)
{
    const uint8_t *rows = pixels + (box.top * stride + box.left) * CHANNELS;
    int64_t row_bytes = stride * CHANNELS, out_bytes = to.width * CHANNELS, room;
    if (to.width != box.width) {
        size_t bytes = (size_t)(box.height * out_bytes);
        if (!vt_room_for(&r->rows, &r->rows_capacity, bytes, 1) ||
            !weigh(r, box.width, to.width, &room))
            return false;
        for (int64_t y = 0; y < box.height; y++)
            resize_row(r, room, rows + y * row_bytes, to.width, r->rows + y * out_bytes);
        rows = r->rows;
        row_bytes = out_bytes;
    }
    if (to.height != box.height) {
        if (!weigh(r, box.height, to.height, &room))
            return false;
        for (int64_t y = 0; y < to.height; y++)
            mix_rows(rows + r->spans[2 * y] * row_bytes, row_bytes, r->weights + y * room,
                     r->spans[2 * y + 1], out_bytes, out + y * out_bytes);
        return true;
    }
    for (int64_t y = 0; y < to.height; y++)
        memcpy(out + y * out_bytes, rows + y * row_bytes, (size_t)out_bytes);
    return true;
}

void vt_resizer_release(vt_resizer *r)
{
    vt_free(r->rows);
    vt_free(r->weights);
    vt_free(r->spans);
    *r = (vt_resizer){0};
}
