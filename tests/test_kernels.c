/*
 * The elementwise, row and optimiser kernels. Each `run_...` function below sets up one family of
 * calls and, when asked, compares what came out with plain loops in double. The same functions are
 * run again at several thread counts, chunk orders and kernel widths, whose outputs must be equal
 * bit for bit.
 */
#include "support/kernel_run.h"

#include "base/hash.h"
#include "kernels/bf16.h"

/* ---- the families */

static const int64_t COLS[] = {1, 17, 48, 192};
enum { N_COLS = sizeof COLS / sizeof COLS[0] };

static void check_layernorm(const float *x, const float *w, const float *b, const float *y,
                            const float *mean, const float *rstd, int64_t rows, int64_t cols,
                            double eps)
{
    for (int64_t r = 0; r < rows; r++) {
        double m = 0, v = 0;
        for (int64_t c = 0; c < cols; c++)
            m += x[r * cols + c] / (double)cols;
        for (int64_t c = 0; c < cols; c++)
            v += (x[r * cols + c] - m) * (x[r * cols + c] - m) / (double)cols;
        double s = 1 / sqrt(v + eps);
        /* sums of 12 additions and a tree of 4; values up to 5, relative error of rstd half of
         * the variance's */
        check_value("mean", r, mean[r], m, 16 * U * 2);
        check_value("rstd", r, rstd[r], s, 16 * U * s);
        for (int64_t c = 0; c < cols; c++) {
            double want = (x[r * cols + c] - m) * s * w[c] + b[c];
            check_rounded("y", r * cols + c, y[r * cols + c], want,
                          16 * U * (fabs(want - b[c]) + 3 * fabs(w[c])) + U * fabs(want));
        }
    }
}

/* dx and what dw, db grow by, from the same x, mean and rstd. */
static void layernorm_gradients(double *dx, double *dw, double *db, const float *dy, const float *x,
                                const float *w, const float *mean, const float *rstd, int64_t rows,
                                int64_t cols)
{
    for (int64_t r = 0; r < rows; r++) {
        double sum = 0, dot = 0;
        for (int64_t c = 0; c < cols; c++) {
            int64_t i = r * cols + c;
            double xhat = ((double)x[i] - mean[r]) * rstd[r];
            sum += (double)dy[i] * w[c] / (double)cols;
            dot += (double)dy[i] * w[c] * xhat / (double)cols;
            dw[c] += dy[i] * xhat;
            db[c] += dy[i];
        }
        for (int64_t c = 0; c < cols; c++) {
            int64_t i = r * cols + c;
            double xhat = ((double)x[i] - mean[r]) * rstd[r];
            dx[i] = rstd[r] * ((double)dy[i] * w[c] - sum - xhat * dot);
        }
    }
}

static void run_layernorm_of(struct run *r, int64_t rows, int64_t cols)
{
    int64_t n = rows * cols;
    float eps = 1e-5f, *x = input(r, n), *w = input(r, cols), *b = input(r, cols);
    float *y = output(r, n), *mean = output(r, rows), *rstd = output(r, rows), *dy = input(r, n);
    float *old_dx, *old_dw, *old_db, *scratch;
    scratch = new_array(r, (int64_t)(r->k->layernorm_scratch(rows, cols) / sizeof *scratch), false);
    float *dx = output(r, n), *added = sum_output(r, n, &old_dx), *frozen = output(r, n);
    float *dw = sum_output(r, cols, &old_dw), *db = sum_output(r, cols, &old_db);
    float *again = output(r, n);

    r->k->layernorm_fwd(r->dev, buf(y), mean, rstd, buf(x), w, b, rows, cols, eps);
    r->k->layernorm_bwd(r->dev, buf(dx), true, dw, db, buf(again), buf(dy), buf(x), w, b, mean,
                        rstd, rows, cols, scratch);
    r->k->layernorm_bwd(r->dev, buf(added), false, dw, NULL, (vt_buf){0}, buf(dy), buf(x), w, b,
                        mean, rstd, rows, cols, scratch);
    r->k->layernorm_bwd(r->dev, buf(frozen), true, NULL, NULL, (vt_buf){0}, buf(dy), buf(x), w, b,
                        mean, rstd, rows, cols, scratch);
    assert_memory_equal(again, y, (size_t)n * sizeof *y);
    if (!r->check)
        return;
    check_layernorm(x, w, b, y, mean, rstd, rows, cols, eps);
    double *want = vt_calloc((size_t)(n + 2 * cols), sizeof *want);
    double *want_dw = want + n, *want_db = want_dw + cols;
    layernorm_gradients(want, want_dw, want_db, dy, x, w, mean, rstd, rows, cols);
    for (int64_t i = 0; i < n; i++) {
        double bound = 16 * U * rstd[i / cols] * 8; /* the three terms stay below 8 */
        check_rounded("dx", i, dx[i], want[i], bound);
        check_rounded("added dx", i, added[i], old_dx[i] + want[i], bound + 8 * U);
        check_value("frozen dx", i, frozen[i], dx[i], 0);
    }
    for (int64_t c = 0; c < cols; c++) {
        /* chunk sums of up to `rows` terms, sums up to 4 sqrt(rows) */
        double bound = (double)rows * U * 4 * sqrt((double)rows);
        check_value("dw", c, dw[c], old_dw[c] + 2 * want_dw[c], bound);
        check_value("db", c, db[c], old_db[c] + want_db[c], bound);
    }
    vt_free(want);
}

