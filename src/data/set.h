/* What an open data set holds; for the files of src/data only. */
#ifndef VT_DATA_SET_H
#define VT_DATA_SET_H

#include "data/data.h"
#include "data/picture.h"

#include <pthread.h>

enum { VT_DATA_MAX_FILES = 8, VT_DATA_NAME_SIZE = 104 };

/* A picture file of a folder. */
typedef struct vt_photo {
    char *name; /* below the folder */
    int64_t size_bytes;
    uint8_t sha256[VT_SHA256_SIZE];
    vt_picture kept; /* after the fixed transforms of its part's list; or NULL pixels */
    const vt_transform_list *kept_for;
    char *wrong; /* why it cannot be used; NULL: it can */
} vt_photo;

typedef struct vt_easels {
    pthread_mutex_t lock;
    vt_easel *first; /* free ones */
} vt_easels;

struct vt_data {
    vt_data_info info;
    vt_data_file files[VT_DATA_MAX_FILES];
    char *folder;
    char (*name_text)[VT_DATA_NAME_SIZE]; /* (classes) when the names come from files */
    const char **names;                   /* (classes) into name_text */
    bool coarse;

    int64_t val;                      /* images to hold out */
    int64_t n_train, n_images;        /* training images first, then test images */
    uint16_t *labels;                 /* (n_images) */
    uint32_t *numbers[VT_PART_COUNT]; /* image numbers of each part, ascending */

    vt_size stored;  /* of the images below; 0: they are files */
    uint8_t *images; /* (n_images, H, W, C) */
    size_t images_size;
    vt_photo *photos; /* (n_images) */
    int folder_fd;

    vt_transform_list train, test;
    vt_levels levels;

    vt_easels *easels;
};

/* Sets info.classes, n_train and n_images in `data` and makes room for labels and, if `stored` has
 * a size, images. VT_ERR_CONFIG if data->val leaves nothing to train on. */
vt_status vt_data_make_room(vt_data *data, vt_size stored, int64_t classes, int64_t n_train,
                            int64_t n_test, vt_error *err);

/* An easel that nobody else uses until it is given back; NULL: no memory. */
vt_easel *vt_easel_take(const vt_data *data);
void vt_easel_give_back(const vt_data *data, vt_easel *easel);

#endif
