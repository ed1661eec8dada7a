/* This program once more, as a process of its own. */
#ifndef VT_BASE_CHILD_H
#define VT_BASE_CHILD_H

#include "base/status.h"

#include <signal.h>
#include <sys/types.h>

/*
 * Starts it with these arguments (ended by NULL) and the signal mask `mask`; its input is empty,
 * its output goes to `output_fd`. It has a process group of its own, so that a terminal's Ctrl-C
 * reaches it through its parent alone (a second signal would end a training without saving), and
 * gets SIGTERM when the parent dies. VT_ERR_IO.
 */
vt_status vt_child_start(pid_t *pid, char **argv, int output_fd, const sigset_t *mask,
                         vt_error *err);
/* The exit code if it has ended, VT_ERR_INTERNAL if a signal ended it; -1 if it goes on. */
int vt_child_ended(pid_t pid);
/* Blocks SIGCHLD and the signals that ask to stop (SIGINT, SIGTERM, SIGUSR1), which are then waited
 * for by sigtimedwait, and makes a closed terminal harmless. `before` receives the old mask. */
void vt_child_take_signals(sigset_t *waited, sigset_t *before);

#endif
