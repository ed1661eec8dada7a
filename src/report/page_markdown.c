#include "report/escape.h"
#include "report/page.h"
#include "report/page_facts.h"

static void add_line(vt_text *md, const char *before, const vt_text *line)
{
    vt_text_printf(md, "%s", before);
    vt_escape(md, VT_ESCAPE_MARKDOWN, line->data);
}

/* A line of a block of code. */
static void add_code(vt_text *md, const vt_text *line)
{
    vt_text_printf(md, "    ");
    vt_escape(md, VT_ESCAPE_SHOWN, line->data);
    vt_text_printf(md, "\n");
}

static vt_status add_table(vt_text *md, const char *heading, vt_table *table, vt_error *err)
{
    vt_text_printf(md, "\n## %s\n\n", heading);
    vt_status status = vt_table_print(table, VT_TABLE_MARKDOWN, md, err);
    vt_table_release(table);
    return status;
}

vt_status vt_page_markdown(const vt_page *page, vt_text *md, vt_error *err)
{
    const vt_compare *c = &page->compare;
    vt_table table;
    vt_text line = {0};
    vt_text_printf(md, "# ");
    vt_escape(md, VT_ESCAPE_MARKDOWN, page->request->title ? page->request->title : "Results");
    vt_text_printf(md, "\n\n");
    for (int row = 0; row < c->n_rows; row++) {
        line.size = 0;
        vt_text_printf(&line, "%s %s", c->row[row].mark, c->row[row].label);
        add_line(md, "- **", &line);
        line.size = 0;
        vt_page_standing(c, row, &line);
        add_line(md, "** ", &line);
        line.size = 0;
        vt_page_baseline(c, row, page->request->results, &line);
        add_line(md, "; ", &line);
        vt_text_printf(md, "\n");
    }
    vt_text_printf(md, "\n## Comparison\n\n");
    vt_status status = vt_page_comparison(c, VT_TABLE_MARKDOWN, md, err);
    vt_table_init(&table);
    vt_page_costs(c, &table);
    if (status == VT_OK)
        status = add_table(md, "Cost", &table, err);
    if (c->n_differing) {
        vt_table_init(&table);
        vt_page_settings(c, &table);
        if (status == VT_OK)
            status = add_table(md, "Configuration", &table, err);
    }
    vt_table_init(&table);
    vt_page_origins(c, &table);
    if (status == VT_OK)
        status = add_table(md, "Where it came from", &table, err);
    vt_text_printf(md, "\n## Reproduce\n\n");
    for (int row = 0; row < c->n_rows; row++)
        for (int i = 0; i < c->row[row].n; i++) {
            line.size = 0;
            vt_page_expected(c, row, i, &line);
            add_code(md, &line);
            line.size = 0;
            vt_page_command(c->row[row].run[i], &line);
            add_code(md, &line);
        }
    vt_text_release(&line);
    return status == VT_OK && md->failed ? vt_fail(err, VT_ERR_NOMEM, "no memory for the report")
                                         : status;
}
