#include "support/rounded.h"

#include "base/mem.h"
#include "kernels/bf16.h"

#include <math.h>
#include <sanitizer/asan_interface.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { GUARD = 32, MOST = 8 };

static const vt_kernels *k; /* the device's own */
static struct shadow {
    uint16_t *halves;
    const float *from;
    float *floats; /* where they go back to, or NULL */
    int64_t n;
} shadows[MOST];
static int n_shadows;

vt_dtype rounded_type(void)
{
    const char *precision = getenv("VITRINE_TEST_PRECISION");
    if (!precision || strcmp(precision, "fp32") == 0)
        return VT_F32;
    if (strcmp(precision, "tf32") == 0)
        return VT_TF32;
    assert_string_equal(precision, "bf16");
    return VT_BF16;
}

/* To ten bits after the leading one; ties, which random numbers do not make, away from zero. */
static float tf32_of_float(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    bits = (bits + 0x1000u) & ~0x1fffu;
    memcpy(&x, &bits, sizeof x);
    return x;
}

float rounded_number(float x)
{
    switch (rounded_type()) {
    case VT_BF16:
        return vt_bf16_to_float(vt_bf16_of_float(x));
    case VT_TF32:
        return tf32_of_float(x);
    default:
        return x;
    }
}

double rounded_slack(double value)
{
    return rounded_type() == VT_BF16 ? 0x1.02p-8 * fabs(value) + 0x1p-134 : 0;
}

static vt_buf shadow(vt_buf of, int64_t n, bool output)
{
    if (!of.data || rounded_type() == VT_TF32)
        return (vt_buf){of.data, rounded_type()};
    assert_int_equal(of.type, VT_F32);
    for (int i = 0; i < n_shadows; i++) /* an array that is read and written in place has one */
        if (shadows[i].from == of.data && shadows[i].n == n) {
            shadows[i].floats = output ? of.data : shadows[i].floats;
            return (vt_buf){shadows[i].halves, VT_BF16};
        }
    assert_in_range(n_shadows, 0, MOST - 1);
    struct shadow *s = &shadows[n_shadows++];
    const float *from = of.data;
    *s = (struct shadow){vt_calloc((size_t)n + GUARD, sizeof *s->halves), from,
                         output ? of.data : NULL, n};
    assert_non_null(s->halves);
    for (int64_t i = 0; i < n + GUARD; i++) {
        s->halves[i] = i < n ? vt_bf16_of_float(from[i]) : 0x7fc1;
        if (i < n && !isnan(from[i]) && vt_bf16_to_float(s->halves[i]) != from[i]) {
            n_shadows = 0; /* of this call; the next test begins without */
            fail_msg("%.9g is no bfloat16: element %lld of %lld", (double)from[i], (long long)i,
                     (long long)n);
        }
    }
    ASAN_POISON_MEMORY_REGION(s->halves + n, GUARD * sizeof *s->halves);
    return (vt_buf){s->halves, VT_BF16};
}

static vt_buf in(vt_buf of, int64_t n)
{
    return shadow(of, n, false);
}

static vt_buf out(vt_buf of, int64_t n)
{
    return shadow(of, n, true);
}

static void finish(void)
{
    for (int i = 0; i < n_shadows; i++) {
        const struct shadow *s = &shadows[i];
        ASAN_UNPOISON_MEMORY_REGION(s->halves + s->n, GUARD * sizeof *s->halves);
        for (int64_t e = 0; e < GUARD; e++)
            if (s->halves[s->n + e] != 0x7fc1) {
                n_shadows = 0;
                fail_msg("an array of %lld values was written past its end", (long long)s->n);
            }
        for (int64_t e = 0; s->floats && e < s->n; e++)
            s->floats[e] = vt_bf16_to_float(s->halves[e]);
        vt_free(s->halves);
    }
    n_shadows = 0;
}

static void linear_fwd(vt_dev *d, vt_buf y, vt_buf x, vt_buf w, vt_buf b, int64_t rows,
                       int64_t wide, int64_t from, void *scratch)
{
    k->linear_fwd(d, out(y, rows * wide), in(x, rows * from), in(w, wide * from), in(b, wide), rows,
                  wide, from, scratch);
    finish();
}

static void linear_bwd_x(vt_dev *d, vt_buf dx, bool write, vt_buf dy, vt_buf w, int64_t rows,
                         int64_t wide, int64_t from, void *scratch)
{
    k->linear_bwd_x(d, out(dx, rows * from), write, in(dy, rows * wide), in(w, wide * from), rows,
                    wide, from, scratch);
    finish();
}

