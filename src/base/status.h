/*
 * Status codes and error messages.
 *
 * A failure that a user, a file or a disk can cause is a vt_status returned up the stack with a
 * vt_error that says what, where, why and what to do. A failure that only a bug can cause is
 * VT_ASSERT, which stays on in release builds. Status values are the program's exit codes.
 */
#ifndef VT_BASE_STATUS_H
#define VT_BASE_STATUS_H

#include <stdbool.h>
#include <stddef.h>

/* name, exit code, meaning (printed by --help and the manual) */
#define VT_STATUS_LIST(X)                                                                          \
    X(OK, 0, "done, or already done")                                                              \
    X(NO, 1, "the answer is no: a regression, a difference, a failed verification")                \
    X(ERR_DIVERGED, 3, "training diverged: a loss, gradient or weight is not finite")              \
    X(ERR_USAGE, 64, "wrong use of the command line")                                              \
    X(ERR_DATA, 65, "corrupt data, checkpoint or journal")                                         \
    X(ERR_NOINPUT, 66, "an input file or folder is missing")                                       \
    X(ERR_HELPER, 69, "a helper program or library is missing or of the wrong kind")               \
    X(ERR_INTERNAL, 70, "internal error")                                                          \
    X(ERR_NOMEM, 71, "out of memory")                                                              \
    X(ERR_CANTCREATE, 73, "an output cannot be created")                                           \
    X(ERR_IO, 74, "input/output error, or the disk is full")                                       \
    X(ERR_STOPPED, 75, "stopped on request after a clean checkpoint; run again to continue")       \
    X(ERR_BUSY, 76, "the run folder is in use by another process")                                 \
    X(ERR_NUMERICS, 77, "the numeric fingerprint differs from the checkpoint's")                   \
    X(ERR_CONFIG, 78, "bad experiment file")

typedef enum vt_status {
#define X(name, code, help) VT_##name = code,
    VT_STATUS_LIST(X)
#undef X
} vt_status;

/* Meaning of a status, as in the table above; never NULL. */
const char *vt_status_text(vt_status status);

/* The first failure and its message. Start with {0}; a second vt_fail on it keeps the first. */
typedef struct vt_error {
    vt_status status;
    char text[2000];
} vt_error;

/* Records a failure in *err (err may be NULL) and returns `status`. printf-style. */
vt_status vt_fail(vt_error *err, vt_status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Stops the program with exit code 70 and a message naming file and line: a bug, not bad input. */
#define VT_ASSERT(condition)                                                                       \
    ((condition) ? (void)0 : vt_assert_failed(#condition, __FILE__, __LINE__))
_Noreturn void vt_assert_failed(const char *condition, const char *file, int line);

#endif
