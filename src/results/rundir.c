#include "results/rundir.h"

#include "base/clock.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/phase.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define LOCK_NAME "lock"

enum { EXP_NAME_MAX = 128, RUN_ID_MAX = 63, LOCK_TEXT_MAX = 2048 };

static vt_status check_name(const char *what, const char *name, size_t limit, vt_error *err)
{
    if (vt_fs_name_ok(name) && strlen(name) <= limit && strcmp(name, "baselines") != 0 &&
        strcmp(name, "sweeps") != 0)
        return VT_OK;
    char shown[64];
    size_t n = 0;
    for (; name[n] && n < sizeof shown - 1; n++)
        shown[n] = (unsigned char)name[n] < ' ' || name[n] == 0x7f ? '?' : name[n];
    shown[n] = '\0';
    return vt_fail(err, VT_ERR_USAGE,
                   "%s '%s': expected 1 to %zu letters, digits, '.', '_' or '-', with a letter, "
                   "digit or '_' first, and neither 'baselines' nor 'sweeps'",
                   what, shown, limit);
}

/* When a process started, in clock ticks since boot; 0 if there is none. */
static int64_t start_ticks(int64_t pid)
{
    enum { FIELDS_BEFORE = 19 }; /* between the name in brackets and field 22 */
    char path[64], text[1024];
    snprintf(path, sizeof path, "/proc/%lld/stat", (long long)pid);
    vt_fs_read_text(path, text, sizeof text);
    const char *at = strrchr(text, ')');
    for (int i = 0; at && i <= FIELDS_BEFORE; i++)
        at = strchr(at + 1, ' ');
    return at ? strtoll(at, NULL, 10) : 0;
}

static void describe_self(vt_holder *holder)
{
    *holder = (vt_holder){.pid = getpid()};
    if (gethostname(holder->host, sizeof holder->host - 1) != 0)
        snprintf(holder->host, sizeof holder->host, "unknown");
    vt_fs_read_text("/proc/sys/kernel/random/boot_id", holder->boot_id, sizeof holder->boot_id);
    vt_clock_utc(vt_clock_unix_s(), holder->start_utc);
    holder->start_ticks = start_ticks(holder->pid);
}

static void copy_text(char *to, size_t size, const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    snprintf(to, size, "%s", text ? text : "");
    for (char *c = to; *c; c++)
        *c = *c < ' ' || *c > '~' ? '?' : *c;
}

static bool read_holder(int lock_fd, vt_holder *holder)
{
    char text[LOCK_TEXT_MAX];
    size_t size = 0;
    *holder = (vt_holder){0};
    if (vt_fs_read_at(lock_fd, LOCK_NAME, 0, text, sizeof text, &size, NULL) != VT_OK)
        return false;
    json_t *object = json_loadb(text, size, 0, NULL);
    copy_text(holder->host, sizeof holder->host, object, "host");
    copy_text(holder->boot_id, sizeof holder->boot_id, object, "boot_id");
    copy_text(holder->start_utc, sizeof holder->start_utc, object, "start_utc");
    holder->pid = json_integer_value(json_object_get(object, "pid"));
    holder->start_ticks = json_integer_value(json_object_get(object, "start_ticks"));
    json_decref(object);
    return holder->pid > 0;
}

static vt_status write_holder(int lock_fd, const char *path, vt_error *err)
{
    vt_holder self;
    describe_self(&self);
    json_t *object = json_pack("{s:s, s:s, s:I, s:I, s:s}", "host", self.host, "boot_id",
                               self.boot_id, "pid", (json_int_t)self.pid, "start_ticks",
                               (json_int_t)self.start_ticks, "start_utc", self.start_utc);
    char text[LOCK_TEXT_MAX];
    size_t size = object ? json_dumpb(object, text, sizeof text - 1, JSON_SORT_KEYS) : 0;
    json_decref(object);
    VT_ASSERT(size < sizeof text - 1);
    if (size == 0)
        return vt_fail(err, VT_ERR_NOMEM, "%s: no memory", path);
    text[size++] = '\n';
    vt_status status = vt_fs_truncate(lock_fd, path, 0, err);
    return status == VT_OK ? vt_fs_write_at(lock_fd, path, 0, text, size, err) : status;
}

