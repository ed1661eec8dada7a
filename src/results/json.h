/*
 * JSON files that people read and git keeps: keys sorted, two-space indent, reals with 17 digits
 * (so that they read back unchanged). JSON has no NaN or infinities: they are the strings "nan",
 * "inf" and "-inf".
 */
#ifndef VT_RESULTS_JSON_H
#define VT_RESULTS_JSON_H

#include "base/status.h"
#include "base/text.h"

#include <jansson.h>

/* New values for json_pack's "o"; NULL only for lack of memory. */
json_t *vt_json_real(double value);
/* `fallback` (NULL: the JSON null) stands for a text that is NULL or not UTF-8. */
json_t *vt_json_text(const char *text, const char *fallback);
/* Appends `root` as text with a last newline, and drops it in every case; NULL is VT_ERR_NOMEM. */
vt_status vt_json_print(vt_text *text, json_t *root, vt_error *err);
/* Publishes `root` as the file `name` and drops it in every case; a NULL root is VT_ERR_NOMEM. */
vt_status vt_json_publish(int dir_fd, const char *name, json_t *root, vt_error *err);
/* Reads a file of at most `cap` bytes; duplicate keys are refused. VT_ERR_NOINPUT, VT_ERR_DATA with
 * the place of the error, VT_ERR_IO. */
vt_status vt_json_read(int dir_fd, const char *name, size_t cap, json_t **root, vt_error *err);

#endif
