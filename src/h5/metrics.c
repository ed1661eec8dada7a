#include "base/mem.h"
#include "h5/parts.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>

/* One column of a table: a member of a record. */
struct column {
    const char *name;
    vt_h5_type type; /* i64 or f64 */
    size_t offset;
    const char *units, *long_name, *better, *semantics;
};

#define AT_ROW "value at the row's step"
#define OVER_ROW "mean over the images since the previous row"
#define OVER_SPLIT "mean over the images of the split"
#define I64(type, member) VT_H5_I64, offsetof(type, member)
#define F64(type, member) VT_H5_F64, offsetof(type, member)

static const struct column train_columns[] = {
    {"step", I64(vt_record_train, step), "1", "optimiser step", NULL, AT_ROW},
    {"epoch", I64(vt_record_train, epoch), "1", "epoch, from 1", NULL, AT_ROW},
    {"samples_seen", I64(vt_record_train, samples_seen), "image", "training images seen", NULL,
     AT_ROW},
    {"images", I64(vt_record_train, images), "image", "images that the means are over", NULL,
     AT_ROW},
    {"loss", F64(vt_record_train, loss), "nat", "training loss", "min", OVER_ROW},
    {"top1", F64(vt_record_train, top1), "1", "training accuracy", "max", OVER_ROW},
    {"lr", F64(vt_record_train, lr), "1", "learning rate", NULL, AT_ROW},
    {"grad_norm", F64(vt_record_train, grad_norm), "1", "global norm of the gradient", NULL,
     AT_ROW},
};

static const struct column eval_columns[] = {
    {"epoch", I64(vt_record_eval, epoch), "1", "epoch, from 1; 0 is before the first step", NULL,
     AT_ROW},
    {"step", I64(vt_record_eval, step), "1", "optimiser step", NULL, AT_ROW},
    {"images", I64(vt_record_eval, images), "image", "evaluated images", NULL, AT_ROW},
    {"loss", F64(vt_record_eval, loss), "nat", "loss", "min", OVER_SPLIT},
    {"top1", F64(vt_record_eval, top1), "1", "accuracy", "max", OVER_SPLIT},
    {"top5", F64(vt_record_eval, top5), "1",
     "share of images whose class is among the five likeliest", "max", OVER_SPLIT},
    {"ece", F64(vt_record_eval, ece), "1", "expected calibration error, 15 equal bins", "min",
     OVER_SPLIT},
};

static const struct column epoch_columns[] = {
    {"epoch", I64(vt_record_epoch, epoch), "1", "epoch, from 1", NULL, AT_ROW},
    {"step", I64(vt_record_epoch, step), "1", "optimiser step", NULL, AT_ROW},
    {"images", I64(vt_record_epoch, train_images), "image", "images that the means are over", NULL,
     AT_ROW},
    {"loss", F64(vt_record_epoch, train_loss), "nat", "training loss", "min",
     "running mean over the epoch, in training mode"},
    {"top1", F64(vt_record_epoch, train_top1), "1", "training accuracy", "max",
     "running mean over the epoch, in training mode"},
    {"lr", F64(vt_record_epoch, lr), "1", "learning rate", NULL, "value in the epoch's last step"},
    {"best_epoch", I64(vt_record_epoch, best_epoch), "1", "best epoch so far", NULL, AT_ROW},
};

#define COUNT(array) ((int)(sizeof(array) / sizeof *(array)))

/* Writes a group of columns, the first of which is their common axis. */
static vt_status put_table(vt_h5_file *file, const char *group, const struct column *columns,
                           int n_columns, const void *rows, int64_t n_rows, size_t row_size,
                           vt_error *err)
{
    char path[128], scale[128];
    char(*values)[8] = vt_calloc((size_t)n_rows + 1, sizeof *values);
    if (!values)
        return vt_fail(err, VT_ERR_NOMEM, "no memory for %s", group);
    vt_h5_group(file, group);
    vt_h5_attr_text(file, group, "NX_class", "NXdata");
    vt_h5_attr_text(file, group, "signal", "loss");
    vt_h5_attr_text(file, group, "axes", columns[0].name);
    snprintf(scale, sizeof scale, "%s/%s", group, columns[0].name);
    for (int c = 0; c < n_columns; c++) {
        for (int64_t r = 0; r < n_rows; r++)
            memcpy(values[r], (const char *)rows + (size_t)r * row_size + columns[c].offset, 8);
        snprintf(path, sizeof path, "%s/%s", group, columns[c].name);
        const vt_h5_dataset d = {.path = path,
                                 .type = columns[c].type,
                                 .rank = 1,
                                 .dims = {(hsize_t)n_rows},
                                 .units = columns[c].units,
                                 .long_name = columns[c].long_name,
                                 .better = columns[c].better};
        vt_h5_write(file, &d, values);
        vt_h5_attr_text(file, path, "semantics", columns[c].semantics);
        if (c == 0)
            vt_h5_scale(file, path, columns[0].name);
        else
            vt_h5_axis(file, path, 0, scale);
    }
    vt_free(values);
    return VT_OK;
}

