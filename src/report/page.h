/*
 * The report of experiments: one page that says what came out, how sure it is, what it cost and how
 * to get it again. In this order: the verdict, the comparison, curves, classes and confusion,
 * attention, speed, configuration, where it came from, the commands that make it again.
 *
 * vt_page_html writes a page that needs nothing else: no script, no request; figures are inside as
 * SVG, pictures as data. vt_page_markdown says the same without figures, for a pull request.
 */
#ifndef VT_REPORT_PAGE_H
#define VT_REPORT_PAGE_H

#include "base/text.h"
#include "report/compare.h"

typedef struct vt_page_request {
    const char *results, *title; /* title NULL: "Results" */
    const char *const *words;    /* which runs: as vt_outcomes_read */
    int n_words;
    vt_compare_request compare;
} vt_page_request;

typedef struct vt_page {
    const vt_page_request *request;
    vt_outcome_list list;
    vt_compare compare;
} vt_page;

/* Reads the runs and compares them; errors as of vt_outcomes_read and vt_compare_make. The request
 * must outlive the page. Release in every case. */
vt_status vt_page_make(vt_page *page, const vt_page_request *request, vt_error *err);
void vt_page_release(vt_page *page);

/* Appends the page. The figures, with their data and scripts, are drawn into the folder `dir_fd`,
 * `folder` in messages. What a run does not have is left out, and said. VT_ERR_HELPER: gnuplot did
 * not run; the page is there without figures. */
vt_status vt_page_html(const vt_page *page, int dir_fd, const char *folder, vt_text *html,
                       vt_error *err);
vt_status vt_page_markdown(const vt_page *page, vt_text *markdown, vt_error *err);

#endif
