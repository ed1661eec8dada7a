/*
 * The host's memory for tests on a GPU (VITRINE_GPU_MANAGED): they hand kernels arrays from the
 * heap, the stack and the program's own data. A GPU that does not reach those by itself is let into
 * them.
 */
#include "port.h"

#include <limits.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { HEAP_BYTES = 1 << 30, STACK_BYTES = 1 << 20, PAGE_BYTES = 4096 };

/* Touched, so that the stack is that deep from now on. */
static void deepen_stack(void)
{
    volatile char room[STACK_BYTES];
    for (size_t i = 0; i < sizeof room; i += PAGE_BYTES)
        room[i] = 0;
}

/* All blocks of the future lie in one heap that is there already. */
static void fix_heap(void)
{
    mallopt(M_ARENA_MAX, 1);
    mallopt(M_MMAP_MAX, 0);
    mallopt(M_TRIM_THRESHOLD, INT_MAX);
    void *volatile block = malloc(HEAP_BYTES); /* not to be left out by the compiler */
    if (!block)
        fprintf(stderr, "vitrine: no heap of %d bytes for the GPU\n", HEAP_BYTES);
    free(block);
}

void vt_gpu_reach_host(void)
{
    static bool done;
    int reaches = 0;
    char line[512], own[400] = "";
    if (done ||
        (cudaDeviceGetAttribute(&reaches, cudaDevAttrPageableMemoryAccess, 0) == cudaSuccess &&
         reaches))
        return;
    done = true;
    fix_heap();
    deepen_stack();
    if (readlink("/proc/self/exe", own, sizeof own - 1) < 0)
        return;
    unsigned long data_end = 0; /* zeroed data has no name and lies behind */
    FILE *maps = fopen("/proc/self/maps", "r");
    while (maps && fgets(line, sizeof line, maps)) {
        unsigned long from, to;
        char rights[8];
        if (sscanf(line, "%lx-%lx %4s", &from, &to, rights) != 3 || strcmp(rights, "rw-p") != 0)
            continue;
        const bool data = strstr(line, own) != NULL || from == data_end;
        if (!data && !strstr(line, "[heap]") && !strstr(line, "[stack]"))
            continue;
        data_end = data ? to : data_end;
        const cudaError_t result =
            cudaHostRegister((void *)from, to - from, cudaHostRegisterDefault);
        if (result != cudaSuccess)
            fprintf(stderr, "vitrine: the GPU is not let into %s: %s\n", line,
                    cudaGetErrorString(result));
    }
    if (maps)
        fclose(maps);
    cudaGetLastError();
}
