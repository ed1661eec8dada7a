/* vitrine eval: a run's weights on a part of the data, in figures, tables and pictures. */
#include "base/fs.h"
#include "base/log.h"
#include "cli/cmd.h"
#include "cli/options.h"
#include "results/confusion.h"
#include "results/json.h"
#include "train/assess.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

enum { TABLE_MAX = 20 };

struct request {
    const char *part, *which, *data, *csv, *out, *formats;
    bool json, no_figures;
    vt_common_options common;
};

static const char *recorded_word(vt_recorded recorded)
{
    return recorded == VT_RECORDED_SAME ? "same" : recorded == VT_RECORDED_OTHER ? "other" : "none";
}

/* Text. */

static void print_recorded(const vt_assessment *a)
{
    const vt_record_eval *e = &a->recorded_eval;
    switch (a->recorded) {
    case VT_RECORDED_SAME:
        printf("recorded the run has the same figures, bit for bit\n");
        break;
    case VT_RECORDED_OTHER:
        printf("recorded the run has others: top1 %.2f %%  loss %.6f  (%" PRId64 " images)\n",
               100 * e->top1, e->loss, e->images);
        break;
    case VT_RECORDED_NONE:
        printf("recorded the run has no such evaluation\n");
        break;
    }
}

static void print_text(const vt_assessment *a)
{
    const vt_trained *t = &a->trained;
    const vt_record_eval *e = a->evaluator.record;
    const vt_confusion *c = &a->confusion;
    const char *part = a->part == VT_PART_VAL ? "validation" : "test";
    printf("run      %s  %s  %.4s weights", t->history.info.run_id, t->history.info.exp_name,
           t->file);
    if (t->epoch >= 0)
        printf(" of epoch %" PRId64 " (step %" PRId64 ")", t->epoch, t->step);
    printf("\ndata     %s %.12s\n", a->info->name, a->info->digest);
    printf("Accuracy of the network on the %" PRId64 " %s images: %.2f %%\n", e->images, part,
           100 * e->top1);
    for (int64_t i = 0; i < e->classes; i++) {
        if (a->total[i])
            printf("Accuracy of %s : %.2f %%\n", c->names[i],
                   100.0 * (double)a->right[i] / (double)a->total[i]);
        else
            printf("Accuracy of %s : no image\n", c->names[i]);
    }
    printf("loss     %.6f  top5 %.2f %%  calibration error %.4f\n", e->loss, 100 * e->top5, e->ece);
    print_recorded(a);
    if (c->classes <= TABLE_MAX) {
        vt_text table = {0};
        vt_confusion_print(c, &table);
        printf("\n%s\n", table.data ? table.data : "");
        vt_text_release(&table);
    }
    printf("Accuracy Rate = %g%%\n", 100.0 * (double)a->samples_right / (double)a->samples);
}

/* JSON. */

static json_t *pack_classes(const vt_assessment *a)
{
    json_t *list = json_array();
    for (int64_t i = 0; i < a->confusion.classes; i++) {
        double top1 = (double)a->right[i] / (double)a->total[i];
        json_array_append_new(list, json_pack("{s:s, s:I, s:I, s:o}", "name", a->confusion.names[i],
                                              "images", (json_int_t)a->total[i], "right",
                                              (json_int_t)a->right[i], "top1",
                                              a->total[i] ? vt_json_real(top1) : json_null()));
    }
    return list;
}

static json_t *pack_counts(const vt_confusion *c)
{
    json_t *rows = c->count ? json_array() : json_null();
    for (int64_t i = 0; c->count && i < c->classes; i++) {
        json_t *row = json_array();
        for (int64_t j = 0; j < c->classes; j++)
            json_array_append_new(row, json_integer(c->count[i * c->classes + j]));
        json_array_append_new(rows, row);
    }
    return rows;
}

static vt_status print_json(const vt_assessment *a, vt_error *err)
{
    const vt_record_eval *e = a->evaluator.record;
    vt_text text = {0};
    json_t *root = json_pack(
        "{s:i, s:o, s:s, s:s, s:s, s:I, s:o, s:o, s:o, s:o, s:s, s:o, s:o, s:o}", "schema", 1,
        "weights", vt_trained_json(&a->trained), "data", a->info->name, "data_digest",
        a->info->digest, "part", vt_part_name(a->part), "images", (json_int_t)e->images, "loss",
        vt_json_real(e->loss), "top1", vt_json_real(e->top1), "top5", vt_json_real(e->top5), "ece",
        vt_json_real(e->ece), "recorded", recorded_word(a->recorded), "classes", pack_classes(a),
        "confusion", pack_counts(&a->confusion), "samples",
        json_pack("{s:I, s:I}", "images", (json_int_t)a->samples, "right",
                  (json_int_t)a->samples_right));
    vt_status status = vt_json_print(&text, root, err);
    if (status == VT_OK)
        fwrite(text.data, 1, text.size, stdout);
    vt_text_release(&text);
    return status;
}

/* Files. */

static vt_status write_csv(const vt_assessment *a, const char *path, vt_error *err)
{
    const char *name = NULL;
    vt_text text = {0};
    int fd = -1;
    if (!a->confusion.count)
        return vt_fail(err, VT_ERR_DATA, "%s: no confusion matrix is kept for %" PRId64 " classes",
                       path, a->confusion.classes);
    vt_confusion_csv(&a->confusion, &text);
    vt_status status = vt_fs_open_parent(path, &fd, &name, err);
    if (status == VT_OK)
        status = vt_draw_publish(fd, name, &text, err);
    vt_fs_close(&fd);
    vt_text_release(&text);
    return status;
}

