#include "results/summary.h"

#include "base/phase.h"
#include "results/json.h"

static json_t *pack_eval(const vt_summary_eval *e)
{
    if (!e->known)
        return json_null();
    return json_pack("{s:I, s:o, s:o, s:o, s:o}", "epoch", (json_int_t)e->epoch, "loss",
                     vt_json_real(e->loss), "top1", vt_json_real(e->top1), "top5",
                     vt_json_real(e->top5), "ece", vt_json_real(e->ece));
}

static json_t *pack_splits(const vt_summary_eval evals[VT_SPLIT_COUNT])
{
    json_t *object = json_object();
    for (int i = 0; object && i < VT_SPLIT_COUNT; i++) {
        if (json_object_set_new(object, vt_split_name((vt_split)i), pack_eval(&evals[i])) != 0) {
            json_decref(object);
            return NULL;
        }
    }
    return object;
}

vt_status vt_summary_write(int dir_fd, const vt_summary *s, vt_error *err)
{
    vt_phase phase = vt_phase_enter(VT_PHASE_PUBLISH);
    json_t *metrics =
        json_pack("{s:{s:o, s:o}, s:o, s:o, s:o}", "train", "loss", vt_json_real(s->train_loss),
                  "top1", vt_json_real(s->train_top1), "last", pack_splits(s->last), "best",
                  pack_splits(s->best), "select", vt_json_text(s->select, NULL));
    json_t *digests = json_pack(
        "{s:o, s:o, s:o, s:o, s:o}", "metrics", vt_json_text(s->metrics_sha256, NULL), "weights",
        vt_json_text(s->weights_sha256, NULL), "best_weights", vt_json_text(s->best_sha256, NULL),
        "data", vt_json_text(s->data_digest, NULL), "numerics", vt_json_text(s->numerics_id, NULL));
    json_t *perf =
        json_pack("{s:o, s:o, s:I, s:i}", "wall_s", vt_json_real(s->wall_s), "images_per_s",
                  s->images_per_s > 0 ? vt_json_real(s->images_per_s) : json_null(), "peak_bytes",
                  (json_int_t)s->peak_bytes, "threads", s->threads);
    json_t *root = json_pack(
        "{s:o, s:o, s:o, s:I, s:o, s:I, s:I, s:I, s:I, s:I, s:I, s:o, s:o, s:o}", "exp_name",
        vt_json_text(s->exp_name, NULL), "exp_id", vt_json_text(s->exp_id, NULL), "run_id",
        vt_json_text(s->run_id, NULL), "seed", (json_int_t)s->seed, "state",
        vt_json_text(s->state, NULL), "epoch", (json_int_t)s->epoch, "epochs",
        (json_int_t)s->epochs, "step", (json_int_t)s->step, "attempts", (json_int_t)s->attempts,
        "n_params", (json_int_t)s->n_params, "macs_per_image", (json_int_t)s->macs_per_image,
        "metrics", metrics, "digests", digests, "perf", perf);
    vt_status status = vt_json_publish(dir_fd, "summary.json", root, err);
    vt_phase_enter(phase);
    return status;
}
