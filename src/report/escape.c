#include "report/escape.h"

#include <stdint.h>
#include <string.h>

typedef struct range {
    uint32_t first, last;
} range;

static bool holds(const range *ranges, int n, uint32_t code)
{
    for (int i = 0; i < n; i++)
        if (code >= ranges[i].first && code <= ranges[i].last)
            return true;
    return false;
}

/* Bytes of the character at `s` (RFC 3629), 0 if there is none; the terminator is one of one. */
static int decode(const char *s, uint32_t *code)
{
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    unsigned char first = (unsigned char)s[0];
    *code = first;
    if (first < 0x80)
        return 1;
    int n = first >= 0xf0 && first < 0xf8 ? 4 : first >= 0xe0 ? 3 : first >= 0xc0 ? 2 : 0;
    if (n == 0 || first >= 0xf8)
        return 0;
    *code = first & (0x7fu >> n);
    for (int i = 1; i < n; i++) {
        if (((unsigned char)s[i] & 0xc0) != 0x80)
            return 0;
        *code = *code << 6 | ((unsigned char)s[i] & 0x3f);
    }
    bool surrogate = *code >= 0xd800 && *code <= 0xdfff;
    return *code >= least[n] && *code <= 0x10ffff && !surrogate ? n : 0;
}

/* C1 controls, marks of direction, separators of lines, and what has no width and no use here. The
 * joiners U+200C and U+200D belong to words and stay. */
static bool is_unseen(uint32_t code)
{
    static const range ranges[] = {
        {0x80, 0x9f},     {0xad, 0xad},     {0x61c, 0x61c},   {0x200b, 0x200b}, {0x200e, 0x200f},
        {0x2028, 0x202e}, {0x2060, 0x206f}, {0xfeff, 0xfeff}, {0xfff9, 0xfffb}, {0xe0000, 0xe007f}};
    return holds(ranges, (int)(sizeof ranges / sizeof *ranges), code);
}

/* Appends the character of `n` bytes at `s`, or what is shown in its place. */
static void show(vt_text *out, vt_escape_kind kind, const char *s, int n, uint32_t code)
{
    bool is_break = n == 1 && (code == '\n' || code == '\t' || code == '\r');
    if (n == 0)
        vt_text_printf(out, "\\x%02x", (unsigned char)*s);
    else if (kind == VT_ESCAPE_JSON || (kind == VT_ESCAPE_CSV && is_break))
        vt_text_append(out, s, (size_t)n);
    else if (kind == VT_ESCAPE_TSV && code == '\\')
        vt_text_append(out, "\\\\", 2);
    else if (is_break)
        vt_text_append(out, code == '\n' ? "\\n" : code == '\t' ? "\\t" : "\\r", 2);
    else if (code < 0x20 || code == 0x7f)
        vt_text_printf(out, "\\x%02x", (unsigned)code);
    else if (is_unseen(code))
        vt_text_printf(out, "\\u{%x}", (unsigned)code);
    else
        vt_text_append(out, s, (size_t)n);
}

static void quote_csv(vt_text *out, const char *s)
{
    size_t size = strlen(s);
    bool blank_edge = size && (s[0] == ' ' || s[size - 1] == ' ');
    if (!blank_edge && !strpbrk(s, ",\"\n\r")) {
        vt_text_append(out, s, size);
        return;
    }
    vt_text_append(out, "\"", 1);
    for (; *s; s++)
        vt_text_append(out, *s == '"' ? "\"\"" : s, *s == '"' ? 2 : 1);
    vt_text_append(out, "\"", 1);
}

static void escape_html(vt_text *out, const char *s)
{
    for (; *s; s++) {
        const char *instead = *s == '&'    ? "&amp;"
                              : *s == '<'  ? "&lt;"
                              : *s == '>'  ? "&gt;"
                              : *s == '"'  ? "&quot;"
                              : *s == '\'' ? "&#39;"
                                           : NULL;
        vt_text_append(out, instead ? instead : s, instead ? strlen(instead) : 1);
    }
}

static bool is_word(char c)
{
    return (c >= '0' && c <= '9') || ((c | 32) >= 'a' && (c | 32) <= 'z');
}

/* An underscore inside a word means nothing in GitHub's Markdown, so names stay readable raw. */
static void escape_markdown(vt_text *out, const char *s)
{
    for (const char *begin = s; *s; s++) {
        bool inside = *s == '_' && s > begin && is_word(s[-1]) && is_word(s[1]);
        if (*s == '&' || *s == '<' || *s == '>')
            vt_text_printf(out, "%s", *s == '&' ? "&amp;" : *s == '<' ? "&lt;" : "&gt;");
        else if (strchr("\\`*_[]|~$", *s) && !inside)
            vt_text_printf(out, "\\%c", *s);
        else
            vt_text_append(out, s, 1);
    }
}

