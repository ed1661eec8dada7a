#include "base/mem.h"
#include "report/escape.h"
#include "report/table.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* Prints and compares; what differs is shown whole. */
static void check_print(const vt_table *table, vt_table_format format, const char *expected)
{
    vt_text out = {0};
    vt_error err = {0};
    assert_int_equal(vt_table_print(table, format, &out, &err), VT_OK);
    assert_string_equal(out.data, expected);
    vt_text_release(&out);
}

static vt_table make_table(void)
{
    vt_table table;
    vt_table_init(&table);
    vt_table_column(&table, "exp", VT_LEFT);
    vt_table_column(&table, "n", VT_RIGHT);
    vt_table_column(&table, "test.top1", VT_RIGHT);
    vt_table_column(&table, "note", VT_LEFT);
    vt_table_row(&table);
    vt_table_text(&table, "swin_cifar");
    vt_table_integer(&table, 5, NULL);
    vt_table_real(&table, 0.1, "10.00 ± 0.15");
    vt_table_text(&table, NULL);
    vt_table_row(&table);
    vt_table_text(&table, "vit");
    vt_table_integer(&table, 1200, "1,200");
    vt_table_real(&table, 2.0 / 3, NULL);
    vt_table_row(&table);
    vt_table_text(&table, NULL);
    vt_table_integer(&table, -9223372036854775807 - 1, "least");
    vt_table_real(&table, NAN, "not known");
    vt_table_text(&table, "a, \"b\"");
    return table;
}

static void people_read_aligned_columns_without_trailing_blanks(void **state)
{
    vt_table table = make_table();
    (void)state;
    check_print(&table, VT_TABLE_TEXT,
                "exp             n     test.top1  note\n"
                "swin_cifar      5  10.00 ± 0.15\n"
                "vit         1,200      0.666667\n"
                "            least     not known  a, \"b\"\n");
    check_print(&table, VT_TABLE_MARKDOWN,
                "| exp        |     n |    test.top1 | note   |\n"
                "| ---------- | ----: | -----------: | ------ |\n"
                "| swin_cifar |     5 | 10.00 ± 0.15 |        |\n"
                "| vit        | 1,200 |     0.666667 |        |\n"
                "|            | least |    not known | a, \"b\" |\n");
    vt_table_release(&table);
}

static void programs_read_values_with_all_their_digits(void **state)
{
    vt_table table = make_table();
    (void)state;
    check_print(&table, VT_TABLE_CSV,
                "exp,n,test.top1,note\n"
                "swin_cifar,5,0.1,\n"
                "vit,1200,0.6666666666666666,\n"
                ",-9223372036854775808,,\"a, \"\"b\"\"\"\n");
    check_print(&table, VT_TABLE_TSV,
                "exp\tn\ttest.top1\tnote\n"
                "swin_cifar\t5\t0.1\t\n"
                "vit\t1200\t0.6666666666666666\t\n"
                "\t-9223372036854775808\t\ta, \"b\"\n");
    check_print(&table, VT_TABLE_JSONL,
                "{\"exp\": \"swin_cifar\", \"n\": 5, \"test.top1\": 0.10000000000000001, "
                "\"note\": null}\n"
                "{\"exp\": \"vit\", \"n\": 1200, \"test.top1\": 0.66666666666666663, "
                "\"note\": null}\n"
                "{\"exp\": null, \"n\": -9223372036854775808, \"test.top1\": null, "
                "\"note\": \"a, \\\"b\\\"\"}\n");
    vt_table_release(&table);
}

static void json_is_an_array_that_reads_back(void **state)
{
    vt_table table = make_table();
    vt_text out = {0};
    vt_error err = {0};
    (void)state;
    assert_int_equal(vt_table_print(&table, VT_TABLE_JSON, &out, &err), VT_OK);
    json_t *back = json_loadb(out.data, out.size, JSON_REJECT_DUPLICATES, NULL);
    json_t *direct = vt_table_json(&table);
    assert_true(json_equal(back, direct));
    assert_int_equal(json_array_size(back), 3);
    assert_true(json_real_value(json_object_get(json_array_get(back, 1), "test.top1")) == 2.0 / 3);
    json_decref(back);
    json_decref(direct);
    vt_text_release(&out);
    vt_table_release(&table);
}

