#include "nn/blocks.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>

vt_layer_init vt_init_normal(double std)
{
    return (vt_layer_init){{.kind = VT_FILL_NORMAL, .scale = std}, {.kind = VT_FILL_ZERO}};
}

vt_layer_init vt_init_uniform(int64_t fan_in)
{
    vt_fill fill = {.kind = VT_FILL_UNIFORM, .scale = 1 / sqrt((double)fan_in)};
    return (vt_layer_init){fill, fill};
}

vt_layer_init vt_init_xavier(int64_t fan_in, int64_t fan_out, double bias_std)
{
    vt_fill weight = {.kind = VT_FILL_UNIFORM, .scale = sqrt(6.0 / (double)(fan_in + fan_out))};
    vt_fill bias = {.kind = bias_std > 0 ? VT_FILL_NORMAL : VT_FILL_ZERO, .scale = bias_std};
    return (vt_layer_init){weight, bias};
}

vt_layer_init vt_init_zeros(void)
{
    return (vt_layer_init){{.kind = VT_FILL_ZERO}, {.kind = VT_FILL_ZERO}};
}

const char *vt_name(vt_graph *g, const char *format, ...)
{
    char *name = vt_graph_alloc(g, VT_NODE_NAME, 1);
    va_list args;
    if (!name)
        return "";
    va_start(args, format);
    vsnprintf(name, VT_NODE_NAME, format, args);
    va_end(args);
    return name;
}

vt_node *vt_layer_linear(vt_graph *g, const char *name, vt_node *x, int64_t out, bool bias,
                         vt_layer_init init)
{
    if (!x)
        return NULL;
    vt_shape shape = vt_shape_of(2, (int64_t[]){out, vt_shape_last(x->shape)});
    vt_node *w =
        vt_graph_param(g, vt_name(g, "%s.weight", name), shape, VT_ROLE_WEIGHT, init.weight);
    vt_node *b = bias ? vt_graph_param(g, vt_name(g, "%s.bias", name), vt_shape_of(1, &out),
                                       VT_ROLE_BIAS, init.bias)
                      : NULL;
    return vt_linear(g, name, x, w, b);
}

vt_node *vt_layer_norm(vt_graph *g, const char *name, vt_node *x, double eps)
{
    if (!x)
        return NULL;
    int64_t c = vt_shape_last(x->shape);
    vt_shape shape = vt_shape_of(1, &c);
    vt_node *w = vt_graph_param(g, vt_name(g, "%s.weight", name), shape, VT_ROLE_NORM,
                                (vt_fill){.kind = VT_FILL_ONE});
    vt_node *b = vt_graph_param(g, vt_name(g, "%s.bias", name), shape, VT_ROLE_NORM,
                                (vt_fill){.kind = VT_FILL_ZERO});
    return vt_layernorm(g, name, x, w, b, eps);
}

vt_node *vt_layer_patch_embed(vt_graph *g, const char *name, vt_node *images, int64_t patch,
                              int64_t dim, vt_layer_init init)
{
    int64_t channels = images->shape.dim[3];
    vt_shape shape = vt_shape_of(4, (int64_t[]){dim, channels, patch, patch});
    vt_node *patches = vt_patchify(g, vt_name(g, "%s.patches", name), images, patch);
    vt_node *w =
        vt_graph_param(g, vt_name(g, "%s.weight", name), shape, VT_ROLE_WEIGHT, init.weight);
    vt_node *b = vt_graph_param(g, vt_name(g, "%s.bias", name), vt_shape_of(1, &dim), VT_ROLE_BIAS,
                                init.bias);
    return vt_linear(g, name, patches, w, b);
}

static vt_node *residual(vt_graph *g, const char *name, const vt_config *config, vt_node *x,
                         vt_node *branch, double drop_path)
{
    if (config->model_drop_path_mode == VT_DROP_PATH_ELEMENT) {
        branch = vt_dropout(g, vt_name(g, "%s.drop", name), branch, drop_path);
        drop_path = 0;
    }
    return vt_residual(g, name, x, branch, drop_path);
}

