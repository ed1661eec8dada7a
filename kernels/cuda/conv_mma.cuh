/*
 * Tiles of a product for the tensor cores. A tile lies in shared memory in words of 32 bits, along
 * the sum: two neighbouring bfloat16, or one float rounded to TF32. In words both types are alike.
 */
#ifndef VT_CUDA_CONV_MMA_CUH
#define VT_CUDA_CONV_MMA_CUH

#include "kernels/cuda/common.cuh"

enum {
    VT_TILE_WORDS = 16, /* along the sum, that a tile holds */
    VT_MMA_WORDS = 8,   /* that one product of the tensor cores takes */
};

template <typename T> struct vt_words;

template <> struct vt_words<vt_bf16> {
    static constexpr int EACH = 2; /* numbers of a word */
    VT_DEVICE uint32_t bits(const vt_bf16 *number)
    {
        return number->bits;
    }
    /* A word as it came from memory, as the tensor cores want it. */
    VT_DEVICE uint32_t ready(uint32_t word)
    {
        return word;
    }
    /* The word of EACH numbers' bits. */
    VT_DEVICE uint32_t join(const uint32_t *numbers)
    {
        return numbers[0] | numbers[1] << 16;
    }
    /* The words of four channels at EACH places, from those places' channels one after the other.
     */
    VT_DEVICE void turn(uint32_t to[4], const uint32_t from[4])
    {
        for (int i = 0; i < 2; i++) {
            to[2 * i] = (from[i] & 0xffffu) | from[2 + i] << 16;
            to[2 * i + 1] = from[i] >> 16 | (from[2 + i] & 0xffff0000u);
        }
    }
    VT_DEVICE void multiply(float c[4], const uint32_t a[4], const uint32_t b[2])
    {
        vt_mma_bf16(c, a, b);
    }
};

template <> struct vt_words<float> {
    static constexpr int EACH = 1;
    VT_DEVICE uint32_t bits(const float *number)
    {
        uint32_t word;
        memcpy(&word, number, sizeof word);
        return word;
    }
    VT_DEVICE uint32_t ready(uint32_t word)
    {
        float x;
        memcpy(&x, &word, sizeof x);
        return vt_tf32(x);
    }
    VT_DEVICE uint32_t join(const uint32_t *numbers)
    {
        return ready(numbers[0]);
    }
    VT_DEVICE void turn(uint32_t to[4], const uint32_t from[4])
    {
        for (int i = 0; i < 4; i++)
            to[i] = ready(from[i]);
    }
    VT_DEVICE void multiply(float c[4], const uint32_t a[4], const uint32_t b[2])
    {
        vt_mma_tf32(c, a, b);
    }
};

/*
 * sum += a b^T, of a warp's 16 M rows of a and 8 N rows of b; word k of a's row i is
 * a[i * A_ROW + k * A_WORD], and b's likewise. sum[i][j] is laid out as vt_mma_bf16 says. A warp
 * meets no bank twice where the larger step is an odd number of fours of words (the smaller one is
 * A_WORD) or of eights of rows (it is A_ROW).
 */
template <typename T, int A_ROW, int A_WORD, int B_ROW, int B_WORD, int M, int N>
VT_DEVICE void vt_multiply_tiles(float (&sum)[M][N][4], const uint32_t *a, const uint32_t *b)
{
    const int lane = (int)threadIdx.x % VT_WARP, g = lane / 4, t = lane % 4;
    a += g * A_ROW + t * A_WORD;
    b += g * B_ROW + t * B_WORD;
    VT_UNROLL
    for (int k = 0; k < VT_TILE_WORDS; k += VT_MMA_WORDS) {
        uint32_t x[M][4], y[N][2];
        VT_UNROLL
        for (int i = 0; i < M; i++)
            for (int l = 0; l < 4; l++)
                x[i][l] = a[(16 * i + l % 2 * 8) * A_ROW + (k + l / 2 * 4) * A_WORD];
        VT_UNROLL
        for (int j = 0; j < N; j++)
            for (int l = 0; l < 2; l++)
                y[j][l] = b[8 * j * B_ROW + (k + l * 4) * B_WORD];
        VT_UNROLL
        for (int i = 0; i < M; i++)
            for (int j = 0; j < N; j++)
                vt_words<T>::multiply(sum[i][j], x[i], y[j]);
    }
}

#endif
