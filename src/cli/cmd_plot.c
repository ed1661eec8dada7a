#include "base/log.h"
#include "cli/cmd.h"
#include "cli/options.h"
#include "report/figure.h"
#include "report/plot.h"

#include <string.h>

enum { RUNS_MAX = VT_SETS_MAX };

static vt_status parse_width(vt_plot_options *plot, const char *word, vt_error *err)
{
    bool single = strcmp(word, "single") == 0;
    if (!single && strcmp(word, "double") != 0)
        return vt_fail(err, VT_ERR_USAGE, "--width takes single or double, not '%s'", word);
    plot->figure.width = single ? VT_WIDTH_SINGLE : VT_WIDTH_DOUBLE;
    return VT_OK;
}

static vt_status parse_split(vt_plot_options *plot, const char *word, vt_error *err)
{
    bool val = strcmp(word, "val") == 0;
    if (!val && strcmp(word, "test") != 0)
        return vt_fail(err, VT_ERR_USAGE, "--split takes val or test, not '%s'", word);
    plot->figure.split = val ? VT_SPLIT_VAL : VT_SPLIT_TEST;
    return VT_OK;
}

vt_status vt_cmd_plot(int argc, char **argv)
{
    const char *formats = NULL, *kinds = NULL, *width = NULL, *split = NULL;
    vt_text_values named = {0};
    vt_common_options common = {0};
    vt_option_u64 epoch = {0};
    vt_plot_options plot = {0};
    const vt_option options[] = {
        {"kind", 0, "LIST", VT_OPTION_TEXT, &kinds,
         "of loss, accuracy, lr, gradnorm, speed, confusion, calibration, classes"},
        {"each", 0, NULL, VT_OPTION_SWITCH, &plot.each, "a curve for every run, seeds not folded"},
        {"log", 0, NULL, VT_OPTION_SWITCH, &plot.figure.log, "logarithmic loss and gradient norm"},
        {"width", 0, "WIDTH", VT_OPTION_TEXT, &width,
         "single (3.3 inches) or double (6.9); by default double for several experiments"},
        {"split", 0, "SPLIT", VT_OPTION_TEXT, &split,
         "of confusion and classes: test (default) or val"},
        {"epoch", 0, "N", VT_OPTION_U64, &epoch,
         "of confusion and classes: the evaluation after this epoch (default: the last)"},
        {"out", 0, "DIR", VT_OPTION_TEXT, &plot.out, "folder for the figures; it is made"},
        {"format", 0, "LIST", VT_OPTION_TEXT, &formats, "of svg, png, pdf (default: all)"},
        {"terminal", 0, NULL, VT_OPTION_SWITCH, &plot.terminal,
         "draw with characters on stdout and write no file"},
        {"exp", 0, "NAME", VT_OPTION_TEXTS, &named, "the same as RUN"},
        {"run", 0, "RUN", VT_OPTION_TEXTS, &named, "the same as RUN"},
        VT_RESULTS_OPTION(common),
        VT_COMMON_OPTIONS(common),
        VT_OPTION_END,
    };
    const vt_usage usage = {
        .verb = "plot",
        .arguments = "[RUN...]",
        .about =
            "Draws several RUNs, or the kinds of figures asked for, in one set of axes: each\n"
            "experiment in a colour, its seeds as a mean in a band of one standard deviation;\n"
            "into results/plots, or the one run's folder plots/.\n"
            "One RUN without --kind: loss, accuracy and learning rate of this run, into its\n"
            "folder plots/. Without RUN: the same for the newest run of every experiment, and\n"
            "all side by side in results/plots.\n"
            "RUN: a run's folder, an experiment (its newest run; in one set of axes all its\n"
            "seeds), EXP@seed=N, the first 4 or more digits of a run id, or 'last'.",
        .options = options,
        .min_arguments = 0,
        .max_arguments = RUNS_MAX};
    vt_arguments arguments = {0};
    vt_error err = {0};
    const char *runs[2 * RUNS_MAX];
    vt_status status = vt_options_parse(&usage, &common, argc, argv, &arguments);
    if (status != VT_OK || common.help)
        return status;
    status = vt_formats_parse(&plot.formats, formats, &err);
    if (status == VT_OK && kinds)
        status = vt_plot_parse_kinds(&plot, kinds, &err);
    if (status == VT_OK && width)
        status = parse_width(&plot, width, &err);
    if (status == VT_OK && split)
        status = parse_split(&plot, split, &err);
    if (status == VT_OK && epoch.given && epoch.value > INT32_MAX)
        status = vt_fail(&err, VT_ERR_USAGE, "--epoch: there is no such epoch");
    if (status != VT_OK)
        return vt_usage_error("plot", "%s", err.text);
    plot.figure.epoch = epoch.given ? (int64_t)epoch.value : -1;
    for (int i = 0; i < named.n; i++)
        runs[plot.n_runs++] = named.v[i];
    for (int i = 0; i < arguments.n; i++)
        runs[plot.n_runs++] = arguments.v[i];
    plot.runs = runs;
    plot.results = common.results ? common.results : "results";
    status = vt_plot(&plot, &err);
    if (status != VT_OK)
        vt_log_write(VT_LOG_ERROR, "%s", err.text);
    return status;
}
