#include "base/mem.h"
#include "cli/cmd.h"
#include "cli/options.h"

#include <stdio.h>

enum form { FORM_YAML, FORM_ORIGIN, FORM_JSON, FORM_CHECK, FORM_HASH };

static vt_status print_text(char *text)
{
    if (!text) {
        fprintf(stderr, "vitrine: error: out of memory\n");
        return VT_ERR_NOMEM;
    }
    fputs(text, stdout);
    vt_free(text);
    return VT_OK;
}

static vt_status print_config(const vt_config *config, enum form form)
{
    char id[VT_SHA256_HEX_SIZE];
    switch (form) {
    case FORM_YAML:
    case FORM_ORIGIN:
        return print_text(vt_config_print(config, form == FORM_ORIGIN));
    case FORM_JSON:
        return print_text(vt_config_json(config));
    case FORM_CHECK:
        printf("%s: ok\n", vt_config_path(config));
        return VT_OK;
    case FORM_HASH:
        if (vt_config_experiment_id(config, id) != VT_OK)
            return print_text(NULL);
        printf("%s\n", id);
        return VT_OK;
    }
    return VT_ERR_INTERNAL;
}

vt_status vt_cmd_config(int argc, char **argv)
{
    bool origin = false, schema = false, check = false, hash = false, json = false;
    vt_common_options common = {0};
    const vt_option options[] = {
        {"origin", 0, NULL, VT_OPTION_SWITCH, &origin, "say where each value comes from"},
        {"schema", 0, NULL, VT_OPTION_SWITCH, &schema,
         "print all keys; with --json as JSON Schema for editors; needs no EXP"},
        {"check", 0, NULL, VT_OPTION_SWITCH, &check, "check only"},
        {"hash", 0, NULL, VT_OPTION_SWITCH, &hash, "print the experiment's id"},
        {"json", 0, NULL, VT_OPTION_SWITCH, &json, "print as JSON"},
        VT_CONFIG_OPTIONS(common),
        VT_COMMON_OPTIONS(common),
        VT_OPTION_END,
    };
    const vt_usage usage = {.verb = "config",
                            .arguments = "EXP",
                            .about =
                                "Prints the resolved experiment EXP: a name below experiments/ "
                                "or a file.",
                            .options = options,
                            .min_arguments = 0,
                            .max_arguments = 1};
    vt_arguments arguments = {0};
    vt_config *config = NULL;
    vt_status status = vt_options_parse(&usage, &common, argc, argv, &arguments);
    if (status != VT_OK || common.help)
        return status;
    if (origin + schema + check + hash > 1)
        return vt_usage_error("config", "only one of --origin, --schema, --check and --hash");
    if (json && (origin || check || hash))
        return vt_usage_error("config",
                              "--json goes with --schema or alone (it holds the origins)");
    if (schema && arguments.n)
        return vt_usage_error("config", "--schema takes no experiment");
    if (schema)
        return print_text(json ? vt_config_schema_json() : vt_config_schema_table());
    if (arguments.n == 0)
        return vt_usage_error("config", "an argument is missing: EXP");
    status = vt_options_load(&common, arguments.v[0], &config);
    if (status == VT_OK)
        status = print_config(config, origin  ? FORM_ORIGIN
                                      : json  ? FORM_JSON
                                      : check ? FORM_CHECK
                                      : hash  ? FORM_HASH
                                              : FORM_YAML);
    vt_config_free(config);
    return status;
}
