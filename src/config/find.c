/* EXP of the command line: a name below experiments/, or a path. */
#include "config/diag.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define FOLDER "experiments"

enum { NAMES_MAX = 200, NAME_SIZE = 128, FOLDER_DEPTH = 4 };

typedef struct name_list {
    int n;
    char name[NAMES_MAX][NAME_SIZE];
} name_list;

static bool ends_with(const char *text, const char *end)
{
    size_t n = strlen(text), m = strlen(end);
    return n > m && strcmp(text + n - m, end) == 0;
}

static bool is_file(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0 && !S_ISDIR(info.st_mode);
}

/* Names of the experiments below FOLDER/below; base/ holds parts, not experiments. */
static void list_names(name_list *list, const char *below, int depth)
{
    char path[NAME_SIZE * 2], name[NAME_SIZE];
    snprintf(path, sizeof path, FOLDER "/%s", below);
    DIR *dir = depth < FOLDER_DEPTH ? opendir(path) : NULL;
    for (struct dirent *entry; dir && list->n < NAMES_MAX && (entry = readdir(dir));) {
        int size = snprintf(name, sizeof name, "%s%s%s", below, *below ? "/" : "", entry->d_name);
        struct stat info;
        if (entry->d_name[0] == '.' || size >= NAME_SIZE || strcmp(name, "base") == 0)
            continue;
        snprintf(path, sizeof path, FOLDER "/%s", name);
        if (stat(path, &info) != 0)
            continue;
        if (S_ISDIR(info.st_mode))
            list_names(list, name, depth + 1);
        else if (ends_with(name, ".yaml") && list->n < NAMES_MAX)
            snprintf(list->name[list->n++], NAME_SIZE, "%.*s", size - 5, name);
    }
    if (dir)
        closedir(dir);
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(a, b);
}

static void report_missing(const char *exp, vt_diagnostics *diags)
{
    name_list list = {0};
    const char *names[NAMES_MAX];
    vt_text hint = {0};
    list_names(&list, "", 0);
    qsort(list.name, (size_t)list.n, sizeof *list.name, compare_names);
    for (int i = 0; i < list.n; i++)
        names[i] = list.name[i];
    char word[NAME_SIZE];
    snprintf(word, sizeof word, "%s", strncmp(exp, FOLDER "/", 12) == 0 ? exp + 12 : exp);
    if (ends_with(word, ".yaml"))
        word[strlen(word) - 5] = '\0';
    const char *near = vt_suggest(word, names, list.n);
    if (near)
        vt_text_printf(&hint, "did you mean '%s'?  ", near);
    vt_text_printf(&hint, list.n ? "(experiments: " : "(no experiments in " FOLDER "/ here");
    for (int i = 0; i < list.n; i++)
        vt_text_printf(&hint, "%s%s", i ? ", " : "", list.name[i]);
    vt_text_printf(&hint, ")");
    vt_report(diags, VT_ERR_NOINPUT, NULL, hint.data,
              "no experiment '%.200s': neither " FOLDER "/%.200s%s nor such a file", exp, exp,
              ends_with(exp, ".yaml") ? "" : ".yaml");
    vt_text_release(&hint);
}

vt_status vt_config_find(const char *exp, char *path, size_t path_size, vt_diagnostics *diags)
{
    enum { NAME, PATH, PATH_BELOW, FORMS };
    bool is_path = ends_with(exp, ".yaml") || ends_with(exp, ".yml");
    for (const char *c = exp; *c; c++) {
        if ((unsigned char)*c < 0x20 || *c == 0x7f) {
            vt_report(diags, VT_ERR_USAGE, NULL, NULL,
                      "the experiment's name holds a control character (0x%02x)",
                      (unsigned char)*c);
            return VT_ERR_USAGE;
        }
    }
    for (int form = is_path ? PATH : NAME; *exp && form < FORMS; form++) {
        int size = snprintf(path, path_size, "%s%s%s", form == PATH ? "" : FOLDER "/", exp,
                            form == NAME ? ".yaml" : "");
        if (size < 0 || (size_t)size >= path_size) {
            vt_report(diags, VT_ERR_USAGE, NULL, NULL, "the experiment's path is longer than %zu",
                      path_size - 1);
            return VT_ERR_USAGE;
        }
        if (is_file(path))
            return VT_OK;
    }
    report_missing(exp, diags);
    return VT_ERR_NOINPUT;
}
