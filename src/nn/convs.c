#include "nn/convs.h"

#include <math.h>

static const double batch_norm_eps = 1e-5;

vt_layer_init vt_init_he(int64_t fan)
{
    return vt_init_normal(sqrt(2.0 / (double)fan));
}

static vt_map no_map(void)
{
    return (vt_map){NULL, 0, 0};
}

static int64_t convolved(int64_t side, int64_t kernel, int64_t stride, int64_t pad)
{
    return (side + 2 * pad - kernel) / stride + 1;
}

vt_map vt_layer_conv(vt_graph *g, const char *name, vt_map map, int64_t out, int64_t kernel,
                     int64_t stride, bool bias, vt_layer_init init)
{
    if (!map.x)
        return no_map();
    int64_t pad = kernel > stride ? kernel / 2 : 0, in = vt_shape_last(map.x->shape);
    vt_shape shape = vt_shape_of(4, (int64_t[]){out, in, kernel, kernel});
    vt_node *w =
        vt_graph_param(g, vt_name(g, "%s.weight", name), shape, VT_ROLE_WEIGHT, init.weight);
    vt_node *b = bias ? vt_graph_param(g, vt_name(g, "%s.bias", name), vt_shape_of(1, &out),
                                       VT_ROLE_BIAS, init.bias)
                      : NULL;
    if (kernel == 1 && stride == 1 && map.x->shape.rank == 3)
        return (vt_map){vt_linear(g, name, map.x, w, b), map.height, map.width};
    return (vt_map){vt_conv(g, name, map.x, map.height, map.width, w, b, stride, pad, 1),
                    convolved(map.height, kernel, stride, pad),
                    convolved(map.width, kernel, stride, pad)};
}

static vt_map depthwise(vt_graph *g, const char *name, vt_map map, int64_t kernel, int64_t stride)
{
    if (!map.x)
        return no_map();
    int64_t pad = kernel > stride ? kernel / 2 : 0, channels = vt_shape_last(map.x->shape);
    vt_shape shape = vt_shape_of(4, (int64_t[]){channels, 1, kernel, kernel});
    vt_node *w = vt_graph_param(g, vt_name(g, "%s.weight", name), shape, VT_ROLE_WEIGHT,
                                vt_init_he(kernel * kernel).weight);
    return (vt_map){vt_dwconv(g, name, map.x, map.height, map.width, w, stride, pad),
                    convolved(map.height, kernel, stride, pad),
                    convolved(map.width, kernel, stride, pad)};
}

vt_node *vt_layer_batchnorm(vt_graph *g, const char *name, const vt_config *config, vt_node *x,
                            bool zero_weight, enum vt_act_kind act)
{
    static const struct {
        const char *suffix;
        vt_role role;
        vt_fill_kind fill;
    } rows[4] = {{"weight", VT_ROLE_NORM, VT_FILL_ONE},
                 {"bias", VT_ROLE_NORM, VT_FILL_ZERO},
                 {"running_mean", VT_ROLE_BUFFER, VT_FILL_ZERO},
                 {"running_var", VT_ROLE_BUFFER, VT_FILL_ONE}};
    vt_node *param[4];
    if (!x)
        return NULL;
    int64_t channels = vt_shape_last(x->shape);
    for (int i = 0; i < 4; i++) {
        vt_fill fill = {.kind = i == 0 && zero_weight ? VT_FILL_ZERO : rows[i].fill};
        param[i] = vt_graph_param(g, vt_name(g, "%s.%s", name, rows[i].suffix),
                                  vt_shape_of(1, &channels), rows[i].role, fill);
    }
    return vt_batchnorm(g, name, x, param[0], param[1], param[2], param[3], batch_norm_eps,
                        vt_activation_of(config, act));
}

vt_node *vt_layer_act(vt_graph *g, const char *name, const vt_config *config, vt_node *x,
                      enum vt_act_kind act)
{
    if (!x || act == VT_ACTIVATE_NONE)
        return x;
    return vt_activation(g, name, x, vt_activation_of(config, act));
}

vt_map vt_conv_norm_act(vt_graph *g, const char *name, const vt_config *config, vt_map map,
                        const vt_conv_style *s)
{
    const char *conv = vt_name(g, "%s.conv", name);
    map = s->depthwise ? depthwise(g, conv, map, s->kernel, s->stride)
                       : vt_layer_conv(g, conv, map, s->out, s->kernel, s->stride, false,
                                       vt_init_he(s->kernel * s->kernel * s->out));
    map.x = vt_layer_batchnorm(g, vt_name(g, "%s.bn", name), config, map.x, s->zero_norm, s->act);
    return map;
}

/* timm's and torchvision's rule: to the nearest multiple of 8, never down by more than a tenth. */
static int64_t multiple_of_8(double width)
{
    int64_t rounded = (int64_t)(width + 4) / 8 * 8;
    if (rounded < 8)
        rounded = 8;
    return (double)rounded < 0.9 * width ? rounded + 8 : rounded;
}

