/*
 * TensorBoard's event file of a run that is there: what results/events.h says, and the graph of the
 * network for one image, in evaluation.
 */
#ifndef VT_TRAIN_TENSORBOARD_H
#define VT_TRAIN_TENSORBOARD_H

#include "base/text.h"
#include "config/config.h"
#include "results/runs.h"

/* Appends the network's GraphDef. */
vt_status vt_tensorboard_graph(const vt_config *config, vt_text *graph, vt_error *err);

/* Writes OUT/EXP/RUNID/events.out.tfevents.vitrine; the folder above OUT must exist. A run whose
 * config.yaml cannot be read is written without the graph, with a warning. `written` receives the
 * path. */
vt_status vt_tensorboard_export(const vt_run_place *place, const char *out, char written[PATH_MAX],
                                vt_error *err);

#endif
