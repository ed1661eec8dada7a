/*
 * No key of an experiment is for show: for every row of the schema, two legal values must make a
 * difference that can be named: in the plan (parameters, bytes), in the trained weights, in the
 * journal, in the run's files or in its report. Keys that are no part of an experiment's identity
 * must leave the weights alone.
 */
#include "base/log.h"
#include "config_samples.h"
#include "results/journal.h"
#include "support/engine_run.h"
#include "train/train.h"

#include <unistd.h>

enum { TEXT = 4096, MEMORY = 400, SETS = 20 };

/* What a configuration does. Names of runs and ids are left out: they follow from its identity
 * alone. */
typedef struct outcome {
    char *config; /* resolved: equal ones are not run twice */
    bool has_run; /* what follows the plan is known */
    char plan[120];
    char failure[sizeof((vt_error *)0)->text]; /* "" for a run that ended well */
    char weights[VT_SHA256_HEX_SIZE];
    char journal[VT_SHA256_HEX_SIZE]; /* all records but the first, which holds ids */
    char files[TEXT];                 /* names below the run's folder, sorted */
    char report[TEXT];                /* on stdout, without the lines that hold ids */
    char threads[60];                 /* in provenance.json */
} outcome;

static struct {
    outcome items[MEMORY];
    int n;
    char start[300]; /* a weights file */
    vt_scratch scratch;
} memory;

/* Small enough for many runs: four steps an epoch. Most of a run's time goes into drawing the data.
 */
static const char *const smallest[] = {"data.limit_train=64", "data.limit_test=60",
                                       "train.batch=16", "train.threads=2", "log.every=1"};
enum { N_SMALLEST = sizeof smallest / sizeof *smallest };

static vt_config *load_sample(const config_sample *sample, const char *value, char **error)
{
    const char *sets[SETS];
    sample_sets own;
    vt_diagnostics diags = {0};
    vt_config *config;
    char path[100];
    int n = 0;
    for (int i = 0; i < N_SMALLEST; i++)
        sets[n++] = smallest[i];
    fill_sample_sets(&own, sample, value);
    for (int i = 0; i < own.n; i++)
        sets[n++] = own.set[i];
    snprintf(path, sizeof path, "experiments/%s.yaml", sample->experiment);
    vt_config_load(&config, path, sets, n, NULL, &diags);
    if (!config && !error)
        fail_msg("%s", diags.text.data);
    if (error)
        *error = config ? NULL : strdup(diags.text.data);
    vt_diagnostics_release(&diags);
    return config;
}

/* ---- what a configuration does */

static void describe_plan(outcome *o, const vt_config *config)
{
    vt_engine engine = {0};
    vt_error err = {0};
    vt_engine_add_slot(&engine, config->train_batch, true);
    vt_engine_add_slot(&engine, config->eval_batch, false);
    expect_ok(vt_engine_plan(&engine, config, &err), &err);
    snprintf(o->plan, sizeof o->plan, "%lld parameters, %lld bytes in training, %lld in evaluation",
             (long long)vt_params_count(engine.params), (long long)vt_engine_bytes(&engine, 1),
             (long long)engine.slot[1].plan->arena_bytes);
    vt_engine_release(&engine);
}

static vt_status hash_record(void *arg, const vt_record *record, vt_error *err)
{
    (void)err;
    if (record->type == VT_RECORD_RUN)
        return VT_OK;
    vt_sha256_add(arg, &record->type, sizeof record->type);
    vt_sha256_add(arg, &record->step, sizeof record->step);
    vt_sha256_add(arg, record->payload, record->size);
    return VT_OK;
}

static void hash_journal(outcome *o, int dir_fd)
{
    vt_sha256 hash;
    vt_error err = {0};
    uint8_t digest[VT_SHA256_SIZE];
    vt_sha256_init(&hash);
    expect_ok(vt_journal_read(dir_fd, hash_record, &hash, NULL, &err), &err);
    vt_sha256_finish(&hash, digest);
    vt_sha256_hex(digest, o->journal);
}

