/*
 * Running a plan on a device: every pointer of every call is fixed once, so a pass is a walk over
 * a list and allocates nothing.
 *
 * vt_memory is the memory that all programs of a model share: parameters, their gradients (in the
 * arena, where the plans have them there), one arena as large as the largest plan, the step's
 * scalars and the loss totals.
 */
#ifndef VT_GRAPH_EXEC_H
#define VT_GRAPH_EXEC_H

#include "graph/plan.h"
#include "kernels/device.h"
#include "ops/ops.h"

enum { VT_TOTAL_LOSS, VT_TOTAL_TOP1, VT_TOTAL_TOP5, VT_TOTAL_ROWS, VT_TOTALS };

typedef struct vt_memory {
    vt_dev *dev;
    int64_t n_floats, n_trained; /* of the parameters */
    float *weights;              /* device */
    vt_grads where;              /* the gradients lie */
    float *grads;                /* device; NULL without training */
    void *rounded;               /* the weights in VT_BF16, made in each forward pass; or NULL */
    char *arena;
    int64_t arena_bytes;
    vt_step *step;  /* device */
    double *totals; /* device, VT_TOTALS */
} vt_memory;

/* Start with {0}. Takes the blocks; `grads` as in the training plans; `type` is the graphs'. */
vt_status vt_memory_init(vt_memory *memory, vt_dev *dev, const vt_params *params, vt_dtype type,
                         int64_t arena_bytes, vt_grads grads, vt_error *err);
void vt_memory_release(vt_memory *memory);
typedef struct vt_program vt_program;

/* Called after each call of a pass. */
typedef void vt_program_hook(void *arg, const vt_call *call);

/* The plan must have been counted in memory->arena_bytes; plan and memory outlive the program. */
vt_status vt_program_new(vt_program **program, const vt_plan *plan, const vt_memory *memory,
                         vt_error *err);
void vt_program_free(vt_program *program);
const vt_plan *vt_program_plan(const vt_program *program);

/* Device pointers of a node's value and of its gradient. */
void *vt_program_value(const vt_program *program, const vt_node *node);
void *vt_program_grad(const vt_program *program, const vt_node *node);

/* A real value from and to the host's floats, whatever its type is on the device: for inputs before
 * a pass, and for results. */
void vt_program_write(vt_program *program, const vt_node *input, const float *from);
void vt_program_read(vt_program *program, const vt_node *node, float *to);

/* The two halves of a pass. Totals are added to, parameters' gradients too if they lie apart. hook
 * may be NULL. */
void vt_program_forward(vt_program *program, vt_program_hook *hook, void *arg);
void vt_program_backward(vt_program *program, vt_program_hook *hook, void *arg);

/* The same calls, unwatched and without a recording of their own: for a caller that records more
 * than a pass. */
void vt_program_issue(vt_program *program, bool backward);

/* Tests: before a span's life begins its bytes become NaN, and the guard behind it a pattern;
 * parameters' gradients have no guard. */
void vt_program_poison(vt_program *program, bool on);
/* Tests: number of spans whose guard was overwritten since; the plan needs guard bytes. */
int vt_program_broken_guards(const vt_program *program);

#endif
