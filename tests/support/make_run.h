/* Run folders made up for tests: journal, captures and text files with known numbers. */
#ifndef VT_TESTS_SUPPORT_MAKE_RUN_H
#define VT_TESTS_SUPPORT_MAKE_RUN_H

#include "results/history.h"

/* What is wrong with the captured files. */
#define VT_FLAW_LIST(X)                                                                            \
    X(NONE, "nothing")                                                                             \
    X(HASH, "another SHA-256 than in the journal")                                                 \
    X(MISSING, "a file that is not there")                                                         \
    X(LINK, "a symbolic link")                                                                     \
    X(NOISE, "bytes that are no safetensors")                                                      \
    X(LABEL, "a label beyond the classes")                                                         \
    X(PRED, "a negative prediction")                                                               \
    X(NO_PRED, "no predictions")                                                                   \
    X(IMAGES_TYPE, "images of another type")                                                       \
    X(IMAGES_RANK, "images without channels")                                                      \
    X(INDEX_COUNT, "another number of data set indices")                                           \
    X(LAYER_IMAGES, "a layer of another number of images")                                         \
    X(LAYER_NAME, "a layer with a path for a name")                                                \
    X(LAYER_RANK, "a layer of rank 6")                                                             \
    X(NO_LAYER, "no layer")                                                                        \
    X(GRID, "a grid that is no number")                                                            \
    X(OTHER_SHAPE, "a second snapshot of another shape")                                           \
    X(OTHER_IMAGES, "a second snapshot of other images")                                           \
    X(LOGITS_CLASSES, "logits of other classes")                                                   \
    X(LOGITS_COUNT, "more logits than labels")                                                     \
    X(LOGITS_NAME, "logits of no known split")

typedef enum vt_flaw {
#define X(name, help) VT_FLAW_##name,
    VT_FLAW_LIST(X)
#undef X
        VT_FLAW_COUNT
} vt_flaw;

typedef struct vt_made_run {
    int epochs;
    int steps; /* an epoch, each with a record */
    int classes;
    int snapshots; /* attention captures of `images` images, in epochs 1, 2, ... */
    int images;
    bool global; /* layer_01 is like layer_00, so that there is a rollout */
    bool val;    /* a validation split too */
    bool logits; /* captures/final-test.safetensors of 5 images */
    bool done;
    vt_flaw flaw;
    bool seeded; /* seed and exp_id below; else 2^64-1 and "aa" */
    uint64_t seed;
    const char *exp_id;
} vt_made_run;

/* Fills the (empty) folder; a failure ends the test. The numbers:
 *   training step s of S   loss 2 - s / S, top1 s / S, lr 0.001 / s, grad_norm s
 *   evaluation of epoch e  loss 3 / e, top1 0.5 - 0.25 / e, top5 0.9, ece 0.05;
 *                          confusion[t][p] = 100 e + 10 t + p
 *   layer_00 (images, 2 heads, 5, 5), has_cls, grid 2 x 2; layer_01 (images, 4 windows, 3 heads,
 *            4, 4)
 *                          element i of a snapshot in epoch e: e + i / 1024
 *   logits                 element i: i / 8 */
void vt_make_run(int dir_fd, const vt_made_run *what);

#endif
