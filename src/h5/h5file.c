#include "h5/h5file.h"

#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <hdf5_hl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { REASON_MAX = 400 };

/* Keeps the first message that carries the system's reason, or else the innermost one. */
static herr_t pick_reason(unsigned n, const H5E_error2_t *entry, void *text)
{
    bool better = entry->desc && strstr(entry->desc, "errno") && !strstr(text, "errno");
    if (entry->desc && (n == 0 || better))
        snprintf(text, REASON_MAX, "%s", entry->desc);
    return 0;
}

_Noreturn static void leave(const vt_h5_file *file, const char *text, vt_status status)
{
    vt_log_write(VT_LOG_ERROR, "%s", text);
    if (file->temp[0])
        unlinkat(file->dir_fd, file->temp, 0);
    _exit((int)status);
}

_Noreturn void vt_h5_abandon(const vt_h5_file *file, const vt_error *err)
{
    leave(file, err->text, err->status);
}

_Noreturn static void fail(const vt_h5_file *file, const char *path, const char *call)
{
    char reason[REASON_MAX] = "no reason given", place[PATH_MAX], text[PATH_MAX + 600];
    H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, pick_reason, reason);
    vt_fs_path(file->dir_fd, VT_H5_NAME, place);
    snprintf(text, sizeof text, "%s: cannot write %s: %s: %s", place, path, call, reason);
    leave(file, text, VT_ERR_IO);
}

/* Value of an HDF5 call, for which negative means failure. */
static hid_t id(const vt_h5_file *file, const char *path, const char *call, hid_t value)
{
    if (value < 0)
        fail(file, path, call);
    return value;
}

#define ID(path, call) id(file, (path), #call, (call))
/* The same for calls that return herr_t or htri_t; a name is enough in the message. */
#define DO(path, call) ((void)id(file, (path), #call, (hid_t)(call)))

static void *allocate(const vt_h5_file *file, size_t n, size_t size)
{
    void *memory = vt_calloc(n ? n : 1, size);
    if (!memory)
        leave(file, "no memory for " VT_H5_NAME, VT_ERR_NOMEM);
    return memory;
}

static void remove_leftover(void *arg, const char *name)
{
    static const char head[] = ".tmp-", tail[] = "-" VT_H5_NAME;
    const vt_h5_file *file = arg;
    size_t size = strlen(name);
    if (size > sizeof head + sizeof tail && strncmp(name, head, sizeof head - 1) == 0 &&
        strcmp(name + size - (sizeof tail - 1), tail) == 0)
        unlinkat(file->dir_fd, name, 0);
}

static void begin(const vt_h5_file *file)
{
    /* Nobody else knows the temporary file, nobody writes to a published one, some file systems
     * have no locks, and no plug-in of the user's shall run here. */
    setenv("HDF5_USE_FILE_LOCKING", "FALSE", 1);
    setenv("HDF5_PLUGIN_PRELOAD", "::", 1);
    if (fchdir(file->dir_fd) != 0)
        leave(file, "cannot enter the run folder", VT_ERR_NOINPUT);
    DO("/", H5open());
    DO("/", H5Eset_auto2(H5E_DEFAULT, NULL, NULL));
}

bool vt_h5_is_of(int dir_fd, const char *journal_sha256)
{
    const vt_h5_file none = {.dir_fd = dir_fd};
    char *text = NULL;
    int fd = -1;
    if (vt_fs_open_read(dir_fd, VT_H5_NAME, &fd, NULL, NULL) != VT_OK)
        return false;
    vt_fs_close(&fd);
    begin(&none);
    hid_t file = H5Fopen(VT_H5_NAME, H5F_ACC_RDONLY, H5P_DEFAULT);
    if (file < 0)
        return false;
    /* It allocates a text of variable length. */
    bool is = H5LTget_attribute_string(file, "/provenance", "journal_sha256", (char *)&text) >= 0 &&
              text && strcmp(text, journal_sha256) == 0;
    H5free_memory(text);
    H5Fclose(file);
    return is;
}

