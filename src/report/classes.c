#include "report/classes.h"

#include "base/mem.h"
#include "results/typeset.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Inches. */
#define EDGE 0.06
#define LINE 0.175
#define ROW 0.15
#define ROW_MORE 0.05 /* for each group above two */
#define NUMBERS 0.19
#define SAMPLE 0.24
#define SPACE 0.05
#define APART 0.16
#define DODGE 0.2      /* of a row, between the dots of groups */
#define NAME_SHARE 0.4 /* of a panel and its names, for the names */

enum { ROWS_MAX = 40, WIDE_ROWS = 25, FIXED = 3, COLUMNS = 4, NAME_SIZE = 400 };

struct picture {
    const vt_groups *groups;
    const vt_matrix *matrix; /* of each group */
    int64_t *order;          /* classes, best first */
    int64_t classes;
    vt_figure figure;
    /* Classes [0, head) and [classes - tail, classes) of the order are shown, in panels of `rows`.
     */
    int64_t head, tail, rows;
    int panels;
};

static double row_height(const struct picture *p)
{
    return ROW + (p->groups->n > 2 ? ROW_MORE * (p->groups->n - 2) : 0);
}

/* A class to be sorted. */
struct ranked {
    double share;
    int64_t class;
};

/* Best first; classes without an image last, equal ones by number. */
static int compare_ranked(const void *a, const void *b)
{
    const struct ranked *x = a, *y = b;
    if (isnan(x->share) != isnan(y->share))
        return isnan(x->share) ? 1 : -1;
    if (x->share != y->share && !isnan(x->share))
        return x->share > y->share ? -1 : 1;
    return x->class < y->class ? -1 : 1;
}

/* Mean over the runs, and their deviation (0 for one run). */
static double share_of(const vt_matrix *m, int64_t class, double *deviation)
{
    int64_t n = m->confusion.classes;
    double sum = 0, squares = 0;
    for (int i = 0; i < m->n_runs; i++)
        sum += m->share[i * n + class];
    double mean = sum / m->n_runs;
    for (int i = 0; i < m->n_runs; i++)
        squares += (m->share[i * n + class] - mean) * (m->share[i * n + class] - mean);
    *deviation = m->n_runs > 1 ? sqrt(squares / (m->n_runs - 1)) : 0;
    return mean;
}

static vt_status sort_classes(struct picture *p, vt_error *err)
{
    struct ranked *ranked = vt_calloc((size_t)p->classes, sizeof *ranked);
    double ignored;
    p->order = vt_calloc((size_t)p->classes, sizeof *p->order);
    if (!ranked || !p->order) {
        vt_free(ranked);
        return vt_fail(err, VT_ERR_NOMEM, "no memory for %" PRId64 " classes", p->classes);
    }
    for (int64_t i = 0; i < p->classes; i++)
        ranked[i] = (struct ranked){share_of(&p->matrix[0], i, &ignored), i};
    qsort(ranked, (size_t)p->classes, sizeof *ranked, compare_ranked);
    for (int64_t i = 0; i < p->classes; i++)
        p->order[i] = ranked[i].class;
    vt_free(ranked);
    return VT_OK;
}

/* The row of the rank-th class, counted down from 1 in its panel; the place of those left out is a
 * row as well. 0: not shown. */
static int64_t row_of(const struct picture *p, int64_t rank, int *panel)
{
    int64_t at = rank < p->head                 ? rank
                 : rank >= p->classes - p->tail ? p->head + 1 + rank - (p->classes - p->tail)
                                                : -1;
    if (p->head + p->tail == p->classes)
        at = rank;
    *panel = at < 0 ? -1 : (int)(at / p->rows);
    return at < 0 ? 0 : at % p->rows + 1;
}

static void print_table(const struct picture *p, vt_text *text)
{
    static const char *const columns[COLUMNS] = {"place", "percent", "low", "high"};
    vt_text_printf(text, "class\tname\trow");
    for (int panel = 0; panel < p->panels; panel++)
        for (int g = 0; g < p->groups->n; g++)
            for (int i = 0; i < COLUMNS; i++)
                vt_text_printf(text, "\t%s%s %s", p->groups->group[g].name, panel ? " (right)" : "",
                               columns[i]);
    vt_text_printf(text, "\n");
    for (int64_t rank = 0; rank < p->classes; rank++) {
        int64_t class = p->order[rank];
        int at;
        int64_t row = row_of(p, rank, &at);
        vt_text_printf(text, "%" PRId64 "\t%s\t", class, p->matrix[0].name[class]);
        if (row)
            vt_text_printf(text, "%" PRId64, row);
        for (int panel = 0; panel < p->panels; panel++) {
            for (int g = 0; g < p->groups->n; g++) {
                double deviation, share = share_of(&p->matrix[g], class, &deviation);
                bool here = at < 0 ? panel == 0 : panel == at;
                double place = (double)row + DODGE * (g - (p->groups->n - 1) / 2.0);
                if (!here || isnan(share)) {
                    vt_text_printf(text, "\t\t\t\t");
                    continue;
                }
                if (row)
                    vt_text_printf(text, "\t%.9g", place);
                else
                    vt_text_printf(text, "\t");
                vt_text_printf(text, "\t%.9g\t%.9g\t%.9g", 100 * share, 100 * (share - deviation),
                               100 * (share + deviation));
            }
        }
        vt_text_printf(text, "\n");
    }
}

