/* The activations, element by element. */
#include "kernels/cuda/activation.cuh"

VT_KERNEL activate(float *y, const float *x, int64_t n, vt_activation_kind kind)
{
    const int64_t i = vt_index();
    if (i < n)
        y[i] = vt_activate(x[i], kind);
}

VT_KERNEL slope(float *dx, bool write, float *y, const float *dy, const float *x, int64_t n,
                vt_activation_kind kind)
{
    const int64_t i = vt_index();
    if (i >= n)
        return;
    vt_give(&dx[i], write, dy[i] * vt_activate_slope(x[i], kind));
    if (y)
        y[i] = vt_activate(x[i], kind);
}

void VT_CUDA(activation_fwd)(vt_dev *d, vt_buf y, vt_buf x, int64_t n, vt_activation_kind kind)
{
    VT_LAUNCH(d, activate, vt_blocks(n), VT_THREADS, 0, vt_floats(y), vt_floats(x), n, kind);
}

void VT_CUDA(activation_bwd)(vt_dev *d, vt_buf dx, bool write, vt_buf y, vt_buf dy, vt_buf x,
                             int64_t n, vt_activation_kind kind)
{
    VT_LAUNCH(d, slope, vt_blocks(n), VT_THREADS, 0, vt_floats(dx), write, vt_floats(y),
              vt_floats(dy), vt_floats(x), n, kind);
}
