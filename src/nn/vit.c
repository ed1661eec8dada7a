/* Vision transformer (Dosovitskiy et al. 2021), as timm's VisionTransformer. */
#include "nn/blocks.h"
#include "nn/model.h"
#include "nn/windows.h"

#include <math.h>

struct init {
    vt_layer_init patch, head;
    vt_block_init block;
    vt_fill cls, pos;
};

static struct init choose_init(const vt_config *config, int64_t patch_inputs)
{
    int64_t dim = config->model_dim, hidden = (int64_t)((double)dim * config->model_mlp_ratio);
    vt_layer_init normal = vt_init_normal(0.02), xavier = vt_init_xavier(dim, hidden, 1e-6);
    vt_fill zero = {.kind = VT_FILL_ZERO}, small = {.kind = VT_FILL_NORMAL, .scale = 0.02};
    struct init init = {.patch = vt_init_uniform(patch_inputs)};
    switch (config->model_init) {
    case VT_INIT_TORCHVISION:
        init.patch = vt_init_normal(sqrt(1.0 / (double)patch_inputs));
        init.block.qkv = vt_init_xavier(dim, 3 * dim, 0);
        init.block.proj = (vt_layer_init){vt_init_uniform(dim).weight, zero};
        init.block.fc1 = init.block.fc2 = xavier;
        init.head = vt_init_zeros();
        init.cls = zero;
        init.pos = small;
        break;
    case VT_INIT_ARTICLE:
        init.block.qkv = init.block.proj = init.head = vt_init_uniform(dim);
        init.block.fc1 = init.block.fc2 = xavier;
        init.cls = init.pos = zero;
        break;
    case VT_INIT_TIMM:
    case VT_INIT_COUNT:
        init.block = (vt_block_init){normal, normal, normal, normal};
        init.head = normal;
        init.cls = (vt_fill){.kind = VT_FILL_NORMAL, .scale = 1e-6};
        init.pos = small;
        break;
    }
    if (config->model_zero_head)
        init.head = vt_init_zeros();
    return init;
}

static vt_node *positions(vt_graph *g, const vt_config *config, int64_t tokens, int64_t side,
                          bool cls, vt_fill fill)
{
    vt_shape shape = vt_shape_of(3, (int64_t[]){1, tokens + cls, config->model_dim});
    switch (config->model_pos_embed) {
    case VT_POS_LEARNED:
        return vt_graph_param(g, "pos_embed", shape, VT_ROLE_POS_EMBED, fill);
    case VT_POS_SINCOS:
        return vt_graph_param(g, "pos_embed", shape, VT_ROLE_FIXED,
                              (vt_fill){.kind = VT_FILL_SINCOS, .side = side, .skip = cls});
    case VT_POS_NONE:
    case VT_POS_COUNT:
        break;
    }
    return NULL;
}

vt_node *vt_vit_build(vt_graph *g, const vt_config *config, vt_node *images)
{
    int64_t patch = config->model_patch, dim = config->model_dim;
    int64_t side = (config->model_image + patch - 1) / patch;
    bool token = config->model_pool == VT_POOL_TOKEN;
    struct init init = choose_init(config, config->model_channels * patch * patch);
    vt_node *x = vt_layer_patch_embed(g, "patch_embed.proj", images, patch, dim, init.patch);
    vt_node *cls = NULL;
    if (!x)
        return NULL;
    if (token)
        cls = vt_graph_param(g, "cls_token", vt_shape_of(3, (int64_t[]){1, 1, dim}),
                             VT_ROLE_CLS_TOKEN, init.cls);
    vt_node *pos = positions(g, config, side * side, side, token, init.pos);
    if (cls || pos)
        x = vt_tokens(g, "pos_drop.add", x, cls, pos);
    x = x ? vt_dropout(g, "pos_drop", x, config->model_embed_drop) : NULL;
    vt_block_attention attention = vt_attend_globally(g, side, side, token);
    vt_block_style style = {.heads = config->model_heads.v[0],
                            .mlp_ratio = config->model_mlp_ratio,
                            .act = vt_gelu_of(config),
                            .init = init.block};
    for (int64_t i = 0; i < config->model_depth; i++) {
        double rate = vt_drop_path_rate(config->model_drop_path, i, config->model_depth);
        style.first_only = token && i == config->model_depth - 1;
        x = vt_block(g, vt_name(g, "blocks.%d", (int)i), config, x, &attention, &style, rate);
    }
    /* The norm acts on each token alone, so it can follow the pool. The last block has taken the
     * class token already. */
    bool sequence = config->model_pool == VT_POOL_SEQUENCE;
    if (sequence)
        x = vt_layer_norm(g, "norm", x, config->model_norm_eps);
    if (!token)
        x = vt_layer_pool(g, "attention_pool", x, config->model_pool, init.head);
    if (!sequence)
        x = vt_layer_norm(g, token ? "norm" : "fc_norm", x, config->model_norm_eps);
    return vt_layer_linear(g, "head", x, config->model_classes, true, init.head);
}
