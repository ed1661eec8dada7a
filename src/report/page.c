#include "report/page.h"

#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"
#include "report/attention_figure.h"
#include "report/compare_print.h"
#include "report/escape.h"
#include "report/figure.h"
#include "report/figures.h"
#include "report/page_facts.h"
#include "report/svg.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { ORIGINS_CAP = 1 << 20, ATTENTION_IMAGES = 6, GROUPS_CONFUSION = 6 };

static const char style[] =
    ":root{color-scheme:light dark;--paper:#fff;--text:#1b1f24;--line:#d4d9de;--soft:#59636e;"
    "--shade:#f4f6f8;--link:#0a58ca;--warn:#b35900}"
    "@media (prefers-color-scheme:dark){:root{--paper:#14171a;--text:#e8eaed;--line:#3a4149;"
    "--soft:#a3adb8;--shade:#1e2327;--link:#7db4ff;--warn:#ff9d45}}"
    "*{box-sizing:border-box}"
    "body{margin:0 auto;padding:1.2rem;max-width:68rem;background:var(--paper);color:var(--text);"
    "font:16px/1.5 system-ui,'DejaVu Sans',sans-serif}"
    "h1{font-size:1.7rem;line-height:1.2;margin:.4rem 0 1rem}"
    "h2{font-size:1.25rem;margin:2.2rem 0 .6rem;padding-top:.5rem;border-top:1px solid var(--line)}"
    "h3{font-size:1rem;margin:1.4rem 0 .4rem}"
    "a{color:var(--link)}p,li{max-width:46rem}h1,h3,li,p,summary{overflow-wrap:anywhere}"
    ".verdict{list-style:none;padding:0;margin:0}"
    ".verdict li{max-width:none;padding:.5rem .8rem;margin:.4rem 0;background:var(--shade);"
    "border-left:4px solid var(--soft)}"
    ".verdict small{display:block;font-size:.875rem;color:var(--soft)}"
    ".verdict .unfair{border-left-color:var(--warn)}"
    ".wide{overflow-x:auto;margin:.6rem 0}.wide:focus{outline:2px solid var(--link)}"
    "table{border-collapse:collapse;font-size:.875rem;font-variant-numeric:tabular-nums}"
    "th,td{padding:.3rem .5rem;border-bottom:1px solid var(--line);text-align:left;"
    "vertical-align:top;white-space:nowrap}"
    "thead th{border-bottom:2px solid var(--soft)}.number{text-align:right}"
    "tbody th{font-weight:600}.notes{font-size:.875rem;color:var(--soft);padding-left:1.2rem}"
    ".settings td{white-space:normal;min-width:9rem;overflow-wrap:anywhere}"
    ".figures{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,24rem),1fr));"
    "gap:1rem 2rem;align-items:start}.figures p{margin:.5rem 0}"
    "figure{margin:.5rem 0;min-width:0}figure "
    "svg.vt-figure{display:block;max-width:34rem!important}"
    ".paper svg.vt-figure{background:#fff;--vt-ink:#222222;--vt-soft:#555555;--vt-frame:#444444}"
    "figcaption{font-size:.875rem;color:var(--soft);margin-top:.3rem}"
    "pre{overflow-x:auto;padding:.7rem;background:var(--shade);font-size:.8125rem;line-height:1.4}"
    "summary{cursor:pointer;margin:.4rem 0}.none{color:var(--soft)}"
    "@media print{body{max-width:none;padding:0;font-size:10pt}nav{display:none}"
    ".figures{grid-template-columns:1fr 1fr}table,pre{font-size:8pt}"
    ".wide,pre{overflow:visible}th,td{white-space:normal}pre{white-space:pre-wrap}"
    "h2,h3{break-after:avoid}figure,.verdict li,tr{break-inside:avoid}}";

/* The page as it is written. */
struct writer {
    const vt_page *page;
    vt_text *html;
    vt_drawer drawer;
    int fd;
    const char *folder;
    vt_error *err;
    vt_status status; /* the first failure: no memory */
};

