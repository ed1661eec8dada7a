#include "kernels/backend.h"

#include "base/log.h"
#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

struct vt_dev {
    const vt_backend *backend;
    void *state;
    vt_pool *pool;
    const vt_kernels *kernels;
    vt_device_info info;
};

size_t vt_dtype_size(vt_dtype type)
{
    switch (type) {
    case VT_F32:
    case VT_TF32:
        return sizeof(float);
    case VT_BF16:
        return sizeof(uint16_t);
    case VT_I32:
        return sizeof(int32_t);
    case VT_F64:
        return sizeof(double);
    }
    VT_ASSERT(false);
    return 0;
}

int64_t vt_row_chunks(int64_t rows)
{
    int64_t chunks = (rows + 31) / 32;
    return chunks < 1 ? 1 : chunks > 16 ? 16 : chunks;
}

size_t vt_layernorm_scratch(int64_t rows, int64_t cols)
{
    return (size_t)(2 * vt_row_chunks(rows) * cols) * sizeof(float);
}

/* Two sums a column in double from each chunk, and three coefficients a column. */
size_t vt_batchnorm_scratch(int64_t rows, int64_t cols)
{
    return (size_t)cols * ((size_t)vt_row_chunks(rows) * 2 * sizeof(double) + 3 * sizeof(float));
}

static uint64_t chunk_order(void)
{
    const char *seed = getenv("VITRINE_CHUNK_ORDER");
    return seed ? strtoull(seed, NULL, 10) : 0;
}

static const vt_backend *find_backend(const char *name)
{
    for (int i = 0; vt_backends[i] != NULL; i++)
        if (strcmp(vt_backends[i]->name, name) == 0)
            return vt_backends[i];
    return NULL;
}

static vt_status open_backend(vt_dev *dev, const char *name, vt_error *err)
{
    dev->backend = find_backend(name);
    if (dev->backend == NULL)
        return vt_fail(
            err, VT_ERR_HELPER,
            "no device '%s': this program was built without the backend for GPUs (a build "
            "that finds the CUDA compiler nvcc has it)",
            name);
    dev->info = (vt_device_info){.backend = name, .threads = vt_pool_threads(dev->pool)};
    vt_status status = dev->backend->open(&dev->state, &dev->info, &dev->kernels, err);
    if (status != VT_OK)
        dev->state = NULL;
    else if (dev->info.kernels == NULL)
        dev->info.kernels = dev->kernels->name;
    return status;
}

vt_status vt_dev_new(vt_dev **result, const char *device, int threads, vt_error *err)
{
    vt_dev *dev = vt_calloc(1, sizeof *dev);
    vt_error reason = {0};
    vt_status status = VT_OK;

    *result = NULL;
    if (dev == NULL)
        return vt_fail(err, VT_ERR_NOMEM, "no memory for the device");
    status = vt_pool_new(&dev->pool, threads, err);
    if (status == VT_OK)
        vt_pool_shuffle(dev->pool, chunk_order());
    if (status == VT_OK && strcmp(device, "auto") == 0) {
        device = vt_cpu_backend.name;
        if (open_backend(dev, "cuda", &reason) != VT_OK)
            vt_log_write(VT_LOG_INFO, "computing on the CPU: %s", reason.text);
    }
    if (status == VT_OK && dev->state == NULL)
        status = open_backend(dev, device, err);
    if (status != VT_OK) {
        vt_dev_free(dev);
        return status;
    }
    *result = dev;
    return VT_OK;
}

void vt_dev_free(vt_dev *dev)
{
    if (dev == NULL)
        return;
    if (dev->state != NULL)
        dev->backend->close(dev->state);
    vt_pool_free(dev->pool);
    vt_free(dev);
}

const vt_kernels *vt_dev_kernels(const vt_dev *dev)
{
    return dev->kernels;
}

const vt_device_info *vt_dev_info(const vt_dev *dev)
{
    return &dev->info;
}

vt_pool *vt_dev_pool(vt_dev *dev)
{
    return dev->pool;
}

void *vt_dev_state(const vt_dev *dev)
{
    return dev->state;
}

void *vt_dev_alloc(vt_dev *dev, size_t size_bytes)
{
    return dev->backend->alloc(dev->state, size_bytes);
}

void vt_dev_release(vt_dev *dev, void *block, size_t size_bytes)
{
    if (block != NULL)
        dev->backend->release(dev->state, block, size_bytes);
}

void vt_dev_write(vt_dev *dev, void *to, const void *from_host, size_t size_bytes)
{
    if (size_bytes > 0)
        dev->backend->write(dev->state, to, from_host, size_bytes);
}

void vt_dev_read(vt_dev *dev, void *to_host, const void *from, size_t size_bytes)
{
    if (size_bytes > 0)
        dev->backend->read(dev->state, to_host, from, size_bytes);
}

void *vt_dev_host_alloc(vt_dev *dev, size_t size_bytes)
{
    const vt_backend *b = dev->backend;
    return b->host_alloc ? b->host_alloc(dev->state, size_bytes) : vt_calloc(size_bytes, 1);
}

void vt_dev_host_release(vt_dev *dev, void *block)
{
    if (block != NULL && dev->backend->host_release != NULL)
        dev->backend->host_release(dev->state, block);
    else
        vt_free(block);
}

uint64_t vt_dev_fetch(vt_dev *dev, void *to_host, const void *from, size_t size_bytes)
{
    if (dev->backend->fetch != NULL)
        return dev->backend->fetch(dev->state, to_host, from, size_bytes);
    vt_dev_read(dev, to_host, from, size_bytes);
    return 0;
}

void vt_dev_wait(vt_dev *dev, uint64_t fetch)
{
    if (dev->backend->wait != NULL)
        dev->backend->wait(dev->state, fetch);
}

bool vt_dev_records(const vt_dev *dev)
{
    return dev->backend->record != NULL;
}

void vt_dev_record(vt_dev *dev)
{
    dev->backend->record(dev->state);
}

void *vt_dev_recorded(vt_dev *dev)
{
    return dev->backend->recorded(dev->state);
}

void vt_dev_replay(vt_dev *dev, void *recording)
{
    dev->backend->replay(dev->state, recording);
}

void vt_dev_forget(vt_dev *dev, void *recording)
{
    if (recording != NULL)
        dev->backend->forget(dev->state, recording);
}

const void *vt_dev_host_view(vt_dev *dev, const void *block, size_t size_bytes)
{
    return block ? dev->backend->host_view(dev->state, block, size_bytes) : NULL;
}
