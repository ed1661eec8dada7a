#include "kernels/cpu/rows.h"

#include <string.h>

struct patchify {
    float *y;
    const float *x;
    int64_t H, W, C, p, h, w; /* map of h x w patches */
};

static void patchify_rows(void *arg, int64_t first, int64_t last, int worker)
{
    const struct patchify *a = arg;
    int64_t H = a->H, W = a->W, C = a->C, p = a->p;
    (void)worker;
    for (int64_t item = first; item < last; item++) { /* a row of patches of one image */
        const float *image = a->x + item / a->h * H * W * C;
        int64_t top = item % a->h * p;
        for (int64_t patch = 0; patch < a->w; patch++) {
            float *y = a->y + (item * a->w + patch) * C * p * p;
            int64_t left = patch * p, width = vt_min_i64(p, W - left);
            for (int64_t line = 0; line < C * p; line++, y += p) { /* channel, row */
                int64_t c = line / p, row = top + line % p, n = row < H ? width : 0;
                const float *x = image + (row * W + left) * C + c;
                for (int64_t col = 0; col < p; col++)
                    y[col] = col < n ? x[col * C] : 0.0f;
            }
        }
    }
}

void VT_CPU(patchify_fwd)(vt_dev *d, vt_buf y, vt_buf x, int64_t batch, int64_t H, int64_t W,
                          int64_t C, int64_t p)
{
    struct patchify a = {.y = vt_floats(y), .x = vt_floats(x), .H = H, .W = W, .C = C, .p = p};
    a.h = vt_ceil_div(H, p);
    a.w = vt_ceil_div(W, p);
    int64_t items = batch * a.h;
    vt_grid_run(vt_dev_pool(d), items, vt_chunk_items(items, 8 * a.w * C * p * p), patchify_rows,
                &a);
}

struct merge {
    float *y, *dx;
    const float *x, *dy;
    int64_t H, W, C, h, w;
    bool write;
};

/* Where neighbour k = 0..3 of place (item, col) of the small map lies in the large one: an element
 * number, or -1 outside. Neighbours go down the column first. */
static int64_t find_neighbour(const struct merge *a, int64_t item, int64_t col, int64_t k)
{
    int64_t image = item / a->h, row = item % a->h * 2 + k % 2, column = col * 2 + k / 2;
    if (row >= a->H || column >= a->W)
        return -1;
    return ((image * a->H + row) * a->W + column) * a->C;
}

static void merge_rows(void *arg, int64_t first, int64_t last, int worker)
{
    const struct merge *a = arg;
    size_t size_bytes = (size_t)a->C * sizeof(float);
    (void)worker;
    for (int64_t item = first; item < last; item++) {
        float *y = a->y + item * a->w * 4 * a->C;
        for (int64_t i = 0; i < 4 * a->w; i++, y += a->C) {
            int64_t from = find_neighbour(a, item, i / 4, i % 4);
            if (from >= 0)
                memcpy(y, a->x + from, size_bytes);
            else
                memset(y, 0, size_bytes);
        }
    }
}

void VT_CPU(merge_fwd)(vt_dev *d, vt_buf y, vt_buf x, int64_t batch, int64_t H, int64_t W,
                       int64_t C)
{
    struct merge a = {.y = vt_floats(y), .x = vt_floats(x), .H = H, .W = W, .C = C};
    a.h = vt_ceil_div(H, 2);
    a.w = vt_ceil_div(W, 2);
    int64_t items = batch * a.h;
    vt_grid_run(vt_dev_pool(d), items, vt_chunk_items(items, 32 * a.w * C), merge_rows, &a);
}

/* Every place of the large map is the neighbour of exactly one place, so rows do not meet. */
static void unmerge_rows(void *arg, int64_t first, int64_t last, int worker)
{
    const struct merge *a = arg;
    (void)worker;
    for (int64_t item = first; item < last; item++) {
        const float *dy = a->dy + item * a->w * 4 * a->C;
        for (int64_t i = 0; i < 4 * a->w; i++, dy += a->C) {
            int64_t to = find_neighbour(a, item, i / 4, i % 4);
            for (int64_t c = 0; to >= 0 && c < a->C; c += VT_LANES)
                vgive_upto(a->dx + to + c, a->write, vload_upto(dy + c, a->C - c), a->C - c);
        }
    }
}

void VT_CPU(merge_bwd)(vt_dev *d, vt_buf dx, bool write, vt_buf dy, int64_t batch, int64_t H,
                       int64_t W, int64_t C)
{
    struct merge a = {.dx = vt_floats(dx), .dy = vt_floats(dy), .H = H, .W = W, .C = C};
    a.h = vt_ceil_div(H, 2);
    a.w = vt_ceil_div(W, 2);
    a.write = write;
    int64_t items = batch * a.h;
    vt_grid_run(vt_dev_pool(d), items, vt_chunk_items(items, 32 * a.w * C), unmerge_rows, &a);
}
