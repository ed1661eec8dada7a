#include "report/table.h"

#include "base/mem.h"
#include "report/escape.h"
#include "results/json.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct vt_table_column {
    char *name;
    vt_align align;
} column;

typedef enum cell_kind { EMPTY, TEXT, INTEGER, REAL } cell_kind;

typedef struct vt_table_cell {
    cell_kind kind;
    char *text; /* what people read; NULL for EMPTY */
    int64_t integer;
    double real; /* NaN: people read the text, programs nothing */
} cell;

static const char *const format_words[VT_TABLE_FORMAT_COUNT] = {
#define X(name, word) word,
    VT_TABLE_FORMAT_LIST(X)
#undef X
};

vt_status vt_table_format_parse(vt_table_format *format, const char *word, vt_error *err)
{
    vt_text words = {0};
    for (int i = 0; i < VT_TABLE_FORMAT_COUNT; i++) {
        if (strcmp(word, format_words[i]) == 0) {
            *format = (vt_table_format)i;
            vt_text_release(&words);
            return VT_OK;
        }
        vt_text_printf(&words, "%s%s", i ? ", " : "", format_words[i]);
    }
    vt_status status =
        vt_fail(err, VT_ERR_USAGE, "there is no format '%s' for tables; there are: %s", word,
                words.data ? words.data : "");
    vt_text_release(&words);
    return status;
}

void vt_table_init(vt_table *table)
{
    *table = (vt_table){0};
}

void vt_table_column(vt_table *table, const char *name, vt_align align)
{
    VT_ASSERT(table->n_rows == 0);
    if (table->failed)
        return;
    column *columns =
        vt_realloc(table->column, (size_t)table->n_columns + 1, sizeof *table->column);
    char *copy = vt_strdup(name);
    if (columns)
        table->column = columns;
    if (!columns || !copy) {
        vt_free(copy);
        table->failed = true;
        return;
    }
    columns[table->n_columns++] = (column){copy, align};
}

void vt_table_row(vt_table *table)
{
    if (table->failed)
        return;
    VT_ASSERT(table->n_columns > 0);
    if (table->n_rows == table->capacity) {
        int rows = table->capacity ? 2 * table->capacity : 16;
        cell *cells =
            vt_realloc(table->cell, (size_t)rows * (size_t)table->n_columns, sizeof *table->cell);
        if (!cells) {
            table->failed = true;
            return;
        }
        table->cell = cells;
        table->capacity = rows;
    }
    memset(table->cell + (size_t)table->n_rows * (size_t)table->n_columns, 0,
           (size_t)table->n_columns * sizeof *table->cell);
    table->n_rows++;
    table->place = 0;
}

static void add_cell(vt_table *table, cell_kind kind, const char *text, int64_t integer,
                     double real)
{
    if (table->failed)
        return;
    VT_ASSERT(table->n_rows > 0 && table->place < table->n_columns);
    size_t row = (size_t)(table->n_rows - 1) * (size_t)table->n_columns;
    cell *c = &table->cell[row + (size_t)table->place++];
    if (kind == EMPTY)
        return;
    *c = (cell){kind, vt_strdup(text), integer, real};
    if (!c->text) {
        c->kind = EMPTY;
        table->failed = true;
    }
}

void vt_table_text(vt_table *table, const char *text)
{
    add_cell(table, text ? TEXT : EMPTY, text, 0, 0);
}

void vt_table_integer(vt_table *table, int64_t value, const char *text)
{
    char digits[32];
    snprintf(digits, sizeof digits, "%" PRId64, value);
    add_cell(table, INTEGER, text ? text : digits, value, 0);
}

void vt_table_real(vt_table *table, double value, const char *text)
{
    char digits[32];
    snprintf(digits, sizeof digits, "%.6g", value);
    add_cell(table, isnan(value) && !text ? EMPTY : REAL, text ? text : digits, 0, value);
}

void vt_table_release(vt_table *table)
{
    for (size_t i = 0; i < (size_t)table->n_rows * (size_t)table->n_columns; i++)
        vt_free(table->cell[i].text);
    for (int i = 0; i < table->n_columns; i++)
        vt_free(table->column[i].name);
    vt_free(table->cell);
    vt_free(table->column);
    *table = (vt_table){0};
}

/* The cell of a row (-1: NULL, for the heading has none). */
static const cell *cell_at(const vt_table *table, int row, int i)
{
    return row < 0 ? NULL : &table->cell[(size_t)row * (size_t)table->n_columns + (size_t)i];
}

/* The shortest digits that read back as the same number. */
static void print_digits(vt_text *out, double value)
{
    char digits[40];
    for (int precision = 15; precision <= 17; precision++) {
        snprintf(digits, sizeof digits, "%.*g", precision, value);
        if (strtod(digits, NULL) == value)
            break;
    }
    vt_text_printf(out, "%s", digits);
}

