#include "train/capture.h"

#include "base/mem.h"
#include "base/text.h"
#include "results/safetensors.h"

#include <inttypes.h>
#include <stdio.h>

enum { META_A_LAYER = 8, META_TEXT = 48 };

struct layer {
    const vt_node *node; /* of the first slot; the others have the same layers */
    float *probs;        /* (images, windows, heads, P, P) */
    int64_t floats_an_image;
    char name[16];
    char key[META_A_LAYER][META_TEXT], value[META_A_LAYER][24];
};

struct vt_capturer {
    vt_engine *engine;
    const vt_data *data;
    int64_t n, batch, classes;
    struct layer *layer;
    int n_layers;
    float *device_probs; /* of the largest layer and batch */
    int64_t device_floats;
    float *images, *logits;
    int32_t *labels;
    uint32_t *items;
    uint8_t *pixels;
    int64_t *index, *label, *pred;
    int64_t pixel_bytes;
    /* of the pass that is running */
    int64_t done;
    int next_layer;
};

static int64_t count_of(const vt_config *config, const vt_data_info *info)
{
    int64_t n = info->n[VT_PART_TEST];
    return config->attention_images < n ? config->attention_images : n;
}

void vt_capturer_slots(vt_engine *engine, const vt_config *config, const vt_data_info *info)
{
    int64_t n = count_of(config, info), batch = n < config->eval_batch ? n : config->eval_batch;
    if (n == 0)
        return;
    vt_engine_add_slot(engine, batch, false);
    vt_engine_add_slot(engine, n % batch, false);
}

bool vt_capture_wanted(const vt_config *config, int64_t epoch)
{
    const vt_epochs *when = &config->attention_epochs;
    if (config->attention_images == 0)
        return false;
    if (when->kind == VT_EPOCHS_LAST)
        return epoch == config->train_epochs;
    for (int i = 0; i < when->list.n; i++)
        if (when->list.v[i] == epoch)
            return true;
    return when->kind == VT_EPOCHS_ALL && epoch > 0;
}

static void describe(struct layer *layer, int number)
{
    static const char *const keys[META_A_LAYER] = {"grid_h",  "grid_w",  "window_h", "window_w",
                                                   "shift_h", "shift_w", "dilation", "has_cls"};
    const vt_attention_layout *l = &layer->node->attention.layout;
    const int64_t values[META_A_LAYER] = {l->grid_h,  l->grid_w,  l->window_h, l->window_w,
                                          l->shift_h, l->shift_w, l->dilation, l->has_cls};
    snprintf(layer->name, sizeof layer->name, "layer_%02d", number);
    for (int i = 0; i < META_A_LAYER; i++) {
        snprintf(layer->key[i], META_TEXT, "%s.%s", layer->name, keys[i]);
        snprintf(layer->value[i], sizeof layer->value[i], "%" PRId64, values[i]);
    }
}

static vt_status list_layers(vt_capturer *c, vt_error *err)
{
    const vt_graph *graph = vt_engine_slot(c->engine, c->batch, false)->model.graph;
    int64_t most = 0;
    for (int i = 0; i < graph->n; i++)
        c->n_layers += graph->node[i]->op == VT_OP_attention;
    c->layer = vt_calloc((size_t)c->n_layers, sizeof *c->layer);
    if (!c->layer)
        return vt_fail(err, VT_ERR_NOMEM, "no memory for the attention captures");
    c->n_layers = 0;
    for (int i = 0; i < graph->n; i++) {
        const vt_node *node = graph->node[i];
        if (node->op != VT_OP_attention)
            continue;
        struct layer *layer = &c->layer[c->n_layers];
        const vt_attention_map *map = node->attention.map;
        layer->node = node;
        layer->floats_an_image =
            map->windows * node->attention.sizes.heads * map->places * map->places;
        layer->probs = vt_calloc((size_t)(c->n * layer->floats_an_image), sizeof *layer->probs);
        if (!layer->probs)
            return vt_fail(err, VT_ERR_NOMEM, "no memory for the attention captures");
        describe(layer, c->n_layers++);
        if (layer->floats_an_image > most)
            most = layer->floats_an_image;
    }
    c->device_floats = most * c->batch;
    c->device_probs = vt_dev_alloc(c->engine->dev, (size_t)c->device_floats * sizeof(float));
    if (!c->device_probs)
        return vt_fail(err, VT_ERR_NOMEM, "no memory for the attention captures");
    return VT_OK;
}

