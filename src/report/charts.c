#include "report/charts.h"

#include "base/mem.h"
#include "report/figure.h"
#include "results/typeset.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Inches. */
#define EDGE 0.06
#define LINE 0.175       /* a line of text, and its distance to the next */
#define NUMBERS 0.19     /* the numbers below an axis */
#define DIGIT 0.082      /* of the numbers of an axis, 9 points */
#define TICK 0.11        /* between numbers and axis */
#define SAMPLE 0.24      /* a piece of line in a legend */
#define SPACE 0.05       /* between it and its name */
#define APART 0.16       /* between entries of a legend, and panels */
#define LABEL_LINE 0.15  /* from one curve's name to the next */
#define LABEL_SHARE 0.34 /* of the figure's width, for names at the ends of curves */

enum {
    PARTS_MAX = 3,
    DIRECT_MAX = 4,
    COLUMNS_MAX = 4,
    LAST_SPARSE = 25,
    MARKS = 8,
    NAME_SIZE = 400
};

struct part {
    vt_quantity quantity;
    const char *name;
    int series; /* its colour where it has one of its own */
    vt_dash dash;
};

/* What one panel shows. Of several groups: the main part, which is the first one that any of them
 * has, and the part `beside`, if there is one. */
static const struct chart {
    const char *heading, *unit;
    bool from_zero, scaled, own_axis;
    int n_parts, beside;
    struct part part[PARTS_MAX];
} loss = {"loss (nat)",
          "",
          false,
          false,
          false,
          3,
          2,
          {{VT_QUANTITY_TEST_LOSS, "test", 1, VT_DASH_NONE},
           {VT_QUANTITY_VAL_LOSS, "val", 3, VT_DASH_DOT},
           {VT_QUANTITY_TRAIN_LOSS, "train", 2, VT_DASH_LONG}}},
  accuracy = {"accuracy",
              "%",
              false,
              false,
              false,
              3,
              2,
              {{VT_QUANTITY_TEST_TOP1, "test", 1, VT_DASH_NONE},
               {VT_QUANTITY_VAL_TOP1, "val", 3, VT_DASH_DOT},
               {VT_QUANTITY_TRAIN_TOP1, "train", 2, VT_DASH_LONG}}},
  rate =
      {"learning rate", "", true, true, true, 1, -1, {{VT_QUANTITY_RATE, NULL, 1, VT_DASH_NONE}}},
  gradient = {"gradient norm", "", false, true,
              false,           1,  -1,    {{VT_QUANTITY_GRADIENT, NULL, 1, VT_DASH_NONE}}},
  speed = {"training images/s",
           "",
           true,
           true,
           false,
           1,
           -1,
           {{VT_QUANTITY_SPEED, NULL, 1, VT_DASH_NONE}}},
  step = {"time of a step (ms)",
          "",
          true,
          true,
          false,
          3,
          2,
          {{VT_QUANTITY_STEP_MEDIAN, "median", 1, VT_DASH_NONE},
           {VT_QUANTITY_STEP_P90, "90 %", 3, VT_DASH_DOT},
           {VT_QUANTITY_STEP_P99, "99 %", 2, VT_DASH_LONG}}};

enum { CHARTS_MAX = 3 };

static const struct kind {
    const struct chart *chart[CHARTS_MAX];
    const char *what;
} kinds[VT_CHARTS_COUNT] = {
    [VT_CHARTS_LOSS] = {{&loss}, "loss"},
    [VT_CHARTS_ACCURACY] = {{&accuracy}, "accuracy"},
    [VT_CHARTS_RATE] = {{&rate}, "learning rate"},
    [VT_CHARTS_GRADIENT] = {{&gradient}, "gradient norm"},
    [VT_CHARTS_SPEED] = {{&speed, &step}, "speed (perf.jsonl)"},
    [VT_CHARTS_RUN] = {{&loss, &accuracy, &rate}, "curve"},
};

/* A panel: a chart of the groups [first, first + n), all its parts or one of them. */
struct cell {
    const struct chart *chart;
    int first, n, part; /* part: -1 for all */
    int row, column;
    vt_scale x, y;
    int exponent;
};

