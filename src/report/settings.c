#include "report/settings.h"

#include "base/fs.h"
#include "base/mem.h"
#include "base/text.h"
#include "config/config.h"
#include "config/yaml.h"

#include <stdlib.h>
#include <string.h>

#define FILE_NAME "config.yaml"

/* Quotes stay where the text without them would mean something else. */
static void write_scalar(const vt_yaml *node, vt_text *text)
{
    vt_yaml bare = *node;
    bare.plain = true;
    bool quoted = !node->plain && vt_yaml_type(&bare) != VT_YAML_TEXT;
    vt_text_printf(text, quoted ? "\"%s\"" : "%s", node->text);
}

static void write_value(const vt_yaml *node, bool inside, vt_text *text)
{
    bool list = node->kind == VT_YAML_LIST;
    bool bare = inside && node->kind == VT_YAML_MAP && node->n == 1; /* [flip: 0.5] */
    if (node->kind == VT_YAML_SCALAR) {
        write_scalar(node, text);
        return;
    }
    vt_text_printf(text, "%s", list ? "[" : bare ? "" : "{");
    for (int i = 0; i < node->n; i++) {
        vt_text_printf(text, "%s", i ? ", " : "");
        if (!list)
            vt_text_printf(text, "%s: ", node->key[i]->text);
        write_value(node->item[i], list, text);
    }
    vt_text_printf(text, "%s", list ? "]" : bare ? "" : "}");
}

/* A copy that is safe to print. */
static const char *keep(const char *text, vt_store *store)
{
    size_t size = strlen(text) + 1;
    char *copy = vt_store_take(store, size);
    if (copy)
        vt_text_show(copy, size, text);
    return copy;
}

static bool add(vt_setting *setting, const char *section, const vt_yaml *key, const vt_yaml *value,
                vt_store *store)
{
    vt_text text = {0}, path = {0};
    vt_text_printf(&path, "%s%s%s", section ? section : "", section ? "." : "", key->text);
    write_value(value, false, &text);
    bool good = !text.failed && !path.failed;
    if (good)
        *setting = (vt_setting){keep(path.data, store), keep(text.data ? text.data : "", store)};
    vt_text_release(&text);
    vt_text_release(&path);
    return good && !store->failed;
}

static int compare_keys(const void *a, const void *b)
{
    return strcmp(((const vt_setting *)a)->key, ((const vt_setting *)b)->key);
}

int vt_settings_later(void)
{
    int later = 0;
    for (int i = 0; i < vt_config_field_count(); i++)
        later += vt_config_field_at(i).added;
    return later;
}

void vt_settings_complete(vt_setting *setting, int *n)
{
    for (int i = 0, had = *n; i < vt_config_field_count(); i++) {
        const vt_config_field field = vt_config_field_at(i);
        bool there = !field.added;
        for (int k = 0; k < had && !there; k++)
            there = strcmp(setting[k].key, field.path) == 0;
        if (!there)
            setting[(*n)++] = (vt_setting){field.path, field.default_text};
    }
    qsort(setting, (size_t)*n, sizeof *setting, compare_keys);
}

static bool flatten(const vt_yaml *root, vt_setting **setting, int *n, vt_store *store)
{
    size_t room = (size_t)vt_settings_later();
    int at = 0;
    bool good = true;
    for (int i = 0; i < root->n; i++)
        room += root->item[i]->kind == VT_YAML_MAP ? (size_t)root->item[i]->n : 1;
    *setting = vt_store_take(store, room * sizeof **setting);
    for (int i = 0; i < root->n && *setting && good; i++) {
        const vt_yaml *item = root->item[i];
        if (item->kind != VT_YAML_MAP)
            good = add(&(*setting)[at++], NULL, root->key[i], item, store);
        for (int j = 0; item->kind == VT_YAML_MAP && j < item->n && good; j++)
            good = add(&(*setting)[at++], root->key[i]->text, item->key[j], item->item[j], store);
    }
    if (!*setting || !good)
        return false;
    *n = at;
    if (at)
        vt_settings_complete(*setting, n);
    return true;
}

vt_status vt_settings_read(vt_setting **setting, int *n, int dir_fd, vt_store *store, vt_error *err)
{
    vt_store tree = {0};
    vt_diagnostics diags = {0};
    vt_source source = {.name = FILE_NAME, .kind = VT_SOURCE_FILE};
    char *text = NULL;
    *setting = NULL;
    *n = 0;
    vt_status status =
        vt_fs_read_file(dir_fd, FILE_NAME, VT_YAML_MAX_BYTES, &text, &source.size_bytes, err);
    if (status != VT_OK)
        return status;
    source.text = text;
    const vt_yaml *root = vt_yaml_parse(&source, 0, &tree, &diags);
    if (!root && tree.failed)
        status = vt_fail(err, VT_ERR_NOMEM, "no memory for " FILE_NAME);
    else if (!root)
        status = vt_fail(err, VT_ERR_DATA, "%.*s",
                         diags.text.data ? (int)strcspn(diags.text.data, "\n") : 0,
                         diags.text.data ? diags.text.data : "");
    else if (root->kind != VT_YAML_MAP)
        status = vt_fail(err, VT_ERR_DATA, FILE_NAME ": it holds no map");
    else if (!flatten(root, setting, n, store))
        status = vt_fail(err, VT_ERR_NOMEM, "no memory for " FILE_NAME);
    vt_diagnostics_release(&diags);
    vt_store_release(&tree);
    vt_free(text);
    return status;
}
