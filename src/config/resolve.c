/* From slots to values: preset, defaults, keys without effect. */
#include "config/parts.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    const char *name, *family, *yaml;
} presets[] = {
#define VT_PRESET(name, family, yaml, source) {name, family, yaml},
#include "config/presets.def"
};

static const struct {
    const char *key, *word, *yaml;
} choice_defaults[] = {
#define VT_DEFAULTS(key, word, yaml) {key, word, yaml},
#include "config/defaults.def"
};

enum {
    N_PRESETS = sizeof presets / sizeof *presets,
    N_CHOICE_DEFAULTS = sizeof choice_defaults / sizeof *choice_defaults,
};

static void *member_of(vt_loading *l, int key)
{
    return (char *)l->config + vt_fields[key].offset;
}

static vt_yaml *parse_builtin(vt_loading *l, const char *name, const char *text)
{
    vt_source *source = vt_store_take(&l->parts->store, sizeof *source);
    if (!source || !name)
        return NULL;
    *source = (vt_source){name, text, strlen(text), VT_SOURCE_BUILTIN};
    return vt_yaml_parse(source, 0, &l->parts->store, l->diags);
}

static void use_preset(vt_loading *l)
{
    vt_slot *slot = l->parts->slot, *named = &slot[VT_KEY_model_preset];
    const char *name = l->config->model_preset;
    if (!named->node || named->bad || !name)
        return;
    for (int i = 0; i < N_PRESETS; i++) {
        if (strcmp(presets[i].name, name) != 0)
            continue;
        vt_slot *family = &slot[VT_KEY_model_family];
        const char *source = vt_store_printf(&l->parts->store, "preset %s", name);
        if (!family->node) {
            vt_yaml *node = parse_builtin(l, source, presets[i].family);
            if (node) {
                *family = (vt_slot){.node = node, .layer = named->layer};
                vt_value_read(&vt_fields[VT_KEY_model_family], node, &l->config->model_family,
                              &l->parts->store, l->diags);
            }
        } else if (!family->bad) {
            const char *given = vt_config_word("model.family", (int)l->config->model_family);
            if (strcmp(given, presets[i].family) != 0) {
                vt_text place = {0};
                vt_text_printf(&place, "model.family is set at ");
                vt_mark_write(&family->node->mark, &place);
                vt_report(l->diags, VT_ERR_CONFIG, &named->node->mark, place.data,
                          "preset '%s' is of family %s, and model.family is %s", name,
                          presets[i].family, given);
                vt_text_release(&place);
                named->bad = true;
                return;
            }
        }
        vt_yaml *map = parse_builtin(l, source, presets[i].yaml);
        if (map)
            vt_layers_assign(l, map, named->layer, true);
        return;
    }
    const char *names[N_PRESETS];
    vt_text hint = {0};
    for (int i = 0; i < N_PRESETS; i++)
        names[i] = presets[i].name;
    const char *near = vt_suggest(name, names, N_PRESETS);
    if (near)
        vt_text_printf(&hint, "did you mean '%s'?  ", near);
    vt_text_printf(&hint, "(presets: ");
    for (int i = 0; i < N_PRESETS; i++)
        vt_text_printf(&hint, "%s%s", i ? ", " : "", names[i]);
    vt_text_printf(&hint, ")");
    vt_report(l->diags, VT_ERR_CONFIG, &named->node->mark, hint.data, "unknown preset '%.60s'",
              name);
    vt_text_release(&hint);
    named->bad = true;
}

/* The defaults of fields.def as one map from dotted paths: a parser for each would cost more. */
static void parse_defaults(vt_loading *l)
{
    vt_text text = {0};
    for (int key = 0; key < VT_KEY_COUNT; key++) {
        const char *value = vt_fields[key].default_text;
        if (value && *value != '=')
            vt_text_printf(&text, "%s: %s\n", vt_fields[key].path, value);
    }
    const char *kept = text.failed ? NULL : vt_store_text(&l->parts->store, text.data, text.size);
    l->parts->store.failed |= text.failed;
    l->defaults = kept ? parse_builtin(l, "default", kept) : NULL;
    vt_text_release(&text);
}

/* The default of fields.def, unless the key has a value or gets it elsewhere. */
static void use_default(vt_loading *l, int key)
{
    vt_slot *slot = &l->parts->slot[key];
    const vt_yaml *node = l->defaults ? vt_yaml_get(l->defaults, vt_fields[key].path) : NULL;
    if (slot->node || !node)
        return;
    slot->node = node;
    slot->bad =
        !vt_value_read(&vt_fields[key], node, member_of(l, key), &l->parts->store, l->diags);
}

