/* How convolutions are computed on the GPU: what the dense and the depthwise ones share. */
#ifndef VT_CUDA_CONV_CUH
#define VT_CUDA_CONV_CUH

#include "kernels/cuda/places.cuh"

/*
 * The forward pass and the gradient of the input are the same computation: for all images, all
 * places (i, j) with i < h and j < w, and each group of channels
 *
 *     to[row + i * apart, column + j * apart, o] = or +=
 *         sum over r < kh, q < kw, c < C of from[top + i * step + r, left + j * step + q, c] *
 *         w[at + group * by_group + o * by_output + c * by_input + r * by_row + q * by_column]
 *
 * where `from` (H, W) is 0 outside, and o < O. C and O count the channels of a group. With stride s
 * the gradient is s * s of these, one for each place of the input within a stride: only the taps
 * (row + pad) mod s, ... + s, ... meet that place, and no zero is multiplied.
 */
struct vt_conv_pass {
    int64_t batch, groups;
    int64_t H, W, C;
    int64_t h, w, O;
    int64_t kh, kw, step, top, left;
    int64_t to_H, to_W, row, column, apart;
    int64_t at, by_group, by_output, by_input, by_row, by_column;
};

static inline vt_conv_pass vt_conv_forward(const vt_conv_sizes *s)
{
    const int64_t k = s->kernel;
    vt_conv_pass p = {};
    p.batch = s->batch;
    p.groups = s->groups;
    p.H = s->H;
    p.W = s->W;
    p.C = s->C / s->groups;
    p.h = p.to_H = vt_conv_out(s->H, k, s->stride, s->pad);
    p.w = p.to_W = vt_conv_out(s->W, k, s->stride, s->pad);
    p.O = s->O / s->groups;
    p.kh = p.kw = k;
    p.step = s->stride;
    p.top = p.left = -s->pad;
    p.apart = 1;
    p.by_group = p.O * p.C * k * k;
    p.by_output = p.C * k * k;
    p.by_input = k * k;
    p.by_row = k;
    p.by_column = 1;
    return p;
}

/* The gradient of the input's places (row, column), (row + stride, column), ...; row and column are
 * less than the stride. */
static inline vt_conv_pass vt_conv_backward(const vt_conv_sizes *s, int64_t row, int64_t column)
{
    const int64_t k = s->kernel, step = s->stride;
    const int64_t r = (row + s->pad) % step, q = (column + s->pad) % step; /* first taps */
    vt_conv_pass p = {};
    p.batch = s->batch;
    p.groups = s->groups;
    p.H = vt_conv_out(s->H, k, step, s->pad);
    p.W = vt_conv_out(s->W, k, step, s->pad);
    p.C = s->O / s->groups;
    p.h = vt_ceil_div(s->H - row, step);
    p.w = vt_ceil_div(s->W - column, step);
    p.O = s->C / s->groups;
    p.kh = r < k ? vt_ceil_div(k - r, step) : 0;
    p.kw = q < k ? vt_ceil_div(k - q, step) : 0;
    p.step = 1;
    p.top = (row + s->pad) / step - (p.kh - 1);
    p.left = (column + s->pad) / step - (p.kw - 1);
    p.to_H = s->H;
    p.to_W = s->W;
    p.row = row;
    p.column = column;
    p.apart = step;
    p.by_group = p.O * p.C * k * k;
    p.by_output = k * k;
    p.by_input = p.O * k * k;
    p.at = (r + step * (p.kh - 1)) * k + q + step * (p.kw - 1);
    p.by_row = -step * k;
    p.by_column = -step;
    return p;
}

/* How the weight's gradient is cut: into tiles of outputs by (tap, channel), and its sums into
 * parts of some places each, which are added in order. */
struct vt_weight_cut {
    int64_t down, across;  /* tiles of a group */
    int64_t parts, height; /* height: places of a part, a multiple of `depth` */
};