vt_status vt_page_make(vt_page *page, const vt_page_request *request, vt_error *err)
{
    *page = (vt_page){.request = request};
    vt_status status = vt_outcomes_read(&page->list, request->results, request->words,
                                        request->n_words, true, err);
    return status == VT_OK ? vt_compare_make(&page->compare, &page->list, &request->compare, err)
                           : status;
}

void vt_page_release(vt_page *page)
{
    vt_compare_release(&page->compare);
    vt_outcomes_release(&page->list);
}

static void put(struct writer *w, const char *html)
{
    vt_text_append(w->html, html, strlen(html));
}

static void put_text(struct writer *w, const char *text)
{
    vt_escape(w->html, VT_ESCAPE_HTML, text);
}

static void put_heading(struct writer *w, const char *id, const char *text)
{
    vt_text_printf(w->html, "<h2 id=\"%s\">%s</h2>\n", id, text);
}

static void put_none(struct writer *w, const char *why)
{
    put(w, "<p class=\"none\">");
    put_text(w, why);
    put(w, "</p>\n");
}

static void put_label(struct writer *w, int row)
{
    const vt_compare_row *r = &w->page->compare.row[row];
    put_text(w, r->mark);
    put(w, " ");
    put_text(w, r->label);
}

/* A table that scrolls by itself where the screen is narrow, and with the keyboard too. */
static void begin_wide(struct writer *w, const char *id, const char *name)
{
    vt_text_printf(w->html,
                   "<div class=\"wide %s\" role=\"region\" tabindex=\"0\" aria-label=\"%s\">", id,
                   name);
}

static void put_table(struct writer *w, const char *id, const char *name, vt_table *table)
{
    begin_wide(w, id, name);
    vt_status status = vt_table_print(table, VT_TABLE_HTML, w->html, w->err);
    w->status = w->status == VT_OK ? status : w->status;
    put(w, "</div>\n");
    vt_table_release(table);
}

/* ---- figures */

/* Figures are drawn for one column: readable on a phone, and two beside each other elsewhere. */
static void begin_figures(struct writer *w)
{
    put(w, "<div class=\"figures\">\n");
}

static void end_figures(struct writer *w)
{
    put(w, "</div>\n");
}

/* The SVG file NAME.svg of the folder. `alt` says what it shows, `caption` how to read it; `paper`:
 * it is light in dark pages too, for it holds pictures on white. */
static void put_svg(struct writer *w, const char *name, const char *alt, const char *caption,
                    bool paper)
{
    vt_error err = {0};
    vt_text svg = {0};
    if (w->drawer.no_gnuplot.status != VT_OK) {
        vt_text_printf(&svg, "Not drawn, for gnuplot did not run: %s", alt);
        put_none(w, svg.data ? svg.data : "");
    } else if (vt_svg_inline_file(w->fd, name, name, alt, &svg, &err) == VT_OK) {
        put(w, paper ? "<figure class=\"paper\">" : "<figure>");
        vt_text_append(w->html, svg.data, svg.size);
        put(w, "<figcaption>");
        put_text(w, caption);
        put(w, "</figcaption></figure>\n");
    } else {
        put_none(w, err.text);
    }
    vt_text_release(&svg);
}

static void put_kind(struct writer *w, vt_figure_kind kind, const vt_groups *groups,
                     const char *caption)
{
    /* A matrix needs room for its numbers. */
    const vt_figure_options options = {.width = kind == VT_FIGURE_CONFUSION ? 5.0 : VT_WIDTH_SINGLE,
                                       .split = VT_SPLIT_TEST,
                                       .epoch = -1};
    char name[VT_NAME_MAX + 1];
    vt_error err = {0};
    vt_text alt = {0}, below = {0};
    vt_status status = vt_figure_draw(&w->drawer, w->fd, w->folder, kind, groups, &options, &err);
    bool each = kind == VT_FIGURE_CONFUSION;
    if (status != VT_OK)
        put_none(w, err.text);
    for (int i = 0; i < (each ? groups->n : 1) && status == VT_OK; i++) {
        const char *group = groups->group[i].name;
        alt.size = below.size = 0;
        vt_text_printf(&alt, "Chart of %s: %s", each ? group : "all experiments", caption);
        vt_text_printf(&below, "%s%s%s", each ? group : "", each ? ": " : "", caption);
        w->html->failed |= alt.failed || below.failed;
        if (!w->html->failed)
            put_svg(w, vt_figure_name(kind, groups, i, name), alt.data, below.data, false);
    }
    vt_text_release(&alt);
    vt_text_release(&below);
}