/* Compares with the words of "key=a|b". */
static bool in_words(const char *words, const char *word)
{
    size_t size = strlen(word);
    for (const char *at = words; at; at = strchr(at, '|'), at = at ? at + 1 : NULL)
        if (strncmp(at, word, size) == 0 && (at[size] == '\0' || at[size] == '|'))
            return true;
    return false;
}

/* False for a key whose `when` names another choice than the one made. */
static bool applies(vt_loading *l, int key)
{
    const char *when = vt_fields[key].when;
    size_t size = when ? strcspn(when, "=>") : 0;
    if (!when || when[size] != '=')
        return true;
    int other = vt_field_find(when, size);
    use_default(l, other);
    return !l->parts->slot[other].node ||
           in_words(when + size + 1,
                    vt_config_word(vt_fields[other].path,
                                   (int)*(const unsigned *)vt_member(l->config, other)));
}

static void use_choice_defaults(vt_loading *l)
{
    for (int i = 0; i < N_CHOICE_DEFAULTS; i++) {
        const char *path = choice_defaults[i].key, *word = choice_defaults[i].word;
        int key = vt_field_find(path, strlen(path));
        use_default(l, key);
        const vt_slot *slot = &l->parts->slot[key];
        if (!slot->node || slot->bad || !applies(l, key) ||
            strcmp(vt_config_word(path, (int)*(const unsigned *)vt_member(l->config, key)), word))
            continue;
        const char *name = vt_store_printf(&l->parts->store, "%s: %s", path, word);
        vt_yaml *map = parse_builtin(l, name, choice_defaults[i].yaml);
        if (map)
            vt_layers_assign(l, map, 0, true);
    }
}

void vt_choice_defaults_write(int key, vt_text *text)
{
    struct vt_config_parts parts = {0};
    vt_diagnostics diags = {0};
    vt_loading l = {.parts = &parts, .diags = &diags};
    const char *path = vt_fields[key].path;
    char section[32];
    int n = 0;
    snprintf(section, sizeof section, "%.*s", (int)strcspn(path, "."), path);
    for (int i = 0; i < N_CHOICE_DEFAULTS; i++) {
        const vt_yaml *map = parse_builtin(&l, "default", choice_defaults[i].yaml);
        const vt_yaml *keys = map ? vt_yaml_get(map, section) : NULL;
        const vt_yaml *value = keys ? vt_yaml_get(keys, vt_field_leaf(&vt_fields[key])) : NULL;
        if (!value)
            continue;
        vt_text_printf(text, "%s%s", n++ ? ", " : "; default: ", value->text ? value->text : "[");
        for (int j = 0; value->kind == VT_YAML_LIST && j < value->n; j++)
            vt_text_printf(text, "%s%s", value->item[j]->text, j + 1 < value->n ? ", " : "]");
        vt_text_printf(text, " (%s: %s)", choice_defaults[i].key, choice_defaults[i].word);
    }
    if (n == 0)
        vt_text_printf(text, "; no default but a preset's");
    vt_store_release(&parts.store);
    vt_diagnostics_release(&diags);
}

/* `=other.key` */
static void use_copies(vt_loading *l)
{
    for (int key = 0; key < VT_KEY_COUNT; key++) {
        vt_slot *slot = &l->parts->slot[key];
        const char *text = vt_fields[key].default_text;
        if (slot->node || !text || *text != '=')
            continue;
        int other = vt_field_find(text + 1, strlen(text + 1));
        *slot = l->parts->slot[other];
        slot->origin = vt_fields[other].path;
        slot->layer = 0;
        memcpy(member_of(l, key), vt_member(l->config, other), vt_fields[key].size_bytes);
    }
}

