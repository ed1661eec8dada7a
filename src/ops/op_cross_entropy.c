#include "ops/ops.h"

enum { LOGITS, LABELS };
enum { LSE, RANK };

vt_node *vt_cross_entropy(vt_graph *g, const char *name, vt_node *logits, vt_node *labels,
                          double smoothing)
{
    vt_node *n = vt_node_new(g, VT_OP_cross_entropy, name, 2, (vt_node *[]){logits, labels});
    if (n)
        n->cross_entropy.smoothing = (float)smoothing;
    return vt_graph_add(g, n);
}

vt_status vt_op_cross_entropy_infer(vt_node *n, vt_error *err)
{
    vt_shape x = n->in[LOGITS]->shape;
    if (x.rank != 2 || n->in[LABELS]->shape.size != x.dim[0] || n->in[LABELS]->type != VT_I32)
        return vt_fail_shape(err, n, "the loss needs one label a row of logits");
    n->shape = vt_shape_of(1, x.dim);
    n->type = VT_F32;
    n->reads_in[LOGITS] = n->reads_in[LABELS] = true;
    vt_node_keep(n, LSE, VT_F32, x.dim[0]);
    vt_node_keep(n, RANK, VT_I32, x.dim[0]);
    return VT_OK;
}

void vt_op_cross_entropy_fwd(const vt_call *c)
{
    vt_shape x = c->node->in[LOGITS]->shape;
    c->k->cross_entropy_fwd(c->dev, c->y.data, c->kept[LSE], c->kept[RANK], c->totals, c->x[LOGITS],
                            c->x[LABELS].data, x.dim[0], x.dim[1],
                            c->node->cross_entropy.smoothing);
}

void vt_op_cross_entropy_bwd(const vt_call *c)
{
    vt_shape x = c->node->in[LOGITS]->shape;
    VT_ASSERT(c->write[LOGITS]);
    c->k->cross_entropy_bwd(c->dev, c->dx[LOGITS], c->x[LOGITS], c->kept[LSE], c->x[LABELS].data,
                            x.dim[0], x.dim[1], c->node->cross_entropy.smoothing, c->step);
}
