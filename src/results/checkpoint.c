#include "results/checkpoint.h"

#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/phase.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LAST_NAME "last.safetensors"
#define BEST_NAME "best.safetensors"

/* The state file's first bytes: magic, container size, step, best step. */
enum { MAGIC_SIZE = 8, HEAD_SIZE = 32, SEAL_SIZE = VT_SHA256_SIZE, FILE_NAME_SIZE = 48 };

static const char magic[MAGIC_SIZE + 1] = "VTSTATE1";

struct vt_checkpoint_file {
    int64_t step, best_step, keep;
    bool has_mark;
    vt_journal_mark mark;
    uint8_t weights_sha256[VT_SHA256_SIZE];
    uint8_t *block;
    size_t block_size;
    vt_safetensors *state, *weights;
};

static void weights_name(char name[FILE_NAME_SIZE], int64_t step)
{
    snprintf(name, FILE_NAME_SIZE, "w-%lld.safetensors", (long long)step);
}

static void state_name(char name[FILE_NAME_SIZE], int64_t step)
{
    snprintf(name, FILE_NAME_SIZE, "state-%lld.bin", (long long)step);
}

/* The step in a file name of the form above, else -1. */
static int64_t step_of(const char *name, const char *before, const char *after)
{
    char again[FILE_NAME_SIZE];
    size_t skip = strlen(before);
    if (strncmp(name, before, skip) != 0)
        return -1;
    long long step = strtoll(name + skip, NULL, 10);
    snprintf(again, sizeof again, "%s%lld%s", before, step, after);
    return step >= 0 && strcmp(name, again) == 0 ? step : -1;
}

static void put_le(uint8_t *to, uint64_t value)
{
    for (int i = 0; i < 8; i++)
        to[i] = (uint8_t)(value >> 8 * i);
}

static uint64_t get_le(const uint8_t *from)
{
    uint64_t value = 0;
    for (int i = 0; i < 8; i++)
        value |= (uint64_t)from[i] << 8 * i;
    return value;
}

/* Steps found in the folder's file names. */
struct found {
    int64_t *steps;
    int n, capacity;
    bool failed;
};

struct listing {
    struct found states, weights;
};

static void add_step(struct found *found, int64_t step)
{
    if (step < 0 || found->failed)
        return;
    if (found->n == found->capacity) {
        int capacity = found->capacity ? 2 * found->capacity : 16;
        int64_t *steps = vt_realloc(found->steps, (size_t)capacity, sizeof *steps);
        found->failed = !steps;
        if (!steps)
            return;
        found->steps = steps;
        found->capacity = capacity;
    }
    found->steps[found->n++] = step;
}

static void visit_name(void *arg, const char *name)
{
    struct listing *listing = arg;
    add_step(&listing->states, step_of(name, "state-", ".bin"));
    add_step(&listing->weights, step_of(name, "w-", ".safetensors"));
}

static int compare_newest_first(const void *a, const void *b)
{
    const int64_t *x = a, *y = b;
    return *x > *y ? -1 : *x < *y;
}

static bool contains(const int64_t *steps, int n, int64_t step)
{
    for (int i = 0; i < n; i++) {
        if (steps[i] == step)
            return true;
    }
    return false;
}

static void release_listing(struct listing *listing)
{
    vt_free(listing->states.steps);
    vt_free(listing->weights.steps);
}

static vt_status list_steps(struct listing *listing, int dir_fd, vt_error *err)
{
    *listing = (struct listing){0};
    vt_status status = vt_fs_list(dir_fd, visit_name, listing, err);
    if (status == VT_OK && (listing->states.failed || listing->weights.failed))
        status = vt_fail(err, VT_ERR_NOMEM, "no memory to list checkpoints");
    if (status == VT_OK && listing->states.n)
        qsort(listing->states.steps, (size_t)listing->states.n, sizeof(int64_t),
              compare_newest_first);
    return status;
}

