/* Memory plans of real models: what lives together lies apart, and what is read is alive. */
#include "base/hash.h"
#include "base/rng.h"
#include "config/config.h"
#include "graph/exec.h"
#include "nn/model.h"
#include "ops/ops.h"
#include "support/test_device.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { BATCH = 2, WIDTH = 8, GUARD_BYTES = 64 };

struct subject {
    const char *file, *set; /* experiment; a setting on top, or NULL */
    bool training;
};

static const struct subject SUBJECTS[] = {
    {"experiments/swin_cifar_patch2.yaml", NULL, true},
    {"experiments/swin_cifar_patch2.yaml", NULL, false},
    {"experiments/swin_cifar_patch2.yaml", "model.window_mode=strict", true},
    {"experiments/quick/vit.yaml", NULL, true},
    {"experiments/quick/vit.yaml", NULL, false},
    {"experiments/quick/vit_dropout.yaml", NULL, true},
    {"experiments/quick/hybrid.yaml", NULL, true},
    {"experiments/quick/hybrid.yaml", NULL, false},
    {"experiments/quick/mobilevit.yaml", NULL, true},
    {"experiments/quick/cct.yaml", NULL, true},
};
enum { N_SUBJECTS = sizeof SUBJECTS / sizeof SUBJECTS[0] };

struct built {
    vt_config *config;
    vt_params *params;
    vt_model model;
    vt_plan *plan;
};

static struct built build(const struct subject *subject, vt_grads grads, int64_t guard_bytes)
{
    struct built b = {0};
    vt_diagnostics diags = {0};
    vt_error err = {0};
    if (vt_config_load(&b.config, subject->file, &subject->set, subject->set ? 1 : 0, NULL,
                       &diags) != VT_OK)
        fail_msg("%s does not load", subject->file);
    vt_diagnostics_release(&diags);
    b.params = vt_params_new();
    assert_non_null(b.params);
    vt_status status =
        vt_model_init(&b.model, b.config, b.params, test_table(), 1, subject->training, &err);
    vt_model_release(&b.model);
    if (status == VT_OK) { /* a first graph names the parameters, and then they are laid out */
        vt_params_layout(b.params, 0, b.config->train_freeze.v, b.config->train_freeze.n);
        status = vt_model_init(&b.model, b.config, b.params, test_table(), BATCH, subject->training,
                               &err);
    }
    if (status == VT_OK)
        status = vt_plan_new(&b.plan, b.model.graph, b.model.loss, b.model.logits, grads,
                             guard_bytes, &err);
    if (status != VT_OK)
        fail_msg("%s: %s", subject->file, err.text);
    return b;
}

static void release(struct built *b)
{
    vt_plan_free(b->plan);
    vt_model_release(&b->model);
    vt_params_free(b->params);
    vt_config_free(b->config);
    *b = (struct built){0};
}

static void for_each_subject(void check(const struct built *b), int64_t guard_bytes)
{
    for (int i = 0; i < N_SUBJECTS; i++)
        for (int inside = 0; inside <= SUBJECTS[i].training; inside++) {
            struct built b =
                build(&SUBJECTS[i], inside ? VT_GRADS_IN_ARENA : VT_GRADS_APART, guard_bytes);
            check(&b);
            release(&b);
        }
}

static bool live_together(const vt_span *a, const vt_span *b)
{
    return a->first <= b->last && b->first <= a->last;
}

static void check_apart(const struct built *b, int64_t guard_bytes)
{
    const vt_plan *plan = b->plan;
    int64_t together = 0;
    for (int i = 0; i < plan->n_spans; i++) {
        const vt_span *a = &plan->spans[i];
        assert_true(a->first >= 0 && a->first <= a->last && a->last < plan->n_steps);
        assert_true(a->offset >= 0 && a->offset % 64 == 0 && a->size_bytes > 0);
        assert_true(a->offset + a->size_bytes + guard_bytes <= plan->arena_bytes);
        for (int j = 0; j < i; j++) {
            const vt_span *c = &plan->spans[j];
            if (!live_together(a, c))
                continue;
            together++;
            const int64_t room = i < plan->n_cleared ? 0 : guard_bytes; /* one block */
            if (a->offset < c->offset + c->size_bytes + room &&
                c->offset < a->offset + a->size_bytes + room)
                fail_msg("spans %d and %d share bytes in steps %d..%d and %d..%d", i, j, a->first,
                         a->last, c->first, c->last);
        }
    }
    assert_true(together > plan->n_steps);
}

