/* Learning rates against PyTorch's schedulers, to 1e-12, and at the joints between their parts. */
#include "support/engine_run.h"
#include "train/schedule.h"

static const double bound = 1e-12;

static double number(const vt_safetensors *file, const char *name, const char *key)
{
    char full[80];
    snprintf(full, sizeof full, "%s.%s", name, key);
    return strtod(fixture_text(file, full), NULL);
}

static vt_safetensors *open_schedules(void)
{
    return open_fixture("tests/fixtures/schedules.safetensors");
}

static void expect_rate(const char *name, int64_t t, double got, double want)
{
    if (!(fabs(got - want) <= bound * want))
        fail_msg("%s, t = %lld: rate %.17g, expected %.17g", name, (long long)t, got, want);
}

/* The rates of a file that depend on the step alone, one epoch a step. */
static void compare(const vt_safetensors *file, const char *name, vt_config *c)
{
    char key[80];
    int64_t n;
    snprintf(key, sizeof key, "%s.lr", name);
    const double *want = fixture_doubles(file, "", key, &n);
    vt_schedule_state state = vt_schedule_start(c);
    assert_true(n > 0);
    for (int64_t t = 0; t < n; t++) {
        expect_rate(name, t, vt_schedule_lr(c, &state, t, 1), want[t]);
        vt_schedule_epoch_end(c, &state, 1.0);
    }
}

static void multistep_is_pytorch_s(void **state)
{
    (void)state;
    vt_safetensors *file = open_schedules();
    vt_config c = {.schedule_name = VT_SCHEDULE_MULTISTEP,
                   .optim_lr = number(file, "multistep", "base"),
                   .schedule_gamma = number(file, "multistep", "gamma"),
                   .schedule_milestones = {3, {3, 5, 12}},
                   .train_epochs = 16};
    assert_string_equal(fixture_text(file, "multistep.milestones"), "[3, 5, 12]");
    compare(file, "multistep", &c);
    vt_safetensors_close(file);
}

static void cosine_is_pytorch_s(void **state)
{
    (void)state;
    vt_safetensors *file = open_schedules();
    vt_config c = {.schedule_name = VT_SCHEDULE_COSINE,
                   .optim_lr = number(file, "cosine", "base"),
                   .schedule_min_lr = number(file, "cosine", "min_lr"),
                   .train_epochs = (int64_t)number(file, "cosine", "length")};
    compare(file, "cosine", &c);
    vt_safetensors_close(file);
}

static void warmed_up_cosine_is_the_reference_s(void **state)
{
    (void)state;
    vt_safetensors *file = open_schedules();
    vt_config c = {.schedule_name = VT_SCHEDULE_COSINE,
                   .optim_lr = number(file, "warmup_cosine", "base"),
                   .schedule_min_lr = number(file, "warmup_cosine", "min_lr"),
                   .schedule_warmup_from = number(file, "warmup_cosine", "from"),
                   .schedule_warmup_epochs = (int64_t)number(file, "warmup_cosine", "warmup"),
                   .train_epochs = (int64_t)number(file, "warmup_cosine", "length")};
    compare(file, "warmup_cosine", &c);
    vt_safetensors_close(file);
}

static void plateau_is_pytorch_s(void **state)
{
    (void)state;
    static const char *const cases[] = {"article", "bumpy", "flat", "half", "eager"};
    vt_safetensors *file = open_schedules();
    for (int i = 0; i < 5; i++) {
        char name[40];
        int64_t n, n_losses;
        snprintf(name, sizeof name, "plateau.%s", cases[i]);
        const double *losses = fixture_doubles(file, name, ".loss", &n_losses);
        const double *want = fixture_doubles(file, name, ".lr", &n);
        vt_config c = {.schedule_name = VT_SCHEDULE_PLATEAU,
                       .optim_lr = number(file, name, "base"),
                       .schedule_factor = number(file, name, "factor"),
                       .schedule_patience = (int64_t)number(file, name, "patience"),
                       .schedule_threshold = number(file, name, "threshold"),
                       .schedule_min_lr = number(file, name, "min_lr"),
                       .train_epochs = n};
        vt_schedule_state plateau = vt_schedule_start(&c);
        assert_true(n > 0 && n == n_losses);
        for (int64_t t = 0; t < n; t++) {
            expect_rate(name, t, vt_schedule_lr(&c, &plateau, t * 3 + 2, 3), want[t]);
            vt_schedule_epoch_end(&c, &plateau, losses[t]);
        }
    }
    vt_safetensors_close(file);
}