/* The runs of the rows as the figures take them. */
static vt_status read_groups(const vt_page *page, vt_groups *groups, vt_error *err)
{
    const vt_compare *c = &page->compare;
    int n = 0;
    for (int row = 0; row < c->n_rows; row++)
        n += c->row[row].n;
    vt_run_place *place = vt_calloc((size_t)n, sizeof *place);
    if (!place)
        return vt_fail(err, VT_ERR_NOMEM, "no memory for %d runs", n);
    n = 0;
    for (int row = 0; row < c->n_rows; row++)
        for (int i = 0; i < c->row[row].n; i++)
            place[n++] = c->row[row].run[i]->place;
    vt_status status = vt_groups_read(groups, place, n, false, err);
    vt_free(place);
    return status;
}

/* ---- sections */

static void write_verdict(struct writer *w)
{
    const vt_compare *c = &w->page->compare;
    vt_text line = {0};
    put(w, "<ul class=\"verdict\">\n");
    for (int row = 0; row < c->n_rows; row++) {
        put(w, "<li><strong>");
        put_label(w, row);
        put(w, "</strong> ");
        line.size = 0;
        vt_page_standing(c, row, &line);
        put_text(w, line.data);
        line.size = 0;
        vt_page_baseline(c, row, w->page->request->results, &line);
        put(w, "<small>");
        put_text(w, line.data);
        put(w, "</small></li>\n");
    }
    for (int i = 0, number = 0; i < c->n_notes; i++) {
        if (!c->note[i].unfair)
            continue;
        vt_text_printf(w->html, "<li class=\"unfair\"><strong>Not like with like</strong> (!%d) ",
                       ++number);
        put_text(w, c->note[i].text);
        put(w, "</li>\n");
    }
    put(w, "</ul>\n");
    vt_text_release(&line);
}

static void write_comparison(struct writer *w)
{
    put_heading(w, "comparison", "Comparison");
    begin_wide(w, "compared", "comparison of the experiments");
    vt_status status = vt_page_comparison(&w->page->compare, VT_TABLE_HTML, w->html, w->err);
    w->status = w->status == VT_OK ? status : w->status;
    put(w, "</div>\n");
}

static void write_curves(struct writer *w, const vt_groups *groups)
{
    put_heading(w, "curves", "Curves");
    put(w, "<p>Several seeds are a mean line in a band of plus and minus one sample standard "
           "deviation.</p>\n");
    begin_figures(w);
    put_kind(w, VT_FIGURE_LOSS, groups, "Training and test loss against the epoch.");
    put_kind(w, VT_FIGURE_ACCURACY, groups, "Training and test accuracy against the epoch.");
    put_kind(w, VT_FIGURE_RATE, groups, "Learning rate against the epoch.");
    end_figures(w);
}

static void write_classes(struct writer *w, const vt_groups *groups)
{
    put_heading(w, "classes", "Classes and calibration");
    begin_figures(w);
    put_kind(w, VT_FIGURE_CLASSES, groups, "Test accuracy of each class.");
    put_kind(w, VT_FIGURE_CALIBRATION, groups,
             "Reliability diagram, accuracy against confidence; a model that knows how sure it may "
             "be lies on the diagonal.");
    if (groups->n <= GROUPS_CONFUSION)
        put_kind(w, VT_FIGURE_CONFUSION, groups, "confusion matrix of the test images.");
    else
        put_none(w, "Confusion matrices are left out: there are more than 6 experiments.");
    end_figures(w);
}

