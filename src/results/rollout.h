/*
 * Attention rollout (Abnar and Zuidema 2020, "Quantifying attention flow in transformers"): how
 * much of what the head reads comes from each token of the first layer, if each layer passes on
 * half of its input unchanged and mixes the other half by its attention, averaged over the heads:
 *
 *   r = s A_L D ... A_2 A_1,   A_l = (mean over heads of B_l + identity) / 2
 *
 *   B_l  tokens x tokens, one head's attention: the weights of each window at the rows and columns
 *        of its tokens (attention_map.h), 0 between windows, each row divided by its sum over the
 *        tokens; a row without any weight is the token itself
 *   D    between layers of unlike grids (patch merging, strides, resized maps): a token's value is
 *        the mean over the area of the finer grid that it lies on (vt_attention_span)
 *   s    what the head reads: the class token; with sequence pooling the pooling weights, divided
 *        by their sum; else 1 / tokens for each
 *
 * Every A and D has rows that sum to 1, so r does too; the map is r without the class token.
 *
 * Exact, for the layers captured: which token reads which, in every kind of window. Conventions:
 * the half for the residual branch; the mean over the heads; attention weights for influence
 * (values and MLPs are left out); weights that padding has are shared out among the tokens of its
 * row (a padded key is the same for all images); D, since merging and convolutions weigh their
 * inputs and reach beyond their stride; convolutions between layers of the same grid count as
 * nothing. Without windows, merging and convolutions it is the authors' rollout.
 *
 * Sums in double, in an order fixed by the shapes.
 */
#ifndef VT_RESULTS_ROLLOUT_H
#define VT_RESULTS_ROLLOUT_H

#include "results/attention_map.h"

/* Is there one? Every layer fits its layout, and class tokens are in all layers, with one grid, or
 * in none. */
bool vt_rollout_exists(const vt_attention_layer *layers, int n_layers);
/* Doubles that vt_rollout_run needs. */
int64_t vt_rollout_scratch(const vt_attention_layer *layers, int n_layers, int64_t pool_side);
/* Fills map (grid of the first layer) for one image. pool: (pool_side, pool_side) weights of
 * sequence pooling; NULL and 0 without. */
void vt_rollout_run(const vt_attention_layer *layers, int n_layers, int64_t image,
                    const float *pool, int64_t pool_side, double *scratch, double *map);

/* to (1, tokens) = from (1, tokens) A, for one layer: with rows of the identity, A itself. */
void vt_rollout_layer(const vt_attention_layer *layer, int64_t image, const double *from,
                      double *to);
/* to (fine_h, fine_w) = from (coarse_h, coarse_w) D. */
void vt_rollout_spread(int64_t coarse_h, int64_t coarse_w, const double *from, int64_t fine_h,
                       int64_t fine_w, double *to);

#endif
