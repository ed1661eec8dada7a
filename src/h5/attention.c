#include "base/mem.h"
#include "h5/parts.h"
#include "results/rollout.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { GLOBAL_RANK = 4, WINDOW_RANK = 5 }; /* [image,(window,)head,query,key] */

#define LAYER_PREFIX "layer_"
#define POOL "pool" /* weights of sequence pooling */

/* One layer as the first file has it; the others must be the same. */
struct layer {
    char name[16], path[48];
    int rank;
    int64_t shape[WINDOW_RANK];
};

struct attention {
    vt_h5_file *file;
    const vt_h5_source *source;
    const vt_safetensor *images, *index, *pool; /* of the file that is open; pool may be NULL */
    int64_t image_shape[4];
    int64_t *dataset_index; /* of the first file */
    uint16_t *label;
    struct layer *layers;
    int n_layers;
    vt_attention_layer *maps; /* of the open file */
    int64_t pool_side;        /* side of the map that sequence pooling reads; 0 without */
    double *rollout_scratch;  /* NULL if these layers have no rollout */
    double *rollout_map;      /* (grid_h, grid_w) of the first layer */
    float *rollouts;          /* (images, grid_h, grid_w) */
};

static const vt_capture *next_capture(const vt_history *h, int64_t *at)
{
    while (*at < h->n_captures) {
        const vt_capture *record = &h->capture[(*at)++];
        if (record->kind == VT_CAPTURE_ATTENTION)
            return record;
    }
    return NULL;
}

/* "layer_" and two or three digits; anything else in the file is one of the named tensors. */
static bool is_layer(const char *name)
{
    size_t prefix = sizeof LAYER_PREFIX - 1, size = strlen(name);
    return strncmp(name, LAYER_PREFIX, prefix) == 0 && size >= prefix + 2 && size <= prefix + 3 &&
           strspn(name + prefix, "0123456789") == size - prefix;
}

static bool is_column(const char *name)
{
    return strcmp(name, "images") == 0 || strcmp(name, "dataset_index") == 0 ||
           strcmp(name, "label") == 0 || strcmp(name, "pred") == 0 || strcmp(name, POOL) == 0;
}

static vt_status find_layers(struct attention *a, const vt_h5_capture *capture, vt_error *err)
{
    int n = vt_safetensors_count(capture->tensors);
    a->layers = vt_calloc((size_t)n + 1, sizeof *a->layers);
    a->maps = vt_calloc((size_t)n + 1, sizeof *a->maps);
    if (!a->layers || !a->maps)
        return vt_fail(err, VT_ERR_NOMEM, "%s: no memory for %d layers", capture->path, n);
    for (int i = 0; i < n; i++) {
        const vt_safetensor *tensor = vt_safetensors_at(capture->tensors, i);
        struct layer *layer = &a->layers[a->n_layers];
        if (is_column(tensor->name))
            continue;
        if (!is_layer(tensor->name) || tensor->type != VT_SAFETENSORS_F32 ||
            (tensor->rank != GLOBAL_RANK && tensor->rank != WINDOW_RANK))
            return vt_fail(err, VT_ERR_DATA,
                           "%s: tensor '%s' (%s, rank %d) is no attention layer: those are F32 of "
                           "rank 4 or 5 and called layer_00, layer_01, ...",
                           capture->path, tensor->name, vt_safetensors_type_name(tensor->type),
                           tensor->rank);
        snprintf(layer->name, sizeof layer->name, "%s", tensor->name);
        snprintf(layer->path, sizeof layer->path, "/attention/%s/weights", layer->name);
        layer->rank = tensor->rank;
        memcpy(layer->shape, tensor->shape, (size_t)layer->rank * sizeof *layer->shape);
        if (layer->shape[0] != a->image_shape[0])
            return vt_fail(err, VT_ERR_DATA, "%s: tensor '%s' is for another number of images",
                           capture->path, tensor->name);
        a->n_layers++;
    }
    if (a->n_layers == 0)
        return vt_fail(err, VT_ERR_DATA, "%s: no layer in it", capture->path);
    return VT_OK;
}

