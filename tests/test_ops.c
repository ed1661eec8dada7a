/*
 * Every op through graph, planner and executor, from one table. A row's op is built on each case of
 * its fixture and is held against PyTorch's numbers, against finite differences, against itself at
 * other thread counts, chunk orders and kernel widths, in poisoned memory, and as one of two ops
 * that send a gradient into the same value.
 */
#include "base/rng.h"
#include "support/op_trial.h"
#include "support/test_device.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* The largest relative rounding error of one float operation. */
static const double U = 0x1p-24;

/* ---- PyTorch's numbers */

static double largest(const float *data, int64_t n)
{
    double most = 0;
    for (int64_t i = 0; i < n; i++)
        most = fmax(most, fabs((double)data[i]));
    return most;
}

static void check_close(const vt_trial *t, const char *what, const float *got, const float *want,
                        int64_t n, double tolerance)
{
    double bound = tolerance * largest(want, n);
    for (int64_t i = 0; i < n; i++)
        if (!(fabs((double)got[i] - (double)want[i]) <= bound))
            fail_msg("%s, case %d: %s[%lld] is %.9g, expected %.9g within %.3g", t->row->name, t->i,
                     what, (long long)i, (double)got[i], (double)want[i], bound);
}

static bool is_drop(const vt_trial *t)
{
    return t->op->op == VT_OP_dropout || (t->op->op == VT_OP_residual && t->rate > 0);
}

static bool dropped(uint32_t word, double rate)
{
    return word < (uint32_t)floor((double)(float)rate * 0x1p32);
}

/* Whether element `e` of image `b` falls to the generator. */
static bool drawn_out(vt_draw_stream stream, double rate, uint32_t draw, int64_t b, int64_t e)
{
    vt_rng rng = {{vt_trial_step.key[0], vt_trial_step.key[1]}, (uint32_t)b, draw, stream};
    return dropped(vt_rng_u32(&rng, (uint64_t)e), rate);
}

/* The fixture's mask is PyTorch's, so where the generator's agrees the results do too; all results
 * are checked bit for bit with the formula. Counts kept and dropped draws. */
static void check_drop(vt_trial *t, uint32_t draw, int64_t count[2])
{
    bool element = t->op->op == VT_OP_dropout;
    int64_t n = t->op->shape.size, per_image = n / t->op->shape.dim[0];
    const float *x = vt_trial_floats(t, "x"), *dy = vt_trial_floats(t, "dy"),
                *mask = vt_trial_floats(t, "mask");
    const float *f = element ? NULL : vt_trial_floats(t, "f");
    const char *branch = element ? "dx" : "df";
    const float *y = vt_net_find(t->net, "y")->data, *df = vt_net_find(t->net, branch)->data;
    const float *y_torch = vt_trial_floats(t, "y"), *df_torch = vt_trial_floats(t, branch);
    for (int64_t i = 0; i < n; i++) {
        int64_t b = i / per_image, e = element ? i % per_image : 0;
        bool out = drawn_out(t->op->drop.stream, t->rate, draw, b, e);
        float scale = out ? 0 : 1.0f / (1.0f - (float)t->rate);
        float want = element ? scale * x[i] : fmaf(scale, f[i], x[i]), want_df = scale * dy[i];
        count[out]++;
        if (y[i] != want || df[i] != want_df)
            fail_msg("%s, case %d, %lld: y %.9g (%.9g), %s %.9g (%.9g)", t->row->name, t->i,
                     (long long)i, (double)y[i], (double)want, branch, (double)df[i],
                     (double)want_df);
        if ((mask[element ? i : b] == 0) != out)
            continue;
        double bound = t->row->y * fabs((double)(element ? y_torch[i] : 0)) +
                       (element ? 0 : t->row->y * (fabs((double)x[i]) + 2 * fabs((double)f[i])));
        assert_true(fabs((double)y[i] - (double)y_torch[i]) <= bound);
        assert_true(fabs((double)df[i] - (double)df_torch[i]) <=
                    t->row->gradient * fabs((double)df_torch[i]));
    }
    if (!element)
        assert_memory_equal(vt_net_find(t->net, "dx")->data, dy, (size_t)n * sizeof *dy);
}

