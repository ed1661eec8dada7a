#include "ops/ops.h"

#include <inttypes.h>

vt_node *vt_merge(vt_graph *g, const char *name, vt_node *x, int64_t height, int64_t width)
{
    vt_node *n = vt_node_new(g, VT_OP_merge, name, 1, (vt_node *[]){x});
    if (n) {
        n->merge.height = height;
        n->merge.width = width;
    }
    return vt_graph_add(g, n);
}

vt_status vt_op_merge_infer(vt_node *n, vt_error *err)
{
    vt_shape x = n->in[0]->shape;
    int64_t height = n->merge.height, width = n->merge.width;
    if (x.rank != 3 || x.dim[1] != height * width)
        return vt_fail_shape(err, n, "%" PRId64 " x %" PRId64 " does not give the map's tokens",
                             height, width);
    n->shape =
        vt_shape_of(3, (int64_t[]){x.dim[0], (height + 1) / 2 * ((width + 1) / 2), 4 * x.dim[2]});
    return VT_OK;
}

void vt_op_merge_fwd(const vt_call *c)
{
    vt_shape x = c->node->in[0]->shape;
    c->k->merge_fwd(c->dev, c->y, c->x[0], x.dim[0], c->node->merge.height, c->node->merge.width,
                    x.dim[2]);
}

void vt_op_merge_bwd(const vt_call *c)
{
    vt_shape x = c->node->in[0]->shape;
    c->k->merge_bwd(c->dev, c->dx[0], c->write[0], c->dy, x.dim[0], c->node->merge.height,
                    c->node->merge.width, x.dim[2]);
}
