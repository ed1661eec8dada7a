/*
 * Every op through graph, planner and executor, from one table. A row's op is built on each case of
 * its fixture and is held against PyTorch's numbers, against finite differences, against itself at
 * other thread counts, chunk orders and kernel widths, in poisoned memory, and as one of two ops
 * that send a gradient into the same value.
 */
#include "base/rng.h"
#include "nn/windows.h"
#include "support/fixture.h"
#include "support/net.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* The largest relative rounding error of one float operation. */
static const double U = 0x1p-24;

struct row;

/* One case of a row, in one net. */
struct trial {
    const struct row *row;
    const vt_fixture *fixture;
    int i;
    vt_net *net;
    vt_node *op, *twin; /* twin: the same op once more, on the same inputs */
    double rate;        /* of dropout or drop path */
};

/* Adds the op to the net; outputs are asked for where `outputs` says so. */
typedef vt_node *build_fn(struct trial *t, bool outputs);

/*
 * Tolerances are relative to the largest number of the tensor.
 *
 * exact       the op moves numbers, or adds at most two of them: equal bits. Reference and kernel
 *             round the same exact sum once.
 * y, gradient results of sums and elementary functions in float, where PyTorch's are rounded from
 *             float64. Sums of n numbers of mixed sign are off by about sqrt(n) U, kernels keep 16
 *             partial sums; with the rounding of exp, erf and tanh (2 to 4 U) 2e-6 = 34 U is enough
 *             room for everything but what passes through a peaked softmax.
 * difference  of the directional derivative (see check_difference).
 */
struct row {
    const char *name, *fixture;
    build_fn *build;
    double y, gradient, difference;
    bool linear; /* in each input: the difference quotient has no curvature error */
};

static const float *floats_of(const struct trial *t, const char *name)
{
    return vt_fixture_floats(vt_fixture_tensor(t->fixture, t->i, name));
}

static int64_t size_of(const struct trial *t, const char *name)
{
    return vt_fixture_size(vt_fixture_tensor(t->fixture, t->i, name));
}

static int64_t scalar(const struct trial *t, const char *key)
{
    return vt_fixture_int(t->fixture, t->i, key);
}

static double number(const struct trial *t, const char *key)
{
    return vt_fixture_number(t->fixture, t->i, key);
}

static vt_shape shape_of(const struct trial *t, const char *name)
{
    const vt_safetensor *tensor = vt_fixture_tensor(t->fixture, t->i, name);
    return vt_shape_of(tensor->rank, tensor->shape);
}

static vt_node *param(struct trial *t, const char *name)
{
    return vt_net_param(t->net, name, shape_of(t, name));
}

static vt_node *value(struct trial *t, const char *name)
{
    return vt_net_value(t->net, name, shape_of(t, name));
}

/* A matrix as the tokens of one image. */
static vt_node *matrix(struct trial *t, const char *name)
{
    vt_shape shape = shape_of(t, name);
    assert_int_equal(shape.rank, 2);
    return vt_net_value(t->net, name, vt_shape_of(3, (int64_t[]){1, shape.dim[0], shape.dim[1]}));
}

/* ---- the ops */

static vt_node *build_linear(struct trial *t, bool outputs)
{
    (void)outputs;
    vt_node *bias = scalar(t, "bias") ? param(t, "b") : NULL;
    return vt_linear(t->net->graph, "op", matrix(t, "x"), param(t, "w"), bias);
}

static vt_node *build_layernorm(struct trial *t, bool outputs)
{
    vt_node *op = vt_layernorm(t->net->graph, "op", matrix(t, "x"), param(t, "w"), param(t, "b"),
                               number(t, "eps"));
    if (outputs) {
        vt_net_watch(t->net, "mean", op, VT_NET_KEPT, 0);
        vt_net_watch(t->net, "rstd", op, VT_NET_KEPT, 1);
    }
    return op;
}

static vt_node *build_gelu(struct trial *t, bool outputs)
{
    (void)outputs;
    bool tanh_form = strcmp(t->fixture->name, "gelu_tanh") == 0;
    return vt_gelu(t->net->graph, "op", matrix(t, "x"),
                   tanh_form ? VT_GELU_FORM_TANH : VT_GELU_FORM_ERF);
}

