/*
 * A run's journal as TensorBoard's events, made afterwards or written while it is trained.
 *
 *   journal record   event's step    tags
 *   epoch            epoch           Loss/train, Acc/train, Learning Rate
 *   evaluation       epoch           Loss/SPLIT, Acc/SPLIT (val, test)
 *   training         training step   Steps/Loss, Steps/Acc, Steps/Learning Rate,
 *                                    Steps/Gradient Norm
 *
 * One event a record, behind the file's version and the network's graph. Accuracies are shares,
 * losses in nat.
 *
 * The journal knows no times. Made afterwards, an event's time is the start of the run's first
 * attempt (provenance.json; without it 1970) and the training times of the epochs so far
 * (perf.jsonl; one second an epoch that is not in it); inside an epoch, in proportion to its steps.
 * So the same folder gives the same bytes. Written live, an event has the time of its writing.
 */
#ifndef VT_RESULTS_EVENTS_H
#define VT_RESULTS_EVENTS_H

#include "base/status.h"
#include "base/text.h"

#include <limits.h>
#include <stdint.h>

#define VT_EVENTS_FILE "events.out.tfevents.vitrine"

/* Appends the events of the run in the folder; `graph` (graph/graphdef.h) may be empty: there is
 * no such event then. Errors as of vt_journal_read, and VT_ERR_DATA for a record of the wrong
 * size. */
vt_status vt_events_make(int run_fd, const vt_text *graph, vt_text *file, vt_error *err);

/*
 * The live file, VT_EVENTS_FILE in the run's folder, only ever appended to, so that a TensorBoard
 * that has it open sees it grow. Opening keeps what the file has in common with the journal, cuts
 * off the rest (an event half written, or of a file that is not ours) and appends what is missing;
 * records that are put again after a resume are then passed over. So each record has one event,
 * however often the run was killed.
 *
 * It is a view: what cannot be written is warned about once and given up; the training goes on.
 */
typedef struct vt_events {
    int fd; /* -1: given up */
    int64_t size;
    int64_t last; /* place of the last event's record in the journal's order */
    vt_text text; /* the event being written */
    char path[PATH_MAX];
} vt_events;

/* For the holder of the run's lock; the journal exists. Close in every case. */
void vt_events_open(vt_events *events, int run_fd, const vt_text *graph);
/* Appends the event of a record that was put into the journal; other types are passed over. */
void vt_events_put(vt_events *events, uint32_t type, int64_t step, const void *payload,
                   size_t size);
void vt_events_close(vt_events *events);

#endif
