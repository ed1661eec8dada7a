#include "ops/ops.h"

#include <inttypes.h>

enum { X, W, B, RUNNING_MEAN, RUNNING_VAR }; /* inputs */
enum { MEAN, RSTD, LINE };                   /* values kept for the backward pass */

static const float MOMENTUM = 0.1f;

vt_node *vt_batchnorm(vt_graph *g, const char *name, vt_node *x, vt_node *w, vt_node *b,
                      vt_node *running_mean, vt_node *running_var, double eps,
                      vt_activation_kind activation)
{
    vt_node *n =
        vt_node_new(g, VT_OP_batchnorm, name, 5, (vt_node *[]){x, w, b, running_mean, running_var});
    if (n) {
        n->batchnorm.eps = (float)eps;
        n->batchnorm.momentum = MOMENTUM;
        n->batchnorm.training = g->training;
        n->batchnorm.activation = activation;
    }
    return vt_graph_add(g, n);
}

vt_status vt_op_batchnorm_infer(vt_node *n, vt_error *err)
{
    vt_batchnorm_sizes *sizes = &n->batchnorm;
    int64_t c = vt_shape_last(n->in[X]->shape);
    for (int i = W; i <= RUNNING_VAR; i++)
        if (n->in[i]->shape.size != c)
            return vt_fail_shape(err, n, "%s has %" PRId64 " elements, and not %" PRId64,
                                 n->in[i]->name, n->in[i]->shape.size, c);
    n->shape = n->in[X]->shape;
    sizes->rows = n->shape.size / c;
    sizes->cols = c;
    n->reads_in[X] = true;
    n->remakes = n->in_place = true;
    vt_node_keep(n, MEAN, VT_F64, c);
    vt_node_keep(n, RSTD, VT_F64, c);
    vt_node_keep(n, LINE, VT_F32, VT_BATCHNORM_LINE * c);
    n->forward_scratch_bytes = n->scratch_bytes = n->k->batchnorm_scratch(sizes->rows, c);
    return VT_OK;
}

void vt_op_batchnorm_fwd(const vt_call *c)
{
    c->k->batchnorm_fwd(c->dev, c->y, c->kept[MEAN], c->kept[RSTD], c->kept[LINE],
                        c->x[RUNNING_MEAN].data, c->x[RUNNING_VAR].data, c->x[X], c->x[W].data,
                        c->x[B].data, &c->node->batchnorm, c->step, c->scratch);
}

void vt_op_batchnorm_bwd(const vt_call *c)
{
    c->k->batchnorm_bwd(c->dev, c->dx[X], c->write[X], c->dx[W].data, c->dx[B].data, c->remade,
                        c->dy, c->x[X], c->x[W].data, c->kept[MEAN], c->kept[RSTD], c->kept[LINE],
                        &c->node->batchnorm, c->scratch);
}
