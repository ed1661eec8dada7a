/*
 * Drawing maps over pictures, pixel by pixel, on a canvas of square pixels.
 *
 * A map's colour is that of log(value / mean of the map) on a scale from -log R to log R, blended
 * over the grey picture: what is read more than the average is bright. R is one number for a whole
 * figure, so that its maps can be compared.
 */
#ifndef VT_REPORT_OVERLAY_H
#define VT_REPORT_OVERLAY_H

#include "results/attention_map.h"

typedef struct vt_canvas {
    int64_t height, width;
    uint8_t *pixels; /* (height, width, 3), vt_free */
} vt_canvas;

/* White. VT_ERR_NOMEM. */
vt_status vt_canvas_init(vt_canvas *canvas, int64_t height, int64_t width, vt_error *err);

/* A square of the canvas. */
typedef struct vt_frame {
    int64_t top, left, side;
} vt_frame;

typedef struct vt_overlay_picture {
    const uint8_t *pixels; /* (height, width, 3) */
    int64_t height, width;
} vt_overlay_picture;

/* The picture alone, each of its pixels spread over its area. */
void vt_overlay_picture_draw(vt_canvas *canvas, vt_frame frame, const vt_overlay_picture *picture);

/* Cells of a map: cell i covers the pixels [edge[i], edge[i + 1]) of the picture. */
typedef struct vt_overlay_map {
    const double *value; /* (rows, columns) */
    int64_t rows, columns;
    const double *row_edge, *column_edge; /* rows + 1, columns + 1 */
} vt_overlay_map;

/* The map over the picture. smooth: bilinear between the middles of the cells; else as they are. */
void vt_overlay_map_draw(vt_canvas *canvas, vt_frame frame, const vt_overlay_picture *picture,
                         const vt_overlay_map *map, double ratio, bool smooth);
/* The scale from 1 / R to R, left to right. */
void vt_overlay_bar_draw(vt_canvas *canvas, int64_t top, int64_t left, int64_t height,
                         int64_t width);

/* Mean of a map; NaN if a value is. */
double vt_overlay_mean(const double *value, int64_t n);

/* Edges (cells + 1) of a grid in pixels, by vt_attention_span from the grid below it (`from` cells
 * with their edges), or from the picture's pixels themselves with below = NULL. */
void vt_overlay_edges(int64_t cells, int64_t from, const double *below, double *edge);

#endif
