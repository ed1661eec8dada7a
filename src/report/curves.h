/*
 * What runs did, as tables for other programs: a row an epoch, or a row a record of the training.
 * Columns are the same for every run, in this order; a cell without a value is empty. Accuracies
 * are shares, losses in nat, epochs count from 1 (0: before the first step).
 *
 *   epochs  exp, run_id, seed, epoch, step, train_loss, train_top1, lr, then for val and test
 *           SPLIT_loss, SPLIT_top1, SPLIT_top5, SPLIT_ece
 *           train_*: running means over the epoch in training mode; lr: of the epoch's last step
 *   steps   exp, run_id, seed, step, epoch, samples_seen, images, loss, top1, lr, grad_norm
 *           means over the images since the row before; lr and grad_norm of the row's step
 */
#ifndef VT_REPORT_CURVES_H
#define VT_REPORT_CURVES_H

#include "report/table.h"
#include "results/history.h"

/* Columns first, then the rows of any number of runs. */
void vt_curves_epoch_columns(vt_table *table);
void vt_curves_epoch_rows(vt_table *table, const vt_history *history);
void vt_curves_step_columns(vt_table *table);
void vt_curves_step_rows(vt_table *table, const vt_history *history);

#endif
