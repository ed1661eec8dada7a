#include "results/plot.h"

#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"
#include "results/history.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

enum { MAX_RUNS = 4096, TEMPLATE_CAP = 1 << 16, FIGURE_CAP = 1 << 26 };

/* A run that may be drawn. */
struct run {
    char exp[VT_NAME_MAX + 1], id[VT_NAME_MAX + 1];
    struct timespec changed; /* its journal */
};

struct list {
    struct run *run;
    int n;
    char exp[VT_NAME_MAX + 1]; /* being read */
    int exp_fd;
};

/* One figure to draw in a folder. */
struct figure {
    const char *name;
    const char *title;
    int panels;
    int64_t first_epoch, last_epoch;
    bool has_val;
    const char *data;          /* file */
    const char *files, *names; /* of a comparison: one word a run; else NULL */
};

static bool newer(const struct run *a, const struct run *b)
{
    if (a->changed.tv_sec != b->changed.tv_sec)
        return a->changed.tv_sec > b->changed.tv_sec;
    if (a->changed.tv_nsec != b->changed.tv_nsec)
        return a->changed.tv_nsec > b->changed.tv_nsec;
    return strcmp(a->id, b->id) > 0;
}

static void add_run(void *arg, const char *name)
{
    struct list *list = arg;
    struct stat journal;
    char path[2 * VT_NAME_MAX];
    snprintf(path, sizeof path, "%s/journal", name);
    if (list->n == MAX_RUNS || strlen(name) > VT_NAME_MAX || strstr(name, ".old-") ||
        fstatat(list->exp_fd, path, &journal, AT_SYMLINK_NOFOLLOW) != 0)
        return;
    struct run *run = &list->run[list->n++];
    snprintf(run->exp, sizeof run->exp, "%s", list->exp);
    snprintf(run->id, sizeof run->id, "%s", name);
    run->changed = journal.st_mtim;
}

struct walk {
    struct list *list;
    int results_fd;
};

static void add_experiment(void *arg, const char *name)
{
    struct walk *walk = arg;
    vt_error ignored = {0};
    struct list *list = walk->list;
    if (!vt_fs_name_ok(name) || strcmp(name, "baselines") == 0 || strcmp(name, "plots") == 0)
        return;
    list->exp_fd = openat(walk->results_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (list->exp_fd < 0)
        return;
    snprintf(list->exp, sizeof list->exp, "%s", name);
    vt_fs_list(list->exp_fd, add_run, list, &ignored);
    vt_fs_close(&list->exp_fd);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct run *)a)->exp, ((const struct run *)b)->exp);
}

/* Keeps each experiment's newest run, in order of names. */
static void keep_newest(struct list *list)
{
    int n = 0;
    for (int i = 0; i < list->n; i++) {
        bool newest = true;
        for (int j = 0; j < list->n && newest; j++)
            newest = j == i || strcmp(list->run[i].exp, list->run[j].exp) != 0 ||
                     newer(&list->run[i], &list->run[j]);
        list->run[i].changed.tv_nsec = newest ? list->run[i].changed.tv_nsec : -1;
    }
    for (int i = 0; i < list->n; i++)
        if (list->run[i].changed.tv_nsec >= 0)
            list->run[n++] = list->run[i];
    list->n = n;
    qsort(list->run, (size_t)n, sizeof *list->run, by_name);
}

/* The last part of a path such as results/EXP/RUNID/. */
static void last_part(const char *path, char *name, size_t size)
{
    size_t end = strlen(path);
    while (end > 0 && path[end - 1] == '/')
        end--;
    size_t begin = end;
    while (begin > 0 && path[begin - 1] != '/')
        begin--;
    snprintf(name, size, "%.*s", (int)(end - begin), path + begin);
}

/* Keeps what `only` means: an experiment's newest run, one run, or the newest of all. */
static vt_status select_runs(struct list *list, const char *only, vt_error *err)
{
    char name[VT_NAME_MAX + 1], folder[VT_NAME_MAX + 1];
    int n = 0;
    struct run *found = NULL;
    last_part(only, name, sizeof name);
    snprintf(folder, sizeof folder, "%s", only);
    for (char *c = folder; *c; c++) /* quick/vit is the folder quick-vit */
        *c = *c == '/' ? '-' : *c;
    bool last = strcmp(only, "last") == 0;
    for (int i = 0; i < list->n; i++) {
        struct run *run = &list->run[i];
        bool exp = strcmp(run->exp, folder) == 0 || last;
        bool id = strlen(name) >= 4 && strncmp(run->id, name, strlen(name)) == 0;
        if (!exp && !id)
            continue;
        n += id && !exp;
        if (!found || newer(run, found))
            found = run;
    }
    if (n > 1)
        return vt_fail(err, VT_ERR_USAGE, "'%s' is the beginning of %d run ids; give more digits",
                       name, n);
    if (!found)
        return vt_fail(err, VT_ERR_NOINPUT, "no experiment or run '%s' among %d runs", only,
                       list->n);
    list->run[0] = *found;
    list->n = 1;
    return VT_OK;
}

