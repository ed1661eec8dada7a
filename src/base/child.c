#include "base/child.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

/* Only what is allowed between fork and exec. */
_Noreturn static void become(char **argv, int output_fd, const sigset_t *mask, pid_t parent)
{
    int null_fd = open("/dev/null", O_RDONLY);
    setpgid(0, 0);
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() != parent || null_fd < 0 || dup2(null_fd, STDIN_FILENO) < 0 ||
        dup2(output_fd, STDOUT_FILENO) < 0 || dup2(output_fd, STDERR_FILENO) < 0)
        _exit(VT_ERR_IO);
    sigprocmask(SIG_SETMASK, mask, NULL);
    execv("/proc/self/exe", argv);
    _exit(VT_ERR_INTERNAL);
}

vt_status vt_child_start(pid_t *pid, char **argv, int output_fd, const sigset_t *mask,
                         vt_error *err)
{
    pid_t parent = getpid();
    *pid = fork();
    if (*pid == 0)
        become(argv, output_fd, mask, parent);
    return *pid > 0 ? VT_OK
                    : vt_fail(err, VT_ERR_IO, "cannot start a process: %s", strerror(errno));
}

int vt_child_ended(pid_t pid)
{
    int word;
    if (waitpid(pid, &word, WNOHANG) != pid)
        return -1;
    return WIFEXITED(word) ? WEXITSTATUS(word) : VT_ERR_INTERNAL;
}

void vt_child_take_signals(sigset_t *waited, sigset_t *before)
{
    struct sigaction usual = {.sa_handler = SIG_DFL}, ignore = {.sa_handler = SIG_IGN};
    sigemptyset(waited);
    sigaddset(waited, SIGCHLD);
    sigaddset(waited, SIGINT);
    sigaddset(waited, SIGTERM);
    sigaddset(waited, SIGUSR1);
    sigprocmask(SIG_BLOCK, waited, before);
    sigaction(SIGCHLD, &usual, NULL); /* one that is ignored would leave no exit status */
    sigaction(SIGPIPE, &ignore, NULL);
}
