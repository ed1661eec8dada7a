#include "train/replay.h"

#include "base/child.h"
#include "base/fs.h"
#include "base/mem.h"
#include "results/history.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { CONFIG_CAP = 1 << 20 };

/* A journal's records in memory. */
struct record {
    uint32_t type, size;
    int64_t step;
    void *payload;
};

struct journal {
    struct record *record;
    int64_t n, n_epochs, capacity;
    bool done;
};

static void release_journal(struct journal *journal)
{
    for (int64_t i = 0; i < journal->n; i++)
        vt_free(journal->record[i].payload);
    vt_free(journal->record);
    *journal = (struct journal){0};
}

static vt_status keep_record(void *arg, const vt_record *record, vt_error *err)
{
    struct journal *journal = arg;
    if (journal->n == journal->capacity) {
        int64_t capacity = journal->capacity ? 2 * journal->capacity : 64;
        struct record *grown = vt_realloc(journal->record, (size_t)capacity, sizeof *grown);
        if (!grown)
            return vt_fail(err, VT_ERR_NOMEM, "no memory for a journal");
        journal->record = grown;
        journal->capacity = capacity;
    }
    struct record *kept = &journal->record[journal->n];
    *kept = (struct record){.type = record->type, .size = record->size, .step = record->step};
    kept->payload = vt_calloc((size_t)record->size + 1, 1);
    if (!kept->payload)
        return vt_fail(err, VT_ERR_NOMEM, "no memory for a journal");
    memcpy(kept->payload, record->payload, record->size);
    journal->n++;
    journal->n_epochs += record->type == VT_RECORD_EPOCH;
    journal->done |= record->type == VT_RECORD_DONE;
    return VT_OK;
}

static vt_status read_journal(struct journal *journal, const char *path, char metrics[65],
                              vt_error *err)
{
    uint8_t hash[VT_SHA256_SIZE];
    int fd = -1;
    *journal = (struct journal){0};
    vt_status status = vt_fs_open_dir(AT_FDCWD, path, &fd, err);
    if (status == VT_OK)
        status = vt_journal_read(fd, keep_record, journal, hash, err);
    if (status == VT_OK)
        vt_sha256_hex(hash, metrics);
    vt_fs_close(&fd);
    return status;
}

/* The records that end the epochs which are compared. */
static int64_t count_wanted(const struct journal *journal, int64_t epochs)
{
    int64_t seen = 0;
    for (int64_t i = 0; epochs > 0 && i < journal->n; i++)
        if (journal->record[i].type == VT_RECORD_EPOCH && ++seen == epochs)
            return i + 1;
    return journal->n;
}

static const char *type_name(uint32_t type)
{
    static const char *const names[] = {"?",     "run",        "training", "evaluation",
                                        "epoch", "checkpoint", "capture",  "end"};
    return type < sizeof names / sizeof *names ? names[type] : names[0];
}

/* What the two say, where it is a number that people know. */
static void describe(const struct record *was, const struct record *now, char *text, size_t size)
{
    vt_record_train a, b;
    vt_record_eval x, y;
    vt_runinfo old = {0}, new = {0};
    *text = '\0';
    if (was->type != now->type)
        snprintf(text, size, ": a record of the kind '%s' now", type_name(now->type));
    else if (was->step != now->step)
        snprintf(text, size, ": of step %" PRId64 " now", now->step);
    else if (was->type == VT_RECORD_TRAIN && was->size == sizeof a && now->size == sizeof b) {
        memcpy(&a, was->payload, sizeof a);
        memcpy(&b, now->payload, sizeof b);
        snprintf(text, size, ": loss %.17g, now %.17g; gradient norm %.17g, now %.17g", a.loss,
                 b.loss, a.grad_norm, b.grad_norm);
    } else if (was->type == VT_RECORD_EVAL && was->size >= sizeof x && now->size >= sizeof y) {
        memcpy(&x, was->payload, sizeof x);
        memcpy(&y, now->payload, sizeof y);
        snprintf(text, size, ": loss %.17g, now %.17g; top1 %.17g, now %.17g", x.loss, y.loss,
                 x.top1, y.top1);
    } else if (was->type == VT_RECORD_RUN &&
               vt_runinfo_parse(&old, "journal", was->payload, was->size, NULL) == VT_OK &&
               vt_runinfo_parse(&new, "journal", now->payload, now->size, NULL) == VT_OK) {
        if (strcmp(old.exp_id, new.exp_id) != 0)
            snprintf(text, size, ": config.yaml is not the one that the run was trained with");
        else if (strcmp(old.data_digest, new.data_digest) != 0)
            snprintf(text, size, ": the data have changed, from digest %.12s to %.12s",
                     old.data_digest, new.data_digest);
    }
    vt_runinfo_release(&old);
    vt_runinfo_release(&new);
}