/* Brackets and stars would be read as arguments of a "\\" before them; two hyphens as a dash. */
static void escape_tex(vt_text *out, const char *s)
{
    static const struct {
        const char *from, *to;
    } map[] = {
        {"\\", "\\textbackslash{}"},
        {"{", "\\{"},
        {"}", "\\}"},
        {"$", "\\$"},
        {"&", "\\&"},
        {"#", "\\#"},
        {"_", "\\_"},
        {"%", "\\%"},
        {"~", "\\textasciitilde{}"},
        {"^", "\\textasciicircum{}"},
        {"<", "\\textless{}"},
        {">", "\\textgreater{}"},
        {"|", "\\textbar{}"},
        {"\"", "\\textquotedbl{}"},
        {"[", "{[}"},
        {"]", "{]}"},
        {"*", "{*}"},
        {"--", "-{}"},
        {"±", "\\ensuremath{\\pm}"},
        {"×", "\\ensuremath{\\times}"},
        {"Δ", "\\ensuremath{\\Delta}"},
        {"−", "\\ensuremath{-}"},
        {"≤", "\\ensuremath{\\le}"},
        {"≥", "\\ensuremath{\\ge}"},
        {"→", "\\ensuremath{\\rightarrow}"},
        {"–", "--"},
        {"—", "---"},
        {"…", "\\ldots{}"},
    };
    while (*s) {
        size_t used = 0;
        for (size_t i = 0; i < sizeof map / sizeof *map && !used; i++) {
            size_t size = strlen(map[i].from);
            if (strncmp(s, map[i].from, size) != 0)
                continue;
            vt_text_printf(out, "%s", map[i].to);
            used = size == 2 && *s == '-' ? 1 : size;
        }
        if (!used)
            vt_text_append(out, s, 1);
        s += used ? used : 1;
    }
}

void vt_escape(vt_text *out, vt_escape_kind kind, const char *text)
{
    vt_text shown = {0};
    uint32_t code;
    if (!text)
        return;
    vt_text_append(&shown, "", 0);
    for (int n; *text; text += n ? n : 1) {
        n = decode(text, &code);
        show(&shown, kind, text, n, code);
    }
    if (shown.failed)
        out->failed = true;
    else if (kind == VT_ESCAPE_MARKDOWN)
        escape_markdown(out, shown.data);
    else if (kind == VT_ESCAPE_CSV)
        quote_csv(out, shown.data);
    else if (kind == VT_ESCAPE_TEX)
        escape_tex(out, shown.data);
    else if (kind == VT_ESCAPE_HTML)
        escape_html(out, shown.data);
    else
        vt_text_append(out, shown.data, shown.size);
    vt_text_release(&shown);
}

int vt_escape_width(const char *text)
{
    /* The blocks of Unicode's East Asian Width W and F, and pictographs; marks that combine. */
    static const range wide[] = {
        {0x1100, 0x115f},   {0x2e80, 0x303e},   {0x3041, 0xa4cf},   {0xa960, 0xa97f},
        {0xac00, 0xd7a3},   {0xf900, 0xfaff},   {0xfe30, 0xfe6f},   {0xff01, 0xff60},
        {0xffe0, 0xffe6},   {0x16fe0, 0x18cff}, {0x1aff0, 0x1b2ff}, {0x1f300, 0x1f64f},
        {0x1f680, 0x1f6ff}, {0x1f900, 0x1f9ff}, {0x1fa70, 0x1faff}, {0x20000, 0x3fffd}};
    static const range combining[] = {{0x300, 0x36f},   {0x483, 0x489},   {0x591, 0x5bd},
                                      {0x610, 0x61a},   {0x64b, 0x65f},   {0x1ab0, 0x1aff},
                                      {0x1dc0, 0x1dff}, {0x200c, 0x200d}, {0x20d0, 0x20ff},
                                      {0xfe00, 0xfe0f}, {0xfe20, 0xfe2f}, {0xe0100, 0xe01ef}};
    int width = 0;
    uint32_t code;
    for (int n; *text; text += n ? n : 1) {
        n = decode(text, &code);
        if (n && holds(wide, (int)(sizeof wide / sizeof *wide), code))
            width += 2;
        else if (!n || !holds(combining, (int)(sizeof combining / sizeof *combining), code))
            width++;
    }
    return width;
}
