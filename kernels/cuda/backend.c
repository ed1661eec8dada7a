/* The CUDA backend: its memory and its table of kernels. */
#include "kernels/backend.h"

#include "base/mem.h"
#include "kernels/cuda/gpu.h"

#include <stdio.h>
#include <string.h>

typedef struct mirror {
    struct mirror *next;
    const void *block;
    void *copy;
} mirror;

typedef struct cuda {
    vt_gpu *gpu;
    mirror *mirrors; /* copies that the host has asked for */
    char kernels[32];
} cuda;

extern const vt_kernels vt_cuda_table;

static vt_status open_cuda(void **state, vt_device_info *info, const vt_kernels **kernels,
                           vt_error *err)
{
    cuda *c = vt_calloc(1, sizeof *c);
    if (c == NULL)
        return vt_fail(err, VT_ERR_NOMEM, "no memory for the device");
    c->gpu = vt_gpu_open(c->kernels, sizeof c->kernels, info->device, sizeof info->device);
    if (c->gpu == NULL) {
        vt_free(c);
        return vt_fail(err, VT_ERR_HELPER, "no NVIDIA GPU can be used: %s", info->device);
    }
    info->kernels = c->kernels;
    *kernels = &vt_cuda_table;
    *state = c;
    return VT_OK;
}

static void drop_mirror(cuda *c, const void *block)
{
    for (mirror **m = &c->mirrors; *m != NULL; m = &(*m)->next)
        if ((*m)->block == block) {
            mirror *gone = *m;
            *m = gone->next;
            vt_free(gone->copy);
            vt_free(gone);
            return;
        }
}

static void close_cuda(void *state)
{
    cuda *c = state;
    while (c->mirrors != NULL)
        drop_mirror(c, c->mirrors->block);
    vt_gpu_close(c->gpu);
    vt_free(c);
}

static void *alloc_memory(void *state, size_t size_bytes)
{
    cuda *c = state;
    return vt_gpu_alloc(c->gpu, size_bytes);
}

static void release_memory(void *state, void *block, size_t size_bytes)
{
    cuda *c = state;
    (void)size_bytes;
    drop_mirror(c, block);
    vt_gpu_release(c->gpu, block);
}

static void write_memory(void *state, void *to, const void *from_host, size_t size_bytes)
{
    cuda *c = state;
    vt_gpu_write(c->gpu, to, from_host, size_bytes);
}

static void read_memory(void *state, void *to_host, const void *from, size_t size_bytes)
{
    cuda *c = state;
    vt_gpu_read(c->gpu, to_host, from, size_bytes);
}

static const void *view_memory(void *state, const void *block, size_t size_bytes)
{
    cuda *c = state;
    mirror *m = c->mirrors;
    while (m != NULL && m->block != block)
        m = m->next;
    if (m == NULL) {
        m = vt_calloc(1, sizeof *m);
        if (m != NULL)
            m->copy = vt_calloc(size_bytes, 1);
        if (m == NULL || m->copy == NULL) {
            vt_free(m);
            return NULL;
        }
        m->block = block;
        m->next = c->mirrors;
        c->mirrors = m;
    }
    vt_gpu_read(c->gpu, m->copy, block, size_bytes);
    return m->copy;
}

static void *alloc_host(void *state, size_t size_bytes)
{
    return vt_gpu_host_alloc(((cuda *)state)->gpu, size_bytes);
}

static void release_host(void *state, void *block)
{
    vt_gpu_host_release(((cuda *)state)->gpu, block);
}

static uint64_t fetch(void *state, void *to_host, const void *from, size_t size_bytes)
{
    return vt_gpu_fetch(((cuda *)state)->gpu, to_host, from, size_bytes);
}

static void wait_for(void *state, uint64_t number)
{
    vt_gpu_wait(((cuda *)state)->gpu, number);
}

static void record(void *state)
{
    vt_gpu_record(((cuda *)state)->gpu);
}

static void *recorded(void *state)
{
    return vt_gpu_recorded(((cuda *)state)->gpu);
}

static void replay(void *state, void *recording)
{
    vt_gpu_replay(((cuda *)state)->gpu, recording);
}

static void forget(void *state, void *recording)
{
    vt_gpu_forget(((cuda *)state)->gpu, recording);
}

const vt_backend vt_cuda_backend = {.name = "cuda",
                                    .open = open_cuda,
                                    .close = close_cuda,
                                    .alloc = alloc_memory,
                                    .release = release_memory,
                                    .write = write_memory,
                                    .read = read_memory,
                                    .host_view = view_memory,
                                    .host_alloc = alloc_host,
                                    .host_release = release_host,
                                    .fetch = fetch,
                                    .wait = wait_for,
                                    .record = record,
                                    .recorded = recorded,
                                    .replay = replay,
                                    .forget = forget};

vt_gpu *vt_dev_gpu(vt_dev *d)
{
    const cuda *c = vt_dev_state(d);
    return c->gpu;
}
