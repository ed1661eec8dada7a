#include "sweep/grid.h"
#include "sweep/manifest.h"
#include "sweep/slurm.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void expect_values(const char *word, const char *key, int n, const char *const *value)
{
    vt_grid grid = {0};
    vt_store store = {0};
    vt_error err = {0};
    assert_int_equal(vt_grid_add(&grid, word, &store, &err), VT_OK);
    assert_int_equal(grid.n_keys, 1);
    assert_string_equal(grid.key[0].key, key);
    assert_int_equal(grid.key[0].n, n);
    for (int i = 0; i < n; i++)
        assert_string_equal(grid.key[0].value[i], value[i]);
    vt_store_release(&store);
}

static void commas_separate_values_outside_of_brackets_and_quotes_only(void **state)
{
    (void)state;
    expect_values("a=1", "a", 1, (const char *[]){"1"});
    expect_values("optim.lr=1e-3,3e-4", "optim.lr", 2, (const char *[]){"1e-3", "3e-4"});
    expect_values("d=[2,6,2],[2,2]", "d", 2, (const char *[]){"[2,6,2]", "[2,2]"});
    expect_values("d=[[1,2],{a: 3,b: [4,5]}],none", "d", 2,
                  (const char *[]){"[[1,2],{a: 3,b: [4,5]}]", "none"});
    expect_values("d=\"a,b\",'c,d',e", "d", 3, (const char *[]){"\"a,b\"", "'c,d'", "e"});
    expect_values("d=\"a\\\",b\",c", "d", 2, (const char *[]){"\"a\\\",b\"", "c"});
    expect_values("d=it's,x", "d", 2, (const char *[]){"it's", "x"});
    expect_values("d=a=b,c", "d", 2, (const char *[]){"a=b", "c"});
}

static void refuse_grid(const char *word, const char *says)
{
    vt_grid grid = {0};
    vt_store store = {0};
    vt_error err = {0};
    assert_int_equal(vt_grid_add(&grid, "first=1", &store, &err), VT_OK);
    assert_int_equal(vt_grid_add(&grid, word, &store, &err), VT_ERR_USAGE);
    assert_non_null(strstr(err.text, says));
    assert_int_equal(grid.n_keys, 1);
    vt_store_release(&store);
}

static void a_grid_that_cannot_be_meant_is_refused_with_the_reason(void **state)
{
    (void)state;
    refuse_grid("optim.lr", "a grid is key=value");
    refuse_grid("=1,2", "a grid is key=value");
    refuse_grid("", "a grid is key=value");
    refuse_grid("a=", "a value is missing");
    refuse_grid("a=1,,2", "a value is missing");
    refuse_grid("a=1,", "a value is missing");
    refuse_grid("a=[1,2", "not closed");
    refuse_grid("a=1]", "not closed");
    refuse_grid("a=[1}", "not closed");
    refuse_grid("a='b", "not closed");
    refuse_grid("a=[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[1", "not closed");
    refuse_grid("first=2", "twice");
}

static void expect_seeds(const char *word, int n, const int64_t *seed)
{
    vt_grid grid = {0};
    vt_error err = {0};
    assert_int_equal(vt_grid_add_seeds(&grid, word, &err), VT_OK);
    assert_int_equal(grid.n_seeds, n);
    for (int i = 0; i < n; i++)
        assert_int_equal(grid.seed[i], seed[i]);
}

static void seeds_are_numbers_and_ranges(void **state)
{
    (void)state;
    expect_seeds("0..4", 5, (int64_t[]){0, 1, 2, 3, 4});
    expect_seeds("7", 1, (int64_t[]){7});
    expect_seeds("3,0..1,9", 4, (int64_t[]){3, 0, 1, 9});
    expect_seeds("9223372036854775806..9223372036854775807", 2,
                 (int64_t[]){INT64_MAX - 1, INT64_MAX});
}

