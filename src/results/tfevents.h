/*
 * The event files that TensorBoard reads.
 *
 *   record   u64 size of the payload, u32 masked CRC-32C of these 8 bytes, payload, u32 masked
 *            CRC-32C of the payload; little-endian
 *   masked   (crc >> 15 | crc << 17) + 0xa282ead8
 *   payload  a message tensorflow.Event: wall_time 1 (double), step 2 (int64), and one of
 *            file_version 3, graph_def 4, summary 5 { value 1 { tag 1, simple_value 2 (float) } }
 *
 * A file begins with the event that says its version.
 */
#ifndef VT_RESULTS_TFEVENTS_H
#define VT_RESULTS_TFEVENTS_H

#include "base/text.h"

#include <stdbool.h>
#include <stdint.h>

/* CRC-32C (Castagnoli: polynomial 0x1edc6f41, reflected), not masked. */
uint32_t vt_crc32c(const void *bytes, size_t size);

/* These append a record to the file's text; times are Unix time in seconds. */
void vt_tfevents_version(vt_text *file, double wall_s);
/* `graph` is a GraphDef (graph/graphdef.h). */
void vt_tfevents_graph(vt_text *file, double wall_s, const vt_text *graph);
typedef struct vt_tfevents_scalar {
    const char *tag;
    double value; /* stored as a float */
} vt_tfevents_scalar;
/* One event with n values. */
void vt_tfevents_scalars(vt_text *file, double wall_s, int64_t step,
                         const vt_tfevents_scalar *scalar, int n);

/* Bytes of the record at the beginning of `bytes`; 0 if it is not whole or not undamaged. */
size_t vt_tfevents_record(const uint8_t *bytes, size_t size);
/* Do two whole records hold the same, whatever their times? */
bool vt_tfevents_same(const uint8_t *a, size_t a_size, const uint8_t *b, size_t b_size);

#endif
