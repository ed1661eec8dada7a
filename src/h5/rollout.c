#include "h5/rollout.h"

/* to[k] = sum over q of from[q] (mean over heads of the normalised row q + identity) / 2 */
static void descend(const float *weights, int64_t heads, int64_t tokens, const double *from,
                    double *to)
{
    for (int64_t k = 0; k < tokens; k++)
        to[k] = 0.5 * from[k];
    for (int64_t h = 0; h < heads; h++)
        for (int64_t q = 0; q < tokens; q++) {
            const float *row = weights + (h * tokens + q) * tokens;
            double sum = 0;
            for (int64_t k = 0; k < tokens; k++)
                sum += (double)row[k];
            double scale = sum > 0 ? 0.5 * from[q] / (sum * (double)heads) : 0;
            for (int64_t k = 0; k < tokens; k++)
                to[k] += scale * (double)row[k];
        }
}

void vt_h5_rollout(const vt_h5_rollout_layer *layers, int n_layers, int64_t image, int64_t tokens,
                   bool has_cls, double *scratch, float *map)
{
    double *from = scratch, *to = scratch + tokens;
    for (int64_t t = 0; t < tokens; t++)
        from[t] = has_cls ? t == 0 : 1 / (double)tokens;
    for (int l = n_layers - 1; l >= 0; l--) {
        int64_t heads = layers[l].heads;
        descend(layers[l].weights + image * heads * tokens * tokens, heads, tokens, from, to);
        double *swapped = from;
        from = to;
        to = swapped;
    }
    for (int64_t t = has_cls; t < tokens; t++)
        *map++ = (float)from[t];
}
