/* Growable text, edit distance, suggestions. */
#ifndef VT_BASE_TEXT_H
#define VT_BASE_TEXT_H

#include <stdbool.h>
#include <stddef.h>

/* Text that grows as it is written. Start with {0}; release with vt_text_release. */
typedef struct vt_text {
    char *data; /* always terminated once something was written; NULL before */
    size_t size;
    size_t capacity;
    bool failed; /* an allocation failed: the text is incomplete */
} vt_text;

void vt_text_printf(vt_text *text, const char *format, ...) __attribute__((format(printf, 2, 3)));
void vt_text_append(vt_text *text, const void *bytes, size_t size);
void vt_text_release(vt_text *text);

/* Levenshtein distance, adjacent transpositions counted as one; at most `limit` + 1. */
int vt_edit_distance(const char *a, const char *b, int limit);
/* The name nearest to `word` within distance 2 (or a third of its length), else NULL. */
const char *vt_suggest(const char *word, const char *const *names, int n_names);
/* True if `text` matches `pattern`, where `*` stands for any characters and `?` for one. */
bool vt_glob(const char *pattern, const char *text);

/* Copies other people's text for showing on one line: control characters (C0, DEL, C1, U+2028/9,
 * those that change the direction of writing) and bytes that are no UTF-8 become '?'; cut before a
 * character that does not fit. NULL is "". */
void vt_text_show(char *to, size_t size, const char *text);

#endif
