/*
 * The kernels of convolutional networks other than convolutions, where the small cases of
 * tests/test_ops.c do not reach: batch norm over many rows against sums in double, large maps,
 * numbers at the edge, shapes that do not fit. The `run_...` functions are run again at other
 * thread counts, chunk orders and kernel widths, whose outputs must be equal bit for bit.
 */
#include "support/kernel_run.h"

#include "base/hash.h"
#include "graph/graph.h"
#include "ops/ops.h"

/* ---- batch norm */

struct norm {
    vt_batchnorm_sizes sizes;
    float *x, *w, *b, *running_mean, *running_var, *old_mean, *old_var;
    float *y, *dy, *dx, *added, *old_dx, *dw, *old_dw, *db, *old_db;
    double *mean, *rstd;
    float *line;
    void *scratch;
};

static float *scratch_of(struct run *r, size_t bytes)
{
    return new_array(r, (int64_t)(bytes / sizeof(float)), false);
}

/* Numbers of deviation 2 around `centre`. */
static struct norm new_norm(struct run *r, int64_t rows, int64_t cols, float centre, bool training)
{
    int64_t n = rows * cols;
    struct norm t = {.sizes = {rows, cols, 1e-5f, 0.1f, training, VT_ACT_NONE}};
    t.x = new_array(r, n, false);
    fill_normal(r, t.x, n, 2, centre);
    t.dy = new_array(r, n, false);
    fill_normal(r, t.dy, n, 1, 0.25f);
    t.w = input(r, cols);
    t.b = input(r, cols);
    t.running_mean = sum_output(r, cols, &t.old_mean);
    t.running_var = sum_output(r, cols, &t.old_var);
    for (int64_t c = 0; c < cols; c++)
        t.running_var[c] = t.old_var[c] = 1 + fabsf(t.old_var[c]);
    t.y = output(r, n);
    t.dx = output(r, n);
    t.added = sum_output(r, n, &t.old_dx);
    t.dw = sum_output(r, cols, &t.old_dw);
    t.db = sum_output(r, cols, &t.old_db);
    t.mean = (double *)(void *)output(r, 2 * cols);
    t.rstd = (double *)(void *)output(r, 2 * cols);
    t.line = output(r, VT_BATCHNORM_LINE * cols);
    t.scratch = scratch_of(r, r->k->batchnorm_scratch(rows, cols));
    return t;
}

static void forward(struct run *r, struct norm *t)
{
    r->k->batchnorm_fwd(r->dev, buf(t->y), t->mean, t->rstd, t->line, t->running_mean,
                        t->running_var, buf(t->x), t->w, t->b, &t->sizes, &STEP, t->scratch);
}

static void backward(struct run *r, struct norm *t, float *dx, bool write, float *dw, float *db)
{
    r->k->batchnorm_bwd(r->dev, buf(dx), write, dw, db, (vt_buf){0}, buf(t->dy), buf(t->x), t->w,
                        t->mean, t->rstd, t->line, &t->sizes, t->scratch);
}

/* The same gradient and the value again, beside what they are made from and in its place. */
static void check_remade(struct run *r, const struct norm *t, const float *dx, const float *y)
{
    const int64_t n = t->sizes.rows * t->sizes.cols;
    const size_t bytes = (size_t)n * sizeof(float);
    for (int place = 0; place < 3; place++) { /* of both, of the value, of none */
        float *x = new_array(r, n, false), *dy = new_array(r, n, false);
        memcpy(x, t->x, bytes);
        memcpy(dy, t->dy, bytes);
        float *again = place < 2 ? x : output(r, n);
        float *gradient = place == 0 ? dy : place == 1 ? NULL : output(r, n);
        r->k->batchnorm_bwd(r->dev, buf(gradient), true, NULL, NULL, buf(again), buf(dy), buf(x),
                            t->w, t->mean, t->rstd, t->line, &t->sizes, t->scratch);
        if (!r->check)
            continue;
        assert_memory_equal(again, y, bytes);
        if (gradient)
            assert_memory_equal(gradient, dx, bytes);
    }
}

/* Deviations are 2 wherever the column's centre lies, and bounds do not grow with it: sums in float
 * are of 16 terms. */
