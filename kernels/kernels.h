/*
 * The kernel contract: every kernel's signature, formula, shapes and what it adds into, written
 * once. A backend is one table of these functions. Nothing above this header knows which.
 *
 * Vocabulary of sizes: batch images; N tokens of an image; C channels; H, W map height and width;
 * rows = batch * N; heads; P places in an attention window.
 * Layout: channels last, (batch, H, W, C) = (batch, N, C), row-major, no gaps.
 *
 * Order of arguments: device, outputs, saved values, inputs, sizes, scalars.
 * vt_buf values have the plan's activation type (F32, TF32 or BF16; all of one call the same,
 * unless said), and every sum is taken in fp32; `float *` is fp32 on every backend (statistics,
 * small parameters, all parameter gradients, optimiser state). All pointers are device pointers.
 * `write`: the gradient is written if true and added to if false. Parameter gradients always add.
 * Optional pointers say so ("or NULL"). Where an op has several inputs, the gradient of one that is
 * not wanted has NULL data: dx of layernorm and tokens, dx and df of residual, dqkv of attention.
 *
 * Every sum has an order that the shapes alone fix; a partial sum a chunk, chunks added in index
 * order (vt_row_chunks). `scratch` is memory of the plan, valid during the call only; its size is
 * given by the function named beside it.
 */
#ifndef VT_KERNELS_H
#define VT_KERNELS_H

