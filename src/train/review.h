/*
 * What an evaluation says beyond its sums: of single images, and whether the run's journal holds
 * the same figures.
 */
#ifndef VT_TRAIN_REVIEW_H
#define VT_TRAIN_REVIEW_H

#include "results/sheet.h"
#include "train/evaluate.h"

/* Lists the places (in the evaluation's order) of the images that were classified wrongly, the
 * surest first, equally sure ones in order. `places` has room for all images. VT_ERR_NOMEM. */
vt_status vt_review_wrong(const vt_evaluator *e, int64_t *places, int64_t *n, vt_error *err);

/* Describes the images at these places. */
void vt_review_images(const vt_evaluator *e, vt_part part, const char *const *classes,
                      const int64_t *places, int64_t n, vt_sheet_image *images);
/* Their pixels (n, side, side, 3) as the network saw them before the normalisation; side is
 * model.image. Errors as of vt_data_picture. */
vt_status vt_review_pixels(const vt_evaluator *e, vt_part part, const int64_t *places, int64_t n,
                           uint8_t *pixels, vt_error *err);

typedef enum vt_recorded {
    VT_RECORDED_NONE,  /* the journal has no such evaluation */
    VT_RECORDED_SAME,  /* loss, accuracies, calibration and confusion, bit for bit */
    VT_RECORDED_OTHER, /* it differs: another build, machine or data */
} vt_recorded;

/* Compares the last evaluation with that of the same epoch and part in the journal of `dir_fd`;
 * `found` receives the journal's. */
vt_status vt_review_recorded(const vt_evaluator *e, int dir_fd, vt_recorded *recorded,
                             vt_record_eval *found, vt_error *err);

#endif