static vt_node *build_cross_entropy(struct trial *t, bool outputs)
{
    int64_t rows = scalar(t, "rows");
    vt_node *labels = vt_net_input(t->net, "labels", VT_I32, vt_shape_of(1, &rows));
    vt_node *op =
        vt_cross_entropy(t->net->graph, "op", value(t, "x"), labels, number(t, "smoothing"));
    if (outputs)
        vt_net_watch(t->net, "lse", op, VT_NET_KEPT, 0);
    return op;
}

static vt_node *build_patch_embed(struct trial *t, bool outputs)
{
    vt_graph *g = t->net->graph;
    vt_node *image = vt_net_input(t->net, "x", VT_F32, shape_of(t, "x"));
    vt_node *patches = vt_patchify(g, "patches", image, scalar(t, "patch"));
    if (outputs)
        vt_net_watch(t->net, "patches", patches, VT_NET_VALUE, 0);
    return vt_linear(g, "op", patches, param(t, "w"), param(t, "b"));
}

static vt_node *build_tokens(struct trial *t, bool outputs)
{
    (void)outputs;
    vt_node *cls = scalar(t, "class_token") ? param(t, "cls") : NULL;
    return vt_tokens(t->net->graph, "op", value(t, "x"), cls, param(t, "pos"));
}

static vt_node *build_mean(struct trial *t, bool outputs)
{
    (void)outputs;
    return vt_mean_tokens(t->net->graph, "op", value(t, "x"));
}

static vt_node *build_select(struct trial *t, bool outputs)
{
    (void)outputs;
    return vt_first_token(t->net->graph, "op", value(t, "x"));
}

static vt_node *build_merge(struct trial *t, bool outputs)
{
    (void)outputs;
    return vt_merge(t->net->graph, "op", value(t, "x"), scalar(t, "height"), scalar(t, "width"));
}

static vt_node *finish_attention(struct trial *t, vt_node *op, bool outputs)
{
    if (outputs && op) {
        vt_net_watch(t->net, "lse", op, VT_NET_KEPT, 0);
        vt_net_watch(t->net, "p", op, VT_NET_PROBS, 0);
    }
    return op;
}

static vt_node *build_attention(struct trial *t, bool outputs)
{
    vt_graph *g = t->net->graph;
    const vt_attention_map *map = vt_global_map(g, scalar(t, "tokens"));
    vt_node *op =
        vt_attention(g, "op", value(t, "qkv"), NULL, NULL, map, scalar(t, "heads"), t->rate);
    return finish_attention(t, op, outputs);
}

static vt_window_geometry geometry_of(const struct trial *t)
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
    return vt_window_geometry_of(scalar(t, "height"), scalar(t, "width"), scalar(t, "window"),
                                 scalar(t, "shift") > 0, (enum vt_window_mode)mode);
}

static vt_node *build_window(struct trial *t, bool outputs)
{
    vt_graph *g = t->net->graph;
    vt_window_geometry geometry = geometry_of(t);
    const vt_attention_map *map = vt_window_map(g, &geometry);
    assert_non_null(map);
    assert_int_equal(geometry.window_h, scalar(t, "window_h"));
    assert_int_equal(geometry.window_w, scalar(t, "window_w"));
    assert_int_equal(map->windows, scalar(t, "windows"));
    vt_node *pad = map->max_pads && scalar(t, "bias") ? param(t, "pad") : NULL;
    vt_node *op = vt_attention(g, "op", value(t, "qkv"), param(t, "table"), pad, map,
                               scalar(t, "heads"), t->rate);
    return finish_attention(t, op, outputs);
}

static vt_node *build_dropout(struct trial *t, bool outputs)
{
    (void)outputs;
    t->rate = number(t, "rate");
    return vt_dropout(t->net->graph, "op", value(t, "x"), t->rate);
}

static vt_node *build_residual(struct trial *t, bool outputs)
{
    (void)outputs;
    t->rate = number(t, "rate");
    return vt_residual(t->net->graph, "op", value(t, "x"), value(t, "f"), t->rate);
}