#ifdef __cplusplus
extern "C" {
#endif

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Types of values. TF32: float, of which products may take the 11 leading bits (tensor cores).
 * BF16: the upper half of a float. The CPU backend computes in F32 alone. */
typedef enum vt_dtype { VT_F32, VT_TF32, VT_BF16, VT_I32, VT_F64 } vt_dtype;
size_t vt_dtype_size(vt_dtype type);

typedef struct vt_buf {
    void *data;
    vt_dtype type;
} vt_buf;

typedef struct vt_dev vt_dev; /* device.h */

/* Scalars that change from step to step, read by kernels from device memory so that a recorded
 * sequence of kernels can be replayed. */
typedef struct vt_step {
    uint32_t key[2];   /* the seed, key of the generator */
    uint32_t draw;     /* step number of the generator's counter: one more each forward pass */
    float lr;          /* learning rate of this step */
    float correction1; /* Adam: 1 - beta1^t */
    float correction2; /* Adam: sqrt(1 - beta2^t) */
    float grad_scale;  /* the loss gradient is multiplied by this: 1 / images in the step */
    float clip;        /* gradients are multiplied by this: written by clip_factor, else 1 */
    uint32_t first;    /* place in the list of picks of the batch's first: gather */
    uint32_t next;     /* place in the list of steps of the one that follows: next_step */
    uint32_t stopped;  /* not 0: parameters, moments and running statistics stay as they are */
} vt_step;

/* Which generator stream a node draws from: vt_rng's `stream` word (base/rng.h). Element e of
 * image b in the batch uses counter { e / 4, b, step->draw, stream }, word e % 4. An element is
 * kept when the word, as a 32-bit integer, is >= floor(rate * 2^32). */
typedef uint32_t vt_draw_stream;

/* Fixed number of row chunks for sums over rows: min(16, ceil(rows / 32)), at least 1. Chunk i has
 * rows [i * h, min(rows, (i + 1) * h)) with h = ceil(rows / chunks). */
int64_t vt_row_chunks(int64_t rows);

/* ---- linear: y (rows, out) = x (rows, in) w^T + b, w (out, in), b (out); its data
 * may be NULL. scratch:
 * linear_scratch(...) bytes in each pass, and on the CPU vt_linear_worker_scratch() a thread. */
typedef void vt_linear_fwd_fn(vt_dev *d, vt_buf y, vt_buf x, vt_buf w, vt_buf b, int64_t rows,
                              int64_t out, int64_t in, void *scratch);
/* dx (rows, in) = or += dy w */
typedef void vt_linear_bwd_x_fn(vt_dev *d, vt_buf dx, bool write, vt_buf dy, vt_buf w, int64_t rows,
                                int64_t out, int64_t in, void *scratch);
typedef size_t vt_linear_scratch_fn(int64_t rows, int64_t out, int64_t in, bool backward);
size_t vt_linear_worker_scratch(void);
/* dw += dy^T x;  db += sum_r dy.  dw or db may be NULL; without dw, scratch may be
 * vt_row_chunks(rows) * out floats. */
typedef void vt_linear_bwd_w_fn(vt_dev *d, float *dw, float *db, vt_buf dy, vt_buf x, int64_t rows,
                                int64_t out, int64_t in, void *scratch);

/* ---- layer norm over the last axis: y = (x - mean) * rstd * w + b; rstd = 1/sqrt(var + eps),
 * var biased. mean, rstd (rows) are outputs. */
typedef void vt_layernorm_fwd_fn(vt_dev *d, vt_buf y, float *mean, float *rstd, vt_buf x,
                                 const float *w, const float *b, int64_t rows, int64_t cols,
                                 float eps);
/* dw += sum_r dy * xhat;  db += sum_r dy;  scratch: layernorm_scratch(rows, cols) bytes.
 * dw and db may be NULL (frozen). y: the forward pass's value again, not made if data is NULL. */
typedef void vt_layernorm_bwd_fn(vt_dev *d, vt_buf dx, bool write, float *dw, float *db, vt_buf y,
                                 vt_buf dy, vt_buf x, const float *w, const float *b,
                                 const float *mean, const float *rstd, int64_t rows, int64_t cols,
                                 float *scratch);
typedef size_t vt_layernorm_scratch_fn(int64_t rows, int64_t cols);

/* ---- activations, element by element */
typedef enum vt_activation_kind {
    VT_ACT_GELU,      /* x/2 (1 + erf(x / sqrt 2)) (Hendrycks, Gimpel 2016) */
    VT_ACT_GELU_TANH, /* x/2 (1 + tanh(sqrt(2/pi)(x + 0.044715 x^3))) */
    VT_ACT_SILU,      /* x / (1 + exp(-x)) */
    VT_ACT_RELU,      /* max(x, 0); slope 0 at 0 */
    VT_ACT_LEAKY,     /* x > 0 ? x : 0.1 x */
    VT_ACT_MISH,      /* x tanh(log(1 + exp(x))) (Misra 2019) */
    VT_ACT_NONE,      /* x */
} vt_activation_kind;
typedef void vt_activation_fwd_fn(vt_dev *d, vt_buf y, vt_buf x, int64_t n,
                                  vt_activation_kind kind);
/* y: the forward pass's value again, not made if data is NULL. dx may lie where dy does, y where x
 * does. */
typedef void vt_activation_bwd_fn(vt_dev *d, vt_buf dx, bool write, vt_buf y, vt_buf dy, vt_buf x,
                                  int64_t n, vt_activation_kind kind);

/*
 * ---- attention in groups: full self-attention, windows and shifted windows are one kernel.
 *
 * The tokens of an image are cut into groups; a token attends to the tokens of its own group and
 * to the group's padded places, if the window mode lets padding attend. A padded token is a zero
 * row before the qkv product, so its key and value are the qkv bias: it is never stored nor
 * computed. Places: a window has P places; `place` says where in its window a token sits.
 */
typedef struct vt_attention_group {
    int32_t first, n_tokens;   /* members: token[first..], place[first..] */
    int32_t first_pad, n_pads; /* padded places: pad_place[first_pad..] */
    int32_t window;            /* number of the window that the group lies in */
} vt_attention_group;

/* The struct lies on the host, what it points to on the device. */
typedef struct vt_attention_map {
    int64_t tokens, windows, places; /* N; windows of an image; P */
    int64_t n_groups, max_tokens, max_pads;
    int64_t table_rows;               /* rows of the bias table, 0 without one */
    const vt_attention_group *groups; /* n_groups; every token is in exactly one */
    const int32_t *token;             /* (tokens) */
    const int32_t *place;             /* (tokens) */
    const int32_t *pad_place;
    const int32_t *bias_row; /* (P, P): [query][key] -> row of the bias table, or NULL */
} vt_attention_map;

typedef struct vt_attention_sizes {
    int64_t batch, channels, heads; /* head width = channels / heads, any positive integer */
    float scale;                    /* scores = scale * q.k + bias */
    float drop;                     /* dropout rate on the weights; 0 in evaluation */
    vt_draw_stream stream;          /* dropout element ((window*heads + head)*P + query)*P + key */
} vt_attention_sizes;

/*
 * qkv (batch, N, 3C): q, k, v, each head after head. table (table_rows, heads) or NULL: relative
 * position bias. pad_bias (3C): the qkv bias, which is what a pad has for key and value, rounded as
 * qkv is; NULL if the map has no pads, or without a qkv bias: then a pad's are 0. y (batch, N, C).
 * lse (batch, heads, N): log of the sum of exp(scores), saved for the backward pass, which computes
 * the weights again.
 */
typedef void vt_attention_fwd_fn(vt_dev *d, vt_buf y, float *lse, vt_buf qkv, const float *table,
                                 const float *pad_bias, const vt_attention_map *map,
                                 const vt_attention_sizes *sizes, const vt_step *step);
/* dqkv as `write` says; dtable += (or NULL); dpad_bias (3C) += the pads' key and value gradients
 * (or NULL). With attention_remakes y, unless its data is NULL, becomes the value again, and dqkv,
 * if it is written, may lie where qkv does. scratch: attention_scratch(map, sizes) bytes. */
typedef void vt_attention_bwd_fn(vt_dev *d, vt_buf dqkv, bool write, float *dtable,
                                 float *dpad_bias, vt_buf y, vt_buf dy, vt_buf qkv,
                                 const float *lse, const float *table, const float *pad_bias,
                                 const vt_attention_map *map, const vt_attention_sizes *sizes,
                                 const vt_step *step, void *scratch);
typedef size_t vt_attention_scratch_fn(const vt_attention_map *map,
                                       const vt_attention_sizes *sizes);
/* The weights themselves, for captures: probs (batch, windows, heads, P, P), before dropout;
 * rows of padded queries and everything a query does not see are 0. */
typedef void vt_attention_probs_fn(vt_dev *d, float *probs, vt_buf qkv, const float *lse,
                                   const float *table, const float *pad_bias,
                                   const vt_attention_map *map, const vt_attention_sizes *sizes);

/* ---- patches: x (batch, H, W, C) -> y (batch, ceil(H/p), ceil(W/p), C*p*p), values of a patch in
 * the order (channel, row, column); outside the image is 0. No backward: images need no gradient.
 */
typedef void vt_patchify_fwd_fn(vt_dev *d, vt_buf y, vt_buf x, int64_t batch, int64_t H, int64_t W,
                                int64_t C, int64_t p);

/* ---- patch merging's gather: x (batch, H, W, C) -> y (batch, ceil(H/2), ceil(W/2), 4C), the
 * neighbours in the order (row, column) = (0,0), (1,0), (0,1), (1,1); outside the map is 0. */
typedef void vt_merge_fwd_fn(vt_dev *d, vt_buf y, vt_buf x, int64_t batch, int64_t H, int64_t W,
                             int64_t C);
typedef void vt_merge_bwd_fn(vt_dev *d, vt_buf dx, bool write, vt_buf dy, int64_t batch, int64_t H,
                             int64_t W, int64_t C);

/*
 * ---- convolution: x (batch, H, W, C) -> y (batch, Ho, Wo, O), Ho = (H + 2 pad - kernel) / stride
 * + 1 rounded down (vt_conv_out), Wo likewise, both >= 1; outside the map is 0. w (O, C / groups,
 * kernel, kernel), b (O); its data may be NULL. scratch: conv_scratch(sizes, backward) bytes in
 * each pass, and on the CPU vt_conv_worker_scratch(sizes) bytes a thread.
 */
typedef struct vt_conv_sizes {
    int64_t batch, H, W, C, O, kernel, stride, pad, groups;
} vt_conv_sizes;
int64_t vt_conv_out(int64_t size, int64_t kernel, int64_t stride, int64_t pad);
typedef void vt_conv_fwd_fn(vt_dev *d, vt_buf y, vt_buf x, vt_buf w, vt_buf b,
                            const vt_conv_sizes *sizes, void *scratch);
typedef void vt_conv_bwd_x_fn(vt_dev *d, vt_buf dx, bool write, vt_buf dy, vt_buf w,
                              const vt_conv_sizes *sizes, void *scratch);
/* dw += ..., db += ...; each may be NULL */
typedef void vt_conv_bwd_w_fn(vt_dev *d, float *dw, float *db, vt_buf dy, vt_buf x,
                              const vt_conv_sizes *sizes, void *scratch);
typedef size_t vt_conv_scratch_fn(const vt_conv_sizes *sizes, bool backward);
size_t vt_conv_worker_scratch(const vt_conv_sizes *sizes);
/* Depthwise: the same with groups = C = O, without bias. w (C, 1, kernel, kernel).
 * scratch: dwconv_scratch(sizes, backward) bytes in each pass. */
typedef void vt_dwconv_fwd_fn(vt_dev *d, vt_buf y, vt_buf x, vt_buf w, const vt_conv_sizes *sizes,
                              void *scratch);
/* dx = or += ..., dw += ...; each may be NULL */
typedef void vt_dwconv_bwd_fn(vt_dev *d, vt_buf dx, bool write, float *dw, vt_buf dy, vt_buf x,
                              vt_buf w, const vt_conv_sizes *sizes, void *scratch);
typedef size_t vt_dwconv_scratch_fn(const vt_conv_sizes *sizes, bool backward);

/*
 * ---- batch norm over rows, each column (channel) for itself (Ioffe, Szegedy 2015):
 * y = (x - mean) * rstd * w + b, rstd = 1/sqrt(var + eps).
 * training: mean and (biased) var of the rows; running_mean and running_var (cols) move by
 * `momentum` towards the mean and the unbiased var (the biased one if rows = 1), unless
 * step->stopped. Else mean and var are the running ones. mean, rstd (cols) are outputs in both, in
 * double: where a mean is large beside its deviation, its rounding to float would show in every
 * xhat. y is the `activation` of that value, which is not stored: the backward pass computes it
 * again from x and `line` (VT_BATCHNORM_LINE * cols), an output of the forward pass. scratch:
 * batchnorm_scratch(rows, cols) bytes in both passes.
 */
typedef struct vt_batchnorm_sizes {
    int64_t rows, cols;
    float eps, momentum;
    bool training;
    vt_activation_kind activation;
} vt_batchnorm_sizes;
enum { VT_BATCHNORM_LINE = 3 };
typedef void vt_batchnorm_fwd_fn(vt_dev *d, vt_buf y, double *mean, double *rstd, float *line,
                                 float *running_mean, float *running_var, vt_buf x, const float *w,
                                 const float *b, const vt_batchnorm_sizes *sizes,
                                 const vt_step *step, void *scratch);
/* dw += sum_r dy * xhat;  db += sum_r dy;  dw, db or dx.data may be NULL. y, unless its data is
 * NULL, becomes the forward pass's value again. dx may be dy if it is written, y may be x. Without
 * `training` mean and rstd are constants. */
typedef void vt_batchnorm_bwd_fn(vt_dev *d, vt_buf dx, bool write, float *dw, float *db, vt_buf y,
                                 vt_buf dy, vt_buf x, const float *w, const double *mean,
                                 const double *rstd, const float *line,
                                 const vt_batchnorm_sizes *sizes, void *scratch);
typedef size_t vt_batchnorm_scratch_fn(int64_t rows, int64_t cols);

/*
 * ---- pooling: x (batch, H, W, C) -> y (batch, Ho, Wo, C), sizes as a convolution's. max: index
 * (as y) is the place row * W + column of the first largest value in its window, an output; places
 * outside the map never win. mean: of kernel * kernel places, those outside count as 0; index NULL.
 */
typedef enum vt_pooling_kind { VT_POOLING_MAX, VT_POOLING_MEAN } vt_pooling_kind;
typedef struct vt_pooling_sizes {
    int64_t batch, H, W, C, kernel, stride, pad; /* pad <= kernel / 2 */
    vt_pooling_kind kind;
} vt_pooling_sizes;
typedef void vt_pooling_fwd_fn(vt_dev *d, vt_buf y, int32_t *index, vt_buf x,
                               const vt_pooling_sizes *sizes);
typedef void vt_pooling_bwd_fn(vt_dev *d, vt_buf dx, bool write, vt_buf dy, const int32_t *index,
                               const vt_pooling_sizes *sizes);

/*
 * ---- resize: x (batch, H, W, C) -> y (batch, Ho, Wo, C). bilinear: corners not aligned, source
 * (i + 0.5) * H / Ho - 0.5, not below 0, neighbours clamped to the map; nearest: floor(i * H / Ho).
 */
typedef enum vt_resize_kind { VT_RESIZE_BILINEAR, VT_RESIZE_NEAREST } vt_resize_kind;
typedef struct vt_resize_sizes {
    int64_t batch, H, W, C, Ho, Wo;
    vt_resize_kind kind;
} vt_resize_sizes;
typedef void vt_resize_fwd_fn(vt_dev *d, vt_buf y, vt_buf x, const vt_resize_sizes *sizes);
typedef void vt_resize_bwd_fn(vt_dev *d, vt_buf dx, bool write, vt_buf dy,
                              const vt_resize_sizes *sizes);

/* ---- concatenation: y (rows, Ca + Cb), a (rows, Ca) in front of b (rows, Cb). da.data or db.data
 * may be NULL. */
typedef void vt_concat_fwd_fn(vt_dev *d, vt_buf y, vt_buf a, vt_buf b, int64_t rows, int64_t Ca,
                              int64_t Cb);
typedef void vt_concat_bwd_fn(vt_dev *d, vt_buf da, bool write_a, vt_buf db, bool write_b,
                              vt_buf dy, int64_t rows, int64_t Ca, int64_t Cb);

/* ---- sequence pooling (Hassani et al. 2021): y (batch, C) = sum_n p[n] x[n], p = softmax over the
 * N tokens of scores (batch, N). p (batch, N) is an output. */
typedef void vt_sequence_pool_fwd_fn(vt_dev *d, vt_buf y, float *p, vt_buf x, vt_buf scores,
                                     int64_t batch, int64_t N, int64_t C);
typedef void vt_sequence_pool_bwd_fn(vt_dev *d, vt_buf dx, bool write_x, vt_buf dscores,
                                     bool write_scores, vt_buf dy, vt_buf x, const float *p,
                                     int64_t batch, int64_t N, int64_t C);

/* ---- tokens: y (batch, t + N, C) with t = 1 if cls (C) is given, else 0: y[b,0] = cls,
 * y[b,t+i] = x[b,i]; then + pos (t + N, C) if given. cls, pos or NULL. */
typedef void vt_tokens_fwd_fn(vt_dev *d, vt_buf y, vt_buf x, const float *cls, const float *pos,
                              int64_t batch, int64_t N, int64_t C);
/* has_cls: as in the forward pass; dcls, dpos: += or NULL */
typedef void vt_tokens_bwd_fn(vt_dev *d, vt_buf dx, bool write, float *dcls, float *dpos, vt_buf dy,
                              bool has_cls, int64_t batch, int64_t N, int64_t C);

/* ---- pooling over tokens: x (batch, N, C) -> y (batch, C): the mean, or token 0 */
typedef void vt_mean_tokens_fwd_fn(vt_dev *d, vt_buf y, vt_buf x, int64_t batch, int64_t N,
                                   int64_t C);
typedef void vt_mean_tokens_bwd_fn(vt_dev *d, vt_buf dx, bool write, vt_buf dy, int64_t batch,
                                   int64_t N, int64_t C);
typedef void vt_first_token_fwd_fn(vt_dev *d, vt_buf y, vt_buf x, int64_t batch, int64_t N,
                                   int64_t C);
typedef void vt_first_token_bwd_fn(vt_dev *d, vt_buf dx, bool write, vt_buf dy, int64_t batch,
                                   int64_t N, int64_t C);

/* ---- residual: y = x + s_b * f, all (batch, n). s_b = 1, or with drop path 0 or 1/(1 - rate),
 * one draw (element 0) an image. Backward: dx = or += dy; df = or += s_b * dy. */
typedef void vt_residual_fwd_fn(vt_dev *d, vt_buf y, vt_buf x, vt_buf f, int64_t batch, int64_t n,
                                float rate, vt_draw_stream stream, const vt_step *step);
typedef void vt_residual_bwd_fn(vt_dev *d, vt_buf dx, bool write_x, vt_buf df, bool write_f,
                                vt_buf dy, int64_t batch, int64_t n, float rate,
                                vt_draw_stream stream, const vt_step *step);

/* ---- dropout: y = keep ? x / (1 - rate) : 0, all (batch, n), element number within the image.
 * Backward is the same with dx, dy. */
typedef void vt_dropout_fwd_fn(vt_dev *d, vt_buf y, vt_buf x, int64_t batch, int64_t n, float rate,
                               vt_draw_stream stream, const vt_step *step);
typedef void vt_dropout_bwd_fn(vt_dev *d, vt_buf dx, bool write, vt_buf dy, int64_t batch,
                               int64_t n, float rate, vt_draw_stream stream, const vt_step *step);

/*
 * ---- softmax cross entropy with label smoothing s: target = (1 - s) onehot + s / classes.
 * loss (rows), lse (rows) and rank (rows: how many classes stand before the label, ties by lower
 * index) are outputs. totals[4] += sum of loss, count of rank 0, count of rank < 5, rows; summed
 * in row order in double.
 */
typedef void vt_cross_entropy_fwd_fn(vt_dev *d, float *loss, float *lse, int32_t *rank,
                                     double *totals, vt_buf logits, const int32_t *labels,
                                     int64_t rows, int64_t classes, float smoothing);
/* dlogits = (softmax - target) * step->grad_scale */
typedef void vt_cross_entropy_bwd_fn(vt_dev *d, vt_buf dlogits, vt_buf logits, const float *lse,
                                     const int32_t *labels, int64_t rows, int64_t classes,
                                     float smoothing, const vt_step *step);

/* ---- optimisers, on n contiguous parameters with their gradients g, already averaged; each g is
 * multiplied by step->clip first. Nothing happens where step->stopped. Formulas are PyTorch's.
 * sgd: g += decay * w; m = first ? g : momentum * m + g; w -= lr * (nesterov ? g + momentum*m : m)
 * (m NULL without momentum). */
typedef void vt_sgd_fn(vt_dev *d, float *w, float *m, const float *g, int64_t n, float momentum,
                       float decay, bool nesterov, bool first, const vt_step *step);
/* adam: m = b1 m + (1-b1) g; v = b2 v + (1-b2) g^2;
 * w -= (lr / correction1) * m / (sqrt(v) / correction2 + eps). decoupled (AdamW):
 * w *= 1 - lr * decay before; else g += decay * w before. The betas are double because 1 - 0.999
 * taken from a float is wrong by 1e-5 of itself. */
typedef void vt_adam_fn(vt_dev *d, float *w, float *m, float *v, const float *g, int64_t n,
                        double beta1, double beta2, float eps, float decay, bool decoupled,
                        const vt_step *step);
/* *sum = sum of g^2 in double, chunks of 16384 elements, pairwise; scratch: ceil(n/16384) doubles.
 * Not finite if and only if a gradient is not. */
typedef void vt_sum_squares_fn(vt_dev *d, double *sum, const float *g, int64_t n, double *scratch);
/* result[5] = totals[4] and *sum. step->stopped becomes 1 if totals[0], the loss, or *sum is not
 * finite: nothing may come of such a step, nor of those that were begun before anyone saw it. */
typedef void vt_judge_step_fn(vt_dev *d, vt_step *step, double *result, const double *totals,
                              const double *sum);
/* step->clip = min(1, max_norm / (sqrt(*sum) + 1e-6)) */
typedef void vt_clip_factor_fn(vt_dev *d, vt_step *step, const double *sum, float max_norm);

/* ---- work that the device does ahead of the host. *step = list[step->next], but for `stopped`,
 * which stays; totals[4] = 0. */
typedef void vt_next_step_fn(vt_dev *d, vt_step *step, double *totals, const vt_step *list);

/* One axis of a picture in a batch: place i in [first, last) shows the stored place
 * step * i + offset. */
typedef struct vt_pick_axis {
    int32_t step, offset, first, last;
} vt_pick_axis;
typedef struct vt_pick {
    uint32_t image; /* its number among those in memory */
    int32_t label;
    vt_pick_axis y, x;
} vt_pick;
typedef struct vt_gather_sizes {
    int64_t batch, height, width, channels; /* of the batch */
    int64_t stored_height, stored_width;
} vt_gather_sizes;
/* A batch of pictures that lie in memory as bytes (n, stored_height, stored_width, channels):
 * images (batch, height, width, channels) = levels[c][byte], levels (channels, 256), byte 0 where a
 * pick shows nothing; labels (batch). Image b is picks[step->first + b]. */
typedef void vt_gather_fn(vt_dev *d, vt_buf images, int32_t *labels, const uint8_t *pixels,
                          const float *levels, const vt_pick *picks, const vt_gather_sizes *sizes,
                          const vt_step *step);

/* ---- plain memory */
typedef void vt_fill_zero_fn(vt_dev *d, void *data, size_t size_bytes);
/* to = from (n), rounded to nearest even where `to` is BF16. */
typedef void vt_convert_fn(vt_dev *d, vt_buf to, vt_buf from, int64_t n);
/* Number of the first element that is not finite, or -1. */
typedef int64_t vt_find_nonfinite_fn(vt_dev *d, vt_buf x, int64_t n);

#define VT_KERNEL_LIST(X)                                                                          \
    X(linear_fwd)                                                                                  \
    X(linear_bwd_x)                                                                                \
    X(linear_bwd_w)                                                                                \
    X(layernorm_fwd)                                                                               \
    X(layernorm_bwd)                                                                               \
    X(activation_fwd)                                                                              \
    X(activation_bwd)                                                                              \
    X(attention_fwd)                                                                               \
    X(attention_bwd)                                                                               \
    X(attention_probs)                                                                             \
    X(patchify_fwd)                                                                                \
    X(merge_fwd)                                                                                   \
    X(merge_bwd)                                                                                   \
    X(conv_fwd)                                                                                    \
    X(conv_bwd_x)                                                                                  \
    X(conv_bwd_w)                                                                                  \
    X(dwconv_fwd)                                                                                  \
    X(dwconv_bwd)                                                                                  \
    X(tokens_fwd)                                                                                  \
    X(tokens_bwd)                                                                                  \
    X(batchnorm_fwd)                                                                               \
    X(batchnorm_bwd)                                                                               \
    X(pooling_fwd)                                                                                 \
    X(pooling_bwd)                                                                                 \
    X(resize_fwd)                                                                                  \
    X(resize_bwd)                                                                                  \
    X(concat_fwd)                                                                                  \
    X(concat_bwd)                                                                                  \
    X(sequence_pool_fwd)                                                                           \
    X(sequence_pool_bwd)                                                                           \
    X(mean_tokens_fwd)                                                                             \
    X(mean_tokens_bwd)                                                                             \
    X(first_token_fwd)                                                                             \
    X(first_token_bwd)                                                                             \
    X(residual_fwd)                                                                                \
    X(residual_bwd)                                                                                \
    X(dropout_fwd)                                                                                 \
    X(dropout_bwd)                                                                                 \
    X(cross_entropy_fwd)                                                                           \
    X(cross_entropy_bwd)                                                                           \
    X(sgd)                                                                                         \
    X(adam)                                                                                        \
    X(sum_squares)                                                                                 \
    X(judge_step)                                                                                  \
    X(clip_factor)                                                                                 \
    X(next_step)                                                                                   \
    X(gather)                                                                                      \
    X(fill_zero)                                                                                   \
    X(convert)                                                                                     \
    X(find_nonfinite)

/* How much scratch memory the kernels above take. */
#define VT_SCRATCH_LIST(X)                                                                         \
    X(linear_scratch)                                                                              \
    X(layernorm_scratch)                                                                           \
    X(attention_scratch)                                                                           \
    X(conv_scratch)                                                                                \
    X(dwconv_scratch)                                                                              \
    X(batchnorm_scratch)

typedef struct vt_kernels {
    const char *name; /* "avx2", "avx512", "cuda" */
#define X(kernel) vt_##kernel##_fn *kernel;
    VT_KERNEL_LIST(X)
    VT_SCRATCH_LIST(X)
#undef X
    bool rounds;            /* computes in TF32 and BF16 too */
    bool attention_remakes; /* attention_bwd spares memory in the ways said there */
} vt_kernels;

/* Those of the CPU, in either width. */
#define X(size) vt_##size##_fn vt_##size;
VT_SCRATCH_LIST(X)
#undef X

#ifdef __cplusplus
}
#endif

#endif
