#include "kernels/cpu/rows.h"

struct resize {
    const vt_resize_sizes *sizes;
    float *y, *dx;
    const float *x, *dy;
    bool write;
};

/* A value of the new map along one axis: (1 - share) x[low] + share x[low + 1]. */
struct tap {
    int64_t low;
    float share;
};

/* Where value i of m lies among n: at i n / m, or ((2 i + 1) n - m) / 2m. The floor of the fraction
 * is exact and its rest rounded once. */
static struct tap tap_of(int64_t i, int64_t n, int64_t m, vt_resize_kind kind)
{
    int64_t above = (2 * i + 1) * n - m, low = above / (2 * m);
    if (kind == VT_RESIZE_NEAREST)
        return (struct tap){i * n / m, 0};
    if (above <= 0 || low >= n - 1)
        return (struct tap){above <= 0 ? 0 : n - 1, 0};
    return (struct tap){low, (float)(above % (2 * m)) / (float)(2 * m)};
}

static vt_lanes mix(vt_lanes a, vt_lanes b, float share)
{
    return vfma(b, vset1(share), vmul(a, vset1(1 - share)));
}

/* Sixteen columns of a value between p and its right neighbour. What has no share is not read, so
 * that a value which is a copy is one, whatever its neighbour holds. */
static vt_lanes mix_across(const float *p, int64_t C, float share, int64_t left)
{
    vt_lanes value = vload_upto(p, left);
    return share > 0 ? mix(value, vload_upto(p + C, left), share) : value;
}

/* Items are rows of y. */
static void forward_rows(void *arg, int64_t first, int64_t last, int worker)
{
    const struct resize *a = arg;
    const vt_resize_sizes *s = a->sizes;
    (void)worker;
    for (int64_t item = first; item < last; item++) {
        const float *map = a->x + item / s->Ho * s->H * s->W * s->C;
        struct tap row = tap_of(item % s->Ho, s->H, s->Ho, s->kind);
        for (int64_t j = 0; j < s->Wo; j++) {
            struct tap col = tap_of(j, s->W, s->Wo, s->kind);
            const float *x = map + (row.low * s->W + col.low) * s->C, *below = x + s->W * s->C;
            float *y = a->y + (item * s->Wo + j) * s->C;
            for (int64_t c = 0; c < s->C; c += VT_LANES) {
                vt_lanes value = mix_across(x + c, s->C, col.share, s->C - c);
                if (row.share > 0)
                    value = mix(value, mix_across(below + c, s->C, col.share, s->C - c), row.share);
                vstore_upto(y + c, value, s->C - c);
            }
        }
    }
}

void VT_CPU(resize_fwd)(vt_dev *d, vt_buf y, vt_buf x, const vt_resize_sizes *sizes)
{
    struct resize a = {.sizes = sizes, .y = vt_floats(y), .x = vt_floats(x)};
    int64_t items = sizes->batch * sizes->Ho, cost = 8 * sizes->Wo * sizes->C;
    vt_grid_run(vt_dev_pool(d), items, vt_chunk_items(items, cost), forward_rows, &a);
}

struct range {
    int64_t first, last;
};

/* The values, of m, in which place `p` of n has a share: those that lie in (p - 1, p + 1), and all
 * beyond the ends. */
static struct range users_of(int64_t p, int64_t n, int64_t m, vt_resize_kind kind)
{
    if (kind == VT_RESIZE_NEAREST)
        return (struct range){vt_ceil_div(p * m, n), vt_ceil_div((p + 1) * m, n)};
    int64_t low = (2 * p - 1) * m - n, high = (2 * p + 3) * m - n;
    return (struct range){p == 0 || low < 0 ? 0 : low / (2 * n) + 1,
                          p == n - 1 ? m : vt_min_i64(m, vt_ceil_div(high, 2 * n))};
}

static float share_of(int64_t place, struct tap t)
{
    return place == t.low ? 1 - t.share : t.share;
}

/* What the new map hands to place (row, col): a sum in that map's order. */
static void gather_gradient(const struct resize *a, int64_t image, int64_t row, int64_t col)
{
    const vt_resize_sizes *s = a->sizes;
    struct range rows = users_of(row, s->H, s->Ho, s->kind);
    struct range cols = users_of(col, s->W, s->Wo, s->kind);
    float *dx = a->dx + ((image * s->H + row) * s->W + col) * s->C;
    for (int64_t c = 0; c < s->C; c += VT_LANES) {
        vt_lanes sum = vzero();
        for (int64_t i = rows.first; i < rows.last; i++) {
            const float *dy = a->dy + (image * s->Ho + i) * s->Wo * s->C + c;
            float down = share_of(row, tap_of(i, s->H, s->Ho, s->kind));
            for (int64_t j = cols.first; j < cols.last; j++) {
                float share = down * share_of(col, tap_of(j, s->W, s->Wo, s->kind));
                sum = vfma(vload_upto(dy + j * s->C, s->C - c), vset1(share), sum);
            }
        }
        vgive_upto(dx + c, a->write, sum, s->C - c);
    }
}

/* Items are rows of dx. */
static void backward_rows(void *arg, int64_t first, int64_t last, int worker)
{
    const struct resize *a = arg;
    int64_t H = a->sizes->H;
    (void)worker;
    for (int64_t item = first; item < last; item++)
        for (int64_t col = 0; col < a->sizes->W; col++)
            gather_gradient(a, item / H, item % H, col);
}

void VT_CPU(resize_bwd)(vt_dev *d, vt_buf dx, bool write, vt_buf dy, const vt_resize_sizes *sizes)
{
    struct resize a = {.sizes = sizes, .dx = vt_floats(dx), .dy = vt_floats(dy), .write = write};
    int64_t items = sizes->batch * sizes->H, new_map = sizes->Ho * sizes->Wo;
    int64_t cost = 8 * sizes->C * (sizes->W + new_map / sizes->H);
    vt_grid_run(vt_dev_pool(d), items, vt_chunk_items(items, cost), backward_rows, &a);
}
