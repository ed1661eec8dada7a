#include "graph/exec.h"

#include "base/mem.h"
#include "graph/device_map.h"
#include "kernels/bf16.h"

#include <string.h>

enum { GUARD_BYTES = 64 };
static const unsigned char guard_byte = 0xa5;

struct vt_program {
    const vt_plan *plan;
    const vt_memory *memory;
    vt_call *calls;      /* plan->n_steps */
    vt_device_map *maps; /* of the graph's attentions */
    int n_maps;
    struct pass {
        bool met; /* once without recording: what a kernel prepares when it is met first is there */
        void *recording;
    } forward, backward;
    bool poison;
};

static size_t rounded_bytes(const vt_memory *memory)
{
    return (size_t)memory->n_floats * vt_dtype_size(VT_BF16);
}

vt_status vt_memory_init(vt_memory *memory, vt_dev *dev, const vt_params *params, vt_dtype type,
                         int64_t arena_bytes, vt_grads grads, vt_error *err)
{
    size_t weights = (size_t)params->n_floats * sizeof(float);
    *memory = (vt_memory){.dev = dev,
                          .n_floats = params->n_floats,
                          .n_trained = params->n_trained,
                          .where = grads,
                          .arena_bytes = arena_bytes};
    memory->weights = vt_dev_alloc(dev, weights);
    if (grads == VT_GRADS_APART)
        memory->grads = vt_dev_alloc(dev, (size_t)params->n_trained * sizeof(float));
    if (type == VT_BF16)
        memory->rounded = vt_dev_alloc(dev, rounded_bytes(memory));
    memory->arena = vt_dev_alloc(dev, (size_t)arena_bytes);
    if (grads == VT_GRADS_IN_ARENA)
        memory->grads = (float *)(void *)memory->arena;
    memory->step = vt_dev_alloc(dev, sizeof *memory->step);
    memory->totals = vt_dev_alloc(dev, VT_TOTALS * sizeof *memory->totals);
    if (memory->weights && (memory->grads || grads == VT_GRADS_NONE) &&
        (memory->rounded || type != VT_BF16) && memory->arena && memory->step && memory->totals)
        return VT_OK;
    vt_memory_release(memory);
    return vt_fail(err, VT_ERR_NOMEM,
                   "no memory for the plan: %.1f MiB for activations and %.1f MiB for parameters",
                   (double)arena_bytes / 0x1p20, (double)weights / 0x1p20);
}

void vt_memory_release(vt_memory *memory)
{
    vt_dev *dev = memory->dev;
    if (!dev)
        return;
    vt_dev_release(dev, memory->weights, (size_t)memory->n_floats * sizeof(float));
    if (memory->where == VT_GRADS_APART)
        vt_dev_release(dev, memory->grads, (size_t)memory->n_trained * sizeof(float));
    vt_dev_release(dev, memory->rounded, rounded_bytes(memory));
    vt_dev_release(dev, memory->arena, (size_t)memory->arena_bytes);
    vt_dev_release(dev, memory->step, sizeof *memory->step);
    vt_dev_release(dev, memory->totals, VT_TOTALS * sizeof *memory->totals);
    *memory = (vt_memory){0};
}

static void *at_span(const vt_program *program, int span)
{
    return span < 0 ? NULL : program->memory->arena + program->plan->spans[span].offset;
}

void *vt_program_value(const vt_program *program, const vt_node *node)
{
    if (node->op == VT_OP_PARAM)
        return program->memory->weights + node->param->offset;
    return at_span(program, program->plan->node[node->number].value);
}

void *vt_program_grad(const vt_program *program, const vt_node *node)
{
    if (node->op != VT_OP_PARAM)
        return at_span(program, program->plan->node[node->number].grad);
    return node->param->trained && program->memory->grads
               ? program->memory->grads + node->param->offset
               : NULL;
}

/* The map on the device, made when it is met first; NULL after a failure. */
static const vt_attention_map *device_map(vt_program *program, const vt_attention_map *host,
                                          vt_error *err)
{
    for (int i = 0; i < program->n_maps; i++)
        if (program->maps[i].host == host)
            return &program->maps[i].map;
    vt_device_map *copy = &program->maps[program->n_maps];
    if (vt_device_map_init(copy, program->memory->dev, host, err) != VT_OK)
        return NULL;
    program->n_maps++;
    return &copy->map;
}

/* A parameter as its reader takes it. */
static vt_buf read_param(const vt_program *program, const vt_node *node, bool rounds)
{
    const vt_dtype type = program->plan->graph->type;
    const vt_memory *memory = program->memory;
    if (rounds && type == VT_BF16)
        return (vt_buf){(uint16_t *)memory->rounded + node->param->offset, type};
    return (vt_buf){memory->weights + node->param->offset, rounds ? type : node->type};
}

