#include "config/yaml.h"

#include <limits.h>
#include <string.h>
#include <yaml.h>

typedef struct reader {
    yaml_parser_t parser;
    const vt_source *source;
    int shift; /* characters before the parsed text in its first line */
    int n_events;
    vt_store *store;
    vt_diagnostics *diags;
} reader;

static vt_mark mark_at(const reader *r, yaml_mark_t begin, yaml_mark_t end)
{
    int line = (int)begin.line, end_line = (int)end.line;
    return (vt_mark){.source = r->source,
                     .line = line,
                     .column = (int)begin.column + (line == 0 ? r->shift : 0),
                     .end_line = end_line,
                     .end_column = (int)end.column + (end_line == 0 ? r->shift : 0)};
}

/* Number of bytes of the well-formed UTF-8 character at s, 0 if it is none (RFC 3629). */
static size_t measure_utf8(const unsigned char *s, size_t left)
{
    static const struct {
        unsigned char lead_low, lead_high, next_low, next_high, bytes;
    } forms[] = {
        {0x00, 0x7f, 0x80, 0xbf, 1}, {0xc2, 0xdf, 0x80, 0xbf, 2}, {0xe0, 0xe0, 0xa0, 0xbf, 3},
        {0xe1, 0xec, 0x80, 0xbf, 3}, {0xed, 0xed, 0x80, 0x9f, 3}, {0xee, 0xef, 0x80, 0xbf, 3},
        {0xf0, 0xf0, 0x90, 0xbf, 4}, {0xf1, 0xf3, 0x80, 0xbf, 4}, {0xf4, 0xf4, 0x80, 0x8f, 4}};
    for (size_t f = 0; f < sizeof forms / sizeof *forms; f++) {
        if (s[0] < forms[f].lead_low || s[0] > forms[f].lead_high)
            continue;
        if (forms[f].bytes > left)
            return 0;
        for (size_t i = 1; i < forms[f].bytes; i++)
            if (s[i] < (i == 1 ? forms[f].next_low : 0x80) ||
                s[i] > (i == 1 ? forms[f].next_high : 0xbf))
                return 0;
        return forms[f].bytes;
    }
    return 0;
}

/* Characters that no experiment file holds; a parser would name them less well. */
static bool check_characters(const vt_source *source, vt_diagnostics *diags)
{
    const unsigned char *s = (const unsigned char *)source->text;
    vt_mark mark = {.source = source};
    if (source->size_bytes > VT_YAML_MAX_BYTES) {
        vt_report(diags, VT_ERR_CONFIG, &mark, NULL, "%zu bytes; an experiment file has at most %d",
                  source->size_bytes, VT_YAML_MAX_BYTES);
        return false;
    }
    for (size_t i = 0; i < source->size_bytes;) {
        size_t n = measure_utf8(s + i, source->size_bytes - i);
        mark.end_line = mark.line;
        mark.end_column = mark.column + 1;
        if (n == 0) {
            vt_report(diags, VT_ERR_CONFIG, &mark, "save the file as UTF-8",
                      "byte 0x%02x at offset %zu is not valid UTF-8", s[i], i);
            return false;
        }
        if ((s[i] < 0x20 && s[i] != '\t' && s[i] != '\n' && s[i] != '\r') || s[i] == 0x7f) {
            vt_report(diags, VT_ERR_CONFIG, &mark, NULL, "control character 0x%02x at offset %zu%s",
                      s[i], i, s[i] == 0 ? " (NUL)" : "");
            return false;
        }
        if (s[i] == '\n') {
            mark.line++;
            mark.column = 0;
        } else {
            mark.column++;
        }
        i += n;
    }
    return true;
}

/* True if the line's indentation holds a tab; `mark` moves to it. */
static bool find_tab(vt_mark *mark)
{
    const char *at = mark->source->text, *end = at + mark->source->size_bytes;
    for (int line = 0; line < mark->line && at; line++) {
        at = memchr(at, '\n', (size_t)(end - at));
        at = at ? at + 1 : NULL;
    }
    for (int column = 0; at && at < end && (*at == ' ' || *at == '\t'); at++, column++) {
        if (*at == '\t') {
            mark->column = column;
            mark->end_line = mark->line;
            mark->end_column = column + 1;
            return true;
        }
    }
    return false;
}

