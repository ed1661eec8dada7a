#include "data/image.h"

#include "base/mem.h"
#include "data/decode.h"

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

enum { CHANNELS = 3, ORIENTATION_TAG = 0x0112, SHORT = 3, ENTRY = 12 };

vt_status vt_image_make(vt_decoding *d, uint64_t height, uint64_t width)
{
    vt_image *image = d->image;
    uint64_t bytes = height * width * CHANNELS; /* sides are below 2^32 */
    if (height < 1 || width < 1 || height > VT_IMAGE_SIDE_MAX || width > VT_IMAGE_SIDE_MAX ||
        bytes > VT_IMAGE_BYTES_MAX)
        return vt_fail(d->err, VT_ERR_DATA,
                       "%s: a picture of %" PRIu64 " x %" PRIu64 " pixels; allowed: sides from 1 "
                       "to %d and %d bytes",
                       d->name, width, height, VT_IMAGE_SIDE_MAX, VT_IMAGE_BYTES_MAX);
    if (bytes > image->capacity_bytes) {
        vt_free(image->pixels);
        image->pixels = vt_calloc(bytes, 1);
        image->capacity_bytes = image->pixels ? bytes : 0;
    }
    if (!image->pixels)
        return vt_fail(d->err, VT_ERR_NOMEM, "%s: no memory for a picture of %" PRIu64 " bytes",
                       d->name, bytes);
    image->height = (int64_t)height;
    image->width = (int64_t)width;
    return VT_OK;
}

static uint32_t number(const uint8_t *at, int bytes, bool big)
{
    uint32_t value = 0;
    for (int i = 0; i < bytes; i++)
        value |= (uint32_t)at[i] << 8 * (big ? bytes - 1 - i : i);
    return value;
}

/* A TIFF header ("II" or "MM", 42, place of the first directory), then directories of entries: tag,
 * type, count, value. */
int vt_exif_orientation(const uint8_t *bytes, size_t size)
{
    if (size < 8 || (memcmp(bytes, "II*\0", 4) != 0 && memcmp(bytes, "MM\0*", 4) != 0))
        return 1;
    bool big = bytes[0] == 'M';
    size_t at = number(bytes + 4, 4, big);
    if (at > size - 2)
        return 1;
    size_t entries = number(bytes + at, 2, big);
    at += 2;
    for (size_t i = 0; i < entries && size - at >= ENTRY; i++, at += ENTRY) {
        const uint8_t *entry = bytes + at;
        if (number(entry, 2, big) != ORIENTATION_TAG)
            continue;
        uint32_t value = number(entry + 8, 2, big);
        bool good = number(entry + 2, 2, big) == SHORT && number(entry + 4, 4, big) == 1 &&
                    value >= 1 && value <= 8;
        return good ? (int)value : 1;
    }
    return 1;
}

/* Orientations 5 to 8 lie on their side; of the upright ones 2 and 3 are mirrored left and right, 3
 * and 4 top and bottom, and 5 to 8 likewise (7, 8 and 6, 7) before they are turned over the
 * diagonal. */
static vt_status turn(vt_decoding *d)
{
    vt_image *image = d->image;
    int o = d->orientation;
    int64_t height = image->height, width = image->width;
    bool aside = o >= 5, left = o == 2 || o == 3 || o == 7 || o == 8;
    bool top = o == 3 || o == 4 || o == 6 || o == 7;
    if (o == 1)
        return VT_OK;
    vt_image turned = {0};
    vt_decoding into = *d;
    into.image = &turned;
    vt_status status = vt_image_make(&into, (uint64_t)(aside ? width : height),
                                     (uint64_t)(aside ? height : width));
    if (status != VT_OK)
        return status;
    for (int64_t y = 0; y < turned.height; y++)
        for (int64_t x = 0; x < turned.width; x++) {
            int64_t row = aside ? x : y, column = aside ? y : x;
            row = top ? height - 1 - row : row;
            column = left ? width - 1 - column : column;
            memcpy(turned.pixels + (y * turned.width + x) * CHANNELS,
                   image->pixels + (row * width + column) * CHANNELS, CHANNELS);
        }
    vt_free(image->pixels);
    *image = turned;
    return VT_OK;
}

vt_status vt_image_decode(vt_image *image, const void *bytes, size_t size_bytes, const char *name,
                          vt_error *err)
{
    static const uint8_t jpeg[] = {0xff, 0xd8, 0xff}, png[] = {0x89, 'P', 'N', 'G', 13, 10, 26, 10};
    vt_decoding d = {.bytes = bytes,
                     .size_bytes = size_bytes,
                     .name = name,
                     .image = image,
                     .orientation = 1,
                     .err = err};
    vt_status status;
    if (size_bytes >= sizeof jpeg && memcmp(bytes, jpeg, sizeof jpeg) == 0)
        status = vt_jpeg_decode(&d);
    else if (size_bytes >= sizeof png && memcmp(bytes, png, sizeof png) == 0)
        status = vt_png_decode(&d);
    else
        status =
            vt_fail(err, VT_ERR_DATA, "%s: neither a JPEG nor a PNG (%zu bytes)", name, size_bytes);
    if (status == VT_OK)
        status = turn(&d);
    if (status != VT_OK)
        image->height = image->width = 0;
    return status;
}

static vt_status read_stream(FILE *file, const char *name, vt_text *bytes, vt_error *err)
{
    char block[1 << 16];
    size_t n;
    while ((n = fread(block, 1, sizeof block, file)) > 0) {
        vt_text_append(bytes, block, n);
        if (bytes->failed)
            return vt_fail(err, VT_ERR_NOMEM, "%s: no memory to read it", name);
        if (bytes->size > VT_IMAGE_BYTES_MAX)
            return vt_fail(err, VT_ERR_DATA, "%s: larger than %d MiB", name,
                           VT_IMAGE_BYTES_MAX >> 20);
    }
    if (ferror(file))
        return vt_fail(err, VT_ERR_IO, "%s: cannot read it: %s", name, strerror(errno));
    return VT_OK;
}

vt_status vt_image_read(vt_image *image, const char *path, vt_error *err)
{
    bool standard = strcmp(path, "-") == 0;
    const char *name = standard ? "standard input" : path;
    FILE *file = standard ? stdin : fopen(path, "rb");
    vt_text bytes = {0};
    if (!file)
        return vt_fail(err, VT_ERR_NOINPUT, "%s: %s", path, strerror(errno));
    vt_status status = read_stream(file, name, &bytes, err);
    if (!standard)
        fclose(file);
    if (status == VT_OK)
        status = vt_image_decode(image, bytes.data ? bytes.data : "", bytes.size, name, err);
    vt_text_release(&bytes);
    return status;
}

void vt_image_release(vt_image *image)
{
    vt_free(image->pixels);
    *image = (vt_image){0};
}