/* The evaluation record of an epoch, or NULL. */
static const vt_record_eval *find_eval(const vt_history *h, int split, int64_t epoch)
{
    for (int64_t i = 0; i < h->n_eval[split]; i++)
        if (h->eval[split][i].epoch == epoch)
            return &h->eval[split][i];
    return NULL;
}

static void add_eval(vt_text *text, const vt_record_eval *e)
{
    if (e)
        vt_text_printf(text, "\t%.9g\t%.7g", e->loss, 100 * e->top1);
    else
        vt_text_printf(text, "\t?\t?");
}

static void tabulate(const vt_history *h, vt_text *text)
{
    vt_text_printf(text, "# epoch\ttrain loss\ttrain top1 %%\ttest loss\ttest top1 %%\tval loss\t"
                         "val top1 %%\tlearning rate\n");
    for (int64_t i = 0; i < h->n_epochs; i++) {
        const vt_record_epoch *e = &h->epoch[i];
        vt_text_printf(text, "%" PRId64 "\t%.9g\t%.7g", e->epoch, e->train_loss,
                       100 * e->train_top1);
        add_eval(text, find_eval(h, VT_SPLIT_TEST, e->epoch));
        add_eval(text, find_eval(h, VT_SPLIT_VAL, e->epoch));
        vt_text_printf(text, "\t%.9g\n", e->lr);
    }
}

static vt_status publish_text(int fd, const char *name, vt_text *text, vt_error *err)
{
    if (text->failed)
        return vt_fail(err, VT_ERR_NOMEM, "no memory for %s", name);
    return vt_fs_publish(fd, name, text->data, text->size, err);
}

/* Appends plots/NAME.gp, found below the present folder or beside the build. */
static vt_status add_template(vt_text *script, const char *name, vt_error *err)
{
    char file[64], exe[PATH_MAX], *bytes = NULL;
    size_t size = 0;
    vt_error first = {0};
    int fd = -1;
    ssize_t n = readlink("/proc/self/exe", exe, sizeof exe - 32);
    exe[n > 0 ? n : 0] = '\0';
    char *slash = strrchr(exe, '/');
    snprintf(slash ? slash : exe, 32, "/../../plots");
    snprintf(file, sizeof file, "%s.gp", name);
    vt_status status = vt_fs_open_dir(AT_FDCWD, "plots", &fd, &first);
    if (status != VT_OK || !vt_fs_exists(fd, file)) {
        vt_fs_close(&fd);
        status = vt_fs_open_dir(AT_FDCWD, exe, &fd, err);
    }
    if (status == VT_OK)
        status = vt_fs_read_file(fd, file, TEMPLATE_CAP, &bytes, &size, err);
    if (status == VT_OK)
        vt_text_append(script, bytes, size);
    vt_free(bytes);
    vt_fs_close(&fd);
    return status;
}

static vt_status write_script(int fd, const struct figure *f, vt_error *err)
{
    char name[VT_NAME_MAX];
    vt_text script = {0};
    snprintf(name, sizeof name, "%s.gp", f->name);
    vt_text_printf(&script,
                   "# gnuplot -d -e \"format='svg'; output='%s.svg'\" %s\n"
                   "if (!exists('format')) { format = 'svg'; output = '%s.svg' }\n"
                   "title_text = \"%s\"\npanels = %d\nfirst_epoch = %" PRId64
                   "\nlast_epoch = %" PRId64 "\nhas_val = %d\n",
                   f->name, name, f->name, f->title, f->panels, f->first_epoch, f->last_epoch,
                   f->has_val);
    if (f->data)
        vt_text_printf(&script, "data = '%s'\n", f->data);
    if (f->files)
        vt_text_printf(&script, "files = \"%s\"\nnames = \"%s\"\n", f->files, f->names);
    vt_status status = add_template(&script, "style", err);
    if (status == VT_OK)
        status = add_template(&script, f->name, err);
    if (status == VT_OK)
        status = publish_text(fd, name, &script, err);
    vt_text_release(&script);
    return status;
}

