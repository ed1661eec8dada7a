/* PNG, by libpng: 8 bits a channel, no colour profile, no time. */
#include "data/image.h"

#include <setjmp.h>

#include <png.h>

typedef struct writer {
    png_structp png;
    png_infop info;
    vt_text *file;
    const uint8_t *pixels;
    int64_t height, width;
} writer;

static void fail(png_structp png, png_const_charp text)
{
    (void)text;
    longjmp(png_jmpbuf(png), 1);
}

static void ignore(png_structp png, png_const_charp text)
{
    (void)png;
    (void)text;
}

static void put_bytes(png_structp png, png_bytep bytes, size_t size)
{
    vt_text_append(png_get_io_ptr(png), bytes, size);
}

static void flush(png_structp png)
{
    (void)png;
}

/* In a function of its own, so that nothing of its caller is lost when libpng jumps back. */
static bool encode(writer *w)
{
    if (setjmp(png_jmpbuf(w->png)) != 0)
        return false;
    png_set_write_fn(w->png, w->file, put_bytes, flush);
    png_set_IHDR(w->png, w->info, (png_uint_32)w->width, (png_uint_32)w->height, 8,
                 PNG_COLOR_TYPE_RGB, PNG_INTERLACE_NONE, PNG_COMPRESSION_TYPE_DEFAULT,
                 PNG_FILTER_TYPE_DEFAULT);
    png_write_info(w->png, w->info);
    for (int64_t y = 0; y < w->height; y++)
        png_write_row(w->png, w->pixels + y * w->width * 3);
    png_write_end(w->png, w->info);
    return true;
}

vt_status vt_image_png(vt_text *file, const uint8_t *pixels, int64_t height, int64_t width,
                       vt_error *err)
{
    writer w = {.file = file, .pixels = pixels, .height = height, .width = width};
    VT_ASSERT(height > 0 && width > 0 && height <= VT_IMAGE_SIDE_MAX && width <= VT_IMAGE_SIDE_MAX);
    w.png = png_create_write_struct(PNG_LIBPNG_VER_STRING, &w, fail, ignore);
    w.info = w.png ? png_create_info_struct(w.png) : NULL;
    bool done = w.info && encode(&w);
    png_destroy_write_struct(&w.png, &w.info);
    return done && !file->failed ? VT_OK : vt_fail(err, VT_ERR_NOMEM, "no memory to write a PNG");
}
