#include "config/value.h"

#include "config/stages.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef vt_reading context;

static const struct {
    const char *word;
    float mean[3], std[3];
} normalisations[] = {
    [VT_NORMALISE_HALF] = {"half", {0.5f, 0.5f, 0.5f}, {0.5f, 0.5f, 0.5f}},
    [VT_NORMALISE_CIFAR10] = {"cifar10", {0.4914f, 0.4822f, 0.4465f}, {0.2470f, 0.2435f, 0.2616f}},
    [VT_NORMALISE_CIFAR100] = {"cifar100",
                               {0.5071f, 0.4867f, 0.4408f},
                               {0.2675f, 0.2565f, 0.2761f}},
    [VT_NORMALISE_IMAGENET] = {"imagenet", {0.485f, 0.456f, 0.406f}, {0.229f, 0.224f, 0.225f}},
    [VT_NORMALISE_NONE] = {"none", {0, 0, 0}, {1, 1, 1}},
};

static const vt_field mean_limits = {.kind = VT_KIND_FLOAT, .min = 0, .max = 1};
static const vt_field std_limits = {.kind = VT_KIND_FLOAT, .min = 1e-4, .max = 1000};
static const vt_field cadence_limits = {.kind = VT_KIND_INT, .int_min = 1, .int_max = 1000000000};
static const vt_field epoch_limits = {.kind = VT_KIND_INT, .int_min = 0, .int_max = 1000000};

void vt_yaml_describe(const vt_yaml *node, vt_text *text)
{
    static const char *const names[] = {
        [VT_YAML_BOOL] = "the truth value",
        [VT_YAML_INT] = "the integer",
        [VT_YAML_FLOAT] = "the number",
        [VT_YAML_TEXT] = "the text",
    };
    if (node->kind != VT_YAML_SCALAR) {
        vt_text_printf(text, node->kind == VT_YAML_LIST ? "a list" : "a map");
        return;
    }
    enum vt_yaml_type type = vt_yaml_type(node);
    if (type == VT_YAML_NULL)
        vt_text_printf(text, *node->text ? "null" : "nothing");
    else
        vt_text_printf(text, type == VT_YAML_TEXT ? "%s '%.60s'" : "%s %.60s", names[type],
                       node->text);
}

/* "'optim.lr' needs a number from 0 to 100, not the text 'x'"; always false. */
static bool refuse(const context *c, const vt_yaml *node, const char *needs, const vt_field *limits)
{
    vt_text given = {0}, allowed = {0}, hint = {0};
    vt_yaml_describe(node, &given);
    if (limits)
        vt_field_allowed(limits, &allowed);
    if (node->kind == VT_YAML_SCALAR && !node->plain && c->field->kind != VT_KIND_TEXT &&
        c->field->kind != VT_KIND_CHOICE)
        vt_text_printf(&hint, "a quoted value is always text");
    vt_report(c->diags, VT_ERR_CONFIG, &node->mark, hint.data, "'%s' needs %s%s%s, not %s",
              c->field->path, needs, allowed.data ? " " : "", allowed.data ? allowed.data : "",
              given.data ? given.data : "this");
    vt_text_release(&given);
    vt_text_release(&allowed);
    vt_text_release(&hint);
    return false;
}

static bool refuse_range(const context *c, const vt_yaml *node, const vt_field *limits)
{
    vt_text allowed = {0};
    vt_field_allowed(limits, &allowed);
    vt_report(c->diags, VT_ERR_CONFIG, &node->mark, NULL, "'%s' is %.60s; allowed: %s",
              c->field->path, node->text, allowed.data ? allowed.data : "less");
    vt_text_release(&allowed);
    return false;
}

