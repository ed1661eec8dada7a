/*
 * Where a run came from: provenance.json, beside the results and never inside what is hashed.
 *
 * {"attempts": [one object for each start of the program on this run]}, keys sorted. An attempt
 * says when it ran, how long and how it ended, the command line, the code (git commit, branch,
 * dirty flag, list of untracked sources; the patch of tracked changes is code.patch), build and
 * library versions, the binary's SHA-256, host, CPU, threads, the data files, and of the
 * environment only OMP_*, OPENBLAS_*, MALLOC_* and SLURM_JOB_ID. What cannot be found out is
 * "unknown".
 */
#ifndef VT_RESULTS_PROVENANCE_H
#define VT_RESULTS_PROVENANCE_H

#include "base/hash.h"
#include "base/status.h"

#include <jansson.h>
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

/* What the caller knows. A text that is NULL is written as "unknown". Those that results/
 * itself or the data readers link (libc, jansson, OpenSSL, zlib, libpng, libjpeg-turbo, libyaml)
 * need not be listed. */
typedef struct vt_provenance {
    int argc;
    char *const *argv;
    const char *code_dir; /* where git looks for the repository, usually "." */
    const char *exp_name, *exp_id, *run_id;
    int64_t seed, step;          /* step: where this attempt begins */
    int64_t last_sign_s;         /* Unix time at which the attempt before was last seen to write */
    int threads, decode_threads; /* the latter: of those that decode the next batch; 0: none */
    const char *kernel_path;     /* such as "x86-64-v3" */
    const char *numerics_id;     /* the numeric fingerprint, hexadecimal */
    const char *data_digest;     /* of the whole data set, hexadecimal */
    const char *split_digest;    /* of the training and validation indices, hexadecimal */
    const double *mean, *std;    /* normalisation, n_channels each */
    int n_channels;
    const vt_provenance_file *files;
    int n_files;
    const vt_provenance_library *libraries;
    int n_libraries;
} vt_provenance;

/* SHA-256 of the running program's file, or "unknown". */
void vt_provenance_program(char hex[VT_SHA256_HEX_SIZE]);

/* Appends an attempt (one before it that did not say its end was killed, at last_sign_s) and
 * publishes provenance.json, and code.patch (at most 1 MiB) if tracked files
 * differ from the commit. A missing git or repository gives one warning. A damaged old
 * provenance.json is warned about and replaced: it is information, not state. */
vt_status vt_provenance_begin(int dir_fd, const vt_provenance *p, vt_error *err);
/* The part of an attempt that holds for any program started here and now: {"time_utc", "folder",
 * "git", "patch_bytes", "build", "host", "environment", "numerics_id"}. Of *p only the code's
 * folder, threads, kernels, features, numerics and libraries are used. NULL: no memory. */
json_t *vt_provenance_here(const vt_provenance *p);

/* How the last attempt ended. */
typedef struct vt_provenance_outcome {
    const char *state; /* "done", "interrupted", "failed", ... */
    vt_status code;
    int64_t step;
    /* Of the attempt. Negative: it was killed after its last record, at last_sign_s, and another
     * process writes this; times that it wrote itself stay. */
    double wall_s;
    int64_t last_sign_s;
} vt_provenance_outcome;

/* Over all attempts; a killed one lasted, to the second, until its last sign. */
typedef struct vt_provenance_totals {
    int64_t attempts;
    double wall_s;
} vt_provenance_totals;

/* Adds to the last attempt how and when it ended. */
vt_status vt_provenance_end(int dir_fd, const vt_provenance_outcome *outcome,
                            vt_provenance_totals *totals, vt_error *err);

#endif
