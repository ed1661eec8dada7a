#include "train/engine.h"

#include "base/mem.h"
#include "base/rng.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { NORM_CHUNK = 16384 };

vt_status vt_engine_device(vt_dev **dev, const vt_config *config, vt_error *err)
{
    return vt_dev_new(dev, vt_config_word("train.device", config->train_device),
                      (int)config->train_threads, err);
}

vt_status vt_engine_precision(const vt_dev *dev, const vt_config *config, vt_error *err)
{
    if (config->train_precision == VT_PRECISION_FP32 || vt_dev_kernels(dev)->rounds)
        return VT_OK;
    return vt_fail(
        err, VT_ERR_CONFIG,
        "train.precision is %s, and the processor computes in fp32 alone: train.device=cuda "
        "or train.precision=fp32",
        vt_config_word("train.precision", config->train_precision));
}

void vt_engine_add_slot(vt_engine *engine, int64_t batch, bool training)
{
    for (int i = 0; i < engine->n_slots; i++)
        if (engine->slot[i].batch == batch && engine->slot[i].training == training)
            return;
    if (batch <= 0)
        return;
    VT_ASSERT(engine->n_slots < VT_MAX_SLOTS);
    engine->slot[engine->n_slots++] = (vt_slot){.batch = batch, .training = training};
}

vt_slot *vt_engine_slot(vt_engine *engine, int64_t batch, bool training)
{
    for (int i = 0; i < engine->n_slots; i++)
        if (engine->slot[i].batch == batch && engine->slot[i].training == training)
            return &engine->slot[i];
    VT_ASSERT(!"a slot of this size");
    return NULL;
}

/* Without a device only sizes are wanted, as the CPU would take them. */
static const vt_kernels *kernels_of(const vt_engine *engine)
{
    return engine->dev ? vt_dev_kernels(engine->dev) : vt_dev_cpu_kernels();
}

/* A first graph only creates the parameters; their layout decides what the real graphs train. */
static vt_status create_params(vt_engine *engine, const vt_config *config, vt_error *err)
{
    vt_model model = {0};
    engine->params = vt_params_new();
    if (!engine->params)
        return vt_fail(err, VT_ERR_NOMEM, "no memory for the parameters");
    vt_status status =
        vt_model_init(&model, config, engine->params, kernels_of(engine), 1, true, err);
    vt_model_release(&model);
    if (status != VT_OK)
        return status;
    vt_params_layout(engine->params, config->optim_no_decay, config->train_freeze.v,
                     config->train_freeze.n);
    if (engine->params->n_trained == 0)
        return vt_fail(err, VT_ERR_CONFIG, "train.freeze leaves no parameter to train");
    return VT_OK;
}

static bool trains(const vt_engine *engine)
{
    for (int i = 0; i < engine->n_slots; i++)
        if (engine->slot[i].training)
            return true;
    return false;
}

/* A recorded pass would clear each of them in a launch of its own. */
static vt_grads grads_place(const vt_engine *engine)
{
    if (!trains(engine))
        return VT_GRADS_NONE;
    return engine->config->train_accumulate > 1 || (engine->dev && vt_dev_records(engine->dev))
               ? VT_GRADS_APART
               : VT_GRADS_IN_ARENA;
}

vt_status vt_engine_plan(vt_engine *engine, const vt_config *config, vt_error *err)
{
    engine->config = config;
    vt_status status = create_params(engine, config, err);
    for (int i = 0; i < engine->n_slots && status == VT_OK; i++) {
        vt_slot *slot = &engine->slot[i];
        status = vt_model_init(&slot->model, config, engine->params, kernels_of(engine),
                               slot->batch, slot->training, err);
        if (status == VT_OK)
            status = vt_plan_new(&slot->plan, slot->model.graph, slot->model.loss,
                                 slot->model.logits, grads_place(engine), 0, err);
    }
    return status;
}

static int64_t arena_bytes(const vt_engine *engine)
{
    int64_t most = 0;
    for (int i = 0; i < engine->n_slots; i++)
        if (engine->slot[i].plan->arena_bytes > most)
            most = engine->slot[i].plan->arena_bytes;
    return most;
}

static int n_moments(const vt_config *config)
{
    return config->optim_name != VT_OPTIM_SGD ? 2 : config->optim_momentum > 0 ? 1 : 0;
}

