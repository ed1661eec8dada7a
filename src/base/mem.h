/*
 * Memory. Every heap block of the program's own code comes from here, so that tests can count
 * allocations (none happen inside the training loop) and make any one of them fail.
 */
#ifndef VT_BASE_MEM_H
#define VT_BASE_MEM_H

#include <stddef.h>
#include <stdint.h>

/* Zeroed block of n * size bytes, or NULL (no memory, or the product overflows). */
void *vt_calloc(size_t n, size_t size);
/* As realloc for n * size bytes; new bytes are not cleared. NULL leaves the old block alone. */
void *vt_realloc(void *block, size_t n, size_t size);
char *vt_strdup(const char *text);
void vt_free(void *block);

/* One large zeroed block aligned to 64 bytes, for arenas; pages are touched on first use only. */
void *vt_block_alloc(size_t size_bytes);
void vt_block_free(void *block, size_t size_bytes);

/* Number of allocations made so far by the functions above. */
uint64_t vt_mem_count(void);
/* Largest resident size of the process so far. */
int64_t vt_mem_peak_bytes(void);
/* Tests: let allocation number `at` (counted from now, 1 is the next) fail; with `from_then_on`
 * every later one too. 0 switches this off. */
void vt_mem_fail_at(uint64_t at, int from_then_on);

#endif
