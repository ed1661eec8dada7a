/*
 * Writing run.h5: a thin layer over HDF5 that knows the file's conventions.
 *
 * Default (earliest) format bounds, no time stamps, creation order of links kept, little-endian
 * types, all text scalar variable-length UTF-8. Whatever is written has a unit and a long name.
 *
 * HDF5's own state cannot be trusted after one of its calls failed (a full disk has crashed it on
 * the way out), so such a failure ends this process at once: the temporary file is removed, the
 * message names HDF5's reason, and the process leaves by _exit with 74. Nothing here returns an
 * error, except for the last steps, which are plain file calls.
 */
#ifndef VT_H5_H5FILE_H
#define VT_H5_H5FILE_H

#include "base/hash.h"
#include "base/status.h"

#include <hdf5.h>
#include <limits.h>
#include <stdbool.h>

#define VT_H5_NAME "run.h5"

typedef enum vt_h5_type {
    VT_H5_U8,
    VT_H5_U16,
    VT_H5_I32,
    VT_H5_I64,
    VT_H5_U64,
    VT_H5_F32,
    VT_H5_F64,
    VT_H5_TEXT, /* values: const char *const * */
    VT_H5_TYPE_COUNT
} vt_h5_type;

enum { VT_H5_MAX_RANK = 6 };

typedef struct vt_h5_file {
    hid_t id, group_plist, text_type;
    int dir_fd;
    char temp[NAME_MAX + 1];
    char **paths; /* of the datasets, for the digest */
    size_t n_paths;
} vt_h5_file;

/* Whether run.h5 is there and was made from the journal with this running hash (the attribute
 * journal_sha256 of /provenance). A file that cannot be read is not. */
bool vt_h5_is_of(int dir_fd, const char *journal_sha256);

/* Creates the temporary file in the run folder, which becomes the current folder. A leftover of a
 * killed process is removed first: only one process at a time may write here. */
void vt_h5_create(vt_h5_file *file, int dir_fd);
/* Closes the file, makes it durable and gives it its name. */
vt_status vt_h5_publish(vt_h5_file *file, vt_error *err);
/* Removes the temporary file and leaves with the error's status: for failures after vt_h5_create
 * that are not HDF5's. */
_Noreturn void vt_h5_abandon(const vt_h5_file *file, const vt_error *err);

/* Creates a group in one that exists. */
void vt_h5_group(vt_h5_file *file, const char *path);

/* What a dataset is. Its group must exist. */
typedef struct vt_h5_dataset {
    const char *path;
    vt_h5_type type;
    int rank; /* 0: scalar */
    hsize_t dims[VT_H5_MAX_RANK];
    int packed; /* 0: contiguous; n: chunks of one index in the first n axes, shuffle, deflate 1 */
    const char *units, *long_name;
    const char *better; /* max, min, or NULL for what is no metric */
} vt_h5_dataset;

/* Creates a dataset and writes all of it. */
void vt_h5_write(vt_h5_file *file, const vt_h5_dataset *dataset, const void *values);
/* Creates it only; then writes one index of its first axis at a time. */
void vt_h5_declare(vt_h5_file *file, const vt_h5_dataset *dataset);
void vt_h5_write_row(vt_h5_file *file, const char *path, vt_h5_type type, hsize_t index,
                     const void *values);
/* A text of `size` bytes as a scalar dataset; bytes that are not UTF-8 become '?'. */
void vt_h5_write_text(vt_h5_file *file, const char *path, const char *long_name, const char *text,
                      size_t size);

/* Makes a 1-D dataset the scale of an axis that is called `name`. */
void vt_h5_scale(vt_h5_file *file, const char *path, const char *name);
/* 0, 1, 2, ... as a scale, for an axis that only counts. */
void vt_h5_index_scale(vt_h5_file *file, const char *path, vt_h5_type type, hsize_t n,
                       const char *long_name);
/* Attaches a scale to an axis of a dataset and labels the axis with the scale's last name. */
void vt_h5_axis(vt_h5_file *file, const char *path, unsigned axis, const char *scale);

/* Attributes of any object. */
void vt_h5_attr_text(vt_h5_file *file, const char *path, const char *name, const char *text);
void vt_h5_attr_i64(vt_h5_file *file, const char *path, const char *name, int64_t value);
/* `n` < 0: a scalar; else a list of n values. */
void vt_h5_attr(vt_h5_file *file, const char *path, const char *name, vt_h5_type type, int64_t n,
                const void *values);

/*
 * SHA-256 of the results in the file, read back from it. For each dataset outside of /checkpoints,
 * /config, /perf and /provenance, in bytewise order of the paths: path, 0 byte, type ("f32", "i64",
 * ..., "text"), 0 byte, rank and dimensions as 64-bit little-endian integers, values in C order,
 * little-endian; a text as its bytes and a 0 byte. It does not depend on HDF5, on compression or on
 * the file's layout.
 */
void vt_h5_digest(vt_h5_file *file, uint8_t digest[VT_SHA256_SIZE]);

#endif
