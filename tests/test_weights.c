/* Files to start from: what is taken, resized, converted, kept, reported and refused. */
#include "support/engine_run.h"
#include "support/fixture.h"
#include "train/resample.h"
#include "train/weights.h"

enum { TENSORS_MAX = 64 };

static void tables_are_resized_as_timm_does(void **state)
{
    vt_fixture f = vt_fixture_open("../tables");
    (void)state;
    for (int i = 0; i < f.n_cases; i++) {
        const vt_safetensor *from = vt_fixture_tensor(&f, i, "table");
        const vt_safetensor *want = vt_fixture_tensor(&f, i, "resized");
        int64_t old_side = vt_fixture_int(&f, i, "old"), new_side = vt_fixture_int(&f, i, "new");
        int64_t width = from->shape[from->rank - 1], n = vt_fixture_size(want);
        int64_t skip = vt_fixture_int(&f, i, "prefix") * width;
        bool positions = strcmp(vt_fixture_text(&f, i, "kind"), "positions") == 0;
        float *got = vt_calloc((size_t)n, sizeof *got);
        assert_non_null(got);
        assert_int_equal(n - skip, new_side * new_side * width);
        (positions ? vt_resample_positions : vt_resample_biases)(
            vt_fixture_floats(from) + skip, old_side, got + skip, new_side, width);
        expect_below(vt_fixture_text(&f, i, "kind"), "a resized table",
                     worst_difference(got + skip, vt_fixture_floats(want) + skip, n - skip), 5e-6);
        assert_memory_equal(vt_fixture_floats(from), vt_fixture_floats(want),
                            (size_t)skip * sizeof *got);
        vt_free(got);
    }
    vt_fixture_close(&f);
}

/* ---- a model and files for it */

#define SHAPES                                                                                     \
    "data: { name: shapes }\noptim: { name: sgd, lr: 0.1 }\ntrain: { epochs: 1, batch: 4 }\n"
#define VIT SHAPES "model: { family: vit, patch: 8, dim: 8, depth: 1, heads: 2, mlp_ratio: 1 }\n"
#define SWIN                                                                                       \
    SHAPES "model: { family: swin, patch: 4, dim: 8, depths: [1], heads: [2], window: 4,"          \
           " mlp_ratio: 1, pos_embed: none }\n"

struct model {
    vt_config *config;
    vt_engine engine;
    vt_params *params;
    float *floats, *start; /* the weights; as they were before the file */
    size_t bytes;
    vt_scratch scratch;
    vt_safetensor tensor[TENSORS_MAX]; /* of the file */
    int n;
    float *block;
    vt_weights_report report;
    vt_error err;
};

/* A model with its first weights, and a file list of all its tensors, filled with 1, 2, 3, ... */
static struct model *model_new(const char *yaml)
{
    struct model *m = vt_calloc(1, sizeof *m);
    assert_non_null(m);
    m->scratch = vt_scratch_new();
    m->config = load_experiment(yaml);
    expect_ok(vt_engine_plan(&m->engine, m->config, &m->err), &m->err);
    m->params = m->engine.params;
    m->bytes = (size_t)m->params->n_floats * sizeof *m->floats;
    m->floats = vt_calloc(m->bytes, 1);
    m->start = vt_calloc(m->bytes, 1);
    m->block = vt_calloc(m->bytes, 1);
    assert_true(m->floats && m->start && m->block);
    vt_params_fill(m->params, 1, m->floats);
    memcpy(m->start, m->floats, m->bytes);
    for (int64_t i = 0; i < m->params->n_floats; i++)
        m->block[i] = (float)(i + 1);
    vt_weights list;
    expect_ok(vt_weights_list(&list, m->params, VT_WEIGHTS_SAVED, m->block, NULL, &m->err),
              &m->err);
    assert_true(list.n <= TENSORS_MAX - 4);
    m->n = list.n;
    memcpy(m->tensor, list.tensor, (size_t)list.n * sizeof *list.tensor);
    vt_weights_release(&list);
    return m;
}

static void model_free(struct model *m)
{
    vt_engine_release(&m->engine);
    vt_config_free(m->config);
    vt_free(m->floats);
    vt_free(m->start);
    vt_free(m->block);
    vt_scratch_free(&m->scratch);
    vt_free(m);
}

static vt_safetensor *tensor_of(struct model *m, const char *name)
{
    for (int i = 0; i < m->n; i++)
        if (strcmp(m->tensor[i].name, name) == 0)
            return &m->tensor[i];
    fail_msg("the model has no %s", name);
    return NULL;
}

