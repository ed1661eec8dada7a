/* Depthwise convolution: each channel for itself, neighbours side by side, straight from the map.
 */
#include "kernels/cuda/conv.cuh"

enum {
    PLACES = 4,        /* of a row that a thread computes, to use a weight more than once */
    TAPS = 9,          /* whose gradients a thread holds */
    LINES = 8,         /* threads that share a channel's places */
    BLOCKS = 1056,     /* wanted for the weight's gradient */
    MOST_PARTS = 256,  /* ... */
    PART_PLACES = 256, /* of a part, at least */
};

/* packed (taps, C) of w (C, taps), in fp32 */
template <typename T> VT_KERNEL turn_weights(float *packed, const T *w, int64_t C, int64_t taps)
{
    const int64_t i = vt_index();
    if (i < C * taps)
        packed[i] = vt_get(&w[i % C * taps + i / C]);
}

/* ---- forward, and the gradient of the input */

/* A thread computes COUNT channels of PLACES places. */
template <typename T, int COUNT>
VT_KERNEL slide(T *to, bool write, const T *from, const float *packed, vt_conv_pass p)
{
    const int64_t C = p.groups, across = (p.w + PLACES - 1) / PLACES;
    int64_t rest = vt_index();
    const int64_t c = rest % (C / COUNT) * COUNT, j = (rest /= C / COUNT) % across * PLACES;
    const int64_t i = (rest /= across) % p.h, image = rest / p.h;
    if (image >= p.batch)
        return;
    const int64_t y = p.top + i * p.step, x = p.left + j * p.step;
    const int64_t first = y < 0 ? -y : 0, end = p.H - y < p.kh ? p.H - y : p.kh;
    float sum[PLACES][COUNT] = {};
    for (int64_t r = first; r < end; r++) {
        const T *line = from + (image * p.H + y + r) * p.W * C + c;
        for (int64_t q = 0; q < p.kw; q++) {
            float w[COUNT];
            vt_take<COUNT>(w, packed + (p.at + r * p.by_row + q * p.by_column) * C + c);
            for (int n = 0; n < PLACES; n++) {
                const int64_t column = x + n * p.step + q;
                float value[COUNT];
                if (column < 0 || column >= p.W)
                    continue;
                vt_take<COUNT>(value, line + column * C);
                for (int l = 0; l < COUNT; l++)
                    sum[n][l] = fmaf(w[l], value[l], sum[n][l]);
            }
        }
    }
    T *at = to + ((image * p.to_H + p.row + i * p.apart) * p.to_W + p.column) * C + c;
    for (int n = 0; n < PLACES; n++) {
        T *place = at + (j + n) * p.apart * C;
        if (j + n >= p.w)
            break;
        if (!write) {
            float before[COUNT];
            vt_take<COUNT>(before, place);
            for (int l = 0; l < COUNT; l++)
                sum[n][l] += before[l];
        }
        vt_put<COUNT>(place, sum[n]);
    }
}

/* Sixteen bytes of channels at once, where they go into them. */
template <typename T>
static void run_pass(vt_dev *d, vt_buf to, bool write, vt_buf from, const float *packed,
                     const vt_conv_pass &p)
{
    enum { COUNT = 16 / sizeof(T) };
    const int64_t strips = p.batch * p.h * vt_ceil_div(p.w, PLACES);
    const bool whole = p.groups % COUNT == 0;
    auto *const kernel = whole ? &slide<T, COUNT> : &slide<T, 1>;
    if (strips * p.groups > 0)
        VT_LAUNCH(d, kernel, vt_blocks(strips * (p.groups / (whole ? COUNT : 1))), VT_THREADS, 0,
                  vt_values<T>(to), write, vt_values<T>(from), packed, p);
}

static float *pack(vt_dev *d, vt_buf w, const vt_conv_sizes *sizes, void *scratch)
{
    float *packed = static_cast<float *>(scratch);
    const int64_t taps = sizes->kernel * sizes->kernel;
    VT_BY_TYPE(w, T,
               VT_LAUNCH(d, turn_weights<T>, vt_blocks(sizes->C * taps), VT_THREADS, 0, packed,
                         vt_values<T>(w), sizes->C, taps));
    return packed;
}

void VT_CUDA(dwconv_fwd)(vt_dev *d, vt_buf y, vt_buf x, vt_buf w, const vt_conv_sizes *sizes,
                         void *scratch)
{
    const float *packed = pack(d, w, sizes, scratch);
    VT_BY_TYPE(y, T, run_pass<T>(d, y, true, x, packed, vt_conv_forward(sizes)));
}

static void grade_input(vt_dev *d, vt_buf dx, bool write, vt_buf dy, vt_buf w,
                        const vt_conv_sizes *sizes, void *scratch)
{
    const float *packed = pack(d, w, sizes, scratch);
    for (int64_t i = 0; i < sizes->stride && i < sizes->H; i++)
        for (int64_t j = 0; j < sizes->stride && j < sizes->W; j++)
            VT_BY_TYPE(dx, T, run_pass<T>(d, dx, write, dy, packed, vt_conv_backward(sizes, i, j)));
}

/* ---- the gradient of the weight */

