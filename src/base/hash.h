/* SHA-256 (through libcrypto) and CRC-32 (through zlib). */
#ifndef VT_BASE_HASH_H
#define VT_BASE_HASH_H

#include <stddef.h>
#include <stdint.h>

enum { VT_SHA256_SIZE = 32, VT_SHA256_HEX_SIZE = 65 };

typedef struct vt_sha256 {
    void *context;
} vt_sha256;

/* A running hash: start, add any number of times, finish (which releases it). A library failure is
 * fatal (exit 70): it can only mean that libcrypto is broken. */
void vt_sha256_init(vt_sha256 *hash);
void vt_sha256_add(vt_sha256 *hash, const void *bytes, size_t size);
void vt_sha256_finish(vt_sha256 *hash, uint8_t digest[VT_SHA256_SIZE]);

/* Hash of one block. */
void vt_sha256_of(const void *bytes, size_t size, uint8_t digest[VT_SHA256_SIZE]);
/* Lower-case hexadecimal form, terminated. */
void vt_sha256_hex(const uint8_t digest[VT_SHA256_SIZE], char hex[VT_SHA256_HEX_SIZE]);

uint32_t vt_crc32(uint32_t crc, const void *bytes, size_t size);

#endif
