/*
 * Whole models against reference files made with PyTorch, timm and float64 arithmetic: logits,
 * loss, every gradient, running statistics, attention maps, and ten steps of an optimiser.
 *
 * The files say how far PyTorch's own float32 run stays from the float64 truth. That figure times
 * `slack` is the bound here, under the absolute bars that hold for every model.
 */
#include "support/engine_run.h"

enum { BATCH = 4, STEPS = 10 };

static const double slack = 8;
static const double logits_bar = 1e-5, grad_bar = 1e-4, loss_bar = 1e-5;
/* The least that float32 can be asked for: a few units of the last place. */
static const double smallest_bound = 1e-6;
/* The largest weight of a query must average above `peak`: flat attention proves little. Sharper
 * than in these files it would miss the bar, because large scores have large last places. */
static const double attention_bar = 1e-6, row_sum_bar = 1e-6, peak = 0.3;
/* Behind convolutions PyTorch's own float32 run misses that bar; its difference times this is ours.
 */
static const double attention_slack = 3;
/* The gradient of the keys' bias is zero, so that Adam moves it by rounding alone. */
static const double adam_norm_bar = 1e-5;
/* Of all gradients' norm: what is below is zero in exact arithmetic. */
static const double zero_gradient = 1e-9;
/* A parameter that ten steps hardly move: float's last place shows in the way. */
static const double way_bar = 1e-2;

static const char *const models[] = {"vit",
                                     "vit_mean",
                                     "vit_sincos",
                                     "vit_tanh",
                                     "swin_even",
                                     "swin_odd",
                                     "swin_odd_strict",
                                     "swin_cifar_unmasked",
                                     "swin_cifar_torchvision",
                                     "swin_cifar_strict",
                                     "mobilevit_even",
                                     "mobilevit_odd",
                                     "cct",
                                     "cct_sincos",
                                     "hybrid_windows",
                                     "hybrid_csp",
                                     "hybrid_patches"};
enum { N_MODELS = sizeof models / sizeof *models };

struct model {
    const char *name;
    vt_safetensors *file;
    vt_config *config;
    vt_dev *dev;
    vt_engine engine;
    vt_slot *train, *eval;
};

static double bound_of(const struct model *m, const char *key, int word, double bar)
{
    const char *text = fixture_text(m->file, key);
    char *end;
    double value = strtod(text, &end);
    if (word == 1)
        value = strtod(end, NULL);
    return fmin(bar, fmax(slack * value, smallest_bound));
}

/* The mapping without `image`, which an experiment may not set: data sets have one size. */
static void write_model(const struct model *m, char *to, size_t size)
{
    const char *text = fixture_text(m->file, "model"), *image = strstr(text, "image: ");
    const char *rest = image ? strstr(image, ", ") : NULL;
    assert_non_null(rest);
    snprintf(to, size, "%.*s%s", (int)(image - text), text, rest + 2);
}

static bool starts_with(const char *text, const char *prefix)
{
    return strncmp(text, prefix, strlen(prefix)) == 0;
}

/* Every tensor of the file must have its parameter, and every parameter its tensor. */
static void load_weights(struct model *m)
{
    const vt_params *params = m->engine.params;
    float *weights = read_weights(&m->engine);
    int n_given = 0, n_taken = 0;
    for (int i = 0; i < vt_safetensors_count(m->file); i++) {
        const char *name = vt_safetensors_at(m->file, i)->name;
        n_given += starts_with(name, "param.") || starts_with(name, "buffer.");
    }
    for (int i = 0; i < params->n; i++) {
        const vt_param *p = params->item[i];
        if (p->role == VT_ROLE_FIXED)
            continue;
        const char *prefix = p->role == VT_ROLE_BUFFER ? "buffer." : "param.";
        const float *from = fixture_floats(m->file, prefix, p->name, p->shape.size);
        memcpy(weights + p->offset, from, (size_t)p->shape.size * sizeof *from);
        n_taken++;
    }
    if (n_taken != n_given)
        fail_msg("%s has %d parameters, the model %d", m->name, n_given, n_taken);
    vt_dev_write(m->dev, m->engine.memory.weights, weights,
                 (size_t)m->engine.memory.n_floats * sizeof *weights);
    vt_free(weights);
}

static void write_inputs(struct model *m, vt_slot *slot)
{
    int64_t n = slot->model.images->shape.size;
    const float *labels = fixture_floats(m->file, "", "labels", BATCH);
    int32_t numbers[BATCH];
    for (int i = 0; i < BATCH; i++)
        numbers[i] = (int32_t)labels[i];
    vt_engine_write_batch(&m->engine, slot, fixture_floats(m->file, "", "images", n), numbers);
}

