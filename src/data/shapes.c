#include "data/shapes.h"

#include "base/rng.h"

/* Lengths are in 1/64 pixel, sines and tilts in 1/1024. A texture repeats every 4 pixels. */
enum { SIDE = VT_SHAPES_SIDE, PIXEL = 64, UNIT = 1024, PERIOD = 4 * PIXEL, HUES = 1536 };

/* What the generator's `step` tells apart. */
enum { DRAW_SCENE, DRAW_LABELS, DRAW_NOISE };

typedef enum figure { DISC, RING, SQUARE, TRIANGLE, CROSS, FIGURE_COUNT } figure;
typedef enum texture { PLAIN, STRIPES, CHECKS, DOTS } texture;

typedef struct vector {
    int32_t x, y;
} vector;

typedef struct piece {
    figure figure;
    texture texture;
    vector centre;
    int32_t radius;
    vector axis;         /* cosine and sine of the figure's rotation */
    vector grain, phase; /* the same of its texture's; where the texture starts */
    int32_t colour[2][3];
} piece;

/* Numbers drawn one after the other: the order in which a scene asks is part of the data set. */
typedef struct dice {
    vt_rng rng;
    uint64_t next;
} dice;

const char *const vt_shapes_names[VT_SHAPES_CLASSES] = {
    "warm disc",   "cool disc",     "warm ring",     "cool ring",  "warm square",
    "cool square", "warm triangle", "cool triangle", "warm cross", "cool cross",
};

static const struct look {
    texture texture;
    vector grain; /* texture's direction before its tilt */
} looks[FIGURE_COUNT] = {
    [DISC] = {STRIPES, {UNIT, 0}},  [RING] = {STRIPES, {0, UNIT}},
    [SQUARE] = {CHECKS, {UNIT, 0}}, [TRIANGLE] = {STRIPES, {724, 724}},
    [CROSS] = {DOTS, {UNIT, 0}},
};

int vt_shapes_label(uint64_t seed, bool test, uint32_t number)
{
    uint32_t order[VT_SHAPES_CLASSES];
    vt_rng rng = vt_rng_at(seed, VT_STREAM_SHAPES, test, DRAW_LABELS, number / VT_SHAPES_CLASSES);
    vt_rng_shuffle(&rng, order, VT_SHAPES_CLASSES);
    return (int)order[number % VT_SHAPES_CLASSES];
}

/* Uniform in [low, high]. */
static int32_t roll(dice *d, int32_t low, int32_t high)
{
    uint64_t span = (uint64_t)(high - low) + 1;
    return low + (int32_t)(vt_rng_u32(&d->rng, d->next++) * span >> 32);
}

static vector roll_direction(dice *d)
{
    double turn = roll(d, 0, UNIT - 1) / (double)UNIT;
    return (vector){(int32_t)(vt_cos_2pi(turn) * UNIT), (int32_t)(vt_cos_2pi(turn - 0.25) * UNIT)};
}

static void roll_colour(dice *d, int32_t colour[3])
{
    for (int c = 0; c < 3; c++)
        colour[c] = roll(d, 16, 240);
}

/* Hue 0 is red, 512 green, 1024 blue; saturation and value in [0, 256]. */
static void mix_colour(int32_t hue, int32_t saturation, int32_t value, int32_t colour[3])
{
    for (int32_t c = 0; c < 3; c++) {
        int32_t from_peak = (hue + 2 * HUES - 512 * c) % HUES;
        if (from_peak > HUES / 2)
            from_peak = HUES - from_peak;
        int32_t level = from_peak < 256 ? 256 : from_peak < 512 ? 512 - from_peak : 0;
        colour[c] = value * (256 - saturation + saturation * level / 256) / 256;
    }
}

static int32_t absolute(int32_t x)
{
    return x < 0 ? -x : x;
}

/* The same place seen along `axis`. */
static vector rotate(vector v, vector axis)
{
    return (vector){(v.x * axis.x + v.y * axis.y) / UNIT, (v.y * axis.x - v.x * axis.y) / UNIT};
}

/* Is `at`, measured from the centre along the figure's axis, inside a figure of this radius? */
static bool covers(figure f, int32_t radius, vector at)
{
    int32_t square = at.x * at.x + at.y * at.y, hole = radius * 25 / 64;
    int32_t x = absolute(at.x), y = absolute(at.y), arm = radius * 21 / 64;
    switch (f) {
    case DISC:
        return square <= radius * radius;
    case RING:
        return square <= radius * radius && square >= hole * hole;
    case SQUARE:
        return x <= radius * 27 / 32 && y <= radius * 27 / 32;
    case TRIANGLE:
        return at.y <= radius * 19 / 32 && 7 * x <= 4 * at.y + radius * 9 / 2;
    default: /* CROSS */
        return (x <= arm && y <= radius) || (y <= arm && x <= radius);
    }
}

/* Which of its two colours the piece shows at `at`, measured from its centre. */
static int shade(const piece *p, vector at)
{
    if (p->texture == PLAIN)
        return 0;
    vector along = rotate(at, p->grain);
    bool u = ((uint32_t)(along.x + p->phase.x) & (PERIOD - 1)) < PERIOD / 2;
    bool v = ((uint32_t)(along.y + p->phase.y) & (PERIOD - 1)) < PERIOD / 2;
    return p->texture == STRIPES ? u : p->texture == CHECKS ? u ^ v : u && v;
}

static int32_t clamp_pixel(int32_t place)
{
    return place < 0 ? 0 : place > SIDE - 1 ? SIDE - 1 : place;
}