static int count_characters(const vt_source *source)
{
    int n = 0;
    for (size_t i = 0; i < source->size_bytes; i++)
        n += ((unsigned char)source->text[i] & 0xc0) != 0x80;
    return n;
}

static void report_syntax(reader *r)
{
    const yaml_parser_t *p = &r->parser;
    if (p->error == YAML_MEMORY_ERROR) {
        vt_report_nomem(r->diags);
        return;
    }
    vt_mark mark = mark_at(r, p->problem_mark, p->problem_mark);
    const char *problem = p->problem ? p->problem : "the text cannot be read";
    if (find_tab(&mark)) {
        vt_report(r->diags, VT_ERR_CONFIG, &mark, "indent with spaces",
                  "a tab cannot indent a line in YAML");
        return;
    }
    if (mark.line > 0 && r->source->kind == VT_SOURCE_OVERRIDE)
        mark = (vt_mark){.source = r->source, .column = count_characters(r->source)};
    if (p->context && p->context_mark.index != p->problem_mark.index) {
        vt_text from = {0};
        vt_mark begin = mark_at(r, p->context_mark, p->context_mark);
        vt_mark_write(&begin, &from);
        vt_report(r->diags, VT_ERR_CONFIG, &mark, NULL, "%s (%s from %s)", problem, p->context,
                  from.data ? from.data : "there");
        vt_text_release(&from);
    } else {
        vt_report(r->diags, VT_ERR_CONFIG, &mark, NULL, "%s", problem);
    }
}

static bool next_event(reader *r, yaml_event_t *event)
{
    if (!yaml_parser_parse(&r->parser, event)) {
        report_syntax(r);
        return false;
    }
    if (++r->n_events > VT_YAML_MAX_EVENTS) {
        vt_mark mark = mark_at(r, event->start_mark, event->end_mark);
        vt_report(r->diags, VT_ERR_CONFIG, &mark, NULL,
                  "more than %d YAML events; an experiment file is smaller", VT_YAML_MAX_EVENTS);
        yaml_event_delete(event);
        return false;
    }
    return true;
}

/* Anchors and tags are refused wherever they stand. */
static bool check_properties(reader *r, const vt_mark *mark, const yaml_char_t *anchor,
                             const yaml_char_t *tag)
{
    if (anchor)
        vt_report(r->diags, VT_ERR_CONFIG, mark, "use `extends` to share parts between files",
                  "anchors are not used in experiment files ('&%s')", (const char *)anchor);
    else if (tag)
        vt_report(r->diags, VT_ERR_CONFIG, mark, "leave the tag out: each key has its type",
                  "tags are not used in experiment files ('%s')", (const char *)tag);
    return !anchor && !tag;
}

/* Room for one more entry; sizes double. */
static bool grow(reader *r, vt_yaml *node)
{
    if (node->n & (node->n - 1) || (node->n && node->n < 4))
        return true;
    int room = node->n ? 2 * node->n : 4;
    vt_yaml **key = NULL;
    vt_yaml **item = vt_store_take(r->store, (size_t)room * sizeof *item);
    if (node->kind == VT_YAML_MAP)
        key = vt_store_take(r->store, (size_t)room * sizeof *key);
    if (!item || (node->kind == VT_YAML_MAP && !key)) {
        vt_report_nomem(r->diags);
        return false;
    }
    for (int i = 0; i < node->n; i++) {
        item[i] = node->item[i];
        if (key)
            key[i] = node->key[i];
    }
    node->item = item;
    node->key = key;
    return true;
}

static vt_yaml *read_node(reader *r, yaml_event_t *event, int depth);

static vt_yaml *read_next(reader *r, int depth)
{
    yaml_event_t event;
    return next_event(r, &event) ? read_node(r, &event, depth) : NULL;
}

static bool check_key(reader *r, const vt_yaml *map, const vt_yaml *key)
{
    if (key->kind != VT_YAML_SCALAR) {
        vt_report(r->diags, VT_ERR_CONFIG, &key->mark, NULL, "a key is a word, not a %s",
                  key->kind == VT_YAML_LIST ? "list" : "map");
        return false;
    }
    if (map->n == VT_YAML_MAX_KEYS) {
        vt_report(r->diags, VT_ERR_CONFIG, &key->mark, NULL, "more than %d keys in one map",
                  VT_YAML_MAX_KEYS);
        return false;
    }
    for (int i = 0; i < map->n; i++) {
        if (strcmp(map->key[i]->text, key->text) != 0)
            continue;
        vt_text first = {0};
        vt_text_printf(&first, "first given at ");
        vt_mark_write(&map->key[i]->mark, &first);
        vt_report(r->diags, VT_ERR_CONFIG, &key->mark, first.data, "duplicate key '%s'", key->text);
        vt_text_release(&first);
        break; /* the rest can still be read */
    }
    return true;
}

