#include "base/rng.h"

#include "base/status.h"

#include <math.h>
#include <string.h>

void vt_philox(const uint32_t key[2], const uint32_t counter[4], uint32_t out[4])
{
    uint32_t k0 = key[0], k1 = key[1];
    uint32_t c0 = counter[0], c1 = counter[1], c2 = counter[2], c3 = counter[3];
    for (int round = 0; round < 10; round++) {
        uint64_t p0 = (uint64_t)0xD2511F53u * c0, p1 = (uint64_t)0xCD9E8D57u * c2;
        c0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0;
        c1 = (uint32_t)p1;
        c2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
        c3 = (uint32_t)p0;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    out[0] = c0;
    out[1] = c1;
    out[2] = c2;
    out[3] = c3;
}

vt_rng vt_rng_at(uint64_t seed, vt_stream stream, uint32_t layer, uint32_t step, uint32_t sample)
{
    return (vt_rng){.key = {(uint32_t)seed, (uint32_t)(seed >> 32)},
                    .sample = sample,
                    .step = step,
                    .stream = (uint32_t)stream | layer << 8};
}

__extension__ typedef unsigned __int128 wide;

static void draw(const vt_rng *rng, uint64_t block, uint32_t out[4])
{
    VT_ASSERT(block >> 32 == 0);
    vt_philox(rng->key, (uint32_t[4]){(uint32_t)block, rng->sample, rng->step, rng->stream}, out);
}

uint32_t vt_rng_u32(const vt_rng *rng, uint64_t index)
{
    uint32_t words[4];
    draw(rng, index / 4, words);
    return words[index % 4];
}

float vt_rng_uniform(const vt_rng *rng, uint64_t index)
{
    return (float)(vt_rng_u32(rng, index) >> 8) * 0x1p-24f;
}

uint64_t vt_rng_below(const vt_rng *rng, uint64_t index, uint64_t n)
{
    uint32_t words[4];
    draw(rng, index / 2, words);
    const uint32_t *pair = words + index % 2 * 2;
    uint64_t bits = (uint64_t)pair[0] << 32 | pair[1];
    return (uint64_t)(((wide)bits * n) >> 64);
}

double vt_rng_normal(const vt_rng *rng, uint64_t index)
{
    uint32_t words[4];
    draw(rng, index / 2, words);
    const uint32_t *pair = words + index % 2 * 2;
    double u = ((double)pair[0] + 0.5) * 0x1p-32, angle = (double)pair[1] * 0x1p-32;
    return sqrt(-2.0 * vt_log(u)) * vt_cos_2pi(angle);
}

void vt_rng_shuffle(const vt_rng *rng, uint32_t *perm, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        perm[i] = i;
    for (uint32_t i = n; i > 1; i--) {
        uint32_t j = (uint32_t)vt_rng_below(rng, i - 1, i), other = perm[j];
        perm[j] = perm[i - 1];
        perm[i - 1] = other;
    }
}

/* log(m 2^e) = e ln 2 + 2 atanh((m - 1) / (m + 1)) with m in [sqrt 1/2, sqrt 2) */
double vt_log(double x)
{
    int exponent;
    double m = frexp(x, &exponent);
    if (m < 0.70710678118654752) {
        m *= 2;
        exponent--;
    }
    double s = (m - 1) / (m + 1), s2 = s * s, series = 0;
    for (int k = 23; k >= 3; k -= 2)
        series = (series + 1.0 / k) * s2;
    double e = exponent;
    return e * 0x1.62e42fefa38p-1 + (2 * s + (2 * s * series + e * 0x1.ef35793c7673p-45));
}

double vt_cos_2pi(double x)
{
    x = fabs(x - nearbyint(x)); /* [0, 0.5] */
    double sign = 1;
    if (x > 0.25) {
        x = 0.5 - x;
        sign = -1;
    }
    bool use_sin = x > 0.125; /* cos(a) = sin(pi/2 - a) */
    double a = 6.283185307179586477 * (use_sin ? 0.25 - x : x), a2 = a * a;
    double sum = 0;
    if (use_sin) { /* a - a^3/3! + ... */
        for (int k = 19; k >= 3; k -= 2)
            sum = (1 - sum) * a2 / (double)(k * (k - 1));
        return sign * (a - a * sum);
    }
    for (int k = 18; k >= 2; k -= 2)
        sum = (1 - sum) * a2 / (double)(k * (k - 1));
    return sign * (1 - sum);
}

double vt_exp(double x)
{
    if (x < -745)
        return 0;
    if (x > 709.7)
        return INFINITY;
    double n = nearbyint(x * 1.4426950408889634074);
    double r = (x - n * 0x1.62e42fefa38p-1) - n * 0x1.ef35793c7673p-45, sum = 1;
    for (int k = 16; k >= 1; k--)
        sum = 1 + sum * r / k;
    return ldexp(sum, (int)n);
}