static void compare(vt_replay *r, const struct journal *was, const struct journal *now,
                    int64_t wanted)
{
    char text[600];
    r->difference_step = -1;
    for (r->records = 0; r->records < wanted; r->records++) {
        const struct record *a = &was->record[r->records], *b = &now->record[r->records];
        if (r->records >= now->n) {
            snprintf(r->difference, sizeof r->difference,
                     "record %" PRId64 " (%s, step %" PRId64 ") is missing now", r->records,
                     type_name(a->type), a->step);
        } else if (a->type != b->type || a->step != b->step || a->size != b->size ||
                   memcmp(a->payload, b->payload, a->size) != 0) {
            describe(a, b, text, sizeof text);
            snprintf(r->difference, sizeof r->difference,
                     "record %" PRId64 " (%s, step %" PRId64 ") differs%s", r->records,
                     type_name(a->type), a->step, text);
        } else {
            r->epochs += a->type == VT_RECORD_EPOCH;
            continue;
        }
        r->difference_step = a->step;
        return;
    }
    r->same = true;
}

/* The experiment's file for the second training, under the name that the run's folder has. */
static vt_status copy_config(const char *run_path, const char *folder, const char *exp_name,
                             vt_error *err)
{
    char name[VT_NAME_MAX + 8], *text = NULL;
    int from = -1, to = -1;
    size_t size = 0;
    snprintf(name, sizeof name, "%s.yaml", exp_name);
    vt_status status = vt_fs_open_dir(AT_FDCWD, run_path, &from, err);
    if (status == VT_OK)
        status = vt_fs_open_dir(AT_FDCWD, folder, &to, err);
    if (status == VT_OK)
        status = vt_fs_read_file(from, "config.yaml", CONFIG_CAP, &text, &size, err);
    if (status == VT_OK)
        status = vt_fs_publish(to, name, text, size, err);
    vt_free(text);
    vt_fs_close(&from);
    vt_fs_close(&to);
    return status;
}

struct second {
    char folder[64], results[80], path[PATH_MAX],
        log[128]; /* temporary folder; in it the run ("" at first), its output */
    pid_t pid;
    sigset_t waited, before;
};

/* Epochs that the second run has finished so far; its numerics id once it is known. */
struct progress {
    int64_t epochs;
    char numerics[VT_SHA256_HEX_SIZE];
};

static vt_status look(void *arg, const vt_record *record, vt_error *err)
{
    struct progress *p = arg;
    vt_runinfo info;
    (void)err;
    p->epochs += record->type == VT_RECORD_EPOCH;
    if (record->type == VT_RECORD_RUN &&
        vt_runinfo_parse(&info, "journal", record->payload, record->size, NULL) == VT_OK) {
        snprintf(p->numerics, sizeof p->numerics, "%s", info.numerics);
        vt_runinfo_release(&info);
    }
    return VT_OK;
}

