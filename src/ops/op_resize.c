#include "ops/ops.h"

#include <inttypes.h>

vt_node *vt_resize(vt_graph *g, const char *name, vt_node *x, int64_t height, int64_t width,
                   int64_t to_height, int64_t to_width, vt_resize_kind kind)
{
    vt_node *n = vt_node_new(g, VT_OP_resize, name, 1, (vt_node *[]){x});
    if (n)
        n->resize = (vt_resize_sizes){
            .H = height, .W = width, .Ho = to_height, .Wo = to_width, .kind = kind};
    return vt_graph_add(g, n);
}

vt_status vt_op_resize_infer(vt_node *n, vt_error *err)
{
    vt_resize_sizes *s = &n->resize;
    vt_shape in = n->in[0]->shape;
    if (in.rank != 3 || in.dim[1] != s->H * s->W)
        return vt_fail_shape(err, n, "the map is not %" PRId64 " x %" PRId64, s->H, s->W);
    if (s->Ho < 1 || s->Wo < 1)
        return vt_fail_shape(err, n, "cannot become a map of %" PRId64 " x %" PRId64, s->Ho, s->Wo);
    s->batch = in.dim[0];
    s->C = in.dim[2];
    n->shape = vt_shape_of(3, (int64_t[]){s->batch, s->Ho * s->Wo, s->C});
    return VT_OK;
}

void vt_op_resize_fwd(const vt_call *c)
{
    c->k->resize_fwd(c->dev, c->y, c->x[0], &c->node->resize);
}

void vt_op_resize_bwd(const vt_call *c)
{
    c->k->resize_bwd(c->dev, c->dx[0], c->write[0], c->dy, &c->node->resize);
}
