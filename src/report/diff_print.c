/* What differs between two runs, in print. */
#include "report/diff.h"
#include "report/escape.h"
#include "report/table.h"
#include "results/json.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>

static const vt_diff_texts *texts_of(const vt_diff *diff, int part)
{
    return part == VT_DIFF_CONFIG ? &diff->config : part == VT_DIFF_CODE ? &diff->code : &diff->env;
}

static void print_texts(const vt_diff_texts *texts, bool config, vt_table *table)
{
    vt_table_column(table, "  key", VT_LEFT);
    vt_table_column(table, "A", VT_LEFT);
    vt_table_column(table, "B", VT_LEFT);
    if (config)
        vt_table_column(table, "", VT_LEFT);
    for (int i = 0; i < texts->n; i++) {
        const vt_diff_text *t = &texts->text[i];
        vt_text key = {0};
        vt_text_printf(&key, "  %s", t->key);
        vt_table_row(table);
        vt_table_text(table, key.data);
        vt_table_text(table, t->a ? t->a : "-");
        vt_table_text(table, t->b ? t->b : "-");
        if (config)
            vt_table_text(table, t->counts ? "" : "(changes no result)");
        table->failed = table->failed || key.failed;
        vt_text_release(&key);
    }
}

static void print_series(const vt_diff *diff, vt_table *table)
{
    static const char *const heads[] = {"  metric", "records A", "B", "differ",  "first at step",
                                        "epoch",    "A",         "B", "largest", "at step"};
    char text[64];
    for (size_t i = 0; i < sizeof heads / sizeof *heads; i++)
        vt_table_column(table, heads[i], i ? VT_RIGHT : VT_LEFT);
    for (int i = 0; i < diff->n_series; i++) {
        const vt_diff_series *s = &diff->series[i];
        snprintf(text, sizeof text, "  %s", s->name);
        vt_table_row(table);
        vt_table_text(table, text);
        vt_table_integer(table, s->n_a, NULL);
        vt_table_integer(table, s->n_b, NULL);
        vt_table_integer(table, s->n_different, NULL);
        if (!s->n_different)
            continue;
        vt_table_integer(table, s->step, NULL);
        vt_table_integer(table, s->epoch, NULL);
        snprintf(text, sizeof text, "%.9g", s->a);
        vt_table_text(table, text);
        snprintf(text, sizeof text, "%.9g", s->b);
        vt_table_text(table, text);
        snprintf(text, sizeof text, "%.3g", s->largest);
        vt_table_text(table, text);
        vt_table_integer(table, s->largest_step, NULL);
    }
}

static void print_tensor(const char *what, const vt_diff_tensor *tensor, vt_text *out)
{
    vt_text_printf(out, "  %-8s ", what);
    vt_escape(out, VT_ESCAPE_SHOWN, tensor->name);
    vt_text_printf(out, "  %s", tensor->shape);
    if (tensor->n_different)
        vt_text_printf(out, "  %" PRId64 " elements, up to %.9g", tensor->n_different,
                       tensor->largest);
    vt_text_printf(out, "\n");
}

static void print_weights(const vt_diff *diff, vt_text *out)
{
    vt_text_printf(out, "%d of %d tensors differ\n", diff->n_tensors_different, diff->n_tensors);
    print_tensor("first", &diff->first, out);
    print_tensor("largest", &diff->worst, out);
    if (diff->first_checkpoint >= 0)
        vt_text_printf(out, "  the first checkpoint that differs is that of step %" PRId64 "\n",
                       diff->first_checkpoint);
}

static vt_status print_part(const vt_diff *diff, int part, vt_text *out, vt_error *err)
{
    vt_table table;
    vt_status status = VT_OK;
    vt_text_printf(out, "\n%s: ", vt_diff_part_word((vt_diff_part)part));
    if (diff->problem[part]) {
        vt_escape(out, VT_ESCAPE_SHOWN, diff->problem[part]);
        vt_text_printf(out, "\n");
        return VT_OK;
    }
    if (!diff->different[part]) {
        vt_text_printf(out, "equal\n");
        return VT_OK;
    }
    if (part == VT_DIFF_WEIGHTS) {
        print_weights(diff, out);
        return VT_OK;
    }
    vt_table_init(&table);
    if (part == VT_DIFF_METRICS) {
        if (diff->first_step >= 0)
            vt_text_printf(out, "the first record that differs is that of step %" PRId64 "\n",
                           diff->first_step);
        else
            vt_text_printf(out,
                           "records of the same steps are equal; others are in one run only\n");
        print_series(diff, &table);
    } else {
        const vt_diff_texts *texts = texts_of(diff, part);
        vt_text_printf(out, "%d %s\n", texts->n,
                       texts->n == 1 ? "entry differs" : "entries differ");
        print_texts(texts, part == VT_DIFF_CONFIG, &table);
    }
    status = vt_table_print(&table, VT_TABLE_TEXT, out, err);
    vt_table_release(&table);
    return status;
}

