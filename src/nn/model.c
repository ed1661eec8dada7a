#include "nn/model.h"

#include "ops/ops.h"

static vt_model_builder *const families[VT_FAMILY_COUNT] = {
    [VT_FAMILY_VIT] = vt_vit_build,
    [VT_FAMILY_SWIN] = vt_swin_build,
    [VT_FAMILY_MOBILEVIT] = vt_mobilevit_build,
    [VT_FAMILY_CCT] = vt_cct_build,
    [VT_FAMILY_HYBRID] = vt_hybrid_build,
};

/* The parameters of the layer that makes the logits. */
static void mark_head(const vt_node *logits)
{
    for (int i = 0; i < logits->n_in; i++)
        if (logits->in[i] && logits->in[i]->param)
            logits->in[i]->param->head = true;
}

vt_dtype vt_model_type(const vt_config *config)
{
    return config->train_precision == VT_PRECISION_BF16   ? VT_BF16
           : config->train_precision == VT_PRECISION_TF32 ? VT_TF32
                                                          : VT_F32;
}

vt_status vt_model_init(vt_model *model, const vt_config *config, vt_params *params,
                        const vt_kernels *k, int64_t batch, bool training, vt_error *err)
{
    vt_graph *graph = vt_graph_new(params, k, batch, training);
    int64_t side = config->model_image;
    vt_shape image = vt_shape_of(4, (int64_t[]){batch, side, side, config->model_channels});
    *model = (vt_model){.graph = graph};
    if (!graph)
        return vt_fail(err, VT_ERR_NOMEM, "no memory for the graph");
    graph->type = vt_model_type(config);
    model->images = vt_graph_input(graph, "images", graph->type, image);
    model->labels = vt_graph_input(graph, "labels", VT_I32, vt_shape_of(1, &batch));
    if (model->images)
        model->logits = families[config->model_family](graph, config, model->images);
    if (model->logits)
        mark_head(model->logits);
    if (model->logits)
        model->loss = vt_cross_entropy(graph, "loss", model->logits, model->labels,
                                       training ? config->train_label_smoothing : 0);
    vt_status status = vt_graph_finish(graph, err);
    if (status != VT_OK)
        vt_model_release(model);
    return status;
}

void vt_model_release(vt_model *model)
{
    vt_graph_free(model->graph);
    *model = (vt_model){0};
}
