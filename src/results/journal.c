#include "results/journal.h"

#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/phase.h"

#include <string.h>

#define FILE_NAME "journal"

enum {
    MAGIC_SIZE = 8,
    HEAD_SIZE = 16, /* u32 size, u32 type, i64 step */
    CRC_SIZE = 4,
    TAIL_SIZE = CRC_SIZE + VT_SHA256_SIZE,
    PAYLOAD_CAP = 64 << 20,
    TYPE_LAST = VT_RECORD_DONE,
};

static const char magic[MAGIC_SIZE + 1] = "VTJRNL1\n";

struct vt_journal {
    int fd;
    vt_journal_mark mark; /* behind the last record put */
    int64_t end;          /* of the file; records in [mark.offset, end) are compared */
    uint8_t *queue;       /* `queued` bytes: records without CRC and hash, in order */
    uint8_t *stored;      /* room for what the file has in a record's place */
    size_t queued, queue_capacity, stored_capacity;
    vt_error failure; /* a write failed: the file is not to be touched again */
    char path[PATH_MAX];
};

const char *vt_split_name(vt_split split)
{
    static const char *const names[] = {"train", "val", "test"};
    VT_ASSERT((unsigned)split < VT_SPLIT_COUNT);
    return names[split];
}

size_t vt_record_eval_size(int64_t classes)
{
    int64_t cells = classes <= VT_CONFUSION_CLASSES_MAX ? classes * classes : 0;
    return sizeof(vt_record_eval) + (size_t)cells * sizeof(int64_t);
}

static void put_le(uint8_t *to, uint64_t value, int size)
{
    for (int i = 0; i < size; i++)
        to[i] = (uint8_t)(value >> 8 * i);
}

static uint64_t get_le(const uint8_t *from, int size)
{
    uint64_t value = 0;
    for (int i = 0; i < size; i++)
        value |= (uint64_t)from[i] << 8 * i;
    return value;
}

/* The whole size of the record that seems to begin at `at`, with `left` bytes to the end of the
 * file; 0 if its size, type or step are impossible. */
static size_t frame_size(const uint8_t *at, size_t left)
{
    if (left < HEAD_SIZE + TAIL_SIZE)
        return 0;
    size_t size = get_le(at, 4);
    uint64_t type = get_le(at + 4, 4);
    if (size > PAYLOAD_CAP || size > left - HEAD_SIZE - TAIL_SIZE || type < 1 || type > TYPE_LAST ||
        at[15] >= 0x80)
        return 0;
    return HEAD_SIZE + size + TAIL_SIZE;
}

static bool crc_holds(const uint8_t *at, size_t whole)
{
    const uint8_t *crc = at + whole - TAIL_SIZE;
    return vt_crc32(0, at, whole - TAIL_SIZE) == get_le(crc, CRC_SIZE);
}

/* hash = SHA-256(hash, head and payload) */
static void chain(uint8_t hash[VT_SHA256_SIZE], const uint8_t *record, size_t size)
{
    vt_sha256 sha;
    vt_sha256_init(&sha);
    vt_sha256_add(&sha, hash, VT_SHA256_SIZE);
    vt_sha256_add(&sha, record, size);
    vt_sha256_finish(&sha, hash);
}

/* What a walk over the file found. */
struct walk {
    vt_journal_visit *visit;
    void *arg;
    const vt_journal_mark *mark; /* sought; NULL: none */
    bool mark_found;
    vt_journal_mark end; /* behind the last good record */
};

/* Copies a payload to aligned memory for the visitor. */
static vt_status show(struct walk *walk, const uint8_t *at, vt_error *err)
{
    vt_record record = {.type = (uint32_t)get_le(at + 4, 4),
                        .size = (uint32_t)get_le(at, 4),
                        .step = (int64_t)get_le(at + 8, 8)};
    void *payload = vt_calloc(record.size, 1);
    if (!payload)
        return vt_fail(err, VT_ERR_NOMEM, "no memory for a journal record of %u bytes",
                       record.size);
    memcpy(payload, at + HEAD_SIZE, record.size);
    record.payload = payload;
    vt_status status = walk->visit(walk->arg, &record, err);
    vt_free(payload);
    return status;
}

