/* Swin transformer (Liu et al. 2021), with timm's parameter names: merging belongs to the stage it
 * leads into. The end of a stage and the beginning of the next are the same place. */
#include "nn/blocks.h"
#include "nn/model.h"

vt_node *vt_swin_build(vt_graph *g, const vt_config *config, vt_node *images)
{
    int64_t patch = config->model_patch, dim = config->model_dim;
    int64_t side = (config->model_image + patch - 1) / patch, blocks = 0, block = 0;
    vt_layer_init init = vt_init_normal(0.02);
    vt_layer_init patch_init = vt_init_uniform(config->model_channels * patch * patch);
    vt_node *x = vt_layer_patch_embed(g, "patch_embed.proj", images, patch, dim, patch_init);
    if (config->model_patch_norm)
        x = vt_layer_norm(g, "patch_embed.norm", x, config->model_norm_eps);
    x = vt_layer_positions(g, "absolute_pos_embed", x, config->model_pos_embed, side, 0.02);
    x = x ? vt_dropout(g, "pos_drop", x, config->model_embed_drop) : NULL;
    for (int s = 0; s < config->model_depths.n; s++)
        blocks += config->model_depths.v[s];
    for (int s = 0; s < config->model_depths.n && x; s++) {
        if (s > 0) {
            x = vt_layer_merge(g, vt_name(g, "layers.%d.downsample", s), x, side, side,
                               2 * vt_shape_last(x->shape), config->model_merge_bias,
                               config->model_norm_eps, init);
            side = (side + 1) / 2;
        }
        vt_block_attention plain = vt_attend_in_windows(g, side, side, config->model_window, false,
                                                        config->model_window_mode);
        vt_block_attention shifted = vt_attend_in_windows(g, side, side, config->model_window, true,
                                                          config->model_window_mode);
        vt_block_style style = {.heads = config->model_heads.v[s],
                                .mlp_ratio = config->model_mlp_ratio,
                                .act = vt_gelu_of(config),
                                .init = {init, init, init, init}};
        for (int64_t i = 0; i < config->model_depths.v[s]; i++, block++) {
            double rate = vt_drop_path_rate(config->model_drop_path, block, blocks);
            x = vt_block(g, vt_name(g, "layers.%d.blocks.%d", s, (int)i), config, x,
                         i % 2 ? &shifted : &plain, &style, rate);
        }
    }
    x = vt_layer_norm(g, "norm", x, config->model_norm_eps);
    x = vt_layer_pool(g, "attention_pool", x, config->model_pool, init);
    return vt_layer_linear(g, "head.fc", x, config->model_classes, true,
                           config->model_zero_head ? vt_init_zeros() : init);
}