static void check_column(const struct norm *t, int64_t c)
{
    int64_t cols = t->sizes.cols, last = t->sizes.rows * cols;
    double rows = (double)t->sizes.rows, mean = 0, var = 0, sum = 0, dot = 0, m = 0.1;
    for (int64_t i = c; i < last; i += cols)
        mean += t->x[i] / rows;
    for (int64_t i = c; i < last; i += cols)
        var += (t->x[i] - mean) * (t->x[i] - mean) / rows;
    if (t->sizes.training) {
        double unbiased = rows > 1 ? var * rows / (rows - 1) : var;
        double moved = (1 - m) * t->old_mean[c] + m * mean;
        check_value("running mean", c, t->running_mean[c], moved,
                    2 * U * (fabs(t->old_mean[c]) + m * fabs(mean)));
        check_value("running var", c, t->running_var[c], (1 - m) * t->old_var[c] + m * unbiased,
                    8 * U * (t->old_var[c] + unbiased));
    } else {
        mean = t->old_mean[c];
        var = t->old_var[c];
        check_value("running mean", c, t->running_mean[c], mean, 0);
        check_value("running var", c, t->running_var[c], var, 0);
    }
    double rstd = 1 / sqrt(var + (double)t->sizes.eps), slope = rstd * t->w[c];
    check_value("mean", c, t->mean[c], mean, 4 * U);
    check_value("rstd", c, t->rstd[c], rstd, 4 * U * rstd);
    for (int64_t i = c; i < last; i += cols) {
        sum += t->dy[i];
        dot += t->dy[i] * (t->x[i] - mean) * rstd;
    }
    /* most of a sum's rounding is of its last terms: 16 in float, the rest in double */
    double bound = U * (4 * fabs(sum) + 4 * fabs(dot) + 16 * sqrt(rows)) * fmax(1, 2 * rstd);
    check_value("dw", c, t->dw[c], t->old_dw[c] + 2 * dot, 2 * bound);
    check_value("db", c, t->db[c], t->old_db[c] + 2 * sum, 2 * bound);
    double mean_dy = t->sizes.training ? sum / rows : 0, mean_dot = mean_dy != 0 ? dot / rows : 0;
    for (int64_t i = c; i < last; i += cols) {
        double xhat = (t->x[i] - mean) * rstd, y = slope * (t->x[i] - mean) + t->b[c];
        double dx = slope * (t->dy[i] - mean_dy - xhat * mean_dot);
        double terms = fabs(slope) * (fabs(t->dy[i]) + fabs(mean_dy) + fabs(xhat * mean_dot) + 1);
        check_rounded("y", i, t->y[i], y,
                      4 * U * (fabs(y - t->b[c]) + fabs(slope) + fabs(t->b[c])));
        check_rounded("dx", i, t->dx[i], dx, 8 * U * terms);
        check_rounded("added dx", i, t->added[i], t->old_dx[i] + dx,
                      8 * U * terms + U * fabs(t->old_dx[i] + dx));
    }
}

static void run_norm_of(struct run *r, int64_t rows, int64_t cols, float centre, bool training)
{
    struct norm t = new_norm(r, rows, cols, centre, training);
    forward(r, &t);
    backward(r, &t, t.dx, true, t.dw, t.db);
    backward(r, &t, t.added, false, t.dw, NULL);
    backward(r, &t, NULL, true, NULL, t.db);
    check_remade(r, &t, t.dx, t.y);
    for (int64_t c = 0; r->check && c < cols; c++)
        check_column(&t, c);
}

static void check_rounding_of(const char *what, const float *got, const float *exact, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        check_value(what, i, got[i], rounded_number(exact[i]), 0);
}

/* Batch norm with an activation has the bits of one after the other: of both in floats, since what
 * lies between them is not rounded where they are one. */
static void run_activated_norm(struct run *r, int64_t rows, int64_t cols, bool training,
                               vt_activation_kind kind)
{
    const int64_t n = rows * cols;
    struct norm plain = new_norm(r, rows, cols, -1, training), t = plain;
    float *between = new_array(r, n, false), *y = output(r, n), *dx = output(r, n);
    float *dw = sum_output(r, cols, &t.old_dw), *db = sum_output(r, cols, &t.old_db);
    float *mean = new_array(r, cols, false), *var = new_array(r, cols, false);
    memcpy(mean, plain.running_mean, (size_t)cols * sizeof *mean);
    memcpy(var, plain.running_var, (size_t)cols * sizeof *var);
    struct run floats = {.dev = r->dev, .k = unrounded(r)};
    forward(&floats, &plain);
    floats.k->activation_fwd(r->dev, buf(y), buf(plain.y), n, kind);
    floats.k->activation_bwd(r->dev, buf(between), true, (vt_buf){0}, buf(plain.dy), buf(plain.y),
                             n, kind);
    memcpy(plain.dw, t.old_dw, (size_t)cols * sizeof *dw);
    memcpy(plain.db, t.old_db, (size_t)cols * sizeof *db);
    plain.dy = between;
    backward(&floats, &plain, plain.dx, true, plain.dw, plain.db);

    t.sizes.activation = kind;
    t.line = output(r, VT_BATCHNORM_LINE * cols);
    t.y = new_array(r, n, false);
    t.running_mean = mean;
    t.running_var = var;
    forward(r, &t);
    backward(r, &t, dx, true, dw, db);
    check_remade(r, &t, dx, t.y);
    if (!r->check)
        return;
    check_rounding_of("y", t.y, y, n);
    check_rounding_of("dx", dx, plain.dx, n);
    assert_memory_equal(dw, plain.dw, (size_t)cols * sizeof *dw);
    assert_memory_equal(db, plain.db, (size_t)cols * sizeof *db);
    assert_memory_equal(mean, plain.running_mean, (size_t)cols * sizeof *mean);
}

