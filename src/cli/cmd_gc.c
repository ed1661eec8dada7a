/* vitrine gc: what could go, and with --delete lets it go. */
#include "base/log.h"
#include "cli/cmd.h"
#include "cli/options.h"
#include "report/gc.h"
#include "report/show.h"

#include <stdio.h>
#include <string.h>

static json_t *pack(const vt_gc_plan *plan, bool deleted)
{
    json_t *items = json_array();
    for (int i = 0; i < plan->n; i++) {
        const vt_gc_item *item = &plan->item[i];
        json_array_append_new(
            items, json_pack("{s:o, s:I, s:s, s:o}", "path", vt_json_text(item->path, NULL),
                             "bytes", (json_int_t)item->bytes, "why", item->why, "kept",
                             *item->kept ? vt_json_text(item->kept, NULL) : json_null()));
    }
    return json_pack("{s:i, s:b, s:I, s:o}", "schema", 1, "deleted", deleted, "bytes",
                     (json_int_t)plan->bytes, "items", items);
}

static vt_status say(const vt_gc_plan *plan, const char *results, bool deleted, bool json,
                     vt_error *err)
{
    char bytes[VT_COUNT_TEXT];
    vt_text text = {0};
    vt_status status = VT_OK;
    int n = 0;
    for (int i = 0; i < plan->n && !json; i++) {
        const vt_gc_item *item = &plan->item[i];
        n += !*item->kept;
        vt_text_printf(&text, "%-8s %10s  %s/%s  (%s%s%s)\n",
                       *item->kept ? "keep"
                       : deleted   ? "deleted"
                                   : "delete",
                       vt_bytes_text(item->bytes, bytes), results, item->path, item->why,
                       *item->kept ? "; " : "", item->kept);
    }
    if (json)
        status = vt_json_print(&text, pack(plan, deleted), err);
    else
        vt_text_printf(&text, "%s %d places, %s%s\n", deleted ? "deleted" : "would delete", n,
                       vt_bytes_text(plan->bytes, bytes),
                       n && !deleted ? "; with --delete they go" : "");
    if (status == VT_OK && text.data)
        fputs(text.data, stdout);
    vt_text_release(&text);
    return status;
}

static vt_status parse_states(const vt_text_values *words, vt_gc_request *request)
{
    static const vt_run_state allowed[] = {VT_RUN_DEAD, VT_RUN_BROKEN, VT_RUN_DIVERGED,
                                           VT_RUN_FAILED, VT_RUN_INTERRUPTED};
    for (int i = 0; i < words->n; i++) {
        bool known = false;
        for (size_t k = 0; k < sizeof allowed / sizeof *allowed; k++) {
            if (strcmp(words->v[i], vt_run_state_word(allowed[k])) != 0)
                continue;
            known = request->states[allowed[k]] = true;
        }
        if (!known)
            return vt_usage_error(
                "gc", "--state is dead, broken, diverged, failed or interrupted, not '%s'",
                words->v[i]);
    }
    request->rules |= words->n ? VT_GC_STATES : 0;
    return VT_OK;
}

vt_status vt_cmd_gc(int argc, char **argv)
{
    bool delete = false, json = false, old = false, checkpoints = false;
    vt_text_values states = {0};
    vt_common_options common = {0};
    const vt_option options[] = {
        {"old", 0, NULL, VT_OPTION_SWITCH, &old, "runs that --force set aside, RUNID.old-N"},
        {"checkpoints", 0, NULL, VT_OPTION_SWITCH, &checkpoints,
         "of complete runs, all checkpoints but the newest, last and best"},
        {"state", 0, "STATE", VT_OPTION_TEXTS, &states,
         "whole runs in this state; may be repeated"},
        {"delete", 0, NULL, VT_OPTION_SWITCH, &delete, "delete, instead of saying what would go"},
        {"json", 0, NULL, VT_OPTION_SWITCH, &json, "print JSON"},
        VT_RESULTS_OPTION(common),
        VT_COMMON_OPTIONS(common),
        VT_OPTION_END,
    };
    const vt_usage usage = {
        .verb = "gc",
        .arguments = "",
        .about = "Says what could be deleted, and how much room that frees. Without a rule: --old\n"
                 "and --checkpoints. A run that a baseline names, one that a process holds and a\n"
                 "folder that holds anything unknown are never touched.",
        .options = options,
        .min_arguments = 0,
        .max_arguments = 0};
    vt_arguments arguments = {0};
    vt_gc_request request = {0};
    vt_gc_plan plan = {0};
    vt_error err = {0};
    vt_status status = vt_options_parse(&usage, &common, argc, argv, &arguments);
    if (status != VT_OK || common.help)
        return status;
    if ((status = parse_states(&states, &request)) != VT_OK)
        return status;
    bool none = !old && !checkpoints && !states.n;
    request.results = vt_results_of(&common);
    request.rules |= old || none ? VT_GC_OLD : 0;
    request.rules |= checkpoints || none ? VT_GC_CHECKPOINTS : 0;
    status = vt_gc_make(&plan, &request, &err);
    if (status == VT_OK && delete)
        status = vt_gc_delete(&plan, request.results, &err);
    if (status == VT_OK || status == VT_ERR_IO) {
        vt_status said = say(&plan, request.results, delete, json, &err);
        status = status == VT_OK ? said : status;
    }
    vt_gc_release(&plan);
    if (status != VT_OK)
        vt_log_write(VT_LOG_ERROR, "%s", err.text);
    return status;
}