void vt_h5_create(vt_h5_file *file, int dir_fd)
{
    *file = (vt_h5_file){.dir_fd = dir_fd};
    vt_fs_list(dir_fd, remove_leftover, file, NULL);
    begin(file);
    unsigned order = H5P_CRT_ORDER_TRACKED | H5P_CRT_ORDER_INDEXED;
    hid_t plist = ID("/", H5Pcreate(H5P_FILE_CREATE));
    DO("/", H5Pset_obj_track_times(plist, false));
    DO("/", H5Pset_link_creation_order(plist, order));
    file->group_plist = ID("/", H5Pcreate(H5P_GROUP_CREATE));
    DO("/", H5Pset_obj_track_times(file->group_plist, false));
    DO("/", H5Pset_link_creation_order(file->group_plist, order));
    file->text_type = ID("/", H5Tcopy(H5T_C_S1));
    DO("/", H5Tset_size(file->text_type, H5T_VARIABLE));
    DO("/", H5Tset_cset(file->text_type, H5T_CSET_UTF8));
    snprintf(file->temp, sizeof file->temp, ".tmp-%ld-0-" VT_H5_NAME, (long)getpid());
    file->id = ID("/", H5Fcreate(file->temp, H5F_ACC_EXCL, plist, H5P_DEFAULT));
    DO("/", H5Pclose(plist));
}

vt_status vt_h5_publish(vt_h5_file *file, vt_error *err)
{
    int fd = -1;
    DO("/", H5Pclose(file->group_plist));
    DO("/", H5Tclose(file->text_type));
    DO("/", H5Fclose(file->id));
    for (size_t i = 0; i < file->n_paths; i++)
        vt_free(file->paths[i]);
    vt_free(file->paths);
    vt_status status = vt_fs_open_read(file->dir_fd, file->temp, &fd, NULL, err);
    if (status == VT_OK)
        status = vt_fs_sync(fd, file->temp, err);
    vt_fs_close(&fd);
    if (status == VT_OK && renameat(file->dir_fd, file->temp, file->dir_fd, VT_H5_NAME) != 0)
        status = vt_fail(err, VT_ERR_IO, "%s: cannot rename %s to it: %s", VT_H5_NAME, file->temp,
                         strerror(errno));
    if (status != VT_OK) {
        unlinkat(file->dir_fd, file->temp, 0);
        return status;
    }
    return vt_fs_sync_dir(file->dir_fd, err);
}

void vt_h5_group(vt_h5_file *file, const char *path)
{
    hid_t group = ID(path, H5Gcreate2(file->id, path, H5P_DEFAULT, file->group_plist, H5P_DEFAULT));
    DO(path, H5Gclose(group));
}

static hid_t type_of(const vt_h5_file *file, vt_h5_type type)
{
    const hid_t types[VT_H5_TYPE_COUNT] = {
        H5T_STD_U8LE,  H5T_STD_U16LE,  H5T_STD_I32LE,  H5T_STD_I64LE,
        H5T_STD_U64LE, H5T_IEEE_F32LE, H5T_IEEE_F64LE, file->text_type,
    };
    return types[type];
}

static size_t type_size(vt_h5_type type)
{
    static const size_t sizes[VT_H5_TYPE_COUNT] = {1, 2, 4, 8, 8, 4, 8, sizeof(char *)};
    return sizes[type];
}

static void remember(vt_h5_file *file, const char *path)
{
    char **paths = vt_realloc(file->paths, file->n_paths + 1, sizeof *paths);
    char *copy = vt_strdup(path);
    if (!paths || !copy)
        leave(file, "no memory for " VT_H5_NAME, VT_ERR_NOMEM);
    file->paths = paths;
    file->paths[file->n_paths++] = copy;
}

