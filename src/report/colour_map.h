/* One colour map for all pictures: dark blue over green to yellow, perceptually even and readable
 * for every kind of sight and in grey (the course of matplotlib's viridis, by nine points). */
#ifndef VT_REPORT_COLOUR_MAP_H
#define VT_REPORT_COLOUR_MAP_H

#include <stdint.h>

/* Red, green, blue at place u, which is cut to [0, 1]; a middle grey for NaN. */
void vt_colour_at(double u, uint8_t rgb[3]);

#endif
