#include "graph/graph.h"

#include "base/mem.h"
#include "ops/ops.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

vt_shape vt_shape_of(int rank, const int64_t *dim)
{
    vt_shape shape = {.rank = rank, .size = 1};
    VT_ASSERT(rank <= VT_MAX_RANK);
    for (int i = 0; i < rank; i++) {
        shape.dim[i] = dim[i];
        shape.size *= dim[i];
    }
    return shape;
}

int64_t vt_shape_last(vt_shape shape)
{
    return shape.rank ? shape.dim[shape.rank - 1] : 1;
}

bool vt_shape_equal(vt_shape a, vt_shape b)
{
    return a.rank == b.rank && memcmp(a.dim, b.dim, (size_t)a.rank * sizeof *a.dim) == 0;
}

const char *vt_shape_text(vt_shape shape, char text[VT_SHAPE_TEXT])
{
    int size = 0;
    text[0] = '\0';
    for (int i = 0; i < shape.rank; i++)
        size += snprintf(text + size, (size_t)(VT_SHAPE_TEXT - size), "%s%" PRId64, i ? " x " : "",
                         shape.dim[i]);
    return text;
}

vt_graph *vt_graph_new(vt_params *params, const vt_kernels *k, int64_t batch, bool training)
{
    vt_graph *graph = vt_calloc(1, sizeof *graph);
    if (graph) {
        graph->params = params;
        graph->k = k;
        graph->batch = batch;
        graph->training = training;
    }
    return graph;
}

void vt_graph_free(vt_graph *graph)
{
    if (!graph)
        return;
    for (int i = 0; i < graph->n_blocks; i++)
        vt_free(graph->blocks[i]);
    vt_free(graph->blocks);
    vt_free(graph->node);
    vt_free(graph);
}

vt_status vt_graph_finish(const vt_graph *graph, vt_error *err)
{
    if (graph->error.status != VT_OK)
        return vt_fail(err, graph->error.status, "%s", graph->error.text);
    return VT_OK;
}

/* Room for one more pointer in a growing array. */
static bool grow(void *array, int n, int *capacity)
{
    void **pointers;
    if (n < *capacity)
        return true;
    int wanted = *capacity ? *capacity * 2 : 64;
    memcpy(&pointers, array, sizeof pointers);
    pointers = vt_realloc(pointers, (size_t)wanted, sizeof *pointers);
    if (!pointers)
        return false;
    memcpy(array, &pointers, sizeof pointers);
    *capacity = wanted;
    return true;
}

void *vt_graph_alloc(vt_graph *graph, size_t n, size_t size)
{
    void *block = NULL;
    if (graph->error.status != VT_OK)
        return NULL;
    if (grow(&graph->blocks, graph->n_blocks, &graph->blocks_capacity))
        block = vt_calloc(n, size);
    if (!block) {
        vt_fail(&graph->error, VT_ERR_NOMEM, "no memory for the graph");
        return NULL;
    }
    graph->blocks[graph->n_blocks++] = block;
    return block;
}

vt_node *vt_node_new(vt_graph *graph, vt_op op, const char *name, int n_in, vt_node *const *in)
{
    vt_node *node = vt_graph_alloc(graph, 1, sizeof *node);
    if (!node)
        return NULL;
    VT_ASSERT(n_in <= VT_MAX_IN && strlen(name) < VT_NODE_NAME);
    node->op = op;
    node->k = graph->k;
    node->type = graph->type;
    snprintf(node->name, sizeof node->name, "%s", name);
    node->n_in = n_in;
    for (int i = 0; i < n_in; i++) {
        node->in[i] = in[i];
        node->needs_grad |= in[i] && in[i]->needs_grad;
    }
    return node;
}

vt_node *vt_graph_add(vt_graph *graph, vt_node *node)
{
    if (!node || graph->error.status != VT_OK)
        return NULL;
    if (node->op < VT_OP_INPUT && vt_op_table[node->op].infer(node, &graph->error) != VT_OK)
        return NULL;
    if (!grow(&graph->node, graph->n, &graph->capacity)) {
        vt_fail(&graph->error, VT_ERR_NOMEM, "no memory for the graph");
        return NULL;
    }
    if (node->macs_padded < node->macs)
        node->macs_padded = node->macs;
    node->number = graph->n;
    graph->node[graph->n++] = node;
    return node;
}

vt_node *vt_graph_input(vt_graph *graph, const char *name, vt_dtype type, vt_shape shape)
{
    vt_node *node = vt_node_new(graph, VT_OP_INPUT, name, 0, NULL);
    if (node) {
        node->shape = shape;
        node->type = type;
    }
    return vt_graph_add(graph, node);
}

static vt_param *create(vt_params *params, const char *name, vt_shape shape, vt_role role,
                        vt_fill fill)
{
    vt_param *param = vt_calloc(1, sizeof *param);
    if (!param || !grow(&params->item, params->n, &params->capacity)) {
        vt_free(param);
        return NULL;
    }
    snprintf(param->name, sizeof param->name, "%s", name);
    param->shape = shape;
    param->role = role;
    param->fill = fill;
    param->number = params->n;
    param->trained = vt_role_trains(role);
    params->item[params->n++] = param;
    return param;
}

vt_node *vt_graph_param(vt_graph *graph, const char *name, vt_shape shape, vt_role role,
                        vt_fill fill)
{
    vt_node *node = vt_node_new(graph, VT_OP_PARAM, name, 0, NULL);
    if (!node)
        return NULL;
    vt_param *param = vt_params_find(graph->params, name);
    VT_ASSERT(param || !graph->params->laid_out);
    if (!param)
        param = create(graph->params, name, shape, role, fill);
    if (!param) {
        vt_fail(&graph->error, VT_ERR_NOMEM, "no memory for the parameters");
        return NULL;
    }
    VT_ASSERT(vt_shape_equal(param->shape, shape));
    node->param = param;
    node->shape = shape;
    node->type = VT_F32;
    node->needs_grad = param->trained;
    return vt_graph_add(graph, node);
}

void vt_node_keep(vt_node *node, int i, vt_dtype type, int64_t n)
{
    VT_ASSERT(i < VT_MAX_KEPT);
    node->kept[i].type = type;
    node->kept[i].n = n;
    if (node->n_kept <= i)
        node->n_kept = i + 1;
}

vt_status vt_fail_shape(vt_error *err, const vt_node *node, const char *format, ...)
{
    char text[400];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    return vt_fail(err, VT_ERR_CONFIG, "%s: %s", node->name, text);
}
