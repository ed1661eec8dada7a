/* vitrine tail: a run's records as they are written, by whichever process trains it. */
#include "base/fs.h"
#include "base/log.h"
#include "cli/cmd.h"
#include "cli/options.h"
#include "report/show.h"
#include "results/history.h"
#include "results/rundir.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

struct tail {
    bool json, failed;
    int64_t from, at; /* records to print begin at `from`; `at` counts all */
};

static json_t *pack_train(const vt_record_train *r)
{
    return json_pack("{s:s, s:I, s:I, s:I, s:o, s:o, s:o, s:o}", "kind", "train", "step",
                     (json_int_t)r->step, "epoch", (json_int_t)r->epoch, "samples_seen",
                     (json_int_t)r->samples_seen, "loss", vt_json_real(r->loss), "top1",
                     vt_json_real(r->top1), "lr", vt_json_real(r->lr), "grad_norm",
                     vt_json_real(r->grad_norm));
}

static json_t *pack_eval(const vt_record_eval *r)
{
    return json_pack("{s:s, s:s, s:I, s:I, s:I, s:o, s:o, s:o, s:o}", "kind", "eval", "split",
                     vt_split_name((vt_split)r->split), "step", (json_int_t)r->step, "epoch",
                     (json_int_t)r->epoch, "images", (json_int_t)r->images, "loss",
                     vt_json_real(r->loss), "top1", vt_json_real(r->top1), "top5",
                     vt_json_real(r->top5), "ece", vt_json_real(r->ece));
}

static json_t *pack_epoch(const vt_record_epoch *r)
{
    return json_pack("{s:s, s:I, s:I, s:o, s:o, s:o}", "kind", "epoch", "step", (json_int_t)r->step,
                     "epoch", (json_int_t)r->epoch, "train_loss", vt_json_real(r->train_loss),
                     "train_top1", vt_json_real(r->train_top1), "lr", vt_json_real(r->lr));
}

static void print_json(struct tail *t, json_t *record)
{
    json_object_set_new(record, "schema", json_integer(1));
    t->failed |=
        json_dumpf(record, stdout, JSON_SORT_KEYS | JSON_COMPACT | JSON_REAL_PRECISION(17)) != 0;
    json_decref(record);
    putchar('\n');
}

static void print_train(struct tail *t, const vt_record_train *r)
{
    if (t->json)
        print_json(t, pack_train(r));
    else
        printf("step %7lld  epoch %4lld  loss %.4f  top1 %6.2f %%  lr %.3e  gnorm %.3g\n",
               (long long)r->step, (long long)r->epoch, r->loss, 100 * r->top1, r->lr,
               r->grad_norm);
}

static void print_eval(struct tail *t, const vt_record_eval *r)
{
    if (t->json)
        print_json(t, pack_eval(r));
    else
        printf("%-5s        epoch %4lld  loss %.4f  top1 %6.2f %%  top5 %.2f %%  (%lld images)\n",
               vt_split_name((vt_split)r->split), (long long)r->epoch, r->loss, 100 * r->top1,
               100 * r->top5, (long long)r->images);
}

static void print_epoch(struct tail *t, const vt_record_epoch *r)
{
    if (t->json)
        print_json(t, pack_epoch(r));
    else
        printf("epoch        epoch %4lld  loss %.4f  top1 %6.2f %%  lr %.3e  done at step %lld\n",
               (long long)r->epoch, r->train_loss, 100 * r->train_top1, r->lr, (long long)r->step);
}

/* The kinds that are told. */
static bool is_told(const vt_record *record)
{
    return (record->type == VT_RECORD_TRAIN && record->size == sizeof(vt_record_train)) ||
           (record->type == VT_RECORD_EVAL && record->size >= sizeof(vt_record_eval)) ||
           (record->type == VT_RECORD_EPOCH && record->size == sizeof(vt_record_epoch));
}

static vt_status visit(void *arg, const vt_record *record, vt_error *err)
{
    struct tail *t = arg;
    vt_record_train train;
    vt_record_eval eval;
    vt_record_epoch epoch;
    (void)err;
    if (!is_told(record) || t->at++ < t->from)
        return VT_OK;
    if (record->type == VT_RECORD_TRAIN) {
        memcpy(&train, record->payload, sizeof train);
        print_train(t, &train);
    } else if (record->type == VT_RECORD_EPOCH) {
        memcpy(&epoch, record->payload, sizeof epoch);
        print_epoch(t, &epoch);
    } else {
        memcpy(&eval, record->payload, sizeof eval);
        if (eval.split >= 0 && eval.split < VT_SPLIT_COUNT)
            print_eval(t, &eval);
    }
    return VT_OK;
}

