#include "base/fs.h"

#include "base/log.h"
#include "base/mem.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define TEMP_PREFIX ".tmp-"

static vt_fs_hook *hook; /* tests only */
static void *hook_arg;

void vt_fs_set_hook(vt_fs_hook *new_hook, void *arg)
{
    hook = new_hook;
    hook_arg = arg;
}

/* True if the call may happen; otherwise errno says how it failed. */
static bool allowed(vt_fs_op op, size_t *size)
{
    size_t ignored = 0;
    int error = hook ? hook(hook_arg, op, size ? size : &ignored) : 0;
    if (error)
        errno = error;
    return error == 0;
}

/* Makes a call until it is not interrupted. */
#define RETRY(result, op, size, call)                                                              \
    do {                                                                                           \
        (result) = allowed(op, size) ? (call) : -1;                                                \
    } while ((result) < 0 && (errno == EINTR || errno == EAGAIN))

bool vt_fs_name_ok(const char *name)
{
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_";
    size_t size = strnlen(name, VT_NAME_MAX + 1);
    if (size == 0 || size > VT_NAME_MAX || !strchr(letters, name[0]))
        return false;
    for (size_t i = 1; i < size; i++) {
        if (name[i] != '.' && name[i] != '-' && !strchr(letters, name[i]))
            return false;
    }
    return true;
}

void vt_fs_path(int dir_fd, const char *name, char path[PATH_MAX])
{
    char link[64], folder[PATH_MAX] = ".";
    if (dir_fd != AT_FDCWD) {
        snprintf(link, sizeof link, "/proc/self/fd/%d", dir_fd);
        ssize_t size = readlink(link, folder, sizeof folder - 1);
        if (size < 0)
            snprintf(folder, sizeof folder, "(folder %d)", dir_fd);
        else
            folder[size] = '\0';
    }
    if (!name)
        snprintf(path, PATH_MAX, "%s", folder);
    else if (dir_fd == AT_FDCWD || name[0] == '/')
        snprintf(path, PATH_MAX, "%s", name);
    else if (snprintf(path, PATH_MAX, "%.*s/%s", PATH_MAX - NAME_MAX - 2, folder, name) < 0)
        path[0] = '\0';
}

static vt_status fail_at(vt_error *err, vt_status status, int dir_fd, const char *name,
                         const char *what, int error)
{
    char path[PATH_MAX];
    vt_fs_path(dir_fd, name, path);
    return vt_fail(err, status, "%s: %s: %s", path, what, strerror(error));
}

static bool is_full(int error)
{
    return error == ENOSPC || error == EDQUOT || error == EFBIG;
}

/* Failure to write `need` more bytes of a file. `fd` is the file or its folder. */
static vt_status fail_write(vt_error *err, int fd, const char *path, int64_t need, int error)
{
    struct statvfs fs;
    if (!is_full(error))
        return vt_fail(err, VT_ERR_IO, "%s: cannot write: %s", path, strerror(error));
    if (fstatvfs(fd, &fs) != 0)
        return vt_fail(err, VT_ERR_IO, "%s: %s; %lld bytes needed", path, strerror(error),
                       (long long)need);
    return vt_fail(
        err, VT_ERR_IO, "%s: %s: %lld bytes needed, %llu bytes free; free some space and run again",
        path, strerror(error), (long long)need, (unsigned long long)fs.f_bavail * fs.f_frsize);
}

/* Closes and reports what close says; the descriptor is gone in any case. */
static int close_checked(int *fd)
{
    int error = allowed(VT_FS_CLOSE, NULL) ? 0 : errno;
    if (close(*fd) != 0 && error == 0 && errno != EINTR)
        error = errno;
    *fd = -1;
    return error == EINTR ? 0 : error;
}

