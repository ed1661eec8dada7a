#include "base/log.h"
#include "cli/cmd.h"
#include "cli/options.h"
#include "report/outcome.h"
#include "results/publish.h"

#include <stdio.h>

vt_status vt_cmd_publish(int argc, char **argv)
{
    vt_common_options common = {0};
    const vt_option options[] = {
        VT_RESULTS_OPTION(common),
        VT_COMMON_OPTIONS(common),
        VT_OPTION_END,
    };
    const vt_usage usage = {
        .verb = "publish",
        .arguments = "RUN",
        .about =
            "Makes run.h5 of RUN again, from its journal and captures. RUN: a run's folder, an\n"
            "experiment (its newest run), the first 4 or more digits of a run id, or 'last'.",
        .options = options,
        .min_arguments = 1,
        .max_arguments = 1};
    vt_arguments arguments = {0};
    vt_publisher publisher = {0};
    vt_run_place run;
    vt_error err = {0};
    vt_status status = vt_options_parse(&usage, &common, argc, argv, &arguments);
    if (status != VT_OK || common.help)
        return status;
    const char *results = common.results ? common.results : "results";
    status = vt_outcomes_find(&run, results, arguments.v[0], &err);
    if (status != VT_OK) {
        vt_log_write(VT_LOG_ERROR, "%s", err.text);
        return status;
    }
    vt_publisher_start(&publisher, run.path, false);
    status = vt_publisher_wait(&publisher);
    if (status == VT_OK)
        printf("%s/run.h5\n", run.path);
    return status;
}
