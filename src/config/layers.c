/* Files, --set and the command's options, laid over each other. */
#include "config/parts.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* A file whose `extends` are being read: a name that comes again is a cycle. */
typedef struct open_file {
    const struct open_file *parent;
    const char *path;
    dev_t device;
    ino_t inode;
} open_file;

enum { PATH_SIZE = 128 };

static vt_source *new_source(vt_loading *l, const char *name, const char *text, size_t size,
                             enum vt_source_kind kind)
{
    vt_source *source = vt_store_take(&l->parts->store, sizeof *source);
    if (source)
        *source = (vt_source){name, text, size, kind};
    return source;
}

static void assign_field(vt_loading *l, int key, const vt_yaml *node, int layer, bool only_empty)
{
    vt_slot *slot = &l->parts->slot[key];
    if (only_empty && slot->node)
        return;
    if (node->kind == VT_YAML_SCALAR && vt_yaml_type(node) == VT_YAML_NULL) {
        if (*node->text == '\0')
            vt_report(l->diags, VT_ERR_CONFIG, &node->mark, "write null for the default",
                      "'%s' has no value", vt_fields[key].path);
        else
            *slot = (vt_slot){0};
        return;
    }
    *slot = (vt_slot){.node = node, .layer = layer};
    /* Read here, so that a value which a later layer replaces is checked too. */
    char *member = (char *)l->config + vt_fields[key].offset;
    slot->bad = !vt_value_read(&vt_fields[key], node, member, &l->parts->store, l->diags);
}

static void report_unknown(vt_loading *l, const vt_yaml *key, const char *section, const char *leaf)
{
    vt_text hint = {0};
    l->incomplete = true;
    if (strcmp(leaf, "<<") == 0)
        vt_text_printf(&hint, "there are no merge keys; use `extends` to share parts");
    else if (!*section && vt_field_find(leaf, strlen(leaf)) >= 0)
        vt_text_printf(&hint, "dotted keys are for --set; write `%.*s: { %s: ... }`",
                       (int)strcspn(leaf, "."), leaf, strchr(leaf, '.') + 1);
    else
        vt_field_suggest(section, leaf, &hint);
    if (*section)
        vt_report(l->diags, VT_ERR_CONFIG, &key->mark, hint.data, "unknown key '%.60s' in '%s'",
                  leaf, section);
    else
        vt_report(l->diags, VT_ERR_CONFIG, &key->mark, hint.data, "unknown key '%.60s'", leaf);
    vt_text_release(&hint);
}

/* `section` is "" at the top. */
static void assign_entry(vt_loading *l, const char *section, const vt_yaml *key,
                         const vt_yaml *value, int layer, bool only_empty)
{
    char path[PATH_SIZE];
    const char *leaf = key->text;
    int size = snprintf(path, sizeof path, "%s%s%s", section, *section ? "." : "", leaf);
    int field = size < PATH_SIZE && (*section || !strchr(leaf, '.'))
                    ? vt_field_find(path, (size_t)size)
                    : -1;
    if (field >= 0) {
        assign_field(l, field, value, layer, only_empty);
        return;
    }
    if (*section || !vt_section_exists(leaf)) {
        report_unknown(l, key, section, leaf);
        return;
    }
    if (value->kind == VT_YAML_MAP) {
        for (int i = 0; i < value->n; i++)
            assign_entry(l, leaf, value->key[i], value->item[i], layer, only_empty);
        return;
    }
    if (value->kind == VT_YAML_SCALAR && vt_yaml_type(value) == VT_YAML_NULL)
        return; /* a section whose keys are all commented out */
    vt_text given = {0};
    vt_yaml_describe(value, &given);
    vt_report(l->diags, VT_ERR_CONFIG, &value->mark, NULL, "'%s' holds keys and values, not %s",
              leaf, given.data ? given.data : "this");
    vt_text_release(&given);
}

void vt_layers_assign(vt_loading *l, const vt_yaml *map, int layer, bool only_empty)
{
    for (int i = 0; i < map->n; i++)
        if (strcmp(map->key[i]->text, "extends") != 0)
            assign_entry(l, "", map->key[i], map->item[i], layer, only_empty);
}

