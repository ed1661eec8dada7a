#include "base/log.h"
#include "cli/cmd.h"
#include "cli/options.h"
#include "report/curves.h"
#include "report/finals.h"
#include "results/json.h"
#include "train/export.h"
#include "train/tensorboard.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>

/* format, what is exported */
#define FORMATS(X)                                                                                 \
    X(csv, CURVES)                                                                                 \
    X(tsv, CURVES)                                                                                 \
    X(jsonl, CURVES)                                                                               \
    X(md, FINALS)                                                                                  \
    X(tex, FINALS)                                                                                 \
    X(tfevents, EVENTS)                                                                            \
    X(safetensors, WEIGHTS)

enum content { NOTHING, CURVES, FINALS, EVENTS, WEIGHTS };

struct request {
    vt_common_options common;
    const char *to, *out, *which;
    bool steps, seeds, json, last;
    enum content content;
    vt_table_format format;
};

/* What was done, for --json. */
struct done {
    json_t *files, *runs;
    vt_status worst;
};

static void note_file(struct done *done, const char *path)
{
    json_array_append_new(done->files, vt_json_text(path, "(not UTF-8)"));
}

/* Every readable run is exported; the first failure is the command's. */
static void leave_out(struct done *done, vt_status status, const char *why)
{
    vt_log_write(VT_LOG_WARNING, "left out: %s", why);
    done->worst = done->worst == VT_OK ? status : done->worst;
}

static void note_run(struct done *done, const char *path)
{
    json_array_append_new(done->runs, vt_json_text(path, "(not UTF-8)"));
}

static void add_curves(vt_table *table, const struct request *r, const vt_run_place *place,
                       struct done *done)
{
    vt_history history = {0};
    vt_error err = {0};
    int fd = -1;
    vt_status status = vt_fs_open_dir(AT_FDCWD, place->path, &fd, &err);
    if (status == VT_OK)
        status = vt_history_read(&history, fd, &err);
    if (status != VT_OK) {
        leave_out(done, status, err.text);
    } else {
        note_run(done, place->path);
        if (r->steps)
            vt_curves_step_rows(table, &history);
        else
            vt_curves_epoch_rows(table, &history);
    }
    vt_history_release(&history);
    vt_fs_close(&fd);
}

static void add_finals(vt_table *table, const vt_outcome_list *list, struct done *done)
{
    for (int i = 0; i < list->n; i++) {
        const vt_outcome *run = &list->run[i];
        char why[PATH_MAX + 256];
        if (run->state != VT_RUN_BROKEN) {
            note_run(done, run->place.path);
            continue;
        }
        snprintf(why, sizeof why, "%s: %s", run->place.path, run->problem);
        leave_out(done, VT_ERR_DATA, why);
    }
    vt_finals_table(table, list);
}

static vt_status publish(const char *path, const vt_text *text, vt_error *err)
{
    char folder[PATH_MAX];
    int fd = -1;
    const char *slash = strrchr(path, '/');
    snprintf(folder, sizeof folder, "%.*s", slash ? (int)(slash - path) + 1 : 1,
             slash ? path : ".");
    vt_status status = vt_fs_open_dir(AT_FDCWD, folder, &fd, err);
    if (status == VT_OK)
        status = vt_fs_publish(fd, slash ? slash + 1 : path, text->data, text->size, err);
    vt_fs_close(&fd);
    return status;
}

static vt_status export_table(const struct request *r, const vt_outcome_list *list,
                              struct done *done, vt_error *err)
{
    vt_table table;
    vt_text text = {0};
    vt_table_init(&table);
    if (r->content == FINALS)
        add_finals(&table, list, done);
    else if (r->steps)
        vt_curves_step_columns(&table);
    else
        vt_curves_epoch_columns(&table);
    for (int i = 0; i < list->n && r->content == CURVES; i++)
        add_curves(&table, r, &list->run[i].place, done);
    vt_status status = vt_table_print(&table, r->format, &text, err);
    if (status == VT_OK && r->out) {
        status = publish(r->out, &text, err);
        note_file(done, r->out);
    } else if (status == VT_OK) {
        fwrite(text.data ? text.data : "", 1, text.size, stdout);
    }
    vt_text_release(&text);
    vt_table_release(&table);
    return status;
}

static vt_status export_weights(const struct request *r, const vt_run_place *place,
                                char written[PATH_MAX], vt_error *err)
{
    vt_trained_request request = {.last = r->last};
    vt_trained trained;
    vt_status status = vt_options_trained(&r->common, place->path, &request, err);
    if (status != VT_OK)
        return status;
    status = vt_trained_find(&trained, &request, err);
    if (status == VT_OK)
        status = vt_export_safetensors(&trained, r->out, written, err);
    vt_trained_release(&trained);
    return status;
}

/* One file a run. The failure of a single run is the command's; of several it is one left out. */
static vt_status export_files(const struct request *r, const vt_outcome_list *list,
                              struct done *done, vt_error *err)
{
    char written[PATH_MAX];
    for (int i = 0; i < list->n; i++) {
        const vt_run_place *place = &list->run[i].place;
        vt_error reason = {0};
        vt_status status = r->content == EVENTS
                               ? vt_tensorboard_export(place, r->out, written, &reason)
                               : export_weights(r, place, written, &reason);
        if (status != VT_OK && list->n == 1)
            return vt_fail(err, status, "%s", reason.text);
        if (status != VT_OK) {
            leave_out(done, status, reason.text);
            continue;
        }
        note_run(done, place->path);
        note_file(done, written);
        if (!r->json)
            printf("%s\n", written);
    }
    return VT_OK;
}

