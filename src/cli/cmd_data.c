/* vitrine data check: an experiment's data set, opened as training would open it. */
#include "base/log.h"
#include "base/mem.h"
#include "cli/cmd.h"
#include "cli/options.h"
#include "kernels/device.h"
#include "results/json.h"
#include "train/run.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define DEFAULT_EXP "vit_ti_p4"

/* Images of each class in each part: count[part * classes + class]. */
static int64_t *count_classes(const vt_data *data)
{
    const vt_data_info *info = vt_data_info_of(data);
    int64_t *count = vt_calloc((size_t)(VT_PART_COUNT * info->classes), sizeof *count);
    for (int part = 0; count && part < VT_PART_COUNT; part++) {
        for (int64_t i = 0; i < info->n[part]; i++) {
            int label = 0;
            vt_data_item(data, (vt_part)part, i, &label);
            count[part * info->classes + label]++;
        }
    }
    return count;
}

static json_t *pack_classes(const vt_data_info *info, const int64_t *count)
{
    json_t *classes = json_array();
    for (int64_t c = 0; c < info->classes; c++) {
        json_t *row = json_pack("{s:o}", "name", vt_json_text(info->class_names[c], "?"));
        for (int part = 0; part < VT_PART_COUNT; part++)
            json_object_set_new(row, vt_part_name((vt_part)part),
                                json_integer(count[part * info->classes + c]));
        json_array_append_new(classes, row);
    }
    return classes;
}

static json_t *pack(const vt_data *data, const int64_t *count)
{
    const vt_data_info *info = vt_data_info_of(data);
    char split[VT_SHA256_HEX_SIZE];
    json_t *files = json_array(), *images = json_object();
    vt_data_split_digest(data, split);
    for (int i = 0; i < info->n_files; i++)
        json_array_append_new(files, json_pack("{s:o, s:I, s:s}", "path",
                                               vt_json_text(info->files[i].name, "?"), "size_bytes",
                                               (json_int_t)info->files[i].size_bytes, "sha256",
                                               info->files[i].sha256));
    for (int part = 0; part < VT_PART_COUNT; part++)
        json_object_set_new(images, vt_part_name((vt_part)part), json_integer(info->n[part]));
    return json_pack("{s:i, s:s, s:o, s:b, s:o, s:s, s:s, s:o, s:o, s:o, s:[I, I, I]}", "schema", 1,
                     "name", info->name, "folder", vt_json_text(info->folder, "?"), "official",
                     info->official, "warning",
                     info->warning[0] ? vt_json_text(info->warning, "?") : json_null(), "digest",
                     info->digest, "split_digest", split, "files", files, "images", images,
                     "classes", pack_classes(info, count), "shape", (json_int_t)info->height,
                     (json_int_t)info->width, (json_int_t)info->channels);
}

/* The fewest and the most images of a class in a part. */
static void print_balance(const vt_data_info *info, const int64_t *count, vt_text *text)
{
    char name[40];
    for (int part = 0; part < VT_PART_COUNT; part++) {
        const int64_t *row = count + part * info->classes;
        int64_t least = row[0], most = row[0];
        for (int64_t c = 1; c < info->classes; c++) {
            least = row[c] < least ? row[c] : least;
            most = row[c] > most ? row[c] : most;
        }
        if (info->n[part])
            vt_text_printf(text, "%-8s %" PRId64 " images, %" PRId64 " to %" PRId64 " a class%s\n",
                           vt_part_name((vt_part)part), info->n[part], least, most,
                           least == 0      ? ": a class is missing"
                           : least == most ? ": balanced"
                                           : "");
    }
    vt_text_printf(text, "classes  %" PRId64 "\n", info->classes);
    for (int64_t c = 0; c < info->classes; c++) {
        vt_text_show(name, sizeof name, info->class_names[c]);
        vt_text_printf(text, "%5" PRId64 "    %-24s", c, name);
        for (int part = 0; part < VT_PART_COUNT; part++)
            if (info->n[part])
                vt_text_printf(text, "  %s %" PRId64, vt_part_name((vt_part)part),
                               count[part * info->classes + c]);
        vt_text_printf(text, "\n");
    }
}