static void put_classes(vt_h5_file *file, const vt_runinfo *info)
{
    hsize_t n = (hsize_t)info->n_classes;
    const vt_h5_dataset names = {.path = "/classes/name",
                                 .type = VT_H5_TEXT,
                                 .rank = 1,
                                 .dims = {n},
                                 .units = "1",
                                 .long_name = "names of the classes"};
    vt_h5_group(file, "/classes");
    vt_h5_index_scale(file, "/classes/true_class", VT_H5_U16, n, "class of the image");
    vt_h5_index_scale(file, "/classes/pred_class", VT_H5_U16, n, "class the model says");
    vt_h5_write(file, &names, info->class_names);
    vt_h5_axis(file, names.path, 0, "/classes/true_class");
}

/* The matrices are large: they go from the journal to the file one at a time. */
struct confusion {
    vt_h5_file *file;
    const vt_history *history;
    int64_t written[VT_SPLIT_COUNT];
};

static vt_status put_confusion(void *arg, const vt_record *record, vt_error *err)
{
    struct confusion *c = arg;
    char path[64];
    (void)err;
    if (record->type != VT_RECORD_EVAL || record->size < sizeof(vt_record_eval))
        return VT_OK;
    vt_split split = (vt_split)((const vt_record_eval *)record->payload)->split;
    /* The journal may have grown since it was first read. */
    const int64_t *matrix = vt_history_confusion(record);
    if ((unsigned)split >= VT_SPLIT_COUNT || c->written[split] == c->history->n_eval[split] ||
        !matrix)
        return VT_OK;
    snprintf(path, sizeof path, "/eval/%s/confusion", vt_split_name(split));
    vt_h5_write_row(c->file, path, VT_H5_I64, (hsize_t)c->written[split]++, matrix);
    return VT_OK;
}

static vt_status put_eval(vt_h5_file *file, const vt_h5_source *source, vt_split split,
                          vt_error *err)
{
    const vt_history *h = source->history;
    char group[64], path[96], scale[96];
    hsize_t classes = (hsize_t)h->info.n_classes;
    snprintf(group, sizeof group, "/eval/%s", vt_split_name(split));
    snprintf(path, sizeof path, "%s/confusion", group);
    snprintf(scale, sizeof scale, "%s/epoch", group);
    vt_status status = put_table(file, group, eval_columns, COUNT(eval_columns), h->eval[split],
                                 h->n_eval[split], sizeof *h->eval[split], err);
    if (status != VT_OK || classes > VT_CONFUSION_CLASSES_MAX)
        return status;
    const vt_h5_dataset d = {.path = path,
                             .type = VT_H5_I64,
                             .rank = 3,
                             .dims = {(hsize_t)h->n_eval[split], classes, classes},
                             .packed = 1,
                             .units = "image",
                             .long_name = "images of each class, by what the model says"};
    vt_h5_declare(file, &d);
    vt_h5_axis(file, path, 0, scale);
    vt_h5_axis(file, path, 1, "/classes/true_class");
    vt_h5_axis(file, path, 2, "/classes/pred_class");
    return VT_OK;
}

/* final-SPLIT.safetensors: VT_SPLIT_COUNT for another name. */
static int split_of_logits(const vt_capture *record)
{
    char expected[64];
    int split = 0;
    for (; split < VT_SPLIT_COUNT; split++) {
        snprintf(expected, sizeof expected, "final-%s.safetensors", vt_split_name((vt_split)split));
        if (strcmp(expected, record->file) == 0)
            break;
    }
    return split;
}

