#include "base/mem.h"
#include "report/calibration.h"
#include "report/charts.h"
#include "report/svg.h"
#include "results/runs.h"
#include "results/typeset.h"
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

static vt_series series_of(const double *x, const double *y, int n)
{
    vt_series s = {vt_calloc((size_t)n + 1, sizeof *s.point), n};
    for (int i = 0; i < n; i++)
        s.point[i] = (vt_point){x[i], y[i], y[i], y[i], 1};
    return s;
}

static void seeds_fold_into_mean_and_band(void **state)
{
    static const double x[] = {1, 2, 3}, a[] = {1, 4, 2}, b[] = {3, 4, NAN}, c[] = {2};
    vt_series runs[] = {series_of(x, a, 3), series_of(x, b, 3), series_of(x + 1, c, 1)}, band;
    (void)state;
    assert_int_equal(vt_series_fold(&band, runs, 3, NULL), VT_OK);
    assert_int_equal(band.n, 3);
    assert_true(band.point[0].mean == 2 && band.point[0].n == 2);
    assert_true(fabs(band.point[0].high - (2 + sqrt(2))) < 1e-12);
    assert_true(fabs(band.point[0].low - (2 - sqrt(2))) < 1e-12);
    assert_true(fabs(band.point[1].mean - 10.0 / 3) < 1e-12 && band.point[1].n == 3);
    assert_true(isnan(band.point[2].mean)); /* one of them is not finite: a gap */
    assert_true(fabs(vt_series_last(&band) - 10.0 / 3) < 1e-12);
    vt_series_release(&band);
    assert_int_equal(vt_series_fold(&band, runs, 1, NULL), VT_OK);
    for (int i = 0; i < 3; i++) /* one run is a plain line */
        assert_true(band.point[i].low == a[i] && band.point[i].high == a[i]);
    vt_series_release(&band);
    for (int i = 0; i < 3; i++)
        vt_series_release(&runs[i]);
}

static void thinning_keeps_first_and_last_and_averages_nothing(void **state)
{
    double x[1001], y[1001];
    (void)state;
    for (int i = 0; i < 1001; i++)
        x[i] = i, y[i] = 7 * i;
    vt_series s = series_of(x, y, 1001);
    vt_series_thin(&s, 100);
    assert_true(s.n > 80 && s.n <= 101);
    assert_true(s.point[0].x == 0 && s.point[s.n - 1].x == 1000);
    for (int64_t i = 0; i < s.n; i++)
        assert_true(s.point[i].mean == 7 * s.point[i].x);
    vt_series_release(&s);
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
                vt_scale axis = vt_scale_of_values(range, 4);
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
        vt_scale axis = vt_scale_of_values(ranges[i], 4);
        assert_true(axis.max > axis.min && axis.step > 0);
    }
    vt_scale five = vt_scale_of_values((vt_range){5, 5}, 4);
    assert_true(five.min < 5 && five.max > 5);
}

static void axis_of_epochs_has_whole_steps(void **state)
{
    static const struct {
        double first, last;
        double step;
    } cases[] = {{1, 1, 1}, {1, 5, 1}, {0, 6, 1}, {1, 20, 5}, {1, 200, 50}, {1, 100000, 20000}};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        vt_scale axis = vt_scale_of_epochs(cases[i].first, cases[i].last, 6);
        assert_true(axis.step == cases[i].step);
        assert_true(axis.min < cases[i].first && axis.max > cases[i].last);
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

static void logarithmic_axis_goes_from_tick_to_tick(void **state)
{
    static const struct {
        vt_range range;
        double min, max;
    } cases[] = {
        {{0.11, 2.3}, 0.1, 5}, {{1, 1}, 1, 2}, {{0.03, 0.04}, 0.02, 0.05}, {{2, 300}, 2, 500}};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        vt_scale axis = vt_scale_of_logs(cases[i].range);
        assert_true(fabs(axis.min / cases[i].min - 1) < 1e-9);
        assert_true(fabs(axis.max / cases[i].max - 1) < 1e-9);
        assert_true(fabs(vt_scale_place(&axis, axis.max) - 1) < 1e-9);
    }
    vt_scale nothing = vt_scale_of_logs((vt_range){1, 0});
    assert_true(nothing.min > 0 && nothing.max > nothing.min);
}

