#include "config/store.h"

#include "base/mem.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

struct vt_store_chunk {
    struct vt_store_chunk *next;
    size_t used, size;
    max_align_t bytes[];
};

void *vt_store_take(vt_store *store, size_t size_bytes)
{
    enum { CHUNK = 16384 };
    const size_t unit = sizeof(max_align_t);
    size_t need = (size_bytes + unit - 1) / unit * unit;
    struct vt_store_chunk *chunk = store->chunks;
    if (store->failed)
        return NULL;
    if (!chunk || chunk->size - chunk->used < need) {
        size_t size = need > CHUNK ? need : CHUNK;
        chunk = vt_calloc(1, sizeof *chunk + size);
        if (!chunk) {
            store->failed = true;
            return NULL;
        }
        *chunk = (struct vt_store_chunk){.next = store->chunks, .size = size};
        store->chunks = chunk;
    }
    void *block = (char *)chunk->bytes + chunk->used;
    chunk->used += need;
    return block;
}

char *vt_store_text(vt_store *store, const char *bytes, size_t size)
{
    char *copy = vt_store_take(store, size + 1);
    if (copy && size)
        memcpy(copy, bytes, size);
    return copy;
}

char *vt_store_printf(vt_store *store, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int size = vsnprintf(NULL, 0, format, args);
    va_end(args);
    char *text = vt_store_take(store, (size_t)size + 1);
    if (text) {
        va_start(args, format);
        vsnprintf(text, (size_t)size + 1, format, args);
        va_end(args);
    }
    return text;
}

void vt_store_release(vt_store *store)
{
    while (store->chunks) {
        struct vt_store_chunk *next = store->chunks->next;
        vt_free(store->chunks);
        store->chunks = next;
    }
    *store = (vt_store){0};
}