static vt_status start(struct model *m)
{
    const vt_safetensors_content content = {m->tensor, m->n, NULL, 0};
    char path[300];
    m->err = (vt_error){0};
    expect_ok(vt_safetensors_write(m->scratch.fd, "w.safetensors", &content, NULL, &m->err),
              &m->err);
    snprintf(path, sizeof path, "%s/w.safetensors", m->scratch.path);
    return vt_weights_start(m->params, path, m->floats, &m->report, &m->err);
}

static const float *weights_of(const struct model *m, const float *block, const char *name,
                               size_t *bytes)
{
    const vt_param *param = vt_params_find(m->params, name);
    assert_non_null(param);
    *bytes = (size_t)param->shape.size * sizeof *block;
    return block + param->offset;
}

static void expect_from(const struct model *m, const float *block, const char *name)
{
    size_t bytes;
    const float *got = weights_of(m, m->floats, name, &bytes);
    assert_memory_equal(got, weights_of(m, block, name, &bytes), bytes);
}

static void expect_refused(struct model *m, const char *reason)
{
    assert_int_equal(start(m), VT_ERR_DATA);
    if (!strstr(m->err.text, reason))
        fail_msg("'%s' does not say '%s'", m->err.text, reason);
}

static void every_tensor_of_the_same_name_and_shape_is_taken(void **state)
{
    struct model *m = model_new(VIT);
    (void)state;
    expect_ok(start(m), &m->err);
    assert_int_equal(m->report.taken, m->n);
    assert_int_equal(m->report.resized + m->report.converted + m->report.kept + m->report.missing +
                         m->report.unused,
                     0);
    for (int i = 0; i < m->n; i++)
        expect_from(m, m->block, m->tensor[i].name);
    model_free(m);
}

static void what_only_one_side_has_is_counted(void **state)
{
    struct model *m = model_new(VIT);
    const float one = 1;
    const int64_t index[2] = {0, 1};
    (void)state;
    *tensor_of(m, "norm.weight") = m->tensor[m->n - 1]; /* the file's last takes its place */
    m->tensor[m->n - 1] =
        (vt_safetensor){.name = "extra", .type = VT_SAFETENSORS_F32, .data = &one};
    m->tensor[m->n++] = (vt_safetensor){.name = "relative_position_index",
                                        .type = VT_SAFETENSORS_I64,
                                        .rank = 1,
                                        .shape = {2},
                                        .data = index};
    expect_ok(start(m), &m->err);
    assert_int_equal(m->report.missing, 1);
    assert_int_equal(m->report.unused, 2);
    assert_int_equal(m->report.taken, m->n - 2);
    expect_from(m, m->start, "norm.weight");
    expect_from(m, m->block, "norm.bias");
    model_free(m);
}

static void narrow_and_wide_numbers_become_fp32(void **state)
{
    /* 1.5, -2^-24 (the smallest half), 65504, -0; as bfloat16 1.5, -2^-24, 65536, -0 */
    static const uint16_t half[8] = {0x3e00, 0x8001, 0x7bff, 0x8000, 0x3c00, 0x03ff, 0x0400, 0};
    static const float halves[8] = {1.5F, -0x1p-24F, 65504, -0.0F, 1.0F, 0x3ffp-24F, 0x1p-14F, 0};
    static const uint16_t bfloat[8] = {0x3fc0, 0xb380, 0x4780, 0x8000, 0x3f80, 1, 0xff7f, 0};
    static const float bfloats[8] = {1.5F, -0x1p-24F, 65536,        -0.0F,
                                     1.0F, 0x1p-133F, -0x1.fep127F, 0};
    static const double wide[8] = {0.1, -2, 3, 4, 5, 6, 7, 1e-300};
    struct model *m = model_new(VIT);
    size_t bytes;
    (void)state;
    vt_safetensor *t = tensor_of(m, "norm.weight");
    t->type = VT_SAFETENSORS_F16;
    t->data = half;
    t = tensor_of(m, "norm.bias");
    t->type = VT_SAFETENSORS_BF16;
    t->data = bfloat;
    t = tensor_of(m, "patch_embed.proj.bias");
    t->type = VT_SAFETENSORS_F64;
    t->data = wide;
    expect_ok(start(m), &m->err);
    assert_int_equal(m->report.converted, 3);
    assert_memory_equal(weights_of(m, m->floats, "norm.weight", &bytes), halves, sizeof halves);
    assert_memory_equal(weights_of(m, m->floats, "norm.bias", &bytes), bfloats, sizeof bfloats);
    assert_true(weights_of(m, m->floats, "patch_embed.proj.bias", &bytes)[0] == 0.1F);

    static const int64_t whole[8] = {1};
    t->type = VT_SAFETENSORS_I64;
    t->data = whole;
    expect_refused(m, "patch_embed.proj.bias is I64 8; the model needs F32 8");
    model_free(m);
}

