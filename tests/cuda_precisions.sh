#!/usr/bin/env bash
# The kernel tests again in bfloat16, and in TF32 where products are. Only for MODE=emulated, whose
# plain run of the same programs is the one in float32.
set -uo pipefail
export CMOCKA_MESSAGE_OUTPUT=TAP
status=0

# again PRECISION TEST...: their cases, under names that say the precision.
again() {
    local precision=$1 name log
    log=$(mktemp)
    shift
    for name in "$@"; do
        VITRINE_TEST_PRECISION=$precision "build/emulated/tests/$name" >"$log" 2>&1
        local code=$?
        sed -E "/^(1\.\.|TAP version)/d; s/^((not )?ok) [0-9]+ -/\1 - $precision: $name:/" "$log"
        if ((code != 0)); then
            echo "not ok - $precision: $name ends with exit status $code"
            status=1
        fi
    done
    rm "$log"
}

again bf16 test_linear_kernel test_kernels test_map_kernels test_kernel_limits test_conv_kernel \
    test_attention_kernel
again tf32 test_linear_kernel test_conv_kernel
exit $status
