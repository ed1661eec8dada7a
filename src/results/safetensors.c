#include "results/safetensors.h"

#include "base/mem.h"
#include "base/text.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

enum { HEADER_CAP = 16 << 20, LENGTH_SIZE = 8 };

struct vt_safetensors {
    json_t *header; /* owns names and metadata */
    vt_safetensor *tensors;
    int n_tensors;
    void *block; /* NULL when the bytes are the caller's */
    size_t block_size;
};

const char *vt_safetensors_type_name(vt_safetensors_type type)
{
    static const char *const names[] = {
#define X(name, size) #name,
        VT_SAFETENSORS_LIST(X)
#undef X
    };
    VT_ASSERT((unsigned)type < VT_SAFETENSORS_COUNT);
    return names[type];
}

int vt_safetensors_type_size(vt_safetensors_type type)
{
    static const int sizes[] = {
#define X(name, size) size,
        VT_SAFETENSORS_LIST(X)
#undef X
    };
    VT_ASSERT((unsigned)type < VT_SAFETENSORS_COUNT);
    return sizes[type];
}

/* Bytes of a tensor; -1 if the shape is impossible. */
static int64_t tensor_bytes(const vt_safetensor *tensor)
{
    int64_t bytes = vt_safetensors_type_size(tensor->type);
    for (int i = 0; i < tensor->rank; i++) {
        if (tensor->shape[i] < 0 || __builtin_mul_overflow(bytes, tensor->shape[i], &bytes))
            return -1;
    }
    return bytes;
}

