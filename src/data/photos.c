/* The bytes of a folder's files: read, checked, decoded and kept. */
#include "base/fs.h"
#include "base/mem.h"
#include "base/text.h"
#include "data/folder.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

enum { FILE_BYTES_MAX = VT_IMAGE_BYTES_MAX };

/* Opens a picture file; links are followed, for data is often shared that way. */
static vt_status open_photo(const vt_data *data, const char *name, int *fd, int64_t *size,
                            vt_error *err)
{
    struct stat info;
    *fd = openat(data->folder_fd, name, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (*fd < 0)
        return vt_fail(err, errno == EIO ? VT_ERR_IO : VT_ERR_NOINPUT, "%s: cannot be opened: %s",
                       name, strerror(errno));
    if (fstat(*fd, &info) != 0)
        return vt_fail(err, VT_ERR_IO, "%s: %s", name, strerror(errno));
    if (!S_ISREG(info.st_mode))
        return vt_fail(err, VT_ERR_DATA, "%s: not a file", name);
    if (info.st_size > FILE_BYTES_MAX)
        return vt_fail(err, VT_ERR_DATA, "%s: %" PRId64 " bytes; allowed: at most %d", name,
                       (int64_t)info.st_size, FILE_BYTES_MAX);
    *size = info.st_size;
    return VT_OK;
}

/* Reads a file into the easel. */
static vt_status read_photo(const vt_data *data, const char *name, vt_easel *easel, int64_t *size,
                            uint8_t sha256[VT_SHA256_SIZE], vt_error *err)
{
    size_t got = 0;
    int fd;
    vt_status status = open_photo(data, name, &fd, size, err);
    if (status != VT_OK)
        goto out;
    if (!vt_room_for(&easel->file, &easel->file_capacity, (size_t)*size, 1)) {
        status = vt_fail(err, VT_ERR_NOMEM, "%s: no memory for its %" PRId64 " bytes", name, *size);
        goto out;
    }
    status = vt_fs_read_at(fd, name, 0, easel->file, (size_t)*size, &got, err);
    if (status == VT_OK && got != (size_t)*size)
        status = vt_fail(err, VT_ERR_DATA, "%s: was cut short while it was read", name);
    if (status == VT_OK)
        vt_sha256_of(easel->file, got, sha256);
out:
    vt_fs_close(&fd);
    return status;
}

vt_status vt_folder_decode(const vt_data *data, uint32_t image, vt_easel *easel, vt_error *err)
{
    const vt_photo *photo = &data->photos[image];
    uint8_t sha256[VT_SHA256_SIZE];
    int64_t size;
    vt_error why = {0};
    vt_status status = read_photo(data, photo->name, easel, &size, sha256, &why);
    if (status == VT_OK && memcmp(sha256, photo->sha256, sizeof sha256) != 0)
        status =
            vt_fail(&why, VT_ERR_DATA, "%s: has changed since the training began", photo->name);
    if (status == VT_OK)
        status = vt_image_decode(&easel->image, easel->file, (size_t)size, photo->name, &why);
    return status == VT_OK ? VT_OK : vt_fail(err, status, "%s/%s", data->folder, why.text);
}

struct reading {
    vt_data *data;
    const vt_transform_list **list; /* (n_images) of its part; NULL: in no part */
    int64_t keep_bytes;
    _Atomic int64_t kept_bytes;
    _Atomic bool no_memory;
};

/* Which pictures find room may depend on threads; what a batch holds does not. */
static vt_status keep(struct reading *r, vt_photo *photo, const vt_transform_list *list,
                      vt_easel *easel, vt_error *err)
{
    vt_picture picture = {easel->image.pixels, {easel->image.height, easel->image.width}};
    vt_view view;
    int fixed = vt_transforms_fixed(list);
    vt_status status =
        vt_picture_transform(easel, list, 0, fixed, (vt_draw){0}, &picture, &view, err);
    if (status != VT_OK)
        return status;
    int64_t bytes = view.y.size * view.x.size * VT_DATA_MAX_CHANNELS;
    if (atomic_fetch_add(&r->kept_bytes, bytes) + bytes > r->keep_bytes) {
        atomic_fetch_sub(&r->kept_bytes, bytes);
        return VT_OK;
    }
    uint8_t *pixels = vt_calloc((size_t)bytes, 1);
    if (!pixels)
        return vt_fail(err, VT_ERR_NOMEM, "%s: no memory for its picture", photo->name);
    vt_picture_copy(&picture, &view, pixels);
    photo->kept = (vt_picture){pixels, {view.y.size, view.x.size}};
    photo->kept_for = list;
    return VT_OK;
}

static void read_one(struct reading *r, int64_t image, vt_easel *easel)
{
    vt_photo *photo = &r->data->photos[image];
    vt_error why = {0};
    vt_status status =
        read_photo(r->data, photo->name, easel, &photo->size_bytes, photo->sha256, &why);
    if (status == VT_OK)
        status = vt_image_decode(&easel->image, easel->file, (size_t)photo->size_bytes, photo->name,
                                 &why);
    if (status == VT_OK)
        status = keep(r, photo, r->list[image], easel, &why);
    if (status != VT_OK && status != VT_ERR_NOMEM)
        photo->wrong = vt_strdup(why.text);
    if (status == VT_ERR_NOMEM || (status != VT_OK && !photo->wrong))
        atomic_store(&r->no_memory, true);
}

static void read_some(void *arg, int64_t first, int64_t last, int worker)
{
    struct reading *r = arg;
    vt_easel *easel = vt_easel_take(r->data);
    (void)worker;
    if (!easel)
        atomic_store(&r->no_memory, true);
    for (int64_t i = first; i < last && !atomic_load(&r->no_memory); i++)
        if (r->list[i])
            read_one(r, i, easel);
    vt_easel_give_back(r->data, easel);
}

/* Takes the unreadable files out of the parts, and names the first. */
static int64_t sort_out(vt_data *data, vt_text *named)
{
    enum { NAMED = 5 };
    int64_t bad = 0;
    for (int part = 0; part < VT_PART_COUNT; part++) {
        uint32_t *numbers = data->numbers[part];
        int64_t kept = 0;
        for (int64_t i = 0; i < data->info.n[part]; i++) {
            const char *wrong = data->photos[numbers[i]].wrong;
            if (!wrong)
                numbers[kept++] = numbers[i];
            else if (bad++ < NAMED)
                vt_text_printf(named, "%s%s", named->size ? "; " : "", wrong);
        }
        data->info.n[part] = kept;
    }
    if (bad > NAMED)
        vt_text_printf(named, "; and %" PRId64 " more", bad - NAMED);
    return bad;
}

static vt_status judge(vt_data *data, int64_t max_bad, vt_error *err)
{
    vt_status status = VT_OK;
    vt_text named = {0};
    int64_t bad = sort_out(data, &named);
    char *warning = data->info.warning;
    size_t size = sizeof data->info.warning, used = strlen(warning);
    if (named.failed)
        status = vt_fail(err, VT_ERR_NOMEM, "no memory for a message");
    else if (bad > max_bad)
        status =
            vt_fail(err, VT_ERR_DATA,
                    "%s: %" PRId64 " files cannot be read, and data.max_bad is %" PRId64 ": %s",
                    data->folder, bad, max_bad, named.data);
    else if (data->info.n[VT_PART_TRAIN] == 0 || data->info.n[VT_PART_TEST] == 0)
        status = vt_fail(err, VT_ERR_DATA, "%s: no picture is left to train or to test on: %s",
                         data->folder, named.data ? named.data : "");
    else if (bad)
        snprintf(warning + used, size - used,
                 "%s%s: %" PRId64 " files cannot be read and are left out (data.max_bad: %" PRId64
                 "): %s",
                 used ? "; " : "", data->folder, bad, max_bad, named.data);
    vt_text_release(&named);
    return status;
}

vt_status vt_folder_read(vt_data *data, const vt_data_request *request, vt_pool *pool,
                         vt_error *err)
{
    struct reading r = {
        .data = data, .keep_bytes = request->keep_bytes ? request->keep_bytes : VT_DATA_KEEP_BYTES};
    r.list = vt_calloc((size_t)data->n_images, sizeof *r.list);
    if (!r.list)
        return vt_fail(err, VT_ERR_NOMEM, "no memory to read %s", data->folder);
    for (int part = 0; part < VT_PART_COUNT; part++)
        for (int64_t i = 0; i < data->info.n[part]; i++)
            r.list[data->numbers[part][i]] = part == VT_PART_TRAIN ? &data->train : &data->test;
    vt_grid_run(pool, data->n_images, 1, read_some, &r);
    vt_free(r.list);
    if (atomic_load(&r.no_memory))
        return vt_fail(err, VT_ERR_NOMEM, "no memory for the pictures of %s", data->folder);
    return judge(data, request->max_bad, err);
}
