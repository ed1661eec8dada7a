#include "data/shapes.h"

#include "base/rng.h"

enum { SIDE = VT_SHAPES_SIDE, UNIT = 1024, SUBPIXEL = 64 };

enum figure { DISC, RING, SQUARE, TRIANGLE, CROSS, FIGURE_COUNT };
enum texture { STRIPES, CHECKS, PLAIN };

/* Lengths are in 1/64 pixel; inside a piece, coordinates are scaled so that its radius is UNIT. */
struct piece {
    enum figure figure;
    enum texture texture;
    int32_t x, y, radius;
    int32_t cosine, sine;   /* of the figure's rotation, in 1/UNIT */
    int32_t tcosine, tsine; /* of the texture's */
    int32_t period, phase_u, phase_v;
    int32_t colour[2][3];
};

/* Draws numbers one after the other; the order in which a scene asks is part of the data set. */
struct dice {
    vt_rng rng;
    uint64_t next;
};

const char *const *vt_shapes_names(void)
{
    static const char *const names[VT_SHAPES_CLASSES] = {
        "striped disc",   "checked disc",     "striped ring",     "checked ring",  "striped square",
        "checked square", "striped triangle", "checked triangle", "striped cross", "checked cross"};
    return names;
}

int vt_shapes_label(uint64_t seed, bool test, uint32_t number)
{
    uint32_t order[VT_SHAPES_CLASSES];
    vt_rng rng = vt_rng_at(seed, VT_STREAM_SHAPES, test, 1, number / VT_SHAPES_CLASSES);
    vt_rng_shuffle(&rng, order, VT_SHAPES_CLASSES);
    return (int)order[number % VT_SHAPES_CLASSES];
}

/* Uniform in [low, high]. */
static int32_t roll(struct dice *dice, int32_t low, int32_t high)
{
    uint64_t span = (uint64_t)(high - low) + 1;
    return low + (int32_t)(vt_rng_u32(&dice->rng, dice->next++) * span >> 32);
}

static void roll_angle(struct dice *dice, int32_t *cosine, int32_t *sine)
{
    double turn = (double)roll(dice, 0, 1023) / 1024;
    *cosine = (int32_t)(vt_cos_2pi(turn) * UNIT);
    *sine = (int32_t)(vt_cos_2pi(turn - 0.25) * UNIT);
}

static void roll_colour(struct dice *dice, int32_t colour[3])
{
    for (int c = 0; c < 3; c++)
        colour[c] = roll(dice, 16, 240);
}

static int32_t absolute(int32_t x)
{
    return x < 0 ? -x : x;
}

/* How far apart two colours look: the largest difference of a channel. */
static int32_t contrast(const int32_t a[3], const int32_t b[3])
{
    int32_t most = 0;
    for (int c = 0; c < 3; c++)
        most = absolute(a[c] - b[c]) > most ? absolute(a[c] - b[c]) : most;
    return most;
}

static void roll_other_colour(struct dice *dice, const int32_t from[3], int32_t least,
                              int32_t colour[3])
{
    do
        roll_colour(dice, colour);
    while (contrast(from, colour) < least);
}

static bool covers(enum figure figure, int32_t u, int32_t v)
{
    int32_t square = u * u + v * v, au = absolute(u), av = absolute(v);
    switch (figure) {
    case DISC:
        return square <= UNIT * UNIT;
    case RING:
        return square <= UNIT * UNIT && square >= 400 * 400;
    case SQUARE:
        return au <= 860 && av <= 860;
    case TRIANGLE:
        return v <= 600 && 7 * au <= 4 * (v + 1150);
    default: /* CROSS */
        return (au <= 330 && av <= UNIT) || (av <= 330 && au <= UNIT);
    }
}

/* Which of the piece's two colours the texture shows; dx, dy in 1/64 pixel from its centre. */
static int shade(const struct piece *p, int32_t dx, int32_t dy)
{
    if (p->texture == PLAIN)
        return 0;
    int32_t u = ((dx * p->tcosine + dy * p->tsine) / UNIT + p->phase_u) % p->period;
    int32_t v = ((dy * p->tcosine - dx * p->tsine) / UNIT + p->phase_v) % p->period;
    int first = u * 2 < p->period, second = v * 2 < p->period;
    return p->texture == STRIPES ? first : first ^ second;
}

