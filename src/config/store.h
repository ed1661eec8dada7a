/* Memory that is only released as a whole: everything a configuration owns. */
#ifndef VT_CONFIG_STORE_H
#define VT_CONFIG_STORE_H

#include <stdbool.h>
#include <stddef.h>

typedef struct vt_store {
    struct vt_store_chunk *chunks;
    bool failed; /* an allocation failed; every later request returns NULL too */
} vt_store;

/* Zeroed, aligned for any type; NULL when there is no memory. Start with {0}. */
void *vt_store_take(vt_store *store, size_t size_bytes);
/* A terminated copy of `size` bytes. */
char *vt_store_text(vt_store *store, const char *bytes, size_t size);
char *vt_store_printf(vt_store *store, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
void vt_store_release(vt_store *store);

#endif
