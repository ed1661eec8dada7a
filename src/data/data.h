/*
 * Data sets: items, sampler, batches.
 *
 * An open data set never changes, so any number of threads may use it. CIFAR and the generated set
 * hold all their images in memory as bytes in (H, W, C) order; `folder` (data/folder.h) reads
 * files. A set has three parts: train, val (held out of train, class-balanced, by seed) and test.
 * An item is a number within its part; behind it stands the image's number in the data set
 * (training images first, then test images), which keys every draw. So a batch depends on (seed,
 * epoch, items) alone: not on threads, batch size or what came before.
 *
 * The loader has three parts that know nothing of each other:
 *
 *   item     vt_data_picture     one image and its label
 *   sampler  vt_sampler_order    which items an epoch visits, in which order
 *   batch    vt_batch_load       transforms, normalises and packs chosen items
 *
 * and vt_feed hands out the batches of a sampled order one by one, the next decoded ahead.
 */
#ifndef VT_DATA_DATA_H
#define VT_DATA_DATA_H

#include "base/hash.h"
#include "base/pool.h"
#include "base/status.h"
#include "data/augment.h"
#include "data/image.h"
#include "kernels/kernels.h"

#include <stdbool.h>
#include <stdint.h>

typedef enum vt_part { VT_PART_TRAIN, VT_PART_VAL, VT_PART_TEST, VT_PART_COUNT } vt_part;

/* "train", "val", "test" */
const char *vt_part_name(vt_part part);

/* What the experiment file asks for. Strings are read by vt_data_open only. */
typedef struct vt_data_request {
    const char *name;                /* "cifar10", "cifar100", "folder", "shapes" */
    const char *dir;                 /* data folder; not used by shapes */
    uint64_t seed;                   /* of the validation split, folder's test split, and shapes */
    int64_t val;                     /* images held out of the training part; 0: none */
    int64_t limit_train, limit_test; /* first images of the part only; 0: all */
    float mean[3], std[3];           /* normalisation, in units of [0, 1]; std > 0 */
    vt_transform_list train, test;   /* transforms with and without augmentation */
    bool coarse;                     /* cifar100: the 20 coarse labels */
    /* folder */
    int64_t classes;    /* how many there must be; 0: any number */
    double test_share;  /* of each class, for the test part, where the files have none */
    int64_t max_bad;    /* files that may be left out because they cannot be read */
    int64_t keep_bytes; /* most bytes of decoded pictures held in memory; 0: VT_DATA_KEEP_BYTES,
                           less: none */
} vt_data_request;

enum { VT_DATA_KEEP_BYTES = 1 << 30 };

/* A file that was read. */
typedef struct vt_data_file {
    char name[64];
    int64_t size_bytes;
    char sha256[VT_SHA256_HEX_SIZE];
} vt_data_file;

