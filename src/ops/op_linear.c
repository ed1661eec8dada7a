#include "ops/ops.h"

#include <inttypes.h>

enum { X, W, B };

vt_node *vt_linear(vt_graph *g, const char *name, vt_node *x, vt_node *w, vt_node *b)
{
    return vt_graph_add(g, vt_node_new(g, VT_OP_linear, name, 3, (vt_node *[]){x, w, b}));
}

vt_status vt_op_linear_infer(vt_node *n, vt_error *err)
{
    vt_shape x = n->in[X]->shape, w = n->in[W]->shape;
    int64_t in = vt_shape_last(x), out = w.dim[0];
    if (w.size != out * in)
        return vt_fail_shape(err, n, "a weight for %" PRId64 " inputs meets %" PRId64, w.size / out,
                             in);
    if (n->in[B] && n->in[B]->shape.size != out)
        return vt_fail_shape(err, n, "the bias needs %" PRId64 " elements", out);
    int64_t rows = x.size / in;
    x.dim[x.rank - 1] = out;
    n->shape = vt_shape_of(x.rank, x.dim);
    n->reads_in[X] = n->in[W]->needs_grad;
    if (n->reads_in[X])
        n->late = 1u << W | 1u << B;
    n->rounds = 1u << W | 1u << B;
    n->macs = (double)rows * (double)in * (double)out;
    n->forward_scratch_bytes = n->k->linear_scratch(rows, out, in, false);
    n->scratch_bytes = n->k->linear_scratch(rows, out, in, true);
    n->worker_scratch_bytes = vt_linear_worker_scratch();
    return VT_OK;
}

void vt_op_linear_fwd(const vt_call *c)
{
    int64_t in = vt_shape_last(c->node->in[X]->shape), out = vt_shape_last(c->node->shape);
    c->k->linear_fwd(c->dev, c->y, c->x[X], c->x[W], c->x[B], c->node->shape.size / out, out, in,
                     c->scratch);
}

void vt_op_linear_bwd(const vt_call *c)
{
    int64_t in = vt_shape_last(c->node->in[X]->shape), out = vt_shape_last(c->node->shape);
    int64_t rows = c->node->shape.size / out;
    if (c->dx[W].data || c->dx[B].data)
        c->k->linear_bwd_w(c->dev, c->dx[W].data, c->dx[B].data, c->dy, c->x[X], rows, out, in,
                           c->scratch);
    if (c->dx[X].data)
        c->k->linear_bwd_x(c->dev, c->dx[X], c->write[X], c->dy, c->x[W], rows, out, in,
                           c->scratch);
}
