/* Which files a folder of pictures holds, and their parts. */
#include "data/folder.h"

#include "base/fs.h"
#include "base/mem.h"
#include "base/rng.h"
#include "base/text.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { CLASSES_MAX = 65535, PHOTOS_MAX = 10000000, NAME_BYTES = VT_DATA_NAME_SIZE - 1 };

/* Names in a folder, sorted by their bytes. */
struct names {
    char **name;
    size_t n, capacity;
    bool failed;
};

/* A file and where it belongs. */
struct find {
    char *name; /* below the folder */
    uint16_t label;
    bool test;
    uint32_t rank; /* among those of its class and part */
};

struct search {
    const char *dir;
    int dir_fd;
    struct names classes;
    struct find *found;
    size_t n, capacity;
    int64_t strays; /* files of other kinds */
    char stray[200];
    vt_error *err;
};

static vt_status no_memory(const struct search *s)
{
    return vt_fail(s->err, VT_ERR_NOMEM, "no memory for the files of %s", s->dir);
}

/* Room for one more element. */
static bool grow(void *list, size_t *capacity, size_t n, size_t element_bytes)
{
    void *block;
    if (n < *capacity)
        return true;
    memcpy(&block, list, sizeof block);
    size_t room = *capacity ? 2 * *capacity : 64;
    block = vt_realloc(block, room, element_bytes);
    if (!block)
        return false;
    memcpy(list, &block, sizeof block);
    *capacity = room;
    return true;
}

static void take_name(void *arg, const char *name)
{
    struct names *names = arg;
    if (name[0] == '.' || names->failed)
        return;
    char *copy = vt_strdup(name);
    names->failed = !copy || !grow(&names->name, &names->capacity, names->n, sizeof *names->name);
    if (names->failed)
        vt_free(copy);
    else
        names->name[names->n++] = copy;
}

static void release_names(struct names *names)
{
    for (size_t i = 0; i < names->n; i++)
        vt_free(names->name[i]);
    vt_free(names->name);
    *names = (struct names){0};
}

static int by_bytes(const void *a, const void *b)
{
    const char *const *x = a, *const *y = b;
    return strcmp(*x, *y);
}

/* UTF-8 without control characters: such names can be shown and stored in every file. */
static bool is_plain(const char *name)
{
    for (const unsigned char *at = (const unsigned char *)name; *at;) {
        int more = *at < 0x80 ? 0 : *at < 0xe0 ? 1 : *at < 0xf0 ? 2 : 3;
        uint32_t code = more ? *at & (0x3fu >> more) : *at;
        if (*at < 0x20 || *at == 0x7f || (*at >= 0x80 && *at < 0xc2) || *at > 0xf4)
            return false;
        for (at++; more > 0; more--, at++) {
            if ((*at & 0xc0) != 0x80)
                return false;
            code = code << 6 | (*at & 0x3f);
            if (more == 1 && ((code >= 0xd800 && code < 0xe000) || code > 0x10ffff ||
                              (code >= 0x80 && code < 0xa0)))
                return false;
        }
    }
    return true;
}

/* Lists a folder below the data set's; `path` is "" or ends in a slash. */
static vt_status list_names(struct search *s, const char *path, struct names *names)
{
    int fd;
    vt_status status = vt_fs_open_dir(s->dir_fd, *path ? path : ".", &fd, s->err);
    if (status != VT_OK)
        return status;
    status = vt_fs_list(fd, take_name, names, s->err);
    vt_fs_close(&fd);
    if (status == VT_OK && names->failed)
        status = no_memory(s);
    if (names->n)
        qsort(names->name, names->n, sizeof *names->name, by_bytes);
    for (size_t i = 0; i < names->n && status == VT_OK; i++) {
        if (!is_plain(names->name[i]))
            status = vt_fail(s->err, VT_ERR_DATA,
                             "%s/%s: entry %zu (sorted, counted from 1) has a name that is not "
                             "UTF-8 or holds control characters; rename it",
                             s->dir, path, i + 1);
    }
    return status;
}

static bool is_folder(const struct search *s, const char *path)
{
    struct stat info;
    return fstatat(s->dir_fd, path, &info, 0) == 0 && S_ISDIR(info.st_mode);
}

static bool is_picture_name(const char *name)
{
    static const char *const endings[] = {".jpg", ".jpeg", ".png"};
    const char *dot = strrchr(name, '.');
    for (size_t i = 0; dot && i < sizeof endings / sizeof *endings; i++)
        if (strcasecmp(dot, endings[i]) == 0)
            return true;
    return false;
}

