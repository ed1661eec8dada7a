/*
 * Sheets of pictures: small images in rows, each with what was predicted and what is true above it,
 * green where they agree and red where not.
 */
#ifndef VT_RESULTS_SHEET_H
#define VT_RESULTS_SHEET_H

#include "results/draw.h"

#include <stdint.h>

typedef struct vt_sheet_image {
    const char *predicted, *truth; /* class names */
    double probability;            /* of the predicted class */
    int64_t number;                /* of the image in its part of the data, from 0 */
    const char *file;              /* its file's name; NULL if it has none of its own */
} vt_sheet_image;

/* Appends a list as tab-separated text: number, file, true, predicted, probability. */
void vt_sheet_list(const vt_sheet_image *image, int64_t n, vt_text *text);

typedef struct vt_sheet {
    const char *name, *title; /* name: of the files */
    int64_t n, side, columns; /* images, of side x side pixels */
    const vt_sheet_image *image;
    const uint8_t *pixels; /* (n, side, side, 3), red first */
    bool says_probability; /* ... and the number below the names */
} vt_sheet;

/* Draws NAME (.svg, ...) in the folder, with its list NAME.tsv, its pixels NAME.rgb (bytes as
 * above) and the script NAME.gp beside it. */
vt_status vt_sheet_draw(vt_drawer *drawer, int dir_fd, const char *folder, const vt_sheet *sheet,
                        vt_error *err);

#endif