static void linear_bwd_w(vt_dev *d, float *dw, float *db, vt_buf dy, vt_buf x, int64_t rows,
                         int64_t wide, int64_t from, void *scratch)
{
    k->linear_bwd_w(d, dw, db, in(dy, rows * wide), in(x, rows * from), rows, wide, from, scratch);
    finish();
}

static void layernorm_fwd(vt_dev *d, vt_buf y, float *mean, float *rstd, vt_buf x, const float *w,
                          const float *b, int64_t rows, int64_t cols, float eps)
{
    k->layernorm_fwd(d, out(y, rows * cols), mean, rstd, in(x, rows * cols), w, b, rows, cols, eps);
    finish();
}

static void layernorm_bwd(vt_dev *d, vt_buf dx, bool write, float *dw, float *db, vt_buf y,
                          vt_buf dy, vt_buf x, const float *w, const float *b, const float *mean,
                          const float *rstd, int64_t rows, int64_t cols, float *scratch)
{
    const int64_t n = rows * cols;
    k->layernorm_bwd(d, out(dx, n), write, dw, db, out(y, n), in(dy, n), in(x, n), w, b, mean, rstd,
                     rows, cols, scratch);
    finish();
}

static void activation_fwd(vt_dev *d, vt_buf y, vt_buf x, int64_t n, vt_activation_kind kind)
{
    k->activation_fwd(d, out(y, n), in(x, n), n, kind);
    finish();
}

static void activation_bwd(vt_dev *d, vt_buf dx, bool write, vt_buf y, vt_buf dy, vt_buf x,
                           int64_t n, vt_activation_kind kind)
{
    k->activation_bwd(d, out(dx, n), write, out(y, n), in(dy, n), in(x, n), n, kind);
    finish();
}

static int64_t tokens_of(const vt_attention_map *map, const vt_attention_sizes *sizes)
{
    return sizes->batch * map->tokens * sizes->channels;
}

static void attention_fwd(vt_dev *d, vt_buf y, float *lse, vt_buf qkv, const float *table,
                          const float *pad_bias, const vt_attention_map *map,
                          const vt_attention_sizes *sizes, const vt_step *step)
{
    const int64_t n = tokens_of(map, sizes);
    k->attention_fwd(d, out(y, n), lse, in(qkv, 3 * n), table, pad_bias, map, sizes, step);
    finish();
}

static void attention_bwd(vt_dev *d, vt_buf dqkv, bool write, float *dtable, float *dpad_bias,
                          vt_buf y, vt_buf dy, vt_buf qkv, const float *lse, const float *table,
                          const float *pad_bias, const vt_attention_map *map,
                          const vt_attention_sizes *sizes, const vt_step *step, void *scratch)
{
    const int64_t n = tokens_of(map, sizes);
    k->attention_bwd(d, out(dqkv, 3 * n), write, dtable, dpad_bias, y.data ? out(y, n) : y,
                     in(dy, n), in(qkv, 3 * n), lse, table, pad_bias, map, sizes, step, scratch);
    finish();
}

static void attention_probs(vt_dev *d, float *probs, vt_buf qkv, const float *lse,
                            const float *table, const float *pad_bias, const vt_attention_map *map,
                            const vt_attention_sizes *sizes)
{
    k->attention_probs(d, probs, in(qkv, 3 * tokens_of(map, sizes)), lse, table, pad_bias, map,
                       sizes);
    finish();
}

static int64_t up(int64_t a, int64_t b)
{
    return (a + b - 1) / b;
}

static void patchify_fwd(vt_dev *d, vt_buf y, vt_buf x, int64_t batch, int64_t H, int64_t W,
                         int64_t C, int64_t p)
{
    k->patchify_fwd(d, out(y, batch * up(H, p) * up(W, p) * C * p * p), in(x, batch * H * W * C),
                    batch, H, W, C, p);
    finish();
}

static void merge_fwd(vt_dev *d, vt_buf y, vt_buf x, int64_t batch, int64_t H, int64_t W, int64_t C)
{
    k->merge_fwd(d, out(y, batch * up(H, 2) * up(W, 2) * 4 * C), in(x, batch * H * W * C), batch, H,
                 W, C);
    finish();
}

static void merge_bwd(vt_dev *d, vt_buf dx, bool write, vt_buf dy, int64_t batch, int64_t H,
                      int64_t W, int64_t C)
{
    k->merge_bwd(d, out(dx, batch * H * W * C), write, in(dy, batch * up(H, 2) * up(W, 2) * 4 * C),
                 batch, H, W, C);
    finish();
}

