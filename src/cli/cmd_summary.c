/* vitrine summary: the module tree, its parameters and values, and the memory plan. */
#include "base/log.h"
#include "base/text.h"
#include "cli/cmd.h"
#include "cli/options.h"
#include "results/json.h"
#include "train/engine.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { NAME_WIDTH = 44, SHAPE_WIDTH = 24 };

/* Prints the parts of `name` that it does not share with the name before, one a line, indented. */
static void print_path(const char *name, const char *before)
{
    size_t shared = 0;
    int depth = 0;
    for (size_t i = 0; name[i] && name[i] == before[i]; i++)
        if (name[i] == '.')
            shared = i + 1;
    for (const char *part = name, *dot; (dot = strchr(part, '.')); part = dot + 1, depth++)
        if ((size_t)(dot - name) >= shared)
            printf("%*s%.*s\n", 2 * depth, "", (int)(dot - part), part);
}

static void print_row(const char *name, const char *shape, const char *rest)
{
    const char *leaf = strrchr(name, '.');
    int depth = 0;
    for (const char *c = name; *c; c++)
        depth += *c == '.';
    printf("%*s%-*s %-*s %s\n", 2 * depth, "", NAME_WIDTH - 2 * depth, leaf ? leaf + 1 : name,
           SHAPE_WIDTH, shape, rest);
}

static const char *kind_of(const vt_param *param)
{
    return param->role == VT_ROLE_FIXED    ? "fixed"
           : param->role == VT_ROLE_BUFFER ? "buffer"
           : param->trained                ? "trained"
                                           : "frozen";
}

static void print_node(const vt_node *node, const char **before)
{
    char shape[VT_SHAPE_TEXT], rest[96];
    for (int i = 0; i < node->n_in; i++) {
        const vt_param *param = node->in[i] ? node->in[i]->param : NULL;
        if (!param || (node->op == VT_OP_attention && i == 2)) /* the qkv bias, shown before */
            continue;
        print_path(param->name, *before);
        *before = param->name;
        const char *kind = kind_of(param);
        bool plain = strcmp(kind, "trained") == 0;
        snprintf(rest, sizeof rest, "%12" PRId64 "%s%s", param->shape.size, plain ? "" : "  ",
                 plain ? "" : kind);
        print_row(param->name, vt_shape_text(param->shape, shape), rest);
    }
    print_path(node->name, *before);
    *before = node->name;
    snprintf(rest, sizeof rest, "%12s  %s", "", vt_op_table[node->op].name);
    if (node->macs > 0)
        snprintf(rest, sizeof rest, "%12s  %s  %.3f M MAC (%.3f with all tokens)", "",
                 vt_op_table[node->op].name, node->macs / 1e6, node->macs_padded / 1e6);
    print_row(node->name, vt_shape_text(node->shape, shape), rest);
}

static void print_tree(const vt_graph *graph)
{
    const char *before = "";
    printf("%-*s %-*s %12s\n", NAME_WIDTH, "name", SHAPE_WIDTH, "shape (one image)", "parameters");
    for (int i = 0; i < graph->n; i++)
        if (graph->node[i]->op < VT_OP_INPUT)
            print_node(graph->node[i], &before);
}

static void print_plan(const char *name, const vt_plan *plan, int64_t batch)
{
    printf("  %-10s batch %-5" PRId64 " %4d steps %9.1f MiB, one buffer a value %9.1f MiB\n", name,
           batch, plan->n_steps, (double)plan->arena_bytes / 0x1p20,
           (double)plan->unshared_bytes / 0x1p20);
}

static json_t *pack_shape(vt_shape shape)
{
    json_t *list = json_array();
    for (int i = 0; i < shape.rank; i++)
        json_array_append_new(list, json_integer(shape.dim[i]));
    return list;
}

static json_t *pack_layers(const vt_graph *graph)
{
    json_t *layers = json_array();
    for (int i = 0; i < graph->n; i++) {
        const vt_node *node = graph->node[i];
        if (node->op >= VT_OP_INPUT)
            continue;
        json_t *params = json_array();
        for (int j = 0; j < node->n_in; j++) {
            const vt_param *param = node->in[j] ? node->in[j]->param : NULL;
            if (param && (node->op != VT_OP_attention || j != 2))
                json_array_append_new(params,
                                      json_pack("{s:s, s:o, s:s}", "name", param->name, "shape",
                                                pack_shape(param->shape), "kind", kind_of(param)));
        }
        json_array_append_new(
            layers, json_pack("{s:s, s:s, s:o, s:I, s:I, s:o}", "name", node->name, "op",
                              vt_op_table[node->op].name, "shape", pack_shape(node->shape), "macs",
                              (json_int_t)node->macs, "macs_padded", (json_int_t)node->macs_padded,
                              "parameters", params));
    }
    return layers;
}

