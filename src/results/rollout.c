#include "results/rollout.h"

bool vt_rollout_exists(const vt_attention_layer *layers, int n_layers)
{
    const vt_attention_layout *first = &layers[0].layout;
    bool exists = n_layers > 0;
    for (int i = 0; i < n_layers && exists; i++) {
        const vt_attention_layout *l = &layers[i].layout;
        bool same = l->grid_h == first->grid_h && l->grid_w == first->grid_w;
        exists = vt_attention_layer_fits(&layers[i]) && l->has_cls == first->has_cls &&
                 (same || !l->has_cls);
    }
    return exists;
}

int64_t vt_rollout_scratch(const vt_attention_layer *layers, int n_layers, int64_t pool_side)
{
    int64_t most = pool_side * pool_side;
    for (int i = 0; i < n_layers; i++) {
        int64_t tokens = vt_attention_tokens(&layers[i].layout);
        most = tokens > most ? tokens : most;
    }
    return 2 * most;
}

void vt_rollout_layer(const vt_attention_layer *layer, int64_t image, const double *from,
                      double *to)
{
    const vt_attention_layout *l = &layer->layout;
    int64_t tokens = vt_attention_tokens(l), places = layer->places;
    for (int64_t k = 0; k < tokens; k++)
        to[k] = 0.5 * from[k];
    for (int64_t w = 0; w < layer->windows; w++)
        for (int64_t h = 0; h < layer->heads; h++)
            for (int64_t q = 0; q < places; q++) {
                const float *row =
                    layer->weights +
                    (((image * layer->windows + w) * layer->heads + h) * places + q) * places;
                int64_t token = vt_attention_token(l, w, q);
                double sum = 0;
                if (token < 0)
                    continue;
                for (int64_t k = 0; k < places; k++)
                    sum += vt_attention_token(l, w, k) >= 0 ? (double)row[k] : 0;
                if (sum == 0) {
                    to[token] += 0.5 * from[token] / (double)layer->heads;
                    continue;
                }
                double scale = 0.5 * from[token] / (sum * (double)layer->heads);
                for (int64_t k = 0; k < places; k++) {
                    int64_t key = vt_attention_token(l, w, k);
                    if (key >= 0)
                        to[key] += scale * (double)row[k];
                }
            }
}

/* The part of [lo, hi) that the fine cell i covers. */
static double overlap(double lo, double hi, int64_t i)
{
    double from = (double)i > lo ? (double)i : lo, to = (double)(i + 1) < hi ? (double)(i + 1) : hi;
    return to > from ? to - from : 0;
}

void vt_rollout_spread(int64_t coarse_h, int64_t coarse_w, const double *from, int64_t fine_h,
                       int64_t fine_w, double *to)
{
    for (int64_t i = 0; i < fine_h * fine_w; i++)
        to[i] = 0;
    for (int64_t y = 0; y < coarse_h; y++)
        for (int64_t x = 0; x < coarse_w; x++) {
            double top, bottom, left, right;
            vt_attention_span(fine_h, coarse_h, y, &top, &bottom);
            vt_attention_span(fine_w, coarse_w, x, &left, &right);
            double share = from[y * coarse_w + x] / ((bottom - top) * (right - left));
            for (int64_t i = (int64_t)top; i < fine_h && (double)i < bottom; i++)
                for (int64_t j = (int64_t)left; j < fine_w && (double)j < right; j++)
                    to[i * fine_w + j] += share * overlap(top, bottom, i) * overlap(left, right, j);
        }
}

static void start(const vt_attention_layout *l, const float *pool, int64_t side, double *scratch,
                  double *from)
{
    int64_t tokens = vt_attention_tokens(l);
    double sum = 0;
    for (int64_t i = 0; pool && i < side * side; i++)
        sum += (double)pool[i];
    for (int64_t t = 0; t < tokens; t++)
        from[t] = l->has_cls ? t == 0 : 1 / (double)tokens;
    if (l->has_cls || !(sum > 0))
        return;
    for (int64_t i = 0; i < side * side; i++)
        scratch[i] = (double)pool[i] / sum;
    vt_rollout_spread(side, side, scratch, l->grid_h, l->grid_w, from);
}

void vt_rollout_run(const vt_attention_layer *layers, int n_layers, int64_t image,
                    const float *pool, int64_t pool_side, double *scratch, double *map)
{
    double *from = scratch, *to = scratch + vt_rollout_scratch(layers, n_layers, pool_side) / 2;
    start(&layers[n_layers - 1].layout, pool, pool_side, to, from);
    for (int i = n_layers - 1; i >= 0; i--) {
        const vt_attention_layout *l = &layers[i].layout;
        vt_rollout_layer(&layers[i], image, from, to);
        const vt_attention_layout *below = i > 0 ? &layers[i - 1].layout : l;
        if (below->grid_h != l->grid_h || below->grid_w != l->grid_w) {
            vt_rollout_spread(l->grid_h, l->grid_w, to, below->grid_h, below->grid_w, from);
        } else {
            double *swapped = from;
            from = to;
            to = swapped;
        }
    }
    bool has_cls = layers[0].layout.has_cls;
    for (int64_t t = has_cls; t < vt_attention_tokens(&layers[0].layout); t++)
        map[t - has_cls] = from[t];
}
