/*
 * The numeric fingerprint: SHA-256 over what this build computes here on fixed inputs: generator,
 * elementary functions, matrix products, attention, norms, loss and optimiser. Equal fingerprints
 * mean equal bits of whole runs; a checkpoint is only continued under its own.
 */
#ifndef VT_TRAIN_FINGERPRINT_H
#define VT_TRAIN_FINGERPRINT_H

#include "base/hash.h"
#include "kernels/device.h"

/* Two training steps of a small network that uses every kernel of a step, and products of a larger
 * layer, in `type`. */
vt_status vt_fingerprint(vt_dev *dev, vt_dtype type, char hex[VT_SHA256_HEX_SIZE], vt_error *err);

#endif