/* With `optimiser`'s settings if the file has steps of it. */
static struct model *open_model(const char *name, const char *optimiser)
{
    struct model *m = vt_calloc(1, sizeof *m);
    vt_error err = {0};
    char path[200], key[40], model[1600], yaml[2000];
    assert_non_null(m);
    m->name = name;
    snprintf(path, sizeof path, "tests/fixtures/models/%s.safetensors", name);
    m->file = open_fixture(path);
    snprintf(key, sizeof key, "%s.optim", optimiser);
    write_model(m, model, sizeof model);
    const char *optim = vt_safetensors_get_meta(m->file, key);
    snprintf(yaml, sizeof yaml, "model: %s\noptim: %s\n", model, optim ? optim : "{}");
    m->config = load_experiment(yaml);
    m->config->model_image = strtoll(fixture_text(m->file, "image"), NULL, 10);
    m->dev = new_device(1);
    vt_engine_add_slot(&m->engine, BATCH, true);
    vt_engine_add_slot(&m->engine, BATCH, false);
    expect_ok(vt_engine_init(&m->engine, m->config, m->dev, &err), &err);
    m->train = vt_engine_slot(&m->engine, BATCH, true);
    m->eval = vt_engine_slot(&m->engine, BATCH, false);
    load_weights(m);
    return m;
}

static void close_model(struct model *m)
{
    vt_engine_release(&m->engine);
    vt_dev_free(m->dev);
    vt_config_free(m->config);
    vt_safetensors_close(m->file);
    vt_free(m);
}

static double train_step(struct model *m, uint32_t draw)
{
    write_inputs(m, m->train);
    vt_engine_begin(&m->engine, BATCH, m->config->optim_lr);
    return vt_engine_train_batch(&m->engine, m->train, draw).v[VT_TOTAL_LOSS] / BATCH;
}

/* ---- one pass */

static float *read_logits(struct model *m, vt_slot *slot)
{
    float *logits = vt_calloc((size_t)slot->model.logits->shape.size, sizeof *logits);
    assert_non_null(logits);
    vt_engine_read_logits(&m->engine, slot, logits);
    return logits;
}

/* Batch norm: training is another function than evaluation. */
static bool has_statistics(const struct model *m)
{
    return vt_safetensors_find(m->file, "train.logits");
}

static void check_loss_and_logits(struct model *m, vt_slot *slot, double loss)
{
    int64_t n = slot->model.logits->shape.size;
    const char *prefix = slot->training && has_statistics(m) ? "train." : "";
    const float *want = fixture_floats(m->file, prefix, "logits", n);
    double want_loss = (double)*fixture_floats(m->file, prefix, "loss", 1);
    double scale = largest(want, n), bound = bound_of(m, "fp32_logits", 0, logits_bar);
    float *logits = read_logits(m, slot);
    expect_below(m->name, "logits", worst_difference(logits, want, n) / scale, bound);
    expect_below(m->name, "loss", fabs(loss - want_loss) / want_loss, bound);
    vt_free(logits);
}

static void logits_and_loss_are_the_reference_s(void **state)
{
    (void)state;
    for (int i = 0; i < N_MODELS; i++) {
        struct model *m = open_model(models[i], "sgd");
        write_inputs(m, m->eval);
        vt_totals totals = vt_engine_eval_batch(&m->engine, m->eval, NULL, NULL);
        assert_true(totals.v[VT_TOTAL_ROWS] == BATCH);
        check_loss_and_logits(m, m->eval, totals.v[VT_TOTAL_LOSS] / BATCH);
        check_loss_and_logits(m, m->train, train_step(m, 0));
        close_model(m);
    }
}

static void training_without_dropout_gives_evaluation_s_bits(void **state)
{
    (void)state;
    for (int i = 0; i < N_MODELS; i++) {
        struct model *m = open_model(models[i], "sgd");
        size_t n = (size_t)m->eval->model.logits->shape.size;
        if (has_statistics(m)) {
            close_model(m);
            continue;
        }
        write_inputs(m, m->eval);
        vt_totals totals = vt_engine_eval_batch(&m->engine, m->eval, NULL, NULL);
        float *eval = read_logits(m, m->eval);
        double loss = train_step(m, 0);
        float *train = read_logits(m, m->train);
        if (memcmp(eval, train, n * sizeof *eval) != 0)
            fail_msg("%s: other logits in training", m->name);
        assert_true(loss == totals.v[VT_TOTAL_LOSS] / BATCH);
        vt_free(eval);
        vt_free(train);
        close_model(m);
    }
}

