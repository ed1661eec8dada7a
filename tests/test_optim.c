/*
 * Optimisers: ten steps of each against PyTorch's, clipping, which parameters are decayed and
 * which are frozen, and gradients gathered over several batches.
 */
#include "support/engine_run.h"

extern const vt_kernels vt_avx2_table, vt_avx512_table;

static bool has_avx512(void)
{
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
}

/* ---- traces */

enum { N_WEIGHTS = 7, N_STEPS = 10 };

struct trace {
    const char *name;
    bool adam, decoupled, nesterov;
    double lr, decay, momentum, beta1, beta2, eps;
};

static double setting(const vt_safetensors *file, const char *name, const char *key, double missing)
{
    char full[80];
    snprintf(full, sizeof full, "%s.%s", name, key);
    const char *text = vt_safetensors_get_meta(file, full);
    return text ? strtod(text, NULL) : missing;
}

static struct trace read_trace(const vt_safetensors *file, const char *name)
{
    char key[80];
    struct trace t = {
        .name = name,
        .adam = strncmp(name, "adam", 4) == 0,
        .decoupled = strcmp(name, "adamw") == 0,
        .lr = setting(file, name, "lr", NAN),
        .decay = setting(file, name, "weight_decay", 0),
        .momentum = setting(file, name, "momentum", 0),
        .eps = setting(file, name, "eps", 1e-8),
        .beta1 = 0.9,
        .beta2 = 0.999,
    };
    snprintf(key, sizeof key, "%s.nesterov", name);
    const char *nesterov = vt_safetensors_get_meta(file, key);
    t.nesterov = nesterov && strcmp(nesterov, "true") == 0;
    snprintf(key, sizeof key, "%s.betas", name);
    const char *betas = vt_safetensors_get_meta(file, key);
    assert_true(!betas || sscanf(betas, "[%lf, %lf]", &t.beta1, &t.beta2) == 2);
    return t;
}

static void follow(vt_dev *dev, const vt_kernels *k, const vt_safetensors *file,
                   const struct trace *t)
{
    float w[N_WEIGHTS], m[N_WEIGHTS] = {0}, v[N_WEIGHTS] = {0}, g[N_WEIGHTS];
    double power1 = 1, power2 = 1;
    int64_t n;
    const double *start = fixture_doubles(file, "", "w", &n);
    const double *grads = fixture_doubles(file, "", "g", &n);
    const double *want = fixture_doubles(file, t->name, ".w", &n);
    assert_int_equal(n, N_STEPS * N_WEIGHTS);
    for (int i = 0; i < N_WEIGHTS; i++)
        w[i] = (float)start[i];
    for (int step = 0; step < N_STEPS; step++) {
        power1 *= t->beta1;
        power2 *= t->beta2;
        vt_step s = {.lr = (float)t->lr,
                     .clip = 1,
                     .correction1 = (float)(1 - power1),
                     .correction2 = (float)sqrt(1 - power2)};
        for (int i = 0; i < N_WEIGHTS; i++)
            g[i] = (float)grads[step * N_WEIGHTS + i];
        if (t->adam)
            k->adam(dev, w, m, v, g, N_WEIGHTS, t->beta1, t->beta2, (float)t->eps, (float)t->decay,
                    t->decoupled, &s);
        else
            k->sgd(dev, w, t->momentum > 0 ? m : NULL, g, N_WEIGHTS, (float)t->momentum,
                   (float)t->decay, t->nesterov, step == 0, &s);
        for (int i = 0; i < N_WEIGHTS; i++) {
            double wanted = want[step * N_WEIGHTS + i];
            expect_below(t->name, k->name, fabs((double)w[i] - wanted), 4e-7 * fabs(wanted) + 2e-7);
        }
    }
}

static void ten_steps_follow_pytorch(void **state)
{
    (void)state;
    static const char *const names[] = {"sgd",  "sgd_momentum", "sgd_nesterov",
                                        "adam", "adam_decay",   "adamw"};
    vt_safetensors *file = open_fixture("tests/fixtures/optim.safetensors");
    vt_dev *dev = new_device(1);
    for (int i = 0; i < 6; i++) {
        struct trace trace = read_trace(file, names[i]);
        follow(dev, on_gpu() ? vt_dev_kernels(dev) : &vt_avx2_table, file, &trace);
        if (has_avx512() && !on_gpu())
            follow(dev, &vt_avx512_table, file, &trace);
    }
    vt_dev_free(dev);
    vt_safetensors_close(file);
}

