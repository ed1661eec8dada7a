/* vitrine predict: what a run's weights make of pictures. */
#include "base/log.h"
#include "base/mem.h"
#include "base/rng.h"
#include "cli/cmd.h"
#include "cli/options.h"
#include "results/json.h"
#include "train/run.h"
#include "train/trained.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* One class as the picture shows it. */
struct rank {
    int64_t class;
    double probability, logit;
};

struct predicting {
    vt_trained trained;
    int64_t top;  /* classes to list */
    json_t *list; /* with --json */
    vt_image image;
    float *pixels, *logits;
    struct rank *rank; /* every class, the most likely first */
};

static int compare(const void *a, const void *b)
{
    const struct rank *x = a, *y = b;
    if (x->logit != y->logit)
        return x->logit > y->logit ? -1 : 1;
    return x->class < y->class ? -1 : 1;
}

/* Softmax, in double. */
static void rank_classes(struct predicting *p)
{
    int64_t classes = p->trained.config->model_classes;
    double sum = 0;
    for (int64_t i = 0; i < classes; i++)
        p->rank[i] = (struct rank){.class = i, .logit = (double)p->logits[i]};
    qsort(p->rank, (size_t)classes, sizeof *p->rank, compare);
    for (int64_t i = 0; i < classes; i++)
        sum += p->rank[i].probability = vt_exp(p->rank[i].logit - p->rank[0].logit);
    for (int64_t i = 0; i < classes; i++)
        p->rank[i].probability /= sum;
}

static vt_status predict(struct predicting *p, const char *path, vt_error *err)
{
    vt_trained *t = &p->trained;
    const vt_data_request request = vt_run_data_request(t->config);
    const int32_t label = 0; /* the loss is not looked at */
    vt_slot *slot = vt_engine_slot(&t->engine, 1, false);
    vt_status status = vt_image_read(&p->image, path, err);
    if (status == VT_OK)
        status = vt_data_prepare(&request, t->config->model_image, &p->image, p->pixels, err);
    if (status != VT_OK)
        return status;
    vt_engine_write_batch(&t->engine, slot, p->pixels, &label);
    vt_engine_eval_batch(&t->engine, slot, NULL, NULL);
    vt_engine_read_logits(&t->engine, slot, p->logits);
    rank_classes(p);
    return VT_OK;
}

static void print_text(const struct predicting *p, const char *path)
{
    const char *const *names = vt_trained_classes(&p->trained);
    const struct rank *best = &p->rank[0];
    int width = 0;
    for (int64_t i = 0; i < p->top; i++) {
        int length = (int)strlen(names[p->rank[i].class]);
        width = length > width ? length : width;
    }
    printf("%s: %s  (class %" PRId64 ", probability %.6f, top logit %.4f)\n", path,
           names[best->class], best->class, best->probability, best->logit);
    for (int64_t i = 0; i < p->top; i++)
        printf("  %5" PRId64 " %-*s  %.6f\n", p->rank[i].class, width, names[p->rank[i].class],
               p->rank[i].probability);
}

static json_t *pack(const struct predicting *p, const char *path)
{
    const char *const *names = vt_trained_classes(&p->trained);
    json_t *classes = json_array();
    for (int64_t i = 0; i < p->top; i++)
        json_array_append_new(classes, json_pack("{s:I, s:s, s:o, s:o}", "class",
                                                 (json_int_t)p->rank[i].class, "name",
                                                 names[p->rank[i].class], "probability",
                                                 vt_json_real(p->rank[i].probability), "logit",
                                                 vt_json_real(p->rank[i].logit)));
    return json_pack("{s:o, s:I, s:s, s:o, s:o, s:o}", "file", vt_json_text(path, "(not UTF-8)"),
                     "class", (json_int_t)p->rank[0].class, "name", names[p->rank[0].class],
                     "probability", vt_json_real(p->rank[0].probability), "top_logit",
                     vt_json_real(p->rank[0].logit), "classes", classes);
}

/* Every picture gets its answer; the first failure is the command's. */
static vt_status predict_all(struct predicting *p, char **paths, int n)
{
    vt_status worst = VT_OK;
    for (int i = 0; i < n; i++) {
        vt_error err = {0};
        vt_status status = predict(p, paths[i], &err);
        if (status != VT_OK) {
            vt_log_write(VT_LOG_ERROR, "%s", err.text);
            worst = worst == VT_OK ? status : worst;
        }
        if (p->list && status == VT_OK)
            json_array_append_new(p->list, pack(p, paths[i]));
        else if (p->list)
            json_array_append_new(p->list, json_pack("{s:o, s:o}", "file",
                                                     vt_json_text(paths[i], "(not UTF-8)"), "error",
                                                     vt_json_text(err.text, "(not UTF-8)")));
        else if (status == VT_OK)
            print_text(p, paths[i]);
    }
    return worst;
}

