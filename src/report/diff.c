#include "report/diff.h"

#include "base/fs.h"
#include "base/mem.h"
#include "report/compare_parts.h"
#include "results/history.h"
#include "results/json.h"
#include "results/safetensors.h"

#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PROVENANCE_CAP = 16 << 20 };

static const char *const part_words[VT_DIFF_COUNT] = {
#define X(name, word) word,
    VT_DIFF_LIST(X)
#undef X
};

const char *vt_diff_part_word(vt_diff_part part)
{
    return part_words[part];
}

/* A part that cannot be compared. Lack of memory is a failure of the whole. */
static vt_status note_problem(vt_diff *diff, vt_diff_part part, vt_status status,
                              const vt_error *reason, vt_error *err)
{
    if (status == VT_OK)
        return VT_OK;
    if (status == VT_ERR_NOMEM)
        return vt_fail(err, status, "%s", reason->text);
    if (diff->status == VT_OK)
        diff->status = status;
    if (!diff->problem[part])
        diff->problem[part] = vt_strdup(reason->text);
    return diff->problem[part] ? VT_OK : vt_fail(err, VT_ERR_NOMEM, "no memory to compare runs");
}

/* Texts. */

static bool copy_text(char **copy, const char *text)
{
    *copy = text ? vt_strdup(text) : NULL;
    return !text || *copy;
}

static bool add_text(vt_diff_texts *texts, const char *key, const char *a, const char *b,
                     bool counts)
{
    if ((a == NULL && b == NULL) || (a && b && strcmp(a, b) == 0))
        return true;
    vt_diff_text *grown = vt_realloc(texts->text, (size_t)texts->n + 1, sizeof *grown);
    if (!grown)
        return false;
    texts->text = grown;
    vt_diff_text *text = &grown[texts->n++];
    *text = (vt_diff_text){.counts = counts};
    return copy_text(&text->key, key) && copy_text(&text->a, a) && copy_text(&text->b, b);
}

static void release_texts(vt_diff_texts *texts)
{
    for (int i = 0; i < texts->n; i++) {
        vt_free(texts->text[i].key);
        vt_free(texts->text[i].a);
        vt_free(texts->text[i].b);
    }
    vt_free(texts->text);
}

/* Both lists ascend by key. */
static vt_status diff_config(vt_diff *diff, vt_error *err)
{
    const vt_outcome *a = &diff->run[0], *b = &diff->run[1];
    bool good = true;
    for (int i = 0; i < 2; i++) {
        if (diff->run[i].n_settings)
            continue;
        vt_error reason = {0};
        vt_fail(&reason, VT_ERR_DATA, "%s/config.yaml cannot be read", diff->run[i].place.path);
        return note_problem(diff, VT_DIFF_CONFIG, VT_ERR_DATA, &reason, err);
    }
    for (int i = 0, k = 0; good && (i < a->n_settings || k < b->n_settings);) {
        int order = i == a->n_settings   ? 1
                    : k == b->n_settings ? -1
                                         : strcmp(a->setting[i].key, b->setting[k].key);
        const char *key = order <= 0 ? a->setting[i].key : b->setting[k].key;
        bool counts = vt_compare_key_counts(key) || strcmp(key, "seed") == 0;
        good = add_text(&diff->config, key, order <= 0 ? a->setting[i].value : NULL,
                        order >= 0 ? b->setting[k].value : NULL, counts);
        i += order <= 0;
        k += order >= 0;
    }
    diff->different[VT_DIFF_CONFIG] = diff->config.n > 0;
    return good ? VT_OK : vt_fail(err, VT_ERR_NOMEM, "no memory to compare runs");
}

/* Code and environment. */