static void check_apart_packed(const struct built *b)
{
    check_apart(b, 0);
}

static void check_apart_guarded(const struct built *b)
{
    check_apart(b, GUARD_BYTES);
}

static void spans_that_live_together_lie_apart(void **state)
{
    (void)state;
    for_each_subject(check_apart_packed, 0);
    for_each_subject(check_apart_guarded, GUARD_BYTES);
}

/* Between what one step needs at least and what a buffer for each value would take. */
static void check_arena(const struct built *b)
{
    const vt_plan *plan = b->plan;
    int64_t most = 0, sum = 0;
    for (int s = 0; s < plan->n_steps; s++) {
        int64_t alive = 0;
        for (int i = 0; i < plan->n_spans; i++)
            if (plan->spans[i].first <= s && s <= plan->spans[i].last)
                alive += plan->spans[i].size_bytes;
        if (alive > most)
            most = alive;
    }
    for (int i = 0; i < plan->n_spans; i++)
        sum += plan->spans[i].size_bytes;
    assert_int_equal(sum, plan->unshared_bytes);
    assert_true(plan->arena_bytes >= most);
    assert_true(plan->arena_bytes < plan->unshared_bytes);
    if (plan->arena_bytes > most + most / 4)
        fail_msg("the arena takes %lld bytes, %lld would be the least",
                 (long long)plan->arena_bytes, (long long)most);
}

static void the_arena_is_shared(void **state)
{
    (void)state;
    for_each_subject(check_arena, 0);
}

static void evaluation_takes_less_than_training(void **state)
{
    (void)state;
    struct built train = build(&(struct subject){SUBJECTS[0].file, NULL, true}, VT_GRADS_APART, 0);
    struct built eval = build(&(struct subject){SUBJECTS[0].file, NULL, false}, VT_GRADS_NONE, 0);
    assert_int_equal(eval.plan->n_steps, eval.plan->n_forward);
    assert_true(train.plan->n_steps > train.plan->n_forward);
    assert_true(4 * eval.plan->arena_bytes < train.plan->arena_bytes);
    release(&eval);
    release(&train);
}

static void a_plan_is_made_the_same_way_twice(void **state)
{
    (void)state;
    for (int i = 0; i < N_SUBJECTS; i++) {
        struct built a = build(&SUBJECTS[i], VT_GRADS_IN_ARENA, 0);
        struct built b = build(&SUBJECTS[i], VT_GRADS_IN_ARENA, 0);
        assert_int_equal(a.plan->n_spans, b.plan->n_spans);
        assert_int_equal(a.plan->n_steps, b.plan->n_steps);
        assert_int_equal(a.plan->arena_bytes, b.plan->arena_bytes);
        for (int s = 0; s < a.plan->n_spans; s++) {
            const vt_span *x = &a.plan->spans[s], *y = &b.plan->spans[s];
            assert_true(x->first == y->first && x->last == y->last && x->offset == y->offset &&
                        x->size_bytes == y->size_bytes);
        }
        release(&b);
        release(&a);
    }
}

/* ---- lives */

/* What a span holds: of which node, its value, its gradient or its value a second time. */
enum holding { VALUE, GRADIENT, AGAIN, HOLDINGS };

struct lives {
    bool *written; /* which gradients a step before this one has written */
    int *held;     /* a number for each span: node * HOLDINGS + holding */
    int *lent;     /* the number of another node whose gradient the span is as well, or -1 */
};

struct life {
    const struct built *built;
    int step;
    const char *what;
};

