/*
 * Weights between memory and files: the model's parameters under their names, for checkpoints, and
 * files of other makers to start from.
 */
#ifndef VT_TRAIN_WEIGHTS_H
#define VT_TRAIN_WEIGHTS_H

#include "graph/graph.h"
#include "results/safetensors.h"

/* One tensor for each parameter that is saved (not FIXED) or, on request, trained, in order of
 * creation; `data` points into the block `floats`. `tensors` has room for params->n. Returns their
 * number. */
int vt_weights_list(const vt_params *params, const float *floats, bool trained_only,
                    vt_safetensor *tensors);

/* Reads the tensors of a file of this very model (a checkpoint) into a host block. VT_ERR_DATA if
 * one is missing or of another shape. */
vt_status vt_weights_restore(const vt_params *params, const vt_safetensors *file, float *floats,
                             vt_error *err);

/*
 * model.weights: takes every tensor that the model has and reports on the log what matched, what
 * the file lacks (kept at its own start) and what was not used. A head of another size keeps its
 * own start; any other tensor of another shape is VT_ERR_DATA, as is a file without any match.
 */
vt_status vt_weights_start(const vt_params *params, const char *path, float *floats,
                           char sha256[VT_SHA256_HEX_SIZE], vt_error *err);

#endif