vt_status vt_capturer_new(vt_capturer **result, vt_engine *engine, const vt_data *data,
                          vt_error *err)
{
    const vt_data_info *info = vt_data_info_of(data);
    int64_t n = count_of(engine->config, info);
    *result = NULL;
    if (n == 0)
        return VT_OK;
    vt_capturer *c = vt_calloc(1, sizeof *c);
    if (!c)
        return vt_fail(err, VT_ERR_NOMEM, "no memory for the attention captures");
    c->engine = engine;
    c->data = data;
    c->n = n;
    c->batch = n < engine->config->eval_batch ? n : engine->config->eval_batch;
    c->classes = engine->config->model_classes;
    c->pixel_bytes = info->height * info->width * info->channels;
    size_t count = (size_t)n, batch = (size_t)c->batch;
    c->images = vt_calloc(batch * (size_t)c->pixel_bytes, sizeof *c->images);
    c->logits = vt_calloc(batch * (size_t)c->classes, sizeof *c->logits);
    c->labels = vt_calloc(batch, sizeof *c->labels);
    c->items = vt_calloc(count, sizeof *c->items);
    c->pixels = vt_calloc(count * (size_t)c->pixel_bytes, 1);
    c->index = vt_calloc(count, sizeof *c->index);
    c->label = vt_calloc(count, sizeof *c->label);
    c->pred = vt_calloc(count, sizeof *c->pred);
    vt_status status = VT_OK;
    if (!c->images || !c->logits || !c->labels || !c->items || !c->pixels || !c->index ||
        !c->label || !c->pred)
        status = vt_fail(err, VT_ERR_NOMEM, "no memory for the attention captures");
    if (status == VT_OK)
        status = list_layers(c, err);
    if (status != VT_OK) {
        vt_capturer_free(c);
        return status;
    }
    *result = c;
    return VT_OK;
}

void vt_capturer_free(vt_capturer *c)
{
    if (!c)
        return;
    for (int i = 0; i < c->n_layers; i++)
        vt_free(c->layer[i].probs);
    vt_free(c->layer);
    vt_dev_release(c->engine->dev, c->device_probs, (size_t)c->device_floats * sizeof(float));
    vt_free(c->images);
    vt_free(c->logits);
    vt_free(c->labels);
    vt_free(c->items);
    vt_free(c->pixels);
    vt_free(c->index);
    vt_free(c->label);
    vt_free(c->pred);
    vt_free(c);
}

/* Right after an attention layer's forward call: its inputs are still in place. */
static void take_probs(void *arg, const vt_call *call)
{
    vt_capturer *c = arg;
    if (call->node->op != VT_OP_attention)
        return;
    struct layer *layer = &c->layer[c->next_layer++];
    const vt_attention_sizes *sizes = &call->node->attention.sizes;
    int64_t floats = sizes->batch * layer->floats_an_image;
    call->k->attention_probs(call->dev, c->device_probs, call->x[0], call->kept[0], call->x[1].data,
                             call->x[2].data, call->node->attention.map, sizes);
    vt_dev_read(call->dev, layer->probs + c->done * layer->floats_an_image, c->device_probs,
                (size_t)floats * sizeof(float));
}

static vt_status compute(vt_capturer *c, vt_error *err)
{
    const vt_config *config = c->engine->config;
    vt_status status = VT_OK;
    for (int64_t i = 0; i < c->n && status == VT_OK; i++) {
        int label;
        status =
            vt_data_picture(c->data, VT_PART_TEST, i, c->pixels + i * c->pixel_bytes, &label, err);
        c->items[i] = (uint32_t)i;
        c->index[i] = i;
        c->label[i] = label;
    }
    for (c->done = 0; c->done < c->n && status == VT_OK;) {
        int64_t count = c->n - c->done < c->batch ? c->n - c->done : c->batch;
        vt_slot *slot = vt_engine_slot(c->engine, count, false);
        status =
            vt_batch_load(c->data, vt_dev_pool(c->engine->dev), VT_PART_TEST, false, config->seed,
                          0, c->items + c->done, count, c->images, c->labels, err);
        if (status != VT_OK)
            break;
        vt_engine_write_batch(c->engine, slot, c->images, c->labels);
        c->next_layer = 0;
        vt_engine_eval_batch(c->engine, slot, take_probs, c);
        vt_engine_read_logits(c->engine, slot, c->logits);
        for (int64_t i = 0; i < count; i++) {
            double p;
            c->pred[c->done + i] = vt_softmax(c->logits + i * c->classes, c->classes, &p);
        }
        c->done += count;
    }
    return status;
}

