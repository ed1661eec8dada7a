/*
 * Sizes, costs and first weights of the models: parameters and multiply-accumulates of published
 * networks, the distribution of every kind of initial value, and the loss of a model that has
 * learned nothing.
 */
#include "support/engine_run.h"

/* ---- parameters and costs */

struct size {
    const char *model; /* YAML */
    int64_t image;     /* in place of the data's */
    int64_t params;
    double padded_gmac; /* of the form that computes padded and unread tokens; 0: not known */
    double gmac;        /* as computed; 0: not known */
};

#define VIT(preset, more) "{preset: " preset ", classes: " more "}"
#define SWIN_CIFAR(more) "{preset: swin_cifar, " more "}"
#define SWIN_LITE "{family: swin, patch: 2, dim: 96, heads: [3, 6, 12], window: 4, "

#define MOBILEVIT(size, classes, strides)                                                          \
    "{preset: mobilevit_" size ", classes: " #classes ", strides: " strides "}"
#define AS_PUBLISHED "[2, 1, 2, 2, 2, 2]"

static const struct size sizes[] = {
    /* ViT-B/16 (Dosovitskiy et al. 2021); of its last block's C^2 (1 + 2 mlp_ratio) behind
     * attention only the class token's are computed */
    {VIT("vit_b_16", "1000"), 224, 86567656, 17.56, 16.52},
    {VIT("vit_b_16", "10"), 224, 85806346, 0, 0},
    {VIT("vit_b_16", "100"), 224, 85875556, 0, 0},
    {VIT("vit_b_16", "21843"), 224, 102595923, 0, 0},
    {VIT("vit_b_16", "10"), 32, 85658890, 0, 0},
    /* small images, patch 4 */
    {VIT("vit_ti_p4", "10"), 32, 5362762, 0.365, 0.344},
    {VIT("vit_sl_p4", "10"), 32, 2697610, 0.188, 0.176},
    {VIT("vit_lite_7_4", "10, qkv_bias: false"), 32, 3716874, 0.255, 0.234},
    {VIT("vit_lite_7_4", "10"), 32, 3722250, 0.255, 0.234},
    {VIT("vit_o_p4", "10"), 32, 6268810, 0.427, 0.398},
    {VIT("vit_k_p4", "10, qkv_bias: false"), 32, 9523722, 0.641, 0.591},
    {VIT("vit_k_p4", "10"), 32, 9532938, 0.641, 0.591},
    {VIT("vit_s_p4", "10"), 32, 21342346, 1.420, 1.335},
    {VIT("vit_b_p4", "10"), 32, 85152010, 5.601, 5.261},
    /* Swin at 224 (Liu et al. 2021) */
    {"{preset: swin_t, classes: 1000}", 224, 28288354, 4.49, 0},
    {"{preset: swin_t, classes: 10}", 224, 27527044, 0, 0},
    {"{preset: swin_t, classes: 100}", 224, 27596254, 0, 0},
    {"{preset: swin_s, classes: 1000}", 224, 49606258, 8.74, 0},
    {"{preset: swin_s, classes: 10}", 224, 48844948, 0, 0},
    {"{preset: swin_s, classes: 100}", 224, 48914158, 0, 0},
    {"{preset: swin_b, classes: 1000}", 224, 87768224, 15.43, 0},
    {"{preset: swin_b, classes: 10}", 224, 86753474, 0, 0},
    {"{preset: swin_b, classes: 100}", 224, 86845724, 0, 0},
    {"{preset: swin_l, classes: 1000}", 224, 196532476, 34.48, 0},
    {"{preset: swin_l, classes: 10}", 224, 195010846, 0, 0},
    {"{preset: swin_l, classes: 100}", 224, 195149176, 0, 0},
    {"{preset: swin_t, classes: 1000, merge_bias: true}", 224, 28289698, 0, 0},
    /* Swin of three stages for 32x32; unmasked keeps the window, strict clamps it to the map */
    {SWIN_CIFAR("window_mode: unmasked"), 32, 14373340, 1.350, 0.621},
    {SWIN_CIFAR("window_mode: torchvision"), 32, 14373340, 1.350, 0},
    {SWIN_CIFAR("classes: 100, window_mode: unmasked"), 32, 14442550, 1.350, 0},
    {SWIN_CIFAR("window_mode: strict"), 32, 14370460, 1.188, 0},
    {SWIN_CIFAR("window: 4"), 32, 14365420, 0.613, 0},
    {SWIN_CIFAR("window: 8"), 32, 14372812, 0.637, 0},
    {SWIN_CIFAR("mlp_ratio: 4, window_mode: unmasked"), 32, 27214684, 1.916, 0},
    {SWIN_CIFAR("mlp_ratio: 4"), 32, 27211804, 1.754, 0},
    {SWIN_CIFAR("mlp_ratio: 4, window: 4"), 32, 27206764, 1.180, 0},
    {SWIN_CIFAR("patch: 4, window_mode: unmasked"), 32, 14380252, 0.546, 0},
    {SWIN_CIFAR("patch: 4"), 32, 14372092, 0.199, 0},
    {SWIN_CIFAR("patch: 4, window: 4"), 32, 14371372, 0.154, 0},
    {SWIN_CIFAR("patch: 4, mlp_ratio: 4, window_mode: unmasked"), 32, 27221596, 0.687, 0},
    {SWIN_CIFAR("patch: 4, mlp_ratio: 4, window: 4"), 32, 27212716, 0.295, 0},
    {SWIN_LITE "depths: [2, 6, 4], mlp_ratio: 2}", 32, 7048612, 0.241, 0},
    {"{preset: swin_t, patch: 2, window: 4}", 32, 27505108, 0.358, 0},
    {"{preset: swin_t, patch: 1, window: 4}", 32, 27506164, 1.431, 0},
    /* MobileViT (Mehta, Rastegari 2022) at 256, and with other strides at 32 */
    {MOBILEVIT("xxs", 1000, AS_PUBLISHED), 256, 1272024, 0.407, 0},
    {MOBILEVIT("xxs", 10, AS_PUBLISHED), 256, 954234, 0, 0},
    {MOBILEVIT("xxs", 100, AS_PUBLISHED), 256, 983124, 0, 0},
    {MOBILEVIT("xs", 1000, AS_PUBLISHED), 256, 2317848, 1.026, 0},
    {MOBILEVIT("xs", 10, AS_PUBLISHED), 256, 1936698, 0, 0},
    {MOBILEVIT("xs", 100, AS_PUBLISHED), 256, 1971348, 0, 0},
    {MOBILEVIT("s", 1000, AS_PUBLISHED), 256, 5578632, 2.001, 0},
    {MOBILEVIT("s", 10, AS_PUBLISHED), 256, 4944042, 0, 0},
    {MOBILEVIT("s", 100, AS_PUBLISHED), 256, 5001732, 0, 0},
    {MOBILEVIT("xxs", 10, "[1, 1, 1, 2, 2, 2]"), 32, 954234, 0.080, 0},
    {MOBILEVIT("xs", 10, "[1, 1, 1, 2, 2, 2]"), 32, 1936698, 0.209, 0},
    {MOBILEVIT("s", 10, "[1, 1, 1, 2, 2, 2]"), 32, 4944042, 0.442, 0},
    {MOBILEVIT("xxs", 10, "[1, 1, 2, 2, 2, 1]"), 32, 954234, 0.026, 0},
    {MOBILEVIT("xs", 10, "[1, 1, 2, 2, 2, 1]"), 32, 1936698, 0.067, 0},
    {MOBILEVIT("s", 10, "[1, 1, 2, 2, 2, 1]"), 32, 4944042, 0.143, 0},
    {MOBILEVIT("xxs", 10, "[1, 1, 2, 2, 2, 2]"), 32, 954234, 0.021, 0},
    {MOBILEVIT("xs", 10, "[1, 1, 2, 2, 2, 2]"), 32, 1936698, 0.057, 0},
    {MOBILEVIT("s", 10, "[1, 1, 2, 2, 2, 2]"), 32, 4944042, 0.115, 0},
    {MOBILEVIT("xxs", 10, AS_PUBLISHED), 32, 954234, 0.006, 0},
    {MOBILEVIT("xs", 10, AS_PUBLISHED), 32, 1936698, 0.016, 0},
    {MOBILEVIT("s", 10, AS_PUBLISHED), 32, 4944042, 0.033, 0},
    /* compact convolutional transformers (Hassani et al. 2021) */
    {"{preset: cct_2_3x2}", 32, 283723, 0.035, 0},
    {"{preset: cct_7_3x1}", 32, 3760139, 1.182, 0},
    {"{preset: cct_7_3x2}", 32, 3853259, 0.289, 0},
};
enum { N_SIZES = sizeof sizes / sizeof *sizes };