vt_status vt_diff_print(const vt_diff *diff, vt_text *out, vt_error *err)
{
    vt_status status = VT_OK;
    for (int i = 0; i < 2; i++) {
        const vt_outcome *run = &diff->run[i];
        vt_text_printf(out, "%c  ", "AB"[i]);
        vt_escape(out, VT_ESCAPE_SHOWN, run->place.path);
        if (run->state != VT_RUN_BROKEN) {
            vt_text_printf(out, "  ");
            vt_escape(out, VT_ESCAPE_SHOWN, run->exp_name);
            vt_text_printf(out, "  seed %" PRIu64 "  %s", run->seed, vt_run_state_word(run->state));
        }
        vt_text_printf(out, "\n");
    }
    for (int part = 0; part < VT_DIFF_COUNT && status == VT_OK; part++)
        if (diff->wanted[part])
            status = print_part(diff, part, out, err);
    if (status == VT_OK && out->failed)
        status = vt_fail(err, VT_ERR_NOMEM, "no memory to print what differs");
    return status;
}

static json_t *text_or_null(const char *text)
{
    return vt_json_text(text, text ? "(not UTF-8)" : NULL);
}

static json_t *texts_json(const vt_diff_texts *texts, bool config)
{
    json_t *list = json_array();
    for (int i = 0; i < texts->n; i++) {
        const vt_diff_text *t = &texts->text[i];
        json_t *entry = json_pack("{s:o, s:o, s:o}", "key", text_or_null(t->key), "a",
                                  text_or_null(t->a), "b", text_or_null(t->b));
        if (config)
            json_object_set_new(entry, "counts", json_boolean(t->counts));
        json_array_append_new(list, entry);
    }
    return list;
}

static json_t *series_json(const vt_diff *diff)
{
    json_t *list = json_array();
    for (int i = 0; i < diff->n_series; i++) {
        const vt_diff_series *s = &diff->series[i];
        json_t *entry =
            json_pack("{s:s, s:[I, I], s:I}", "name", s->name, "records", (json_int_t)s->n_a,
                      (json_int_t)s->n_b, "different", (json_int_t)s->n_different);
        if (s->n_different) {
            json_object_set_new(entry, "step", json_integer(s->step));
            json_object_set_new(entry, "epoch", json_integer(s->epoch));
            json_object_set_new(entry, "a", vt_json_real(s->a));
            json_object_set_new(entry, "b", vt_json_real(s->b));
            json_object_set_new(entry, "largest", vt_json_real(s->largest));
            json_object_set_new(entry, "largest_step", json_integer(s->largest_step));
        }
        json_array_append_new(list, entry);
    }
    return list;
}

static json_t *step_json(int64_t step)
{
    return step < 0 ? json_null() : json_integer(step);
}

static json_t *tensor_json(const vt_diff_tensor *tensor)
{
    if (!tensor->name)
        return json_null();
    return json_pack("{s:o, s:s, s:I, s:o}", "name", text_or_null(tensor->name), "shape",
                     tensor->shape, "different", (json_int_t)tensor->n_different, "largest",
                     isnan(tensor->largest) ? json_null() : vt_json_real(tensor->largest));
}

json_t *vt_diff_json(const vt_diff *diff)
{
    json_t *problems = json_object(), *runs = json_array();
    json_t *root = json_pack("{s:i, s:b}", "schema", 1, "equal", vt_diff_answer(diff) == VT_OK);
    for (int i = 0; i < 2; i++) {
        const vt_outcome *run = &diff->run[i];
        char seed[24];
        snprintf(seed, sizeof seed, "%" PRIu64, run->seed);
        json_array_append_new(
            runs,
            json_pack("{s:o, s:o, s:o, s:o, s:s}", "path", text_or_null(run->place.path), "exp",
                      text_or_null(run->exp_name), "run_id", text_or_null(run->run_id), "seed",
                      run->seed <= INT64_MAX ? json_integer((json_int_t)run->seed)
                                             : json_string(seed),
                      "state", vt_run_state_word(run->state)));
    }
    json_object_set_new(root, "runs", runs);
    for (int part = 0; part < VT_DIFF_COUNT; part++) {
        const char *word = vt_diff_part_word((vt_diff_part)part);
        json_t *value;
        if (!diff->wanted[part])
            continue;
        if (part == VT_DIFF_METRICS)
            value = json_pack("{s:o, s:o}", "first_step", step_json(diff->first_step), "series",
                              series_json(diff));
        else if (part == VT_DIFF_WEIGHTS)
            value = json_pack("{s:i, s:i, s:o, s:o, s:o}", "tensors", diff->n_tensors, "different",
                              diff->n_tensors_different, "first", tensor_json(&diff->first),
                              "worst", tensor_json(&diff->worst), "first_checkpoint",
                              step_json(diff->first_checkpoint));
        else
            value = texts_json(texts_of(diff, part), part == VT_DIFF_CONFIG);
        json_object_set_new(root, word, value);
        if (diff->problem[part])
            json_object_set_new(problems, word, text_or_null(diff->problem[part]));
    }
    json_object_set_new(root, "problems", problems);
    return root;
}
