/* The reference numbers in tests/fixtures/ops, case by case; what is missing fails the test. */
#ifndef VT_TESTS_SUPPORT_FIXTURE_H
#define VT_TESTS_SUPPORT_FIXTURE_H

#include "graph/graph.h"
#include "results/safetensors.h"

typedef struct vt_fixture {
    vt_safetensors *file;
    const char *name;
    int n_cases;
} vt_fixture;

/* Opens tests/fixtures/ops/NAME.safetensors. */
vt_fixture vt_fixture_open(const char *name);
void vt_fixture_close(vt_fixture *fixture);

/* The scalars of case `i`. */
const char *vt_fixture_text(const vt_fixture *fixture, int i, const char *key);
int64_t vt_fixture_int(const vt_fixture *fixture, int i, const char *key);
double vt_fixture_number(const vt_fixture *fixture, int i, const char *key);

/* Tensor `name` of case `i`, of fp32 numbers; of find NULL if there is none. */
const vt_safetensor *vt_fixture_find(const vt_fixture *fixture, int i, const char *name);
const vt_safetensor *vt_fixture_tensor(const vt_fixture *fixture, int i, const char *name);
/* Number `index` of case i's tensors in the file's order, and its name without the case; NULL after
 * the last. */
const vt_safetensor *vt_fixture_at(const vt_fixture *fixture, int i, int index, const char **name);

const float *vt_fixture_floats(const vt_safetensor *tensor);
int64_t vt_fixture_size(const vt_safetensor *tensor);

#endif