static vt_config *load_model(const char *model, int64_t image)
{
    char yaml[600];
    snprintf(yaml, sizeof yaml, "model: %s\n", model);
    vt_config *config = load_experiment(yaml);
    config->model_image = image;
    return config;
}

static void plan(vt_engine *engine, const vt_config *config)
{
    vt_error err = {0};
    vt_engine_add_slot(engine, 1, false);
    expect_ok(vt_engine_plan(engine, config, &err), &err);
}

/* Within 1 % of a published figure, or half of its last decimal, the third. */
static void expect_cost(const char *model, const char *what, double gmac, double published)
{
    if (published > 0)
        expect_below(model, what, fabs(gmac - published), fmax(0.01 * published, 0.0005));
}

/* Running means and variances: two numbers for each channel that a batch norm sees. */
static void running_statistics_are_counted_apart(void **state)
{
    (void)state;
    static const struct {
        const char *preset;
        int64_t floats;
    } rows[] = {{"{preset: mobilevit_xxs}", 4112},
                {"{preset: mobilevit_xs}", 8448},
                {"{preset: mobilevit_s}", 12256}};
    for (int i = 0; i < 3; i++) {
        vt_config *config = load_model(rows[i].preset, 32);
        vt_engine engine = {0};
        int64_t floats = 0;
        plan(&engine, config);
        for (int j = 0; j < engine.params->n; j++)
            if (engine.params->item[j]->role == VT_ROLE_BUFFER)
                floats += engine.params->item[j]->shape.size;
        assert_int_equal(floats, rows[i].floats);
        vt_engine_release(&engine);
        vt_config_free(config);
    }
}