static void run_activated_norms(struct run *r)
{
    static const vt_activation_kind kinds[] = {VT_ACT_GELU, VT_ACT_GELU_TANH, VT_ACT_SILU,
                                               VT_ACT_RELU, VT_ACT_LEAKY,     VT_ACT_MISH};
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        run_activated_norm(r, 1001, 35, true, kinds[i]);
        run_activated_norm(r, 70, 16, false, kinds[i]);
    }
}

static void run_norm(struct run *r)
{
    run_norm_of(r, 1, 17, 0, false);
    run_norm_of(r, 2, 3, 5, true);
    run_norm_of(r, 500, 10, 2, true);
    run_norm_of(r, 20, 1040, -3, true); /* more columns than a piece of their work */
    run_norm_of(r, 30001, 20, 1000, true);
    run_norm_of(r, 3001, 20, 0, false);
}

static void half_a_million_rows_cost_no_digits(void **state)
{
    struct run r = {.dev = new_device(2), .check = true};
    r.k = narrow(r.dev);
    (void)state;
    run_norm_of(&r, 128 * 64 * 64, 2, 300, true);
    release_arrays(&r);
    vt_dev_free(r.dev);
}

static void a_large_map_is_written_past_the_caches(void **state)
{
    (void)state;
    if (on_gpu()) {
        print_message("not looked at: a GPU has one way to write\n");
        skip();
    }
    struct run r = {.dev = new_device(2), .check = true};
    r.k = narrow(r.dev);
    run_norm_of(&r, ALIGNED / 16 + 3, 16, 1, true);
    release_arrays(&r);
    vt_dev_free(r.dev);
}

static void equal_values_and_single_rows_are_normalised(void **state)
{
    struct run r = {.dev = new_device(2)};
    r.k = narrow(r.dev);
    struct norm t = new_norm(&r, 1001, 5, 0, true), one = new_norm(&r, 1, 5, 1000, true);
    (void)state;
    for (int64_t i = 0; i < 1001 * 5; i++)
        t.x[i] = rounded_number(1234.567f + (float)(i % 5));
    forward(&r, &t);
    forward(&r, &one);
    for (int64_t i = 0; i < 1001 * 5; i++)
        check_value("y", i, t.y[i], t.b[i % 5], 4 * U * (fabs(t.b[i % 5]) + 1));
    for (int64_t c = 0; c < 5; c++) {
        check_value("rstd", c, t.rstd[c], 1 / sqrt((double)t.sizes.eps), 1e-9);
        check_value("y of one row", c, one.y[c], one.b[c], 0);
        check_value("its running var", c, one.running_var[c], 0.9 * one.old_var[c],
                    2 * U * one.old_var[c]);
    }
    release_arrays(&r);
    vt_dev_free(r.dev);
}

/* ---- maps */

/* A gradient added to `old` beside the same gradient written, whose rounding it does not share. */
static void check_added(const char *what, int64_t i, float added, float old, float written)
{
    check_rounded(what, i, added, old + written, rounded_slack((double)written));
}

/* Rows of weights: value i of m from the n values of one axis, in double. */
static void axis_weights(double *weight, int64_t n, int64_t m, vt_resize_kind kind)
{
    memset(weight, 0, (size_t)(n * m) * sizeof *weight);
    for (int64_t i = 0; i < m; i++) {
        double at = fmax(0, ((double)i + 0.5) * (double)n / (double)m - 0.5);
        int64_t low = (int64_t)fmin((double)(n - 1), at), high = low + 1 < n ? low + 1 : low;
        if (kind == VT_RESIZE_NEAREST) {
            weight[i * n + i * n / m] = 1;
            continue;
        }
        weight[i * n + low] += 1 - (at - (double)low);
        weight[i * n + high] += at - (double)low;
    }
}