/* The best step that a state file names, without checking the file; -1 if it cannot be read. */
static int64_t peek_best(int dir_fd, int64_t step)
{
    char name[FILE_NAME_SIZE];
    uint8_t head[HEAD_SIZE];
    size_t got = 0;
    int fd = -1;
    state_name(name, step);
    if (vt_fs_open_read(dir_fd, name, &fd, NULL, NULL) != VT_OK)
        return -1;
    vt_status status = vt_fs_read_at(fd, name, 0, head, sizeof head, &got, NULL);
    vt_fs_close(&fd);
    return status == VT_OK && got == sizeof head ? (int64_t)get_le(head + 24) : -1;
}

/* Removes all but the `keep` newest checkpoints up to `step` and the weights that one of those
 * names as best. Newer ones failed to load; they go too if `newer` says so. A state goes before its
 * weights, so a kill leaves weights without a state, which the next call removes. */
static vt_status tidy(int dir_fd, int64_t step, int64_t keep, bool newer, vt_error *err)
{
    struct listing listing;
    char name[FILE_NAME_SIZE];
    int n_kept = 0;
    int64_t n_good = 0;
    int64_t *kept = NULL, *best = NULL;
    vt_status status = list_steps(&listing, dir_fd, err);
    if (status != VT_OK)
        goto done;
    kept = vt_calloc((size_t)listing.states.n, sizeof *kept);
    best = vt_calloc((size_t)listing.states.n, sizeof *best);
    if (!kept || !best) {
        status = vt_fail(err, VT_ERR_NOMEM, "no memory to list checkpoints");
        goto done;
    }
    for (int i = 0; status == VT_OK && i < listing.states.n; i++) {
        int64_t at = listing.states.steps[i];
        bool keep_it = at > step ? !newer : n_good < keep;
        n_good += at <= step;
        if (keep_it) {
            kept[n_kept] = at;
            best[n_kept++] = peek_best(dir_fd, at);
        } else {
            state_name(name, at);
            status = vt_fs_remove(dir_fd, name, err);
        }
    }
    for (int i = 0; status == VT_OK && i < listing.weights.n; i++) {
        int64_t at = listing.weights.steps[i];
        if (contains(kept, n_kept, at) || contains(best, n_kept, at))
            continue;
        weights_name(name, at);
        status = vt_fs_remove(dir_fd, name, err);
    }
done:
    release_listing(&listing);
    vt_free(kept);
    vt_free(best);
    return status;
}

/* Sets the two links; a missing best is not worth stopping for. */
static vt_status set_links(int dir_fd, int64_t step, int64_t best_step, vt_error *err)
{
    char name[FILE_NAME_SIZE];
    weights_name(name, step);
    vt_status status = vt_fs_link(dir_fd, name, LAST_NAME, err);
    if (status != VT_OK)
        return status;
    if (best_step < 0)
        return vt_fs_remove(dir_fd, BEST_NAME, err);
    weights_name(name, best_step);
    if (vt_fs_exists(dir_fd, name))
        return vt_fs_link(dir_fd, name, BEST_NAME, err);
    vt_log_write(VT_LOG_WARNING, "%s, the best checkpoint so far, is missing; %s stays as it is",
                 name, BEST_NAME);
    return VT_OK;
}

/* The metadata of a state file. Keys and values that are made here live in `texts`. */
struct meta {
    vt_safetensors_meta *rows;
    char (*texts)[2][VT_SAFETENSORS_MAX_NAME + 3];
    int n;
};

/* Adds "KIND:NAME"; returns the room for its value. */
static char *add_meta(struct meta *meta, char kind, const char *name)
{
    char *key = meta->texts[meta->n][0], *value = meta->texts[meta->n][1];
    snprintf(key, sizeof meta->texts[0][0], "%c:%s", kind, name);
    meta->rows[meta->n++] = (vt_safetensors_meta){key, value};
    return value;
}

