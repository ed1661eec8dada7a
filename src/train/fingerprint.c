#include "train/fingerprint.h"

#include "base/mem.h"
#include "base/rng.h"
#include "graph/exec.h"
#include "nn/blocks.h"
#include "nn/windows.h"

#include <string.h>

/* A shape with edges everywhere: nothing is a multiple of a register, block or chunk. */
enum { BATCH = 3, SIDE = 23, PATCH = 2, DIM = 40, HEADS = 5, CLASSES = 7, STEPS = 2 };

/* What convolutional networks use: a branch with each of it once. */
static vt_node *build_maps(vt_graph *g, vt_node *x, int64_t side, vt_layer_init init)
{
    vt_shape dim = vt_shape_of(1, (int64_t[]){DIM});
    const vt_fill one = {.kind = VT_FILL_ONE};
    int64_t half = (side + 1) / 2;
    vt_node *norm =
        vt_batchnorm(g, "norm", x, vt_graph_param(g, "norm.w", dim, VT_ROLE_NORM, one),
                     vt_graph_param(g, "norm.b", dim, VT_ROLE_NORM, init.weight),
                     vt_graph_param(g, "norm.mean", dim, VT_ROLE_BUFFER, init.weight),
                     vt_graph_param(g, "norm.var", dim, VT_ROLE_BUFFER, one), 1e-5, VT_ACT_NONE);
    vt_shape taps = vt_shape_of(4, (int64_t[]){DIM, 1, 3, 3});
    vt_shape dense = vt_shape_of(4, (int64_t[]){DIM, DIM, 3, 3});
    vt_node *depthwise =
        vt_dwconv(g, "depthwise", norm, side, side,
                  vt_graph_param(g, "depthwise.w", taps, VT_ROLE_WEIGHT, init.weight), 1, 1);
    vt_node *conv =
        vt_conv(g, "conv", norm, side, side,
                vt_graph_param(g, "conv.w", dense, VT_ROLE_WEIGHT, init.weight), NULL, 1, 1, 1);
    vt_node *most = vt_activation(g, "silu", depthwise, VT_ACT_SILU);
    most = vt_pooling(g, "most", most, side, side, 3, 2, 1, VT_POOLING_MAX);
    most = vt_resize(g, "wide", most, half, half, side, side, VT_RESIZE_BILINEAR);
    vt_node *mean = vt_activation(g, "mish", conv, VT_ACT_MISH);
    mean = vt_pooling(g, "mean pool", mean, side, side, 3, 2, 1, VT_POOLING_MEAN);
    mean = vt_activation(g, "leaky", mean, VT_ACT_LEAKY);
    mean = vt_resize(g, "large", mean, half, half, side, side, VT_RESIZE_NEAREST);
    vt_node *both = vt_concat(g, "both", most, mean);
    both = vt_activation(g, "relu", vt_layer_linear(g, "reduce both", both, DIM, true, init),
                         VT_ACT_RELU);
    return vt_residual(g, "maps", x, both, 0);
}

/* Blocks with windows that pad and shift, all kinds of dropout, all pools. */
static vt_node *build(vt_graph *g, vt_node *images)
{
    int64_t side = (SIDE + PATCH - 1) / PATCH;
    vt_layer_init init = vt_init_normal(0.2);
    vt_config config = {.model_qkv_bias = true,
                        .model_norm_eps = 1e-5,
                        .model_proj_drop = 0.1,
                        .model_attn_drop = 0.1};
    vt_window_geometry geometry = vt_window_geometry_of(side, side, 7, true, VT_WINDOW_UNMASKED);
    vt_block_attention windows = {
        .map = vt_window_map(g, &geometry), .relative_bias = true, .padding = 1};
    vt_block_style style = {
        .heads = HEADS, .mlp_ratio = 1.7, .act = VT_ACT_GELU, .init = {init, init, init, init}};
    vt_node *x = vt_layer_patch_embed(g, "patch", images, PATCH, DIM, init);
    x = build_maps(g, x, side, init);
    x = vt_block(g, "a", &config, x, &windows, &style, 0.2);
    x = x ? vt_merge(g, "merge", x, side, side) : NULL;
    x = vt_layer_linear(g, "reduce", x, DIM, false, init);
    side = (side + 1) / 2;
    vt_node *cls =
        vt_graph_param(g, "cls", vt_shape_of(1, (int64_t[]){DIM}), VT_ROLE_CLS_TOKEN, init.weight);
    vt_node *pos = vt_graph_param(g, "pos", vt_shape_of(2, (int64_t[]){side * side + 1, DIM}),
                                  VT_ROLE_POS_EMBED, init.weight);
    x = x ? vt_tokens(g, "tokens", x, cls, pos) : NULL;
    vt_block_attention global = {.map = vt_global_map(g, side * side + 1), .padding = 1};
    style.act = VT_ACT_GELU_TANH;
    x = vt_block(g, "b", &config, x, &global, &style, 0);
    if (!x)
        return NULL;
    vt_node *pool =
        vt_sequence_pool(g, "weighed", x, vt_layer_linear(g, "scores", x, 1, true, init));
    style.first_only = true;
    vt_node *first = vt_block(g, "c", &config, x, &global, &style, 0);
    x = vt_residual(g, "pools", vt_mean_tokens(g, "mean", x), first, 0);
    x = vt_residual(g, "all pools", x, pool, 0);
    return vt_layer_linear(g, "head", x, CLASSES, true, init);
}

