/* What `train` says of a finished run and its baseline. */
#ifndef VT_REPORT_BASELINE_LINE_H
#define VT_REPORT_BASELINE_LINE_H

#include "base/text.h"
#include "config/config.h"

/* "baseline NAME: PASS  test.top1 94.12 in [93.67, 94.59]  (5 seeds, test.top1 94.13 +- 0.15)\n" of
 * the complete run in the folder `path`, NAME being the configuration's; nothing if there is no
 * such baseline. */
void vt_baseline_line(const vt_config *config, const char *results, const char *path,
                      vt_text *line);

#endif
