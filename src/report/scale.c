#include "report/scale.h"

#include "base/mem.h"
#include "base/status.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { DECADES_FULL = 2, TICKS_MAX = 64 };

void vt_range_add(vt_range *range, double value)
{
    if (!isfinite(value))
        return;
    bool first = range->min > range->max;
    range->min = first || value < range->min ? value : range->min;
    range->max = first || value > range->max ? value : range->max;
}

/* The smallest of the factors times a power of ten that is not below `step`, which is positive. */
static double nice_step(double step, const double *factors, int n)
{
    double power = 1;
    while (power > step)
        power /= 10;
    while (power * 10 <= step)
        power *= 10;
    for (int i = 0; i < n; i++)
        if (step <= factors[i] * power)
            return factors[i] * power;
    return 10 * power;
}

vt_scale vt_scale_of_values(vt_range range, int ticks)
{
    static const double factors[] = {1, 2, 2.5, 5};
    enum { NEAR_ZERO = 3 }; /* begin at 0 if the smallest is below a third of the largest */
    double largest = fmax(fabs(range.min), fabs(range.max));
    if (!(range.min <= range.max) || largest < 1e-30 || largest > 1e30)
        return (vt_scale){0, 1, 0.5, false};
    if (range.min >= 0 && range.min < range.max / NEAR_ZERO)
        range.min = 0;
    if (range.max - range.min < largest * 1e-6) { /* one value, in the middle */
        range.min -= largest / 4;
        range.max += largest / 4;
    }
    double step = nice_step((range.max - range.min) / ticks, factors, 4);
    return (vt_scale){floor(range.min / step) * step, ceil(range.max / step) * step, step, false};
}

vt_scale vt_scale_of_epochs(double first, double last, int ticks)
{
    static const double factors[] = {1, 2, 5};
    double span = last > first ? last - first : 0;
    double margin = span > 0 ? 0.03 * span : 0.5;
    return (vt_scale){first - margin, last + margin, nice_step(fmax(1, span / ticks), factors, 3),
                      false};
}

static double power_of_ten(int exponent)
{
    double power = 1;
    for (int i = 0; i < exponent; i++)
        power *= 10;
    for (int i = 0; i > exponent; i--)
        power /= 10;
    return power;
}

/* The ticks of a logarithmic axis: m x 10^e with m of 1, 2, 5, or 1 alone where decades are many.
 */
static const double mantissas[] = {1, 2, 5};

static int decade_of(double value)
{
    int exponent = 0;
    while (power_of_ten(exponent) > value && exponent > -30)
        exponent--;
    while (power_of_ten(exponent + 1) <= value && exponent < 30)
        exponent++;
    return exponent;
}

vt_scale vt_scale_of_logs(vt_range range)
{
    if (!(range.min <= range.max) || range.min < 1e-30 || range.max > 1e30)
        return (vt_scale){0.1, 1, 1, true};
    int low = decade_of(range.min), high = decade_of(range.max);
    vt_scale axis = {power_of_ten(low), power_of_ten(high + 1), 1, true};
    for (int i = 0; i < 3; i++) {
        if (mantissas[i] * power_of_ten(low) <= range.min)
            axis.min = mantissas[i] * power_of_ten(low);
        if (mantissas[2 - i] * power_of_ten(high) >= range.max)
            axis.max = mantissas[2 - i] * power_of_ten(high);
    }
    if (axis.max <= axis.min) /* one value, which is a tick */
        axis.max = 2 * axis.min;
    return axis;
}

double vt_scale_place(const vt_scale *axis, double value)
{
    if (axis->log)
        return log(fmax(value, 1e-300) / axis->min) / log(axis->max / axis->min);
    return (value - axis->min) / (axis->max - axis->min);
}

/* Fills in the ticks; returns how many there are. */
static int list_ticks(const vt_scale *axis, double tick[TICKS_MAX])
{
    int n = 0;
    if (!axis->log) {
        double low = fmin(axis->min, axis->max), high = fmax(axis->min, axis->max);
        double first = ceil(low / axis->step - 1e-9);
        for (int i = 0; i < TICKS_MAX; i++) {
            double value = (first + i) * axis->step;
            if (value > high + axis->step * 1e-9)
                break;
            tick[n++] = value;
        }
        return n;
    }
    int low = decade_of(axis->min), high = decade_of(axis->max);
    int each = high - low > DECADES_FULL ? 1 : 3;
    int skip = high - low > 8 ? (high - low) / 4 : 1;
    for (int e = low; e <= high; e += skip)
        for (int m = 0; m < each && n < TICKS_MAX; m++)
            if (mantissas[m] * power_of_ten(e) > axis->min * 0.999 &&
                mantissas[m] * power_of_ten(e) < axis->max * 1.001)
                tick[n++] = mantissas[m] * power_of_ten(e);
    return n;
}

void vt_scale_print(const vt_scale *axis, int exponent, const char *unit, vt_text *text)
{
    double tick[TICKS_MAX];
    int n = list_ticks(axis, tick);
    vt_text_printf(text, "(");
    for (int i = 0; i < n; i++) {
        vt_text_printf(text, "%s\"", i ? ", " : "");
        if (unit) /* gnuplot takes the label as a format */
            vt_text_printf(text, "%.6g%s", tick[i] / power_of_ten(exponent),
                           *unit == '%' ? "%%" : unit);
        vt_text_printf(text, "\" %.9g", tick[i]);
    }
    vt_text_printf(text, ")");
}

int vt_scale_characters(const vt_scale *axis, int exponent)
{
    double tick[TICKS_MAX];
    int n = list_ticks(axis, tick), most = 1;
    for (int i = 0; i < n; i++) {
        int size = snprintf(NULL, 0, "%.6g", tick[i] / power_of_ten(exponent));
        most = size > most ? size : most;
    }
    return most;
}

int vt_scale_exponent(const vt_scale *axis)
{
    double largest = fmax(fabs(axis->min), fabs(axis->max));
    int exponent = decade_of(fmax(largest, 1e-30) * 1.001);
    if (axis->log)
        return exponent < -2 || exponent > 4 ? exponent : 0;
    return exponent < -1 || exponent > 4 ? exponent : 0;
}

void vt_places_spread(double *place, int n, double gap, double min, double max)
{
    enum { PLACES_MAX = 16 };
    int order[PLACES_MAX];
    VT_ASSERT(n <= PLACES_MAX);
    for (int i = 0; i < n; i++) {
        int at = i;
        while (at > 0 && place[order[at - 1]] > place[i]) {
            order[at] = order[at - 1];
            at--;
        }
        order[at] = i;
    }
    /* Pairs that are too close part halfway; the rest moves on in the next round. */
    for (int round = 0; round < 100; round++) {
        for (int i = 0; i + 1 < n; i++) {
            double *low = &place[order[i]], *high = &place[order[i + 1]];
            double missing = gap - (*high - *low);
            if (missing > 0) {
                *low -= missing / 2;
                *high += missing / 2;
            }
        }
        if (n > 0) {
            place[order[0]] = fmax(place[order[0]], min);
            place[order[n - 1]] = fmin(place[order[n - 1]], max);
        }
    }
}
