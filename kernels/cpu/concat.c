#include "kernels/cpu/rows.h"

#include <string.h>

struct concat {
    float *y, *da, *db;
    const float *a, *b, *dy;
    int64_t Ca, Cb;
    bool write_a, write_b;
};

static void forward_rows(void *arg, int64_t first, int64_t last, int worker)
{
    const struct concat *a = arg;
    (void)worker;
    for (int64_t r = first; r < last; r++) {
        float *y = a->y + r * (a->Ca + a->Cb);
        memcpy(y, a->a + r * a->Ca, (size_t)a->Ca * sizeof *y);
        memcpy(y + a->Ca, a->b + r * a->Cb, (size_t)a->Cb * sizeof *y);
    }
}

void VT_CPU(concat_fwd)(vt_dev *d, vt_buf y, vt_buf a, vt_buf b, int64_t rows, int64_t Ca,
                        int64_t Cb)
{
    struct concat args = {
        .y = vt_floats(y), .a = vt_floats(a), .b = vt_floats(b), .Ca = Ca, .Cb = Cb};
    vt_grid_run(vt_dev_pool(d), rows, vt_chunk_items(rows, 8 * (Ca + Cb)), forward_rows, &args);
}

static void give_row(float *to, bool write, const float *from, int64_t n)
{
    for (int64_t c = 0; c < n; c += VT_LANES)
        vgive_upto(to + c, write, vload_upto(from + c, n - c), n - c);
}

static void backward_rows(void *arg, int64_t first, int64_t last, int worker)
{
    const struct concat *a = arg;
    (void)worker;
    for (int64_t r = first; r < last; r++) {
        const float *dy = a->dy + r * (a->Ca + a->Cb);
        if (a->da)
            give_row(a->da + r * a->Ca, a->write_a, dy, a->Ca);
        if (a->db)
            give_row(a->db + r * a->Cb, a->write_b, dy + a->Ca, a->Cb);
    }
}

void VT_CPU(concat_bwd)(vt_dev *d, vt_buf da, bool write_a, vt_buf db, bool write_b, vt_buf dy,
                        int64_t rows, int64_t Ca, int64_t Cb)
{
    struct concat args = {.da = vt_floats(da),
                          .db = vt_floats(db),
                          .dy = vt_floats(dy),
                          .Ca = Ca,
                          .Cb = Cb,
                          .write_a = write_a,
                          .write_b = write_b};
    vt_grid_run(vt_dev_pool(d), rows, vt_chunk_items(rows, 8 * (Ca + Cb)), backward_rows, &args);
}