/* Digits of an integer of YAML's core schema. False if it does not fit. */
static bool parse_digits(const char *text, bool *negative, uint64_t *value)
{
    uint64_t base = 10;
    *negative = *text == '-';
    *value = 0;
    text += *text == '-' || *text == '+';
    if (text[0] == '0' && (text[1] == 'o' || text[1] == 'x')) {
        base = text[1] == 'o' ? 8 : 16;
        text += 2;
    }
    for (; *text; text++) {
        unsigned digit =
            *text <= '9' ? (unsigned)(*text - '0') : (unsigned)((*text | 0x20) - 'a') + 10;
        if (__builtin_mul_overflow(*value, base, value) ||
            __builtin_add_overflow(*value, digit, value))
            return false;
    }
    return true;
}

static bool is_scalar(const vt_yaml *node, enum vt_yaml_type type)
{
    return node->kind == VT_YAML_SCALAR && vt_yaml_type(node) == type;
}

bool vt_read_int(const context *c, const vt_yaml *node, const vt_field *limits, int64_t *value)
{
    bool negative;
    uint64_t size;
    if (!is_scalar(node, VT_YAML_INT))
        return refuse(c, node, "an integer", limits);
    if (!parse_digits(node->text, &negative, &size) || size > INT64_MAX)
        return refuse_range(c, node, limits);
    *value = negative ? -(int64_t)size : (int64_t)size;
    if (*value < limits->int_min || *value > limits->int_max)
        return refuse_range(c, node, limits);
    return true;
}

static bool read_seed(const context *c, const vt_yaml *node, uint64_t *value)
{
    bool negative;
    if (!is_scalar(node, VT_YAML_INT))
        return refuse(c, node, "an integer", c->field);
    if (!parse_digits(node->text, &negative, value) || (negative && *value))
        return refuse_range(c, node, c->field);
    return true;
}

bool vt_read_float(const context *c, const vt_yaml *node, const vt_field *limits, double *value)
{
    if (is_scalar(node, VT_YAML_INT)) {
        bool negative;
        uint64_t size;
        if (!parse_digits(node->text, &negative, &size))
            return refuse_range(c, node, limits);
        *value = negative ? -(double)size : (double)size;
    } else if (is_scalar(node, VT_YAML_FLOAT)) {
        *value = strpbrk(node->text, "nN") ? NAN : strtod(node->text, NULL); /* .inf, .nan */
    } else {
        return refuse(c, node, "a number", limits);
    }
    if (!(*value >= limits->min && *value <= limits->max) ||
        (limits->open_min && *value <= limits->min) || (limits->open_max && *value >= limits->max))
        return refuse_range(c, node, limits);
    if (*value == 0)
        *value = 0; /* not -0: it would be another identity */
    return true;
}

static bool read_bool(const context *c, const vt_yaml *node, bool *value)
{
    static const char *const other[] = {"no", "yes", "on", "off"};
    if (is_scalar(node, VT_YAML_BOOL)) {
        *value = node->text[0] == 't' || node->text[0] == 'T';
        return true;
    }
    for (size_t i = 0; node->kind == VT_YAML_SCALAR && i < sizeof other / sizeof *other; i++) {
        if (strcasecmp(node->text, other[i]) == 0) {
            vt_report(c->diags, VT_ERR_CONFIG, &node->mark,
                      "'yes', 'no', 'on' and 'off' are text in YAML 1.2",
                      "'%s' needs true or false, not the text '%s'", c->field->path, node->text);
            return false;
        }
    }
    return refuse(c, node, "true or false", NULL);
}

static bool read_text(const context *c, const vt_yaml *node, const char **value)
{
    enum { MAX = 4000 };
    if (!is_scalar(node, VT_YAML_TEXT)) {
        bool number = node->kind == VT_YAML_SCALAR && vt_yaml_type(node) != VT_YAML_NULL;
        return refuse(c, node, number ? "a text (in quotes)" : "a text", NULL);
    }
    size_t size = strlen(node->text);
    if (size == 0 || size > MAX) {
        vt_report(c->diags, VT_ERR_CONFIG, &node->mark, NULL,
                  "'%s' is a text of %zu bytes; allowed: from 1 to %d", c->field->path, size, MAX);
        return false;
    }
    for (size_t i = 0; i < size; i++) {
        if ((unsigned char)node->text[i] < 0x20 || node->text[i] == 0x7f) {
            vt_report(c->diags, VT_ERR_CONFIG, &node->mark, NULL,
                      "'%s' holds a control character (0x%02x)", c->field->path,
                      (unsigned char)node->text[i]);
            return false;
        }
    }
    *value = vt_store_text(c->store, node->text, size);
    return *value != NULL;
}

