/* Time. Durations come from the monotonic clock; wall time is information only, never a name or a
 * seed, and nothing that is computed depends on either. */
#ifndef VT_BASE_CLOCK_H
#define VT_BASE_CLOCK_H

#include <stdint.h>

enum { VT_UTC_SIZE = 21 };

double vt_clock_s(void);       /* monotonic seconds */
double vt_clock_cpu_s(void);   /* CPU seconds of this process */
int64_t vt_clock_unix_s(void); /* seconds since 1970, UTC */

/* "2026-01-31T12:00:00Z", and back; a text of another form is -1. */
void vt_clock_utc(int64_t unix_s, char text[VT_UTC_SIZE]);
int64_t vt_clock_parse_utc(const char *text);

#endif
