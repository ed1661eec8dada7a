/* vitrine ls: the runs there are, one a line. */
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "cli/cmd.h"
#include "cli/options.h"
#include "report/show.h"
#include "report/table.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct request {
    vt_text_values exps, states;
    const char *sort;
    const vt_metric *metric; /* of sort; NULL: one of the words below */
    bool json, reverse;
    vt_option_u64 limit;
};

static const char *const sort_words[] = {"exp", "state", "seed", "epoch", "changed"};
enum { N_SORT_WORDS = sizeof sort_words / sizeof *sort_words };

static vt_status check_request(struct request *r)
{
    for (int i = 0; i < r->states.n; i++) {
        vt_run_state state = 0;
        vt_text words = {0};
        for (; state < VT_RUN_STATE_COUNT; state++) {
            vt_text_printf(&words, "%s%s", words.size ? ", " : "", vt_run_state_word(state));
            if (strcmp(r->states.v[i], vt_run_state_word(state)) == 0)
                break;
        }
        vt_status status = state < VT_RUN_STATE_COUNT
                               ? VT_OK
                               : vt_usage_error("ls", "--state is one of %s, not '%s'",
                                                words.data ? words.data : "", r->states.v[i]);
        vt_text_release(&words);
        if (status != VT_OK)
            return status;
    }
    r->metric = vt_metric_find(r->sort);
    bool known = !r->sort || r->metric;
    for (int i = 0; i < N_SORT_WORDS && !known; i++)
        known = strcmp(r->sort, sort_words[i]) == 0;
    return known ? VT_OK
                 : vt_usage_error("ls",
                                  "--sort is exp, state, seed, epoch, changed or a metric "
                                  "such as test.top1, not '%s'",
                                  r->sort);
}

static bool matches_exp(const vt_outcome *o, const char *pattern)
{
    char folder[VT_NAME_MAX + 1];
    snprintf(folder, sizeof folder, "%s", pattern);
    for (char *c = folder; *c; c++)
        *c = *c == '/' ? '-' : *c;
    return vt_glob(folder, o->exp_name) || vt_glob(folder, o->place.exp);
}

static bool is_wanted(const struct request *r, const vt_outcome *o)
{
    bool wanted = r->exps.n == 0;
    for (int i = 0; i < r->exps.n; i++)
        wanted |= matches_exp(o, r->exps.v[i]);
    bool state = r->states.n == 0;
    for (int i = 0; i < r->states.n; i++)
        state |= strcmp(r->states.v[i], vt_run_state_word(o->state)) == 0;
    return wanted && state;
}

static int order(double a, double b)
{
    return (a > b) - (a < b);
}

/* Smaller comes first; the newest, and the best by a metric. Runs without a value come last. */
static int compare_by(const struct request *r, const vt_outcome *a, const vt_outcome *b)
{
    if (r->metric) {
        double x = vt_outcome_metric(a, r->metric), y = vt_outcome_metric(b, r->metric);
        if (isnan(x) || isnan(y))
            return isnan(x) - isnan(y);
        return r->metric->better > 0 ? order(y, x) : order(x, y);
    }
    switch (*r->sort) {
    case 'e':
        return r->sort[1] == 'x' ? strcmp(a->exp_name, b->exp_name)
                                 : order((double)b->epoch, (double)a->epoch);
    case 'c': {
        const struct timespec *x = &a->place.changed, *y = &b->place.changed;
        return x->tv_sec != y->tv_sec ? (x->tv_sec < y->tv_sec ? 1 : -1)
                                      : order((double)y->tv_nsec, (double)x->tv_nsec);
    }
    default:
        return r->sort[1] == 't' ? (int)a->state - (int)b->state
                                 : (a->seed > b->seed) - (a->seed < b->seed);
    }
}

struct keyed {
    const struct request *request;
    const vt_outcome *run;
    int place;
};

static int compare_rows(const void *a, const void *b)
{
    const struct keyed *x = a, *y = b;
    int result = x->request->sort ? compare_by(x->request, x->run, y->run) : 0;
    result = result ? result : x->place - y->place;
    return x->request->reverse ? -result : result;
}

/* The wanted runs in order; fewer than the list has. */
static int pick(const struct request *r, const vt_outcome_list *list, struct keyed *rows)
{
    int n = 0;
    for (int i = 0; i < list->n; i++)
        if (is_wanted(r, &list->run[i]))
            rows[n++] = (struct keyed){r, &list->run[i], i};
    if (n)
        qsort(rows, (size_t)n, sizeof *rows, compare_rows);
    return r->limit.given && r->limit.value < (uint64_t)n ? (int)r->limit.value : n;
}

static vt_status print_json(const char *results, const struct keyed *rows, int n, vt_text *text,
                            vt_error *err)
{
    json_t *runs = json_array();
    for (int i = 0; i < n; i++)
        json_array_append_new(runs, vt_outcome_json(rows[i].run));
    return vt_json_print(text,
                         json_pack("{s:i, s:o, s:o}", "schema", 1, "results",
                                   vt_json_text(results, NULL), "runs", runs),
                         err);
}

