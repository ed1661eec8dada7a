/*
 * SVG figures for a page: an SVG of this program's (results/draw.h) as an element to put into HTML.
 *
 * What the caller must do: give every figure of a page another `prefix` (a letter first, then
 * letters, digits, - and _), put vt_svg_style() into the page's style element once, and say in
 * `alt` what the figure shows. The element then
 *
 *   - has a viewBox and no size: it fills its box up to the width it was drawn for, and shrinks on
 *     a phone;
 *   - has ids that begin with the prefix, and no title, script, or address outside the page;
 *   - has a transparent background and takes its colours from CSS variables (--vt-ink, --vt-soft,
 *     --vt-frame, --vt-grid, --vt-1 to --vt-8) with the colours of print behind them; the style
 * sets them for light and dark. To follow a switch of the page's own instead of the system, set the
 *     variables on an element around the figures;
 *   - keeps the colours of pictures and of the cells of confusion matrices, which are light with
 *     dark text in both.
 */
#ifndef VT_REPORT_SVG_H
#define VT_REPORT_SVG_H

#include "base/status.h"
#include "base/text.h"

/* Rules that set the variables above on :root, for light, dark and print. */
const char *vt_svg_style(void);

/* Appends the element. VT_ERR_DATA if the text is no such SVG or holds a script. */
vt_status vt_svg_inline(const char *svg, size_t size, const char *prefix, const char *alt,
                        vt_text *html, vt_error *err);
/* The same for the file NAME.svg in the folder. */
vt_status vt_svg_inline_file(int dir_fd, const char *name, const char *prefix, const char *alt,
                             vt_text *html, vt_error *err);

#endif