/* Does a good record begin anywhere behind a bad one? Then the bad one is no torn tail. The bytes
 * looked at are bounded, for a file made to keep us busy; past the bound the answer is yes. */
static bool record_follows(const uint8_t *bytes, size_t size, size_t bad)
{
    size_t budget = (size_t)1 << 30;
    for (size_t at = bad + 1; at < size; at++) {
        size_t whole = frame_size(bytes + at, size - at);
        if (whole > budget || (whole && crc_holds(bytes + at, whole)))
            return true;
        budget -= whole;
    }
    return false;
}

static vt_status walk_records(struct walk *walk, const char *path, const uint8_t *bytes,
                              size_t size, vt_error *err)
{
    size_t at = MAGIC_SIZE;
    walk->end = (vt_journal_mark){0};
    if (size < MAGIC_SIZE && memcmp(bytes, magic, size) == 0)
        return VT_OK;
    if (size < MAGIC_SIZE || memcmp(bytes, magic, MAGIC_SIZE) != 0)
        return vt_fail(err, VT_ERR_DATA, "%s: offset 0: not a journal (bad first bytes)", path);
    walk->end.offset = MAGIC_SIZE;
    for (;;) {
        if (walk->mark && walk->mark->offset == (int64_t)at)
            walk->mark_found = memcmp(walk->mark->hash, walk->end.hash, VT_SHA256_SIZE) == 0;
        if (at == size)
            return VT_OK;
        size_t whole = frame_size(bytes + at, size - at);
        bool good = whole && crc_holds(bytes + at, whole);
        uint8_t hash[VT_SHA256_SIZE];
        memcpy(hash, walk->end.hash, sizeof hash);
        if (good)
            chain(hash, bytes + at, whole - TAIL_SIZE);
        if (!good || memcmp(hash, bytes + at + whole - VT_SHA256_SIZE, sizeof hash) != 0) {
            if (record_follows(bytes, size, at))
                return vt_fail(err, VT_ERR_DATA,
                               "%s: offset %zu: damaged record (its CRC or hash does not hold, and "
                               "good records follow); restore the file, or start the run again "
                               "with --force",
                               path, at);
            return VT_OK;
        }
        if (walk->visit) {
            vt_status status = show(walk, bytes + at, err);
            if (status != VT_OK)
                return status;
        }
        at += whole;
        walk->end.offset = (int64_t)at;
        memcpy(walk->end.hash, hash, sizeof hash);
    }
}

/* Walks over the first `size` bytes of a file. */
static vt_status walk_file(struct walk *walk, int fd, const char *path, int64_t size, vt_error *err)
{
    size_t got = 0;
    uint8_t *bytes = vt_block_alloc((size_t)size);
    if (!bytes)
        return vt_fail(err, VT_ERR_NOMEM, "%s: no memory for %lld bytes", path, (long long)size);
    vt_status status = vt_fs_read_at(fd, path, 0, bytes, (size_t)size, &got, err);
    if (status == VT_OK)
        status = walk_records(walk, path, bytes, got, err);
    vt_block_free(bytes, (size_t)size);
    return status;
}

vt_status vt_journal_read(int dir_fd, vt_journal_visit *visit, void *arg,
                          uint8_t hash[VT_SHA256_SIZE], vt_error *err)
{
    struct walk walk = {.visit = visit, .arg = arg};
    char path[PATH_MAX];
    int64_t size = 0;
    int fd = -1;
    vt_fs_path(dir_fd, FILE_NAME, path);
    vt_status status = vt_fs_open_read(dir_fd, FILE_NAME, &fd, &size, err);
    if (status != VT_OK)
        return status;
    status = walk_file(&walk, fd, path, size, err);
    if (hash)
        memcpy(hash, walk.end.hash, VT_SHA256_SIZE);
    vt_fs_close(&fd);
    return status;
}

