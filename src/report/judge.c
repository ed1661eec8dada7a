#include "report/judge.h"

#include "results/json.h"
#include "results/stats.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

const char *vt_finding_word(vt_finding verdict)
{
    static const char *const words[] = {
#define X(name, word, help) word,
        VT_FINDING_LIST(X)
#undef X
    };
    return words[verdict];
}

/* Runs picked out of a list: the values of a metric, in the list's order. */
struct sample {
    double x[VT_BASELINE_RUNS_MAX];
    int n;
};

static void collect(struct sample *sample, const vt_metric *metric, const vt_baseline_run *run,
                    const bool *leave, int n)
{
    sample->n = 0;
    for (int i = 0; i < n; i++)
        if (!leave || !leave[i])
            sample->x[sample->n++] = vt_baseline_value(&run[i], metric);
}

/* a: chance of a false alarm. */
static vt_judged_metric compare(const vt_gate *gate, const struct sample *base,
                                const struct sample *now, double a)
{
    vt_judged_metric m = {.metric = gate->metric,
                          .n_base = base->n,
                          .n = now->n,
                          .mean = vt_stats_mean(base->x, base->n),
                          .sd = vt_stats_sd(base->x, base->n),
                          .value = vt_stats_mean(now->x, now->n),
                          .value_sd = vt_stats_sd(now->x, now->n),
                          .verdict = VT_FINDING_NOT_COMPARABLE};
    double half =
        vt_student_quantile(1 - a, base->n - 1) * m.sd * sqrt(1.0 / now->n + 1.0 / base->n);
    m.low = half >= 0 ? m.mean - fmax(half, gate->floor) : (double)NAN;
    m.high = half >= 0 ? m.mean + fmax(half, gate->floor) : (double)NAN;
    if (isnan(m.low) || isnan(m.value))
        return m;
    bool below = m.value<m.low, above = m.value> m.high;
    bool worse = gate->metric->better > 0 ? below : above;
    m.verdict = worse ? VT_FINDING_FAIL : below || above ? VT_FINDING_BETTER : VT_FINDING_PASS;
    return m;
}

/* The worst for FAIL, the best for BETTER: what decides. */
static vt_finding combine(const vt_judged_metric *metric, int n)
{
    bool has[VT_FINDING_COUNT] = {false};
    for (int i = 0; i < n; i++)
        has[metric[i].verdict] = true;
    return has[VT_FINDING_FAIL]             ? VT_FINDING_FAIL
           : has[VT_FINDING_NOT_COMPARABLE] ? VT_FINDING_NOT_COMPARABLE
           : has[VT_FINDING_BETTER]         ? VT_FINDING_BETTER
                                            : VT_FINDING_PASS;
}

static int judge_metrics(vt_judged_metric *metric, const vt_baseline *baseline,
                         const vt_acceptance *base, const vt_baseline_run *run, const bool *leave,
                         int n)
{
    struct sample before, now;
    for (int i = 0; i < baseline->n_gates; i++) {
        const vt_gate *gate = &baseline->gate[i];
        collect(&before, gate->metric, base->run, NULL, base->n_runs);
        collect(&now, gate->metric, run, leave, n);
        metric[i] = compare(gate, &before, &now, baseline->level / baseline->n_gates);
    }
    return baseline->n_gates;
}

static void judge_speed(vt_judgement *j, const vt_baseline *baseline, const vt_acceptance *base,
                        const vt_baseline_run *run, int n)
{
    double before = 0, now = 0;
    int n_before = 0, n_now = 0;
    j->slower = (double)NAN;
    for (int i = 0; i < base->n_runs; i++) {
        const vt_baseline_run *b = &base->run[i];
        if (b->images_per_s > 0 && b->machine[0] && strcmp(b->machine, run[0].machine) == 0) {
            before += b->images_per_s;
            n_before++;
        }
    }
    for (int i = 0; i < n; i++)
        if (run[i].images_per_s > 0 && strcmp(run[i].machine, run[0].machine) == 0) {
            now += run[i].images_per_s;
            n_now++;
        }
    if (n_before && n_now)
        j->slower = before / n_before / (now / n_now);
    j->slow = j->slower > baseline->speed_factor;
}

static const vt_baseline_run *find_same(const vt_acceptance *base, const vt_baseline_run *run)
{
    for (int i = 0; i < base->n_runs; i++)
        if (strcmp(base->run[i].run_id, run->run_id) == 0 &&
            strcmp(base->run[i].numerics, run->numerics) == 0)
            return &base->run[i];
    return NULL;
}

