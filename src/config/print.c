/* A configuration and the schema as YAML, JSON and a table. */
#include "base/mem.h"
#include "config/parts.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ORIGIN_COLUMN = 44 };

/* The text's memory, or NULL if some of it is missing. */
static char *take(vt_text *text)
{
    char *data = text->failed ? NULL : text->data;
    if (!data)
        vt_text_release(text);
    return data;
}

static bool is_printed(const vt_config *config, int key)
{
    const vt_slot *slot = &config->parts->slot[key];
    return !slot->inactive || slot->node;
}

/* "optim" of "optim.lr"; size 0 at the top. */
static size_t section_size(int key)
{
    const char *dot = strchr(vt_fields[key].path, '.');
    return dot ? (size_t)(dot - vt_fields[key].path) : 0;
}

static bool begins_section(int key)
{
    size_t size = section_size(key);
    return size &&
           (key == 0 || strncmp(vt_fields[key].path, vt_fields[key - 1].path, size + 1) != 0);
}

char *vt_config_print(const vt_config *config, bool with_origin)
{
    vt_text text = {0};
    for (int key = 0; key < VT_KEY_COUNT; key++) {
        if (begins_section(key))
            vt_text_printf(&text, "%.*s:\n", (int)section_size(key), vt_fields[key].path);
        if (!is_printed(config, key))
            continue;
        size_t start = text.size;
        vt_text_printf(&text, "%s%s: ", section_size(key) ? "  " : "",
                       vt_field_leaf(&vt_fields[key]));
        vt_config_value(config, key, &text);
        int width = (int)(text.size - start);
        if (with_origin)
            vt_text_printf(&text, "%*s # %s", width < ORIGIN_COLUMN ? ORIGIN_COLUMN - width : 0, "",
                           vt_config_origin(config, vt_fields[key].path));
        vt_text_printf(&text, "\n");
    }
    return take(&text);
}

/* A value as JSON; what has no JSON form of its own is its YAML text. Seeds are texts, since many
 * readers keep numbers as doubles. */
static json_t *value_json(const vt_config *config, int key)
{
    const void *member = vt_member(config, key);
    vt_text text = {0};
    json_t *json = NULL;
    switch (vt_fields[key].kind) {
    case VT_KIND_BOOL:
        return json_boolean(*(const bool *)member);
    case VT_KIND_INT:
        return json_integer(*(const int64_t *)member);
    case VT_KIND_FLOAT:
        return json_real(*(const double *)member);
    case VT_KIND_INTS: {
        const vt_int_list *list = member;
        json = json_array();
        for (int i = 0; i < list->n; i++)
            json_array_append_new(json, json_integer(list->v[i]));
        return json;
    }
    case VT_KIND_FLOATS: {
        const vt_float_list *list = member;
        json = json_array();
        for (int i = 0; i < list->n; i++)
            json_array_append_new(json, json_real(list->v[i]));
        return json;
    }
    case VT_KIND_TEXT: {
        const char *value = *(const char *const *)member;
        return value ? json_string(value) : json_null();
    }
    case VT_KIND_SEED:
    case VT_KIND_CHOICE:
    case VT_KIND_SET:
    case VT_KIND_TEXTS:
    case VT_KIND_TRANSFORMS:
    case VT_KIND_NORMALISE:
    case VT_KIND_CADENCE:
    case VT_KIND_EPOCHS:
    case VT_KIND_STEM:
    case VT_KIND_STAGES:
    case VT_KIND_HEAD:
        break;
    }
    vt_config_value(config, key, &text);
    json = text.failed ? NULL : json_string(text.data);
    vt_text_release(&text);
    return json;
}

/* The object of the key's section, made when it is first asked for. */
static json_t *section_of(json_t *root, int key)
{
    char name[32];
    size_t size = section_size(key);
    if (!size)
        return root;
    snprintf(name, sizeof name, "%.*s", (int)size, vt_fields[key].path);
    json_t *section = json_object_get(root, name);
    if (section)
        return section;
    json_object_set_new(root, name, json_object());
    return json_object_get(root, name);
}

