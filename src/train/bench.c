#include "train/bench.h"

#include "base/clock.h"
#include "base/mem.h"
#include "base/rng.h"
#include "results/json.h"
#include "train/engine.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    DEVICE_TIMES = 32,     /* calls in a row, where a device works by itself */
    MATRIX = 1536,         /* side of the product that gives the sgemm rate */
    COPY_BYTES = 64 << 20, /* beyond the caches */
    COPY_CHUNK_BYTES = 1 << 20,
    RATES_MAX = 64,
    EXTRA = 4, /* rows of a step that are no calls */
};

/* What a step does besides the calls of its pass, in order. */
static const char *const extra_name[EXTRA] = {"batch", "clear gradients", "gradient norm",
                                              "optimiser"};
enum { BATCH, CLEAR, NORM, OPTIMISER };

struct timer {
    vt_bench *bench;
    vt_dev *dev;
    vt_engine engine;
    vt_slot *slot;
    const vt_plan *plan;
    float *images, *matrix[4]; /* the last is scratch */
    int32_t *labels;
    char *copy[2];
    double *result;  /* device: of judge_step */
    double *spent;   /* [calls + EXTRA] of one step */
    double *history; /* [steps][calls + EXTRA] */
    double *step_s, *eval_s;
    double sgemm[RATES_MAX], bytes[RATES_MAX];
    int n_rates;
    int call; /* the next one that the watch is told of */
    int64_t step;
    double last, start;
};

static int compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Of sorted values: linear between the two nearest places. */
static double quantile(const double *sorted, int64_t n, double share)
{
    double place = share * (double)(n - 1);
    int64_t below = (int64_t)place;
    int64_t above = below + 1 < n ? below + 1 : below;
    return sorted[below] + (place - (double)below) * (sorted[above] - sorted[below]);
}

static double median(double *values, int64_t n)
{
    qsort(values, (size_t)n, sizeof *values, compare_doubles);
    return quantile(values, n, 0.5);
}

/* ---- what the machine can do */

static void copy_chunk(void *arg, int64_t first, int64_t last, int worker)
{
    char *const *copy = arg;
    (void)worker;
    memcpy(copy[0] + first, copy[1] + first, (size_t)(last - first));
}

/* Until a device that works by itself has done what it was given. */
static void settle(struct timer *t)
{
    double total;
    if (vt_dev_records(t->dev))
        vt_dev_read(t->dev, &total, t->engine.memory.totals, sizeof total);
}

/* In the memory that the steps are computed in. */
static void copy_once(struct timer *t)
{
    if (vt_dev_records(t->dev))
        vt_dev_kernels(t->dev)->activation_fwd(t->dev, (vt_buf){t->copy[0], VT_F32},
                                               (vt_buf){t->copy[1], VT_F32},
                                               COPY_BYTES / (int64_t)sizeof(float), VT_ACT_NONE);
    else
        vt_grid_run(vt_dev_pool(t->dev), COPY_BYTES, COPY_CHUNK_BYTES, copy_chunk, t->copy);
}

static void measure_machine(struct timer *t)
{
    const vt_kernels *k = vt_dev_kernels(t->dev);
    const vt_dtype type = vt_model_type(t->engine.config);
    const vt_buf y = {t->matrix[0], type}, x = {t->matrix[1], type}, w = {t->matrix[2], type};
    if (t->n_rates == RATES_MAX)
        return;
    /* Starting a call takes longer than some last. */
    const int times = vt_dev_records(t->dev) ? DEVICE_TIMES : 1;
    double start = vt_clock_s();
    for (int i = 0; i < times; i++)
        k->linear_fwd(t->dev, y, x, w, (vt_buf){0}, MATRIX, MATRIX, MATRIX, t->matrix[3]);
    settle(t);
    double between = vt_clock_s();
    for (int i = 0; i < times; i++)
        copy_once(t);
    settle(t);
    double end = vt_clock_s();
    t->sgemm[t->n_rates] = 2.0 * times * MATRIX * MATRIX * MATRIX / (between - start);
    t->bytes[t->n_rates++] = 2.0 * times * COPY_BYTES / (end - between);
}

