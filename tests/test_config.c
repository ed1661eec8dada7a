/* The configuration: layers, origins, identity, what is printed. Errors: test_config_input.c. */
#include "base/mem.h"
#include "config/config.h"
#include "config_samples.h"
#include "data/shapes.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <unistd.h>

static char folder[64]; /* of this program's files */

static const char *write_file(const char *name, const char *text)
{
    static char path[4][200];
    static int next;
    char *p = path[next++ % 4];
    snprintf(p, sizeof path[0], "%s/%s", folder, name);
    FILE *file = fopen(p, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
    return p;
}

/* Loads a file that must be good. */
static vt_config *load(const char *path, const char *const *sets, int n_sets)
{
    vt_diagnostics diags = {0};
    vt_config *config;
    if (vt_config_load(&config, path, sets, n_sets, NULL, &diags) != VT_OK)
        fail_msg("%s does not load:\n%s", path, diags.text.data);
    assert_int_equal(diags.n_errors, 0);
    vt_diagnostics_release(&diags);
    return config;
}

static vt_config *load_text(const char *text)
{
    return load(write_file("text.yaml", text), NULL, 0);
}

static void id_of_text(const char *text, char id[VT_SHA256_HEX_SIZE])
{
    vt_config *config = load_text(text);
    assert_int_equal(vt_config_experiment_id(config, id), VT_OK);
    vt_config_free(config);
}

static int find_field(const char *path)
{
    for (int i = 0; i < vt_config_field_count(); i++)
        if (strcmp(vt_config_field_at(i).path, path) == 0)
            return i;
    fail_msg("no key %s", path);
    return -1;
}

static int set_up(void **state)
{
    (void)state;
    snprintf(folder, sizeof folder, "%s", "/tmp/vitrine-config-XXXXXX");
    return mkdtemp(folder) ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    char command[100];
    snprintf(command, sizeof command, "rm -r '%s'", folder);
    return system(command);
}

#define SWIN "model: {preset: swin_cifar}\n"
#define VIT "model: {family: vit, patch: 8, dim: 32, depth: 2, heads: 2}\n"

static void test_layers(void **state)
{
    (void)state;
    write_file("base_a.yaml", "optim: {lr: 0.1, clip_norm: 1, no_decay: [bias, norm]}\n"
                              "train: {batch: 7}\n");
    write_file("base_b.yaml", "extends: base_a.yaml\noptim: {lr: 0.2}\n");
    const char *path = write_file("top.yaml", "extends: [base_a.yaml, base_b.yaml]\n" SWIN
                                              "optim: {no_decay: [rel_bias]}\n"
                                              "data: {name: cifar100}\n");
    const char *const sets[] = {"optim.lr=0.3", "optim={lr: 0.4, weight_decay: 0.5}",
                                "train.batch=9", "model.window=4"};
    const vt_config_overrides own = {.has_seed = true,
                                     .has_threads = true,
                                     .seed = UINT64_MAX,
                                     .threads = 3,
                                     .data_dir = "a: b"};
    vt_diagnostics diags = {0};
    vt_config *config;
    assert_int_equal(vt_config_load(&config, path, sets, 4, &own, &diags), VT_OK);
    assert_true(config->optim_lr == 0.4);
    assert_true(config->optim_weight_decay == 0.5);
    assert_true(config->optim_clip_norm == 1);
    assert_int_equal(config->optim_no_decay, 1u << VT_NO_DECAY_REL_BIAS);
    assert_int_equal(config->train_batch, 9);
    assert_int_equal(config->eval_batch, 9);
    assert_int_equal(config->model_window, 4);
    assert_int_equal(config->model_dim, 192);
    assert_int_equal(config->model_classes, 100);
    assert_true(config->seed == UINT64_MAX);
    assert_int_equal(config->train_threads, 3);
    assert_string_equal(config->data_dir, "a: b");
    assert_string_equal(vt_config_name(config), "top");
    vt_config_free(config);

    config = load(path, NULL, 0);
    assert_true(config->optim_lr == 0.2);
    vt_config_free(config);
}

static void test_family_defaults(void **state)
{
    (void)state;
    vt_config *vit = load_text(VIT), *swin = load_text(SWIN);
    assert_int_equal(vit->model_pool, VT_POOL_TOKEN);
    assert_int_equal(vit->model_pos_embed, VT_POS_LEARNED);
    assert_true(vit->model_norm_eps == 1e-6);
    assert_int_equal(swin->model_family, VT_FAMILY_SWIN);
    assert_int_equal(swin->model_pool, VT_POOL_MEAN);
    assert_int_equal(swin->model_pos_embed, VT_POS_NONE);
    assert_true(swin->model_norm_eps == 1e-5);
    assert_true(swin->model_patch_norm);
    assert_false(swin->model_merge_bias);
    assert_int_equal(swin->model_window_mode, VT_WINDOW_STRICT);
    assert_true(vit->optim_weight_decay == 0.05);
    assert_int_equal(vit->model_heads.n, 1);
    vt_config_free(vit);
    vt_config_free(swin);
    vt_config *adam = load_text(VIT "optim: {name: adam}\n");
    assert_true(adam->optim_weight_decay == 0);
    vt_config_free(adam);
    vt_config *drop = load_text("model: {preset: vit_ti_p4, drop: 0.1, mlp_drop: 0.2}\n");
    assert_true(drop->model_embed_drop == 0.1 && drop->model_proj_drop == 0.1);
    assert_true(drop->model_mlp_drop == 0.2 && drop->model_attn_drop == 0);
    vt_config_free(drop);
}

static void test_null_resets(void **state)
{
    (void)state;
    const char *path = write_file("null.yaml", SWIN "optim: {lr: 0.5}\ntrain:\n");
    const char *const sets[] = {"optim.lr=null", "model.window=~"};
    vt_config *config = load(path, sets, 2);
    assert_true(config->optim_lr == 1e-3);
    assert_int_equal(config->model_window, 7);
    assert_string_equal(vt_config_origin(config, "optim.lr"), "default");
    vt_config_free(config);
}

static void test_values(void **state)
{
    (void)state;
    vt_config *c = load_text(
        VIT "seed: 18446744073709551615\n"
            "data:\n"
            "  dir: \"1e-3\"\n"
            "  normalise: {mean: [0, 0.5, 1], std: [1, 2, .5]}\n"
            "  train: [flip: 0.25, random_crop: {pad: 4}]\n"
            "optim: {name: adam, lr: 1, betas: [0, 0.5], eps: 1E-8}\n"
            "train: {freeze: [head.*, \"blocks.0.*\", head.*], batch: 0x10, epochs: 0o17}\n"
            "attention: {images: 2, epochs: [1, 3]}\n"
            "checkpoint: {every: 50 steps}\n"
            "schedule: {name: multistep, milestones: 3, gamma: 1.}\n");
    assert_true(c->seed == UINT64_MAX);
    assert_string_equal(c->data_dir, "1e-3");
    assert_int_equal(c->data_normalise.kind, VT_NORMALISE_GIVEN);
    assert_true(c->data_normalise.mean[1] == 0.5f && c->data_normalise.std[2] == 0.5f);
    assert_int_equal(c->data_train.n, 2);
    assert_int_equal(c->data_train.item[0].kind, VT_TRANSFORM_FLIP);
    assert_true(c->data_train.item[0].p == 0.25f);
    assert_int_equal(c->data_train.item[1].pad, 4);
    assert_true(c->optim_lr == 1 && c->optim_eps == 1e-8);
    assert_true(c->optim_betas.n == 2 && c->optim_betas.v[0] == 0 && c->optim_betas.v[1] == 0.5);
    assert_int_equal(c->train_freeze.n, 2);
    assert_string_equal(c->train_freeze.v[0], "blocks.0.*");
    assert_string_equal(c->train_freeze.v[1], "head.*");
    assert_int_equal(c->train_batch, 16);
    assert_int_equal(c->train_epochs, 15);
    assert_int_equal(c->attention_epochs.kind, VT_EPOCHS_LIST);
    assert_int_equal(c->attention_epochs.list.v[1], 3);
    assert_int_equal(c->checkpoint_every.n, 50);
    assert_int_equal(c->checkpoint_every.unit, VT_CADENCE_STEPS);
    assert_int_equal(c->schedule_milestones.n, 1);
    assert_null(c->model_weights);
    assert_null(c->model_preset);
    vt_config_free(c);
    c = load_text(SWIN "data: {name: cifar10, normalise: cifar10}\n");
    assert_true(c->data_normalise.mean[0] == 0.4914f && c->data_normalise.std[2] == 0.2616f);
    vt_config_free(c);
}

static void test_origins(void **state)
{
    (void)state;
    const char *path = write_file("origin.yaml", "# a comment\n" SWIN "optim:\n  lr: 1e-3\n");
    const char *const sets[] = {"train.batch=9"};
    char expected[300];
    vt_config *config = load(path, sets, 1);
    snprintf(expected, sizeof expected, "%s:4:7", path);
    assert_string_equal(vt_config_origin(config, "optim.lr"), expected);
    assert_string_equal(vt_config_origin(config, "train.batch"), "--set[1]:13");
    assert_string_equal(vt_config_origin(config, "eval.batch"), "train.batch");
    assert_string_equal(vt_config_origin(config, "model.dim"), "preset swin_cifar");
    assert_string_equal(vt_config_origin(config, "model.pool"), "model.family: swin");
    assert_string_equal(vt_config_origin(config, "model.image"), "data.name: shapes");
    assert_string_equal(vt_config_origin(config, "model.gelu"), "default");
    assert_string_equal(vt_config_origin(config, "optim.momentum"),
                        "not used with optim.name: adamw");
    assert_null(vt_config_origin(config, "optim.nothing"));
    char *text = vt_config_print(config, true);
    assert_non_null(strstr(text, "# preset swin_cifar\n"));
    assert_non_null(strstr(text, "# --set[1]:13\n"));
    vt_free(text);
    vt_config_free(config);
}

static void test_dropped_keys(void **state)
{
    (void)state;
    const char *path =
        write_file("sgd.yaml", VIT "optim: {name: sgd, momentum: 0.5, nesterov: true}\n");
    const char *const sets[] = {"optim.name=adam"};
    vt_config *config = load(path, sets, 1);
    assert_int_equal(vt_config_note_count(config), 2);
    assert_non_null(strstr(vt_config_note(config, 0), "sgd.yaml:2:30"));
    assert_non_null(strstr(vt_config_note(config, 0), "optim.momentum is left out"));
    assert_non_null(strstr(vt_config_note(config, 0), "optim.name: adam (--set[1]:12)"));
    assert_false(vt_config_field_active(config, find_field("optim.momentum")));
    assert_true(config->optim_momentum == 0.9); /* back at the default */
    vt_config_free(config);
}

static void test_notes(void **state)
{
    (void)state;
    vt_config *config = load_text("model: {preset: swin_cifar, window_mode: unmasked, patch: 3}\n");
    int n = vt_config_note_count(config);
    char all[2000] = "";
    for (int i = 0; i < n; i++)
        snprintf(all + strlen(all), sizeof all - strlen(all), "%s\n", vt_config_note(config, i));
    /* 32 / 3: 11 patches on 33 pixels; maps 11, 6, 3 */
    assert_non_null(strstr(all, "32 pixels are no multiple of 3: padded to 33 (11 x 11 patches)"));
    assert_non_null(strstr(all, "stage 1: the map of 11 x 11 is padded to 12 x 12 to merge"));
    assert_non_null(strstr(all, "window 7 does not divide the map of 11 x 11: padded to 14 x 14"));
    assert_non_null(strstr(all, "window 7 does not divide the map of 3 x 3: padded to 7 x 7"));
    assert_int_equal(n, 5);
    vt_config_free(config);
    config = load_text("model: {preset: swin_cifar, window: 8}\n");
    assert_int_equal(vt_config_note_count(config), 1);
    assert_non_null(strstr(vt_config_note(config, 0), "clamped to the map of 4 x 4; no shift"));
    vt_config_free(config);
}

static void test_equal_ids(void **state)
{
    (void)state;
    static const char *const same[][2] = {
        {SWIN, "model: {family: swin, patch: 2, dim: 192, depths: [2, 6, 2], heads: [3, 6, 12], "
               "window: 7, mlp_ratio: 1.0}\n"},
        {SWIN "optim: {lr: 1e-3, eps: 1e-8}\n", "optim: {eps: 0.00000001, lr: 0.001}\n" SWIN},
        {SWIN, SWIN "seed: 5\ndata: {dir: /elsewhere}\n"},
        {SWIN, SWIN "train: {threads: 2}\nlog: {every: 1}\nattention: {images: 4, epochs: all}\n"
                    "checkpoint: {every: 7 steps, keep: 3}\n"},
        {"model: {preset: vit_ti_p4, drop: 0.1}\n",
         "model: {preset: vit_ti_p4, embed_drop: 0.1, proj_drop: 0.1, mlp_drop: 0.1}\n"},
        {SWIN "data: {normalise: half}\n",
         SWIN "data: {normalise: {mean: [0.5, 0.5, 0.5], std: [0.5, 0.5, 0.5]}}\n"},
        {SWIN, SWIN "schedule: {warmup_from: 0.5e-3}\n"}, /* without warm-up no effect */
        {SWIN, "model: {preset: swin_cifar, drop_path_mode: element}\n"},
        {SWIN "optim: {weight_decay: 0}\n", SWIN "optim: {weight_decay: 0, no_decay: []}\n"},
        {SWIN "optim: {no_decay: [bias, norm]}\n", SWIN "optim: {no_decay: [norm, bias, norm]}\n"},
        {SWIN "train: {freeze: [a, b]}\n", SWIN "train: {freeze: [b, a]}\n"},
        {SWIN, SWIN "data: {train: []}\n"},
        {SWIN, SWIN "optim: {clip_norm: -0.0}\n"},
    };
    char a[VT_SHA256_HEX_SIZE], b[VT_SHA256_HEX_SIZE];
    for (size_t i = 0; i < sizeof same / sizeof *same; i++) {
        id_of_text(same[i][0], a);
        id_of_text(same[i][1], b);
        if (strcmp(a, b) != 0)
            fail_msg("ids differ:\n%s\n%s", same[i][0], same[i][1]);
    }
}

/* Every key: two legal values are two values, and they differ in the id if and only if the row
 * says so. */
static void test_samples(void **state)
{
    (void)state;
    for (int i = 0; i < vt_config_field_count(); i++) {
        vt_config_field field = vt_config_field_at(i);
        const config_sample *sample = NULL;
        for (int s = 0; s < N_CONFIG_SAMPLES; s++)
            if (strcmp(config_samples[s].path, field.path) == 0)
                sample = &config_samples[s];
        if (!sample)
            fail_msg("tests/config_samples.def has no row for %s", field.path);
        char id[2][VT_SHA256_HEX_SIZE], path[100];
        vt_text value[2] = {{0}, {0}};
        snprintf(path, sizeof path, "experiments/%s.yaml", sample->experiment);
        for (int v = 0; v < 2 && sample->value[v]; v++) {
            sample_sets sets;
            fill_sample_sets(&sets, sample, sample->value[v]);
            vt_config *config = load(path, sets.set, sets.n);
            assert_int_equal(vt_config_experiment_id(config, id[v]), VT_OK);
            /* A value that switches its own key's effect off is fine; the settings must not. */
            if (!vt_config_field_active(config, i))
                fail_msg("%s has no effect with its sample's settings", field.path);
            vt_config_value(config, i, &value[v]);
            vt_config_free(config);
        }
        if (sample->value[1]) {
            assert_string_not_equal(value[0].data, value[1].data);
            bool same_id = strcmp(id[0], id[1]) == 0;
            /* model.drop and model.preset act through other keys, which are in the id. */
            bool indirect =
                strcmp(field.path, "model.drop") == 0 || strcmp(field.path, "model.preset") == 0;
            if (same_id == (field.identity || indirect))
                fail_msg("%s: ids of %s and %s", field.path, sample->value[0], sample->value[1]);
        }
        vt_text_release(&value[0]);
        vt_text_release(&value[1]);
    }
    assert_int_equal(N_CONFIG_SAMPLES, vt_config_field_count());
}

static const char *const shipped[] = {"cct_2_3x2_cifar10",
                                      "cct_7_3x1_cifar10",
                                      "cct_7_3x1_cifar100",
                                      "hybrid_convstem_vit_cifar10",
                                      "hybrid_csp_vit_cifar10",
                                      "hybrid_mobilevit_vit_cifar10",
                                      "hybrid_mv2_swin_cifar10",
                                      "mobilevit_s_cifar10",
                                      "mobilevit_s_cifar100",
                                      "mobilevit_s_cifar10_b",
                                      "mobilevit_xs_cifar10",
                                      "mobilevit_xs_cifar10_b",
                                      "mobilevit_xxs_cifar10",
                                      "mobilevit_xxs_cifar10_b",
                                      "quick/cct",
                                      "quick/hybrid",
                                      "quick/mobilevit",
                                      "quick/swin",
                                      "quick/swin_unmasked",
                                      "quick/vit",
                                      "quick/vit_dropout",
                                      "quickstart",
                                      "swin_cifar_patch2",
                                      "swin_cifar_patch4",
                                      "swin_cifar_w4",
                                      "swin_cifar_w4_cifar100",
                                      "swin_s_cifar10_p2w4",
                                      "swin_t_cifar10",
                                      "swin_t_cifar10_p2w4",
                                      "vit_b16_cifar10",
                                      "vit_b16_cifar10_article",
                                      "vit_lite_7_4",
                                      "vit_lite_7_4_cifar100",
                                      "vit_ti_p4"};

static void test_round_trip(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof shipped / sizeof *shipped; i++) {
        char path[100], a[VT_SHA256_HEX_SIZE], b[VT_SHA256_HEX_SIZE];
        snprintf(path, sizeof path, "experiments/%s.yaml", shipped[i]);
        const char *const sets[] = {
            "seed=3",
            "data.normalise={mean: [0.1, 0.2, 0.3], std: "
            "[0.7, 0.123456789, 3]}",
            "optim.lr=0.1234567890123456789",
            "train.freeze=[\"a 'b' \\\"c\\\" \\\\\", x*, \"#5\", \"null\"]"};
        vt_config *config = load(path, sets, 4);
        char *text = vt_config_print(config, false);
        char *with_origin = vt_config_print(config, true);
        vt_config *again = load_text(text), *third = load_text(with_origin);
        char *text_again = vt_config_print(again, false);
        assert_string_equal(text, text_again);
        vt_config_experiment_id(config, a);
        vt_config_experiment_id(again, b);
        assert_string_equal(a, b);
        vt_config_experiment_id(third, b);
        assert_string_equal(a, b);
        assert_int_equal(again->seed, 3);
        vt_free(text);
        vt_free(text_again);
        vt_free(with_origin);
        vt_config_free(config);
        vt_config_free(again);
        vt_config_free(third);
    }
}

