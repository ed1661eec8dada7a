#include "results/draw.h"

#include "base/fs.h"
#include "base/mem.h"
#include "results/gnuplot.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { TEMPLATE_CAP = 1 << 20, FIGURE_NAME = VT_NAME_MAX + 16 };

static const char *const format_names[] = {
#define X(format) #format,
    VT_FORMATS(X)
#undef X
};

enum { N_FORMATS = sizeof format_names / sizeof *format_names };

/* The flag of format i. */
static bool wanted(const vt_formats *formats, int i)
{
    const bool flags[] = {
#define X(format) formats->format,
        VT_FORMATS(X)
#undef X
    };
    return flags[i];
}

vt_status vt_formats_parse(vt_formats *formats, const char *text, vt_error *err)
{
    bool *const flags[] = {
#define X(format) &formats->format,
        VT_FORMATS(X)
#undef X
    };
    for (const char *word = text ? text : "svg,png,pdf";; word++) {
        size_t size = strcspn(word, ","), i = 0;
        while (i < N_FORMATS &&
               (strlen(format_names[i]) != size || strncmp(format_names[i], word, size) != 0))
            i++;
        if (i == N_FORMATS)
            return vt_fail(err, VT_ERR_USAGE,
                           "--format takes svg, png and pdf with commas between, not '%.*s'",
                           (int)size, word);
        *flags[i] = true;
        word += size;
        if (!*word)
            return VT_OK;
    }
}

const char *vt_formats_text(const vt_formats *formats, char text[VT_FORMATS_TEXT])
{
    *text = '\0';
    for (int i = 0; i < N_FORMATS; i++)
        if (wanted(formats, i))
            strcat(strcat(text, *text ? " " : ""), format_names[i]);
    return text;
}

static vt_status read_template(int dir_fd, const char *name, vt_text *text, vt_error *err)
{
    char *bytes = NULL;
    size_t size = 0;
    vt_status status = vt_fs_read_file(dir_fd, name, TEMPLATE_CAP, &bytes, &size, err);
    if (status == VT_OK)
        vt_text_append(text, bytes, size);
    vt_free(bytes);
    return status;
}

vt_status vt_draw_templates(vt_text *text, const char *name, vt_error *err)
{
    const char *const names[] = {"style.gp", name};
    /* From the folder of this program: build/MODE in the source tree, bin where it is installed. */
    static const char *const places[] = {"plots", "../../plots", "../share/vitrine/plots"};
    char path[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", path, sizeof path - 64);
    path[n > 0 ? n : 0] = '\0';
    char *slash = strrchr(path, '/'), *end = slash ? slash + 1 : path;
    for (int i = 0; i < 3; i++) {
        vt_status status = VT_OK;
        int fd = -1;
        snprintf(end, 64, "%s", places[i]);
        if (vt_fs_open_dir(AT_FDCWD, i ? path : places[0], &fd, NULL) != VT_OK)
            continue;
        bool here = vt_fs_exists(fd, names[0]) && vt_fs_exists(fd, names[1]);
        for (int k = 0; k < 2 && here && status == VT_OK; k++)
            status = read_template(fd, names[k], text, err);
        vt_fs_close(&fd);
        if (here)
            return status;
    }
    return vt_fail(err, VT_ERR_NOINPUT,
                   "the templates plots/style.gp and plots/%s are neither in ./plots nor beside "
                   "this program (%s)",
                   name, path);
}

vt_status vt_draw_publish(int dir_fd, const char *name, const vt_text *text, vt_error *err)
{
    if (text->failed)
        return vt_fail(err, VT_ERR_NOMEM, "no memory for %s", name);
    return vt_fs_publish(dir_fd, name, text->data ? text->data : "", text->size, err);
}

/* Each expected file must be there, and go by the same bytes for the same data. */
static vt_status finish_files(const vt_drawer *drawer, int dir_fd, const char *folder,
                              const char *name, vt_error *err)
{
    vt_status status = VT_OK;
    for (int i = 0; i < N_FORMATS && status == VT_OK; i++) {
        char file[FIGURE_NAME];
        int fd = -1;
        int64_t size = 0;
        if (!wanted(&drawer->formats, i))
            continue;
        snprintf(file, sizeof file, "%s.%s", name, format_names[i]);
        status = vt_fs_open_read(dir_fd, file, &fd, &size, err);
        vt_fs_close(&fd);
        if (status == VT_OK && size == 0)
            status = vt_fail(err, VT_ERR_HELPER, "gnuplot left %s/%s empty", folder, file);
        if (status == VT_OK && strcmp(format_names[i], "pdf") == 0)
            status = vt_gnuplot_undate(dir_fd, file, err);
        if (status == VT_OK && drawer->list)
            fprintf(drawer->list, "%s/%s\n", folder, file);
    }
    return status;
}

vt_status vt_draw_figure(vt_drawer *drawer, int dir_fd, const char *folder, const char *name,
                         const vt_text *numbers, const vt_text *templates, vt_error *err)
{
    char file[FIGURE_NAME];
    vt_text script = {.failed = numbers->failed || templates->failed};
    vt_error failure = {0};
    snprintf(file, sizeof file, "%s.gp", name);
    vt_text_printf(&script, "# Made by `%s`. To draw it again: gnuplot -d %s\n\n", drawer->maker,
                   file);
    vt_text_append(&script, numbers->data, numbers->size);
    vt_text_append(&script, templates->data, templates->size);
    vt_status status = vt_draw_publish(dir_fd, file, &script, err);
    vt_text_release(&script);
    if (status != VT_OK || drawer->no_gnuplot.status != VT_OK)
        return status;
    status = vt_gnuplot_run(dir_fd, file, &failure);
    if (status == VT_OK)
        return finish_files(drawer, dir_fd, folder, name, err);
    if (status == VT_ERR_HELPER) {
        drawer->no_gnuplot = failure;
        return VT_OK;
    }
    return vt_fail(err, status, "%s", failure.text);
}

vt_status vt_draw_finish(const vt_drawer *drawer, vt_error *err)
{
    if (drawer->no_gnuplot.status == VT_OK)
        return VT_OK;
    return vt_fail(err, VT_ERR_HELPER, "%s; the data and scripts of all figures are kept",
                   drawer->no_gnuplot.text);
}
