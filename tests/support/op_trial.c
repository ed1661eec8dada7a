#include "support/op_trial.h"

#include "nn/windows.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

const float *vt_trial_floats(const vt_trial *t, const char *name)
{
    return vt_fixture_floats(vt_fixture_tensor(t->fixture, t->i, name));
}

int64_t vt_trial_size(const vt_trial *t, const char *name)
{
    return vt_fixture_size(vt_fixture_tensor(t->fixture, t->i, name));
}

int64_t vt_trial_int(const vt_trial *t, const char *key)
{
    return vt_fixture_int(t->fixture, t->i, key);
}

static double number(const vt_trial *t, const char *key)
{
    return vt_fixture_number(t->fixture, t->i, key);
}

static vt_shape shape_of(const vt_trial *t, const char *name)
{
    const vt_safetensor *tensor = vt_fixture_tensor(t->fixture, t->i, name);
    return vt_shape_of(tensor->rank, tensor->shape);
}

static vt_node *param(vt_trial *t, const char *name)
{
    return vt_net_param(t->net, name, shape_of(t, name));
}

static vt_node *value(vt_trial *t, const char *name)
{
    return vt_net_value(t->net, name, shape_of(t, name));
}

/* A matrix as the tokens of one image. */
static vt_node *matrix(vt_trial *t, const char *name)
{
    vt_shape shape = shape_of(t, name);
    assert_int_equal(shape.rank, 2);
    return vt_net_value(t->net, name, vt_shape_of(3, (int64_t[]){1, shape.dim[0], shape.dim[1]}));
}

/* ---- the ops */

static vt_node *build_linear(vt_trial *t, bool outputs)
{
    (void)outputs;
    vt_node *bias = vt_trial_int(t, "bias") ? param(t, "b") : NULL;
    return vt_linear(t->net->graph, "op", matrix(t, "x"), param(t, "w"), bias);
}

static vt_node *build_layernorm(vt_trial *t, bool outputs)
{
    vt_node *op = vt_layernorm(t->net->graph, "op", matrix(t, "x"), param(t, "w"), param(t, "b"),
                               number(t, "eps"));
    if (outputs) {
        vt_net_watch(t->net, "mean", op, VT_NET_KEPT, 0);
        vt_net_watch(t->net, "rstd", op, VT_NET_KEPT, 1);
    }
    return op;
}

static vt_node *build_gelu(vt_trial *t, bool outputs)
{
    (void)outputs;
    bool tanh_form = strcmp(t->fixture->name, "gelu_tanh") == 0;
    return vt_activation(t->net->graph, "op", matrix(t, "x"),
                         tanh_form ? VT_ACT_GELU_TANH : VT_ACT_GELU);
}

static vt_node *build_cross_entropy(vt_trial *t, bool outputs)
{
    int64_t rows = vt_trial_int(t, "rows");
    vt_node *labels = vt_net_input(t->net, "labels", VT_I32, vt_shape_of(1, &rows));
    vt_node *op =
        vt_cross_entropy(t->net->graph, "op", value(t, "x"), labels, number(t, "smoothing"));
    if (outputs)
        vt_net_watch(t->net, "lse", op, VT_NET_KEPT, 0);
    return op;
}

static vt_node *build_patch_embed(vt_trial *t, bool outputs)
{
    vt_graph *g = t->net->graph;
    vt_node *image = vt_net_input(t->net, "x", VT_F32, shape_of(t, "x"));
    vt_node *patches = vt_patchify(g, "patches", image, vt_trial_int(t, "patch"));
    if (outputs)
        vt_net_watch(t->net, "patches", patches, VT_NET_VALUE, 0);
    return vt_linear(g, "op", patches, param(t, "w"), param(t, "b"));
}

static vt_node *build_tokens(vt_trial *t, bool outputs)
{
    (void)outputs;
    vt_node *cls = vt_trial_int(t, "class_token") ? param(t, "cls") : NULL;
    return vt_tokens(t->net->graph, "op", value(t, "x"), cls, param(t, "pos"));
}

static vt_node *build_mean(vt_trial *t, bool outputs)
{
    (void)outputs;
    return vt_mean_tokens(t->net->graph, "op", value(t, "x"));
}

static vt_node *build_select(vt_trial *t, bool outputs)
{
    (void)outputs;
    return vt_first_token(t->net->graph, "op", value(t, "x"));
}

