/*
 * An attention map's tables in device memory: a graph builds them on the host, kernels read them
 * on the device.
 */
#ifndef VT_GRAPH_DEVICE_MAP_H
#define VT_GRAPH_DEVICE_MAP_H

#include "kernels/device.h"

typedef struct vt_device_map {
    const vt_attention_map *host; /* not owned: what it is a copy of */
    vt_attention_map map;         /* for kernels */
    void *block;
    size_t size_bytes;
} vt_device_map;

/* `host` must outlive the copy. */
vt_status vt_device_map_init(vt_device_map *copy, vt_dev *dev, const vt_attention_map *host,
                             vt_error *err);
void vt_device_map_release(vt_device_map *copy, vt_dev *dev);

#endif
