/*
 * Curves against the epoch: of one experiment with its splits, or of several in one set of axes.
 *
 * An experiment has a colour and a kind of mark; its seeds are a mean line in a band of plus and
 * minus one sample standard deviation, a single run is a plain line. Test is solid, train dashed.
 * Up to four experiments are named at the ends of their curves where there is room, else in a
 * legend below the axes; more than four have an axis for test and one for train beside it.
 * Validation takes the place of test where nothing was tested.
 */
#ifndef VT_REPORT_CHARTS_H
#define VT_REPORT_CHARTS_H

#include "report/figure.h"
#include "report/groups.h"

/* What a figure of curves shows. RUN: loss, accuracy and rate above each other. */
typedef enum vt_charts_kind {
    VT_CHARTS_LOSS,
    VT_CHARTS_ACCURACY,
    VT_CHARTS_RATE,
    VT_CHARTS_GRADIENT,
    VT_CHARTS_SPEED, /* training images a second; time of a step */
    VT_CHARTS_RUN,
    VT_CHARTS_COUNT
} vt_charts_kind;

typedef struct vt_charts_options {
    vt_charts_kind kind;
    bool log;   /* logarithmic values, of loss and gradient norm only */
    bool apart; /* every group in axes of its own, side by side */
} vt_charts_options;

/* Above this many, groups cannot be told apart in one set of axes. */
enum { VT_CHARTS_GROUPS_MAX = 16 };

/* Draws NAME (.svg, ...) in the folder, with its table NAME.tsv and its script NAME.gp. The table:
 * the epoch, then each group's quantities; of several seeds mean, low and high of the band, and the
 * number of seeds. VT_ERR_NOINPUT if no group has any value of this kind; VT_ERR_USAGE for more
 * than VT_CHARTS_GROUPS_MAX groups in one set of axes. */
vt_status vt_charts_draw(const vt_place *place, const vt_groups *groups,
                         const vt_charts_options *options, vt_error *err);
/* The same with characters on stdout. */
vt_status vt_charts_show(const vt_groups *groups, const vt_charts_options *options, vt_error *err);

#endif