static void published_parameters_and_costs(void **state)
{
    (void)state;
    for (int i = 0; i < N_SIZES; i++) {
        const struct size *s = &sizes[i];
        vt_config *config = load_model(s->model, s->image);
        vt_engine engine = {0};
        plan(&engine, config);
        int64_t params = vt_params_count(engine.params);
        double padded = vt_engine_macs(&engine, true) / 1e9;
        double computed = vt_engine_macs(&engine, false) / 1e9;
        if (params != s->params)
            fail_msg("%s has %lld parameters, expected %lld", s->model, (long long)params,
                     (long long)s->params);
        expect_cost(s->model, "padded GMAC", padded, s->padded_gmac);
        expect_cost(s->model, "GMAC", computed, s->gmac);
        assert_true(computed <= padded);
        vt_engine_release(&engine);
        vt_config_free(config);
    }
}

/* ---- initial values */

struct moments {
    double mean, std, least, most;
};

static struct moments moments_of(const float *x, int64_t n)
{
    struct moments m = {.least = INFINITY, .most = -INFINITY};
    for (int64_t i = 0; i < n; i++) {
        m.mean += (double)x[i] / (double)n;
        m.least = fmin(m.least, (double)x[i]);
        m.most = fmax(m.most, (double)x[i]);
    }
    for (int64_t i = 0; i < n; i++)
        m.std += ((double)x[i] - m.mean) * ((double)x[i] - m.mean) / (double)n;
    m.std = sqrt(m.std);
    return m;
}

static void expect_constant(const char *name, const float *x, int64_t n, float value)
{
    for (int64_t i = 0; i < n; i++)
        if (!(x[i] == value))
            fail_msg("%s[%lld] starts as %g, expected %g", name, (long long)i, (double)x[i],
                     (double)value);
}

/* Mean and deviation within five standard errors; the seed is fixed. */
static void expect_normal(const char *name, const float *x, int64_t n, double std)
{
    struct moments m = moments_of(x, n);
    expect_below(name, "mean", fabs(m.mean) / std, 5 / sqrt((double)n));
    expect_below(name, "deviation", fabs(m.std / std - 1), 5 / sqrt(2 * (double)n));
    if (n >= 2000) /* no uniform distribution reaches so far */
        assert_true(m.least < -2.5 * std && m.most > 2.5 * std);
    assert_true(m.least > -6 * std && m.most < 6 * std);
}

static void expect_uniform(const char *name, const float *x, int64_t n, double limit)
{
    struct moments m = moments_of(x, n);
    double std = limit / sqrt(3.0), rest = limit * 8 / (double)n; /* left free at an end */
    expect_below(name, "mean", fabs(m.mean) / std, 5 / sqrt((double)n));
    expect_below(name, "deviation", fabs(m.std / std - 1), 5 / sqrt(5 * (double)n));
    if (m.least < -limit || m.most > limit || m.least > -limit + rest || m.most < limit - rest)
        fail_msg("%s lies in %g .. %g, expected +-%g", name, m.least, m.most, limit);
}

enum kind { CONSTANT, NORMAL, UNIFORM };

/* The first row whose pattern fits a name says how the parameter starts. */
struct start {
    const char *pattern;
    enum kind kind;
    double value; /* constant, deviation or limit */
};

