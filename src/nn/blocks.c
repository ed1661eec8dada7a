#include "nn/blocks.h"

#include "nn/windows.h"

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

vt_node *vt_layer_pool(vt_graph *g, const char *name, vt_node *x, enum vt_pool_kind kind,
                       vt_layer_init init)
{
    switch (x ? kind : VT_POOL_COUNT) {
    case VT_POOL_MEAN:
        return vt_mean_tokens(g, "pool", x);
    case VT_POOL_SEQUENCE:
        return vt_sequence_pool(g, "pool", x, vt_layer_linear(g, name, x, 1, true, init));
    case VT_POOL_TOKEN:
    case VT_POOL_COUNT:
        break;
    }
    return NULL;
}

vt_node *vt_layer_positions(vt_graph *g, const char *name, vt_node *x, enum vt_pos_embed_kind kind,
                            int64_t map_width, double std)
{
    if (!x || kind == VT_POS_NONE)
        return x;
    bool learned = kind == VT_POS_LEARNED;
    vt_fill fill =
        learned ? vt_init_normal(std).weight : (vt_fill){.kind = VT_FILL_SINCOS, .side = map_width};
    vt_shape shape = vt_shape_of(3, (int64_t[]){1, x->shape.dim[1], x->shape.dim[2]});
    vt_node *pos =
        vt_graph_param(g, name, shape, learned ? VT_ROLE_POS_EMBED : VT_ROLE_FIXED, fill);
    return vt_tokens(g, vt_name(g, "%s.add", name), x, NULL, pos);
}

double vt_drop_path_rate(double last, int64_t i, int64_t n)
{
    return n > 1 ? last * (double)i / (double)(n - 1) : 0;
}

vt_node *vt_layer_residual(vt_graph *g, const char *name, const vt_config *config, vt_node *x,
                           vt_node *branch, double drop_path)
{
    if (!x || !branch)
        return NULL;
    if (config->model_drop_path_mode == VT_DROP_PATH_ELEMENT) {
        branch = vt_dropout(g, vt_name(g, "%s.drop", name), branch, drop_path);
        drop_path = 0;
    }
    return vt_residual(g, name, x, branch, drop_path);
}

vt_node *vt_layer_merge(vt_graph *g, const char *name, vt_node *x, int64_t height, int64_t width,
                        int64_t out, bool bias, double eps, vt_layer_init init)
{
    if (!x)
        return NULL;
    x = vt_merge(g, vt_name(g, "%s.gather", name), x, height, width);
    x = vt_layer_norm(g, vt_name(g, "%s.norm", name), x, eps);
    return vt_layer_linear(g, vt_name(g, "%s.reduction", name), x, out, bias, init);
}

vt_block_attention vt_attend_globally(vt_graph *g, int64_t height, int64_t width, bool has_cls)
{
    return (vt_block_attention){
        .map = vt_global_map(g, height * width + has_cls),
        .padding = 1,
        .layout = {.grid_h = height, .grid_w = width, .dilation = 1, .has_cls = has_cls},
    };
}

vt_block_attention vt_attend_in_windows(vt_graph *g, int64_t height, int64_t width, int64_t window,
                                        bool shifted, enum vt_window_mode mode)
{
    vt_window_geometry geometry = vt_window_geometry_of(height, width, window, shifted, mode);
    return (vt_block_attention){
        .map = vt_window_map(g, &geometry),
        .relative_bias = true,
        .padding = vt_window_padding(&geometry),
        .layout = {.grid_h = height,
                   .grid_w = width,
                   .window_h = geometry.window_h,
                   .window_w = geometry.window_w,
                   .shift_h = geometry.shift_h,
                   .shift_w = geometry.shift_w,
                   .dilation = 1},
    };
}

vt_block_attention vt_attend_across_patches(vt_graph *g, int64_t height, int64_t width,
                                            int64_t patch)
{
    return (vt_block_attention){
        .map = vt_patch_map(g, height, width, patch),
        .padding = 1,
        .layout = {.grid_h = height,
                   .grid_w = width,
                   .window_h = height / patch,
                   .window_w = width / patch,
                   .dilation = patch},
    };
}

vt_activation_kind vt_gelu_of(const vt_config *config)
{
    return config->model_gelu == VT_GELU_TANH ? VT_ACT_GELU_TANH : VT_ACT_GELU;
}

vt_activation_kind vt_activation_of(const vt_config *config, enum vt_act_kind act)
{
    static const vt_activation_kind kinds[VT_ACTIVATE_COUNT] = {
        [VT_ACTIVATE_SILU] = VT_ACT_SILU, [VT_ACTIVATE_RELU] = VT_ACT_RELU,
        [VT_ACTIVATE_MISH] = VT_ACT_MISH, [VT_ACTIVATE_LEAKY] = VT_ACT_LEAKY,
        [VT_ACTIVATE_NONE] = VT_ACT_NONE,
    };
    return act == VT_ACTIVATE_GELU ? vt_gelu_of(config) : kinds[act];
}