static vt_status peek_first(struct walk *walk, int fd, const char *path, int64_t size,
                            vt_error *err)
{
    enum { FIRST_CAP = 8 << 20, TRY = 1 << 14 };
    size_t room = size < TRY ? (size_t)size : TRY, got = 0, whole = 0;
    uint8_t *bytes = vt_calloc(room + 1, 1);
    vt_status status = bytes ? vt_fs_read_at(fd, path, 0, bytes, room, &got, err)
                             : vt_fail(err, VT_ERR_NOMEM, "%s: no memory", path);
    if (status != VT_OK)
        goto done;
    if (got >= MAGIC_SIZE && memcmp(bytes, magic, MAGIC_SIZE) == 0)
        whole = frame_size(bytes + MAGIC_SIZE, (size_t)size - MAGIC_SIZE);
    if (whole && whole <= FIRST_CAP && MAGIC_SIZE + whole > got) {
        uint8_t *larger = vt_realloc(bytes, MAGIC_SIZE + whole, 1);
        bytes = larger ? larger : bytes;
        status = larger ? vt_fs_read_at(fd, path, 0, bytes, MAGIC_SIZE + whole, &got, err)
                        : vt_fail(err, VT_ERR_NOMEM, "%s: no memory", path);
        if (status != VT_OK)
            goto done;
    }
    if (whole && whole <= FIRST_CAP && MAGIC_SIZE + whole <= got &&
        crc_holds(bytes + MAGIC_SIZE, whole))
        status = show(walk, bytes + MAGIC_SIZE, err);
    else
        status = vt_fail(err, VT_ERR_DATA, "%s: it does not begin as a journal does", path);
done:
    vt_free(bytes);
    return status;
}

vt_status vt_journal_peek(int dir_fd, vt_journal_visit *visit, void *arg, bool *done,
                          vt_record_checkpoint *last, uint8_t hash[VT_SHA256_SIZE], vt_error *err)
{
    enum { LAST_SIZE = HEAD_SIZE + sizeof *last + TAIL_SIZE };
    struct walk walk = {.visit = visit, .arg = arg};
    char path[PATH_MAX];
    uint8_t end[LAST_SIZE];
    int64_t size = 0;
    size_t got = 0;
    int fd = -1;
    *done = false;
    vt_fs_path(dir_fd, FILE_NAME, path);
    vt_status status = vt_fs_open_read(dir_fd, FILE_NAME, &fd, &size, err);
    if (status == VT_OK)
        status = peek_first(&walk, fd, path, size, err);
    if (status == VT_OK && size >= MAGIC_SIZE + LAST_SIZE)
        status = vt_fs_read_at(fd, path, size - LAST_SIZE, end, LAST_SIZE, &got, err);
    if (status == VT_OK && got == LAST_SIZE && frame_size(end, LAST_SIZE) == LAST_SIZE &&
        get_le(end + 4, 4) == VT_RECORD_DONE && crc_holds(end, LAST_SIZE)) {
        memcpy(last, end + HEAD_SIZE, sizeof *last);
        memcpy(hash, end + LAST_SIZE - VT_SHA256_SIZE, VT_SHA256_SIZE);
        *done = true;
    }
    vt_fs_close(&fd);
    return status;
}

static vt_status reserve(vt_journal *journal, uint8_t **bytes, size_t *capacity, size_t size,
                         vt_error *err)
{
    size_t wanted = *capacity ? *capacity : 1 << 14;
    while (wanted < size)
        wanted *= 2;
    uint8_t *grown = wanted == *capacity ? *bytes : vt_realloc(*bytes, wanted, 1);
    if (!grown)
        return vt_fail(err, VT_ERR_NOMEM, "%s: no memory for a record of %zu bytes", journal->path,
                       size);
    *bytes = grown;
    *capacity = wanted;
    return VT_OK;
}

/* Cuts a torn tail off and writes the first bytes of a new file. */
static vt_status mend(vt_journal *journal, int dir_fd, int64_t size, int64_t good, vt_error *err)
{
    vt_status status = VT_OK;
    if (good >= MAGIC_SIZE && good == size)
        return VT_OK;
    if (good < size) {
        vt_log_write(VT_LOG_INFO, "%s: cutting %lld bytes of an unfinished record", journal->path,
                     (long long)(size - good));
        status = vt_fs_truncate(journal->fd, journal->path, good, err);
    }
    if (status == VT_OK && good == 0)
        status = vt_fs_write_at(journal->fd, journal->path, 0, magic, MAGIC_SIZE, err);
    if (status == VT_OK)
        status = vt_fs_sync(journal->fd, journal->path, err);
    if (status == VT_OK)
        status = vt_fs_sync_dir(dir_fd, err);
    return status;
}

