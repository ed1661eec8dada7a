#include "train/resample.h"

#include <math.h>

/* Where an output place looks: taps [first, last) of the input around `centre`. */
struct taps {
    int64_t first, last;
    double centre, narrow, sum;
};

/* Cubic convolution (Keys 1981), a = -0.5. */
static double cubic(double x)
{
    x = fabs(x);
    if (x < 1)
        return (1.5 * x - 2.5) * x * x + 1;
    if (x < 2)
        return ((-0.5 * x + 2.5) * x - 4) * x + 2;
    return 0;
}

static double weight(const struct taps *t, int64_t i)
{
    return cubic(((double)i + 0.5 - t->centre) * t->narrow);
}

static struct taps taps_of(int64_t from_side, int64_t to_side, int64_t place)
{
    double scale = (double)from_side / (double)to_side, widen = scale > 1 ? scale : 1;
    struct taps t = {.centre = scale * ((double)place + 0.5), .narrow = 1 / widen};
    t.first = (int64_t)floor(t.centre - 2 * widen + 0.5);
    t.last = (int64_t)floor(t.centre + 2 * widen + 0.5);
    t.first = t.first > 0 ? t.first : 0;
    t.last = t.last < from_side ? t.last : from_side;
    for (int64_t i = t.first; i < t.last; i++)
        t.sum += weight(&t, i);
    return t;
}

void vt_resample_positions(const float *from, int64_t from_side, float *to, int64_t to_side,
                           int64_t width)
{
    for (int64_t row = 0; row < to_side; row++)
        for (int64_t col = 0; col < to_side; col++) {
            struct taps y = taps_of(from_side, to_side, row);
            struct taps x = taps_of(from_side, to_side, col);
            for (int64_t c = 0; c < width; c++) {
                double sum = 0;
                for (int64_t i = y.first; i < y.last; i++)
                    for (int64_t j = x.first; j < x.last; j++)
                        sum += weight(&y, i) * weight(&x, j) *
                               (double)from[(i * from_side + j) * width + c];
                *to++ = (float)(sum / (y.sum * x.sum));
            }
        }
}

/* 1 + q + ... + q^(n - 1) */
static double progression(double q, int64_t n)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum = sum * q + 1;
    return sum;
}

/* The ratio with which `from` steps reach as far as `to` steps of 1, between 1.01 and 1.5. */
static double ratio_of(int64_t from, int64_t to)
{
    double low = 1.01, high = 1.5, q = low;
    while (high - low > 1e-6) {
        q = (low + high) / 2;
        if (progression(q, from) > (double)to)
            high = q;
        else
            low = q;
    }
    return q;
}

/* A place between two of the file's rows (or columns): share * right + (1 - share) * left. */
struct between {
    int64_t left, right;
    double share;
};

static struct between place_of(double ratio, int64_t from_side, double distance)
{
    int64_t half = from_side / 2, n = 0;
    double before = 0, at = 0, size = fabs(distance);
    struct between b = {half, half, 0};
    while (at < size && n < half) {
        before = at;
        at = (double)(float)progression(ratio, ++n);
    }
    if (n == 0)
        return b;
    double share = at > size ? (size - before) / (at - before) : 1;
    int64_t sign = distance < 0 ? -1 : 1;
    return (struct between){half + sign * (n - 1), half + sign * n, share};
}

void vt_resample_biases(const float *from, int64_t from_side, float *to, int64_t to_side,
                        int64_t heads)
{
    double ratio = ratio_of(from_side / 2, to_side / 2);
    int64_t half = to_side / 2;
    for (int64_t row = -half; row <= half; row++)
        for (int64_t col = -half; col <= half; col++) {
            struct between y = place_of(ratio, from_side, (double)row);
            struct between x = place_of(ratio, from_side, (double)col);
            for (int64_t h = 0; h < heads; h++) {
                double v[2][2];
                for (int k = 0; k < 4; k++)
                    v[k / 2][k % 2] = (double)
                        from[((k / 2 ? y.right : y.left) * from_side + (k % 2 ? x.right : x.left)) *
                                 heads +
                             h];
                double upper = v[0][0] + x.share * (v[0][1] - v[0][0]);
                double lower = v[1][0] + x.share * (v[1][1] - v[1][0]);
                *to++ = (float)(upper + y.share * (lower - upper));
            }
        }
}
