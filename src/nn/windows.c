#include "nn/windows.h"

#include <string.h>

static int64_t round_up(int64_t n, int64_t to)
{
    return (n + to - 1) / to * to;
}

vt_window_geometry vt_window_geometry_of(int64_t height, int64_t width, int64_t window,
                                         bool shifted, enum vt_window_mode mode)
{
    vt_window_geometry g = {.height = height,
                            .width = width,
                            .window_h = window,
                            .window_w = window,
                            .padding_attends = mode != VT_WINDOW_STRICT};
    if (mode == VT_WINDOW_STRICT) {
        g.window_h = window < height ? window : height;
        g.window_w = window < width ? window : width;
    }
    if (shifted) {
        g.shift_h = window / 2;
        g.shift_w = window / 2;
    }
    if (mode != VT_WINDOW_UNMASKED) {
        if (g.window_h >= height)
            g.shift_h = 0;
        if (g.window_w >= width)
            g.shift_w = 0;
    }
    return g;
}

double vt_window_padding(const vt_window_geometry *g)
{
    return (double)(round_up(g->height, g->window_h) * round_up(g->width, g->window_w)) /
           (double)(g->height * g->width);
}

/* Region of place r on the rolled, padded axis: cut at -window and -shift. */
static int region_of(int64_t r, int64_t padded, int64_t window, int64_t shift)
{
    if (shift == 0)
        return 0;
    return r < padded - window ? 0 : r < padded - shift ? 1 : 2;
}

struct builder {
    const vt_window_geometry *g;
    int64_t padded_h, padded_w;
    vt_attention_group *groups;
    int32_t *token, *place, *pad_place;
    int64_t n_groups, n_tokens, n_pads, max_tokens, max_pads;
};

/* Adds the group of the window at (wr, wc) whose places lie in one region, if it has tokens. */
static void add_group(struct builder *b, int64_t wr, int64_t wc, int region)
{
    const vt_window_geometry *g = b->g;
    int64_t first = b->n_tokens, first_pad = b->n_pads;
    for (int64_t i = 0; i < g->window_h * g->window_w; i++) {
        int64_t r = wr * g->window_h + i / g->window_w, c = wc * g->window_w + i % g->window_w;
        int row_region = region_of(r, b->padded_h, g->window_h, g->shift_h);
        int column_region = region_of(c, b->padded_w, g->window_w, g->shift_w);
        if (row_region * 3 + column_region != region)
            continue;
        int64_t y = (r + g->shift_h) % b->padded_h, x = (c + g->shift_w) % b->padded_w;
        if (y < g->height && x < g->width) {
            b->token[b->n_tokens] = (int32_t)(y * g->width + x);
            b->place[b->n_tokens++] = (int32_t)i;
        } else if (g->padding_attends) {
            b->pad_place[b->n_pads++] = (int32_t)i;
        }
    }
    if (b->n_tokens == first) {
        b->n_pads = first_pad;
        return;
    }
    b->groups[b->n_groups++] = (vt_attention_group){
        .first = (int32_t)first,
        .n_tokens = (int32_t)(b->n_tokens - first),
        .first_pad = (int32_t)first_pad,
        .n_pads = (int32_t)(b->n_pads - first_pad),
        .window = (int32_t)(wr * (b->padded_w / g->window_w) + wc),
    };
    if (b->n_tokens - first > b->max_tokens)
        b->max_tokens = b->n_tokens - first;
    if (b->n_pads - first_pad > b->max_pads)
        b->max_pads = b->n_pads - first_pad;
}

/* bias_row[query][key] = (row difference + wh - 1)(2 ww - 1) + column difference + ww - 1 */
static int32_t *relative_index(vt_graph *graph, int64_t wh, int64_t ww)
{
    int64_t places = wh * ww;
    int32_t *index = vt_graph_alloc(graph, (size_t)(places * places), sizeof *index);
    if (!index)
        return NULL;
    for (int64_t q = 0; q < places; q++)
        for (int64_t k = 0; k < places; k++)
            index[q * places + k] =
                (int32_t)((q / ww - k / ww + wh - 1) * (2 * ww - 1) + q % ww - k % ww + ww - 1);
    return index;
}

