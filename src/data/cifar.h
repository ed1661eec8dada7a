/*
 * The CIFAR binary files (Krizhevsky 2009).
 *
 * CIFAR-10: data_batch_1..5.bin and test_batch.bin, 10,000 records of 3,073 bytes each: label,
 * then the red, green and blue planes of 32 x 32 bytes. CIFAR-100: train.bin and test.bin, records
 * of 3,074 bytes: coarse label, fine label, planes; the fine label is the class unless
 * the coarse one is asked for. Class names are lines of batches.meta.txt, fine_label_names.txt and
 * coarse_label_names.txt.
 */
#ifndef VT_DATA_CIFAR_H
#define VT_DATA_CIFAR_H

#include "base/pool.h"
#include "base/status.h"
#include "data/set.h"

/* Reads "cifar10" or "cifar100" into an empty data set: images, labels, names, files, folder,
 * official, warning. data->coarse says which labels; it is reset where there are none. Errors as
 * for vt_data_open. */
vt_status vt_cifar_read(vt_data *data, const char *name, const char *dir, vt_pool *pool,
                        vt_error *err);

#endif
