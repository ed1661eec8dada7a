#include "base/log.h"
#include "cli/cmd.h"
#include "cli/options.h"
#include "report/compare_print.h"
#include "report/escape.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct compare_options {
    bool md, csv, tsv, tex, json, all, wide, transposed;
    const char *format, *metric, *reference, *columns, *sort, *group_by, *level;
} compare_options;

static vt_status pick_format(const compare_options *o, vt_table_format *format, vt_error *err)
{
    const struct {
        bool given;
        vt_table_format format;
    } switches[] = {{o->md, VT_TABLE_MARKDOWN},
                    {o->csv, VT_TABLE_CSV},
                    {o->tsv, VT_TABLE_TSV},
                    {o->tex, VT_TABLE_TEX},
                    {o->json, VT_TABLE_JSON}};
    int n = o->format != NULL;
    *format = VT_TABLE_TEXT;
    for (size_t i = 0; i < sizeof switches / sizeof *switches; i++) {
        if (switches[i].given)
            *format = switches[i].format;
        n += switches[i].given;
    }
    if (n > 1)
        return vt_fail(err, VT_ERR_USAGE, "one format at a time");
    return o->format ? vt_table_format_parse(format, o->format, err) : VT_OK;
}

/* "95" and "95%" are 0.95. */
static vt_status parse_level(const char *text, double *level, vt_error *err)
{
    char *end;
    *level = strtod(text, &end);
    if (*level > 1)
        *level /= 100;
    if (end == text || (*end && strcmp(end, "%") != 0) || !(*level > 0 && *level < 1))
        return vt_fail(err, VT_ERR_USAGE, "--level '%s': a share between 0 and 1, such as 0.95",
                       text);
    return VT_OK;
}

static vt_status read_request(const compare_options *o, vt_compare_request *request, vt_error *err)
{
    request->reference = o->reference;
    request->group_by = o->group_by;
    request->sort = o->sort;
    if (o->metric && !(request->metric = vt_metric_find(o->metric))) {
        vt_text names = {0};
        for (int i = 0; vt_metric_at(i); i++)
            vt_text_printf(&names, "%s%s", i ? ", " : "", vt_metric_at(i)->name);
        vt_status status = vt_fail(err, VT_ERR_USAGE, "there is no metric '%s'; there are: %s",
                                   o->metric, names.data ? names.data : "");
        vt_text_release(&names);
        return status;
    }
    if (o->wide && o->transposed)
        return vt_fail(err, VT_ERR_USAGE, "--wide or --long, not both");
    return o->level ? parse_level(o->level, &request->level, err) : VT_OK;
}

/* Broken folders, and where the format has no room for them the notes too. */
static void narrate(const vt_compare *compare, vt_table_format format)
{
    bool notes = format == VT_TABLE_CSV || format == VT_TABLE_TSV || format == VT_TABLE_JSONL;
    vt_text line = {0};
    for (int i = 0; i < compare->n_left_out; i++) {
        if (compare->left_out[i]->state != VT_RUN_BROKEN)
            continue;
        line.size = 0;
        vt_escape(&line, VT_ESCAPE_SHOWN, compare->left_out[i]->place.path);
        vt_text_printf(&line, ": ");
        vt_escape(&line, VT_ESCAPE_SHOWN, compare->left_out[i]->problem);
        if (line.data)
            vt_log_write(VT_LOG_WARNING, "%s", line.data);
    }
    for (int i = 0; notes && i < compare->n_notes; i++) {
        line.size = 0;
        vt_escape(&line, VT_ESCAPE_SHOWN, compare->note[i].text);
        if (line.data)
            vt_log_write(compare->note[i].unfair ? VT_LOG_WARNING : VT_LOG_INFO, "%s", line.data);
    }
    vt_text_release(&line);
}

static vt_status print_comparison(const vt_compare *compare, const compare_options *o,
                                  vt_table_format format, vt_error *err)
{
    vt_compare_columns columns = {0};
    vt_text out = {0};
    vt_compare_form form = o->wide         ? VT_COMPARE_WIDE
                           : o->transposed ? VT_COMPARE_LONG
                                           : VT_COMPARE_AUTO;
    vt_status status = o->columns
                           ? vt_compare_columns_parse(&columns, o->columns, compare->metric, err)
                           : vt_compare_columns_default(&columns, compare, o->all, err);
    if (status == VT_OK)
        status = vt_compare_print(compare, &columns, format, form, &out, err);
    if (status == VT_OK) {
        narrate(compare, format);
        fwrite(out.data, 1, out.size, stdout);
    }
    vt_text_release(&out);
    vt_compare_columns_release(&columns);
    return status;
}