static void every_gradient_is_the_reference_s(void **state)
{
    (void)state;
    for (int i = 0; i < N_MODELS; i++) {
        struct model *m = open_model(models[i], "sgd");
        double bound = bound_of(m, "fp32_grad", 0, grad_bar), all = 0;
        train_step(m, 0);
        float *grads = read_grads(&m->engine);
        for (int j = 0; j < 2 * m->engine.params->n; j++) {
            const vt_param *p = m->engine.params->item[j % m->engine.params->n];
            if (!p->trained)
                continue;
            const float *want = fixture_floats(m->file, "grad.", p->name, p->shape.size);
            double norm = norm_of(want, p->shape.size);
            all = j < m->engine.params->n ? hypot(all, norm) : all;
            if (j < m->engine.params->n)
                continue;
            double off = distance(grads + p->offset, want, p->shape.size);
            expect_below(m->name, p->name, off / (norm > zero_gradient * all ? norm : all), bound);
        }
        vt_free(grads);
        close_model(m);
    }
}

static void running_statistics_are_the_reference_s(void **state)
{
    (void)state;
    int found = 0;
    for (int i = 0; i < N_MODELS; i++) {
        struct model *m = open_model(models[i], "sgd");
        double bound = bound_of(m, "fp32_logits", 0, logits_bar);
        train_step(m, 0);
        float *weights = read_weights(&m->engine);
        for (int j = 0; j < m->engine.params->n; j++) {
            const vt_param *p = m->engine.params->item[j];
            if (p->role != VT_ROLE_BUFFER)
                continue;
            const float *want = fixture_floats(m->file, "moved.", p->name, p->shape.size);
            double off = distance(weights + p->offset, want, p->shape.size);
            expect_below(m->name, p->name, off / norm_of(want, p->shape.size), bound);
            found++;
        }
        vt_free(weights);
        close_model(m);
    }
    assert_true(found > 0);
}

static void sine_cosine_positions_are_the_reference_s(void **state)
{
    (void)state;
    struct model *m = open_model("vit_sincos", "sgd");
    const vt_param *p = vt_params_find(m->engine.params, "pos_embed");
    const float *want = fixture_floats(m->file, "", "positions", 16 * 32);
    float *weights = read_weights(&m->engine);
    assert_non_null(p);
    assert_int_equal(p->role, VT_ROLE_FIXED);
    assert_int_equal(p->shape.size, 17 * 32);
    for (int i = 0; i < 32; i++) /* none for the class token */
        assert_true(weights[p->offset + i] == 0);
    expect_below(m->name, "positions", worst_difference(weights + p->offset + 32, want, 16 * 32),
                 6e-8);
    vt_free(weights);
    close_model(m);
}

/* ---- attention maps */

struct maps {
    struct model *m;
    int found;
    double tops; /* sum of the largest weights of all queries */
    int64_t queries;
};

/* The weights of a query sum to one; a padded query has none. */
static void check_rows(struct maps *maps, const char *name, const float *probs, int64_t n,
                       int64_t places)
{
    for (int64_t row = 0; row < n / places; row++) {
        double sum = 0, top = 0;
        for (int64_t i = 0; i < places; i++) {
            sum += (double)probs[row * places + i];
            top = fmax(top, (double)probs[row * places + i]);
        }
        expect_below(maps->m->name, name, fmin(fabs(sum), fabs(sum - 1)), row_sum_bar);
        maps->tops += top;
        maps->queries += top > 0;
    }
}

static double attention_bound(const struct model *m)
{
    const char *text = vt_safetensors_get_meta(m->file, "fp32_attn");
    double theirs = text ? strtod(text, NULL) : 0;
    return theirs > attention_bar ? attention_slack * theirs : attention_bar;
}

/* Right after an attention layer's forward call, its inputs are still in place. */
static void compare_map(void *arg, const vt_call *call)
{
    struct maps *maps = arg;
    struct model *m = maps->m;
    const vt_attention_map *map = call->map;
    const vt_attention_sizes *sizes = &call->node->attention.sizes;
    char name[VT_NODE_NAME + 8];
    if (call->node->op != VT_OP_attention)
        return;
    snprintf(name, sizeof name, "attn.%s", call->node->name);
    *strrchr(name, '.') = '\0'; /* the block's name */
    if (!vt_safetensors_find(m->file, name))
        return;
    int64_t n = map->windows * sizes->heads * map->places * map->places;
    size_t bytes = (size_t)(n * sizes->batch) * sizeof(float);
    float *probs = vt_dev_alloc(call->dev, bytes);
    assert_non_null(probs);
    call->k->attention_probs(call->dev, probs, call->x[0], call->kept[0], call->x[1].data,
                             call->x[2].data, map, sizes);
    float *host = read_device(&m->engine, probs, n);
    expect_below(m->name, name, worst_difference(host, fixture_floats(m->file, "", name, n), n),
                 attention_bound(m));
    check_rows(maps, name, host, n, map->places);
    vt_dev_release(call->dev, probs, bytes);
    vt_free(host);
    maps->found++;
}

