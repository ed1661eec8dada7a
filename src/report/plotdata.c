#include "report/plotdata.h"

#include "base/mem.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int compare_rows(const void *a, const void *b)
{
    int64_t x = ((const vt_plotrow *)a)->epoch, y = ((const vt_plotrow *)b)->epoch;
    return (x > y) - (x < y);
}

static void add_epoch(vt_plotdata *data, int64_t epoch)
{
    vt_plotrow *row = &data->row[data->n++];
    row->epoch = epoch;
    for (int i = 0; i < VT_PLOT_COLUMN_COUNT; i++)
        row->value[i] = NAN;
}

static void set_value(vt_plotdata *data, int64_t epoch, vt_plot_column column, double value)
{
    const vt_plotrow key = {.epoch = epoch};
    vt_plotrow *row = bsearch(&key, data->row, (size_t)data->n, sizeof key, compare_rows);
    row->value[column] = isfinite(value) ? value : NAN;
}

/* Names come from a file: what cannot be printed, or could mean something to gnuplot, is replaced.
 */
static void copy_name(vt_plotdata *data, const char *name)
{
    snprintf(data->name, sizeof data->name, "%s", name);
    for (char *c = data->name; *c; c++)
        if (!strchr("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz._-", *c))
            *c = '_';
}

vt_status vt_plotdata_make(vt_plotdata *data, const vt_history *h, vt_error *err)
{
    static const vt_plot_column loss[VT_SPLIT_COUNT] = {
        [VT_SPLIT_VAL] = VT_PLOT_VAL_LOSS, [VT_SPLIT_TEST] = VT_PLOT_TEST_LOSS};
    static const vt_plot_column top1[VT_SPLIT_COUNT] = {
        [VT_SPLIT_VAL] = VT_PLOT_VAL_TOP1, [VT_SPLIT_TEST] = VT_PLOT_TEST_TOP1};
    int64_t n = h->n_epochs + h->n_eval[VT_SPLIT_VAL] + h->n_eval[VT_SPLIT_TEST], kept = 0;
    *data = (vt_plotdata){.seed = h->info.seed};
    copy_name(data, h->info.exp_name);
    data->row = vt_calloc((size_t)n + 1, sizeof *data->row);
    if (!data->row)
        return vt_fail(err, VT_ERR_NOMEM, "no memory for a table of %" PRId64 " epochs", n);
    for (int64_t i = 0; i < h->n_epochs; i++)
        add_epoch(data, h->epoch[i].epoch);
    for (int split = VT_SPLIT_VAL; split <= VT_SPLIT_TEST; split++)
        for (int64_t i = 0; i < h->n_eval[split]; i++)
            add_epoch(data, h->eval[split][i].epoch);
    qsort(data->row, (size_t)data->n, sizeof *data->row, compare_rows);
    for (int64_t i = 0; i < data->n; i++)
        if (kept == 0 || data->row[kept - 1].epoch != data->row[i].epoch)
            data->row[kept++] = data->row[i];
    data->n = kept;
    for (int64_t i = 0; i < h->n_epochs; i++) {
        const vt_record_epoch *e = &h->epoch[i];
        set_value(data, e->epoch, VT_PLOT_TRAIN_LOSS, e->train_loss);
        set_value(data, e->epoch, VT_PLOT_TRAIN_TOP1, 100 * e->train_top1);
        set_value(data, e->epoch, VT_PLOT_LR, e->lr);
    }
    for (int split = VT_SPLIT_VAL; split <= VT_SPLIT_TEST; split++) {
        for (int64_t i = 0; i < h->n_eval[split]; i++) {
            const vt_record_eval *e = &h->eval[split][i];
            set_value(data, e->epoch, loss[split], e->loss);
            set_value(data, e->epoch, top1[split], 100 * e->top1);
        }
    }
    return VT_OK;
}

void vt_plotdata_release(vt_plotdata *data)
{
    vt_free(data->row);
    *data = (vt_plotdata){0};
}

void vt_plotdata_print(const vt_plotdata *data, vt_text *text)
{
    vt_text_printf(text, "epoch");
#define X(name, heading) vt_text_printf(text, "\t%s", heading);
    VT_PLOT_COLUMNS(X)
#undef X
    vt_text_printf(text, "\n");
    for (int64_t i = 0; i < data->n; i++) {
        vt_text_printf(text, "%" PRId64, data->row[i].epoch);
        for (int c = 0; c < VT_PLOT_COLUMN_COUNT; c++) {
            double value = data->row[i].value[c];
            if (isnan(value))
                vt_text_printf(text, "\tNaN");
            else
                vt_text_printf(text, "\t%.9g", value);
        }
        vt_text_printf(text, "\n");
    }
}

bool vt_plotdata_range(const vt_plotdata *data, vt_plot_column column, vt_range *range)
{
    bool any = false;
    for (int64_t i = 0; i < data->n; i++) {
        double value = data->row[i].value[column];
        if (isnan(value))
            continue;
        bool first = range->min > range->max;
        range->min = first || value < range->min ? value : range->min;
        range->max = first || value > range->max ? value : range->max;
        any = true;
    }
    return any;
}

double vt_plotdata_last(const vt_plotdata *data, vt_plot_column column)
{
    for (int64_t i = data->n - 1; i >= 0; i--)
        if (!isnan(data->row[i].value[column]))
            return data->row[i].value[column];
    return NAN;
}

int64_t vt_plotdata_count(const vt_plotdata *data, vt_plot_column column)
{
    int64_t n = 0;
    for (int64_t i = 0; i < data->n; i++)
        n += !isnan(data->row[i].value[column]);
    return n;
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

vt_axis vt_axis_of_values(vt_range range, int ticks)
{
    static const double factors[] = {1, 2, 2.5, 5};
    enum { NEAR_ZERO = 3 }; /* begin at 0 if the smallest is below a third of the largest */
    double largest = fmax(fabs(range.min), fabs(range.max));
    if (!(range.min <= range.max) || largest < 1e-30 || largest > 1e30)
        return (vt_axis){0, 1, 0.5};
    if (range.min >= 0 && range.min < range.max / NEAR_ZERO)
        range.min = 0;
    if (range.max - range.min < largest * 1e-6) { /* one value, in the middle */
        range.min -= largest / 4;
        range.max += largest / 4;
    }
    double step = nice_step((range.max - range.min) / ticks, factors, 4);
    return (vt_axis){floor(range.min / step) * step, ceil(range.max / step) * step, step};
}

vt_axis vt_axis_of_epochs(int64_t first, int64_t last, int ticks)
{
    static const double factors[] = {1, 2, 5};
    double span = last > first ? (double)(last - first) : 0;
    double margin = span > 0 ? 0.03 * span : 0.5;
    return (vt_axis){(double)first - margin, (double)last + margin,
                     nice_step(fmax(1, span / ticks), factors, 3)};
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
