#include "ops/ops.h"

vt_node *vt_patchify(vt_graph *g, const char *name, vt_node *image, int64_t patch)
{
    vt_node *n = vt_node_new(g, VT_OP_patchify, name, 1, (vt_node *[]){image});
    if (n)
        n->patchify.patch = patch;
    return vt_graph_add(g, n);
}

vt_status vt_op_patchify_infer(vt_node *n, vt_error *err)
{
    vt_shape x = n->in[0]->shape;
    int64_t p = n->patchify.patch;
    if (x.rank != 4 || p < 1 || n->in[0]->needs_grad)
        return vt_fail_shape(err, n, "patches are cut from the input image");
    int64_t height = (x.dim[1] + p - 1) / p, width = (x.dim[2] + p - 1) / p;
    n->shape = vt_shape_of(3, (int64_t[]){x.dim[0], height * width, x.dim[3] * p * p});
    return VT_OK;
}

void vt_op_patchify_fwd(const vt_call *c)
{
    vt_shape x = c->node->in[0]->shape;
    c->k->patchify_fwd(c->dev, c->y, c->x[0], x.dim[0], x.dim[1], x.dim[2], x.dim[3],
                       c->node->patchify.patch);
}

/* The image needs no gradient, so the planner never asks for this. */
void vt_op_patchify_bwd(const vt_call *c)
{
    VT_ASSERT(!c->dx[0].data);
}