/* Paints on a canvas (32, 32, 3) of quarter levels, four samples a pixel. */
static void paint(const piece *p, int32_t *canvas)
{
    int32_t reach = p->radius * 5 / 4;
    int32_t top = clamp_pixel((p->centre.y - reach) / PIXEL);
    int32_t bottom = clamp_pixel((p->centre.y + reach) / PIXEL);
    int32_t left = clamp_pixel((p->centre.x - reach) / PIXEL);
    int32_t right = clamp_pixel((p->centre.x + reach) / PIXEL);
    for (int32_t y = top; y <= bottom; y++) {
        for (int32_t x = left; x <= right; x++) {
            int32_t *pixel = canvas + (y * SIDE + x) * 3;
            int32_t under[3] = {pixel[0] / 4, pixel[1] / 4, pixel[2] / 4};
            for (int sample = 0; sample < 4; sample++) {
                vector at = {x * PIXEL + PIXEL / 4 + sample % 2 * PIXEL / 2 - p->centre.x,
                             y * PIXEL + PIXEL / 4 + sample / 2 * PIXEL / 2 - p->centre.y};
                if (!covers(p->figure, p->radius, rotate(at, p->axis)))
                    continue;
                const int32_t *colour = p->colour[shade(p, at)];
                for (int c = 0; c < 3; c++)
                    pixel[c] += colour[c] - under[c];
            }
        }
    }
}

static void paint_background(dice *d, int32_t *canvas)
{
    for (int c = 0; c < 3; c++) {
        int32_t level = 4 * roll(d, 16, 240), slope_x = roll(d, -8, 8), slope_y = roll(d, -8, 8);
        for (int32_t y = 0; y < SIDE; y++)
            for (int32_t x = 0; x < SIDE; x++)
                canvas[(y * SIDE + x) * 3 + c] =
                    level + slope_x * (x - SIDE / 2) + slope_y * (y - SIDE / 2);
    }
}

static void paint_clutter(dice *d, int pieces, int32_t *canvas)
{
    for (int i = 0; i < pieces; i++) {
        piece p = {.texture = PLAIN};
        p.figure = (figure)roll(d, 0, FIGURE_COUNT - 1);
        p.radius = roll(d, PIXEL * 5 / 4, PIXEL * 3);
        p.centre.x = roll(d, 0, SIDE * PIXEL);
        p.centre.y = roll(d, 0, SIDE * PIXEL);
        p.axis = roll_direction(d);
        roll_colour(d, p.colour[0]);
        paint(&p, canvas);
    }
}

static void paint_figure(dice *d, int class, int32_t *canvas)
{
    piece p = {.figure = (figure)(class / 2)};
    const struct look *look = &looks[p.figure];
    p.radius = roll(d, 7 * PIXEL, 12 * PIXEL);
    p.centre.x = roll(d, 8 * PIXEL, (SIDE - 8) * PIXEL);
    p.centre.y = roll(d, 8 * PIXEL, (SIDE - 8) * PIXEL);
    p.axis = roll_direction(d);

    int32_t tilt = roll(d, -100, 100);
    p.texture = look->texture;
    p.grain.x = look->grain.x - look->grain.y * tilt / UNIT;
    p.grain.y = look->grain.y + look->grain.x * tilt / UNIT;
    if (roll(d, 0, 1))
        p.grain.y = -p.grain.y;
    p.phase.x = roll(d, 0, PERIOD - 1);
    p.phase.y = roll(d, 0, PERIOD - 1);

    /* orange or azure, give or take nearly 60 degrees, between dark bars */
    int32_t hue = 128 + class % 2 * HUES / 2 + roll(d, -240, 240);
    mix_colour(hue, roll(d, 200, 250), roll(d, 150, 250), p.colour[0]);
    mix_colour(roll(d, 0, HUES - 1), roll(d, 0, 60), roll(d, 5, 45), p.colour[1]);
    paint(&p, canvas);
}

/* Adds triangular noise of -15 .. 15 levels to every byte, 16 bytes from each generator block. */
static void store(const vt_rng *noise, const int32_t *canvas, uint8_t *image)
{
    for (uint32_t block = 0; block < SIDE * SIDE * 3 / 16; block++) {
        uint32_t words[4];
        vt_philox(noise->key, (uint32_t[4]){block, noise->sample, noise->step, noise->stream},
                  words);
        for (uint32_t i = 0; i < 16; i++) {
            uint32_t bits = words[i / 4] >> i % 4 * 8;
            int32_t level =
                canvas[block * 16 + i] / 4 + (int32_t)(bits & 15) + (int32_t)(bits >> 4 & 15) - 15;
            image[block * 16 + i] = (uint8_t)(level < 0 ? 0 : level > 255 ? 255 : level);
        }
    }
}

void vt_shapes_draw(uint64_t seed, bool test, uint32_t number, uint8_t *image)
{
    dice d = {.rng = vt_rng_at(seed, VT_STREAM_SHAPES, test, DRAW_SCENE, number)};
    vt_rng noise = vt_rng_at(seed, VT_STREAM_SHAPES, test, DRAW_NOISE, number);
    int32_t canvas[SIDE * SIDE * 3];
    int class = vt_shapes_label(seed, test, number);
    if (roll(&d, 1, VT_SHAPES_STRAY) == 1)
        class = roll(&d, 0, VT_SHAPES_CLASSES - 1);

    paint_background(&d, canvas);
    paint_clutter(&d, roll(&d, 2, 4), canvas);
    paint_figure(&d, class, canvas);
    paint_clutter(&d, roll(&d, 0, 2), canvas);
    store(&noise, canvas, image);
}
