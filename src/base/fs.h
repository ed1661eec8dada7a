/*
 * Files, as a program that may be killed at any moment has to treat them.
 *
 * Everything is opened relative to a folder's descriptor, never through a symbolic link, never
 * blocking, and only if the descriptor turns out to be a regular file. A file that matters is
 * published whole: written under a temporary name (".tmp-PID-N-NAME") in the same folder, fsync,
 * close, rename, fsync of the folder. Any failure removes the temporary file and leaves the old
 * one. A failed fsync or close is the loss of that file: it is never tried again and the file
 * never renamed. Interrupted calls and short transfers are invisible to callers.
 *
 * Messages name the whole path, which is looked up from the descriptor.
 *
 * Status codes, unless a function says otherwise:
 *   VT_ERR_NOINPUT      a file or folder to be read is not there
 *   VT_ERR_DATA         a file to be read is not a regular file, or too large
 *   VT_ERR_IO           reading or writing failed; for a full disk (also a quota or a file-size
 *                       limit) the message names the path, the bytes needed and the bytes free
 *   VT_ERR_CANTCREATE   a folder or file cannot be made, or something of the wrong kind is there
 *   VT_ERR_NOMEM        no memory
 *
 * File systems: rename must replace atomically, which every local Linux file system does.
 */
#ifndef VT_BASE_FS_H
#define VT_BASE_FS_H

#include "base/hash.h"
#include "base/status.h"

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

enum { VT_NAME_MAX = 160 }; /* bytes in a name; leaves room for the temporary prefix */

/* Is this a file or folder name that the program may create? 1 to VT_NAME_MAX of the characters
 * A-Z a-z 0-9 . _ - with a letter, digit or underscore first. */
bool vt_fs_name_ok(const char *name);
/* "FOLDER/NAME" for messages; the folder from its descriptor (AT_FDCWD too). name may be NULL. */
void vt_fs_path(int dir_fd, const char *name, char path[PATH_MAX]);

/* Gives closed standard streams a descriptor that cannot be written to; else the program's own
 * files would get their numbers, and be written over with messages. To be called first; false if it
 * could not be done. */
bool vt_fs_keep_standard_streams(void);

/* Opens a folder by a path that the user gave (links are followed). `dir_fd` may be AT_FDCWD. */
vt_status vt_fs_open_dir(int dir_fd, const char *path, int *fd, vt_error *err);
/* Opens the folder of a file's path that the user gave; *name is what follows it. */
vt_status vt_fs_open_parent(const char *path, int *fd, const char **name, vt_error *err);
/* Opens the folder at a relative path of accepted names ("a/b/c") below dir_fd, creating what is
 * missing; no part may be a link. What it creates is made durable. Returns VT_ERR_CANTCREATE. */
vt_status vt_fs_make_dirs(int dir_fd, const char *path, int *fd, vt_error *err);
/* Makes a folder's entries durable. */
vt_status vt_fs_sync_dir(int dir_fd, vt_error *err);
/* Creates, writes, syncs, renames and removes a file in the folder: can a run live here?
 * VT_ERR_CANTCREATE for a folder that is read-only, gone or not ours, else VT_ERR_IO. */
vt_status vt_fs_probe(int dir_fd, vt_error *err);
/* Removes temporary files which a killed process left. Only for the holder of the run's lock. */
vt_status vt_fs_clean_temps(int dir_fd, vt_error *err);
/* Calls visit(arg, name) for every entry but "." and "..", in no particular order. */
typedef void vt_fs_visit(void *arg, const char *name);
vt_status vt_fs_list(int dir_fd, vt_fs_visit *visit, void *arg, vt_error *err);

/* Opens a regular file for reading. `size` may be NULL. */
vt_status vt_fs_open_read(int dir_fd, const char *name, int *fd, int64_t *size, vt_error *err);
/* Opens or creates a regular file for reading and writing in place (journal, lock, log). It must
 * have one name only and belong to this user, else VT_ERR_CANTCREATE. */
vt_status vt_fs_open_update(int dir_fd, const char *name, int *fd, int64_t *size, vt_error *err);
/* Reads up to `size` bytes at `offset`; *got is smaller only at the end of the file. An I/O error
 * is tried once more. `name` is for messages. */
