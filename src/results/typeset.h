/*
 * How much room text takes in a figure. Widths are those of DejaVu Sans, which is wider than most:
 * what fits in it fits in another sans-serif font too.
 */
#ifndef VT_RESULTS_TYPESET_H
#define VT_RESULTS_TYPESET_H

#include <stddef.h>

/* Width of UTF-8 text in inches at a size in points. */
double vt_text_width(const char *text, double points);

/* Writes the text so that it is at most `width` inches wide: its middle gives way to an ellipsis.
 * Never cuts a character in two. */
void vt_text_shorten(const char *text, double width, double points, char *short_text, size_t size);

#endif
