#include "report/figure.h"

#include "base/fs.h"
#include "report/escape.h"
#include "results/gnuplot.h"

#include <inttypes.h>
#include <stdio.h>

enum { SERIES_MAX = 16 };

int vt_style_of(int series, vt_dash dash)
{
    return 10 * ((series - 1) % SERIES_MAX + 1) + (int)dash;
}

/* Text as gnuplot's string in single quotes, which are doubled inside. */
static void print_quoted(const char *text, vt_text *script)
{
    vt_text shown = {0};
    vt_escape(&shown, VT_ESCAPE_SHOWN, text);
    script->failed |= shown.failed;
    vt_text_append(script, "'", 1);
    for (size_t i = 0; i < shown.size; i++) {
        vt_text_append(script, &shown.data[i], 1);
        if (shown.data[i] == '\'')
            vt_text_append(script, &shown.data[i], 1);
    }
    vt_text_append(script, "'", 1);
    vt_text_release(&shown);
}

static void print_text(vt_figure *f, const char *array, int i, const char *text)
{
    vt_text_printf(&f->lines, "%s[%d] = ", array, i);
    print_quoted(text, &f->lines);
    vt_text_printf(&f->lines, "\n");
}

/* What is known of a panel once all its curves are. */
static void print_end(const vt_figure *f, vt_text *script)
{
    vt_text_printf(script, "first[%d] = %d; last[%d] = %d; banded[%d] = '%s'\n", f->n_panels,
                   f->first, f->n_panels, f->n_curves, f->n_panels,
                   f->banded.data ? f->banded.data : "");
}

void vt_figure_panel(vt_figure *f, const vt_panel *panel)
{
    if (f->n_panels)
        print_end(f, &f->lines);
    vt_text_release(&f->banded);
    int p = ++f->n_panels;
    f->first = f->n_curves + 1;
    vt_text_printf(&f->lines, "\n# Panel %d\nleft[%d] = %.4g; bottom[%d] = %.4g; ", p, p,
                   panel->left, p, panel->bottom);
    vt_text_printf(&f->lines, "wide[%d] = %.4g; tall[%d] = %.4g\n", p, panel->width, p,
                   panel->height);
    vt_text_printf(&f->lines, "x_min[%d] = %.9g; x_max[%d] = %.9g; ", p, panel->x.min, p,
                   panel->x.max);
    vt_text_printf(&f->lines, "y_min[%d] = %.9g; y_max[%d] = %.9g; log_y[%d] = %d\n", p,
                   panel->y.min, p, panel->y.max, p, panel->y.log);
    vt_text_printf(&f->lines, "x_tics[%d] = '", p);
    vt_scale_print(&panel->x, 0, panel->x_unit, &f->lines);
    vt_text_printf(&f->lines, "'\ny_tics[%d] = '", p);
    vt_scale_print(&panel->y, panel->y_exponent, panel->y_unit, &f->lines);
    vt_text_printf(&f->lines, "'\nhow[%d] = %d; grid_x[%d] = %d\n", p, (int)panel->how, p,
                   panel->grid_x);
    print_text(f, "heading", p, panel->heading);
}

void vt_figure_curve(vt_figure *f, const vt_curve *curve)
{
    int k = ++f->n_curves;
    vt_text_printf(&f->lines, "x_column[%d] = %d; y_column[%d] = %d; ", k, curve->x, k, curve->y);
    vt_text_printf(&f->lines, "low_column[%d] = %d; high_column[%d] = %d; ", k, curve->low, k,
                   curve->high);
    vt_text_printf(&f->lines, "style[%d] = %d; marks[%d] = %" PRId64 "\n", k, curve->style, k,
                   curve->marks);
    print_text(f, "curve", k, curve->name);
    if (curve->high)
        vt_text_printf(&f->banded, "%s%d", f->banded.size ? " " : "", k);
}

