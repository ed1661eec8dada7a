/* Compact convolutional transformer (Hassani et al. 2021), with the names of the authors' code. */
#include "nn/convs.h"
#include "nn/model.h"

enum { FIRST_CHANNELS = 64 };

/* Convolutions, each followed by ReLU and a pool that halves the map. The pool takes the largest
 * value and comes first: the same bits, in both directions, from a quarter of the values, and what
 * the convolution gives need not be kept. */
static vt_map tokenize(vt_graph *g, const vt_config *config, vt_node *images)
{
    vt_map map = {images, config->model_image, config->model_image};
    for (int64_t i = 0; i < config->model_convs && map.x; i++) {
        const char *name = vt_name(g, "tokenizer.conv_layers.%d.0", (int)i);
        int64_t in = vt_shape_last(map.x->shape);
        int64_t out = i + 1 < config->model_convs ? FIRST_CHANNELS : config->model_dim;
        map = vt_layer_conv(g, name, map, out, 3, 1, false, vt_init_he(9 * in));
        map.x = map.x ? vt_pooling(g, vt_name(g, "%s.pool", name), map.x, map.height, map.width, 3,
                                   2, 1, VT_POOLING_MAX)
                      : NULL;
        map.x = vt_layer_act(g, vt_name(g, "%s.relu", name), config, map.x, VT_ACTIVATE_RELU);
        map.height = (map.height + 1) / 2;
        map.width = (map.width + 1) / 2;
    }
    return map;
}

vt_node *vt_cct_build(vt_graph *g, const vt_config *config, vt_node *images)
{
    static const vt_block_names names = {"pre_norm", "self_attn", "norm1", "linear1", "linear2"};
    vt_layer_init init = vt_init_normal(0.02);
    vt_layer_init head = config->model_zero_head ? vt_init_zeros() : init;
    vt_map map = tokenize(g, config, images);
    vt_block_attention attention = vt_attend_globally(g, map.height, map.width, false);
    vt_block_style style = {.heads = config->model_heads.v[0],
                            .mlp_ratio = config->model_mlp_ratio,
                            .act = vt_gelu_of(config),
                            .init = {init, init, init, init},
                            .stream_norm = true,
                            .names = &names};
    vt_node *x = vt_layer_positions(g, "classifier.positional_emb", map.x, config->model_pos_embed,
                                    map.width, 0.2);
    x = x ? vt_dropout(g, "classifier.dropout", x, config->model_embed_drop) : NULL;
    for (int64_t i = 0; i < config->model_depth; i++)
        x = vt_block(g, vt_name(g, "classifier.blocks.%d", (int)i), config, x, &attention, &style,
                     vt_drop_path_rate(config->model_drop_path, i, config->model_depth));
    x = vt_layer_norm(g, "classifier.norm", x, config->model_norm_eps);
    x = vt_layer_pool(g, "classifier.attention_pool", x, config->model_pool, init);
    return vt_layer_linear(g, "classifier.fc", x, config->model_classes, true, head);
}