vt_status vt_journal_open(vt_journal **out, int dir_fd, const vt_journal_mark *mark, vt_error *err)
{
    struct walk walk = {.mark = mark};
    vt_phase phase = vt_phase_enter(VT_PHASE_RECOVERY);
    int64_t size = 0;
    *out = NULL;
    vt_status status = VT_OK;
    vt_journal *journal = vt_calloc(1, sizeof *journal);
    if (!journal) {
        status = vt_fail(err, VT_ERR_NOMEM, "no memory for the journal");
        goto done;
    }
    journal->fd = -1;
    vt_fs_path(dir_fd, FILE_NAME, journal->path);
    status = vt_fs_open_update(dir_fd, FILE_NAME, &journal->fd, &size, err);
    if (status == VT_OK)
        status = walk_file(&walk, journal->fd, journal->path, size, err);
    if (status == VT_OK && mark && !walk.mark_found)
        status =
            vt_fail(err, VT_ERR_DATA,
                    "%s: the checkpoint's place, offset %lld, is not in it (%lld good bytes) or "
                    "has another hash; restore the file, or start the run again with --force",
                    journal->path, (long long)mark->offset, (long long)walk.end.offset);
    if (status == VT_OK)
        status = mend(journal, dir_fd, size, walk.end.offset, err);
    if (status != VT_OK)
        goto done;
    journal->end = walk.end.offset < MAGIC_SIZE ? MAGIC_SIZE : walk.end.offset;
    journal->mark = mark ? *mark : (vt_journal_mark){.offset = MAGIC_SIZE};
    *out = journal;
    journal = NULL;
done:
    vt_journal_close(journal);
    vt_phase_enter(phase);
    return status;
}

/* The bytes of a record computed again must be those in the file. */
static vt_status compare(vt_journal *journal, const uint8_t *record, size_t whole, vt_error *err)
{
    size_t got = 0;
    vt_status status = reserve(journal, &journal->stored, &journal->stored_capacity, whole, err);
    if (status == VT_OK)
        status = vt_fs_read_at(journal->fd, journal->path, journal->mark.offset, journal->stored,
                               whole, &got, err);
    if (status != VT_OK || (got == whole && memcmp(record, journal->stored, whole) == 0))
        return status;
    return vt_fail(err, VT_ERR_INTERNAL,
                   "%s: offset %lld: the record computed again after the resume (type %u, step "
                   "%lld) differs from the stored one (type %u, step %lld): the computation is not "
                   "repeatable here, or code, data or machine have changed",
                   journal->path, (long long)journal->mark.offset, (uint32_t)get_le(record + 4, 4),
                   (long long)get_le(record + 8, 8), (uint32_t)get_le(journal->stored + 4, 4),
                   (long long)get_le(journal->stored + 8, 8));
}

/* Writes whole records to the end of the file. */
static vt_status append(vt_journal *journal, const uint8_t *records, size_t size, vt_error *err)
{
    int64_t from = journal->end;
    vt_status status = vt_fs_write_at(journal->fd, journal->path, from, records, size, err);
    if (status == VT_OK) {
        journal->end += (int64_t)size;
        return VT_OK;
    }
    /* A torn record is harmless; cutting it off now only makes the file nicer to look at. */
    if (vt_fs_truncate(journal->fd, journal->path, from, NULL) != VT_OK)
        vt_log_write(VT_LOG_WARNING, "%s: an unfinished record stays at its end", journal->path);
    return status;
}

/* CRC and hash of a record, whose hash becomes the mark's. */
static size_t finish(vt_journal_mark *mark, uint8_t *record)
{
    size_t size = HEAD_SIZE + get_le(record, 4);
    put_le(record + size, vt_crc32(0, record, size), CRC_SIZE);
    chain(mark->hash, record, size);
    memcpy(record + size + CRC_SIZE, mark->hash, VT_SHA256_SIZE);
    mark->offset += (int64_t)(size + TAIL_SIZE);
    return size + TAIL_SIZE;
}