/* ---- a small model in an engine */

struct net {
    vt_config *config;
    vt_dev *dev;
    vt_engine engine;
};

enum { BATCH = 8 };

#define VIT "model: {family: vit, patch: 8, dim: 16, depth: 2, heads: 2, mlp_ratio: 2}\n"
#define SWIN                                                                                       \
    "model: {family: swin, patch: 4, dim: 8, depths: [1, 1], heads: [1, 2], window: 4, "           \
    "mlp_ratio: 2, merge_bias: true}\n"

#define UNMASKED                                                                                   \
    "model: {family: swin, patch: 4, dim: 8, depths: [1, 1], heads: [1, 2], window: 3, "           \
    "mlp_ratio: 2, window_mode: unmasked}\n"

static struct net *open_net(const char *yaml)
{
    struct net *net = vt_calloc(1, sizeof *net);
    vt_error err = {0};
    assert_non_null(net);
    net->config = load_experiment(yaml);
    net->dev = new_device(1);
    vt_engine_add_slot(&net->engine, BATCH, true);
    vt_engine_add_slot(&net->engine, 2 * BATCH, true);
    expect_ok(vt_engine_init(&net->engine, net->config, net->dev, &err), &err);
    return net;
}

static void close_net(struct net *net)
{
    vt_engine_release(&net->engine);
    vt_dev_free(net->dev);
    vt_config_free(net->config);
    vt_free(net);
}

/* Loss of `batch` images from number `first` on, as one of the step's batches. */
static double pass(struct net *net, int64_t first, int64_t batch)
{
    int32_t labels[4 * BATCH];
    float *images = make_images(net->config, 4 * BATCH, labels);
    int64_t pixels = net->config->model_image * net->config->model_image * 3;
    vt_slot *slot = vt_engine_slot(&net->engine, batch, true);
    vt_engine_write_batch(&net->engine, slot, images + first * pixels, labels + first);
    vt_free(images);
    return vt_engine_train_batch(&net->engine, slot, 0).v[VT_TOTAL_LOSS];
}

static void train(struct net *net, int steps)
{
    for (int t = 1; t <= steps; t++) {
        vt_engine_begin(&net->engine, BATCH, net->config->optim_lr);
        pass(net, 0, BATCH);
        vt_engine_grad_norm(&net->engine);
        vt_engine_update(&net->engine, t);
    }
}

static void write_floats(struct net *net, float *to, const float *from, int64_t n)
{
    vt_dev_write(net->dev, to, from, (size_t)n * sizeof *from);
}

/* ---- clipping */

/* Gradients go into the block by hand; a step of rate 1 from weights 0 shows what came out. */
static void check_clipping(const vt_safetensors *file, const char *name)
{
    char yaml[400];
    int64_t n[3], n_norm, at = 0;
    snprintf(yaml, sizeof yaml, VIT "optim: {name: sgd, lr: 1, momentum: 0, clip_norm: %g}\n",
             setting(file, name, "max_norm", NAN));
    struct net *net = open_net(yaml);
    float *block = vt_calloc((size_t)net->engine.memory.n_floats, sizeof *block);
    assert_non_null(block);
    write_floats(net, net->engine.memory.weights, block, net->engine.memory.n_floats);
    for (int i = 0; i < 3; i++) {
        char key[24];
        snprintf(key, sizeof key, ".g%d", i);
        const double *g = fixture_doubles(file, name, key, &n[i]);
        for (int64_t j = 0; j < n[i]; j++)
            block[at++] = (float)g[j];
    }
    vt_engine_begin(&net->engine, 1, 1);
    write_floats(net, net->engine.memory.grads, block, net->engine.memory.n_trained);
    double want_norm = *fixture_doubles(file, name, ".norm", &n_norm);
    expect_below(name, "norm", fabs(vt_engine_grad_norm(&net->engine) / want_norm - 1), 1e-7);
    vt_engine_update(&net->engine, 1);
    float *weights = read_weights(&net->engine);
    at = 0;
    for (int i = 0; i < 3; i++) {
        char key[24];
        snprintf(key, sizeof key, ".clipped%d", i);
        const double *want = fixture_doubles(file, name, key, &n[i]);
        for (int64_t j = 0; j < n[i]; j++, at++)
            expect_below(name, key, fabs(-(double)weights[at] - want[j]), 3e-7 * fabs(want[j]));
    }
    vt_free(weights);
    vt_free(block);
    close_net(net);
}

