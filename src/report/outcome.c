#include "report/outcome.h"

#include "base/fs.h"
#include "base/mem.h"
#include "base/text.h"
#include "report/settings.h"
#include "results/history.h"
#include "results/json.h"
#include "results/perf.h"
#include "results/rundir.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* Most bytes of a file that is read whole. */
static const int64_t journal_cap = (int64_t)1 << 30;
enum { SUMMARY_CAP = 1 << 20, PROVENANCE_CAP = 16 << 20, PERF_CAP = 4 << 20 };

const char *vt_run_state_word(vt_run_state state)
{
    static const char *const words[] = {
#define X(name, word, help) word,
        VT_RUN_STATE_LIST(X)
#undef X
    };
    VT_ASSERT((unsigned)state < VT_RUN_STATE_COUNT);
    return words[state];
}

static vt_status break_run(vt_outcome *o, const char *why)
{
    o->state = VT_RUN_BROKEN;
    vt_text_show(o->problem, sizeof o->problem, why);
    return VT_OK;
}

/* JSON of any origin. */
static void copy_text(char *to, size_t size, const json_t *object, const char *key)
{
    vt_text_show(to, size, json_string_value(json_object_get(object, key)));
}

static int64_t get_integer(const json_t *object, const char *key)
{
    return json_integer_value(json_object_get(object, key));
}

/* NaN if it is not there; results/json.h writes what is not finite as a text. */
static double get_real(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    const char *text = json_string_value(value);
    if (json_is_number(value))
        return json_number_value(value);
    if (text && strcmp(text, "inf") == 0)
        return (double)INFINITY;
    return text && strcmp(text, "-inf") == 0 ? -(double)INFINITY : (double)NAN;
}

static void get_evals(vt_summary_eval evals[VT_SPLIT_COUNT], const json_t *object)
{
    for (int split = 0; split < VT_SPLIT_COUNT; split++) {
        const json_t *eval = json_object_get(object, vt_split_name((vt_split)split));
        evals[split] = (vt_summary_eval){.known = json_is_object(eval),
                                         .epoch = get_integer(eval, "epoch"),
                                         .loss = get_real(eval, "loss"),
                                         .top1 = get_real(eval, "top1"),
                                         .top5 = get_real(eval, "top5"),
                                         .ece = get_real(eval, "ece")};
    }
}

static void take_info(vt_outcome *o, const vt_runinfo *info)
{
    vt_text_show(o->exp_name, sizeof o->exp_name, info->exp_name);
    vt_text_show(o->exp_id, sizeof o->exp_id, info->exp_id);
    vt_text_show(o->run_id, sizeof o->run_id, info->run_id);
    vt_text_show(o->data_digest, sizeof o->data_digest, info->data_digest);
    vt_text_show(o->numerics, sizeof o->numerics, info->numerics);
    vt_text_show(o->select, sizeof o->select, info->select);
    o->seed = info->seed;
    o->epochs = info->epochs;
    o->steps_per_epoch = info->steps_per_epoch;
    o->classes = info->n_classes;
    o->n_params = info->n_params;
    o->macs = info->macs;
    memcpy(o->images, info->images, sizeof o->images);
}

static vt_status visit_first(void *arg, const vt_record *record, vt_error *err)
{
    vt_runinfo info = {0};
    vt_status status = record->type == VT_RECORD_RUN
                           ? vt_runinfo_parse(&info, "journal", record->payload, record->size, err)
                           : vt_fail(err, VT_ERR_DATA, "journal: another record comes first");
    if (status == VT_OK)
        take_info(arg, &info);
    vt_runinfo_release(&info);
    return status;
}

static void take_done(vt_outcome *o, const vt_record_checkpoint *last, const uint8_t *hash)
{
    o->step = last->step;
    o->epoch = last->epoch;
    vt_sha256_hex(hash, o->metrics_sha256);
    vt_sha256_hex(last->weights_sha256, o->weights_sha256);
}

