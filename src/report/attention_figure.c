#include "report/attention_figure.h"

#include "base/mem.h"
#include "base/rng.h"
#include "data/image.h"
#include "report/escape.h"
#include "report/overlay.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Lengths in inches, for text of 8 and 7 points. */
#define MARGIN 0.08
#define GAP 0.06
#define HEADING 0.19
#define CAPTION 0.155
#define RISE 0.015 /* of a caption above its line's middle */
#define BAR 0.09
#define BAR_LEFT 0.17

enum { DPI = 200, PANELS_MAX = 400, TEXT_MAX = 400 };

/* How the texts look; plots/attention.gp has the fonts. */
enum style { STYLE_HEADING, STYLE_CAPTION, STYLE_TICK };
enum colour { DARK = 0x222222, PALE = 0x555555, RIGHT = 0x1a7f37, WRONG = 0xc62828 };

struct panel {
    double x, y;
    int64_t image; /* in the set */
    int grid;      /* whose edges the map has: a layer, or n_layers: the pool; -1: the picture */
    int64_t rows, columns;
    double *map;
    char layer[24], head[24]; /* for the list of values */
};

struct drawing {
    const vt_attention_set *set;
    const vt_attention_view *view;
    double width, side; /* of the figure, of a panel */
    int64_t columns, column;
    double y, bottom; /* where the row of blocks begins, and ends so far */
    struct panel *panel;
    int n;
    vt_text text;
    double *edge[2]; /* of rows and columns, grid after grid */
    double ratio;    /* of the colour scale */
    double padding;  /* most that a map shown leaves out */
    vt_canvas canvas;
};