static void expect_starts(const char *model, const struct start *starts)
{
    vt_config *config = load_model(model, 32);
    vt_engine engine = {0};
    plan(&engine, config);
    const vt_params *params = engine.params;
    float *weights = vt_calloc((size_t)params->n_floats, sizeof *weights);
    assert_non_null(weights);
    vt_params_fill(params, 7, weights);
    for (int i = 0; i < params->n; i++) {
        const vt_param *p = params->item[i];
        const struct start *s = starts;
        const float *x = weights + p->offset;
        while (s->pattern && !vt_glob(s->pattern, p->name))
            s++;
        if (!s->pattern)
            fail_msg("no row for %s", p->name);
        if (s->kind == CONSTANT)
            expect_constant(p->name, x, p->shape.size, (float)s->value);
        else if (s->kind == NORMAL)
            expect_normal(p->name, x, p->shape.size, s->value);
        else
            expect_uniform(p->name, x, p->shape.size, s->value);
    }
    vt_free(weights);
    vt_engine_release(&engine);
    vt_config_free(config);
}

#define NORMS                                                                                      \
    {"*norm*.weight", CONSTANT, 1},                                                                \
    {                                                                                              \
        "*norm*.bias", CONSTANT, 0                                                                 \
    }
#define END                                                                                        \
    {                                                                                              \
        NULL, CONSTANT, 0                                                                          \
    }

/* dim 64, hidden 128, patches of 48 values */
#define SMALL_VIT "{family: vit, patch: 4, dim: 64, depth: 2, heads: 2, mlp_ratio: 2, init: "

static void timm_s_first_weights(void **state)
{
    (void)state;
    const struct start starts[] = {
        NORMS,
        {"cls_token", NORMAL, 1e-6},
        {"pos_embed", NORMAL, 0.02},
        {"patch_embed.proj.*", UNIFORM, 1 / sqrt(48)},
        {"*.bias", CONSTANT, 0},
        {"*.weight", NORMAL, 0.02},
        END,
    };
    expect_starts(SMALL_VIT "timm}", starts);
    expect_starts("{preset: vit_lite_7_4}", starts);
}

static void torchvision_s_first_weights(void **state)
{
    (void)state;
    const struct start starts[] = {
        NORMS,
        {"cls_token", CONSTANT, 0},
        {"pos_embed", NORMAL, 0.02},
        {"patch_embed.proj.weight", NORMAL, sqrt(1.0 / 48)},
        {"patch_embed.proj.bias", CONSTANT, 0},
        {"*.qkv.weight", UNIFORM, sqrt(6.0 / (64 + 3 * 64))},
        {"*.proj.weight", UNIFORM, sqrt(1.0 / 64)},
        {"*.attn.*.bias", CONSTANT, 0},
        {"*.mlp.*.weight", UNIFORM, sqrt(6.0 / (64 + 128))},
        {"*.mlp.*.bias", NORMAL, 1e-6},
        {"head.*", CONSTANT, 0},
        END,
    };
    expect_starts(SMALL_VIT "torchvision}", starts);
}

static void the_article_s_first_weights(void **state)
{
    (void)state;
    const struct start starts[] = {
        NORMS,
        {"cls_token", CONSTANT, 0},
        {"pos_embed", CONSTANT, 0},
        {"patch_embed.proj.*", UNIFORM, 1 / sqrt(48)},
        {"*.attn.*", UNIFORM, 1 / sqrt(64)},
        {"*.mlp.*.weight", UNIFORM, sqrt(6.0 / (64 + 128))},
        {"*.mlp.*.bias", NORMAL, 1e-6},
        {"head.*", UNIFORM, 1 / sqrt(64)},
        END,
    };
    expect_starts(SMALL_VIT "article}", starts);
}

static void swin_s_first_weights(void **state)
{
    (void)state;
    static const char *const inits[] = {"timm", "torchvision", "article"};
    const struct start starts[] = {
        NORMS,
        {"patch_embed.proj.*", UNIFORM, 1 / sqrt(12)},
        {"*relative_position_bias_table", NORMAL, 0.02},
        {"absolute_pos_embed", NORMAL, 0.02},
        {"*.bias", CONSTANT, 0},
        {"*.weight", NORMAL, 0.02},
        END,
    };
    for (int i = 0; i < 3; i++) {
        char model[300];
        snprintf(model, sizeof model,
                 "{family: swin, patch: 2, dim: 32, depths: [2, 2], heads: [1, 2], window: 4, "
                 "mlp_ratio: 2, merge_bias: true, pos_embed: learned, init: %s}",
                 inits[i]);
        expect_starts(model, starts);
    }
}

