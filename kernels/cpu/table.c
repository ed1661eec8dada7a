#include "kernels/cpu/cpu.h"

#define VT_TEXT(word) #word
#define VT_TEXT_OF(macro) VT_TEXT(macro)

const vt_kernels VT_CPU(table) = {
    .name = VT_TEXT_OF(VT_ISA),
#define X(kernel) .kernel = VT_CPU(kernel),
    VT_KERNEL_LIST(X)
#undef X
#define X(size) .size = vt_##size,
        VT_SCRATCH_LIST(X)
#undef X
            .attention_remakes = true,
};
