#include "config/diag.h"

#include <stdarg.h>
#include <string.h>

enum { WINDOW = 100 }; /* characters of a source line that are shown */

void vt_diagnostics_release(vt_diagnostics *diags)
{
    vt_text_release(&diags->text);
    *diags = (vt_diagnostics){0};
}

void vt_mark_write(const vt_mark *mark, vt_text *text)
{
    switch (mark->source->kind) {
    case VT_SOURCE_FILE:
        vt_text_printf(text, "%s:%d:%d", mark->source->name, mark->line + 1, mark->column + 1);
        break;
    case VT_SOURCE_OVERRIDE:
        vt_text_printf(text, "%s:%d", mark->source->name, mark->column + 1);
        break;
    case VT_SOURCE_BUILTIN:
        vt_text_printf(text, "%s", mark->source->name);
        break;
    }
}

/* Bytes of the UTF-8 character at `at`; the text has been checked, or is shown as it is. */
static size_t count_bytes(const char *at, const char *end)
{
    size_t n = 1;
    while (at + n < end && ((unsigned char)at[n] & 0xc0) == 0x80)
        n++;
    return n;
}

static void find_line(const vt_source *source, int line, const char **begin, const char **end)
{
    const char *at = source->text, *stop = source->text + source->size_bytes;
    for (; line > 0 && at < stop; line--) {
        const char *newline = memchr(at, '\n', (size_t)(stop - at));
        at = newline ? newline + 1 : stop;
    }
    const char *newline = at < stop ? memchr(at, '\n', (size_t)(stop - at)) : NULL;
    *begin = at;
    *end = newline ? newline : stop;
    if (*end > *begin && (*end)[-1] == '\r')
        --*end;
}

/* The source line with a caret below; long lines are cut to a window around the column. */
static void show_line(vt_text *text, const vt_mark *mark, bool color)
{
    const char *at, *end;
    find_line(mark->source, mark->line, &at, &end);
    int first = mark->column > WINDOW - 20 ? mark->column - (WINDOW - 20) : 0;
    int column = 0;
    for (; column < first && at < end; column++)
        at += count_bytes(at, end);
    if (mark->source->kind == VT_SOURCE_FILE)
        vt_text_printf(text, "%5d | ", mark->line + 1);
    else
        vt_text_printf(text, "      | ");
    for (; column < first + WINDOW && at < end; column++) {
        size_t n = count_bytes(at, end);
        if (n == 1 && ((unsigned char)*at < 0x20 || (unsigned char)*at >= 0x7f))
            vt_text_append(text, *at == '\t' ? " " : "?", 1);
        else
            vt_text_append(text, at, n);
        at += n;
    }
    int last = mark->end_line == mark->line ? mark->end_column : column;
    if (last > column)
        last = column;
    vt_text_printf(text, "\n      | %*s%s^", mark->column - first, "", color ? "\033[1;31m" : "");
    for (int i = mark->column + 1; i < last; i++)
        vt_text_append(text, "~", 1);
    vt_text_printf(text, "%s\n", color ? "\033[0m" : "");
}

void vt_report(vt_diagnostics *diags, vt_status status, const vt_mark *mark, const char *hint,
               const char *format, ...)
{
    vt_text *text = &diags->text;
    if (diags->status == VT_OK)
        diags->status = status;
    if (++diags->n_errors > VT_DIAGNOSTICS_MAX)
        return;
    if (mark)
        vt_mark_write(mark, text);
    else
        vt_text_printf(text, "vitrine");
    vt_text_printf(text, ": ");
    vt_text_printf(text, diags->color ? "\033[1;31merror:\033[0m " : "error: ");
    va_list args;
    va_start(args, format);
    char message[2000];
    vsnprintf(message, sizeof message, format, args);
    va_end(args);
    vt_text_printf(text, "%s\n", message);
    if (mark && mark->source->text && mark->source->kind != VT_SOURCE_BUILTIN)
        show_line(text, mark, diags->color);
    if (hint && *hint)
        vt_text_printf(text, "  %s\n", hint);
}

void vt_report_nomem(vt_diagnostics *diags)
{
    diags->status = VT_ERR_NOMEM;
    diags->n_errors++;
    vt_text_release(&diags->text);
}
