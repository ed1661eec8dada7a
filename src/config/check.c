/* What one key cannot know of another, with the arithmetic; and notes on padding. */
#include "config/parts.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* The keys a check looks at; it is skipped if one of them is bad or without effect. */
typedef struct vt_keys {
    int n;
    vt_key key[6];
} vt_keys;

#define KEYS(...)                                                                                  \
    ((vt_keys){.n = (int)(sizeof((vt_key[]){__VA_ARGS__}) / sizeof(vt_key)), .key = {__VA_ARGS__}})

static bool known(const vt_loading *l, vt_keys keys)
{
    for (int i = 0; i < keys.n; i++) {
        const vt_slot *slot = &l->parts->slot[keys.key[i]];
        if (slot->bad || (slot->inactive && !slot->node) || !slot->node)
            return false;
    }
    return true;
}

/* An error about several keys: shown at the one that was set last, saying where the others are. */
__attribute__((format(printf, 3, 4))) static void conflict(vt_loading *l, vt_keys keys,
                                                           const char *format, ...)
{
    const vt_slot *slot = l->parts->slot, *last = NULL;
    vt_text hint = {0};
    char message[700];
    va_list args;
    va_start(args, format);
    vsnprintf(message, sizeof message, format, args);
    va_end(args);
    for (int i = 0; i < keys.n; i++) {
        const vt_slot *s = &slot[keys.key[i]];
        if (s->layer > 0 && s->node && (!last || s->layer > last->layer))
            last = s;
    }
    for (int i = 0; i < keys.n; i++) {
        const char *path = vt_fields[keys.key[i]].path;
        vt_text_printf(&hint, "%s%s: %s", i ? "; " : "", path,
                       vt_slot_origin(l->parts, keys.key[i]));
    }
    const vt_mark whole = {.source = &l->parts->whole};
    vt_report(l->diags, VT_ERR_CONFIG, last ? &last->node->mark : &whole, hint.data, "%s", message);
    vt_text_release(&hint);
}

#define P PRId64

static vt_data_facts facts_of(const vt_config *c)
{
    vt_data_facts facts = *vt_data_facts_of(c->data_name);
    if (c->data_name == VT_DATA_CIFAR100 && c->data_labels == VT_LABELS_COARSE)
        facts.classes = 20;
    return facts;
}

/* "shapes are 32 x 32; they are not resized", "shapes become 64 x 80 (data.train)" */
static void describe_images(vt_text *text, const char *name, vt_size from, const char *path,
                            vt_size to)
{
    if (from.height == to.height && from.width == to.width)
        vt_text_printf(text, "%s are %" P " x %" P "; they are not resized", name, to.height,
                       to.width);
    else
        vt_text_printf(text, "%s become %" P " x %" P " (%s)", name, to.height, to.width, path);
}

/* What a list of transforms makes must be the model's input; false if it is not. */
static bool check_size(vt_loading *l, vt_key key, const vt_transform_list *list)
{
    const vt_config *c = l->config;
    const vt_keys image = KEYS(VT_KEY_model_image, key, VT_KEY_data_name);
    if (!known(l, image))
        return true;
    const char *name = vt_config_word("data.name", (int)c->data_name);
    const char *path = vt_fields[key].path;
    int64_t side = vt_data_facts_of(c->data_name)->image;
    vt_size from = {side, side}, to = vt_transforms_size(list, list->n, from);
    vt_text made = {0};
    describe_images(&made, name, from, path, to);
    if (to.height == 0)
        conflict(l, KEYS(key, VT_KEY_data_name),
                 "%s does not bring the pictures of a folder to one size, and model.image is %" P
                 "; it needs resize: [%" P ", %" P "], center_crop: %" P
                 " or random_resized_crop: {size: %" P "}",
                 path, c->model_image, c->model_image, c->model_image, c->model_image,
                 c->model_image);
    else if (to.height != c->model_image || to.width != c->model_image)
        conflict(l, image, "model.image is %" P ", and the images of %s", c->model_image,
                 made.data ? made.data : "the data");
    vt_text_release(&made);
    return to.height == c->model_image && to.width == c->model_image;
}