/* Window attention: q.k and the weighted sums of a query pass through exp, whose argument is as
 * large as the scores (up to about 10 here), so an error of 10 U enters before the sums begin. */
#define ROWS(X)                                                                                    \
    X("linear", "linear", build_linear, 2e-6, 2e-6, 1e-5, true)                                    \
    X("layer norm", "layernorm", build_layernorm, 2e-6, 2e-6, 1e-4, false)                         \
    X("gelu, erf form,", "gelu_erf", build_gelu, 5e-7, 5e-7, 1e-4, false)                          \
    X("gelu, tanh form,", "gelu_tanh", build_gelu, 5e-7, 5e-7, 1e-4, false)                        \
    X("patch embedding", "patch_embed", build_patch_embed, 2e-6, 2e-6, 1e-5, true)                 \
    X("class token and positions", "tokens", build_tokens, 0, 5e-7, 1e-5, true)                    \
    X("mean pooling", "mean_pool", build_mean, 5e-7, 2e-7, 1e-5, true)                             \
    X("token selection", "token_select", build_select, 0, 0, 1e-5, true)                           \
    X("patch merging", "patch_merge", build_merge, 0, 0, 1e-5, true)                               \
    X("global attention", "attention", build_attention, 2e-6, 2e-6, 1e-4, false)                   \
    X("attention in even windows", "window_even", build_window, 2e-6, 2e-6, 1e-4, false)           \
    X("attention in odd windows of 4", "window_odd4", build_window, 2e-6, 2e-6, 1e-4, false)       \
    X("attention in odd windows of 7", "window_odd7", build_window, 2e-6, 2e-6, 1e-4, false)       \
    X("attention in rectangles", "window_rect", build_window, 2e-6, 2e-6, 1e-4, false)             \
    X("dropout", "dropout", build_dropout, 2e-7, 2e-7, 1e-5, true)                                 \
    X("residual with drop path", "residual", build_residual, 2e-7, 2e-7, 1e-5, true)               \
    X("cross entropy", "cross_entropy", build_cross_entropy, 1e-6, 1e-6, 1e-4, false)

static const struct row rows[] = {
#define X(...) {__VA_ARGS__},
    ROWS(X)
#undef X
};
enum { N_ROWS = sizeof rows / sizeof rows[0] };

/* ---- building and running a case */

static const vt_step STEP = {.key = {0x12345678u, 0x9abcdef0u}, .draw = 77, .clip = 1};

static bool is_loss(const vt_node *node)
{
    return node->op == VT_OP_cross_entropy;
}

static void set_leaves(struct trial *t)
{
    for (int l = 0; l < t->net->n_leaves; l++) {
        const char *name = t->net->leaf[l].name;
        vt_net_set(t->net, name, floats_of(t, name), size_of(t, name));
    }
}

static void set_step(struct trial *t, uint32_t draw)
{
    vt_step step = STEP;
    step.draw = draw;
    step.grad_scale = is_loss(t->op) ? 1.0f / (float)scalar(t, "rows") : 1;
    vt_net_set_step(t->net, step);
}

/* Builds case `i`; `twin_factor` other than 0: with a second op whose gradient is so many dy. */
static struct trial open_trial(const struct row *row, const vt_fixture *fixture, int i, vt_dev *dev,
                               double rate, float twin_factor)
{
    struct trial t = {.row = row, .fixture = fixture, .i = i, .rate = rate};
    bool has_batch = vt_safetensors_get_meta(fixture->file, "0.batch") != NULL;
    t.net = vt_net_new(dev, has_batch ? scalar(&t, "batch") : 1);
    t.op = row->build(&t, true);
    if (!t.op)
        fail_msg("%s, case %d: %s", row->name, i, t.net->graph->error.text);
    vt_node *root = t.op;
    vt_net_watch(t.net, "y", t.op, VT_NET_VALUE, 0);
    if (!is_loss(t.op))
        vt_net_give(t.net, t.op, floats_of(&t, "dy"), 1);
    if (twin_factor != 0) {
        t.twin = row->build(&t, false);
        assert_non_null(t.twin);
        if (t.op->op == VT_OP_dropout || t.op->op == VT_OP_residual)
            t.twin->drop.stream = t.op->drop.stream; /* the same draws */
        if (t.op->op == VT_OP_attention)
            t.twin->attention.sizes.stream = t.op->attention.sizes.stream;
        vt_net_give(t.net, t.twin, floats_of(&t, "dy"), twin_factor);
        root = t.op->shape.rank == 3 ? vt_residual(t.net->graph, "both", t.op, t.twin, 0)
                                     : vt_residual(t.net->graph, "both", t.twin, t.op, 0);
    }
    vt_net_finish(t.net, root);
    set_leaves(&t);
    set_step(&t, STEP.draw);
    return t;
}