static void put_attention(struct writer *w, int row, const vt_attention_set *set,
                          vt_attention_kind kind)
{
    const vt_compare_row *r = &w->page->compare.row[row];
    bool rollout = kind == VT_ATTENTION_rollout;
    int64_t images[ATTENTION_IMAGES];
    char name[64];
    vt_error err = {0};
    vt_text says = {0};
    snprintf(name, sizeof name, "attention_%d_%s", row + 1, rollout ? "rollout" : "mean");
    const vt_attention_view view = {
        .kind = kind,
        .name = name,
        .layer = -1,
        .head = -1,
        .images = images,
        .n_images = vt_attention_choose(set, rollout ? ATTENTION_IMAGES : 2, images),
        .narrow = true};
    vt_text_printf(&says, "%s %s, seed %" PRIu64 ": %s", r->mark, r->label, r->run[0]->seed,
                   rollout ? "test images and the attention rollout over them, right answers and, "
                             "where some were captured, wrong ones."
                           : "test images and the mean over the heads of each layer's attention.");
    vt_status status = vt_attention_figure(&w->drawer, w->fd, w->folder, set, &view, &err);
    if (status == VT_OK && says.data)
        put_svg(w, name, says.data, says.data, true);
    else
        put_none(w, err.text);
    vt_text_release(&says);
}

/* The attention of a row's first run; false if it captured none. */
static bool write_attention_of(struct writer *w, int row)
{
    const char *folder = w->page->compare.row[row].run[0]->place.path;
    vt_history history = {0};
    vt_attention_set set = {0};
    int fd = -1;
    bool found = vt_fs_open_dir(AT_FDCWD, folder, &fd, NULL) == VT_OK &&
                 vt_history_read(&history, fd, NULL) == VT_OK &&
                 vt_attention_read(&set, fd, folder, &history, -1, NULL) == VT_OK &&
                 set.n_layers > 0;
    if (found) {
        if (set.has_rollout)
            put_attention(w, row, &set, VT_ATTENTION_rollout);
        put_attention(w, row, &set, VT_ATTENTION_mean);
    }
    vt_attention_release(&set);
    vt_history_release(&history);
    vt_fs_close(&fd);
    return found;
}

static void write_attention(struct writer *w)
{
    bool any = false;
    put_heading(w, "attention", "Attention");
    begin_figures(w);
    for (int row = 0; row < w->page->compare.n_rows; row++)
        any |= write_attention_of(w, row);
    end_figures(w);
    if (!any)
        put_none(w, "No run captured attention weights: attention.images says how many.");
}

static void write_speed(struct writer *w, const vt_groups *groups)
{
    vt_table table;
    put_heading(w, "cost", "Cost");
    vt_table_init(&table);
    vt_page_costs(&w->page->compare, &table);
    put_table(w, "costs", "cost of the experiments", &table);
    begin_figures(w);
    put_kind(w, VT_FIGURE_SPEED, groups, "Training images a second, and the time of a step.");
    end_figures(w);
}

static void write_origins_file(struct writer *w, int row)
{
    const vt_outcome *run = w->page->compare.row[row].run[0];
    char *text = NULL;
    size_t size = 0;
    int fd = -1;
    if (vt_fs_open_dir(AT_FDCWD, run->place.path, &fd, NULL) == VT_OK &&
        vt_fs_read_file(fd, "config.origin.txt", ORIGINS_CAP, &text, &size, NULL) == VT_OK) {
        put(w, "<details><summary>All settings of ");
        put_label(w, row);
        put(w, ", and where each comes from</summary><pre tabindex=\"0\">");
        for (char *line = text, *end; *line; line = end) {
            size_t length = strcspn(line, "\n");
            end = line + length + (line[length] == '\n');
            line[length] = '\0';
            put_text(w, line);
            put(w, "\n");
        }
        put(w, "</pre></details>\n");
    }
    vt_free(text);
    vt_fs_close(&fd);
}

