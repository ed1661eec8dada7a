/* vitrine watch: a run's curves drawn with characters, again and again while it trains. */
#include "base/log.h"
#include "cli/cmd.h"
#include "cli/options.h"
#include "report/plot.h"
#include "report/show.h"

#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { SECONDS_MAX = 3600 };

/* One picture: the run's first lines, and its curves once an epoch is finished. */
static vt_status draw(const vt_outcome *o, bool clear, vt_error *err)
{
    vt_text text = {0};
    vt_error reason = {0};
    const char *runs[] = {o->place.path};
    const vt_plot_options plot = {.results = ".", .runs = runs, .n_runs = 1, .terminal = true};
    vt_outcome_print(o, &text);
    if (clear)
        fputs("\033[H\033[2J", stdout);
    fputs(text.data ? text.data : "", stdout);
    fflush(stdout);
    vt_text_release(&text);
    if (o->state == VT_RUN_BROKEN)
        return vt_fail(err, VT_ERR_DATA, "%s: %s", o->place.path, o->problem);
    if (o->epoch == 0) {
        printf("no epoch is finished yet\n");
        fflush(stdout);
        return VT_OK;
    }
    vt_status status = vt_plot(&plot, &reason);
    return status == VT_OK ? VT_OK : vt_fail(err, status, "%s", reason.text);
}

static vt_status watch(const vt_run_place *place, bool once, int64_t seconds, vt_error *err)
{
    bool redraw = !once && isatty(STDOUT_FILENO), running = true;
    int64_t step = -1;
    vt_status status = VT_OK;
    while (running && status == VT_OK) {
        vt_outcome outcome;
        status = vt_outcome_read(&outcome, place, err);
        running = status == VT_OK && outcome.state == VT_RUN_RUNNING && !once;
        if (status == VT_OK && (outcome.step != step || !running))
            status = draw(&outcome, redraw, err);
        step = outcome.step;
        vt_outcome_release(&outcome);
        if (running && status == VT_OK)
            nanosleep(&(struct timespec){.tv_sec = seconds}, NULL);
    }
    return status;
}

vt_status vt_cmd_watch(int argc, char **argv)
{
    bool once = false;
    vt_option_u64 every = {.value = 2};
    vt_common_options common = {0};
    const vt_option options[] = {
        {"once", 0, NULL, VT_OPTION_SWITCH, &once, "draw once and end"},
        {"every", 0, "SECONDS", VT_OPTION_U64, &every, "look for something new (default 2)"},
        VT_RESULTS_OPTION(common),
        VT_COMMON_OPTIONS(common),
        VT_OPTION_END,
    };
    const vt_usage usage = {
        .verb = "watch",
        .arguments = "RUN",
        .about =
            "Draws a run's curves in the terminal, again whenever there is something new, and\n"
            "ends with the run. " VT_RUN_HELP,
        .options = options,
        .min_arguments = 1,
        .max_arguments = 1};
    vt_arguments arguments = {0};
    vt_run_place place;
    vt_error err = {0};
    vt_status status = vt_options_parse(&usage, &common, argc, argv, &arguments);
    if (status != VT_OK || common.help)
        return status;
    if (every.value < 1 || every.value > SECONDS_MAX)
        return vt_usage_error("watch", "--every is from 1 to %d seconds", SECONDS_MAX);
    status = vt_outcomes_find(&place, vt_results_of(&common), arguments.v[0], &err);
    if (status == VT_OK)
        status = watch(&place, once, (int64_t)every.value, &err);
    if (status != VT_OK)
        vt_log_write(VT_LOG_ERROR, "%s", err.text);
    return status;
}
