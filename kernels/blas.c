#include "kernels/blas.h"

#include "base/text.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const usual_names[] = {
    "$ORIGIN/../lib/libopenblas.so.0", /* of a bundle: the loader knows $ORIGIN */
    "/usr/lib/x86_64-linux-gnu/openblas-pthread/libopenblas.so.0", /* Debian: beside other builds */
    "libopenblasp.so.0",                                           /* Fedora's name of that build */
    "libopenblas.so.0",
    NULL,
};

enum { PTHREAD_BUILD = 1 }; /* answer of openblas_get_parallel */

/* dlsym gives a pointer to data; C has no conversion from it to a function. */
static bool find_function(void *library, const char *name, void *function)
{
    void *found = dlsym(library, name);
    memcpy(function, &found, sizeof found);
    return found != NULL;
}

/* One library: opened and of the right kind, or a line about it in `findings`. */
static bool try_library(vt_blas *blas, const char *name, vt_text *findings)
{
    const char *(*get_config)(void);
    const char *(*get_family)(void);
    int (*get_parallel)(void);
    void (*set_threads)(int);

    /* It stays loaded: its own thread and buffer bookkeeping does not survive a second load. */
    void *library = dlopen(name, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
    if (library == NULL) {
        vt_text_printf(findings, "\n  %s", dlerror());
        return false;
    }
    if (!find_function(library, "cblas_sgemm", &blas->sgemm) ||
        !find_function(library, "openblas_get_config", &get_config) ||
        !find_function(library, "openblas_get_corename", &get_family) ||
        !find_function(library, "openblas_get_parallel", &get_parallel) ||
        !find_function(library, "openblas_set_num_threads", &set_threads)) {
        vt_text_printf(findings, "\n  %s: %s", name, dlerror());
        dlclose(library);
        return false;
    }
    if (get_parallel() != PTHREAD_BUILD) {
        vt_text_printf(findings, "\n  %s: %s, built %s", name, get_config(),
                       get_parallel() == 0 ? "without threads" : "with OpenMP");
        dlclose(library);
        return false;
    }
    if (strcmp(get_family(), "Haswell") != 0) {
        vt_text_printf(findings, "\n  %s: %s, kernel family %s although Haswell was asked for",
                       name, get_config(), get_family());
        dlclose(library);
        return false;
    }
    set_threads(1);
    blas->library = library;
    snprintf(blas->about, sizeof blas->about, "%s, pthread", get_config());
    return true;
}

vt_status vt_blas_open(vt_blas *blas, const char *const *names, vt_error *err)
{
    vt_text findings = {0};
    vt_status status = VT_OK;

    memset(blas, 0, sizeof *blas);
    if (setenv("OPENBLAS_CORETYPE", "Haswell", 1) != 0 ||
        setenv("OPENBLAS_NUM_THREADS", "1", 1) != 0)
        return vt_fail(err, VT_ERR_NOMEM, "out of memory when setting the environment of OpenBLAS");

    if (names == NULL)
        names = usual_names;
    while (*names != NULL && !try_library(blas, *names, &findings))
        names++;
    if (blas->library == NULL)
        status = vt_fail(err, VT_ERR_HELPER,
                         "no usable OpenBLAS: the build with POSIX threads and kernels for Haswell "
                         "is needed (package libopenblas0-pthread; scripts/setup installs it). "
                         "Tried:%s",
                         findings.data != NULL ? findings.data : "");
    vt_text_release(&findings);
    return status;
}

void vt_blas_close(vt_blas *blas)
{
    if (blas->library != NULL)
        dlclose(blas->library);
    memset(blas, 0, sizeof *blas);
}