static bool read_word(const context *c, const vt_yaml *node, int *value)
{
    if (!is_scalar(node, VT_YAML_TEXT))
        return refuse(c, node, "one of", c->field);
    *value = vt_words_find(c->field->words, node->text);
    if (*value >= 0)
        return true;
    const char *names[32];
    vt_text allowed = {0}, hint = {0};
    for (int i = 0; i < c->field->words->n; i++)
        names[i] = c->field->words->word[i].word;
    const char *near = vt_suggest(node->text, names, c->field->words->n);
    if (near)
        vt_text_printf(&hint, "did you mean '%s'?", near);
    vt_field_allowed(c->field, &allowed);
    vt_report(c->diags, VT_ERR_CONFIG, &node->mark, hint.data,
              "'%s' cannot be '%.60s'; allowed: %s", c->field->path, node->text,
              allowed.data ? allowed.data : "other words");
    vt_text_release(&allowed);
    vt_text_release(&hint);
    return false;
}

/* Number of elements; a scalar stands for a list of one. -1 after an error. */
static int count_items(const context *c, const vt_yaml *node, int max, const char *needs)
{
    if (node->kind == VT_YAML_MAP ||
        (node->kind == VT_YAML_SCALAR && vt_yaml_type(node) == VT_YAML_NULL)) {
        refuse(c, node, needs, NULL);
        return -1;
    }
    int n = node->kind == VT_YAML_LIST ? node->n : 1;
    if (n <= max)
        return n;
    vt_report(c->diags, VT_ERR_CONFIG, &node->mark, NULL,
              "'%s' has %d entries; allowed: at most %d", c->field->path, n, max);
    return -1;
}

static const vt_yaml *item_of(const vt_yaml *node, int i)
{
    return node->kind == VT_YAML_LIST ? node->item[i] : node;
}

static bool read_ints(const context *c, const vt_yaml *node, const vt_field *limits,
                      vt_int_list *list)
{
    list->n = count_items(c, node, VT_LIST_MAX, "a list of integers");
    bool good = list->n >= 0;
    for (int i = 0; i < list->n; i++)
        good &= vt_read_int(c, item_of(node, i), limits, &list->v[i]);
    return good;
}

static bool read_floats(const context *c, const vt_yaml *node, vt_float_list *list)
{
    list->n = count_items(c, node, VT_LIST_MAX, "a list of numbers");
    bool good = list->n >= 0;
    for (int i = 0; i < list->n; i++)
        good &= vt_read_float(c, item_of(node, i), c->field, &list->v[i]);
    return good;
}

static bool read_set(const context *c, const vt_yaml *node, uint32_t *set)
{
    int n = count_items(c, node, 32, "a list of words"), word;
    bool good = n >= 0;
    *set = 0;
    for (int i = 0; i < n; i++) {
        if (read_word(c, item_of(node, i), &word))
            *set |= UINT32_C(1) << word;
        else
            good = false;
    }
    return good;
}

static bool read_texts(const context *c, const vt_yaml *node, vt_text_list *list)
{
    int n = count_items(c, node, VT_LIST_MAX, "a list of texts");
    bool good = n >= 0;
    list->n = 0;
    for (int i = 0; i < n; i++) {
        const char *text;
        if (!read_text(c, item_of(node, i), &text)) {
            good = false;
            continue;
        }
        int at = list->n, order = 1;
        while (at > 0 && (order = strcmp(text, list->v[at - 1])) < 0)
            at--;
        if (at > 0 && order == 0)
            continue;
        memmove(&list->v[at + 1], &list->v[at], (size_t)(list->n - at) * sizeof *list->v);
        list->v[at] = text;
        list->n++;
    }
    return good;
}

