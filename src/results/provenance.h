/*
 * Where a run came from: provenance.json, beside the results and never inside what is hashed.
 *
 * {"attempts": [one object for each start of the program on this run]}, keys sorted. An attempt
 * says when it ran and how it ended, the command line, the code (git commit, branch, dirty flag,
 * list of untracked sources; the patch of tracked changes is code.patch), build and library
 * versions, the binary's SHA-256, host, CPU, threads, the data files, and of the environment only
 * OMP_*, OPENBLAS_*, MALLOC_* and SLURM_JOB_ID. What cannot be found out is "unknown".
 */
#ifndef VT_RESULTS_PROVENANCE_H
#define VT_RESULTS_PROVENANCE_H

#include "base/hash.h"
#include "base/status.h"

#include <stdint.h>

typedef struct vt_provenance_file {
    const char *path;
    int64_t size_bytes;
    uint8_t sha256[VT_SHA256_SIZE];
} vt_provenance_file;

/* A library: its version when this program was compiled and that of the one loaded. */
typedef struct vt_provenance_library {
    const char *name, *compiled, *loaded;
} vt_provenance_library;

/* What the caller knows. A text that is NULL is written as "unknown". zlib, jansson, OpenSSL and
 * libc need not be listed. */
typedef struct vt_provenance {
    int argc;
    char *const *argv;
    const char *code_dir; /* where git looks for the repository, usually "." */
    const char *exp_name, *exp_id, *run_id;
    int64_t seed, step; /* step: where this attempt begins */
    int threads;
    const char *kernel_path;  /* such as "x86-64-v3" */
    const char *cpu_features; /* those in use */
    const char *numerics_id;  /* the numeric fingerprint, hexadecimal */
    const char *data_digest;  /* of the whole data set, hexadecimal */
    const char *split_digest; /* of the training and validation indices, hexadecimal */
    const double *mean, *std; /* normalisation, n_channels each */
    int n_channels;
    const vt_provenance_file *files;
    int n_files;
    const vt_provenance_library *libraries;
    int n_libraries;
} vt_provenance;

/* Appends an attempt and publishes provenance.json, and code.patch (at most 1 MiB) if tracked files
 * differ from the commit. A missing git or repository gives one warning. A damaged old
 * provenance.json is warned about and replaced: it is information, not state. */
vt_status vt_provenance_begin(int dir_fd, const vt_provenance *p, vt_error *err);
/* Adds to the last attempt how and when it ended: "done", "stopped", "failed", ... */
vt_status vt_provenance_end(int dir_fd, const char *state, vt_status code, int64_t step,
                            vt_error *err);

#endif
