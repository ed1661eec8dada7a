/* What an open data set holds; for the files of src/data only. */
#ifndef VT_DATA_SET_H
#define VT_DATA_SET_H

#include "data/data.h"

enum { VT_DATA_MAX_FILES = 8, VT_DATA_NAME_SIZE = 32, VT_DATA_MAX_CHANNELS = 3 };

struct vt_data {
    vt_data_info info;
    vt_data_file files[VT_DATA_MAX_FILES];
    char *folder;
    char (*name_text)[VT_DATA_NAME_SIZE]; /* (classes) when the names come from a file */
    const char **names;                   /* (classes) into name_text */

    int64_t val;               /* images to hold out */
    int64_t n_train, n_images; /* training images first, then test images */
    uint8_t *images;           /* (n_images, H, W, C) */
    size_t images_size;
    uint8_t *labels;                  /* (n_images) */
    uint32_t *numbers[VT_PART_COUNT]; /* image numbers of each part, ascending */

    vt_transform_list train, test;
    float level[VT_DATA_MAX_CHANNELS][256]; /* a byte's normalised value in each channel */
};

/* Sets sizes in `data` (info.height to info.classes, n_train, n_images) and makes room for images
 * and labels. VT_ERR_CONFIG if data->val leaves nothing to train on. */
vt_status vt_data_make_room(vt_data *data, int64_t side, int64_t classes, int64_t n_train,
                            int64_t n_test, vt_error *err);

#endif
