#include "train/progress.h"

#include "base/clock.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum { MAX_FIELDS = 10, FIELD = 48 };
static const double terminal_pause_s = 0.1, plain_pause_s = 30;

struct line {
    char field[MAX_FIELDS][FIELD];
    int n;
};

static void add(struct line *line, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void add(struct line *line, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(line->field[line->n++], FIELD, format, args);
    va_end(args);
}

void vt_progress_init(vt_progress *p, bool quiet, int64_t epochs, int64_t batches,
                      int64_t batches_done)
{
    const double now = vt_clock_s();
    *p = (vt_progress){.terminal = isatty(STDERR_FILENO) == 1,
                       .quiet = quiet,
                       .epochs = epochs,
                       .batches = batches,
                       .started_s = now,
                       .drawn_s = now,
                       .first_batch = batches_done};
}

static bool due(vt_progress *p)
{
    double now = vt_clock_s(), pause = p->terminal ? terminal_pause_s : plain_pause_s;
    if (p->quiet || now - p->drawn_s < pause)
        return false;
    p->drawn_s = now;
    return true;
}

static int columns(void)
{
    struct winsize size;
    return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col ? size.ws_col : 80;
}

static void draw(vt_progress *p, const struct line *line)
{
    char text[MAX_FIELDS * FIELD + 64] = "";
    size_t used = 0;
    int width = p->terminal ? columns() - 1 : (int)sizeof text - 2;
    if (!p->terminal) {
        vt_clock_utc(vt_clock_unix_s(), text);
        used = strlen(text);
    }
    for (int i = 0; i < line->n; i++) {
        size_t size = strlen(line->field[i]) + 2;
        if ((int)(used + size) > width)
            break;
        used += (size_t)snprintf(text + used, sizeof text - used, "%s%s", used ? "  " : "",
                                 line->field[i]);
    }
    if (p->terminal) {
        fprintf(stderr, "\r%-*s", p->drawn, text);
        p->drawn = (int)used;
    } else {
        fprintf(stderr, "%s\n", text);
    }
    fflush(stderr);
}

static void add_duration(struct line *line, const char *name, double seconds)
{
    int64_t s = seconds > 0 ? (int64_t)seconds : 0;
    if (s >= 3600)
        add(line, "%s %" PRId64 ":%02" PRId64 ":%02" PRId64, name, s / 3600, s / 60 % 60, s % 60);
    else
        add(line, "%s %" PRId64 ":%02" PRId64, name, s / 60, s % 60);
}

void vt_progress_train(vt_progress *p, const vt_progress_now *now)
{
    struct line line = {.n = 0};
    if (!due(p))
        return;
    int64_t done = (now->epoch - 1) * p->batches + now->batch;
    int64_t left = p->epochs * p->batches - done;
    double spent = vt_clock_s() - p->started_s;
    add(&line, "Train Epoch %3" PRId64 "/%" PRId64 " [%4" PRId64 "/%" PRId64 "]", now->epoch,
        p->epochs, now->batch, p->batches);
    add(&line, "loss %.3f (%.3f)", now->loss, now->mean_loss);
    add(&line, "top1 %.1f%%", 100 * now->top1);
    add(&line, "lr %.1e", now->lr);
    add(&line, "gnorm %.2f", now->grad_norm);
    add(&line, "%.0f img/s", now->images_per_s);
    add(&line, "data %.0f%%", 100 * now->data_share);
    if (done > p->first_batch)
        add_duration(&line, "eta", spent / (double)(done - p->first_batch) * (double)left);
    draw(p, &line);
}

void vt_progress_eval(vt_progress *p, const char *part, int64_t epoch, int64_t done, int64_t total)
{
    struct line line = {.n = 0};
    if (!due(p))
        return;
    add(&line, "%s Epoch %3" PRId64 "/%" PRId64 " [%5" PRId64 "/%" PRId64 "]", part, epoch,
        p->epochs, done, total);
    draw(p, &line);
}

void vt_progress_clear(vt_progress *p)
{
    if (p->terminal && p->drawn) {
        fprintf(stderr, "\r%-*s\r", p->drawn, "");
        fflush(stderr);
    }
    p->drawn = 0;
}
