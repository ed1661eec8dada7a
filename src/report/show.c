#include "report/show.h"

#include "base/clock.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* JSON's null where there is nothing; else results/json.h's form. */
static json_t *pack_real(double value)
{
    return isnan(value) ? json_null() : vt_json_real(value);
}

static json_t *pack_text(const char *text)
{
    return *text ? vt_json_text(text, NULL) : json_null();
}

static json_t *pack_count(int64_t value)
{
    return value > 0 ? json_integer(value) : json_null();
}

/* As in results/runinfo.h: beyond 63 bits a text. */
static json_t *pack_seed(uint64_t seed)
{
    return seed <= INT64_MAX ? json_integer((json_int_t)seed)
                             : json_sprintf("%llu", (unsigned long long)seed);
}

static json_t *pack_metrics(const vt_outcome *o)
{
    json_t *metrics = json_object();
    const vt_metric *metric;
    for (int i = 0; (metric = vt_metric_at(i)); i++)
        json_object_set_new(metrics, metric->name, pack_real(vt_outcome_metric(o, metric)));
    return metrics;
}

json_t *vt_outcome_json(const vt_outcome *o)
{
    char utc[VT_UTC_SIZE];
    json_t *images = json_object();
    bool known = o->state != VT_RUN_BROKEN && *o->exp_id;
    for (int i = 0; i < VT_SPLIT_COUNT; i++)
        json_object_set_new(images, vt_split_name((vt_split)i), json_integer(o->images[i]));
    vt_clock_utc(o->place.changed.tv_sec, utc);
    json_t *digests =
        json_pack("{s:o, s:o, s:o, s:o}", "data", pack_text(o->data_digest), "numerics",
                  pack_text(o->numerics), "metrics", pack_text(o->metrics_sha256), "weights",
                  pack_text(o->weights_sha256));
    return json_pack(
        "{s:o, s:o, s:o, s:o, s:s, s:o, s:o, s:I, s:o, s:I, s:o, s:o, s:o, s:o, s:o, s:o, s:o, "
        "s:o, s:o, s:o, s:o, s:o, s:s}",
        "exp", pack_text(o->exp_name), "exp_id", pack_text(o->exp_id), "run_id",
        pack_text(o->run_id), "path", vt_json_text(o->place.path, NULL), "state",
        vt_run_state_word(o->state), "problem", pack_text(o->problem), "seed",
        known ? pack_seed(o->seed) : json_null(), "epoch", (json_int_t)o->epoch, "epochs",
        pack_count(o->epochs), "step", (json_int_t)o->step, "steps",
        pack_count(o->epochs < INT32_MAX && o->steps_per_epoch < INT32_MAX
                       ? o->epochs * o->steps_per_epoch
                       : 0),
        "attempts", pack_count(o->attempts), "select", pack_text(o->select), "classes",
        pack_count(o->classes), "images", images, "params", pack_count(o->n_params), "macs",
        pack_count(o->macs), "metrics", pack_metrics(o), "digests", digests, "commit",
        pack_text(o->commit), "machine", pack_text(o->machine), "threads", pack_count(o->threads),
        "changed_utc", utc);
}

const char *vt_duration_text(double seconds, char text[VT_DURATION_TEXT])
{
    *text = '\0';
    if (seconds >= 59.95 && seconds < 1e12) {
        long long s = (long long)(seconds + 0.5);
        snprintf(text, VT_DURATION_TEXT, "%lld:%02lld:%02lld", s / 3600, s / 60 % 60, s % 60);
    } else if (seconds >= 0 && seconds < 60) {
        snprintf(text, VT_DURATION_TEXT, "%.1f s", seconds);
    }
    return text;
}

static const char *scaled_text(double value, double unit, const char *const names[],
                               char text[VT_COUNT_TEXT])
{
    int power = 0;
    *text = '\0';
    if (!(value > 0))
        return text;
    while (value >= unit * 0.9995 && power < 5) {
        value /= unit;
        power++;
    }
    snprintf(text, VT_COUNT_TEXT, power && value < 99.95 ? "%.1f%s" : "%.0f%s", value,
             names[power]);
    return text;
}

const char *vt_count_text(double value, char text[VT_COUNT_TEXT])
{
    static const char *const names[] = {"", " k", " M", " G", " T", " P"};
    return scaled_text(value, 1000, names, text);
}

const char *vt_bytes_text(int64_t bytes, char text[VT_COUNT_TEXT])
{
    static const char *const names[] = {" B", " KiB", " MiB", " GiB", " TiB", " PiB"};
    return bytes == 0 ? "0 B" : scaled_text((double)bytes, 1024, names, text);
}