/* Elements of a convolution's map, result and weight. */
static int64_t map_of(const vt_conv_sizes *s)
{
    return s->batch * s->H * s->W * s->C;
}
static int64_t result_of(const vt_conv_sizes *s)
{
    return s->batch * vt_conv_out(s->H, s->kernel, s->stride, s->pad) *
           vt_conv_out(s->W, s->kernel, s->stride, s->pad) * s->O;
}
static int64_t weight_of(const vt_conv_sizes *s)
{
    return s->O * (s->C / s->groups) * s->kernel * s->kernel;
}

static void conv_fwd(vt_dev *d, vt_buf y, vt_buf x, vt_buf w, vt_buf b, const vt_conv_sizes *sizes,
                     void *scratch)
{
    k->conv_fwd(d, out(y, result_of(sizes)), in(x, map_of(sizes)), in(w, weight_of(sizes)),
                in(b, sizes->O), sizes, scratch);
    finish();
}

static void conv_bwd_x(vt_dev *d, vt_buf dx, bool write, vt_buf dy, vt_buf w,
                       const vt_conv_sizes *sizes, void *scratch)
{
    k->conv_bwd_x(d, out(dx, map_of(sizes)), write, in(dy, result_of(sizes)),
                  in(w, weight_of(sizes)), sizes, scratch);
    finish();
}

static void conv_bwd_w(vt_dev *d, float *dw, float *db, vt_buf dy, vt_buf x,
                       const vt_conv_sizes *sizes, void *scratch)
{
    k->conv_bwd_w(d, dw, db, in(dy, result_of(sizes)), in(x, map_of(sizes)), sizes, scratch);
    finish();
}

static void dwconv_fwd(vt_dev *d, vt_buf y, vt_buf x, vt_buf w, const vt_conv_sizes *sizes,
                       void *scratch)
{
    k->dwconv_fwd(d, out(y, result_of(sizes)), in(x, map_of(sizes)), in(w, weight_of(sizes)), sizes,
                  scratch);
    finish();
}

static void dwconv_bwd(vt_dev *d, vt_buf dx, bool write, float *dw, vt_buf dy, vt_buf x, vt_buf w,
                       const vt_conv_sizes *sizes, void *scratch)
{
    k->dwconv_bwd(d, out(dx, map_of(sizes)), write, dw, in(dy, result_of(sizes)),
                  in(x, map_of(sizes)), in(w, weight_of(sizes)), sizes, scratch);
    finish();
}

static void batchnorm_fwd(vt_dev *d, vt_buf y, double *mean, double *rstd, float *line,
                          float *running_mean, float *running_var, vt_buf x, const float *w,
                          const float *b, const vt_batchnorm_sizes *sizes, const vt_step *step,
                          void *scratch)
{
    const int64_t n = sizes->rows * sizes->cols;
    k->batchnorm_fwd(d, out(y, n), mean, rstd, line, running_mean, running_var, in(x, n), w, b,
                     sizes, step, scratch);
    finish();
}

static void batchnorm_bwd(vt_dev *d, vt_buf dx, bool write, float *dw, float *db, vt_buf y,
                          vt_buf dy, vt_buf x, const float *w, const double *mean,
                          const double *rstd, const float *line, const vt_batchnorm_sizes *sizes,
                          void *scratch)
{
    const int64_t n = sizes->rows * sizes->cols;
    k->batchnorm_bwd(d, out(dx, n), write, dw, db, out(y, n), in(dy, n), in(x, n), w, mean, rstd,
                     line, sizes, scratch);
    finish();
}

static int64_t pooled(const vt_pooling_sizes *s)
{
    return s->batch * vt_conv_out(s->H, s->kernel, s->stride, s->pad) *
           vt_conv_out(s->W, s->kernel, s->stride, s->pad) * s->C;
}

static void pooling_fwd(vt_dev *d, vt_buf y, int32_t *index, vt_buf x,
                        const vt_pooling_sizes *sizes)
{
    k->pooling_fwd(d, out(y, pooled(sizes)), index,
                   in(x, sizes->batch * sizes->H * sizes->W * sizes->C), sizes);
    finish();
}

static void pooling_bwd(vt_dev *d, vt_buf dx, bool write, vt_buf dy, const int32_t *index,
                        const vt_pooling_sizes *sizes)
{
    k->pooling_bwd(d, out(dx, sizes->batch * sizes->H * sizes->W * sizes->C), write,
                   in(dy, pooled(sizes)), index, sizes);
    finish();
}

