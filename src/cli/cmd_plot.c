#include "base/log.h"
#include "cli/cmd.h"
#include "cli/options.h"
#include "report/plot.h"

enum { RUNS_MAX = VT_SETS_MAX };

vt_status vt_cmd_plot(int argc, char **argv)
{
    bool terminal = false;
    const char *formats = NULL;
    vt_text_values named = {0};
    vt_common_options common = {0};
    const vt_option options[] = {
        {"exp", 0, "NAME", VT_OPTION_TEXTS, &named, "the newest run of this experiment"},
        {"run", 0, "RUN", VT_OPTION_TEXTS, &named, "the same as RUN"},
        {"format", 0, "LIST", VT_OPTION_TEXT, &formats, "of svg, png, pdf (default: all)"},
        {"terminal", 0, NULL, VT_OPTION_SWITCH, &terminal,
         "draw with characters on stdout and write no file"},
        VT_RESULTS_OPTION(common),
        VT_COMMON_OPTIONS(common),
        VT_OPTION_END,
    };
    const vt_usage usage = {
        .verb = "plot",
        .arguments = "[RUN...]",
        .about =
            "Draws loss, accuracy and learning rate against the epoch into the folder plots/\n"
            "of each RUN: a run's folder, an experiment (its newest run), the first 4 or more\n"
            "digits of a run id, or 'last'. Without RUN: the newest run of every experiment,\n"
            "and all side by side in results/plots.",
        .options = options,
        .min_arguments = 0,
        .max_arguments = RUNS_MAX};
    vt_arguments arguments = {0};
    vt_error err = {0};
    vt_plot_options plot = {0};
    const char *runs[2 * RUNS_MAX];
    vt_status status = vt_options_parse(&usage, &common, argc, argv, &arguments);
    if (status != VT_OK || common.help)
        return status;
    if (vt_formats_parse(&plot.formats, formats, &err) != VT_OK)
        return vt_usage_error("plot", "%s", err.text);
    for (int i = 0; i < named.n; i++)
        runs[plot.n_runs++] = named.v[i];
    for (int i = 0; i < arguments.n; i++)
        runs[plot.n_runs++] = arguments.v[i];
    plot.runs = runs;
    plot.results = common.results ? common.results : "results";
    plot.terminal = terminal;
    status = vt_plot(&plot, &err);
    if (status != VT_OK)
        vt_log_write(VT_LOG_ERROR, "%s", err.text);
    return status;
}