static void ticks_are_a_list_for_gnuplot(void **state)
{
    vt_scale percent = {0, 100, 50, false}, small = {0, 0.002, 0.001, false};
    vt_text text = {0};
    (void)state;
    vt_scale_print(&percent, 0, "%", &text);
    assert_string_equal(text.data, "(\"0%%\" 0, \"50%%\" 50, \"100%%\" 100)");
    text.size = 0;
    assert_int_equal(vt_scale_exponent(&small), -3);
    vt_scale_print(&small, -3, "", &text);
    assert_string_equal(text.data, "(\"0\" 0, \"1\" 0.001, \"2\" 0.002)");
    vt_text_release(&text);
}

static void text_is_measured_and_cut_in_its_middle(void **state)
{
    char cut[64];
    (void)state;
    assert_true(fabs(vt_text_width("mm", 72) - 2 * 0.974) < 1e-9);
    assert_true(vt_text_width("", 9) == 0);
    for (double width = 0.2; width < 3; width += 0.1) {
        static const char name[] = "swin_ümläut_日本語_with_a_long_name";
        vt_text_shorten(name, width, 9, cut, sizeof cut);
        assert_true(vt_text_width(cut, 9) <= width);
        assert_true(strcmp(cut, name) == 0 || strstr(cut, "…"));
        for (const char *c = cut; *c; c++) /* no half character */
            assert_true(((unsigned char)*c & 0xc0) != 0x80 || c > cut);
    }
    vt_text_shorten("abc", 3, 9, cut, sizeof cut);
    assert_string_equal(cut, "abc");
}

/* The value of "NAME[i] = NUMBER" in a script. */
static double number(const char *script, const char *name, int i)
{
    char key[64];
    snprintf(key, sizeof key, "%s[%d] = ", name, i);
    const char *at = strstr(script, key);
    if (!at)
        fail_msg("no %s in the script", key);
    return strtod(at + strlen(key), NULL);
}

static int count_of(const char *script, const char *name)
{
    char key[64];
    snprintf(key, sizeof key, "\n%s = ", name);
    return (int)strtol(strstr(script, key) + strlen(key), NULL, 10);
}

/* The text of "phrase[i] = '...'". */
static void phrase(const char *script, int i, char text[256])
{
    char key[64];
    snprintf(key, sizeof key, "phrase[%d] = '", i);
    const char *at = strstr(script, key) + strlen(key);
    snprintf(text, 256, "%.*s", (int)strcspn(at, "'\n"), at);
}

struct box {
    double left, right, bottom, top;
};

static bool overlap(struct box a, struct box b)
{
    return a.left < b.right && b.left < a.right && a.bottom < b.top && b.bottom < a.top;
}

/* Where the t-th text is, its side read from the script. */
static struct box box_of_text(const char *script, int t)
{
    char text[256], key[64];
    phrase(script, t, text);
    double points = number(script, "text_points", t), width = vt_text_width(text, points);
    double x = number(script, "text_x", t), y = number(script, "text_y", t);
    snprintf(key, sizeof key, "text_side[%d] = '", t);
    const char *side = strstr(script, key) + strlen(key);
    double left = *side == 'l' ? x : *side == 'c' ? x - width / 2 : x - width;
    return (struct box){left, left + width, y - 0.4 * points / 72, y + 0.4 * points / 72};
}

static void check_layout(const char *script)
{
    enum { TEXTS_MAX = 64 };
    struct box text[TEXTS_MAX];
    double width = strtod(strstr(script, "\nwidth = ") + 9, NULL);
    double height = strtod(strstr(script, "\nheight = ") + 10, NULL);
    int panels = count_of(script, "panels"), texts = count_of(script, "texts");
    assert_true(panels > 0 && texts > 0 && texts <= TEXTS_MAX);
    for (int t = 1; t <= texts; t++) {
        text[t - 1] = box_of_text(script, t);
        assert_true(text[t - 1].left >= 0 && text[t - 1].right <= width + 1e-6);
        assert_true(text[t - 1].bottom >= 0 && text[t - 1].top <= height + 1e-6);
        for (int u = 1; u < t; u++)
            if (overlap(text[t - 1], text[u - 1])) {
                char one[256], other[256];
                phrase(script, u, one);
                phrase(script, t, other);
                fail_msg("'%s' and '%s' lie upon each other", one, other);
            }
    }
    for (int p = 1; p <= panels; p++) {
        double x = number(script, "left", p), y = number(script, "bottom", p);
        struct box panel = {x, x + number(script, "wide", p), y, y + number(script, "tall", p)};
        assert_true(panel.left > 0.2 && panel.right < width && panel.bottom > 0.3 &&
                    panel.top < height);
        assert_true(panel.right - panel.left > 0.6);
        for (int t = 1; t <= texts; t++)
            assert_false(overlap(panel, text[t - 1]));
        for (int q = 1; q < p; q++) {
            double left = number(script, "left", q), bottom = number(script, "bottom", q);
            assert_false(overlap(panel, (struct box){left, left + number(script, "wide", q), bottom,
                                                     bottom + number(script, "tall", q)}));
        }
    }
}