static bool read_transforms(const context *c, const vt_yaml *node, vt_transform_list *list)
{
    if (node->kind != VT_YAML_LIST)
        return refuse(c, node, "a list of transforms", NULL);
    return vt_transforms_read(c, node, list);
}

static bool read_channels(const context *c, const vt_yaml *node, const vt_field *limits,
                          float values[3])
{
    if (node->kind != VT_YAML_LIST || node->n != 3) {
        vt_report(c->diags, VT_ERR_CONFIG, &node->mark, NULL,
                  "'%s' needs 3 numbers, one a channel, not %d", c->field->path,
                  node->kind == VT_YAML_LIST ? node->n : 1);
        return false;
    }
    bool good = true;
    for (int i = 0; i < 3; i++) {
        double value = 0;
        good &= vt_read_float(c, node->item[i], limits, &value);
        values[i] = (float)value;
    }
    return good;
}

static bool read_normalise(const context *c, const vt_yaml *node, vt_normalise *normalise)
{
    if (node->kind == VT_YAML_MAP) {
        const vt_yaml *mean = vt_yaml_get(node, "mean"), *std = vt_yaml_get(node, "std");
        if (mean && std && node->n == 2) {
            normalise->kind = VT_NORMALISE_GIVEN;
            bool good = read_channels(c, mean, &mean_limits, normalise->mean);
            return read_channels(c, std, &std_limits, normalise->std) && good;
        }
    }
    for (int i = 0; is_scalar(node, VT_YAML_TEXT) && i < VT_NORMALISE_GIVEN; i++) {
        if (strcmp(node->text, normalisations[i].word) != 0)
            continue;
        normalise->kind = (enum vt_normalise_kind)i;
        memcpy(normalise->mean, normalisations[i].mean, sizeof normalise->mean);
        memcpy(normalise->std, normalisations[i].std, sizeof normalise->std);
        return true;
    }
    return refuse(c, node, "half, cifar10, cifar100, imagenet, none or {mean: [..], std: [..]}",
                  NULL);
}

static bool read_cadence(const context *c, const vt_yaml *node, vt_cadence *cadence)
{
    char number[24], unit[8];
    int end = 0;
    if (is_scalar(node, VT_YAML_TEXT) &&
        sscanf(node->text, "%23[0-9] %7[a-z]%n", number, unit, &end) == 2 && !node->text[end]) {
        bool epochs = strcmp(unit, "epoch") == 0 || strcmp(unit, "epochs") == 0;
        bool steps = strcmp(unit, "step") == 0 || strcmp(unit, "steps") == 0;
        vt_yaml count = *node;
        count.plain = true;
        count.text = number;
        cadence->unit = epochs ? VT_CADENCE_EPOCHS : VT_CADENCE_STEPS;
        if (epochs || steps)
            return vt_read_int(c, &count, &cadence_limits, &cadence->n);
    }
    return refuse(c, node, "a distance such as '1 epoch' or '50 steps'", NULL);
}

static bool read_epochs(const context *c, const vt_yaml *node, vt_epochs *epochs)
{
    bool word = is_scalar(node, VT_YAML_TEXT);
    epochs->list.n = 0;
    epochs->kind = word && strcmp(node->text, "all") == 0 ? VT_EPOCHS_ALL : VT_EPOCHS_LAST;
    if (word && (epochs->kind == VT_EPOCHS_ALL || strcmp(node->text, "last") == 0))
        return true;
    epochs->kind = VT_EPOCHS_LIST;
    if (word || (node->kind == VT_YAML_LIST && node->n == 0))
        return refuse(c, node, "last, all or a list of epochs", NULL);
    if (!read_ints(c, node, &epoch_limits, &epochs->list))
        return false;
    for (int i = 1; i < epochs->list.n; i++) {
        if (epochs->list.v[i] > epochs->list.v[i - 1])
            continue;
        vt_report(c->diags, VT_ERR_CONFIG, &item_of(node, i)->mark, NULL,
                  "'%s' must ascend: %" PRId64 " follows %" PRId64, c->field->path,
                  epochs->list.v[i], epochs->list.v[i - 1]);
        return false;
    }
    return true;
}

