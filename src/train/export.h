/*
 * A run's weights as one safetensors file for other programs: timm's names, and in the metadata
 * what is needed to build the network there (docs/exchange.md).
 */
#ifndef VT_TRAIN_EXPORT_H
#define VT_TRAIN_EXPORT_H

#include "base/text.h"
#include "train/trained.h"

/* The network in timm's words. Start with {0}; release both texts. */
typedef struct vt_timm_recipe {
    const char *call; /* class of timm.models, or create_model; NULL: timm has no such network */
    vt_text args;     /* its keyword arguments as JSON */
    vt_text differs;  /* what is computed otherwise there, or why there is none; empty: nothing */
} vt_timm_recipe;

void vt_timm_describe(vt_timm_recipe *recipe, const vt_config *config);
void vt_timm_release(vt_timm_recipe *recipe);

/* Writes the weights of a found run (vt_trained_find) to the file `path`, whose folder must exist;
 * NULL: model.safetensors in the run's folder. `written` receives the path. What differs in timm is
 * also said on the log. */
vt_status vt_export_safetensors(vt_trained *t, const char *path, char written[PATH_MAX],
                                vt_error *err);

#endif