struct names {
    char name[64][64];
    int n;
};

static void take_name(void *arg, const char *name)
{
    struct names *names = arg;
    assert_true(names->n < 64);
    snprintf(names->name[names->n++], sizeof names->name[0], "%s", name);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(a, b);
}

static void list_files(outcome *o, int dir_fd)
{
    static const char *const folders[] = {".", "captures"};
    size_t used = 0;
    for (int i = 0; i < 2; i++) {
        struct names names = {.n = 0};
        vt_error err = {0};
        int fd;
        expect_ok(vt_fs_open_dir(dir_fd, folders[i], &fd, &err), &err);
        expect_ok(vt_fs_list(fd, take_name, &names, &err), &err);
        vt_fs_close(&fd);
        qsort(names.name, (size_t)names.n, sizeof names.name[0], by_name);
        for (int j = 0; j < names.n; j++) {
            used += (size_t)snprintf(o->files + used, TEXT - used, "%s ", names.name[j]);
            assert_true(used < TEXT);
        }
    }
}

/* The path of the only run below `results`. */
static void find_run(int results_fd, char *path, size_t size)
{
    struct names experiments = {.n = 0}, runs = {.n = 0};
    vt_error err = {0};
    int fd;
    expect_ok(vt_fs_list(results_fd, take_name, &experiments, &err), &err);
    assert_int_equal(experiments.n, 1);
    expect_ok(vt_fs_open_dir(results_fd, experiments.name[0], &fd, &err), &err);
    expect_ok(vt_fs_list(fd, take_name, &runs, &err), &err);
    vt_fs_close(&fd);
    for (int i = 0; i < runs.n; i++)
        if (strlen(runs.name[i]) == VT_RUN_ID_SIZE - 1 && !strchr(runs.name[i], '.')) {
            snprintf(path, size, "%s/%s", experiments.name[0], runs.name[i]);
            return;
        }
    fail_msg("no run in %s", experiments.name[0]);
}

static void read_threads(outcome *o, int dir_fd)
{
    size_t size;
    char *text = vt_scratch_read(dir_fd, "provenance.json", &size);
    const char *at = strstr(text, "\"threads\"");
    assert_non_null(at);
    int used = snprintf(o->threads, sizeof o->threads, "%.*s", (int)strcspn(at, ",}\n"), at);
    at = strstr(text, "\"decode_threads\"");
    assert_non_null(at);
    snprintf(o->threads + used, sizeof o->threads - (size_t)used, " %.*s", (int)strcspn(at, ",}\n"),
             at);
    vt_free(text);
}

static void describe_run(outcome *o, const vt_scratch *results)
{
    char path[300];
    uint8_t digest[VT_SHA256_SIZE];
    vt_error err = {0};
    int fd;
    find_run(results->fd, path, sizeof path);
    expect_ok(vt_fs_open_dir(results->fd, path, &fd, &err), &err);
    expect_ok(vt_fs_hash_file(fd, "last.safetensors", digest, &err), &err);
    vt_sha256_hex(digest, o->weights);
    hash_journal(o, fd);
    list_files(o, fd);
    read_threads(o, fd);
    vt_fs_close(&fd);
}

/* Lines of the program's report that do not name the run. */
static void take_report(outcome *o, char *text)
{
    static const char *const ids[] = {"run ", "digest ", "files "};
    size_t used = 0;
    char *rest = text, *line;
    while ((line = strsep(&rest, "\n"))) {
        bool named = false;
        for (int i = 0; i < 3; i++)
            named |= strncmp(line, ids[i], strlen(ids[i])) == 0;
        if (!named)
            used += (size_t)snprintf(o->report + used, TEXT - used, "%s\n", line);
        assert_true(used < TEXT);
    }
}

