#include "results/sheet.h"

#include "base/fs.h"

#include <inttypes.h>
#include <string.h>

/* Inches; a line of text of 8 points. */
#define IMAGE 0.86
#define GAP 0.12
#define LINE 0.165
#define CHARACTER 0.079
#define TITLE 0.42

enum { ONE_LINE_MAX = 16 };

static void print_word(const char *word, vt_text *text)
{
    for (; *word; word++)
        vt_text_printf(text, "%c", (unsigned char)*word < ' ' || *word == 0x7f ? '?' : *word);
}

void vt_sheet_list(const vt_sheet_image *image, int64_t n, vt_text *text)
{
    vt_text_printf(text, "image\tfile\ttrue\tpredicted\tprobability\n");
    for (int64_t i = 0; i < n; i++) {
        vt_text_printf(text, "%" PRId64 "\t", image[i].number);
        print_word(image[i].file ? image[i].file : "-", text);
        vt_text_printf(text, "\t");
        print_word(image[i].truth, text);
        vt_text_printf(text, "\t");
        print_word(image[i].predicted, text);
        vt_text_printf(text, "\t%.9g\n", image[i].probability);
    }
}

/* Names that are too long for one line take two. */
static void measure(const vt_sheet *s, bool *two, int *characters)
{
    size_t one = 0, longest = 0;
    for (int64_t i = 0; i < s->n; i++) {
        size_t p = strlen(s->image[i].predicted), t = strlen(s->image[i].truth);
        one = p + t + 4 > one ? p + t + 4 : one;
        longest = p + 1 > longest ? p + 1 : longest;
        longest = t + 2 > longest ? t + 2 : longest;
    }
    *two = one > ONE_LINE_MAX;
    *characters = (int)(*two ? longest : one);
}

static void print_numbers(const vt_drawer *drawer, const vt_sheet *s, vt_text *text)
{
    char formats[VT_FORMATS_TEXT];
    bool two;
    int characters;
    measure(s, &two, &characters);
    int64_t columns = s->n < s->columns ? s->n : s->columns;
    int64_t rows = (s->n + s->columns - 1) / s->columns;
    int lines = 1 + two + s->says_probability;
    double across = IMAGE + GAP, down = IMAGE + GAP + LINE * lines + 0.03;
    if (s->says_probability && characters < 12)
        characters = 12;
    if (across < CHARACTER * characters + GAP)
        across = CHARACTER * characters + GAP;
    double width = across * (double)columns + GAP,
           least = CHARACTER * (double)strlen(s->title) + 0.4;
    vt_text_printf(text, "name = '%s'\nformats = '%s'\ndata = '%s.tsv'\npixels = '%s.rgb'\n",
                   s->name, vt_formats_text(&drawer->formats, formats), s->name, s->name);
    vt_text_printf(text, "title = \"%s\"\n\n", s->title);
    vt_text_printf(text,
                   "# Inches\nwidth = %.4g\nheight = %.4g\nimage = %.4g\nacross = %.4g\n"
                   "down = %.4g\nleft = %.4g\ntop = %.4g\nline = %.4g\n\nimages = %" PRId64
                   "\nside = %" PRId64 "\ncolumns = %" PRId64
                   "\ntwo_lines = %d\nprobability = %d\n\n",
                   width > least ? width : least, down * (double)rows + TITLE + GAP, IMAGE, across,
                   down, GAP, TITLE, LINE, s->n, s->side, columns, two, s->says_probability);
}

vt_status vt_sheet_draw(vt_drawer *drawer, int dir_fd, const char *folder, const vt_sheet *sheet,
                        vt_error *err)
{
    vt_text list = {0}, numbers = {0}, templates = {0};
    char data[VT_NAME_MAX], pixels[VT_NAME_MAX];
    snprintf(data, sizeof data, "%s.tsv", sheet->name);
    snprintf(pixels, sizeof pixels, "%s.rgb", sheet->name);
    vt_sheet_list(sheet->image, sheet->n, &list);
    print_numbers(drawer, sheet, &numbers);
    vt_status status = vt_draw_templates(&templates, "sheet.gp", err);
    if (status == VT_OK)
        status = vt_draw_publish(dir_fd, data, &list, err);
    if (status == VT_OK)
        status = vt_fs_publish(dir_fd, pixels, sheet->pixels,
                               (size_t)(sheet->n * sheet->side * sheet->side * 3), err);
    if (status == VT_OK)
        status = vt_draw_figure(drawer, dir_fd, folder, sheet->name, &numbers, &templates, err);
    vt_text_release(&list);
    vt_text_release(&numbers);
    vt_text_release(&templates);
    return status;
}