/* A group of made-up curves. */
static vt_group make_group(const char *name, int n_runs, double offset)
{
    static const double x[] = {1, 2, 3, 4};
    vt_group group = {.n_runs = n_runs};
    snprintf(group.name, sizeof group.name, "%s", name);
    for (int q = 0; q < VT_QUANTITY_COUNT; q++) {
        bool val = q == VT_QUANTITY_VAL_LOSS || q == VT_QUANTITY_VAL_TOP1;
        const double y[] = {3 + offset, 2 + offset, NAN, 1.5 + offset};
        group.series[q] = series_of(x, y, val ? 0 : 4);
    }
    return group;
}

static void nothing_overlaps_and_nothing_leaves_the_paper(void **state)
{
    static const char *const names[] = {
        "vit",
        "swin_t_cifar10_p2w4",
        "an_experiment_with_a_very_long_name_indeed_and_then_some_a",
        "an_experiment_with_a_very_long_name_indeed_and_then_some_b",
        "e",
        "f",
        "g",
        "h",
        "i"};
    vt_scratch s = vt_scratch_new();
    FILE *null = fopen("/dev/null", "w");
    (void)state;
    assert_non_null(null);
    for (int n = 1; n <= 9; n++) {
        for (int k = 0; k < VT_CHARTS_COUNT * 4; k++) {
            vt_group group[9];
            vt_groups groups = {group, n};
            /* gnuplot is not asked for: the script is what is looked at. */
            vt_drawer drawer = {.maker = "test", .list = null, .no_gnuplot = {VT_ERR_HELPER, ""}};
            const vt_place place = {&drawer, s.fd, "", "f",
                                    k % 2 ? VT_WIDTH_SINGLE : VT_WIDTH_DOUBLE};
            const vt_charts_options options = {.kind = (vt_charts_kind)(k / 4), .apart = k / 2 % 2};
            char *script = NULL;
            size_t size = 0;
            for (int g = 0; g < n; g++)
                group[g] = make_group(names[g], 1 + g % 2, g / 10.0);
            assert_int_equal(vt_charts_draw(&place, &groups, &options, NULL), VT_OK);
            assert_int_equal(vt_fs_read_file(s.fd, "f.gp", 1 << 20, &script, &size, NULL), VT_OK);
            check_layout(script);
            vt_free(script);
            for (int g = 0; g < n; g++)
                for (int q = 0; q < VT_QUANTITY_COUNT; q++)
                    vt_series_release(&group[g].series[q]);
        }
    }
    fclose(null);
    vt_scratch_free(&s);
}

static void inline_svg_has_its_own_ids_and_variables(void **state)
{
    static const char svg[] =
        "<?xml version=\"1.0\"?>\n<svg\n width=\"9\" viewBox=\"0 0 662 298\"\n>\n<title>t</title>"
        "<rect fill=\"#ffffff\"/><defs><circle id='gpDot'/></defs><g id=\"plot\"><title>x</title>"
        "<use xlink:href='#gpDot' color='rgb(  0, 114, 178)' fill=\"rgb(1,2,3)\"/></g></svg>";
    vt_text html = {0};
    (void)state;
    assert_int_equal(vt_svg_inline(svg, sizeof svg - 1, "f1", "a <b>", &html, NULL), VT_OK);
    assert_string_equal(
        html.data,
        "<svg class=\"vt-figure\" role=\"img\" viewBox=\"0 0 662 298\" style=\"max-width:662px\" "
        "aria-label=\"a &lt;b&gt;\">\n<rect fill=\"none\"/><defs><circle id='f1-gpDot'/></defs>"
        "<g id=\"f1-plot\"><use href='#f1-gpDot' color='var(--vt-1,#0072b2)' fill=\"#010203\"/>"
        "</g></svg>\n");
    vt_text_release(&html);
    static const char evil[] = "<svg viewBox=\"0 0 1 1\"><script>x</script></svg>";
    assert_int_equal(vt_svg_inline(evil, sizeof evil - 1, "f", "", &html, NULL), VT_ERR_DATA);
    assert_int_equal(vt_svg_inline("<p>", 3, "f", "", &html, NULL), VT_ERR_DATA);
    vt_text_release(&html);
}

