/*
 * What a run is: the first record of its journal (VT_RECORD_RUN), as JSON text.
 *
 * {"schema": 1, "exp_name", "exp_id", "run_id", "seed", "data_digest", "numerics", "select",
 *  "class_names": [...], "epochs", "steps_per_epoch", "images": {"train", "val", "test"},
 *  "params", "macs"}
 *
 * Keys are sorted and there are no blanks, so that equal runs have equal bytes. Seeds above 2^63-1
 * are texts, because JSON readers keep integers in 64 signed bits at most.
 */
#ifndef VT_RESULTS_RUNINFO_H
#define VT_RESULTS_RUNINFO_H

#include "base/status.h"
#include "base/text.h"
#include "results/journal.h"

#include <stddef.h>
#include <stdint.h>

enum { VT_RUNINFO_SCHEMA = 1 };

typedef struct vt_runinfo {
    const char *exp_name;                      /* name of the results folder */
    const char *exp_id, *run_id, *data_digest; /* hexadecimal */
    const char *numerics;                      /* numeric fingerprint, hexadecimal */
    const char *select;                        /* what names the best checkpoint: last, val, test */
    uint64_t seed;
    const char *const *class_names;
    int64_t n_classes;
    int64_t epochs, steps_per_epoch;
    int64_t images[VT_SPLIT_COUNT]; /* in use, after data.limit_* and data.val */
    int64_t n_params, macs;         /* macs: multiply-adds for one image, as computed */
    void *memory[2];                /* of a parsed one */
} vt_runinfo;

/* Appends the JSON text. Texts must be UTF-8; NULL is not allowed. VT_ERR_NOMEM. */
vt_status vt_runinfo_write(const vt_runinfo *info, vt_text *json, vt_error *err);
/* Reads such a text; `name` is for messages. VT_ERR_DATA names the key that is missing or of the
 * wrong type. Release with vt_runinfo_release, also after a failure. */
vt_status vt_runinfo_parse(vt_runinfo *info, const char *name, const void *json, size_t size,
                           vt_error *err);
void vt_runinfo_release(vt_runinfo *info);

#endif
