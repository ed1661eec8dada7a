#include "train/tensorboard.h"

#include "base/log.h"
#include "graph/graphdef.h"
#include "results/events.h"
#include "results/runinfo.h"
#include "train/engine.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

vt_status vt_tensorboard_graph(const vt_config *config, vt_text *graph, vt_error *err)
{
    vt_engine engine = {0};
    vt_engine_add_slot(&engine, 1, false);
    vt_status status = vt_engine_plan(&engine, config, err);
    if (status == VT_OK)
        vt_graphdef_write(engine.slot[0].model.graph, graph);
    vt_engine_release(&engine);
    return status;
}

/* The network as config.yaml says it; what it cannot say is left out of the export. */
static void describe_network(const char *run_path, vt_text *graph)
{
    char path[PATH_MAX + 16];
    vt_config *config = NULL;
    vt_diagnostics diags = {0};
    vt_error err = {0};
    const vt_config_overrides none = {0};
    snprintf(path, sizeof path, "%s/config.yaml", run_path);
    vt_status status = vt_config_load(&config, path, NULL, 0, &none, &diags);
    if (status != VT_OK)
        vt_fail(&err, status, "%s", diags.text.data ? diags.text.data : "no memory");
    else
        status = vt_tensorboard_graph(config, graph, &err);
    if (status != VT_OK)
        vt_log_write(VT_LOG_WARNING, "exported without the graph: %s", err.text);
    vt_config_free(config);
    vt_diagnostics_release(&diags);
}

static vt_status take_names(void *arg, const vt_record *record, vt_error *err)
{
    char *below = arg;
    vt_runinfo info;
    if (record->type != VT_RECORD_RUN)
        return VT_OK;
    vt_status status = vt_runinfo_parse(&info, "journal", record->payload, record->size, err);
    if (status == VT_OK && (!vt_fs_name_ok(info.exp_name) || !vt_fs_name_ok(info.run_id)))
        status = vt_fail(err, VT_ERR_DATA, "the journal's names cannot be those of folders");
    if (status == VT_OK)
        snprintf(below, PATH_MAX, "%s/%s", info.exp_name, info.run_id);
    vt_runinfo_release(&info);
    return status;
}

static vt_status publish(const char *out, const char *below, const vt_text *file, vt_error *err)
{
    int out_fd = -1, fd = -1;
    if (mkdir(out, 0777) != 0 && errno != EEXIST)
        return vt_fail(err, VT_ERR_CANTCREATE, "%s: cannot make the folder: %s", out,
                       strerror(errno));
    vt_status status = vt_fs_open_dir(AT_FDCWD, out, &out_fd, err);
    if (status == VT_OK)
        status = vt_fs_make_dirs(out_fd, below, &fd, err);
    if (status == VT_OK)
        status = vt_fs_publish(fd, VT_EVENTS_FILE, file->data, file->size, err);
    vt_fs_close(&fd);
    vt_fs_close(&out_fd);
    return status;
}

vt_status vt_tensorboard_export(const vt_run_place *place, const char *out, char written[PATH_MAX],
                                vt_error *err)
{
    char below[PATH_MAX] = "";
    vt_text graph = {0}, file = {0};
    int run_fd = -1;
    vt_status status = vt_fs_open_dir(AT_FDCWD, place->path, &run_fd, err);
    if (status == VT_OK)
        status = vt_journal_read(run_fd, take_names, below, NULL, err);
    if (status == VT_OK && !below[0])
        status = vt_fail(err, VT_ERR_DATA, "%s: its journal holds no record yet", place->path);
    if (status == VT_OK) {
        describe_network(place->path, &graph);
        status = vt_events_make(run_fd, &graph, &file, err);
    }
    if (status == VT_OK)
        status = publish(out, below, &file, err);
    snprintf(written, PATH_MAX, "%.*s/%.*s/" VT_EVENTS_FILE, PATH_MAX / 2, out, PATH_MAX / 3,
             below);
    vt_fs_close(&run_fd);
    vt_text_release(&graph);
    vt_text_release(&file);
    return status;
}
