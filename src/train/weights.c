#include "train/weights.h"

#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"
#include "train/resample.h"

#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#define COUNTER "num_batches_tracked"

enum { NAME_SIZE = VT_NODE_NAME + sizeof COUNTER };

/* Lists. */

static vt_safetensor describe(const vt_param *param, const float *floats)
{
    vt_safetensor tensor = {.name = param->name,
                            .type = VT_SAFETENSORS_F32,
                            .rank = param->shape.rank,
                            .data = floats + param->offset};
    for (int i = 0; i < param->shape.rank; i++)
        tensor.shape[i] = param->shape.dim[i];
    return tensor;
}

static bool is_chosen(const vt_param *param, vt_weights_choice choice)
{
    switch (choice) {
    case VT_WEIGHTS_SAVED:
        return param->role != VT_ROLE_FIXED;
    case VT_WEIGHTS_TRAINED:
        return param->trained;
    case VT_WEIGHTS_ALL:
        break;
    }
    return true;
}

/* Length of NAME and its point in "NAME.leaf"; 0 if the name ends otherwise. */
static size_t stem_of(const char *name, const char *leaf)
{
    const char *dot = strrchr(name, '.');
    return dot && strcmp(dot + 1, leaf) == 0 ? (size_t)(dot + 1 - name) : 0;
}

vt_status vt_weights_list(vt_weights *list, const vt_params *params, vt_weights_choice choice,
                          const float *floats, const int64_t *batches, vt_error *err)
{
    *list = (vt_weights){.tensor = vt_calloc(2 * (size_t)params->n, sizeof *list->tensor),
                         .names = vt_calloc((size_t)params->n, NAME_SIZE)};
    if (!list->tensor || !list->names) {
        vt_weights_release(list);
        return vt_fail(err, VT_ERR_NOMEM, "no memory to list %d tensors", params->n);
    }
    for (int i = 0; i < params->n; i++) {
        const vt_param *param = params->item[i];
        size_t stem = stem_of(param->name, "running_var");
        if (!is_chosen(param, choice))
            continue;
        list->tensor[list->n++] = describe(param, floats);
        if (!batches || stem == 0)
            continue;
        char *name = list->names + (size_t)i * NAME_SIZE;
        snprintf(name, NAME_SIZE, "%.*s" COUNTER, (int)stem, param->name);
        list->tensor[list->n++] =
            (vt_safetensor){.name = name, .type = VT_SAFETENSORS_I64, .data = batches};
    }
    return VT_OK;
}

void vt_weights_release(vt_weights *list)
{
    vt_free(list->tensor);
    vt_free(list->names);
    *list = (vt_weights){0};
}

/* Reading. */

static bool same_shape(const vt_param *param, const vt_safetensor *tensor)
{
    bool same = tensor->rank == param->shape.rank;
    for (int i = 0; same && i < tensor->rank; i++)
        same = tensor->shape[i] == param->shape.dim[i];
    return same;
}

static vt_status mismatch(const vt_param *param, const vt_safetensor *tensor, const char *path,
                          vt_error *err)
{
    char want[VT_SHAPE_TEXT], got[VT_SHAPE_TEXT] = "of rank above 4";
    if (tensor->rank <= VT_MAX_RANK)
        vt_shape_text(vt_shape_of(tensor->rank, tensor->shape), got);
    return vt_fail(err, VT_ERR_DATA, "%s: tensor %s is %s %s; the model needs F32 %s", path,
                   param->name, vt_safetensors_type_name(tensor->type), got,
                   vt_shape_text(param->shape, want));
}

vt_status vt_weights_restore(const vt_params *params, const vt_safetensors *file, const char *path,
                             float *floats, vt_error *err)
{
    for (int i = 0; i < params->n; i++) {
        const vt_param *param = params->item[i];
        if (param->role == VT_ROLE_FIXED)
            continue;
        const vt_safetensor *tensor = vt_safetensors_find(file, param->name);
        if (!tensor)
            return vt_fail(err, VT_ERR_DATA, "%s has no tensor %s", path, param->name);
        if (!same_shape(param, tensor) || tensor->type != VT_SAFETENSORS_F32)
            return mismatch(param, tensor, path, err);
        memcpy(floats + param->offset, tensor->data, (size_t)param->shape.size * sizeof *floats);
    }
    return VT_OK;
}