static void say_what_differs(vt_judgement *j, const vt_baseline_run *base,
                             const vt_baseline_run *run)
{
    bool metrics = strcmp(base->metrics_sha256, run->metrics_sha256) != 0;
    const char *before = metrics ? base->metrics_sha256 : base->weights_sha256;
    const char *now = metrics ? run->metrics_sha256 : run->weights_sha256;
    snprintf(j->reason, sizeof j->reason,
             "seed %llu has other bits, at the same numerics id %.12s: %s %.16s, not %.16s%s",
             (unsigned long long)run->seed, run->numerics, metrics ? "metrics" : "weights", now,
             before,
             strcmp(base->weights_sha256, run->weights_sha256) == 0
                 ? " (the weights are the same: is other logging asked for?)"
                 : "");
}

/* The metric that decided. */
static const vt_judged_metric *deciding(const vt_judgement *j)
{
    for (int i = 0; i < j->n_metrics; i++)
        if (j->metric[i].verdict == j->verdict)
            return &j->metric[i];
    return &j->metric[0];
}

static void print_value(char *text, size_t size, const vt_metric *metric, double value)
{
    if (isnan(value))
        snprintf(text, size, "?");
    else if (strcmp(metric->unit, "share") == 0)
        snprintf(text, size, "%.2f", 100 * value);
    else
        snprintf(text, size, "%.4f", value);
}

static void explain_metric(vt_judgement *j)
{
    const vt_judged_metric *m = deciding(j);
    char value[32], low[32], high[32];
    print_value(value, sizeof value, m->metric, m->value);
    print_value(low, sizeof low, m->metric, m->low);
    print_value(high, sizeof high, m->metric, m->high);
    if (j->verdict == VT_FINDING_NOT_COMPARABLE && isnan(m->value))
        snprintf(j->reason, sizeof j->reason, "a run has no %s", m->metric->name);
    else if (j->verdict == VT_FINDING_NOT_COMPARABLE)
        snprintf(
            j->reason, sizeof j->reason,
            "other numerics or seeds than the baseline's, whose %d run%s no spread to judge by",
            m->n_base, m->n_base == 1 ? " gives" : "s give");
    else
        snprintf(j->reason, sizeof j->reason, "%s %s %s [%s, %s]", m->metric->name, value,
                 j->verdict == VT_FINDING_PASS ? "in" : "outside", low, high);
}

vt_judgement vt_judge(const vt_baseline *baseline, const vt_baseline_run *run, int n,
                      bool statistical)
{
    const vt_acceptance *base = vt_baseline_current(baseline),
                        *first = vt_baseline_oldest(baseline);
    const vt_baseline_run *other = NULL;
    vt_judgement j = {.n_runs = n, .verdict = VT_FINDING_PASS};
    bool exact[VT_BASELINE_RUNS_MAX] = {false};
    int n_exact = 0, at = 0;
    VT_ASSERT(n > 0 && n <= VT_BASELINE_RUNS_MAX);
    judge_speed(&j, baseline, base, run, n);
    for (int i = 0; i < n; i++) {
        if (!vt_acceptance_same_data(base, &run[i])) {
            j.verdict = VT_FINDING_NOT_COMPARABLE;
            snprintf(j.reason, sizeof j.reason,
                     "seed %llu: other data than the baseline's (digest %.12s)",
                     (unsigned long long)run[i].seed, run[i].data_digest);
            return j;
        }
        const vt_baseline_run *same = statistical ? NULL : find_same(base, &run[i]);
        exact[i] = same != NULL;
        n_exact += exact[i];
        if (!same)
            continue;
        if (strcmp(same->metrics_sha256, run[i].metrics_sha256) == 0 &&
            strcmp(same->weights_sha256, run[i].weights_sha256) == 0) {
            j.n_same++;
        } else if (!other) {
            other = same;
            at = i;
        }
    }
    j.statistical = n_exact < n;
    j.n_metrics = judge_metrics(j.metric, baseline, base, run, j.statistical ? exact : NULL, n);
    if (first != base && first->n_runs > 1) {
        j.n_drift = judge_metrics(j.drift, baseline, first, run, NULL, n);
        for (int i = 0; i < j.n_drift; i++)
            j.drifted |= j.drift[i].verdict == VT_FINDING_FAIL;
    }
    if (j.statistical)
        j.verdict = combine(j.metric, j.n_metrics);
    if (j.statistical)
        explain_metric(&j);
    else
        snprintf(j.reason, sizeof j.reason, "the baseline's bits (%d run%s, numerics %.12s)", n,
                 n == 1 ? "" : "s", run[0].numerics);
    if (other) {
        j.verdict = VT_FINDING_FAIL;
        say_what_differs(&j, other, &run[at]);
    }
    return j;
}

