#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"
#include "config/config.h"
#include "h5/parts.h"
#include "results/json.h"
#include "results/perf.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>

enum { FILE_CAP = 64 << 20 };

/* JSON values as attributes of one object, named by dotted path. */

struct attributes {
    vt_h5_file *file;
    const char *path; /* of the object */
};

static bool all_are(const json_t *list, bool (*is)(const json_t *))
{
    size_t i;
    json_t *item;
    json_array_foreach(list, i, item) if (!is(item)) return false;
    return true;
}

static bool is_integer(const json_t *value)
{
    return json_is_integer(value);
}

static bool is_number(const json_t *value)
{
    return json_is_number(value);
}

static bool is_text(const json_t *value)
{
    return json_is_string(value);
}

/* A list of numbers or texts; false for any other list. */
static bool put_list(const struct attributes *a, const char *name, const json_t *list)
{
    size_t n = json_array_size(list);
    union cell {
        int64_t i;
        double d;
        const char *text;
    } *cells = vt_calloc(n + 1, sizeof *cells);
    vt_h5_type type = all_are(list, is_integer)  ? VT_H5_I64
                      : all_are(list, is_number) ? VT_H5_F64
                      : all_are(list, is_text)   ? VT_H5_TEXT
                                                 : VT_H5_TYPE_COUNT;
    if (!cells || type == VT_H5_TYPE_COUNT || n == 0) {
        vt_free(cells);
        return false;
    }
    for (size_t i = 0; i < n; i++) {
        const json_t *value = json_array_get(list, i);
        if (type == VT_H5_I64)
            cells[i].i = json_integer_value(value);
        else if (type == VT_H5_F64)
            cells[i].d = json_number_value(value);
        else
            cells[i].text = json_string_value(value);
    }
    vt_h5_attr(a->file, a->path, name, type, (int64_t)n, cells);
    vt_free(cells);
    return true;
}

static int append(const char *bytes, size_t size, void *text)
{
    vt_text_append(text, bytes, size);
    return ((vt_text *)text)->failed ? -1 : 0;
}

static void put_as_json(const struct attributes *a, const char *name, const json_t *value)
{
    vt_text text = {0};
    if (json_dump_callback(value, append, &text, JSON_ENCODE_ANY | JSON_SORT_KEYS) == 0)
        vt_h5_attr_text(a->file, a->path, name, text.data);
    vt_text_release(&text);
}

static void put_value(const struct attributes *a, const char *name, json_t *value)
{
    double real = json_number_value(value);
    uint8_t flag = json_is_true(value);
    if (json_is_integer(value))
        vt_h5_attr_i64(a->file, a->path, name, json_integer_value(value));
    else if (json_is_real(value))
        vt_h5_attr(a->file, a->path, name, VT_H5_F64, -1, &real);
    else if (json_is_boolean(value))
        vt_h5_attr(a->file, a->path, name, VT_H5_U8, -1, &flag);
    else if (json_is_string(value))
        vt_h5_attr_text(a->file, a->path, name, json_string_value(value));
    else if (json_is_null(value))
        vt_h5_attr_text(a->file, a->path, name, "none");
    else if (!put_list(a, name, value))
        put_as_json(a, name, value);
}

/* Objects are flattened down to two levels ("host.cpu"); what lies deeper is JSON text. */
static void put_object(const struct attributes *a, const char *prefix, json_t *object)
{
    const char *key;
    json_t *value;
    json_object_foreach(object, key, value)
    {
        char name[256];
        snprintf(name, sizeof name, "%s%s%s", prefix, *prefix ? "." : "", key);
        if (json_is_object(value) && !*prefix && json_object_size(value) > 0)
            put_object(a, name, value);
        else
            put_value(a, name, value);
    }
}

/* A text file of the run folder as a dataset; true if it is there. */
static bool put_file(vt_h5_file *file, int dir_fd, const char *name, const char *path,
                     const char *long_name)
{
    char *text = NULL;
    size_t size = 0;
    vt_error reason = {0};
    vt_status status = vt_fs_read_file(dir_fd, name, FILE_CAP, &text, &size, &reason);
    if (status == VT_OK)
        vt_h5_write_text(file, path, long_name, text, size);
    else if (status != VT_ERR_NOINPUT)
        vt_log_write(VT_LOG_WARNING, "%s: left out of " VT_H5_NAME, reason.text);
    vt_free(text);
    return status == VT_OK;
}

/* /config */

