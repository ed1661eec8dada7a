#include "report/groups.h"

#include "base/log.h"
#include "base/mem.h"
#include "report/escape.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { POINTS_MAX = 600, ID_SHOWN = 6 };

struct loaded {
    const vt_run_place *place;
    char exp[VT_NAME_MAX + 1], exp_id[VT_SHA256_HEX_SIZE], run_id[VT_NAME_MAX + 1];
    uint64_t seed;
    int group; /* -1: left out */
    vt_series series[VT_QUANTITY_COUNT];
};

static vt_status take(struct loaded *run, const vt_history *h, const vt_perf *perf, int64_t n_perf,
                      vt_error *err)
{
    vt_status status = VT_OK;
    snprintf(run->exp, sizeof run->exp, "%s", h->info.exp_name);
    snprintf(run->exp_id, sizeof run->exp_id, "%s", h->info.exp_id);
    snprintf(run->run_id, sizeof run->run_id, "%s", h->info.run_id);
    run->seed = h->info.seed;
    for (int q = 0; q < VT_QUANTITY_COUNT && status == VT_OK; q++)
        status = vt_series_take(&run->series[q], (vt_quantity)q, h, perf, n_perf, err);
    return status;
}

/* `reason` gets why the run cannot be shown; *err only a lack of memory. */
static vt_status load(struct loaded *run, const vt_run_place *place, vt_error *reason,
                      vt_error *err)
{
    vt_history history = {0};
    vt_perf *perf = NULL;
    int fd = -1;
    *run = (struct loaded){.place = place, .group = -1};
    vt_status status = VT_OK, read = vt_fs_open_dir(AT_FDCWD, place->path, &fd, reason);
    if (read == VT_OK)
        read = vt_history_read(&history, fd, reason);
    if (read == VT_OK && history.n_epochs + history.n_eval[VT_SPLIT_TEST] == 0)
        vt_fail(reason, VT_ERR_NOINPUT, "%s: no epoch is finished yet", place->path);
    else if (read == VT_OK) {
        int64_t n = vt_perf_read(fd, &perf);
        status = take(run, &history, perf, n, err);
    }
    vt_free(perf);
    vt_history_release(&history);
    vt_fs_close(&fd);
    return status;
}

/* Puts the runs into groups, in the order of each one's first; returns how many there are. */
static int sort_out(struct loaded *run, int n, bool each)
{
    int groups = 0;
    for (int i = 0; i < n; i++) {
        bool twice = false;
        for (int k = 0; k < i; k++) {
            bool same =
                strcmp(run[k].exp, run[i].exp) == 0 && strcmp(run[k].exp_id, run[i].exp_id) == 0;
            twice |= strcmp(run[k].place->path, run[i].place->path) == 0 ||
                     (same && strcmp(run[k].run_id, run[i].run_id) == 0 && !each);
            if (same && !each && run[k].group >= 0)
                run[i].group = run[k].group;
        }
        if (twice)
            run[i].group = -1;
        else if (run[i].group < 0)
            run[i].group = groups++;
    }
    return groups;
}

static vt_status fill(vt_group *group, int g, const struct loaded *run, int n, vt_error *err)
{
    vt_series *of_runs = vt_calloc((size_t)n, sizeof *of_runs);
    group->run = vt_calloc((size_t)n, sizeof *group->run);
    vt_status status = VT_OK;
    if (!of_runs || !group->run)
        status = vt_fail(err, VT_ERR_NOMEM, "no memory for %d runs", n);
    for (int i = 0; i < n && status == VT_OK; i++) {
        if (run[i].group != g)
            continue;
        if (group->n_runs == 0)
            group->seed = run[i].seed;
        group->run[group->n_runs++] = *run[i].place;
    }
    for (int q = 0; q < VT_QUANTITY_COUNT && status == VT_OK; q++) {
        int members = 0;
        for (int i = 0; i < n; i++)
            if (run[i].group == g)
                of_runs[members++] = run[i].series[q];
        status = vt_series_fold(&group->series[q], of_runs, members, err);
        vt_series_thin(&group->series[q], POINTS_MAX);
    }
    vt_free(of_runs);
    return status;
}

static const struct loaded *first_of(const struct loaded *run, int n, int g)
{
    for (int i = 0; i < n; i++)
        if (run[i].group == g)
            return &run[i];
    return NULL;
}

static void name_group(vt_groups *groups, int g, const struct loaded *run, int n, bool each)
{
    vt_group *group = &groups->group[g];
    const struct loaded *first = first_of(run, n, g);
    vt_text name = {0};
    bool shared = false, same_seed = false;
    for (int i = 0; i < groups->n; i++) {
        const struct loaded *other = first_of(run, n, i);
        if (i == g || strcmp(other->exp, first->exp) != 0)
            continue;
        shared |= strcmp(other->exp_id, first->exp_id) != 0;
        same_seed |= other->seed == first->seed && strcmp(other->exp_id, first->exp_id) == 0;
    }
    vt_escape(&name, VT_ESCAPE_SHOWN, first->exp);
    if (shared)
        vt_text_printf(&name, " %.*s", ID_SHOWN, first->exp_id);
    if (each)
        vt_text_printf(&name, " seed %" PRIu64, first->seed);
    if (each && same_seed)
        vt_text_printf(&name, " %.*s", ID_SHOWN, first->run_id);
    snprintf(group->name, sizeof group->name, "%s", name.data ? name.data : "?");
    vt_text_release(&name);
}

vt_status vt_groups_read(vt_groups *groups, const vt_run_place *runs, int n, bool each,
                         vt_error *err)
{
    struct loaded *run = vt_calloc((size_t)n + 1, sizeof *run);
    vt_error reason = {0};
    vt_status status = VT_OK;
    int kept = 0;
    *groups = (vt_groups){0};
    if (!run)
        return vt_fail(err, VT_ERR_NOMEM, "no memory for %d runs", n);
    for (int i = 0; i < n && status == VT_OK; i++) {
        vt_error why = {0};
        status = load(&run[kept], &runs[i], &why, err);
        if (why.status == VT_OK) {
            kept++;
            continue;
        }
        reason = why;
        if (n > 1)
            vt_log_write(VT_LOG_WARNING, "left out: %s", why.text);
    }
    if (status == VT_OK && kept == 0)
        status = vt_fail(err, n == 1 ? reason.status : VT_ERR_NOINPUT, "%s",
                         n == 1 ? reason.text : "no run with a finished epoch");
    if (status != VT_OK)
        goto done;
    groups->n = sort_out(run, kept, each);
    groups->group = vt_calloc((size_t)groups->n, sizeof *groups->group);
    if (!groups->group) {
        groups->n = 0;
        status = vt_fail(err, VT_ERR_NOMEM, "no memory for %d runs", n);
    }
    for (int g = 0; g < groups->n && status == VT_OK; g++) {
        status = fill(&groups->group[g], g, run, kept, err);
        name_group(groups, g, run, kept, each);
    }
done:
    for (int i = 0; i <= kept && i < n; i++)
        for (int q = 0; q < VT_QUANTITY_COUNT; q++)
            vt_series_release(&run[i].series[q]);
    vt_free(run);
    return status;
}

void vt_groups_release(vt_groups *groups)
{
    for (int g = 0; g < groups->n; g++) {
        for (int q = 0; q < VT_QUANTITY_COUNT; q++)
            vt_series_release(&groups->group[g].series[q]);
        vt_free(groups->group[g].run);
    }
    vt_free(groups->group);
    *groups = (vt_groups){0};
}