static void gradients_are_clipped_as_pytorch_does(void **state)
{
    (void)state;
    vt_safetensors *file = open_fixture("tests/fixtures/optim.safetensors");
    check_clipping(file, "clip");
    check_clipping(file, "no_clip");
    vt_safetensors_close(file);
}

static void clipping_changes_a_step_only_above_its_norm(void **state)
{
    (void)state;
    static const char *const clips[] = {"0", "1e6", "0.01"};
    float *weights[3];
    int64_t n = 0;
    for (int i = 0; i < 3; i++) {
        char yaml[300];
        snprintf(yaml, sizeof yaml, VIT "optim: {name: sgd, lr: 0.1, clip_norm: %s}\n", clips[i]);
        struct net *net = open_net(yaml);
        train(net, 2);
        weights[i] = read_weights(&net->engine);
        n = net->engine.memory.n_floats;
        close_net(net);
    }
    assert_memory_equal(weights[0], weights[1], (size_t)n * sizeof(float));
    assert_memory_not_equal(weights[0], weights[2], (size_t)n * sizeof(float));
    for (int i = 0; i < 3; i++)
        vt_free(weights[i]);
}

/* ---- weight decay */

static bool ends_with(const char *text, const char *end)
{
    size_t n = strlen(text), m = strlen(end);
    return n >= m && strcmp(text + n - m, end) == 0;
}

/* What a parameter is, told from its name alone. */
static const char *group_of(const char *name)
{
    if (strstr(name, "norm"))
        return "norm";
    if (strstr(name, "pos_embed"))
        return "pos_embed";
    if (strstr(name, "cls_token"))
        return "cls_token";
    if (ends_with(name, "relative_position_bias_table"))
        return "rel_bias";
    return ends_with(name, ".bias") ? "bias" : "weight";
}

static bool lists(const char *list, const char *word)
{
    size_t n = strlen(word);
    for (const char *at = list; (at = strstr(at, word)); at += n)
        if ((at == list || at[-1] == ' ') && (at[n] == ',' || at[n] == '\0'))
            return true;
    return false;
}

/* A step of AdamW without gradient multiplies what is decayed by 1 - lr * decay, exactly. */
static void check_decay(const char *model, const char *no_decay)
{
    char yaml[600];
    snprintf(yaml, sizeof yaml,
             "%soptim: {name: adamw, lr: 0.5, weight_decay: 0.5, no_decay: [%s]}\n", model,
             no_decay);
    struct net *net = open_net(yaml);
    const vt_params *params = net->engine.params;
    int64_t n = net->engine.memory.n_floats;
    float *before = vt_calloc((size_t)n, sizeof *before);
    assert_non_null(before);
    for (int64_t i = 0; i < n; i++)
        before[i] = (float)(i % 100 + 1);
    write_floats(net, net->engine.memory.weights, before, n);
    vt_engine_begin(&net->engine, 1, 0.5);
    vt_engine_update(&net->engine, 1);
    float *after = read_weights(&net->engine);
    for (int i = 0; i < params->n; i++) {
        const vt_param *p = params->item[i];
        bool spared =
            lists(no_decay, group_of(p->name)) || (lists(no_decay, "one_d") && p->shape.rank == 1);
        if (p->decayed == spared)
            fail_msg("no_decay [%s]: %s is%s decayed", no_decay, p->name, p->decayed ? "" : " not");
        for (int64_t j = p->offset; j < p->offset + p->shape.size; j++)
            if (after[j] != (spared ? before[j] : before[j] * 0.75f))
                fail_msg("no_decay [%s]: %s went from %g to %g", no_decay, p->name,
                         (double)before[j], (double)after[j]);
    }
    vt_free(before);
    vt_free(after);
    close_net(net);
}

