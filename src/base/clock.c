#include "base/clock.h"

#include <time.h>

static double seconds(clockid_t clock)
{
    struct timespec now;
    return clock_gettime(clock, &now) == 0 ? (double)now.tv_sec + 1e-9 * (double)now.tv_nsec : 0;
}

double vt_clock_s(void)
{
    return seconds(CLOCK_MONOTONIC);
}

double vt_clock_cpu_s(void)
{
    return seconds(CLOCK_PROCESS_CPUTIME_ID);
}

int64_t vt_clock_unix_s(void)
{
    return time(NULL);
}

void vt_clock_utc(int64_t unix_s, char text[VT_UTC_SIZE])
{
    time_t time = unix_s;
    struct tm parts;
    if (!gmtime_r(&time, &parts) || !strftime(text, VT_UTC_SIZE, "%Y-%m-%dT%H:%M:%SZ", &parts))
        text[0] = '\0';
}

int64_t vt_clock_parse_utc(const char *text)
{
    struct tm parts = {0};
    const char *end = strptime(text, "%Y-%m-%dT%H:%M:%SZ", &parts);
    return end && !*end ? timegm(&parts) : -1;
}