vt_status vt_cmd_compare(int argc, char **argv)
{
    compare_options o = {0};
    vt_common_options common = {0};
    const vt_option options[] = {
        {"metric", 0, "NAME", VT_OPTION_TEXT, &o.metric, "what is compared (default test.top1)"},
        {"reference", 0, "ROW", VT_OPTION_TEXT, &o.reference,
         "what differences are taken to: a row's letter, name or id (default: the first row)"},
        {"level", 0, "SHARE", VT_OPTION_TEXT, &o.level, "of the intervals (default 0.95)"},
        {"cols", 0, "LIST", VT_OPTION_TEXT, &o.columns,
         "columns, such as 'test.top1, max test.top1 epoch, diff test.loss, =optim.lr as lr'"},
        {"sort", 0, "COLUMN", VT_OPTION_TEXT, &o.sort, "best or smallest first; -COLUMN: last"},
        {"group-by", 0, "KEYS", VT_OPTION_TEXT, &o.group_by,
         "fold runs that agree in these keys; run: each by itself; exp: all of one name"},
        {"all", 0, NULL, VT_OPTION_SWITCH, &o.all, "keys that do not differ as well"},
        {"wide", 0, NULL, VT_OPTION_SWITCH, &o.wide, "a row for each experiment"},
        {"long", 0, NULL, VT_OPTION_SWITCH, &o.transposed,
         "a column for each experiment (by itself where more than six keys differ)"},
        {"md", 0, NULL, VT_OPTION_SWITCH, &o.md, "Markdown"},
        {"csv", 0, NULL, VT_OPTION_SWITCH, &o.csv, "comma-separated values, for programs"},
        {"tsv", 0, NULL, VT_OPTION_SWITCH, &o.tsv, "tab-separated values, for programs"},
        {"tex", 0, NULL, VT_OPTION_SWITCH, &o.tex, "a LaTeX tabular (package booktabs)"},
        {"json", 0, NULL, VT_OPTION_SWITCH, &o.json, "JSON, with notes (docs/compare.md)"},
        {"format", 0, "NAME", VT_OPTION_TEXT, &o.format,
         "text, md, csv, tsv, tex, json, jsonl or html"},
        VT_RESULTS_OPTION(common),
        VT_COMMON_OPTIONS(common),
        VT_OPTION_END,
    };
    const vt_usage usage = {
        .verb = "compare",
        .arguments = "[RUN|EXP...]",
        .about = "Compares experiments over their seeds: means, deviations, differences with\n"
                 "intervals, costs, and what makes it unfair. Only finished runs count. An EXP is\n"
                 "its newest run of every seed; without arguments: all experiments.",
        .options = options,
        .min_arguments = 0,
        .max_arguments = -1};
    vt_arguments arguments = {0};
    vt_error err = {0};
    vt_table_format format;
    vt_compare_request request = {0};
    vt_outcome_list list = {0};
    vt_compare compare = {0};
    vt_status status = vt_options_parse(&usage, &common, argc, argv, &arguments);
    if (status != VT_OK || common.help)
        return status;
    if (pick_format(&o, &format, &err) != VT_OK || read_request(&o, &request, &err) != VT_OK)
        return vt_usage_error("compare", "%s", err.text);
    status = vt_outcomes_read(&list, common.results ? common.results : "results",
                              (const char *const *)arguments.v, arguments.n, true, &err);
    if (status == VT_OK)
        status = vt_compare_make(&compare, &list, &request, &err);
    if (status == VT_OK)
        status = print_comparison(&compare, &o, format, &err);
    if (status == VT_ERR_USAGE)
        vt_usage_error("compare", "%s", err.text);
    else if (status != VT_OK)
        vt_log_write(VT_LOG_ERROR, "%s", err.text);
    vt_compare_release(&compare);
    vt_outcomes_release(&list);
    return status;
}
