/* Scratch folders and planned accidents for the storage tests. */
#ifndef VT_TESTS_SUPPORT_FAULT_H
#define VT_TESTS_SUPPORT_FAULT_H

#include "base/fs.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A new empty folder below TMPDIR, or else /dev/shm or /tmp. */
typedef struct vt_scratch {
    int fd;
    char path[256];
} vt_scratch;

vt_scratch vt_scratch_new(void);
/* Removes the folder with all that is in it. */
void vt_scratch_free(vt_scratch *scratch);
/* Names in a folder that begin with `prefix`. */
int vt_scratch_count(int dir_fd, const char *prefix);
/* Whole small files; a failure ends the test. */
char *vt_scratch_read(int dir_fd, const char *name, size_t *size);
void vt_scratch_write(int dir_fd, const char *name, const void *bytes, size_t size);

/* Puts something that is no regular file at a name: 'l' symbolic link to `target`, 'f' FIFO, 'd'
 * folder, 's' socket, 'c' device (false if that takes rights we do not have). */
bool vt_plant(int dir_fd, const char *name, char kind, const char *target);

/* What shall happen to the file calls of this process. */
typedef struct vt_fault {
    int op;          /* a vt_fs_op, or -1 for every one */
    int64_t at;      /* the at-th such call fails, 1 is the first; 0: none */
    bool onwards;    /* and every later one too */
    int error;       /* with this error number; 0: the process dies of SIGKILL instead */
    size_t transfer; /* reads and writes move at most this many bytes; 0: no limit */
    bool interrupt;  /* every second call is interrupted */
    int64_t count;   /* calls of that kind so far */
    int64_t calls;
} vt_fault;

/* Starts and stops. `fault` must live until the stop. */
void vt_fault_start(vt_fault *fault);
void vt_fault_stop(void);

#endif
