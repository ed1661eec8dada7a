#include "results/history.h"

#include "base/mem.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>

struct reading {
    vt_history *history;
    char path[PATH_MAX];
    bool started; /* the first record was there */
};

/* Room for one more row in a column of `n` rows; capacities are powers of two. */
static void *grow(void *rows, int64_t n, size_t row_size)
{
    if (n && (n & (n - 1)))
        return rows;
    return vt_realloc(rows, n ? 2 * (size_t)n : 1, row_size);
}

/* Appends a row; the arguments are a column of the history and its length. */
#define PUSH(rows, n, row)                                                                         \
    do {                                                                                           \
        void *grown = grow((rows), (n), sizeof *(rows));                                           \
        if (!grown)                                                                                \
            return vt_fail(err, VT_ERR_NOMEM, "%s: no memory for its records", r->path);           \
        (rows) = grown;                                                                            \
        (rows)[(n)++] = (row);                                                                     \
    } while (0)

static vt_status fail_record(const struct reading *r, const vt_record *record, const char *what,
                             vt_error *err)
{
    return vt_fail(err, VT_ERR_DATA, "%s: the record of type %u at step %lld %s", r->path,
                   record->type, (long long)record->step, what);
}

static vt_status take_eval(struct reading *r, const vt_record *record, vt_error *err)
{
    vt_history *h = r->history;
    vt_record_eval row;
    if (record->size < sizeof row)
        return fail_record(r, record, "is too short", err);
    memcpy(&row, record->payload, sizeof row);
    if (row.split < 0 || row.split >= VT_SPLIT_COUNT)
        return fail_record(r, record, "names no split", err);
    if (row.classes != h->info.n_classes)
        return fail_record(r, record, "has another number of classes than the run", err);
    if (record->size != vt_record_eval_size(row.classes))
        return fail_record(r, record, "is of the wrong size", err);
    PUSH(h->eval[row.split], h->n_eval[row.split], row);
    return VT_OK;
}

static vt_status take_capture(struct reading *r, const vt_record *record, vt_error *err)
{
    static const char folder[] = "captures/";
    vt_history *h = r->history;
    vt_capture row = {0};
    json_t *root = json_loadb(record->payload, record->size, JSON_REJECT_DUPLICATES, NULL);
    const char *file = json_string_value(json_object_get(root, "file"));
    const char *sha256 = json_string_value(json_object_get(root, "sha256"));
    const char *kind = json_string_value(json_object_get(root, "kind"));
    const json_t *epoch = json_object_get(root, "epoch");
    if (file && strncmp(file, folder, sizeof folder - 1) == 0)
        file += sizeof folder - 1;
    bool good = file && vt_fs_name_ok(file) && sha256 && strlen(sha256) == sizeof row.sha256 - 1 &&
                kind && json_is_integer(epoch);
    if (good) {
        row.epoch = json_integer_value(epoch);
        row.kind = strcmp(kind, "attention") == 0 ? VT_CAPTURE_ATTENTION : VT_CAPTURE_LOGITS;
        good = row.kind == VT_CAPTURE_ATTENTION || strcmp(kind, "logits") == 0;
        snprintf(row.file, sizeof row.file, "%s", file);
        snprintf(row.sha256, sizeof row.sha256, "%s", sha256);
    }
    json_decref(root);
    if (!good)
        return fail_record(r, record, "does not describe a captured file", err);
    PUSH(h->capture, h->n_captures, row);
    return VT_OK;
}

/* Copies a record of a fixed size. */
static bool take(const vt_record *record, void *row, size_t size)
{
    if (record->size == size)
        memcpy(row, record->payload, size);
    return record->size == size;
}

static vt_status visit(void *arg, const vt_record *record, vt_error *err)
{
    struct reading *r = arg;
    vt_history *h = r->history;
    vt_record_train train;
    vt_record_epoch epoch;
    vt_record_checkpoint checkpoint;
    bool fits = true;
    if (r->started != (record->type != VT_RECORD_RUN))
        return fail_record(r, record, "is out of place: one that describes the run comes first",
                           err);
    switch ((vt_record_type)record->type) {
    case VT_RECORD_RUN:
        r->started = true;
        return vt_runinfo_parse(&h->info, r->path, record->payload, record->size, err);
    case VT_RECORD_TRAIN:
        fits = take(record, &train, sizeof train);
        if (fits)
            PUSH(h->train, h->n_train, train);
        break;
    case VT_RECORD_EVAL:
        return take_eval(r, record, err);
    case VT_RECORD_EPOCH:
        fits = take(record, &epoch, sizeof epoch);
        if (fits)
            PUSH(h->epoch, h->n_epochs, epoch);
        break;
    case VT_RECORD_CHECKPOINT:
        fits = take(record, &checkpoint, sizeof checkpoint);
        if (fits)
            PUSH(h->checkpoint, h->n_checkpoints, checkpoint);
        break;
    case VT_RECORD_CAPTURE:
        return take_capture(r, record, err);
    case VT_RECORD_DONE:
        fits = take(record, &h->last, sizeof h->last);
        h->done = fits;
        break;
    }
    return fits ? VT_OK : fail_record(r, record, "is of the wrong size", err);
}

vt_status vt_history_read(vt_history *history, int dir_fd, vt_error *err)
{
    struct reading r = {.history = history};
    *history = (vt_history){0};
    vt_fs_path(dir_fd, "journal", r.path);
    vt_status status = vt_journal_read(dir_fd, visit, &r, history->hash, err);
    if (status == VT_OK && !r.started)
        status = vt_fail(err, VT_ERR_DATA, "%s: it holds no record yet", r.path);
    return status;
}

void vt_history_release(vt_history *history)
{
    vt_runinfo_release(&history->info);
    vt_free(history->train);
    for (int i = 0; i < VT_SPLIT_COUNT; i++)
        vt_free(history->eval[i]);
    vt_free(history->epoch);
    vt_free(history->checkpoint);
    vt_free(history->capture);
    *history = (vt_history){0};
}

const int64_t *vt_history_confusion(const vt_record *eval)
{
    bool has = eval->size > sizeof(vt_record_eval);
    return has ? (const int64_t *)((const vt_record_eval *)eval->payload + 1) : NULL;
}
