#include "ops/ops.h"

enum { A, B };

vt_node *vt_concat(vt_graph *g, const char *name, vt_node *a, vt_node *b)
{
    return vt_graph_add(g, vt_node_new(g, VT_OP_concat, name, 2, (vt_node *[]){a, b}));
}

vt_status vt_op_concat_infer(vt_node *n, vt_error *err)
{
    vt_shape a = n->in[A]->shape, b = n->in[B]->shape, like_a = b;
    int axis = a.rank - 1;
    if (a.rank == b.rank && axis >= 0)
        like_a.dim[axis] = a.dim[axis];
    if (axis < 0 || !vt_shape_equal(a, like_a))
        return vt_fail_shape(err, n, "the two parts differ in more than their channels");
    like_a.dim[axis] += b.dim[axis];
    n->shape = vt_shape_of(a.rank, like_a.dim);
    return VT_OK;
}

void vt_op_concat_fwd(const vt_call *c)
{
    int64_t Ca = vt_shape_last(c->node->in[A]->shape), Cb = vt_shape_last(c->node->in[B]->shape);
    c->k->concat_fwd(c->dev, c->y, c->x[A], c->x[B], c->node->shape.size / (Ca + Cb), Ca, Cb);
}

void vt_op_concat_bwd(const vt_call *c)
{
    int64_t Ca = vt_shape_last(c->node->in[A]->shape), Cb = vt_shape_last(c->node->in[B]->shape);
    c->k->concat_bwd(c->dev, c->dx[A], c->write[A], c->dx[B], c->write[B], c->dy,
                     c->node->shape.size / (Ca + Cb), Ca, Cb);
}