typedef struct vt_data_info {
    const char *name;
    const char *folder;    /* where the files were found; "" for generated data */
    int64_t height, width; /* of the images in a batch, after the transforms */
    int64_t channels, classes;
    const char *const *class_names; /* (classes) */
    int64_t n[VT_PART_COUNT];       /* images in each part */
    /* SHA-256 over the name (and "coarse" for those labels), each file's name, size and SHA-256
     * (or, of generated images in use, labels and bytes), and the image numbers of each part.
     * Transforms and normalisation are not in it. */
    char digest[VT_SHA256_HEX_SIZE];
    const vt_data_file *files; /* folder: none; the digest covers its files */
    int n_files;
    bool official;      /* the bytes are those that were published (generated data: always) */
    char warning[1000]; /* to be shown and recorded; "" for none */
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
 * VT_ERR_NOINPUT: a file or folder is missing or may not be read (the message says how to get it).
 * VT_ERR_DATA: not a file, wrong size, label out of range, bad class names (names file and record);
 * unreadable pictures.
 * VT_ERR_CONFIG: unknown name, val leaves no training image, another number of classes than asked
 * for, a limit above what a folder has, or the transforms do not bring all images to one size.
 * VT_ERR_IO, VT_ERR_NOMEM. *data is NULL after a failure.
 */
vt_status vt_data_open(vt_data **data, const vt_data_request *request, vt_pool *pool,
                       vt_error *err);
void vt_data_free(vt_data *data);
const vt_data_info *vt_data_info_of(const vt_data *data);

/* SHA-256 over each part's number of images (i64) and their numbers in the data set (u32). */
void vt_data_split_digest(const vt_data *data, char hex[VT_SHA256_HEX_SIZE]);

/* One item as evaluation sees it before the normalisation: pixels (info's H, W, C) after the test
 * transforms (seed 0, epoch 0 where one of them draws). label may be NULL. Errors as vt_batch_load.
 */
vt_status vt_data_picture(const vt_data *data, vt_part part, int64_t item, uint8_t *pixels,
                          int *label, vt_error *err);
/* The bytes and the label (may be NULL) of one item as they were stored, without any transform;
 * valid until vt_data_free. NULL for a folder, which stores none. */
const uint8_t *vt_data_item(const vt_data *data, vt_part part, int64_t item, int *label);
/* Its file's path below info's folder; "" where an image is no file of its own. */
const char *vt_data_item_name(const vt_data *data, vt_part part, int64_t item);
/* The item's image number in the data set. */
uint32_t vt_data_image(const vt_data *data, vt_part part, int64_t item);

/* order (n[part]): the items in the order in which the epoch visits them; ascending without
 * shuffle, else a permutation that is a function of (seed, epoch, part, n[part]). */
void vt_sampler_order(const vt_data *data, vt_part part, bool shuffle, uint64_t seed, int64_t epoch,
                      uint32_t *order);

/*
 * images (n, H, W, C) = (byte / 255 - mean[c]) / std[c], each operation rounded to fp32 as
 * torchvision's ToTensor and Normalize do; labels (n), may be NULL. With augment the request's
 * train transforms apply, else its test transforms. Where images are only moved it allocates
 * nothing and cannot fail; else memory is kept for the next call.
 *
 * A folder's file that is not held in memory is read again: VT_ERR_NOINPUT, VT_ERR_IO or
 * VT_ERR_DATA if it has gone or changed since the set was opened. VT_ERR_NOMEM.
 */
vt_status vt_batch_load(const vt_data *data, vt_pool *pool, vt_part part, bool augment,
                        uint64_t seed, int64_t epoch, const uint32_t *items, int64_t n,
                        float *images, int32_t *labels, vt_error *err);

/*
 * A set whose pictures all lie in memory, of one size, and whose transforms only move pixels, for
 * the kernel that gathers batches where the pictures are (kernels.h: gather). The floats and labels
 * are those of vt_batch_load.
 */
typedef struct vt_data_stock {
    const uint8_t *pixels; /* (n, height, width, channels) */
    int64_t n, height, width, channels;
    const float *levels; /* (channels, 256) */
} vt_data_stock;
/* False: the set is not like that. Valid until vt_data_free. */
bool vt_data_stock_of(const vt_data *data, vt_data_stock *stock);
/* picks (n): what vt_batch_load would show of these items. Only of such a set. */
void vt_data_picks(const vt_data *data, vt_pool *pool, vt_part part, bool augment, uint64_t seed,
                   int64_t epoch, const uint32_t *items, int64_t n, vt_pick *picks);

typedef struct vt_batch {
    const float *images;   /* (n, H, W, C), valid until the next call on the feed */
    const int32_t *labels; /* (n) */
    int64_t n;
} vt_batch;

/*
 * A feed. Where a set has to decode files in the loop, `threads` threads of the feed's own (0: as
 * many as the pool's) load the next batch while the caller works on this one; elsewhere `pool`
 * loads a batch when it is asked for. The values are those of vt_batch_load either way, and a
 * failure is reported with the batch it belongs to. Batches and threads are taken once: the loop
 * takes no memory but what a picture larger than all before it needs. VT_ERR_NOMEM.
 */
typedef struct vt_feed vt_feed;
vt_status vt_feed_new(vt_feed **feed, const vt_data *data, vt_pool *pool, int threads,
                      int64_t batch, vt_error *err);
void vt_feed_free(vt_feed *feed);
/* Its own threads; 0 where nothing is decoded in the loop. */
int vt_feed_threads(const vt_feed *feed);
/* What follows is items (n), cut into batches of the feed's size (the last may be smaller); they
 * must stay until the last is handed out or a next beginning. */
void vt_feed_begin(vt_feed *feed, vt_part part, bool augment, uint64_t seed, int64_t epoch,
                   const uint32_t *items, int64_t n);
/* The next batch; errors as vt_batch_load. */
vt_status vt_feed_next(vt_feed *feed, vt_batch *batch, vt_error *err);

/*
 * Makes one picture of any size look like the test part's images: the request's test transforms
 * (its seed, epoch 0, image 0 where one of them draws), then, if they do not bring it to side x
 * side pixels, a resize of both sides to that, then the normalisation. out (side, side, 3).
 * VT_ERR_DATA (so thin that a resize would make it larger than image.h allows), VT_ERR_NOMEM.
 */
vt_status vt_data_prepare(const vt_data_request *request, int64_t side, const vt_image *image,
                          float *out, vt_error *err);

#endif