static void write_configuration(struct writer *w)
{
    const vt_compare *c = &w->page->compare;
    vt_table table;
    put_heading(w, "configuration", "Configuration");
    if (c->n_differing) {
        vt_table_init(&table);
        vt_page_settings(c, &table);
        put_table(w, "settings", "settings that differ", &table);
    } else {
        put_none(w, "No setting that can change results differs.");
    }
    for (int row = 0; row < c->n_rows; row++)
        write_origins_file(w, row);
}

static void write_origins(struct writer *w)
{
    const vt_compare *c = &w->page->compare;
    vt_table table;
    vt_text line = {0};
    put_heading(w, "origin", "Where it came from");
    vt_table_init(&table);
    vt_page_origins(c, &table);
    put_table(w, "origins", "digests, code and build of each run", &table);
    put_heading(w, "reproduce", "Reproduce");
    put(w,
        "<p>Each command repeats a run. Where the numerics are the same, so must be the weights, "
        "whose SHA-256 begins with these digits.</p>\n"
        "<pre tabindex=\"0\" aria-label=\"commands\" role=\"region\">");
    for (int row = 0; row < c->n_rows; row++)
        for (int i = 0; i < c->row[row].n; i++) {
            line.size = 0;
            vt_page_expected(c, row, i, &line);
            put_text(w, line.data);
            put(w, "\n");
            line.size = 0;
            vt_page_command(c->row[row].run[i], &line);
            put_text(w, line.data);
            put(w, "\n");
        }
    put(w, "</pre>\n");
    vt_text_release(&line);
}

static void write_contents(struct writer *w)
{
    static const char *const sections[][2] = {
        {"comparison", "Comparison"}, {"curves", "Curves"},      {"classes", "Classes"},
        {"attention", "Attention"},   {"cost", "Cost"},          {"configuration", "Configuration"},
        {"origin", "Origin"},         {"reproduce", "Reproduce"}};
    put(w, "<nav aria-label=\"sections\"><p>");
    for (size_t i = 0; i < sizeof sections / sizeof *sections; i++)
        vt_text_printf(w->html, "%s<a href=\"#%s\">%s</a>", i ? " · " : "", sections[i][0],
                       sections[i][1]);
    put(w, "</p></nav>\n");
}

vt_status vt_page_html(const vt_page *page, int dir_fd, const char *folder, vt_text *html,
                       vt_error *err)
{
    struct writer w = {.page = page,
                       .html = html,
                       .drawer = {.formats = {.svg = true}, .maker = "vitrine report"},
                       .fd = dir_fd,
                       .folder = folder,
                       .err = err};
    const char *title = page->request->title ? page->request->title : "Results";
    vt_groups groups = {0};
    vt_status status = read_groups(page, &groups, err);
    if (status != VT_OK)
        goto done;
    put(&w, "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
            "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
            "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; "
            "style-src 'unsafe-inline'; img-src data:\">\n<title>");
    put_text(&w, title);
    put(&w, "</title>\n<style>");
    put(&w, style);
    put(&w, vt_svg_style());
    put(&w, "</style>\n</head>\n<body>\n<main>\n<h1>");
    put_text(&w, title);
    put(&w, "</h1>\n");
    write_verdict(&w);
    write_contents(&w);
    write_comparison(&w);
    write_curves(&w, &groups);
    write_classes(&w, &groups);
    write_attention(&w);
    write_speed(&w, &groups);
    write_configuration(&w);
    write_origins(&w);
    put(&w, "</main>\n</body>\n</html>\n");
    status = w.status;
    if (status == VT_OK && html->failed)
        status = vt_fail(err, VT_ERR_NOMEM, "no memory for the report");
    if (status == VT_OK)
        status = vt_draw_finish(&w.drawer, err);
done:
    vt_groups_release(&groups);
    return status;
}
