/* Everything that a run holds, and how it is opened, saved and closed. The loop is in trainer.c. */
#ifndef VT_TRAIN_RUN_H
#define VT_TRAIN_RUN_H

#include "data/data.h"
#include "results/events.h"
#include "results/history.h"
#include "results/journal.h"
#include "results/publish.h"
#include "results/rundir.h"
#include "train/capture.h"
#include "train/engine.h"
#include "train/evaluate.h"
#include "train/progress.h"
#include "train/schedule.h"
#include "train/state.h"
#include "train/train.h"

typedef struct vt_run {
    const vt_config *config;
    const vt_train_options *options;
    vt_dev *dev;
    vt_data *data;
    const vt_data_info *info;
    vt_engine engine;
    vt_ahead *ahead; /* NULL: the device does one batch at a time */
    vt_evaluator evaluator;
    vt_capturer *capturer;
    vt_publisher publisher;
    vt_events events; /* log.tensorboard */
    vt_progress progress;
    double record_s, save_s, publish_s; /* as in vt_perf: since the last line of perf.jsonl */
    double flushed_s;                   /* when the journal's file last grew */

    char exp_id[VT_SHA256_HEX_SIZE], run_id[VT_RUN_ID_SIZE], numerics[VT_SHA256_HEX_SIZE];
    char data_digest[VT_SHA256_HEX_SIZE]; /* of the data, and of model.weights if given */
    int64_t batches, steps_per_epoch;     /* of an epoch */

    vt_rundir dir;
    vt_journal *journal;
    vt_run_state state;
    vt_schedule_state schedule;
    int64_t best_step;
    uint8_t weights_sha256[VT_SHA256_SIZE]; /* of the newest checkpoint */
    bool done;                              /* was done before */
    bool concluded;                         /* ... and summary.json says so */
    double started_s;
    int64_t last_sign_s; /* Unix time: when another process last wrote to the run */
} vt_run;

/* What the experiment says of its data; its texts are the configuration's. */
vt_data_request vt_run_data_request(const vt_config *config);
/* Data, device, model, memory, identity: everything that needs no folder. */
vt_status vt_run_prepare(vt_run *run, const vt_config *config, const vt_train_options *options,
                         vt_error *err);
/* The folder: takes its lock, loads the newest checkpoint or writes the first. */
vt_status vt_run_open(vt_run *run, vt_error *err);
/* VT_ERR_DIVERGED if a weight is not finite. */
vt_status vt_run_check_weights(vt_run *run, vt_error *err);
/* Puts a record into the journal, and its event into the live file if there is one. Training
 * records of quick steps may wait in memory, a fifth of a second at most, for the next one or a
 * flush. */
vt_status vt_run_put(vt_run *run, uint32_t type, const void *payload, size_t size, vt_error *err);
vt_status vt_run_flush(vt_run *run, vt_error *err);
/* Makes the records durable. */
vt_status vt_run_sync(vt_run *run, vt_error *err);
/* Starts a publication of run.h5; vt_publisher_start says when it is not needed. */
void vt_run_publish(vt_run *run, bool if_behind);
/* Saves a checkpoint. `scheduled`: at a moment that an unbroken run would also choose. Weights that
 * are not finite are VT_ERR_DIVERGED and change nothing. */
vt_status vt_run_save(vt_run *run, bool scheduled, bool best, vt_error *err);
/* The end of the attempt in provenance.json, and summary.json from the journal. */
vt_status vt_run_conclude(vt_run *run, vt_status result, vt_error *err);
void vt_run_close(vt_run *run);

/* First lines (stderr) and closing lines (stdout). */
void vt_run_announce(const vt_run *run);
void vt_run_report(const vt_run *run, const vt_history *history);

#endif
