#include "results/confusion.h"

#include "base/fs.h"
#include "results/typeset.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

enum { NAMED_MAX = 50 };

/* Points. */
#define POINTS 9.0
#define SMALL 8.0

/* Inches. */
#define WIDTH 6.9
#define DIGIT 0.071 /* of 8 points */
#define TITLE 0.4
#define EDGE 0.08
#define AXIS_NAME 0.22
#define SHARE 0.62 /* the column of percentages */
#define SHARE_NARROW 0.5
#define NAMES_SHARE 0.25 /* of the width, for names */
#define CELL_NAMED 0.125 /* the least height of a row with a name */
#define CELL_MAX 0.8
#define SIDE_MAX 6.0

int64_t vt_confusion_total(const vt_confusion *c, int64_t label)
{
    int64_t sum = 0;
    for (int64_t i = 0; i < c->classes; i++)
        sum += c->count[label * c->classes + i];
    return sum;
}

static int digits(int64_t n)
{
    int count = 1;
    for (; n >= 10; n /= 10)
        count++;
    return count;
}

/* Characters, not bytes, of UTF-8 text. */
static int width_of(const char *text)
{
    int n = 0;
    for (; *text; text++)
        n += (*text & 0xc0) != 0x80;
    return n;
}

static int widest(const vt_confusion *c)
{
    int most = 1;
    for (int64_t i = 0; i < c->classes; i++) {
        int width = width_of(c->names[i]);
        most = width > most ? width : most;
    }
    return most;
}

static void print_name(const char *name, vt_text *text)
{
    for (; *name; name++)
        vt_text_printf(text, "%c", (unsigned char)*name < ' ' || *name == 0x7f ? '?' : *name);
}

void vt_confusion_print(const vt_confusion *c, vt_text *text)
{
    static const char corner[] = "true \\ predicted";
    int number = digits(c->classes - 1), name = widest(c), cell = number;
    int least = (int)sizeof corner - 1 - (number + 1);
    name = name > least ? name : least;
    for (int64_t i = 0; i < c->classes * c->classes; i++) {
        int width = digits(c->count[i]);
        cell = width > cell ? width : cell;
    }
    vt_text_printf(text, "%-*s", number + 1 + name, corner);
    for (int64_t i = 0; i < c->classes; i++)
        vt_text_printf(text, " %*" PRId64, cell, i);
    vt_text_printf(text, "\n");
    for (int64_t i = 0; i < c->classes; i++) {
        vt_text_printf(text, "%*" PRId64 " ", number, i);
        print_name(c->names[i], text);
        vt_text_printf(text, "%*s", name - width_of(c->names[i]), "");
        for (int64_t j = 0; j < c->classes; j++)
            vt_text_printf(text, " %*" PRId64, cell, c->count[i * c->classes + j]);
        vt_text_printf(text, "\n");
    }
}

static void print_field(const char *name, vt_text *text)
{
    bool quoted = strpbrk(name, ",\"\r\n") != NULL;
    vt_text_printf(text, "%s", quoted ? "\"" : "");
    for (; *name; name++)
        vt_text_printf(text, "%s%c", *name == '"' ? "\"" : "", *name);
    vt_text_printf(text, "%s", quoted ? "\"" : "");
}

void vt_confusion_csv(const vt_confusion *c, vt_text *text)
{
    vt_text_printf(text, "true\\predicted");
    for (int64_t i = 0; i < c->classes; i++) {
        vt_text_printf(text, ",");
        print_field(c->names[i], text);
    }
    vt_text_printf(text, "\n");
    for (int64_t i = 0; i < c->classes; i++) {
        print_field(c->names[i], text);
        for (int64_t j = 0; j < c->classes; j++)
            vt_text_printf(text, ",%" PRId64, c->count[i * c->classes + j]);
        vt_text_printf(text, "\n");
    }
}

static void print_data(const vt_confusion *c, vt_text *text)
{
    vt_text_printf(text, "true\tpredicted\ttrue_name\tpredicted_name\tcount\tshare\n");
    for (int64_t i = 0; i < c->classes; i++) {
        int64_t total = vt_confusion_total(c, i);
        for (int64_t j = 0; j < c->classes; j++) {
            int64_t count = c->count[i * c->classes + j];
            vt_text_printf(text, "%" PRId64 "\t%" PRId64 "\t", i, j);
            print_name(c->names[i], text);
            vt_text_printf(text, "\t");
            print_name(c->names[j], text);
            vt_text_printf(text, "\t%" PRId64 "\t%.9g\n", count,
                           total ? (double)count / (double)total : 0.0);
        }
    }
}

