/*
 * Sixteen floats side by side: one AVX-512 register or two AVX2 registers, with equal bits.
 *
 * Every operation below does the same IEEE operations on each lane in both forms; sums and maxima
 * over the lanes follow one fixed tree. exp, erf, tanh and log are polynomials of our own with
 * explicit fused steps, so that no library's choice of variant can change a result.
 *
 * Loops over a row of n values: whole lanes while i + VT_LANES <= n, then one vload_first /
 * vstore_first of n - i values. Lanes past n read as 0 and are not stored.
 */
#ifndef VT_KERNELS_CPU_LANES_H
#define VT_KERNELS_CPU_LANES_H

#include <immintrin.h>
#include <stdint.h>

enum { VT_LANES = 16 };

#define VT_INLINE static inline __attribute__((always_inline, unused))

#ifdef __AVX512F__

typedef __m512 vt_lanes;
typedef __m512i vt_ints; /* sixteen int32 */
typedef __mmask16 vt_mask;

/* One operation in both forms: `op` of the intrinsics' names on vt_lanes. */
#define VT_UNARY(name, op)                                                                         \
    VT_INLINE vt_lanes name(vt_lanes a)                                                            \
    {                                                                                              \
        return _mm512_##op(a);                                                                     \
    }
#define VT_BINARY(name, op)                                                                        \
    VT_INLINE vt_lanes name(vt_lanes a, vt_lanes b)                                                \
    {                                                                                              \
        return _mm512_##op(a, b);                                                                  \
    }
#define VT_TERNARY(name, op)                                                                       \
    VT_INLINE vt_lanes name(vt_lanes a, vt_lanes b, vt_lanes c)                                    \
    {                                                                                              \
        return _mm512_##op(a, b, c);                                                               \
    }
#define VT_COMPARE(name, predicate)                                                                \
    VT_INLINE vt_mask name(vt_lanes a, vt_lanes b)                                                 \
    {                                                                                              \
        return _mm512_cmp_ps_mask(a, b, predicate);                                                \
    }

VT_INLINE vt_lanes vset1(float x)
{
    return _mm512_set1_ps(x);
}
VT_INLINE vt_lanes vload(const float *p)
{
    return _mm512_loadu_ps(p);
}
VT_INLINE void vstore(float *p, vt_lanes a)
{
    _mm512_storeu_ps(p, a);
}
/* Past the caches; p is a multiple of 64 bytes. */
VT_INLINE void vstream(float *p, vt_lanes a)
{
    _mm512_stream_ps(p, a);
}
/* Lanes [0, n), 0 <= n <= 16. */
VT_INLINE vt_mask vfirst(int64_t n)
{
    return (vt_mask)((1u << n) - 1u);
}
VT_INLINE vt_lanes vload_first(const float *p, int64_t n)
{
    return _mm512_maskz_loadu_ps(vfirst(n), p);
}
VT_INLINE void vstore_first(float *p, vt_lanes a, int64_t n)
{
    _mm512_mask_storeu_ps(p, vfirst(n), a);
}
/* In each lane a where the mask is set, else b. */
VT_INLINE vt_lanes vselect(vt_mask mask, vt_lanes a, vt_lanes b)
{
    return _mm512_mask_blend_ps(mask, b, a);
}
/* Bit i of the result is lane i of the mask. */
VT_INLINE uint32_t vmask_bits(vt_mask mask)
{
    return mask;
}
/* |a|; -|a|; a with b's sign */
VT_INLINE vt_lanes vabs(vt_lanes a)
{
    return _mm512_abs_ps(a);
}
VT_INLINE vt_lanes vminus_abs(vt_lanes a)
{
    return _mm512_or_ps(a, _mm512_set1_ps(-0.0f));
}
VT_INLINE vt_lanes vcopysign(vt_lanes a, vt_lanes b)
{
    const __m512i sign = _mm512_set1_epi32(INT32_MIN);
    return _mm512_castsi512_ps(
        _mm512_ternarylogic_epi32(sign, _mm512_castps_si512(b), _mm512_castps_si512(a), 0xca));
}
/* Nearest integers (ties to even), and back. */
VT_INLINE vt_ints vround_ints(vt_lanes a)
{
    return _mm512_cvtps_epi32(a);
}
VT_INLINE vt_lanes vfloat_ints(vt_ints a)
{
    return _mm512_cvtepi32_ps(a);
}
/* y 2^n for whole n, rounded once; 0 where not `stays`, whatever y and n are there. */
VT_INLINE vt_lanes vscale(vt_mask stays, vt_lanes y, vt_lanes n)
{
    return _mm512_maskz_scalef_ps(stays, y, n);
}
VT_INLINE vt_ints vint_set1(int32_t x)
{
    return _mm512_set1_epi32(x);
}
VT_INLINE vt_ints vint_add(vt_ints a, vt_ints b)
{
    return _mm512_add_epi32(a, b);
}
VT_INLINE vt_ints vint_sub(vt_ints a, vt_ints b)
{
    return _mm512_sub_epi32(a, b);
}
VT_INLINE vt_mask vint_equal(vt_ints a, vt_ints b)
{
    return _mm512_cmpeq_epi32_mask(a, b);
}
/* Shifts by a constant: arithmetic right, left. */
#define vint_shift_right(a, bits) _mm512_srai_epi32(a, bits)
#define vint_shift_left(a, bits) _mm512_slli_epi32(a, bits)
/* The bits of one as the other. */
VT_INLINE vt_ints vbits_of(vt_lanes a)
{
    return _mm512_castps_si512(a);
}
VT_INLINE vt_lanes vfrom_bits(vt_ints a)
{
    return _mm512_castsi512_ps(a);
}
/* Lanes whose word is >= threshold, as unsigned numbers: the elements that dropout keeps. */
VT_INLINE vt_mask vkeep(const uint32_t *words, uint32_t threshold)
{
    return _mm512_cmp_epu32_mask(_mm512_loadu_si512(words), _mm512_set1_epi32((int32_t)threshold),
                                 _MM_CMPINT_NLT);
}
/* Lanes 0-7 and 8-15. */
VT_INLINE __m256 vlow(vt_lanes a)
{
    return _mm512_castps512_ps256(a);
}
VT_INLINE __m256 vhigh(vt_lanes a)
{
    return _mm512_extractf32x8_ps(a, 1);
}