static void add_row(vt_table *table, const vt_outcome *o)
{
    char text[64], utc[VT_UTC_SIZE];
    const vt_summary_eval *test = &o->last[VT_SPLIT_TEST];
    bool known = *o->exp_id;
    vt_table_row(table);
    vt_table_text(table, o->exp_name);
    vt_table_text(table, o->run_id);
    snprintf(text, sizeof text, "%llu", (unsigned long long)o->seed);
    vt_table_text(table, known ? text : NULL);
    vt_table_text(table, vt_run_state_word(o->state));
    snprintf(text, sizeof text, "%lld/%lld", (long long)o->epoch, (long long)o->epochs);
    vt_table_text(table, known ? text : NULL);
    snprintf(text, sizeof text, "%.2f %%", 100 * test->top1);
    vt_table_text(table, test->known ? text : NULL);
    snprintf(text, sizeof text, "%.4f", o->train_loss);
    vt_table_text(table, isnan(o->train_loss) ? NULL : text);
    vt_table_text(table, vt_count_text((double)o->n_params, text));
    snprintf(text, sizeof text, "%.0f", o->images_per_s);
    vt_table_text(table, o->images_per_s > 0 ? text : NULL);
    vt_clock_utc(o->place.changed.tv_sec, utc);
    vt_table_text(table, utc);
}

static vt_status print_table(const struct keyed *rows, int n, vt_text *text, vt_error *err)
{
    static const struct {
        const char *name;
        vt_align align;
    } columns[] = {{"exp", VT_LEFT},         {"run", VT_LEFT},     {"seed", VT_RIGHT},
                   {"state", VT_LEFT},       {"epoch", VT_RIGHT},  {"test top1", VT_RIGHT},
                   {"train loss", VT_RIGHT}, {"params", VT_RIGHT}, {"img/s", VT_RIGHT},
                   {"changed", VT_LEFT}};
    vt_table table;
    vt_table_init(&table);
    for (size_t i = 0; i < sizeof columns / sizeof *columns; i++)
        vt_table_column(&table, columns[i].name, columns[i].align);
    for (int i = 0; i < n; i++)
        add_row(&table, rows[i].run);
    vt_status status = vt_table_print(&table, VT_TABLE_TEXT, text, err);
    vt_table_release(&table);
    return status;
}

static vt_status list_runs(const struct request *r, const char *results, vt_error *err)
{
    vt_outcome_list list = {0};
    vt_text text = {0};
    struct keyed *rows = NULL;
    vt_status status = vt_outcomes_read(&list, results, NULL, 0, false, err);
    if (status != VT_OK)
        goto done;
    rows = vt_calloc((size_t)list.n + 1, sizeof *rows);
    if (!rows) {
        status = vt_fail(err, VT_ERR_NOMEM, "no memory for the list of runs");
        goto done;
    }
    int n = pick(r, &list, rows);
    status = r->json ? print_json(results, rows, n, &text, err) : print_table(rows, n, &text, err);
    if (status == VT_OK)
        fputs(text.data, stdout);
    fflush(stdout);
    for (int i = 0; i < n; i++)
        if (rows[i].run->state == VT_RUN_BROKEN)
            vt_log_write(VT_LOG_WARNING, "%s/%s/%s: %s", results, rows[i].run->place.exp,
                         rows[i].run->place.id, rows[i].run->problem);
    if (n == 0)
        vt_log_write(VT_LOG_INFO, "no run of that kind in %s", results);
done:
    vt_free(rows);
    vt_text_release(&text);
    vt_outcomes_release(&list);
    return status;
}

vt_status vt_cmd_ls(int argc, char **argv)
{
    struct request r = {0};
    vt_common_options common = {0};
    const vt_option options[] = {
        {"exp", 0, "PATTERN", VT_OPTION_TEXTS, &r.exps, "the same as EXP"},
        {"state", 0, "STATE", VT_OPTION_TEXTS, &r.states,
         "only runs in this state; may be repeated"},
        {"sort", 0, "KEY", VT_OPTION_TEXT, &r.sort,
         "exp, state, seed, epoch, changed (newest first) or a metric (best first)"},
        {"reverse", 'r', NULL, VT_OPTION_SWITCH, &r.reverse, "the other way round"},
        {"limit", 'n', "N", VT_OPTION_U64, &r.limit, "the first N only"},
        {"json", 0, NULL, VT_OPTION_SWITCH, &r.json, "print JSON"},
        VT_RESULTS_OPTION(common),
        VT_COMMON_OPTIONS(common),
        VT_OPTION_END,
    };
    const vt_usage usage = {
        .verb = "ls",
        .arguments = "[EXP...]",
        .about =
            "Lists the runs, by experiment, the newest first. EXP is an experiment or a pattern\n"
            "with * and ?. States: running, interrupted (continues with the same command),\n"
            "dead (killed; the same), diverged, failed, done, broken (no readable run).",
        .options = options,
        .min_arguments = 0,
        .max_arguments = VT_SETS_MAX / 2};
    vt_arguments arguments = {0};
    vt_error err = {0};
    vt_status status = vt_options_parse(&usage, &common, argc, argv, &arguments);
    if (status != VT_OK || common.help)
        return status;
    for (int i = 0; i < arguments.n && r.exps.n < VT_SETS_MAX; i++)
        r.exps.v[r.exps.n++] = arguments.v[i];
    if ((status = check_request(&r)) != VT_OK)
        return status;
    status = list_runs(&r, vt_results_of(&common), &err);
    if (status != VT_OK)
        vt_log_write(VT_LOG_ERROR, "%s", err.text);
    return status;
}
