#include "config/config.h"

#include "base/mem.h"
#include "config/parts.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NAME_MAX_SIZE = 100 };

static bool in_alphabet(const char *name)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                  "0123456789_-.";
    size_t size = strlen(name);
    return size > 0 && size <= NAME_MAX_SIZE && name[strspn(name, letters)] == '\0' &&
           name[0] != '.' && name[0] != '-';
}

/* "quick-vit" of "experiments/quick/vit.yaml", "x" of "/elsewhere/x.yaml". */
static void derive_name(const char *path, char *name, size_t size)
{
    static const char folder[] = "experiments/";
    const char *from = NULL;
    for (const char *at = path; (at = strstr(at, folder)); at++)
        if (at == path || at[-1] == '/')
            from = at + strlen(folder);
    if (!from) {
        const char *slash = strrchr(path, '/');
        from = slash ? slash + 1 : path;
    }
    snprintf(name, size, "%s", from);
    char *dot = strrchr(name, '.');
    if (dot && (strcmp(dot, ".yaml") == 0 || strcmp(dot, ".yml") == 0))
        *dot = '\0';
    for (char *c = name; *c; c++)
        if (*c == '/')
            *c = '-';
}

static void set_name(vt_loading *l, const char *path)
{
    char name[4096];
    derive_name(path, name, sizeof name);
    l->parts->path = vt_store_text(&l->parts->store, path, strlen(path));
    l->parts->whole = (vt_source){.name = l->parts->path, .kind = VT_SOURCE_BUILTIN};
    l->parts->name = vt_store_text(&l->parts->store, name, strlen(name));
    if (!in_alphabet(name))
        vt_report(
            l->diags, VT_ERR_USAGE, NULL, NULL,
            "'%.200s' cannot name an experiment; allowed: up to %d letters, digits, '_', '-', "
            "'.', not starting with '-' or '.'",
            name, NAME_MAX_SIZE);
}

vt_status vt_config_load(vt_config **config, const char *path, const char *const *sets, int n_sets,
                         const vt_config_overrides *own, vt_diagnostics *diags)
{
    vt_loading l = {.diags = diags};
    *config = NULL;
    l.config = vt_calloc(1, sizeof *l.config);
    l.parts = l.config ? vt_calloc(1, sizeof *l.parts) : NULL;
    if (!l.parts) {
        vt_free(l.config);
        vt_report_nomem(diags);
        return diags->status;
    }
    l.config->parts = l.parts;
    set_name(&l, path);
    if (diags->status == VT_OK)
        vt_layers_read(&l, path, sets, n_sets, own);
    /* A missing or unreadable file leaves nothing to judge. */
    if (!l.parts->store.failed && (diags->status == VT_OK || diags->status == VT_ERR_CONFIG)) {
        vt_resolve(&l);
        vt_check(&l);
    }
    for (int key = 0; key < VT_KEY_COUNT; key++)
        vt_slot_origin(l.parts, (vt_key)key);
    if (l.parts->store.failed)
        vt_report_nomem(diags);
    if (diags->n_errors > VT_DIAGNOSTICS_MAX)
        vt_text_printf(&diags->text, "%d more errors are not shown\n",
                       diags->n_errors - VT_DIAGNOSTICS_MAX);
    if (diags->status != VT_OK) {
        vt_config_free(l.config);
        return diags->status;
    }
    *config = l.config;
    return VT_OK;
}

void vt_config_free(vt_config *config)
{
    if (!config)
        return;
    vt_store_release(&config->parts->store);
    vt_free(config->parts);
    vt_free(config);
}

const char *vt_config_name(const vt_config *config)
{
    return config->parts->name;
}

const char *vt_config_path(const vt_config *config)
{
    return config->parts->path;
}

const char *vt_slot_origin(struct vt_config_parts *parts, vt_key key)
{
    vt_slot *slot = &parts->slot[key];
    if (!slot->origin && slot->node) {
        vt_text text = {0};
        vt_mark_write(&slot->node->mark, &text);
        if (text.failed)
            parts->store.failed = true;
        else
            slot->origin = vt_store_text(&parts->store, text.data, text.size);
        vt_text_release(&text);
    }
    return slot->origin ? slot->origin : "default";
}

const char *vt_config_origin(const vt_config *config, const char *path)
{
    int key = vt_field_find(path, strlen(path));
    return key < 0 ? NULL : config->parts->slot[key].origin;
}

int vt_config_note_count(const vt_config *config)
{
    return config->parts->n_notes;
}

const char *vt_config_note(const vt_config *config, int i)
{
    return config->parts->note[i];
}

bool vt_config_field_active(const vt_config *config, int i)
{
    return !config->parts->slot[i].inactive;
}

void vt_config_value(const vt_config *config, int i, vt_text *text)
{
    vt_value_write(&vt_fields[i], vt_member(config, i), VT_VALUE_YAML, text);
}

static int compare_paths(const void *a, const void *b)
{
    return strcmp(vt_fields[*(const int *)a].path, vt_fields[*(const int *)b].path);
}

vt_status vt_config_experiment_id(const vt_config *config, char hex[VT_SHA256_HEX_SIZE])
{
    vt_text text = {0};
    uint8_t digest[VT_SHA256_SIZE];
    int order[VT_KEY_COUNT];
    for (int i = 0; i < VT_KEY_COUNT; i++)
        order[i] = i;
    qsort(order, VT_KEY_COUNT, sizeof *order, compare_paths);
    vt_text_printf(&text, "vitrine experiment 1\n");
    for (int i = 0; i < VT_KEY_COUNT; i++) {
        const vt_field *field = &vt_fields[order[i]];
        if (!field->identity || !vt_config_field_active(config, order[i]))
            continue;
        vt_text value = {0};
        vt_value_write(field, vt_member(config, order[i]), VT_VALUE_EXACT, &value);
        text.failed |= value.failed;
        if (!value.failed &&
            !(field->added && value.data && strcmp(value.data, field->default_text) == 0))
            vt_text_printf(&text, "%s=%s\n", field->path, value.data ? value.data : "");
        vt_text_release(&value);
    }
    if (!text.failed) {
        vt_sha256_of(text.data, text.size, digest);
        vt_sha256_hex(digest, hex);
    }
    vt_status status = text.failed ? VT_ERR_NOMEM : VT_OK;
    vt_text_release(&text);
    return status;
}

vt_status vt_config_run_id(const vt_config *config, const char *data_digest_hex,
                           char id[VT_RUN_ID_SIZE])
{
    char experiment[VT_SHA256_HEX_SIZE], hex[VT_SHA256_HEX_SIZE];
    uint8_t digest[VT_SHA256_SIZE];
    vt_status status = vt_config_experiment_id(config, experiment);
    if (status != VT_OK)
        return status;
    vt_text text = {0};
    vt_text_printf(&text, "vitrine run 1\nexperiment=%s\nseed=%" PRIu64 "\ndata=%s\n", experiment,
                   config->seed, data_digest_hex);
    if (!text.failed) {
        vt_sha256_of(text.data, text.size, digest);
        vt_sha256_hex(digest, hex);
        memcpy(id, hex, VT_RUN_ID_SIZE - 1);
        id[VT_RUN_ID_SIZE - 1] = '\0';
    }
    status = text.failed ? VT_ERR_NOMEM : VT_OK;
    vt_text_release(&text);
    return status;
}
