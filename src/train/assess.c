#include "train/assess.h"

#include "base/log.h"
#include "base/mem.h"
#include "train/progress.h"
#include "train/run.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { TITLE = 400, FIGURE_NAME = 64 };

/* The data's classes must be the run's, or its labels mean something else. */
static vt_status check_data(const vt_assessment *a, vt_error *err)
{
    const vt_data_info *info = a->info;
    const char *const *names = vt_trained_classes(&a->trained);
    if (info->classes > a->trained.history.info.n_classes)
        return vt_fail(err, VT_ERR_DATA, "%s has %" PRId64 " classes, the run %" PRId64, info->name,
                       info->classes, a->trained.history.info.n_classes);
    for (int64_t i = 0; i < info->classes; i++)
        if (strcmp(info->class_names[i], names[i]) != 0)
            return vt_fail(err, VT_ERR_DATA,
                           "class %" PRId64 " of %s is '%s', that of the run is '%s': the labels "
                           "do not mean the same",
                           i, info->name, info->class_names[i], names[i]);
    if (info->n[a->part] == 0)
        return vt_fail(err, VT_ERR_NOINPUT, "%s has no %s images%s", info->name,
                       vt_part_name(a->part),
                       a->part == VT_PART_VAL ? ": the experiment's data.val is 0" : "");
    return VT_OK;
}

struct watch {
    vt_progress progress;
    const vt_assessment *a;
};

static bool tick(void *arg, int64_t done, int64_t total)
{
    struct watch *watch = arg;
    int64_t epoch = watch->a->trained.epoch;
    vt_progress_eval(&watch->progress, vt_part_name(watch->a->part), epoch < 0 ? 0 : epoch, done,
                     total);
    return false;
}

/* What follows from the predictions. */
static vt_status count(vt_assessment *a, vt_error *err)
{
    const vt_evaluator *e = &a->evaluator;
    int64_t n = e->record->images;
    a->wrong = vt_calloc((size_t)n + 1, sizeof *a->wrong);
    a->total = vt_calloc((size_t)e->classes, sizeof *a->total);
    a->right = vt_calloc((size_t)e->classes, sizeof *a->right);
    if (!a->wrong || !a->total || !a->right)
        return vt_fail(err, VT_ERR_NOMEM, "no memory for lists of images");
    a->samples = n < VT_ASSESS_SAMPLES ? n : VT_ASSESS_SAMPLES;
    for (int64_t i = 0; i < n; i++) {
        bool right = e->pred[i] == e->label[i];
        a->total[e->label[i]]++;
        a->right[e->label[i]] += right;
        a->samples_right += right && i < a->samples;
    }
    a->confusion = (vt_confusion){.classes = e->classes, .names = vt_trained_classes(&a->trained)};
    if (e->record_bytes > sizeof *e->record)
        a->confusion.count = (const int64_t *)(e->record + 1);
    return vt_review_wrong(e, a->wrong, &a->n_wrong, err);
}

static vt_status evaluate(vt_assessment *a, bool quiet, vt_error *err)
{
    vt_trained *t = &a->trained;
    vt_evaluator *e = &a->evaluator;
    struct watch watch = {.a = a};
    vt_progress_init(&watch.progress, quiet, t->config->train_epochs, 1, 0);
    bool whole = vt_evaluator_run(e, a->part, t->epoch < 0 ? 0 : t->epoch,
                                  t->step < 0 ? 0 : t->step, tick, &watch);
    vt_progress_clear(&watch.progress);
    if (!whole)
        return vt_fail(err, e->err.status, "%s", e->err.text);
    vt_status status = count(a, err);
    if (status == VT_OK)
        status = vt_review_recorded(e, t->fd, &a->recorded, &a->recorded_eval, err);
    return status;
}

vt_status vt_assess(vt_assessment *a, const vt_trained_request *request, vt_part part, bool quiet,
                    vt_error *err)
{
    vt_trained *t = &a->trained;
    *a = (vt_assessment){.part = part};
    vt_status status = vt_trained_find(t, request, err);
    if (status == VT_OK)
        status = vt_trained_device(t, err);
    if (status == VT_OK) {
        vt_data_request data = vt_run_data_request(t->config);
        status = vt_data_open(&a->data, &data, vt_dev_pool(t->dev), err);
    }
    if (status != VT_OK)
        return status;
    a->info = vt_data_info_of(a->data);
    if (a->info->warning[0])
        vt_log_write(VT_LOG_WARNING, "%s", a->info->warning);
    status = check_data(a, err);
    if (status == VT_OK) {
        vt_evaluator_slots(&t->engine, t->config, a->info);
        status = vt_trained_load(t, err);
    }
    if (status == VT_OK)
        status = vt_evaluator_init(&a->evaluator, &t->engine, a->data, err);
    if (status == VT_OK)
        status = vt_ahead_new(&a->ahead, &t->engine, a->data, err);
    a->evaluator.ahead = a->ahead;
    return status == VT_OK ? evaluate(a, quiet, err) : status;
}

void vt_assess_release(vt_assessment *a)
{
    vt_free(a->wrong);
    vt_free(a->total);
    vt_free(a->right);
    vt_ahead_free(a->ahead);
    vt_evaluator_release(&a->evaluator);
    vt_data_free(a->data);
    vt_trained_release(&a->trained);
}

/* Figures. */

