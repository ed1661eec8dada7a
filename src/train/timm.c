/* Which call of timm 1.0 builds the network of an experiment. */
#include "train/export.h"

#include <inttypes.h>

/* Appends a reason to the list of differences. */
static void differ(vt_timm_recipe *r, const char *text)
{
    vt_text_printf(&r->differs, "%s%s", r->differs.size ? "; " : "", text);
}

/* No network of timm takes these weights. */
static void none(vt_timm_recipe *r, const char *why)
{
    r->call = NULL;
    differ(r, why);
}

static void print_list(vt_text *text, const char *name, const vt_int_list *list)
{
    vt_text_printf(text, ", \"%s\": [", name);
    for (int i = 0; i < list->n; i++)
        vt_text_printf(text, "%s%" PRId64, i ? ", " : "", list->v[i]);
    vt_text_printf(text, "]");
}

static void print_common(vt_timm_recipe *r, const vt_config *c)
{
    vt_text_printf(&r->args,
                   "{\"img_size\": %" PRId64 ", \"patch_size\": %" PRId64 ", \"in_chans\": %" PRId64
                   ", \"num_classes\": %" PRId64 ", \"embed_dim\": %" PRId64
                   ", \"mlp_ratio\": %.17g, \"qkv_bias\": %s",
                   c->model_image, c->model_patch, c->model_channels, c->model_classes,
                   c->model_dim, c->model_mlp_ratio, c->model_qkv_bias ? "true" : "false");
    if (c->model_image % c->model_patch != 0)
        none(r, "timm takes no image that the patches do not divide");
}

static void compare_eps(vt_timm_recipe *r, const vt_config *c, double theirs)
{
    char text[128];
    if (c->model_norm_eps == theirs)
        return;
    snprintf(text, sizeof text, "epsilon of the norms is %g here and %g there", c->model_norm_eps,
             theirs);
    differ(r, text);
}

static void describe_vit(vt_timm_recipe *r, const vt_config *c)
{
    bool token = c->model_pool == VT_POOL_TOKEN;
    r->call = "VisionTransformer";
    print_common(r, c);
    vt_text_printf(&r->args,
                   ", \"depth\": %" PRId64 ", \"num_heads\": %" PRId64
                   ", \"global_pool\": \"%s\", \"class_token\": %s, \"pos_embed\": \"%s\"%s}",
                   c->model_depth, c->model_heads.v[0], token ? "token" : "avg",
                   token ? "true" : "false", c->model_pos_embed == VT_POS_NONE ? "none" : "learn",
                   c->model_gelu == VT_GELU_TANH ? ", \"act_layer\": \"gelu_tanh\"" : "");
    compare_eps(r, c, 1e-6);
}

/* timm reduces a window to a smaller map and does not shift it there; where windows do not divide
 * the map, it pads after the shift and lets padding attend. */
static void compare_windows(vt_timm_recipe *r, const vt_config *c)
{
    bool strict = c->model_window_mode == VT_WINDOW_STRICT, padded = false, larger = false;
    bool shifted = false, odd = false;
    int64_t side = (c->model_image + c->model_patch - 1) / c->model_patch;
    for (int s = 0; s < c->model_depths.n; s++, side = (side + 1) / 2) {
        larger |= !strict && c->model_window > side;
        shifted |= c->model_window_mode == VT_WINDOW_UNMASKED && c->model_window == side &&
                   c->model_depths.v[s] > 1;
        padded |= c->model_window < side && side % c->model_window != 0;
        odd |= s + 1 < c->model_depths.n && side % 2 != 0;
    }
    if (larger)
        none(r, "timm reduces the window to the map where this network keeps it larger");
    if (odd)
        none(r, "timm takes no odd map that is merged");
    if (shifted)
        differ(r, "a window as large as the map is shifted here and not there");
    if (padded && strict)
        differ(r, "padding does not attend here, and does there, where it is added after the "
                  "shift");
    else if (padded)
        differ(r, "padding is added before the shift here and after it there");
}