static vt_status take_memory(vt_engine *engine, vt_error *err)
{
    size_t n = (size_t)engine->params->n_trained, chunks = (n + NORM_CHUNK - 1) / NORM_CHUNK;
    vt_status status =
        vt_memory_init(&engine->memory, engine->dev, engine->params, vt_model_type(engine->config),
                       arena_bytes(engine), grads_place(engine), err);
    if (status != VT_OK || !trains(engine))
        return status;
    int moments = n_moments(engine->config);
    if (moments > 0)
        engine->moment1 = vt_dev_alloc(engine->dev, n * sizeof(float));
    if (moments > 1)
        engine->moment2 = vt_dev_alloc(engine->dev, n * sizeof(float));
    engine->norm_sum = vt_dev_alloc(engine->dev, sizeof(double));
    engine->norm_scratch = vt_dev_alloc(engine->dev, chunks * sizeof(double));
    if ((moments > 0 && !engine->moment1) || (moments > 1 && !engine->moment2) ||
        !engine->norm_sum || !engine->norm_scratch)
        return vt_fail(err, VT_ERR_NOMEM, "no memory for the optimiser's state");
    return VT_OK;
}

vt_status vt_engine_init(vt_engine *engine, const vt_config *config, vt_dev *dev, vt_error *err)
{
    engine->dev = dev;
    vt_status status = vt_engine_plan(engine, config, err);
    if (status == VT_OK)
        status = take_memory(engine, err);
    for (int i = 0; i < engine->n_slots && status == VT_OK; i++)
        status =
            vt_program_new(&engine->slot[i].program, engine->slot[i].plan, &engine->memory, err);
    if (status != VT_OK)
        return status;
    size_t bytes = (size_t)engine->params->n_floats * sizeof(float);
    float *weights = vt_calloc(bytes, 1);
    if (!weights)
        return vt_fail(err, VT_ERR_NOMEM, "no memory for the initial weights");
    vt_params_fill(engine->params, config->seed, weights);
    vt_dev_write(dev, engine->memory.weights, weights, bytes);
    vt_free(weights);
    engine->step =
        (vt_step){.key = {(uint32_t)config->seed, (uint32_t)(config->seed >> 32)}, .clip = 1};
    return VT_OK;
}

void vt_engine_release(vt_engine *engine)
{
    for (int i = 0; i < engine->n_slots; i++) {
        if (engine->dev)
            vt_dev_forget(engine->dev, engine->slot[i].recording);
        vt_program_free(engine->slot[i].program);
        vt_plan_free(engine->slot[i].plan);
        vt_model_release(&engine->slot[i].model);
    }
    if (engine->dev) {
        size_t n = (size_t)engine->params->n_trained;
        vt_dev_release(engine->dev, engine->moment1, n * sizeof(float));
        vt_dev_release(engine->dev, engine->moment2, n * sizeof(float));
        vt_dev_release(engine->dev, engine->norm_sum, sizeof(double));
        vt_dev_release(engine->dev, engine->norm_scratch,
                       (n + NORM_CHUNK - 1) / NORM_CHUNK * sizeof(double));
    }
    vt_memory_release(&engine->memory);
    vt_params_free(engine->params);
    *engine = (vt_engine){0};
}

int64_t vt_engine_bytes(const vt_engine *engine, int threads)
{
    int64_t worker = 0, floats = engine->params->n_floats;
    for (int i = 0; i < engine->n_slots; i++)
        if (engine->slot[i].plan->worker_bytes > worker)
            worker = engine->slot[i].plan->worker_bytes;
    if (vt_model_type(engine->config) == VT_BF16)
        floats += floats / 2; /* the rounded copy */
    if (trains(engine))
        floats += ((grads_place(engine) == VT_GRADS_APART) + n_moments(engine->config)) *
                  engine->params->n_trained;
    return floats * (int64_t)sizeof(float) + arena_bytes(engine) + worker * threads;
}

double vt_engine_macs(const vt_engine *engine, bool padded)
{
    const vt_graph *graph = engine->slot[0].model.graph;
    double macs = 0;
    for (int i = 0; i < graph->n; i++)
        macs += padded ? graph->node[i]->macs_padded : graph->node[i]->macs;
    return macs / (double)graph->batch;
}

