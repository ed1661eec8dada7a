/*
 * Statistics of a few runs. Everything is computed in double precision in the order given; no
 * function of libm is used whose bits depend on the machine's library where a digest could depend
 * on them (none does: these values are printed, never hashed). Checked against SciPy to 1e-9.
 */
#ifndef VT_RESULTS_STATS_H
#define VT_RESULTS_STATS_H

#include <stdbool.h>
#include <stdint.h>

double vt_stats_mean(const double *x, int n);
/* Sample standard deviation (n - 1); NaN for n < 2. */
double vt_stats_sd(const double *x, int n);

/* Student's t with `df` > 0 (not necessarily whole) degrees of freedom, through the regularised
 * incomplete beta function; NaN for other arguments. */
double vt_student_cdf(double t, double df);
/* The t with cdf(t) = p, 0 < p < 1. */
double vt_student_quantile(double p, double df);

/* A difference of means with its two-sided interval; `low`, `high`, `df` are NaN where n does not
 * allow one: none is invented. `p_greater` is the one-sided p value of "difference > 0". */
typedef struct vt_difference {
    double value, low, high, df, p_greater;
    bool paired;
} vt_difference;
/* mean(a) - mean(b), unequal variances (Welch). level: 0.95. */
vt_difference vt_stats_welch(const double *a, int n_a, const double *b, int n_b, double level);
/* mean(a[i] - b[i]). */
vt_difference vt_stats_paired(const double *a, const double *b, int n, double level);
/* True if the interval is known and does not hold 0. Two groups without any spread are separable
 * when they differ. */
bool vt_difference_separable(const vt_difference *d);

/* Where one more value is expected: mean +- t(level, n - 1) * sd * sqrt(1 + 1/n), two-sided; NaN
 * for n < 2. */
typedef struct vt_bounds {
    double low, high;
} vt_bounds;
vt_bounds vt_stats_prediction(const double *x, int n, double level);

/* Standard error of a share measured on n images: what another test set of the same size would
 * change it by. */
double vt_stats_share_error(double share, int64_t n);

/* Calibration of n answers with their confidences in [0, 1] (the probability of the class
 * answered), in `bins` equal bins, each open below and closed above (the first holds 0 as well). */
typedef struct vt_calibration_bin {
    int64_t n, right;
    double confidence; /* mean; NaN if empty */
} vt_calibration_bin;
/* The bin 0 .. bins-1 of one answer; its edges are the quotients b / bins. NaN is in the last. */
int vt_calibration_bin_of(double confidence, int bins);
/* Fills the bins and returns the expected calibration error, sum over bins of n_b / n times
 * |share right - mean confidence| (Guo et al. 2017); 0 for n = 0. */
double vt_stats_calibration(const double *confidence, const bool *right, int64_t n,
                            vt_calibration_bin *bin, int bins);

#endif
