/*
 * The safetensors container: named tensors in one file that other tools read.
 *
 *   u64 header size H (little-endian), H bytes of JSON, then the tensors' raw little-endian bytes
 *   JSON: {"__metadata__": {string: string}, NAME: {"dtype", "shape", "data_offsets": [a, b]}}
 *
 * Offsets count from the end of the header. The writer keeps the given order, pads the header with
 * blanks to a multiple of 8 bytes, and adds nothing of its own, so equal tensors give equal bytes.
 *
 * The reader trusts nothing: header at most 16 MiB, no duplicate keys, known dtypes, rank at most
 * VT_SAFETENSORS_MAX_RANK, shape and byte count agree (checked arithmetic), the tensors cover the
 * data without hole or overlap, and nothing follows. Anything else is VT_ERR_DATA with file, offset
 * or tensor, and reason.
 */
#ifndef VT_RESULTS_SAFETENSORS_H
#define VT_RESULTS_SAFETENSORS_H

#include "base/fs.h"
#include "base/hash.h"
#include "base/status.h"

#include <stdint.h>

/* name in the file, bytes an element */
#define VT_SAFETENSORS_LIST(X)                                                                     \
    X(F32, 4)                                                                                      \
    X(F64, 8)                                                                                      \
    X(F16, 2)                                                                                      \
    X(BF16, 2)                                                                                     \
    X(U8, 1)                                                                                       \
    X(I8, 1)                                                                                       \
    X(BOOL, 1)                                                                                     \
    X(U16, 2)                                                                                      \
    X(I16, 2)                                                                                      \
    X(U32, 4)                                                                                      \
    X(I32, 4)                                                                                      \
    X(U64, 8)                                                                                      \
    X(I64, 8)

typedef enum vt_safetensors_type {
#define X(name, size) VT_SAFETENSORS_##name,
    VT_SAFETENSORS_LIST(X)
#undef X
        VT_SAFETENSORS_COUNT
} vt_safetensors_type;

enum { VT_SAFETENSORS_MAX_RANK = 8, VT_SAFETENSORS_MAX_NAME = 512 };

/* "F32" and so on. */
const char *vt_safetensors_type_name(vt_safetensors_type type);
int vt_safetensors_type_size(vt_safetensors_type type);

/* One tensor, C order. `size_bytes` is set by the reader; the writer computes it from the shape.
 * Names: 1 to VT_SAFETENSORS_MAX_NAME bytes of printable ASCII without '"' and '\\'. */
typedef struct vt_safetensor {
    const char *name;
    vt_safetensors_type type;
    int rank; /* 0 is a scalar */
    int64_t shape[VT_SAFETENSORS_MAX_RANK];
    const void *data;
    int64_t size_bytes;
} vt_safetensor;

/* A string of the file's metadata. */
typedef struct vt_safetensors_meta {
    const char *key, *value;
} vt_safetensors_meta;

/* What goes into a file. Metadata must not depend on time, host or attempt. */
typedef struct vt_safetensors_content {
    const vt_safetensor *tensors;
    int n_tensors;
    const vt_safetensors_meta *meta;
    int n_meta;
} vt_safetensors_content;

/* Publishes a file (see base/fs.h); `sha256` (may be NULL) receives the hash of its bytes. A bad or
 * repeated name is VT_ERR_DATA. */
vt_status vt_safetensors_write(int dir_fd, const char *name, const vt_safetensors_content *content,
                               uint8_t sha256[VT_SHA256_SIZE], vt_error *err);
/* The same container as a part of another file: its size, and its bytes. */
vt_status vt_safetensors_size(const vt_safetensors_content *content, int64_t *size, vt_error *err);
vt_status vt_safetensors_put(vt_fs_writer *writer, const vt_safetensors_content *content,
                             vt_error *err);

/* An opened file; tensors point into one private copy and are 8-byte aligned if the writer padded
 * its header. */
typedef struct vt_safetensors vt_safetensors;

/* Reads a file. `sha256` (may be NULL) receives the hash of its bytes. VT_ERR_NOINPUT if missing.
 */
vt_status vt_safetensors_open(vt_safetensors **file, int dir_fd, const char *name,
                              uint8_t sha256[VT_SHA256_SIZE], vt_error *err);
/* Reads from memory that the caller keeps until the close. `name` is for messages. */
vt_status vt_safetensors_parse(vt_safetensors **file, const char *name, const void *bytes,
                               size_t size, vt_error *err);
void vt_safetensors_close(vt_safetensors *file);

/* Tensors in the order of their data. */
int vt_safetensors_count(const vt_safetensors *file);
const vt_safetensor *vt_safetensors_at(const vt_safetensors *file, int index);
/* NULL if there is none of that name. */
const vt_safetensor *vt_safetensors_find(const vt_safetensors *file, const char *name);
/* Metadata value, or NULL. */
const char *vt_safetensors_get_meta(const vt_safetensors *file, const char *key);

#endif