static vt_status put_final(vt_h5_file *file, const vt_h5_source *source, const vt_capture *record,
                           vt_error *err)
{
    const vt_history *h = source->history;
    vt_h5_capture capture = {0};
    const vt_safetensor *logits = NULL;
    uint16_t *label = NULL, *pred = NULL;
    char group[64], path[96], scale[96];
    int split = split_of_logits(record);
    vt_status status = vt_h5_capture_open(&capture, source, record, err);
    if (status == VT_OK && (split == VT_SPLIT_COUNT || h->n_eval[split] == 0))
        status = vt_fail(err, VT_ERR_DATA,
                         "%s: final logits must be of an evaluated split and in "
                         "final-SPLIT.safetensors",
                         capture.path);
    if (status == VT_OK)
        status = vt_h5_capture_find(&capture, "logits", VT_SAFETENSORS_F32, 2, -1, &logits, err);
    if (status == VT_OK && logits->shape[1] != h->info.n_classes)
        status = vt_fail(err, VT_ERR_DATA, "%s: logits of %lld classes, expected %lld",
                         capture.path, (long long)logits->shape[1], (long long)h->info.n_classes);
    int64_t n = status == VT_OK ? logits->shape[0] : 0;
    if (status == VT_OK)
        status = vt_h5_capture_classes(&capture, "label", n, h->info.n_classes, &label, err);
    if (status == VT_OK)
        status = vt_h5_capture_classes(&capture, "pred", n, h->info.n_classes, &pred, err);
    if (status != VT_OK)
        goto done;
    snprintf(group, sizeof group, "/eval/%s/final", vt_split_name((vt_split)split));
    snprintf(scale, sizeof scale, "%s/image", group);
    vt_h5_group(file, group);
    vt_h5_attr_i64(file, group, "epoch", record->epoch);
    vt_h5_index_scale(file, scale, VT_H5_I32, (hsize_t)n, "place of the image in the split");
    const struct {
        const char *name, *long_name;
        vt_h5_type type;
        int rank;
        const void *values;
    } sets[] = {
        {"label", "class of the image", VT_H5_U16, 1, label},
        {"pred", "class the model says", VT_H5_U16, 1, pred},
        {"logits", "outputs of the last layer, before the softmax", VT_H5_F32, 2, logits->data},
    };
    for (int i = 0; i < COUNT(sets); i++) {
        snprintf(path, sizeof path, "%s/%s", group, sets[i].name);
        const vt_h5_dataset d = {.path = path,
                                 .type = sets[i].type,
                                 .rank = sets[i].rank,
                                 .dims = {(hsize_t)n, (hsize_t)h->info.n_classes},
                                 .units = "1",
                                 .long_name = sets[i].long_name};
        vt_h5_write(file, &d, sets[i].values);
        vt_h5_axis(file, path, 0, scale);
        if (sets[i].rank == 2)
            vt_h5_axis(file, path, 1, "/classes/pred_class");
    }
done:
    vt_free(label);
    vt_free(pred);
    vt_h5_capture_close(&capture);
    return status;
}

/* A split's final predictions; a later record of the same split stands for an earlier one. */
static vt_status put_finals(vt_h5_file *file, const vt_h5_source *source, vt_error *err)
{
    const vt_history *h = source->history;
    const vt_capture *newest[VT_SPLIT_COUNT + 1] = {NULL};
    vt_status status = VT_OK;
    for (int64_t i = 0; i < h->n_captures; i++)
        if (h->capture[i].kind == VT_CAPTURE_LOGITS)
            newest[split_of_logits(&h->capture[i])] = &h->capture[i];
    for (int split = 0; split <= VT_SPLIT_COUNT && status == VT_OK; split++)
        if (newest[split])
            status = put_final(file, source, newest[split], err);
    return status;
}

vt_status vt_h5_put_metrics(vt_h5_file *file, const vt_h5_source *source, vt_error *err)
{
    const vt_history *h = source->history;
    vt_status status = put_table(file, "/train", train_columns, COUNT(train_columns), h->train,
                                 h->n_train, sizeof *h->train, err);
    if (status == VT_OK)
        status = put_table(file, "/train/by_epoch", epoch_columns, COUNT(epoch_columns), h->epoch,
                           h->n_epochs, sizeof *h->epoch, err);
    if (status != VT_OK)
        return status;
    put_classes(file, &h->info);
    vt_h5_group(file, "/eval");
    for (int split = 0; split < VT_SPLIT_COUNT && status == VT_OK; split++)
        if (h->n_eval[split])
            status = put_eval(file, source, (vt_split)split, err);
    struct confusion confusion = {.file = file, .history = h};
    if (status == VT_OK)
        status = vt_journal_read(source->dir_fd, put_confusion, &confusion, NULL, err);
    return status == VT_OK ? put_finals(file, source, err) : status;
}
