/*
 * What `vitrine plot` does: choosing runs, figures and folders.
 *
 * Without words, or with one that is no list of kinds: each run's own figures (loss, accuracy,
 * learning_rate and the three above each other as stacked) in its folder plots/; without words also
 * RESULTS/plots/compare, all experiments side by side (that alone with `out`). Else the figures of
 * the chosen kinds, several runs in one set of axes (report/figures.h), in `out`, or RESULTS/plots,
 * or the one run's plots/.
 */
#ifndef VT_REPORT_PLOT_H
#define VT_REPORT_PLOT_H

#include "report/figures.h"

#include <stdbool.h>

typedef struct vt_plot_options {
    const char *results;     /* folder of the runs */
    const char *const *runs; /* what each means: report/outcome.h */
    int n_runs;              /* 0: the newest run of every experiment */
    vt_formats formats;
    bool terminal; /* draw with characters on stdout; writes no file */
    bool kind[VT_FIGURE_COUNT];
    bool kinds;      /* some are chosen; else loss and accuracy where several runs are drawn */
    bool each;       /* a curve for every run, not for every experiment */
    const char *out; /* folder for the figures; it is made. NULL: see above */
    vt_figure_options figure; /* width 0: single for one experiment, double for several */
} vt_plot_options;

/* Reads "loss,accuracy". VT_ERR_USAGE for another word. */
vt_status vt_plot_parse_kinds(vt_plot_options *options, const char *text, vt_error *err);

/*
 * Draws; the figures' paths go to stdout.
 *
 *   VT_ERR_NOINPUT     no such run, no run with a finished epoch, nothing of a kind, or no
 * templates VT_ERR_HELPER      gnuplot is missing or failed; if it is missing, all data and scripts
 * are there VT_ERR_CANTCREATE  the folder is not ours to write into: `out` names another
 */
vt_status vt_plot(const vt_plot_options *options, vt_error *err);

#endif
