#include "kernels/cpu/draw.h"
#include "kernels/cpu/rows.h"

/*
 * Work is cut into pieces of one image, at most VT_FLAT_CHUNK values long, so that a piece has one
 * drop path draw and whole runs of dropout draws.
 */
struct pieces {
    float *y, *dx, *df;
    const float *x, *f, *dy;
    const vt_step *step;
    int64_t n, per_image;
    float rate;
    vt_draw_stream stream;
    bool write_x, write_f;
};

/* Values [*from, *from + result) of the flat arrays are piece `item`. */
static int64_t find_piece(const struct pieces *a, int64_t item, int64_t *from)
{
    int64_t image = item / a->per_image, start = item % a->per_image * VT_FLAT_CHUNK;
    *from = image * a->n + start;
    return vt_min_i64(a->n - start, VT_FLAT_CHUNK);
}

static void run_pieces(vt_dev *d, struct pieces *a, int64_t batch, int64_t n, vt_chunk_fn *fn)
{
    a->n = n;
    a->per_image = vt_ceil_div(n, VT_FLAT_CHUNK);
    int64_t items = batch * a->per_image;
    int64_t chunk = VT_FLAT_CHUNK / vt_min_i64(n > 0 ? n : 1, VT_FLAT_CHUNK);
    VT_ASSERT(a->rate >= 0.0f && a->rate < 1.0f);
    vt_grid_run(vt_dev_pool(d), items, chunk, fn, a);
}

/* What the image's branch is multiplied by. */
static float path_scale(const struct pieces *a, int64_t item)
{
    uint32_t word;
    if (!(a->rate > 0.0f))
        return 1.0f;
    vt_draw_words(&word, a->step, a->stream, item / a->per_image, 0, 1);
    return word >= vt_drop_threshold(a->rate) ? 1.0f / (1.0f - a->rate) : 0.0f;
}

static void residual_forward(void *arg, int64_t first, int64_t last, int worker)
{
    const struct pieces *a = arg;
    (void)worker;
    for (int64_t item = first; item < last; item++) {
        int64_t from, n = find_piece(a, item, &from);
        const float *x = a->x + from, *f = a->f + from;
        vt_lanes scale = vset1(path_scale(a, item));
        for (int64_t i = 0; i < n; i += VT_LANES) {
            vt_lanes y = vfma(scale, vload_upto(f + i, n - i), vload_upto(x + i, n - i));
            vstore_upto(a->y + from + i, y, n - i);
        }
    }
}

void VT_CPU(residual_fwd)(vt_dev *d, vt_buf y, vt_buf x, vt_buf f, int64_t batch, int64_t n,
                          float rate, vt_draw_stream stream, const vt_step *step)
{
    struct pieces a = {.y = vt_floats(y),
                       .x = vt_floats(x),
                       .f = vt_floats(f),
                       .step = step,
                       .rate = rate,
                       .stream = stream};
    run_pieces(d, &a, batch, n, residual_forward);
}

static void residual_backward(void *arg, int64_t first, int64_t last, int worker)
{
    const struct pieces *a = arg;
    (void)worker;
    for (int64_t item = first; item < last; item++) {
        int64_t from, n = find_piece(a, item, &from);
        vt_lanes scale = vset1(path_scale(a, item));
        for (int64_t i = 0; i < n; i += VT_LANES) {
            vt_lanes dy = vload_upto(a->dy + from + i, n - i);
            if (a->df)
                vgive_upto(a->df + from + i, a->write_f, vmul(scale, dy), n - i);
            if (a->dx)
                vgive_upto(a->dx + from + i, a->write_x, dy, n - i);
        }
    }
}

void VT_CPU(residual_bwd)(vt_dev *d, vt_buf dx, bool write_x, vt_buf df, bool write_f, vt_buf dy,
                          int64_t batch, int64_t n, float rate, vt_draw_stream stream,
                          const vt_step *step)
{
    struct pieces a = {.dx = vt_floats(dx),
                       .df = vt_floats(df),
                       .dy = vt_floats(dy),
                       .step = step,
                       .rate = rate,
                       .stream = stream,
                       .write_x = write_x,
                       .write_f = write_f};
    run_pieces(d, &a, batch, n, residual_backward);
}

/* Forward and backward are one function: out = or += keep ? in / (1 - rate) : 0. */
static void drop_pieces(void *arg, int64_t first, int64_t last, int worker)
{
    const struct pieces *a = arg;
    uint32_t words[VT_DRAW_RUN] = {0}, threshold = vt_drop_threshold(a->rate);
    vt_lanes scale = vset1(1.0f / (1.0f - a->rate));
    (void)worker;
    for (int64_t item = first; item < last; item++) {
        int64_t from, n = find_piece(a, item, &from);
        int64_t image = item / a->per_image, element = from - image * a->n;
        const float *in = a->x + from;
        for (int64_t i = 0; i < n; i += VT_LANES) {
            if (threshold > 0 && i % VT_DRAW_RUN == 0)
                vt_draw_run(words, a->step, a->stream, image, element + i);
            vt_mask keep = vkeep(words + i % VT_DRAW_RUN, threshold);
            vt_lanes value = vmul(vload_upto(in + i, n - i), scale);
            vgive_upto(a->y + from + i, a->write_x, vselect(keep, value, vzero()), n - i);
        }
    }
}

void VT_CPU(dropout_fwd)(vt_dev *d, vt_buf y, vt_buf x, int64_t batch, int64_t n, float rate,
                         vt_draw_stream stream, const vt_step *step)
{
    VT_CPU(dropout_bwd)(d, y, true, x, batch, n, rate, stream, step);
}

void VT_CPU(dropout_bwd)(vt_dev *d, vt_buf dx, bool write, vt_buf dy, int64_t batch, int64_t n,
                         float rate, vt_draw_stream stream, const vt_step *step)
{
    struct pieces a = {.y = vt_floats(dx),
                       .x = vt_floats(dy),
                       .step = step,
                       .rate = rate,
                       .stream = stream,
                       .write_x = write};
    run_pieces(d, &a, batch, n, drop_pieces);
}
