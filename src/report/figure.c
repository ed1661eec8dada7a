#include "report/figure.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

/* Lengths in inches. Room for text of 9 points: a line is an eighth of an inch and a bit. */
#define LEFT 0.6     /* numbers of the value axis */
#define RIGHT 0.56   /* names of the curves */
#define TOP 0.58     /* title and heading */
#define BOTTOM 0.53  /* numbers and name of the epoch axis */
#define ROW_GAP 0.36 /* heading of the next panel */
#define BLOCK_GAP 0.16
#define LINE 0.15       /* from one curve's name to the next */
#define CHARACTER 0.095 /* about the width of one */

enum { CURVES_MAX = 3, LAST_SPARSE = 25, MARKS = 8 };

/* A curve: its column, its name (NULL: it is alone and needs none), its line style. */
struct curve {
    vt_plot_column column;
    const char *name;
    int style;
};

static const struct kind {
    const char *heading, *unit;
    struct curve curve[CURVES_MAX];
    int n_curves;
} kinds[VT_PANEL_COUNT] = {
    [VT_PANEL_LOSS] = {"loss (nat)",
                       "",
                       {{VT_PLOT_TRAIN_LOSS, "train", 1},
                        {VT_PLOT_VAL_LOSS, "val", 2},
                        {VT_PLOT_TEST_LOSS, "test", 3}},
                       3},
    [VT_PANEL_ACCURACY] = {"accuracy",
                           "%%",
                           {{VT_PLOT_TRAIN_TOP1, "train", 1},
                            {VT_PLOT_VAL_TOP1, "val", 2},
                            {VT_PLOT_TEST_TOP1, "test", 3}},
                           3},
    [VT_PANEL_RATE] = {"learning rate", "", {{VT_PLOT_LR, NULL, 4}}, 1},
};

/* The value axis of a panel. */
struct scale {
    vt_axis axis;
    int exponent; /* values are shown in units of 10^exponent */
};

/* Where everything is. */
struct layout {
    double width, height, panel_width, panel_height;
    int columns, blocks; /* columns of a full block */
};

static double power_of_ten(int exponent)
{
    double power = 1;
    for (int i = 0; i < exponent; i++)
        power *= 10;
    for (int i = 0; i > exponent; i--)
        power /= 10;
    return power;
}

/* The rate is small: its axis shows numbers of one digit and says their unit once. */
static int exponent_of(double largest)
{
    int exponent = 0;
    while (largest > 0 && largest < 0.999 * power_of_ten(exponent) && exponent > -30)
        exponent--;
    return exponent < -1 ? exponent : 0;
}

/* The axis that fits the given runs. */
static struct scale measure(vt_panel panel, const vt_figure_run *run, int n_runs)
{
    const struct kind *kind = &kinds[panel];
    vt_range range = {1, 0};
    struct scale scale = {0};
    for (int r = 0; r < n_runs; r++)
        for (int c = 0; c < kind->n_curves; c++)
            vt_plotdata_range(run[r].data, kind->curve[c].column, &range);
    if (panel == VT_PANEL_RATE && range.min <= range.max) {
        range.min = fmin(range.min, 0);
        scale.exponent = exponent_of(vt_axis_of_values(range, 3).max);
        range.min /= power_of_ten(scale.exponent);
        range.max /= power_of_ten(scale.exponent);
    }
    scale.axis = vt_axis_of_values(range, panel == VT_PANEL_RATE ? 3 : 4);
    if (panel == VT_PANEL_ACCURACY) {
        scale.axis.min = fmax(scale.axis.min, 0);
        scale.axis.max = fmin(scale.axis.max, 100);
    }
    return scale;
}

