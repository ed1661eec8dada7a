/*
 * A figure as a gnuplot script: panels in a grid, their places in inches.
 *
 * A column of the grid is a run; its rows are the kinds of panels. Panels of a row share their
 * value axis, panels of a column their epochs. After FIGURE_COLUMNS_MAX runs the grid goes on below
 * in another block.
 */
#ifndef VT_REPORT_FIGURE_H
#define VT_REPORT_FIGURE_H

#include "base/status.h"
#include "base/text.h"
#include "report/plotdata.h"

enum { VT_FIGURE_COLUMNS_MAX = 4 };

typedef enum vt_panel { VT_PANEL_LOSS, VT_PANEL_ACCURACY, VT_PANEL_RATE, VT_PANEL_COUNT } vt_panel;

/* One run of a figure. */
typedef struct vt_figure_run {
    const vt_plotdata *data;
    const char *file; /* where the script finds the data */
} vt_figure_run;

typedef struct vt_figure {
    const char *name;    /* of the files to draw: NAME.svg, ... */
    const char *formats; /* "svg png pdf", or "dumb" for characters on stdout */
    const vt_figure_run *run;
    int n_runs;
    vt_panel first; /* panels [first, first + n_panels) */
    int n_panels;
} vt_figure;

/* Appends the numbers that the templates need. */
void vt_figure_print(const vt_figure *figure, vt_text *script);

#endif
