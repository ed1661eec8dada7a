#include "results/attention_map.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { GLOBAL_RANK = 4, WINDOW_RANK = 5, SIDE_MAX = 1 << 15 };

/* A number of the layout from the file's metadata; 0 if it is not there. */
static vt_status read_number(const vt_safetensors *file, const char *layer, const char *name,
                             const char *path, int64_t *value, vt_error *err)
{
    char key[VT_SAFETENSORS_MAX_NAME + 32], *end;
    snprintf(key, sizeof key, "%s.%s", layer, name);
    const char *text = vt_safetensors_get_meta(file, key);
    *value = 0;
    if (!text)
        return VT_OK;
    bool yes = strcmp(text, "true") == 0, word = yes || strcmp(text, "false") == 0;
    errno = 0;
    *value = word ? yes : strtoll(text, &end, 10);
    if (!word && (errno || end == text || *end || *value < 0))
        return vt_fail(err, VT_ERR_DATA, "%s: '%s' is '%s', which is no number", path, key, text);
    return VT_OK;
}

vt_status vt_attention_layer_read(vt_attention_layer *layer, const vt_safetensors *file,
                                  const vt_safetensor *tensor, const char *path, vt_error *err)
{
    *layer = (vt_attention_layer){.weights = tensor->data, .windows = 1};
    if (tensor->type != VT_SAFETENSORS_F32 ||
        (tensor->rank != GLOBAL_RANK && tensor->rank != WINDOW_RANK) ||
        tensor->shape[tensor->rank - 1] != tensor->shape[tensor->rank - 2])
        return vt_fail(err, VT_ERR_DATA,
                       "%s: tensor '%s' (%s, rank %d) is no attention layer: those are F32 of "
                       "rank 4 or 5, as many queries as keys",
                       path, tensor->name, vt_safetensors_type_name(tensor->type), tensor->rank);
    if (tensor->rank == WINDOW_RANK)
        layer->windows = tensor->shape[1];
    layer->heads = tensor->shape[tensor->rank - 3];
    layer->places = tensor->shape[tensor->rank - 1];
    int64_t has_cls = 0;
    vt_attention_layout *l = &layer->layout;
    const struct {
        const char *name;
        int64_t *value;
    } rows[] = {
        {"grid_h", &l->grid_h},     {"grid_w", &l->grid_w},   {"window_h", &l->window_h},
        {"window_w", &l->window_w}, {"shift_h", &l->shift_h}, {"shift_w", &l->shift_w},
        {"dilation", &l->dilation}, {"has_cls", &has_cls},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        vt_status status = read_number(file, tensor->name, rows[i].name, path, rows[i].value, err);
        if (status != VT_OK)
            return status;
    }
    l->has_cls = has_cls != 0;
    return VT_OK;
}

static int64_t blocks_of(int64_t side, int64_t block)
{
    return (side + block - 1) / block;
}

bool vt_attention_layer_fits(const vt_attention_layer *layer)
{
    const vt_attention_layout *l = &layer->layout;
    if (l->grid_h < 1 || l->grid_w < 1 || l->grid_h > SIDE_MAX || l->grid_w > SIDE_MAX ||
        layer->heads < 1)
        return false;
    if (l->window_h == 0 || l->window_w == 0)
        return layer->windows == 1 && layer->places == vt_attention_tokens(l);
    if (l->has_cls || l->window_h > SIDE_MAX || l->window_w > SIDE_MAX ||
        layer->places != l->window_h * l->window_w)
        return false;
    if (l->dilation > 1)
        return l->dilation <= SIDE_MAX && layer->windows == l->dilation * l->dilation &&
               l->grid_h == l->window_h * l->dilation && l->grid_w == l->window_w * l->dilation;
    return l->shift_h < l->window_h && l->shift_w < l->window_w &&
           layer->windows == blocks_of(l->grid_h, l->window_h) * blocks_of(l->grid_w, l->window_w);
}

bool vt_attention_layout_equal(const vt_attention_layout *a, const vt_attention_layout *b)
{
    return a->grid_h == b->grid_h && a->grid_w == b->grid_w && a->window_h == b->window_h &&
           a->window_w == b->window_w && a->shift_h == b->shift_h && a->shift_w == b->shift_w &&
           a->dilation == b->dilation && a->has_cls == b->has_cls;
}

int64_t vt_attention_tokens(const vt_attention_layout *l)
{
    return l->grid_h * l->grid_w + l->has_cls;
}

int64_t vt_attention_token(const vt_attention_layout *l, int64_t window, int64_t place)
{
    if (l->window_h == 0 || l->window_w == 0)
        return place;
    int64_t row = place / l->window_w, column = place % l->window_w;
    if (l->dilation > 1) {
        row = row * l->dilation + window / l->dilation;
        column = column * l->dilation + window % l->dilation;
    } else {
        int64_t down = blocks_of(l->grid_h, l->window_h),
                across = blocks_of(l->grid_w, l->window_w);
        row = (window / across * l->window_h + row + l->shift_h) % (down * l->window_h);
        column = (window % across * l->window_w + column + l->shift_w) % (across * l->window_w);
    }
    return row < l->grid_h && column < l->grid_w ? row * l->grid_w + column : -1;
}

vt_attention_rest vt_attention_put_back(const vt_attention_layer *layer, int64_t image,
                                        int64_t head, double *map)
{
    const vt_attention_layout *l = &layer->layout;
    int64_t places = layer->places, cells = l->grid_h * l->grid_w;
    int64_t first = head < 0 ? 0 : head, last = head < 0 ? layer->heads : head + 1;
    double scale = 1 / (double)((last - first) * (l->has_cls ? 1 : cells));
    vt_attention_rest rest = {0, 0};
    for (int64_t i = 0; i < cells; i++)
        map[i] = 0;
    for (int64_t w = 0; w < layer->windows; w++)
        for (int64_t h = first; h < last; h++) {
            const float *square =
                layer->weights +
                ((image * layer->windows + w) * layer->heads + h) * places * places;
            for (int64_t q = 0; q < (l->has_cls ? 1 : places); q++) {
                if (vt_attention_token(l, w, q) < 0)
                    continue;
                for (int64_t k = 0; k < places; k++) {
                    double share = scale * (double)square[q * places + k];
                    int64_t token = vt_attention_token(l, w, k);
                    if (token < 0)
                        rest.padding += share;
                    else if (l->has_cls && token == 0)
                        rest.class_token += share;
                    else
                        map[token - l->has_cls] += share;
                }
            }
        }
    return rest;
}

int64_t vt_attention_pool_side(int64_t tokens)
{
    int64_t side = 1;
    while (side < SIDE_MAX && side * side < tokens)
        side++;
    return side * side == tokens ? side : 0;
}

void vt_attention_span(int64_t from, int64_t to, int64_t cell, double *lo, double *hi)
{
    int64_t block = blocks_of(from, to);
    if (blocks_of(from, block) == to) {
        int64_t end = (cell + 1) * block;
        *lo = (double)(cell * block);
        *hi = (double)(end < from ? end : from);
    } else {
        *lo = (double)(cell * from) / (double)to;
        *hi = (double)((cell + 1) * from) / (double)to;
    }
}