static void bins_count_every_answer_of_the_runs(void **state)
{
    vt_scratch s = vt_scratch_new();
    int fd = -1;
    (void)state;
    assert_int_equal(vt_fs_make_dirs(s.fd, "exp/run", &fd, NULL), VT_OK);
    vt_make_run(
        fd, &(vt_made_run){.epochs = 2, .steps = 2, .classes = 3, .logits = true, .done = true});
    vt_run_place run = {0};
    snprintf(run.path, sizeof run.path, "%s/exp/run", s.path);
    vt_run_place twice[2] = {run, run};
    const vt_group one = {.run = twice, .n_runs = 1}, two = {.run = twice, .n_runs = 2};
    vt_calibration a, b;
    vt_error err = {0};
    assert_int_equal(vt_calibration_read(&a, &one, &err), VT_OK);
    assert_int_equal(vt_calibration_read(&b, &two, &err), VT_OK);
    int64_t answers = 0;
    for (int i = 0; i < VT_CALIBRATION_BINS; i++) {
        answers += a.bin[i].n;
        assert_int_equal(b.bin[i].n, 2 * a.bin[i].n);
        assert_int_equal(b.bin[i].right, 2 * a.bin[i].right);
        if (a.bin[i].n)
            assert_true(fabs(a.bin[i].confidence - b.bin[i].confidence) < 1e-12);
    }
    assert_true(answers == 5 && a.n == 5 && b.n == 10);
    assert_true(fabs(a.ece - b.ece) < 1e-12);
    vt_matrix matrix;
    assert_int_equal(vt_matrix_read(&matrix, &two, VT_SPLIT_TEST, 1, &err), VT_OK);
    for (int64_t i = 0; i < 9; i++) /* 100 e + 10 t + p of each */
        assert_int_equal(matrix.count[i], 2 * (100 + 10 * (i / 3) + i % 3));
    vt_matrix_release(&matrix);
    assert_int_equal(vt_matrix_read(&matrix, &one, VT_SPLIT_TEST, 7, &err), VT_ERR_NOINPUT);
    vt_matrix_release(&matrix);
    close(fd);
    vt_scratch_free(&s);
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
        CASE("seeds fold into mean and band", seeds_fold_into_mean_and_band),
        CASE("thinning keeps first and last and averages nothing",
             thinning_keeps_first_and_last_and_averages_nothing),
        CASE("a logarithmic axis goes from tick to tick", logarithmic_axis_goes_from_tick_to_tick),
        CASE("ticks are a list for gnuplot", ticks_are_a_list_for_gnuplot),
        CASE("text is measured and cut in its middle", text_is_measured_and_cut_in_its_middle),
        CASE("an inline SVG has its own ids and variables",
             inline_svg_has_its_own_ids_and_variables),
        CASE("bins count every answer of the runs", bins_count_every_answer_of_the_runs),
        CASE("an axis holds its values with few round steps",
             axis_holds_its_values_with_few_round_steps),
        CASE("an axis of nothing or of one value is not empty",
             axis_of_nothing_or_of_one_value_is_not_empty),
        CASE("an axis of epochs has whole steps", axis_of_epochs_has_whole_steps),
        CASE("labels are moved apart and keep their order",
             labels_are_moved_apart_and_keep_their_order),
        CASE("nothing overlaps and nothing leaves the paper",
             nothing_overlaps_and_nothing_leaves_the_paper),
        CASE("a run is found by what the user says", run_is_found_by_what_the_user_says),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
