#include "base/log.h"
#include "base/mem.h"
#include "cli/cmd.h"
#include "cli/options.h"
#include "report/escape.h"
#include "report/judge.h"
#include "report/table.h"
#include "results/json.h"
#include "results/stats.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct baseline_options {
    const char *name, *reason, *level, *results;
    vt_text_values metrics; /* METRIC or METRIC=FLOOR */
    bool json;
} baseline_options;

static void print_escaped(vt_text *out, const char *text)
{
    vt_escape(out, VT_ESCAPE_SHOWN, text);
}

static vt_status parse_gates(const baseline_options *o, vt_baseline_request *request, vt_error *err)
{
    for (int i = 0; i < o->metrics.n; i++) {
        char name[64], *end = NULL;
        const char *word = o->metrics.v[i], *equals = strchr(word, '=');
        snprintf(name, sizeof name, "%.*s", (int)strcspn(word, "="), word);
        const vt_metric *metric = vt_metric_find(name);
        if (!metric || !metric->better)
            return vt_fail(err, VT_ERR_USAGE,
                           "--metric '%s': there is no metric '%s' with a "
                           "direction; such are test.top1, test.loss, val.top1, test.ece",
                           word, name);
        double floor = equals ? strtod(equals + 1, &end) : vt_baseline_floor(metric);
        if (equals && (end == equals + 1 || *end || !(floor >= 0)))
            return vt_fail(err, VT_ERR_USAGE, "--metric '%s': '%s' is not a floor of 0 or more",
                           word, equals + 1);
        if (request->n_gates == VT_BASELINE_GATES_MAX)
            return vt_fail(err, VT_ERR_USAGE, "at most %d times --metric", VT_BASELINE_GATES_MAX);
        request->gate[request->n_gates++] = (vt_gate){metric, floor};
    }
    if (o->level) {
        char *end;
        request->level = strtod(o->level, &end);
        if (end == o->level || *end || !(request->level > 0 && request->level < 0.5))
            return vt_fail(err, VT_ERR_USAGE,
                           "--level '%s': a number between 0 and 0.5, such as "
                           "0.01",
                           o->level);
    }
    return VT_OK;
}

static bool same_runs(const vt_acceptance *a, const vt_acceptance *b)
{
    bool same = a->n_runs == b->n_runs && strcmp(a->exp_id, b->exp_id) == 0;
    for (int i = 0; same && i < a->n_runs; i++)
        same = strcmp(a->run[i].run_id, b->run[i].run_id) == 0 &&
               strcmp(a->run[i].metrics_sha256, b->run[i].metrics_sha256) == 0 &&
               strcmp(a->run[i].weights_sha256, b->run[i].weights_sha256) == 0;
    return same;
}

/* The runs of an acceptance by one metric. */
static void print_mean(vt_text *out, const vt_acceptance *a, const vt_metric *metric)
{
    double value[VT_BASELINE_RUNS_MAX];
    bool share = strcmp(metric->unit, "share") == 0;
    for (int i = 0; i < a->n_runs; i++)
        value[i] = (share ? 100 : 1) * vt_baseline_value(&a->run[i], metric);
    vt_text_printf(out, "%.*f", share ? 2 : 4, vt_stats_mean(value, a->n_runs));
    if (a->n_runs > 1)
        vt_text_printf(out, " ± %.*f", share ? 2 : 4, vt_stats_sd(value, a->n_runs));
    vt_text_printf(out, " (n=%d)", a->n_runs);
}

