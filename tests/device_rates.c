/*
 * What a device can do through its kernels: ceilings to hold a training step against.
 *   device_rates DEVICE [SIDE [MIB]]     cpu or cuda; defaults 8192, 1024
 * Prints JSON: flop a second of a product of SIDE x SIDE matrices in each type, and bytes read and
 * written a second by a copy of MIB MiB. On numbers that are not zeros: products of zeros are
 * faster.
 */
#include "base/clock.h"
#include "base/mem.h"
#include "base/rng.h"
#include "base/status.h"
#include "kernels/bf16.h"
#include "kernels/device.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TRIES = 7, SIDE = 8192, MIB = 1024 };

static vt_dev *dev;
static int64_t side, copied; /* bytes */
static void *memory[4];      /* result, factors, scratch */

static void multiply(vt_dtype type)
{
    vt_dev_kernels(dev)->linear_fwd(dev, (vt_buf){memory[0], type}, (vt_buf){memory[1], type},
                                    (vt_buf){memory[2], type}, (vt_buf){0}, side, side, side,
                                    memory[3]);
}

static void copy(vt_dtype type)
{
    vt_dev_kernels(dev)->activation_fwd(dev, (vt_buf){memory[0], type}, (vt_buf){memory[1], type},
                                        copied / (int64_t)vt_dtype_size(type), VT_ACT_NONE);
}

/* Seconds that one call takes: the best of a few rows of calls. The first row is colder. */
static double seconds_of(void (*call)(vt_dtype), vt_dtype type)
{
    double best = 0;
    float wait;
    for (int t = 0, calls = 1; t < TRIES; t++) {
        const double start = vt_clock_s();
        for (int i = 0; i < calls; i++)
            call(type);
        vt_dev_read(dev, &wait, memory[0], sizeof wait);
        const double each = (vt_clock_s() - start) / calls;
        if (t > 0 && (best == 0 || each < best))
            best = each;
        if (t == 0)
            calls = each > 0.1 ? 1 : 10;
    }
    return best;
}

static void fill_factors(size_t bytes)
{
    const vt_rng rng = vt_rng_at(0, VT_STREAM_TEST, 0, 0, 0);
    uint16_t *halves = vt_calloc(bytes, 1);
    /* As floats, pairs of bfloat16: numbers of the same size in either reading. */
    for (size_t i = 0; halves && i < bytes / sizeof *halves; i++)
        halves[i] = vt_bf16_of_float(vt_rng_uniform(&rng, i) - 0.5F);
    for (int m = 1; halves && m < 3; m++)
        vt_dev_write(dev, memory[m], halves, bytes);
    vt_free(halves);
}

int main(int argc, char **argv)
{
    vt_error err = {0};
    const char *device = argc > 1 ? argv[1] : "cuda";
    side = argc > 2 ? atoi(argv[2]) : SIDE;
    copied = (int64_t)(argc > 3 ? atoi(argv[3]) : MIB) << 20;
    if (side < 1 || copied < 1) {
        fprintf(stderr, "usage: device_rates DEVICE [SIDE [MIB]]\n");
        return 64;
    }
    if (vt_dev_new(&dev, device, 0, &err) != VT_OK) {
        fprintf(stderr, "device_rates: %s\n", err.text);
        return 69;
    }
    const size_t matrix = (size_t)(side * side) * sizeof(float);
    const size_t block = matrix > (size_t)copied ? matrix : (size_t)copied;
    const size_t scratch = vt_dev_kernels(dev)->linear_scratch(side, side, side, false);
    for (int i = 0; i < 4; i++)
        if (!(memory[i] = vt_dev_alloc(dev, i < 3 ? block : scratch + 1)) ||
            vt_dev_reserve(dev, vt_linear_worker_scratch(), &err) != VT_OK) {
            fprintf(stderr, "device_rates: no memory for four blocks of %zu bytes\n", block);
            return 71;
        }
    fill_factors(block);
    const vt_device_info *info = vt_dev_info(dev);
    const double flop = 2.0 * (double)side * (double)side * (double)side;
    printf("{\"device\": \"%s\", \"kernels\": \"%s\", \"side\": %lld, \"product_flops\": "
           "{\"fp32\": %.4g",
           info->device, info->kernels, (long long)side, flop / seconds_of(multiply, VT_F32));
    if (strcmp(device, "cpu") != 0) /* the CPU computes in fp32 alone */
        printf(", \"tf32\": %.4g, \"bf16\": %.4g", flop / seconds_of(multiply, VT_TF32),
               flop / seconds_of(multiply, VT_BF16));
    printf("}, \"copy_bytes\": %.4g}\n", 2 * (double)copied / seconds_of(copy, VT_F32));
    for (int i = 0; i < 4; i++)
        vt_dev_release(dev, memory[i], i < 3 ? block : scratch + 1);
    vt_dev_free(dev);
    return 0;
}
