/*
 * From a picture to the network's input: a list of transforms applied to bytes, then the
 * normalisation. For the files of src/data only.
 */
#ifndef VT_DATA_PICTURE_H
#define VT_DATA_PICTURE_H

#include "data/image.h"
#include "data/resize.h"

enum { VT_DATA_MAX_CHANNELS = 3 };

/* Memory for one picture at a time; grows to what is needed and stays. Start with {0}. */
typedef struct vt_easel {
    struct vt_easel *next; /* in a list of free ones */
    vt_image image;        /* a decoded file */
    uint8_t *file;         /* its bytes */
    size_t file_capacity;
    uint8_t *step[2]; /* pictures between two transforms */
    size_t step_capacity[2];
    vt_resizer resizer;
} vt_easel;

void vt_easel_release(vt_easel *easel);

/* Bytes that belong to somebody else: (height, width, 3). */
typedef struct vt_picture {
    const uint8_t *pixels;
    vt_size size;
} vt_picture;

/* A byte's normalised value in each channel: (byte / 255 - mean) / std, each operation rounded. */
typedef struct vt_levels {
    float of[VT_DATA_MAX_CHANNELS][256];
} vt_levels;

vt_levels vt_levels_of(const float mean[3], const float std[3]);

/* Applies the transforms in places [first, n) of the list. *picture becomes the picture before the
 * last moves (in the easel's memory if anything was resized), *view those moves. VT_ERR_DATA
 * (a thin picture would become larger than image.h allows), VT_ERR_NOMEM. */
vt_status vt_picture_transform(vt_easel *easel, const vt_transform_list *list, int first, int n,
                               vt_draw draw, vt_picture *picture, vt_view *view, vt_error *err);

/* What the view shows: bytes or normalised values, (view.y.size, view.x.size, 3). */
void vt_picture_copy(const vt_picture *picture, const vt_view *view, uint8_t *out);
void vt_picture_normalise(const vt_picture *picture, const vt_view *view, const vt_levels *levels,
                          float *out);

#endif