/* A quantity of a group in the table. */
struct column {
    int group;
    vt_quantity quantity;
    int at; /* its first column, from 1 */
};

struct sketch {
    const vt_groups *groups;
    const vt_charts_options *options;
    vt_figure figure;
    struct cell *cell;
    int n_cells, rows, columns, rows_of_block;
    struct column *column;
    int n_columns, next;
    bool apart, direct, titled, legend;
    double left, gap, right, panel_width, panel_height, top, below;
    int legend_columns, legend_rows;
    double legend_pitch;
    int common; /* characters that all names begin with */
};

static const vt_series *series_of(const struct sketch *s, int group, vt_quantity quantity)
{
    return &s->groups->group[group].series[quantity];
}

/* Is there a finite value of the part in any of the cell's groups? */
static bool has_values(const struct sketch *s, const struct cell *c, int part)
{
    for (int g = c->first; g < c->first + c->n; g++)
        if (!isnan(vt_series_last(series_of(s, g, c->chart->part[part].quantity))))
            return true;
    return false;
}

/* Of several groups, the part that is compared: the first that any of them has. */
static int main_part(const struct sketch *s, const struct cell *c)
{
    for (int p = 0; p < c->chart->n_parts; p++)
        if (has_values(s, c, p))
            return p;
    return 0;
}

static bool is_shown(const struct sketch *s, const struct cell *c, int part)
{
    if (!has_values(s, c, part))
        return false;
    if (c->part >= 0)
        return part == c->part;
    return c->n == 1 || part == main_part(s, c) || part == c->chart->beside;
}

static int count_shown(const struct sketch *s, const struct cell *c)
{
    int n = 0;
    for (int p = 0; p < c->chart->n_parts; p++)
        n += is_shown(s, c, p);
    return n;
}

static void add_cell(struct sketch *s, const struct chart *chart, int first, int n, int part,
                     int row, int column)
{
    s->cell[s->n_cells++] = (struct cell){
        .chart = chart, .first = first, .n = n, .part = part, .row = row, .column = column};
    s->rows = row >= s->rows ? row + 1 : s->rows;
    s->columns = column >= s->columns ? column + 1 : s->columns;
}

/* Every group in a column of its own; after COLUMNS_MAX of them it goes on below. */
static void arrange_apart(struct sketch *s, const struct kind *kind)
{
    int n = s->groups->n, most = s->figure.width < VT_WIDTH_DOUBLE ? 2 : COLUMNS_MAX;
    int blocks = (n + most - 1) / most, columns = (n + blocks - 1) / blocks, charts = 0;
    while (charts < CHARTS_MAX && kind->chart[charts])
        charts++;
    for (int g = 0; g < n; g++)
        for (int k = 0; k < charts; k++)
            add_cell(s, kind->chart[k], g, 1, -1, g / columns * charts + k, g % columns);
    s->rows_of_block = charts;
}

static void arrange_together(struct sketch *s, const struct kind *kind)
{
    bool wide = s->figure.width >= VT_WIDTH_DOUBLE;
    int n = s->groups->n, place = 0;
    for (int k = 0; k < CHARTS_MAX && kind->chart[k]; k++) {
        const struct chart *chart = kind->chart[k];
        struct cell whole = {.chart = chart, .n = n, .part = -1};
        bool both = n > DIRECT_MAX && count_shown(s, &whole) > 1 && !kind->chart[1];
        bool across = wide && (both || s->options->kind == VT_CHARTS_SPEED);
        if (both) {
            add_cell(s, chart, 0, n, main_part(s, &whole), place, 0);
            place++;
            add_cell(s, chart, 0, n, chart->beside, across ? 0 : place, across);
            place++;
        } else {
            add_cell(s, chart, 0, n, n > DIRECT_MAX ? main_part(s, &whole) : -1, across ? 0 : place,
                     across ? place : 0);
            place++;
        }
    }
    s->rows_of_block = s->rows;
}

/* Axes. */