static void close_trial(struct trial *t)
{
    vt_net_free(t->net);
    *t = (struct trial){0};
}

static vt_dev *new_dev(int threads)
{
    vt_dev *dev = NULL;
    vt_error err = {0};
    if (vt_dev_new(&dev, threads, &err) != VT_OK)
        fail_msg("%s", err.text);
    return dev;
}

/* ---- PyTorch's numbers */

static double largest(const float *data, int64_t n)
{
    double most = 0;
    for (int64_t i = 0; i < n; i++)
        most = fmax(most, fabs((double)data[i]));
    return most;
}

static void check_close(const struct trial *t, const char *what, const float *got,
                        const float *want, int64_t n, double tolerance)
{
    double bound = tolerance * largest(want, n), mm=0;
    for (int64_t i=0;i<n;i++) mm=fmax(mm,fabs((double)got[i]-(double)want[i])/largest(want,n));
    if (getenv("SHOW")) printf("T %s %d %s %.2g of %.2g\n",t->row->name,t->i,what,mm,tolerance);
    for (int64_t i = 0; i < n; i++)
        if (!getenv("SHOW") && !(fabs((double)got[i] - (double)want[i]) <= bound))
            fail_msg("%s, case %d: %s[%lld] is %.9g, expected %.9g within %.3g", t->row->name, t->i,
                     what, (long long)i, (double)got[i], (double)want[i], bound);
}

static bool is_drop(const struct trial *t)
{
    return t->op->op == VT_OP_dropout || (t->op->op == VT_OP_residual && t->rate > 0);
}

static bool dropped(uint32_t word, double rate)
{
    return word < (uint32_t)floor((double)(float)rate * 0x1p32);
}

/* Whether element `e` of image `b` falls to the generator. */
static bool drawn_out(vt_draw_stream stream, double rate, uint32_t draw, int64_t b, int64_t e)
{
    vt_rng rng = {{STEP.key[0], STEP.key[1]}, (uint32_t)b, draw, stream};
    return dropped(vt_rng_u32(&rng, (uint64_t)e), rate);
}

/* The fixture's mask is PyTorch's, so where the generator's agrees the results do too; all results
 * are checked bit for bit with the formula. Counts kept and dropped draws. */
static void check_drop(struct trial *t, uint32_t draw, int64_t count[2])
{
    bool element = t->op->op == VT_OP_dropout;
    int64_t n = t->op->shape.size, per_image = n / t->op->shape.dim[0];
    const float *x = floats_of(t, "x"), *dy = floats_of(t, "dy"), *mask = floats_of(t, "mask");
    const float *f = element ? NULL : floats_of(t, "f");
    const char *branch = element ? "dx" : "df";
    const float *y = vt_net_find(t->net, "y")->data, *df = vt_net_find(t->net, branch)->data;
    const float *y_torch = floats_of(t, "y"), *df_torch = floats_of(t, branch);
    for (int64_t i = 0; i < n; i++) {
        int64_t b = i / per_image, e = element ? i % per_image : 0;
        bool out = drawn_out(t->op->drop.stream, t->rate, draw, b, e);
        float scale = out ? 0 : 1.0f / (1.0f - (float)t->rate);
        float want = element ? scale * x[i] : fmaf(scale, f[i], x[i]), want_df = scale * dy[i];
        count[out]++;
        if (y[i] != want || df[i] != want_df)
            fail_msg("%s, case %d, %lld: y %.9g (%.9g), %s %.9g (%.9g)", t->row->name, t->i,
                     (long long)i, (double)y[i], (double)want, branch, (double)df[i],
                     (double)want_df);
        if ((mask[element ? i : b] == 0) != out)
            continue;
        double bound = t->row->y * fabs((double)(element ? y_torch[i] : 0)) +
                       (element ? 0 : t->row->y * (fabs((double)x[i]) + 2 * fabs((double)f[i])));
        assert_true(fabs((double)y[i] - (double)y_torch[i]) <= bound);
        assert_true(fabs((double)df[i] - (double)df_torch[i]) <=
                    t->row->gradient * fabs((double)df_torch[i]));
    }
    if (!element)
        assert_memory_equal(vt_net_find(t->net, "dx")->data, dy, (size_t)n * sizeof *dy);
}