/* Runs gnuplot in the folder; what it says on stderr goes to gnuplot.log, which must stay empty. */
static vt_status run_gnuplot(int fd, const char *script, const char *format, const char *output,
                             vt_error *err)
{
    char setting[2 * VT_NAME_MAX], folder[PATH_MAX], file[VT_NAME_MAX], *said = NULL;
    char program[] = "gnuplot", d[] = "-d", e[] = "-e", locale[] = "LC_ALL=C.UTF-8", home[] = "HOME=/";
    char search[PATH_MAX];
    pid_t pid;
    int status = 0;
    size_t size = 0;
    vt_fs_path(fd, NULL, folder);
    snprintf(setting, sizeof setting, "format='%s'; output='%s'", format, output);
    snprintf(file, sizeof file, "%s", script);
    snprintf(search, sizeof search, "PATH=%s", getenv("PATH") ? getenv("PATH") : "/usr/bin:/bin");
    char *const arguments[] = {program, d, e, setting, file, NULL};
    char *const environment[] = {locale, home, search, NULL};
    posix_spawn_file_actions_t actions;
    if (posix_spawn_file_actions_init(&actions) != 0)
        return vt_fail(err, VT_ERR_NOMEM, "no memory to start gnuplot");
    posix_spawn_file_actions_addchdir_np(&actions, folder);
    posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "gnuplot.log",
                                     O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW, 0644);
    int failed = posix_spawnp(&pid, program, &actions, NULL, arguments, environment);
    posix_spawn_file_actions_destroy(&actions);
    if (failed)
        return vt_fail(err, VT_ERR_HELPER,
                       "gnuplot cannot be started (%s): install gnuplot-nox, or run scripts/setup; "
                       "data and scripts are in %s",
                       strerror(failed), folder);
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        continue;
    vt_error ignored = {0};
    vt_fs_read_file(fd, "gnuplot.log", TEMPLATE_CAP, &said, &size, &ignored);
    bool good = WIFEXITED(status) && WEXITSTATUS(status) == 0 && size == 0;
    if (!good)
        vt_fail(err, VT_ERR_HELPER, "gnuplot failed on %s/%s: %.300s", folder, script,
                said && size ? said : "no message");
    else
        vt_fs_remove(fd, "gnuplot.log", &ignored);
    vt_free(said);
    return good ? VT_OK : VT_ERR_HELPER;
}

/* A PDF holds the time of its making; equal figures shall have equal bytes. */
static vt_status remove_date(int fd, const char *name, vt_error *err)
{
    static const char mark[] = "/CreationDate (D:";
    char *bytes = NULL;
    size_t size = 0;
    vt_status status = vt_fs_read_file(fd, name, FIGURE_CAP, &bytes, &size, err);
    char *at = status == VT_OK ? memmem(bytes, size, mark, sizeof mark - 1) : NULL;
    if (at && (size_t)(at - bytes) + sizeof mark + 14 < size) {
        memcpy(at + sizeof mark - 1, "20000101000000", 14);
        status = vt_fs_publish(fd, name, bytes, size, err);
    }
    vt_free(bytes);
    return status;
}

static vt_status draw(int fd, const struct figure *f, const vt_plot_options *options, vt_error *err)
{
    const struct {
        const char *format;
        bool wanted;
    } formats[] = {{"svg", options->svg}, {"png", options->png}, {"pdf", options->pdf}};
    char script[VT_NAME_MAX], output[VT_NAME_MAX], path[PATH_MAX];
    vt_status status = write_script(fd, f, err);
    snprintf(script, sizeof script, "%s.gp", f->name);
    if (status == VT_OK && options->terminal) {
        fflush(stdout);
        return run_gnuplot(fd, script, "dumb", "", err);
    }
    for (int i = 0; i < 3 && status == VT_OK; i++) {
        if (!formats[i].wanted)
            continue;
        snprintf(output, sizeof output, "%s.%s", f->name, formats[i].format);
        status = run_gnuplot(fd, script, formats[i].format, output, err);
        if (status == VT_OK && strcmp(formats[i].format, "pdf") == 0)
            status = remove_date(fd, output, err);
        vt_fs_path(fd, output, path);
        if (status == VT_OK)
            printf("%s\n", path);
    }
    return status;
}

