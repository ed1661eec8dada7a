#include "results/runinfo.h"

#include "base/mem.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

enum { CLASSES_MAX = 65535 }; /* labels are stored in 16 bits */

static int append(const char *bytes, size_t size, void *text)
{
    vt_text_append(text, bytes, size);
    return ((vt_text *)text)->failed ? -1 : 0;
}

static json_t *pack_seed(uint64_t seed)
{
    return seed <= INT64_MAX ? json_integer((json_int_t)seed)
                             : json_sprintf("%llu", (unsigned long long)seed);
}

vt_status vt_runinfo_write(const vt_runinfo *info, vt_text *json, vt_error *err)
{
    json_t *names = json_array(), *images = json_object();
    for (int64_t i = 0; i < info->n_classes; i++)
        json_array_append_new(names, json_string(info->class_names[i]));
    for (int i = 0; i < VT_SPLIT_COUNT; i++)
        json_object_set_new(images, vt_split_name((vt_split)i), json_integer(info->images[i]));
    json_t *root = json_pack(
        "{s:i, s:s, s:s, s:s, s:o, s:s, s:s, s:s, s:o, s:I, s:I, s:o, s:I, s:I}", "schema",
        (int)VT_RUNINFO_SCHEMA, "exp_name", info->exp_name, "exp_id", info->exp_id, "run_id",
        info->run_id, "seed", pack_seed(info->seed), "data_digest", info->data_digest, "numerics",
        info->numerics, "select", info->select, "class_names", names, "epochs",
        (json_int_t)info->epochs, "steps_per_epoch", (json_int_t)info->steps_per_epoch, "images",
        images, "params", (json_int_t)info->n_params, "macs", (json_int_t)info->macs);
    bool written =
        root && json_dump_callback(root, append, json, JSON_SORT_KEYS | JSON_COMPACT) == 0;
    json_decref(root);
    return written ? VT_OK : vt_fail(err, VT_ERR_NOMEM, "no memory to describe the run");
}

/* Reading. The first thing that is wrong is remembered. */
struct reading {
    const json_t *root;
    const char *wrong; /* key */
};

static const char *get_text(struct reading *r, const char *key)
{
    const char *text = json_string_value(json_object_get(r->root, key));
    if (!text && !r->wrong)
        r->wrong = key;
    return text ? text : "";
}

static int64_t get_count(struct reading *r, const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    if ((!json_is_integer(value) || json_integer_value(value) < 0) && !r->wrong)
        r->wrong = key;
    return json_integer_value(value);
}

static uint64_t get_seed(struct reading *r)
{
    const json_t *value = json_object_get(r->root, "seed");
    if (!json_is_string(value))
        return (uint64_t)get_count(r, r->root, "seed");
    char *end;
    errno = 0;
    uint64_t seed = strtoull(json_string_value(value), &end, 10);
    if ((errno || *end || end == json_string_value(value)) && !r->wrong)
        r->wrong = "seed";
    return seed;
}

static vt_status get_classes(struct reading *r, vt_runinfo *info, vt_error *err)
{
    const json_t *list = json_object_get(r->root, "class_names");
    size_t n = json_array_size(list);
    if (n < 1 || n > CLASSES_MAX) {
        r->wrong = r->wrong ? r->wrong : "class_names";
        return VT_OK;
    }
    const char **names = vt_calloc(n, sizeof *names);
    if (!names)
        return vt_fail(err, VT_ERR_NOMEM, "no memory for the names of %zu classes", n);
    info->memory[1] = names;
    info->class_names = names;
    info->n_classes = (int64_t)n;
    for (size_t i = 0; i < n; i++) {
        names[i] = json_string_value(json_array_get(list, i));
        if (!names[i] && !r->wrong)
            r->wrong = "class_names";
    }
    return VT_OK;
}

vt_status vt_runinfo_parse(vt_runinfo *info, const char *name, const void *json, size_t size,
                           vt_error *err)
{
    json_error_t error;
    *info = (vt_runinfo){0};
    json_t *root = json_loadb(json, size, JSON_REJECT_DUPLICATES, &error);
    info->memory[0] = root;
    if (!json_is_object(root))
        return vt_fail(err, VT_ERR_DATA, "%s: the first record is not a JSON object: %s", name,
                       root ? "another value" : error.text);
    struct reading r = {.root = root};
    int64_t schema = get_count(&r, root, "schema");
    if (!r.wrong && schema != VT_RUNINFO_SCHEMA)
        return vt_fail(err, VT_ERR_DATA,
                       "%s: the run was written in form %lld, and this program knows form %d", name,
                       (long long)schema, VT_RUNINFO_SCHEMA);
    info->exp_name = get_text(&r, "exp_name");
    info->exp_id = get_text(&r, "exp_id");
    info->run_id = get_text(&r, "run_id");
    info->data_digest = get_text(&r, "data_digest");
    info->numerics = get_text(&r, "numerics");
    info->select = get_text(&r, "select");
    info->seed = get_seed(&r);
    info->epochs = get_count(&r, root, "epochs");
    info->steps_per_epoch = get_count(&r, root, "steps_per_epoch");
    for (int i = 0; i < VT_SPLIT_COUNT; i++)
        info->images[i] =
            get_count(&r, json_object_get(root, "images"), vt_split_name((vt_split)i));
    info->n_params = get_count(&r, root, "params");
    info->macs = get_count(&r, root, "macs");
    vt_status status = get_classes(&r, info, err);
    if (status == VT_OK && r.wrong)
        status = vt_fail(err, VT_ERR_DATA,
                         "%s: the first record's '%s' is missing, or not what it should be", name,
                         r.wrong);
    return status;
}

void vt_runinfo_release(vt_runinfo *info)
{
    json_decref(info->memory[0]);
    vt_free(info->memory[1]);
    *info = (vt_runinfo){0};
}
