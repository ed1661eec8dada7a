/*
 * Networks composed in the experiment file: a stem, stages of any kind, a head. Parameters of block
 * J of stage I are stages.I.J....; a stage with attention has stages.I.downsample (where it changes
 * the map or the width), stages.I.pos_embed and stages.I.norm.
 */
#include "nn/convs.h"
#include "nn/model.h"

/* Blocks that drop path counts. */
static int64_t drop_blocks(const vt_stage *s)
{
    switch (s->block) {
    case VT_BLOCK_MV2:
    case VT_BLOCK_SWIN:
    case VT_BLOCK_VIT:
        return s->depth;
    case VT_BLOCK_MOBILEVIT:
        return 1;
    case VT_BLOCK_CONV:
    case VT_BLOCK_CSP:
    case VT_BLOCK_COUNT:
        break;
    }
    return 0;
}

struct progress {
    int64_t block, blocks;
};

static double next_rate(const vt_config *config, struct progress *p)
{
    return vt_drop_path_rate(config->model_drop_path, p->block++, p->blocks);
}

static vt_map convolutions(vt_graph *g, const char *name, const vt_config *config, vt_map map,
                           const vt_stage *s, int64_t dim)
{
    for (int64_t i = 0; i < s->depth; i++) {
        const vt_conv_style style = {
            .out = dim, .kernel = s->kernel, .stride = i == 0 ? s->stride : 1, .act = s->act};
        map = vt_conv_norm_act(g, vt_name(g, "%s.%d", name, (int)i), config, map, &style);
    }
    return map;
}

/* 2 x 2 neighbours are merged, or a linear layer changes the width; else nothing. */
static vt_map transition(vt_graph *g, const char *name, const vt_config *config, vt_map map,
                         int64_t stride, int64_t dim, vt_layer_init init)
{
    name = vt_name(g, "%s.downsample", name);
    if (stride == 2) {
        map.x = vt_layer_merge(g, name, map.x, map.height, map.width, dim, false,
                               config->model_norm_eps, init);
        return (vt_map){map.x, (map.height + 1) / 2, (map.width + 1) / 2};
    }
    if (dim != vt_shape_last(map.x->shape)) {
        map.x = vt_layer_norm(g, vt_name(g, "%s.norm", name), map.x, config->model_norm_eps);
        map.x = vt_layer_linear(g, vt_name(g, "%s.reduction", name), map.x, dim, false, init);
    }
    return map;
}

static vt_map transformer(vt_graph *g, const char *name, const vt_config *config, vt_map map,
                          const vt_stage *s, int64_t dim, struct progress *p)
{
    bool windows = s->block == VT_BLOCK_SWIN;
    vt_layer_init init = vt_init_normal(0.02);
    vt_block_style style = {.heads = s->heads,
                            .mlp_ratio = s->mlp_ratio,
                            .act = vt_activation_of(config, s->act),
                            .init = {init, init, init, init}};
    vt_block_attention attention[2];
    map = transition(g, name, config, map, s->stride, dim, init);
    if (!map.x)
        return map;
    for (int i = 0; i < (windows ? 2 : 1); i++)
        attention[i] = windows ? vt_attend_in_windows(g, map.height, map.width, s->window, i == 1,
                                                      config->model_window_mode)
                               : vt_attend_globally(g, map.height, map.width, false);
    if (!windows)
        map.x = vt_layer_positions(g, vt_name(g, "%s.pos_embed", name), map.x, s->pos_embed,
                                   map.width, 0.02);
    for (int64_t i = 0; i < s->depth; i++)
        map.x = vt_block(g, vt_name(g, "%s.%d", name, (int)i), config, map.x,
                         &attention[windows ? i % 2 : 0], &style, next_rate(config, p));
    map.x = vt_layer_norm(g, vt_name(g, "%s.norm", name), map.x, config->model_norm_eps);
    return map;
}

static vt_map stage(vt_graph *g, const char *name, const vt_config *config, vt_map map,
                    const vt_stage *s, struct progress *p)
{
    int64_t dim = s->dim ? s->dim : vt_shape_last(map.x->shape);
    switch (s->block) {
    case VT_BLOCK_CONV:
        return convolutions(g, name, config, map, s, dim);
    case VT_BLOCK_MV2:
        for (int64_t i = 0; i < s->depth; i++)
            map = vt_inverted_residual(g, vt_name(g, "%s.%d", name, (int)i), config, map, dim,
                                       i == 0 ? s->stride : 1, s->expand, s->act,
                                       next_rate(config, p));
        return map;
    case VT_BLOCK_MOBILEVIT: {
        const vt_mobilevit_style style = {.dim = s->attn_dim ? s->attn_dim : dim,
                                          .depth = s->depth,
                                          .heads = s->heads,
                                          .patch = s->patch,
                                          .mlp_ratio = s->mlp_ratio,
                                          .act = s->act};
        return vt_mobilevit_block(g, vt_name(g, "%s.0", name), config, map, &style,
                                  next_rate(config, p));
    }
    case VT_BLOCK_SWIN:
    case VT_BLOCK_VIT:
        return transformer(g, name, config, map, s, dim, p);
    case VT_BLOCK_CSP:
        return vt_csp_stage(g, name, config, map, dim, s->depth, s->stride, s->act);
    case VT_BLOCK_COUNT:
        break;
    }
    return map;
}

/* With batch norm as everywhere; with layer norm or none the convolution has a bias, as a patch
 * embedding has. */
static vt_map stem(vt_graph *g, const vt_config *config, vt_map map)
{
    const vt_stage *s = &config->model_stem;
    if (s->norm == VT_NORM_BATCH) {
        const vt_conv_style style = {
            .out = s->dim, .kernel = s->kernel, .stride = s->stride, .act = s->act};
        return vt_conv_norm_act(g, "stem", config, map, &style);
    }
    map = vt_layer_conv(g, "stem.conv", map, s->dim, s->kernel, s->stride, true,
                        vt_init_uniform(config->model_channels * s->kernel * s->kernel));
    if (s->norm == VT_NORM_LAYER)
        map.x = vt_layer_norm(g, "stem.norm", map.x, config->model_norm_eps);
    map.x = vt_layer_act(g, "stem.act", config, map.x, s->act);
    return map;
}

vt_node *vt_hybrid_build(vt_graph *g, const vt_config *config, vt_node *images)
{
    const vt_stage_list *stages = &config->model_stages;
    const vt_stage *head = &config->model_head;
    vt_layer_init init = vt_init_normal(0.02);
    struct progress progress = {0, 0};
    for (int i = 0; i < stages->n; i++)
        progress.blocks += drop_blocks(&stages->v[i]);
    vt_map map = stem(g, config, (vt_map){images, config->model_image, config->model_image});
    for (int i = 0; i < stages->n && map.x; i++)
        map = stage(g, vt_name(g, "stages.%d", i), config, map, &stages->v[i], &progress);
    if (head->dim) {
        const vt_conv_style style = {.out = head->dim, .kernel = 1, .stride = 1, .act = head->act};
        map = vt_conv_norm_act(g, "final_conv", config, map, &style);
    }
    vt_node *x = vt_layer_pool(g, "attention_pool", map.x, head->pool, init);
    return vt_layer_linear(g, "head.fc", x, config->model_classes, true,
                           config->model_zero_head ? vt_init_zeros() : init);
}