static bool read_entries(reader *r, vt_yaml *node, int depth)
{
    yaml_event_type_t stop =
        node->kind == VT_YAML_MAP ? YAML_MAPPING_END_EVENT : YAML_SEQUENCE_END_EVENT;
    for (;;) {
        yaml_event_t event;
        if (!next_event(r, &event))
            return false;
        if (event.type == stop) {
            vt_mark end = mark_at(r, event.end_mark, event.end_mark);
            node->mark.end_line = end.line;
            node->mark.end_column = end.column;
            yaml_event_delete(&event);
            return true;
        }
        vt_yaml *item = read_node(r, &event, depth + 1), *key = NULL;
        if (item && node->kind == VT_YAML_MAP) {
            key = item;
            if (!check_key(r, node, key))
                return false;
            item = read_next(r, depth + 1);
        }
        if (!item || !grow(r, node))
            return false;
        node->item[node->n] = item;
        if (key)
            node->key[node->n] = key;
        node->n++;
    }
}

/* Builds the node that `event` begins; takes the event over. */
static vt_yaml *read_node(reader *r, yaml_event_t *event, int depth)
{
    vt_mark mark = mark_at(r, event->start_mark, event->end_mark);
    bool nested = event->type != YAML_SCALAR_EVENT;
    vt_yaml *node = NULL;
    if (event->type == YAML_ALIAS_EVENT) {
        vt_report(r->diags, VT_ERR_CONFIG, &mark, "use `extends` to share parts between files",
                  "aliases are not used in experiment files ('*%s')",
                  (const char *)event->data.alias.anchor);
        goto done;
    }
    if (depth > VT_YAML_MAX_DEPTH) {
        vt_report(r->diags, VT_ERR_CONFIG, &mark, NULL, "nested deeper than %d levels",
                  VT_YAML_MAX_DEPTH);
        goto done;
    }
    node = vt_store_take(r->store, sizeof *node);
    if (!node) {
        vt_report_nomem(r->diags);
        goto done;
    }
    node->mark = mark;
    if (event->type == YAML_SCALAR_EVENT) {
        node->kind = VT_YAML_SCALAR;
        node->plain = event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
        node->text = vt_store_text(r->store, (const char *)event->data.scalar.value,
                                   event->data.scalar.length);
        if (!node->text)
            vt_report_nomem(r->diags);
        if (!node->text ||
            !check_properties(r, &mark, event->data.scalar.anchor, event->data.scalar.tag))
            node = NULL;
        else if (strlen(node->text) != event->data.scalar.length) {
            vt_report(r->diags, VT_ERR_CONFIG, &mark, NULL, "a text cannot hold a NUL character");
            node = NULL;
        }
    } else if (event->type == YAML_MAPPING_START_EVENT) {
        node->kind = VT_YAML_MAP;
        if (!check_properties(r, &mark, event->data.mapping_start.anchor,
                              event->data.mapping_start.tag))
            node = NULL;
    } else {
        node->kind = VT_YAML_LIST;
        if (!check_properties(r, &mark, event->data.sequence_start.anchor,
                              event->data.sequence_start.tag))
            node = NULL;
    }
done:
    yaml_event_delete(event);
    if (node && nested && !read_entries(r, node, depth))
        return NULL;
    return node;
}

