#include "ops/ops.h"

#include <inttypes.h>

enum { X, W, B };    /* inputs */
enum { MEAN, RSTD }; /* values kept for the backward pass */

vt_node *vt_layernorm(vt_graph *g, const char *name, vt_node *x, vt_node *w, vt_node *b, double eps)
{
    vt_node *n = vt_node_new(g, VT_OP_layernorm, name, 3, (vt_node *[]){x, w, b});
    if (n)
        n->layernorm.eps = (float)eps;
    return vt_graph_add(g, n);
}

vt_status vt_op_layernorm_infer(vt_node *n, vt_error *err)
{
    int64_t c = vt_shape_last(n->in[X]->shape), rows = n->in[X]->shape.size / c;
    if (n->in[W]->shape.size != c || n->in[B]->shape.size != c)
        return vt_fail_shape(err, n, "weight and bias need %" PRId64 " elements", c);
    n->shape = n->in[X]->shape;
    n->reads_in[X] = true;
    n->remakes = true;
    vt_node_keep(n, MEAN, VT_F32, rows);
    vt_node_keep(n, RSTD, VT_F32, rows);
    n->scratch_bytes = n->k->layernorm_scratch(rows, c);
    return VT_OK;
}

void vt_op_layernorm_fwd(const vt_call *c)
{
    int64_t cols = vt_shape_last(c->node->shape), rows = c->node->shape.size / cols;
    c->k->layernorm_fwd(c->dev, c->y, c->kept[MEAN], c->kept[RSTD], c->x[X], c->x[W].data,
                        c->x[B].data, rows, cols, c->node->layernorm.eps);
}

void vt_op_layernorm_bwd(const vt_call *c)
{
    int64_t cols = vt_shape_last(c->node->shape), rows = c->node->shape.size / cols;
    c->k->layernorm_bwd(c->dev, c->dx[X], c->write[X], c->dx[W].data, c->dx[B].data, c->remade,
                        c->dy, c->x[X], c->x[W].data, c->x[B].data, c->kept[MEAN], c->kept[RSTD],
                        rows, cols, c->scratch);
}
