#include "train/probe.h"

#include "base/mem.h"
#include "results/safetensors.h"
#include "train/engine.h"
#include "train/weights.h"

#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

enum { PREFIX = 16, N_RESULTS = 5 };

/* One tensor to be written: its name and its values, which it owns. */
struct result {
    char name[VT_NODE_NAME + PREFIX];
    void *data;
};

struct probe {
    const vt_probe_options *options;
    vt_dev *dev;
    vt_engine engine;
    int64_t batch;
    int32_t *labels;
    float *images;
    struct result *result;
    vt_safetensor *tensor; /* of each result */
    int n, capacity;
    float *probs; /* device: the attention weights of one layer */
    int64_t probs_floats;
    bool failed; /* no memory for a result */
};

/* ---- the batch */

static vt_status take_images(struct probe *p, vt_config *config, const vt_safetensors *file,
                             vt_error *err)
{
    const char *path = p->options->images;
    const vt_safetensor *t = vt_safetensors_find(file, "images");
    if (!t || t->type != VT_SAFETENSORS_F32 || t->rank != 4 || t->shape[1] != t->shape[2] ||
        t->shape[0] < 1 || t->shape[1] < 1 || t->shape[3] < 1)
        return vt_fail(err, VT_ERR_DATA,
                       "%s: a tensor 'images' is needed, F32 of shape batch x side x side x "
                       "channels",
                       path);
    p->batch = t->shape[0];
    config->model_image = t->shape[1];
    config->model_channels = t->shape[3];
    p->images = vt_calloc((size_t)t->size_bytes, 1);
    if (!p->images)
        return vt_fail(err, VT_ERR_NOMEM, "no memory for %s", path);
    memcpy(p->images, t->data, (size_t)t->size_bytes);
    return VT_OK;
}

static vt_status take_labels(struct probe *p, const vt_config *config, const vt_safetensors *file,
                             vt_error *err)
{
    const char *path = p->options->images;
    const vt_safetensor *t = vt_safetensors_find(file, "labels");
    if (!t || t->type != VT_SAFETENSORS_I64 || t->rank != 1 || t->shape[0] != p->batch)
        return vt_fail(err, VT_ERR_DATA,
                       "%s: a tensor 'labels' is needed, I64 of shape %" PRId64
                       ", one for each image",
                       path, p->batch);
    p->labels = vt_calloc((size_t)p->batch, sizeof *p->labels);
    if (!p->labels)
        return vt_fail(err, VT_ERR_NOMEM, "no memory for %s", path);
    for (int64_t i = 0; i < p->batch; i++) {
        int64_t label;
        memcpy(&label, (const char *)t->data + (size_t)i * sizeof label, sizeof label);
        if (label < 0 || label >= config->model_classes)
            return vt_fail(err, VT_ERR_DATA,
                           "%s: label %" PRId64 " is %" PRId64 ", and the model has the classes 0 "
                           "to %" PRId64,
                           path, i, label, config->model_classes - 1);
        p->labels[i] = (int32_t)label;
    }
    return VT_OK;
}

static vt_status read_batch(struct probe *p, vt_config *config, vt_error *err)
{
    vt_safetensors *file = NULL;
    const char *name;
    int fd = -1;
    vt_status status = vt_fs_open_parent(p->options->images, &fd, &name, err);
    if (status == VT_OK)
        status = vt_safetensors_open(&file, fd, name, NULL, err);
    if (status == VT_OK)
        status = take_images(p, config, file, err);
    if (status == VT_OK)
        status = take_labels(p, config, file, err);
    vt_safetensors_close(file);
    vt_fs_close(&fd);
    return status;
}

static vt_status start_weights(struct probe *p, const char *path, vt_error *err)
{
    size_t bytes = (size_t)p->engine.params->n_floats * sizeof(float);
    vt_weights_report report;
    if (!path)
        return VT_OK;
    float *floats = vt_calloc(bytes, 1);
    if (!floats)
        return vt_fail(err, VT_ERR_NOMEM, "no memory for %s", path);
    vt_dev_read(p->dev, floats, p->engine.memory.weights, bytes);
    vt_status status = vt_weights_start(p->engine.params, path, floats, &report, err);
    if (status == VT_OK)
        vt_dev_write(p->dev, p->engine.memory.weights, floats, bytes);
    vt_free(floats);
    return status;
}

