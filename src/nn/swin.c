/* Swin transformer (Liu et al. 2021), with timm's parameter names: merging belongs to the stage it
 * leads into. The end of a stage and the beginning of the next are the same place. */
#include "nn/blocks.h"
#include "nn/model.h"
#include "nn/windows.h"

static vt_block_attention window_attention(vt_graph *g, const vt_config *config, int64_t side,
                                           bool shifted)
{
    vt_window_geometry geometry =
        vt_window_geometry_of(side, side, config->model_window, shifted, config->model_window_mode);
    return (vt_block_attention){
        .map = vt_window_map(g, &geometry),
        .relative_bias = true,
        .padding = vt_window_padding(&geometry),
        .grid_h = side,
        .grid_w = side,
        .window_h = geometry.window_h,
        .window_w = geometry.window_w,
        .shift_h = geometry.shift_h,
        .shift_w = geometry.shift_w,
    };
}

static vt_node *merge(vt_graph *g, const vt_config *config, int stage, vt_node *x, int64_t side,
                      vt_layer_init init)
{
    const char *name = vt_name(g, "layers.%d.downsample", stage);
    int64_t dim = vt_shape_last(x->shape);
    x = vt_merge(g, vt_name(g, "%s.gather", name), x, side, side);
    x = vt_layer_norm(g, vt_name(g, "%s.norm", name), x, config->model_norm_eps);
    return vt_layer_linear(g, vt_name(g, "%s.reduction", name), x, 2 * dim,
                           config->model_merge_bias, init);
}

vt_node *vt_swin_build(vt_graph *g, const vt_config *config, vt_node *images)
{
    int64_t patch = config->model_patch, dim = config->model_dim;
    int64_t side = (config->model_image + patch - 1) / patch, blocks = 0, block = 0;
    vt_layer_init init = vt_init_normal(0.02);
    vt_layer_init patch_init = vt_init_uniform(config->model_channels * patch * patch);
    vt_node *x = vt_layer_patch_embed(g, "patch_embed.proj", images, patch, dim, patch_init);
    vt_node *pos = NULL;
    if (config->model_patch_norm)
        x = vt_layer_norm(g, "patch_embed.norm", x, config->model_norm_eps);
    if (config->model_pos_embed != VT_POS_NONE) {
        bool learned = config->model_pos_embed == VT_POS_LEARNED;
        vt_fill fill = learned ? init.weight : (vt_fill){.kind = VT_FILL_SINCOS, .side = side};
        pos = vt_graph_param(g, "absolute_pos_embed",
                             vt_shape_of(3, (int64_t[]){1, side * side, dim}),
                             learned ? VT_ROLE_POS_EMBED : VT_ROLE_FIXED, fill);
        x = x ? vt_tokens(g, "pos_drop.add", x, NULL, pos) : NULL;
    }
    x = x ? vt_dropout(g, "pos_drop", x, config->model_embed_drop) : NULL;
    for (int s = 0; s < config->model_depths.n; s++)
        blocks += config->model_depths.v[s];
    for (int s = 0; s < config->model_depths.n && x; s++) {
        if (s > 0) {
            x = merge(g, config, s, x, side, init);
            side = (side + 1) / 2;
        }
        vt_block_attention plain = window_attention(g, config, side, false);
        vt_block_attention shifted = window_attention(g, config, side, true);
        for (int64_t i = 0; i < config->model_depths.v[s]; i++, block++) {
            double rate =
                blocks > 1 ? config->model_drop_path * (double)block / (double)(blocks - 1) : 0;
            x = vt_block(g, vt_name(g, "layers.%d.blocks.%d", s, (int)i), config, x,
                         config->model_heads.v[s], i % 2 ? &shifted : &plain,
                         (vt_block_init){init, init, init, init}, rate);
        }
    }
    x = vt_layer_norm(g, "norm", x, config->model_norm_eps);
    x = x ? vt_mean_tokens(g, "pool", x) : NULL;
    return vt_layer_linear(g, "head.fc", x, config->model_classes, true,
                           config->model_zero_head ? vt_init_zeros() : init);
}
