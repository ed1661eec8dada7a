#include "report/plot.h"

#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"
#include "report/charts.h"
#include "report/figure.h"
#include "report/outcome.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

vt_status vt_plot_parse_kinds(vt_plot_options *options, const char *text, vt_error *err)
{
    for (const char *word = text;; word++) {
        size_t size = strcspn(word, ",");
        int k = 0;
        while (k < VT_FIGURE_COUNT && (strlen(vt_figure_word((vt_figure_kind)k)) != size ||
                                       strncmp(vt_figure_word((vt_figure_kind)k), word, size) != 0))
            k++;
        if (k == VT_FIGURE_COUNT)
            return vt_fail(err, VT_ERR_USAGE,
                           "--kind takes loss, accuracy, lr, gradnorm, speed, confusion, "
                           "calibration and classes with commas between, not '%.*s'",
                           (int)size, word);
        options->kind[k] = options->kinds = true;
        word += size;
        if (!*word)
            return VT_OK;
    }
}

/* Opens the folder `name` in the folder `path`, making it. */
static vt_status open_below(const char *path, const char *name, char folder[PATH_MAX], int *fd,
                            vt_error *err)
{
    vt_error reason = {0};
    int parent = -1;
    snprintf(folder, PATH_MAX, "%.*s/%s", PATH_MAX - 16, path, name);
    vt_status status = vt_fs_open_dir(AT_FDCWD, path, &parent, &reason);
    if (status == VT_OK)
        status = vt_fs_make_dirs(parent, name, fd, &reason);
    vt_fs_close(&parent);
    if (status != VT_OK)
        return vt_fail(err, status, "%s; --out DIR puts the figures elsewhere", reason.text);
    return VT_OK;
}

static vt_status open_out(const char *out, char folder[PATH_MAX], int *fd, vt_error *err)
{
    snprintf(folder, PATH_MAX, "%s", out);
    if (mkdir(out, 0777) != 0 && errno != EEXIST)
        return vt_fail(err, VT_ERR_CANTCREATE, "%s: cannot make the folder: %s", out,
                       strerror(errno));
    return vt_fs_open_dir(AT_FDCWD, out, fd, err);
}

static double width_of(const vt_plot_options *o, int groups)
{
    if (o->figure.width > 0)
        return o->figure.width;
    return groups > 1 ? VT_WIDTH_DOUBLE : VT_WIDTH_SINGLE;
}

/* A run's own figures. */
static vt_status draw_own(vt_drawer *drawer, const vt_plot_options *o, const vt_group *group,
                          vt_error *err)
{
    static const struct {
        const char *name;
        vt_charts_kind kind;
    } figures[] = {{"loss", VT_CHARTS_LOSS},
                   {"accuracy", VT_CHARTS_ACCURACY},
                   {"learning_rate", VT_CHARTS_RATE},
                   {"stacked", VT_CHARTS_RUN}};
    const vt_groups alone = {(vt_group *)group, 1};
    char folder[PATH_MAX];
    int fd = -1;
    vt_status status = o->out ? open_out(o->out, folder, &fd, err)
                              : open_below(group->run[0].path, "plots", folder, &fd, err);
    for (size_t i = 0; i < sizeof figures / sizeof *figures && status == VT_OK; i++) {
        const vt_place place = {drawer, fd, folder, figures[i].name, width_of(o, 1)};
        const vt_charts_options charts = {.kind = figures[i].kind, .log = o->figure.log};
        status = vt_charts_draw(&place, &alone, &charts, err);
    }
    vt_fs_close(&fd);
    return status;
}

static vt_status show_own(const vt_plot_options *o, const vt_group *group, vt_error *err)
{
    const vt_groups alone = {(vt_group *)group, 1};
    const vt_charts_options charts = {.kind = VT_CHARTS_RUN, .log = o->figure.log};
    printf("%s\n", group->run[0].path);
    fflush(stdout);
    return vt_charts_show(&alone, &charts, err);
}

static vt_status draw_compare(vt_drawer *drawer, const vt_plot_options *o, const vt_groups *groups,
                              vt_error *err)
{
    const vt_charts_options charts = {.kind = VT_CHARTS_RUN, .log = o->figure.log, .apart = true};
    char folder[PATH_MAX];
    int fd = -1;
    vt_status status = o->out ? open_out(o->out, folder, &fd, err)
                              : open_below(o->results, "plots", folder, &fd, err);
    const vt_place place = {drawer, fd, folder, "compare",
                            o->figure.width > 0 ? o->figure.width : VT_WIDTH_DOUBLE};
    if (status == VT_OK)
        status = vt_charts_draw(&place, groups, &charts, err);
    vt_fs_close(&fd);
    return status;
}

