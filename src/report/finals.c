#include "report/finals.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

static const char *const metrics[] = {
    "params",    "train.loss", "train.top1", "val.loss",      "val.top1",       "test.loss",
    "test.top1", "test.top5",  "best.epoch", "best.val.top1", "best.test.top1", "images_per_s"};
enum { N_METRICS = sizeof metrics / sizeof *metrics };

static bool readable(const vt_outcome *run)
{
    return run->state != VT_RUN_BROKEN;
}

static bool wanted(const char *name, const vt_outcome_list *list)
{
    const vt_metric *metric = vt_metric_find(name);
    bool best = strncmp(name, "best.", 5) == 0, any = false;
    for (int i = 0; i < list->n; i++) {
        const vt_outcome *run = &list->run[i];
        any |= readable(run) && (!best || strcmp(run->select, "last") != 0) &&
               !isnan(vt_outcome_metric(run, metric));
    }
    return any;
}

static void add_metric(vt_table *table, const vt_outcome *run, const vt_metric *metric)
{
    char text[48];
    double value = vt_outcome_metric(run, metric);
    if (isnan(value))
        vt_table_text(table, NULL);
    else if (strcmp(metric->unit, "share") == 0)
        snprintf(text, sizeof text, "%.2f %%", 100 * value);
    else if (strcmp(metric->unit, "nat") == 0)
        snprintf(text, sizeof text, "%.4f", value);
    else
        snprintf(text, sizeof text, "%.0f", value);
    if (!isnan(value))
        vt_table_real(table, value, text);
}

static void add_run(vt_table *table, const vt_outcome *run, const bool *shown)
{
    char seed[24], epochs[48];
    snprintf(seed, sizeof seed, "%" PRIu64, run->seed);
    snprintf(epochs, sizeof epochs, "%" PRId64 "/%" PRId64, run->epoch, run->epochs);
    vt_table_row(table);
    vt_table_text(table, run->exp_name);
    vt_table_text(table, run->run_id);
    vt_table_text(table, seed);
    vt_table_text(table, vt_run_state_word(run->state));
    vt_table_text(table, epochs);
    for (int i = 0; i < N_METRICS; i++)
        if (shown[i])
            add_metric(table, run, vt_metric_find(metrics[i]));
}

void vt_finals_table(vt_table *table, const vt_outcome_list *list)
{
    bool shown[N_METRICS];
    vt_table_column(table, "exp", VT_LEFT);
    vt_table_column(table, "run_id", VT_LEFT);
    vt_table_column(table, "seed", VT_RIGHT);
    vt_table_column(table, "state", VT_LEFT);
    vt_table_column(table, "epochs", VT_RIGHT);
    for (int i = 0; i < N_METRICS; i++) {
        shown[i] = wanted(metrics[i], list);
        if (shown[i])
            vt_table_column(table, metrics[i], VT_RIGHT);
    }
    for (int i = 0; i < list->n; i++)
        if (readable(&list->run[i]))
            add_run(table, &list->run[i], shown);
}
