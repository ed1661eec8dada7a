/*
 * The device that a test computes on: VITRINE_TEST_DEVICE, else the CPU. In a build with
 * MODE=emulated "cuda" is the emulated GPU, whose threads come in another order for each number of
 * CPU threads that is asked for. VITRINE_TEST_PRECISION=bf16 or tf32 tests its kernels in that
 * precision.
 */
#ifndef VT_TESTS_SUPPORT_TEST_DEVICE_H
#define VT_TESTS_SUPPORT_TEST_DEVICE_H

#include "kernels/device.h"
#include "support/rounded.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

extern const vt_kernels vt_avx2_table, vt_avx512_table;
extern const vt_kernels vt_cuda_table __attribute__((weak)); /* in builds with that backend */

static inline const char *test_device(void)
{
    const char *device = getenv("VITRINE_TEST_DEVICE");
    return device ? device : "cpu";
}

static inline bool on_gpu(void)
{
    return strcmp(test_device(), "cuda") == 0;
}

/* Its kernels; of the CPU's the narrowest. */
static inline const vt_kernels *test_table(void)
{
    return on_gpu() ? rounded_table(&vt_cuda_table) : &vt_avx2_table;
}

/* The device's own, in the precision that is tested. */
static inline const vt_kernels *device_kernels(const vt_dev *dev)
{
    return rounded_table(vt_dev_kernels(dev));
}

static inline vt_dev *new_device(int threads)
{
    vt_dev *dev;
    vt_error err = {0};
    char order[12];
    snprintf(order, sizeof order, "%d", threads);
    setenv("VITRINE_LANE_ORDER", threads == 1 ? "forward" : threads == 2 ? "reverse" : order, 1);
    if (vt_dev_new(&dev, test_device(), threads, &err) != VT_OK)
        fail_msg("%s", err.text);
    return dev;
}

#endif
