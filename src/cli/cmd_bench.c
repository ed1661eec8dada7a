/* vitrine bench: timed steps beside what the machine can do. */
#include "base/fs.h"
#include "base/log.h"
#include "cli/cmd.h"
#include "cli/options.h"
#include "results/json.h"
#include "train/bench.h"

#include <stdio.h>

enum { STEPS = 10, WARM_UP = 2, STEPS_MAX = 100000 };

static vt_status write_trace(const vt_bench *bench, const char *path, vt_error *err)
{
    const char *name = NULL;
    int fd = -1;
    vt_status status = vt_fs_open_parent(path, &fd, &name, err);
    if (status == VT_OK)
        status = vt_json_publish(fd, name, vt_bench_trace(bench), err);
    vt_fs_close(&fd);
    return status;
}

static vt_status say(const vt_bench *bench, bool json, const char *trace, vt_error *err)
{
    vt_text text = {0};
    vt_status status =
        json ? vt_json_print(&text, vt_bench_json(bench), err) : vt_bench_print(bench, &text, err);
    if (status == VT_OK)
        fputs(text.data, stdout);
    if (status == VT_OK && trace)
        status = write_trace(bench, trace, err);
    vt_text_release(&text);
    return status;
}

vt_status vt_cmd_bench(int argc, char **argv)
{
    vt_common_options common = {0};
    vt_option_u64 steps = {0}, warm_up = {0};
    vt_bench_options bench_options = {0};
    const char *trace = NULL;
    bool json = false;
    const vt_option options[] = {
        {"steps", 0, "N", VT_OPTION_U64, &steps, "steps that count (default 10)"},
        {"warm-up", 0, "N", VT_OPTION_U64, &warm_up, "steps before them (default 2)"},
        {"layers", 0, NULL, VT_OPTION_SWITCH, &bench_options.layers,
         "a row for each layer and pass, not for each kind of operation"},
        {"json", 0, NULL, VT_OPTION_SWITCH, &json, "print JSON"},
        {"trace", 0, "FILE", VT_OPTION_TEXT, &trace,
         "write a timeline of all calls, to be opened by Perfetto"},
        VT_CONFIG_OPTIONS(common),
        VT_COMMON_OPTIONS(common),
        VT_OPTION_END,
    };
    const vt_usage usage = {
        .verb = "bench",
        .arguments = "EXP",
        .about = "Times whole training steps of an experiment's network on random pictures, and\n"
                 "evaluation, and says where the time goes and how far it is from what the\n"
                 "machine's matrix products and copies would allow.",
        .options = options,
        .min_arguments = 1,
        .max_arguments = 1};
    vt_arguments arguments = {0};
    vt_config *config = NULL;
    vt_bench bench = {0};
    vt_error err = {0};
    vt_status status = vt_options_parse(&usage, &common, argc, argv, &arguments);
    if (status != VT_OK || common.help)
        return status;
    bench_options.steps = steps.given ? (int64_t)steps.value : STEPS;
    bench_options.warm_up = warm_up.given ? (int64_t)warm_up.value : WARM_UP;
    bench_options.trace = trace != NULL;
    if (bench_options.steps < 1 || bench_options.steps > STEPS_MAX || bench_options.warm_up < 1 ||
        bench_options.warm_up > STEPS_MAX)
        return vt_usage_error("bench", "--steps and --warm-up go from 1 to %d", STEPS_MAX);
    status = vt_options_load(&common, arguments.v[0], &config);
    if (status != VT_OK)
        return status;
    status = vt_bench_run(&bench, config, &bench_options, &err);
    if (status == VT_OK)
        status = say(&bench, json, trace, &err);
    if (status != VT_OK)
        vt_log_write(VT_LOG_ERROR, "%s", err.text);
    vt_bench_release(&bench);
    vt_config_free(config);
    return status;
}
