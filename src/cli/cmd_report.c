/* vitrine report: what experiments came to, as one page. */
#include "base/fs.h"
#include "base/log.h"
#include "cli/cmd.h"
#include "cli/options.h"
#include "report/page.h"
#include "results/draw.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>

#define PAGE "report.html"

/* The page and its figures, in a folder of their own. */
static vt_status write_page(const vt_page *page, const char *results, const char *out,
                            vt_error *err)
{
    char folder[PATH_MAX];
    const char *name = NULL;
    vt_text html = {0};
    int parent = -1, fd = -1;
    if (out)
        snprintf(folder, sizeof folder, "%s", out);
    else
        snprintf(folder, sizeof folder, "%s/report", results);
    vt_status status = vt_fs_open_parent(folder, &parent, &name, err);
    if (status == VT_OK)
        status = vt_fs_make_dirs(parent, name, &fd, err);
    if (status == VT_OK)
        status = vt_page_html(page, fd, folder, &html, err);
    if (status == VT_OK || status == VT_ERR_HELPER) {
        vt_error second = {0};
        vt_status written = vt_draw_publish(fd, PAGE, &html, &second);
        if (written == VT_OK)
            printf("%s/" PAGE "\n", folder);
        else
            status = vt_fail(err, written, "%s", second.text);
    }
    vt_text_release(&html);
    vt_fs_close(&fd);
    vt_fs_close(&parent);
    return status;
}

static vt_status print_markdown(const vt_page *page, vt_error *err)
{
    vt_text text = {0};
    vt_status status = vt_page_markdown(page, &text, err);
    if (status == VT_OK)
        fwrite(text.data, 1, text.size, stdout);
    vt_text_release(&text);
    return status;
}

vt_status vt_cmd_report(int argc, char **argv)
{
    bool markdown = false;
    const char *out = NULL, *metric = NULL;
    vt_page_request request = {0};
    vt_common_options common = {0};
    const vt_option options[] = {
        {"out", 'o', "DIR", VT_OPTION_TEXT, &out,
         "folder of the page and its figures (default results/report)"},
        {"md", 0, NULL, VT_OPTION_SWITCH, &markdown,
         "Markdown on stdout, without figures, for a pull request"},
        {"title", 0, "TEXT", VT_OPTION_TEXT, &request.title, "heading (default Results)"},
        {"metric", 0, "NAME", VT_OPTION_TEXT, &metric, "what is compared (default test.top1)"},
        {"reference", 0, "ROW", VT_OPTION_TEXT, &request.compare.reference,
         "what differences are taken to (default: the first row)"},
        {"sort", 0, "COLUMN", VT_OPTION_TEXT, &request.compare.sort, "best or smallest first"},
        VT_RESULTS_OPTION(common),
        VT_COMMON_OPTIONS(common),
        VT_OPTION_END,
    };
    const vt_usage usage = {
        .verb = "report",
        .arguments = "[RUN|EXP...]",
        .about = "Writes one page on finished runs: verdict, comparison, curves, classes,\n"
                 "attention, cost, configuration, origin, and the commands that repeat them. It\n"
                 "needs no other file and no network. An EXP is its newest run of every seed;\n"
                 "without arguments: all experiments.",
        .options = options,
        .min_arguments = 0,
        .max_arguments = -1};
    vt_arguments arguments = {0};
    vt_error err = {0};
    vt_page page = {0};
    vt_status status = vt_options_parse(&usage, &common, argc, argv, &arguments);
    if (status != VT_OK || common.help)
        return status;
    request.results = vt_results_of(&common);
    request.words = (const char *const *)arguments.v;
    request.n_words = arguments.n;
    request.compare.metric = metric ? vt_metric_find(metric) : NULL;
    if (metric && !request.compare.metric)
        return vt_usage_error("report", "there is no metric '%s'", metric);
    status = vt_page_make(&page, &request, &err);
    if (status == VT_OK)
        status =
            markdown ? print_markdown(&page, &err) : write_page(&page, request.results, out, &err);
    vt_page_release(&page);
    if (status == VT_ERR_USAGE)
        return vt_usage_error("report", "%s", err.text);
    if (status != VT_OK)
        vt_log_write(VT_LOG_ERROR, "%s", err.text);
    return status;
}
