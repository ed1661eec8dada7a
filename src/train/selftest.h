/*
 * Does this build compute on this machine what it should? Known answers for the hashes, the
 * generator and the numeric fingerprint (two training steps of a network that uses every kernel),
 * the last one with every vector width that the processor has, with several numbers of threads
 * and in another order of the work.
 */
#ifndef VT_TRAIN_SELFTEST_H
#define VT_TRAIN_SELFTEST_H

#include "base/status.h"

#include <stdbool.h>

/* The same as in tests/golden.txt: the numeric fingerprint of this version's kernels with OpenBLAS
 * 0.3.21's Haswell kernels. Another one is not wrong in itself, but its runs have other bits than
 * the published ones. */
#define VT_NUMERICS_KNOWN "09c3496a773d4a77b8d4738c8b52fea5b882cd1322058ebde924c545ce16c790"

/* One check: its name, whether it held, and what was found. */
typedef void vt_selftest_visit(void *arg, const char *name, bool good, const char *found);

/* Runs all checks in order. VT_NO if one failed; VT_ERR_NOMEM. Sets the environment's
 * VITRINE_KERNELS and VITRINE_CHUNK_ORDER for a while: no other thread may run. */
vt_status vt_selftest(vt_selftest_visit *visit, void *arg, vt_error *err);

#endif
