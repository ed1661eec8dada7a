/*
 * A device: a backend's kernel table, its threads or stream, and its memory. Addresses of device
 * memory are only for kernels; the host reads and writes through the functions below, in the order
 * of the calls.
 *
 * CPU: OpenBLAS is loaded here, after its kernel family was pinned to Haswell and its threads to
 * one (set later it has no effect), and version, family and threading are read back. Called from
 * inside the chunks of a fixed grid, single-threaded, it gives the same bits at any thread count
 * and on every AVX2 machine.
 */
#ifndef VT_DEVICE_H
#define VT_DEVICE_H

#include "base/pool.h"
#include "base/status.h"
#include "kernels/kernels.h"

typedef struct vt_device_info {
    const char *backend; /* "cpu", "cuda" */
    const char *kernels; /* "avx2" or "avx512": equal bits; "cuda sm_90" */
    char device[128];    /* a GPU's name, or empty */
    char blas[128];      /* as the library describes itself: version, threading, kernel family */
    int threads;
} vt_device_info;

/* device: "cpu", "cuda", or "auto": a GPU if one can be used, else the CPU, said in the log. Not in
 * this build, or no driver or GPU: VT_ERR_HELPER.
 * threads: 0 = all cores given to the process. Environment VITRINE_KERNELS=avx2|avx512 forces a
 * kernel width; VITRINE_CHUNK_ORDER=N, for tests, lets the threads take the chunks of every grid in
 * an order made from N (see vt_pool_shuffle), which may not change a bit. No AVX2, no OpenBLAS or
 * one that cannot be pinned: VT_ERR_HELPER. */
vt_status vt_dev_new(vt_dev **dev, const char *device, int threads, vt_error *err);
void vt_dev_free(vt_dev *dev);
const vt_kernels *vt_dev_kernels(const vt_dev *dev);
const vt_device_info *vt_dev_info(const vt_dev *dev);
/* A table of the CPU, for sizes where there is no device. */
const vt_kernels *vt_dev_cpu_kernels(void);
/* The CPU threads, also for host work such as loading batches. */
vt_pool *vt_dev_pool(vt_dev *dev);

/* Memory of the device, zeroed, aligned to 64 bytes. NULL if there is none. */
void *vt_dev_alloc(vt_dev *dev, size_t size_bytes);
void vt_dev_release(vt_dev *dev, void *block, size_t size_bytes);
void vt_dev_write(vt_dev *dev, void *to, const void *from_host, size_t size_bytes);
void vt_dev_read(vt_dev *dev, void *to_host, const void *from, size_t size_bytes);

/* A read that the host does not wait for. It takes place in the order of the calls, into memory of
 * the host that was taken for it (zeroed; NULL: none); what is there may be used once vt_dev_wait
 * was called with the fetch's number or a later one, and the memory released only then. */
void *vt_dev_host_alloc(vt_dev *dev, size_t size_bytes);
void vt_dev_host_release(vt_dev *dev, void *block);
uint64_t vt_dev_fetch(vt_dev *dev, void *to_host, const void *from, size_t size_bytes);
void vt_dev_wait(vt_dev *dev, uint64_t fetch);

/* What a device block holds, for the host to read until the next call for this block: on the CPU
 * the block itself, else a copy. NULL: no memory, or no block. */
const void *vt_dev_host_view(vt_dev *dev, const void *block, size_t size_bytes);

/* Whether kernels can be noted and done again: between the first two calls they are noted instead
 * of run, replay runs them as often as wanted. Nothing is read, written or allocated in between. */
bool vt_dev_records(const vt_dev *dev);
void vt_dev_record(vt_dev *dev);
void *vt_dev_recorded(vt_dev *dev);
void vt_dev_replay(vt_dev *dev, void *recording);
void vt_dev_forget(vt_dev *dev, void *recording); /* may be NULL */

/* Scratch memory of one worker, for kernels/cpu (others have none): grown between steps by
 * vt_dev_reserve (the plan calls it with what its kernels need), never inside one. */
vt_status vt_dev_reserve(vt_dev *dev, size_t size_bytes, vt_error *err);
void *vt_dev_worker_scratch(vt_dev *dev, int worker);
size_t vt_dev_reserved(const vt_dev *dev); /* bytes a worker */
/* What one worker needs for attention over this map. */
size_t vt_attention_worker_scratch(const vt_attention_map *map, const vt_attention_sizes *sizes);

#endif