static void check_input(vt_loading *l)
{
    const vt_config *c = l->config;
    const vt_keys channels = KEYS(VT_KEY_model_channels, VT_KEY_data_name);
    const vt_keys classes = KEYS(VT_KEY_model_classes, VT_KEY_data_name);
    const vt_keys patch = KEYS(VT_KEY_model_patch, VT_KEY_model_image);
    if (!known(l, KEYS(VT_KEY_data_name)))
        return;
    const vt_data_facts facts = facts_of(c);
    const char *name = vt_config_word("data.name", (int)c->data_name);
    if (check_size(l, VT_KEY_data_train, &c->data_train))
        check_size(l, VT_KEY_data_test, &c->data_test);
    if (known(l, channels) && c->model_channels != facts.channels)
        conflict(l, channels, "model.channels is %" P ", and the images of %s have %" P,
                 c->model_channels, name, facts.channels);
    if (known(l, classes) && c->model_classes < facts.classes)
        conflict(l, classes,
                 "model.classes is %" P ", and the labels of %s go from 0 to %" P ": at least %" P
                 " are needed",
                 c->model_classes, name, facts.classes - 1, facts.classes);
    if (known(l, KEYS(VT_KEY_model_family)) && c->model_family == VT_FAMILY_MOBILEVIT)
        return; /* its patches are of tokens, and maps are resized to a multiple of them */
    if (known(l, patch) && c->model_patch > c->model_image)
        conflict(l, patch, "model.patch is %" P ", larger than the image of %" P " x %" P,
                 c->model_patch, c->model_image, c->model_image);
    else if (known(l, patch) && c->model_image % c->model_patch) {
        int64_t n = (c->model_image + c->model_patch - 1) / c->model_patch;
        vt_note(l,
                "model.patch: %" P " pixels are no multiple of %" P ": padded to %" P " (%" P
                " x %" P " patches)",
                c->model_image, c->model_patch, n * c->model_patch, n, n);
    }
}

/* vit and cct */
static void check_width(vt_loading *l)
{
    const vt_config *c = l->config;
    const vt_keys heads = KEYS(VT_KEY_model_heads),
                  width = KEYS(VT_KEY_model_dim, VT_KEY_model_heads);
    if (known(l, heads) && c->model_heads.n != 1)
        conflict(l, heads,
                 "model.heads has %d entries; %s has one kind of block and needs one number",
                 c->model_heads.n, vt_config_word("model.family", (int)c->model_family));
    else if (known(l, width) && c->model_dim % c->model_heads.v[0])
        conflict(l, width,
                 "model.dim %" P " is not divisible by model.heads %" P ": %" P " = %" P " * %" P
                 " + %" P,
                 c->model_dim, c->model_heads.v[0], c->model_dim, c->model_heads.v[0],
                 c->model_dim / c->model_heads.v[0], c->model_dim % c->model_heads.v[0]);
}

