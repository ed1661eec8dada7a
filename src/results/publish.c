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

static void note_end(vt_publisher *publisher, int how)
{
    publisher->pid = 0;
    publisher->status = WIFEXITED(how) ? (vt_status)WEXITSTATUS(how) : VT_ERR_HELPER;
    if (WIFSIGNALED(how))
        vt_log_write(VT_LOG_WARNING, "vitrine-h5 was ended by signal %d", WTERMSIG(how));
    if (publisher->status != VT_OK)
        vt_log_write(VT_LOG_WARNING, "run.h5 is missing, or older than the journal; "
                                     "`vitrine publish RUN` makes it again");
}

static int spawn(const char *path, const char *run_path, bool if_behind, pid_t *pid)
{
    char program[] = "vitrine-h5", option[] = "--parent", parent[32], behind[] = "--if-behind";
    char folder[PATH_MAX];
    char *const arguments[] = {
        program, option, parent, if_behind ? behind : folder, if_behind ? folder : NULL, NULL};
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    snprintf(parent, sizeof parent, "%ld", (long)getpid());
    snprintf(folder, sizeof folder, "%s", run_path);
    int failed = posix_spawn_file_actions_init(&actions);
    if (failed)
        return failed;
    failed = posix_spawnattr_init(&attributes);
    if (!failed) {
        posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP); /* a group of its own */
        posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
        posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
        failed = posix_spawn(pid, path, &actions, &attributes, arguments, environ);
        posix_spawnattr_destroy(&attributes);
    }
    posix_spawn_file_actions_destroy(&actions);
    return failed;
}

void vt_publisher_start(vt_publisher *publisher, const char *run_path, bool if_behind)
{
    char path[PATH_MAX];
    int how, failed = 0;
    if (publisher->pid && waitpid(publisher->pid, &how, WNOHANG) == 0)
        return;
    vt_phase phase = vt_phase_enter(VT_PHASE_PUBLISH);
    if (publisher->pid)
        note_end(publisher, how);
    bool found = find_program(path);
    if (found)
        failed = spawn(path, run_path, if_behind, &publisher->pid);
    if (!found || failed) {
        publisher->pid = 0;
        publisher->status = VT_ERR_HELPER;
    }
    if (failed)
        vt_log_write(VT_LOG_WARNING, "cannot start %s: no run.h5: %s", path, strerror(failed));
    else if (!found && !publisher->warned)
        vt_log_write(VT_LOG_WARNING, "vitrine-h5 is not beside this program: no run.h5");
    publisher->warned |= !found;
    vt_phase_enter(phase);
}

vt_status vt_publisher_wait(vt_publisher *publisher)
{
    int how;
    vt_phase phase = vt_phase_enter(VT_PHASE_PUBLISH);
    while (publisher->pid) {
        if (waitpid(publisher->pid, &how, 0) == publisher->pid)
            note_end(publisher, how);
        else if (errno != EINTR)
            publisher->pid = 0;
    }
    vt_phase_enter(phase);
    return publisher->status;
}