vt_status vt_fs_read_at(int fd, const char *name, int64_t offset, void *bytes, size_t size,
                        size_t *got, vt_error *err);
/* Writes all bytes at `offset`. */
vt_status vt_fs_write_at(int fd, const char *name, int64_t offset, const void *bytes, size_t size,
                         vt_error *err);
vt_status vt_fs_truncate(int fd, const char *name, int64_t size, vt_error *err);
vt_status vt_fs_sync(int fd, const char *name, vt_error *err);
/* Closes a descriptor that was only read from, or whose contents do not matter any more. */
void vt_fs_close(int *fd);

/* Reads a whole file of at most `cap` bytes; *data (vt_free) gets a zero byte behind it. */
vt_status vt_fs_read_file(int dir_fd, const char *name, size_t cap, char **data, size_t *size,
                          vt_error *err);
/* The beginning of a file such as /proc/cpuinfo as text, without a last newline; "" if it cannot be
 * read. Returns its length. */
size_t vt_fs_read_text(const char *path, char *text, size_t capacity);
/* SHA-256 of a file's bytes. */
vt_status vt_fs_hash_file(int dir_fd, const char *name, uint8_t sha256[VT_SHA256_SIZE],
                          vt_error *err);

/* Publishes a whole file; see above. */
vt_status vt_fs_publish(int dir_fd, const char *name, const void *bytes, size_t size,
                        vt_error *err);

/* The same in pieces, for files too large for one buffer. Start with {0}. */
typedef struct vt_fs_writer {
    bool open;
    int dir_fd, fd;
    int64_t size, expected;
    vt_sha256 hash;
    uint8_t sha256[VT_SHA256_SIZE];
    bool sealed;
    char name[VT_NAME_MAX + 1], temp[NAME_MAX + 1];
} vt_fs_writer;

/* `size` bytes will be written, and are reserved on the disk now; -1 if not known. */
vt_status vt_fs_begin(vt_fs_writer *writer, int dir_fd, const char *name, int64_t size,
                      vt_error *err);
vt_status vt_fs_write(vt_fs_writer *writer, const void *bytes, size_t size, vt_error *err);
/* Writes the SHA-256 of everything so far (32 raw bytes) as the end of the file. */
vt_status vt_fs_seal(vt_fs_writer *writer, vt_error *err);
/* Makes the file durable and gives it its name. `sha256` (may be NULL): of its bytes, of those
 * before the seal if there is one. Whatever happens the writer is released. */
vt_status vt_fs_commit(vt_fs_writer *writer, uint8_t sha256[VT_SHA256_SIZE], vt_error *err);
/* Drops the temporary file; harmless when nothing is open. */
void vt_fs_abort(vt_fs_writer *writer);

/* Makes `link` a second name of `target` (hard link under a temporary name, then rename), or does
 * nothing if it already is. */
vt_status vt_fs_link(int dir_fd, const char *target, const char *link, vt_error *err);
/* Removes a name; one that is not there is fine. */
vt_status vt_fs_remove(int dir_fd, const char *name, vt_error *err);
/* True if the name is there, whatever it is. */
bool vt_fs_exists(int dir_fd, const char *name);
/* Unix time at which a file was last written to; 0 if it is not there. */
int64_t vt_fs_written_s(int dir_fd, const char *name);

/* Tests: a function asked before every system call that touches the disk. It returns 0 to let the
 * call happen, or the error number that the call shall fail with; it may lower *size, the bytes of
 * a read or write. It may also kill the process. NULL switches this off. */
typedef enum vt_fs_op {
    VT_FS_OPEN,
    VT_FS_READ,
    VT_FS_WRITE,
    VT_FS_RESERVE,
    VT_FS_FSYNC,
    VT_FS_CLOSE,
    VT_FS_RENAME,
    VT_FS_LINK,
    VT_FS_UNLINK,
    VT_FS_TRUNCATE,
    VT_FS_MKDIR,
    VT_FS_OP_COUNT
} vt_fs_op;
typedef int vt_fs_hook(void *arg, vt_fs_op op, size_t *size);
void vt_fs_set_hook(vt_fs_hook *hook, void *arg);

#endif