static void add_int(struct meta *meta, char kind, const char *name, int64_t number)
{
    snprintf(add_meta(meta, kind, name), sizeof meta->texts[0][1], "%lld", (long long)number);
}

static vt_status build_meta(struct meta *meta, const vt_checkpoint *c, const vt_journal_mark *mark,
                            const uint8_t weights_sha256[VT_SHA256_SIZE], vt_error *err)
{
    int n = c->n_ints + c->n_doubles + c->n_strings + 4;
    meta->rows = vt_calloc((size_t)n, sizeof *meta->rows);
    meta->texts = vt_calloc((size_t)n, sizeof *meta->texts);
    if (!meta->rows || !meta->texts)
        return vt_fail(err, VT_ERR_NOMEM, "no memory for %d values of a checkpoint", n);
    vt_sha256_hex(weights_sha256, add_meta(meta, 'v', "weights_sha256"));
    add_int(meta, 'v', "keep", c->keep);
    if (mark) {
        add_int(meta, 'v', "journal_offset", mark->offset);
        vt_sha256_hex(mark->hash, add_meta(meta, 'v', "journal_hash"));
    }
    for (int i = 0; i < c->n_ints; i++)
        add_int(meta, 'i', c->ints[i].name, c->ints[i].value);
    for (int i = 0; i < c->n_doubles; i++) {
        uint64_t bits;
        memcpy(&bits, &c->doubles[i].value, sizeof bits);
        snprintf(add_meta(meta, 'd', c->doubles[i].name), sizeof meta->texts[0][1], "%016llx",
                 (unsigned long long)bits);
    }
    for (int i = 0; i < c->n_strings; i++) {
        add_meta(meta, 's', c->strings[i].name);
        meta->rows[meta->n - 1].value = c->strings[i].value;
    }
    return VT_OK;
}

static vt_status write_state(int dir_fd, const vt_checkpoint *c, const vt_journal_mark *mark,
                             int64_t best_step, const uint8_t weights_sha256[VT_SHA256_SIZE],
                             vt_error *err)
{
    struct meta meta = {0};
    vt_fs_writer writer = {0};
    char name[FILE_NAME_SIZE];
    uint8_t head[HEAD_SIZE];
    int64_t size = 0;
    state_name(name, c->step);
    vt_status status = build_meta(&meta, c, mark, weights_sha256, err);
    vt_safetensors_content content = {c->state, c->n_state, meta.rows, meta.n};
    if (status == VT_OK)
        status = vt_safetensors_size(&content, &size, err);
    memcpy(head, magic, MAGIC_SIZE);
    put_le(head + 8, (uint64_t)size);
    put_le(head + 16, (uint64_t)c->step);
    put_le(head + 24, (uint64_t)best_step);
    if (status == VT_OK)
        status = vt_fs_begin(&writer, dir_fd, name, HEAD_SIZE + size + SEAL_SIZE, err);
    if (status == VT_OK)
        status = vt_fs_write(&writer, head, sizeof head, err);
    if (status == VT_OK)
        status = vt_safetensors_put(&writer, &content, err);
    if (status == VT_OK)
        status = vt_fs_seal(&writer, err);
    if (status == VT_OK)
        status = vt_fs_commit(&writer, NULL, err);
    vt_fs_abort(&writer);
    vt_free(meta.rows);
    vt_free(meta.texts);
    return status;
}

/* Puts the record of this checkpoint, if asked for, and makes the journal durable up to *mark. */
static vt_status settle_journal(const vt_checkpoint *c, const uint8_t sha256[VT_SHA256_SIZE],
                                vt_journal_mark *mark, vt_error *err)
{
    vt_status status = VT_OK;
    if (c->record) {
        vt_record_checkpoint record = {.step = c->step, .epoch = c->epoch};
        memcpy(record.weights_sha256, sha256, VT_SHA256_SIZE);
        status =
            vt_journal_put(c->journal, VT_RECORD_CHECKPOINT, c->step, &record, sizeof record, err);
    }
    if (status == VT_OK)
        status = vt_journal_sync(c->journal, err);
    *mark = vt_journal_tell(c->journal);
    return status;
}