static void run_layernorm(struct run *r)
{
    for (int i = 0; i < N_COLS; i++) {
        run_layernorm_of(r, 3, COLS[i]);
        run_layernorm_of(r, 105, COLS[i]); /* 4 chunks of 27, the last of 24 */
    }
    run_layernorm_of(r, 529, 48); /* 16 chunks of 34, the last of 19 */
    run_layernorm_of(r, 21, 390);
    run_layernorm_of(r, 21, 1100); /* longer than a GPU's warp keeps in registers */
}

static void run_activation(struct run *r)
{
    const int64_t sizes[] = {1, 17, 48, 3000, 16384 + 33};
    for (int k = 0; k < 5 * ACTIVATIONS; k++) {
        vt_activation_kind kind = (vt_activation_kind)(k % ACTIVATIONS);
        int64_t n = sizes[k / ACTIVATIONS];
        float *x = new_array(r, n, false), *dy = input(r, n), *old_dx;
        float *y = output(r, n), *dx = output(r, n), *added = sum_output(r, n, &old_dx);
        float *again = output(r, n);
        fill_normal(r, x, n, 3, 0);
        r->k->activation_fwd(r->dev, buf(y), buf(x), n, kind);
        r->k->activation_bwd(r->dev, buf(dx), true, (vt_buf){0}, buf(dy), buf(x), n, kind);
        r->k->activation_bwd(r->dev, buf(added), false, buf(again), buf(dy), buf(x), n, kind);
        assert_memory_equal(again, y, (size_t)n * sizeof *y);
        r->k->activation_bwd(r->dev, buf(dx), true, buf(again), buf(dy), buf(x), n, kind);
        assert_memory_equal(again, y, (size_t)n * sizeof *y);
        for (int64_t i = 0; r->check && i < n; i++) {
            /* the bounds of the grid test in test_kernel_limits.c */
            double want = dy[i] * activation_slope(x[i], kind), bound = 10 * U * fabs(dy[i]);
            check_rounded("y", i, y[i], activation_of(x[i], kind), 3 * U * fmax(1, fabs(x[i])));
            check_rounded("dx", i, dx[i], want, bound);
            check_rounded("added dx", i, added[i], old_dx[i] + want,
                          bound + U * fabs(old_dx[i] + want));
        }
        r->k->activation_bwd(r->dev, buf(dy), true, buf(x), buf(dy), buf(x), n, kind);
        assert_memory_equal(dy, dx, (size_t)n * sizeof *y); /* in place */
        assert_memory_equal(x, y, (size_t)n * sizeof *y);
    }
}

enum { BATCH = 3, HEIGHT = 5, WIDTH = 7 };

static void run_patches(struct run *r)
{
    const int64_t channels[] = {1, 3, 17};
    for (int i = 0; i < 12; i++) {
        int64_t C = channels[i % 3], p = i / 3 + 1, h = (HEIGHT + p - 1) / p,
                w = (WIDTH + p - 1) / p;
        int64_t n = BATCH * h * w * C * p * p;
        float *x = input(r, BATCH * HEIGHT * WIDTH * C), *y = output(r, n);
        r->k->patchify_fwd(r->dev, buf(y), buf(x), BATCH, HEIGHT, WIDTH, C, p);
        for (int64_t e = 0; r->check && e < n; e++) {
            int64_t col = e % p, row = e / p % p, c = e / (p * p) % C, patch = e / (p * p * C);
            int64_t X = patch % w * p + col, Y = patch / w % h * p + row, b = patch / (w * h);
            bool inside = X < WIDTH && Y < HEIGHT;
            float want = inside ? x[((b * HEIGHT + Y) * WIDTH + X) * C + c] : 0;
            check_value("patch", e, y[e], want, 0);
        }
    }
}