static void print_set(const vt_data *data, const int64_t *count, vt_text *text)
{
    const vt_data_info *info = vt_data_info_of(data);
    char split[VT_SHA256_HEX_SIZE], folder[400];
    vt_data_split_digest(data, split);
    vt_text_show(folder, sizeof folder, info->folder);
    vt_text_printf(text, "data     %s%s%s  %s\n", info->name, *folder ? "  in " : "", folder,
                   info->n_files == 0 ? ""
                   : info->official   ? "the official files"
                                      : "not the official files");
    for (int i = 0; i < info->n_files; i++)
        vt_text_printf(text, "%-8s %s  %" PRId64 " bytes  %s\n", i ? "" : "files",
                       info->files[i].name, info->files[i].size_bytes, info->files[i].sha256);
    vt_text_printf(text, "images   %" PRId64 " x %" PRId64 " x %" PRId64 "\n", info->height,
                   info->width, info->channels);
    print_balance(info, count, text);
    vt_text_printf(text, "digest   %s\nsplit    %s\n", info->digest, split);
}

static vt_status check(const vt_config *config, bool json, vt_error *err)
{
    vt_data_request request = vt_run_data_request(config);
    vt_dev *dev = NULL;
    vt_data *data = NULL;
    vt_text text = {0};
    int64_t *count = NULL;
    vt_status status = vt_dev_new(&dev, "cpu", (int)config->train_threads, err);
    if (status == VT_OK)
        status = vt_data_open(&data, &request, vt_dev_pool(dev), err);
    if (status == VT_OK && !(count = count_classes(data)))
        status = vt_fail(err, VT_ERR_NOMEM, "no memory to count the classes");
    if (status == VT_OK && json)
        status = vt_json_print(&text, pack(data, count), err);
    else if (status == VT_OK)
        print_set(data, count, &text);
    if (status == VT_OK && text.data)
        fputs(text.data, stdout);
    if (status == VT_OK && vt_data_info_of(data)->warning[0])
        vt_log_write(VT_LOG_WARNING, "%s", vt_data_info_of(data)->warning);
    vt_free(count);
    vt_text_release(&text);
    vt_data_free(data);
    vt_dev_free(dev);
    return status;
}

vt_status vt_cmd_data(int argc, char **argv)
{
    bool json = false;
    vt_common_options common = {0};
    const vt_option options[] = {
        {"json", 0, NULL, VT_OPTION_SWITCH, &json, "print JSON"},
        VT_CONFIG_OPTIONS(common),
        VT_COMMON_OPTIONS(common),
        VT_OPTION_END,
    };
    const vt_usage usage = {
        .verb = "data",
        .arguments = "check [EXP]",
        .about =
            "Opens the data set of EXP (default: " DEFAULT_EXP
            ") with all checks that training makes,\n"
            "and prints its files and digests, the parts and their classes, and whether these\n"
            "are the files that were published.",
        .options = options,
        .min_arguments = 1,
        .max_arguments = 2};
    vt_arguments arguments = {0};
    vt_config *config = NULL;
    vt_error err = {0};
    vt_status status = vt_options_parse(&usage, &common, argc, argv, &arguments);
    if (status != VT_OK || common.help)
        return status;
    if (strcmp(arguments.v[0], "check") != 0)
        return vt_usage_error("data", "there is 'data check' only, not 'data %s'", arguments.v[0]);
    status = vt_options_load(&common, arguments.n > 1 ? arguments.v[1] : DEFAULT_EXP, &config);
    if (status == VT_OK && (status = check(config, json, &err)) != VT_OK)
        vt_log_write(VT_LOG_ERROR, "%s", err.text);
    vt_config_free(config);
    return status;
}
