#include "base/mem.h"
#include "report/figure.h"
#include "report/plotdata.h"
#include "results/runs.h"
#include "support/fault.h"
#include "support/make_run.h"

#include <fcntl.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static vt_record_epoch trained(int64_t epoch, double loss)
{
    return (vt_record_epoch){.epoch = epoch, .train_loss = loss, .train_top1 = 0.5, .lr = 0.01};
}

static vt_record_eval evaluated(int64_t epoch, double loss)
{
    return (vt_record_eval){.epoch = epoch, .loss = loss, .top1 = 0.25};
}

static void table_joins_records_by_epoch(void **state)
{
    vt_record_epoch epoch[] = {trained(1, 2.5), trained(2, NAN), trained(3, INFINITY)};
    vt_record_eval test[] = {evaluated(0, 3), evaluated(3, 1.0 / 3)};
    vt_history h = {.info = {.exp_name = "a'b`c d", .seed = 9}, .epoch = epoch, .n_epochs = 3};
    vt_plotdata data;
    vt_text text = {0};
    (void)state;
    h.eval[VT_SPLIT_TEST] = test;
    h.n_eval[VT_SPLIT_TEST] = 2;
    assert_int_equal(vt_plotdata_make(&data, &h, NULL), VT_OK);
    vt_plotdata_print(&data, &text);
    assert_string_equal(text.data,
                        "epoch\ttrain_loss\ttrain_top1_percent\tval_loss\tval_top1_percent\t"
                        "test_loss\ttest_top1_percent\tlearning_rate\n"
                        "0\tNaN\tNaN\tNaN\tNaN\t3\t25\tNaN\n"
                        "1\t2.5\t50\tNaN\tNaN\tNaN\tNaN\t0.01\n"
                        "2\tNaN\t50\tNaN\tNaN\tNaN\tNaN\t0.01\n"
                        "3\tNaN\t50\tNaN\tNaN\t0.333333333\t25\t0.01\n");
    assert_string_equal(data.name, "a_b_c_d"); /* nothing that gnuplot would read otherwise */
    assert_int_equal(vt_plotdata_count(&data, VT_PLOT_TRAIN_LOSS), 1);
    assert_int_equal(vt_plotdata_count(&data, VT_PLOT_VAL_LOSS), 0);
    assert_true(vt_plotdata_last(&data, VT_PLOT_TRAIN_LOSS) == 2.5);
    assert_true(isnan(vt_plotdata_last(&data, VT_PLOT_VAL_LOSS)));
    vt_range range = {1, 0};
    assert_false(vt_plotdata_range(&data, VT_PLOT_VAL_LOSS, &range));
    assert_true(vt_plotdata_range(&data, VT_PLOT_TEST_LOSS, &range));
    assert_true(range.min == 1.0 / 3 && range.max == 3);
    vt_text_release(&text);
    vt_plotdata_release(&data);
}

static void axis_holds_its_values_with_few_round_steps(void **state)
{
    static const double values[] = {1e-28, 1e-5, 0.0031, 0.3,   1,  2.302585,
                                    9.99,  87,   100,    12345, 1e9};
    enum { N = sizeof values / sizeof *values };
    (void)state;
    for (int i = 0; i < N; i++) {
        for (int k = 0; k <= i; k++) {
            for (int sign = -1; sign <= 1; sign += 2) {
                vt_range range = {values[k], values[i]};
                if (sign < 0)
                    range = (vt_range){-values[i], values[k]};
                vt_axis axis = vt_axis_of_values(range, 4);
                double steps = (axis.max - axis.min) / axis.step;
                assert_true(axis.min <= range.min && axis.max >= range.max);
                assert_true(steps > 0.99 && steps < 6.01);
                assert_true(fabs(axis.min / axis.step - round(axis.min / axis.step)) < 1e-6);
            }
        }
    }
}

