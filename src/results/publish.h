/*
 * Starting vitrine-h5, the program that makes run.h5 from a run's journal and captures. It is a
 * program of its own, so that no fault of HDF5 can reach a training; its failure is a warning.
 *
 * It lies in the folder of this program, dies with this process, takes no signals from the terminal
 * (a training that is asked to stop still publishes), and says nothing on stdout.
 */
#ifndef VT_RESULTS_PUBLISH_H
#define VT_RESULTS_PUBLISH_H

#include "base/status.h"

#include <stdbool.h>
#include <sys/types.h>

/* Start with {0}. */
typedef struct vt_publisher {
    pid_t pid;        /* of the program that runs, 0 for none */
    vt_status status; /* of the last one that ended, or of the start that failed */
    bool warned;      /* it is missing, and that has been said */
} vt_publisher;

/* Starts vitrine-h5 on a run's folder. Does nothing while an earlier one still runs. With
 * `if_behind` a run.h5 that was made from all of the journal is left alone. */
void vt_publisher_start(vt_publisher *publisher, const char *run_path, bool if_behind);
/* Waits for the one that runs. Returns the exit status of the last one, VT_ERR_HELPER if it could
 * not be started or was ended by a signal. */
vt_status vt_publisher_wait(vt_publisher *publisher);

#endif
