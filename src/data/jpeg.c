/* JPEG, by libjpeg-turbo. */
#include "data/decode.h"

#include <setjmp.h>
#include <stdio.h>
#include <string.h>

/* after stdio.h, which it needs */
#include <jerror.h>
#include <jpeglib.h>

enum { EXIF_MARKER = JPEG_APP0 + 1, EXIF_HEADER = 6, ROWS = 4 };

/* libjpeg reaches this through its own pointers. */
typedef struct reader {
    struct jpeg_decompress_struct jpeg;
    struct jpeg_error_mgr errors;
    struct jpeg_progress_mgr progress;
    jmp_buf failed;
    vt_decoding *decoding;
    vt_status status;
    JSAMPLE *lines; /* from libjpeg's own pool */
} reader;

static void fail(j_common_ptr jpeg)
{
    reader *r = jpeg->client_data;
    char text[JMSG_LENGTH_MAX];
    jpeg->err->format_message(jpeg, text);
    bool memory = jpeg->err->msg_code == JERR_OUT_OF_MEMORY;
    r->status = vt_fail(r->decoding->err, memory ? VT_ERR_NOMEM : VT_ERR_DATA, "%s: %s%s",
                        r->decoding->name, memory ? "" : "damaged JPEG: ", text);
    longjmp(r->failed, 1);
}

/* A warning is an error here, for libjpeg would go on with grey in place of what is damaged; all
 * but these, which leave the picture whole. */
static void hear(j_common_ptr jpeg, int level)
{
    static const int harmless[] = {JWRN_EXTRANEOUS_DATA, JWRN_ADOBE_XFORM, JWRN_JFIF_MAJOR,
                                   JWRN_BOGUS_ICC};
    if (level >= 0)
        return;
    for (size_t i = 0; i < sizeof harmless / sizeof *harmless; i++)
        if (jpeg->err->msg_code == harmless[i])
            return;
    fail(jpeg);
}

/* A small file of very many scans over a large picture would take hours. */
static void count_scans(j_common_ptr jpeg)
{
    reader *r = jpeg->client_data;
    if (r->jpeg.input_scan_number <= VT_IMAGE_SCANS_MAX)
        return;
    r->status = vt_fail(r->decoding->err, VT_ERR_DATA, "%s: a JPEG of more than %d scans",
                        r->decoding->name, VT_IMAGE_SCANS_MAX);
    longjmp(r->failed, 1);
}

static int find_orientation(const struct jpeg_decompress_struct *jpeg)
{
    for (jpeg_saved_marker_ptr m = jpeg->marker_list; m; m = m->next)
        if (m->marker == EXIF_MARKER && m->data_length > EXIF_HEADER &&
            memcmp(m->data, "Exif\0\0", EXIF_HEADER) == 0)
            return vt_exif_orientation(m->data + EXIF_HEADER, m->data_length - EXIF_HEADER);
    return 1;
}

/* a * b / 255, rounded, as Pillow computes it */
static unsigned scale_level(unsigned a, unsigned b)
{
    unsigned product = a * b + 128;
    return ((product >> 8) + product) >> 8;
}

/* Adobe's files hold inverted ink, and all others are taken for such, as Pillow does. */
static void ink_to_light(const JSAMPLE *ink, int64_t n, uint8_t *rgb)
{
    for (int64_t i = 0; i < n; i++, ink += 4)
        for (int c = 0; c < 3; c++) {
            unsigned white = ink[3];
            *rgb++ = (uint8_t)(white - scale_level(255u - ink[c], white));
        }
}

static vt_status read_lines(reader *r)
{
    struct jpeg_decompress_struct *jpeg = &r->jpeg;
    vt_image *image = r->decoding->image;
    bool ink = jpeg->out_color_space == JCS_CMYK;
    JSAMPROW row[ROWS];
    if (ink)
        r->lines = jpeg->mem->alloc_large((j_common_ptr)jpeg, JPOOL_IMAGE,
                                          (size_t)image->width * 4 * ROWS);
    while (jpeg->output_scanline < jpeg->output_height) {
        uint8_t *out = image->pixels + (int64_t)jpeg->output_scanline * image->width * 3;
        int64_t left = jpeg->output_height - jpeg->output_scanline;
        int64_t rows = left < ROWS ? left : ROWS;
        for (int64_t i = 0; i < rows; i++)
            row[i] = ink ? r->lines + i * image->width * 4 : out + i * image->width * 3;
        rows = jpeg_read_scanlines(jpeg, row, (JDIMENSION)rows);
        for (int64_t i = 0; ink && i < rows; i++)
            ink_to_light(row[i], image->width, out + i * image->width * 3);
    }
    return VT_OK;
}

static vt_status decode(reader *r)
{
    struct jpeg_decompress_struct *jpeg = &r->jpeg;
    vt_decoding *d = r->decoding;
    jpeg_mem_src(jpeg, d->bytes, d->size_bytes);
    jpeg_save_markers(jpeg, EXIF_MARKER, 0xffff);
    jpeg_read_header(jpeg, TRUE);
    vt_status status = vt_image_make(d, jpeg->image_height, jpeg->image_width);
    if (status != VT_OK)
        return status;
    if (jpeg->num_components != 1 && jpeg->num_components != 3 && jpeg->num_components != 4)
        return vt_fail(d->err, VT_ERR_DATA,
                       "%s: a JPEG of %d components; there are pictures of 1 (grey), 3 (colour) "
                       "and 4 (ink)",
                       d->name, jpeg->num_components);
    d->orientation = find_orientation(jpeg);
    jpeg->out_color_space = jpeg->num_components == 4 ? JCS_CMYK : JCS_RGB;
    jpeg->dct_method = JDCT_ISLOW;
    jpeg->do_fancy_upsampling = TRUE;
    jpeg_start_decompress(jpeg);
    return read_lines(r);
}

/* In a function of its own, so that nothing of its caller is lost when libjpeg jumps back. */
static void attempt(reader *r)
{
    if (setjmp(r->failed) != 0)
        return;
    jpeg_create_decompress(&r->jpeg);
    r->jpeg.progress = &r->progress;
    r->status = decode(r);
}

vt_status vt_jpeg_decode(vt_decoding *d)
{
    reader r = {.decoding = d};
    r.jpeg.err = jpeg_std_error(&r.errors);
    r.jpeg.client_data = &r;
    r.errors.error_exit = fail;
    r.errors.emit_message = hear;
    r.progress.progress_monitor = count_scans;
    attempt(&r);
    jpeg_destroy_decompress(&r.jpeg);
    return r.status;
}
