#include "kernels/cpu/rows.h"

struct loss {
    float *loss, *lse, *dlogits;
    int32_t *rank;
    const float *logits, *saved_lse;
    const int32_t *labels;
    int64_t classes;
    float smoothing, grad_scale;
};

/* Lane bits of x[i .. i + 15], of which `left` exist, that stand before the label: larger, or
 * equal at a lower index. A NaN stands before every number, and a NaN label behind all others. */
VT_INLINE uint32_t find_before(vt_lanes x, vt_lanes at_label, int64_t label, int64_t i,
                               int64_t left)
{
    int64_t lane = label - i; /* the label's place among these lanes */
    uint32_t later = lane >= VT_LANES ? 0u : lane < 0 ? 0xffffu : 0xffffu << lane & 0xffffu;
    uint32_t itself = lane >= 0 && lane < VT_LANES ? 1u << lane : 0u;
    uint32_t less = vmask_bits(vless(x, at_label)), equal = vmask_bits(vequal(x, at_label));
    uint32_t exist = left >= VT_LANES ? 0xffffu : (1u << left) - 1u;
    return exist & ~(less | (equal & later) | itself);
}

static void forward_row(const struct loss *a, int64_t r)
{
    int64_t n = a->classes, label = a->labels[r];
    VT_ASSERT(label >= 0 && label < n);
    const float *x = a->logits + r * n;
    vt_lanes at_label = vset1(x[label]), largest = vset1(-INFINITY), sum = vzero(), powers = sum;
    int before = 0;
    for (int64_t i = 0; i < n; i += VT_LANES) {
        vt_lanes value = vload_upto(x + i, n - i);
        before += __builtin_popcount(find_before(value, at_label, label, i, n - i));
        sum = vadd(sum, value);
        if (n - i < VT_LANES)
            value = vselect(vfirst(n - i), value, vset1(-INFINITY));
        largest = vmax(value, largest);
    }
    float peak = vlargest(largest);
    for (int64_t i = 0; i < n; i += VT_LANES) {
        vt_lanes power = vexp(vsub(vload_upto(x + i, n - i), vset1(peak)));
        if (n - i < VT_LANES)
            power = vselect(vfirst(n - i), power, vzero());
        powers = vadd(powers, power);
    }
    double rest = vt_log((double)vsum(powers)), s = a->smoothing; /* lse - peak */
    double loss = rest - (1.0 - s) * ((double)x[label] - peak);
    if (s > 0)
        loss -= s * ((double)vsum(sum) / (double)n - peak);
    a->loss[r] = (float)loss;
    a->lse[r] = (float)(rest + peak);
    a->rank[r] = before;
}

static void forward_rows(void *arg, int64_t first, int64_t last, int worker)
{
    (void)worker;
    for (int64_t r = first; r < last; r++)
        forward_row(arg, r);
}

void VT_CPU(cross_entropy_fwd)(vt_dev *d, float *loss, float *lse, int32_t *rank, double *totals,
                               vt_buf logits, const int32_t *labels, int64_t rows, int64_t classes,
                               float smoothing)
{
    struct loss a = {.loss = loss,
                     .lse = lse,
                     .rank = rank,
                     .logits = vt_floats(logits),
                     .labels = labels,
                     .classes = classes,
                     .smoothing = smoothing};
    vt_grid_run(vt_dev_pool(d), rows, vt_chunk_items(rows, 32 * classes), forward_rows, &a);
    for (int64_t r = 0; r < rows; r++) {
        totals[0] += loss[r];
        totals[1] += rank[r] == 0;
        totals[2] += rank[r] < 5;
        totals[3] += 1;
    }
}

static void backward_rows(void *arg, int64_t first, int64_t last, int worker)
{
    const struct loss *a = arg;
    int64_t n = a->classes;
    float others = a->smoothing / (float)n, own = 1.0f - a->smoothing;
    vt_lanes scale = vset1(a->grad_scale), target = vset1(others);
    (void)worker;
    for (int64_t r = first; r < last; r++) {
        const float *x = a->logits + r * n;
        float *dx = a->dlogits + r * n;
        int64_t label = a->labels[r];
        vt_lanes lse = vset1(a->saved_lse[r]);
        for (int64_t i = 0; i < n; i += VT_LANES) {
            vt_lanes p = vexp(vsub(vload_upto(x + i, n - i), lse));
            vt_lanes diff = vsub(p, target);
            if (label >= i && label - i < VT_LANES) {
                float hot[VT_LANES] = {0};
                hot[label - i] = own;
                diff = vsub(diff, vload(hot));
            }
            vstore_upto(dx + i, vmul(diff, scale), n - i);
        }
    }
}

void VT_CPU(cross_entropy_bwd)(vt_dev *d, vt_buf dlogits, vt_buf logits, const float *lse,
                               const int32_t *labels, int64_t rows, int64_t classes,
                               float smoothing, const vt_step *step)
{
    struct loss a = {.dlogits = vt_floats(dlogits),
                     .logits = vt_floats(logits),
                     .saved_lse = lse,
                     .labels = labels,
                     .classes = classes,
                     .smoothing = smoothing,
                     .grad_scale = step->grad_scale};
    vt_grid_run(vt_dev_pool(d), rows, vt_chunk_items(rows, 16 * classes), backward_rows, &a);
}