static void test_run_id(void **state)
{
    (void)state;
    char a[VT_RUN_ID_SIZE], b[VT_RUN_ID_SIZE], c[VT_RUN_ID_SIZE];
    vt_config *zero = load_text(SWIN), *one = load_text(SWIN "seed: 1\n");
    assert_int_equal(vt_config_run_id(zero, "00", a), VT_OK);
    vt_config_run_id(one, "00", b);
    vt_config_run_id(zero, "01", c);
    assert_string_not_equal(a, b);
    assert_string_not_equal(a, c);
    assert_int_equal(strlen(a), 12);
    assert_int_equal(strspn(a, "0123456789abcdef"), 12);
    vt_config_free(zero);
    vt_config_free(one);
}

static void test_names(void **state)
{
    (void)state;
    vt_diagnostics diags = {0};
    char path[100];
    assert_int_equal(vt_config_find("quick/vit", path, sizeof path, &diags), VT_OK);
    assert_string_equal(path, "experiments/quick/vit.yaml");
    assert_int_equal(vt_config_find("quick/vit.yaml", path, sizeof path, &diags), VT_OK);
    assert_string_equal(path, "experiments/quick/vit.yaml");
    assert_int_equal(vt_config_find("./experiments/quick/vit.yaml", path, sizeof path, &diags),
                     VT_OK);
    vt_config *config = load(path, NULL, 0);
    assert_string_equal(vt_config_name(config), "quick-vit");
    assert_string_equal(vt_config_path(config), "./experiments/quick/vit.yaml");
    vt_config_free(config);
}