void vt_judgement_line(const vt_judgement *j, vt_text *text)
{
    vt_text_printf(text, "%s  %s", vt_finding_word(j->verdict), j->reason);
    if (j->n_metrics) {
        const vt_judged_metric *m = deciding(j);
        char mean[32], sd[32];
        print_value(mean, sizeof mean, m->metric, m->mean);
        print_value(sd, sizeof sd, m->metric, m->sd);
        vt_text_printf(text, "  (%d seed%s, %s %s", m->n_base, m->n_base == 1 ? "" : "s",
                       m->metric->name, mean);
        if (m->n_base > 1)
            vt_text_printf(text, " ± %s", sd);
        vt_text_printf(text, ")");
    }
}

static void print_metric(const vt_judged_metric *m, const char *what, vt_text *text)
{
    char value[32], mean[32], sd[32], low[32], high[32];
    print_value(value, sizeof value, m->metric, m->value);
    print_value(mean, sizeof mean, m->metric, m->mean);
    print_value(sd, sizeof sd, m->metric, m->sd);
    print_value(low, sizeof low, m->metric, m->low);
    print_value(high, sizeof high, m->metric, m->high);
    vt_text_printf(text, "    %-11s %8s (n=%d)  %s %s", m->metric->name, value, m->n, what, mean);
    if (m->n_base > 1)
        vt_text_printf(text, " ± %s", sd);
    vt_text_printf(text, " (n=%d)", m->n_base);
    if (!isnan(m->low))
        vt_text_printf(text, "  expected in [%s, %s]", low, high);
    if (m->verdict == VT_FINDING_FAIL || m->verdict == VT_FINDING_BETTER)
        vt_text_printf(text, "  %s", m->verdict == VT_FINDING_FAIL ? "worse" : "better");
    vt_text_printf(text, "\n");
}

void vt_judgement_lines(const vt_judgement *j, vt_text *text)
{
    for (int i = 0; i < j->n_metrics; i++)
        print_metric(&j->metric[i], "baseline", text);
    for (int i = 0; i < j->n_drift; i++)
        if (j->drift[i].verdict == VT_FINDING_FAIL)
            print_metric(&j->drift[i], "drift: the oldest baseline had", text);
    if (j->slow)
        vt_text_printf(text,
                       "    speed       %.2f times slower than the baseline on this machine\n",
                       j->slower);
}

static json_t *pack_metrics(const vt_judged_metric *metric, int n)
{
    json_t *list = json_array();
    for (int i = 0; i < n; i++) {
        const vt_judged_metric *m = &metric[i];
        json_t *row = json_pack("{s:s, s:s, s:o, s:o, s:i, s:o, s:o, s:i, s:o, s:o}", "metric",
                                m->metric->name, "state", vt_finding_word(m->verdict), "mean",
                                vt_json_real(m->value), "sd", vt_json_real(m->value_sd), "n", m->n,
                                "baseline_mean", vt_json_real(m->mean), "baseline_sd",
                                vt_json_real(m->sd), "baseline_n", m->n_base, "low",
                                vt_json_real(m->low), "high", vt_json_real(m->high));
        if (!list || !row || json_array_append_new(list, row) != 0) {
            json_decref(list);
            return NULL;
        }
    }
    return list;
}

json_t *vt_judgement_json(const vt_judgement *j)
{
    return json_pack("{s:s, s:s, s:i, s:i, s:b, s:o, s:o, s:b, s:o, s:b}", "state",
                     vt_finding_word(j->verdict), "reason", j->reason, "runs", j->n_runs,
                     "same_bits", j->n_same, "statistical", j->statistical, "metrics",
                     pack_metrics(j->metric, j->n_metrics), "drift",
                     pack_metrics(j->drift, j->n_drift), "drifted", j->drifted, "slower",
                     vt_json_real(j->slower), "slow", j->slow);
}