/* Writes a capture and vouches for it in the journal. */
static vt_status publish(int captures_fd, const char *file, const vt_safetensors_content *content,
                         const char *kind, vt_journal *journal, int64_t epoch, int64_t step,
                         vt_error *err)
{
    uint8_t digest[VT_SHA256_SIZE];
    char hex[VT_SHA256_HEX_SIZE];
    vt_text record = {0};
    vt_status status = vt_safetensors_write(captures_fd, file, content, digest, err);
    if (status != VT_OK)
        return status;
    vt_sha256_hex(digest, hex);
    vt_text_printf(&record,
                   "{\"epoch\":%" PRId64 ",\"file\":\"%s\",\"kind\":\"%s\",\"sha256\":\"%s\"}",
                   epoch, file, kind, hex);
    status = record.failed
                 ? vt_fail(err, VT_ERR_NOMEM, "no memory for a journal record")
                 : vt_journal_put(journal, VT_RECORD_CAPTURE, step, record.data, record.size, err);
    vt_text_release(&record);
    return status;
}

vt_status vt_capturer_run(vt_capturer *c, int captures_fd, vt_journal *journal, int64_t epoch,
                          int64_t step, vt_error *err)
{
    const vt_data_info *info = vt_data_info_of(c->data);
    int n_meta = c->n_layers * META_A_LAYER;
    vt_safetensor *tensors = vt_calloc((size_t)c->n_layers + 4, sizeof *tensors);
    vt_safetensors_meta *meta = vt_calloc((size_t)n_meta, sizeof *meta);
    char file[64];
    vt_status status = VT_OK;
    if (!tensors || !meta) {
        status = vt_fail(err, VT_ERR_NOMEM, "no memory for the attention captures");
        goto out;
    }
    status = compute(c, err);
    if (status != VT_OK)
        goto out;
    tensors[0] = (vt_safetensor){.name = "images",
                                 .type = VT_SAFETENSORS_U8,
                                 .rank = 4,
                                 .shape = {c->n, info->height, info->width, info->channels},
                                 .data = c->pixels};
    tensors[1] = (vt_safetensor){"dataset_index", VT_SAFETENSORS_I64, 1, {c->n}, c->index, 0};
    tensors[2] = (vt_safetensor){"label", VT_SAFETENSORS_I64, 1, {c->n}, c->label, 0};
    tensors[3] = (vt_safetensor){"pred", VT_SAFETENSORS_I64, 1, {c->n}, c->pred, 0};
    for (int i = 0; i < c->n_layers; i++) {
        struct layer *layer = &c->layer[i];
        const vt_attention_map *map = layer->node->attention.map;
        int64_t heads = layer->node->attention.sizes.heads, p = map->places;
        vt_safetensor *t = &tensors[4 + i];
        *t = (vt_safetensor){.name = layer->name, .type = VT_SAFETENSORS_F32, .data = layer->probs};
        if (layer->node->attention.layout.window_h)
            t->rank = 5, t->shape[0] = c->n, t->shape[1] = map->windows, t->shape[2] = heads,
            t->shape[3] = p, t->shape[4] = p;
        else
            t->rank = 4, t->shape[0] = c->n, t->shape[1] = heads, t->shape[2] = p, t->shape[3] = p;
        for (int j = 0; j < META_A_LAYER; j++)
            meta[i * META_A_LAYER + j] = (vt_safetensors_meta){layer->key[j], layer->value[j]};
    }
    snprintf(file, sizeof file, "attention-%" PRId64 ".safetensors", epoch);
    vt_safetensors_content content = {tensors, c->n_layers + 4, meta, n_meta};
    status = publish(captures_fd, file, &content, "attention", journal, epoch, step, err);
out:
    vt_free(meta);
    vt_free(tensors);
    return status;
}

vt_status vt_capture_logits(const vt_evaluator *e, int captures_fd, vt_journal *journal,
                            int64_t epoch, int64_t step, vt_error *err)
{
    int64_t n = e->record->images;
    const vt_safetensor tensors[] = {
        {"label", VT_SAFETENSORS_I64, 1, {n}, e->label, 0},
        {"pred", VT_SAFETENSORS_I64, 1, {n}, e->pred, 0},
        {"logits", VT_SAFETENSORS_F32, 2, {n, e->classes}, e->logits, 0},
    };
    const vt_safetensors_content content = {tensors, 3, NULL, 0};
    return publish(captures_fd, "final-test.safetensors", &content, "logits", journal, epoch, step,
                   err);
}
