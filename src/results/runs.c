#include "results/runs.h"

#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { ID_MIN = 4 };

struct walk {
    vt_run_list *list;
    const char *results, *exp;
    int results_fd, exp_fd;
    bool failed;
};

/* When the journal in a folder was written last; false if there is none. */
static bool find_journal(int dir_fd, const char *path, struct timespec *changed)
{
    char name[PATH_MAX];
    struct stat journal;
    snprintf(name, sizeof name, "%s/journal", path);
    if (fstatat(dir_fd, name, &journal, AT_SYMLINK_NOFOLLOW) != 0 || !S_ISREG(journal.st_mode))
        return false;
    *changed = journal.st_mtim;
    return true;
}

/* Is there a folder that is, or should be, a run's? Then when it was written to last. */
static bool find_run(int dir_fd, const char *folder, struct timespec *changed)
{
    static const char *const files[] = {"journal", "config.yaml", "provenance.json"};
    char name[PATH_MAX];
    struct stat found;
    if (fstatat(dir_fd, folder, &found, AT_SYMLINK_NOFOLLOW) != 0 || !S_ISDIR(found.st_mode))
        return false;
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        snprintf(name, sizeof name, "%s/%s", folder, files[i]);
        if (fstatat(dir_fd, name, &found, AT_SYMLINK_NOFOLLOW) == 0) {
            *changed = found.st_mtim;
            return true;
        }
    }
    return false;
}

/* A name that no run has, and that must not reach a terminal as it is. */
static void refuse_name(const struct walk *walk, const char *name)
{
    char shown[128];
    vt_text_show(shown, sizeof shown, name);
    if (*name != '.')
        vt_log_write(VT_LOG_WARNING, "%s/%s%s%s: left out: no run has such a name", walk->results,
                     walk->exp ? walk->exp : "", walk->exp ? "/" : "", shown);
}

static void add_run(void *arg, const char *name)
{
    struct walk *walk = arg;
    vt_run_list *list = walk->list;
    struct timespec changed;
    if (strstr(name, ".old-") || !find_run(walk->exp_fd, name, &changed))
        return;
    if (!vt_fs_name_ok(name)) {
        refuse_name(walk, name);
        return;
    }
    if ((list->n & (list->n - 1)) == 0) {
        vt_run_place *grown =
            vt_realloc(list->run, list->n ? 2 * (size_t)list->n : 1, sizeof *grown);
        walk->failed |= !grown;
        if (!grown)
            return;
        list->run = grown;
    }
    vt_run_place *run = &list->run[list->n++];
    *run = (vt_run_place){.changed = changed};
    snprintf(run->exp, sizeof run->exp, "%s", walk->exp);
    snprintf(run->id, sizeof run->id, "%s", name);
    snprintf(run->path, sizeof run->path, "%s/%s/%s", walk->results, walk->exp, name);
}