vt_status vt_checkpoint_save(int dir_fd, const vt_checkpoint *c, int64_t *best_step,
                             uint8_t weights_sha256[VT_SHA256_SIZE], vt_error *err)
{
    char w_name[FILE_NAME_SIZE], s_name[FILE_NAME_SIZE];
    uint8_t sha256[VT_SHA256_SIZE];
    vt_journal_mark mark;
    VT_ASSERT(c->step >= 0 && c->keep >= 2 && (c->journal || !c->record));
    vt_phase phase = vt_phase_enter(VT_PHASE_CHECKPOINT);
    int64_t best = c->best ? c->step : *best_step;
    weights_name(w_name, c->step);
    state_name(s_name, c->step);
    vt_safetensors_content weights = {.tensors = c->weights, .n_tensors = c->n_weights};
    vt_status status = vt_safetensors_write(dir_fd, w_name, &weights, sha256, err);
    if (status != VT_OK)
        goto done;
    if (c->journal)
        status = settle_journal(c, sha256, &mark, err);
    if (status == VT_OK)
        status = write_state(dir_fd, c, c->journal ? &mark : NULL, best, sha256, err);
    if (status != VT_OK) {
        /* Without its state the file is of no use, and the disk may be full. */
        if (!vt_fs_exists(dir_fd, s_name))
            vt_fs_remove(dir_fd, w_name, NULL);
        goto done;
    }
    *best_step = best;
    if (weights_sha256)
        memcpy(weights_sha256, sha256, sizeof sha256);
    status = set_links(dir_fd, c->step, best, err);
    if (status == VT_OK)
        status = tidy(dir_fd, c->step, c->keep, true, err);
done:
    vt_phase_enter(phase);
    return status;
}

static vt_status damaged(vt_error *err, const char *path, int64_t offset, const char *reason)
{
    return vt_fail(err, VT_ERR_DATA, "%s: offset %lld: %s", path, (long long)offset, reason);
}

static const char *get_meta(const vt_checkpoint_file *file, char kind, const char *name)
{
    char key[VT_SAFETENSORS_MAX_NAME + 3];
    snprintf(key, sizeof key, "%c:%s", kind, name);
    return vt_safetensors_get_meta(file->state, key);
}

static bool parse_int(const char *text, int64_t *value)
{
    char again[32];
    if (!text)
        return false;
    *value = strtoll(text, NULL, 10);
    snprintf(again, sizeof again, "%lld", (long long)*value);
    return strcmp(text, again) == 0;
}

static bool parse_sha256(const char *text, uint8_t sha256[VT_SHA256_SIZE])
{
    char again[VT_SHA256_HEX_SIZE];
    if (!text || strlen(text) != VT_SHA256_HEX_SIZE - 1)
        return false;
    for (int i = 0; i < VT_SHA256_SIZE; i++) {
        char pair[3] = {text[2 * i], text[2 * i + 1], '\0'};
        sha256[i] = (uint8_t)strtoul(pair, NULL, 16);
    }
    vt_sha256_hex(sha256, again);
    return strcmp(text, again) == 0;
}