/* The files of one class folder. */
static vt_status find_files(struct search *s, const char *part, size_t label, bool test)
{
    struct names names = {0};
    vt_text path = {0};
    size_t before = s->n;
    vt_text_printf(&path, "%s%s/", part, s->classes.name[label]);
    vt_status status = path.failed ? no_memory(s) : list_names(s, path.data, &names);
    for (size_t i = 0; i < names.n && status == VT_OK; i++) {
        vt_text file = {0};
        vt_text_printf(&file, "%s%s", path.data, names.name[i]);
        if (file.failed) {
            status = no_memory(s);
        } else if (!is_picture_name(names.name[i])) {
            if (s->strays++ == 0)
                snprintf(s->stray, sizeof s->stray, "%s", file.data);
        } else if (s->n == PHOTOS_MAX) {
            status = vt_fail(s->err, VT_ERR_DATA, "%s: more than %d pictures", s->dir, PHOTOS_MAX);
        } else if (!grow(&s->found, &s->capacity, s->n, sizeof *s->found)) {
            status = no_memory(s);
        } else {
            s->found[s->n++] =
                (struct find){.name = file.data, .label = (uint16_t)label, .test = test};
            file = (vt_text){0};
        }
        vt_text_release(&file);
    }
    if (status == VT_OK && s->n == before && !test)
        status = vt_fail(s->err, VT_ERR_DATA,
                         "%s/%s: no picture (.jpg, .jpeg or .png); each class needs one", s->dir,
                         path.data);
    vt_text_release(&path);
    release_names(&names);
    return status;
}

/* The folders among the entries of `part` ("", "train/", ...), which must have usable names. */
static vt_status list_classes(struct search *s, const char *part, struct names *classes)
{
    vt_status status = list_names(s, part, classes);
    size_t kept = 0;
    for (size_t i = 0; i < classes->n; i++) {
        char *name = classes->name[i];
        vt_text path = {0};
        vt_text_printf(&path, "%s%s", part, name);
        if (path.failed)
            status = status == VT_OK ? no_memory(s) : status;
        bool folder = !path.failed && is_folder(s, path.data);
        vt_text_release(&path);
        if (folder && strlen(name) > NAME_BYTES && status == VT_OK)
            status = vt_fail(s->err, VT_ERR_DATA,
                             "%s/%s%s: the name of a class has %zu bytes; allowed: at most %d",
                             s->dir, part, name, strlen(name), NAME_BYTES);
        if (folder)
            classes->name[kept++] = name;
        else
            vt_free(name);
    }
    classes->n = kept;
    return status;
}

static vt_status compare_classes(const struct search *s, const char *part, int64_t wanted)
{
    const struct names *classes = &s->classes;
    vt_status status;
    vt_text list = {0};
    if (classes->n < 2)
        return vt_fail(
            s->err, VT_ERR_NOINPUT,
            "%s/%s: %zu class folders; expected train/CLASS/NAME.jpg (or .jpeg, .png) or "
            "CLASS/NAME.jpg below %s, and at least 2 classes",
            s->dir, part, classes->n, s->dir);
    if (classes->n > CLASSES_MAX)
        return vt_fail(s->err, VT_ERR_DATA, "%s/%s: %zu class folders; allowed: at most %d", s->dir,
                       part, classes->n, CLASSES_MAX);
    if (wanted == 0 || wanted == (int64_t)classes->n)
        return VT_OK;
    for (size_t i = 0; i < classes->n && list.size < 1000; i++)
        vt_text_printf(&list, "%s%s", i ? ", " : "", classes->name[i]);
    if (list.size >= 1000)
        vt_text_printf(&list, ", ...");
    status = vt_fail(s->err, VT_ERR_CONFIG,
                     "model.classes is %" PRId64 ", and %s/%s has %zu class folders: %s", wanted,
                     s->dir, part, classes->n, list.failed ? "" : list.data);
    vt_text_release(&list);
    return status;
}

static vt_status find_test_files(struct search *s, const char *part)
{
    struct names folders = {0};
    vt_status status = list_classes(s, part, &folders);
    for (size_t i = 0; i < folders.n && status == VT_OK; i++) {
        char **class = bsearch(&folders.name[i], s->classes.name, s->classes.n,
                               sizeof *s->classes.name, by_bytes);
        status = class ? find_files(s, part, (size_t)(class - s->classes.name), true)
                       : vt_fail(s->err, VT_ERR_DATA,
                                 "%s/%s%s: there is no class of this name in %s/train", s->dir,
                                 part, folders.name[i], s->dir);
    }
    release_names(&folders);
    return status;
}

/* Takes a share of each class for the test part. */
static vt_status share_out(struct search *s, const vt_data_request *r)
{
    vt_status status = VT_OK;
    int64_t *left = vt_calloc(s->classes.n, sizeof *left);
    uint32_t *order = vt_calloc(s->n, sizeof *order);
    if (!left || !order) {
        status = no_memory(s);
        goto out;
    }
    for (size_t i = 0; i < s->n; i++)
        left[s->found[i].label]++;
    for (size_t c = 0; c < s->classes.n; c++) {
        int64_t n = left[c], share = (int64_t)floor(r->test_share * (double)n + 0.5);
        share = share < 1 ? 1 : share;
        left[c] = share > n - 1 ? n - 1 : share;
    }
    vt_rng rng = vt_rng_at(r->seed, VT_STREAM_SPLIT, 1, 0, 0);
    vt_rng_shuffle(&rng, order, (uint32_t)s->n);
    for (size_t i = 0; i < s->n; i++) {
        struct find *file = &s->found[order[i]];
        file->test = left[file->label]-- > 0;
    }
out:
    vt_free(order);
    vt_free(left);
    return status;
}

