/*
 * Layers and the pre-norm transformer block: functions that create parameters under a name and
 * return nodes. `name` is the layer's path in timm's words ("blocks.0.attn.qkv"); its parameters
 * are name.weight and name.bias.
 */
#ifndef VT_NN_BLOCKS_H
#define VT_NN_BLOCKS_H

#include "config/config.h"
#include "ops/ops.h"

/* Initial values of a layer's weight and bias. */
typedef struct vt_layer_init {
    vt_fill weight, bias;
} vt_layer_init;

/* Normal with the given deviation, bias 0 (a truncation at +-2 never cuts at 0.02). */
vt_layer_init vt_init_normal(double std);
/* PyTorch's default for linear layers and convolutions: uniform +-1/sqrt(fan_in), bias too. */
vt_layer_init vt_init_uniform(int64_t fan_in);
/* Uniform of Glorot and Bengio (2010), bias normal with the given deviation (0: zeros). */
vt_layer_init vt_init_xavier(int64_t fan_in, int64_t fan_out, double bias_std);
vt_layer_init vt_init_zeros(void);

/* "prefix.suffix" owned by the graph; NULL after a failure (every function takes NULL names). */
const char *vt_name(vt_graph *g, const char *format, ...) __attribute__((format(printf, 2, 3)));

vt_node *vt_layer_linear(vt_graph *g, const char *name, vt_node *x, int64_t out, bool bias,
                         vt_layer_init init);
vt_node *vt_layer_norm(vt_graph *g, const char *name, vt_node *x, double eps);
/* Patch embedding: a convolution with kernel and stride `patch`, weight (dim, C, p, p). */
vt_node *vt_layer_patch_embed(vt_graph *g, const char *name, vt_node *images, int64_t patch,
                              int64_t dim, vt_layer_init init);

/* Mean over the tokens, or sequence pooling with the linear layer NAME (D -> 1): (B, N, C) ->
 * (B, C). A class token is taken by the last block, see vt_block_style. */
vt_node *vt_layer_pool(vt_graph *g, const char *name, vt_node *x, enum vt_pool_kind kind,
                       vt_layer_init init);
/* x + positions: a learned table NAME (1, tokens, C) that starts normal with deviation `std`, fixed
 * sines and cosines over maps of that width, or x itself. */
vt_node *vt_layer_positions(vt_graph *g, const char *name, vt_node *x, enum vt_pos_embed_kind kind,
                            int64_t map_width, double std);
/* x + branch with drop path at `rate`, of the configured kind. */
vt_node *vt_layer_residual(vt_graph *g, const char *name, const vt_config *config, vt_node *x,
                           vt_node *branch, double rate);
/* Patch merging (Liu et al. 2021): 2 x 2 neighbours side by side, layer norm NAME.norm, linear
 * layer NAME.reduction: (B, H*W, C) -> (B, ceil(H/2) * ceil(W/2), out). */
vt_node *vt_layer_merge(vt_graph *g, const char *name, vt_node *x, int64_t height, int64_t width,
                        int64_t out, bool bias, double eps, vt_layer_init init);

/* Rate of block `i` of `n`: rises linearly from 0 to `last`. */
double vt_drop_path_rate(double last, int64_t i, int64_t n);

/* What a block's attention needs beside the widths. */
typedef struct vt_block_attention {
    const vt_attention_map *map;
    bool relative_bias; /* a table attn.relative_position_bias_table (rows, heads) */
    double padding;     /* padded tokens over tokens, for the padded count of MACs */
    vt_attention_layout layout;
} vt_block_attention;

/* Every token of a map, and a class token in front of it, attends to every token. */
vt_block_attention vt_attend_globally(vt_graph *g, int64_t height, int64_t width, bool has_cls);
/* Windows with relative position bias; see windows.h. */
vt_block_attention vt_attend_in_windows(vt_graph *g, int64_t height, int64_t width, int64_t window,
                                        bool shifted, enum vt_window_mode mode);
/* Tokens at the same place of their patches attend to each other (Mehta, Rastegari 2022). */
vt_block_attention vt_attend_across_patches(vt_graph *g, int64_t height, int64_t width,
                                            int64_t patch);

/* The four linear layers of a block. */
typedef struct vt_block_init {
    vt_layer_init qkv, proj, fc1, fc2;
} vt_block_init;

/* A block's layers below its name. */
typedef struct vt_block_names {
    const char *norm1, *attn, *norm2, *fc1, *fc2;
} vt_block_names;

typedef struct vt_block_style {
    int64_t heads;
    double mlp_ratio;
    vt_activation_kind act;
    vt_block_init init;
    bool first_only;             /* nothing but token 0 of the result is read, see below */
    bool stream_norm;            /* norm2 is taken of the stream itself, as in CCT */
    const vt_block_names *names; /* NULL: norm1, attn, norm2, mlp.fc1, mlp.fc2 as timm has them */
} vt_block_style;

/* GELU in the configured form; the activation of a word, with that GELU. */
vt_activation_kind vt_gelu_of(const vt_config *config);
vt_activation_kind vt_activation_of(const vt_config *config, enum vt_act_kind act);

/*
 * Pre-norm block: x + path(drop(proj(attention(qkv(norm1(x)))))), then
 * x + path(drop(fc2(drop(act(fc1(norm2(x))))))). With stream_norm the second is
 * z + path(drop(fc2(drop(act(fc1(z)))))) with z = norm2(x). `drop_path` is this block's rate; the
 * other rates, qkv bias and epsilon are the configuration's.
 *
 * (B, N, C) -> (B, N, C), or with first_only the first token, (B, C): no token reads another behind
 * attention, so proj, norm2, fc1 and fc2 are computed for that one alone. The other tokens would
 * change neither the result nor, having no gradient, any parameter's; the draws of dropout are the
 * same, being numbered within an image.
 */
vt_node *vt_block(vt_graph *g, const char *name, const vt_config *config, vt_node *x,
                  const vt_block_attention *attention, const vt_block_style *style,
                  double drop_path);

#endif