/* Reads the whole state file and checks it against its seal. */
static vt_status read_state(vt_checkpoint_file *file, int dir_fd, const char *name, vt_error *err)
{
    char path[PATH_MAX];
    uint8_t head[HEAD_SIZE], seal[SEAL_SIZE];
    int64_t size = 0;
    size_t got = 0;
    int fd = -1;
    vt_fs_path(dir_fd, name, path);
    vt_status status = vt_fs_open_read(dir_fd, name, &fd, &size, err);
    if (status != VT_OK)
        return status;
    status = vt_fs_read_at(fd, path, 0, head, sizeof head, &got, err);
    if (status != VT_OK)
        goto done;
    if (got < sizeof head || memcmp(head, magic, MAGIC_SIZE) != 0) {
        status = damaged(err, path, 0, "not a state file (bad or missing first bytes)");
        goto done;
    }
    if (size < HEAD_SIZE + SEAL_SIZE ||
        get_le(head + 8) != (uint64_t)size - HEAD_SIZE - SEAL_SIZE) {
        status = damaged(err, path, size, "the file ends here, which is not where it should");
        goto done;
    }
    file->block_size = (size_t)size;
    file->block = vt_block_alloc(file->block_size);
    if (!file->block) {
        status = vt_fail(err, VT_ERR_NOMEM, "%s: no memory for %lld bytes", path, (long long)size);
        goto done;
    }
    status = vt_fs_read_at(fd, path, 0, file->block, file->block_size, &got, err);
    if (status != VT_OK)
        goto done;
    size_t body = file->block_size - SEAL_SIZE;
    vt_sha256_of(file->block, body, seal);
    if (got != file->block_size || memcmp(seal, file->block + body, SEAL_SIZE) != 0) {
        status = damaged(err, path, (int64_t)body, "the SHA-256 of the bytes before does not hold");
        goto done;
    }
    status =
        vt_safetensors_parse(&file->state, path, file->block + HEAD_SIZE, body - HEAD_SIZE, err);
    file->best_step = (int64_t)get_le(file->block + 24);
    if (status == VT_OK && (int64_t)get_le(file->block + 16) != file->step)
        status = damaged(err, path, 16, "another step than in the file's name");
done:
    vt_fs_close(&fd);
    return status;
}

static vt_status load_step(vt_checkpoint_file **out, int dir_fd, int64_t step, vt_error *err)
{
    char name[FILE_NAME_SIZE], path[PATH_MAX];
    uint8_t sha256[VT_SHA256_SIZE];
    vt_checkpoint_file *file = vt_calloc(1, sizeof *file);
    if (!file)
        return vt_fail(err, VT_ERR_NOMEM, "no memory to load a checkpoint");
    file->step = step;
    state_name(name, step);
    vt_status status = read_state(file, dir_fd, name, err);
    if (status != VT_OK)
        goto done;
    file->has_mark = get_meta(file, 'v', "journal_offset") != NULL;
    if (!parse_sha256(get_meta(file, 'v', "weights_sha256"), file->weights_sha256) ||
        !parse_int(get_meta(file, 'v', "keep"), &file->keep) ||
        (file->has_mark && (!parse_int(get_meta(file, 'v', "journal_offset"), &file->mark.offset) ||
                            !parse_sha256(get_meta(file, 'v', "journal_hash"), file->mark.hash)))) {
        vt_fs_path(dir_fd, name, path);
        status = damaged(err, path, HEAD_SIZE, "weights hash, keep or journal place missing");
        goto done;
    }
    weights_name(name, step);
    status = vt_safetensors_open(&file->weights, dir_fd, name, sha256, err);
    if (status == VT_OK && memcmp(sha256, file->weights_sha256, sizeof sha256) != 0) {
        vt_fs_path(dir_fd, name, path);
        status = damaged(err, path, 0, "its SHA-256 is not the one that the state file holds");
    }
done:
    if (status == VT_OK)
        *out = file;
    else
        vt_checkpoint_close(file);
    return status;
}

