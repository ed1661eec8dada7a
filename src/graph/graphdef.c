#include "graph/graphdef.h"

#include "base/proto.h"
#include "ops/ops.h"

#include <stdio.h>
#include <string.h>

/* Field numbers of the messages. */
enum { GRAPH_NODE = 1, GRAPH_VERSIONS = 4, VERSIONS_PRODUCER = 1 };
enum { NODE_NAME = 1, NODE_OP = 2, NODE_INPUT = 3, NODE_ATTRIBUTE = 5 };
enum { ENTRY_KEY = 1, ENTRY_VALUE = 2 };
enum { VALUE_LIST = 1, VALUE_INTEGER = 3, VALUE_TYPE = 6, LIST_SHAPE = 7 };
enum { SHAPE_DIM = 2, DIM_SIZE = 1 };
enum { PRODUCER = 22 }; /* the version of TensorFlow's graphs that this is written as */

static uint64_t type_number(vt_dtype type)
{
    switch (type) {
    case VT_F32:
    case VT_TF32:
        return 1;
    case VT_F64:
        return 2;
    case VT_I32:
        return 3;
    case VT_BF16:
        return 14;
    }
    return 0;
}

static const char *op_name(vt_op op)
{
    return op == VT_OP_PARAM ? "parameter" : op == VT_OP_INPUT ? "input" : vt_op_table[op].name;
}

enum { NAME_SIZE = VT_NODE_NAME + 16 };

/* A node's name there. One that an earlier node has gets that node's number behind it. */
static void name_node(const vt_graph *graph, int i, char name[NAME_SIZE])
{
    const char *own = graph->node[i]->name;
    int twins = 0;
    for (int j = 0; j < i; j++)
        twins += strcmp(graph->node[j]->name, own) == 0;
    if (twins)
        snprintf(name, NAME_SIZE, "%s_%d", own, twins);
    else
        snprintf(name, NAME_SIZE, "%s", own);
    for (char *c = name; *c; c++)
        if (*c == '.')
            *c = '/';
}

/* Pieces under construction, kept from node to node. */
struct pieces {
    vt_text node, entry, value, list, shape, dim;
};

static void add_attribute(struct pieces *p, const char *key)
{
    vt_proto_text(&p->entry, ENTRY_KEY, key);
    vt_proto_message(&p->entry, ENTRY_VALUE, &p->value);
    vt_proto_message(&p->node, NODE_ATTRIBUTE, &p->entry);
}

/* Attributes by ascending keys, as in a map that is written in order. */
static void add_attributes(struct pieces *p, const vt_node *node)
{
    for (int i = 0; i < node->shape.rank; i++) {
        if (node->shape.dim[i] != 0)
            vt_proto_integer(&p->dim, DIM_SIZE, (uint64_t)node->shape.dim[i]);
        vt_proto_message(&p->shape, SHAPE_DIM, &p->dim);
    }
    vt_proto_message(&p->list, LIST_SHAPE, &p->shape);
    vt_proto_message(&p->value, VALUE_LIST, &p->list);
    add_attribute(p, "_output_shapes");
    vt_proto_integer(&p->value, VALUE_TYPE, type_number(node->type));
    add_attribute(p, "dtype");
    if (node->macs > 0) {
        vt_proto_integer(&p->value, VALUE_INTEGER, (uint64_t)node->macs);
        add_attribute(p, "macs");
    }
}

void vt_graphdef_write(const vt_graph *graph, vt_text *message)
{
    struct pieces p = {0};
    char name[NAME_SIZE];
    for (int i = 0; i < graph->n; i++) {
        const vt_node *node = graph->node[i];
        name_node(graph, i, name);
        vt_proto_text(&p.node, NODE_NAME, name);
        vt_proto_text(&p.node, NODE_OP, op_name(node->op));
        for (int j = 0; j < node->n_in; j++) {
            if (!node->in[j])
                continue;
            name_node(graph, node->in[j]->number, name);
            vt_proto_text(&p.node, NODE_INPUT, name);
        }
        add_attributes(&p, node);
        vt_proto_message(message, GRAPH_NODE, &p.node);
    }
    vt_proto_integer(&p.value, VERSIONS_PRODUCER, PRODUCER);
    vt_proto_message(message, GRAPH_VERSIONS, &p.value);
    vt_text_release(&p.node);
    vt_text_release(&p.entry);
    vt_text_release(&p.value);
    vt_text_release(&p.list);
    vt_text_release(&p.shape);
    vt_text_release(&p.dim);
}