static void describe_layer(struct attention *a, const vt_attention_layout *l, const char *group)
{
    const struct {
        const char *name;
        int64_t value;
    } rows[] = {
        {"grid_h", l->grid_h},     {"grid_w", l->grid_w},   {"window_h", l->window_h},
        {"window_w", l->window_w}, {"shift_h", l->shift_h}, {"shift_w", l->shift_w},
        {"dilation", l->dilation},
    };
    uint8_t has_cls = l->has_cls;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        vt_h5_attr_i64(a->file, group, rows[i].name, rows[i].value);
    if (l->window_h == l->window_w)
        vt_h5_attr_i64(a->file, group, "window", l->window_h);
    if (l->shift_h == l->shift_w)
        vt_h5_attr_i64(a->file, group, "shift", l->shift_h);
    vt_h5_attr(a->file, group, "has_cls", VT_H5_U8, -1, &has_cls);
}

static void declare_layer(struct attention *a, const struct layer *layer, int64_t n_snapshots)
{
    static const char *const axes[WINDOW_RANK] = {NULL, "window", "head", "query", "key"};
    char group[32], scale[48];
    vt_h5_dataset d = {.path = layer->path,
                       .type = VT_H5_F32,
                       .rank = layer->rank + 1,
                       .dims = {(hsize_t)n_snapshots},
                       .packed = 2,
                       .units = "1",
                       .long_name =
                           "attention weights: a query's row sums to 1, a padded one's is 0"};
    for (int i = 0; i < layer->rank; i++)
        d.dims[i + 1] = (hsize_t)layer->shape[i];
    snprintf(group, sizeof group, "/attention/%s", layer->name);
    vt_h5_group(a->file, group);
    describe_layer(a, &a->maps[layer - a->layers].layout, group);
    vt_h5_declare(a->file, &d);
    vt_h5_axis(a->file, layer->path, 0, "/attention/snapshot_epoch");
    vt_h5_axis(a->file, layer->path, 1, "/attention/image");
    for (int i = 1; i < layer->rank; i++) {
        const char *axis = axes[i + (WINDOW_RANK - layer->rank)];
        snprintf(scale, sizeof scale, "%s/%s", group, axis);
        vt_h5_index_scale(a->file, scale, VT_H5_I32, (hsize_t)layer->shape[i], axis);
        vt_h5_axis(a->file, layer->path, (unsigned)i + 1, scale);
    }
}

static vt_status declare_rollout(struct attention *a, int64_t n_snapshots, vt_error *err)
{
    static const char *const axes[] = {"/attention/snapshot_epoch", "/attention/image",
                                       "/attention/patch_row", "/attention/patch_col"};
    const vt_attention_layout *first = &a->maps[0].layout;
    size_t images = (size_t)a->image_shape[0], cells = (size_t)(first->grid_h * first->grid_w);
    hsize_t rows = (hsize_t)first->grid_h, cols = (hsize_t)first->grid_w;
    const vt_h5_dataset d = {.path = "/attention/rollout",
                             .type = VT_H5_F32,
                             .rank = 4,
                             .dims = {(hsize_t)n_snapshots, images, rows, cols},
                             .packed = 1,
                             .units = "1",
                             .long_name = "attention rollout: share of each patch in the outcome"};
    a->rollout_scratch =
        vt_calloc((size_t)vt_rollout_scratch(a->maps, a->n_layers, a->pool_side), sizeof(double));
    a->rollout_map = vt_calloc(cells, sizeof *a->rollout_map);
    a->rollouts = vt_calloc(images * cells, sizeof *a->rollouts);
    if (!a->rollout_scratch || !a->rollout_map || !a->rollouts)
        return vt_fail(err, VT_ERR_NOMEM, "no memory for the attention rollout");
    vt_h5_index_scale(a->file, axes[2], VT_H5_I32, rows, "row of patches from the top");
    vt_h5_index_scale(a->file, axes[3], VT_H5_I32, cols, "column of patches from the left");
    vt_h5_declare(a->file, &d);
    for (unsigned i = 0; i < 4; i++)
        vt_h5_axis(a->file, d.path, i, axes[i]);
    return VT_OK;
}

