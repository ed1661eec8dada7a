#include "base/mem.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>

static atomic_uint_fast64_t n_allocations; /* counters of the allocator itself */
static uint64_t fail_at;
static int fail_onwards;

static int allowed(void)
{
    uint64_t number = atomic_fetch_add(&n_allocations, 1) + 1;
    if (fail_at == 0)
        return 1;
    return fail_onwards ? number < fail_at : number != fail_at;
}

void *vt_calloc(size_t n, size_t size)
{
    return allowed() ? calloc(n ? n : 1, size ? size : 1) : NULL;
}

void *vt_realloc(void *block, size_t n, size_t size)
{
    size_t bytes;
    if (!allowed() || __builtin_mul_overflow(n, size, &bytes))
        return NULL;
    return realloc(block, bytes ? bytes : 1);
}

char *vt_strdup(const char *text)
{
    size_t size = strlen(text) + 1;
    char *copy = vt_calloc(size, 1);
    if (copy)
        memcpy(copy, text, size);
    return copy;
}

void vt_free(void *block)
{
    free(block);
}

void *vt_block_alloc(size_t size_bytes)
{
    if (!allowed())
        return NULL;
    void *block = mmap(NULL, size_bytes ? size_bytes : 1, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return block == MAP_FAILED ? NULL : block;
}

void vt_block_free(void *block, size_t size_bytes)
{
    if (block)
        munmap(block, size_bytes ? size_bytes : 1);
}

uint64_t vt_mem_count(void)
{
    return atomic_load(&n_allocations);
}

int64_t vt_mem_peak_bytes(void)
{
    struct rusage usage;
    return getrusage(RUSAGE_SELF, &usage) == 0 ? (int64_t)usage.ru_maxrss * 1024 : 0;
}

void vt_mem_fail_at(uint64_t at, int from_then_on)
{
    fail_at = at ? vt_mem_count() + at : 0;
    fail_onwards = from_then_on;
}
