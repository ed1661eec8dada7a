/* MobileViT (Mehta, Rastegari 2022), with timm's parameter names. */
#include "nn/convs.h"
#include "nn/model.h"

enum { STAGES = 5, FIRST_WITH_TRANSFORMER = 2 };

vt_node *vt_mobilevit_build(vt_graph *g, const vt_config *config, vt_node *images)
{
    /* Inverted residuals of each stage; the last stages end with a transformer's block. */
    static const int residuals[STAGES] = {1, 3, 1, 1, 1};
    const int64_t *dims = config->model_dims.v, *strides = config->model_strides.v;
    const enum vt_act_kind act = VT_ACTIVATE_SILU;
    int64_t side = config->model_image, block = 0, blocks = 0;
    vt_map map = {images, side, side};
    vt_conv_style stem = {.out = dims[0], .kernel = 3, .stride = strides[0], .act = act};
    vt_conv_style last = {.out = config->model_head_dim, .kernel = 1, .stride = 1, .act = act};
    for (int s = 0; s < STAGES; s++)
        blocks += residuals[s] + (s >= FIRST_WITH_TRANSFORMER);
    map = vt_conv_norm_act(g, "stem", config, map, &stem);
    for (int s = 0; s < STAGES; s++) {
        int i = 0;
        for (; i < residuals[s]; i++, block++)
            map =
                vt_inverted_residual(g, vt_name(g, "stages.%d.%d", s, i), config, map, dims[s + 1],
                                     i == 0 ? strides[s + 1] : 1, config->model_expand, act,
                                     vt_drop_path_rate(config->model_drop_path, block, blocks));
        if (s < FIRST_WITH_TRANSFORMER)
            continue;
        const vt_mobilevit_style style = {
            .dim = config->model_attn_dims.v[s - FIRST_WITH_TRANSFORMER],
            .depth = config->model_depths.v[s - FIRST_WITH_TRANSFORMER],
            .heads = config->model_heads.v[0],
            .patch = config->model_patch,
            .mlp_ratio = config->model_mlp_ratio,
            .act = act,
        };
        map = vt_mobilevit_block(g, vt_name(g, "stages.%d.%d", s, i), config, map, &style,
                                 vt_drop_path_rate(config->model_drop_path, block++, blocks));
    }
    map = vt_conv_norm_act(g, "final_conv", config, map, &last);
    vt_layer_init init = config->model_zero_head ? vt_init_zeros() : vt_init_normal(0.01);
    vt_node *x = vt_layer_pool(g, NULL, map.x, VT_POOL_MEAN, init);
    return vt_layer_linear(g, "head.fc", x, config->model_classes, true, init);
}