static void a_head_of_another_size_keeps_its_own_start(void **state)
{
    struct model *m = model_new(VIT);
    (void)state;
    tensor_of(m, "head.weight")->shape[0] = 7;
    tensor_of(m, "head.bias")->shape[0] = 7;
    expect_ok(start(m), &m->err);
    assert_int_equal(m->report.kept, 2);
    assert_int_equal(m->report.taken, m->n - 2);
    expect_from(m, m->start, "head.weight");
    expect_from(m, m->start, "head.bias");
    expect_from(m, m->block, "norm.bias");
    model_free(m);

    m = model_new(SWIN);
    tensor_of(m, "head.fc.weight")->shape[0] = 7;
    expect_ok(start(m), &m->err);
    assert_int_equal(m->report.kept, 1);
    expect_from(m, m->start, "head.fc.weight");
    expect_from(m, m->block, "head.fc.bias");
    model_free(m);
}

static void position_tables_of_another_grid_are_resized(void **state)
{
    struct model *m = model_new(VIT);
    vt_safetensor *t = tensor_of(m, "pos_embed"); /* (1, 17, 8): a class token and 4 x 4 */
    float want[16 * 8];
    size_t bytes;
    (void)state;
    t->shape[1] = 1 + 3 * 3;
    vt_resample_positions((const float *)t->data + 8, 3, want, 4, 8);
    expect_ok(start(m), &m->err);
    assert_int_equal(m->report.resized, 1);
    assert_int_equal(m->report.taken, m->n);
    const float *got = weights_of(m, m->floats, "pos_embed", &bytes);
    assert_memory_equal(got, t->data, 8 * sizeof *got);
    assert_memory_equal(got + 8, want, sizeof want);

    t->shape[1] = 16; /* no row for the class token */
    expect_refused(m, "pos_embed");
    t->shape[1] = 12; /* no square */
    expect_refused(m, "pos_embed is F32 1 x 12 x 8; the model needs F32 1 x 17 x 8");
    t->shape[1] = 10;
    t->shape[2] = 4; /* another width */
    expect_refused(m, "pos_embed");
    model_free(m);
}

static void bias_tables_of_another_window_are_resized(void **state)
{
    static const char name[] = "layers.0.blocks.0.attn.relative_position_bias_table";
    struct model *m = model_new(SWIN);
    vt_safetensor *t = tensor_of(m, name); /* (49, 2): windows of 4 */
    float want[49 * 2];
    size_t bytes;
    (void)state;
    t->shape[0] = 25;
    vt_resample_biases(t->data, 5, want, 7, 2);
    expect_ok(start(m), &m->err);
    assert_int_equal(m->report.resized, 1);
    assert_memory_equal(weights_of(m, m->floats, name, &bytes), want, sizeof want);
    t->shape[0] = 16; /* the side is even: no window has such a table */
    expect_refused(m, name);
    model_free(m);
}

static void other_shapes_are_refused_by_name(void **state)
{
    struct model *m = model_new(VIT);
    (void)state;
    tensor_of(m, "blocks.0.attn.qkv.weight")->shape[0] = 16;
    expect_refused(m, "blocks.0.attn.qkv.weight is F32 16 x 8; the model needs F32 24 x 8");
    model_free(m);
}

static void a_file_without_any_match_is_refused(void **state)
{
    struct model *m = model_new(VIT);
    (void)state;
    for (int i = 0; i < m->n; i++)
        m->tensor[i].name += 1;
    expect_refused(m, "none of its");
    model_free(m);
}

