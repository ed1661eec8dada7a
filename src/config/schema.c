#include "config/stages.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define VT_WORDS(tag, key) static const vt_word tag##_word[] = {
#define VT_WORD(constant, text, about) [constant] = {text, about},
#define VT_WORDS_END(count)                                                                        \
    }                                                                                              \
    ;
#include "config/choices.def"

#define VT_WORDS(tag, key)                                                                         \
    const vt_words vt_words_of_##tag = {tag##_word, (int)(sizeof tag##_word / sizeof *tag##_word)};
#define VT_WORD(constant, text, about)
#include "config/choices.def"

#define ID .identity = true
#define ID_UNLESS_DEFAULT .identity = true, .added = true
#define NO_ID .identity = false
#define NONE .words = NULL
#define WORDS(tag) .words = &vt_words_of_##tag
#define INT_RANGE(a, b) .int_min = (a), .int_max = (b)
#define CLOSED(a, b) .min = (a), .max = (b)
#define OPEN(a, b) .min = (a), .max = (b), .open_min = true, .open_max = true
#define LEFT_OPEN(a, b) .min = (a), .max = (b), .open_min = true

const vt_field vt_fields[VT_KEY_COUNT] = {
#define VT_FIELD(member, name, row_kind, detail, text, in_id, condition, about)                    \
    {.path = name,                                                                                 \
     .kind = VT_KIND_##row_kind,                                                                   \
     .offset = offsetof(vt_config, member),                                                        \
     .size_bytes = sizeof(((vt_config *)0)->member),                                               \
     .default_text = text,                                                                         \
     in_id,                                                                                        \
     .when = condition,                                                                            \
     .help = about,                                                                                \
     detail},
#include "config/fields.def"
};

static const struct {
    const char *word, *path;
} aliases[] = {
#define VT_ALIAS(their_word, our_path) {their_word, our_path},
#include "config/aliases.def"
};

enum { N_ALIASES = sizeof aliases / sizeof *aliases };

int vt_field_find(const char *path, size_t size)
{
    for (int i = 0; i < VT_KEY_COUNT; i++)
        if (strlen(vt_fields[i].path) == size && memcmp(vt_fields[i].path, path, size) == 0)
            return i;
    return -1;
}

const char *vt_field_leaf(const vt_field *field)
{
    const char *dot = strchr(field->path, '.');
    return dot ? dot + 1 : field->path;
}

static bool in_section(const vt_field *field, const char *section)
{
    size_t size = strlen(section);
    if (size == 0)
        return !strchr(field->path, '.');
    return strncmp(field->path, section, size) == 0 && field->path[size] == '.';
}

bool vt_section_exists(const char *name)
{
    for (int i = 0; *name && i < VT_KEY_COUNT; i++)
        if (in_section(&vt_fields[i], name))
            return true;
    return false;
}

int vt_words_find(const vt_words *words, const char *word)
{
    for (int i = 0; i < words->n; i++)
        if (strcmp(words->word[i].word, word) == 0)
            return i;
    return -1;
}

void vt_field_allowed(const vt_field *field, vt_text *text)
{
    switch (field->kind) {
    case VT_KIND_INT:
    case VT_KIND_INTS:
        vt_text_printf(text, "from %" PRId64 " to %" PRId64, field->int_min, field->int_max);
        break;
    case VT_KIND_SEED:
        vt_text_printf(text, "from 0 to 18446744073709551615");
        break;
    case VT_KIND_FLOAT:
    case VT_KIND_FLOATS:
        if (field->open_min || field->open_max)
            vt_text_printf(text, "%s %g and %s %g", field->open_min ? "greater than" : "at least",
                           field->min, field->open_max ? "less than" : "at most", field->max);
        else
            vt_text_printf(text, "from %g to %g", field->min, field->max);
        break;
    case VT_KIND_CHOICE:
    case VT_KIND_SET:
        for (int i = 0; i < field->words->n; i++)
            vt_text_printf(text, "%s%s", i ? ", " : "", field->words->word[i].word);
        break;
    case VT_KIND_BOOL:
        vt_text_printf(text, "true, false");
        break;
    case VT_KIND_TEXT:
    case VT_KIND_TEXTS:
    case VT_KIND_TRANSFORMS:
    case VT_KIND_NORMALISE:
    case VT_KIND_CADENCE:
    case VT_KIND_EPOCHS:
        break;
    case VT_KIND_STEM:
        vt_part_describe("stem", text);
        break;
    case VT_KIND_HEAD:
        vt_part_describe("head", text);
        break;
    case VT_KIND_STAGES:
        vt_stages_describe(text);
        break;
    }
}

/* The name among `name` that is near to `word`, as its path; NULL if there is none. */
static const char *nearest(const char *word, const char *const *name, const char *const *path,
                           int n)
{
    const char *near = vt_suggest(word, name, n);
    for (int i = 0; near && i < n; i++)
        if (name[i] == near)
            return path[i];
    return NULL;
}