static void other_texts_are_no_seeds(void **state)
{
    static const char *const bad[] = {"",     "a",     "-1",      "1.5",
                                      "4..0", "0..",   "..3",     "1,",
                                      "1,,2", "0...3", "0..4..5", "9223372036854775808",
                                      "1, 2", "0x1",   "+1"};
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        vt_grid grid = {0};
        vt_error err = {0};
        assert_int_equal(vt_grid_add_seeds(&grid, bad[i], &err), VT_ERR_USAGE);
        assert_non_null(strstr(err.text, "seeds are numbers"));
    }
    vt_grid grid = {0};
    vt_error err = {0};
    assert_int_equal(vt_grid_add_seeds(&grid, "0..3,2", &err), VT_ERR_USAGE);
    assert_non_null(strstr(err.text, "the seed 2 comes twice"));
    grid = (vt_grid){0};
    err = (vt_error){0};
    assert_int_equal(vt_grid_add_seeds(&grid, "0..4000000000", &err), VT_ERR_USAGE);
    assert_non_null(strstr(err.text, "at most 1000 seeds"));
}

static void the_last_key_changes_fastest(void **state)
{
    vt_grid grid = {0};
    vt_store store = {0};
    (void)state;
    assert_int_equal(vt_grid_settings(&grid), 1);
    assert_int_equal(vt_grid_add(&grid, "a=1,2", &store, NULL), VT_OK);
    assert_int_equal(vt_grid_add(&grid, "b=1,2,3", &store, NULL), VT_OK);
    assert_int_equal(vt_grid_settings(&grid), 6);
    for (int i = 0; i < 6; i++) {
        assert_int_equal(vt_grid_choice(&grid, i, 0), i / 3);
        assert_int_equal(vt_grid_choice(&grid, i, 1), i % 3);
    }
    char many[2 * 6000 + 8];
    int size = sprintf(many, "c=");
    for (int i = 0; i < 6000; i++)
        size += sprintf(many + size, "%s1", i ? "," : "");
    assert_int_equal(vt_grid_add(&grid, many, &store, NULL), VT_OK);
    assert_int_equal(vt_grid_settings(&grid), VT_SWEEP_RUNS_MAX + 1);
    vt_store_release(&store);
}

static vt_status plan(vt_sweep *sweep, const char *const *keys, int n_keys, const char *seeds,
                      vt_text *report, vt_error *err)
{
    static const char *const sets[] = {"train.epochs=1"};
    vt_grid grid = {0};
    vt_store store = {0};
    for (int i = 0; i < n_keys; i++)
        assert_int_equal(vt_grid_add(&grid, keys[i], &store, err), VT_OK);
    if (seeds)
        assert_int_equal(vt_grid_add_seeds(&grid, seeds, err), VT_OK);
    const vt_sweep_request request = {
        .exp = "quick/vit", .sets = sets, .n_sets = 1, .grid = &grid, .threads = 1};
    vt_status status = vt_sweep_plan(sweep, &request, report, err);
    if (status == VT_OK)
        status = vt_sweep_identify(sweep, &request, err);
    vt_store_release(&store);
    return status;
}

static void every_setting_meets_every_seed_under_its_own_run_id(void **state)
{
    static const char *const keys[] = {"optim.lr=1e-3,3e-4", "data.val=0,32"};
    vt_sweep sweep, other;
    vt_text report = {0};
    vt_error err = {0};
    char label[100], cut[8];
    (void)state;
    assert_int_equal(plan(&sweep, keys, 2, "5..6", &report, &err), VT_OK);
    assert_int_equal(sweep.n_runs, 8);
    assert_int_equal(sweep.n_settings, 4);
    assert_string_equal(sweep.exp_name, "quick-vit");
    for (int i = 0; i < 8; i++) {
        assert_int_equal(sweep.run[i].setting, i / 2);
        assert_int_equal(sweep.run[i].seed, 5 + i % 2);
        for (int j = 0; j < i; j++)
            assert_string_not_equal(sweep.run[i].run_id, sweep.run[j].run_id);
    }
    vt_sweep_label(&sweep, 3, label, sizeof label);
    assert_string_equal(label, "optim.lr=1e-3 data.val=32 seed 6");
    vt_sweep_label(&sweep, 3, cut, sizeof cut);
    assert_string_equal(cut, "optim.l");
    assert_int_equal(plan(&other, keys, 2, "5..7", &report, &err), VT_OK);
    assert_string_not_equal(sweep.name, other.name);
    vt_sweep_release(&other);
    assert_int_equal(plan(&other, keys, 2, "5..6", &report, &err), VT_OK);
    assert_string_equal(sweep.name, other.name);
    assert_null(report.data);
    vt_sweep_release(&other);
    vt_sweep_release(&sweep);
}