vt_map vt_inverted_residual(vt_graph *g, const char *name, const vt_config *config, vt_map map,
                            int64_t out, int64_t stride, double expand, enum vt_act_kind act,
                            double drop_path)
{
    if (!map.x)
        return no_map();
    int64_t in = vt_shape_last(map.x->shape), hidden = multiple_of_8((double)in * expand);
    bool residual = stride == 1 && in == out;
    vt_map y =
        vt_conv_norm_act(g, vt_name(g, "%s.conv1_1x1", name), config, map,
                         &(vt_conv_style){.out = hidden, .kernel = 1, .stride = 1, .act = act});
    y = vt_conv_norm_act(
        g, vt_name(g, "%s.conv2_kxk", name), config, y,
        &(vt_conv_style){
            .out = hidden, .kernel = 3, .stride = stride, .depthwise = true, .act = act});
    y = vt_conv_norm_act(
        g, vt_name(g, "%s.conv3_1x1", name), config, y,
        &(vt_conv_style){
            .out = out, .kernel = 1, .stride = 1, .zero_norm = residual, .act = VT_ACTIVATE_NONE});
    if (residual)
        y.x = vt_layer_residual(g, vt_name(g, "%s.add", name), config, map.x, y.x, drop_path);
    return y;
}

static vt_map resized(vt_graph *g, const char *name, vt_map map, int64_t height, int64_t width)
{
    if (map.x && (height != map.height || width != map.width))
        map.x = vt_resize(g, name, map.x, map.height, map.width, height, width, VT_RESIZE_BILINEAR);
    return (vt_map){map.x, height, width};
}

static vt_map transform(vt_graph *g, const char *name, const vt_config *config, vt_map map,
                        const vt_mobilevit_style *s, double drop_path)
{
    int64_t height = (map.height + s->patch - 1) / s->patch * s->patch;
    int64_t width = (map.width + s->patch - 1) / s->patch * s->patch;
    vt_layer_init init = vt_init_normal(0.01);
    vt_block_style style = {.heads = s->heads,
                            .mlp_ratio = s->mlp_ratio,
                            .act = vt_activation_of(config, s->act),
                            .init = {init, init, init, init}};
    vt_map y = resized(g, vt_name(g, "%s.unfold", name), map, height, width);
    vt_block_attention attention = vt_attend_across_patches(g, height, width, s->patch);
    for (int64_t i = 0; i < s->depth; i++)
        y.x = vt_block(g, vt_name(g, "%s.transformer.%d", name, (int)i), config, y.x, &attention,
                       &style, drop_path);
    y.x = vt_layer_norm(g, vt_name(g, "%s.norm", name), y.x, config->model_norm_eps);
    return resized(g, vt_name(g, "%s.fold", name), y, map.height, map.width);
}

vt_map vt_mobilevit_block(vt_graph *g, const char *name, const vt_config *config, vt_map map,
                          const vt_mobilevit_style *s, double drop_path)
{
    if (!map.x)
        return no_map();
    int64_t channels = vt_shape_last(map.x->shape);
    vt_conv_style local = {.out = channels, .kernel = 3, .stride = 1, .act = s->act};
    vt_conv_style back = {.out = channels, .kernel = 1, .stride = 1, .act = s->act};
    vt_map y = vt_conv_norm_act(g, vt_name(g, "%s.conv_kxk", name), config, map, &local);
    y = vt_layer_conv(g, vt_name(g, "%s.conv_1x1", name), y, s->dim, 1, 1, false,
                      vt_init_he(s->dim));
    if (!y.x)
        return no_map();
    y = transform(g, name, config, y, s, drop_path);
    y = vt_conv_norm_act(g, vt_name(g, "%s.conv_proj", name), config, y, &back);
    y.x = y.x ? vt_concat(g, vt_name(g, "%s.concat", name), map.x, y.x) : NULL;
    return vt_conv_norm_act(g, vt_name(g, "%s.conv_fusion", name), config, y, &local);
}

vt_map vt_csp_stage(vt_graph *g, const char *name, const vt_config *config, vt_map map, int64_t out,
                    int64_t depth, int64_t stride, enum vt_act_kind act)
{
    const vt_conv_style down = {.out = out, .kernel = 3, .stride = stride, .act = act};
    const vt_conv_style fuse = {.out = out, .kernel = 1, .stride = 1, .act = act};
    const vt_conv_style one = {.out = out / 2, .kernel = 1, .stride = 1, .act = act};
    const vt_conv_style three = {.out = out / 2, .kernel = 3, .stride = 1, .act = act};
    map = vt_conv_norm_act(g, vt_name(g, "%s.down", name), config, map, &down);
    vt_map skip = vt_conv_norm_act(g, vt_name(g, "%s.split0", name), config, map, &one);
    vt_map y = vt_conv_norm_act(g, vt_name(g, "%s.split1", name), config, map, &one);
    for (int64_t i = 0; i < depth; i++) {
        const char *unit = vt_name(g, "%s.units.%d", name, (int)i);
        vt_map z = vt_conv_norm_act(g, vt_name(g, "%s.conv1", unit), config, y, &one);
        z = vt_conv_norm_act(g, vt_name(g, "%s.conv2", unit), config, z, &three);
        y.x = vt_layer_residual(g, vt_name(g, "%s.add", unit), config, y.x, z.x, 0);
    }
    y = vt_conv_norm_act(g, vt_name(g, "%s.transition", name), config, y, &one);
    y.x = y.x && skip.x ? vt_concat(g, vt_name(g, "%s.concat", name), y.x, skip.x) : NULL;
    return vt_conv_norm_act(g, vt_name(g, "%s.fuse", name), config, y, &fuse);
}