static void check_resize(const vt_resize_sizes *s, const float *x, const float *y, const float *dy,
                         const float *dx)
{
    double *rows = vt_calloc((size_t)(s->H * s->Ho), sizeof *rows);
    double *cols = vt_calloc((size_t)(s->W * s->Wo), sizeof *cols);
    double *want = vt_calloc((size_t)(s->H * s->W), sizeof *want);
    axis_weights(rows, s->H, s->Ho, s->kind);
    axis_weights(cols, s->W, s->Wo, s->kind);
    for (int64_t plane = 0; plane < s->batch * s->C; plane++) {
        int64_t b = plane / s->C, c = plane % s->C, at = b * s->H * s->W;
        memset(want, 0, (size_t)(s->H * s->W) * sizeof *want);
        for (int64_t o = 0; o < s->Ho * s->Wo; o++) {
            int64_t to = (b * s->Ho * s->Wo + o) * s->C + c;
            double value = 0;
            for (int64_t p = 0; p < s->H * s->W; p++) {
                double w = rows[o / s->Wo * s->H + p / s->W] * cols[o % s->Wo * s->W + p % s->W];
                value += w * x[(at + p) * s->C + c];
                want[p] += w * dy[to];
            }
            check_rounded("y", to, y[to], value, 4 * U * 4);
        }
        for (int64_t p = 0; p < s->H * s->W; p++)
            check_rounded("dx", p, dx[(at + p) * s->C + c], want[p], 16 * U * 16);
    }
    vt_free(want);
    vt_free(cols);
    vt_free(rows);
}

static void run_resize(struct run *r)
{
    static const int64_t sides[][4] = {
        {31, 16, 32, 16}, {16, 9, 7, 30}, {1, 5, 9, 1}, {10, 3, 3, 10}, {7, 7, 56, 2}};
    for (int i = 0; i < 20; i++) {
        const int64_t *side = sides[i / 4], C = i / 2 % 2 ? 24 : 19;
        vt_resize_sizes s = {2, side[0], side[1], C, side[2], side[3], (vt_resize_kind)(i % 2)};
        int64_t n = s.batch * s.H * s.W * s.C, n_y = s.batch * s.Ho * s.Wo * s.C;
        float *x = input(r, n), *dy = input(r, n_y), *y = output(r, n_y), *dx = output(r, n), *old;
        float *added = sum_output(r, n, &old);
        r->k->resize_fwd(r->dev, buf(y), buf(x), &s);
        r->k->resize_bwd(r->dev, buf(dx), true, buf(dy), &s);
        r->k->resize_bwd(r->dev, buf(added), false, buf(dy), &s);
        if (!r->check)
            continue;
        check_resize(&s, x, y, dy, dx);
        for (int64_t e = 0; e < n; e++)
            check_added("added dx", e, added[e], old[e], dx[e]);
    }
}

static void check_pooling(const vt_pooling_sizes *s, const float *x, const float *y,
                          const int32_t *index, const float *dy, const float *dx)
{
    int64_t n = s->batch * s->H * s->W * s->C;
    int64_t Ho = (s->H + 2 * s->pad - s->kernel) / s->stride + 1;
    int64_t Wo = (s->W + 2 * s->pad - s->kernel) / s->stride + 1;
    double *want = vt_calloc((size_t)(2 * n), sizeof *want), area = (double)(s->kernel * s->kernel);
    double *most = want + n; /* largest of the sums on the way to dx */
    for (int64_t o = 0; o < s->batch * Ho * Wo * s->C; o++) {
        int64_t c = o % s->C, b = o / (Ho * Wo * s->C), best = -1;
        double sum = 0;
        for (int64_t k = 0; k < s->kernel * s->kernel; k++) {
            int64_t row = o / (Wo * s->C) % Ho * s->stride - s->pad + k / s->kernel;
            int64_t col = o / s->C % Wo * s->stride - s->pad + k % s->kernel;
            if (row < 0 || col < 0 || row >= s->H || col >= s->W)
                continue;
            int64_t from = (b * s->H * s->W + row * s->W + col) * s->C + c;
            sum += x[from] / area;
            if (s->kind == VT_POOLING_MEAN)
                want[from] += dy[o] / area;
            most[from] = fmax(most[from], fabs(want[from]));
            if (best < 0 || x[from] > x[best])
                best = from;
        }
        if (s->kind == VT_POOLING_MEAN) {
            check_rounded("mean", o, y[o], sum, 16 * U);
            continue;
        }
        check_value("largest", o, y[o], x[best], 0);
        assert_int_equal(index[o], (best - b * s->H * s->W * s->C) / s->C);
        want[best] += dy[o];
        most[best] = fmax(most[best], fabs(want[best]));
    }
    for (int64_t e = 0; e < n; e++) /* up to 169 roundings, of either sign, of such sums */
        check_rounded("dx", e, dx[e], want[e], 16 * U * most[e]);
    vt_free(want);
}