static bool is_input(const struct trial *t, const char *name)
{
    if (strcmp(name, "dy") == 0 || strcmp(name, "mask") == 0)
        return true;
    for (int l = 0; l < t->net->n_leaves; l++)
        if (strcmp(t->net->leaf[l].name, name) == 0)
            return true;
    return false;
}

/* The pad's tensors where no padding attends: nothing to compute, and nothing expected. */
static bool is_idle_pad(const struct trial *t, const char *name, const vt_safetensor *tensor)
{
    if (t->op->op != VT_OP_attention || t->op->in[2])
        return false;
    if (strcmp(name, "dpad") == 0 && scalar(t, "bias"))
        {printf("PAD %d %g\n", t->i, largest(vt_fixture_floats(tensor), vt_fixture_size(tensor)));}
    return strcmp(name, "pad") == 0 || strcmp(name, "dpad") == 0;
}

static double tolerance_of(const struct row *row, const char *name)
{
    if (strcmp(name, "patches") == 0)
        return 0;
    if (strcmp(name, "p") == 0)
        return 1e-6;
    return name[0] == 'd' ? row->gradient : row->y;
}

static void check_rows_sum_to_one(const struct trial *t)
{
    const vt_attention_map *map = t->op->attention.map;
    const vt_net_output *p = vt_net_find(t->net, "p");
    int64_t rows_of_tokens = 0;
    for (int64_t r = 0; r < p->n / map->places; r++) {
        double sum = 0;
        for (int64_t k = 0; k < map->places; k++)
            sum += (double)p->data[r * map->places + k];
        if (sum == 0)
            continue;
        rows_of_tokens++;
        if (!(fabs(sum - 1) < 1e-6))
            fail_msg("%s, case %d: row %lld of the weights sums to %.9g", t->row->name, t->i,
                     (long long)r, sum);
    }
    assert_int_equal(rows_of_tokens,
                     t->op->shape.dim[0] * t->op->shape.dim[1] * t->op->attention.sizes.heads);
}

/* Every tensor of the case is written or compared. */
static void check_fixture(struct trial *t)
{
    const char *name;
    const vt_safetensor *tensor;
    int compared = 0;
    for (int j = 0; (tensor = vt_fixture_at(t->fixture, t->i, j, &name)); j++) {
        const vt_net_output *output = vt_net_find(t->net, name);
        int64_t n = vt_fixture_size(tensor);
        if (is_input(t, name) || is_idle_pad(t, name, tensor))
            continue;
        compared++;
        if (strcmp(name, "loss") == 0) {
            const vt_net_output *totals = vt_net_find(t->net, "totals");
            float loss = totals->data[VT_TOTAL_LOSS] / totals->data[VT_TOTAL_ROWS];
            check_close(t, name, &loss, vt_fixture_floats(tensor), 1, t->row->y);
            continue;
        }
        if (!output)
            fail_msg("%s, case %d: nothing computes %s", t->row->name, t->i, name);
        assert_int_equal(output->n, n);
        check_close(t, name, output->data, vt_fixture_floats(tensor), n,
                    tolerance_of(t->row, name));
    }
    assert_true(compared >= 2);
    if (t->op->op == VT_OP_attention)
        check_rows_sum_to_one(t);
}