static size_t matrix_bytes(const struct timer *t, int i)
{
    return i < 3 ? MATRIX * MATRIX * sizeof(float)
                 : vt_dev_kernels(t->dev)->linear_scratch(MATRIX, MATRIX, MATRIX, false);
}

static vt_status prepare_machine(struct timer *t, vt_error *err)
{
    const vt_rng rng = vt_rng_at(0, VT_STREAM_TEST, 0, 0, 0);
    for (int i = 0; i < 4; i++) {
        t->matrix[i] = vt_dev_alloc(t->dev, matrix_bytes(t, i));
        if (!t->matrix[i])
            return vt_fail(err, VT_ERR_NOMEM, "no memory for a product of %d x %d", MATRIX, MATRIX);
    }
    if (vt_dev_reserve(t->dev, vt_linear_worker_scratch(), err) != VT_OK)
        return err->status;
    for (int i = 0; i < 2; i++)
        if (!(t->copy[i] = vt_dev_alloc(t->dev, COPY_BYTES)))
            return vt_fail(err, VT_ERR_NOMEM, "no memory to measure copies");
    for (int i = 0; i < 2 && !vt_dev_records(t->dev); i++) /* pages that are there */
        memset(t->copy[i], 1 + i, COPY_BYTES);
    /* Not zeros: products of zeros can be faster. */
    float *values = vt_calloc(MATRIX * MATRIX, sizeof *values);
    if (!values)
        return vt_fail(err, VT_ERR_NOMEM, "no memory for a matrix");
    for (int m = 1; m < 3; m++) {
        for (int64_t i = 0; i < MATRIX * MATRIX; i++)
            values[i] = vt_rng_uniform(&rng, (uint64_t)i) - 0.5F;
        vt_dev_write(t->dev, t->matrix[0], values, MATRIX * MATRIX * sizeof *values);
        vt_dev_kernels(t->dev)->convert(t->dev,
                                        (vt_buf){t->matrix[m], vt_model_type(t->engine.config)},
                                        (vt_buf){t->matrix[0], VT_F32}, MATRIX * MATRIX);
    }
    vt_free(values);
    measure_machine(t); /* the first is colder than those that count */
    t->n_rates = 0;
    return VT_OK;
}

/* ---- what a call has to do */

static double bytes_of(const vt_node *node)
{
    return (double)node->shape.size * (double)vt_dtype_size(node->type);
}

static double kept_bytes(const vt_node *node)
{
    double bytes = 0;
    for (int i = 0; i < node->n_kept; i++)
        bytes += (double)node->kept[i].n * (double)vt_dtype_size(node->kept[i].type);
    return bytes;
}

/* Whether the step computes the gradient of input i. */
static bool wants(const vt_plan *plan, const vt_plan_step *step, int i)
{
    const vt_node *node = plan->graph->node[step->node];
    return i < node->n_in && node->in[i] && node->in[i]->needs_grad && step->inputs >> i & 1 &&
           !vt_plan_hands_on(plan, step->node, i);
}

static bool does_anything(const vt_plan *plan, const vt_plan_step *step)
{
    for (int i = 0; step->backward && i < VT_MAX_IN; i++)
        if (wants(plan, step, i))
            return true;
    return !step->backward;
}

/* Else each gradient is cleared by the step that adds to it first. */
static bool clears_apart(const vt_plan *plan)
{
    return plan->n_cleared == 0;
}

