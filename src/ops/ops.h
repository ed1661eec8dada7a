/*
 * The ops: functions that add a node to a graph, with their formulas and shapes. B is the batch, N
 * the tokens of an image, C channels, (...) any leading axes. Maps are (B, H*W, C), channels last.
 * Each op is one file: shape rule, forward and backward pass, which call kernels (kernels.h).
 */
#ifndef VT_OPS_OPS_H
#define VT_OPS_OPS_H

#include "graph/graph.h"
#include "kernels/device.h"

/* y (..., out) = x (..., in) w^T + b, w (out, in), b (out) or NULL. */
vt_node *vt_linear(vt_graph *g, const char *name, vt_node *x, vt_node *w, vt_node *b);

/* Layer normalisation over the last axis (Ba, Kiros, Hinton 2016):
 * y = (x - mean) / sqrt(var + eps) * w + b, var the biased variance; w, b (C). */
vt_node *vt_layernorm(vt_graph *g, const char *name, vt_node *x, vt_node *w, vt_node *b,
                      double eps);

/* y = f(x), element by element; kernels.h has the formulas. */
vt_node *vt_activation(vt_graph *g, const char *name, vt_node *x, vt_activation_kind kind);

/*
 * Multi-head attention of the tokens in each group of `map` (windows.h makes maps):
 * qkv (B, N, 3C): q, k, v, head after head -> y (B, N, C) = softmax(q k^T / sqrt(C / heads) +
 * bias) v. table (rows, heads): relative position bias (Liu et al. 2021), or NULL.
 * pad_bias (3C): the qkv bias, for padded places that attend, or NULL. drop: rate of dropout on
 * the weights, in training graphs.
 */
vt_node *vt_attention(vt_graph *g, const char *name, vt_node *qkv, vt_node *table,
                      vt_node *pad_bias, const vt_attention_map *map, int64_t heads, double drop);

/* Image (B, H, W, C) -> patches (B, ceil(H/p) * ceil(W/p), C*p*p), values ordered (channel, row,
 * column) as in a convolution's weight; padded with 0 at right and bottom. */
vt_node *vt_patchify(vt_graph *g, const char *name, vt_node *image, int64_t patch);

/* Patch merging's gather: map (B, H*W, C) -> (B, ceil(H/2) * ceil(W/2), 4C), neighbours in the
 * order (row, column) = (0,0), (1,0), (0,1), (1,1); odd maps are padded with 0. */
vt_node *vt_merge(vt_graph *g, const char *name, vt_node *x, int64_t height, int64_t width);

/*
 * Convolution of a map (B, H*W, C) (or an image (B, H, W, C)) -> (B, Ho*Wo, O), zero padding on all
 * sides. w (O, C / groups, k, k), b (O) or NULL. groups = C = O is the depthwise kernel's case (no
 * bias). A 1 x 1 convolution of stride 1 is vt_linear.
 */
vt_node *vt_conv(vt_graph *g, const char *name, vt_node *x, int64_t height, int64_t width,
                 vt_node *w, vt_node *b, int64_t stride, int64_t pad, int64_t groups);
vt_node *vt_dwconv(vt_graph *g, const char *name, vt_node *x, int64_t height, int64_t width,
                   vt_node *w, int64_t stride, int64_t pad);

/* Batch norm of each channel over all other axes (Ioffe, Szegedy 2015), then `activation`:
 * batch statistics in a training graph, which moves the running ones by 0.1; the running ones in
 * evaluation.
 * w, b, running_mean, running_var (C); the last two have role VT_ROLE_BUFFER. */
vt_node *vt_batchnorm(vt_graph *g, const char *name, vt_node *x, vt_node *w, vt_node *b,
                      vt_node *running_mean, vt_node *running_var, double eps,
                      vt_activation_kind activation);

/* Pooling of a map (B, H*W, C) -> (B, Ho*Wo, C); see kernels.h for the sizes and borders. */
vt_node *vt_pooling(vt_graph *g, const char *name, vt_node *x, int64_t height, int64_t width,
                    int64_t kernel, int64_t stride, int64_t pad, vt_pooling_kind kind);

/* A map of another size: (B, H*W, C) -> (B, Ho*Wo, C). */
vt_node *vt_resize(vt_graph *g, const char *name, vt_node *x, int64_t height, int64_t width,
                   int64_t to_height, int64_t to_width, vt_resize_kind kind);

/* Channels of a, then those of b: (..., Ca), (..., Cb) -> (..., Ca + Cb). */
vt_node *vt_concat(vt_graph *g, const char *name, vt_node *a, vt_node *b);

/* (B, N, C) and scores (B, N, 1) -> (B, C): the tokens' mean weighed by softmax(scores). */
vt_node *vt_sequence_pool(vt_graph *g, const char *name, vt_node *x, vt_node *scores);

/* Class token in front (cls (C) or NULL), then positions added (pos (tokens, C) or NULL). */
vt_node *vt_tokens(vt_graph *g, const char *name, vt_node *x, vt_node *cls, vt_node *pos);

/* (B, N, C) -> (B, C): the mean over tokens; token 0. */
vt_node *vt_mean_tokens(vt_graph *g, const char *name, vt_node *x);
vt_node *vt_first_token(vt_graph *g, const char *name, vt_node *x);

/* y = x + s f. s = 1; with drop path (stochastic depth, Huang et al. 2016) in a training graph 0 or
 * 1 / (1 - rate), one draw an image. */
vt_node *vt_residual(vt_graph *g, const char *name, vt_node *x, vt_node *f, double drop_path);

/* Dropout of elements, scaled by 1 / (1 - rate). Returns x itself in evaluation or at rate 0. */
vt_node *vt_dropout(vt_graph *g, const char *name, vt_node *x, double rate);

/* logits (B, K), labels (B) I32 -> loss of each row (B): softmax cross entropy against
 * (1 - smoothing) onehot + smoothing / K. The root of a training graph. */
vt_node *vt_cross_entropy(vt_graph *g, const char *name, vt_node *logits, vt_node *labels,
                          double smoothing);

/* One call of an op's forward or backward pass: pointers into the plan's memory, made once. */
typedef struct vt_call {
    const vt_node *node;
    bool backward;
    vt_dev *dev;
    const vt_kernels *k;
    vt_buf y, x[VT_MAX_IN];
    void *kept[VT_MAX_KEPT];
    vt_buf dy, dx[VT_MAX_IN]; /* dx data is NULL where no gradient is wanted */
    bool write[VT_MAX_IN];    /* first writer of dx: write, else add */
    vt_buf remade;            /* backward: the value, to be made again if data is not NULL */
    void *scratch;
    const vt_attention_map *map; /* attention's, its tables on the device */
    const vt_step *step;
    double *totals; /* sums of the loss op (cross_entropy_fwd) */
} vt_call;

typedef struct vt_op_functions {
    const char *name;
    vt_status (*infer)(vt_node *node, vt_error *err);
    void (*fwd)(const vt_call *c);
    void (*bwd)(const vt_call *c);
} vt_op_functions;

extern const vt_op_functions vt_op_table[VT_OP_INPUT];

#define VT_OP(name)                                                                                \
    vt_status vt_op_##name##_infer(vt_node *n, vt_error *err);                                     \
    void vt_op_##name##_fwd(const vt_call *c);                                                     \
    void vt_op_##name##_bwd(const vt_call *c);
#include "ops/ops.def"
#undef VT_OP

#endif
