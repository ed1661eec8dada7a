#include "base/log.h"
#include "cli/cmd.h"
#include "cli/options.h"
#include "results/plot.h"

#include <string.h>

static vt_status choose_formats(vt_plot_options *plot, const char *formats)
{
    char text[64];
    if (!formats) {
        plot->svg = plot->png = plot->pdf = true;
        return VT_OK;
    }
    if (strlen(formats) >= sizeof text)
        return vt_usage_error("plot", "--format takes svg, png and pdf, separated by commas");
    strcpy(text, formats);
    for (char *rest = text, *word; (word = strtok_r(rest, ",", &rest));) {
        if (strcmp(word, "svg") == 0)
            plot->svg = true;
        else if (strcmp(word, "png") == 0)
            plot->png = true;
        else if (strcmp(word, "pdf") == 0)
            plot->pdf = true;
        else
            return vt_usage_error("plot", "unknown format '%s': svg, png and pdf are there", word);
    }
    return VT_OK;
}

vt_status vt_cmd_plot(int argc, char **argv)
{
    bool terminal = false;
    const char *formats = NULL;
    vt_common_options common = {0};
    const vt_option options[] = {
        {"format", 0, "LIST", VT_OPTION_TEXT, &formats, "svg, png, pdf, separated by commas (all)"},
        {"terminal", 0, NULL, VT_OPTION_SWITCH, &terminal, "draw the accuracy with characters"},
        VT_RESULTS_OPTION(common),
        VT_COMMON_OPTIONS(common),
        VT_OPTION_END,
    };
    const vt_usage usage = {
        .verb = "plot",
        .arguments = "[RUN]",
        .about = "Draws loss, accuracy and learning rate of every experiment's newest run, and all "
                 "side by side. RUN: an experiment, a run's folder or id (4 digits or more), last.",
        .options = options,
        .min_arguments = 0,
        .max_arguments = 1};
    vt_arguments arguments = {0};
    vt_error err = {0};
    vt_plot_options plot = {0};
    vt_status status = vt_options_parse(&usage, &common, argc, argv, &arguments);
    if (status != VT_OK || common.help)
        return status;
    status = choose_formats(&plot, formats);
    if (status != VT_OK)
        return status;
    plot.results = common.results ? common.results : "results";
    plot.only = arguments.n ? arguments.v[0] : NULL;
    plot.terminal = terminal;
    status = vt_plot(&plot, &err);
    if (status != VT_OK)
        vt_log_write(VT_LOG_ERROR, "%s", err.text);
    return status;
}
