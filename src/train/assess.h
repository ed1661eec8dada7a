/*
 * Evaluation of a run's weights after the fact: `vitrine eval`.
 */
#ifndef VT_TRAIN_ASSESS_H
#define VT_TRAIN_ASSESS_H

#include "results/confusion.h"
#include "train/review.h"
#include "train/trained.h"

typedef struct vt_assessment {
    vt_trained trained;
    vt_part part;
    vt_data *data;
    const vt_data_info *info;
    vt_ahead *ahead;
    vt_evaluator evaluator;         /* of all images of the part: record, logits, predictions */
    vt_confusion confusion;         /* its count is NULL if there are too many classes to keep it */
    int64_t *total, *right;         /* images of each class, and those that were recognised */
    vt_recorded recorded;           /* is it what the run's journal says? */
    vt_record_eval recorded_eval;   /* ... which is this */
    int64_t *wrong, n_wrong;        /* places of the wrong images, the surest first */
    int64_t samples, samples_right; /* the first images: at most VT_ASSESS_SAMPLES */
} vt_assessment;

enum { VT_ASSESS_SAMPLES = 64, VT_ASSESS_WRONG = 32, VT_ASSESS_COLUMNS = 8 };

/*
 * Finds the run, opens the data that its experiment (with the request's settings on top) names, and
 * evaluates the part, exactly as the training did: the figures of the run's own data are those in
 * its journal, bit for bit, on the same build and machine. Unless `quiet` a long evaluation shows
 * its progress. Release in every case.
 *
 * VT_ERR_DATA also if the data's classes are not the run's; VT_ERR_NOINPUT if the part is empty.
 */
vt_status vt_assess(vt_assessment *a, const vt_trained_request *request, vt_part part, bool quiet,
                    vt_error *err);
void vt_assess_release(vt_assessment *a);

/*
 * Draws into the folder `dir_fd` (`folder` in messages) the confusion matrix, the sheet of the
 * first images and that of the surest wrong ones: confusion, samples and wrong, each followed by
 * `suffix`; and writes all wrong images as a list, wrong_all.tsv. Figures that would be empty are
 * left out.
 */
vt_status vt_assess_draw(const vt_assessment *a, vt_drawer *drawer, int dir_fd, const char *folder,
                         const char *suffix, vt_error *err);

#endif