static void resize_fwd(vt_dev *d, vt_buf y, vt_buf x, const vt_resize_sizes *s)
{
    k->resize_fwd(d, out(y, s->batch * s->Ho * s->Wo * s->C), in(x, s->batch * s->H * s->W * s->C),
                  s);
    finish();
}

static void resize_bwd(vt_dev *d, vt_buf dx, bool write, vt_buf dy, const vt_resize_sizes *s)
{
    k->resize_bwd(d, out(dx, s->batch * s->H * s->W * s->C), write,
                  in(dy, s->batch * s->Ho * s->Wo * s->C), s);
    finish();
}

static void concat_fwd(vt_dev *d, vt_buf y, vt_buf a, vt_buf b, int64_t rows, int64_t Ca,
                       int64_t Cb)
{
    k->concat_fwd(d, out(y, rows * (Ca + Cb)), in(a, rows * Ca), in(b, rows * Cb), rows, Ca, Cb);
    finish();
}

static void concat_bwd(vt_dev *d, vt_buf da, bool write_a, vt_buf db, bool write_b, vt_buf dy,
                       int64_t rows, int64_t Ca, int64_t Cb)
{
    k->concat_bwd(d, out(da, rows * Ca), write_a, out(db, rows * Cb), write_b,
                  in(dy, rows * (Ca + Cb)), rows, Ca, Cb);
    finish();
}

static void sequence_pool_fwd(vt_dev *d, vt_buf y, float *p, vt_buf x, vt_buf scores, int64_t batch,
                              int64_t N, int64_t C)
{
    k->sequence_pool_fwd(d, out(y, batch * C), p, in(x, batch * N * C), in(scores, batch * N),
                         batch, N, C);
    finish();
}

static void sequence_pool_bwd(vt_dev *d, vt_buf dx, bool write_x, vt_buf dscores, bool write_scores,
                              vt_buf dy, vt_buf x, const float *p, int64_t batch, int64_t N,
                              int64_t C)
{
    k->sequence_pool_bwd(d, out(dx, batch * N * C), write_x, out(dscores, batch * N), write_scores,
                         in(dy, batch * C), in(x, batch * N * C), p, batch, N, C);
    finish();
}

static void tokens_fwd(vt_dev *d, vt_buf y, vt_buf x, const float *cls, const float *pos,
                       int64_t batch, int64_t N, int64_t C)
{
    k->tokens_fwd(d, out(y, batch * (N + (cls != NULL)) * C), in(x, batch * N * C), cls, pos, batch,
                  N, C);
    finish();
}

static void tokens_bwd(vt_dev *d, vt_buf dx, bool write, float *dcls, float *dpos, vt_buf dy,
                       bool has_cls, int64_t batch, int64_t N, int64_t C)
{
    k->tokens_bwd(d, out(dx, batch * N * C), write, dcls, dpos, in(dy, batch * (N + has_cls) * C),
                  has_cls, batch, N, C);
    finish();
}

static void mean_tokens_fwd(vt_dev *d, vt_buf y, vt_buf x, int64_t batch, int64_t N, int64_t C)
{
    k->mean_tokens_fwd(d, out(y, batch * C), in(x, batch * N * C), batch, N, C);
    finish();
}

static void mean_tokens_bwd(vt_dev *d, vt_buf dx, bool write, vt_buf dy, int64_t batch, int64_t N,
                            int64_t C)
{
    k->mean_tokens_bwd(d, out(dx, batch * N * C), write, in(dy, batch * C), batch, N, C);
    finish();
}

static void first_token_fwd(vt_dev *d, vt_buf y, vt_buf x, int64_t batch, int64_t N, int64_t C)
{
    k->first_token_fwd(d, out(y, batch * C), in(x, batch * N * C), batch, N, C);
    finish();
}

static void first_token_bwd(vt_dev *d, vt_buf dx, bool write, vt_buf dy, int64_t batch, int64_t N,
                            int64_t C)
{
    k->first_token_bwd(d, out(dx, batch * N * C), write, in(dy, batch * C), batch, N, C);
    finish();
}

static void residual_fwd(vt_dev *d, vt_buf y, vt_buf x, vt_buf f, int64_t batch, int64_t n,
                         float rate, vt_draw_stream stream, const vt_step *step)
{
    k->residual_fwd(d, out(y, batch * n), in(x, batch * n), in(f, batch * n), batch, n, rate,
                    stream, step);
    finish();
}

