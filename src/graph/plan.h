/*
 * The plan of one graph: the steps of a pass (forward, then backward) and a place in one arena for
 * every value, gradient, kept value and scratch.
 *
 * A span lives from its first to its last step; spans whose lives overlap never share bytes.
 * Placement is greedy, largest first, at the lowest free offset. A gradient's first writer writes
 * it and later ones add, so nothing is cleared.
 *
 * The gradients of parameters are added to, and lie in one block, as the optimiser wants them.
 * Where each pass is a step of its own, that block is the beginning of the arena, and each of them
 * a span from the first step that adds to it to the end: those of the last layers lie where values
 * lay that are over by then.
 *
 * A value that its own backward step can make again, and that going back only the weight gradient
 * of a linear layer or a convolution reads, is not kept: its life ends with the forward pass, and
 * the layer's backward pass is two steps, the second behind the one that makes the value a second
 * time. Where an op computes in place, values, gradients and values made again take over the spans
 * they follow from. A sum hands its gradient on: to its first term the span itself, to the second a
 * look at it, if that is over before anything is added for the first.
 */
#ifndef VT_GRAPH_PLAN_H
#define VT_GRAPH_PLAN_H

#include "graph/graph.h"

typedef enum vt_grads {
    VT_GRADS_NONE,     /* nothing is trained */
    VT_GRADS_APART,    /* a block of its own, which keeps sums over several passes */
    VT_GRADS_IN_ARENA, /* cleared by the pass itself, and lost in the next one */
} vt_grads;

typedef struct vt_span {
    int first, last; /* steps, inclusive */
    int64_t offset, size_bytes;
} vt_span;

typedef struct vt_plan_step {
    int node;
    bool backward;
    uint32_t inputs; /* backward: those (1 << i) whose gradients it computes */
    int scratch;     /* index of a span, -1 for none */
} vt_plan_step;

typedef struct vt_node_plan {
    int value, grad; /* indices of spans, -1 for none */
    int staged;      /* of an input that is rounded: its floats, before the pass */
    int remade;      /* the value's second life */
    bool lent;       /* the gradient lies in another node's span, to be read only */
    int kept[VT_MAX_KEPT];
    int last_use;          /* step of the node that uses its value last, going forward */
    bool write[VT_MAX_IN]; /* this node's backward pass is the first writer of in[i]'s gradient */
} vt_node_plan;

typedef struct vt_plan {
    const vt_graph *graph;
    vt_node_plan *node; /* graph->n */
    vt_plan_step *steps;
    int n_steps, n_forward;
    vt_span *spans;
    int n_spans;
    int n_cleared; /* the first spans: parameters' gradients in the arena, by their first step */
    int64_t arena_bytes;    /* peak of the plan */
    int64_t unshared_bytes; /* what one buffer a value would take */
    int64_t worker_bytes;   /* scratch of one thread */
} vt_plan;

/* `guard_bytes` (a multiple of 64) are left free behind every span, for tests. The graph must
 * outlive the plan. With a training graph the node `root` is the loss; else its backward steps are
 * left out and `grads` is not looked at. Values of inputs, of `root` and of `keep` (may be NULL)
 * live through the whole pass. */
vt_status vt_plan_new(vt_plan **plan, const vt_graph *graph, const vt_node *root,
                      const vt_node *keep, vt_grads grads, int64_t guard_bytes, vt_error *err);
void vt_plan_free(vt_plan *plan);

/* Whether the backward pass of node number `node` has nothing to do for in[i]: its gradient is the
 * node's own, in the same place. */
bool vt_plan_hands_on(const vt_plan *plan, int node, int i);

#endif
