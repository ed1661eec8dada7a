/* Sample values of every key (config_samples.def), and settings taken apart. */
#ifndef VT_TESTS_CONFIG_SAMPLES_H
#define VT_TESTS_CONFIG_SAMPLES_H

#include <stdio.h>
#include <string.h>

typedef struct config_sample {
    const char *path, *experiment;
    const char *value[2]; /* the second may be NULL */
    const char *settings;
} config_sample;

static const config_sample config_samples[] = {
#define VT_SAMPLE(path, experiment, a, b, settings) {path, experiment, {a, b}, settings},
#include "config_samples.def"
};

enum {
    N_CONFIG_SAMPLES = sizeof config_samples / sizeof *config_samples,
    SAMPLE_SETS_MAX = 12,
    SAMPLE_SET_SIZE = 200,
};

typedef struct sample_sets {
    char text[SAMPLE_SETS_MAX][SAMPLE_SET_SIZE];
    const char *set[SAMPLE_SETS_MAX]; /* for vt_config_load */
    int n;
} sample_sets;

static inline void add_sample_set(sample_sets *sets, const char *text, int size)
{
    snprintf(sets->text[sets->n], SAMPLE_SET_SIZE, "%.*s", size, text);
    sets->set[sets->n] = sets->text[sets->n];
    sets->n++;
}

/* The sample's settings followed by "path=value". */
static inline void fill_sample_sets(sample_sets *sets, const config_sample *sample,
                                    const char *value)
{
    char own[SAMPLE_SET_SIZE];
    sets->n = 0;
    for (const char *at = sample->settings; *at;) {
        const char *end = strstr(at, "; ");
        add_sample_set(sets, at, end ? (int)(end - at) : (int)strlen(at));
        at = end ? end + 2 : at + strlen(at);
    }
    snprintf(own, sizeof own, "%s=%s", sample->path, value);
    add_sample_set(sets, own, (int)strlen(own));
}

#endif
