/*
 * Attention maps: which tokens attend to which, made once for each (map size, window, shift, mode)
 * and consumed inside the attention kernel, so nothing is rolled, padded or copied.
 *
 * Window modes, for a map of H x W tokens and windows of w x w (Liu et al. 2021):
 *
 *   strict       the window is clamped to the map in each direction, and not shifted where one
 *                window covers the map; padding neither attends nor is attended to
 *   unmasked     as the article's code: padded to a multiple of the window, padded tokens attend as
 *                keys, window and shift are kept even if the window is larger than the map
 *   torchvision  as unmasked, but no shift in a direction where one window covers the padded map
 *
 * In shifted windows the padded map is rolled by the shift; tokens attend only within the region
 * of the map that they came from (regions are cut at -window and -shift).
 */
#ifndef VT_NN_WINDOWS_H
#define VT_NN_WINDOWS_H

#include "config/config.h"
#include "graph/graph.h"

typedef struct vt_window_geometry {
    int64_t height, width;      /* of the map, in tokens */
    int64_t window_h, window_w; /* as used */
    int64_t shift_h, shift_w;   /* as used; 0 for none */
    bool padding_attends;
} vt_window_geometry;

/* Window and shift in use for a block: `shifted` blocks ask for a shift of window / 2. */
vt_window_geometry vt_window_geometry_of(int64_t height, int64_t width, int64_t window,
                                         bool shifted, enum vt_window_mode mode);
/* The map, owned by the graph; NULL after a failure. */
const vt_attention_map *vt_window_map(vt_graph *graph, const vt_window_geometry *geometry);
/* Every token attends to every token. */
const vt_attention_map *vt_global_map(vt_graph *graph, int64_t tokens);
/* `patch` divides the map: windows are the places in a patch, row by row, and hold the patches, row
 * by row. */
const vt_attention_map *vt_patch_map(vt_graph *graph, int64_t height, int64_t width, int64_t patch);
/* Tokens that the padded form of the windows would compute, over those that exist. */
double vt_window_padding(const vt_window_geometry *geometry);

#endif