/* Opens --out, made if its parent is there, or the run's plots/. */
static vt_status open_folder(const vt_assessment *a, const char *out, char path[PATH_MAX], int *fd,
                             vt_error *err)
{
    if (out) {
        snprintf(path, PATH_MAX, "%s", out);
        if (mkdir(out, 0777) != 0 && errno != EEXIST)
            return vt_fail(err, VT_ERR_CANTCREATE, "%s: cannot make the folder: %s", out,
                           strerror(errno));
        return vt_fs_open_dir(AT_FDCWD, out, fd, err);
    }
    vt_error reason = {0};
    snprintf(path, PATH_MAX, "%.*s/plots", PATH_MAX - 16, a->trained.place.path);
    vt_status status = vt_fs_make_dirs(a->trained.fd, "plots", fd, &reason);
    if (status != VT_OK)
        vt_fail(err, status, "%s; --out DIR puts the figures elsewhere, --no-figures draws none",
                reason.text);
    return status;
}

static vt_status draw(const struct request *r, const vt_assessment *a, vt_error *err)
{
    vt_drawer drawer = {.maker = "vitrine eval", .list = r->json ? stderr : stdout};
    char path[PATH_MAX], suffix[40];
    int fd = -1;
    snprintf(suffix, sizeof suffix, "%s%.24s%s", r->data ? "-" : "", r->data ? r->data : "",
             a->part == VT_PART_VAL ? "-val" : "");
    vt_status status = vt_formats_parse(&drawer.formats, r->formats, err);
    if (status == VT_OK)
        status = open_folder(a, r->out, path, &fd, err);
    if (status == VT_OK)
        status = vt_assess_draw(a, &drawer, fd, path, suffix, err);
    vt_fs_close(&fd);
    return status;
}

static vt_status run(const struct request *r, const vt_trained_request *request, vt_part part,
                     vt_error *err)
{
    vt_assessment a;
    vt_status status = vt_assess(&a, request, part, r->common.quiet, err);
    if (status == VT_OK && r->json)
        status = print_json(&a, err);
    else if (status == VT_OK)
        print_text(&a);
    fflush(stdout);
    if (status == VT_OK && r->csv)
        status = write_csv(&a, r->csv, err);
    if (status == VT_OK && !r->no_figures)
        status = draw(r, &a, err);
    vt_assess_release(&a);
    return status;
}

static vt_status find_part(const char *word, vt_part *part)
{
    *part = VT_PART_TEST;
    if (word && strcmp(word, "val") == 0)
        *part = VT_PART_VAL;
    else if (word && strcmp(word, "test") != 0)
        return vt_usage_error("eval", "--part is test or val, not '%s'", word);
    return VT_OK;
}

vt_status vt_cmd_eval(int argc, char **argv)
{
    struct request r = {0};
    const vt_option options[] = {
        {"data", 0, "NAME", VT_OPTION_TEXT, &r.data, "another data set with the same classes"},
        {"part", 0, "PART", VT_OPTION_TEXT, &r.part, "test (default) or val"},
        VT_WHICH_OPTION(r.which),
        {"json", 0, NULL, VT_OPTION_SWITCH, &r.json, "print everything as JSON"},
        {"csv", 0, "FILE", VT_OPTION_TEXT, &r.csv, "write the confusion matrix as CSV"},
        {"out", 0, "DIR", VT_OPTION_TEXT, &r.out, "folder of the figures (default: RUN/plots)"},
        {"format", 0, "LIST", VT_OPTION_TEXT, &r.formats, "of svg, png, pdf (default: all)"},
        {"no-figures", 0, NULL, VT_OPTION_SWITCH, &r.no_figures, "draw nothing, write nothing"},
        VT_CONFIG_OPTIONS(r.common),
        VT_RESULTS_OPTION(r.common),
        VT_COMMON_OPTIONS(r.common),
        VT_OPTION_END,
    };
    const vt_usage usage = {
        .verb = "eval",
        .arguments = "RUN",
        .about =
            "Evaluates a run's weights on every test image once: accuracy of the network and of\n"
            "each class, loss, confusion matrix. Draws the matrix, the first 64 images and the\n"
            "images that it is most surely wrong about. RUN is a run's folder, an experiment (its\n"
            "newest run), the first digits of a run id, or 'last'.",
        .options = options,
        .min_arguments = 1,
        .max_arguments = 1};
    vt_arguments arguments = {0};
    vt_error err = {0};
    vt_part part;
    vt_formats formats = {0};
    char data[300];
    vt_trained_request request = {0};
    vt_status status = vt_options_parse(&usage, &r.common, argc, argv, &arguments);
    if (status != VT_OK || r.common.help)
        return status;
    if (vt_formats_parse(&formats, r.formats, &err) != VT_OK)
        return vt_usage_error("eval", "%s", err.text);
    status = find_part(r.part, &part);
    if (status == VT_OK)
        status = vt_options_which("eval", r.which, &request.last);
    if (status != VT_OK)
        return status;
    if (r.data && r.common.sets.n < VT_SETS_MAX) {
        snprintf(data, sizeof data, "data.name=%s", r.data);
        r.common.sets.v[r.common.sets.n++] = data;
    }
    status = vt_options_trained(&r.common, arguments.v[0], &request, &err);
    if (status == VT_OK)
        status = run(&r, &request, part, &err);
    if (status != VT_OK)
        vt_log_write(VT_LOG_ERROR, "%s", err.text);
    return status;
}