static void count_work(const vt_plan *plan, const vt_plan_step *step, double *flop, double *bytes)
{
    const vt_node *node = plan->graph->node[step->node];
    const bool late = step->inputs & node->late;
    *flop = *bytes = 0;
    if (!does_anything(plan, step))
        return;
    *bytes = kept_bytes(node) + bytes_of(node);
    *flop = 2 * node->macs;
    if (step->backward)
        *flop *= node->op == VT_OP_attention
                     ? 2 * wants(plan, step, 0)
                     : (double)wants(plan, step, 0) + (double)wants(plan, step, 1);
    for (int i = 0; i < node->n_in; i++) {
        const vt_node *in = node->in[i];
        if (!in)
            continue;
        if (!step->backward || (node->reads_in[i] && (i > 0 || !node->late || late)))
            *bytes += bytes_of(in);
        /* A parameter's gradient is added to: read and written, and here or apart cleared. */
        if (step->backward && wants(plan, step, i))
            *bytes += bytes_of(in) * (in->op == VT_OP_PARAM ? 3 - clears_apart(plan) : 1);
    }
}

static void describe_calls(vt_bench *b, const vt_plan *plan, const vt_engine *engine,
                           double image_bytes)
{
    const double grads = (double)engine->params->n_trained * sizeof(float);
    const int moments = (engine->moment1 != NULL) + (engine->moment2 != NULL);
    const double bytes[EXTRA] = {[BATCH] = 2 * image_bytes * (double)b->batch,
                                 [CLEAR] = grads,
                                 [NORM] = grads,
                                 /* weights and moments are read and written */
                                 [OPTIMISER] = grads * (3 + 2 * moments)};
    for (int s = 0; s < plan->n_steps; s++) {
        const vt_node *node = plan->graph->node[plan->steps[s].node];
        vt_bench_row *row = &b->call[s];
        snprintf(row->name, sizeof row->name, "%s", node->name);
        row->pass = plan->steps[s].backward ? "backward" : "forward";
        row->calls = 1;
        count_work(plan, &plan->steps[s], &row->flop, &row->bytes);
        b->flop += row->flop;
    }
    for (int i = 0; i < EXTRA; i++) {
        vt_bench_row *row = &b->call[plan->n_steps + i];
        snprintf(row->name, sizeof row->name, "%s", extra_name[i]);
        row->pass = "step";
        row->calls = 1;
        row->bytes = bytes[i];
    }
}

/* ---- timing */

static void note(struct timer *t, int row)
{
    settle(t);
    double now = vt_clock_s();
    vt_bench *b = t->bench;
    t->spent[row] += now - t->last;
    if (b->event && t->step >= 0)
        b->event[b->n_events++] = (vt_bench_event){row, t->last - t->start, now - t->last};
    t->last = now;
}

static void watch(void *arg, const vt_call *call)
{
    struct timer *t = arg;
    (void)call;
    note(t, t->call++);
}

static void train_step(struct timer *t, int64_t number)
{
    vt_engine *engine = &t->engine;
    const int calls = t->plan->n_steps;
    memset(t->spent, 0, (size_t)t->bench->n_calls * sizeof *t->spent);
    t->call = 0;
    t->last = vt_clock_s();
    vt_engine_write_batch(engine, t->slot, t->images, t->labels);
    note(t, calls + BATCH);
    vt_engine_begin(engine, t->bench->batch, engine->config->optim_lr);
    if (clears_apart(t->plan))
        note(t, calls + CLEAR);
    vt_totals totals = vt_engine_train_batch(engine, t->slot, (uint32_t)number);
    t->bench->loss = totals.v[VT_TOTAL_LOSS] / (double)t->bench->batch;
    t->last = vt_clock_s();
    (void)vt_engine_grad_norm(engine);
    note(t, calls + NORM);
    vt_engine_update(engine, number + 1);
    note(t, calls + OPTIMISER);
}

/* The step as training does it on a device that records: one recording. Its parts are seen in steps
 * of their own, in which one waits for the other. */
