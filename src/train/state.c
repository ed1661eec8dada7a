#include "train/state.h"

void vt_state_list(const vt_run_state *state, vt_checkpoint_int ints[VT_N_STATE_INTS],
                   vt_checkpoint_double doubles[VT_N_STATE_DOUBLES])
{
    int i = 0, d = 0;
#define X(name) ints[i++] = (vt_checkpoint_int){#name, state->name};
    VT_STATE_INTS(X)
#undef X
#define X(name) doubles[d++] = (vt_checkpoint_double){#name, state->name};
    VT_STATE_DOUBLES(X)
#undef X
}

vt_status vt_state_load(vt_run_state *state, const vt_checkpoint_file *file, vt_error *err)
{
    vt_status status = VT_OK;
#define X(name)                                                                                    \
    if (status == VT_OK)                                                                           \
        status = vt_checkpoint_get_int(file, #name, &state->name, err);
    VT_STATE_INTS(X)
#undef X
#define X(name)                                                                                    \
    if (status == VT_OK)                                                                           \
        status = vt_checkpoint_get_double(file, #name, &state->name, err);
    VT_STATE_DOUBLES(X)
#undef X
    return status;
}
