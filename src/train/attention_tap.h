/*
 * Takes the attention weights out of a forward pass, as a hook of the program: they are computed
 * aside, from the queries, keys and biases that the pass has just used, so the pass does not know.
 */
#ifndef VT_TRAIN_ATTENTION_TAP_H
#define VT_TRAIN_ATTENTION_TAP_H

#include "graph/exec.h"
#include "results/attention_map.h"

typedef struct vt_attention_tap {
    vt_attention_layer *layer; /* weights of `images` images each */
    int n_layers;
    float *pool;         /* (images, pool_tokens) weights of sequence pooling; NULL without */
    int64_t pool_tokens; /* 0 without */
    /* private */
    vt_dev *dev;
    float **probs; /* layer[i].weights */
    float *device; /* of the largest layer and batch */
    int64_t device_floats, first;
    int next;
} vt_attention_tap;

/* For graphs like this one, of this or a smaller batch. Release in every case. VT_ERR_NOMEM. */
vt_status vt_attention_tap_init(vt_attention_tap *tap, vt_dev *dev, const vt_graph *graph,
                                int64_t images, vt_error *err);
void vt_attention_tap_release(vt_attention_tap *tap);

/* Before a pass: its first image is number `first` of the tap's. */
void vt_attention_tap_begin(vt_attention_tap *tap, int64_t first);
/* A vt_program_hook; the argument is the tap. */
void vt_attention_tap_hook(void *tap, const vt_call *call);

#endif
