/*
 * Random numbers as a function of (seed, stream, index); there is no state to save.
 *
 * Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011): 128
 * counter bits and a 64-bit key give four 32-bit words. The key is the seed. The counter is
 *
 *     { block, sample, step, stream }
 *
 * stream   what is drawn (list below) in the low 8 bits, a layer or parameter number above it
 * step     the training step, the epoch, or 0
 * sample   the image's number in the data set, or its place in the batch, or 0
 * block    element number / 4: element e is word e % 4 of block e / 4
 */
#ifndef VT_BASE_RNG_H
#define VT_BASE_RNG_H

#include <stdint.h>

#define VT_STREAM_LIST(X)                                                                          \
    X(INIT)      /* initial weights; layer = parameter number */                                   \
    X(SHUFFLE)   /* order of the training images; step = epoch */                                  \
    X(SPLIT)     /* validation split */                                                            \
    X(CROP)      /* crop offsets; step = epoch, sample = image */                                  \
    X(FLIP)      /* horizontal flip */                                                             \
    X(DROPOUT)   /* element dropout; layer = node number */                                        \
    X(DROP_PATH) /* stochastic depth */                                                            \
    X(SHAPES)    /* the generated data set */                                                      \
    X(TEST)      /* tests only */

typedef enum vt_stream {
#define X(name) VT_STREAM_##name,
    VT_STREAM_LIST(X)
#undef X
} vt_stream;

/* Four words from key and counter: the published generator itself. */
void vt_philox(const uint32_t key[2], const uint32_t counter[4], uint32_t out[4]);

/* A place to draw from: everything but the element number. */
typedef struct vt_rng {
    uint32_t key[2];
    uint32_t sample, step, stream;
} vt_rng;

vt_rng vt_rng_at(uint64_t seed, vt_stream stream, uint32_t layer, uint32_t step, uint32_t sample);
/* 32 random bits of element `index`. */
uint32_t vt_rng_u32(const vt_rng *rng, uint64_t index);
/* Uniform in [0, 1) with 24 bits. */
float vt_rng_uniform(const vt_rng *rng, uint64_t index);
/* Uniform integer in [0, n), n >= 1, from 64 bits (bias below n / 2^64). */
uint64_t vt_rng_below(const vt_rng *rng, uint64_t index, uint64_t n);
/* Standard normal (Box-Muller on elements 2 * index and 2 * index + 1), own log and cosine. */
double vt_rng_normal(const vt_rng *rng, uint64_t index);
/* perm[0..n) becomes a random order of 0..n-1 (Fisher-Yates from the top). */
void vt_rng_shuffle(const vt_rng *rng, uint32_t *perm, uint32_t n);

/* Own elementary functions in double: the same bits on every machine. Error below 2 ulp. */
double vt_log(double x);     /* x > 0, finite */
double vt_cos_2pi(double x); /* cos(2 pi x), any finite x */
double vt_exp(double x);

#endif
