#include "kernels/cpu/activation.h"
#include "kernels/cpu/rows.h"

struct activation {
    float *y, *dx; /* NULL if not wanted */
    const float *dy, *x;
    vt_activation_kind kind;
    bool write;
};

VT_INLINE void forward_as(const struct activation *a, int64_t first, int64_t last,
                          const vt_activation_kind kind)
{
    for (int64_t i = first; i < last; i += VT_LANES) {
        vt_lanes x = vload_upto(a->x + i, last - i);
        vstore_upto(a->y + i, vactivate(x, kind), last - i);
    }
}

VT_INLINE void backward_loop(const struct activation *a, int64_t first, int64_t last,
                             const vt_activation_kind kind, const bool remake)
{
    for (int64_t i = first; i < last; i += VT_LANES) {
        int64_t left = last - i;
        vt_lanes x = vload_upto(a->x + i, left), dy = vload_upto(a->dy + i, left);
        vgive_upto(a->dx + i, a->write, vmul(dy, vactivate_slope(x, kind)), left);
        if (remake) /* shares with the slope what both compute */
            vstore_upto(a->y + i, vactivate(x, kind), left);
    }
}

VT_INLINE void backward_as(const struct activation *a, int64_t first, int64_t last,
                           const vt_activation_kind kind)
{
    if (a->y)
        backward_loop(a, first, last, kind, true);
    else
        backward_loop(a, first, last, kind, false);
}

static void forward_part(void *arg, int64_t first, int64_t last, int worker)
{
    const struct activation *a = arg;
    (void)worker;
    VT_BY_ACTIVATION(a->kind, forward_as, a, first, last);
}

static void backward_part(void *arg, int64_t first, int64_t last, int worker)
{
    const struct activation *a = arg;
    (void)worker;
    VT_BY_ACTIVATION(a->kind, backward_as, a, first, last);
}

void VT_CPU(activation_fwd)(vt_dev *d, vt_buf y, vt_buf x, int64_t n, vt_activation_kind kind)
{
    struct activation a = {.y = vt_floats(y), .x = vt_floats(x), .kind = kind};
    vt_grid_run(vt_dev_pool(d), n, VT_FLAT_CHUNK, forward_part, &a);
}

void VT_CPU(activation_bwd)(vt_dev *d, vt_buf dx, bool write, vt_buf y, vt_buf dy, vt_buf x,
                            int64_t n, vt_activation_kind kind)
{
    struct activation a = {.y = vt_floats(y),
                           .dx = vt_floats(dx),
                           .dy = vt_floats(dy),
                           .x = vt_floats(x),
                           .kind = kind,
                           .write = write};
    vt_grid_run(vt_dev_pool(d), n, VT_FLAT_CHUNK, backward_part, &a);
}