vt_attention_kind vt_attention_kind_of(const char *word)
{
#define X(kind)                                                                                    \
    if (strcmp(word, #kind) == 0)                                                                  \
        return VT_ATTENTION_##kind;
    VT_ATTENTION_KINDS(X)
#undef X
    return VT_ATTENTION_COUNT;
}

int64_t vt_attention_choose(const vt_attention_set *a, int64_t most, int64_t *images)
{
    int64_t wrong = 0, n = 0;
    for (int64_t i = 0; i < a->n; i++)
        wrong += a->image[i].label >= 0 && !vt_attention_right(a, i);
    int64_t right = a->n - wrong;
    int64_t take_wrong = right ? (most + 1) / 2 : most, take = wrong ? most - take_wrong : most;
    for (int64_t i = 0; i < a->n && n < most; i++) {
        bool is_wrong = a->image[i].label >= 0 && !vt_attention_right(a, i);
        int64_t *left = is_wrong ? &take_wrong : &take;
        if (*left > 0) {
            --*left;
            images[n++] = i;
        }
    }
    return n;
}

/* ---- texts */

/* One line of text from x; cut where `room` inches end (0: nowhere). */
static void write_text(struct drawing *d, enum style style, double x, double y, double room,
                       enum colour colour, const char *text)
{
    double character = style == STYLE_HEADING ? 0.075 : 0.067; /* about the widest line's */
    int most = room > 0 ? (int)(room / character) : TEXT_MAX;
    vt_text shown = {0};
    vt_escape(&shown, VT_ESCAPE_SHOWN, text);
    char *bytes = shown.data;
    for (char *c = bytes; c && *c; c++)
        if (*c == '"' || *c == '\t')
            *c = '\'';
    if (bytes && vt_escape_width(bytes) > most) {
        int taken = 0;
        char *c = bytes;
        while (*c && taken < most - 1) {
            char letter[5] = "";
            int size = 1;
            while ((c[size] & 0xc0) == 0x80 && size < 4)
                size++;
            memcpy(letter, c, (size_t)size);
            taken += vt_escape_width(letter);
            c += taken < most ? size : 0;
        }
        *c = '\0';
        vt_text_printf(&d->text, "%d\t%.4f\t%.4f\t%d\t%s\xe2\x80\xa6\n", style, x, y, colour,
                       bytes);
    } else {
        vt_text_printf(&d->text, "%d\t%.4f\t%.4f\t%d\t%s\n", style, x, y, colour,
                       bytes ? bytes : "");
    }
    d->text.failed = d->text.failed || shown.failed;
    vt_text_release(&shown);
}

static const char *class_of(const vt_attention_set *a, int64_t class)
{
    return a->class_names[class];
}

static enum colour ink_of(const vt_attention_set *a, int64_t i)
{
    return a->image[i].label < 0 ? DARK : vt_attention_right(a, i) ? RIGHT : WRONG;
}

/* With the probability if it is known. */
static void print_prediction(const vt_attention_set *a, int64_t i, vt_text *text)
{
    const vt_attention_image *image = &a->image[i];
    vt_text_printf(text, "%s", class_of(a, image->pred));
    if (!isnan(image->probability))
        vt_text_printf(text, " %.1f %%", 100 * image->probability);
}

/* "dog", "cat (is: dog)" */
static void print_verdict(const vt_attention_set *a, int64_t i, vt_text *text)
{
    const vt_attention_image *image = &a->image[i];
    print_prediction(a, i, text);
    if (image->label >= 0 && image->label != image->pred)
        vt_text_printf(text, " (is: %s)", class_of(a, image->label));
}

/* The image's name: its number in the test part, or its file's last part. */
static void print_name(const vt_attention_image *image, vt_text *text)
{
    const char *slash = image->file ? strrchr(image->file, '/') : NULL;
    if (image->file)
        vt_text_printf(text, "%s", slash ? slash + 1 : image->file);
    else
        vt_text_printf(text, "#%" PRId64, image->number);
}

static void describe_layer(const vt_attention_set *a, int i, vt_text *text)
{
    const vt_attention_layout *l = &a->layer[i].layout;
    vt_text_printf(text, "layer %d: %" PRId64 " x %" PRId64 " tokens", i, l->grid_h, l->grid_w);
    if (l->has_cls)
        vt_text_printf(text, ", read by the class token");
    if (l->dilation > 1)
        vt_text_printf(text, ", each %" PRId64 ". of %" PRId64 " x %" PRId64, l->dilation,
                       l->window_h, l->window_w);
    else if (l->window_h)
        vt_text_printf(text, ", windows %" PRId64 " x %" PRId64, l->window_h, l->window_w);
    if (l->shift_h || l->shift_w)
        vt_text_printf(text, " shifted %" PRId64 ", %" PRId64, l->shift_h, l->shift_w);
}

/* ---- layout */

/* Begins a block of n panels: beside the last one if there is room. Where its first panel lies. */
static void begin_block(struct drawing *d, int64_t n, const char *heading, enum colour colour)
{
    int64_t across = n < d->columns ? n : d->columns;
    int64_t rows = (n + d->columns - 1) / d->columns;
    if (d->column + across > d->columns) {
        d->y = d->bottom;
        d->column = 0;
    }
    double x = MARGIN + (double)d->column * (d->side + GAP);
    double bottom = d->y + HEADING + (double)rows * (CAPTION + d->side + GAP);
    write_text(d, STYLE_HEADING, x, d->y + HEADING / 2, (double)across * (d->side + GAP), colour,
               heading);
    d->bottom = bottom > d->bottom ? bottom : d->bottom;
}

static void end_block(struct drawing *d, int64_t n)
{
    d->column += n < d->columns ? n : d->columns;
}

/* Panel i of the block at column d->column; its map, of a grid's size, is to be filled. */
static struct panel *add_panel(struct drawing *d, int64_t i, int64_t image, int grid,
                               const char *caption, enum colour colour)
{
    struct panel *p = &d->panel[d->n++];
    const vt_attention_set *a = d->set;
    int64_t pool = a->pool_side;
    *p = (struct panel){.image = image, .grid = grid};
    p->x = MARGIN + (double)(d->column + i % d->columns) * (d->side + GAP);
    p->y = d->y + HEADING + (double)(i / d->columns) * (CAPTION + d->side + GAP) + CAPTION;
    if (grid >= 0) {
        p->rows = grid < a->n_layers ? a->layer[grid].layout.grid_h : pool;
        p->columns = grid < a->n_layers ? a->layer[grid].layout.grid_w : pool;
        p->map = vt_calloc((size_t)(p->rows * p->columns), sizeof *p->map);
    }
    if (caption)
        write_text(d, STYLE_CAPTION, p->x, p->y - CAPTION / 2 - RISE, d->side, colour, caption);
    return p;
}

static void add_picture(struct drawing *d, int64_t i, int64_t image, const char *caption)
{
    add_panel(d, i, image, -1, caption, PALE);
}

static void add_map(struct drawing *d, int64_t i, int64_t image, int layer, int64_t head,
                    const char *caption)
{
    struct panel *p = add_panel(d, i, image, layer, caption, PALE);
    snprintf(p->layer, sizeof p->layer, "%d", layer);
    snprintf(p->head, sizeof p->head, "mean");
    if (head >= 0)
        snprintf(p->head, sizeof p->head, "%d", (int)head);
    if (!p->map)
        return;
    vt_attention_rest rest = vt_attention_put_back(&d->set->layer[layer], image, head, p->map);
    if (rest.padding > d->padding)
        d->padding = rest.padding;
}

static vt_status add_rollout(struct drawing *d, int64_t i, int64_t image, const char *caption,
                             vt_error *err)
{
    struct panel *p = add_panel(d, i, image, 0, caption, PALE);
    snprintf(p->layer, sizeof p->layer, "rollout");
    snprintf(p->head, sizeof p->head, "mean");
    return p->map ? vt_attention_rollout(d->set, image, p->map, err) : VT_OK;
}

static void add_pool(struct drawing *d, int64_t i, int64_t image)
{
    struct panel *p = add_panel(d, i, image, d->set->n_layers, "pooling", PALE);
    int64_t n = p->rows * p->columns;
    snprintf(p->layer, sizeof p->layer, "pooling");
    snprintf(p->head, sizeof p->head, "-");
    for (int64_t k = 0; p->map && k < n; k++)
        p->map[k] = (double)d->set->pool[image * n + k];
}

static void begin_image(struct drawing *d, int64_t image, int64_t panels)
{
    vt_text heading = {0};
    print_name(&d->set->image[image], &heading);
    vt_text_printf(&heading, ": ");
    print_verdict(d->set, image, &heading);
    d->text.failed = d->text.failed || heading.failed;
    begin_block(d, panels, heading.data ? heading.data : "", ink_of(d->set, image));
    vt_text_release(&heading);
}

/* Picture, the layers' means if wanted, pooling weights, rollout: a block. */
static vt_status add_image(struct drawing *d, int64_t image, bool layers, vt_error *err)
{
    const vt_attention_set *a = d->set;
    int64_t only = d->view->layer, shown = !layers ? 0 : only >= 0 ? 1 : a->n_layers, i = 0;
    int64_t panels = 1 + shown + (a->pool != NULL) + a->has_rollout;
    vt_status status = VT_OK;
    begin_image(d, image, layers ? panels : d->columns);
    add_picture(d, i++, image, "picture");
    for (int layer = 0; layer < a->n_layers && layers; layer++) {
        char caption[32];
        snprintf(caption, sizeof caption, "layer %d", layer);
        if (only < 0 || only == layer)
            add_map(d, i++, image, layer, -1, caption);
    }
    if (a->pool)
        add_pool(d, i++, image);
    if (a->has_rollout)
        status = add_rollout(d, i++, image, "rollout", err);
    end_block(d, panels);
    return status;
}

static vt_status lay_out_maps(struct drawing *d, vt_error *err)
{
    const vt_attention_set *a = d->set;
    const vt_attention_view *v = d->view;
    vt_status status = add_image(d, v->images[0], false, err);
    d->y = d->bottom;
    d->column = 0;
    for (int layer = 0; layer < a->n_layers; layer++) {
        int64_t heads = a->layer[layer].heads, shown = v->head >= 0 ? 1 : heads + 1, i = 0;
        vt_text heading = {0};
        if ((v->layer >= 0 && v->layer != layer) || v->head >= heads)
            continue;
        describe_layer(a, layer, &heading);
        if (shown < 4 && d->columns > 4) /* room for the heading */
            shown = 4;
        begin_block(d, shown, heading.data ? heading.data : "", DARK);
        d->text.failed = d->text.failed || heading.failed;
        vt_text_release(&heading);
        if (v->head < 0)
            add_map(d, i++, v->images[0], layer, -1, "mean");
        for (int64_t head = 0; head < heads; head++) {
            char caption[32];
            snprintf(caption, sizeof caption, "head %d", (int)head);
            if (v->head < 0 || v->head == head)
                add_map(d, i++, v->images[0], layer, head, caption);
        }
        end_block(d, shown);
    }
    return status;
}

static vt_status lay_out_means(struct drawing *d, vt_error *err)
{
    vt_status status = VT_OK;
    for (int64_t i = 0; i < d->view->n_images && status == VT_OK; i++)
        status = add_image(d, d->view->images[i], true, err);
    return status;
}

static bool is_wrong(const vt_attention_set *a, int64_t image)
{
    return a->image[image].label >= 0 && !vt_attention_right(a, image);
}

/* Pairs of a picture and its rollout, those that are wrong or those that are not, in columns
 * [first, last). */
static vt_status lay_out_pairs(struct drawing *d, bool wrong, int64_t first, int64_t last,
                               vt_error *err)
{
    double top = d->y, end = d->bottom;
    int64_t columns = d->columns;
    vt_status status = VT_OK;
    d->columns = last;
    d->column = first;
    d->bottom = top;
    for (int64_t i = 0; i < d->view->n_images && status == VT_OK; i++) {
        int64_t image = d->view->images[i];
        vt_text verdict = {0};
        if (is_wrong(d->set, image) != wrong)
            continue;
        if (d->column + 2 > last) {
            d->column = first;
            d->y = d->bottom;
        }
        if (!d->set->image[image].file) {
            print_name(&d->set->image[image], &verdict);
            vt_text_printf(&verdict, ": ");
        }
        print_prediction(d->set, image, &verdict);
        begin_block(d, 2, verdict.data ? verdict.data : "", ink_of(d->set, image));
        d->text.failed = d->text.failed || verdict.failed;
        vt_text_release(&verdict);
        add_picture(d, 0, image, NULL);
        if (wrong)
            vt_text_printf(&verdict, "is: %s", class_of(d->set, d->set->image[image].label));
        else if (d->set->image[image].file)
            print_name(&d->set->image[image], &verdict);
        if (verdict.data)
            write_text(d, STYLE_CAPTION, d->panel[d->n - 1].x,
                       d->panel[d->n - 1].y - CAPTION / 2 - RISE, 2 * d->side, wrong ? WRONG : PALE,
                       verdict.data);
        d->text.failed = d->text.failed || verdict.failed;
        vt_text_release(&verdict);
        status = add_rollout(d, 1, image, NULL, err);
        end_block(d, 2);
    }
    d->columns = columns;
    d->column = 0;
    d->y = top;
    d->bottom = d->bottom > end ? d->bottom : end;
    return status;
}

static vt_status lay_out_rollouts(struct drawing *d, vt_error *err)
{
    int64_t known = 0, wrong = 0, half = d->columns / 2;
    for (int64_t i = 0; i < d->view->n_images; i++) {
        wrong += is_wrong(d->set, d->view->images[i]);
        known += d->set->image[d->view->images[i]].label >= 0;
    }
    bool sides = wrong > 0 && wrong < d->view->n_images;
    const char *left = known == 0   ? "As the model sees them"
                       : wrong == 0 ? "Right (no image shown is wrong)"
                       : sides      ? "Right"
                                    : "Wrong (no image shown is right)";
    write_text(d, STYLE_HEADING, MARGIN, d->y + HEADING / 2, 0, DARK, left);
    if (sides)
        write_text(d, STYLE_HEADING, MARGIN + (double)half * (d->side + GAP), d->y + HEADING / 2, 0,
                   DARK, "Wrong");
    d->y += HEADING;
    if (!sides)
        return lay_out_pairs(d, wrong > 0, 0, d->columns, err);
    vt_status status = lay_out_pairs(d, false, 0, half, err);
    return status == VT_OK ? lay_out_pairs(d, true, half, d->columns, err) : status;
}

/* ---- colours */

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* The first of these that holds nine tenths of the cells above the mean. */
static vt_status choose_ratio(struct drawing *d, vt_error *err)
{
    static const double ratios[] = {1.1, 1.25, 1.5, 2, 4, 9, 16};
    enum { N_RATIOS = sizeof ratios / sizeof *ratios };
    int64_t n = 0, at = 0;
    for (int i = 0; i < d->n; i++)
        n += d->panel[i].rows * d->panel[i].columns;
    double *far = vt_calloc((size_t)n + 1, sizeof *far);
    if (!far)
        return vt_fail(err, VT_ERR_NOMEM, "no memory for the colours of the maps");
    for (int i = 0; i < d->n; i++) {
        const struct panel *p = &d->panel[i];
        int64_t cells = p->rows * p->columns;
        double mean = cells ? vt_overlay_mean(p->map, cells) : 0;
        for (int64_t k = 0; k < cells; k++) {
            double times = p->map[k] / mean;
            if (isfinite(times) && times > 1)
                far[at++] = times;
        }
    }
    qsort(far, (size_t)at, sizeof *far, compare);
    double limit = at ? far[(at - 1) * 9 / 10] : 1;
    int i = 0;
    while (i < N_RATIOS - 1 && ratios[i] < limit)
        i++;
    d->ratio = ratios[i];
    vt_free(far);
    return VT_OK;
}

/* Places of a grid's edges in d->edge[axis]. */
static double *edges_of(const struct drawing *d, int axis, int grid)
{
    double *edge = d->edge[axis];
    for (int i = 0; i < grid; i++)
        edge += 1 + (axis ? d->set->layer[i].layout.grid_w : d->set->layer[i].layout.grid_h);
    return edge;
}

static vt_status find_edges(struct drawing *d, vt_error *err)
{
    const vt_attention_set *a = d->set;
    for (int axis = 0; axis < 2; axis++) {
        int64_t n = a->pool_side + 1, from = axis ? a->width : a->height;
        const double *below = NULL;
        for (int i = 0; i < a->n_layers; i++)
            n += 1 + (axis ? a->layer[i].layout.grid_w : a->layer[i].layout.grid_h);
        d->edge[axis] = vt_calloc((size_t)n, sizeof(double));
        if (!d->edge[axis])
            return vt_fail(err, VT_ERR_NOMEM, "no memory for the maps");
        for (int i = 0; i < a->n_layers + (a->pool != NULL); i++) {
            double *edge = edges_of(d, axis, i);
            int64_t cells = i == a->n_layers ? a->pool_side
                            : axis           ? a->layer[i].layout.grid_w
                                             : a->layer[i].layout.grid_h;
            vt_overlay_edges(cells, from, below, edge);
            from = cells;
            below = edge;
        }
    }
    return VT_OK;
}

static int64_t pixels(double inches)
{
    return (int64_t)(inches * DPI + 0.5);
}

/* The scale with its numbers, and what is left out, below the panels. */
static void add_scale(struct drawing *d)
{
    double bar = d->view->narrow ? 1.3 : 2, y = d->bottom + 0.02;
    double root = sqrt(d->ratio), ticks[] = {1 / d->ratio, 1 / root, 1, root, d->ratio};
    char note[TEXT_MAX];
    for (int i = 0; i < 5; i += d->view->narrow ? 2 : 1) {
        if (d->ratio >= 2 && ticks[i] < 1)
            snprintf(note, sizeof note, "1/%.3g", 1 / ticks[i]);
        else
            snprintf(note, sizeof note, "%.3g", ticks[i]);
        write_text(d, STYLE_TICK, MARGIN + BAR_LEFT + bar * i / 4, y + BAR + 0.08, 0, PALE, note);
    }
    write_text(d, STYLE_CAPTION, MARGIN + BAR_LEFT + bar + 0.15, y + BAR / 2, 0, PALE,
               d->view->narrow ? "times the map's mean" : "attention, times the map's mean");
    d->bottom = y + BAR + 0.2;
    if (d->padding > 0) {
        snprintf(note, sizeof note, "Left out: padding, up to %.1f %% of a map's attention",
                 100 * d->padding);
        write_text(d, STYLE_CAPTION, MARGIN, d->bottom + CAPTION / 2, 0, PALE, note);
        d->bottom += CAPTION;
    }
    d->bottom += MARGIN / 2;
}

static vt_status paint(struct drawing *d, vt_error *err)
{
    const vt_attention_set *a = d->set;
    double bar_y = d->bottom + 0.02;
    vt_status status = choose_ratio(d, err);
    if (status == VT_OK)
        status = find_edges(d, err);
    if (status != VT_OK)
        return status;
    add_scale(d);
    status = vt_canvas_init(&d->canvas, pixels(d->bottom), pixels(d->width), err);
    if (status != VT_OK)
        return status;
    for (int i = 0; i < d->n; i++) {
        const struct panel *p = &d->panel[i];
        vt_overlay_picture picture = {a->image[p->image].pixels, a->height, a->width};
        vt_frame frame = {pixels(p->y), pixels(p->x), (int64_t)(d->side * DPI)};
        if (p->grid < 0) {
            vt_overlay_picture_draw(&d->canvas, frame, &picture);
            continue;
        }
        vt_overlay_map map = {p->map, p->rows, p->columns, edges_of(d, 0, p->grid),
                              edges_of(d, 1, p->grid)};
        vt_overlay_map_draw(&d->canvas, frame, &picture, &map, d->ratio, d->view->smooth);
    }
    vt_overlay_bar_draw(&d->canvas, pixels(bar_y), pixels(MARGIN + BAR_LEFT), pixels(BAR),
                        pixels(d->view->narrow ? 1.3 : 2));
    return VT_OK;
}

/* ---- files */

static void list_values(const struct drawing *d, vt_text *text)
{
    vt_text_printf(text, "image\tlayer\thead\trow\tcolumn\tshare\n");
    for (int i = 0; i < d->n; i++) {
        const struct panel *p = &d->panel[i];
        const vt_attention_image *image = &d->set->image[p->image];
        vt_text name = {0};
        if (image->file)
            vt_escape(&name, VT_ESCAPE_TSV, image->file);
        else
            vt_text_printf(&name, "%" PRId64, image->number);
        for (int64_t k = 0; k < p->rows * p->columns; k++)
            vt_text_printf(text, "%s\t%s\t%s\t%" PRId64 "\t%" PRId64 "\t%.9g\n",
                           name.data ? name.data : "", p->layer, p->head, k / p->columns,
                           k % p->columns, p->map[k]);
        text->failed = text->failed || name.failed;
        vt_text_release(&name);
    }
}

static vt_status publish(vt_drawer *drawer, int dir_fd, const char *folder, struct drawing *d,
                         vt_error *err)
{
    const char *name = d->view->name;
    char file[VT_NAME_MAX], formats[VT_FORMATS_TEXT];
    vt_text values = {0}, png = {0}, numbers = {0}, templates = {0};
    list_values(d, &values);
    vt_text_printf(&numbers,
                   "name = '%s'\nformats = '%s'\npanels = '%s-panels.png'\ntexts = '%s-text.tsv'\n"
                   "\n# Inches; the panels have %d pixels an inch\nwidth = %.4f\nheight = %.4f\n"
                   "pixel = %.6f\ncolumns = %" PRId64 "\nrows = %" PRId64 "\n\n",
                   name, vt_formats_text(&drawer->formats, formats), name, name, DPI,
                   (double)d->canvas.width / DPI, (double)d->canvas.height / DPI, 1.0 / DPI,
                   d->canvas.width, d->canvas.height);
    vt_status status = vt_draw_templates(&templates, "attention.gp", err);
    if (status == VT_OK)
        status = vt_image_png(&png, d->canvas.pixels, d->canvas.height, d->canvas.width, err);
    snprintf(file, sizeof file, "%s.tsv", name);
    if (status == VT_OK)
        status = vt_draw_publish(dir_fd, file, &values, err);
    snprintf(file, sizeof file, "%s-text.tsv", name);
    if (status == VT_OK)
        status = vt_draw_publish(dir_fd, file, &d->text, err);
    snprintf(file, sizeof file, "%s-panels.png", name);
    if (status == VT_OK)
        status = vt_draw_publish(dir_fd, file, &png, err);
    if (status == VT_OK)
        status = vt_draw_figure(drawer, dir_fd, folder, name, &numbers, &templates, err);
    vt_text_release(&values);
    vt_text_release(&png);
    vt_text_release(&numbers);
    vt_text_release(&templates);
    return status;
}

/* ---- one figure */

/* Columns that blocks of k panels fill: several beside each other, one, or its even rows. */
static int64_t fit_columns(int64_t k, int64_t most)
{
    int64_t rows = (k + most - 1) / most;
    return k <= most / 2 ? most / k * k : (k + rows - 1) / rows;
}

static int64_t choose_columns(const vt_attention_set *a, const vt_attention_view *v)
{
    int64_t most = v->narrow ? 4 : 8, k = 1 + (a->pool != NULL) + a->has_rollout;
    if (v->kind == VT_ATTENTION_rollout)
        return most;
    if (v->kind == VT_ATTENTION_mean)
        return fit_columns(k + (v->layer < 0 ? a->n_layers : 1), most);
    for (int i = 0; i < a->n_layers; i++)
        if ((v->layer < 0 || v->layer == i) && v->head < 0 && a->layer[i].heads + 1 > k)
            k = a->layer[i].heads + 1;
    return k < most / 2 ? most : fit_columns(k, most);
}

static int64_t count_panels(const vt_attention_set *a, const vt_attention_view *v)
{
    int64_t n = 3; /* picture, pool, rollout */
    if (v->kind != VT_ATTENTION_maps)
        return v->n_images * (v->kind == VT_ATTENTION_mean ? n + a->n_layers : n);
    for (int i = 0; i < a->n_layers; i++)
        if (v->layer < 0 || v->layer == i)
            n += v->head < 0 ? a->layer[i].heads + 1 : 1;
    return n;
}

static vt_status check(const vt_attention_set *a, const vt_attention_view *v, vt_error *err)
{
    int64_t heads = 0;
    for (int i = 0; i < a->n_layers; i++)
        if ((v->layer < 0 || v->layer == i) && a->layer[i].heads > heads)
            heads = a->layer[i].heads;
    if (v->layer >= a->n_layers)
        return vt_fail(err, VT_ERR_USAGE,
                       "there is no layer %" PRId64 ": layers with attention are 0 to %d", v->layer,
                       a->n_layers - 1);
    if (v->kind == VT_ATTENTION_maps && v->head >= heads)
        return vt_fail(err, VT_ERR_USAGE, "there is no head %" PRId64 ": heads are 0 to %" PRId64,
                       v->head, heads - 1);
    if (v->kind == VT_ATTENTION_rollout && !a->has_rollout)
        return vt_fail(err, VT_ERR_USAGE,
                       "these layers have no rollout: their grids or class tokens do not follow "
                       "each other");
    if (count_panels(a, v) > PANELS_MAX)
        return vt_fail(err, VT_ERR_USAGE,
                       "%" PRId64 " maps are too many for one figure (%d): choose a layer, a head "
                       "or fewer images",
                       count_panels(a, v), PANELS_MAX);
    return VT_OK;
}

static vt_status lay_out(struct drawing *d, vt_error *err)
{
    switch (d->view->kind) {
    case VT_ATTENTION_maps:
        return lay_out_maps(d, err);
    case VT_ATTENTION_mean:
        return lay_out_means(d, err);
    case VT_ATTENTION_rollout:
    case VT_ATTENTION_COUNT:
        break;
    }
    return lay_out_rollouts(d, err);
}

vt_status vt_attention_figure(vt_drawer *drawer, int dir_fd, const char *folder,
                              const vt_attention_set *set, const vt_attention_view *view,
                              vt_error *err)
{
    struct drawing d = {.set = set,
                        .view = view,
                        .width = view->narrow ? 3.3 : 6.9,
                        .columns = choose_columns(set, view),
                        .y = MARGIN / 2,
                        .bottom = MARGIN / 2};
    d.side = (d.width - 2 * MARGIN - (double)(d.columns - 1) * GAP) / (double)d.columns;
    vt_status status = check(set, view, err);
    if (status != VT_OK)
        return status;
    d.panel = vt_calloc((size_t)count_panels(set, view), sizeof *d.panel);
    status = d.panel ? lay_out(&d, err) : VT_ERR_NOMEM;
    for (int i = 0; i < d.n && status == VT_OK; i++)
        if (d.panel[i].grid >= 0 && !d.panel[i].map)
            status = VT_ERR_NOMEM;
    if (status == VT_ERR_NOMEM)
        vt_fail(err, status, "no memory for the attention maps");
    if (status == VT_OK)
        status = paint(&d, err);
    if (status == VT_OK)
        status = publish(drawer, dir_fd, folder, &d, err);
    for (int i = 0; i < d.n; i++)
        vt_free(d.panel[i].map);
    vt_free(d.panel);
    vt_free(d.edge[0]);
    vt_free(d.edge[1]);
    vt_free(d.canvas.pixels);
    vt_text_release(&d.text);
    return status;
}
