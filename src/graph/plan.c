#include "graph/plan.h"

#include "base/mem.h"

#include <stdlib.h>

enum { ALIGN = 64, STEPS_A_NODE = 3, SPANS_A_NODE = 5 + STEPS_A_NODE + VT_MAX_KEPT };

static const uint32_t ALL_INPUTS = (1u << VT_MAX_IN) - 1;

static int64_t rounded(int64_t bytes)
{
    return (bytes + ALIGN - 1) / ALIGN * ALIGN;
}

static bool stored(const vt_node *node)
{
    return node->op != VT_OP_PARAM;
}

static int add_span(vt_plan *plan, int first, int last, int64_t bytes)
{
    plan->spans[plan->n_spans] =
        (vt_span){.first = first, .last = last, .size_bytes = rounded(bytes > 0 ? bytes : 1)};
    return plan->n_spans++;
}

/* For each node whose value is made again: the one that reads it then. */
static void find_remade(const vt_graph *graph, const vt_node *root, const vt_node *keep,
                        const vt_node **reader)
{
    for (int i = 0; i <= root->number; i++) {
        const vt_node *node = graph->node[i];
        int readers = 0;
        for (int j = i + 1; j <= root->number; j++)
            for (int k = 0; k < graph->node[j]->n_in; k++)
                if (graph->node[j]->in[k] == node && graph->node[j]->needs_grad &&
                    graph->node[j]->reads_in[k]) {
                    readers++;
                    reader[i] = graph->node[j];
                }
        if (!node->remakes || !node->needs_grad || node == root || node == keep || readers != 1 ||
            !reader[i]->late || reader[i]->in[0] != node)
            reader[i] = NULL;
    }
}

static void add_step(vt_plan *plan, int node, bool backward, uint32_t inputs)
{
    plan->steps[plan->n_steps++] = (vt_plan_step){node, backward, inputs, -1};
}

static void list_steps(vt_plan *plan, const vt_graph *graph, const vt_node *root,
                       const vt_node *const *reader)
{
    for (int i = 0; i < graph->n; i++)
        if (graph->node[i]->op < VT_OP_INPUT)
            add_step(plan, i, false, 0);
    plan->n_forward = plan->n_steps;
    if (!graph->training)
        return;
    for (int i = root->number; i >= 0; i--) {
        const vt_node *node = graph->node[i];
        if (node->op >= VT_OP_INPUT || !node->needs_grad)
            continue;
        const bool late = node->late && reader[node->in[0]->number] == node;
        add_step(plan, i, true, late ? ALL_INPUTS & ~node->late : ALL_INPUTS);
        if (reader[i])
            add_step(plan, reader[i]->number, true, reader[i]->late);
    }
}

static bool gives_gradient(const vt_plan *plan, int step, const vt_node *to)
{
    const vt_plan_step *s = &plan->steps[step];
    const vt_node *node = plan->graph->node[s->node];
    for (int i = 0; i < node->n_in && s->backward; i++)
        if (node->in[i] == to && s->inputs >> i & 1)
            return true;
    return false;
}

static int earlier_first(const void *a, const void *b)
{
    const vt_span *x = a, *y = b;
    if (x->first != y->first)
        return x->first < y->first ? -1 : 1;
    return x->offset < y->offset ? -1 : x->offset > y->offset;
}

/* Parameters' gradients, at the places they have in their block. What no step adds to is cleared
 * all the same. */
static void place_param_gradients(vt_plan *plan, const vt_graph *graph)
{
    for (int i = 0; i < graph->n; i++) {
        const vt_node *node = graph->node[i];
        if (node->op != VT_OP_PARAM || !node->needs_grad)
            continue;
        int first = plan->n_forward;
        while (first < plan->n_steps && !gives_gradient(plan, first, node))
            first++;
        if (first == plan->n_steps)
            first = plan->n_forward;
        const int span =
            add_span(plan, first, plan->n_steps - 1, node->shape.size * (int64_t)sizeof(float));
        plan->spans[span].offset = node->param->offset * (int64_t)sizeof(float);
    }
    plan->n_cleared = plan->n_spans;
    qsort(plan->spans, (size_t)plan->n_cleared, sizeof *plan->spans, earlier_first);
}