static struct progress read_progress(struct second *s)
{
    struct progress p = {0};
    vt_run_list list = {0};
    int fd = -1;
    /* Its id is not the first run's if the configuration or the data have changed. */
    if (!*s->path && vt_runs_list(&list, s->results, NULL) == VT_OK && list.n == 1)
        snprintf(s->path, sizeof s->path, "%s", list.run[0].path);
    vt_runs_release(&list);
    if (*s->path && vt_fs_open_dir(AT_FDCWD, s->path, &fd, NULL) == VT_OK)
        vt_journal_read(fd, look, &p, NULL, NULL);
    vt_fs_close(&fd);
    return p;
}

static vt_status start(struct second *s, const vt_replay_request *r, const vt_runinfo *info,
                       vt_error *err)
{
    char config[400], results[120], seed[40], threads[40], data[PATH_MAX + 16];
    char program[] = "vitrine", verb[] = "train";
    snprintf(config, sizeof config, "%s/%s.yaml", s->folder, info->exp_name);
    snprintf(s->results, sizeof s->results, "%s/results", s->folder);
    snprintf(results, sizeof results, "--results=%s", s->results);
    snprintf(seed, sizeof seed, "--seed=%" PRIu64, info->seed);
    snprintf(threads, sizeof threads, "--threads=%" PRId64, r->threads);
    snprintf(data, sizeof data, "--data-dir=%s", r->data_dir ? r->data_dir : "");
    char *argv[] = {program, verb, config, results, seed, threads, r->data_dir ? data : NULL, NULL};
    snprintf(s->log, sizeof s->log, "%s/output.txt", s->folder);
    int log_fd = open(s->log, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (log_fd < 0)
        return vt_fail(err, VT_ERR_CANTCREATE, "%s: %s", s->log, strerror(errno));
    vt_child_take_signals(&s->waited, &s->before);
    vt_status status = vt_child_start(&s->pid, argv, log_fd, &s->before, err);
    vt_fs_close(&log_fd);
    return status;
}

/* Waits for the end, or stops the training once it has what is to be compared. */
static vt_status await_end(struct second *s, const vt_replay_request *r, const vt_runinfo *info,
                           vt_error *err)
{
    const struct timespec moment = {.tv_nsec = 200000000};
    bool enough = false, asked = false, other = false;
    int code;
    while ((code = vt_child_ended(s->pid)) < 0) {
        struct progress p = read_progress(s);
        other = *p.numerics && strcmp(p.numerics, info->numerics) != 0;
        if (!enough && (other || (r->epochs > 0 && p.epochs >= r->epochs))) {
            enough = true;
            kill(s->pid, SIGTERM);
        }
        int number = sigtimedwait(&s->waited, NULL, &moment);
        if (number > 0 && number != SIGCHLD && !asked) {
            asked = true;
            if (!enough)
                kill(s->pid, SIGTERM);
        }
    }
    struct progress p = read_progress(s);
    if (*p.numerics && strcmp(p.numerics, info->numerics) != 0)
        return vt_fail(err, VT_ERR_NUMERICS,
                       "the run was trained with numerics %.12s, this build on this machine has "
                       "%.12s: equal bits are not promised",
                       info->numerics, p.numerics);
    if (asked)
        return vt_fail(err, VT_ERR_STOPPED, "stopped before there was an answer");
    /* One that diverges again leaves its records to be compared. */
    if (code == VT_OK || code == VT_ERR_DIVERGED || (code == VT_ERR_STOPPED && enough))
        return VT_OK;
    return vt_fail(err, (vt_status)code, "the second training ended with exit code %d: see %s",
                   code, s->log);
}

static vt_status compare_weights(vt_replay *replay, const char *was, const char *now, vt_error *err)
{
    const char *paths[2] = {was, now};
    uint8_t digest[2][VT_SHA256_SIZE];
    vt_status status = VT_OK;
    for (int i = 0; i < 2 && status == VT_OK; i++) {
        int fd = -1;
        status = vt_fs_open_dir(AT_FDCWD, paths[i], &fd, err);
        if (status == VT_OK)
            status = vt_fs_hash_file(fd, "last.safetensors", digest[i], err);
        vt_fs_close(&fd);
    }
    if (status != VT_OK)
        return status;
    vt_sha256_hex(digest[0], replay->weights_sha256);
    replay->same = memcmp(digest[0], digest[1], VT_SHA256_SIZE) == 0;
    if (!replay->same)
        snprintf(replay->difference, sizeof replay->difference,
                 "the journals are the same, but %.400s/last.safetensors is not the file that they "
                 "name",
                 was);
    return VT_OK;
}

static int remove_entry(const char *path, const struct stat *info, int type, struct FTW *walk)
{
    (void)info;
    (void)type;
    (void)walk;
    return remove(path);
}

static vt_status judge(vt_replay *replay, const vt_replay_request *r, const struct journal *was,
                       const char *second, vt_error *err)
{
    struct journal now;
    vt_status status = read_journal(&now, second, replay->metrics_sha256, err);
    if (status == VT_OK)
        compare(replay, was, &now, count_wanted(was, r->epochs));
    release_journal(&now);
    replay->complete = status == VT_OK && replay->same && r->epochs == 0;
    if (!replay->complete)
        *replay->metrics_sha256 = '\0';
    return replay->complete ? compare_weights(replay, r->place.path, second, err) : status;
}

static vt_status check_request(const vt_replay_request *r, const struct journal *was,
                               vt_runinfo *info, vt_error *err)
{
    const char *path = r->place.path;
    if (was->n == 0 || was->record[0].type != VT_RECORD_RUN)
        return vt_fail(err, VT_ERR_DATA, "%s: its journal does not say what it is", path);
    vt_status status =
        vt_runinfo_parse(info, path, was->record[0].payload, was->record[0].size, err);
    if (status != VT_OK)
        return status;
    if (!vt_fs_name_ok(info->exp_name) || !vt_fs_name_ok(info->run_id))
        return vt_fail(err, VT_ERR_DATA, "%s: its journal names no experiment", path);
    if (r->epochs == 0 && !was->done)
        return vt_fail(err, VT_ERR_NOINPUT,
                       "%s: the run is not complete; --epochs verifies its first epochs", path);
    if (r->epochs > was->n_epochs)
        return vt_fail(err, VT_ERR_NOINPUT, "%s: the run has %" PRId64 " epochs, not %" PRId64,
                       path, was->n_epochs, r->epochs);
    return VT_OK;
}

vt_status vt_replay_run(vt_replay *replay, const vt_replay_request *r, vt_error *err)
{
    const char *temp = getenv("TMPDIR");
    struct journal was;
    struct second second = {.pid = 0};
    vt_runinfo info = {0};
    char ignored[65];
    *replay = (vt_replay){.difference_step = -1};
    vt_status status = read_journal(&was, r->place.path, ignored, err);
    if (status == VT_OK)
        status = check_request(r, &was, &info, err);
    if (status != VT_OK)
        goto done;
    int size = snprintf(second.folder, sizeof second.folder, "%s/vitrine-XXXXXX",
                        temp && *temp ? temp : "/tmp");
    if (size >= (int)sizeof second.folder || !mkdtemp(second.folder)) {
        *second.folder = '\0';
        status = vt_fail(err, VT_ERR_CANTCREATE, "cannot make a temporary folder in %s: %s",
                         temp && *temp ? temp : "/tmp", strerror(errno));
        goto done;
    }
    status = copy_config(r->place.path, second.folder, info.exp_name, err);
    if (status == VT_OK)
        status = start(&second, r, &info, err);
    if (status == VT_OK)
        status = await_end(&second, r, &info, err);
    if (status == VT_OK)
        status = judge(replay, r, &was, second.path, err);
done:
    /* Kept where there is something to look at. */
    if (status == VT_OK && !replay->same)
        snprintf(replay->folder, sizeof replay->folder, "%s", second.path);
    else if (*second.folder && (status == VT_OK || status == VT_ERR_STOPPED ||
                                status == VT_ERR_NUMERICS || second.pid == 0))
        nftw(second.folder, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
    vt_runinfo_release(&info);
    release_journal(&was);
    return status;
}