/* Every run by itself: each experiment's newest, or the one that was named. */
static vt_status plot_own(vt_drawer *drawer, const vt_plot_options *o, const vt_groups *groups,
                          vt_error *err)
{
    vt_status status = VT_OK;
    /* One folder cannot hold the own figures of several runs. */
    int own = o->out && !o->terminal && groups->n > 1 ? 0 : groups->n;
    for (int g = 0; g < own && status == VT_OK; g++)
        status = o->terminal ? show_own(o, &groups->group[g], err)
                             : draw_own(drawer, o, &groups->group[g], err);
    if (status == VT_OK && !o->terminal && o->n_runs == 0)
        status = draw_compare(drawer, o, groups, err);
    return status;
}

/* The chosen kinds, with all groups in each. */
static vt_status plot_kinds(vt_drawer *drawer, const vt_plot_options *o, const vt_groups *groups,
                            vt_error *err)
{
    vt_figure_options options = o->figure;
    bool alone = groups->n == 1 && groups->group[0].n_runs == 1;
    char folder[PATH_MAX];
    int fd = -1;
    vt_status status = VT_OK;
    options.width = width_of(o, groups->n);
    if (!o->terminal && o->out)
        status = open_out(o->out, folder, &fd, err);
    else if (!o->terminal)
        status = open_below(alone ? groups->group[0].run[0].path : o->results, "plots", folder, &fd,
                            err);
    for (int k = 0; k < VT_FIGURE_COUNT && status == VT_OK; k++) {
        bool chosen = o->kinds ? o->kind[k] : k <= VT_FIGURE_ACCURACY;
        if (chosen && o->terminal)
            status = vt_figure_show((vt_figure_kind)k, groups, &options, err);
        else if (chosen)
            status = vt_figure_draw(drawer, fd, folder, (vt_figure_kind)k, groups, &options, err);
    }
    vt_fs_close(&fd);
    return status;
}

/* The places of the runs meant; a word for an experiment means all its seeds if `seeds`. */
static vt_status find_runs(const vt_plot_options *o, bool seeds, vt_run_list *list, vt_error *err)
{
    vt_outcome_list outcomes = {0};
    vt_status status = VT_OK;
    if (o->n_runs == 0 && !seeds) {
        status = vt_runs_list(list, o->results, err);
        vt_runs_keep_newest(list);
        return status;
    }
    vt_run_list experiments = {0};
    const char *const *words = o->runs;
    const char **found = NULL;
    int n_words = o->n_runs;
    if (n_words == 0) { /* every experiment, by name */
        status = vt_runs_list(&experiments, o->results, err);
        vt_runs_keep_newest(&experiments);
        n_words = experiments.n;
        found = vt_calloc((size_t)n_words + 1, sizeof *found);
        for (int i = 0; found && i < n_words; i++)
            found[i] = experiments.run[i].exp;
        words = found;
    }
    if (status == VT_OK && n_words > 0 && words)
        status = vt_outcomes_read(&outcomes, o->results, words, n_words, seeds, err);
    list->run = vt_calloc((size_t)outcomes.n + 1, sizeof *list->run);
    if (status == VT_OK && (!list->run || !words))
        status = vt_fail(err, VT_ERR_NOMEM, "no memory for %d runs", outcomes.n);
    for (int i = 0; i < outcomes.n && status == VT_OK; i++)
        list->run[list->n++] = outcomes.run[i].place;
    vt_outcomes_release(&outcomes);
    vt_runs_release(&experiments);
    vt_free(found);
    return status;
}

vt_status vt_plot(const vt_plot_options *o, vt_error *err)
{
    vt_drawer drawer = {.formats = o->formats, .maker = "vitrine plot", .list = stdout};
    bool own = !o->kinds && (o->n_runs == 0 || (o->n_runs == 1 && !o->each));
    vt_run_list list = {0};
    vt_groups groups = {0};
    vt_text templates = {0};
    vt_status status = find_runs(o, !own, &list, err);
    if (status == VT_OK)
        status = vt_draw_templates(&templates, "panels.gp", err);
    if (status == VT_OK && list.n == 0)
        status = vt_fail(err, VT_ERR_NOINPUT, "no run in %s", o->results);
    if (status == VT_OK)
        status = vt_groups_read(&groups, list.run, list.n, o->each, err);
    if (status == VT_OK)
        status = own ? plot_own(&drawer, o, &groups, err) : plot_kinds(&drawer, o, &groups, err);
    if (status == VT_OK)
        status = vt_draw_finish(&drawer, err);
    vt_groups_release(&groups);
    vt_runs_release(&list);
    vt_text_release(&templates);
    return status;
}
