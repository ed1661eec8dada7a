#include "report/curves.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>

static void add_columns(vt_table *table, const char *const *name, int n, int n_texts)
{
    for (int i = 0; i < n; i++)
        vt_table_column(table, name[i], i < n_texts ? VT_LEFT : VT_RIGHT);
}

static void begin_row(vt_table *table, const vt_runinfo *info)
{
    char seed[24];
    vt_table_row(table);
    vt_table_text(table, info->exp_name);
    vt_table_text(table, info->run_id);
    snprintf(seed, sizeof seed, "%" PRIu64, info->seed);
    if (info->seed > INT64_MAX)
        vt_table_text(table, seed);
    else
        vt_table_integer(table, (int64_t)info->seed, NULL);
}

void vt_curves_epoch_columns(vt_table *table)
{
    static const char *const names[] = {"exp",       "run_id",     "seed",       "epoch",
                                        "step",      "train_loss", "train_top1", "lr",
                                        "val_loss",  "val_top1",   "val_top5",   "val_ece",
                                        "test_loss", "test_top1",  "test_top5",  "test_ece"};
    add_columns(table, names, sizeof names / sizeof *names, 2);
}

/* The places where reading the columns has come to. */
struct heads {
    int64_t epoch, eval[VT_SPLIT_COUNT];
};

/* The lowest epoch that comes next; false at the end of all columns. */
static bool find_next(const vt_history *h, const struct heads *at, int64_t *epoch, int64_t *step)
{
    bool any = at->epoch < h->n_epochs;
    if (any) {
        *epoch = h->epoch[at->epoch].epoch;
        *step = h->epoch[at->epoch].step;
    }
    for (int split = VT_SPLIT_VAL; split < VT_SPLIT_COUNT; split++) {
        if (at->eval[split] == h->n_eval[split])
            continue;
        const vt_record_eval *e = &h->eval[split][at->eval[split]];
        if (!any || e->epoch < *epoch) {
            *epoch = e->epoch;
            *step = e->step;
        }
        any = true;
    }
    return any;
}

void vt_curves_epoch_rows(vt_table *table, const vt_history *h)
{
    struct heads at = {0};
    int64_t epoch = 0, step = 0;
    while (find_next(h, &at, &epoch, &step)) {
        const vt_record_epoch *e = NULL;
        if (at.epoch < h->n_epochs && h->epoch[at.epoch].epoch == epoch)
            e = &h->epoch[at.epoch++];
        begin_row(table, &h->info);
        vt_table_integer(table, epoch, NULL);
        vt_table_integer(table, step, NULL);
        vt_table_real(table, e ? e->train_loss : (double)NAN, NULL);
        vt_table_real(table, e ? e->train_top1 : (double)NAN, NULL);
        vt_table_real(table, e ? e->lr : (double)NAN, NULL);
        for (int split = VT_SPLIT_VAL; split < VT_SPLIT_COUNT; split++) {
            const vt_record_eval *v = NULL;
            if (at.eval[split] < h->n_eval[split] && h->eval[split][at.eval[split]].epoch == epoch)
                v = &h->eval[split][at.eval[split]++];
            vt_table_real(table, v ? v->loss : (double)NAN, NULL);
            vt_table_real(table, v ? v->top1 : (double)NAN, NULL);
            vt_table_real(table, v ? v->top5 : (double)NAN, NULL);
            vt_table_real(table, v ? v->ece : (double)NAN, NULL);
        }
    }
}

void vt_curves_step_columns(vt_table *table)
{
    static const char *const names[] = {"exp",   "run_id",       "seed",     "step",
                                        "epoch", "samples_seen", "images",   "loss",
                                        "top1",  "lr",           "grad_norm"};
    add_columns(table, names, sizeof names / sizeof *names, 2);
}

void vt_curves_step_rows(vt_table *table, const vt_history *h)
{
    for (int64_t i = 0; i < h->n_train; i++) {
        const vt_record_train *t = &h->train[i];
        begin_row(table, &h->info);
        vt_table_integer(table, t->step, NULL);
        vt_table_integer(table, t->epoch, NULL);
        vt_table_integer(table, t->samples_seen, NULL);
        vt_table_integer(table, t->images, NULL);
        vt_table_real(table, t->loss, NULL);
        vt_table_real(table, t->top1, NULL);
        vt_table_real(table, t->lr, NULL);
        vt_table_real(table, t->grad_norm, NULL);
    }
}