static void tex_is_a_tabular_with_booktabs_rules(void **state)
{
    vt_table table = make_table();
    (void)state;
    check_print(&table, VT_TABLE_TEX,
                "\\begin{tabular}{lrrl}\n"
                "\\toprule\n"
                "exp & n & test.top1 & note \\\\\n"
                "\\midrule\n"
                "swin\\_cifar & 5 & 10.00 \\ensuremath{\\pm} 0.15 &  \\\\\n"
                "vit & 1,200 & 0.666667 &  \\\\\n"
                " & least & not known & a, \\textquotedbl{}b\\textquotedbl{} \\\\\n"
                "\\bottomrule\n"
                "\\end{tabular}\n");
    vt_table_release(&table);
}

static void html_has_a_header_row_and_names_its_rows(void **state)
{
    vt_table table = make_table();
    (void)state;
    check_print(
        &table, VT_TABLE_HTML,
        "<table>\n<thead>\n"
        "<tr><th scope=\"col\">exp</th><th scope=\"col\" class=\"number\">n</th>"
        "<th scope=\"col\" class=\"number\">test.top1</th><th scope=\"col\">note</th></tr>\n"
        "</thead>\n<tbody>\n"
        "<tr><th scope=\"row\">swin_cifar</th><td class=\"number\">5</td>"
        "<td class=\"number\">10.00 ± 0.15</td><td></td></tr>\n"
        "<tr><th scope=\"row\">vit</th><td class=\"number\">1,200</td>"
        "<td class=\"number\">0.666667</td><td></td></tr>\n"
        "<tr><td></td><td class=\"number\">least</td>"
        "<td class=\"number\">not known</td><td>a, &quot;b&quot;</td></tr>\n"
        "</tbody>\n</table>\n");
    vt_table_release(&table);
}

static void hostile_texts_stay_texts_in_every_format(void **state)
{
    static const struct {
        const char *text, *shown[VT_ESCAPE_HTML + 1];
    } rows[] = {
        {"a|b`c*_d_[e](f)~g$h",
         {"a|b`c*_d_[e](f)~g$h", "a\\|b\\`c\\*\\_d\\_\\[e\\](f)\\~g\\$h", "a|b`c*_d_[e](f)~g$h",
          "a|b`c*_d_[e](f)~g$h", "a\\textbar{}b`c{*}\\_d\\_{[}e{]}(f)\\textasciitilde{}g\\$h",
          "a|b`c*_d_[e](f)~g$h", "a|b`c*_d_[e](f)~g$h"}},
        {"<script>'x'&\"y\"</script>",
         {"<script>'x'&\"y\"</script>", "&lt;script&gt;'x'&amp;\"y\"&lt;/script&gt;",
          "\"<script>'x'&\"\"y\"\"</script>\"", "<script>'x'&\"y\"</script>",
          "\\textless{}script\\textgreater{}'x'\\&\\textquotedbl{}y\\textquotedbl{}"
          "\\textless{}/script\\textgreater{}",
          "<script>'x'&\"y\"</script>",
          "&lt;script&gt;&#39;x&#39;&amp;&quot;y&quot;&lt;/script&gt;"}},
        {"\\input{/etc/passwd}%#^--",
         {"\\input{/etc/passwd}%#^--", "\\\\input{/etc/passwd}%#^--", "\\input{/etc/passwd}%#^--",
          "\\\\input{/etc/passwd}%#^--",
          "\\textbackslash{}input\\{/etc/passwd\\}\\%\\#\\textasciicircum{}-{}-",
          "\\input{/etc/passwd}%#^--", "\\input{/etc/passwd}%#^--"}},
        {"\x1b[2J\x07\x7f|\r\n\t",
         {"\\x1b[2J\\x07\\x7f|\\r\\n\\t", "\\\\x1b\\[2J\\\\x07\\\\x7f\\|\\\\r\\\\n\\\\t",
          "\"\\x1b[2J\\x07\\x7f|\r\n\t\"", "\\x1b[2J\\x07\\x7f|\\r\\n\\t",
          "\\textbackslash{}x1b{[}2J\\textbackslash{}x07\\textbackslash{}x7f\\textbar{}"
          "\\textbackslash{}r\\textbackslash{}n\\textbackslash{}t",
          "\x1b[2J\x07\x7f|\r\n\t", "\\x1b[2J\\x07\\x7f|\\r\\n\\t"}},
        /* bytes that are not UTF-8: alone, cut off, too long a form, a surrogate, too large */
        {"\xff \xc3 \xc0\xaf \xed\xa0\x80 \xf4\x90\x80\x80 \xe4\xb8",
         {"\\xff \\xc3 \\xc0\\xaf \\xed\\xa0\\x80 \\xf4\\x90\\x80\\x80 \\xe4\\xb8",
          "\\\\xff \\\\xc3 \\\\xc0\\\\xaf \\\\xed\\\\xa0\\\\x80 \\\\xf4\\\\x90\\\\x80\\\\x80 "
          "\\\\xe4\\\\xb8",
          "\\xff \\xc3 \\xc0\\xaf \\xed\\xa0\\x80 \\xf4\\x90\\x80\\x80 \\xe4\\xb8",
          "\\xff \\xc3 \\xc0\\xaf \\xed\\xa0\\x80 \\xf4\\x90\\x80\\x80 \\xe4\\xb8",
          "\\textbackslash{}xff \\textbackslash{}xc3 \\textbackslash{}xc0\\textbackslash{}xaf "
          "\\textbackslash{}xed\\textbackslash{}xa0\\textbackslash{}x80 "
          "\\textbackslash{}xf4\\textbackslash{}x90\\textbackslash{}x80\\textbackslash{}x80 "
          "\\textbackslash{}xe4\\textbackslash{}xb8",
          "\\xff \\xc3 \\xc0\\xaf \\xed\\xa0\\x80 \\xf4\\x90\\x80\\x80 \\xe4\\xb8",
          "\\xff \\xc3 \\xc0\\xaf \\xed\\xa0\\x80 \\xf4\\x90\\x80\\x80 \\xe4\\xb8"}},
        /* right-to-left override, line separator, C1 control, zero-width space */
        {"a\u202e\u2028\xc2\x85\u200b",
         {"a\\u{202e}\\u{2028}\\u{85}\\u{200b}", "a\\\\u{202e}\\\\u{2028}\\\\u{85}\\\\u{200b}",
          "a\\u{202e}\\u{2028}\\u{85}\\u{200b}", "a\\u{202e}\\u{2028}\\u{85}\\u{200b}",
          "a\\textbackslash{}u\\{202e\\}\\textbackslash{}u\\{2028\\}\\textbackslash{}u\\{85\\}"
          "\\textbackslash{}u\\{200b\\}",
          "a\u202e\u2028\xc2\x85\u200b", "a\\u{202e}\\u{2028}\\u{85}\\u{200b}"}},
        {" Δ −1 — a_b",
         {" Δ −1 — a_b", " Δ −1 — a_b", "\" Δ −1 — a_b\"", " Δ −1 — a_b",
          " \\ensuremath{\\Delta} \\ensuremath{-}1 --- a\\_b", " Δ −1 — a_b", " Δ −1 — a_b"}},
        {"", {"", "", "", "", "", "", ""}},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        for (int kind = 0; kind <= VT_ESCAPE_HTML; kind++) {
            vt_text out = {0};
            vt_text_append(&out, "", 0);
            vt_escape(&out, (vt_escape_kind)kind, rows[i].text);
            assert_string_equal(out.data, rows[i].shown[kind]);
            vt_text_release(&out);
        }
    }
}