/* Round the classes, training files first. */
static int by_number(const void *a, const void *b)
{
    const struct find *x = a, *y = b;
    if (x->test != y->test)
        return x->test ? 1 : -1;
    if (x->rank != y->rank)
        return x->rank < y->rank ? -1 : 1;
    return (int)x->label - (int)y->label;
}

/* The files are in the order of classes and names. */
static vt_status number_files(struct search *s)
{
    uint32_t *next = vt_calloc(s->classes.n, 2 * sizeof *next);
    if (!next)
        return no_memory(s);
    for (size_t i = 0; i < s->n; i++)
        s->found[i].rank = next[2 * s->found[i].label + s->found[i].test]++;
    vt_free(next);
    qsort(s->found, s->n, sizeof *s->found, by_number);
    return VT_OK;
}

static vt_status hand_over(struct search *s, vt_data *data)
{
    size_t classes = s->classes.n, n_test = 0;
    for (size_t i = 0; i < s->n; i++)
        n_test += s->found[i].test;
    if (n_test == 0)
        return vt_fail(s->err, VT_ERR_DATA, "%s: no picture for the test part", s->dir);
    vt_status status = vt_data_make_room(data, (vt_size){0}, (int64_t)classes,
                                         (int64_t)(s->n - n_test), (int64_t)n_test, s->err);
    if (status != VT_OK)
        return status;
    data->name_text = vt_calloc(classes, sizeof *data->name_text);
    data->names = vt_calloc(classes, sizeof *data->names);
    data->photos = vt_calloc(s->n, sizeof *data->photos);
    if (!data->name_text || !data->names || !data->photos)
        return no_memory(s);
    for (size_t i = 0; i < classes; i++) {
        snprintf(data->name_text[i], VT_DATA_NAME_SIZE, "%s", s->classes.name[i]);
        data->names[i] = data->name_text[i];
    }
    for (size_t i = 0; i < s->n; i++) {
        data->labels[i] = s->found[i].label;
        data->photos[i].name = s->found[i].name;
        s->found[i].name = NULL;
    }
    data->info.class_names = data->names;
    return VT_OK;
}

/* train/ and test/ or val/, or folders of classes alone. */
static vt_status search_parts(struct search *s, const vt_data_request *r, vt_data *data)
{
    bool split = is_folder(s, "train");
    const char *part = split ? "train/" : "";
    const char *test = !split                 ? NULL
                       : is_folder(s, "test") ? "test/"
                       : is_folder(s, "val")  ? "val/"
                                              : NULL;
    vt_status status = list_classes(s, part, &s->classes);
    if (status == VT_OK)
        status = compare_classes(s, part, r->classes);
    for (size_t i = 0; i < s->classes.n && status == VT_OK; i++)
        status = find_files(s, part, i, false);
    if (status == VT_OK)
        status = test ? find_test_files(s, test) : share_out(s, r);
    if (status != VT_OK)
        return status;
    char *warning = data->info.warning;
    size_t size = sizeof data->info.warning, used = 0;
    if (test && strcmp(test, "test/") == 0 && is_folder(s, "val"))
        used = (size_t)snprintf(warning, size,
                                "%s: val/ is not used: test/ is the test part; "
                                "data.val holds a validation part out of train/",
                                s->dir);
    if (s->strays && used < size)
        snprintf(warning + used, size - used,
                 "%s%s: %" PRId64 " files are neither .jpg, .jpeg nor .png and not used, first %s",
                 used ? "; " : "", s->dir, s->strays, s->stray);
    return VT_OK;
}

vt_status vt_folder_find(vt_data *data, const vt_data_request *r, vt_error *err)
{
    struct search s = {.dir = r->dir, .err = err};
    data->info.name = "folder";
    data->info.official = true;
    data->info.files = data->files;
    data->folder = vt_strdup(r->dir);
    vt_status status =
        data->folder ? vt_fs_open_dir(AT_FDCWD, r->dir, &data->folder_fd, err) : no_memory(&s);
    data->info.folder = data->folder;
    s.dir_fd = data->folder_fd;
    if (status == VT_OK)
        status = search_parts(&s, r, data);
    if (status == VT_OK)
        status = number_files(&s);
    if (status == VT_OK)
        status = hand_over(&s, data);
    for (size_t i = 0; i < s.n; i++)
        vt_free(s.found[i].name);
    vt_free(s.found);
    release_names(&s.classes);
    return status;
}
