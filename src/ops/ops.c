#include "ops/ops.h"

const vt_op_functions vt_op_table[VT_OP_INPUT] = {
#define VT_OP(name) {#name, vt_op_##name##_infer, vt_op_##name##_fwd, vt_op_##name##_bwd},
#include "ops/ops.def"
#undef VT_OP
};
