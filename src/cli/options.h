/*
 * Options of a verb as rows. One table parses them (getopt_long), prints the verb's help and
 * suggests for a misspelt one.
 *
 *     bool check = false;
 *     vt_common_options common = {0};
 *     const vt_option options[] = {
 *         {"check", 0, NULL, VT_OPTION_SWITCH, &check, "check only"},
 *         VT_CONFIG_OPTIONS(common),
 *         VT_COMMON_OPTIONS(common),
 *         VT_OPTION_END,
 *     };
 *     const vt_usage usage = {"config", "EXP", "Prints ...", options, 1, 1};
 *     vt_status status = vt_options_parse(&usage, &common, argc, argv, &rest);
 */
#ifndef VT_CLI_OPTIONS_H
#define VT_CLI_OPTIONS_H

#include "base/status.h"
#include "config/config.h"
#include "train/trained.h"

#include <stdint.h>

enum { VT_SETS_MAX = 256 };

typedef struct vt_text_values {
    const char *v[VT_SETS_MAX];
    int n;
} vt_text_values;

typedef struct vt_option_u64 {
    bool given;
    uint64_t value;
} vt_option_u64;

typedef enum vt_option_kind {
    VT_OPTION_SWITCH, /* bool: true when given */
    VT_OPTION_TEXT,   /* const char * */
    VT_OPTION_TEXTS,  /* vt_text_values: may be repeated */
    VT_OPTION_U64,    /* vt_option_u64 */
} vt_option_kind;

typedef struct vt_option {
    const char *name;     /* long form; NULL ends the table */
    char letter;          /* short form or 0 */
    const char *argument; /* for the help; NULL for a switch */
    vt_option_kind kind;
    void *value;
    const char *help;
} vt_option;

/* What many verbs share. Start with {0}. */
typedef struct vt_common_options {
    bool help, quiet, verbose;
    const char *color;   /* auto, always, never */
    const char *results; /* NULL: "results" */
    vt_text_values sets;
    vt_option_u64 seed, threads;
    const char *data_dir, *device;
} vt_common_options;

#define VT_COMMON_OPTIONS(c)                                                                       \
    {"quiet", 'q', NULL, VT_OPTION_SWITCH, &(c).quiet, "errors and warnings only"},                \
        {"verbose", 'v', NULL, VT_OPTION_SWITCH, &(c).verbose, "say more"},                        \
        {"color",    0,                                                                            \
         "WHEN",     VT_OPTION_TEXT,                                                               \
         &(c).color, "auto (default), always or never; NO_COLOR and TERM=dumb switch auto off"},   \
    {                                                                                              \
        "help", 'h', NULL, VT_OPTION_SWITCH, &(c).help, "print this help"                          \
    }
#define VT_CONFIG_OPTIONS(c)                                                                       \
    {"set",       0,                                                                               \
     "KEY=VALUE", VT_OPTION_TEXTS,                                                                 \
     &(c).sets,   "set a key of the experiment, the value as in YAML; may be repeated"},           \
        {"seed", 0, "N", VT_OPTION_U64, &(c).seed, "the same as --set seed=N"},                    \
        {"threads",    0,                                                                          \
         "N",          VT_OPTION_U64,                                                              \
         &(c).threads, "threads; 0 = all cores; never changes the bits"},                          \
        {"data-dir", 0, "DIR", VT_OPTION_TEXT, &(c).data_dir, "folder of the data files"},         \
    {                                                                                              \
        "device", 0, "NAME", VT_OPTION_TEXT, &(c).device, "cpu (default), cuda or auto"            \
    }
#define VT_RESULTS_OPTION(c)                                                                       \
    {                                                                                              \
        "results", 0, "DIR", VT_OPTION_TEXT, &(c).results, "folder of the runs (default results)"  \
    }
#define VT_WHICH_OPTION(text)                                                                      \
    {                                                                                              \
        "which", 0, "WHICH", VT_OPTION_TEXT, &(text), "weights: best (default) or last"            \
    }
/* What RUN may be, for a verb's help. */
#define VT_RUN_HELP                                                                                \
    "RUN: a run's folder, an experiment (its\n"                                                    \
    "newest run), EXP@seed=3, EXP@best:test.top1, 4 or more digits of a run id, or 'last'."
#define VT_OPTION_END                                                                              \
    {                                                                                              \
        NULL, 0, NULL, VT_OPTION_SWITCH, NULL, NULL                                                \
    }

typedef struct vt_usage {
    const char *verb, *arguments, *about;
    const vt_option *options;
    int min_arguments, max_arguments; /* max < 0: any number */
} vt_usage;

/* A verb's arguments without its options. */
typedef struct vt_arguments {
    char **v;
    int n;
} vt_arguments;

/*
 * Parses argv and applies --quiet and --verbose to the log. `--help` prints on stdout and sets
 * common->help: the verb then returns VT_OK at once. Wrong use is printed on stderr: VT_ERR_USAGE.
 */
vt_status vt_options_parse(const vt_usage *usage, vt_common_options *common, int argc, char **argv,
                           vt_arguments *arguments);

/* The folder of the runs. */
const char *vt_results_of(const vt_common_options *common);

/* True if output on `fd` is to be coloured: --color, NO_COLOR, TERM and whether it is a terminal.
 */
bool vt_color_wanted(const vt_common_options *common, int fd);

/* Finds and loads the experiment EXP with --set, --seed, --threads and --data-dir on top. Errors
 * and notes are printed on stderr. */
vt_status vt_options_load(const vt_common_options *common, const char *exp, vt_config **config);

/* Finds RUN; the settings on top of its own experiment; request->last is left alone. Errors as of
 * vt_outcomes_find. */
vt_status vt_options_trained(const vt_common_options *common, const char *run,
                             vt_trained_request *request, vt_error *err);
/* The value of --which (NULL: not given). */
vt_status vt_options_which(const char *verb, const char *which, bool *last);

/* "vitrine VERB: text" and where to find help, on stderr; returns VT_ERR_USAGE. */
vt_status vt_usage_error(const char *verb, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

#endif
