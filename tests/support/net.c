#include "support/net.h"

#include "base/mem.h"
#include "support/test_device.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

vt_net *vt_net_new(vt_dev *dev, int64_t batch)
{
    vt_net *net = vt_calloc(1, sizeof *net);
    assert_non_null(net);
    net->dev = dev;
    net->params = vt_params_new();
    assert_non_null(net->params);
    net->graph = vt_graph_new(net->params, test_table(), batch, true);
    assert_non_null(net->graph);
    return net;
}

void vt_net_free(vt_net *net)
{
    vt_program_free(net->program);
    vt_memory_release(&net->memory);
    vt_plan_free(net->plan);
    vt_graph_free(net->graph);
    vt_params_free(net->params);
    for (int i = 0; i < net->n_outputs; i++)
        vt_free(net->output[i].data);
    for (int i = 0; i < net->n_leaves; i++)
        vt_free(net->leaf[i].before);
    vt_free(net);
}

static vt_net_leaf *find_leaf(vt_net *net, const char *name)
{
    for (int i = 0; i < net->n_leaves; i++)
        if (strcmp(net->leaf[i].name, name) == 0)
            return &net->leaf[i];
    return NULL;
}

static vt_net_output *add_output(vt_net *net, const char *name, int64_t n)
{
    assert_in_range(net->n_outputs, 0, VT_NET_OUTPUTS - 1);
    vt_net_output *output = &net->output[net->n_outputs++];
    snprintf(output->name, sizeof output->name, "%s", name);
    output->n = n;
    output->data = vt_calloc((size_t)n, sizeof *output->data);
    assert_non_null(output->data);
    return output;
}

static vt_node *add_leaf(vt_net *net, const char *name, vt_node *source, vt_node *value)
{
    assert_non_null(value);
    assert_in_range(net->n_leaves, 0, VT_NET_LEAVES - 1);
    vt_net_leaf *leaf = &net->leaf[net->n_leaves++];
    snprintf(leaf->name, sizeof leaf->name, "%s", name);
    leaf->source = source;
    leaf->value = value;
    leaf->n = source->shape.size;
    return value;
}

static vt_node *make_param(vt_net *net, const char *name, vt_shape shape)
{
    char gradient[VT_NET_NAME];
    snprintf(gradient, sizeof gradient, "d%s", name);
    add_output(net, gradient, shape.size);
    return vt_graph_param(net->graph, name, shape, VT_ROLE_WEIGHT, (vt_fill){0});
}

vt_node *vt_net_param(vt_net *net, const char *name, vt_shape shape)
{
    vt_net_leaf *leaf = find_leaf(net, name);
    if (leaf)
        return leaf->value;
    vt_node *param = make_param(net, name, shape);
    return add_leaf(net, name, param, param);
}

/* 0 + the parameter, exact in both directions. */
vt_node *vt_net_value(vt_net *net, const char *name, vt_shape shape)
{
    char zero[VT_NET_NAME];
    vt_net_leaf *leaf = find_leaf(net, name);
    if (leaf)
        return leaf->value;
    snprintf(zero, sizeof zero, "0.%s", name);
    vt_node *param = make_param(net, name, shape);
    vt_node *nothing = vt_graph_param(net->graph, zero, shape, VT_ROLE_WEIGHT, (vt_fill){0});
    return add_leaf(net, name, param, vt_residual(net->graph, name, nothing, param, 0));
}

vt_node *vt_net_buffer(vt_net *net, const char *name, vt_shape shape)
{
    char after[VT_NET_NAME];
    vt_net_leaf *leaf = find_leaf(net, name);
    if (leaf)
        return leaf->value;
    snprintf(after, sizeof after, "%s_after", name);
    add_output(net, after, shape.size);
    vt_node *param = vt_graph_param(net->graph, name, shape, VT_ROLE_BUFFER, (vt_fill){0});
    add_leaf(net, name, param, param);
    leaf = find_leaf(net, name);
    leaf->before = vt_calloc((size_t)shape.size, sizeof *leaf->before);
    assert_non_null(leaf->before);
    return param;
}

vt_node *vt_net_input(vt_net *net, const char *name, vt_dtype type, vt_shape shape)
{
    vt_net_leaf *leaf = find_leaf(net, name);
    if (leaf)
        return leaf->value;
    vt_node *input = vt_graph_input(net->graph, name, type, shape);
    return add_leaf(net, name, input, input);
}

void vt_net_watch(vt_net *net, const char *name, const vt_node *node, vt_net_watched what, int kept)
{
    const vt_attention_map *map = node->attention.map;
    int64_t n = what == VT_NET_KEPT    ? node->kept[kept].n
                : what == VT_NET_PROBS ? node->attention.sizes.batch * map->windows *
                                             node->attention.sizes.heads * map->places * map->places
                                       : node->shape.size;
    vt_net_output *output = add_output(net, name, n);
    output->node = node;
    output->what = what;
    output->kept = kept;
}

