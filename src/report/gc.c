#include "report/gc.h"

#include "base/fs.h"
#include "base/mem.h"
#include "base/text.h"
#include "report/baseline.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { DEPTH_MAX = 3 };

struct gc {
    const vt_gc_request *request;
    vt_gc_plan *plan;
    int results_fd;
    char **kept; /* run ids that baselines name */
    int n_kept;
    const char *exp; /* while its folder is walked */
    int exp_fd;
    vt_status status;
    vt_error *err;
};

/* ---- what baselines name */

static void fail(struct gc *gc, vt_status status, const char *text)
{
    if (gc->status == VT_OK)
        gc->status = vt_fail(gc->err, status, "%s", text);
}

static void keep_id(struct gc *gc, const char *id)
{
    char **grown = vt_realloc(gc->kept, (size_t)gc->n_kept + 1, sizeof(char *));
    if (grown)
        gc->kept = grown;
    char *copy = grown ? vt_strdup(id) : NULL;
    if (copy)
        gc->kept[gc->n_kept++] = copy;
    else
        fail(gc, VT_ERR_NOMEM, "no memory for the baselines");
}

/* Of every acceptance, not of the last alone: drift is judged against the oldest. */
static void read_baseline(struct gc *gc, const char *results, const char *name)
{
    vt_baseline baseline = {0};
    vt_error reason = {0};
    vt_status status = vt_baseline_read(&baseline, results, name, &reason);
    if (status != VT_OK)
        fail(gc, status, reason.text);
    for (int a = 0; a < baseline.n_accepted && status == VT_OK; a++)
        for (int i = 0; i < baseline.accepted[a].n_runs; i++)
            keep_id(gc, baseline.accepted[a].run[i].run_id);
    vt_baseline_release(&baseline);
}

static void read_baselines(struct gc *gc, const char *results)
{
    vt_baseline_names names = {0};
    vt_error reason = {0};
    vt_status status = vt_baseline_names_read(&names, results, &reason);
    if (status != VT_OK)
        fail(gc, status, reason.text);
    for (int i = 0; i < names.n; i++)
        read_baseline(gc, results, names.name[i]);
    vt_baseline_names_release(&names);
}

/* "3f9c1a72d0be.old-2" is a baseline's run too if the part before the dot is. */
static bool is_baseline(const struct gc *gc, const char *folder)
{
    size_t size = strcspn(folder, ".");
    for (int i = 0; i < gc->n_kept; i++)
        if (strlen(gc->kept[i]) == size && strncmp(gc->kept[i], folder, size) == 0)
            return true;
    return false;
}

/* ---- what a run's folder may hold */