struct net {
    vt_params *params;
    vt_graph *graph;
    vt_node *images, *labels, *loss;
    vt_plan *plan;
    vt_memory memory;
    vt_program *program;
    float *m, *v;
    double *sum, *scratch;
};

static vt_status init(struct net *n, vt_dev *dev, vt_dtype type, vt_error *err)
{
    n->params = vt_params_new();
    n->graph = n->params ? vt_graph_new(n->params, vt_dev_kernels(dev), BATCH, true) : NULL;
    if (!n->graph)
        return vt_fail(err, VT_ERR_NOMEM, "no memory for the numeric fingerprint");
    n->graph->type = type;
    n->images =
        vt_graph_input(n->graph, "images", type, vt_shape_of(4, (int64_t[]){BATCH, SIDE, SIDE, 3}));
    n->labels = vt_graph_input(n->graph, "labels", VT_I32, vt_shape_of(1, (int64_t[]){BATCH}));
    vt_node *logits = n->images ? build(n->graph, n->images) : NULL;
    n->loss = logits ? vt_cross_entropy(n->graph, "loss", logits, n->labels, 0.1) : NULL;
    vt_status status = vt_graph_finish(n->graph, err);
    if (status != VT_OK)
        return status;
    vt_params_layout(n->params, 0, NULL, 0);
    status = vt_plan_new(&n->plan, n->graph, n->loss, NULL, VT_GRADS_APART, 0, err);
    if (status == VT_OK)
        status = vt_memory_init(&n->memory, dev, n->params, type, n->plan->arena_bytes,
                                VT_GRADS_APART, err);
    if (status == VT_OK)
        status = vt_program_new(&n->program, n->plan, &n->memory, err);
    if (status != VT_OK)
        return status;
    size_t floats = (size_t)n->params->n_trained;
    n->m = vt_dev_alloc(dev, floats * sizeof(float));
    n->v = vt_dev_alloc(dev, floats * sizeof(float));
    n->sum = vt_dev_alloc(dev, sizeof *n->sum);
    n->scratch = vt_dev_alloc(dev, floats * sizeof(double));
    if (!n->m || !n->v || !n->sum || !n->scratch)
        return vt_fail(err, VT_ERR_NOMEM, "no memory for the numeric fingerprint");
    return VT_OK;
}

static void release(struct net *n, vt_dev *dev)
{
    size_t floats = n->memory.dev ? (size_t)n->params->n_trained : 0;
    vt_dev_release(dev, n->m, floats * sizeof(float));
    vt_dev_release(dev, n->v, floats * sizeof(float));
    vt_dev_release(dev, n->sum, sizeof *n->sum);
    vt_dev_release(dev, n->scratch, floats * sizeof(double));
    vt_program_free(n->program);
    vt_memory_release(&n->memory);
    vt_plan_free(n->plan);
    vt_graph_free(n->graph);
    vt_params_free(n->params);
}

static vt_status run(struct net *n, vt_dev *dev, vt_sha256 *hash, vt_error *err)
{
    const vt_kernels *k = vt_dev_kernels(dev);
    size_t floats = (size_t)n->params->n_floats, pixels = (size_t)n->images->shape.size;
    float *host = vt_calloc(floats > pixels ? floats : pixels, sizeof *host);
    vt_rng rng = vt_rng_at(1, VT_STREAM_INIT, 0xffff, 0, 0);
    const int32_t labels[BATCH] = {1, 6, 0};
    if (!host)
        return vt_fail(err, VT_ERR_NOMEM, "no memory for the numeric fingerprint");
    vt_params_fill(n->params, 1, host);
    vt_dev_write(dev, n->memory.weights, host, floats * sizeof *host);
    for (uint32_t t = 1; t <= STEPS; t++) {
        vt_step step = {.key = {1, 0},
                        .draw = t,
                        .lr = 0.01f,
                        .correction1 = 0.1f * (float)t,
                        .correction2 = 0.03f * (float)t,
                        .grad_scale = 1.0f / BATCH,
                        .clip = 1};
        for (size_t i = 0; i < pixels; i++)
            host[i] = (float)vt_rng_normal(&rng, i);
        vt_program_write(n->program, n->images, host);
        vt_dev_write(dev, vt_program_value(n->program, n->labels), labels, sizeof labels);
        vt_dev_write(dev, n->memory.step, &step, sizeof step);
        k->fill_zero(dev, n->memory.grads, (size_t)n->params->n_trained * sizeof(float));
        vt_program_forward(n->program, NULL, NULL);
        vt_program_backward(n->program, NULL, NULL);
        k->sum_squares(dev, n->sum, n->memory.grads, n->params->n_trained, n->scratch);
        k->clip_factor(dev, n->memory.step, n->sum, 0.5f);
        k->adam(dev, n->memory.weights, n->m, n->v, n->memory.grads, n->params->n_trained, 0.9f,
                0.99f, 1e-6f, 0.01f, true, n->memory.step);
        k->sgd(dev, n->memory.weights, n->m, n->memory.grads, n->params->n_trained, 0.9f, 0.01f,
               true, false, n->memory.step);
    }
    vt_dev_read(dev, host, n->memory.weights, floats * sizeof *host);
    vt_sha256_add(hash, host, floats * sizeof *host);
    double totals[VT_TOTALS];
    vt_dev_read(dev, totals, n->memory.totals, sizeof totals);
    vt_sha256_add(hash, totals, sizeof totals);
    vt_free(host);
    return VT_OK;
}

