/*
 * A run's config.yaml as a plain list of keys and values, for comparing runs of any version: the
 * schema is not asked, so unknown keys are kept like others.
 *
 * A key is "key" or "section.key"; its value is the text on one line, lists and maps in flow form
 * ("[a, b]", "{k: v}").
 */
#ifndef VT_REPORT_SETTINGS_H
#define VT_REPORT_SETTINGS_H

#include "config/store.h"
#include "report/outcome.h"

/* Reads the file of the run folder `dir_fd`; the list lives in `store`, ascending by key.
 * VT_ERR_NOINPUT, VT_ERR_DATA (not such a file), VT_ERR_IO, VT_ERR_NOMEM. */
vt_status vt_settings_read(vt_setting **setting, int *n, int dir_fd, vt_store *store,
                           vt_error *err);

/* Keys that came later (vt_config_field) and are not among the *n settings join them with their
 * defaults, which is what a run of an older version did. `setting` has room for vt_settings_later()
 * more; afterwards it ascends by key. */
int vt_settings_later(void);
void vt_settings_complete(vt_setting *setting, int *n);

#endif
