/*
 * The kernels of a device in bfloat16, for tests that hold floats: a table whose vt_bufs are F32.
 * Each call converts what it is given, lets the device compute in BF16 and converts back what it
 * wrote. Inputs must be numbers that a bfloat16 holds (rounded_number), so that a test's reference
 * computes from the same; guards of NaN lie behind every converted array.
 */
#ifndef VT_TESTS_SUPPORT_ROUNDED_H
#define VT_TESTS_SUPPORT_ROUNDED_H

#include "kernels/kernels.h"

/* VITRINE_TEST_PRECISION=bf16. */
bool rounded_wanted(void);
/* x, or the nearest number that the tested precision holds. */
float rounded_number(float x);
/* What one rounding of `value` to the tested precision may add to an error: 0 in fp32. */
double rounded_slack(double value);

/* `inner` in the tested precision; itself in fp32. */
const vt_kernels *rounded_table(const vt_kernels *inner);

#endif