static void run_merge_of(struct run *r, int64_t H, int64_t W, int64_t C)
{
    int64_t h = (H + 1) / 2, w = (W + 1) / 2, n = BATCH * H * W * C, n_y = BATCH * h * w * 4 * C;
    float *x = input(r, n), *dy = input(r, n_y), *old_dx;
    float *y = output(r, n_y), *dx = output(r, n), *added = sum_output(r, n, &old_dx);
    r->k->merge_fwd(r->dev, buf(y), buf(x), BATCH, H, W, C);
    r->k->merge_bwd(r->dev, buf(dx), true, buf(dy), BATCH, H, W, C);
    r->k->merge_bwd(r->dev, buf(added), false, buf(dy), BATCH, H, W, C);
    for (int64_t e = 0; r->check && e < n_y; e++) {
        int64_t c = e % C, k = e / C % 4, place = e / (4 * C), b = place / (h * w);
        int64_t Y = place / w % h * 2 + k % 2, X = place % w * 2 + k / 2;
        int64_t from = ((b * H + Y) * W + X) * C + c;
        bool inside = Y < H && X < W;
        check_value("y", e, y[e], inside ? x[from] : 0, 0);
        if (inside) {
            check_value("dx", from, dx[from], dy[e], 0);
            check_value("added dx", from, added[from], rounded_number(old_dx[from] + dy[e]), 0);
        }
    }
}

static void run_merge(struct run *r)
{
    for (int i = 0; i < N_COLS; i++)
        run_merge_of(r, HEIGHT, WIDTH, COLS[i]);
    run_merge_of(r, 4, 6, 48);
    run_merge_of(r, 1, 1, 17);
}

static void run_tokens_of(struct run *r, int64_t N, int64_t C, bool has_cls, bool has_pos)
{
    int64_t n_map = N * C, n_cls = has_cls ? C : 0, n = n_cls + n_map;
    float *x = input(r, BATCH * n_map), *cls = input(r, C), *pos = input(r, n);
    float *dy = input(r, BATCH * n), *y = output(r, BATCH * n), *old_dx, *old_dcls, *old_dpos;
    float *dx = output(r, BATCH * n_map), *added = sum_output(r, BATCH * n_map, &old_dx);
    float *dcls = sum_output(r, C, &old_dcls), *dpos = sum_output(r, n, &old_dpos);
    r->k->tokens_fwd(r->dev, buf(y), buf(x), has_cls ? cls : NULL, has_pos ? pos : NULL, BATCH, N,
                     C);
    r->k->tokens_bwd(r->dev, buf(dx), true, has_cls ? dcls : NULL, has_pos ? dpos : NULL, buf(dy),
                     has_cls, BATCH, N, C);
    r->k->tokens_bwd(r->dev, buf(added), false, NULL, NULL, buf(dy), has_cls, BATCH, N, C);
    for (int64_t e = 0; r->check && e < BATCH * n; e++) {
        int64_t b = e / n, i = e % n, from = b * n_map + i - n_cls;
        float value = i < n_cls ? cls[i] : x[from];
        check_value("y", e, y[e], rounded_number(has_pos ? value + pos[i] : value), 0);
        if (i >= n_cls) {
            check_value("dx", from, dx[from], dy[e], 0);
            check_value("added dx", from, added[from], rounded_number(old_dx[from] + dy[e]), 0);
        }
    }
    for (int64_t i = 0; r->check && i < n; i++) {
        float sum = dy[i] + dy[n + i] + dy[2 * n + i]; /* images in order, then what was there */
        check_value("dpos", i, dpos[i], has_pos ? old_dpos[i] + sum : old_dpos[i], 0);
        if (i < C)
            check_value("dcls", i, dcls[i], has_cls ? old_dcls[i] + sum : old_dcls[i], 0);
    }
}

/* Sums over more images than one part of the batch has. */
static void run_batch_sums(struct run *r, int64_t batch, int64_t C)
{
    int64_t n = 3 * C;
    float *dy = input(r, batch * n), *dx = output(r, batch * (n - C)), *old_dcls, *old_dpos;
    float *dcls = sum_output(r, C, &old_dcls), *dpos = sum_output(r, n, &old_dpos);
    r->k->tokens_bwd(r->dev, buf(dx), true, dcls, dpos, buf(dy), true, batch, 2, C);
    for (int64_t i = 0; r->check && i < n; i++) {
        double sum = 0, size = 3; /* of the largest term */
        for (int64_t b = 0; b < batch; b++) {
            sum += dy[b * n + i];
            size += fabs(dy[b * n + i]);
            if (i >= C)
                check_value("dx", i, dx[b * (n - C) + i - C], dy[b * n + i], 0);
        }
        /* partial sums are below the sum of sizes, most are far below */
        check_value("dpos", i, dpos[i], old_dpos[i] + sum, 4 * U * size);
        if (i < C)
            check_value("dcls", i, dcls[i], old_dcls[i] + sum, 4 * U * size);
    }
}

