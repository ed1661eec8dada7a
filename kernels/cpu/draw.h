/*
 * Generator words for a run of elements: vt_philox (base/rng.h), four counters at a time.
 *
 * AVX2 in both compilations: the words are integers, the same however they are computed.
 */
#ifndef VT_KERNELS_CPU_DRAW_H
#define VT_KERNELS_CPU_DRAW_H

#include "kernels/cpu/cpu.h"
#include "kernels/cpu/lanes.h"

enum { VT_DRAW_RUN = 64 }; /* elements that vt_draw_run draws */

/* Elements 4 * block .. 4 * block + 15 of image `image`. One counter lies in a 64-bit lane, in its
 * low half; the high halves hold what the next product ignores. The lanes are counters 0, 2, 1, 3,
 * which is the order in which unpacking brings them out as 0, 1, 2, 3. */
VT_INLINE void vt_draw_sixteen(uint32_t *words, const vt_step *step, vt_draw_stream stream,
                               uint32_t image, uint32_t block)
{
    const __m256i m0 = _mm256_set1_epi64x(0xD2511F53), m1 = _mm256_set1_epi64x(0xCD9E8D57);
    uint32_t k0 = step->key[0], k1 = step->key[1];
    __m256i c0 = _mm256_add_epi32(_mm256_set1_epi32((int32_t)block),
                                  _mm256_setr_epi32(0, 0, 2, 0, 1, 0, 3, 0));
    __m256i c1 = _mm256_set1_epi32((int32_t)image), c2 = _mm256_set1_epi32((int32_t)step->draw);
    __m256i c3 = _mm256_set1_epi32((int32_t)stream);
    for (int round = 0; round < 10; round++) {
        __m256i p0 = _mm256_mul_epu32(c0, m0), p1 = _mm256_mul_epu32(c2, m1);
        c0 = _mm256_xor_si256(_mm256_xor_si256(_mm256_srli_epi64(p1, 32), c1),
                              _mm256_set1_epi32((int32_t)k0));
        c2 = _mm256_xor_si256(_mm256_xor_si256(_mm256_srli_epi64(p0, 32), c3),
                              _mm256_set1_epi32((int32_t)k1));
        c1 = p1;
        c3 = p0;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    __m256i front = _mm256_blend_epi32(c0, _mm256_slli_epi64(c1, 32), 0xaa);
    __m256i back = _mm256_blend_epi32(c2, _mm256_slli_epi64(c3, 32), 0xaa);
    _mm256_storeu_si256((__m256i *)words, _mm256_unpacklo_epi64(front, back));
    _mm256_storeu_si256((__m256i *)(words + 8), _mm256_unpackhi_epi64(front, back));
}

/* Words of elements [first, first + 64) of an image; first a multiple of 4. */
VT_INLINE void vt_draw_run(uint32_t words[VT_DRAW_RUN], const vt_step *step, vt_draw_stream stream,
                           int64_t image, int64_t first)
{
    for (int i = 0; i < VT_DRAW_RUN; i += 16)
        vt_draw_sixteen(words + i, step, stream, (uint32_t)image, (uint32_t)((first + i) / 4));
}

#endif
