#include "results/stats.h"

#include "base/status.h"

#include <math.h>

double vt_stats_mean(const double *x, int n)
{
    double sum = 0;
    for (int i = 0; i < n; i++)
        sum += x[i];
    return n > 0 ? sum / n : NAN;
}

static double variance(const double *x, int n)
{
    double mean = vt_stats_mean(x, n), sum = 0;
    for (int i = 0; i < n; i++)
        sum += (x[i] - mean) * (x[i] - mean);
    return n > 1 ? sum / (n - 1) : NAN;
}

double vt_stats_sd(const double *x, int n)
{
    return sqrt(variance(x, n));
}

/* log B(a, 1/2). For a large `a` the logarithms of the gammas would cancel all but a few digits:
 * there Gamma(a + 1/2) / Gamma(a) is taken from its asymptotic series. */
static double log_beta_half(double a)
{
    static const double term[] = {
        869.0 / 4194304, -399.0 / 262144, -21.0 / 32768, 5.0 / 1024, 1.0 / 128, -1.0 / 8, 1};
    const double log_gamma_half = 0.57236494292470008707;
    if (a < 50)
        return lgamma(a) + log_gamma_half - lgamma(a + 0.5);
    double series = 0;
    for (int i = 0; i < (int)(sizeof term / sizeof *term); i++)
        series = series / a + term[i];
    return log_gamma_half - 0.5 * log(a) - log(series);
}

/* The continued fraction of the incomplete beta function, by Lentz's method; it converges quickly
 * for x < (a + 1) / (a + b + 2). */
static double beta_fraction(double x, double a, double b)
{
    const double tiny = 1e-300;
    double c = 1, d = 1 - (a + b) * x / (a + 1);
    d = 1 / (fabs(d) < tiny ? tiny : d);
    double value = d;
    for (int m = 1; m < 1000000; m++) {
        double even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m));
        double odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1));
        d = 1 + even * d;
        c = 1 + even / c;
        d = 1 / (fabs(d) < tiny ? tiny : d);
        c = fabs(c) < tiny ? tiny : c;
        value *= d * c;
        d = 1 + odd * d;
        c = 1 + odd / c;
        d = 1 / (fabs(d) < tiny ? tiny : d);
        c = fabs(c) < tiny ? tiny : c;
        value *= d * c;
        if (fabs(d * c - 1) < 1e-16)
            break;
    }
    return value;
}

/* For t > 0 the probabilities above t and between 0 and t, which add up to 1/2; each is found
 * without subtraction where it is the small one. With x = df / (df + t^2) they are half of
 * I_x(df/2, 1/2) and of I_{1-x}(1/2, df/2). */
struct parts {
    double above, below;
};

static struct parts split_half(double t, double df)
{
    double a = df / 2, ratio = t / df * t;
    double x = 1 / (1 + ratio), y = ratio < 1 ? ratio / (1 + ratio) : 1 / (1 + 1 / ratio);
    double front = exp(-a * log1p(ratio) + 0.5 * log(y) - log_beta_half(a)) / 2;
    if (x < (a + 1) / (a + 2.5)) {
        double above = front * beta_fraction(x, a, 0.5) / a;
        return (struct parts){above, 0.5 - above};
    }
    double below = front * beta_fraction(y, 0.5, a) / 0.5;
    return (struct parts){0.5 - below, below};
}

double vt_student_cdf(double t, double df)
{
    if (!(df > 0) || isnan(t))
        return NAN;
    if (t == 0 || isinf(t))
        return t == 0 ? 0.5 : t > 0;
    double above = split_half(fabs(t), df).above;
    return t < 0 ? above : 1 - above;
}

double vt_student_quantile(double p, double df)
{
    if (!(df > 0) || !(p > 0 && p < 1))
        return NAN;
    double tail = p < 0.5 ? p : 1 - p, centre = 0.5 - tail;
    if (centre == 0)
        return 0;
    /* Bisection of log t, down to neighbouring doubles: t spans hundreds of decades for small df.
     */
    double low = -700, high = 700, middle;
    while (middle = low + (high - low) / 2, middle != low && middle != high) {
        struct parts parts = split_half(exp(middle), df);
        if (tail < 0.25 ? parts.above > tail : parts.below < centre)
            low = middle;
        else
            high = middle;
    }
    double t = exp(middle);
    return p < 0.5 ? -t : t;
}