/* Tiles are `tall` by `wide`, and a grid of `blocks` of them is wanted. */
static inline vt_weight_cut vt_cut_weight(const vt_conv_pass &p, int64_t tall, int64_t wide,
                                          int64_t blocks, int64_t depth)
{
    enum {
        MOST_PARTS = 256,
        PART_PLACES = 128 /* at least */,
        PARTS_FLOATS = 1 << 24 /* of all */
    };
    const int64_t places = p.batch * p.h * p.w, weights = p.groups * p.by_group;
    vt_weight_cut cut = {vt_ceil_div(p.O, tall), vt_ceil_div(p.by_output, wide), 1, depth};
    const int64_t tiles = cut.down * cut.across * p.groups;
    const int64_t most[] = {vt_ceil_div(blocks, tiles > 1 ? tiles : 1), MOST_PARTS,
                            places / PART_PLACES, PARTS_FLOATS / (weights > 1 ? weights : 1)};
    int64_t parts = most[0];
    for (int i = 1; i < 4; i++)
        parts = most[i] < parts ? most[i] : parts;
    const int64_t height = vt_ceil_div(places, parts > 1 ? parts : 1);
    cut.height = (height > 1 ? vt_ceil_div(height, depth) : 1) * depth;
    cut.parts = vt_ceil_div(places, cut.height);
    return cut;
}

/*
 * conv_mma.cu: the same by the tensor cores, for buffers of type TF32 and BF16. scratch:
 * vt_conv_mma_scratch(...) bytes.
 */
size_t vt_conv_mma_scratch(const vt_conv_sizes *sizes, bool backward);
/* A pass. bias (groups * O); its data may be NULL. */
void vt_conv_mma_pass(vt_dev *d, vt_buf to, bool write, vt_buf from, vt_buf w, vt_buf bias,
                      const vt_conv_pass &p, void *scratch);
/* dw += ..., of the forward pass p. */
void vt_conv_mma_weight(vt_dev *d, float *dw, vt_buf dy, vt_buf x, const vt_conv_pass &p,
                        void *scratch);

/* COUNT numbers side by side: one, or pieces of sixteen bytes, or of eight for four bfloat16. */
template <int COUNT> VT_DEVICE void vt_take(float *to, const float *from)
{
    if (COUNT % 4 == 0) {
        for (int i = 0; i < COUNT; i += 4) {
            const float4 x = *reinterpret_cast<const float4 *>(from + i);
            to[i] = x.x;
            to[i + 1] = x.y;
            to[i + 2] = x.z;
            to[i + 3] = x.w;
        }
    } else {
        for (int i = 0; i < COUNT; i++)
            to[i] = from[i];
    }
}
template <int COUNT> VT_DEVICE void vt_put(float *to, const float *from)
{
    if (COUNT == 4)
        *reinterpret_cast<float4 *>(to) = make_float4(from[0], from[1], from[2], from[3]);
    else
        for (int i = 0; i < COUNT; i++)
            to[i] = from[i];
}

template <int COUNT> VT_DEVICE void vt_take(float *to, const vt_bf16 *from)
{
    if constexpr (COUNT == 1) {
        to[0] = vt_get(from);
    } else {
        const auto pairs = *reinterpret_cast<const vt_pack<uint32_t, COUNT / 2> *>(from);
        for (int i = 0; i < COUNT / 2; i++) {
            const uint32_t two[] = {pairs.at[i] << 16, pairs.at[i] & 0xffff0000u};
            memcpy(to + 2 * i, two, sizeof two);
        }
    }
}
template <int COUNT> VT_DEVICE void vt_put(vt_bf16 *to, const float *from)
{
    if constexpr (COUNT == 1) {
        vt_put(to, from[0]);
    } else {
        vt_pack<uint32_t, COUNT / 2> pairs;
        for (int i = 0; i < COUNT / 2; i++)
            pairs.at[i] = vt_bf16_pair(from[2 * i], from[2 * i + 1]);
        *reinterpret_cast<vt_pack<uint32_t, COUNT / 2> *>(to) = pairs;
    }
}

/* dw (outputs, C, taps) += the parts of partial (parts, outputs, taps, C), in order. */
VT_KERNEL add_weight_parts(float *dw, const float *partial, int64_t outputs, int64_t C,
                           int64_t taps, int64_t parts)
{
    const int64_t i = vt_index(), terms = C * taps, elements = outputs * terms;
    if (i >= elements)
        return;
    float sum = partial[i];
    for (int64_t part = 1; part < parts; part++)
        sum += partial[part * elements + i];
    const int64_t term = i % terms, c = term % C, tap = term / C;
    dw[i - term + c * taps + tap] += sum;
}

#endif
