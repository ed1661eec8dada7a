#include "train/attention_tap.h"

#include "base/mem.h"

static int64_t floats_an_image(const vt_attention_layer *layer)
{
    return layer->windows * layer->heads * layer->places * layer->places;
}

static bool add_layer(vt_attention_tap *tap, const vt_node *node, int64_t images, int64_t batch)
{
    const vt_attention_map *map = node->attention.map;
    vt_attention_layer *layer = &tap->layer[tap->n_layers];
    *layer = (vt_attention_layer){.layout = node->attention.layout,
                                  .windows = map->windows,
                                  .heads = node->attention.sizes.heads,
                                  .places = map->places};
    int64_t floats = floats_an_image(layer);
    float *probs = vt_calloc((size_t)(images * floats), sizeof *probs);
    layer->weights = tap->probs[tap->n_layers++] = probs;
    if (floats * batch > tap->device_floats)
        tap->device_floats = floats * batch;
    return probs;
}

vt_status vt_attention_tap_init(vt_attention_tap *tap, vt_dev *dev, const vt_graph *graph,
                                int64_t images, vt_error *err)
{
    int n = 0;
    *tap = (vt_attention_tap){.dev = dev};
    for (int i = 0; i < graph->n; i++)
        n += graph->node[i]->op == VT_OP_attention;
    tap->layer = vt_calloc((size_t)n + 1, sizeof *tap->layer);
    tap->probs = vt_calloc((size_t)n + 1, sizeof *tap->probs);
    bool fits = tap->layer && tap->probs;
    for (int i = 0; i < graph->n && fits; i++) {
        const vt_node *node = graph->node[i];
        if (node->op == VT_OP_attention)
            fits = add_layer(tap, node, images, graph->batch);
        if (node->op == VT_OP_sequence_pool) {
            tap->pool_tokens = node->in[0]->shape.dim[1];
            tap->pool = vt_calloc((size_t)(images * tap->pool_tokens), sizeof *tap->pool);
            fits = tap->pool;
        }
    }
    if (fits && tap->device_floats)
        tap->device = vt_dev_alloc(dev, (size_t)tap->device_floats * sizeof(float));
    if (!fits || (tap->device_floats && !tap->device))
        return vt_fail(err, VT_ERR_NOMEM, "no memory for the attention weights of %lld images",
                       (long long)images);
    return VT_OK;
}

void vt_attention_tap_release(vt_attention_tap *tap)
{
    for (int i = 0; i < tap->n_layers; i++)
        vt_free(tap->probs[i]);
    if (tap->device)
        vt_dev_release(tap->dev, tap->device, (size_t)tap->device_floats * sizeof(float));
    vt_free(tap->probs);
    vt_free(tap->layer);
    vt_free(tap->pool);
    *tap = (vt_attention_tap){0};
}

void vt_attention_tap_begin(vt_attention_tap *tap, int64_t first)
{
    tap->first = first;
    tap->next = 0;
}

/* Right after a layer's forward call: its inputs and what it kept are still in place. */
void vt_attention_tap_hook(void *arg, const vt_call *call)
{
    vt_attention_tap *tap = arg;
    const vt_node *node = call->node;
    if (node->op == VT_OP_attention) {
        const vt_attention_sizes *sizes = &node->attention.sizes;
        int64_t floats = floats_an_image(&tap->layer[tap->next]);
        call->k->attention_probs(call->dev, tap->device, call->x[0], call->kept[0], call->x[1].data,
                                 call->x[2].data, call->map, sizes);
        vt_dev_read(call->dev, tap->probs[tap->next++] + tap->first * floats, tap->device,
                    (size_t)(sizes->batch * floats) * sizeof(float));
    } else if (node->op == VT_OP_sequence_pool) {
        vt_dev_read(call->dev, tap->pool + tap->first * tap->pool_tokens, call->kept[0],
                    (size_t)node->in[0]->shape.dim[0] * (size_t)tap->pool_tokens * sizeof(float));
    }
}