static void whole_step(struct timer *t, int64_t number)
{
    vt_engine *engine = &t->engine;
    vt_dev *dev = t->dev;
    const vt_kernels *k = vt_dev_kernels(dev);
    double totals[VT_TOTALS];
    vt_step step = vt_engine_step_of(engine, t->bench->batch, engine->config->optim_lr, number + 1);
    step.draw = (uint32_t)number;
    vt_engine_send_step(engine, &step);
    if (!t->slot->recording) {
        vt_dev_record(dev);
        k->fill_zero(dev, engine->memory.totals, sizeof totals);
        vt_engine_issue(engine, t->slot, number + 1, t->result);
        t->slot->recording = vt_dev_recorded(dev);
    }
    vt_dev_replay(dev, t->slot->recording);
    vt_dev_read(dev, totals, engine->memory.totals, sizeof totals);
    t->bench->loss = totals[VT_TOTAL_LOSS] / (double)t->bench->batch;
}

static void summarise_rate(vt_bench_rate *rate, double *seconds, int64_t n, double images)
{
    qsort(seconds, (size_t)n, sizeof *seconds, compare_doubles);
    rate->step_s = quantile(seconds, n, 0.5);
    rate->median = images / rate->step_s;
    rate->low = images / quantile(seconds, n, 0.75);
    rate->high = images / quantile(seconds, n, 0.25);
}

static void measure_steps(struct timer *t)
{
    vt_bench *b = t->bench;
    const vt_bench_options *o = &b->options;
    const int64_t stride = b->n_calls, third = o->steps / 3 > 0 ? o->steps / 3 : 1;
    t->start = vt_clock_s();
    for (int64_t s = 0; s < o->steps; s++) {
        if (s % third == 0)
            measure_machine(t);
        t->step = s;
        double start = vt_clock_s();
        if (vt_dev_records(t->dev))
            whole_step(t, o->warm_up + s);
        else
            train_step(t, o->warm_up + s);
        t->step_s[s] = vt_clock_s() - start;
        if (vt_dev_records(t->dev))
            train_step(t, o->warm_up + o->steps + s);
        memcpy(t->history + s * stride, t->spent, (size_t)stride * sizeof *t->spent);
    }
    measure_machine(t);
    vt_slot *slot = vt_engine_slot(&t->engine, b->batch, false);
    vt_engine_write_batch(&t->engine, slot, t->images, t->labels);
    (void)vt_engine_eval_batch(&t->engine, slot, NULL, NULL);
    for (int64_t s = 0; s < o->steps; s++) {
        double start = vt_clock_s();
        if (!vt_dev_records(t->dev)) /* where it does, the batch is there, as in training */
            vt_engine_write_batch(&t->engine, slot, t->images, t->labels);
        (void)vt_engine_eval_batch(&t->engine, slot, NULL, NULL);
        t->eval_s[s] = vt_clock_s() - start;
    }
    measure_machine(t);
    summarise_rate(&b->training, t->step_s, o->steps, (double)b->batch);
    summarise_rate(&b->evaluation, t->eval_s, o->steps, (double)b->batch);
    b->sgemm_flops = median(t->sgemm, t->n_rates);
    b->copy_bytes = median(t->bytes, t->n_rates);
}

static double floor_of(const vt_bench *b, const vt_bench_row *row)
{
    return fmax(row->flop / b->sgemm_flops, row->bytes / b->copy_bytes);
}

static int compare_rows(const void *a, const void *b)
{
    const vt_bench_row *x = a, *y = b;
    if (x->s != y->s)
        return x->s > y->s ? -1 : 1;
    int order = strcmp(x->name, y->name);
    return order ? order : strcmp(x->pass, y->pass);
}

/* The row that call number `c` belongs to, made if it is the first. */
static int find_row(vt_bench *b, const vt_plan *plan, int c)
{
    const vt_bench_row *call = &b->call[c];
    const char *name = call->name;
    if (c < plan->n_steps && !b->options.layers)
        name = vt_op_table[plan->graph->node[plan->steps[c].node]->op].name;
    for (int i = 0; i < b->n_rows && !b->options.layers; i++)
        if (strcmp(b->row[i].name, name) == 0 && b->row[i].pass == call->pass)
            return i;
    vt_bench_row *row = &b->row[b->n_rows];
    *row = (vt_bench_row){.pass = call->pass};
    snprintf(row->name, sizeof row->name, "%s", name);
    return b->n_rows++;
}