/* Trains with stdout going to a file. */
static vt_status train_aside(const vt_config *config, const char *results, char **said,
                             vt_error *err)
{
    const vt_train_options options = {.results = results, .quiet = true};
    FILE *file = tmpfile();
    int out = dup(STDOUT_FILENO);
    assert_true(file && out >= 0);
    fflush(stdout);
    dup2(fileno(file), STDOUT_FILENO);
    vt_status status = vt_train(config, &options, err);
    fflush(stdout);
    dup2(out, STDOUT_FILENO);
    close(out);
    *said = vt_calloc(TEXT, 1);
    assert_non_null(*said);
    rewind(file);
    assert_true(fread(*said, 1, TEXT - 1, file) < TEXT - 1);
    fclose(file);
    return status;
}

static void run(outcome *o, const vt_config *config)
{
    vt_scratch results = vt_scratch_new();
    vt_error err = {0};
    char *said;
    o->has_run = true;
    if (train_aside(config, results.path, &said, &err) == VT_OK) {
        take_report(o, said);
        describe_run(o, &results);
    } else {
        snprintf(o->failure, sizeof o->failure, "%s", err.text);
    }
    vt_free(said);
    vt_scratch_free(&results);
}

/* What a sample's value does; with `full`, not its plan alone. */
static const outcome *outcome_of(const config_sample *sample, const char *value, bool full)
{
    vt_config *config = load_sample(sample, value, NULL);
    char *text = vt_config_print(config, false);
    outcome *o = NULL;
    assert_non_null(text);
    for (int i = 0; i < memory.n && !o; i++)
        if (strcmp(memory.items[i].config, text) == 0)
            o = &memory.items[i];
    if (!o) {
        assert_true(memory.n < MEMORY);
        o = &memory.items[memory.n++];
        o->config = text;
        text = NULL;
        describe_plan(o, config);
    }
    if (full && !o->has_run)
        run(o, config);
    vt_free(text);
    vt_config_free(config);
    return o;
}

/* ---- what each key must change */

/* Of a key that is not listed: the plan or the weights. */
enum effect {
    PLAN_OR_WEIGHTS,
    PLAN,
    WEIGHTS,
    JOURNAL,
    FILES,
    REPORT,
    THREADS,
    DEVICE,
    FAILURE,
    ONE_VALUE
};

struct expectation {
    const char *path;
    enum effect effect;
    const char *says; /* FAILURE, ONE_VALUE: the other value, and what the message names */
};

static const struct expectation expectations[] = {
    {"model.preset", PLAN, NULL},
    {"data.name", FAILURE, "data_batch_1.bin"},
    {"data.dir", FAILURE, "elsewhere"},
    {"data.test", JOURNAL, NULL},
    {"data.limit_test", JOURNAL, NULL},
    {"eval.batch", PLAN, NULL},
    {"eval.every", JOURNAL, NULL},
    {"eval.compat", JOURNAL, NULL},
    {"train.accumulate", WEIGHTS, NULL},
    {"train.select", REPORT, NULL},
    {"train.threads", THREADS, NULL},
    {"train.device", DEVICE, "GPU"},
    {"train.precision", FAILURE, "fp32"},
    {"log.every", JOURNAL, NULL},
    {"log.tensorboard", FILES, NULL},
    {"attention.images", FILES, NULL},
    {"attention.epochs", FILES, NULL},
    {"checkpoint.every", JOURNAL, NULL},
    {"checkpoint.keep", FILES, NULL},
    {"model.image", ONE_VALUE, "16"},
    {"model.channels", ONE_VALUE, "1"},
    {"schedule.monitor", ONE_VALUE, "test.loss"},
    {"data.keep_mib", THREADS, NULL},
    {"data.threads", THREADS, NULL},
    {"data.max_bad", FAILURE, "broken.jpg"},
    {"data.labels", PLAN, NULL},
};
enum { N_EXPECTATIONS = sizeof expectations / sizeof *expectations };

