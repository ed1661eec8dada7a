/* Outcomes of many runs: lists of them, RUN by what a run came to, metrics by name. */
#include "base/mem.h"
#include "base/text.h"
#include "report/outcome.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const vt_metric metrics[] = {
#define X(name, better, unit, help) {name, better, unit, help},
    VT_METRIC_LIST(X)
#undef X
};

enum { N_METRICS = sizeof metrics / sizeof *metrics };

const vt_metric *vt_metric_find(const char *name)
{
    for (int i = 0; name && i < N_METRICS; i++)
        if (strcmp(metrics[i].name, name) == 0)
            return &metrics[i];
    return NULL;
}

const vt_metric *vt_metric_at(int i)
{
    return i >= 0 && i < N_METRICS ? &metrics[i] : NULL;
}

static double eval_value(const vt_summary_eval *eval, const char *what)
{
    if (!eval->known)
        return (double)NAN;
    return strcmp(what, "top1") == 0   ? eval->top1
           : strcmp(what, "top5") == 0 ? eval->top5
           : strcmp(what, "ece") == 0  ? eval->ece
                                       : eval->loss;
}

static double positive(double value)
{
    return value > 0 ? value : (double)NAN;
}

static double best_epoch(const vt_outcome *o)
{
    for (int split = VT_SPLIT_COUNT - 1; split >= 0; split--)
        if (o->best[split].known)
            return (double)o->best[split].epoch;
    return (double)NAN;
}

double vt_outcome_metric(const vt_outcome *o, const vt_metric *metric)
{
    const char *name = metric->name;
    const struct {
        const char *name;
        double value;
    } plain[] = {{"train.top1", o->train_top1},
                 {"train.loss", o->train_loss},
                 {"best.epoch", best_epoch(o)},
                 {"params", positive((double)o->n_params)},
                 {"macs", positive((double)o->macs)},
                 {"images_per_s", positive(o->images_per_s)},
                 {"peak_bytes", positive((double)o->peak_bytes)},
                 {"wall_s", o->wall_s}};
    for (size_t i = 0; i < sizeof plain / sizeof *plain; i++)
        if (strcmp(plain[i].name, name) == 0)
            return plain[i].value;
    bool best = strncmp(name, "best.", 5) == 0;
    const char *split = best ? name + 5 : name, *dot = strchr(split, '.');
    const vt_summary_eval *evals = best ? o->best : o->last;
    VT_ASSERT(dot);
    return eval_value(&evals[*split == 'v' ? VT_SPLIT_VAL : VT_SPLIT_TEST], dot + 1);
}

static vt_status fail_nomem(vt_error *err)
{
    return vt_fail(err, VT_ERR_NOMEM, "no memory for the list of runs");
}

static vt_status push(vt_outcome_list *list, const vt_run_place *place, vt_error *err)
{
    if ((list->n & (list->n - 1)) == 0) {
        vt_outcome *grown = vt_realloc(list->run, list->n ? 2 * (size_t)list->n : 1, sizeof *grown);
        if (!grown)
            return fail_nomem(err);
        list->run = grown;
    }
    return vt_outcome_read(&list->run[list->n++], place, err);
}

/* Appends every run of the places. */
static vt_status push_all(vt_outcome_list *list, const vt_run_list *places, vt_error *err)
{
    vt_status status = VT_OK;
    for (int i = 0; i < places->n && status == VT_OK; i++)
        status = push(list, &places->run[i], err);
    return status;
}

void vt_outcomes_release(vt_outcome_list *list)
{
    for (int i = 0; i < list->n; i++)
        vt_outcome_release(&list->run[i]);
    vt_free(list->run);
    *list = (vt_outcome_list){0};
}

/* All runs of an experiment, newest first; none is no failure. */
static vt_status read_experiment(vt_outcome_list *list, const char *results, const char *exp,
                                 vt_error *err)
{
    vt_run_list places = {0};
    vt_status status = vt_runs_list(&places, results, err);
    vt_runs_keep_experiment(&places, exp);
    if (status == VT_OK)
        status = push_all(list, &places, err);
    vt_runs_release(&places);
    return status;
}

static int find_best(const vt_outcome_list *list, const vt_metric *metric)
{
    int best = -1;
    double most = 0;
    for (int i = 0; i < list->n; i++) {
        double value = vt_outcome_metric(&list->run[i], metric);
        if (list->run[i].state != VT_RUN_DONE || isnan(value))
            continue;
        value = metric->better > 0 ? value : -value;
        if (best < 0 || value > most) {
            best = i;
            most = value;
        }
    }
    return best;
}

static int find_seed(const vt_outcome_list *list, uint64_t seed)
{
    for (int i = 0; i < list->n; i++)
        if (list->run[i].state != VT_RUN_BROKEN && list->run[i].seed == seed)
            return i;
    return -1;
}

static bool parse_seed(const char *text, uint64_t *seed)
{
    char *end;
    errno = 0;
    *seed = strtoull(text, &end, 10);
    return *text >= '0' && *text <= '9' && !*end && !errno;
}