static void residual_bwd(vt_dev *d, vt_buf dx, bool write_x, vt_buf df, bool write_f, vt_buf dy,
                         int64_t batch, int64_t n, float rate, vt_draw_stream stream,
                         const vt_step *step)
{
    k->residual_bwd(d, out(dx, batch * n), write_x, out(df, batch * n), write_f, in(dy, batch * n),
                    batch, n, rate, stream, step);
    finish();
}

static void dropout_fwd(vt_dev *d, vt_buf y, vt_buf x, int64_t batch, int64_t n, float rate,
                        vt_draw_stream stream, const vt_step *step)
{
    k->dropout_fwd(d, out(y, batch * n), in(x, batch * n), batch, n, rate, stream, step);
    finish();
}

static void dropout_bwd(vt_dev *d, vt_buf dx, bool write, vt_buf dy, int64_t batch, int64_t n,
                        float rate, vt_draw_stream stream, const vt_step *step)
{
    k->dropout_bwd(d, out(dx, batch * n), write, in(dy, batch * n), batch, n, rate, stream, step);
    finish();
}

static void cross_entropy_fwd(vt_dev *d, float *loss, float *lse, int32_t *rank, double *totals,
                              vt_buf logits, const int32_t *labels, int64_t rows, int64_t classes,
                              float smoothing)
{
    k->cross_entropy_fwd(d, loss, lse, rank, totals, in(logits, rows * classes), labels, rows,
                         classes, smoothing);
    finish();
}

static void cross_entropy_bwd(vt_dev *d, vt_buf dlogits, vt_buf logits, const float *lse,
                              const int32_t *labels, int64_t rows, int64_t classes, float smoothing,
                              const vt_step *step)
{
    k->cross_entropy_bwd(d, out(dlogits, rows * classes), in(logits, rows * classes), lse, labels,
                         rows, classes, smoothing, step);
    finish();
}

static int64_t find_nonfinite(vt_dev *d, vt_buf x, int64_t n)
{
    const int64_t found =
        x.type == VT_F32 ? k->find_nonfinite(d, in(x, n), n) : k->find_nonfinite(d, x, n);
    finish();
    return found;
}

const vt_kernels *rounded_table(const vt_kernels *inner)
{
    static vt_kernels table;
    if (rounded_type() == VT_F32 || inner == &table)
        return inner;
    k = inner;
    table = *inner;
    table.linear_fwd = linear_fwd;
    table.linear_bwd_x = linear_bwd_x;
    table.linear_bwd_w = linear_bwd_w;
    table.layernorm_fwd = layernorm_fwd;
    table.layernorm_bwd = layernorm_bwd;
    table.activation_fwd = activation_fwd;
    table.activation_bwd = activation_bwd;
    table.attention_fwd = attention_fwd;
    table.attention_bwd = attention_bwd;
    table.attention_probs = attention_probs;
    table.patchify_fwd = patchify_fwd;
    table.merge_fwd = merge_fwd;
    table.merge_bwd = merge_bwd;
    table.conv_fwd = conv_fwd;
    table.conv_bwd_x = conv_bwd_x;
    table.conv_bwd_w = conv_bwd_w;
    table.dwconv_fwd = dwconv_fwd;
    table.dwconv_bwd = dwconv_bwd;
    table.batchnorm_fwd = batchnorm_fwd;
    table.batchnorm_bwd = batchnorm_bwd;
    table.pooling_fwd = pooling_fwd;
    table.pooling_bwd = pooling_bwd;
    table.resize_fwd = resize_fwd;
    table.resize_bwd = resize_bwd;
    table.concat_fwd = concat_fwd;
    table.concat_bwd = concat_bwd;
    table.sequence_pool_fwd = sequence_pool_fwd;
    table.sequence_pool_bwd = sequence_pool_bwd;
    table.tokens_fwd = tokens_fwd;
    table.tokens_bwd = tokens_bwd;
    table.mean_tokens_fwd = mean_tokens_fwd;
    table.mean_tokens_bwd = mean_tokens_bwd;
    table.first_token_fwd = first_token_fwd;
    table.first_token_bwd = first_token_bwd;
    table.residual_fwd = residual_fwd;
    table.residual_bwd = residual_bwd;
    table.dropout_fwd = dropout_fwd;
    table.dropout_bwd = dropout_bwd;
    table.cross_entropy_fwd = cross_entropy_fwd;
    table.cross_entropy_bwd = cross_entropy_bwd;
    table.find_nonfinite = find_nonfinite;
    return &table;
}
