#include "support/fault.h"

#include "base/mem.h"
#include "base/status.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <unistd.h>

vt_scratch vt_scratch_new(void)
{
    vt_scratch scratch;
    const char *base = getenv("TMPDIR");
    if (!base) /* memory, because the tests sync thousands of times */
        base = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
    snprintf(scratch.path, sizeof scratch.path, "%s/vitrine-test-XXXXXX", base);
    VT_ASSERT(mkdtemp(scratch.path));
    scratch.fd = open(scratch.path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    VT_ASSERT(scratch.fd >= 0);
    return scratch;
}

static void empty_folder(int dir_fd)
{
    int fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
    struct dirent *entry;
    while (dir && (entry = readdir(dir))) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0 ||
            unlinkat(dir_fd, entry->d_name, 0) == 0)
            continue;
        int inner = openat(dir_fd, entry->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (inner >= 0) {
            empty_folder(inner);
            close(inner);
        }
        unlinkat(dir_fd, entry->d_name, AT_REMOVEDIR);
    }
    if (dir)
        closedir(dir);
}

void vt_scratch_free(vt_scratch *scratch)
{
    empty_folder(scratch->fd);
    close(scratch->fd);
    rmdir(scratch->path);
}

struct counting {
    const char *prefix;
    int n;
};

static void count_name(void *arg, const char *name)
{
    struct counting *counting = arg;
    counting->n += strncmp(name, counting->prefix, strlen(counting->prefix)) == 0;
}

int vt_scratch_count(int dir_fd, const char *prefix)
{
    struct counting counting = {.prefix = prefix};
    VT_ASSERT(vt_fs_list(dir_fd, count_name, &counting, NULL) == VT_OK);
    return counting.n;
}

char *vt_scratch_read(int dir_fd, const char *name, size_t *size)
{
    char *bytes = NULL;
    VT_ASSERT(vt_fs_read_file(dir_fd, name, 1 << 28, &bytes, size, NULL) == VT_OK);
    return bytes;
}

void vt_scratch_write(int dir_fd, const char *name, const void *bytes, size_t size)
{
    int fd = openat(dir_fd, name, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0666);
    VT_ASSERT(fd >= 0);
    VT_ASSERT(write(fd, bytes, size) == (ssize_t)size);
    close(fd);
}

bool vt_plant(int dir_fd, const char *name, char kind, const char *target)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    char path[PATH_MAX];
    switch (kind) {
    case 'l':
        return symlinkat(target, dir_fd, name) == 0;
    case 'f':
        return mkfifoat(dir_fd, name, 0666) == 0;
    case 'd':
        return mkdirat(dir_fd, name, 0777) == 0;
    case 'c':
        return mknodat(dir_fd, name, S_IFCHR | 0666, makedev(1, 5)) == 0;
    default:
        vt_fs_path(dir_fd, name, path);
        if (strlen(path) >= sizeof address.sun_path)
            return false;
        memcpy(address.sun_path, path, strlen(path) + 1);
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        bool ok = fd >= 0 && bind(fd, (struct sockaddr *)&address, sizeof address) == 0;
        if (fd >= 0)
            close(fd);
        return ok;
    }
}

static int decide(void *arg, vt_fs_op op, size_t *size)
{
    vt_fault *fault = arg;
    if (fault->interrupt && op != VT_FS_FSYNC && fault->calls++ % 2 == 0)
        return EINTR;
    if (fault->transfer && *size > fault->transfer)
        *size = fault->transfer;
    if (fault->op >= 0 && fault->op != (int)op)
        return 0;
    fault->count++;
    bool hit =
        fault->at && (fault->count == fault->at || (fault->onwards && fault->count > fault->at));
    if (hit && !fault->error)
        kill(getpid(), SIGKILL);
    return hit ? fault->error : 0;
}

void vt_fault_start(vt_fault *fault)
{
    fault->count = 0;
    vt_fs_set_hook(decide, fault);
}

void vt_fault_stop(void)
{
    vt_fs_set_hook(NULL, NULL);
}