static void a_hostile_table_reads_back_as_it_was(void **state)
{
    static const char hostile[] = "\x1b[31m\",\n|\xff\\";
    vt_table table;
    vt_text out = {0};
    vt_error err = {0};
    (void)state;
    vt_table_init(&table);
    vt_table_column(&table, hostile, VT_LEFT);
    vt_table_column(&table, hostile, VT_RIGHT);
    vt_table_column(&table, hostile, VT_RIGHT);
    vt_table_row(&table);
    vt_table_text(&table, hostile);
    vt_table_real(&table, INFINITY, hostile);
    vt_table_real(&table, -INFINITY, NULL);
    check_print(&table, VT_TABLE_TSV,
                "\\x1b[31m\",\\n|\\xff\\\\\t\\x1b[31m\",\\n|\\xff\\\\\t\\x1b[31m\",\\n|\\xff\\\\\n"
                "\\x1b[31m\",\\n|\\xff\\\\\tinf\t-inf\n");
    assert_int_equal(vt_table_print(&table, VT_TABLE_JSON, &out, &err), VT_OK);
    assert_null(strchr(out.data, '\x1b'));
    json_t *back = json_loadb(out.data, out.size, JSON_REJECT_DUPLICATES, NULL);
    json_t *row = json_array_get(back, 0);
    assert_int_equal(json_object_size(row), 3);
    assert_string_equal(json_string_value(json_object_get(row, "\x1b[31m\",\n|\\xff\\")),
                        "\x1b[31m\",\n|\\xff\\");
    assert_string_equal(json_string_value(json_object_get(row, "\x1b[31m\",\n|\\xff\\_2")), "inf");
    assert_string_equal(json_string_value(json_object_get(row, "\x1b[31m\",\n|\\xff\\_3")), "-inf");
    json_decref(back);
    vt_text_release(&out);
    for (int format = 0; format < VT_TABLE_FORMAT_COUNT; format++) {
        vt_text printed = {0};
        assert_int_equal(vt_table_print(&table, (vt_table_format)format, &printed, &err), VT_OK);
        assert_null(strchr(printed.data, '\x1b'));
        assert_null(strchr(printed.data, '\xff'));
        vt_text_release(&printed);
    }
    vt_table_release(&table);
}

