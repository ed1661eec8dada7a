#include "results/perf.h"

#include "base/fs.h"
#include "base/mem.h"
#include "base/text.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#define FILE_NAME "perf.jsonl"

enum { FILE_CAP = 64 << 20 };

static int compare_times(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

void vt_perf_steps(vt_perf *perf, double *step_s, int64_t n)
{
    VT_ASSERT(n > 0);
    qsort(step_s, (size_t)n, sizeof *step_s, compare_times);
    perf->step_s_min = step_s[0];
    perf->step_s_p50 = step_s[(n * 50 + 99) / 100 - 1];
    perf->step_s_p90 = step_s[(n * 90 + 99) / 100 - 1];
    perf->step_s_p99 = step_s[(n * 99 + 99) / 100 - 1];
    perf->step_s_max = step_s[n - 1];
}

void vt_perf_append(int dir_fd, const vt_perf *perf)
{
    vt_text line = {0};
    vt_error ignored = {0};
    int64_t size;
    int fd;
    vt_text_printf(&line, "{\"epoch\":%" PRId64, perf->epoch);
#define X(name, units, long_name) vt_text_printf(&line, ",\"" #name "\":%.9g", perf->name);
    VT_PERF_LIST(X)
#undef X
    vt_text_printf(&line, "}\n");
    if (!line.failed && vt_fs_open_update(dir_fd, FILE_NAME, &fd, &size, &ignored) == VT_OK) {
        vt_fs_write_at(fd, FILE_NAME, size, line.data, line.size, &ignored);
        vt_fs_close(&fd);
    }
    vt_text_release(&line);
}

static bool parse(const char *line, size_t size, vt_perf *row)
{
    json_t *root = json_loadb(line, size, 0, NULL);
    const json_t *value = json_object_get(root, "epoch");
    bool good = json_is_integer(value) && json_object_get(root, "train_images");
    row->epoch = json_integer_value(value);
#define X(name, units, long_name)                                                                  \
    value = json_object_get(root, #name);                                                          \
    good = good && (!value || json_is_number(value));                                              \
    row->name = json_number_value(value);
    VT_PERF_LIST(X)
#undef X
    json_decref(root);
    return good;
}

static int64_t insert(vt_perf *rows, int64_t n, const vt_perf *row)
{
    int64_t at = n;
    while (at > 0 && rows[at - 1].epoch > row->epoch)
        at--;
    if (at > 0 && rows[at - 1].epoch == row->epoch) {
        rows[at - 1] = *row;
        return n;
    }
    memmove(rows + at + 1, rows + at, (size_t)(n - at) * sizeof *rows);
    rows[at] = *row;
    return n + 1;
}

int64_t vt_perf_read(int dir_fd, vt_perf **rows)
{
    char *text = NULL;
    size_t size = 0, lines = 1;
    int64_t n = 0;
    *rows = NULL;
    if (vt_fs_read_file(dir_fd, FILE_NAME, FILE_CAP, &text, &size, NULL) != VT_OK)
        return 0;
    for (size_t i = 0; i < size; i++)
        lines += text[i] == '\n';
    *rows = vt_calloc(lines, sizeof **rows);
    for (char *line = text; *rows && *line;) {
        vt_perf row = {0};
        size_t length = strcspn(line, "\n");
        if (parse(line, length, &row))
            n = insert(*rows, n, &row);
        line += length + (line[length] == '\n');
    }
    vt_free(text);
    return n;
}