static vt_node *build_merge(vt_trial *t, bool outputs)
{
    (void)outputs;
    return vt_merge(t->net->graph, "op", value(t, "x"), vt_trial_int(t, "height"),
                    vt_trial_int(t, "width"));
}

static vt_node *build_conv(vt_trial *t, bool outputs)
{
    (void)outputs;
    vt_node *bias = vt_trial_int(t, "bias") ? param(t, "b") : NULL;
    return vt_conv(t->net->graph, "op", value(t, "x"), vt_trial_int(t, "height"),
                   vt_trial_int(t, "width"), param(t, "w"), bias, vt_trial_int(t, "stride"),
                   vt_trial_int(t, "pad"), vt_trial_int(t, "groups"));
}

static vt_node *build_dwconv(vt_trial *t, bool outputs)
{
    (void)outputs;
    return vt_dwconv(t->net->graph, "op", value(t, "x"), vt_trial_int(t, "height"),
                     vt_trial_int(t, "width"), param(t, "w"), vt_trial_int(t, "stride"),
                     vt_trial_int(t, "pad"));
}

static vt_node *finish_attention(vt_trial *t, vt_node *op, bool outputs)
{
    if (outputs && op) {
        vt_net_watch(t->net, "lse", op, VT_NET_KEPT, 0);
        vt_net_watch(t->net, "p", op, VT_NET_PROBS, 0);
    }
    return op;
}

static vt_node *build_attention(vt_trial *t, bool outputs)
{
    vt_graph *g = t->net->graph;
    const vt_attention_map *map = vt_global_map(g, vt_trial_int(t, "tokens"));
    vt_node *op =
        vt_attention(g, "op", value(t, "qkv"), NULL, NULL, map, vt_trial_int(t, "heads"), t->rate);
    return finish_attention(t, op, outputs);
}

static vt_window_geometry geometry_of(const vt_trial *t)
{
    static const char *const modes[VT_WINDOW_COUNT] = {
        [VT_WINDOW_STRICT] = "strict",
        [VT_WINDOW_UNMASKED] = "unmasked",
        [VT_WINDOW_TORCHVISION] = "torchvision",
    };
    const char *name = vt_fixture_text(t->fixture, t->i, "mode");
    int mode = 0;
    while (mode < VT_WINDOW_COUNT && strcmp(modes[mode], name) != 0)
        mode++;
    assert_in_range(mode, 0, VT_WINDOW_COUNT - 1);
    return vt_window_geometry_of(vt_trial_int(t, "height"), vt_trial_int(t, "width"),
                                 vt_trial_int(t, "window"), vt_trial_int(t, "shift") > 0,
                                 (enum vt_window_mode)mode);
}

static vt_node *build_window(vt_trial *t, bool outputs)
{
    vt_graph *g = t->net->graph;
    vt_window_geometry geometry = geometry_of(t);
    const vt_attention_map *map = vt_window_map(g, &geometry);
    assert_non_null(map);
    assert_int_equal(geometry.window_h, vt_trial_int(t, "window_h"));
    assert_int_equal(geometry.window_w, vt_trial_int(t, "window_w"));
    assert_int_equal(map->windows, vt_trial_int(t, "windows"));
    vt_node *pad = map->max_pads && vt_trial_int(t, "bias") ? param(t, "pad") : NULL;
    vt_node *op = vt_attention(g, "op", value(t, "qkv"), param(t, "table"), pad, map,
                               vt_trial_int(t, "heads"), t->rate);
    return finish_attention(t, op, outputs);
}

static vt_node *build_dropout(vt_trial *t, bool outputs)
{
    (void)outputs;
    t->rate = number(t, "rate");
    return vt_dropout(t->net->graph, "op", value(t, "x"), t->rate);
}

static vt_node *build_residual(vt_trial *t, bool outputs)
{
    (void)outputs;
    t->rate = number(t, "rate");
    return vt_residual(t->net->graph, "op", value(t, "x"), value(t, "f"), t->rate);
}

/* ---- maps */

static vt_node *build_batchnorm(vt_trial *t, bool outputs)
{
    vt_node *mean = vt_net_buffer(t->net, "running_mean", shape_of(t, "running_mean"));
    vt_node *var = vt_net_buffer(t->net, "running_var", shape_of(t, "running_var"));
    vt_node *op = vt_batchnorm(t->net->graph, "op", matrix(t, "x"), param(t, "w"), param(t, "b"),
                               mean, var, number(t, "eps"), VT_ACT_NONE);
    if (op)
        op->batchnorm.training = vt_trial_int(t, "training");
    if (outputs && op) {
        vt_net_watch(t->net, "mean", op, VT_NET_KEPT, 0);
        vt_net_watch(t->net, "rstd", op, VT_NET_KEPT, 1);
    }
    return op;
}

