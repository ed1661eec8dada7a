#include "kernels/cpu/rows.h"

struct pooling {
    const vt_pooling_sizes *sizes;
    int64_t Ho, Wo;
    float *y, *dx;
    const float *x, *dy;
    int32_t *index;
    const int32_t *from; /* the forward pass's index */
    bool write;
};

struct range {
    int64_t first, last;
};

/* Places of a map of length `n` in window `i`. */
static struct range places_of(int64_t i, int64_t n, const vt_pooling_sizes *s)
{
    int64_t start = i * s->stride - s->pad;
    return (struct range){start > 0 ? start : 0, vt_min_i64(start + s->kernel, n)};
}

/* Windows, of `n`, that have the place. */
static struct range windows_with(int64_t place, int64_t n, const vt_pooling_sizes *s)
{
    int64_t before = place + s->pad - s->kernel; /* the last place before the window */
    return (struct range){before < 0 ? 0 : before / s->stride + 1,
                          vt_min_i64((place + s->pad) / s->stride + 1, n)};
}

/* The first largest of each column, and its place. Once a value is NaN, so is the result. */
static void pool_largest(const struct pooling *a, const float *map, int64_t at, struct range rows,
                         struct range cols)
{
    int64_t C = a->sizes->C, W = a->sizes->W;
    for (int64_t c = 0; c < C; c += VT_LANES) {
        int64_t left = C - c;
        int64_t start = rows.first * W + cols.first;
        vt_lanes most = vload_upto(map + start * C + c, left);
        vt_lanes place = vfrom_bits(vint_set1((int32_t)start));
        for (int64_t r = rows.first; r < rows.last; r++)
            for (int64_t k = cols.first; k < cols.last; k++) {
                vt_lanes x = vload_upto(map + (r * W + k) * C + c, left);
                vt_lanes here = vfrom_bits(vint_set1((int32_t)(r * W + k)));
                vt_mask more = vless(most, x), number = vequal(x, x);
                most = vselect(number, vselect(more, x, most), x);
                place = vselect(number, vselect(more, here, place), here);
            }
        vstore_upto(a->y + at * C + c, most, left);
        vstore_upto((float *)(void *)(a->index + at * C + c), place, left);
    }
}

static void pool_mean(const struct pooling *a, const float *map, int64_t at, struct range rows,
                      struct range cols)
{
    int64_t C = a->sizes->C;
    vt_lanes area = vset1((float)(a->sizes->kernel * a->sizes->kernel));
    for (int64_t c = 0; c < C; c += VT_LANES) {
        vt_lanes sum = vzero();
        for (int64_t r = rows.first; r < rows.last; r++)
            for (int64_t k = cols.first; k < cols.last; k++)
                sum = vadd(sum, vload_upto(map + (r * a->sizes->W + k) * C + c, C - c));
        vstore_upto(a->y + at * C + c, vdiv(sum, area), C - c);
    }
}

/* Items are rows of y. */
static void forward_rows(void *arg, int64_t first, int64_t last, int worker)
{
    const struct pooling *a = arg;
    const vt_pooling_sizes *s = a->sizes;
    (void)worker;
    for (int64_t item = first; item < last; item++) {
        const float *map = a->x + item / a->Ho * s->H * s->W * s->C;
        struct range rows = places_of(item % a->Ho, s->H, s);
        for (int64_t j = 0; j < a->Wo; j++) {
            struct range cols = places_of(j, s->W, s);
            if (s->kind == VT_POOLING_MAX)
                pool_largest(a, map, item * a->Wo + j, rows, cols);
            else
                pool_mean(a, map, item * a->Wo + j, rows, cols);
        }
    }
}

static struct pooling pooling_of(const vt_pooling_sizes *s)
{
    return (struct pooling){.sizes = s,
                            .Ho = (s->H + 2 * s->pad - s->kernel) / s->stride + 1,
                            .Wo = (s->W + 2 * s->pad - s->kernel) / s->stride + 1};
}

void VT_CPU(pooling_fwd)(vt_dev *d, vt_buf y, int32_t *index, vt_buf x,
                         const vt_pooling_sizes *sizes)
{
    struct pooling a = pooling_of(sizes);
    int64_t items = sizes->batch * a.Ho, area = sizes->kernel * sizes->kernel;
    a.y = vt_floats(y);
    a.x = vt_floats(x);
    a.index = index;
    vt_grid_run(vt_dev_pool(d), items, vt_chunk_items(items, a.Wo * sizes->C * area), forward_rows,
                &a);
}

/* What the windows hand to place (row, col): sums in the windows' order. */
static void gather_gradient(const struct pooling *a, int64_t image, int64_t row, int64_t col)
{
    const vt_pooling_sizes *s = a->sizes;
    struct range rows = windows_with(row, a->Ho, s), cols = windows_with(col, a->Wo, s);
    int64_t place = row * s->W + col;
    vt_lanes area = vset1((float)(s->kernel * s->kernel));
    vt_ints mine = vint_set1((int32_t)place);
    for (int64_t c = 0; c < s->C; c += VT_LANES) {
        int64_t left = s->C - c;
        vt_lanes sum = vzero();
        for (int64_t i = rows.first; i < rows.last; i++)
            for (int64_t j = cols.first; j < cols.last; j++) {
                int64_t at = ((image * a->Ho + i) * a->Wo + j) * s->C + c;
                vt_lanes dy = vload_upto(a->dy + at, left);
                if (s->kind == VT_POOLING_MAX) {
                    vt_lanes from = vload_upto((const float *)(const void *)(a->from + at), left);
                    dy = vselect(vint_equal(vbits_of(from), mine), dy, vzero());
                }
                sum = vadd(sum, dy);
            }
        if (s->kind == VT_POOLING_MEAN)
            sum = vdiv(sum, area);
        vgive_upto(a->dx + (image * s->H * s->W + place) * s->C + c, a->write, sum, left);
    }
}

/* Items are rows of dx. */
static void backward_rows(void *arg, int64_t first, int64_t last, int worker)
{
    const struct pooling *a = arg;
    int64_t H = a->sizes->H;
    (void)worker;
    for (int64_t item = first; item < last; item++)
        for (int64_t col = 0; col < a->sizes->W; col++)
            gather_gradient(a, item / H, item % H, col);
}

void VT_CPU(pooling_bwd)(vt_dev *d, vt_buf dx, bool write, vt_buf dy, const int32_t *index,
                         const vt_pooling_sizes *sizes)
{
    struct pooling a = pooling_of(sizes);
    int64_t items = sizes->batch * sizes->H, overlap = vt_ceil_div(sizes->kernel, sizes->stride);
    int64_t cost = sizes->W * sizes->C * (4 + overlap * overlap);
    a.dx = vt_floats(dx);
    a.dy = vt_floats(dy);
    a.from = index;
    a.write = write;
    vt_grid_run(vt_dev_pool(d), items, vt_chunk_items(items, cost), backward_rows, &a);
}