static hid_t create_dataset(vt_h5_file *file, const vt_h5_dataset *d)
{
    hsize_t chunk[VT_H5_MAX_RANK], n = 1;
    for (int i = 0; i < d->rank; i++) {
        chunk[i] = i < d->packed ? 1 : d->dims[i];
        n *= d->dims[i];
    }
    hid_t plist = ID(d->path, H5Pcreate(H5P_DATASET_CREATE));
    DO(d->path, H5Pset_obj_track_times(plist, false));
    if (d->packed && n) {
        DO(d->path, H5Pset_chunk(plist, d->rank, chunk));
        DO(d->path, H5Pset_shuffle(plist));
        DO(d->path, H5Pset_deflate(plist, 1));
    }
    hid_t space =
        ID(d->path, d->rank ? H5Screate_simple(d->rank, d->dims, NULL) : H5Screate(H5S_SCALAR));
    hid_t set = ID(d->path, H5Dcreate2(file->id, d->path, type_of(file, d->type), space,
                                       H5P_DEFAULT, plist, H5P_DEFAULT));
    DO(d->path, H5Sclose(space));
    DO(d->path, H5Pclose(plist));
    remember(file, d->path);
    return set;
}

static void describe(vt_h5_file *file, const vt_h5_dataset *d)
{
    vt_h5_attr_text(file, d->path, "units", d->units);
    vt_h5_attr_text(file, d->path, "long_name", d->long_name);
    if (d->better)
        vt_h5_attr_text(file, d->path, "better", d->better);
}

void vt_h5_write(vt_h5_file *file, const vt_h5_dataset *d, const void *values)
{
    hsize_t n = 1;
    for (int i = 0; i < d->rank; i++)
        n *= d->dims[i];
    hid_t set = create_dataset(file, d);
    if (n)
        DO(d->path, H5Dwrite(set, type_of(file, d->type), H5S_ALL, H5S_ALL, H5P_DEFAULT, values));
    DO(d->path, H5Dclose(set));
    describe(file, d);
}

void vt_h5_declare(vt_h5_file *file, const vt_h5_dataset *d)
{
    DO(d->path, H5Dclose(create_dataset(file, d)));
    describe(file, d);
}

/* Selects `count` indices of the first axis from `first` on; returns the space of that part in
 * memory. */
static hid_t select_rows(const vt_h5_file *file, const char *path, hid_t space, hsize_t first,
                         hsize_t count, hsize_t *n)
{
    hsize_t start[VT_H5_MAX_RANK] = {first}, part[VT_H5_MAX_RANK];
    int rank = H5Sget_simple_extent_dims(space, part, NULL);
    if (rank < 1)
        fail(file, path, "H5Sget_simple_extent_dims");
    part[0] = count;
    *n = 1;
    for (int i = 0; i < rank; i++)
        *n *= part[i];
    DO(path, H5Sselect_hyperslab(space, H5S_SELECT_SET, start, NULL, part, NULL));
    return ID(path, H5Screate_simple(rank, part, NULL));
}

void vt_h5_write_row(vt_h5_file *file, const char *path, vt_h5_type type, hsize_t index,
                     const void *values)
{
    hsize_t n;
    hid_t set = ID(path, H5Dopen2(file->id, path, H5P_DEFAULT));
    hid_t space = ID(path, H5Dget_space(set));
    hid_t memory = select_rows(file, path, space, index, 1, &n);
    if (n)
        DO(path, H5Dwrite(set, type_of(file, type), memory, space, H5P_DEFAULT, values));
    DO(path, H5Sclose(memory));
    DO(path, H5Sclose(space));
    DO(path, H5Dclose(set));
}

/* Length of the UTF-8 character at `at`, 0 if there is none. */
static size_t utf8_size(const unsigned char *at, size_t left)
{
    size_t size = at[0] < 0x80 ? 1 : at[0] < 0xc2 ? 0 : at[0] < 0xe0 ? 2 : at[0] < 0xf0 ? 3 : 4;
    if (!size || at[0] > 0xf4 || size > left || at[0] == 0)
        return 0;
    for (size_t i = 1; i < size; i++)
        if ((at[i] & 0xc0) != 0x80)
            return 0;
    bool bad = (at[0] == 0xe0 && at[1] < 0xa0) || (at[0] == 0xed && at[1] > 0x9f) ||
               (at[0] == 0xf0 && at[1] < 0x90) || (at[0] == 0xf4 && at[1] > 0x8f);
    return bad ? 0 : size;
}