static vt_node *build_bent(vt_trial *t, bool outputs)
{
    static const char *const names[] = {
        [VT_ACT_SILU] = "silu",
        [VT_ACT_RELU] = "relu",
        [VT_ACT_LEAKY] = "leaky_relu",
        [VT_ACT_MISH] = "mish",
    };
    int kind = VT_ACT_SILU;
    (void)outputs;
    while (kind < VT_ACT_MISH && strcmp(names[kind], t->fixture->name) != 0)
        kind++;
    return vt_activation(t->net->graph, "op", matrix(t, "x"), (vt_activation_kind)kind);
}

static vt_node *build_pooling(vt_trial *t, bool outputs)
{
    bool largest = strcmp(t->fixture->name, "max_pool") == 0;
    vt_node *op =
        vt_pooling(t->net->graph, "op", value(t, "x"), vt_trial_int(t, "height"),
                   vt_trial_int(t, "width"), vt_trial_int(t, "kernel"), vt_trial_int(t, "stride"),
                   vt_trial_int(t, "pad"), largest ? VT_POOLING_MAX : VT_POOLING_MEAN);
    if (outputs && largest && op)
        vt_net_watch(t->net, "index", op, VT_NET_KEPT, 0);
    return op;
}

static vt_node *build_resize(vt_trial *t, bool outputs)
{
    (void)outputs;
    bool nearest = strcmp(t->fixture->name, "resize_nearest") == 0;
    return vt_resize(t->net->graph, "op", value(t, "x"), vt_trial_int(t, "height"),
                     vt_trial_int(t, "width"), vt_trial_int(t, "to_height"),
                     vt_trial_int(t, "to_width"), nearest ? VT_RESIZE_NEAREST : VT_RESIZE_BILINEAR);
}

static vt_node *build_concat(vt_trial *t, bool outputs)
{
    (void)outputs;
    return vt_concat(t->net->graph, "op", value(t, "a"), value(t, "b"));
}

static vt_node *build_sequence_pool(vt_trial *t, bool outputs)
{
    vt_node *op = vt_sequence_pool(t->net->graph, "op", value(t, "x"), value(t, "scores"));
    if (outputs && op)
        vt_net_watch(t->net, "p", op, VT_NET_KEPT, 0);
    return op;
}

#define ROWS(X)                                                                                    \
    X("linear", "linear", build_linear, 5e-7, 5e-7, 1e-6, true)                                    \
    X("layer norm", "layernorm", build_layernorm, 4e-7, 4e-7, 3e-5, false)                         \
    X("gelu, erf form,", "gelu_erf", build_gelu, 2e-7, 2e-7, 1e-5, false)                          \
    X("gelu, tanh form,", "gelu_tanh", build_gelu, 2e-7, 6e-7, 1e-5, false)                        \
    X("patch embedding", "patch_embed", build_patch_embed, 4e-7, 4e-7, 1e-6, true)                 \
    X("class token and positions", "tokens", build_tokens, 0, 2e-7, 1e-6, true)                    \
    X("mean pooling", "mean_pool", build_mean, 4e-7, 2e-7, 2e-6, true)                             \
    X("token selection", "token_select", build_select, 0, 0, 1e-6, true)                           \
    X("patch merging", "patch_merge", build_merge, 0, 0, 1e-6, true)                               \
    X("convolution", "conv", build_conv, 8e-7, 8e-7, 1e-6, true)                                   \
    X("depthwise convolution", "dwconv", build_dwconv, 4e-7, 4e-7, 1e-6, true)                     \
    X("global attention", "attention", build_attention, 1.5e-6, 1.5e-6, 5e-5, false)               \
    X("attention in even windows", "window_even", build_window, 1e-6, 6e-6, 1e-4, false)           \
    X("attention in odd windows of 4", "window_odd4", build_window, 1e-6, 3e-6, 1e-4, false)       \
    X("attention in odd windows of 7", "window_odd7", build_window, 1.5e-6, 3e-6, 1e-4, false)     \
    X("attention in rectangles", "window_rect", build_window, 1e-6, 3e-6, 1e-4, false)             \
    X("dropout", "dropout", build_dropout, 2e-7, 2e-7, 1e-6, true)                                 \
    X("residual with drop path", "residual", build_residual, 2e-7, 2e-7, 1e-6, true)               \
    X("batch norm", "batchnorm", build_batchnorm, 4e-7, 4e-7, 3e-5, false)                         \
    X("SiLU", "silu", build_bent, 2e-7, 2e-7, 1e-5, false)                                         \
    X("ReLU", "relu", build_bent, 0, 0, 1e-5, false)                                               \
    X("leaky ReLU", "leaky_relu", build_bent, 2e-7, 2e-7, 1e-5, false)                             \
    X("Mish", "mish", build_bent, 2e-7, 2e-7, 1e-5, false)                                         \
    X("max pooling", "max_pool", build_pooling, 0, 4e-7, 1e-5, false)                              \
    X("average pooling", "average_pool", build_pooling, 4e-7, 4e-7, 2e-6, true)                    \
    X("bilinear resize", "resize_bilinear", build_resize, 4e-7, 4e-7, 2e-6, true)                  \
    X("nearest resize", "resize_nearest", build_resize, 0, 4e-7, 1e-6, true)                       \
    X("concatenation", "concat", build_concat, 0, 0, 1e-6, true)                                   \
    X("sequence pooling", "sequence_pool", build_sequence_pool, 4e-7, 4e-7, 3e-5, false)           \
    X("cross entropy", "cross_entropy", build_cross_entropy, 3e-7, 1e-6, 5e-5, false)