/* Whole numbers, so that most windows have ties. */
static void run_pooling(struct run *r)
{
    static const int64_t windows[][3] = {{3, 2, 1}, {2, 2, 0}, {3, 1, 1}, {13, 1, 6}, {2, 5, 1}};
    for (int i = 0; i < 20; i++) {
        const int64_t *window = windows[i / 4], C = i / 2 % 2 ? 40 : 37;
        vt_pooling_sizes s = {2,         15,        13,        C,
                              window[0], window[1], window[2], (vt_pooling_kind)(i % 2)};
        int64_t n = s.batch * s.H * s.W * s.C;
        int64_t n_y = s.batch * s.C * ((s.H + 2 * s.pad - s.kernel) / s.stride + 1) *
                      ((s.W + 2 * s.pad - s.kernel) / s.stride + 1);
        float *x = input(r, n), *dy = input(r, n_y), *y = output(r, n_y), *dx = output(r, n), *old;
        int32_t *index = (int32_t *)(void *)output(r, n_y);
        float *added = sum_output(r, n, &old);
        for (int64_t e = 0; e < n; e++)
            x[e] = rintf(2 * x[e]);
        r->k->pooling_fwd(r->dev, buf(y), index, buf(x), &s);
        r->k->pooling_bwd(r->dev, buf(dx), true, buf(dy), index, &s);
        r->k->pooling_bwd(r->dev, buf(added), false, buf(dy), index, &s);
        if (!r->check)
            continue;
        check_pooling(&s, x, y, index, dy, dx);
        for (int64_t e = 0; e < n; e++)
            check_added("added dx", e, added[e], old[e], dx[e]);
    }
}

static void run_concat(struct run *r)
{
    static const int64_t channels[][2] = {{1, 1}, {17, 3}, {8, 40}, {12, 7}, {64, 128}};
    const int64_t rows = 45;
    for (int i = 0; i < 5; i++) {
        int64_t Ca = channels[i][0], Cb = channels[i][1], C = Ca + Cb;
        float *a = input(r, rows * Ca), *b = input(r, rows * Cb), *dy = input(r, rows * C);
        float *y = output(r, rows * C), *da = output(r, rows * Ca), *db = output(r, rows * Cb);
        float *old_a, *old_b, *more_a = sum_output(r, rows * Ca, &old_a);
        float *more_b = sum_output(r, rows * Cb, &old_b);
        r->k->concat_fwd(r->dev, buf(y), buf(a), buf(b), rows, Ca, Cb);
        r->k->concat_bwd(r->dev, buf(da), true, buf(more_b), false, buf(dy), rows, Ca, Cb);
        r->k->concat_bwd(r->dev, buf(more_a), false, buf(db), true, buf(dy), rows, Ca, Cb);
        for (int64_t e = 0; r->check && e < rows * C; e++) {
            bool first = e % C < Ca;
            int64_t at = first ? e / C * Ca + e % C : e / C * Cb + e % C - Ca;
            check_value("y", e, y[e], (first ? a : b)[at], 0);
            check_value("gradient", e, (first ? da : db)[at], dy[e], 0);
            check_value("added gradient", e, (first ? more_a : more_b)[at],
                        rounded_number((first ? old_a : old_b)[at] + dy[e]), 0);
        }
    }
}

/* Of one image, in double. Terms are below 5, products of a gradient and a token below 5 sqrt(C);
 * weights sum to 1, and their exponents, below 16, are rounded. */
static void check_sequence_pool(const float *y, const float *p, const float *dx,
                                const float *dscores, const float *added, const float *old,
                                const float *x, const float *scores, const float *dy, int64_t N,
                                int64_t C)
{
    double largest = -INFINITY, sum = 0, mean = 0, size = 5 * sqrt((double)C);
    double *weight = vt_calloc((size_t)(2 * N), sizeof *weight), *dot = weight + N;
    for (int64_t i = 0; i < N; i++)
        largest = fmax(largest, scores[i]);
    for (int64_t i = 0; i < N; i++)
        sum += exp(scores[i] - largest);
    for (int64_t i = 0; i < N; i++) {
        weight[i] = exp(scores[i] - largest) / sum;
        check_value("p", i, p[i], weight[i], 32 * U * weight[i]);
        for (int64_t c = 0; c < C; c++) {
            dot[i] += (double)dy[c] * x[i * C + c];
            check_rounded("dx", i * C + c, dx[i * C + c], weight[i] * dy[c],
                          5 * 32 * U * weight[i]);
        }
        mean += weight[i] * dot[i];
    }
    for (int64_t c = 0; c < C; c++) {
        double want = 0;
        for (int64_t i = 0; i < N; i++)
            want += weight[i] * x[i * C + c];
        check_rounded("y", c, y[c], want, 5 * 32 * U);
    }
    for (int64_t i = 0; i < N; i++) {
        double want = weight[i] * (dot[i] - mean), bound = 64 * U * size * weight[i];
        check_rounded("dscores", i, dscores[i], want, bound);
        check_rounded("added dscores", i, added[i], old[i] + want, bound + U * fabs(old[i] + want));
    }
    vt_free(weight);
}