/* A terminated copy in which what is not UTF-8 is replaced. */
static char *clean_text(const vt_h5_file *file, const char *text, size_t size)
{
    char *copy = allocate(file, size + 1, 1);
    for (size_t at = 0, step; at < size; at += step) {
        step = utf8_size((const unsigned char *)text + at, size - at);
        if (step)
            memcpy(copy + at, text + at, step);
        else
            copy[at] = '?';
        step += !step;
    }
    return copy;
}

void vt_h5_write_text(vt_h5_file *file, const char *path, const char *long_name, const char *text,
                      size_t size)
{
    const vt_h5_dataset d = {
        .path = path, .type = VT_H5_TEXT, .units = "1", .long_name = long_name};
    char *copy = clean_text(file, text, size);
    vt_h5_write(file, &d, &copy);
    vt_free(copy);
}

static const char *last_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

void vt_h5_scale(vt_h5_file *file, const char *path, const char *name)
{
    hid_t set = ID(path, H5Dopen2(file->id, path, H5P_DEFAULT));
    DO(path, H5DSset_scale(set, name));
    DO(path, H5Dclose(set));
}

void vt_h5_index_scale(vt_h5_file *file, const char *path, vt_h5_type type, hsize_t n,
                       const char *long_name)
{
    const vt_h5_dataset d = {
        .path = path, .type = type, .rank = 1, .dims = {n}, .units = "1", .long_name = long_name};
    uint16_t *small = allocate(file, n, sizeof *small);
    int32_t *large = allocate(file, n, sizeof *large);
    VT_ASSERT(type == VT_H5_U16 || type == VT_H5_I32);
    for (hsize_t i = 0; i < n; i++) {
        small[i] = (uint16_t)i;
        large[i] = (int32_t)i;
    }
    vt_h5_write(file, &d, type == VT_H5_U16 ? (void *)small : (void *)large);
    vt_h5_scale(file, path, last_name(path));
    vt_free(small);
    vt_free(large);
}

void vt_h5_axis(vt_h5_file *file, const char *path, unsigned axis, const char *scale)
{
    hid_t set = ID(path, H5Dopen2(file->id, path, H5P_DEFAULT));
    hid_t scale_set = ID(scale, H5Dopen2(file->id, scale, H5P_DEFAULT));
    DO(path, H5DSattach_scale(set, scale_set, axis));
    DO(path, H5DSset_label(set, axis, last_name(scale)));
    DO(scale, H5Dclose(scale_set));
    DO(path, H5Dclose(set));
}

void vt_h5_attr(vt_h5_file *file, const char *path, const char *name, vt_h5_type type, int64_t n,
                const void *values)
{
    hsize_t dims[1] = {n < 0 ? 0 : (hsize_t)n};
    hid_t object = ID(path, H5Oopen(file->id, path, H5P_DEFAULT));
    hid_t space = ID(path, n < 0 ? H5Screate(H5S_SCALAR) : H5Screate_simple(1, dims, NULL));
    hid_t attr =
        ID(path, H5Acreate2(object, name, type_of(file, type), space, H5P_DEFAULT, H5P_DEFAULT));
    if (n)
        DO(path, H5Awrite(attr, type_of(file, type), values));
    DO(path, H5Aclose(attr));
    DO(path, H5Sclose(space));
    DO(path, H5Oclose(object));
}

void vt_h5_attr_text(vt_h5_file *file, const char *path, const char *name, const char *text)
{
    char *copy = clean_text(file, text, strlen(text));
    vt_h5_attr(file, path, name, VT_H5_TEXT, -1, &copy);
    vt_free(copy);
}

void vt_h5_attr_i64(vt_h5_file *file, const char *path, const char *name, int64_t value)
{
    vt_h5_attr(file, path, name, VT_H5_I64, -1, &value);
}

/* The digest. */

static vt_h5_type find_type(const vt_h5_file *file, const char *path, hid_t set)
{
    int found = -1;
    hid_t type = ID(path, H5Dget_type(set));
    for (int i = 0; i < VT_H5_TYPE_COUNT && found < 0; i++)
        if (H5Tequal(type, type_of(file, (vt_h5_type)i)) > 0)
            found = i;
    DO(path, H5Tclose(type));
    VT_ASSERT(found >= 0);
    return (vt_h5_type)found;
}

