#include "kernels/cpu/rows.h"

#include "kernels/bf16.h"

#include <stdatomic.h>
#include <string.h>

enum { FILL_BYTES = 262144 };

static void fill_part(void *arg, int64_t first, int64_t last, int worker)
{
    (void)worker;
    memset((char *)arg + first, 0, (size_t)(last - first));
}

void VT_CPU(fill_zero)(vt_dev *d, void *data, size_t size_bytes)
{
    vt_grid_run(vt_dev_pool(d), (int64_t)size_bytes, FILL_BYTES, fill_part, data);
}

/* Only F32 is met in training; the other types let a test hold another backend's roundings against
 * these. */
void VT_CPU(convert)(vt_dev *d, vt_buf to, vt_buf from, int64_t n)
{
    float *floats = to.data;
    uint16_t *halves = to.data;
    (void)d;
    for (int64_t i = 0; i < n; i++) {
        const float x = from.type == VT_BF16 ? vt_bf16_to_float(((const uint16_t *)from.data)[i])
                                             : ((const float *)from.data)[i];
        if (to.type == VT_BF16)
            halves[i] = vt_bf16_of_float(x);
        else
            floats[i] = x;
    }
}

struct search {
    const float *floats;
    const double *doubles;
    atomic_int_fast64_t found;
};

/* The smallest number wins whatever the order of the chunks. */
static void note_found(struct search *a, int64_t number)
{
    int_fast64_t seen = atomic_load(&a->found);
    while (number < seen && !atomic_compare_exchange_weak(&a->found, &seen, number))
        ;
}

static void search_floats(void *arg, int64_t first, int64_t last, int worker)
{
    struct search *a = arg;
    const vt_lanes infinity = vset1(INFINITY);
    (void)worker;
    for (int64_t i = first; i < last; i += VT_LANES) {
        vt_lanes size = vabs(vload_upto(a->floats + i, last - i));
        uint32_t bad = ~vmask_bits(vless(size, infinity)) & 0xffffu;
        if (bad) {
            note_found(a, i + __builtin_ctz(bad));
            return;
        }
    }
}

static void search_doubles(void *arg, int64_t first, int64_t last, int worker)
{
    struct search *a = arg;
    (void)worker;
    for (int64_t i = first; i < last; i++) {
        if (!isfinite(a->doubles[i])) {
            note_found(a, i);
            return;
        }
    }
}

int64_t VT_CPU(find_nonfinite)(vt_dev *d, vt_buf x, int64_t n)
{
    struct search a = {x.data, x.data, INT64_MAX};
    if (x.type == VT_I32)
        return -1;
    vt_grid_run(vt_dev_pool(d), n, VT_FLAT_CHUNK, x.type == VT_F64 ? search_doubles : search_floats,
                &a);
    return a.found == INT64_MAX ? -1 : a.found;
}
