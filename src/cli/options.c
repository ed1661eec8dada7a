#include "cli/options.h"

#include "base/log.h"
#include "cli/manual.h"
#include "report/outcome.h"

#include <errno.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { OPTIONS_MAX = 48 };

vt_status vt_usage_error(const char *verb, const char *format, ...)
{
    char message[1000];
    va_list args;
    va_start(args, format);
    vsnprintf(message, sizeof message, format, args);
    va_end(args);
    fprintf(stderr, "vitrine %s: %s\nTry 'vitrine %s --help'.\n", verb, message, verb);
    return VT_ERR_USAGE;
}

static void print_help(const vt_usage *usage)
{
    printf("Usage: vitrine %s [options] %s\n\n%s\n\nOptions:\n", usage->verb, usage->arguments,
           usage->about);
    for (const vt_option *o = usage->options; o->name; o++) {
        char form[64];
        snprintf(form, sizeof form, "%c%c%s--%s%s%s", o->letter ? '-' : ' ',
                 o->letter ? o->letter : ' ', o->letter ? ", " : "  ", o->name,
                 o->argument ? " " : "", o->argument ? o->argument : "");
        printf("  %-26s  %s\n", form, o->help);
    }
}

static vt_status store_value(const vt_usage *usage, const vt_option *option, const char *text)
{
    switch (option->kind) {
    case VT_OPTION_SWITCH:
        *(bool *)option->value = true;
        break;
    case VT_OPTION_TEXT:
        if (!*text)
            return vt_usage_error(usage->verb, "--%s needs a value", option->name);
        *(const char **)option->value = text;
        break;
    case VT_OPTION_TEXTS: {
        vt_text_values *values = option->value;
        if (values->n == VT_SETS_MAX)
            return vt_usage_error(usage->verb, "more than %d times --%s", VT_SETS_MAX,
                                  option->name);
        values->v[values->n++] = text;
        break;
    }
    case VT_OPTION_U64: {
        vt_option_u64 *number = option->value;
        char *end;
        errno = 0;
        number->value = strtoull(text, &end, 10);
        number->given = true;
        if (text[0] < '0' || text[0] > '9' || *end || errno)
            return vt_usage_error(usage->verb,
                                  "--%s needs an integer from 0 to 18446744073709551615, not '%s'",
                                  option->name, text);
        break;
    }
    }
    return VT_OK;
}

/* getopt's own words for these errors name neither verb nor alternatives. */
static vt_status refuse_option(const vt_usage *usage, int code, const char *word)
{
    const char *names[OPTIONS_MAX];
    char bare[64];
    int n = 0;
    if (code == ':')
        return vt_usage_error(usage->verb, "%s needs a value", word);
    if (strncmp(word, "--", 2) != 0)
        return vt_usage_error(usage->verb, "unknown option '-%c'", optopt ? optopt : word[1]);
    for (const vt_option *o = usage->options; o->name; o++)
        names[n++] = o->name;
    snprintf(bare, sizeof bare, "%.*s", (int)strcspn(word + 2, "="), word + 2);
    for (int i = 0; i < n; i++)
        if (strcmp(names[i], bare) == 0)
            return vt_usage_error(usage->verb, "--%s takes no value", bare);
    const char *near = vt_suggest(bare, names, n);
    return vt_usage_error(usage->verb, "unknown or ambiguous option '--%s'%s%s%s", bare,
                          near ? "; did you mean '--" : "", near ? near : "", near ? "'?" : "");
}

vt_status vt_options_which(const char *verb, const char *which, bool *last)
{
    *last = which && strcmp(which, "last") == 0;
    if (which && !*last && strcmp(which, "best") != 0)
        return vt_usage_error(verb, "--which is best or last, not '%s'", which);
    return VT_OK;
}

static vt_status check_common(const vt_usage *usage, const vt_common_options *common)
{
    const char *color = common->color, *device = common->device;
    if (color && strcmp(color, "auto") && strcmp(color, "always") && strcmp(color, "never"))
        return vt_usage_error(usage->verb, "--color is auto, always or never, not '%s'", color);
    if (device && strcmp(device, "cpu") && strcmp(device, "cuda") && strcmp(device, "auto"))
        return vt_usage_error(usage->verb, "--device is cpu, cuda or auto, not '%s'", device);
    if (common->threads.given && common->threads.value > INT64_MAX)
        return vt_usage_error(usage->verb, "--threads is too large");
    return VT_OK;
}