static void run_tokens(struct run *r)
{
    for (int64_t batch = 15; batch < 70; batch += 9)
        run_batch_sums(r, batch, batch % 2 ? 12 : 17);
    for (int i = 0; i < 4 * N_COLS; i++)
        run_tokens_of(r, HEIGHT * WIDTH, COLS[i / 4], i % 2, i / 2 % 2);
    run_tokens_of(r, 2, 1040, true, true); /* a class token longer than a piece of work */
}

static void run_pools(struct run *r)
{
    const int64_t N = HEIGHT * WIDTH;
    for (int i = 0; i < N_COLS; i++) {
        int64_t C = COLS[i], n = BATCH * N * C;
        float *x = input(r, n), *dy = input(r, BATCH * C), *old_mean, *old_first;
        float *mean = output(r, BATCH * C), *first = output(r, BATCH * C);
        float *dmean = output(r, n), *more_mean = sum_output(r, n, &old_mean);
        float *dfirst = output(r, n), *more_first = sum_output(r, n, &old_first);
        r->k->mean_tokens_fwd(r->dev, buf(mean), buf(x), BATCH, N, C);
        r->k->mean_tokens_bwd(r->dev, buf(dmean), true, buf(dy), BATCH, N, C);
        r->k->mean_tokens_bwd(r->dev, buf(more_mean), false, buf(dy), BATCH, N, C);
        r->k->first_token_fwd(r->dev, buf(first), buf(x), BATCH, N, C);
        r->k->first_token_bwd(r->dev, buf(dfirst), true, buf(dy), BATCH, N, C);
        r->k->first_token_bwd(r->dev, buf(more_first), false, buf(dy), BATCH, N, C);
        for (int64_t e = 0; r->check && e < BATCH * C; e++) {
            double sum = 0;
            for (int64_t t = 0; t < N; t++)
                sum += x[(e / C * N + t) * C + e % C];
            /* 34 additions of a running sum below 20, divided by 35 */
            check_rounded("mean", e, mean[e], sum / (double)N, 34 * U * 20 / 35);
            check_value("first", e, first[e], x[e / C * N * C + e % C], 0);
        }
        for (int64_t e = 0; r->check && e < n; e++) {
            float d = dy[e / (N * C) * C + e % C], share = d / (float)N;
            float only = e / C % N == 0 ? d : 0;
            check_value("dmean", e, dmean[e], rounded_number(share), 0);
            check_value("added dmean", e, more_mean[e], rounded_number(old_mean[e] + share), 0);
            check_value("dfirst", e, dfirst[e], only, 0);
            check_value("added dfirst", e, more_first[e], rounded_number(old_first[e] + only), 0);
        }
    }
}

/* The definition, element by element. */
static bool is_kept(int64_t image, int64_t element, float rate)
{
    uint64_t seed = STEP.key[0] | (uint64_t)STEP.key[1] << 32;
    vt_rng rng = vt_rng_at(seed, VT_STREAM_DROPOUT, 9, STEP.draw, (uint32_t)image);
    return vt_rng_u32(&rng, (uint64_t)element) >= floor((double)rate * 4294967296.0);
}

static void run_residual_of(struct run *r, int64_t batch, int64_t n, float rate)
{
    int64_t all = batch * n, kept = 0;
    float *x = input(r, all), *f = input(r, all), *dy = input(r, all), *y = output(r, all);
    float *old_dx, *old_df, *dx = output(r, all), *df = output(r, all);
    float *more_dx = sum_output(r, all, &old_dx), *more_df = sum_output(r, all, &old_df);
    r->k->residual_fwd(r->dev, buf(y), buf(x), buf(f), batch, n, rate, STREAM, &STEP);
    r->k->residual_bwd(r->dev, buf(dx), true, buf(more_df), false, buf(dy), batch, n, rate, STREAM,
                       &STEP);
    r->k->residual_bwd(r->dev, buf(more_dx), false, buf(df), true, buf(dy), batch, n, rate, STREAM,
                       &STEP);
    for (int64_t i = 0; r->check && i < all; i++) {
        bool keep = is_kept(i / n, 0, rate);
        double s = keep ? 1 / (1 - (double)rate) : 0, bound = rate > 0 ? 4 * U : 0;
        float plain = x[i] + f[i], sum_df = old_df[i] + dy[i];
        kept += keep;
        if (rate <= 0) {
            check_value("plain y", i, y[i], rounded_number(plain), 0);
            check_value("added plain df", i, more_df[i], rounded_number(sum_df), 0);
        }
        check_rounded("y", i, y[i], rate > 0 ? x[i] + s * f[i] : (double)plain,
                      bound * (fabs(x[i]) + s * fabs(f[i])));
        check_value("dx", i, dx[i], dy[i], 0);
        check_value("added dx", i, more_dx[i], rounded_number(old_dx[i] + dy[i]), 0);
        check_rounded("df", i, df[i], s * dy[i], bound * s * fabs(dy[i]));
        check_rounded("added df", i, more_df[i], rate > 0 ? old_df[i] + s * dy[i] : (double)sum_df,
                      bound * (fabs(old_df[i]) + s * fabs(dy[i])));
    }
    if (r->check && rate > 0 && batch > 6) /* or the case shows nothing */
        assert_true(kept > 0 && kept < all);
}