static void equals_pytorch(void **state)
{
    const struct row *row = *state;
    vt_fixture fixture = vt_fixture_open(row->fixture);
    vt_dev *dev = new_dev(2);
    int64_t drawn[2] = {0};
    bool draws = false;
    for (int i = 0; i < fixture.n_cases; i++) {
        struct trial t = open_trial(row, &fixture, i, dev, 0, 0);
        for (uint32_t draw = 1; draw <= (is_drop(&t) ? 8u : 1u); draw++) {
            set_step(&t, draw);
            vt_net_run(t.net);
            draws |= is_drop(&t);
            if (is_drop(&t))
                check_drop(&t, draw, drawn);
            else
                check_fixture(&t);
        }
        close_trial(&t);
    }
    if (draws && (drawn[0] == 0 || drawn[1] == 0))
        fail_msg("the draws kept %lld and dropped %lld", (long long)drawn[0], (long long)drawn[1]);
    vt_dev_free(dev);
    vt_fixture_close(&fixture);
}

/* ---- finite differences */

/* Sum of dy * y in double; *noise: the size of what rounding y can add to it. */
static double weighed_output(const struct trial *t, double *noise)
{
    const vt_net_output *y = vt_net_find(t->net, "y");
    const float *dy = is_loss(t->op) ? NULL : floats_of(t, "dy");
    double sum = 0, squares = 0;
    for (int64_t i = 0; i < y->n; i++) {
        double weight = dy ? (double)dy[i] : 1 / (double)y->n, term = weight * (double)y->data[i];
        sum += term;
        squares += term * term;
    }
    *noise = U * sqrt(squares);
    return sum;
}

struct quotient {
    double difference; /* of the weighed output, over the length of the step */
    double gradient;   /* the gradient times the step that was really made, over the same */
    double noise;
};

static struct quotient difference_quotient(struct trial *t, const vt_net_leaf *leaf,
                                           const float *gradient, const float *direction, float h)
{
    const float *at = floats_of(t, leaf->name);
    struct quotient q = {0};
    float *moved = calloc((size_t)leaf->n, sizeof *moved);
    assert_non_null(moved);
    for (int side = -1; side <= 1; side += 2) {
        double noise;
        for (int64_t i = 0; i < leaf->n; i++) {
            moved[i] = at[i] + (float)side * h * direction[i];
            q.gradient += side * (double)gradient[i] * (double)moved[i] / (2 * (double)h);
        }
        vt_net_set(t->net, leaf->name, moved, leaf->n);
        vt_net_forward(t->net);
        q.difference += side * weighed_output(t, &noise) / (2 * (double)h);
        q.noise += noise / (double)h;
    }
    vt_net_set(t->net, leaf->name, at, leaf->n);
    free(moved);
    return q;
}

/*
 * The derivative along one random direction for each leaf, from central differences with steps h
 * and 2h (Richardson: the curvature error is h^4). The noise of y grows as 1/h: h = 1/64 leaves
 * both below 1e-4 of the gradient's length, which is what a random direction meets; a wrong or
 * missing term of any element's gradient changes it by that element's share. An op linear in each
 * leaf has no curvature, so h = 1/2.
 */
static void check_difference(struct trial *t, const vt_net_leaf *leaf, uint32_t number_of_leaf)
{
    char name[VT_NET_NAME + 1];
    float *direction = calloc((size_t)leaf->n, sizeof *direction),
          h = t->row->linear ? 0.5f : 0x1p-6f;
    vt_rng rng = vt_rng_at(7, VT_STREAM_TEST, number_of_leaf, (uint32_t)t->i, 0);
    double length = 0;
    assert_non_null(direction);
    snprintf(name, sizeof name, "d%s", leaf->name);
    const float *gradient = vt_net_find(t->net, name)->data;
    for (int64_t i = 0; i < leaf->n; i++) {
        direction[i] = (float)vt_rng_normal(&rng, (uint64_t)i);
        length += (double)gradient[i] * (double)gradient[i];
    }
    struct quotient one = difference_quotient(t, leaf, gradient, direction, h);
    struct quotient two = difference_quotient(t, leaf, gradient, direction, 2 * h);
    double difference = (4 * one.difference - two.difference) / 3;
    double want = (4 * one.gradient - two.gradient) / 3;
    double bound = t->row->difference * sqrt(length) + 4 * (one.noise + two.noise);
    if (getenv("SHOW"))
        printf("%s %d %s: %.3g of %.3g noise %.3g\n", t->row->name, t->i, name,
               fabs(difference - want) / sqrt(length), t->row->difference,
               4 * (one.noise + two.noise) / sqrt(length));
    if (!(fabs(difference - want) <= bound))
        fail_msg("%s, case %d: along %s %.9g, by differences %.9g, allowed %.3g apart",
                 t->row->name, t->i, name, want, difference, bound);
    free(direction);
}