/* The whole file, terminated, in the store; NULL after an error. */
static char *read_file(vt_loading *l, open_file *file, size_t *size, const vt_mark *named_at)
{
    char *text = NULL;
    struct stat info;
    size_t done = 0;
    /* Non-blocking: a pipe in place of the file must not stop the program. */
    int fd = open(file->path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd < 0 || fstat(fd, &info) != 0) {
        vt_report(l->diags, VT_ERR_NOINPUT, named_at, NULL, "cannot open '%s': %s", file->path,
                  strerror(errno));
        goto done;
    }
    if (!S_ISREG(info.st_mode)) {
        vt_report(l->diags, VT_ERR_NOINPUT, named_at, NULL, "'%s' is %s, not a file", file->path,
                  S_ISDIR(info.st_mode) ? "a folder" : "a device, pipe or socket");
        goto done;
    }
    file->device = info.st_dev;
    file->inode = info.st_ino;
    if (info.st_size > VT_YAML_MAX_BYTES) {
        vt_report(l->diags, VT_ERR_CONFIG, named_at, NULL,
                  "'%s' has %lld bytes; an experiment file has at most %d", file->path,
                  (long long)info.st_size, VT_YAML_MAX_BYTES);
        goto done;
    }
    text = vt_store_take(&l->parts->store, (size_t)info.st_size + 1);
    while (text && done < (size_t)info.st_size) {
        ssize_t n = read(fd, text + done, (size_t)info.st_size - done);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            vt_report(l->diags, VT_ERR_IO, named_at, NULL, "cannot read '%s': %s", file->path,
                      strerror(errno));
            text = NULL;
        }
        if (n <= 0)
            break;
        done += (size_t)n;
    }
    *size = done;
done:
    if (fd >= 0)
        close(fd);
    return text;
}

static void read_layer(vt_loading *l, const char *path, const open_file *parent,
                       const vt_mark *named_at);

/* `name` is relative to the folder of the file that names it. */
static void read_parent(vt_loading *l, const open_file *file, const vt_yaml *name)
{
    if (name->kind != VT_YAML_SCALAR || vt_yaml_type(name) != VT_YAML_TEXT || !*name->text) {
        vt_report(l->diags, VT_ERR_CONFIG, &name->mark, NULL,
                  "'extends' needs a file or a list of files");
        return;
    }
    const char *slash = strrchr(file->path, '/');
    int folder = slash && *name->text != '/' ? (int)(slash - file->path + 1) : 0;
    const char *path = vt_store_printf(&l->parts->store, "%.*s%s", folder, file->path, name->text);
    if (path)
        read_layer(l, path, file, &name->mark);
}

static bool check_cycle(vt_loading *l, const open_file *file, const vt_mark *named_at)
{
    for (const open_file *above = file->parent; above; above = above->parent) {
        if (above->device != file->device || above->inode != file->inode)
            continue;
        vt_text chain = {0};
        vt_text_printf(&chain, "%s", file->path);
        for (const open_file *link = file->parent; link; link = link->parent) {
            vt_text_printf(&chain, " <- %s", link->path);
            if (link == above)
                break;
        }
        vt_report(l->diags, VT_ERR_CONFIG, named_at, chain.data, "'extends' comes back to '%s'",
                  file->path);
        vt_text_release(&chain);
        return false;
    }
    return true;
}

static void read_layer(vt_loading *l, const char *path, const open_file *parent,
                       const vt_mark *named_at)
{
    open_file file = {.parent = parent, .path = path};
    size_t size = 0;
    if (++l->n_files > VT_FILES_MAX) {
        if (l->n_files == VT_FILES_MAX + 1)
            vt_report(l->diags, VT_ERR_CONFIG, named_at, NULL, "more than %d files by 'extends'",
                      VT_FILES_MAX);
        return;
    }
    char *text = read_file(l, &file, &size, named_at);
    if (!text || !check_cycle(l, &file, named_at))
        return;
    vt_source *source = new_source(l, path, text, size, VT_SOURCE_FILE);
    vt_yaml *root = source ? vt_yaml_parse(source, 0, &l->parts->store, l->diags) : NULL;
    l->incomplete |= !root;
    if (!root)
        return;
    if (root->kind == VT_YAML_SCALAR && vt_yaml_type(root) == VT_YAML_NULL)
        return;
    if (root->kind != VT_YAML_MAP) {
        vt_report(l->diags, VT_ERR_CONFIG, &root->mark, NULL,
                  "an experiment file holds `key: value` lines, not %s",
                  root->kind == VT_YAML_LIST ? "a list" : "a single text");
        return;
    }
    const vt_yaml *extends = vt_yaml_get(root, "extends");
    if (extends && extends->kind == VT_YAML_LIST)
        for (int i = 0; i < extends->n; i++)
            read_parent(l, &file, extends->item[i]);
    else if (extends)
        read_parent(l, &file, extends);
    vt_layers_assign(l, root, ++l->n_layers, false);
}

