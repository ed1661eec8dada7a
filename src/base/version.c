#include "base/version.h"

/* The Makefile defines both for this file alone, so that a new commit recompiles only this file. */
#ifndef VT_VERSION
#define VT_VERSION "unknown"
#endif
#ifndef VT_BUILD_FLAGS
#define VT_BUILD_FLAGS "unknown"
#endif

const char *vt_version(void)
{
    return VT_VERSION;
}

const char *vt_build_flags(void)
{
    return VT_BUILD_FLAGS;
}

const char *vt_build_compiler(void)
{
#ifdef __clang__
    return __VERSION__; /* names itself */
#else
    return "gcc " __VERSION__;
#endif
}