static void decay_spares_what_no_decay_names(void **state)
{
    (void)state;
    static const char *const choices[] = {
        "",          "bias",       "norm",
        "pos_embed", "cls_token",  "rel_bias",
        "one_d",     "bias, norm", "bias, norm, pos_embed, cls_token, rel_bias"};
    for (size_t i = 0; i < sizeof choices / sizeof *choices; i++) {
        check_decay(VIT, choices[i]);
        check_decay(SWIN, choices[i]);
    }
}

/* ---- freezing */

struct freeze {
    const char *model, *patterns[5];
};

/* Each op that has several inputs comes to stand where one of them wants no gradient. */
static const struct freeze freezes[] = {
    {VIT, {"head.*"}},
    {VIT, {"patch_embed.*"}},
    {VIT, {"patch_embed.*", "cls_token", "pos_embed"}},
    {VIT, {"patch_embed.*", "cls_token", "pos_embed", "*.norm?.*", "*.qkv.*"}},
    {VIT, {"patch_embed.*", "blocks.0.*", "*.norm?.bias"}},
    {VIT, {"*.weight", "*.bias"}},
    {SWIN, {"patch_embed.proj.*"}},
    {SWIN, {"patch_embed.*", "*.norm1.*", "*.attn.qkv.*"}},
    {SWIN, {"*.weight", "*.bias"}},
    {SWIN, {"layers.0.*", "*table"}},
    {UNMASKED, {"patch_embed.*", "*.norm1.*", "*.attn.qkv.weight"}},
    {UNMASKED, {"*.weight", "*.bias"}},
};
enum { N_FREEZES = sizeof freezes / sizeof *freezes };

static bool is_frozen(const struct freeze *f, const char *name)
{
    for (int i = 0; i < 5 && f->patterns[i]; i++)
        if (vt_glob(f->patterns[i], name))
            return true;
    return false;
}

static struct net *open_frozen(const struct freeze *f)
{
    vt_text yaml = {0};
    vt_text_printf(&yaml, "%strain: {freeze: [", f->model);
    for (int i = 0; i < 5 && f->patterns[i]; i++)
        vt_text_printf(&yaml, "%s\"%s\"", i ? ", " : "", f->patterns[i]);
    vt_text_printf(&yaml, "]}\n");
    struct net *net = open_net(yaml.data);
    vt_text_release(&yaml);
    return net;
}

static void frozen_weights_keep_their_bits(void **state)
{
    (void)state;
    for (int f = 0; f < N_FREEZES; f++) {
        struct net *net = open_frozen(&freezes[f]);
        const vt_params *params = net->engine.params;
        float *before = read_weights(&net->engine);
        int n_frozen = 0;
        train(net, 3);
        float *after = read_weights(&net->engine);
        for (int i = 0; i < params->n; i++) {
            const vt_param *p = params->item[i];
            size_t bytes = (size_t)p->shape.size * sizeof *after;
            bool same = memcmp(before + p->offset, after + p->offset, bytes) == 0;
            if (same != is_frozen(&freezes[f], p->name) || p->trained == same)
                fail_msg("freeze %d: %s was%s trained", f, p->name, same ? " not" : "");
            n_frozen += same;
        }
        assert_in_range(n_frozen, 1, params->n - 1);
        vt_free(before);
        vt_free(after);
        close_net(net);
    }
}

