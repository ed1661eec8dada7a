/*
 * Image transforms: what a list of them makes of a picture's size, which pixels it moves where and
 * what its random ones draw.
 *
 * Crops and flips only move pixels, so a run of them is one map from output to source coordinates
 * for each axis, with black where the source ends; no picture is copied on the way. Resizing
 * computes new pixels (data/resize.h). Every draw is a function of (seed, epoch, image number,
 * place in the list).
 */
#ifndef VT_DATA_AUGMENT_H
#define VT_DATA_AUGMENT_H

#include <stdbool.h>
#include <stdint.h>

typedef enum vt_transform_kind {
    VT_TRANSFORM_RANDOM_CROP, /* pad each side with black, cut the old size out at random */
    VT_TRANSFORM_FLIP,        /* mirror left and right with probability p */
    VT_TRANSFORM_RESIZE,      /* to width x height; width 0: the short side to height */
    VT_TRANSFORM_CENTER_CROP, /* cut height x width out of the middle, black around a smaller one */
    VT_TRANSFORM_RANDOM_RESIZED_CROP, /* cut a random box out, resize it to height x width */
    VT_TRANSFORM_COUNT
} vt_transform_kind;

typedef struct vt_transform {
    vt_transform_kind kind;
    float p;               /* FLIP: probability, in [0, 1] */
    int64_t pad;           /* RANDOM_CROP: pixels a side, 0 <= pad < 2^30 */
    int64_t height, width; /* the last three kinds */
    double scale[2];       /* RANDOM_RESIZED_CROP: least and greatest share of the area */
    double ratio[2];       /* and width / height of the box */
} vt_transform;

enum { VT_MAX_TRANSFORMS = 8, VT_TRANSFORM_SIDE_MAX = 4096 };

typedef struct vt_transform_list {
    vt_transform item[VT_MAX_TRANSFORMS];
    int n;
} vt_transform_list;

typedef struct vt_size {
    int64_t height, width; /* 0: not known, it differs from picture to picture */
} vt_size;

/* The size that the first `n` transforms make of a picture of size `from`. A short side resized
 * with torchvision's rounding: long side = short * long / short, rounded down. */
vt_size vt_transforms_size(const vt_transform_list *list, int n, vt_size from);

/* How many leading transforms make the same picture in every epoch: resizes and centre crops. */
int vt_transforms_fixed(const vt_transform_list *list);

/* What the random draws of one image depend on. */
typedef struct vt_draw {
    uint64_t seed;
    int64_t epoch;
    uint32_t image;
} vt_draw;

/* One axis: output place i in [first, last) shows source place step * i + offset, with step 1 or
 * -1; the others, in [0, size), are black. */
typedef struct vt_axis {
    int64_t step, offset, first, last, size;
} vt_axis;

typedef struct vt_view {
    vt_axis y, x;
    int next; /* place of the first transform that is not in the map: a resize, or n */
} vt_view;

/* The map of the moves in places [first, n) of the list up to the first one that resizes. Random
 * crop: row shift = below(2 pad + 1) - pad from element 0 of stream CROP, column shift from element
 * 1. Flip: uniform(0) < p of stream FLIP. Stream layer = place in the list, step = epoch, sample =
 * image. Centre crop: torchvision's rounding. */
vt_view vt_view_of(const vt_transform_list *list, int first, int n, vt_size from, vt_draw draw);

typedef struct vt_box {
    int64_t top, left, height, width;
} vt_box;

/* The box of RANDOM_RESIZED_CROP at `place` of the list: torchvision's rule (ten tries of area and
 * ratio, then the middle), with draws from stream CROP: try t takes its area from element 8 t, the
 * logarithm of its ratio from 8 t + 1, its place from below(4 t + 1) and below(4 t + 2). */
vt_box vt_crop_box(const vt_transform *transform, int place, vt_size from, vt_draw draw);
/* Its parts. The box of one try whose uniform draws are u and v, each in [0, 1); false if it does
 * not fit. Place: top and left are left alone. */
bool vt_crop_try(const vt_transform *transform, vt_size from, double u, double v, vt_box *box);
/* The box of the middle. */
vt_box vt_crop_middle(const vt_transform *transform, vt_size from);

#endif
