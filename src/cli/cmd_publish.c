#include "base/log.h"
#include "cli/cmd.h"
#include "cli/options.h"
#include "results/publish.h"

#include <unistd.h>

vt_status vt_cmd_publish(int argc, char **argv)
{
    vt_common_options common = {0};
    const vt_option options[] = {VT_COMMON_OPTIONS(common), VT_OPTION_END};
    const vt_usage usage = {.verb = "publish",
                            .arguments = "RUN",
                            .about = "Makes run.h5 again from the journal and captures in the run "
                                     "folder RUN.",
                            .options = options,
                            .min_arguments = 1,
                            .max_arguments = 1};
    vt_arguments arguments = {0};
    vt_publisher publisher = {0};
    vt_status status = vt_options_parse(&usage, &common, argc, argv, &arguments);
    if (status != VT_OK || common.help)
        return status;
    if (access(arguments.v[0], F_OK) != 0) {
        vt_log_write(VT_LOG_ERROR, "there is no run folder %s", arguments.v[0]);
        return VT_ERR_NOINPUT;
    }
    vt_publisher_start(&publisher, arguments.v[0]);
    return vt_publisher_wait(&publisher) ? VT_OK : VT_ERR_HELPER;
}
