#include "support/make_run.h"

#include "base/mem.h"
#include "results/perf.h"
#include "results/safetensors.h"
#include "support/fault.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { SIDE = 4, CHANNELS = 3, LOGITS = 5, TENSORS_MAX = 8 };

static void put(vt_journal *journal, uint32_t type, int64_t step, const void *payload, size_t size)
{
    VT_ASSERT(vt_journal_put(journal, type, step, payload, size, NULL) == VT_OK);
}

static void put_run(vt_journal *journal, const vt_made_run *what)
{
    static const char *const names[] = {"circle", "square", "star", "caf\xc3\xa9"};
    const char **classes = vt_calloc((size_t)what->classes, sizeof *classes);
    vt_text json = {0};
    for (int i = 0; i < what->classes; i++)
        classes[i] = names[i % 4];
    const vt_runinfo info = {.exp_name = "made",
                             .exp_id = what->seeded ? what->exp_id : "aa",
                             .run_id = "0123456789ab",
                             .data_digest = "dd",
                             .numerics = "ee",
                             .select = "last",
                             .seed = what->seeded ? what->seed : UINT64_MAX,
                             .class_names = classes,
                             .n_classes = what->classes,
                             .epochs = what->epochs,
                             .steps_per_epoch = what->steps,
                             .images = {64, what->val ? 16 : 0, 32},
                             .n_params = 1000,
                             .macs = 2000};
    VT_ASSERT(vt_runinfo_write(&info, &json, NULL) == VT_OK);
    put(journal, VT_RECORD_RUN, 0, json.data, json.size);
    vt_text_release(&json);
    vt_free(classes);
}

static void put_eval(vt_journal *journal, const vt_made_run *what, int64_t epoch, vt_split split)
{
    size_t classes = (size_t)what->classes;
    size_t size = vt_record_eval_size(what->classes);
    vt_record_eval *eval = vt_calloc(1, size);
    int64_t *confusion = (int64_t *)(eval + 1);
    *eval = (vt_record_eval){.epoch = epoch,
                             .step = epoch * what->steps,
                             .images = split == VT_SPLIT_TEST ? 32 : 16,
                             .split = split,
                             .classes = what->classes,
                             .loss = 3.0 / (double)epoch,
                             .top1 = 0.5 - 0.25 / (double)epoch,
                             .top5 = 0.9,
                             .ece = 0.05};
    for (size_t i = 0; i < (size - sizeof *eval) / sizeof *confusion; i++)
        confusion[i] = 100 * epoch + 10 * (int64_t)(i / classes) + (int64_t)(i % classes);
    put(journal, VT_RECORD_EVAL, eval->step, eval, size);
    vt_free(eval);
}

/* Writes a captured file and its record. */
static void capture(vt_journal *journal, int captures_fd, const char *file, const char *kind,
                    int64_t epoch, const vt_safetensors_content *content, vt_flaw flaw)
{
    uint8_t sha256[VT_SHA256_SIZE];
    char hex[VT_SHA256_HEX_SIZE], json[512];
    VT_ASSERT(vt_safetensors_write(captures_fd, file, content, sha256, NULL) == VT_OK);
    if (flaw == VT_FLAW_NOISE) {
        char noise[100];
        memset(noise, 0xa5, sizeof noise);
        vt_scratch_write(captures_fd, file, noise, sizeof noise);
        vt_sha256_of(noise, sizeof noise, sha256);
    }
    if (flaw == VT_FLAW_HASH)
        sha256[0] ^= 1;
    if (flaw == VT_FLAW_LINK)
        VT_ASSERT(renameat(captures_fd, file, captures_fd, "elsewhere") == 0 &&
                  symlinkat("elsewhere", captures_fd, file) == 0);
    if (flaw == VT_FLAW_MISSING)
        VT_ASSERT(unlinkat(captures_fd, file, 0) == 0);
    vt_sha256_hex(sha256, hex);
    snprintf(json, sizeof json,
             "{\"epoch\":%lld,\"file\":\"captures/%s\",\"kind\":\"%s\",\"sha256\":\"%s\"}",
             (long long)epoch, file, kind, hex);
    put(journal, VT_RECORD_CAPTURE, epoch, json, strlen(json));
}

/* A tensor over memory that holds enough of anything. */
static vt_safetensor tensor(const char *name, vt_safetensors_type type, int rank,
                            const int64_t *shape, const void *data)
{
    vt_safetensor t = {.name = name, .type = type, .rank = rank, .data = data};
    memcpy(t.shape, shape, (size_t)rank * sizeof *shape);
    return t;
}