static void put_rollout(struct attention *a, int64_t snapshot)
{
    const vt_attention_layout *first = &a->maps[0].layout;
    int64_t cells = first->grid_h * first->grid_w, tokens = a->pool_side * a->pool_side;
    float *to = a->rollouts;
    for (int64_t image = 0; image < a->image_shape[0]; image++) {
        const float *pool = a->pool ? (const float *)a->pool->data + image * tokens : NULL;
        vt_rollout_run(a->maps, a->n_layers, image, pool, a->pool_side, a->rollout_scratch,
                       a->rollout_map);
        for (int64_t i = 0; i < cells; i++)
            *to++ = (float)a->rollout_map[i];
    }
    vt_h5_write_row(a->file, "/attention/rollout", VT_H5_F32, (hsize_t)snapshot, a->rollouts);
}

static void declare_pool(struct attention *a, int64_t n_snapshots)
{
    static const char *const axes[] = {"/attention/snapshot_epoch", "/attention/image",
                                       "/attention/pool_row", "/attention/pool_col"};
    hsize_t side = (hsize_t)a->pool_side;
    const vt_h5_dataset d = {
        .path = "/attention/" POOL,
        .type = VT_H5_F32,
        .rank = 4,
        .dims = {(hsize_t)n_snapshots, (hsize_t)a->image_shape[0], side, side},
        .packed = 1,
        .units = "1",
        .long_name = "sequence pooling: weight of each token of the last map in the mean"};
    vt_h5_index_scale(a->file, axes[2], VT_H5_I32, side, "row of tokens from the top");
    vt_h5_index_scale(a->file, axes[3], VT_H5_I32, side, "column of tokens from the left");
    vt_h5_declare(a->file, &d);
    for (unsigned i = 0; i < 4; i++)
        vt_h5_axis(a->file, d.path, i, axes[i]);
}

static void put_images(struct attention *a)
{
    static const char *const axes[] = {"/attention/image", "/attention/row", "/attention/col",
                                       "/attention/channel"};
    static const char *const names[] = {"captured image", "pixel row from the top",
                                        "pixel column from the left", "colour channel"};
    hsize_t n = (hsize_t)a->image_shape[0];
    vt_h5_dataset images = {.path = "/attention/images",
                            .type = VT_H5_U8,
                            .rank = 4,
                            .packed = 1,
                            .units = "1",
                            .long_name = "captured images, pixels as in the data set"};
    const vt_h5_dataset index = {.path = "/attention/dataset_index",
                                 .type = VT_H5_I64,
                                 .rank = 1,
                                 .dims = {n},
                                 .units = "1",
                                 .long_name = "number of the image in the test part, from 0"};
    const vt_h5_dataset label = {.path = "/attention/label",
                                 .type = VT_H5_U16,
                                 .rank = 1,
                                 .dims = {n},
                                 .units = "1",
                                 .long_name = "class of the image"};
    for (int i = 0; i < 4; i++) {
        images.dims[i] = (hsize_t)a->image_shape[i];
        vt_h5_index_scale(a->file, axes[i], VT_H5_I32, images.dims[i], names[i]);
    }
    vt_h5_write(a->file, &images, a->images->data);
    for (unsigned i = 0; i < 4; i++)
        vt_h5_axis(a->file, images.path, i, axes[i]);
    vt_h5_write(a->file, &index, a->dataset_index);
    vt_h5_axis(a->file, index.path, 0, axes[0]);
    vt_h5_write(a->file, &label, a->label);
    vt_h5_axis(a->file, label.path, 0, axes[0]);
}

static vt_status put_snapshots(struct attention *a, int64_t n_snapshots, vt_error *err)
{
    const vt_h5_dataset d = {.path = "/attention/snapshot_epoch",
                             .type = VT_H5_I32,
                             .rank = 1,
                             .dims = {(hsize_t)n_snapshots},
                             .units = "1",
                             .long_name = "epoch of the snapshot; 0 is before the first step"};
    const vt_history *h = a->source->history;
    int32_t *epoch = vt_calloc((size_t)n_snapshots, sizeof *epoch);
    if (!epoch)
        return vt_fail(err, VT_ERR_NOMEM, "no memory for /attention");
    int64_t at = 0, i = 0;
    for (const vt_capture *record; (record = next_capture(h, &at));)
        epoch[i++] = (int32_t)record->epoch;
    vt_h5_write(a->file, &d, epoch);
    vt_h5_scale(a->file, d.path, "snapshot_epoch");
    vt_free(epoch);
    return VT_OK;
}

