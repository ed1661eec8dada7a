#include "graph/device_map.h"

enum { ALIGN = 64 };

/* Sends a table of the map to the next place in the block, or counts what it takes. */
static const void *place(vt_device_map *copy, vt_dev *dev, const void *table, size_t bytes,
                         size_t *at)
{
    char *to = copy->block ? (char *)copy->block + *at : NULL;
    *at += (bytes + ALIGN - 1) / ALIGN * ALIGN;
    if (!table)
        return NULL;
    if (to)
        vt_dev_write(dev, to, table, bytes);
    return to;
}

static size_t place_tables(vt_device_map *copy, vt_dev *dev)
{
    const vt_attention_map *host = copy->host;
    const size_t entry = sizeof(int32_t), tokens = (size_t)host->tokens * entry;
    const size_t places = (size_t)host->places;
    size_t at = 0, pads = 0;
    for (int64_t i = 0; i < host->n_groups; i++)
        if ((size_t)(host->groups[i].first_pad + host->groups[i].n_pads) > pads)
            pads = (size_t)(host->groups[i].first_pad + host->groups[i].n_pads);
    copy->map = *host;
    copy->map.groups =
        place(copy, dev, host->groups, (size_t)host->n_groups * sizeof *host->groups, &at);
    copy->map.token = place(copy, dev, host->token, tokens, &at);
    copy->map.place = place(copy, dev, host->place, tokens, &at);
    copy->map.pad_place = place(copy, dev, host->pad_place, pads * entry, &at);
    copy->map.bias_row = place(copy, dev, host->bias_row, places * places * entry, &at);
    return at;
}

vt_status vt_device_map_init(vt_device_map *copy, vt_dev *dev, const vt_attention_map *host,
                             vt_error *err)
{
    *copy = (vt_device_map){.host = host};
    copy->size_bytes = place_tables(copy, dev);
    copy->block = vt_dev_alloc(dev, copy->size_bytes);
    if (!copy->block)
        return vt_fail(err, VT_ERR_NOMEM, "no memory for the tables of an attention's windows");
    place_tables(copy, dev);
    return VT_OK;
}

void vt_device_map_release(vt_device_map *copy, vt_dev *dev)
{
    vt_dev_release(dev, copy->block, copy->size_bytes);
    *copy = (vt_device_map){0};
}
