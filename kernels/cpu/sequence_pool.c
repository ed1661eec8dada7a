#include "kernels/cpu/rows.h"

struct sequence_pool {
    float *y, *weights, *dx, *dscores;
    const float *x, *scores, *dy, *p;
    int64_t N, C;
    bool write_x, write_scores;
};

/* p = softmax(scores); a NaN among the scores makes all of them NaN. */
static void softmax_row(float *p, const float *scores, int64_t n)
{
    float largest = -INFINITY;
    vt_lanes sum = vzero();
    for (int64_t i = 0; i < n; i++)
        largest = scores[i] > largest ? scores[i] : largest;
    for (int64_t i = 0; i < n; i += VT_LANES) {
        vt_lanes e = vexp(vsub(vload_upto(scores + i, n - i), vset1(largest)));
        vstore_upto(p + i, e, n - i);
        sum = vadd(sum, vload_upto(p + i, n - i)); /* lanes past n count as 0 */
    }
    vt_lanes total = vset1(vsum(sum));
    for (int64_t i = 0; i < n; i += VT_LANES)
        vstore_upto(p + i, vdiv(vload_upto(p + i, n - i), total), n - i);
}

/* Items are images. */
static void forward_images(void *arg, int64_t first, int64_t last, int worker)
{
    const struct sequence_pool *a = arg;
    int64_t N = a->N, C = a->C;
    (void)worker;
    for (int64_t b = first; b < last; b++) {
        const float *x = a->x + b * N * C;
        float *p = a->weights + b * N;
        softmax_row(p, a->scores + b * N, N);
        for (int64_t c = 0; c < C; c += VT_LANES) {
            vt_lanes sum = vzero();
            for (int64_t i = 0; i < N; i++)
                sum = vfma(vset1(p[i]), vload_upto(x + i * C + c, C - c), sum);
            vstore_upto(a->y + b * C + c, sum, C - c);
        }
    }
}

void VT_CPU(sequence_pool_fwd)(vt_dev *d, vt_buf y, float *p, vt_buf x, vt_buf scores,
                               int64_t batch, int64_t N, int64_t C)
{
    struct sequence_pool a = {.y = vt_floats(y),
                              .weights = p,
                              .x = vt_floats(x),
                              .scores = vt_floats(scores),
                              .N = N,
                              .C = C};
    vt_grid_run(vt_dev_pool(d), batch, vt_chunk_items(batch, 4 * N * C), forward_images, &a);
}

static float product(const float *a, const float *b, int64_t n)
{
    vt_lanes sum = vzero();
    for (int64_t i = 0; i < n; i += VT_LANES)
        sum = vfma(vload_upto(a + i, n - i), vload_upto(b + i, n - i), sum);
    return vsum(sum);
}

/* dscores[i] = p[i] (dy . x[i] - sum_j p[j] dy . x[j]); the products are formed twice rather than
 * stored. */
static void score_gradient(const struct sequence_pool *a, int64_t b)
{
    int64_t N = a->N, C = a->C;
    const float *x = a->x + b * N * C, *dy = a->dy + b * C, *p = a->p + b * N;
    float *dscores = a->dscores + b * N, mean = 0;
    for (int64_t i = 0; i < N; i++)
        mean = fmaf(p[i], product(dy, x + i * C, C), mean);
    for (int64_t i = 0; i < N; i++) {
        float share = p[i] * (product(dy, x + i * C, C) - mean);
        dscores[i] = a->write_scores ? share : dscores[i] + share;
    }
}

static void backward_images(void *arg, int64_t first, int64_t last, int worker)
{
    const struct sequence_pool *a = arg;
    int64_t N = a->N, C = a->C;
    (void)worker;
    for (int64_t b = first; b < last; b++) {
        const float *dy = a->dy + b * C;
        if (a->dscores)
            score_gradient(a, b);
        for (int64_t i = 0; a->dx && i < N; i++) {
            vt_lanes p = vset1(a->p[b * N + i]);
            float *dx = a->dx + (b * N + i) * C;
            for (int64_t c = 0; c < C; c += VT_LANES)
                vgive_upto(dx + c, a->write_x, vmul(p, vload_upto(dy + c, C - c)), C - c);
        }
    }
}

void VT_CPU(sequence_pool_bwd)(vt_dev *d, vt_buf dx, bool write_x, vt_buf dscores,
                               bool write_scores, vt_buf dy, vt_buf x, const float *p,
                               int64_t batch, int64_t N, int64_t C)
{
    struct sequence_pool a = {.dx = vt_floats(dx),
                              .dscores = vt_floats(dscores),
                              .x = vt_floats(x),
                              .dy = vt_floats(dy),
                              .p = p,
                              .N = N,
                              .C = C,
                              .write_x = write_x,
                              .write_scores = write_scores};
    vt_grid_run(vt_dev_pool(d), batch, vt_chunk_items(batch, 12 * N * C), backward_images, &a);
}
