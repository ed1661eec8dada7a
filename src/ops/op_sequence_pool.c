#include "ops/ops.h"

enum { X, SCORES };
enum { P }; /* kept for the backward pass */

vt_node *vt_sequence_pool(vt_graph *g, const char *name, vt_node *x, vt_node *scores)
{
    return vt_graph_add(g, vt_node_new(g, VT_OP_sequence_pool, name, 2, (vt_node *[]){x, scores}));
}

vt_status vt_op_sequence_pool_infer(vt_node *n, vt_error *err)
{
    vt_shape in = n->in[X]->shape;
    if (in.rank != 3 || n->in[SCORES]->shape.size != in.dim[0] * in.dim[1])
        return vt_fail_shape(err, n, "there must be one score for each token");
    n->shape = vt_shape_of(2, (int64_t[]){in.dim[0], in.dim[2]});
    n->reads_in[X] = true;
    vt_node_keep(n, P, VT_F32, in.dim[0] * in.dim[1]);
    return VT_OK;
}

void vt_op_sequence_pool_fwd(const vt_call *c)
{
    const int64_t *dim = c->node->in[X]->shape.dim;
    c->k->sequence_pool_fwd(c->dev, c->y, c->kept[P], c->x[X], c->x[SCORES], dim[0], dim[1],
                            dim[2]);
}

void vt_op_sequence_pool_bwd(const vt_call *c)
{
    const int64_t *dim = c->node->in[X]->shape.dim;
    c->k->sequence_pool_bwd(c->dev, c->dx[X], c->write[X], c->dx[SCORES], c->write[SCORES], c->dy,
                            c->x[X], c->kept[P], dim[0], dim[1], dim[2]);
}