/* The lines of config.origin.txt whose value comes from the command line, as "key=value". */
static void put_overrides(vt_h5_file *file, int dir_fd)
{
    char *text = NULL, section[64] = "", *next;
    size_t size = 0;
    vt_text out = {0};
    if (vt_fs_read_file(dir_fd, "config.origin.txt", FILE_CAP, &text, &size, NULL) != VT_OK)
        text = NULL;
    for (char *line = text; line && *line; line = next) {
        next = line + strcspn(line, "\n");
        if (*next)
            *next++ = '\0';
        char *origin = strstr(line, " # --"), *colon = strchr(line, ':');
        for (char *later; origin && (later = strstr(origin + 1, " # --"));)
            origin = later;
        if (!colon)
            continue;
        if (*line != ' ')
            snprintf(section, sizeof section, "%.*s", (int)(colon - line), line);
        if (!origin || origin < colon)
            continue;
        while (origin > colon && origin[-1] == ' ')
            origin--;
        char *key = line + strspn(line, " "), *value = colon + 1 + strspn(colon + 1, " ");
        vt_text_printf(&out, "%s%s%.*s=%.*s\n", key > line ? section : "", key > line ? "." : "",
                       (int)(colon - key), key, (int)(origin - value), value);
    }
    vt_h5_write_text(file, "/config/overrides", "values given on the command line",
                     out.data ? out.data : "", out.size);
    vt_text_release(&out);
    vt_free(text);
}

/* Every key with the type that the schema gives it. */
static void put_params(vt_h5_file *file, const vt_h5_source *source)
{
    const struct attributes a = {.file = file, .path = "/config/params"};
    char path[PATH_MAX];
    vt_config *config = NULL;
    vt_diagnostics diags = {0};
    char *text = NULL;
    json_t *root = NULL;
    vt_fs_path(source->dir_fd, "config.yaml", path);
    if (vt_config_load(&config, path, NULL, 0, NULL, &diags) == VT_OK)
        text = vt_config_json(config);
    if (text)
        root = json_loads(text, 0, NULL);
    if (root) {
        json_t *params = json_object_get(root, "config");
        json_object_del(params, "seed"); /* a text, because of JSON's narrower integers */
        vt_h5_attr(file, a.path, "seed", VT_H5_U64, -1, &config->seed);
        put_object(&a, "", params);
    } else {
        vt_log_write(VT_LOG_WARNING, "%s: cannot be read, /config/params stays empty: %s", path,
                     diags.text.data ? diags.text.data : "no memory");
    }
    json_decref(root);
    vt_free(text);
    vt_config_free(config);
    vt_diagnostics_release(&diags);
}

/* /perf */

static const struct perf_column {
    const char *name, *units, *long_name;
    size_t offset;
} perf_columns[] = {
#define X(name, units, long_name) {#name, units, long_name, offsetof(vt_perf, name)},
    VT_PERF_LIST(X)
#undef X
};

enum { N_PERF = sizeof perf_columns / sizeof *perf_columns };

static void put_perf(vt_h5_file *file, int dir_fd)
{
    vt_perf *rows;
    char path[64];
    int64_t n = vt_perf_read(dir_fd, &rows);
    union {
        int64_t epoch;
        double value;
    } *column = vt_calloc((size_t)n + 1, sizeof *column);
    if (n == 0 || !column)
        goto done;
    vt_h5_group(file, "/perf");
    vt_h5_attr_text(file, "/perf", "NX_class", "NXdata");
    vt_h5_attr_text(file, "/perf", "signal", "train_images_per_s");
    vt_h5_attr_text(file, "/perf", "axes", "epoch");
    for (int c = -1; c < N_PERF; c++) {
        vt_h5_dataset d = {.path = "/perf/epoch",
                           .type = VT_H5_I64,
                           .rank = 1,
                           .dims = {(hsize_t)n},
                           .units = "1",
                           .long_name = "epoch, from 1"};
        for (int64_t i = 0; i < n; i++) {
            if (c < 0)
                column[i].epoch = rows[i].epoch;
            else
                memcpy(&column[i].value, (const char *)&rows[i] + perf_columns[c].offset,
                       sizeof column[i].value);
        }
        if (c >= 0) {
            snprintf(path, sizeof path, "/perf/%s", perf_columns[c].name);
            d.path = path;
            d.type = VT_H5_F64;
            d.units = perf_columns[c].units;
            d.long_name = perf_columns[c].long_name;
        }
        vt_h5_write(file, &d, column);
        if (c < 0)
            vt_h5_scale(file, d.path, "epoch");
        else
            vt_h5_axis(file, d.path, 0, "/perf/epoch");
    }
done:
    vt_free(column);
    vt_free(rows);
}

