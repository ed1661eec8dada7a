#include "ops/ops.h"

#include <inttypes.h>

enum { X, W, B };

static vt_node *add_conv(vt_graph *g, vt_node *n, int64_t height, int64_t width, int64_t stride,
                         int64_t pad, int64_t groups)
{
    if (n)
        n->conv = (vt_conv_sizes){
            .H = height, .W = width, .stride = stride, .pad = pad, .groups = groups};
    return vt_graph_add(g, n);
}

static vt_status infer_map(vt_node *n, vt_error *err)
{
    vt_shape x = n->in[X]->shape, w = n->in[W]->shape;
    vt_conv_sizes *s = &n->conv;
    s->batch = x.dim[0];
    s->C = vt_shape_last(x);
    if (x.rank < 3 || x.size != s->batch * s->H * s->W * s->C ||
        (x.rank == 4 && (x.dim[1] != s->H || x.dim[2] != s->W)))
        return vt_fail_shape(err, n, "%" PRId64 " x %" PRId64 " does not give the map's tokens",
                             s->H, s->W);
    if (w.rank != 4 || w.dim[2] != w.dim[3] || w.dim[0] % s->groups != 0 ||
        w.dim[1] * s->groups != s->C)
        return vt_fail_shape(err, n,
                             "a weight for %" PRId64 " inputs in each of %" PRId64
                             " groups meets %" PRId64 " channels",
                             w.rank == 4 ? w.dim[1] : 0, s->groups, s->C);
    s->O = w.dim[0];
    s->kernel = w.dim[2];
    if (s->stride < 1 || s->pad < 0 || s->H + 2 * s->pad < s->kernel ||
        s->W + 2 * s->pad < s->kernel)
        return vt_fail_shape(err, n,
                             "a kernel of %" PRId64 " does not fit a map of %" PRId64 " x %" PRId64
                             " padded by %" PRId64,
                             s->kernel, s->H, s->W, s->pad);
    const int64_t places = vt_conv_out(s->H, s->kernel, s->stride, s->pad) *
                           vt_conv_out(s->W, s->kernel, s->stride, s->pad);
    n->shape = vt_shape_of(3, (int64_t[]){s->batch, places, s->O});
    n->reads_in[X] = n->in[W]->needs_grad;
    if (n->reads_in[X])
        n->late = 1u << W | 1u << B;
    n->rounds = 1u << W | 1u << B;
    n->macs = (double)n->shape.size * (double)(w.size / s->O);
    return VT_OK;
}

vt_node *vt_conv(vt_graph *g, const char *name, vt_node *x, int64_t height, int64_t width,
                 vt_node *w, vt_node *b, int64_t stride, int64_t pad, int64_t groups)
{
    vt_node *n = vt_node_new(g, VT_OP_conv, name, 3, (vt_node *[]){x, w, b});
    return add_conv(g, n, height, width, stride, pad, groups);
}

vt_status vt_op_conv_infer(vt_node *n, vt_error *err)
{
    vt_status status = infer_map(n, err);
    if (status != VT_OK)
        return status;
    if (n->in[B] && n->in[B]->shape.size != n->conv.O)
        return vt_fail_shape(err, n, "the bias needs %" PRId64 " elements", n->conv.O);
    n->forward_scratch_bytes = n->k->conv_scratch(&n->conv, false);
    n->scratch_bytes = n->k->conv_scratch(&n->conv, true);
    n->worker_scratch_bytes = vt_conv_worker_scratch(&n->conv);
    return VT_OK;
}

void vt_op_conv_fwd(const vt_call *c)
{
    c->k->conv_fwd(c->dev, c->y, c->x[X], c->x[W], c->x[B], &c->node->conv, c->scratch);
}

void vt_op_conv_bwd(const vt_call *c)
{
    if (c->dx[W].data || c->dx[B].data)
        c->k->conv_bwd_w(c->dev, c->dx[W].data, c->dx[B].data, c->dy, c->x[X], &c->node->conv,
                         c->scratch);
    if (c->dx[X].data)
        c->k->conv_bwd_x(c->dev, c->dx[X], c->write[X], c->dy, c->x[W], &c->node->conv, c->scratch);
}

vt_node *vt_dwconv(vt_graph *g, const char *name, vt_node *x, int64_t height, int64_t width,
                   vt_node *w, int64_t stride, int64_t pad)
{
    vt_node *n = vt_node_new(g, VT_OP_dwconv, name, 2, (vt_node *[]){x, w});
    return add_conv(g, n, height, width, stride, pad, x ? vt_shape_last(x->shape) : 1);
}

vt_status vt_op_dwconv_infer(vt_node *n, vt_error *err)
{
    vt_status status = infer_map(n, err);
    if (status != VT_OK)
        return status;
    if (n->conv.O != n->conv.C)
        return vt_fail_shape(err, n, "a depthwise weight has one output for each channel");
    n->forward_scratch_bytes = n->k->dwconv_scratch(&n->conv, false);
    n->scratch_bytes = n->k->dwconv_scratch(&n->conv, true);
    return VT_OK;
}

void vt_op_dwconv_fwd(const vt_call *c)
{
    c->k->dwconv_fwd(c->dev, c->y, c->x[X], c->x[W], &c->node->conv, c->scratch);
}

void vt_op_dwconv_bwd(const vt_call *c)
{
    c->k->dwconv_bwd(c->dev, c->dx[X], c->write[X], c->dx[W].data, c->dy, c->x[X], c->x[W],
                     &c->node->conv, c->scratch);
}
