#include "base/rng.h"
#include "ops/ops.h"

vt_node *vt_dropout(vt_graph *g, const char *name, vt_node *x, double rate)
{
    if (!g->training || rate <= 0)
        return x;
    vt_node *n = vt_node_new(g, VT_OP_dropout, name, 1, (vt_node *[]){x});
    if (n) {
        n->drop.rate = (float)rate;
        n->drop.stream = vt_rng_at(0, VT_STREAM_DROPOUT, (uint32_t)g->drop_sites++, 0, 0).stream;
    }
    return vt_graph_add(g, n);
}

vt_status vt_op_dropout_infer(vt_node *n, vt_error *err)
{
    (void)err;
    n->shape = n->in[0]->shape;
    return VT_OK;
}

void vt_op_dropout_fwd(const vt_call *c)
{
    int64_t batch = c->node->shape.dim[0];
    c->k->dropout_fwd(c->dev, c->y, c->x[0], batch, c->node->shape.size / batch, c->node->drop.rate,
                      c->node->drop.stream, c->step);
}

void vt_op_dropout_bwd(const vt_call *c)
{
    int64_t batch = c->node->shape.dim[0];
    c->k->dropout_bwd(c->dev, c->dx[0], c->write[0], c->dy, batch, c->node->shape.size / batch,
                      c->node->drop.rate, c->node->drop.stream, c->step);
}
