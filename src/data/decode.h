/* The two decoders behind vt_image_decode; for the files of src/data only. */
#ifndef VT_DATA_DECODE_H
#define VT_DATA_DECODE_H

#include "data/image.h"

/* A file in memory, and what is found out about it. */
typedef struct vt_decoding {
    const uint8_t *bytes;
    size_t size_bytes;
    const char *name;
    vt_image *image;
    int orientation; /* 1 to 8 of Exif; 1 is upright */
    vt_error *err;
} vt_decoding;

/* Each fills image (made to size by vt_image_make) and orientation. */
vt_status vt_jpeg_decode(vt_decoding *decoding);
vt_status vt_png_decode(vt_decoding *decoding);

/* Gives the image its size. VT_ERR_DATA beyond the limits of image.h. */
vt_status vt_image_make(vt_decoding *decoding, uint64_t height, uint64_t width);

/* The orientation that Exif data (a TIFF header and what follows) names; 1 for none or nonsense. */
int vt_exif_orientation(const uint8_t *bytes, size_t size_bytes);

#endif