void vt_figure_text(vt_figure *f, double x, double y, vt_side side, vt_tone tone, double points,
                    const char *text)
{
    static const char *const sides[] = {"left", "center", "right"};
    int t = ++f->n_texts;
    vt_text_printf(&f->lines, "text_x[%d] = %.4g; text_y[%d] = %.4g; ", t, x, t, y);
    vt_text_printf(&f->lines, "text_side[%d] = '%s'; text_ink[%d] = '%s'; text_points[%d] = %g\n",
                   t, sides[side], t, tone == VT_INK ? "ink" : "soft", t, points);
    print_text(f, "phrase", t, text);
}

void vt_figure_sample(vt_figure *f, double x, double y, double length, int style)
{
    int s = ++f->n_samples;
    vt_text_printf(&f->lines, "sample_x[%d] = %.4g; sample_y[%d] = %.4g; ", s, x, s, y);
    vt_text_printf(&f->lines, "sample_length[%d] = %.4g; sample_style[%d] = %d\n", s, length, s,
                   style);
}

static void print_arrays(const char *size, int n, const char *const *names, vt_text *script)
{
    vt_text_printf(script, "%s = %d\n", size, n);
    for (; *names; names++)
        vt_text_printf(script, "array %s[%d]\n", *names, n > 0 ? n : 1);
}

void vt_figure_print(const vt_figure *figure, const char *name, const char *formats,
                     const char *data, vt_text *script)
{
    static const char *const of_panels[] = {
        "left",   "bottom", "wide",  "tall", "x_min",  "x_max",   "y_min", "y_max",  "log_y",
        "x_tics", "y_tics", "first", "last", "banded", "heading", "how",   "grid_x", NULL};
    static const char *const of_curves[] = {"x_column", "y_column", "low_column", "high_column",
                                            "style",    "marks",    "curve",      NULL};
    static const char *const of_texts[] = {"phrase",   "text_x",      "text_y", "text_side",
                                           "text_ink", "text_points", NULL};
    static const char *const of_samples[] = {"sample_x", "sample_y", "sample_length",
                                             "sample_style", NULL};
    const vt_figure f = *figure;
    vt_text_printf(script, "name = '%s'\nformats = '%s'\ndata = '%s'\n\n# Inches\nwidth = %.4g\n",
                   name, formats, data, f.width);
    vt_text_printf(script, "height = %.4g\n\n", f.height);
    print_arrays("panels", f.n_panels, of_panels, script);
    print_arrays("curves", f.n_curves, of_curves, script);
    print_arrays("texts", f.n_texts, of_texts, script);
    print_arrays("samples", f.n_samples, of_samples, script);
    vt_text_append(script, f.lines.data, f.lines.size);
    print_end(figure, script);
    vt_text_printf(script, "\n");
    script->failed |= f.lines.failed || f.banded.failed;
}

vt_status vt_figure_publish(const vt_figure *figure, const vt_text *table, const vt_place *place,
                            vt_error *err)
{
    char formats[VT_FORMATS_TEXT], file[VT_NAME_MAX + 8];
    vt_text numbers = {0}, templates = {0};
    snprintf(file, sizeof file, "%s.tsv", place->name);
    vt_figure_print(figure, place->name, vt_formats_text(&place->drawer->formats, formats), file,
                    &numbers);
    vt_status status = vt_draw_templates(&templates, "panels.gp", err);
    if (status == VT_OK)
        status = vt_draw_publish(place->dir_fd, file, table, err);
    if (status == VT_OK)
        status = vt_draw_figure(place->drawer, place->dir_fd, place->folder, place->name, &numbers,
                                &templates, err);
    vt_text_release(&numbers);
    vt_text_release(&templates);
    return status;
}

vt_status vt_figure_type(const vt_figure *figure, const vt_text *table, vt_error *err)
{
    vt_text script = {0};
    vt_figure_print(figure, "figure", "dumb", VT_GNUPLOT_DATA, &script);
    vt_status status = vt_draw_templates(&script, "panels.gp", err);
    if (status == VT_OK)
        status = script.failed || table->failed
                     ? vt_fail(err, VT_ERR_NOMEM, "no memory for the figure")
                     : vt_gnuplot_show(&script, table, err);
    vt_text_release(&script);
    return status;
}

void vt_figure_release(vt_figure *figure)
{
    vt_text_release(&figure->lines);
    vt_text_release(&figure->banded);
}