/* Rows and their times: of each row the median over the steps of what its calls took together. */
static vt_status gather_rows(struct timer *t, vt_error *err)
{
    vt_bench *b = t->bench;
    const int64_t steps = b->options.steps;
    double *times = vt_calloc((size_t)(steps * b->n_calls), sizeof *times);
    double *one = vt_calloc((size_t)steps, sizeof *one);
    if (!times || !one) {
        vt_free(times);
        vt_free(one);
        return vt_fail(err, VT_ERR_NOMEM, "no memory for the table");
    }
    for (int c = 0; c < b->n_calls; c++) {
        if (c == t->plan->n_steps + CLEAR && !clears_apart(t->plan))
            continue;
        int r = find_row(b, t->plan, c);
        b->row[r].calls++;
        b->row[r].flop += b->call[c].flop;
        b->row[r].bytes += b->call[c].bytes;
        for (int64_t s = 0; s < steps; s++) {
            times[r * steps + s] += t->history[s * b->n_calls + c];
            one[s] = t->history[s * b->n_calls + c];
        }
        b->call[c].s = median(one, steps);
        b->floor_s += floor_of(b, &b->call[c]);
    }
    for (int r = 0; r < b->n_rows; r++)
        b->row[r].s = median(times + r * steps, steps);
    qsort(b->row, (size_t)b->n_rows, sizeof *b->row, compare_rows);
    vt_free(times);
    vt_free(one);
    return VT_OK;
}

static vt_status take_buffers(struct timer *t, vt_error *err)
{
    vt_bench *b = t->bench;
    const vt_config *c = t->engine.config;
    const size_t steps = (size_t)b->options.steps;
    const size_t pixels = (size_t)(b->batch * c->model_image * c->model_image * c->model_channels);
    const vt_rng rng = vt_rng_at(c->seed, VT_STREAM_TEST, 0, 0, 0);
    t->plan = t->slot->plan;
    b->n_calls = t->plan->n_steps + EXTRA;
    b->call = vt_calloc((size_t)b->n_calls, sizeof *b->call);
    b->row = vt_calloc((size_t)b->n_calls, sizeof *b->row);
    t->spent = vt_calloc((size_t)b->n_calls, sizeof *t->spent);
    t->history = vt_calloc(steps * (size_t)b->n_calls, sizeof *t->history);
    t->step_s = vt_calloc(steps, sizeof *t->step_s);
    t->eval_s = vt_calloc(steps, sizeof *t->eval_s);
    t->images = vt_calloc(pixels, sizeof *t->images);
    t->labels = vt_calloc((size_t)b->batch, sizeof *t->labels);
    t->result = vt_dev_alloc(t->dev, (VT_TOTALS + 1) * sizeof *t->result);
    if (b->options.trace)
        b->event = vt_calloc(steps * (size_t)b->n_calls, sizeof *b->event);
    if (!b->call || !b->row || !t->spent || !t->history || !t->step_s || !t->eval_s || !t->images ||
        !t->labels || !t->result || (b->options.trace && !b->event))
        return vt_fail(err, VT_ERR_NOMEM, "no memory to measure %zu steps", steps);
    for (size_t i = 0; i < pixels; i++)
        t->images[i] = (float)vt_rng_normal(&rng, i);
    for (int64_t i = 0; i < b->batch; i++)
        t->labels[i] = (int32_t)(i % c->model_classes);
    return VT_OK;
}