/* Printable ASCII that needs no escape in JSON. */
static bool name_ok(const char *name)
{
    size_t size = strnlen(name, VT_SAFETENSORS_MAX_NAME + 1);
    for (size_t i = 0; i < size; i++) {
        if (name[i] < ' ' || name[i] > '~' || name[i] == '"' || name[i] == '\\')
            return false;
    }
    return size >= 1 && size <= VT_SAFETENSORS_MAX_NAME;
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Names must be good and differ; sorts them. */
static vt_status check_names(const char **names, int n, const char *what, vt_error *err)
{
    for (int i = 0; i < n; i++) {
        if (!name_ok(names[i]) || strcmp(names[i], "__metadata__") == 0)
            return vt_fail(err, VT_ERR_DATA,
                           "%s number %d: the name must be 1 to %d printable ASCII characters "
                           "without '\"' and '\\', and not __metadata__",
                           what, i, VT_SAFETENSORS_MAX_NAME);
    }
    qsort(names, (size_t)n, sizeof *names, compare_names);
    for (int i = 1; i < n; i++) {
        if (strcmp(names[i - 1], names[i]) == 0)
            return vt_fail(err, VT_ERR_DATA, "%s '%s' is given twice", what, names[i]);
    }
    return VT_OK;
}

static vt_status check_content(const vt_safetensors_content *content, vt_error *err)
{
    int n = content->n_tensors > content->n_meta ? content->n_tensors : content->n_meta;
    vt_status status = VT_OK;
    const char **names = vt_calloc((size_t)n, sizeof *names);
    if (!names)
        return vt_fail(err, VT_ERR_NOMEM, "no memory for %d tensor names", n);
    for (int i = 0; i < content->n_tensors; i++)
        names[i] = content->tensors[i].name;
    status = check_names(names, content->n_tensors, "tensor", err);
    for (int i = 0; i < content->n_meta; i++)
        names[i] = content->meta[i].key;
    if (status == VT_OK)
        status = check_names(names, content->n_meta, "metadata key", err);
    for (int i = 0; status == VT_OK && i < content->n_meta; i++) {
        json_t *text = json_string(content->meta[i].value); /* refuses what is not UTF-8 */
        if (!text)
            status = vt_fail(err, VT_ERR_DATA, "metadata '%s': the value is not UTF-8 text",
                             content->meta[i].key);
        json_decref(text);
    }
    vt_free(names);
    return status;
}

static void print_string(vt_text *text, const char *string)
{
    vt_text_append(text, "\"", 1);
    for (const char *c = string; *c; c++) {
        if (*c == '"' || *c == '\\')
            vt_text_printf(text, "\\%c", *c);
        else if ((unsigned char)*c < ' ')
            vt_text_printf(text, "\\u%04x", *c);
        else
            vt_text_append(text, c, 1);
    }
    vt_text_append(text, "\"", 1);
}

/* The header with its length in front; *data_size is what follows it. */
static vt_status print_header(vt_text *text, const vt_safetensors_content *content,
                              int64_t *data_size, vt_error *err)
{
    vt_status status = check_content(content, err);
    if (status != VT_OK)
        return status;
    vt_text_append(text, "\0\0\0\0\0\0\0\0{", LENGTH_SIZE + 1);
    for (int i = 0; i < content->n_meta; i++) {
        vt_text_printf(text, "%s", i ? "," : "\"__metadata__\":{");
        print_string(text, content->meta[i].key);
        vt_text_append(text, ":", 1);
        print_string(text, content->meta[i].value);
    }
    if (content->n_meta)
        vt_text_printf(text, "}%s", content->n_tensors ? "," : "");
    *data_size = 0;
    for (int i = 0; i < content->n_tensors; i++) {
        const vt_safetensor *tensor = &content->tensors[i];
        int64_t begin = *data_size, bytes = tensor_bytes(tensor);
        VT_ASSERT(tensor->rank >= 0 && tensor->rank <= VT_SAFETENSORS_MAX_RANK);
        if (bytes < 0 || __builtin_add_overflow(begin, bytes, data_size))
            return vt_fail(err, VT_ERR_DATA, "tensor '%s': impossible shape", tensor->name);
        vt_text_printf(text, "%s\"%s\":{\"dtype\":\"%s\",\"shape\":[", i ? "," : "", tensor->name,
                       vt_safetensors_type_name(tensor->type));
        for (int d = 0; d < tensor->rank; d++)
            vt_text_printf(text, "%s%lld", d ? "," : "", (long long)tensor->shape[d]);
        vt_text_printf(text, "],\"data_offsets\":[%lld,%lld]}", (long long)begin,
                       (long long)*data_size);
    }
    vt_text_append(text, "}", 1);
    while (text->size % 8 != 0 && !text->failed)
        vt_text_append(text, " ", 1);
    if (text->failed)
        return vt_fail(err, VT_ERR_NOMEM, "no memory for a header of %d tensors",
                       content->n_tensors);
    uint64_t length = text->size - LENGTH_SIZE;
    if (length > HEADER_CAP)
        return vt_fail(err, VT_ERR_DATA, "header of %zu bytes; at most %d are allowed", text->size,
                       HEADER_CAP);
    for (int i = 0; i < LENGTH_SIZE; i++)
        text->data[i] = (char)(length >> 8 * i);
    return VT_OK;
}

vt_status vt_safetensors_size(const vt_safetensors_content *content, int64_t *size, vt_error *err)
{
    vt_text header = {0};
    int64_t data_size = 0;
    vt_status status = print_header(&header, content, &data_size, err);
    if (status == VT_OK && __builtin_add_overflow((int64_t)header.size, data_size, size))
        status = vt_fail(err, VT_ERR_DATA, "the tensors are larger than any file can be");
    vt_text_release(&header);
    return status;
}

vt_status vt_safetensors_put(vt_fs_writer *writer, const vt_safetensors_content *content,
                             vt_error *err)
{
    vt_text header = {0};
    int64_t data_size = 0;
    vt_status status = print_header(&header, content, &data_size, err);
    if (status == VT_OK)
        status = vt_fs_write(writer, header.data, header.size, err);
    for (int i = 0; status == VT_OK && i < content->n_tensors; i++) {
        const vt_safetensor *tensor = &content->tensors[i];
        status = vt_fs_write(writer, tensor->data, (size_t)tensor_bytes(tensor), err);
    }
    vt_text_release(&header);
    return status;
}

vt_status vt_safetensors_write(int dir_fd, const char *name, const vt_safetensors_content *content,
                               uint8_t sha256[VT_SHA256_SIZE], vt_error *err)
{
    vt_fs_writer writer = {0};
    int64_t size = 0;
    vt_status status = vt_safetensors_size(content, &size, err);
    if (status == VT_OK)
        status = vt_fs_begin(&writer, dir_fd, name, size, err);
    if (status == VT_OK)
        status = vt_safetensors_put(&writer, content, err);
    if (status == VT_OK)
        status = vt_fs_commit(&writer, sha256, err);
    vt_fs_abort(&writer);
    return status;
}

static vt_status refuse(vt_error *err, const char *file, const char *tensor, const char *reason)
{
    return vt_fail(err, VT_ERR_DATA, "%s: damaged or hostile safetensors header: '%s': %s", file,
                   tensor, reason);
}

static vt_status read_tensor(vt_safetensor *tensor, const char *file, const char *name,
                             json_t *entry, int64_t offsets[2], vt_error *err)
{
    json_t *type = json_object_get(entry, "dtype"), *shape = json_object_get(entry, "shape");
    json_t *range = json_object_get(entry, "data_offsets");
    if (!name_ok(name))
        return refuse(err, file, "tensor", "its name is empty, too long or not printable");
    if (!json_is_string(type) || !json_is_array(shape) || !json_is_array(range) ||
        json_object_size(entry) != 3)
        return refuse(err, file, name, "expected dtype, shape, data_offsets and nothing else");
    int t = 0;
    while (t < VT_SAFETENSORS_COUNT &&
           strcmp(json_string_value(type), vt_safetensors_type_name((vt_safetensors_type)t)) != 0)
        t++;
    if (t == VT_SAFETENSORS_COUNT)
        return refuse(err, file, name, "unknown dtype");
    if (json_array_size(shape) > VT_SAFETENSORS_MAX_RANK)
        return refuse(err, file, name, "too many dimensions");
    *tensor = (vt_safetensor){.name = name, .type = (vt_safetensors_type)t};
    tensor->rank = (int)json_array_size(shape);
    for (int i = 0; i < tensor->rank; i++) {
        json_t *size = json_array_get(shape, (size_t)i);
        if (!json_is_integer(size) || json_integer_value(size) < 0)
            return refuse(err, file, name, "a dimension is not a whole number >= 0");
        tensor->shape[i] = json_integer_value(size);
    }
    tensor->size_bytes = tensor_bytes(tensor);
    for (size_t i = 0; i < 2; i++) {
        json_t *offset = json_array_get(range, i);
        if (!json_is_integer(offset) || json_integer_value(offset) < 0)
            return refuse(err, file, name, "data_offsets are not two whole numbers >= 0");
        offsets[i] = json_integer_value(offset);
    }
    if (json_array_size(range) != 2 || offsets[1] < offsets[0] || tensor->size_bytes < 0 ||
        offsets[1] - offsets[0] != tensor->size_bytes)
        return refuse(err, file, name, "shape and data_offsets do not agree");
    return VT_OK;
}

static vt_status check_meta(const char *file, json_t *meta, vt_error *err)
{
    const char *key;
    json_t *value;
    if (!json_is_object(meta))
        return refuse(err, file, "__metadata__", "expected an object");
    json_object_foreach(meta, key, value)
    {
        if (!json_is_string(value))
            return refuse(err, file, key, "metadata must be text");
    }
    return VT_OK;
}

/* Where a tensor's bytes begin and how long they are, for sorting. */
struct extent {
    int64_t begin, end;
    int tensor;
};

static int compare_extents(const void *a, const void *b)
{
    const struct extent *x = a, *y = b;
    if (x->begin != y->begin)
        return x->begin < y->begin ? -1 : 1;
    if (x->end != y->end)
        return x->end < y->end ? -1 : 1;
    return x->tensor - y->tensor;
}

/* Reads the table and checks that its tensors fill data_size bytes exactly. Tensors come out in the
 * order of their data, `data` still holding the offset. */
static vt_status read_table(vt_safetensors *file, const char *name, int64_t data_size,
                            vt_error *err)
{
    vt_status status = VT_OK;
    const char *key;
    json_t *entry;
    size_t n = json_object_size(file->header);
    vt_safetensor *unsorted = vt_calloc(n, sizeof *unsorted);
    struct extent *extents = vt_calloc(n, sizeof *extents);
    file->tensors = vt_calloc(n, sizeof *file->tensors);
    if (!unsorted || !extents || !file->tensors) {
        status = vt_fail(err, VT_ERR_NOMEM, "%s: no memory for %zu tensors", name, n);
        goto done;
    }
    json_object_foreach(file->header, key, entry)
    {
        int64_t offsets[2];
        int i = file->n_tensors;
        if (strcmp(key, "__metadata__") == 0) {
            status = check_meta(name, entry, err);
        } else {
            status = read_tensor(&unsorted[i], name, key, entry, offsets, err);
            if (status == VT_OK)
                extents[file->n_tensors++] = (struct extent){offsets[0], offsets[1], i};
        }
        if (status != VT_OK)
            goto done;
    }
    qsort(extents, (size_t)file->n_tensors, sizeof *extents, compare_extents);
    int64_t end = 0;
    for (int i = 0; i < file->n_tensors; i++) {
        file->tensors[i] = unsorted[extents[i].tensor];
        if (extents[i].begin != end) {
            status = refuse(err, name, file->tensors[i].name,
                            extents[i].begin < end ? "overlaps the tensor before it"
                                                   : "leaves a hole before it");
            goto done;
        }
        end = extents[i].end;
    }
    if (end != data_size)
        status = vt_fail(err, VT_ERR_DATA, "%s: %lld bytes of data; the header describes %lld",
                         name, (long long)data_size, (long long)end);
done:
    vt_free(unsorted);
    vt_free(extents);
    return status;
}

/* `start` holds the length and the whole header. */
static vt_status read_header(vt_safetensors *file, const char *name, const char *start,
                             uint64_t length, int64_t data_size, vt_error *err)
{
    json_error_t error;
    if (length == 0 || start[LENGTH_SIZE] != '{')
        return vt_fail(err, VT_ERR_DATA, "%s: offset %d: the header does not begin with '{'", name,
                       LENGTH_SIZE);
    file->header = json_loadb(start + LENGTH_SIZE, length, JSON_REJECT_DUPLICATES, &error);
    if (!file->header)
        return vt_fail(err, VT_ERR_DATA, "%s: offset %d: bad JSON in the header: %s", name,
                       LENGTH_SIZE + error.position, error.text);
    if (!json_is_object(file->header))
        return refuse(err, name, "header", "expected an object");
    return read_table(file, name, data_size, err);
}

/* The header's length, checked against the size of the file. */
static vt_status read_length(const char *name, const uint8_t *bytes, uint64_t size,
                             uint64_t *length, vt_error *err)
{
    *length = 0;
    if (size < LENGTH_SIZE)
        return vt_fail(err, VT_ERR_DATA, "%s: %llu bytes: too short for a safetensors file", name,
                       (unsigned long long)size);
    for (int i = 0; i < LENGTH_SIZE; i++)
        *length |= (uint64_t)bytes[i] << 8 * i;
    if (*length > HEADER_CAP || *length > size - LENGTH_SIZE)
        return vt_fail(err, VT_ERR_DATA,
                       "%s: offset 0: a header of %llu bytes in a file of %llu (at most %d)", name,
                       (unsigned long long)*length, (unsigned long long)size, HEADER_CAP);
    return VT_OK;
}

/* Turns offsets into addresses. */
static void place_tensors(vt_safetensors *file, const char *data)
{
    for (int i = 0; i < file->n_tensors; i++) {
        file->tensors[i].data = data;
        data += file->tensors[i].size_bytes;
    }
}

vt_status vt_safetensors_parse(vt_safetensors **out, const char *name, const void *bytes,
                               size_t size, vt_error *err)
{
    uint64_t length = 0;
    *out = NULL;
    vt_status status = read_length(name, bytes, size, &length, err);
    if (status != VT_OK)
        return status;
    vt_safetensors *file = vt_calloc(1, sizeof *file);
    if (!file)
        return vt_fail(err, VT_ERR_NOMEM, "%s: no memory", name);
    int64_t data_size = (int64_t)(size - LENGTH_SIZE - length);
    status = read_header(file, name, bytes, length, data_size, err);
    if (status != VT_OK) {
        vt_safetensors_close(file);
        return status;
    }
    place_tensors(file, (const char *)bytes + LENGTH_SIZE + length);
    *out = file;
    return VT_OK;
}

vt_status vt_safetensors_open(vt_safetensors **out, int dir_fd, const char *name,
                              uint8_t sha256[VT_SHA256_SIZE], vt_error *err)
{
    char path[PATH_MAX];
    uint8_t first[LENGTH_SIZE] = {0};
    vt_safetensors *file = NULL;
    char *header = NULL;
    uint64_t length = 0;
    int64_t size = 0;
    size_t got = 0;
    int fd = -1;
    *out = NULL;
    vt_fs_path(dir_fd, name, path);
    vt_status status = vt_fs_open_read(dir_fd, name, &fd, &size, err);
    if (status != VT_OK)
        return status;
    status = vt_fs_read_at(fd, path, 0, first, sizeof first, &got, err);
    if (status == VT_OK)
        status = read_length(path, first, got < sizeof first ? got : (uint64_t)size, &length, err);
    if (status != VT_OK)
        goto done;
    file = vt_calloc(1, sizeof *file);
    header = vt_calloc(LENGTH_SIZE + length + 1, 1);
    if (!file || !header) {
        status = vt_fail(err, VT_ERR_NOMEM, "%s: no memory for a header of %llu bytes", path,
                         (unsigned long long)length);
        goto done;
    }
    /* The header is checked against the size before memory is taken for the data. */
    status = vt_fs_read_at(fd, path, 0, header, LENGTH_SIZE + length, &got, err);
    if (status == VT_OK && got != LENGTH_SIZE + length)
        status = vt_fail(err, VT_ERR_DATA, "%s: it shrank while it was read", path);
    if (status == VT_OK)
        status = read_header(file, path, header, length, size - LENGTH_SIZE - (int64_t)length, err);
    if (status != VT_OK)
        goto done;
    file->block_size = (size_t)size;
    file->block = vt_block_alloc(file->block_size);
    if (!file->block) {
        status = vt_fail(err, VT_ERR_NOMEM, "%s: no memory for %lld bytes", path, (long long)size);
        goto done;
    }
    status = vt_fs_read_at(fd, path, 0, file->block, file->block_size, &got, err);
    if (status == VT_OK &&
        (got != file->block_size || memcmp(file->block, header, LENGTH_SIZE + length) != 0))
        status = vt_fail(err, VT_ERR_DATA, "%s: it changed while it was read", path);
    if (status != VT_OK)
        goto done;
    if (sha256)
        vt_sha256_of(file->block, file->block_size, sha256);
    place_tensors(file, (const char *)file->block + LENGTH_SIZE + length);
    *out = file;
    file = NULL;
done:
    vt_fs_close(&fd);
    vt_free(header);
    vt_safetensors_close(file);
    return status;
}

void vt_safetensors_close(vt_safetensors *file)
{
    if (!file)
        return;
    json_decref(file->header);
    vt_free(file->tensors);
    vt_block_free(file->block, file->block_size);
    vt_free(file);
}

int vt_safetensors_count(const vt_safetensors *file)
{
    return file->n_tensors;
}

const vt_safetensor *vt_safetensors_at(const vt_safetensors *file, int index)
{
    VT_ASSERT(index >= 0 && index < file->n_tensors);
    return &file->tensors[index];
}

const vt_safetensor *vt_safetensors_find(const vt_safetensors *file, const char *name)
{
    for (int i = 0; i < file->n_tensors; i++) {
        if (strcmp(file->tensors[i].name, name) == 0)
            return &file->tensors[i];
    }
    return NULL;
}

const char *vt_safetensors_get_meta(const vt_safetensors *file, const char *key)
{
    return json_string_value(json_object_get(json_object_get(file->header, "__metadata__"), key));
}
