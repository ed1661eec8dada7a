/* The emulated GPU: memory of the processor, products by OpenBLAS, recordings as lists. */
#include "kernels/cuda/gpu.h"

#include "lanes.h"
#include "matmul.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct noted {
    noted *next;
    void (*run)(const noted *);
    const char *name;
    dim3 blocks;
    unsigned threads;
    size_t shared;
    void (*body)(const void *);
    void *data;
    size_t size;
    vt_matmul product;
};

/* A fetch that nobody has waited for: its bytes, and where they will be seen. */
struct fetched {
    fetched *next;
    uint64_t number;
    void *to, *bytes;
    size_t size;
};

struct vt_gpu {
    bool recording;
    void *answer;
    noted *first, **last;
    fetched *oldest, **newest;
    uint64_t n_fetches;
};

extern "C" {

vt_gpu *vt_gpu_open(char *kernels, size_t kernels_size, char *text, size_t text_size)
{
    vt_gpu *gpu = static_cast<vt_gpu *>(calloc(1, sizeof *gpu));
    const char *absent = getenv("VITRINE_NO_GPU");
    snprintf(kernels, kernels_size, "cuda emulated");
    snprintf(text, text_size, "%s", absent ? "the driver is not there" : "emulated GPU");
    if (absent || !gpu) {
        free(gpu);
        return nullptr;
    }
    gpu->newest = &gpu->oldest;
    return gpu;
}

void vt_gpu_close(vt_gpu *gpu)
{
    vt_gpu_wait(gpu, UINT64_MAX);
    free(gpu->answer);
    free(gpu);
}

void *vt_gpu_answer(vt_gpu *gpu)
{
    if (!gpu->answer)
        gpu->answer = vt_gpu_alloc(gpu, 256);
    return gpu->answer;
}

void *vt_gpu_alloc(vt_gpu *, size_t size_bytes)
{
    /* Aligned as CUDA aligns; of the exact size, so that its end is watched. */
    void *block = nullptr;
    if (posix_memalign(&block, 256, size_bytes ? size_bytes : 1))
        return nullptr;
    memset(block, 0, size_bytes);
    return block;
}

void vt_gpu_release(vt_gpu *, void *block)
{
    free(block);
}

[[noreturn]] static void stop(const char *what)
{
    fprintf(stderr, "emulated GPU: %s\n", what);
    abort();
}

static noted *note(vt_gpu *gpu)
{
    noted *n = static_cast<noted *>(calloc(1, sizeof *n));
    if (!n)
        stop("no memory for a recording");
    *gpu->last = n;
    gpu->last = &n->next;
    return n;
}

void vt_gpu_write(vt_gpu *gpu, void *to, const void *from_host, size_t size_bytes)
{
    if (gpu->recording)
        stop("a write cannot be recorded");
    memcpy(to, from_host, size_bytes);
}

void vt_gpu_read(vt_gpu *gpu, void *to_host, const void *from, size_t size_bytes)
{
    if (gpu->recording)
        stop("a read cannot be recorded");
    memcpy(to_host, from, size_bytes);
}

void *vt_gpu_host_alloc(vt_gpu *, size_t size_bytes)
{
    return calloc(size_bytes ? size_bytes : 1, 1);
}

void vt_gpu_host_release(vt_gpu *gpu, void *block)
{
    for (fetched *f = gpu->oldest; f; f = f->next)
        if (f->to == block)
            stop("memory is released that a fetch writes to");
    free(block);
}

/* What is fetched is seen by those who wait for it; others see NaN. */
uint64_t vt_gpu_fetch(vt_gpu *gpu, void *to_host, const void *from, size_t size_bytes)
{
    fetched *f = static_cast<fetched *>(calloc(1, sizeof *f));
    if (f)
        f->bytes = malloc(size_bytes);
    if (gpu->recording || !f || !f->bytes)
        stop(gpu->recording ? "a fetch cannot be recorded" : "no memory for a fetch");
    f->number = gpu->n_fetches++;
    f->to = to_host;
    f->size = size_bytes;
    memcpy(f->bytes, from, size_bytes);
    memset(to_host, 0xff, size_bytes);
    *gpu->newest = f;
    gpu->newest = &f->next;
    return f->number;
}

void vt_gpu_wait(vt_gpu *gpu, uint64_t fetch)
{
    while (gpu->oldest && gpu->oldest->number <= fetch) {
        fetched *f = gpu->oldest;
        gpu->oldest = f->next;
        if (!gpu->oldest)
            gpu->newest = &gpu->oldest;
        memcpy(f->to, f->bytes, f->size);
        free(f->bytes);
        free(f);
    }
}

void vt_gpu_clear(vt_gpu *gpu, void *block, size_t size_bytes)
{
    if (!gpu->recording) {
        memset(block, 0, size_bytes);
        return;
    }
    noted *n = note(gpu);
    n->data = block;
    n->size = size_bytes;
    n->run = [](const noted *clear) { memset(clear->data, 0, clear->size); };
}

void vt_gpu_record(vt_gpu *gpu)
{
    gpu->recording = true;
    gpu->first = nullptr;
    gpu->last = &gpu->first;
}

void *vt_gpu_recorded(vt_gpu *gpu)
{
    noted *first = gpu->first;
    gpu->recording = false;
    gpu->first = nullptr;
    return first;
}

void vt_gpu_replay(vt_gpu *, void *recording)
{
    for (const noted *n = static_cast<noted *>(recording); n; n = n->next)
        n->run(n);
}

void vt_gpu_forget(vt_gpu *, void *recording)
{
    for (noted *n = static_cast<noted *>(recording), *next; n; n = next) {
        next = n->next;
        if (n->body)
            free(n->data);
        free(n);
    }
}

void vt_gpu_matmul(vt_gpu *gpu, const vt_matmul *product)
{
    if (!gpu->recording) {
        vt_emulated_matmul(product);
        return;
    }
    noted *n = note(gpu);
    n->product = *product;
    n->run = [](const noted *m) { vt_emulated_matmul(&m->product); };
}
}

void vt_lanes_launch(vt_gpu *gpu, const char *name, dim3 blocks, unsigned threads, size_t shared,
                     void (*body)(const void *), const void *data, size_t data_size)
{
    if (!gpu->recording) {
        vt_lanes_run(name, blocks, threads, shared, body, data);
        return;
    }
    noted *n = note(gpu);
    n->name = name;
    n->blocks = blocks;
    n->threads = threads;
    n->shared = shared;
    n->body = body;
    n->data = malloc(data_size);
    if (!n->data)
        stop("no memory for a recording");
    memcpy(n->data, data, data_size);
    n->run = [](const noted *l) {
        vt_lanes_run(l->name, l->blocks, l->threads, l->shared, l->body, l->data);
    };
}
