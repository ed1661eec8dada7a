/* The rows of fields.def as a table, and the words of choices.def. */
#ifndef VT_CONFIG_SCHEMA_H
#define VT_CONFIG_SCHEMA_H

#include "config/config.h"

typedef enum vt_kind {
    VT_KIND_BOOL,
    VT_KIND_INT,
    VT_KIND_SEED,
    VT_KIND_FLOAT,
    VT_KIND_TEXT,
    VT_KIND_CHOICE,
    VT_KIND_SET,
    VT_KIND_INTS,
    VT_KIND_FLOATS,
    VT_KIND_TEXTS,
    VT_KIND_TRANSFORMS,
    VT_KIND_NORMALISE,
    VT_KIND_CADENCE,
    VT_KIND_EPOCHS,
    VT_KIND_STEM,
    VT_KIND_STAGES,
    VT_KIND_HEAD,
} vt_kind;

/* VT_KEY_model_family and so on, in the order of the rows. */
typedef enum vt_key {
#define VT_FIELD(member, path, kind, detail, default_text, identity, when, help) VT_KEY_##member,
#include "config/fields.def"
    VT_KEY_COUNT
} vt_key;

typedef struct vt_word {
    const char *word, *help;
} vt_word;

typedef struct vt_words {
    const vt_word *word; /* index = enum value */
    int n;
} vt_words;

typedef struct vt_field {
    const char *path;
    vt_kind kind;
    size_t offset, size_bytes; /* of the member in vt_config */
    int64_t int_min, int_max;  /* INT, INTS */
    double min, max;           /* FLOAT, FLOATS */
    bool open_min, open_max;   /* min, max themselves are not allowed */
    const vt_words *words;     /* CHOICE, SET */
    const char *default_text;
    bool identity;
    bool added; /* outside the identity while it has its default */
    const char *when;
    const char *help;
} vt_field;

extern const vt_field vt_fields[VT_KEY_COUNT];

/* vt_words_of_family and so on: the groups of choices.def */
#define VT_WORDS(tag, key) extern const vt_words vt_words_of_##tag;
#define VT_WORD(constant, word, help)
#include "config/choices.def"

/* The row with this dotted path (of `size` characters), or -1. */
int vt_field_find(const char *path, size_t size);
/* True if `name` is the first part of dotted paths, such as "model". */
bool vt_section_exists(const char *name);
/* The part of the path behind the section: "lr" of "optim.lr". */
const char *vt_field_leaf(const vt_field *field);
/* Index of a word, or -1. */
int vt_words_find(const vt_words *words, const char *word);
/* Appends "from 1 to 65536", "greater than 0 and less than 1", "sgd, adam, adamw". */
void vt_field_allowed(const vt_field *field, vt_text *text);
/* Appends what an unknown key may have meant and the keys of its section ("" for the top). */
void vt_field_suggest(const char *section, const char *leaf, vt_text *text);

static inline const void *vt_member(const vt_config *config, int key)
{
    return (const char *)config + vt_fields[key].offset;
}

#endif