/* Serialises into memory of our own; takes `json`. */
static char *dump(json_t *json)
{
    vt_text text = {0};
    char *printed = json ? json_dumps(json, JSON_INDENT(2) | JSON_REAL_PRECISION(17)) : NULL;
    if (printed)
        vt_text_printf(&text, "%s\n", printed);
    text.failed |= !printed;
    free(printed); /* jansson's own allocation */
    json_decref(json);
    return take(&text);
}

char *vt_config_json(const vt_config *config)
{
    char id[VT_SHA256_HEX_SIZE];
    json_t *json = json_object(), *values = json_object(), *origin = json_object();
    json_t *notes = json_array();
    for (int key = 0; key < VT_KEY_COUNT; key++) {
        if (!is_printed(config, key))
            continue;
        json_object_set_new(section_of(values, key), vt_field_leaf(&vt_fields[key]),
                            value_json(config, key));
        json_object_set_new(origin, vt_fields[key].path,
                            json_string(vt_config_origin(config, vt_fields[key].path)));
    }
    for (int i = 0; i < vt_config_note_count(config); i++)
        json_array_append_new(notes, json_string(vt_config_note(config, i)));
    json_object_set_new(json, "schema", json_integer(1));
    json_object_set_new(json, "name", json_string(vt_config_name(config)));
    json_object_set_new(json, "path", json_string(vt_config_path(config)));
    if (vt_config_experiment_id(config, id) == VT_OK)
        json_object_set_new(json, "experiment_id", json_string(id));
    json_object_set_new(json, "config", values);
    json_object_set_new(json, "origin", origin);
    json_object_set_new(json, "notes", notes);
    return dump(json);
}

static const char *kind_name(vt_kind kind)
{
    static const char *const names[] = {
        [VT_KIND_BOOL] = "one of",
        [VT_KIND_INT] = "integer",
        [VT_KIND_SEED] = "integer",
        [VT_KIND_FLOAT] = "number",
        [VT_KIND_TEXT] = "text",
        [VT_KIND_CHOICE] = "one of",
        [VT_KIND_SET] = "list among",
        [VT_KIND_INTS] = "integers",
        [VT_KIND_FLOATS] = "numbers",
        [VT_KIND_TEXTS] = "texts",
        [VT_KIND_TRANSFORMS] = "list",
        [VT_KIND_NORMALISE] = "name or map",
        [VT_KIND_CADENCE] = "N epochs, N steps",
        [VT_KIND_EPOCHS] = "last, all, integers",
        [VT_KIND_STEM] = "map",
        [VT_KIND_STAGES] = "list among",
        [VT_KIND_HEAD] = "map",
    };
    return names[kind];
}

char *vt_config_schema_table(void)
{
    vt_text text = {0};
    vt_text_printf(&text, "Layers, later wins: defaults, defaults of a choice, preset, `extends`, "
                          "the file, --set, options.\n"
                          "Keys marked * are not part of the experiment's identity.\n\n"
                          "extends\n    file or list of files, relative to the file\n");
    for (int key = 0; key < VT_KEY_COUNT; key++) {
        const vt_field *field = &vt_fields[key];
        const char *text_default = field->default_text;
        vt_text allowed = {0};
        vt_text_printf(&text, "%s%s\n    %s\n    ", field->path, field->identity ? "" : " *",
                       field->help);
        vt_text_printf(&text, "%s", kind_name(field->kind));
        vt_field_allowed(field, &allowed);
        if (allowed.data)
            vt_text_printf(&text, " %s", allowed.data);
        vt_text_release(&allowed);
        if (!text_default)
            vt_choice_defaults_write(key, &text);
        else if (*text_default == '=')
            vt_text_printf(&text, "; default: as %s", text_default + 1);
        else
            vt_text_printf(&text, "; default: %s", text_default);
        if (field->when)
            vt_text_printf(&text, "; with %s", field->when);
        vt_text_printf(&text, "\n");
    }
    return take(&text);
}

static json_t *limits_json(const vt_field *field)
{
    if (field->kind == VT_KIND_INT || field->kind == VT_KIND_INTS)
        return json_pack("{s:s, s:I, s:I}", "type", "integer", "minimum",
                         (json_int_t)field->int_min, "maximum", (json_int_t)field->int_max);
    return json_pack("{s:s, s:f, s:f}", "type", "number",
                     field->open_min ? "exclusiveMinimum" : "minimum", field->min,
                     field->open_max ? "exclusiveMaximum" : "maximum", field->max);
}

