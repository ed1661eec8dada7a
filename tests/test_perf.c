#include "base/mem.h"
#include "results/perf.h"
#include "support/fault.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static void quantiles_are_by_nearest_rank(void **state)
{
    double times[200];
    vt_perf perf = {0};
    (void)state;
    for (int i = 0; i < 200; i++)
        times[i] = (i * 77 % 200 + 1) / 8.0; /* 1/8 .. 200/8, out of order */
    vt_perf_steps(&perf, times, 200);
    assert_true(perf.step_s_min == 1 / 8.0 && perf.step_s_max == 200 / 8.0);
    assert_true(perf.step_s_p50 == 100 / 8.0);
    assert_true(perf.step_s_p90 == 180 / 8.0);
    assert_true(perf.step_s_p99 == 198 / 8.0);
    double few[] = {3, 1, 2};
    vt_perf_steps(&perf, few, 3);
    assert_true(perf.step_s_p50 == 2 && perf.step_s_p90 == 3 && perf.step_s_p99 == 3);
    vt_perf_steps(&perf, few, 1);
    assert_true(perf.step_s_min == 1 && perf.step_s_p50 == 1 && perf.step_s_max == 1);
}

static void append(int dir_fd, int64_t epoch, double speed)
{
    vt_perf perf = {.epoch = epoch, .train_images_per_s = speed, .peak_rss_bytes = 123456789};
    perf.step_s_p90 = speed / 2;
    vt_perf_append(dir_fd, &perf);
}

static void an_epoch_counts_as_it_was_computed_last(void **state)
{
    vt_scratch s = vt_scratch_new();
    vt_perf *rows;
    (void)state;
    assert_int_equal(vt_perf_read(s.fd, &rows), 0);
    append(s.fd, 1, 1.5);
    append(s.fd, 2, 2.5);
    append(s.fd, 3, 3.5);
    append(s.fd, 2, 4.5);
    int fd = openat(s.fd, "perf.jsonl", O_WRONLY | O_APPEND);
    assert_true(write(fd, "{\"epoch\":4}\n\nnoise\n{\"epoch\":4,\"tra", 34) == 34);
    close(fd);
    assert_int_equal(vt_perf_read(s.fd, &rows), 3);
    for (int i = 0; i < 3; i++)
        assert_int_equal(rows[i].epoch, i + 1);
    assert_true(rows[0].train_images_per_s == 1.5 && rows[1].train_images_per_s == 4.5);
    assert_true(rows[0].record_s == 0 && rows[1].step_s_p90 == 2.25 &&
                rows[2].peak_rss_bytes == 123456789);
    vt_free(rows);
    vt_scratch_free(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        {"quantiles are by nearest rank", quantiles_are_by_nearest_rank, NULL, NULL, NULL},
        {"an epoch counts as it was computed last", an_epoch_counts_as_it_was_computed_last, NULL,
         NULL, NULL},
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