/* A key that its `when` switches off: an error beside or after the choice, a note before it. */
static void switch_off(vt_loading *l, int key, int other)
{
    struct vt_config_parts *parts = l->parts;
    vt_slot *slot = &parts->slot[key], *chosen = &parts->slot[other];
    const char *word =
        vt_config_word(vt_fields[other].path, (int)*(const unsigned *)vt_member(l->config, other));
    if (slot->layer > 0 && slot->layer >= chosen->layer) {
        vt_text hint = {0};
        const char *condition = strchr(vt_fields[key].when, '=') + 1;
        vt_text_printf(&hint, "it belongs to %s: ", vt_fields[other].path);
        for (const char *c = condition; *c; c++)
            vt_text_printf(&hint, *c == '|' ? ", " : "%c", *c);
        if (chosen->layer > 0) {
            vt_text_printf(&hint, "; %s is set at ", vt_fields[other].path);
            vt_mark_write(&chosen->node->mark, &hint);
        }
        vt_report(l->diags, VT_ERR_CONFIG, &slot->node->mark, hint.data,
                  "'%s' has no effect with %s: %s", vt_fields[key].path, vt_fields[other].path,
                  word);
        vt_text_release(&hint);
        slot->bad = true;
    } else if (slot->layer > 0) {
        vt_text place = {0}, choice = {0};
        vt_mark_write(&slot->node->mark, &place);
        vt_mark_write(&chosen->node->mark, &choice);
        vt_note(l, "%s: %s is left out: it has no effect with %s: %s (%s)",
                place.data ? place.data : "?", vt_fields[key].path, vt_fields[other].path, word,
                choice.data ? choice.data : "?");
        vt_text_release(&place);
        vt_text_release(&choice);
    }
    *slot = (vt_slot){.inactive = true,
                      .bad = slot->bad,
                      .origin = vt_store_printf(&parts->store, "not used with %s: %s",
                                                vt_fields[other].path, word)};
}

/* The number before ">0" in a row's `when`: integers and floats. */
static bool is_zero(const vt_config *config, int key)
{
    const void *member = vt_member(config, key);
    return vt_fields[key].kind == VT_KIND_FLOAT ? *(const double *)member <= 0
                                                : *(const int64_t *)member <= 0;
}

static void switch_keys(vt_loading *l)
{
    for (int key = 0; key < VT_KEY_COUNT; key++) {
        const char *when = vt_fields[key].when;
        if (!when)
            continue;
        size_t size = strcspn(when, "=>");
        int other = vt_field_find(when, size);
        const vt_slot *chosen = &l->parts->slot[other];
        if (!chosen->node || chosen->bad)
            continue;
        if (when[size] == '>') {
            l->parts->slot[key].inactive |= is_zero(l->config, other);
            continue;
        }
        const char *word = vt_config_word(vt_fields[other].path,
                                          (int)*(const unsigned *)vt_member(l->config, other));
        if (!in_words(when + size + 1, word))
            switch_off(l, key, other);
    }
}

/* Members of switched-off keys hold the default of fields.def, or zero. */
static void reset_member(vt_loading *l, int key)
{
    memset(member_of(l, key), 0, vt_fields[key].size_bytes);
    vt_slot kept = l->parts->slot[key];
    use_default(l, key);
    l->parts->slot[key] = kept;
}

static void require(vt_loading *l, int key)
{
    vt_slot *slot = &l->parts->slot[key];
    const char *path = vt_fields[key].path;
    if (slot->node || slot->bad || slot->inactive)
        return;
    slot->bad = true;
    if (l->incomplete)
        return;
    const vt_mark whole = {.source = &l->parts->whole};
    if (key == VT_KEY_model_family)
        vt_report(l->diags, VT_ERR_CONFIG, &whole, "such as `model: { preset: swin_cifar }`",
                  "'model.family' or 'model.preset' is needed");
    else if (!l->parts->slot[VT_KEY_model_family].bad && !l->parts->slot[VT_KEY_model_preset].bad)
        vt_report(l->diags, VT_ERR_CONFIG, &whole, vt_fields[key].help, "'%s' is needed", path);
}

void vt_resolve(vt_loading *l)
{
    parse_defaults(l);
    use_preset(l);
    use_choice_defaults(l);
    for (int key = 0; key < VT_KEY_COUNT; key++)
        use_default(l, key);
    use_copies(l);
    switch_keys(l);
    for (int key = 0; key < VT_KEY_COUNT; key++) {
        if (l->parts->slot[key].inactive && !l->parts->slot[key].node)
            reset_member(l, key);
        require(l, key);
    }
}

void vt_note(vt_loading *l, const char *format, ...)
{
    va_list args;
    char text[600];
    if (l->parts->n_notes == VT_NOTES_MAX)
        return;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    const char *note = vt_store_text(&l->parts->store, text, strlen(text));
    if (note)
        l->parts->note[l->parts->n_notes++] = note;
}