vt_status vt_journal_queue(vt_journal *journal, uint32_t type, int64_t step, const void *payload,
                           size_t size, vt_error *err)
{
    VT_ASSERT(type >= 1 && type <= TYPE_LAST && step >= 0 && size <= PAYLOAD_CAP);
    if (journal->failure.status != VT_OK)
        return vt_fail(err, journal->failure.status, "%s", journal->failure.text);
    size_t whole = HEAD_SIZE + size + TAIL_SIZE;
    vt_status status = reserve(journal, &journal->queue, &journal->queue_capacity,
                               journal->queued + whole, &journal->failure);
    if (status != VT_OK)
        return vt_fail(err, status, "%s", journal->failure.text);
    uint8_t *at = journal->queue + journal->queued;
    put_le(at, size, 4);
    put_le(at + 4, type, 4);
    put_le(at + 8, (uint64_t)step, 8);
    if (size)
        memcpy(at + HEAD_SIZE, payload, size);
    journal->queued += whole;
    return VT_OK;
}

vt_status vt_journal_flush(vt_journal *journal, vt_error *err)
{
    vt_status status = journal->failure.status;
    size_t at = 0;
    if (status == VT_OK && journal->mark.offset < journal->end && journal->queued) {
        vt_phase phase = vt_phase_enter(VT_PHASE_RECOVERY);
        while (status == VT_OK && journal->mark.offset < journal->end && at < journal->queued) {
            vt_journal_mark next = journal->mark;
            size_t whole = finish(&next, journal->queue + at);
            status = compare(journal, journal->queue + at, whole, &journal->failure);
            if (status == VT_OK)
                journal->mark = next;
            at += whole;
        }
        vt_phase_enter(phase);
    }
    if (status == VT_OK && at < journal->queued) {
        vt_phase phase = vt_phase_enter(VT_PHASE_JOURNAL);
        vt_journal_mark next = journal->mark;
        for (size_t i = at; i < journal->queued;)
            i += finish(&next, journal->queue + i);
        status = append(journal, journal->queue + at, journal->queued - at, &journal->failure);
        if (status == VT_OK)
            journal->mark = next;
        vt_phase_enter(phase);
    }
    journal->queued = 0;
    return status == VT_OK ? VT_OK : vt_fail(err, status, "%s", journal->failure.text);
}

vt_status vt_journal_put(vt_journal *journal, uint32_t type, int64_t step, const void *payload,
                         size_t size, vt_error *err)
{
    vt_status status = vt_journal_queue(journal, type, step, payload, size, err);
    return status == VT_OK ? vt_journal_flush(journal, err) : status;
}

vt_status vt_journal_sync(vt_journal *journal, vt_error *err)
{
    vt_status status = vt_journal_flush(journal, err);
    if (status == VT_OK) {
        vt_phase phase = vt_phase_enter(VT_PHASE_JOURNAL);
        status = vt_fs_sync(journal->fd, journal->path, &journal->failure);
        vt_phase_enter(phase);
    }
    return status == VT_OK ? VT_OK : vt_fail(err, status, "%s", journal->failure.text);
}

vt_journal_mark vt_journal_tell(const vt_journal *journal)
{
    VT_ASSERT(journal->queued == 0);
    return journal->mark;
}

void vt_journal_rewind(vt_journal *journal, const vt_journal_mark *mark)
{
    VT_ASSERT(journal->queued == 0 && mark->offset >= MAGIC_SIZE &&
              mark->offset <= journal->mark.offset);
    journal->mark = *mark;
}

void vt_journal_close(vt_journal *journal)
{
    if (!journal)
        return;
    if (journal->queued && vt_journal_flush(journal, NULL) != VT_OK)
        vt_log_write(VT_LOG_WARNING, "%s", journal->failure.text);
    vt_fs_close(&journal->fd);
    vt_free(journal->queue);
    vt_free(journal->stored);
    vt_free(journal);
}
