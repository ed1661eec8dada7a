#include "base/rng.h"
#include "ops/ops.h"

#include <inttypes.h>
#include <math.h>

enum { QKV, TABLE, PAD };
enum { LSE };

vt_node *vt_attention(vt_graph *g, const char *name, vt_node *qkv, vt_node *table,
                      vt_node *pad_bias, const vt_attention_map *map, int64_t heads, double drop)
{
    vt_node *n = vt_node_new(g, VT_OP_attention, name, 3, (vt_node *[]){qkv, table, pad_bias});
    if (!n || !map)
        return NULL;
    uint32_t site = g->training && drop > 0 ? (uint32_t)g->drop_sites++ : 0;
    n->attention.map = map;
    n->attention.sizes = (vt_attention_sizes){
        .batch = g->batch,
        .heads = heads,
        .drop = g->training ? (float)drop : 0,
        .stream = vt_rng_at(0, VT_STREAM_DROPOUT, site, 0, 0).stream,
    };
    return vt_graph_add(g, n);
}

vt_status vt_op_attention_infer(vt_node *n, vt_error *err)
{
    vt_shape qkv = n->in[QKV]->shape;
    const vt_attention_map *map = n->attention.map;
    vt_attention_sizes *sizes = &n->attention.sizes;
    int64_t channels = vt_shape_last(qkv) / 3;
    if (qkv.rank != 3 || qkv.dim[1] != map->tokens || channels * 3 != qkv.dim[2])
        return vt_fail_shape(err, n, "attention over %" PRId64 " tokens meets another map",
                             map->tokens);
    if (channels % sizes->heads != 0)
        return vt_fail_shape(err, n, "%" PRId64 " channels do not divide into %" PRId64 " heads",
                             channels, sizes->heads);
    sizes->channels = channels;
    sizes->scale = (float)(1.0 / sqrt((double)(channels / sizes->heads)));
    n->shape = vt_shape_of(3, (int64_t[]){qkv.dim[0], qkv.dim[1], channels});
    n->reads_in[QKV] = true;
    n->remakes = n->k->attention_remakes;
    n->overwrites_back = n->k->attention_remakes ? 1u << QKV : 0;
    vt_node_keep(n, LSE, VT_F32, qkv.dim[0] * qkv.dim[1] * sizes->heads);
    double pairs = 0;
    for (int64_t i = 0; i < map->n_groups; i++)
        pairs += (double)map->groups[i].n_tokens * (double)map->groups[i].n_tokens;
    n->macs = 2 * pairs * (double)channels * (double)sizes->batch;
    n->macs_padded = 2 * (double)(map->windows * map->places * map->places) * (double)channels *
                     (double)sizes->batch;
    n->scratch_bytes = n->k->attention_scratch(map, sizes);
    n->worker_scratch_bytes = vt_attention_worker_scratch(map, sizes);
    return VT_OK;
}

void vt_op_attention_fwd(const vt_call *c)
{
    c->k->attention_fwd(c->dev, c->y, c->kept[LSE], c->x[QKV], c->x[TABLE].data, c->x[PAD].data,
                        c->map, &c->node->attention.sizes, c->step);
}

void vt_op_attention_bwd(const vt_call *c)
{
    c->k->attention_bwd(c->dev, c->dx[QKV], c->write[QKV], c->dx[TABLE].data, c->dx[PAD].data,
                        c->remade, c->dy, c->x[QKV], c->kept[LSE], c->x[TABLE].data, c->x[PAD].data,
                        c->map, &c->node->attention.sizes, c->step, c->scratch);
}