static struct layout lay_out(const vt_figure *f)
{
    struct layout l = {.panel_width = f->n_runs > 1 ? 1.45 : 2.3,
                       .panel_height = f->n_panels > 1 ? 1.15 : 1.5};
    l.blocks = (f->n_runs + VT_FIGURE_COLUMNS_MAX - 1) / VT_FIGURE_COLUMNS_MAX;
    l.columns = (f->n_runs + l.blocks - 1) / l.blocks;
    double block = TOP + BOTTOM + f->n_panels * (l.panel_height + ROW_GAP) - ROW_GAP;
    l.width = LEFT + l.columns * (l.panel_width + RIGHT);
    l.height = l.blocks * (block + BLOCK_GAP) - BLOCK_GAP;
    return l;
}

/* "1e-3" as people write it. */
static void print_power(int exponent, char text[32])
{
    static const char *const digits[] = {"⁰", "¹", "²", "³", "⁴", "⁵", "⁶", "⁷", "⁸", "⁹"};
    int e = -exponent;
    snprintf(text, 32, "10⁻%s%s", e >= 10 ? digits[e / 10 % 10] : "", digits[e % 10]);
}

/* A name in at most `size` characters: the middle is what goes. */
static void shorten(const char *name, int size, char text[VT_NAME_MAX + 8])
{
    int length = (int)strlen(name);
    if (length <= size)
        snprintf(text, VT_NAME_MAX + 8, "%s", name);
    else
        snprintf(text, VT_NAME_MAX + 8, "%.*s…%s", (size - 1) / 2, name,
                 name + length - (size - 1 - (size - 1) / 2));
}

static void print_title(const vt_figure *f, const struct layout *l, const vt_plotdata *data,
                        vt_text *script)
{
    char name[VT_NAME_MAX + 8], seed[32] = "";
    if (f->n_runs == 1)
        snprintf(seed, sizeof seed, "  seed %" PRIu64, data->seed);
    double room = (l->panel_width + RIGHT - 0.1) / CHARACTER - (double)strlen(seed);
    shorten(data->name, room > 8 ? (int)room : 8, name);
    vt_text_printf(script, "%s%s", name, seed);
}

/* Names, columns, styles and label places of the curves that have values. */
static void print_curves(const vt_plotdata *data, const struct kind *kind,
                         const struct scale *scale, double panel_height, int p, vt_text *script)
{
    const struct curve *shown[CURVES_MAX];
    double place[CURVES_MAX], factor = 1 / power_of_ten(scale->exponent);
    double span = scale->axis.max - scale->axis.min;
    int n = 0;
    for (int c = 0; c < kind->n_curves; c++) {
        double last = vt_plotdata_last(data, kind->curve[c].column);
        if (!isnan(last)) {
            shown[n] = &kind->curve[c];
            place[n++] = last * factor;
        }
    }
    vt_places_spread(place, n, span * LINE / panel_height, scale->axis.min,
                     scale->axis.max + span * LINE / panel_height / 4);
    vt_text_printf(script, "columns[%d] = '", p);
    for (int c = 0; c < n; c++)
        vt_text_printf(script, "%s%d", c ? " " : "", (int)shown[c]->column + 2);
    vt_text_printf(script, "'; styles[%d] = '", p);
    for (int c = 0; c < n; c++)
        vt_text_printf(script, "%s%d", c ? " " : "", shown[c]->style);
    vt_text_printf(script, "'; marks[%d] = '", p);
    for (int c = 0; c < n; c++) {
        int64_t points = vt_plotdata_count(data, shown[c]->column);
        vt_text_printf(script, "%s%" PRId64, c ? " " : "",
                       points > LAST_SPARSE ? points / MARKS : 1);
    }
    vt_text_printf(script, "'\nnames[%d] = '", p);
    for (int c = 0; c < n && shown[c]->name; c++)
        vt_text_printf(script, "%s%s", c ? " " : "", shown[c]->name);
    vt_text_printf(script, "'; name_y[%d] = '", p);
    for (int c = 0; c < n && shown[c]->name; c++)
        vt_text_printf(script, "%s%.6g", c ? " " : "", place[c]);
    vt_text_printf(script, "'\n");
}

