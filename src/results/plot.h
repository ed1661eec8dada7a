/*
 * Figures: the curves of runs, drawn by gnuplot as a process.
 *
 * Beside each figure stay its data (tab-separated) and the script that drew it, made from the
 * templates below plots/, so that anyone can restyle it: gnuplot NAME.gp.
 */
#ifndef VT_RESULTS_PLOT_H
#define VT_RESULTS_PLOT_H

#include "base/status.h"

#include <stdbool.h>

typedef struct vt_plot_options {
    const char *results; /* folder of the runs */
    const char *only;    /* an experiment, a run id (at least 4 hex digits), a run folder or "last";
                            NULL: the newest run of every experiment, and all side by side */
    bool svg, png, pdf;  /* formats */
    bool terminal;       /* draw with characters on stdout instead */
} vt_plot_options;

/*
 * Draws loss, accuracy and learning rate against epoch, one figure each and one stacked, into the
 * run's folder plots/; with several experiments also results/plots/compare. The paths of the
 * figures go to stdout. VT_ERR_NOINPUT: no such run, or none has a finished epoch. VT_ERR_HELPER:
 * gnuplot is missing or failed; data and scripts are there all the same.
 */
vt_status vt_plot(const vt_plot_options *options, vt_error *err);

#endif
