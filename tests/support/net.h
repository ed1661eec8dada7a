/*
 * A net: a training graph of one op (or two) between parameters and a loss, its plan with guards,
 * its memory and program. Whatever fails here fails the test.
 *
 *     new, then leaves and ops, then finish, then any number of set and run
 *
 * A leaf is a parameter, or a value that the graph computes from one without changing a bit: so the
 * parameter's gradient is the value's, which the op wrote into the arena. The loss behind the op
 * only serves to start a backward pass; its gradient is replaced by the one handed in.
 */
#ifndef VT_TESTS_SUPPORT_NET_H
#define VT_TESTS_SUPPORT_NET_H

#include "base/hash.h"
#include "graph/exec.h"

enum { VT_NET_LEAVES = 8, VT_NET_OUTPUTS = 16, VT_NET_NAME = 32, VT_NET_GUARD = 64 };

typedef enum vt_net_watched { VT_NET_VALUE, VT_NET_KEPT, VT_NET_PROBS } vt_net_watched;

/* A number that the net computed, copied when it was there. */
typedef struct vt_net_output {
    char name[VT_NET_NAME]; /* "y", "dx", ... */
    const vt_node *node;    /* NULL: gradient of a parameter, and totals */
    vt_net_watched what;
    int kept;
    float *data;
    int64_t n;
} vt_net_output;

typedef struct vt_net_leaf {
    char name[VT_NET_NAME];
    vt_node *source, *value; /* what is written; what ops read */
    float *before;           /* of a buffer: what was set, for each pass to begin with */
    int64_t n;
} vt_net_leaf;

typedef struct vt_net {
    vt_dev *dev; /* not owned */
    vt_params *params;
    vt_graph *graph;
    vt_node *loss;
    vt_plan *plan;
    vt_memory memory;
    vt_program *program;
    vt_net_leaf leaf[VT_NET_LEAVES];
    int n_leaves;
    vt_net_output output[VT_NET_OUTPUTS];
    int n_outputs;
    struct {
        const vt_node *node;
        const float *dy;
        float factor;
        bool used;
    } given[2]; /* gradients handed in */
    int n_given;
    bool poison;
    int step; /* of the plan */
} vt_net;

vt_net *vt_net_new(vt_dev *dev, int64_t batch);
void vt_net_free(vt_net *net);

/* Leaves are found again by their name, so an op can be built twice on the same ones. */
vt_node *vt_net_param(vt_net *net, const char *name, vt_shape shape);
vt_node *vt_net_value(vt_net *net, const char *name, vt_shape shape);
/* Running statistics: each pass begins with what was set, and leaves its result in "NAME_after". */
vt_node *vt_net_buffer(vt_net *net, const char *name, vt_shape shape);
vt_node *vt_net_input(vt_net *net, const char *name, vt_dtype type, vt_shape shape);

/* Asks for an output: a node's value; what it keeps under number `kept`; attention's weights. */
void vt_net_watch(vt_net *net, const char *name, const vt_node *node, vt_net_watched what,
                  int kept);
/* factor * dy becomes the gradient of the node's value. */
void vt_net_give(vt_net *net, const vt_node *node, const float *dy, float factor);

/* Adds the loss behind `root` (the loss itself, (B, C), or (B, N, C)), and plans and binds all. All
 * parameter memory that belongs to no leaf is NaN. */
void vt_net_finish(vt_net *net, vt_node *root);
/* Writes a leaf; fp32 numbers become labels where it is I32. */
void vt_net_set(vt_net *net, const char *name, const float *data, int64_t n);
void vt_net_set_step(vt_net *net, vt_step step);

/* As vt_program_poison, and what dies becomes NaN too, so that a late reader shows. */
void vt_net_poison(vt_net *net, bool on);

/* One pass from cleared gradients and totals; then outputs are there (the forward pass alone leaves
 * gradients as they were), and nothing outside the leaves' gradients was written. */
void vt_net_forward(vt_net *net);
void vt_net_run(vt_net *net);
/* NULL if there is none of that name. */
const vt_net_output *vt_net_find(const vt_net *net, const char *name);
/* Hash of all outputs. */
void vt_net_hash(const vt_net *net, char hex[VT_SHA256_HEX_SIZE]);

#endif
