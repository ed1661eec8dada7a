#include "report/series.h"

#include "base/mem.h"
#include "results/stats.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

const char *vt_quantity_name(vt_quantity quantity)
{
    static const char *const names[] = {
#define X(name, heading) heading,
        VT_QUANTITY_LIST(X)
#undef X
    };
    return names[quantity];
}

static void add(vt_series *s, double x, double value)
{
    if (!isfinite(value))
        value = NAN;
    s->point[s->n++] = (vt_point){x, value, value, value, 1};
}

static void take_evals(vt_series *s, const vt_history *h, vt_split split, bool loss)
{
    for (int64_t i = 0; i < h->n_eval[split]; i++) {
        const vt_record_eval *e = &h->eval[split][i];
        add(s, (double)e->epoch, loss ? e->loss : 100 * e->top1);
    }
}

static void take_steps(vt_series *s, const vt_history *h, bool rate)
{
    double steps = (double)h->info.steps_per_epoch;
    for (int64_t i = 0; i < h->n_train && steps > 0; i++)
        add(s, (double)h->train[i].step / steps, rate ? h->train[i].lr : h->train[i].grad_norm);
    for (int64_t i = 0; i < h->n_epochs && rate; i++)
        add(s, (double)h->epoch[i].epoch, h->epoch[i].lr);
}

static int compare_points(const void *a, const void *b)
{
    double x = ((const vt_point *)a)->x, y = ((const vt_point *)b)->x;
    return (x > y) - (x < y);
}

vt_status vt_series_take(vt_series *s, vt_quantity quantity, const vt_history *h,
                         const vt_perf *perf, int64_t n_perf, vt_error *err)
{
    int64_t most = h->n_epochs + h->n_train + n_perf;
    for (int i = 0; i < VT_SPLIT_COUNT; i++)
        most = h->n_eval[i] > most ? h->n_eval[i] : most;
    *s = (vt_series){vt_calloc((size_t)most + 1, sizeof *s->point), 0};
    if (!s->point)
        return vt_fail(err, VT_ERR_NOMEM, "no memory for %" PRId64 " points", most);
    switch (quantity) {
    case VT_QUANTITY_TRAIN_LOSS:
    case VT_QUANTITY_TRAIN_TOP1:
        for (int64_t i = 0; i < h->n_epochs; i++)
            add(s, (double)h->epoch[i].epoch,
                quantity == VT_QUANTITY_TRAIN_LOSS ? h->epoch[i].train_loss
                                                   : 100 * h->epoch[i].train_top1);
        break;
    case VT_QUANTITY_VAL_LOSS:
    case VT_QUANTITY_VAL_TOP1:
        take_evals(s, h, VT_SPLIT_VAL, quantity == VT_QUANTITY_VAL_LOSS);
        break;
    case VT_QUANTITY_TEST_LOSS:
    case VT_QUANTITY_TEST_TOP1:
        take_evals(s, h, VT_SPLIT_TEST, quantity == VT_QUANTITY_TEST_LOSS);
        break;
    case VT_QUANTITY_RATE:
    case VT_QUANTITY_GRADIENT:
        take_steps(s, h, quantity == VT_QUANTITY_RATE);
        break;
    default:
        for (int64_t i = 0; i < n_perf; i++) {
            const vt_perf *p = &perf[i];
            double value = quantity == VT_QUANTITY_SPEED         ? p->train_images_per_s
                           : quantity == VT_QUANTITY_STEP_MEDIAN ? 1000 * p->step_s_p50
                           : quantity == VT_QUANTITY_STEP_P90    ? 1000 * p->step_s_p90
                                                                 : 1000 * p->step_s_p99;
            add(s, (double)p->epoch, value);
        }
    }
    int64_t kept = 0;
    qsort(s->point, (size_t)s->n, sizeof *s->point, compare_points);
    for (int64_t i = 0; i < s->n; i++)
        if (kept == 0 || s->point[kept - 1].x != s->point[i].x)
            s->point[kept++] = s->point[i];
    s->n = kept;
    return VT_OK;
}

/* The point of the runs that have one at x; `value` is room for one of each. */
static vt_point fold_point(double x, const double *value, int n)
{
    double mean = vt_stats_mean(value, n), sd = n > 1 ? vt_stats_sd(value, n) : 0;
    return (vt_point){x, mean, mean - sd, mean + sd, n};
}

vt_status vt_series_fold(vt_series *folded, const vt_series *series, int n, vt_error *err)
{
    int64_t most = 0;
    for (int i = 0; i < n; i++)
        most += series[i].n;
    int64_t *at = vt_calloc((size_t)n + 1, sizeof *at);
    double *value = vt_calloc((size_t)n + 1, sizeof *value);
    *folded = (vt_series){vt_calloc((size_t)most + 1, sizeof *folded->point), 0};
    if (!at || !value || !folded->point) {
        vt_free(at);
        vt_free(value);
        return vt_fail(err, VT_ERR_NOMEM, "no memory to fold %d series", n);
    }
    for (;;) {
        double x = INFINITY;
        int here = 0;
        for (int i = 0; i < n; i++)
            if (at[i] < series[i].n)
                x = fmin(x, series[i].point[at[i]].x);
        if (isinf(x))
            break;
        for (int i = 0; i < n; i++)
            if (at[i] < series[i].n && series[i].point[at[i]].x == x)
                value[here++] = series[i].point[at[i]++].mean;
        folded->point[folded->n++] = fold_point(x, value, here);
    }
    vt_free(at);
    vt_free(value);
    return VT_OK;
}

void vt_series_release(vt_series *series)
{
    vt_free(series->point);
    *series = (vt_series){0};
}

void vt_series_thin(vt_series *series, int64_t most)
{
    int64_t each = (series->n + most - 1) / most, kept = 0, last = series->n - 1;
    for (int64_t i = 0; i <= last && each > 1; i++)
        if (i % each == 0 || i == last)
            series->point[kept++] = series->point[i];
    if (each > 1)
        series->n = kept;
}

void vt_series_range(const vt_series *series, bool log, vt_range *range)
{
    for (int64_t i = 0; i < series->n; i++) {
        const vt_point *p = &series->point[i];
        const double values[] = {p->mean, p->low, p->high};
        for (int k = 0; k < 3; k++)
            if (!log || values[k] > 0)
                vt_range_add(range, values[k]);
    }
}

double vt_series_last(const vt_series *series)
{
    for (int64_t i = series->n - 1; i >= 0; i--)
        if (isfinite(series->point[i].mean))
            return series->point[i].mean;
    return NAN;
}
