#include "report/page.h"

#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"
#include "report/attention_figure.h"
#include "report/compare_print.h"
#include "report/escape.h"
#include "report/figures.h"
#include "report/page_facts.h"
#include "report/svg.h"

#include <fcntl.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>

enum { PNG_CAP = 32 << 20, ORIGINS_CAP = 1 << 20, ATTENTION_IMAGES = 6, GROUPS_CONFUSION = 6 };

static const char style[] =
    ":root{color-scheme:light dark;--paper:#fff;--text:#1b1f24;--line:#d4d9de;--soft:#59636e;"
    "--shade:#f4f6f8;--link:#0a58ca}"
    "@media (prefers-color-scheme:dark){:root{--paper:#14171a;--text:#e8eaed;--line:#3a4149;"
    "--soft:#a3adb8;--shade:#1e2327;--link:#7db4ff}}"
    "*{box-sizing:border-box}"
    "body{margin:0 auto;padding:1.2rem;max-width:62rem;background:var(--paper);color:var(--text);"
    "font:16px/1.5 system-ui,'DejaVu Sans',sans-serif}"
    "h1{font-size:1.7rem;line-height:1.2;margin:.4rem 0 1rem}"
    "h2{font-size:1.25rem;margin:2.2rem 0 .6rem;padding-top:.5rem;border-top:1px solid var(--line)}"
    "h3{font-size:1rem;margin:1.4rem 0 .4rem}"
    "a{color:var(--link)}p,li{max-width:46rem}"
    ".verdict{list-style:none;padding:0;margin:0}"
    ".verdict li{max-width:none;padding:.5rem .8rem;margin:.4rem 0;background:var(--shade);"
    "border-left:4px solid var(--soft)}"
    ".verdict small{display:block;color:var(--soft)}"
    ".wide{overflow-x:auto;margin:.6rem 0}.wide:focus{outline:2px solid var(--link)}"
    "table{border-collapse:collapse;font-size:.875rem;font-variant-numeric:tabular-nums}"
    "th,td{padding:.3rem .6rem;border-bottom:1px solid var(--line);text-align:left;"
    "vertical-align:top;white-space:nowrap}"
    "thead th{border-bottom:2px solid var(--soft)}.number{text-align:right}"
    "tbody th{font-weight:600}.notes{font-size:.875rem;color:var(--soft);padding-left:1.2rem}"
    "figure{margin:1rem 0}figure svg,figure img{max-width:100%;height:auto}"
    "figure img{background:#fff}figcaption{font-size:.875rem;color:var(--soft)}"
    "pre{overflow-x:auto;padding:.7rem;background:var(--shade);font-size:.8125rem;line-height:1.4}"
    "summary{cursor:pointer;margin:.4rem 0}.none{color:var(--soft)}"
    "@media print{body{max-width:none;padding:0;font-size:10pt}"
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
static void begin_wide(struct writer *w, const char *name)
{
    vt_text_printf(w->html, "<div class=\"wide\" role=\"region\" tabindex=\"0\" aria-label=\"%s\">",
                   name);
}

static void put_table(struct writer *w, const char *name, vt_table *table)
{
    begin_wide(w, name);
    vt_status status = vt_table_print(table, VT_TABLE_HTML, w->html, w->err);
    w->status = w->status == VT_OK ? status : w->status;
    put(w, "</div>\n");
    vt_table_release(table);
}

/* ---- figures */

static void begin_figure(struct writer *w)
{
    put(w, "<figure>");
}

static void end_figure(struct writer *w, const char *caption)
{
    put(w, "<figcaption>");
    put_text(w, caption);
    put(w, "</figcaption></figure>\n");
}

/* The SVG file NAME.svg of the folder. */
static void put_svg(struct writer *w, const char *name, const char *alt)
{
    vt_error err = {0};
    vt_text svg = {0};
    if (w->drawer.no_gnuplot.status != VT_OK) {
        put_none(w, "not drawn: gnuplot did not run");
    } else if (vt_svg_inline_file(w->fd, name, name, alt, &svg, &err) == VT_OK) {
        begin_figure(w);
        vt_text_append(w->html, svg.data, svg.size);
        end_figure(w, alt);
    } else {
        put_none(w, err.text);
    }
    vt_text_release(&svg);
}