static void add_range(const struct sketch *s, const struct cell *c, bool log, vt_range *range)
{
    for (int p = 0; p < c->chart->n_parts; p++)
        for (int g = c->first; g < c->first + c->n && is_shown(s, c, p); g++)
            vt_series_range(series_of(s, g, c->chart->part[p].quantity), log, range);
}

static void measure_values(struct sketch *s, struct cell *c)
{
    bool log = s->options->log && (c->chart == &loss || c->chart == &gradient);
    vt_range range = {1, 0};
    for (int i = 0; i < s->n_cells; i++)
        if (&s->cell[i] == c || (s->cell[i].chart == c->chart && !c->chart->own_axis))
            add_range(s, &s->cell[i], log, &range);
    if (c->chart->from_zero && range.min <= range.max)
        range.min = fmin(range.min, 0);
    c->y = log ? vt_scale_of_logs(range)
               : vt_scale_of_values(range, s->panel_height > 1.7   ? 6
                                           : s->panel_height > 1.3 ? 5
                                                                   : 4);
    if (c->chart == &accuracy || c->chart->from_zero)
        c->y.min = fmax(c->y.min, 0);
    if (c->chart == &accuracy)
        c->y.max = fmin(c->y.max, 100);
    c->exponent = c->chart->scaled ? vt_scale_exponent(&c->y) : 0;
}

static void measure_epochs(struct sketch *s, struct cell *c)
{
    vt_range range = {1, 0};
    int ticks = (int)(s->panel_width / 0.5);
    for (int i = 0; i < s->n_cells; i++) {
        const struct cell *other = &s->cell[i];
        if (other->first != c->first)
            continue;
        for (int p = 0; p < other->chart->n_parts; p++) {
            for (int g = c->first; g < c->first + c->n && is_shown(s, other, p); g++) {
                const vt_series *series = series_of(s, g, other->chart->part[p].quantity);
                if (series->n) {
                    vt_range_add(&range, series->point[0].x);
                    vt_range_add(&range, series->point[series->n - 1].x);
                }
            }
        }
    }
    c->x = vt_scale_of_epochs(range.min, range.max, ticks < 2 ? 2 : ticks > 8 ? 8 : ticks);
}

/* Names. */

/* Of names that are too long the end is kept, if that holds all by which they differ; else the
 * middle is cut out of what follows their common beginning. */
static void fit_name(const struct sketch *s, int group, double width, char name[NAME_SIZE])
{
    const char *whole = s->groups->group[group].name, *rest = whole + s->common, *tail = rest;
    char cut[NAME_SIZE];
    if (s->common > 2 && vt_text_width(whole, VT_POINTS_SMALL) > width) {
        double room = width - vt_text_width("…", VT_POINTS_SMALL);
        while (tail > whole && vt_text_width(tail - 1, VT_POINTS_SMALL) <= room)
            tail--;
        snprintf(cut, sizeof cut, "…%s", tail);
        whole = cut;
    }
    vt_text_shorten(whole, width, VT_POINTS_SMALL, name, NAME_SIZE);
}

static void find_common(struct sketch *s)
{
    const vt_group *group = s->groups->group;
    s->common = 0;
    for (int i = 0; s->groups->n > 1 && group[0].name[i]; i++) {
        for (int g = 1; g < s->groups->n; g++)
            if (group[g].name[i] != group[0].name[i])
                return;
        if (strchr("-_. ", group[0].name[i]))
            s->common = i + 1;
    }
}

/* The entries of the legend: groups, or the parts where each panel has one group. */
static int list_entries(const struct sketch *s, char names[][NAME_SIZE], int *styles, double width)
{
    int n = 0;
    if (s->cell[0].n > 1) {
        for (int g = 0; g < s->groups->n; g++) {
            fit_name(s, g, width, names[n]);
            styles[n++] = vt_style_of(g + 1, VT_DASH_NONE);
        }
        return n;
    }
    for (int i = 0; i < s->n_cells; i++) {
        const struct chart *chart = s->cell[i].chart;
        for (int p = 0; p < chart->n_parts; p++) {
            const char *part = chart->part[p].name;
            bool listed = !part || !is_shown(s, &s->cell[i], p);
            for (int k = 0; k < n && !listed; k++)
                listed = strcmp(names[k], part) == 0;
            if (listed)
                continue;
            snprintf(names[n], NAME_SIZE, "%s", part);
            styles[n++] = vt_style_of(chart->part[p].series, chart->part[p].dash);
        }
    }
    return n;
}

