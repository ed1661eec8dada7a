#include "results/json.h"

#include "base/fs.h"
#include "base/mem.h"
#include "base/text.h"

#include <math.h>

json_t *vt_json_real(double value)
{
    if (isnan(value))
        return json_string("nan");
    if (isinf(value))
        return json_string(value > 0 ? "inf" : "-inf");
    return json_real(value);
}

json_t *vt_json_text(const char *text, const char *fallback)
{
    json_t *value = text ? json_string(text) : NULL;
    if (value)
        return value;
    return fallback ? json_string(fallback) : json_null();
}

static int append(const char *bytes, size_t size, void *text)
{
    vt_text_append(text, bytes, size);
    return ((vt_text *)text)->failed ? -1 : 0;
}

vt_status vt_json_print(vt_text *text, json_t *root, vt_error *err)
{
    size_t flags = JSON_SORT_KEYS | JSON_INDENT(2) | JSON_REAL_PRECISION(17);
    bool good = root && json_dump_callback(root, append, text, flags) == 0;
    json_decref(root);
    vt_text_printf(text, "\n");
    return good && !text->failed ? VT_OK : vt_fail(err, VT_ERR_NOMEM, "no memory for JSON text");
}

vt_status vt_json_publish(int dir_fd, const char *name, json_t *root, vt_error *err)
{
    vt_text text = {0};
    vt_status status = vt_json_print(&text, root, err);
    if (status == VT_OK)
        status = vt_fs_publish(dir_fd, name, text.data, text.size, err);
    vt_text_release(&text);
    return status;
}

vt_status vt_json_read(int dir_fd, const char *name, size_t cap, json_t **root, vt_error *err)
{
    char path[PATH_MAX];
    json_error_t error;
    char *bytes = NULL;
    size_t size = 0;
    *root = NULL;
    vt_status status = vt_fs_read_file(dir_fd, name, cap, &bytes, &size, err);
    if (status != VT_OK)
        return status;
    *root = json_loadb(bytes, size, JSON_REJECT_DUPLICATES, &error);
    if (!*root) {
        vt_fs_path(dir_fd, name, path);
        status =
            vt_fail(err, VT_ERR_DATA, "%s:%d:%d: %s", path, error.line, error.column, error.text);
    }
    vt_free(bytes);
    return status;
}