static void check_alive(const struct life *l, int span)
{
    const vt_plan *plan = l->built->plan;
    const vt_node *node = plan->graph->node[plan->steps[l->step].node];
    if (span < 0)
        fail_msg("%s has no memory for %s", node->name, l->what);
    if (l->step < plan->spans[span].first || l->step > plan->spans[span].last)
        fail_msg("%s: %s in step %d, but it lives in %d..%d", node->name, l->what, l->step,
                 plan->spans[span].first, plan->spans[span].last);
}

static void check_made(const struct life *l, int span)
{
    check_alive(l, span);
    if (l->built->plan->spans[span].first != l->step)
        fail_msg("step %d makes %s, which lives from step %d", l->step, l->what,
                 l->built->plan->spans[span].first);
}

static void hold(const struct lives *l, int span, const vt_node *node, enum holding what)
{
    l->held[span] = node->number * HOLDINGS + (int)what;
    l->lent[span] = -1;
}

/* What lies in the span was not written over since. */
static void check_held(const struct life *life, const struct lives *l, int span,
                       const vt_node *node, enum holding what)
{
    check_alive(life, span);
    const bool looks = what == GRADIENT && l->lent[span] == node->number;
    if (l->held[span] != node->number * HOLDINGS + (int)what && !looks)
        fail_msg("step %d: %s of %s was written over", life->step, life->what, node->name);
}

static void check_forward_step(const struct built *b, int s, const struct lives *l)
{
    const vt_plan *plan = b->plan;
    const vt_node *node = plan->graph->node[plan->steps[s].node];
    const vt_node_plan *mine = &plan->node[node->number];
    bool over = false;
    for (int i = 0; i < node->n_in; i++)
        over |= node->overwrites >> i & 1 && plan->node[node->in[i]->number].value == mine->value;
    if (!over)
        check_made(&(struct life){b, s, "its value"}, mine->value);
    check_alive(&(struct life){b, s, "its value"}, mine->value);
    for (int i = 0; i < node->n_kept; i++)
        check_made(&(struct life){b, s, "what it keeps"}, mine->kept[i]);
    for (int i = 0; i < node->n_in; i++)
        if (node->in[i] && node->in[i]->op != VT_OP_PARAM)
            check_held(&(struct life){b, s, "an input"}, l, plan->node[node->in[i]->number].value,
                       node->in[i], VALUE);
    hold(l, mine->value, node, VALUE);
}

static void check_backward_step(const struct built *b, int s, const struct lives *l)
{
    const vt_plan *plan = b->plan;
    const vt_node *node = plan->graph->node[plan->steps[s].node];
    const vt_node_plan *mine = &plan->node[node->number];
    if (node != b->model.loss) {
        assert_true(l->written[node->number]);
        check_held(&(struct life){b, s, "the gradient of its value"}, l, mine->grad, node,
                   GRADIENT);
    }
    for (int i = 0; i < node->n_kept; i++)
        check_alive(&(struct life){b, s, "what it kept"}, mine->kept[i]);
    if (node->scratch_bytes) {
        const int scratch = plan->steps[s].scratch;
        check_made(&(struct life){b, s, "its scratch"}, scratch);
        assert_true(plan->spans[scratch].size_bytes >= (int64_t)node->scratch_bytes);
    }
    const uint32_t inputs = plan->steps[s].inputs;
    for (int i = 0; i < node->n_in; i++) {
        const vt_node *in = node->in[i];
        if (!in || in->op == VT_OP_PARAM)
            continue;
        const int remade = plan->node[in->number].remade;
        if (node->reads_in[i] && (remade < 0 || inputs & node->late))
            check_held(&(struct life){b, s, "an input, going back"}, l,
                       remade >= 0 ? remade : plan->node[in->number].value, in,
                       remade >= 0 ? AGAIN : VALUE);
        if (!in->needs_grad || !(inputs >> i & 1))
            continue;
        const int grad = plan->node[in->number].grad;
        assert_int_equal(mine->write[i], !l->written[in->number]);
        if (!mine->write[i])
            check_held(&(struct life){b, s, "the gradient of an input"}, l, grad, in, GRADIENT);
        else if (grad == plan->node[in->number].value)
            assert_true(node->overwrites_back >> i & 1);
        else if (grad != mine->grad)
            check_made(&(struct life){b, s, "a first gradient"}, grad);
        else
            assert_true((node->in_place && i == 0) || node->hands_on >> i & 1);
        check_alive(&(struct life){b, s, "the gradient of an input"}, grad);
        if (plan->node[in->number].lent && mine->write[i])
            l->lent[grad] = in->number;
        else
            hold(l, grad, in, GRADIENT);
        l->written[in->number] = true;
    }
    if (mine->remade >= 0 && inputs & 1) {
        check_alive(&(struct life){b, s, "its value again"}, mine->remade);
        hold(l, mine->remade, node, AGAIN);
    }
}

