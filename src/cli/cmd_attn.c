/* vitrine attn: where a run's attention lies, over the images. */
#include "base/log.h"
#include "base/mem.h"
#include "cli/cmd.h"
#include "cli/options.h"
#include "report/attention_figure.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>

enum { SHOW = 8, SHOW_MEAN = 4 };

struct request {
    vt_trained_request trained;
    vt_text_values files;
    vt_option_u64 epoch, layer, head, number, show;
    vt_formats formats;
    bool kinds[VT_ATTENTION_COUNT];
    const char *out;
    bool json, narrow, smooth;
};

static vt_status parse_kinds(const char *text, bool kinds[VT_ATTENTION_COUNT])
{
    char word[16];
    for (const char *at = text ? text : "mean,rollout";; at++) {
        size_t size = strcspn(at, ",");
        snprintf(word, sizeof word, "%.*s", (int)size, at);
        vt_attention_kind kind = vt_attention_kind_of(word);
        if (kind == VT_ATTENTION_COUNT)
            return vt_usage_error("attn",
                                  "--kind takes maps, mean and rollout with commas between, "
                                  "not '%.*s'",
                                  (int)size, at);
        kinds[kind] = true;
        at += size;
        if (!*at)
            return VT_OK;
    }
}

/* The images to show; their number, or -1 if the one that was asked for is not there. */
static int64_t choose(const struct request *r, const vt_attention_set *set, int64_t most,
                      int64_t *images)
{
    if (!r->number.given)
        return vt_attention_choose(set, most, images);
    for (int64_t i = 0; i < set->n; i++)
        if (!set->image[i].file && set->image[i].number == (int64_t)r->number.value) {
            images[0] = i;
            return 1;
        }
    return -1;
}

static vt_status open_out(const struct request *r, int run_fd, int *fd, vt_error *err)
{
    return r->out ? vt_fs_open_dir(AT_FDCWD, r->out, fd, err)
                  : vt_fs_make_dirs(run_fd, "plots", fd, err);
}

/* A figure of each kind; maps: one for each image file, or for the first image chosen. */
static vt_status draw_kind(vt_drawer *drawer, int fd, const char *folder, const struct request *r,
                           const vt_attention_set *set, vt_attention_kind kind, int64_t *images,
                           vt_error *err)
{
    static const char *const names[] = {
#define X(kind) #kind,
        VT_ATTENTION_KINDS(X)
#undef X
    };
    char name[64];
    int64_t most = r->show.given               ? (int64_t)r->show.value
                   : kind == VT_ATTENTION_mean ? SHOW_MEAN
                                               : SHOW;
    bool live = r->files.n > 0, maps = kind == VT_ATTENTION_maps;
    int64_t n = choose(r, set, live || most > set->n ? set->n : most, images);
    if (n < 0)
        return vt_fail(err, VT_ERR_NOINPUT, "test image %llu was not captured",
                       (unsigned long long)r->number.value);
    if (set->n_layers == 0 || (kind == VT_ATTENTION_rollout && !set->has_rollout)) {
        vt_log_write(VT_LOG_WARNING, "no rollout: the layers' grids do not follow each other");
        return VT_OK;
    }
    vt_status status = VT_OK;
    for (int64_t i = 0; i < (maps && live ? n : 1) && status == VT_OK; i++) {
        const vt_attention_view view = {.kind = kind,
                                        .name = name,
                                        .layer = r->layer.given ? (int64_t)r->layer.value : -1,
                                        .head = r->head.given ? (int64_t)r->head.value : -1,
                                        .images = images + i,
                                        .n_images = maps ? 1 : n,
                                        .narrow = r->narrow,
                                        .smooth = r->smooth};
        if (maps)
            snprintf(name, sizeof name, "attention_%s_%s%lld", names[kind], live ? "file" : "",
                     (long long)set->image[images[i]].number);
        else
            snprintf(name, sizeof name, "attention_%s%s", names[kind], live ? "_files" : "");
        status = vt_attention_figure(drawer, fd, folder, set, &view, err);
    }
    return status;
}

static vt_status draw(const struct request *r, const vt_trained *t, const vt_attention_set *set,
                      vt_error *err)
{
    char folder[PATH_MAX + 8];
    vt_drawer drawer = {.formats = r->formats, .maker = "vitrine attn", .list = stdout};
    int fd = -1;
    int64_t *images = vt_calloc((size_t)set->n, sizeof *images);
    if (!images)
        return vt_fail(err, VT_ERR_NOMEM, "no memory for %lld images", (long long)set->n);
    vt_status status = open_out(r, t->fd, &fd, err);
    if (r->out)
        snprintf(folder, sizeof folder, "%s", r->out);
    else
        snprintf(folder, sizeof folder, "%s/plots", t->place.path);
    for (int kind = 0; kind < VT_ATTENTION_COUNT && status == VT_OK; kind++)
        if (r->kinds[kind])
            status = draw_kind(&drawer, fd, folder, r, set, (vt_attention_kind)kind, images, err);
    if (status == VT_OK)
        status = vt_draw_finish(&drawer, err);
    vt_fs_close(&fd);
    vt_free(images);
    return status;
}

