#include "results/publish.h"

#include "base/log.h"
#include "base/phase.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

/* "FOLDER OF THIS PROGRAM/vitrine-h5" */
static bool find_program(char path[PATH_MAX])
{
    static const char name[] = "vitrine-h5";
    ssize_t size = readlink("/proc/self/exe", path, PATH_MAX - sizeof name - 1);
    if (size <= 0)
        return false;
    path[size] = '\0';
    char *slash = strrchr(path, '/');
    memcpy(slash ? slash + 1 : path, name, sizeof name);
    return access(path, X_OK) == 0;
}

static bool ended_well(vt_publisher *publisher, int status)
{
    publisher->pid = 0;
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return true;
    vt_log_write(VT_LOG_WARNING, "vitrine-h5 failed: run.h5 is older than the journal; "
                                 "`vitrine publish RUN` makes it again");
    return false;
}

void vt_publisher_start(vt_publisher *publisher, const char *run_path)
{
    char path[PATH_MAX];
    int status;
    if (publisher->pid) {
        if (waitpid(publisher->pid, &status, WNOHANG) == 0)
            return;
        ended_well(publisher, status);
    }
    if (!find_program(path)) {
        if (!publisher->warned)
            vt_log_write(VT_LOG_WARNING, "vitrine-h5 is not beside this program: no run.h5");
        publisher->warned = true;
        return;
    }
    char program[] = "vitrine-h5", folder[PATH_MAX];
    snprintf(folder, sizeof folder, "%s", run_path);
    char *const arguments[] = {program, folder, NULL};
    posix_spawn_file_actions_t actions; /* stdout is the training's own */
    if (posix_spawn_file_actions_init(&actions) != 0)
        return;
    posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
    if (posix_spawn(&publisher->pid, path, &actions, NULL, arguments, environ) != 0) {
        publisher->pid = 0;
        vt_log_write(VT_LOG_WARNING, "cannot start %s: no run.h5", path);
    }
    posix_spawn_file_actions_destroy(&actions);
}

bool vt_publisher_wait(vt_publisher *publisher)
{
    int status;
    if (!publisher->pid)
        return !publisher->warned;
    while (waitpid(publisher->pid, &status, 0) < 0)
        if (errno != EINTR)
            return false;
    return ended_well(publisher, status);
}