/* /provenance: the last attempt as attributes, all of them as text. */
static void put_provenance(vt_h5_file *file, const vt_h5_source *source)
{
    const struct attributes a = {.file = file, .path = "/provenance"};
    char hex[VT_SHA256_HEX_SIZE];
    json_t *root = NULL;
    vt_error reason = {0};
    vt_h5_group(file, a.path);
    vt_sha256_hex(source->history->hash, hex);
    vt_h5_attr_text(file, a.path, "journal_sha256", hex);
    if (vt_json_read(source->dir_fd, "provenance.json", FILE_CAP, &root, &reason) == VT_OK) {
        json_t *attempts = json_object_get(root, "attempts");
        size_t n = json_array_size(attempts);
        vt_h5_attr_i64(file, a.path, "attempts", (int64_t)n);
        if (n)
            put_object(&a, "", json_array_get(attempts, n - 1));
        put_file(file, source->dir_fd, "provenance.json", "/provenance/provenance_json",
                 "every attempt at this run");
    } else if (reason.status != VT_ERR_NOINPUT) {
        vt_log_write(VT_LOG_WARNING, "%s: left out of " VT_H5_NAME, reason.text);
    }
    json_decref(root);
    if (!put_file(file, source->dir_fd, "code.patch", "/provenance/git_diff",
                  "changes to the commit's files"))
        vt_h5_write_text(file, "/provenance/git_diff", "changes to the commit's files", "", 0);
}

/* /checkpoints: the newest as attributes, all that the journal knows as columns. Those that were
 * removed since have left their hash. */
static vt_status put_checkpoints(vt_h5_file *file, const vt_history *h, vt_error *err)
{
    enum { FILE_NAME, SHA256, N_TEXTS };
    static const char *const text_names[N_TEXTS] = {"file", "sha256"};
    static const char *const long_names[N_TEXTS] = {"weights file of the step",
                                                    "SHA-256 of the weights file"};
    size_t n = (size_t)h->n_checkpoints;
    int64_t *step = vt_calloc(2 * n + 1, sizeof *step), *epoch = step ? step + n : NULL;
    char(*cell[N_TEXTS])[VT_SHA256_HEX_SIZE] = {vt_calloc(n + 1, sizeof **cell),
                                                vt_calloc(n + 1, sizeof **cell)};
    const char **texts = vt_calloc(n + 1, sizeof *texts);
    char path[64];
    vt_status status = VT_OK;
    vt_h5_group(file, "/checkpoints");
    if (h->done || n) {
        const vt_record_checkpoint *last = h->done ? &h->last : &h->checkpoint[n - 1];
        char hex[VT_SHA256_HEX_SIZE];
        vt_sha256_hex(last->weights_sha256, hex);
        vt_h5_attr_text(file, "/checkpoints", "file", "last.safetensors");
        vt_h5_attr_i64(file, "/checkpoints", "step", last->step);
        vt_h5_attr_i64(file, "/checkpoints", "epoch", last->epoch);
        vt_h5_attr_text(file, "/checkpoints", "sha256", hex);
    }
    if (!step || !cell[FILE_NAME] || !cell[SHA256] || !texts) {
        status = vt_fail(err, VT_ERR_NOMEM, "no memory for /checkpoints");
        goto done;
    }
    for (size_t i = 0; i < n; i++) {
        step[i] = h->checkpoint[i].step;
        epoch[i] = h->checkpoint[i].epoch;
        snprintf(cell[FILE_NAME][i], sizeof *cell[FILE_NAME], "w-%lld.safetensors",
                 (long long)step[i]);
        vt_sha256_hex(h->checkpoint[i].weights_sha256, cell[SHA256][i]);
    }
    vt_h5_dataset d = {
        .path = "/checkpoints/step", .type = VT_H5_I64, .rank = 1, .dims = {n}, .units = "1"};
    d.long_name = "optimiser step";
    vt_h5_write(file, &d, step);
    vt_h5_scale(file, d.path, "step");
    d.path = "/checkpoints/epoch";
    d.long_name = "epoch, from 1";
    vt_h5_write(file, &d, epoch);
    vt_h5_axis(file, d.path, 0, "/checkpoints/step");
    for (int t = 0; t < N_TEXTS; t++) {
        snprintf(path, sizeof path, "/checkpoints/%s", text_names[t]);
        for (size_t i = 0; i < n; i++)
            texts[i] = cell[t][i];
        d.path = path;
        d.type = VT_H5_TEXT;
        d.long_name = long_names[t];
        vt_h5_write(file, &d, texts);
        vt_h5_axis(file, path, 0, "/checkpoints/step");
    }
done:
    vt_free(step);
    vt_free(cell[FILE_NAME]);
    vt_free(cell[SHA256]);
    vt_free(texts);
    return status;
}

vt_status vt_h5_put_context(vt_h5_file *file, const vt_h5_source *source, vt_error *err)
{
    vt_h5_group(file, "/config");
    vt_h5_group(file, "/config/params");
    if (put_file(file, source->dir_fd, "config.yaml", "/config/resolved_yaml",
                 "the experiment with all defaults"))
        put_params(file, source);
    put_overrides(file, source->dir_fd);
    put_perf(file, source->dir_fd);
    put_provenance(file, source);
    return put_checkpoints(file, source->history, err);
}
