/*
 * Figures: the curves of runs, drawn by gnuplot.
 *
 * Beside each figure stay its data (tab-separated) and the script that drew it, put together from
 * plots/style.gp and plots/panels.gp (see results/draw.h), so that anyone can restyle it:
 * `gnuplot NAME.gp` draws it again.
 */
#ifndef VT_REPORT_PLOT_H
#define VT_REPORT_PLOT_H

#include "results/draw.h"

#include <stdbool.h>

typedef struct vt_plot_options {
    const char *results;     /* folder of the runs */
    const char *const *runs; /* what each means: results/runs.h */
    int n_runs;              /* 0: the newest run of every experiment, and all side by side */
    vt_formats formats;
    bool terminal; /* draw with characters on stdout; writes no file */
} vt_plot_options;

/*
 * Draws, into the folder plots/ of each run, loss, accuracy and learning_rate against the epoch,
 * one figure each, and the three above each other as stacked; without named runs also
 * results/plots/compare, all experiments side by side. The figures' paths go to stdout.
 *
 *   VT_ERR_NOINPUT  no such run, no run with a finished epoch, or no templates
 *   VT_ERR_HELPER   gnuplot is missing or failed; if it is missing, all data and scripts are there
 */
vt_status vt_plot(const vt_plot_options *options, vt_error *err);

#endif
