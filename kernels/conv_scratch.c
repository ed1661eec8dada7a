#include "kernels/cpu/conv_layout.h"
#include "kernels/device.h"

int64_t vt_conv_out(int64_t size, int64_t kernel, int64_t stride, int64_t pad)
{
    return (size + 2 * pad - kernel) / stride + 1;
}

static int64_t larger(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

size_t vt_conv_scratch(const vt_conv_sizes *sizes, bool backward)
{
    const vt_conv_pass p = vt_conv_forward(sizes);
    if (!backward)
        return (size_t)vt_conv_packed(&p) * sizeof(float);
    const int64_t partial = vt_conv_parts(&p) * p.groups * p.by_group;
    const int64_t sums = vt_row_chunks(p.batch * p.h * p.w) * sizes->O;
    const int64_t packed = p.groups * vt_conv_panels(p.C) * VT_CONV_PANEL * p.kh * p.kw * p.O;
    return (size_t)larger(larger(partial, sums), packed) * sizeof(float);
}

size_t vt_conv_worker_scratch(const vt_conv_sizes *sizes)
{
    const vt_conv_pass forward = vt_conv_forward(sizes);
    int64_t source = vt_conv_source(&forward);
    for (int64_t row = 0; row < sizes->stride && row < sizes->H; row++)
        for (int64_t column = 0; column < sizes->stride && column < sizes->W; column++) {
            const vt_conv_pass p = vt_conv_backward(sizes, row, column);
            source = larger(source, vt_conv_source(&p));
        }
    const int64_t sums = (VT_CONV_PLACES + VT_CONV_TILE) * 2 * VT_CONV_PANEL;
    const int64_t gradients =
        VT_CONV_PLACES * (VT_CONV_CHANNELS + vt_conv_gathered(&forward)) + 2 * VT_CONV_PANEL;
    return (size_t)(source + larger(sums, gradients)) * sizeof(float);
}

/* Packed weights, and backward the partial sums of their gradient. */
size_t vt_dwconv_scratch(const vt_conv_sizes *sizes, bool backward)
{
    const int64_t weights = sizes->C * sizes->kernel * sizes->kernel;
    const int64_t parts = backward ? vt_row_chunks(sizes->batch * vt_dwconv_bands(sizes)) : 0;
    return (size_t)((1 + parts) * weights) * sizeof(float);
}