/* Layer i of the open file. */
static vt_status read_map(struct attention *a, const vt_h5_capture *capture, int i,
                          const vt_safetensor **tensor, vt_error *err)
{
    const struct layer *layer = &a->layers[i];
    vt_status status = vt_h5_capture_find(capture, layer->name, VT_SAFETENSORS_F32, layer->rank,
                                          a->image_shape[0], tensor, err);
    return status == VT_OK
               ? vt_attention_layer_read(&a->maps[i], capture->tensors, *tensor, capture->path, err)
               : status;
}

/* The first file fixes shapes, images and layers. */
static vt_status begin(struct attention *a, const vt_h5_capture *capture, int64_t n_snapshots,
                       vt_error *err)
{
    int64_t classes = a->source->history->info.n_classes;
    const vt_h5_dataset pred = {.path = "/attention/pred",
                                .type = VT_H5_U16,
                                .rank = 2,
                                .dims = {(hsize_t)n_snapshots, (hsize_t)a->images->shape[0]},
                                .units = "1",
                                .long_name = "class the model says"};
    const vt_safetensor *tensor;
    int64_t n = a->images->shape[0];
    memcpy(a->image_shape, a->images->shape, sizeof a->image_shape);
    a->pool_side = a->pool ? vt_attention_pool_side(a->pool->shape[1]) : 0;
    vt_status status = find_layers(a, capture, err);
    if (status == VT_OK)
        status = vt_h5_capture_classes(capture, "label", n, classes, &a->label, err);
    a->dataset_index = vt_calloc((size_t)n + 1, sizeof *a->dataset_index);
    if (status == VT_OK && !a->dataset_index)
        status = vt_fail(err, VT_ERR_NOMEM, "%s: no memory", capture->path);
    if (status != VT_OK)
        return status;
    memcpy(a->dataset_index, a->index->data, (size_t)a->index->size_bytes);
    vt_h5_group(a->file, "/attention");
    status = put_snapshots(a, n_snapshots, err);
    if (status != VT_OK)
        return status;
    put_images(a);
    vt_h5_declare(a->file, &pred);
    vt_h5_axis(a->file, pred.path, 0, "/attention/snapshot_epoch");
    vt_h5_axis(a->file, pred.path, 1, "/attention/image");
    for (int i = 0; i < a->n_layers && status == VT_OK; i++)
        status = read_map(a, capture, i, &tensor, err);
    for (int i = 0; i < a->n_layers && status == VT_OK; i++)
        declare_layer(a, &a->layers[i], n_snapshots);
    if (status == VT_OK && a->pool_side)
        declare_pool(a, n_snapshots);
    if (status == VT_OK && vt_rollout_exists(a->maps, a->n_layers))
        status = declare_rollout(a, n_snapshots, err);
    return status;
}

static vt_status check_same(const struct attention *a, const vt_h5_capture *capture, vt_error *err)
{
    size_t index_size = (size_t)a->image_shape[0] * sizeof *a->dataset_index;
    if (memcmp(a->images->shape, a->image_shape, sizeof a->image_shape) != 0 ||
        (index_size && memcmp(a->index->data, a->dataset_index, index_size) != 0))
        return vt_fail(err, VT_ERR_DATA, "%s: its images are not those of the first capture",
                       capture->path);
    return VT_OK;
}