static const struct expectation *expectation_of(const char *path)
{
    static const struct expectation usual = {NULL, PLAN_OR_WEIGHTS, NULL};
    for (int i = 0; i < N_EXPECTATIONS; i++)
        if (strcmp(expectations[i].path, path) == 0)
            return &expectations[i];
    return &usual;
}

static const config_sample *sample_of(const char *path)
{
    for (int i = 0; i < N_CONFIG_SAMPLES; i++)
        if (strcmp(config_samples[i].path, path) == 0)
            return &config_samples[i];
    fail_msg("config_samples.def has no row for %s", path);
    return NULL;
}

/* A sample's second value; start.safetensors is a file that only this test knows. */
static const char *second_value(const config_sample *sample)
{
    return strcmp(sample->path, "model.weights") == 0 ? memory.start : sample->value[1];
}

static void expect_same(const char *path, const char *what, const char *a, const char *b)
{
    if (strcmp(a, b) != 0)
        fail_msg("%s also changes the %s: %s, %s", path, what, a, b);
}

static void expect_other(const char *path, const char *what, const char *a, const char *b)
{
    if (strcmp(a, b) == 0)
        fail_msg("%s does not change the %s: %s", path, what, a);
}

/* Evaluation and bookkeeping never reach the weights. */
static void check_observable(const struct expectation *e, const outcome *a, const outcome *b)
{
    assert_string_equal(a->failure, "");
    assert_string_equal(b->failure, "");
    expect_same(e->path, "weights", a->weights, b->weights);
    if (e->effect == JOURNAL)
        expect_other(e->path, "journal", a->journal, b->journal);
    else if (e->effect == FILES)
        expect_other(e->path, "files", a->files, b->files);
    else if (e->effect == REPORT)
        expect_other(e->path, "report", a->report, b->report);
    else
        expect_other(e->path, "provenance", a->threads, b->threads);
    if (e->effect != THREADS)
        return;
    expect_same(e->path, "journal", a->journal, b->journal);
    expect_same(e->path, "files", a->files, b->files);
    expect_same(e->path, "report", a->report, b->report);
}

static void check_weights(const char *path, const config_sample *sample)
{
    const outcome *a = outcome_of(sample, sample->value[0], true);
    const outcome *b = outcome_of(sample, second_value(sample), true);
    if (a->failure[0] || b->failure[0])
        fail_msg("%s: %s%s", path, a->failure, b->failure);
    expect_other(path, "weights", a->weights, b->weights);
}

/* The plan is cheaper to look at than a run, so a run is made only where the plans are equal. */
static void check_plan_or_weights(const char *path, const config_sample *sample)
{
    const outcome *a = outcome_of(sample, sample->value[0], false);
    const outcome *b = outcome_of(sample, second_value(sample), false);
    if (strcmp(a->plan, b->plan) == 0)
        check_weights(path, sample);
}

static void check_failure(const struct expectation *e, const config_sample *sample)
{
    const outcome *o = outcome_of(sample, sample->value[1], true);
    if (!strstr(o->failure, e->says))
        fail_msg("%s=%s: the failure does not name %s: %s", e->path, sample->value[1], e->says,
                 o->failure);
}

/* Where there is no such device, the run does not begin and says so. */
static void check_device(const struct expectation *e, const config_sample *sample)
{
    const outcome *o = outcome_of(sample, sample->value[1], true);
    if (o->failure[0])
        check_failure(e, sample);
    else
        expect_other(e->path, "provenance", o->threads,
                     outcome_of(sample, sample->value[0], true)->threads);
}

static void check_refusal(const struct expectation *e, const config_sample *sample)
{
    char *error;
    vt_config *config = load_sample(sample, e->says, &error);
    if (config || !strstr(error, e->path) || sample->value[1])
        fail_msg("%s=%s is not refused by name: %s", e->path, e->says, config ? "" : error);
    free(error);
}