static void check_stages(vt_loading *l)
{
    const vt_config *c = l->config;
    const vt_keys lists = KEYS(VT_KEY_model_depths, VT_KEY_model_heads);
    const vt_keys width = KEYS(VT_KEY_model_dim, VT_KEY_model_heads, VT_KEY_model_depths);
    const vt_keys maps = KEYS(VT_KEY_model_image, VT_KEY_model_patch, VT_KEY_model_depths);
    if (known(l, KEYS(VT_KEY_model_depths)) && c->model_depths.n == 0)
        conflict(l, KEYS(VT_KEY_model_depths),
                 "model.depths is empty; a stage has at least 1 block");
    else if (known(l, lists) && c->model_depths.n != c->model_heads.n)
        conflict(l, lists,
                 "model.depths has %d entries and model.heads has %d; both need one a stage",
                 c->model_depths.n, c->model_heads.n);
    else if (known(l, width)) {
        for (int i = 0; i < c->model_heads.n; i++) {
            int64_t dim = c->model_dim << i, heads = c->model_heads.v[i];
            if (dim % heads)
                conflict(l, width,
                         "stage %d: model.dim %" P " * 2^%d = %" P " is not divisible by %" P
                         " heads: %" P " = %" P " * %" P " + %" P,
                         i + 1, c->model_dim, i, dim, heads, dim, heads, dim / heads, dim % heads);
        }
    }
    if (!known(l, maps) || c->model_patch > c->model_image)
        return;
    int64_t side = (c->model_image + c->model_patch - 1) / c->model_patch;
    for (int i = 0; i + 1 < c->model_depths.n; i++) {
        if (side == 1) {
            conflict(l, maps,
                     "stage %d has a map of 1 x 1, which cannot be merged: %" P
                     " pixels / patch %" P " = %" P
                     ", halved %d times; leave out %d of the %d stages or use a "
                     "smaller patch",
                     i + 1, c->model_image, c->model_patch,
                     (c->model_image + c->model_patch - 1) / c->model_patch, i,
                     c->model_depths.n - 1 - i, c->model_depths.n);
            return;
        }
        if (side % 2)
            vt_note(l, "stage %d: the map of %" P " x %" P " is padded to %" P " x %" P " to merge",
                    i + 1, side, side, side + 1, side + 1);
        side = (side + 1) / 2;
    }
}

static void note_windows(vt_loading *l)
{
    const vt_config *c = l->config;
    if (!known(l, KEYS(VT_KEY_model_image, VT_KEY_model_patch, VT_KEY_model_depths,
                       VT_KEY_model_window, VT_KEY_model_window_mode)))
        return;
    int64_t side = (c->model_image + c->model_patch - 1) / c->model_patch;
    bool strict = c->model_window_mode == VT_WINDOW_STRICT;
    for (int i = 0; i < c->model_depths.n; i++, side = (side + 1) / 2) {
        int64_t window = c->model_window;
        if (strict && window >= side) {
            if (window > side)
                vt_note(l,
                        "stage %d: model.window %" P " is clamped to the map of %" P " x %" P
                        "; no shift",
                        i + 1, window, side, side);
            continue;
        }
        int64_t padded = (side + window - 1) / window * window;
        if (padded != side)
            vt_note(l,
                    "stage %d: window %" P " does not divide the map of %" P " x %" P
                    ": padded to %" P " x %" P ", %s",
                    i + 1, window, side, side, padded, padded,
                    strict ? "padding masked" : "padding attends");
    }
}

static void need_entries(vt_loading *l, vt_key key, const vt_int_list *list, int n, const char *why)
{
    if (known(l, KEYS(key)) && list->n != n)
        conflict(l, KEYS(key), "%s has %d entries; mobilevit needs %d: %s", vt_fields[key].path,
                 list->n, n, why);
}

static void check_mobilevit(vt_loading *l)
{
    const vt_config *c = l->config;
    const vt_keys lists = KEYS(VT_KEY_model_attn_dims, VT_KEY_model_heads);
    const vt_keys maps = KEYS(VT_KEY_model_image, VT_KEY_model_strides, VT_KEY_model_patch);
    need_entries(l, VT_KEY_model_dims, &c->model_dims, 6, "the stem's and one a stage");
    need_entries(l, VT_KEY_model_strides, &c->model_strides, 6, "the stem's and one a stage");
    need_entries(l, VT_KEY_model_attn_dims, &c->model_attn_dims, 3, "one each of the last stages");
    need_entries(l, VT_KEY_model_depths, &c->model_depths, 3, "one each of the last stages");
    need_entries(l, VT_KEY_model_heads, &c->model_heads, 1, "all its blocks have as many");
    for (int i = 0; known(l, lists) && i < c->model_attn_dims.n; i++) {
        int64_t dim = c->model_attn_dims.v[i], heads = c->model_heads.v[0];
        if (dim % heads)
            conflict(l, lists,
                     "model.attn_dims: %" P " is not divisible by model.heads %" P ": %" P " = %" P
                     " * %" P " + %" P,
                     dim, heads, dim, heads, dim / heads, dim % heads);
    }
    if (!known(l, maps) || c->model_strides.n != 6)
        return;
    int64_t side = c->model_image, patch = c->model_patch;
    for (int i = 0; i < 6; i++) {
        side = (side + c->model_strides.v[i] - 1) / c->model_strides.v[i];
        int64_t whole = (side + patch - 1) / patch * patch;
        if (i >= 3 && whole != side)
            vt_note(l,
                    "stage %d: the map of %" P " x %" P " is resized to %" P " x %" P
                    " for patches of %" P,
                    i, side, side, whole, whole, patch);
        if (i >= 3 && whole == patch)
            vt_note(l, "stage %d: one patch: a token attends to itself alone", i);
    }
}

