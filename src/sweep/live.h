/*
 * What a person sees while a sweep goes on, on stderr: a line for each run that starts and ends
 * and, on a terminal, below them one for each run that trains, redrawn once a second.
 */
#ifndef VT_SWEEP_LIVE_H
#define VT_SWEEP_LIVE_H

#include "sweep/manifest.h"

typedef struct vt_live {
    const vt_sweep *sweep;
    const char *results;
    bool quiet, redraws;
    int lines; /* on the screen, to be drawn over */
    double drawn_s;
} vt_live;

typedef struct vt_live_run {
    int run; /* -1: none */
    double started_s;
} vt_live_run;

void vt_live_init(vt_live *live, const vt_sweep *sweep, const char *results, bool quiet,
                  bool redraws);
/* One line for good: "run 3 of 12 (optim.lr=1e-3 seed 0): TEXT". */
void vt_live_say(vt_live *live, int run, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* code: as in jobs.h. */
void vt_live_draw(vt_live *live, const vt_live_run *running, int n, const int *code);
/* Removes what is redrawn, before something else is printed. */
void vt_live_clear(vt_live *live);

#endif