vt_status vt_options_parse(const vt_usage *usage, vt_common_options *common, int argc, char **argv,
                           vt_arguments *arguments)
{
    struct option rows[OPTIONS_MAX + 1] = {0};
    char letters[2 * OPTIONS_MAX + 2] = ":";
    int n = 0, code;
    for (const vt_option *o = usage->options; o->name; o++, n++) {
        VT_ASSERT(n < OPTIONS_MAX);
        rows[n] =
            (struct option){o->name, o->argument ? required_argument : no_argument, NULL, 256 + n};
        if (o->letter)
            snprintf(letters + strlen(letters), 3, "%c%s", o->letter, o->argument ? ":" : "");
    }
    if (argc == 2 && strncmp(argv[1], "--help=", 7) == 0 &&
        vt_manual_print_verb(usage, argv[1] + 7)) {
        common->help = true;
        return VT_OK;
    }
    opterr = 0;
    optind = 0; /* glibc: start afresh */
    while ((code = getopt_long(argc, argv, letters, rows, NULL)) != -1) {
        if (code == '?' || code == ':')
            return refuse_option(usage, code, argv[optind - 1]);
        const vt_option *option = usage->options;
        if (code >= 256)
            option += code - 256;
        else
            while (option->letter != code)
                option++;
        vt_status status = store_value(usage, option, optarg);
        if (status != VT_OK)
            return status;
    }
    if (common->help) {
        print_help(usage);
        return VT_OK;
    }
    vt_status status = check_common(usage, common);
    if (status != VT_OK)
        return status;
    *arguments = (vt_arguments){argv + optind, argc - optind};
    if (arguments->n < usage->min_arguments)
        return vt_usage_error(usage->verb, "an argument is missing: %s", usage->arguments);
    if (usage->max_arguments >= 0 && arguments->n > usage->max_arguments)
        return vt_usage_error(usage->verb, "'%s' is one argument too many",
                              arguments->v[usage->max_arguments]);
    if (common->quiet)
        vt_log_set_level(VT_LOG_WARNING);
    else if (common->verbose)
        vt_log_set_level(VT_LOG_DEBUG);
    return VT_OK;
}

const char *vt_results_of(const vt_common_options *common)
{
    return common->results ? common->results : "results";
}

bool vt_color_wanted(const vt_common_options *common, int fd)
{
    const char *no_color = getenv("NO_COLOR"), *term = getenv("TERM");
    if (common->color && strcmp(common->color, "auto") != 0)
        return strcmp(common->color, "always") == 0;
    return isatty(fd) && !(no_color && *no_color) && term && strcmp(term, "dumb") != 0;
}

static vt_config_overrides overrides(const vt_common_options *common)
{
    return (vt_config_overrides){.has_seed = common->seed.given,
                                 .has_threads = common->threads.given,
                                 .seed = common->seed.value,
                                 .threads = (int64_t)common->threads.value,
                                 .data_dir = common->data_dir,
                                 .device = common->device};
}

vt_status vt_options_trained(const vt_common_options *common, const char *run,
                             vt_trained_request *request, vt_error *err)
{
    request->sets = common->sets.v;
    request->n_sets = common->sets.n;
    request->own = overrides(common);
    return vt_outcomes_find(&request->place, vt_results_of(common), run, err);
}

vt_status vt_options_load(const vt_common_options *common, const char *exp, vt_config **config)
{
    char path[4096];
    vt_diagnostics diags = {.color = vt_color_wanted(common, STDERR_FILENO)};
    const vt_config_overrides own = overrides(common);
    *config = NULL;
    vt_status status = vt_config_find(exp, path, sizeof path, &diags);
    if (status == VT_OK)
        status = vt_config_load(config, path, common->sets.v, common->sets.n, &own, &diags);
    if (status == VT_ERR_NOMEM && !diags.text.data)
        fprintf(stderr, "vitrine: error: out of memory while reading '%s'\n", exp);
    else if (status != VT_OK && diags.text.data)
        fputs(diags.text.data, stderr);
    for (int i = 0; status == VT_OK && i < vt_config_note_count(*config); i++)
        vt_log_write(VT_LOG_INFO, "note: %s", vt_config_note(*config, i));
    vt_diagnostics_release(&diags);
    return status;
}
