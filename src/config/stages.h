/* The parts of a hybrid network as values of the experiment file: inside of src/config only. */
#ifndef VT_CONFIG_STAGES_H
#define VT_CONFIG_STAGES_H

#include "config/value.h"

/* `path` is the key's, for messages. A stem or head, {key: value, ...}: */
bool vt_part_read(const char *path, const char *word, const vt_yaml *node, vt_stage *part,
                  vt_store *store, vt_diagnostics *diags);
void vt_part_write(const char *word, const vt_stage *part, enum vt_value_form form, vt_text *text);
/* A list of {block: word, key: value, ...}: */
bool vt_stages_read(const char *path, const vt_yaml *node, vt_stage_list *list, vt_store *store,
                    vt_diagnostics *diags);
void vt_stages_write(const vt_stage_list *list, enum vt_value_form form, vt_text *text);

/* Appends "conv {dim: 0, ...}, ..." or one part's keys: for the schema. */
void vt_stages_describe(vt_text *text);
void vt_part_describe(const char *word, vt_text *text);

#endif
