/*
 * Bilinear resizing of 8-bit pictures with antialiasing, as Pillow's Image.resize(BILINEAR) does it
 * (and with it torchvision's Resize on PIL images): a triangle filter, widened by the scale where
 * the picture shrinks; first the rows, rounded to 8 bits, then the columns; weights with 22
 * fractional bits. The bytes are Pillow's; from its version 13 on Pillow begins with the columns
 * where the height shrinks much more than the width, which makes one grey level of difference.
 */
#ifndef VT_DATA_RESIZE_H
#define VT_DATA_RESIZE_H

#include "data/augment.h"

#include <stddef.h>

/* Memory of one resize; grows to what is needed and stays. Start with {0}. */
typedef struct vt_resizer {
    uint8_t *rows; /* the picture between the two passes */
    size_t rows_capacity;
    int32_t *weights; /* one row of weights for each output place */
    size_t weights_capacity;
    int64_t *spans; /* (2 a place) first source place, number of them */
    size_t spans_capacity;
} vt_resizer;

/* out (to.height, to.width, 3) = the box of a picture (.., stride, 3), resized. Pixels outside the
 * box are not looked at. False: no memory. */
bool vt_resizer_run(vt_resizer *resizer, const uint8_t *pixels, int64_t stride, vt_box box,
                    vt_size to, uint8_t *out);
void vt_resizer_release(vt_resizer *resizer);

/* Makes room for `size` elements of element_bytes behind the pointer at `block`, more than needed
 * so that this is rare; what was there may be lost. False: no memory. */
bool vt_room_for(void *block, size_t *capacity, size_t size, size_t element_bytes);

#endif