static bool is_input(const vt_trial *t, const char *name)
{
    if (strcmp(name, "dy") == 0 || strcmp(name, "mask") == 0)
        return true;
    for (int l = 0; l < t->net->n_leaves; l++)
        if (strcmp(t->net->leaf[l].name, name) == 0)
            return true;
    return false;
}

/* The pad's tensors where no padding attends: nothing to compute, and nothing expected. */
static bool is_idle_pad(const vt_trial *t, const char *name, const vt_safetensor *tensor)
{
    if (t->op->op != VT_OP_attention || t->op->in[2])
        return false;
    if (strcmp(name, "dpad") == 0 && vt_trial_int(t, "bias"))
        assert_true(largest(vt_fixture_floats(tensor), vt_fixture_size(tensor)) < 1e-20);
    return strcmp(name, "pad") == 0 || strcmp(name, "dpad") == 0;
}

static double tolerance_of(const vt_op_row *row, const char *name)
{
    if (strcmp(name, "patches") == 0 || strcmp(name, "index") == 0)
        return 0;
    if (strcmp(name, "p") == 0)
        return 1e-6;
    return name[0] == 'd' ? row->gradient : row->y;
}

static void check_rows_sum_to_one(const vt_trial *t)
{
    const vt_attention_map *map = t->op->attention.map;
    const vt_net_output *p = vt_net_find(t->net, "p");
    int64_t rows_of_tokens = 0;
    for (int64_t r = 0; r < p->n / map->places; r++) {
        double sum = 0;
        for (int64_t k = 0; k < map->places; k++)
            sum += (double)p->data[r * map->places + k];
        if (sum == 0)
            continue;
        rows_of_tokens++;
        if (!(fabs(sum - 1) < 1e-6))
            fail_msg("%s, case %d: row %lld of the weights sums to %.9g", t->row->name, t->i,
                     (long long)r, sum);
    }
    assert_int_equal(rows_of_tokens,
                     t->op->shape.dim[0] * t->op->shape.dim[1] * t->op->attention.sizes.heads);
}

/* Every tensor of the case is written or compared. */
static void check_fixture(vt_trial *t)
{
    const char *name;
    const vt_safetensor *tensor;
    int compared = 0;
    for (int j = 0; (tensor = vt_fixture_at(t->fixture, t->i, j, &name)); j++) {
        const vt_net_output *output = vt_net_find(t->net, name);
        int64_t n = vt_fixture_size(tensor);
        if (is_input(t, name) || is_idle_pad(t, name, tensor))
            continue;
        compared++;
        if (strcmp(name, "loss") == 0) {
            const vt_net_output *totals = vt_net_find(t->net, "totals");
            float loss = totals->data[VT_TOTAL_LOSS] / totals->data[VT_TOTAL_ROWS];
            check_close(t, name, &loss, vt_fixture_floats(tensor), 1, t->row->y);
            continue;
        }
        if (!output)
            fail_msg("%s, case %d: nothing computes %s", t->row->name, t->i, name);
        assert_int_equal(output->n, n);
        check_close(t, name, output->data, vt_fixture_floats(tensor), n,
                    tolerance_of(t->row, name));
    }
    assert_true(compared >= 2);
    if (t->op->op == VT_OP_attention)
        check_rows_sum_to_one(t);
}

static void equals_pytorch(void **state)
{
    const vt_op_row *row = *state;
    vt_fixture fixture = vt_fixture_open(row->fixture);
    vt_dev *dev = new_device(2);
    int64_t drawn[2] = {0};
    bool draws = false;
    for (int i = 0; i < fixture.n_cases; i++) {
        vt_trial t = vt_trial_open(row, &fixture, i, dev, 0, 0);
        for (uint32_t draw = 1; draw <= (is_drop(&t) ? 8u : 1u); draw++) {
            vt_trial_set_step(&t, draw);
            vt_net_run(t.net);
            draws |= is_drop(&t);
            if (is_drop(&t))
                check_drop(&t, draw, drawn);
            else
                check_fixture(&t);
        }
        vt_trial_close(&t);
    }
    if (draws && (drawn[0] == 0 || drawn[1] == 0))
        fail_msg("the draws kept %lld and dropped %lld", (long long)drawn[0], (long long)drawn[1]);
    vt_dev_free(dev);
    vt_fixture_close(&fixture);
}