static void hash_text(const vt_h5_file *file, const char *path, hid_t set, hid_t space, hsize_t n,
                      vt_sha256 *hash)
{
    char **texts = allocate(file, n, sizeof *texts);
    DO(path, H5Dread(set, file->text_type, H5S_ALL, H5S_ALL, H5P_DEFAULT, texts));
    for (hsize_t i = 0; i < n; i++)
        vt_sha256_add(hash, texts[i] ? texts[i] : "", texts[i] ? strlen(texts[i]) + 1 : 1);
    DO(path, H5Dvlen_reclaim(file->text_type, space, H5P_DEFAULT, texts));
    vt_free(texts);
}

/* Reads in pieces of about 4 MiB, or one index of the first axis where that is more. */
static void hash_numbers(const vt_h5_file *file, const char *path, hid_t set, vt_h5_type type,
                         hsize_t rows, hsize_t row_values, vt_sha256 *hash)
{
    enum { PIECE = 4 << 20 };
    size_t row_size = (size_t)row_values * type_size(type);
    hsize_t step = row_size < PIECE ? PIECE / row_size : 1;
    step = step < rows ? step : rows;
    uint8_t *bytes = allocate(file, (size_t)step, row_size);
    for (hsize_t first = 0; first < rows; first += step) {
        hsize_t n, count = rows - first < step ? rows - first : step;
        hid_t space = ID(path, H5Dget_space(set));
        hid_t memory = select_rows(file, path, space, first, count, &n);
        DO(path, H5Dread(set, type_of(file, type), memory, space, H5P_DEFAULT, bytes));
        vt_sha256_add(hash, bytes, (size_t)n * type_size(type));
        DO(path, H5Sclose(memory));
        DO(path, H5Sclose(space));
    }
    vt_free(bytes);
}

static void hash_dataset(const vt_h5_file *file, const char *path, vt_sha256 *hash)
{
    static const char *const words[VT_H5_TYPE_COUNT] = {"u8",  "u16", "i32", "i64",
                                                        "u64", "f32", "f64", "text"};
    hsize_t dims[VT_H5_MAX_RANK], n = 1;
    hid_t set = ID(path, H5Dopen2(file->id, path, H5P_DEFAULT));
    hid_t space = ID(path, H5Dget_space(set));
    vt_h5_type type = find_type(file, path, set);
    int64_t rank = H5Sget_simple_extent_dims(space, dims, NULL);
    if (rank < 0)
        fail(file, path, "H5Sget_simple_extent_dims");
    vt_sha256_add(hash, path, strlen(path) + 1);
    vt_sha256_add(hash, words[type], strlen(words[type]) + 1);
    vt_sha256_add(hash, &rank, sizeof rank);
    for (int i = 0; i < rank; i++) {
        vt_sha256_add(hash, &dims[i], sizeof dims[i]);
        n *= dims[i];
    }
    if (n && type == VT_H5_TEXT)
        hash_text(file, path, set, space, n, hash);
    else if (n)
        hash_numbers(file, path, set, type, dims[0], n / dims[0], hash);
    DO(path, H5Sclose(space));
    DO(path, H5Dclose(set));
}

static bool is_result(const char *path)
{
    static const char *const others[] = {"/checkpoints/", "/config/", "/perf/", "/provenance/"};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (strncmp(path, others[i], strlen(others[i])) == 0)
            return false;
    return true;
}

static int compare_paths(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

void vt_h5_digest(vt_h5_file *file, uint8_t digest[VT_SHA256_SIZE])
{
    vt_sha256 hash;
    qsort(file->paths, file->n_paths, sizeof *file->paths, compare_paths);
    vt_sha256_init(&hash);
    for (size_t i = 0; i < file->n_paths; i++)
        if (is_result(file->paths[i]))
            hash_dataset(file, file->paths[i], &hash);
    vt_sha256_finish(&hash, digest);
}