/* The stream around the document: exactly one document, which may be empty. */
static vt_yaml *read_document(reader *r)
{
    yaml_event_t event;
    vt_yaml *root = NULL;
    for (;;) {
        if (!next_event(r, &event))
            return NULL;
        yaml_event_type_t type = event.type;
        vt_mark mark = mark_at(r, event.start_mark, event.end_mark);
        if (type == YAML_DOCUMENT_START_EVENT && root) {
            vt_report(r->diags, VT_ERR_CONFIG, &mark, NULL,
                      "a second document begins here; one file is one experiment");
            yaml_event_delete(&event);
            return NULL;
        }
        if (type == YAML_SCALAR_EVENT || type == YAML_MAPPING_START_EVENT ||
            type == YAML_SEQUENCE_START_EVENT || type == YAML_ALIAS_EVENT) {
            root = read_node(r, &event, 1);
            if (!root)
                return NULL;
            continue;
        }
        yaml_event_delete(&event);
        if (type != YAML_STREAM_END_EVENT)
            continue;
        if (!root) {
            root = vt_store_take(r->store, sizeof *root);
            if (root)
                *root = (vt_yaml){.kind = VT_YAML_SCALAR, .plain = true, .text = "", .mark = mark};
            else
                vt_report_nomem(r->diags);
        }
        return root;
    }
}

vt_yaml *vt_yaml_parse(const vt_source *source, size_t offset, vt_store *store,
                       vt_diagnostics *diags)
{
    if (!check_characters(source, diags))
        return NULL;
    reader r = {.source = source, .store = store, .diags = diags};
    static const char mark_of_order[] = "\xef\xbb\xbf";
    if (offset == 0 && source->size_bytes >= 3 && memcmp(source->text, mark_of_order, 3) == 0)
        offset = 3;
    for (size_t i = 0; i < offset; i++)
        r.shift += ((unsigned char)source->text[i] & 0xc0) != 0x80;
    if (!yaml_parser_initialize(&r.parser)) {
        vt_report_nomem(diags);
        return NULL;
    }
    yaml_parser_set_encoding(&r.parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&r.parser, (const unsigned char *)source->text + offset,
                                 source->size_bytes - offset);
    vt_yaml *root = read_document(&r);
    yaml_parser_delete(&r.parser);
    return root;
}

static bool one_of(const char *text, const char *const *words)
{
    for (; *words; words++)
        if (strcmp(text, *words) == 0)
            return true;
    return false;
}

/* [-+]? ( [0-9]+ | 0o[0-7]+ | 0x[0-9a-fA-F]+ ), a sign before decimal digits only */
static bool looks_int(const char *s)
{
    if (s[0] == '0' && (s[1] == 'o' || s[1] == 'x')) {
        const char *digits = s[1] == 'o' ? "01234567" : "0123456789abcdefABCDEF";
        return s[2] && s[2 + strspn(s + 2, digits)] == '\0';
    }
    s += *s == '-' || *s == '+';
    return *s && s[strspn(s, "0123456789")] == '\0';
}

/* [-+]? ( \. [0-9]+ | [0-9]+ ( \. [0-9]* )? ) ( [eE] [-+]? [0-9]+ )? */
static bool looks_float(const char *s)
{
    static const char digits[] = "0123456789";
    s += *s == '-' || *s == '+';
    size_t whole = strspn(s, digits), part = 0;
    s += whole;
    if (*s == '.') {
        part = strspn(s + 1, digits);
        s += 1 + part;
    }
    if (whole + part == 0)
        return false;
    if (*s == 'e' || *s == 'E') {
        s++;
        s += *s == '-' || *s == '+';
        size_t n = strspn(s, digits);
        if (n == 0)
            return false;
        s += n;
    }
    return *s == '\0';
}

enum vt_yaml_type vt_yaml_type(const vt_yaml *scalar)
{
    static const char *const nulls[] = {"", "~", "null", "Null", "NULL", NULL};
    static const char *const bools[] = {"true", "True", "TRUE", "false", "False", "FALSE", NULL};
    static const char *const odd[] = {".inf",  ".Inf",  ".INF", "-.inf", "-.Inf", "-.INF", "+.inf",
                                      "+.Inf", "+.INF", ".nan", ".NaN",  ".NAN",  NULL};
    const char *text = scalar->text;
    if (!scalar->plain)
        return VT_YAML_TEXT;
    if (one_of(text, nulls))
        return VT_YAML_NULL;
    if (one_of(text, bools))
        return VT_YAML_BOOL;
    if (looks_int(text))
        return VT_YAML_INT;
    return looks_float(text) || one_of(text, odd) ? VT_YAML_FLOAT : VT_YAML_TEXT;
}

const vt_yaml *vt_yaml_get(const vt_yaml *map, const char *key)
{
    for (int i = 0; map->kind == VT_YAML_MAP && i < map->n; i++)
        if (strcmp(map->key[i]->text, key) == 0)
            return map->item[i];
    return NULL;
}
