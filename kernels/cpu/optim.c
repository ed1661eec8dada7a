#include "kernels/cpu/rows.h"

/*
 * The operations and their order are those of PyTorch's single-tensor optimisers, in float32: its
 * add(x, alpha) is one fused multiply-add, lerp and addcdiv are as written below.
 */
struct sgd {
    float *w, *m;
    const float *g;
    float momentum, decay, lr, clip;
    bool nesterov, first;
};

static void sgd_part(void *arg, int64_t first, int64_t last, int worker)
{
    const struct sgd *a = arg;
    vt_lanes clip = vset1(a->clip), decay = vset1(a->decay), momentum = vset1(a->momentum);
    vt_lanes down = vset1(-a->lr);
    (void)worker;
    for (int64_t i = first; i < last; i += VT_LANES) {
        int64_t left = last - i;
        vt_lanes w = vload_upto(a->w + i, left);
        vt_lanes g = vmul(vload_upto(a->g + i, left), clip);
        g = vfma(decay, w, g);
        if (a->m) {
            vt_lanes m = g;
            if (!a->first)
                m = vadd(vmul(vload_upto(a->m + i, left), momentum), g);
            vstore_upto(a->m + i, m, left);
            g = a->nesterov ? vfma(momentum, m, g) : m;
        }
        vstore_upto(a->w + i, vfma(down, g, w), left);
    }
}

void VT_CPU(sgd)(vt_dev *d, float *w, float *m, const float *g, int64_t n, float momentum,
                 float decay, bool nesterov, bool first, const vt_step *step)
{
    struct sgd a = {w, m, g, momentum, decay, step->lr, step->clip, nesterov, first};
    if (step->stopped)
        return;
    vt_grid_run(vt_dev_pool(d), n, VT_FLAT_CHUNK, sgd_part, &a);
}

struct adam {
    float *w, *m, *v;
    const float *g;
    float clip, decay; /* decay: what w is multiplied by (decoupled), or what of w is added to g */
    float take1, beta2, take2, eps; /* take = 1 - beta */
    float step_size, correction2;
    bool decoupled;
};

static void adam_part(void *arg, int64_t first, int64_t last, int worker)
{
    const struct adam *a = arg;
    vt_lanes clip = vset1(a->clip), decay = vset1(a->decay), eps = vset1(a->eps);
    vt_lanes take1 = vset1(a->take1), take2 = vset1(a->take2), beta2 = vset1(a->beta2);
    vt_lanes down = vset1(-a->step_size), correction2 = vset1(a->correction2);
    (void)worker;
    for (int64_t i = first; i < last; i += VT_LANES) {
        int64_t left = last - i;
        vt_lanes w = vload_upto(a->w + i, left);
        vt_lanes m = vload_upto(a->m + i, left), v = vload_upto(a->v + i, left);
        vt_lanes g = vmul(vload_upto(a->g + i, left), clip);
        if (a->decoupled)
            w = vmul(w, decay);
        else
            g = vfma(decay, w, g);
        m = vfma(take1, vsub(g, m), m);
        v = vadd(vmul(v, beta2), vmul(vmul(take2, g), g));
        vt_lanes root = vadd(vdiv(vsqrt(v), correction2), eps);
        vstore_upto(a->w + i, vadd(w, vdiv(vmul(down, m), root)), left);
        vstore_upto(a->m + i, m, left);
        vstore_upto(a->v + i, v, left);
    }
}

void VT_CPU(adam)(vt_dev *d, float *w, float *m, float *v, const float *g, int64_t n, double beta1,
                  double beta2, float eps, float decay, bool decoupled, const vt_step *step)
{
    struct adam a = {.w = w,
                     .m = m,
                     .v = v,
                     .g = g,
                     .clip = step->clip,
                     .decay = decoupled ? (float)(1.0 - (double)step->lr * (double)decay) : decay,
                     .take1 = (float)(1.0 - beta1),
                     .beta2 = (float)beta2,
                     .take2 = (float)(1.0 - beta2),
                     .eps = eps,
                     .step_size = step->lr / step->correction1,
                     .correction2 = step->correction2,
                     .decoupled = decoupled};
    if (step->stopped)
        return;
    vt_grid_run(vt_dev_pool(d), n, VT_FLAT_CHUNK, adam_part, &a);
}

struct squares {
    double *partial;
    const float *g;
};

/* The square of a float is exact in double and cannot overflow, nor can a sum of them. */
static void square_part(void *arg, int64_t first, int64_t last, int worker)
{
    const struct squares *a = arg;
    __m256d sum[4] = {0};
    (void)worker;
    for (int64_t i = first; i < last; i += VT_LANES) {
        vt_lanes g = vload_upto(a->g + i, last - i);
        __m128 quarter[4] = {_mm256_castps256_ps128(vlow(g)), _mm256_extractf128_ps(vlow(g), 1),
                             _mm256_castps256_ps128(vhigh(g)), _mm256_extractf128_ps(vhigh(g), 1)};
        for (int q = 0; q < 4; q++) {
            __m256d value = _mm256_cvtps_pd(quarter[q]);
            sum[q] = _mm256_fmadd_pd(value, value, sum[q]);
        }
    }
    /* the tree of vsum: lane i with i + 8, + 4, + 2, + 1 */
    __m256d four = _mm256_add_pd(_mm256_add_pd(sum[0], sum[2]), _mm256_add_pd(sum[1], sum[3]));
    __m128d two = _mm_add_pd(_mm256_castpd256_pd128(four), _mm256_extractf128_pd(four, 1));
    a->partial[first / VT_FLAT_CHUNK] = _mm_cvtsd_f64(_mm_add_sd(two, _mm_unpackhi_pd(two, two)));
}

void VT_CPU(sum_squares)(vt_dev *d, double *sum, const float *g, int64_t n, double *scratch)
{
    struct squares a = {scratch, g};
    int64_t chunks = vt_ceil_div(n, VT_FLAT_CHUNK);
    vt_grid_run(vt_dev_pool(d), n, VT_FLAT_CHUNK, square_part, &a);
    for (int64_t gap = 1; gap < chunks; gap *= 2)
        for (int64_t i = 0; i + gap < chunks; i += 2 * gap)
            scratch[i] += scratch[i + gap];
    *sum = chunks > 0 ? scratch[0] : 0.0;
}

void VT_CPU(clip_factor)(vt_dev *d, vt_step *step, const double *sum, float max_norm)
{
    double factor = (double)max_norm / (sqrt(*sum) + 1e-6);
    (void)d;
    step->clip = factor > 1.0 ? 1.0f : (float)factor; /* NaN stays */
}
