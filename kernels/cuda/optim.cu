/*
 * The optimisers, with PyTorch's order of operations, and the norm of the gradients. A thread has
 * four parameters, VT_THREADS apart: parameters begin anywhere, so that four side by side are not
 * aligned, and a warp's loads are whole lines all the same.
 */
#include "kernels/cuda/common.cuh"

enum { EACH = 4, SQUARES_CHUNK = 16384 };

struct sgd {
    float *w, *m;
    const float *g;
    int64_t n;
    float momentum, decay;
    bool nesterov, first;
    const vt_step *step;
};

VT_KERNEL step_sgd(sgd a)
{
    if (a.step->stopped)
        return;
    const float lr = a.step->lr, clip = a.step->clip;
    const int64_t first = (int64_t)blockIdx.x * (VT_THREADS * EACH) + threadIdx.x;
    float w[EACH], g[EACH], m[EACH];
    for (int k = 0; k < EACH; k++) {
        const int64_t i = first + k * VT_THREADS;
        const bool exists = i < a.n;
        w[k] = exists ? a.w[i] : 0.0f;
        g[k] = exists ? a.g[i] : 0.0f;
        m[k] = exists && a.m && !a.first ? a.m[i] : 0.0f;
    }
    for (int k = 0; k < EACH; k++) {
        const int64_t i = first + k * VT_THREADS;
        if (i >= a.n)
            continue;
        float down = fmaf(a.decay, w[k], g[k] * clip);
        if (a.m) {
            const float moved = a.first ? down : m[k] * a.momentum + down;
            a.m[i] = moved;
            down = a.nesterov ? fmaf(a.momentum, moved, down) : moved;
        }
        a.w[i] = fmaf(-lr, down, w[k]);
    }
}

struct adam {
    float *w, *m, *v;
    const float *g;
    int64_t n;
    float take1, beta2, take2, eps, decay; /* take = 1 - beta */
    bool decoupled;
    const vt_step *step;
};

VT_KERNEL step_adam(adam a)
{
    if (a.step->stopped)
        return;
    const float clip = a.step->clip, correction2 = a.step->correction2;
    const float size = a.step->lr / a.step->correction1;
    const float keep = (float)(1.0 - (double)a.step->lr * (double)a.decay);
    const int64_t first = (int64_t)blockIdx.x * (VT_THREADS * EACH) + threadIdx.x;
    float w[EACH], g[EACH], m[EACH], v[EACH];
    for (int k = 0; k < EACH; k++) {
        const int64_t i = first + k * VT_THREADS;
        const bool exists = i < a.n;
        w[k] = exists ? a.w[i] : 0.0f;
        g[k] = exists ? a.g[i] * clip : 0.0f;
        m[k] = exists ? a.m[i] : 0.0f;
        v[k] = exists ? a.v[i] : 0.0f;
    }
    for (int k = 0; k < EACH; k++) {
        const int64_t i = first + k * VT_THREADS;
        if (i >= a.n)
            continue;
        if (a.decoupled)
            w[k] *= keep;
        else
            g[k] = fmaf(a.decay, w[k], g[k]);
        const float m1 = fmaf(a.take1, g[k] - m[k], m[k]);
        const float v1 = v[k] * a.beta2 + a.take2 * g[k] * g[k];
        a.w[i] = w[k] + -size * m1 / (sqrtf(v1) / correction2 + a.eps);
        a.m[i] = m1;
        a.v[i] = v1;
    }
}

/* A block a chunk. The square of a float is exact in double and cannot overflow, nor can a sum of
 * them. */
VT_KERNEL square_chunk(double *partial, const float *g, int64_t n)
{
    const int64_t start = (int64_t)blockIdx.x * SQUARES_CHUNK;
    const int64_t end = start + SQUARES_CHUNK < n ? start + SQUARES_CHUNK : n;
    double sum[EACH] = {0, 0, 0, 0};
    for (int64_t i = start + threadIdx.x; i < end; i += EACH * VT_THREADS)
        for (int k = 0; k < EACH; k++) {
            const double value = i + k * VT_THREADS < end ? (double)g[i + k * VT_THREADS] : 0;
            sum[k] = fma(value, value, sum[k]);
        }
    const double all = vt_block_sum((sum[0] + sum[2]) + (sum[1] + sum[3]), vt_shared<double>());
    if (threadIdx.x == 0)
        partial[blockIdx.x] = all;
}

VT_KERNEL add_squares(double *sum, const double *partial, int64_t chunks)
{
    double mine = 0;
    for (int64_t i = threadIdx.x; i < chunks; i += VT_THREADS)
        mine += partial[i];
    mine = vt_block_sum(mine, vt_shared<double>());
    if (threadIdx.x == 0)
        *sum = mine;
}

VT_KERNEL find_clip(vt_step *step, const double *sum, float max_norm)
{
    const double factor = (double)max_norm / (sqrt(*sum) + 1e-6);
    if (threadIdx.x == 0)
        step->clip = factor > 1.0 ? 1.0f : (float)factor; /* NaN stays */
}

void VT_CUDA(sgd)(vt_dev *d, float *w, float *m, const float *g, int64_t n, float momentum,
                  float decay, bool nesterov, bool first, const vt_step *step)
{
    const sgd a = {w, m, g, n, momentum, decay, nesterov, first, step};
    VT_LAUNCH(d, step_sgd, vt_blocks(vt_ceil_div(n, EACH)), VT_THREADS, 0, a);
}

void VT_CUDA(adam)(vt_dev *d, float *w, float *m, float *v, const float *g, int64_t n, double beta1,
                   double beta2, float eps, float decay, bool decoupled, const vt_step *step)
{
    const adam a = {
        w,   m,     v,         g,   n, (float)(1.0 - beta1), (float)beta2, (float)(1.0 - beta2),
        eps, decay, decoupled, step};
    VT_LAUNCH(d, step_adam, vt_blocks(vt_ceil_div(n, EACH)), VT_THREADS, 0, a);
}

void VT_CUDA(sum_squares)(vt_dev *d, double *sum, const float *g, int64_t n, double *scratch)
{
    const int64_t chunks = vt_ceil_div(n, SQUARES_CHUNK);
    const size_t room = VT_WARP * sizeof(double);
    if (chunks > 0)
        VT_LAUNCH(d, square_chunk, dim3((unsigned)chunks), VT_THREADS, room, scratch, g, n);
    VT_LAUNCH(d, add_squares, dim3(1), VT_THREADS, room, sum, scratch, chunks);
}

void VT_CUDA(clip_factor)(vt_dev *d, vt_step *step, const double *sum, float max_norm)
{
    VT_LAUNCH(d, find_clip, dim3(1), VT_WARP, 0, step, sum, max_norm);
}