static vt_status prepare(struct timer *t, const vt_config *config, vt_error *err)
{
    vt_bench *b = t->bench;
    vt_engine *engine = &t->engine;
    vt_status status = vt_engine_device(&t->dev, config, err);
    if (status == VT_OK)
        status = vt_engine_precision(t->dev, config, err);
    if (status != VT_OK)
        return status;
    vt_engine_add_slot(engine, b->batch, true);
    vt_engine_add_slot(engine, b->batch, false);
    status = vt_engine_init(engine, config, t->dev, err);
    if (status != VT_OK)
        return status;
    const vt_device_info *info = vt_dev_info(t->dev);
    snprintf(b->experiment, sizeof b->experiment, "%s", vt_config_name(config));
    snprintf(b->kernels, sizeof b->kernels, "%s", info->kernels);
    snprintf(b->blas, sizeof b->blas, "%s", info->blas);
    b->threads = info->threads;
    b->n_params = vt_params_count(engine->params);
    b->planned_bytes = vt_engine_bytes(engine, b->threads);
    engine->watch = watch;
    engine->watch_arg = t;
    t->slot = vt_engine_slot(engine, b->batch, true);
    return take_buffers(t, err);
}

vt_status vt_bench_run(vt_bench *bench, const vt_config *config, const vt_bench_options *options,
                       vt_error *err)
{
    struct timer t = {.bench = bench, .step = -1};
    *bench = (vt_bench){.options = *options, .batch = config->train_batch};
    VT_ASSERT(options->steps >= 1 && options->warm_up >= 1);
    vt_status status = prepare(&t, config, err);
    if (status == VT_OK) {
        const double side = (double)config->model_image;
        describe_calls(bench, t.plan, &t.engine,
                       side * side * (double)config->model_channels * sizeof(float));
        bench->gflop_image = bench->flop / (double)bench->batch / 1e9;
        for (int64_t s = 0; s < options->warm_up; s++)
            train_step(&t, s);
        /* Before the machine's own rates are measured, which takes memory too. */
        bench->peak_bytes = vt_mem_peak_bytes();
        status = prepare_machine(&t, err);
    }
    if (status == VT_OK) {
        measure_steps(&t);
        status = gather_rows(&t, err);
    }
    for (int i = 0; i < 4; i++)
        if (t.dev)
            vt_dev_release(t.dev, t.matrix[i], matrix_bytes(&t, i));
    for (int i = 0; i < 2 && t.dev; i++)
        vt_dev_release(t.dev, t.copy[i], COPY_BYTES);
    if (t.dev)
        vt_dev_release(t.dev, t.result, (VT_TOTALS + 1) * sizeof *t.result);
    vt_free(t.spent);
    vt_free(t.history);
    vt_free(t.step_s);
    vt_free(t.eval_s);
    vt_free(t.images);
    vt_free(t.labels);
    vt_engine_release(&t.engine);
    vt_dev_free(t.dev);
    return status;
}

void vt_bench_release(vt_bench *bench)
{
    vt_free(bench->row);
    vt_free(bench->call);
    vt_free(bench->event);
    *bench = (vt_bench){0};
}

/* ---- saying it */

