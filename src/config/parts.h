/* What a configuration knows beside its values: inside of src/config only. */
#ifndef VT_CONFIG_PARTS_H
#define VT_CONFIG_PARTS_H

#include "config/schema.h"
#include "config/value.h"
#include "config/yaml.h"

enum { VT_NOTES_MAX = 64, VT_FILES_MAX = 64 };

/* Where a key's value comes from. */
typedef struct vt_slot {
    const vt_yaml *node; /* NULL: not given by any layer */
    const char *origin;  /* in place of the node's mark (defaults, copies); NULL: the mark */
    int layer;           /* of files and options, from 1; 0: defaults */
    bool bad;            /* an error about it was reported: it takes part in no further check */
    bool inactive;       /* without effect under the chosen values */
} vt_slot;

struct vt_config_parts {
    vt_store store;
    vt_slot slot[VT_KEY_COUNT];
    const char *path, *name;
    vt_source whole; /* the file, for errors that have no place in it */
    const char *note[VT_NOTES_MAX];
    int n_notes;
};

/* Work in progress. */
typedef struct vt_loading {
    vt_config *config;
    struct vt_config_parts *parts;
    vt_diagnostics *diags;
    int n_layers, n_files;
    const vt_yaml *defaults; /* of fields.def, by dotted path */
    bool incomplete; /* a file or a key could not be read: that others are missing says nothing */
} vt_loading;

/* layers.c: fills the slots from files, `sets` and the command's options. */
void vt_layers_read(vt_loading *loading, const char *path, const char *const *sets, int n_sets,
                    const vt_config_overrides *own);
/* layers.c: assigns the keys of a parsed map to the slots; `only_empty` leaves filled ones. */
void vt_layers_assign(vt_loading *loading, const vt_yaml *map, int layer, bool only_empty);

/* resolve.c: preset, defaults, members, inactive keys. */
void vt_resolve(vt_loading *loading);
/* resolve.c: appends "; default: 1e-6 (model.family: vit), ..." of a key that fields.def gives
 * none. */
void vt_choice_defaults_write(int key, vt_text *text);

/* config.c: where the key's value comes from. */
const char *vt_slot_origin(struct vt_config_parts *parts, vt_key key);

/* check.c: what one key cannot know of another. Errors and notes. */
void vt_check(vt_loading *loading);

void vt_note(vt_loading *loading, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
