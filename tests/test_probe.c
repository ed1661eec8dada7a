/* vitrine probe: what it writes for a batch of a reference file, and the files it refuses. */
#include "support/engine_run.h"
#include "train/probe.h"

static const char *const fixture = "tests/fixtures/models/vit.safetensors";
enum { BATCH = 4, CLASSES = 10 };

struct files {
    vt_scratch scratch;
    vt_safetensors *reference, *out;
    char images[300], weights[300], result[300];
};

static void write_tensors(const struct files *f, const char *name, const vt_safetensor *tensors,
                          int n)
{
    const vt_safetensors_content content = {tensors, n, NULL, 0};
    vt_error err = {0};
    expect_ok(vt_safetensors_write(f->scratch.fd, name, &content, NULL, &err), &err);
}

static void write_batch(const struct files *f, int64_t label)
{
    const float *given = fixture_floats(f->reference, "", "labels", BATCH);
    int64_t labels[BATCH];
    for (int i = 0; i < BATCH; i++)
        labels[i] = i == 0 && label ? label : (int64_t)given[i];
    const vt_safetensor tensors[] = {
        *vt_safetensors_find(f->reference, "images"),
        {"labels", VT_SAFETENSORS_I64, 1, {BATCH}, labels, 0},
    };
    write_tensors(f, "images.safetensors", tensors, 2);
}

/* The reference file's parameters under their own names. */
static void write_weights(const struct files *f)
{
    int n = 0;
    vt_safetensor *tensors = vt_calloc((size_t)vt_safetensors_count(f->reference), sizeof *tensors);
    assert_non_null(tensors);
    for (int i = 0; i < vt_safetensors_count(f->reference); i++) {
        tensors[n] = *vt_safetensors_at(f->reference, i);
        if (strncmp(tensors[n].name, "param.", 6) == 0)
            tensors[n++].name += 6;
    }
    write_tensors(f, "weights.safetensors", tensors, n);
    vt_free(tensors);
}

static struct files open_files(void)
{
    struct files f = {.scratch = vt_scratch_new(), .reference = open_fixture(fixture)};
    snprintf(f.images, sizeof f.images, "%s/images.safetensors", f.scratch.path);
    snprintf(f.weights, sizeof f.weights, "%s/weights.safetensors", f.scratch.path);
    snprintf(f.result, sizeof f.result, "%s/out.safetensors", f.scratch.path);
    write_batch(&f, 0);
    write_weights(&f);
    return f;
}

static void close_files(struct files *f)
{
    vt_safetensors_close(f->out);
    vt_safetensors_close(f->reference);
    vt_scratch_free(&f->scratch);
}

static vt_status probe(struct files *f, bool training, int64_t steps, vt_error *err)
{
    char yaml[700];
    snprintf(yaml, sizeof yaml,
             "model: {family: vit, patch: 4, dim: 32, depth: 2, heads: 4, mlp_ratio: 2, "
             "weights: \"%s\"}\n",
             f->weights);
    vt_config *config = load_experiment(yaml);
    const vt_probe_options options = {
        .images = f->images, .out = f->result, .training = training, .steps = steps};
    vt_status status = vt_probe(config, &options, err);
    vt_config_free(config);
    return status;
}

static void expect_tensor(const struct files *f, const char *name, const char *reference,
                          double bound)
{
    const vt_safetensor *t = vt_safetensors_find(f->out, name);
    if (!t)
        fail_msg("no tensor %s", name);
    int64_t n = t->size_bytes / 4;
    const float *want = fixture_floats(f->reference, "", reference, n);
    expect_below(name, "the whole", distance(t->data, want, n) / norm_of(want, n), bound);
}

static double read_loss(const struct files *f, const char *name)
{
    int64_t n;
    const double *loss = fixture_doubles(f->out, "", name, &n);
    assert_int_equal(n, 1);
    return *loss;
}