/* Parameters of a ViT and a Swin by formula, against the published totals. */
static int64_t count_vit(const vt_config *c, int64_t tokens, int64_t classes)
{
    int64_t d = c->model_dim, m = (int64_t)((double)d * c->model_mlp_ratio);
    int64_t patch = c->model_patch * c->model_patch * 3 * d + d;
    return patch + d + (tokens + 1) * d + c->model_depth * (4 * d * d + 2 * d * m + 9 * d + m) +
           2 * d + (d + 1) * classes;
}

static int64_t count_swin(const vt_config *c, int64_t side)
{
    int64_t d = c->model_dim, n = c->model_patch * c->model_patch * 3 * d + d + 2 * d;
    for (int i = 0; i < c->model_depths.n; i++, side = (side + 1) / 2, d *= 2) {
        int64_t w = c->model_window < side ? c->model_window : side;
        int64_t m = (int64_t)((double)d * c->model_mlp_ratio);
        n += c->model_depths.v[i] *
             (4 * d * d + 2 * d * m + 9 * d + m + (2 * w - 1) * (2 * w - 1) * c->model_heads.v[i]);
        if (i + 1 < c->model_depths.n)
            n += 8 * d + 8 * d * d;
    }
    d /= 2;
    return n + 2 * d + (d + 1) * 10;
}

