/* PNG, by libpng. */
#include "base/mem.h"
#include "data/decode.h"

#include <setjmp.h>
#include <string.h>

#include <png.h>

enum { CHUNK_BYTES_MAX = 8 << 20, CHUNKS_MAX = 1000 };

typedef struct reader {
    png_structp png;
    png_infop info;
    size_t at;
    vt_decoding *decoding;
    vt_status status;
    png_bytep *rows;
} reader;

static void fail(png_structp png, png_const_charp text)
{
    reader *r = png_get_error_ptr(png);
    r->status =
        vt_fail(r->decoding->err, VT_ERR_DATA, "%s: damaged PNG: %s", r->decoding->name, text);
    longjmp(png_jmpbuf(png), 1);
}

/* Ancillary chunks may be wrong: the picture does not depend on them. */
static void ignore(png_structp png, png_const_charp text)
{
    (void)png;
    (void)text;
}

static void take_bytes(png_structp png, png_bytep bytes, size_t size)
{
    reader *r = png_get_io_ptr(png);
    if (size > r->decoding->size_bytes - r->at)
        png_error(png, "the file ends too early");
    memcpy(bytes, r->decoding->bytes + r->at, size);
    r->at += size;
}

static int find_orientation(reader *r)
{
    png_bytep exif;
    png_uint_32 size;
    if (!(png_get_eXIf_1(r->png, r->info, &size, &exif) & PNG_INFO_eXIf))
        return 1;
    return vt_exif_orientation(exif, size);
}

static vt_status decode(reader *r)
{
    png_structp png = r->png;
    vt_decoding *d = r->decoding;
    png_set_read_fn(png, r, take_bytes);
    png_set_user_limits(png, VT_IMAGE_SIDE_MAX, VT_IMAGE_SIDE_MAX);
    png_set_chunk_malloc_max(png, CHUNK_BYTES_MAX);
    png_set_chunk_cache_max(png, CHUNKS_MAX);
    png_read_info(png, r->info);
    int64_t height = png_get_image_height(png, r->info), width = png_get_image_width(png, r->info);
    vt_status status = vt_image_make(d, (uint64_t)height, (uint64_t)width);
    if (status != VT_OK)
        return status;
    png_set_expand(png);
    png_set_strip_16(png);
    png_set_strip_alpha(png);
    png_set_gray_to_rgb(png);
    png_set_interlace_handling(png);
    png_read_update_info(png, r->info);
    VT_ASSERT(png_get_rowbytes(png, r->info) == (size_t)width * 3);
    r->rows = vt_calloc((size_t)height, sizeof *r->rows);
    if (!r->rows)
        return vt_fail(d->err, VT_ERR_NOMEM, "%s: no memory for the picture's rows", d->name);
    for (int64_t y = 0; y < height; y++)
        r->rows[y] = d->image->pixels + y * width * 3;
    png_read_image(png, r->rows);
    png_read_end(png, r->info); /* Exif data may follow the picture */
    d->orientation = find_orientation(r);
    return VT_OK;
}

/* In a function of its own, so that nothing of its caller is lost when libpng jumps back. */
static void attempt(reader *r)
{
    if (setjmp(png_jmpbuf(r->png)) == 0)
        r->status = decode(r);
}

vt_status vt_png_decode(vt_decoding *d)
{
    reader r = {.decoding = d};
    r.png = png_create_read_struct(PNG_LIBPNG_VER_STRING, &r, fail, ignore);
    r.info = r.png ? png_create_info_struct(r.png) : NULL;
    if (r.info)
        attempt(&r);
    else
        r.status = vt_fail(d->err, VT_ERR_NOMEM, "%s: no memory to read a PNG", d->name);
    png_destroy_read_struct(&r.png, &r.info, NULL);
    vt_free(r.rows);
    return r.status;
}