static void attention_maps_are_the_reference_s(void **state)
{
    (void)state;
    for (int i = 0; i < N_MODELS; i++) {
        struct maps maps = {.m = open_model(models[i], "sgd")};
        int wanted = 0;
        for (int j = 0; j < vt_safetensors_count(maps.m->file); j++)
            wanted += starts_with(vt_safetensors_at(maps.m->file, j)->name, "attn.");
        write_inputs(maps.m, maps.m->eval);
        vt_engine_eval_batch(&maps.m->engine, maps.m->eval, compare_map, &maps);
        assert_true(wanted > 0);
        assert_int_equal(maps.found, wanted);
        if (!(maps.tops > peak * (double)maps.queries))
            fail_msg("%s: the largest weight of a query averages %g", maps.m->name,
                     maps.tops / (double)maps.queries);
        close_model(maps.m);
    }
}

/* ---- ten steps */

/* Norm of a parameter, and norm of the way it moved. */
static void check_ways(struct model *m, const char *optimiser, const float *start)
{
    char key[40], prefix[40];
    float *weights = read_weights(&m->engine);
    snprintf(key, sizeof key, "%s.fp32_after", optimiser);
    snprintf(prefix, sizeof prefix, "%s.after.", optimiser);
    double way_bound = bound_of(m, key, 1, way_bar);
    double norm_bound =
        m->config->optim_name == VT_OPTIM_SGD ? bound_of(m, key, 0, grad_bar) : adam_norm_bar;
    for (int i = 0; i < m->engine.params->n; i++) {
        const vt_param *p = m->engine.params->item[i];
        int64_t n = p->shape.size;
        if (p->role == VT_ROLE_FIXED) {
            assert_memory_equal(weights + p->offset, start + p->offset, (size_t)n * sizeof *start);
            continue;
        }
        const float *want = fixture_floats(m->file, prefix, p->name, 2);
        double norm = norm_of(weights + p->offset, n);
        double way = distance(weights + p->offset, start + p->offset, n);
        expect_below(m->name, p->name, fabs(norm / (double)want[0] - 1), norm_bound);
        expect_below(m->name, p->name, fabs(way / (double)want[1] - 1), way_bound);
    }
    vt_free(weights);
}

static void take_ten_steps(const char *optimiser)
{
    char key[40], what[60];
    for (int i = 0; i < N_MODELS; i++) {
        struct model *m = open_model(models[i], optimiser);
        snprintf(key, sizeof key, "%s.loss", optimiser);
        if (!vt_safetensors_find(m->file, key)) {
            close_model(m);
            continue;
        }
        float *start = read_weights(&m->engine);
        const float *want = fixture_floats(m->file, "", key, STEPS);
        snprintf(key, sizeof key, "%s.fp32_loss", optimiser);
        double bound = bound_of(m, key, 0, loss_bar);
        for (int step = 0; step < STEPS; step++) {
            double loss = train_step(m, (uint32_t)step);
            snprintf(what, sizeof what, "%s, loss before step %d", optimiser, step + 1);
            expect_below(m->name, what, fabs(loss / (double)want[step] - 1), bound);
            vt_engine_grad_norm(&m->engine);
            vt_engine_update(&m->engine, step + 1);
        }
        check_ways(m, optimiser, start);
        vt_free(start);
        close_model(m);
    }
}

static void ten_steps_of_sgd(void **state)
{
    (void)state;
    take_ten_steps("sgd");
}

static void ten_steps_of_adam(void **state)
{
    (void)state;
    take_ten_steps("adam");
}

static void ten_steps_of_adamw(void **state)
{
    (void)state;
    take_ten_steps("adamw");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE("logits and loss are the reference's", logits_and_loss_are_the_reference_s),
        CASE("training without dropout gives evaluation's bits",
             training_without_dropout_gives_evaluation_s_bits),
        CASE("every gradient is the reference's", every_gradient_is_the_reference_s),
        CASE("running statistics after a pass are the reference's",
             running_statistics_are_the_reference_s),
        CASE("sine-cosine positions are the reference's",
             sine_cosine_positions_are_the_reference_s),
        CASE("attention maps are the reference's", attention_maps_are_the_reference_s),
        CASE("ten steps of SGD follow the reference", ten_steps_of_sgd),
        CASE("ten steps of Adam follow the reference", ten_steps_of_adam),
        CASE("ten steps of AdamW follow the reference", ten_steps_of_adamw),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