static void test_presets(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        int64_t side, n_params;
    } rows[] = {
        {"vit_b_16", 14, 85806346},   {"vit_ti_p4", 8, 5362762}, {"vit_sl_p4", 8, 2697610},
        {"vit_lite_7_4", 8, 3722250}, {"vit_o_p4", 8, 6268810},  {"vit_k_p4", 8, 9532938},
        {"vit_s_p4", 8, 21342346},    {"vit_b_p4", 8, 85152010}, {"swin_t", 56, 27527044},
        {"swin_s", 56, 48844948},     {"swin_b", 56, 86753474},  {"swin_l", 56, 195010846},
        {"swin_cifar", 16, 14370460},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char text[100];
        snprintf(text, sizeof text, "model: {preset: %s}\n", rows[i].name);
        vt_config *config = load_text(text);
        int64_t n = config->model_family == VT_FAMILY_VIT
                        ? count_vit(config, rows[i].side * rows[i].side, 10)
                        : count_swin(config, rows[i].side);
        assert_int_equal(n, rows[i].n_params);
        assert_string_equal(config->model_preset, rows[i].name);
        vt_config_free(config);
    }
}

static void test_data_facts(void **state)
{
    (void)state;
    const vt_data_facts *shapes = vt_data_facts_of(VT_DATA_SHAPES);
    assert_int_equal(shapes->image, VT_SHAPES_SIDE);
    assert_int_equal(shapes->classes, VT_SHAPES_CLASSES);
    assert_int_equal(shapes->n_train, VT_SHAPES_TRAIN);
    assert_int_equal(shapes->n_test, VT_SHAPES_TEST);
    assert_int_equal(vt_data_facts_of(VT_DATA_CIFAR100)->classes, 100);
    assert_string_equal(vt_config_word("data.name", VT_DATA_CIFAR100), "cifar100");
}

