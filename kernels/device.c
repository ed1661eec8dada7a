#include "kernels/device.h"

#include "base/mem.h"
#include "kernels/blas.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* kernels/cpu/table.c, compiled for each width */
extern const vt_kernels vt_avx2_table, vt_avx512_table;

struct vt_dev {
    vt_pool *pool;
    vt_blas blas;
    const vt_kernels *kernels;
    vt_device_info info;
    unsigned char *scratch; /* a block for each thread, one after the other */
    size_t reserved;        /* bytes of a block */
};

enum { SCRATCH_ALIGN = 4096, LARGE_PAGE = 2 << 20 };

size_t vt_dtype_size(vt_dtype type)
{
    switch (type) {
    case VT_F32:
        return sizeof(float);
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

/* Two sums a column in double from each chunk, and four coefficients a column. */
size_t vt_batchnorm_scratch(int64_t rows, int64_t cols)
{
    return (size_t)cols * ((size_t)vt_row_chunks(rows) * 2 * sizeof(double) + 4 * sizeof(float));
}

static vt_status choose_kernels(const vt_kernels **kernels, vt_error *err)
{
    const char *forced = getenv("VITRINE_KERNELS");
    __builtin_cpu_init();
    bool has_avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    bool has_avx512 = has_avx2 && __builtin_cpu_supports("avx512f") &&
                      __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
                      __builtin_cpu_supports("avx512vl");

    if (!has_avx2)
        return vt_fail(err, VT_ERR_HELPER,
                       "this processor has no AVX2, which is the least that "
                       "the CPU kernels need");
    *kernels = has_avx512 ? &vt_avx512_table : &vt_avx2_table;
    if (forced == NULL || *forced == '\0')
        return VT_OK;
    if (strcmp(forced, vt_avx2_table.name) == 0) {
        *kernels = &vt_avx2_table;
        return VT_OK;
    }
    if (strcmp(forced, vt_avx512_table.name) != 0)
        return vt_fail(err, VT_ERR_USAGE, "VITRINE_KERNELS=%s is not known: it is %s or %s", forced,
                       vt_avx2_table.name, vt_avx512_table.name);
    if (!has_avx512)
        return vt_fail(err, VT_ERR_HELPER,
                       "VITRINE_KERNELS=%s, but this processor has no AVX-512 "
                       "(F, BW, DQ and VL are needed)",
                       forced);
    return VT_OK;
}

static uint64_t chunk_order(void)
{
    const char *seed = getenv("VITRINE_CHUNK_ORDER");
    return seed ? strtoull(seed, NULL, 10) : 0;
}

vt_status vt_dev_new(vt_dev **result, int threads, vt_error *err)
{
    vt_status status = VT_OK;
    vt_dev *dev = vt_calloc(1, sizeof *dev);

    *result = NULL;
    if (dev == NULL)
        return vt_fail(err, VT_ERR_NOMEM, "no memory for the device");
    if ((status = choose_kernels(&dev->kernels, err)) != VT_OK ||
        (status = vt_blas_open(&dev->blas, NULL, err)) != VT_OK ||
        (status = vt_pool_new(&dev->pool, threads, err)) != VT_OK) {
        vt_dev_free(dev);
        return status;
    }
    vt_pool_shuffle(dev->pool, chunk_order());
    dev->info = (vt_device_info){
        .backend = "cpu", .kernels = dev->kernels->name, .threads = vt_pool_threads(dev->pool)};
    memcpy(dev->info.blas, dev->blas.about, sizeof dev->info.blas);
    *result = dev;
    return VT_OK;
}

void vt_dev_free(vt_dev *dev)
{
    if (dev == NULL)
        return;
    if (dev->scratch != NULL)
        vt_block_free(dev->scratch, dev->reserved * (size_t)dev->info.threads);
    vt_pool_free(dev->pool);
    vt_blas_close(&dev->blas);
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

const vt_blas *vt_dev_blas(const vt_dev *dev)
{
    return &dev->blas;
}

/* A block in large pages where the system has them: kernels stride through it by whole rows, and
 * with small pages every few rows would wait for an address. Advice only: a refusal does no harm.
 */
static void *alloc_block(size_t size_bytes)
{
    void *block = vt_block_alloc(size_bytes);
    if (block != NULL && size_bytes >= LARGE_PAGE)
        madvise(block, size_bytes, MADV_HUGEPAGE);
    return block;
}

void *vt_dev_alloc(vt_dev *dev, size_t size_bytes)
{
    (void)dev;
    return alloc_block(size_bytes);
}

void vt_dev_release(vt_dev *dev, void *block, size_t size_bytes)
{
    (void)dev;
    vt_block_free(block, size_bytes);
}

void vt_dev_write(vt_dev *dev, void *to, const void *from_host, size_t size_bytes)
{
    (void)dev;
    if (size_bytes > 0)
        memcpy(to, from_host, size_bytes);
}

void vt_dev_read(vt_dev *dev, void *to_host, const void *from, size_t size_bytes)
{
    (void)dev;
    if (size_bytes > 0)
        memcpy(to_host, from, size_bytes);
}

vt_status vt_dev_reserve(vt_dev *dev, size_t size_bytes, vt_error *err)
{
    const size_t threads = (size_t)dev->info.threads;
    const bool fits = size_bytes <= SIZE_MAX / threads - SCRATCH_ALIGN;
    const size_t block =
        fits ? (size_bytes + SCRATCH_ALIGN - 1) / SCRATCH_ALIGN * SCRATCH_ALIGN : 0;

    if (fits && block <= dev->reserved)
        return VT_OK;
    unsigned char *scratch = fits ? alloc_block(block * threads) : NULL;
    if (scratch == NULL)
        return vt_fail(err, VT_ERR_NOMEM,
                       "no memory for the scratch space of %zu threads, %zu "
                       "bytes each",
                       threads, size_bytes);
    if (dev->scratch != NULL)
        vt_block_free(dev->scratch, dev->reserved * threads);
    dev->scratch = scratch;
    dev->reserved = block;
    return VT_OK;
}

void *vt_dev_worker_scratch(vt_dev *dev, int worker)
{
    VT_ASSERT(worker >= 0 && worker < dev->info.threads);
    return dev->scratch + (size_t)worker * dev->reserved;
}

size_t vt_dev_reserved(const vt_dev *dev)
{
    return dev->reserved;
}
