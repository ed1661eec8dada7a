#include "train/selftest.h"

#include "base/hash.h"
#include "base/rng.h"
#include "kernels/device.h"
#include "train/fingerprint.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct selftest {
    vt_selftest_visit *visit;
    void *arg;
    bool good;
};

static void say(struct selftest *t, const char *name, bool good, const char *found)
{
    t->good = t->good && good;
    t->visit(t->arg, name, good, found);
}

/* FIPS 180-4, two blocks; the check value of CRC-32 (ISO-HDLC). */
static void check_hashes(struct selftest *t)
{
    static const char text[] = "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq";
    uint8_t digest[VT_SHA256_SIZE];
    char hex[VT_SHA256_HEX_SIZE], crc[16];
    vt_sha256_of(text, sizeof text - 1, digest);
    vt_sha256_hex(digest, hex);
    say(t, "SHA-256",
        strcmp(hex, "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1") == 0, hex);
    snprintf(crc, sizeof crc, "%08x", vt_crc32(0, "123456789", 9));
    say(t, "CRC-32", strcmp(crc, "cbf43926") == 0, crc);
}

/* The vectors that came with the generator's paper: key and counter all ones. */
static void check_generator(struct selftest *t)
{
    const uint32_t key[2] = {UINT32_MAX, UINT32_MAX};
    const uint32_t counter[4] = {UINT32_MAX, UINT32_MAX, UINT32_MAX, UINT32_MAX};
    uint32_t word[4];
    char found[40];
    vt_philox(key, counter, word);
    snprintf(found, sizeof found, "%08x%08x%08x%08x", word[0], word[1], word[2], word[3]);
    say(t, "Philox4x32-10", strcmp(found, "408f276d41c83b0ea20bc7c66d5451fd") == 0, found);
}

static vt_status check_steps(struct selftest *t, const char *width, int threads, const char *order,
                             vt_error *err)
{
    char name[80], hex[VT_SHA256_HEX_SIZE];
    vt_error reason = {0};
    vt_dev *dev = NULL;
    snprintf(name, sizeof name, "training steps, %s kernels, %d thread%s%s", width, threads,
             threads == 1 ? "" : "s", *order != '0' ? ", shuffled work" : "");
    setenv("VITRINE_KERNELS", width, 1);
    setenv("VITRINE_CHUNK_ORDER", order, 1);
    vt_status status = vt_dev_new(&dev, "cpu", threads, &reason);
    if (status == VT_ERR_HELPER && strcmp(width, "avx512") == 0) {
        say(t, name, true, "left out: this processor has none");
        return VT_OK;
    }
    if (status == VT_OK)
        status = vt_fingerprint(dev, VT_F32, hex, &reason);
    if (status == VT_OK && threads == 1 && strcmp(width, "avx2") == 0)
        say(t, "OpenBLAS", strstr(vt_dev_info(dev)->blas, "Haswell") != NULL,
            vt_dev_info(dev)->blas);
    if (status == VT_OK)
        say(t, name, strcmp(hex, VT_NUMERICS_KNOWN) == 0, hex);
    else if (status != VT_ERR_NOMEM)
        say(t, name, false, reason.text);
    vt_dev_free(dev);
    return status == VT_ERR_NOMEM ? vt_fail(err, status, "%s", reason.text) : VT_OK;
}

/* Puts a variable back as it was. */
static void restore(const char *name, const char *value)
{
    if (value)
        setenv(name, value, 1);
    else
        unsetenv(name);
}

vt_status vt_selftest(vt_selftest_visit *visit, void *arg, vt_error *err)
{
    static const char *const names[] = {"VITRINE_KERNELS", "VITRINE_CHUNK_ORDER"};
    static const struct {
        const char *width;
        int threads;
        const char *order;
    } cases[] = {{"avx2", 1, "0"}, {"avx2", 3, "7"}, {"avx512", 1, "0"}, {"avx512", 3, "7"}};
    struct selftest t = {visit, arg, true};
    char saved[2][64];
    const char *before[2];
    vt_status status = VT_OK;
    for (int i = 0; i < 2; i++) {
        before[i] = getenv(names[i]);
        snprintf(saved[i], sizeof saved[i], "%s", before[i] ? before[i] : "");
    }
    check_hashes(&t);
    check_generator(&t);
    for (size_t i = 0; i < sizeof cases / sizeof *cases && status == VT_OK; i++)
        status = check_steps(&t, cases[i].width, cases[i].threads, cases[i].order, err);
    for (int i = 0; i < 2; i++)
        restore(names[i], before[i] ? saved[i] : NULL);
    return status != VT_OK ? status : t.good ? VT_OK : VT_NO;
}