static void check_differences(const struct row *row, double rate)
{
    vt_fixture fixture = vt_fixture_open(row->fixture);
    vt_dev *dev = new_dev(2);
    for (int i = 0; i < fixture.n_cases; i++) {
        struct trial t = open_trial(row, &fixture, i, dev, rate, 0);
        vt_net_run(t.net);
        int leaves = 0;
        for (int l = 0; l < t.net->n_leaves; l++)
            if (t.net->leaf[l].source->op == VT_OP_PARAM) {
                check_difference(&t, &t.net->leaf[l], (uint32_t)l);
                leaves++;
            }
        assert_true(leaves > 0);
        close_trial(&t);
    }
    vt_dev_free(dev);
    vt_fixture_close(&fixture);
}

static void agrees_with_differences(void **state)
{
    check_differences(*state, 0);
}

/* ---- equal bits */

static void hash_case(const struct row *row, const vt_fixture *fixture, int i, vt_dev *dev,
                      char hex[VT_SHA256_HEX_SIZE])
{
    struct trial t = open_trial(row, fixture, i, dev, 0, 0);
    vt_net_run(t.net);
    vt_net_hash(t.net, hex);
    close_trial(&t);
}

static void check_hashes(const struct row *row, vt_dev *one, vt_dev *other, const char *what)
{
    vt_fixture fixture = vt_fixture_open(row->fixture);
    for (int i = 0; i < fixture.n_cases; i++) {
        char want[VT_SHA256_HEX_SIZE], got[VT_SHA256_HEX_SIZE];
        hash_case(row, &fixture, i, one, want);
        hash_case(row, &fixture, i, other, got);
        if (strcmp(want, got) != 0)
            fail_msg("%s, case %d: other bits %s", row->name, i, what);
    }
    vt_fixture_close(&fixture);
}

static void has_one_hash(void **state)
{
    static const int threads[] = {2, 3, 5};
    vt_dev *one = new_dev(1);
    for (size_t i = 0; i < sizeof threads / sizeof threads[0]; i++) {
        vt_dev *other = new_dev(threads[i]);
        char what[64];
        for (uint64_t order = 0; order < 3; order++) {
            snprintf(what, sizeof what, "at %d threads, chunk order %d", threads[i], (int)order);
            vt_pool_shuffle(vt_dev_pool(other), order);
            check_hashes(*state, one, other, what);
        }
        vt_dev_free(other);
    }
    vt_dev_free(one);
}

static void has_equal_bits_at_both_widths(void **state)
{
    vt_dev *narrow = NULL, *wide = NULL;
    vt_error err = {0};
    setenv("VITRINE_KERNELS", "avx2", 1);
    vt_status status = vt_dev_new(&narrow, 2, &err);
    setenv("VITRINE_KERNELS", "avx512", 1);
    if (status == VT_OK)
        status = vt_dev_new(&wide, 2, &err);
    unsetenv("VITRINE_KERNELS");
    if (status == VT_ERR_HELPER && narrow) {
        vt_dev_free(narrow);
        print_message("skipped: %s\n", err.text);
        skip();
    }
    if (status != VT_OK)
        fail_msg("%s", err.text);
    assert_string_equal(vt_dev_info(narrow)->kernels, "avx2");
    assert_string_equal(vt_dev_info(wide)->kernels, "avx512");
    check_hashes(*state, narrow, wide, "with AVX-512");
    vt_dev_free(wide);
    vt_dev_free(narrow);
}