/* Fills the interval and p value of a difference whose standard error is `error`. */
static void infer(vt_difference *d, double error, double df, double level)
{
    d->df = df;
    if (error > 0) {
        double half = vt_student_quantile(0.5 + level / 2, df) * error;
        d->low = d->value - half;
        d->high = d->value + half;
        d->p_greater = vt_student_cdf(-d->value / error, df);
    } else if (error == 0) { /* no spread at all: df means nothing, the difference is what it is */
        d->df = NAN;
        d->low = d->high = d->value;
        d->p_greater = d->value > 0 ? 0 : d->value < 0 ? 1 : 0.5;
    }
}

vt_difference vt_stats_welch(const double *a, int n_a, const double *b, int n_b, double level)
{
    vt_difference d = {.value = vt_stats_mean(a, n_a) - vt_stats_mean(b, n_b),
                       .low = NAN,
                       .high = NAN,
                       .df = NAN,
                       .p_greater = NAN};
    if (n_a < 2 || n_b < 2)
        return d;
    double u = variance(a, n_a) / n_a, v = variance(b, n_b) / n_b;
    infer(&d, sqrt(u + v), (u + v) * (u + v) / (u * u / (n_a - 1) + v * v / (n_b - 1)), level);
    return d;
}

vt_difference vt_stats_paired(const double *a, const double *b, int n, double level)
{
    vt_difference d = {
        .paired = true, .value = NAN, .low = NAN, .high = NAN, .df = NAN, .p_greater = NAN};
    double sum = 0, squares = 0;
    for (int i = 0; i < n; i++)
        sum += a[i] - b[i];
    if (n > 0)
        d.value = sum / n;
    if (n < 2)
        return d;
    for (int i = 0; i < n; i++)
        squares += (a[i] - b[i] - d.value) * (a[i] - b[i] - d.value);
    infer(&d, sqrt(squares / (n - 1) / n), n - 1, level);
    return d;
}

bool vt_difference_separable(const vt_difference *d)
{
    return d->low > 0 || d->high < 0;
}

vt_bounds vt_stats_prediction(const double *x, int n, double level)
{
    if (n < 2)
        return (vt_bounds){NAN, NAN};
    double mean = vt_stats_mean(x, n), sd = vt_stats_sd(x, n);
    double half = vt_student_quantile(0.5 + level / 2, n - 1) * sd * sqrt(1 + 1.0 / n);
    return (vt_bounds){mean - half, mean + half};
}

double vt_stats_share_error(double share, int64_t n)
{
    return n > 0 ? sqrt(share * (1 - share) / (double)n) : NAN;
}

int vt_calibration_bin_of(double confidence, int bins)
{
    if (!(confidence < 1))
        return bins - 1;
    int bin = confidence > 0 ? (int)(confidence * bins) : 0;
    /* The product was rounded; the edges are the quotients. */
    while (bin > 0 && confidence <= (double)bin / bins)
        bin--;
    while (bin < bins - 1 && confidence > (double)(bin + 1) / bins)
        bin++;
    return bin;
}

double vt_stats_calibration(const double *confidence, const bool *right, int64_t n,
                            vt_calibration_bin *bin, int bins)
{
    double gap = 0;
    VT_ASSERT(bins > 0);
    for (int b = 0; b < bins; b++)
        bin[b] = (vt_calibration_bin){0};
    for (int64_t i = 0; i < n; i++) {
        vt_calibration_bin *at = &bin[vt_calibration_bin_of(confidence[i], bins)];
        at->n++;
        at->right += right[i];
        at->confidence += confidence[i];
    }
    for (int b = 0; b < bins; b++) {
        gap += fabs(bin[b].confidence - (double)bin[b].right);
        bin[b].confidence = bin[b].n ? bin[b].confidence / (double)bin[b].n : NAN;
    }
    return n > 0 ? gap / (double)n : 0;
}