static void run_sequence_pool(struct run *r)
{
    /* images, tokens, channels; the last has more tokens than a GPU's block keeps products of */
    static const int64_t sizes[][3] = {
        {3, 1, 5}, {11, 7, 48}, {2, 65, 37}, {9, 64, 128}, {1, 8205, 3}};
    for (int k = 0; k < 5; k++) {
        int64_t batch = sizes[k][0], N = sizes[k][1], C = sizes[k][2], n = batch * N * C;
        float *x = input(r, n), *scores = new_array(r, batch * N, false);
        float *dy = input(r, batch * C), *y = output(r, batch * C), *p = output(r, batch * N);
        float *old_dx, *dx = output(r, n), *more_dx = sum_output(r, n, &old_dx), *old;
        float *dscores = output(r, batch * N), *added = sum_output(r, batch * N, &old);
        fill_normal(r, scores, batch * N, 2, 0);
        r->k->sequence_pool_fwd(r->dev, buf(y), p, buf(x), buf(scores), batch, N, C);
        r->k->sequence_pool_bwd(r->dev, buf(dx), true, buf(added), false, buf(dy), buf(x), p, batch,
                                N, C);
        r->k->sequence_pool_bwd(r->dev, buf(more_dx), false, buf(dscores), true, buf(dy), buf(x), p,
                                batch, N, C);
        for (int64_t b = 0; r->check && b < batch; b++)
            check_sequence_pool(y + b * C, p + b * N, dx + b * N * C, dscores + b * N,
                                added + b * N, old + b * N, x + b * N * C, scores + b * N,
                                dy + b * C, N, C);
        for (int64_t e = 0; r->check && e < n; e++)
            check_rounded("added dx", e, more_dx[e], old_dx[e] + dx[e],
                          U * (fabs(dx[e]) + fabs(old_dx[e] + dx[e])) +
                              rounded_slack((double)dx[e]));
    }
}

/* ---- numbers at the edge */

static void nan_is_never_hidden(void **state)
{
    struct run r = {.dev = new_device(2)};
    r.k = narrow(r.dev);
    struct norm t = new_norm(&r, 100, 5, 0, true);
    vt_pooling_sizes line = {1, 1, 6, 1, 3, 1, 1, VT_POOLING_MAX};
    float x[] = {1, NAN, 7, 5, 4, 9}, y[6] = {0}, p[6], dscores[6] = {0}, one = 1;
    int32_t index[6];
    (void)state;
    t.x[5 * 5 + 1] = NAN;
    forward(&r, &t);
    backward(&r, &t, t.dx, true, t.dw, t.db);
    for (int64_t i = 0; i < 100 * 5; i++)
        assert_true(isnan(t.y[i]) == (i % 5 == 1) && isnan(t.dx[i]) == (i % 5 == 1));
    for (int64_t c = 0; c < 5; c++)
        assert_true(isnan(t.running_mean[c]) == (c == 1) && isnan(t.running_var[c]) == (c == 1));
    r.k->pooling_fwd(r.dev, buf(y), index, buf(x), &line);
    for (int i = 0; i < 6; i++)
        assert_true(isnan(y[i]) == (i < 3) && (i >= 3 || index[i] == 1));
    line.kind = VT_POOLING_MEAN;
    r.k->pooling_fwd(r.dev, buf(y), NULL, buf(x), &line);
    for (int i = 0; i < 6; i++)
        assert_true(isnan(y[i]) == (i < 3));
    r.k->sequence_pool_fwd(r.dev, buf(y), p, buf(x + 2), buf(x), 1, 3, 1);
    assert_true(isnan(y[0]) && isnan(p[0]) && isnan(p[1]) && isnan(p[2]));
    r.k->sequence_pool_bwd(r.dev, buf(NULL), true, buf(dscores), true, buf(&one), buf(x + 2), p, 1,
                           3, 1);
    assert_true(isnan(dscores[0]) && isnan(dscores[2]));
    release_arrays(&r);
    vt_dev_free(r.dev);
}

