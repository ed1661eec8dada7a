#include "base/mem.h"
#include "h5/parts.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>

vt_status vt_h5_capture_open(vt_h5_capture *capture, const vt_h5_source *source,
                             const vt_capture *record, vt_error *err)
{
    uint8_t sha256[VT_SHA256_SIZE];
    char hex[VT_SHA256_HEX_SIZE];
    vt_error reason = {0};
    int captures_fd = -1;
    *capture = (vt_h5_capture){0};
    snprintf(capture->path, sizeof capture->path, "%s/captures/%s", source->path, record->file);
    vt_status status = vt_fs_open_dir(source->dir_fd, "captures", &captures_fd, &reason);
    if (status == VT_OK)
        status = vt_safetensors_open(&capture->tensors, captures_fd, record->file, sha256, &reason);
    vt_fs_close(&captures_fd);
    /* The journal says that it was there. */
    if (status != VT_OK)
        return vt_fail(err, status == VT_ERR_NOINPUT ? VT_ERR_DATA : status, "%s", reason.text);
    vt_sha256_hex(sha256, hex);
    if (strcmp(hex, record->sha256) != 0)
        return vt_fail(err, VT_ERR_DATA, "%s: its SHA-256 is %s, the journal says %s",
                       capture->path, hex, record->sha256);
    return VT_OK;
}

void vt_h5_capture_close(vt_h5_capture *capture)
{
    vt_safetensors_close(capture->tensors);
    *capture = (vt_h5_capture){0};
}

vt_status vt_h5_capture_find(const vt_h5_capture *capture, const char *name,
                             vt_safetensors_type type, int rank, int64_t n,
                             const vt_safetensor **tensor, vt_error *err)
{
    *tensor = vt_safetensors_find(capture->tensors, name);
    if (!*tensor)
        return vt_fail(err, VT_ERR_DATA, "%s: no tensor '%s' in it", capture->path, name);
    if ((*tensor)->type != type || (*tensor)->rank != rank)
        return vt_fail(err, VT_ERR_DATA, "%s: tensor '%s' is %s of rank %d, expected %s of rank %d",
                       capture->path, name, vt_safetensors_type_name((*tensor)->type),
                       (*tensor)->rank, vt_safetensors_type_name(type), rank);
    if (n >= 0 && (*tensor)->shape[0] != n)
        return vt_fail(err, VT_ERR_DATA, "%s: tensor '%s' is for %lld images, expected %lld",
                       capture->path, name, (long long)(*tensor)->shape[0], (long long)n);
    return VT_OK;
}

vt_status vt_h5_capture_classes(const vt_h5_capture *capture, const char *name, int64_t n,
                                int64_t classes, uint16_t **values, vt_error *err)
{
    const vt_safetensor *tensor;
    vt_status status = vt_h5_capture_find(capture, name, VT_SAFETENSORS_I64, 1, n, &tensor, err);
    if (status != VT_OK)
        return status;
    *values = vt_calloc((size_t)n + 1, sizeof **values);
    if (!*values)
        return vt_fail(err, VT_ERR_NOMEM, "%s: no memory for %lld labels", capture->path,
                       (long long)n);
    for (int64_t i = 0; i < n; i++) {
        int64_t value;
        memcpy(&value, (const char *)tensor->data + (size_t)i * sizeof value, sizeof value);
        if (value < 0 || value >= classes)
            return vt_fail(err, VT_ERR_DATA, "%s: %s[%lld] is %lld, and there are %lld classes",
                           capture->path, name, (long long)i, (long long)value, (long long)classes);
        (*values)[i] = (uint16_t)value;
    }
    return VT_OK;
}