/* All files have the pooling weights, or none. */
static vt_status find_pool(struct attention *a, const vt_h5_capture *capture, int64_t snapshot,
                           vt_error *err)
{
    a->pool = NULL;
    if (!vt_safetensors_find(capture->tensors, POOL) && (snapshot == 0 || a->pool_side == 0))
        return VT_OK;
    vt_status status = vt_h5_capture_find(capture, POOL, VT_SAFETENSORS_F32, 2, a->images->shape[0],
                                          &a->pool, err);
    if (status != VT_OK)
        return status;
    int64_t side = vt_attention_pool_side(a->pool->shape[1]);
    if (side == 0 || (snapshot > 0 && side != a->pool_side))
        return vt_fail(err, VT_ERR_DATA,
                       "%s: '" POOL "' has %" PRId64 " weights an image, expected those of a "
                       "square map, the same in all captures",
                       capture->path, a->pool->shape[1]);
    return VT_OK;
}

static vt_status put_snapshot(struct attention *a, const vt_capture *record, int64_t snapshot,
                              int64_t n_snapshots, vt_error *err)
{
    vt_h5_capture capture = {0};
    const vt_safetensor *tensor = NULL;
    uint16_t *pred = NULL;
    int64_t classes = a->source->history->info.n_classes;
    vt_status status = vt_h5_capture_open(&capture, a->source, record, err);
    if (status == VT_OK && (record->epoch < 0 || record->epoch > INT32_MAX))
        status = vt_fail(err, VT_ERR_DATA, "%s: of epoch %" PRId64, capture.path, record->epoch);
    if (status == VT_OK)
        status = vt_h5_capture_find(&capture, "images", VT_SAFETENSORS_U8, 4, -1, &a->images, err);
    int64_t n = status == VT_OK ? a->images->shape[0] : 0;
    if (status == VT_OK)
        status = find_pool(a, &capture, snapshot, err);
    if (status == VT_OK)
        status =
            vt_h5_capture_find(&capture, "dataset_index", VT_SAFETENSORS_I64, 1, n, &a->index, err);
    if (status == VT_OK)
        status =
            snapshot == 0 ? begin(a, &capture, n_snapshots, err) : check_same(a, &capture, err);
    if (status == VT_OK)
        status = vt_h5_capture_classes(&capture, "pred", n, classes, &pred, err);
    if (status == VT_OK)
        vt_h5_write_row(a->file, "/attention/pred", VT_H5_U16, (hsize_t)snapshot, pred);
    for (int i = 0; i < a->n_layers && status == VT_OK; i++) {
        const struct layer *layer = &a->layers[i];
        const vt_attention_layout layout = a->maps[i].layout; /* of the capture before */
        status = read_map(a, &capture, i, &tensor, err);
        if (status == VT_OK &&
            (memcmp(tensor->shape, layer->shape, (size_t)layer->rank * sizeof *layer->shape) != 0 ||
             !vt_attention_layout_equal(&layout, &a->maps[i].layout)))
            status = vt_fail(err, VT_ERR_DATA,
                             "%s: '%s' has another shape or layout than in the first capture",
                             capture.path, layer->name);
        if (status == VT_OK)
            vt_h5_write_row(a->file, layer->path, VT_H5_F32, (hsize_t)snapshot, tensor->data);
    }
    if (status == VT_OK && a->pool)
        vt_h5_write_row(a->file, "/attention/" POOL, VT_H5_F32, (hsize_t)snapshot, a->pool->data);
    if (status == VT_OK && a->rollout_scratch)
        put_rollout(a, snapshot);
    vt_free(pred);
    vt_h5_capture_close(&capture);
    return status;
}

vt_status vt_h5_put_attention(vt_h5_file *file, const vt_h5_source *source, vt_error *err)
{
    struct attention a = {.file = file, .source = source};
    const vt_history *h = source->history;
    const vt_capture *record;
    vt_status status = VT_OK;
    int64_t n = 0, at = 0;
    while (next_capture(h, &at))
        n++;
    at = 0;
    for (int64_t i = 0; status == VT_OK && (record = next_capture(h, &at)); i++)
        status = put_snapshot(&a, record, i, n, err);
    vt_free(a.layers);
    vt_free(a.maps);
    vt_free(a.rollout_scratch);
    vt_free(a.rollout_map);
    vt_free(a.rollouts);
    vt_free(a.label);
    vt_free(a.dataset_index);
    return status;
}