/* partial (parts, taps, C). A block sums up to TAPS taps of VT_WARP channels over one part of the
 * places, every thread each LINES-th place. */
template <typename T>
VT_KERNEL sum_products(float *partial, const T *dy, const T *x, vt_conv_pass p, int64_t across,
                       int64_t sets, int64_t height)
{
    float *room = vt_shared<float>();
    const int64_t C = p.groups, places = p.batch * p.h * p.w;
    const int lane = (int)threadIdx.x % VT_WARP, line = (int)threadIdx.x / VT_WARP;
    const int64_t c = blockIdx.x % across * VT_WARP + lane, part = blockIdx.x / across / sets;
    const int kernel = (int)p.kw, first = (int)(blockIdx.x / across % sets) * TAPS;
    const int taps = kernel * kernel - first < TAPS ? kernel * kernel - first : TAPS;
    const int64_t end = (part + 1) * height < places ? (part + 1) * height : places;
    int row[TAPS], column[TAPS];
    float sum[TAPS] = {};
    for (int tap = 0; tap < TAPS; tap++) {
        row[tap] = (first + tap) / kernel;
        column[tap] = (first + tap) % kernel;
    }
    if (c < C) {
        int64_t at = part * height + line, j = at % p.w, i = at / p.w % p.h;
        int64_t image = at / p.w / p.h;
        for (; at < end; at += LINES) {
            const float value = vt_get(&dy[at * C + c]);
            const int y = (int)(p.top + i * p.step), left = (int)(p.left + j * p.step);
            const T *from = x + image * p.H * p.W * C + c;
            for (int tap = 0; tap < TAPS; tap++) {
                const int r = y + row[tap], q = left + column[tap];
                if (tap < taps && (unsigned)r < (unsigned)p.H && (unsigned)q < (unsigned)p.W)
                    sum[tap] = fmaf(value, vt_get(&from[((int64_t)r * p.W + q) * C]), sum[tap]);
            }
            for (j += LINES; j >= p.w;) {
                j -= p.w;
                if (++i == p.h) {
                    i = 0;
                    image++;
                }
            }
        }
    }
    for (int tap = 0; tap < TAPS; tap++)
        room[(tap * LINES + line) * VT_WARP + lane] = sum[tap];
    vt_sync();
    for (int tap = line; tap < taps; tap += LINES) {
        float all = 0;
        for (int i = 0; i < LINES; i++)
            all += room[(tap * LINES + i) * VT_WARP + lane];
        if (c < C)
            partial[(part * kernel * kernel + first + tap) * C + c] = all;
    }
}

struct weight_cut {
    int64_t across, sets; /* blocks of channels; of taps */
    int64_t parts, height;
};

static weight_cut cut_weight(const vt_conv_pass &p)
{
    const int64_t places = p.batch * p.h * p.w;
    weight_cut cut = {};
    cut.across = vt_ceil_div(p.groups, VT_WARP);
    cut.sets = vt_ceil_div(p.kh * p.kw, TAPS);
    int64_t parts = BLOCKS / (cut.across * cut.sets > 0 ? cut.across * cut.sets : 1);
    if (parts > MOST_PARTS)
        parts = MOST_PARTS;
    if (parts > places / PART_PLACES)
        parts = places / PART_PLACES;
    cut.height = vt_ceil_div(places, parts > 1 ? parts : 1);
    cut.parts = cut.height > 0 ? vt_ceil_div(places, cut.height) : 0;
    return cut;
}

size_t VT_CUDA(dwconv_scratch)(const vt_conv_sizes *sizes, bool backward)
{
    const int64_t weights = sizes->C * sizes->kernel * sizes->kernel;
    const int64_t parts = backward ? cut_weight(vt_conv_forward(sizes)).parts : 1;
    return (size_t)((parts > 1 ? parts : 1) * weights) * sizeof(float);
}

static void grade_weight(vt_dev *d, float *dw, vt_buf dy, vt_buf x, const vt_conv_sizes *sizes,
                         void *scratch)
{
    const vt_conv_pass p = vt_conv_forward(sizes);
    const weight_cut cut = cut_weight(p);
    const int64_t blocks = cut.across * cut.sets * cut.parts, taps = p.kh * p.kw;
    float *partial = static_cast<float *>(scratch);
    if (blocks == 0)
        return;
    VT_BY_TYPE(x, T,
               VT_LAUNCH(d, sum_products<T>, dim3((unsigned)blocks), LINES * VT_WARP,
                         TAPS * LINES * VT_WARP * sizeof(float), partial, vt_values<T>(dy),
                         vt_values<T>(x), p, cut.across, cut.sets, cut.height));
    VT_LAUNCH(d, add_weight_parts, vt_blocks(sizes->C * taps), VT_THREADS, 0, dw, partial,
              (int64_t)1, sizes->C, taps, cut.parts);
}

void VT_CUDA(dwconv_bwd)(vt_dev *d, vt_buf dx, bool write, float *dw, vt_buf dy, vt_buf x, vt_buf w,
                         const vt_conv_sizes *sizes, void *scratch)
{
    if (dx.data)
        grade_input(d, dx, write, dy, w, sizes, scratch);
    if (dw)
        grade_weight(d, dw, dy, x, sizes, scratch);
}
