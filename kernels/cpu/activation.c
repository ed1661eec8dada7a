#include "kernels/cpu/activation.h"
#include "kernels/cpu/rows.h"

struct activation {
    float *out; /* y, or dx */
    const float *dy, *x;
    vt_activation_kind kind;
    bool write;
};

static void forward_part(void *arg, int64_t first, int64_t last, int worker)
{
    const struct activation *a = arg;
    (void)worker;
    for (int64_t i = first; i < last; i += VT_LANES) {
        vt_lanes x = vload_upto(a->x + i, last - i);
        vstore_upto(a->out + i, vactivate(x, a->kind), last - i);
    }
}

void VT_CPU(activation_fwd)(vt_dev *d, vt_buf y, vt_buf x, int64_t n, vt_activation_kind kind)
{
    struct activation a = {.out = vt_floats(y), .x = vt_floats(x), .kind = kind};
    vt_grid_run(vt_dev_pool(d), n, VT_FLAT_CHUNK, forward_part, &a);
}

static void backward_part(void *arg, int64_t first, int64_t last, int worker)
{
    const struct activation *a = arg;
    (void)worker;
    for (int64_t i = first; i < last; i += VT_LANES) {
        int64_t left = last - i;
        vt_lanes x = vload_upto(a->x + i, left), dy = vload_upto(a->dy + i, left);
        vgive_upto(a->out + i, a->write, vmul(dy, vactivate_slope(x, a->kind)), left);
    }
}

void VT_CPU(activation_bwd)(vt_dev *d, vt_buf dx, bool write, vt_buf dy, vt_buf x, int64_t n,
                            vt_activation_kind kind)
{
    struct activation a = {vt_floats(dx), vt_floats(dy), vt_floats(x), kind, write};
    vt_grid_run(vt_dev_pool(d), n, VT_FLAT_CHUNK, backward_part, &a);
}
