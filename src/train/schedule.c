#include "train/schedule.h"

#include "base/rng.h"

#include <math.h>

/* PyTorch leaves the rate alone when a reduction would be smaller than this. */
static const double smallest_reduction = 1e-8;

vt_schedule_state vt_schedule_start(const vt_config *config)
{
    return (vt_schedule_state){.lr = config->optim_lr, .best = INFINITY};
}

double vt_schedule_lr(const vt_config *config, const vt_schedule_state *state, int64_t step,
                      int64_t steps_per_epoch)
{
    int64_t warmup = config->schedule_warmup_epochs * steps_per_epoch;
    int64_t total = config->train_epochs * steps_per_epoch;
    double base = config->optim_lr, min = config->schedule_min_lr;
    if (step < warmup)
        return config->schedule_warmup_from +
               (base - config->schedule_warmup_from) * (double)step / (double)warmup;
    switch (config->schedule_name) {
    case VT_SCHEDULE_PLATEAU:
        return state->lr;
    case VT_SCHEDULE_COSINE:
        return min +
               (base - min) *
                   (1 + vt_cos_2pi(0.5 * (double)(step - warmup) / (double)(total - warmup))) / 2;
    case VT_SCHEDULE_MULTISTEP:
        for (int i = 0; i < config->schedule_milestones.n; i++)
            if (config->schedule_milestones.v[i] <= step / steps_per_epoch)
                base *= config->schedule_gamma;
        return base;
    case VT_SCHEDULE_CONSTANT:
    case VT_SCHEDULE_COUNT:
        break;
    }
    return base;
}

void vt_schedule_epoch_end(const vt_config *config, vt_schedule_state *state, double train_loss)
{
    if (config->schedule_name != VT_SCHEDULE_PLATEAU)
        return;
    if (train_loss < state->best * (1 - config->schedule_threshold)) {
        state->best = train_loss;
        state->bad_epochs = 0;
        return;
    }
    if (++state->bad_epochs <= config->schedule_patience)
        return;
    double lr = fmax(state->lr * config->schedule_factor, config->schedule_min_lr);
    if (state->lr - lr > smallest_reduction)
        state->lr = lr;
    state->bad_epochs = 0;
}
