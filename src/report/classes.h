/*
 * The accuracy of each class, sorted by that of the first group: dots, with whiskers of one sample
 * standard deviation over the seeds where there are several.
 */
#ifndef VT_REPORT_CLASSES_H
#define VT_REPORT_CLASSES_H

#include "report/matrix.h"

enum { VT_CLASSES_GROUPS_MAX = 4 };

/* Draws all classes, or of many the best and the worst ones. Groups must have the same classes
 * (VT_ERR_DATA); at most VT_CLASSES_GROUPS_MAX (VT_ERR_USAGE). The table has all classes. */
vt_status vt_classes_draw(const vt_place *place, const vt_groups *groups, vt_split split,
                          int64_t epoch, vt_error *err);

#endif