vt_status vt_checkpoint_load_newest(int dir_fd, bool repair, vt_checkpoint_file **file,
                                    vt_error *err)
{
    struct listing listing;
    vt_phase phase = vt_phase_enter(VT_PHASE_RECOVERY);
    *file = NULL;
    vt_status status = list_steps(&listing, dir_fd, err);
    for (int i = 0; status == VT_OK && !*file && i < listing.states.n; i++) {
        vt_error reason = {0};
        vt_status loaded = load_step(file, dir_fd, listing.states.steps[i], &reason);
        if (loaded == VT_ERR_NOMEM)
            status = vt_fail(err, loaded, "%s", reason.text);
        else if (loaded != VT_OK)
            vt_log_write(VT_LOG_WARNING, "%s; trying the checkpoint before it", reason.text);
    }
    if (status == VT_OK && !*file && listing.states.n) {
        char path[PATH_MAX];
        vt_fs_path(dir_fd, NULL, path);
        status = vt_fail(err, VT_ERR_DATA,
                         "%s: none of its %d checkpoints is good; restore one, or start the run "
                         "again with --force",
                         path, listing.states.n);
    }
    if (status == VT_OK && repair) {
        if (*file)
            status = set_links(dir_fd, (*file)->step, (*file)->best_step, err);
        if (status == VT_OK)
            status =
                tidy(dir_fd, *file ? (*file)->step : -1, *file ? (*file)->keep : 0, false, err);
    }
    if (status != VT_OK) {
        vt_checkpoint_close(*file);
        *file = NULL;
    }
    release_listing(&listing);
    vt_phase_enter(phase);
    return status;
}

void vt_checkpoint_close(vt_checkpoint_file *file)
{
    if (!file)
        return;
    vt_safetensors_close(file->weights);
    vt_safetensors_close(file->state);
    vt_block_free(file->block, file->block_size);
    vt_free(file);
}

int64_t vt_checkpoint_step(const vt_checkpoint_file *file)
{
    return file->step;
}

int64_t vt_checkpoint_best_step(const vt_checkpoint_file *file)
{
    return file->best_step;
}

const vt_journal_mark *vt_checkpoint_mark(const vt_checkpoint_file *file)
{
    return file->has_mark ? &file->mark : NULL;
}

const uint8_t *vt_checkpoint_weights_sha256(const vt_checkpoint_file *file)
{
    return file->weights_sha256;
}

const vt_safetensors *vt_checkpoint_weights(const vt_checkpoint_file *file)
{
    return file->weights;
}

const vt_safetensors *vt_checkpoint_state(const vt_checkpoint_file *file)
{
    return file->state;
}

vt_status vt_checkpoint_copy(const vt_safetensors *from, const vt_safetensor *want, void *to,
                             vt_error *err)
{
    const vt_safetensor *got = vt_safetensors_find(from, want->name);
    if (!got)
        return vt_fail(err, VT_ERR_DATA, "the checkpoint has no tensor '%s'", want->name);
    if (got->type != want->type || got->rank != want->rank ||
        memcmp(got->shape, want->shape, (size_t)want->rank * sizeof *want->shape) != 0)
        return vt_fail(err, VT_ERR_DATA,
                       "the checkpoint's tensor '%s' has another type or shape than the model",
                       want->name);
    memcpy(to, got->data, (size_t)got->size_bytes);
    return VT_OK;
}

vt_status vt_checkpoint_get_int(const vt_checkpoint_file *file, const char *name, int64_t *value,
                                vt_error *err)
{
    if (parse_int(get_meta(file, 'i', name), value))
        return VT_OK;
    return vt_fail(err, VT_ERR_DATA, "the checkpoint has no integer '%s'", name);
}

vt_status vt_checkpoint_get_double(const vt_checkpoint_file *file, const char *name, double *value,
                                   vt_error *err)
{
    const char *text = get_meta(file, 'd', name);
    if (!text || strlen(text) != 16 || strspn(text, "0123456789abcdef") != 16)
        return vt_fail(err, VT_ERR_DATA, "the checkpoint has no number '%s'", name);
    uint64_t bits = strtoull(text, NULL, 16);
    memcpy(value, &bits, sizeof *value);
    return VT_OK;
}

vt_status vt_checkpoint_get_string(const vt_checkpoint_file *file, const char *name,
                                   const char **value, vt_error *err)
{
    *value = get_meta(file, 's', name);
    return *value ? VT_OK : vt_fail(err, VT_ERR_DATA, "the checkpoint has no text '%s'", name);
}
