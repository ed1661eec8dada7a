#include "ops/ops.h"

vt_node *vt_activation(vt_graph *g, const char *name, vt_node *x, vt_activation_kind kind)
{
    vt_node *n = vt_node_new(g, VT_OP_activation, name, 1, (vt_node *[]){x});
    if (n)
        n->activation.kind = kind;
    return vt_graph_add(g, n);
}

vt_status vt_op_activation_infer(vt_node *n, vt_error *err)
{
    (void)err;
    n->shape = n->in[0]->shape;
    n->reads_in[0] = true;
    n->remakes = n->in_place = true;
    n->overwrites = 1;
    return VT_OK;
}

void vt_op_activation_fwd(const vt_call *c)
{
    c->k->activation_fwd(c->dev, c->y, c->x[0], c->node->shape.size, c->node->activation.kind);
}

void vt_op_activation_bwd(const vt_call *c)
{
    c->k->activation_bwd(c->dev, c->dx[0], c->write[0], c->remade, c->dy, c->x[0],
                         c->node->shape.size, c->node->activation.kind);
}