/* ---- finite differences */

/* Sum of dy * y in double; *noise: the size of what rounding y can add to it. */
static double weighed_output(const vt_trial *t, double *noise)
{
    const vt_net_output *y = vt_net_find(t->net, "y");
    const float *dy = vt_trial_is_loss(t) ? NULL : vt_trial_floats(t, "dy");
    double sum = 0, squares = 0;
    for (int64_t i = 0; i < y->n; i++) {
        double weight = dy ? (double)dy[i] : 1 / (double)y->n, term = weight * (double)y->data[i];
        sum += term;
        squares += term * term;
    }
    *noise = U * sqrt(squares);
    return sum;
}

struct quotient {
    double difference; /* of the weighed output, over the length of the step */
    double gradient;   /* the gradient times the step that was really made, over the same */
    double noise;
};

static struct quotient difference_quotient(vt_trial *t, const vt_net_leaf *leaf,
                                           const float *gradient, const float *direction, float h)
{
    const float *at = vt_trial_floats(t, leaf->name);
    struct quotient q = {0};
    float *moved = calloc((size_t)leaf->n, sizeof *moved);
    assert_non_null(moved);
    for (int side = -1; side <= 1; side += 2) {
        double noise;
        for (int64_t i = 0; i < leaf->n; i++) {
            moved[i] = at[i] + (float)side * h * direction[i];
            q.gradient += side * (double)gradient[i] * (double)moved[i] / (2 * (double)h);
        }
        vt_net_set(t->net, leaf->name, moved, leaf->n);
        vt_net_forward(t->net);
        q.difference += side * weighed_output(t, &noise) / (2 * (double)h);
        q.noise += noise / (double)h;
    }
    vt_net_set(t->net, leaf->name, at, leaf->n);
    free(moved);
    return q;
}

/*
 * The derivative along one random direction for each leaf, from central differences with steps h
 * and 2h (Richardson: the curvature error is h^4). The noise of y grows as 1/h: h = 1/64 leaves
 * both below 1e-4 of the gradient's length, which is what a random direction meets; a wrong or
 * missing term of any element's gradient changes it by that element's share. An op linear in each
 * leaf has no curvature, so h = 1/2. Exact zeros stay where they are: fixtures of ops with kinks
 * put theirs there.
 */
static void check_difference(vt_trial *t, const vt_net_leaf *leaf, uint32_t number_of_leaf)
{
    char name[VT_NET_NAME + 1];
    float *direction = calloc((size_t)leaf->n, sizeof *direction),
          h = t->row->linear ? 0.5f : 0x1p-6f;
    vt_rng rng = vt_rng_at(7, VT_STREAM_TEST, number_of_leaf, (uint32_t)t->i, 0);
    double length = 0;
    assert_non_null(direction);
    snprintf(name, sizeof name, "d%s", leaf->name);
    const float *gradient = vt_net_find(t->net, name)->data, *at = vt_trial_floats(t, leaf->name);
    for (int64_t i = 0; i < leaf->n; i++) {
        direction[i] = at[i] != 0 ? (float)vt_rng_normal(&rng, (uint64_t)i) : 0;
        length += (double)gradient[i] * (double)gradient[i];
    }
    struct quotient one = difference_quotient(t, leaf, gradient, direction, h);
    struct quotient two = difference_quotient(t, leaf, gradient, direction, 2 * h);
    double difference = (4 * one.difference - two.difference) / 3;
    double want = (4 * one.gradient - two.gradient) / 3;
    double bound = t->row->difference * sqrt(length) + 2 * (one.noise + two.noise);
    if (!(fabs(difference - want) <= bound))
        fail_msg("%s, case %d: along %s %.9g, by differences %.9g, allowed %.3g apart",
                 t->row->name, t->i, name, want, difference, bound);
    free(direction);
}

