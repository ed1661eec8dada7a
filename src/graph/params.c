#include "base/mem.h"
#include "base/rng.h"
#include "base/text.h"
#include "config/config.h"
#include "graph/graph.h"

#include <math.h>
#include <string.h>

vt_params *vt_params_new(void)
{
    return vt_calloc(1, sizeof(vt_params));
}

void vt_params_free(vt_params *params)
{
    if (!params)
        return;
    for (int i = 0; i < params->n; i++)
        vt_free(params->item[i]);
    vt_free(params->item);
    vt_free(params);
}

bool vt_role_trains(vt_role role)
{
    return role != VT_ROLE_FIXED && role != VT_ROLE_BUFFER;
}

int64_t vt_params_count(const vt_params *params)
{
    int64_t count = 0;
    for (int i = 0; i < params->n; i++)
        count += vt_role_trains(params->item[i]->role) ? params->item[i]->shape.size : 0;
    return count;
}

vt_param *vt_params_find(const vt_params *params, const char *name)
{
    for (int i = 0; i < params->n; i++)
        if (strcmp(params->item[i]->name, name) == 0)
            return params->item[i];
    return NULL;
}

static bool exempt(const vt_param *param, uint32_t no_decay)
{
    static const int bit_of[] = {
        [VT_ROLE_BIAS] = VT_NO_DECAY_BIAS,           [VT_ROLE_NORM] = VT_NO_DECAY_NORM,
        [VT_ROLE_POS_EMBED] = VT_NO_DECAY_POS_EMBED, [VT_ROLE_CLS_TOKEN] = VT_NO_DECAY_CLS_TOKEN,
        [VT_ROLE_REL_BIAS] = VT_NO_DECAY_REL_BIAS,
    };
    if (no_decay & 1u << VT_NO_DECAY_ONE_D && param->shape.rank == 1)
        return true;
    return param->role != VT_ROLE_WEIGHT && no_decay & 1u << bit_of[param->role];
}

static int range_of(const vt_param *param)
{
    return !param->trained ? 2 : param->decayed ? 0 : 1;
}

void vt_params_layout(vt_params *params, uint32_t no_decay, const char *const *freeze, int n_freeze)
{
    int64_t ends[3], offset = 0;
    for (int i = 0; i < params->n; i++) {
        vt_param *param = params->item[i];
        param->trained = vt_role_trains(param->role);
        for (int j = 0; j < n_freeze; j++)
            param->trained &= !vt_glob(freeze[j], param->name);
        param->decayed = param->trained && !exempt(param, no_decay);
    }
    for (int range = 0; range < 3; range++) {
        for (int i = 0; i < params->n; i++) {
            vt_param *param = params->item[i];
            if (range_of(param) != range)
                continue;
            param->offset = offset;
            offset += (param->shape.size + 15) / 16 * 16;
        }
        ends[range] = offset;
    }
    params->n_decayed = ends[0];
    params->n_trained = ends[1];
    params->n_floats = ends[2];
    params->laid_out = true;
}

/* big_vision's layout: sin x, cos x, sin y, cos y, D/4 frequencies 10000^(-i / (D/4 - 1)) each. */
static float sincos_at(const vt_fill *fill, int64_t row, int64_t column, int64_t dim)
{
    int64_t quarter = dim / 4, place = row - fill->skip, i = column % quarter;
    if (place < 0 || column >= 4 * quarter)
        return 0;
    double exponent = quarter > 1 ? (double)i / (double)(quarter - 1) : 0;
    double frequency = vt_exp(-exponent * 9.210340371976182736); /* ln 10000 */
    int64_t part = column / quarter;
    double coordinate = (double)(part < 2 ? place % fill->side : place / fill->side);
    double turns = coordinate * frequency / 6.283185307179586477;
    return (float)vt_cos_2pi(part % 2 ? turns : turns - 0.25);
}

static void fill_param(const vt_param *param, uint64_t seed, float *to)
{
    vt_rng rng = vt_rng_at(seed, VT_STREAM_INIT, (uint32_t)param->number, 0, 0);
    int64_t cols = vt_shape_last(param->shape);
    for (int64_t e = 0; e < param->shape.size; e++)
        switch (param->fill.kind) {
        case VT_FILL_ZERO:
            to[e] = 0;
            break;
        case VT_FILL_ONE:
            to[e] = 1;
            break;
        case VT_FILL_NORMAL:
            to[e] = (float)(param->fill.scale * vt_rng_normal(&rng, (uint64_t)e));
            break;
        case VT_FILL_UNIFORM:
            to[e] = (float)(param->fill.scale *
                            (2.0 * (double)vt_rng_uniform(&rng, (uint64_t)e) - 1.0));
            break;
        case VT_FILL_SINCOS:
            to[e] = sincos_at(&param->fill, e / cols, e % cols, cols);
            break;
        }
}

void vt_params_fill(const vt_params *params, uint64_t seed, float *weights)
{
    for (int i = 0; i < params->n; i++)
        fill_param(params->item[i], seed, weights + params->item[i]->offset);
}
