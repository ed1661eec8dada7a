/* The processor as a device: OpenBLAS beside our own kernels, and scratch memory for each thread.
 */
#include "base/mem.h"
#include "kernels/backend.h"
#include "kernels/blas.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* kernels/cpu/table.c, compiled for each width */
extern const vt_kernels vt_avx2_table, vt_avx512_table;

typedef struct cpu {
    vt_blas blas;
    unsigned char *scratch; /* a block for each thread, one after the other */
    size_t reserved;        /* bytes of a block */
    int threads;
} cpu;

enum { SCRATCH_ALIGN = 4096, LARGE_PAGE = 2 << 20 };

const vt_kernels *vt_dev_cpu_kernels(void)
{
    return &vt_avx2_table;
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

static vt_status open_cpu(void **state, vt_device_info *info, const vt_kernels **kernels,
                          vt_error *err)
{
    vt_status status = choose_kernels(kernels, err);
    cpu *c = status == VT_OK ? vt_calloc(1, sizeof *c) : NULL;
    if (status == VT_OK && c == NULL)
        status = vt_fail(err, VT_ERR_NOMEM, "no memory for the device");
    if (status == VT_OK)
        status = vt_blas_open(&c->blas, NULL, err);
    if (status != VT_OK) {
        vt_free(c);
        return status;
    }
    c->threads = info->threads;
    memcpy(info->blas, c->blas.about, sizeof info->blas);
    *state = c;
    return VT_OK;
}

static void close_cpu(void *state)
{
    cpu *c = state;
    if (c->scratch != NULL)
        vt_block_free(c->scratch, c->reserved * (size_t)c->threads);
    vt_blas_close(&c->blas);
    vt_free(c);
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

static void *alloc_memory(void *state, size_t size_bytes)
{
    (void)state;
    return alloc_block(size_bytes);
}

static void release_memory(void *state, void *block, size_t size_bytes)
{
    (void)state;
    vt_block_free(block, size_bytes);
}

static void copy(void *state, void *to, const void *from, size_t size_bytes)
{
    (void)state;
    memcpy(to, from, size_bytes);
}

static const void *view(void *state, const void *block, size_t size_bytes)
{
    (void)state;
    (void)size_bytes;
    return block;
}

const vt_backend vt_cpu_backend = {.name = "cpu",
                                   .open = open_cpu,
                                   .close = close_cpu,
                                   .alloc = alloc_memory,
                                   .release = release_memory,
                                   .write = copy,
                                   .read = copy,
                                   .host_view = view};

const vt_blas *vt_dev_blas(const vt_dev *dev)
{
    const cpu *c = vt_dev_state(dev);
    return &c->blas;
}

static bool on_cpu(const vt_dev *dev)
{
    return strcmp(vt_dev_info(dev)->backend, vt_cpu_backend.name) == 0;
}

vt_status vt_dev_reserve(vt_dev *dev, size_t size_bytes, vt_error *err)
{
    if (!on_cpu(dev))
        return VT_OK;
    cpu *c = vt_dev_state(dev);
    const size_t threads = (size_t)c->threads;
    const bool fits = size_bytes <= SIZE_MAX / threads - SCRATCH_ALIGN;
    const size_t block =
        fits ? (size_bytes + SCRATCH_ALIGN - 1) / SCRATCH_ALIGN * SCRATCH_ALIGN : 0;

    if (fits && block <= c->reserved)
        return VT_OK;
    unsigned char *scratch = fits ? alloc_block(block * threads) : NULL;
    if (scratch == NULL)
        return vt_fail(err, VT_ERR_NOMEM,
                       "no memory for the scratch space of %zu threads, %zu "
                       "bytes each",
                       threads, size_bytes);
    if (c->scratch != NULL)
        vt_block_free(c->scratch, c->reserved * threads);
    c->scratch = scratch;
    c->reserved = block;
    return VT_OK;
}

void *vt_dev_worker_scratch(vt_dev *dev, int worker)
{
    const cpu *c = vt_dev_state(dev);
    VT_ASSERT(worker >= 0 && worker < c->threads);
    return c->scratch + (size_t)worker * c->reserved;
}

size_t vt_dev_reserved(const vt_dev *dev)
{
    const cpu *c = vt_dev_state(dev);
    return on_cpu(dev) ? c->reserved : 0;
}