static void run_residual(struct run *r)
{
    run_residual_of(r, BATCH, 17, 0);
    run_residual_of(r, 11, 1, 0.5f);
    run_residual_of(r, 9, 35 * 17, 0.5f);
    run_residual_of(r, BATCH, 20011, 0.2f); /* several pieces of work an image */
    run_residual_of(r, 9, 5004, 0.5f);
    run_residual_of(r, 9, 5008, 0.5f);
    run_residual_of(r, 2, 4096, 0);
}

static void run_dropout_of(struct run *r, int64_t batch, int64_t n, float rate)
{
    int64_t all = batch * n;
    float *x = input(r, all), *dy = input(r, all), *y = output(r, all), *old_dx;
    float *dx = output(r, all), *added = sum_output(r, all, &old_dx), scale = 1 / (1 - rate);
    r->k->dropout_fwd(r->dev, buf(y), buf(x), batch, n, rate, STREAM, &STEP);
    r->k->dropout_bwd(r->dev, buf(dx), true, buf(dy), batch, n, rate, STREAM, &STEP);
    r->k->dropout_bwd(r->dev, buf(added), false, buf(dy), batch, n, rate, STREAM, &STEP);
    for (int64_t i = 0; r->check && i < all; i++) {
        bool keep = is_kept(i / n, i % n, rate);
        float back = keep ? dy[i] * scale : 0;
        check_value("y", i, y[i], rounded_number(keep ? x[i] * scale : 0), 0);
        check_value("dx", i, dx[i], rounded_number(back), 0);
        check_value("added dx", i, added[i], rounded_number(old_dx[i] + back), 0);
    }
}

static void run_dropout(struct run *r)
{
    const int64_t sizes[] = {1, 17, 48, 35 * 17, 1028, 20011};
    for (int i = 0; i < 6; i++) {
        run_dropout_of(r, BATCH, sizes[i], 0.1f);
        run_dropout_of(r, BATCH, sizes[i], 0.75f);
    }
    run_dropout_of(r, BATCH, 100, 0);
}

static void check_loss(const float *x, int64_t label, int64_t classes, double s, double loss,
                       double lse, int rank)
{
    double largest = -INFINITY, sum = 0, mean = 0;
    int before = 0;
    for (int64_t c = 0; c < classes; c++)
        largest = fmax(largest, x[c]);
    for (int64_t c = 0; c < classes; c++) {
        sum += exp(x[c] - largest);
        mean += x[c] / (double)classes;
        before += x[c] > x[label] || (x[c] == x[label] && c < label);
    }
    double want = largest + log(sum), size = fabs(largest) + fabs((double)x[label]) + 8;
    /* exp and its sum: 16 roundings; then one rounding of a number of this size */
    check_value("lse", label, lse, want, 16 * U + U * fabs(want));
    check_value("loss", label, loss, want - (1 - s) * x[label] - s * mean, 16 * U + 2 * U * size);
    assert_int_equal(rank, before);
}

static void run_cross_entropy_of(struct run *r, int64_t rows, int64_t classes, float s, bool ties)
{
    int64_t n = rows * classes;
    float *x = input(r, n), *dx = output(r, n), *loss = output(r, rows), *lse = output(r, rows);
    int32_t *labels = labels_below(r, rows, classes), *rank = (int32_t *)(void *)output(r, rows);
    double *totals = (double *)(void *)output(r, 8), want[4] = {1, 2, 3, 4};
    memcpy(totals, want, sizeof want);
    for (int64_t i = 0; i < n; i++)
        x[i] = rounded_number(ties ? rintf(x[i]) : 3 * x[i] + 20);
    r->k->cross_entropy_fwd(r->dev, loss, lse, rank, totals, buf(x), labels, rows, classes, s);
    r->k->cross_entropy_bwd(r->dev, buf(dx), buf(x), lse, labels, rows, classes, s, &STEP);
    for (int64_t i = 0; r->check && i < rows; i++) {
        check_loss(x + i * classes, labels[i], classes, s, loss[i], lse[i], rank[i]);
        want[0] += loss[i];
        want[1] += rank[i] == 0;
        want[2] += rank[i] < 5;
        want[3] += 1;
        for (int64_t c = 0; c < classes; c++) {
            double p = exp((double)x[i * classes + c] - lse[i]);
            double target = s / (double)classes + (c == labels[i] ? 1 - s : 0);
            /* the exponent's rounding (below 40) scales p */
            check_rounded("dlogits", i * classes + c, dx[i * classes + c],
                          (p - target) * STEP.grad_scale, STEP.grad_scale * U * (24 * p + 4));
        }
    }
    if (r->check)
        assert_memory_equal(totals, want, sizeof want);
}