static void check_lives(const struct built *b)
{
    const vt_plan *plan = b->plan;
    const struct lives l = {calloc((size_t)plan->graph->n, sizeof *l.written),
                            calloc((size_t)plan->n_spans, sizeof *l.held),
                            calloc((size_t)plan->n_spans, sizeof *l.lent)};
    assert_true(l.written && l.held && l.lent);
    for (int i = 0; i < plan->n_spans; i++)
        l.held[i] = l.lent[i] = -1;
    for (int i = 0; i < plan->graph->n; i++)
        if (plan->graph->node[i]->op == VT_OP_INPUT)
            hold(&l, plan->node[i].value, plan->graph->node[i], VALUE);
    for (int s = 0; s < plan->n_steps; s++)
        if (plan->steps[s].backward)
            check_backward_step(b, s, &l);
        else
            check_forward_step(b, s, &l);
    const vt_node *through[] = {b->model.images, b->model.labels, b->model.loss, b->model.logits};
    for (size_t i = 0; i < sizeof through / sizeof through[0]; i++)
        assert_int_equal(plan->spans[plan->node[through[i]->number].value].last, plan->n_steps - 1);
    free(l.written);
    free(l.held);
    free(l.lent);
}

static void what_a_step_touches_is_alive(void **state)
{
    (void)state;
    for_each_subject(check_lives, 0);
}

/* Every layer norm, GELU and, where the device can, attention of a Swin block is made again where
 * the layer behind it wants it; the steps of a node share its inputs between them. */
static void what_costs_little_is_made_again(void **state)
{
    (void)state;
    struct built b = build(&SUBJECTS[0], VT_GRADS_APART, 0);
    const vt_plan *plan = b.plan;
    uint32_t *done = calloc((size_t)plan->graph->n, sizeof *done);
    int remade = 0, kept = 0;
    assert_non_null(done);
    for (int s = plan->n_forward; s < plan->n_steps; s++) {
        const vt_plan_step *step = &plan->steps[s];
        const vt_node *node = plan->graph->node[step->node];
        assert_true(step->inputs != 0 && (done[step->node] & step->inputs) == 0);
        done[step->node] |= step->inputs;
        if (plan->node[step->node].remade < 0) {
            kept += node->op == VT_OP_layernorm || node->op == VT_OP_activation;
            continue;
        }
        const vt_node *reader = plan->graph->node[plan->steps[s + 1].node];
        assert_ptr_equal(reader->in[0], node);
        assert_int_equal(reader->op, VT_OP_linear);
        assert_true(plan->spans[plan->node[step->node].value].last < plan->n_forward);
        assert_int_equal(plan->spans[plan->node[step->node].remade].last, s + 1);
        remade++;
    }
    for (int i = 0; i <= b.model.loss->number; i++)
        if (plan->graph->node[i]->op < VT_OP_INPUT && plan->graph->node[i]->needs_grad)
            assert_int_equal(done[i], (1u << VT_MAX_IN) - 1);
    /* ten blocks, two merges */
    assert_int_equal(remade, 10 * (3 + test_table()->attention_remakes) + 2);
    assert_int_equal(kept, 2); /* behind the patches and before the pooling */
    free(done);
    release(&b);
}

