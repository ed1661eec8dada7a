/*
 * Engines in a test: experiments from a line of YAML, and the reference files of
 * tests/fixtures. Every failure ends the test with its reason.
 */
#ifndef VT_TESTS_SUPPORT_ENGINE_RUN_H
#define VT_TESTS_SUPPORT_ENGINE_RUN_H

#include "base/mem.h"
#include "base/rng.h"
#include "config/config.h"
#include "results/safetensors.h"
#include "support/fault.h"
#include "support/test_device.h"
#include "train/engine.h"

#include <fcntl.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* A row of a list of cases: a sentence and its function. */
#define CASE(sentence, function)                                                                   \
    {                                                                                              \
        sentence, function, NULL, NULL, NULL                                                       \
    }

static inline void expect_ok(vt_status status, const vt_error *err)
{
    if (status != VT_OK)
        fail_msg("%s", err->text);
}

/* The experiment whose file says `yaml`. */
static inline vt_config *load_experiment(const char *yaml)
{
    vt_scratch scratch = vt_scratch_new();
    vt_diagnostics diags = {0};
    vt_config *config;
    char path[300];
    vt_scratch_write(scratch.fd, "test.yaml", yaml, strlen(yaml));
    snprintf(path, sizeof path, "%s/test.yaml", scratch.path);
    vt_config_load(&config, path, NULL, 0, NULL, &diags);
    if (!config)
        fail_msg("%s\n%s", yaml, diags.text.data);
    vt_diagnostics_release(&diags);
    vt_scratch_free(&scratch);
    return config;
}

/* ---- tensors of a reference file */

static inline vt_safetensors *open_fixture(const char *path)
{
    vt_safetensors *file;
    vt_error err = {0};
    expect_ok(vt_safetensors_open(&file, AT_FDCWD, path, NULL, &err), &err);
    return file;
}

static inline const char *fixture_text(const vt_safetensors *file, const char *key)
{
    const char *text = vt_safetensors_get_meta(file, key);
    if (!text)
        fail_msg("the reference file lacks '%s'", key);
    return text;
}

static inline const vt_safetensor *fixture_tensor(const vt_safetensors *file,
                                                  vt_safetensors_type type, const char *prefix,
                                                  const char *name, int64_t *n)
{
    char full[VT_SAFETENSORS_MAX_NAME];
    snprintf(full, sizeof full, "%s%s", prefix, name);
    const vt_safetensor *tensor = vt_safetensors_find(file, full);
    if (!tensor || tensor->type != type)
        fail_msg("the reference file lacks '%s'", full);
    *n = tensor->size_bytes / vt_safetensors_type_size(type);
    return tensor;
}

static inline const float *fixture_floats(const vt_safetensors *file, const char *prefix,
                                          const char *name, int64_t n)
{
    int64_t size;
    const vt_safetensor *t = fixture_tensor(file, VT_SAFETENSORS_F32, prefix, name, &size);
    if (size != n)
        fail_msg("%s%s has %lld values, expected %lld", prefix, name, (long long)size,
                 (long long)n);
    return t->data;
}

static inline const double *fixture_doubles(const vt_safetensors *file, const char *prefix,
                                            const char *name, int64_t *n)
{
    return fixture_tensor(file, VT_SAFETENSORS_F64, prefix, name, n)->data;
}

/* ---- arrays */

static inline double norm_of(const float *x, int64_t n)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += (double)x[i] * (double)x[i];
    return sqrt(sum);
}

static inline double distance(const float *x, const float *y, int64_t n)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += ((double)x[i] - (double)y[i]) * ((double)x[i] - (double)y[i]);
    return sqrt(sum);
}

static inline double largest(const float *x, int64_t n)
{
    double most = 0;
    for (int64_t i = 0; i < n; i++)
        most = fmax(most, fabs((double)x[i]));
    return most;
}

/* Largest difference of two values; NaN if one is not a number. */
static inline double worst_difference(const float *x, const float *y, int64_t n)
{
    double most = 0;
    for (int64_t i = 0; i < n; i++) {
        double d = fabs((double)x[i] - (double)y[i]);
        if (!(d <= most))
            most = d;
    }
    return most;
}

/* Not more than `bound`, and a number. */
static inline void expect_below(const char *file, const char *what, double value, double bound)
{
    if (!(value <= bound))
        fail_msg("%s: %s is off by %.3g, bound %.3g", file, what, value, bound);
}

/* ---- engines */

static inline float *read_device(vt_engine *engine, const float *from, int64_t n)
{
    float *to = vt_calloc((size_t)n, sizeof *to);
    assert_non_null(to);
    vt_dev_read(engine->dev, to, from, (size_t)n * sizeof *to);
    return to;
}

static inline float *read_weights(vt_engine *engine)
{
    return read_device(engine, engine->memory.weights, engine->memory.n_floats);
}

static inline float *read_grads(vt_engine *engine)
{
    return read_device(engine, engine->memory.grads, engine->memory.n_trained);
}

/* Normal pixels and labels in turn. */
static inline float *make_images(const vt_config *config, int64_t batch, int32_t *labels)
{
    int64_t n = batch * config->model_image * config->model_image * config->model_channels;
    float *images = vt_calloc((size_t)n, sizeof *images);
    vt_rng rng = vt_rng_at(3, VT_STREAM_TEST, 0, 0, 0);
    assert_non_null(images);
    for (int64_t i = 0; i < n; i++)
        images[i] = (float)vt_rng_normal(&rng, (uint64_t)i);
    for (int64_t i = 0; i < batch; i++)
        labels[i] = (int32_t)(i * 7 % config->model_classes);
    return images;
}

#endif
