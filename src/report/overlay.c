#include "report/overlay.h"

#include "base/mem.h"
#include "base/rng.h"
#include "report/colour_map.h"

#include <math.h>
#include <string.h>

enum { CHANNELS = 3 };

/* Share of the colour in a blended pixel. */
static const double opacity = 0.7;

vt_status vt_canvas_init(vt_canvas *canvas, int64_t height, int64_t width, vt_error *err)
{
    size_t bytes = (size_t)(height * width * CHANNELS);
    *canvas = (vt_canvas){height, width, vt_calloc(bytes, 1)};
    if (!canvas->pixels)
        return vt_fail(err, VT_ERR_NOMEM, "no memory for a picture of %lld x %lld pixels",
                       (long long)width, (long long)height);
    memset(canvas->pixels, 255, bytes);
    return VT_OK;
}

static uint8_t *pixel_at(vt_canvas *canvas, int64_t y, int64_t x)
{
    VT_ASSERT(y >= 0 && x >= 0 && y < canvas->height && x < canvas->width);
    return canvas->pixels + (y * canvas->width + x) * CHANNELS;
}

/* Mean of the picture over the area of place (y, x) of the frame. */
static void sample(const vt_overlay_picture *p, int64_t side, int64_t y, int64_t x,
                   double rgb[CHANNELS])
{
    double top = (double)(y * p->height) / (double)side;
    double bottom = (double)((y + 1) * p->height) / (double)side;
    double left = (double)(x * p->width) / (double)side;
    double right = (double)((x + 1) * p->width) / (double)side, area = 0;
    memset(rgb, 0, CHANNELS * sizeof *rgb);
    for (int64_t i = (int64_t)top; i < p->height && (double)i < bottom; i++)
        for (int64_t j = (int64_t)left; j < p->width && (double)j < right; j++) {
            double part = (fmin(bottom, (double)(i + 1)) - fmax(top, (double)i)) *
                          (fmin(right, (double)(j + 1)) - fmax(left, (double)j));
            for (int c = 0; c < CHANNELS; c++)
                rgb[c] += part * p->pixels[(i * p->width + j) * CHANNELS + c];
            area += part;
        }
    for (int c = 0; c < CHANNELS; c++)
        rgb[c] /= area;
}

void vt_overlay_picture_draw(vt_canvas *canvas, vt_frame f, const vt_overlay_picture *picture)
{
    for (int64_t y = 0; y < f.side; y++)
        for (int64_t x = 0; x < f.side; x++) {
            double rgb[CHANNELS];
            uint8_t *to = pixel_at(canvas, f.top + y, f.left + x);
            sample(picture, f.side, y, x, rgb);
            for (int c = 0; c < CHANNELS; c++)
                to[c] = (uint8_t)(rgb[c] + 0.5);
        }
}

double vt_overlay_mean(const double *value, int64_t n)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += value[i];
    return sum / (double)n;
}

/* Between which cells a place lies: (1 - t) of the first, t of the second. */
struct between {
    int64_t first, second;
    double t;
};

static struct between find_cells(const double *edge, int64_t cells, double at, bool smooth)
{
    int64_t i = 0;
    while (i + 1 < cells && at >= edge[i + 1])
        i++;
    double middle = (edge[i] + edge[i + 1]) / 2;
    int64_t other = at < middle ? i - 1 : i + 1;
    if (!smooth || other < 0 || other >= cells)
        return (struct between){i, i, 0};
    double apart = (edge[other] + edge[other + 1]) / 2 - middle;
    return (struct between){i, other, (at - middle) / apart};
}

static double value_at(const vt_overlay_map *m, const struct between *y, const struct between *x)
{
    const double *first = m->value + y->first * m->columns;
    const double *second = m->value + y->second * m->columns;
    double upper = (1 - x->t) * first[x->first] + x->t * first[x->second];
    double lower = (1 - x->t) * second[x->first] + x->t * second[x->second];
    return (1 - y->t) * upper + y->t * lower;
}

void vt_overlay_map_draw(vt_canvas *canvas, vt_frame f, const vt_overlay_picture *picture,
                         const vt_overlay_map *map, double ratio, bool smooth)
{
    double mean = vt_overlay_mean(map->value, map->rows * map->columns), limit = vt_log(ratio);
    double down = (double)picture->height / (double)f.side;
    double across = (double)picture->width / (double)f.side;
    for (int64_t y = 0; y < f.side; y++) {
        struct between row = find_cells(map->row_edge, map->rows, ((double)y + 0.5) * down, smooth);
        for (int64_t x = 0; x < f.side; x++) {
            struct between column =
                find_cells(map->column_edge, map->columns, ((double)x + 0.5) * across, smooth);
            double times = value_at(map, &row, &column) / mean, rgb[CHANNELS], u = 0;
            uint8_t colour[CHANNELS], *to = pixel_at(canvas, f.top + y, f.left + x);
            if (!isfinite(times))
                u = NAN;
            else if (times > 0)
                u = (vt_log(times) + limit) / (2 * limit);
            vt_colour_at(u, colour);
            sample(picture, f.side, y, x, rgb);
            double grey = 0.299 * rgb[0] + 0.587 * rgb[1] + 0.114 * rgb[2];
            for (int c = 0; c < CHANNELS; c++)
                to[c] = (uint8_t)(opacity * colour[c] + (1 - opacity) * grey + 0.5);
        }
    }
}

void vt_overlay_bar_draw(vt_canvas *canvas, int64_t top, int64_t left, int64_t height,
                         int64_t width)
{
    for (int64_t y = 0; y < height; y++)
        for (int64_t x = 0; x < width; x++) {
            uint8_t colour[CHANNELS], *to = pixel_at(canvas, top + y, left + x);
            vt_colour_at(((double)x + 0.5) / (double)width, colour);
            for (int c = 0; c < CHANNELS; c++)
                to[c] = (uint8_t)(opacity * colour[c] + (1 - opacity) * 128 + 0.5);
        }
}

void vt_overlay_edges(int64_t cells, int64_t from, const double *below, double *edge)
{
    for (int64_t i = 0; i <= cells; i++) {
        double lo, hi;
        vt_attention_span(from, cells, i < cells ? i : cells - 1, &lo, &hi);
        double at = i < cells ? lo : hi;
        int64_t whole = (int64_t)at < from ? (int64_t)at : from - 1;
        edge[i] =
            below ? below[whole] + (at - (double)whole) * (below[whole + 1] - below[whole]) : at;
    }
}
