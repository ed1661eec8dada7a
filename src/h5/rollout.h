/*
 * Attention rollout (Abnar and Zuidema 2020, "Quantifying attention flow in transformers"): how
 * much of the last layer's class token comes from each patch, if each layer passes on half of its
 * input unchanged and mixes the other half by its attention, averaged over the heads:
 *
 *   R = A_L ... A_2 A_1,   A_l = (mean over heads of the attention + identity) / 2, rows sum to 1
 *
 * The map is the class token's row of R, without the class token itself; in a model without one,
 * the mean of all rows. Sums in double, in a fixed order.
 */
#ifndef VT_H5_ROLLOUT_H
#define VT_H5_ROLLOUT_H

#include <stdbool.h>
#include <stdint.h>

typedef struct vt_h5_rollout_layer {
    const float *weights; /* (images, heads, tokens, tokens) */
    int64_t heads;
} vt_h5_rollout_layer;

/* Fills `map` (tokens, less the class token at place 0) for one image. `scratch`: 2 * tokens. */
void vt_h5_rollout(const vt_h5_rollout_layer *layers, int n_layers, int64_t image, int64_t tokens,
                   bool has_cls, double *scratch, float *map);

#endif