/* So is a batch norm, for each kind of layer that multiplies. */
static void batch_norms_are_made_again(void **state)
{
    (void)state;
    struct built b =
        build(&(struct subject){"experiments/quick/mobilevit.yaml", NULL, true}, VT_GRADS_APART, 0);
    const vt_plan *plan = b.plan;
    int readers[VT_OP_COUNT] = {0};
    for (int s = plan->n_forward; s < plan->n_steps; s++) {
        const vt_node *node = plan->graph->node[plan->steps[s].node];
        if (node->op == VT_OP_batchnorm && plan->node[node->number].remade >= 0)
            readers[plan->graph->node[plan->steps[s + 1].node]->op]++;
    }
    assert_true(readers[VT_OP_linear] > 0 && readers[VT_OP_conv] > 0 && readers[VT_OP_dwconv] > 0);
    release(&b);
}

/* Sums of one model: how many hand their gradient on to the stream, and let the branch look at it.
 */
static void count_handed_on(const char *set, int *sums, int *owned, int *lent)
{
    struct built b =
        build(&(struct subject){"experiments/quick/vit.yaml", set, true}, VT_GRADS_APART, 0);
    *sums = *owned = *lent = 0;
    for (int i = 0; i < b.plan->graph->n; i++) {
        const vt_node *node = b.plan->graph->node[i];
        if (node->op != VT_OP_residual)
            continue;
        const vt_node_plan *stream = &b.plan->node[node->in[0]->number],
                           *branch = &b.plan->node[node->in[1]->number];
        (*sums)++;
        *owned += stream->grad == b.plan->node[i].grad && !stream->lent;
        *lent += branch->grad == b.plan->node[i].grad && branch->lent;
    }
    release(&b);
}

static void sums_hand_their_gradient_on(void **state)
{
    (void)state;
    int sums, owned, lent;
    count_handed_on("model.drop_path=0", &sums, &owned, &lent);
    assert_int_equal(sums, 4);
    assert_int_equal(owned, sums);
    assert_int_equal(lent, sums);
    count_handed_on("model.drop_path=0.1", &sums, &owned, &lent); /* none in block 0 */
    assert_int_equal(owned, sums);
    assert_int_equal(lent, 2);
}

static vt_node *wide(vt_graph *g, const char *name, vt_node *x)
{
    vt_node *w = vt_graph_param(g, name, vt_shape_of(2, (int64_t[]){WIDTH, WIDTH}), VT_ROLE_WEIGHT,
                                (vt_fill){0});
    return vt_linear(g, name, x, w, NULL);
}

/* Branches that write over the gradient they are handed: an activation in its place; a sum that
 * hands it on again; a branch that is not done before the stream's own step; one that is read
 * twice. */
static void build_sums(struct built *b)
{
    vt_model *m = &b->model;
    vt_graph *g = m->graph = vt_graph_new(b->params, test_table(), BATCH, true);
    assert_non_null(g);
    m->images = vt_graph_input(g, "images", VT_F32, vt_shape_of(2, (int64_t[]){BATCH, WIDTH}));
    m->labels = vt_graph_input(g, "labels", VT_I32, vt_shape_of(1, (int64_t[]){BATCH}));
    vt_node *a = wide(g, "a", m->images), *c = wide(g, "c", a);
    vt_node *sum =
        vt_residual(g, "over an activation", a, vt_activation(g, "c.act", c, VT_ACT_GELU), 0);
    vt_node *p = wide(g, "p", sum), *q = wide(g, "q", p);
    sum = vt_residual(g, "over a sum", sum, vt_residual(g, "inner", p, q, 0), 0);
    vt_node *early = wide(g, "early", sum);
    vt_node *stream = vt_residual(g, "stream", sum, wide(g, "late", sum), 0);
    sum = vt_residual(g, "over what came before", stream, early, 0);
    vt_node *o = wide(g, "o", sum), *f = wide(g, "f", wide(g, "e", o)), *k = wide(g, "k", f);
    sum = vt_residual(g, "over what is read twice", o, f, 0);
    m->logits = vt_residual(g, "last", sum, k, 0);
    m->loss = vt_cross_entropy(g, "loss", m->logits, m->labels, 0);
    assert_int_equal(vt_graph_finish(g, NULL), VT_OK);
}

