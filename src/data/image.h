/*
 * Decoded pictures: JPEG (libjpeg-turbo) and PNG (libpng), told apart by their first bytes.
 *
 * The pixels are those of Pillow's ImageOps.exif_transpose(Image.open(f)).convert("RGB"): grey is
 * repeated in the three channels, palettes are looked up, alpha is dropped (not blended), CMYK and
 * YCCK are converted by Pillow's formula, of 16 bits the high 8 are taken, interlaced and
 * progressive files are read whole, the first picture of an animated PNG is the picture. The
 * orientation (1 to 8) is taken from Exif data in a JPEG's APP1 or a PNG's eXIf; colour profiles
 * and gamma are not applied. JPEG: the accurate integer DCT and smooth chroma upsampling.
 *
 * Any bytes may be given: what is damaged, cut short or too large is an error, never a crash.
 */
#ifndef VT_DATA_IMAGE_H
#define VT_DATA_IMAGE_H

#include "base/status.h"
#include "base/text.h"

#include <stddef.h>
#include <stdint.h>

/* Limits that stop files which unpack to far more than they hold. */
enum { VT_IMAGE_SIDE_MAX = 16384, VT_IMAGE_BYTES_MAX = 1 << 28, VT_IMAGE_SCANS_MAX = 100 };

/* Start with {0}; decoding into it again reuses its memory. */
typedef struct vt_image {
    int64_t height, width;
    uint8_t *pixels;       /* (height, width, 3), red first */
    size_t capacity_bytes; /* of pixels */
} vt_image;

/* Decodes a whole file in memory; `name` is for messages. VT_ERR_DATA (the message says what is
 * wrong with it), VT_ERR_NOMEM; the image's sizes are 0 then. */
vt_status vt_image_decode(vt_image *image, const void *bytes, size_t size_bytes, const char *name,
                          vt_error *err);
/* The same from the file `path`, or from standard input for "-"; the user's links are followed.
 * VT_ERR_NOINPUT, VT_ERR_IO. */
vt_status vt_image_read(vt_image *image, const char *path, vt_error *err);
void vt_image_release(vt_image *image);

/* A picture (height, width, 3) as the bytes of a PNG file, appended. VT_ERR_NOMEM. */
vt_status vt_image_png(vt_text *file, const uint8_t *pixels, int64_t height, int64_t width,
                       vt_error *err);

#endif
