/* What this program is: which sources, which compiler, which flags. Part of every run's provenance.
 * All are constant texts, never NULL. */
#ifndef VT_BASE_VERSION_H
#define VT_BASE_VERSION_H

/* The commit as `git describe --always --dirty` names it; "unknown" outside a git checkout. */
const char *vt_version(void);
/* The compiler's flags, in the order given. */
const char *vt_build_flags(void);
/* The compiler's name and version, such as "gcc 12.2.0". */
const char *vt_build_compiler(void);

#endif
