#include "ops/ops.h"

#include <inttypes.h>

enum { INDEX }; /* kept by max pooling */

vt_node *vt_pooling(vt_graph *g, const char *name, vt_node *x, int64_t height, int64_t width,
                    int64_t kernel, int64_t stride, int64_t pad, vt_pooling_kind kind)
{
    vt_node *n = vt_node_new(g, VT_OP_pooling, name, 1, (vt_node *[]){x});
    if (n)
        n->pooling = (vt_pooling_sizes){
            .H = height, .W = width, .kernel = kernel, .stride = stride, .pad = pad, .kind = kind};
    return vt_graph_add(g, n);
}

vt_status vt_op_pooling_infer(vt_node *n, vt_error *err)
{
    vt_pooling_sizes *s = &n->pooling;
    vt_shape in = n->in[0]->shape;
    if (in.rank != 3 || in.dim[1] != s->H * s->W)
        return vt_fail_shape(err, n, "the map is not %" PRId64 " x %" PRId64, s->H, s->W);
    if (s->kernel < 1 || s->stride < 1 || s->pad < 0 || s->pad > s->kernel / 2 ||
        s->kernel > s->H + 2 * s->pad || s->kernel > s->W + 2 * s->pad)
        return vt_fail_shape(err, n,
                             "a window of %" PRId64 " places, stride %" PRId64 ", padding %" PRId64
                             " does not fit a map of %" PRId64 " x %" PRId64,
                             s->kernel, s->stride, s->pad, s->H, s->W);
    int64_t height = (s->H + 2 * s->pad - s->kernel) / s->stride + 1;
    int64_t width = (s->W + 2 * s->pad - s->kernel) / s->stride + 1;
    s->batch = in.dim[0];
    s->C = in.dim[2];
    n->shape = vt_shape_of(3, (int64_t[]){s->batch, height * width, s->C});
    if (s->kind == VT_POOLING_MAX)
        vt_node_keep(n, INDEX, VT_I32, n->shape.size);
    return VT_OK;
}

void vt_op_pooling_fwd(const vt_call *c)
{
    c->k->pooling_fwd(c->dev, c->y, c->kept[INDEX], c->x[0], &c->node->pooling);
}

void vt_op_pooling_bwd(const vt_call *c)
{
    c->k->pooling_bwd(c->dev, c->dx[0], c->write[0], c->dy, c->kept[INDEX], &c->node->pooling);
}
