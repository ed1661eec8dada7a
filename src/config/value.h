/* Values: from YAML to the member of vt_config, and back. */
#ifndef VT_CONFIG_VALUE_H
#define VT_CONFIG_VALUE_H

#include "config/schema.h"
#include "config/yaml.h"

/* Reads `node` into *member (of the row's type). False after an error, which is in `diags`.
 * Texts are copied into the store. */
bool vt_value_read(const vt_field *field, const vt_yaml *node, void *member, vt_store *store,
                   vt_diagnostics *diags);

enum vt_value_form {
    VT_VALUE_YAML,  /* shortest text that reads back as the same value */
    VT_VALUE_EXACT, /* for hashes: floats as hexadecimal, normalisation as numbers */
};

void vt_value_write(const vt_field *field, const void *member, enum vt_value_form form,
                    vt_text *text);

/* For one kind of value after the other: value.c and transforms.c. */

typedef struct vt_reading {
    const vt_field *field;
    vt_store *store;
    vt_diagnostics *diags;
} vt_reading;

/* A number within `limits`, which may be narrower than the row's. */
bool vt_read_int(const vt_reading *reading, const vt_yaml *node, const vt_field *limits,
                 int64_t *value);
bool vt_read_float(const vt_reading *reading, const vt_yaml *node, const vt_field *limits,
                   double *value);
/* The shortest of 15, 16, 17 (floats: 6 to 9) digits that reads back as the same number. */
void vt_write_double(double value, enum vt_value_form form, vt_text *text);
void vt_write_float(float value, enum vt_value_form form, vt_text *text);

/* transforms.c; `node` is a list. */
bool vt_transforms_read(const vt_reading *reading, const vt_yaml *node, vt_transform_list *list);
void vt_transforms_write(const vt_transform_list *list, enum vt_value_form form, vt_text *text);

/* "the text 'abc'", "the integer 5", "a list": for messages. */
void vt_yaml_describe(const vt_yaml *node, vt_text *text);

#endif
