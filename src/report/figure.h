/*
 * A figure as numbers for plots/panels.gp: panels, the curves in them, and texts and samples of
 * lines anywhere on the paper. Lengths are inches from the lower left corner. The data are one
 * table of tab-separated columns with a line of headings.
 *
 *     vt_figure figure = {.width = VT_WIDTH_SINGLE, .height = 2};
 *     vt_figure_panel(&figure, &panel);     the curves that follow are in it
 *     vt_figure_curve(&figure, &curve);
 *     vt_figure_text(&figure, x, y, VT_SIDE_LEFT, VT_INK, 9, "loss (nat)");
 *     vt_figure_publish(&figure, &table, &place, &err);
 *     vt_figure_release(&figure);
 */
#ifndef VT_REPORT_FIGURE_H
#define VT_REPORT_FIGURE_H

#include "base/text.h"
#include "report/scale.h"
#include "results/draw.h"

#include <stdint.h>

/* Widths of figures in papers of one and of two columns, inches. */
#define VT_WIDTH_SINGLE 3.3
#define VT_WIDTH_DOUBLE 6.9

/* Points. */
#define VT_POINTS 9.0
#define VT_POINTS_SMALL 8.0

/* Styles: a series (from 1; after 16 they come again) with a dash, or a line for explanations. */
typedef enum vt_dash { VT_DASH_NONE = 1, VT_DASH_LONG, VT_DASH_DOT } vt_dash;
int vt_style_of(int series, vt_dash dash);
enum { VT_STYLE_THIN = 4 }; /* VT_DASH_... alone explains a dash */

typedef enum vt_side { VT_SIDE_LEFT, VT_SIDE_CENTER, VT_SIDE_RIGHT } vt_side;
typedef enum vt_tone { VT_INK, VT_SOFT } vt_tone;

/* Where a figure goes: files NAME.svg, ... in the folder; `width` in inches. */
typedef struct vt_place {
    vt_drawer *drawer;
    int dir_fd;
    const char *folder, *name;
    double width;
} vt_place;

typedef struct vt_figure {
    double width, height;
    int n_panels, n_curves, n_texts, n_samples, first; /* these are 0 at the start */
    vt_text lines, banded;
} vt_figure;

typedef enum vt_how {
    VT_LINES,
    VT_STEPS, /* outlines of a histogram: x is the middle of a step */
    VT_DOTS,  /* no lines; `low` and `high` are whiskers along x, and x and y change places */
} vt_how;

typedef struct vt_panel {
    double left, bottom, width, height;
    vt_scale x, y;
    int y_exponent;              /* numbers of the axis are divided by 10^this */
    const char *x_unit, *y_unit; /* behind each number: "%"; NULL shows no numbers */
    const char *heading;         /* on a terminal */
    vt_how how;
    bool grid_x; /* lines up from the numbers of x too */
} vt_panel;

/* Columns count from 1. `low` and `high` bound a band around the curve; 0: none. Every `marks`th
 * point has a mark. */
typedef struct vt_curve {
    int x, y, low, high, style;
    int64_t marks;
    const char *name; /* on a terminal */
} vt_curve;

void vt_figure_panel(vt_figure *figure, const vt_panel *panel);
void vt_figure_curve(vt_figure *figure, const vt_curve *curve);
/* y is where the middle of the text's line is. */
void vt_figure_text(vt_figure *figure, double x, double y, vt_side side, vt_tone tone,
                    double points, const char *text);
/* A piece of a line, with its mark, from x to the right. */
void vt_figure_sample(vt_figure *figure, double x, double y, double length, int style);

/* Publishes the table NAME.tsv and the script NAME.gp, and draws. */
vt_status vt_figure_publish(const vt_figure *figure, const vt_text *table, const vt_place *place,
                            vt_error *err);
/* Draws with characters on stdout. */
vt_status vt_figure_type(const vt_figure *figure, const vt_text *table, vt_error *err);
/* The numbers alone, as they stand in the script; a lack of memory shows in its `failed`. */
void vt_figure_print(const vt_figure *figure, const char *name, const char *formats,
                     const char *data, vt_text *script);
void vt_figure_release(vt_figure *figure);

#endif
