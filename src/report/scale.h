/* Axes and places: where the numbers of a figure's axes go, and its labels. */
#ifndef VT_REPORT_SCALE_H
#define VT_REPORT_SCALE_H

#include "base/text.h"

#include <stdbool.h>
#include <stdint.h>

/* Starts as {1, 0}, which holds nothing. */
typedef struct vt_range {
    double min, max;
} vt_range;
/* A value that is not finite changes nothing. */
void vt_range_add(vt_range *range, double value);

typedef struct vt_scale {
    double min, max, step;
    bool log; /* step is not used: every power of ten has a tick, and 2 and 5 times it, where there
                 is room */
} vt_scale;

/* An axis around the range with steps of 1, 2, 2.5 or 5 times a power of ten, about `ticks` of
 * them; it begins at 0 if the range begins near it. Never empty, whatever the range. */
vt_scale vt_scale_of_values(vt_range range, int ticks);
/* A logarithmic axis around a range of positive values, from a tick to a tick. */
vt_scale vt_scale_of_logs(vt_range range);
/* An axis of whole epochs. */
vt_scale vt_scale_of_epochs(double first, double last, int ticks);

/* Where a value lies on the axis: 0 at its beginning, 1 at its end. */
double vt_scale_place(const vt_scale *axis, double value);
/* Appends its ticks as gnuplot's list: ("0" 0, "0.5" 0.5). Numbers are shown divided by
 * 10^exponent and followed by `unit`; with NULL they are not shown. */
void vt_scale_print(const vt_scale *axis, int exponent, const char *unit, vt_text *text);
/* The longest of the numbers shown, in characters. */
int vt_scale_characters(const vt_scale *axis, int exponent);
/* The exponent by which the numbers of the axis get short: -3 for 0.002, 6 for 2000000, else 0. */
int vt_scale_exponent(const vt_scale *axis);

/* Moves the n <= 16 places (in any order) apart until neighbours are `gap` from each other, as
 * little as possible, within [min, max] if they fit. Their order by size is kept; equal ones stay
 * in the order given, the first lowest. */
void vt_places_spread(double *place, int n, double gap, double min, double max);

#endif