/* A cell (row -1: a heading) escaped for the format; numbers by their value where programs read. */
static void print_cell(const vt_table *table, vt_table_format format, int row, int i, vt_text *out)
{
    static const vt_escape_kind kinds[VT_TABLE_FORMAT_COUNT] = {
        [VT_TABLE_TEXT] = VT_ESCAPE_SHOWN, [VT_TABLE_MARKDOWN] = VT_ESCAPE_MARKDOWN,
        [VT_TABLE_CSV] = VT_ESCAPE_CSV,    [VT_TABLE_TSV] = VT_ESCAPE_TSV,
        [VT_TABLE_TEX] = VT_ESCAPE_TEX,    [VT_TABLE_HTML] = VT_ESCAPE_HTML};
    const cell *c = cell_at(table, row, i);
    bool by_value = c && (format == VT_TABLE_CSV || format == VT_TABLE_TSV);
    if (by_value && c->kind == INTEGER)
        vt_text_printf(out, "%" PRId64, c->integer);
    else if (by_value && c->kind == REAL && !isnan(c->real))
        print_digits(out, c->real);
    else if (!by_value || c->kind == TEXT)
        vt_escape(out, kinds[format], c ? c->text : table->column[i].name);
}

/* Text, Markdown: cells filled with blanks to the widths of their columns. */
static void print_padded(const vt_table *table, vt_table_format format, int row, const int *width,
                         vt_text *out, vt_text *scratch)
{
    bool markdown = format == VT_TABLE_MARKDOWN;
    size_t end = out->size;
    for (int i = 0; i < table->n_columns; i++) {
        scratch->size = 0;
        vt_text_append(scratch, "", 0);
        print_cell(table, format, row, i, scratch);
        const char *text = scratch->data ? scratch->data : "";
        int blanks = width[i] - vt_escape_width(text);
        bool right = table->column[i].align == VT_RIGHT;
        vt_text_printf(out, "%s%*s", markdown ? "| " : i ? "  " : "", right ? blanks : 0, "");
        vt_text_append(out, text, strlen(text));
        if (*text)
            end = out->size;
        vt_text_printf(out, "%*s%s", right ? 0 : blanks, "", markdown ? " " : "");
    }
    if (markdown)
        vt_text_append(out, "|", 1);
    else if (!out->failed)
        out->size = end; /* no blanks at the end of a line */
    vt_text_append(out, "\n", 1);
}

static void print_aligned(const vt_table *table, vt_table_format format, vt_text *out)
{
    vt_text scratch = {0};
    int *width = vt_calloc((size_t)table->n_columns + 1, sizeof *width);
    if (!width) {
        out->failed = true;
        return;
    }
    for (int i = 0; i < table->n_columns; i++) {
        width[i] = format == VT_TABLE_MARKDOWN ? 3 : 0;
        for (int row = -1; row < table->n_rows; row++) {
            scratch.size = 0;
            vt_text_append(&scratch, "", 0);
            print_cell(table, format, row, i, &scratch);
            int w = scratch.data ? vt_escape_width(scratch.data) : 0;
            width[i] = w > width[i] ? w : width[i];
        }
    }
    print_padded(table, format, -1, width, out, &scratch);
    for (int i = 0; format == VT_TABLE_MARKDOWN && i < table->n_columns; i++) {
        vt_text_append(out, "| ", 2);
        for (int k = 1; k < width[i]; k++)
            vt_text_append(out, "-", 1);
        vt_text_printf(out, "%s%s", table->column[i].align == VT_RIGHT ? ": " : "- ",
                       i + 1 == table->n_columns ? "|\n" : "");
    }
    for (int row = 0; row < table->n_rows; row++)
        print_padded(table, format, row, width, out, &scratch);
    out->failed = out->failed || scratch.failed;
    vt_text_release(&scratch);
    vt_free(width);
}

static void print_separated(const vt_table *table, vt_table_format format, vt_text *out)
{
    const char *between = format == VT_TABLE_CSV ? "," : format == VT_TABLE_TSV ? "\t" : " & ";
    const char *end = format == VT_TABLE_TEX ? " \\\\\n" : "\n";
    if (format == VT_TABLE_TEX) {
        vt_text_printf(out, "\\begin{tabular}{");
        for (int i = 0; i < table->n_columns; i++)
            vt_text_append(out, table->column[i].align == VT_RIGHT ? "r" : "l", 1);
        vt_text_printf(out, "}\n\\toprule\n");
    }
    for (int row = -1; row < table->n_rows; row++) {
        for (int i = 0; i < table->n_columns; i++) {
            vt_text_printf(out, "%s", i ? between : "");
            print_cell(table, format, row, i, out);
        }
        vt_text_printf(out, "%s", end);
        if (row < 0 && format == VT_TABLE_TEX)
            vt_text_printf(out, "\\midrule\n");
    }
    if (format == VT_TABLE_TEX)
        vt_text_printf(out, "\\bottomrule\n\\end{tabular}\n");
}

