/* vitrine probe: one batch through a model, its results in a file. */
#include "base/log.h"
#include "cli/cmd.h"
#include "cli/options.h"
#include "train/probe.h"

enum { STEPS_MAX = 100000 };

vt_status vt_cmd_probe(int argc, char **argv)
{
    vt_common_options common = {0};
    vt_probe_options probe = {0};
    vt_option_u64 draw = {0}, steps = {0};
    const vt_option options[] = {
        {"images", 0, "FILE", VT_OPTION_TEXT, &probe.images,
         "safetensors file with the batch: images, labels"},
        {"out", 'o', "FILE", VT_OPTION_TEXT, &probe.out, "safetensors file to write"},
        {"training", 0, NULL, VT_OPTION_SWITCH, &probe.training,
         "a training pass too: gradients, running statistics"},
        {"draw", 0, "N", VT_OPTION_U64, &draw,
         "number of the training pass: which masks dropout draws (default 0)"},
        {"steps", 0, "N", VT_OPTION_U64, &steps,
         "and N steps of the optimiser on this batch: their losses"},
        VT_CONFIG_OPTIONS(common),
        VT_COMMON_OPTIONS(common),
        VT_OPTION_END,
    };
    const vt_usage usage = {
        .verb = "probe",
        .arguments = "EXP",
        .about =
            "Computes one batch with the model of an experiment and writes its logits, loss and\n"
            "attention weights, and with --training the gradients of every parameter, to be\n"
            "compared with another program's. Weights are those of model.weights\n"
            "(--set model.weights=FILE), else the seed's.\n\n"
            "  images  F32 (batch, side, side, channels), normalised\n"
            "  labels  I64 (batch)",
        .options = options,
        .min_arguments = 1,
        .max_arguments = 1};
    vt_arguments arguments = {0};
    vt_config *config = NULL;
    vt_error err = {0};
    vt_status status = vt_options_parse(&usage, &common, argc, argv, &arguments);
    if (status != VT_OK || common.help)
        return status;
    if (!probe.images || !probe.out)
        return vt_usage_error("probe", "--%s is needed", probe.images ? "out" : "images");
    if (draw.value > UINT32_MAX)
        return vt_usage_error("probe", "--draw goes up to %u", UINT32_MAX);
    if (steps.value > STEPS_MAX || (steps.value && !probe.training))
        return vt_usage_error("probe", "--steps goes up to %d and needs --training", STEPS_MAX);
    probe.draw = (uint32_t)draw.value;
    probe.steps = (int64_t)steps.value;
    status = vt_options_load(&common, arguments.v[0], &config);
    if (status == VT_OK && (status = vt_probe(config, &probe, &err)) != VT_OK)
        vt_log_write(VT_LOG_ERROR, "%s", err.text);
    vt_config_free(config);
    return status;
}