void vt_engine_send_step(vt_engine *engine, const vt_step *step)
{
    vt_dev_write(engine->dev, engine->memory.step, step, sizeof *step);
}

/* Before the passes that add to them, if those do not do it themselves. */
static void clear_grads(vt_engine *engine)
{
    if (engine->memory.where == VT_GRADS_IN_ARENA)
        return;
    vt_dev_kernels(engine->dev)
        ->fill_zero(engine->dev, engine->memory.grads,
                    (size_t)engine->params->n_trained * sizeof(float));
}

static void set_rate(vt_step *step, int64_t images, double lr)
{
    step->grad_scale = (float)(1.0 / (double)images);
    step->lr = (float)lr;
}

void vt_engine_begin(vt_engine *engine, int64_t images, double lr)
{
    set_rate(&engine->step, images, lr);
    clear_grads(engine);
    engine->passes = 0;
}

static vt_totals read_totals(vt_engine *engine)
{
    vt_totals totals = {{0}};
    vt_dev_read(engine->dev, totals.v, engine->memory.totals, sizeof totals.v);
    return totals;
}

static void clear_totals(vt_engine *engine)
{
    vt_dev_kernels(engine->dev)
        ->fill_zero(engine->dev, engine->memory.totals, VT_TOTALS * sizeof(double));
}

vt_totals vt_engine_train_batch(vt_engine *engine, vt_slot *slot, uint32_t draw)
{
    VT_ASSERT(engine->passes == 0 || engine->memory.where == VT_GRADS_APART);
    engine->passes++;
    engine->step.draw = draw;
    vt_engine_send_step(engine, &engine->step);
    clear_totals(engine);
    vt_program_forward(slot->program, engine->watch, engine->watch_arg);
    vt_program_backward(slot->program, engine->watch, engine->watch_arg);
    return read_totals(engine);
}

static void sum_squares(vt_engine *engine)
{
    vt_dev_kernels(engine->dev)
        ->sum_squares(engine->dev, engine->norm_sum, engine->memory.grads,
                      engine->params->n_trained, engine->norm_scratch);
}

double vt_engine_grad_norm(vt_engine *engine)
{
    double sum;
    sum_squares(engine);
    vt_dev_read(engine->dev, &sum, engine->norm_sum, sizeof sum);
    return sqrt(sum);
}

/* x^n by repeated squaring: pow differs between machines. */
static double power(double x, int64_t n)
{
    double result = 1;
    for (; n; n >>= 1, x *= x)
        if (n & 1)
            result *= x;
    return result;
}

static void update_range(vt_engine *engine, int64_t first, int64_t last, double decay, bool begun)
{
    const vt_config *c = engine->config;
    const vt_kernels *k = vt_dev_kernels(engine->dev);
    float *w = engine->memory.weights + first, *g = engine->memory.grads + first;
    float *m = engine->moment1 ? engine->moment1 + first : NULL;
    if (last == first)
        return;
    if (c->optim_name == VT_OPTIM_SGD)
        k->sgd(engine->dev, w, m, g, last - first, (float)c->optim_momentum, (float)decay,
               c->optim_nesterov, !begun, engine->memory.step);
    else
        k->adam(engine->dev, w, m, engine->moment2 + first, g, last - first, c->optim_betas.v[0],
                c->optim_betas.v[1], (float)c->optim_eps, (float)decay,
                c->optim_name == VT_OPTIM_ADAMW, engine->memory.step);
}

/* From scalars on the device. */
static void update(vt_engine *engine, int64_t t)
{
    const vt_config *c = engine->config;
    if (c->optim_clip_norm > 0)
        vt_dev_kernels(engine->dev)
            ->clip_factor(engine->dev, engine->memory.step, engine->norm_sum,
                          (float)c->optim_clip_norm);
    update_range(engine, 0, engine->params->n_decayed, c->optim_weight_decay, t > 1);
    update_range(engine, engine->params->n_decayed, engine->params->n_trained, 0, t > 1);
}

static void set_corrections(const vt_config *c, vt_step *step, int64_t t)
{
    if (c->optim_name != VT_OPTIM_SGD) {
        step->correction1 = (float)(1 - power(c->optim_betas.v[0], t));
        step->correction2 = (float)sqrt(1 - power(c->optim_betas.v[1], t));
    }
    step->clip = 1;
}