static void add_functions(vt_sha256 *hash)
{
    for (int i = 1; i <= 64; i++) {
        double values[3] = {vt_log(i * 0.37), vt_exp(i * 0.83 - 30), vt_cos_2pi(i * 0.071)};
        vt_sha256_add(hash, values, sizeof values);
    }
}

/* Floats on the device as numbers of `type`, in `room` if they are rounded. */
static vt_buf as_type(vt_dev *dev, float *from, void *room, int64_t n, vt_dtype type)
{
    if (type != VT_BF16)
        return (vt_buf){from, type};
    vt_dev_kernels(dev)->convert(dev, (vt_buf){room, type}, (vt_buf){from, VT_F32}, n);
    return (vt_buf){room, type};
}

/* A layer's three products at a size that the network above does not reach: several blocks and
 * parts of terms, tiles that are not whole. */
static vt_status add_products(vt_sha256 *hash, vt_dev *dev, vt_dtype type, vt_error *err)
{
    enum { ROWS = 1100, OUT = 41, IN = 300, X = ROWS * IN, W = OUT * IN, Y = ROWS * OUT };
    const vt_kernels *k = vt_dev_kernels(dev);
    const vt_rng rng = vt_rng_at(2, VT_STREAM_INIT, 0xffff, 0, 0);
    const size_t floats = 2 * (X + W + Y);
    const size_t forward = k->linear_scratch(ROWS, OUT, IN, false);
    const size_t backward = k->linear_scratch(ROWS, OUT, IN, true);
    const size_t scratch_bytes = forward > backward ? forward : backward;
    float *host = vt_calloc(floats, sizeof *host);
    float *x = vt_dev_alloc(dev, floats * sizeof *x), *room = NULL;
    void *scratch = vt_dev_alloc(dev, scratch_bytes);
    vt_status status = vt_dev_reserve(dev, vt_linear_worker_scratch(), err);
    if (type == VT_BF16)
        room = vt_dev_alloc(dev, floats * sizeof *room);
    if (!host || !x || !scratch || (type == VT_BF16 && !room))
        status = vt_fail(err, VT_ERR_NOMEM, "no memory for the numeric fingerprint");
    if (status == VT_OK) {
        float *w = x + X, *y = w + W, *dx = y + Y, *dw = dx + X, *dy = dw + W;
        for (size_t i = 0; i < floats; i++)
            host[i] = vt_rng_uniform(&rng, i) - 0.5F;
        vt_dev_write(dev, x, host, floats * sizeof *host);
        const vt_buf xs = as_type(dev, x, room, X, type);
        const vt_buf ws = as_type(dev, w, room + X, W, type);
        const vt_buf dys = as_type(dev, dy, room + X + W, Y, type);
        k->linear_fwd(dev, (vt_buf){y, type}, xs, ws, (vt_buf){0}, ROWS, OUT, IN, scratch);
        k->linear_bwd_x(dev, (vt_buf){dx, type}, true, dys, ws, ROWS, OUT, IN, scratch);
        k->linear_bwd_w(dev, dw, NULL, dys, xs, ROWS, OUT, IN, scratch);
        vt_dev_read(dev, host, x, floats * sizeof *host);
        vt_sha256_add(hash, host, floats * sizeof *host);
    }
    vt_dev_release(dev, scratch, scratch_bytes);
    vt_dev_release(dev, room, floats * sizeof *room);
    vt_dev_release(dev, x, floats * sizeof *x);
    vt_free(host);
    return status;
}

vt_status vt_fingerprint(vt_dev *dev, vt_dtype type, char hex[VT_SHA256_HEX_SIZE], vt_error *err)
{
    struct net net = {0};
    vt_sha256 hash;
    uint8_t digest[VT_SHA256_SIZE];
    vt_sha256_init(&hash);
    add_functions(&hash);
    vt_status status = init(&net, dev, type, err);
    if (status == VT_OK)
        status = run(&net, dev, &hash, err);
    if (status == VT_OK)
        status = add_products(&hash, dev, type, err);
    release(&net, dev);
    vt_sha256_finish(&hash, digest);
    vt_sha256_hex(digest, hex);
    return status;
}