static bool alike(const vt_node *a, const vt_node *b)
{
    return a->shape.size == b->shape.size && a->type == b->type;
}

/* The span of an input that ends where the node is computed and may be written over, or -1. */
static int find_ended(const vt_plan *plan, const vt_node *node, int made)
{
    for (int i = 0; i < node->n_in; i++) {
        const vt_node *in = node->in[i];
        if (!(node->overwrites >> i & 1) || !stored(in) || !alike(in, node))
            continue;
        const int span = plan->node[in->number].value;
        if (plan->spans[span].last == made)
            return span;
    }
    return -1;
}

/* Lives of values: from where they are made to their last reader. */
static void place_values(vt_plan *plan, const vt_graph *graph, const vt_node *root,
                         const vt_node *keep, const vt_node *const *reader, int *made, int *last)
{
    for (int i = 0; i < graph->n; i++) {
        made[i] = 0; /* inputs are there from the beginning */
        last[i] = -1;
    }
    for (int s = 0; s < plan->n_steps; s++) {
        const vt_node *node = graph->node[plan->steps[s].node];
        bool backward = plan->steps[s].backward;
        if (!backward)
            made[node->number] = last[node->number] = s;
        for (int i = 0; i < node->n_in; i++)
            if (node->in[i] && (!backward || node->reads_in[i]) &&
                !(backward && reader[node->in[i]->number]))
                last[node->in[i]->number] = s;
    }
    for (int i = 0; i < graph->n; i++) {
        const vt_node *node = graph->node[i];
        plan->node[i].last_use = last[i];
        if (node == root || node == keep || node->op == VT_OP_INPUT)
            last[i] = plan->n_steps - 1;
        if (node->op == VT_OP_INPUT && node->type == VT_BF16)
            plan->node[i].staged = add_span(plan, 0, 0, node->shape.size * (int64_t)sizeof(float));
        if (!stored(node))
            continue;
        int *value = &plan->node[i].value;
        *value = find_ended(plan, node, made[i]);
        if (*value >= 0)
            plan->spans[*value].last = last[i];
        else
            *value = add_span(plan, made[i], last[i],
                              node->shape.size * (int64_t)vt_dtype_size(node->type));
    }
}

/* Second lives, of values that are made again: from the step that does to the one that reads them,
 * which is the next. */
static void place_remade(vt_plan *plan, const vt_graph *graph, const vt_node *const *reader)
{
    for (int s = plan->n_forward; s < plan->n_steps; s++) {
        const vt_node *node = graph->node[plan->steps[s].node], *in = node->in[0];
        int *remade = &plan->node[node->number].remade;
        if (!reader[node->number])
            continue;
        *remade =
            node->in_place && stored(in) && alike(in, node) ? plan->node[in->number].value : -1;
        if (*remade >= 0 && plan->spans[*remade].last == s)
            plan->spans[*remade].last = s + 1;
        else
            *remade =
                add_span(plan, s, s + 1, node->shape.size * (int64_t)vt_dtype_size(node->type));
    }
}

/* Whether `in`, behind step s, only reads its gradient and is done with it before anything is done
 * with that of `owner`. */
static bool only_looks(const vt_plan *plan, int s, const vt_node *in, const vt_node *owner)
{
    int looked = s;
    for (int t = s + 1; t < plan->n_steps; t++) {
        if (gives_gradient(plan, t, in))
            return false;
        if (plan->steps[t].node == in->number)
            looked = t;
    }
    for (int t = s + 1; t <= looked; t++)
        if (plan->steps[t].node == owner->number || gives_gradient(plan, t, owner))
            return false;
    return true;
}