static void check_cct(vt_loading *l)
{
    const vt_config *c = l->config;
    const vt_keys maps = KEYS(VT_KEY_model_image, VT_KEY_model_convs);
    check_width(l);
    if (known(l, maps) && c->model_image >> (c->model_convs - 1) < 2)
        conflict(l, maps,
                 "model.convs %" P " halves the image of %" P " pixels below one token: %" P
                 " / 2^%" P " < 1",
                 c->model_convs, c->model_image, c->model_image, c->model_convs);
}

/* One convolution of a hybrid: its map, or 0 after an error. */
static int64_t convolved(vt_loading *l, vt_keys keys, const char *where, int64_t side,
                         int64_t kernel, int64_t stride)
{
    if (kernel % 2 == 0 && kernel != stride) {
        conflict(l, keys,
                 "%s: kernel %" P " with stride %" P
                 ": an even kernel has no middle; allowed: odd, "
                 "or equal to the stride",
                 where, kernel, stride);
        return 0;
    }
    if (kernel == stride && side % stride) {
        conflict(l, keys,
                 "%s: patches of %" P " do not divide the map of %" P " x %" P ": %" P " = %" P
                 " * %" P " + %" P,
                 where, kernel, side, side, side, kernel, side / kernel, side % kernel);
        return 0;
    }
    int64_t to = (side + (kernel > stride ? kernel / 2 * 2 : 0) - kernel) / stride + 1;
    if (side < stride || to < 1) {
        conflict(l, keys, "%s: the map of %" P " x %" P " is too small for stride %" P, where, side,
                 side, stride);
        return 0;
    }
    return to;
}

static bool check_heads(vt_loading *l, const char *where, int64_t dim, int64_t heads)
{
    if (dim % heads == 0)
        return true;
    conflict(l, KEYS(VT_KEY_model_stages),
             "%s: width %" P " is not divisible by %" P " heads: %" P " = %" P " * %" P " + %" P,
             where, dim, heads, dim, heads, dim / heads, dim % heads);
    return false;
}

