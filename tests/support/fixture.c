#include "support/fixture.h"

#include <fcntl.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { KEY = 64, FILE_NAME = 128 };

vt_fixture vt_fixture_open(const char *name)
{
    vt_fixture fixture = {.name = name};
    vt_error err = {0};
    char path[FILE_NAME];
    snprintf(path, sizeof path, "tests/fixtures/ops/%s.safetensors", name);
    if (vt_safetensors_open(&fixture.file, AT_FDCWD, path, NULL, &err) != VT_OK)
        fail_msg("%s (tests run from the repository's root)", err.text);
    const char *cases = vt_safetensors_get_meta(fixture.file, "cases");
    assert_non_null(cases);
    fixture.n_cases = atoi(cases);
    assert_true(fixture.n_cases > 0);
    return fixture;
}

void vt_fixture_close(vt_fixture *fixture)
{
    vt_safetensors_close(fixture->file);
    *fixture = (vt_fixture){0};
}

const char *vt_fixture_text(const vt_fixture *fixture, int i, const char *key)
{
    char full[KEY];
    snprintf(full, sizeof full, "%d.%s", i, key);
    const char *text = vt_safetensors_get_meta(fixture->file, full);
    if (!text)
        fail_msg("%s has no scalar %s", fixture->name, full);
    return text;
}

int64_t vt_fixture_int(const vt_fixture *fixture, int i, const char *key)
{
    char *end;
    const char *text = vt_fixture_text(fixture, i, key);
    long long value = strtoll(text, &end, 10);
    if (end == text || *end)
        fail_msg("%s: %d.%s is '%s', not a whole number", fixture->name, i, key, text);
    return value;
}

double vt_fixture_number(const vt_fixture *fixture, int i, const char *key)
{
    char *end;
    const char *text = vt_fixture_text(fixture, i, key);
    double value = strtod(text, &end);
    if (end == text || *end)
        fail_msg("%s: %d.%s is '%s', not a number", fixture->name, i, key, text);
    return value;
}

const vt_safetensor *vt_fixture_find(const vt_fixture *fixture, int i, const char *name)
{
    char full[KEY];
    snprintf(full, sizeof full, "%d.%s", i, name);
    const vt_safetensor *tensor = vt_safetensors_find(fixture->file, full);
    if (tensor && tensor->type != VT_SAFETENSORS_F32)
        fail_msg("%s: %s is not fp32", fixture->name, full);
    return tensor;
}

const vt_safetensor *vt_fixture_tensor(const vt_fixture *fixture, int i, const char *name)
{
    const vt_safetensor *tensor = vt_fixture_find(fixture, i, name);
    if (!tensor)
        fail_msg("%s has no tensor %d.%s", fixture->name, i, name);
    return tensor;
}

const vt_safetensor *vt_fixture_at(const vt_fixture *fixture, int i, int index, const char **name)
{
    char prefix[KEY];
    size_t n = (size_t)snprintf(prefix, sizeof prefix, "%d.", i);
    for (int j = 0; j < vt_safetensors_count(fixture->file); j++) {
        const vt_safetensor *tensor = vt_safetensors_at(fixture->file, j);
        if (strncmp(tensor->name, prefix, n) == 0 && index-- == 0) {
            *name = tensor->name + n;
            return tensor;
        }
    }
    return NULL;
}

const float *vt_fixture_floats(const vt_safetensor *tensor)
{
    return tensor->data;
}

int64_t vt_fixture_size(const vt_safetensor *tensor)
{
    return tensor->size_bytes / (int64_t)sizeof(float);
}
