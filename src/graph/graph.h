/*
 * The static graph of one batch: values (nodes) made by ops from other values and parameters.
 *
 * A model builder calls op functions (ops/ops.h), each of which adds a node. Builders never check
 * for failure: the first one (a wrong shape, no memory) is kept in the graph, every later call
 * returns NULL, and vt_graph_finish reports it. Nodes are in the order of computation.
 *
 * Parameters live in a vt_params store that several graphs of one model share (the graphs of the
 * full and the last, smaller batch, of training and evaluation): the first graph creates them, the
 * others find them by name.
 */
#ifndef VT_GRAPH_GRAPH_H
#define VT_GRAPH_GRAPH_H

#include "base/status.h"
#include "kernels/kernels.h"

#include <stdbool.h>
#include <stdint.h>

enum { VT_MAX_RANK = 4, VT_MAX_IN = 5, VT_MAX_KEPT = 3, VT_NODE_NAME = 96 };

typedef struct vt_shape {
    int rank;
    int64_t dim[VT_MAX_RANK];
    int64_t size; /* product of dim */
} vt_shape;

vt_shape vt_shape_of(int rank, const int64_t *dim);
int64_t vt_shape_last(vt_shape shape);
bool vt_shape_equal(vt_shape a, vt_shape b);
/* "64 x 256 x 192"; returns `text`. */
enum { VT_SHAPE_TEXT = 96 };
const char *vt_shape_text(vt_shape shape, char text[VT_SHAPE_TEXT]);

/* What a parameter is for: decides weight decay. */
typedef enum vt_role {
    VT_ROLE_WEIGHT,
    VT_ROLE_BIAS,
    VT_ROLE_NORM,
    VT_ROLE_POS_EMBED,
    VT_ROLE_CLS_TOKEN,
    VT_ROLE_REL_BIAS,
    VT_ROLE_BUFFER, /* running statistics: not trained, not counted, but saved and loaded */
    VT_ROLE_FIXED,  /* a constant table: not trained, not saved, not counted */
} vt_role;

bool vt_role_trains(vt_role role);

typedef enum vt_fill_kind {
    VT_FILL_ZERO,
    VT_FILL_ONE,
    VT_FILL_NORMAL,  /* standard deviation `scale` */
    VT_FILL_UNIFORM, /* in (-scale, scale) */
    VT_FILL_SINCOS,  /* two-dimensional sine-cosine positions of a `side` wide grid */
} vt_fill_kind;

/* How a parameter starts. Element e of parameter number p is drawn from stream INIT, layer p. */
typedef struct vt_fill {
    vt_fill_kind kind;
    double scale;
    int64_t side, skip; /* SINCOS: grid width; rows before it that stay 0 (the class token) */
} vt_fill;

typedef struct vt_param {
    char name[VT_NODE_NAME]; /* timm's name */
    vt_shape shape;
    vt_role role;
    vt_fill fill;
    int number;     /* in order of creation */
    bool head;      /* of the layer that makes the logits: its size follows the classes */
    bool trained;   /* set by vt_params_layout */
    bool decayed;   /* set by vt_params_layout */
    int64_t offset; /* in floats, into the weights block; the same in gradients if trained */
} vt_param;

/*
 * All parameters of a model. Three contiguous ranges of one block, each parameter padded to 16
 * floats: trained with weight decay, trained without, not trained.
 */
typedef struct vt_params {
    vt_param **item;
    int n, capacity;
    bool laid_out;
    int64_t n_decayed, n_trained, n_floats; /* range ends, in floats */
} vt_params;

vt_params *vt_params_new(void);
void vt_params_free(vt_params *params);
/* Elements of the parameters that count: neither buffers nor fixed tables. */
int64_t vt_params_count(const vt_params *params);
vt_param *vt_params_find(const vt_params *params, const char *name);
/* Sets trained, decayed and offsets. no_decay: mask of 1u << VT_NO_DECAY_*, as in config/. */
void vt_params_layout(vt_params *params, uint32_t no_decay, const char *const *freeze,
                      int n_freeze);
/* Writes the initial values into a host block of n_floats. */
void vt_params_fill(const vt_params *params, uint64_t seed, float *weights);

#define VT_OP(name) VT_OP_##name,
typedef enum vt_op {
#include "ops/ops.def"
    VT_OP_INPUT, /* written from outside before each pass */
    VT_OP_PARAM,
    VT_OP_COUNT
} vt_op;
#undef VT_OP

/*
 * Where the tokens of an attention's windows lie on the map, for captures. Window number p, place
 * n: without windows (window_h = 0) token n of the map, behind the class token if there is one;
 * with dilation d > 1, row n / window_w * d + p / d, column n % window_w * d + p % d; else the
 * place in the window p of the padded map rolled by the shift.
 */