static void run_cross_entropy(struct run *r)
{
    const int64_t classes[] = {1, 7, 10, 17, 48, 100};
    for (int i = 0; i < 6; i++) {
        run_cross_entropy_of(r, 35, classes[i], 0, false);
        run_cross_entropy_of(r, 7, classes[i], 0.1f, false);
        run_cross_entropy_of(r, 35, classes[i], 0.1f, true);
    }
    run_cross_entropy_of(r, 300, 3, 0, true); /* more than a block of a GPU has threads */
}

enum { STEPS = 10 };

static void run_sgd_of(struct run *r, int64_t n, float momentum, float decay, bool nesterov)
{
    float *w = output(r, n), *m = output(r, n);
    double *want = vt_calloc((size_t)(2 * n), sizeof *want), *want_m = want + n;
    fill_normal(r, w, n, 1, 0);
    for (int64_t i = 0; i < n; i++)
        want[i] = w[i];
    for (int t = 1; t <= STEPS; t++) {
        float *grad = input(r, n);
        r->k->sgd(r->dev, w, momentum > 0 ? m : NULL, grad, n, momentum, decay, nesterov, t == 1,
                  &STEP);
        for (int64_t i = 0; r->check && i < n; i++) {
            double g = grad[i] * STEP.clip + decay * want[i];
            want_m[i] = t == 1 ? g : momentum * want_m[i] + g;
            g = momentum <= 0 ? g : nesterov ? g + momentum * want_m[i] : want_m[i];
            want[i] -= STEP.lr * g;
            /* one rounding of w a step, and the small step's own */
            check_value("w", i, w[i], want[i], t * U * (fabs(want[i]) + 0.5));
        }
    }
    vt_free(want);
}

static void run_sgd(struct run *r)
{
    run_sgd_of(r, 1, 0.9f, 5e-4f, true);
    run_sgd_of(r, 1003, 0, 0, false);
    run_sgd_of(r, 1003, 0.9f, 0, false);
    run_sgd_of(r, 16384 + 17, 0.9f, 5e-4f, true);
}

static void run_adam_of(struct run *r, int64_t n, float decay, bool decoupled)
{
    const double beta1 = 0.9, beta2 = 0.999, eps = 1e-8;
    float *w = output(r, n), *m = output(r, n), *v = output(r, n);
    double *want = vt_calloc((size_t)(3 * n), sizeof *want), *wm = want + n, *wv = wm + n;
    fill_normal(r, w, n, 1, 0);
    for (int64_t i = 0; i < n; i++) {
        m[i] = v[i] = 0;
        want[i] = w[i];
    }
    for (int t = 1; t <= STEPS; t++) {
        float *grad = input(r, n);
        vt_step step = STEP;
        step.correction1 = (float)(1 - pow(beta1, t));
        step.correction2 = (float)sqrt(1 - pow(beta2, t));
        r->k->adam(r->dev, w, m, v, grad, n, beta1, beta2, (float)eps, decay, decoupled, &step);
        for (int64_t i = 0; r->check && i < n; i++) {
            double g = (double)grad[i] * step.clip, lr = STEP.lr;
            if (decoupled)
                want[i] *= 1 - lr * decay;
            else
                g += decay * want[i];
            wm[i] = beta1 * wm[i] + (1 - beta1) * g;
            wv[i] = beta2 * wv[i] + (1 - beta2) * g * g;
            want[i] -=
                lr / (1 - pow(beta1, t)) * wm[i] / (sqrt(wv[i]) / sqrt(1 - pow(beta2, t)) + eps);
            /* two roundings of w a step, and of the step, at most 0.05 and good to 20 U */
            check_value("w", i, w[i], want[i], t * U * (2 * fabs(want[i]) + 1));
            check_value("m", i, m[i], wm[i], 10 * U);
            /* what a cancellation in g leaves counts with its square root */
            check_value("v", i, v[i], wv[i], U * (20 * wv[i] + 0.1 * sqrt(wv[i])));
        }
    }
    vt_free(want);
}