/* Adds "PATH.KEY": text of every leaf below `value` to the object `flat`. */
static bool flatten(json_t *flat, const char *path, json_t *value)
{
    const char *key;
    json_t *child;
    size_t index;
    bool good = true;
    char below[600];
    if (json_is_object(value)) {
        json_object_foreach(value, key, child)
        {
            snprintf(below, sizeof below, "%.400s.%.180s", path, key);
            good = good && flatten(flat, below, child);
        }
        return good;
    }
    if (json_is_array(value)) {
        json_array_foreach(value, index, child)
        {
            snprintf(below, sizeof below, "%.400s.%zu", path, index);
            good = good && flatten(flat, below, child);
        }
        return good;
    }
    char *text = json_is_string(value) ? NULL : json_dumps(value, JSON_ENCODE_ANY);
    good =
        json_object_set_new(flat, path, json_string(text ? text : json_string_value(value))) == 0;
    free(text);
    return good;
}

static const char *const code_keys[] = {"git"};
static const char *const env_keys[] = {"build", "host", "environment", "data", "numerics_id"};

/* What provenance.json says of the last attempt under these keys, flat. */
static vt_status read_attempt(int dir_fd, const char *const *keys, size_t n_keys, json_t **flat,
                              vt_error *err)
{
    json_t *root = NULL;
    *flat = json_object();
    vt_status status = vt_json_read(dir_fd, "provenance.json", PROVENANCE_CAP, &root, err);
    if (status == VT_OK) {
        json_t *attempts = json_object_get(root, "attempts");
        json_t *last = json_array_get(attempts, json_array_size(attempts) - 1);
        bool good = *flat != NULL;
        for (size_t i = 0; i < n_keys && good; i++) {
            json_t *value = json_object_get(last, keys[i]);
            good = !value || flatten(*flat, keys[i], value);
        }
        if (!last)
            status = vt_fail(err, VT_ERR_DATA, "provenance.json has no attempt");
        else if (!good)
            status = vt_fail(err, VT_ERR_NOMEM, "no memory to compare runs");
    }
    json_decref(root);
    return status;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* All keys of both objects in order. */
static bool diff_flat(vt_diff_texts *texts, json_t *const flat[2])
{
    size_t n = 0, room = json_object_size(flat[0]) + json_object_size(flat[1]);
    const char **names = vt_calloc(room + 1, sizeof *names), *key;
    json_t *value;
    bool good = names != NULL;
    for (int i = 0; good && i < 2; i++) {
        json_object_foreach(flat[i], key, value) names[n++] = key;
    }
    if (good)
        qsort(names, n, sizeof *names, by_name);
    for (size_t i = 0; i < n && good; i++)
        if (i == 0 || strcmp(names[i], names[i - 1]) != 0)
            good = add_text(texts, names[i], json_string_value(json_object_get(flat[0], names[i])),
                            json_string_value(json_object_get(flat[1], names[i])), true);
    vt_free(names);
    return good;
}

static vt_status diff_attempts(vt_diff *diff, vt_diff_part part, const int fd[2], vt_error *err)
{
    bool code = part == VT_DIFF_CODE;
    vt_diff_texts *texts = code ? &diff->code : &diff->env;
    json_t *flat[2] = {NULL, NULL};
    vt_error reason = {0};
    vt_status status = VT_OK;
    for (int i = 0; i < 2 && status == VT_OK; i++) {
        uint8_t sha256[VT_SHA256_SIZE];
        char hex[VT_SHA256_HEX_SIZE];
        status = read_attempt(fd[i], code ? code_keys : env_keys,
                              code ? sizeof code_keys / sizeof *code_keys
                                   : sizeof env_keys / sizeof *env_keys,
                              &flat[i], &reason);
        if (status != VT_OK || !code || !vt_fs_exists(fd[i], "code.patch"))
            continue;
        status = vt_fs_hash_file(fd[i], "code.patch", sha256, &reason);
        vt_sha256_hex(sha256, hex);
        if (status == VT_OK)
            json_object_set_new(flat[i], "code.patch", json_string(hex));
    }
    if (status == VT_OK && !diff_flat(texts, flat))
        status = vt_fail(&reason, VT_ERR_NOMEM, "no memory to compare runs");
    json_decref(flat[0]);
    json_decref(flat[1]);
    diff->different[part] = texts->n > 0;
    return note_problem(diff, part, status, &reason, err);
}

/* Metrics. */

typedef struct point {
    int64_t step, epoch;
    double value;
} point;

/* A column of a journal by its number; records of training first, then evaluations. */
static const struct {
    const char *name;
    vt_split split; /* VT_SPLIT_COUNT: records of training */
} columns[] = {
    {"train.loss", VT_SPLIT_COUNT}, {"train.top1", VT_SPLIT_COUNT},
    {"train.lr", VT_SPLIT_COUNT},   {"train.grad_norm", VT_SPLIT_COUNT},
    {"val.loss", VT_SPLIT_VAL},     {"val.top1", VT_SPLIT_VAL},
    {"val.top5", VT_SPLIT_VAL},     {"val.ece", VT_SPLIT_VAL},
    {"test.loss", VT_SPLIT_TEST},   {"test.top1", VT_SPLIT_TEST},
    {"test.top5", VT_SPLIT_TEST},   {"test.ece", VT_SPLIT_TEST},
};

static int64_t count_points(const vt_history *h, int column)
{
    vt_split split = columns[column].split;
    return split == VT_SPLIT_COUNT ? h->n_train : h->n_eval[split];
}

static point point_at(const vt_history *h, int column, int64_t i)
{
    vt_split split = columns[column].split;
    if (split == VT_SPLIT_COUNT) {
        const vt_record_train *r = &h->train[i];
        const double values[] = {r->loss, r->top1, r->lr, r->grad_norm};
        return (point){r->step, r->epoch, values[column % 4]};
    }
    const vt_record_eval *r = &h->eval[split][i];
    const double values[] = {r->loss, r->top1, r->top5, r->ece};
    return (point){r->step, r->epoch, values[column % 4]};
}

static void diff_point(vt_diff_series *series, const point *a, const point *b)
{
    double difference = fabs(a->value - b->value);
    series->n_both++;
    if (a->value == b->value || (isnan(a->value) && isnan(b->value)))
        return;
    if (series->n_different++ == 0) {
        series->step = a->step;
        series->epoch = a->epoch;
        series->a = a->value;
        series->b = b->value;
    }
    if (isfinite(difference) && !(difference <= series->largest)) {
        series->largest = difference;
        series->largest_step = a->step;
    }
}

static void diff_column(vt_diff *diff, const vt_history h[2], int column)
{
    vt_diff_series s = {.name = columns[column].name,
                        .n_a = count_points(&h[0], column),
                        .n_b = count_points(&h[1], column),
                        .largest = (double)NAN};
    if (s.n_a == 0 && s.n_b == 0)
        return;
    for (int64_t i = 0, k = 0; i < s.n_a && k < s.n_b;) {
        point a = point_at(&h[0], column, i), b = point_at(&h[1], column, k);
        if (a.step == b.step)
            diff_point(&s, &a, &b);
        i += a.step <= b.step;
        k += b.step <= a.step;
    }
    bool differs = s.n_different > 0;
    if (differs && (diff->first_step < 0 || s.step < diff->first_step))
        diff->first_step = s.step;
    if (differs || s.n_a != s.n_b || s.n_both != s.n_a)
        diff->different[VT_DIFF_METRICS] = true;
    diff->series[diff->n_series++] = s;
}

static vt_status read_histories(vt_history h[2], const int fd[2], vt_error *err)
{
    vt_status status = vt_history_read(&h[0], fd[0], err);
    return status == VT_OK ? vt_history_read(&h[1], fd[1], err) : status;
}

static vt_status diff_metrics(vt_diff *diff, const int fd[2], vt_error *err)
{
    vt_history h[2] = {{.n_train = 0}, {.n_train = 0}};
    vt_error reason = {0};
    vt_status status = read_histories(h, fd, &reason);
    if (status == VT_OK)
        for (int i = 0; i < (int)(sizeof columns / sizeof *columns); i++)
            diff_column(diff, h, i);
    vt_history_release(&h[0]);
    vt_history_release(&h[1]);
    return note_problem(diff, VT_DIFF_METRICS, status, &reason, err);
}

/* Weights. */

/* Differences of two tensors of one shape; in elements that are not F32, bytes tell. */
static void diff_values(vt_diff_tensor *result, const vt_safetensor *a, const vt_safetensor *b)
{
    result->n_different = 0;
    result->largest = (double)NAN;
    int size = vt_safetensors_type_size(a->type);
    for (int64_t i = 0; i < a->size_bytes / size; i++) {
        const char *x = (const char *)a->data + i * size, *y = (const char *)b->data + i * size;
        float u, v;
        if (memcmp(x, y, (size_t)size) == 0)
            continue;
        result->n_different++;
        if (a->type != VT_SAFETENSORS_F32)
            continue;
        memcpy(&u, x, sizeof u);
        memcpy(&v, y, sizeof v);
        double difference = fabs((double)u - (double)v);
        if (!(difference <= result->largest))
            result->largest = difference;
    }
}

static void print_shape(const vt_safetensor *tensor, vt_text *text)
{
    if (!tensor) {
        vt_text_printf(text, "missing");
        return;
    }
    vt_text_printf(text, "%s (", vt_safetensors_type_name(tensor->type));
    for (int i = 0; i < tensor->rank; i++)
        vt_text_printf(text, "%s%" PRId64, i ? ", " : "", tensor->shape[i]);
    vt_text_printf(text, ")");
}

static bool same_shape(const vt_safetensor *a, const vt_safetensor *b)
{
    bool same = a && b && a->type == b->type && a->rank == b->rank;
    for (int i = 0; same && i < a->rank; i++)
        same = a->shape[i] == b->shape[i];
    return same;
}

static bool keep_tensor(vt_diff_tensor *place, const vt_diff_tensor *tensor, const char *name)
{
    vt_free(place->name);
    *place = *tensor;
    place->name = vt_strdup(name);
    return place->name != NULL;
}

/* Either tensor may be missing. False: no memory. */
static bool diff_tensor(vt_diff *diff, const vt_safetensor *a, const vt_safetensor *b)
{
    vt_diff_tensor tensor = {.largest = (double)NAN};
    vt_text shape = {0};
    bool good = true;
    diff->n_tensors++;
    if (same_shape(a, b)) {
        diff_values(&tensor, a, b);
        if (tensor.n_different == 0)
            return true;
    }
    print_shape(a ? a : b, &shape);
    if (!same_shape(a, b)) {
        shape.size = 0;
        print_shape(a, &shape);
        vt_text_printf(&shape, " / ");
        print_shape(b, &shape);
    }
    snprintf(tensor.shape, sizeof tensor.shape, "%s", shape.data ? shape.data : "");
    const char *name = a ? a->name : b->name;
    if (diff->n_tensors_different++ == 0)
        good = keep_tensor(&diff->first, &tensor, name);
    bool worse = !diff->worst.name || (isnan(diff->worst.largest) && !isnan(tensor.largest)) ||
                 tensor.largest > diff->worst.largest;
    if (good && worse)
        good = keep_tensor(&diff->worst, &tensor, name);
    good = good && !shape.failed;
    vt_text_release(&shape);
    return good;
}

static bool diff_tensors(vt_diff *diff, const vt_safetensors *a, const vt_safetensors *b)
{
    bool good = true;
    for (int i = 0; i < vt_safetensors_count(a) && good; i++) {
        const vt_safetensor *tensor = vt_safetensors_at(a, i);
        good = diff_tensor(diff, tensor, vt_safetensors_find(b, tensor->name));
    }
    for (int i = 0; i < vt_safetensors_count(b) && good; i++) {
        const vt_safetensor *tensor = vt_safetensors_at(b, i);
        if (!vt_safetensors_find(a, tensor->name))
            good = diff_tensor(diff, NULL, tensor);
    }
    return good;
}

/* The first checkpoint of a step that both saved. */
static void diff_checkpoints(vt_diff *diff, const vt_history h[2])
{
    for (int64_t i = 0, k = 0; i < h[0].n_checkpoints && k < h[1].n_checkpoints;) {
        const vt_record_checkpoint *a = &h[0].checkpoint[i], *b = &h[1].checkpoint[k];
        if (a->step == b->step &&
            memcmp(a->weights_sha256, b->weights_sha256, VT_SHA256_SIZE) != 0) {
            diff->first_checkpoint = a->step;
            return;
        }
        i += a->step <= b->step;
        k += b->step <= a->step;
    }
}

static vt_status diff_weights(vt_diff *diff, const int fd[2], vt_error *err)
{
    vt_safetensors *file[2] = {NULL, NULL};
    vt_history h[2] = {{.n_train = 0}, {.n_train = 0}};
    vt_error reason = {0}, journal = {0};
    vt_status status = VT_OK;
    for (int i = 0; i < 2 && status == VT_OK; i++)
        status = vt_safetensors_open(&file[i], fd[i], "last.safetensors", NULL, &reason);
    if (status == VT_OK && !diff_tensors(diff, file[0], file[1]))
        status = vt_fail(&reason, VT_ERR_NOMEM, "no memory to compare runs");
    diff->different[VT_DIFF_WEIGHTS] = diff->n_tensors_different > 0;
    /* Journals only add to it: which checkpoint was the first. */
    if (status == VT_OK && read_histories(h, fd, &journal) == VT_OK)
        diff_checkpoints(diff, h);
    vt_history_release(&h[0]);
    vt_history_release(&h[1]);
    vt_safetensors_close(file[0]);
    vt_safetensors_close(file[1]);
    return note_problem(diff, VT_DIFF_WEIGHTS, status, &reason, err);
}

vt_status vt_diff_make(vt_diff *diff, const vt_run_place *a, const vt_run_place *b,
                       const bool wanted[VT_DIFF_COUNT], vt_error *err)
{
    int fd[2] = {-1, -1};
    bool all = true;
    vt_error reason = {0};
    *diff = (vt_diff){.first_step = -1, .first_checkpoint = -1};
    for (int i = 0; i < VT_DIFF_COUNT; i++)
        all = all && !wanted[i];
    for (int i = 0; i < VT_DIFF_COUNT; i++)
        diff->wanted[i] = all || wanted[i];
    vt_status opened = vt_fs_open_dir(AT_FDCWD, a->path, &fd[0], &reason);
    if (opened == VT_OK)
        opened = vt_fs_open_dir(AT_FDCWD, b->path, &fd[1], &reason);
    vt_status status = vt_outcome_read(&diff->run[0], a, err);
    if (status == VT_OK)
        status = vt_outcome_read(&diff->run[1], b, err);
    for (int i = 0; i < VT_DIFF_COUNT && status == VT_OK; i++) {
        if (!diff->wanted[i])
            continue;
        if (opened != VT_OK)
            status = note_problem(diff, (vt_diff_part)i, opened, &reason, err);
        else if (i == VT_DIFF_CONFIG)
            status = diff_config(diff, err);
        else if (i == VT_DIFF_METRICS)
            status = diff_metrics(diff, fd, err);
        else if (i == VT_DIFF_WEIGHTS)
            status = diff_weights(diff, fd, err);
        else
            status = diff_attempts(diff, (vt_diff_part)i, fd, err);
    }
    vt_fs_close(&fd[0]);
    vt_fs_close(&fd[1]);
    return status;
}

vt_status vt_diff_answer(const vt_diff *diff)
{
    bool different = false;
    for (int i = 0; i < VT_DIFF_COUNT; i++)
        different = different || diff->different[i];
    return diff->status != VT_OK ? diff->status : different ? VT_NO : VT_OK;
}

void vt_diff_release(vt_diff *diff)
{
    vt_outcome_release(&diff->run[0]);
    vt_outcome_release(&diff->run[1]);
    for (int i = 0; i < VT_DIFF_COUNT; i++)
        vt_free(diff->problem[i]);
    release_texts(&diff->config);
    release_texts(&diff->code);
    release_texts(&diff->env);
    vt_free(diff->first.name);
    vt_free(diff->worst.name);
    *diff = (vt_diff){.first_step = -1};
}
