/* What a run says of itself in its first and last lines. */
#include "base/log.h"
#include "report/baseline_line.h"
#include "train/run.h"

#include <inttypes.h>
#include <stdio.h>

static double mib(int64_t bytes)
{
    return (double)bytes / 0x1p20;
}

void vt_run_announce(const vt_run *run)
{
    const vt_data_info *d = run->info;
    const vt_device_info *device = vt_dev_info(run->dev);
    const vt_config *c = run->config;
    bool article = c->eval_compat == VT_COMPAT_ARTICLE; /* drops an incomplete batch */
    int64_t eval_batches = (d->n[VT_PART_TEST] + (article ? 0 : c->eval_batch - 1)) / c->eval_batch;
    if (run->options->quiet)
        return;
    fprintf(stderr, "run      %s  %s  seed %" PRIu64 "  ", run->run_id, vt_config_name(c), c->seed);
    if (run->options->dry_run)
        fprintf(stderr, "dry run\n");
    else if (run->done)
        fprintf(stderr, "already done\n");
    else if (run->state.step > 0)
        fprintf(stderr, "resumed at step %" PRId64 "\n", run->state.step);
    else
        fprintf(stderr, "new\n");
    fprintf(stderr, "data     %s %.12s%s  train number: %" PRId64 "  ", d->name, run->data_digest,
            d->official ? "" : " (not the official files)", d->n[VT_PART_TRAIN]);
    if (d->n[VT_PART_VAL])
        fprintf(stderr, "val number: %" PRId64 "  ", d->n[VT_PART_VAL]);
    fprintf(stderr,
            "test number: %" PRId64 "  train_loader: %" PRId64 "  test_loader: %" PRId64 "\n",
            d->n[VT_PART_TEST], run->batches, eval_batches);
    fprintf(stderr,
            "model    %s  %" PRId64 " parameters  %.1f M MAC an image (%.1f M with all tokens)\n",
            vt_config_word("model.family", c->model_family), vt_params_count(run->engine.params),
            vt_engine_macs(&run->engine, false) / 1e6, vt_engine_macs(&run->engine, true) / 1e6);
    fprintf(stderr, "device   %s, %d threads, %s kernels, %s\n", device->backend, device->threads,
            device->kernels, device->blas);
    fprintf(stderr, "memory   %.1f MiB planned  numerics %.12s\n",
            mib(vt_engine_bytes(&run->engine, device->threads)), run->numerics);
    if (!run->options->dry_run)
        fprintf(stderr, "folder   %s\n", run->dir.path);
}

static void report_eval(const char *name, const vt_history *h, int split, int64_t epoch,
                        const char *note)
{
    for (int64_t i = h->n_eval[split] - 1; i >= 0; i--) {
        const vt_record_eval *e = &h->eval[split][i];
        if (e->epoch != epoch)
            continue;
        printf("%-8s %s top1 %.2f %%  loss %.4f  top5 %.2f %%  (%s%" PRId64
               " images, epoch %" PRId64 ")\n",
               name, vt_split_name((vt_split)split), 100 * e->top1, e->loss, 100 * e->top5, note,
               e->images, e->epoch);
        return;
    }
}

/* How the run stands to the baseline of its name, if there is one. */
static void report_baseline(const vt_run *run)
{
    vt_text line = {0};
    vt_baseline_line(run->config, run->options->results, run->dir.path, &line);
    if (line.data)
        fwrite(line.data, 1, line.size, stdout);
    vt_text_release(&line);
}

void vt_run_report(const vt_run *run, const vt_history *h)
{
    const vt_config *c = run->config;
    char weights[VT_SHA256_HEX_SIZE], metrics[VT_SHA256_HEX_SIZE];
    bool article = c->eval_compat == VT_COMPAT_ARTICLE;
    vt_sha256_hex(run->weights_sha256, weights);
    vt_sha256_hex(h->hash, metrics);
    printf("run      %s  %s  seed %" PRIu64 "  DONE\n", run->run_id, vt_config_name(c), c->seed);
    for (int split = VT_SPLIT_VAL; split < VT_SPLIT_COUNT; split++)
        if (h->n_eval[split])
            report_eval("last", h, split, h->eval[split][h->n_eval[split] - 1].epoch,
                        article ? "eval.compat: article; " : "");
    if (c->train_select != VT_SELECT_LAST)
        for (int split = VT_SPLIT_VAL; split < VT_SPLIT_COUNT; split++)
            report_eval("best", h, split, run->state.best_epoch,
                        c->train_select == VT_SELECT_TEST ? "selected on test: biased upward; "
                                                          : "selected on val; ");
    if (c->data_limit_train || c->data_limit_test)
        printf("limits   trained on %" PRId64 " and tested on %" PRId64 " images only\n",
               run->info->n[VT_PART_TRAIN], run->info->n[VT_PART_TEST]);
    printf("model    %" PRId64 " parameters  %.1f M MAC an image\n",
           vt_params_count(run->engine.params), vt_engine_macs(&run->engine, false) / 1e6);
    printf("digest   metrics %.16s  weights %.16s  (numerics %.12s)\n", metrics, weights,
           run->numerics);
    report_baseline(run);
    printf("files    %s/{run.h5,journal,last.safetensors,best.safetensors}\n", run->dir.path);
    fflush(stdout);
}