/* Room for a name in the legend: of many names at least two beside each other on wide paper. */
static double legend_room(const struct sketch *s)
{
    double width = s->figure.width - 2 * EDGE;
    if (s->groups->n > DIRECT_MAX && s->figure.width >= VT_WIDTH_DOUBLE)
        width = (width - APART) / 2;
    return width - SAMPLE - SPACE - 0.01;
}

static double widest(char names[][NAME_SIZE], int n)
{
    double most = 0;
    for (int i = 0; i < n; i++)
        most = fmax(most, vt_text_width(names[i], VT_POINTS_SMALL));
    return most;
}

/* Decides how the curves get their names, and what room that takes. */
static void plan_names(struct sketch *s)
{
    char names[VT_CHARTS_GROUPS_MAX][NAME_SIZE];
    int styles[VT_CHARTS_GROUPS_MAX];
    double width = s->figure.width, room = legend_room(s);
    int n = list_entries(s, names, styles, room), parts = 0;
    for (int i = 0; i < s->n_cells; i++)
        parts = count_shown(s, &s->cell[i]) > parts ? count_shown(s, &s->cell[i]) : parts;
    double label = widest(names, n) + SAMPLE + SPACE + EDGE;
    s->right = 2 * EDGE;
    s->direct = s->columns == 1 && n <= DIRECT_MAX && label <= LABEL_SHARE * width;
    if (n == 0 || (s->cell[0].n == 1 && parts < 2))
        return; /* one curve a panel needs no name */
    if (s->direct) {
        s->right = label + EDGE;
        return;
    }
    s->legend = true;
    s->legend_pitch = widest(names, n) + SAMPLE + SPACE + APART;
    s->legend_columns = (int)((width - 2 * EDGE + APART) / s->legend_pitch);
    s->legend_columns = s->legend_columns < 1 ? 1 : s->legend_columns > n ? n : s->legend_columns;
    s->legend_rows = (n + s->legend_columns - 1) / s->legend_columns;
    s->legend_columns = (n + s->legend_rows - 1) / s->legend_rows;
}

static bool has_bands(const struct sketch *s, int *least, int *most)
{
    *least = *most = s->groups->group[0].n_runs;
    for (int g = 1; g < s->groups->n; g++) {
        int n = s->groups->group[g].n_runs;
        *least = n < *least ? n : *least;
        *most = n > *most ? n : *most;
    }
    return *most > 1;
}

static void lay_out(struct sketch *s)
{
    bool wide = s->figure.width >= VT_WIDTH_DOUBLE;
    int digits = 1, least, most;
    s->titled = s->cell[0].n == 1;
    s->panel_height = s->rows > 1        ? 1.15
                      : !wide            ? 1.55
                      : s->columns > 1   ? 1.9
                      : s->groups->n > 1 ? 2.5
                                         : 2.2;
    find_common(s);
    plan_names(s);
    for (int i = 0; i < s->n_cells; i++) {
        measure_values(s, &s->cell[i]);
        int size = vt_scale_characters(&s->cell[i].y, s->cell[i].exponent) +
                   (*s->cell[i].chart->unit ? 1 : 0);
        digits = size > digits ? size : digits;
    }
    s->left = EDGE + DIGIT * digits + TICK;
    bool inner_numbers = false;
    for (int i = 0; i < s->n_cells; i++)
        inner_numbers |=
            s->cell[i].column > 0 &&
            (s->cell[i].chart->own_axis || (!s->apart && s->cell[i].chart != s->cell[0].chart));
    s->gap = inner_numbers ? s->left + EDGE : APART;
    s->panel_width =
        (s->figure.width - s->left - s->right - (s->columns - 1) * s->gap) / s->columns;
    s->top = LINE * (s->titled ? 2.4 : 1.4) + EDGE + (has_bands(s, &least, &most) ? LINE : 0);
    s->below = NUMBERS + 1.2 * LINE + EDGE;
    int blocks = s->rows / s->rows_of_block;
    double block =
        s->top + s->below + s->rows_of_block * (s->panel_height + LINE + APART) - LINE - APART;
    s->figure.height = blocks * block + (s->legend_rows ? s->legend_rows * LINE + EDGE : 0);
    for (int i = 0; i < s->n_cells; i++)
        measure_epochs(s, &s->cell[i]);
}

