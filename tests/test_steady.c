/* The steady state of a training: no allocation by the program's own code, and no more resident
 * memory than the plan says. */
#include "base/mem.h"
#include "config/config.h"
#include "data/data.h"
#include "train/engine.h"
#include "train/evaluate.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

enum { THREADS = 2 };

struct training {
    vt_config *config;
    vt_dev *dev;
    vt_data *data;
    vt_engine engine;
    vt_evaluator evaluator;
    uint32_t *order;
    float *images;
    int32_t *labels;
    int64_t t;
};

static void load_config(struct training *run, const char *path, const char *const *sets, int n)
{
    const vt_config_overrides own = {0};
    vt_diagnostics diags = {0};
    vt_status status = vt_config_load(&run->config, path, sets, n, &own, &diags);
    if (status != VT_OK)
        print_message("# %s\n", diags.text.data ? diags.text.data : "no memory");
    assert_int_equal(status, VT_OK);
    vt_diagnostics_release(&diags);
}

static void load_data(struct training *run)
{
    const vt_config *c = run->config;
    vt_error err = {0};
    vt_data_request request = {.name = "shapes",
                               .dir = "",
                               .seed = c->seed,
                               .limit_train = c->data_limit_train,
                               .limit_test = c->data_limit_test,
                               .mean = {0.5f, 0.5f, 0.5f},
                               .std = {0.5f, 0.5f, 0.5f},
                               .train = c->data_train,
                               .test = c->data_test};
    assert_int_equal(vt_dev_new(&run->dev, "cpu", THREADS, &err), VT_OK);
    assert_int_equal(vt_data_open(&run->data, &request, vt_dev_pool(run->dev), &err), VT_OK);
}

static void build(struct training *run)
{
    const vt_config *c = run->config;
    const vt_data_info *info = vt_data_info_of(run->data);
    size_t pixels = (size_t)(info->height * info->width * info->channels);
    vt_error err = {0};
    vt_engine_add_slot(&run->engine, c->train_batch, true);
    vt_evaluator_slots(&run->engine, c, info);
    assert_int_equal(vt_engine_init(&run->engine, c, run->dev, &err), VT_OK);
    assert_int_equal(vt_evaluator_init(&run->evaluator, &run->engine, run->data, &err), VT_OK);
    run->order = vt_calloc((size_t)info->n[VT_PART_TRAIN], sizeof *run->order);
    run->images = vt_calloc((size_t)c->train_batch * pixels, sizeof *run->images);
    run->labels = vt_calloc((size_t)c->train_batch, sizeof *run->labels);
    assert_true(run->order && run->images && run->labels);
}

/* As the trainer does it: a new order with each epoch, `train.accumulate` batches a step. */
static void step(struct training *run)
{
    const vt_config *c = run->config;
    int64_t batch = c->train_batch, batches = c->data_limit_train / batch;
    vt_slot *slot = vt_engine_slot(&run->engine, batch, true);
    vt_engine_begin(&run->engine, batch * c->train_accumulate, c->optim_lr);
    for (int64_t a = 0; a < c->train_accumulate; a++) {
        int64_t number = run->t * c->train_accumulate + a, epoch = number / batches;
        if (number % batches == 0)
            vt_sampler_order(run->data, VT_PART_TRAIN, true, c->seed, epoch, run->order);
        vt_batch_load(run->data, vt_dev_pool(run->dev), VT_PART_TRAIN, true, c->seed, epoch,
                      run->order + number % batches * batch, batch, run->images, run->labels, NULL);
        vt_engine_write_batch(&run->engine, slot, run->images, run->labels);
        vt_engine_train_batch(&run->engine, slot, (uint32_t)number);
    }
    vt_engine_grad_norm(&run->engine);
    vt_engine_update(&run->engine, ++run->t);
}

static void release(struct training *run)
{
    vt_free(run->labels);
    vt_free(run->images);
    vt_free(run->order);
    vt_evaluator_release(&run->evaluator);
    vt_engine_release(&run->engine);
    vt_data_free(run->data);
    vt_dev_free(run->dev);
    vt_config_free(run->config);
}

