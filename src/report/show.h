/*
 * One run, for people and as JSON: what `vitrine show` and `vitrine ls` print.
 */
#ifndef VT_REPORT_SHOW_H
#define VT_REPORT_SHOW_H

#include "base/text.h"
#include "report/outcome.h"
#include "results/json.h"

/* {"exp", "exp_id", "run_id", "path", "state", "problem", "seed", "epoch", "epochs", "step",
 * "steps", "attempts", "select", "classes", "images": {split}, "params", "macs",
 * "metrics": {every name of VT_METRIC_LIST}, "digests": {"data", "numerics", "metrics",
 * "weights"}, "commit", "machine", "threads", "changed_utc"}; what is not known is null. NULL only
 * for lack of memory. */
json_t *vt_outcome_json(const vt_outcome *outcome);

/* "1:31:04", or "12.3 s" below a minute; "" for NaN. */
enum { VT_DURATION_TEXT = 32 };
const char *vt_duration_text(double seconds, char text[VT_DURATION_TEXT]);
/* "6.1 M": three digits or so and a power of 1000; "" for a value that is not positive. */
enum { VT_COUNT_TEXT = 24 };
const char *vt_count_text(double value, char text[VT_COUNT_TEXT]);
/* "1.9 GiB". */
const char *vt_bytes_text(int64_t bytes, char text[VT_COUNT_TEXT]);

/* Appends the lines that a run's outcome is told in: run, test, best, model, digest, files. Every
 * line begins with its name in 9 columns. */
void vt_outcome_print(const vt_outcome *outcome, vt_text *text);

/* What the folder holds beside the outcome. */
typedef struct vt_run_details {
    vt_setting *changed; /* keys that were set, by a file or an option; in the order of the file */
    const char **origin; /* ... and where: "FILE:LINE:COLUMN", "--set[1]:6", "--seed" */
    int n_changed;
    json_t *files;    /* [{"name", "bytes"}] by name; those of a folder as one, "captures/" */
    json_t *attempts; /* as in provenance.json; an empty array if there is none */
    void *memory;
} vt_run_details;

/* What cannot be read is left out. VT_ERR_NOMEM only. Release in every case. */
vt_status vt_run_details_read(vt_run_details *details, const vt_outcome *outcome, vt_error *err);
void vt_run_details_release(vt_run_details *details);
void vt_run_details_print(const vt_run_details *details, vt_text *text);
/* {"settings": all, "changed": {key: {"value", "origin"}}, "files", "attempts"} added to `run`. */
vt_status vt_run_details_add(const vt_run_details *details, const vt_outcome *outcome, json_t *run,
                             vt_error *err);

#endif