/* Prints what the journal has from record t->from on. */
static vt_status print_new(struct tail *t, int fd, vt_error *err)
{
    t->at = 0;
    vt_status status = vt_journal_read(fd, visit, t, NULL, err);
    t->from = t->at > t->from ? t->at : t->from;
    fflush(stdout);
    if (status == VT_OK && (t->failed || ferror(stdout)))
        return vt_fail(err, VT_ERR_IO, "cannot write to standard output");
    return status;
}

static vt_status skip_all_but(struct tail *t, int fd, int64_t lines, vt_error *err)
{
    t->at = 0;
    t->from = INT64_MAX;
    vt_status status = vt_journal_read(fd, visit, t, NULL, err);
    t->from = t->at > lines ? t->at - lines : 0;
    return status;
}

/* Until nobody holds the run any more. Its end is looked for before its records, so that the last
 * ones are not missed. */
static vt_status follow(struct tail *t, int fd, vt_error *err)
{
    const struct timespec pause = {.tv_nsec = 200000000};
    int64_t size = -1;
    struct stat now;
    vt_status status = VT_OK;
    for (bool held = true; held && status == VT_OK;) {
        held = vt_rundir_is_held(fd, NULL);
        if (fstatat(fd, "journal", &now, AT_SYMLINK_NOFOLLOW) == 0 && now.st_size != size) {
            size = now.st_size;
            status = print_new(t, fd, err);
        }
        if (held && status == VT_OK)
            nanosleep(&pause, NULL);
    }
    return status;
}

/* How it stands now. */
static vt_status say_state(const struct tail *t, const vt_run_place *place, vt_error *err)
{
    vt_outcome outcome;
    vt_text text = {0};
    vt_status status = vt_outcome_read(&outcome, place, err);
    if (status == VT_OK && t->json)
        print_json(&(struct tail){0},
                   json_pack("{s:s, s:s, s:I, s:I}", "kind", "state", "state",
                             vt_run_state_word(outcome.state), "epoch", (json_int_t)outcome.epoch,
                             "step", (json_int_t)outcome.step));
    else if (status == VT_OK) {
        vt_outcome_print(&outcome, &text);
        if (text.data)
            printf("%.*s\n", (int)strcspn(text.data, "\n"), text.data);
    }
    vt_text_release(&text);
    vt_outcome_release(&outcome);
    return status;
}

vt_status vt_cmd_tail(int argc, char **argv)
{
    bool once = false;
    struct tail tail = {0};
    vt_option_u64 lines = {.value = 10};
    vt_common_options common = {0};
    const vt_option options[] = {
        {"lines", 'n', "N", VT_OPTION_U64, &lines, "begin with the last N records (default 10)"},
        {"once", 0, NULL, VT_OPTION_SWITCH, &once, "do not wait for more"},
        {"json", 0, NULL, VT_OPTION_SWITCH, &tail.json, "print one JSON object a line"},
        VT_RESULTS_OPTION(common),
        VT_COMMON_OPTIONS(common),
        VT_OPTION_END,
    };
    const vt_usage usage = {
        .verb = "tail",
        .arguments = "RUN",
        .about = "Prints the last training steps, evaluations and epochs of a run, and those to\n"
                 "come while a process trains it; ends when that one does. " VT_RUN_HELP,
        .options = options,
        .min_arguments = 1,
        .max_arguments = 1};
    vt_arguments arguments = {0};
    vt_run_place place;
    vt_error err = {0};
    int fd = -1;
    vt_status status = vt_options_parse(&usage, &common, argc, argv, &arguments);
    if (status != VT_OK || common.help)
        return status;
    status = vt_outcomes_find(&place, vt_results_of(&common), arguments.v[0], &err);
    if (status == VT_OK)
        status = vt_fs_open_dir(AT_FDCWD, place.path, &fd, &err);
    if (status == VT_OK)
        status = skip_all_but(&tail, fd, lines.value < INT32_MAX ? (int64_t)lines.value : INT32_MAX,
                              &err);
    if (status == VT_OK)
        status = once ? print_new(&tail, fd, &err) : follow(&tail, fd, &err);
    if (status == VT_OK)
        status = say_state(&tail, &place, &err);
    vt_fs_close(&fd);
    if (status != VT_OK)
        vt_log_write(VT_LOG_ERROR, "%s", err.text);
    return status;
}
