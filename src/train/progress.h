/*
 * What a person sees while a run goes on, on stderr: on a terminal one line that is redrawn at most
 * ten times a second and fitted to the width by leaving out fields from the right; elsewhere one
 * plain line every half minute. Results (epoch lines) go to stdout, not through here.
 */
#ifndef VT_TRAIN_PROGRESS_H
#define VT_TRAIN_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

typedef struct vt_progress {
    bool terminal, quiet;
    int64_t epochs, batches; /* of the run; of an epoch */
    double started_s, drawn_s, data_s, epoch_started_s;
    int64_t first_batch; /* of the run, done when this process began */
    double eval_share;   /* seconds of evaluation for one of training, as seen so far */
    int drawn;           /* characters on the line */
} vt_progress;

typedef struct vt_progress_now {
    int64_t epoch, batch, images; /* present epoch from 1; batches done in it; their images */
    double loss, mean_loss, top1, lr, grad_norm;
    double images_per_s, data_share;
} vt_progress_now;

void vt_progress_init(vt_progress *p, bool quiet, int64_t epochs, int64_t batches,
                      int64_t batches_done);
void vt_progress_train(vt_progress *p, const vt_progress_now *now);
void vt_progress_eval(vt_progress *p, const char *part, int64_t epoch, int64_t done, int64_t total);
/* Removes the line, before something else is printed. */
void vt_progress_clear(vt_progress *p);

#endif
