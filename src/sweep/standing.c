#include "sweep/standing.h"

#include "base/mem.h"
#include "results/stats.h"

#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

vt_status vt_standing_read(const vt_sweep *sweep, int run, const char *results, vt_outcome *outcome,
                           vt_error *err)
{
    vt_run_place place;
    char journal[PATH_MAX + 16];
    struct stat info;
    vt_sweep_place(sweep, run, results, &place);
    snprintf(journal, sizeof journal, "%s/journal", place.path);
    if (fstatat(AT_FDCWD, journal, &info, AT_SYMLINK_NOFOLLOW) == 0) {
        place.changed = info.st_mtim;
        return vt_outcome_read(outcome, &place, err);
    }
    *outcome = (vt_outcome){
        .place = place, .state = VT_RUN_QUEUED, .seed = (uint64_t)sweep->run[run].seed};
    snprintf(outcome->exp_name, sizeof outcome->exp_name, "%s", sweep->exp_name);
    snprintf(outcome->run_id, sizeof outcome->run_id, "%s", sweep->run[run].run_id);
    return VT_OK;
}

vt_status vt_standing_read_all(vt_standing *standing, const vt_sweep *sweep, const char *results,
                               vt_error *err)
{
    vt_status status = VT_OK;
    *standing = (vt_standing){.run = vt_calloc((size_t)sweep->n_runs, sizeof *standing->run)};
    if (!standing->run)
        return vt_fail(err, VT_ERR_NOMEM, "no memory for %d runs", sweep->n_runs);
    for (int i = 0; i < sweep->n_runs && status == VT_OK; i++) {
        status = vt_standing_read(sweep, i, results, &standing->run[i], err);
        standing->n_runs++;
        standing->n_done += standing->run[i].state == VT_RUN_DONE;
    }
    return status;
}

void vt_standing_release(vt_standing *standing)
{
    for (int i = 0; i < standing->n_runs; i++)
        vt_outcome_release(&standing->run[i]);
    vt_free(standing->run);
    *standing = (vt_standing){0};
}

static void put_share(vt_table *table, const vt_summary_eval *eval)
{
    char text[32];
    snprintf(text, sizeof text, "%.2f %%", 100 * eval->top1);
    vt_table_real(table, eval->known ? eval->top1 : NAN, eval->known ? text : NULL);
}

void vt_standing_runs(const vt_standing *standing, const vt_sweep *sweep, vt_table *table)
{
    vt_table_column(table, "row", VT_RIGHT);
    for (int k = 0; k < sweep->n_keys; k++)
        vt_table_column(table, sweep->key[k], VT_RIGHT);
    vt_table_column(table, "seed", VT_RIGHT);
    vt_table_column(table, "run", VT_LEFT);
    vt_table_column(table, "state", VT_LEFT);
    vt_table_column(table, "epoch", VT_RIGHT);
    vt_table_column(table, "test.top1", VT_RIGHT);
    vt_table_column(table, "test.loss", VT_RIGHT);
    for (int i = 0; i < sweep->n_runs; i++) {
        const vt_outcome *outcome = &standing->run[i];
        const vt_summary_eval *test = &outcome->last[VT_SPLIT_TEST];
        char epoch[64] = "", loss[32];
        if (outcome->epochs > 0)
            snprintf(epoch, sizeof epoch, "%" PRId64 "/%" PRId64, outcome->epoch, outcome->epochs);
        vt_table_row(table);
        vt_table_integer(table, i, NULL);
        for (int k = 0; k < sweep->n_keys; k++)
            vt_table_text(table, sweep->run[i].value[k]);
        vt_table_integer(table, sweep->run[i].seed, NULL);
        vt_table_text(table, sweep->run[i].run_id);
        vt_table_text(table, vt_run_state_word(outcome->state));
        vt_table_integer(table, outcome->epoch, epoch);
        put_share(table, test);
        snprintf(loss, sizeof loss, "%.4f", test->loss);
        vt_table_real(table, test->known ? test->loss : NAN, test->known ? loss : NULL);
    }
}

/* Mean and deviation of a metric over the runs [first, last) that are done and have it. */
static void put_metric(vt_table *table, const vt_standing *standing, int first, int last,
                       const char *name, double *room)
{
    const vt_metric *metric = vt_metric_find(name);
    bool share = strcmp(metric->unit, "share") == 0;
    char text[32];
    int n = 0;
    for (int i = first; i < last; i++) {
        double x = vt_outcome_metric(&standing->run[i], metric);
        if (standing->run[i].state == VT_RUN_DONE && !isnan(x))
            room[n++] = x;
    }
    double mean = n ? vt_stats_mean(room, n) : NAN, sd = vt_stats_sd(room, n);
    snprintf(text, sizeof text, share ? "%.2f %%" : "%.4f", share ? 100 * mean : mean);
    vt_table_real(table, mean, isnan(mean) ? NULL : text);
    snprintf(text, sizeof text, share ? "%.2f %%" : "%.4f", share ? 100 * sd : sd);
    vt_table_real(table, sd, isnan(sd) ? NULL : text);
}

void vt_standing_settings(const vt_standing *standing, const vt_sweep *sweep, vt_table *table)
{
    static const char *const metrics[] = {"test.top1", "test.loss", "train.loss"};
    enum { N_METRICS = sizeof metrics / sizeof *metrics };
    double *room = vt_calloc((size_t)sweep->n_runs, sizeof *room);
    table->failed |= !room;
    for (int k = 0; k < sweep->n_keys; k++)
        vt_table_column(table, sweep->key[k], VT_RIGHT);
    vt_table_column(table, "runs", VT_RIGHT);
    vt_table_column(table, "done", VT_RIGHT);
    for (int m = 0; m < N_METRICS; m++) {
        char name[64];
        snprintf(name, sizeof name, "%s.sd", metrics[m]);
        vt_table_column(table, metrics[m], VT_RIGHT);
        vt_table_column(table, name, VT_RIGHT);
    }
    for (int first = 0, last; room && first < sweep->n_runs; first = last) {
        int done = 0;
        for (last = first;
             last < sweep->n_runs && sweep->run[last].setting == sweep->run[first].setting; last++)
            done += standing->run[last].state == VT_RUN_DONE;
        vt_table_row(table);
        for (int k = 0; k < sweep->n_keys; k++)
            vt_table_text(table, sweep->run[first].value[k]);
        vt_table_integer(table, last - first, NULL);
        vt_table_integer(table, done, NULL);
        for (int m = 0; m < N_METRICS; m++)
            put_metric(table, standing, first, last, metrics[m], room);
    }
    vt_free(room);
}

json_t *vt_standing_json(const vt_standing *standing, const vt_sweep *sweep)
{
    vt_table runs, settings;
    vt_table_init(&runs);
    vt_table_init(&settings);
    vt_standing_runs(standing, sweep, &runs);
    vt_standing_settings(standing, sweep, &settings);
    json_t *root =
        json_pack("{s:i, s:s, s:s, s:i, s:i, s:o, s:o}", "schema", 1, "name", sweep->name,
                  "exp_name", sweep->exp_name, "n_runs", sweep->n_runs, "n_done", standing->n_done,
                  "runs", vt_table_json(&runs), "settings", vt_table_json(&settings));
    vt_table_release(&runs);
    vt_table_release(&settings);
    return root;
}
