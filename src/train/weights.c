#include "train/weights.h"

#include "base/fs.h"
#include "base/log.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>

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

int vt_weights_list(const vt_params *params, const float *floats, bool trained_only,
                    vt_safetensor *tensors)
{
    int n = 0;
    for (int i = 0; i < params->n; i++)
        if (trained_only ? params->item[i]->trained : params->item[i]->role != VT_ROLE_FIXED)
            tensors[n++] = describe(params->item[i], floats);
    return n;
}

static bool same_shape(const vt_param *param, const vt_safetensor *tensor)
{
    bool same = tensor->rank == param->shape.rank && tensor->type == VT_SAFETENSORS_F32;
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

vt_status vt_weights_restore(const vt_params *params, const vt_safetensors *file, float *floats,
                             vt_error *err)
{
    for (int i = 0; i < params->n; i++) {
        const vt_param *param = params->item[i];
        if (param->role == VT_ROLE_FIXED)
            continue;
        const vt_safetensor *tensor = vt_safetensors_find(file, param->name);
        if (!tensor)
            return vt_fail(err, VT_ERR_DATA, "the checkpoint has no tensor %s", param->name);
        if (!same_shape(param, tensor))
            return mismatch(param, tensor, "the checkpoint", err);
        memcpy(floats + param->offset, tensor->data, (size_t)param->shape.size * sizeof *floats);
    }
    return VT_OK;
}

static bool is_head(const vt_param *param)
{
    return strncmp(param->name, "head.", 5) == 0;
}

vt_status vt_weights_start(const vt_params *params, const char *path, float *floats,
                           char sha256[VT_SHA256_HEX_SIZE], vt_error *err)
{
    char folder[PATH_MAX];
    uint8_t digest[VT_SHA256_SIZE];
    vt_safetensors *file = NULL;
    int matched = 0, fd = -1;
    const char *slash = strrchr(path, '/');
    snprintf(folder, sizeof folder, "%.*s", slash ? (int)(slash - path) + 1 : 1,
             slash ? path : ".");
    vt_status status = vt_fs_open_dir(AT_FDCWD, folder, &fd, err);
    if (status == VT_OK)
        status = vt_safetensors_open(&file, fd, slash ? slash + 1 : path, digest, err);
    vt_fs_close(&fd);
    if (status != VT_OK)
        return status;
    for (int i = 0; i < params->n && status == VT_OK; i++) {
        const vt_param *param = params->item[i];
        if (param->role == VT_ROLE_FIXED)
            continue;
        const vt_safetensor *tensor = vt_safetensors_find(file, param->name);
        if (!tensor) {
            vt_log_write(VT_LOG_WARNING, "%s: no tensor %s: it keeps its own start", path,
                         param->name);
        } else if (same_shape(param, tensor)) {
            memcpy(floats + param->offset, tensor->data,
                   (size_t)param->shape.size * sizeof *floats);
            matched++;
        } else if (is_head(param)) {
            vt_log_write(VT_LOG_WARNING, "%s: %s has another size: it keeps its own start", path,
                         param->name);
        } else {
            status = mismatch(param, tensor, path, err);
        }
    }
    int n = vt_safetensors_count(file);
    for (int i = 0; i < n && status == VT_OK; i++)
        if (!vt_params_find(params, vt_safetensors_at(file, i)->name))
            vt_log_write(VT_LOG_WARNING, "%s: tensor %s is not used", path,
                         vt_safetensors_at(file, i)->name);
    if (status == VT_OK && matched == 0)
        status =
            vt_fail(err, VT_ERR_DATA, "%s: none of its %d tensors belongs to the model", path, n);
    if (status == VT_OK)
        vt_log_write(VT_LOG_INFO, "%s: %d of its %d tensors taken over", path, matched, n);
    vt_sha256_hex(digest, sha256);
    vt_safetensors_close(file);
    return status;
}
