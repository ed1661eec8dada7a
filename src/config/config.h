/*
 * The experiment file as one typed struct.
 *
 * A configuration is put together from layers, later ones winning: built-in defaults, defaults of
 * the family and data set (defaults.def), the preset (presets.def), files named by `extends`, the
 * file itself, `--set key=value`, the command's own options. Sections are merged key by key; a
 * value (a list too) is replaced whole; `null` takes a key back to its default. The schema is
 * fields.def: no other file spells a key.
 *
 * A key that has no effect under the chosen values (`optim.momentum` with adam) is an error where
 * it is set beside or after that choice. If a later layer makes the choice, the earlier value is
 * left out and a note says so. Inactive keys are neither printed nor part of the identity; their
 * members hold the default.
 */
#ifndef VT_CONFIG_CONFIG_H
#define VT_CONFIG_CONFIG_H

#include "base/hash.h"
#include "base/status.h"
#include "base/text.h"
#include "data/augment.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

/* Values. */

/* enum vt_family { VT_FAMILY_VIT, ..., VT_FAMILY_COUNT } and its like, from choices.def */
#define VT_WORDS(tag, key)                                                                         \
    enum vt_##tag                                                                                  \
    {
#define VT_WORD(constant, word, help) constant,
#define VT_WORDS_END(count)                                                                        \
    count                                                                                          \
    }                                                                                              \
    ;
#include "config/choices.def"

enum { VT_LIST_MAX = 16 };

typedef struct vt_int_list {
    int n;
    int64_t v[VT_LIST_MAX];
} vt_int_list;

typedef struct vt_float_list {
    int n;
    double v[VT_LIST_MAX];
} vt_float_list;

typedef struct vt_text_list { /* sorted, without repetitions */
    int n;
    const char *v[VT_LIST_MAX];
} vt_text_list;

/* x' = (x - mean) / std for pixels x in [0, 1], one entry a channel (the first three are set). */
enum vt_normalise_kind {
    VT_NORMALISE_HALF,
    VT_NORMALISE_CIFAR10,
    VT_NORMALISE_CIFAR100,
    VT_NORMALISE_IMAGENET,
    VT_NORMALISE_NONE,
    VT_NORMALISE_GIVEN,
    VT_NORMALISE_COUNT
};

typedef struct vt_normalise {
    enum vt_normalise_kind kind;
    float mean[3], std[3]; /* `none`: 0 and 1 */
} vt_normalise;

enum vt_cadence_unit { VT_CADENCE_EPOCHS, VT_CADENCE_STEPS };

typedef struct vt_cadence {
    int64_t n; /* at least 1 */
    enum vt_cadence_unit unit;
} vt_cadence;

/* Epochs are counted from 1 as in the reports; 0 is the state before the first step. */
enum vt_epochs_kind { VT_EPOCHS_LAST, VT_EPOCHS_ALL, VT_EPOCHS_LIST };

typedef struct vt_epochs {
    enum vt_epochs_kind kind;
    vt_int_list list; /* ascending */
} vt_epochs;

/* A part of a hybrid network; stages.def says which keys a part has, the others are 0. */
typedef struct vt_stage {
    int kind;                 /* row of stages.def */
    enum vt_block_kind block; /* of a stage */
    int64_t dim, depth, stride, kernel, attn_dim, heads, window, patch;
    double expand, mlp_ratio;
    enum vt_act_kind act;
    enum vt_norm_kind norm;
    enum vt_pos_embed_kind pos_embed;
    enum vt_pool_kind pool;
} vt_stage;

typedef struct vt_stage_list {
    int n;
    vt_stage v[VT_LIST_MAX];
} vt_stage_list;

/* The struct. */

#define VT_TYPE_BOOL(tag) bool
#define VT_TYPE_INT(tag) int64_t
#define VT_TYPE_SEED(tag) uint64_t
#define VT_TYPE_FLOAT(tag) double
#define VT_TYPE_TEXT(tag) const char * /* `none` is NULL */
#define VT_TYPE_CHOICE(tag) enum vt_##tag
#define VT_TYPE_SET(tag) uint32_t /* bit 1u << VT_NO_DECAY_BIAS and so on */
#define VT_TYPE_INTS(tag) vt_int_list
#define VT_TYPE_FLOATS(tag) vt_float_list
#define VT_TYPE_TEXTS(tag) vt_text_list
#define VT_TYPE_TRANSFORMS(tag) vt_transform_list
#define VT_TYPE_NORMALISE(tag) vt_normalise
#define VT_TYPE_CADENCE(tag) vt_cadence
#define VT_TYPE_EPOCHS(tag) vt_epochs
#define VT_TYPE_STEM(tag) vt_stage
#define VT_TYPE_STAGES(tag) vt_stage_list
#define VT_TYPE_HEAD(tag) vt_stage

/* `WORDS(tag)` in a row names the enum; limits name nothing. */
#define WORDS(tag) tag
#define NONE
#define INT_RANGE(a, b)
#define CLOSED(a, b)
#define OPEN(a, b)
#define LEFT_OPEN(a, b)
#define VT_TYPE_OF(kind, detail) VT_TYPE_##kind(detail)

typedef struct vt_config {
    /* One member a row: config->train_batch is `train.batch`. */
#define VT_FIELD(member, path, kind, detail, default_text, identity, when, help)                   \
    VT_TYPE_OF(kind, detail)                                                                       \
    member;
#include "config/fields.def"
    struct vt_config_parts *parts; /* sources, origins, notes: reached by the functions below */
} vt_config;