static double left_of(const struct sketch *s, const struct cell *c)
{
    return s->left + c->column * (s->panel_width + s->gap);
}

static double bottom_of(const struct sketch *s, const struct cell *c)
{
    double pitch = s->panel_height + LINE + APART;
    double block = s->top + s->below + s->rows_of_block * pitch - LINE - APART;
    return s->figure.height - c->row / s->rows_of_block * block - s->top - s->panel_height -
           c->row % s->rows_of_block * pitch;
}

/* The table. */

static int find_column(struct sketch *s, int group, vt_quantity quantity)
{
    for (int i = 0; i < s->n_columns; i++)
        if (s->column[i].group == group && s->column[i].quantity == quantity)
            return s->column[i].at;
    s->column[s->n_columns++] = (struct column){group, quantity, s->next};
    int at = s->next;
    s->next += s->groups->group[group].n_runs > 1 ? 4 : 1;
    return at;
}

static void print_value(double value, vt_text *text)
{
    if (isnan(value))
        vt_text_printf(text, "\tNaN");
    else
        vt_text_printf(text, "\t%.9g", value);
}

/* `floor` is the lowest value that can be drawn. */
static void print_point(const vt_point *p, bool banded, double floor, vt_text *text)
{
    if (!p) {
        vt_text_printf(text, banded ? "\t\t\t\t" : "\t");
        return;
    }
    print_value(p->mean, text);
    if (banded) {
        print_value(isnan(p->low) ? p->low : fmax(p->low, floor), text);
        print_value(p->high, text);
        vt_text_printf(text, "\t%d", p->n);
    }
}

static void print_heading(const struct sketch *s, const struct column *c, vt_text *text)
{
    const vt_group *group = &s->groups->group[c->group];
    static const char *const of_bands[] = {"mean", "low", "high", "seeds"};
    for (int i = 0; i < (group->n_runs > 1 ? 4 : 1); i++) {
        vt_text_printf(text, "\t");
        if (s->groups->n > 1)
            vt_text_printf(text, "%s ", group->name);
        vt_text_printf(text, "%s", vt_quantity_name(c->quantity));
        if (group->n_runs > 1)
            vt_text_printf(text, " %s", of_bands[i]);
    }
}

static vt_status print_table(const struct sketch *s, vt_text *text, vt_error *err)
{
    int64_t *at = vt_calloc((size_t)s->n_columns + 1, sizeof *at);
    double floor = s->cell[0].y.log ? s->cell[0].y.min : -INFINITY;
    if (!at)
        return vt_fail(err, VT_ERR_NOMEM, "no memory for the table of a figure");
    vt_text_printf(text, "epoch");
    for (int i = 0; i < s->n_columns; i++)
        print_heading(s, &s->column[i], text);
    vt_text_printf(text, "\n");
    for (;;) {
        double x = INFINITY;
        for (int i = 0; i < s->n_columns; i++) {
            const vt_series *series = series_of(s, s->column[i].group, s->column[i].quantity);
            if (at[i] < series->n)
                x = fmin(x, series->point[at[i]].x);
        }
        if (isinf(x))
            break;
        vt_text_printf(text, "%.9g", x);
        for (int i = 0; i < s->n_columns; i++) {
            const struct column *c = &s->column[i];
            const vt_series *series = series_of(s, c->group, c->quantity);
            bool here = at[i] < series->n && series->point[at[i]].x == x;
            print_point(here ? &series->point[at[i]++] : NULL,
                        s->groups->group[c->group].n_runs > 1, floor, text);
        }
        vt_text_printf(text, "\n");
    }
    vt_free(at);
    return VT_OK;
}