static vt_status print_done(const struct request *r, struct done *done, vt_error *err)
{
    vt_text text = {0};
    vt_status status = vt_json_print(&text,
                                     json_pack("{s:i, s:s, s:O, s:O}", "schema", 1, "to", r->to,
                                               "files", done->files, "runs", done->runs),
                                     err);
    if (status == VT_OK)
        fwrite(text.data, 1, text.size, stdout);
    vt_text_release(&text);
    return status;
}

static vt_status export(const struct request *r, const vt_arguments *arguments, vt_error *err)
{
    struct done done = {.files = json_array(), .runs = json_array()};
    vt_outcome_list list = {0};
    vt_status status =
        vt_outcomes_read(&list, r->common.results ? r->common.results : "results",
                         (const char *const *)arguments->v, arguments->n, r->seeds, err);
    if (status == VT_OK && r->content == WEIGHTS && r->out && list.n > 1)
        status = vt_fail(err, VT_ERR_USAGE, "--out names one file, but there are %d runs", list.n);
    if (status == VT_OK)
        status = r->content == CURVES || r->content == FINALS ? export_table(r, &list, &done, err)
                                                              : export_files(r, &list, &done, err);
    if (status == VT_OK && r->json)
        status = print_done(r, &done, err);
    vt_outcomes_release(&list);
    json_decref(done.files);
    json_decref(done.runs);
    return status == VT_OK ? done.worst : status;
}

static vt_status check(struct request *r, vt_error *err)
{
    static const struct {
        const char *word;
        enum content content;
    } formats[] = {
#define X(word, content) {#word, content},
        FORMATS(X)
#undef X
    };
    static const char words[] = ""
#define X(word, content) " " #word
        FORMATS(X)
#undef X
        ;
    for (size_t i = 0; r->to && i < sizeof formats / sizeof *formats; i++)
        if (strcmp(r->to, formats[i].word) == 0)
            r->content = formats[i].content;
    if (r->content == NOTHING)
        return vt_usage_error("export", "--to says in which format; there are:%s", words);
    if (r->steps && r->content != CURVES)
        return vt_usage_error("export", "--steps is for csv, tsv and jsonl");
    if (r->which && r->content != WEIGHTS)
        return vt_usage_error("export", "--which is for safetensors");
    if (r->content == EVENTS && !r->out)
        return vt_usage_error("export", "--to tfevents makes a folder a run: --out DIR says where");
    if (r->json && !r->out && r->content != WEIGHTS)
        return vt_usage_error("export", "--json says what was written: give --out too");
    if (r->content == CURVES || r->content == FINALS)
        return vt_table_format_parse(&r->format, r->to, err);
    return vt_options_which("export", r->which, &r->last);
}

vt_status vt_cmd_export(int argc, char **argv)
{
    struct request r = {0};
    const vt_option options[] = {
        {"to", 0, "FORMAT", VT_OPTION_TEXT, &r.to,
         "csv, tsv, jsonl, md, tex, tfevents or safetensors"},
        {"out", 'o', "FILE", VT_OPTION_TEXT, &r.out,
         "the file to write (default: standard output, or model.safetensors in the run's folder); "
         "of tfevents the folder"},
        {"steps", 0, NULL, VT_OPTION_SWITCH, &r.steps,
         "csv, tsv, jsonl: a row a record of the training, not an epoch"},
        {"seeds", 0, NULL, VT_OPTION_SWITCH, &r.seeds,
         "an experiment means its newest run of every seed"},
        VT_WHICH_OPTION(r.which),
        {"json", 0, NULL, VT_OPTION_SWITCH, &r.json, "say as JSON what was written"},
        VT_RESULTS_OPTION(r.common),
        VT_COMMON_OPTIONS(r.common),
        VT_OPTION_END,
    };
    const vt_usage usage = {
        .verb = "export",
        .arguments = "--to FORMAT RUN...",
        .about = "Writes runs for other programs (docs/exchange.md):\n"
                 "  csv, tsv, jsonl  their curves, a row an epoch\n"
                 "  md, tex          a table of how they ended\n"
                 "  tfevents         curves and network for TensorBoard, a folder a run\n"
                 "  safetensors      weights under timm's names, with the classes, the\n"
                 "                   normalisation and the call of timm that builds the network\n"
                 "RUN: a run's folder, an experiment (its newest run), EXP@seed=3,\n"
                 "EXP@best:test.top1, 4 or more digits of a run id, or 'last'.",
        .options = options,
        .min_arguments = 1,
        .max_arguments = -1};
    vt_arguments arguments = {0};
    vt_error err = {0};
    vt_status status = vt_options_parse(&usage, &r.common, argc, argv, &arguments);
    if (status != VT_OK || r.common.help)
        return status;
    status = check(&r, &err);
    if (status != VT_OK)
        return status;
    status = export(&r, &arguments, &err);
    if (err.status != VT_OK)
        vt_log_write(VT_LOG_ERROR, "%s", err.text);
    return status;
}