bool vt_value_read(const vt_field *field, const vt_yaml *node, void *member, vt_store *store,
                   vt_diagnostics *diags)
{
    const context c = {field, store, diags};
    int word;
    switch (field->kind) {
    case VT_KIND_BOOL:
        return read_bool(&c, node, member);
    case VT_KIND_INT:
        return vt_read_int(&c, node, field, member);
    case VT_KIND_SEED:
        return read_seed(&c, node, member);
    case VT_KIND_FLOAT:
        return vt_read_float(&c, node, field, member);
    case VT_KIND_TEXT: {
        const char **text = member;
        if (!read_text(&c, node, text))
            return false;
        if (strcmp(*text, "none") == 0)
            *text = NULL;
        return true;
    }
    case VT_KIND_CHOICE:
        if (!read_word(&c, node, &word))
            return false;
        VT_ASSERT(field->size_bytes == sizeof(unsigned));
        *(unsigned *)member = (unsigned)word;
        return true;
    case VT_KIND_SET:
        return read_set(&c, node, member);
    case VT_KIND_INTS:
        return read_ints(&c, node, field, member);
    case VT_KIND_FLOATS:
        return read_floats(&c, node, member);
    case VT_KIND_TEXTS:
        return read_texts(&c, node, member);
    case VT_KIND_TRANSFORMS:
        return read_transforms(&c, node, member);
    case VT_KIND_NORMALISE:
        return read_normalise(&c, node, member);
    case VT_KIND_CADENCE:
        return read_cadence(&c, node, member);
    case VT_KIND_EPOCHS:
        return read_epochs(&c, node, member);
    case VT_KIND_STEM:
        return vt_part_read(field->path, "stem", node, member, store, diags);
    case VT_KIND_HEAD:
        return vt_part_read(field->path, "head", node, member, store, diags);
    case VT_KIND_STAGES:
        return vt_stages_read(field->path, node, member, store, diags);
    }
    return false;
}

void vt_write_double(double value, enum vt_value_form form, vt_text *text)
{
    char digits[40];
    for (int precision = 15; form == VT_VALUE_YAML && precision <= 17; precision++) {
        snprintf(digits, sizeof digits, "%.*g", precision, value);
        if (strtod(digits, NULL) == value)
            break;
    }
    if (form == VT_VALUE_EXACT)
        snprintf(digits, sizeof digits, "%a", value);
    vt_text_printf(text, "%s", digits);
}

void vt_write_float(float value, enum vt_value_form form, vt_text *text)
{
    char digits[40];
    for (int precision = 6; form == VT_VALUE_YAML && precision <= 9; precision++) {
        snprintf(digits, sizeof digits, "%.*g", precision, (double)value);
        if ((float)strtod(digits, NULL) == value)
            break;
    }
    if (form == VT_VALUE_EXACT)
        snprintf(digits, sizeof digits, "%a", (double)value);
    vt_text_printf(text, "%s", digits);
}

/* Plain where YAML reads it back as the same text, else in double quotes. */
static void write_text(const char *value, vt_text *text)
{
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./";
    vt_yaml scalar = {.kind = VT_YAML_SCALAR, .plain = true, .text = value};
    if (value[strspn(value, plain)] == '\0' && vt_yaml_type(&scalar) == VT_YAML_TEXT) {
        vt_text_printf(text, "%s", value);
        return;
    }
    vt_text_printf(text, "\"");
    for (; *value; value++)
        vt_text_printf(text, *value == '"' || *value == '\\' ? "\\%c" : "%c", *value);
    vt_text_printf(text, "\"");
}

static void write_ints(const vt_int_list *list, vt_text *text)
{
    vt_text_printf(text, "[");
    for (int i = 0; i < list->n; i++)
        vt_text_printf(text, "%s%" PRId64, i ? ", " : "", list->v[i]);
    vt_text_printf(text, "]");
}

