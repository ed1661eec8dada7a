#include "train/capture.h"

#include "base/mem.h"
#include "base/text.h"
#include "results/safetensors.h"
#include "train/attention_tap.h"

#include <inttypes.h>
#include <stdio.h>

enum { META_A_LAYER = 8, META_TEXT = 48, N_COLUMNS = 5 };

/* A layer's tensor in the file. */
struct layer {
    char name[24];
    char key[META_A_LAYER][META_TEXT], value[META_A_LAYER][24];
};

struct vt_capturer {
    vt_engine *engine;
    const vt_data *data;
    int64_t n, batch, classes;
    vt_attention_tap tap;
    struct layer *layer; /* of the tap's */
    float *images, *logits;
    int32_t *labels;
    uint32_t *items;
    uint8_t *pixels;
    int64_t *index, *label, *pred;
    int64_t pixel_bytes;
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

static void describe(struct layer *layer, int number, const vt_attention_layout *l)
{
    static const char *const keys[META_A_LAYER] = {"grid_h",  "grid_w",  "window_h", "window_w",
                                                   "shift_h", "shift_w", "dilation", "has_cls"};
    const int64_t values[META_A_LAYER] = {l->grid_h,  l->grid_w,  l->window_h, l->window_w,
                                          l->shift_h, l->shift_w, l->dilation, l->has_cls};
    snprintf(layer->name, sizeof layer->name, "layer_%02d", number);
    for (int i = 0; i < META_A_LAYER; i++) {
        snprintf(layer->key[i], META_TEXT, "layer_%02d.%s", number, keys[i]);
        snprintf(layer->value[i], sizeof layer->value[i], "%" PRId64, values[i]);
    }
}

static vt_status list_layers(vt_capturer *c, vt_error *err)
{
    const vt_graph *graph = vt_engine_slot(c->engine, c->batch, false)->model.graph;
    vt_status status = vt_attention_tap_init(&c->tap, c->engine->dev, graph, c->n, err);
    if (status != VT_OK)
        return status;
    c->layer = vt_calloc((size_t)c->tap.n_layers, sizeof *c->layer);
    if (!c->layer)
        return vt_fail(err, VT_ERR_NOMEM, "no memory for the attention captures");
    for (int i = 0; i < c->tap.n_layers; i++)
        describe(&c->layer[i], i, &c->tap.layer[i].layout);
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
    vt_attention_tap_release(&c->tap);
    vt_free(c->layer);
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
    for (int64_t done = 0, count; done < c->n && status == VT_OK; done += count) {
        count = c->n - done < c->batch ? c->n - done : c->batch;
        vt_slot *slot = vt_engine_slot(c->engine, count, false);
        status = vt_batch_load(c->data, vt_dev_pool(c->engine->dev), VT_PART_TEST, false,
                               config->seed, 0, c->items + done, count, c->images, c->labels, err);
        if (status != VT_OK)
            return status;
        vt_engine_write_batch(c->engine, slot, c->images, c->labels);
        vt_attention_tap_begin(&c->tap, done);
        vt_engine_eval_batch(c->engine, slot, vt_attention_tap_hook, &c->tap);
        vt_engine_read_logits(c->engine, slot, c->logits);
        for (int64_t i = 0; i < count; i++) {
            double p;
            c->pred[done + i] = vt_softmax(c->logits + i * c->classes, c->classes, &p);
        }
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
    const vt_attention_tap *tap = &c->tap;
    int n = 0, n_meta = tap->n_layers * META_A_LAYER;
    vt_safetensor *tensors = vt_calloc((size_t)tap->n_layers + N_COLUMNS, sizeof *tensors);
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
    tensors[n++] = (vt_safetensor){.name = "images",
                                   .type = VT_SAFETENSORS_U8,
                                   .rank = 4,
                                   .shape = {c->n, info->height, info->width, info->channels},
                                   .data = c->pixels};
    tensors[n++] = (vt_safetensor){"dataset_index", VT_SAFETENSORS_I64, 1, {c->n}, c->index, 0};
    tensors[n++] = (vt_safetensor){"label", VT_SAFETENSORS_I64, 1, {c->n}, c->label, 0};
    tensors[n++] = (vt_safetensor){"pred", VT_SAFETENSORS_I64, 1, {c->n}, c->pred, 0};
    if (tap->pool)
        tensors[n++] =
            (vt_safetensor){"pool", VT_SAFETENSORS_F32, 2, {c->n, tap->pool_tokens}, tap->pool, 0};
    for (int i = 0; i < tap->n_layers; i++) {
        struct layer *layer = &c->layer[i];
        const vt_attention_layer *l = &tap->layer[i];
        vt_safetensor *t = &tensors[n++];
        *t = (vt_safetensor){.name = layer->name, .type = VT_SAFETENSORS_F32, .data = l->weights};
        if (l->layout.window_h)
            t->rank = 5, t->shape[0] = c->n, t->shape[1] = l->windows, t->shape[2] = l->heads,
            t->shape[3] = l->places, t->shape[4] = l->places;
        else
            t->rank = 4, t->shape[0] = c->n, t->shape[1] = l->heads, t->shape[2] = l->places,
            t->shape[3] = l->places;
        for (int j = 0; j < META_A_LAYER; j++)
            meta[i * META_A_LAYER + j] = (vt_safetensors_meta){layer->key[j], layer->value[j]};
    }
    snprintf(file, sizeof file, "attention-%" PRId64 ".safetensors", epoch);
    vt_safetensors_content content = {tensors, n, meta, n_meta};
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