static void axis_of_nothing_or_of_one_value_is_not_empty(void **state)
{
    const vt_range ranges[] = {{1, 0}, {0, 0}, {1e-40, 1e-40}, {5, 5}, {-3, -3}, {1e300, 1e300}};
    (void)state;
    for (size_t i = 0; i < sizeof ranges / sizeof *ranges; i++) {
        vt_axis axis = vt_axis_of_values(ranges[i], 4);
        assert_true(axis.max > axis.min && axis.step > 0);
    }
    vt_axis five = vt_axis_of_values((vt_range){5, 5}, 4);
    assert_true(five.min < 5 && five.max > 5);
}

static void axis_of_epochs_has_whole_steps(void **state)
{
    static const struct {
        int64_t first, last;
        double step;
    } cases[] = {{1, 1, 1}, {1, 5, 1}, {0, 6, 1}, {1, 20, 5}, {1, 200, 50}, {1, 100000, 20000}};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        vt_axis axis = vt_axis_of_epochs(cases[i].first, cases[i].last, 6);
        assert_true(axis.step == cases[i].step);
        assert_true(axis.min < (double)cases[i].first && axis.max > (double)cases[i].last);
    }
}

static void labels_are_moved_apart_and_keep_their_order(void **state)
{
    double two[] = {0.5, 0.5}, three[] = {1, 0.1, 0.98}, low[] = {0, 0.01, 0.02}, one[] = {2};
    (void)state;
    vt_places_spread(two, 2, 0.2, 0, 1);
    assert_true(fabs(two[0] - 0.4) < 1e-9 && fabs(two[1] - 0.6) < 1e-9);
    vt_places_spread(three, 3, 0.2, 0, 1);
    assert_true(three[0] <= 1 + 1e-9 && three[0] - three[2] > 0.199 && three[1] == 0.1);
    vt_places_spread(low, 3, 0.2, 0, 1);
    assert_true(low[0] >= 0 && low[1] - low[0] > 0.199 && low[2] - low[1] > 0.199);
    vt_places_spread(one, 1, 0.2, 0, 1);
    assert_true(one[0] == 1);
    vt_places_spread(NULL, 0, 0.2, 0, 1);
}

/* The value of "NAME[panel] = NUMBER" in a script. */
static double number(const char *script, const char *name, int panel)
{
    char key[64];
    snprintf(key, sizeof key, "%s[%d] = ", name, panel);
    const char *at = strstr(script, key);
    if (!at)
        fail_msg("no %s in the script", key);
    return strtod(at + strlen(key), NULL);
}

static void panels_lie_side_by_side_without_overlap(void **state)
{
    vt_record_epoch epoch[] = {trained(1, 2), trained(2, 1)};
    vt_history h = {.info = {.exp_name = "x"}, .epoch = epoch, .n_epochs = 2};
    vt_plotdata data;
    (void)state;
    assert_int_equal(vt_plotdata_make(&data, &h, NULL), VT_OK);
    for (int n = 1; n <= 9; n++) {
        vt_figure_run runs[9];
        vt_text text = {0};
        for (int i = 0; i < n; i++)
            runs[i] = (vt_figure_run){&data, "x.tsv"};
        const vt_figure figure = {"f", "svg", runs, n, VT_PANEL_LOSS, VT_PANEL_COUNT};
        vt_figure_print(&figure, &text);
        double width = strtod(strstr(text.data, "\nwidth = ") + 9, NULL);
        double height = strtod(strstr(text.data, "\nheight = ") + 10, NULL);
        double w = strtod(strstr(text.data, "panel_width = ") + 14, NULL);
        double tall = strtod(strstr(text.data, "panel_height = ") + 15, NULL);
        for (int p = 1; p <= 3 * n; p++) {
            double x = number(text.data, "left", p), y = number(text.data, "bottom", p);
            assert_true(x > 0.3 && x + w + 0.3 < width && y > 0.3 && y + tall + 0.3 < height);
            for (int q = 1; q < p; q++) {
                double dx = fabs(x - number(text.data, "left", q));
                double dy = fabs(y - number(text.data, "bottom", q));
                assert_true(dx > w + 0.3 || dy > tall + 0.3);
            }
        }
        vt_text_release(&text);
    }
    vt_plotdata_release(&data);
}

