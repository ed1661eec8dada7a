#include "report/figures.h"

#include "report/calibration.h"
#include "report/charts.h"
#include "report/classes.h"
#include "report/matrix.h"

#include <stdio.h>
#include <string.h>

static const struct names {
    const char *word, *file;
} names[] = {
#define X(name, word, file, help) {word, file},
    VT_FIGURE_LIST(X)
#undef X
};

const char *vt_figure_word(vt_figure_kind kind)
{
    return names[kind].word;
}

const char *vt_figure_file(vt_figure_kind kind)
{
    return names[kind].file;
}

const char *vt_figure_name(vt_figure_kind kind, const vt_groups *groups, int group,
                           char name[VT_NAME_MAX + 1])
{
    if (kind != VT_FIGURE_CONFUSION || groups->n < 2) {
        snprintf(name, VT_NAME_MAX + 1, "%s", names[kind].file);
        return name;
    }
    /* The number keeps names apart that are alike in what a file's name can hold of them. */
    snprintf(name, VT_NAME_MAX + 1, "%s-%d-%.80s", names[kind].file, group + 1,
             groups->group[group].name);
    for (char *c = name; *c; c++)
        if (!strchr("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz._-", *c))
            *c = '-';
    return name;
}

static vt_charts_options curves_of(vt_figure_kind kind, const vt_figure_options *options)
{
    static const vt_charts_kind curves[] = {[VT_FIGURE_LOSS] = VT_CHARTS_LOSS,
                                            [VT_FIGURE_ACCURACY] = VT_CHARTS_ACCURACY,
                                            [VT_FIGURE_RATE] = VT_CHARTS_RATE,
                                            [VT_FIGURE_GRADIENT] = VT_CHARTS_GRADIENT,
                                            [VT_FIGURE_SPEED] = VT_CHARTS_SPEED};
    return (vt_charts_options){.kind = curves[kind], .log = options->log};
}

vt_status vt_figure_draw(vt_drawer *drawer, int dir_fd, const char *folder, vt_figure_kind kind,
                         const vt_groups *groups, const vt_figure_options *options, vt_error *err)
{
    char name[VT_NAME_MAX + 1];
    vt_status status = VT_OK;
    vt_split split = options->split == VT_SPLIT_VAL ? VT_SPLIT_VAL : VT_SPLIT_TEST;
    const vt_place place = {drawer, dir_fd, folder, vt_figure_name(kind, groups, 0, name),
                            options->width};
    if (kind <= VT_FIGURE_SPEED) {
        const vt_charts_options curves = curves_of(kind, options);
        return vt_charts_draw(&place, groups, &curves, err);
    }
    if (kind == VT_FIGURE_CALIBRATION)
        return vt_calibration_draw(&place, groups, err);
    if (kind == VT_FIGURE_CLASSES)
        return vt_classes_draw(&place, groups, split, options->epoch, err);
    for (int g = 0; g < groups->n && status == VT_OK; g++) {
        vt_figure_name(kind, groups, g, name);
        status = vt_matrix_draw(&place, &groups->group[g], split, options->epoch, err);
    }
    return status;
}

vt_status vt_figure_show(vt_figure_kind kind, const vt_groups *groups,
                         const vt_figure_options *options, vt_error *err)
{
    if (kind > VT_FIGURE_SPEED)
        return vt_fail(err, VT_ERR_USAGE, "%s cannot be drawn with characters",
                       vt_figure_word(kind));
    const vt_charts_options curves = curves_of(kind, options);
    return vt_charts_show(groups, &curves, err);
}