static void sums_of_sums_are_safe(void **state)
{
    (void)state;
    struct built b = {.params = vt_params_new()};
    assert_non_null(b.params);
    build_sums(&b); /* names the parameters */
    vt_graph_free(b.model.graph);
    vt_params_layout(b.params, 0, NULL, 0);
    build_sums(&b);
    assert_int_equal(
        vt_plan_new(&b.plan, b.model.graph, b.model.loss, b.model.logits, VT_GRADS_APART, 0, NULL),
        VT_OK);
    check_apart(&b, 0);
    check_lives(&b);
    release(&b);
}

/* A step adds to a parameter's gradient from its first step on, in one block at the beginning; and
 * most of it lies over what is over by then. */
static void gradients_lie_over_values(void **state)
{
    (void)state;
    const struct subject wide = {"experiments/quick/vit.yaml", "model.dim=512", true};
    struct built apart = build(&wide, VT_GRADS_APART, 0);
    struct built inside = build(&wide, VT_GRADS_IN_ARENA, 0);
    const int64_t grads = inside.params->n_trained * (int64_t)sizeof(float);
    const vt_plan *plan = inside.plan;
    int64_t sum = 0;
    assert_int_equal(apart.plan->n_cleared, 0);
    assert_true(plan->n_cleared > 0 && plan->spans[0].first < plan->n_forward + 3);
    for (int i = 0; i < plan->n_cleared; i++) {
        assert_int_equal(plan->spans[i].last, plan->n_steps - 1);
        assert_true(i == 0 || plan->spans[i].first >= plan->spans[i - 1].first);
        sum += plan->spans[i].size_bytes;
    }
    assert_int_equal(sum, grads);
    assert_true(plan->arena_bytes >= grads);
    if (2 * (plan->arena_bytes - grads) > apart.plan->arena_bytes)
        fail_msg("%lld bytes beside the gradients, %lld if they lie apart",
                 (long long)(plan->arena_bytes - grads), (long long)apart.plan->arena_bytes);
    release(&inside);
    release(&apart);
}

/* ---- running */

struct running {
    struct built built;
    vt_memory memory;
    vt_program *program;
    int step; /* of the plan */
    bool poison;
};

static void fill_images(float *images, int64_t n)
{
    vt_rng rng = vt_rng_at(5, VT_STREAM_TEST, 0, 0, 0);
    for (int64_t i = 0; i < n; i++)
        images[i] = (float)vt_rng_normal(&rng, (uint64_t)i);
}

static void open_running(struct running *r, vt_dev *dev, const struct subject *subject,
                         vt_grads grads)
{
    vt_error err = {0};
    const int32_t labels[BATCH] = {1, 3};
    *r = (struct running){.built = build(subject, grads, GUARD_BYTES)};
    const vt_plan *plan = r->built.plan;
    if (vt_memory_init(&r->memory, dev, r->built.params, VT_F32, plan->arena_bytes,
                       subject->training ? grads : VT_GRADS_NONE, &err) != VT_OK ||
        vt_program_new(&r->program, plan, &r->memory, &err) != VT_OK)
        fail_msg("%s: %s", subject->file, err.text);
    vt_params_fill(r->built.params, 11, r->memory.weights);
    *r->memory.step = (vt_step){.key = {11, 0}, .draw = 1, .grad_scale = 1.0f / BATCH, .clip = 1};
    fill_images(vt_program_value(r->program, r->built.model.images),
                r->built.model.images->shape.size);
    memcpy(vt_program_value(r->program, r->built.model.labels), labels, sizeof labels);
}

static void close_running(struct running *r)
{
    vt_program_free(r->program);
    vt_memory_release(&r->memory);
    release(&r->built);
}