/* The others' gradients have the bits that they have without freezing. */
static void no_gradient_is_computed_for_frozen_weights(void **state)
{
    (void)state;
    for (int f = 0; f < N_FREEZES; f++) {
        struct net *all = open_net(freezes[f].model), *part = open_frozen(&freezes[f]);
        const vt_params *params = part->engine.params;
        const vt_graph *graph = part->engine.slot[0].model.graph;
        assert_true(params->n_trained < all->engine.params->n_trained);
        assert_true(part->engine.memory.n_trained == params->n_trained);
        for (int i = 0; i < graph->n; i++)
            if (graph->node[i]->param)
                assert_true(graph->node[i]->needs_grad !=
                            is_frozen(&freezes[f], graph->node[i]->name));
        vt_engine_begin(&all->engine, BATCH, 1);
        vt_engine_begin(&part->engine, BATCH, 1);
        assert_true(pass(all, 0, BATCH) == pass(part, 0, BATCH));
        float *full = read_grads(&all->engine), *some = read_grads(&part->engine);
        for (int i = 0; i < params->n; i++) {
            const vt_param *p = params->item[i], *q = vt_params_find(all->engine.params, p->name);
            size_t bytes = (size_t)p->shape.size * sizeof *some;
            if (!p->trained)
                assert_true(p->offset >= params->n_trained);
            else if (memcmp(some + p->offset, full + q->offset, bytes) != 0)
                fail_msg("freeze %d: %s has another gradient", f, p->name);
        }
        vt_free(full);
        vt_free(some);
        close_net(all);
        close_net(part);
    }
}

static void freezing_everything_is_refused(void **state)
{
    (void)state;
    vt_config *config = load_experiment(VIT "train: {freeze: [\"*\"]}\n");
    vt_engine engine = {0};
    vt_error err = {0};
    vt_engine_add_slot(&engine, BATCH, true);
    assert_int_equal(vt_engine_plan(&engine, config, &err), VT_ERR_CONFIG);
    assert_non_null(strstr(err.text, "train.freeze"));
    vt_engine_release(&engine);
    vt_config_free(config);
}

/* ---- accumulation */

static void two_batches_give_the_gradient_of_a_batch_twice_as_large(void **state)
{
    (void)state;
    static const char *const nets[] = {VIT "train: {accumulate: 2}\n",
                                       SWIN "train: {accumulate: 2}\n"};
    for (int i = 0; i < 2; i++) {
        struct net *net = open_net(nets[i]);
        assert_int_equal(net->engine.memory.where, VT_GRADS_APART);
        vt_engine_begin(&net->engine, 2 * BATCH, 1);
        double whole_loss = pass(net, 0, 2 * BATCH);
        float *whole = read_grads(&net->engine);
        vt_engine_begin(&net->engine, 2 * BATCH, 1);
        double loss = pass(net, 0, BATCH);
        float *half = read_grads(&net->engine);
        loss += pass(net, BATCH, BATCH);
        float *sum = read_grads(&net->engine);
        int64_t n = net->engine.params->n_trained;
        expect_below(nets[i], "loss", fabs(loss / whole_loss - 1), 1e-7);
        expect_below(nets[i], "gradient", distance(sum, whole, n) / norm_of(whole, n), 1e-6);
        assert_true(distance(half, whole, n) / norm_of(whole, n) > 0.1);
        vt_free(whole);
        vt_free(half);
        vt_free(sum);
        close_net(net);
    }
}

static void a_new_step_forgets_the_gradient_before(void **state)
{
    (void)state;
    struct net *net = open_net(VIT);
    int64_t n = net->engine.params->n_trained;
    vt_engine_begin(&net->engine, BATCH, 1);
    pass(net, 0, BATCH);
    float *first = read_grads(&net->engine);
    vt_engine_begin(&net->engine, BATCH, 1);
    pass(net, 0, BATCH);
    float *second = read_grads(&net->engine);
    assert_memory_equal(first, second, (size_t)n * sizeof *first);
    vt_free(first);
    vt_free(second);
    close_net(net);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE("ten steps of each optimiser follow PyTorch's", ten_steps_follow_pytorch),
        CASE("gradients are clipped as PyTorch does", gradients_are_clipped_as_pytorch_does),
        CASE("clipping changes a step only above its norm",
             clipping_changes_a_step_only_above_its_norm),
        CASE("decay spares what optim.no_decay names", decay_spares_what_no_decay_names),
        CASE("frozen weights keep their bits", frozen_weights_keep_their_bits),
        CASE("no gradient is computed for frozen weights",
             no_gradient_is_computed_for_frozen_weights),
        CASE("freezing everything is refused", freezing_everything_is_refused),
        CASE("two batches give the gradient of a batch twice as large",
             two_batches_give_the_gradient_of_a_batch_twice_as_large),
        CASE("a new step forgets the gradient before", a_new_step_forgets_the_gradient_before),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
