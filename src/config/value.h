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

/* "the text 'abc'", "the integer 5", "a list": for messages. */
void vt_yaml_describe(const vt_yaml *node, vt_text *text);

#endif