static void test_article(void **state)
{
    (void)state;
    vt_config *c = load("experiments/swin_cifar_patch2.yaml", NULL, 0);
    assert_int_equal(c->model_window_mode, VT_WINDOW_UNMASKED);
    assert_int_equal(c->model_init, VT_INIT_ARTICLE);
    assert_int_equal(c->optim_name, VT_OPTIM_ADAM);
    assert_true(c->optim_lr == 1e-4 && c->optim_weight_decay == 0 && c->optim_clip_norm == 0);
    assert_true(c->optim_betas.v[0] == 0.5 && c->optim_betas.v[1] == 0.999);
    assert_int_equal(c->schedule_name, VT_SCHEDULE_PLATEAU);
    assert_true(c->schedule_factor == 0.94 && c->schedule_threshold == 1e-4);
    assert_int_equal(c->schedule_patience, 1);
    assert_true(c->data_drop_last && c->data_shuffle);
    assert_int_equal(c->data_normalise.kind, VT_NORMALISE_HALF);
    assert_int_equal(c->train_epochs, 20);
    assert_int_equal(c->train_batch, 64);
    vt_config_free(c);
}

static void test_json(void **state)
{
    (void)state;
    vt_config *config = load("experiments/quick/swin.yaml", NULL, 0);
    char *text = vt_config_json(config), *schema = vt_config_schema_json(), *again;
    json_t *json = json_loads(text, JSON_REJECT_DUPLICATES, NULL), *rows;
    const char *name = NULL;
    int64_t batch = 0, depth = 0;
    assert_non_null(json);
    assert_int_equal(json_unpack(json, "{s:s, s:{s:{s:I}, s:{s:[I, I]}}}", "name", &name, "config",
                                 "train", "batch", &batch, "model", "depths", &depth, &depth),
                     0);
    assert_string_equal(name, "quick-swin");
    assert_int_equal(batch, 32);
    json_decref(json);
    /* every key has a place in the schema for editors */
    json = json_loads(schema, JSON_REJECT_DUPLICATES, NULL);
    rows = json_object_get(json, "properties");
    for (int i = 0; i < vt_config_field_count(); i++) {
        char section[32];
        const char *path = vt_config_field_at(i).path, *dot = strchr(path, '.');
        snprintf(section, sizeof section, "%.*s", dot ? (int)(dot - path) : 0, path);
        json_t *row =
            dot ? json_object_get(json_object_get(json_object_get(rows, section), "properties"),
                                  dot + 1)
                : json_object_get(rows, path);
        if (!json_object_get(row, "description"))
            fail_msg("%s is not in the JSON schema", path);
    }
    json_decref(json);
    again = vt_config_schema_table();
    assert_non_null(strstr(again, "optim.lr\n    learning rate\n    number from 0 to 100; "
                                  "default: 1e-3\n"));
    vt_free(again);
    vt_free(text);
    vt_free(schema);
    vt_config_free(config);
}