/* Chooses what is shown, and measures the figure. */
static void plan(struct picture *p, double width)
{
    bool wide = width >= VT_WIDTH_DOUBLE;
    int64_t most = wide ? 2 * ROWS_MAX : ROWS_MAX;
    p->head = p->classes;
    if (p->classes > most) {
        p->head = most / 2 - 1;
        p->tail = most / 2;
    }
    int64_t rows = p->head + p->tail + (p->tail > 0);
    p->panels = wide && rows > WIDE_ROWS ? 2 : 1;
    p->rows = (rows + p->panels - 1) / p->panels;
    p->figure.width = width;
}

static vt_scale axis_of(const struct picture *p, int ticks)
{
    vt_range range = {1, 0};
    for (int64_t i = 0; i < p->classes; i++) {
        for (int g = 0; g < p->groups->n; g++) {
            double deviation, share = share_of(&p->matrix[g], i, &deviation);
            vt_range_add(&range, 100 * (share - deviation));
            vt_range_add(&range, 100 * (share + deviation));
        }
    }
    vt_scale axis = vt_scale_of_values(range, ticks);
    axis.min = fmax(axis.min, 0);
    axis.max = fmin(axis.max, 100);
    double margin = 0.03 * (axis.max - axis.min); /* a dot on the edge is not cut */
    axis.min -= margin;
    axis.max += margin;
    return axis;
}

static void add_names(struct picture *p, int panel, double right, double top, double room)
{
    char name[NAME_SIZE];
    for (int64_t rank = 0; rank < p->classes; rank++) {
        int at;
        int64_t row = row_of(p, rank, &at);
        if (!row || at != panel)
            continue;
        vt_text_shorten(p->matrix[0].name[p->order[rank]], room, VT_POINTS_SMALL, name,
                        sizeof name);
        vt_figure_text(&p->figure, right, top - ((double)row - 0.5) * row_height(p), VT_SIDE_RIGHT,
                       VT_INK, VT_POINTS_SMALL, name);
    }
    int64_t gap = p->head;
    if (p->tail > 0 && gap / p->rows == panel) {
        snprintf(name, sizeof name, "… %" PRId64 " more …", p->classes - p->head - p->tail);
        vt_figure_text(&p->figure, right, top - ((double)(gap % p->rows) + 0.5) * row_height(p),
                       VT_SIDE_RIGHT, VT_SOFT, VT_POINTS_SMALL, name);
    }
}

static void add_panel(struct picture *p, int panel, double left, double top, double names,
                      double width)
{
    double height = row_height(p) * (double)p->rows;
    const vt_panel shown = {.left = left + names,
                            .bottom = top - height,
                            .width = width - names,
                            .height = height,
                            .x = axis_of(p, (int)fmax(2, (width - names) / 0.5)),
                            /* Rows count down; ticks between them would mean nothing. */
                            .y = {(double)p->rows + 0.5, 0.5, 1, false},
                            .x_unit = "%",
                            .y_unit = NULL,
                            .heading = "accuracy",
                            .how = VT_DOTS,
                            .grid_x = true};
    vt_figure_panel(&p->figure, &shown);
    for (int g = p->groups->n - 1; g >= 0; g--) {
        int at = FIXED + 1 + COLUMNS * (panel * p->groups->n + g);
        bool banded = p->matrix[g].n_runs > 1;
        const vt_curve curve = {.x = at,
                                .y = at + 1,
                                .low = banded ? at + 2 : 0,
                                .high = banded ? at + 3 : 0,
                                .style = vt_style_of(g + 1, VT_DASH_NONE),
                                .marks = 1,
                                .name = p->groups->group[g].name};
        vt_figure_curve(&p->figure, &curve);
    }
    add_names(p, panel, left + names - 0.08, top, names - 0.1);
}