/* The span of the gradient of in[i], which step s is the first to give. */
static int place_gradient(vt_plan *plan, int s, int i)
{
    const vt_node *node = plan->graph->node[plan->steps[s].node], *in = node->in[i];
    const vt_node_plan *mine = &plan->node[node->number];
    const bool own = mine->grad >= 0 && !mine->lent && alike(in, node);
    if (own && node->in_place && i == 0)
        return mine->grad;
    for (int j = 0; own && node->hands_on >> i & 1; j++) {
        if (j == i)
            return mine->grad;
        if (plan->node[node->in[j]->number].grad != mine->grad)
            continue;
        plan->node[in->number].lent = only_looks(plan, s, in, node->in[j]);
        if (plan->node[in->number].lent)
            return mine->grad;
        break;
    }
    const int value = plan->node[in->number].value;
    if (node->overwrites_back >> i & 1 && plan->spans[value].last == s)
        return value;
    return add_span(plan, s, s, in->shape.size * (int64_t)vt_dtype_size(in->type));
}

/* Lives of gradients, kept values and scratch. */
static void place_backward(vt_plan *plan, const vt_graph *graph)
{
    for (int s = 0; s < plan->n_steps; s++) {
        vt_plan_step *step = &plan->steps[s];
        const vt_node *node = graph->node[step->node];
        vt_node_plan *mine = &plan->node[node->number];
        const size_t scratch = step->backward ? node->scratch_bytes : node->forward_scratch_bytes;
        if (scratch)
            step->scratch = add_span(plan, s, s, (int64_t)scratch);
        if (!step->backward) {
            for (int i = 0; i < node->n_kept; i++)
                mine->kept[i] = add_span(
                    plan, s, s, node->kept[i].n * (int64_t)vt_dtype_size(node->kept[i].type));
            continue;
        }
        for (int i = 0; i < node->n_kept; i++)
            plan->spans[mine->kept[i]].last = s;
        if (mine->grad >= 0)
            plan->spans[mine->grad].last = s;
        for (int i = 0; i < node->n_in; i++) {
            const vt_node *in = node->in[i];
            if (!in || !in->needs_grad || !stored(in) || !(step->inputs >> i & 1))
                continue;
            vt_node_plan *theirs = &plan->node[in->number];
            mine->write[i] = theirs->grad < 0;
            if (theirs->grad < 0)
                theirs->grad = place_gradient(plan, s, i);
            else if (plan->spans[theirs->grad].last < s)
                plan->spans[theirs->grad].last = s;
        }
    }
}

struct ranked {
    int span;
    int64_t size_bytes;
};

static int larger_first(const void *a, const void *b)
{
    const struct ranked *x = a, *y = b;
    if (x->size_bytes != y->size_bytes)
        return x->size_bytes < y->size_bytes ? 1 : -1;
    return x->span < y->span ? -1 : 1;
}

static int lower_first(const void *a, const void *b)
{
    const vt_span *x = *(const vt_span *const *)a, *y = *(const vt_span *const *)b;
    return x->offset < y->offset ? -1 : x->offset > y->offset;
}