static void put_attention(vt_journal *journal, int captures_fd, const vt_made_run *what,
                          int64_t epoch)
{
    static const vt_safetensors_meta meta[] = {
        {"layer_00.grid_h", "2"},   {"layer_00.grid_w", "2"},  {"layer_00.has_cls", "1"},
        {"layer_01.grid_h", "4"},   {"layer_01.grid_w", "4"},  {"layer_01.window_h", "2"},
        {"layer_01.window_w", "2"}, {"layer_01.shift_h", "1"}, {"layer_01.shift_w", "1"},
        {"layer_01.has_cls", "0"},
    };
    static const vt_safetensors_meta global_meta[] = {
        {"layer_00.grid_h", "2"}, {"layer_00.grid_w", "2"}, {"layer_00.has_cls", "1"},
        {"layer_01.grid_h", "2"}, {"layer_01.grid_w", "2"}, {"layer_01.has_cls", "1"},
    };
    static const vt_safetensors_meta bad_meta[] = {{"layer_01.grid_h", "4x"}};
    vt_flaw flaw = what->flaw;
    bool second = epoch == 2;
    int64_t n = what->images;
    size_t elements = 4096 * (size_t)n;
    float *weights = vt_calloc(elements, sizeof *weights);
    int64_t *index = vt_calloc((size_t)n, sizeof *index), *label = vt_calloc((size_t)n, 8);
    int64_t *pred = vt_calloc((size_t)n, sizeof *pred);
    vt_safetensor t[TENSORS_MAX];
    char file[64];
    int n_t = 0;
    for (size_t i = 0; i < elements; i++)
        weights[i] = (float)epoch + (float)i / 1024;
    for (int64_t i = 0; i < n; i++) {
        index[i] = 7 * i + (flaw == VT_FLAW_OTHER_IMAGES && second);
        label[i] = i % what->classes;
        pred[i] = (i + epoch) % what->classes;
    }
    if (flaw == VT_FLAW_LABEL)
        label[n - 1] = what->classes;
    if (flaw == VT_FLAW_PRED)
        pred[0] = -1;
    const int64_t image_shape[] = {n, SIDE, SIDE, CHANNELS}, columns[] = {n}, fewer[] = {n - 1};
    const int64_t first[] = {flaw == VT_FLAW_LAYER_IMAGES ? n + 1 : n, 2, 5, 5};
    const int64_t windows[] = {n, 4, 3, 4, flaw == VT_FLAW_OTHER_SHAPE && second ? 5 : 4, 1};
    t[n_t++] = tensor("images", flaw == VT_FLAW_IMAGES_TYPE ? VT_SAFETENSORS_I8 : VT_SAFETENSORS_U8,
                      flaw == VT_FLAW_IMAGES_RANK ? 3 : 4, image_shape, weights);
    t[n_t++] = tensor("dataset_index", VT_SAFETENSORS_I64, 1,
                      flaw == VT_FLAW_INDEX_COUNT ? fewer : columns, index);
    t[n_t++] = tensor("label", VT_SAFETENSORS_I64, 1, columns, label);
    if (flaw != VT_FLAW_NO_PRED)
        t[n_t++] = tensor("pred", VT_SAFETENSORS_I64, 1, columns, pred);
    if (flaw != VT_FLAW_NO_LAYER) {
        t[n_t++] = tensor(flaw == VT_FLAW_LAYER_NAME ? "layer_../../x" : "layer_00",
                          VT_SAFETENSORS_F32, 4, first, weights);
        if (what->global)
            t[n_t++] = tensor("layer_01", VT_SAFETENSORS_F32, 4, first, weights);
        else
            t[n_t++] = tensor("layer_01", VT_SAFETENSORS_F32, flaw == VT_FLAW_LAYER_RANK ? 6 : 5,
                              windows, weights);
    }
    const vt_safetensors_content content = {
        .tensors = t,
        .n_tensors = n_t,
        .meta = flaw == VT_FLAW_GRID ? bad_meta
                : what->global       ? global_meta
                                     : meta,
        .n_meta = flaw == VT_FLAW_GRID ? 1
                  : what->global       ? (int)(sizeof global_meta / sizeof *global_meta)
                                       : (int)(sizeof meta / sizeof *meta)};
    snprintf(file, sizeof file, "attention-%lld.safetensors", (long long)epoch);
    capture(journal, captures_fd, file, "attention", epoch, &content, flaw);
    vt_free(weights);
    vt_free(index);
    vt_free(label);
    vt_free(pred);
}