void vt_engine_update(vt_engine *engine, int64_t t)
{
    set_corrections(engine->config, &engine->step, t);
    vt_engine_send_step(engine, &engine->step);
    update(engine, t);
}

vt_step vt_engine_step_of(const vt_engine *engine, int64_t images, double lr, int64_t t)
{
    vt_step step = engine->step;
    set_rate(&step, images, lr);
    set_corrections(engine->config, &step, t);
    return step;
}

void vt_engine_issue(vt_engine *engine, vt_slot *slot, int64_t t, double *result)
{
    if (slot->training)
        clear_grads(engine);
    vt_program_issue(slot->program, false);
    if (!slot->training)
        return;
    vt_program_issue(slot->program, true);
    sum_squares(engine);
    vt_dev_kernels(engine->dev)
        ->judge_step(engine->dev, engine->memory.step, result, engine->memory.totals,
                     engine->norm_sum);
    update(engine, t);
}

vt_totals vt_engine_eval_batch(vt_engine *engine, vt_slot *slot, vt_program_hook *hook, void *arg)
{
    vt_engine_send_step(engine, &engine->step);
    clear_totals(engine);
    vt_program_forward(slot->program, hook, arg);
    return read_totals(engine);
}

void vt_engine_write_batch(vt_engine *engine, vt_slot *slot, const float *images,
                           const int32_t *labels)
{
    vt_program_write(slot->program, slot->model.images, images);
    vt_dev_write(engine->dev, vt_program_value(slot->program, slot->model.labels), labels,
                 (size_t)slot->batch * sizeof *labels);
}

void vt_engine_read_logits(vt_engine *engine, vt_slot *slot, float *logits)
{
    (void)engine;
    vt_program_read(slot->program, slot->model.logits, logits);
}

const vt_param *vt_engine_bad_param(vt_engine *engine)
{
    const vt_params *params = engine->params;
    const vt_buf weights = {engine->memory.weights, VT_F32};
    int64_t at =
        vt_dev_kernels(engine->dev)->find_nonfinite(engine->dev, weights, params->n_floats);
    for (int i = 0; i < params->n && at >= 0; i++) {
        const vt_param *param = params->item[i];
        if (param->offset <= at && at < param->offset + param->shape.size)
            return param;
    }
    VT_ASSERT(at < 0); /* the room between parameters stays 0 */
    return NULL;
}

struct search {
    char *text;
    size_t size;
};

static bool bad(const vt_call *call, vt_buf x, int64_t n)
{
    return x.data && call->k->find_nonfinite(call->dev, x, n) >= 0;
}

/* Keeps the first finding. Parameters come first: a broken weight is the cause, not the layer. */
static void look(void *arg, const vt_call *call)
{
    struct search *s = arg;
    const vt_node *node = call->node;
    if (s->text[0])
        return;
    for (int i = 0; i < node->n_in; i++)
        if (node->in[i] && node->in[i]->op == VT_OP_PARAM) {
            if (!call->backward && bad(call, call->x[i], node->in[i]->shape.size))
                snprintf(s->text, s->size, "parameter %s", node->in[i]->name);
            else if (call->backward && bad(call, call->dx[i], node->in[i]->shape.size))
                snprintf(s->text, s->size, "gradient of parameter %s", node->in[i]->name);
        }
    if (s->text[0])
        return;
    if (!call->backward && bad(call, call->y, node->shape.size))
        snprintf(s->text, s->size, "output of layer %s", node->name);
    for (int i = 0; call->backward && i < node->n_in && !s->text[0]; i++)
        if (node->in[i] && node->in[i]->op != VT_OP_PARAM &&
            bad(call, call->dx[i], node->in[i]->shape.size))
            snprintf(s->text, s->size, "gradient behind layer %s", node->name);
}

void vt_engine_diagnose(vt_engine *engine, vt_slot *slot, char *text, size_t size)
{
    struct search search = {text, size};
    text[0] = '\0';
    clear_grads(engine);
    vt_program_forward(slot->program, look, &search);
    vt_program_backward(slot->program, look, &search);
    if (!text[0])
        snprintf(text, size, "the sum over several batches");
}
