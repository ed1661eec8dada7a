#include "base/log.h"
#include "cli/cmd.h"
#include "cli/options.h"
#include "train/export.h"

#include <stdio.h>
#include <string.h>

vt_status vt_cmd_export(int argc, char **argv)
{
    const char *to = NULL, *which = NULL, *output = NULL;
    vt_common_options common = {0};
    const vt_option options[] = {
        {"to", 0, "FORMAT", VT_OPTION_TEXT, &to, "safetensors"},
        {"output", 'o', "FILE", VT_OPTION_TEXT, &output,
         "the file to write (default: model.safetensors in the run's folder)"},
        VT_WHICH_OPTION(which),
        VT_RESULTS_OPTION(common),
        VT_COMMON_OPTIONS(common),
        VT_OPTION_END,
    };
    const vt_usage usage = {
        .verb = "export",
        .arguments = "--to safetensors RUN",
        .about = "Writes a run's weights as one file for other programs: timm's names, and in the\n"
                 "metadata the classes, the normalisation and the call of timm that builds the\n"
                 "network, or what differs there (docs/exchange.md). RUN is a run's folder, an\n"
                 "experiment (its newest run), the first digits of a run id, or 'last'.",
        .options = options,
        .min_arguments = 1,
        .max_arguments = 1};
    vt_arguments arguments = {0};
    vt_error err = {0};
    char written[PATH_MAX];
    vt_status status = vt_options_parse(&usage, &common, argc, argv, &arguments);
    if (status != VT_OK || common.help)
        return status;
    if (!to || strcmp(to, "safetensors") != 0)
        return vt_usage_error("export", "--to says in which format; there is: safetensors");
    vt_trained_request request = {0};
    vt_options_trained(&common, arguments.v[0], &request);
    status = vt_options_which("export", which, &request.last);
    if (status != VT_OK)
        return status;
    vt_trained trained;
    status = vt_trained_find(&trained, &request, &err);
    if (status == VT_OK)
        status = vt_export_safetensors(&trained, output, written, &err);
    vt_trained_release(&trained);
    if (status == VT_OK)
        printf("%s\n", written);
    else
        vt_log_write(VT_LOG_ERROR, "%s", err.text);
    return status;
}
