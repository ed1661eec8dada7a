/* Confusion matrices and lists of pictures as text. */
#include "base/mem.h"
#include "results/confusion.h"
#include "results/sheet.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const char *const names[3] = {"cat", "a \"b\", c", "d\tog"};
static const int64_t count[9] = {7, 1, 120, 0, 0, 0, 2, 3, 4};
static const vt_confusion matrix = {3, names, count};

static void totals_are_of_the_true_class(void **state)
{
    (void)state;
    assert_int_equal(vt_confusion_total(&matrix, 0), 128);
    assert_int_equal(vt_confusion_total(&matrix, 1), 0);
    assert_int_equal(vt_confusion_total(&matrix, 2), 9);
}

static void the_table_is_aligned(void **state)
{
    vt_text text = {0};
    (void)state;
    vt_confusion_print(&matrix, &text);
    assert_string_equal(text.data, "true \\ predicted   0   1   2\n"
                                   "0 cat              7   1 120\n"
                                   "1 a \"b\", c         0   0   0\n"
                                   "2 d?og             2   3   4\n");
    vt_text_release(&text);
}

static void csv_quotes_what_needs_it(void **state)
{
    vt_text text = {0};
    (void)state;
    vt_confusion_csv(&matrix, &text);
    assert_string_equal(text.data, "true\\predicted,cat,\"a \"\"b\"\", c\",d\tog\n"
                                   "cat,7,1,120\n"
                                   "\"a \"\"b\"\", c\",0,0,0\n"
                                   "d\tog,2,3,4\n");
    vt_text_release(&text);
}

static void lists_have_a_row_an_image(void **state)
{
    const vt_sheet_image images[2] = {
        {.predicted = "cat", .truth = "d\tog", .probability = 0.75, .number = 12},
        {.predicted = "cat", .truth = "cat", .probability = 1, .file = "cat/a b.jpg"},
    };
    vt_text text = {0};
    (void)state;
    vt_sheet_list(images, 2, &text);
    assert_string_equal(text.data, "image\tfile\ttrue\tpredicted\tprobability\n"
                                   "12\t-\td?og\tcat\t0.75\n"
                                   "0\tcat/a b.jpg\tcat\tcat\t1\n");
    vt_text_release(&text);
}

static void formats_are_read_and_written(void **state)
{
    vt_formats formats = {0};
    vt_error err = {0};
    char text[VT_FORMATS_TEXT];
    (void)state;
    assert_int_equal(vt_formats_parse(&formats, "pdf,svg", &err), VT_OK);
    assert_true(formats.svg && formats.pdf && !formats.png);
    assert_string_equal(vt_formats_text(&formats, text), "svg pdf");
    assert_int_equal(vt_formats_parse(&formats, NULL, &err), VT_OK);
    assert_string_equal(vt_formats_text(&formats, text), "svg png pdf");
    assert_int_equal(vt_formats_parse(&formats, "svg,", &err), VT_ERR_USAGE);
    assert_int_equal(vt_formats_parse(&formats, "sv", NULL), VT_ERR_USAGE);
}

#define CASE(sentence, function)                                                                   \
    {                                                                                              \
        sentence, function, NULL, NULL, NULL                                                       \
    }

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE("totals are of the true class", totals_are_of_the_true_class),
        CASE("the table is aligned, and shows no control character", the_table_is_aligned),
        CASE("CSV quotes what needs it", csv_quotes_what_needs_it),
        CASE("lists have a row an image", lists_have_a_row_an_image),
        CASE("formats are read and written", formats_are_read_and_written),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
