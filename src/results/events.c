#include "results/events.h"

#include "base/clock.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/phase.h"
#include "results/journal.h"
#include "results/json.h"
#include "results/perf.h"
#include "results/runinfo.h"
#include "results/tfevents.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { PROVENANCE_CAP = 64 << 20, EVENTS_CAP = 1 << 30 };

/* A record that has an event: its step and place in it, and the tags. */
struct told {
    int64_t step;      /* of the event */
    int64_t epoch;     /* from 1; 0 before the first step */
    int64_t last_step; /* in the epoch, of a training record; else -1 */
    vt_tfevents_scalar scalar[4];
    int n;
};

/* VT_OK with n = 0 for a record without an event. */
static vt_status tell(uint32_t type, const void *payload, size_t size, struct told *t,
                      vt_error *err)
{
    static const char *const loss[VT_SPLIT_COUNT] = {"Loss/train", "Loss/val", "Loss/test"};
    static const char *const top1[VT_SPLIT_COUNT] = {"Acc/train", "Acc/val", "Acc/test"};
    vt_record_train train;
    vt_record_eval eval;
    vt_record_epoch epoch;
    *t = (struct told){.last_step = -1};
    if (type == VT_RECORD_TRAIN && size == sizeof train) {
        memcpy(&train, payload, sizeof train);
        *t = (struct told){train.step,
                           train.epoch,
                           train.step,
                           {{"Steps/Loss", train.loss},
                            {"Steps/Acc", train.top1},
                            {"Steps/Learning Rate", train.lr},
                            {"Steps/Gradient Norm", train.grad_norm}},
                           4};
    } else if (type == VT_RECORD_EVAL && size >= sizeof eval) {
        memcpy(&eval, payload, sizeof eval);
        if (eval.split < 0 || eval.split >= VT_SPLIT_COUNT)
            return vt_fail(err, VT_ERR_DATA, "an evaluation in the journal names no split");
        *t = (struct told){eval.epoch,
                           eval.epoch,
                           -1,
                           {{loss[eval.split], eval.loss}, {top1[eval.split], eval.top1}},
                           2};
    } else if (type == VT_RECORD_EPOCH && size == sizeof epoch) {
        memcpy(&epoch, payload, sizeof epoch);
        *t = (struct told){epoch.epoch,
                           epoch.epoch,
                           -1,
                           {{"Loss/train", epoch.train_loss},
                            {"Acc/train", epoch.train_top1},
                            {"Learning Rate", epoch.lr}},
                           3};
    } else if (type == VT_RECORD_TRAIN || type == VT_RECORD_EVAL || type == VT_RECORD_EPOCH) {
        return vt_fail(err, VT_ERR_DATA, "a record of type %u in the journal is of the wrong size",
                       type);
    }
    return VT_OK;
}

/* The order of records in a journal: by step, then training, evaluations, epoch. */
static int64_t place(uint32_t type, int64_t step, const void *payload)
{
    vt_record_eval eval = {.split = 0};
    if (type == VT_RECORD_EVAL)
        memcpy(&eval, payload, sizeof eval);
    return (step * 8 + type) * VT_SPLIT_COUNT + eval.split;
}

/* Times by the rule of the header; epochs are asked for in ascending order. */
struct times {
    double start_s, passed_s; /* passed: of the rows so far */
    vt_perf *row;
    int64_t n, at;
};

static double start_of_run(int run_fd)
{
    json_t *root = NULL;
    double start_s = 0;
    if (vt_json_read(run_fd, "provenance.json", PROVENANCE_CAP, &root, NULL) == VT_OK) {
        const json_t *first = json_array_get(json_object_get(root, "attempts"), 0);
        const char *utc = json_string_value(json_object_get(first, "start_utc"));
        int64_t s = utc ? vt_clock_parse_utc(utc) : 0;
        start_s = s > 0 ? (double)s : 0;
    }
    json_decref(root);
    return start_s;
}

/* The end of the epoch. */
static double end_of(struct times *t, int64_t epoch)
{
    while (t->at < t->n && t->row[t->at].epoch <= epoch)
        t->passed_s += t->row[t->at++].train_s;
    return t->start_s + t->passed_s + (double)(epoch - t->at);
}

static double time_of(struct times *t, const struct told *told, int64_t steps_per_epoch)
{
    if (told->last_step < 0 || steps_per_epoch <= 0)
        return end_of(t, told->epoch);
    double before = end_of(t, told->epoch - 1);
    bool known = t->at < t->n && t->row[t->at].epoch == told->epoch;
    double steps = (double)told->last_step - (double)(told->epoch - 1) * (double)steps_per_epoch;
    return before + (known ? t->row[t->at].train_s : 1) * steps / (double)steps_per_epoch;
}

struct making {
    vt_text *file;
    struct times times;
    int64_t steps_per_epoch, last;
};