/* Panels, curves and texts. */

static void print_heading_of(const struct cell *c, bool whole, char text[NAME_SIZE])
{
    static const char *const digits[] = {"⁰", "¹", "²", "³", "⁴", "⁵", "⁶", "⁷", "⁸", "⁹"};
    char unit[40] = "";
    const char *part = c->n > 1 && c->part >= 0 ? c->chart->part[c->part].name : NULL;
    int e = abs(c->exponent);
    if (e)
        snprintf(unit, sizeof unit, "%s10%s%s%s", whole ? " × " : "", c->exponent < 0 ? "⁻" : "",
                 e >= 10 ? digits[e / 10 % 10] : "", digits[e % 10]);
    if (whole)
        snprintf(text, NAME_SIZE, "%s%s%s%s", part ? part : "", part ? " " : "", c->chart->heading,
                 unit);
    else
        snprintf(text, NAME_SIZE, "%s", unit);
}

static void add_curve(struct sketch *s, int group, const struct part *part, int style, bool band,
                      const char *name)
{
    const vt_series *series = series_of(s, group, part->quantity);
    int at = find_column(s, group, part->quantity);
    bool banded = band && s->groups->group[group].n_runs > 1;
    const vt_curve curve = {.x = 1,
                            .y = at,
                            .low = banded ? at + 1 : 0,
                            .high = banded ? at + 2 : 0,
                            .style = style,
                            .marks = series->n > LAST_SPARSE ? series->n / MARKS : 1,
                            .name = name};
    vt_figure_curve(&s->figure, &curve);
}

static void add_curves(struct sketch *s, const struct cell *c)
{
    char name[NAME_SIZE];
    /* The main part comes last, on top. */
    for (int p = c->chart->n_parts - 1; p >= 0; p--) {
        const struct part *part = &c->chart->part[p];
        bool main = p == main_part(s, c) || c->part >= 0;
        for (int g = c->first; g < c->first + c->n && is_shown(s, c, p); g++) {
            if (isnan(vt_series_last(series_of(s, g, part->quantity))))
                continue;
            int style = c->n == 1 ? vt_style_of(part->series, part->dash)
                                  : vt_style_of(g + 1, main ? VT_DASH_NONE : VT_DASH_LONG);
            fit_name(s, g, 1.2, name);
            if (count_shown(s, c) > 1 && part->name)
                snprintf(name + (c->n > 1 ? strlen(name) : 0), 60, "%s%s", c->n > 1 ? " " : "",
                         part->name);
            add_curve(s, g, part, style, c->n == 1 || main, name);
        }
    }
}

static void add_entry(struct sketch *s, double x, double y, int style, const char *name)
{
    vt_figure_sample(&s->figure, x, y, SAMPLE, style);
    vt_figure_text(&s->figure, x + SAMPLE + SPACE, y, VT_SIDE_LEFT, VT_INK, VT_POINTS_SMALL, name);
}

/* Names at the ends of the curves. */
static void add_labels(struct sketch *s, const struct cell *c)
{
    double place[VT_CHARTS_GROUPS_MAX], bottom = bottom_of(s, c);
    int styles[VT_CHARTS_GROUPS_MAX], n = 0;
    char names[VT_CHARTS_GROUPS_MAX][NAME_SIZE];
    for (int i = 0; i < (c->n > 1 ? c->n : c->chart->n_parts); i++) {
        int group = c->n > 1 ? c->first + i : c->first, part = c->n > 1 ? main_part(s, c) : i;
        if (c->n == 1 && (!is_shown(s, c, i) || !c->chart->part[i].name))
            continue;
        double last = vt_series_last(series_of(s, group, c->chart->part[part].quantity));
        if (isnan(last) && c->n > 1 && c->chart->beside >= 0)
            last = vt_series_last(series_of(s, group, c->chart->part[c->chart->beside].quantity));
        if (isnan(last))
            continue;
        place[n] = bottom + s->panel_height * vt_scale_place(&c->y, last);
        styles[n] = c->n > 1 ? vt_style_of(group + 1, VT_DASH_NONE)
                             : vt_style_of(c->chart->part[i].series, c->chart->part[i].dash);
        if (c->n > 1)
            fit_name(s, group, LABEL_SHARE * s->figure.width, names[n]);
        else
            snprintf(names[n], NAME_SIZE, "%s", c->chart->part[i].name);
        n++;
    }
    vt_places_spread(place, n, LABEL_LINE, bottom, bottom + s->panel_height);
    for (int i = 0; i < n; i++)
        add_entry(s, left_of(s, c) + s->panel_width + EDGE, place[i], styles[i], names[i]);
}

