#include "report/calibration.h"

#include "base/mem.h"
#include "base/rng.h"
#include "report/figure.h"
#include "results/safetensors.h"
#include "results/typeset.h"

#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

/* Inches. */
#define EDGE 0.06
#define LINE 0.175
#define NUMBERS 0.19
#define LEFT 0.5
#define BARS 0.55 /* height of the histogram */
#define SAMPLE 0.24
#define SPACE 0.05
#define APART 0.16

enum { COLUMNS = 4, FIXED = 4, NAME_SIZE = 400 };

/* A run's answers. */
struct answers {
    double *confidence;
    bool *right;
    int64_t n;
};

static vt_status find_file(const vt_run_place *run, vt_capture *found, vt_error *err)
{
    vt_history history = {0};
    int fd = -1;
    vt_status status = vt_fs_open_dir(AT_FDCWD, run->path, &fd, err);
    if (status == VT_OK)
        status = vt_history_read(&history, fd, err);
    *found = (vt_capture){0};
    for (int64_t i = 0; i < history.n_captures; i++)
        if (history.capture[i].kind == VT_CAPTURE_LOGITS &&
            history.capture[i].epoch >= found->epoch)
            *found = history.capture[i];
    vt_history_release(&history);
    vt_fs_close(&fd);
    if (status == VT_OK && !*found->file)
        status = vt_fail(err, VT_ERR_NOINPUT,
                         "%s: it keeps no logits to draw a calibration from, as complete runs "
                         "do",
                         run->path);
    return status;
}

/* The confidence is the softmax of the largest logit: 1 / sum of exp(logit - largest). */
static vt_status take_answers(struct answers *a, const vt_safetensors *file, const char *path,
                              const char *name, vt_error *err)
{
    const vt_safetensor *logits = vt_safetensors_find(file, "logits");
    const vt_safetensor *label = vt_safetensors_find(file, "label");
    const vt_safetensor *pred = vt_safetensors_find(file, "pred");
    if (!logits || !label || !pred || logits->type != VT_SAFETENSORS_F32 || logits->rank != 2 ||
        label->type != VT_SAFETENSORS_I64 || label->rank != 1 || pred->type != label->type ||
        pred->rank != 1 || label->shape[0] != logits->shape[0] ||
        pred->shape[0] != logits->shape[0] || logits->shape[1] < 1)
        return vt_fail(err, VT_ERR_DATA,
                       "%s/captures/%s: expected logits (n, classes), label (n) and pred (n)", path,
                       name);
    int64_t classes = logits->shape[1];
    a->n = logits->shape[0];
    a->confidence = vt_calloc((size_t)a->n + 1, sizeof *a->confidence);
    a->right = vt_calloc((size_t)a->n + 1, sizeof *a->right);
    if (!a->confidence || !a->right)
        return vt_fail(err, VT_ERR_NOMEM, "%s: no memory for its answers", path);
    for (int64_t i = 0; i < a->n; i++) {
        const float *row = (const float *)logits->data + i * classes;
        double largest = row[0], sum = 0;
        for (int64_t k = 1; k < classes; k++)
            largest = row[k] > largest ? row[k] : largest;
        for (int64_t k = 0; k < classes; k++)
            sum += vt_exp(row[k] - largest);
        a->confidence[i] = sum >= 1 ? 1 / sum : NAN;
        a->right[i] = ((const int64_t *)label->data)[i] == ((const int64_t *)pred->data)[i];
    }
    return VT_OK;
}

static vt_status read_answers(struct answers *a, const vt_run_place *run, vt_error *err)
{
    vt_capture capture;
    vt_safetensors *file = NULL;
    uint8_t sha256[VT_SHA256_SIZE];
    char folder[PATH_MAX], hex[VT_SHA256_HEX_SIZE];
    int fd = -1;
    vt_status status = find_file(run, &capture, err);
    snprintf(folder, sizeof folder, "%.*s/captures", PATH_MAX - 16, run->path);
    if (status == VT_OK)
        status = vt_fs_open_dir(AT_FDCWD, folder, &fd, err);
    if (status == VT_OK)
        status = vt_safetensors_open(&file, fd, capture.file, sha256, err);
    if (status == VT_OK) {
        vt_sha256_hex(sha256, hex);
        if (strcmp(hex, capture.sha256) != 0)
            status = vt_fail(err, VT_ERR_DATA, "%s/%s: not the file that the journal tells of",
                             folder, capture.file);
    }
    if (status == VT_OK)
        status = take_answers(a, file, run->path, capture.file, err);
    vt_safetensors_close(file);
    vt_fs_close(&fd);
    return status;
}

