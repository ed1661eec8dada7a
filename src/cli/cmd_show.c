/* vitrine show: one run, on one screen. */
#include "base/log.h"
#include "cli/cmd.h"
#include "cli/options.h"
#include "report/show.h"

#include <stdio.h>

static vt_status say(const vt_outcome *outcome, bool json, vt_error *err)
{
    vt_run_details details;
    vt_text text = {0};
    json_t *run = NULL;
    vt_status status = vt_run_details_read(&details, outcome, err);
    if (status == VT_OK && json) {
        run = vt_outcome_json(outcome);
        status = vt_run_details_add(&details, outcome, run, err);
        if (status == VT_OK)
            status = vt_json_print(&text, json_pack("{s:i, s:O}", "schema", 1, "run", run), err);
    } else if (status == VT_OK) {
        vt_outcome_print(outcome, &text);
        vt_run_details_print(&details, &text);
        status = text.failed ? vt_fail(err, VT_ERR_NOMEM, "no memory to show a run") : VT_OK;
    }
    if (status == VT_OK)
        fputs(text.data, stdout);
    json_decref(run);
    vt_text_release(&text);
    vt_run_details_release(&details);
    return status;
}

vt_status vt_cmd_show(int argc, char **argv)
{
    bool json = false;
    vt_common_options common = {0};
    const vt_option options[] = {
        {"json", 0, NULL, VT_OPTION_SWITCH, &json, "print JSON"},
        VT_RESULTS_OPTION(common),
        VT_COMMON_OPTIONS(common),
        VT_OPTION_END,
    };
    const vt_usage usage = {
        .verb = "show",
        .arguments = "RUN",
        .about = "Shows one run: its outcome, the settings that are not defaults and where they\n"
                 "come from, its attempts and its files. " VT_RUN_HELP,
        .options = options,
        .min_arguments = 1,
        .max_arguments = 1};
    vt_arguments arguments = {0};
    vt_run_place place;
    vt_outcome outcome = {0};
    vt_error err = {0};
    vt_status status = vt_options_parse(&usage, &common, argc, argv, &arguments);
    if (status != VT_OK || common.help)
        return status;
    status = vt_outcomes_find(&place, vt_results_of(&common), arguments.v[0], &err);
    if (status == VT_OK)
        status = vt_outcome_read(&outcome, &place, &err);
    if (status == VT_OK)
        status = say(&outcome, json, &err);
    if (status == VT_OK && outcome.state == VT_RUN_BROKEN)
        status = vt_fail(&err, VT_ERR_DATA, "%s: %s", place.path, outcome.problem);
    vt_outcome_release(&outcome);
    if (status != VT_OK)
        vt_log_write(VT_LOG_ERROR, "%s", err.text);
    return status;
}
