#include "ops/ops.h"

vt_node *vt_gelu(vt_graph *g, const char *name, vt_node *x, vt_gelu_form form)
{
    vt_node *n = vt_node_new(g, VT_OP_gelu, name, 1, (vt_node *[]){x});
    if (n)
        n->gelu.form = form;
    return vt_graph_add(g, n);
}

vt_status vt_op_gelu_infer(vt_node *n, vt_error *err)
{
    (void)err;
    n->shape = n->in[0]->shape;
    n->reads_in[0] = true;
    return VT_OK;
}

void vt_op_gelu_fwd(const vt_call *c)
{
    c->k->gelu_fwd(c->dev, c->y, c->x[0], c->node->shape.size, c->node->gelu.form);
}

void vt_op_gelu_bwd(const vt_call *c)
{
    c->k->gelu_bwd(c->dev, c->dx[0], c->write[0], c->dy, c->x[0], c->node->shape.size,
                   c->node->gelu.form);
}