static void check_differences(const vt_op_row *row, double rate)
{
    vt_fixture fixture = vt_fixture_open(row->fixture);
    vt_dev *dev = new_device(2);
    for (int i = 0; i < fixture.n_cases; i++) {
        vt_trial t = vt_trial_open(row, &fixture, i, dev, rate, 0);
        vt_net_run(t.net);
        int leaves = 0;
        for (int l = 0; l < t.net->n_leaves; l++)
            if (t.net->leaf[l].source->op == VT_OP_PARAM && !t.net->leaf[l].before) {
                check_difference(&t, &t.net->leaf[l], (uint32_t)l);
                leaves++;
            }
        assert_true(leaves > 0);
        vt_trial_close(&t);
    }
    vt_dev_free(dev);
    vt_fixture_close(&fixture);
}

static void agrees_with_differences(void **state)
{
    check_differences(*state, 0);
}

/* ---- dropout on attention's weights, for which there is no fixture */

static const double DROP_RATE = 0.25;

/* Adds up y in double from the fixture's weights, the generator's draws and the values. */
static void check_dropped_group(const vt_trial *t, int64_t b, const vt_attention_group *group,
                                int64_t drawn[2])
{
    const vt_attention_map *map = t->op->attention.map;
    const vt_attention_sizes *sizes = &t->op->attention.sizes;
    const float *p = vt_trial_floats(t, "p"), *qkv = vt_trial_floats(t, "qkv");
    const float *pad = t->op->in[2] ? vt_trial_floats(t, "pad") : NULL;
    const vt_net_output *y = vt_net_find(t->net, "y");
    int64_t C = sizes->channels, width = C / sizes->heads, P = map->places;
    double bound = 2 * t->row->y * largest(y->data, y->n);
    for (int64_t q = 0; q < group->n_tokens; q++)
        for (int64_t c = 0; c < C; c++) {
            int64_t row =
                (group->window * sizes->heads + c / width) * P + map->place[group->first + q];
            double want = 0;
            for (int64_t k = 0; k < group->n_tokens + group->n_pads; k++) {
                bool real = k < group->n_tokens;
                int64_t e =
                    row * P + (real ? map->place[group->first + k]
                                    : map->pad_place[group->first_pad + k - group->n_tokens]);
                int64_t token = real ? map->token[group->first + k] : 0;
                double v = real  ? (double)qkv[((b * map->tokens + token) * 3 + 2) * C + c]
                           : pad ? (double)pad[2 * C + c]
                                 : 0;
                bool out = drawn_out(sizes->stream, DROP_RATE, vt_trial_step.draw, b, e);
                drawn[out]++;
                if (!out)
                    want += (double)p[b * map->windows * sizes->heads * P * P + e] * v /
                            (1 - DROP_RATE);
            }
            double got = (double)y->data[(b * map->tokens + map->token[group->first + q]) * C + c];
            if (!(fabs(got - want) <= bound))
                fail_msg("%s, case %d, with dropout: %.9g, expected %.9g within %.3g", t->row->name,
                         t->i, got, want, bound);
        }
}

static void check_attention_dropout(const vt_op_row *row, vt_dev *dev)
{
    vt_fixture fixture = vt_fixture_open(row->fixture);
    int64_t drawn[2] = {0};
    for (int i = 0; i < fixture.n_cases; i++) {
        vt_trial t = vt_trial_open(row, &fixture, i, dev, DROP_RATE, 0);
        const vt_attention_map *map = t.op->attention.map;
        vt_net_run(t.net);
        for (int64_t b = 0; b < t.op->attention.sizes.batch; b++)
            for (int64_t g = 0; g < map->n_groups; g++)
                check_dropped_group(&t, b, &map->groups[g], drawn);
        vt_trial_close(&t);
    }
    vt_fixture_close(&fixture);
    assert_true(drawn[0] > 2 * drawn[1] && drawn[1] > 0);
}