static json_t *words_json(const vt_field *field)
{
    json_t *words = json_array();
    for (int i = 0; i < field->words->n; i++)
        json_array_append_new(words, json_string(field->words->word[i].word));
    return json_pack("{s:o}", "enum", words);
}

/* A list of `item`, or one alone where `single`. */
static json_t *list_json(json_t *item, bool single)
{
    json_t *list = json_pack("{s:s, s:O}", "type", "array", "items", item);
    json_t *result = single ? json_pack("{s:[O, O]}", "anyOf", item, list) : json_incref(list);
    json_decref(item);
    json_decref(list);
    return result;
}

static json_t *field_json(const vt_field *field)
{
    switch (field->kind) {
    case VT_KIND_BOOL:
        return json_pack("{s:s}", "type", "boolean");
    case VT_KIND_INT:
    case VT_KIND_FLOAT:
        return limits_json(field);
    case VT_KIND_SEED:
        return json_pack("{s:s, s:i}", "type", "integer", "minimum", 0);
    case VT_KIND_TEXT:
        return json_pack("{s:s, s:i}", "type", "string", "minLength", 1);
    case VT_KIND_CHOICE:
        return words_json(field);
    case VT_KIND_SET:
        return list_json(words_json(field), true);
    case VT_KIND_INTS:
        return list_json(limits_json(field), true);
    case VT_KIND_FLOATS:
        return list_json(limits_json(field), false);
    case VT_KIND_TEXTS:
        return list_json(json_pack("{s:s}", "type", "string"), true);
    case VT_KIND_TRANSFORMS:
        return list_json(
            json_pack("{s:s, s:i, s:i}", "type", "object", "minProperties", 1, "maxProperties", 1),
            false);
    case VT_KIND_NORMALISE:
        return json_pack("{s:[s, s]}", "type", "string", "object");
    case VT_KIND_CADENCE:
        return json_pack("{s:s, s:s}", "type", "string", "pattern", "^[0-9]+ ?(epoch|step)s?$");
    case VT_KIND_EPOCHS:
        return json_pack("{s:[{s:[s, s]}, {s:s}, {s:s, s:{s:s}}]}", "anyOf", "enum", "last", "all",
                         "type", "integer", "type", "array", "items", "type", "integer");
    case VT_KIND_STEM:
    case VT_KIND_HEAD:
        return json_pack("{s:s}", "type", "object");
    case VT_KIND_STAGES:
        return json_pack("{s:s, s:i, s:{s:s, s:[s]}}", "type", "array", "minItems", 1, "items",
                         "type", "object", "required", "block");
    }
    return NULL;
}

char *vt_config_schema_json(void)
{
    json_t *keys = json_object();
    json_object_set_new(keys, "extends",
                        json_pack("{s:[{s:s}, {s:s, s:{s:s}}], s:s}", "anyOf", "type", "string",
                                  "type", "array", "items", "type", "string", "description",
                                  "file or list of files, relative to the file"));
    for (int key = 0; key < VT_KEY_COUNT; key++) {
        char name[32];
        size_t size = section_size(key);
        json_t *parent = keys, *row = field_json(&vt_fields[key]);
        if (size) {
            snprintf(name, sizeof name, "%.*s", (int)size, vt_fields[key].path);
            if (!json_object_get(keys, name))
                json_object_set_new(keys, name,
                                    json_pack("{s:[s, s], s:b, s:{}}", "type", "object", "null",
                                              "additionalProperties", 0, "properties"));
            parent = json_object_get(json_object_get(keys, name), "properties");
        }
        json_object_set_new(row, "description", json_string(vt_fields[key].help));
        json_object_set_new(parent, vt_field_leaf(&vt_fields[key]), row);
    }
    return dump(json_pack("{s:s, s:s, s:s, s:b, s:o}", "$schema",
                          "https://json-schema.org/draft/2020-12/schema", "title",
                          "Vitrine experiment", "type", "object", "additionalProperties", 0,
                          "properties", keys));
}