/* The first cell names its row, unless it is empty: a heading must say something. */
static void print_html(const vt_table *table, vt_text *out)
{
    vt_text_printf(out, "<table>\n<thead>\n");
    for (int row = -1; row < table->n_rows; row++) {
        vt_text_printf(out, "<tr>");
        for (int i = 0; i < table->n_columns; i++) {
            const cell *c = cell_at(table, row, i);
            bool heading = row < 0 || (i == 0 && c->kind != EMPTY && *c->text);
            vt_text_printf(out, "<%s%s%s>", heading ? "th" : "td",
                           !heading  ? ""
                           : row < 0 ? " scope=\"col\""
                                     : " scope=\"row\"",
                           table->column[i].align == VT_RIGHT ? " class=\"number\"" : "");
            print_cell(table, VT_TABLE_HTML, row, i, out);
            vt_text_printf(out, "</%s>", heading ? "th" : "td");
        }
        vt_text_printf(out, "</tr>\n%s", row < 0 ? "</thead>\n<tbody>\n" : "");
    }
    vt_text_printf(out, "</tbody>\n</table>\n");
}

static json_t *make_text(const char *text)
{
    vt_text out = {0};
    vt_text_append(&out, "", 0);
    vt_escape(&out, VT_ESCAPE_JSON, text);
    json_t *value = out.failed ? NULL : json_string(out.data);
    vt_text_release(&out);
    return value;
}

static json_t *make_value(const cell *c)
{
    if (c->kind == INTEGER)
        return json_integer(c->integer);
    if (c->kind == REAL && !isnan(c->real))
        return vt_json_real(c->real);
    return c->kind == TEXT ? make_text(c->text) : json_null();
}

static json_t *make_row(const vt_table *table, int row)
{
    json_t *object = json_object();
    vt_text key = {0};
    for (int i = 0; i < table->n_columns; i++) {
        key.size = 0;
        vt_text_append(&key, "", 0);
        vt_escape(&key, VT_ESCAPE_JSON, table->column[i].name);
        size_t size = key.size;
        for (int k = 2; !key.failed && json_object_get(object, key.data); k++) {
            key.size = size;
            vt_text_printf(&key, "_%d", k);
        }
        json_t *value = key.failed ? NULL : make_value(cell_at(table, row, i));
        if (!value || json_object_set_new(object, key.data, value) != 0) {
            json_decref(object);
            object = NULL;
            break;
        }
    }
    vt_text_release(&key);
    return object;
}

json_t *vt_table_json(const vt_table *table)
{
    json_t *rows = table->failed ? NULL : json_array();
    for (int row = 0; rows && row < table->n_rows; row++) {
        if (json_array_append_new(rows, make_row(table, row)) != 0) {
            json_decref(rows);
            rows = NULL;
        }
    }
    return rows;
}

static int append(const char *bytes, size_t size, void *text)
{
    vt_text_append(text, bytes, size);
    return ((vt_text *)text)->failed ? -1 : 0;
}

static void print_json(const vt_table *table, vt_table_format format, vt_text *out)
{
    json_t *rows = vt_table_json(table), *row;
    size_t i, flags = JSON_REAL_PRECISION(17);
    if (!rows) {
        out->failed = true;
    } else if (format == VT_TABLE_JSON) {
        if (json_dump_callback(rows, append, out, flags | JSON_INDENT(2)) != 0)
            out->failed = true;
        vt_text_append(out, "\n", 1);
    } else {
        json_array_foreach(rows, i, row)
        {
            if (json_dump_callback(row, append, out, flags) != 0)
                out->failed = true;
            vt_text_append(out, "\n", 1);
        }
    }
    json_decref(rows);
}

vt_status vt_table_print(const vt_table *table, vt_table_format format, vt_text *out, vt_error *err)
{
    if (table->failed)
        out->failed = true;
    else if (format == VT_TABLE_JSON || format == VT_TABLE_JSONL)
        print_json(table, format, out);
    else if (format == VT_TABLE_HTML)
        print_html(table, out);
    else if (format == VT_TABLE_TEXT || format == VT_TABLE_MARKDOWN)
        print_aligned(table, format, out);
    else
        print_separated(table, format, out);
    return out->failed ? vt_fail(err, VT_ERR_NOMEM, "no memory for the table") : VT_OK;
}
