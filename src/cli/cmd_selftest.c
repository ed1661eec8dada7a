/* vitrine selftest: known answers, computed here and now. */
#include "base/log.h"
#include "cli/cmd.h"
#include "cli/options.h"
#include "results/json.h"
#include "train/selftest.h"

#include <stdio.h>

struct report {
    json_t *checks; /* NULL: print as they come */
    int failed;
};

static void take(void *arg, const char *name, bool good, const char *found)
{
    struct report *r = arg;
    r->failed += !good;
    if (r->checks)
        json_array_append_new(r->checks, json_pack("{s:s, s:b, s:o}", "name", name, "ok", good,
                                                   "found", vt_json_text(found, "?")));
    else
        printf("%-7s %s: %s\n", good ? "ok" : "FAILED", name, found);
    fflush(stdout);
}

vt_status vt_cmd_selftest(int argc, char **argv)
{
    bool json = false;
    vt_common_options common = {0};
    const vt_option options[] = {
        {"json", 0, NULL, VT_OPTION_SWITCH, &json, "print JSON"},
        VT_COMMON_OPTIONS(common),
        VT_OPTION_END,
    };
    const vt_usage usage = {
        .verb = "selftest",
        .arguments = "",
        .about = "Computes known answers: hashes, generator, and two training steps of a network\n"
                 "with every kernel, at each vector width, with several threads. Exit 1 if one\n"
                 "differs: runs then have other bits than the published ones.",
        .options = options,
        .min_arguments = 0,
        .max_arguments = 0};
    vt_arguments arguments = {0};
    struct report report = {0};
    vt_text text = {0};
    vt_error err = {0};
    vt_status status = vt_options_parse(&usage, &common, argc, argv, &arguments);
    if (status != VT_OK || common.help)
        return status;
    report.checks = json ? json_array() : NULL;
    status = vt_selftest(take, &report, &err);
    if (json && (status == VT_OK || status == VT_NO)) {
        json_t *root = json_pack("{s:i, s:b, s:o}", "schema", 1, "ok", status == VT_OK, "checks",
                                 report.checks);
        vt_status printed = vt_json_print(&text, root, &err);
        status = printed == VT_OK ? status : printed;
        fputs(text.data ? text.data : "", stdout);
    } else if (status == VT_OK || status == VT_NO) {
        printf("%d checks failed\n", report.failed);
    } else {
        json_decref(report.checks);
        vt_log_write(VT_LOG_ERROR, "%s", err.text);
    }
    vt_text_release(&text);
    return status;
}
