#!/usr/bin/env bash
# What the built programs are made of: rules that hold for every object file, read with nm and ldd.
set -uo pipefail

build=build/release
found=$(mktemp)
trap 'rm -f "$found"' EXIT
status=0

# none SENTENCE: ok if $found is empty, else it names the offenders.
none() {
    if [[ -s $found ]]; then
        echo "not ok - $1"
        sed 's/^/# /' "$found"
        status=1
    else
        echo "ok - $1"
    fi
}

# users ALLOWED PATTERN: which objects, but those whose path matches ALLOWED, take a name matching
# PATTERN from elsewhere.
users() {
    local object
    for object in "${objects[@]}"; do
        [[ ${object#"$build"/} =~ ^($1)$ ]] && continue
        nm -u "$object" | awk '{ print $2 }' | grep -xE "$2" | sed "s|^|${object#"$build"/} uses |"
    done
}

# Objects of sources that are still there.
objects=()
for source in src/*/*.c kernels/*.c; do
    [[ $source == src/h5/* ]] || objects+=("$build/${source%.c}.o")
done
for source in kernels/cpu/*.c; do # compiled once for each vector width
    objects+=("$build/${source%.c}.avx2.o" "$build/${source%.c}.avx512.o")
done

{
    ((${#objects[@]} > 10)) || echo "only ${#objects[@]} objects"
    for object in "${objects[@]}"; do
        [[ -f $object ]] || echo "$object is missing"
    done
    # The test itself must see something.
    [[ $(users none vt_fail) == *src/train/* ]] || echo "no object of src/train uses vt_fail"
} >"$found"
none "the objects of the release build are there to be read"

ldd ./vitrine | grep -E 'hdf5|blas|not found' >"$found"
none "vitrine links neither HDF5 nor a BLAS library"

ldd ./vitrine-h5 | grep -cE 'libhdf5' | grep -x 0 >"$found"
none "vitrine-h5 is the program that links HDF5"

# What IEEE 754 fixes (sqrt, fma, rounding, scaling) is the same everywhere; the rest is libm's.
# Statistics and the places of axis labels are printed, never hashed.
users 'src/(results/stats|report/scale)\.o' '(exp|exp2|exp10|expm1|log|log2|log10|log1p|pow|cbrt|hypot|sin|cos|sincos|tan|asin|acos|atan|atan2|sinh|cosh|tanh|erf|erfc|tgamma|lgamma)[fl]?' >"$found"
none "nothing calls a libm function whose bits differ between machines"

users none 's?rand(om)?(_r)?|[dljmen]rand48(_r)?|getrandom|arc4random.*' >"$found"
none "nothing draws from a random generator of the system"

users 'src/base/mem\.o' '(m|c|re)alloc|reallocarray|strn?dup|v?asprintf|aligned_alloc|posix_memalign' >"$found"
none "heap memory comes from base/mem alone"

users 'src/cli/.*|src/base/(status|child)\.o' '_?exit|_Exit|quick_exit|abort' >"$found"
none "nothing below the command line ends the process, but a failed assertion or a child's start"

users 'src/base/(clock|mem)\.o' 'time|clock_gettime|gettimeofday|clock|times|getrusage' >"$found"
none "the time is read in base/clock alone (and the peak of memory in base/mem)"

nm vitrine | grep -E 'set_fast_math' >"$found"
none "no start-up code flushes denormal numbers to zero"

exit $status
