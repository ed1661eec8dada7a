#include "base/hash.h"

#include "base/status.h"

#include <openssl/evp.h>
#include <stdio.h>
#include <zlib.h>

void vt_sha256_init(vt_sha256 *hash)
{
    hash->context = EVP_MD_CTX_new();
    VT_ASSERT(hash->context && EVP_DigestInit_ex(hash->context, EVP_sha256(), NULL) == 1);
}

void vt_sha256_add(vt_sha256 *hash, const void *bytes, size_t size)
{
    VT_ASSERT(EVP_DigestUpdate(hash->context, bytes, size) == 1);
}

void vt_sha256_finish(vt_sha256 *hash, uint8_t digest[VT_SHA256_SIZE])
{
    unsigned size = 0;
    VT_ASSERT(EVP_DigestFinal_ex(hash->context, digest, &size) == 1 && size == VT_SHA256_SIZE);
    EVP_MD_CTX_free(hash->context);
    hash->context = NULL;
}

void vt_sha256_of(const void *bytes, size_t size, uint8_t digest[VT_SHA256_SIZE])
{
    vt_sha256 hash;
    vt_sha256_init(&hash);
    vt_sha256_add(&hash, bytes, size);
    vt_sha256_finish(&hash, digest);
}

void vt_sha256_hex(const uint8_t digest[VT_SHA256_SIZE], char hex[VT_SHA256_HEX_SIZE])
{
    for (int i = 0; i < VT_SHA256_SIZE; i++)
        snprintf(hex + 2 * i, 3, "%02x", digest[i]);
}

uint32_t vt_crc32(uint32_t crc, const void *bytes, size_t size)
{
    return (uint32_t)crc32_z(crc, bytes, size);
}