static void count_padding(vt_node *linear, double padding)
{
    if (linear)
        linear->macs_padded = linear->macs * padding;
}

static vt_node *attention(vt_graph *g, const char *name, const vt_config *config, vt_node *x,
                          int64_t heads, const vt_block_attention *a, const vt_block_init *init)
{
    int64_t dim = vt_shape_last(x->shape);
    vt_node *table = NULL, *pad_bias = NULL;
    vt_node *qkv = vt_layer_linear(g, vt_name(g, "%s.qkv", name), x, 3 * dim,
                                   config->model_qkv_bias, init->qkv);
    count_padding(qkv, a->padding);
    if (a->relative_bias)
        table = vt_graph_param(g, vt_name(g, "%s.relative_position_bias_table", name),
                               vt_shape_of(2, (int64_t[]){a->map->table_rows, heads}),
                               VT_ROLE_REL_BIAS, (vt_fill){.kind = VT_FILL_NORMAL, .scale = 0.02});
    if (a->map->max_pads && qkv) /* a padded token's key and value are the bias */
        pad_bias = qkv->in[2];
    vt_node *y =
        vt_attention(g, name, qkv, table, pad_bias, a->map, heads, config->model_attn_drop);
    if (!y)
        return NULL;
    y->attention.grid_h = a->grid_h;
    y->attention.grid_w = a->grid_w;
    y->attention.window_h = a->window_h;
    y->attention.window_w = a->window_w;
    y->attention.shift_h = a->shift_h;
    y->attention.shift_w = a->shift_w;
    y->attention.has_cls = a->has_cls;
    y = vt_layer_linear(g, vt_name(g, "%s.proj", name), y, dim, true, init->proj);
    count_padding(y, a->padding);
    return vt_dropout(g, vt_name(g, "%s.proj_drop", name), y, config->model_proj_drop);
}

static vt_node *mlp(vt_graph *g, const char *name, const vt_config *config, vt_node *x,
                    const vt_block_init *init)
{
    int64_t dim = vt_shape_last(x->shape),
            hidden = (int64_t)((double)dim * config->model_mlp_ratio);
    vt_activation_kind kind = config->model_gelu == VT_GELU_TANH ? VT_ACT_GELU_TANH : VT_ACT_GELU;
    vt_node *y = vt_layer_linear(g, vt_name(g, "%s.fc1", name), x, hidden, true, init->fc1);
    if (!y)
        return NULL;
    y = vt_activation(g, vt_name(g, "%s.act", name), y, kind);
    y = y ? vt_dropout(g, vt_name(g, "%s.drop1", name), y, config->model_mlp_drop) : NULL;
    y = vt_layer_linear(g, vt_name(g, "%s.fc2", name), y, dim, true, init->fc2);
    return y ? vt_dropout(g, vt_name(g, "%s.drop2", name), y, config->model_mlp_drop) : NULL;
}

vt_node *vt_block(vt_graph *g, const char *name, const vt_config *config, vt_node *x, int64_t heads,
                  const vt_block_attention *a, vt_block_init init, double drop_path)
{
    if (!x || !a->map)
        return NULL;
    vt_node *y = vt_layer_norm(g, vt_name(g, "%s.norm1", name), x, config->model_norm_eps);
    y = y ? attention(g, vt_name(g, "%s.attn", name), config, y, heads, a, &init) : NULL;
    if (!y)
        return NULL;
    x = residual(g, vt_name(g, "%s.add1", name), config, x, y, drop_path);
    y = vt_layer_norm(g, vt_name(g, "%s.norm2", name), x, config->model_norm_eps);
    y = y ? mlp(g, vt_name(g, "%s.mlp", name), config, y, &init) : NULL;
    return y ? residual(g, vt_name(g, "%s.add2", name), config, x, y, drop_path) : NULL;
}