static void print_panel(const vt_figure *f, const struct layout *l, const struct scale *scales,
                        int r, int k, int p, vt_text *script)
{
    const vt_figure_run *run = &f->run[r];
    const struct kind *kind = &kinds[f->first + (vt_panel)k];
    /* Rates may lie decades apart: each run has its own axis, and says its unit. */
    bool own = kind == &kinds[VT_PANEL_RATE];
    const struct scale own_scale = own ? measure(VT_PANEL_RATE, run, 1) : (struct scale){0};
    const struct scale *scale = own ? &own_scale : &scales[k];
    int column = r % l->columns, block = r / l->columns;
    double block_height = (l->height + BLOCK_GAP) / l->blocks;
    double bottom =
        l->height - block * block_height - TOP - l->panel_height - k * (l->panel_height + ROW_GAP);
    int64_t first = run->data->row[0].epoch, n = run->data->n;
    vt_axis x = vt_axis_of_epochs(first, run->data->row[n - 1].epoch, f->n_runs > 1 ? 3 : 6);
    char unit[32] = "";
    if (scale->exponent)
        print_power(scale->exponent, unit);
    vt_text_printf(script, "\ndata[%d] = '%s'; left[%d] = %.4g; bottom[%d] = %.4g\n", p, run->file,
                   p, LEFT + column * (l->panel_width + RIGHT), p, bottom);
    vt_text_printf(script, "title[%d] = '", p);
    if (k == 0)
        print_title(f, l, run->data, script);
    vt_text_printf(script, "'; heading[%d] = '", p);
    if (column == 0)
        vt_text_printf(script, "%s%s%s%s", kind->heading, *unit ? " (" : "", unit,
                       *unit ? ")" : "");
    else
        vt_text_printf(script, "%s", unit);
    vt_text_printf(script,
                   "'\nx_min[%d] = %.6g; x_max[%d] = %.6g; x_step[%d] = %g; x_name[%d] = '%s'\n", p,
                   x.min, p, x.max, p, x.step, p, k == f->n_panels - 1 ? "epoch" : "");
    vt_text_printf(script,
                   "y_min[%d] = %.6g; y_max[%d] = %.6g; y_step[%d] = %.6g; y_format[%d] = '%s%s'\n",
                   p, scale->axis.min, p, scale->axis.max, p, scale->axis.step, p,
                   column == 0 || own ? "%g" : "", column == 0 ? kind->unit : "");
    vt_text_printf(script, "factor[%d] = 1e%d\n", p, -scale->exponent);
    print_curves(run->data, kind, scale, l->panel_height, p, script);
}

void vt_figure_print(const vt_figure *f, vt_text *script)
{
    static const char *const arrays[] = {"data",    "left",   "bottom",   "title",  "heading",
                                         "x_min",   "x_max",  "x_step",   "x_name", "y_min",
                                         "y_max",   "y_step", "y_format", "factor", "marks",
                                         "columns", "styles", "names",    "name_y"};
    struct scale scales[VT_PANEL_COUNT];
    struct layout l = lay_out(f);
    int panels = f->n_runs * f->n_panels, p = 0;
    VT_ASSERT(f->n_runs > 0 && (int)f->first + f->n_panels <= VT_PANEL_COUNT);
    for (int k = 0; k < f->n_panels; k++)
        scales[k] = measure(f->first + (vt_panel)k, f->run, f->n_runs);
    vt_text_printf(script,
                   "name = '%s'\nformats = '%s'\n\n"
                   "# Inches\nwidth = %.4g\nheight = %.4g\npanel_width = %.4g\npanel_height = "
                   "%.4g\n\npanels = %d\n",
                   f->name, f->formats, l.width, l.height, l.panel_width, l.panel_height, panels);
    for (size_t i = 0; i < sizeof arrays / sizeof *arrays; i++)
        vt_text_printf(script, "array %s[panels]\n", arrays[i]);
    for (int r = 0; r < f->n_runs; r++)
        for (int k = 0; k < f->n_panels; k++)
            print_panel(f, &l, scales, r, k, ++p, script);
    vt_text_printf(script, "\n");
}