void vt_net_give(vt_net *net, const vt_node *node, const float *dy, float factor)
{
    assert_in_range(net->n_given, 0, 1);
    net->given[net->n_given].node = node;
    net->given[net->n_given].dy = dy;
    net->given[net->n_given++].factor = factor;
}

/* NaN between the parameters; the zeros of vt_net_value. */
static void fill_weights(vt_net *net)
{
    for (int64_t i = 0; i < net->memory.n_floats; i++)
        net->memory.weights[i] = NAN;
    for (int i = 0; i < net->params->n; i++)
        memset(net->memory.weights + net->params->item[i]->offset, 0,
               (size_t)net->params->item[i]->shape.size * sizeof(float));
}

void vt_net_finish(vt_net *net, vt_node *root)
{
    vt_error err = {0};
    vt_node *labels = NULL;
    if (root && root->shape.rank == 3)
        root = vt_mean_tokens(net->graph, "rows", root);
    if (root && root->op != VT_OP_cross_entropy) {
        labels = vt_graph_input(net->graph, "0", VT_I32, vt_shape_of(1, root->shape.dim));
        root = vt_cross_entropy(net->graph, "loss", root, labels, 0);
    }
    add_output(net, "totals", VT_TOTALS);
    if (vt_graph_finish(net->graph, &err) != VT_OK)
        fail_msg("the graph: %s", err.text);
    net->loss = root;
    vt_params_layout(net->params, 0, NULL, 0);
    if (vt_plan_new(&net->plan, net->graph, root, NULL, VT_GRADS_APART, VT_NET_GUARD, &err) !=
            VT_OK ||
        vt_memory_init(&net->memory, net->dev, net->params, VT_F32, net->plan->arena_bytes,
                       VT_GRADS_APART, &err) != VT_OK ||
        vt_program_new(&net->program, net->plan, &net->memory, &err) != VT_OK)
        fail_msg("the program: %s", err.text);
    fill_weights(net);
    vt_net_set_step(net, (vt_step){.key = {1, 2}, .draw = 3, .grad_scale = 1, .clip = 1});
}

void vt_net_set(vt_net *net, const char *name, const float *data, int64_t n)
{
    const vt_net_leaf *leaf = find_leaf(net, name);
    if (!leaf || leaf->n != n)
        fail_msg("no leaf %s of %lld numbers", name, (long long)n);
    void *to = vt_program_value(net->program, leaf->source);
    if (leaf->before)
        memcpy(leaf->before, data, (size_t)n * sizeof *data);
    if (leaf->source->type == VT_F32)
        vt_dev_write(net->dev, to, data, (size_t)n * sizeof *data);
    for (int64_t i = 0; i < n && leaf->source->type == VT_I32; i++) {
        int32_t label = (int32_t)data[i];
        vt_dev_write(net->dev, (int32_t *)to + i, &label, sizeof label);
    }
}

void vt_net_set_step(vt_net *net, vt_step step)
{
    vt_dev_write(net->dev, net->memory.step, &step, sizeof step);
}

static void read_probs(vt_net *net, const vt_call *call, vt_net_output *output)
{
    size_t bytes = (size_t)output->n * sizeof(float);
    float *probs = vt_dev_alloc(net->dev, bytes);
    assert_non_null(probs);
    memset(probs, 0xff, bytes); /* every place is written, those that nobody sees too */
    call->k->attention_probs(call->dev, probs, call->x[0], call->kept[0], call->x[1].data,
                             call->x[2].data, call->map, &call->node->attention.sizes);
    vt_dev_read(net->dev, output->data, probs, bytes);
    vt_dev_release(net->dev, probs, bytes);
}

/* Numbers of any type, as floats. */
static void read_numbers(vt_net *net, float *to, const void *from, vt_dtype type, int64_t n)
{
    if (type == VT_F32)
        vt_dev_read(net->dev, to, from, (size_t)n * sizeof *to);
    for (int64_t i = 0; i < n && type != VT_F32; i++) {
        double real = 0;
        int32_t whole = 0;
        if (type == VT_F64)
            vt_dev_read(net->dev, &real, (const double *)from + i, sizeof real);
        else
            vt_dev_read(net->dev, &whole, (const int32_t *)from + i, sizeof whole);
        to[i] = (float)(real + whole);
    }
}

static void read_outputs(vt_net *net, const vt_call *call)
{
    for (int i = 0; i < net->n_outputs; i++) {
        vt_net_output *output = &net->output[i];
        if (output->node != call->node)
            continue;
        if (output->what == VT_NET_PROBS)
            read_probs(net, call, output);
        else if (output->what == VT_NET_KEPT)
            read_numbers(net, output->data, call->kept[output->kept],
                         call->node->kept[output->kept].type, output->n);
        else
            read_numbers(net, output->data, call->y.data, call->y.type, output->n);
    }
}