static const char *suggest_key(const char *section, const char *leaf)
{
    const char *name[VT_KEY_COUNT], *path[VT_KEY_COUNT];
    int n = 0;
    for (int i = 0; i < N_ALIASES; i++)
        if (strcmp(aliases[i].word, leaf) == 0)
            return aliases[i].path;
    for (int i = 0; i < VT_KEY_COUNT; i++) {
        if (!in_section(&vt_fields[i], section))
            continue;
        name[n] = vt_field_leaf(&vt_fields[i]);
        path[n++] = vt_fields[i].path;
    }
    return nearest(leaf, name, path, n);
}

static const char *suggest_alias(const char *leaf)
{
    const char *name[N_ALIASES], *path[N_ALIASES];
    for (int i = 0; i < N_ALIASES; i++) {
        name[i] = aliases[i].word;
        path[i] = aliases[i].path;
    }
    return strlen(leaf) > 3 ? nearest(leaf, name, path, N_ALIASES) : NULL;
}

/* Appends the keys of other sections that have just this name: "optim.lr". */
static bool list_namesakes(const char *leaf, vt_text *text)
{
    int n = 0;
    for (int i = 0; i < VT_KEY_COUNT; i++)
        if (strcmp(vt_field_leaf(&vt_fields[i]), leaf) == 0)
            vt_text_printf(text, n++ ? " or '%s'" : "did you mean '%s'", vt_fields[i].path);
    if (n)
        vt_text_printf(text, "?  ");
    return n > 0;
}

enum { SECTIONS = 16, SECTION_SIZE = 16 };

/* The sections in the order of their rows. */
static int list_sections(char name[SECTIONS][SECTION_SIZE])
{
    int n = 0;
    for (int i = 0; i < VT_KEY_COUNT; i++) {
        const char *dot = strchr(vt_fields[i].path, '.');
        int size = dot ? (int)(dot - vt_fields[i].path) : 0;
        if (!dot || (n && in_section(&vt_fields[i], name[n - 1])))
            continue;
        VT_ASSERT(n < SECTIONS && size < SECTION_SIZE);
        snprintf(name[n++], SECTION_SIZE, "%.*s", size, vt_fields[i].path);
    }
    return n;
}

void vt_field_suggest(const char *section, const char *leaf, vt_text *text)
{
    enum { SHOWN = 12 };
    char section_name[SECTIONS][SECTION_SIZE];
    const char *top[SECTIONS + 1] = {"extends"}, *path = NULL;
    int n_top = list_sections(section_name), shown = 0;
    for (int i = 0; i < n_top; i++)
        top[i + 1] = section_name[i];
    path = suggest_key(section, leaf);
    if (path || !list_namesakes(leaf, text)) {
        if (!path && !*section)
            path = vt_suggest(leaf, top, n_top + 1);
        if (!path)
            path = suggest_alias(leaf);
    }
    if (path) {
        int key = vt_field_find(path, strlen(path));
        bool near = key >= 0 && in_section(&vt_fields[key], section);
        vt_text_printf(text, "did you mean '%s'?  ", near ? vt_field_leaf(&vt_fields[key]) : path);
    }
    vt_text_printf(text, *section ? "(keys of %s: " : "(keys%s: ", section);
    for (int i = 0; !*section && i <= n_top; i++)
        vt_text_printf(text, "%s%s", shown++ ? ", " : "", top[i]);
    for (int i = 0; i < VT_KEY_COUNT; i++) {
        if (!in_section(&vt_fields[i], section))
            continue;
        if (shown == SHOWN) {
            vt_text_printf(text, ", ...");
            break;
        }
        vt_text_printf(text, "%s%s", shown++ ? ", " : "", vt_field_leaf(&vt_fields[i]));
    }
    vt_text_printf(text, ")");
}

const vt_data_facts *vt_data_facts_of(enum vt_data_kind data)
{
    static const vt_data_facts facts[VT_DATA_COUNT] = {
#define VT_DATA(constant, word, side, n_channels, n_classes, train, test)                          \
    [constant] = {.image = side,                                                                   \
                  .channels = n_channels,                                                          \
                  .classes = n_classes,                                                            \
                  .n_train = train,                                                                \
                  .n_test = test},
#include "config/data.def"
        [VT_DATA_FOLDER] = {.channels = 3},
    };
    return &facts[data];
}

int vt_config_field_count(void)
{
    return VT_KEY_COUNT;
}

vt_config_field vt_config_field_at(int i)
{
    const vt_field *field = &vt_fields[i];
    return (vt_config_field){.path = field->path,
                             .default_text = field->default_text,
                             .when = field->when,
                             .help = field->help,
                             .identity = field->identity,
                             .added = field->added};
}

const char *vt_config_word(const char *path, int value)
{
    int key = vt_field_find(path, strlen(path));
    VT_ASSERT(key >= 0 && vt_fields[key].words && value >= 0 && value < vt_fields[key].words->n);
    return vt_fields[key].words->word[value].word;
}