/* ---- results */

static int64_t map_floats(const vt_node *node)
{
    const vt_attention_map *map = node->attention.map;
    const vt_attention_sizes *sizes = &node->attention.sizes;
    return sizes->batch * map->windows * sizes->heads * map->places * map->places;
}

static vt_status take_memory(struct probe *p, vt_error *err)
{
    const vt_graph *graph = vt_engine_slot(&p->engine, p->batch, false)->model.graph;
    p->capacity = N_RESULTS + 2 * p->engine.params->n;
    for (int i = 0; i < graph->n; i++)
        if (graph->node[i]->op == VT_OP_attention) {
            int64_t floats = map_floats(graph->node[i]);
            p->probs_floats = floats > p->probs_floats ? floats : p->probs_floats;
            p->capacity++;
        }
    p->result = vt_calloc((size_t)p->capacity, sizeof *p->result);
    p->tensor = vt_calloc((size_t)p->capacity, sizeof *p->tensor);
    if (p->probs_floats)
        p->probs = vt_dev_alloc(p->dev, (size_t)p->probs_floats * sizeof *p->probs);
    if (!p->result || !p->tensor || (p->probs_floats && !p->probs))
        return vt_fail(err, VT_ERR_NOMEM, "no memory for the results");
    return VT_OK;
}

/* A new result and room for its values, NULL without memory. */
static void *add(struct probe *p, const char *prefix, const char *name, vt_safetensors_type type,
                 int rank, const int64_t *shape)
{
    struct result *r = &p->result[p->n];
    vt_safetensor *t = &p->tensor[p->n];
    size_t bytes = (size_t)vt_safetensors_type_size(type);
    VT_ASSERT(p->n < p->capacity);
    snprintf(r->name, sizeof r->name, "%s%s", prefix, name);
    *t = (vt_safetensor){.name = r->name, .type = type, .rank = rank};
    for (int i = 0; i < rank; i++) {
        t->shape[i] = shape[i];
        bytes *= (size_t)shape[i];
    }
    t->data = r->data = vt_calloc(bytes, 1);
    if (!r->data)
        p->failed = true;
    else
        p->n++;
    return r->data;
}

/* Right after an attention layer's forward call its inputs are still in place. */
static void add_map(void *arg, const vt_call *call)
{
    struct probe *p = arg;
    const vt_node *node = call->node;
    const vt_attention_map *map = call->map;
    const vt_attention_sizes *sizes = &node->attention.sizes;
    if (node->op != VT_OP_attention || p->failed)
        return;
    const int64_t shape[] = {sizes->batch, map->windows, sizes->heads, map->places, map->places};
    float *host = add(p, "attn.", node->name, VT_SAFETENSORS_F32, 5, shape);
    if (!host)
        return;
    call->k->attention_probs(call->dev, p->probs, call->x[0], call->kept[0], call->x[1].data,
                             call->x[2].data, map, sizes);
    vt_dev_read(call->dev, host, p->probs, (size_t)map_floats(node) * sizeof *host);
}

static void add_logits(struct probe *p, const char *prefix, vt_slot *slot, vt_totals totals)
{
    const vt_shape *shape = &slot->model.logits->shape;
    float *logits = add(p, prefix, "logits", VT_SAFETENSORS_F32, shape->rank, shape->dim);
    double *loss = add(p, prefix, "loss", VT_SAFETENSORS_F64, 0, NULL);
    if (logits)
        vt_engine_read_logits(&p->engine, slot, logits);
    if (loss)
        *loss = totals.v[VT_TOTAL_LOSS] / (double)p->batch;
}