static vt_call bind(const vt_program *program, const vt_plan_step *step)
{
    const vt_node *node = program->plan->graph->node[step->node];
    const vt_node_plan *place = &program->plan->node[node->number];
    const vt_memory *memory = program->memory;
    vt_call call = {.node = node,
                    .backward = step->backward,
                    .dev = memory->dev,
                    .k = vt_dev_kernels(memory->dev),
                    .step = memory->step,
                    .totals = memory->totals};
    call.y = (vt_buf){vt_program_value(program, node), node->type};
    call.dy = (vt_buf){vt_program_grad(program, node), node->type};
    call.scratch = at_span(program, step->scratch);
    if (step->backward)
        call.remade = (vt_buf){at_span(program, place->remade), node->type};
    for (int i = 0; i < node->n_kept; i++)
        call.kept[i] = at_span(program, place->kept[i]);
    for (int i = 0; i < node->n_in; i++) {
        if (!node->in[i])
            continue;
        const int remade = program->plan->node[node->in[i]->number].remade;
        if (node->in[i]->op == VT_OP_PARAM)
            call.x[i] = read_param(program, node->in[i], node->rounds >> i & 1);
        else
            call.x[i] = (vt_buf){vt_program_value(program, node->in[i]), node->in[i]->type};
        if (step->backward && node->reads_in[i] && remade >= 0)
            call.x[i].data = at_span(program, remade);
        call.write[i] = place->write[i];
        if (step->backward && node->in[i]->needs_grad && step->inputs >> i & 1 &&
            !vt_plan_hands_on(program->plan, node->number, i))
            call.dx[i] = (vt_buf){vt_program_grad(program, node->in[i]), node->in[i]->type};
    }
    return call;
}

vt_status vt_program_new(vt_program **result, const vt_plan *plan, const vt_memory *memory,
                         vt_error *err)
{
    vt_program *program = vt_calloc(1, sizeof *program);
    *result = NULL;
    VT_ASSERT(plan->arena_bytes <= memory->arena_bytes);
    VT_ASSERT(!plan->graph->training ||
              (plan->n_cleared > 0) == (memory->where == VT_GRADS_IN_ARENA));
    if (program)
        program->calls = vt_calloc((size_t)plan->n_steps, sizeof *program->calls);
    if (program) /* at most one a node */
        program->maps = vt_calloc((size_t)plan->graph->n, sizeof *program->maps);
    if (!program || !program->calls || !program->maps) {
        vt_program_free(program);
        return vt_fail(err, VT_ERR_NOMEM, "no memory for the program");
    }
    program->plan = plan;
    program->memory = memory;
    for (int s = 0; s < plan->n_steps; s++) {
        vt_call *call = &program->calls[s];
        *call = bind(program, &plan->steps[s]);
        if (call->node->op == VT_OP_attention)
            call->map = device_map(program, call->node->attention.map, err);
        if (call->node->op == VT_OP_attention && !call->map) {
            vt_program_free(program);
            return VT_ERR_NOMEM;
        }
    }
    *result = program;
    return vt_dev_reserve(memory->dev, (size_t)plan->worker_bytes, err);
}

void vt_program_free(vt_program *program)
{
    if (!program)
        return;
    if (program->memory) {
        vt_dev_forget(program->memory->dev, program->forward.recording);
        vt_dev_forget(program->memory->dev, program->backward.recording);
    }
    for (int i = 0; i < program->n_maps; i++)
        vt_device_map_release(&program->maps[i], program->memory->dev);
    vt_free(program->maps);
    vt_free(program->calls);
    vt_free(program);
}

const vt_plan *vt_program_plan(const vt_program *program)
{
    return program->plan;
}

void vt_program_write(vt_program *program, const vt_node *input, const float *from)
{
    vt_dev *dev = program->memory->dev;
    const size_t bytes = (size_t)input->shape.size * sizeof *from;
    const vt_buf staged = {at_span(program, program->plan->node[input->number].staged), VT_F32};
    const vt_buf to = {vt_program_value(program, input), input->type};
    vt_dev_write(dev, to.type == VT_BF16 ? staged.data : to.data, from, bytes);
    if (to.type == VT_BF16)
        vt_dev_kernels(dev)->convert(dev, to, staged, input->shape.size);
}

