#include "kernels/cpu/cpu.h"

#include "kernels/bf16.h"

#include <math.h>

void VT_CPU(judge_step)(vt_dev *d, vt_step *step, double *result, const double *totals,
                        const double *sum)
{
    (void)d;
    for (int i = 0; i < 4; i++)
        result[i] = totals[i];
    result[4] = *sum;
    if (!isfinite(totals[0]) || !isfinite(*sum))
        step->stopped = 1;
}

void VT_CPU(next_step)(vt_dev *d, vt_step *step, double *totals, const vt_step *list)
{
    const uint32_t stopped = step->stopped;
    (void)d;
    *step = list[step->next];
    step->stopped = stopped;
    for (int i = 0; i < 4; i++)
        totals[i] = 0;
}

struct gather {
    vt_buf images;
    int32_t *labels;
    const uint8_t *pixels;
    const float *levels;
    const vt_pick *picks; /* of the batch */
    const vt_gather_sizes *sizes;
};

static bool shows(const vt_pick_axis *axis, int64_t place)
{
    return place >= axis->first && place < axis->last;
}

static void gather_image(const struct gather *a, int64_t image)
{
    const vt_gather_sizes *s = a->sizes;
    const vt_pick *pick = &a->picks[image];
    int64_t to = image * s->height * s->width * s->channels;
    for (int64_t y = 0; y < s->height; y++)
        for (int64_t x = 0; x < s->width; x++) {
            const bool shown = shows(&pick->y, y) && shows(&pick->x, x);
            const int64_t row = pick->image * s->stored_height + pick->y.step * y + pick->y.offset;
            const int64_t place = row * s->stored_width + pick->x.step * x + pick->x.offset;
            for (int64_t c = 0; c < s->channels; c++, to++) {
                const int byte = shown ? a->pixels[place * s->channels + c] : 0;
                const float value = a->levels[256 * c + byte];
                if (a->images.type == VT_BF16)
                    ((uint16_t *)a->images.data)[to] = vt_bf16_of_float(value);
                else
                    ((float *)a->images.data)[to] = value;
            }
        }
    a->labels[image] = pick->label;
}

static void gather_part(void *arg, int64_t first, int64_t last, int worker)
{
    (void)worker;
    for (int64_t i = first; i < last; i++)
        gather_image(arg, i);
}

void VT_CPU(gather)(vt_dev *d, vt_buf images, int32_t *labels, const uint8_t *pixels,
                    const float *levels, const vt_pick *picks, const vt_gather_sizes *sizes,
                    const vt_step *step)
{
    struct gather a = {images, labels, pixels, levels, picks + step->first, sizes};
    vt_grid_run(vt_dev_pool(d), sizes->batch, 1, gather_part, &a);
}
