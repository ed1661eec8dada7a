#include "base/rng.h"
#include "ops/ops.h"

enum { X, F };

vt_node *vt_residual(vt_graph *g, const char *name, vt_node *x, vt_node *f, double drop_path)
{
    vt_node *n = vt_node_new(g, VT_OP_residual, name, 2, (vt_node *[]){x, f});
    if (n && g->training && drop_path > 0) {
        n->drop.rate = (float)drop_path;
        n->drop.stream = vt_rng_at(0, VT_STREAM_DROP_PATH, (uint32_t)g->drop_sites++, 0, 0).stream;
    }
    return vt_graph_add(g, n);
}

vt_status vt_op_residual_infer(vt_node *n, vt_error *err)
{
    if (!vt_shape_equal(n->in[X]->shape, n->in[F]->shape))
        return vt_fail_shape(err, n, "the branch has another shape than the stream");
    n->shape = n->in[X]->shape;
    n->overwrites = 1u << F;
    n->hands_on = n->drop.rate > 0 ? 1u << X : 1u << X | 1u << F;
    return VT_OK;
}

void vt_op_residual_fwd(const vt_call *c)
{
    int64_t batch = c->node->shape.dim[0];
    c->k->residual_fwd(c->dev, c->y, c->x[X], c->x[F], batch, c->node->shape.size / batch,
                       c->node->drop.rate, c->node->drop.stream, c->step);
}

void vt_op_residual_bwd(const vt_call *c)
{
    int64_t batch = c->node->shape.dim[0];
    if (c->dx[X].data || c->dx[F].data)
        c->k->residual_bwd(c->dev, c->dx[X], c->write[X], c->dx[F], c->write[F], c->dy, batch,
                           c->node->shape.size / batch, c->node->drop.rate, c->node->drop.stream,
                           c->step);
}
