/*
 * Where two runs differ: configuration, metrics, code, environment and weights, each read from the
 * run's files, which stay as they are.
 *
 *   config    keys of config.yaml; one that cannot change results is marked
 *   metrics   the journal's records of the same step: the first that differ and by how much, NaN
 *             being equal to NaN
 *   code      commit, patch and sources that git does not know, of the last attempt
 *   env       build, host, environment, data files of the last attempt; not times and process ids
 *   weights   last.safetensors: the first tensor in the file's order that differs, the largest
 *             difference; and the first checkpoint whose weights do, by the journal
 */
#ifndef VT_REPORT_DIFF_H
#define VT_REPORT_DIFF_H

#include "base/text.h"
#include "report/outcome.h"

#include <jansson.h>

/* name, word */
#define VT_DIFF_LIST(X)                                                                            \
    X(CONFIG, "config")                                                                            \
    X(METRICS, "metrics")                                                                          \
    X(CODE, "code")                                                                                \
    X(ENV, "env")                                                                                  \
    X(WEIGHTS, "weights")

typedef enum vt_diff_part {
#define X(name, word) VT_DIFF_##name,
    VT_DIFF_LIST(X)
#undef X
        VT_DIFF_COUNT
} vt_diff_part;
const char *vt_diff_part_word(vt_diff_part part);

/* Something that has a name and, in each run, a text. NULL: not there. */
typedef struct vt_diff_text {
    char *key, *a, *b;
    bool counts; /* config: can change results */
} vt_diff_text;

typedef struct vt_diff_texts {
    vt_diff_text *text; /* ascending by key */
    int n;
} vt_diff_texts;

/* One column of the journals. */
typedef struct vt_diff_series {
    const char *name;         /* "train.loss", "test.top1", ... */
    int64_t n_a, n_b, n_both; /* records; of the same step */
    int64_t n_different;      /* among n_both */
    int64_t step, epoch;      /* of the first that differs */
    double a, b;              /* there */
    double largest;           /* |a - b| over all; NaN if only NaN and infinities differ */
    int64_t largest_step;
} vt_diff_series;

enum { VT_DIFF_SERIES_MAX = 16 };

typedef struct vt_diff_tensor {
    char *name;      /* NULL: none */
    char shape[160]; /* "F32 (64, 32)", and the other one where they differ */
    int64_t n_different;
    double largest; /* NaN where the shapes differ or a tensor is missing */
} vt_diff_tensor;

typedef struct vt_diff {
    vt_outcome run[2];
    bool wanted[VT_DIFF_COUNT], different[VT_DIFF_COUNT];
    char *problem[VT_DIFF_COUNT]; /* why a part cannot be compared */
    vt_status status;             /* of the first problem */
    vt_diff_texts config, code, env;
    vt_diff_series series[VT_DIFF_SERIES_MAX]; /* those with records in both or either */
    int n_series;
    int64_t first_step; /* of the first record that differs; -1: none */
    int n_tensors;      /* names in both files or either */
    int n_tensors_different;
    vt_diff_tensor first, worst;
    int64_t first_checkpoint; /* step; -1: none known to differ */
} vt_diff;

/* `wanted` all false: everything. What cannot be read of a run is a problem of its part, not a
 * failure: VT_ERR_NOMEM only. Release in every case. */
vt_status vt_diff_make(vt_diff *diff, const vt_run_place *a, const vt_run_place *b,
                       const bool wanted[VT_DIFF_COUNT], vt_error *err);
void vt_diff_release(vt_diff *diff);
/* VT_OK: equal in all that was wanted; VT_NO: not; else the first problem. */
vt_status vt_diff_answer(const vt_diff *diff);

/* For people. VT_ERR_NOMEM. */
vt_status vt_diff_print(const vt_diff *diff, vt_text *out, vt_error *err);
/* {"schema": 1, "equal": bool, "runs": [{"path", "exp", "run_id", "seed"} x 2], and of the parts
 *  wanted: "config", "code", "env": [{"key", "a", "b"}], config with "counts"; "metrics":
 *  {"first_step", "series": [{"name", "records": [a, b], "different", "step", "epoch", "a", "b",
 *  "largest", "largest_step"}]}; "weights": {"tensors", "different", "first": {"name", "shape",
 *  "different", "largest"}, "worst": the same, "first_checkpoint"}; "problems": {part: text}}
 * NULL: no memory. */
json_t *vt_diff_json(const vt_diff *diff);

#endif