static void resize_reads_nothing_that_has_no_share(void **state)
{
    vt_dev *dev = new_device(1);
    const float x[] = {1, NAN, 2, INFINITY};
    float y[8] = {0};
    (void)state;
    for (int kind = 0; kind < 2; kind++) {
        vt_resize_sizes same = {1, 2, 2, 1, 2, 2, (vt_resize_kind)kind};
        narrow(dev)->resize_fwd(dev, buf(y), buf(x), &same);
        assert_memory_equal(y, x, sizeof x);
        vt_resize_sizes wide = {1, 2, 2, 1, 2, 4, (vt_resize_kind)kind};
        narrow(dev)->resize_fwd(dev, buf(y), buf(x), &wide);
        assert_true(y[0] == 1 && isnan(y[3]) && y[4] == 2 && y[7] == INFINITY);
        assert_true(kind == VT_RESIZE_NEAREST ? y[1] == 1 && y[5] == 2
                                              : isnan(y[1]) && y[5] == INFINITY);
    }
    vt_dev_free(dev);
}

static void the_largest_is_found_among_infinities_and_equals(void **state)
{
    vt_dev *dev = new_device(1);
    vt_pooling_sizes s = {1, 2, 2, 1, 2, 1, 1, VT_POOLING_MAX};
    const float x[] = {-INFINITY, -INFINITY, -INFINITY, -INFINITY};
    const int32_t want[] = {0, 0, 1, 0, 0, 1, 2, 2, 3};
    float y[9] = {0};
    int32_t index[9];
    (void)state;
    narrow(dev)->pooling_fwd(dev, buf(y), index, buf(x), &s);
    for (int i = 0; i < 9; i++)
        assert_true(y[i] == -INFINITY && index[i] == want[i]);
    vt_dev_free(dev);
}

static void gradients_that_nobody_wants_are_left_out(void **state)
{
    vt_dev *dev = new_device(1);
    const float dy[] = {1, 2, 3, 4, 5, 6}, x[] = {1, -1, 2, 3}, p[] = {0.25f, 0.75f};
    float a[2] = {10, 20}, b[4] = {1, 1, 1, 1}, dx[4] = {0}, dscores[2] = {1, 1};
    (void)state;
    narrow(dev)->concat_bwd(dev, buf(a), false, buf(NULL), true, buf(dy), 2, 1, 2);
    narrow(dev)->concat_bwd(dev, buf(NULL), false, buf(b), true, buf(dy), 2, 1, 2);
    assert_true(a[0] == 11 && a[1] == 24 && b[0] == 2 && b[1] == 3 && b[2] == 5 && b[3] == 6);
    narrow(dev)->sequence_pool_bwd(dev, buf(dx), true, buf(NULL), true, buf(dy), buf(x), p, 1, 2,
                                   2);
    narrow(dev)->sequence_pool_bwd(dev, buf(NULL), true, buf(dscores), false, buf(dy), buf(x), p, 1,
                                   2, 2);
    assert_true(dx[0] == 0.25f && dx[1] == 0.5f && dx[2] == 0.75f && dx[3] == 1.5f);
    /* dy . x = -1 and 8, their mean 5.75 */
    assert_true(dscores[0] == 1 - 0.25f * 6.75f && dscores[1] == 1 + 0.75f * 2.25f);
    vt_dev_free(dev);
}

/* ---- shapes */

struct inputs {
    vt_node *map, *longer, *flat, *narrow; /* (2, 12, 4), (2, 13, 4), (2, 4), (3) */
};

static vt_node *build(vt_graph *g, const struct inputs *in, int which)
{
    switch (which) {
    case 0:
        return vt_pooling(g, "op", in->map, 4, 4, 2, 2, 0, VT_POOLING_MAX);
    case 1:
        return vt_pooling(g, "op", in->map, 3, 4, 4, 1, 0, VT_POOLING_MAX);
    case 2:
        return vt_pooling(g, "op", in->map, 3, 4, 3, 1, 2, VT_POOLING_MEAN);
    case 3:
        return vt_pooling(g, "op", in->map, 3, 4, 3, 0, 1, VT_POOLING_MEAN);
    case 4:
        return vt_resize(g, "op", in->map, 4, 4, 2, 2, VT_RESIZE_BILINEAR);
    case 5:
        return vt_resize(g, "op", in->map, 3, 4, 0, 2, VT_RESIZE_NEAREST);
    case 6:
        return vt_concat(g, "op", in->map, in->longer);
    case 7:
        return vt_concat(g, "op", in->map, in->flat);
    case 8:
        return vt_sequence_pool(g, "op", in->map, in->flat);
    case 9:
        return vt_batchnorm(g, "op", in->map, in->narrow, in->narrow, in->narrow, in->narrow, 1e-5,
                            VT_ACT_NONE);
    default:
        return NULL;
    }
}

