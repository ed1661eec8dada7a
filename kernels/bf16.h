/* bfloat16, the upper half of a float, for the host. */
#ifndef VT_BF16_H
#define VT_BF16_H

#include <stdint.h>
#include <string.h>

static inline float vt_bf16_to_float(uint16_t half)
{
    const uint32_t bits = (uint32_t)half << 16;
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* Rounded to nearest, ties to even; NaN stays NaN. */
static inline uint16_t vt_bf16_of_float(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    if ((bits & 0x7fffffffu) > 0x7f800000u)
        return (uint16_t)(bits >> 16 | 0x40u);
    return (uint16_t)((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
}

#endif