static void attention_drops_what_the_generator_says(void **state)
{
    vt_dev *dev = new_device(2);
    (void)state;
    for (int r = 0; r < VT_OP_ROWS; r++)
        if (vt_trial_is_attention(&vt_op_rows[r]))
            check_attention_dropout(&vt_op_rows[r], dev);
    vt_dev_free(dev);
}

static void attention_with_dropout_agrees_with_differences(void **state)
{
    (void)state;
    for (int r = 0; r < VT_OP_ROWS; r++)
        if (vt_trial_is_attention(&vt_op_rows[r]))
            check_differences(&vt_op_rows[r], DROP_RATE);
}

/* ---- equal bits */

static void hash_case(const vt_op_row *row, const vt_fixture *fixture, int i, vt_dev *dev,
                      char hex[VT_SHA256_HEX_SIZE])
{
    vt_trial t = vt_trial_open(row, fixture, i, dev, 0, 0);
    vt_net_run(t.net);
    vt_net_hash(t.net, hex);
    vt_trial_close(&t);
}

static void check_hashes(const vt_op_row *row, vt_dev *one, vt_dev *other, const char *what)
{
    vt_fixture fixture = vt_fixture_open(row->fixture);
    for (int i = 0; i < fixture.n_cases; i++) {
        char want[VT_SHA256_HEX_SIZE], got[VT_SHA256_HEX_SIZE];
        hash_case(row, &fixture, i, one, want);
        hash_case(row, &fixture, i, other, got);
        if (strcmp(want, got) != 0)
            fail_msg("%s, case %d: other bits %s", row->name, i, what);
    }
    vt_fixture_close(&fixture);
}

static void has_one_hash(void **state)
{
    static const int threads[] = {2, 3, 5};
    vt_dev *one = new_device(1);
    for (size_t i = 0; i < sizeof threads / sizeof threads[0]; i++) {
        vt_dev *other = new_device(threads[i]);
        char what[64];
        for (uint64_t order = 0; order < 3; order++) {
            snprintf(what, sizeof what, "at %d threads, chunk order %d", threads[i], (int)order);
            vt_pool_shuffle(vt_dev_pool(other), order);
            check_hashes(*state, one, other, what);
        }
        vt_dev_free(other);
    }
    vt_dev_free(one);
}

static void has_equal_bits_at_both_widths(void **state)
{
    vt_dev *narrow = NULL, *wide = NULL;
    vt_error err = {0};
    if (on_gpu()) {
        print_message("skipped: widths are the CPU's\n");
        skip();
    }
    setenv("VITRINE_KERNELS", "avx2", 1);
    vt_status status = vt_dev_new(&narrow, "cpu", 2, &err);
    setenv("VITRINE_KERNELS", "avx512", 1);
    if (status == VT_OK)
        status = vt_dev_new(&wide, "cpu", 2, &err);
    unsetenv("VITRINE_KERNELS");
    if (status == VT_ERR_HELPER && narrow) {
        vt_dev_free(narrow);
        print_message("skipped: %s\n", err.text);
        skip();
    }
    if (status != VT_OK)
        fail_msg("%s", err.text);
    assert_string_equal(vt_dev_info(narrow)->kernels, "avx2");
    assert_string_equal(vt_dev_info(wide)->kernels, "avx512");
    check_hashes(*state, narrow, wide, "with AVX-512");
    vt_dev_free(wide);
    vt_dev_free(narrow);
}