static void a_wrong_setting_is_found_before_anything_starts(void **state)
{
    vt_sweep sweep;
    vt_text report = {0};
    vt_error err = {0};
    (void)state;
    assert_int_equal(plan(&sweep, (const char *[]){"model.heads=2,5"}, 1, NULL, &report, &err),
                     VT_ERR_CONFIG);
    assert_non_null(strstr(report.data, "model.heads"));
    vt_sweep_release(&sweep);
    vt_text_release(&report);
    assert_int_equal(plan(&sweep, (const char *[]){"train.threads=1,2"}, 1, NULL, &report, &err),
                     VT_ERR_USAGE);
    assert_non_null(strstr(err.text, "the same run"));
    vt_sweep_release(&sweep);
    err = (vt_error){0};
    assert_int_equal(plan(&sweep, (const char *[]){"data.name=shapes,cifar10", "data.dir=nowhere"},
                          2, "3", &report, &err),
                     VT_ERR_NOINPUT);
    assert_non_null(strstr(err.text, "data.name=cifar10 data.dir=nowhere seed 3: "));
    vt_sweep_release(&sweep);
    vt_text_release(&report);
}

static void a_run_is_trained_by_a_command_that_says_everything(void **state)
{
    static const char *const wanted[] = {
        "vitrine",     "train",        "--results=a b",        "--seed=4",
        "--threads=3", "--data-dir=d", "--set=train.epochs=1", "--set=data.val=16",
        "--",          "quick/vit"};
    vt_sweep sweep;
    vt_text report = {0};
    vt_error err = {0};
    (void)state;
    assert_int_equal(plan(&sweep, (const char *[]){"data.val=8,16"}, 1, "4", &report, &err), VT_OK);
    char **argv = vt_sweep_command(&sweep, 1, "a b", "d", 3);
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++)
        assert_string_equal(argv[i], wanted[i]);
    assert_null(argv[sizeof wanted / sizeof *wanted]);
    argv = vt_sweep_command(&sweep, 0, "r", NULL, 0);
    assert_string_equal(argv[4], "--set=train.epochs=1");
    vt_sweep_release(&sweep);
}

static void the_script_for_slurm_is_the_one_kept(void **state)
{
    vt_sweep_run runs[6] = {{0}};
    vt_sweep sweep = {.name = "quick-vit-0123abcd", .run = runs, .n_runs = 6};
    vt_slurm slurm = {.program = "/opt/it's/vitrine",
                      .folder = "/data/some where",
                      .results = "my results",
                      .logs = "/data/some where/my results/50%/sweeps/quick-vit-0123abcd",
                      .data_dir = "$data",
                      .at_once = 4,
                      .threads = 8};
    vt_text script = {0};
    vt_error err = {0};
    char kept[4096] = "";
    (void)state;
    FILE *file = fopen("tests/golden_slurm.sh", "r");
    assert_non_null(file);
    kept[fread(kept, 1, sizeof kept - 1, file)] = '\0';
    fclose(file);
    assert_int_equal(vt_slurm_script(&sweep, &slurm, &script, &err), VT_OK);
    assert_string_equal(script.data, kept);
    vt_text_release(&script);
    slurm.logs = "/a\nb";
    assert_int_equal(vt_slurm_script(&sweep, &slurm, &script, &err), VT_ERR_USAGE);
    vt_text_release(&script);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(commas_separate_values_outside_of_brackets_and_quotes_only),
        cmocka_unit_test(a_grid_that_cannot_be_meant_is_refused_with_the_reason),
        cmocka_unit_test(seeds_are_numbers_and_ranges),
        cmocka_unit_test(other_texts_are_no_seeds),
        cmocka_unit_test(the_last_key_changes_fastest),
        cmocka_unit_test(every_setting_meets_every_seed_under_its_own_run_id),
        cmocka_unit_test(a_wrong_setting_is_found_before_anything_starts),
        cmocka_unit_test(a_run_is_trained_by_a_command_that_says_everything),
        cmocka_unit_test(the_script_for_slurm_is_the_one_kept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
