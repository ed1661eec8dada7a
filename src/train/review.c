#include "train/review.h"

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

/* A wrong image while it is sorted. */
struct wrong {
    double probability;
    int64_t place;
};

static int compare(const void *a, const void *b)
{
    const struct wrong *x = a, *y = b;
    if (x->probability != y->probability)
        return x->probability > y->probability ? -1 : 1;
    return x->place < y->place ? -1 : 1;
}

vt_status vt_review_wrong(const vt_evaluator *e, int64_t *places, int64_t *n, vt_error *err)
{
    int64_t images = e->record->images;
    struct wrong *list = vt_calloc((size_t)images + 1, sizeof *list);
    *n = 0;
    if (!list)
        return vt_fail(err, VT_ERR_NOMEM, "no memory to sort %lld images", (long long)images);
    for (int64_t i = 0; i < images; i++) {
        if (e->pred[i] == e->label[i])
            continue;
        vt_softmax(e->logits + i * e->classes, e->classes, &list[*n].probability);
        list[(*n)++].place = i;
    }
    qsort(list, (size_t)*n, sizeof *list, compare);
    for (int64_t i = 0; i < *n; i++)
        places[i] = list[i].place;
    vt_free(list);
    return VT_OK;
}

void vt_review_images(const vt_evaluator *e, vt_part part, const char *const *classes,
                      const int64_t *places, int64_t n, vt_sheet_image *images)
{
    for (int64_t i = 0; i < n; i++) {
        int64_t at = places[i];
        const char *file = vt_data_item_name(e->data, part, e->order[at]);
        images[i] = (vt_sheet_image){.predicted = classes[e->pred[at]],
                                     .truth = classes[e->label[at]],
                                     .number = e->order[at],
                                     .file = *file ? file : NULL};
        vt_softmax(e->logits + at * e->classes, e->classes, &images[i].probability);
    }
}

vt_status vt_review_pixels(const vt_evaluator *e, vt_part part, const int64_t *places, int64_t n,
                           uint8_t *pixels, vt_error *err)
{
    const vt_data_info *info = vt_data_info_of(e->data);
    vt_status status = VT_OK;
    for (int64_t i = 0; i < n && status == VT_OK; i++)
        status =
            vt_data_picture(e->data, part, e->order[places[i]],
                            pixels + i * info->height * info->width * info->channels, NULL, err);
    return status;
}

/* The search for an evaluation in the journal. */
struct search {
    const vt_evaluator *e;
    vt_recorded recorded;
    vt_record_eval *found;
};

static vt_status look(void *arg, const vt_record *record, vt_error *err)
{
    struct search *s = arg;
    const vt_record_eval *eval = record->payload, *mine = s->e->record;
    (void)err;
    if (record->type != VT_RECORD_EVAL || record->size != s->e->record_bytes ||
        eval->epoch != mine->epoch || eval->split != mine->split)
        return VT_OK;
    s->recorded = memcmp(eval, mine, record->size) == 0 ? VT_RECORDED_SAME : VT_RECORDED_OTHER;
    *s->found = *eval;
    return VT_OK;
}

vt_status vt_review_recorded(const vt_evaluator *e, int dir_fd, vt_recorded *recorded,
                             vt_record_eval *found, vt_error *err)
{
    struct search search = {.e = e, .found = found};
    vt_status status = vt_journal_read(dir_fd, look, &search, NULL, err);
    *recorded = search.recorded;
    return status;
}
