/*
 * gnuplot as a process. It reads no personal start-up file (-d), works in a UTF-8 locale with
 * English numbers, and must end with status 0; what it says is passed on.
 */
#ifndef VT_RESULTS_GNUPLOT_H
#define VT_RESULTS_GNUPLOT_H

#include "base/status.h"
#include "base/text.h"

/* Runs the script `name` in the folder. VT_ERR_HELPER: there is no gnuplot, or it failed. */
vt_status vt_gnuplot_run(int dir_fd, const char *name, vt_error *err);
/* Runs a script that lies in memory, with its output on stdout. It finds `data` in the file that
 * VT_GNUPLOT_DATA names. */
#define VT_GNUPLOT_DATA "/dev/fd/3"
vt_status vt_gnuplot_show(const vt_text *script, const vt_text *data, vt_error *err);

/* Replaces the time in a PDF, so that equal figures have equal bytes. */
vt_status vt_gnuplot_undate(int dir_fd, const char *name, vt_error *err);

#endif
