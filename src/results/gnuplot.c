#include "results/gnuplot.h"

#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

enum { DATA_FD = 3, SAID_MAX = 1500, PDF_CAP = 1 << 26 };

/* Descriptors for the child; -1: none. */
struct streams {
    int script, data; /* in memory */
    int said[2];      /* pipe for stderr */
};

/* This process's environment with another locale. */
static char **child_environment(char *locale)
{
    size_t n = 0, kept = 0;
    while (environ[n])
        n++;
    char **list = vt_calloc(n + 2, sizeof *list);
    for (size_t i = 0; list && i < n; i++)
        if (strncmp(environ[i], "LC_ALL=", 7) != 0)
            list[kept++] = environ[i];
    if (list)
        list[kept] = locale;
    return list;
}

static int start(const struct streams *s, int dir_fd, char *script, pid_t *pid)
{
    char program[] = "gnuplot", no_start_up[] = "-d", locale[] = "LC_ALL=C.UTF-8";
    char *const argv[] = {program, no_start_up, script, NULL};
    char **environment = child_environment(locale);
    posix_spawn_file_actions_t actions;
    if (!environment || posix_spawn_file_actions_init(&actions) != 0) {
        vt_free(environment);
        return ENOMEM;
    }
    posix_spawn_file_actions_adddup2(&actions, s->said[1], STDERR_FILENO);
    if (s->script >= 0) {
        posix_spawn_file_actions_adddup2(&actions, s->script, STDIN_FILENO);
        posix_spawn_file_actions_adddup2(&actions, s->data, DATA_FD);
    } else {
        posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
        posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
        posix_spawn_file_actions_addfchdir_np(&actions, dir_fd);
    }
    int failed = posix_spawnp(pid, program, &actions, NULL, argv, environment);
    posix_spawn_file_actions_destroy(&actions);
    vt_free(environment);
    return failed;
}

/* Reads what it says until it closes stderr; what goes over the size is dropped. */
static void listen(int fd, char said[SAID_MAX])
{
    char rest[512] = "";
    size_t size = 0;
    for (;;) {
        bool full = size == SAID_MAX - 1;
        ssize_t n = read(fd, full ? rest : said + size, full ? sizeof rest : SAID_MAX - 1 - size);
        if (n == 0 || (n < 0 && errno != EINTR))
            break;
        size += n > 0 && !full ? (size_t)n : 0;
    }
    said[size] = '\0';
    while (size > 0 && (said[size - 1] == '\n' || said[size - 1] == ' '))
        said[--size] = '\0';
}

static vt_status run(struct streams *s, int dir_fd, const char *script, vt_error *err)
{
    char said[SAID_MAX], name[PATH_MAX];
    int how = 0;
    pid_t pid;
    if (pipe2(s->said, O_CLOEXEC) != 0)
        return vt_fail(err, VT_ERR_IO, "cannot make a pipe for gnuplot: %s", strerror(errno));
    snprintf(name, sizeof name, "%s", script);
    int failed = start(s, dir_fd, name, &pid);
    vt_fs_close(&s->said[1]);
    if (failed) {
        vt_fs_close(&s->said[0]);
        return vt_fail(err, VT_ERR_HELPER,
                       "cannot start gnuplot (%s): install it (the package gnuplot-nox, or "
                       "scripts/setup)",
                       strerror(failed));
    }
    listen(s->said[0], said);
    vt_fs_close(&s->said[0]);
    while (waitpid(pid, &how, 0) < 0 && errno == EINTR)
        ;
    if (!WIFEXITED(how) || WEXITSTATUS(how) != 0) {
        vt_fs_path(dir_fd, script, name);
        return vt_fail(err, VT_ERR_HELPER, "gnuplot failed (%s %d) on %s: %s",
                       WIFEXITED(how) ? "exit status" : "signal",
                       WIFEXITED(how) ? WEXITSTATUS(how) : WTERMSIG(how), name, said);
    }
    if (*said)
        vt_log_write(VT_LOG_WARNING, "gnuplot says: %s", said);
    return VT_OK;
}

vt_status vt_gnuplot_run(int dir_fd, const char *name, vt_error *err)
{
    struct streams s = {-1, -1, {-1, -1}};
    return run(&s, dir_fd, name, err);
}

static int in_memory(const vt_text *text)
{
    int fd = memfd_create("vitrine", MFD_CLOEXEC);
    if (fd >= 0 && (vt_fs_write_at(fd, "memory", 0, text->data, text->size, NULL) != VT_OK ||
                    lseek(fd, 0, SEEK_SET) != 0))
        vt_fs_close(&fd);
    return fd;
}

vt_status vt_gnuplot_show(const vt_text *script, const vt_text *data, vt_error *err)
{
    struct streams s = {in_memory(script), in_memory(data), {-1, -1}};
    vt_status status;
    if (s.script < 0 || s.data < 0)
        status = vt_fail(err, VT_ERR_NOMEM, "no memory for gnuplot's script");
    else
        status = run(&s, AT_FDCWD, "/dev/stdin", err);
    vt_fs_close(&s.script);
    vt_fs_close(&s.data);
    return status;
}

vt_status vt_gnuplot_undate(int dir_fd, const char *name, vt_error *err)
{
    static const char mark[] = "/CreationDate (D:", date[] = "20000101000000";
    char *bytes = NULL;
    size_t size = 0;
    vt_status status = vt_fs_read_file(dir_fd, name, PDF_CAP, &bytes, &size, err);
    char *at = status == VT_OK ? memmem(bytes, size, mark, sizeof mark - 1) : NULL;
    if (at && bytes + size - at > (ptrdiff_t)(sizeof mark + sizeof date)) {
        memcpy(at + sizeof mark - 1, date, sizeof date - 1);
        status = vt_fs_publish(dir_fd, name, bytes, size, err);
    }
    vt_free(bytes);
    return status;
}