/* Adds a run's bins; `confidence` is a sum until all runs are there. */
static void add_bins(vt_calibration *c, const vt_calibration_bin *bin)
{
    for (int b = 0; b < VT_CALIBRATION_BINS; b++) {
        c->bin[b].n += bin[b].n;
        c->bin[b].right += bin[b].right;
        if (bin[b].n)
            c->bin[b].confidence += bin[b].confidence * (double)bin[b].n;
    }
}

vt_status vt_calibration_read(vt_calibration *c, const vt_group *group, vt_error *err)
{
    vt_status status = VT_OK;
    *c = (vt_calibration){0};
    for (int i = 0; i < group->n_runs && status == VT_OK; i++) {
        struct answers answers = {0};
        vt_calibration_bin bin[VT_CALIBRATION_BINS];
        status = read_answers(&answers, &group->run[i], err);
        if (status == VT_OK) {
            c->ece += vt_stats_calibration(answers.confidence, answers.right, answers.n, bin,
                                           VT_CALIBRATION_BINS) /
                      group->n_runs;
            c->n += answers.n;
            add_bins(c, bin);
        }
        vt_free(answers.confidence);
        vt_free(answers.right);
    }
    for (int b = 0; b < VT_CALIBRATION_BINS; b++)
        c->bin[b].confidence = c->bin[b].n ? c->bin[b].confidence / (double)c->bin[b].n : NAN;
    return status;
}

/* One row a bin, and one more for the end of the diagonal. */
static void print_table(const vt_calibration *c, const vt_groups *groups, vt_text *text)
{
    vt_text_printf(text, "edge_percent\tmiddle_percent\tzero\tbin");
    for (int g = 0; g < groups->n; g++)
        for (int i = 0; i < COLUMNS; i++) {
            static const char *const names[] = {"images", "images_percent", "confidence_percent",
                                                "accuracy_percent"};
            vt_text_printf(text, "\t%s %s", groups->group[g].name, names[i]);
        }
    vt_text_printf(text, "\n");
    for (int b = 0; b <= VT_CALIBRATION_BINS; b++) {
        vt_text_printf(text, "%.9g", 100.0 * b / VT_CALIBRATION_BINS);
        if (b == VT_CALIBRATION_BINS) {
            vt_text_printf(text, "\n");
            break;
        }
        vt_text_printf(text, "\t%.9g\t0\t%d", 100.0 * (b + 0.5) / VT_CALIBRATION_BINS, b + 1);
        for (int g = 0; g < groups->n; g++) {
            const vt_calibration_bin *bin = &c[g].bin[b];
            vt_text_printf(text, "\t%" PRId64 "\t%.9g", bin->n,
                           c[g].n ? 100.0 * (double)bin->n / (double)c[g].n : 0);
            if (bin->n)
                vt_text_printf(text, "\t%.9g\t%.9g", 100 * bin->confidence,
                               100.0 * (double)bin->right / (double)bin->n);
            else
                vt_text_printf(text, "\t\t");
        }
        vt_text_printf(text, "\n");
    }
}

/* The diagram with the diagonal, and the histogram below it. */
static void add_panels(vt_figure *f, const vt_groups *groups, const vt_panel *diagram,
                       const vt_panel *bars)
{
    const vt_curve diagonal = {
        .x = 1, .y = 1, .style = VT_STYLE_THIN, .marks = 1, .name = "calibrated"};
    vt_figure_panel(f, diagram);
    vt_figure_curve(f, &diagonal);
    for (int g = groups->n - 1; g >= 0; g--) {
        const vt_curve curve = {.x = FIXED + 1 + COLUMNS * g + 2,
                                .y = FIXED + 1 + COLUMNS * g + 3,
                                .style = vt_style_of(g + 1, VT_DASH_NONE),
                                .marks = 1,
                                .name = groups->group[g].name};
        vt_figure_curve(f, &curve);
    }
    vt_figure_panel(f, bars);
    for (int g = groups->n - 1; g >= 0; g--) {
        const vt_curve curve = {.x = 2,
                                .y = FIXED + 1 + COLUMNS * g + 1,
                                .style = vt_style_of(g + 1, VT_DASH_NONE),
                                .marks = 1,
                                .name = groups->group[g].name};
        vt_figure_curve(f, &curve);
    }
}

