/* The two ways from tokens (B, N, C) to one vector an image. */
#include "ops/ops.h"

vt_node *vt_mean_tokens(vt_graph *g, const char *name, vt_node *x)
{
    return vt_graph_add(g, vt_node_new(g, VT_OP_mean_tokens, name, 1, (vt_node *[]){x}));
}

vt_node *vt_first_token(vt_graph *g, const char *name, vt_node *x)
{
    return vt_graph_add(g, vt_node_new(g, VT_OP_first_token, name, 1, (vt_node *[]){x}));
}

static vt_status infer_pool(vt_node *n, vt_error *err)
{
    vt_shape x = n->in[0]->shape;
    if (x.rank != 3)
        return vt_fail_shape(err, n, "pooling needs tokens");
    n->shape = vt_shape_of(2, (int64_t[]){x.dim[0], x.dim[2]});
    return VT_OK;
}

vt_status vt_op_mean_tokens_infer(vt_node *n, vt_error *err)
{
    return infer_pool(n, err);
}

void vt_op_mean_tokens_fwd(const vt_call *c)
{
    vt_shape x = c->node->in[0]->shape;
    c->k->mean_tokens_fwd(c->dev, c->y, c->x[0], x.dim[0], x.dim[1], x.dim[2]);
}

void vt_op_mean_tokens_bwd(const vt_call *c)
{
    vt_shape x = c->node->in[0]->shape;
    c->k->mean_tokens_bwd(c->dev, c->dx[0], c->write[0], c->dy, x.dim[0], x.dim[1], x.dim[2]);
}

vt_status vt_op_first_token_infer(vt_node *n, vt_error *err)
{
    return infer_pool(n, err);
}

void vt_op_first_token_fwd(const vt_call *c)
{
    vt_shape x = c->node->in[0]->shape;
    c->k->first_token_fwd(c->dev, c->y, c->x[0], x.dim[0], x.dim[1], x.dim[2]);
}

void vt_op_first_token_bwd(const vt_call *c)
{
    vt_shape x = c->node->in[0]->shape;
    c->k->first_token_bwd(c->dev, c->dx[0], c->write[0], c->dy, x.dim[0], x.dim[1], x.dim[2]);
}
