/*
 * Reliability diagrams: in 15 bins of confidence (the probability of the class answered), how often
 * the answer was right; on the diagonal of a calibrated model both are equal. Below it, how many
 * answers fall into each bin. The expected calibration error (ECE) is the mean distance from the
 * diagonal, weighted by the answers.
 *
 * Drawn from the logits that a run keeps of its last evaluation (captures/final-test.safetensors).
 */
#ifndef VT_REPORT_CALIBRATION_H
#define VT_REPORT_CALIBRATION_H

#include "report/matrix.h"
#include "results/stats.h"

enum { VT_CALIBRATION_BINS = 15, VT_CALIBRATION_GROUPS_MAX = 8 };

typedef struct vt_calibration {
    int64_t n; /* answers of all runs */
    vt_calibration_bin bin[VT_CALIBRATION_BINS];
    double ece; /* mean of the runs' */
} vt_calibration;

/* Reads the logits of a group's runs. The bins hold the answers of all of them. VT_ERR_NOINPUT: a
 * run has no such file; VT_ERR_DATA: not what the journal tells, or not of the shapes expected. */
vt_status vt_calibration_read(vt_calibration *calibration, const vt_group *group, vt_error *err);

/* Draws the groups in one diagram. VT_ERR_USAGE for more than VT_CALIBRATION_GROUPS_MAX. */
vt_status vt_calibration_draw(const vt_place *place, const vt_groups *groups, vt_error *err);

#endif
