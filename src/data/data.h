/*
 * Data sets: items, sampler, batches.
 *
 * An open data set holds all its images in memory as bytes in (H, W, C) order and never changes,
 * so any number of threads may use it. It has three parts: train, val (held out of train, class-
 * balanced, by seed) and test. An item is a number within its part; behind it stands the image's
 * number in the data set (training images first, then test images), which keys every draw. So a
 * batch depends on (seed, epoch, items) alone: not on threads, batch size or what came before.
 *
 * The loader has three parts that know nothing of each other:
 *
 *   item     vt_data_item        the bytes and the label of one image
 *   sampler  vt_sampler_order    which items an epoch visits, in which order
 *   batch    vt_batch_load       transforms, normalises and packs chosen items
 */
#ifndef VT_DATA_DATA_H
#define VT_DATA_DATA_H

#include "base/hash.h"
#include "base/pool.h"
#include "base/status.h"
#include "data/augment.h"

#include <stdbool.h>
#include <stdint.h>

typedef enum vt_part { VT_PART_TRAIN, VT_PART_VAL, VT_PART_TEST, VT_PART_COUNT } vt_part;

/* "train", "val", "test" */
const char *vt_part_name(vt_part part);

/* What the experiment file asks for. Strings are read by vt_data_open only. */
typedef struct vt_data_request {
    const char *name;                /* "cifar10", "cifar100", "shapes" */
    const char *dir;                 /* data folder; not used by shapes */
    uint64_t seed;                   /* of the validation split and of shapes */
    int64_t val;                     /* images held out of the training part; 0: none */
    int64_t limit_train, limit_test; /* first images of the part only; 0: all */
    float mean[3], std[3];           /* normalisation, in units of [0, 1]; std > 0 */
    vt_transform_list train, test;   /* transforms with and without augmentation */
} vt_data_request;

/* A file that was read. */
typedef struct vt_data_file {
    char name[64];
    int64_t size_bytes;
    char sha256[VT_SHA256_HEX_SIZE];
} vt_data_file;

typedef struct vt_data_info {
    const char *name;
    const char *folder; /* where the files were found; "" for generated data */
    int64_t height, width, channels, classes;
    const char *const *class_names; /* (classes) */
    int64_t n[VT_PART_COUNT];       /* images in each part */
    /* SHA-256 over the name, each file's name, size and SHA-256 (or, of generated images in use,
     * labels and bytes), and the image numbers of each part. Transforms and normalisation are not
     * in it. */
    char digest[VT_SHA256_HEX_SIZE];
    const vt_data_file *files;
    int n_files;
    bool official;     /* the bytes are those that were published (generated data: always) */
    char warning[256]; /* to be shown and recorded; "" for none */
} vt_data_info;

typedef struct vt_data vt_data;

/*
 * Opens a data set and reads or makes all its images.
 *
 * CIFAR files are looked for in dir, dir/NAME, then in the official archive's folder
 * (cifar-10-batches-bin, cifar-100-binary) below each. Other bytes than the published ones are a
 * warning in the info, never an error.
 *
 * The validation part: as many images of each class (the first classes one more if val is no
 * multiple of their number; fewer where a class runs out), by the order in which a shuffle of
 * stream SPLIT puts them. Parts are in ascending image order.
 *
 * VT_ERR_NOINPUT: a file is missing or may not be read (the message says how to get it).
 * VT_ERR_DATA: not a file, wrong size, label out of range, bad class names; names file and record.
 * VT_ERR_CONFIG: unknown name, or val leaves no training image.
 * VT_ERR_IO, VT_ERR_NOMEM. *data is NULL after a failure.
 */
vt_status vt_data_open(vt_data **data, const vt_data_request *request, vt_pool *pool,
                       vt_error *err);
void vt_data_free(vt_data *data);
const vt_data_info *vt_data_info_of(const vt_data *data);

/* The bytes (H, W, C) and label (label may be NULL) of one item; valid until vt_data_free. */
const uint8_t *vt_data_item(const vt_data *data, vt_part part, int64_t item, int *label);
/* The item's image number in the data set. */
uint32_t vt_data_image(const vt_data *data, vt_part part, int64_t item);

/* order (n[part]): the items in the order in which the epoch visits them; ascending without
 * shuffle, else a permutation that is a function of (seed, epoch, part, n[part]). */
void vt_sampler_order(const vt_data *data, vt_part part, bool shuffle, uint64_t seed, int64_t epoch,
                      uint32_t *order);

/*
 * images (n, H, W, C) = (byte / 255 - mean[c]) / std[c], each operation rounded to fp32 as
 * torchvision's ToTensor and Normalize do; labels (n), may be NULL. With augment the request's
 * train transforms apply, else its test transforms. Allocates nothing.
 */
void vt_batch_load(const vt_data *data, vt_pool *pool, vt_part part, bool augment, uint64_t seed,
                   int64_t epoch, const uint32_t *items, int64_t n, float *images, int32_t *labels);

#endif