/* What dies becomes NaN too, so that a late reader shows. */
static void after_call(void *arg, const vt_call *call)
{
    struct running *r = arg;
    const vt_plan *plan = r->built.plan;
    (void)call;
    for (int i = 0; i < plan->n_spans && r->poison; i++)
        if (plan->spans[i].last == r->step && r->step < plan->n_steps - 1)
            memset(r->memory.arena + plan->spans[i].offset, 0xff,
                   (size_t)plan->spans[i].size_bytes);
    r->step++;
}

static void run(struct running *r, char hex[VT_SHA256_HEX_SIZE])
{
    vt_sha256 hash;
    uint8_t digest[VT_SHA256_SIZE];
    size_t grads = (size_t)r->memory.n_trained * sizeof(float);
    memset(r->memory.totals, 0, VT_TOTALS * sizeof *r->memory.totals);
    r->step = 0;
    vt_program_poison(r->program, r->poison);
    vt_program_forward(r->program, after_call, r);
    vt_sha256_init(&hash);
    if (r->memory.grads) {
        if (r->memory.where == VT_GRADS_APART)
            memset(r->memory.grads, 0, grads);
        vt_program_backward(r->program, after_call, r);
        vt_sha256_add(&hash, r->memory.grads, grads);
    }
    vt_sha256_add(&hash, r->memory.totals, VT_TOTALS * sizeof *r->memory.totals);
    vt_sha256_add(&hash, vt_program_value(r->program, r->built.model.logits),
                  (size_t)r->built.model.logits->shape.size * sizeof(float));
    vt_sha256_finish(&hash, digest);
    vt_sha256_hex(digest, hex);
}

static void check_inputs(const struct running *r)
{
    int64_t n = r->built.model.images->shape.size;
    float *images = calloc((size_t)n, sizeof *images);
    const int32_t *labels = vt_program_value(r->program, r->built.model.labels);
    assert_non_null(images);
    fill_images(images, n);
    assert_memory_equal(images, vt_program_value(r->program, r->built.model.images),
                        (size_t)n * sizeof *images);
    assert_true(labels[0] == 1 && labels[1] == 3);
    free(images);
}

/* Narrower than the experiment: filling its weights would take the time. */
static const struct subject RUNS[] = {
    {"experiments/swin_cifar_patch2.yaml", "model.dim=24", true},
    {"experiments/swin_cifar_patch2.yaml", "model.dim=24", false},
    {"experiments/quick/swin.yaml", NULL, true},
    {"experiments/quick/vit.yaml", NULL, true},
    {"experiments/quick/vit.yaml", NULL, false},
    {"experiments/quick/vit_dropout.yaml", NULL, true},
    {"experiments/quick/hybrid.yaml", NULL, true},
    {"experiments/quick/hybrid.yaml", NULL, false},
    {"experiments/quick/mobilevit.yaml", NULL, true},
    {"experiments/quick/cct.yaml", NULL, true},
};
enum { N_RUNS = sizeof RUNS / sizeof RUNS[0] };

static void a_pass_in_poisoned_memory_has_the_same_bits(void **state)
{
    vt_dev *dev = new_device(2);
    (void)state;
    for (int i = 0; i < N_RUNS; i++) {
        struct running r;
        char want[VT_SHA256_HEX_SIZE], got[VT_SHA256_HEX_SIZE];
        open_running(&r, dev, &RUNS[i], VT_GRADS_APART);
        run(&r, want);
        assert_true(r.memory.totals[VT_TOTAL_LOSS] > 0);
        close_running(&r);
        for (int inside = 0; inside <= RUNS[i].training; inside++) {
            open_running(&r, dev, &RUNS[i], inside ? VT_GRADS_IN_ARENA : VT_GRADS_APART);
            for (int poison = 0; poison < 2; poison++) {
                r.poison = poison;
                run(&r, got);
                check_inputs(&r);
                assert_string_equal(want, got);
            }
            assert_int_equal(vt_program_broken_guards(r.program), 0);
            close_running(&r);
        }
    }
    vt_dev_free(dev);
}