/* What an acceptance changes, for the person who is about to commit it. */
static void print_change(vt_text *out, const vt_baseline *old, const vt_baseline *now)
{
    const vt_acceptance *current = vt_baseline_current(now);
    const vt_acceptance *before = old ? vt_baseline_current(old) : NULL;
    for (int i = 0; i < now->n_gates; i++) {
        vt_text_printf(out, "    %-10s ", now->gate[i].metric->name);
        if (before) {
            print_mean(out, before, now->gate[i].metric);
            vt_text_printf(out, "  ->  ");
        }
        print_mean(out, current, now->gate[i].metric);
        vt_text_printf(out, "\n");
    }
    if (!before)
        return;
    for (int i = 0; i < now->n_settings; i++) {
        const char *key = now->setting[i].key, *value = NULL;
        for (int k = 0; k < old->n_settings; k++)
            if (strcmp(old->setting[k].key, key) == 0)
                value = old->setting[k].value;
        if (value && strcmp(value, now->setting[i].value) == 0)
            continue;
        vt_text_printf(out, "    config     ");
        print_escaped(out, key);
        vt_text_printf(out, ": ");
        print_escaped(out, value ? value : "(not used)");
        vt_text_printf(out, " -> ");
        print_escaped(out, now->setting[i].value);
        vt_text_printf(out, "\n");
    }
    if (strcmp(before->run[0].numerics, current->run[0].numerics) != 0)
        vt_text_printf(out, "    numerics   %.12s -> %.12s\n", before->run[0].numerics,
                       current->run[0].numerics);
    vt_judgement j = vt_judge(now, current->run, current->n_runs, false);
    if (j.drifted)
        vt_judgement_lines(&j, out);
}

static vt_status accept(const baseline_options *o, const vt_arguments *runs, vt_error *err)
{
    char name[VT_NAME_MAX + 1];
    vt_outcome_list list = {0};
    vt_baseline old = {0}, now = {0};
    vt_text out = {0};
    json_t *root = NULL;
    vt_error reason = {0};
    vt_baseline_request request = {.name = name, .reason = o->reason};
    if (!o->reason)
        return vt_fail(err, VT_ERR_USAGE,
                       "accept needs --reason: why are these results the ones to "
                       "keep?");
    if (runs->n == 0)
        return vt_fail(err, VT_ERR_USAGE, "accept needs the runs: RUN or EXP");
    vt_status status = parse_gates(o, &request, err);
    if (status != VT_OK)
        return status;
    status = vt_outcomes_read(&list, o->results, (const char *const *)runs->v, runs->n, true, err);
    if (status == VT_OK && list.n == 0)
        status = vt_fail(err, VT_ERR_NOINPUT, "there are no such runs in %s", o->results);
    if (status != VT_OK)
        goto out;
    snprintf(name, sizeof name, "%s", o->name ? o->name : list.run[0].exp_name);
    request.run = list.run;
    request.n_runs = list.n;
    vt_status known = vt_baseline_read(&old, o->results, name, &reason);
    if (known != VT_OK && known != VT_ERR_NOINPUT) {
        status = vt_fail(err, known, "%s", reason.text);
        goto out;
    }
    status = vt_baseline_make(&root, known == VT_OK ? &old : NULL, &request, err);
    if (status == VT_OK)
        status = vt_baseline_write(o->results, name, root, err);
    if (status == VT_OK)
        status = vt_baseline_read(&now, o->results, name, err);
    if (status != VT_OK)
        goto out;
    vt_text_printf(&out, "%s  %s  %d run%s\n", name,
                   known != VT_OK ? "NEW"
                   : same_runs(vt_baseline_current(&old), vt_baseline_current(&now))
                       ? "the same bits"
                       : "CHANGED",
                   list.n, list.n == 1 ? "" : "s");
    print_change(&out, known == VT_OK ? &old : NULL, &now);
    vt_text_printf(&out, "    written to %s/" VT_BASELINE_FOLDER "/%s.json: commit it\n",
                   o->results, name);
    fwrite(out.data, 1, out.size, stdout);
    if (list.n == 1)
        vt_log_write(VT_LOG_INFO, "one run has no spread: it can be checked by its digests alone");
    for (int i = 0; i < list.n; i++)
        if (strstr(list.run[i].commit, "-dirty"))
            vt_log_write(VT_LOG_WARNING, "seed %llu was trained with uncommitted changes",
                         (unsigned long long)list.run[i].seed);
out:
    vt_text_release(&out);
    vt_baseline_release(&old);
    vt_baseline_release(&now);
    vt_outcomes_release(&list);
    return status;
}