vt_status vt_bench_print(const vt_bench *b, vt_text *text, vt_error *err)
{
    const vt_bench_rate *train = &b->training, *eval = &b->evaluation;
    vt_text_printf(text, "bench       %s  batch %lld  %d thread%s  %s  %lld steps\n", b->experiment,
                   (long long)b->batch, b->threads, b->threads == 1 ? "" : "s", b->kernels,
                   (long long)b->options.steps);
    vt_text_printf(text, "machine     product %.1f GFLOP/s  copy %.1f GB/s\n", b->sgemm_flops / 1e9,
                   b->copy_bytes / 1e9);
    vt_text_printf(text,
                   "training    %.2f img/s (%.2f to %.2f)  %.2f ms a step  %.1f GFLOP/s  "
                   "%.3f GFLOP an image\n",
                   train->median, train->low, train->high, 1e3 * train->step_s,
                   b->flop / train->step_s / 1e9, b->gflop_image);
    vt_text_printf(text, "floor       %.2f ms a step: %.1f %% of it reached\n", 1e3 * b->floor_s,
                   100 * b->floor_s / train->step_s);
    vt_text_printf(text, "evaluation  %.2f img/s (%.2f to %.2f)  %.2f times the training rate\n",
                   eval->median, eval->low, eval->high, eval->median / train->median);
    vt_text_printf(text, "memory      %.1f MiB planned  %.1f MiB resident at most\n\n",
                   (double)b->planned_bytes / 0x1p20, (double)b->peak_bytes / 0x1p20);
    int width = 16;
    for (int i = 0; i < b->n_rows; i++)
        width = (int)strlen(b->row[i].name) > width ? (int)strlen(b->row[i].name) : width;
    vt_text_printf(text, "%-*s %-8s %5s %9s %6s %8s %7s %7s\n", width, "what", "pass", "calls",
                   "ms/step", "share", "GFLOP/s", "GB/s", "floor");
    for (int i = 0; i < b->n_rows; i++) {
        const vt_bench_row *r = &b->row[i];
        vt_text_printf(text, "%-*s %-8s %5lld %9.3f %5.1f%% %8.1f %7.1f %6.0f%%\n", width, r->name,
                       r->pass, (long long)r->calls, 1e3 * r->s, 100 * r->s / train->step_s,
                       r->flop / r->s / 1e9, r->bytes / r->s / 1e9, 100 * floor_of(b, r) / r->s);
    }
    return text->failed ? vt_fail(err, VT_ERR_NOMEM, "no memory for the table") : VT_OK;
}

static json_t *pack_rate(const vt_bench_rate *rate)
{
    return json_pack("{s:f, s:f, s:f, s:f}", "images_per_s", rate->median, "images_per_s_q1",
                     rate->low, "images_per_s_q3", rate->high, "step_s", rate->step_s);
}

json_t *vt_bench_json(const vt_bench *b)
{
    json_t *rows = json_array();
    for (int i = 0; rows && i < b->n_rows; i++) {
        const vt_bench_row *r = &b->row[i];
        if (json_array_append_new(rows, json_pack("{s:s, s:s, s:I, s:f, s:f, s:f, s:f}", "name",
                                                  r->name, "pass", r->pass, "calls",
                                                  (json_int_t)r->calls, "s", r->s, "flop", r->flop,
                                                  "bytes", r->bytes, "floor_s", floor_of(b, r)))) {
            json_decref(rows);
            rows = NULL;
        }
    }
    return json_pack(
        "{s:i, s:s, s:I, s:i, s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:f, s:f, s:f, s:f, s:o, s:o, "
        "s:o, s:o}",
        "schema", 1, "experiment", b->experiment, "batch", (json_int_t)b->batch, "threads",
        b->threads, "kernels", b->kernels, "blas", b->blas, "steps", (json_int_t)b->options.steps,
        "warm_up", (json_int_t)b->options.warm_up, "params", (json_int_t)b->n_params,
        "planned_bytes", (json_int_t)b->planned_bytes, "peak_bytes", (json_int_t)b->peak_bytes,
        "product_flops", b->sgemm_flops, "copy_bytes_per_s", b->copy_bytes, "step_flop", b->flop,
        "floor_s", b->floor_s, "loss", vt_json_real(b->loss), "training", pack_rate(&b->training),
        "evaluation", pack_rate(&b->evaluation), "rows", rows);
}

json_t *vt_bench_trace(const vt_bench *b)
{
    json_t *events = json_array();
    for (int64_t i = 0; events && i < b->n_events; i++) {
        const vt_bench_event *e = &b->event[i];
        const vt_bench_row *call = &b->call[e->row];
        if (json_array_append_new(events, json_pack("{s:s, s:s, s:s, s:f, s:f, s:i, s:i}", "name",
                                                    call->name, "cat", call->pass, "ph", "X", "ts",
                                                    1e6 * e->start_s, "dur", 1e6 * e->s, "pid", 1,
                                                    "tid", 1))) {
            json_decref(events);
            events = NULL;
        }
    }
    return json_pack("{s:s, s:o}", "displayTimeUnit", "ms", "traceEvents", events);
}