/* A name as a gnuplot text that is taken as a format: in single quotes, which are doubled inside,
 * as are signs of percent. */
static void print_quoted(const char *name, vt_text *text)
{
    vt_text_printf(text, "'");
    for (; *name; name++) {
        char one[2] = {*name, '\0'};
        if (*name == '\'' || *name == '%')
            vt_text_printf(text, "%c%c", *name, *name);
        else
            print_name(one, text);
    }
    vt_text_printf(text, "'");
}

static double widest_name(const vt_confusion *c)
{
    double most = 0;
    for (int64_t i = 0; i < c->classes; i++)
        most = fmax(most, vt_text_width(c->names[i], SMALL));
    return most;
}

/* Where everything is, in inches. */
struct layout {
    double width, height, left, bottom, side, names, share;
    bool named, counted;
};

/* Cells are as large as the width allows: counts are written where they fit, and names where lines
 * of text do. A title that is too long is cut. */
static struct layout lay_out(const vt_confusion *c, double width)
{
    struct layout l = {.width = width};
    double classes = (double)c->classes, longest = widest_name(c) + 0.1;
    int64_t largest = 0;
    for (int64_t i = 0; i < c->classes * c->classes; i++)
        largest = c->count[i] > largest ? c->count[i] : largest;
    l.names = fmin(longest, NAMES_SHARE * width);
    l.share = width > 4 ? SHARE : SHARE_NARROW;
    l.side = width - EDGE - AXIS_NAME - l.names - l.share;
    l.named = c->classes <= NAMED_MAX && l.side / classes >= CELL_NAMED;
    if (!l.named) {
        l.names = 0.32;
        l.share = EDGE;
        l.side = width - EDGE - AXIS_NAME - l.names - l.share;
    }
    l.side = fmin(l.side, fmin(CELL_MAX * classes, SIDE_MAX));
    l.counted = l.named && l.side / classes >= DIGIT * digits(largest) + 0.06;
    l.left = EDGE + AXIS_NAME + l.names;
    l.bottom = l.names + AXIS_NAME;
    l.height = l.bottom + l.side + TITLE;
    return l;
}

/* The text in at most so many inches. */
static void print_short(const char *name, double room, double points, vt_text *text)
{
    char cut[4 * VT_NAME_MAX];
    vt_text_shorten(name, room, points, cut, sizeof cut);
    print_quoted(cut, text);
}

static void print_numbers(const vt_drawer *drawer, const char *name, const char *title,
                          const vt_confusion *c, vt_text *text)
{
    char formats[VT_FORMATS_TEXT];
    const struct layout l = lay_out(c, drawer->width > 0 ? drawer->width : WIDTH);
    vt_text_printf(text, "name = '%s'\nformats = '%s'\ndata = '%s.tsv'\ntitle = ", name,
                   vt_formats_text(&drawer->formats, formats), name);
    print_short(title, l.width - 2 * EDGE, POINTS, text);
    vt_text_printf(text,
                   "\n\n# Inches\nwidth = %.4g\nheight = %.4g\nleft = %.4g\nbottom = %.4g\n"
                   "side = %.4g\nnames = %.4g\n\nclasses = %" PRId64
                   "\nnamed = %d\ncounted = %d\narray class[classes]\n",
                   l.width, l.height, l.left, l.bottom, l.side, l.names, c->classes, l.named,
                   l.counted);
    for (int64_t i = 0; i < c->classes; i++) {
        vt_text_printf(text, "class[%" PRId64 "] = ", i + 1);
        print_short(c->names[i], l.named ? l.names - 0.08 : l.width, SMALL, text);
        vt_text_printf(text, "\n");
    }
    vt_text_printf(text, "\n");
}

vt_status vt_confusion_draw(vt_drawer *drawer, int dir_fd, const char *folder, const char *name,
                            const char *title, const vt_confusion *c, vt_error *err)
{
    vt_text data = {0}, numbers = {0}, templates = {0};
    VT_ASSERT(c->classes <= VT_CONFUSION_DRAWN_MAX);
    char file[VT_NAME_MAX];
    snprintf(file, sizeof file, "%s.tsv", name);
    print_data(c, &data);
    print_numbers(drawer, name, title, c, &numbers);
    vt_status status = vt_draw_templates(&templates, "confusion.gp", err);
    if (status == VT_OK)
        status = vt_draw_publish(dir_fd, file, &data, err);
    if (status == VT_OK)
        status = vt_draw_figure(drawer, dir_fd, folder, name, &numbers, &templates, err);
    vt_text_release(&data);
    vt_text_release(&numbers);
    vt_text_release(&templates);
    return status;
}
