/*
 * Starting vitrine-h5, the program that makes run.h5 from a run's journal and captures. It is a
 * program of its own, so that no fault of HDF5 can reach a training; its failure is a warning.
 */
#ifndef VT_RESULTS_PUBLISH_H
#define VT_RESULTS_PUBLISH_H

#include <stdbool.h>
#include <sys/types.h>

/* Start with {0}. */
typedef struct vt_publisher {
    pid_t pid;   /* of the program that runs, 0 for none */
    bool warned; /* it is missing, and that has been said */
} vt_publisher;

/* Starts vitrine-h5, which lies beside this program, on a run's folder. Does nothing while an
 * earlier one still runs. */
void vt_publisher_start(vt_publisher *publisher, const char *run_path);
/* Waits for the one that runs. True if the last one ended well. */
bool vt_publisher_wait(vt_publisher *publisher);

#endif
