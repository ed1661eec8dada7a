/*
 * Attention weights of some images, from a run's capture or from its model looking at picture
 * files, and what is said about them: maps (results/attention_map.h), rollout
 * (results/rollout.h), figures (report/attention_figure.h).
 */
#ifndef VT_REPORT_ATTENTION_H
#define VT_REPORT_ATTENTION_H

#include "results/history.h"
#include "results/json.h"
#include "results/rollout.h"
#include "train/trained.h"

typedef struct vt_attention_image {
    const char *file; /* NULL: captured */
    int64_t number;   /* in the test part; of a file: its place in the list */
    int64_t label;    /* -1: not known */
    int64_t pred;
    double probability; /* of pred; NaN: not known (captures do not keep it) */
    const uint8_t
        *pixels; /* (height, width, 3), as the network sees it, but for the normalisation */
} vt_attention_image;

typedef struct vt_attention_set {
    const char *const *class_names; /* of the history */
    int64_t n_classes;
    int64_t epoch; /* of the weights; -1: not known */
    int64_t n, height, width;
    vt_attention_image *image;
    vt_attention_layer *layer;
    int n_layers;
    const float *pool; /* (n, pool_side, pool_side) weights of sequence pooling; NULL without */
    int64_t pool_side;
    bool has_rollout;
    void *source; /* what owns weights and pixels, and how to let go of it */
    void (*release)(void *source);
} vt_attention_set;

/* Reads the capture of an epoch (-1: the newest) of the run `dir_fd`, whose path for messages is
 * `folder`. VT_ERR_NOINPUT: the run has none (the message says how to make one); VT_ERR_DATA: the
 * file is not the journal's, or its tensors do not fit each other. `history` is kept. Release in
 * every case. */
vt_status vt_attention_read(vt_attention_set *attention, int dir_fd, const char *folder,
                            const vt_history *history, int64_t epoch, vt_error *err);
void vt_attention_release(vt_attention_set *attention);

/* The same from `n` picture files (JPEG, PNG, "-" for standard input), which go through the
 * transforms of the run's test images. `t` was found and has a device; it is loaded here and kept.
 * The first file that cannot be read ends it. */
vt_status vt_attention_compute(vt_attention_set *attention, vt_trained *t, const char *const *files,
                               int64_t n, vt_error *err);

/* map (grid of the first layer) of an image; has_rollout must be true. VT_ERR_NOMEM. */
vt_status vt_attention_rollout(const vt_attention_set *attention, int64_t image, double *map,
                               vt_error *err);

/* Is image i right? false where the label is not known. */
bool vt_attention_right(const vt_attention_set *attention, int64_t image);

/* {"epoch", "layers": [{"layer", "heads", "grid": [h, w], "window", "shift", "dilation",
 * "class_token"}], "images": [{"number" | "file", "label", "predicted", "probability", "right",
 * "layers": [{"mean": [[...]], "padding", "class_token"}], "pool", "rollout"}]}; maps as rows.
 * NULL for lack of memory. */
json_t *vt_attention_json(const vt_attention_set *attention);

#endif
