/* What the configuration says of networks: numbers of entries, widths and heads, maps that shrink
 * too far, the parts of a hybrid. */
#include "config/config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>

static char text[4096];

/* Loads `experiment` with one override; what was said is in `text`. */
static vt_config *load(const char *experiment, const char *set)
{
    char path[100];
    vt_diagnostics diags = {0};
    vt_config *config = NULL;
    snprintf(path, sizeof path, "experiments/quick/%s.yaml", experiment);
    vt_config_load(&config, path, &set, set ? 1 : 0, NULL, &diags);
    snprintf(text, sizeof text, "%s", diags.text.data ? diags.text.data : "");
    vt_diagnostics_release(&diags);
    return config;
}

/* `messages` are '\n'-separated texts that must all appear. */
static void expect(const char *experiment, const char *set, const char *messages)
{
    vt_config *config = load(experiment, set);
    if (config)
        fail_msg("%s was accepted", set);
    while (*messages) {
        char message[400];
        int size = (int)strcspn(messages, "\n");
        snprintf(message, sizeof message, "%.*s", size, messages);
        if (!strstr(text, message))
            fail_msg("'%s' is not in the message for %s:\n%s", message, set, text);
        messages += size + (messages[size] == '\n');
    }
}

static void families_check_their_numbers(void **state)
{
    static const struct {
        const char *experiment, *set, *messages;
    } cases[] = {
        {"mobilevit", "model.dims=[8, 8, 8]", "model.dims has 3 entries; mobilevit needs 6"},
        {"mobilevit", "model.strides=[1, 1]", "model.strides has 2 entries; mobilevit needs 6"},
        {"mobilevit", "model.strides=[1, 1, 3, 1, 1, 1]",
         "'model.strides' is 3; allowed: from 1 to 2"},
        {"mobilevit", "model.depths=[1]", "model.depths has 1 entries; mobilevit needs 3"},
        {"mobilevit", "model.heads=[1, 2]", "model.heads has 2 entries; mobilevit needs 1"},
        {"mobilevit", "model.heads=3",
         "model.attn_dims: 16 is not divisible by model.heads 3: 16 = 3 * 5 + 1"},
        {"mobilevit", "model.dim=16", "'model.dim' has no effect with model.family: mobilevit"},
        {"mobilevit", "model.pool=token",
         "'model.pool' has no effect with model.family: mobilevit"},
        {"cct", "model.heads=3", "model.dim 32 is not divisible by model.heads 3: 32 = 3 * 10 + 2"},
        {"cct", "model.convs=7",
         "model.convs 7 halves the image of 32 pixels below one token: 32 / 2^7 < 1"},
        {"cct", "model.pool=token", "model.pool is token, and cct has no class token"},
        {"cct", "model.window=4", "'model.window' has no effect with model.family: cct"},
        {"vit", "model.stages=[{block: conv}]",
         "'model.stages' has no effect with model.family: vit"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        expect(cases[i].experiment, cases[i].set, cases[i].messages);
}

static void hybrids_are_checked_part_by_part(void **state)
{
    static const struct {
        const char *set, *messages;
    } cases[] = {
        {"model.stages=[]", "'model.stages' needs a list of 1 to 16 stages"},
        {"model.stages={block: conv}", "'model.stages' needs a list of 1 to 16 stages"},
        {"model.stages=[conv]", "'model.stages[0]': a stage is a map with a block"},
        {"model.stages=[{dim: 8}]", "'model.stages[0]': a stage is a map with a block"},
        {"model.stages=[{block: conf}]",
         "'model.stages[0]' cannot be 'conf'; allowed: conv, mv2, mobilevit, swin, vit, csp\n"
         "did you mean 'conv'?"},
        {"model.stages=[{block: conv, heads: 2}]",
         "'model.stages[0]': conv has no key 'heads'\n(keys of conv: dim, depth, stride, kernel, "
         "act)"},
        {"model.stages=[{block: conv}, {block: vit, head: 2}]",
         "'model.stages[1]': vit has no key 'head'\ndid you mean 'heads'?"},
        {"model.stages=[{block: conv, dim: wide}]",
         "'model.stages[0]: conv: dim' needs an integer from 0 to 16384, not the text 'wide'"},
        {"model.stages=[{block: conv, act: tanh}]",
         "'model.stages[0]: conv: act' cannot be 'tanh'"},
        {"model.stages=[{block: conv, kernel: 4}]",
         "model.stages[0] (conv): kernel 4 with stride 1: an even kernel has no middle"},
        {"model.stages=[{block: conv, kernel: 5, stride: 5}]",
         "patches of 5 do not divide the map of 16 x 16: 16 = 5 * 3 + 1"},
        {"model.stages=[{block: conv, stride: 32}]",
         "model.stages[0] (conv): the map of 16 x 16 is too small for stride 32"},
        {"model.stages=[{block: vit, dim: 16, heads: 3}]",
         "model.stages[0] (vit): width 16 is not divisible by 3 heads: 16 = 3 * 5 + 1"},
        {"model.stages=[{block: mobilevit, attn_dim: 18}]",
         "model.stages[0] (mobilevit): width 18 is not divisible by 4 heads: 18 = 4 * 4 + 2"},
        {"model.stages=[{block: swin, stride: 4}]",
         "model.stages[0] (swin): stride 4 on a map of 16 x 16: a swin stage has 1, or 2"},
        {"model.stages=[{block: conv, kernel: 16, stride: 16}, {block: vit, stride: 2}]",
         "model.stages[1] (vit): stride 2 on a map of 1 x 1"},
        {"model.stages=[{block: csp, dim: 15}]",
         "model.stages[0] (csp): csp works on half the channels, and 15 is odd"},
        {"model.stages=[{block: vit, dim: 6, heads: 2, pos_embed: sincos}]",
         "sincos positions need a width divisible by 4, not 6"},
        {"model.stem={dim: 0}", "model.stem: dim is 0; a stem needs at least 1 channel"},
        {"model.stem={heads: 2}", "'model.stem': stem has no key 'heads'"},
        {"model.stem=8", "'model.stem' needs a map of its keys, not a single value"},
        {"model.stem={kernel: 5, stride: 5}",
         "model.stem: patches of 5 do not divide the map of 32"},
        {"model.head={pool: token}", "model.head: pool is token, and a hybrid has no class token"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        expect("hybrid", cases[i].set, cases[i].messages);
}

/* The n-th note of an accepted configuration holds the text. */
static void expect_note(const char *experiment, const char *set, const char *note)
{
    vt_config *config = load(experiment, set);
    bool found = false;
    if (!config)
        fail_msg("%s: %s", set, text);
    for (int i = 0; i < vt_config_note_count(config); i++)
        found |= strstr(vt_config_note(config, i), note) != NULL;
    if (!found)
        fail_msg("no note of %s says '%s'", set, note);
    vt_config_free(config);
}

static void what_is_resized_or_padded_is_said(void **state)
{
    (void)state;
    expect_note("mobilevit", "model.strides=[2, 2, 2, 2, 2, 2]",
                "stage 4: the map of 1 x 1 is resized to 2 x 2 for patches of 2");
    expect_note("mobilevit", "model.strides=[2, 2, 2, 2, 1, 1]",
                "stage 3: one patch: a token attends to itself alone");
    expect_note("hybrid", "model.stages=[{block: mobilevit, patch: 3}]",
                "the map of 16 x 16 is resized for patches of 3");
    expect_note("hybrid", "model.stages=[{block: swin, window: 7}]",
                "window 7 does not divide the map of 16 x 16");
}

static void parts_take_their_defaults(void **state)
{
    vt_config *config = load("hybrid", "model.stages=[{block: csp}, {block: vit, dim: 16}]");
    (void)state;
    assert_non_null(config);
    const vt_stage *csp = &config->model_stages.v[0], *vit = &config->model_stages.v[1];
    assert_int_equal(config->model_stages.n, 2);
    assert_int_equal(csp->block, VT_BLOCK_CSP);
    assert_int_equal(csp->stride, 2);
    assert_int_equal(csp->act, VT_ACTIVATE_MISH);
    assert_int_equal(vit->block, VT_BLOCK_VIT);
    assert_int_equal(vit->dim, 16);
    assert_int_equal(vit->heads, 4);
    assert_int_equal(vit->pos_embed, VT_POS_LEARNED);
    assert_int_equal(config->model_stem.act, VT_ACTIVATE_RELU);
    assert_int_equal(config->model_head.pool, VT_POOL_SEQUENCE);
    vt_config_free(config);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        {"families check their numbers", families_check_their_numbers, NULL, NULL, NULL},
        {"hybrids are checked part by part", hybrids_are_checked_part_by_part, NULL, NULL, NULL},
        {"what is resized or padded is said", what_is_resized_or_padded_is_said, NULL, NULL, NULL},
        {"parts of a hybrid take their defaults", parts_take_their_defaults, NULL, NULL, NULL},
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