/* True if summary.json is that of this complete run. */
static bool take_summary(vt_outcome *o, int fd)
{
    char metrics[VT_SHA256_HEX_SIZE];
    json_t *root = NULL;
    if (vt_json_read(fd, "summary.json", SUMMARY_CAP, &root, NULL) != VT_OK)
        return false;
    copy_text(metrics, sizeof metrics, json_object_get(root, "digests"), "metrics");
    bool ours = strcmp(metrics, o->metrics_sha256) == 0;
    const json_t *figures = json_object_get(root, "metrics"), *perf = json_object_get(root, "perf");
    if (ours) {
        const json_t *train = json_object_get(figures, "train");
        o->train_loss = get_real(train, "loss");
        o->train_top1 = get_real(train, "top1");
        get_evals(o->last, json_object_get(figures, "last"));
        get_evals(o->best, json_object_get(figures, "best"));
        o->attempts = get_integer(root, "attempts");
        o->images_per_s = get_real(perf, "images_per_s");
        o->wall_s = get_real(perf, "wall_s");
        o->peak_bytes = get_integer(perf, "peak_bytes");
        o->threads = (int)get_integer(perf, "threads");
    }
    json_decref(root);
    return ours;
}

static vt_summary_eval find_eval(const vt_history *h, int split, int64_t epoch)
{
    for (int64_t i = h->n_eval[split] - 1; i >= 0; i--) {
        const vt_record_eval *e = &h->eval[split][i];
        if (epoch < 0 || e->epoch == epoch)
            return (vt_summary_eval){true, e->epoch, e->loss, e->top1, e->top5, e->ece};
    }
    return (vt_summary_eval){.known = false};
}

static void take_history(vt_outcome *o, const vt_history *h)
{
    const vt_record_epoch *end = h->n_epochs ? &h->epoch[h->n_epochs - 1] : NULL;
    take_info(o, &h->info);
    if (h->n_train)
        o->step = h->train[h->n_train - 1].step;
    if (end) {
        o->step = end->step > o->step ? end->step : o->step;
        o->epoch = end->epoch;
        o->train_loss = end->train_loss;
        o->train_top1 = end->train_top1;
    }
    for (int split = 0; split < VT_SPLIT_COUNT; split++) {
        o->last[split] = find_eval(h, split, -1);
        if (end && end->best_epoch >= 0)
            o->best[split] = find_eval(h, split, end->best_epoch);
    }
    if (h->done)
        take_done(o, &h->last, h->hash);
}

/* For runs without a summary of their own. */
static void take_perf(vt_outcome *o, int fd)
{
    vt_perf *rows;
    double images = 0, seconds = 0;
    struct stat file;
    if (fstatat(fd, "perf.jsonl", &file, AT_SYMLINK_NOFOLLOW) != 0 || file.st_size > PERF_CAP)
        return;
    int64_t n = vt_perf_read(fd, &rows);
    for (int64_t i = 0; i < n; i++) {
        images += rows[i].train_images;
        seconds += rows[i].train_s;
        if (rows[i].peak_rss_bytes > (double)o->peak_bytes && rows[i].peak_rss_bytes < 0x1p62)
            o->peak_bytes = (int64_t)rows[i].peak_rss_bytes;
    }
    if (seconds > 0)
        o->images_per_s = images / seconds;
    vt_free(rows);
}

/* `word` receives how the last attempt ended. */
static void take_provenance(vt_outcome *o, int fd, bool sums, char *word, size_t word_size)
{
    char text[128];
    json_t *root = NULL, *attempt;
    double wall_s = 0;
    size_t i;
    *word = '\0';
    if (vt_json_read(fd, "provenance.json", PROVENANCE_CAP, &root, NULL) != VT_OK)
        return;
    const json_t *attempts = json_object_get(root, "attempts");
    json_array_foreach(attempts, i, attempt)
    {
        wall_s += json_number_value(json_object_get(attempt, "wall_s"));
    }
    attempt = json_array_get(attempts, json_array_size(attempts) - 1);
    const json_t *git = json_object_get(attempt, "git"), *host = json_object_get(attempt, "host");
    copy_text(word, word_size, attempt, "state");
    copy_text(text, sizeof text, git, "commit");
    bool dirty = json_is_true(json_object_get(git, "dirty"));
    snprintf(o->commit, sizeof o->commit, "%.64s%s", text, dirty && *text ? "-dirty" : "");
    copy_text(text, sizeof text, host, "cpu");
    int threads = (int)get_integer(host, "threads");
    if (*text)
        snprintf(o->machine, sizeof o->machine, "%s, %d thread%s", text, threads,
                 threads == 1 ? "" : "s");
    if (sums) {
        o->threads = threads;
        o->attempts = (int64_t)json_array_size(attempts);
        o->wall_s = wall_s > 0 ? wall_s : (double)NAN;
    }
    json_decref(root);
}

static vt_run_state state_of(const char *word)
{
    static const vt_run_state ends[] = {VT_RUN_INTERRUPTED, VT_RUN_DIVERGED, VT_RUN_FAILED};
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++)
        if (strcmp(word, vt_run_state_word(ends[i])) == 0)
            return ends[i];
    return VT_RUN_DEAD; /* "running" without a process, "killed", nothing */
}

