/*
 * Image transforms.
 *
 * The shipped transforms only move pixels, so a list of them is one map from output to source
 * coordinates for each axis, with black where the source ends; no picture is copied on the way.
 * Every draw is a function of (seed, epoch, image number, place in the list).
 */
#ifndef VT_DATA_AUGMENT_H
#define VT_DATA_AUGMENT_H

#include <stdint.h>

typedef enum vt_transform_kind {
    VT_TRANSFORM_RANDOM_CROP, /* pad each side with black, cut the old size out at random */
    VT_TRANSFORM_FLIP,        /* mirror left and right with probability p */
    VT_TRANSFORM_COUNT
} vt_transform_kind;

typedef struct vt_transform {
    vt_transform_kind kind;
    float p;     /* FLIP: probability, in [0, 1] */
    int64_t pad; /* RANDOM_CROP: pixels a side, 0 <= pad < 2^30 */
} vt_transform;

enum { VT_MAX_TRANSFORMS = 8 };

typedef struct vt_transform_list {
    vt_transform item[VT_MAX_TRANSFORMS];
    int n;
} vt_transform_list;

/* One axis: output place i in [first, last) shows source place step * i + offset, with step 1 or
 * -1; the others are black. */
typedef struct vt_axis {
    int64_t step, offset, first, last;
} vt_axis;

typedef struct vt_view {
    vt_axis y, x;
} vt_view;

/* The map of the whole list for one image. Crop: row shift = below(2 pad + 1) - pad from element 0
 * of stream CROP, column shift from element 1. Flip: uniform(0) < p of stream FLIP. Stream layer =
 * place in the list, step = epoch, sample = image. */
vt_view vt_view_of(const vt_transform_list *list, int64_t height, int64_t width, uint64_t seed,
                   int64_t epoch, uint32_t image);

#endif
