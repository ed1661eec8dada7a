/* Which keys differ between the rows of a comparison, and what makes it unfair. */
#include "base/mem.h"
#include "config/config.h"
#include "report/compare_parts.h"

#include <inttypes.h>
#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool vt_compare_key_counts(const char *key)
{
    for (int i = 0; i < vt_config_field_count(); i++) {
        vt_config_field field = vt_config_field_at(i);
        if (strcmp(field.path, key) == 0)
            return field.identity;
    }
    return true;
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static bool same_setting(const char *a, const char *b)
{
    return a != VT_COMPARE_SEVERAL && b != VT_COMPARE_SEVERAL &&
           (a == b || (a && b && strcmp(a, b) == 0));
}

static bool differs(const vt_compare *compare, const char *key)
{
    const char *first = vt_compare_setting(compare, 0, key);
    bool same = first != VT_COMPARE_SEVERAL;
    for (int i = 1; same && i < compare->n_rows; i++)
        same = same_setting(first, vt_compare_setting(compare, i, key));
    return !same;
}

bool vt_compare_find_keys(vt_compare *compare)
{
    size_t n = 0, room = 0;
    for (int i = 0; i < compare->n_rows; i++)
        for (int k = 0; k < compare->row[i].n; k++)
            room += (size_t)compare->row[i].run[k]->n_settings;
    const char **key = vt_calloc(room + 1, sizeof *key);
    compare->differing = vt_calloc(room + 1, sizeof *key);
    compare->identical = vt_calloc(room + 1, sizeof *key);
    if (!key || !compare->differing || !compare->identical) {
        vt_free(key);
        return false;
    }
    for (int i = 0; i < compare->n_rows; i++)
        for (int k = 0; k < compare->row[i].n; k++)
            for (int s = 0; s < compare->row[i].run[k]->n_settings; s++)
                key[n++] = compare->row[i].run[k]->setting[s].key;
    qsort(key, n, sizeof *key, by_text);
    for (size_t i = 0; i < n; i++) {
        if ((i > 0 && strcmp(key[i], key[i - 1]) == 0) || !vt_compare_key_counts(key[i]))
            continue;
        if (differs(compare, key[i]))
            compare->differing[compare->n_differing++] = key[i];
        else
            compare->identical[compare->n_identical++] = key[i];
    }
    vt_free(key);
    return true;
}

void vt_compare_name_rows(const vt_compare *compare, const bool *row, vt_text *text)
{
    enum { MOST = 8 };
    int named = 0, more = 0;
    for (int i = 0; i < compare->n_rows; i++) {
        if (row[i] && named < MOST)
            vt_text_printf(text, "%s%s", named++ ? ", " : "", compare->row[i].mark);
        else if (row[i])
            more++;
    }
    if (more)
        vt_text_printf(text, " and %d more", more);
}

/* Notes under way: no memory is remembered to the end. */
typedef struct notes {
    vt_compare *compare;
    bool failed;
} notes;

/* Takes the text; `row` is copied. */
static void add_note(notes *to, bool unfair, vt_text *text, const bool *row)
{
    vt_compare *c = to->compare;
    vt_compare_note *note = vt_realloc(c->note, (size_t)c->n_notes + 1, sizeof *note);
    bool *rows = vt_calloc((size_t)c->n_rows, sizeof *rows);
    if (note)
        c->note = note;
    if (!note || !rows || text->failed) {
        to->failed = true;
        vt_free(rows);
        vt_text_release(text);
        return;
    }
    memcpy(rows, row, (size_t)c->n_rows * sizeof *rows);
    c->note[c->n_notes++] = (vt_compare_note){unfair, text->data, rows};
}

/* What a row has under some aspect, as text. */
typedef const char *value_of(const vt_compare *compare, int row, const char *key, char buffer[64]);

/* If the rows differ in the aspect: a note "ABOUT differs: X (A, C), Y (B)", for the rows that are
 * not as the reference is. */
static void note_if_different(notes *to, bool unfair, const char *about, value_of *value,
                              const char *key)
{
    const vt_compare *c = to->compare;
    size_t n = (size_t)c->n_rows;
    bool *row = vt_calloc(n, sizeof *row), *told = vt_calloc(n, sizeof *told);
    bool *other = vt_calloc(n, sizeof *other);
    char(*text)[64] = vt_calloc(n, sizeof *text);
    int n_values = 0;
    vt_text line = {0};
    if (!row || !told || !other || !text) {
        to->failed = true;
        goto out;
    }
    for (size_t i = 0; i < n; i++) {
        char buffer[64];
        const char *v = value(c, (int)i, key, buffer);
        snprintf(text[i], sizeof text[i], "%.60s", v ? v : "none");
    }
    vt_text_printf(&line, "%s: ", about);
    for (size_t i = 0; i < n; i++) {
        other[i] = strcmp(text[i], text[c->reference]) != 0;
        if (told[i])
            continue;
        for (size_t k = i; k < n; k++) {
            row[k] = strcmp(text[k], text[i]) == 0;
            told[k] = told[k] || row[k];
        }
        for (size_t k = 0; k < i; k++)
            row[k] = false;
        if (++n_values <= 6) {
            vt_text_printf(&line, "%s%s (", n_values > 1 ? ", " : "", text[i]);
            vt_compare_name_rows(c, row, &line);
            vt_text_printf(&line, ")");
        }
    }
    if (n_values > 6)
        vt_text_printf(&line, " and %d more", n_values - 6);
    to->failed = to->failed || line.failed;
    if (n_values > 1) {
        add_note(to, unfair, &line, other);
        line = (vt_text){0};
    }
out:
    vt_text_release(&line);
    vt_free(text);
    vt_free(other);
    vt_free(told);
    vt_free(row);
}

static const char *setting_value(const vt_compare *compare, int row, const char *key,
                                 char buffer[64])
{
    (void)buffer;
    return vt_compare_setting(compare, row, key);
}

static const char *epochs_value(const vt_compare *compare, int row, const char *key,
                                char buffer[64])
{
    const vt_compare_row *r = &compare->row[row];
    (void)key;
    for (int i = 1; i < r->n; i++)
        if (r->run[i]->epochs != r->run[0]->epochs)
            return VT_COMPARE_SEVERAL;
    snprintf(buffer, 64, "%" PRId64, r->run[0]->epochs);
    return buffer;
}

/* "several" or the first 12 characters of what all runs of the row share. */
static const char *common_text(const vt_compare_row *r, size_t offset, char buffer[64])
{
    const char *first = (const char *)r->run[0] + offset;
    for (int i = 1; i < r->n; i++)
        if (strcmp((const char *)r->run[i] + offset, first) != 0)
            return VT_COMPARE_SEVERAL;
    snprintf(buffer, 64, "%.60s", *first ? first : "unknown");
    return buffer;
}

static const char *numerics_value(const vt_compare *compare, int row, const char *key,
                                  char buffer[64])
{
    const char *text = common_text(&compare->row[row], offsetof(vt_outcome, numerics), buffer);
    (void)key;
    if (text == buffer)
        buffer[12] = '\0';
    return text;
}

static const char *commit_value(const vt_compare *compare, int row, const char *key,
                                char buffer[64])
{
    const char *text = common_text(&compare->row[row], offsetof(vt_outcome, commit), buffer);
    (void)key;
    if (text == buffer && strlen(buffer) >= 40) {
        const char *dirty = strchr(buffer, '-');
        snprintf(buffer + 12, 64 - 12, "%s", dirty ? "-dirty" : "");
    }
    return text;
}

static const char *machine_value(const vt_compare *compare, int row, const char *key,
                                 char buffer[64])
{
    (void)key;
    return common_text(&compare->row[row], offsetof(vt_outcome, machine), buffer);
}

static const char *threads_value(const vt_compare *compare, int row, const char *key,
                                 char buffer[64])
{
    const vt_compare_row *r = &compare->row[row];
    (void)key;
    for (int i = 1; i < r->n; i++)
        if (r->run[i]->threads != r->run[0]->threads)
            return VT_COMPARE_SEVERAL;
    snprintf(buffer, 64, "%d", r->run[0]->threads);
    return buffer;
}

static bool other_images(const vt_compare_row *row, const vt_compare_row *ref)
{
    bool seeded = vt_compare_seeded_data(row->run[0]) || vt_compare_seeded_data(ref->run[0]);
    for (int i = 0; i < row->n; i++)
        for (int k = 0; k < ref->n; k++)
            if ((!seeded || row->run[i]->seed == ref->run[k]->seed) &&
                strcmp(row->run[i]->data_digest, ref->run[k]->data_digest) != 0)
                return true;
    return false;
}

/* The images, which limits and the held-out part change too: the reason is named if known. */
static void note_data(notes *to, bool *row)
{
    static const char *const keys[] = {"data.name",        "data.labels",     "data.val",
                                       "data.limit_train", "data.limit_test", "data.test_share"};
    const vt_compare *c = to->compare;
    int before = c->n_notes, n = 0;
    vt_text text = {0};
    for (size_t k = 0; k < sizeof keys / sizeof *keys; k++) {
        char about[64];
        snprintf(about, sizeof about, "other images, %s", keys[k]);
        note_if_different(to, true, about, setting_value, keys[k]);
    }
    for (int i = 0; i < c->n_rows; i++)
        n += row[i] = other_images(&c->row[i], &c->row[c->reference]);
    if (n == 0 || c->n_notes > before)
        return;
    vt_text_printf(&text, "other images than in the reference's runs, by the digest of the data: ");
    vt_compare_name_rows(c, row, &text);
    add_note(to, true, &text, row);
}

static void note_seeds(notes *to, bool *row)
{
    const vt_compare *c = to->compare;
    const vt_compare_row *ref = &c->row[c->reference];
    vt_text text = {0};
    int n = 0, partly = 0;
    for (int i = 0; i < c->n_rows; i++)
        n += row[i] = c->row[i].n == 1;
    if (n > 0) {
        vt_text_printf(&text, "n = 1, so no deviation and no interval: ");
        vt_compare_name_rows(c, row, &text);
        add_note(to, false, &text, row);
        text = (vt_text){0};
    }
    for (int i = 0; i < c->n_rows; i++) {
        bool same = c->row[i].n == ref->n;
        for (int k = 0; same && k < ref->n; k++)
            same = c->row[i].run[k]->seed == ref->run[k]->seed;
        row[i] = !same && c->row[i].n > 1 && ref->n > 1;
        partly += row[i];
    }
    if (partly > 0) {
        vt_text_printf(&text, "other seeds than the reference: ");
        vt_compare_name_rows(c, row, &text);
        add_note(to, true, &text, row);
    }
}

static void note_rows(notes *to, bool *row)
{
    const vt_compare *c = to->compare;
    vt_text text = {0};
    int older = 0, n = 0;
    for (int i = 0; i < c->n_rows; i++) {
        row[i] = c->row[i].n_older > 0;
        older += c->row[i].n_older;
    }
    if (older) {
        vt_text_printf(&text, "%d older run%s of the same seeds left out: ", older,
                       older > 1 ? "s" : "");
        vt_compare_name_rows(c, row, &text);
        add_note(to, false, &text, row);
        text = (vt_text){0};
    }
    for (int i = 0; i < c->n_rows; i++) {
        row[i] = false;
        for (int k = 1; k < c->row[i].n; k++)
            row[i] = row[i] || strcmp(c->row[i].run[k]->exp_id, c->row[i].run[0]->exp_id) != 0;
        n += row[i];
    }
    if (n) {
        vt_text_printf(&text, "means over several configurations: ");
        vt_compare_name_rows(c, row, &text);
        add_note(to, true, &text, row);
    }
}

/* A note on every row that has the setting. */
static void note_setting(notes *to, bool *row, bool unfair, const char *key, const char *value,
                         const char *about)
{
    const vt_compare *c = to->compare;
    vt_text text = {0};
    int n = 0;
    for (int i = 0; i < c->n_rows; i++) {
        const char *v = vt_compare_setting(c, i, key);
        n += row[i] = v && (v == VT_COMPARE_SEVERAL || strcmp(v, value) == 0);
    }
    if (!n)
        return;
    vt_text_printf(&text, "%s: ", about);
    vt_compare_name_rows(c, row, &text);
    add_note(to, unfair, &text, row);
}

/* What the test images alone can do. */
static void note_sampling(notes *to, bool *row)
{
    const vt_compare *c = to->compare;
    double least = INFINITY, most = 0, quantile = vt_student_quantile(0.5 + c->level / 2, 1e9);
    double of_reference = vt_compare_sampling_error(c, c->reference, c->metric);
    vt_text text = {0};
    int n = 0;
    for (int i = 0; i < c->n_rows; i++) {
        double error = vt_compare_sampling_error(c, i, c->metric);
        row[i] = false;
        if (isnan(error))
            continue;
        least = error < least ? error : least;
        most = error > most ? error : most;
        double both = quantile * sqrt(error * error + of_reference * of_reference);
        double difference = vt_compare_difference_of(c, i, c->metric).d.value;
        n += row[i] = i != c->reference && fabs(difference) < both;
    }
    if (isinf(least))
        return;
    vt_text_printf(&text, "test sampling: another set of as many images would move %s by %.2f",
                   c->metric->name, 100 * least);
    if (most - least >= 0.00005)
        vt_text_printf(&text, " to %.2f", 100 * most);
    vt_text_printf(&text, " points (standard error)");
    if (n) {
        vt_text_printf(&text,
                       "; differences that two such sets can make (%.4g %%): ", 100 * c->level);
        vt_compare_name_rows(c, row, &text);
    }
    add_note(to, false, &text, row);
}

/* With many intervals some miss by chance. */
static void note_many(notes *to, bool *row)
{
    enum { MANY = 6 };
    const vt_compare *c = to->compare;
    vt_text text = {0};
    int n = 0;
    for (int i = 0; i < c->n_rows; i++) {
        row[i] = i != c->reference && !isnan(vt_compare_difference_of(c, i, c->metric).d.low);
        n += row[i];
    }
    if (n < MANY)
        return;
    vt_text_printf(&text, "of %d intervals of %.4g %%, %.2g are expected to miss by chance", n,
                   100 * c->level, n * (1 - c->level));
    add_note(to, false, &text, row);
}

static void note_left_out(notes *to, bool *row)
{
    enum { MOST = 5 };
    const vt_compare *c = to->compare;
    vt_text text = {0};
    if (!c->n_left_out)
        return;
    vt_text_printf(&text, "left out: ");
    for (int i = 0; i < c->n_left_out && i < MOST; i++)
        vt_text_printf(&text, "%s%s (%s)", i ? ", " : "", c->left_out[i]->place.path,
                       vt_run_state_word(c->left_out[i]->state));
    if (c->n_left_out > MOST)
        vt_text_printf(&text, " and %d more", c->n_left_out - MOST);
    memset(row, 0, (size_t)c->n_rows * sizeof *row);
    add_note(to, false, &text, row);
}

bool vt_compare_find_notes(vt_compare *compare)
{
    notes to = {compare, false};
    bool *row = vt_calloc((size_t)compare->n_rows, sizeof *row);
    if (!row)
        return false;
    note_data(&to, row);
    note_if_different(&to, true, "other numbers of epochs", epochs_value, NULL);
    note_if_different(&to, true, "evaluated in another way, eval.compat", setting_value,
                      "eval.compat");
    note_setting(
        &to, row, false, "eval.compat", "article",
        "an incomplete last batch of test images was left out, as eval.compat: article asks");
    note_setting(&to, row, true, "train.select", "test",
                 "the best epoch was chosen on the test images, so best.* is biased upward");
    note_rows(&to, row);
    note_seeds(&to, row);
    note_if_different(&to, true, "other numerics, so other roundings", numerics_value, NULL);
    note_if_different(&to, false, "other code, commit", commit_value, NULL);
    note_if_different(&to, false, "speeds are of other machines", machine_value, NULL);
    note_if_different(&to, false, "speeds are of other numbers of threads", threads_value, NULL);
    note_sampling(&to, row);
    note_many(&to, row);
    note_left_out(&to, row);
    vt_free(row);
    return !to.failed;
}
