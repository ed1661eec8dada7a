/* Lists of image transforms: from YAML, and back. */
#include "config/value.h"

#include <inttypes.h>
#include <string.h>

static const struct {
    const char *word, *example, *needs;
} kinds[VT_TRANSFORM_COUNT] = {
    [VT_TRANSFORM_RANDOM_CROP] = {"random_crop", "{pad: 4}", "{pad: N} and nothing else"},
    [VT_TRANSFORM_FLIP] = {"flip", "0.5", "a probability"},
    [VT_TRANSFORM_RESIZE] = {"resize", "224", "the short side, or [height, width]"},
    [VT_TRANSFORM_CENTER_CROP] = {"center_crop", "224", "a side, or [height, width]"},
    [VT_TRANSFORM_RANDOM_RESIZED_CROP] =
        {"random_resized_crop", "{size: 224}",
         "{size: N} with, if wanted, scale: [least, greatest] (share of the area) and ratio: "
         "[least, greatest] (width / height)"},
};

static const vt_field probability = {.kind = VT_KIND_FLOAT, .min = 0, .max = 1};
static const vt_field pad_limits = {.kind = VT_KIND_INT, .int_min = 0, .int_max = 4096};
static const vt_field side_limits = {
    .kind = VT_KIND_INT, .int_min = 1, .int_max = VT_TRANSFORM_SIDE_MAX};
static const vt_field scale_limits = {.kind = VT_KIND_FLOAT, .min = 0, .open_min = true, .max = 1};
static const vt_field ratio_limits = {.kind = VT_KIND_FLOAT, .min = 0.01, .max = 100};

static bool refuse(const vt_reading *r, const vt_yaml *node, int kind)
{
    vt_report(r->diags, VT_ERR_CONFIG, &node->mark, NULL, "'%s': %s needs %s", r->field->path,
              kinds[kind].word, kinds[kind].needs);
    return false;
}

/* What is there in place of a transform. */
static bool refuse_other(const vt_reading *r, const vt_yaml *node)
{
    const char *words[VT_TRANSFORM_COUNT];
    const char *word = node->kind == VT_YAML_MAP && node->n == 1 ? node->key[0]->text
                       : node->kind == VT_YAML_SCALAR            ? node->text
                                                                 : NULL;
    vt_text hint = {0}, allowed = {0};
    for (int i = 0; i < VT_TRANSFORM_COUNT; i++) {
        words[i] = kinds[i].word;
        vt_text_printf(&allowed, "%s%s: %s", i ? ", " : "", words[i], kinds[i].example);
    }
    const char *near = word ? vt_suggest(word, words, VT_TRANSFORM_COUNT) : NULL;
    if (near)
        vt_text_printf(&hint, "did you mean '%s'?", near);
    vt_report(r->diags, VT_ERR_CONFIG, &node->mark, hint.data,
              "'%s' has '%.60s' where a transform is needed; allowed: %s", r->field->path,
              word                         ? word
              : node->kind == VT_YAML_LIST ? "a list"
                                           : "a map",
              allowed.data ? allowed.data : "others");
    vt_text_release(&hint);
    vt_text_release(&allowed);
    return false;
}

/* A number stands for a square, but for the short side of a resize. */
static bool read_size(const vt_reading *r, const vt_yaml *node, vt_transform *t)
{
    if (node->kind == VT_YAML_LIST && node->n == 2)
        return vt_read_int(r, node->item[0], &side_limits, &t->height) &&
               vt_read_int(r, node->item[1], &side_limits, &t->width);
    if (node->kind != VT_YAML_SCALAR)
        return refuse(r, node, (int)t->kind);
    bool good = vt_read_int(r, node, &side_limits, &t->height);
    t->width = t->kind == VT_TRANSFORM_RESIZE ? 0 : t->height;
    return good;
}

static bool read_range(const vt_reading *r, const vt_yaml *node, const vt_field *limits, int kind,
                       double range[2])
{
    if (!node)
        return true;
    if (node->kind != VT_YAML_LIST || node->n != 2)
        return refuse(r, node, kind);
    if (!vt_read_float(r, node->item[0], limits, &range[0]) ||
        !vt_read_float(r, node->item[1], limits, &range[1]))
        return false;
    if (range[0] <= range[1])
        return true;
    vt_report(r->diags, VT_ERR_CONFIG, &node->mark, NULL, "'%s': %s: %g is above %g",
              r->field->path, kinds[kind].word, range[0], range[1]);
    return false;
}