static void print_head(const vt_outcome *o, vt_text *text)
{
    char wall[VT_DURATION_TEXT], word[16];
    snprintf(word, sizeof word, "%s", vt_run_state_word(o->state));
    for (char *c = word; *c; c++)
        *c = (char)(*c - 'a' + 'A');
    vt_text_printf(text, "run      %s  %s", o->run_id, o->exp_name);
    if (*o->exp_id)
        vt_text_printf(text, "  seed %llu", (unsigned long long)o->seed);
    vt_text_printf(text, "   %s", word);
    if (o->state == VT_RUN_BROKEN)
        vt_text_printf(text, ": %s", o->problem);
    else if (o->state != VT_RUN_DONE)
        vt_text_printf(text, " at epoch %lld of %lld, step %lld", (long long)o->epoch,
                       (long long)o->epochs, (long long)o->step);
    if (*vt_duration_text(o->wall_s, wall))
        vt_text_printf(text, "%s %s", o->state == VT_RUN_DONE ? " in" : " after", wall);
    if (o->attempts)
        vt_text_printf(text, " (%lld attempt%s)", (long long)o->attempts,
                       o->attempts == 1 ? "" : "s");
    vt_text_printf(text, "\n");
}

static void print_eval(const vt_outcome *o, vt_split split, vt_text *text)
{
    const vt_summary_eval *e = &o->last[split];
    if (!e->known)
        return;
    vt_text_printf(text, "%-8s top1 %.2f %%   loss %.4f   top5 %.2f %%   (last; epoch %lld",
                   vt_split_name(split), 100 * e->top1, e->loss, 100 * e->top5,
                   (long long)e->epoch);
    if (o->images[split])
        vt_text_printf(text, "; %lld images", (long long)o->images[split]);
    vt_text_printf(text, ")\n");
}

/* Which split chose; an epoch chosen on the test images flatters the test accuracy. */
static void print_best(const vt_outcome *o, vt_text *text)
{
    const vt_summary_eval *val = &o->best[VT_SPLIT_VAL], *test = &o->best[VT_SPLIT_TEST];
    if (strcmp(o->select, "val") == 0 && val->known) {
        vt_text_printf(text, "best     val top1 %.2f %% at epoch %lld  (selected on val",
                       100 * val->top1, (long long)val->epoch);
        if (test->known)
            vt_text_printf(text, "; test at that epoch %.2f %%", 100 * test->top1);
        vt_text_printf(text, ")\n");
    } else if (strcmp(o->select, "test") == 0 && test->known) {
        vt_text_printf(text,
                       "best     test top1 %.2f %% at epoch %lld  (selected on test: biased "
                       "upward)\n",
                       100 * test->top1, (long long)test->epoch);
    }
}

static void print_model(const vt_outcome *o, vt_text *text)
{
    char part[VT_COUNT_TEXT];
    if (!o->n_params)
        return;
    vt_text_printf(text, "model    %s params", vt_count_text((double)o->n_params, part));
    if (*vt_count_text((double)o->macs, part))
        vt_text_printf(text, "   %s MAC/img", part);
    if (o->images_per_s > 0)
        vt_text_printf(text, "   speed %.0f img/s", o->images_per_s);
    if (o->peak_bytes > 0)
        vt_text_printf(text, "   peak %s", vt_bytes_text(o->peak_bytes, part));
    vt_text_printf(text, "\n");
}

void vt_outcome_print(const vt_outcome *o, vt_text *text)
{
    char path[sizeof o->place.path];
    print_head(o, text);
    if (o->train_loss == o->train_loss)
        vt_text_printf(text, "train    top1 %.2f %%   loss %.4f   (running mean of epoch %lld)\n",
                       100 * o->train_top1, o->train_loss, (long long)o->epoch);
    print_eval(o, VT_SPLIT_VAL, text);
    print_eval(o, VT_SPLIT_TEST, text);
    print_best(o, text);
    print_model(o, text);
    if (*o->data_digest)
        vt_text_printf(text, "data     %.16s  %lld training images, %lld classes\n", o->data_digest,
                       (long long)o->images[VT_SPLIT_TRAIN], (long long)o->classes);
    if (*o->metrics_sha256)
        vt_text_printf(text,
                       "digest   metrics %.16s  weights %.16s  (equal on any machine with numerics "
                       "id %.12s)\n",
                       o->metrics_sha256, o->weights_sha256, o->numerics);
    if (*o->commit || *o->machine)
        vt_text_printf(text, "from     commit %.48s on %s\n", *o->commit ? o->commit : "unknown",
                       *o->machine ? o->machine : "an unknown machine");
    vt_text_show(path, sizeof path, o->place.path);
    vt_text_printf(text, "folder   %s\n", path);
}
