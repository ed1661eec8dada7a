/*
 * Generator words for a run of elements: vt_philox (base/rng.h), eight counters at a time.
 *
 * AVX2 in both compilations: the words are integers, the same however they are computed.
 */
#ifndef VT_KERNELS_CPU_DRAW_H
#define VT_KERNELS_CPU_DRAW_H

#include "kernels/cpu/cpu.h"
#include "kernels/cpu/lanes.h"

enum { VT_DRAW_RUN = 64 }; /* elements that vt_draw_run draws */

/*
 * Sixteen elements from each of two places: 4 * block .. and 4 * block + 16 .. of image `image`, so
 * that one's products run while the other's are on their way. A counter lies in a 64-bit lane, in
 * its low half; the high halves hold what the next product ignores. The lanes are counters 0, 2,
 * 1, 3, which unpacking brings out as 0, 1, 2, 3.
 */
VT_INLINE void vt_draw_pair(uint32_t words[32], const vt_step *step, vt_draw_stream stream,
                            uint32_t image, uint32_t block)
{
    const __m256i m0 = _mm256_set1_epi64x(0xD2511F53), m1 = _mm256_set1_epi64x(0xCD9E8D57);
    const __m256i next0 = _mm256_set1_epi32((int32_t)0x9E3779B9u);
    const __m256i next1 = _mm256_set1_epi32((int32_t)0xBB67AE85u);
    __m256i k0 = _mm256_set1_epi32((int32_t)step->key[0]);
    __m256i k1 = _mm256_set1_epi32((int32_t)step->key[1]), c0[2], c1[2], c2[2], c3[2];
#pragma GCC unroll 2
    for (int i = 0; i < 2; i++) {
        c0[i] = _mm256_add_epi32(_mm256_set1_epi32((int32_t)(block + 4u * (uint32_t)i)),
                                 _mm256_setr_epi32(0, 0, 2, 0, 1, 0, 3, 0));
        c1[i] = _mm256_set1_epi32((int32_t)image);
        c2[i] = _mm256_set1_epi32((int32_t)step->draw);
        c3[i] = _mm256_set1_epi32((int32_t)stream);
    }
    for (int round = 0; round < 10; round++) {
#pragma GCC unroll 2
        for (int i = 0; i < 2; i++) {
            __m256i p0 = _mm256_mul_epu32(c0[i], m0), p1 = _mm256_mul_epu32(c2[i], m1);
            c0[i] = _mm256_xor_si256(_mm256_srli_epi64(p1, 32), _mm256_xor_si256(c1[i], k0));
            c2[i] = _mm256_xor_si256(_mm256_srli_epi64(p0, 32), _mm256_xor_si256(c3[i], k1));
            c1[i] = p1;
            c3[i] = p0;
        }
        k0 = _mm256_add_epi32(k0, next0);
        k1 = _mm256_add_epi32(k1, next1);
    }
#pragma GCC unroll 2
    for (int i = 0; i < 2; i++) {
        __m256i front = _mm256_blend_epi32(c0[i], _mm256_slli_epi64(c1[i], 32), 0xaa);
        __m256i back = _mm256_blend_epi32(c2[i], _mm256_slli_epi64(c3[i], 32), 0xaa);
        __m256i *to = (__m256i *)(words + 16 * i);
        _mm256_storeu_si256(to, _mm256_unpacklo_epi64(front, back));
        _mm256_storeu_si256(to + 1, _mm256_unpackhi_epi64(front, back));
    }
}

/* Words of elements [first, first + 64) of an image; first a multiple of 4. */
VT_INLINE void vt_draw_run(uint32_t words[VT_DRAW_RUN], const vt_step *step, vt_draw_stream stream,
                           int64_t image, int64_t first)
{
    for (int i = 0; i < VT_DRAW_RUN; i += 32)
        vt_draw_pair(words + i, step, stream, (uint32_t)image, (uint32_t)((first + i) / 4));
}

#endif