/* A run's four figures. */
static vt_status draw_run(int results_fd, const struct run *run, const vt_history *h,
                          const vt_plot_options *options, vt_error *err)
{
    static const char *const names[] = {"loss", "accuracy", "learning_rate", "stacked"};
    char folder[3 * VT_NAME_MAX], title[3 * VT_NAME_MAX];
    int fd = -1;
    vt_text table = {0};
    snprintf(folder, sizeof folder, "%s/%s/plots", run->exp, run->id);
    snprintf(title, sizeof title, "%s  (%s)", run->exp, run->id);
    vt_status status = vt_fs_make_dirs(results_fd, folder, &fd, err);
    if (status == VT_OK) {
        tabulate(h, &table);
        status = publish_text(fd, "curves.tsv", &table, err);
    }
    for (int i = options->terminal ? 1 : 0; i < 4 && status == VT_OK; i++) {
        const struct figure f = {.name = names[i],
                                 .title = title,
                                 .panels = i == 3 ? 3 : 1,
                                 .first_epoch = h->epoch[0].epoch,
                                 .last_epoch = h->epoch[h->n_epochs - 1].epoch,
                                 .has_val = h->n_eval[VT_SPLIT_VAL] > 0,
                                 .data = "curves.tsv"};
        status = draw(fd, &f, options, err);
        if (options->terminal)
            break;
    }
    vt_text_release(&table);
    vt_fs_close(&fd);
    return status;
}

/* All experiments side by side. */
struct comparison {
    int fd, n;
    int64_t last_epoch;
    vt_text files, names;
};

static vt_status add_to_comparison(struct comparison *c, const struct run *run, const vt_history *h,
                                   vt_error *err)
{
    char file[VT_NAME_MAX];
    vt_text table = {0};
    snprintf(file, sizeof file, "%.100s.tsv", run->exp);
    tabulate(h, &table);
    vt_status status = publish_text(c->fd, file, &table, err);
    vt_text_release(&table);
    vt_text_printf(&c->files, "%s%s", c->n ? " " : "", file);
    vt_text_printf(&c->names, "%s%s", c->n ? " " : "", run->exp);
    c->n++;
    if (h->epoch[h->n_epochs - 1].epoch > c->last_epoch)
        c->last_epoch = h->epoch[h->n_epochs - 1].epoch;
    return status;
}

static vt_status draw_list(int results_fd, const struct list *list, const vt_plot_options *options,
                           vt_error *err)
{
    struct comparison c = {.fd = -1};
    int drawn = 0;
    vt_status status = VT_OK;
    bool compare = !options->only && !options->terminal && list->n > 1;
    if (compare)
        status = vt_fs_make_dirs(results_fd, "plots", &c.fd, err);
    for (int i = 0; i < list->n && status == VT_OK; i++) {
        const struct run *run = &list->run[i];
        char folder[3 * VT_NAME_MAX];
        vt_history h = {0};
        vt_error unreadable = {0};
        int fd = -1;
        snprintf(folder, sizeof folder, "%s/%s", run->exp, run->id);
        if (vt_fs_open_dir(results_fd, folder, &fd, &unreadable) != VT_OK ||
            vt_history_read(&h, fd, &unreadable) != VT_OK) {
            vt_log_write(VT_LOG_WARNING, "%s is left out: %s", folder, unreadable.text);
        } else if (h.n_epochs > 0) {
            status = draw_run(results_fd, run, &h, options, err);
            if (status == VT_OK && compare)
                status = add_to_comparison(&c, run, &h, err);
            drawn++;
        }
        vt_history_release(&h);
        vt_fs_close(&fd);
    }
    if (status == VT_OK && c.n > 1 && !c.files.failed && !c.names.failed) {
        const struct figure f = {.name = "compare",
                                 .title = "newest run of each experiment",
                                 .panels = 3,
                                 .first_epoch = 1,
                                 .last_epoch = c.last_epoch,
                                 .files = c.files.data,
                                 .names = c.names.data};
        status = draw(c.fd, &f, options, err);
    }
    vt_text_release(&c.files);
    vt_text_release(&c.names);
    vt_fs_close(&c.fd);
    if (status == VT_OK && drawn == 0)
        return vt_fail(err, VT_ERR_NOINPUT, "no run with a finished epoch to draw");
    return status;
}

vt_status vt_plot(const vt_plot_options *options, vt_error *err)
{
    struct list list = {.exp_fd = -1};
    struct walk walk = {&list, -1};
    list.run = vt_calloc(MAX_RUNS, sizeof *list.run);
    if (!list.run)
        return vt_fail(err, VT_ERR_NOMEM, "no memory to list the runs");
    vt_status status = vt_fs_open_dir(AT_FDCWD, options->results, &walk.results_fd, err);
    if (status == VT_OK)
        status = vt_fs_list(walk.results_fd, add_experiment, &walk, err);
    if (status == VT_OK && options->only)
        status = select_runs(&list, options->only, err);
    else if (status == VT_OK)
        keep_newest(&list);
    if (status == VT_OK)
        status = draw_list(walk.results_fd, &list, options, err);
    vt_fs_close(&walk.results_fd);
    vt_free(list.run);
    return status;
}