/* Parameters that are not trained get no gradient, and the others the same as without freezing. */
static void freezing_leaves_other_gradients_as_they_are(void **state)
{
    static const struct subject wholes[] = {{"experiments/quick/swin.yaml", NULL, true},
                                            {"experiments/quick/mobilevit.yaml", NULL, true},
                                            {"experiments/quick/hybrid.yaml", NULL, true}};
    static const struct {
        int whole;
        const char *freeze;
    } trials[] = {
        {0, "train.freeze=[patch_embed*, layers.0.blocks.0.attn*, layers.0.blocks.0.norm1*]"},
        {0, "train.freeze=[patch_embed*, '*.qkv.*', '*.norm1.*']"},
        {0, "train.freeze=[patch_embed*, '*.weight']"},
        {0, "train.freeze=[patch_embed*, layers.0*]"},
        {1, "train.freeze=['stem.*', 'stages.0.*']"},
        {1, "train.freeze=['stem.conv.*']"},
        {1, "train.freeze=['*.conv.weight']"},
        {1, "train.freeze=['*.bn.weight', '*.bn.bias']"},
        {1, "train.freeze=['stem.*', '*.conv1_1x1.conv.*', '*.conv2_kxk.bn.*']"},
        {2, "train.freeze=['stem*']"},
        {2, "train.freeze=['*.conv.weight']"},
        {2, "train.freeze=['*.bn.weight', '*.bn.bias']"},
    };
    vt_dev *dev = new_device(2);
    struct running all = {0};
    char hex[VT_SHA256_HEX_SIZE];
    (void)state;
    for (size_t t = 0; t < sizeof trials / sizeof trials[0]; t++) {
        const struct subject *whole = &wholes[trials[t].whole];
        struct running some;
        int frozen = 0;
        if (t == 0 || trials[t].whole != trials[t - 1].whole) {
            close_running(&all);
            open_running(&all, dev, whole, VT_GRADS_APART);
            run(&all, hex);
        }
        open_running(&some, dev, &(struct subject){whole->file, trials[t].freeze, true},
                     VT_GRADS_IN_ARENA);
        some.poison = true;
        run(&some, hex);
        for (int i = 0; i < some.built.params->n; i++) {
            const vt_param *param = some.built.params->item[i];
            const vt_param *same = vt_params_find(all.built.params, param->name);
            if (param->trained &&
                memcmp(some.memory.grads + param->offset, all.memory.grads + same->offset,
                       (size_t)param->shape.size * sizeof(float)) != 0)
                fail_msg("%s: %s has another gradient", trials[t].freeze, param->name);
            frozen += vt_role_trains(param->role) && !param->trained;
        }
        assert_true(frozen > 0 && frozen < some.built.params->n);
        assert_int_equal(vt_program_broken_guards(some.program), 0);
        close_running(&some);
    }
    close_running(&all);
    vt_dev_free(dev);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        {"spans that live together lie apart", spans_that_live_together_lie_apart, NULL, NULL,
         NULL},
        {"the arena is shared, and close to what one step needs", the_arena_is_shared, NULL, NULL,
         NULL},
        {"evaluation takes less than training", evaluation_takes_less_than_training, NULL, NULL,
         NULL},
        {"a plan is made the same way twice", a_plan_is_made_the_same_way_twice, NULL, NULL, NULL},
        {"what a step touches is alive", what_a_step_touches_is_alive, NULL, NULL, NULL},
        {"what costs little is made again going back", what_costs_little_is_made_again, NULL, NULL,
         NULL},
        {"batch norms are made again too", batch_norms_are_made_again, NULL, NULL, NULL},
        {"gradients lie over values that are over", gradients_lie_over_values, NULL, NULL, NULL},
        {"sums hand their gradient on", sums_hand_their_gradient_on, NULL, NULL, NULL},
        {"sums of sums are safe", sums_of_sums_are_safe, NULL, NULL, NULL},
        {"a pass in poisoned memory has the same bits, and inputs survive",
         a_pass_in_poisoned_memory_has_the_same_bits, NULL, NULL, NULL},
        {"freezing leaves the other gradients as they are",
         freezing_leaves_other_gradients_as_they_are, NULL, NULL, NULL},
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
