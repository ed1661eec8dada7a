/*
 * Other people's texts (names, paths, class names, messages) put into the formats that this program
 * prints, so that they can neither break the format nor move a terminal's cursor.
 *
 * Everywhere but in JSON a control character, a byte that is not UTF-8 and a character that turns
 * the direction of writing or cannot be seen is shown: \n, \t, \x1b, \u{202e}. CSV keeps tabs and
 * line breaks, for its quotes can hold them. JSON keeps every character (its printer escapes them)
 * and shows bytes that are not UTF-8.
 */
#ifndef VT_REPORT_ESCAPE_H
#define VT_REPORT_ESCAPE_H

#include "base/text.h"

typedef enum vt_escape_kind {
    VT_ESCAPE_SHOWN,    /* a terminal, a log; one line */
    VT_ESCAPE_MARKDOWN, /* inline text, also in a cell of a table; GitHub's Markdown */
    VT_ESCAPE_CSV,      /* RFC 4180, quoted where it has to be */
    VT_ESCAPE_TSV,      /* \t, \n, \r and \\ for those four; other controls as \x1b */
    VT_ESCAPE_TEX,      /* LaTeX of 2020 or later, UTF-8 */
    VT_ESCAPE_JSON,     /* UTF-8 to hand to json_string */
    VT_ESCAPE_HTML,     /* text and quoted attributes */
} vt_escape_kind;

/* Appends `text` (NULL: nothing). */
void vt_escape(vt_text *out, vt_escape_kind kind, const char *text);

/* Columns that UTF-8 takes on a terminal: wide characters two, combining ones none. */
int vt_escape_width(const char *text);

#endif