/* Every allocation of our own fails once, and from then on: an error, no leak, no crash. */
static void test_no_memory(void **state)
{
    (void)state;
    static const char *const paths[] = {"experiments/quick/vit_dropout.yaml", NULL};
    const char *const sets[] = {"train.batch=12"};
    const char *bad = write_file("bad.yaml", SWIN "optim: {lerning_rate: 1, lr: x}\n");
    for (int p = 0; p < 2; p++) {
        for (int onwards = 0; onwards < 2; onwards++) {
            bool done = false;
            for (uint64_t at = 1; !done; at++) {
                vt_diagnostics diags = {0};
                vt_config *config = NULL;
                uint64_t before = vt_mem_count();
                vt_mem_fail_at(at, onwards);
                vt_status status =
                    vt_config_load(&config, p ? bad : paths[0], sets, 1, NULL, &diags);
                uint64_t used = vt_mem_count() - before;
                vt_mem_fail_at(0, 0);
                done = used < at;
                if (!done && p == 0)
                    assert_true(status == VT_OK || status == VT_ERR_NOMEM);
                if (!done && p == 1)
                    assert_true(status == VT_ERR_CONFIG || status == VT_ERR_NOMEM);
                assert_true((status == VT_OK) == (config != NULL));
                vt_config_free(config);
                vt_diagnostics_release(&diags);
            }
        }
    }
}