const vt_op_row vt_op_rows[VT_OP_ROWS] = {
#define X(...) {__VA_ARGS__},
    ROWS(X)
#undef X
};

const vt_step vt_trial_step = {.key = {0x12345678u, 0x9abcdef0u}, .draw = 77, .clip = 1};

bool vt_trial_is_attention(const vt_op_row *row)
{
    return row->build == build_attention || row->build == build_window;
}

bool vt_trial_is_loss(const vt_trial *t)
{
    return t->op->op == VT_OP_cross_entropy;
}

static void set_leaves(vt_trial *t)
{
    for (int l = 0; l < t->net->n_leaves; l++) {
        const char *name = t->net->leaf[l].name;
        vt_net_set(t->net, name, vt_trial_floats(t, name), vt_trial_size(t, name));
    }
}

void vt_trial_set_step(vt_trial *t, uint32_t draw)
{
    vt_step step = vt_trial_step;
    step.draw = draw;
    step.grad_scale = vt_trial_is_loss(t) ? 1.0f / (float)vt_trial_int(t, "rows") : 1;
    vt_net_set_step(t->net, step);
}

vt_trial vt_trial_open(const vt_op_row *row, const vt_fixture *fixture, int i, vt_dev *dev,
                       double rate, float twin_factor)
{
    vt_trial t = {.row = row, .fixture = fixture, .i = i, .rate = rate};
    bool has_batch = vt_safetensors_get_meta(fixture->file, "0.batch") != NULL;
    t.net = vt_net_new(dev, has_batch ? vt_trial_int(&t, "batch") : 1);
    t.op = row->build(&t, true);
    if (!t.op)
        fail_msg("%s, case %d: %s", row->name, i, t.net->graph->error.text);
    vt_node *root = t.op;
    vt_net_watch(t.net, "y", t.op, VT_NET_VALUE, 0);
    if (!vt_trial_is_loss(&t))
        vt_net_give(t.net, t.op, vt_trial_floats(&t, "dy"), 1);
    if (twin_factor != 0) {
        t.twin = row->build(&t, false);
        assert_non_null(t.twin);
        if (t.op->op == VT_OP_dropout || t.op->op == VT_OP_residual)
            t.twin->drop.stream = t.op->drop.stream; /* the same draws */
        if (t.op->op == VT_OP_attention)
            t.twin->attention.sizes.stream = t.op->attention.sizes.stream;
        vt_net_give(t.net, t.twin, vt_trial_floats(&t, "dy"), twin_factor);
        root = vt_residual(t.net->graph, "both", t.op, t.twin, 0);
        root->hands_on = 0; /* what is handed in differs from what the sum would hand on */
    }
    vt_net_finish(t.net, root);
    set_leaves(&t);
    vt_trial_set_step(&t, vt_trial_step.draw);
    return t;
}

void vt_trial_close(vt_trial *t)
{
    vt_net_free(t->net);
    *t = (vt_trial){0};
}
