/*
 * Captured attention weights, put back where their tokens lie.
 *
 * A layer's grid has grid_h x grid_w tokens; token 0 may be a class token before them. Layers
 * compute attention in windows (one that holds all tokens, Swin's windows, MobileViT's groups of
 * the same place in each patch), and weights are stored by window and place. The layout says which
 * token that is:
 *
 *   no windows        place n is token n
 *   windows (Swin)    window v, place n is row (v / across * wh + n / ww + shift_h) mod H', column
 *                     likewise, H' the grid's height rounded up to windows: this undoes the
 *                     partition, then the roll. Rows and columns beyond the grid are padding
 *   dilation d > 1    (MobileViT) window p, place n is row n / ww * d + p / d, column
 *                     n % ww * d + p % d
 *
 * One map a layer and head, for the whole model and not for one token: the class token's row, or,
 * where there is none, the mean of all tokens' rows (how much each token is read). What the rows
 * give to padding and to the class token itself is not on the map, and is returned beside it.
 */
#ifndef VT_RESULTS_ATTENTION_MAP_H
#define VT_RESULTS_ATTENTION_MAP_H

#include "graph/graph.h"
#include "results/safetensors.h"

typedef struct vt_attention_layer {
    vt_attention_layout layout;
    int64_t windows, heads, places; /* of one image */
    const float *weights;           /* (images, windows, heads, places, places): [query][key] */
} vt_attention_layer;

/* Reads layer `tensor` of a captured file: F32, (images, heads, P, P) or (images, windows, heads,
 * P, P), with its layout in the file's metadata. `path` is for messages. VT_ERR_DATA: another kind
 * of tensor, or a number in the metadata that is none. */
vt_status vt_attention_layer_read(vt_attention_layer *layer, const vt_safetensors *file,
                                  const vt_safetensor *tensor, const char *path, vt_error *err);
/* Do windows, places and layout fit each other? Of the functions below only for those. */
bool vt_attention_layer_fits(const vt_attention_layer *layer);

bool vt_attention_layout_equal(const vt_attention_layout *a, const vt_attention_layout *b);

/* grid_h * grid_w, and one more with a class token. */
int64_t vt_attention_tokens(const vt_attention_layout *layout);
/* The token at a place of a window; -1 for padding. */
int64_t vt_attention_token(const vt_attention_layout *layout, int64_t window, int64_t place);

/* Shares of the queries' attention that no cell of a map shows; with the map they make 1. */
typedef struct vt_attention_rest {
    double padding, class_token;
} vt_attention_rest;

/* map (grid_h, grid_w) of one image; head -1 is the mean over the heads. */
vt_attention_rest vt_attention_put_back(const vt_attention_layer *layer, int64_t image,
                                        int64_t head, double *map);

/* Side of the square map that sequence pooling reads; 0 if `tokens` is no square, or too large. */
int64_t vt_attention_pool_side(int64_t tokens);

/*
 * Where one of `to` cells lies on a line of `from` finer (or other) ones, as [lo, hi) in units of
 * those: whole blocks of r = ceil(from / to) where that many blocks cover the line, the last cut
 * off (patches, patch merging, convolutions with a stride); else equal parts.
 */
void vt_attention_span(int64_t from, int64_t to, int64_t cell, double *lo, double *hi);

#endif