/* The halves are read into the floats' place and unpacked from the last on. */
void vt_program_read(vt_program *program, const vt_node *node, float *to)
{
    const size_t n = (size_t)node->shape.size;
    const char *halves = (const char *)to;
    vt_dev_read(program->memory->dev, to, vt_program_value(program, node),
                n * vt_dtype_size(node->type));
    for (size_t i = n; node->type == VT_BF16 && i-- > 0;) {
        uint16_t half;
        memcpy(&half, halves + i * sizeof half, sizeof half);
        to[i] = vt_bf16_to_float(half);
    }
}

/* Spans whose life begins at this step; inputs, written from outside, are spared. Between the
 * gradients of two parameters there is no room for a guard. */
static void poison_spans(const vt_program *program, int step)
{
    const vt_plan *plan = program->plan;
    for (int i = 0; i < plan->n_spans; i++) {
        const vt_span *span = &plan->spans[i];
        char *bytes = program->memory->arena + span->offset;
        bool input = false;
        for (int n = 0; n < plan->graph->n; n++)
            input |= plan->graph->node[n]->op == VT_OP_INPUT && plan->node[n].value == i;
        if (span->first != step)
            continue;
        if (!input)
            memset(bytes, 0xff, (size_t)span->size_bytes);
        if (i >= plan->n_cleared)
            memset(bytes + span->size_bytes, guard_byte, GUARD_BYTES);
    }
}

/* All of them: one pass over memory, beside the dozens that follow. */
static void round_weights(const vt_memory *memory)
{
    const vt_buf from = {memory->weights, VT_F32}, to = {memory->rounded, VT_BF16};
    vt_dev_kernels(memory->dev)->convert(memory->dev, to, from, memory->n_floats);
}

static void run(vt_program *program, int first, int last, vt_program_hook *hook, void *arg)
{
    if (first == 0 && program->memory->rounded)
        round_weights(program->memory);
    const vt_plan *plan = program->plan;
    vt_dev *dev = program->memory->dev;
    int cleared = 0;
    for (int s = first; s < last; s++) {
        const vt_call *call = &program->calls[s];
        if (program->poison)
            poison_spans(program, s);
        for (; cleared < plan->n_cleared && plan->spans[cleared].first == s; cleared++)
            vt_dev_kernels(dev)->fill_zero(dev, at_span(program, cleared),
                                           (size_t)plan->spans[cleared].size_bytes);
        if (call->backward)
            vt_op_table[call->node->op].bwd(call);
        else
            vt_op_table[call->node->op].fwd(call);
        if (hook)
            hook(arg, call);
    }
}

/* A pass that nobody watches is recorded when it comes the second time, where the device can. */
static void run_pass(vt_program *program, struct pass *pass, int first, int last,
                     vt_program_hook *hook, void *arg)
{
    vt_dev *dev = program->memory->dev;
    if (hook || program->poison || !vt_dev_records(dev) || !pass->met) {
        run(program, first, last, hook, arg);
        pass->met = true;
        return;
    }
    if (!pass->recording) {
        vt_dev_record(dev);
        run(program, first, last, NULL, NULL);
        pass->recording = vt_dev_recorded(dev);
    }
    vt_dev_replay(dev, pass->recording);
}

void vt_program_forward(vt_program *program, vt_program_hook *hook, void *arg)
{
    run_pass(program, &program->forward, 0, program->plan->n_forward, hook, arg);
}

void vt_program_backward(vt_program *program, vt_program_hook *hook, void *arg)
{
    run_pass(program, &program->backward, program->plan->n_forward, program->plan->n_steps, hook,
             arg);
}

void vt_program_issue(vt_program *program, bool backward)
{
    const vt_plan *plan = program->plan;
    run(program, backward ? plan->n_forward : 0, backward ? plan->n_steps : plan->n_forward, NULL,
        NULL);
}

void vt_program_poison(vt_program *program, bool on)
{
    program->poison = on;
}

int vt_program_broken_guards(const vt_program *program)
{
    const vt_plan *plan = program->plan;
    int broken = 0;
    for (int i = plan->n_cleared; i < plan->n_spans; i++) {
        const vt_span *span = &plan->spans[i];
        const char *guard = program->memory->arena + span->offset + span->size_bytes;
        bool reused = false; /* by a span that was placed there after this one's life */
        for (int j = 0; j < plan->n_spans && !reused; j++) {
            const vt_span *other = &plan->spans[j];
            reused =
                j != i && other->last > span->last &&
                other->offset < span->offset + span->size_bytes + GUARD_BYTES &&
                span->offset + span->size_bytes < other->offset + other->size_bytes + GUARD_BYTES;
        }
        for (int b = 0; b < GUARD_BYTES && !reused; b++)
            if ((unsigned char)guard[b] != guard_byte) {
                broken++;
                break;
            }
    }
    return broken;
}
