#include "config/stages.h"

#include <stdio.h>
#include <string.h>

/* Rows of stages.def as fields of a vt_stage, so that values are read as any key's are. */
static const vt_field *part_fields(int *n)
{
    static const vt_field fields[] = {
#define NONE .words = NULL
#define WORDS(tag) .words = &vt_words_of_##tag
#define INT_RANGE(a, b) .int_min = (a), .int_max = (b)
#define CLOSED(a, b) .min = (a), .max = (b)
#define VT_PART_FIELD(member, row_kind, detail, about)                                             \
    {.path = #member,                                                                              \
     .kind = VT_KIND_##row_kind,                                                                   \
     .offset = offsetof(vt_stage, member),                                                         \
     .size_bytes = sizeof(((vt_stage *)0)->member),                                                \
     .help = about,                                                                                \
     detail},
#include "config/stages.def"
    };
    *n = (int)(sizeof fields / sizeof *fields);
    return fields;
}

static const struct {
    const char *word, *yaml;
} kinds[] = {
#define VT_PART(word, yaml) {word, yaml},
#include "config/stages.def"
};

enum { N_KINDS = sizeof kinds / sizeof *kinds, MAX_FIELDS = 32 };

static int find_kind(const char *word)
{
    for (int i = 0; i < N_KINDS; i++)
        if (strcmp(kinds[i].word, word) == 0)
            return i;
    return -1;
}

static const vt_yaml *parse_kind(int kind, vt_source *source, vt_store *store,
                                 vt_diagnostics *diags)
{
    *source = (vt_source){"default", kinds[kind].yaml, strlen(kinds[kind].yaml), VT_SOURCE_BUILTIN};
    return vt_yaml_parse(source, 0, store, diags);
}

/* The keys of a part: those of its kind's defaults. */
static void refuse_key(const char *path, const char *word, const vt_yaml *key,
                       const vt_yaml *defaults, vt_diagnostics *diags)
{
    const char *names[MAX_FIELDS];
    vt_text hint = {0};
    for (int i = 0; i < defaults->n; i++)
        names[i] = defaults->key[i]->text;
    const char *near = vt_suggest(key->text, names, defaults->n);
    if (near)
        vt_text_printf(&hint, "did you mean '%s'?  ", near);
    vt_text_printf(&hint, "(keys of %s: ", word);
    for (int i = 0; i < defaults->n; i++)
        vt_text_printf(&hint, "%s%s", i ? ", " : "", names[i]);
    vt_text_printf(&hint, ")");
    vt_report(diags, VT_ERR_CONFIG, &key->mark, hint.data, "'%s': %s has no key '%.60s'", path,
              word, key->text);
    vt_text_release(&hint);
}

static bool read_keys(const char *path, int kind, const vt_yaml *node, vt_stage *part,
                      vt_store *store, vt_diagnostics *diags)
{
    int n;
    const vt_field *fields = part_fields(&n);
    vt_source *source = vt_store_take(store, sizeof *source);
    const vt_yaml *defaults = source ? parse_kind(kind, source, store, diags) : NULL;
    if (!defaults)
        return false;
    bool good = true;
    *part = (vt_stage){.kind = kind};
    for (int i = 0; node && i < node->n; i++) {
        const char *key = node->key[i]->text;
        if (strcmp(key, "block") == 0 || vt_yaml_get(defaults, key))
            continue;
        refuse_key(path, kinds[kind].word, node->key[i], defaults, diags);
        good = false;
    }
    for (int i = 0; i < n; i++) {
        const vt_yaml *value = vt_yaml_get(defaults, fields[i].path);
        const vt_yaml *given = node && value ? vt_yaml_get(node, fields[i].path) : NULL;
        vt_field named = fields[i]; /* with its whole path in messages */
        if (!value)
            continue;
        named.path = vt_store_printf(store, "%s: %s: %s", path, kinds[kind].word, fields[i].path);
        good &= named.path && vt_value_read(&named, given ? given : value,
                                            (char *)part + fields[i].offset, store, diags);
    }
    return good;
}

