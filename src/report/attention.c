#include "report/attention.h"

#include "base/mem.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

enum { CHANNELS = 3 };

static const vt_capture *find_record(const vt_history *h, int64_t epoch)
{
    const vt_capture *found = NULL;
    for (int64_t i = 0; i < h->n_captures; i++)
        if (h->capture[i].kind == VT_CAPTURE_ATTENTION &&
            (epoch < 0 || h->capture[i].epoch == epoch))
            found = &h->capture[i];
    return found;
}

/* Opens the file, which has to be the one that the journal vouches for. */
static vt_status open_capture(vt_safetensors **file, int dir_fd, const vt_capture *record,
                              const char *path, vt_error *err)
{
    uint8_t sha256[VT_SHA256_SIZE];
    char hex[VT_SHA256_HEX_SIZE];
    int fd = -1;
    vt_status status = vt_fs_open_dir(dir_fd, "captures", &fd, err);
    if (status == VT_OK)
        status = vt_safetensors_open(file, fd, record->file, sha256, err);
    vt_fs_close(&fd);
    if (status != VT_OK)
        return status;
    vt_sha256_hex(sha256, hex);
    if (strcmp(hex, record->sha256) != 0)
        return vt_fail(err, VT_ERR_DATA, "%s: its SHA-256 is %s, the journal says %s", path, hex,
                       record->sha256);
    return VT_OK;
}

/* The tensor of that type and rank, of n images. */
static vt_status find_tensor(const vt_safetensors *file, const char *path, const char *name,
                             vt_safetensors_type type, int rank, int64_t n,
                             const vt_safetensor **tensor, vt_error *err)
{
    *tensor = vt_safetensors_find(file, name);
    if (*tensor && (*tensor)->type == type && (*tensor)->rank == rank && (*tensor)->shape[0] == n)
        return VT_OK;
    return vt_fail(err, VT_ERR_DATA, "%s: no tensor '%s' (%s of rank %d, %" PRId64 " images) in it",
                   path, name, vt_safetensors_type_name(type), rank, n);
}

static vt_status read_images(vt_attention_set *a, const vt_safetensors *file, const char *path,
                             vt_error *err)
{
    static const char *const names[] = {"dataset_index", "label", "pred"};
    const vt_safetensor *images = vt_safetensors_find(file, "images"), *column[3];
    vt_status status = VT_OK;
    if (!images || images->type != VT_SAFETENSORS_U8 || images->rank != 4 || images->shape[0] < 1 ||
        images->shape[1] < 1 || images->shape[2] < 1 || images->shape[3] != CHANNELS)
        return vt_fail(err, VT_ERR_DATA,
                       "%s: a tensor 'images' is needed, U8 of shape images x height x width x 3",
                       path);
    a->n = images->shape[0];
    a->height = images->shape[1];
    a->width = images->shape[2];
    for (int i = 0; i < 3 && status == VT_OK; i++)
        status = find_tensor(file, path, names[i], VT_SAFETENSORS_I64, 1, a->n, &column[i], err);
    if (status != VT_OK)
        return status;
    a->image = vt_calloc((size_t)a->n, sizeof *a->image);
    if (!a->image)
        return vt_fail(err, VT_ERR_NOMEM, "%s: no memory for its images", path);
    for (int64_t i = 0; i < a->n; i++) {
        int64_t value[3];
        for (int k = 0; k < 3; k++)
            memcpy(&value[k], (const int64_t *)column[k]->data + i, sizeof value[k]);
        if (value[1] < 0 || value[1] >= a->n_classes || value[2] < 0 || value[2] >= a->n_classes)
            return vt_fail(err, VT_ERR_DATA,
                           "%s: image %" PRId64 " is of class %" PRId64 " and taken for %" PRId64
                           ", and there are %" PRId64 " classes",
                           path, i, value[1], value[2], a->n_classes);
        a->image[i] = (vt_attention_image){.number = value[0],
                                           .label = value[1],
                                           .pred = value[2],
                                           .probability = NAN,
                                           .pixels = (const uint8_t *)images->data +
                                                     i * a->height * a->width * CHANNELS};
    }
    return VT_OK;
}