static void add_experiment(void *arg, const char *name)
{
    struct walk *walk = arg;
    if (!vt_fs_name_ok(name)) {
        refuse_name(walk, name);
        return;
    }
    walk->exp_fd = openat(walk->results_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (walk->exp_fd < 0)
        return;
    walk->exp = name;
    vt_fs_list(walk->exp_fd, add_run, walk, NULL);
    walk->exp = NULL;
    vt_fs_close(&walk->exp_fd);
}

/* Newest first; ids decide where the clock does not. */
static int compare_age(const vt_run_place *a, const vt_run_place *b)
{
    if (a->changed.tv_sec != b->changed.tv_sec)
        return a->changed.tv_sec > b->changed.tv_sec ? -1 : 1;
    if (a->changed.tv_nsec != b->changed.tv_nsec)
        return a->changed.tv_nsec > b->changed.tv_nsec ? -1 : 1;
    return strcmp(a->id, b->id);
}

static int compare_runs(const void *a, const void *b)
{
    const vt_run_place *x = a, *y = b;
    int order = strcmp(x->exp, y->exp);
    return order ? order : compare_age(x, y);
}

vt_status vt_runs_list(vt_run_list *list, const char *results, vt_error *err)
{
    struct walk walk = {.list = list, .results = results, .results_fd = -1, .exp_fd = -1};
    *list = (vt_run_list){0};
    vt_status status = vt_fs_open_dir(AT_FDCWD, results, &walk.results_fd, err);
    if (status == VT_OK)
        status = vt_fs_list(walk.results_fd, add_experiment, &walk, err);
    if (status == VT_OK && walk.failed)
        status = vt_fail(err, VT_ERR_NOMEM, "no memory to list the runs in %s", results);
    vt_fs_close(&walk.results_fd);
    if (list->n)
        qsort(list->run, (size_t)list->n, sizeof *list->run, compare_runs);
    return status;
}

void vt_runs_release(vt_run_list *list)
{
    vt_free(list->run);
    *list = (vt_run_list){0};
}

void vt_runs_keep_newest(vt_run_list *list)
{
    int n = 0;
    for (int i = 0; i < list->n; i++)
        if (n == 0 || strcmp(list->run[n - 1].exp, list->run[i].exp) != 0)
            list->run[n++] = list->run[i];
    list->n = n;
}

static void name_folder(char folder[VT_NAME_MAX + 1], const char *exp)
{
    snprintf(folder, VT_NAME_MAX + 1, "%s", exp);
    for (char *c = folder; *c; c++)
        *c = *c == '/' ? '-' : *c;
}

void vt_runs_keep_experiment(vt_run_list *list, const char *exp)
{
    char folder[VT_NAME_MAX + 1];
    int n = 0;
    name_folder(folder, exp);
    for (int i = 0; i < list->n; i++)
        if (strcmp(list->run[i].exp, folder) == 0)
            list->run[n++] = list->run[i];
    list->n = n;
}

static vt_status fail_unknown(const vt_run_list *list, const char *results, const char *word,
                              vt_error *err)
{
    const char **names = vt_calloc((size_t)list->n + 1, sizeof *names);
    int n = 0;
    for (int i = 0; names && i < list->n; i++)
        if (n == 0 || strcmp(names[n - 1], list->run[i].exp) != 0)
            names[n++] = list->run[i].exp;
    const char *near = names ? vt_suggest(word, names, n) : NULL;
    vt_status status = vt_fail(
        err, VT_ERR_NOINPUT,
        "no run '%s' in %s%s%s%s; it may be a run's folder, an experiment with a run, at least %d "
        "digits of a run id, or 'last'",
        word, results, near ? "; did you mean '" : "", near ? near : "", near ? "'?" : "", ID_MIN);
    vt_free(names);
    return status;
}

/* The place in the list, or -1. */
static int find_experiment(const vt_run_list *list, const char *word)
{
    char folder[VT_NAME_MAX + 1];
    name_folder(folder, word);
    for (int i = 0; i < list->n; i++)
        if (strcmp(list->run[i].exp, folder) == 0)
            return i; /* the newest comes first */
    return -1;
}

static int find_newest(const vt_run_list *list)
{
    int newest = list->n ? 0 : -1;
    for (int i = 1; i < list->n; i++)
        if (compare_age(&list->run[i], &list->run[newest]) < 0)
            newest = i;
    return newest;
}

vt_status vt_runs_find(vt_run_place *run, const char *results, const char *word, vt_error *err)
{
    vt_run_list list = {0};
    size_t size = strlen(word);
    int found = -1, n = 0;
    *run = (vt_run_place){0};
    if (size < sizeof run->path && *word && find_journal(AT_FDCWD, word, &run->changed)) {
        snprintf(run->path, sizeof run->path, "%s", word);
        for (char *end = run->path + size; end > run->path + 1 && end[-1] == '/'; end--)
            end[-1] = '\0';
        return VT_OK;
    }
    vt_status status = vt_runs_list(&list, results, err);
    if (status != VT_OK)
        goto done;
    found = strcmp(word, "last") == 0 ? find_newest(&list) : find_experiment(&list, word);
    if (found < 0 && size >= ID_MIN && strspn(word, "0123456789abcdef") == size) {
        for (int i = 0; i < list.n; i++) {
            if (strncmp(list.run[i].id, word, size) != 0)
                continue;
            found = i;
            n++;
        }
    }
    if (n > 1)
        status = vt_fail(err, VT_ERR_USAGE,
                         "'%s' is the beginning of %d run ids in %s: give more digits", word, n,
                         results);
    else if (found < 0)
        status = fail_unknown(&list, results, word, err);
    else
        *run = list.run[found];
done:
    vt_runs_release(&list);
    return status;
}
