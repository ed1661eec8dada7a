/* Places in sources, and error messages that show them. */
#ifndef VT_CONFIG_DIAG_H
#define VT_CONFIG_DIAG_H

#include "config/config.h"

enum vt_source_kind {
    VT_SOURCE_FILE,     /* errors as name:line:column */
    VT_SOURCE_OVERRIDE, /* one line of the command line: name:column */
    VT_SOURCE_BUILTIN,  /* defaults, presets, the command's own options: name alone */
};

typedef struct vt_source {
    const char *name;
    const char *text;
    size_t size_bytes;
    enum vt_source_kind kind;
} vt_source;

/* Lines and columns are counted from 0, columns in characters; printed from 1. */
typedef struct vt_mark {
    const vt_source *source;
    int line, column;
    int end_line, end_column;
} vt_mark;

/* Adds an error. `mark` (may be NULL) is the place shown; `hint` (may be NULL) a last line. */
void vt_report(vt_diagnostics *diags, vt_status status, const vt_mark *mark, const char *hint,
               const char *format, ...) __attribute__((format(printf, 5, 6)));
void vt_report_nomem(vt_diagnostics *diags);

/* Appends "file:line:column", "--set[1]:column" or the source's name. */
void vt_mark_write(const vt_mark *mark, vt_text *text);

#endif