/* "solid: test, dashed: train", at the right end of the heading's line. */
static void add_key(struct sketch *s, const struct cell *c, double y)
{
    const int parts[] = {c->chart->beside, main_part(s, c)};
    double x = s->figure.width - EDGE;
    for (int i = 0; i < 2; i++) {
        const char *name = c->chart->part[parts[i]].name;
        x -= vt_text_width(name, VT_POINTS_SMALL) + SPACE + 1.2 * SAMPLE;
        vt_figure_sample(&s->figure, x, y, 1.2 * SAMPLE, i ? VT_DASH_NONE : VT_DASH_LONG);
        vt_figure_text(&s->figure, x + 1.2 * SAMPLE + SPACE, y, VT_SIDE_LEFT, VT_SOFT,
                       VT_POINTS_SMALL, name);
        x -= APART;
    }
}

static void add_titles(struct sketch *s, const struct cell *c)
{
    const vt_group *group = &s->groups->group[c->first];
    double left = c->column ? left_of(s, c) : EDGE, y = bottom_of(s, c) + s->panel_height;
    double room = left_of(s, c) + s->panel_width - left;
    int least, most;
    bool bands = has_bands(s, &least, &most);
    char text[NAME_SIZE], seeds[60];
    bool first_row = c->row % s->rows_of_block == 0;
    *text = '\0';
    if (c->column == 0 || !s->apart || c->chart->own_axis)
        print_heading_of(c, c->column == 0 || !s->apart, text);
    double heading = y + LINE * 0.95;
    if (*text)
        vt_figure_text(&s->figure, left, heading, VT_SIDE_LEFT, VT_INK, VT_POINTS, text);
    if (c->n > 1 && c->part < 0 && count_shown(s, c) > 1)
        add_key(s, c, heading);
    if (!first_row)
        return;
    if (bands && c->column == 0) {
        if (least == most)
            snprintf(text, sizeof text, "band: ± standard deviation of %d seeds", most);
        else
            snprintf(text, sizeof text, "band: ± standard deviation of %d to %d seeds", least,
                     most);
        vt_figure_text(&s->figure, left, heading + LINE, VT_SIDE_LEFT, VT_SOFT, VT_POINTS_SMALL,
                       text);
    }
    if (!s->titled || (c->column > 0 && !s->apart))
        return;
    snprintf(seeds, sizeof seeds, "  seed %" PRIu64, group->seed);
    if (s->groups->n > 1 || group->n_runs > 1 || strstr(group->name, " seed "))
        *seeds = '\0';
    if (s->columns == 1 || !s->apart)
        room = s->figure.width - 2 * EDGE;
    vt_text_shorten(group->name, room - vt_text_width(seeds, VT_POINTS), VT_POINTS, text,
                    sizeof text - sizeof seeds);
    strcat(text, seeds);
    vt_figure_text(&s->figure, left, heading + LINE * (bands ? 2 : 1), VT_SIDE_LEFT, VT_INK,
                   VT_POINTS, text);
}