static void run_adam(struct run *r)
{
    run_adam_of(r, 1, 0.05f, true);
    run_adam_of(r, 1003, 0, false);
    run_adam_of(r, 1003, 0.05f, false);
    run_adam_of(r, 16384 + 17, 0.05f, true);
}

static void run_sum_squares(struct run *r)
{
    /* The last has more chunks than a warp of a GPU. */
    const int64_t sizes[] = {0, 1, 17, 48, 16384, 16384 + 1000, 5 * 16384 + 7, 33 * 16384 + 1};
    for (int i = 0; i < 8; i++) {
        int64_t n = sizes[i];
        float *g = input(r, n), *sum = output(r, 2);
        double got, want = 0, *scratch = vt_calloc(34, sizeof *scratch);
        r->k->sum_squares(r->dev, &got, g, n, scratch);
        memcpy(sum, &got, sizeof got);
        for (int64_t e = 0; e < n; e++)
            want += (double)g[e] * g[e];
        if (r->check) /* two sums of n terms in double */
            check_value("sum", n, got, want, (double)n * 0x1p-52 * want);
        vt_free(scratch);
    }
}

static const struct family {
    const char *name;
    void (*run)(struct run *r);
} FAMILIES[] = {
    {"layernorm", run_layernorm},
    {"activation", run_activation},
    {"patches", run_patches},
    {"merge", run_merge},
    {"tokens", run_tokens},
    {"pools", run_pools},
    {"residual", run_residual},
    {"dropout", run_dropout},
    {"cross entropy", run_cross_entropy},
    {"sgd", run_sgd},
    {"adam", run_adam},
    {"sum of squares", run_sum_squares},
};
enum { N_FAMILIES = sizeof FAMILIES / sizeof FAMILIES[0] };

/* ---- the cases */

static bool has_avx512(void)
{
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
}

/* The state of each case is its row of FAMILIES. */
static void agrees_with_loops_in_double(void **state)
{
    const struct family *family = *state;
    struct run r = {.dev = new_device(2), .check = true};
    r.k = narrow(r.dev);
    family->run(&r);
    assert_true(r.n_arrays > 0);
    release_arrays(&r);
    vt_dev_free(r.dev);
}

static void digest_family(const struct family *family, const vt_kernels *k, int threads,
                          uint64_t shuffle, uint8_t digest[VT_SHA256_SIZE])
{
    struct run r = {.dev = new_device(threads), .k = k};
    if (on_gpu())
        r.k = device_kernels(r.dev);
    vt_sha256 hash;
    vt_pool_shuffle(vt_dev_pool(r.dev), shuffle);
    family->run(&r);
    vt_sha256_init(&hash);
    for (int a = 0; a < r.n_arrays; a++)
        if (r.arrays[a].output)
            vt_sha256_add(&hash, r.arrays[a].data, (size_t)r.arrays[a].n * sizeof(float));
    vt_sha256_finish(&hash, digest);
    release_arrays(&r);
    vt_dev_free(r.dev);
}

static void expect_equal_bits(const vt_kernels *k)
{
    const int threads[] = {1, 2, 3, 5};
    for (int f = 0; f < N_FAMILIES; f++) {
        uint8_t want[VT_SHA256_SIZE], got[VT_SHA256_SIZE];
        digest_family(&FAMILIES[f], &vt_avx2_table, 1, 0, want);
        for (int t = 0; t < 4; t++) {
            digest_family(&FAMILIES[f], k, threads[t], (uint64_t)(t * 1000003), got);
            if (memcmp(got, want, sizeof want) != 0)
                fail_msg("%s: other bits with %s and %d threads", FAMILIES[f].name, k->name,
                         threads[t]);
        }
    }
}

static void convert_once(vt_dev *dev, void *to, vt_dtype to_type, const void *from,
                         vt_dtype from_type, int64_t n)
{
    test_table()->convert(dev, (vt_buf){to, to_type}, (vt_buf){(void *)(uintptr_t)from, from_type},
                          n);
}

/* Floats in, and their upper halves rounded as kernels/bf16.h does it; a NaN stays some NaN. */
static void expect_rounding(vt_dev *dev, const float *x, int64_t n)
{
    uint16_t *half = vt_calloc((size_t)n + 1, sizeof *half);
    half[n] = 0x1234;
    convert_once(dev, half, VT_BF16, x, VT_F32, n);
    assert_int_equal(half[n], 0x1234);
    for (int64_t i = 0; i < n; i++)
        if (isnan(x[i]) ? !isnan(vt_bf16_to_float(half[i])) : half[i] != vt_bf16_of_float(x[i]))
            fail_msg("%a became %04x", (double)x[i], half[i]);
    vt_free(half);
}

