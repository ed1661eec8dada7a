/*
 * The journal: the truth for a run's metrics.
 *
 * One append-only file `journal` in the run folder. It holds only what the computation determines
 * (no wall-clock time, no host, no attempt number), so an interrupted and resumed run leaves the
 * same bytes as an unbroken one. Layout, little-endian:
 *
 *   file    "VTJRNL1\n", then records
 *   record  u32 payload size, u32 type, i64 step, payload, u32 CRC-32 of all before it in the
 *           record, 32 bytes SHA-256 of (previous record's hash, this record up to its CRC); the
 *           hash before the first record is 32 zero bytes
 *
 * The last record's hash is the running hash of the whole run. A torn tail is cut off when the
 * file is opened for writing and ignored when it is read; damage before the tail is VT_ERR_DATA.
 *
 * After a resume, records that lie past the checkpoint are computed again: vt_journal_put compares
 * them with the file instead of writing, and a difference is VT_ERR_INTERNAL. They are never
 * rewritten.
 */
#ifndef VT_RESULTS_JOURNAL_H
#define VT_RESULTS_JOURNAL_H

#include "base/hash.h"
#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum vt_record_type {
    VT_RECORD_RUN = 1,    /* first record: JSON text, see vt_journal_run in docs/run-folder.md */
    VT_RECORD_TRAIN,      /* vt_record_train, every log.every steps */
    VT_RECORD_EVAL,       /* vt_record_eval, then classes * classes i64 confusion[true][pred] unless
                             there are more than VT_CONFUSION_CLASSES_MAX */
    VT_RECORD_EPOCH,      /* vt_record_epoch: acknowledged (on disk) once written */
    VT_RECORD_CHECKPOINT, /* vt_record_checkpoint */
    VT_RECORD_CAPTURE,    /* JSON text: {"file", "sha256", "kind": "attention"|"logits", "epoch"} */
    VT_RECORD_DONE,       /* vt_record_checkpoint of the last weights: the run is complete */
} vt_record_type;

typedef enum vt_split { VT_SPLIT_TRAIN, VT_SPLIT_VAL, VT_SPLIT_TEST, VT_SPLIT_COUNT } vt_split;
/* "train", "val", "test" */
const char *vt_split_name(vt_split split);

/* Means over the steps since the last such record. Losses in nat, accuracies in [0, 1]. */
typedef struct vt_record_train {
    int64_t step, epoch, samples_seen, images;
    double loss, top1, lr, grad_norm; /* lr and grad_norm of the last step in the interval */
} vt_record_train;

typedef struct vt_record_eval {
    int64_t epoch, step, images, split, classes; /* split: vt_split */
    double loss, top1, top5;
    double ece; /* expected calibration error, 15 equal bins */
} vt_record_eval;

/* Above this many classes evaluations are recorded without their confusion matrix, which grows with
 * the square: here it takes 8 MiB. */
enum { VT_CONFUSION_CLASSES_MAX = 1024 };
/* Bytes of an evaluation's payload, with its matrix if it has one. */
size_t vt_record_eval_size(int64_t classes);

/* One an epoch. train_* are running means over the epoch's steps in training mode. */
typedef struct vt_record_epoch {
    int64_t epoch, step, train_images;
    double train_loss, train_top1, lr; /* lr: as used in the epoch's last step */
    int64_t best_epoch;                /* by train.select so far */
} vt_record_epoch;

typedef struct vt_record_checkpoint {
    int64_t step, epoch;
    uint8_t weights_sha256[VT_SHA256_SIZE];
} vt_record_checkpoint;

typedef struct vt_record {
    uint32_t type, size;
    int64_t step;
    const void *payload; /* valid until the next call on this journal; 8-byte aligned */
} vt_record;

typedef struct vt_journal vt_journal;

/* Place in the journal, stored in a checkpoint's state. */
typedef struct vt_journal_mark {
    int64_t offset;
    uint8_t hash[VT_SHA256_SIZE];
} vt_journal_mark;

/* Opens (creates) `journal` in the folder for writing and cuts off a torn tail. Writing starts
 * after `mark` (NULL: at the beginning): records behind it are compared, not written. A mark that
 * does not lie in the file, or whose hash differs, is VT_ERR_DATA. */
vt_status vt_journal_open(vt_journal **journal, int dir_fd, const vt_journal_mark *mark,
                          vt_error *err);
/* Appends or compares one record. */
vt_status vt_journal_put(vt_journal *journal, uint32_t type, int64_t step, const void *payload,
                         size_t size, vt_error *err);
/* As vt_journal_put, but the record may wait in memory for the next flush, put, sync or close,
 * where a failure is then reported. For records of every step: hashing and writing one costs twenty
 * times what it costs in a row of them, for the code has left the caches. */
vt_status vt_journal_queue(vt_journal *journal, uint32_t type, int64_t step, const void *payload,
                           size_t size, vt_error *err);
/* Appends or compares what is queued. */
vt_status vt_journal_flush(vt_journal *journal, vt_error *err);
/* Makes everything put so far durable (fsync). */
vt_status vt_journal_sync(vt_journal *journal, vt_error *err);
/* Here and before a rewind nothing may be queued. */
vt_journal_mark vt_journal_tell(const vt_journal *journal);
/* Goes back to an earlier place of this journal: what was put since is compared when it is put
 * again, as after a resume. */
void vt_journal_rewind(vt_journal *journal, const vt_journal_mark *mark);
void vt_journal_close(vt_journal *journal);

/* Reading (also of a journal another process writes): calls `visit` for every good record in
 * order; a non-OK return of `visit` ends the reading and is returned. `hash` (may be NULL)
 * receives the running hash. Missing file: VT_ERR_NOINPUT. */
typedef vt_status vt_journal_visit(void *arg, const vt_record *record, vt_error *err);
vt_status vt_journal_read(int dir_fd, vt_journal_visit *visit, void *arg,
                          uint8_t hash[VT_SHA256_SIZE], vt_error *err);

/* The two ends of a journal, for lists of many runs: calls `visit` for the first record, and says
 * whether the last one is VT_RECORD_DONE (copied to *last, its running hash to `hash`). What lies
 * between is not looked at. VT_ERR_NOINPUT: no file; VT_ERR_DATA: no journal, or no good first
 * record of at most 8 MiB. */
vt_status vt_journal_peek(int dir_fd, vt_journal_visit *visit, void *arg, bool *done,
                          vt_record_checkpoint *last, uint8_t hash[VT_SHA256_SIZE], vt_error *err);

#endif
