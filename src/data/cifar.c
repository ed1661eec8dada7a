#include "data/cifar.h"

#include "base/fs.h"
#include "base/mem.h"
#include "base/text.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { SIDE = 32, PLANE = SIDE * SIDE, CHANNELS = 3, PIXELS = PLANE * CHANNELS };
enum { MAX_LABELS = 2, READ_RECORDS = 100 };
enum {
    MAX_TABLES = 6,
    MAX_LISTS = 2,
    MAX_FOLDERS = 4,
    LIST_SIZE_MAX = 65536,
    NAMES_MAX = 100,
    NAME_BYTES = 31
};

/* A file of records. */
struct table {
    const char *name;
    int64_t records, first; /* first: image number of record 0 */
    const char *sha256;     /* of the published file */
};

/* A file of class names, one a line. */
struct list {
    const char *name;
    int n;
};

struct layout {
    const char *name, *title, *archive; /* archive: folder that the official archive unpacks to */
    int label_bytes, label_limit[MAX_LABELS];
    int n_tables, n_lists;
    struct table table[MAX_TABLES];
    struct list list[MAX_LISTS]; /* one for each label byte, the class that is usual first */
};

enum { TRAIN_IMAGES = 50000, TEST_IMAGES = 10000 };

static const struct layout layouts[] = {
    {.name = "cifar10",
     .title = "CIFAR-10",
     .archive = "cifar-10-batches-bin",
     .label_bytes = 1,
     .label_limit = {10},
     .n_tables = 6,
     .n_lists = 1,
     .table = {{"data_batch_1.bin", 10000, 0,
                "cee916563c9f80d84e3cc88e17fdc0941787f1244f00a67874d45b261883ada5"},
               {"data_batch_2.bin", 10000, 10000,
                "a591ca11fa1708a91ee40f54b3da4784ccd871ecf2137de63f51ada8b3fa57ed"},
               {"data_batch_3.bin", 10000, 20000,
                "bbe8596564c0f86427f876058170b84dac6670ddf06d79402899d93ceea26f67"},
               {"data_batch_4.bin", 10000, 30000,
                "014e562d6e23c72197cc727519169a60359f5eccd8945ad5a09d710285ff4e48"},
               {"data_batch_5.bin", 10000, 40000,
                "755304fc0b379caeae8c14f0dac912fbc7d6cd469eb67a1029a08a39453a9add"},
               {"test_batch.bin", 10000, 50000,
                "8e2eb146ae340b09e24670f29cabc6326dba54da8789dab6768acf480273f65b"}},
     .list = {{"batches.meta.txt", 10}}},
    {.name = "cifar100",
     .title = "CIFAR-100",
     .archive = "cifar-100-binary",
     .label_bytes = 2,
     .label_limit = {20, 100},
     .n_tables = 2,
     .n_lists = 2,
     .table = {{"train.bin", 50000, 0,
                "f31298fc616915fa142368359df1c4ca2ae984d6915ca468b998a5ec6aeebf29"},
               {"test.bin", 10000, 50000,
                "d8b1e6b7b3bee4020055f0699b111f60b1af1e262aeb93a0b659061746f8224a"}},
     .list = {{"fine_label_names.txt", 100}, {"coarse_label_names.txt", 20}}},
};

enum { N_LAYOUTS = sizeof layouts / sizeof layouts[0] };

/* Reading one table: a chunk of work, with its own error. */
struct job {
    const struct layout *layout;
    const struct table *table;
    const char *folder;
    int fd;
    vt_data *data;
    vt_data_file *file;
    vt_status status;
    vt_error err;
};

/* Which label byte is the class: the last, unless coarse labels are asked for. */
static int class_byte(const struct layout *layout, const vt_data *data)
{
    return data->coarse ? 0 : layout->label_bytes - 1;
}

static int64_t record_size(const struct layout *layout)
{
    return layout->label_bytes + PIXELS;
}