int main(void)
{
#define CASE(sentence, function)                                                                   \
    {                                                                                              \
        sentence, function, NULL, NULL, NULL                                                       \
    }
    const struct CMUnitTest tests[] = {
        CASE("later layers win, sections merge by key, lists are replaced whole", test_layers),
        CASE("each family and optimiser brings its defaults", test_family_defaults),
        CASE("null takes a key back to its default", test_null_resets),
        CASE("values of every kind reach their members", test_values),
        CASE("each value knows where it comes from", test_origins),
        CASE("a key that a later choice makes void is left out and noted", test_dropped_keys),
        CASE("padding and clamped windows are noted with their numbers", test_notes),
        CASE("experiments that mean the same have the same id", test_equal_ids),
        CASE("every key has two legal values that differ as its row says", test_samples),
        CASE("the printed configuration loads as the same configuration", test_round_trip),
        CASE("the run id depends on seed and data", test_run_id),
        CASE("experiments are found by name and by path", test_names),
        CASE("presets have the published numbers of parameters", test_presets),
        CASE("the data sets are as large as their makers say", test_data_facts),
        CASE("swin_cifar_patch2 is the published recipe", test_article),
        CASE("JSON forms hold every key", test_json),
        CASE("no memory at any point is an error and nothing worse", test_no_memory),
    };
    return cmocka_run_group_tests_name("config", tests, set_up, tear_down);
}
