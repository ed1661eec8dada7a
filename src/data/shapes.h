/*
 * `shapes`: a generated data set in CIFAR's format, for machines without any files.
 *
 * Ten classes: five figures, each with its texture, in warm or in cool colours.
 *
 *     disc       upright stripes
 *     ring       level stripes
 *     square     checks
 *     triangle   diagonal stripes, rising or falling
 *     cross      dots
 *
 * Place, size, rotation, tilt and phase of the texture, exact colours and the background are
 * random; pieces of clutter lie below and above the figure; noise covers all. A linear model sees
 * little but the tone and nearest neighbours little more, while a small transformer learns the
 * textures within a few epochs. No class changes when an image is mirrored. About one image in
 * VT_SHAPES_STRAY shows a figure of a random class instead of its label's, so that the best
 * possible test accuracy is near 1 - 0.9 / VT_SHAPES_STRAY.
 *
 * Integers and the generator's own cosine throughout: the same bytes on every machine.
 */
#ifndef VT_DATA_SHAPES_H
#define VT_DATA_SHAPES_H

#include <stdbool.h>
#include <stdint.h>

enum {
    VT_SHAPES_TRAIN = 10000,
    VT_SHAPES_TEST = 2000,
    VT_SHAPES_SIDE = 32,
    VT_SHAPES_CLASSES = 10,
    VT_SHAPES_STRAY = 40
};

/* "warm disc", "cool disc", "warm ring", ... (VT_SHAPES_CLASSES) */
extern const char *const vt_shapes_names[VT_SHAPES_CLASSES];

/* The label of image `number` of the training or the test stream. Each run of ten images that
 * starts at a multiple of ten holds every class once. */
int vt_shapes_label(uint64_t seed, bool test, uint32_t number);

/* Draws that image: bytes (32, 32, 3). Training and test images draw from different layers of the
 * generator's stream, so no number is used twice. */
void vt_shapes_draw(uint64_t seed, bool test, uint32_t number, uint8_t *image);

#endif