#else

typedef struct vt_lanes {
    __m256 low, high;
} vt_lanes;
typedef struct vt_ints {
    __m256i low, high;
} vt_ints;
typedef struct vt_mask {
    __m256 low, high;
} vt_mask;

#define VT_UNARY(name, op)                                                                         \
    VT_INLINE vt_lanes name(vt_lanes a)                                                            \
    {                                                                                              \
        return (vt_lanes){_mm256_##op(a.low), _mm256_##op(a.high)};                                \
    }
#define VT_BINARY(name, op)                                                                        \
    VT_INLINE vt_lanes name(vt_lanes a, vt_lanes b)                                                \
    {                                                                                              \
        return (vt_lanes){_mm256_##op(a.low, b.low), _mm256_##op(a.high, b.high)};                 \
    }
#define VT_TERNARY(name, op)                                                                       \
    VT_INLINE vt_lanes name(vt_lanes a, vt_lanes b, vt_lanes c)                                    \
    {                                                                                              \
        return (vt_lanes){_mm256_##op(a.low, b.low, c.low), _mm256_##op(a.high, b.high, c.high)};  \
    }
#define VT_COMPARE(name, predicate)                                                                \
    VT_INLINE vt_mask name(vt_lanes a, vt_lanes b)                                                 \
    {                                                                                              \
        return (vt_mask){_mm256_cmp_ps(a.low, b.low, predicate),                                   \
                         _mm256_cmp_ps(a.high, b.high, predicate)};                                \
    }

VT_INLINE vt_lanes vset1(float x)
{
    return (vt_lanes){_mm256_set1_ps(x), _mm256_set1_ps(x)};
}
VT_INLINE vt_lanes vload(const float *p)
{
    return (vt_lanes){_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)};
}
VT_INLINE void vstore(float *p, vt_lanes a)
{
    _mm256_storeu_ps(p, a.low);
    _mm256_storeu_ps(p + 8, a.high);
}
VT_INLINE void vstream(float *p, vt_lanes a)
{
    _mm256_stream_ps(p, a.low);
    _mm256_stream_ps(p + 8, a.high);
}
VT_INLINE vt_mask vfirst(int64_t n)
{
    const __m256i count = _mm256_set1_epi32((int32_t)n);
    const __m256i low = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    const __m256i high = _mm256_setr_epi32(8, 9, 10, 11, 12, 13, 14, 15);
    return (vt_mask){_mm256_castsi256_ps(_mm256_cmpgt_epi32(count, low)),
                     _mm256_castsi256_ps(_mm256_cmpgt_epi32(count, high))};
}
VT_INLINE vt_lanes vload_first(const float *p, int64_t n)
{
    vt_mask mask = vfirst(n);
    return (vt_lanes){_mm256_maskload_ps(p, _mm256_castps_si256(mask.low)),
                      _mm256_maskload_ps(p + 8, _mm256_castps_si256(mask.high))};
}
VT_INLINE void vstore_first(float *p, vt_lanes a, int64_t n)
{
    vt_mask mask = vfirst(n);
    _mm256_maskstore_ps(p, _mm256_castps_si256(mask.low), a.low);
    _mm256_maskstore_ps(p + 8, _mm256_castps_si256(mask.high), a.high);
}
VT_INLINE vt_lanes vselect(vt_mask mask, vt_lanes a, vt_lanes b)
{
    return (vt_lanes){_mm256_blendv_ps(b.low, a.low, mask.low),
                      _mm256_blendv_ps(b.high, a.high, mask.high)};
}
VT_INLINE uint32_t vmask_bits(vt_mask mask)
{
    return (uint32_t)_mm256_movemask_ps(mask.low) | ((uint32_t)_mm256_movemask_ps(mask.high) << 8);
}
VT_INLINE vt_lanes vabs(vt_lanes a)
{
    const __m256 sign = _mm256_set1_ps(-0.0f);
    return (vt_lanes){_mm256_andnot_ps(sign, a.low), _mm256_andnot_ps(sign, a.high)};
}
VT_INLINE vt_lanes vminus_abs(vt_lanes a)
{
    const __m256 sign = _mm256_set1_ps(-0.0f);
    return (vt_lanes){_mm256_or_ps(a.low, sign), _mm256_or_ps(a.high, sign)};
}
VT_INLINE vt_lanes vcopysign(vt_lanes a, vt_lanes b)
{
    const __m256 sign = _mm256_set1_ps(-0.0f);
    a = vabs(a);
    return (vt_lanes){_mm256_or_ps(a.low, _mm256_and_ps(sign, b.low)),
                      _mm256_or_ps(a.high, _mm256_and_ps(sign, b.high))};
}
VT_INLINE vt_ints vround_ints(vt_lanes a)
{
    return (vt_ints){_mm256_cvtps_epi32(a.low), _mm256_cvtps_epi32(a.high)};
}
VT_INLINE vt_lanes vfloat_ints(vt_ints a)
{
    return (vt_lanes){_mm256_cvtepi32_ps(a.low), _mm256_cvtepi32_ps(a.high)};
}
/* 2^n in two factors, because 2^n alone can lie outside the normal numbers; n = 0 where the result
 * is not asked for, as processors take a hundred cycles over one below the normal numbers. */
VT_INLINE __m256 vscale_eight(__m256 stays, __m256 y, __m256 n)
{
    const __m256i bias = _mm256_set1_epi32(127);
    __m256i whole = _mm256_cvtps_epi32(_mm256_and_ps(stays, n));
    __m256i half = _mm256_srai_epi32(whole, 1), rest = _mm256_sub_epi32(whole, half);
    half = _mm256_slli_epi32(_mm256_add_epi32(half, bias), 23);
    rest = _mm256_slli_epi32(_mm256_add_epi32(rest, bias), 23);
    y = _mm256_mul_ps(_mm256_mul_ps(y, _mm256_castsi256_ps(half)), _mm256_castsi256_ps(rest));
    return _mm256_and_ps(stays, y);
}
VT_INLINE vt_lanes vscale(vt_mask stays, vt_lanes y, vt_lanes n)
{
    return (vt_lanes){vscale_eight(stays.low, y.low, n.low),
                      vscale_eight(stays.high, y.high, n.high)};
}
VT_INLINE vt_ints vint_set1(int32_t x)
{
    return (vt_ints){_mm256_set1_epi32(x), _mm256_set1_epi32(x)};
}
VT_INLINE vt_ints vint_add(vt_ints a, vt_ints b)
{
    return (vt_ints){_mm256_add_epi32(a.low, b.low), _mm256_add_epi32(a.high, b.high)};
}
VT_INLINE vt_ints vint_sub(vt_ints a, vt_ints b)
{
    return (vt_ints){_mm256_sub_epi32(a.low, b.low), _mm256_sub_epi32(a.high, b.high)};
}
VT_INLINE vt_mask vint_equal(vt_ints a, vt_ints b)
{
    return (vt_mask){_mm256_castsi256_ps(_mm256_cmpeq_epi32(a.low, b.low)),
                     _mm256_castsi256_ps(_mm256_cmpeq_epi32(a.high, b.high))};
}
#define vint_shift_right(a, bits)                                                                  \
    ((vt_ints){_mm256_srai_epi32((a).low, bits), _mm256_srai_epi32((a).high, bits)})
#define vint_shift_left(a, bits)                                                                   \
    ((vt_ints){_mm256_slli_epi32((a).low, bits), _mm256_slli_epi32((a).high, bits)})
VT_INLINE vt_ints vbits_of(vt_lanes a)
{
    return (vt_ints){_mm256_castps_si256(a.low), _mm256_castps_si256(a.high)};
}
VT_INLINE vt_lanes vfrom_bits(vt_ints a)
{
    return (vt_lanes){_mm256_castsi256_ps(a.low), _mm256_castsi256_ps(a.high)};
}
VT_INLINE vt_mask vkeep(const uint32_t *words, uint32_t threshold)
{
    const __m256i least = _mm256_set1_epi32((int32_t)threshold);
    const __m256i low = _mm256_loadu_si256((const __m256i *)words);
    const __m256i high = _mm256_loadu_si256((const __m256i *)(words + 8));
    return (vt_mask){_mm256_castsi256_ps(_mm256_cmpeq_epi32(_mm256_max_epu32(low, least), low)),
                     _mm256_castsi256_ps(_mm256_cmpeq_epi32(_mm256_max_epu32(high, least), high))};
}
VT_INLINE __m256 vlow(vt_lanes a)
{
    return a.low;
}
VT_INLINE __m256 vhigh(vt_lanes a)
{
    return a.high;
}

#endif

VT_BINARY(vadd, add_ps)
VT_BINARY(vsub, sub_ps)
VT_BINARY(vmul, mul_ps)
VT_BINARY(vdiv, div_ps)
VT_UNARY(vsqrt, sqrt_ps)
/* a * b + c, rounded once; c - a * b likewise */
VT_TERNARY(vfma, fmadd_ps)
VT_TERNARY(vfnma, fnmadd_ps)
/* The larger, the smaller; b if either is NaN */
VT_BINARY(vmax, max_ps)
VT_BINARY(vmin, min_ps)
/* Comparisons; false if either is NaN */
VT_COMPARE(vless, _CMP_LT_OQ)
VT_COMPARE(vequal, _CMP_EQ_OQ)
/* Not less: true if either is NaN */
VT_COMPARE(vnot_less, _CMP_NLT_UQ)

VT_INLINE vt_lanes vzero(void)
{
    return vset1(0.0f);
}

/* After a loop with vstream, before another thread is told of it. */
VT_INLINE void vstream_end(void)
{
    _mm_sfence();
}

/* Sum of the lanes: i with i + 8, then + 4, + 2, + 1. */
VT_INLINE float vsum(vt_lanes a)
{
    __m256 eight = _mm256_add_ps(vlow(a), vhigh(a));
    __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}
/* Largest lane, in the same tree. */
VT_INLINE float vlargest(vt_lanes a)
{
    __m256 eight = _mm256_max_ps(vlow(a), vhigh(a));
    __m128 four = _mm_max_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)));
}

/* p[0] + p[1] x + ... + p[n - 1] x^(n - 1), fused, from the highest power down */
VT_INLINE vt_lanes vpoly(vt_lanes x, const float *p, int n)
{
    vt_lanes sum = vset1(p[n - 1]);
#pragma GCC unroll 16 /* else gcc leaves a loop from seven terms on */
    for (int i = n - 2; i >= 0; i--)
        sum = vfma(sum, x, vset1(p[i]));
    return sum;
}

/* vexp, vlog, verf, vtanh */
#include "kernels/cpu/lanes_math.h"

#endif