static vt_status add_record(void *arg, const vt_record *record, vt_error *err)
{
    struct making *m = arg;
    struct told told;
    vt_status status;
    if (record->type == VT_RECORD_RUN) {
        vt_runinfo info;
        status = vt_runinfo_parse(&info, "journal", record->payload, record->size, err);
        m->steps_per_epoch = info.steps_per_epoch;
        vt_runinfo_release(&info);
        return status;
    }
    status = tell(record->type, record->payload, record->size, &told, err);
    if (status != VT_OK || told.n == 0)
        return status;
    vt_tfevents_scalars(m->file, time_of(&m->times, &told, m->steps_per_epoch), told.step,
                        told.scalar, told.n);
    m->last = place(record->type, record->step, record->payload);
    return VT_OK;
}

static vt_status make(int run_fd, const vt_text *graph, vt_text *file, int64_t *last, vt_error *err)
{
    struct making m = {.file = file, .last = -1};
    m.times.start_s = start_of_run(run_fd);
    m.times.n = vt_perf_read(run_fd, &m.times.row);
    vt_tfevents_version(file, m.times.start_s);
    if (graph->size)
        vt_tfevents_graph(file, m.times.start_s, graph);
    vt_status status = vt_journal_read(run_fd, add_record, &m, NULL, err);
    vt_free(m.times.row);
    *last = m.last;
    if (status == VT_OK && (file->failed || graph->failed))
        status = vt_fail(err, VT_ERR_NOMEM, "no memory for the events of a run");
    return status;
}

vt_status vt_events_make(int run_fd, const vt_text *graph, vt_text *file, vt_error *err)
{
    int64_t last;
    return make(run_fd, graph, file, &last, err);
}

/* How far two files hold the same records: *a_size and *b_size bytes of them. */
static void find_common(const uint8_t *a, size_t *a_size, const uint8_t *b, size_t *b_size)
{
    size_t i = 0, j = 0;
    for (;;) {
        size_t x = vt_tfevents_record(a + i, *a_size - i);
        size_t y = vt_tfevents_record(b + j, *b_size - j);
        if (!x || !y || !vt_tfevents_same(a + i, x, b + j, y))
            break;
        i += x;
        j += y;
    }
    *a_size = i;
    *b_size = j;
}

/* Brings the open file to what the journal holds; `text` is that. */
static vt_status catch_up(vt_events *events, int run_fd, const vt_text *text, vt_error *err)
{
    char *old = NULL;
    size_t size = 0, same = text->size;
    vt_status status = vt_fs_read_file(run_fd, VT_EVENTS_FILE, EVENTS_CAP, &old, &size, err);
    if (status != VT_OK)
        return status;
    find_common((const uint8_t *)old, &size, (const uint8_t *)text->data, &same);
    vt_free(old);
    if ((int64_t)size < events->size)
        status = vt_fs_truncate(events->fd, events->path, (int64_t)size, err);
    if (status == VT_OK && same < text->size)
        status = vt_fs_write_at(events->fd, events->path, (int64_t)size, text->data + same,
                                text->size - same, err);
    events->size = (int64_t)(size + text->size - same);
    return status;
}

static void give_up(vt_events *events, const vt_error *err)
{
    vt_log_write(VT_LOG_WARNING, "no more events for TensorBoard: %s", err->text);
    vt_fs_close(&events->fd);
}

void vt_events_open(vt_events *events, int run_fd, const vt_text *graph)
{
    vt_phase phase = vt_phase_enter(VT_PHASE_PUBLISH);
    vt_error err = {0};
    vt_text text = {0};
    *events = (vt_events){.fd = -1};
    vt_fs_path(run_fd, VT_EVENTS_FILE, events->path);
    vt_status status = make(run_fd, graph, &text, &events->last, &err);
    if (status == VT_OK)
        status = vt_fs_open_update(run_fd, VT_EVENTS_FILE, &events->fd, &events->size, &err);
    if (status == VT_OK)
        status = catch_up(events, run_fd, &text, &err);
    if (status != VT_OK)
        give_up(events, &err);
    vt_text_release(&text);
    vt_phase_enter(phase);
}

void vt_events_put(vt_events *events, uint32_t type, int64_t step, const void *payload, size_t size)
{
    struct told told;
    vt_error err = {0};
    if (events->fd < 0)
        return;
    vt_status status = tell(type, payload, size, &told, &err);
    int64_t at = status == VT_OK && told.n ? place(type, step, payload) : -1;
    if (status == VT_OK && at <= events->last)
        return;
    vt_phase phase = vt_phase_enter(VT_PHASE_PUBLISH);
    vt_text *text = &events->text;
    text->size = 0;
    if (status == VT_OK) {
        vt_tfevents_scalars(text, (double)vt_clock_unix_s(), told.step, told.scalar, told.n);
        status = text->failed ? vt_fail(&err, VT_ERR_NOMEM, "no memory for an event")
                              : vt_fs_write_at(events->fd, events->path, events->size, text->data,
                                               text->size, &err);
    }
    if (status != VT_OK)
        give_up(events, &err);
    events->size += (int64_t)text->size;
    events->last = at;
    vt_phase_enter(phase);
}

void vt_events_close(vt_events *events)
{
    vt_fs_close(&events->fd);
    vt_text_release(&events->text);
}
