/*
 * A strict reading of YAML: one document of maps, lists and scalars, each with its place.
 *
 * Refused with the reason: more than 1 MiB, NUL and other control characters, invalid UTF-8, tabs
 * as indentation, anchors, aliases, tags, several documents, keys that are no scalars, duplicate
 * keys, more than 256 keys in a map, depth above 32, more than 100,000 events.
 */
#ifndef VT_CONFIG_YAML_H
#define VT_CONFIG_YAML_H

#include "config/diag.h"
#include "config/store.h"

enum {
    VT_YAML_MAX_BYTES = 1 << 20,
    VT_YAML_MAX_DEPTH = 32,
    VT_YAML_MAX_EVENTS = 100000,
    VT_YAML_MAX_KEYS = 256,
};

enum vt_yaml_kind { VT_YAML_SCALAR, VT_YAML_LIST, VT_YAML_MAP };

typedef struct vt_yaml {
    enum vt_yaml_kind kind;
    bool plain;       /* scalar without quotes */
    const char *text; /* scalar */
    vt_mark mark;
    int n;                 /* entries of a list or map */
    struct vt_yaml **key;  /* map: scalars */
    struct vt_yaml **item; /* list: elements; map: values */
} vt_yaml;

/* What a scalar is by the core schema of YAML 1.2; quoted ones are always text. */
enum vt_yaml_type {
    VT_YAML_NULL,
    VT_YAML_BOOL,
    VT_YAML_INT,
    VT_YAML_FLOAT,
    VT_YAML_TEXT,
};

/* Parses source->text from byte `offset` on (a value behind `key=`). NULL after an error, which is
 * in `diags`. An empty document is a plain empty scalar. */
vt_yaml *vt_yaml_parse(const vt_source *source, size_t offset, vt_store *store,
                       vt_diagnostics *diags);
enum vt_yaml_type vt_yaml_type(const vt_yaml *scalar);
/* The value for key, or NULL. */
const vt_yaml *vt_yaml_get(const vt_yaml *map, const char *key);

#endif