static bool is_run_file(const char *name)
{
    static const char *const names[] = {"journal",
                                        "lock",
                                        "config.yaml",
                                        "config.origin.txt",
                                        "provenance.json",
                                        "code.patch",
                                        "summary.json",
                                        "log.txt",
                                        "run.h5",
                                        "perf.jsonl",
                                        "report.html",
                                        "w-*.safetensors",
                                        "state-*.bin",
                                        "last.safetensors",
                                        "best.safetensors",
                                        "model.safetensors",
                                        ".tmp-*"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (vt_glob(names[i], name))
            return true;
    return false;
}

static bool is_run_folder(const char *name)
{
    return strcmp(name, "captures") == 0 || strcmp(name, "plots") == 0 ||
           strcmp(name, "attention") == 0;
}

struct survey {
    int fd, depth;
    int64_t bytes;
    char odd[160]; /* the first thing that no run has */
};

static void survey_entry(void *arg, const char *name)
{
    struct survey *s = arg;
    struct survey inner = {.fd = -1, .depth = s->depth + 1};
    struct stat file;
    char shown[100];
    vt_text_show(shown, sizeof shown, name);
    if (*s->odd || fstatat(s->fd, name, &file, AT_SYMLINK_NOFOLLOW) != 0)
        return;
    bool known = S_ISREG(file.st_mode) ? s->depth > 0 || is_run_file(name)
                                       : S_ISDIR(file.st_mode) && s->depth < DEPTH_MAX &&
                                             (s->depth > 0 || is_run_folder(name));
    if (!known) {
        snprintf(s->odd, sizeof s->odd, "%s", shown);
        return;
    }
    if (S_ISREG(file.st_mode)) { /* a file of several names counts in parts */
        s->bytes += file.st_size / (int64_t)(file.st_nlink ? file.st_nlink : 1);
        return;
    }
    inner.fd = openat(s->fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (inner.fd < 0 || vt_fs_list(inner.fd, survey_entry, &inner, NULL) != VT_OK)
        snprintf(inner.odd, sizeof inner.odd, "what it holds");
    if (*inner.odd)
        snprintf(s->odd, sizeof s->odd, "%.50s/%.100s", shown, inner.odd);
    s->bytes += inner.bytes;
    vt_fs_close(&inner.fd);
}

/* ---- the lock */

/* Takes the lock of a run that nobody holds, so that no process begins with it meanwhile. A folder
 * without a lock file is nobody's. */
static bool lock_run(int run_fd, int *lock_fd)
{
    struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    struct stat file;
    *lock_fd = -1;
    if (fstatat(run_fd, "lock", &file, AT_SYMLINK_NOFOLLOW) != 0)
        return errno == ENOENT;
    *lock_fd = openat(run_fd, "lock", O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (*lock_fd >= 0 && S_ISREG(file.st_mode) && fcntl(*lock_fd, F_OFD_SETLK, &whole) == 0)
        return true;
    vt_fs_close(lock_fd);
    return false;
}

/* Only asks. */
static bool is_held(int run_fd)
{
    struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    int fd = openat(run_fd, "lock", O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    bool held = fd >= 0 && fcntl(fd, F_OFD_GETLK, &whole) == 0 && whole.l_type != F_UNLCK;
    vt_fs_close(&fd);
    return held;
}

/* ---- the plan */

static vt_gc_item *add_item(struct gc *gc)
{
    vt_gc_plan *plan = gc->plan;
    if ((plan->n & (plan->n - 1)) == 0) {
        vt_gc_item *grown =
            vt_realloc(plan->item, plan->n ? 2 * (size_t)plan->n : 1, sizeof *grown);
        if (!grown) {
            fail(gc, VT_ERR_NOMEM, "no memory for the list of what could go");
            return NULL;
        }
        plan->item = grown;
    }
    plan->item[plan->n] = (vt_gc_item){.folder = false};
    return &plan->item[plan->n++];
}

/* Why the run in this folder may not be touched; *bytes is what it holds. */
static void judge_folder(const struct gc *gc, const char *folder, int fd, int64_t *bytes,
                         char kept[200])
{
    struct survey survey = {.fd = fd};
    if (vt_fs_list(fd, survey_entry, &survey, NULL) != VT_OK)
        snprintf(kept, 200, "it cannot be listed");
    else if (is_baseline(gc, folder))
        snprintf(kept, 200, "a baseline names it");
    else if (is_held(fd))
        snprintf(kept, 200, "a process holds it");
    else if (*survey.odd)
        snprintf(kept, 200, "it holds '%s', which is no run's", survey.odd);
    *bytes = survey.bytes;
}

static int open_run(int exp_fd, const char *folder)
{
    return openat(exp_fd, folder, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
}

static void plan_folder(struct gc *gc, const char *exp, int exp_fd, const char *folder,
                        const char *why)
{
    int fd = open_run(exp_fd, folder);
    vt_gc_item *item = fd >= 0 ? add_item(gc) : NULL;
    if (item) {
        item->folder = true;
        snprintf(item->path, sizeof item->path, "%s/%s", exp, folder);
        snprintf(item->why, sizeof item->why, "%s", why);
        judge_folder(gc, folder, fd, &item->bytes, item->kept);
    }
    vt_fs_close(&fd);
}

/* RUNID.old-N with a number, and a run's files in it. */
static bool is_set_aside(const char *name)
{
    const char *old = strstr(name, ".old-");
    size_t digits = old ? strspn(old + 5, "0123456789") : 0;
    return old && old > name && digits && !old[5 + digits];
}

static void visit_run(void *arg, const char *name)
{
    struct gc *gc = arg;
    struct stat journal;
    int fd = -1;
    if (!vt_fs_name_ok(name) || !is_set_aside(name))
        return;
    fd = open_run(gc->exp_fd, name);
    if (fd >= 0 && fstatat(fd, "journal", &journal, AT_SYMLINK_NOFOLLOW) == 0)
        plan_folder(gc, gc->exp, gc->exp_fd, name, "set aside by --force");
    vt_fs_close(&fd);
}

static void visit_experiment(void *arg, const char *name)
{
    struct gc *gc = arg;
    if (!vt_fs_name_ok(name) || strcmp(name, "baselines") == 0)
        return;
    gc->exp_fd = open_run(gc->results_fd, name);
    gc->exp = name;
    if (gc->exp_fd >= 0)
        vt_fs_list(gc->exp_fd, visit_run, gc, NULL);
    vt_fs_close(&gc->exp_fd);
}

struct steps {
    struct gc *gc;
    const vt_outcome *run;
    int fd;
    long long newest[2];
    char kept[200];
};

/* The step in "w-20.safetensors" (kind 0) or "state-20.bin" (1); -1 for other names. */
static long long step_of(const char *name, int *kind)
{
    static const char *const before[] = {"w-", "state-"}, *const after[] = {".safetensors", ".bin"};
    for (*kind = 0; *kind < 2; ++*kind) {
        size_t size = strlen(before[*kind]);
        char *end;
        if (strncmp(name, before[*kind], size) != 0 || name[size] < '0' || name[size] > '9')
            continue;
        long long step = strtoll(name + size, &end, 10);
        if (strcmp(end, after[*kind]) == 0)
            return step;
    }
    return -1;
}

static void find_newest(void *arg, const char *name)
{
    struct steps *s = arg;
    int kind;
    long long step = step_of(name, &kind);
    if (step > s->newest[kind & 1])
        s->newest[kind & 1] = step;
}

static void plan_step(void *arg, const char *name)
{
    struct steps *s = arg;
    struct stat file;
    int kind;
    long long step = step_of(name, &kind);
    if (step < 0 || step == s->newest[kind] ||
        fstatat(s->fd, name, &file, AT_SYMLINK_NOFOLLOW) != 0 || !S_ISREG(file.st_mode) ||
        file.st_nlink > 1) /* also the last or the best weights: it frees nothing */
        return;
    vt_gc_item *item = add_item(s->gc);
    if (!item)
        return;
    snprintf(item->path, sizeof item->path, "%s/%s/%.64s", s->run->place.exp, s->run->place.id,
             name);
    snprintf(item->why, sizeof item->why, "checkpoint of a complete run, followed by step %lld",
             s->newest[kind]);
    snprintf(item->kept, sizeof item->kept, "%s", s->kept);
    item->bytes = file.st_size;
}

static void plan_steps(struct gc *gc, const vt_outcome *run, int fd)
{
    struct steps steps = {.gc = gc, .run = run, .fd = fd, .newest = {-1, -1}};
    if (is_baseline(gc, run->place.id))
        snprintf(steps.kept, sizeof steps.kept, "a baseline names the run");
    vt_fs_list(fd, find_newest, &steps, NULL);
    vt_fs_list(fd, plan_step, &steps, NULL);
}

static void plan_runs(struct gc *gc)
{
    const vt_gc_request *r = gc->request;
    vt_outcome_list list = {0};
    char why[100];
    vt_status status = vt_outcomes_read(&list, r->results, NULL, 0, false, gc->err);
    if (status != VT_OK)
        gc->status = status;
    for (int i = 0; i < list.n && gc->status == VT_OK; i++) {
        const vt_outcome *run = &list.run[i];
        int exp_fd = open_run(gc->results_fd, run->place.exp);
        int fd = exp_fd >= 0 ? open_run(exp_fd, run->place.id) : -1;
        bool asked = (r->rules & VT_GC_STATES) && r->states[run->state];
        snprintf(why, sizeof why, "a run that is %s", vt_run_state_word(run->state));
        if (asked && run->state != VT_RUN_RUNNING && run->state != VT_RUN_QUEUED)
            plan_folder(gc, run->place.exp, exp_fd, run->place.id, why);
        else if ((r->rules & VT_GC_CHECKPOINTS) && run->state == VT_RUN_DONE && fd >= 0)
            plan_steps(gc, run, fd);
        vt_fs_close(&fd);
        vt_fs_close(&exp_fd);
    }
    vt_outcomes_release(&list);
}

static int compare_items(const void *a, const void *b)
{
    return strcmp(((const vt_gc_item *)a)->path, ((const vt_gc_item *)b)->path);
}

static void release(struct gc *gc)
{
    for (int i = 0; i < gc->n_kept; i++)
        vt_free(gc->kept[i]);
    vt_free(gc->kept);
    vt_fs_close(&gc->results_fd);
}

vt_status vt_gc_make(vt_gc_plan *plan, const vt_gc_request *request, vt_error *err)
{
    struct gc gc = {.request = request, .plan = plan, .results_fd = -1, .exp_fd = -1, .err = err};
    *plan = (vt_gc_plan){0};
    gc.status = vt_fs_open_dir(AT_FDCWD, request->results, &gc.results_fd, err);
    if (gc.status == VT_OK)
        read_baselines(&gc, request->results);
    if (gc.status == VT_OK && (request->rules & VT_GC_OLD))
        vt_fs_list(gc.results_fd, visit_experiment, &gc, NULL);
    if (gc.status == VT_OK && (request->rules & (VT_GC_CHECKPOINTS | VT_GC_STATES)))
        plan_runs(&gc);
    if (plan->n)
        qsort(plan->item, (size_t)plan->n, sizeof *plan->item, compare_items);
    for (int i = 0; i < plan->n; i++)
        plan->bytes += *plan->item[i].kept ? 0 : plan->item[i].bytes;
    release(&gc);
    return gc.status;
}

void vt_gc_release(vt_gc_plan *plan)
{
    vt_free(plan->item);
    *plan = (vt_gc_plan){0};
}

/* ---- deleting */

struct removal {
    int fd, error;
};

static void remove_entry(void *arg, const char *name)
{
    struct removal *r = arg;
    struct removal inner = {.fd = -1};
    struct stat file;
    if (fstatat(r->fd, name, &file, AT_SYMLINK_NOFOLLOW) != 0 || strcmp(name, "lock") == 0)
        return;
    bool folder = S_ISDIR(file.st_mode);
    if (folder) {
        inner.fd = open_run(r->fd, name);
        if (inner.fd >= 0)
            vt_fs_list(inner.fd, remove_entry, &inner, NULL);
        vt_fs_close(&inner.fd);
    }
    if (unlinkat(r->fd, name, folder ? AT_REMOVEDIR : 0) != 0)
        r->error = errno;
    r->error = r->error ? r->error : inner.error;
}

/* The journal goes first: what is left of a folder after a kill is no run any more. The lock goes
 * last, while it is held. */
static int remove_run(int exp_fd, const char *folder, int fd)
{
    struct removal removal = {.fd = fd};
    if (unlinkat(fd, "journal", 0) != 0 && errno != ENOENT)
        return errno;
    vt_fs_list(fd, remove_entry, &removal, NULL);
    if (removal.error == 0 && unlinkat(fd, "lock", 0) != 0 && errno != ENOENT)
        removal.error = errno;
    if (removal.error == 0 && unlinkat(exp_fd, folder, AT_REMOVEDIR) != 0)
        removal.error = errno;
    return removal.error;
}

/* The two or three parts of EXP/RUNID/FILE. */
static void cut_path(char *path, char *part[3])
{
    for (int i = 0; i < 3; i++) {
        part[i] = path;
        char *slash = path ? strchr(path, '/') : NULL;
        if (slash)
            *slash = '\0';
        path = slash ? slash + 1 : NULL;
    }
}

static void delete_item(const struct gc *gc, vt_gc_item *item)
{
    char path[PATH_MAX], *part[3];
    int lock_fd = -1, error = 0;
    int64_t bytes;
    snprintf(path, sizeof path, "%s", item->path);
    cut_path(path, part);
    int exp_fd = open_run(gc->results_fd, part[0]);
    int fd = exp_fd >= 0 ? open_run(exp_fd, part[1]) : -1;
    if (fd < 0)
        snprintf(item->kept, sizeof item->kept, "it is not there any more");
    else if (item->folder)
        judge_folder(gc, part[1], fd, &bytes, item->kept);
    if (!*item->kept && !lock_run(fd, &lock_fd))
        snprintf(item->kept, sizeof item->kept, "its lock cannot be taken");
    if (!*item->kept) {
        error = item->folder                    ? remove_run(exp_fd, part[1], fd)
                : unlinkat(fd, part[2], 0) == 0 ? 0
                                                : errno;
        if (error)
            snprintf(item->kept, sizeof item->kept, "cannot be deleted: %s", strerror(error));
    }
    vt_fs_close(&lock_fd);
    vt_fs_close(&fd);
    vt_fs_close(&exp_fd);
}

vt_status vt_gc_delete(vt_gc_plan *plan, const char *results, vt_error *err)
{
    struct gc gc = {.results_fd = -1, .err = err};
    gc.status = vt_fs_open_dir(AT_FDCWD, results, &gc.results_fd, err);
    if (gc.status == VT_OK)
        read_baselines(&gc, results); /* again: one may have been accepted meanwhile */
    bool ready = gc.status == VT_OK;
    plan->bytes = 0;
    for (int i = 0; i < plan->n && ready; i++) {
        vt_gc_item *item = &plan->item[i];
        if (*item->kept)
            continue;
        delete_item(&gc, item);
        if (*item->kept && gc.status == VT_OK)
            gc.status = vt_fail(err, VT_ERR_IO, "%s/%s: %s", results, item->path, item->kept);
        plan->bytes += *item->kept ? 0 : item->bytes;
    }
    release(&gc);
    return gc.status;
}