static void add_legend(vt_figure *f, const vt_calibration *c, const vt_groups *groups, int rows,
                       double pitch)
{
    for (int g = 0; g < groups->n; g++) {
        char name[NAME_SIZE], ece[60];
        double x = EDGE + g / rows * pitch, y = EDGE + (rows - g % rows - 0.5) * LINE;
        snprintf(ece, sizeof ece, "  ECE %.1f %%", 100 * c[g].ece);
        vt_text_shorten(groups->group[g].name,
                        pitch - SAMPLE - SPACE - APART - vt_text_width(ece, VT_POINTS_SMALL),
                        VT_POINTS_SMALL, name, sizeof name - sizeof ece);
        strcat(name, ece);
        vt_figure_sample(f, x, y, SAMPLE, vt_style_of(g + 1, VT_DASH_NONE));
        vt_figure_text(f, x + SAMPLE + SPACE, y, VT_SIDE_LEFT, VT_INK, VT_POINTS_SMALL, name);
    }
}

static void sketch(vt_figure *f, const vt_calibration *c, const vt_groups *groups, double width)
{
    bool wide = width >= VT_WIDTH_DOUBLE;
    double longest = 0;
    for (int g = 0; g < groups->n; g++)
        longest = fmax(longest, vt_text_width(groups->group[g].name, VT_POINTS_SMALL) +
                                    vt_text_width("  ECE 00.0 %", VT_POINTS_SMALL));
    int columns = (int)((width - 2 * EDGE + APART) / (longest + SAMPLE + SPACE + APART));
    columns = columns < 1 ? 1 : columns > groups->n ? groups->n : columns;
    int rows = (groups->n + columns - 1) / columns;
    double pitch = (width - 2 * EDGE + APART) / columns, legend = rows * LINE + EDGE;
    double below = NUMBERS + 1.2 * LINE + EDGE, tall = wide ? 2.4 : 2.0;
    double beside = (width - 2 * LEFT - 0.3) / 2;
    vt_range most = {0, 0};
    f->width = width;
    f->height = wide ? 1.4 * LINE + EDGE + tall + below + legend
                     : 1.4 * LINE + EDGE + tall + 2 * LINE + BARS + below + legend;
    for (int g = 0; g < groups->n; g++)
        for (int b = 0; b < VT_CALIBRATION_BINS && c[g].n; b++)
            vt_range_add(&most, 100.0 * (double)c[g].bin[b].n / (double)c[g].n);
    const vt_scale percent = {0, 100, 20, false};
    vt_panel diagram = {.left = LEFT,
                        .bottom = f->height - 1.4 * LINE - EDGE - tall,
                        .width = wide ? beside : width - LEFT - 0.24,
                        .height = tall,
                        .x = percent,
                        .y = percent,
                        .x_unit = wide ? "%" : NULL,
                        .y_unit = "%",
                        .heading = "accuracy"};
    vt_panel bars = diagram;
    bars.heading = "share of the answers";
    bars.x_unit = "%";
    bars.how = VT_STEPS;
    bars.y = vt_scale_of_values(most, wide ? 5 : 2);
    if (wide) {
        bars.left = width - 0.24 - beside;
    } else {
        bars.bottom = diagram.bottom - 2 * LINE - BARS;
        bars.height = BARS;
    }
    add_panels(f, groups, &diagram, &bars);
    const vt_panel *panels[] = {&diagram, &bars};
    for (int p = 0; p < 2; p++) {
        double top = panels[p]->bottom + panels[p]->height + 0.95 * LINE;
        vt_figure_text(f, panels[p]->left - LEFT + EDGE, top, VT_SIDE_LEFT, VT_INK, VT_POINTS,
                       panels[p]->heading);
        if (wide || p == 1)
            vt_figure_text(f, panels[p]->left + panels[p]->width / 2,
                           panels[p]->bottom - NUMBERS - 0.7 * LINE, VT_SIDE_CENTER, VT_INK,
                           VT_POINTS, "confidence");
    }
    add_legend(f, c, groups, rows, pitch);
}

vt_status vt_calibration_draw(const vt_place *place, const vt_groups *groups, vt_error *err)
{
    vt_text table = {0};
    vt_figure figure = {0};
    vt_status status = VT_OK;
    if (groups->n > VT_CALIBRATION_GROUPS_MAX)
        return vt_fail(err, VT_ERR_USAGE, "%d experiments are too many for one diagram: at most %d",
                       groups->n, VT_CALIBRATION_GROUPS_MAX);
    vt_calibration *c = vt_calloc((size_t)groups->n, sizeof *c);
    if (!c)
        return vt_fail(err, VT_ERR_NOMEM, "no memory for a reliability diagram");
    for (int g = 0; g < groups->n && status == VT_OK; g++)
        status = vt_calibration_read(&c[g], &groups->group[g], err);
    if (status == VT_OK) {
        print_table(c, groups, &table);
        sketch(&figure, c, groups, place->width);
        status = vt_figure_publish(&figure, &table, place, err);
    }
    vt_figure_release(&figure);
    vt_text_release(&table);
    vt_free(c);
    return status;
}