static void describe_swin(vt_timm_recipe *r, const vt_config *c)
{
    r->call = "SwinTransformer";
    print_common(r, c);
    print_list(&r->args, "depths", &c->model_depths);
    print_list(&r->args, "num_heads", &c->model_heads);
    vt_text_printf(&r->args, ", \"window_size\": %" PRId64 "}", c->model_window);
    compare_windows(r, c);
    if (c->model_merge_bias)
        none(r, "timm's patch merging has no bias");
    if (!c->model_patch_norm)
        none(r, "timm's patch embedding has a norm");
    if (c->model_pos_embed != VT_POS_NONE)
        none(r, "timm's Swin has no absolute positions");
    if (c->model_gelu == VT_GELU_TANH)
        differ(r, "the activation is GELU's tanh form here and the exact one there");
    compare_eps(r, c, 1e-5);
}

static bool same_list(const vt_int_list *list, const int64_t *v, int n)
{
    bool same = list->n == n;
    for (int i = 0; same && i < n; i++)
        same = list->v[i] == v[i];
    return same;
}

/* The sizes that timm builds by name; strides are not among the weights' shapes. */
static void describe_mobilevit(vt_timm_recipe *r, const vt_config *c)
{
    static const struct {
        const char *name;
        int64_t dims[6], attn_dims[3], head_dim;
        double expand;
    } sizes[] = {
        {"mobilevit_xxs", {16, 16, 24, 48, 64, 80}, {64, 80, 96}, 320, 2},
        {"mobilevit_xs", {16, 32, 48, 64, 80, 96}, {96, 120, 144}, 384, 4},
        {"mobilevit_s", {16, 32, 64, 96, 128, 160}, {144, 192, 240}, 640, 4},
    };
    static const int64_t depths[] = {2, 4, 3}, heads[] = {4}, strides[] = {2, 1, 2, 2, 2, 2};
    bool common = same_list(&c->model_depths, depths, 3) && same_list(&c->model_heads, heads, 1) &&
                  c->model_mlp_ratio == 2 && c->model_patch == 2 && c->model_qkv_bias;
    for (size_t i = 0; common && i < sizeof sizes / sizeof *sizes; i++) {
        if (!same_list(&c->model_dims, sizes[i].dims, 6) ||
            !same_list(&c->model_attn_dims, sizes[i].attn_dims, 3) ||
            c->model_head_dim != sizes[i].head_dim || c->model_expand != sizes[i].expand)
            continue;
        r->call = "create_model";
        vt_text_printf(&r->args,
                       "{\"model_name\": \"%s\", \"num_classes\": %" PRId64
                       ", \"in_chans\": %" PRId64 "}",
                       sizes[i].name, c->model_classes, c->model_channels);
        if (!same_list(&c->model_strides, strides, 6))
            differ(r, "the strides are not timm's, which must be set in the network built there");
        compare_eps(r, c, 1e-5);
        return;
    }
    none(r, "timm builds MobileViT in the sizes XXS, XS and S only");
}

void vt_timm_describe(vt_timm_recipe *recipe, const vt_config *config)
{
    switch (config->model_family) {
    case VT_FAMILY_VIT:
        describe_vit(recipe, config);
        break;
    case VT_FAMILY_SWIN:
        describe_swin(recipe, config);
        break;
    case VT_FAMILY_MOBILEVIT:
        describe_mobilevit(recipe, config);
        break;
    case VT_FAMILY_CCT:
        none(recipe, "timm has no CCT; the names are those of its authors' code");
        break;
    case VT_FAMILY_HYBRID:
        none(recipe, "a hybrid has no counterpart in timm");
        break;
    case VT_FAMILY_COUNT:
        break;
    }
}

void vt_timm_release(vt_timm_recipe *recipe)
{
    vt_text_release(&recipe->args);
    vt_text_release(&recipe->differs);
}