/* Paints the piece on canvas (32, 32, 3) of 1/4 levels, four samples a pixel. */
static void paint(const struct piece *p, int32_t *canvas)
{
    int32_t reach = p->radius * 3 / 2;
    for (int32_t y = 0; y < SIDE; y++) {
        if (absolute(y * SUBPIXEL + SUBPIXEL / 2 - p->y) > reach + SUBPIXEL)
            continue;
        for (int32_t x = 0; x < SIDE; x++) {
            if (absolute(x * SUBPIXEL + SUBPIXEL / 2 - p->x) > reach + SUBPIXEL)
                continue;
            int32_t *pixel = canvas + (y * SIDE + x) * 3, before[3] = {pixel[0], pixel[1], pixel[2]};
            for (int sample = 0; sample < 4; sample++) {
                int32_t dx = x * SUBPIXEL + SUBPIXEL / 4 + sample % 2 * SUBPIXEL / 2 - p->x;
                int32_t dy = y * SUBPIXEL + SUBPIXEL / 4 + sample / 2 * SUBPIXEL / 2 - p->y;
                int32_t u = (dx * p->cosine + dy * p->sine) / p->radius;
                int32_t v = (dy * p->cosine - dx * p->sine) / p->radius;
                if (!covers(p->figure, u, v))
                    continue;
                const int32_t *colour = p->colour[shade(p, dx, dy)];
                for (int c = 0; c < 3; c++)
                    pixel[c] += colour[c] - before[c] / 4;
            }
        }
    }
}

static struct piece roll_piece(struct dice *dice, int32_t least, int32_t most, int32_t margin)
{
    struct piece p = {.figure = DISC, .texture = PLAIN, .period = 1};
    p.radius = roll(dice, least, most);
    p.x = roll(dice, margin, SIDE * SUBPIXEL - margin);
    p.y = roll(dice, margin, SIDE * SUBPIXEL - margin);
    roll_angle(dice, &p.cosine, &p.sine);
    roll_colour(dice, p.colour[0]);
    return p;
}

static void paint_clutter(struct dice *dice, int32_t *canvas, int pieces)
{
    for (int i = 0; i < pieces; i++) {
        struct piece p = roll_piece(dice, 80, 180, 0);
        p.figure = (enum figure)roll(dice, 0, FIGURE_COUNT - 1);
        paint(&p, canvas);
    }
}

static void paint_background(struct dice *dice, int32_t colour[3], int32_t *canvas)
{
    int32_t slope[2][3];
    roll_colour(dice, colour);
    for (int c = 0; c < 3; c++) {
        slope[0][c] = roll(dice, -8, 8);
        slope[1][c] = roll(dice, -8, 8);
    }
    for (int32_t y = 0; y < SIDE; y++)
        for (int32_t x = 0; x < SIDE; x++)
            for (int c = 0; c < 3; c++)
                canvas[(y * SIDE + x) * 3 + c] =
                    4 * colour[c] + slope[0][c] * (x - SIDE / 2) + slope[1][c] * (y - SIDE / 2);
}

static void store(struct dice *dice, const int32_t *canvas, uint8_t *image)
{
    uint64_t at = dice->next + 3;
    for (int i = 0; i < SIDE * SIDE * 3; i++) {
        uint32_t word = vt_rng_u32(&dice->rng, at + (uint64_t)i / 4) >> i % 4 * 8;
        int32_t noise = (int32_t)(word & 15) + (int32_t)(word >> 4 & 15) - 15;
        int32_t level = canvas[i] / 4 + noise;
        image[i] = (uint8_t)(level < 0 ? 0 : level > 255 ? 255 : level);
    }
}

void vt_shapes_draw(uint64_t seed, bool test, uint32_t number, uint8_t *image)
{
    struct dice dice = {.rng = vt_rng_at(seed, VT_STREAM_SHAPES, test, 0, number)};
    int32_t canvas[SIDE * SIDE * 3], background[3];
    int class = vt_shapes_label(seed, test, number);
    if (roll(&dice, 1, VT_SHAPES_STRAY) == 1)
        class = roll(&dice, 0, VT_SHAPES_CLASSES - 1);

    paint_background(&dice, background, canvas);
    paint_clutter(&dice, canvas, roll(&dice, 2, 4));

    struct piece p = roll_piece(&dice, 7 * SUBPIXEL, 11 * SUBPIXEL, 10 * SUBPIXEL);
    p.figure = (enum figure)(class / 2);
    p.texture = class % 2 ? CHECKS : STRIPES;
    roll_angle(&dice, &p.tcosine, &p.tsine);
    p.period = roll(&dice, 4 * SUBPIXEL, 6 * SUBPIXEL);
    p.phase_u = 64 * p.period + roll(&dice, 0, p.period - 1);
    p.phase_v = 64 * p.period + roll(&dice, 0, p.period - 1);
    roll_other_colour(&dice, background, 60, p.colour[0]);
    roll_other_colour(&dice, p.colour[0], 80, p.colour[1]);
    paint(&p, canvas);

    paint_clutter(&dice, canvas, roll(&dice, 0, 1));
    store(&dice, canvas, image);
}