static void widths_count_characters_and_wide_ones_twice(void **state)
{
    vt_table table;
    (void)state;
    assert_int_equal(vt_escape_width(""), 0);
    assert_int_equal(vt_escape_width("±Δé"), 3);
    assert_int_equal(vt_escape_width("e\u0301"), 1);
    assert_int_equal(vt_escape_width("猫ｶ한"), 5);
    assert_int_equal(vt_escape_width("\U0001f408"), 2);
    assert_int_equal(vt_escape_width("\xff"), 1);
    vt_table_init(&table);
    vt_table_column(&table, "class", VT_LEFT);
    vt_table_column(&table, "n", VT_RIGHT);
    for (int i = 0; i < 3; i++) {
        vt_table_row(&table);
        vt_table_text(&table, (const char *[]){"猫", "café", "dog"}[i]);
        vt_table_integer(&table, i, NULL);
    }
    check_print(&table, VT_TABLE_TEXT,
                "class  n\n"
                "猫     0\n"
                "café   1\n"
                "dog    2\n");
    vt_table_release(&table);
}

static void a_table_without_rows_prints_its_heading(void **state)
{
    vt_table table;
    (void)state;
    vt_table_init(&table);
    vt_table_column(&table, "a", VT_LEFT);
    vt_table_column(&table, "b", VT_RIGHT);
    check_print(&table, VT_TABLE_TEXT, "a  b\n");
    check_print(&table, VT_TABLE_MARKDOWN, "| a   |   b |\n| --- | --: |\n");
    check_print(&table, VT_TABLE_CSV, "a,b\n");
    check_print(&table, VT_TABLE_JSON, "[]\n");
    vt_table_release(&table);
}

static void formats_are_found_by_their_words(void **state)
{
    vt_table_format format = VT_TABLE_TEXT;
    vt_error err = {0};
    (void)state;
    assert_int_equal(vt_table_format_parse(&format, "tex", &err), VT_OK);
    assert_int_equal(format, VT_TABLE_TEX);
    assert_int_equal(vt_table_format_parse(&format, "latex", &err), VT_ERR_USAGE);
    assert_string_equal(err.text, "there is no format 'latex' for tables; there are: text, md, "
                                  "csv, tsv, tex, json, jsonl, html");
}

static void lack_of_memory_is_reported_wherever_it_strikes(void **state)
{
    bool failed = true;
    (void)state;
    for (uint64_t at = 1; failed && at < 1000; at++) {
        vt_text out = {0};
        vt_error err = {0};
        failed = false;
        vt_mem_fail_at(at, 0);
        vt_table table = make_table();
        for (int format = 0; format < VT_TABLE_FORMAT_COUNT; format++) {
            vt_status status = vt_table_print(&table, (vt_table_format)format, &out, &err);
            failed = failed || status == VT_ERR_NOMEM;
        }
        vt_mem_fail_at(0, 0);
        vt_text_release(&out);
        vt_table_release(&table);
        assert_true(failed || at > 20);
    }
    assert_false(failed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(people_read_aligned_columns_without_trailing_blanks),
        cmocka_unit_test(programs_read_values_with_all_their_digits),
        cmocka_unit_test(json_is_an_array_that_reads_back),
        cmocka_unit_test(tex_is_a_tabular_with_booktabs_rules),
        cmocka_unit_test(html_has_a_header_row_and_names_its_rows),
        cmocka_unit_test(hostile_texts_stay_texts_in_every_format),
        cmocka_unit_test(a_hostile_table_reads_back_as_it_was),
        cmocka_unit_test(widths_count_characters_and_wide_ones_twice),
        cmocka_unit_test(a_table_without_rows_prints_its_heading),
        cmocka_unit_test(formats_are_found_by_their_words),
        cmocka_unit_test(lack_of_memory_is_reported_wherever_it_strikes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