static json_t *pack_plan(const vt_slot *slot)
{
    return json_pack("{s:I, s:i, s:I, s:I}", "batch", (json_int_t)slot->batch, "steps",
                     slot->plan->n_steps, "arena_bytes", (json_int_t)slot->plan->arena_bytes,
                     "unshared_bytes", (json_int_t)slot->plan->unshared_bytes);
}

/* `one` has a slot of one image, `real` those of training and evaluation. */
static vt_status print_json(const vt_config *config, const vt_engine *one, const vt_engine *real,
                            vt_error *err)
{
    vt_text text = {0};
    vt_status status = vt_json_print(
        &text,
        json_pack("{s:i, s:s, s:o, s:I, s:I, s:I, s:I, s:o, s:o}", "schema", 1, "experiment",
                  vt_config_name(config), "layers", pack_layers(one->slot[0].model.graph),
                  "parameters", (json_int_t)vt_params_count(real->params), "macs",
                  (json_int_t)vt_engine_macs(one, false), "macs_padded",
                  (json_int_t)vt_engine_macs(one, true), "bytes",
                  (json_int_t)vt_engine_bytes(real, 1), "training", pack_plan(&real->slot[0]),
                  "evaluation", pack_plan(&real->slot[1])),
        err);
    if (status == VT_OK)
        fwrite(text.data, 1, text.size, stdout);
    vt_text_release(&text);
    return status;
}

static vt_status summarise(const vt_config *config, bool json, vt_error *err)
{
    vt_engine one = {0}, real = {0};
    vt_engine_add_slot(&one, 1, false);
    vt_engine_add_slot(&real, config->train_batch, true);
    vt_engine_add_slot(&real, config->eval_batch, false);
    vt_status status = vt_engine_plan(&one, config, err);
    if (status == VT_OK)
        status = vt_engine_plan(&real, config, err);
    if (status == VT_OK && json) {
        status = print_json(config, &one, &real, err);
    } else if (status == VT_OK) {
        print_tree(one.slot[0].model.graph);
        printf("\nparameters  %" PRId64 "\n", vt_params_count(real.params));
        printf("MAC         %.6f G an image as computed, %.6f G with all tokens\n",
               vt_engine_macs(&one, false) / 1e9, vt_engine_macs(&one, true) / 1e9);
        printf("memory plan %.1f MiB with one thread: parameters, gradients, moments, arena\n",
               (double)vt_engine_bytes(&real, 1) / 0x1p20);
        print_plan("training", real.slot[0].plan, config->train_batch);
        print_plan("evaluation", real.slot[1].plan, config->eval_batch);
    }
    vt_engine_release(&one);
    vt_engine_release(&real);
    return status;
}

vt_status vt_cmd_summary(int argc, char **argv)
{
    bool json = false;
    vt_common_options common = {0};
    const vt_option options[] = {
        {"json", 0, NULL, VT_OPTION_SWITCH, &json, "print as JSON"},
        VT_CONFIG_OPTIONS(common),
        VT_COMMON_OPTIONS(common),
        VT_OPTION_END,
    };
    const vt_usage usage = {
        .verb = "summary",
        .arguments = "EXP",
        .about = "Prints the model of an experiment: every layer and parameter with its shape, the "
                 "counts, and the memory plan.",
        .options = options,
        .min_arguments = 1,
        .max_arguments = 1};
    vt_arguments arguments = {0};
    vt_config *config = NULL;
    vt_error err = {0};
    vt_status status = vt_options_parse(&usage, &common, argc, argv, &arguments);
    if (status != VT_OK || common.help)
        return status;
    status = vt_options_load(&common, arguments.v[0], &config);
    if (status == VT_OK && (status = summarise(config, json, &err)) != VT_OK)
        vt_log_write(VT_LOG_ERROR, "%s", err.text);
    vt_config_free(config);
    return status;
}
