#include "base/log.h"
#include "cli/cmd.h"
#include "cli/options.h"
#include "report/outcome.h"
#include "results/json.h"
#include "train/replay.h"

#include <inttypes.h>
#include <stdio.h>

static void print_text(const vt_replay *r, const char *path)
{
    printf("verify   %s: %s\n", path, r->same ? "the same bits" : "DIFFERS");
    if (!r->same)
        printf("first    %s\nfolder   %s\n", r->difference, r->folder);
    printf("equal    %" PRId64 " records, %" PRId64 " epochs%s\n", r->records, r->epochs,
           r->complete ? ", to the end" : "");
    if (r->complete)
        printf("digest   metrics %.16s  weights %.16s\n", r->metrics_sha256, r->weights_sha256);
}

static vt_status print_json(const vt_replay *r, const char *path, vt_error *err)
{
    vt_text text = {0};
    json_t *root = json_pack(
        "{s:i, s:o, s:b, s:b, s:I, s:I, s:s*, s:o?, s:s*, s:s*, s:s*}", "schema", 1, "run",
        vt_json_text(path, "?"), "same", r->same, "complete", r->complete, "records",
        (json_int_t)r->records, "epochs", (json_int_t)r->epochs, "difference",
        r->same ? NULL : r->difference, "difference_step",
        r->difference_step < 0 ? NULL : json_integer((json_int_t)r->difference_step), "folder",
        *r->folder ? r->folder : NULL, "metrics_sha256", r->complete ? r->metrics_sha256 : NULL,
        "weights_sha256", r->complete ? r->weights_sha256 : NULL);
    vt_status status = vt_json_print(&text, root, err);
    if (status == VT_OK)
        fputs(text.data, stdout);
    vt_text_release(&text);
    return status;
}

vt_status vt_cmd_verify(int argc, char **argv)
{
    bool json = false;
    vt_option_u64 epochs = {0};
    vt_common_options common = {0};
    const vt_option options[] = {
        {"epochs", 0, "N", VT_OPTION_U64, &epochs, "only the first N epochs"},
        {"json", 0, NULL, VT_OPTION_SWITCH, &json, "print the answer as JSON"},
        {"threads", 0, "N", VT_OPTION_U64, &common.threads, "threads; 0 = all cores"},
        {"data-dir", 0, "DIR", VT_OPTION_TEXT, &common.data_dir, "folder of the data files"},
        VT_RESULTS_OPTION(common),
        VT_COMMON_OPTIONS(common),
        VT_OPTION_END,
    };
    const vt_usage usage = {
        .verb = "verify",
        .arguments = "RUN",
        .about = "Trains a finished run once more in a temporary folder and compares every record\n"
                 "and the weights: exit code 0 for the same bits, 1 with the first difference.",
        .options = options,
        .min_arguments = 1,
        .max_arguments = 1};
    vt_arguments arguments = {0};
    vt_replay replay;
    vt_error err = {0};
    vt_status status = vt_options_parse(&usage, &common, argc, argv, &arguments);
    if (status != VT_OK || common.help)
        return status;
    if (epochs.given && (epochs.value == 0 || epochs.value > INT32_MAX))
        return vt_usage_error("verify", "--epochs is from 1 to %d", INT32_MAX);
    vt_replay_request request = {.data_dir = common.data_dir,
                                 .threads = (int64_t)common.threads.value,
                                 .epochs = (int64_t)epochs.value};
    status = vt_outcomes_find(&request.place, vt_results_of(&common), arguments.v[0], &err);
    if (status == VT_OK)
        status = vt_replay_run(&replay, &request, &err);
    if (status == VT_OK && json)
        status = print_json(&replay, request.place.path, &err);
    else if (status == VT_OK)
        print_text(&replay, request.place.path);
    if (status != VT_OK)
        vt_log_write(VT_LOG_ERROR, "%s", err.text);
    return status == VT_OK && !replay.same ? VT_NO : status;
}