/* A stage on a map of side x side with dim channels: the map behind it, or 0 after an error. */
static int64_t check_stage(vt_loading *l, const char *where, const vt_stage *s, int64_t side,
                           int64_t *dim)
{
    const vt_keys keys = KEYS(VT_KEY_model_stages, VT_KEY_model_stem, VT_KEY_model_image);
    if (s->dim)
        *dim = s->dim;
    switch (s->block) {
    case VT_BLOCK_CONV:
        return convolved(l, keys, where, side, s->kernel, s->stride);
    case VT_BLOCK_CSP:
        if (*dim % 2) {
            conflict(l, keys, "%s: csp works on half the channels, and %" P " is odd", where, *dim);
            return 0;
        }
        return convolved(l, keys, where, side, 3, s->stride);
    case VT_BLOCK_MV2:
        return convolved(l, keys, where, side, 3, s->stride);
    case VT_BLOCK_MOBILEVIT:
        if (side % s->patch)
            vt_note(l, "%s: the map of %" P " x %" P " is resized for patches of %" P, where, side,
                    side, s->patch);
        return check_heads(l, where, s->attn_dim ? s->attn_dim : *dim, s->heads) ? side : 0;
    case VT_BLOCK_SWIN:
    case VT_BLOCK_VIT:
        break;
    case VT_BLOCK_COUNT:
        return 0;
    }
    if (s->stride > 2 || (s->stride == 2 && side < 2)) {
        conflict(l, keys,
                 "%s: stride %" P " on a map of %" P " x %" P
                 ": a %s stage has 1, or 2 where there are neighbours to merge",
                 where, s->stride, side, side, vt_config_word("model.stages", (int)s->block));
        return 0;
    }
    side = (side + s->stride - 1) / s->stride;
    if (s->block == VT_BLOCK_SWIN && side > s->window && side % s->window)
        vt_note(l, "%s: window %" P " does not divide the map of %" P " x %" P, where, s->window,
                side, side);
    if (s->block == VT_BLOCK_VIT && s->pos_embed == VT_POS_SINCOS && *dim % 4) {
        conflict(l, keys, "%s: sincos positions need a width divisible by 4, not %" P, where, *dim);
        return 0;
    }
    return check_heads(l, where, *dim, s->heads) ? side : 0;
}

static void check_hybrid(vt_loading *l)
{
    const vt_config *c = l->config;
    const vt_keys stem = KEYS(VT_KEY_model_stem, VT_KEY_model_image);
    if (known(l, KEYS(VT_KEY_model_head)) && c->model_head.pool == VT_POOL_TOKEN)
        conflict(l, KEYS(VT_KEY_model_head),
                 "model.head: pool is token, and a hybrid has no class token; allowed: mean, "
                 "sequence");
    if (!known(l, stem) || !known(l, KEYS(VT_KEY_model_stages)))
        return;
    int64_t dim = c->model_stem.dim, side = convolved(l, stem, "model.stem", c->model_image,
                                                      c->model_stem.kernel, c->model_stem.stride);
    if (dim == 0) {
        conflict(l, stem, "model.stem: dim is 0; a stem needs at least 1 channel");
        return;
    }
    for (int i = 0; i < c->model_stages.n && side > 0; i++) {
        char where[64];
        const vt_stage *s = &c->model_stages.v[i];
        snprintf(where, sizeof where, "model.stages[%d] (%s)", i,
                 vt_config_word("model.stages", (int)s->block));
        side = check_stage(l, where, s, side, &dim);
    }
}

static void check_model(vt_loading *l)
{
    const vt_config *c = l->config;
    const vt_keys pool = KEYS(VT_KEY_model_pool, VT_KEY_model_family);
    const vt_keys hidden = KEYS(VT_KEY_model_mlp_ratio, VT_KEY_model_dim);
    const vt_keys sincos = KEYS(VT_KEY_model_pos_embed, VT_KEY_model_dim);
    check_input(l);
    if (!known(l, KEYS(VT_KEY_model_family)))
        return;
    switch (c->model_family) {
    case VT_FAMILY_VIT:
        check_width(l);
        break;
    case VT_FAMILY_SWIN:
        check_stages(l);
        note_windows(l);
        break;
    case VT_FAMILY_MOBILEVIT:
        check_mobilevit(l);
        break;
    case VT_FAMILY_CCT:
        check_cct(l);
        break;
    case VT_FAMILY_HYBRID:
        check_hybrid(l);
        break;
    case VT_FAMILY_COUNT:
        break;
    }
    if (known(l, pool) && c->model_family != VT_FAMILY_VIT && c->model_pool == VT_POOL_TOKEN)
        conflict(l, pool, "model.pool is token, and %s has no class token; allowed: mean, sequence",
                 vt_config_word("model.family", (int)c->model_family));
    if (known(l, hidden) && (int64_t)((double)c->model_dim * c->model_mlp_ratio) < 1)
        conflict(l, hidden,
                 "model.dim %" P " * model.mlp_ratio %g = %g: the MLP needs a hidden width of at "
                 "least 1",
                 c->model_dim, c->model_mlp_ratio, (double)c->model_dim * c->model_mlp_ratio);
    if (known(l, sincos) && c->model_pos_embed == VT_POS_SINCOS && c->model_dim % 4)
        conflict(l, sincos,
                 "model.pos_embed is sincos, which needs model.dim divisible by 4 (sine and cosine "
                 "for rows and columns): %" P " = 4 * %" P " + %" P,
                 c->model_dim, c->model_dim / 4, c->model_dim % 4);
}

