/* What goes on between two passes without the host: the next step's scalars, its batch from
 * pictures in memory, and whether anything may come of it. */
#include "kernels/cuda/common.cuh"

VT_KERNEL judge(vt_step *step, double *result, const double *totals, const double *sum)
{
    if (threadIdx.x > 0)
        return;
    for (int i = 0; i < 4; i++)
        result[i] = totals[i];
    result[4] = *sum;
    if (!(fabs(totals[0]) < (double)INFINITY) || !(fabs(*sum) < (double)INFINITY))
        step->stopped = 1;
}

VT_KERNEL take_next(vt_step *step, double *totals, const vt_step *list)
{
    if (threadIdx.x > 0)
        return;
    vt_step next = list[step->next];
    next.stopped = step->stopped;
    *step = next;
    for (int i = 0; i < 4; i++)
        totals[i] = 0;
}

struct gathering {
    const uint8_t *pixels;
    const float *levels;
    const vt_pick *picks;
    uint32_t values, width, channels, blocks; /* of an image */
    int64_t stored_height, stored_width;
    const vt_step *step;
};

VT_DEVICE bool shows(const vt_pick_axis &axis, int place)
{
    return place >= axis.first && place < axis.last;
}

/* A thread a value, some blocks an image. */
template <typename T> VT_KERNEL gather(T *images, int32_t *labels, gathering a)
{
    const uint32_t image = blockIdx.x / a.blocks;
    const uint32_t i = blockIdx.x % a.blocks * VT_THREADS + threadIdx.x;
    if (i >= a.values)
        return;
    const vt_pick pick = a.picks[a.step->first + image];
    const uint32_t c = i % a.channels, pixel = i / a.channels;
    const int y = (int)(pixel / a.width), x = (int)(pixel % a.width);
    uint32_t byte = 0;
    if (shows(pick.y, y) && shows(pick.x, x)) {
        const int64_t row = pick.image * a.stored_height + pick.y.step * y + pick.y.offset;
        const int64_t place = row * a.stored_width + pick.x.step * x + pick.x.offset;
        byte = a.pixels[place * a.channels + c];
    }
    vt_put(&images[(int64_t)image * a.values + i], a.levels[256 * c + byte]);
    if (i == 0)
        labels[image] = pick.label;
}

void VT_CUDA(judge_step)(vt_dev *d, vt_step *step, double *result, const double *totals,
                         const double *sum)
{
    VT_LAUNCH(d, judge, dim3(1), VT_WARP, 0, step, result, totals, sum);
}

void VT_CUDA(next_step)(vt_dev *d, vt_step *step, double *totals, const vt_step *list)
{
    VT_LAUNCH(d, take_next, dim3(1), VT_WARP, 0, step, totals, list);
}

void VT_CUDA(gather)(vt_dev *d, vt_buf images, int32_t *labels, const uint8_t *pixels,
                     const float *levels, const vt_pick *picks, const vt_gather_sizes *sizes,
                     const vt_step *step)
{
    const int64_t values = sizes->height * sizes->width * sizes->channels;
    const int64_t blocks = vt_ceil_div(values, VT_THREADS);
    const gathering a = {pixels,
                         levels,
                         picks,
                         (uint32_t)values,
                         (uint32_t)sizes->width,
                         (uint32_t)sizes->channels,
                         (uint32_t)blocks,
                         sizes->stored_height,
                         sizes->stored_width,
                         step};
    VT_BY_TYPE(images, T,
               VT_LAUNCH(d, gather<T>, dim3((unsigned)(sizes->batch * blocks)), VT_THREADS, 0,
                         vt_values<T>(images), labels, a));
}