static vt_status place_spans(vt_plan *plan, int64_t guard_bytes, vt_error *err)
{
    size_t n = (size_t)plan->n_spans;
    struct ranked *order = vt_calloc(n, sizeof *order);
    vt_span **placed = vt_calloc(n, sizeof *placed), **near = vt_calloc(n, sizeof *near);
    vt_status status = VT_OK;
    if (!order || !placed || !near) {
        status = vt_fail(err, VT_ERR_NOMEM, "no memory for the plan");
        goto out;
    }
    for (int i = 0; i < plan->n_spans; i++)
        order[i] = (struct ranked){i, plan->spans[i].size_bytes};
    const int fixed = plan->n_cleared;
    qsort(order + fixed, n - (size_t)fixed, sizeof *order, larger_first);
    for (int i = 0; i < plan->n_spans; i++) {
        vt_span *span = &plan->spans[order[i].span];
        int n_near = 0;
        int64_t offset = i < fixed ? span->offset : 0;
        for (int j = 0; j < i && i >= fixed; j++)
            if (placed[j]->first <= span->last && span->first <= placed[j]->last)
                near[n_near++] = placed[j];
        qsort(near, (size_t)n_near, sizeof *near, lower_first);
        for (int j = 0; j < n_near; j++) {
            if (offset + span->size_bytes + guard_bytes <= near[j]->offset)
                break;
            if (near[j]->offset + near[j]->size_bytes + guard_bytes > offset)
                offset = near[j]->offset + near[j]->size_bytes + guard_bytes;
        }
        span->offset = offset;
        placed[i] = span;
        if (offset + span->size_bytes + guard_bytes > plan->arena_bytes)
            plan->arena_bytes = offset + span->size_bytes + guard_bytes;
        plan->unshared_bytes += span->size_bytes;
    }
out:
    vt_free(near);
    vt_free(placed);
    vt_free(order);
    return status;
}

vt_status vt_plan_new(vt_plan **result, const vt_graph *graph, const vt_node *root,
                      const vt_node *keep, vt_grads grads, int64_t guard_bytes, vt_error *err)
{
    size_t n = (size_t)graph->n;
    vt_plan *plan = vt_calloc(1, sizeof *plan);
    int *made = vt_calloc(n, sizeof *made), *last = vt_calloc(n, sizeof *last);
    const vt_node **reader = vt_calloc(n, sizeof *reader);
    vt_status status = VT_OK;
    *result = NULL;
    if (plan) {
        plan->graph = graph;
        plan->node = vt_calloc(n, sizeof *plan->node);
        plan->steps = vt_calloc(STEPS_A_NODE * n, sizeof *plan->steps);
        plan->spans = vt_calloc(SPANS_A_NODE * n, sizeof *plan->spans);
    }
    if (!plan || !made || !last || !reader || !plan->node || !plan->steps || !plan->spans) {
        status = vt_fail(err, VT_ERR_NOMEM, "no memory for the plan");
        goto out;
    }
    for (int i = 0; i < graph->n; i++) {
        plan->node[i] = (vt_node_plan){.value = -1, .grad = -1, .staged = -1, .remade = -1};
        for (int j = 0; j < VT_MAX_KEPT; j++)
            plan->node[i].kept[j] = -1;
        if ((int64_t)graph->node[i]->worker_scratch_bytes > plan->worker_bytes)
            plan->worker_bytes = (int64_t)graph->node[i]->worker_scratch_bytes;
    }
    if (graph->training)
        find_remade(graph, root, keep, reader);
    list_steps(plan, graph, root, reader);
    if (graph->training && grads == VT_GRADS_IN_ARENA)
        place_param_gradients(plan, graph);
    place_values(plan, graph, root, keep, reader, made, last);
    place_remade(plan, graph, reader);
    place_backward(plan, graph);
    status = place_spans(plan, guard_bytes, err);
out:
    vt_free(reader);
    vt_free(last);
    vt_free(made);
    if (status != VT_OK) {
        vt_plan_free(plan);
        plan = NULL;
    }
    *result = plan;
    return status;
}

bool vt_plan_hands_on(const vt_plan *plan, int node, int i)
{
    const vt_node *n = plan->graph->node[node];
    const vt_node_plan *mine = &plan->node[node];
    return n->hands_on >> i & 1 && mine->write[i] && mine->grad >= 0 &&
           plan->node[n->in[i]->number].grad == mine->grad;
}

void vt_plan_free(vt_plan *plan)
{
    if (!plan)
        return;
    vt_free(plan->spans);
    vt_free(plan->steps);
    vt_free(plan->node);
    vt_free(plan);
}