/* EXP@SELECTOR */
static vt_status select_run(vt_run_place *place, const char *results, const char *word,
                            const char *at, vt_error *err)
{
    vt_outcome_list list = {0};
    char exp[VT_NAME_MAX + 1];
    const char *selector = at + 1;
    bool by_seed = strncmp(selector, "seed=", 5) == 0;
    bool by_metric = strncmp(selector, "best:", 5) == 0;
    const vt_metric *metric = by_metric ? vt_metric_find(selector + 5) : NULL;
    uint64_t seed = 0;
    int found = -1;
    if (by_metric && !metric)
        return vt_fail(err, VT_ERR_USAGE, "'%s': there is no metric '%s'", word, selector + 5);
    if ((!by_seed && !by_metric) || (by_seed && !parse_seed(selector + 5, &seed)) ||
        (size_t)(at - word) >= sizeof exp)
        return vt_fail(err, VT_ERR_USAGE, "'%s': expected EXP@seed=N or EXP@best:METRIC", word);
    snprintf(exp, sizeof exp, "%.*s", (int)(at - word), word);
    vt_status status = read_experiment(&list, results, exp, err);
    if (status == VT_OK)
        found = by_seed ? find_seed(&list, seed) : find_best(&list, metric);
    if (found >= 0)
        *place = list.run[found].place;
    else if (status == VT_OK && list.n == 0)
        status = vt_runs_find(place, results, exp, err); /* says what there is */
    else if (status == VT_OK)
        status = vt_fail(err, VT_ERR_NOINPUT, "%s has no %s among its %d runs in %s", exp,
                         by_seed ? "run with that seed" : "complete run with that metric", list.n,
                         results);
    vt_outcomes_release(&list);
    return status;
}

vt_status vt_outcomes_find(vt_run_place *place, const char *results, const char *word,
                           vt_error *err)
{
    vt_error first = {0};
    const char *at = strrchr(word, '@');
    vt_status status = vt_runs_find(place, results, word, at ? &first : err);
    if (status == VT_ERR_NOINPUT && at)
        status = select_run(place, results, word, at, err);
    else if (status != VT_OK && at)
        vt_fail(err, status, "%s", first.text);
    return status;
}

struct ranked {
    vt_outcome run;
    int place, variant; /* variant: place of the newest run with its exp_id */
};

static int compare_variants(const void *a, const void *b)
{
    const struct ranked *x = a, *y = b;
    if (x->variant != y->variant)
        return x->variant < y->variant ? -1 : 1;
    if (x->run.seed != y->run.seed)
        return x->run.seed < y->run.seed ? -1 : 1;
    return x->place < y->place ? -1 : 1;
}

/* Keeps the newest run of each variant and seed; the list is newest first. */
static vt_status fold_seeds(vt_outcome_list *list, vt_error *err)
{
    int n = 0;
    struct ranked *ranked = vt_calloc((size_t)list->n + 1, sizeof *ranked);
    if (!ranked)
        return fail_nomem(err);
    for (int i = 0; i < list->n; i++) {
        int variant = 0;
        while (strcmp(list->run[variant].exp_id, list->run[i].exp_id) != 0)
            variant++;
        ranked[i] = (struct ranked){list->run[i], i, variant};
    }
    qsort(ranked, (size_t)list->n, sizeof *ranked, compare_variants);
    for (int i = 0; i < list->n; i++) {
        bool again = i > 0 && ranked[i - 1].variant == ranked[i].variant &&
                     ranked[i - 1].run.seed == ranked[i].run.seed;
        if (again || ranked[i].run.state == VT_RUN_BROKEN)
            vt_outcome_release(&ranked[i].run);
        else
            list->run[n++] = ranked[i].run;
    }
    list->n = n;
    vt_free(ranked);
    return VT_OK;
}

static vt_status push_word(vt_outcome_list *list, const char *results, const char *word, bool seeds,
                           vt_error *err)
{
    vt_run_place place;
    vt_outcome_list runs = {0};
    vt_status status = VT_OK;
    if (seeds)
        status = read_experiment(&runs, results, word, NULL);
    if (status == VT_OK && runs.n)
        status = fold_seeds(&runs, err);
    if (runs.n == 0 || status != VT_OK) { /* a path is fine without any folder of results */
        vt_outcomes_release(&runs);
        if (status != VT_ERR_NOMEM)
            status = vt_outcomes_find(&place, results, word, err);
        return status == VT_OK ? push(list, &place, err) : status;
    }
    vt_outcome *grown = vt_realloc(list->run, 2 * (size_t)(list->n + runs.n), sizeof *grown);
    if (!grown) {
        vt_outcomes_release(&runs);
        return fail_nomem(err);
    }
    memcpy(grown + list->n, runs.run, (size_t)runs.n * sizeof *grown);
    list->run = grown;
    list->n += runs.n;
    vt_free(runs.run);
    return VT_OK;
}

vt_status vt_outcomes_read(vt_outcome_list *list, const char *results, const char *const *words,
                           int n_words, bool seeds, vt_error *err)
{
    vt_run_list places = {0};
    vt_status status = VT_OK;
    *list = (vt_outcome_list){0};
    if (n_words == 0) {
        status = vt_runs_list(&places, results, err);
        if (status == VT_OK)
            status = push_all(list, &places, err);
        vt_runs_release(&places);
    }
    for (int i = 0; i < n_words && status == VT_OK; i++)
        status = push_word(list, results, words[i], seeds, err);
    return status;
}
