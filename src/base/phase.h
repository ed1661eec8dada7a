/*
 * What the program is doing, told to an outside killer.
 *
 * Tests that kill a run at random want proof that every phase was hit. If the environment variable
 * VITRINE_PHASE_FILE names a writable file, its first byte always holds the current vt_phase, by a
 * shared mapping, so it can still be read after the process died. Without the variable the cost
 * is one branch. The mapping is the module's one piece of process-wide state.
 */
#ifndef VT_BASE_PHASE_H
#define VT_BASE_PHASE_H

#define VT_PHASE_LIST(X)                                                                           \
    X(OTHER)      /* start, plan, exit */                                                          \
    X(STEP)       /* a training step */                                                            \
    X(EVAL)       /* evaluation of a split */                                                      \
    X(CHECKPOINT) /* writing weights and state, links, removal of old ones */                      \
    X(JOURNAL)    /* journal append and fsync */                                                   \
    X(PUBLISH)    /* summary, provenance, run.h5 */                                                \
    X(RECOVERY)   /* loading a checkpoint, cutting a torn tail, comparing records again */

typedef enum vt_phase {
#define X(name) VT_PHASE_##name,
    VT_PHASE_LIST(X)
#undef X
        VT_PHASE_COUNT
} vt_phase;

/* Maps the file named by VITRINE_PHASE_FILE, if set. Call once, before any thread starts. A file
 * that cannot be mapped is ignored with a warning. */
void vt_phase_init(void);
/* Enters `phase` and returns the one before, to be entered again when it ends. */
vt_phase vt_phase_enter(vt_phase phase);

#endif
