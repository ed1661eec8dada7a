/*
 * `folder`: pictures in one folder a class.
 *
 *     DIR/train/CLASS/NAME.jpg, and the same below DIR/test or DIR/val
 *     DIR/CLASS/NAME.jpg
 *
 * With DIR/train, the folders in it are the classes; the test part is DIR/test, else DIR/val (the
 * other one is then not used, which the warning says). Without either, and for the second form, the
 * test part is a share of each class, rounded, at least one picture and not all: by the order in
 * which a shuffle of stream SPLIT, layer 1, puts the files. A validation part is always held out of
 * the training part.
 *
 * Files end in .jpg, .jpeg or .png in any case; others are not used, which the warning says. Names
 * that begin with a dot, and files beside the class folders, are passed over. Classes are sorted by
 * the bytes of their names, files likewise within their class; the image numbers go round the
 * classes (the first file of each, then the second), so that the first n images are mixed. Nothing
 * depends on the order in which the file system lists them.
 *
 * A file that cannot be read or decoded is left out of its part and named in the warning; it moves
 * no other file to another part. More than max_bad of them are an error.
 *
 * Decoded pictures are kept in memory after the leading transforms that are the same in every epoch
 * (`resize`, `center_crop`), until keep_bytes are used; the others are read again for each batch,
 * and must then have the bytes they had when the set was opened.
 */
#ifndef VT_DATA_FOLDER_H
#define VT_DATA_FOLDER_H

#include "data/set.h"

/* Finds the files of an empty data set: labels, names, photos, folder. VT_ERR_NOINPUT, VT_ERR_DATA
 * (names that cannot be used, a class without pictures), VT_ERR_CONFIG (number of classes),
 * VT_ERR_NOMEM. */
vt_status vt_folder_find(vt_data *data, const vt_data_request *request, vt_error *err);

/* Reads and decodes every file of every part, takes the unreadable ones out of the parts, and keeps
 * what there is room for. VT_ERR_DATA for too many unreadable files. */
vt_status vt_folder_read(vt_data *data, const vt_data_request *request, vt_pool *pool,
                         vt_error *err);

/* Decodes one file again, into the easel. */
vt_status vt_folder_decode(const vt_data *data, uint32_t image, vt_easel *easel, vt_error *err);

#endif
