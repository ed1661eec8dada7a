/*
 * The figures of runs by kind: what `vitrine plot --kind` draws, and what a page of results embeds
 * (report/svg.h says how).
 *
 *     vt_groups groups;
 *     vt_groups_read(&groups, places, n, false, &err);
 *     vt_drawer drawer = {.formats = {.svg = true}, .maker = "vitrine report", .list = stderr};
 *     vt_figure_draw(&drawer, fd, "report", VT_FIGURE_LOSS, &groups, &options, &err);
 *     vt_draw_finish(&drawer, &err);
 *
 * Each figure's data (tab-separated) and script stay beside it; equal runs give equal bytes, but of
 * the speed, which is measured. Nothing is written into the runs' folders.
 */
#ifndef VT_REPORT_FIGURES_H
#define VT_REPORT_FIGURES_H

#include "report/groups.h"
#include "results/draw.h"

/* word, name of its files, what it shows */
#define VT_FIGURE_LIST(X)                                                                          \
    X(LOSS, "loss", "loss", "training and test loss")                                              \
    X(ACCURACY, "accuracy", "accuracy", "training and test accuracy")                              \
    X(RATE, "lr", "learning_rate", "learning rate")                                                \
    X(GRADIENT, "gradnorm", "gradient_norm", "norm of the gradient")                               \
    X(SPEED, "speed", "speed", "training images a second, time of a step")                         \
    X(CONFUSION, "confusion", "confusion", "confusion matrix; several: one for each experiment")   \
    X(CALIBRATION, "calibration", "calibration", "reliability diagram of the last evaluation")     \
    X(CLASSES, "classes", "classes", "accuracy of each class, sorted")

typedef enum vt_figure_kind {
#define X(name, word, file, help) VT_FIGURE_##name,
    VT_FIGURE_LIST(X)
#undef X
        VT_FIGURE_COUNT
} vt_figure_kind;
const char *vt_figure_word(vt_figure_kind kind);
const char *vt_figure_file(vt_figure_kind kind);

typedef struct vt_figure_options {
    double width;   /* inches: VT_WIDTH_SINGLE or VT_WIDTH_DOUBLE of report/figure.h */
    bool log;       /* logarithmic loss and gradient norm */
    vt_split split; /* of confusion and classes; VT_SPLIT_TRAIN stands for test */
    int64_t epoch;  /* of confusion and classes; -1: the last evaluation */
} vt_figure_options;

/* Draws a figure into the folder, whose path for messages is `folder`. VT_ERR_NOINPUT: the runs
 * have nothing of the kind (the message says what is missing); VT_ERR_USAGE: too many experiments.
 * The confusion matrices of several groups are files of their own: vt_figure_name. */
vt_status vt_figure_draw(vt_drawer *drawer, int dir_fd, const char *folder, vt_figure_kind kind,
                         const vt_groups *groups, const vt_figure_options *options, vt_error *err);
/* The name of a kind's files, without a suffix; `group` matters to confusion matrices alone. */
const char *vt_figure_name(vt_figure_kind kind, const vt_groups *groups, int group,
                           char name[VT_NAME_MAX + 1]);
/* With characters on stdout; VT_ERR_USAGE for the last three kinds. */
vt_status vt_figure_show(vt_figure_kind kind, const vt_groups *groups,
                         const vt_figure_options *options, vt_error *err);

#endif