/* Files of other makers. */

/* The value of an IEEE half: exact. */
static float half_to_float(uint16_t half)
{
    int exponent = half >> 10 & 31, fraction = half & 1023;
    double value = exponent == 31  ? (fraction ? (double)NAN : HUGE_VAL)
                   : exponent == 0 ? ldexp(fraction, -24)
                                   : ldexp(1024 + fraction, exponent - 25);
    return (float)(half & 0x8000 ? -value : value);
}

static float bfloat_to_float(uint16_t upper)
{
    uint32_t bits = (uint32_t)upper << 16;
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* The tensor's numbers as fp32; false if it is of no floating-point type. The data may lie at any
 * address: whoever wrote the file decides. */
static bool read_floats(const vt_safetensor *tensor, float *to)
{
    const char *from = tensor->data;
    int64_t n = tensor->size_bytes / vt_safetensors_type_size(tensor->type);
    uint16_t bits;
    double wide;
    switch (tensor->type) {
    case VT_SAFETENSORS_F32:
        memcpy(to, from, (size_t)tensor->size_bytes);
        return true;
    case VT_SAFETENSORS_F16:
    case VT_SAFETENSORS_BF16:
        for (int64_t i = 0; i < n; i++) {
            memcpy(&bits, from + i * 2, sizeof bits);
            to[i] =
                tensor->type == VT_SAFETENSORS_F16 ? half_to_float(bits) : bfloat_to_float(bits);
        }
        return true;
    case VT_SAFETENSORS_F64:
        for (int64_t i = 0; i < n; i++) {
            memcpy(&wide, from + i * 8, sizeof wide);
            to[i] = (float)wide;
        }
        return true;
    default:
        return false;
    }
}

/* Side of the largest square of at most n rows. */
static int64_t side_of(int64_t n)
{
    int64_t side = (int64_t)sqrt((double)n);
    return side * side > n ? side - 1 : side;
}

/* A table of rows, the last `side`^2 of them a square grid. */
struct table {
    int64_t rows, side, prefix, width;
};

static struct table table_of(int rank, const int64_t *dim)
{
    struct table t = {.rows = dim[rank - 2], .width = dim[rank - 1]};
    t.side = side_of(t.rows);
    t.prefix = t.rows - t.side * t.side;
    return t;
}

/* Can the file's table be brought to the model's size? Positions have the class token's row in
 * front of the grid, or none; biases nothing else. */
static bool can_resize(const vt_param *param, const vt_safetensor *tensor, struct table *from,
                       struct table *to)
{
    bool positions = param->role == VT_ROLE_POS_EMBED, biases = param->role == VT_ROLE_REL_BIAS;
    if (!(positions || biases) || tensor->rank != param->shape.rank || tensor->rank < 2 ||
        tensor->size_bytes == 0)
        return false;
    *from = table_of(tensor->rank, tensor->shape);
    *to = table_of(param->shape.rank, param->shape.dim);
    for (int i = 0; i + 2 < tensor->rank; i++)
        if (tensor->shape[i] != param->shape.dim[i])
            return false;
    if (biases && (from->side % 2 == 0 || to->side % 2 == 0))
        return false;
    return from->width == to->width && from->prefix == to->prefix &&
           from->prefix <= (positions ? 1 : 0);
}

static void resize(const vt_param *param, const struct table *from, const struct table *to,
                   const float *table, float *floats)
{
    size_t prefix = (size_t)(from->prefix * from->width);
    memcpy(floats, table, prefix * sizeof *floats);
    (param->role == VT_ROLE_POS_EMBED ? vt_resample_positions : vt_resample_biases)(
        table + prefix, from->side, floats + prefix, to->side, from->width);
}

static vt_status take_resized(const vt_param *param, const vt_safetensor *tensor, const char *path,
                              float *floats, vt_weights_report *report, vt_error *err)
{
    struct table from, to;
    if (!can_resize(param, tensor, &from, &to))
        return mismatch(param, tensor, path, err);
    float *table = vt_calloc((size_t)(tensor->size_bytes / vt_safetensors_type_size(tensor->type)),
                             sizeof *table);
    if (!table)
        return vt_fail(err, VT_ERR_NOMEM, "no memory to resize %s", param->name);
    if (!read_floats(tensor, table)) {
        vt_free(table);
        return mismatch(param, tensor, path, err);
    }
    resize(param, &from, &to, table, floats);
    vt_free(table);
    report->resized++;
    vt_log_write(VT_LOG_INFO, "%s: %s is resized from %lld x %lld to %lld x %lld", path,
                 param->name, (long long)from.side, (long long)from.side, (long long)to.side,
                 (long long)to.side);
    return VT_OK;
}

static vt_status take(const vt_param *param, const vt_safetensors *file, const char *path,
                      float *floats, vt_weights_report *report, vt_error *err)
{
    const vt_safetensor *tensor = vt_safetensors_find(file, param->name);
    if (param->role == VT_ROLE_FIXED)
        return VT_OK;
    if (!tensor) {
        report->missing++;
        vt_log_write(VT_LOG_WARNING, "%s: no tensor %s: it keeps its own start", path, param->name);
        return VT_OK;
    }
    if (param->head && !same_shape(param, tensor)) {
        char want[VT_SHAPE_TEXT];
        report->kept++;
        vt_log_write(VT_LOG_WARNING,
                     "%s: %s of the head has another size, the model's is %s: it keeps its own "
                     "start",
                     path, param->name, vt_shape_text(param->shape, want));
        return VT_OK;
    }
    if (!same_shape(param, tensor)) {
        vt_status status = take_resized(param, tensor, path, floats, report, err);
        if (status != VT_OK)
            return status;
    } else if (!read_floats(tensor, floats)) {
        return mismatch(param, tensor, path, err);
    }
    report->taken++;
    report->converted += tensor->type != VT_SAFETENSORS_F32;
    return VT_OK;
}

/* Is this the count of a batch norm that the model has? */
static bool is_counter(const vt_params *params, const char *name)
{
    char buffer[NAME_SIZE];
    size_t stem = stem_of(name, COUNTER);
    if (stem == 0 || stem >= VT_NODE_NAME)
        return false;
    snprintf(buffer, sizeof buffer, "%.*srunning_mean", (int)stem, name);
    return vt_params_find(params, buffer) != NULL;
}

static void name_unused(const vt_params *params, const vt_safetensors *file, const char *path,
                        vt_weights_report *report)
{
    for (int i = 0; i < vt_safetensors_count(file); i++) {
        const char *name = vt_safetensors_at(file, i)->name;
        const vt_param *param = vt_params_find(params, name);
        if ((param && param->role != VT_ROLE_FIXED) || is_counter(params, name))
            continue;
        report->unused++;
        vt_log_write(VT_LOG_WARNING, "%s: tensor %s is not used%s", path, name,
                     param ? ": the model's table is fixed" : "");
    }
}

static void summarise(const char *path, const vt_weights_report *r)
{
    vt_log_write(VT_LOG_INFO,
                 "%s: %d tensors taken over (%d resized, %d converted to F32), %d of the head "
                 "kept, %d missing, %d not used",
                 path, r->taken, r->resized, r->converted, r->kept, r->missing, r->unused);
}

vt_status vt_weights_start(const vt_params *params, const char *path, float *floats,
                           vt_weights_report *report, vt_error *err)
{
    uint8_t digest[VT_SHA256_SIZE];
    vt_safetensors *file = NULL;
    int fd = -1;
    const char *name = NULL;
    *report = (vt_weights_report){0};
    vt_status status = vt_fs_open_parent(path, &fd, &name, err);
    if (status == VT_OK)
        status = vt_safetensors_open(&file, fd, name, digest, err);
    vt_fs_close(&fd);
    if (status != VT_OK)
        return status;
    for (int i = 0; i < params->n && status == VT_OK; i++)
        status = take(params->item[i], file, path, floats + params->item[i]->offset, report, err);
    if (status == VT_OK)
        name_unused(params, file, path, report);
    if (status == VT_OK && report->taken == 0)
        status = vt_fail(err, VT_ERR_DATA, "%s: none of its %d tensors belongs to the model", path,
                         vt_safetensors_count(file));
    if (status == VT_OK)
        summarise(path, report);
    vt_sha256_hex(digest, report->sha256);
    vt_safetensors_close(file);
    return status;
}