static void describe(const vt_assessment *a, const char *what, char title[TITLE])
{
    const vt_trained *t = &a->trained;
    char epoch[32] = "";
    if (t->epoch >= 0)
        snprintf(epoch, sizeof epoch, " of epoch %" PRId64, t->epoch);
    snprintf(title, TITLE, "%.100s: %.4s weights%s, %s, %s", t->history.info.exp_name, t->file,
             epoch, vt_part_name(a->part), what);
}

/* The sheet of n images at these places. */
static vt_status draw_sheet(const vt_assessment *a, vt_drawer *drawer, int dir_fd,
                            const char *folder, vt_sheet sheet, const int64_t *places,
                            vt_error *err)
{
    sheet.side = a->trained.config->model_image;
    sheet.columns = VT_ASSESS_COLUMNS;
    vt_sheet_image *images = vt_calloc((size_t)sheet.n, sizeof *images);
    uint8_t *pixels = vt_calloc((size_t)sheet.n, (size_t)(sheet.side * sheet.side * 3));
    vt_status status = VT_OK;
    if (!images || !pixels)
        status = vt_fail(err, VT_ERR_NOMEM, "no memory for a sheet of pictures");
    if (status == VT_OK) {
        vt_review_images(&a->evaluator, a->part, vt_trained_classes(&a->trained), places, sheet.n,
                         images);
        status = vt_review_pixels(&a->evaluator, a->part, places, sheet.n, pixels, err);
    }
    sheet.image = images;
    sheet.pixels = pixels;
    if (status == VT_OK)
        status = vt_sheet_draw(drawer, dir_fd, folder, &sheet, err);
    vt_free(images);
    vt_free(pixels);
    return status;
}

static vt_status draw_samples(const vt_assessment *a, vt_drawer *drawer, int dir_fd,
                              const char *folder, const char *suffix, vt_error *err)
{
    char name[FIGURE_NAME], what[64], title[TITLE];
    int64_t places[VT_ASSESS_SAMPLES];
    for (int64_t i = 0; i < a->samples; i++)
        places[i] = i;
    snprintf(name, sizeof name, "samples%s", suffix);
    snprintf(what, sizeof what, "%" PRId64 " of the first %" PRId64 " right", a->samples_right,
             a->samples);
    describe(a, what, title);
    return draw_sheet(a, drawer, dir_fd, folder,
                      (vt_sheet){.name = name, .title = title, .n = a->samples}, places, err);
}

static vt_status list_wrong(const vt_assessment *a, int dir_fd, const char *suffix, vt_error *err)
{
    char name[FIGURE_NAME];
    vt_text text = {0};
    vt_sheet_image *images = vt_calloc((size_t)a->n_wrong + 1, sizeof *images);
    if (!images)
        return vt_fail(err, VT_ERR_NOMEM, "no memory to list %" PRId64 " images", a->n_wrong);
    vt_review_images(&a->evaluator, a->part, vt_trained_classes(&a->trained), a->wrong, a->n_wrong,
                     images);
    vt_sheet_list(images, a->n_wrong, &text);
    snprintf(name, sizeof name, "wrong_all%s.tsv", suffix);
    vt_status status = vt_draw_publish(dir_fd, name, &text, err);
    vt_text_release(&text);
    vt_free(images);
    return status;
}

static vt_status draw_wrong(const vt_assessment *a, vt_drawer *drawer, int dir_fd,
                            const char *folder, const char *suffix, vt_error *err)
{
    char name[FIGURE_NAME], what[96], title[TITLE];
    int64_t n = a->n_wrong < VT_ASSESS_WRONG ? a->n_wrong : VT_ASSESS_WRONG;
    if (n == 0)
        return VT_OK;
    snprintf(name, sizeof name, "wrong%s", suffix);
    snprintf(what, sizeof what, "the surest %" PRId64 " of %" PRId64 " wrong", n, a->n_wrong);
    describe(a, what, title);
    return draw_sheet(a, drawer, dir_fd, folder,
                      (vt_sheet){.name = name, .title = title, .n = n, .says_probability = true},
                      a->wrong, err);
}

vt_status vt_assess_draw(const vt_assessment *a, vt_drawer *drawer, int dir_fd, const char *folder,
                         const char *suffix, vt_error *err)
{
    const vt_record_eval *record = a->evaluator.record;
    char name[FIGURE_NAME], what[64], title[TITLE];
    snprintf(name, sizeof name, "confusion%s", suffix);
    snprintf(what, sizeof what, "%.2f %% of %" PRId64 " right", 100 * record->top1, record->images);
    describe(a, what, title);
    vt_status status = VT_OK;
    if (a->confusion.classes > VT_CONFUSION_DRAWN_MAX)
        vt_log_write(VT_LOG_INFO, "a confusion matrix of more than %d classes is not drawn",
                     VT_CONFUSION_DRAWN_MAX);
    else if (a->confusion.count)
        status = vt_confusion_draw(drawer, dir_fd, folder, name, title, &a->confusion, err);
    if (status == VT_OK)
        status = draw_samples(a, drawer, dir_fd, folder, suffix, err);
    if (status == VT_OK)
        status = list_wrong(a, dir_fd, suffix, err);
    if (status == VT_OK)
        status = draw_wrong(a, drawer, dir_fd, folder, suffix, err);
    return status == VT_OK ? vt_draw_finish(drawer, err) : status;
}