static void check_key(const char *path)
{
    const config_sample *sample = sample_of(path);
    const struct expectation *e = expectation_of(path);
    switch (e->effect) {
    case PLAN_OR_WEIGHTS:
        check_plan_or_weights(path, sample);
        break;
    case WEIGHTS:
        check_weights(path, sample);
        break;
    case PLAN:
        expect_other(path, "plan", outcome_of(sample, sample->value[0], false)->plan,
                     outcome_of(sample, sample->value[1], false)->plan);
        break;
    case FAILURE:
        check_failure(e, sample);
        break;
    case ONE_VALUE:
        check_refusal(e, sample);
        break;
    case DEVICE:
        check_device(e, sample);
        break;
    case JOURNAL:
    case FILES:
    case REPORT:
    case THREADS:
        check_observable(e, outcome_of(sample, sample->value[0], true),
                         outcome_of(sample, sample->value[1], true));
        break;
    }
}

/* Drawing the data takes sanitizers a second a run. */
#if defined __SANITIZE_ADDRESS__ || defined __SANITIZE_THREAD__
enum { STRIDE = 6 };
#else
enum { STRIDE = 1 };
#endif

static void every_key_has_an_effect(void **state)
{
    (void)state;
    assert_true(vt_config_field_count() > 60);
    if (STRIDE > 1)
        print_message("only every %dth key is tried: this build is slow\n", STRIDE);
    for (int i = 0; i < vt_config_field_count(); i += STRIDE)
        check_key(vt_config_field_at(i).path);
}

static void keys_outside_the_identity_leave_the_weights_alone(void **state)
{
    (void)state;
    /* the seed is a part of the run's id; these two stand for keys that are in the identity; the
     * folder of the data has one content; a run with fewer files let pass does not begin */
    static const char *const others[] = {"seed",     "model.drop",   "model.preset",
                                         "data.dir", "data.max_bad", "train.device"};
    for (int i = 0; i < vt_config_field_count(); i += STRIDE) {
        const vt_config_field field = vt_config_field_at(i);
        bool other = field.identity;
        for (size_t j = 0; j < sizeof others / sizeof *others; j++)
            other |= strcmp(field.path, others[j]) == 0;
        if (other)
            continue;
        const config_sample *sample = sample_of(field.path);
        expect_same(field.path, "weights", outcome_of(sample, sample->value[0], true)->weights,
                    outcome_of(sample, sample->value[1], true)->weights);
    }
}

/* The last weights of a run with another seed. */
static int make_start(void **state)
{
    (void)state;
    static const config_sample seed = {"seed", "quick/vit", {"9", NULL}, ""};
    char run[300], from[600];
    vt_scratch results = vt_scratch_new();
    vt_config *config = load_sample(&seed, "9", NULL);
    vt_error err = {0};
    char *said, *bytes;
    size_t size;
    vt_log_set_level(VT_LOG_ERROR);
    memory.scratch = vt_scratch_new();
    expect_ok(train_aside(config, results.path, &said, &err), &err);
    find_run(results.fd, run, sizeof run);
    snprintf(from, sizeof from, "%s/%s/last.safetensors", results.path, run);
    bytes = vt_scratch_read(AT_FDCWD, from, &size);
    vt_scratch_write(memory.scratch.fd, "start.safetensors", bytes, size);
    snprintf(memory.start, sizeof memory.start, "%s/start.safetensors", memory.scratch.path);
    vt_free(bytes);
    vt_free(said);
    vt_config_free(config);
    vt_scratch_free(&results);
    return 0;
}

static int forget(void **state)
{
    (void)state;
    for (int i = 0; i < memory.n; i++)
        vt_free(memory.items[i].config);
    vt_scratch_free(&memory.scratch);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE("every key has an effect", every_key_has_an_effect),
        CASE("keys outside the identity leave the weights alone",
             keys_outside_the_identity_leave_the_weights_alone),
    };
    return cmocka_run_group_tests(tests, make_start, forget);
}