static void hostile_files_are_refused(void **state)
{
    static const struct {
        const char *header, *reason;
    } cases[] = {
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[3],\"data_offsets\":[0,12]}", "bad JSON"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},"
         "\"b\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[4,12]}}",
         "overlaps"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[4611686018427387904,4],\"data_offsets\":[0,0]}}",
         "do not agree"},
        {"{\"a\":{\"dtype\":\"F128\",\"shape\":[2],\"data_offsets\":[0,8]}}", "unknown dtype"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[99],\"data_offsets\":[0,396]}}", "describes 396"},
    };
    struct model *m = model_new(VIT);
    char path[300];
    (void)state;
    snprintf(path, sizeof path, "%s/bad", m->scratch.path);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char bytes[300] = {0};
        uint64_t size = strlen(cases[i].header);
        memcpy(bytes, &size, sizeof size);
        memcpy(bytes + 8, cases[i].header, size);
        vt_scratch_write(m->scratch.fd, "bad", bytes, 8 + size + 12);
        m->err = (vt_error){0};
        assert_int_equal(vt_weights_start(m->params, path, m->floats, &m->report, &m->err),
                         VT_ERR_DATA);
        assert_non_null(strstr(m->err.text, "bad"));
        if (!strstr(m->err.text, cases[i].reason))
            fail_msg("%s", m->err.text);
        assert_memory_equal(m->floats, m->start, m->bytes);
    }
    /* A sound file, cut short at every length. */
    expect_ok(start(m), &m->err);
    size_t size;
    char *whole = vt_scratch_read(m->scratch.fd, "w.safetensors", &size);
    for (size_t cut = 0; cut < size; cut += 1 + size / 40) {
        vt_scratch_write(m->scratch.fd, "bad", whole, cut);
        assert_int_equal(vt_weights_start(m->params, path, m->floats, &m->report, NULL),
                         VT_ERR_DATA);
    }
    vt_free(whole);
    snprintf(path, sizeof path, "%s/none", m->scratch.path);
    assert_int_equal(vt_weights_start(m->params, path, m->floats, &m->report, NULL),
                     VT_ERR_NOINPUT);
    model_free(m);
}

static void batch_norms_carry_their_count(void **state)
{
    const int64_t two = 2, batches = 1234;
    const vt_fill zero = {.kind = VT_FILL_ZERO};
    vt_params *params = vt_params_new();
    vt_graph *graph = vt_graph_new(params, test_table(), 1, true);
    vt_scratch scratch = vt_scratch_new();
    vt_weights list;
    vt_weights_report report;
    vt_error err = {0};
    char path[300];
    float floats[96] = {0};
    (void)state;
    vt_graph_param(graph, "bn.weight", vt_shape_of(1, &two), VT_ROLE_NORM, zero);
    vt_graph_param(graph, "bn.running_mean", vt_shape_of(1, &two), VT_ROLE_BUFFER, zero);
    vt_graph_param(graph, "bn.running_var", vt_shape_of(1, &two), VT_ROLE_BUFFER, zero);
    vt_params_layout(params, 0, NULL, 0);
    assert_true(params->n_floats <= 96);
    expect_ok(vt_weights_list(&list, params, VT_WEIGHTS_SAVED, floats, &batches, &err), &err);
    assert_int_equal(list.n, 4);
    assert_string_equal(list.tensor[3].name, "bn.num_batches_tracked");
    assert_int_equal(list.tensor[3].type, VT_SAFETENSORS_I64);
    assert_int_equal(list.tensor[3].rank, 0);
    assert_true(*(const int64_t *)list.tensor[3].data == 1234);

    const vt_safetensors_content content = {list.tensor, list.n, NULL, 0};
    expect_ok(vt_safetensors_write(scratch.fd, "w", &content, NULL, &err), &err);
    snprintf(path, sizeof path, "%s/w", scratch.path);
    expect_ok(vt_weights_start(params, path, floats, &report, &err), &err);
    assert_int_equal(report.taken, 3);
    assert_int_equal(report.unused, 0);
    vt_weights_release(&list);
    expect_ok(vt_weights_list(&list, params, VT_WEIGHTS_SAVED, floats, NULL, &err), &err);
    assert_int_equal(list.n, 3);
    vt_weights_release(&list);
    vt_graph_free(graph);
    vt_params_free(params);
    vt_scratch_free(&scratch);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE("position and bias tables are resized as timm does", tables_are_resized_as_timm_does),
        CASE("every tensor of the same name and shape is taken",
             every_tensor_of_the_same_name_and_shape_is_taken),
        CASE("what only the file or only the model has is counted",
             what_only_one_side_has_is_counted),
        CASE("F16, BF16 and F64 become F32, integers are refused",
             narrow_and_wide_numbers_become_fp32),
        CASE("a head of another size keeps its own start",
             a_head_of_another_size_keeps_its_own_start),
        CASE("position tables of another grid are resized",
             position_tables_of_another_grid_are_resized),
        CASE("bias tables of another window are resized",
             bias_tables_of_another_window_are_resized),
        CASE("tensors of other shapes are refused by name", other_shapes_are_refused_by_name),
        CASE("a file without any match is refused", a_file_without_any_match_is_refused),
        CASE("hostile files are refused", hostile_files_are_refused),
        CASE("batch norms carry the number of their batches", batch_norms_carry_their_count),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
