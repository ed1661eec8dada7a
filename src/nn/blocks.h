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

/* What a block's attention needs beside the widths. */
typedef struct vt_block_attention {
    const vt_attention_map *map;
    bool relative_bias; /* a table attn.relative_position_bias_table (rows, heads) */
    double padding;     /* padded tokens over tokens, for the padded count of MACs */
    int64_t grid_h, grid_w, window_h, window_w, shift_h, shift_w;
    bool has_cls;
} vt_block_attention;

/* The four linear layers of a block. */
typedef struct vt_block_init {
    vt_layer_init qkv, proj, fc1, fc2;
} vt_block_init;

/*
 * Pre-norm block: x + path(drop(proj(attention(qkv(norm1(x)))))), then
 * x + path(drop(fc2(drop(gelu(fc1(norm2(x))))))). `drop_path` is this block's rate. Names: norm1,
 * attn.qkv, attn.proj, norm2, mlp.fc1, mlp.fc2 below `name`.
 */
vt_node *vt_block(vt_graph *g, const char *name, const vt_config *config, vt_node *x, int64_t heads,
                  const vt_block_attention *attention, vt_block_init init, double drop_path);

#endif
