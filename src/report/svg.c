#include "report/svg.h"

#include "base/fs.h"
#include "base/mem.h"
#include "report/escape.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FILE_CAP = 16 << 20 };

/* color in plots/style.gp, variable, color on dark */
#define COLOR_LIST(X)                                                                              \
    X(222222, "ink", "e6e6e6")                                                                     \
    X(555555, "soft", "b0b0b0")                                                                    \
    X(444444, "frame", "9a9a9a")                                                                   \
    X(d8d8d8, "grid", "3d3d3d")                                                                    \
    X(0072b2, "1", "5ab0ea")                                                                       \
    X(d55e00, "2", "ff8f4a")                                                                       \
    X(009e73, "3", "35c99a")                                                                       \
    X(cc79a7, "4", "e79cc6")                                                                       \
    X(c98500, "5", "e6b04d")                                                                       \
    X(3a9bd9, "6", "9bd0f5")                                                                       \
    X(7f7f7f, "8", "a8a8a8")

const char *vt_svg_style(void)
{
    return ":root{"
#define X(light, name, dark) "--vt-" name ":#" #light ";"
        COLOR_LIST(X) "}\n"
#undef X
                      "@media screen and (prefers-color-scheme:dark){:root{"
#define X(light, name, dark) "--vt-" name ":#" dark ";"
        COLOR_LIST(X) "}}\n"
#undef X
                      "svg.vt-figure{width:100%;height:auto;font-family:sans-serif}\n";
}

static const struct color {
    const char *rgb, *name;
} colors[] = {
#define X(light, name, dark) {#light, name},
    COLOR_LIST(X)
#undef X
};

/* Where the reading is, and what it writes. */
struct rewriting {
    const char *at, *end, *prefix;
    vt_text *out;
};

static bool begins(const struct rewriting *r, const char *text)
{
    size_t size = strlen(text);
    return (size_t)(r->end - r->at) >= size && memcmp(r->at, text, size) == 0;
}

static void print_color(const char *rgb, vt_text *out)
{
    for (size_t i = 0; i < sizeof colors / sizeof *colors; i++) {
        if (strcmp(colors[i].rgb, rgb) == 0) {
            vt_text_printf(out, "var(--vt-%s,#%s)", colors[i].name, rgb);
            return;
        }
    }
    vt_text_printf(out, "#%s", rgb);
}

/* "rgb( 68,  68,  68)"; false if it is not that. */
static bool rewrite_rgb(struct rewriting *r)
{
    char text[32], hex[8];
    unsigned red, green, blue;
    int used = 0;
    size_t size = (size_t)(r->end - r->at);
    snprintf(text, sizeof text, "%.*s", (int)(size < sizeof text ? size : sizeof text - 1), r->at);
    if (sscanf(text, "rgb(%u,%u,%u)%n", &red, &green, &blue, &used) != 3 || !used || red > 255 ||
        green > 255 || blue > 255)
        return false;
    snprintf(hex, sizeof hex, "%02x%02x%02x", red, green, blue);
    print_color(hex, r->out);
    r->at += used;
    return true;
}

/* An element with all in it goes; it holds none of its own name. */
static bool skip_element(struct rewriting *r, const char *open, const char *close)
{
    if (!begins(r, open))
        return false;
    const char *end = memmem(r->at, (size_t)(r->end - r->at), close, strlen(close));
    r->at = end ? end + strlen(close) : r->end;
    return true;
}

/* One piece of the text; what has no rule is copied. */
static void rewrite(struct rewriting *r)
{
    static const struct {
        const char *old, *new;
        bool prefixed;
    } words[] = {
        {" id='", " id='", true},
        {" id=\"", " id=\"", true},
        {"xlink:href='#", "href='#", true},
        {"xlink:href=\"#", "href=\"#", true},
        {"url(#", "url(#", true},
        {"xlink:href=", "href=", false},
        {"=\"black\"", "=\"var(--vt-ink,#222222)\"", false},
        {"='black'", "='var(--vt-ink,#222222)'", false},
        {"fill=\"#ffffff\"", "fill=\"none\"", false}, /* the paper */
        {" font-family=\"sans-serif\"", "", false},
    };
    if (skip_element(r, "<title>", "</title>") || skip_element(r, "<desc>", "</desc>") ||
        skip_element(r, "<filter", "</filter>"))
        return;
    if (begins(r, "rgb(") && rewrite_rgb(r))
        return;
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        if (!begins(r, words[i].old))
            continue;
        vt_text_printf(r->out, "%s%s", words[i].new, words[i].prefixed ? r->prefix : "");
        if (words[i].prefixed)
            vt_text_append(r->out, "-", 1);
        r->at += strlen(words[i].old);
        return;
    }
    vt_text_append(r->out, r->at++, 1);
}

vt_status vt_svg_inline(const char *svg, size_t size, const char *prefix, const char *alt,
                        vt_text *html, vt_error *err)
{
    static const char box[] = "viewBox=\"0 0 ";
    const char *start = memmem(svg, size, "<svg", 4);
    const char *view =
        start ? memmem(start, (size_t)(svg + size - start), box, sizeof box - 1) : NULL;
    const char *open = view ? memchr(view, '>', (size_t)(svg + size - view)) : NULL;
    const char *end = open ? memmem(open, (size_t)(svg + size - open), "</svg>", 6) : NULL;
    char *rest = NULL;
    if (!end || memmem(svg, size, "<script", 7))
        return vt_fail(err, VT_ERR_DATA, "not an SVG as figures are");
    view += sizeof box - 1;
    double width = strtod(view, &rest), height = strtod(rest, NULL);
    vt_text_printf(html,
                   "<svg class=\"vt-figure\" role=\"img\" viewBox=\"0 0 %g %g\" "
                   "style=\"max-width:%gpx\" aria-label=\"",
                   width, height, width);
    vt_escape(html, VT_ESCAPE_HTML, alt);
    vt_text_printf(html, "\">");
    struct rewriting r = {open + 1, end, prefix, html};
    while (r.at < r.end)
        rewrite(&r);
    vt_text_printf(html, "</svg>\n");
    return html->failed ? vt_fail(err, VT_ERR_NOMEM, "no memory for a figure") : VT_OK;
}

vt_status vt_svg_inline_file(int dir_fd, const char *name, const char *prefix, const char *alt,
                             vt_text *html, vt_error *err)
{
    char file[VT_NAME_MAX + 8], *bytes = NULL;
    size_t size = 0;
    snprintf(file, sizeof file, "%s.svg", name);
    vt_status status = vt_fs_read_file(dir_fd, file, FILE_CAP, &bytes, &size, err);
    if (status == VT_OK)
        status = vt_svg_inline(bytes, size, prefix, alt, html, err);
    vt_free(bytes);
    return status;
}
