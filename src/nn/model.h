/*
 * Models: functions that build a graph from the experiment's configuration.
 *
 * A family is a row of vt_families: its name in the experiment file and its builder. Parameters
 * carry timm's names, so weights can be exchanged with it.
 */
#ifndef VT_NN_MODEL_H
#define VT_NN_MODEL_H

#include "config/config.h"
#include "graph/graph.h"

/* Images (B, image, image, channels) -> logits (B, classes). NULL after a failure. */
typedef vt_node *vt_model_builder(vt_graph *graph, const vt_config *config, vt_node *images);
vt_model_builder vt_vit_build, vt_swin_build, vt_mobilevit_build, vt_cct_build, vt_hybrid_build;

/* A model's graph for one batch: images and labels in, logits and loss out. */
typedef struct vt_model {
    vt_graph *graph;
    vt_node *images; /* (B, H, W, C) in the model's type */
    vt_node *labels; /* (B) int32 */
    vt_node *logits; /* (B, classes) */
    vt_node *loss;   /* (B) */
} vt_model;

/* The type of activations that train.precision asks for. */
vt_dtype vt_model_type(const vt_config *config);

/* Start with {0}. `params` is shared by the graphs of one model. Training graphs have dropout, drop
 * path and label smoothing; evaluation is plain cross entropy. VT_ERR_CONFIG for sizes that do
 * not fit, with the node's name. */
vt_status vt_model_init(vt_model *model, const vt_config *config, vt_params *params,
                        const vt_kernels *k, int64_t batch, bool training, vt_error *err);
void vt_model_release(vt_model *model);

#endif
