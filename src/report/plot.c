#include "report/plot.h"

#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"
#include "report/figure.h"
#include "results/gnuplot.h"
#include "results/runs.h"

#include <fcntl.h>
#include <stdio.h>

#define RUN_DATA "curves.tsv"

/* What is asked for, and what was found out on the way. */
struct plotting {
    const vt_plot_options *options;
    vt_text templates;
    vt_drawer drawer;
    char formats[VT_FORMATS_TEXT];
};

/* A run that has something to show. */
struct drawn {
    vt_run_place place;
    vt_plotdata data;
    char file[VT_NAME_MAX + 8]; /* its data in the comparison */
};

static vt_status publish_data(int dir_fd, const char *name, const vt_plotdata *data, vt_error *err)
{
    vt_text text = {0};
    vt_plotdata_print(data, &text);
    vt_status status = vt_draw_publish(dir_fd, name, &text, err);
    vt_text_release(&text);
    return status;
}

/* Writes the script and draws its figures in the folder. */
static vt_status draw(struct plotting *p, int dir_fd, const char *folder, const vt_figure *figure,
                      vt_error *err)
{
    vt_text numbers = {0};
    vt_figure_print(figure, &numbers);
    vt_status status =
        vt_draw_figure(&p->drawer, dir_fd, folder, figure->name, &numbers, &p->templates, err);
    vt_text_release(&numbers);
    return status;
}

static vt_status draw_run(struct plotting *p, const struct drawn *run, vt_error *err)
{
    static const struct {
        const char *name;
        vt_panel first;
        int n;
    } figures[] = {
        {"loss", VT_PANEL_LOSS, 1},
        {"accuracy", VT_PANEL_ACCURACY, 1},
        {"learning_rate", VT_PANEL_RATE, 1},
        {"stacked", VT_PANEL_LOSS, VT_PANEL_COUNT},
    };
    char folder[PATH_MAX + 8];
    int run_fd = -1, fd = -1;
    snprintf(folder, sizeof folder, "%s/plots", run->place.path);
    vt_status status = vt_fs_open_dir(AT_FDCWD, run->place.path, &run_fd, err);
    if (status == VT_OK)
        status = vt_fs_make_dirs(run_fd, "plots", &fd, err);
    if (status == VT_OK)
        status = publish_data(fd, RUN_DATA, &run->data, err);
    for (size_t i = 0; i < sizeof figures / sizeof *figures && status == VT_OK; i++) {
        const vt_figure_run shown = {&run->data, RUN_DATA};
        const vt_figure figure = {figures[i].name,  p->formats,  &shown, 1,
                                  figures[i].first, figures[i].n};
        status = draw(p, fd, folder, &figure, err);
    }
    vt_fs_close(&fd);
    vt_fs_close(&run_fd);
    return status;
}

static vt_status show_run(struct plotting *p, const struct drawn *run, vt_error *err)
{
    const vt_figure_run shown = {&run->data, VT_GNUPLOT_DATA};
    const vt_figure figure = {"stacked", "dumb", &shown, 1, VT_PANEL_LOSS, VT_PANEL_COUNT};
    vt_text script = {0}, data = {0};
    vt_figure_print(&figure, &script);
    vt_text_append(&script, p->templates.data, p->templates.size);
    vt_plotdata_print(&run->data, &data);
    printf("%s\n", run->place.path);
    fflush(stdout);
    vt_status status = script.failed || data.failed
                           ? vt_fail(err, VT_ERR_NOMEM, "no memory for the figure")
                           : vt_gnuplot_show(&script, &data, err);
    vt_text_release(&script);
    vt_text_release(&data);
    return status;
}

static vt_status draw_all(struct plotting *p, struct drawn *runs, int n, vt_error *err)
{
    char folder[PATH_MAX + 8];
    int results_fd = -1, fd = -1;
    vt_figure_run *shown = vt_calloc((size_t)n, sizeof *shown);
    if (!shown)
        return vt_fail(err, VT_ERR_NOMEM, "no memory for the figure of all runs");
    snprintf(folder, sizeof folder, "%s/plots", p->options->results);
    vt_status status = vt_fs_open_dir(AT_FDCWD, p->options->results, &results_fd, err);
    if (status == VT_OK)
        status = vt_fs_make_dirs(results_fd, "plots", &fd, err);
    for (int i = 0; i < n && status == VT_OK; i++) {
        snprintf(runs[i].file, sizeof runs[i].file, "%.*s.tsv", VT_NAME_MAX - 4, runs[i].place.exp);
        shown[i] = (vt_figure_run){&runs[i].data, runs[i].file};
        status = publish_data(fd, runs[i].file, &runs[i].data, err);
    }
    const vt_figure figure = {"compare", p->formats, shown, n, VT_PANEL_LOSS, VT_PANEL_COUNT};
    if (status == VT_OK)
        status = draw(p, fd, folder, &figure, err);
    vt_fs_close(&fd);
    vt_fs_close(&results_fd);
    vt_free(shown);
    return status;
}