static void the_article_s_rate_never_falls(void **state)
{
    (void)state;
    vt_safetensors *file = open_schedules();
    vt_config c = {.schedule_name = VT_SCHEDULE_PLATEAU,
                   .optim_lr = 1e-4,
                   .schedule_factor = 0.94,
                   .schedule_patience = 1,
                   .schedule_threshold = 1e-4,
                   .schedule_min_lr = 1e-6};
    int64_t n;
    const double *losses = fixture_doubles(file, "plateau.article", ".loss", &n);
    vt_schedule_state plateau = vt_schedule_start(&c);
    assert_int_equal(n, 20);
    for (int64_t t = 0; t < n; t++) {
        assert_true(vt_schedule_lr(&c, &plateau, t, 1) == 1e-4);
        vt_schedule_epoch_end(&c, &plateau, losses[t]);
    }
    vt_safetensors_close(file);
}

static void a_loss_that_is_no_number_is_no_improvement(void **state)
{
    (void)state;
    vt_config c = {.schedule_name = VT_SCHEDULE_PLATEAU,
                   .optim_lr = 1,
                   .schedule_factor = 0.5,
                   .schedule_patience = 0};
    vt_schedule_state plateau = vt_schedule_start(&c);
    vt_schedule_epoch_end(&c, &plateau, NAN);
    assert_true(vt_schedule_lr(&c, &plateau, 1, 1) == 0.5);
    vt_schedule_epoch_end(&c, &plateau, 3.0);
    assert_true(vt_schedule_lr(&c, &plateau, 2, 1) == 0.5);
}

static void rates_meet_at_the_joints(void **state)
{
    (void)state;
    enum { STEPS = 7, WARMUP = 2, EPOCHS = 10 };
    vt_config c = {.optim_lr = 0.5,
                   .schedule_min_lr = 0.125,
                   .schedule_warmup_from = 0.25,
                   .schedule_warmup_epochs = WARMUP,
                   .train_epochs = EPOCHS};
    const enum vt_schedule_kind kinds[] = {VT_SCHEDULE_CONSTANT, VT_SCHEDULE_PLATEAU,
                                           VT_SCHEDULE_COSINE, VT_SCHEDULE_MULTISTEP};
    for (int i = 0; i < 4; i++) {
        c.schedule_name = kinds[i];
        vt_schedule_state s = vt_schedule_start(&c);
        assert_true(vt_schedule_lr(&c, &s, 0, STEPS) == 0.25);
        assert_true(vt_schedule_lr(&c, &s, WARMUP * STEPS / 2, STEPS) == 0.375);
        assert_true(vt_schedule_lr(&c, &s, WARMUP * STEPS, STEPS) == 0.5);
        for (int64_t t = 1; t <= WARMUP * STEPS; t++)
            assert_true(vt_schedule_lr(&c, &s, t, STEPS) > vt_schedule_lr(&c, &s, t - 1, STEPS));
    }
    c.schedule_name = VT_SCHEDULE_COSINE;
    vt_schedule_state s = vt_schedule_start(&c);
    for (int64_t t = WARMUP * STEPS + 1; t < EPOCHS * STEPS; t++)
        assert_true(vt_schedule_lr(&c, &s, t, STEPS) < vt_schedule_lr(&c, &s, t - 1, STEPS));
    expect_rate("cosine, half way", 42, vt_schedule_lr(&c, &s, 6 * STEPS, STEPS), 0.3125);
    assert_true(vt_schedule_lr(&c, &s, EPOCHS * STEPS - 1, STEPS) > 0.125);
    assert_true(vt_schedule_lr(&c, &s, EPOCHS * STEPS - 1, STEPS) < 0.126);
}

static void milestones_count_whole_epochs(void **state)
{
    (void)state;
    vt_config c = {.schedule_name = VT_SCHEDULE_MULTISTEP,
                   .optim_lr = 1,
                   .schedule_gamma = 0.5,
                   .schedule_milestones = {2, {1, 3}},
                   .train_epochs = 4};
    static const double want[] = {1, 1, 1, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.25, 0.25, 0.25};
    vt_schedule_state s = vt_schedule_start(&c);
    for (int64_t t = 0; t < 12; t++)
        assert_true(vt_schedule_lr(&c, &s, t, 3) == want[t]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE("multistep is PyTorch's", multistep_is_pytorch_s),
        CASE("cosine is PyTorch's", cosine_is_pytorch_s),
        CASE("warmed-up cosine is the reference's", warmed_up_cosine_is_the_reference_s),
        CASE("plateau is PyTorch's", plateau_is_pytorch_s),
        CASE("the article's rate never falls", the_article_s_rate_never_falls),
        CASE("a loss that is no number is no improvement",
             a_loss_that_is_no_number_is_no_improvement),
        CASE("rates meet at the joints", rates_meet_at_the_joints),
        CASE("milestones count whole epochs", milestones_count_whole_epochs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