static vt_status read_layers(vt_attention_set *a, const vt_safetensors *file, const char *path,
                             vt_error *err)
{
    char name[24];
    const vt_safetensor *tensor;
    a->layer = vt_calloc((size_t)vt_safetensors_count(file) + 1, sizeof *a->layer);
    if (!a->layer)
        return vt_fail(err, VT_ERR_NOMEM, "%s: no memory for its layers", path);
    for (;; a->n_layers++) {
        vt_attention_layer *layer = &a->layer[a->n_layers];
        snprintf(name, sizeof name, "layer_%02d", a->n_layers);
        if (!(tensor = vt_safetensors_find(file, name)))
            break;
        vt_status status = vt_attention_layer_read(layer, file, tensor, path, err);
        if (status != VT_OK)
            return status;
        if (tensor->shape[0] != a->n || !vt_attention_layer_fits(layer))
            return vt_fail(err, VT_ERR_DATA,
                           "%s: the shape of '%s' does not fit its layout in the metadata, or is "
                           "for another number of images",
                           path, name);
    }
    if (a->n_layers == 0)
        return vt_fail(err, VT_ERR_DATA, "%s: no layer in it", path);
    if (!vt_safetensors_find(file, "pool"))
        return VT_OK;
    vt_status status = find_tensor(file, path, "pool", VT_SAFETENSORS_F32, 2, a->n, &tensor, err);
    if (status != VT_OK)
        return status;
    a->pool = tensor->data;
    a->pool_side = vt_attention_pool_side(tensor->shape[1]);
    return a->pool_side ? VT_OK
                        : vt_fail(err, VT_ERR_DATA, "%s: 'pool' is not of a square map", path);
}

static void release_capture(void *file)
{
    vt_safetensors_close(file);
}

vt_status vt_attention_read(vt_attention_set *a, int dir_fd, const char *folder,
                            const vt_history *h, int64_t epoch, vt_error *err)
{
    char path[PATH_MAX];
    vt_safetensors *file = NULL;
    const vt_capture *record = find_record(h, epoch);
    *a = (vt_attention_set){.class_names = h->info.class_names, .n_classes = h->info.n_classes};
    if (!record && find_record(h, -1))
        return vt_fail(err, VT_ERR_NOINPUT,
                       "%s: no attention was captured in epoch %" PRId64 "; the newest capture is "
                       "of epoch %" PRId64,
                       folder, epoch, find_record(h, -1)->epoch);
    if (!record)
        return vt_fail(err, VT_ERR_NOINPUT,
                       "%s: no attention was captured; train with --set attention.images=N, or "
                       "name pictures with --image",
                       folder);
    a->epoch = record->epoch;
    snprintf(path, sizeof path, "%s/captures/%s", folder, record->file);
    vt_status status = open_capture(&file, dir_fd, record, path, err);
    a->source = file;
    a->release = release_capture;
    if (status == VT_OK)
        status = read_images(a, file, path, err);
    if (status == VT_OK)
        status = read_layers(a, file, path, err);
    a->has_rollout = status == VT_OK && vt_rollout_exists(a->layer, a->n_layers);
    return status;
}

void vt_attention_release(vt_attention_set *a)
{
    if (a->release)
        a->release(a->source);
    vt_free(a->image);
    vt_free(a->layer);
    *a = (vt_attention_set){0};
}

bool vt_attention_right(const vt_attention_set *a, int64_t image)
{
    return a->image[image].label >= 0 && a->image[image].label == a->image[image].pred;
}

vt_status vt_attention_rollout(const vt_attention_set *a, int64_t image, double *map, vt_error *err)
{
    int64_t floats = vt_rollout_scratch(a->layer, a->n_layers, a->pool_side);
    double *scratch = vt_calloc((size_t)floats, sizeof *scratch);
    if (!scratch)
        return vt_fail(err, VT_ERR_NOMEM, "no memory for the attention rollout");
    vt_rollout_run(a->layer, a->n_layers, image,
                   a->pool ? a->pool + image * a->pool_side * a->pool_side : NULL, a->pool_side,
                   scratch, map);
    vt_free(scratch);
    return VT_OK;
}