void vt_fs_close(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

bool vt_fs_keep_standard_streams(void)
{
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
        if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", O_RDONLY) != fd)
            return false;
    return true;
}

vt_status vt_fs_open_dir(int dir_fd, const char *path, int *fd, vt_error *err)
{
    RETRY(*fd, VT_FS_OPEN, NULL, openat(dir_fd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (*fd >= 0)
        return VT_OK;
    return fail_at(err, errno == ENOENT ? VT_ERR_NOINPUT : VT_ERR_IO, dir_fd, path,
                   "cannot open folder", errno);
}

vt_status vt_fs_open_parent(const char *path, int *fd, const char **name, vt_error *err)
{
    char folder[PATH_MAX];
    const char *slash = strrchr(path, '/');
    *name = slash ? slash + 1 : path;
    if (*name - path >= PATH_MAX)
        return vt_fail(err, VT_ERR_NOINPUT, "a path of %zu characters is too long", strlen(path));
    snprintf(folder, sizeof folder, "%.*s", slash ? (int)(*name - path) : 1, slash ? path : ".");
    return vt_fs_open_dir(AT_FDCWD, folder, fd, err);
}

/* Opens the folder `name`, made if missing; the entry is durable on return. Another process may
 * make or rename the folder at the same time, hence the loop. */
static vt_status make_dir(int dir_fd, const char *name, int *fd, vt_error *err)
{
    int made, flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
    for (int tries = 0; tries < 100; tries++) {
        RETRY(*fd, VT_FS_OPEN, NULL, openat(dir_fd, name, flags));
        if (*fd >= 0)
            return VT_OK;
        if (errno != ENOENT)
            break;
        RETRY(made, VT_FS_MKDIR, NULL, mkdirat(dir_fd, name, 0777));
        if (made != 0 && errno != EEXIST)
            return fail_at(err, is_full(errno) ? VT_ERR_IO : VT_ERR_CANTCREATE, dir_fd, name,
                           "cannot make folder", errno);
        vt_status status = vt_fs_sync_dir(dir_fd, err);
        if (status != VT_OK)
            return status;
        errno = ENOENT;
    }
    return fail_at(err, VT_ERR_CANTCREATE, dir_fd, name, "cannot open folder", errno);
}

vt_status vt_fs_make_dirs(int dir_fd, const char *path, int *fd, vt_error *err)
{
    vt_status status = VT_OK;
    int parent = -1;
    *fd = -1;
    for (const char *part = path; status == VT_OK && part; part = strchr(part, '/')) {
        char name[VT_NAME_MAX + 2];
        part += part != path;
        size_t size = strcspn(part, "/");
        snprintf(name, sizeof name, "%.*s", (int)(size < sizeof name ? size : sizeof name - 1),
                 part);
        if (!vt_fs_name_ok(name)) {
            status = vt_fail(err, VT_ERR_CANTCREATE,
                             "'%s' cannot be a folder: 1 to %d letters, digits, '.', '_' or '-', "
                             "no '.' or '-' first",
                             name, VT_NAME_MAX);
            break;
        }
        parent = *fd;
        status = make_dir(parent < 0 ? dir_fd : parent, name, fd, err);
        vt_fs_close(&parent);
    }
    if (status != VT_OK)
        vt_fs_close(fd);
    return status;
}

vt_status vt_fs_sync_dir(int dir_fd, vt_error *err)
{
    int result;
    /* AT_FDCWD and O_PATH descriptors cannot be synced, so this opens the folder itself. */
    int fd;
    RETRY(fd, VT_FS_OPEN, NULL, openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (fd < 0)
        return fail_at(err, VT_ERR_IO, dir_fd, NULL, "cannot open folder", errno);
    RETRY(result, VT_FS_FSYNC, NULL, fsync(fd));
    int error = errno;
    close(fd);
    /* Some network file systems have no folder sync and say so with EINVAL. */
    if (result != 0 && error != EINVAL)
        return fail_at(err, VT_ERR_IO, dir_fd, NULL, "cannot sync folder", error);
    return VT_OK;
}

vt_status vt_fs_list(int dir_fd, vt_fs_visit *visit, void *arg, vt_error *err)
{
    int fd;
    RETRY(fd, VT_FS_OPEN, NULL, openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
    if (!dir) {
        int error = errno;
        vt_fs_close(&fd);
        return fail_at(err, VT_ERR_IO, dir_fd, NULL, "cannot list folder", error);
    }
    struct dirent *entry;
    errno = 0;
    while ((entry = readdir(dir))) {
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            visit(arg, entry->d_name);
        errno = 0;
    }
    int error = errno;
    closedir(dir);
    return error ? fail_at(err, VT_ERR_IO, dir_fd, NULL, "cannot list folder", error) : VT_OK;
}

static void remove_temp(void *arg, const char *name)
{
    const int *dir_fd = arg;
    int result;
    if (strncmp(name, TEMP_PREFIX, strlen(TEMP_PREFIX)) != 0)
        return;
    RETRY(result, VT_FS_UNLINK, NULL, unlinkat(*dir_fd, name, 0));
    if (result != 0 && errno != ENOENT)
        vt_log_write(VT_LOG_WARNING, "cannot remove the leftover %s: %s", name, strerror(errno));
}

vt_status vt_fs_clean_temps(int dir_fd, vt_error *err)
{
    return vt_fs_list(dir_fd, remove_temp, &dir_fd, err);
}

/* Creates a new file with a temporary name for `name`. */
static int open_temp(int dir_fd, const char *name, char temp[NAME_MAX + 1])
{
    int fd = -1;
    for (int n = 0; n < 1000; n++) {
        snprintf(temp, NAME_MAX + 1, TEMP_PREFIX "%d-%d-%.*s", (int)getpid(), n, VT_NAME_MAX, name);
        RETRY(fd, VT_FS_OPEN, NULL,
              openat(dir_fd, temp, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0666));
        if (fd >= 0 || errno != EEXIST)
            break;
    }
    return fd;
}

vt_status vt_fs_probe(int dir_fd, vt_error *err)
{
    char temp[NAME_MAX + 1], other[NAME_MAX + 1];
    const char *what = "cannot create a file";
    int error = 0, result, fd = open_temp(dir_fd, "probe", temp);
    if (fd < 0) {
        error = errno;
        goto done;
    }
    snprintf(other, sizeof other, "%.*s2", NAME_MAX - 2, temp);
    RETRY(result, VT_FS_WRITE, NULL, (int)pwrite(fd, "probe", 5, 0));
    what = "cannot write a file";
    if (result == 5) {
        what = "cannot sync a file";
        RETRY(result, VT_FS_FSYNC, NULL, fsync(fd));
        error = result != 0 ? errno : 0;
    } else {
        error = result < 0 ? errno : ENOSPC;
    }
    int close_error = close_checked(&fd);
    error = error ? error : close_error;
    if (!error) {
        what = "cannot rename a file";
        RETRY(result, VT_FS_RENAME, NULL, renameat(dir_fd, temp, dir_fd, other));
        error = result != 0 ? errno : 0;
    }
    const char *last = error ? temp : other;
    RETRY(result, VT_FS_UNLINK, NULL, unlinkat(dir_fd, last, 0));
    if (!error && result != 0) {
        what = "cannot remove a file";
        error = errno;
    }
done:
    if (error == 0)
        return VT_OK;
    bool refused = error == EROFS || error == EACCES || error == EPERM || error == ENOENT;
    return fail_at(err, refused ? VT_ERR_CANTCREATE : VT_ERR_IO, dir_fd, NULL, what, error);
}

static const char *kind_of(mode_t mode)
{
    return S_ISDIR(mode)    ? "a folder"
           : S_ISLNK(mode)  ? "a symbolic link"
           : S_ISFIFO(mode) ? "a FIFO"
           : S_ISSOCK(mode) ? "a socket"
                            : "a device";
}

/* What lies in the way of an open that failed, as text for a message. */
static const char *obstacle(int dir_fd, const char *name)
{
    struct stat s;
    if (fstatat(dir_fd, name, &s, AT_SYMLINK_NOFOLLOW) == 0 && !S_ISREG(s.st_mode))
        return kind_of(s.st_mode);
    return NULL;
}

static vt_status fail_kind(vt_error *err, vt_status status, int dir_fd, const char *name,
                           const char *kind)
{
    char path[PATH_MAX];
    vt_fs_path(dir_fd, name, path);
    return vt_fail(err, status, "%s: expected a regular file, found %s", path, kind);
}

vt_status vt_fs_open_read(int dir_fd, const char *name, int *fd, int64_t *size, vt_error *err)
{
    vt_status status = VT_OK;
    struct stat s;
    RETRY(*fd, VT_FS_OPEN, NULL,
          openat(dir_fd, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
    if (*fd < 0) {
        int error = errno;
        const char *kind = obstacle(dir_fd, name);
        if (kind)
            return fail_kind(err, VT_ERR_DATA, dir_fd, name, kind);
        return fail_at(err, error == ENOENT ? VT_ERR_NOINPUT : VT_ERR_IO, dir_fd, name,
                       "cannot open", error);
    }
    if (fstat(*fd, &s) != 0)
        status = fail_at(err, VT_ERR_IO, dir_fd, name, "cannot examine", errno);
    else if (!S_ISREG(s.st_mode))
        status = fail_kind(err, VT_ERR_DATA, dir_fd, name, kind_of(s.st_mode));
    else if (size)
        *size = s.st_size;
    if (status != VT_OK)
        vt_fs_close(fd);
    return status;
}

vt_status vt_fs_open_update(int dir_fd, const char *name, int *fd, int64_t *size, vt_error *err)
{
    vt_status status = VT_OK;
    char path[PATH_MAX];
    struct stat s;
    RETRY(*fd, VT_FS_OPEN, NULL,
          openat(dir_fd, name, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK | O_NOCTTY,
                 0666));
    if (*fd < 0) {
        int error = errno;
        const char *kind = obstacle(dir_fd, name);
        if (kind)
            return fail_kind(err, VT_ERR_CANTCREATE, dir_fd, name, kind);
        return fail_at(err, is_full(error) || error == EIO ? VT_ERR_IO : VT_ERR_CANTCREATE, dir_fd,
                       name, "cannot open for writing", error);
    }
    vt_fs_path(dir_fd, name, path);
    if (fstat(*fd, &s) != 0)
        status = fail_at(err, VT_ERR_IO, dir_fd, name, "cannot examine", errno);
    else if (!S_ISREG(s.st_mode))
        status = fail_kind(err, VT_ERR_CANTCREATE, dir_fd, name, kind_of(s.st_mode));
    else if (s.st_nlink != 1)
        status = vt_fail(err, VT_ERR_CANTCREATE,
                         "%s: the file has %llu names (hard links); expected one", path,
                         (unsigned long long)s.st_nlink);
    else if (s.st_uid != geteuid() && geteuid() != 0)
        status = vt_fail(err, VT_ERR_CANTCREATE, "%s: the file belongs to user %lu, not to %lu",
                         path, (unsigned long)s.st_uid, (unsigned long)geteuid());
    else if (size)
        *size = s.st_size;
    if (status != VT_OK)
        vt_fs_close(fd);
    return status;
}

vt_status vt_fs_read_at(int fd, const char *name, int64_t offset, void *bytes, size_t size,
                        size_t *got, vt_error *err)
{
    bool retried = false;
    *got = 0;
    while (*got < size) {
        size_t part = size - *got < INT_MAX / 2 ? size - *got : INT_MAX / 2;
        ssize_t n;
        RETRY(n, VT_FS_READ, &part,
              pread(fd, (char *)bytes + *got, part, (off_t)(offset + (int64_t)*got)));
        if (n == 0)
            break;
        if (n > 0)
            *got += (size_t)n;
        else if (errno == EIO && !retried)
            retried = true;
        else
            return vt_fail(err, VT_ERR_IO, "%s: cannot read at offset %lld: %s", name,
                           (long long)(offset + (int64_t)*got), strerror(errno));
    }
    return VT_OK;
}

vt_status vt_fs_write_at(int fd, const char *name, int64_t offset, const void *bytes, size_t size,
                         vt_error *err)
{
    size_t done = 0;
    while (done < size) {
        size_t part = size - done < INT_MAX / 2 ? size - done : INT_MAX / 2;
        ssize_t n;
        RETRY(n, VT_FS_WRITE, &part,
              pwrite(fd, (const char *)bytes + done, part, (off_t)(offset + (int64_t)done)));
        if (n <= 0)
            return fail_write(err, fd, name, (int64_t)(size - done), n == 0 ? ENOSPC : errno);
        done += (size_t)n;
    }
    return VT_OK;
}

vt_status vt_fs_truncate(int fd, const char *name, int64_t size, vt_error *err)
{
    int result;
    RETRY(result, VT_FS_TRUNCATE, NULL, ftruncate(fd, (off_t)size));
    if (result != 0)
        return vt_fail(err, VT_ERR_IO, "%s: cannot cut to %lld bytes: %s", name, (long long)size,
                       strerror(errno));
    return VT_OK;
}

vt_status vt_fs_sync(int fd, const char *name, vt_error *err)
{
    int result = allowed(VT_FS_FSYNC, NULL) ? fsync(fd) : -1;
    if (result != 0) /* not tried again, even if interrupted: the pages may be gone */
        return vt_fail(err, VT_ERR_IO, "%s: cannot sync: %s", name, strerror(errno));
    return VT_OK;
}

vt_status vt_fs_read_file(int dir_fd, const char *name, size_t cap, char **data, size_t *size,
                          vt_error *err)
{
    char path[PATH_MAX];
    int64_t file_size = 0;
    int fd = -1;
    *data = NULL;
    *size = 0;
    vt_fs_path(dir_fd, name, path);
    vt_status status = vt_fs_open_read(dir_fd, name, &fd, &file_size, err);
    if (status != VT_OK)
        return status;
    if ((uint64_t)file_size > cap) {
        status = vt_fail(err, VT_ERR_DATA, "%s: %lld bytes; at most %zu are expected", path,
                         (long long)file_size, cap);
        goto done;
    }
    *data = vt_calloc((size_t)file_size + 1, 1);
    if (!*data) {
        status =
            vt_fail(err, VT_ERR_NOMEM, "%s: no memory for %lld bytes", path, (long long)file_size);
        goto done;
    }
    status = vt_fs_read_at(fd, path, 0, *data, (size_t)file_size, size, err);
done:
    vt_fs_close(&fd);
    if (status != VT_OK) {
        vt_free(*data);
        *data = NULL;
    }
    return status;
}

size_t vt_fs_read_text(const char *path, char *text, size_t capacity)
{
    size_t size = 0;
    ssize_t n = 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    while (fd >= 0 && size < capacity - 1 && (n = read(fd, text + size, capacity - 1 - size)) > 0)
        size += (size_t)n;
    vt_fs_close(&fd);
    if (size && text[size - 1] == '\n')
        size--;
    text[size] = '\0';
    return size;
}

vt_status vt_fs_hash_file(int dir_fd, const char *name, uint8_t sha256[VT_SHA256_SIZE],
                          vt_error *err)
{
    enum { PIECE = 1 << 20 };
    char path[PATH_MAX];
    int fd = -1;
    size_t got = 0;
    int64_t offset = 0;
    vt_sha256 hash;
    vt_fs_path(dir_fd, name, path);
    vt_status status = vt_fs_open_read(dir_fd, name, &fd, NULL, err);
    if (status != VT_OK)
        return status;
    vt_sha256_init(&hash);
    char *piece = vt_calloc(PIECE, 1);
    if (!piece)
        status = vt_fail(err, VT_ERR_NOMEM, "%s: no memory to read it", path);
    do {
        if (status == VT_OK)
            status = vt_fs_read_at(fd, path, offset, piece, PIECE, &got, err);
        if (status == VT_OK)
            vt_sha256_add(&hash, piece, got);
        offset += (int64_t)got;
    } while (status == VT_OK && got == PIECE);
    vt_sha256_finish(&hash, sha256);
    vt_free(piece);
    vt_fs_close(&fd);
    return status;
}

vt_status vt_fs_begin(vt_fs_writer *writer, int dir_fd, const char *name, int64_t size,
                      vt_error *err)
{
    char path[PATH_MAX];
    VT_ASSERT(!writer->open);
    if (!vt_fs_name_ok(name))
        return vt_fail(
            err, VT_ERR_CANTCREATE,
            "'%.*s': a file's name may have 1 to %d of the characters A-Z a-z 0-9 . _ -, "
            "a letter, digit or _ first",
            VT_NAME_MAX, name, VT_NAME_MAX);
    *writer = (vt_fs_writer){.dir_fd = dir_fd, .fd = -1, .expected = size};
    snprintf(writer->name, sizeof writer->name, "%s", name);
    vt_fs_path(dir_fd, name, path);
    writer->fd = open_temp(dir_fd, name, writer->temp);
    if (writer->fd < 0)
        return is_full(errno) ? fail_write(err, dir_fd, path, size < 0 ? 0 : size, errno)
                              : fail_at(err, VT_ERR_IO, dir_fd, name, "cannot create", errno);
    writer->open = true;
    vt_sha256_init(&writer->hash);
    int result = 0;
    if (size > 0)
        RETRY(result, VT_FS_RESERVE, NULL, fallocate(writer->fd, 0, 0, (off_t)size));
    if (result != 0 && errno != EOPNOTSUPP && errno != ENOSYS && errno != EINVAL) {
        vt_status status = fail_write(err, writer->fd, path, size, errno);
        vt_fs_abort(writer);
        return status;
    }
    return VT_OK;
}

vt_status vt_fs_write(vt_fs_writer *writer, const void *bytes, size_t size, vt_error *err)
{
    char path[PATH_MAX];
    VT_ASSERT(writer->open && !writer->sealed);
    vt_fs_path(writer->dir_fd, writer->name, path);
    vt_status status = vt_fs_write_at(writer->fd, path, writer->size, bytes, size, err);
    vt_sha256_add(&writer->hash, bytes, size);
    writer->size += (int64_t)size;
    if (status != VT_OK)
        vt_fs_abort(writer);
    return status;
}

vt_status vt_fs_seal(vt_fs_writer *writer, vt_error *err)
{
    uint8_t seal[VT_SHA256_SIZE];
    VT_ASSERT(writer->open && !writer->sealed);
    vt_sha256_finish(&writer->hash, seal);
    vt_sha256_init(&writer->hash); /* so that there is always one to finish */
    vt_status status = vt_fs_write(writer, seal, sizeof seal, err);
    memcpy(writer->sha256, seal, sizeof seal);
    writer->sealed = true;
    return status;
}

vt_status vt_fs_commit(vt_fs_writer *writer, uint8_t sha256[VT_SHA256_SIZE], vt_error *err)
{
    char path[PATH_MAX];
    int result;
    VT_ASSERT(writer->open);
    VT_ASSERT(writer->expected < 0 || writer->size == writer->expected);
    vt_fs_path(writer->dir_fd, writer->name, path);
    vt_status status = vt_fs_sync(writer->fd, path, err);
    int error = close_checked(&writer->fd);
    if (status == VT_OK && error)
        status = is_full(error)
                     ? fail_write(err, writer->dir_fd, path, writer->size, error)
                     : vt_fail(err, VT_ERR_IO, "%s: cannot close: %s", path, strerror(error));
    const char *kind = obstacle(writer->dir_fd, writer->name);
    if (status == VT_OK && kind)
        status = fail_kind(err, VT_ERR_IO, writer->dir_fd, writer->name, kind);
    if (status == VT_OK) {
        RETRY(result, VT_FS_RENAME, NULL,
              renameat(writer->dir_fd, writer->temp, writer->dir_fd, writer->name));
        if (result != 0)
            status = is_full(errno) ? fail_write(err, writer->dir_fd, path, 0, errno)
                                    : vt_fail(err, VT_ERR_IO, "%s: cannot rename into place: %s",
                                              path, strerror(errno));
    }
    if (status == VT_OK) {
        writer->temp[0] = '\0';
        status = vt_fs_sync_dir(writer->dir_fd, err);
    }
    uint8_t digest[VT_SHA256_SIZE];
    vt_sha256_finish(&writer->hash, digest);
    if (sha256)
        memcpy(sha256, writer->sealed ? writer->sha256 : digest, VT_SHA256_SIZE);
    writer->open = writer->temp[0] != '\0';
    vt_fs_abort(writer);
    return status;
}

void vt_fs_abort(vt_fs_writer *writer)
{
    uint8_t digest[VT_SHA256_SIZE];
    int result;
    if (!writer->open)
        return;
    vt_fs_close(&writer->fd);
    RETRY(result, VT_FS_UNLINK, NULL, unlinkat(writer->dir_fd, writer->temp, 0));
    if (result != 0 && errno != ENOENT)
        vt_log_write(VT_LOG_WARNING, "cannot remove %s: %s", writer->temp, strerror(errno));
    if (writer->hash.context)
        vt_sha256_finish(&writer->hash, digest);
    writer->open = false;
}

vt_status vt_fs_publish(int dir_fd, const char *name, const void *bytes, size_t size, vt_error *err)
{
    vt_fs_writer writer = {0};
    vt_status status = vt_fs_begin(&writer, dir_fd, name, (int64_t)size, err);
    if (status == VT_OK)
        status = vt_fs_write(&writer, bytes, size, err);
    if (status == VT_OK)
        status = vt_fs_commit(&writer, NULL, err);
    return status;
}

vt_status vt_fs_link(int dir_fd, const char *target, const char *link, vt_error *err)
{
    char temp[NAME_MAX + 1];
    struct stat a, b;
    int result = -1;
    VT_ASSERT(vt_fs_name_ok(target) && vt_fs_name_ok(link));
    if (fstatat(dir_fd, target, &a, AT_SYMLINK_NOFOLLOW) != 0)
        return fail_at(err, VT_ERR_IO, dir_fd, target, "cannot examine", errno);
    bool there = fstatat(dir_fd, link, &b, AT_SYMLINK_NOFOLLOW) == 0;
    if (there && !S_ISREG(b.st_mode))
        return fail_kind(err, VT_ERR_IO, dir_fd, link, kind_of(b.st_mode));
    /* Renaming one name of a file over another of the same file does nothing and leaves both. */
    if (there && a.st_ino == b.st_ino && a.st_dev == b.st_dev)
        return VT_OK;
    for (int n = 0; n < 1000; n++) {
        snprintf(temp, sizeof temp, TEMP_PREFIX "%d-%d-%s", (int)getpid(), n, link);
        RETRY(result, VT_FS_LINK, NULL, linkat(dir_fd, target, dir_fd, temp, 0));
        if (result == 0 || errno != EEXIST)
            break;
    }
    if (result != 0)
        return fail_at(err, VT_ERR_IO, dir_fd, link, "cannot make the link", errno);
    RETRY(result, VT_FS_RENAME, NULL, renameat(dir_fd, temp, dir_fd, link));
    if (result != 0) {
        vt_status status = fail_at(err, VT_ERR_IO, dir_fd, link, "cannot set the link", errno);
        RETRY(result, VT_FS_UNLINK, NULL, unlinkat(dir_fd, temp, 0));
        return status;
    }
    return vt_fs_sync_dir(dir_fd, err);
}

vt_status vt_fs_remove(int dir_fd, const char *name, vt_error *err)
{
    int result;
    RETRY(result, VT_FS_UNLINK, NULL, unlinkat(dir_fd, name, 0));
    if (result != 0 && errno != ENOENT)
        return fail_at(err, VT_ERR_IO, dir_fd, name, "cannot remove", errno);
    return VT_OK;
}

bool vt_fs_exists(int dir_fd, const char *name)
{
    struct stat s;
    return fstatat(dir_fd, name, &s, AT_SYMLINK_NOFOLLOW) == 0;
}

int64_t vt_fs_written_s(int dir_fd, const char *name)
{
    struct stat s;
    return fstatat(dir_fd, name, &s, AT_SYMLINK_NOFOLLOW) == 0 ? s.st_mtim.tv_sec : 0;
}