static vt_status count_record(void *arg, const vt_record *record, vt_error *err)
{
    (void)record;
    (void)err;
    ++*(int *)arg;
    return VT_OK;
}

/* A process that was just started, or killed so early, has left no whole record yet. */
static bool is_blank(int fd, int64_t size)
{
    enum { FIRST_CAP = 8 << 20 };
    int records = 0;
    return size < FIRST_CAP && vt_journal_read(fd, count_record, &records, NULL, NULL) == VT_OK &&
           records == 0;
}

/* Reads the journal whole. */
static vt_status read_journal(vt_outcome *o, int fd, int64_t size, vt_error *err)
{
    vt_history history = {0};
    vt_status status = size > journal_cap
                           ? vt_fail(err, VT_ERR_DATA,
                                     "journal: %lld bytes are too many to look at", (long long)size)
                           : vt_history_read(&history, fd, err);
    if (status == VT_OK)
        take_history(o, &history);
    vt_history_release(&history);
    return status;
}

static vt_status read_folder(vt_outcome *o, int fd, vt_error *err)
{
    vt_error reason = {0};
    vt_record_checkpoint last;
    uint8_t hash[VT_SHA256_SIZE];
    struct stat journal;
    char word[16];
    bool done = false, blank = false, summed = false;
    bool held = vt_rundir_is_held(fd, NULL);
    if (fstatat(fd, "journal", &journal, AT_SYMLINK_NOFOLLOW) != 0)
        return break_run(o, "it has no journal");
    vt_status status = vt_journal_peek(fd, visit_first, o, &done, &last, hash, &reason);
    if (status == VT_OK && done) {
        take_done(o, &last, hash);
        summed = take_summary(o, fd);
    }
    if (status == VT_OK && !summed) {
        status = read_journal(o, fd, journal.st_size, &reason);
        take_perf(o, fd);
        done = *o->metrics_sha256;
    } else if (status == VT_ERR_DATA && S_ISREG(journal.st_mode)) {
        blank = is_blank(fd, journal.st_size);
        status = blank ? VT_OK : status;
    }
    if (status == VT_ERR_NOMEM)
        return vt_fail(err, status, "%s", reason.text);
    take_provenance(o, fd, !summed, word, sizeof word);
    o->state = held ? VT_RUN_RUNNING : done ? VT_RUN_DONE : state_of(word);
    return status == VT_OK ? VT_OK : break_run(o, reason.text);
}

vt_status vt_outcome_read(vt_outcome *o, const vt_run_place *place, vt_error *err)
{
    *o = (vt_outcome){.place = *place,
                      .images_per_s = (double)NAN,
                      .wall_s = (double)NAN,
                      .train_loss = (double)NAN,
                      .train_top1 = (double)NAN};
    vt_text_show(o->exp_name, sizeof o->exp_name, place->exp);
    vt_text_show(o->run_id, sizeof o->run_id, place->id);
    vt_store *store = vt_calloc(1, sizeof *store);
    o->memory = store;
    if (!store)
        return vt_fail(err, VT_ERR_NOMEM, "no memory for a run");
    /* A folder found by its name in a list is no link; one that the user names may be. */
    int follow = *place->exp ? O_NOFOLLOW : 0;
    int fd = open(place->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | follow);
    if (fd < 0)
        return break_run(o, strerror(errno));
    vt_error reason = {0};
    vt_status status = read_folder(o, fd, err);
    if (status == VT_OK && o->state != VT_RUN_BROKEN &&
        vt_settings_read(&o->setting, &o->n_settings, fd, store, &reason) == VT_ERR_NOMEM)
        status = vt_fail(err, VT_ERR_NOMEM, "%s", reason.text);
    vt_fs_close(&fd);
    return status;
}

void vt_outcome_release(vt_outcome *o)
{
    if (o->memory)
        vt_store_release(o->memory);
    vt_free(o->memory);
    *o = (vt_outcome){0};
}

static int compare_key(const void *key, const void *setting)
{
    return strcmp(key, ((const vt_setting *)setting)->key);
}

const char *vt_outcome_setting(const vt_outcome *o, const char *key)
{
    const vt_setting *found = o->n_settings ? bsearch(key, o->setting, (size_t)o->n_settings,
                                                      sizeof *o->setting, compare_key)
                                            : NULL;
    return found ? found->value : NULL;
}