/* One `key=value`; `number` counts from 1. */
static void read_set(vt_loading *l, const char *set, int number)
{
    vt_store *store = &l->parts->store;
    const char *name = vt_store_printf(store, "--set[%d]", number);
    size_t size = strlen(set);
    vt_source *source =
        new_source(l, name, vt_store_text(store, set, size), size, VT_SOURCE_OVERRIDE);
    if (!source || !source->text)
        return;
    const char *equals = strchr(source->text, '=');
    size_t n = equals ? (size_t)(equals - source->text) : size;
    vt_mark mark = {.source = source, .end_column = (int)n};
    if (!equals || n == 0) {
        vt_report(l->diags, VT_ERR_CONFIG, &mark, NULL,
                  "an override is key=value, such as optim.lr=1e-3");
        return;
    }
    vt_yaml *value = vt_yaml_parse(source, n + 1, store, l->diags);
    vt_yaml *key = vt_store_take(store, sizeof *key);
    char *path = vt_store_text(store, source->text, n);
    if (!value || !key || !path)
        return;
    *key = (vt_yaml){.kind = VT_YAML_SCALAR, .plain = true, .text = path, .mark = mark};
    int layer = ++l->n_layers, field = vt_field_find(path, n);
    if (strcmp(path, "extends") == 0) {
        vt_report(l->diags, VT_ERR_CONFIG, &mark, NULL, "'extends' belongs in a file");
        return;
    }
    if (field >= 0) {
        assign_field(l, field, value, layer, false);
        return;
    }
    char *dot = strchr(path, '.');
    if (!dot) {
        assign_entry(l, "", key, value, layer, false);
        return;
    }
    *dot = '\0';
    if (vt_section_exists(path)) {
        key->text = dot + 1;
        assign_entry(l, path, key, value, layer, false);
        return;
    }
    *dot = '.';
    report_unknown(l, key, "", path);
}

/* A value from one of the command's own options, without YAML's rules. */
static void read_option(vt_loading *l, vt_key key, const char *option, const char *text, bool plain)
{
    vt_yaml *node = vt_store_take(&l->parts->store, sizeof *node);
    vt_source *source = new_source(l, option, NULL, 0, VT_SOURCE_BUILTIN);
    if (!node || !source || !text)
        return;
    *node =
        (vt_yaml){.kind = VT_YAML_SCALAR, .plain = plain, .text = text, .mark = {.source = source}};
    assign_field(l, key, node, ++l->n_layers, false);
}

void vt_layers_read(vt_loading *l, const char *path, const char *const *sets, int n_sets,
                    const vt_config_overrides *own)
{
    vt_store *store = &l->parts->store;
    read_layer(l, path, NULL, NULL);
    for (int i = 0; i < n_sets; i++)
        read_set(l, sets[i], i + 1);
    if (own && own->has_seed)
        read_option(l, VT_KEY_seed, "--seed", vt_store_printf(store, "%" PRIu64, own->seed), true);
    if (own && own->has_threads)
        read_option(l, VT_KEY_train_threads, "--threads",
                    vt_store_printf(store, "%" PRId64, own->threads), true);
    if (own && own->device)
        read_option(l, VT_KEY_train_device, "--device", own->device, false);
    if (own && own->data_dir)
        read_option(l, VT_KEY_data_dir, "--data-dir", own->data_dir, false);
}