/* Reads the runs; those that cannot be shown are left out, with a word about it. */
static vt_status load(const vt_run_list *list, struct drawn *runs, int *n, vt_error *err)
{
    vt_status status = VT_OK;
    for (int i = 0; i < list->n && status == VT_OK; i++) {
        struct drawn *run = &runs[*n];
        vt_history history = {0};
        vt_error reason = {0};
        int fd = -1;
        run->place = list->run[i];
        vt_status read = vt_fs_open_dir(AT_FDCWD, run->place.path, &fd, &reason);
        if (read == VT_OK)
            read = vt_history_read(&history, fd, &reason);
        if (read != VT_OK && list->n == 1)
            status = vt_fail(err, read, "%s", reason.text);
        else if (read != VT_OK)
            vt_log_write(VT_LOG_WARNING, "left out: %s", reason.text);
        else
            status = vt_plotdata_make(&run->data, &history, err);
        if (run->data.n > 0)
            ++*n;
        else if (read == VT_OK && status == VT_OK)
            vt_log_write(VT_LOG_WARNING, "%s: left out, because no epoch is finished yet",
                         run->place.path);
        if (run->data.n == 0)
            vt_plotdata_release(&run->data);
        vt_history_release(&history);
        vt_fs_close(&fd);
    }
    return status;
}

static vt_status select_runs(const vt_plot_options *options, vt_run_list *list, vt_error *err)
{
    vt_status status = VT_OK;
    if (options->n_runs == 0) {
        status = vt_runs_list(list, options->results, err);
        vt_runs_keep_newest(list);
        return status;
    }
    list->run = vt_calloc((size_t)options->n_runs, sizeof *list->run);
    if (!list->run)
        return vt_fail(err, VT_ERR_NOMEM, "no memory for %d runs", options->n_runs);
    for (int i = 0; i < options->n_runs && status == VT_OK; i++)
        status = vt_runs_find(&list->run[list->n++], options->results, options->runs[i], err);
    return status;
}

static vt_status draw_runs(struct plotting *p, struct drawn *runs, int n, vt_error *err)
{
    vt_status status = VT_OK;
    for (int i = 0; i < n && status == VT_OK; i++)
        status = p->options->terminal ? show_run(p, &runs[i], err) : draw_run(p, &runs[i], err);
    if (status == VT_OK && !p->options->terminal && p->options->n_runs == 0)
        status = draw_all(p, runs, n, err);
    return status == VT_OK ? vt_draw_finish(&p->drawer, err) : status;
}

vt_status vt_plot(const vt_plot_options *options, vt_error *err)
{
    struct plotting p = {
        .options = options,
        .drawer = {.formats = options->formats, .maker = "vitrine plot", .list = stdout}};
    struct drawn *runs = NULL;
    vt_run_list list = {0};
    int n = 0;
    vt_formats_text(&options->formats, p.formats);
    vt_status status = select_runs(options, &list, err);
    if (status == VT_OK)
        status = vt_draw_templates(&p.templates, "panels.gp", err);
    if (status != VT_OK)
        goto done;
    runs = vt_calloc((size_t)list.n + 1, sizeof *runs);
    status = runs ? load(&list, runs, &n, err)
                  : vt_fail(err, VT_ERR_NOMEM, "no memory for %d runs", list.n);
    if (status == VT_OK && n == 0)
        status =
            vt_fail(err, VT_ERR_NOINPUT, "no run with a finished epoch in %s", options->results);
    if (status == VT_OK)
        status = draw_runs(&p, runs, n, err);
done:
    for (int i = 0; i < n; i++)
        vt_plotdata_release(&runs[i].data);
    vt_free(runs);
    vt_runs_release(&list);
    vt_text_release(&p.templates);
    return status;
}