static void add_panel(struct sketch *s, const struct cell *c)
{
    char heading[NAME_SIZE];
    double left = left_of(s, c), bottom = bottom_of(s, c);
    bool last = c->row % s->rows_of_block == s->rows_of_block - 1;
    bool numbers = c->column == 0 || c->chart->own_axis || c->chart != s->cell[0].chart;
    if (s->apart && c->column > 0)
        numbers = c->chart->own_axis;
    print_heading_of(c, true, heading);
    const vt_panel panel = {.left = left,
                            .bottom = bottom,
                            .width = s->panel_width,
                            .height = s->panel_height,
                            .x = c->x,
                            .y = c->y,
                            .y_exponent = c->exponent,
                            .x_unit = last ? "" : NULL,
                            .y_unit = numbers ? c->chart->unit : NULL,
                            .heading = heading};
    vt_figure_panel(&s->figure, &panel);
    add_curves(s, c);
    add_titles(s, c);
    if (last)
        vt_figure_text(&s->figure, left + s->panel_width / 2, bottom - NUMBERS - 0.7 * LINE,
                       VT_SIDE_CENTER, VT_INK, VT_POINTS, "epoch");
    if (s->direct && !s->legend && s->right > 3 * EDGE)
        add_labels(s, c);
}

static void add_legend(struct sketch *s)
{
    char names[VT_CHARTS_GROUPS_MAX][NAME_SIZE];
    int styles[VT_CHARTS_GROUPS_MAX];
    int n = list_entries(s, names, styles, legend_room(s));
    for (int i = 0; i < n; i++)
        add_entry(s, EDGE + i / s->legend_rows * s->legend_pitch,
                  EDGE + (s->legend_rows - i % s->legend_rows - 0.5) * LINE, styles[i], names[i]);
}

/* Fills figure and table. */
static vt_status sketch(struct sketch *s, const vt_groups *groups, const vt_charts_options *options,
                        double width, vt_text *table, vt_error *err)
{
    const struct kind *kind = &kinds[options->kind];
    s->groups = groups;
    s->options = options;
    s->figure.width = width;
    s->next = 2;
    s->apart = options->apart || (groups->n == 1 && options->kind != VT_CHARTS_SPEED);
    VT_ASSERT(groups->n > 0);
    if (!s->apart && groups->n > VT_CHARTS_GROUPS_MAX)
        return vt_fail(err, VT_ERR_USAGE,
                       "%d experiments are too many for one set of axes: at most %d", groups->n,
                       VT_CHARTS_GROUPS_MAX);
    s->cell = vt_calloc((size_t)groups->n * CHARTS_MAX + 2 * CHARTS_MAX, sizeof *s->cell);
    s->column = vt_calloc((size_t)groups->n * CHARTS_MAX * PARTS_MAX, sizeof *s->column);
    if (!s->cell || !s->column)
        return vt_fail(err, VT_ERR_NOMEM, "no memory for a figure of %d experiments", groups->n);
    if (s->apart)
        arrange_apart(s, kind);
    else
        arrange_together(s, kind);
    int curves = 0;
    for (int i = 0; i < s->n_cells; i++)
        curves += count_shown(s, &s->cell[i]);
    if (curves == 0)
        return vt_fail(err, VT_ERR_NOINPUT, "there is no value of %s in %s%s", kind->what,
                       groups->group[0].name, groups->n > 1 ? " and the others" : "");
    lay_out(s);
    for (int i = 0; i < s->n_cells; i++)
        add_panel(s, &s->cell[i]);
    if (s->legend)
        add_legend(s);
    return print_table(s, table, err);
}

static void release(struct sketch *s)
{
    vt_figure_release(&s->figure);
    vt_free(s->cell);
    vt_free(s->column);
}

vt_status vt_charts_draw(const vt_place *place, const vt_groups *groups,
                         const vt_charts_options *options, vt_error *err)
{
    vt_text table = {0};
    struct sketch s = {0};
    vt_status status = sketch(&s, groups, options, place->width, &table, err);
    if (status == VT_OK)
        status = vt_figure_publish(&s.figure, &table, place, err);
    release(&s);
    vt_text_release(&table);
    return status;
}

vt_status vt_charts_show(const vt_groups *groups, const vt_charts_options *options, vt_error *err)
{
    vt_text table = {0};
    struct sketch s = {0};
    vt_status status = sketch(&s, groups, options, VT_WIDTH_SINGLE, &table, err);
    if (status == VT_OK)
        status = vt_figure_type(&s.figure, &table, err);
    release(&s);
    vt_text_release(&table);
    return status;
}
