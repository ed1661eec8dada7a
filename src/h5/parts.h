/* The parts of run.h5, each written from what the run folder holds. */
#ifndef VT_H5_PARTS_H
#define VT_H5_PARTS_H

#include "h5/h5file.h"
#include "results/history.h"
#include "results/safetensors.h"

/* What the parts read from. */
typedef struct vt_h5_source {
    int dir_fd;
    const char *path; /* of the folder, for messages */
    const vt_history *history;
} vt_h5_source;

/* metrics.c: /train, /classes, /eval with confusion matrices and final predictions. */
vt_status vt_h5_put_metrics(vt_h5_file *file, const vt_h5_source *source, vt_error *err);
/* attention.c: /attention, if any was captured. VT_ERR_DATA for a file that is not what the journal
 * says, or that does not fit the others. */
vt_status vt_h5_put_attention(vt_h5_file *file, const vt_h5_source *source, vt_error *err);
/* context.c: /config, /perf, /provenance, /checkpoints. What is missing or damaged there is left
 * out with a warning: it explains the results and is none. */
vt_status vt_h5_put_context(vt_h5_file *file, const vt_h5_source *source, vt_error *err);

/* capture.c: a file below captures/ that must be the one the journal names. */
typedef struct vt_h5_capture {
    vt_safetensors *tensors;
    char path[PATH_MAX];
} vt_h5_capture;

vt_status vt_h5_capture_open(vt_h5_capture *capture, const vt_h5_source *source,
                             const vt_capture *record, vt_error *err);
void vt_h5_capture_close(vt_h5_capture *capture);
/* The tensor `name`, which must be of that type and rank and have shape[0] == n (n < 0: any). */
vt_status vt_h5_capture_find(const vt_h5_capture *capture, const char *name,
                             vt_safetensors_type type, int rank, int64_t n,
                             const vt_safetensor **tensor, vt_error *err);
/* The same for a column of n class numbers (I64, each in [0, classes)), stored in 16 bits. */
vt_status vt_h5_capture_classes(const vt_h5_capture *capture, const char *name, int64_t n,
                                int64_t classes, uint16_t **values, vt_error *err);

#endif