/* torchvision's defaults for what is not given */
static bool read_resized_crop(const vt_reading *r, const vt_yaml *node, vt_transform *t)
{
    const vt_yaml *size = vt_yaml_get(node, "size"), *scale = vt_yaml_get(node, "scale");
    const vt_yaml *ratio = vt_yaml_get(node, "ratio");
    t->scale[0] = 0.08;
    t->scale[1] = 1;
    t->ratio[0] = 3.0 / 4;
    t->ratio[1] = 4.0 / 3;
    if (!size || node->n != 1 + !!scale + !!ratio)
        return refuse(r, node, (int)t->kind);
    return read_size(r, size, t) && read_range(r, scale, &scale_limits, (int)t->kind, t->scale) &&
           read_range(r, ratio, &ratio_limits, (int)t->kind, t->ratio);
}

static bool read_transform(const vt_reading *r, const vt_yaml *node, vt_transform *t)
{
    int kind = -1;
    for (int i = 0; node->kind == VT_YAML_MAP && node->n == 1 && i < VT_TRANSFORM_COUNT; i++)
        if (strcmp(node->key[0]->text, kinds[i].word) == 0)
            kind = i;
    if (kind < 0)
        return refuse_other(r, node);
    const vt_yaml *given = node->item[0], *pad;
    *t = (vt_transform){.kind = (vt_transform_kind)kind};
    double p;
    switch (t->kind) {
    case VT_TRANSFORM_FLIP:
        if (!vt_read_float(r, given, &probability, &p))
            return false;
        t->p = (float)p;
        return true;
    case VT_TRANSFORM_RANDOM_CROP:
        pad = vt_yaml_get(given, "pad");
        if (!pad || given->n != 1)
            return refuse(r, given, kind);
        return vt_read_int(r, pad, &pad_limits, &t->pad);
    case VT_TRANSFORM_RESIZE:
    case VT_TRANSFORM_CENTER_CROP:
        return read_size(r, given, t);
    default:
        return read_resized_crop(r, given, t);
    }
}

bool vt_transforms_read(const vt_reading *r, const vt_yaml *node, vt_transform_list *list)
{
    bool good = true;
    list->n = 0;
    if (node->n > VT_MAX_TRANSFORMS) {
        vt_report(r->diags, VT_ERR_CONFIG, &node->mark, NULL,
                  "'%s' has %d entries; allowed: at most %d", r->field->path, node->n,
                  VT_MAX_TRANSFORMS);
        return false;
    }
    for (int i = 0; i < node->n; i++)
        good &= read_transform(r, node->item[i], &list->item[list->n++]);
    return good;
}

static void write_size(const vt_transform *t, vt_text *text)
{
    bool one = t->kind == VT_TRANSFORM_RESIZE ? t->width == 0 : t->width == t->height;
    if (one)
        vt_text_printf(text, "%" PRId64, t->height);
    else
        vt_text_printf(text, "[%" PRId64 ", %" PRId64 "]", t->height, t->width);
}

static void write_range(const char *name, const double range[2], enum vt_value_form form,
                        vt_text *text)
{
    vt_text_printf(text, ", %s: [", name);
    vt_write_double(range[0], form, text);
    vt_text_printf(text, ", ");
    vt_write_double(range[1], form, text);
    vt_text_printf(text, "]");
}

void vt_transforms_write(const vt_transform_list *list, enum vt_value_form form, vt_text *text)
{
    vt_text_printf(text, "[");
    for (int i = 0; i < list->n; i++) {
        const vt_transform *t = &list->item[i];
        vt_text_printf(text, "%s%s: ", i ? ", " : "", kinds[t->kind].word);
        switch (t->kind) {
        case VT_TRANSFORM_FLIP:
            vt_write_float(t->p, form, text);
            break;
        case VT_TRANSFORM_RANDOM_CROP:
            vt_text_printf(text, "{pad: %" PRId64 "}", t->pad);
            break;
        case VT_TRANSFORM_RESIZE:
        case VT_TRANSFORM_CENTER_CROP:
            write_size(t, text);
            break;
        default:
            vt_text_printf(text, "{size: ");
            write_size(t, text);
            write_range("scale", t->scale, form, text);
            write_range("ratio", t->ratio, form, text);
            vt_text_printf(text, "}");
        }
    }
    vt_text_printf(text, "]");
}
