#include "sweep/live.h"

#include "base/clock.h"
#include "base/log.h"
#include "sweep/standing.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <unistd.h>

void vt_live_init(vt_live *live, const vt_sweep *sweep, const char *results, bool quiet,
                  bool redraws)
{
    *live = (vt_live){.sweep = sweep,
                      .results = results,
                      .quiet = quiet,
                      .redraws = redraws && !quiet,
                      .drawn_s = -1};
}

void vt_live_clear(vt_live *live)
{
    if (live->lines > 0)
        fprintf(stderr, "\033[%dA\033[J", live->lines);
    live->lines = 0;
    live->drawn_s = -1;
}

void vt_live_say(vt_live *live, int run, const char *format, ...)
{
    char text[PATH_MAX + 200], label[200];
    va_list args;
    if (live->quiet)
        return;
    vt_live_clear(live);
    vt_sweep_label(live->sweep, run, label, sizeof label);
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    vt_log_write(VT_LOG_INFO, "row %d of %d (%s): %s", run, live->sweep->n_runs, label, text);
}

static int screen_width(void)
{
    struct winsize size;
    bool known = ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 10;
    return known ? size.ws_col : 80;
}

/* One line cut to the width, without a torn character of UTF-8 at its end. */
static void put_line(vt_live *live, const char *text)
{
    int size = 0, columns = 0, width = screen_width() - 1;
    for (; text[size]; size++) {
        bool begins = ((unsigned char)text[size] & 0xc0) != 0x80;
        if (begins && columns == width)
            break;
        columns += begins;
    }
    fprintf(stderr, "%.*s\n", size, text);
    live->lines++;
}

static void draw_run(vt_live *live, const vt_live_run *running)
{
    char line[500], label[200], result[60] = "";
    vt_outcome outcome;
    vt_sweep_label(live->sweep, running->run, label, sizeof label);
    if (vt_standing_read(live->sweep, running->run, live->results, &outcome, NULL) == VT_OK) {
        if (outcome.last[VT_SPLIT_TEST].known)
            snprintf(result, sizeof result, "  test top1 %.2f %%",
                     100 * outcome.last[VT_SPLIT_TEST].top1);
        snprintf(line, sizeof line, "  row %d  epoch %" PRId64 "/%" PRId64 "%s  %.0f s  %s",
                 running->run, outcome.epoch, outcome.epochs, result,
                 vt_clock_s() - running->started_s, label);
        put_line(live, line);
    }
    vt_outcome_release(&outcome);
}

void vt_live_draw(vt_live *live, const vt_live_run *running, int n, const int *code)
{
    int done = 0, failed = 0, waiting = 0, trains = 0;
    char line[200];
    double now = vt_clock_s();
    if (!live->redraws || (live->drawn_s >= 0 && now - live->drawn_s < 0.5))
        return;
    vt_live_clear(live);
    for (int i = 0; i < live->sweep->n_runs; i++) {
        done += code[i] == VT_OK;
        failed += code[i] > 0;
        waiting += code[i] < 0;
    }
    for (int i = 0; i < n; i++)
        trains += running[i].run >= 0;
    snprintf(line, sizeof line, "%d of %d done, %d running, %d waiting, %d ended otherwise", done,
             live->sweep->n_runs, trains, waiting - trains, failed);
    put_line(live, line);
    for (int i = 0; i < n; i++)
        if (running[i].run >= 0)
            draw_run(live, &running[i]);
    live->drawn_s = now;
}
