/*
 * The table of ops that tests/test_ops.c works through, and one case of a row as a net.
 */
#ifndef VT_TESTS_SUPPORT_OP_TRIAL_H
#define VT_TESTS_SUPPORT_OP_TRIAL_H

#include "support/fixture.h"
#include "support/net.h"

typedef struct vt_op_row vt_op_row;

/* Case `i` of a row, in one net. */
typedef struct vt_trial {
    const vt_op_row *row;
    const vt_fixture *fixture;
    int i;
    vt_net *net;
    vt_node *op, *twin; /* twin: the same op once more, on the same inputs */
    double rate;        /* of dropout or drop path */
} vt_trial;

/* Adds the op to the net, with what else it computes as outputs if asked for. */
typedef vt_node *vt_trial_build(vt_trial *t, bool outputs);

/*
 * Tolerances are relative to the largest number of the tensor.
 *
 * 0           the op moves numbers or adds two of them: PyTorch's float64 result, rounded once, has
 *             the same bits.
 * y, gradient sums and elementary functions in float against float64. With 16 partial sums the
 *             rounding of n terms of mixed sign stays below a few U (2^-24); 4e-7 is 7 U. A
 *             convolution's sums are one chain of up to 192 terms: 8e-7 is 13 U. exp, erf
 * and tanh add 2 to 4 U. In attention a weight is exp of a score, and an error of the score is a
 *             relative error of the weight: scores here are sums of products of up to 25 together,
 *             so weights are off by up to 25 U = 1.5e-6 of themselves. The gradients of q and k are
 *             differences of such weighed terms, larger than what remains: 6e-6.
 * difference  of the directional derivative (see test_ops.c).
 */
struct vt_op_row {
    const char *name, *fixture;
    vt_trial_build *build;
    double y, gradient, difference;
    bool linear; /* in each input: the difference quotient has no curvature error */
};

enum { VT_OP_ROWS = 30 };
extern const vt_op_row vt_op_rows[VT_OP_ROWS];

/* Step of the generator; its draw is 77 until vt_trial_set_step. */
extern const vt_step vt_trial_step;

/*
 * The net of case i with the fixture's inputs and, as gradient of the op's value, its dy; outputs
 * "y", gradients "dNAME", and what the op keeps. rate: dropout on attention's weights (dropout and
 * drop path take the fixture's). twin_factor other than 0: with a second op on the same inputs and
 * the same draws, whose gradient is twin_factor * dy.
 */
vt_trial vt_trial_open(const vt_op_row *row, const vt_fixture *fixture, int i, vt_dev *dev,
                       double rate, float twin_factor);
void vt_trial_close(vt_trial *t);
void vt_trial_set_step(vt_trial *t, uint32_t draw);

/* Tensors and whole-number scalars of the case. */
const float *vt_trial_floats(const vt_trial *t, const char *name);
int64_t vt_trial_size(const vt_trial *t, const char *name);
int64_t vt_trial_int(const vt_trial *t, const char *key);

bool vt_trial_is_attention(const vt_op_row *row);
bool vt_trial_is_loss(const vt_trial *t);

#endif