static void put_kind(struct writer *w, vt_figure_kind kind, const vt_groups *groups,
                     const char *alt)
{
    const vt_figure_options options = {.width = 6.9, .split = VT_SPLIT_TEST, .epoch = -1};
    char name[VT_NAME_MAX + 1];
    vt_error err = {0};
    vt_status status = vt_figure_draw(&w->drawer, w->fd, w->folder, kind, groups, &options, &err);
    int n = kind == VT_FIGURE_CONFUSION ? groups->n : 1;
    if (status != VT_OK) {
        put_none(w, err.text);
        return;
    }
    for (int i = 0; i < n; i++) {
        vt_text said = {0};
        vt_text_printf(&said, "%s%s%s", alt, n > 1 ? ": " : "", n > 1 ? groups->group[i].name : "");
        put_svg(w, vt_figure_name(kind, groups, i, name), said.data ? said.data : alt);
        vt_text_release(&said);
    }
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

/* The PNG file NAME.png of the folder, as data inside the page. */
static void put_png(struct writer *w, const char *name, const char *alt)
{
    char file[VT_NAME_MAX + 1];
    char *data = NULL;
    size_t size = 0;
    vt_error err = {0};
    snprintf(file, sizeof file, "%s.png", name);
    if (w->drawer.no_gnuplot.status != VT_OK) {
        put_none(w, "not drawn: gnuplot did not run");
        return;
    }
    if (vt_fs_read_file(w->fd, file, PNG_CAP, &data, &size, &err) != VT_OK) {
        put_none(w, err.text);
        return;
    }
    unsigned char *code = vt_calloc(4 * (size / 3 + 1) + 1, 1);
    if (code) {
        int length = EVP_EncodeBlock(code, (const unsigned char *)data, (int)size);
        begin_figure(w);
        put(w, "<img src=\"data:image/png;base64,");
        vt_text_append(w->html, code, (size_t)length);
        put(w, "\" alt=\"");
        put_text(w, alt);
        put(w, "\">");
        end_figure(w, alt);
    } else {
        w->html->failed = true;
    }
    vt_free(code);
    vt_free(data);
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
    put(w, "</ul>\n<p>");
    line.size = 0;
    vt_compare_say(c, &line);
    put_text(w, line.data);
    put(w, "</p>\n");
    vt_text_release(&line);
}

static void write_comparison(struct writer *w)
{
    put_heading(w, "comparison", "Comparison");
    begin_wide(w, "comparison");
    vt_status status = vt_page_comparison(&w->page->compare, VT_TABLE_HTML, w->html, w->err);
    w->status = w->status == VT_OK ? status : w->status;
    put(w, "</div>\n");
}

static void write_curves(struct writer *w, const vt_groups *groups)
{
    put_heading(w, "curves", "Curves");
    put_kind(w, VT_FIGURE_LOSS, groups, "training and test loss against the epoch");
    put_kind(w, VT_FIGURE_ACCURACY, groups, "training and test accuracy against the epoch");
    put_kind(w, VT_FIGURE_RATE, groups, "learning rate against the epoch");
}

static void write_classes(struct writer *w, const vt_groups *groups)
{
    put_heading(w, "classes", "Classes and calibration");
    put_kind(w, VT_FIGURE_CLASSES, groups, "accuracy of each class");
    if (groups->n <= GROUPS_CONFUSION)
        put_kind(w, VT_FIGURE_CONFUSION, groups, "confusion matrix");
    else
        put_none(w, "confusion matrices are left out: too many experiments");
    put_kind(w, VT_FIGURE_CALIBRATION, groups, "reliability diagram");
}

/* The attention of a row's first run that captured some. */
static bool write_attention_of(struct writer *w, int row)
{
    const vt_compare_row *r = &w->page->compare.row[row];
    vt_history history = {0};
    vt_attention_set set = {0};
    vt_error err = {0};
    int fd = -1;
    char name[64];
    int64_t images[ATTENTION_IMAGES];
    bool found = false;
    if (vt_fs_open_dir(AT_FDCWD, r->run[0]->place.path, &fd, &err) == VT_OK &&
        vt_history_read(&history, fd, &err) == VT_OK)
        found = vt_attention_read(&set, fd, r->run[0]->place.path, &history, -1, &err) == VT_OK &&
                set.n_layers > 0;
    if (found) {
        snprintf(name, sizeof name, "attention_%d", row);
        const vt_attention_view view = {
            .kind = set.has_rollout ? VT_ATTENTION_rollout : VT_ATTENTION_mean,
            .name = name,
            .layer = -1,
            .head = -1,
            .images = images,
            .n_images = vt_attention_choose(&set, set.has_rollout ? ATTENTION_IMAGES : 2, images)};
        put(w, "<h3>");
        put_label(w, row);
        put(w, "</h3>\n");
        if (vt_attention_figure(&w->drawer, w->fd, w->folder, &set, &view, &err) == VT_OK)
            put_png(w, name,
                    set.has_rollout
                        ? "test images and the attention rollout over them, right answers beside "
                          "wrong ones where both were captured"
                        : "test images and the mean attention of each layer over them");
        else
            put_none(w, err.text);
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
    w->drawer.formats = (vt_formats){.png = true};
    for (int row = 0; row < w->page->compare.n_rows; row++)
        any |= write_attention_of(w, row);
    w->drawer.formats = (vt_formats){.svg = true};
    if (!any)
        put_none(w, "No run captured attention weights: attention.images says how many.");
}

static void write_speed(struct writer *w, const vt_groups *groups)
{
    vt_table table;
    put_heading(w, "cost", "Cost");
    vt_table_init(&table);
    vt_page_costs(&w->page->compare, &table);
    put_table(w, "cost", &table);
    put_kind(w, VT_FIGURE_SPEED, groups, "training images a second, and time of a step");
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
        put(w, ", and where each comes from</summary><pre>");
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
        put_table(w, "settings that differ", &table);
    } else {
        put_none(w, "no setting that can change results differs");
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
    put_table(w, "digests, code and machine of each run", &table);
    put_heading(w, "again", "Again");
    put(w, "<p>Each command repeats a run; its weights must have these digits where the numerics "
           "are the same.</p>\n<pre>");
    for (int row = 0; row < c->n_rows; row++)
        for (int i = 0; i < c->row[row].n; i++) {
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
        {"comparison", "Comparison"}, {"curves", "Curves"}, {"classes", "Classes"},
        {"attention", "Attention"},   {"cost", "Cost"},     {"configuration", "Configuration"},
        {"origin", "Origin"},         {"again", "Again"}};
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
            "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>");
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
