#include "ops/ops.h"

#include <inttypes.h>

enum { X, CLS, POS };

vt_node *vt_tokens(vt_graph *g, const char *name, vt_node *x, vt_node *cls, vt_node *pos)
{
    return vt_graph_add(g, vt_node_new(g, VT_OP_tokens, name, 3, (vt_node *[]){x, cls, pos}));
}

vt_status vt_op_tokens_infer(vt_node *n, vt_error *err)
{
    vt_shape x = n->in[X]->shape;
    int64_t tokens = x.dim[1] + (n->in[CLS] != NULL);
    if (x.rank != 3 || (n->in[CLS] && n->in[CLS]->shape.size != x.dim[2]) ||
        (n->in[POS] && n->in[POS]->shape.size != tokens * x.dim[2]))
        return vt_fail_shape(err, n, "the tables do not fit %" PRId64 " tokens", tokens);
    n->shape = vt_shape_of(3, (int64_t[]){x.dim[0], tokens, x.dim[2]});
    return VT_OK;
}

void vt_op_tokens_fwd(const vt_call *c)
{
    vt_shape x = c->node->in[X]->shape;
    c->k->tokens_fwd(c->dev, c->y, c->x[X], c->x[CLS].data, c->x[POS].data, x.dim[0], x.dim[1],
                     x.dim[2]);
}

void vt_op_tokens_bwd(const vt_call *c)
{
    vt_shape x = c->node->in[X]->shape;
    c->k->tokens_bwd(c->dev, c->dx[X], c->write[X], c->dx[CLS].data, c->dx[POS].data, c->dy,
                     c->node->in[CLS] != NULL, x.dim[0], x.dim[1], x.dim[2]);
}