static void a_batch_is_written_down(void **state)
{
    (void)state;
    vt_error err = {0};
    struct files f = open_files();
    expect_ok(probe(&f, true, 5, &err), &err);
    f.out = open_fixture(f.result);
    double want = (double)*fixture_floats(f.reference, "", "loss", 1);
    int gradients = 0;
    expect_tensor(&f, "logits", "logits", 1e-5);
    expect_tensor(&f, "train.logits", "logits", 1e-5);
    expect_below("loss", "evaluation", fabs(read_loss(&f, "loss") / want - 1), 1e-5);
    expect_below("loss", "training", fabs(read_loss(&f, "train.loss") / want - 1), 1e-5);
    for (int i = 0; i < vt_safetensors_count(f.out); i++) {
        const char *name = vt_safetensors_at(f.out, i)->name;
        if (strncmp(name, "grad.", 5) == 0) {
            expect_tensor(&f, name, name, 1e-4);
            gradients++;
        }
    }
    assert_int_equal(gradients, 32);
    int64_t n;
    const double *losses = fixture_doubles(f.out, "", "losses", &n);
    assert_int_equal(n, 5);
    expect_below("loss", "first step", fabs(losses[0] / want - 1), 1e-5);
    for (int i = 1; i < n; i++)
        assert_true(losses[i] < losses[i - 1]);
    const vt_safetensor *map = vt_safetensors_find(f.out, "attn.blocks.1.attn");
    assert_non_null(map);
    assert_int_equal(map->rank, 5);
    assert_int_equal(map->shape[0], BATCH);
    const vt_safetensor *probs = vt_safetensors_find(f.reference, "attn.blocks.1");
    assert_non_null(probs);
    expect_below("attention", "of image 0",
                 worst_difference(map->data, probs->data, probs->size_bytes / 4), 1e-5);
    close_files(&f);
}

static void without_training_there_are_no_gradients(void **state)
{
    (void)state;
    vt_error err = {0};
    struct files f = open_files();
    expect_ok(probe(&f, false, 0, &err), &err);
    f.out = open_fixture(f.result);
    assert_int_equal(vt_safetensors_count(f.out), 4); /* logits, loss, two maps */
    close_files(&f);
}

static void expect_refused(struct files *f, vt_status status, const char *words)
{
    vt_error err = {0};
    assert_int_equal(probe(f, false, 0, &err), status);
    if (!strstr(err.text, words))
        fail_msg("'%s' lacks '%s'", err.text, words);
}

static void batches_that_do_not_fit_are_refused(void **state)
{
    (void)state;
    struct files f = open_files();
    write_batch(&f, CLASSES);
    expect_refused(&f, VT_ERR_DATA, "label 0 is 10");
    write_batch(&f, -1);
    expect_refused(&f, VT_ERR_DATA, "label 0 is -1");
    const float pixels[2 * 3 * 2 * 3] = {0};
    const int64_t labels[] = {1, 2, 3};
    vt_safetensor tensors[] = {
        {"images", VT_SAFETENSORS_F32, 4, {1, 2, 2, 3}, pixels, 0},
        {"labels", VT_SAFETENSORS_I64, 1, {3}, labels, 0},
    };
    write_tensors(&f, "images.safetensors", tensors, 2);
    expect_refused(&f, VT_ERR_DATA, "'labels' is needed");
    tensors[0].shape[1] = 3; /* not square */
    write_tensors(&f, "images.safetensors", tensors, 2);
    expect_refused(&f, VT_ERR_DATA, "'images' is needed");
    write_tensors(&f, "images.safetensors", tensors + 1, 1);
    expect_refused(&f, VT_ERR_DATA, "'images' is needed");
    snprintf(f.images, sizeof f.images, "%s/none.safetensors", f.scratch.path);
    expect_refused(&f, VT_ERR_NOINPUT, "none.safetensors");
    close_files(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE("a batch is written down: logits, loss, gradients, maps", a_batch_is_written_down),
        CASE("without training there are no gradients", without_training_there_are_no_gradients),
        CASE("batches that do not fit are refused", batches_that_do_not_fit_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
