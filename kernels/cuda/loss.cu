/* Softmax cross entropy: a warp takes a row. */
#include "kernels/cuda/common.cuh"

/* Whether class c stands before the label: larger, or equal at a lower index. A NaN stands before
 * every number, and a NaN label behind all others. */
VT_DEVICE bool stands_before(float x, float at_label, int64_t c, int64_t label)
{
    return c != label && !(x < at_label) && !(x == at_label && c > label);
}

template <typename T>
VT_KERNEL find_loss(float *loss, float *lse, int32_t *rank, const T *logits, const int32_t *labels,
                    int64_t rows, int64_t classes, float smoothing)
{
    const int64_t row = vt_index() / VT_WARP;
    const int lane = (int)threadIdx.x % VT_WARP;
    if (row >= rows)
        return;
    const T *x = logits + row * classes;
    const int64_t label = labels[row];
    const float at_label = vt_get(&x[label]);
    float largest = -INFINITY, sum = 0, powers = 0;
    int before = 0;
    for (int64_t c = lane; c < classes; c += VT_WARP) {
        const float value = vt_get(&x[c]);
        before += stands_before(value, at_label, c, label);
        sum += value;
        largest = fmaxf(largest, value);
    }
    const float peak = vt_warp_max(largest);
    for (int64_t c = lane; c < classes; c += VT_WARP)
        powers += expf(vt_get(&x[c]) - peak);
    before = vt_warp_sum(before);
    sum = vt_warp_sum(sum);
    const double rest = log((double)vt_warp_sum(powers)), s = (double)smoothing; /* lse - peak */
    double value = rest - (1.0 - s) * ((double)at_label - (double)peak);
    if (s > 0)
        value -= s * ((double)sum / (double)classes - (double)peak);
    if (lane > 0)
        return;
    loss[row] = (float)value;
    lse[row] = (float)(rest + (double)peak);
    rank[row] = before;
}

/* One block. Losses are added in row order by one thread, from shared memory; counts are exact in
 * any order. */
VT_KERNEL add_totals(double *totals, const float *loss, const int32_t *rank, int64_t rows)
{
    float *room = vt_shared<float>();
    double *room_best = vt_shared<double>() + VT_THREADS / 2, *room_five = room_best + VT_WARP;
    const int thread = (int)threadIdx.x;
    double sum = totals[0], best = 0, five = 0;
    for (int64_t first = 0; first < rows; first += VT_THREADS) {
        const int n = rows - first < VT_THREADS ? (int)(rows - first) : (int)VT_THREADS;
        if (thread < n) {
            room[thread] = loss[first + thread];
            best += rank[first + thread] == 0;
            five += rank[first + thread] < 5;
        }
        vt_sync();
        for (int i = 0; thread == 0 && i < n; i++)
            sum += (double)room[i];
        vt_sync();
    }
    best = vt_block_sum(best, room_best);
    five = vt_block_sum(five, room_five);
    if (thread > 0)
        return;
    totals[0] = sum;
    totals[1] += best;
    totals[2] += five;
    totals[3] += (double)rows;
}

template <typename T>
VT_KERNEL find_slopes(T *dlogits, const T *logits, const float *lse, const int32_t *labels,
                      int64_t rows, int64_t classes, float smoothing, const vt_step *step)
{
    const int64_t row = vt_index() / VT_WARP;
    if (row >= rows)
        return;
    const float others = smoothing / (float)classes, own = 1.0f - smoothing;
    const float scale = step->grad_scale, log_sum = lse[row];
    const int64_t label = labels[row], end = (row + 1) * classes;
    for (int64_t i = row * classes + threadIdx.x % VT_WARP; i < end; i += VT_WARP) {
        const float diff = expf(vt_get(&logits[i]) - log_sum) - others;
        vt_put(&dlogits[i], (i == row * classes + label ? diff - own : diff) * scale);
    }
}

void VT_CUDA(cross_entropy_fwd)(vt_dev *d, float *loss, float *lse, int32_t *rank, double *totals,
                                vt_buf logits, const int32_t *labels, int64_t rows, int64_t classes,
                                float smoothing)
{
    VT_BY_TYPE(logits, T,
               VT_LAUNCH(d, find_loss<T>, vt_blocks(rows * VT_WARP), VT_THREADS, 0, loss, lse, rank,
                         vt_values<T>(logits), labels, rows, classes, smoothing));
    VT_LAUNCH(d, add_totals, dim3(1), VT_THREADS,
              VT_THREADS * sizeof(float) + 2 * VT_WARP * sizeof(double), totals, loss, rank, rows);
}

void VT_CUDA(cross_entropy_bwd)(vt_dev *d, vt_buf dlogits, vt_buf logits, const float *lse,
                                const int32_t *labels, int64_t rows, int64_t classes,
                                float smoothing, const vt_step *step)
{
    VT_BY_TYPE(logits, T,
               VT_LAUNCH(d, find_slopes<T>, vt_blocks(rows * VT_WARP), VT_THREADS, 0,
                         vt_values<T>(dlogits), vt_values<T>(logits), lse, labels, rows, classes,
                         smoothing, step));
}