typedef struct vt_attention_layout {
    int64_t grid_h, grid_w, window_h, window_w, shift_h, shift_w, dilation;
    bool has_cls;
} vt_attention_layout;

typedef struct vt_node vt_node;

struct vt_node {
    vt_op op;
    const vt_kernels *k; /* the graph's */
    char name[VT_NODE_NAME];
    int number; /* in the graph */
    int n_in;
    vt_node *in[VT_MAX_IN]; /* an optional input that is not given is NULL */
    vt_shape shape;
    vt_dtype type;   /* the graph's, but for inputs, parameters and losses */
    bool needs_grad; /* a trained parameter lies at or before it */

    /* Said by the op's infer function: */
    bool reads_in[VT_MAX_IN]; /* the backward pass reads this input's value */
    uint32_t rounds;          /* parameters (1 << i) that are taken in the graph's type */
    bool remakes;             /* the backward pass can make the value again, at little cost */
    /* The backward pass may write in[0]'s gradient where the node's own lies, and the value that it
     * makes again where in[0]'s does. */
    bool in_place;
    /* Inputs (1 << i) in whose place the forward pass may write the value, and the backward pass
     * the input's own gradient, if they end there. */
    uint32_t overwrites, overwrites_back;
    /* Inputs (1 << i) whose gradients are the node's own: where the plan lays them in one place,
     * the backward pass is given none to write. */
    uint32_t hands_on;
    /* Inputs (1 << i) whose gradients the backward pass computes in a call of their own if asked,
     * the only one to read in[0]'s value; 0: it has one call. */
    uint32_t late;
    struct {
        vt_dtype type;
        int64_t n;
    } kept[VT_MAX_KEPT]; /* values saved for the backward pass */
    int n_kept;
    size_t forward_scratch_bytes; /* during the op's forward pass */
    size_t scratch_bytes;         /* during the op's backward pass */
    size_t worker_scratch_bytes;  /* a thread, in both */
    double macs;                  /* multiply-accumulates forward, as computed */
    double macs_padded;           /* of the form that computes padded and unread tokens too */

    vt_param *param; /* VT_OP_PARAM */
    union {
        struct {
            float eps;
        } layernorm;
        struct {
            vt_activation_kind kind;
        } activation;
        struct {
            const vt_attention_map *map;
            vt_attention_sizes sizes;
            vt_attention_layout layout;
        } attention;
        struct {
            int64_t patch;
        } patchify;
        struct {
            int64_t height, width;
        } merge;
        vt_conv_sizes conv; /* dense and depthwise */
        vt_batchnorm_sizes batchnorm;
        vt_pooling_sizes pooling;
        vt_resize_sizes resize;
        struct {
            float rate; /* drop path of a residual; dropout */
            vt_draw_stream stream;
        } drop;
        struct {
            float smoothing;
        } cross_entropy;
    };
};

typedef struct vt_graph {
    vt_node **node;
    int n, capacity;
    vt_params *params;   /* not owned */
    const vt_kernels *k; /* those that will compute it */
    vt_dtype type;       /* of activations: VT_F32 unless set before the first node */
    int64_t batch;
    bool training;  /* dropout and drop path are active, a backward pass will follow */
    int drop_sites; /* numbers the generator streams of dropout */
    vt_error error; /* the first failure */
    void **blocks;  /* memory that lives as long as the graph */
    int n_blocks, blocks_capacity;
} vt_graph;

vt_graph *vt_graph_new(vt_params *params, const vt_kernels *k, int64_t batch, bool training);
void vt_graph_free(vt_graph *graph);
/* The first failure, if any. */
vt_status vt_graph_finish(const vt_graph *graph, vt_error *err);

/* Zeroed memory that the graph frees; NULL after a failure. */
void *vt_graph_alloc(vt_graph *graph, size_t n, size_t size);

vt_node *vt_graph_input(vt_graph *graph, const char *name, vt_dtype type, vt_shape shape);
/* The parameter of that name, created by the first graph. A second use of a name in one graph, or
 * another shape than the first time, is a bug. */
vt_node *vt_graph_param(vt_graph *graph, const char *name, vt_shape shape, vt_role role,
                        vt_fill fill);

/* For op functions: a node to be completed and handed to vt_graph_add; NULL after a failure. */
vt_node *vt_node_new(vt_graph *graph, vt_op op, const char *name, int n_in, vt_node *const *in);
/* Calls the op's infer function and appends the node. */
vt_node *vt_graph_add(vt_graph *graph, vt_node *node);
/* For infer functions. */
void vt_node_keep(vt_node *node, int i, vt_dtype type, int64_t n);
vt_status vt_fail_shape(vt_error *err, const vt_node *node, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#endif