/* Opens a file of the data set; links are followed, for data is often shared that way. */
static vt_status open_file(const struct layout *layout, const char *folder, int dir_fd,
                           const char *name, int *fd, int64_t *size, vt_error *err)
{
    struct stat info;
    *fd = openat(dir_fd, name, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (*fd < 0) {
        int why = errno;
        if (why == ENOENT || why == ENOTDIR)
            return vt_fail(err, VT_ERR_NOINPUT,
                           "%s/%s: missing; get the files of %s with: scripts/fetch-data %s",
                           folder, name, layout->title, layout->name);
        return vt_fail(err, why == EACCES || why == EPERM ? VT_ERR_NOINPUT : VT_ERR_IO,
                       "%s/%s: cannot be opened: %s", folder, name, strerror(why));
    }
    if (fstat(*fd, &info) != 0)
        return vt_fail(err, VT_ERR_IO, "%s/%s: %s", folder, name, strerror(errno));
    if (!S_ISREG(info.st_mode))
        return vt_fail(err, VT_ERR_DATA, "%s/%s: is a %s; a file is expected", folder, name,
                       S_ISDIR(info.st_mode) ? "folder" : "device or pipe");
    *size = info.st_size;
    return VT_OK;
}

/* The other CIFAR file that has this size, for a message; NULL if there is none. */
static const struct layout *layout_of_size(const struct layout *but, int64_t size,
                                           const char **name)
{
    for (int i = 0; i < N_LAYOUTS; i++)
        for (int j = 0; j < layouts[i].n_tables; j++)
            if (&layouts[i] != but &&
                layouts[i].table[j].records * record_size(&layouts[i]) == size) {
                *name = layouts[i].table[j].name;
                return &layouts[i];
            }
    return NULL;
}

static vt_status check_size(const struct job *job, int64_t size, vt_error *err)
{
    int64_t record = record_size(job->layout), expected = job->table->records * record;
    if (size == expected)
        return VT_OK;
    char hint[200] = "";
    const char *other_name = "";
    const struct layout *other = layout_of_size(job->layout, size, &other_name);
    if (other)
        snprintf(hint, sizeof hint, "; this is the size of %s's %s", other->title, other_name);
    else if (size < expected)
        snprintf(hint, sizeof hint,
                 "; it ends in record %" PRId64 " (counted from 0), %" PRId64 " bytes short",
                 size / record, expected - size);
    else
        snprintf(hint, sizeof hint, "; %" PRId64 " bytes follow the last record", size - expected);
    return vt_fail(err, VT_ERR_DATA,
                   "%s/%s: %" PRId64 " bytes; expected %" PRId64 " (%" PRId64 " records of %" PRId64
                   " bytes)%s",
                   job->folder, job->table->name, size, expected, job->table->records, record,
                   hint);
}

/* Checks a record's labels and stores it as (H, W, C) under its image number. */
static vt_status store_record(const struct job *job, int64_t number, const uint8_t *record,
                              vt_error *err)
{
    const struct layout *layout = job->layout;
    for (int i = 0; i < layout->label_bytes; i++)
        if (record[i] >= layout->label_limit[i])
            return vt_fail(err, VT_ERR_DATA,
                           "%s/%s: record %" PRId64 " (at byte %" PRId64
                           "): %slabel %d; expected 0 to %d",
                           job->folder, job->table->name, number, number * record_size(layout),
                           layout->label_bytes == 1 ? ""
                           : i == 0                 ? "coarse "
                                                    : "fine ",
                           record[i], layout->label_limit[i] - 1);
    int64_t image = job->table->first + number;
    job->data->labels[image] = record[class_byte(layout, job->data)];
    const uint8_t *planes = record + layout->label_bytes;
    uint8_t *pixel = job->data->images + image * PIXELS;
    for (int i = 0; i < PLANE; i++)
        for (int c = 0; c < CHANNELS; c++)
            *pixel++ = planes[c * PLANE + i];
    return VT_OK;
}

static vt_status read_table(struct job *job, vt_error *err)
{
    vt_status status = VT_OK;
    const char *name = job->table->name;
    size_t wanted = (size_t)(READ_RECORDS * record_size(job->layout)), got;
    vt_sha256 hash = {0};
    uint8_t digest[VT_SHA256_SIZE];
    uint8_t *block = vt_calloc(wanted, 1);
    if (!block)
        return vt_fail(err, VT_ERR_NOMEM, "no memory to read %s", name);
    vt_sha256_init(&hash);
    for (int64_t r = 0; r < job->table->records && status == VT_OK; r += READ_RECORDS) {
        int64_t offset = r * record_size(job->layout);
        status = vt_fs_read_at(job->fd, name, offset, block, wanted, &got, err);
        if (status == VT_OK && got != wanted)
            status = vt_fail(err, VT_ERR_DATA, "%s/%s: was cut short while it was read",
                             job->folder, name);
        for (int64_t i = 0; status == VT_OK && i < READ_RECORDS; i++)
            status = store_record(job, r + i, block + i * record_size(job->layout), err);
        if (status == VT_OK)
            vt_sha256_add(&hash, block, wanted);
    }
    vt_sha256_finish(&hash, digest);
    vt_sha256_hex(digest, job->file->sha256);
    vt_free(block);
    return status;
}

static void read_tables(void *arg, int64_t first, int64_t last, int worker)
{
    struct job *jobs = arg;
    (void)worker;
    for (int64_t i = first; i < last; i++)
        jobs[i].status = read_table(&jobs[i], &jobs[i].err);
}

/* Splits text into exactly `n` names; empty lines are allowed at the end only. */
static vt_status parse_names(const char *text, size_t size, int n, const char *path,
                             char (*names)[VT_DATA_NAME_SIZE], vt_error *err)
{
    int found = 0, line = 0;
    for (size_t at = 0; at < size; line++) {
        const char *start = text + at, *end = memchr(start, '\n', size - at);
        size_t length = end ? (size_t)(end - start) : size - at;
        at += length + 1;
        if (length > 0 && start[length - 1] == '\r')
            length--;
        if (length == 0)
            continue;
        bool good = found == line && found < n && length <= NAME_BYTES;
        for (size_t i = 0; i < length; i++)
            good = good && start[i] > ' ' && start[i] < 127;
        if (!good)
            return vt_fail(err, VT_ERR_DATA,
                           "%s:%d: expected %d class names, one a line, each of 1 to %d visible "
                           "characters",
                           path, line + 1, n, NAME_BYTES);
        memcpy(names[found], start, length);
        names[found++][length] = 0;
    }
    if (found != n)
        return vt_fail(err, VT_ERR_DATA, "%s: %d class names; expected %d", path, found, n);
    return VT_OK;
}

static vt_status read_list(const struct layout *layout, const struct list *list, const char *folder,
                           int dir_fd, char (*names)[VT_DATA_NAME_SIZE], vt_data_file *file,
                           vt_error *err)
{
    vt_status status;
    vt_text path = {0};
    char *text = NULL;
    int fd = -1;
    size_t got = 0;
    uint8_t digest[VT_SHA256_SIZE];

    vt_text_printf(&path, "%s/%s", folder, list->name);
    status = open_file(layout, folder, dir_fd, list->name, &fd, &file->size_bytes, err);
    if (status != VT_OK)
        goto out;
    if (file->size_bytes > LIST_SIZE_MAX) {
        status = vt_fail(err, VT_ERR_DATA,
                         "%s/%s: %" PRId64 " bytes; expected a short list of %d class names",
                         folder, list->name, file->size_bytes, list->n);
        goto out;
    }
    text = vt_calloc((size_t)file->size_bytes + 1, 1);
    if (path.failed || !text) {
        status = vt_fail(err, VT_ERR_NOMEM, "no memory to read %s", list->name);
        goto out;
    }
    status = vt_fs_read_at(fd, list->name, 0, text, (size_t)file->size_bytes, &got, err);
    if (status != VT_OK)
        goto out;
    vt_sha256_of(text, got, digest);
    vt_sha256_hex(digest, file->sha256);
    status = parse_names(text, got, list->n, path.data, names, err);
out:
    vt_text_release(&path);
    vt_free(text);
    vt_fs_close(&fd);
    return status;
}

/* Finds the folder that holds any of the tables and opens it. */
static vt_status find_folder(const struct layout *layout, const char *dir, char **folder,
                             int *dir_fd, vt_error *err)
{
    vt_status status = VT_OK;
    vt_text place[MAX_FOLDERS] = {0};
    vt_text_printf(&place[0], "%s", dir);
    vt_text_printf(&place[1], "%s/%s", dir, layout->name);
    vt_text_printf(&place[2], "%s/%s", dir, layout->archive);
    vt_text_printf(&place[3], "%s/%s/%s", dir, layout->name, layout->archive);
    *dir_fd = -1;
    for (int i = 0; i < MAX_FOLDERS; i++)
        if (place[i].failed)
            status = vt_fail(err, VT_ERR_NOMEM, "no memory for a folder's name");
    for (int i = 0; i < MAX_FOLDERS && *dir_fd < 0 && status == VT_OK; i++) {
        struct stat info;
        bool found = false;
        int fd = open(place[i].data, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        for (int j = 0; fd >= 0 && j < layout->n_tables; j++)
            found = found || fstatat(fd, layout->table[j].name, &info, 0) == 0;
        if (found) {
            *dir_fd = fd;
            *folder = vt_strdup(place[i].data);
            if (!*folder)
                status = vt_fail(err, VT_ERR_NOMEM, "no memory for a folder's name");
        } else if (fd >= 0) {
            close(fd);
        }
    }
    if (status == VT_OK && *dir_fd < 0)
        status = vt_fail(err, VT_ERR_NOINPUT,
                         "%s: no %s in %s, %s, %s or %s; get it with: scripts/fetch-data %s "
                         "--dir %s",
                         layout->title, layout->table[0].name, place[0].data, place[1].data,
                         place[2].data, place[3].data, layout->name, dir);
    for (int i = 0; i < MAX_FOLDERS; i++)
        vt_text_release(&place[i]);
    return status;
}

static void compare_with_published(vt_data *data, const struct layout *layout)
{
    const char *first = NULL;
    int different = 0;
    for (int i = 0; i < layout->n_tables; i++)
        if (strcmp(data->files[i].sha256, layout->table[i].sha256) != 0 && different++ == 0)
            first = layout->table[i].name;
    data->info.official = different == 0;
    if (different)
        snprintf(data->info.warning, sizeof data->info.warning,
                 "not the official files of %s: the SHA-256 of %d of %d differs, first %s",
                 layout->title, different, layout->n_tables, first);
}

vt_status vt_cifar_read(vt_data *data, const char *name, const char *dir, vt_pool *pool,
                        vt_error *err)
{
    vt_status status;
    const struct layout *layout = &layouts[0];
    struct job *jobs = NULL;
    char(*others)[VT_DATA_NAME_SIZE] = NULL;
    int dir_fd = -1;

    while (strcmp(layout->name, name) != 0)
        VT_ASSERT(++layout < layouts + N_LAYOUTS);
    data->info.name = layout->name;
    status = find_folder(layout, dir, &data->folder, &dir_fd, err);
    if (status != VT_OK)
        goto out;
    data->info.folder = data->folder;
    data->coarse = data->coarse && layout->label_bytes > 1;
    int classes = layout->label_limit[class_byte(layout, data)];
    status =
        vt_data_make_room(data, (vt_size){SIDE, SIDE}, classes, TRAIN_IMAGES, TEST_IMAGES, err);
    if (status != VT_OK)
        goto out;
    jobs = vt_calloc((size_t)layout->n_tables, sizeof *jobs);
    data->name_text = vt_calloc((size_t)classes, sizeof *data->name_text);
    data->names = vt_calloc((size_t)classes, sizeof *data->names);
    others = vt_calloc(NAMES_MAX, sizeof *others);
    if (!jobs || !data->name_text || !data->names || !others) {
        status = vt_fail(err, VT_ERR_NOMEM, "no memory for the class names");
        goto out;
    }
    for (int i = 0; i < layout->n_tables; i++)
        jobs[i].fd = -1;

    data->info.files = data->files;
    data->info.n_files = layout->n_tables + layout->n_lists;
    for (int i = 0; i < layout->n_lists; i++) {
        vt_data_file *file = &data->files[layout->n_tables + i];
        snprintf(file->name, sizeof file->name, "%s", layout->list[i].name);
        status = read_list(layout, &layout->list[i], data->folder, dir_fd,
                           layout->list[i].n == classes ? data->name_text : others, file, err);
        if (status != VT_OK)
            goto out;
    }
    for (int i = 0; i < layout->n_tables; i++) {
        struct job *job = &jobs[i];
        job->layout = layout;
        job->table = &layout->table[i];
        job->folder = data->folder;
        job->data = data;
        job->file = &data->files[i];
        snprintf(job->file->name, sizeof job->file->name, "%s", job->table->name);
        status = open_file(layout, data->folder, dir_fd, job->table->name, &job->fd,
                           &job->file->size_bytes, err);
        if (status == VT_OK)
            status = check_size(job, job->file->size_bytes, err);
        if (status != VT_OK)
            goto out;
    }
    vt_grid_run(pool, layout->n_tables, 1, read_tables, jobs);
    for (int i = 0; i < layout->n_tables && status == VT_OK; i++)
        if (jobs[i].status != VT_OK)
            status = vt_fail(err, jobs[i].status, "%s", jobs[i].err.text);
    if (status != VT_OK)
        goto out;
    for (int i = 0; i < classes; i++)
        data->names[i] = data->name_text[i];
    data->info.class_names = data->names;
    compare_with_published(data, layout);
out:
    for (int i = 0; jobs && i < layout->n_tables; i++)
        vt_fs_close(&jobs[i].fd);
    vt_free(jobs);
    vt_free(others);
    vt_fs_close(&dir_fd);
    return status;
}