static void reads_and_writes_only_what_is_its_own(void **state)
{
    const vt_op_row *row = *state;
    vt_fixture fixture = vt_fixture_open(row->fixture);
    vt_dev *dev = new_device(2);
    for (int i = 0; i < fixture.n_cases; i++) {
        char want[VT_SHA256_HEX_SIZE], got[VT_SHA256_HEX_SIZE];
        vt_trial t = vt_trial_open(row, &fixture, i, dev, 0, 0);
        vt_net_run(t.net);
        vt_net_hash(t.net, want);
        vt_net_poison(t.net, true);
        for (int pass = 0; pass < 2; pass++) {
            vt_net_run(t.net);
            vt_net_hash(t.net, got);
            if (strcmp(want, got) != 0)
                fail_msg("%s, case %d: other bits in poisoned memory", row->name, i);
            assert_int_equal(vt_program_broken_guards(t.net->program), 0);
        }
        vt_trial_close(&t);
    }
    vt_dev_free(dev);
    vt_fixture_close(&fixture);
}

/* ---- gradients that meet */

/* Two ops with gradients dy and -dy/4: each leaf gets 3/4 of what one op gives, but for the
 * rounding of one sum. */
static void adds_to_the_gradient_of_another(void **state)
{
    enum { TWIN_QUARTERS = -1 };
    const vt_op_row *row = *state;
    vt_fixture fixture = vt_fixture_open(row->fixture);
    vt_dev *dev = new_device(2);
    for (int i = 0; i < fixture.n_cases; i++) {
        vt_trial one = vt_trial_open(row, &fixture, i, dev, 0, 0);
        vt_trial two = vt_trial_open(row, &fixture, i, dev, 0, TWIN_QUARTERS * 0.25f);
        vt_net_run(one.net);
        vt_net_poison(two.net, true);
        vt_net_run(two.net);
        for (int l = 0; l < one.net->n_leaves; l++) {
            char name[VT_NET_NAME + 1];
            snprintf(name, sizeof name, "d%s", one.net->leaf[l].name);
            const vt_net_output *single = vt_net_find(one.net, name);
            if (!single)
                continue;
            for (int64_t e = 0; e < single->n; e++)
                single->data[e] *= (4 + TWIN_QUARTERS) * 0.25f;
            check_close(&two, name, vt_net_find(two.net, name)->data, single->data, single->n,
                        4 * U);
        }
        assert_int_equal(vt_program_broken_guards(two.net->program), 0);
        vt_trial_close(&two);
        vt_trial_close(&one);
    }
    vt_dev_free(dev);
    vt_fixture_close(&fixture);
}

/* ---- */

static const struct {
    const char *name;
    CMUnitTestFunction function;
} properties[] = {
    {"equals PyTorch's numbers", equals_pytorch},
    {"has the gradient that differences show", agrees_with_differences},
    {"has one hash at any thread count and chunk order", has_one_hash},
    {"has equal bits with AVX2 and AVX-512", has_equal_bits_at_both_widths},
    {"reads and writes only what is its own", reads_and_writes_only_what_is_its_own},
    {"adds to a gradient that another op wrote", adds_to_the_gradient_of_another},
};
enum { N_PROPERTIES = sizeof properties / sizeof properties[0] };

int main(void)
{
    /* The loss comes last in both lists: nothing adds to what it writes, as it is the root. */
    enum { N_FROM_ROWS = VT_OP_ROWS * N_PROPERTIES - 1, SENTENCE = 128 };
    struct CMUnitTest tests[N_FROM_ROWS + 2] = {
        [N_FROM_ROWS] = cmocka_unit_test(attention_drops_what_the_generator_says),
        [N_FROM_ROWS + 1] = cmocka_unit_test(attention_with_dropout_agrees_with_differences),
    };
    char names[N_FROM_ROWS][SENTENCE];
    for (int i = 0; i < N_FROM_ROWS; i++) {
        const vt_op_row *row = &vt_op_rows[i / N_PROPERTIES];
        snprintf(names[i], SENTENCE, "%s %s", row->name, properties[i % N_PROPERTIES].name);
        tests[i].name = names[i];
        tests[i].test_func = properties[i % N_PROPERTIES].function;
        tests[i].initial_state = (void *)(uintptr_t)row;
    }
    tests[N_FROM_ROWS].name = "attention drops what the generator says";
    tests[N_FROM_ROWS + 1].name = "attention with dropout has the gradient that differences show";
    return cmocka_run_group_tests(tests, NULL, NULL);
}