/* ---- JSON */

static json_t *pack_map(const double *map, int64_t height, int64_t width)
{
    json_t *rows = json_array();
    for (int64_t y = 0; y < height; y++) {
        json_t *row = json_array();
        for (int64_t x = 0; x < width; x++)
            json_array_append_new(row, vt_json_real(map[y * width + x]));
        json_array_append_new(rows, row);
    }
    return rows;
}

static json_t *pack_layers(const vt_attention_set *a)
{
    json_t *list = json_array();
    for (int i = 0; i < a->n_layers; i++) {
        const vt_attention_layout *l = &a->layer[i].layout;
        json_array_append_new(list,
                              json_pack("{s:i, s:I, s:[I, I], s:[I, I], s:[I, I], s:I, s:b}",
                                        "layer", i, "heads", (json_int_t)a->layer[i].heads, "grid",
                                        (json_int_t)l->grid_h, (json_int_t)l->grid_w, "window",
                                        (json_int_t)l->window_h, (json_int_t)l->window_w, "shift",
                                        (json_int_t)l->shift_h, (json_int_t)l->shift_w, "dilation",
                                        (json_int_t)l->dilation, "class_token", l->has_cls));
    }
    return list;
}

static json_t *pack_means(const vt_attention_set *a, int64_t image, double *map)
{
    json_t *list = json_array();
    for (int i = 0; i < a->n_layers; i++) {
        const vt_attention_layout *l = &a->layer[i].layout;
        vt_attention_rest rest = vt_attention_put_back(&a->layer[i], image, -1, map);
        json_array_append_new(list, json_pack("{s:o, s:o, s:o}", "mean",
                                              pack_map(map, l->grid_h, l->grid_w), "padding",
                                              vt_json_real(rest.padding), "class_token",
                                              vt_json_real(rest.class_token)));
    }
    return list;
}

static json_t *pack_rollout(const vt_attention_set *a, int64_t image, double *map)
{
    const vt_attention_layout *first = &a->layer[0].layout;
    if (!a->has_rollout || vt_attention_rollout(a, image, map, NULL) != VT_OK)
        return json_null();
    return pack_map(map, first->grid_h, first->grid_w);
}

static json_t *pack_pool(const vt_attention_set *a, int64_t image, double *map)
{
    int64_t side = a->pool_side;
    for (int64_t i = 0; i < side * side; i++)
        map[i] = (double)a->pool[image * side * side + i];
    return side ? pack_map(map, side, side) : json_null();
}

/* The class's name; null for one that is not known. */
static json_t *pack_class(const vt_attention_set *a, int64_t class)
{
    return class < 0 ? json_null() : vt_json_text(a->class_names[class], "(not UTF-8)");
}

static json_t *pack_image(const vt_attention_set *a, int64_t i, double *map)
{
    const vt_attention_image *image = &a->image[i];
    bool known = image->label >= 0;
    return json_pack(
        "{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "file",
        image->file ? vt_json_text(image->file, "(not UTF-8)") : json_null(), "number",
        image->file ? json_null() : json_integer(image->number), "label",
        pack_class(a, image->label), "predicted", pack_class(a, image->pred), "probability",
        isnan(image->probability) ? json_null() : vt_json_real(image->probability), "right",
        known ? json_boolean(vt_attention_right(a, i)) : json_null(), "layers",
        pack_means(a, i, map), "pool", pack_pool(a, i, map), "rollout", pack_rollout(a, i, map));
}

json_t *vt_attention_json(const vt_attention_set *a)
{
    int64_t cells = vt_rollout_scratch(a->layer, a->n_layers, a->pool_side);
    double *map = vt_calloc((size_t)cells, sizeof *map);
    if (!map)
        return NULL;
    json_t *images = json_array();
    for (int64_t i = 0; i < a->n; i++)
        json_array_append_new(images, pack_image(a, i, map));
    vt_free(map);
    return json_pack("{s:o, s:o, s:o}", "epoch",
                     a->epoch < 0 ? json_null() : json_integer(a->epoch), "layers", pack_layers(a),
                     "images", images);
}
