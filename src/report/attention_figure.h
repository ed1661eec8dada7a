/*
 * Attention laid over images, as figures.
 *
 *   maps     one image: every layer's map of each head and of their mean, its rollout
 *   mean     chosen images: the mean over the heads of every layer, then the rollout
 *   rollout  chosen images: picture and rollout, right ones beside wrong ones
 *
 * Each figure is NAME.svg and so on, drawn by gnuplot from NAME.gp, NAME-panels.png (the pictures,
 * already put together) and NAME-text.tsv (what is written where); NAME.tsv has the values:
 * image, layer, head, row, column, share.
 */
#ifndef VT_REPORT_ATTENTION_FIGURE_H
#define VT_REPORT_ATTENTION_FIGURE_H

#include "report/attention.h"
#include "results/draw.h"

#define VT_ATTENTION_KINDS(X) X(maps) X(mean) X(rollout)

typedef enum vt_attention_kind {
#define X(kind) VT_ATTENTION_##kind,
    VT_ATTENTION_KINDS(X)
#undef X
        VT_ATTENTION_COUNT
} vt_attention_kind;

/* The kind of a word; VT_ATTENTION_COUNT for another word. */
vt_attention_kind vt_attention_kind_of(const char *word);

typedef struct vt_attention_view {
    vt_attention_kind kind;
    const char *name;      /* of the files, with room for an ending */
    int64_t layer, head;   /* only this one; -1: all. `head` is for maps */
    const int64_t *images; /* places in the set, in order; maps: one */
    int64_t n_images;
    bool narrow; /* 3.3 inches wide; else 6.9 */
    bool smooth; /* bilinear; else cells as they are */
} vt_attention_view;

/* Draws into the folder. VT_ERR_USAGE: no such layer or head, too many panels for one figure, or a
 * rollout that these layers do not have. Without gnuplot as vt_draw_figure. */
vt_status vt_attention_figure(vt_drawer *drawer, int dir_fd, const char *folder,
                              const vt_attention_set *set, const vt_attention_view *view,
                              vt_error *err);

/* Chooses up to `most` images: wrong ones for one half and others for the other half, in the set's
 * order; all of one sort if there is no other. `images` has room for `most`; returns their number.
 */
int64_t vt_attention_choose(const vt_attention_set *set, int64_t most, int64_t *images);

#endif