/* `all`: tokens of the form that computes every one, over those computed. */
static void count_all_tokens(vt_node *linear, double all)
{
    if (linear)
        linear->macs_padded = linear->macs * all;
}

/* What is left out where only the first of the block's tokens is read. */
static double unread(const vt_block_style *style, const vt_block_attention *a)
{
    return style->first_only ? (double)a->map->tokens : 1;
}

static vt_node *attention(vt_graph *g, const char *name, const vt_config *config, vt_node *x,
                          const vt_block_attention *a, const vt_block_style *style)
{
    int64_t dim = vt_shape_last(x->shape);
    vt_node *table = NULL, *pad_bias = NULL;
    vt_node *qkv = vt_layer_linear(g, vt_name(g, "%s.qkv", name), x, 3 * dim,
                                   config->model_qkv_bias, style->init.qkv);
    count_all_tokens(qkv, a->padding);
    if (a->relative_bias)
        table = vt_graph_param(g, vt_name(g, "%s.relative_position_bias_table", name),
                               vt_shape_of(2, (int64_t[]){a->map->table_rows, style->heads}),
                               VT_ROLE_REL_BIAS, (vt_fill){.kind = VT_FILL_NORMAL, .scale = 0.02});
    if (a->map->max_pads && qkv) /* a padded token's key and value are the bias */
        pad_bias = qkv->in[2];
    vt_node *y =
        vt_attention(g, name, qkv, table, pad_bias, a->map, style->heads, config->model_attn_drop);
    if (!y)
        return NULL;
    y->attention.layout = a->layout;
    if (style->first_only)
        y = vt_first_token(g, vt_name(g, "%s.first", name), y);
    y = vt_layer_linear(g, vt_name(g, "%s.proj", name), y, dim, true, style->init.proj);
    count_all_tokens(y, a->padding * unread(style, a));
    return vt_dropout(g, vt_name(g, "%s.proj_drop", name), y, config->model_proj_drop);
}

static vt_node *mlp(vt_graph *g, const char *name, const vt_config *config, vt_node *x,
                    const vt_block_attention *a, const vt_block_style *style,
                    const vt_block_names *names)
{
    int64_t dim = vt_shape_last(x->shape), hidden = (int64_t)((double)dim * style->mlp_ratio);
    const char *fc1 = vt_name(g, "%s.%s", name, names->fc1);
    const char *fc2 = vt_name(g, "%s.%s", name, names->fc2);
    vt_node *y = vt_layer_linear(g, fc1, x, hidden, true, style->init.fc1);
    count_all_tokens(y, unread(style, a));
    y = y ? vt_activation(g, vt_name(g, "%s.act", fc1), y, style->act) : NULL;
    y = y ? vt_dropout(g, vt_name(g, "%s.drop", fc1), y, config->model_mlp_drop) : NULL;
    y = vt_layer_linear(g, fc2, y, dim, true, style->init.fc2);
    count_all_tokens(y, unread(style, a));
    return y ? vt_dropout(g, vt_name(g, "%s.drop", fc2), y, config->model_mlp_drop) : NULL;
}

vt_node *vt_block(vt_graph *g, const char *name, const vt_config *config, vt_node *x,
                  const vt_block_attention *a, const vt_block_style *style, double drop_path)
{
    static const vt_block_names timm = {"norm1", "attn", "norm2", "mlp.fc1", "mlp.fc2"};
    const vt_block_names *names = style->names ? style->names : &timm;
    if (!x || !a->map)
        return NULL;
    vt_node *first = style->first_only ? vt_first_token(g, vt_name(g, "%s.first", name), x) : NULL;
    vt_node *y =
        vt_layer_norm(g, vt_name(g, "%s.%s", name, names->norm1), x, config->model_norm_eps);
    y = y ? attention(g, vt_name(g, "%s.%s", name, names->attn), config, y, a, style) : NULL;
    x = vt_layer_residual(g, vt_name(g, "%s.add1", name), config, first ? first : x, y, drop_path);
    y = vt_layer_norm(g, vt_name(g, "%s.%s", name, names->norm2), x, config->model_norm_eps);
    if (!y)
        return NULL;
    if (style->stream_norm)
        x = y;
    y = mlp(g, name, config, y, a, style, names);
    return vt_layer_residual(g, vt_name(g, "%s.add2", name), config, x, y, drop_path);
}