/* The experiments, with their accuracy over all classes. */
static int add_legend(struct picture *p, bool measure)
{
    int rows = 0;
    double x = EDGE, width = p->figure.width - EDGE, line = LINE;
    static const double bottom = EDGE;
    double most = 0;
    for (int g = 0; g < p->groups->n; g++)
        most = fmax(most, vt_text_width(p->groups->group[g].name, VT_POINTS_SMALL) +
                              vt_text_width("  100.0 % of all", VT_POINTS_SMALL));
    double pitch = fmin(most + SAMPLE + SPACE + APART, width - EDGE + APART);
    int columns = (int)((width - EDGE + APART + 1e-9) / pitch);
    columns = columns < 1 ? 1 : columns;
    rows = (p->groups->n + columns - 1) / columns;
    for (int g = 0; g < p->groups->n && !measure; g++) {
        char name[NAME_SIZE], mean[60];
        snprintf(mean, sizeof mean, "  %.1f %% of all", 100 * p->matrix[g].top1);
        vt_text_shorten(p->groups->group[g].name,
                        pitch - SAMPLE - SPACE - APART - vt_text_width(mean, VT_POINTS_SMALL),
                        VT_POINTS_SMALL, name, sizeof name - sizeof mean);
        strcat(name, mean);
        double y = bottom + (rows - g / columns - 0.5) * line;
        vt_figure_sample(&p->figure, x + g % columns * pitch, y, SAMPLE,
                         vt_style_of(g + 1, VT_DASH_NONE));
        vt_figure_text(&p->figure, x + g % columns * pitch + SAMPLE + SPACE, y, VT_SIDE_LEFT,
                       VT_INK, VT_POINTS_SMALL, name);
    }
    return rows;
}

static void sketch(struct picture *p, vt_split split, double width)
{
    char heading[120];
    double longest = 0;
    int runs = 1;
    plan(p, width);
    for (int64_t i = 0; i < p->classes; i++)
        longest = fmax(longest, vt_text_width(p->matrix[0].name[i], VT_POINTS_SMALL));
    longest = fmax(longest, p->tail ? vt_text_width("… 100 more …", VT_POINTS_SMALL) : 0.3) + 0.12;
    for (int g = 0; g < p->groups->n; g++)
        runs = p->matrix[g].n_runs > runs ? p->matrix[g].n_runs : runs;
    double across = (width - 2 * EDGE - 0.12 - (p->panels - 1) * 2 * APART) / p->panels;
    double names = fmin(longest, NAME_SHARE * across);
    double below = NUMBERS + EDGE + add_legend(p, true) * LINE + EDGE;
    double above = LINE * (runs > 1 ? 2.2 : 1.2) + EDGE;
    p->figure.height = above + row_height(p) * (double)p->rows + below;
    double top = p->figure.height - above;
    for (int panel = 0; panel < p->panels; panel++)
        add_panel(p, panel, EDGE + panel * (across + 2 * APART), top, names, across);
    snprintf(heading, sizeof heading, "%s accuracy by class", vt_split_name(split));
    vt_figure_text(&p->figure, EDGE, p->figure.height - EDGE - LINE / 2, VT_SIDE_LEFT, VT_INK,
                   VT_POINTS, heading);
    if (runs > 1)
        vt_figure_text(&p->figure, EDGE, p->figure.height - EDGE - 1.5 * LINE, VT_SIDE_LEFT,
                       VT_SOFT, VT_POINTS_SMALL, "whiskers: ± standard deviation of the seeds");
    add_legend(p, false);
}

/* Reads the groups' matrices; they must speak of the same classes. */
static vt_status read_matrices(vt_matrix *matrix, const vt_groups *groups, vt_split split,
                               int64_t epoch, vt_error *err)
{
    for (int g = 0; g < groups->n; g++) {
        vt_status status = vt_matrix_read(&matrix[g], &groups->group[g], split, epoch, err);
        if (status != VT_OK)
            return status;
        bool same = matrix[g].confusion.classes == matrix[0].confusion.classes;
        for (int64_t i = 0; same && i < matrix[0].confusion.classes; i++)
            same = strcmp(matrix[g].name[i], matrix[0].name[i]) == 0;
        if (!same)
            return vt_fail(err, VT_ERR_DATA,
                           "%s and %s have different classes: they cannot be drawn together",
                           groups->group[0].name, groups->group[g].name);
    }
    return VT_OK;
}

vt_status vt_classes_draw(const vt_place *place, const vt_groups *groups, vt_split split,
                          int64_t epoch, vt_error *err)
{
    vt_text table = {0};
    if (groups->n > VT_CLASSES_GROUPS_MAX)
        return vt_fail(err, VT_ERR_USAGE,
                       "%d experiments are too many for one figure of classes: at most %d",
                       groups->n, VT_CLASSES_GROUPS_MAX);
    vt_matrix *matrix = vt_calloc((size_t)groups->n, sizeof *matrix);
    if (!matrix)
        return vt_fail(err, VT_ERR_NOMEM, "no memory for confusion matrices");
    struct picture p = {.groups = groups, .matrix = matrix};
    vt_status status = read_matrices(matrix, groups, split, epoch, err);
    if (status == VT_OK) {
        p.classes = matrix[0].confusion.classes;
        status = sort_classes(&p, err);
    }
    if (status == VT_OK) {
        sketch(&p, split, place->width);
        print_table(&p, &table);
        status = vt_figure_publish(&p.figure, &table, place, err);
    }
    for (int g = 0; g < groups->n; g++)
        vt_matrix_release(&matrix[g]);
    vt_free(matrix);
    vt_free(p.order);
    vt_figure_release(&p.figure);
    vt_text_release(&table);
    return status;
}
