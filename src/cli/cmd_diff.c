#include "base/log.h"
#include "cli/cmd.h"
#include "cli/options.h"
#include "report/diff.h"
#include "report/escape.h"
#include "results/json.h"

#include <stdio.h>

static void warn_of_problems(const vt_diff *diff)
{
    for (int i = 0; i < VT_DIFF_COUNT; i++) {
        vt_text line = {0};
        vt_escape(&line, VT_ESCAPE_SHOWN, diff->problem[i]);
        if (line.data)
            vt_log_write(VT_LOG_ERROR, "%s: %s", vt_diff_part_word((vt_diff_part)i), line.data);
        vt_text_release(&line);
    }
}

vt_status vt_cmd_diff(int argc, char **argv)
{
    bool wanted[VT_DIFF_COUNT] = {false}, json = false;
    vt_common_options common = {0};
    const vt_option options[] = {
        {"config", 0, NULL, VT_OPTION_SWITCH, &wanted[VT_DIFF_CONFIG], "keys of the configuration"},
        {"metrics", 0, NULL, VT_OPTION_SWITCH, &wanted[VT_DIFF_METRICS],
         "the journals: the first record that differs, and by how much"},
        {"code", 0, NULL, VT_OPTION_SWITCH, &wanted[VT_DIFF_CODE], "commit and patch"},
        {"env", 0, NULL, VT_OPTION_SWITCH, &wanted[VT_DIFF_ENV],
         "build, libraries, machine, data files"},
        {"weights", 0, NULL, VT_OPTION_SWITCH, &wanted[VT_DIFF_WEIGHTS],
         "the last weights: the first tensor and checkpoint that differ"},
        {"json", 0, NULL, VT_OPTION_SWITCH, &json, "JSON (docs/compare.md)"},
        VT_RESULTS_OPTION(common),
        VT_COMMON_OPTIONS(common),
        VT_OPTION_END,
    };
    const vt_usage usage = {
        .verb = "diff",
        .arguments = "RUN RUN",
        .about = "Says where two runs differ: in all of these, or in those asked for. Exit status\n"
                 "0: they are equal there, 1: they differ.",
        .options = options,
        .min_arguments = 2,
        .max_arguments = 2};
    vt_arguments arguments = {0};
    vt_error err = {0};
    vt_run_place place[2];
    vt_diff diff = {0};
    vt_text out = {0};
    const char *results;
    vt_status status = vt_options_parse(&usage, &common, argc, argv, &arguments);
    if (status != VT_OK || common.help)
        return status;
    results = common.results ? common.results : "results";
    for (int i = 0; i < 2 && status == VT_OK; i++)
        status = vt_outcomes_find(&place[i], results, arguments.v[i], &err);
    if (status == VT_OK)
        status = vt_diff_make(&diff, &place[0], &place[1], wanted, &err);
    if (status == VT_OK)
        status = json ? vt_json_print(&out, vt_diff_json(&diff), &err)
                      : vt_diff_print(&diff, &out, &err);
    if (status == VT_OK) {
        fwrite(out.data, 1, out.size, stdout);
        warn_of_problems(&diff);
        status = vt_diff_answer(&diff);
    } else {
        vt_log_write(VT_LOG_ERROR, "%s", err.text);
    }
    vt_text_release(&out);
    vt_diff_release(&diff);
    return status;
}