static void check_transforms(vt_loading *l, vt_key key, const vt_transform_list *list)
{
    const vt_config *c = l->config;
    if (!known(l, KEYS(key, VT_KEY_data_name)))
        return;
    int64_t side = vt_data_facts_of(c->data_name)->image;
    for (int i = 0; i < list->n; i++) {
        vt_size size = vt_transforms_size(list, i, (vt_size){side, side});
        int64_t least = size.height < size.width ? size.height : size.width;
        if (list->item[i].kind == VT_TRANSFORM_RANDOM_CROP && least && list->item[i].pad >= least)
            conflict(l, KEYS(key),
                     "%s: random_crop pads by %" P " pixels, and the image has %" P
                     ": a crop could miss it; allowed: less than %" P,
                     vt_fields[key].path, list->item[i].pad, least, least);
    }
}

static void check_data(vt_loading *l)
{
    const vt_config *c = l->config;
    const vt_keys parts = KEYS(VT_KEY_data_val, VT_KEY_data_name);
    const vt_keys train = KEYS(VT_KEY_data_limit_train, VT_KEY_data_val, VT_KEY_data_name);
    const vt_keys test = KEYS(VT_KEY_data_limit_test, VT_KEY_data_name);
    const vt_keys select = KEYS(VT_KEY_train_select, VT_KEY_data_val);
    check_transforms(l, VT_KEY_data_train, &c->data_train);
    check_transforms(l, VT_KEY_data_test, &c->data_test);
    if (known(l, select) && c->train_select == VT_SELECT_VAL && c->data_val == 0)
        conflict(l, select, "train.select is val, and data.val is 0: there is no validation part");
    if (!known(l, train) || !known(l, test) || c->data_name == VT_DATA_FOLDER)
        return; /* how many pictures a folder has is known when it is read */
    const vt_data_facts *facts = vt_data_facts_of(c->data_name);
    const char *name = vt_config_word("data.name", (int)c->data_name);
    int64_t n_train = facts->n_train - c->data_val, n_test = facts->n_test;
    if (n_train < 1) {
        conflict(l, parts,
                 "data.val %" P " leaves no training image: %s has %" P " (%" P " - %" P " = %" P
                 ")",
                 c->data_val, name, facts->n_train, facts->n_train, c->data_val, n_train);
        return;
    }
    if (c->data_limit_train > n_train)
        conflict(l, train,
                 "data.limit_train is %" P ", and %s has %" P " - %" P " (data.val) = %" P
                 " training images",
                 c->data_limit_train, name, facts->n_train, c->data_val, n_train);
    else if (c->data_limit_train)
        n_train = c->data_limit_train;
    if (c->data_limit_test > n_test)
        conflict(l, test, "data.limit_test is %" P ", and %s has %" P " test images",
                 c->data_limit_test, name, n_test);
    else if (c->data_limit_test)
        n_test = c->data_limit_test;
    const vt_keys drop = KEYS(VT_KEY_data_drop_last, VT_KEY_train_batch, VT_KEY_data_limit_train);
    if (known(l, drop) && c->data_drop_last && n_train < c->train_batch)
        conflict(l, drop,
                 "data.drop_last leaves no batch: %" P " training images / batch of %" P " = 0",
                 n_train, c->train_batch);
    const vt_keys compat = KEYS(VT_KEY_eval_compat, VT_KEY_eval_batch, VT_KEY_data_limit_test);
    if (known(l, compat) && c->eval_compat == VT_COMPAT_ARTICLE && n_test < c->eval_batch)
        conflict(l, compat,
                 "eval.compat: article drops the last batch and leaves none: %" P
                 " test images / batch of %" P " = 0",
                 n_test, c->eval_batch);
    const vt_keys attention = KEYS(VT_KEY_attention_images, VT_KEY_data_limit_test);
    if (known(l, attention) && c->attention_images > n_test)
        conflict(l, attention, "attention.images is %" P ", and there are %" P " test images",
                 c->attention_images, n_test);
}