static void seeds_and_parameters_draw_on_their_own(void **state)
{
    (void)state;
    vt_config *config = load_model(SMALL_VIT "timm}", 32);
    vt_engine engine = {0};
    plan(&engine, config);
    int64_t n = engine.params->n_floats;
    float *first = vt_calloc((size_t)n, sizeof *first), *second = vt_calloc((size_t)n, 4);
    const vt_param *a = vt_params_find(engine.params, "blocks.0.attn.proj.weight");
    const vt_param *b = vt_params_find(engine.params, "blocks.1.attn.proj.weight");
    assert_true(first && second && a && b);
    vt_params_fill(engine.params, 1, first);
    vt_params_fill(engine.params, 1, second);
    assert_memory_equal(first, second, (size_t)n * sizeof *first);
    vt_params_fill(engine.params, 1 | UINT64_C(1) << 32, second);
    assert_true(worst_difference(first + a->offset, second + a->offset, a->shape.size) > 0.02);
    assert_true(worst_difference(first + a->offset, first + b->offset, a->shape.size) > 0.02);
    vt_free(first);
    vt_free(second);
    vt_engine_release(&engine);
    vt_config_free(config);
}

/* ---- the first loss */

static double first_loss(vt_dev *dev, const char *model)
{
    enum { BATCH = 32 };
    vt_config *config = load_model(model, 32);
    vt_engine engine = {0};
    vt_error err = {0};
    int32_t labels[BATCH];
    vt_engine_add_slot(&engine, BATCH, false);
    expect_ok(vt_engine_init(&engine, config, dev, &err), &err);
    float *images = make_images(config, BATCH, labels);
    vt_slot *slot = vt_engine_slot(&engine, BATCH, false);
    vt_engine_write_batch(&engine, slot, images, labels);
    double loss = vt_engine_eval_batch(&engine, slot, NULL, NULL).v[VT_TOTAL_LOSS] / BATCH;
    vt_free(images);
    vt_engine_release(&engine);
    vt_config_free(config);
    return loss;
}

#define SMALL_SWIN                                                                                 \
    "{family: swin, patch: 4, dim: 32, depths: [2, 2], heads: [1, 2], window: 4, mlp_ratio: 2"

static void a_new_model_guesses(void **state)
{
    (void)state;
    vt_dev *dev = new_device(1);
    /* a head with PyTorch's default weights has logits of deviation 0.6, so its mean loss is
     * half their variance higher */
    expect_below("vit, timm", "loss", fabs(first_loss(dev, SMALL_VIT "timm}") - log(10)), 0.1);
    expect_below("vit, torchvision", "loss",
                 fabs(first_loss(dev, SMALL_VIT "torchvision}") - log(10)), 1e-6);
    expect_below("vit, article", "loss", fabs(first_loss(dev, SMALL_VIT "article}") - log(10)),
                 0.3);
    expect_below("swin", "loss", fabs(first_loss(dev, SMALL_SWIN "}") - log(10)), 0.1);
    expect_below("swin, 37 classes", "loss",
                 fabs(first_loss(dev, SMALL_SWIN ", classes: 37}") - log(37)), 0.1);
    vt_dev_free(dev);
}

static void a_head_of_zeros_gives_the_log_of_the_classes(void **state)
{
    (void)state;
    static const char *const inits[] = {"timm", "torchvision", "article"};
    vt_dev *dev = new_device(1);
    for (int i = 0; i < 3; i++) {
        char model[300];
        snprintf(model, sizeof model, SMALL_VIT "%s, zero_head: true}", inits[i]);
        expect_below(model, "loss", fabs(first_loss(dev, model) - log(10)), 3e-7);
    }
    expect_below("swin", "loss", fabs(first_loss(dev, SMALL_SWIN ", zero_head: true}") - log(10)),
                 3e-7);
    expect_below("swin, 100 classes", "loss",
                 fabs(first_loss(dev, SMALL_SWIN ", zero_head: true, classes: 100}") - log(100)),
                 3e-7);
    vt_dev_free(dev);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE("published models have their parameters and costs", published_parameters_and_costs),
        CASE("running statistics are counted apart", running_statistics_are_counted_apart),
        CASE("timm's first weights", timm_s_first_weights),
        CASE("torchvision's first weights", torchvision_s_first_weights),
        CASE("the article's first weights", the_article_s_first_weights),
        CASE("Swin's first weights are the same in every mode", swin_s_first_weights),
        CASE("seeds and parameters draw on their own", seeds_and_parameters_draw_on_their_own),
        CASE("a new model guesses", a_new_model_guesses),
        CASE("a head of zeros gives the log of the classes",
             a_head_of_zeros_gives_the_log_of_the_classes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