static void make_folder_of_run(const vt_scratch *s, const char *path, time_t changed)
{
    int fd = -1;
    assert_int_equal(vt_fs_make_dirs(s->fd, path, &fd, NULL), VT_OK);
    vt_scratch_write(fd, "journal", "VTJRNL1\n", 8);
    const struct timespec times[2] = {{.tv_sec = changed}, {.tv_sec = changed}};
    assert_int_equal(utimensat(fd, "journal", times, 0), 0);
    close(fd);
}

static void run_is_found_by_what_the_user_says(void **state)
{
    vt_scratch s = vt_scratch_new();
    char path[PATH_MAX];
    (void)state;
    make_folder_of_run(&s, "quick-vit/aaaa11111111", 100);
    make_folder_of_run(&s, "quick-vit/aaaa22222222", 300);
    make_folder_of_run(&s, "quick-vit/aaaa22222222.old-1", 900);
    make_folder_of_run(&s, "swin/bbbb33333333", 200);
    make_folder_of_run(&s, "cafe/0123456789ab", 50);
    vt_scratch_write(s.fd, "stray", "x", 1);
    snprintf(path, sizeof path, "%s/quick-vit/aaaa22222222.old-1", s.path);
    const struct {
        const char *word, *expected;
        vt_status status;
    } cases[] = {
        {"last", "quick-vit/aaaa22222222", VT_OK},
        {"quick-vit", "quick-vit/aaaa22222222", VT_OK},
        {"quick/vit", "quick-vit/aaaa22222222", VT_OK},
        {"swin", "swin/bbbb33333333", VT_OK},
        {"cafe", "cafe/0123456789ab", VT_OK}, /* a name comes before digits */
        {"bbbb", "swin/bbbb33333333", VT_OK},
        {"aaaa11111111", "quick-vit/aaaa11111111", VT_OK},
        {path, "quick-vit/aaaa22222222.old-1", VT_OK},
        {"aaaa", "2 run ids", VT_ERR_USAGE},
        {"bbb", "at least 4", VT_ERR_NOINPUT},
        {"BBBB", "no run", VT_ERR_NOINPUT},
        {"swim", "did you mean 'swin'?", VT_ERR_NOINPUT},
        {"stray", "no run", VT_ERR_NOINPUT},
        {"", "no run", VT_ERR_NOINPUT},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        vt_run_place run;
        vt_error err = {0};
        vt_status status = vt_runs_find(&run, s.path, cases[i].word, &err);
        assert_int_equal(status, cases[i].status);
        if (!strstr(status == VT_OK ? run.path : err.text, cases[i].expected))
            fail_msg("'%s' gives '%s'", cases[i].word, status == VT_OK ? run.path : err.text);
    }
    vt_run_list list;
    assert_int_equal(vt_runs_list(&list, s.path, NULL), VT_OK);
    assert_int_equal(list.n, 4);
    vt_runs_keep_newest(&list);
    assert_int_equal(list.n, 3);
    assert_string_equal(list.run[0].exp, "cafe");
    assert_string_equal(list.run[1].id, "aaaa22222222");
    vt_runs_release(&list);
    assert_int_equal(vt_runs_list(&list, "/nowhere/at/all", NULL), VT_ERR_NOINPUT);
    vt_runs_release(&list);
    vt_scratch_free(&s);
}

int main(void)
{
#define CASE(text, function)                                                                       \
    {                                                                                              \
        text, function, NULL, NULL, NULL                                                           \
    }
    const struct CMUnitTest tests[] = {
        CASE("the table joins records by epoch", table_joins_records_by_epoch),
        CASE("an axis holds its values with few round steps",
             axis_holds_its_values_with_few_round_steps),
        CASE("an axis of nothing or of one value is not empty",
             axis_of_nothing_or_of_one_value_is_not_empty),
        CASE("an axis of epochs has whole steps", axis_of_epochs_has_whole_steps),
        CASE("labels are moved apart and keep their order",
             labels_are_moved_apart_and_keep_their_order),
        CASE("panels lie side by side without overlap", panels_lie_side_by_side_without_overlap),
        CASE("a run is found by what the user says", run_is_found_by_what_the_user_says),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