static vt_status print_list(struct predicting *p, vt_error *err)
{
    vt_text text = {0};
    json_t *list = p->list;
    p->list = NULL;
    vt_status status = vt_json_print(&text,
                                     json_pack("{s:i, s:o, s:o}", "schema", 1, "weights",
                                               vt_trained_json(&p->trained), "images", list),
                                     err);
    if (status == VT_OK)
        fwrite(text.data, 1, text.size, stdout);
    vt_text_release(&text);
    return status;
}

static vt_status prepare(struct predicting *p, const vt_trained_request *request, int64_t top,
                         vt_error *err)
{
    vt_trained *t = &p->trained;
    vt_status status = vt_trained_find(t, request, err);
    if (status == VT_OK)
        status = vt_trained_device(t, err);
    if (status != VT_OK)
        return status;
    int64_t side = t->config->model_image, classes = t->config->model_classes;
    vt_engine_add_slot(&t->engine, 1, false);
    status = vt_trained_load(t, err);
    p->top = top < classes ? top : classes;
    p->pixels = vt_calloc((size_t)(side * side * t->config->model_channels), sizeof *p->pixels);
    p->logits = vt_calloc((size_t)classes, sizeof *p->logits);
    p->rank = vt_calloc((size_t)classes, sizeof *p->rank);
    if (status == VT_OK && (!p->pixels || !p->logits || !p->rank))
        status = vt_fail(err, VT_ERR_NOMEM, "no memory for a prediction");
    return status;
}

static void release(struct predicting *p)
{
    json_decref(p->list);
    vt_image_release(&p->image);
    vt_free(p->pixels);
    vt_free(p->logits);
    vt_free(p->rank);
    vt_trained_release(&p->trained);
}

vt_status vt_cmd_predict(int argc, char **argv)
{
    bool json = false;
    const char *which = NULL;
    vt_option_u64 top = {0};
    vt_common_options common = {0};
    const vt_option options[] = {
        {"top", 0, "N", VT_OPTION_U64, &top, "list the N most likely classes (default: all)"},
        {"json", 0, NULL, VT_OPTION_SWITCH, &json, "print as JSON"},
        VT_WHICH_OPTION(which),
        {"threads", 0, "N", VT_OPTION_U64, &common.threads, "threads; 0 = all cores"},
        VT_RESULTS_OPTION(common),
        VT_COMMON_OPTIONS(common),
        VT_OPTION_END,
    };
    const vt_usage usage = {
        .verb = "predict",
        .arguments = "RUN IMAGE...",
        .about =
            "Says what a run's weights make of pictures (JPEG or PNG; '-' is standard input):\n"
            "the class, its probability and raw logit, then every class, the most likely first.\n"
            "A picture goes through the transforms of the run's test images. RUN is a run's\n"
            "folder, an experiment (its newest run), the first digits of a run id, or 'last'.",
        .options = options,
        .min_arguments = 2,
        .max_arguments = -1};
    vt_arguments arguments = {0};
    vt_error err = {0};
    vt_trained_request request = {0};
    struct predicting p = {0};
    vt_status status = vt_options_parse(&usage, &common, argc, argv, &arguments);
    if (status != VT_OK || common.help)
        return status;
    if (top.given && (top.value == 0 || top.value > INT32_MAX))
        return vt_usage_error("predict", "--top is 1 or more");
    status = vt_options_which("predict", which, &request.last);
    if (status != VT_OK)
        return status;
    status = vt_options_trained(&common, arguments.v[0], &request, &err);
    if (status == VT_OK)
        status = prepare(&p, &request, top.given ? (int64_t)top.value : INT32_MAX, &err);
    p.list = json ? json_array() : NULL;
    if (status != VT_OK) {
        vt_log_write(VT_LOG_ERROR, "%s", err.text);
    } else {
        status = predict_all(&p, arguments.v + 1, arguments.n - 1);
        vt_status printed = json ? print_list(&p, &err) : VT_OK;
        status = printed != VT_OK ? printed : status;
    }
    release(&p);
    return status;
}