bool vt_part_read(const char *path, const char *word, const vt_yaml *node, vt_stage *part,
                  vt_store *store, vt_diagnostics *diags)
{
    if (node->kind != VT_YAML_MAP) {
        vt_report(diags, VT_ERR_CONFIG, &node->mark, NULL, "'%s' needs a map of its keys, not %s",
                  path, node->kind == VT_YAML_LIST ? "a list" : "a single value");
        return false;
    }
    return read_keys(path, find_kind(word), node, part, store, diags);
}

static bool read_stage(const char *path, const vt_yaml *node, vt_stage *stage, vt_store *store,
                       vt_diagnostics *diags)
{
    const vt_yaml *block = node->kind == VT_YAML_MAP ? vt_yaml_get(node, "block") : NULL;
    vt_field field = {.path = path,
                      .kind = VT_KIND_CHOICE,
                      .size_bytes = sizeof(enum vt_block_kind),
                      .words = &vt_words_of_block_kind};
    enum vt_block_kind kind;
    if (!block) {
        vt_report(diags, VT_ERR_CONFIG, &node->mark, NULL,
                  "'%s': a stage is a map with a block, such as {block: conv, dim: 64}", path);
        return false;
    }
    if (!vt_value_read(&field, block, &kind, store, diags))
        return false;
    bool good = read_keys(path, find_kind(field.words->word[kind].word), node, stage, store, diags);
    stage->block = kind;
    return good;
}

bool vt_stages_read(const char *path, const vt_yaml *node, vt_stage_list *list, vt_store *store,
                    vt_diagnostics *diags)
{
    if (node->kind != VT_YAML_LIST || node->n < 1 || node->n > VT_LIST_MAX) {
        vt_report(diags, VT_ERR_CONFIG, &node->mark, NULL,
                  "'%s' needs a list of 1 to %d stages, such as [{block: conv, dim: 64}]", path,
                  VT_LIST_MAX);
        return false;
    }
    bool good = true;
    list->n = node->n;
    for (int i = 0; i < list->n; i++) {
        const char *place = vt_store_printf(store, "%s[%d]", path, i);
        good &= place && read_stage(place, node->item[i], &list->v[i], store, diags);
    }
    return good;
}

/* Every key of the part, in the order of its kind's defaults, which is fixed. */
static void write_keys(const vt_stage *part, const char *comma, enum vt_value_form form,
                       vt_text *text)
{
    int n;
    const vt_field *fields = part_fields(&n);
    const char *yaml = kinds[part->kind].yaml;
    for (int i = 0; i < n; i++) {
        char key[32];
        snprintf(key, sizeof key, "%s:", fields[i].path);
        const char *at = strstr(yaml, key);
        if (!at || (at[-1] != ' ' && at[-1] != '{'))
            continue;
        vt_text_printf(text, "%s%s: ", comma, fields[i].path);
        vt_value_write(&fields[i], (const char *)part + fields[i].offset, form, text);
        comma = ", ";
    }
}

void vt_part_write(const char *word, const vt_stage *part, enum vt_value_form form, vt_text *text)
{
    vt_stage whole = *part;
    whole.kind = find_kind(word);
    vt_text_printf(text, "{");
    write_keys(&whole, "", form, text);
    vt_text_printf(text, "}");
}

void vt_stages_write(const vt_stage_list *list, enum vt_value_form form, vt_text *text)
{
    vt_text_printf(text, "[");
    for (int i = 0; i < list->n; i++) {
        vt_text_printf(text, "%s{block: %s", i ? ", " : "", kinds[list->v[i].kind].word);
        write_keys(&list->v[i], ", ", form, text);
        vt_text_printf(text, "}");
    }
    vt_text_printf(text, "]");
}

void vt_part_describe(const char *word, vt_text *text)
{
    vt_text_printf(text, "%s", kinds[find_kind(word)].yaml);
}

void vt_stages_describe(vt_text *text)
{
    for (int i = 0; i < N_KINDS && strcmp(kinds[i].word, "stem") != 0; i++)
        vt_text_printf(text, "%s{block: %s, %s", i ? ", " : "", kinds[i].word, kinds[i].yaml + 1);
}
