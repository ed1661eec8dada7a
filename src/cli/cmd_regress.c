#include "base/log.h"
#include "base/mem.h"
#include "cli/cmd.h"
#include "cli/options.h"
#include "report/escape.h"
#include "report/judge.h"
#include "report/rerun.h"
#include "results/json.h"
#include "sweep/grid.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Without names, baselines whose runs took longer than this together are only looked for. */
enum { LONGEST_S = 600 };

typedef struct regress_options {
    vt_rerun rerun;
    vt_text_values fail_on;
    bool named; /* baselines were named */
    const char *seeds;
    vt_option_u64 longest;
    bool json, allow_missing, statistical, fail_on_speed, fail_on_drift;
} regress_options;

typedef struct check {
    const char *name;
    bool asked; /* its absence counts */
    vt_judgement judgement;
    vt_text differences; /* of the configuration: lines */
    json_t *runs;        /* [{"seed", "run_id", "path"}] */
} check;

static void decide(check *c, vt_finding verdict, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
static void decide(check *c, vt_finding verdict, const char *format, ...)
{
    va_list args;
    c->judgement.verdict = verdict;
    va_start(args, format);
    vsnprintf(c->judgement.reason, sizeof c->judgement.reason, format, args);
    va_end(args);
}

/* Where the experiment stands today; a file that is gone or wrong is a failure of the check. */
static vt_config *load_config(const vt_baseline *b, check *c)
{
    char path[PATH_MAX];
    vt_diagnostics diags = {0};
    vt_config *config = NULL;
    vt_status status = vt_config_find(b->experiment, path, sizeof path, &diags);
    if (status == VT_OK)
        status = vt_config_load(&config, path, b->set, b->n_set, NULL, &diags);
    if (status != VT_OK) {
        vt_text first = {0};
        const char *text = diags.text.data ? diags.text.data : vt_status_text(status);
        char line[300];
        snprintf(line, sizeof line, "%.*s", (int)strcspn(text, "\n"), text);
        vt_escape(&first, VT_ESCAPE_SHOWN, line);
        decide(c, VT_FINDING_FAIL, "the configuration cannot be loaded: %s",
               first.data ? first.data : "");
        vt_text_release(&first);
    }
    vt_diagnostics_release(&diags);
    return config;
}

static bool is_same_configuration(const vt_baseline *b, const vt_config *config, check *c)
{
    char id[VT_SHA256_HEX_SIZE];
    int n = vt_baseline_differences(b, config, &c->differences);
    if (vt_config_experiment_id(config, id) == VT_OK &&
        strcmp(id, vt_baseline_current(b)->exp_id) == 0)
        return true;
    if (n)
        decide(c, VT_FINDING_FAIL, "the configuration differs in %d key%s", n, n == 1 ? "" : "s");
    else
        decide(c, VT_FINDING_FAIL,
               "the experiment id is %.12s, not %.12s, though no key differs: the "
               "way it is computed has changed",
               id, vt_baseline_current(b)->exp_id);
    return false;
}

/* How long the baseline's runs took. */
static double total_wall_s(const vt_baseline *b)
{
    double sum = 0;
    const vt_acceptance *a = vt_baseline_current(b);
    for (int i = 0; i < a->n_runs; i++)
        sum += a->run[i].wall_s > 0 ? a->run[i].wall_s : 0;
    return sum;
}

/* The seeds to check: those given, or the baseline's own. */
static int choose_seeds(const vt_baseline *b, const vt_grid *given, uint64_t *seed)
{
    const vt_acceptance *a = vt_baseline_current(b);
    int n = given->n_seeds ? given->n_seeds : a->n_runs;
    for (int i = 0; i < n; i++)
        seed[i] = given->n_seeds ? (uint64_t)given->seed[i] : a->run[i].seed;
    return n;
}

static vt_status judge_runs(const regress_options *o, const vt_baseline *b, const vt_config *config,
                            const vt_grid *given, check *c, vt_error *err)
{
    uint64_t seed[VT_BASELINE_RUNS_MAX]; /* at least VT_SEEDS_MAX */
    char why[400];
    vt_rerun rerun = o->rerun;
    bool found = true;
    VT_ASSERT((int)VT_SEEDS_MAX <= (int)VT_BASELINE_RUNS_MAX);
    int n = choose_seeds(b, given, seed), got = 0;
    vt_outcome *outcome = vt_calloc((size_t)n, sizeof *outcome);
    vt_baseline_run *run = vt_calloc((size_t)n, sizeof *run);
    vt_status status = VT_OK;
    if (!outcome || !run) {
        status = vt_fail(err, VT_ERR_NOMEM, "no memory for %d runs", n);
        goto out;
    }
    double limit = o->longest.given ? (double)o->longest.value : LONGEST_S;
    bool is_long = !o->named && total_wall_s(b) > limit;
    if (is_long && !rerun.look_only)
        rerun.look_only = true;
    else
        c->asked = true;
    while (status == VT_OK && found && got < n) {
        status = vt_rerun_seed(&rerun, b, vt_config_name(config), seed[got], &outcome[got], &found,
                               why, err);
        if (status != VT_OK || !found)
            break;
        run[got] = vt_baseline_run_of(&outcome[got]);
        json_array_append_new(c->runs, json_pack("{s:I, s:s, s:o}", "seed", (json_int_t)seed[got],
                                                 "run_id", outcome[got].run_id, "path",
                                                 vt_json_text(outcome[got].place.path, "")));
        if (outcome[got++].state == VT_RUN_DIVERGED) {
            decide(c, VT_FINDING_FAIL, "seed %llu diverged", (unsigned long long)seed[got - 1]);
            goto out;
        }
    }
    if (status == VT_OK && !found)
        decide(c, VT_FINDING_MISSING, "%s%s", why,
               is_long ? "; its runs take long: name it to have them trained" : "");
    else if (status == VT_OK)
        c->judgement = vt_judge(b, run, n, o->statistical);
out:
    for (int i = 0; outcome && i < got; i++)
        vt_outcome_release(&outcome[i]);
    vt_free(outcome);
    vt_free(run);
    return status;
}

/* A name without a baseline is NEW if there is such an experiment: a misspelt one must not pass. */
static vt_status find_new(const char *word, check *c, const vt_error *reason, vt_error *err)
{
    char path[PATH_MAX];
    vt_diagnostics diags = {0};
    bool known = vt_config_find(word, path, sizeof path, &diags) == VT_OK;
    vt_diagnostics_release(&diags);
    if (!known)
        return vt_fail(err, VT_ERR_NOINPUT, "%s", reason->text);
    decide(c, VT_FINDING_NEW,
           "no baseline yet; 'vitrine baseline accept %s --reason ...' makes one", word);
    c->asked = true;
    return VT_OK;
}

/* The baseline of "quick-vit", of "quick/vit" and of a file "elsewhere/quick.yaml". */
static void find_name(const char *word, char name[VT_NAME_MAX + 1])
{
    static const char folder[] = "experiments/", ending[] = ".yaml";
    size_t size = strlen(word), tail = strlen(ending);
    bool is_file = size > tail && strcmp(word + size - tail, ending) == 0;
    const char *base = strrchr(word, '/');
    if (strncmp(word, folder, strlen(folder)) == 0)
        word += strlen(folder);
    else if (is_file && base)
        word = base + 1;
    size = strlen(word) - (is_file ? tail : 0);
    snprintf(name, VT_NAME_MAX + 1, "%.*s", (int)(size < 1000 ? size : 1000), word);
    for (char *at = name; *at; at++)
        *at = *at == '/' ? '-' : *at;
}

static vt_status check_one(const regress_options *o, const char *word, const vt_grid *seeds,
                           check *c, vt_error *err)
{
    char name[VT_NAME_MAX + 1];
    vt_baseline baseline = {0};
    vt_config *config = NULL;
    vt_error reason = {0};
    find_name(word, name);
    c->judgement.slower = (double)NAN;
    c->runs = json_array();
    vt_status status = vt_baseline_read(&baseline, o->rerun.results, name, &reason);
    if (status == VT_ERR_NOINPUT)
        status = find_new(word, c, &reason, err);
    else if (status != VT_OK)
        vt_fail(err, status, "%s", reason.text);
    else if ((config = load_config(&baseline, c)) && is_same_configuration(&baseline, config, c))
        status = judge_runs(o, &baseline, config, seeds, c, err);
    vt_config_free(config);
    vt_baseline_release(&baseline);
    return status;
}

static void print_check(const check *c, vt_text *out)
{
    vt_escape(out, VT_ESCAPE_SHOWN, c->name);
    vt_text_printf(out, "  %s  ", vt_finding_word(c->judgement.verdict));
    vt_escape(out, VT_ESCAPE_SHOWN, c->judgement.reason);
    vt_text_printf(out, "\n");
    for (const char *line = c->differences.data; line && *line; line = strchr(line, '\n') + 1) {
        char key[400];
        snprintf(key, sizeof key, "%.*s", (int)strcspn(line, "\n"), line);
        vt_text_printf(out, "    ");
        vt_escape(out, VT_ESCAPE_SHOWN, key);
        vt_text_printf(out, "\n");
    }
    vt_judgement_lines(&c->judgement, out);
}

static json_t *pack_check(const check *c)
{
    json_t *object = vt_judgement_json(&c->judgement);
    json_t *differences = json_array();
    const char *line = c->differences.data;
    while (line && *line) {
        size_t size = strcspn(line, "\n");
        json_array_append_new(differences, json_stringn(line, size));
        line += size + 1;
    }
    json_object_set_new(object, "name", vt_json_text(c->name, ""));
    json_object_set_new(object, "config", differences);
    json_object_set(object, "checked", c->runs);
    return object;
}

static bool fails(const regress_options *o, const check *c)
{
    return c->judgement.verdict == VT_FINDING_FAIL || (o->fail_on_drift && c->judgement.drifted) ||
           (o->fail_on_speed && c->judgement.slow);
}

static bool is_open(const check *c)
{
    vt_finding verdict = c->judgement.verdict;
    return c->asked && (verdict == VT_FINDING_NEW || verdict == VT_FINDING_NOT_COMPARABLE ||
                        verdict == VT_FINDING_MISSING);
}

static vt_status report(const regress_options *o, const check *checks, int n, vt_error *err)
{
    vt_text out = {0};
    json_t *list = json_array();
    vt_status status = VT_OK;
    bool failed = false, open = false;
    for (int i = 0; i < n; i++) {
        failed |= fails(o, &checks[i]);
        open |= is_open(&checks[i]) && !o->allow_missing;
        if (o->json)
            json_array_append_new(list, pack_check(&checks[i]));
    }
    if (o->json)
        status = vt_json_print(&out,
                               json_pack("{s:i, s:O, s:b}", "schema", 1, "baselines", list,
                                         "passed", !failed && !open),
                               err);
    if (status == VT_OK && out.data)
        fwrite(out.data, 1, out.size, stdout);
    json_decref(list);
    vt_text_release(&out);
    return status != VT_OK ? status : failed ? VT_NO : open ? VT_ERR_NOINPUT : VT_OK;
}

static vt_status check_all(const regress_options *o, const char *const *word, int n, vt_error *err)
{
    vt_grid *seeds = vt_calloc(1, sizeof *seeds);
    check *checks = vt_calloc((size_t)n + 1, sizeof *checks);
    vt_status status = seeds && checks ? VT_OK : vt_fail(err, VT_ERR_NOMEM, "no memory to check");
    if (status == VT_OK && o->seeds)
        status = vt_grid_add_seeds(seeds, o->seeds, err);
    for (int i = 0; status == VT_OK && i < n; i++) {
        vt_text out = {0};
        checks[i].name = word[i];
        status = check_one(o, word[i], seeds, &checks[i], err);
        if (status == VT_OK && !o->json) {
            print_check(&checks[i], &out); /* at once: the next may take long */
            fwrite(out.data, 1, out.size, stdout);
            fflush(stdout);
        }
        vt_text_release(&out);
    }
    if (status == VT_OK)
        status = report(o, checks, n, err);
    for (int i = 0; checks && i < n; i++) {
        vt_text_release(&checks[i].differences);
        json_decref(checks[i].runs);
    }
    vt_free(checks);
    vt_free(seeds);
    return status;
}

static vt_status parse_fail_on(regress_options *o)
{
    for (int i = 0; i < o->fail_on.n; i++) {
        if (strcmp(o->fail_on.v[i], "speed") == 0)
            o->fail_on_speed = true;
        else if (strcmp(o->fail_on.v[i], "drift") == 0)
            o->fail_on_drift = true;
        else
            return vt_usage_error("regress", "--fail-on is speed or drift, not '%s'",
                                  o->fail_on.v[i]);
    }
    return VT_OK;
}

vt_status vt_cmd_regress(int argc, char **argv)
{
    regress_options o = {0};
    vt_common_options common = {0};
    const vt_option options[] = {
        {"no-run", 0, NULL, VT_OPTION_SWITCH, &o.rerun.look_only,
         "look for runs that are there, train none"},
        {"any-program", 0, NULL, VT_OPTION_SWITCH, &o.rerun.any_program,
         "take runs whatever program made them, not this one's only"},
        {"seeds", 0, "LIST", VT_OPTION_TEXT, &o.seeds,
         "seeds to check, such as 0..4,7 (default: the baseline's)"},
        {"statistical", 0, NULL, VT_OPTION_SWITCH, &o.statistical,
         "judge by the metrics even where the bits could be compared"},
        {"allow-missing", 0, NULL, VT_OPTION_SWITCH, &o.allow_missing,
         "exit with 0 although something is NEW, NOT COMPARABLE or a MISSING RUN"},
        {"fail-on", 0, "WHAT", VT_OPTION_TEXTS, &o.fail_on,
         "fail also for: speed, drift (against the oldest baseline); may be repeated"},
        {"longest", 0, "SECONDS", VT_OPTION_U64, &o.longest,
         "without NAME: train no baseline whose runs took longer (default 600)"},
        {"json", 0, NULL, VT_OPTION_SWITCH, &o.json, "print JSON"},
        {"threads", 0, "N", VT_OPTION_U64, &common.threads, "threads of a training"},
        {"data-dir", 0, "DIR", VT_OPTION_TEXT, &common.data_dir, "folder of the data files"},
        VT_RESULTS_OPTION(common),
        VT_COMMON_OPTIONS(common),
        VT_OPTION_END,
    };
    const vt_usage usage = {
        .verb = "regress",
        .arguments = "[NAME...]",
        .about =
            "Checks experiments against their baselines in results/baselines: finds, resumes or\n"
            "trains the runs, compares bits where it can, else metrics. Without NAME: all.\n"
            "Exit status 0: nothing failed; 1: something is FAIL; 66: something that was asked\n"
            "for is NEW, NOT COMPARABLE or a MISSING RUN. It never accepts anything.",
        .options = options,
        .min_arguments = 0,
        .max_arguments = -1};
    vt_arguments arguments = {0};
    vt_error err = {0};
    vt_baseline_names names = {0};
    const char **word = NULL;
    vt_status status = vt_options_parse(&usage, &common, argc, argv, &arguments);
    if (status != VT_OK || common.help)
        return status;
    if (parse_fail_on(&o) != VT_OK)
        return VT_ERR_USAGE;
    o.rerun.results = common.results ? common.results : "results";
    o.rerun.data_dir = common.data_dir;
    o.rerun.threads = common.threads.given ? (int64_t)common.threads.value : -1;
    o.rerun.quiet = common.quiet;
    o.named = arguments.n > 0;
    int n = arguments.n;
    if (n == 0)
        status = vt_baseline_names_read(&names, o.rerun.results, &err);
    n = n ? n : names.n;
    if (status == VT_OK && n == 0)
        status = vt_fail(&err, VT_ERR_NOINPUT, "no baselines in %s/" VT_BASELINE_FOLDER,
                         o.rerun.results);
    if (status == VT_OK && !(word = vt_calloc((size_t)n, sizeof *word)))
        status = vt_fail(&err, VT_ERR_NOMEM, "no memory for %d names", n);
    for (int i = 0; status == VT_OK && i < n; i++)
        word[i] = arguments.n ? arguments.v[i] : names.name[i];
    if (status == VT_OK)
        status = check_all(&o, word, n, &err);
    if (status == VT_ERR_USAGE)
        vt_usage_error("regress", "%s", err.text);
    else if (err.text[0])
        vt_log_write(VT_LOG_ERROR, "%s", err.text);
    vt_free(word);
    vt_baseline_names_release(&names);
    return status;
}
