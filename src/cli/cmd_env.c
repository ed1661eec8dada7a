/* vitrine env: what a run started here and now would note about code, build and machine. */
#include "base/log.h"
#include "cli/cmd.h"
#include "cli/options.h"
#include "results/json.h"
#include "results/provenance.h"
#include "train/fingerprint.h"

#include <stdio.h>
#include <string.h>

/* "build.libraries.zlib.loaded  1.2.13", one line a value. */
static void print_values(const json_t *value, const char *path, vt_text *text)
{
    const char *key;
    json_t *member;
    char inner[200], shown[400];
    size_t i;
    if (json_is_object(value)) {
        json_object_foreach((json_t *)value, key, member)
        {
            snprintf(inner, sizeof inner, "%.120s%s%.70s", path, *path ? "." : "", key);
            print_values(member, inner, text);
        }
        return;
    }
    vt_text_printf(text, "%-36s ", path);
    if (json_is_string(value)) {
        vt_text_show(shown, sizeof shown, json_string_value(value));
        vt_text_printf(text, "%s", shown);
    } else if (json_is_array(value)) {
        json_array_foreach(value, i, member)
        {
            vt_text_show(shown, sizeof shown, json_string_value(member));
            vt_text_printf(text, "%s%s", i ? " " : "", shown);
        }
    } else if (json_is_integer(value)) {
        vt_text_printf(text, "%lld", (long long)json_integer_value(value));
    } else {
        vt_text_printf(text, "%s", json_is_true(value) ? "true" : "false");
    }
    vt_text_printf(text, "\n");
}

static vt_status describe(vt_dev *dev, bool json, vt_text *text, vt_error *err)
{
    char numerics[VT_SHA256_HEX_SIZE];
    vt_status status = vt_fingerprint(dev, VT_F32, numerics, err);
    if (status != VT_OK)
        return status;
    const vt_device_info *device = vt_dev_info(dev);
    const vt_provenance_library blas = {"OpenBLAS", "loaded at run time", device->blas};
    const vt_provenance p = {.code_dir = ".",
                             .threads = device->threads,
                             .kernel_path = device->kernels,
                             .numerics_id = numerics,
                             .libraries = &blas,
                             .n_libraries = 1};
    json_t *here = vt_provenance_here(&p);
    if (!here)
        return vt_fail(err, VT_ERR_NOMEM, "no memory to describe this machine");
    if (json) {
        json_object_set_new(here, "schema", json_integer(1));
        return vt_json_print(text, here, err);
    }
    print_values(here, "", text);
    json_decref(here);
    return text->failed ? vt_fail(err, VT_ERR_NOMEM, "no memory to describe this machine") : VT_OK;
}

vt_status vt_cmd_env(int argc, char **argv)
{
    bool json = false;
    vt_common_options common = {0};
    const vt_option options[] = {
        {"threads", 0, "N", VT_OPTION_U64, &common.threads, "threads; 0 = all cores"},
        {"device", 0, "NAME", VT_OPTION_TEXT, &common.device, "cpu (default), cuda or auto"},
        {"json", 0, NULL, VT_OPTION_SWITCH, &json, "print JSON"},
        VT_COMMON_OPTIONS(common),
        VT_OPTION_END,
    };
    const vt_usage usage = {
        .verb = "env",
        .arguments = "",
        .about =
            "Prints what a run started here and now notes in its provenance.json: code, build,\n"
            "libraries, machine, environment and the numeric fingerprint.",
        .options = options,
        .min_arguments = 0,
        .max_arguments = 0};
    vt_arguments arguments = {0};
    vt_text text = {0};
    vt_error err = {0};
    vt_dev *dev = NULL;
    vt_status status = vt_options_parse(&usage, &common, argc, argv, &arguments);
    if (status != VT_OK || common.help)
        return status;
    status =
        vt_dev_new(&dev, common.device ? common.device : "cpu", (int)common.threads.value, &err);
    if (status == VT_OK)
        status = describe(dev, json, &text, &err);
    if (status == VT_OK)
        fputs(text.data, stdout);
    else
        vt_log_write(VT_LOG_ERROR, "%s", err.text);
    vt_text_release(&text);
    vt_dev_free(dev);
    return status;
}