/* Gradients of what is trained, values of the buffers. */
static void add_params(struct probe *p)
{
    const vt_params *params = p->engine.params;
    for (int i = 0; i < params->n; i++) {
        const vt_param *param = params->item[i];
        bool buffer = param->role == VT_ROLE_BUFFER;
        if (!param->trained && !buffer)
            continue;
        float *to = add(p, buffer ? "buffer." : "grad.", param->name, VT_SAFETENSORS_F32,
                        param->shape.rank, param->shape.dim);
        const float *from = buffer ? p->engine.memory.weights : p->engine.memory.grads;
        if (to)
            vt_dev_read(p->dev, to, from + param->offset, (size_t)param->shape.size * sizeof *to);
    }
}

/* The batch again and again, at the first rate. */
static void train_steps(struct probe *p, vt_slot *slot)
{
    const int64_t steps = p->options->steps;
    double *losses = steps ? add(p, "", "losses", VT_SAFETENSORS_F64, 1, &steps) : NULL;
    for (int64_t s = 0; s < steps && losses; s++) {
        vt_engine_write_batch(&p->engine, slot, p->images, p->labels);
        vt_engine_begin(&p->engine, p->batch, p->engine.config->optim_lr);
        vt_totals totals =
            vt_engine_train_batch(&p->engine, slot, p->options->draw + 1 + (uint32_t)s);
        losses[s] = totals.v[VT_TOTAL_LOSS] / (double)p->batch;
        vt_engine_update(&p->engine, s + 1);
    }
}

static vt_status compute(struct probe *p, vt_error *err)
{
    vt_slot *slot = vt_engine_slot(&p->engine, p->batch, false);
    vt_engine_write_batch(&p->engine, slot, p->images, p->labels);
    add_logits(p, "", slot, vt_engine_eval_batch(&p->engine, slot, add_map, p));
    if (p->options->training) {
        slot = vt_engine_slot(&p->engine, p->batch, true);
        vt_engine_write_batch(&p->engine, slot, p->images, p->labels);
        vt_engine_begin(&p->engine, p->batch, 0);
        add_logits(p, "train.", slot, vt_engine_train_batch(&p->engine, slot, p->options->draw));
        add_params(p);
        train_steps(p, slot);
    }
    return p->failed ? vt_fail(err, VT_ERR_NOMEM, "no memory for the results") : VT_OK;
}

static vt_status write_results(struct probe *p, vt_error *err)
{
    const vt_safetensors_content content = {p->tensor, p->n, NULL, 0};
    const char *name;
    int fd = -1;
    vt_status status = vt_fs_open_parent(p->options->out, &fd, &name, err);
    if (status == VT_OK)
        status = vt_safetensors_write(fd, name, &content, NULL, err);
    vt_fs_close(&fd);
    return status;
}

vt_status vt_probe(vt_config *config, const vt_probe_options *options, vt_error *err)
{
    struct probe p = {.options = options};
    vt_status status = vt_engine_device(&p.dev, config, err);
    if (status == VT_OK)
        status = vt_engine_precision(p.dev, config, err);
    if (status == VT_OK)
        status = read_batch(&p, config, err);
    if (status == VT_OK) {
        vt_engine_add_slot(&p.engine, p.batch, false);
        if (options->training)
            vt_engine_add_slot(&p.engine, p.batch, true);
        status = vt_engine_init(&p.engine, config, p.dev, err);
    }
    if (status == VT_OK)
        status = start_weights(&p, config->model_weights, err);
    if (status == VT_OK)
        status = take_memory(&p, err);
    if (status == VT_OK)
        status = compute(&p, err);
    if (status == VT_OK)
        status = write_results(&p, err);
    for (int i = 0; i < p.n; i++)
        vt_free(p.result[i].data);
    vt_free(p.tensor);
    vt_free(p.result);
    vt_dev_release(p.dev, p.probs, (size_t)p.probs_floats * sizeof *p.probs);
    vt_engine_release(&p.engine);
    vt_free(p.labels);
    vt_free(p.images);
    vt_dev_free(p.dev);
    return status;
}
