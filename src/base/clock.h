/* Time. Durations come from the monotonic clock; wall time is information only, never a name or a
 * seed, and nothing that is computed depends on either. */
#ifndef VT_BASE_CLOCK_H
#define VT_BASE_CLOCK_H

enum { VT_UTC_SIZE = 21 };

double vt_clock_s(void);                   /* monotonic seconds */
double vt_clock_cpu_s(void);               /* CPU seconds of this process */
void vt_clock_utc(char text[VT_UTC_SIZE]); /* "2026-01-31T12:00:00Z" */

#endif