static void every_bfloat16_survives_the_way_to_a_float_and_back(void **state)
{
    enum { N = 65536 };
    static uint16_t half[N], back[N];
    static float x[N];
    vt_dev *dev = new_device(1);
    (void)state;
    for (int i = 0; i < N; i++)
        half[i] = (uint16_t)i;
    convert_once(dev, x, VT_F32, half, VT_BF16, N);
    convert_once(dev, back, VT_BF16, x, VT_F32, N);
    for (int i = 0; i < N; i++) {
        const float want = vt_bf16_to_float(half[i]);
        if (isnan(want) ? !isnan(x[i]) || !isnan(vt_bf16_to_float(back[i]))
                        : memcmp(&x[i], &want, sizeof want) != 0 || back[i] != half[i])
            fail_msg("%04x became %a and %04x", i, (double)x[i], back[i]);
    }
    convert_once(dev, back, VT_BF16, half, VT_BF16, 0); /* nothing to do is no error */
    vt_dev_free(dev);
}

/* Around every bfloat16 of a positive and a negative exponent, and around the ends of the range:
 * just below the middle between it and the next, the middle itself, and just above. */
static void floats_are_rounded_to_the_nearest_ties_to_even(void **state)
{
    static const uint32_t starts[] = {
        0,           0x80000000u, 0x3f800000u,
        0xc2000000u, 0x7f000000u, 0xff000000u}; /* denormals, 1, -32, up to infinity */
    static const uint32_t ends[] = {0x7f7fffffu, 0xff7fffffu, 0x7f800000u, 0xff800000u,
                                    0x7f800001u, 0x7fffffffu, 0xff80ffffu, 0x7fc00000u,
                                    1,           0x80000001u};
    enum { HALVES = 256, N_ENDS = sizeof ends / sizeof ends[0], N = 6 * HALVES * 5 + N_ENDS };
    static float x[N];
    const int32_t off[] = {0, 1, 0x7fff, 0x8000, 0x8001};
    vt_dev *dev = new_device(1);
    (void)state;
    for (int i = 0; i < N; i++) {
        const int half = i / 5 % HALVES, start = i / 5 / HALVES;
        const uint32_t bits = i >= N - N_ENDS
                                  ? ends[i - (N - N_ENDS)]
                                  : starts[start] + ((uint32_t)half << 16) + (uint32_t)off[i % 5];
        memcpy(&x[i], &bits, sizeof bits);
    }
    expect_rounding(dev, x, N);
    assert_true(vt_bf16_of_float(0x1.01p0f) == 0x3f80 && vt_bf16_of_float(0x1.03p0f) == 0x3f82);
    assert_true(vt_bf16_of_float(0x1.fffffep127f) == 0x7f80);
    vt_dev_free(dev);
}

static void threads_and_chunk_order_change_no_bit(void **state)
{
    (void)state;
    expect_equal_bits(&vt_avx2_table);
}

static void avx512_gives_the_bits_of_avx2(void **state)
{
    (void)state;
    if (on_gpu())
        skip();
    if (!has_avx512()) {
        print_message("skipped: this processor has no AVX-512 (F, BW, DQ, VL)\n");
        skip();
    }
    expect_equal_bits(&vt_avx512_table);
}

int main(void)
{
    struct CMUnitTest tests[N_FAMILIES + 20] = {{0}};
    static char names[N_FAMILIES][80];
    static const struct {
        const char *name;
        CMUnitTestFunction function;
    } cases[] = {
        {"threads and chunk order change no bit", threads_and_chunk_order_change_no_bit},
        {"AVX-512 gives the bits of AVX2", avx512_gives_the_bits_of_avx2},
        {"every bfloat16 survives the way to a float and back",
         every_bfloat16_survives_the_way_to_a_float_and_back},
        {"floats are rounded to the nearest, ties to even",
         floats_are_rounded_to_the_nearest_ties_to_even},
    };
    size_t n = 0;
    for (int f = 0; f < N_FAMILIES; f++) {
        snprintf(names[f], sizeof names[f], "%s agrees with loops in double", FAMILIES[f].name);
        tests[n++] = (struct CMUnitTest){names[f], agrees_with_loops_in_double, NULL, NULL,
                                         (void *)(uintptr_t)&FAMILIES[f]};
    }
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        tests[n++] = (struct CMUnitTest){cases[i].name, cases[i].function, NULL, NULL, NULL};
    return _cmocka_run_group_tests("kernels", tests, n, NULL, NULL);
}
