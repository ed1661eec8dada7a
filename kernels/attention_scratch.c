#include "kernels/cpu/attention_layout.h"
#include "kernels/device.h"

size_t vt_attention_scratch(const vt_attention_map *map, const vt_attention_sizes *sizes)
{
    const vt_attention_grid grid = vt_attention_grid_of(map, sizes);
    const int64_t sums = vt_attention_units(&grid) * grid.block_heads;
    return (size_t)(sums * vt_attention_partial(map, sizes)) * sizeof(float);
}

size_t vt_attention_worker_scratch(const vt_attention_map *map, const vt_attention_sizes *sizes)
{
    return (size_t)vt_attention_layout_of(map, sizes).size * sizeof(float);
}
