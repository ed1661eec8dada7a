/*
 * What a backend is: a kernel table, and memory. device.h is the face of it for everyone above.
 */
#ifndef VT_BACKEND_H
#define VT_BACKEND_H

#include "kernels/device.h"

/* `state` is the backend's own. Writes, reads and kernels take effect in the order of the calls;
 * reads and `sync` wait for all that went before. */
typedef struct vt_backend {
    const char *name;
    vt_status (*open)(void **state, vt_device_info *info, const vt_kernels **kernels,
                      vt_error *err);
    void (*close)(void *state);
    void *(*alloc)(void *state, size_t size_bytes); /* zeroed; NULL: no memory */
    void (*release)(void *state, void *block, size_t size_bytes);
    void (*write)(void *state, void *to, const void *from_host, size_t size_bytes);
    void (*read)(void *state, void *to_host, const void *from, size_t size_bytes);
    /* A block as the host sees it, until the next call for the same block. NULL: no memory. */
    const void *(*host_view)(void *state, const void *block, size_t size_bytes);
    /* vt_dev_host_alloc and what follows it. All NULL: a read is done when it is called, into any
     * memory. */
    void *(*host_alloc)(void *state, size_t size_bytes);
    void (*host_release)(void *state, void *block);
    uint64_t (*fetch)(void *state, void *to_host, const void *from, size_t size_bytes);
    void (*wait)(void *state, uint64_t fetch);
    /* Kernels called between the first two are noted instead of run; `replay` runs them as often
     * as wanted. All NULL: not done by this backend. */
    void (*record)(void *state);
    void *(*recorded)(void *state); /* NULL: no memory */
    void (*replay)(void *state, void *recording);
    void (*forget)(void *state, void *recording);
} vt_backend;

extern const vt_backend vt_cpu_backend;

/* The backends of this build, the CPU first, ended by NULL. */
extern const vt_backend *const vt_backends[];

/* The backend's state of a device, for its kernels. */
void *vt_dev_state(const vt_dev *dev);

#endif
