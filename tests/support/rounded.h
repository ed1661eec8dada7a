/*
 * The kernels of a device in the precision that VITRINE_TEST_PRECISION names, for tests that hold
 * floats: a table whose vt_bufs are F32. Inputs must be numbers which that precision holds
 * (rounded_number), so that a test's reference computes from the same.
 * bf16: each call converts what it is given, lets the device compute in BF16 and converts back what
 * it wrote; guards of NaN lie behind every converted array.
 * tf32: the test's own arrays, called TF32.
 */
#ifndef VT_TESTS_SUPPORT_ROUNDED_H
#define VT_TESTS_SUPPORT_ROUNDED_H

#include "kernels/kernels.h"

/* F32 if it names none. */
vt_dtype rounded_type(void);
/* x, or the nearest number that the tested precision holds. */
float rounded_number(float x);
/* What one rounding of `value` to the tested precision may add to an error: 0 in fp32, and in tf32,
 * which rounds what enters products alone. */
double rounded_slack(double value);

/* `inner` in the tested precision; itself in fp32. */
const vt_kernels *rounded_table(const vt_kernels *inner);

#endif