static void write_normalise(const vt_normalise *normalise, enum vt_value_form form, vt_text *text)
{
    if (form == VT_VALUE_YAML && normalise->kind != VT_NORMALISE_GIVEN) {
        vt_text_printf(text, "%s", normalisations[normalise->kind].word);
        return;
    }
    const float *rows[2] = {normalise->mean, normalise->std};
    for (int row = 0; row < 2; row++) {
        vt_text_printf(text, row ? ", std: [" : "{mean: [");
        for (int i = 0; i < 3; i++) {
            vt_text_printf(text, i ? ", " : "");
            vt_write_float(rows[row][i], form, text);
        }
        vt_text_printf(text, "]");
    }
    vt_text_printf(text, "}");
}

void vt_value_write(const vt_field *field, const void *member, enum vt_value_form form,
                    vt_text *text)
{
    switch (field->kind) {
    case VT_KIND_BOOL:
        vt_text_printf(text, *(const bool *)member ? "true" : "false");
        break;
    case VT_KIND_INT:
        vt_text_printf(text, "%" PRId64, *(const int64_t *)member);
        break;
    case VT_KIND_SEED:
        vt_text_printf(text, "%" PRIu64, *(const uint64_t *)member);
        break;
    case VT_KIND_FLOAT:
        vt_write_double(*(const double *)member, form, text);
        break;
    case VT_KIND_TEXT: {
        const char *value = *(const char *const *)member;
        write_text(value ? value : "none", text);
        break;
    }
    case VT_KIND_CHOICE:
        vt_text_printf(text, "%s", field->words->word[*(const unsigned *)member].word);
        break;
    case VT_KIND_SET: {
        uint32_t set = *(const uint32_t *)member;
        const char *comma = "";
        vt_text_printf(text, "[");
        for (int i = 0; i < field->words->n; i++) {
            if (!(set >> i & 1))
                continue;
            vt_text_printf(text, "%s%s", comma, field->words->word[i].word);
            comma = ", ";
        }
        vt_text_printf(text, "]");
        break;
    }
    case VT_KIND_INTS: {
        const vt_int_list *list = member;
        if (list->n == 1)
            vt_text_printf(text, "%" PRId64, list->v[0]);
        else
            write_ints(list, text);
        break;
    }
    case VT_KIND_FLOATS: {
        const vt_float_list *list = member;
        vt_text_printf(text, "[");
        for (int i = 0; i < list->n; i++) {
            vt_text_printf(text, i ? ", " : "");
            vt_write_double(list->v[i], form, text);
        }
        vt_text_printf(text, "]");
        break;
    }
    case VT_KIND_TEXTS: {
        const vt_text_list *list = member;
        vt_text_printf(text, "[");
        for (int i = 0; i < list->n; i++) {
            vt_text_printf(text, i ? ", " : "");
            write_text(list->v[i], text);
        }
        vt_text_printf(text, "]");
        break;
    }
    case VT_KIND_TRANSFORMS:
        vt_transforms_write(member, form, text);
        break;
    case VT_KIND_NORMALISE:
        write_normalise(member, form, text);
        break;
    case VT_KIND_CADENCE: {
        const vt_cadence *cadence = member;
        vt_text_printf(text, "%" PRId64 " %s%s", cadence->n,
                       cadence->unit == VT_CADENCE_EPOCHS ? "epoch" : "step",
                       cadence->n == 1 ? "" : "s");
        break;
    }
    case VT_KIND_EPOCHS: {
        const vt_epochs *epochs = member;
        if (epochs->kind == VT_EPOCHS_LIST)
            write_ints(&epochs->list, text);
        else
            vt_text_printf(text, epochs->kind == VT_EPOCHS_ALL ? "all" : "last");
        break;
    }
    case VT_KIND_STEM:
        vt_part_write("stem", member, form, text);
        break;
    case VT_KIND_HEAD:
        vt_part_write("head", member, form, text);
        break;
    case VT_KIND_STAGES:
        vt_stages_write(member, form, text);
        break;
    }
}