static void put_logits(vt_journal *journal, int captures_fd, const vt_made_run *what)
{
    int64_t classes = what->classes, label[LOGITS + 1], pred[LOGITS + 1];
    float *logits = vt_calloc((size_t)(LOGITS + 1) * (size_t)(classes + 1), sizeof *logits);
    for (int64_t i = 0; i < (LOGITS + 1) * (classes + 1); i++)
        logits[i] = (float)i / 8;
    for (int64_t i = 0; i <= LOGITS; i++) {
        label[i] = i % classes;
        pred[i] = classes - 1;
    }
    const int64_t column[] = {LOGITS};
    const int64_t shape[] = {LOGITS + (what->flaw == VT_FLAW_LOGITS_COUNT),
                             classes + (what->flaw == VT_FLAW_LOGITS_CLASSES)};
    const vt_safetensor t[] = {tensor("label", VT_SAFETENSORS_I64, 1, column, label),
                               tensor("pred", VT_SAFETENSORS_I64, 1, column, pred),
                               tensor("logits", VT_SAFETENSORS_F32, 2, shape, logits)};
    const vt_safetensors_content content = {.tensors = t, .n_tensors = 3};
    capture(journal, captures_fd,
            what->flaw == VT_FLAW_LOGITS_NAME ? "final-extra.safetensors"
                                              : "final-test.safetensors",
            "logits", what->epochs, &content, VT_FLAW_NONE);
    vt_free(logits);
}

static void put_epoch(vt_journal *journal, int captures_fd, const vt_made_run *what, int64_t epoch)
{
    int64_t all = (int64_t)what->epochs * what->steps;
    for (int i = 1; i <= what->steps; i++) {
        int64_t step = (epoch - 1) * what->steps + i;
        double share = (double)step / (double)all;
        const vt_record_train train = {
            step, epoch, 8 * step, 8, 2 - share, share, 0.001 / (double)step, (double)step};
        put(journal, VT_RECORD_TRAIN, step, &train, sizeof train);
    }
    if (what->val)
        put_eval(journal, what, epoch, VT_SPLIT_VAL);
    put_eval(journal, what, epoch, VT_SPLIT_TEST);
    double share = (double)epoch / what->epochs;
    const vt_record_epoch record = {.epoch = epoch,
                                    .step = epoch * what->steps,
                                    .train_images = 8 * what->steps,
                                    .train_loss = 2 - share,
                                    .train_top1 = share,
                                    .lr = 0.001 / (double)(epoch * what->steps),
                                    .best_epoch = epoch};
    vt_record_checkpoint checkpoint = {.step = record.step, .epoch = epoch};
    memset(checkpoint.weights_sha256, (int)epoch, sizeof checkpoint.weights_sha256);
    if (epoch <= what->snapshots)
        put_attention(journal, captures_fd, what, epoch);
    if (epoch == what->epochs && what->logits)
        put_logits(journal, captures_fd, what);
    put(journal, VT_RECORD_EPOCH, record.step, &record, sizeof record);
    put(journal, VT_RECORD_CHECKPOINT, record.step, &checkpoint, sizeof checkpoint);
    if (epoch == what->epochs && what->done)
        put(journal, VT_RECORD_DONE, record.step, &checkpoint, sizeof checkpoint);
}

static void write_text(int dir_fd, const char *name, const char *text)
{
    vt_scratch_write(dir_fd, name, text, strlen(text));
}

void vt_make_run(int dir_fd, const vt_made_run *what)
{
    vt_journal *journal = NULL;
    int captures_fd = -1;
    VT_ASSERT(vt_fs_make_dirs(dir_fd, "captures", &captures_fd, NULL) == VT_OK);
    VT_ASSERT(vt_journal_open(&journal, dir_fd, NULL, NULL) == VT_OK);
    put_run(journal, what);
    for (int64_t epoch = 1; epoch <= what->epochs; epoch++)
        put_epoch(journal, captures_fd, what, epoch);
    VT_ASSERT(vt_journal_sync(journal, NULL) == VT_OK);
    vt_journal_close(journal);
    vt_fs_close(&captures_fd);
    write_text(dir_fd, "config.yaml",
               "seed: 18446744073709551615\nmodel: { family: vit, preset: vit_ti_p4 }\n"
               "train: { epochs: 3 }\n");
    write_text(dir_fd, "config.origin.txt",
               "seed: 18446744073709551615 # --seed\nmodel:\n  family: vit # a.yaml:1:2\n"
               "train:\n  epochs: 3       # --set[1]:14\n");
    for (int i = 0; i < 3; i++) /* epoch 1 was computed twice */
        vt_perf_append(dir_fd, &(vt_perf){.epoch = 1 + i % 2, .train_images_per_s = 1 + 4 * i});
    write_text(dir_fd, "provenance.json",
               "{\"attempts\": [{\"pid\": 1}, {\"pid\": 2, \"git\": {\"commit\": \"abc\", "
               "\"dirty\": true}, \"argv\": [\"train\", \"made\"], \"end_utc\": null}]}\n");
    vt_scratch_write(dir_fd, "code.patch", "-a\n+caf\xe9\n", 9);
}