static void check_schedule(vt_loading *l)
{
    const vt_config *c = l->config;
    const vt_keys warmup = KEYS(VT_KEY_schedule_warmup_epochs, VT_KEY_train_epochs);
    const vt_keys from = KEYS(VT_KEY_schedule_warmup_from, VT_KEY_optim_lr);
    const vt_keys floor = KEYS(VT_KEY_schedule_min_lr, VT_KEY_optim_lr);
    const vt_keys milestones = KEYS(VT_KEY_schedule_milestones);
    if (known(l, warmup) && c->schedule_warmup_epochs > 0 && c->train_epochs > 0 &&
        c->schedule_warmup_epochs >= c->train_epochs)
        conflict(l, warmup,
                 "schedule.warmup_epochs is %" P ", and train.epochs is %" P
                 ": nothing is left after the warm-up",
                 c->schedule_warmup_epochs, c->train_epochs);
    if (known(l, from) && c->schedule_warmup_epochs > 0 && c->schedule_warmup_from > c->optim_lr)
        conflict(l, from, "schedule.warmup_from %g is above optim.lr %g", c->schedule_warmup_from,
                 c->optim_lr);
    if (known(l, floor) && c->schedule_min_lr > c->optim_lr)
        conflict(l, floor, "schedule.min_lr %g is above optim.lr %g", c->schedule_min_lr,
                 c->optim_lr);
    if (!known(l, milestones))
        return;
    const vt_int_list *list = &c->schedule_milestones;
    if (list->n == 0)
        conflict(l, milestones, "schedule.milestones is empty; multistep needs at least one");
    for (int i = 1; i < list->n; i++)
        if (list->v[i] <= list->v[i - 1]) {
            conflict(l, milestones, "schedule.milestones must ascend: %" P " follows %" P,
                     list->v[i], list->v[i - 1]);
            return;
        }
    for (int i = 0; i < list->n && known(l, KEYS(VT_KEY_train_epochs)); i++)
        if (list->v[i] >= c->train_epochs)
            vt_note(l, "schedule.milestones: %" P " is never reached in %" P " epochs", list->v[i],
                    c->train_epochs);
}

static void check_training(vt_loading *l)
{
    const vt_config *c = l->config;
    const vt_keys betas = KEYS(VT_KEY_optim_betas);
    const vt_keys nesterov = KEYS(VT_KEY_optim_nesterov, VT_KEY_optim_momentum);
    const vt_keys epochs = KEYS(VT_KEY_attention_epochs, VT_KEY_train_epochs);
    if (known(l, betas) && c->optim_betas.n != 2)
        conflict(l, betas, "optim.betas has %d entries; it needs 2 (first and second moment)",
                 c->optim_betas.n);
    if (known(l, nesterov) && c->optim_nesterov && c->optim_momentum <= 0)
        conflict(l, nesterov, "optim.nesterov needs optim.momentum above 0, not %g",
                 c->optim_momentum);
    if (known(l, epochs) && c->attention_epochs.kind == VT_EPOCHS_LIST &&
        c->attention_epochs.list.v[c->attention_epochs.list.n - 1] > c->train_epochs)
        conflict(l, epochs, "attention.epochs names epoch %" P ", and train.epochs is %" P,
                 c->attention_epochs.list.v[c->attention_epochs.list.n - 1], c->train_epochs);
}

void vt_check(vt_loading *l)
{
    check_model(l);
    check_data(l);
    check_training(l);
    check_schedule(l);
}