#undef WORDS
#undef NONE
#undef INT_RANGE
#undef CLOSED
#undef OPEN
#undef LEFT_OPEN

/* What a data set is. */

typedef struct vt_data_facts {
    int64_t image, channels, classes, n_train, n_test;
} vt_data_facts;

const vt_data_facts *vt_data_facts_of(enum vt_data_kind data);

/* Errors. */

enum { VT_DIAGNOSTICS_MAX = 20 };

/*
 * All errors found in one go, up to VT_DIAGNOSTICS_MAX, each as
 *
 *     file:line:column: error: text
 *        14 |     lerning_rate: 3e-4
 *           |     ^~~~~~~~~~~~
 *       did you mean 'lr'?
 *
 * Start with {0} (set `color` for a terminal); release with vt_diagnostics_release.
 */
typedef struct vt_diagnostics {
    vt_text text;     /* complete lines for stderr */
    vt_status status; /* of the first error */
    int n_errors;     /* found; the text says how many of them it leaves out */
    bool color;
} vt_diagnostics;

void vt_diagnostics_release(vt_diagnostics *diags);

/* Loading. */

/* The command's own options, the last layer. */
typedef struct vt_config_overrides {
    bool has_seed, has_threads;
    const char *device; /* a word of train.device, or NULL */
    uint64_t seed;
    int64_t threads;
    const char *data_dir; /* NULL: not given */
} vt_config_overrides;

/*
 * Finds the experiment EXP: a name below experiments/ ("quick/vit") or a path. `path` receives the
 * file to load. VT_ERR_NOINPUT (with near names) if there is none, VT_ERR_USAGE for a name with
 * control characters or longer than `path`.
 */
vt_status vt_config_find(const char *exp, char *path, size_t path_size, vt_diagnostics *diags);

/*
 * Loads the file `path` with the `key=value` texts `sets` and the overrides (NULL: none) on top.
 * VT_ERR_CONFIG, VT_ERR_NOINPUT (a file is missing) or VT_ERR_NOMEM with the reasons in `diags`;
 * *config is NULL then. Limits: file 1 MiB, depth 32, 100,000 events, 64 files.
 */
vt_status vt_config_load(vt_config **config, const char *path, const char *const *sets, int n_sets,
                         const vt_config_overrides *own, vt_diagnostics *diags);
void vt_config_free(vt_config *config);

/* Asking. */

/* Name of the results folder: the path below experiments/ without ".yaml", '/' as '-'; for a file
 * elsewhere its base name. Letters, digits, '_', '-', '.' only, at most 100. */
const char *vt_config_name(const vt_config *config);
/* The file it was loaded from, as given. */
const char *vt_config_path(const vt_config *config);
/* Where a key's value comes from: "file:line:column", "--set[1]:10", "--seed", "preset swin_t",
 * "model.family: swin" (a default of that choice), "train.batch" (copied), "default"; or
 * "not used with optim.name: adam". NULL for an unknown key. */
const char *vt_config_origin(const vt_config *config, const char *path);

/* Things to know that are no errors: padding, clamped windows, values left out. */
int vt_config_note_count(const vt_config *config);
const char *vt_config_note(const vt_config *config, int i);

/* The resolved configuration with every active key as stand-alone YAML: loading it gives the same
 * configuration. With origins as comments if asked. NULL: no memory. Release with vt_free. */
char *vt_config_print(const vt_config *config, bool with_origin);
/* The same as JSON: {"name", "path", "experiment_id", "config": {...}, "origin": {key: text},
 * "notes": [...]}. */
char *vt_config_json(const vt_config *config);

/* SHA-256 of the canonical form of the active identity keys: sorted "key=value" lines, floats as
 * exact hexadecimal; seed and places of data are not in it, and keys that came later (`added`
 * below) only if they do not have their default. VT_ERR_NOMEM only. */
vt_status vt_config_experiment_id(const vt_config *config, char hex[VT_SHA256_HEX_SIZE]);

enum { VT_RUN_ID_SIZE = 13 };
/* First 12 hex digits of SHA-256 over (experiment id, seed, data digest). */
vt_status vt_config_run_id(const vt_config *config, const char *data_digest_hex,
                           char id[VT_RUN_ID_SIZE]);

/* The schema. */

typedef struct vt_config_field {
    const char *path;         /* "optim.lr" */
    const char *default_text; /* as in fields.def; NULL: see there */
    const char *when;         /* as in fields.def; NULL: always */
    const char *help;
    bool identity;
    bool added; /* a key that came later: outside the identity while it has its default */
} vt_config_field;

int vt_config_field_count(void);
/* Row `i` in the order of fields.def. */
vt_config_field vt_config_field_at(int i);
/* True if the key has an effect under the chosen values. */
bool vt_config_field_active(const vt_config *config, int i);
/* Appends the value as YAML text ("0.001", "[2, 6, 2]", "{mean: ...}"). */
void vt_config_value(const vt_config *config, int i, vt_text *text);

/* The schema as a table for people, or as JSON Schema (draft 2020-12) for editors. NULL: no memory.
 * Release with vt_free. */
char *vt_config_schema_table(void);
char *vt_config_schema_json(void);

/* The word of a choice value, such as vt_config_word("optim.name", VT_OPTIM_SGD) = "sgd". */
const char *vt_config_word(const char *path, int value);

#endif
