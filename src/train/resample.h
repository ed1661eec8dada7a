/*
 * Tables of positions for another size: what timm does with the tables of a file when the model's
 * grid or window has another side. All tables are square, row by row; sums are in double.
 */
#ifndef VT_TRAIN_RESAMPLE_H
#define VT_TRAIN_RESAMPLE_H

#include <stdint.h>

/*
 * Absolute positions, (side^2, width) each: bicubic (a = -0.5) with the pixels' centres aligned and
 * the filter widened by the factor of reduction, weights normalised where the grid ends. As timm's
 * resample_abs_pos_embed (PyTorch's bicubic interpolation with antialias).
 */
void vt_resample_positions(const float *from, int64_t from_side, float *to, int64_t to_side,
                           int64_t width);

/*
 * Relative-position biases, (side^2, heads) each with side = 2 window - 1: the file's distances lie
 * in a geometric progression that reaches the new window's end, and biases in between are linear in
 * both directions. As timm's resize_rel_pos_bias_table (from BEiT).
 */
void vt_resample_biases(const float *from, int64_t from_side, float *to, int64_t to_side,
                        int64_t heads);

#endif