static void replace_gradients(vt_net *net, const vt_call *call)
{
    for (int in = 0; in < call->node->n_in; in++)
        for (int g = 0; g < net->n_given; g++) {
            if (!call->node->in[in] || call->node->in[in] != net->given[g].node)
                continue;
            if (!call->dx[in].data) /* this call computes the gradients of other inputs */
                continue;
            net->given[g].used = true;
            for (int64_t i = 0; i < call->node->in[in]->shape.size; i++) {
                float dy = net->given[g].dy[i] * net->given[g].factor;
                vt_dev_write(net->dev, (float *)call->dx[in].data + i, &dy, sizeof dy);
            }
        }
}

void vt_net_poison(vt_net *net, bool on)
{
    net->poison = on;
    vt_program_poison(net->program, on);
}

/* Spans whose life ends in this step; inputs, which live to the end, are spared. */
static void poison_dead_spans(vt_net *net)
{
    for (int i = 0; i < net->plan->n_spans && net->step < net->plan->n_steps - 1; i++)
        if (net->plan->spans[i].last == net->step)
            memset(net->memory.arena + net->plan->spans[i].offset, 0xff,
                   (size_t)net->plan->spans[i].size_bytes);
}

static void watch(void *arg, const vt_call *call)
{
    vt_net *net = arg;
    if (call->backward)
        replace_gradients(net, call);
    else
        read_outputs(net, call);
    if (net->poison)
        poison_dead_spans(net);
    net->step++;
}

static void restore_buffers(vt_net *net)
{
    for (int i = 0; i < net->n_leaves; i++)
        if (net->leaf[i].before)
            vt_dev_write(net->dev, vt_program_value(net->program, net->leaf[i].source),
                         net->leaf[i].before, (size_t)net->leaf[i].n * sizeof(float));
}

static void read_buffers(vt_net *net)
{
    for (int i = 0; i < net->n_leaves; i++) {
        char after[VT_NET_NAME + 8];
        if (!net->leaf[i].before)
            continue;
        snprintf(after, sizeof after, "%s_after", net->leaf[i].name);
        vt_dev_read(net->dev, vt_net_find(net, after)->data,
                    vt_program_value(net->program, net->leaf[i].source),
                    (size_t)net->leaf[i].n * sizeof(float));
    }
}

void vt_net_forward(vt_net *net)
{
    double totals[VT_TOTALS] = {0};
    restore_buffers(net);
    vt_dev_write(net->dev, net->memory.totals, totals, sizeof totals);
    net->step = 0;
    vt_program_forward(net->program, watch, net);
    vt_dev_read(net->dev, totals, net->memory.totals, sizeof totals);
    const vt_net_output *output = vt_net_find(net, "totals");
    for (int i = 0; i < VT_TOTALS; i++)
        output->data[i] = (float)totals[i];
    read_buffers(net);
}

static void check_between_params(const vt_net *net)
{
    for (int64_t at = 0; at < net->memory.n_floats; at++) {
        bool inside = false;
        for (int i = 0; i < net->params->n && !inside; i++) {
            const vt_param *param = net->params->item[i];
            inside = at >= param->offset && at < param->offset + param->shape.size;
        }
        bool wrote = at < net->memory.n_trained && net->memory.grads[at] != 0;
        if (!inside && (wrote || !isnan(net->memory.weights[at])))
            fail_msg("float %lld, between two parameters, was written", (long long)at);
    }
}

void vt_net_run(vt_net *net)
{
    memset(net->memory.grads, 0, (size_t)net->memory.n_trained * sizeof(float));
    for (int g = 0; g < net->n_given; g++)
        net->given[g].used = false;
    vt_net_forward(net);
    vt_program_backward(net->program, watch, net);
    for (int g = 0; g < net->n_given; g++)
        if (!net->given[g].used)
            fail_msg("a gradient that was handed in found no step to enter by");
    for (int i = 0; i < net->n_leaves; i++) {
        const vt_node *source = net->leaf[i].source;
        char gradient[VT_NET_NAME + 1];
        if (source->op != VT_OP_PARAM || net->leaf[i].before)
            continue;
        snprintf(gradient, sizeof gradient, "d%s", net->leaf[i].name);
        vt_dev_read(net->dev, vt_net_find(net, gradient)->data,
                    vt_program_grad(net->program, source), (size_t)net->leaf[i].n * sizeof(float));
    }
    check_between_params(net);
}

const vt_net_output *vt_net_find(const vt_net *net, const char *name)
{
    for (int i = 0; i < net->n_outputs; i++)
        if (strcmp(net->output[i].name, name) == 0)
            return &net->output[i];
    return NULL;
}

void vt_net_hash(const vt_net *net, char hex[VT_SHA256_HEX_SIZE])
{
    vt_sha256 hash;
    uint8_t digest[VT_SHA256_SIZE];
    vt_sha256_init(&hash);
    for (int i = 0; i < net->n_outputs; i++)
        vt_sha256_add(&hash, net->output[i].data, (size_t)net->output[i].n * sizeof(float));
    vt_sha256_finish(&hash, digest);
    vt_sha256_hex(digest, hex);
}
