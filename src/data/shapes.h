/*
 * `shapes`: a generated data set in CIFAR's format, for machines without any files.
 *
 * Ten classes: five figures (disc, ring, square, triangle, cross), each with two textures (stripes,
 * checks). Place, size, rotation, colours, and the background are random; pieces of clutter lie
 * below and above the figure; noise covers all. Colours say nothing about the class, so a linear
 * model on pixels learns next to nothing. One image in VT_SHAPES_STRAY shows a figure of a random
 * class rather than that of its label, which keeps any honest model below 99 %.
 *
 * Integer arithmetic throughout: the same bytes on every machine.
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

/* "striped disc", "checked disc", "striped ring", ... */
const char *const *vt_shapes_names(void);

/* The label of image `number` of the training or test stream. Each run of ten images that starts
 * at a multiple of ten holds every class once. */
int vt_shapes_label(uint64_t seed, bool test, uint32_t number);

/* Draws that image: bytes (32, 32, 3). A function of (seed, test, number). */
void vt_shapes_draw(uint64_t seed, bool test, uint32_t number, uint8_t *image);

#endif
