/*
 * Tables, printed for people and for programs from the same cells.
 *
 *     vt_table table;
 *     vt_table_init(&table);
 *     vt_table_column(&table, "exp", VT_LEFT);
 *     vt_table_column(&table, "test.top1", VT_RIGHT);
 *     vt_table_row(&table);
 *     vt_table_text(&table, "vit");
 *     vt_table_real(&table, 0.9241, "92.41 %");
 *     vt_table_print(&table, VT_TABLE_MARKDOWN, &text);
 *
 * A cell has the text that people read and, if it is a number, its value: text, Markdown and TeX
 * print the first, CSV, TSV and JSON the second with all its digits. A cell that was not given is
 * empty (JSON: null). Widths count characters of UTF-8, wide ones as two. Texts are escaped for the
 * format (report/escape.h): they may be anybody's.
 */
#ifndef VT_REPORT_TABLE_H
#define VT_REPORT_TABLE_H

#include "base/status.h"
#include "base/text.h"

#include <jansson.h>
#include <stdint.h>

/* format, word */
#define VT_TABLE_FORMAT_LIST(X)                                                                    \
    X(TEXT, "text")                                                                                \
    X(MARKDOWN, "md")                                                                              \
    X(CSV, "csv")   /* RFC 4180, "," between and "\n" behind */                                    \
    X(TSV, "tsv")   /* control characters as \t, \n, \\ */                                         \
    X(TEX, "tex")   /* a tabular with booktabs rules */                                            \
    X(JSON, "json") /* an array of one object a row */                                             \
    X(JSONL, "jsonl")                                                                              \
    X(HTML, "html") /* a table element with a header row; cells escaped */

typedef enum vt_table_format {
#define X(name, word) VT_TABLE_##name,
    VT_TABLE_FORMAT_LIST(X)
#undef X
        VT_TABLE_FORMAT_COUNT
} vt_table_format;

typedef enum vt_align { VT_LEFT, VT_RIGHT } vt_align;

typedef struct vt_table {
    struct vt_table_column *column;
    struct vt_table_cell *cell;             /* rows of n_columns */
    int n_columns, n_rows, place, capacity; /* capacity: rows */
    bool failed;                            /* no memory: printing says so */
} vt_table;

/* The format of a word; VT_ERR_USAGE names those there are. */
vt_status vt_table_format_parse(vt_table_format *format, const char *word, vt_error *err);

void vt_table_init(vt_table *table);
/* All columns before the first row. `name` is the heading and the key in JSON (a name that was used
 * before gets "_2", "_3" there). */
void vt_table_column(vt_table *table, const char *name, vt_align align);
/* Begins a row; the cells follow from the left. */
void vt_table_row(vt_table *table);
void vt_table_text(vt_table *table, const char *text);                   /* NULL: empty */
void vt_table_integer(vt_table *table, int64_t value, const char *text); /* NULL text: digits */
/* NULL text: up to 6 digits. NaN is an empty cell (JSON null); with a text people read that. */
void vt_table_real(vt_table *table, double value, const char *text);
/* Prints; what fails is VT_ERR_NOMEM. Release in every case. */
vt_status vt_table_print(const vt_table *table, vt_table_format format, vt_text *out,
                         vt_error *err);
/* The JSON array of its rows; NULL for lack of memory. */
json_t *vt_table_json(const vt_table *table);
void vt_table_release(vt_table *table);

#endif