static void show_table_row(vt_table *table, const vt_baseline *b)
{
    const vt_acceptance *a = vt_baseline_current(b);
    vt_text mean = {0};
    print_mean(&mean, a, b->gate[0].metric);
    vt_table_row(table);
    vt_table_text(table, b->name);
    vt_table_text(table, b->experiment);
    vt_table_text(table, b->gate[0].metric->name);
    vt_table_text(table, mean.data);
    vt_table_integer(table, b->n_accepted, NULL);
    vt_table_text(table, a->reason);
    vt_text_release(&mean);
}

static void show_one(vt_text *out, const vt_baseline *b)
{
    vt_text_printf(out, "%s  experiment ", b->name);
    print_escaped(out, b->experiment);
    for (int i = 0; i < b->n_set; i++) {
        vt_text_printf(out, "  --set ");
        print_escaped(out, b->set[i]);
    }
    vt_text_printf(out, "\n    false alarms %g, of all metrics together; floors:", b->level);
    for (int i = 0; i < b->n_gates; i++)
        vt_text_printf(out, " %s %g", b->gate[i].metric->name, b->gate[i].floor);
    vt_text_printf(out, "; slower by %g\n", b->speed_factor);
    for (int i = b->n_accepted - 1; i >= 0; i--) {
        const vt_acceptance *a = &b->accepted[i];
        vt_text_printf(out, "%s  ", i == b->n_accepted - 1 ? "  in force" : "  before  ");
        print_escaped(out, a->reason);
        vt_text_printf(out, "\n");
        for (int k = 0; k < b->n_gates; k++) {
            vt_text_printf(out, "    %-10s ", b->gate[k].metric->name);
            print_mean(out, a, b->gate[k].metric);
            vt_text_printf(out, "\n");
        }
        for (int k = 0; k < a->n_runs; k++) {
            const vt_baseline_run *run = &a->run[k];
            vt_text_printf(out,
                           "    seed %-5llu run %s  metrics %.12s  weights %.12s  numerics %.12s  ",
                           (unsigned long long)run->seed, run->run_id, run->metrics_sha256,
                           run->weights_sha256, run->numerics);
            print_escaped(out, run->commit);
            vt_text_printf(out, "\n");
        }
    }
}

/* {"schema": 1, "baselines": [the files]} */
static vt_status show_json(const vt_baseline *b, int n, vt_error *err)
{
    vt_text out = {0};
    json_t *list = json_array();
    for (int i = 0; i < n; i++)
        json_array_append(list, b[i].root);
    vt_status status =
        vt_json_print(&out, json_pack("{s:i, s:o}", "schema", 1, "baselines", list), err);
    if (status == VT_OK)
        fwrite(out.data, 1, out.size, stdout);
    vt_text_release(&out);
    return status;
}