static void shapes_that_do_not_fit_are_refused(void **state)
{
    static const char *const words[] = {
        "not 4 x 4",     "does not fit", "does not fit", "does not fit", "not 4 x 4",
        "cannot become", "channels",     "channels",     "score",        "3 elements, and not 4"};
    (void)state;
    for (int i = 0; i < 10; i++) {
        vt_params *params = vt_params_new();
        vt_graph *g = vt_graph_new(params, test_table(), 2, true);
        vt_error err = {0};
        struct inputs in = {
            vt_graph_input(g, "map", VT_F32, vt_shape_of(3, (int64_t[]){2, 12, 4})),
            vt_graph_input(g, "longer", VT_F32, vt_shape_of(3, (int64_t[]){2, 13, 4})),
            vt_graph_input(g, "flat", VT_F32, vt_shape_of(2, (int64_t[]){2, 4})),
            vt_graph_input(g, "narrow", VT_F32, vt_shape_of(1, (int64_t[]){3}))};
        assert_null(build(g, &in, i));
        assert_int_equal(vt_graph_finish(g, &err), VT_ERR_CONFIG);
        if (!strstr(err.text, words[i]) || strncmp(err.text, "op: ", 4) != 0)
            fail_msg("shape %d: '%s' does not say '%s'", i, err.text, words[i]);
        vt_graph_free(g);
        vt_params_free(params);
    }
}

/* ---- the cases */

static void (*const RUNS[])(struct run *r) = {run_norm,    run_activated_norms, run_resize,
                                              run_pooling, run_concat,          run_sequence_pool};
enum { N_RUNS = sizeof RUNS / sizeof RUNS[0] };

static void agrees_with_loops_in_double(void **state)
{
    (void)state;
    for (int i = 0; i < N_RUNS; i++) {
        struct run r = {.dev = new_device(2), .check = true};
        r.k = narrow(r.dev);
        RUNS[i](&r);
        assert_true(r.n_arrays > 0);
        release_arrays(&r);
        vt_dev_free(r.dev);
    }
}

static void digest(void (*function)(struct run *), const vt_kernels *k, int threads,
                   uint8_t result[VT_SHA256_SIZE])
{
    struct run r = {.dev = new_device(threads), .k = k};
    if (on_gpu())
        r.k = device_kernels(r.dev);
    vt_sha256 hash;
    vt_pool_shuffle(vt_dev_pool(r.dev), (uint64_t)threads * 1000003);
    function(&r);
    vt_sha256_init(&hash);
    for (int a = 0; a < r.n_arrays; a++)
        if (r.arrays[a].output)
            vt_sha256_add(&hash, r.arrays[a].data, (size_t)r.arrays[a].n * sizeof(float));
    vt_sha256_finish(&hash, result);
    release_arrays(&r);
    vt_dev_free(r.dev);
}

static void bits_do_not_depend_on_threads_order_or_width(void **state)
{
    bool wide = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
    (void)state;
    for (int i = 0; i < N_RUNS; i++) {
        uint8_t want[VT_SHA256_SIZE], got[VT_SHA256_SIZE];
        digest(RUNS[i], &vt_avx2_table, 1, want);
        for (int threads = 2; threads <= 5; threads++) {
            bool use_wide = wide && threads % 2;
            digest(RUNS[i], use_wide ? &vt_avx512_table : &vt_avx2_table, threads, got);
            if (memcmp(got, want, sizeof want) != 0)
                fail_msg("run %d: other bits with %s and %d threads", i,
                         use_wide ? "AVX-512" : "AVX2", threads);
        }
    }
    if (!wide)
        print_message("without AVX-512, which this processor lacks\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        {"batch norm and the kernels of maps agree with loops in double",
         agrees_with_loops_in_double, NULL, NULL, NULL},
        {"a large map is written past the caches", a_large_map_is_written_past_the_caches, NULL,
         NULL, NULL},
        {"half a million rows cost batch norm no digits", half_a_million_rows_cost_no_digits, NULL,
         NULL, NULL},
        {"equal values and single rows are normalised", equal_values_and_single_rows_are_normalised,
         NULL, NULL, NULL},
        {"bits do not depend on threads, chunk order or vector width",
         bits_do_not_depend_on_threads_order_or_width, NULL, NULL, NULL},
        {"NaN is never hidden", nan_is_never_hidden, NULL, NULL, NULL},
        {"resize reads nothing that has no share", resize_reads_nothing_that_has_no_share, NULL,
         NULL, NULL},
        {"the largest is found among infinities and equals",
         the_largest_is_found_among_infinities_and_equals, NULL, NULL, NULL},
        {"gradients that nobody wants are left out", gradients_that_nobody_wants_are_left_out, NULL,
         NULL, NULL},
        {"shapes that do not fit are refused", shapes_that_do_not_fit_are_refused, NULL, NULL,
         NULL},
    };
    return cmocka_run_group_tests_name("map kernels", tests, NULL, NULL);
}
