/* What a run's folder holds beside its outcome: files, attempts, settings that were chosen. */
#include "base/fs.h"
#include "base/mem.h"
#include "config/store.h"
#include "report/show.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { ORIGIN_CAP = 1 << 20, PROVENANCE_CAP = 16 << 20, FILES_MAX = 1000, SHOWN_MAX = 400 };

struct listing {
    json_t *files;
    int dir_fd, depth;
    int64_t bytes; /* of a folder's files */
};

static void add_inner(void *arg, const char *name)
{
    struct listing *inner = arg;
    struct stat file;
    if (fstatat(inner->dir_fd, name, &file, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(file.st_mode))
        inner->bytes += file.st_size;
}

static void add_file(void *arg, const char *name)
{
    struct listing *list = arg;
    char shown[SHOWN_MAX];
    struct stat file;
    if (json_array_size(list->files) >= FILES_MAX ||
        fstatat(list->dir_fd, name, &file, AT_SYMLINK_NOFOLLOW) != 0)
        return;
    struct listing inner = {.bytes = file.st_size, .dir_fd = -1};
    if (S_ISDIR(file.st_mode)) {
        inner.bytes = 0;
        inner.dir_fd = openat(list->dir_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (inner.dir_fd >= 0)
            vt_fs_list(inner.dir_fd, add_inner, &inner, NULL);
        vt_fs_close(&inner.dir_fd);
    }
    vt_text_show(shown, sizeof shown - 1, name);
    if (S_ISDIR(file.st_mode))
        strcat(shown, "/");
    json_array_append_new(list->files, json_pack("{s:o, s:I}", "name", vt_json_text(shown, "?"),
                                                 "bytes", (json_int_t)inner.bytes));
}

static const char *file_name(const json_t *file)
{
    return json_string_value(json_object_get(file, "name"));
}

static int compare_files(const void *a, const void *b)
{
    return strcmp(file_name(*(json_t *const *)a), file_name(*(json_t *const *)b));
}

static void sort_files(json_t *files)
{
    size_t n = json_array_size(files);
    json_t **row = vt_calloc(n + 1, sizeof(json_t *));
    if (!row)
        return;
    for (size_t i = 0; i < n; i++)
        row[i] = json_incref(json_array_get(files, i));
    qsort(row, n, sizeof *row, compare_files);
    for (size_t i = 0; i < n; i++)
        json_array_set_new(files, i, row[i]);
    vt_free(row);
}

static json_t *read_attempts(int fd)
{
    json_t *root = NULL;
    json_t *attempts = NULL;
    if (vt_json_read(fd, "provenance.json", PROVENANCE_CAP, &root, NULL) == VT_OK)
        attempts = json_incref(json_object_get(root, "attempts"));
    json_decref(root);
    if (json_is_array(attempts))
        return attempts;
    json_decref(attempts);
    return json_array();
}

/* A line "  key: value   # origin" of config.origin.txt, cut into its parts; false for others. */
static bool cut_line(char *line, char **key, char **value, char **origin)
{
    char *mark = NULL;
    for (char *at = line; (at = strstr(at, " # ")); at++)
        mark = at;
    *key = line + strspn(line, " ");
    *value = strstr(*key, ": ");
    if (!mark || !*value || *value > mark)
        return false;
    **value = '\0';
    *value += 2;
    *origin = mark + 3;
    while (mark > *value && mark[-1] == ' ')
        mark--;
    *mark = '\0';
    return true;
}

/* A place in a file ("FILE:12:3") or an option, and no default that follows from another key. */
static bool is_chosen(const char *origin)
{
    size_t end = strlen(origin), digits = 0;
    while (end > 0 && origin[end - 1] >= '0' && origin[end - 1] <= '9') {
        end--;
        digits++;
    }
    return strncmp(origin, "--", 2) == 0 || (digits && end > 0 && origin[end - 1] == ':');
}

static const char *keep(vt_store *store, const char *text)
{
    size_t size = strlen(text) + 1;
    char *copy = vt_store_take(store, size);
    if (copy)
        vt_text_show(copy, size, text);
    return copy;
}

static void read_changed(vt_run_details *d, int fd, vt_store *store)
{
    char *text = NULL, *key, *value, *origin, path[256], section[128] = "";
    size_t size = 0;
    int lines = 1;
    if (vt_fs_read_file(fd, "config.origin.txt", ORIGIN_CAP, &text, &size, NULL) != VT_OK)
        return;
    for (size_t i = 0; i < size; i++)
        lines += text[i] == '\n';
    d->changed = vt_store_take(store, (size_t)lines * sizeof *d->changed);
    d->origin = vt_store_take(store, (size_t)lines * sizeof *d->origin);
    for (char *line = text, *next; d->changed && d->origin && line && *line; line = next) {
        next = strchr(line, '\n');
        if (next)
            *next++ = '\0';
        if (*line && *line != ' ')
            snprintf(section, sizeof section, "%.*s", (int)strcspn(line, ":"), line);
        bool inside = *line == ' ';
        if (!cut_line(line, &key, &value, &origin) || !is_chosen(origin))
            continue;
        snprintf(path, sizeof path, "%.100s%s%.120s", inside ? section : "", inside ? "." : "",
                 key);
        d->changed[d->n_changed] = (vt_setting){keep(store, path), keep(store, value)};
        d->origin[d->n_changed++] = keep(store, origin);
    }
    vt_free(text);
}

vt_status vt_run_details_read(vt_run_details *d, const vt_outcome *o, vt_error *err)
{
    vt_store *store = vt_calloc(1, sizeof *store);
    int follow = *o->place.exp ? O_NOFOLLOW : 0;
    struct listing list = {.files = json_array()};
    *d = (vt_run_details){.memory = store, .files = list.files};
    list.dir_fd = open(o->place.path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | follow);
    if (store && list.dir_fd >= 0) {
        vt_fs_list(list.dir_fd, add_file, &list, NULL);
        sort_files(list.files);
        d->attempts = read_attempts(list.dir_fd);
        read_changed(d, list.dir_fd, store);
    } else {
        d->attempts = json_array();
    }
    vt_fs_close(&list.dir_fd);
    if (!store || store->failed || !d->files || !d->attempts)
        return vt_fail(err, VT_ERR_NOMEM, "no memory to describe a run");
    return VT_OK;
}

void vt_run_details_release(vt_run_details *d)
{
    if (d->memory)
        vt_store_release(d->memory);
    vt_free(d->memory);
    json_decref(d->files);
    json_decref(d->attempts);
    *d = (vt_run_details){0};
}

/* A member that may be of any kind, for printing. */
static const char *show_text(const json_t *object, const char *key, char text[64])
{
    vt_text_show(text, 64, json_string_value(json_object_get(object, key)));
    return *text ? text : "?";
}

static void print_attempt(const json_t *attempt, size_t number, vt_text *text)
{
    char start[64], state[64], host[64], duration[VT_DURATION_TEXT];
    const json_t *where = json_object_get(attempt, "host"), *wall = NULL, *last = NULL;
    wall = json_object_get(attempt, "wall_s");
    last = json_object_get(attempt, "last_step");
    vt_text_printf(text, "%-8s %zu  %s  %s", number == 1 ? "attempts" : "", number,
                   show_text(attempt, "start_utc", start), show_text(attempt, "state", state));
    if (json_is_number(wall))
        vt_text_printf(text, " after %s", vt_duration_text(json_number_value(wall), duration));
    vt_text_printf(text, ", from step %lld",
                   (long long)json_integer_value(json_object_get(attempt, "first_step")));
    if (json_is_integer(last))
        vt_text_printf(text, " to %lld", (long long)json_integer_value(last));
    vt_text_printf(text, ", on %s with %lld threads\n", show_text(where, "name", host),
                   (long long)json_integer_value(json_object_get(where, "threads")));
}

void vt_run_details_print(const vt_run_details *d, vt_text *text)
{
    char bytes[VT_COUNT_TEXT];
    size_t i;
    json_t *item;
    for (int k = 0; k < d->n_changed; k++)
        vt_text_printf(text, "%-8s %-28s %-24s %s\n", k ? "" : "settings", d->changed[k].key,
                       d->changed[k].value, d->origin[k]);
    json_array_foreach(d->attempts, i, item)
    {
        print_attempt(item, i + 1, text);
    }
    json_array_foreach(d->files, i, item)
    {
        vt_text_printf(text, "%-8s %-28s %s\n", i ? "" : "files", file_name(item),
                       vt_bytes_text(json_integer_value(json_object_get(item, "bytes")), bytes));
    }
}

vt_status vt_run_details_add(const vt_run_details *d, const vt_outcome *o, json_t *run,
                             vt_error *err)
{
    json_t *settings = json_object(), *changed = json_object();
    for (int i = 0; i < o->n_settings; i++)
        json_object_set_new(settings, o->setting[i].key, vt_json_text(o->setting[i].value, NULL));
    for (int i = 0; i < d->n_changed; i++)
        json_object_set_new(changed, d->changed[i].key,
                            json_pack("{s:o, s:o}", "value",
                                      vt_json_text(d->changed[i].value, NULL), "origin",
                                      vt_json_text(d->origin[i], NULL)));
    int failed = json_object_set_new(run, "settings", settings) |
                 json_object_set_new(run, "changed", changed) |
                 json_object_set(run, "files", d->files) |
                 json_object_set(run, "attempts", d->attempts);
    return failed ? vt_fail(err, VT_ERR_NOMEM, "no memory to describe a run") : VT_OK;
}