static vt_status show(const baseline_options *o, const vt_arguments *words, vt_error *err)
{
    enum { SHOWN_MAX = 1000 };
    vt_baseline_names names = {0};
    vt_table table;
    vt_text out = {0};
    vt_status worst = VT_OK;
    int n = 0;
    vt_status status = vt_baseline_names_read(&names, o->results, err);
    int wanted = words->n ? words->n : names.n < SHOWN_MAX ? names.n : SHOWN_MAX;
    vt_baseline *b = vt_calloc((size_t)wanted + 1, sizeof *b);
    vt_table_init(&table);
    if (status == VT_OK && !b)
        status = vt_fail(err, VT_ERR_NOMEM, "no memory for %d baselines", wanted);
    for (int i = 0; status == VT_OK && i < wanted; i++) {
        vt_error reason = {0};
        vt_status got =
            vt_baseline_read(&b[n], o->results, words->n ? words->v[i] : names.name[i], &reason);
        if (got == VT_OK) {
            n++;
            continue;
        }
        vt_baseline_release(&b[n]);
        vt_log_write(VT_LOG_ERROR, "%s", reason.text);
        worst = got;
    }
    if (status == VT_OK && o->json)
        status = show_json(b, n, err);
    else if (status == VT_OK && words->n)
        for (int i = 0; i < n; i++)
            show_one(&out, &b[i]);
    else if (status == VT_OK && n) {
        vt_table_column(&table, "baseline", VT_LEFT);
        vt_table_column(&table, "experiment", VT_LEFT);
        vt_table_column(&table, "metric", VT_LEFT);
        vt_table_column(&table, "value", VT_RIGHT);
        vt_table_column(&table, "accepted", VT_RIGHT);
        vt_table_column(&table, "last reason", VT_LEFT);
        for (int i = 0; i < n; i++)
            show_table_row(&table, &b[i]);
        status = vt_table_print(&table, VT_TABLE_TEXT, &out, err);
    } else if (status == VT_OK)
        vt_log_write(VT_LOG_INFO, "no baselines in %s/" VT_BASELINE_FOLDER, o->results);
    if (status == VT_OK && out.data)
        fwrite(out.data, 1, out.size, stdout);
    vt_text_release(&out);
    vt_table_release(&table);
    for (int i = 0; i < n; i++)
        vt_baseline_release(&b[i]);
    vt_free(b);
    vt_baseline_names_release(&names);
    return status == VT_OK ? worst : status;
}

vt_status vt_cmd_baseline(int argc, char **argv)
{
    baseline_options o = {0};
    vt_common_options common = {0};
    const vt_option options[] = {
        {"reason", 0, "TEXT", VT_OPTION_TEXT, &o.reason, "accept: why; kept in the file"},
        {"name", 0, "NAME", VT_OPTION_TEXT, &o.name,
         "accept: the baseline's name (default: the experiment's)"},
        {"metric", 0, "NAME[=FLOOR]", VT_OPTION_TEXTS, &o.metrics,
         "accept: a metric that can fail, and how much worse never does; may be repeated"},
        {"level", 0, "P", VT_OPTION_TEXT, &o.level,
         "accept: chance of a false alarm of a check (default 0.01)"},
        {"json", 0, NULL, VT_OPTION_SWITCH, &o.json, "show: print JSON"},
        VT_RESULTS_OPTION(common),
        VT_COMMON_OPTIONS(common),
        VT_OPTION_END,
    };
    const vt_usage usage = {
        .verb = "baseline",
        .arguments = "accept RUN|EXP... --reason TEXT | show [NAME...]",
        .about =
            "accept: makes finished runs of one experiment the results that 'vitrine regress'\n"
            "expects, in results/baselines/NAME.json. An EXP is its newest run of every seed.\n"
            "show: the baselines there are, or one with its history.",
        .options = options,
        .min_arguments = 1,
        .max_arguments = -1};
    vt_arguments arguments = {0};
    vt_error err = {0};
    vt_status status = vt_options_parse(&usage, &common, argc, argv, &arguments);
    if (status != VT_OK || common.help)
        return status;
    o.results = common.results ? common.results : "results";
    const vt_arguments words = {arguments.v + 1, arguments.n - 1};
    if (strcmp(arguments.v[0], "accept") == 0)
        status = accept(&o, &words, &err);
    else if (strcmp(arguments.v[0], "show") == 0)
        status = show(&o, &words, &err);
    else
        return vt_usage_error("baseline", "'%s' is neither accept nor show", arguments.v[0]);
    if (status == VT_ERR_USAGE)
        vt_usage_error("baseline", "%s", err.text);
    else if (status != VT_OK && err.text[0])
        vt_log_write(VT_LOG_ERROR, "%s", err.text);
    return status;
}
