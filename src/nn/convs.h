/*
 * Convolutional layers and blocks on maps, channels last. Names are timm's: a convolution with its
 * norm is NAME.conv and NAME.bn.
 */
#ifndef VT_NN_CONVS_H
#define VT_NN_CONVS_H

#include "nn/blocks.h"

/* A map (B, height * width, C), or the image (B, height, width, C). x is NULL after a failure. */
typedef struct vt_map {
    vt_node *x;
    int64_t height, width;
} vt_map;

/* Normal with deviation sqrt(2 / fan), He et al. 2015, bias 0. */
vt_layer_init vt_init_he(int64_t fan);

/* Convolution NAME.weight (out, C, kernel, kernel), NAME.bias if asked for, padded by kernel / 2 on
 * all sides, by 0 if the kernel is not larger than the stride. */
vt_map vt_layer_conv(vt_graph *g, const char *name, vt_map map, int64_t out, int64_t kernel,
                     int64_t stride, bool bias, vt_layer_init init);
/* Batch norm with weight, bias, running_mean, running_var; starts at 1, 0, 0, 1, or with a weight
 * of 0 (Goyal et al. 2017); then an activation. */
vt_node *vt_layer_batchnorm(vt_graph *g, const char *name, const vt_config *config, vt_node *x,
                            bool zero_weight, enum vt_act_kind act);
/* x itself for `none`. */
vt_node *vt_layer_act(vt_graph *g, const char *name, const vt_config *config, vt_node *x,
                      enum vt_act_kind act);

typedef struct vt_conv_style {
    int64_t out, kernel, stride;
    bool depthwise; /* out is the number of channels */
    bool zero_norm; /* the norm's weight starts at 0 */
    enum vt_act_kind act;
} vt_conv_style;

/* Convolution without bias, batch norm, activation. */
vt_map vt_conv_norm_act(vt_graph *g, const char *name, const vt_config *config, vt_map map,
                        const vt_conv_style *style);

/* Inverted residual (Sandler et al. 2018): conv1_1x1, conv2_kxk (depthwise), conv3_1x1 without
 * activation; added to the input where the shapes are equal. Hidden width: C * expand rounded to a
 * multiple of 8. */
vt_map vt_inverted_residual(vt_graph *g, const char *name, const vt_config *config, vt_map map,
                            int64_t out, int64_t stride, double expand, enum vt_act_kind act,
                            double drop_path);

typedef struct vt_mobilevit_style {
    int64_t dim, depth, heads, patch;
    double mlp_ratio;
    enum vt_act_kind act;
} vt_mobilevit_style;

/* MobileViT's block (Mehta, Rastegari 2022): conv_kxk, conv_1x1, transformer.I across patches,
 * norm, conv_proj, then conv_fusion of the input and the result. A map that the patch does not
 * divide is resized (bilinear) for the transformer and back. */
vt_map vt_mobilevit_block(vt_graph *g, const char *name, const vt_config *config, vt_map map,
                          const vt_mobilevit_style *style, double drop_path);

/* Cross stage partial stage (Wang et al. 2020): down (3 x 3, stride), split0 and split1 (1 x 1 to
 * half the channels); units.I.conv1 (1 x 1) and conv2 (3 x 3) residually and `transition` on the
 * second half; fuse (1 x 1) of [transition, split0]. */
vt_map vt_csp_stage(vt_graph *g, const char *name, const vt_config *config, vt_map map, int64_t out,
                    int64_t depth, int64_t stride, enum vt_act_kind act);

#endif
