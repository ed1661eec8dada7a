#include "report/matrix.h"

#include "base/mem.h"
#include "report/escape.h"
#include "results/typeset.h"

#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

/* One run's journal being read for one matrix. */
struct reading {
    const char *path;
    vt_split split;
    int64_t epoch, found, wanted; /* found: the epoch, -1 if none; wanted: -1 for the last */
    vt_runinfo info;
    int64_t *count;
    double top1;
};

static vt_status visit(void *arg, const vt_record *record, vt_error *err)
{
    struct reading *r = arg;
    vt_record_eval eval;
    if (record->type == VT_RECORD_RUN && !r->info.memory[0])
        return vt_runinfo_parse(&r->info, r->path, record->payload, record->size, err);
    if (record->type != VT_RECORD_EVAL || record->size < sizeof eval)
        return VT_OK;
    memcpy(&eval, record->payload, sizeof eval);
    const int64_t *count = vt_history_confusion(record);
    int64_t n = r->info.n_classes;
    if (eval.split != (int64_t)r->split || (r->wanted >= 0 && eval.epoch != r->wanted) || !count ||
        eval.classes != n || record->size != vt_record_eval_size(n))
        return VT_OK;
    if (!r->count)
        r->count = vt_calloc((size_t)(n * n), sizeof *r->count);
    if (!r->count)
        return vt_fail(err, VT_ERR_NOMEM, "%s: no memory for its confusion matrix", r->path);
    memcpy(r->count, count, (size_t)(n * n) * sizeof *count);
    r->found = eval.epoch;
    r->top1 = eval.top1;
    return VT_OK;
}

static vt_status read_run(struct reading *r, vt_error *err)
{
    int fd = -1;
    vt_status status = vt_fs_open_dir(AT_FDCWD, r->path, &fd, err);
    if (status == VT_OK)
        status = vt_journal_read(fd, visit, r, NULL, err);
    vt_fs_close(&fd);
    if (status != VT_OK || r->found >= 0)
        return status;
    if (r->wanted >= 0)
        return vt_fail(err, VT_ERR_NOINPUT,
                       "%s: no evaluation of %s after epoch %" PRId64 " with a confusion matrix",
                       r->path, vt_split_name(r->split), r->wanted);
    return vt_fail(err, VT_ERR_NOINPUT, "%s: no evaluation of %s with a confusion matrix", r->path,
                   vt_split_name(r->split));
}

static vt_status take_names(vt_matrix *m, const vt_runinfo *info, vt_error *err)
{
    m->confusion.classes = info->n_classes;
    m->name = vt_calloc((size_t)info->n_classes, sizeof *m->name);
    for (int64_t i = 0; m->name && i < info->n_classes; i++) {
        vt_text name = {0};
        vt_escape(&name, VT_ESCAPE_SHOWN, info->class_names[i]);
        m->name[i] = name.failed ? NULL : vt_strdup(name.data ? name.data : "");
        vt_text_release(&name);
        if (!m->name[i])
            return vt_fail(err, VT_ERR_NOMEM, "no memory for the names of classes");
    }
    m->confusion.names = (const char *const *)m->name;
    return m->name ? VT_OK : vt_fail(err, VT_ERR_NOMEM, "no memory for the names of classes");
}

static vt_status start_matrix(vt_matrix *m, const vt_group *group, const struct reading *r,
                              vt_error *err)
{
    size_t n = (size_t)r->info.n_classes;
    m->epoch = r->found;
    m->n_runs = group->n_runs;
    m->count = vt_calloc(n * n, sizeof *m->count);
    m->share = vt_calloc((size_t)group->n_runs * n, sizeof *m->share);
    m->confusion.count = m->count;
    if (!m->count || !m->share)
        return vt_fail(err, VT_ERR_NOMEM, "no memory for a confusion matrix");
    return take_names(m, &r->info, err);
}

vt_status vt_matrix_read(vt_matrix *m, const vt_group *group, vt_split split, int64_t epoch,
                         vt_error *err)
{
    vt_status status = VT_OK;
    *m = (vt_matrix){0};
    for (int i = 0; i < group->n_runs && status == VT_OK; i++) {
        struct reading r = {
            .path = group->run[i].path, .split = split, .wanted = epoch, .found = -1};
        status = read_run(&r, err);
        if (status == VT_OK && i == 0)
            status = start_matrix(m, group, &r, err);
        if (status == VT_OK && r.info.n_classes != m->confusion.classes)
            status = vt_fail(err, VT_ERR_DATA, "%s and %s have different numbers of classes",
                             group->run[0].path, r.path);
        int64_t n = m->confusion.classes;
        for (int64_t k = 0; status == VT_OK && k < n * n; k++)
            m->count[k] += r.count[k];
        const vt_confusion one = {n, m->confusion.names, r.count};
        for (int64_t k = 0; status == VT_OK && k < n; k++) {
            int64_t total = vt_confusion_total(&one, k);
            m->share[i * n + k] = total ? (double)r.count[k * n + k] / (double)total : NAN;
        }
        m->top1 += r.top1 / group->n_runs;
        vt_runinfo_release(&r.info);
        vt_free(r.count);
    }
    return status;
}

void vt_matrix_release(vt_matrix *m)
{
    for (int64_t i = 0; m->name && i < m->confusion.classes; i++)
        vt_free(m->name[i]);
    vt_free(m->name);
    vt_free(m->count);
    vt_free(m->share);
    *m = (vt_matrix){0};
}

vt_status vt_matrix_draw(const vt_place *place, const vt_group *group, vt_split split,
                         int64_t epoch, vt_error *err)
{
    vt_matrix matrix;
    char title[3 * VT_NAME_MAX], rest[120], seeds[40] = "";
    vt_status status = vt_matrix_read(&matrix, group, split, epoch, err);
    if (status == VT_OK && matrix.confusion.classes > VT_CONFUSION_DRAWN_MAX)
        status = vt_fail(err, VT_ERR_USAGE,
                         "%s has %" PRId64 " classes: no confusion matrix is drawn above %d",
                         group->name, matrix.confusion.classes, VT_CONFUSION_DRAWN_MAX);
    if (group->n_runs > 1)
        snprintf(seeds, sizeof seeds, ", %d seeds", group->n_runs);
    snprintf(rest, sizeof rest, ", %s, epoch %" PRId64 "%s", vt_split_name(split), matrix.epoch,
             seeds);
    vt_text_shorten(group->name, place->width - 0.2 - vt_text_width(rest, VT_POINTS), VT_POINTS,
                    title, sizeof title - sizeof rest);
    strcat(title, rest);
    if (status == VT_OK) {
        place->drawer->width = place->width;
        status = vt_confusion_draw(place->drawer, place->dir_fd, place->folder, place->name, title,
                                   &matrix.confusion, err);
    }
    vt_matrix_release(&matrix);
    return status;
}