static vt_status print_json(const vt_trained *t, const vt_attention_set *set, bool live,
                            vt_error *err)
{
    vt_text text = {0};
    json_t *root =
        json_pack("{s:i, s:s, s:s, s:o, s:o}", "schema", 1, "run_id", t->history.info.run_id,
                  "experiment", t->history.info.exp_name, "weights",
                  live ? vt_trained_json(t) : json_null(), "attention", vt_attention_json(set));
    vt_status status = vt_json_print(&text, root, err);
    if (status == VT_OK)
        fwrite(text.data, 1, text.size, stdout);
    vt_text_release(&text);
    return status;
}

static vt_status show(const struct request *r, vt_error *err)
{
    vt_trained trained = {0};
    vt_attention_set set = {0};
    bool live = r->files.n > 0;
    vt_status status = vt_trained_find(&trained, &r->trained, err);
    if (status == VT_OK && live)
        status = vt_trained_device(&trained, err);
    if (status == VT_OK)
        status = live ? vt_attention_compute(&set, &trained, r->files.v, r->files.n, err)
                      : vt_attention_read(&set, trained.fd, trained.place.path, &trained.history,
                                          r->epoch.given ? (int64_t)r->epoch.value : -1, err);
    if (status == VT_OK)
        status = r->json ? print_json(&trained, &set, live, err) : draw(r, &trained, &set, err);
    vt_attention_release(&set);
    vt_trained_release(&trained);
    return status;
}

static vt_status check(const struct request *r)
{
    const vt_option_u64 *numbers[] = {&r->epoch, &r->layer, &r->head, &r->number, &r->show};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        if (numbers[i]->value > INT32_MAX)
            return vt_usage_error("attn", "%llu is too large",
                                  (unsigned long long)numbers[i]->value);
    if (r->show.given && r->show.value == 0)
        return vt_usage_error("attn", "--show is 1 or more");
    if (r->files.n && (r->epoch.given || r->number.given))
        return vt_usage_error("attn", "--epoch and --number choose captured images, and --image is "
                                      "none of them");
    return VT_OK;
}

vt_status vt_cmd_attn(int argc, char **argv)
{
    const char *kinds = NULL, *formats = NULL, *which = NULL;
    struct request r = {0};
    vt_common_options common = {0};
    const vt_option options[] = {
        {"kind", 0, "LIST", VT_OPTION_TEXT, &kinds,
         "of maps (each head), mean (of the heads), rollout (default: mean,rollout)"},
        {"image", 'i', "FILE", VT_OPTION_TEXTS, &r.files,
         "look at this picture (JPEG, PNG) with the run's weights; may be repeated"},
        VT_WHICH_OPTION(which),
        {"epoch", 0, "N", VT_OPTION_U64, &r.epoch, "capture of this epoch (default: the newest)"},
        {"number", 0, "N", VT_OPTION_U64, &r.number, "captured test image number N alone"},
        {"show", 0, "N", VT_OPTION_U64, &r.show,
         "up to N captured images, half of them wrong ones (default: 8; mean 4)"},
        {"layer", 0, "L", VT_OPTION_U64, &r.layer, "this layer with attention alone, from 0"},
        {"head", 0, "H", VT_OPTION_U64, &r.head, "maps: this head alone, from 0"},
        {"narrow", 0, NULL, VT_OPTION_SWITCH, &r.narrow, "3.3 inches wide (default: 6.9)"},
        {"smooth", 0, NULL, VT_OPTION_SWITCH, &r.smooth,
         "bilinear maps (default: each token's area as it is)"},
        {"format", 0, "LIST", VT_OPTION_TEXT, &formats, "of svg, png, pdf (default: all)"},
        {"out", 'o', "DIR", VT_OPTION_TEXT, &r.out, "write there (default: the run's plots/)"},
        {"json", 0, NULL, VT_OPTION_SWITCH, &r.json, "print the values as JSON, draw nothing"},
        {"threads", 0, "N", VT_OPTION_U64, &common.threads, "threads; 0 = all cores"},
        VT_RESULTS_OPTION(common),
        VT_COMMON_OPTIONS(common),
        VT_OPTION_END,
    };
    const vt_usage usage = {
        .verb = "attn",
        .arguments = "RUN",
        .about =
            "Draws where attention lies, over the images that the run captured\n"
            "(attention.images) or over pictures of yours: maps of each layer and head, their\n"
            "mean, and attention rollout, with windows and groups put back where their tokens\n"
            "are. docs/attention.md has the formulas. " VT_RUN_HELP,
        .options = options,
        .min_arguments = 1,
        .max_arguments = 1};
    vt_arguments arguments = {0};
    vt_error err = {0};
    vt_status status = vt_options_parse(&usage, &common, argc, argv, &arguments);
    if (status != VT_OK || common.help)
        return status;
    status = check(&r);
    if (status == VT_OK)
        status = parse_kinds(kinds, r.kinds);
    if (status == VT_OK)
        status = vt_options_which("attn", which, &r.trained.last);
    if (status != VT_OK)
        return status;
    if (vt_formats_parse(&r.formats, formats, &err) != VT_OK)
        return vt_usage_error("attn", "%s", err.text);
    status = vt_options_trained(&common, arguments.v[0], &r.trained, &err);
    if (status == VT_OK)
        status = show(&r, &err);
    if (status != VT_OK)
        vt_log_write(VT_LOG_ERROR, "%s", err.text);
    return status;
}