const vt_attention_map *vt_window_map(vt_graph *graph, const vt_window_geometry *g)
{
    int64_t padded_h = round_up(g->height, g->window_h), padded_w = round_up(g->width, g->window_w);
    int64_t windows = padded_h / g->window_h * (padded_w / g->window_w);
    size_t tokens = (size_t)(g->height * g->width), padded = (size_t)(padded_h * padded_w);
    vt_attention_map *map = vt_graph_alloc(graph, 1, sizeof *map);
    struct builder b = {.g = g, .padded_h = padded_h, .padded_w = padded_w};
    b.groups = vt_graph_alloc(graph, (size_t)windows * 4, sizeof *b.groups);
    b.token = vt_graph_alloc(graph, tokens, sizeof *b.token);
    b.place = vt_graph_alloc(graph, tokens, sizeof *b.place);
    b.pad_place = vt_graph_alloc(graph, padded, sizeof *b.pad_place);
    int32_t *bias_row = relative_index(graph, g->window_h, g->window_w);
    if (!map || !b.groups || !b.token || !b.place || !b.pad_place || !bias_row)
        return NULL;
    for (int64_t wr = 0; wr < padded_h / g->window_h; wr++)
        for (int64_t wc = 0; wc < padded_w / g->window_w; wc++)
            for (int region = 0; region < 9; region++)
                add_group(&b, wr, wc, region);
    *map = (vt_attention_map){
        .tokens = g->height * g->width,
        .windows = windows,
        .places = g->window_h * g->window_w,
        .n_groups = b.n_groups,
        .max_tokens = b.max_tokens,
        .max_pads = b.max_pads,
        .table_rows = (2 * g->window_h - 1) * (2 * g->window_w - 1),
        .groups = b.groups,
        .token = b.token,
        .place = b.place,
        .pad_place = b.pad_place,
        .bias_row = bias_row,
    };
    return map;
}

const vt_attention_map *vt_global_map(vt_graph *graph, int64_t tokens)
{
    vt_attention_map *map = vt_graph_alloc(graph, 1, sizeof *map);
    vt_attention_group *group = vt_graph_alloc(graph, 1, sizeof *group);
    int32_t *numbers = vt_graph_alloc(graph, (size_t)tokens, sizeof *numbers);
    if (!map || !group || !numbers)
        return NULL;
    for (int64_t i = 0; i < tokens; i++)
        numbers[i] = (int32_t)i;
    *group = (vt_attention_group){.n_tokens = (int32_t)tokens};
    *map = (vt_attention_map){.tokens = tokens,
                              .windows = 1,
                              .places = tokens,
                              .n_groups = 1,
                              .max_tokens = tokens,
                              .groups = group,
                              .token = numbers,
                              .place = numbers};
    return map;
}

const vt_attention_map *vt_patch_map(vt_graph *graph, int64_t height, int64_t width, int64_t patch)
{
    int64_t down = height / patch, across = width / patch, patches = down * across, n = 0;
    size_t tokens = (size_t)(height * width), windows = (size_t)(patch * patch);
    vt_attention_map *map = vt_graph_alloc(graph, 1, sizeof *map);
    vt_attention_group *groups = vt_graph_alloc(graph, windows, sizeof *groups);
    int32_t *token = vt_graph_alloc(graph, tokens, sizeof *token);
    int32_t *place = vt_graph_alloc(graph, tokens, sizeof *place);
    VT_ASSERT(height % patch == 0 && width % patch == 0);
    if (!map || !groups || !token || !place)
        return NULL;
    for (int64_t w = 0; w < patch * patch; w++) {
        groups[w] = (vt_attention_group){
            .first = (int32_t)n, .n_tokens = (int32_t)patches, .window = (int32_t)w};
        for (int64_t i = 0; i < patches; i++, n++) {
            int64_t y = i / across * patch + w / patch, x = i % across * patch + w % patch;
            token[n] = (int32_t)(y * width + x);
            place[n] = (int32_t)i;
        }
    }
    *map = (vt_attention_map){.tokens = height * width,
                              .windows = patch * patch,
                              .places = patches,
                              .n_groups = patch * patch,
                              .max_tokens = patches,
                              .groups = groups,
                              .token = token,
                              .place = place};
    return map;
}
