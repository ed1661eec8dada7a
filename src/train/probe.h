/*
 * One batch through a model, written down: what another framework computes from the same weights
 * and images can be held against it.
 *
 * Read (safetensors):
 *   images          F32 (B, S, S, C), channels last, as the network sees them: already normalised
 *   labels          I64 (B), from 0
 * Written (safetensors):
 *   logits          F32 (B, classes) of the evaluation pass
 *   loss            F64, its mean cross entropy
 *   attn.NAME       F32 (B, windows, heads, P, P), attention weights of the layer NAME
 * and with `training`, of a training pass that follows it:
 *   train.logits, train.loss
 *   grad.NAME       gradient of train.loss, of every parameter that is trained
 *   buffer.NAME     running statistics after the pass
 * and with `steps`, of that many steps of the experiment's optimiser on the batch after that pass:
 *   losses          F64 (steps), the mean loss of each, at the rate optim.lr
 */
#ifndef VT_TRAIN_PROBE_H
#define VT_TRAIN_PROBE_H

#include "config/config.h"

typedef struct vt_probe_options {
    const char *images, *out; /* files */
    bool training;
    uint32_t draw; /* number of the training pass, for the masks of dropout and drop path */
    int64_t steps; /* needs `training` */
} vt_probe_options;

/* Weights are those of model.weights, else the seed's. `config->model_image` and model_channels
 * become the images'. VT_ERR_DATA for tensors that do not fit. */
vt_status vt_probe(vt_config *config, const vt_probe_options *options, vt_error *err);

#endif