static void reads_and_writes_only_what_is_its_own(void **state)
{
    const struct row *row = *state;
    vt_fixture fixture = vt_fixture_open(row->fixture);
    vt_dev *dev = new_dev(2);
    for (int i = 0; i < fixture.n_cases; i++) {
        char want[VT_SHA256_HEX_SIZE], got[VT_SHA256_HEX_SIZE];
        struct trial t = open_trial(row, &fixture, i, dev, 0, 0);
        vt_net_run(t.net);
        vt_net_hash(t.net, want);
        vt_program_poison(t.net->program, true);
        for (int pass = 0; pass < 2; pass++) {
            vt_net_run(t.net);
            vt_net_hash(t.net, got);
            if (strcmp(want, got) != 0)
                fail_msg("%s, case %d: other bits in poisoned memory", row->name, i);
            assert_int_equal(vt_program_broken_guards(t.net->program), 0);
        }
        close_trial(&t);
    }
    vt_dev_free(dev);
    vt_fixture_close(&fixture);
}

/* ---- gradients that meet */

/* Two ops with gradients dy and -dy/4: each leaf gets 3/4 of what one op gives, but for the
 * rounding of one sum. */
static void adds_to_the_gradient_of_another(void **state)
{
    enum { TWIN_QUARTERS = -1 };
    const struct row *row = *state;
    vt_fixture fixture = vt_fixture_open(row->fixture);
    vt_dev *dev = new_dev(2);
    for (int i = 0; i < fixture.n_cases; i++) {
        struct trial one = open_trial(row, &fixture, i, dev, 0, 0);
        struct trial two = open_trial(row, &fixture, i, dev, 0, TWIN_QUARTERS * 0.25f);
        vt_net_run(one.net);
        vt_program_poison(two.net->program, true);
        vt_net_run(two.net);
        for (int l = 0; l < one.net->n_leaves; l++) {
            char name[VT_NET_NAME + 1];
            snprintf(name, sizeof name, "d%s", one.net->leaf[l].name);
            const vt_net_output *single = vt_net_find(one.net, name);
            if (!single)
                continue;
            for (int64_t e = 0; e < single->n; e++)
                single->data[e] *= (4 + TWIN_QUARTERS) * 0.25f;
            check_close(&two, name, vt_net_find(two.net, name)->data, single->data, single->n,
                        4 * U);
        }
        assert_int_equal(vt_program_broken_guards(two.net->program), 0);
        close_trial(&two);
        close_trial(&one);
    }
    vt_dev_free(dev);
    vt_fixture_close(&fixture);
}

/* ---- */

static const struct {
    const char *name;
    CMUnitTestFunction function;
} properties[] = {
    {"equals PyTorch's numbers", equals_pytorch},
    {"has the gradient that differences show", agrees_with_differences},
    {"has one hash at any thread count and chunk order", has_one_hash},
    {"has equal bits with AVX2 and AVX-512", has_equal_bits_at_both_widths},
    {"reads and writes only what is its own", reads_and_writes_only_what_is_its_own},
    {"adds to a gradient that another op wrote", adds_to_the_gradient_of_another},
};
enum { N_PROPERTIES = sizeof properties / sizeof properties[0] };

int main(void)
{
    /* The loss comes last in both lists: nothing adds to what it writes, as it is the root. */
    enum { N_TESTS = N_ROWS * N_PROPERTIES - 1, SENTENCE = 128 };
    struct CMUnitTest tests[N_TESTS] = {0};
    char names[N_TESTS][SENTENCE];
    for (int i = 0; i < N_TESTS; i++) {
        const struct row *row = &rows[i / N_PROPERTIES];
        snprintf(names[i], SENTENCE, "%s %s", row->name, properties[i % N_PROPERTIES].name);
        tests[i].name = names[i];
        tests[i].test_func = properties[i % N_PROPERTIES].function;
        tests[i].initial_state = (void *)(uintptr_t)row;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
