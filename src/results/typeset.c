#include "results/typeset.h"

#include <stdbool.h>
#include <string.h>

enum { FIRST = ' ', LAST = '~', OTHER = 650, WIDE = 1000, ELLIPSIS = 1000 };

/* Thousandths of the font's size, from blank to tilde. */
static const short widths[LAST - FIRST + 1] = {
    318, 401, 460, 838, 636, 950, 780, 275, 390, 390, 500, 838, 318, 361,  318, 337, 636, 636, 636,
    636, 636, 636, 636, 636, 636, 636, 337, 337, 838, 838, 838, 531, 1000, 684, 686, 698, 770, 632,
    575, 775, 752, 295, 295, 656, 557, 863, 748, 787, 603, 787, 695, 635,  611, 732, 684, 989, 685,
    611, 685, 390, 337, 390, 838, 500, 500, 613, 635, 550, 635, 615, 352,  635, 634, 278, 278, 579,
    278, 974, 634, 612, 635, 635, 411, 521, 392, 634, 592, 818, 592, 592,  525, 636, 337, 636, 838,
};

/* Bytes of the character at `c`, which is not the end; a broken one is one byte. */
static size_t character_size(const char *c)
{
    unsigned char first = (unsigned char)*c;
    size_t size = first < 0xc0 ? 1 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
    for (size_t i = 1; i < size; i++)
        if (((unsigned char)c[i] & 0xc0) != 0x80)
            return 1;
    return size;
}

/* From U+1100 on a character may be as wide as it is high. */
static int character_width(const char *c)
{
    unsigned char first = (unsigned char)*c;
    if (first >= FIRST && first <= LAST)
        return widths[first - FIRST];
    if (first >= 0xe2 || (first == 0xe1 && (unsigned char)c[1] >= 0x84))
        return WIDE;
    return OTHER;
}

double vt_text_width(const char *text, double points)
{
    double sum = 0;
    for (; *text; text += character_size(text))
        sum += character_width(text);
    return sum / 1000 * points / 72;
}

/* Appends the bytes [from, to) as far as there is room. */
static void append(char *text, size_t size, const char *from, const char *to)
{
    size_t n = strlen(text);
    while (from < to) {
        size_t step = character_size(from);
        if (n + step + 1 > size)
            break;
        memcpy(text + n, from, step);
        n += step;
        from += step;
    }
    text[n] = '\0';
}

void vt_text_shorten(const char *text, double width, double points, char *short_text, size_t size)
{
    const char *end = text + strlen(text), *head = text, *tail = end;
    static const char ellipsis[] = "…";
    double room = width * 72 / points * 1000 - ELLIPSIS, used = 0;
    *short_text = '\0';
    if (vt_text_width(text, points) <= width) {
        append(short_text, size, text, end);
        return;
    }
    /* One character of the beginning, one of the end, and so on while there is room. */
    for (bool front = true; head < tail; front = !front) {
        const char *next = tail;
        if (front) {
            next = head;
        } else {
            do
                next--;
            while (next > head && ((unsigned char)*next & 0xc0) == 0x80);
        }
        used += character_width(next);
        if (used > room)
            break;
        if (front)
            head += character_size(head);
        else
            tail = next;
    }
    append(short_text, size, text, head);
    append(short_text, size, ellipsis, ellipsis + strlen(ellipsis));
    append(short_text, size, tail, end);
}
