#include "train/export.h"

#include "base/log.h"
#include "base/mem.h"
#include "results/json.h"
#include "train/weights.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { META_MAX = 24, NUMBER = 64 };

/* The metadata that is being listed; numbers need memory of their own. */
struct meta {
    vt_safetensors_meta item[META_MAX];
    int n;
    char number[META_MAX][NUMBER];
};

static void add(struct meta *meta, const char *key, const char *value)
{
    VT_ASSERT(meta->n < META_MAX);
    meta->item[meta->n++] = (vt_safetensors_meta){key, value};
}

static void add_int(struct meta *meta, const char *key, int64_t value)
{
    snprintf(meta->number[meta->n], NUMBER, "%" PRId64, value);
    add(meta, key, meta->number[meta->n]);
}

static void add_floats(struct meta *meta, const char *key, const float v[3])
{
    snprintf(meta->number[meta->n], NUMBER, "[%.9g, %.9g, %.9g]", (double)v[0], (double)v[1],
             (double)v[2]);
    add(meta, key, meta->number[meta->n]);
}

static vt_status list_classes(const vt_trained *t, vt_text *text, vt_error *err)
{
    json_t *list = json_array();
    for (int64_t i = 0; i < t->history.info.n_classes; i++)
        json_array_append_new(list, json_string(vt_trained_classes(t)[i]));
    return vt_json_print(text, list, err);
}

/* Everything that a reader needs to use the weights, and where they come from. */
static void describe(struct meta *meta, const vt_trained *t, const vt_timm_recipe *timm,
                     const char *classes)
{
    const vt_config *c = t->config;
    const vt_runinfo *info = &t->history.info;
    add(meta, "format", "pt"); /* what transformers' loaders ask for */
    add(meta, "family", vt_config_word("model.family", c->model_family));
    if (c->model_preset)
        add(meta, "preset", c->model_preset);
    add_int(meta, "classes", c->model_classes);
    add(meta, "class_names", classes);
    add_int(meta, "image", c->model_image);
    add_floats(meta, "mean", c->data_normalise.mean);
    add_floats(meta, "std", c->data_normalise.std);
    add(meta, "experiment", info->exp_name);
    add(meta, "experiment_id", info->exp_id);
    add(meta, "run_id", info->run_id);
    add(meta, "weights", t->file);
    add(meta, "weights_sha256", t->sha256);
    if (t->epoch >= 0) {
        add_int(meta, "epoch", t->epoch);
        add_int(meta, "step", t->step);
    }
    if (timm->call) {
        add(meta, "timm_call", timm->call);
        add(meta, "timm_args", timm->args.data);
    }
    if (timm->differs.size)
        add(meta, "timm_differs", timm->differs.data);
}

static vt_status write_file(vt_trained *t, const float *floats, const vt_timm_recipe *timm,
                            int dir_fd, const char *name, vt_error *err)
{
    struct meta meta = {0};
    vt_weights list = {0};
    vt_text classes = {0};
    vt_status status = list_classes(t, &classes, err);
    if (status == VT_OK && (timm->args.failed || timm->differs.failed))
        status = vt_fail(err, VT_ERR_NOMEM, "no memory for %s", name);
    if (status == VT_OK)
        status = vt_weights_list(&list, t->engine.params, VT_WEIGHTS_ALL, floats, &t->batches, err);
    if (status == VT_OK)
        describe(&meta, t, timm, classes.data);
    const vt_safetensors_content content = {list.tensor, list.n, meta.item, meta.n};
    if (status == VT_OK)
        status = vt_safetensors_write(dir_fd, name, &content, NULL, err);
    vt_weights_release(&list);
    vt_text_release(&classes);
    return status;
}

static void say_differences(const vt_timm_recipe *timm)
{
    if (!timm->call)
        vt_log_write(VT_LOG_WARNING, "timm has no network that takes these weights: %s",
                     timm->differs.size ? timm->differs.data
                                        : "it has none of this family's shape");
    else if (timm->differs.size)
        vt_log_write(VT_LOG_WARNING, "timm's %s takes these weights, but computes otherwise: %s",
                     timm->call, timm->differs.data);
}

vt_status vt_export_safetensors(vt_trained *t, const char *path, char written[PATH_MAX],
                                vt_error *err)
{
    const char *name = NULL;
    vt_timm_recipe timm = {0};
    float *floats = NULL;
    int fd = -1;
    if (path)
        snprintf(written, PATH_MAX, "%s", path);
    else
        snprintf(written, PATH_MAX, "%.*s/model.safetensors", PATH_MAX - 32, t->place.path);
    vt_status status = vt_engine_plan(&t->engine, t->config, err);
    if (status == VT_OK) {
        floats = vt_calloc((size_t)t->engine.params->n_floats, sizeof *floats);
        status = floats ? vt_trained_read(t, floats, err)
                        : vt_fail(err, VT_ERR_NOMEM, "no memory for the weights");
    }
    vt_timm_describe(&timm, t->config);
    if (status == VT_OK)
        status = vt_fs_open_parent(written, &fd, &name, err);
    if (status == VT_OK)
        status = write_file(t, floats, &timm, fd, name, err);
    if (status == VT_OK)
        say_differences(&timm);
    vt_timm_release(&timm);
    vt_fs_close(&fd);
    vt_free(floats);
    return status;
}