/* The message for the one who came second. A winner needs a moment to write its name, and until
 * then the file may name a process that is gone; so this waits for a credible name, up to 1 s. */
static vt_status fail_busy(int lock_fd, const char *path, vt_error *err)
{
    vt_holder self, holder = {0};
    describe_self(&self);
    for (int i = 0; i < 100; i++) {
        bool known = read_holder(lock_fd, &holder);
        bool local = strcmp(holder.boot_id, self.boot_id) == 0;
        if (known && (!local || start_ticks(holder.pid) == holder.start_ticks))
            break;
        nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
    }
    if (holder.pid <= 0)
        return vt_fail(err, VT_ERR_BUSY, "%s: the run is in use by a process that gave no name",
                       path);
    return vt_fail(err, VT_ERR_BUSY,
                   "%s: the run is in use by process %lld on host %s since %s (boot %s); wait for "
                   "it or stop it",
                   path, (long long)holder.pid, holder.host, holder.start_utc, holder.boot_id);
}

static bool same_file(int dir_fd, const char *name, int fd)
{
    struct stat a, b;
    return fstatat(dir_fd, name, &a, AT_SYMLINK_NOFOLLOW) == 0 && fstat(fd, &b) == 0 &&
           a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

static vt_status take_lock(vt_rundir *run, vt_error *err)
{
    struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    char path[PATH_MAX];
    vt_fs_path(run->fd, LOCK_NAME, path);
    vt_status status = vt_fs_open_update(run->fd, LOCK_NAME, &run->lock_fd, NULL, err);
    if (status != VT_OK)
        return status;
    if (fcntl(run->lock_fd, F_OFD_SETLK, &whole) == 0)
        return write_holder(run->lock_fd, path, err);
    int error = errno;
    if (error == EAGAIN || error == EACCES)
        status = fail_busy(run->lock_fd, path, err);
    else
        status = vt_fail(err, VT_ERR_CANTCREATE,
                         "%s: this file system takes no locks (%s); put the results elsewhere",
                         path, strerror(error));
    vt_fs_close(&run->lock_fd); /* closing the run clears the text of a lock that it holds */
    return status;
}

vt_status vt_results_open(const char *results, int *fd, vt_error *err)
{
    vt_error ignored = {0};
    vt_status status = vt_fs_open_dir(AT_FDCWD, results, fd, &ignored);
    if (status == VT_ERR_NOINPUT && mkdir(results, 0777) != 0 && errno != EEXIST)
        return vt_fail(err, VT_ERR_CANTCREATE, "%s: cannot make the results folder: %s", results,
                       strerror(errno));
    if (status != VT_OK)
        status = vt_fs_open_dir(AT_FDCWD, results, fd, &ignored);
    return status == VT_OK ? VT_OK : vt_fail(err, VT_ERR_CANTCREATE, "%s", ignored.text);
}

/* Renames the locked run to RUNID.old-N. */
static vt_status move_aside(vt_rundir *run, vt_error *err)
{
    char name[RUN_ID_MAX + 32];
    for (int n = 1; n < 10000; n++) {
        snprintf(name, sizeof name, "%s.old-%d", run->run_id, n);
        if (vt_fs_exists(run->exp_fd, name))
            continue;
        if (renameat(run->exp_fd, run->run_id, run->exp_fd, name) != 0)
            return vt_fail(err, VT_ERR_CANTCREATE, "%s: cannot rename to %s: %s", run->path, name,
                           strerror(errno));
        vt_log_write(VT_LOG_INFO, "%s: the old run is now %s", run->path, name);
        return vt_fs_sync_dir(run->exp_fd, err);
    }
    return vt_fail(err, VT_ERR_CANTCREATE, "%s: too many old copies of the run", run->path);
}

/* Opens the run's folder and locks it. The folder may be renamed under our hands by a process with
 * --force; *moved then asks for another try. */
static vt_status lock_folder(vt_rundir *run, bool *force, bool *moved, vt_error *err)
{
    run->resumed = vt_fs_exists(run->exp_fd, run->run_id);
    vt_status status = vt_fs_make_dirs(run->exp_fd, run->run_id, &run->fd, err);
    if (status != VT_OK)
        return status;
    vt_fs_path(run->fd, NULL, run->path);
    status = take_lock(run, err);
    if (status != VT_OK)
        return status;
    *moved = !same_file(run->exp_fd, run->run_id, run->fd) ||
             !same_file(run->fd, LOCK_NAME, run->lock_fd);
    if (!*moved && *force && run->resumed) {
        status = move_aside(run, err);
        *force = false;
        *moved = true;
    }
    if (*moved) {
        vt_fs_close(&run->lock_fd);
        vt_fs_close(&run->fd);
    }
    return status;
}

vt_status vt_rundir_open(vt_rundir *run, const char *results, const char *exp, const char *run_id,
                         bool force, vt_error *err)
{
    int results_fd = -1;
    bool moved = true;
    vt_phase phase = vt_phase_enter(VT_PHASE_RECOVERY);
    *run = (vt_rundir){.fd = -1, .captures_fd = -1, .exp_fd = -1, .lock_fd = -1};
    vt_status status = check_name("experiment name", exp, EXP_NAME_MAX, err);
    if (status == VT_OK)
        status = check_name("run id", run_id, RUN_ID_MAX, err);
    if (status != VT_OK)
        goto done;
    snprintf(run->run_id, sizeof run->run_id, "%s", run_id);
    status = vt_results_open(results, &results_fd, err);
    if (status == VT_OK)
        status = vt_fs_make_dirs(results_fd, exp, &run->exp_fd, err);
    bool forced = force;
    for (int tries = 0; status == VT_OK && moved && tries < 100; tries++)
        status = lock_folder(run, &force, &moved, err);
    if (status == VT_OK && moved)
        status = vt_fail(err, VT_ERR_BUSY, "%s: other processes keep renaming the run", run->path);
    if (status == VT_OK)
        status = vt_fs_probe(run->fd, err);
    if (status == VT_OK)
        status = vt_fs_clean_temps(run->fd, err);
    if (status == VT_OK)
        status = vt_fs_make_dirs(run->fd, "captures", &run->captures_fd, err);
    if (status == VT_OK)
        status = vt_fs_clean_temps(run->captures_fd, err);
    run->resumed = run->resumed && !forced;
done:
    vt_fs_close(&results_fd);
    if (status != VT_OK)
        vt_rundir_close(run);
    vt_phase_enter(phase);
    return status;
}

vt_status vt_rundir_check(const vt_rundir *run, vt_error *err)
{
    char now[PATH_MAX];
    vt_fs_path(run->fd, NULL, now);
    if (strcmp(now, run->path) != 0 || !same_file(AT_FDCWD, run->path, run->fd))
        return vt_fail(err, VT_ERR_IO, "%s: the run's folder was deleted, renamed or replaced",
                       run->path);
    if (!same_file(run->fd, LOCK_NAME, run->lock_fd))
        return vt_fail(err, VT_ERR_IO, "%s/%s: the lock was deleted or replaced", run->path,
                       LOCK_NAME);
    return VT_OK;
}

void vt_rundir_close(vt_rundir *run)
{
    if (run->exp_fd == run->fd) /* {0}: never opened */
        return;
    if (run->lock_fd >= 0 && run->fd >= 0)
        vt_fs_truncate(run->lock_fd, LOCK_NAME, 0, NULL);
    vt_fs_close(&run->lock_fd);
    vt_fs_close(&run->captures_fd);
    vt_fs_close(&run->fd);
    vt_fs_close(&run->exp_fd);
}

bool vt_rundir_is_held(int run_fd, vt_holder *holder)
{
    struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    vt_holder unused;
    int fd = -1;
    if (vt_fs_open_read(run_fd, LOCK_NAME, &fd, NULL, NULL) != VT_OK)
        return false;
    bool held = fcntl(fd, F_OFD_GETLK, &whole) == 0 && whole.l_type != F_UNLCK;
    if (held)
        read_holder(fd, holder ? holder : &unused);
    vt_fs_close(&fd);
    return held;
}
