#include "base/text.h"

#include "base/mem.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

static bool reserve(vt_text *text, size_t extra)
{
    size_t need = text->size + extra + 1;
    if (text->failed)
        return false;
    if (need <= text->capacity)
        return true;
    size_t capacity = text->capacity ? text->capacity : 256;
    while (capacity < need)
        capacity *= 2;
    char *data = vt_realloc(text->data, capacity, 1);
    if (!data) {
        text->failed = true;
        return false;
    }
    text->data = data;
    text->capacity = capacity;
    return true;
}

void vt_text_printf(vt_text *text, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int size = vsnprintf(NULL, 0, format, args);
    va_end(args);
    if (size < 0 || !reserve(text, (size_t)size))
        return;
    va_start(args, format);
    vsnprintf(text->data + text->size, (size_t)size + 1, format, args);
    va_end(args);
    text->size += (size_t)size;
}

void vt_text_append(vt_text *text, const void *bytes, size_t size)
{
    if (!reserve(text, size))
        return;
    memcpy(text->data + text->size, bytes, size);
    text->size += size;
    text->data[text->size] = '\0';
}

void vt_text_release(vt_text *text)
{
    vt_free(text->data);
    *text = (vt_text){0};
}

int vt_edit_distance(const char *a, const char *b, int limit)
{
    enum { MAX = 64 };
    int n = (int)strlen(a), m = (int)strlen(b);
    int rows[3][MAX + 1];
    if (n > MAX || m > MAX || n - m > limit || m - n > limit)
        return limit + 1;
    for (int j = 0; j <= m; j++)
        rows[0][j] = j;
    for (int i = 1; i <= n; i++) {
        int *row = rows[i % 3], *above = rows[(i - 1) % 3], *two_above = rows[(i + 1) % 3];
        row[0] = i;
        for (int j = 1; j <= m; j++) {
            int best = above[j - 1] + (a[i - 1] != b[j - 1]);
            if (above[j] + 1 < best)
                best = above[j] + 1;
            if (row[j - 1] + 1 < best)
                best = row[j - 1] + 1;
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] &&
                two_above[j - 2] + 1 < best)
                best = two_above[j - 2] + 1;
            row[j] = best;
        }
    }
    return rows[n % 3][m] <= limit ? rows[n % 3][m] : limit + 1;
}

const char *vt_suggest(const char *word, const char *const *names, int n_names)
{
    int limit = (int)strlen(word) / 3 > 2 ? (int)strlen(word) / 3 : 2;
    const char *best = NULL;
    int best_distance = limit + 1;
    for (int i = 0; i < n_names; i++) {
        int distance = vt_edit_distance(word, names[i], limit);
        if (distance < best_distance) {
            best_distance = distance;
            best = names[i];
        }
    }
    return best;
}

bool vt_glob(const char *pattern, const char *text)
{
    const char *star = NULL, *resume = NULL;
    while (*text) {
        if (*pattern == '*') {
            star = pattern++;
            resume = text;
        } else if (*pattern == '?' || *pattern == *text) {
            pattern++;
            text++;
        } else if (star) {
            pattern = star + 1;
            text = ++resume;
        } else {
            return false;
        }
    }
    while (*pattern == '*')
        pattern++;
    return *pattern == '\0';
}

/* Bytes of the UTF-8 character at s, 0 if it is none; *code is its number. */
static size_t decode(const unsigned char *s, uint32_t *code)
{
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    size_t n = s[0] < 0x80           ? 1
               : (s[0] >> 5) == 0x06 ? 2
               : (s[0] >> 4) == 0x0e ? 3
               : (s[0] >> 3) == 0x1e ? 4
                                     : 0;
    *code = n == 1 ? s[0] : n ? s[0] & (0x7fu >> n) : 0;
    for (size_t i = 1; i < n; i++) {
        if ((s[i] & 0xc0) != 0x80)
            return 0;
        *code = *code << 6 | (s[i] & 0x3f);
    }
    bool surrogate = *code >= 0xd800 && *code < 0xe000;
    return n && *code >= least[n] && *code <= 0x10ffff && !surrogate ? n : 0;
}

static bool is_shown(uint32_t code)
{
    return code >= 0x20 && !(code >= 0x7f && code < 0xa0) && !(code >= 0x2028 && code <= 0x202e) &&
           !(code >= 0x2066 && code <= 0x2069) && code != 0x200e && code != 0x200f &&
           code != 0x61c && code != 0xfeff;
}

void vt_text_show(char *to, size_t size, const char *text)
{
    size_t at = 0;
    for (const unsigned char *s = (const unsigned char *)(text ? text : ""); *s && size;) {
        uint32_t code;
        size_t n = decode(s, &code);
        bool shown = n && is_shown(code);
        size_t bytes = shown ? n : 1;
        if (at + bytes >= size)
            break;
        memcpy(to + at, shown ? (const char *)s : "?", bytes);
        at += bytes;
        s += n ? n : 1;
    }
    if (size)
        to[at] = '\0';
}