static void steps_and_evaluations_allocate_nothing(void **state)
{
    static const char *const files[] = {
        "experiments/quick/vit_dropout.yaml",   "experiments/quick/swin.yaml",
        "experiments/quick/swin_unmasked.yaml", "experiments/quick/mobilevit.yaml",
        "experiments/quick/cct.yaml",           "experiments/quick/hybrid.yaml",
    };
    static const char *const sets[] = {"train.accumulate=2", "optim.clip_norm=1", "train.batch=16"};
    (void)state;
    for (size_t f = 0; f < sizeof files / sizeof *files; f++) {
        struct training run = {0};
        load_config(&run, files[f], sets, 3);
        load_data(&run);
        build(&run);
        for (int i = 0; i < 3; i++)
            step(&run);
        vt_evaluator_run(&run.evaluator, VT_PART_TEST, 0, run.t, NULL, NULL);
        uint64_t before = vt_mem_count();
        for (int i = 0; i < 50; i++)
            step(&run);
        vt_evaluator_run(&run.evaluator, VT_PART_TEST, 0, run.t, NULL, NULL);
        assert_int_equal(vt_mem_count(), before);
        /* The counter does count. */
        vt_free(vt_calloc(1, 1));
        assert_int_equal(vt_mem_count(), before + 1);
        release(&run);
    }
}

/* A value of /proc/self/status in bytes. */
static int64_t resident(const char *key)
{
    char line[256];
    long long kib = -1;
    FILE *file = fopen("/proc/self/status", "r");
    while (file && fgets(line, sizeof line, file))
        if (strncmp(line, key, strlen(key)) == 0)
            sscanf(line + strlen(key), ": %lld", &kib);
    if (file)
        fclose(file);
    return kib * 1024;
}

/* The peak counts from now on. */
static bool reset_peak(void)
{
    FILE *file = fopen("/proc/self/clear_refs", "w");
    if (!file)
        return false;
    fputs("5", file);
    return fclose(file) == 0;
}

struct growth {
    int64_t planned, grown;
    bool reset;
};

static void measure(int fd)
{
    static const char *const sets[] = {"data.name=shapes", "data.limit_train=64",
                                       "data.limit_test=16", "train.batch=8"};
    struct training run = {0};
    struct growth growth = {0};
    load_config(&run, "experiments/swin_cifar_patch2.yaml", sets, 4);
    load_data(&run);
    growth.reset = reset_peak();
    int64_t before = resident("VmRSS");
    build(&run);
    for (int i = 0; i < 3; i++)
        step(&run);
    growth.grown = resident("VmHWM") - before;
    growth.planned = vt_engine_bytes(&run.engine, THREADS);
    release(&run);
    _exit(write(fd, &growth, sizeof growth) != sizeof growth);
}

static void resident_memory_grows_as_planned(void **state)
{
    struct growth growth = {0};
    int ends[2], status;
    (void)state;
#if defined __SANITIZE_ADDRESS__ || defined __SANITIZE_THREAD__
    print_message("# the sanitizer keeps books of its own in memory: not measured\n");
    skip();
#endif
    assert_int_equal(pipe(ends), 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0)
        measure(ends[1]);
    close(ends[1]);
    assert_int_equal(read(ends[0], &growth, sizeof growth), sizeof growth);
    close(ends[0]);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    double ratio = (double)growth.grown / (double)growth.planned;
    print_message("# resident memory grew by %.1f MiB, planned were %.1f MiB: %.3f\n",
                  (double)growth.grown / 0x1p20, (double)growth.planned / 0x1p20, ratio);
    if (!growth.reset) {
        print_message("# the peak of resident memory cannot be reset here: not judged\n");
        skip();
    }
    assert_true(ratio > 0.95 && ratio < 1.05);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        {"steps and evaluations allocate nothing", steps_and_evaluations_allocate_nothing, NULL,
         NULL, NULL},
        {"resident memory grows as planned", resident_memory_grows_as_planned, NULL, NULL, NULL},
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
