/*
 * Weights between memory and files: the model's parameters under their names, for checkpoints and
 * exports, and files of other makers to start from.
 */
#ifndef VT_TRAIN_WEIGHTS_H
#define VT_TRAIN_WEIGHTS_H

#include "graph/graph.h"
#include "results/safetensors.h"

typedef enum vt_weights_choice {
    VT_WEIGHTS_SAVED,   /* parameters and buffers, but no fixed table */
    VT_WEIGHTS_TRAINED, /* what has a gradient */
    VT_WEIGHTS_ALL,     /* fixed tables too */
} vt_weights_choice;

/* Tensors for the writer, in order of creation. Release with vt_weights_release. */
typedef struct vt_weights {
    vt_safetensor *tensor;
    int n;
    char *names; /* of the counters */
} vt_weights;

/*
 * Lists the chosen tensors; their data points into the block `floats`. With `batches` (may be
 * NULL) each batch norm's NAME.running_mean and .running_var are followed by the scalar
 * NAME.num_batches_tracked (I64), which PyTorch expects: it reads *batches, the training batches
 * done, and lives as long as that. VT_ERR_NOMEM.
 */
vt_status vt_weights_list(vt_weights *list, const vt_params *params, vt_weights_choice choice,
                          const float *floats, const int64_t *batches, vt_error *err);
void vt_weights_release(vt_weights *list);

/* Reads the tensors of a file of this very model (a checkpoint) into a host block; `path` is for
 * messages. VT_ERR_DATA if one is missing or of another shape. */
vt_status vt_weights_restore(const vt_params *params, const vt_safetensors *file, const char *path,
                             float *floats, vt_error *err);

/* What vt_weights_start did. */
typedef struct vt_weights_report {
    int taken;     /* tensors of the file that the model now has, resized ones too */
    int resized;   /* position and bias tables brought to the model's size */
    int converted; /* from F16, BF16 or F64 */
    int kept;      /* head tensors of another size: they keep their own start */
    int missing;   /* the model's, not in the file: they keep their own start */
    int unused;    /* the file's, not in the model */
    char sha256[VT_SHA256_HEX_SIZE];
} vt_weights_report;

/*
 * model.weights: takes every tensor that the model has, by name, and says on the log what was
 * resized, kept, missing and not used, each by name, and the counts.
 *
 * F16, BF16 and F64 become F32. The head keeps its own start if its size differs. A table of
 * absolute positions or relative biases for another grid or window is resized (train/resample.h);
 * rows before the grid (the class token's) stay. Any other tensor of another shape or type is
 * VT_ERR_DATA, as is a file of which nothing matches, or that is no sound safetensors file.
 * A batch norm's num_batches_tracked is neither used nor mentioned.
 */
vt_status vt_weights_start(const vt_params *params, const char *path, float *floats,
                           vt_weights_report *report, vt_error *err);

#endif
